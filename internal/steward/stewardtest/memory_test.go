package stewardtest_test

import (
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/steward"
	"github.com/gitroost/gitroost/internal/steward/stewardtest"
	"github.com/gitroost/gitroost/internal/store/storetest"
)

// Memory is held to what the real ledger is held to.
func TestMemory(t *testing.T) {
	storetest.TestLedger(t, func(*testing.T) steward.Ledger { return stewardtest.NewMemory(time.Now) })
}

func TestBooks(t *testing.T) {
	storetest.TestBooks(t, func(*testing.T) storetest.Library { return stewardtest.NewMemory(time.Now) })
}

package store_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/steward"
	"github.com/gitroost/gitroost/internal/store"
	"github.com/gitroost/gitroost/internal/store/storetest"
)

// open returns a new store in a folder of its own, which is closed when the test ends.
func open(t testing.TB) *store.Store {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "ledger.db"))
}

func openAt(t testing.TB, path string) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), path, store.Config{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func TestLedger(t *testing.T) {
	storetest.TestLedger(t, func(t *testing.T) steward.Ledger { return open(t) })
}

func TestReader(t *testing.T) {
	storetest.TestReader(t, func(t *testing.T) (steward.Ledger, storetest.Reader) {
		s := open(t)
		return s, s
	})
}

func TestBooks(t *testing.T) {
	storetest.TestBooks(t, func(t *testing.T) storetest.Library { return open(t) })
}

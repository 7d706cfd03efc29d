package store_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/jobs/jobstest"
	"github.com/gitroost/gitroost/internal/store"
)

// openQueue returns the queue of a new store.
func openQueue(t testing.TB, b jobs.Bounds) store.Jobs {
	t.Helper()
	s, err := store.Open(context.Background(), filepath.Join(t.TempDir(), "ledger.db"), store.Config{Now: time.Now, Jobs: b})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.Jobs()
}

func TestJobs(t *testing.T) {
	jobstest.TestQueue(t, func(t *testing.T, b jobs.Bounds) jobs.Queue { return openQueue(t, b) })
}

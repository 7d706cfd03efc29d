package store_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/jobs/jobstest"
	"github.com/gitroost/gitroost/internal/steward"
	"github.com/gitroost/gitroost/internal/store"
	"github.com/gitroost/gitroost/internal/store/storetest"
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

// The moves and the jobs they ask for are one transaction, and a job knows its row of the journal
// (S0-02). A change that is not written queues nothing.
func TestJobsOfAChange(t *testing.T) {
	s := open(t)
	ids := jobs.NewIDs(time.Now, zeros{})
	repo := jobstest.Repo(1, "demo")
	change := func(id jobs.ID, ev *steward.Entry) steward.Change {
		return steward.Change{
			Put:   ev,
			Moves: []steward.Moved{{Repo: repo, Push: "p1", Changes: []grasp.RefChange{{Ref: "refs/heads/main", Old: jobstest.OID(0), New: jobstest.OID(1)}}}},
			Jobs:  []jobs.Job{jobstest.Make(id, repo, "site", time.Now(), func(j *jobs.Job) { j.Push = "p1" })},
		}
	}
	entry := storetest.Entry(storetest.Event(1, 1621, 1, ""), grasp.Served)
	first, second := ids.Next(), ids.Next()
	if _, err := s.Commit(t.Context(), change(first, entry)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Jobs().Changed():
	case <-time.After(time.Minute):
		t.Error("nobody hears of the job")
	}
	if j, err := s.Jobs().Job(t.Context(), first); err != nil || j.Move == 0 || j.Push != "p1" || j.State != jobs.Queued {
		t.Errorf("%+v, %v", j, err)
	}
	if r, err := s.Commit(t.Context(), change(second, entry)); err != nil || !r.Duplicate {
		t.Fatal(r, err)
	}
	if _, err := s.Jobs().Job(t.Context(), second); !fault.Is(err, fault.NotFound) {
		t.Errorf("a change that was not written queued a job: %v", err)
	}
}

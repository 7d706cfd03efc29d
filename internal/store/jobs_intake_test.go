package store_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/jobs/jobstest"
	"github.com/gitroost/gitroost/internal/steward"
	"github.com/gitroost/gitroost/internal/store"
)

// A laying queue has everything enter it as the jobs of a change, which are laid down if that is possible.
type laying struct {
	store.Jobs
	s *store.Store
}

func (q laying) Enqueue(ctx context.Context, list []jobs.Job) error {
	_, err := q.s.Commit(ctx, steward.Change{Jobs: slices.Clone(list)})
	return err
}

func openWith(t testing.TB, path string, cfg store.Config) *store.Store {
	t.Helper()
	cfg.Now = time.Now
	s, err := store.Open(context.Background(), path, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Jobs that were laid down are jobs like any others, whatever is asked of the queue.
func TestLaidDown(t *testing.T) {
	jobstest.TestQueue(t, func(t *testing.T, b jobs.Bounds) jobs.Queue {
		s := openWith(t, filepath.Join(t.TempDir(), "ledger.db"), store.Config{Jobs: b, FewJobs: -1})
		return laying{s.Jobs(), s}
	})
}

func twenty(ids *jobs.IDs, repo grasp.Addr) []jobs.Job {
	var list []jobs.Job
	for i := range 20 {
		list = append(list, jobstest.Make(ids.Next(), repo, fmt.Sprint("job", i), time.Now(), func(j *jobs.Job) {
			j.Spec = []byte(fmt.Sprint("what ", i, " does"))
			if i > 0 {
				j.Policy, j.Group, j.Force = jobs.InTurn, "all", false
			}
		}))
	}
	for i := 1; i < len(list); i++ {
		list[i].Needs = []jobs.Edge{{On: list[i-1].ID, If: jobs.IfAlways}}
	}
	return list
}

// Who dies after a change of many jobs was answered has queued them, with their row of the journal and
// what they need (S0-02, S0-24).
func TestLaidDownSurvives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	repo := jobstest.Repo(1, "demo")
	ids := jobs.NewIDs(time.Now, zeros{})
	list := twenty(ids, repo)
	s := openWith(t, path, store.Config{})
	r, err := s.Commit(t.Context(), steward.Change{
		Moves: []steward.Moved{{Repo: repo, Changes: []grasp.RefChange{{Ref: list[0].Ref, Old: jobstest.OID(0), New: jobstest.OID(1)}}}},
		Jobs:  list,
	})
	if err != nil || len(r.Ended) > 0 {
		t.Fatal(r, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openWith(t, path, store.Config{})
	for i, want := range list {
		got, err := s.Jobs().Job(t.Context(), want.ID)
		if err != nil || got.Move == 0 || string(got.Spec) != string(want.Spec) || got.Input != want.Input || got.Definition != want.Definition {
			t.Fatalf("%+v, %v; want %+v", got, err, want)
		}
		if state := map[bool]jobs.State{true: jobs.Queued, false: jobs.Waiting}[i == 0]; got.State != state || !slices.Equal(got.Needs, want.Needs) {
			t.Errorf("job %d is %s and needs %v", i, got.State, got.Needs)
		}
	}
	if n, err := s.Jobs().Counts(t.Context()); err != nil || n[jobs.Queued] != 1 || n[jobs.Waiting] != 19 {
		t.Error(n, err)
	}
}

// Where one of many jobs may be one too many, the change says so in its receipt (S4-33).
func TestNoRoomForMany(t *testing.T) {
	s := openWith(t, filepath.Join(t.TempDir(), "ledger.db"), store.Config{Jobs: jobs.Bounds{PerOwner: 25}})
	ids := jobs.NewIDs(time.Now, zeros{})
	repo := jobstest.Repo(1, "demo")
	for round, ended := range []int{0, 15} {
		r, err := s.Commit(t.Context(), steward.Change{Jobs: twenty(ids, repo)})
		if err != nil || len(r.Ended) != ended {
			t.Fatalf("round %d: %d jobs ended at once, want %d (%v)", round, len(r.Ended), ended, err)
		}
		for id, end := range r.Ended {
			if j, err := s.Jobs().Job(t.Context(), id); err != nil || j.State != jobs.Skipped || j.State != end.State || j.Reason != end.Reason {
				t.Errorf("the receipt says %v, the queue %s: %s (%v)", end, j.State, j.Reason, err)
			}
		}
	}
}

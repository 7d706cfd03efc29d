package store_test

import (
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/jobs/jobstest"
	"github.com/gitroost/gitroost/internal/steward"
)

// How jobs ended is counted, also of those that never ran, and each once (S4-39).
func TestJobsEnded(t *testing.T) {
	q := openQueue(t, jobs.Bounds{PerOwner: 4})
	ids, repo, now := jobs.NewIDs(time.Now, zeros{}), jobstest.Repo(1, "demo"), time.Now()
	id := make([]jobs.ID, 20)
	for i := range id {
		id[i] = ids.Next()
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	end := func(id jobs.ID, e jobs.Ending) {
		t.Helper()
		got, ok, err := q.Claim(t.Context(), jobs.Claim{By: "me", Now: now, Until: now.Add(time.Minute)})
		if err != nil || !ok || got.ID != id {
			t.Fatalf("claimed %s, %v, %v; want %s", got.ID, ok, err, id)
		}
		e.At = now
		must(q.Finish(t.Context(), "me", id, e))
	}
	unforced := func(j *jobs.Job) { j.Force, j.Input = false, [32]byte{1} }

	// one is cancelled, and two that need it are skipped
	must(q.Enqueue(t.Context(), []jobs.Job{
		jobstest.Make(id[0], repo, "a", now), jobstest.Make(id[1], repo, "b", now, jobstest.After(jobs.IfOK, id[0])),
		jobstest.Make(id[2], repo, "c", now, jobstest.After(jobs.IfOK, id[1])),
	}))
	for range 2 { // asked for twice, it ends once
		_, err := q.Cancel(t.Context(), id[0], "enough", now)
		must(err)
	}
	// one fails, is queued again, and ends well; the same again has been done
	must(q.Enqueue(t.Context(), []jobs.Job{jobstest.Make(id[3], repo, "d", now, unforced)}))
	end(id[3], jobs.Ending{State: jobs.Queued, RunAfter: now})
	end(id[3], jobs.Ending{State: jobs.OK})
	must(q.Enqueue(t.Context(), []jobs.Job{jobstest.Make(id[4], repo, "d", now, unforced)}))
	// one that runs is cancelled, and was stopped in the middle
	must(q.Enqueue(t.Context(), []jobs.Job{jobstest.Make(id[5], repo, "e", now)}))
	if _, ok, err := q.Claim(t.Context(), jobs.Claim{By: "me", Now: now, Until: now.Add(time.Minute)}); err != nil || !ok {
		t.Fatal(ok, err)
	}
	_, err := q.Cancel(t.Context(), id[5], "enough", now)
	must(err)
	must(q.Finish(t.Context(), "me", id[5], jobs.Ending{State: jobs.Failed, At: now}))
	// two of a group, of which the newest counts; then one more than the owner may have
	must(q.Enqueue(t.Context(), []jobs.Job{
		jobstest.Make(id[6], repo, "f", now, jobstest.In("g", jobs.Latest)), jobstest.Make(id[7], repo, "f", now, jobstest.In("g", jobs.Latest)),
		jobstest.Make(id[8], repo, "g", now), jobstest.Make(id[9], repo, "h", now), jobstest.Make(id[10], repo, "i", now), jobstest.Make(id[11], repo, "j", now),
	}))
	for state, want := range map[jobs.State]int64{
		jobs.Cancelled: 2, jobs.Skipped: 3, jobs.OK: 1, jobs.Superseded: 1, jobs.Failed: 0, jobs.TimedOut: 0, jobs.StartupFailure: 0, jobs.Queued: 0,
	} {
		if got := q.Ended("exec", state); got != want {
			t.Errorf("%d jobs are %s, want %d", got, state, want)
		}
		if got := q.Ended("site", state); got != 0 {
			t.Errorf("%d sites are %s", got, state)
		}
	}
	list, err := q.List(t.Context(), jobs.Filter{})
	must(err)
	if len(list) != 12 {
		t.Errorf("%d jobs", len(list))
	}
}

// S0-29: logs are found of repositories that have no row any more, not even as deleted ones.
func TestLogsOfGone(t *testing.T) {
	s := open(t)
	q, ids, now := s.Jobs(), jobs.NewIDs(time.Now, zeros{}), time.Now()
	var want jobs.ID
	for name, hosting := range map[string]grasp.Hosting{"live": grasp.Live, "deleted": grasp.Deleted, "gone": grasp.NotHosted} {
		repo := jobstest.Repo(1, name)
		for _, h := range []grasp.Hosting{grasp.Live, hosting} {
			if _, err := s.Commit(t.Context(), steward.Change{Repos: []steward.Repo{{Addr: repo, Hosting: h, Since: now}}}); err != nil {
				t.Fatal(err)
			}
		}
		for _, log := range []jobs.LogState{jobs.LogKept, jobs.NoLog} {
			id := ids.Next()
			if err := q.Enqueue(t.Context(), []jobs.Job{jobstest.Make(id, repo, "x", now)}); err != nil {
				t.Fatal(err)
			}
			if _, ok, err := q.Claim(t.Context(), jobs.Claim{By: "me", Now: now, Until: now.Add(time.Minute)}); err != nil || !ok {
				t.Fatal(ok, err)
			}
			if list, err := q.LogsOfGone(t.Context(), now.Add(time.Hour), 10); err != nil || name != "gone" && len(list) > 0 && list[0].Repo == repo {
				t.Errorf("one that runs: %v, %v", list, err)
			}
			if err := q.Finish(t.Context(), "me", id, jobs.Ending{State: jobs.OK, At: now, Log: log}); err != nil {
				t.Fatal(err)
			}
			if name == "gone" && log == jobs.LogKept {
				want = id
			}
		}
	}
	list, err := q.LogsOfGone(t.Context(), now.Add(time.Second), 10)
	if err != nil || len(list) != 1 || list[0].ID != want {
		t.Errorf("%+v, %v; want %s", list, err, want)
	}
	if list, err := q.LogsOfGone(t.Context(), now.Add(-time.Second), 10); err != nil || len(list) != 0 {
		t.Errorf("it ended just now: %+v, %v", list, err)
	}
	if err := q.LogsGone(t.Context(), []jobs.ID{want}); err != nil {
		t.Fatal(err)
	}
	if list, err := q.LogsOfGone(t.Context(), now.Add(time.Second), 10); err != nil || len(list) != 0 {
		t.Errorf("its log is gone: %+v, %v", list, err)
	}
}

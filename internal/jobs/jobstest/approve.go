package jobstest

import (
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
)

// NeedsApproval makes a job one that waits until somebody approves of it.
func NeedsApproval(j *jobs.Job) { j.Approval = jobs.Approval{Needed: true} }

func (b *bench) approve(id jobs.ID) jobs.Job {
	b.Helper()
	j, err := b.Approve(ctx(), id, jobs.Approval{By: "npub1carol", Event: grasp.EventID(""), At: b.now})
	if err != nil {
		b.Fatal(err)
	}
	return j
}

// A job that has to be approved of is claimed by nobody before that is said, and what needs it waits.
func approval(b *bench) {
	held := b.add(Repo(1, "r"), "x", NeedsApproval)
	after := b.add(Repo(1, "r"), "after", After(jobs.IfOK, held))
	b.is(held, jobs.Unapproved, "")
	b.is(after, jobs.Waiting, "")
	b.claims("nothing")
	b.now = b.now.Add(time.Hour)
	j := b.approve(held)
	if j.State != jobs.Queued || j.Approval.By != "npub1carol" || !j.Approval.At.Equal(b.now) || !j.Approval.Needed {
		b.Errorf("%+v", j)
	}
	if _, err := b.Approve(ctx(), held, jobs.Approval{By: "again"}); !fault.Is(err, fault.Stale) {
		b.Errorf("approved twice: %v", err)
	}
	if _, err := b.Approve(ctx(), b.ids.Next(), jobs.Approval{By: "x"}); !fault.Is(err, fault.NotFound) {
		b.Errorf("approved nothing: %v", err)
	}
	b.claims("it", held)
	b.finish(held, jobs.Failed)
	b.is(after, jobs.Skipped, jobs.ReasonNeeds)

	// One that is not wanted ends; what needs it does not run.
	no := b.add(Repo(1, "r"), "no", NeedsApproval)
	left := b.add(Repo(1, "r"), "left", After(jobs.IfOK, no))
	if j, err := b.Cancel(ctx(), no, "bob said no", b.now); err != nil || j.State != jobs.Cancelled || j.Reason != "bob said no" {
		b.Errorf("%+v, %v", j, err)
	}
	b.is(left, jobs.Skipped, jobs.ReasonNeeds)

	// One that needs another goes on as Start says, whichever comes first.
	first := b.add(Repo(1, "r"), "first")
	second := b.add(Repo(1, "r"), "second", After(jobs.IfOK, first), NeedsApproval)
	b.is(second, jobs.Unapproved, "")
	if j := b.approve(second); j.State != jobs.Waiting {
		b.Errorf("it needs another, and is %s", j.State)
	}
	third := b.add(Repo(1, "r"), "third", After(jobs.IfFailed, first), NeedsApproval)
	b.claims("first", first)
	b.finish(first, jobs.OK)
	b.is(second, jobs.Queued, "")
	if j := b.approve(third); j.State != jobs.Skipped {
		b.Errorf("what cannot be any more is %s", j.State)
	}
	b.claims("second", second)

	// What was approved of when it was made waits for nobody, and where it comes from is kept.
	source := jobs.Source{File: "ab12", Path: ".grasp/jobs.yml", Commit: "c", Request: "e", By: "k"}
	done := b.add(Repo(2, "r"), "x", func(j *jobs.Job) {
		j.Approval = jobs.Approval{Needed: true, By: "the operator", At: b.now}
		j.Source = source
	})
	b.is(done, jobs.Queued, "")
	if j := b.get(done); j.Source != source || j.Approval.By != "the operator" {
		b.Errorf("%+v %+v", j.Source, j.Approval)
	}
}

// Jobs that wait for approval are bounded by themselves, and are not counted with those that run.
func boundUnapproved(b *bench) {
	for range 3 {
		b.is(b.add(Repo(1, "r"), "x", NeedsApproval), jobs.Unapproved, "")
	}
	b.is(b.add(Repo(1, "q"), "x", NeedsApproval), jobs.Skipped, jobs.ReasonBudget)
	for range 3 {
		b.is(b.add(Repo(1, "r"), "mine"), jobs.Queued, "")
	}
	b.is(b.add(Repo(1, "r"), "mine"), jobs.Skipped, jobs.ReasonBudget)
	n, err := b.Counts(ctx())
	if err != nil || n[jobs.Unapproved] != 3 || n[jobs.Queued] != 3 {
		b.Errorf("%v (%v)", n, err)
	}
}

// A job's own budget holds in place of everybody's.
func ownBudget(b *bench) {
	use := func(d time.Duration) {
		id := b.claim().ID
		b.finish(id, jobs.OK, func(e *jobs.Ending) { e.CPU = d })
	}
	tight := func(j *jobs.Job) { j.Budget = jobs.Usage{CPU: 10 * time.Second} }
	b.add(Repo(1, "r"), "x")
	use(20 * time.Second)
	b.is(b.add(Repo(1, "r"), "tight", tight), jobs.Skipped, jobs.ReasonBudget)
	b.is(b.add(Repo(1, "r"), "held", tight, NeedsApproval), jobs.Skipped, jobs.ReasonBudget)
	b.is(b.add(Repo(2, "r"), "tight", tight), jobs.Queued, "")
	b.is(b.add(Repo(1, "r"), "y"), jobs.Queued, "")
}

package jobs

import (
	"context"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// A Queue keeps jobs. Everything that a method reported as done survives a crash of the process
// and of the machine; a method that fails has done nothing, or all of it. All methods are safe for
// concurrent use. Errors are *fault.Error.
type Queue interface {
	// Enqueue adds jobs that no move of a ref asked for; those that one did are part of the
	// transaction that records it, by the same rules. In the order of the list, each job
	//   - whose ID is known already is left as it is, so that adding twice is adding once;
	//   - of OnSchedule whose Due is not after the last one of its repository and name is not added;
	//   - is put in the state that Start says; one that cannot be met any more is Skipped, and one whose
	//     Approval is Missing is Unapproved;
	//   - is OK at once if it is not Force, and the last job of its repository, name and ref that
	//     was not Skipped, Superseded or Cancelled, is OK with the same Input (S3-50);
	//   - of Latest or Cancel makes older ones of these policies that are Queued in its group
	//     Superseded, and asks a running one to end, if it is Cancel;
	//   - is Skipped if its owner, or all owners together, have as many Waiting and Queued as
	//     Bounds allow, or its owner has used up the budget of the last day (S4-33). Of those at
	//     most KeptSkips per owner are kept. Those that are Unapproved are counted by themselves, by the
	//     bound of an owner: who proposes changes does not keep the owner from pushing. A Budget of the
	//     job's own holds in place of that of the Bounds.
	// What does not Check is a fault.Invalid, and nothing is added.
	Enqueue(ctx context.Context, list []Job) error

	// Claim makes one job Running and returns it, or false if none may run. It takes one whose
	// RunAfter has come, of a group in which none runs, of an owner and a repository with fewer
	// running than the Claim allows; with InTurn only the oldest of its group, even if that one
	// has to wait. Of these: of the owner whose last turn is longest ago, of that owner's
	// repository whose last turn is longest ago, the oldest (S0-28).
	Claim(ctx context.Context, c Claim) (Job, bool, error)

	// Renew moves the leases of by forward, and returns all jobs that by still holds.
	Renew(ctx context.Context, by string, until time.Time) ([]Held, error)

	// Held returns the same without moving anything.
	Held(ctx context.Context, by string) ([]Held, error)

	// Finish ends an attempt. A job that is not Running by that lease is a fault.Stale, and
	// nothing changes. Of a job that was asked to end, what is neither OK nor Skipped becomes what
	// was asked for. Jobs that need this one are Queued or Skipped, and so on, as Start says.
	Finish(ctx context.Context, by string, id ID, e Ending) error

	// Cancel ends a job that has not begun, and asks a running one to end; one that has ended
	// stays as it is. It returns the job as it is then. What is not there is a fault.NotFound.
	Cancel(ctx context.Context, id ID, reason string, at time.Time) (Job, error)

	// Approve lets a job go on that is Unapproved, to the state that Start says; a says who wants it, and
	// when. It returns the job as it is then. One in another state is a fault.Stale, one that is not there
	// a fault.NotFound.
	Approve(ctx context.Context, id ID, a Approval) (Job, error)

	// Abandoned returns up to limit running jobs whose lease ended before at; with alone, whoever
	// asks knows that nobody else runs jobs, and all that are not by's are returned.
	Abandoned(ctx context.Context, by string, at time.Time, alone bool, limit int) ([]Job, error)

	// Next returns the earliest RunAfter behind after of the jobs Queued in pool, or false.
	Next(ctx context.Context, pool string, after time.Time) (time.Time, bool, error)

	// Changed receives after something was done that may let a job run, or asks one to end. One
	// signal may stand for many.
	Changed() <-chan struct{}

	Shelf
}

// A Shelf is where jobs are looked up, and in the end removed.
type Shelf interface {
	// Job returns one job, or a fault.NotFound.
	Job(ctx context.Context, id ID) (Job, error)

	// List returns jobs, newest first (S0-20).
	List(ctx context.Context, f Filter) ([]Job, error)

	// Counts returns how many jobs of all owners are in each state that is not an end.
	Counts(ctx context.Context) (map[State]int, error)

	// Scheduled returns the last Due of this job, or the zero time. SetScheduled begins a
	// schedule at a time; one that has begun is left as it is.
	Scheduled(ctx context.Context, repo grasp.Addr, name string) (time.Time, error)
	SetScheduled(ctx context.Context, repo grasp.Addr, name string, at time.Time) error

	// OldLogs returns up to limit ended jobs whose log r does not keep at now (S0-29). LogsGone
	// notes that these have none any more. Who removes a log first removes the file.
	OldLogs(ctx context.Context, r Retention, now time.Time, limit int) ([]Job, error)
	LogsGone(ctx context.Context, ids []ID) error

	// Prune removes up to limit ended jobs that r does not keep at now, and returns how many.
	// Those that have a log are kept. The last of each repository, name and ref, which says what need
	// not be repeated, is kept for MaxLast times the age.
	Prune(ctx context.Context, r Retention, now time.Time, limit int) (int, error)
}

// A Claim says who wants to run what.
type Claim struct {
	By       string
	Pool     string    // "" means DefaultPool
	Now      time.Time // the job is Started at
	Until    time.Time // the end of the lease
	PerOwner int       // how many of one owner run at a time in the pool; 0 means one
	PerRepo  int       // likewise of one repository
}

// Held is a job that somebody runs, and how it was asked to end: Cancelled, Superseded, or not.
type Held struct {
	ID         ID
	Cancelling State
	Reason     string
}

// An Ending says what becomes of an attempt.
type Ending struct {
	// State is how the job ended, or Queued if it is to be run again, at RunAfter.
	State    State
	RunAfter time.Time
	// Uncounted says of one that is Queued that this was no attempt: whoever ran it was stopped.
	Uncounted bool
	// Crashed says that whoever ran it died. The MaxCrashes-th time it is Failed.
	Crashed bool

	At     time.Time
	Reason string
	Exit   int
	Signal string
	MaxRSS int64
	CPU    time.Duration

	Log      LogState
	LogBytes int64

	// Then are jobs to be queued in the same transaction, because this one ended.
	Then []Job
}

// A Filter says which jobs to list. Its zero value lists the newest.
type Filter struct {
	Owner  grasp.PubKey // of this owner
	Repo   grasp.Addr   // of this repository
	Run    ID
	Name   string
	Ref    grasp.RefName
	States []State   // in one of these
	Since  time.Time // made then or later
	Before ID        // older than this one: the last of the page before
	Limit  int       // 0 means 100; at most MaxList
}

// MaxList is how many jobs one List returns at most.
const MaxList = 1000

// Page returns Limit as it is meant.
func (f Filter) Page() int {
	if f.Limit <= 0 {
		return 100
	}
	return min(f.Limit, MaxList)
}

// Bounds keep the queue from growing. They hold when a job is added.
type Bounds struct {
	PerOwner int // Waiting and Queued in all pools but TellPool; 0 means 20
	Told     int // likewise of one owner in TellPool; 0 means 1,000
	Total    int // of all owners; 0 means 10,000

	// Budget is what one owner's jobs may use in 24 hours; a zero field is not bounded. Who has
	// used it up is still told of it: it does not hold in TellPool.
	Budget Usage
}

// OrElse returns b with its defaults.
func (b Bounds) OrElse() Bounds {
	if b.PerOwner <= 0 {
		b.PerOwner = 20
	}
	if b.Told <= 0 {
		b.Told = 1000
	}
	if b.Total <= 0 {
		b.Total = 10_000
	}
	return b
}

// Usage is what jobs used.
type Usage struct {
	CPU      time.Duration
	Wall     time.Duration
	LogBytes int64
}

// Over reports whether u has reached a bound of budget.
func (u Usage) Over(budget Usage) bool {
	return budget.CPU > 0 && u.CPU >= budget.CPU || budget.Wall > 0 && u.Wall >= budget.Wall ||
		budget.LogBytes > 0 && u.LogBytes >= budget.LogBytes
}

// Of returns the budget that holds for a job with one of its own, or none.
func (b Bounds) Of(own Usage) Usage {
	if own != (Usage{}) {
		return own
	}
	return b.Budget
}

// KeptSkips is how many jobs that were skipped for their owner's bounds are kept per owner.
const KeptSkips = 20

// The reasons that jobs have which never ran. They begin with these words.
const (
	ReasonBudget   = "budget"  // the owner's bounds
	ReasonAlready  = "already" // it succeeded with the same input
	ReasonNeeds    = "needs"   // one that it needs did not end as it should
	ReasonNewer    = "newer"   // a newer one took its place
	ReasonCrash    = "crash"   // whoever ran it died
	ReasonStopping = "stopped" // whoever ran it was stopped; it is run again
)

// Retention says how long what has ended is kept (S0-29). A zero field does not bound.
type Retention struct {
	LogAge     time.Duration
	LogsOfRepo int   // the newest of each repository
	LogBytes   int64 // of all logs; the newest are kept

	Age     time.Duration // of rows
	PerRepo int           // rows of each repository, the newest
}

// MaxLast is how many times Retention.Age the last job of a repository, name and ref is kept.
const MaxLast = 10

// Check reports what no Queue takes: a fault.Invalid.
func (e *Ending) Check() error {
	if s, err := ParseState(string(e.State)); err != nil || !s.Ended() && s != Queued {
		return fault.Errorf(fault.Invalid, "jobs: ending", "no attempt ends %.40q", string(e.State))
	}
	for i := range e.Then {
		if err := e.Then[i].Check(); err != nil {
			return err
		}
	}
	return nil
}

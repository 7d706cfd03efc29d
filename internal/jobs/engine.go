package jobs

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
)

// A Runner does what a job says. Run returns soon after ctx has ended, with all that it began ended
// too; why it ended is in context.Cause. A job may be run again after its runner died: j.ID is the
// same each time.
type Runner interface {
	Run(ctx context.Context, j Job, log Log) Result
}

// A Reaper is a Runner that can end what a process that died left running. Before such a job is
// queued again Reap is called; while it fails the job stays as it is.
type Reaper interface {
	Reap(ctx context.Context, j Job) error
}

// A Log takes what a job says. Streams are named as in "stdout".
type Log interface {
	Stream(name string) io.Writer
	// Close returns how many bytes are kept.
	Close() (bytes int64, err error)
}

// A Clock tells the time, and when one has come.
type Clock interface {
	Now() time.Time
	// At returns a channel that receives once, at t or at once if t has passed. stop gives it back.
	At(t time.Time) (c <-chan time.Time, stop func())
}

// Config is what may be set about an Engine. Queue, Runner, Clock and By are required.
type Config struct {
	Queue  Queue
	Runner Runner
	Clock  Clock

	// By names this engine in leases. No other has it: not even the one of the process before.
	By string

	// Alone says that nobody else takes jobs from the queue, so that what others hold at the start
	// is what a process left that died.
	Alone bool

	Log *slog.Logger // nil discards

	// Workers is how many jobs run at a time in each pool. Nil means 4 in DefaultPool; TellPool has
	// 4 unless it is named.
	Workers map[string]int

	PerOwner int           // how many of one owner; 0 means 2
	PerRepo  int           // how many of one repository; 0 means 1
	Timeout  time.Duration // of jobs that name none; 0 means 10 minutes
	Lease    time.Duration // how long a claim holds; it is renewed after a third. 0 means 30 s
	Stop     time.Duration // how long running jobs have to end when the engine stops; 0 means 20 s

	// Rand returns a number from 0 up to 1, for the delays of retries. Nil means a half.
	Rand func() float64

	// OpenLog opens the log of one attempt. Nil discards what jobs say.
	OpenLog func(j Job) (Log, error)

	// Follow returns the jobs that are made because j ended. They are queued in the transaction
	// that ends it. Nil makes none.
	Follow func(j Job) []Job

	// Told is called when the queue was told how an attempt ended. It does not block. Nil does nothing.
	Told func(id ID)
}

func (c *Config) setDefaults() {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Workers == nil {
		c.Workers = map[string]int{DefaultPool: 4}
	}
	if _, named := c.Workers[TellPool]; !named {
		c.Workers = maps.Clone(c.Workers)
		c.Workers[TellPool] = 4
	}
	if c.Rand == nil {
		c.Rand = func() float64 { return 0.5 }
	}
	if c.Told == nil {
		c.Told = func(ID) {}
	}
	if c.Follow == nil {
		c.Follow = func(Job) []Job { return nil }
	}
	c.PerOwner, c.PerRepo = cmp.Or(max(c.PerOwner, 0), 2), cmp.Or(max(c.PerRepo, 0), 1)
	c.Timeout = cmp.Or(max(c.Timeout, 0), 10*time.Minute)
	c.Lease = cmp.Or(max(c.Lease, 0), 30*time.Second)
	c.Stop = cmp.Or(max(c.Stop, 0), 20*time.Second)
}

// An Engine takes jobs from a queue and has them run.
type Engine struct {
	cfg   Config
	pools []string
	ended chan struct{} // one that ran has ended

	mu      sync.Mutex
	tasks   map[ID]*task
	running map[string]int // by pool
	expires time.Time      // when the leases of all tasks end
}

// A task is one attempt that is under way.
type task struct {
	job    Job
	cancel context.CancelCauseFunc
}

// Why an attempt is asked to end; the cause of its context.
var (
	ErrTimeout  = errors.New("it took too long")
	ErrStopping = errors.New("the server is stopping")
	ErrLost     = errors.New("the lease was lost")
	ErrAsked    = errors.New("it was asked to end") // cancelled, or a newer one took its place
)

// New returns an engine that does nothing until Run. What is required and missing is a
// fault.Invalid.
func New(cfg Config) (*Engine, error) {
	if cfg.Queue == nil || cfg.Runner == nil || cfg.Clock == nil || cfg.By == "" {
		return nil, fault.E(fault.Invalid, "jobs: engine", "an engine needs a queue, a runner, a clock and a name")
	}
	cfg.setDefaults()
	return &Engine{
		cfg: cfg, pools: slices.Sorted(maps.Keys(cfg.Workers)), ended: make(chan struct{}, 1),
		tasks: map[ID]*task{}, running: map[string]int{},
	}, nil
}

// pause is how long the engine leaves a queue alone that failed.
const pause = time.Second

// Run has jobs run until ctx ends; then it asks those that run to end, and returns when they have,
// or when Config.Stop is over: a fault.Busy. What did not end stays with this engine's lease, and
// is queued again by the next. A queue that fails is asked again later.
func (e *Engine) Run(ctx context.Context) error {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var s shift
	for ctx.Err() == nil {
		now := e.cfg.Clock.Now()
		wake := s.turn(ctx, life, e, now)
		timer, stop := e.cfg.Clock.At(wake)
		select {
		case <-ctx.Done():
		case <-e.cfg.Queue.Changed():
			s.asked = true
		case <-e.ended:
		case <-timer:
		}
		stop()
	}
	return e.stop(life)
}

// A shift is what the loop of Run remembers from one turn to the next.
type shift struct {
	asked   bool      // somebody may have been asked to end
	suspect bool      // a claim failed: this engine may hold what it does not know of
	renew   time.Time // when leases are renewed
	reap    time.Time // when to look for what others left
	wait    time.Time // the queue failed: nothing is claimed before
}

// turn does what there is to do at now, and returns when to look again at the latest.
func (s *shift) turn(ctx, life context.Context, e *Engine, now time.Time) time.Time {
	third := e.cfg.Lease / 3
	fail := func(what string, err error) {
		if ctx.Err() == nil {
			e.cfg.Log.Warn("jobs: "+what, "err", err)
			s.wait = now.Add(pause)
		}
	}
	if !now.Before(s.reap) && !now.Before(s.wait) {
		if err := e.reap(ctx, now); err != nil {
			fail("cannot queue again what was left", err)
		} else {
			s.reap = now.Add(e.cfg.Lease)
		}
	}
	busy := e.busy()
	if busy > 0 || s.suspect {
		switch {
		case !now.Before(s.renew) || s.suspect:
			if err := e.renew(ctx, now); err != nil {
				s.renew = now.Add(pause)
				fail("cannot renew leases", err)
				e.lapse(now)
			} else {
				s.renew, s.suspect = now.Add(third), false
			}
		case s.asked:
			if held, err := e.cfg.Queue.Held(ctx, e.cfg.By); err != nil {
				fail("cannot see who is asked to end", err)
			} else {
				e.heed(ctx, held, now)
			}
		}
	}
	s.asked = false
	if !now.Before(s.wait) {
		if err := e.fill(ctx, life, now); err != nil {
			s.suspect = true
			fail("cannot claim", err)
		}
	}
	if n := e.busy(); n > 0 && busy == 0 {
		s.renew = now.Add(third)
	}
	wake := s.reap
	for _, t := range []time.Time{s.renew, s.wait} {
		if t.After(now) && t.Before(wake) {
			wake = t
		}
	}
	if s.wait.After(now) {
		return wake
	}
	for _, pool := range e.pools {
		if e.free(pool) <= 0 {
			continue
		}
		next, ok, err := e.cfg.Queue.Next(ctx, pool, now)
		if err != nil {
			fail("cannot see what is next", err)
			next, ok = s.wait, !s.wait.IsZero()
		}
		if ok && next.Before(wake) {
			wake = next
		}
	}
	return wake
}

func (e *Engine) busy() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.tasks)
}

func (e *Engine) free(pool string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.cfg.Workers[pool] - e.running[pool]
}

// fill claims as much as there are workers for.
func (e *Engine) fill(ctx, life context.Context, now time.Time) error {
	for _, pool := range e.pools {
		for e.free(pool) > 0 {
			until := now.Add(e.cfg.Lease)
			j, ok, err := e.cfg.Queue.Claim(ctx, Claim{
				By: e.cfg.By, Pool: pool, Now: now, Until: until, PerOwner: e.cfg.PerOwner, PerRepo: e.cfg.PerRepo,
			})
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			e.start(life, j, pool, until)
		}
	}
	return nil
}

func (e *Engine) start(life context.Context, j Job, pool string, until time.Time) {
	ctx, cancel := context.WithCancelCause(life)
	t := &task{job: j, cancel: cancel}
	e.mu.Lock()
	if len(e.tasks) == 0 || until.Before(e.expires) {
		e.expires = until
	}
	e.tasks[j.ID] = t
	e.running[pool]++
	e.mu.Unlock()
	go func() {
		defer cancel(nil)
		e.attempt(ctx, life, t)
		e.mu.Lock()
		delete(e.tasks, j.ID)
		e.running[pool]--
		e.mu.Unlock()
		select {
		case e.ended <- struct{}{}:
		default:
		}
	}()
}

// renew moves the leases forward and heeds who was asked to end.
func (e *Engine) renew(ctx context.Context, now time.Time) error {
	until := now.Add(e.cfg.Lease)
	held, err := e.cfg.Queue.Renew(ctx, e.cfg.By, until)
	if err != nil {
		return err
	}
	e.mu.Lock()
	e.expires = until
	there := map[ID]bool{}
	for _, h := range held {
		there[h.ID] = true
	}
	var lost []*task
	for id, t := range e.tasks {
		if !there[id] { // or it has just ended
			lost = append(lost, t)
		}
	}
	e.mu.Unlock()
	for _, t := range lost {
		t.cancel(ErrLost)
	}
	e.heed(ctx, held, now)
	return nil
}

// heed asks those to end that were asked to, and gives back what this engine holds and does not
// run: a claim that failed did happen after all.
func (e *Engine) heed(ctx context.Context, held []Held, now time.Time) {
	for _, h := range held {
		e.mu.Lock()
		t := e.tasks[h.ID]
		e.mu.Unlock()
		switch {
		case t == nil:
			err := e.cfg.Queue.Finish(ctx, e.cfg.By, h.ID, Ending{State: Queued, Uncounted: true, RunAfter: now, At: now})
			if err != nil && !fault.Is(err, fault.Stale) { // it had just ended
				e.cfg.Log.Warn("jobs: cannot give back", "job", h.ID, "err", err)
			}
		case h.Cancelling != "":
			t.cancel(ErrAsked)
		}
	}
}

// lapse ends everything once the leases are over: somebody else may have taken it.
func (e *Engine) lapse(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now.Before(e.expires) {
		return
	}
	for _, t := range e.tasks {
		t.cancel(ErrLost)
	}
}

// reapLimit is how many jobs are looked at in one go that others left.
const reapLimit = 100

// reap queues again what a process left that died.
func (e *Engine) reap(ctx context.Context, now time.Time) error {
	for {
		list, err := e.cfg.Queue.Abandoned(ctx, e.cfg.By, now, e.cfg.Alone, reapLimit)
		if err != nil {
			return err
		}
		progress := false
		for _, j := range list {
			e.mu.Lock()
			_, ours := e.tasks[j.ID]
			e.mu.Unlock()
			if ours {
				continue
			}
			if r, ok := e.cfg.Runner.(Reaper); ok {
				if err := r.Reap(ctx, j); err != nil {
					e.cfg.Log.Error("jobs: what a dead process left cannot be ended", "job", j.ID, "repo", j.Repo.String(), "err", err)
					continue
				}
			}
			end := Ending{State: Queued, Crashed: true, Reason: ReasonCrash, RunAfter: now, At: now}
			if j.Lease.By == e.cfg.By { // a claim that failed did happen after all, and nothing was run
				end.Uncounted, end.Crashed, end.Reason = true, false, ""
			}
			err := e.cfg.Queue.Finish(ctx, j.Lease.By, j.ID, end)
			if err != nil && !fault.Is(err, fault.Stale) {
				return err
			}
			e.cfg.Log.Warn("jobs: nobody runs it any more, it is queued again", "job", j.ID, "repo", j.Repo.String(), "name", j.Name)
			progress = true
		}
		if len(list) < reapLimit || !progress {
			return nil
		}
	}
}

// stop asks everything that runs to end, and waits for it.
func (e *Engine) stop(life context.Context) error {
	clock := e.cfg.Clock
	e.mu.Lock()
	for _, t := range e.tasks {
		t.cancel(ErrStopping)
	}
	e.mu.Unlock()
	over, give := clock.At(clock.Now().Add(e.cfg.Stop))
	defer give()
	renew := clock.Now().Add(e.cfg.Lease / 3)
	for e.busy() > 0 {
		tick, back := clock.At(renew)
		select {
		case <-e.ended:
		case <-tick:
			// What still runs is still ours.
			if _, err := e.cfg.Queue.Renew(life, e.cfg.By, clock.Now().Add(e.cfg.Lease)); err != nil {
				e.cfg.Log.Warn("jobs: cannot renew leases", "err", err)
			}
			renew = clock.Now().Add(e.cfg.Lease / 3)
		case <-over:
			back()
			return fault.Errorf(fault.Busy, "jobs: stop", "%d jobs have not ended in time; they are queued again at the next start", e.busy())
		}
		back()
	}
	return nil
}

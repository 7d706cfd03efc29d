package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/jobs/jobstest"
)

// A hall is a queue, a clock, a runner that the test directs, and engines.
type hall struct {
	*testing.T
	jobs.Queue
	clock *jobstest.Clock
	ids   *jobs.IDs
	began chan *attempt
	ended chan jobs.Job // as it is after each Finish
	asked chan struct{} // after each Renew and Held

	mu    sync.Mutex
	fails map[string]int // how many of the next calls of this name fail
	after bool           // they fail after they did it
	calls map[string]int
}

type attempt struct {
	jobs.Job
	ctx context.Context
	log jobs.Log
	end chan jobs.Result
}

func open(t *testing.T) *hall {
	h := &hall{T: t, Queue: jobstest.NewMemory(jobs.Bounds{PerOwner: 100}), clock: jobstest.NewClock(), began: make(chan *attempt, 100),
		ended: make(chan jobs.Job, 1000), asked: make(chan struct{}, 1000), fails: map[string]int{}, calls: map[string]int{}}
	h.ids = jobs.NewIDs(h.clock.Now, strings.NewReader(strings.Repeat("0123456789", 1000)))
	return h
}

// Run is the runner: the test is told, and says how it ends.
func (h *hall) Run(ctx context.Context, j jobs.Job, log jobs.Log) jobs.Result {
	a := &attempt{j, ctx, log, make(chan jobs.Result, 1)}
	h.began <- a
	select {
	case r := <-a.end:
		return r
	case <-ctx.Done():
		return jobs.Result{State: jobs.Failed, Reason: "ended: " + context.Cause(ctx).Error(), Signal: "TERM"}
	}
}

var errDown = fault.E(fault.Busy, "test", "the queue is down")

// does calls f unless the call of this name is to fail.
func (h *hall) does(name string, f func() error) error {
	h.mu.Lock()
	h.calls[name]++
	fail := h.fails[name] > 0
	if fail {
		h.fails[name]--
	}
	after := h.after
	h.mu.Unlock()
	if fail && !after {
		return errDown
	}
	if err := f(); err != nil {
		return err
	}
	if fail {
		return errDown
	}
	return nil
}

func (h *hall) Claim(ctx context.Context, c jobs.Claim) (j jobs.Job, ok bool, err error) {
	err = h.does("claim", func() (err error) { j, ok, err = h.Queue.Claim(ctx, c); return err })
	return j, ok && err == nil, err
}

func (h *hall) Finish(ctx context.Context, by string, id jobs.ID, e jobs.Ending) error {
	return h.does("finish", func() error {
		err := h.Queue.Finish(ctx, by, id, e)
		if err == nil {
			j, _ := h.Queue.Job(ctx, id)
			h.ended <- j
		}
		return err
	})
}

func (h *hall) Renew(ctx context.Context, by string, until time.Time) (out []jobs.Held, err error) {
	err = h.does("renew", func() (err error) { out, err = h.Queue.Renew(ctx, by, until); return err })
	h.asked <- struct{}{}
	return out, err
}

func (h *hall) Held(ctx context.Context, by string) (out []jobs.Held, err error) {
	err = h.does("held", func() (err error) { out, err = h.Queue.Held(ctx, by); return err })
	return out, err
}

func (h *hall) Abandoned(ctx context.Context, by string, at time.Time, alone bool, limit int) (out []jobs.Job, err error) {
	err = h.does("abandoned", func() (err error) { out, err = h.Queue.Abandoned(ctx, by, at, alone, limit); return err })
	return out, err
}

func (h *hall) Next(ctx context.Context, pool string, after time.Time) (t time.Time, ok bool, err error) {
	err = h.does("next", func() (err error) { t, ok, err = h.Queue.Next(ctx, pool, after); return err })
	return t, ok, err
}

// start runs an engine; stop ends it and returns what Run returned.
func (h *hall) start(by string, more ...func(*jobs.Config)) (stop func() error) {
	h.Helper()
	cfg := jobs.Config{Queue: h, Runner: h, Clock: h.clock, By: by, Alone: true, Workers: map[string]int{jobs.DefaultPool: 2}}
	for _, f := range more {
		f(&cfg)
	}
	e, err := jobs.New(cfg)
	if err != nil {
		h.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	h.Cleanup(func() {
		ended := make(chan struct{})
		go func() { stop(); close(ended) }()
		for { // whoever waits for the clock meanwhile waits for this
			select {
			case <-ended:
				return
			default:
				h.clock.Advance(time.Second)
			}
		}
	})
	return stop
}

func (h *hall) add(repo grasp.Addr, name string, more ...func(*jobs.Job)) jobs.ID {
	h.Helper()
	j := jobstest.Make(h.ids.Next(), repo, name, h.clock.Now(), more...)
	if err := h.Enqueue(context.Background(), []jobs.Job{j}); err != nil {
		h.Fatal(err)
	}
	return j.ID
}

// patience is how long a test waits for what has to happen; nothing waits for it to pass.
const patience = 2 * time.Minute

func await[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("%s never happened", what)
	}
	return v
}

func (h *hall) next() *attempt { h.Helper(); return await(h.T, "an attempt", h.began) }

func (h *hall) end(want jobs.State) jobs.Job {
	h.Helper()
	j := await(h.T, "an end", h.ended)
	if j.State != want {
		h.Fatalf("%s is %s %q, want %s", j.Name, j.State, j.Reason, want)
	}
	return j
}

// What is queued is run, what needs it after it, and no more than there are workers for.
func TestEngineRuns(t *testing.T) {
	h := open(t)
	stop := h.start("a")
	a := h.add(jobstest.Repo(1, "r"), "test")
	h.add(jobstest.Repo(1, "r"), "deploy", jobstest.After(jobs.IfOK, a))
	h.add(jobstest.Repo(1, "r"), "cleanup", jobstest.After(jobs.IfFailed, a))
	one := h.next()
	one.end <- jobs.Result{State: jobs.OK, CPU: time.Second}
	if j := h.end(jobs.OK); j.ID != a || j.CPU != time.Second {
		t.Errorf("%+v", j)
	}
	two := h.next()
	if two.Name != "deploy" {
		t.Errorf("%s runs", two.Name)
	}
	two.end <- jobs.Result{State: jobs.Failed, Exit: 1, Reason: "exit 1"}
	h.end(jobs.Failed)
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// 20 pushes to one repository and one to another with two slots: the other starts second (S0-28).
func TestEngineIsFair(t *testing.T) {
	h := open(t)
	for range 20 {
		h.add(jobstest.Repo(1, "busy"), "x")
	}
	h.add(jobstest.Repo(2, "quiet"), "x")
	h.start("a", func(c *jobs.Config) { c.PerOwner, c.PerRepo = 2, 2 })
	seen := map[string]bool{h.next().Repo.ID: true, h.next().Repo.ID: true}
	if !seen["busy"] || !seen["quiet"] {
		t.Errorf("%v", seen)
	}
}

// A job that fails is tried again when its time has come, and not for ever (S3-21).
func TestEngineRetries(t *testing.T) {
	h := open(t)
	h.start("a", func(c *jobs.Config) { c.Rand = func() float64 { return 1 } })
	h.add(jobstest.Repo(1, "r"), "x", func(j *jobs.Job) { j.Retry = jobs.Retry{Max: 4, On: []string{"exit:7"}} })
	for _, want := range []time.Duration{1, 2, 4, 8} {
		h.next().end <- jobs.Result{State: jobs.Failed, Exit: 7}
		j := h.end(jobs.Queued)
		if got := j.RunAfter.Sub(h.clock.Now()); got != want*time.Second {
			t.Errorf("attempt %d: again after %v, want %v", j.Attempt, got, want*time.Second)
		}
		h.clock.Advance(want * time.Second)
	}
	h.next().end <- jobs.Result{State: jobs.Failed, Exit: 7}
	if j := h.end(jobs.Failed); j.Attempt != 5 {
		t.Errorf("%d attempts", j.Attempt)
	}
}

func TestEngineTimeout(t *testing.T) {
	h := open(t)
	h.start("a", func(c *jobs.Config) { c.Lease = time.Hour })
	h.add(jobstest.Repo(1, "r"), "x", func(j *jobs.Job) { j.Timeout = time.Minute })
	a := h.next()
	h.clock.Advance(time.Minute)
	await(t, "the timeout", a.ctx.Done())
	if j := h.end(jobs.TimedOut); j.Signal != "TERM" {
		t.Errorf("%+v", j)
	}
}

// Who is asked to end, ends: by hand, and because a newer one came.
func TestEngineCancels(t *testing.T) {
	h := open(t)
	h.start("a")
	id := h.add(jobstest.Repo(1, "r"), "x")
	a := h.next()
	if _, err := h.Cancel(context.Background(), id, "alice said so", h.clock.Now()); err != nil {
		t.Fatal(err)
	}
	await(t, "the end", a.ctx.Done())
	if j := h.end(jobs.Cancelled); j.Reason != "alice said so" {
		t.Errorf("%+v", j)
	}
	g := jobstest.In("g", jobs.Cancel)
	h.add(jobstest.Repo(1, "r"), "old", g)
	h.next()
	h.add(jobstest.Repo(1, "r"), "new", g)
	h.end(jobs.Superseded)
	if a := h.next(); a.Name != "new" {
		t.Errorf("%s runs", a.Name)
	}
}

// Stopping ends what runs and queues it again, and it was no attempt (S4-31).
func TestEngineStops(t *testing.T) {
	h := open(t)
	stop := h.start("a")
	id := h.add(jobstest.Repo(1, "r"), "x")
	h.next()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if j := h.end(jobs.Queued); j.ID != id || j.Attempt != 0 || j.Reason != jobs.ReasonStopping {
		t.Errorf("%+v", j)
	}
	h.start("b")
	h.next().end <- jobs.Result{State: jobs.OK}
	h.end(jobs.OK)
}

// stubborn does not end when it is asked to.
type stubborn struct {
	began   chan struct{}
	release chan struct{}
}

func (s stubborn) Run(context.Context, jobs.Job, jobs.Log) jobs.Result {
	close(s.began)
	<-s.release
	return jobs.Result{State: jobs.OK}
}

// A runner that does not end keeps nobody for ever, and its job is not lost.
func TestEngineStopsWithoutARunner(t *testing.T) {
	h := open(t)
	s := stubborn{make(chan struct{}), make(chan struct{})}
	defer close(s.release)
	stop := h.start("a", func(c *jobs.Config) { c.Runner, c.Stop, c.Lease = s, time.Minute, time.Hour })
	id := h.add(jobstest.Repo(1, "r"), "x")
	await(t, "the attempt", s.began)
	done := make(chan error, 1)
	go func() { done <- stop() }()
	for err := error(nil); err == nil; {
		select {
		case err = <-done:
			if !fault.Is(err, fault.Busy) {
				t.Fatalf("%v, want busy", err)
			}
		default:
			h.clock.Advance(time.Minute)
		}
	}
	h.start("b")
	if j := h.end(jobs.Queued); j.ID != id || j.Crashes != 1 {
		t.Errorf("%+v", j)
	}
}

// What a process left that died is run again by the next, after what it left was ended.
func TestEngineTakesOver(t *testing.T) {
	h := open(t)
	id := h.add(jobstest.Repo(1, "r"), "x")
	if _, ok, err := h.Queue.Claim(context.Background(), jobs.Claim{By: "dead", Now: h.clock.Now(), Until: h.clock.Now().Add(time.Hour)}); !ok || err != nil {
		t.Fatal(ok, err)
	}
	var reaped []jobs.ID
	r := reaper{h, func(j jobs.Job) error {
		if reaped = append(reaped, j.ID); len(reaped) == 1 {
			return errors.New("not yet")
		}
		return nil
	}, make(chan struct{}, 10)}
	h.start("a", func(c *jobs.Config) { c.Runner = r })
	await(t, "the reaper", r.done)
	h.clock.Advance(30 * time.Second)
	h.end(jobs.Queued)
	a := h.next()
	if a.ID != id || a.Attempt != 2 || a.Crashes != 1 || len(reaped) != 2 {
		t.Errorf("%+v, reaped %v", a.Job, reaped)
	}
}

// A reaper is a runner that is asked about what dead processes left.
type reaper struct {
	*hall
	reap func(jobs.Job) error
	done chan struct{}
}

func (r reaper) Reap(_ context.Context, j jobs.Job) error {
	defer func() { r.done <- struct{}{} }()
	return r.reap(j)
}

// Whoever cannot renew its leases ends what it runs, for somebody else may have taken it.
func TestEngineLosesLeases(t *testing.T) {
	h := open(t)
	h.start("a", func(c *jobs.Config) { c.Lease = 30 * time.Second })
	h.add(jobstest.Repo(1, "r"), "x")
	a := h.next()
	h.mu.Lock()
	h.fails["renew"] = 1000
	h.mu.Unlock()
	for a.ctx.Err() == nil {
		h.clock.Advance(10 * time.Second)
		select {
		case <-h.asked:
		case <-a.ctx.Done():
		case <-time.After(patience):
			t.Fatal("the leases are over, and it runs")
		}
	}
	if !errors.Is(context.Cause(a.ctx), jobs.ErrLost) {
		t.Error(context.Cause(a.ctx))
	}
	if j := h.end(jobs.Queued); j.Crashes != 1 {
		t.Errorf("%+v", j)
	}
}

// Leases are renewed while a job runs, however long that takes (S0-01).
func TestEngineRenews(t *testing.T) {
	h := open(t)
	h.start("a", func(c *jobs.Config) { c.Timeout = 24 * time.Hour })
	id := h.add(jobstest.Repo(1, "r"), "x")
	a := h.next()
	for range 30 {
		h.clock.Advance(10 * time.Second)
		await(t, "a renewal", h.asked)
	}
	j, err := h.Job(context.Background(), id)
	if err != nil || !j.Lease.Until.After(h.clock.Now()) || a.ctx.Err() != nil {
		t.Errorf("%+v, %v, %v", j.Lease, err, a.ctx.Err())
	}
}

type panics struct{}

func (panics) Run(context.Context, jobs.Job, jobs.Log) jobs.Result { panic("a secret") }

func TestEngineSurvivesARunner(t *testing.T) {
	h := open(t)
	h.start("a", func(c *jobs.Config) { c.Runner = panics{} })
	h.add(jobstest.Repo(1, "r"), "x", func(j *jobs.Job) { j.Retry.Max = 5 })
	if j := h.end(jobs.Failed); j.Reason != "internal error" {
		t.Errorf("%+v", j)
	}
}

// What is made because a job ended is queued with its end.
func TestEngineFollows(t *testing.T) {
	h := open(t)
	h.start("a", func(c *jobs.Config) {
		c.Follow = func(j jobs.Job) []jobs.Job {
			if j.Name != "x" || j.State != jobs.Failed {
				return nil
			}
			return []jobs.Job{jobstest.Make(h.ids.Next(), j.Repo, "notify", h.clock.Now(), func(n *jobs.Job) { n.Trigger = jobs.OnJob })}
		}
	})
	h.add(jobstest.Repo(1, "r"), "x")
	h.next().end <- jobs.Result{} // says nothing: that is no success
	h.end(jobs.Failed)
	if a := h.next(); a.Name != "notify" {
		t.Errorf("%s runs", a.Name)
	}
}

// book is a log in memory.
type book struct {
	strings.Builder
	closed bool
}

func (b *book) Stream(name string) io.Writer { fmt.Fprintf(b, "%s:", name); return b }
func (b *book) Close() (int64, error)        { b.closed = true; return int64(b.Len()), nil }

func TestEngineLogs(t *testing.T) {
	h := open(t)
	b := new(book)
	h.start("a", func(c *jobs.Config) { c.OpenLog = func(jobs.Job) (jobs.Log, error) { return b, nil } })
	h.add(jobstest.Repo(1, "r"), "x")
	a := h.next()
	fmt.Fprint(a.log.Stream("stdout"), "hello")
	a.end <- jobs.Result{State: jobs.OK}
	if j := h.end(jobs.OK); j.Log != jobs.LogKept || j.LogBytes != int64(len("stdout:hello")) || !b.closed {
		t.Errorf("%+v", j)
	}
}

// TestEngineCrashTable: each call of the queue fails, before or after it did what it says, some
// times in a row. Then it works again, and every job has ended, and none of a group ran beside
// another.
func TestEngineCrashTable(t *testing.T) {
	for _, call := range []string{"claim", "finish", "renew", "held", "abandoned", "next"} {
		for _, after := range []bool{false, true} {
			for _, times := range []int{1, 3} {
				t.Run(fmt.Sprintf("%s/after=%v/%d", call, after, times), func(t *testing.T) {
					h := open(t)
					h.fails[call], h.after = times, after
					var list []jobs.ID
					for i := range 6 {
						list = append(list, h.add(jobstest.Repo(i%2, "r"), "x", jobstest.In("g", jobs.InTurn)))
					}
					list = append(list, h.add(jobstest.Repo(1, "r"), "last", jobstest.After(jobs.IfOK, list...)))
					h.start("a", func(c *jobs.Config) { c.Runner, c.Lease = &alone{T: t}, time.Hour })
					deadline := time.After(patience)
					for left := len(list); left > 0; {
						select {
						case j := <-h.ended:
							if j.State.Ended() {
								left--
							}
						case <-h.asked:
						case <-deadline:
							all, _ := h.List(context.Background(), jobs.Filter{})
							t.Fatalf("%d jobs have not ended: %+v", left, all)
						default:
							h.clock.Advance(time.Second)
						}
					}
					for _, id := range list {
						if j, err := h.Job(context.Background(), id); err != nil || j.State != jobs.OK {
							t.Errorf("%s is %s %q (%v)", j.Name, j.State, j.Reason, err)
						}
					}
				})
			}
		}
	}
}

// alone is a runner in which one job runs at a time.
type alone struct {
	*testing.T
	mu sync.Mutex
}

func (a *alone) Run(context.Context, jobs.Job, jobs.Log) jobs.Result {
	if !a.mu.TryLock() {
		a.Error("two of a group run")
		return jobs.Result{State: jobs.Failed}
	}
	defer a.mu.Unlock()
	return jobs.Result{State: jobs.OK}
}

// An engine without what it needs is none.
func TestEngineNeeds(t *testing.T) {
	if _, err := jobs.New(jobs.Config{}); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
}

package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
)

// attempt runs a job once and says in the queue what became of it.
func (e *Engine) attempt(ctx, life context.Context, t *task) {
	j := &t.job
	timeout := j.Timeout
	if timeout <= 0 {
		timeout = e.cfg.Timeout
	}
	alarm, back := e.cfg.Clock.At(e.cfg.Clock.Now().Add(timeout))
	over := make(chan struct{})
	go func() {
		defer back()
		select {
		case <-alarm:
			t.cancel(ErrTimeout)
		case <-over:
		}
	}()
	e.cfg.Log.Info("job begins", "job", j.ID, "repo", j.Repo.String(), "name", j.Name, "push", j.Push, "event", string(j.Cause), "attempt", j.Attempt)
	log, kept := e.openLog(*j)
	res := e.run(ctx, *j, log)
	close(over)
	bytes, err := log.Close()
	if err != nil {
		e.cfg.Log.Warn("jobs: log", "job", j.ID, "err", err)
	}
	end := e.ending(*j, res, context.Cause(ctx))
	end.Log, end.LogBytes = kept, bytes
	e.finish(life, *j, end)
}

// run is the Runner's Run. A job that makes it panic has failed, and the house stands.
func (e *Engine) run(ctx context.Context, j Job, log Log) (res Result) {
	defer func() {
		if p := recover(); p != nil {
			e.cfg.Log.Error("jobs: a runner panicked", "job", j.ID, "kind", j.Kind, "err", fmt.Sprint(p))
			res = Result{State: Failed, Reason: "internal error", Fault: FaultInfra, Final: true}
		}
	}()
	return e.cfg.Runner.Run(ctx, j, log)
}

// silence is the log of those that have none.
type silence struct{}

func (silence) Stream(string) io.Writer { return io.Discard }
func (silence) Close() (int64, error)   { return 0, nil }

func (e *Engine) openLog(j Job) (Log, LogState) {
	if e.cfg.OpenLog == nil {
		return silence{}, NoLog
	}
	log, err := e.cfg.OpenLog(j)
	if err != nil || log == nil {
		e.cfg.Log.Warn("jobs: it runs without a log", "job", j.ID, "err", err)
		return silence{}, NoLog
	}
	return log, LogKept
}

// ending says what follows from a result, given why the attempt's context ended, if it did.
func (e *Engine) ending(j Job, res Result, cause error) Ending {
	now := e.cfg.Clock.Now()
	end := Ending{State: res.State, Reason: res.Reason, At: now, Exit: res.Exit, Signal: res.Signal, MaxRSS: res.MaxRSS, CPU: res.CPU}
	switch {
	case res.State == OK || res.State == Skipped:
	case errors.Is(cause, ErrStopping):
		end.State, end.Reason, end.Uncounted, end.RunAfter = Queued, ReasonStopping, true, now
		return end
	case errors.Is(cause, ErrLost):
		end.State, end.Reason, end.Crashed, end.RunAfter = Queued, ErrLost.Error(), true, now
		return end
	case errors.Is(cause, ErrAsked):
		end.State = Cancelled // the queue knows what was asked for, and why
		return end
	case errors.Is(cause, ErrTimeout):
		end.State, res.State, res.Fault = TimedOut, TimedOut, FaultTimeout
		if end.Reason == "" {
			end.Reason = ErrTimeout.Error()
		}
	case !res.State.Bad():
		end.State = Failed
	}
	if end.State.Bad() {
		if delay, ok := j.Retry.Delay(j.Failures(), res, e.cfg.Rand()); ok {
			end.Reason = fmt.Sprintf("%s, tried %d times of %d: %s", end.State, j.Failures(), j.Retry.Max+1, end.Reason)
			end.State, end.RunAfter = Queued, now.Add(delay)
			return end
		}
	}
	j.State, j.Reason, j.Ended, j.Exit, j.Signal, j.CPU, j.MaxRSS = end.State, end.Reason, now, end.Exit, end.Signal, end.CPU, end.MaxRSS
	end.Then = e.cfg.Follow(j)
	return end
}

// longestPause is how long a queue that fails again and again is left alone at most.
const longestPause = 30 * time.Second

// finish tells the queue, until it takes it or life ends: the worker is not free before, and the
// lease is kept.
func (e *Engine) finish(life context.Context, j Job, end Ending) {
	for wait := pause; ; wait = min(2*wait, longestPause) {
		err := e.cfg.Queue.Finish(life, e.cfg.By, j.ID, end)
		switch {
		case err == nil:
			e.cfg.Log.Info("job", "job", j.ID, "repo", j.Repo.String(), "name", j.Name, "push", j.Push, "event", string(j.Cause),
				"attempt", j.Attempt, "state", string(end.State), "reason", end.Reason, "took", end.At.Sub(j.Started))
			e.cfg.Told(j.ID)
			return
		case fault.Is(err, fault.Stale):
			// It was finished although that seemed to fail, or the lease was lost.
			e.cfg.Log.Warn("jobs: it ended, and is not ours any more", "job", j.ID, "state", string(end.State))
			return
		case len(end.Then) > 0 && (fault.Is(err, fault.Invalid) || fault.Is(err, fault.TooLarge)):
			e.cfg.Log.Error("jobs: what should follow cannot be queued", "job", j.ID, "err", err)
			end.Then = nil
			continue
		}
		e.cfg.Log.Warn("jobs: cannot say how it ended", "job", j.ID, "err", err)
		again, back := e.cfg.Clock.At(e.cfg.Clock.Now().Add(wait))
		select {
		case <-again:
		case <-life.Done():
			back()
			return
		}
		back()
	}
}

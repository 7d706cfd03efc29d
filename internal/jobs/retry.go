package jobs

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
)

// The classes of what may go wrong. FaultExit is any exit code; "exit:75" is that one alone.
const (
	FaultInfra   = "infra"   // not the job's own fault: a sandbox, a network, a server's 5xx
	FaultTimeout = "timeout" // it took too long
	FaultExit    = "exit"    // it ended with an exit code or by a signal
)

// A Result is how one attempt ended, as its Runner says.
type Result struct {
	State  State         // OK, Failed, TimedOut or StartupFailure; everything else means Failed
	Reason string        // one line for a person, "" if there is nothing to say
	Fault  string        // FaultInfra, FaultTimeout or FaultExit, or "" for FaultExit
	Exit   int           // the exit code, or the last status of HTTP
	Signal string        // what ended it, without SIG
	MaxRSS int64         // bytes
	CPU    time.Duration // of all its processes
	Final  bool          // trying again is no use, whatever Retry says
	After  time.Duration // what the other side asked to be left alone for, or 0
}

// A Retry says how often and when a job that failed is tried again.
type Retry struct {
	Max  int           `json:"max,omitempty"`  // how often, after the first time
	On   []string      `json:"on,omitempty"`   // after which faults; none means all
	Base time.Duration `json:"base,omitempty"` // the first delay; it doubles each time. 0 means a second
	Cap  time.Duration `json:"cap,omitempty"`  // the longest; 0 means an hour
	// Steps are the delays one by one, in place of Base and Cap; after the last it stays.
	Steps []time.Duration `json:"steps,omitempty"`
}

// MaxRetries is the greatest Retry.Max, and MaxDelay the longest delay.
const (
	MaxRetries = 100
	MaxDelay   = 7 * 24 * time.Hour
)

// Check reports what makes no sense: a fault.Invalid.
func (r Retry) Check() error {
	const op = "jobs: retry"
	if r.Max < 0 || r.Max > MaxRetries {
		return fault.Errorf(fault.Invalid, op, "max is %d: it is a number from 0 to %d", r.Max, MaxRetries)
	}
	if r.Base < 0 || r.Cap < 0 || r.Base > MaxDelay || r.Cap > MaxDelay || len(r.Steps) > MaxRetries {
		return fault.Errorf(fault.Invalid, op, "a delay is between nothing and %v", MaxDelay)
	}
	for _, s := range r.Steps {
		if s < 0 || s > MaxDelay {
			return fault.Errorf(fault.Invalid, op, "a delay of %v: it is between nothing and %v", s, MaxDelay)
		}
	}
	if len(r.On) > 50 {
		return fault.E(fault.TooLarge, op, "at most 50 faults can be named")
	}
	for _, on := range r.On {
		code, isExit := strings.CutPrefix(on, "exit:")
		if isExit {
			if n, err := strconv.Atoi(code); err != nil || n < 0 || n > 255 || strconv.Itoa(n) != code {
				return fault.Errorf(fault.Invalid, op, "%.40q: an exit code is a number from 0 to 255", on)
			}
		} else if on != FaultInfra && on != FaultTimeout && on != FaultExit {
			return fault.Errorf(fault.Invalid, op, "%.40q is no fault; there are infra, timeout, exit and exit:<code>", on)
		}
	}
	return nil
}

// Delay returns how long to wait before a job is tried again that has failed n times, n ≥ 1, and
// now with res; ok is false if it is not. rnd is a random number from 0 up to 1: the delay is
// between half and the whole of what it would be (S3-21). Nobody is asked again before
// they said.
func (r Retry) Delay(n int, res Result, rnd float64) (delay time.Duration, ok bool) {
	if n > r.Max || res.Final || res.State == OK || !r.covers(res) {
		return 0, false
	}
	n = max(n, 1)
	if len(r.Steps) > 0 {
		delay = r.Steps[min(n, len(r.Steps))-1]
	} else {
		base, longest := r.Base, r.Cap
		if base <= 0 {
			base = time.Second
		}
		if longest <= 0 {
			longest = time.Hour
		}
		delay = base
		for i := 1; i < n && delay < longest; i++ {
			delay *= 2
		}
		delay = min(delay, longest)
	}
	delay = time.Duration(float64(delay) * (0.5 + min(max(rnd, 0), 1)/2))
	return min(max(delay, res.After), MaxDelay), true
}

func (r Retry) covers(res Result) bool {
	kind := res.Fault
	if kind == "" {
		kind = FaultExit
	}
	return len(r.On) == 0 || slices.Contains(r.On, kind) ||
		kind == FaultExit && slices.Contains(r.On, "exit:"+strconv.Itoa(res.Exit))
}

// webhookSteps is when a delivery is tried again (S3-49): over three days.
var webhookSteps = []time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
	10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

// Habits are what a kind of job does unless its definition says otherwise.
type Habits struct {
	Policy Policy
	Retry  Retry
	Pool   string // "" means DefaultPool
	Group  string // "" means this job in this repository and ref
}

// HabitsOf returns the habits of a kind. A kind that is not known is careful: one after the other,
// and never tried again.
func HabitsOf(kind string) Habits {
	switch kind {
	case "site":
		return Habits{Policy: Latest}
	case "checkout":
		return Habits{Policy: Latest, Retry: Retry{Max: 3, On: []string{FaultInfra}}}
	case "mirror_push":
		// It pushes all that there is, whichever ref moved: of those that wait one is enough.
		return Habits{Policy: Latest, Retry: Retry{Max: 10, Base: 5 * time.Second}, Group: "{{.Repo}} {{.Job}}"}
	case "webhook", "trigger":
		return Habits{All, Retry{Max: len(webhookSteps), Steps: webhookSteps}, TellPool, ""}
	case "notify":
		return Habits{All, Retry{Max: 6, Base: time.Minute}, TellPool, ""}
	}
	return Habits{Policy: InTurn}
}

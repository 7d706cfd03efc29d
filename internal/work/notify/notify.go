// Package notify tells people how jobs ended: which notices ask for it (follow.go), and how an ntfy
// server is told (ntfy.go). To targets that are webhooks somebody else delivers. It does not know how
// jobs are queued, nor how requests find their way out.
package notify

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
)

// A Client sends requests. It follows no redirects and reaches no address that it should not.
type Client interface {
	Do(*http.Request) (*http.Response, error)
}

// A Courier delivers to targets that are webhooks.
type Courier interface {
	Deliver(ctx context.Context, t *work.Task, to string, what work.Telling) jobs.Result
}

// Config is what a Doer needs. Client, Target and Now are required.
type Config struct {
	Client Client
	Now    func() time.Time

	// Target returns a row of targets:, or false.
	Target func(name string) (work.Target, bool)

	// Secret returns a secret of a target. Nil knows none.
	Secret func(ctx context.Context, ref work.SecretRef) ([]byte, error)

	// Webhooks delivers to webhooks. Nil cannot.
	Webhooks Courier

	// Tail returns the last lines of a job's log, masked. Nil has none.
	Tail func(ctx context.Context, id jobs.ID, lines int) (string, error)

	// Nostr tells of a job that has ended in events of Nostr. Nil does not.
	Nostr func(ctx context.Context, t *work.Task, about work.About) error

	// RetryURL returns the address at which that one job can be run again, once (§3.10), or "". Nil
	// offers none.
	RetryURL func(id jobs.ID) string
}

// A Doer does jobs of the kind notify. Its methods are safe for concurrent use.
type Doer struct{ cfg Config }

var _ work.Doer = (*Doer)(nil)

// New returns a Doer. What is required and missing is a fault.Invalid.
func New(cfg Config) (*Doer, error) {
	if cfg.Client == nil || cfg.Target == nil || cfg.Now == nil {
		return nil, fault.E(fault.Invalid, "notify: new", "a client, targets and a clock are needed")
	}
	if cfg.Secret == nil {
		cfg.Secret = func(_ context.Context, _ work.SecretRef) ([]byte, error) {
			return nil, fault.E(fault.Invalid, "notify: secret", "there are no secrets")
		}
	}
	if cfg.Tail == nil {
		cfg.Tail = func(context.Context, jobs.ID, int) (string, error) { return "", nil }
	}
	if cfg.RetryURL == nil {
		cfg.RetryURL = func(jobs.ID) string { return "" }
	}
	return &Doer{cfg}, nil
}

// excerptLines is how many lines of a log a template can take from.
const excerptLines = 100

// Do tells every target of t's Spec. With several, one that fails has all told again: a target that
// recognises what it knows shows it once.
func (d *Doer) Do(ctx context.Context, t *work.Task) jobs.Result {
	spec := t.Spec.(*work.Notify)
	about := work.Of(t.Job, "")
	if spec.About != nil {
		about = *spec.About
	}
	if spec.Nostr {
		if d.cfg.Nostr == nil {
			t.Printf("nobody is told: jobs_engine.nostr is none")
			return jobs.Result{State: jobs.OK}
		}
		if err := d.cfg.Nostr(ctx, t, about); err != nil {
			return failed(err, false)
		}
		return jobs.Result{State: jobs.OK}
	}
	what := work.Tell(about, t.URL)
	if spec.LogExcerpt {
		log, err := d.cfg.Tail(ctx, about.ID, excerptLines)
		if err != nil {
			t.Printf("the end of the log of %s cannot be read: %v", about.ID, err)
		}
		what.Log = log
	}
	what, err := spec.Message.In(what)
	if err != nil {
		return failed(err, true)
	}
	worst := jobs.Result{State: jobs.OK}
	for _, to := range spec.To {
		res := d.tell(ctx, t, to, what)
		if res.State == jobs.OK {
			t.Printf("told %s", to)
			if worst.State == jobs.OK {
				worst.Exit = res.Exit
			}
			continue
		}
		t.Printf("%s was not told: %s", to, res.Reason)
		if worst.State == jobs.OK || worst.Final && !res.Final {
			after := max(worst.After, res.After)
			worst = res
			worst.After = after
		}
	}
	return worst
}

func (d *Doer) tell(ctx context.Context, t *work.Task, to string, what work.Telling) jobs.Result {
	target, ok := d.cfg.Target(to)
	if !ok {
		return failed(fault.Errorf(fault.Invalid, "notify: tell", "there is no target %q: name it under targets:", to), false)
	}
	if target.Ntfy != "" {
		return d.ntfy(ctx, t, target, what)
	}
	if d.cfg.Webhooks == nil {
		return failed(fault.Errorf(fault.Invalid, "notify: tell", "target %q is a webhook, and nobody delivers", to), true)
	}
	return d.cfg.Webhooks.Deliver(ctx, t, to, what)
}

// Test tells target to of something made up, and returns the status and the beginning of the answer
// (S0-39).
func (d *Doer) Test(ctx context.Context, t *work.Task, to string) jobs.Result {
	about := work.About{Job: "test", Name: "notification", Repo: "gitroost", Kind: "notify", State: jobs.OK, Started: d.cfg.Now(), Ended: d.cfg.Now()}
	what := work.Tell(about, t.URL)
	what.Title, what.Message = "🔔 Test from "+cmp.Or(t.URL, "gitroost"), "This is a test. Jobs of this server can tell you how they ended."
	what.Tags = []string{"bell", "git"}
	return d.tell(ctx, t, to, what)
}

func failed(err error, final bool) jobs.Result {
	text, _ := fault.Message(err)
	kind := jobs.FaultInfra
	if errors.Is(err, context.DeadlineExceeded) {
		kind = jobs.FaultTimeout
	}
	return jobs.Result{State: jobs.Failed, Reason: text, Fault: kind, Final: final}
}

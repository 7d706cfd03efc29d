// Package jobview is jobs as people see them: what is told of one, in words and as JSON; its log, over all
// its attempts and while it runs; and what may be asked for: to run it again, to end it, to say why there is
// none.
//
//	jobview.go  the Board, and what it is made of     act.go    what may be asked for
//	view.go     what is told of a job                 token.go  the right to run one job again, once
//	schema.go   the same, as a JSON schema            plain.go  a line of a log as a person reads it
//	tail.go     a job's log while it grows            page.go   what a page shows
//
// It does not know HTTP, nor who may see or ask what: those who come in through a door have been asked for their
// names there.
package jobview

import (
	"context"
	"log/slog"
	"sync"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/joblog"
	"github.com/gitroost/gitroost/internal/jobs"
)

// Config is what a Board is made of. Queue, Logs and Clock are required.
type Config struct {
	Queue jobs.Queue
	Logs  *joblog.Logs
	Clock jobs.Clock
	URL   string // where people reach this server, without a slash at the end

	// Private reports whether only maintainers and the operator may see a job: by its definition, and
	// because its repository is not open to everybody. Nil: none is.
	Private func(ctx context.Context, j jobs.Job) bool

	// TokenKey is known to this server alone, and stays the same: rights to run a job again are signed with it.
	// Without it there are none.
	TokenKey []byte

	// Again queues a job that has ended once more, under the id as, or under a new one if that is "". Ask queues
	// the jobs of an order, of which repo is the repository; Explain says what each definition makes of a ref as it
	// is. All three are required by who uses the methods that need them.
	Again   func(ctx context.Context, id, as jobs.ID, by grasp.PubKey) (jobs.Job, error)
	Ask     func(ctx context.Context, repo grasp.Addr, o Order, by grasp.PubKey, operator bool) ([]jobs.Job, error)
	Explain func(ctx context.Context, repo grasp.Addr, ref grasp.RefName, trigger jobs.Trigger) ([]jobs.Match, error)

	Log *slog.Logger // nil discards
}

// A Board shows jobs. Its methods are safe for concurrent use.
type Board struct {
	cfg Config

	mu      sync.Mutex
	changed chan struct{} // closed and made anew when a job may have ended
}

// New returns a Board. What is required and missing is a fault.Invalid.
func New(cfg Config) (*Board, error) {
	if cfg.Queue == nil || cfg.Logs == nil || cfg.Clock == nil {
		return nil, fault.E(fault.Invalid, "jobview: new", "a board needs a queue, logs and a clock")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Board{cfg: cfg, changed: make(chan struct{})}, nil
}

// Note says that what is told of a job has changed: those who follow it look again.
func (b *Board) Note() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *Board) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

// Stop ends all that follow a job: the server stops.
func (b *Board) Stop() { b.cfg.Logs.Close() }

// Show returns one job, or a fault.NotFound.
func (b *Board) Show(ctx context.Context, id jobs.ID) (View, error) {
	j, err := b.cfg.Queue.Job(ctx, id)
	if err != nil {
		return View{}, fault.Wrap("jobview: show", err)
	}
	return b.view(ctx, j)
}

// view adds to what the row says which attempts have a log.
func (b *Board) view(ctx context.Context, j jobs.Job) (View, error) {
	v := NewView(j, b.cfg.URL)
	v.Private = b.cfg.Private != nil && b.cfg.Private(ctx, j)
	attempts, err := b.cfg.Logs.Attempts(string(j.ID))
	if err != nil {
		return View{}, fault.Wrap("jobview: show", err)
	}
	v.Log.Attempts = attempts
	return v, nil
}

// A Page is one page of a list.
type Page struct {
	Jobs []View  `json:"jobs" doc:"the newest first"`
	Next jobs.ID `json:"next,omitempty" doc:"the value of before for the page that follows; missing if there is none"`
}

// List returns one page of jobs. May decides which of those that are private are in it; the others are left out, so
// that a page may be shorter than asked for.
func (b *Board) List(ctx context.Context, f jobs.Filter, may func(View) bool) (Page, error) {
	p := Page{Jobs: []View{}}
	list, err := b.cfg.Queue.List(ctx, f)
	if err != nil {
		return p, fault.Wrap("jobview: list", err)
	}
	private := map[string]bool{} // by what it depends on, so that nobody is asked a hundred times
	for _, j := range list {
		v := NewView(j, b.cfg.URL)
		key := j.Repo.String() + "\x00" + j.Name
		hidden, asked := private[key]
		if !asked {
			hidden = b.cfg.Private != nil && b.cfg.Private(ctx, j)
			private[key] = hidden
		}
		if v.Private = hidden; !hidden || may(v) {
			p.Jobs = append(p.Jobs, v)
		}
	}
	if len(list) == f.Page() {
		p.Next = list[len(list)-1].ID
	}
	return p, nil
}

// Text opens the log of an attempt; 0 means the last one. What is not there is a fault.NotFound, and a log that was
// kept for long enough a fault.Gone.
func (b *Board) Text(ctx context.Context, id jobs.ID, attempt int) (*joblog.Text, error) {
	const op = "jobview: log"
	if attempt == 0 {
		attempts, err := b.cfg.Logs.Attempts(string(id))
		if err != nil {
			return nil, fault.Wrap(op, err)
		}
		if len(attempts) == 0 {
			return nil, b.noLog(ctx, id)
		}
		attempt = attempts[len(attempts)-1]
	}
	t, err := b.cfg.Logs.Text(string(id), attempt)
	if fault.Is(err, fault.NotFound) {
		return nil, b.noLog(ctx, id)
	}
	return t, fault.Wrap(op, err)
}

// noLog says why there is none.
func (b *Board) noLog(ctx context.Context, id jobs.ID) error {
	const op = "jobview: log"
	j, err := b.cfg.Queue.Job(ctx, id)
	switch {
	case err != nil:
		return fault.Wrap(op, err)
	case j.Log == jobs.LogGone:
		return fault.E(fault.Gone, op, "the log of this job was kept for as long as logs are kept here, and is gone")
	case !j.State.Ended() && j.Attempt == 0:
		return fault.E(fault.NotFound, op, "this job has not begun: there is no log yet. With ?follow=1 you wait for it")
	}
	return fault.E(fault.NotFound, op, "this job has no log of that attempt")
}

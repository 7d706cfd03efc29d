package jobview

import (
	"context"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/joblog"
	"github.com/gitroost/gitroost/internal/jobs"
)

// A Tail reads what a job says, attempt after attempt, until it has ended. Use it from one goroutine, and close
// it.
type Tail struct {
	b       *Board
	id      jobs.ID
	attempt int // that is read, or is waited for if f is nil
	from    int64
	one     bool // no other attempt
	f       *joblog.Follower
}

// glance is how often a job that nobody writes for is looked at, should nobody have said that it ended: what
// the queue decides by itself (a newer one takes its place) is not told.
const glance = 5 * time.Second

// Follow returns the log of a job from a place in it: an attempt, 0 for the last one, and an offset. It waits for a
// job that has not begun. With one it ends with that attempt.
func (b *Board) Follow(ctx context.Context, id jobs.ID, attempt int, from int64, one bool) (*Tail, error) {
	if _, err := b.cfg.Queue.Job(ctx, id); err != nil {
		return nil, fault.Wrap("jobview: follow", err)
	}
	t := &Tail{b: b, id: id, attempt: attempt, from: from, one: one}
	if attempt <= 0 {
		t.attempt = 1
		attempts, err := b.cfg.Logs.Attempts(string(id))
		if err != nil {
			return nil, fault.Wrap("jobview: follow", err)
		}
		if n := len(attempts); n > 0 {
			t.attempt = attempts[n-1]
		}
	}
	return t, nil
}

// Attempt returns of which attempt the lines are that Next returned.
func (t *Tail) Attempt() int { return t.attempt }

// Close gives back what is held.
func (t *Tail) Close() {
	if t.f != nil {
		t.f.Close()
	}
}

// Next waits for more lines and returns them. It is io.EOF when there will be none, a fault.Closing when the server
// stops, and what ctx says if that ends. The lines hold until the next call.
func (t *Tail) Next(ctx context.Context) ([]joblog.Line, error) {
	for {
		if t.f == nil {
			if err := t.open(ctx); err != nil {
				return nil, err
			}
		}
		lines, err := t.f.Next(ctx)
		if err != io.EOF {
			return lines, err
		}
		t.f.Close()
		t.f = nil
		if t.one {
			return nil, io.EOF
		}
		t.attempt, t.from = t.attempt+1, 0
	}
}

// open waits for the next log that there is.
func (t *Tail) open(ctx context.Context) error {
	for {
		begun, ended := t.b.cfg.Logs.Changed(), t.b.next()
		j, err := t.b.cfg.Queue.Job(ctx, t.id)
		if err != nil {
			return fault.Wrap("jobview: follow", err)
		}
		attempts, err := t.b.cfg.Logs.Attempts(string(t.id))
		if err != nil {
			return fault.Wrap("jobview: follow", err)
		}
		for _, n := range attempts {
			if n < t.attempt || t.one && n > t.attempt {
				continue
			}
			if n > t.attempt {
				t.from = 0
			}
			t.attempt = n
			t.f, err = t.b.cfg.Logs.Follow(string(t.id), n, t.from)
			if fault.Is(err, fault.NotFound) { // it has just been removed
				return io.EOF
			}
			return err
		}
		if j.State.Ended() {
			return io.EOF
		}
		tick, stop := t.b.cfg.Clock.At(t.b.cfg.Clock.Now().Add(glance))
		select {
		case <-begun:
		case <-ended:
		case <-tick:
		case <-t.b.cfg.Logs.Closing():
			err = fault.E(fault.Closing, "jobview: follow", "the server is stopping")
		case <-ctx.Done():
			err = ctx.Err()
		}
		stop()
		if err != nil {
			return err
		}
	}
}

// End returns the job as it is, to be told after the last line.
func (t *Tail) End(ctx context.Context) (View, error) { return t.b.Show(ctx, t.id) }

// ParsePlace reads a place in the log of a job: "<offset>" of the first attempt, "<attempt>.<offset>" of another. It is
// what the id of an event says.
func ParsePlace(s string) (attempt int, offset int64, ok bool) {
	n, rest, two := strings.Cut(s, ".")
	if !two {
		n, rest = "1", s
	}
	attempt, err := strconv.Atoi(n)
	if err != nil || attempt < 1 || attempt > joblog.MaxAttempt {
		return 0, 0, false
	}
	offset, err = strconv.ParseInt(rest, 10, 64)
	return attempt, offset, err == nil && offset >= 0
}

// Place is the other way round.
func Place(attempt int, offset int64) string {
	if attempt == 1 {
		return strconv.FormatInt(offset, 10)
	}
	return strconv.Itoa(attempt) + "." + strconv.FormatInt(offset, 10)
}

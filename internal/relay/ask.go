package relay

import (
	"context"
	"errors"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/pace"
)

// A question asks the store something. It may be asked twice, and begins anew then.
type question func(ctx context.Context) error

// errDemoted says that a question took too long while others waited.
var errDemoted = errors.New("made room for others")

// overslept reports whether a query that began at start has to make room for others.
func (s *session) overslept(start time.Time) bool {
	return s.r.cfg.Now().Sub(start) > s.r.cfg.QuerySlice && s.r.queries.contended()
}

// ask runs one question to the store within what is left of the time for the whole request. Waiting
// for a turn is not held against the client.
func (s *session) ask(left *time.Duration, q question) error {
	return s.askAmong(s.r.queries, left, q)
}

// askSearch is ask for what searches (NIP-50).
func (s *session) askSearch(left *time.Duration, q question) error {
	return s.askAmong(s.r.searches, left, q)
}

// askAmong asks q when it is its turn. Nobody can tell beforehand what a question costs: one that
// takes longer than a moment while somebody waits who has had less gives its place away, and is asked
// anew among the few that may take their time. What was spent on it is not held against it.
func (s *session) askAmong(t *turns, left *time.Duration, q question) error {
	if s.r.confined(s.acct) {
		return s.askOnce(t, true, false, left, q)
	}
	all := *left
	err := s.askOnce(t, false, true, left, q)
	if errors.Is(err, errDemoted) {
		s.r.hits.add(hitQuerySlice)
		*left = all
		err = s.askOnce(t, true, false, left, q)
	}
	return err
}

// askOnce asks q once, in the slow line or the usual one. yields says that it ends with errDemoted
// if it keeps others waiting.
func (s *session) askOnce(t *turns, slow, yields bool, left *time.Duration, q question) error {
	wait, cancel := context.WithTimeout(s.ctx, s.r.cfg.QueryWait)
	turn, err := t.take(wait, s.acct, slow)
	cancel()
	if err != nil {
		if s.ctx.Err() == nil {
			s.limited(hitQueryWait)
		}
		return fault.E(fault.Busy, "relay: ask", "too many requests are being answered, try again")
	}
	defer turn.release()
	most := *left
	if slow {
		most *= slowness // rests and the turns of others are none of its doing
	}
	ctx, cancel := context.WithTimeout(s.ctx, most)
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	p := &pacer{
		r: s.r, acct: s.acct, ctx: ctx, watch: s.r.cfg.start(), left: *left, slow: slow,
		expire: func() { end(context.DeadlineExceeded) },
	}
	if yields {
		p.demote = func() { end(errDemoted) }
		watch(ctx, s.r.cfg.QuerySlice, turn, end)
	}
	start := s.r.cfg.Now()
	func() {
		defer p.end()
		err = q(pace.With(ctx, p.step))
	}()
	passed := s.r.cfg.Now().Sub(start)
	if slow {
		passed /= slowness
	}
	*left = min(p.left, *left-passed)
	switch cause := context.Cause(ctx); {
	case cause == errDemoted, cause == context.DeadlineExceeded:
		return cause
	case err == nil:
		err = ctx.Err()
	}
	return err
}

// slowness is how much longer an answer may take that is worked on in the lane.
const slowness = 5

// watch looks every now and then, until ctx ends, whether a question keeps others waiting.
func watch(ctx context.Context, every time.Duration, w *turn, demote context.CancelCauseFunc) {
	time.AfterFunc(every, func() {
		switch {
		case ctx.Err() != nil:
		case w.overdue():
			demote(errDemoted)
		default:
			watch(ctx, every, w, demote)
		}
	})
}

package relay

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// turns decides who works next where only so many can work at a time: of the accounts that wait, the
// one that has had the least lately, however many connections of each wait. So nobody can fill the
// line before somebody else (hardening §10). What is known to take long stands in a line of its own,
// which has places of its own, a quarter as many.
//
// Of what lasts nobody has more than half of the places, so that whoever comes next need not wait for all
// of them. What is brief, a signature, takes any place that is free: the next comes soon.
//
// Time is counted as it passes. Where the machine is overloaded all get to be slow, so it is only
// ever compared, never held against a fixed bound.
type turns struct {
	most int // places
	slow int // of the slow line, beside those
	each int // and one account, of what lasts
	now  func() time.Time
	had  func(a *account, now time.Time) float64 // by which the least is found

	// mu guards the rest.
	mu       sync.Mutex
	busy     int
	busySlow int
	by       map[*account]int // places taken by what lasts
	lines    [2]line          // the usual one, and the slow one
}

// A line is who waits: accounts in the order in which they came, each with its own queue.
type line struct {
	order list.List // of *queueOf
	of    map[*account]*list.Element
}

type queueOf struct {
	a       *account
	waiters list.List // of *turn
}

// A turn is a place that was taken, or is waited for.
type turn struct {
	t     *turns
	a     *account
	slow  bool
	brief bool
	start time.Time
	ready chan struct{} // closed when it was taken
	place *list.Element // in the queue, while it waits
}

// Places returns how many work at a time where Config says so many: a quarter more, and one at least,
// may take their time.
func Places(n int) int { return n + slowPlaces(n) }

func slowPlaces(n int) int { return max(1, n/4) }

func newTurns(most int, now func() time.Time) *turns {
	t := &turns{most: most, slow: slowPlaces(most), each: max(1, (most+1)/2), now: now, had: (*account).had, by: make(map[*account]int)}
	for i := range t.lines {
		t.lines[i].of = make(map[*account]*list.Element)
	}
	return t
}

// take waits for a's turn. It must be given back by release. The error is ctx's.
func (t *turns) take(ctx context.Context, a *account, slow bool) (*turn, error) {
	return t.wait(ctx, &turn{t: t, a: a, slow: slow, ready: make(chan struct{})})
}

// takeBriefly is take for what takes a fraction of a millisecond.
func (t *turns) takeBriefly(ctx context.Context, a *account) (*turn, error) {
	return t.wait(ctx, &turn{t: t, a: a, brief: true, ready: make(chan struct{})})
}

func (t *turns) wait(ctx context.Context, w *turn) (*turn, error) {
	t.mu.Lock()
	t.lines[w.line()].push(w)
	t.grant()
	t.mu.Unlock()
	select {
	case <-w.ready:
		return w, nil
	default:
	}
	select {
	case <-w.ready:
		return w, nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-w.ready: // at the same moment
		t.giveBack(w)
	default:
		t.lines[w.line()].remove(w)
	}
	return nil, ctx.Err()
}

// release gives the place back. What was done meanwhile is counted by who did it.
func (w *turn) release() {
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	w.t.giveBack(w)
}

// contended reports whether somebody waits.
func (t *turns) contended() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lines[0].order.Len()+t.lines[1].order.Len() > 0
}

// overdue reports whether somebody waits in the usual line who has had less than half as much as
// this turn's account, what it has of this turn included.
func (w *turn) overdue() bool {
	now := w.t.now()
	had := w.t.had(w.a, now) + now.Sub(w.start).Seconds()
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	for e := w.t.lines[0].order.Front(); e != nil; e = e.Next() {
		if a := e.Value.(*queueOf).a; a != w.a && 2*w.t.had(a, now) < had {
			return true
		}
	}
	return false
}

func (w *turn) line() int {
	if w.slow {
		return 1
	}
	return 0
}

// giveBack frees a place. Call it with mu held, as what follows.
func (t *turns) giveBack(w *turn) {
	if w.slow {
		t.busySlow--
	} else {
		t.busy--
	}
	if !w.brief {
		if t.by[w.a]--; t.by[w.a] == 0 {
			delete(t.by, w.a)
		}
	}
	t.grant()
}

func (t *turns) grant() {
	now := t.now()
	for _, line := range []struct {
		line       *line
		busy, most *int
	}{{&t.lines[1], &t.busySlow, &t.slow}, {&t.lines[0], &t.busy, &t.most}} {
		for *line.busy < *line.most {
			w := t.next(line.line, now)
			if w == nil {
				break
			}
			*line.busy++
			if !w.brief {
				t.by[w.a]++
			}
			w.start = now
			close(w.ready)
		}
	}
}

// next takes out the first turn of the account that has had the least, the longest waiting of
// several; that account goes to the end.
func (t *turns) next(l *line, now time.Time) *turn {
	var best *list.Element
	least := 0.0
	for e := l.order.Front(); e != nil; e = e.Next() {
		q := e.Value.(*queueOf)
		a := q.a
		if t.by[a] >= t.each && !q.waiters.Front().Value.(*turn).brief {
			continue
		}
		if had := t.had(a, now); best == nil || had < least {
			best, least = e, had
		}
	}
	if best == nil {
		return nil
	}
	q := best.Value.(*queueOf)
	w := q.waiters.Front().Value.(*turn)
	l.remove(w)
	if q.waiters.Len() > 0 {
		l.order.MoveToBack(best)
	}
	return w
}

func (l *line) push(w *turn) {
	e := l.of[w.a]
	if e == nil {
		e = l.order.PushBack(&queueOf{a: w.a})
		l.of[w.a] = e
	}
	w.place = e.Value.(*queueOf).waiters.PushBack(w)
}

func (l *line) remove(w *turn) {
	e := l.of[w.a]
	q := e.Value.(*queueOf)
	if q.waiters.Remove(w.place); q.waiters.Len() == 0 {
		l.order.Remove(e)
		delete(l.of, w.a)
	}
}

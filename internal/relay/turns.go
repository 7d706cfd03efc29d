package relay

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// turns decides who works next where only so many can work at a time. Accounts take turns, however
// many connections of each wait; those that had more than their share come after all others and
// never have more than a quarter of the places. So nobody can fill the line before somebody else
// (hardening §10).
type turns struct {
	most  int // places
	heavy int // of which accounts that had more than their share may have so many
	each  int // and one account
	now   func() time.Time
	hit   func() // told whenever somebody has to stand behind the others

	// mu guards the rest.
	mu        sync.Mutex
	busy      int
	busyHeavy int
	by        map[*account]int // places taken
	lines     [2]line          // of those within their share, and of the others
}

// A line is who waits: accounts in a circle, each with its own queue.
type line struct {
	order list.List // of *queueOf, next first
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
	heavy bool
	start time.Time
	ready chan struct{} // closed when it was taken
	place *list.Element // in the queue, while it waits
}

func newTurns(most int, now func() time.Time, hit func()) *turns {
	t := &turns{most: most, heavy: max(1, most/4), each: max(1, (most+1)/2), now: now, hit: hit, by: make(map[*account]int)}
	for i := range t.lines {
		t.lines[i].of = make(map[*account]*list.Element)
	}
	return t
}

// take waits for a's turn. It must be given back by done. The error is ctx's.
func (t *turns) take(ctx context.Context, a *account) (*turn, error) {
	return t.takeAs(ctx, a, a.heavy())
}

// takeAs is take where the caller knows whether it stands behind the others.
func (t *turns) takeAs(ctx context.Context, a *account, heavy bool) (*turn, error) {
	w := &turn{t: t, a: a, heavy: heavy, ready: make(chan struct{})}
	if w.heavy {
		t.hit()
	}
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

// done gives the place back. What the turn took is held against the account.
func (w *turn) done() {
	w.a.worked(w.t.now().Sub(w.start))
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

// wanted reports whether somebody waits who stands behind nobody.
func (t *turns) wanted() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lines[0].order.Len() > 0
}

func (w *turn) line() int {
	if w.heavy {
		return 1
	}
	return 0
}

// giveBack frees a place. Call it with mu held, as what follows.
func (t *turns) giveBack(w *turn) {
	t.busy--
	if w.heavy {
		t.busyHeavy--
	}
	if t.by[w.a]--; t.by[w.a] == 0 {
		delete(t.by, w.a)
	}
	t.grant()
}

func (t *turns) grant() {
	for t.busy < t.most {
		w := t.lines[0].pop(func(a *account) bool { return t.by[a] < t.each })
		if w == nil && t.busyHeavy < t.heavy {
			w = t.lines[1].pop(func(a *account) bool { return t.by[a] < t.each })
		}
		if w == nil {
			return
		}
		t.busy++
		t.by[w.a]++
		if w.heavy {
			t.busyHeavy++
		}
		w.start = t.now()
		close(w.ready)
	}
}

func (l *line) push(w *turn) {
	e := l.of[w.a]
	if e == nil {
		e = l.order.PushBack(&queueOf{a: w.a})
		l.of[w.a] = e
	}
	w.place = e.Value.(*queueOf).waiters.PushBack(w)
}

// pop takes out the first turn of the first account that may go; the account goes to the end.
func (l *line) pop(may func(*account) bool) *turn {
	for e := l.order.Front(); e != nil; e = e.Next() {
		q := e.Value.(*queueOf)
		if !may(q.a) {
			continue
		}
		w := q.waiters.Front().Value.(*turn)
		l.remove(w)
		if q.waiters.Len() > 0 {
			l.order.MoveToBack(e)
		}
		return w
	}
	return nil
}

func (l *line) remove(w *turn) {
	e := l.of[w.a]
	q := e.Value.(*queueOf)
	if q.waiters.Remove(w.place); q.waiters.Len() == 0 {
		l.order.Remove(e)
		delete(l.of, w.a)
	}
}

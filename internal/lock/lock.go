// Package lock hands out one holder per name, in the order of asking. Waiting ends with the
// context. It does not know what is being locked.
package lock

import (
	"context"
	"sync"
)

// A Table holds the locks of one process. The zero value is ready. It keeps nothing for names
// that nobody holds.
type Table struct {
	mu   sync.Mutex
	held map[string]*queue
}

// queue is the holder and those who wait, in order. Guarded by Table.mu.
type queue struct{ waiting []chan struct{} }

// Lock waits until name is free or ctx ends. On success the caller must call unlock once.
func (t *Table) Lock(ctx context.Context, name string) (unlock func(), err error) {
	t.mu.Lock()
	if t.held == nil {
		t.held = make(map[string]*queue)
	}
	q, busy := t.held[name]
	if !busy {
		t.held[name] = &queue{}
		t.mu.Unlock()
		return t.release(name), nil
	}
	turn := make(chan struct{})
	q.waiting = append(q.waiting, turn)
	t.mu.Unlock()
	select {
	case <-turn:
		return t.release(name), nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, c := range q.waiting {
		if c == turn {
			q.waiting = append(q.waiting[:i], q.waiting[i+1:]...)
			return nil, context.Cause(ctx)
		}
	}
	// The turn came at the same moment; pass it on.
	t.next(name)
	return nil, context.Cause(ctx)
}

func (t *Table) release(name string) func() {
	return sync.OnceFunc(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.next(name)
	})
}

// next gives name to whoever has waited longest. Call it with mu held.
func (t *Table) next(name string) {
	q := t.held[name]
	if len(q.waiting) == 0 {
		delete(t.held, name)
		return
	}
	close(q.waiting[0])
	q.waiting = q.waiting[1:]
}

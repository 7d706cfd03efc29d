package store

import (
	"context"
	"sync"
)

// What many ask at one time, and what is remembered once it is known, one of them asks the database: when twenty
// remarks on one issue come together, the others wait for the first to find out what that issue counts for.
type asked struct {
	mu sync.Mutex
	by map[string]chan struct{} // closed when it was found out, or not
}

// first returns at once to whoever is the first to ask for name, who calls done then; the others it lets wait
// until that was done, or ctx ends. What they look for need not be known then: so each asks himself who does
// not find it, and nobody waits twice.
func (a *asked) first(ctx context.Context, name string) (done func(), err error) {
	a.mu.Lock()
	other, busy := a.by[name]
	if !busy {
		mine := make(chan struct{})
		if a.by == nil {
			a.by = make(map[string]chan struct{})
		}
		a.by[name] = mine
		a.mu.Unlock()
		return func() {
			a.mu.Lock()
			delete(a.by, name)
			a.mu.Unlock()
			close(mine)
		}, nil
	}
	a.mu.Unlock()
	select {
	case <-other:
		return func() {}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

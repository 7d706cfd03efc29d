// Package pace lets long work be done in short steps. Whoever asks for the work says in a context what
// is to happen between steps: wait for a turn, count what was spent, give up. Whoever does it calls Step
// every fraction of a millisecond and knows nothing of that.
//
// The package keeps no time and knows no rules of fairness.
package pace

import "context"

type key struct{}

// With returns a context in which Step calls step, on the goroutine that works. step may wait; while it
// does, the work holds what it holds, so nobody who steps may have a lock that others need.
func With(ctx context.Context, step func()) context.Context {
	return context.WithValue(ctx, key{}, step)
}

// Step says that one step of the work is done and another follows. It costs some ten nanoseconds where
// nobody asked for steps.
func Step(ctx context.Context) {
	if step, ok := ctx.Value(key{}).(func()); ok {
		step()
	}
}

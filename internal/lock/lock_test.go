package lock_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/gitroost/gitroost/internal/lock"
)

func TestOneHolderAtATime(t *testing.T) {
	var table lock.Table
	var wg sync.WaitGroup
	n := 0
	for range 50 {
		wg.Go(func() {
			for range 100 {
				unlock, err := table.Lock(t.Context(), "a")
				if err != nil {
					t.Error(err)
					return
				}
				n++ // the race detector is the witness
				unlock()
			}
		})
	}
	wg.Wait()
	if n != 5000 {
		t.Fatalf("counted %d, want 5000", n)
	}
}

func TestNamesAreIndependent(t *testing.T) {
	var table lock.Table
	a, _ := table.Lock(t.Context(), "a")
	b, err := table.Lock(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	b()
	a()
	a() // a second call does nothing
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	var table lock.Table
	unlock, _ := table.Lock(t.Context(), "a")
	why := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := table.Lock(ctx, "a"); !errors.Is(err, why) {
		t.Fatalf("got %v, want %v", err, why)
	}
	unlock()
	again, err := table.Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	again()
}

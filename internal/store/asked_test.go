package store_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/gitroost/gitroost/internal/store"
)

// Of many who ask for one thing one finds out, and the others wait for it, but not for who asks for another thing, and
// not longer than they want to.
func TestAsked(t *testing.T) {
	var a store.Asked
	done, err := a.First(t.Context(), "one")
	if err != nil {
		t.Fatal(err)
	}
	other, err := a.First(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	other()

	ctx, leave := context.WithCancel(t.Context())
	leave()
	if _, err := a.First(ctx, "one"); !errors.Is(err, context.Canceled) {
		t.Fatalf("who left while waiting: %v", err)
	}

	var known atomic.Bool
	found := make(chan bool)
	for range 20 {
		go func() {
			done, err := a.First(t.Context(), "one")
			if err != nil {
				t.Error(err)
			} else {
				done()
			}
			found <- known.Load()
		}()
	}
	known.Store(true)
	done()
	for range 20 {
		if !<-found {
			t.Error("somebody did not wait until it was known")
		}
	}
	again, err := a.First(t.Context(), "one")
	if err != nil {
		t.Fatal(err)
	}
	again()
}

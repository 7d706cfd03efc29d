package store_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/steward"
	"github.com/gitroost/gitroost/internal/store/storetest"
)

// Whoever asks one after another is answered by one connection; those that many needed at a time go when nobody
// needs them, and come back. Nothing is lost, whoever reads and writes meanwhile.
func TestRest(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	count := func() int64 {
		n, err := s.Count(ctx, []nostr.Filter{{Kinds: []int{1621}}})
		if err != nil {
			t.Error(err)
		}
		return n
	}
	put := func(i int) {
		ev := storetest.Event(1, 1621, int64(1000+i), fmt.Sprint(i))
		if _, err := s.Commit(ctx, steward.Change{Put: storetest.Entry(ev, grasp.Served)}); err != nil {
			t.Error(err)
		}
	}
	for range 20 {
		count()
	}
	if n := s.Connected(); n != 1 {
		t.Errorf("%d readers are connected after one question at a time", n)
	}
	s.Together(t, 4)
	if n := s.Connected(); n < 4 {
		t.Fatalf("%d readers are connected after four questions at a time", n)
	}
	s.Rest() // they were used since the last time
	if n := s.Connected(); n < 4 {
		t.Errorf("%d readers are left of those that were used", n)
	}
	s.Rest()
	if n := s.Connected(); n > 1 {
		t.Errorf("%d readers are left", n)
	}
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 20 {
				put(100*g + i)
				count()
			}
		})
	}
	all.Go(func() {
		for range 200 {
			s.Rest()
		}
	})
	all.Wait()
	if n := count(); n != 80 {
		t.Errorf("%d events are there, want 80", n)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	s.Rest() // of a store that is closed
}

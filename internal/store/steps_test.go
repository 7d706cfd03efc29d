package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/pace"
	"github.com/gitroost/gitroost/internal/steward"
	"github.com/gitroost/gitroost/internal/store/storetest"
)

// A question of thousands of values is compared with everything that waits to be filed: in steps, with others going
// first between them, and no further than until whoever asked is gone (hardening §10).
func TestMemoryIsWalkedInSteps(t *testing.T) {
	const events, values = 1500, 2000
	s := with(t, 0, 2*events)
	for i := range events {
		ev := storetest.Event(i%7, 1111, int64(1000+i), fmt.Sprint(i), nostr.Tag{"t", fmt.Sprint("topic", i)})
		if _, err := s.Commit(t.Context(), steward.Change{Put: storetest.Entry(ev, grasp.Served)}); err != nil {
			t.Fatal(err)
		}
	}
	onTray := s.OnTray(t)
	if onTray < events/2 {
		t.Skip("they were filed already") // the machine is fast at that and slow at this
	}
	f := nostr.Filter{Tags: nostr.TagMap{}}
	for i := range values {
		f.Tags["t"] = append(f.Tags["t"], fmt.Sprint("other", i))
	}
	steps := 0
	ask := func(ctx context.Context, stop int) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		steps = 0
		return s.Query(pace.With(ctx, func() {
			if steps++; steps == stop {
				cancel()
			}
		}), f, func(grasp.EventID, []byte) bool { return true })
	}
	if err := ask(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if all := steps; all < onTray/200 {
		t.Errorf("%d events are compared in %d steps", onTray, all)
	}
	if err := ask(t.Context(), 2); !errors.Is(err, context.Canceled) {
		t.Errorf("a question whose asker is gone ends with %v", err)
	}
	if steps > 3 {
		t.Errorf("it went on for %d steps", steps-2)
	}
}

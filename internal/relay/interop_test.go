//go:build !race

// go-nostr's client races with itself when it is closed, so this test is left out where that
// would be noticed.

package relay_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip77"
)

// go-nostr's client works with us: publish, subscribe, count, authenticate.
func TestInterop(t *testing.T) {
	h := open(t, nil)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := nostr.RelayConnect(ctx, h.url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sub, err := c.Subscribe(ctx, nostr.Filters{{Kinds: []int{1}}, {Tags: nostr.TagMap{"t": {"x"}}}})
	if err != nil {
		t.Fatal(err)
	}
	<-sub.EndOfStoredEvents
	missing := map[string]bool{} // this client hands on each event by itself, and so in any order
	for i := range 20 {
		ev := note(t, int64(100+i), "<&> \u2028 🚀\x01\n", nostr.Tag{"t", "x"})
		if err := c.Publish(ctx, *ev); err != nil {
			t.Fatal(err)
		}
		missing[ev.ID] = true
	}
	for len(missing) > 0 {
		select {
		case got := <-sub.Events:
			if ok, err := got.CheckSignature(); !missing[got.ID] || !ok || err != nil {
				t.Errorf("got %v (%v, %v)", got, ok, err)
			}
			delete(missing, got.ID)
		case <-ctx.Done():
			t.Fatal("nothing came")
		}
	}
	stored, err := c.QuerySync(ctx, nostr.Filter{Limit: 5})
	if err != nil || len(stored) != 5 {
		t.Errorf("%d events, %v", len(stored), err)
	}
	n, _, err := c.Count(ctx, nostr.Filters{{Kinds: []int{1}}})
	if err != nil || n != 20 {
		t.Errorf("count %d, %v", n, err)
	}
	ev := note(t, 1, "protected", nostr.Tag{"-"})
	if err := c.Publish(ctx, *ev); err == nil || !strings.Contains(err.Error(), "auth-required:") {
		t.Errorf("protected: %v", err)
	}
	if err := c.Auth(ctx, func(e *nostr.Event) error { return e.Sign(alice) }); err != nil {
		t.Fatal(err)
	}
	if err := c.Publish(ctx, *ev); err != nil {
		t.Errorf("protected, authenticated: %v", err)
	}
}

// go-nostr's NIP-77 client learns what we serve (N-043, check 124).
func TestInteropNegentropy(t *testing.T) {
	h := open(t, nil)
	want := h.fill(200, 1000)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ids, err := nip77.FetchIDsOnly(ctx, h.url, nostr.Filter{Kinds: []int{1}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for more := true; more; {
		select {
		case id, ok := <-ids:
			if more = ok; ok {
				got = append(got, id)
			}
		case <-ctx.Done():
			t.Fatalf("no end after %d ids", len(got))
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got %d ids, want %d others", len(got), len(want))
	}
}

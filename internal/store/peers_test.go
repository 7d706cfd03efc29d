package store_test

import (
	"context"
	"reflect"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/store"
	"github.com/gitroost/gitroost/internal/store/storetest"
)

// TestPeers: how a peer does is read back as it was written, replaced, and forgotten (G02-09).
func TestPeers(t *testing.T) {
	s, ctx := open(t), context.Background()
	at := time.Unix(1_800_000_000, 5)
	want := store.Peer{
		URL: "wss://a.example", Fails: 3, Since: at, Next: at.Add(time.Hour), Bad: true, Seen: at.Add(-time.Hour),
		Full: at.Add(-2 * time.Hour), Repass: at.Add(24 * time.Hour), Trouble: "connection refused",
	}
	fresh := store.Peer{URL: "wss://b.example", Fails: 1}
	for _, p := range []store.Peer{{URL: "wss://a.example", Fails: 9}, want, fresh, {URL: "wss://c.example", Fails: 1}, {URL: "wss://c.example"}} {
		if err := s.WritePeer(ctx, p); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Peers(ctx)
	if err != nil || !reflect.DeepEqual(got, []store.Peer{want, fresh}) {
		t.Errorf("%v\n%+v\nwant\n%+v", err, got, []store.Peer{want, fresh})
	}
}

// TestUnwanted: what is not fetched again is read back in order, moved and removed (G02-10).
func TestUnwanted(t *testing.T) {
	s, ctx := open(t), context.Background()
	until := time.Unix(1_800_000_000, 0)
	u := func(i int, subject string) store.Unwanted {
		return store.Unwanted{ID: storetest.ID(i), Subject: subject, Until: until.Add(time.Duration(i) * time.Hour)}
	}
	if err := s.WriteUnwanted(ctx, []store.Unwanted{u(1, "x"), u(2, ""), u(3, "\x00")}, nil); err != nil {
		t.Fatal(err)
	}
	moved := u(3, "y")
	if err := s.WriteUnwanted(ctx, []store.Unwanted{moved, u(4, "x")}, []grasp.EventID{storetest.ID(1), storetest.ID(99)}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Unwanted(ctx, 10)
	if want := []store.Unwanted{u(2, ""), moved, u(4, "x")}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%+v\nwant\n%+v", err, got, want)
	}
	if got, err := s.Unwanted(ctx, 1); err != nil || len(got) != 1 {
		t.Errorf("%v, %d of one", err, len(got))
	}
	if err := s.WriteUnwanted(ctx, []store.Unwanted{{ID: "x"}}, nil); err == nil {
		t.Error("what is no id was written")
	}
}

// TestUnknown: what is on neither shelf is unknown, in the order in which it was asked.
func TestUnknown(t *testing.T) {
	s, ctx := open(t), context.Background()
	ev := storetest.Event(0, 1621, 100, "here")
	fill(t, s, []*nostr.Event{ev})
	got, err := s.Unknown(ctx, []grasp.EventID{storetest.ID(7), grasp.EventID(ev.ID), storetest.ID(8)})
	if want := []grasp.EventID{storetest.ID(7), storetest.ID(8)}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v, want %v", err, got, want)
	}
	if got, err := s.Unknown(ctx, nil); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", err, got)
	}
}

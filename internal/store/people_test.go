package store_test

import (
	"context"
	"reflect"
	"slices"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/store/storetest"
)

// TestPeople: who signed what names a repository, or answers that, and what they say of themselves
// (G03-01).
func TestPeople(t *testing.T) {
	s, ctx := open(t), context.Background()
	coord := "30617:" + string(storetest.Key(0)) + ":demo"
	issue := storetest.Event(1, 1621, 100, "issue", nostr.Tag{"a", coord})
	answer := storetest.Event(2, 1111, 200, "answer", nostr.Tag{"E", issue.ID})
	quote := storetest.Event(3, 1, 300, "quote", nostr.Tag{"q", coord})
	other := storetest.Event(4, 1621, 400, "other", nostr.Tag{"a", coord + "2"})
	list := storetest.Event(2, grasp.KindRelayList, 500, "", nostr.Tag{"r", "wss://x.example"})
	alone := storetest.Event(5, grasp.KindProfile, 500, "")
	fill(t, s, []*nostr.Event{issue, answer, quote, other, list, alone})
	got, err := s.People(ctx, coord, 10)
	slices.Sort(got)
	want := []grasp.PubKey{storetest.Key(1), storetest.Key(2), storetest.Key(3)}
	slices.Sort(want)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%v\nwant\n%v", err, got, want)
	}
	if got, err := s.People(ctx, coord, 2); err != nil || len(got) != 2 {
		t.Errorf("%v, %d of two", err, len(got))
	}
	var ids []string
	note := func(ev *nostr.Event) { ids = append(ids, ev.ID) }
	if err := s.RelayLists(ctx, want, note); err != nil || !slices.Equal(ids, []string{list.ID}) {
		t.Errorf("%v, lists %q", err, ids)
	}
	ids = nil
	if err := s.Named(ctx, []grasp.EventID{grasp.EventID(answer.ID), storetest.ID(9)}, note); err != nil || !slices.Equal(ids, []string{answer.ID}) {
		t.Errorf("%v, named %q", err, ids)
	}
	for n, is := range map[int]bool{1: true, 2: true, 5: false, 6: false} {
		if wrote, err := s.Wrote(ctx, storetest.Key(n)); err != nil || wrote != is {
			t.Errorf("%d: %v, wrote %t, want %t", n, err, wrote, is)
		}
	}
}

package store_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
	"github.com/gitroost/gitroost/internal/store/storetest"
)

// FuzzFilter: whatever a client asks, the answer is what the library's own matching says (N-005).
func FuzzFilter(f *testing.F) {
	s := open(f)
	var evs []*nostr.Event
	for i := range 60 {
		evs = append(evs, storetest.Event(i%3, []int{1, 1621, 1111}[i%3], int64(i/4), fmt.Sprint(i),
			nostr.Tag{"t", fmt.Sprint(i % 5)}, nostr.Tag{"e", string(storetest.ID(i % 7))}, nostr.Tag{"d", ""}))
	}
	fill(f, s, evs)
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"ids":["` + evs[0].ID + `"],"kinds":[1],"since":0,"until":99,"limit":3}`))
	f.Add([]byte(`{"authors":["` + evs[0].PubKey + `"],"#t":["1","2"],"#e":["` + string(storetest.ID(1)) + `"]}`))
	f.Add([]byte(`{"kinds":[1,1621,1111],"#d":["",null],"#T":[]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		var filter nostr.Filter
		if err := filter.UnmarshalJSON(in); err != nil {
			return
		}
		var got []string
		err := s.Query(context.Background(), filter, func(id grasp.EventID, _ []byte) bool {
			got = append(got, string(id))
			return true
		})
		if fault.Is(err, fault.Invalid) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		var match []*nostr.Event
		for _, ev := range evs {
			if filter.Matches(ev) {
				match = append(match, ev)
			}
		}
		want := storetest.Sorted(match)
		switch {
		case filter.LimitZero || filter.Limit < 0:
			want = nil
		case filter.Limit > 0:
			want = want[:min(len(want), filter.Limit)]
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %d events, want %d", filter, len(got), len(want))
		}
	})
}

// FuzzPut: what is taken in is found, comes back as it went, and goes without a trace.
func FuzzPut(f *testing.F) {
	s := open(f)
	f.Add("content", "t", "value", 1)
	f.Add("", "d", "git-lfs", 30618)
	f.Add("\x00\xff", "a", "30617:\xff\x00:", 10002)
	f.Fuzz(func(t *testing.T, content, name, value string, kind int) {
		ctx := context.Background()
		made := storetest.Event(1, kind, 1, content, nostr.Tag{name, value})
		raw := []byte(made.String())
		ev := new(nostr.Event) // what a client's bytes were parsed to
		if err := ev.UnmarshalJSON(raw); err != nil {
			return
		}
		e := storetest.Entry(ev, grasp.Waiting)
		e.Raw = raw
		if _, err := s.Commit(ctx, steward.Change{Put: e}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Commit(ctx, steward.Change{Release: []grasp.EventID{grasp.EventID(ev.ID)}}); err != nil {
			t.Fatal(err)
		}
		filters := []nostr.Filter{{}, {Kinds: []int{ev.Kind}}, {IDs: []string{ev.ID}}}
		tag := nostr.Filter{Tags: nostr.TagMap{name: {ev.Tags[0][1]}}}
		if len(name) == 1 && (name[0]|0x20 >= 'a' && name[0]|0x20 <= 'z') {
			filters = append(filters, tag)
		}
		for _, q := range filters {
			found := 0
			err := s.Query(ctx, q, func(_ grasp.EventID, got []byte) bool {
				if string(got) != string(raw) {
					t.Errorf("came back as %q, went as %q", got, raw)
				}
				found++
				return true
			})
			if err != nil || found != 1 {
				t.Errorf("%s: found %d (%v)", q, found, err)
			}
		}
		if _, err := s.Commit(ctx, steward.Change{Drop: []grasp.EventID{grasp.EventID(ev.ID)}}); err != nil {
			t.Fatal(err)
		}
		if n := s.Rows(t); n != 0 {
			t.Errorf("%d rows stay behind", n)
		}
	})
}

// FuzzLookup: coordinates and ids of strangers do no harm, and a tomb covers what it names.
func FuzzLookup(f *testing.F) {
	s := open(f)
	f.Add("30617:"+string(storetest.Key(1))+":demo", "x")
	f.Add("::::", "")
	f.Add("10002:"+string(storetest.Key(1))+":", string(storetest.ID(1)))
	f.Fuzz(func(t *testing.T, coordinate, id string) {
		ctx := context.Background()
		q := steward.Question{ID: storetest.ID(1), Author: storetest.Key(1), Created: 5, Coordinate: coordinate, IDs: []string{id}, Addrs: []string{coordinate}}
		if a, err := s.Lookup(ctx, q); err != nil || a.Related || a.Newer {
			t.Fatalf("%+v, %v", a, err)
		}
		if coordinate == "" {
			return
		}
		if _, err := s.Commit(ctx, steward.Change{Tombs: []steward.Tomb{{By: storetest.Key(1), Coordinate: coordinate, Until: 5}}}); err != nil {
			t.Fatal(err)
		}
		if a, err := s.Lookup(ctx, q); err != nil || !a.Deleted {
			t.Fatalf("%+v, %v", a, err)
		}
	})
}

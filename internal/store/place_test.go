package store_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/steward"
	"github.com/gitroost/gitroost/internal/store"
	"github.com/gitroost/gitroost/internal/store/storetest"
)

// TestHalfFiled: whoever looks while events are filed together, one step after the other, finds each of them
// once, also when the program ended between two steps; what is deleted then is gone, and whatever is filed
// in the end is what would have been filed one by one (N-005, N-033, N-041; hardening G1, G5).
func TestHalfFiled(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	path := filepath.Join(dir, "steps.db")
	stepwise, direct := withAt(t, path, -1, 1000), withAt(t, filepath.Join(dir, "direct.db"), -1, -1)
	stepwise.SmallLots(t, true)
	var evs []*nostr.Event
	for i := range 10 {
		evs = append(evs, storetest.Event(i%3, []int{1, 1621, 1111}[i%3], int64(10+i%4), fmt.Sprint("remark ", i),
			nostr.Tag{"t", "x"}, nostr.Tag{"e", string(storetest.ID(i % 4))}, nostr.Tag{"p", string(storetest.Key(i % 2))}))
	}
	for _, ev := range evs {
		for _, s := range []*store.Store{stepwise, direct} {
			e := storetest.Entry(ev, grasp.Served)
			e.Charges = counted(ev)
			if _, err := s.Commit(ctx, steward.Change{Put: e}); err != nil {
				t.Fatal(err)
			}
		}
	}
	filters := []nostr.Filter{
		{}, {Kinds: []int{1621}}, {Authors: []string{string(storetest.Key(1))}}, {Tags: nostr.TagMap{"t": {"x"}}},
		{Tags: nostr.TagMap{"t": {"x"}}, Kinds: []int{1, 1111}}, {Tags: nostr.TagMap{"e": {string(storetest.ID(1)), string(storetest.ID(2))}}},
		{Tags: nostr.TagMap{"p": {string(storetest.Key(1))}}, Authors: []string{string(storetest.Key(0))}}, {IDs: []string{evs[3].ID, evs[9].ID}},
	}
	same := func(what string, s, want *store.Store) {
		t.Helper()
		for _, f := range filters {
			if got, want := found(t, s, f), found(t, want, f); !slices.Equal(got, want) {
				t.Errorf("%s: %s finds %v, want %v", what, f, got, want)
			}
			n, err := s.Count(ctx, []nostr.Filter{f})
			if want, _ := want.Count(ctx, []nostr.Filter{f}); err != nil || n != want {
				t.Errorf("%s: %s counts %d, %v, want %d", what, f, n, err, want)
			}
		}
		for _, ev := range evs {
			got, err := s.Tally(ctx, counted(ev))
			if want, _ := want.Tally(ctx, counted(ev)); err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: tally %v, %v, want %v", what, got, err, want)
			}
			th, err := s.Thread(ctx, grasp.EventID(ev.ID))
			if want, _ := want.Thread(ctx, grasp.EventID(ev.ID)); err != nil || fmt.Sprint(th) != fmt.Sprint(want) {
				t.Errorf("%s: thread %+v, %v, want %+v", what, th, err, want)
			}
		}
	}
	drop := steward.Change{Drop: []grasp.EventID{grasp.EventID(evs[0].ID), grasp.EventID(evs[5].ID), grasp.EventID(evs[9].ID)}}
	less := withAt(t, filepath.Join(dir, "less.db"), -1, -1)
	for _, ev := range evs {
		e := storetest.Entry(ev, grasp.Served)
		e.Charges = counted(ev)
		if _, err := less.Commit(ctx, steward.Change{Put: e}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := less.Commit(ctx, drop); err != nil {
		t.Fatal(err)
	}
	halves := 0
	for i := range 16 {
		stepwise.Step(t)
		same(fmt.Sprint("step ", i), stepwise, direct)
		half := filepath.Join(dir, fmt.Sprint("half", i, ".db"))
		stepwise.CopyTo(t, path, half)
		s := withAt(t, half, -1, 1000)
		s.SmallLots(t, true)
		halves = max(halves, s.Half(t))
		same(fmt.Sprint("after a crash behind step ", i), s, direct)
		if _, err := s.Commit(ctx, drop); err != nil {
			t.Fatal(err)
		}
		same(fmt.Sprint("less, after step ", i), s, less)
		for range i % 4 {
			s.Step(t)
			same(fmt.Sprint("less, filed on after step ", i), s, less)
		}
		s.FileAll(t)
		same(fmt.Sprint("less, filed after step ", i), s, less)
		if got, want := s.Rows(t), less.Rows(t); got != want || s.Half(t) != 0 || s.OnTray(t) != 0 {
			t.Errorf("step %d: %d rows, want %d; %d are half filed, %d on the tray", i, got, want, s.Half(t), s.OnTray(t))
		}
	}
	if halves == 0 {
		t.Error("nothing was half filed after any crash")
	}
	stepwise.FileAll(t)
	if got, want := stepwise.Rows(t), direct.Rows(t); got != want {
		t.Errorf("%d rows, want %d", got, want)
	}
}

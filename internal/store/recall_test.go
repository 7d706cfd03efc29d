package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
	"github.com/gitroost/gitroost/internal/store"
	"github.com/gitroost/gitroost/internal/store/storetest"
)

// with opens a store that remembers so many bytes, and has so many events on its tray.
func with(t testing.TB, recall, tray int) *store.Store {
	t.Helper()
	return withAt(t, filepath.Join(t.TempDir(), "ledger.db"), recall, tray)
}

func withAt(t testing.TB, path string, recall, tray int) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), path, store.Config{Now: time.Now, Recall: recall, Tray: tray})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// The suites hold where everything is read from the file, and where it is all there at once.
func TestSuitesWithoutMemory(t *testing.T) {
	for _, tray := range []int{0, -1} {
		t.Run(fmt.Sprint(tray), func(t *testing.T) {
			storetest.TestReader(t, func(t *testing.T) (steward.Ledger, storetest.Reader) {
				s := with(t, -1, tray)
				return s, s
			})
		})
	}
	storetest.TestLedger(t, func(t *testing.T) steward.Ledger { return with(t, -1, -1) })
}

func found(t testing.TB, s *store.Store, f nostr.Filter) (ids []string) {
	t.Helper()
	if err := s.Query(context.Background(), f, func(id grasp.EventID, raw []byte) bool {
		var ev nostr.Event
		if err := ev.UnmarshalJSON(raw); err != nil || ev.ID != string(id) {
			t.Errorf("%s comes with %s, %v", id, raw, err)
		}
		ids = append(ids, string(id))
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return ids
}

// TestMemoryIsTrue: whatever happens, a store that remembers, files later and is opened again now and
// then answers like one that does not (N-005, N-007, N-009, N-033, N-045), and keeps count.
func TestMemoryIsTrue(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 11))
	ctx := context.Background()
	dir := t.TempDir()
	kinds := []struct{ recall, tray int }{{-1, -1}, {-1, 1000}, {8 << 20, 1000}, {60_000, 12}}
	all := make([]*store.Store, len(kinds))
	open := func(i int) {
		all[i] = withAt(t, filepath.Join(dir, fmt.Sprint(i, ".db")), kinds[i].recall, kinds[i].tray)
	}
	for i := range kinds {
		open(i)
	}
	var evs []*nostr.Event
	pick := func() *nostr.Event { return evs[rng.IntN(len(evs))] }
	filter := func() nostr.Filter {
		var f nostr.Filter
		some := func(n int) bool { return rng.IntN(n) == 0 }
		if some(2) {
			f.Kinds = [][]int{{1621}, {1, 1621, 1111, 7}, {30617}, {30617, 30618}, {1111}}[rng.IntN(5)]
		}
		if some(4) {
			f.Authors = []string{string(storetest.Key(rng.IntN(4))), string(storetest.Key(rng.IntN(4)))}[:1+rng.IntN(2)]
		}
		if some(3) {
			f.Tags = nostr.TagMap{"t": []string{"x", "y", "z"}[:1+rng.IntN(3)]}
		}
		if some(4) {
			f.Tags = nostr.TagMap{"d": {fmt.Sprint("repo", rng.IntN(4))}}
		}
		if some(8) && len(evs) > 0 {
			f.IDs = []string{pick().ID, pick().ID}
		}
		if some(5) {
			at := nostr.Timestamp(rng.IntN(300))
			f.Since = &at
		}
		if some(5) {
			at := nostr.Timestamp(rng.IntN(300))
			f.Until = &at
		}
		if some(6) { // the newest first, where two fit as well
			f.Search, f.Kinds = fmt.Sprint([]string{"content", "content 4", fmt.Sprint("content ", rng.IntN(250))}[rng.IntN(3)]), nil
		}
		f.Limit = []int{0, 1, 5, 40, 500}[rng.IntN(5)]
		return f
	}
	laid := 0
	rounds := 250
	if testing.Short() {
		rounds = 100
	}
	for i := range rounds {
		var c steward.Change
		shelf := grasp.Served
		switch n := rng.IntN(12); {
		case n < 6 || len(evs) < 20:
			ev := storetest.Event(rng.IntN(4), []int{1, 1621, 1111, 7}[rng.IntN(4)], int64(rng.IntN(300)), fmt.Sprint("content ", i),
				nostr.Tag{"t", []string{"x", "y", "z"}[rng.IntN(3)]}, nostr.Tag{"t", "x"}, nostr.Tag{"e", string(storetest.ID(i % 9))})
			evs = append(evs, ev)
			c.Put = storetest.Entry(ev, grasp.Served)
			c.Put.Charges = counted(ev)
		case n < 9:
			if rng.IntN(3) == 0 {
				shelf = grasp.Waiting
			}
			ev := storetest.Announcement(rng.IntN(4), fmt.Sprint("repo", rng.IntN(4)), int64(i), nostr.Tag{"t", "x"})
			if rng.IntN(2) == 0 {
				ev = storetest.State(rng.IntN(4), fmt.Sprint("repo", rng.IntN(4)), int64(i))
			}
			evs = append(evs, ev)
			c.Put = storetest.Entry(ev, shelf)
			c.Put.Charges = counted(ev)
		case n == 9:
			c.Release = []grasp.EventID{grasp.EventID(pick().ID), grasp.EventID(pick().ID)}
		case n == 10:
			c.Drop = []grasp.EventID{grasp.EventID(pick().ID)}
		default:
			ev := pick()
			c.Tombs = []steward.Tomb{{By: grasp.PubKey(ev.PubKey), ID: grasp.EventID(ev.ID)}}
		}
		var said []string
		for _, s := range all {
			r, err := s.Commit(ctx, c)
			said = append(said, fmt.Sprint(r.Duplicate, r.Stale, len(r.Removed), r.Replaced, err != nil))
		}
		for n, what := range said {
			if what != said[0] {
				t.Fatalf("step %d: %d says %s, 0 says %s", i, n, what, said[0])
			}
		}
		switch rng.IntN(40) {
		case 0:
			n := 1 + rng.IntN(len(all)-1)
			if err := all[n].Close(); err != nil {
				t.Fatal(err)
			}
			open(n)
		case 1:
			all[1].FileAll(t)
			all[2].FileSome(t, 1+rng.IntN(9))
		}
		for range 8 {
			f := filter()
			want := found(t, all[0], f)
			count, err := all[0].Count(ctx, []nostr.Filter{f})
			if err != nil {
				t.Fatal(err)
			}
			for n, s := range all[1:] {
				if got := found(t, s, f); !slices.Equal(got, want) {
					t.Fatalf("step %d: store %d: %s:\ngot  %v\nwant %v", i, n+1, f, got, want)
				}
				if got, err := s.Count(ctx, []nostr.Filter{f}); err != nil || got != count {
					t.Fatalf("step %d: store %d: %s: counts %d, %v, want %d", i, n+1, f, got, err, count)
				}
			}
		}
		ev := pick()
		q := steward.Question{ID: grasp.EventID(ev.ID), Author: grasp.PubKey(ev.PubKey), Created: int64(ev.CreatedAt), IDs: []string{ev.ID, pick().ID}}
		asked, err := all[0].Lookup(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		_, missing := all[0].Event(ctx, q.ID)
		tally, err := all[0].Tally(ctx, counted(ev))
		if err != nil {
			t.Fatal(err)
		}
		for n, s := range all {
			if got, err := s.Lookup(ctx, q); err != nil || got != asked {
				t.Fatalf("step %d: store %d: %+v, %v, want %+v", i, n, got, err, asked)
			}
			if e, err := s.Event(ctx, q.ID); (err == nil) != (missing == nil) || err == nil && string(e.Raw) != ev.String() {
				t.Fatalf("step %d: store %d: event %s, %v, want %v", i, n, e.Raw, err, missing)
			}
			if got, err := s.Unknown(ctx, []grasp.EventID{q.ID}); err != nil || (len(got) == 0) != (missing == nil) {
				t.Fatalf("step %d: store %d: unknown %v, %v, want %v", i, n, got, err, missing)
			}
			if got, err := s.Tally(ctx, counted(ev)); err != nil || !slices.Equal(got, tally) {
				t.Fatalf("step %d: store %d: tally %v, %v, want %v", i, n, got, err, tally)
			}
			s.CheckRecall(t)
			laid = max(laid, s.OnTray(t))
		}
	}
	if all[2].Recalled() == 0 || laid == 0 {
		t.Errorf("%d bytes were remembered, %d events were on the tray", all[2].Recalled(), laid)
	}
}

// counted is what events count for in these tests.
func counted(ev *nostr.Event) []steward.Charge {
	return []steward.Charge{{'k', ev.PubKey[62], ev.PubKey[63]}, {'e', byte(ev.CreatedAt % 7)}}
}

// TestRecallWhileWriting: what Commit has reported is found at once (N-007), whoever reads the same
// ranges at that moment.
func TestRecallWhileWriting(t *testing.T) {
	s := with(t, 200_000, 40)
	ctx := context.Background()
	var wg sync.WaitGroup
	done := make(chan struct{})
	for i := range 4 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				found(t, s, nostr.Filter{Kinds: []int{1111}, Limit: 5 + n%100})
				found(t, s, nostr.Filter{Authors: []string{string(storetest.Key(i))}, Limit: 500})
				found(t, s, nostr.Filter{Tags: nostr.TagMap{"t": {"x"}}, Limit: 20})
			}
		})
	}
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := range 50 {
				ev := storetest.Event(w, 1111, int64(4*i+w), "", nostr.Tag{"t", "x"}, nostr.Tag{"r", fmt.Sprint(i % 3)})
				if _, err := s.Commit(ctx, steward.Change{Put: storetest.Entry(ev, grasp.Served)}); err != nil {
					t.Error(err)
					return
				}
				at := ev.CreatedAt
				for _, f := range []nostr.Filter{
					{Kinds: []int{1111}, Since: &at}, {Authors: []string{ev.PubKey}, Limit: 1}, {Tags: nostr.TagMap{"t": {"x"}}, Since: &at},
				} {
					if !slices.Contains(found(t, s, f), ev.ID) {
						t.Errorf("%s does not find what was just put", f)
					}
				}
				if i%10 == 9 {
					if _, err := s.Commit(ctx, steward.Change{Drop: []grasp.EventID{grasp.EventID(ev.ID)}}); err != nil {
						t.Error(err)
					}
					if slices.Contains(found(t, s, nostr.Filter{Kinds: []int{1111}, Since: &at}), ev.ID) {
						t.Error("a dropped event is still found")
					}
				}
			}
		})
	}
	writers.Wait()
	close(done)
	wg.Wait()
	s.CheckRecall(t)
}

// TestNothingTwiceWhileFiling: whoever counts while events are filed counts each once, and none that
// was acknowledged before not at all (N-007, N-041, check 97).
func TestNothingTwiceWhileFiling(t *testing.T) {
	for _, recall := range []int{-1, 1 << 20} {
		s := with(t, recall, 60)
		ctx := context.Background()
		var started, acknowledged atomic.Int64
		done := make(chan struct{})
		var readers sync.WaitGroup
		for _, f := range []nostr.Filter{{Kinds: []int{1111}}, {Tags: nostr.TagMap{"t": {"x"}}}, {Tags: nostr.TagMap{"t": {"x", "y"}}, Kinds: []int{1111, 7}}} {
			readers.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					check := func(what string, count func() int64) {
						least := acknowledged.Load()
						n := count()
						if most := started.Load(); n < least || n > most {
							t.Errorf("%s %s: %d, want %d to %d", what, f, n, least, most)
						}
					}
					check("count", func() int64 {
						n, err := s.Count(ctx, []nostr.Filter{f})
						if err != nil {
							t.Error(err)
						}
						return n
					})
					seen := map[grasp.EventID]bool{}
					check("keys", func() int64 {
						if err := s.Keys(ctx, []nostr.Filter{f}, func(id grasp.EventID, _ int64) bool { seen[id] = true; return true }); err != nil {
							t.Error(err)
						}
						return int64(len(seen))
					})
					ids := found(t, s, f)
					check("query", func() int64 { return int64(len(found(t, s, f))) })
					slices.Sort(ids)
					if len(slices.Compact(ids)) != len(ids) {
						t.Error("an event came twice")
					}
				}
			})
		}
		var writers sync.WaitGroup
		for w := range 6 {
			writers.Go(func() {
				for i := range 70 {
					ev := storetest.Event(w, 1111, int64(100*w+i*13%70), fmt.Sprint(w, i), nostr.Tag{"t", "x"}, nostr.Tag{"t", "y"})
					started.Add(1)
					if _, err := s.Commit(ctx, steward.Change{Put: storetest.Entry(ev, grasp.Served)}); err != nil {
						t.Error(err)
						return
					}
					acknowledged.Add(1)
				}
			})
		}
		writers.Wait()
		s.FileAll(t)
		close(done)
		readers.Wait()
		if n := s.OnTray(t); n != 0 {
			t.Errorf("%d events are still on the tray", n)
		}
	}
}

// TestRecallIsBounded: large events and many questions stay within the bound.
func TestRecallIsBounded(t *testing.T) {
	const most = 300_000
	s := with(t, most, 0)
	var evs []*nostr.Event
	for i := range 300 {
		evs = append(evs, storetest.Event(i, 1617, int64(i), fmt.Sprintf("%5000d", i), nostr.Tag{"e", string(storetest.ID(i))}))
	}
	fill(t, s, evs)
	for range 2 {
		for i := range 300 {
			if got := found(t, s, nostr.Filter{Tags: nostr.TagMap{"e": {string(storetest.ID(i))}}}); len(got) != 1 {
				t.Fatalf("found %d", len(got))
			}
		}
		if got := found(t, s, nostr.Filter{Kinds: []int{1617}}); len(got) != 300 {
			t.Fatalf("found %d", len(got))
		}
		s.CheckRecall(t)
		if n := s.Recalled(); n > most {
			t.Errorf("%d bytes are remembered, want %d at most", n, most)
		}
	}
}

// TestBriefLookup: what is asked in brief is related while its anchor is served, and not a moment
// longer (G01-801, N-033).
func TestBriefLookup(t *testing.T) {
	s := with(t, 0, 0)
	ctx := context.Background()
	repo := storetest.Announcement(1, "demo", 10)
	coordinate := grasp.CoordinateOf(repo)
	comment := storetest.Event(2, 1111, 10, "", nostr.Tag{"a", coordinate})
	ask := func(brief bool) steward.Answer {
		t.Helper()
		a, err := s.Lookup(ctx, steward.Question{
			ID: grasp.EventID(comment.ID), Author: grasp.PubKey(comment.PubKey), Created: 10, Addrs: []string{coordinate}, Brief: brief,
		})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	commit := func(c steward.Change) {
		t.Helper()
		if _, err := s.Commit(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string, want bool) {
		t.Helper()
		for range 2 { // the second time from memory
			for _, brief := range []bool{true, false} {
				if got := ask(brief).Related; got != want {
					t.Errorf("%s: related is %v in brief %v, want %v", when, got, brief, want)
				}
			}
		}
	}
	check("before", false)
	commit(steward.Change{Put: storetest.Entry(repo, grasp.Waiting)})
	check("while it waits", false)
	commit(steward.Change{Release: []grasp.EventID{grasp.EventID(repo.ID)}})
	check("served", true)
	commit(steward.Change{Put: storetest.Entry(storetest.Announcement(1, "demo", 11), grasp.Served)})
	check("replaced", true)
	commit(steward.Change{Tombs: []steward.Tomb{{By: storetest.Key(1), Coordinate: coordinate, Until: 11}}})
	check("deleted", false)
	commit(steward.Change{Put: storetest.Entry(comment, grasp.Served)})
	if a := ask(true); a.Known != grasp.Served {
		t.Errorf("a brief question that memory cannot answer: %+v", a)
	}
}

// TestRefusedChangeLosesNothing: a deletion that a tomb covers is refused; what it might have meant was filed
// for it, and is neither lost nor filed again (N-007, N-032).
func TestRefusedChangeLosesNothing(t *testing.T) {
	s := with(t, 0, 0)
	ctx := context.Background()
	commit := func(c steward.Change) error {
		_, err := s.Commit(ctx, c)
		return err
	}
	if err := commit(steward.Change{Tombs: []steward.Tomb{{By: storetest.Key(1), Vanish: true, Until: 100}}}); err != nil {
		t.Fatal(err)
	}
	later := storetest.Event(1, 1111, 200, "afterwards", nostr.Tag{"t", "x"})
	e := storetest.Entry(later, grasp.Served)
	e.Charges = counted(later)
	if err := commit(steward.Change{Put: e}); err != nil {
		t.Fatal(err)
	}
	old := storetest.Event(1, grasp.KindDeletion, 50, "from before")
	err := commit(steward.Change{
		Put:   storetest.Entry(old, grasp.Served),
		Tombs: []steward.Tomb{{By: storetest.Key(1), ID: storetest.ID(9), Until: 50}},
	})
	if !fault.Is(err, fault.Refused) {
		t.Fatalf("%v, want refused", err)
	}
	if n := s.OnTray(t); n != 0 {
		t.Errorf("%d events are on the tray, though they were filed", n)
	}
	s.FileAll(t)
	if got := found(t, s, nostr.Filter{Kinds: []int{1111}}); !slices.Equal(got, []string{later.ID}) {
		t.Errorf("found %v, want %s", got, later.ID)
	}
	want := []int{1, 1}
	if got, err := s.Tally(ctx, counted(later)); err != nil || !slices.Equal(got, want) {
		t.Errorf("tally %v, %v, want %v", got, err, want)
	}
}

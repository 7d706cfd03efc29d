package storetest

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
)

// weights: what repositories hold is summed up for each owner, apart for those that are deleted and for
// boxes, and goes with the repository (G01-109, G06-13).
func weights(b *bench) {
	demo, other, gone := grasp.Addr{Owner: Key(1), ID: "demo"}, grasp.Addr{Owner: Key(1), ID: "other"}, grasp.Addr{Owner: Key(1), ID: "gone"}
	older, twin, nobodys := grasp.Addr{Owner: Key(1), ID: "older"}, grasp.Addr{Owner: Key(2), ID: "demo"}, grasp.Addr{Owner: Key(1), ID: "nobodys"}
	box, second := grasp.Addr{Owner: Key(1), ID: "demo", Box: true}, grasp.Addr{Owner: Key(1), ID: "second", Box: true}
	at := arrival
	row := func(a grasp.Addr, h grasp.Hosting, after time.Duration) steward.Repo {
		return steward.Repo{Addr: a, Hosting: h, Since: at.Add(after)}
	}
	weighed := func(a grasp.Addr, own, pulls int64) steward.Weighed {
		return steward.Weighed{Repo: a, Weight: steward.Weight{Own: own, Pulls: pulls}}
	}
	kept := func(k grasp.PubKey, boxes bool) steward.Kept {
		b.Helper()
		got, err := b.Kept(context.Background(), k, boxes)
		if err != nil {
			b.Fatal(err)
		}
		return got
	}
	want := func(what string, got, want steward.Kept) {
		b.Helper()
		same := slices.EqualFunc(got.Oldest, want.Oldest, func(a, b steward.Repo) bool {
			return a.Addr == b.Addr && a.Hosting == b.Hosting && a.Since.Equal(b.Since)
		})
		got.Oldest, want.Oldest = nil, nil
		if !same || !reflect.DeepEqual(got, want) {
			b.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	want("nothing", kept(Key(1), false), steward.Kept{})
	b.commit(steward.Change{
		Repos: []steward.Repo{
			row(demo, grasp.Live, 0), row(other, grasp.Withdrawn, 0), row(gone, grasp.Deleted, 2), row(older, grasp.Deleted, 1), row(twin, grasp.Live, 0),
		},
		Weighed: []steward.Weighed{
			weighed(demo, 10, 3), weighed(other, 20, 0), weighed(gone, 40, 1), weighed(twin, 1000, 0), weighed(box, 7, 0), weighed(second, 8, 0),
			weighed(nobodys, 5000, 0), // it has no row
		},
		Orphans: []steward.Orphan{{Repo: box, Event: ID(1), Deadline: at}, {Repo: box, Event: ID(2), Deadline: at}},
		Moves: []steward.Moved{
			{Repo: box, Changes: []grasp.RefChange{{Ref: grasp.PullRef(ID(2)), New: "1111111111111111111111111111111111111111"}}},
			{Repo: second, Changes: []grasp.RefChange{{Ref: grasp.PullRef(ID(3)), New: "1111111111111111111111111111111111111111"}}},
			{Repo: demo, Changes: []grasp.RefChange{{Ref: grasp.PullRef(ID(4)), New: "1111111111111111111111111111111111111111"}}},
		},
	})
	want("owner", kept(Key(1), false), steward.Kept{
		Repos: 2, Weight: steward.Weight{Own: 30, Pulls: 3},
		Deleted: 2, DeletedWeight: steward.Weight{Own: 40, Pulls: 1},
		Oldest: []steward.Repo{row(older, grasp.Deleted, 1), row(gone, grasp.Deleted, 2)},
	})
	want("boxes", kept(Key(1), true), steward.Kept{Repos: 2, Refs: 3, Weight: steward.Weight{Own: 15}})
	want("twin", kept(Key(2), false), steward.Kept{Repos: 1, Weight: steward.Weight{Own: 1000}})
	want("stranger", kept(Key(3), false), steward.Kept{})
	want("stranger's boxes", kept(Key(2), true), steward.Kept{})

	all := []steward.Weighed{
		weighed(demo, 10, 3), weighed(twin, 1000, 0), weighed(gone, 40, 1), weighed(older, 0, 0), weighed(other, 20, 0), weighed(box, 7, 0), weighed(second, 8, 0),
	}
	if Key(2) < Key(1) {
		all[0], all[1] = all[1], all[0]
	}
	for size := 1; size <= len(all)+1; size++ { // in steps of any size, all of them and in order
		var got []steward.Weighed
		var after grasp.Addr
		for {
			page, err := b.Walk(context.Background(), after, size)
			if err != nil {
				b.Fatal(err)
			}
			if len(page) > size {
				b.Fatalf("%d in a page of %d", len(page), size)
			}
			got = append(got, page...)
			if len(page) < size {
				break
			}
			after = page[len(page)-1].Repo
		}
		if !reflect.DeepEqual(got, all) {
			b.Errorf("walked in steps of %d: %+v", size, got)
		}
	}

	b.commit(steward.Change{
		Repos:   []steward.Repo{row(gone, grasp.NotHosted, 0), row(other, grasp.Live, 5)},
		Weighed: []steward.Weighed{weighed(gone, 99, 0), weighed(demo, 0, 4), weighed(second, 0, 0)},
	})
	want("after", kept(Key(1), false), steward.Kept{
		Repos: 2, Weight: steward.Weight{Own: 20, Pulls: 4}, Deleted: 1, Oldest: []steward.Repo{row(older, grasp.Deleted, 1)},
	})
	for repo, w := range map[grasp.Addr]steward.Weight{
		demo: {Pulls: 4}, other: {Own: 20}, gone: {}, box: {Own: 7}, second: {}, nobodys: {}, twin: {Own: 1000},
	} {
		if got, err := b.Weight(context.Background(), repo); err != nil || got != w {
			b.Errorf("%s weighs %+v, %v, want %+v", repo, got, err, w)
		}
	}
	b.commit(steward.Change{Repos: []steward.Repo{row(gone, grasp.Live, 0)}})
	if got, err := b.Weight(context.Background(), gone); err != nil || got != (steward.Weight{}) {
		b.Errorf("a new life begins with %+v, %v", got, err)
	}
	for _, bad := range []steward.Weighed{weighed(demo, -1, 0), weighed(demo, 1, -1), weighed(grasp.Addr{Owner: "x", ID: "demo"}, 1, 0)} {
		if _, err := b.Commit(context.Background(), steward.Change{Weighed: []steward.Weighed{bad}}); !fault.Is(err, fault.Invalid) {
			b.Errorf("%+v: %v, want invalid", bad, err)
		}
	}
}

// manyDeleted: of many deleted repositories the oldest are named, and all are counted.
func manyDeleted(b *bench) {
	const n = steward.MaxOldest + 20
	c := steward.Change{}
	for i := range n {
		a := grasp.Addr{Owner: Key(1), ID: fmt.Sprintf("r%03d", i)}
		c.Repos = append(c.Repos, steward.Repo{Addr: a, Hosting: grasp.Deleted, Since: arrival.Add(-time.Duration(i))})
		c.Weighed = append(c.Weighed, steward.Weighed{Repo: a, Weight: steward.Weight{Own: 1}})
	}
	b.commit(c)
	k, err := b.Kept(context.Background(), Key(1), false)
	if err != nil || k.Deleted != n || k.DeletedWeight.Own != n || len(k.Oldest) != steward.MaxOldest {
		b.Fatalf("%d deleted, %d named: %v", k.Deleted, len(k.Oldest), err)
	}
	if got := k.Oldest[0].Addr.ID; got != fmt.Sprintf("r%03d", n-1) {
		b.Errorf("the oldest is %s", got)
	}
}

// charges: each event counts for what it was said to, as long as it is here, whichever way it goes
// (hardening §10).
func charges(b *bench) {
	name := func(c byte) steward.Charge { return steward.Charge{c, c} }
	put := func(ev *nostr.Event, shelf grasp.Shelf, list ...steward.Charge) {
		b.Helper()
		e := Entry(ev, shelf)
		e.Charges = list
		b.commit(steward.Change{Put: e})
	}
	want := func(what string, counts ...int) {
		b.Helper()
		list := []steward.Charge{name('a'), name('b'), name('c'), name('z')}
		got, err := b.Tally(context.Background(), list)
		if err != nil || !slices.Equal(got, append(counts, 0)) {
			b.Errorf("%s: %v, %v, want %v", what, got, err, counts)
		}
	}
	want("nothing", 0, 0, 0)
	first, second, third := Event(1, 1, 1, ""), Event(1, 1, 2, ""), Event(2, 1, 3, "")
	list, newer := Event(3, 30003, 1, "old", nostr.Tag{"d", "x"}), Event(3, 30003, 2, "new", nostr.Tag{"d", "x"})
	pull := Event(4, grasp.KindPull, 4, "")
	put(first, grasp.Served, name('a'), name('b'))
	put(second, grasp.Served, name('a'))
	put(third, grasp.Served, name('a'), name('a'))
	put(list, grasp.Served, name('b'), name('c'))
	put(pull, grasp.Waiting, name('c'))
	want("five", 3, 2, 2)
	put(first, grasp.Served, name('c')) // it is here already
	want("a duplicate", 3, 2, 2)
	thread := func(ev *nostr.Event, served bool, n int) {
		b.Helper()
		for range 2 { // the second time it may be remembered
			th, err := b.Thread(context.Background(), grasp.EventID(ev.ID))
			want := steward.Thread{}
			if served {
				want = steward.Thread{Served: true, Kind: ev.Kind, Coordinate: grasp.CoordinateOf(ev)}
			}
			if len(th.Charges) != n {
				b.Errorf("%.7s has the charges %v, want %d", ev.ID, th.Charges, n)
			}
			if th.Charges = nil; err != nil || th.Served != want.Served || th.Kind != want.Kind || th.Coordinate != want.Coordinate || len(th.Addrs) > 0 {
				b.Errorf("%.7s: %+v, %v, want %+v", ev.ID, th, err, want)
			}
		}
	}
	thread(first, true, 2)
	thread(third, true, 1)
	thread(list, true, 2)
	thread(pull, false, 0)
	thread(newer, false, 0)
	put(newer, grasp.Served, name('a'))
	want("replaced", 4, 1, 1)
	thread(newer, true, 1)
	thread(list, false, 0)
	b.commit(steward.Change{Release: eids(pull)})
	want("released", 4, 1, 1)
	thread(pull, true, 1)
	b.commit(steward.Change{Drop: eids(pull, third)})
	want("dropped", 3, 1, 0)
	b.commit(steward.Change{Tombs: []steward.Tomb{{By: Key(1), Vanish: true, Until: 10}}})
	want("vanished", 1, 0, 0)
	thread(first, false, 0)
	put(pull, grasp.Served, name('c'))
	want("back", 1, 0, 1)
}

package storetest

import (
	"context"
	"slices"
	"strings"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
)

// refused checks that ev cannot come back to either shelf.
func (b *bench) refused(ev *nostr.Event) {
	b.Helper()
	if !b.ask(ev).Deleted {
		b.Errorf("kind %d at %d does not count as deleted", ev.Kind, ev.CreatedAt)
	}
	for _, shelf := range []grasp.Shelf{grasp.Waiting, grasp.Served} {
		if _, err := b.Commit(context.Background(), steward.Change{Put: Entry(ev, shelf)}); !fault.Is(err, fault.Refused) {
			b.Errorf("putting kind %d at %d: %v, want refused", ev.Kind, ev.CreatedAt, err)
		}
	}
	b.rests(ev, grasp.Nowhere)
}

func tombOfID(b *bench) {
	served, waiting, unseen := Event(1, 1621, 10, ""), State(1, "demo", 10), Event(1, 1, 10, "")
	b.serve(served, Event(2, 1, 1, "", nostr.Tag{"e", "other"}))
	b.put(waiting, grasp.Waiting)
	deletion := Event(1, grasp.KindDeletion, 5, "")
	var tombs []steward.Tomb
	for _, id := range eids(served, waiting, unseen) {
		tombs = append(tombs, steward.Tomb{By: Key(1), ID: id})
	}
	r := b.commit(steward.Change{Put: Entry(deletion, grasp.Served), Tombs: tombs})
	equal(b, "removed", removed(r), ids(served, waiting))
	for _, e := range r.Removed {
		if e.Event.ID == waiting.ID && (e.Shelf != grasp.Waiting || len(e.Subjects) != 1 || e.Subjects[0] != "demo" || len(e.Raw) == 0) {
			b.Errorf("removed: %+v", e)
		}
	}
	b.rests(deletion, grasp.Served) // check 118
	for _, ev := range []*nostr.Event{served, waiting, unseen} {
		b.refused(ev)
	}
	equal(b, "view", b.viewIDs("demo"), nil)
}

func tombOfCoordinate(b *bench) {
	// One served and several waiting versions; the deletion says 200.
	coordinate := "30618:" + string(Key(1)) + ":a:b"
	old, at, later, served := State(1, "a:b", 100), State(1, "a:b", 200), State(1, "a:b", 201), State(1, "a:b", 90)
	prefix, twin := State(1, "a", 100), State(1, "a:b:c", 100)
	b.serve(served, prefix, twin)
	for _, ev := range []*nostr.Event{old, at, later} {
		b.put(ev, grasp.Waiting)
	}
	r := b.commit(steward.Change{Tombs: []steward.Tomb{{By: Key(1), Coordinate: coordinate, Until: 200}}})
	equal(b, "removed", removed(r), ids(served, old, at))
	b.rests(later, grasp.Waiting)
	b.rests(prefix, grasp.Served)
	b.rests(twin, grasp.Served)
	b.refused(at)
	b.refused(old)
	b.serve(State(1, "a:b", 300))
	// An earlier deletion that arrives later changes nothing.
	b.commit(steward.Change{Tombs: []steward.Tomb{{By: Key(1), Coordinate: coordinate, Until: 50}}})
	b.refused(at)
	// Replaceable kinds have an empty d.
	list := Event(1, 10317, 10, "")
	b.serve(list)
	r = b.commit(steward.Change{Tombs: []steward.Tomb{{By: Key(1), Coordinate: "10317:" + string(Key(1)) + ":", Until: 10}}})
	equal(b, "removed", removed(r), ids(list))
	b.refused(list)
	// Long identifiers are no different.
	long := strings.Repeat("x", 200)
	a := Announcement(1, long, 10)
	b.put(a, grasp.Waiting)
	r = b.commit(steward.Change{Tombs: []steward.Tomb{{By: Key(1), Coordinate: grasp.Addr{Owner: Key(1), ID: long}.Coordinate(), Until: 10}}})
	equal(b, "removed", removed(r), ids(a))
	b.refused(a)
}

func tombOfOthers(b *bench) {
	owner, state := Announcement(1, "demo", 10), State(1, "demo", 10)
	b.serve(owner)
	b.put(state, grasp.Waiting)
	r := b.commit(steward.Change{Tombs: []steward.Tomb{
		{By: Key(2), ID: grasp.EventID(owner.ID)},
		{By: Key(2), Coordinate: "30617:" + string(Key(1)) + ":demo", Until: 100},
		{By: Key(2), Coordinate: "30618:" + string(Key(1)) + ":demo", Until: 100},
		{By: Key(2), Coordinate: "no coordinate", Until: 100},
		{By: Key(2), Vanish: true, Until: 100},
	}})
	equal(b, "removed", removed(r), nil)
	b.rests(owner, grasp.Served)
	b.rests(state, grasp.Waiting)
	unseen := Announcement(1, "demo", 50)
	if b.ask(unseen).Deleted {
		b.Error("another key's deletion covers what comes later")
	}
	b.serve(unseen)
}

func kindsFiveAndSixtyTwo(b *bench) {
	five, sixtyTwo, later := Event(1, 5, 10, ""), Event(1, 62, 10, ""), Event(1, 5, 11, "later")
	b.serve(five, sixtyTwo)
	var tombs []steward.Tomb
	for _, ev := range []*nostr.Event{five, sixtyTwo, later} {
		tombs = append(tombs, steward.Tomb{By: Key(1), ID: grasp.EventID(ev.ID)})
	}
	r := b.commit(steward.Change{Tombs: tombs})
	equal(b, "removed", removed(r), nil)
	b.rests(five, grasp.Served)
	b.rests(sixtyTwo, grasp.Served)
	b.serve(later)
}

func vanish(b *bench) {
	request := Event(1, grasp.KindVanish, 100, "", nostr.Tag{"relay", "ALL_RELAYS"})
	before := []*nostr.Event{
		Event(1, 5, 50, ""), Event(1, 62, 60, ""), Announcement(1, "demo", 70), Event(1, 1621, 100, "same second"),
	}
	wait := []*nostr.Event{State(1, "demo", 80), Event(1, grasp.KindPull, 90, "")}
	after, others := Event(1, 1621, 101, ""), Event(2, 1621, 50, "")
	b.serve(append(before, after, others)...)
	for _, ev := range wait {
		b.put(ev, grasp.Waiting)
	}
	r := b.commit(steward.Change{Put: Entry(request, grasp.Served), Tombs: []steward.Tomb{{By: Key(1), Vanish: true, Until: 100}}})
	equal(b, "removed", removed(r), ids(append(before, wait...)...))
	b.rests(request, grasp.Served) // the request outlives itself
	b.rests(after, grasp.Served)
	b.rests(others, grasp.Served)
	for _, ev := range append(before, wait...) {
		b.refused(ev)
	}
	equal(b, "view", b.viewIDs("demo"), nil)
	marked, err := b.Unsettled(context.Background())
	if err != nil || !slices.Contains(marked, "demo") {
		b.Errorf("unsettled: %v, %v; want demo, whose events are gone", marked, err)
	}
	// A served pull request is in no View; that it is gone must be noticed all the same.
	pull := Entry(Event(3, grasp.KindPull, 90, ""), grasp.Served)
	pull.Subjects = []string{"named", "too"}
	b.commit(steward.Change{Put: pull})
	b.commit(steward.Change{Tombs: []steward.Tomb{{By: Key(3), Vanish: true, Until: 100}}})
	marked, err = b.Unsettled(context.Background())
	if err != nil || !slices.Contains(marked, "named") || !slices.Contains(marked, "too") {
		b.Errorf("unsettled: %v, %v; want what the pull request named", marked, err)
	}
	// Not undone by anything earlier, and a later request takes the earlier one with it.
	b.commit(steward.Change{Tombs: []steward.Tomb{{By: Key(1), Vanish: true, Until: 10}}})
	b.refused(before[2])
	r = b.commit(steward.Change{Tombs: []steward.Tomb{{By: Key(1), Vanish: true, Until: 200}}})
	equal(b, "removed", removed(r), ids(request, after))
}

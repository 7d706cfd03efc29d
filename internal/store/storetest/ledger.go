package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
)

// TestLedger holds what open returns, a new and empty ledger for each call, to the contract of
// steward.Ledger.
func TestLedger(t *testing.T, open func(t *testing.T) steward.Ledger) {
	for _, c := range []struct {
		name string
		run  func(b *bench)
	}{
		{"PutAndEvent", putAndEvent},
		{"Duplicate", duplicate},
		{"ReplaceServed/N-009", replaceServed},
		{"EqualTimes/N-009/check103", equalTimes},
		{"ConcurrentVersions/N-009", concurrentVersions},
		{"IdentifiersAreExact", identifiersAreExact},
		{"WaitingShelf/G01-108/G01-309", waitingShelf},
		{"Release/G01-703", release},
		{"ReleaseThatLoses/N-009", releaseThatLoses},
		{"DropAndExtend/G01-312", dropAndExtend},
		{"ViewHolds", viewHolds},
		{"TombOfID/N-032/N-033/check117", tombOfID},
		{"TombOfCoordinate/N-032/check116", tombOfCoordinate},
		{"TombOfOthers/G01-906/check115", tombOfOthers},
		{"KindsFiveAndSixtyTwo/N-032", kindsFiveAndSixtyTwo},
		{"Vanish/N-035/check119", vanish},
		{"Lookup/Shelf", lookupShelf},
		{"Lookup/Newer/N-009", lookupNewer},
		{"Lookup/Related/G01-801", lookupRelated},
		{"Lookup/Counts/G01-408", lookupCounts},
		{"ReposAndOrphans", reposAndOrphans},
		{"Boxes/G06-06", boxes},
		{"Weights/G01-109", weights},
		{"ManyDeleted", manyDeleted},
		{"Charges", charges},
		{"Moves", moves},
		{"Unsettled", unsettled},
		{"Due/N-036/G01-402/G01-707", due},
		{"Sizes", sizes},
		{"Malformed", malformed},
		{"NothingOfALostChange", nothingOfALostChange},
		{"ManyAtOnce", manyAtOnce},
		{"CancelledBefore", cancelledBefore},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(&bench{T: t, Ledger: open(t)}) })
	}
}

// A bench is one test with one ledger.
type bench struct {
	*testing.T
	steward.Ledger
}

func (b *bench) commit(c steward.Change) steward.Receipt {
	b.Helper()
	r, err := b.Commit(context.Background(), c)
	if err != nil {
		b.Fatalf("commit: %v", err)
	}
	return r
}

func (b *bench) put(ev *nostr.Event, shelf grasp.Shelf) steward.Receipt {
	b.Helper()
	return b.commit(steward.Change{Put: Entry(ev, shelf)})
}

func (b *bench) serve(evs ...*nostr.Event) {
	b.Helper()
	for _, ev := range evs {
		if r := b.put(ev, grasp.Served); r.Duplicate || r.Stale {
			b.Fatalf("event of kind %d was not put: %+v", ev.Kind, r)
		}
	}
}

// shelf returns where ev rests.
func (b *bench) shelf(ev *nostr.Event) grasp.Shelf {
	b.Helper()
	e, err := b.Event(context.Background(), grasp.EventID(ev.ID))
	if fault.Is(err, fault.NotFound) {
		return grasp.Nowhere
	}
	if err != nil {
		b.Fatalf("event: %v", err)
	}
	return e.Shelf
}

func (b *bench) rests(ev *nostr.Event, want grasp.Shelf) {
	b.Helper()
	if got := b.shelf(ev); got != want {
		b.Errorf("event of kind %d at %d rests %v, want %v", ev.Kind, ev.CreatedAt, got, want)
	}
}

func (b *bench) ask(ev *nostr.Event, more ...func(*steward.Question)) steward.Answer {
	b.Helper()
	ids, addrs := grasp.Anchors(ev)
	q := steward.Question{
		ID: grasp.EventID(ev.ID), Author: grasp.PubKey(ev.PubKey), Created: int64(ev.CreatedAt),
		Coordinate: grasp.CoordinateOf(ev), Addrs: addrs,
	}
	for _, id := range ids {
		q.IDs = append(q.IDs, string(id))
	}
	for _, f := range more {
		f(&q)
	}
	a, err := b.Lookup(context.Background(), q)
	if err != nil {
		b.Fatalf("lookup: %v", err)
	}
	return a
}

func (b *bench) view(id string) steward.Facts {
	b.Helper()
	f, err := b.View(context.Background(), id)
	if err != nil {
		b.Fatalf("view: %v", err)
	}
	return f
}

// viewIDs returns the ids of the View's events, sorted.
func (b *bench) viewIDs(id string) []string {
	b.Helper()
	var out []string
	for _, e := range b.view(id).Entries {
		out = append(out, e.Event.ID)
	}
	slices.Sort(out)
	return out
}

func ids(evs ...*nostr.Event) []string {
	var out []string
	for _, ev := range evs {
		out = append(out, ev.ID)
	}
	slices.Sort(out)
	return out
}

func eids(evs ...*nostr.Event) []grasp.EventID {
	var out []grasp.EventID
	for _, ev := range evs {
		out = append(out, grasp.EventID(ev.ID))
	}
	return out
}

func removed(r steward.Receipt) []string {
	var out []string
	for _, e := range r.Removed {
		out = append(out, e.Event.ID)
	}
	slices.Sort(out)
	return out
}

func equal[T comparable](t testing.TB, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func putAndEvent(b *bench) {
	e := Entry(State(1, "demo", 100, nostr.Tag{"refs/heads/main", strings.Repeat("a", 40)}), grasp.Waiting)
	e.Raw = []byte(strings.Replace(string(e.Raw), `{"`, "{ \n \"", 1)) // kept as it is
	e.Subjects = []string{"demo"}
	e.Expires = time.Unix(4_000_000_000, 0)
	b.commit(steward.Change{Put: e})
	got, err := b.Event(context.Background(), grasp.EventID(e.Event.ID))
	if err != nil {
		b.Fatal(err)
	}
	if string(got.Raw) != string(e.Raw) {
		b.Errorf("raw is %s, want %s", got.Raw, e.Raw)
	}
	if got.Event.String() != e.Event.String() {
		b.Errorf("event is %s, want %s", got.Event, e.Event)
	}
	if got.Shelf != e.Shelf || got.Source != e.Source || !got.Received.Equal(e.Received) ||
		!got.Deadline.Equal(e.Deadline) || !got.Expires.Equal(e.Expires) {
		b.Errorf("got %+v, want %+v", got, *e)
	}
	equal(b, "subjects", got.Subjects, e.Subjects)

	served := Event(1, 1621, 100, "an issue")
	b.serve(served)
	got, err = b.Event(context.Background(), grasp.EventID(served.ID))
	if err != nil || !got.Deadline.IsZero() || !got.Expires.IsZero() || len(got.Subjects) != 0 {
		b.Errorf("a served event has %+v, %v", got, err)
	}
	for _, id := range []grasp.EventID{ID(1), "", "zz"} {
		if _, err := b.Event(context.Background(), id); !fault.Is(err, fault.NotFound) {
			b.Errorf("event %q: %v, want not found", id, err)
		}
	}
}

func duplicate(b *bench) {
	ev, pull := Announcement(1, "demo", 100), Event(2, grasp.KindPull, 100, "")
	b.serve(ev)
	b.put(pull, grasp.Waiting)
	for _, again := range []*nostr.Event{ev, pull} {
		for _, shelf := range []grasp.Shelf{grasp.Waiting, grasp.Served} {
			r := b.commit(steward.Change{Put: Entry(again, shelf), Unsettled: "never", Drop: eids(ev, pull)})
			if !r.Duplicate || r.Stale || len(r.Replaced)+len(r.Removed) > 0 {
				b.Errorf("putting kind %d again: %+v, want a duplicate", again.Kind, r)
			}
		}
	}
	b.rests(ev, grasp.Served)
	b.rests(pull, grasp.Waiting)
	if list, _ := b.Unsettled(context.Background()); slices.Contains(list, "never") {
		b.Error("a change was written although its event was a duplicate")
	}
}

func replaceServed(b *bench) {
	for _, kind := range []int{0, 3, 10002, 10317, 19999, 30000, 30023, 30617, 30618, 39999} {
		tag := nostr.Tag{"d", "one"}
		old, mid, newest := Event(1, kind, 100, "", tag), Event(1, kind, 200, "", tag), Event(1, kind, 300, "", tag)
		b.serve(mid)
		if r := b.put(old, grasp.Served); !r.Stale || r.Duplicate || len(r.Replaced) > 0 {
			b.Errorf("kind %d: older after newer: %+v, want stale (check 93)", kind, r)
		}
		if r := b.put(newest, grasp.Served); r.Stale || !slices.Equal(r.Replaced, eids(mid)) {
			b.Errorf("kind %d: newer after older: %+v, want %s replaced", kind, r, mid.ID)
		}
		b.rests(old, grasp.Nowhere)
		b.rests(mid, grasp.Nowhere)
		b.rests(newest, grasp.Served)
		other := Event(2, kind, 50, "", tag)
		b.serve(other)
		b.rests(newest, grasp.Served)
	}
	for _, kind := range []int{1, 5, 62, 1618, 1621, 9735, 40000} {
		a, c := Event(1, kind, 100, ""), Event(1, kind, 200, "")
		b.serve(a, c)
		b.rests(a, grasp.Served)
	}
	// A missing d is an empty one, only the first one counts, and replaceable kinds have none.
	for _, c := range []struct {
		name      string
		old, next *nostr.Event
		replaces  bool
	}{
		{"missing d", Event(3, 30023, 1, ""), Event(3, 30023, 2, "", nostr.Tag{"d", ""}), true},
		{"first d", Event(3, 30024, 1, "", nostr.Tag{"d", "x"}, nostr.Tag{"d", "y"}), Event(3, 30024, 2, "", nostr.Tag{"d", "x"}), true},
		{"second d", Event(3, 30025, 1, "", nostr.Tag{"d", "x"}, nostr.Tag{"d", "y"}), Event(3, 30025, 2, "", nostr.Tag{"d", "y"}), false},
		{"replaceable with d", Event(3, 10002, 1, "", nostr.Tag{"d", "x"}), Event(3, 10002, 2, ""), true},
	} {
		b.serve(c.old, c.next)
		if gone := b.shelf(c.old) == grasp.Nowhere; gone != c.replaces {
			b.Errorf("%s: replaced is %v, want %v", c.name, gone, c.replaces)
		}
	}
}

func equalTimes(b *bench) {
	for order := range 2 {
		evs := Same(2, func(content string) *nostr.Event {
			return Event(order, grasp.KindState, 100, content, nostr.Tag{"d", "demo"})
		})
		low, high := evs[0], evs[1]
		if order == 0 {
			b.serve(low)
			if r := b.put(high, grasp.Served); !r.Stale {
				b.Errorf("the higher id second: %+v, want stale", r)
			}
		} else {
			b.serve(high)
			if r := b.put(low, grasp.Served); r.Stale || !slices.Equal(r.Replaced, eids(high)) {
				b.Errorf("the lower id second: %+v, want it to replace", r)
			}
		}
		b.rests(low, grasp.Served)
		b.rests(high, grasp.Nowhere)
	}
}

// concurrentVersions puts versions of one coordinate at the same time: whatever the order, the one
// that must win is served, and no other.
func concurrentVersions(b *bench) {
	evs := Same(16, func(content string) *nostr.Event {
		return Event(1, grasp.KindAnnouncement, 500, content, nostr.Tag{"d", "demo"})
	})
	for i := range 16 {
		evs = append(evs, Announcement(1, "demo", 500-int64(i)-1))
	}
	together(b, len(evs), func(i int) error {
		_, err := b.Commit(context.Background(), steward.Change{Put: Entry(evs[i], grasp.Served)})
		return err
	})
	b.rests(evs[0], grasp.Served)
	for _, ev := range evs[1:] {
		b.rests(ev, grasp.Nowhere)
	}
	equal(b, "view", b.viewIDs("demo"), ids(evs[0]))
}

// identifiersAreExact pins what prefix scans get wrong.
func identifiersAreExact(b *bench) {
	long := strings.Repeat("l", 200)
	names := []string{"git", "git-lfs", "git-l", "Git", "", long, long + "l", "a:b", "a", "\u00fc", "u\u0308"}
	for i, d := range names {
		b.serve(State(1, d, 100+int64(i)))
	}
	for i, d := range names {
		equal(b, fmt.Sprintf("view of %q", d), b.viewIDs(d), ids(State(1, d, 100+int64(i))))
	}
}

func waitingShelf(b *bench) {
	// Announcements replace each other while they wait; older ones lose (G01-108).
	a1, a2, a3 := Announcement(1, "demo", 100), Announcement(1, "demo", 200), Announcement(1, "demo", 150)
	b.put(a1, grasp.Waiting)
	if r := b.put(a2, grasp.Waiting); !slices.Equal(r.Replaced, eids(a1)) {
		b.Errorf("a newer waiting announcement: %+v, want it to replace", r)
	}
	if r := b.put(a3, grasp.Waiting); !r.Stale {
		b.Errorf("an older waiting announcement: %+v, want stale", r)
	}
	b.rests(a1, grasp.Nowhere)
	b.rests(a2, grasp.Waiting)
	b.rests(a3, grasp.Nowhere)
	// States and pull requests stand beside each other (G01-309).
	s1, s2, s3 := State(1, "demo", 200), State(1, "demo", 100), State(1, "demo", 300)
	p1, p2 := Event(1, grasp.KindPull, 1, "1"), Event(1, grasp.KindPull, 1, "2")
	for _, ev := range []*nostr.Event{s1, s2, s3, p1, p2} {
		if r := b.put(ev, grasp.Waiting); r.Stale || r.Duplicate || len(r.Replaced) > 0 {
			b.Errorf("kind %d beside others: %+v", ev.Kind, r)
		}
	}
	for _, ev := range []*nostr.Event{a2, s1, s2, s3, p1, p2} {
		b.rests(ev, grasp.Waiting)
	}
	// A served version stays while a newer one waits, and what is older than it need not wait.
	b.serve(State(2, "demo", 200))
	b.put(State(2, "demo", 300), grasp.Waiting)
	b.rests(State(2, "demo", 200), grasp.Served)
	b.rests(State(2, "demo", 300), grasp.Waiting)
	if r := b.put(State(2, "demo", 100), grasp.Waiting); !r.Stale {
		b.Errorf("waiting although a newer one is served: %+v, want stale", r)
	}
	// Putting a served state does not remove the waiting ones.
	b.serve(State(2, "demo", 400))
	b.rests(State(2, "demo", 300), grasp.Waiting)
}

func release(b *bench) {
	ann, old, next, other := Announcement(1, "demo", 1), State(1, "demo", 100), State(1, "demo", 200), State(1, "demo", 300)
	pull := Entry(Event(2, grasp.KindPull, 1, "", nostr.Tag{"e", string(ID(7))}), grasp.Waiting)
	pull.Subjects = []string{"demo", "fork"}
	b.serve(old)
	b.put(ann, grasp.Waiting)
	b.put(next, grasp.Waiting)
	b.put(other, grasp.Waiting)
	b.commit(steward.Change{Put: pull})
	equal(b, "view of fork", b.viewIDs("fork"), ids(pull.Event))

	r := b.commit(steward.Change{Release: append(eids(ann, next, pull.Event), ID(1))})
	equal(b, "replaced", r.Replaced, eids(old))
	b.rests(old, grasp.Nowhere)
	b.rests(other, grasp.Waiting)
	for _, ev := range []*nostr.Event{ann, next, pull.Event} {
		b.rests(ev, grasp.Served)
		e, err := b.Event(context.Background(), grasp.EventID(ev.ID))
		if err != nil || !e.Deadline.IsZero() {
			b.Errorf("a released event has deadline %v (%v)", e.Deadline, err)
		}
	}
	equal(b, "view of fork after release", b.viewIDs("fork"), nil)
	equal(b, "view of demo after release", b.viewIDs("demo"), ids(ann, next, other))
	// What is served now can be found by what it names.
	if !b.ask(Event(3, 1, 1, ""), func(q *steward.Question) { q.ID = ID(7) }).Related {
		b.Error("a released event does not open the door for what it names (G01-802)")
	}
	// Releasing again is no error and changes nothing.
	if r := b.commit(steward.Change{Release: eids(next)}); len(r.Replaced) > 0 {
		b.Errorf("releasing what is served: %+v", r)
	}
	b.rests(next, grasp.Served)
}

func releaseThatLoses(b *bench) {
	wait, newer := State(1, "demo", 100), State(1, "demo", 200)
	b.put(wait, grasp.Waiting)
	b.serve(newer)
	r := b.commit(steward.Change{Release: eids(wait)})
	equal(b, "replaced", r.Replaced, eids(wait))
	b.rests(wait, grasp.Nowhere)
	b.rests(newer, grasp.Served)
	// Two in one change: in this order, the last one standing is the newest.
	x, y := State(2, "demo", 300), State(2, "demo", 250)
	b.put(x, grasp.Waiting)
	b.put(y, grasp.Waiting)
	r = b.commit(steward.Change{Release: eids(x, y)})
	equal(b, "replaced", r.Replaced, eids(y))
	b.rests(x, grasp.Served)
	b.rests(y, grasp.Nowhere)
}

func dropAndExtend(b *bench) {
	ev, gone, served := State(1, "demo", 1), State(1, "demo", 2), State(2, "demo", 3)
	b.put(ev, grasp.Waiting)
	b.put(gone, grasp.Waiting)
	b.serve(served)
	deadline := func() time.Duration {
		e, err := b.Event(context.Background(), grasp.EventID(ev.ID))
		if err != nil {
			b.Fatal(err)
		}
		return e.Deadline.Sub(arrival)
	}
	for _, c := range []struct{ to, want time.Duration }{
		{time.Hour, time.Hour},
		{time.Minute, time.Hour}, // never backward
		{48 * time.Hour, 24 * time.Hour},
		{time.Hour, 24 * time.Hour},
	} {
		b.commit(steward.Change{Extend: map[grasp.EventID]time.Time{
			grasp.EventID(ev.ID): arrival.Add(c.to), grasp.EventID(served.ID): arrival.Add(c.to), ID(1): arrival,
		}})
		if got := deadline(); got != c.want {
			b.Errorf("extended to %v: %v after arrival, want %v", c.to, got, c.want)
		}
	}
	if e, _ := b.Event(context.Background(), grasp.EventID(served.ID)); !e.Deadline.IsZero() {
		b.Error("a served event got a deadline")
	}
	b.commit(steward.Change{Drop: append(eids(gone, served), ID(1))})
	b.rests(gone, grasp.Nowhere)
	b.rests(served, grasp.Nowhere)
	// No tombstone: it may come again (G01-403).
	if r := b.put(gone, grasp.Waiting); r.Duplicate || r.Stale {
		b.Errorf("what was dropped cannot return: %+v", r)
	}
	if b.ask(served).Deleted {
		b.Error("what was dropped counts as deleted")
	}
}

func viewHolds(b *bench) {
	a1, a2, s1, s2 := Announcement(1, "demo", 1), Announcement(2, "demo", 2), State(1, "demo", 3), State(3, "demo", 4)
	issue := Event(1, 1621, 5, "", nostr.Tag{"a", "30617:" + string(Key(1)) + ":demo"}, nostr.Tag{"d", "demo"})
	pull := Entry(Event(4, grasp.KindPullUpdate, 6, ""), grasp.Waiting)
	pull.Subjects = []string{"demo", "demo2"}
	servedPull := Entry(Event(4, grasp.KindPull, 7, ""), grasp.Served)
	servedPull.Subjects = []string{"demo"}
	b.serve(a1, s1, issue, Announcement(1, "demo2", 1))
	b.put(a2, grasp.Waiting)
	b.put(s2, grasp.Waiting)
	b.commit(steward.Change{Put: pull})
	b.commit(steward.Change{Put: servedPull})
	equal(b, "view of demo", b.viewIDs("demo"), ids(a1, a2, s1, s2, pull.Event))
	equal(b, "view of demo2", b.viewIDs("demo2"), ids(Announcement(1, "demo2", 1), pull.Event))
	equal(b, "view of nothing", b.viewIDs("nothing"), nil)
	for _, e := range b.view("demo").Entries {
		want := []string{"demo"}
		if e.Event.ID == pull.Event.ID {
			want = pull.Subjects
		}
		equal(b, "subjects", e.Subjects, want)
	}
	if e, _ := b.Event(context.Background(), grasp.EventID(servedPull.Event.ID)); !slices.Equal(e.Subjects, []string{"demo"}) {
		b.Errorf("a served pull request forgot its subjects: %v", e.Subjects)
	}
}

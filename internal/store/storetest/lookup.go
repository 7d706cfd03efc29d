package storetest

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/steward"
)

func lookupShelf(b *bench) {
	served, waiting, none := Event(1, 1, 1, "served"), State(1, "demo", 1), Event(1, 1, 1, "none")
	b.serve(served)
	b.put(waiting, grasp.Waiting)
	for ev, want := range map[*nostr.Event]grasp.Shelf{served: grasp.Served, waiting: grasp.Waiting, none: grasp.Nowhere} {
		if a := b.ask(ev); a.Known != want || a.Deleted || a.Newer {
			b.Errorf("%+v, want it known as %v", a, want)
		}
	}
}

func lookupNewer(b *bench) {
	evs := Same(3, func(content string) *nostr.Event {
		return Event(1, grasp.KindState, 100, content, nostr.Tag{"d", "demo"})
	})
	b.serve(evs[1])
	b.put(State(1, "demo", 900), grasp.Waiting) // does not count
	b.serve(Event(1, 10002, 100, ""))
	for _, c := range []struct {
		name string
		ev   *nostr.Event
		want bool
	}{
		{"older", State(1, "demo", 99), true},
		{"newer", State(1, "demo", 101), false},
		{"as old, lower id", evs[0], false},
		{"itself", evs[1], false},
		{"as old, higher id", evs[2], true},
		{"another author", State(2, "demo", 1), false},
		{"another identifier", State(1, "dem", 1), false},
		{"another kind", Announcement(1, "demo", 1), false},
		{"not a version", Event(1, 1, 1, "", nostr.Tag{"d", "demo"}), false},
		{"replaceable", Event(1, 10002, 99, ""), true},
	} {
		if got := b.ask(c.ev).Newer; got != c.want {
			b.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func lookupRelated(b *bench) {
	const d = "name:with:colons"
	repo := Announcement(1, d, 10)
	coordinate := grasp.CoordinateOf(repo)
	issue := Event(2, 1621, 10, "", nostr.Tag{"a", coordinate})
	list := Event(2, 10317, 10, "")
	hidden := Announcement(3, "hidden", 10)
	expired := Entry(Event(4, 1621, 10, "over", nostr.Tag{"e", string(ID(5))}), grasp.Served)
	expired.Expires = time.Unix(1000, 0)
	expiredRepo := Entry(Announcement(4, "over", 10), grasp.Served)
	expiredRepo.Expires = time.Unix(1000, 0)
	long := "30617:" + string(Key(5)) + ":" + strings.Repeat("l", 200)
	b.serve(repo, issue, list, Event(2, 1, 10, "",
		nostr.Tag{"e", string(ID(1)), "wss://relay", "root"}, nostr.Tag{"E", string(ID(2))}, nostr.Tag{"q", string(ID(3))},
		nostr.Tag{"p", string(ID(4))}, nostr.Tag{"x", "y", string(ID(4))},
		nostr.Tag{"a", "30023:" + string(Key(5)) + ":essay"}, nostr.Tag{"A", "10002:" + string(Key(5)) + ":"}, nostr.Tag{"q", long}))
	b.put(hidden, grasp.Waiting)
	b.commit(steward.Change{Put: expired})
	b.commit(steward.Change{Put: expiredRepo})

	var thousand []string
	for i := range 1000 {
		thousand = append(thousand, string(ID(i+100_000)))
	}
	for _, c := range []struct {
		name string
		q    steward.Question
		want bool
	}{
		{"nothing", steward.Question{}, false},
		// (a)
		{"a served repository", steward.Question{Addrs: []string{coordinate}}, true},
		{"a served replaceable", steward.Question{Addrs: []string{"10317:" + string(Key(2)) + ":"}}, true},
		{"a waiting repository", steward.Question{Addrs: []string{grasp.CoordinateOf(hidden)}}, false},
		{"an expired repository", steward.Question{Addrs: []string{grasp.CoordinateOf(expiredRepo.Event)}}, false},
		{"a prefix of its name", steward.Question{Addrs: []string{"30617:" + string(Key(1)) + ":name"}}, false},
		{"an upper-case key", steward.Question{Addrs: []string{strings.ToUpper(coordinate)}}, false},
		{"another kind", steward.Question{Addrs: []string{"30618" + coordinate[5:]}}, false},
		{"another spelling of the kind", steward.Question{Addrs: []string{"030617" + coordinate[5:], "+30617" + coordinate[5:], " 30617" + coordinate[5:]}}, false},
		{"garbage", steward.Question{Addrs: []string{"", ":", "::", "1:", "30617", "30617:" + string(Key(1)), "99999999999999999999:" + string(Key(1)) + ":x", strings.Repeat(":", 100)}}, false},
		{"one among many", steward.Question{Addrs: []string{"x", grasp.CoordinateOf(hidden), coordinate}}, true},
		// (b)
		{"a served event", steward.Question{IDs: []string{issue.ID}}, true},
		{"a waiting event", steward.Question{IDs: []string{hidden.ID}}, false},
		{"an expired event", steward.Question{IDs: []string{expired.Event.ID}}, false},
		{"an upper-case id", steward.Question{IDs: []string{strings.ToUpper(issue.ID)}}, false},
		{"garbage ids", steward.Question{IDs: []string{"", "x", issue.ID + " ", issue.ID[:63]}}, false},
		{"none of a thousand", steward.Question{IDs: thousand}, false},
		{"one of a thousand", steward.Question{IDs: append(thousand, issue.ID)}, true},
		// (c)
		{"named by e", steward.Question{ID: ID(1)}, true},
		{"named by E", steward.Question{ID: ID(2)}, true},
		{"named by q", steward.Question{ID: ID(3)}, true},
		{"named by p, or further back", steward.Question{ID: ID(4)}, false},
		{"named by an expired event", steward.Question{ID: ID(5)}, false},
		// (d)
		{"named by a", steward.Question{Coordinate: "30023:" + string(Key(5)) + ":essay"}, true},
		{"named by A", steward.Question{Coordinate: "10002:" + string(Key(5)) + ":"}, true},
		{"named by q, long", steward.Question{Coordinate: long}, true},
		{"almost named", steward.Question{Coordinate: long[:len(long)-1]}, false},
	} {
		if c.q.ID == "" {
			c.q.ID = ID(999)
		}
		c.q.Author = Key(7)
		a, err := b.Lookup(context.Background(), c.q)
		if err != nil || a.Related != c.want {
			b.Errorf("%s: related is %v, want %v (%v)", c.name, a.Related, c.want, err)
		}
	}
}

func lookupCounts(b *bench) {
	var evs []*nostr.Event
	for i := range 5 {
		e := Entry(State(i%2, "demo", int64(i)), grasp.Waiting)
		e.Source = fmt.Sprintf("192.0.%d.0/24", i/3)
		b.commit(steward.Change{Put: e})
		evs = append(evs, e.Event)
	}
	b.serve(State(7, "demo", 1))
	from := func(source string) func(q *steward.Question) {
		return func(q *steward.Question) { q.Source = source }
	}
	check := func(author int, source string, byAuthor, bySource, all int) {
		b.Helper()
		a := b.ask(State(author, "other", 1000), from(source))
		if a.WaitingByAuthor != byAuthor || a.WaitingBySource != bySource || a.WaitingInAll != all {
			b.Errorf("key %d from %q: %+v, want %d, %d, %d", author, source, a, byAuthor, bySource, all)
		}
	}
	check(0, "192.0.0.0/24", 3, 3, 5)
	check(1, "192.0.1.0/24", 2, 2, 5)
	check(7, "192.0.2.0/24", 0, 0, 5)
	check(0, "", 3, 0, 5)
	b.commit(steward.Change{Release: eids(evs[0])}) // loses nothing, is served
	b.commit(steward.Change{Drop: eids(evs[1])})
	b.commit(steward.Change{Tombs: []steward.Tomb{{By: Key(0), ID: grasp.EventID(evs[2].ID)}}})
	b.put(evs[3], grasp.Waiting) // a duplicate
	check(0, "192.0.0.0/24", 1, 0, 2)
	check(1, "192.0.1.0/24", 1, 2, 2)
}

package storetest

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
)

func reposAndOrphans(b *bench) {
	demo1, demo2, other := grasp.Addr{Owner: Key(1), ID: "demo"}, grasp.Addr{Owner: Key(2), ID: "demo"}, grasp.Addr{Owner: Key(1), ID: "other"}
	at := arrival.Add(time.Nanosecond)
	b.commit(steward.Change{
		Repos:   []steward.Repo{{Addr: demo1, Hosting: grasp.Live, Since: at}, {Addr: demo2, Hosting: grasp.Deleted, Since: at}, {Addr: other, Hosting: grasp.Live, Since: at}},
		Orphans: []steward.Orphan{{Repo: demo1, Event: ID(1), Deadline: at}, {Repo: demo1, Event: ID(2), Deadline: at}, {Repo: other, Event: ID(1), Deadline: at}},
	})
	f := b.view("demo")
	if len(f.Repos) != 2 || len(f.Orphans) != 2 || !f.Repos[0].Since.Equal(at) || !f.Orphans[0].Deadline.Equal(at) {
		b.Fatalf("view: %+v", f)
	}
	b.commit(steward.Change{
		Repos:   []steward.Repo{{Addr: demo1, Hosting: grasp.Withdrawn, Since: at.Add(1)}, {Addr: demo2}},
		Orphans: []steward.Orphan{{Repo: demo1, Event: ID(1)}, {Repo: demo1, Event: ID(2), Deadline: at.Add(1)}, {Repo: demo2, Event: ID(9)}},
	})
	f = b.view("demo")
	if len(f.Repos) != 1 || f.Repos[0].Addr != demo1 || f.Repos[0].Hosting != grasp.Withdrawn || !f.Repos[0].Since.Equal(at.Add(1)) {
		b.Errorf("repos: %+v", f.Repos)
	}
	if len(f.Orphans) != 1 || f.Orphans[0].Repo != demo1 || f.Orphans[0].Event != ID(2) || !f.Orphans[0].Deadline.Equal(at.Add(1)) {
		b.Errorf("orphans: %+v", f.Orphans)
	}
	if f := b.view("other"); len(f.Repos) != 1 || len(f.Orphans) != 1 {
		b.Errorf("other: %+v", f)
	}
}

// settled returns the settled refs of repo, which come in byte order whatever they are compared with.
func (b *bench) settled(repo grasp.Addr) grasp.Refs {
	b.Helper()
	out := grasp.Refs{}
	gone, err := b.Unrecorded(context.Background(), repo, grasp.RefList{})
	last := grasp.RefName("")
	for _, c := range gone {
		if c.Ref <= last || len(c.Old) != 40 || c.New != grasp.ZeroOID {
			b.Errorf("%+v comes behind %s", c, last)
		}
		last, out[c.Ref] = c.Ref, c.Old
	}
	if err != nil {
		b.Fatal(err)
	}
	now := out.Apply([]grasp.RefChange{{Ref: "refs/a", New: "1111111111111111111111111111111111111111"}, {Ref: last, New: "2222222222222222222222222222222222222222"}})
	delete(now, "")
	for what, now := range map[string]grasp.Refs{"themselves": out, "others": now} {
		if got, err := b.Unrecorded(context.Background(), repo, now.List()); err != nil || !slices.Equal(got, now.List().Diff(out.List())) {
			b.Errorf("beside %s: %v, %v", what, got, err)
		}
	}
	return out
}

func moves(b *bench) {
	repo, twin := grasp.Addr{Owner: Key(1), ID: "demo"}, grasp.Addr{Owner: Key(2), ID: "demo"}
	oid := func(c string) grasp.OID { return grasp.OID(strings.Repeat(c, 40)) }
	refs := func(a grasp.Addr) grasp.Refs {
		return b.settled(a)
	}
	if got := refs(repo); len(got) != 0 {
		b.Errorf("refs of what never moved: %v", got)
	}
	want := grasp.Refs{}
	for _, changes := range [][]grasp.RefChange{
		{{Ref: "refs/heads/main", Old: grasp.ZeroOID, New: oid("a")}, {Ref: "refs/heads/-x", New: oid("b")}},
		{{Ref: "refs/heads/main", Old: oid("a"), New: oid("c")}, {Ref: "refs/tags/v1", Old: grasp.ZeroOID, New: oid("d")}},
		{{Ref: "refs/heads/main", Old: oid("c"), New: grasp.ZeroOID}, {Ref: "refs/heads/none", New: grasp.ZeroOID}},
	} {
		b.commit(steward.Change{Moves: []steward.Moved{{Repo: repo, Changes: changes, Cause: ID(1), Push: "push-1"}}})
		want = want.Apply(changes)
		if got := refs(repo); got.Digest() != want.Digest() {
			b.Errorf("refs are %v, want %v", got, want)
		}
	}
	if got := refs(twin); len(got) != 0 {
		b.Errorf("refs of another owner: %v", got)
	}
	for _, bad := range []grasp.RefChange{{Ref: "refs/heads/x", New: "abc"}, {Ref: "refs/heads/x", Old: "HEAD", New: oid("a")}} {
		if _, err := b.Commit(context.Background(), steward.Change{Moves: []steward.Moved{{Repo: repo, Changes: []grasp.RefChange{bad}}}}); !fault.Is(err, fault.Invalid) {
			b.Errorf("%v: %v, want invalid", bad, err)
		}
	}
}

func unsettled(b *bench) {
	check := func(want ...string) {
		b.Helper()
		got, err := b.Unsettled(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		slices.Sort(got)
		equal(b, "unsettled", got, want)
	}
	check()
	b.commit(steward.Change{Unsettled: "one"})
	b.commit(steward.Change{Unsettled: "one"})
	b.commit(steward.Change{Unsettled: "two"})
	check("one", "two")
	b.commit(steward.Change{Settled: "one", Unsettled: "three"})
	b.commit(steward.Change{Settled: "never"})
	check("three", "two")
	pull := Entry(Event(4, grasp.KindPull, 6, ""), grasp.Waiting)
	pull.Subjects = []string{"four", "two"}
	b.commit(steward.Change{Put: pull})
	b.put(State(1, "five", 1), grasp.Waiting)
	b.serve(State(1, "six", 1))
	check("five", "four", "three", "two")
	b.commit(steward.Change{Release: eids(pull.Event), Drop: eids(State(1, "five", 1)), Settled: "three"})
	check("two")
}

func due(b *bench) {
	put := func(ev *nostr.Event, shelf grasp.Shelf, deadline, expires time.Time) *nostr.Event {
		e := Entry(ev, shelf)
		e.Deadline, e.Expires = deadline, expires
		b.commit(steward.Change{Put: e})
		return ev
	}
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	var zero time.Time
	w2 := put(State(1, "a", 2), grasp.Waiting, at(200), zero)
	w1 := put(State(1, "a", 1), grasp.Waiting, at(100), zero)
	put(State(1, "a", 3), grasp.Waiting, at(900), zero)
	wx := put(State(1, "a", 4), grasp.Waiting, at(900), at(150))
	x1 := put(Event(1, 1, 1, ""), grasp.Served, zero, at(200))
	put(Event(1, 1, 2, ""), grasp.Served, zero, at(900))
	put(Event(1, 1, 3, ""), grasp.Served, zero, zero)
	repo := grasp.Addr{Owner: Key(1), ID: "a"}
	b.commit(steward.Change{Orphans: []steward.Orphan{{Repo: repo, Event: ID(2), Deadline: at(200)}, {Repo: repo, Event: ID(1), Deadline: at(100)}, {Repo: repo, Event: ID(3), Deadline: at(900)}}})
	for i, h := range []grasp.Hosting{grasp.Live, grasp.Deleted, grasp.Withdrawn} {
		b.commit(steward.Change{Repos: []steward.Repo{{Addr: grasp.Addr{Owner: Key(i), ID: "a"}, Hosting: h, Since: at(int64(50 - i))}}})
	}
	get := func(now time.Time, limit int) steward.Due {
		d, err := b.Due(context.Background(), now, limit)
		if err != nil {
			b.Fatal(err)
		}
		return d
	}
	of := func(list []steward.Entry) (out []string) {
		for _, e := range list {
			out = append(out, e.Event.ID)
		}
		return out
	}
	d := get(at(200), 100)
	equal(b, "waiting", of(d.Waiting), []string{w1.ID, w2.ID, wx.ID})
	equal(b, "expired", of(d.Expired), []string{x1.ID})
	if len(d.Orphans) != 2 || d.Orphans[0].Event != ID(1) || d.Orphans[1].Event != ID(2) {
		b.Errorf("orphans: %+v", d.Orphans)
	}
	if len(d.Repos) != 2 || d.Repos[0].Hosting != grasp.Withdrawn || d.Repos[1].Hosting != grasp.Deleted {
		b.Errorf("repos, oldest first: %+v", d.Repos)
	}
	d = get(at(200), 1)
	equal(b, "waiting, one", of(d.Waiting), []string{w1.ID})
	if len(d.Orphans) != 1 || len(d.Expired) != 1 {
		b.Errorf("one of each: %+v", d)
	}
	if d = get(at(99), 100); len(d.Waiting)+len(d.Expired)+len(d.Orphans) != 0 {
		b.Errorf("nothing is due yet: %+v", d)
	}
}

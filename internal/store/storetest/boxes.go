package storetest

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
)

// boxes: contributors' boxes are kept apart from announced repositories of the same owner and
// identifier, and from each other (G06-06, G06-12).
func boxes(b *bench) {
	repo := grasp.Addr{Owner: Key(1), ID: "demo"}
	box, twin, other := repo, grasp.Addr{Owner: Key(2), ID: "demo", Box: true}, grasp.Addr{Owner: Key(1), ID: "other", Box: true}
	box.Box = true
	past, future := arrival, time.Now().Add(time.Hour).Truncate(time.Second)
	orphan := func(a grasp.Addr, n int, at time.Time) steward.Orphan {
		return steward.Orphan{Repo: a, Event: ID(n), Deadline: at}
	}
	b.commit(steward.Change{Orphans: []steward.Orphan{
		orphan(repo, 1, future), orphan(box, 1, future), orphan(box, 2, past), orphan(twin, 1, past), orphan(other, 1, past), orphan(other, 3, future),
	}})
	spell := func(list []steward.Orphan) []string {
		var out []string
		for _, o := range list {
			out = append(out, o.Repo.String()+" "+string(o.Event)+" "+o.Deadline.UTC().Format(time.RFC3339Nano))
		}
		slices.Sort(out)
		return out
	}
	want := func(what string, got []steward.Orphan, err error, list ...steward.Orphan) {
		b.Helper()
		if err != nil {
			b.Fatalf("%s: %v", what, err)
		}
		equal(b, what, spell(got), spell(list))
	}
	ask := func(of steward.Orphan) ([]steward.Orphan, error) { return b.Placeholders(context.Background(), of) }
	f := b.view("demo")
	want("view", f.Orphans, nil, orphan(repo, 1, future), orphan(box, 2, past), orphan(twin, 1, past))
	got, err := ask(steward.Orphan{Repo: box})
	want("of a box", got, err, orphan(box, 1, future), orphan(box, 2, past))
	got, err = ask(steward.Orphan{Repo: grasp.Addr{ID: "demo"}})
	want("of an identifier", got, err, orphan(box, 1, future), orphan(box, 2, past), orphan(twin, 1, past))
	got, err = ask(steward.Orphan{Event: ID(1)})
	want("of an event", got, err, orphan(box, 1, future), orphan(twin, 1, past), orphan(other, 1, past))
	if got, err = ask(steward.Orphan{Repo: grasp.Addr{Owner: Key(3), ID: "demo", Box: true}}); err != nil || len(got) > 0 {
		b.Errorf("of a box that is none: %v, %v", got, err)
	}
	due, err := b.Due(context.Background(), past, 10)
	want("due", due.Orphans, err, orphan(box, 2, past), orphan(twin, 1, past), orphan(other, 1, past))
	if due, err = b.Due(context.Background(), past, 2); err != nil || len(due.Orphans) != 2 {
		b.Errorf("two of what is due: %v, %v", due.Orphans, err)
	}
	b.commit(steward.Change{Orphans: []steward.Orphan{orphan(box, 1, past), {Repo: box, Event: ID(2)}, {Repo: twin, Event: ID(1)}, {Repo: repo, Event: ID(2)}}})
	want("view, later", b.view("demo").Orphans, nil, orphan(repo, 1, future), orphan(box, 1, past))

	// Refs, and those whose event is lost.
	oid := func(c string) grasp.OID { return grasp.OID(strings.Repeat(c, 40)) }
	served := Event(1, grasp.KindPull, 1, "")
	b.serve(served)
	move := func(a grasp.Addr, changes ...grasp.RefChange) {
		b.commit(steward.Change{Moves: []steward.Moved{{Repo: a, Changes: changes}}})
	}
	pull := func(id grasp.EventID, old, now grasp.OID) grasp.RefChange {
		return grasp.RefChange{Ref: grasp.PullRef(id), Old: old, New: now}
	}
	move(box, pull(ID(1), grasp.ZeroOID, oid("a")), pull(ID(4), grasp.ZeroOID, oid("b")), pull(grasp.EventID(served.ID), grasp.ZeroOID, oid("c")))
	move(repo, pull(ID(5), grasp.ZeroOID, oid("d")))
	move(other, pull(ID(6), grasp.ZeroOID, oid("e")))
	move(box, pull(ID(4), oid("b"), oid("f")))
	refs := func(a grasp.Addr, want grasp.Refs) {
		b.Helper()
		if got := b.settled(a); got.Digest() != want.Digest() {
			b.Errorf("refs of %s are %v, want %v", a, got, want)
		}
	}
	refs(box, grasp.Refs{grasp.PullRef(ID(1)): oid("a"), grasp.PullRef(ID(4)): oid("f"), grasp.PullRef(grasp.EventID(served.ID)): oid("c")})
	refs(repo, grasp.Refs{grasp.PullRef(ID(5)): oid("d")})
	refs(twin, grasp.Refs{})
	lost, err := b.Lost(context.Background(), "demo")
	if err != nil || len(lost) != 1 || lost[0].Repo != box || lost[0].Event != ID(4) || !lost[0].Deadline.IsZero() {
		b.Errorf("lost: %+v, %v", lost, err)
	}
	move(box, pull(ID(4), oid("f"), grasp.ZeroOID))
	if lost, err = b.Lost(context.Background(), "demo"); err != nil || len(lost) > 0 {
		b.Errorf("lost: %+v, %v", lost, err)
	}
	for what, c := range map[string]steward.Change{
		"a branch of a box":   {Moves: []steward.Moved{{Repo: box, Changes: []grasp.RefChange{{Ref: "refs/heads/main", Old: grasp.ZeroOID, New: oid("a")}}}}},
		"an announced box":    {Repos: []steward.Repo{{Addr: box, Hosting: grasp.Live}}},
		"a box that is no id": {Moves: []steward.Moved{{Repo: box, Changes: []grasp.RefChange{{Ref: "refs/nostr/x", Old: grasp.ZeroOID, New: oid("a")}}}}},
	} {
		if _, err := b.Commit(context.Background(), c); !fault.Is(err, fault.Invalid) {
			b.Errorf("%s: %v, want invalid", what, err)
		}
	}
}

package grasp_test

import (
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

const (
	benchRefs    = 10_000
	benchPeople  = 1_000
	benchWaiting = 50 // of the states, those that wait
)

func benchKey(i int) grasp.PubKey { return grasp.PubKey(sha256hex(fmt.Sprint("bench key ", i))) }

func benchState(i int, shelf grasp.Shelf, declared grasp.Refs) grasp.State {
	id := grasp.EventID(sha256hex(fmt.Sprint("bench state ", i)))
	return grasp.State{
		Event: &nostr.Event{ID: string(id)}, ID: id, Author: benchKey(i), Repo: repoID,
		At: int64(i), Shelf: shelf, Refs: declared, Head: "refs/heads/main",
	}
}

// benchView is a repository of many refs and many people. Person 0 owns it and lists the first
// 400, and everybody else perPerson others; all have announced, and signed a state.
func benchView(perPerson int) (grasp.View, grasp.Refs) {
	now := grasp.Refs{"refs/heads/main": oid("c0")}
	for i := range benchRefs - 1 {
		now[grasp.RefName(fmt.Sprintf("refs/heads/feature/number-%d", i))] = oid(fmt.Sprint("c", i%100))
	}
	v := grasp.View{
		ID:            repoID,
		Announcements: make(map[grasp.PubKey]grasp.Announcement),
		States:        make(map[grasp.PubKey][]grasp.State),
		Hosted:        map[grasp.PubKey]grasp.Hosting{benchKey(0): grasp.Live},
	}
	for i := range benchPeople {
		a := grasp.Announcement{
			Event: &nostr.Event{ID: sha256hex(fmt.Sprint("bench announcement ", i))},
			Addr:  grasp.Addr{Owner: benchKey(i), ID: repoID}, Shelf: grasp.Served,
		}
		for j := range max(perPerson, 400*(1-min(i, 1))) { // the owner lists 400 at least
			a.Maintainers = append(a.Maintainers, benchKey((i*397+j+1)%benchPeople))
		}
		v.Announcements[benchKey(i)] = a
		if i < benchPeople-benchWaiting {
			v.States[benchKey(i)] = append(v.States[benchKey(i)], benchState(i, grasp.Served, now))
			continue
		}
		aim := maps.Clone(now)
		aim["refs/heads/main"] = oid(fmt.Sprint("new", i))
		v.States[benchKey(i)] = append(v.States[benchKey(i)], benchState(i, grasp.Waiting, aim))
	}
	return v, now
}

func BenchmarkCheckPush(b *testing.B) {
	owner := grasp.Addr{Owner: benchKey(0), ID: repoID}
	to := func(o grasp.OID) []grasp.RefChange {
		return []grasp.RefChange{{Ref: "refs/heads/main", Old: oid("c0"), New: o}}
	}
	run := func(name string, v grasp.View, now grasp.Refs, push []grasp.RefChange, want bool) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.CheckPush(owner, now, push); (err == nil) != want {
					b.Fatal(err)
				}
			}
		})
	}
	for _, listed := range []int{10, 500} {
		v, now := benchView(listed)
		if n := len(v.Maintainers(owner.Owner)); n != benchPeople {
			b.Fatalf("%d maintainers", n)
		}
		newest, oldest := fmt.Sprint("new", benchPeople-1), fmt.Sprint("new", benchPeople-benchWaiting)
		run(fmt.Sprintf("granted, newest, %d listed by each", listed), v, now, to(oid(newest)), true)
		run(fmt.Sprintf("granted, oldest waiting, %d listed by each", listed), v, now, to(oid(oldest)), true)
		run(fmt.Sprintf("refused, %d listed by each", listed), v, now, to(oid("other")), false)
	}

	// A thousand strangers have announced the same identifier, and signed states for it.
	v, now := benchView(10)
	owned := v.Announcements[owner.Owner]
	owned.Maintainers = nil
	v.Announcements[owner.Owner] = owned
	for i := range benchPeople {
		v.Hosted[benchKey(i)] = grasp.Live
	}
	run("refused, among strangers", v, now, to(oid("other")), false)
	run("refused, a PR ref of another's request, among strangers", withPull(v), now, []grasp.RefChange{
		{Ref: ref("@e1"), Old: grasp.ZeroOID, New: oid("p1")},
	}, false)
}

func withPull(v grasp.View) grasp.View {
	p := grasp.Pull{ID: eventID("e1"), Tip: oid("p1")}
	for i := range benchPeople - 1 {
		p.Repos = append(p.Repos, grasp.Addr{Owner: benchKey(i + 1), ID: repoID})
	}
	v.Pulls = map[grasp.EventID]grasp.Pull{p.ID: p}
	return v
}

// BenchmarkHostileIdentifier: a thousand people announce one identifier, and each lists five
// hundred others. Everybody's set is everybody, and every question has a thousand answers.
func BenchmarkHostileIdentifier(b *testing.B) {
	v, now := benchView(500)
	at := map[grasp.Addr]*grasp.Snapshot{}
	for i := range benchPeople {
		v.Hosted[benchKey(i)] = grasp.Live
		at[addrOf(benchKey(i))] = grasp.EmptySnapshot
	}
	few := grasp.Refs{"refs/heads/main": now["refs/heads/main"]}
	for k, list := range v.States {
		for i := range list {
			list[i].Refs = few
		}
		v.States[k] = list
	}
	stranger := benchState(benchPeople, grasp.Waiting, few)
	lists := grasp.Announcement{Event: &nostr.Event{}, Addr: grasp.Addr{Owner: stranger.Author, ID: repoID}}
	b.Run("state of a stranger", func(b *testing.B) {
		for b.Loop() {
			var r *grasp.Refusal
			if _, err := v.AdmitState(stranger); !errors.As(err, &r) {
				b.Fatal(err)
			}
		}
	})
	b.Run("announcement of a stranger", func(b *testing.B) {
		for b.Loop() {
			if _, err := v.AdmitAnnouncement(lists); err == nil {
				b.Fatal("admitted")
			}
		}
	})
	b.Run("wants", func(b *testing.B) {
		for b.Loop() {
			v.Wants()
		}
	})
	b.Run("plan", func(b *testing.B) {
		for b.Loop() {
			v.Plan(at, grasp.OIDSet{}, nil)
		}
	})
}

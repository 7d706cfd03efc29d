package steward_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	st "github.com/gitroost/gitroost/internal/steward/stewardtest"
)

// Many publish, push, delete and sweep at once. Nobody may hear of what cannot be fetched (G01-406,
// check 176; the audience looks), nothing is told of twice, and it all agrees in the end.
func TestManyAtOnce(t *testing.T) {
	w := newWorld(t)
	ids := []string{"demo", "other"}
	var repos []grasp.Addr
	for _, id := range ids {
		repos = append(repos, grasp.Addr{Owner: alice, ID: id}, grasp.Addr{Owner: bob, ID: id})
		w.live(grasp.Addr{Owner: alice, ID: id}, bob)
		w.live(grasp.Addr{Owner: bob, ID: id}, alice)
	}
	const rounds = 25
	start := make(chan struct{})
	var wg sync.WaitGroup
	run := func(f func(i int) error) {
		wg.Go(func() {
			<-start
			for i := range rounds {
				if err := f(i); err != nil && !fault.Is(err, fault.Refused) && !fault.Is(err, fault.Stale) && !fault.Is(err, fault.Gone) {
					w.fail("round %d: %v", i, err)
				}
			}
		})
	}
	tips := []st.Object{c1, c2, c3, x2}
	for n, repo := range repos {
		run(func(i int) error { // the owner publishes states and pushes them
			tip := tips[(i+n)%len(tips)]
			s := st.State(repo.Owner, repo.ID, 10+i, "main", string(tip.ID), fmt.Sprint("b", i%3), string(c1.ID))
			if _, err := w.receive(s); err != nil {
				return err
			}
			return w.push(repo, w.set(repo, "main", tip), w.set(repo, fmt.Sprint("b", i%3), c1))
		})
		run(func(i int) error { // somebody offers pull requests, before or after their event
			pr := st.Pull(carol, i*10+n, p1.ID, repos...)
			if i%2 == 0 {
				if _, err := w.receive(pr); err != nil {
					return err
				}
			}
			if err := w.push(repo, w.set(repo, pullRef(pr), p1)); err != nil {
				return err
			}
			_, err := w.receive(pr)
			return err
		})
	}
	run(func(i int) error {
		_, err := w.receive(st.Delete(alice, 10+i, "30618:"+string(alice)+":demo"))
		return err
	})
	run(func(i int) error {
		ev := st.Announce(demo, 10+i, bob)
		if i%4 == 1 {
			ev = st.Announce(demo, 10+i)
		}
		_, err := w.receive(ev)
		return err
	})
	run(func(i int) error { return w.s.Sweep(t.Context(), w.clock.Advance(time.Second)) })
	run(func(i int) error { return w.s.Settle(t.Context(), ids[i%2]) })
	run(func(i int) error {
		ev := st.Issue(carol, i, demo)
		for range 3 { // again and again, from several
			if _, err := w.receive(ev); err != nil {
				return err
			}
		}
		return nil
	})
	close(start)
	wg.Wait()
	for _, id := range ids {
		if err := w.s.Settle(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		w.settleTwice(id)
	}
	w.ok()
	before := w.print()
	w.restart()
	if after := w.print(); after != before {
		t.Fatalf("a restart changed\n%s\nto\n%s", before, after)
	}
	w.ok()
}

// The same event from many at once: one of them is the first, and it is told of once.
func TestSameEventAtOnce(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	for i, ev := range []*nostr.Event{
		st.Issue(carol, 3, demo),
		st.State(alice, "demo", 5, "main", string(c1.ID), "dev", string(c1.ID)),
		st.Announce(demo, 6, bob),
		st.Delete(alice, 7, st.Issue(alice, 1).ID),
		st.Announce(bobsDemo, 8, alice),
	} {
		w.wantTold(w.told...)
		verdicts := make([]grasp.Verdict, 16)
		var looked atomic.Int32 // nobody writes before everybody has looked
		all := make(chan struct{})
		w.brk.Behind("Lookup", func() {
			if looked.Add(1) == int32(len(verdicts)) {
				close(all)
			}
		})
		w.brk.Before("Commit", func() { <-all })
		var wg sync.WaitGroup
		for j := range verdicts {
			wg.Go(func() {
				v, err := w.receive(ev)
				if err != nil {
					w.fail("%s: %v", name(ev), err)
				}
				verdicts[j] = v
			})
		}
		wg.Wait()
		accepted := 0
		for _, v := range verdicts {
			if v == grasp.Accepted {
				accepted++
			} else if v != grasp.Known && v != grasp.KnownHeld {
				t.Errorf("%s: verdict %d", name(ev), v)
			}
		}
		if accepted != 1 {
			t.Errorf("event %d: accepted %d times", i, accepted)
		}
		w.wantTold(ev)
		w.ok()
	}
}

// A slow pusher blocks nobody (architecture §6), and several may push at once.
func TestSlowPusherBlocksNobody(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	w.keeps(st.State(alice, "demo", 5, "main", string(c1.ID), "a", string(c2.ID), "b", string(x2.ID)))
	err := w.during(demo, []st.Object{c1, c2}, func() {
		w.pushes(demo, w.set(demo, "b", x2))
		w.serves(st.Issue(carol, 3, demo))
		if !w.mem.Marked("demo") {
			t.Error("somebody is about to move refs, and a crash now would not be noticed")
		}
		w.sweep(time.Minute)
		w.wantHosting(demo, grasp.Live)
	}, w.set(demo, "a", c2))
	if err != nil {
		t.Fatal(err)
	}
	w.wantRef(demo, "a", c2)
	w.wantRef(demo, "b", x2)
	w.ok()
}

package steward_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	st "github.com/gitroost/gitroost/internal/steward/stewardtest"
)

// N-031, N-032, G01-906, checks 115, 118, 266.
func TestDeletionByOthers(t *testing.T) {
	w := newWorld(t)
	ann, s := w.live(demo, bob)
	pr := st.Pull(carol, 2, p1.ID, demo)
	w.keeps(pr)
	w.pushes(demo, w.set(demo, pullRef(pr), p1))
	w.wantTold(w.told...)
	del := st.Delete(bob, 9, ann.ID, s.ID, pr.ID, demo.Coordinate(), "30618:"+string(alice)+":demo")
	w.serves(del)
	w.wantTold(del)
	w.wantShelf(grasp.Served, ann, s, pr, del)
	w.wantHosting(demo, grasp.Live)
	w.ok()
	// Capital letters, q and k delete nothing.
	w.serves(st.Event(alice, grasp.KindDeletion, 10, "", nostr.Tag{"E", s.ID}, nostr.Tag{"A", demo.Coordinate()}, nostr.Tag{"q", ann.ID}, nostr.Tag{"k", "30617"}))
	w.wantShelf(grasp.Served, ann, s)
	// Nor does kind 5 delete kind 5.
	w.serves(st.Delete(bob, 11, del.ID))
	w.wantShelf(grasp.Served, del)
	if v, err := w.receive(del); err != nil || v != grasp.Known {
		t.Fatalf("%v %v", v, err)
	}
	future := st.Delete(bob, 12)
	w.serves(st.Delete(bob, 13, future.ID))
	w.serves(future)
	w.ok()
}

// N-032, N-033, checks 116, 117.
func TestTombs(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	issue, later := st.Issue(bob, 2, demo), st.Issue(bob, 3, demo)
	w.serves(issue)
	w.serves(st.Delete(bob, 4, issue.ID, later.ID))
	w.wantShelf(grasp.Nowhere, issue)
	w.refuses(issue, "N-033", "deleted")
	w.refuses(later, "N-033", "deleted")

	at := func(n int) *nostr.Event {
		return st.Event(carol, 30023, n, fmt.Sprint(n), nostr.Tag{"d", "x"}, nostr.Tag{"a", demo.Coordinate()})
	}
	w.serves(at(10))
	w.serves(st.Delete(carol, 20, grasp.CoordinateOf(at(0))))
	w.wantShelf(grasp.Nowhere, at(10))
	w.refuses(at(20), "N-033", "deleted")
	w.serves(at(21))
	w.restart()
	w.refuses(at(19), "N-033", "deleted")
	w.ok()
}

// G01-901, check 264.
func TestDeleteWaitingAnnouncement(t *testing.T) {
	for _, by := range []string{"e", "a"} {
		w := newWorld(t)
		ann := st.Announce(demo, 0, bob)
		hers, his := st.State(alice, "demo", 1, "main", string(c1.ID), "dev", string(x2.ID)), st.State(bob, "demo", 2, "main", string(c2.ID), "dev", string(c3.ID))
		w.keeps(ann, hers, his)
		w.pushes(demo, w.set(demo, "main", c2)) // there is something on disk
		what := ann.ID
		if by == "a" {
			what = demo.Coordinate()
		}
		w.serves(st.Delete(alice, 3, what))
		w.wantShelf(grasp.Nowhere, ann, hers, his)
		w.wantHosting(demo, grasp.NotHosted)
		w.ok()
		w.refuses(ann, "N-033", "deleted")
		w.keeps(st.Announce(demo, 10))
		w.wantNoRef(demo, "main")
		w.ok()

		// Not those that another owner here authorises.
		w = newWorld(t)
		w.keeps(ann, st.Announce(bobsDemo, 0), hers, his)
		w.serves(st.Delete(alice, 3, what))
		w.wantShelf(grasp.Nowhere, hers)
		w.wantShelf(grasp.Waiting, his)
		w.pushes(bobsDemo, w.set(bobsDemo, "main", c2), w.set(bobsDemo, "dev", c3))
		w.ok()
	}
}

// G01-902, G01-808, checks 221, 223.
func TestDeleteServedAnnouncement(t *testing.T) {
	w := newWorld(t)
	his := grasp.Addr{Owner: mallory, ID: "demo"}
	_, state := w.live(demo)
	w.live(his)
	issue := st.Issue(bob, 2, demo)
	w.serves(issue)
	del := st.Delete(alice, 5, demo.Coordinate())
	w.serves(del)
	w.wantHosting(demo, grasp.Deleted)
	w.wantHosting(his, grasp.Live)
	w.wantRef(his, "main", c1)
	w.wantShelf(grasp.Served, issue, state, del)
	w.refuses(st.Issue(bob, 6, demo), "G01-801", "")
	w.refuses(st.State(alice, "demo", 6, "main", string(c2.ID)), "G01-301", "")
	if err := w.push(demo, w.set(demo, "main", c2)); err == nil {
		t.Fatal("pushed to a deleted repository")
	}
	w.refuses(st.Announce(demo, 4), "N-033", "deleted")
	w.sweep(80 * 24 * time.Hour)
	ann := st.Announce(demo, 10)
	w.serves(ann) // the state and its data are still here
	w.wantRef(demo, "main", c1)
	w.ok()

	w.serves(st.Delete(alice, 11, ann.ID))
	w.sweep(91 * 24 * time.Hour)
	w.wantHosting(demo, grasp.NotHosted)
	w.wantNoRef(demo, "main")
	w.wantRef(his, "main", c1)
	w.ok()
}

// G01-903, N-034, check 179.
func TestDeleteWaitingState(t *testing.T) {
	for _, what := range []string{"", "30618:" + string(alice) + ":demo"} {
		w := newWorld(t)
		w.live(demo)
		s := st.State(alice, "demo", 5, "main", string(c2.ID))
		w.keeps(s)
		if what == "" {
			what = s.ID
		}
		w.serves(st.Delete(alice, 6, what))
		w.wantShelf(grasp.Nowhere, s)
		w.refusesPush(demo, "G01-503", "", w.set(demo, "main", c2))
		w.wantRef(demo, "main", c1)
		w.ok()
	}
	// The coordinate of the announcement is not that of another author's state.
	w := newWorld(t)
	w.live(demo, bob)
	s := st.State(bob, "demo", 5, "main", string(c2.ID))
	w.keeps(s)
	w.serves(st.Delete(alice, 6, "30617:"+string(alice)+":other"))
	w.wantShelf(grasp.Waiting, s)
	w.ok()
}

// G01-904, check 265.
func TestDeleteServedState(t *testing.T) {
	w := newWorld(t)
	_, s := w.live(demo)
	w.serves(st.Delete(alice, 5, s.ID))
	w.wantShelf(grasp.Nowhere, s)
	w.wantRef(demo, "main", c1)
	w.refusesPush(demo, "G01-503", "publish kind 30618 first", w.set(demo, "dev", c1))
	w.ok()

	w = newWorld(t)
	w.live(demo, bob)
	his := st.State(bob, "demo", 5, "main", string(c2.ID))
	w.keeps(his)
	w.pushes(demo, w.set(demo, "main", c2))
	w.serves(st.Delete(bob, 6, his.ID))
	w.wantRef(demo, "main", c1) // hers remains
	w.ok()
}

// G01-905, check 180.
func TestDeletePull(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	served, waiting := st.Pull(carol, 2, p1.ID, demo), st.Pull(carol, 3, p2.ID, demo)
	w.keeps(served, waiting)
	w.pushes(demo, w.set(demo, pullRef(served), p1))
	w.serves(st.Delete(carol, 5, served.ID, waiting.ID))
	w.wantShelf(grasp.Nowhere, served, waiting)
	w.wantRef(demo, pullRef(served), p1)
	w.sweep(19 * time.Minute)
	w.wantRef(demo, pullRef(served), p1)
	w.sweep(2 * time.Minute)
	w.wantNoRef(demo, pullRef(served))
	w.ok()
}

// A deletion that names thousands of things that are not here costs no more than a look at each.
func TestDeletionOfNothing(t *testing.T) {
	w := newWorld(t)
	var what []string
	for i := range 1_000 {
		what = append(what, fmt.Sprintf("30618:%s:%d", mallory, i))
	}
	w.brk.Count()
	w.serves(st.Delete(mallory, 0, what...))
	commits := 0
	for _, s := range w.brk.Steps() {
		if len(s) > 6 && s[:6] == "Commit" {
			commits++
		}
	}
	if commits > 1 {
		t.Fatalf("%d commits", commits)
	}
	w.refuses(st.State(mallory, "7", -1, "main", string(c1.ID)), "N-033", "deleted")
}

func vanish(who grasp.PubKey, at int, relay string) *nostr.Event {
	return st.Event(who, grasp.KindVanish, at, "", nostr.Tag{"relay", relay})
}

// N-035, check 119.
func TestVanish(t *testing.T) {
	for _, relay := range []string{"ALL_RELAYS", "wss://" + st.Host} {
		w := newWorld(t)
		other := grasp.Addr{Owner: alice, ID: "other"}
		ann, s := w.live(demo)
		w.live(bobsDemo, alice)
		w.keeps(st.Announce(other, 0))
		hers, his := st.Issue(alice, 2, bobsDemo), st.Issue(carol, 2, demo)
		pr := st.Pull(alice, 3, p1.ID, bobsDemo)
		w.serves(hers, his)
		w.keeps(pr)
		w.pushes(bobsDemo, w.set(bobsDemo, pullRef(pr), p1))
		del := st.Delete(alice, 3, hers.ID)
		w.serves(del)
		w.keeps(st.State(alice, "demo", 5, "main", string(c2.ID)))
		w.pushes(bobsDemo, w.set(bobsDemo, "main", c2))
		w.wantRef(demo, "main", c2)
		w.refuses(vanish(alice, 9, "wss://elsewhere.net"), "N-035", "must name this relay")
		go0 := vanish(alice, 10, relay)
		w.serves(go0)
		for _, e := range w.mem.Entries() {
			if e.Event.PubKey == string(alice) && e.Event.ID != go0.ID {
				t.Fatalf("%s is still here", name(e.Event))
			}
		}
		w.wantHosting(demo, grasp.NotHosted)
		w.wantHosting(other, grasp.NotHosted)
		w.wantHosting(bobsDemo, grasp.Live)
		w.wantRef(bobsDemo, "main", c1) // bob's own state remains
		w.wantShelf(grasp.Served, his)
		w.refuses(ann, "N-033", "deleted")
		w.refuses(del, "N-033", "deleted")
		w.refuses(s, "N-033", "deleted")
		w.serves(st.Delete(alice, 12, go0.ID))
		w.wantShelf(grasp.Served, go0)
		w.ok()
		w.sweep(21 * time.Minute)
		w.wantNoRef(bobsDemo, pullRef(pr))
		w.ok()
		w.keeps(st.Announce(demo, 20))
		w.wantNoRef(demo, "main")
		w.ok()
	}
}

// N-035 with a repository announced after it.
func TestVanishSparesWhatIsLater(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	later := st.Announce(demo, 20)
	w.serves(later)
	w.serves(vanish(alice, 10, "ALL_RELAYS"))
	w.wantShelf(grasp.Served, later)
	w.wantHosting(demo, grasp.Live)
	w.wantRef(demo, "main", c1)
	w.ok()
	if err := w.push(demo, w.set(demo, "main", c2)); !fault.Is(err, fault.Refused) {
		t.Fatal(err)
	}
}

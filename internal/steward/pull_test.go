package steward_test

import (
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	st "github.com/gitroost/gitroost/internal/steward/stewardtest"
)

func pullRef(ev *nostr.Event) string { return string(grasp.PullRef(grasp.EventID(ev.ID))) }

// G01-701, G01-706, checks 200, 201.
func TestPullRefWithoutEvent(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	pr := st.Pull(bob, 2, p1.ID, demo)
	w.pushes(demo, w.set(demo, pullRef(pr), p1))
	if err := w.deliver(demo, st.Pack(p2), w.set(demo, pullRef(pr), p2)); err != nil { // the last one wins
		t.Fatal(err)
	}
	w.wantRef(demo, pullRef(pr), p2)
	w.refusesPush(demo, "G01-706", "cannot be deleted", w.del(demo, pullRef(pr)))
	for _, ref := range []string{"refs/nostr/123", "refs/nostr/" + pr.ID[1:], "refs/nostr/" + pr.ID + "/x", "refs/nostr/A" + pr.ID[1:]} {
		w.refusesPush(demo, "G01-701", "", grasp.RefChange{Ref: grasp.RefName(ref), Old: grasp.ZeroOID, New: p1.ID})
	}
	w.ok()
}

// G01-702, G01-703, checks 202, 203.
func TestPullThenPush(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	w.wantTold(w.told...)
	pr := st.Pull(bob, 2, p1.ID, demo)
	w.keeps(pr)
	w.refusesPush(demo, "G01-702", "must be", w.set(demo, pullRef(pr), p2))
	w.wantTold()
	w.pushes(demo, w.set(demo, pullRef(pr), p1))
	w.wantTold(pr)
	w.refusesPush(demo, "G01-702", "must be", w.set(demo, pullRef(pr), p2))
	w.refusesPush(demo, "G01-706", "cannot be deleted", w.del(demo, pullRef(pr))) // check 208
	w.settleTwice("demo")
	w.ok()
}

// G01-704, checks 204, 205.
func TestPushThenPull(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	w.wantTold(w.told...)
	wrong, right := st.Pull(bob, 2, p1.ID, demo), st.Pull(bob, 3, p1.ID, demo)
	w.pushes(demo, w.set(demo, pullRef(wrong), p2))
	w.keeps(wrong)
	w.wantNoRef(demo, pullRef(wrong))
	w.ok()
	w.pushes(demo, w.set(demo, pullRef(right), p1)) // brings p1, so that both are here
	w.wantShelf(grasp.Served, wrong)
	w.serves(right)
	w.wantTold(wrong, right)
	w.wantRef(demo, pullRef(wrong), p1)
	w.wantRef(demo, pullRef(right), p1)
	// At another oid, and the commit is here: the ref is made right.
	third := st.Pull(bob, 4, p1.ID, demo)
	w.pushes(demo, w.set(demo, pullRef(third), p2))
	w.serves(third)
	w.wantRef(demo, pullRef(third), p1)
	w.ok()
}

// G01-702, check 206: ids of other events, and of pull requests for other repositories.
func TestPullRefOfAnotherEvent(t *testing.T) {
	w := newWorld(t)
	other := grasp.Addr{Owner: carol, ID: "other"}
	w.live(demo)
	w.live(other)
	issue, pr := st.Issue(bob, 2, demo), st.Pull(bob, 2, p1.ID, other)
	w.serves(issue)
	w.keeps(pr)
	w.refusesPush(demo, "G01-702", "no pull request", w.set(demo, pullRef(issue), p1))
	w.refusesPush(demo, "G01-702", "another repository", w.set(demo, pullRef(pr), p1))
	w.pushes(other, w.set(other, pullRef(pr), p1))
	w.refusesPush(demo, "G01-702", "another repository", w.set(demo, pullRef(pr), p1))
	w.ok()
}

// G01-705, check 207: the ref appears in every concerned repository.
func TestPullOfTwoMaintainers(t *testing.T) {
	w := newWorld(t)
	w.keeps(st.Announce(bobsDemo, 0, alice))
	w.live(demo, bob)
	w.wantRef(bobsDemo, "main", c1)
	pr := st.Pull(carol, 2, p1.ID, demo, bobsDemo)
	w.keeps(pr)
	w.pushes(demo, w.set(demo, pullRef(pr), p1))
	w.wantRef(bobsDemo, pullRef(pr), p1)
	// Named through a maintainer only.
	by := st.Pull(carol, 3, p2.ID, bobsDemo)
	w.keeps(by)
	w.pushes(demo, w.set(demo, pullRef(by), p2))
	w.wantRef(bobsDemo, pullRef(by), p2)
	w.ok()
}

// A pull request for two identifiers waits in both, and is told of once.
func TestPullOfTwoIdentifiers(t *testing.T) {
	w := newWorld(t)
	other := grasp.Addr{Owner: carol, ID: "other"}
	w.live(demo)
	w.live(other)
	w.wantTold(w.told...)
	pr := st.Pull(bob, 2, p1.ID, demo, other)
	w.keeps(pr)
	for _, id := range []string{"demo", "other"} { // both have looked
		if err := w.s.Settle(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	w.pushes(demo, w.set(demo, pullRef(pr), p1))
	w.wantNoRef(other, pullRef(pr)) // G01-307: its commit is not there
	w.pushes(other, w.set(other, pullRef(pr), p1))
	w.wantTold(pr)
	w.ok()
	// Or there it is, and the push goes elsewhere.
	both := st.Pull(bob, 4, p2.ID, demo, other)
	w.keeps(both)
	w.disk.Plant(other, p2)
	w.pushes(demo, w.set(demo, pullRef(both), p2))
	w.wantTold(both)
	w.wantRef(other, pullRef(both), p2)
	w.ok()
	// And one whose commit only the second has.
	w.pushes(other, w.set(other, "refs/nostr/"+st.Issue(bob, 9).ID, c3))
	late := st.Pull(bob, 3, c3.ID, demo, other)
	w.serves(late)
	w.wantTold(late)
	w.wantRef(other, pullRef(late), c3)
	w.ok()
}

// G01-707, checks 209, 210.
func TestOrphans(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	pr, never := st.Pull(bob, 2, p1.ID, demo), st.Issue(bob, 3)
	w.pushes(demo, w.set(demo, pullRef(pr), p1))
	w.pushes(demo, w.set(demo, pullRef(never), p1))
	w.sweep(15 * time.Minute)
	w.serves(pr)
	if err := w.deliver(demo, st.Pack(p2), w.set(demo, pullRef(never), p2)); err != nil { // 20 minutes after the last push
		t.Fatal(err)
	}
	w.sweep(15 * time.Minute)
	w.wantRef(demo, pullRef(never), p2)
	w.restart() // the clock goes on
	w.sweep(4 * time.Minute)
	w.wantRef(demo, pullRef(never), p2)
	w.sweep(2 * time.Minute)
	w.wantNoRef(demo, pullRef(never))
	w.sweep(time.Hour)
	w.wantRef(demo, pullRef(pr), p1)
	w.ok()
}

// G01-707: pushing a PR ref again, moved or not, is a push; one that comes when the time is over and
// nobody has swept yet stays (I2).
func TestOrphanPushedAgain(t *testing.T) {
	for _, again := range []st.Object{p1, p2} {
		w := newWorld(t)
		w.live(demo)
		ev := st.Issue(bob, 3)
		w.pushes(demo, w.set(demo, pullRef(ev), p1))
		w.clock.Advance(21 * time.Minute)
		if err := w.deliver(demo, st.Pack(again), w.set(demo, pullRef(ev), again)); err != nil {
			t.Fatal(err)
		}
		w.wantRef(demo, pullRef(ev), again)
		w.sweep(19 * time.Minute)
		w.wantRef(demo, pullRef(ev), again)
		w.sweep(2 * time.Minute)
		w.wantNoRef(demo, pullRef(ev))
		w.ok()
	}
}

// G01-707: the event that waits counts; the ref goes with it at the latest. A ref in a repository
// that is withdrawn rests, and goes when that one comes back.
func TestOrphanOfWithdrawnRepository(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	ev := st.Issue(bob, 3)
	w.pushes(demo, w.set(demo, pullRef(ev), p1))
	w.serves(st.AnnounceAt(demo, 5, "elsewhere.net"))
	for range 5 {
		w.sweep(time.Hour)
	}
	w.serves(st.Announce(demo, 6))
	w.sweep(time.Hour)
	w.wantNoRef(demo, pullRef(ev))
	w.ok()
}

// G01-708, check 211.
func TestPullParsing(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	a := nostr.Tag{"a", demo.Coordinate()}
	w.refuses(st.Event(bob, grasp.KindPull, 2, "", a), "G01-708", "needs a c tag")
	w.refuses(st.Event(bob, grasp.KindPull, 2, "", a, nostr.Tag{"c", "xyz"}), "G01-708", "no commit id")
	long := st.Event(bob, grasp.KindPull, 2, "", a, nostr.Tag{"c", st.Issue(bob, 0).ID})
	w.keeps(long) // legal, and nothing here can satisfy it
	w.refuses(st.Pull(bob, 2, p1.ID, grasp.Addr{Owner: mallory, ID: "nothing"}), "G01-801", "must reference")
	w.sweep(31 * time.Minute)
	w.wantShelf(grasp.Nowhere, long)
	w.ok()
}

// G01-709, check 212.
func TestPullUpdate(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	pr := st.Pull(bob, 2, p1.ID, demo)
	w.keeps(pr)
	w.pushes(demo, w.set(demo, pullRef(pr), p1))
	up := st.Event(bob, grasp.KindPullUpdate, 3, "", nostr.Tag{"a", demo.Coordinate()}, nostr.Tag{"E", pr.ID}, nostr.Tag{"c", string(p2.ID)})
	w.keeps(up)
	w.pushes(demo, w.set(demo, pullRef(up), p2))
	w.wantShelf(grasp.Served, pr, up)
	w.wantRef(demo, pullRef(pr), p1)
	w.sweep(time.Hour)
	w.wantRef(demo, pullRef(up), p2)
	w.ok()
}

// G01-709, check 212: an update that names only its pull request is about the same repositories,
// also for the next process.
func TestPullUpdateByRoot(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	pr := st.Pull(bob, 2, p1.ID, demo)
	w.keeps(pr)
	w.pushes(demo, w.set(demo, pullRef(pr), p1))
	up := st.Event(bob, grasp.KindPullUpdate, 3, "", nostr.Tag{"E", pr.ID}, nostr.Tag{"c", string(p2.ID)})
	w.keeps(up)
	w.restart()
	w.refusesPush(demo, "G01-702", "must be", w.set(demo, pullRef(up), p1))
	w.pushes(demo, w.set(demo, pullRef(up), p2))
	w.wantShelf(grasp.Served, pr, up)
	w.wantRef(demo, pullRef(pr), p1)
	w.ok()
}

// G01-402: a pull request that nobody pushes is let go, with what a wrong push left.
func TestPullExpires(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	pr := st.Pull(bob, 2, p1.ID, demo)
	w.keeps(pr)
	w.sweep(31 * time.Minute)
	w.wantShelf(grasp.Nowhere, pr)
	w.pushes(demo, w.set(demo, pullRef(pr), p2)) // nobody knows it now
	w.sweep(21 * time.Minute)
	w.wantNoRef(demo, pullRef(pr))
	w.ok()
}

package steward_test

import (
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/steward"
	st "github.com/gitroost/gitroost/internal/steward/stewardtest"
)

// G01-201, G01-202, checks 148, 149, 150.
func TestMaintainersPush(t *testing.T) {
	w := newWorld(t)
	w.live(demo, bob, alice)
	s := st.State(bob, "demo", 10, "main", string(c2.ID))
	w.keeps(s)
	w.pushes(demo, w.set(demo, "main", c2))
	w.wantShelf(grasp.Served, s)
	w.ok()
	// bob's announcement waits, names alice and carol, and counts.
	w = newWorld(t)
	w.live(demo, bob, alice)
	w.keeps(st.Announce(bobsDemo, 11, carol))
	s = st.State(carol, "demo", 12, "main", string(c3.ID))
	w.keeps(s)
	w.pushes(demo, w.set(demo, "main", c3))
	w.wantShelf(grasp.Served, s)
	w.wantRef(bobsDemo, "main", c3) // G01-602, check 198
	w.ok()
}

// G01-204, checks 151, 152.
func TestMembershipIsDirected(t *testing.T) {
	w := newWorld(t)
	w.live(demo, bob)
	w.keeps(st.Announce(bobsDemo, 5))
	w.keeps(st.State(alice, "demo", 6, "main", string(c2.ID)))
	w.refusesPush(bobsDemo, "G01-503", "publish kind 30618 first", w.set(bobsDemo, "main", c2))
	w.keeps(st.Announce(grasp.Addr{Owner: alice, ID: "other"}, 5))
	w.refuses(st.State(bob, "other", 6, "main", string(c1.ID)), "G01-301", "not authorized")
	w.ok()
}

// G01-205, check 153.
func TestMaintainerRemoved(t *testing.T) {
	w := newWorld(t)
	w.live(demo, bob)
	w.keeps(st.State(bob, "demo", 10, "main", string(c2.ID)))
	w.pushes(demo, w.set(demo, "main", c2))
	w.keeps(st.State(bob, "demo", 11, "main", string(c3.ID)))
	w.serves(st.Announce(demo, 12))
	w.wantRef(demo, "main", c1)
	w.refuses(st.State(bob, "demo", 13, "main", string(c3.ID)), "G01-301", "not authorized")
	w.refusesPush(demo, "G01-503", "", w.set(demo, "main", c3))
	w.ok()
}

// G01-205, check 154.
func TestMaintainerAdded(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	w.keeps(st.Announce(bobsDemo, 5))
	s := st.State(bob, "demo", 10, "main", string(c2.ID))
	w.keeps(s)
	w.pushes(bobsDemo, w.set(bobsDemo, "main", c2))
	w.wantRef(demo, "main", c1)
	w.serves(st.Announce(demo, 12, bob))
	w.wantRef(demo, "main", c2)
	w.ok()
}

// G01-301, checks 156, 157.
func TestStateOfStrangers(t *testing.T) {
	w := newWorld(t)
	w.refuses(st.State(alice, "demo", 1, "main", string(c1.ID)), "G01-301", "no announcement exists")
	w.live(demo)
	w.refuses(st.State(mallory, "demo", 5, "main", string(x2.ID)), "G01-301", "not authorized")
	w.refusesPush(demo, "G01-503", "", w.set(demo, "main", x2))
	w.ok()
}

// G01-302, G01-303, checks 158 to 162.
func TestStateParsing(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	never := st.State(alice, "demo", 5, "main", "abc123")
	w.keeps(never)
	w.refuses(st.State(alice, "demo", 6, "main", string(c1.ID), "main", string(c2.ID)), "G01-302", "twice")
	tag := st.Tag("v1", c2)
	s := st.Event(alice, grasp.KindState, 7, "", nostr.Tag{"d", "demo"},
		nostr.Tag{"HEAD", "refs/heads/develop"},
		nostr.Tag{"refs/heads/develop", string(c2.ID), string(c1.ID), "abc"},
		nostr.Tag{"refs/tags/v1", string(tag.ID)}, nostr.Tag{"refs/tags/v1^{}", string(c2.ID)},
		nostr.Tag{"refs/notes/x", string(c3.ID)})
	w.keeps(s)
	if err := w.deliver(demo, st.Pack(c1, c2, tag), w.set(demo, "develop", c2), w.set(demo, "refs/tags/v1", tag), w.del(demo, "main")); err != nil {
		t.Fatal(err)
	}
	w.wantShelf(grasp.Served, s)
	w.wantShelf(grasp.Nowhere, never) // superseded (G01-309)
	w.wantRef(demo, "refs/tags/v1", tag)
	w.wantHead(demo, "refs/heads/develop")
	w.ok()
}

// G01-304, check 163.
func TestTagObjects(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	tag := st.Tag("v1", c1)
	w.keeps(st.State(alice, "demo", 5, "main", string(c2.ID), "refs/tags/v1", string(c2.ID)))
	w.refusesPush(demo, "G01-503", "refs/tags/v1", w.set(demo, "main", c2), w.set(demo, "refs/tags/v1", tag))
	w.pushes(demo, w.set(demo, "main", c2), w.set(demo, "refs/tags/v1", c2))
	w.ok()
}

// G01-305, G01-603, G01-604, G01-605, checks 164, 194, 195, 197.
func TestStateOfKnownCommits(t *testing.T) {
	w := newWorld(t)
	ann, first := w.live(demo)
	pr := grasp.EventID(st.Issue(bob, 1).ID)
	w.pushes(demo, w.set(demo, string(grasp.PullRef(pr)), p1))
	w.keeps(st.State(alice, "demo", 5, "main", string(c3.ID), "old", string(c2.ID), "HEAD", "ref: refs/heads/main"))
	w.pushes(demo, w.set(demo, "main", c3), w.set(demo, "old", c2))
	w.wantTold(ann, first, w.told[2])
	s := st.State(alice, "demo", 6, "main", string(c2.ID), "dev", string(c1.ID), "HEAD", "ref: refs/heads/dev")
	w.serves(s)
	w.wantTold(s)
	w.wantRef(demo, "main", c2)
	w.wantRef(demo, "dev", c1)
	w.wantNoRef(demo, "old")
	w.wantRef(demo, string(grasp.PullRef(pr)), p1)
	w.wantHead(demo, "refs/heads/dev")
	w.serves(st.State(alice, "demo", 7, "main", string(c2.ID), "HEAD", "ref: refs/heads/gone"))
	w.wantHead(demo, "refs/heads/main")
	w.ok()
}

// G01-306, check 165, and the newer state of somebody else meanwhile.
func TestStateWaitsForItsData(t *testing.T) {
	w := newWorld(t)
	_, first := w.live(demo)
	s := st.State(alice, "demo", 5, "main", string(c2.ID))
	w.keeps(s)
	w.wantShelf(grasp.Served, first)
	w.wantRef(demo, "main", c1)
	w.pushes(demo, w.set(demo, "main", c2))
	w.wantShelf(grasp.Nowhere, first)
	w.ok()
}

// G01-307, checks 166, 167.
func TestAvailability(t *testing.T) {
	w := newWorld(t)
	other := grasp.Addr{Owner: alice, ID: "other"}
	w.live(demo)
	w.live(other)
	w.keeps(st.State(alice, "other", 5, "main", string(c3.ID)))
	w.pushes(other, w.set(other, "main", c3))
	s := st.State(alice, "demo", 6, "main", string(c3.ID))
	w.keeps(s) // it is in another identifier's repository only
	w.disk.Plant(demo, c3)
	if err := w.s.Settle(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	w.wantShelf(grasp.Waiting, s) // c2 is missing
	w.disk.Plant(demo, c2)
	if err := w.s.Settle(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	w.wantShelf(grasp.Served, s) // as after a fetch
	w.wantRef(demo, "main", c3)
	w.ok()
}

// G01-308, checks 168, 169.
func TestOrderOfStates(t *testing.T) {
	w := newWorld(t)
	w.live(demo, bob)
	w.keeps(st.State(alice, "demo", 100, "main", string(c2.ID)))
	w.pushes(demo, w.set(demo, "main", c2))
	late := st.State(bob, "demo", 50, "main", string(c1.ID))
	w.serves(late)
	w.wantRef(demo, "main", c2)
	forced := st.State(bob, "demo", 150, "main", string(x2.ID))
	w.keeps(forced)
	w.pushes(demo, w.set(demo, "main", x2))
	w.wantShelf(grasp.Nowhere, late)
	w.wantShelf(grasp.Served, forced)
	w.wantRef(demo, "main", x2)
	w.ok()
}

// G01-308, N-009, check 103: of two in one second the lower id wins, in both orders.
func TestSameSecond(t *testing.T) {
	a := st.State(alice, "demo", 10, "main", string(c1.ID), "dev", string(c1.ID))
	b := st.State(alice, "demo", 10, "main", string(c1.ID))
	if a.ID > b.ID {
		a, b = b, a
	}
	w := newWorld(t)
	w.live(demo)
	w.serves(a)
	w.refuses(b, "N-004", "sign again")
	w.ok()
	w = newWorld(t)
	w.live(demo)
	w.serves(b, a)
	w.wantShelf(grasp.Nowhere, b)
	w.ok()
}

// G01-309, check 170.
func TestPendingStatesCoexist(t *testing.T) {
	w := newWorld(t)
	w.live(demo, bob)
	s10, s11 := st.State(alice, "demo", 10, "main", string(c2.ID)), st.State(bob, "demo", 11, "main", string(c3.ID))
	w.keeps(s11, s10)
	w.pushes(demo, w.set(demo, "main", c2))
	w.wantShelf(grasp.Served, s10)
	w.wantShelf(grasp.Waiting, s11)
	w.deliver(demo, st.Pack(c3), w.set(demo, "main", c3))
	w.wantShelf(grasp.Served, s11)
	w.wantRef(demo, "main", c3)
	w.ok()
}

// G01-309: of one author the newest that is here; what it supersedes is dropped.
func TestPendingStatesOfOneAuthor(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	s10, s11, s12 := st.State(alice, "demo", 10, "main", string(c2.ID)), st.State(alice, "demo", 11, "main", string(x2.ID)), st.State(alice, "demo", 12, "main", string(c3.ID))
	w.keeps(s10, s12, s11)
	if err := w.deliver(demo, st.Pack(x2), w.set(demo, "main", x2)); err != nil {
		t.Fatal(err)
	}
	w.wantShelf(grasp.Nowhere, s10)
	w.wantShelf(grasp.Served, s11)
	w.wantShelf(grasp.Waiting, s12)
	w.ok()
}

// G01-310, check 171.
func TestReplay(t *testing.T) {
	w := newWorld(t)
	_, first := w.live(demo, bob)
	w.keeps(st.State(alice, "demo", 10, "main", string(c2.ID)))
	w.pushes(demo, w.set(demo, "main", c2))
	w.refuses(first, "N-004", "newer version")
	w.keeps(st.State(bob, "demo", 5, "main", string(x2.ID)))
	w.refusesPush(demo, "G01-503", "", w.set(demo, "main", x2))
	w.wantRef(demo, "main", c2)
	w.ok()
}

// G01-311, check 172.
func TestEmptyState(t *testing.T) {
	w := newWorld(t)
	ann := st.Announce(demo, 0, bob)
	none := st.State(bob, "demo", 20)
	w.keeps(ann, none)
	w.refusesPush(demo, "G01-503", "publish kind 30618 first", w.set(demo, "main", c1))
	s := st.State(alice, "demo", 1, "main", string(c1.ID))
	w.keeps(s)
	w.pushes(demo, w.set(demo, "main", c1))
	w.wantTold(ann, s, none)
	w.wantRef(demo, "main", c1)
	w.serves(st.State(bob, "demo", 30))
	w.wantRef(demo, "main", c1)
	w.refusesPush(demo, "G01-503", "", w.del(demo, "main"))
	w.ok()
}

// G01-402, G01-403, checks 173, 261.
func TestExpiry(t *testing.T) {
	w := newWorld(t)
	ann := st.Announce(demo, 0)
	state := st.State(alice, "demo", 1, "main", string(c1.ID), "dev", string(c2.ID))
	w.keeps(ann, state)
	w.pushes(demo, w.set(demo, "main", c1)) // partial: there is something to remove
	w.sweep(29 * time.Minute)
	w.wantShelf(grasp.Waiting, ann, state)
	w.sweep(2 * time.Minute)
	w.wantShelf(grasp.Nowhere, ann, state)
	w.wantHosting(demo, grasp.NotHosted)
	w.wantTold()
	w.ok()
	w.keeps(ann, state)
	w.wantNoRef(demo, "main")
	w.pushes(demo, w.set(demo, "main", c1), w.set(demo, "dev", c2))
	w.wantTold(ann, state)
	w.ok()
}

// G01-402: in a repository that is served only the state goes.
func TestExpiryOfState(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	s := st.State(alice, "demo", 10, "main", string(c2.ID))
	w.keeps(s)
	w.sweep(31 * time.Minute)
	w.wantShelf(grasp.Nowhere, s)
	w.refusesPush(demo, "G01-503", "", w.set(demo, "main", c2))
	w.keeps(s)
	w.pushes(demo, w.set(demo, "main", c2))
	w.ok()
}

// G01-502: what a partial push moved towards a state that never became complete goes back.
func TestExpiryAfterPartialPush(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	w.keeps(st.State(alice, "demo", 10, "main", string(c2.ID), "dev", string(c3.ID)))
	w.pushesPartly(demo, st.Pack(c2), w.set(demo, "main", c2))
	w.wantRef(demo, "main", c2)
	w.sweep(31 * time.Minute)
	w.wantRef(demo, "main", c1)
	w.ok()
}

func (w *world) pushesPartly(repo grasp.Addr, pack interface{ Read([]byte) (int, error) }, updates ...grasp.RefChange) {
	w.t.Helper()
	if err := w.deliver(repo, pack, updates...); err != nil {
		w.t.Fatal(err)
	}
}

// G01-312, check 174, and the cap of a day.
func TestStateExtendsAnnouncement(t *testing.T) {
	w := newWorld(t)
	ann := st.Announce(demo, 0)
	w.keeps(ann)
	w.sweep(25 * time.Minute)
	w.keeps(st.State(alice, "demo", 1, "main", string(c1.ID)))
	w.sweep(29 * time.Minute)
	w.wantShelf(grasp.Waiting, ann)
	w.sweep(2 * time.Minute)
	w.wantShelf(grasp.Nowhere, ann)

	w = newWorld(t)
	w.keeps(ann)
	for i := range 24*60/25 - 1 {
		w.sweep(25 * time.Minute)
		w.keeps(st.State(alice, "demo", i, "main", string(c1.ID)))
	}
	w.wantShelf(grasp.Waiting, ann)
	w.sweep(25 * time.Minute)
	w.keeps(st.State(alice, "demo", 1000, "main", string(c1.ID)))
	w.sweep(25 * time.Minute)
	w.wantShelf(grasp.Nowhere, ann)
	w.ok()
}

// G01-405, check 175.
func TestRestartWhileWaiting(t *testing.T) {
	w := newWorld(t)
	ann, s := st.Announce(demo, 0), st.State(alice, "demo", 1, "main", string(c1.ID))
	w.keeps(ann, s)
	w.sweep(20 * time.Minute)
	w.restart()
	w.wantShelf(grasp.Waiting, ann, s)
	w.sweep(9 * time.Minute)
	w.wantShelf(grasp.Waiting, ann, s)
	w.pushes(demo, w.set(demo, "main", c1))
	w.wantTold(ann, s)

	w = newWorld(t)
	w.keeps(ann, s)
	w.disk.Plant(demo, c1) // the data came while nobody looked
	w.restart()
	w.wantTold(ann, s)
	w.wantRef(demo, "main", c1)
	w.ok()

	w = newWorld(t)
	w.keeps(ann, s)
	w.sweep(20 * time.Minute)
	w.restart()
	w.sweep(11 * time.Minute) // the clock did not begin anew
	w.wantShelf(grasp.Nowhere, ann, s)
	w.ok()
}

// N-011, N-036, checks 105, 120.
func TestTimes(t *testing.T) {
	w := newWorld(t)
	w.refuses(st.Announce(demo, 3600), "N-011", "future")
	w.keeps(st.Announce(bobsDemo, 14*60))
	w.refuses(st.Expiring(st.Announce(demo, 0), -1), "N-036", "expired")
	w.live(demo)
	old := st.Issue(carol, -10*365*24*3600, demo)
	soon := st.Expiring(st.Issue(carol, 1, demo), 10)
	w.serves(old, soon)
	w.sweep(11 * time.Second)
	w.wantShelf(grasp.Served, old)
	w.wantShelf(grasp.Nowhere, soon)
	w.ok()
}

// N-036: an announcement that expires counts as deleted; one that is withdrawn as well.
func TestAnnouncementExpires(t *testing.T) {
	for _, withdrawn := range []bool{false, true} {
		w := newWorld(t)
		w.live(demo)
		host := st.Host
		if withdrawn {
			host = "elsewhere.net"
		}
		w.serves(st.Expiring(st.AnnounceAt(demo, 5, host), 100))
		w.sweep(99 * time.Second)
		w.wantRef(demo, "main", c1)
		w.sweep(time.Second)
		w.wantHosting(demo, grasp.Deleted)
		w.ok()
	}
}

// G01-404, check 260: a push that relies on what is about to expire keeps all of it, the
// announcement of its repository included.
func TestPushHoldsWhatItReliesOn(t *testing.T) {
	w := newWorld(t)
	ann, s := st.Announce(demo, 0, bob), st.State(carol, "demo", 2, "main", string(c1.ID))
	led := st.AnnounceAt(bobsDemo, 1, "elsewhere.net", carol)
	w.keeps(ann, led, s)
	pr := st.Pull(bob, 3, p1.ID, demo)
	p, err := w.s.Enter(t.Context(), demo, []grasp.RefChange{w.set(demo, "main", c1)})
	if err != nil {
		t.Fatal(err)
	}
	w.sweep(31 * time.Minute)
	w.wantShelf(grasp.Waiting, ann, led, s)
	if err := p.Deliver(t.Context(), st.Pack(c1), nil); err != nil {
		t.Fatal(err)
	}
	w.wantTold(ann, led, s)
	p.Close()
	p.Close()
	w.sweep(0)
	w.wantShelf(grasp.Served, ann, led, s)

	w.keeps(pr)
	p, err = w.s.Enter(t.Context(), demo, []grasp.RefChange{w.set(demo, string(grasp.PullRef(grasp.EventID(pr.ID))), p1)})
	if err != nil {
		t.Fatal(err)
	}
	w.sweep(31 * time.Minute)
	w.wantShelf(grasp.Waiting, pr)
	p.Close() // it came to nothing
	w.sweep(0)
	w.wantShelf(grasp.Nowhere, pr)
	w.ok()
}

// G01-402: however many are due, one sweep lets go of all.
func TestSweepAll(t *testing.T) {
	w := newWorld(t, func(c *steward.Config) { c.WaitingPerKey = 10_000 })
	for i := range 1200 {
		w.keeps(st.Announce(grasp.Addr{Owner: alice, ID: "r" + string(rune('a'+i%26)) + time.Duration(i).String()}, 0))
	}
	w.sweep(31 * time.Minute)
	if n := len(w.mem.Entries()); n != 0 {
		t.Fatalf("%d of 1200 are left", n)
	}
	w.ok()
}

package steward_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/steward"
	st "github.com/gitroost/gitroost/internal/steward/stewardtest"
)

// G01-101 to G01-104, G01-110, G01-114, checks 126 to 130, 143, 254, 256.
func TestAnnouncementTable(t *testing.T) {
	const npath = "/npub1x/demo.git"
	ann := func(tags ...nostr.Tag) *nostr.Event { return st.Event(alice, grasp.KindAnnouncement, 0, "", tags...) }
	d, here, relay := nostr.Tag{"d", "demo"}, nostr.Tag{"clone", "https://" + st.Host + npath}, nostr.Tag{"relays", "wss://" + st.Host}
	var crowd nostr.Tag = []string{"maintainers"}
	for i := range grasp.MaxMaintainersListed + 1 {
		crowd = append(crowd, string(st.Key(fmt.Sprint(i))))
	}
	for _, c := range []struct {
		what string
		ev   *nostr.Event
		rule string // "" accepts
	}{
		{"both", ann(d, here, relay), ""},
		{"clone only", ann(d, here), "G01-101"},
		{"relays only", ann(d, relay), "G01-101"},
		{"neither", ann(d), "G01-101"},
		{"look-alike", ann(d, nostr.Tag{"clone", "https://" + st.Host + ".evil.net" + npath}, nostr.Tag{"relays", "wss://" + st.Host + ".evil.net"}), "G01-101"},
		{"upper case, port, slash, http", ann(d, nostr.Tag{"clone", "http://GIT.example.com:80" + npath}, nostr.Tag{"relays", "wss://Git.Example.com:443/"}), ""},
		{"relay below a path", ann(d, here, nostr.Tag{"relays", "wss://" + st.Host + "/other/path"}), "G01-101"},
		{"two clone tags", ann(d, nostr.Tag{"clone", "https://other.net/x.git"}, here, relay), ""},
		{"any path", ann(d, nostr.Tag{"clone", "https://" + st.Host + "/anything.git"}, relay), ""},
		{"prs alone", ann(d, nostr.Tag{"clone", "https://" + st.Host + "/prs/npub1x/demo.git"}, relay), "G01-101"},
		{"no d", ann(here, relay), "G01-104"},
		{"d that is a path", ann(nostr.Tag{"d", "../demo"}, here, relay), "H-104"},
		{"garbage among maintainers", ann(d, here, relay, nostr.Tag{"maintainers", "garbage", "", string(bob)}), ""},
		{"too many maintainers", ann(d, here, relay, crowd), "G01-110"},
	} {
		t.Run(c.what, func(t *testing.T) {
			w := newWorld(t)
			if c.rule != "" {
				w.refuses(c.ev, c.rule, "")
				w.wantHosting(demo, grasp.NotHosted)
			} else {
				w.keeps(c.ev)
				w.wantHosting(demo, grasp.Live)
			}
			w.ok()
		})
	}
}

// G01-106, check 135: pull requests do not open a repository.
func TestPullRefDoesNotRelease(t *testing.T) {
	w := newWorld(t)
	ann := st.Announce(demo, 0)
	w.keeps(ann)
	w.pushes(demo, w.set(demo, "refs/nostr/"+st.Issue(bob, 0).ID, p1))
	w.wantShelf(grasp.Waiting, ann)
	w.wantTold()
	w.ok()
}

// G01-106, check 136: what is complete in a sister repository opens at once.
func TestAnnounceWhereDataIs(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	w.wantTold(w.told...)
	ann := st.Announce(bobsDemo, 5, alice)
	w.serves(ann)
	w.wantTold(ann)
	w.wantRef(bobsDemo, "main", c1)
	w.wantHead(bobsDemo, "refs/heads/main")
	w.settleTwice("demo")
	w.ok()
}

// G01-107, checks 137, 138, 93.
func TestReannounce(t *testing.T) {
	w := newWorld(t)
	ann, _ := w.live(demo)
	bobs := st.State(bob, "demo", 20, "main", string(c1.ID), "dev", string(c1.ID))
	w.refuses(bobs, "G01-301", "not authorized")
	next := st.Announce(demo, 10, bob)
	w.serves(next)
	w.wantShelf(grasp.Nowhere, ann)
	w.serves(bobs)
	w.wantRef(demo, "dev", c1)
	w.refuses(st.Announce(demo, 5), "N-004", "have a newer version")
	w.wantShelf(grasp.Served, next)
	w.ok()
}

// G01-108, check 139.
func TestReannounceWhileWaiting(t *testing.T) {
	w := newWorld(t)
	ann, next := st.Announce(demo, 0), st.Announce(demo, 10)
	w.keeps(ann)
	w.sweep(25 * time.Minute)
	w.keeps(next)
	w.wantShelf(grasp.Nowhere, ann)
	w.refuses(st.Announce(demo, 5), "N-004", "newer version")
	w.sweep(25 * time.Minute) // the 30 minutes began anew
	w.wantShelf(grasp.Waiting, next)
	w.wantHosting(demo, grasp.Live)
	state := st.State(alice, "demo", 11, "main", string(c1.ID))
	w.keeps(state)
	w.pushes(demo, w.set(demo, "main", c1))
	w.wantTold(next, state)
	w.ok()
}

// G01-111, checks 140, 141, 155.
func TestMaintainerElsewhere(t *testing.T) {
	w := newWorld(t)
	w.live(demo, bob)
	bobs := st.AnnounceAt(bobsDemo, 5, "elsewhere.net", carol)
	w.serves(bobs)
	w.wantHosting(bobsDemo, grasp.NotHosted)
	w.refuses(st.AnnounceAt(grasp.Addr{Owner: mallory, ID: "demo"}, 5, "elsewhere.net"), "G01-101", "must list this service")
	// G01-203, check 258: it counts for the recursion all the same.
	w.serves(st.State(carol, "demo", 6, "main", string(c1.ID), "dev", string(c1.ID)))
	w.wantRef(demo, "dev", c1)
	// G01-511, check 155
	if h, _ := w.s.Find(t.Context(), bobsDemo); h != grasp.NotHosted {
		t.Fatalf("bob's path is hosted: %d", h)
	}
	// G01-203, check 259: without the announcement between them carol is nobody.
	w.serves(st.Delete(bob, 7, bobs.ID))
	w.refuses(st.State(carol, "demo", 8, "main", string(c1.ID)), "G01-301", "not authorized")
	w.serves(st.State(bob, "demo", 9, "main", string(c1.ID)))
	w.ok()
}

// G01-111 (second half): what hangs on a waiting announcement waits with it.
func TestMaintainerElsewhereWaits(t *testing.T) {
	w := newWorld(t)
	ann, bobs := st.Announce(demo, 0, bob), st.AnnounceAt(bobsDemo, 1, "elsewhere.net", carol)
	w.keeps(ann, bobs)
	w.sweep(20 * time.Minute)
	// G01-312: carol is heard because of bob's announcement, so that one stays as well.
	state := st.State(carol, "demo", 2, "main", string(c1.ID))
	w.keeps(state)
	w.sweep(25 * time.Minute)
	w.wantShelf(grasp.Waiting, ann, bobs, state)
	w.pushes(demo, w.set(demo, "main", c1))
	w.wantTold(ann, bobs, state)
	w.ok()
}

// G01-112, check 142.
func TestMaintainerAnnouncesFirst(t *testing.T) {
	w := newWorld(t)
	bobs := st.AnnounceAt(bobsDemo, 0, "elsewhere.net")
	w.refuses(bobs, "G01-101", "")
	ann, _ := w.live(demo, bob)
	w.wantShelf(grasp.Served, bobs)
	if n := len(w.told); n != 3 || w.told[0].ID != ann.ID {
		t.Fatalf("told of %v", w.told)
	}
	w.ok()

	late := newWorld(t) // after ten minutes it is forgotten
	late.refuses(bobs, "G01-101", "")
	late.sweep(11 * time.Minute)
	late.live(demo, bob)
	late.wantShelf(grasp.Nowhere, bobs)
}

// G01-112: a replacement that adds the maintainer calls too.
func TestMaintainerAnnouncesBeforeBeingListed(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	bobs := st.AnnounceAt(bobsDemo, 0, "elsewhere.net")
	w.refuses(bobs, "G01-101", "")
	w.serves(st.Announce(demo, 5, bob))
	w.wantShelf(grasp.Served, bobs)
	w.ok()
}

// G01-113, check 257.
func TestMaintainerListsUs(t *testing.T) {
	w := newWorld(t)
	w.live(demo, bob)
	w.keeps(st.Announce(bobsDemo, 5))
	w.wantHosting(bobsDemo, grasp.Live)
	w.ok()
}

// G01-113: one that is served as a maintainer's, and then wants a repository of its own.
func TestMaintainerMovesHere(t *testing.T) {
	w := newWorld(t)
	w.live(demo, bob)
	old := st.AnnounceAt(bobsDemo, 5, "elsewhere.net")
	w.serves(old)
	next := st.Announce(bobsDemo, 6)
	w.keeps(next)
	w.wantShelf(grasp.Served, old) // until the new one is
	state := st.State(bob, "demo", 7, "main", string(c2.ID))
	w.keeps(state)
	w.pushes(bobsDemo, w.set(bobsDemo, "main", c2))
	w.wantShelf(grasp.Nowhere, old)
	w.wantShelf(grasp.Served, next, state)
	w.wantRef(demo, "main", c2) // G01-602
	w.ok()
}

// G01-115, checks 144, 145.
func TestWithdrawal(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	gone := st.AnnounceAt(demo, 10, "elsewhere.net")
	w.serves(gone)
	w.wantHosting(demo, grasp.Withdrawn)
	w.wantRef(demo, "main", c1)
	w.refusesPush(demo, "G01-115", "no longer lists this server", w.set(demo, "dev", c1))
	w.refusesPush(demo, "G01-115", "no longer lists this server", w.set(demo, "refs/nostr/"+gone.ID, p1)) // G01-509

	w.sweep(20 * 24 * time.Hour)
	w.wantHosting(demo, grasp.Withdrawn)
	w.serves(st.Announce(demo, 20))
	w.wantHosting(demo, grasp.Live)
	w.wantRef(demo, "main", c1)
	state := st.State(alice, "demo", 21, "main", string(c2.ID))
	w.keeps(state)
	w.pushes(demo, w.set(demo, "main", c2))

	w.serves(st.AnnounceAt(demo, 30, "elsewhere.net"))
	w.sweep(29 * 24 * time.Hour)
	w.wantHosting(demo, grasp.Withdrawn)
	w.sweep(2 * 24 * time.Hour)
	w.wantHosting(demo, grasp.NotHosted)
	if len(w.disk.Folders()) != 0 {
		t.Fatal("the data is still there")
	}
	w.ok()
}

// G01-115, check 146.
func TestWithdrawalWhileWaiting(t *testing.T) {
	w := newWorld(t)
	ann := st.Announce(demo, 0)
	w.keeps(ann)
	w.pushes(demo, w.set(demo, "refs/nostr/"+ann.ID[1:]+"0", p1))
	w.refuses(st.AnnounceAt(demo, 5, "elsewhere.net"), "G01-101", "must list")
	w.wantShelf(grasp.Nowhere, ann)
	w.wantHosting(demo, grasp.NotHosted)
	w.ok()
	// A maintainer of another repository stays under G01-111.
	w = newWorld(t)
	w.live(demo, bob)
	ann = st.Announce(bobsDemo, 5)
	w.keeps(ann)
	w.serves(st.AnnounceAt(bobsDemo, 6, "elsewhere.net"))
	w.wantShelf(grasp.Nowhere, ann)
	w.wantHosting(bobsDemo, grasp.NotHosted)
	w.ok()
}

// G01-116, check 147.
func TestSameIdentifier(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	his := grasp.Addr{Owner: mallory, ID: "demo"}
	w.keeps(st.Announce(his, 5))
	w.keeps(st.State(mallory, "demo", 6, "main", string(x2.ID)))
	w.refusesPush(demo, "G01-503", "says", w.set(demo, "main", x2))
	w.pushes(his, w.set(his, "main", x2))
	w.wantRef(demo, "main", c1)
	w.ok()
}

// G01-408, G01-110, check 178, and a limit on new repositories by address.
func TestLimits(t *testing.T) {
	w := newWorld(t, func(c *steward.Config) {
		c.WaitingPerKey, c.WaitingPerSource, c.WaitingInAll, c.NewReposPerHour = 3, 5, 7, 100
	})
	from := func(who grasp.PubKey, id, source string) error {
		ev := st.Announce(grasp.Addr{Owner: who, ID: id}, 0)
		_, err := w.s.Receive(t.Context(), ev, st.Raw(ev), source)
		return err
	}
	expect := func(err error, full bool) {
		t.Helper()
		if full {
			w.refusal(err, "G01-408", "wait for their git data", "flood")
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 4 {
		expect(from(mallory, fmt.Sprint("m", i), "192.0.2.0/24"), i >= 3)
	}
	expect(from(alice, "demo", "198.51.100.0/24"), false) // others are unaffected
	for i := range 3 {
		expect(from(st.Key(fmt.Sprint("puppet", i)), "p", "192.0.2.0/24"), i >= 2)
	}
	expect(from(bob, "b", "203.0.113.0/24"), false)
	expect(from(carol, "c", "203.0.113.0/24"), true) // seven wait in all
	// What waits may be replaced however full it is, and what came first was not driven out.
	ev := st.Announce(grasp.Addr{Owner: mallory, ID: "m0"}, 5)
	if _, err := w.s.Receive(t.Context(), ev, st.Raw(ev), "192.0.2.0/24"); err != nil {
		t.Fatal(err)
	}
	if n := len(w.mem.Entries()); n != 7 {
		t.Fatalf("%d wait", n)
	}
	w.sweep(time.Hour)
	expect(from(carol, "c", "203.0.113.0/24"), false)
	w.ok()
}

func TestNewRepositoriesPerHour(t *testing.T) {
	w := newWorld(t, func(c *steward.Config) { c.NewReposPerHour = 2 })
	from := func(id, source string) error {
		ev := st.Announce(grasp.Addr{Owner: mallory, ID: id}, 0)
		_, err := w.s.Receive(t.Context(), ev, st.Raw(ev), source)
		return err
	}
	for i := range 3 {
		if err := from(fmt.Sprint(i), "192.0.2.0/24"); i < 2 && err != nil {
			t.Fatal(err)
		} else if i == 2 {
			w.refusal(err, "G01-110", "an hour", "third")
		}
	}
	if err := from("3", "198.51.100.0/24"); err != nil {
		t.Fatal(err)
	}
	w.sweep(time.Hour)
	if err := from("4", "192.0.2.0/24"); err != nil {
		t.Fatal(err)
	}
}

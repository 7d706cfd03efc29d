package steward_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/steward"
	st "github.com/gitroost/gitroost/internal/steward/stewardtest"
)

// In these tests a commit weighs 48 bytes, and 89 with a parent.
var (
	one = st.Bytes(c1)
	two = st.Bytes(c1, c2)
)

func quotas(q grasp.Quota) func(*steward.Config) {
	return func(c *steward.Config) { c.Quotas.Owner = q }
}

func (w *world) wantWeight(repo grasp.Addr, own, pulls int64) {
	w.t.Helper()
	if got := w.mem.Weights()[repo]; got != (steward.Weight{Own: own, Pulls: pulls}) {
		w.t.Fatalf("%s weighs %+v, want %d and %d", repo.ID, got, own, pulls)
	}
}

// adds pushes updates with just these objects; it has to be granted.
func (w *world) adds(repo grasp.Addr, o st.Object, updates ...grasp.RefChange) {
	w.t.Helper()
	if err := w.deliver(repo, st.Pack(o), updates...); err != nil {
		w.t.Fatalf("push to %s: %v", repo, err)
	}
}

// calm is ok, once what was refused is forgotten.
func (w *world) calm() {
	w.t.Helper()
	w.sweep(0)
	w.ok()
}

// unread fails the test when somebody reads it.
type unread struct{ t testing.TB }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the pack is read")
	return 0, io.EOF
}

// G01-109: what does not fit is refused with the numbers, while it is read; others do not feel it, a
// restart changes nothing, and what needs no room is taken at any time.
func TestQuotaOfBytes(t *testing.T) {
	w := newWorld(t, quotas(grasp.Quota{Bytes: two + 60}))
	w.live(demo)
	w.wantWeight(demo, one, 0)
	w.keeps(st.State(alice, "demo", 2, "main", string(c2.ID)))
	w.adds(demo, c2, w.set(demo, "main", c2))
	w.wantWeight(demo, two, 0)
	next := st.State(alice, "demo", 3, "main", string(c3.ID))
	w.keeps(next)
	for range 2 {
		w.refusesPush(demo, "G01-109", "quota: 137 bytes of 197 bytes used, this push adds more than 60 bytes", w.set(demo, "main", c3))
		w.wantShelf(grasp.Waiting, next)
		w.wantWeight(demo, two, 0)
		w.restart()
	}
	if n := w.s.QuotaRefusals(); n.Pushes != 0 {
		t.Errorf("%+v after a restart", n)
	}
	// Alice's other repository is in the same boat; bob's is not.
	other := grasp.Addr{Owner: alice, ID: "other"}
	w.live(other)
	w.wantWeight(other, one, 0)
	w.keeps(st.State(alice, "other", 2, "main", string(c2.ID)))
	w.refusesPush(other, "G01-109", "quota: 185 bytes of 197 bytes used, this push adds more than 12 bytes", w.set(other, "main", c2))
	bobs := grasp.Addr{Owner: bob, ID: "other"}
	w.live(bobs)
	w.calm()

	// What is here already may be pointed at, however much is sent along, and refs may go.
	w.keeps(st.State(alice, "demo", 4, "next", string(c1.ID), "dev", string(x2.ID)))
	w.pushes(demo, w.set(demo, "next", c1))
	w.pushes(demo, w.del(demo, "main"))
	w.refusesPush(demo, "G01-109", "used", w.set(demo, "dev", x2))
	w.calm()
}

// G01-109: where nothing fits any more the answer comes before the pack.
func TestQuotaIsFull(t *testing.T) {
	for _, c := range []struct {
		name string
		q    grasp.Quota
		text string
	}{
		{"owner", grasp.Quota{Bytes: one}, "quota: 48 bytes of 48 bytes used"},
		{"repository", grasp.Quota{RepoBytes: one}, "quota: 48 bytes of 48 bytes used in this repository"},
		{"less than there is", grasp.Quota{Bytes: 7}, "quota: 48 bytes of 7 bytes used"},
	} {
		w := newWorld(t)
		w.live(demo)
		w.cfg.Quotas.Owner = c.q // the operator changes it
		w.restart()
		w.keeps(st.State(alice, "demo", 2, "main", string(c2.ID)))
		err := w.deliver(demo, unread{t}, w.set(demo, "main", c2))
		w.refusal(err, "G01-109", c.text, c.name)
		var r *grasp.Refusal
		if errors.As(err, &r) && (r.Text != c.text || r.Hint == "" || r.Prefix != grasp.Restricted) {
			t.Errorf("%s: %+v", c.name, r)
		}
		if n := w.s.QuotaRefusals(); n.Pushes != 1 {
			t.Errorf("%s: %+v", c.name, n)
		}
		w.cfg.Quotas.Overrides = map[grasp.PubKey]int64{alice: 0}
		w.cfg.Quotas.Owner.RepoBytes = 0
		w.restart()
		w.adds(demo, c2, w.set(demo, "main", c2))
		w.calm()
	}
}

// H-254, G01-109: what strangers push under refs/nostr/ has a bound of its own, and is not the owner's.
func TestQuotaOfPulls(t *testing.T) {
	w := newWorld(t, quotas(grasp.Quota{Bytes: two + 5, RepoBytes: two + 5, PullBytes: 100}))
	w.live(demo)
	pr, pr2 := st.Pull(carol, 3, p1.ID, demo), st.Pull(mallory, 4, p2.ID, demo)
	w.adds(demo, p1, w.set(demo, pullRef(pr), p1))
	w.wantWeight(demo, one, 89)
	w.refusesPush(demo, "G01-109", "quota: 89 bytes of 100 bytes used by pull requests to this repository, this push adds more than 11 bytes", w.set(demo, pullRef(pr2), p2))
	w.keeps(st.State(alice, "demo", 5, "main", string(c2.ID)))
	w.adds(demo, c2, w.set(demo, "main", c2))
	w.wantWeight(demo, two, 89)
	// The owner takes the pull request: nothing new arrives, and it stays counted as it was.
	w.serves(st.State(alice, "demo", 6, "main", string(p1.ID)))
	w.wantRef(demo, "main", p1)
	w.wantWeight(demo, two, 89)
	w.calm()
}

// G01-602: copies that bring sisters into agreement are counted and never refused.
func TestQuotaAndCopies(t *testing.T) {
	w := newWorld(t, quotas(grasp.Quota{Bytes: 1}), func(c *steward.Config) { c.Quotas.Overrides = map[grasp.PubKey]int64{alice: 0} })
	w.live(demo, bob)
	w.serves(st.Announce(bobsDemo, 1, alice))
	w.wantWeight(bobsDemo, one, 0)
	w.keeps(st.State(alice, "demo", 2, "main", string(c2.ID)))
	w.adds(demo, c2, w.set(demo, "main", c2))
	w.wantRef(bobsDemo, "main", c2)
	w.wantWeight(bobsDemo, two, 0)
	w.keeps(st.State(bob, "demo", 3, "main", string(c3.ID)))
	w.refusesPush(bobsDemo, "G01-109", "quota: 137 bytes of 1 bytes used", w.set(bobsDemo, "main", c3))
	// By way of alice's repository, which has room, it gets there.
	w.adds(demo, c3, w.set(demo, "main", c3))
	w.wantRef(bobsDemo, "main", c3)
	// A pull request for both is mirrored, and charged to nobody.
	pr := st.Pull(carol, 4, p1.ID, demo, bobsDemo)
	w.keeps(pr)
	w.adds(demo, p1, w.set(demo, pullRef(pr), p1))
	w.wantRef(bobsDemo, pullRef(pr), p1)
	w.wantWeight(bobsDemo, two+89, 89)
	w.calm()
}

// G01-109, G01-110: repositories are counted, not announcements.
func TestQuotaOfRepositories(t *testing.T) {
	w := newWorld(t, quotas(grasp.Quota{Repos: 2}))
	repo := func(id string) grasp.Addr { return grasp.Addr{Owner: alice, ID: id} }
	w.live(repo("a"))
	w.keeps(st.Announce(repo("b"), 1))
	const full = "quota: 2 of 2 repositories used"
	w.refuses(st.Announce(repo("c"), 1), "G01-109", full)
	if n := w.s.QuotaRefusals(); n.Repos != 1 {
		t.Errorf("%+v", n)
	}
	w.keeps(st.Announce(repo("b"), 2))
	w.serves(st.Announce(repo("a"), 5))
	w.serves(st.AnnounceAt(repo("a"), 6, "elsewhere.net")) // it is still read here
	w.refuses(st.Announce(repo("c"), 2), "G01-109", full)
	w.serves(st.Announce(repo("a"), 7))
	w.keeps(st.Announce(grasp.Addr{Owner: bob, ID: "c"}, 1))
	w.restart()
	w.refuses(st.Announce(repo("c"), 3), "G01-109", full)

	// What waits is gone when it is deleted; what was served is kept as long as nobody needs the place.
	w.serves(st.Delete(alice, 8, repo("b").Coordinate()))
	w.keeps(st.Announce(repo("c"), 4))
	w.serves(st.Delete(alice, 9, repo("a").Coordinate()))
	w.wantHosting(repo("a"), grasp.Deleted)
	w.keeps(st.Announce(repo("d"), 4))
	w.wantHosting(repo("a"), grasp.NotHosted)
	w.refuses(st.Announce(repo("a"), 10), "G01-109", full)
	w.calm()
}

// G01-902, check 223: what is deleted is kept for its owner, but not beyond the owner's quota.
func TestQuotaAndDeleted(t *testing.T) {
	a, b := grasp.Addr{Owner: alice, ID: "a"}, grasp.Addr{Owner: alice, ID: "b"}
	w := newWorld(t, quotas(grasp.Quota{Bytes: 2*two - 1}))
	fill := func(repo grasp.Addr, at int) {
		w.t.Helper()
		w.keeps(st.State(alice, repo.ID, at, "main", string(c2.ID)))
		w.adds(repo, c2, w.set(repo, "main", c2))
	}
	w.live(a)
	fill(a, 2)
	w.live(b)
	w.keeps(st.State(alice, "b", 2, "main", string(c2.ID)))
	w.refusesPush(b, "G01-109", "quota: 185 bytes of 273 bytes used, this push adds more than 88 bytes", w.set(b, "main", c2))
	w.serves(st.Delete(alice, 3, a.Coordinate()))
	w.wantHosting(a, grasp.Deleted)
	w.adds(b, c2, w.set(b, "main", c2)) // deleting frees
	w.wantHosting(a, grasp.Deleted)
	w.calm()
	w.keeps(st.State(alice, "b", 4, "main", string(c3.ID)))
	w.adds(b, c3, w.set(b, "main", c3)) // and now the room of what was deleted is needed
	w.wantHosting(a, grasp.NotHosted)
	w.calm()

	// With room for both, it comes back.
	w = newWorld(t, quotas(grasp.Quota{Bytes: 2 * two}))
	w.live(a)
	fill(a, 2)
	w.serves(st.Delete(alice, 3, a.Coordinate()))
	w.live(b)
	w.serves(st.Announce(a, 5))
	w.serves(st.State(alice, "a", 6, "main", string(c1.ID)))
	w.wantWeight(a, two, 0)
	w.calm()
}

// Two pushes that fit alone and not together: what the first was granted is reserved until it is
// recorded, also where its own identifier alone is locked.
func TestQuotaIsReserved(t *testing.T) {
	a, b := grasp.Addr{Owner: alice, ID: "a"}, grasp.Addr{Owner: alice, ID: "b"}
	w := newWorld(t, quotas(grasp.Quota{Bytes: 2*one + 100}))
	for _, r := range []grasp.Addr{a, b} {
		w.live(r)
		w.keeps(st.State(alice, r.ID, 2, "main", string(c2.ID)))
	}
	var once sync.Once
	var second error
	w.brk.Before("Admit", func() {
		once.Do(func() { second = w.deliver(b, st.Pack(c2), w.set(b, "main", c2)) })
	})
	if err := w.deliver(a, st.Pack(c2), w.set(a, "main", c2)); err != nil {
		t.Fatal(err)
	}
	w.refusal(second, "G01-109", "quota: 185 bytes of 196 bytes used", "the second push")
	w.wantRef(b, "main", c1)
	w.calm()

	w = newWorld(t, quotas(grasp.Quota{Repos: 1}))
	var both sync.Once
	w.brk.Before("Commit", func() {
		both.Do(func() { _, second = w.receive(st.Announce(b, 1)) })
	})
	w.keeps(st.Announce(a, 1))
	w.refusal(second, "G01-109", "quota: 1 of 1 repositories used", "the second announcement")
	w.calm()
}

// However many push at once, to however many repositories, a quota is never exceeded, and room is not
// lost to those who were refused.
func TestQuotaUnderLoad(t *testing.T) {
	const repos, fit = 12, 5
	w := newWorld(t, quotas(grasp.Quota{Bytes: repos*one + fit*89 + 20}))
	addr := func(i int) grasp.Addr { return grasp.Addr{Owner: alice, ID: fmt.Sprintf("r%d", i)} }
	for i := range repos {
		w.live(addr(i))
		w.keeps(st.State(alice, addr(i).ID, 2, "main", string(c2.ID)))
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	done, no := 0, 0
	for i := range repos {
		wg.Go(func() {
			err := w.deliver(addr(i), st.Pack(c2), w.set(addr(i), "main", c2))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				done++
			} else if strings.Contains(err.Error(), "quota: ") {
				no++
			}
		})
	}
	wg.Wait()
	for i := range repos { // those who were in each other's way try again
		_ = w.deliver(addr(i), st.Pack(c2), w.set(addr(i), "main", c2))
	}
	total := int64(0)
	for _, got := range w.mem.Weights() {
		total += got.Own
	}
	if total != repos*one+fit*89 || done > fit || done+no != repos {
		t.Errorf("%d bytes are kept, %d pushes went through and %d were refused; want %d bytes", total, done, no, repos*one+fit*89)
	}
	w.calm()
}

// What changes behind our back, or was never recorded, is found by and by: no start looks at everything.
func TestAudit(t *testing.T) {
	w := newWorld(t, func(c *steward.Config) { c.Boxes, c.WaitingPerKey = true, 1000 })
	w.live(demo)
	var many []grasp.Addr
	for i := range 250 {
		repo := grasp.Addr{Owner: bob, ID: fmt.Sprintf("r%03d", i)}
		w.keeps(st.Announce(repo, 1))
		many = append(many, repo)
	}
	box := grasp.Addr{Owner: carol, ID: "demo", Box: true}
	pr := st.Pull(carol, 3, p1.ID, demo)
	if err := w.push(box, w.set(box, pullRef(pr), p1)); err != nil {
		t.Fatal(err)
	}
	w.restart()
	w.disk.Plant(demo, c2, c3)
	w.disk.Plant(many[249], c1)
	w.disk.Plant(box, c2)
	for range 4 {
		w.sweep(0)
	}
	w.wantWeight(demo, one+2*89, 0)
	w.wantWeight(many[249], one, 0)
	w.wantWeight(box, st.Bytes(c1, p1, c2), 0)
	w.disk.Lose(demo)
	w.restart()
	for range 4 {
		w.sweep(0)
	}
	w.wantWeight(demo, 0, 0)
}

// G06-13, check 279: a submitter has limits of their own; others, and the owner, do not feel them.
func TestQuotaOfSubmitters(t *testing.T) {
	box := func(who grasp.PubKey, id string) grasp.Addr { return grasp.Addr{Owner: who, ID: id, Box: true} }
	ref := func(n int) string { return pullRef(st.Pull(carol, n, p1.ID, demo)) }
	start := func(q grasp.Quota) *world {
		return newWorld(t, func(c *steward.Config) { c.Boxes, c.Quotas.Submitter = true, q })
	}
	w := start(grasp.Quota{Bytes: st.Bytes(c1, p1) + 10})
	w.pushes(box(carol, "demo"), w.set(box(carol, "demo"), ref(1), p1))
	w.refusesPush(box(carol, "demo"), "G06-13", "limit: 137 bytes of 147 bytes used, this push adds more than 10 bytes", w.set(box(carol, "demo"), ref(2), p2))
	w.refusesPush(box(carol, "other"), "G06-13", "limit: 137 bytes of 147 bytes used", w.set(box(carol, "other"), ref(2), p2))
	w.pushes(box(carol, "demo"), w.set(box(carol, "demo"), ref(2), p1)) // nothing new
	w.pushes(box(mallory, "demo"), w.set(box(mallory, "demo"), ref(3), p2))
	w.calm()
	w.sweep(21 * time.Minute) // nobody published the events
	w.wantWeight(box(carol, "demo"), 0, 0)
	w.pushes(box(carol, "other"), w.set(box(carol, "other"), ref(2), p2))
	w.calm()

	w = start(grasp.Quota{Repos: 1})
	w.pushes(box(carol, "demo"), w.set(box(carol, "demo"), ref(1), p1))
	w.pushes(box(carol, "demo"), w.set(box(carol, "demo"), ref(2), p2))
	w.refusesPush(box(carol, "other"), "G06-13", "limit: 1 of 1 repositories used", w.set(box(carol, "other"), ref(2), p2))
	w.pushes(box(mallory, "other"), w.set(box(mallory, "other"), ref(3), p2))
	w.calm()

	w = start(grasp.Quota{Refs: 2})
	w.pushes(box(carol, "demo"), w.set(box(carol, "demo"), ref(1), p1))
	w.refusesPush(box(carol, "demo"), "G06-13", "limit: 1 of 2 refs used, this push adds 2",
		w.set(box(carol, "demo"), ref(2), p2), w.set(box(carol, "demo"), ref(3), p2))
	w.pushes(box(carol, "other"), w.set(box(carol, "other"), ref(2), p2))
	w.refusesPush(box(carol, "demo"), "G06-13", "limit: 2 of 2 refs used", w.set(box(carol, "demo"), ref(3), p1))
	w.pushes(box(carol, "demo"), w.set(box(carol, "demo"), ref(1), p2)) // moved, not added
	w.calm()
}

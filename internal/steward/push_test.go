package steward_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
	st "github.com/gitroost/gitroost/internal/steward/stewardtest"
)

// G01-503, G01-506, G01-508, checks 182 to 184, 190, 192.
func TestRefusedPushes(t *testing.T) {
	w := newWorld(t)
	w.keeps(st.Announce(demo, 0))
	w.refusesPush(demo, "G01-503", "30618", w.set(demo, "main", c1))
	s := st.State(alice, "demo", 1, "main", string(c1.ID))
	w.keeps(s)
	w.refusesPush(demo, "G01-503", "refs/heads/main", w.set(demo, "main", c2))
	w.refusesPush(demo, "G01-503", "refs/heads/extra", w.set(demo, "main", c1), w.set(demo, "extra", c1))
	w.refusesPush(demo, "G01-503", "refs/heads/pr/1", w.set(demo, "pr/1", c1))
	for _, ref := range []string{"refs/notes/commits", "refs/pull/1/head", "refs/grasp/x", "HEAD", "main"} {
		u := grasp.RefChange{Ref: grasp.RefName(ref), Old: grasp.ZeroOID, New: c1.ID}
		w.refusesPush(demo, "G01-506", "", w.set(demo, "main", c1), u)
	}
	w.refusesPush(demo, "H-253", "twice", w.set(demo, "main", c1), w.set(demo, "main", c1))
	w.wantShelf(grasp.Waiting, s)
	w.wantTold()
	w.ok()
}

// G01-502, T-1, checks 185 to 187.
func TestPartialPushes(t *testing.T) {
	w := newWorld(t)
	ann, s := st.Announce(demo, 0), st.State(alice, "demo", 1, "main", string(c1.ID), "dev", string(c2.ID))
	w.keeps(ann, s)
	w.pushes(demo, w.set(demo, "main", c1))
	w.wantShelf(grasp.Waiting, ann, s)
	w.settleTwice("demo")
	w.wantRef(demo, "main", c1)
	w.pushes(demo, w.set(demo, "dev", c2))
	w.wantTold(ann, s)
	w.ok()

	next := st.State(alice, "demo", 2, "main", string(c3.ID), "dev", string(c2.ID))
	w.keeps(next)
	w.pushes(demo, w.set(demo, "main", c3))
	w.wantShelf(grasp.Served, next)

	w.keeps(st.State(alice, "demo", 3, "main", string(c3.ID), "dev", string(x2.ID), "a", string(p1.ID)))
	w.keeps(st.State(alice, "demo", 4, "main", string(c3.ID), "dev", string(p2.ID)))
	w.refusesPush(demo, "G01-503", "refs/heads/dev", w.set(demo, "dev", x2))
	w.ok()
}

// G01-502: undeclared refs are removed only when all of the state is here, or when the push does.
func TestPartialPushKeepsUndeclared(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	s := st.State(alice, "demo", 2, "next", string(c2.ID), "dev", string(x2.ID))
	w.keeps(s)
	w.pushes(demo, w.set(demo, "next", c2))
	w.wantRef(demo, "main", c1)
	w.ok()
	w.pushes(demo, w.set(demo, "dev", x2))
	w.wantNoRef(demo, "main")
	w.wantShelf(grasp.Served, s)
	w.ok()

	w = newWorld(t)
	w.live(demo)
	w.keeps(st.State(alice, "demo", 2, "next", string(c2.ID), "dev", string(x2.ID)))
	w.pushes(demo, w.del(demo, "main"))
	w.settleTwice("demo")
	w.wantNoRef(demo, "main")
	w.ok()
}

// G01-504, check 188.
func TestPushRestores(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	w.disk.Lose(demo)
	w.restart()
	w.wantNoRef(demo, "main")
	w.pushes(demo, w.set(demo, "main", c1))
	w.wantHead(demo, "refs/heads/main")
	w.ok()
}

// G01-505, G01-510, checks 189, 193, H-249.
func TestAnybodyDelivers(t *testing.T) {
	w := newWorld(t)
	w.keeps(st.Announce(demo, 0))
	s := st.State(alice, "demo", 1, "main", string(c1.ID))
	w.keeps(s)
	up := w.set(demo, "main", c1)
	w.pushes(demo, up)
	p, err := w.s.Enter(t.Context(), demo, []grasp.RefChange{up}) // the other pusher, a moment later
	if err != nil || !p.Noop() {
		t.Fatalf("the same push again: %v", err)
	}
	if err := p.Deliver(t.Context(), nil, nil); err != nil {
		t.Fatal(err)
	}
	p.Close()
	w.ok()
}

// G01-507, check 191.
func TestMixedPush(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	pr := st.Pull(bob, 2, p1.ID, demo)
	w.keeps(pr)
	w.keeps(st.State(alice, "demo", 3, "main", string(c2.ID)))
	ref := string(grasp.PullRef(grasp.EventID(pr.ID)))
	w.refusesPush(demo, "G01-702", "must be", w.set(demo, "main", c2), w.set(demo, ref, p2))
	w.pushes(demo, w.set(demo, "main", c2), w.set(demo, ref, p1))
	w.wantShelf(grasp.Served, pr)
	w.ok()
}

// G01-604, check 196.
func TestHeadArrivesByPush(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	w.keeps(st.State(alice, "demo", 3, "main", string(c1.ID), "develop1", string(c2.ID), "HEAD", "ref: refs/heads/develop1"))
	w.pushes(demo, w.set(demo, "develop1", c2))
	w.wantHead(demo, "refs/heads/develop1")
	w.ok()
}

// G01-602, check 198: one push, two repositories, and both announcements are told of once.
func TestFanOut(t *testing.T) {
	w := newWorld(t)
	ann, bobs := st.Announce(demo, 0, bob), st.Announce(bobsDemo, 1, alice)
	s := st.State(alice, "demo", 2, "main", string(c2.ID))
	w.keeps(ann, bobs, s)
	w.pushes(demo, w.set(demo, "main", c2))
	w.wantRef(bobsDemo, "main", c2)
	w.wantHead(bobsDemo, "refs/heads/main")
	w.mu.Lock()
	if n := len(w.told); n != 3 || w.told[2].ID != s.ID {
		t.Errorf("told of %d events", n)
	}
	w.mu.Unlock()
	w.settleTwice("demo")
	w.ok()
}

// The journal says which push and which state moved a ref.
func TestJournal(t *testing.T) {
	w := newWorld(t)
	w.keeps(st.Announce(demo, 0))
	s := st.State(alice, "demo", 1, "main", string(c1.ID))
	w.keeps(s)
	p, err := w.s.Enter(t.Context(), demo, []grasp.RefChange{w.set(demo, "main", c1)})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Deliver(t.Context(), st.Pack(c1), nil); err != nil {
		t.Fatal(err)
	}
	j := w.mem.Journal()
	if len(j) != 1 || j[0].Push != p.ID() || len(j[0].Changes) != 1 || j[0].Changes[0].New != c1.ID {
		t.Fatalf("journal %+v", j)
	}
	if n := p.Notes(); len(n) != 1 || !strings.Contains(n[0], s.ID[:7]) || !strings.Contains(n[0], p.ID()) {
		t.Fatalf("notes %q", n)
	}
}

// H-250: refs that moved while nobody looked; H-253, G01-701: what is no commit.
func TestPushesThatDoNotFit(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	w.keeps(st.State(alice, "demo", 3, "main", string(c2.ID)))
	w.refusesPush(demo, "H-250", "fetch first", grasp.RefChange{Ref: "refs/heads/main", Old: x2.ID, New: c2.ID})
	if err := w.deliver(demo, st.Pack(c3), w.set(demo, "main", c2)); !fault.Is(err, fault.Refused) {
		t.Fatalf("incomplete: %v", err)
	}
	blob := st.Blob("b")
	w.keeps(st.State(alice, "demo", 4, "main", string(blob.ID)))
	if err := w.deliver(demo, st.Pack(blob), w.set(demo, "main", blob)); !fault.Is(err, fault.Refused) {
		t.Fatalf("a blob: %v", err)
	}
	if err := w.deliver(demo, st.Pack(blob), w.set(demo, "refs/nostr/"+st.Issue(bob, 0).ID, blob)); !fault.Is(err, fault.Refused) {
		t.Fatalf("a blob as PR: %v", err)
	}
	if err := w.deliver(demo, strings.NewReader("rubbish"), w.set(demo, "refs/nostr/"+st.Issue(bob, 0).ID, p1)); !fault.Is(err, fault.Invalid) {
		t.Fatalf("rubbish: %v", err)
	}
	p, err := w.s.Enter(t.Context(), demo, []grasp.RefChange{w.set(demo, "main", blob)})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Deliver(t.Context(), nil, nil); !fault.Is(err, fault.Invalid) {
		t.Fatalf("no pack: %v", err)
	}
	w.wantRef(demo, "main", c1)
	w.settleTwice("demo")
	w.breaches()
}

// H-253, H-254: bounds of one delivery and of PR refs.
func TestPushLimits(t *testing.T) {
	w := newWorld(t, func(c *steward.Config) {
		c.MaxPack, c.MaxPullPack, c.MaxObjects, c.MaxPullRefs, c.MaxOrphanRefs = 200, 100, 3, 2, 3
	})
	w.live(demo)
	w.keeps(st.State(alice, "demo", 3, "main", string(c3.ID)))
	pull := func(i int) string { return "refs/nostr/" + st.Issue(bob, i).ID }
	tooLarge := func(err error) {
		t.Helper()
		if !fault.Is(err, fault.TooLarge) {
			t.Fatal(err)
		}
	}
	tooLarge(w.deliver(demo, st.Pack(c1, c2, c3, x2), w.set(demo, "main", c3)))
	tooLarge(w.deliver(demo, st.Pack(c1, p1), w.set(demo, pull(0), p1))) // as a PR it may be smaller only
	tooLarge(w.push(demo, w.set(demo, pull(0), c1), w.set(demo, pull(1), c1), w.set(demo, pull(2), c1)))
	w.pushes(demo, w.set(demo, pull(0), c1), w.set(demo, pull(1), c1))
	w.pushes(demo, w.set(demo, pull(2), c1))
	tooLarge(w.push(demo, w.set(demo, pull(3), c1)))
	if err := w.deliver(demo, st.Pack(p1), w.set(demo, pull(2), p1)); err != nil { // it is there already
		t.Fatal(err)
	}
	w.sweep(21 * time.Minute)
	w.pushes(demo, w.set(demo, pull(3), c1))
	w.ok()
}

// slowPack gives its first bytes at once and the rest when it is told to.
type slowPack struct {
	first, rest io.Reader
	reached     chan struct{} // closed when the first bytes are read
	more        chan struct{} // closed when the rest may come
}

func slow(objects ...st.Object) *slowPack {
	raw, _ := io.ReadAll(st.Pack(objects...))
	return &slowPack{
		first: bytes.NewReader(raw[:5]), rest: bytes.NewReader(raw[5:]),
		reached: make(chan struct{}), more: make(chan struct{}),
	}
}

func (p *slowPack) Read(b []byte) (int, error) {
	if n, err := p.first.Read(b); err == nil {
		return n, nil
	}
	select {
	case <-p.reached:
	default:
		close(p.reached)
	}
	<-p.more
	return p.rest.Read(b)
}

// during starts a push and calls f while its bytes flow.
func (w *world) during(repo grasp.Addr, objects []st.Object, f func(), updates ...grasp.RefChange) error {
	w.t.Helper()
	pack := slow(objects...)
	out := make(chan error, 1)
	go func() { out <- w.deliver(repo, pack, updates...) }()
	select {
	case <-pack.reached:
	case err := <-out:
		return err
	}
	f()
	close(pack.more)
	return <-out
}

// What authorised a push may change while its bytes flow: it is decided again, and nobody waits for
// the slow pusher (architecture §6). N-034, G01-903, check 179, 269.
func TestWhileBytesFlow(t *testing.T) {
	for _, c := range []struct {
		what string
		f    func(w *world, s string)
		code fault.Code
		rule string // "" and code Internal: accepted
	}{
		{"nothing", func(*world, string) {}, fault.Internal, ""},
		{"the state is deleted", func(w *world, s string) { w.serves(st.Delete(alice, 9, s)) }, fault.Refused, "G01-503"},
		{"a newer state comes", func(w *world, s string) {
			w.keeps(st.State(alice, "demo", 8, "main", string(c3.ID)))
		}, fault.Internal, ""},
		{"a newer state is released", func(w *world, s string) {
			w.serves(st.State(alice, "demo", 8, "main", string(c1.ID)))
		}, fault.Refused, "G01-503"},
		{"the maintainer goes", func(w *world, s string) {
			w.serves(st.Announce(demo, 8))
			w.serves(st.Delete(alice, 9, s))
		}, fault.Refused, "G01-503"},
		{"the repository is withdrawn", func(w *world, s string) {
			w.serves(st.AnnounceAt(demo, 8, "elsewhere.net"))
		}, fault.Refused, "G01-115"},
		{"the repository is deleted", func(w *world, s string) {
			w.serves(st.Delete(alice, 8, demo.Coordinate()))
		}, fault.Gone, ""},
		{"the same push is faster", func(w *world, s string) {
			w.pushes(demo, w.set(demo, "main", c2))
		}, fault.Internal, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			w := newWorld(t)
			w.live(demo, bob)
			s := st.State(alice, "demo", 5, "main", string(c2.ID))
			w.keeps(s)
			err := w.during(demo, []st.Object{c1, c2}, func() { c.f(w, s.ID) }, w.set(demo, "main", c2))
			switch {
			case c.rule != "":
				w.refusal(err, c.rule, "", c.what)
				w.wantRef(demo, "main", c1)
			case c.code != fault.Internal:
				if !fault.Is(err, c.code) {
					t.Fatalf("got %v, want %s", err, c.code)
				}
			case err != nil:
				t.Fatal(err)
			default:
				w.wantRef(demo, "main", c2)
				w.wantShelf(grasp.Served, st.State(alice, "demo", 5, "main", string(c2.ID)))
			}
			if err := w.s.Settle(t.Context(), "demo"); err != nil {
				t.Fatal(err)
			}
			w.ok()
		})
	}
}

// ctx ends a push only until its refs begin to move, and a push that broke off leaves nothing.
func TestPushBreaksOff(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	s := st.State(alice, "demo", 5, "main", string(c2.ID))
	w.keeps(s)
	p, err := w.s.Enter(t.Context(), demo, []grasp.RefChange{w.set(demo, "main", c2)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	pack := slow(c2)
	out := make(chan error, 1)
	go func() { out <- p.Deliver(ctx, pack, nil) }()
	<-pack.reached
	cancel(errors.New("hung up"))
	close(pack.more)
	if err := <-out; err == nil {
		t.Fatal("the push went on")
	}
	p.Close()
	w.wantRef(demo, "main", c1)
	w.settleTwice("demo")
	w.wantShelf(grasp.Waiting, s)
	w.pushes(demo, w.set(demo, "main", c2))
	w.ok()
}

// Progress reaches the person who pushes.
func TestProgress(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	p, err := w.s.Enter(t.Context(), demo, []grasp.RefChange{w.set(demo, "refs/nostr/"+st.Issue(bob, 0).ID, p1)})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var lines []string
	if err := p.Deliver(t.Context(), st.Pack(p1), func(l string) { lines = append(lines, l) }); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(lines) != "[1 objects]" {
		t.Fatalf("progress %q", lines)
	}
}

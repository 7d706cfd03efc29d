package steward_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
	st "github.com/gitroost/gitroost/internal/steward/stewardtest"
)

func (w *world) wantNoBoxes() {
	w.t.Helper()
	for _, a := range w.disk.Folders() {
		if a.Box {
			w.t.Errorf("%s is there", a)
		}
	}
	if list := w.mem.Orphans(); len(list) > 0 {
		w.t.Errorf("placeholders: %v", list)
	}
}

// G06-01: closed, there are no boxes; what was left in them goes in its time all the same.
func TestBoxesAreClosed(t *testing.T) {
	w := newWorld(t)
	w.pushes(carolsBox, w.set(carolsBox, "refs/nostr/"+st.Issue(bob, 9).ID, p1))
	w.cfg.Boxes = false
	w.restart()
	if err := w.push(carolsBox, w.set(carolsBox, "refs/nostr/"+st.Issue(bob, 8).ID, p1)); !fault.Is(err, fault.NotFound) {
		t.Errorf("a push to a closed box: %v", err)
	}
	w.wantHosting(carolsBox, grasp.NotHosted)
	w.refuses(st.Proposal(carol, 2, p1.ID, far), "G01-801", "must reference")
	w.sweep(21 * time.Minute)
	w.wantNoBoxes()
	w.ok()
}

// G06-06, G01-707: a push of what is there already starts the clock anew, and its owner's deadline only.
func TestBoxPushedAsItIs(t *testing.T) {
	w := newWorld(t)
	ref := "refs/nostr/" + st.Issue(bob, 9).ID
	w.pushes(carolsBox, w.set(carolsBox, ref, p1))
	w.pushes(bobsBox, w.set(bobsBox, ref, p1))
	w.sweep(15 * time.Minute)
	w.pushes(carolsBox, w.set(carolsBox, ref, p1))
	w.sweep(6 * time.Minute)
	w.wantRef(carolsBox, ref, p1)
	w.wantNoRef(bobsBox, ref)
	w.ok()
	w.sweep(15 * time.Minute)
	w.wantNoBoxes()
	w.ok()
}

// H-254: PR refs that wait are bounded in a box as anywhere.
func TestBoxIsBounded(t *testing.T) {
	w := newWorld(t, func(c *steward.Config) { c.MaxOrphanRefs, c.MaxPullRefs = 2, 2 })
	ref := func(n int) string { return "refs/nostr/" + st.Issue(bob, n).ID }
	err := w.push(carolsBox, w.set(carolsBox, ref(1), p1), w.set(carolsBox, ref(2), p1), w.set(carolsBox, ref(3), p1))
	if !fault.Is(err, fault.TooLarge) {
		t.Errorf("three refs at once: %v", err)
	}
	w.pushes(carolsBox, w.set(carolsBox, ref(1), p1), w.set(carolsBox, ref(2), p1))
	if err := w.push(carolsBox, w.set(carolsBox, ref(3), p1)); !fault.Is(err, fault.TooLarge) {
		t.Errorf("a third ref: %v", err)
	}
	w.pushes(bobsBox, w.set(bobsBox, ref(3), p1)) // somebody else is not bothered
	mine := st.Proposal(carol, 4, p1.ID, far)
	w.keeps(mine)
	w.pushes(carolsBox, w.set(carolsBox, pullRef(mine), p1)) // it has its event
	w.ok()
}

// G06-09: a pull request of two identifiers, whose commit is in the box of one.
func TestBoxOfAnotherIdentifier(t *testing.T) {
	for _, gitFirst := range []bool{false, true} {
		w := newWorld(t)
		other := grasp.Addr{Owner: alice, ID: "other"}
		w.live(demo)
		w.live(other)
		w.wantTold(w.told...)
		wide := st.Proposal(carol, 5, p1.ID, demo, other)
		push := func() { w.pushes(carolsBox, w.set(carolsBox, pullRef(wide), p1)) }
		if gitFirst {
			push()
			w.serves(wide)
		} else {
			w.keeps(wide)
			push()
		}
		w.wantTold(wide)
		w.wantRef(demo, pullRef(wide), p1)
		w.wantRef(other, pullRef(wide), p1)
		w.ok()
		w.serves(st.Delete(carol, 6, wide.ID))
		w.wantNoRef(demo, pullRef(wide))
		w.wantNoRef(other, pullRef(wide))
		w.wantNoBoxes()
		w.ok()
	}
}

// G06-06: whatever an event says, what was pushed under its id and is not what it says goes; what it
// says is released.
func TestDisown(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	second := grasp.Addr{Owner: carol, ID: "second", Box: true}
	mine := st.Proposal(carol, 3, p1.ID, demo)
	for _, box := range []grasp.Addr{carolsBox, bobsBox, second} {
		w.pushes(box, w.set(box, pullRef(mine), p1))
	}
	w.serves(mine)
	w.wantRef(carolsBox, pullRef(mine), p1)
	w.wantNoRef(bobsBox, pullRef(mine))
	w.wantNoRef(second, pullRef(mine))
	w.ok()
	for _, ev := range []*nostr.Event{
		st.Issue(carol, 4, demo), // of another kind
		st.Event(carol, grasp.KindPull, 5, "", nostr.Tag{"a", demo.Coordinate()}), // without a commit
		st.Pull(carol, 6, p1.ID, grasp.Addr{Owner: bob, ID: "nothing"}),           // about something else, and refused
		st.Proposal(carol, 7, p2.ID, far),                                         // of another commit
		st.Proposal(bob, 8, p1.ID, far),                                           // by somebody else
		st.Event(carol, 1, 9, "hello"),                                            // about nothing at all
	} {
		w.pushes(carolsBox, w.set(carolsBox, pullRef(ev), p1))
		_, _ = w.receive(ev)
		w.wantNoRef(carolsBox, pullRef(ev))
		w.ok()
	}
	// An update without a tags is about what its pull request is about (G01-709).
	up := st.Event(carol, grasp.KindPullUpdate, 9, "", nostr.Tag{"E", mine.ID}, nostr.Tag{"c", string(p2.ID)})
	w.pushes(carolsBox, w.set(carolsBox, pullRef(up), p2))
	w.serves(up)
	w.wantRef(demo, pullRef(up), p2)
	w.ok()
}

// G06-12: a box is not taken away from under somebody who pushes to it.
func TestBoxWithAPushUnderWay(t *testing.T) {
	for _, arrives := range []bool{true, false} {
		w := newWorld(t)
		old, late := st.Issue(bob, 8), st.Issue(bob, 9)
		w.pushes(carolsBox, w.set(carolsBox, pullRef(old), p1))
		w.clock.Advance(21 * time.Minute)
		p, err := w.s.Enter(t.Context(), carolsBox, []grasp.RefChange{w.set(carolsBox, pullRef(late), p2)})
		if err != nil {
			t.Fatal(err)
		}
		packs, feed := io.Pipe()
		done := make(chan error, 1)
		go func() { done <- p.Deliver(context.Background(), packs, nil) }()
		if _, err := feed.Write([]byte("PACK\n")); err != nil { // it is being read
			t.Fatal(err)
		}
		w.sweep(0)
		w.wantNoRef(carolsBox, pullRef(old))
		if _, _, there := w.disk.Refs(carolsBox); !there {
			t.Error("the box was removed during a push")
		}
		if arrives {
			rest, _ := io.ReadAll(packFor([]grasp.RefChange{{New: p2.ID}}))
			if _, err := feed.Write(rest[len("PACK\n"):]); err != nil {
				t.Fatal(err)
			}
			feed.Close()
		} else {
			feed.CloseWithError(io.ErrUnexpectedEOF)
		}
		if err := <-done; (err == nil) != arrives {
			t.Errorf("the push that arrives %t: %v", arrives, err)
		}
		p.Close()
		w.sweep(0)
		w.ok()
		w.sweep(21 * time.Minute)
		w.wantNoBoxes()
		w.ok()
	}
}

// What comes into boxes at the same time as everything else ends in agreement.
func TestBoxesConcurrently(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	var events []*nostr.Event
	for i := range 8 {
		events = append(events, st.Proposal(carol, 10+i, p1.ID, demo, far))
	}
	errs := make(chan error, 2*len(events))
	for _, ev := range events {
		go func() {
			u := grasp.RefChange{Ref: grasp.RefName(pullRef(ev)), Old: grasp.ZeroOID, New: p1.ID}
			errs <- w.deliver(carolsBox, packFor([]grasp.RefChange{u}), u)
		}()
		go func() { _, err := w.receive(ev); errs <- err }()
	}
	for range 2 * len(events) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	for _, ev := range events {
		w.wantShelf(grasp.Served, ev)
		w.wantRef(carolsBox, pullRef(ev), p1)
		w.wantRef(demo, pullRef(ev), p1)
	}
	w.ok()
	w.settleTwice("demo")
}

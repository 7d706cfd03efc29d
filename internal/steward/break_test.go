package steward_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	st "github.com/gitroost/gitroost/internal/steward/stewardtest"
)

// An act is one thing that a visitor or the clock does. A visitor who gets no answer does it again.
type act struct {
	event *nostr.Event // either this,
	push  []grasp.RefChange
	to    grasp.Addr // with push
	sweep bool
	fetch []grasp.RefChange // what is brought to to from elsewhere, as if these refs were pushed
	deny  string            // a rule of the operator, as the tests of moderation write it, or
	lift  string            // the end of one
}

func say(ev *nostr.Event) act { return act{event: ev} }

func pushTo(repo grasp.Addr, updates ...grasp.RefChange) act { return act{push: updates, to: repo} }

func fetchTo(repo grasp.Addr, updates ...grasp.RefChange) act { return act{fetch: updates, to: repo} }

var clockTicks = act{sweep: true}

// to is an update, whatever the ref is now.
func to(ref string, o st.Object) grasp.RefChange {
	return grasp.RefChange{Ref: grasp.RefName(st.FullName(ref)), New: o.ID}
}

func (w *world) do(a act) error {
	switch {
	case a.event != nil:
		_, err := w.receive(a.event)
		return err
	case a.sweep:
		return w.s.Sweep(context.Background(), w.clock.Now())
	case a.fetch != nil:
		return w.adopt(a.to, a.fetch...)
	case a.deny != "":
		_, err := w.deny(a.deny)
		return err
	case a.lift != "":
		_, err := w.s.Withdraw(context.Background(), about(w.t, a.lift), grasp.Deny)
		return err
	}
	updates := make([]grasp.RefChange, len(a.push))
	for i, u := range a.push { // whoever pushes has fetched
		updates[i] = w.set(a.to, string(u.Ref), st.Object{ID: u.New})
	}
	return w.push(a.to, updates...)
}

// kept says whether what a was answered ok for is still so, given what came of it when nothing
// failed (I1, I2).
func (w *world) kept(a act, calm *world) error {
	if a.event != nil && w.mem.Shelf(a.event.ID) == grasp.Nowhere && calm.mem.Shelf(a.event.ID) != grasp.Nowhere {
		return fmt.Errorf("%s was answered OK and is gone", name(a.event))
	}
	for _, u := range a.push {
		is, should := w.ref(a.to, string(u.Ref)), calm.ref(a.to, string(u.Ref))
		if is != should && should == u.New {
			return fmt.Errorf("the push of %s was answered ok and it is at %q", u.Ref, is.Short())
		}
	}
	return nil
}

type story struct {
	name  string
	setup func(w *world)
	acts  []act
}

// stories are what the break table goes through.
func stories() []story {
	ann, bobs := st.Announce(demo, 0, bob), st.Announce(bobsDemo, 1, alice)
	state := st.State(alice, "demo", 2, "main", string(c2.ID), "HEAD", "ref: refs/heads/main")
	two := st.State(alice, "demo", 2, "main", string(c2.ID), "dev", string(x2.ID), "HEAD", "ref: refs/heads/main")
	pr := st.Pull(carol, 3, p1.ID, demo, bobsDemo)
	prRef := pullRef(pr)
	live := func(w *world) { w.live(demo, bob) }
	mine, away := st.Proposal(carol, 3, p1.ID, demo, far), st.Proposal(carol, 4, p1.ID, far)
	mineRef, awayRef := pullRef(mine), pullRef(away)
	theirs := st.Proposal(bob, 3, p1.ID, demo)
	return []story{
		{"announcement, state and push", func(*world) {}, []act{
			say(ann), say(state), pushTo(demo, to("main", c2)),
		}},
		{"state, and its data from elsewhere", live, []act{
			say(state), fetchTo(demo, to("main", c2)),
		}},
		{"announcement and state, and parts of the data from elsewhere", func(w *world) { w.keeps(ann, bobs, two) }, []act{
			fetchTo(demo, to("main", c2)), fetchTo(demo, to("dev", x2)),
		}},
		{"pull request, and its data from elsewhere", live, []act{
			say(pr), fetchTo(demo, to(prRef, p1)),
		}},
		{"state after data", live, []act{
			say(st.State(alice, "demo", 5, "dev", string(c1.ID), "HEAD", "ref: refs/heads/dev")),
		}},
		{"push to a sister as well", func(w *world) { w.keeps(ann, bobs) }, []act{
			say(state), pushTo(demo, to("main", c2)),
		}},
		{"announcement where the data is", func(w *world) { w.live(demo) }, []act{say(bobs)}},
		{"partial pushes", func(w *world) { w.keeps(ann, two) }, []act{
			pushTo(demo, to("main", c2)), pushTo(demo, to("dev", x2)),
		}},
		{"partial push over something", live, []act{
			say(two), pushTo(demo, to("main", c2)), pushTo(demo, to("dev", x2)),
		}},
		{"pull request, then its push", func(w *world) { live(w); w.serves(bobs) }, []act{
			say(pr), pushTo(demo, to(prRef, p1)),
		}},
		{"push, then its pull request", func(w *world) { live(w); w.serves(bobs) }, []act{
			pushTo(demo, to(prRef, p1)), say(pr),
		}},
		{"wrong push, then its pull request", live, []act{
			pushTo(demo, to(prRef, p2)), say(pr),
		}},
		{"mixed push", func(w *world) { live(w); w.keeps(pr, two) }, []act{
			pushTo(demo, to("main", c2), to("dev", x2), to(prRef, p1)),
		}},
		{"maintainer goes", func(w *world) {
			live(w)
			w.keeps(st.State(bob, "demo", 5, "main", string(c2.ID)))
			w.pushes(demo, w.set(demo, "main", c2))
		}, []act{say(st.Announce(demo, 6))}},
		{"withdrawal and return", live, []act{
			say(st.AnnounceAt(demo, 6, "elsewhere.net")), say(st.Announce(demo, 7)),
		}},
		{"eviction", func(w *world) {
			w.keeps(ann, two)
			w.pushes(demo, w.set(demo, "main", c2))
			w.live(bobsDemo, alice)
		}, []act{say(st.AnnounceAt(demo, 6, "elsewhere.net"))}},
		{"deletion of a waiting announcement", func(w *world) {
			w.keeps(ann, two)
			w.pushes(demo, w.set(demo, "main", c2), w.set(demo, prRef, p1))
		}, []act{say(st.Delete(alice, 6, demo.Coordinate())), say(st.Announce(demo, 7))}},
		{"deletion of a served announcement", live, []act{
			say(st.Delete(alice, 6, demo.Coordinate())), say(st.Announce(demo, 7)),
		}},
		{"deletion of everything", func(w *world) { live(w); w.keeps(two, pr) }, []act{
			say(st.Delete(alice, 6, two.ID, "30618:"+string(alice)+":demo")), say(st.Delete(carol, 7, pr.ID)),
		}},
		{"request to vanish", func(w *world) {
			live(w)
			w.serves(bobs)
			w.keeps(st.State(alice, "demo", 5, "main", string(c2.ID)))
			w.pushes(demo, w.set(demo, "main", c2))
		}, []act{say(vanish(alice, 9, "ALL_RELAYS"))}},
		{"a contributor vanishes", func(w *world) {
			live(w)
			w.serves(bobs)
			w.keeps(pr)
			w.pushes(demo, w.set(demo, prRef, p1))
		}, []act{say(vanish(carol, 9, "ALL_RELAYS"))}},
		{"expiry of everything that waits", func(w *world) {
			w.keeps(ann, two)
			w.pushes(demo, w.set(demo, "main", c2), w.set(demo, prRef, p1))
			w.clock.Advance(31 * time.Minute)
		}, []act{clockTicks}},
		{"expiry after a partial push", func(w *world) {
			live(w)
			w.keeps(two)
			w.pushes(demo, w.set(demo, "main", c2))
			w.clock.Advance(31 * time.Minute)
		}, []act{clockTicks}},
		{"orphan", func(w *world) {
			live(w)
			w.pushes(demo, w.set(demo, prRef, p1))
			w.clock.Advance(21 * time.Minute)
		}, []act{clockTicks}},
		{"orphan pushed again", func(w *world) {
			live(w)
			w.pushes(demo, w.set(demo, prRef, p1))
			w.clock.Advance(21 * time.Minute)
		}, []act{pushTo(demo, to(prRef, p2))}},
		{"box, then its event", live, []act{pushTo(carolsBox, to(mineRef, p1)), say(mine)}},
		{"event, then its box", live, []act{say(mine), pushTo(carolsBox, to(mineRef, p1))}},
		{"box and event for elsewhere", func(*world) {}, []act{pushTo(carolsBox, to(awayRef, p1)), say(away)}},
		{"event for elsewhere, then its box", func(*world) {}, []act{say(away), pushTo(carolsBox, to(awayRef, p1))}},
		{"box, and its event says something else", live, []act{pushTo(carolsBox, to(mineRef, p2)), say(mine)}},
		{"box, and the event is somebody else's", live, []act{
			pushTo(carolsBox, to(pullRef(theirs), p1), to(awayRef, p1)), say(theirs), say(away),
		}},
		{"box without an event", func(w *world) {
			w.pushes(carolsBox, w.set(carolsBox, awayRef, p1))
			w.clock.Advance(21 * time.Minute)
		}, []act{clockTicks}},
		{"box pushed to again", func(w *world) {
			w.pushes(carolsBox, w.set(carolsBox, awayRef, p1))
			w.clock.Advance(21 * time.Minute)
		}, []act{pushTo(carolsBox, to(awayRef, p2))}},
		{"box that brings what a state waits for", func(w *world) {
			live(w)
			w.keeps(st.State(alice, "demo", 5, "main", string(p1.ID)), mine)
		}, []act{pushTo(carolsBox, to(mineRef, p1))}},
		{"deletion of what is in a box", func(w *world) {
			live(w)
			w.pushes(carolsBox, w.set(carolsBox, mineRef, p1), w.set(carolsBox, awayRef, p1))
			w.serves(mine, away)
		}, []act{say(st.Delete(carol, 6, mine.ID)), say(st.Delete(carol, 7, away.ID))}},
		{"the owner of a box vanishes", func(w *world) {
			live(w)
			w.pushes(carolsBox, w.set(carolsBox, mineRef, p1), w.set(carolsBox, awayRef, p1))
			w.serves(mine, away)
		}, []act{say(vanish(carol, 9, "ALL_RELAYS"))}},
		{"what is in a box expires", func(w *world) {
			live(w)
			soon := st.Expiring(mine, 100)
			w.pushes(carolsBox, w.set(carolsBox, pullRef(soon), p1))
			w.serves(soon)
			w.clock.Advance(time.Hour)
		}, []act{clockTicks}},
		{"end of grace", func(w *world) {
			live(w)
			w.serves(st.AnnounceAt(demo, 6, "elsewhere.net"))
			w.clock.Advance(31 * 24 * time.Hour)
		}, []act{clockTicks, say(st.Announce(demo, 7))}},
		{"a repository is denied", func(w *world) { // and comes back with its data
			w.live(demo, bob)
			w.serves(bobs, st.Issue(carol, 4, demo))
			w.keeps(two, pr)
		}, []act{{deny: "repository " + string(alice) + "/demo"}, {lift: "repository " + string(alice) + "/demo"}, say(st.Announce(demo, 7, bob))}},
		{"a maintainer is denied", func(w *world) {
			live(w)
			w.serves(bobs)
			w.keeps(st.State(bob, "demo", 5, "main", string(c2.ID)))
			w.pushes(demo, w.set(demo, "main", c2))
		}, []act{{deny: "author " + string(bob)}, clockTicks}},
		{"an owner is denied while things wait", func(w *world) { w.keeps(ann, two) }, []act{{deny: "author " + string(alice)}}},
		{"a contributor is denied", func(w *world) {
			live(w)
			w.serves(bobs)
			w.keeps(pr)
			w.pushes(demo, w.set(demo, prRef, p1))
		}, []act{{deny: "author " + string(carol)}, clockTicks}},
		{"the owner of a box is denied", func(w *world) {
			mine := st.Proposal(carol, 2, p1.ID, far)
			w.keeps(mine)
			w.pushes(carolsBox, w.set(carolsBox, pullRef(mine), p1))
		}, []act{{deny: "author " + string(carol)}, clockTicks}},
		{"an event is denied", func(w *world) { live(w); w.keeps(two) }, []act{{deny: "event " + two.ID}, {deny: "event " + ann.ID}}},
		{"announcement expires", func(w *world) {
			live(w)
			w.serves(st.Expiring(st.Announce(demo, 5, bob), 100))
			w.clock.Advance(time.Hour)
		}, []act{clockTicks}},
	}
}

// What fails, and what comes after.
var breakages = []struct {
	name    string
	after   bool // it happened and was reported as failed
	deadly  bool // the process died there
	restart bool // a new process finishes; otherwise this one does
}{
	{"did not happen, goes on", false, false, false},
	{"happened, goes on", true, false, false},
	{"did not happen, restart", false, false, true},
	{"happened, restart", true, false, true},
	{"died before", false, true, true},
	{"died after", true, true, true},
}

// TestBreak is the break table: every call to the ledger and the vault is made to fail, in every
// way, once, and then the world must come to the same end as if it had not (architecture §5,
// hardening §12 I1, I2, I3, I7, G4).
func TestBreak(t *testing.T) {
	for _, s := range stories() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			calm := newWorld(t)
			s.setup(calm)
			calm.brk.Count()
			for i, a := range s.acts {
				if err := calm.do(a); err != nil {
					t.Fatalf("act %d, when nothing fails: %v", i, err)
				}
			}
			steps := calm.brk.Steps()
			calm.brk.Mend()
			calm.sweep(0)
			calm.ok()
			end := calm.print()
			for _, step := range steps {
				for _, how := range breakages {
					t.Run(step+" "+how.name, func(t *testing.T) {
						w := newWorld(t)
						s.setup(w)
						w.brk.Break(step, how.after, how.deadly)
						errs := make([]error, len(s.acts))
						for i, a := range s.acts {
							errs[i] = w.do(a)
							if errs[i] != nil {
								for j := i + 1; j < len(errs); j++ {
									errs[j] = errs[i] // one waits for the answer to the other
								}
								break
							}
						}
						if !w.brk.Mend() {
							t.Fatalf("the call that was to fail never came")
						}
						w.breaches()
						w.recover(how.restart)
						for i, a := range s.acts {
							if errs[i] == nil {
								if err := w.kept(a, calm); err != nil {
									t.Error(err)
								}
							}
						}
						for i, a := range s.acts {
							if errs[i] != nil {
								if err := w.do(a); err != nil {
									t.Logf("act %d again: %v", i, err)
								}
							}
						}
						w.sweep(0)
						w.ok()
						if got := w.print(); got != end {
							t.Errorf("it ended as\n%s\nwant\n%s", got, end)
						}
						w.settleTwice("demo")
						w.ok()
					})
				}
			}
			t.Logf("%d steps", len(steps))
		})
	}
}

// recover brings everything into agreement after a fault, as far as the desk promises to do by
// itself: at start, or at the next sweep.
func (w *world) recover(restart bool) {
	w.t.Helper()
	if restart {
		w.restart()
		w.breaches()
		if err := w.agree(); err != nil {
			w.t.Errorf("after the start: %v", err)
		}
	}
	w.sweep(0)
	w.breaches()
	if err := w.agree(); err != nil {
		w.t.Errorf("after the fault: %v", err)
	}
}

package steward_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	st "github.com/gitroost/gitroost/internal/steward/stewardtest"
)

var seed = flag.Uint64("seed", 0, "of the random sequences; 0 takes a few fixed ones and a new one")

// TestRandomSequences does things at random, most of them sensible, some of them failing halfway,
// and looks after each whether everything still agrees (I1, I2, I3, I7).
func TestRandomSequences(t *testing.T) {
	if *seed != 0 {
		randomSequence(t, *seed)
		return
	}
	n := uint64(40)
	if testing.Short() {
		n = 10
	}
	for s := range n {
		t.Run(fmt.Sprint(s+1), func(t *testing.T) { randomSequence(t, s+1) })
	}
	s := rand.Uint64()
	t.Run(fmt.Sprint(s), func(t *testing.T) { randomSequence(t, s) })
}

// A player makes random moves in a world.
type player struct {
	*world
	r      *rand.Rand
	log    []string
	at     int // created_at of the next event
	events []*nostr.Event
	pulls  []*nostr.Event
}

func randomSequence(t *testing.T, seed uint64) {
	p := &player{world: newWorld(t), r: rand.New(rand.NewPCG(seed, seed))}
	defer func() {
		if t.Failed() {
			for _, l := range p.log {
				t.Log(l)
			}
			t.Logf("again: go test -run TestRandomSequences -seed %d", seed)
		}
	}()
	p.live(demo, bob)
	for i := range 80 {
		p.at++
		p.move()
		if t.Failed() {
			return
		}
		if i%4 == 3 {
			p.check()
		}
	}
	p.sweep(time.Hour)
	p.check()
	p.settleTwice("demo")
}

func (p *player) note(format string, args ...any) {
	p.log = append(p.log, fmt.Sprintf(format, args...))
}

func pick[T any](p *player, list ...T) T { return list[p.r.IntN(len(list))] }

func (p *player) repo() grasp.Addr {
	return grasp.Addr{Owner: pick(p, alice, alice, bob, carol), ID: "demo"}
}

func (p *player) tip() st.Object { return pick(p, c1, c2, c3, x2) }

// move does one thing. Every fifth is broken in the middle, and then it is done again.
func (p *player) move() {
	p.t.Helper()
	if len(p.log)%3 == 0 {
		p.s.Rest()
	}
	what, f := p.choose()
	if p.r.IntN(5) > 0 {
		err := f()
		p.note("%s: %v", what, err)
		p.expected(err)
		return
	}
	step := pick(p, "Commit", "Commit", "Commit", "Apply", "Apply", "Refs", "Have", "View", "Copy", "Admit", "Remove", "Unrecorded", "Event", "Lookup") +
		fmt.Sprintf("#%d", 1+p.r.IntN(3))
	after, deadly := p.r.IntN(2) == 0, p.r.IntN(3) == 0
	p.brk.Break(step, after, deadly)
	err := f()
	fired := p.brk.Mend()
	p.note("%s, breaking %s (after %t, deadly %t, came %t): %v", what, step, after, deadly, fired, err)
	if deadly && fired || p.r.IntN(3) == 0 {
		p.note("restart")
		p.restart()
	}
	if err := p.s.Sweep(p.t.Context(), p.clock.Now()); err != nil {
		p.t.Errorf("sweep: %v", err)
	}
	p.check()
	if err != nil {
		err = f()
		p.note("again: %v", err)
		p.expected(err)
	}
}

// expected allows refusals, and nothing else.
func (p *player) expected(err error) {
	p.t.Helper()
	switch {
	case err == nil, fault.Is(err, fault.Refused), fault.Is(err, fault.Stale), fault.Is(err, fault.Gone):
	default:
		p.t.Errorf("unexpected: %v", err)
	}
}

func (p *player) check() {
	p.t.Helper()
	p.breaches()
	if err := p.agree(); err != nil {
		p.t.Error(err)
	}
}

func (p *player) say(ev *nostr.Event) (string, func() error) {
	p.events = append(p.events, ev)
	return name(ev), func() error {
		_, err := p.receive(ev)
		if err == nil && ev.Kind == grasp.KindIssue && p.mem.Shelf(ev.ID) != grasp.Served {
			p.t.Errorf("%s was accepted and is not served", name(ev))
		}
		return err
	}
}

func (p *player) choose() (string, func() error) {
	repo := p.repo()
	switch n := p.r.IntN(100); {
	case n < 12: // announce, with some maintainers, here or elsewhere
		var m []grasp.PubKey
		for _, k := range []grasp.PubKey{alice, bob, carol} {
			if p.r.IntN(2) == 0 {
				m = append(m, k)
			}
		}
		return p.say(st.AnnounceAt(repo, p.at, pick(p, st.Host, st.Host, st.Host, "elsewhere.net"), m...))
	case n < 40: // a state, now and then an old one
		at := p.at
		if p.r.IntN(6) == 0 {
			at = p.r.IntN(p.at)
		}
		var pairs []string
		for _, b := range []string{"main", "dev", "old"} {
			if p.r.IntN(3) > 0 {
				pairs = append(pairs, b, string(p.tip().ID))
			}
		}
		return p.say(st.State(repo.Owner, "demo", at, append(pairs, "HEAD", "ref: refs/heads/"+pick(p, "main", "dev"))...))
	case n < 65: // push what some state says, whole or in part
		f := p.facts("demo")
		var states []grasp.State
		states = append(states, f.states(repo.Owner)...)
		if len(states) == 0 {
			return "nothing to push", func() error { return nil }
		}
		s := states[p.r.IntN(min(2, len(states)))]
		part := p.r.IntN(3) == 0
		var updates []grasp.RefChange
		for _, ref := range s.Refs.Sorted() {
			if !part || p.r.IntN(2) == 0 {
				updates = append(updates, p.set(repo, string(ref), st.Object{ID: s.Refs[ref]}))
			}
		}
		now, _, _ := p.disk.Refs(repo)
		for _, ref := range now.Sorted() {
			if _, ok := s.Refs[ref]; !ok && !part && ref.IsHead() {
				updates = append(updates, p.del(repo, string(ref)))
			}
		}
		return p.pushOf(repo, updates)
	case n < 72:
		ev := st.Pull(carol, p.at, pick(p, p1, p2).ID, repo)
		p.pulls = append(p.pulls, ev)
		return p.say(ev)
	case n < 76: // a pull request into a box: its author's or not, now and then before there is an event
		box := pick(p, carolsBox, carolsBox, bobsBox)
		ev := st.Proposal(box.Owner, p.at, pick(p, p1, p2).ID, pick(p, demo, far))
		if len(p.pulls) > 0 && p.r.IntN(3) > 0 {
			ev = p.pulls[p.r.IntN(len(p.pulls))]
		} else {
			p.pulls = append(p.pulls, ev)
		}
		return p.pushOf(box, []grasp.RefChange{p.set(box, pullRef(ev), pick(p, p1, p2))})
	case n < 77 && len(p.pulls) > 0: // an event that may have been pushed before it came
		return p.say(p.pulls[p.r.IntN(len(p.pulls))])
	case n < 80: // the ref of a pull request, at its tip or not
		ev := st.Pull(carol, p.at, pick(p, p1, p2).ID, repo)
		if len(p.pulls) > 0 && p.r.IntN(3) > 0 {
			ev = p.pulls[p.r.IntN(len(p.pulls))]
		}
		return p.pushOf(repo, []grasp.RefChange{p.set(repo, pullRef(ev), pick(p, p1, p2))})
	case n < 82:
		return p.say(st.Issue(carol, p.at, repo))
	case n < 84: // a proposal, whose commit is in a box of its author
		author := pick(p, carol, carol, bob)
		ev := st.Proposal(author, p.at, pick(p, p1, p2).ID, pick(p, repo, far))
		p.pulls = append(p.pulls, ev)
		return p.say(ev)
	case n < 89 && len(p.events) > 0: // delete something
		ev := p.events[p.r.IntN(len(p.events))]
		what := ev.ID
		if c := grasp.CoordinateOf(ev); c != "" && p.r.IntN(2) == 0 {
			what = c
		}
		return p.say(st.Delete(grasp.PubKey(ev.PubKey), p.at, what))
	case n < 90:
		return p.say(vanish(repo.Owner, p.at-5, "ALL_RELAYS"))
	case n < 93 && len(p.events) > 0: // anybody can send old events again
		ev := p.events[p.r.IntN(len(p.events))]
		return "again " + name(ev), func() error { _, err := p.receive(ev); return err }
	case n < 97:
		d := time.Duration(p.r.IntN(25)) * time.Minute
		p.at += int(d / time.Second)
		w := p.clock.Advance(d)
		return fmt.Sprint("sweep after ", d), func() error { return p.s.Sweep(p.t.Context(), w) }
	default:
		return "restart", func() error { p.restart(); return nil }
	}
}

// states spells what the maintainers of repo say, newest first.
func (p *player) states(repo grasp.Addr) string {
	f, out := p.facts(repo.ID), ""
	for _, s := range f.states(repo.Owner) {
		out += fmt.Sprintf("%s, complete %t, %s:", name(s.Event), f.complete(s), s.Shelf)
		for _, r := range s.Refs.Sorted() {
			out += fmt.Sprintf(" %s=%s", r[11:], s.Refs[r].Short())
		}
		out += "; "
	}
	return out
}

// spokesman returns the newest complete state for repo.
func (p *player) spokesman(repo grasp.Addr) grasp.EventID {
	f := p.facts(repo.ID)
	for _, s := range f.states(repo.Owner) {
		if f.complete(s) {
			return s.ID
		}
	}
	return ""
}

func (p *player) pushOf(repo grasp.Addr, updates []grasp.RefChange) (string, func() error) {
	return fmt.Sprintf("push to %s %v", who(repo.Owner), updates), func() error {
		if h, err := p.s.Find(p.t.Context(), repo); err != nil || h != grasp.Live || len(updates) == 0 {
			return err // the door says so
		}
		for i := range updates {
			updates[i] = p.set(repo, string(updates[i].Ref), st.Object{ID: updates[i].New})
		}
		before, was := p.states(repo), p.spokesman(repo)
		if err := p.push(repo, updates...); err != nil {
			return err
		}
		if p.spokesman(repo) != was {
			return nil // the push completed a newer state than the one that granted it
		}
		for _, u := range updates { // I2
			if is := p.ref(repo, string(u.Ref)); is != u.New && !(u.New.IsZero() && is == "") {
				return fmt.Errorf("pushed %s to %s, and it is at %q; before %s; after %s", u.New.Short(), u.Ref, is, before, p.states(repo))
			}
		}
		return nil
	}
}

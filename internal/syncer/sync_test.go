package syncer_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/syncer"
)

const there = "wss://there.example"

// TestLevels: of a repository whose announcement waits only states are asked for (G02-04).
func TestLevels(t *testing.T) {
	w := newWorld(t)
	alice, bob := newKey(), newKey()
	w.serve(alice.announce("served:1", there)) // check 271: a colon is part of the name
	w.waiting = append(w.waiting, bob.announce("waits", there))
	f := w.relay(there)
	w.run()
	w.compared(there)
	filters, _ := f.live()
	for _, fs := range [][]nostr.Filter{filters, f.questions()} {
		var states, coords []string
		for _, one := range fs {
			if slices.Contains(one.Kinds, grasp.KindState) {
				states = append(states, one.Tags["d"]...)
			}
			for _, letter := range []string{"a", "A", "q"} {
				coords = append(coords, one.Tags[letter]...)
			}
		}
		slices.Sort(states)
		slices.Sort(coords)
		if got := slices.Compact(states); !slices.Equal(got, []string{"served:1", "waits"}) {
			t.Errorf("states of %q are asked for", got)
		}
		if got := slices.Compact(coords); !slices.Equal(got, []string{alice.coord("served:1")}) {
			t.Errorf("events about %q are asked for", got)
		}
	}
}

// TestRelease: when the only repository of a peer is released, everything about it is asked for.
func TestRelease(t *testing.T) {
	w := newWorld(t)
	alice := newKey()
	announcement := alice.announce("demo", there)
	w.waiting = append(w.waiting, announcement)
	issue := alice.sign(grasp.KindIssue, 1_700_000_100, "", nostr.Tag{"a", alice.coord("demo")})
	w.relay(there, announcement, issue)
	w.run()
	w.compared(there)
	if w.has(issue) {
		t.Fatal("it was taken while the announcement waits")
	}
	w.mu.Lock()
	w.waiting = nil
	w.mu.Unlock()
	w.serve(announcement)
	w.later("the issue", func() bool { return w.has(issue) })
}

// TestBringsAll: by reconciliation and by pages alike everything comes, threads included, and each event
// once (checks 236, 237, 238).
func TestBringsAll(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*fake)
	}{
		{"reconciliation", func(*fake) {}},
		{"pages", func(f *fake) {
			f.neg, f.document = false, `{"supported_nips":[1],"limitation":{"max_limit":10}}`
			f.page = 10
		}},
		{"pages of a size that is not told", func(f *fake) { f.neg, f.document, f.page = false, `{"supported_nips":[1]}`, 7 }},
		{"tried once", func(f *fake) { f.document = "" }},
		{"refused", func(f *fake) {
			f.script = func(l *line, verb, sub string, _ []json.RawMessage) bool {
				if verb == "NEG-OPEN" {
					l.say("NEG-ERR", sub, "blocked: this query is too big")
				}
				return verb == "NEG-OPEN"
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			alice, bob := newKey(), newKey()
			announcement := alice.announce("demo", there)
			w.serve(announcement)
			f := w.relay(there, announcement)
			c.set(f)
			var all []*nostr.Event
			for i := range 40 {
				all = append(all, bob.sign(grasp.KindIssue, 1_700_000_100+int64(i), fmt.Sprint(i), nostr.Tag{"a", alice.coord("demo")}))
			}
			for i, tag := range []nostr.Tag{{"A", alice.coord("demo")}, {"q", alice.coord("demo")}, {"E", all[3].ID}, {"e", all[4].ID}, {"q", all[5].ID}} {
				all = append(all, bob.sign(1111, 1_700_001_000+int64(i), "", tag))
			}
			all = append(all, alice.sign(grasp.KindState, 1_700_002_000, "", nostr.Tag{"d", "demo"}),
				alice.sign(grasp.KindDeletion, 1_700_002_000, "", nostr.Tag{"e", strings.Repeat("0", 64)}))
			f.events = append(f.events, all...)
			w.run()
			for _, ev := range all {
				w.until(fmt.Sprintf("kind %d %v", ev.Kind, ev.Tags), func() bool { return w.has(ev) })
			}
			w.compared(there)
			for _, ev := range all {
				if n := w.handed(ev); n != 1 {
					t.Errorf("kind %d was handed in %d times", ev.Kind, n)
				}
			}
			if st := w.mood(there); st.Bad > 0 {
				t.Errorf("an honest peer has %d faults", st.Bad)
			}
			// Live, and a thread that has just begun.
			late := bob.sign(grasp.KindIssue, 1_700_003_000, "late", nostr.Tag{"a", alice.coord("demo")})
			f.publish(late)
			w.until("a live issue", func() bool { return w.has(late) })
			early := bob.sign(1111, 1_700_003_001, "before we listened", nostr.Tag{"E", late.ID})
			f.publish(early)
			w.later("an answer to it that came before we listened", func() bool { return w.has(early) })
			answer := bob.sign(1111, 1_700_003_002, "after", nostr.Tag{"E", late.ID})
			f.publish(answer)
			w.until("an answer to it", func() bool { return w.has(answer) })
		})
	}
}

// TestTies: of 600 events of one second on a peer that tells 100 at a time as many come as it can tell,
// and it ends; of events of different seconds none is lost (check 272).
func TestTies(t *testing.T) {
	w := newWorld(t)
	alice := newKey()
	announcement := alice.announce("demo", there)
	w.serve(announcement)
	f := w.relay(there, announcement)
	f.neg, f.page, f.document = false, 100, `{"supported_nips":[1]}`
	var same, apart []*nostr.Event
	for i := range 600 {
		same = append(same, alice.sign(grasp.KindIssue, 1_700_000_500, fmt.Sprint(i), nostr.Tag{"a", alice.coord("demo")}))
	}
	for i := range 250 { // around it, two in each second
		apart = append(apart, alice.sign(grasp.KindIssue, 1_700_000_400+int64(i/2), fmt.Sprint("x", i), nostr.Tag{"a", alice.coord("demo")}))
	}
	apart = slices.DeleteFunc(apart, func(ev *nostr.Event) bool { return ev.CreatedAt == 1_700_000_500 })
	f.events = append(f.events, append(same, apart...)...)
	w.run()
	w.compared(there)
	n := 0
	for _, ev := range same {
		if w.has(ev) {
			n++
		}
	}
	if n < 100 {
		t.Errorf("%d events of one second came, 100 can be told at a time", n)
	}
	for _, ev := range apart {
		if !w.has(ev) {
			t.Errorf("the event of second %d is lost", ev.CreatedAt)
		}
	}
}

// TestRefusedIsNotFetchedAgain: what the rules did not want is not asked for again, over restarts, until
// other things are announced (check 245).
func TestRefusedIsNotFetchedAgain(t *testing.T) {
	w := newWorld(t)
	alice, bob := newKey(), newKey()
	announcement := alice.announce("demo", there)
	w.serve(announcement)
	refused := bob.announce("demo", there)
	deleted := alice.sign(grasp.KindIssue, 1_700_000_100, "", nostr.Tag{"a", alice.coord("demo")})
	lapsed := alice.sign(grasp.KindState, 1_700_000_100, "", nostr.Tag{"d", "demo"})
	busy := alice.sign(1111, 1_700_000_101, "", nostr.Tag{"a", alice.coord("demo")})
	f := w.relay(there, announcement, refused, deleted, lapsed, busy)
	tries := 0
	w.refuse = func(ev *nostr.Event) error {
		switch ev.ID {
		case refused.ID:
			return &grasp.Refusal{Rule: "G01-101", Prefix: grasp.Blocked, Text: "not listed", Unrelated: true}
		case deleted.ID:
			return &grasp.Refusal{Rule: "N-033", Prefix: grasp.Blocked, Text: "deleted"}
		case busy.ID:
			if tries++; tries == 1 {
				return &grasp.Refusal{Rule: "G01-408", Prefix: grasp.RateLimit, Text: "full"}
			}
		}
		return nil
	}
	w.before = func() { w.s.Lapsed(lapsed) }
	w.run()
	w.compared(there)
	if d := w.mood(there).Repass.Sub(w.clock.Now()); d > time.Hour {
		t.Errorf("what there was no room for is looked for again in %s", d)
	}
	day := func() {
		before := w.mood(there).Full
		w.clock.advance(25 * time.Hour)
		w.until("comparing once more", func() bool { w.beat(); return w.mood(there).Full.After(before) })
	}
	day()
	day()
	for name, ev := range map[string]*nostr.Event{"refused": refused, "deleted": deleted} {
		if n := f.fetched(ev); n != 1 {
			t.Errorf("the %s event was fetched %d times", name, n)
		}
	}
	if n := f.fetched(lapsed); n != 0 {
		t.Errorf("what nothing came for was fetched %d times", n)
	}
	if !w.has(busy) {
		t.Error("what there was no room for was not fetched again")
	}
	w.beat()
	w.stop()
	w.run()
	w.compared(there)
	day()
	if n := f.fetched(refused); n != 1 {
		t.Errorf("after a restart the refused event was fetched %d times", n)
	}
	// check 246: what was refused for want of another announcement gets its chance when that comes.
	w.refuse = func(*nostr.Event) error { return nil }
	w.serve(newKey().announce("demo", there))
	w.beat()
	w.clock.advance(syncer.BatchDelay)
	day()
	if !w.has(refused) {
		t.Error("another announcement gave it no second chance")
	}
	if w.has(deleted) && f.fetched(deleted) == 1 {
		t.Error("it came without being fetched")
	}
	for range 7 {
		day()
	}
	w.until("what nothing came for a week ago", func() bool { return w.has(lapsed) })
}

// TestManyRepositories: 500 repositories on a peer fit into what it lets be open, and a new one is
// listened to without a new connection (check 273).
func TestManyRepositories(t *testing.T) {
	for _, most := range []int{3, 10, 50} {
		w := newWorld(t)
		alice := newKey()
		f := w.relay(there)
		f.most = most
		f.document = fmt.Sprintf(`{"supported_nips":[1,77],"limitation":{"max_subscriptions":%d,"max_limit":500}}`, most)
		for i := range 500 {
			w.serve(alice.announce(fmt.Sprintf("r%03d", i), there))
		}
		w.run()
		w.compared(there)
		for i := range 20 {
			id := fmt.Sprint("new", i)
			w.serve(alice.announce(id, there))
			w.later("listening to a new repository", func() bool {
				filters, _ := f.live()
				return slices.ContainsFunc(filters, func(g nostr.Filter) bool { return slices.Contains(g.Tags["a"], alice.coord(id)) })
			})
			ev := alice.sign(grasp.KindIssue, 1_700_000_100, id, nostr.Tag{"a", alice.coord(id)})
			f.publish(ev)
			w.until("an event of it", func() bool { return w.has(ev) })
		}
		var filters []nostr.Filter
		w.until("few filters in few subscriptions", func() bool { // what was replaced is closed last
			var subs int
			filters, subs = f.live()
			return len(filters) <= 80 && subs <= most
		})
		if n := len(f.dialed()); n != 1 {
			t.Errorf("%d connections", n)
		}
		w.mu.Lock()
		peak := f.peak
		w.mu.Unlock()
		if peak > most {
			t.Errorf("%d subscriptions were open, the peer lets %d", peak, most)
		}
		for _, g := range filters {
			for _, values := range g.Tags {
				if len(values) > 100 {
					t.Errorf("a filter has %d values", len(values))
				}
			}
		}
		w.stop()
	}
}

// TestShortGap: after five minutes without a connection only what is new is asked for (check 274).
func TestShortGap(t *testing.T) {
	w := newWorld(t)
	alice := newKey()
	announcement := alice.announce("demo", there)
	w.serve(announcement)
	f := w.relay(there, announcement)
	w.run()
	w.compared(there)
	w.clock.advance(10 * time.Minute)
	w.until("that it is known to be in step", func() bool { w.beat(); return w.mood(there).Seen.Equal(w.clock.Now()) })
	w.mu.Lock()
	f.down = errDown
	w.mu.Unlock()
	f.cut()
	w.until("that it is gone", func() bool { return w.mood(there).Connected.IsZero() })
	var missed []*nostr.Event
	for i := range 3 {
		ev := alice.sign(grasp.KindIssue, w.clock.Now().Unix()+int64(i), "", nostr.Tag{"a", alice.coord("demo")})
		f.publish(ev)
		missed = append(missed, ev)
	}
	w.clock.advance(5 * time.Minute)
	w.mu.Lock()
	f.down = nil
	before := len(f.asked)
	w.mu.Unlock()
	w.beat()
	for _, ev := range missed {
		w.until("what happened meanwhile", func() bool { return w.has(ev) })
	}
	for _, g := range f.questions()[before:] {
		if slices.ContainsFunc(missed, func(ev *nostr.Event) bool {
			return slices.Contains(g.Tags["e"], ev.ID) || slices.Contains(g.Tags["E"], ev.ID) || slices.Contains(g.Tags["q"], ev.ID)
		}) {
			continue // what answers what is new
		}
		if !g.LimitZero && len(g.IDs) == 0 && g.Since == nil {
			t.Errorf("all of %v is asked for", g)
		}
	}
	// What was made long ago and published during the gap comes a little later.
	old := alice.sign(grasp.KindIssue, 1_700_000_000, "old", nostr.Tag{"a", alice.coord("demo")})
	w.mu.Lock()
	f.events = append(f.events, old) // nobody heard of it
	w.mu.Unlock()
	began := w.clock.Now()
	w.later("what was made long ago", func() bool { return w.has(old) })
	if d := w.clock.Now().Sub(began); d > 5*time.Minute {
		t.Errorf("it came after %s", d)
	}
}

// TestSpacing: a peer that cannot be reached is called after 5, 10, 20 seconds and so on, and keeps
// nobody from another one (check 244).
func TestSpacing(t *testing.T) {
	w := newWorld(t)
	alice := newKey()
	w.serve(alice.announce("demo", there, "wss://other.example"))
	f := w.relay(there)
	f.down = errDown
	w.relay("wss://other.example")
	w.run()
	w.compared("wss://other.example")
	start := w.clock.Now()
	for range 800 {
		w.clock.advance(10 * time.Second)
		w.until("that nobody is being called", func() bool { w.beat(); return w.mood(there).Next.After(w.clock.Now()) })
	}
	var gaps []time.Duration
	for i, at := range f.dialed()[1:] {
		gaps = append(gaps, at.Sub(f.dialed()[i]))
	}
	want := []time.Duration{10, 10, 20, 40, 80, 160, 320, 640, 1280, 2560} // in steps of ten seconds
	for i, g := range gaps {
		if g != want[i]*time.Second {
			t.Errorf("call %d came after %s, want %s", i+2, g, want[i]*time.Second)
		}
	}
	if w.clock.Now().Sub(start) < 2*time.Hour || len(gaps) < 9 {
		t.Errorf("%d calls in %s", len(gaps)+1, w.clock.Now().Sub(start))
	}
}

// TestHostile: a peer that cheats is left, for twelve hours; what it sent is not here, and another peer's
// events are (hardening §9, hostile relay).
func TestHostile(t *testing.T) {
	alice, mallory := newKey(), newKey()
	announcement := alice.announce("demo", there, "wss://good.example")
	forged := func(i int) *nostr.Event {
		ev := alice.sign(1111, int64(1_700_000_000+i), "", nostr.Tag{"a", alice.coord("demo")})
		ev.Sig = mallory.sign(1, 1, "").Sig
		return ev
	}
	flood := func(each func(l *line, sub string, i int)) func(*line, string, string, []json.RawMessage) bool {
		return func(l *line, verb, sub string, _ []json.RawMessage) bool {
			if verb == "REQ" {
				for i := range 60 {
					each(l, sub, i)
				}
			}
			return verb == "REQ"
		}
	}
	for name, script := range map[string]func(*line, string, string, []json.RawMessage) bool{
		"forged events":           flood(func(l *line, sub string, i int) { l.say("EVENT", sub, forged(i)) }),
		"events nobody asked for": flood(func(l *line, sub string, i int) { l.say("EVENT", sub, mallory.sign(1, int64(i), "")) }),
		"junk":                    flood(func(l *line, _ string, _ int) { l.raw([]byte(`["EVENT",`)) }),
		"malformed events":        flood(func(l *line, sub string, _ int) { l.raw([]byte(`["EVENT","` + sub + `",{"id":1}]`)) }),
		"large events": flood(func(l *line, sub string, _ int) {
			l.raw([]byte(`["EVENT","` + sub + `",{"content":"` + strings.Repeat("x", 1<<20) + `"}]`))
		}),
		"a reconciliation of junk": func(l *line, verb, sub string, _ []json.RawMessage) bool {
			if verb == "NEG-OPEN" {
				for range 100 {
					l.say("NEG-MSG", sub, "zz")
				}
				return true
			}
			if verb == "REQ" {
				for i := range 100 {
					l.say("EVENT", sub, forged(i))
				}
			}
			return verb == "REQ"
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.serve(announcement)
			f := w.relay(there)
			f.neg, f.document, f.script = false, `{"supported_nips":[1]}`, script
			if strings.Contains(name, "reconciliation") {
				f.document = ""
			}
			good := alice.sign(1111, 1_700_000_000, "good", nostr.Tag{"a", alice.coord("demo")})
			w.relay("wss://good.example", good)
			w.run()
			w.until("that it is left", func() bool { return w.mood(there).Mood == "bad" })
			w.until("the good peer's event", func() bool { return w.has(good) })
			if st := w.mood(there); st.Next.Sub(w.clock.Now()) < 12*time.Hour || st.Bad > 25 || st.Trouble == "" {
				t.Errorf("%+v", st)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if len(w.taken) != 1 {
				t.Errorf("%d events were taken, want the good one", len(w.taken))
			}
		})
	}
}

// TestSilent: a peer that answers nothing is given up, and does not keep its place (hardening §9).
func TestSilent(t *testing.T) {
	w := newWorld(t)
	alice := newKey()
	w.serve(alice.announce("demo", there, "wss://good.example"))
	f := w.relay(there)
	f.script = func(*line, string, string, []json.RawMessage) bool { return true }
	good := alice.sign(1111, 1_700_000_000, "good", nostr.Tag{"a", alice.coord("demo")})
	w.relay("wss://good.example", good)
	w.run(func(c *syncer.Config) { c.History, c.Patience = 1, 100*time.Millisecond })
	w.later("the good peer's event", func() bool { return w.has(good) }) // it too is given up if it is slow
	w.until("that the silent one is given up", func() bool { return w.mood(there).Fails > 0 })
}

// TestAskedForLess: a peer that says so is left alone for a minute (G02-09).
func TestAskedForLess(t *testing.T) {
	for name, say := range map[string]func(l *line, sub string){
		"notice": func(l *line, _ string) { l.say("NOTICE", "rate-limited: slow down") },
		"closed": func(l *line, sub string) { l.say("CLOSED", sub, "rate-limited: too many") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.serve(newKey().announce("demo", there))
			f := w.relay(there)
			f.script = func(l *line, verb, sub string, _ []json.RawMessage) bool {
				say(l, sub)
				return true
			}
			w.run()
			w.until("that it is left", func() bool { return w.mood(there).Fails > 0 })
			if d := w.mood(there).Next.Sub(w.clock.Now()); d != 65*time.Second {
				t.Errorf("it is called again in %s", d)
			}
		})
	}
}

// TestEphemeral: what is never stored is not taken from peers: it would go round for ever (G02-10).
func TestEphemeral(t *testing.T) {
	w := newWorld(t)
	alice := newKey()
	announcement := alice.announce("demo", there)
	w.serve(announcement)
	f := w.relay(there, announcement)
	w.run()
	w.compared(there)
	passing := alice.sign(20_001, w.clock.Now().Unix(), "", nostr.Tag{"a", alice.coord("demo")})
	stays := alice.sign(1111, w.clock.Now().Unix(), "", nostr.Tag{"a", alice.coord("demo")})
	f.publish(passing)
	f.publish(stays)
	w.until("the other event", func() bool { return w.has(stays) })
	if w.handed(passing) != 0 {
		t.Error("an ephemeral event was taken")
	}
}

// TestNobodyNamesIt: a peer that no announcement names any more is left, and forgotten.
func TestNobodyNamesIt(t *testing.T) {
	w := newWorld(t)
	alice := newKey()
	announcement := alice.announce("demo", there)
	w.serve(announcement)
	w.relay(there)
	w.run()
	w.compared(there)
	w.beat()
	w.mu.Lock()
	w.served = nil
	w.mu.Unlock()
	w.s.Changed("demo")
	w.until("that it is forgotten", func() bool {
		w.beat()
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.peers) == 0
	})
	if list := w.s.Statuses(); len(list) != 0 {
		t.Errorf("%+v", list)
	}
}

// TestMemoryIsBounded: however much is refused, only so much is remembered.
func TestMemoryIsBounded(t *testing.T) {
	w := newWorld(t)
	w.run()
	id := func(i int) grasp.EventID { return grasp.EventID(fmt.Sprintf("%064x", i)) }
	for i := range syncer.MaxRefusals + 10 {
		w.s.Remember(syncer.Refusal{ID: id(i), Subject: "x", Until: w.clock.Now().Add(time.Hour)})
	}
	if n := w.s.Remembered(); n != syncer.MaxRefusals || !w.s.Forgets(id(9)) || w.s.Forgets(id(10)) {
		t.Errorf("%d are remembered; the first %v", n, w.s.Forgets(id(9)))
	}
	w.clock.advance(2 * time.Hour)
	if !w.s.Forgets(id(50)) {
		t.Error("its time is over")
	}
	w.beat()
	if n := w.s.Remembered(); n != 0 {
		t.Errorf("%d are remembered though their time is over", n)
	}
}

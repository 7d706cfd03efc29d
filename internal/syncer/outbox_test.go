package syncer_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/syncer"
)

// People implements syncer.Society.
func (w *world) People(_ context.Context, coord string, limit int) (out []grasp.PubKey, _ error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ev := range w.served {
		if _, coords := grasp.Anchors(ev); slices.Contains(coords, coord) && len(out) < limit && !slices.Contains(out, grasp.PubKey(ev.PubKey)) {
			out = append(out, grasp.PubKey(ev.PubKey))
		}
	}
	return out, nil
}

// RelayLists implements syncer.Society.
func (w *world) RelayLists(_ context.Context, keys []grasp.PubKey, each func(*nostr.Event)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ev := range w.served {
		if ev.Kind == grasp.KindRelayList && slices.Contains(keys, grasp.PubKey(ev.PubKey)) {
			each(ev)
		}
	}
	return nil
}

// Named implements syncer.Society.
func (w *world) Named(_ context.Context, ids []grasp.EventID, each func(*nostr.Event)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ev := range w.served {
		if slices.Contains(ids, grasp.EventID(ev.ID)) {
			each(ev)
		}
	}
	return nil
}

// writes is somebody's relay list.
func (k key) writes(at int64, relays ...string) *nostr.Event {
	var tags nostr.Tags
	for _, u := range relays {
		tags = append(tags, nostr.Tag{"r", u})
	}
	return k.sign(grasp.KindRelayList, at, "", tags...)
}

// plus speaks sync-plus.
func (w *world) plus(most int) func(*syncer.Config) {
	return func(c *syncer.Config) { c.Plus, c.Outboxes = w, most }
}

// TestOutboxQuestions: a relay to which people write is asked about what they take part in, in answers
// and names, and about people, 200 at a time at most; not for announcements, states, or what was deleted
// (G03-01).
func TestOutboxQuestions(t *testing.T) {
	const outbox = "wss://outbox.example"
	w := newWorld(t)
	alice, bob := newKey(), newKey()
	issue := bob.sign(grasp.KindIssue, 1_700_000_100, "", nostr.Tag{"a", alice.coord("demo")})
	w.serve(alice.announce("demo"), alice.announce("other"), issue, bob.writes(1, outbox))
	for i := range 250 {
		w.serve(newKey().sign(grasp.KindIssue, 1_700_000_100+int64(i), "", nostr.Tag{"a", alice.coord("demo")}))
	}
	f := w.relay(outbox)
	w.run(w.plus(5))
	w.later("the relay", func() bool { return !w.mood(outbox).Full.IsZero() })
	w.compared(outbox)
	live, _ := f.live()
	for _, fs := range [][]nostr.Filter{live, f.questions()} {
		about, people := map[string][]string{}, []string{}
		for _, one := range fs {
			for _, k := range []int{grasp.KindAnnouncement, grasp.KindState, grasp.KindDeletion} {
				if slices.Contains(one.Kinds, k) {
					t.Errorf("it is asked for %v", one)
				}
			}
			if len(one.Authors) > 200 {
				t.Errorf("a question names %d people", len(one.Authors))
			}
			people = append(people, one.Authors...)
			for letter, values := range one.Tags {
				about[letter] = append(about[letter], values...)
			}
		}
		slices.Sort(people)
		if people = slices.Compact(people); !slices.Contains(people, bob.pub) {
			t.Errorf("%d people are asked for, without the one who writes there", len(people))
		}
		for _, letter := range []string{"a", "A", "q"} {
			if !slices.Contains(about[letter], alice.coord("demo")) || slices.Contains(about[letter], alice.coord("other")) {
				t.Errorf("%s: %q", letter, about[letter])
			}
		}
		for _, letter := range []string{"e", "E", "q"} {
			if !slices.Contains(about[letter], issue.ID) {
				t.Errorf("%s: the thread is not asked about", letter)
			}
		}
	}
}

// TestOutboxBounds: three relays of one person, so many of all, those first to which owners write; a list
// that is older changes nothing, a newer one does (G03-01).
func TestOutboxBounds(t *testing.T) {
	w := newWorld(t)
	alice, mallory := newKey(), newKey()
	w.serve(alice.announce("demo"), alice.writes(1, "wss://here.example", "wss://alice.example/", "WSS://ALICE.example", "not a relay"))
	for i := range 6 {
		k := newKey()
		w.serve(k.sign(grasp.KindIssue, 1_700_000_000+int64(i), "", nostr.Tag{"a", alice.coord("demo")}),
			k.writes(1, fmt.Sprintf("wss://m%d.example", i), "wss://crowd.example"))
	}
	urls := func() (out []string) {
		for _, st := range w.s.Statuses() {
			out = append(out, st.URL)
		}
		return out
	}
	for _, u := range []string{"wss://alice.example", "wss://crowd.example", "wss://one.example"} {
		w.relay(u)
	}
	w.run(w.plus(2))
	is := func(want ...string) func() bool { return func() bool { return slices.Equal(urls(), want) } }
	w.later("two relays", is("wss://alice.example", "wss://crowd.example"))
	w.serve(alice.writes(0, "wss://older.example"))
	w.serve(alice.writes(5, "wss://one.example"))
	w.later("another relay of the owner", is("wss://crowd.example", "wss://one.example"))

	w.stop()
	w = newWorld(t)
	w.serve(alice.announce("demo"), mallory.sign(grasp.KindIssue, 1_700_000_000, "", nostr.Tag{"a", alice.coord("demo")}),
		mallory.writes(1, "wss://a.example", "wss://b.example", "wss://c.example", "wss://d.example", "wss://e.example"))
	w.run(w.plus(100))
	w.later("three relays", is("wss://a.example", "wss://b.example", "wss://c.example"))
}

// TestOutboxOfWhoAnswers: who answers an issue takes part in its repository, and their relay is asked from
// then on; who withdraws everything does not any more after a day (G03-01).
func TestOutboxOfWhoAnswers(t *testing.T) {
	const outbox = "wss://carol.example"
	w := newWorld(t)
	alice, carol := newKey(), newKey()
	issue := alice.sign(grasp.KindIssue, 1_700_000_100, "", nostr.Tag{"a", alice.coord("demo")})
	w.serve(alice.announce("demo"), issue)
	far := carol.sign(1111, 1_700_000_300, "", nostr.Tag{"E", issue.ID})
	w.relay(outbox, far)
	w.run(w.plus(5))
	w.serve(carol.sign(1111, 1_700_000_200, "", nostr.Tag{"E", issue.ID}), carol.writes(1, outbox))
	w.beat()
	w.serve(carol.writes(2, outbox))
	w.later("what she wrote there", func() bool { return w.has(far) })
	w.mu.Lock()
	w.served = slices.DeleteFunc(w.served, func(ev *nostr.Event) bool { return ev.PubKey == carol.pub })
	w.mu.Unlock()
	w.clock.advance(25 * 3600 * 1e9)
	w.beat()
	w.clock.advance(25 * 3600 * 1e9)
	w.later("that nobody is asked there", func() bool { return w.mood(outbox).URL == "" })
}

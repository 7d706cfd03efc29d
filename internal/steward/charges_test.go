package steward_test

import (
	"fmt"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/steward"
	st "github.com/gitroost/gitroost/internal/steward/stewardtest"
)

func events(e grasp.Events) func(*steward.Config) {
	return func(c *steward.Config) { c.Quotas.Events = e }
}

func answer(who grasp.PubKey, at int, to *nostr.Event) *nostr.Event {
	return note(who, 1111, at, nostr.Tag{"e", to.ID})
}

// Hardening §10, G01-109: a thread has a bound, however its events hang together and whoever writes
// them; other threads do not feel it.
func TestEventsPerThread(t *testing.T) {
	w := newWorld(t, events(grasp.Events{PerThread: 3}))
	w.live(demo)
	issue, other := st.Issue(bob, 2, demo), st.Issue(bob, 3, demo)
	w.serves(issue, other)
	last := issue
	for i := range 3 { // each answers the one before
		next := answer(st.Key(fmt.Sprint("stranger", i)), 4+i, last)
		w.serves(next)
		last = next
	}
	const full = "quota: 3 of 3 events in this thread are kept here"
	w.refuses(answer(mallory, 10, last), "G01-109", full)
	w.refuses(answer(mallory, 10, issue), "G01-109", full)
	w.refuses(note(mallory, 7, 10, nostr.Tag{"E", issue.ID}), "G01-109", full)
	w.refuses(note(mallory, 1, 10, nostr.Tag{"q", other.ID}, nostr.Tag{"q", last.ID}), "G01-109", full)
	if n := w.s.QuotaRefusals(); n.Events != 4 {
		t.Errorf("%+v", n)
	}
	w.serves(answer(mallory, 11, other))
	w.restart()
	w.refuses(answer(mallory, 12, last), "G01-109", full)
	// What is deleted makes room.
	w.serves(st.Delete(st.Key("stranger2"), 20, last.ID))
	w.serves(answer(carol, 21, issue))
	w.refuses(answer(carol, 22, issue), "G01-109", full)
	w.ok()
}

// A key has a bound, which its owner can lift by deleting and the operator by an override.
func TestEventsPerKey(t *testing.T) {
	w := newWorld(t, events(grasp.Events{PerKey: 2}), func(c *steward.Config) { c.Quotas.Overrides = map[grasp.PubKey]int64{carol: 0, bob: 99} })
	w.live(demo)
	var issues []*nostr.Event
	for i := range 2 {
		issues = append(issues, st.Issue(bob, 2+i, demo))
	}
	w.serves(issues...)
	const full = "quota: 2 of 2 events of this key are kept here"
	w.refuses(st.Issue(bob, 9, demo), "G01-109", full)
	pr := st.Pull(bob, 9, p1.ID, demo)
	w.refuses(pr, "G01-109", full)
	for i := range 5 {
		w.serves(st.Issue(carol, 2+i, demo))
	}
	w.serves(note(bob, grasp.KindGraspList, 9)) // one of each key
	w.keeps(st.Pull(alice, 9, p1.ID, demo))
	w.serves(note(alice, 1, 10, nostr.Tag{"e", issues[0].ID}))
	w.refuses(st.Issue(alice, 11, demo), "G01-109", full)
	// Announcements and states have bounds of their own.
	w.keeps(st.State(alice, "demo", 12, "main", string(c2.ID)))
	w.hears(grasp.Passed, note(bob, 20_001, 9, nostr.Tag{"e", issues[0].ID}))
	w.ok()
}

// A repository has a bound for all that is about it, through however many events.
func TestEventsPerRepository(t *testing.T) {
	w := newWorld(t, events(grasp.Events{PerRepo: 4}))
	other := grasp.Addr{Owner: mallory, ID: "bait"}
	ann, _ := w.live(demo)
	w.live(other)
	issue := st.Issue(bob, 2, demo)
	comment := answer(carol, 3, issue)
	w.serves(issue, comment, answer(bob, 4, comment))
	// Who names somebody else's repository first is not let off for it.
	w.serves(note(mallory, grasp.KindIssue, 5, nostr.Tag{"a", other.Coordinate()}, nostr.Tag{"a", demo.Coordinate()}))
	const full = "quota: 4 of 4 events about this repository are kept here"
	w.refuses(note(mallory, grasp.KindIssue, 6, nostr.Tag{"a", other.Coordinate()}, nostr.Tag{"a", demo.Coordinate()}), "G01-109", full)
	w.refuses(answer(mallory, 6, comment), "G01-109", full)
	w.refuses(note(mallory, 1, 6, nostr.Tag{"q", ann.ID}), "G01-109", full)
	w.refuses(note(mallory, 1111, 6, nostr.Tag{"A", demo.Coordinate()}), "G01-109", full)
	// A repository that does not live here is nobody's.
	w.serves(note(mallory, grasp.KindIssue, 7, nostr.Tag{"a", "30617:" + string(alice) + ":nothing"}, nostr.Tag{"a", other.Coordinate()}))
	w.ok()
}

// What came before anything was counted is the beginning of a thread all the same.
func TestEventsOfBefore(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	issue := st.Issue(bob, 2, demo)
	w.serves(issue)
	w.cfg.Quotas.Events = grasp.Events{PerThread: 1, PerRepo: 2, PerKey: 100}
	w.restart()
	w.serves(answer(carol, 3, issue))
	w.refuses(answer(carol, 4, issue), "G01-109", "in this thread")
	w.serves(st.Issue(carol, 5, demo))
	w.refuses(st.Issue(carol, 6, demo), "G01-109", "about this repository")
	w.ok()
}

// One event counts for no more than it must: whoever names everything follows a bounded way.
func TestEventNamesEverything(t *testing.T) {
	w := newWorld(t, events(grasp.Events{PerThread: 1000}))
	w.live(demo)
	tags := []nostr.Tag{{"a", demo.Coordinate()}}
	for i := range 100 {
		issue := st.Issue(bob, 2+i, demo)
		w.serves(issue)
		tags = append(tags, nostr.Tag{"e", issue.ID})
	}
	ev := note(mallory, 30003, 200, append(tags, nostr.Tag{"d", "all"})...)
	w.serves(ev)
	list, err := w.mem.Charges(t.Context(), grasp.EventID(ev.ID))
	if err != nil || len(list) < 3 || len(list) > steward.MaxCharges {
		t.Errorf("it counts for %d: %v", len(list), err)
	}
	w.ok()
}

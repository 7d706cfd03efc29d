package acceptance_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
)

// hostedAt makes a repository that all houses serve: announced with a state and its data at each.
func hostedAt(t *testing.T, owner *housetest.Key, id string, houses ...*housetest.House) *housetest.Copy {
	t.Helper()
	work := housetest.NewCopy(t)
	tip := work.Commit()
	announcement, state := housetest.AnnouncementAt(owner, id, 0, houses), owner.State(id, 0, "main="+tip)
	for _, h := range houses {
		c := h.Dial()
		c.Must(announcement, state)
		work.Git("push", h.Repo(owner, id), "main")
		c.Close()
	}
	return work
}

func issueAt(k, owner *housetest.Key, id, content string, at int64) *nostr.Event {
	return k.Sign(grasp.KindIssue, at, content, nostr.Tag{"a", housetest.Coordinate(owner, id)}, nostr.Tag{"p", owner.Pub})
}

// answerTo answers an event and names nothing else.
func answerTo(k *housetest.Key, on *nostr.Event, content string) *nostr.Event {
	return k.Sign(1111, 0, content, nostr.Tag{"E", on.ID}, nostr.Tag{"K", fmt.Sprint(on.Kind)}, nostr.Tag{"e", on.ID})
}

// TestSyncBringsEvents: what a peer has of a repository that both serve comes here, and what happens
// there later too (checks 236, 238).
func TestSyncBringsEvents(t *testing.T) {
	for name, change := range map[string]func(*config.Config){
		"reconciliation": func(*config.Config) {},
		"pages":          func(c *config.Config) { c.Relay.Negentropy, c.Limits.QueryResults = false, 10 }, // check 237
	} {
		t.Run(name, func(t *testing.T) {
			a := housetest.Together(t, 1, change)[0]
			b := housetest.Together(t, 1)[0]
			owner, guest := housetest.NewKey(t), housetest.NewKey(t)
			hostedAt(t, owner, "demo", a, b)
			there := a.Dial()
			var all []*nostr.Event
			for i := range 40 {
				all = append(all, issueAt(guest, owner, "demo", fmt.Sprint("issue ", i), 1_700_000_000+int64(i)))
			}
			coord := housetest.Coordinate(owner, "demo")
			all = append(all, answerTo(guest, all[0], "I see it too"),
				guest.Sign(1, 0, "upper", nostr.Tag{"A", coord}), guest.Sign(1, 0, "quote", nostr.Tag{"q", coord}),
				guest.Sign(1, 0, "quote of an issue", nostr.Tag{"q", all[1].ID}), guest.Sign(7, 0, "+", nostr.Tag{"e", all[2].ID}))
			there.Must(all...)
			b.Arrives(all...)

			late := issueAt(guest, owner, "demo", "late", 0)
			there.Must(late)
			b.Arrives(late)
			answer := answerTo(guest, late, "later")
			there.Must(answer)
			b.Arrives(answer)
		})
	}
}

func filterOf(kind int, k *housetest.Key) nostr.Filter {
	return nostr.Filter{Kinds: []int{kind}, Authors: []string{k.Pub}}
}

func tag(name string, values ...string) nostr.Tag { return append(nostr.Tag{name}, values...) }

// TestSyncFromTheAnnouncementAlone: whoever has only the announcement gets the state, its data, issues
// and comments from the peer that it names, though the identifier has a colon in it (checks 236, 239,
// 271).
func TestSyncFromTheAnnouncementAlone(t *testing.T) {
	t.Parallel()
	both := housetest.Together(t, 2)
	a, b := both[0], both[1]
	owner, guest := housetest.NewKey(t), housetest.NewKey(t)
	w := housetest.NewCopy(t)
	tip := w.Commit()
	announcement, state := housetest.AnnouncementAt(owner, "tool:2", 0, both), owner.State("tool:2", 0, "main="+tip)
	ca := a.Dial()
	ca.Must(announcement, state)
	w.Git("push", "-q", a.Repo(owner, "tool:2"), "main")
	first := issueAt(guest, owner, "tool:2", "first", 0)
	second := answerTo(guest, first, "yes")
	ca.Must(first, second)
	b.Dial().Held(announcement)
	b.Arrives(announcement, state, first, second)
	housetest.Refs(t, b.Repo(owner, "tool:2"), "main="+tip)
}

// TestSyncTakesNoMoreThanTheRules: announcements that do not list us, protected events and what was
// deleted here are not taken from a peer (checks 245, 250).
func TestSyncTakesNoMoreThanTheRules(t *testing.T) {
	t.Parallel()
	both := housetest.Together(t, 2)
	a, b := both[0], both[1]
	owner, guest, stranger := housetest.NewKey(t), housetest.NewKey(t), housetest.NewKey(t)
	ca, cb := a.Dial(), b.Dial()
	gone := issueAt(guest, owner, "demo", "withdrawn", 1_700_000_000)
	deletion := guest.Deletion(0, nostr.Tag{"e", gone.ID})
	kept := issueAt(guest, owner, "demo", "kept", 1_700_000_001)
	a.Served(ca, stranger, "alone", 0)
	foreign := ca.Query(filterOf(grasp.KindAnnouncement, stranger))[0]
	hostedAt(t, owner, "demo", both...)
	cb.Must(issueAt(guest, owner, "demo", "before", 1_700_000_002))
	cb.Must(deletion)
	ca.Must(gone, kept)
	b.Arrives(kept)
	b.Restart(nil) // all is compared once more, or what is newer
	late := issueAt(guest, owner, "demo", "late", 0)
	ca.Must(late)
	b.Arrives(late)
	for what, ev := range map[string]*nostr.Event{"an announcement that does not list us": foreign, "what was deleted": gone} {
		if b.Has(ev) {
			t.Errorf("%s was taken", what)
		}
	}
}

// TestSyncMaintainerFirst: a maintainer's announcement that was refused because the owner's was not here
// is served once the owner's is (check 246).
func TestSyncMaintainerFirst(t *testing.T) {
	t.Parallel()
	both := housetest.Together(t, 2)
	a, b := both[0], both[1]
	owner, maintainer := housetest.NewKey(t), housetest.NewKey(t)
	ca, cb := a.Dial(), b.Dial()
	// Another repository has the two houses know each other.
	hostedAt(t, housetest.NewKey(t), "other", both...)
	w := housetest.NewCopy(t)
	tip := w.Commit()
	// At a the owner lists a alone; the maintainer is served there by the exception.
	there := housetest.AnnouncementAt(owner, "demo", time.Now().Unix()-100, both[:1], housetest.Maintainers(maintainer))
	led := maintainer.Sign(grasp.KindAnnouncement, 0, "", tag("d", "demo"), tag("clone", "https://x.example/x.git"), tag("relays", "wss://x.example"))
	ca.Must(there, owner.State("demo", time.Now().Unix()-100, "main="+tip))
	w.Git("push", "-q", a.Repo(owner, "demo"), "main")
	ca.Must(led)
	mark := issueAt(owner, owner, "demo", "x", 0)
	ca.Must(mark)
	housetest.Within(t, housetest.Wait, "that it came and was refused", func() bool { return b.Peer(a).Refused >= 2 })
	if b.Has(led) {
		t.Fatal("it was taken without an anchor")
	}
	a.Stop() // no network is needed
	here := housetest.AnnouncementAt(owner, "demo", 0, both[1:], housetest.Maintainers(maintainer))
	cb.Must(here, owner.State("demo", 0, "main="+tip))
	w.Git("push", "-q", b.Repo(owner, "demo"), "main")
	b.Arrives(led)
}

// TestSyncAfterAGap: what was published at a peer while this server was down comes when it is back
// (check 274).
func TestSyncAfterAGap(t *testing.T) {
	t.Parallel()
	both := housetest.Together(t, 2)
	a, b := both[0], both[1]
	owner := housetest.NewKey(t)
	hostedAt(t, owner, "demo", both...)
	ca := a.Dial()
	first := issueAt(owner, owner, "demo", "first", 0)
	ca.Must(first)
	b.Arrives(first)
	var missed []*nostr.Event
	b.Restart(func(string) {
		for i := range 3 {
			missed = append(missed, issueAt(owner, owner, "demo", fmt.Sprint("missed ", i), 0))
		}
		ca.Must(missed...)
	})
	b.Arrives(missed...)
	// And the other way round: b comes back by itself to a peer that was down.
	a.Restart(nil)
	late := issueAt(owner, owner, "demo", "late", 0)
	a.Dial().Must(late)
	b.Clock.Advance(10 * time.Second)
	b.Arrives(late)
}

package acceptance_test

import (
	"fmt"
	"testing"

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

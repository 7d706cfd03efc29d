package steward_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/steward"
	st "github.com/gitroost/gitroost/internal/steward/stewardtest"
)

// note returns an event of any kind with these tags.
func note(who grasp.PubKey, kind, at int, tags ...nostr.Tag) *nostr.Event {
	return st.Event(who, kind, at, "words", tags...)
}

// G01-801 to G01-804, G01-807, G01-810, checks 213 to 218, 222, 263.
func TestRelated(t *testing.T) {
	w := newWorld(t)
	colon := grasp.Addr{Owner: alice, ID: "with:colon:s"}
	w.live(demo)
	w.live(colon)
	issue := st.Issue(bob, 2, demo)
	comment := note(carol, 1111, 3, nostr.Tag{"E", issue.ID}, nostr.Tag{"e", issue.ID})
	reply := note(bob, 1111, 4, nostr.Tag{"e", comment.ID})
	quoted, quotedE, quotedUpper := note(carol, 1, 5), note(carol, 1, 6), note(carol, 1, 7)
	quoting := note(bob, grasp.KindIssue, 8, nostr.Tag{"a", demo.Coordinate()},
		nostr.Tag{"q", quoted.ID}, nostr.Tag{"e", quotedE.ID}, nostr.Tag{"E", quotedUpper.ID})
	unknown := nostr.Tag{"a", grasp.Addr{Owner: mallory, ID: "nothing"}.Coordinate()}
	busy := note(bob, grasp.KindIssue, 9, nostr.Tag{"a", demo.Coordinate()})
	for i := range 20 {
		busy.Tags = append(busy.Tags, nostr.Tag{"t", fmt.Sprint(i)})
	}
	busy.ID = busy.GetID()
	w.wantTold(w.told...)
	want := []*nostr.Event{
		issue,
		note(bob, grasp.KindPatch, 2, nostr.Tag{"a", demo.Coordinate()}),
		note(bob, 1111, 2, nostr.Tag{"A", demo.Coordinate()}),
		note(bob, 1, 2, nostr.Tag{"q", demo.Coordinate(), "wss://hint"}),
		note(bob, 7, 2, nostr.Tag{"e", issue.ID}),
		note(bob, 1985, 2, nostr.Tag{"e", issue.ID}),
		note(mallory, 1632, 2, nostr.Tag{"e", issue.ID, "", "root"}),
		comment, reply,
		note(carol, 1, 5, nostr.Tag{"q", reply.ID}),
		quoting, quoted, quotedE, quotedUpper,
		note(mallory, grasp.KindIssue, 9, unknown, nostr.Tag{"q", issue.ID}),
		note(bob, grasp.KindIssue, 9, nostr.Tag{"a", colon.Coordinate()}),
		busy,
	}
	for _, ev := range want {
		w.serves(ev)
	}
	w.wantTold(want...)
	for _, ev := range []*nostr.Event{
		note(mallory, grasp.KindIssue, 10, unknown),
		note(mallory, 1, 10),
		note(mallory, 1111, 10, nostr.Tag{"A", unknown[1]}),
		note(mallory, 1, 10, nostr.Tag{"q", "nostr:" + issue.ID}),
		note(mallory, 1, 10, nostr.Tag{"q", " " + issue.ID}),
		note(mallory, 1, 10, nostr.Tag{"p", string(alice)}),
	} {
		w.refuses(ev, "G01-801", "must reference an accepted")
	}
	w.ok()
}

// G01-407, check 177, and G01-805: the issue is admitted when its repository is.
func TestIssueOfWaitingRepository(t *testing.T) {
	w := newWorld(t)
	issue := st.Issue(bob, 2, demo)
	w.keeps(st.Announce(demo, 0))
	w.refuses(issue, "G01-801", "must reference")
	w.keeps(st.State(alice, "demo", 1, "main", string(c1.ID)))
	w.refuses(issue, "G01-801", "must reference")
	w.pushes(demo, w.set(demo, "main", c1))
	w.wantShelf(grasp.Served, issue)
	w.ok()
}

// G01-805, check 219: comment before comment before issue; and a pull request before its repository.
func TestLobby(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	issue := st.Issue(bob, 2, demo)
	comment := note(carol, 1111, 3, nostr.Tag{"e", issue.ID})
	reply := note(bob, 1111, 4, nostr.Tag{"e", comment.ID})
	w.refuses(reply, "G01-801", "")
	w.refuses(comment, "G01-801", "")
	w.sweep(5 * time.Second)
	w.wantTold(w.told...)
	w.serves(issue)
	w.wantTold(issue, comment, reply)

	other := grasp.Addr{Owner: carol, ID: "other"}
	pr := st.Pull(bob, 2, p1.ID, other)
	w.refuses(pr, "G01-801", "")
	w.live(other)
	w.wantShelf(grasp.Waiting, pr)

	// Forward references, and addressable targets.
	article := st.Event(carol, 30023, 5, "", nostr.Tag{"d", "x"})
	w.refuses(article, "G01-801", "")
	w.serves(note(carol, grasp.KindIssue, 6, nostr.Tag{"a", demo.Coordinate()}, nostr.Tag{"q", grasp.CoordinateOf(article)}))
	w.wantShelf(grasp.Served, article)

	late := note(mallory, 1111, 7, nostr.Tag{"e", st.Issue(bob, 8, demo).ID})
	w.refuses(late, "G01-801", "")
	w.sweep(11 * time.Minute)
	w.serves(st.Issue(bob, 8, demo))
	w.wantShelf(grasp.Nowhere, late)
	w.ok()
}

// G01-805: the lobby is bounded, and what is driven out was promised nothing.
func TestLobbyIsBounded(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	issue := st.Issue(bob, 1, demo)
	first := note(mallory, 1111, 0, nostr.Tag{"e", issue.ID})
	w.refuses(first, "G01-801", "")
	for i := range 5_000 {
		if _, err := w.receive(note(mallory, 1, -i)); err == nil {
			t.Fatal("accepted")
		}
	}
	last := note(mallory, 1111, 2, nostr.Tag{"e", issue.ID})
	w.refuses(last, "G01-801", "")
	w.serves(issue)
	w.wantShelf(grasp.Nowhere, first)
	w.wantShelf(grasp.Served, last)
	w.ok()
}

// G01-806, check 220, N-009, N-010, check 104.
func TestListsAndProfiles(t *testing.T) {
	w := newWorld(t, func(c *steward.Config) {
		c.Part = func(_ context.Context, k grasp.PubKey) (grasp.Part, error) {
			return map[grasp.PubKey]grasp.Part{alice: grasp.Member, bob: grasp.Participant}[k], nil
		}
	})
	w.live(demo)
	w.wantTold(w.told...)
	g1, g2 := note(mallory, grasp.KindGraspList, 1), note(mallory, grasp.KindGraspList, 2)
	w.serves(g1, g2)
	w.wantShelf(grasp.Nowhere, g1)
	w.refuses(g1, "N-004", "newer version")
	profile := note(alice, grasp.KindProfile, 1)
	w.serves(profile, note(alice, grasp.KindRelayList, 1))
	w.refuses(note(mallory, grasp.KindProfile, 1), "G01-801", "")
	w.refuses(note(bob, grasp.KindProfile, 1), "G01-801", "") // who only answered; see TestProfilesOfParticipants
	w.wantTold(w.told...)

	brief := note(bob, 20_001, 3, nostr.Tag{"a", demo.Coordinate()})
	w.hears(grasp.Passed, brief)
	w.wantTold(brief)
	w.wantShelf(grasp.Nowhere, brief)
	w.refuses(note(bob, 20_001, 3), "G01-801", "")
	w.ok()
}

// TestProfilesOfParticipants: where sync-plus is spoken, whoever wrote what was accepted may keep a
// profile and a list of relays, and nobody else (G03-01).
func TestProfilesOfParticipants(t *testing.T) {
	w := newWorld(t, func(c *steward.Config) {
		c.Plus = true
		c.Part = func(_ context.Context, k grasp.PubKey) (grasp.Part, error) {
			return map[grasp.PubKey]grasp.Part{alice: grasp.Member, bob: grasp.Participant}[k], nil
		}
	})
	w.live(demo)
	w.serves(note(alice, grasp.KindProfile, 1), note(bob, grasp.KindProfile, 1), note(bob, grasp.KindRelayList, 1))
	w.refuses(note(mallory, grasp.KindProfile, 1), "G01-801", "")
	w.refuses(note(mallory, grasp.KindRelayList, 1), "G01-801", "")
	w.refuses(note(bob, 1, 1), "G01-801", "") // whatever else they write has to be about something
	w.ok()
}

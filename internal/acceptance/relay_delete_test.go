package acceptance_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/housetest"
)

// checks 115, 118, N-031, N-032: a deletion is kept, and touches nobody else's events.
func TestRelayDeletionsByStrangers(t *testing.T) {
	t.Parallel()
	h, c, owner, _, _ := settled(t)
	stranger := housetest.NewKey(t)
	mine := issue(owner, owner, "tool", "mine")
	c.Accepted(mine)
	announcement := c.Query(nostr.Filter{Kinds: []int{30617}})[0]
	state := c.Query(nostr.Filter{Kinds: []int{30618}})[0]
	del := stranger.Deletion(0, nostr.Tag{"e", mine.ID}, nostr.Tag{"e", announcement.ID}, nostr.Tag{"e", state.ID},
		nostr.Tag{"a", housetest.Coordinate(owner, "tool")}, nostr.Tag{"a", "30618:" + owner.Pub + ":tool"}, nostr.Tag{"k", "1621"})
	c.Accepted(del)
	c.Shows(mine, announcement, state)
	h.Lives(h.Repo(owner, "tool"))
}

// checks 116, 117, 118, N-031, N-032, N-033: what is deleted stays away, what comes later does not.
func TestRelayDeletions(t *testing.T) {
	t.Parallel()
	_, c, owner, _, at := settled(t)
	ref := nostr.Tag{"a", housetest.Coordinate(owner, "tool")}
	t.Run("by id", func(t *testing.T) {
		ev, kept := issue(owner, owner, "tool", "x"), issue(owner, owner, "tool", "y")
		c.Accepted(ev, kept)
		// Upper case, q and k delete nothing.
		del := owner.Deletion(0, nostr.Tag{"e", ev.ID}, nostr.Tag{"E", kept.ID}, nostr.Tag{"q", kept.ID}, nostr.Tag{"k", "1621"}, nostr.Tag{"A", ref[1]})
		c.Accepted(del)
		c.Hides(ev)
		c.Shows(kept)
		c.Refused(ev, "blocked: this event was deleted")
		c.Accepted(owner.Deletion(0, nostr.Tag{"e", del.ID}))
		c.Shows(del) // a deletion cannot be deleted
	})
	t.Run("by coordinate", func(t *testing.T) {
		about := func(at int64) *nostr.Event {
			return owner.Sign(30023, at, fmt.Sprint(at), nostr.Tag{"d", "notes"}, ref)
		}
		coord := nostr.Tag{"a", "30023:" + owner.Pub + ":notes"}
		old, late := about(at+100), about(at+201)
		c.Accepted(old, owner.Deletion(at+200, coord))
		c.Hides(old)
		c.Refused(old, "blocked: ")
		c.Refused(about(at+200), "blocked: ")
		c.Accepted(late)
		c.Accepted(owner.Deletion(at+150, coord)) // of an earlier time than what is served
		c.Shows(late)
	})
	t.Run("before the event", func(t *testing.T) {
		ev := issue(owner, owner, "tool", "never seen")
		c.Accepted(owner.Deletion(0, nostr.Tag{"e", ev.ID}))
		c.Refused(ev, "blocked: this event was deleted")
		c.Hides(ev)
		// A stranger's deletion of an event that nobody knows yet does not keep it away.
		other := issue(owner, owner, "tool", "still welcome")
		c.Accepted(housetest.NewKey(t).Deletion(0, nostr.Tag{"e", other.ID}))
		c.Accepted(other)
	})
}

// check 119, N-035: who asks to vanish is gone, with the repositories.
func TestRelayVanish(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	stranger := housetest.NewKey(t)
	theirs := issue(stranger, owner, "tool", "theirs")
	mine := issue(owner, owner, "tool", "mine")
	del := owner.Deletion(0, nostr.Tag{"e", strings.Repeat("7", 64)})
	c.Accepted(theirs, mine, del)
	waiting := h.Announcement(owner, "other", at)
	c.Held(waiting)
	events := append(c.Query(nostr.Filter{Authors: []string{owner.Pub}}), waiting)

	c.Refused(owner.Sign(62, 0, "", nostr.Tag{"relay", "wss://elsewhere.example"}), "blocked: ")
	h.Lives(h.Repo(owner, "tool"))
	vanish := owner.Sign(62, time.Now().Unix(), "bye", nostr.Tag{"relay", "ALL_RELAYS"})
	c.Must(vanish)
	if got := c.Query(nostr.Filter{Authors: []string{owner.Pub}, Kinds: []int{5, grasp.KindIssue, 30617, 30618}}); len(got) != 0 {
		t.Fatalf("%d events are served of somebody who vanished", len(got))
	}
	h.Gone(h.Repo(owner, "tool"))
	h.Gone(h.Repo(owner, "other"))
	for _, ev := range events {
		c.Refused(ev, "blocked: ")
	}
	w.Fails("not found", "push", h.Repo(owner, "tool"), "main")
	c.Shows(theirs)
	h.Restart(nil)
	c = h.Dial()
	c.Refused(events[0], "blocked: ")
	h.Gone(h.Repo(owner, "tool"))
}

// check 120, N-036: events end when they say so.
func TestRelayExpiration(t *testing.T) {
	t.Parallel()
	h, c, owner, _, _ := settled(t)
	now := h.Clock.Now().Unix()
	until := func(at int64) *nostr.Event {
		return issue(owner, owner, "tool", fmt.Sprint(at), nostr.Tag{"expiration", fmt.Sprint(at)})
	}
	c.Refused(until(now-10), "invalid: event has expired")
	brief, long := until(now+20), until(now+2000)
	c.Accepted(brief, long)
	h.Clock.Advance(21 * time.Second)
	c.Hides(brief) // before anybody swept
	c.Shows(long)
	h.Sweep()
	c.Hides(brief)
	c.Shows(long)
}

// check 121, N-037, N-038: a protected event is taken from its author only.
func TestRelayProtectedEvents(t *testing.T) {
	t.Parallel()
	h, c, owner, _, _ := settled(t)
	ev := issue(owner, owner, "tool", "x", nostr.Tag{"-"})
	c.Refused(ev, "auth-required: ")
	challenge := c.Message("AUTH")[1]
	login := func(k *housetest.Key, relay, challenge string) *nostr.Event {
		return k.Sign(22242, 0, "", nostr.Tag{"relay", relay}, nostr.Tag{"challenge", challenge})
	}
	auth := func(ev *nostr.Event, want bool) {
		t.Helper()
		c.Send("AUTH", ev)
		if ok, msg := c.OK(ev.ID); ok != want {
			t.Fatalf("AUTH: OK %v %q", ok, msg)
		}
	}
	auth(login(owner, h.RelayURL(), "another challenge"), false)
	auth(login(owner, "wss://elsewhere.example", challenge), false)
	c.Refused(ev, "auth-required: ")
	auth(login(housetest.NewKey(t), h.RelayURL(), challenge), true)
	c.Refused(ev, "restricted: ")
	good := login(owner, h.RelayURL(), challenge)
	auth(good, true)
	c.Accepted(ev)
	c.Refused(owner.Sign(1, 0, "about nothing", nostr.Tag{"-"}), "blocked: ") // it still has to be related
	c.Refused(good, "invalid: ")                                              // never stored
	// Somebody else's connection knows nothing of it.
	h.Dial().Refused(issue(owner, owner, "tool", "y", nostr.Tag{"-"}), "auth-required: ")
}

// check 122, N-038: nobody is asked who they are without need.
func TestRelayDoesNotAskWhoYouAre(t *testing.T) {
	t.Parallel()
	h, _, owner, _, _ := settled(t)
	c := h.Dial()
	c.None("AUTH")
	c.Accepted(issue(owner, owner, "tool", "x"))
	c.Count(nostr.Filter{Kinds: []int{1}})
	c.Refused(owner.Sign(1, 0, "unrelated"), "blocked: ")
	c.None("AUTH")
}

// check 123, N-041, N-045: COUNT says how many a REQ would bring.
func TestRelayCount(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	c.Accepted(issue(owner, owner, "tool", "x"), issue(owner, owner, "tool", "y"))
	c.Held(owner.State("tool", at+1, "main="+w.Commit()), h.Announcement(owner, "other", at), owner.Pull("tool", strings.Repeat("1", 40), owner))
	for _, f := range []nostr.Filter{
		{}, {Authors: []string{owner.Pub}}, {Kinds: []int{grasp.KindIssue}}, {Kinds: []int{30617}}, {Kinds: []int{30618}}, {Kinds: []int{1618}},
		{Tags: nostr.TagMap{"d": {"tool", "other"}}}, {Kinds: []int{1337}},
	} {
		if got, want := c.Count(f), len(c.Query(f)); got != int64(want) {
			t.Errorf("%v: COUNT says %d, REQ brings %d", f, got, want)
		}
	}
	// Two filters that match the same events count them once.
	f := nostr.Filter{Kinds: []int{grasp.KindIssue}}
	if got := c.Count(f, nostr.Filter{Authors: []string{owner.Pub}, Kinds: []int{grasp.KindIssue}}); got != 2 {
		t.Errorf("COUNT of two filters says %d, want 2", got)
	}
}

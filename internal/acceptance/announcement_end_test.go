package acceptance_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/housetest"
)

// check 256, G01-110: too long a list is refused, and holds nobody up.
func TestAnnouncementWithTooManyNames(t *testing.T) {
	t.Parallel()
	h, c, owner, _, _ := settled(t)
	list := func(n int) nostr.Tag {
		tag := nostr.Tag{"maintainers"}
		for i := range n {
			tag = append(tag, fmt.Sprintf("%064x", i+1))
		}
		return tag
	}
	k := housetest.NewKey(t)
	for _, n := range []int{501, 10_000} {
		ev := h.Announcement(k, "big", 0, list(n))
		c.Send("EVENT", ev)
		start := time.Now()
		h.Dial().Accepted(issue(owner, owner, "tool", fmt.Sprint(n)))
		if took := time.Since(start); took > housetest.Wait/2 {
			t.Errorf("others waited %v behind %d maintainers", took, n)
		}
		if ok, msg := c.OK(ev.ID); ok || !strings.HasPrefix(msg, "invalid: ") {
			t.Errorf("%d maintainers: OK %v %q", n, ok, msg)
		}
		h.Gone(h.Repo(k, "big"))
	}
	c.Held(h.Announcement(k, "big", 0, list(500)))
}

// check 257, G01-113: a maintainer who lists this server has a repository of their own.
func TestAnnouncementOfMaintainerHere(t *testing.T) {
	t.Parallel()
	h, c, owner, _, at := settled(t)
	m1 := housetest.NewKey(t)
	c.Accepted(h.Announcement(owner, "tool", at+1, housetest.Maintainers(m1)))
	ev := h.Announcement(m1, "tool", at) // it does not list the owner
	c.Held(ev)
	c.Hides(ev)
	h.Lives(h.Repo(m1, "tool"))
	housetest.Refs(t, h.Repo(m1, "tool"))
}

// check 264, G01-901: deleting an announcement that waits removes what depends on it.
func TestAnnouncementIsDeletedInPurgatory(t *testing.T) {
	t.Parallel()
	for name, tag := range map[string]func(owner *housetest.Key, ev *nostr.Event) nostr.Tag{
		"by coordinate": func(owner *housetest.Key, _ *nostr.Event) nostr.Tag {
			return nostr.Tag{"a", housetest.Coordinate(owner, "tool")}
		},
		"by id": func(_ *housetest.Key, ev *nostr.Event) nostr.Tag { return nostr.Tag{"e", ev.ID} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := housetest.Start(t)
			c, owner, m1, at := h.Dial(), housetest.NewKey(t), housetest.NewKey(t), past()
			w := housetest.NewCopy(t)
			oid := w.Commit()
			ev := h.Announcement(owner, "tool", at, housetest.Maintainers(m1))
			mine, theirs := owner.State("tool", at, "main="+oid), m1.State("tool", at+1, "main="+oid)
			c.Held(ev, mine, theirs)
			c.Accepted(owner.Deletion(at+2, tag(owner, ev)))
			h.Gone(h.Repo(owner, "tool"))
			w.Fails("not found", "push", h.Repo(owner, "tool"), "main")
			c.Refused(ev, "blocked: ")
			// The states are gone too: what comes later starts from nothing.
			c.Held(h.Announcement(owner, "tool", at+3, housetest.Maintainers(m1)))
			w.Fails("kind 30618", "push", h.Repo(owner, "tool"), "main")
			if n := c.Count(nostr.Filter{Kinds: []int{30617, 30618}}); n != 0 {
				t.Errorf("%d events are served", n)
			}
		})
	}
}

// check 264, G01-901: a state that another repository's owner authorises stays.
func TestAnnouncementDeletionKeepsOthersStates(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, owner, other, m1, at := h.Dial(), housetest.NewKey(t), housetest.NewKey(t), housetest.NewKey(t), past()
	w := housetest.NewCopy(t)
	state := m1.State("tool", at, "main="+w.Commit())
	c.Held(h.Announcement(owner, "tool", at, housetest.Maintainers(m1)), h.Announcement(other, "tool", at, housetest.Maintainers(m1)), state)
	c.Accepted(owner.Deletion(at+2, nostr.Tag{"a", housetest.Coordinate(owner, "tool")}))
	h.Gone(h.Repo(owner, "tool"))
	w.Git("push", "-q", h.Repo(other, "tool"), "main")
	c.Shows(state)
}

// check 266, G01-906: nobody deletes for somebody else, maintainer or not.
func TestAnnouncementDeletionByMaintainer(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	m1, p := housetest.NewKey(t), housetest.NewKey(t)
	announcement := h.Announcement(owner, "tool", at+1, housetest.Maintainers(m1))
	c.Accepted(announcement)
	state := c.Query(nostr.Filter{Kinds: []int{30618}})[0]
	tip := w.Git("rev-parse", "main")
	pull := p.Pull("tool", tip, owner)
	c.Accepted(pull)
	c.Accepted(m1.Deletion(0, nostr.Tag{"e", announcement.ID}, nostr.Tag{"e", state.ID}, nostr.Tag{"e", pull.ID},
		nostr.Tag{"a", housetest.Coordinate(owner, "tool")}, nostr.Tag{"a", "30618:" + owner.Pub + ":tool"}))
	// And the other way round: the owner does not delete what the maintainer waits for.
	theirs := m1.State("tool", at+5, "main="+w.Commit())
	c.Held(theirs)
	c.Accepted(owner.Deletion(0, nostr.Tag{"e", theirs.ID}, nostr.Tag{"a", "30618:" + m1.Pub + ":tool"}))
	c.Shows(announcement, state, pull)
	housetest.Refs(t, h.Repo(owner, "tool"), "main="+tip, "refs/nostr/"+pull.ID+"="+tip)
	w.Git("push", "-q", h.Repo(owner, "tool"), "main")
	c.Shows(theirs)
}

// check 263, G01-807: anybody may say that an issue is closed; clients judge.
func TestAnnouncementStatusByStranger(t *testing.T) {
	t.Parallel()
	_, c, owner, _, _ := settled(t)
	ev := issue(owner, owner, "tool", "x")
	c.Accepted(ev)
	c.Accepted(housetest.NewKey(t).Sign(1632, 0, "", nostr.Tag{"e", ev.ID, "", "root"}, nostr.Tag{"p", owner.Pub}))
}

// check 120, N-036: an announcement that has expired counts as deleted, and its data as set aside.
func TestAnnouncementExpires(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	repo, oid := h.Repo(owner, "tool"), w.Git("rev-parse", "main")
	end := h.Clock.Now().Add(time.Minute).Unix()
	brief := h.Announcement(owner, "tool", at+1, nostr.Tag{"expiration", fmt.Sprint(end)})
	c.Accepted(brief)
	h.Clock.Advance(61 * time.Second)
	c.Hides(brief)
	h.Sweep()
	h.Gone(repo)
	c.Refused(brief, "invalid: event has expired")
	c.Must(h.Announcement(owner, "tool", at+2))
	housetest.Refs(t, repo, "main="+oid)
}

// check 146, G01-115: the owner who is a maintainer of another repository stays with that one.
func TestAnnouncementIsWithdrawnByMaintainer(t *testing.T) {
	t.Parallel()
	h, c, owner, _, at := settled(t)
	m1 := housetest.NewKey(t)
	c.Accepted(h.Announcement(owner, "tool", at+1, housetest.Maintainers(m1)))
	c.Held(h.Announcement(m1, "tool", at))
	ev := foreign(m1, "tool", at+1)
	c.Accepted(ev)
	h.Gone(h.Repo(m1, "tool"))
}

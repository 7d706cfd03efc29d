package acceptance_test

import (
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/housetest"
)

// check 148, G01-202: who is named may act without having announced anything.
func TestMaintainerWithoutAnnouncement(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	m1 := housetest.NewKey(t)
	c.Accepted(h.Announcement(owner, "tool", at+1, housetest.Maintainers(m1)))
	state := m1.State("tool", at+2, "main="+w.Commit())
	c.Held(state)
	w.Git("push", "-q", h.Repo(owner, "tool"), "main")
	c.Shows(state)
	housetest.Refs(t, h.Repo(owner, "tool"), "main="+w.Git("rev-parse", "main"))
	h.Gone(h.Repo(m1, "tool"))
}

// check 149, G01-201, G01-203: the chain goes through announcements that wait.
func TestMaintainerOfMaintainer(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	m1, m2, m3 := housetest.NewKey(t), housetest.NewKey(t), housetest.NewKey(t)
	c.Accepted(h.Announcement(owner, "tool", at+1, housetest.Maintainers(m1)))
	waiting := h.Announcement(m1, "tool", at, housetest.Maintainers(m2))
	c.Held(waiting) // m1 does not list the owner: there is nothing for its own repository
	state := m2.State("tool", at+2, "main="+w.Commit())
	c.Held(state)
	c.Refused(m3.State("tool", at+2, "main="+w.Git("rev-parse", "main")), "invalid: author not authorized for this repository")
	w.Git("push", "-q", h.Repo(owner, "tool"), "main")
	c.Shows(state)
	housetest.Refs(t, h.Repo(owner, "tool"), "main="+w.Git("rev-parse", "main"))
}

// check 150, G01-201: circles end, and everybody in them counts.
func TestMaintainerCircle(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, owner, m1, at := h.Dial(), housetest.NewKey(t), housetest.NewKey(t), past()
	c.Held(h.Announcement(owner, "tool", at, housetest.Maintainers(owner, m1)), h.Announcement(m1, "tool", at, housetest.Maintainers(m1, owner)))
	w := housetest.NewCopy(t)
	for i, k := range []*housetest.Key{m1, owner, m1} {
		state := k.State("tool", at+int64(i), "main="+w.Commit())
		c.Held(state)
		w.Git("push", "-q", h.Repo([]*housetest.Key{owner, m1}[i%2], "tool"), "main")
		c.Shows(state)
		for _, repo := range []*housetest.Key{owner, m1} {
			housetest.Refs(t, h.Repo(repo, "tool"), "main="+w.Git("rev-parse", "main"))
		}
	}
}

// check 151, G01-204: being named by somebody does not let them in.
func TestMaintainerRelationIsDirected(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, owner, m1, at := h.Dial(), housetest.NewKey(t), housetest.NewKey(t), past()
	theirs := h.Announcement(m1, "tool", at)
	c.Held(h.Announcement(owner, "tool", at, housetest.Maintainers(m1)), theirs)
	w := housetest.NewCopy(t)
	state := owner.State("tool", at, "main="+w.Commit())
	c.Held(state)
	w.Fails("kind 30618", "push", h.Repo(m1, "tool"), "main")
	w.Git("push", "-q", h.Repo(owner, "tool"), "main")
	c.Shows(state)
	housetest.Refs(t, h.Repo(m1, "tool"))
	c.Hides(theirs)
}

// check 152, G01-204: being named for one identifier means nothing for another.
func TestMaintainerOfAnotherIdentifier(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	m1 := housetest.NewKey(t)
	c.Accepted(h.Announcement(owner, "tool", at+1, housetest.Maintainers(m1)))
	c.Held(h.Announcement(owner, "secret", at))
	c.Refused(m1.State("secret", at+2, "main="+w.Commit()), "not authorized")
	w.Fails("kind 30618", "push", h.Repo(owner, "secret"), "main")
}

// check 153, G01-205: whoever is removed has no say any more, not even about what they did.
func TestMaintainerIsRemoved(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	repo, m1 := h.Repo(owner, "tool"), housetest.NewKey(t)
	first := w.Git("rev-parse", "main")
	c.Accepted(h.Announcement(owner, "tool", at+1, housetest.Maintainers(m1)))
	c.Held(m1.State("tool", at+10, "main="+w.Commit()))
	w.Git("push", "-q", repo, "main")
	housetest.Refs(t, repo, "main="+w.Git("rev-parse", "main"))
	pending := m1.State("tool", at+20, "main="+w.Commit())
	c.Held(pending)

	c.Accepted(h.Announcement(owner, "tool", at+2))
	housetest.Refs(t, repo, "main="+first)
	w.Fails("[remote rejected]", "push", "-f", repo, "main")
	c.Refused(m1.State("tool", at+30, "main="+first), "not authorized")
	c.Hides(pending)
	housetest.Refs(t, repo, "main="+first)

	// Named again, what still waits counts again.
	c.Accepted(h.Announcement(owner, "tool", at+3, housetest.Maintainers(m1)))
	w.Git("push", "-q", repo, "main")
	c.Shows(pending)
}

// check 154, G01-205: a state that is here already takes effect when its author is added.
func TestMaintainerIsAdded(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	m1 := housetest.NewKey(t)
	theirs := housetest.Clone(t, h.Repo(owner, "tool"))
	oid := theirs.CommitFile("theirs", []byte("theirs"))
	c.Held(h.Announcement(m1, "tool", at), m1.State("tool", at+50, "main="+oid))
	theirs.Git("push", "-q", h.Repo(m1, "tool"), "main")
	housetest.Refs(t, h.Repo(owner, "tool"), "main="+w.Git("rev-parse", "main"))
	c.Accepted(h.Announcement(owner, "tool", at+1, housetest.Maintainers(m1)))
	housetest.Refs(t, h.Repo(owner, "tool"), "main="+oid)
	housetest.Clone(t, h.Repo(owner, "tool")).Git("fsck", "--full")
}

// check 155, G01-511: a maintainer without an announcement has no repository here.
func TestMaintainerHasNoRepository(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	m1 := housetest.NewKey(t)
	c.Accepted(h.Announcement(owner, "tool", at+1, housetest.Maintainers(m1)))
	c.Held(m1.State("tool", at+2, "main="+w.Commit()))
	w.Fails("not found", "push", h.Repo(m1, "tool"), "main")
	h.Gone(h.Repo(m1, "tool"))
	w.Git("push", "-q", h.Repo(owner, "tool"), "main")
}

// checks 258, 259, G01-203: the chain goes through announcements of other servers, until they are
// deleted.
func TestMaintainerChainElsewhere(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	repo, m1, m2 := h.Repo(owner, "tool"), housetest.NewKey(t), housetest.NewKey(t)
	c.Accepted(h.Announcement(owner, "tool", at+1, housetest.Maintainers(m1)))
	link := foreign(m1, "tool", at, housetest.Maintainers(m2))
	c.Accepted(link)
	state := m2.State("tool", at+10, "main="+w.Commit())
	c.Held(state)
	w.Git("push", "-q", repo, "main")
	c.Shows(state)

	pending := m2.State("tool", at+20, "main="+w.Commit())
	c.Held(pending)
	c.Accepted(m1.Deletion(at+1, nostr.Tag{"e", link.ID}))
	c.Hides(link)
	c.Refused(m2.State("tool", at+30, "main="+w.Git("rev-parse", "main")), "not authorized")
	w.Fails("[remote rejected]", "push", repo, "main")
	own := m1.State("tool", at+40, "main="+w.Commit())
	c.Held(own)
	w.Git("push", "-q", "-f", repo, "main")
	c.Shows(own)
}

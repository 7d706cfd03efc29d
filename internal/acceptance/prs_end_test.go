package acceptance_test

import (
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
)

// check 235, G06-12: with its event goes a pull request, from the box and from where it was mirrored,
// and with the last one the box.
func TestDeletionEmptiesTheBox(t *testing.T) {
	t.Parallel()
	h, c, owner, p, w, tips := boxed(t)
	box, repo, main := h.Box(p, "tool"), h.Repo(owner, "tool"), "main="+w.Git("rev-parse", "main")
	one, two := p.Proposal("tool", tips[0], box, owner), p.Proposal("tool", tips[1], box, owner)
	first, second := housetest.PullRef(one.ID), housetest.PullRef(two.ID)
	w.Git("push", "-q", box, "p1:"+first, "p2:"+second)
	c.Accepted(one, two)
	housetest.Refs(t, repo, main, first+"="+tips[0], second+"="+tips[1])
	c.Accepted(housetest.NewKey(t).Deletion(0, nostr.Tag{"e", one.ID}), owner.Deletion(0, nostr.Tag{"e", one.ID})) // not theirs to delete
	housetest.Refs(t, box, first+"="+tips[0], second+"="+tips[1])
	c.Accepted(p.Deletion(0, nostr.Tag{"e", one.ID}))
	c.Hides(one)
	housetest.Refs(t, box, second+"="+tips[1])
	housetest.Refs(t, repo, main, second+"="+tips[1])
	c.Accepted(p.Deletion(0, nostr.Tag{"e", two.ID}))
	housetest.Refs(t, box)
	housetest.Refs(t, repo, main)
	if got := h.BoxesOnDisk(); len(got) > 0 {
		t.Errorf("on disk: %v", got)
	}
	// Deleted, it does not come back; its ref waits in vain.
	c.Refused(one, "blocked: ")
	w.Git("push", "-q", box, "p1:"+first)
	h.Clock.Advance(21 * time.Minute)
	h.Sweep()
	housetest.Refs(t, box)
	if got := h.BoxesOnDisk(); len(got) > 0 {
		t.Errorf("on disk: %v", got)
	}
}

// G06-12, G01-707: what nobody announces goes after 20 minutes, also when the server was not running
// all the time.
func TestBoxOrphans(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		h, c, _, p, w, tips := boxed(t)
		box := h.Box(p, "lib")
		pause := func(minutes int) {
			h.Clock.Advance(time.Duration(minutes) * time.Minute)
			if restart {
				h.Restart(nil)
				c = h.Dial()
			}
			h.Sweep()
		}
		left, again := housetest.PullRef(unusedID(t)), housetest.PullRef(unusedID(t))
		kept := p.Proposal("lib", tips[0], box, housetest.NewKey(t))
		w.Git("push", "-q", box, "p1:"+left, "p1:"+again, "p1:"+housetest.PullRef(kept.ID))
		pause(15)
		w.Git("push", "-q", "-f", box, "p2:"+again)
		c.Accepted(kept)
		pause(6)
		housetest.Refs(t, box, again+"="+tips[1], housetest.PullRef(kept.ID)+"="+tips[0])
		pause(15)
		housetest.Refs(t, box, housetest.PullRef(kept.ID)+"="+tips[0])
		c.Accepted(p.Deletion(0, nostr.Tag{"e", kept.ID}))
		if got := h.BoxesOnDisk(); len(got) > 0 {
			t.Errorf("on disk: %v", got)
		}
	}
}

// check 58, H-242, H-254: a large pull request comes in pieces, behind a probe; one that is larger
// than the operator allows is refused with the limit.
func TestLargePullRequest(t *testing.T) {
	t.Parallel()
	h, c, owner, p, w, _ := boxed(t, func(cfg *config.Config) { cfg.Limits.MaxPRPush = 3 << 20 })
	random := func(name string, size int) string {
		b := make([]byte, size)
		_, _ = rand.Read(b)
		w.Git("checkout", "-q", "-b", name, "main")
		return w.CommitFile(name, b)
	}
	box := h.Box(p, "tool")
	tip := random("large", 2<<20)
	pull := p.Proposal("tool", tip, box, owner)
	w.Git("push", "-q", box, "large:"+housetest.PullRef(pull.ID))
	c.Accepted(pull)
	housetest.Refs(t, h.Repo(owner, "tool"), "main="+w.Git("rev-parse", "main"), housetest.PullRef(pull.ID)+"="+tip)
	random("huge", 4<<20)
	said := w.Fails("limit: at most 3 MiB", "push", box, "huge:"+housetest.PullRef(unusedID(t)))
	if strings.Contains(said, "broken pipe") {
		t.Errorf("git said:\n%s", said)
	}
	housetest.Refs(t, box, housetest.PullRef(pull.ID)+"="+tip)
}

// check 279, G06-13: what one submitter may keep is bounded, in refs, in repositories and in bytes;
// nobody else is bothered, and what is deleted is free again.
func TestBoxQuota(t *testing.T) {
	t.Parallel()
	h, c, _, p, w, tips := boxed(t, func(cfg *config.Config) {
		cfg.Quota.SubmitterRefs, cfg.Quota.SubmitterRepos, cfg.Quota.SubmitterBytes = 3, 2, 1<<20
	})
	x, far := housetest.NewKey(t), housetest.NewKey(t)
	fresh := func() string { return housetest.PullRef(unusedID(t)) }
	refused := func(what string, args ...string) {
		t.Helper()
		said := w.Fails("limit: ", append([]string{"push"}, args...)...)
		if !strings.Contains(said, what) {
			t.Errorf("git said:\n%s\nwant %q", said, what)
		}
	}
	kept := p.Proposal("one", tips[0], h.Box(p, "one"), far)
	w.Git("push", "-q", h.Box(p, "one"), "p1:"+housetest.PullRef(kept.ID), "p1:"+fresh())
	c.Accepted(kept)
	w.Git("push", "-q", h.Box(p, "two"), "p1:"+fresh())
	refused("2 of 2 repositories", h.Box(p, "three"), "p1:"+fresh())
	refused("3 of 3 refs", h.Box(p, "two"), "p2:"+fresh())
	for _, id := range []string{"one", "two", "three"} {
		if id != "three" {
			w.Git("push", "-q", h.Box(x, id), "p1:"+fresh())
		}
	}
	// What is there already may be pushed again, and what goes makes room.
	w.Git("push", h.Box(p, "one"), "p1:"+housetest.PullRef(kept.ID))
	c.Accepted(p.Deletion(0, nostr.Tag{"e", kept.ID}))
	w.Git("push", "-q", h.Box(p, "two"), "p2:"+fresh())
	h.Clock.Advance(21 * time.Minute)
	h.Sweep()
	if got := h.BoxesOnDisk(); len(got) > 0 {
		t.Errorf("on disk: %v", got)
	}
	b := make([]byte, 2<<20)
	_, _ = rand.Read(b)
	w.Git("checkout", "-q", "-b", "large", "main")
	w.CommitFile("large", b)
	refused("1 MiB", h.Box(p, "three"), "large:"+fresh())
	w.Git("push", "-q", h.Box(p, "three"), "p1:"+fresh())
}

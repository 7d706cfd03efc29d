package acceptance_test

import (
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/housetest"
)

// check 194, G01-603: what the state leaves out is removed; PR refs are not the state's business.
func TestAlignRemovesWhatIsNotDeclared(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := announced(t)
	repo, main := h.Repo(owner, "tool"), w.Commit()
	c.Held(owner.State("tool", at, "main="+main, "old="+main, "refs/tags/v0="+main))
	w.Git("push", "-q", repo, "main", "main:old", "main:refs/tags/v0")
	fix := branch(w, "fix")
	pull := housetest.NewKey(t).Pull("tool", fix, owner)
	c.Held(pull)
	ref, orphan := housetest.PullRef(pull.ID), housetest.PullRef(unusedID(t))
	w.Git("push", "-q", repo, "fix:"+ref, "fix:"+orphan)
	housetest.Refs(t, repo, "main="+main, "old="+main, "refs/tags/v0="+main, ref+"="+fix, orphan+"="+fix)

	// by the state alone
	c.Accepted(owner.State("tool", at+1, "main="+main, "refs/tags/v0="+main))
	housetest.Refs(t, repo, "main="+main, "refs/tags/v0="+main, ref+"="+fix, orphan+"="+fix)
	// with a push
	next := w.Commit()
	state := owner.State("tool", at+2, "main="+next)
	c.Held(state)
	housetest.Refs(t, repo, "main="+main, "refs/tags/v0="+main, ref+"="+fix, orphan+"="+fix)
	w.Git("push", "-q", repo, "main")
	housetest.Refs(t, repo, "main="+next, ref+"="+fix, orphan+"="+fix)
	c.Shows(state, pull)
}

// unusedID is an event id that nobody has used.
func unusedID(t *testing.T) string {
	t.Helper()
	return housetest.NewKey(t).Pub
}

// checks 195, 262, G01-604, G01-606: HEAD follows the state, in both protocols.
func TestHeadFollowsTheState(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := announced(t)
	repo, main := h.Repo(owner, "tool"), w.Commit()
	develop := branch(w, "develop")
	c.Held(owner.State("tool", at, "main="+main, "develop="+develop))
	w.Git("push", "-q", repo, "main", "develop")
	h.HeadIs(repo, "main")
	for i, head := range []string{"develop", "main", "develop"} {
		c.Accepted(owner.State("tool", at+1+int64(i), "HEAD="+head, "main="+main, "develop="+develop))
		housetest.Within(t, housetest.Wait, "HEAD at "+head, func() bool {
			v0, v2 := h.Heads(repo)
			return v0 == "refs/heads/"+head && v2 == v0
		})
		if got := housetest.Clone(t, repo).Git("symbolic-ref", "HEAD"); got != "refs/heads/"+head {
			t.Errorf("the clone is on %s, want %s", got, head)
		}
	}
	housetest.Refs(t, repo, "main="+main, "develop="+develop)
	h.Restart(nil)
	h.HeadIs(repo, "develop")
}

// checks 196, 262, G01-604: HEAD follows a branch that the push brings.
func TestHeadFollowsThePush(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	repo, main := h.Repo(owner, "tool"), w.Git("rev-parse", "main")
	develop := branch(w, "develop1")
	c.Held(owner.State("tool", at+1, "HEAD=develop1", "main="+main, "develop1="+develop))
	h.HeadIs(repo, "main")
	w.Git("push", "-q", repo, "develop1")
	h.HeadIs(repo, "develop1")
	if got := housetest.Clone(t, repo, "--depth=1").Git("rev-parse", "HEAD"); got != develop {
		t.Errorf("the clone is at %s, want %s", got, develop)
	}
	// main may go now, and come back as HEAD.
	c.Accepted(owner.State("tool", at+2, "develop1="+develop))
	housetest.Refs(t, repo, "develop1="+develop)
	h.HeadIs(repo, "develop1")
	c.Accepted(owner.State("tool", at+3, "HEAD=main", "main="+main))
	housetest.Refs(t, repo, "main="+main)
	h.HeadIs(repo, "main")
}

// check 197, G01-605: a HEAD that nobody can follow is replaced by one that exists.
func TestHeadFallsBack(t *testing.T) {
	t.Parallel()
	stateWithout := func(k *housetest.Key, at int64, head nostr.Tag, branches []string, oid string) *nostr.Event {
		tags := []nostr.Tag{{"d", "tool"}}
		if head != nil {
			tags = append(tags, head)
		}
		for _, b := range branches {
			tags = append(tags, nostr.Tag{"refs/heads/" + b, oid})
		}
		return k.Sign(grasp.KindState, at, "", tags...)
	}
	for name, head := range map[string]nostr.Tag{
		"undeclared": {"HEAD", "ref: refs/heads/nowhere"}, "missing": nil, "a tag": {"HEAD", "ref: refs/tags/v1"}, "empty": {"HEAD"}, "garbage": {"HEAD", "../../x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, c, owner, w, at := announced(t)
			repo, oid := h.Repo(owner, "tool"), w.Commit()
			c.Held(stateWithout(owner, at, head, []string{"zoo", "abc", "main"}, oid))
			w.Git("push", "-q", repo, "main:zoo", "main:abc", "main")
			h.HeadIs(repo, "main")
			for i, step := range []struct {
				branches []string
				want     string
			}{
				{[]string{"zoo", "main", "master"}, "main"},
				{[]string{"zoo", "master", "abc"}, "master"},
				{[]string{"zoo", "master", "abc", "main"}, "master"}, // what exists stays
				{[]string{"zoo", "abc"}, "abc"},
				{[]string{"zoo", "abc", "aaa", "master", "main"}, "abc"},
				{[]string{"zoo"}, "zoo"},
			} {
				c.Accepted(stateWithout(owner, at+1+int64(i), head, step.branches, oid))
				h.HeadIs(repo, step.want)
				clone := housetest.Clone(t, repo)
				if got := clone.Git("rev-parse", "--abbrev-ref", "HEAD"); got != step.want || clone.Git("rev-parse", "HEAD") != oid {
					t.Errorf("the clone is on %s, want %s", got, step.want)
				}
			}
		})
	}
}

// check 198, G01-602, G01-106: a push to one repository serves every other for which the state counts.
func TestPushFansOut(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, owner, m1, x, at := h.Dial(), housetest.NewKey(t), housetest.NewKey(t), housetest.NewKey(t), past()
	theirs := h.Announcement(m1, "tool", at, housetest.Maintainers(owner))
	stranger := h.Announcement(x, "tool", at) // it lists nobody
	c.Held(h.Announcement(owner, "tool", at, housetest.Maintainers(m1, x)), theirs, stranger)
	w := housetest.NewCopy(t)
	main := w.Commit()
	dev := branch(w, "dev")
	w.Git("tag", "-a", "-m", "one", "v1", "main")
	tag := w.Git("rev-parse", "v1")
	state := owner.State("tool", at+1, "HEAD=dev", "main="+main, "dev="+dev, "refs/tags/v1="+tag)
	c.Held(state)
	w.Git("push", "-q", h.Repo(owner, "tool"), "main", "dev", "v1")
	want := []string{"main=" + main, "dev=" + dev, "refs/tags/v1=" + tag}
	housetest.Refs(t, h.Repo(owner, "tool"), want...)
	housetest.Within(t, housetest.Wait, "the refs of the other repository", func() bool {
		return len(housetest.Remote(t, h.Repo(m1, "tool"))) > 0
	})
	housetest.Refs(t, h.Repo(m1, "tool"), want...)
	h.HeadIs(h.Repo(m1, "tool"), "dev")
	c.Shows(state, theirs)
	housetest.Clone(t, h.Repo(m1, "tool")).Git("fsck", "--full", "--strict")
	housetest.Refs(t, h.Repo(x, "tool"))
	c.Hides(stranger)

	// And the other way round.
	main = w.Commit()
	state = m1.State("tool", at+2, "main="+main)
	c.Held(state)
	w.Git("push", "-q", h.Repo(m1, "tool"), "main")
	for _, k := range []*housetest.Key{m1, owner} {
		housetest.Within(t, housetest.Wait, "the refs of "+k.Npub, func() bool {
			return housetest.Remote(t, h.Repo(k, "tool"))["refs/heads/main"] == main
		})
		housetest.Refs(t, h.Repo(k, "tool"), "main="+main)
	}
	c.Shows(state)
}

// check 199, G01-601, G01-406: who listens hears of a push once.
func TestPushIsToldOnce(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, owner, m1, at := h.Dial(), housetest.NewKey(t), housetest.NewKey(t), past()
	listener := h.Dial()
	all := listener.Subscribe(nostr.Filter{Kinds: []int{30617, 30618}, Limit: 10})
	mine := listener.Subscribe(nostr.Filter{Authors: []string{owner.Pub}}, nostr.Filter{Kinds: []int{30618}}) // two filters that both match
	listener.Stored(all)
	listener.Stored(mine)
	announcement, theirs := h.Announcement(owner, "tool", at, housetest.Maintainers(m1)), h.Announcement(m1, "tool", at, housetest.Maintainers(owner))
	w := housetest.NewCopy(t)
	state := owner.State("tool", at, "main="+w.Commit())
	c.Held(announcement, theirs, state)
	listener.Silent(all)
	w.Git("push", "-q", h.Repo(owner, "tool"), "main")
	got := map[string]int{}
	for range 3 {
		got[listener.Live(all).ID]++
	}
	if len(got) != 3 || got[announcement.ID] != 1 || got[theirs.ID] != 1 || got[state.ID] != 1 {
		t.Errorf("told %v", got)
	}
	housetest.Same(t, listener.Live(mine), announcement)
	housetest.Same(t, listener.Live(mine), state)
	// What is here already is no news, and neither is a push of it.
	c.Publish(state)
	c.Publish(announcement)
	w.Git("push", "-q", h.Repo(m1, "tool"), "main")
	h.Sweep()
	listener.Silent(all)
	listener.Silent(mine)
}

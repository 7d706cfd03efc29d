package acceptance_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
)

// announced starts a house with an owner whose repository "tool" waits for its first push, and a
// working copy without a commit.
func announced(t *testing.T, change ...func(*config.Config)) (h *housetest.House, c *housetest.Conn, owner *housetest.Key, w *housetest.Copy, at int64) {
	t.Helper()
	h = housetest.Start(t, change...)
	c, owner, at = h.Dial(), housetest.NewKey(t), past()
	c.Held(h.Announcement(owner, "tool", at))
	return h, c, owner, housetest.NewCopy(t), at
}

// branch begins a branch at main of the copy, with a commit of its own.
func branch(w *housetest.Copy, name string) string {
	w.Git("checkout", "-q", "-b", name)
	oid := w.CommitFile(name, []byte(name))
	w.Git("checkout", "-q", "main")
	return oid
}

// check 181, G01-501: what a state says may be pushed, and both are there when the push returns.
func TestPushOfASignedState(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := announced(t)
	repo, oid := h.Repo(owner, "tool"), w.Commit()
	state := owner.State("tool", at, "main="+oid)
	c.Held(state)
	w.Git("push", "-q", repo, "main")
	c.Shows(state)
	housetest.Refs(t, repo, "main="+oid)
	if n := len(c.Query(nostr.Filter{Kinds: []int{30617}, Authors: []string{owner.Pub}})); n != 1 {
		t.Errorf("%d announcements are served, want one", n)
	}
	clone := housetest.Clone(t, repo)
	clone.Git("fsck", "--full", "--strict")
	if got := clone.Git("rev-parse", "HEAD"); got != oid {
		t.Errorf("the clone is at %s, want %s", got, oid)
	}
	// Once more: there is nothing to do, and nothing wrong with that (H-249).
	h.MustPush(repo, "", oid+" "+oid+" refs/heads/main", housetest.ZeroID+" "+housetest.ZeroID+" refs/heads/none")
}

// check 182, G01-503, H-246: without a state nothing is authorised, and the reason says what to publish.
func TestPushWithoutAState(t *testing.T) {
	t.Parallel()
	h, c, owner, w, _ := announced(t)
	repo, oid := h.Repo(owner, "tool"), w.Commit()
	w.Fails("unauthorised: no repository state event authorises this push; publish kind 30618 first", "push", repo, "main")
	r := h.RefusePush(repo, w.Pack("main"), "publish kind 30618 first", housetest.ZeroID+" "+oid+" refs/heads/main")
	if !strings.HasPrefix(r.Refs["refs/heads/main"], "unauthorised: ") || len(r.Refs["refs/heads/main"]) > 200 {
		t.Errorf("the reason is %q", r.Refs["refs/heads/main"])
	}
	housetest.Refs(t, repo)
	if n := c.Count(nostr.Filter{Kinds: []int{30617, 30618}}); n != 0 {
		t.Errorf("%d events are served", n)
	}
	// H-245: what was sent is not here. A state that names it still waits.
	c.Held(owner.State("tool", 0, "main="+oid))
}

// check 183, G01-503: another commit than the signed one is refused, and everything stays.
func TestPushOfAnotherCommit(t *testing.T) {
	t.Parallel()
	for _, served := range []bool{false, true} {
		t.Run(fmt.Sprintf("served %v", served), func(t *testing.T) {
			t.Parallel()
			h, c, owner, w, at := announced(t)
			repo, refs := h.Repo(owner, "tool"), []string(nil)
			if served {
				refs = []string{"main=" + w.Commit()}
				c.Held(owner.State("tool", at, refs...))
				w.Git("push", "-q", repo, "main")
			}
			signed := w.Commit()
			state := owner.State("tool", at+1, "main="+signed)
			c.Held(state)
			evil := w.Commit()
			said := housetest.Undotted(w.Fails("[remote rejected] main -> main (unauthorised: refs/heads/main", "push", repo, "main"))
			for _, want := range []string{signed[:7], evil[:7], state.ID[:7]} {
				if !strings.Contains(said, want) {
					t.Errorf("the refusal does not name %s:\n%s", want, said)
				}
			}
			housetest.Refs(t, repo, refs...)
			c.Hides(state)
			w.Git("push", "-q", repo, signed+":refs/heads/main")
			c.Shows(state)
			housetest.Refs(t, repo, "main="+signed)
		})
	}
}

// check 184, G01-503, H-251: a ref too many spoils the push.
func TestPushOfOneRefTooMany(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := announced(t)
	repo, oid := h.Repo(owner, "tool"), w.Commit()
	state := owner.State("tool", at, "main="+oid)
	c.Held(state)
	for _, extra := range []string{"refs/heads/extra", "refs/tags/v1", "refs/heads/Main"} {
		w.Fails(extra, "push", repo, "main", "main:"+extra)
		w.Fails(extra, "push", repo, "main:"+extra)
		h.RefusePush(repo, w.Pack("main"), extra, housetest.ZeroID+" "+oid+" refs/heads/main", housetest.ZeroID+" "+oid+" "+extra)
		housetest.Refs(t, repo)
	}
	c.Hides(state)
	w.Git("push", "-q", repo, "main")
	housetest.Refs(t, repo, "main="+oid)
}

// check 185, G01-502: a part of the newest state may come first; it waits for the rest.
func TestPushInParts(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := announced(t)
	repo, main := h.Repo(owner, "tool"), w.Commit()
	dev := branch(w, "dev")
	state := owner.State("tool", at, "main="+main, "dev="+dev)
	c.Held(state)
	w.Git("push", "-q", repo, "main")
	housetest.Refs(t, repo, "main="+main)
	c.Hides(state)
	if n := c.Count(nostr.Filter{Kinds: []int{30617}}); n != 0 {
		t.Error("the announcement is served before its state")
	}
	w.Git("push", "-q", repo, "dev")
	housetest.Refs(t, repo, "main="+main, "dev="+dev)
	c.Shows(state)
	if n := c.Count(nostr.Filter{Kinds: []int{30617}}); n != 1 {
		t.Error("the announcement is not served with its state")
	}
}

// check 185, G01-502: undeclared refs go when the last part is here, and may be pushed away before.
func TestPushInPartsOverOldRefs(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := announced(t)
	repo, main := h.Repo(owner, "tool"), w.Commit()
	c.Held(owner.State("tool", at, "main="+main, "old="+main, "older="+main))
	w.Git("push", "-q", repo, "main", "main:old", "main:older")
	a, b := branch(w, "a"), branch(w, "b")
	state := owner.State("tool", at+1, "main="+main, "a="+a, "b="+b)
	c.Held(state)
	w.Git("push", "-q", repo, "a")
	housetest.Refs(t, repo, "main="+main, "old="+main, "older="+main, "a="+a)
	w.Git("push", "-q", repo, ":old")
	housetest.Refs(t, repo, "main="+main, "older="+main, "a="+a)
	w.Fails("refs/heads/main", "push", repo, ":main", "b")
	c.Hides(state)
	w.Git("push", "-q", repo, "b")
	housetest.Refs(t, repo, "main="+main, "a="+a, "b="+b)
	c.Shows(state)
}

// check 185, G01-502, G01-305: a part that brings every object brings every ref.
func TestPushOfAPartThatIsAll(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := announced(t)
	repo, old := h.Repo(owner, "tool"), w.Commit()
	main := w.Commit()
	state := owner.State("tool", at, "main="+main, "stable="+old)
	c.Held(state)
	w.Git("push", "-q", repo, "main")
	c.Shows(state)
	housetest.Refs(t, repo, "main="+main, "stable="+old)
}

// check 186, G01-502: what the server has need not be pushed again.
func TestPushOfTheChangedBranch(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := announced(t)
	repo, main := h.Repo(owner, "tool"), w.Commit()
	dev := branch(w, "dev")
	c.Held(owner.State("tool", at, "main="+main, "dev="+dev))
	w.Git("push", "-q", repo, "main", "dev")
	main = w.Commit()
	state := owner.State("tool", at+1, "main="+main, "dev="+dev)
	c.Held(state)
	w.Git("push", "-q", repo, "main")
	c.Shows(state)
	housetest.Refs(t, repo, "main="+main, "dev="+dev)
}

// check 187, G01-502: a part counts only towards the newest state.
func TestPushOfAPartOfAnOlderState(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := announced(t)
	repo, m1 := h.Repo(owner, "tool"), housetest.NewKey(t)
	c.Held(h.Announcement(owner, "tool", at+1, housetest.Maintainers(m1)))
	main := w.Commit()
	dev, other := branch(w, "dev"), branch(w, "other")
	older, newer := owner.State("tool", at, "main="+main, "dev="+dev), m1.State("tool", at+5, "main="+other)
	c.Held(older, newer)
	said := housetest.Undotted(w.Fails("refs/heads/main", "push", repo, "main"))
	if !strings.Contains(said, newer.ID[:7]) || !strings.Contains(said, other[:7]) {
		t.Errorf("the refusal does not name the newest state:\n%s", said)
	}
	w.Fails("refs/heads/dev", "push", repo, "dev")
	housetest.Refs(t, repo)
	c.Hides(older, newer)
	// The whole of the older one is as good as ever (G01-501), and the newer one may follow.
	w.Git("push", "-q", repo, "main", "dev")
	c.Shows(older)
	c.Hides(newer)
	w.Git("push", "-q", "-f", repo, "other:main")
	c.Shows(newer)
	housetest.Refs(t, repo, "main="+other)
}

// check 188, G01-504: a server that lost its data takes back what the served state says.
func TestPushAfterTheDataWasLost(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := announced(t)
	repo, main := h.Repo(owner, "tool"), w.Commit()
	dev := branch(w, "dev")
	state := owner.State("tool", at, "main="+main, "dev="+dev)
	c.Held(state)
	w.Git("push", "-q", repo, "main", "dev")
	h.Restart(func(data string) {
		if err := os.RemoveAll(filepath.Join(data, "git", owner.Npub)); err != nil {
			t.Fatal(err)
		}
	})
	c = h.Dial()
	housetest.Refs(t, repo)
	w.Fails("refs/heads/dev", "push", repo, "main", "main:dev")
	w.Git("push", "-q", repo, "main", "dev")
	housetest.Refs(t, repo, "main="+main, "dev="+dev)
	h.HeadIs(repo, "main")
	c.Shows(state)
	housetest.Clone(t, repo).Git("fsck", "--full", "--strict")
}

// check 189, G01-505: whoever brings the data of a signed state is welcome.
func TestPushByAStranger(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := announced(t)
	repo, first := h.Repo(owner, "tool"), w.Commit()
	stranger := housetest.Clone(t, w.Dir)
	state := owner.State("tool", at, "main="+first)
	c.Held(state)
	stranger.Git("-c", "http.extraHeader=Authorization: Basic eDp5", "-c", "http.userAgent=odd/1", "push", "-q", repo, "main")
	c.Shows(state)
	housetest.Refs(t, repo, "main="+first)
	// Nor does it help to be the owner: their push needs a state like any other.
	w.Commit()
	w.Fails("unauthorised: ", "push", repo, "main")
}

// check 190, G01-506, H-251: only branches, tags and PR refs can be pushed, alone or in company.
func TestPushOfOtherRefs(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := announced(t)
	repo, oid := h.Repo(owner, "tool"), w.Commit()
	c.Held(owner.State("tool", at, "main="+oid))
	pack, good := w.Pack("main"), housetest.ZeroID+" "+oid+" refs/heads/main"
	for _, ref := range []string{
		"refs/notes/commits", "refs/pull/1/head", "refs/grasp/x", "HEAD", "main", "refs/stash", "refs/remotes/o/main",
		"refs/keep/" + oid, "refs/replace/" + oid, "FETCH_HEAD", "refs/headsx/main", "refs/Heads/main", "refs/nostr",
	} {
		bad := housetest.ZeroID + " " + oid + " " + ref
		h.RefusePush(repo, pack, ref, bad)
		h.RefusePush(repo, pack, ref, good, bad)
		h.RefusePush(repo, pack, ref, bad, good)
	}
	for _, ref := range []string{"refs/notes/commits", "refs/pull/1/head", "refs/grasp/x"} {
		w.Fails(": "+ref+" is outside", "push", repo, "main", "main:"+ref)
	}
	housetest.Refs(t, repo)
	w.Git("push", "-q", repo, "main")
	for _, ref := range []string{"refs/notes/commits", "refs/pull/1/head", "HEAD"} { // nor later
		h.RefusePush(repo, w.Pack("main"), ref, housetest.ZeroID+" "+oid+" "+ref)
	}
	housetest.Refs(t, repo, "main="+oid)
}

// check 191, G01-507: branches and PR refs may travel together; each has to be right.
func TestPushWithAPullRequest(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := announced(t)
	repo, main := h.Repo(owner, "tool"), w.Commit()
	fix := branch(w, "fix")
	state := owner.State("tool", at, "main="+main)
	c.Held(state)
	unknown := housetest.PullRef(strings.Repeat("d", 64))
	w.Fails("refs/heads/fix", "push", repo, "fix", "fix:"+unknown) // a good PR ref opens no door
	housetest.Refs(t, repo)
	w.Git("push", "-q", repo, "main", "fix:"+unknown)
	housetest.Refs(t, repo, "main="+main, unknown+"="+fix)
	c.Shows(state)

	next := w.Commit()
	pending := owner.State("tool", at+1, "main="+next)
	pull := housetest.NewKey(t).Pull("tool", branch(w, "other"), owner)
	c.Held(pending, pull)
	w.Fails(housetest.PullRef(pull.ID), "push", repo, "main", "fix:"+housetest.PullRef(pull.ID))
	housetest.Refs(t, repo, "main="+main, unknown+"="+fix)
	c.Hides(pending, pull)
	w.Git("push", "-q", repo, "main", "other:"+housetest.PullRef(pull.ID))
	housetest.Refs(t, repo, "main="+next, unknown+"="+fix, housetest.PullRef(pull.ID)+"="+w.Git("rev-parse", "other"))
	c.Shows(pending, pull)
}

// check 192, G01-508: who pushes a pull request as a branch is told where it belongs.
func TestPushOfAPullRequestAsABranch(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := announced(t)
	repo, oid := h.Repo(owner, "tool"), w.Commit()
	w.Fails("refs/nostr/<event-id>", "push", repo, "main:pr/1") // without any state
	c.Held(owner.State("tool", at, "main="+oid))
	w.Fails("refs/nostr/<event-id>", "push", repo, "main:pr/1")
	w.Git("push", "-q", repo, "main")
	w.Fails("refs/nostr/<event-id>", "push", repo, "main:pr/1")
	housetest.Refs(t, repo, "main="+oid)
	// Declared, it is a branch like any other.
	next := w.Commit()
	c.Held(owner.State("tool", at+1, "main="+oid, "refs/heads/pr/1="+next))
	w.Git("push", "-q", repo, "main:pr/1")
	housetest.Refs(t, repo, "main="+oid, "refs/heads/pr/1="+next)
}

// check 193, G01-510: with the OK of a state its push is authorised, on whatever connection.
func TestPushRightAfterTheOK(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	repo, old := h.Repo(owner, "tool"), w.Git("rev-parse", "main")
	for i := range int64(10) {
		oid := w.Commit()
		pack := w.Pack(oid, "^"+old)
		state := owner.State("tool", at+1+i, "main="+oid)
		if ok, msg := h.Dial().Publish(state); !ok || msg != housetest.HeldText {
			t.Fatalf("OK %v %q", ok, msg)
		}
		h.MustPush(repo, pack, old+" "+oid+" refs/heads/main")
		c.Shows(state)
		old = oid
	}
}

// check 269, N-034: with the OK of a deletion nothing is authorised any more, on whatever connection.
func TestPushRightAfterTheDeletion(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	repo, main := h.Repo(owner, "tool"), w.Git("rev-parse", "main")
	for i := range int64(6) {
		oid := w.Commit()
		pack := w.Pack(oid, "^"+main)
		state := owner.State("tool", at+1+10*i, "main="+oid)
		c.Held(state)
		what := nostr.Tag{"e", state.ID}
		if i%2 == 1 {
			what = nostr.Tag{"a", fmt.Sprintf("%d:%s:tool", grasp.KindState, owner.Pub)}
		}
		if ok, msg := h.Dial().Publish(owner.Deletion(at+2+10*i, what)); !ok || msg != "" {
			t.Fatalf("OK %v %q", ok, msg)
		}
		h.RefusePush(repo, pack, "unauthorised: ", main+" "+oid+" refs/heads/main")
		c.Hides(state)
	}
	housetest.Refs(t, repo, "main="+main)
}

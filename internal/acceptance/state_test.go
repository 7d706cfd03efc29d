package acceptance_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/housetest"
)

// missing is the id of an object that nobody has.
var missing = strings.Repeat("12", 20)

// checks 156, 157, G01-301: who may say what a repository should be.
func TestStateAuthors(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	x, oid := housetest.NewKey(t), w.Commit()
	c.Refused(owner.State("nothing", at, "main="+oid), "no announcement exists")
	c.Refused(owner.State("Tool", at+1, "main="+oid), "no announcement exists") // identifiers are compared byte by byte
	state := x.State("tool", at+10, "main="+oid)
	c.Refused(state, "not authorized")
	w.Fails("[remote rejected]", "push", h.Repo(owner, "tool"), "main")
	c.Hides(state)
	housetest.Refs(t, h.Repo(owner, "tool"), "main="+w.Git("rev-parse", "main~1"))
}

// check 158, G01-302: what is no object id is never there.
func TestStateThatCannotBeSatisfied(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	repo, oid := h.Repo(owner, "tool"), w.Git("rev-parse", "main")
	state := owner.State("tool", at+1, "main="+oid, "odd=abc123")
	c.Held(state)
	w.Fails("[remote rejected]", "push", repo, "main:odd")
	h.Sweep()
	c.Hides(state)
	housetest.Refs(t, repo, "main="+oid)
	// An id with upper-case digits is one (G01-302).
	upper := owner.State("tool", at+2, "main="+strings.ToUpper(oid))
	c.Accepted(upper)
	housetest.Refs(t, repo, "main="+oid)
}

// check 159, G01-302, G01-304: an annotated tag and the commit that it names.
func TestStateWithAnnotatedTag(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	repo, oid := h.Repo(owner, "tool"), w.Commit()
	w.Git("tag", "-a", "-m", "one", "v1")
	tag := w.Git("rev-parse", "refs/tags/v1")
	state := owner.State("tool", at+1, "main="+oid, "refs/tags/v1="+tag, "refs/tags/v1^{}="+oid)
	c.Held(state)
	w.Git("push", "-q", repo, "main", "v1")
	c.Shows(state)
	refs := housetest.Remote(t, repo)
	if refs["refs/tags/v1"] != tag || refs["refs/tags/v1^{}"] != oid || refs["refs/heads/main"] != oid {
		t.Errorf("refs are %v", refs)
	}
}

// check 160, G01-302: what a state says besides branches and tags is left alone.
func TestStateWithMoreThanRefs(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	repo, oid := h.Repo(owner, "tool"), w.Commit()
	state := owner.Sign(grasp.KindState, at+1, "", nostr.Tag{"d", "tool"}, nostr.Tag{"refs/notes/x", missing}, nostr.Tag{"refs/heads/main", oid, missing, "abc"},
		nostr.Tag{"refs/heads/alias", "ref: refs/heads/main"}, nostr.Tag{"refs/heads/none", strings.Repeat("0", 40)}, nostr.Tag{"refs/pull/1/head", missing},
		nostr.Tag{"refs/nostr/" + strings.Repeat("a", 64), missing}, nostr.Tag{"HEAD", "ref: refs/heads/main", "x"}, nostr.Tag{"alt", "git state"})
	c.Held(state)
	w.Git("push", "-q", repo, "main")
	c.Shows(state)
	housetest.Refs(t, repo, "main="+oid)
}

// check 161, G01-302: one ref, one value.
func TestStateThatContradictsItself(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	oid := w.Git("rev-parse", "main")
	for name, tags := range map[string][]nostr.Tag{
		"two values":      {{"refs/heads/main", oid}, {"refs/heads/main", missing}},
		"bad name":        {{"refs/heads/a..b", oid}},
		"name with space": {{"refs/heads/a b", oid}},
		"ends in .lock":   {{"refs/heads/a.lock", oid}},
		"no name":         {{"refs/heads/", oid}},
		"no d":            {{"d"}, {"refs/heads/main", oid}},
	} {
		all := append([]nostr.Tag{{"d", "tool"}}, tags...)
		if name == "no d" {
			all = tags
		}
		ev := owner.Sign(grasp.KindState, at+1, "", all...)
		if ok, msg := c.Publish(ev); ok || !strings.HasPrefix(msg, "invalid: ") {
			t.Errorf("%s: OK %v %q", name, ok, msg)
		}
	}
	housetest.Refs(t, h.Repo(owner, "tool"), "main="+oid)
	// The same value twice is no contradiction.
	c.Accepted(owner.Sign(grasp.KindState, at+1, "", nostr.Tag{"d", "tool"}, nostr.Tag{"refs/heads/main", oid}, nostr.Tag{"refs/heads/main", oid}))
}

// checks 162, 262, G01-303, G01-604, G01-606: HEAD follows, in both protocols, at once.
func TestStateMovesHead(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	repo, oid := h.Repo(owner, "tool"), w.Git("rev-parse", "main")
	state := func(at int64, head string) *nostr.Event {
		return owner.Sign(grasp.KindState, at, "", nostr.Tag{"HEAD", head}, nostr.Tag{"d", "tool"},
			nostr.Tag{"refs/heads/main", oid}, nostr.Tag{"refs/heads/develop", oid}, nostr.Tag{"refs/heads/next", oid})
	}
	for i, tc := range [][2]string{
		{"refs/heads/develop", "refs/heads/develop"},
		{"ref: refs/heads/main", "refs/heads/main"},
		{"ref: refs/heads/next", "refs/heads/next"},
		{"ref: refs/heads/undeclared", "refs/heads/next"},
		{"main", "refs/heads/next"},
		{"ref: refs/heads/develop", "refs/heads/develop"},
	} {
		c.Accepted(state(at+1+int64(i), tc[0]))
		resp, body := h.Get(repo + "/info/refs?service=git-upload-pack")
		packets, _ := housetest.Packets(t, body)
		if resp.StatusCode != http.StatusOK || len(packets) < 4 || !strings.HasPrefix(packets[2], oid+" HEAD\x00") {
			t.Fatalf("%s: v0 advertises %q, want HEAD first", tc[0], packets)
		}
		if n := strings.Count(body, "symref="); n != 1 || !strings.Contains(body, " symref=HEAD:"+tc[1]+" ") && !strings.Contains(body, " symref=HEAD:"+tc[1]+"\n") {
			t.Errorf("%s: v0 advertises %d symrefs in %q, want HEAD:%s", tc[0], n, packets[2], tc[1])
		}
		_, body = h.UploadPack(repo, housetest.Pkt("command=ls-refs\n")+"0001"+housetest.Pkt("peel\n")+housetest.Pkt("symrefs\n")+housetest.FlushPkt, "Git-Protocol", "version=2")
		packets, _ = housetest.Packets(t, body)
		if want := oid + " HEAD symref-target:" + tc[1] + "\n"; len(packets) == 0 || packets[0] != want {
			t.Errorf("%s: v2 lists %q, want %q first", tc[0], packets, want)
		}
	}
}

// check 163, G01-304: a tag object is not the commit that it names.
func TestStateWithLightweightTag(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	repo, oid := h.Repo(owner, "tool"), w.Git("rev-parse", "main")
	next := w.Commit()
	c.Held(owner.State("tool", at+1, "main="+oid, "refs/tags/v1="+next))
	w.Git("tag", "-a", "-m", "one", "annotated")
	w.Fails("[remote rejected]", "push", repo, "refs/tags/annotated:refs/tags/v1")
	w.Git("push", "-q", repo, "main:refs/tags/v1")
	housetest.Refs(t, repo, "main="+oid, "refs/tags/v1="+next)
}

// check 164, G01-305: what is here already needs no push.
func TestStateOfKnownCommits(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	repo, c1 := h.Repo(owner, "tool"), w.Git("rev-parse", "main")
	c2 := w.Commit()
	c.Held(owner.State("tool", at+1, "main="+c2, "old="+c1))
	w.Git("push", "-q", repo, "main", c1+":refs/heads/old")
	listener := h.Dial()
	sub := listener.Subscribe(nostr.Filter{Kinds: []int{30618}, LimitZero: true})
	listener.Stored(sub)
	state := owner.State("tool", at+2, "main="+c1, "new="+c2, "refs/tags/v1="+c1)
	c.Accepted(state)
	housetest.Refs(t, repo, "main="+c1, "new="+c2, "refs/tags/v1="+c1)
	housetest.Same(t, listener.Live(sub), state)
	housetest.Clone(t, repo).Git("fsck", "--full")
}

// checks 165, 166, G01-306, G01-307: what is not in a repository of this identifier is not here.
func TestStateOfUnknownCommits(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	repo, c1 := h.Repo(owner, "tool"), w.Git("rev-parse", "main")
	before := c.Query(nostr.Filter{Kinds: []int{30618}})[0]
	unknown := owner.State("tool", at+1, "main="+missing)
	c.Held(unknown)
	c.Hides(unknown)
	c.Shows(before)
	housetest.Refs(t, repo, "main="+c1)

	// The same owner has the commit in a repository of another name.
	c2 := w.Commit()
	c.Held(h.Announcement(owner, "other", at), owner.State("other", at, "main="+c2))
	w.Git("push", "-q", h.Repo(owner, "other"), "main")
	state := owner.State("tool", at+2, "main="+c2)
	c.Held(state)
	h.Sweep()
	c.Hides(state)
	c.Shows(before)
	housetest.Refs(t, repo, "main="+c1)
	if out, err := housetest.Git(t, housetest.NewCopy(t).Dir, "fetch", repo, c2); err == nil {
		t.Errorf("an object of another repository can be fetched here:\n%s", out)
	}
}

// check 167, G01-307: a commit without its history is not complete.
func TestStateOfCommitWithoutParent(t *testing.T) {
	t.Parallel()
	h, _, owner, w, at := settled(t)
	repo, c1 := h.Repo(owner, "tool"), w.Git("rev-parse", "main")
	parent, tip := w.Commit(), w.Commit()
	// The tip, its tree and its files, and not the commit before it.
	pack := w.GitInput(strings.Join(append([]string{tip, w.Git("rev-parse", tip+"^{tree}")}, strings.Fields(w.Git("ls-tree", "-r", "--object-only", tip))...), "\n")+"\n",
		"pack-objects", "-q", "--stdout")
	h.Restart(func(data string) {
		found, err := filepath.Glob(filepath.Join(data, "git", "*", "tool.git"))
		if err != nil || len(found) != 1 {
			t.Fatalf("repositories: %v %v", found, err)
		}
		file := filepath.Join(t.TempDir(), "tip.pack")
		if err := os.WriteFile(file, []byte(pack), 0o600); err != nil {
			t.Fatal(err)
		}
		w.Git("index-pack", file)
		for _, ext := range []string{".pack", ".idx"} {
			b, err := os.ReadFile(strings.TrimSuffix(file, ".pack") + ext)
			if err != nil {
				t.Fatal(err)
			}
			name := filepath.Join(found[0], "objects", "pack", "pack-"+strings.Repeat("9", 40)+ext)
			if err := os.WriteFile(name, b, 0o444); err != nil {
				t.Fatal(err)
			}
		}
	})
	c := h.Dial()
	state := owner.State("tool", at+1, "main="+tip)
	c.Held(state)
	c.Hides(state)
	housetest.Refs(t, repo, "main="+c1)
	w.Git("push", "-q", repo, "main")
	c.Shows(state)
	housetest.Clone(t, repo).Git("cat-file", "-e", parent)
}

// check 168, G01-308: an older state of another maintainer is kept, and moves nothing.
func TestStateOlderThanAuthoritative(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	repo, m1, c1 := h.Repo(owner, "tool"), housetest.NewKey(t), w.Git("rev-parse", "main")
	c.Accepted(h.Announcement(owner, "tool", at+1, housetest.Maintainers(m1)))
	c2 := w.Commit()
	newest := owner.State("tool", at+100, "main="+c2)
	c.Held(newest)
	w.Git("push", "-q", repo, "main")
	old := m1.State("tool", at+50, "main="+c1)
	c.Accepted(old)
	c.Shows(newest)
	housetest.Refs(t, repo, "main="+c2)
}

// check 169, G01-308: a newer state of another maintainer wins, whatever the history.
func TestStateOfAnotherHistory(t *testing.T) {
	t.Parallel()
	h, c, owner, _, at := settled(t)
	repo, m1 := h.Repo(owner, "tool"), housetest.NewKey(t)
	first := c.Query(nostr.Filter{Kinds: []int{30618}})[0]
	c.Accepted(h.Announcement(owner, "tool", at+1, housetest.Maintainers(m1)))
	other := housetest.NewCopy(t)
	state := m1.State("tool", at+50, "main="+other.Commit())
	c.Held(state)
	other.Git("push", "-q", "-f", repo, "main")
	c.Shows(first, state)
	housetest.Refs(t, repo, "main="+other.Git("rev-parse", "main"))
}

// check 170, G01-309: states that wait do not stand in each other's way.
func TestStateSiblingsInPurgatory(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	repo, m1 := h.Repo(owner, "tool"), housetest.NewKey(t)
	c.Accepted(h.Announcement(owner, "tool", at+1, housetest.Maintainers(m1)))
	c1 := w.Commit()
	c2 := w.Commit()
	first, second := owner.State("tool", at+10, "main="+c1), m1.State("tool", at+11, "main="+c2)
	// Of the same author, equally old and slightly older ones are welcome too.
	c.Held(second, first, owner.State("tool", at+9, "main="+missing), owner.State("tool", at+10, "main="+missing), owner.State("tool", at+8, "x="+missing))
	w.Git("push", "-q", repo, c1+":refs/heads/main")
	c.Shows(first)
	c.Hides(second)
	housetest.Refs(t, repo, "main="+c1)
	w.Git("push", "-q", repo, c2+":refs/heads/main")
	c.Shows(first, second)
	housetest.Refs(t, repo, "main="+c2)
}

// check 171, G01-310: what was signed once cannot be played again.
func TestStateReplay(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	repo, m1 := h.Repo(owner, "tool"), housetest.NewKey(t)
	c.Accepted(h.Announcement(owner, "tool", at+1, housetest.Maintainers(m1)))
	old := c.Query(nostr.Filter{Kinds: []int{30618}})[0]
	c1 := w.Git("rev-parse", "main")
	newest := owner.State("tool", at+100, "main="+w.Commit())
	c.Held(newest)
	w.Git("push", "-q", repo, "main")
	c.Refused(old, "invalid: have a newer version of this event")
	w.Fails("[remote rejected]", "push", "-f", repo, c1+":refs/heads/main")

	side := housetest.NewCopy(t)
	stale := m1.State("tool", at+50, "main="+side.Commit())
	if ok, msg := c.Publish(stale); ok && msg != housetest.HeldText {
		t.Fatalf("OK %v %q", ok, msg)
	}
	side.Fails("[remote rejected]", "push", "-f", repo, "main")
	c.Hides(stale)
	c.Shows(newest)
	housetest.Refs(t, repo, "main="+w.Git("rev-parse", "main"))
}

// check 172, G01-311: saying nothing about refs does not say that there are none.
func TestStateWithoutRefs(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	repo, c1 := h.Repo(owner, "tool"), w.Git("rev-parse", "main")
	nothing := owner.State("tool", at+10)
	c.Accepted(nothing)
	housetest.Refs(t, repo, "main="+c1)
	w.Commit()
	w.Fails("[remote rejected]", "push", repo, "main")
	w.Fails("[remote rejected]", "push", repo, ":main")
	housetest.Refs(t, repo, "main="+c1)

	waiting := h.Announcement(owner, "other", at)
	c.Held(waiting)
	empty := owner.State("other", at)
	if ok, msg := c.Publish(empty); !ok || msg != housetest.HeldText {
		t.Errorf("for a repository that waits: OK %v %q", ok, msg)
	}
	c.Hides(waiting, empty)
	w.Fails("[remote rejected]", "push", h.Repo(owner, "other"), "main")
}

// check 265, G01-904: a deleted state leaves the refs, and permits nothing.
func TestStateIsDeletedWhenServed(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	repo, c1 := h.Repo(owner, "tool"), w.Git("rev-parse", "main")
	state := c.Query(nostr.Filter{Kinds: []int{30618}})[0]
	c.Accepted(owner.Deletion(at+1, nostr.Tag{"e", state.ID}))
	c.Hides(state)
	housetest.Refs(t, repo, "main="+c1)
	w.Commit()
	w.Fails("kind 30618", "push", repo, "main")
	next := owner.State("tool", at+2, "main="+w.Git("rev-parse", "main"))
	c.Held(next)
	w.Git("push", "-q", repo, "main")
	c.Shows(next)
}

// check 265, G01-904: with another complete state left, that one counts.
func TestStateIsDeletedAndAnotherRemains(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	repo, m1, c1 := h.Repo(owner, "tool"), housetest.NewKey(t), w.Git("rev-parse", "main")
	c.Accepted(h.Announcement(owner, "tool", at+1, housetest.Maintainers(m1)))
	theirs := m1.State("tool", at+10, "main="+w.Commit())
	c.Held(theirs)
	w.Git("push", "-q", repo, "main")
	c.Accepted(m1.Deletion(at+20, nostr.Tag{"a", "30618:" + m1.Pub + ":tool"}))
	c.Hides(theirs)
	housetest.Refs(t, repo, "main="+c1)
}

package gitdir_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	telling "github.com/gitroost/gitroost/internal/work"
)

// Branches and tags go out, and nothing else; what is there already is left alone; what does not lead to
// ours is reported and not overwritten, unless that is wanted. mirror_push, §3.8
func TestPushOut(t *testing.T) {
	h, w := open(t), newWork(t)
	c1 := w.commit("a", "1\n")
	c2 := w.commit("a", "2\n")
	w.git("tag", "-a", "-m", "one", "v1")
	tag := w.tip("v1")
	pr := grasp.RefName("refs/nostr/" + strings.Repeat("e", 64))
	must(t, h.push(demo, bytes.NewReader(w.pack("main", "v1")), create(mainRef, c2), create("refs/tags/v1", tag), create(devRef, c1), create(pr, c1)))
	w.git("checkout", "-q", "-b", "theirs", string(c1))
	other := w.commit("b", "other\n")

	there := filepath.Join(t.TempDir(), "there's one.git")
	git(t, "", nil, "init", "-q", "--bare", there)
	seed := func(refs map[string]grasp.OID) {
		t.Helper()
		for ref := range gitRefsOf(t, there) {
			git(t, there, nil, "update-ref", "-d", ref)
		}
		for ref, oid := range refs {
			w.git("push", "-q", "--force", there, string(oid)+":"+ref)
		}
	}
	all := map[string]grasp.OID{"refs/heads/main": c2, "refs/heads/dev": c1, "refs/tags/v1": tag}
	for _, c := range []struct {
		what          string
		before, after map[string]grasp.OID
		prune, force  bool
		wants         string
		done          int
		diverged      string
	}{
		{"an empty one", nil, all, false, false, "", 3, ""},
		{"one that has it", all, all, true, true, "", 0, ""},
		{"one that is behind", map[string]grasp.OID{"refs/heads/main": c1}, all, false, false, "", 3, ""},
		{"one that has more", map[string]grasp.OID{"refs/heads/more": c1}, map[string]grasp.OID{"refs/heads/main": c2, "refs/heads/dev": c1, "refs/tags/v1": tag, "refs/heads/more": c1}, false, false, "", 3, ""},
		{"one that is pruned", map[string]grasp.OID{"refs/heads/more": c1, "refs/tags/old": c1}, all, true, false, "", 5, ""},
		{"one that diverged: all or nothing", map[string]grasp.OID{"refs/heads/main": other}, map[string]grasp.OID{"refs/heads/main": other}, false, false, "", 0, "refs/heads/main"},
		{"a tag that is another", map[string]grasp.OID{"refs/tags/v1": c1}, map[string]grasp.OID{"refs/tags/v1": c1}, false, false, "", 0, "refs/tags/v1"},
		{"one that is overwritten", map[string]grasp.OID{"refs/heads/main": other, "refs/tags/v1": c1}, all, false, true, "", 3, ""},
		{"a part", map[string]grasp.OID{"refs/heads/more": c1}, map[string]grasp.OID{"refs/heads/main": c2, "refs/heads/more": c1}, true, false, "refs/heads/main", 1, ""},
	} {
		seed(c.before)
		var said []string
		out, err := h.Push(t.Context(), demo, telling.Pushing{
			URL: "file://" + there, Scheme: "file", Prune: c.prune, Force: c.force, Line: func(l string) { said = append(said, l) },
			Wants: func(n grasp.RefName) bool { return c.wants == "" || string(n) == c.wants },
		})
		if err != nil {
			t.Errorf("%s: %v\n%s", c.what, err, strings.Join(said, "\n"))
			continue
		}
		var diverged []string
		for _, r := range out.Refused {
			if r.Diverged {
				diverged = append(diverged, string(r.Ref))
			}
		}
		if len(out.Done) != c.done || strings.Join(diverged, " ") != c.diverged || len(diverged) != len(out.Refused) {
			t.Errorf("%s: done %v, refused %v", c.what, out.Done, out.Refused)
		}
		if got := gitRefsOf(t, there); fmt.Sprint(got) != fmt.Sprint(c.after) {
			t.Errorf("%s: there is %v, want %v", c.what, got, c.after)
		}
	}
	if refs := git(t, there, nil, "for-each-ref", "refs/nostr"); refs != "" {
		t.Errorf("a proposal went out: %s", refs)
	}
}

func gitRefsOf(t *testing.T, dir string) map[string]grasp.OID {
	t.Helper()
	out := map[string]grasp.OID{}
	for line := range strings.Lines(git(t, dir, nil, "for-each-ref", "--format=%(objectname) %(refname)")) {
		oid, ref, _ := strings.Cut(strings.TrimSpace(line), " ")
		out[ref] = grasp.OID(oid)
	}
	return out
}

// A repository that is empty here does not empty the one there, and a remote that is not there, or that
// another protocol leads to, is an error and no more.
func TestPushOutRefuses(t *testing.T) {
	h, w := open(t), newWork(t)
	there := filepath.Join(t.TempDir(), "there.git")
	git(t, "", nil, "init", "-q", "--bare", there)
	c1 := w.commit("a", "1\n")
	w.git("push", "-q", there, "main")
	everything := func(grasp.RefName) bool { return true }
	if _, err := h.Push(t.Context(), demo, telling.Pushing{URL: "file://" + there, Scheme: "file", Prune: true, Wants: everything}); !fault.Is(err, fault.Refused) {
		t.Errorf("everything was pruned: %v", err)
	}
	if gitRefsOf(t, there)["refs/heads/main"] != c1 {
		t.Error("the branch is gone")
	}
	must(t, h.push(demo, bytes.NewReader(w.pack("main")), create(mainRef, c1)))
	for _, p := range []telling.Pushing{
		{URL: "file://" + there + "x", Scheme: "file", Wants: everything},
		{URL: "file://" + there, Scheme: "https", Wants: everything},
		{URL: "ext::sh -c true", Scheme: "file", Wants: everything},
		{URL: "--upload-pack=touch /tmp/x", Scheme: "file", Wants: everything},
	} {
		if _, err := h.Push(t.Context(), demo, p); err == nil {
			t.Errorf("%s by %s was pushed to", p.URL, p.Scheme)
		}
	}
	if left, err := filepath.Glob(filepath.Join(h.root, "incoming", "push-*")); err != nil || len(left) != 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

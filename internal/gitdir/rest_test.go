package gitdir_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
)

// Refs that nobody asks for are let go of and read again, as the same generation: what was made for them is still
// right. Whether an object is complete is said without them, and what somebody else changed meanwhile is seen.
func TestRest(t *testing.T) {
	h, w := open(t), newWork(t)
	c := w.commit("a", "1\n")
	must(t, h.push(demo, bytes.NewReader(w.pack("main")), create(mainRef, c)))
	h.fill(3000, c)
	must(t, h.push(fork, bytes.NewReader(w.pack("main")), create(mainRef, c)))
	before, small := h.refs(demo), h.refs(fork)
	h.Rest()
	if h.refs(demo) != before {
		t.Fatal("what was just asked for was let go of")
	}
	sleep := func() {
		h.Rest()
		h.Rest()
	}
	sleep()
	if h.refs(fork) != small {
		t.Error("a handful of refs were let go of: that frees nothing")
	}
	if got := h.starts(func() {
		if got := h.have(demo, c, w.tip("HEAD^{tree}")); !got.Has(c) {
			t.Errorf("have %v", got)
		}
	}); got["rev-list"] > 1 {
		t.Errorf("started %v", got)
	}
	sleep()
	unknown := grasp.OID(strings.Repeat("7", 40))
	if got := h.starts(func() {
		if got := h.have(demo, c, unknown); !got.Has(c) || len(got) != 1 {
			t.Errorf("have %v", got)
		}
	}); len(got) > 0 {
		t.Errorf("to see a tip among the refs started %v", got)
	}
	again := h.refs(demo)
	if again == before {
		t.Error("nothing was let go of")
	}
	if again.Gen != before.Gen || again.Head != before.Head || tell(again) != tell(before) {
		t.Errorf("generation %d became %d with %d refs", before.Gen, again.Gen, again.Refs.Len())
	}
	sleep()
	c2 := w.commit("a", "2\n")
	must(t, h.push(demo, bytes.NewReader(w.pack("main")), update(mainRef, c, c2)))
	if now := h.refs(demo); now.Gen == before.Gen || now.Refs.OID(mainRef) != c2 || now.Refs.Len() != before.Refs.Len() {
		t.Errorf("after a push: generation %d, main at %s", now.Gen, now.Refs.OID(mainRef))
	}
	gen := h.refs(demo).Gen
	sleep()
	file := filepath.Join(h.path(demo), "packed-refs")
	text := strings.Replace(readFile(t, file), "refs/tags/release-000007\n", "refs/tags/renamed-000007\n", 1)
	must(t, os.WriteFile(file, []byte(text), 0o640))
	if now := h.refs(demo); now.Gen == gen || now.Refs.OID("refs/tags/release-000007") != "" {
		t.Errorf("what somebody else changed is not seen")
	}
	sleep()
	must(t, h.Remove(t.Context(), demo))
	if now := h.refs(demo); now.Refs.Len() != 0 {
		t.Errorf("%d refs after the repository was removed", now.Refs.Len())
	}
	if got := h.have(demo, c); len(got) != 0 {
		t.Errorf("have %v of what was removed", got)
	}
}

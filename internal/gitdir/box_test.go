package gitdir_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/gitroost/gitroost/grasp"
)

// G06-03, G06-12: a box is a folder of its own, made by the first push and not by any question; with it
// goes the folder of a submitter who has no other.
func TestBox(t *testing.T) {
	h, w := open(t), newWork(t)
	c1 := w.commit("a", "1\n")
	box := demo
	box.Box = true
	second := box
	second.ID = "second"
	ref := grasp.PullRef("8f00b0f2b7e43d3e9b8a2c1d0e5f6a7b8c9d0e1f2a3b4c5d6e7f8a9b0c1d2e3f")
	if h.refs(box).Refs.Len() != 0 || len(h.have(box, c1)) != 0 || h.Exists(box) {
		t.Error("a box that nobody pushed to is not empty")
	}
	top := filepath.Join(h.root, "prs")
	if _, err := os.Lstat(top); !os.IsNotExist(err) {
		t.Errorf("looking at a box made %s: %v", top, err)
	}
	for _, b := range []grasp.Addr{box, second} {
		must(t, h.push(b, bytes.NewReader(w.pack(string(c1))), create(ref, c1)))
		h.sound(b)
	}
	if h.Exists(demo) || h.refs(demo).Refs.Len() != 0 {
		t.Error("what was pushed to a box is in the repository of the same name")
	}
	must(t, h.Copy(t.Context(), box, demo, []grasp.OID{c1}))
	if !h.have(demo, c1).Has(c1) {
		t.Error("the commit was not copied")
	}
	must(t, h.Remove(t.Context(), box))
	if h.Exists(box) || !h.Exists(second) || !h.Exists(demo) {
		t.Error("removing one box: not it alone went")
	}
	must(t, h.Remove(t.Context(), second))
	if left, err := os.ReadDir(top); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	must(t, h.push(box, bytes.NewReader(w.pack(string(c1))), create(ref, c1)))
	h.sound(box)
}

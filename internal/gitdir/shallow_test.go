package gitdir_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
)

// web pushes a history with merges, two roots and tags. c are its commits on main, from the first parent of each;
// side is a branch that was merged into c[4], root the other root, which was merged into c[6].
func web(t *testing.T, h *house) (w *work, c []grasp.OID, side []grasp.OID, root, tag grasp.OID) {
	t.Helper()
	w = newWork(t)
	text := func(i int) string { return fmt.Sprintf("%d\n%s", i, strings.Repeat("the same line\n", 300)) }
	for i := range 3 {
		c = append(c, w.commit("a", text(i)))
	}
	w.git("checkout", "-q", "-b", "side", string(c[0]))
	for i := range 4 {
		side = append(side, w.commit("b", text(i)))
	}
	w.git("checkout", "-q", "main")
	c = append(c, w.commit("a", text(3)))
	w.git("merge", "-q", "--no-ff", "-m", "merge", "side")
	c = append(c, w.tip("HEAD"), w.commit("a", text(5)))
	w.git("checkout", "-q", "--orphan", "other")
	w.git("rm", "-rfq", ".")
	root = w.commit("c", text(6))
	w.git("checkout", "-q", "main")
	w.git("merge", "-q", "--no-ff", "--allow-unrelated-histories", "-m", "merge", "other")
	c = append(c, w.tip("HEAD"), w.commit("a", text(7)))
	w.git("tag", "-a", "-m", "one", "v1", string(c[7]))
	w.git("tag", "-a", "-m", "two", "v2", "v1")
	w.git("tag", "-a", "-m", "old", "v0", string(c[1]))
	w.git("tag", "-a", "-m", "a tree", "tree", string(c[7])+"^{tree}")
	tag = w.tip("v2")
	names := []string{"main", "side", "v0", "v1", "v2", "tree"}
	edits := []grasp.RefChange{create(mainRef, c[7]), create("refs/heads/side", side[3])}
	for _, n := range names[2:] {
		edits = append(edits, create(grasp.RefName("refs/tags/"+n), w.tip(n)))
	}
	must(t, h.push(demo, bytes.NewReader(w.pack(names...)), edits...))
	return w, c, side, root, tag
}

// H-226: where only a pack is left to make, and where history ends can be counted, upload-pack is not asked;
// what comes is what it would have sent.
func TestShallowIsUploadPacks(t *testing.T) {
	h := open(t)
	w, c, side, root, tag := web(t, h)
	blob := w.tip(string(c[7]) + ":a")
	unknown := grasp.OID(strings.Repeat("1", 40))
	want := func(o grasp.OID) string { return line("want %s\n", o) }
	have := func(o grasp.OID) string { return line("have %s\n", o) }
	cut := func(o grasp.OID) string { return line("shallow %s\n", o) }
	deepen := func(n int) string { return line("deepen %d\n", n) }
	type question struct {
		name  string
		lines []string
		alone bool // upload-pack is not asked
	}
	list := []question{
		{"of two", []string{deepen(1), want(c[7]), want(side[1])}, true},
		{"of a commit and its parent", []string{deepen(1), want(c[7]), want(c[6])}, true},
		{"of a commit and its parent, 2", []string{deepen(2), want(c[7]), want(c[6])}, true},
		{"of a tag", []string{deepen(1), want(tag)}, true},
		{"of a tag and its commit", []string{deepen(2), want(tag), want(c[7])}, true},
		{"of a tree", []string{deepen(1), want(w.tip("tree"))}, true},
		{"of a blob", []string{deepen(1), want(blob)}, true},
		{"of a root", []string{deepen(1), want(root)}, true},
		{"tags follow", []string{line("include-tag"), deepen(1), want(c[7])}, true},
		{"old tags follow", []string{line("include-tag"), deepen(7), want(c[7])}, true},
		{"no blobs", []string{line("filter blob:none\n"), deepen(1), want(c[7])}, true},
		{"no trees", []string{line("filter tree:0\n"), deepen(2), want(c[7])}, true},
		{"ofs-delta", []string{line("ofs-delta"), line("thin-pack"), deepen(2), want(c[7])}, true},
		{"cut off from all that they have", []string{line("thin-pack"), line("ofs-delta"), deepen(1), want(c[7]), have(c[5])}, true},
		{"cut off, and it is not thin", []string{line("ofs-delta"), deepen(2), want(c[7]), have(c[3])}, true},
		{"all of it", []string{deepen(1 << 30), want(c[7])}, true},
		{"unshallow", []string{deepen(1<<31 - 1), want(c[7])}, true},
		{"what is new", []string{cut(c[4]), want(c[7]), have(c[4])}, true},
		{"what is new, thin", []string{line("thin-pack"), line("ofs-delta"), cut(c[4]), cut(unknown), want(c[7]), have(c[4])}, true},
		{"what is older, too", []string{cut(c[5]), want(c[7]), want(side[3]), have(c[5])}, true},
		{"they say what is not here", []string{cut(unknown), want(c[7]), have(c[4])}, true},
		{"one twice", []string{cut(c[4]), cut(c[4]), want(c[7]), have(c[4])}, true},
		{"deeper", []string{cut(c[5]), deepen(4), want(c[7]), have(c[7])}, false},
		{"relatively deeper", []string{cut(c[5]), line("deepen-relative"), deepen(1), want(c[7]), have(c[7])}, false},
		{"the rest", []string{cut(c[5]), deepen(1<<31 - 1), want(c[7]), have(c[7])}, false},
		{"since", []string{line("deepen-since 1600000000\n"), want(c[7])}, false},
		{"not what is below", []string{line("deepen-not refs/tags/v0\n"), want(c[7])}, false},
	}
	for n := 1; n < 10; n++ {
		list = append(list, question{fmt.Sprint("depth ", n), []string{deepen(n), want(c[7])}, true})
	}
	for _, q := range list {
		t.Run(q.name, func(t *testing.T) {
			if alone := likeUploadPack(t, h, fetch2(q.lines...)); alone != q.alone {
				t.Errorf("pack-objects was asked alone: %v", alone)
			}
		})
	}
	// The same asked for quickly: who has nothing is answered without any program.
	for _, q := range list {
		t.Run("quickly "+q.name, func(t *testing.T) {
			text := strings.Join(q.lines, "")
			own := strings.Contains(text, "deepen ") && !strings.Contains(text, "have ") && !strings.Contains(text, "filter tree")
			if started := sameAsUploadPack(t, h, true, fetch2(q.lines...)); own != (len(started) == 0) {
				t.Errorf("started %v", started)
			}
		})
	}
	// What is no commit cannot be where history ends: upload-pack has the words.
	if out, err := uploaded(t, h, 2, fetch2(cut(blob), want(c[7]), have(c[4]))); err == nil {
		t.Errorf("history ends at a blob: %.100q", out)
	}
	h.sound(demo)
}

// H-226: who clones the last commits has what they would have from stock git, and git finds nothing wrong with it.
func TestShallowClones(t *testing.T) {
	h := open(t)
	w, c, _, _, tag := web(t, h)
	for depth := 1; depth < 9; depth++ {
		out, err := uploaded(t, h, 2, fetch2(line("ofs-delta"), line("deepen %d\n", depth), line("want %s\n", tag)))
		must(t, err)
		before, pack, _ := sections(t, out)
		dir := t.TempDir()
		git(t, dir, nil, "init", "-q", "--bare", ".")
		var cut []string
		for _, l := range before {
			if o, ok := strings.CutPrefix(l, "shallow "); ok {
				cut = append(cut, o+"\n")
			}
		}
		if len(cut) > 0 {
			must(t, os.WriteFile(filepath.Join(dir, "shallow"), []byte(strings.Join(cut, "")), 0o644))
		}
		git(t, dir, bytes.NewReader(pack), "index-pack", "--stdin", "--strict")
		git(t, dir, nil, "update-ref", "refs/heads/main", string(c[7]))
		git(t, dir, nil, "fsck", "--strict")
		theirs := t.TempDir()
		git(t, theirs, nil, "clone", "-q", "--bare", "--no-tags", "--single-branch", "-b", "main", fmt.Sprint("--depth=", depth), "file://"+w.dir, ".")
		list := func(dir string) []string {
			got := strings.Fields(git(t, dir, nil, "rev-list", "--objects", "--no-object-names", "refs/heads/main"))
			slices.Sort(got)
			return got
		}
		if a, b := list(dir), list(theirs); !slices.Equal(a, b) {
			t.Errorf("depth %d: %d objects, from stock git %d", depth, len(a), len(b))
		}
	}
}

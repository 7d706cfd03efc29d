package gitdir_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitdir"
)

// What is read here is what git reads, deltas on deltas included.
func TestContentIsGits(t *testing.T) {
	h, w := open(t), newWork(t)
	for i := range 30 {
		w.write(fmt.Sprintf("dir%d/file%d", i%3, i), strings.Repeat("x\n", i))
		w.commit("a", fmt.Sprintf("%d\n%s", i, strings.Repeat("the same line\n", 500)))
	}
	must(t, h.push(demo, bytes.NewReader(w.packWith([]string{"--window=50", "--depth=50"}, "main")), create(mainRef, w.tip("main"))))
	n, deltas := 0, 0
	for line := range strings.Lines(w.git("rev-list", "--objects", "main")) {
		o := grasp.OID(line[:40])
		kind, text, err := gitdir.Content(h.Vault, demo, o)
		if theirs := strings.TrimSpace(w.git("cat-file", "-t", string(o))); theirs == "blob" {
			if err == nil {
				t.Errorf("%s is a blob, and read as a %s", o, kind)
			}
			continue
		} else if err != nil || kind != theirs {
			t.Fatalf("%s: %s %v, want %s", o, kind, err, theirs)
		}
		if want := git(t, w.dir, nil, "cat-file", kind, string(o)); string(text) != want {
			t.Errorf("%s is %q, want %q", o, text, want)
		}
		n++
	}
	for line := range strings.Lines(git(t, h.path(demo), nil, "cat-file", "--batch-all-objects", "--batch-check=%(objecttype) %(deltabase)")) {
		if f := strings.Fields(line); f[0] == "tree" && strings.Trim(f[1], "0") != "" {
			deltas++
		}
	}
	if n < 60 || deltas == 0 {
		t.Fatalf("%d objects, %d trees that are deltas: this proves nothing", n, deltas)
	}
}

// A push that looks like most do costs one program; whatever does not is left to git, and a gap is found
// either way.
func TestSmallPushes(t *testing.T) {
	h, w := open(t), newWork(t)
	for i := range 5 {
		w.write(fmt.Sprintf("dir/%d/file", i), fmt.Sprint(i))
	}
	first := w.commit("a", "1\n")
	must(t, h.push(demo, bytes.NewReader(w.pack("main")), create(mainRef, first)))
	at := first
	push := func(what string, want map[string]int64, change func()) {
		t.Helper()
		change()
		tip := w.tip("main")
		pack := w.packWith([]string{"--thin", "--no-sparse"}, "main", "^"+string(at)) // nothing that is here, wherever
		got := h.starts(func() { must(t, h.push(demo, bytes.NewReader(pack), update(mainRef, at, tip))) })
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s started %v, want %v", what, got, want)
		}
		at = tip
	}
	alone := map[string]int64{"index-pack": 1}
	both := map[string]int64{"index-pack": 1, "rev-list": 1}
	push("a changed file", alone, func() { w.write("dir/1/file", "changed\n"); w.commit("a", "1b\n") })
	push("three commits", alone, func() {
		w.write("dir/2/file", "x\n")
		w.commit("a", "1c\n")
		w.write("new/folder/file", "y\n")
		w.commit("a", "1d\n")
		w.commit("a", "2\n")
	})
	push("a merge", alone, func() {
		w.git("checkout", "-q", "-b", "side", string(at))
		w.commit("side", "1\n")
		w.git("checkout", "-q", "main")
		w.commit("a", "3\n")
		w.git("merge", "-q", "-m", "merge", "side")
	})
	push("a file goes", alone, func() {
		w.git("rm", "-q", "dir/3/file")
		w.git("commit", "-q", "-m", "gone")
	})
	// Its content is here, at another place: git may look where.
	push("a renamed file", both, func() {
		w.git("mv", "dir/4/file", "moved")
		w.git("commit", "-q", "-m", "moved")
	})
	h.sound(demo)
}

// H-253: packs that lack something are refused, whatever it is.
func TestSmallGaps(t *testing.T) {
	h, w := open(t), newWork(t)
	w.write("dir/sub/file", "1\n")
	first := w.commit("a", "1\n")
	must(t, h.push(demo, bytes.NewReader(w.pack("main")), create(mainRef, first)))
	w.write("dir/sub/file", "2\n")
	w.write("dir/sub/other", "2\n")
	w.commit("b", "2\n")
	third := w.commit("b", "3\n")
	var all []string
	for line := range strings.Lines(w.git("rev-list", "--objects", "main", "^"+string(first))) {
		all = append(all, line[:40])
	}
	if len(all) < 8 {
		t.Fatalf("%d objects", len(all))
	}
	for i, o := range all {
		if o == string(third) {
			continue
		}
		rest := append(append([]string{}, all[:i]...), all[i+1:]...)
		err := h.push(demo, bytes.NewReader(w.packOf(rest...)), update(mainRef, first, third))
		if !fault.Is(err, fault.Refused) {
			t.Errorf("without %s (%s): %v", o, strings.TrimSpace(w.git("cat-file", "-t", o)), err)
		}
	}
	must(t, h.push(demo, bytes.NewReader(w.packOf(all...)), update(mainRef, first, third)))
	h.sound(demo)
}

// Nothing that is made of an object is larger than was allowed, and nothing breaks.
func FuzzPatch(f *testing.F) {
	f.Add([]byte("hello"), []byte("\x05\x07\x90\x05\x02!!"))
	f.Add([]byte("hello"), []byte("\x05\x05\x91\x00\x05"))
	f.Add([]byte(""), []byte("\x00\x00"))
	r := rand.New(rand.NewPCG(1, 2))
	long := make([]byte, 200)
	for i := range long {
		long[i] = byte(r.Uint32())
	}
	f.Add(long, []byte("\xc8\x01\x80\x80\x04\x80"))
	f.Fuzz(func(t *testing.T, base, delta []byte) {
		out, ok := gitdir.Patch(base, delta, 1000)
		if len(out) > 1000 || !ok && out != nil {
			t.Errorf("%d bytes, %v", len(out), ok)
		}
	})
}

func TestPatch(t *testing.T) {
	for delta, want := range map[string]string{
		"\x05\x07\x90\x05\x02!!":       "hello!!",
		"\x05\x02\x91\x01\x02":         "el",
		"\x05\x02\x02ab":               "ab",
		"\x05\x03\x90\x05":             "", // longer than it says
		"\x05\x07\x90\x05":             "", // shorter
		"\x06\x02\x02ab":               "", // of something else
		"\x05\x02\x00":                 "", // means nothing
		"\x05\x02\x91\x04\x02":         "", // behind the end
		"\x05\xff\xff\xff\xff\xff\x01": "",
	} {
		out, ok := gitdir.Patch([]byte("hello"), []byte(delta), 100)
		if string(out) != want || ok != (want != "") {
			t.Errorf("%q gives %q %v, want %q", delta, out, ok, want)
		}
	}
}

// Trees and commits are bytes from outside.
func FuzzParseTree(f *testing.F) {
	f.Add([]byte("100644 a\x0001234567890123456789"))
	f.Add([]byte("tree 0123456789012345678901234567890123456789\nparent 0123456789012345678901234567890123456789\nauthor"))
	f.Fuzz(func(t *testing.T, b []byte) { gitdir.Parse(b) })
}

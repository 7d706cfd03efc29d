package gitdir_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
)

// sections takes an answer of protocol 2 apart: what came before the pack, the pack, and what a person reads.
func sections(t *testing.T, answer string) (before []string, pack []byte, said string) {
	t.Helper()
	for {
		if len(answer) < 4 {
			t.Fatalf("the answer ends without a flush: %.200q", answer)
		}
		n, err := strconv.ParseUint(answer[:4], 16, 16)
		switch {
		case err != nil || int(n) > len(answer):
			t.Fatalf("no packet: %.200q", answer)
		case n == 0:
			if len(answer) > 4 {
				t.Fatalf("behind the flush: %.200q", answer[4:])
			}
			return before, pack, said
		case n < 4:
			answer = answer[4:]
			continue
		}
		line := answer[4:n]
		answer = answer[n:]
		switch {
		case line != "" && line[0] == 1:
			pack = append(pack, line[1:]...)
		case line != "" && line[0] == 2:
			said += line[1:]
		default:
			before = append(before, line)
		}
	}
}

// contents names the objects that a pack brings to whoever has what is in base already.
func contents(t *testing.T, base string, pack []byte) []string {
	t.Helper()
	if binary.BigEndian.Uint32(pack[8:]) == 0 {
		return nil
	}
	dir := t.TempDir()
	git(t, dir, nil, "init", "-q", "--bare", ".")
	must(t, os.WriteFile(filepath.Join(dir, "objects/info/alternates"), []byte(filepath.Join(base, "objects")+"\n"), 0o644))
	file := filepath.Join(t.TempDir(), "p.pack")
	must(t, os.WriteFile(file, pack, 0o644))
	git(t, dir, bytes.NewReader(pack), "index-pack", "--fix-thin", "--stdin")
	names, err := filepath.Glob(filepath.Join(dir, "objects/pack/*.idx"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	var out []string
	for line := range strings.Lines(git(t, dir, nil, "verify-pack", "-v", names[0])) {
		if f := strings.Fields(line); len(f) > 2 && grasp.IsHex(f[0], 40) {
			out = append(out, f[0])
		}
	}
	// Bases of a thin pack are appended: how many were sent stands in its head.
	slices.Sort(out)
	return append(out, fmt.Sprint(binary.BigEndian.Uint32(pack[8:])))
}

// likeUploadPack compares the answer to request with that of git upload-pack: what comes before the pack, in which
// commits may be named in any order, and the objects. It reports whether nothing was started but pack-objects.
func likeUploadPack(t *testing.T, h *house, request string) (alone bool) {
	t.Helper()
	started := sameAsUploadPack(t, h, false, request)
	return started["pack-objects"] == 1 && len(started) == 1
}

// sameAsUploadPack is likeUploadPack, and returns what was started.
func sameAsUploadPack(t *testing.T, h *house, quick bool, request string) map[string]int64 {
	t.Helper()
	var got string
	var err error
	started := h.starts(func() { got, err = uploadedAs(t, h, 2, quick, request) })
	must(t, err)
	cmd := exec.Command("git", "-c", "uploadpack.allowAnySHA1InWant=true", "-c", "uploadpack.allowFilter=true", "-c", "safe.directory=*",
		"upload-pack", "--stateless-rpc", h.path(demo))
	cmd.Env = append(os.Environ(), "GIT_PROTOCOL=version=2")
	cmd.Stdin = strings.NewReader(request)
	theirs, err := cmd.Output()
	must(t, err)
	before, pack, said := sections(t, got)
	wantBefore, wantPack, _ := sections(t, string(theirs))
	shape := func(lines []string) []string {
		var shallow, rest []string
		for _, l := range lines {
			if strings.HasPrefix(l, "shallow ") {
				shallow = append(shallow, l)
			} else {
				rest = append(rest, l)
			}
		}
		slices.Sort(shallow)
		return append(slices.Compact(shallow), rest...)
	}
	if !slices.Equal(shape(before), shape(wantBefore)) || len(before) > 0 && before[len(before)-1] != "packfile\n" || said != "" {
		t.Errorf("before the pack came %q, from upload-pack %q; said %q", before, wantBefore, said)
	}
	if i := slices.Index(before, "shallow-info\n"); i > 0 {
		t.Errorf("the sections come in another order: %q", before)
	}
	if a, b := contents(t, h.path(demo), pack), contents(t, h.path(demo), wantPack); !slices.Equal(a, b) {
		t.Errorf("in the pack:\n%q\nin upload-pack's:\n%q", a, b)
	}
	return started
}

// H-223, H-224, H-225: where only a pack is left to make it is made without upload-pack, and holds what upload-pack
// would have sent.
func TestPackIsUploadPacks(t *testing.T) {
	h, w := open(t), newWork(t)
	var c []grasp.OID
	for i := range 6 {
		c = append(c, w.commit("a", fmt.Sprintf("%d\n%s", i, strings.Repeat("the same line\n", 200))))
	}
	w.git("tag", "-a", "-m", "one", "v1", string(c[5]))
	tag, blob := w.tip("v1"), w.tip(string(c[2])+":a")
	must(t, h.push(demo, bytes.NewReader(w.pack("main", "v1")), create(mainRef, c[5]), create("refs/tags/v1", tag)))
	unknown := strings.Repeat("1", 40)
	want := func(o grasp.OID) string { return line("want %s\n", o) }
	have := func(o grasp.OID) string { return line("have %s\n", o) }
	for _, q := range []struct {
		name  string
		lines []string
		alone bool // upload-pack is not asked
	}{
		{"clone", []string{want(c[5])}, true},
		{"clone of two", []string{want(c[5]), want(c[3]), want(c[5])}, true},
		{"a tag", []string{want(tag)}, true},
		{"a blob", []string{want(blob)}, true},
		{"tags follow", []string{line("include-tag"), want(c[5])}, true},
		{"ofs-delta", []string{line("ofs-delta"), want(c[5])}, true},
		{"no blobs", []string{line("filter blob:none\n"), want(c[5])}, true},
		{"no trees", []string{line("filter tree:0\n"), want(c[5])}, true},
		{"the last two", []string{want(c[5]), have(c[3])}, true},
		{"the last two, thin", []string{line("thin-pack"), line("ofs-delta"), want(c[5]), have(c[3])}, true},
		{"they have something else too", []string{want(c[5]), have(grasp.OID(unknown)), have(c[4])}, true},
		{"they have all", []string{want(c[5]), have(c[5])}, true},
		{"depth", []string{line("deepen 1"), want(c[5])}, true},
		{"shallow", []string{line("shallow %s", c[4]), line("deepen 2"), want(c[5]), have(c[4])}, false},
	} {
		t.Run(q.name, func(t *testing.T) {
			if alone := likeUploadPack(t, h, fetch2(q.lines...)); alone != q.alone {
				t.Errorf("pack-objects was asked alone: %v", alone)
			}
		})
	}
	// Progress is for who did not say no-progress.
	got, err := uploaded(t, h, 2, line("command=fetch")+"0001"+want(c[5])+line("done\n")+"0000")
	must(t, err)
	if _, _, said := sections(t, got); !strings.Contains(said, "Counting objects: ") && !strings.Contains(said, "Total ") {
		t.Errorf("nothing was said of progress: %q", said)
	}
	h.sound(demo)
}

// A pack that cannot be made is no whole answer: whatever git can still say, it fails.
func TestPackBreaksOff(t *testing.T) {
	h, w := open(t), newWork(t)
	c := w.commit("a", "1\n")
	must(t, h.push(demo, bytes.NewReader(w.pack("main")), create(mainRef, c)))
	packs, err := filepath.Glob(filepath.Join(h.path(demo), "objects/pack/*.pack"))
	if err != nil || len(packs) != 1 {
		t.Fatal(packs, err)
	}
	must(t, os.Chmod(packs[0], 0o644))
	b := []byte(readFile(t, packs[0]))
	copy(b[12:len(b)-20], bytes.Repeat([]byte{0xff}, len(b)))
	must(t, os.WriteFile(packs[0], b, 0o644))
	out, err := uploaded(t, h, 2, fetch2(line("want %s\n", c)))
	if err == nil {
		t.Errorf("a broken repository was served: %.200q", out)
	}
}

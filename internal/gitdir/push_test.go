package gitdir_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
)

// H-253, checks 70 to 76: the ordinary life of a repository.
func TestPushes(t *testing.T) {
	h, w := open(t), newWork(t)
	c1 := w.commit("a", "1\n")
	must(t, h.push(demo, bytes.NewReader(w.pack("main")), create(mainRef, c1)))
	h.sound(demo)
	c2 := w.commit("a", "2\n")
	w.git("tag", "-a", "-m", "one", "v1")
	tag := w.tip("v1")
	must(t, h.push(demo, bytes.NewReader(w.packWith([]string{"--thin"}, "main", "v1", "^"+string(c1))),
		update(mainRef, c1, c2), create("refs/tags/v1", tag), create(devRef, c1)))
	h.sound(demo)
	s := h.refs(demo)
	if s.Refs.OID(mainRef) != c2 || peeled(s, "refs/tags/v1") != c2 || s.Head != grasp.DefaultHead {
		t.Errorf("refs %s", tell(s))
	}
	// Forced back, one deleted, HEAD set.
	must(t, h.Apply(t.Context(), demo, []grasp.RefChange{update(mainRef, c2, c1), remove(devRef, c1)}, mainRef))
	h.sound(demo)
	if s2 := h.refs(demo); s2.Head != mainRef || s2.Refs.OID(mainRef) != c1 || s2.Refs.Len() != 2 || s2.Gen <= s.Gen {
		t.Errorf("refs %s", tell(s2))
	}
	if s.Refs.OID(mainRef) != c2 {
		t.Error("a snapshot changed after it was handed out")
	}
	// What was pushed is there after a restart.
	h.Close()
	h = openAt(t, h.root, gitdirConfig())
	if s := h.refs(demo); s.Head != mainRef || s.Refs.OID(mainRef) != c1 || peeled(s, "refs/tags/v1") != c2 {
		t.Errorf("after a restart: %s", tell(s))
	}
}

// H-248: one small push starts two programs, and what asks afterwards none.
func TestProgramsStarted(t *testing.T) {
	h, w := open(t), newWork(t)
	c1 := w.commit("a", "1\n")
	if got := h.starts(func() {
		h.refs(demo)
		h.have(demo, c1)
		must(t, h.Apply(t.Context(), demo, nil, ""))
	}); len(got) != 0 || h.Exists(demo) {
		t.Errorf("a repository that nobody pushed to: %v", got)
	}
	if got := h.starts(func() { must(t, h.push(demo, bytes.NewReader(w.pack("main")), create(mainRef, c1))) }); fmt.Sprint(got) != "map[index-pack:1]" {
		t.Errorf("first push: %v", got)
	}
	w.git("tag", "-a", "-m", "one", "v1")
	c2 := w.commit("a", "2\n")
	if got := h.starts(func() {
		must(t, h.push(demo, bytes.NewReader(w.packWith([]string{"--thin"}, "main", "v1", "^"+string(c1))), update(mainRef, c1, c2), create("refs/tags/v1", w.tip("v1"))))
	}); fmt.Sprint(got) != "map[index-pack:1]" {
		t.Errorf("second push: %v", got)
	}
	if got := h.starts(func() {
		h.refs(demo)
		if have := h.have(demo, c1, c2, w.tip("v1"), grasp.OID(fmt.Sprintf("%040d", 1))); len(have) != 3 {
			t.Errorf("have %v", have)
		}
		must(t, h.push(demo, bytes.NewReader(w.pack()), create(devRef, c1))) // an empty pack
	}); len(got) != 0 {
		t.Errorf("questions: %v", got)
	}
}

func looseOrPacked(t *testing.T, h *house) (packs int) {
	t.Helper()
	m, _ := filepath.Glob(filepath.Join(h.path(demo), "objects", "pack", "*.pack"))
	l, _ := filepath.Glob(filepath.Join(h.path(demo), "objects", "??"))
	if len(l) > 0 {
		t.Errorf("loose objects: %v", l)
	}
	return len(m)
}

// H-245, H-253, checks 63, 76: what is refused leaves nothing.
func TestBadPacks(t *testing.T) {
	h, w := open(t), newWork(t)
	c1 := w.commit("a", "1\n")
	c2 := w.commit("a", "2\n")
	c3 := w.commit("b", "3\n")
	blob := w.tip("HEAD:b")
	tree := w.tip("HEAD^{tree}")
	must(t, h.push(demo, bytes.NewReader(w.pack(string(c1))), create(mainRef, c1)))
	whole := w.pack("main", "^"+string(c1))
	flip := bytes.Clone(whole)
	flip[len(flip)/2] ^= 0x55
	tests := []struct {
		name  string
		pack  []byte
		edits []grasp.RefChange
		code  fault.Code
		words string
	}{
		{"nothing", nil, []grasp.RefChange{update(mainRef, c1, c3)}, fault.Invalid, "no pack"},
		{"no pack", []byte("not a pack at all"), nil, fault.Refused, "not a pack"},
		{"version", append([]byte("PACK\x00\x00\x00\x07"), whole[8:]...), nil, fault.Refused, "version 7"},
		{"short header", whole[:7], nil, fault.Invalid, "ended early"},
		{"cut off", whole[:len(whole)-30], nil, fault.Refused, "early EOF"},
		{"bit flipped", flip, nil, fault.Refused, "the pack was refused"},
		{"garbage behind", append(bytes.Clone(whole), 'x'), nil, fault.Refused, "behind its end"},
		{"much garbage behind", append(bytes.Clone(whole), make([]byte, 200_000)...), nil, fault.Refused, "behind its end"},
		{"two packs", append(bytes.Clone(whole), whole...), nil, fault.Refused, "behind its end"},
		{"garbage behind an empty one", append(w.pack(), 'x'), nil, fault.Refused, "behind its end"},
		{"empty with a wrong sum", append(w.pack()[:31], 'x'), nil, fault.Refused, "checksum"},
		{"empty and cut off", w.pack()[:20], nil, fault.Invalid, "ended early"},
		{"no parent", w.packOf(string(c3), string(tree), string(blob)), []grasp.RefChange{update(mainRef, c1, c3)}, fault.Refused, string(c2)},
		{"no blob", w.packOf(string(c3), string(c2), string(tree), string(w.tip(string(c2)+"^{tree}")), string(w.tip(string(c2)+":a"))), []grasp.RefChange{update(mainRef, c1, c3)}, fault.Refused, string(blob)},
		{"another tip", whole, []grasp.RefChange{update(mainRef, c1, grasp.OID(fmt.Sprintf("%040d", 7)))}, fault.Refused, "missing"},
		{"branch at a tree", whole, []grasp.RefChange{create(devRef, tree)}, fault.Refused, "is a tree, not a commit"},
		{"PR ref at a blob", whole, []grasp.RefChange{create(grasp.PullRef(grasp.EventID(alice)), blob)}, fault.Refused, "is a blob, not a commit"},
		{"empty, tip missing", w.pack(), []grasp.RefChange{update(mainRef, c1, c3)}, fault.Refused, "missing"},
		{"twice the same ref", whole, []grasp.RefChange{update(mainRef, c1, c3), update(mainRef, c1, c2)}, fault.Refused, "twice"},
		{"bad name", whole, []grasp.RefChange{create("refs/heads/a..b", c3)}, fault.Refused, "not legal"},
		{"other namespace", whole, []grasp.RefChange{create("refs/replace/x", c3)}, fault.Refused, "only refs/heads/"},
	}
	before := tell(h.refs(demo))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.edits == nil {
				tt.edits = []grasp.RefChange{update(mainRef, c1, c3)}
			}
			refused(t, h.push(demo, bytes.NewReader(tt.pack), tt.edits...), tt.code, tt.words)
			if got := tell(h.refs(demo)); got != before {
				t.Errorf("refs are now\n%s", got)
			}
			if n := looseOrPacked(t, h); n != 1 {
				t.Errorf("%d packs", n)
			}
			h.sound(demo)
		})
	}
	if len(h.have(demo, c2, c3)) != 0 {
		t.Error("refused objects count")
	}
	must(t, h.push(demo, bytes.NewReader(whole), update(mainRef, c1, c3)))
	h.sound(demo)
}

func TestFolderAppearsWithTheFirstRef(t *testing.T) {
	h, w := open(t), newWork(t)
	c1 := w.commit("a", "1\n")
	refused(t, h.push(demo, bytes.NewReader(w.packOf(string(c1))), create(mainRef, c1)), fault.Refused, "")
	if h.Exists(demo) {
		t.Error("a refused push made a folder")
	}
	if _, err := os.Stat(filepath.Dir(h.path(demo))); err == nil {
		t.Error("and one for its owner")
	}
	must(t, h.Apply(t.Context(), demo, []grasp.RefChange{remove(mainRef, grasp.ZeroOID)}, grasp.DefaultHead))
	if h.Exists(demo) {
		t.Error("a change that changes nothing made a folder")
	}
	must(t, h.Apply(t.Context(), demo, nil, mainRef))
	if s := h.refs(demo); s.Head != mainRef || s.Refs.Len() != 0 {
		t.Errorf("refs %s", tell(s))
	}
	h.sound(demo)
}

// H-244, check 60: a shallow clone may push what builds upon what is here, and nothing else.
func TestPushFromShallowClone(t *testing.T) {
	h, w := open(t), newWork(t)
	for i := range 3 {
		w.commit("a", fmt.Sprint(i))
	}
	c3 := w.tip("main")
	must(t, h.push(demo, bytes.NewReader(w.pack("main")), create(mainRef, c3)))
	shallow := &work{t: t, dir: filepath.Join(t.TempDir(), "shallow")}
	git(t, w.dir, nil, "clone", "-q", "--depth=1", "file://"+w.dir, shallow.dir)
	c4 := shallow.commit("a", "4")
	must(t, h.push(demo, bytes.NewReader(shallow.packWith([]string{"--thin"}, "main", "^"+string(c3))), update(mainRef, c3, c4)))
	h.sound(demo)
	// Into a repository that does not have what is below, it would make the history shallow.
	refused(t, h.push(fork, bytes.NewReader(shallow.pack("main")), create(mainRef, c4)), fault.Refused, "the pack was refused")
	if h.refs(fork).Refs.Len() != 0 {
		t.Error("refs moved")
	}
}

func TestProgress(t *testing.T) {
	h, w := open(t), newWork(t)
	text := strings.Repeat("many words that make deltas worth while\n", 100)
	for i := range 5 {
		w.commit("a", fmt.Sprint(text, i))
	}
	var lines []string
	q, err := h.Ingest(t.Context(), demo, bytes.NewReader(w.pack("main")), steward.IngestOptions{Progress: func(l string) { lines = append(lines, l) }})
	must(t, err)
	q.Discard()
	if all := strings.Join(lines, "|"); !strings.Contains(all, "Resolving deltas: 100%") {
		t.Errorf("progress %q", all)
	}
}

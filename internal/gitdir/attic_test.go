package gitdir_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitdir"
)

// TestAttic: what a branch leaves and nothing else leads to is found, and a hidden ref keeps it through
// every upkeep, until it goes; nobody is told of it (G05-06).
func TestAttic(t *testing.T) {
	clock := newWheel()
	h := openAt(t, filepath.Join(t.TempDir(), "data"), gitdir.Config{UpkeepPacks: 1000, UpkeepByHand: true, Now: clock.now})
	w := newWork(t)
	first := h.grow(w, demo, 2)
	w.git("checkout", "-q", "-b", "side")
	side := w.commit("side", "side")
	w.git("tag", "-a", "-m", "a tag", "v1")
	tag := w.tip("v1")
	const v1 grasp.RefName = "refs/tags/v1"
	must(t, h.push(demo, bytes.NewReader(w.pack(string(side), string(tag))), create(devRef, side), create(v1, tag)))

	leaving := func(edits ...grasp.RefChange) (out []string) {
		t.Helper()
		list, err := h.Leaving(t.Context(), demo, edits)
		must(t, err)
		for _, c := range list {
			out = append(out, string(c.Ref))
		}
		return out
	}
	other := grasp.OID(strings.Repeat("e", 40))
	for _, c := range []struct {
		name  string
		edits []grasp.RefChange
		want  string
	}{
		{"the tag still leads there", []grasp.RefChange{remove(devRef, side)}, ""},
		{"the branch still leads to the commit, but not to the tag", []grasp.RefChange{remove(v1, tag)}, "refs/tags/v1"},
		{"both go", []grasp.RefChange{remove(devRef, side), remove(v1, tag)}, string(devRef) + " refs/tags/v1"},
		{"main moves on", []grasp.RefChange{update("refs/heads/main", first, side)}, ""},
		{"it is lost already", []grasp.RefChange{remove("refs/heads/x", other)}, ""},
		{"a pull request", []grasp.RefChange{remove(grasp.PullRef(grasp.EventID(strings.Repeat("a", 64))), side)}, ""},
		{"nothing", nil, ""},
	} {
		if got := strings.Join(leaving(c.edits...), " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}

	var hidden []grasp.RefChange
	for _, k := range []grasp.Kept{{At: 5, OID: side, Ref: devRef}, {At: 5, OID: tag, Ref: v1}} {
		hidden = append(hidden, create(k.Name(), k.OID))
	}
	must(t, h.Apply(t.Context(), demo, append(hidden, remove(devRef, side), remove(v1, tag)), ""))
	for ref := range h.refs(demo).Refs.All() {
		if !ref.Name.Visible() {
			t.Errorf("%s is told of", ref.Name)
		}
	}
	if kept, err := h.Kept(t.Context(), demo); err != nil || len(kept) != 2 {
		t.Errorf("%v, kept %v", err, kept)
	}
	for range 4 {
		clock.turn(15 * 24 * time.Hour)
		must(t, h.Upkeep(t.Context(), demo))
	}
	if got := h.have(demo, side, tag); len(got) != 2 {
		t.Errorf("after upkeep there are %v", got)
	}
	must(t, h.Fsck(t.Context(), demo))

	wrong := grasp.Kept{At: 6, OID: side, Ref: devRef}.Name()
	for _, e := range []grasp.RefChange{create(wrong, first), create("refs/gitroost/history/x", side), create("refs/notes/x", side)} {
		if err := h.Apply(t.Context(), demo, []grasp.RefChange{e}, ""); !fault.Is(err, fault.Refused) && !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", e.Ref, err)
		}
	}
	for i := range hidden {
		hidden[i] = remove(hidden[i].Ref, hidden[i].New)
	}
	must(t, h.Apply(t.Context(), demo, hidden, ""))
	if kept, err := h.Kept(t.Context(), demo); err != nil || len(kept) != 0 {
		t.Errorf("%v, kept %v", err, kept)
	}
}

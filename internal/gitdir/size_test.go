package gitdir_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/gitdir"
)

func (h *house) size(repo grasp.Addr) int64 {
	h.t.Helper()
	n, err := h.Size(h.t.Context(), repo)
	must(h.t, err)
	return n
}

// onDisk adds up what Size promises to.
func (h *house) onDisk(repo grasp.Addr) (n int64) {
	h.t.Helper()
	for _, ext := range []string{"*.pack", "*.idx"} {
		list, err := filepath.Glob(filepath.Join(h.path(repo), "objects", "pack", ext))
		must(h.t, err)
		for _, path := range list {
			fi, err := os.Stat(path)
			must(h.t, err)
			n += fi.Size()
		}
	}
	return n
}

// G01-109: a repository weighs what its packs weigh, whether it is remembered or not; a quarantine says
// before how much it will add.
func TestSize(t *testing.T) {
	h, w := open(t), newWork(t)
	if n := h.size(demo); n != 0 || h.Exists(demo) {
		t.Errorf("what has no folder weighs %d bytes", n)
	}
	c1 := w.commit("a", strings.Repeat("words ", 1000))
	c2 := w.commit("b", "more")
	var at grasp.OID
	for _, next := range []grasp.OID{c1, c2} {
		revs, edit := []string{string(next)}, create(mainRef, next)
		if at != "" {
			revs, edit = append(revs, "^"+string(at)), update(mainRef, at, next)
		}
		before := h.size(demo)
		q, err := h.Ingest(t.Context(), demo, bytes.NewReader(w.pack(revs...)), ingestOptions())
		must(t, err)
		must(t, q.Check(t.Context(), []grasp.RefChange{edit}))
		adds := q.Size()
		if adds <= 0 || h.size(demo) != before {
			t.Errorf("a quarantine adds %d, and the repository weighs %d already, not %d", adds, h.size(demo), before)
		}
		must(t, q.Admit(t.Context()))
		if n := h.size(demo); n != before+adds || n != h.onDisk(demo) {
			t.Errorf("%d bytes and %d more are %d, on disk are %d", before, adds, n, h.onDisk(demo))
		}
		must(t, h.Apply(t.Context(), demo, []grasp.RefChange{edit}, ""))
		q.Discard()
		at = next
	}
	// What is here already adds nothing.
	q, err := h.Ingest(t.Context(), demo, bytes.NewReader(w.pack(string(c1))), ingestOptions())
	must(t, err)
	must(t, q.Check(t.Context(), []grasp.RefChange{create(devRef, c1)}))
	if n := q.Size(); n != 0 {
		t.Errorf("what is here already adds %d bytes", n)
	}
	q.Discard()

	fork := grasp.Addr{Owner: demo.Owner, ID: "fork"}
	must(t, h.Copy(t.Context(), demo, fork, []grasp.OID{c2}))
	all := map[grasp.Addr]int64{demo: h.size(demo), fork: h.size(fork)}
	h.Close()
	h = openAt(t, h.root, gitdirConfig()) // nothing is remembered
	must(t, os.WriteFile(filepath.Join(h.path(demo), "objects", "pack", "tmp_pack_x"), []byte("half"), 0o600))
	must(t, os.WriteFile(filepath.Join(h.path(demo), "objects", "pack", "pack-y.pack"), []byte("without an index"), 0o600))
	for repo, want := range all {
		if n := h.size(repo); n != want || want != h.onDisk(repo)-int64(len("without an index"))*boolInt(repo == demo) {
			t.Errorf("%s weighs %d bytes after a restart, and %d before", repo.ID, n, want)
		}
		h.refs(repo)
		if n := h.size(repo); n != want {
			t.Errorf("%s weighs %d bytes when it is remembered, and %d before", repo.ID, n, want)
		}
	}
	if n := h.starts(func() { h.size(demo) }); len(n) != 0 {
		t.Errorf("asking for a size started %v", n)
	}
	must(t, h.Remove(t.Context(), demo))
	if n := h.size(demo); n != 0 {
		t.Errorf("what was removed weighs %d bytes", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Size(ctx, demo); err == nil {
		t.Error("a size for nobody")
	}
}

func boolInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// While packs are combined nothing is counted twice, at no moment.
func TestSizeDuringUpkeep(t *testing.T) {
	clock := newWheel()
	var h *house
	var most int64
	step := func(name string) error {
		if h != nil && strings.HasPrefix(name, "upkeep: ") && name != "upkeep: removed one" {
			most = max(most, h.size(demo))
		}
		return nil
	}
	h = openAt(t, filepath.Join(t.TempDir(), "data"), gitdir.Config{UpkeepPacks: 6, UpkeepByHand: true, Now: clock.now}.WithStep(step))
	w := newWork(t)
	for i := range 3 {
		at := h.refs(demo).Refs.OID(mainRef)
		next := w.commit(fmt.Sprint("big", i), strings.Repeat(fmt.Sprint(i, " lines of text\n"), 500))
		edit, revs := create(mainRef, next), []string{string(next)}
		if at != "" {
			edit, revs = update(mainRef, at, next), append(revs, "^"+string(at))
		}
		must(t, h.push(demo, bytes.NewReader(w.pack(revs...)), edit))
	}
	h.grow(w, demo, 12)
	before := h.size(demo)
	must(t, h.Upkeep(t.Context(), demo))
	after := h.size(demo)
	if most > before || after >= before || after != h.onDisk(demo) {
		t.Errorf("%d bytes became %d, %d on disk, and were %d meanwhile", before, after, h.onDisk(demo), most)
	}
	clock.turn(6 * 24 * time.Hour)
	most = 0
	must(t, h.Upkeep(t.Context(), demo))
	if n := h.size(demo); most > after || n != h.onDisk(demo) {
		t.Errorf("packing anew: %d bytes became %d, %d on disk, and were %d meanwhile", after, n, h.onDisk(demo), most)
	}
}

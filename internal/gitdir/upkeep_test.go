package gitdir_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitdir"
	"github.com/gitroost/gitroost/internal/steward"
)

// A wheel is a clock that a test turns.
type wheel struct{ at atomic.Int64 }

func newWheel() *wheel {
	w := &wheel{}
	w.at.Store(time.Now().Unix())
	return w
}

func (w *wheel) now() time.Time       { return time.Unix(w.at.Load(), 0) }
func (w *wheel) turn(d time.Duration) { w.at.Add(int64(d / time.Second)) }

func glob(t *testing.T, dir, pattern string) []string {
	t.Helper()
	m, err := filepath.Glob(filepath.Join(dir, "objects", "pack", pattern))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// grow pushes n commits, one pack each.
func (h *house) grow(w *work, repo grasp.Addr, n int) (last grasp.OID) {
	h.t.Helper()
	at := h.refs(repo).Refs.OID(mainRef)
	for range n {
		next := w.commit("f", fmt.Sprint("text ", w.n))
		edit, revs := update(mainRef, at, next), []string{string(next), "^" + string(at)}
		if at == "" {
			edit, revs = create(mainRef, next), revs[:1]
		}
		must(h.t, h.push(repo, bytes.NewReader(w.pack(revs...)), edit))
		at = next
	}
	return at
}

// Many small packs become few; all objects and refs stay, and git uses a bitmap (hardening G15).
func TestUpkeepCombines(t *testing.T) {
	clock := newWheel()
	h := openAt(t, filepath.Join(t.TempDir(), "data"), gitdir.Config{UpkeepPacks: 6, UpkeepByHand: true, Now: clock.now})
	w := newWork(t)
	var all []grasp.OID
	for range 40 {
		all = append(all, h.grow(w, demo, 1))
	}
	must(t, h.Upkeep(t.Context(), demo))
	if n := len(glob(t, h.path(demo), "*.pack")); n >= 10 {
		t.Errorf("%d packs are left of 40", n)
	}
	if len(glob(t, h.path(demo), "multi-pack-index-*.bitmap")) != 1 {
		t.Error("there is no bitmap")
	}
	h.sound(demo)
	if got := h.have(demo, all...); len(got) != len(all) {
		t.Errorf("%d of %d are complete", len(got), len(all))
	}
	// And again after a restart: the record is on disk.
	h.Close()
	h = openAt(t, h.root, gitdir.Config{UpkeepPacks: 6, UpkeepByHand: true, Now: clock.now})
	must(t, h.Upkeep(t.Context(), demo))
	if got := h.have(demo, all...); len(got) != len(all) {
		t.Errorf("after a restart %d of %d are complete", len(got), len(all))
	}
	h.grow(w, demo, 3)
	h.sound(demo)
	// What is in order is left alone.
	if n := h.starts(func() { must(t, h.Upkeep(t.Context(), demo)) }); len(n) != 0 {
		t.Errorf("upkeep of what is in order started %v", n)
	}
}

// A first push of many objects gets its bitmap, in the background, also if upkeep looked before the
// refs moved.
func TestUpkeepOfAFirstPush(t *testing.T) {
	h := openAt(t, filepath.Join(t.TempDir(), "data"), gitdir.Config{UpkeepPacks: 20, Now: time.Now})
	w := newWork(t)
	for i := range 2100 {
		w.write(fmt.Sprint("d", i%50, "/f", i), fmt.Sprint("text ", i))
	}
	tip := w.commit("last", "last")
	ctx := t.Context()
	q, err := h.Ingest(ctx, demo, bytes.NewReader(w.pack(string(tip))), steward.IngestOptions{})
	must(t, err)
	edits := []grasp.RefChange{create(mainRef, tip)}
	must(t, q.Check(ctx, edits))
	must(t, q.Admit(ctx))
	q.Discard()
	must(t, h.Upkeep(ctx, demo)) // there is no ref yet
	if n := len(glob(t, h.path(demo), "multi-pack-index*")); n != 0 {
		t.Errorf("%d files of an index without refs", n)
	}
	must(t, h.Apply(ctx, demo, edits, ""))
	for h.UpkeepStats().Runs < 2 { // the background has its own pace
		must(t, h.Upkeep(ctx, demo))
	}
	if len(glob(t, h.path(demo), "multi-pack-index-*.bitmap")) != 1 {
		t.Error("there is no bitmap")
	}
}

// What no ref reaches is kept for its grace, and goes then; what it shared with others stays.
func TestUpkeepLetsGo(t *testing.T) {
	clock := newWheel()
	h := openAt(t, filepath.Join(t.TempDir(), "data"), gitdir.Config{UpkeepPacks: 1000, UpkeepByHand: true, Now: clock.now})
	w := newWork(t)
	first := h.grow(w, demo, 2)
	w.git("checkout", "-q", "-b", "side")
	lost := w.commit("lost", "lost")
	must(t, h.push(demo, bytes.NewReader(w.pack(string(lost), "^"+string(first))), create(devRef, lost)))
	w.git("checkout", "-q", "main")
	last := h.grow(w, demo, 2)
	must(t, h.Apply(t.Context(), demo, []grasp.RefChange{{Ref: devRef, Old: lost, New: grasp.ZeroOID}}, ""))

	must(t, h.Upkeep(t.Context(), demo)) // makes the record
	clock.turn(6 * 24 * time.Hour)
	must(t, h.Upkeep(t.Context(), demo))
	if n := len(glob(t, h.path(demo), "*.mtimes")); n != 1 {
		t.Fatalf("%d cruft packs", n)
	}
	if !h.have(demo, lost).Has(lost) {
		t.Error("it was let go at once")
	}
	h.sound(demo)

	clock.turn(15 * 24 * time.Hour)
	must(t, h.Upkeep(t.Context(), demo))
	if h.have(demo, lost).Has(lost) {
		t.Error("it is still there, and counts as complete")
	}
	if got := h.have(demo, first, last); len(got) != 2 {
		t.Error("something else went too")
	}
	if n := len(glob(t, h.path(demo), "*.pack")); n != 1 {
		t.Errorf("%d packs", n)
	}
	h.sound(demo)
	// A ref cannot be moved to what is gone.
	if err := h.Apply(t.Context(), demo, []grasp.RefChange{create(devRef, lost)}, ""); !fault.Is(err, fault.Refused) {
		t.Errorf("a ref to what is gone: %v", err)
	}
	// And it may come back.
	must(t, h.push(demo, bytes.NewReader(w.pack(string(lost), "^"+string(first))), create(devRef, lost)))
	h.sound(demo)
}

// A push that came to rely on what is about to go keeps it.
func TestUpkeepAndARefThatMoves(t *testing.T) {
	clock := newWheel()
	var h *house
	var lost grasp.OID
	moved := false
	cfg := gitdir.Config{UpkeepPacks: 1000, UpkeepByHand: true, Now: clock.now}.WithStep(func(name string) error {
		if name == "upkeep: placed cruft" && lost != "" && !moved {
			moved = true
			return h.Apply(context.Background(), demo, []grasp.RefChange{create(devRef, lost)}, "")
		}
		return nil
	})
	h = openAt(t, filepath.Join(t.TempDir(), "data"), cfg)
	w := newWork(t)
	h.grow(w, demo, 2)
	w.git("checkout", "-q", "-b", "side")
	tip := w.commit("lost", "lost")
	must(t, h.push(demo, bytes.NewReader(w.pack(string(tip))), create(devRef, tip)))
	must(t, h.Apply(t.Context(), demo, []grasp.RefChange{{Ref: devRef, Old: tip, New: grasp.ZeroOID}}, ""))
	must(t, h.Upkeep(t.Context(), demo))
	clock.turn(6 * 24 * time.Hour)
	must(t, h.Upkeep(t.Context(), demo))
	clock.turn(15 * 24 * time.Hour)
	lost = tip
	if err := h.Upkeep(t.Context(), demo); !fault.Is(err, fault.Stale) {
		t.Errorf("upkeep: %v", err)
	}
	if !moved {
		t.Fatal("this test proves nothing")
	}
	h.sound(demo)
	if h.refs(demo).Refs.OID(devRef) != tip {
		t.Error("the ref is gone")
	}
}

// I5: what somebody began to pack and never finished goes with the next upkeep. What is being written stays.
func TestUpkeepClearsAway(t *testing.T) {
	h := openAt(t, filepath.Join(t.TempDir(), "data"), gitdir.Config{UpkeepPacks: 6, UpkeepByHand: true, Now: newWheel().now})
	h.grow(newWork(t), demo, 7)
	dir := filepath.Join(h.path(demo), "objects", "pack")
	old, young := filepath.Join(dir, "tmp_pack_0ld"), filepath.Join(dir, "tmp_pack_y0ung")
	for path, age := range map[string]time.Duration{old: 61 * time.Minute, young: 59 * time.Minute} {
		must(t, os.WriteFile(path, []byte("PACK"), 0o640))
		must(t, os.Chtimes(path, time.Time{}, time.Now().Add(-age)))
	}
	must(t, h.Upkeep(t.Context(), demo))
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Error("what is old is still there: ", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Error("what may be in use is gone: ", err)
	}
}

// Wherever upkeep breaks off, the repository is whole, and the next one gets to the end.
func TestUpkeepBreaks(t *testing.T) {
	var steps []string
	record := func(name string) error {
		if strings.HasPrefix(name, "upkeep:") || strings.HasPrefix(name, "admit: moved") {
			steps = append(steps, name)
		}
		return nil
	}
	prepare := func(t *testing.T, step func(string) error) (*house, *work, *wheel) {
		clock := newWheel()
		on := false
		h := openAt(t, filepath.Join(t.TempDir(), "data"), gitdir.Config{UpkeepPacks: 6, UpkeepByHand: true, Now: clock.now}.WithStep(func(n string) error {
			if on {
				return step(n)
			}
			return nil
		}))
		w := newWork(t)
		h.grow(w, demo, 5)
		must(t, h.Upkeep(t.Context(), demo))
		clock.turn(6 * 24 * time.Hour)
		h.grow(w, demo, 1)
		// The background may be at it already; from here on this test has it alone.
		must(t, h.Upkeep(t.Context(), demo))
		h.grow(w, demo, 3)
		clock.turn(6 * 24 * time.Hour)
		on = true
		return h, w, clock
	}
	h, _, _ := prepare(t, record)
	must(t, h.Upkeep(t.Context(), demo))
	h.Close()
	if !slices.Contains(steps, "upkeep: removed one") || !slices.Contains(steps, "upkeep: indexed") {
		t.Fatalf("steps %q", steps)
	}
	slices.Sort(steps)
	for _, at := range slices.Compact(steps) {
		t.Run(at, func(t *testing.T) {
			broken := false
			h, w, clock := prepare(t, func(n string) error {
				if n == at && !broken {
					broken = true
					return errors.New("broken off")
				}
				return nil
			})
			tip := w.tip("HEAD")
			err := h.Upkeep(t.Context(), demo)
			if broken && err == nil && at != "upkeep: indexed" && at != "upkeep: graphed" {
				t.Error("nobody was told")
			}
			if !h.have(demo, tip).Has(tip) {
				t.Error("the tip is not complete")
			}
			h.Close()
			h = openAt(t, h.root, gitdir.Config{UpkeepPacks: 6, UpkeepByHand: true, Now: clock.now})
			if !h.have(demo, tip).Has(tip) {
				t.Error("after a restart the tip is not complete")
			}
			must(t, h.Upkeep(t.Context(), demo))
			h.sound(demo)
		})
	}
}

// Pushes and fetches go on while upkeep runs again and again, and none fails (hardening G15).
func TestUpkeepUnderLoad(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 15
	}
	h := openAt(t, filepath.Join(t.TempDir(), "data"), gitdir.Config{UpkeepPacks: 2, Now: time.Now})
	ran := h
	w := newWork(t)
	h.grow(w, demo, 3)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				tip := h.refs(demo).Refs.OID(mainRef)
				var out bytes.Buffer
				err := h.UploadPack(context.Background(), demo, 2, false, strings.NewReader(fetch2(line("want %s\n", tip))), &out)
				if err != nil || !bytes.HasSuffix(out.Bytes(), []byte("0000")) {
					t.Errorf("a fetch failed: %v, %q", err, out.Bytes()[max(0, out.Len()-100):])
					return
				}
			}
		})
	}
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := h.Upkeep(context.Background(), demo); err != nil {
				t.Errorf("upkeep: %v", err)
				return
			}
		}
	})
	tips := []grasp.OID{}
	for range rounds {
		tips = append(tips, h.grow(w, demo, 1))
		if got := h.have(demo, tips...); len(got) != len(tips) {
			t.Errorf("%d of %d are complete", len(got), len(tips))
		}
	}
	close(stop)
	wg.Wait()
	h.Close() // the background may be at work still
	h = openAt(t, h.root, gitdir.Config{})
	h.sound(demo)
	if ran.UpkeepStats().Runs == 0 {
		t.Error("upkeep never ran; this test proves nothing")
	}
}

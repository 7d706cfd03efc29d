package render_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/render"
)

// Break table of publishing: whichever step is the last, one whole generation is served, and the next
// publishing leaves nothing of it behind (S0-17).
func TestPublishBroken(t *testing.T) {
	broken := errors.New("broken")
	for _, at := range []string{"swept", "made", "rendered", "synced", "turned"} {
		for _, first := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s first=%v", at, first), func(t *testing.T) {
				w := filled(t)
				w.bring()
				dir := t.TempDir()
				var before map[string]string
				if !first {
					w.mustPublish(dir)
					before = tree(t, dir)
				}
				w.write("main.go", "package changed\n")
				w.commit("Change")
				w.bring()
				opt := w.options()
				var kept string
				opt.SetStep(func(name string) error {
					if name != at {
						return nil
					}
					kept = t.TempDir() // what a killed process would have left
					if err := os.CopyFS(kept, os.DirFS(dir)); err != nil {
						return err
					}
					return broken
				})
				if _, err := w.publish(dir, opt); !errors.Is(err, broken) {
					t.Fatal(err)
				}
				fresh := t.TempDir()
				w.mustPublish(fresh)
				after := tree(t, fresh)
				for _, d := range []string{dir, kept} {
					switch {
					case at == "turned":
						equal(t, "the new one", tree(t, d), after)
					case !first:
						equal(t, "the old one", tree(t, d), before)
					}
					os.Symlink("nowhere", filepath.Join(d, "current.00.part"))
					opt := w.options()
					opt.Grace = -1
					for range 2 {
						if _, err := w.publish(d, opt); err != nil {
							t.Fatal(err)
						}
					}
					equal(t, "published again", tree(t, d), after)
					if list, _ := os.ReadDir(d); len(list) != 3 {
						t.Errorf("left behind: %v", list)
					}
				}
			})
		}
	}
}

// S0-17: who reads during 50 publishings never misses a page, and never sees two generations.
func TestReaderDuringPublishing(t *testing.T) {
	w := newWorld(t)
	say := func(n int) {
		for _, f := range []string{"a.txt", "b/c.txt", "d.txt"} {
			w.write(f, fmt.Sprintf("generation-%d.\n", n))
		}
		w.commit("again")
		w.bring()
	}
	say(0)
	dir := t.TempDir()
	w.mustPublish(dir)
	stop := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			root, err := filepath.EvalSymlinks(filepath.Join(dir, "current"))
			if err != nil {
				t.Error(err)
				return
			}
			seen := map[string]bool{}
			for _, f := range []string{"a.txt", "b/c.txt", "d.txt"} {
				b, err := os.ReadFile(filepath.Join(root, "tree/main", f+".html"))
				if err != nil {
					t.Error(err)
					return
				}
				_, s, _ := strings.Cut(string(b), "generation-")
				s, _, ok := strings.Cut(s, ".")
				if !ok {
					t.Errorf("half a page: %q", b)
				}
				seen[s] = true
			}
			if len(seen) != 1 {
				t.Errorf("a mix of %v", seen)
			}
			if _, err := os.ReadFile(filepath.Join(dir, "current", "index.html")); err != nil {
				t.Error(err)
			}
		}
	})
	for n := range 50 {
		say(n + 1)
		w.clock = w.clock.Add(time.Minute)
		w.mustPublish(dir)
	}
	close(stop)
	wait.Wait()
	if list, _ := os.ReadDir(dir); len(list) > 15 {
		t.Errorf("old generations stay for ever: %d", len(list))
	}
}

// One at a time; what takes too long changes nothing; the cancelled one neither.
func TestPublishRefuses(t *testing.T) {
	w := filled(t)
	w.bring()
	dir := t.TempDir()
	w.mustPublish(dir)
	before := tree(t, dir)
	w.write("main.go", "package other\n")
	w.commit("Other")
	w.bring()
	opt := w.options()
	opt.SetStep(func(name string) error {
		if name == "made" {
			if _, err := w.publish(dir, w.options()); !fault.Is(err, fault.Busy) {
				t.Errorf("a second one: %v", err)
			}
		}
		return nil
	})
	opt.Caps.Time = time.Nanosecond
	if _, err := w.publish(dir, opt); !fault.Is(err, fault.TooLarge) {
		t.Errorf("too long: %v", err)
	}
	b, err := w.vault.Browse(t.Context(), demo)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ctx, cancel := context.WithCancel(context.Background())
	opt = w.options()
	opt.SetStep(func(name string) error {
		if name == "rendered" {
			cancel()
		}
		return nil
	})
	if _, err := render.Publish(ctx, dir, b, site, opt); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	equal(t, "refused", tree(t, dir), before)
}

// A manifest that is broken costs a full rendering and nothing else.
func TestBrokenManifest(t *testing.T) {
	w := filled(t)
	w.bring()
	dir := t.TempDir()
	w.mustPublish(dir)
	want := tree(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "gen-1", "manifest"), []byte("[{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := w.mustPublish(dir); r.Unchanged || r.Rendered == 0 {
		t.Errorf("%+v", r)
	}
	equal(t, "again", tree(t, dir), want)
}

package render_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/render"
)

func yes() (bool, error) { return true, nil }

// A site goes whole, what others put beside it stays, and nothing goes while it is published or if its
// repository came back (S0-29, S0-17).
func TestRemove(t *testing.T) {
	w := filled(t)
	w.bring()
	dir := filepath.Join(t.TempDir(), "demo")
	w.mustPublish(dir)
	exists := func(path string) bool { _, err := os.Lstat(path); return err == nil }
	page := filepath.Join(dir, "current", "index.html")

	if err := render.Remove(dir, func() (bool, error) { return false, nil }); err != nil || !exists(page) {
		t.Errorf("it came back, and was removed: %v", err)
	}
	broken := errors.New("broken")
	if err := render.Remove(dir, func() (bool, error) { return true, broken }); !errors.Is(err, broken) || !exists(page) {
		t.Errorf("nobody knows whether it is gone, and it was removed: %v", err)
	}
	opt := w.options()
	opt.SetStep(func(name string) error {
		if name == "made" {
			if err := render.Remove(dir, yes); !fault.Is(err, fault.Busy) {
				t.Errorf("while it is published: %v", err)
			}
		}
		return nil
	})
	w.write("main.go", "package changed\n")
	w.commit("Change")
	w.bring()
	if _, err := w.publish(dir, opt); err != nil || !exists(page) {
		t.Fatal(err)
	}

	for _, name := range []string{"precious", "gen-x/precious", "current.html"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("mine"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	os.Symlink("nowhere", filepath.Join(dir, "current.00.part"))
	for range 2 { // removing again is nothing
		if err := render.Remove(dir, yes); err != nil {
			t.Fatal(err)
		}
	}
	list, _ := os.ReadDir(dir)
	if len(list) != 3 || !exists(filepath.Join(dir, "gen-x", "precious")) || !exists(filepath.Join(dir, "precious")) {
		t.Errorf("there is still %v", list)
	}

	// A Remove that was broken off is gone on with, wherever it was.
	for _, gone := range [][]string{{"current"}, {"current", "gen-1"}, {"current", "gen-1", "lock"}} {
		dir := filepath.Join(t.TempDir(), "demo")
		w.mustPublish(dir)
		for _, name := range gone {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := render.Remove(dir, yes); err != nil || exists(dir) {
			t.Errorf("after %v: %v, there: %v", gone, err, exists(dir))
		}
	}
	// What was never ours is left alone, and what was can be published anew.
	other := t.TempDir()
	if err := os.MkdirAll(filepath.Join(other, "gen-1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := render.Remove(other, yes); err != nil || !exists(filepath.Join(other, "gen-1")) {
		t.Errorf("a foreign folder: %v", err)
	}
	w.mustPublish(dir)
	if !exists(page) {
		t.Error("it cannot be published again")
	}
}

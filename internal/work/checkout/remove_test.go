package checkout_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
	"github.com/gitroost/gitroost/internal/work/checkout"
)

func yes() (bool, error) { return true, nil }

// S0-29, S3-14: what was published of a repository goes whole; what others put there stays, and nothing goes
// while something is published or if the repository came back.
func TestRemove(t *testing.T) {
	s := newShop(t)
	s.Commit("one")
	own := filepath.Join(s.Root, "checkouts", "demo")
	publish := func() {
		t.Helper()
		for _, to := range []string{"www", "sub/[a]*"} {
			if res, log := s.Run("checkout", &work.Checkout{To: to}); res.State != jobs.OK {
				t.Fatal(res, log)
			}
		}
	}
	publish()
	exists := func(name string) bool { _, err := os.Lstat(filepath.Join(own, name)); return err == nil }
	whole := func() bool { return exists("www/index.html") && exists("sub/[a]*/index.html") }

	if err := checkout.Remove(own, func() (bool, error) { return false, nil }); err != nil || !whole() {
		t.Errorf("it came back, and was removed: %v", err)
	}
	broken := errors.New("broken")
	if err := checkout.Remove(own, func() (bool, error) { return true, broken }); !errors.Is(err, broken) || !whole() {
		t.Errorf("nobody knows whether it is gone, and it was removed: %v", err)
	}
	s.step = func(string) error {
		if err := checkout.Remove(own, yes); !fault.Is(err, fault.Busy) {
			t.Errorf("while it is published: %v", err)
		}
		return broken
	}
	s.Run("checkout", &work.Checkout{To: "www"})
	s.step = nil
	if !exists("www/index.html") {
		t.Error("what is being published was removed")
	}

	publish()
	for _, name := range []string{"precious", "www.d/precious", "other.d/gen-1/precious", "sub/precious"} {
		path := filepath.Join(own, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("mine"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("www.d/gen-9/x", filepath.Join(own, "www.0123456789abcdef.part")); err != nil {
		t.Fatal(err)
	}
	outside := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(outside, "precious"), nil, 0o644), os.Symlink(outside, filepath.Join(own, "away"))); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := checkout.Remove(own, yes); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := names(own), []string{"away", "other.d", "precious", "sub", "www.d"}; !slices.Equal(got, want) {
		t.Errorf("there is %v, want %v", got, want)
	}
	for name, want := range map[string][]string{"www.d": {"precious"}, "other.d/gen-1": {"precious"}, "sub": {"precious"}, "away": {"precious"}} {
		if got := names(filepath.Join(own, name)); !slices.Equal(got, want) {
			t.Errorf("in %s is %v, want %v", name, got, want)
		}
	}

	// Without foreign files nothing is left, also of a Remove that was broken off.
	for _, name := range []string{"away", "other.d", "precious", "sub", "www.d"} {
		os.RemoveAll(filepath.Join(own, name))
	}
	for _, gone := range [][]string{nil, {"www"}, {"www", "www.d/gen-1"}, {"www", "www.d/gen-1", "www.d/.gitroost", "www.d/.lock"}} {
		publish()
		for _, name := range gone {
			if err := os.RemoveAll(filepath.Join(own, name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := checkout.Remove(own, yes); err != nil || exists("") {
			t.Errorf("after %v: %v, there is %v", gone, err, names(own))
		}
	}
}

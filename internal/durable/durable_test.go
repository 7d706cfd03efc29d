package durable_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gitroost/gitroost/internal/durable"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return strings.Join(out, " ")
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	for _, want := range []string{"one", "", "three"} {
		if err := durable.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := read(t, path); got != want {
			t.Errorf("read %q, want %q", got, want)
		}
	}
	if fi, _ := os.Stat(path); fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", fi.Mode())
	}
	if err := durable.WriteFile(filepath.Join(dir, "no", "a"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("into a folder that is not there: %v", err)
	}
	if got := names(t, dir); got != "a" {
		t.Errorf("left over: %s", got)
	}
}

func TestNothingIsSeenBeforeItIsWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	f, err := durable.Create(path, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	f.Write([]byte("half"))
	if !strings.HasSuffix(f.Name(), durable.TempSuffix) {
		t.Errorf("unfinished file is called %s", f.Name())
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("seen: %v", err)
	}
	f.Discard()
	f.Discard()
	if err := f.Commit(); err == nil {
		t.Error("committed after Discard")
	}
	if got := names(t, dir); got != "" {
		t.Errorf("left over: %s", got)
	}
}

func TestDiscardAfterCommitKeepsTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	f, err := durable.Create(path, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	f.Write([]byte("x"))
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	f.Discard()
	if read(t, path) != "x" {
		t.Error("gone")
	}
}

func TestLockIsHeldByOne(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "packed-refs")
	a, err := durable.Lock(path, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); got != "packed-refs.lock" {
		t.Errorf("the lock is called %s", got)
	}
	if _, err := durable.Lock(path, 0o644); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second lock: %v", err)
	}
	a.Write([]byte("1"))
	if err := a.Commit(); err != nil {
		t.Fatal(err)
	}
	b, err := durable.Lock(path, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	b.Discard()
	if got := names(t, dir); got != "packed-refs" || read(t, path) != "1" {
		t.Errorf("in the end: %s", got)
	}
}

func TestMkdirAll(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", "b", "c")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := durable.MkdirAll(deep, 0o755); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	os.WriteFile(filepath.Join(dir, "f"), nil, 0o644)
	if err := durable.MkdirAll(filepath.Join(dir, "f", "x"), 0o755); err == nil {
		t.Error("made a folder in a file")
	}
}

func TestRename(t *testing.T) {
	dir := t.TempDir()
	os.MkdirAll(filepath.Join(dir, "a", "x"), 0o755)
	os.MkdirAll(filepath.Join(dir, "b"), 0o755)
	if err := durable.Rename(filepath.Join(dir, "a", "x"), filepath.Join(dir, "b", "y")); err != nil {
		t.Fatal(err)
	}
	if names(t, filepath.Join(dir, "a")) != "" || names(t, filepath.Join(dir, "b")) != "y" {
		t.Error("not moved")
	}
}

func TestSymlinkIsReplaced(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "current")
	for _, target := range []string{"v1", "v2", "v2"} {
		if err := durable.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.Readlink(link); got != target {
			t.Errorf("points to %q", got)
		}
	}
	if got := names(t, dir); got != "current" {
		t.Errorf("left over: %s", got)
	}
}

// What is begun changes nothing of a file, and what is not there is no fault.
func TestBegin(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	want := bytes.Repeat([]byte("x"), 1<<20)
	if err := os.WriteFile(path, want, 0o640); err != nil {
		t.Fatal(err)
	}
	durable.Begin(path)
	durable.Begin(path + ".none")
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := durable.SyncFile(path); err != nil {
		t.Error(err)
	}
}

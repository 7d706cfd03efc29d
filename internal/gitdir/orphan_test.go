package gitdir_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/gitdir"
)

// I5: a child of a process that was killed may outlive it, and makes its quarantine anew where the
// next process has cleared it away. That goes too; what the living process receives stays.
func TestOrphanMakesItsFolderAnew(t *testing.T) {
	w := newWork(t)
	w.commit("a", "text\n")
	root := filepath.Join(t.TempDir(), "data")
	h := openAt(t, root, gitdir.Config{})
	defer h.Close()
	q, err := h.Ingest(t.Context(), demo, bytes.NewReader(w.pack("main")), ingestOptions())
	must(t, err)
	defer q.Discard()
	left := filepath.Join(root, "incoming", "push-01234567-89abcdef")
	must(t, os.MkdirAll(filepath.Join(left, "pack"), 0o755))
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(left); os.IsNotExist(err) {
			break
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it stays")
		}
	}
	entries, err := os.ReadDir(filepath.Join(root, "incoming"))
	must(t, err)
	if len(entries) != 2 { // "began" and the quarantine
		t.Errorf("in incoming: %v", entries)
	}
}

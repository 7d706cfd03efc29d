package store_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/store"
)

func TestExamineReadsAlone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "gitroost.db")
	if _, err := store.Examine(t.Context(), path); !fault.Is(err, fault.NotFound) {
		t.Errorf("a file that is not there: %v", err)
	}
	files := func() (names []string) {
		list, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list {
			names = append(names, f.Name())
		}
		return names
	}
	st, err := store.Open(t.Context(), path, store.Config{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	before := files()
	e, err := store.Examine(t.Context(), path) // while it is open
	if err != nil || e.Damage != "" || e.Schema != e.Newest || e.Schema == 0 || e.Unfinished {
		t.Errorf("while it is open: %+v %v", e, err)
	}
	if after := files(); strings.Join(before, " ") != strings.Join(after, " ") {
		t.Errorf("%q became %q", before, after)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	before = files()
	if e, err := store.Examine(t.Context(), path); err != nil || e.Damage != "" {
		t.Errorf("when it is closed: %+v %v", e, err)
	}
	if after := files(); strings.Join(before, " ") != strings.Join(after, " ") {
		t.Errorf("%q became %q", before, after)
	}

	// A page in the middle is lost.
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 4096; i < len(b); i++ {
		b[i] = 0xa5
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if e, err := store.Examine(t.Context(), path); err == nil && e.Damage == "" {
		t.Errorf("damage was not seen: %+v", e)
	}
	other := filepath.Join(dir, "other.db")
	if err := os.WriteFile(other, []byte("not a database, whatever its name says"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Examine(t.Context(), other); err == nil {
		t.Error("a text was taken for a database")
	}
}

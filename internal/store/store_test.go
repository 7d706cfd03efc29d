package store_test

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/steward"
	"github.com/gitroost/gitroost/internal/store"
	"github.com/gitroost/gitroost/internal/store/storetest"
)

// open returns a new store in a folder of its own, which is closed when the test ends.
func open(t testing.TB) *store.Store {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "ledger.db"))
}

func openAt(t testing.TB, path string) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), path, store.Config{Now: time.Now, MaxRanked: 1000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func TestLedger(t *testing.T) {
	storetest.TestLedger(t, func(t *testing.T) steward.Ledger { return open(t) })
}

func TestReader(t *testing.T) {
	storetest.TestReader(t, func(t *testing.T) (steward.Ledger, storetest.Reader) {
		s := open(t)
		return s, s
	})
}

func TestBooks(t *testing.T) {
	storetest.TestBooks(t, func(t *testing.T) storetest.Library { return open(t) })
}

// All repositories come once, page by page, in a fixed order.
func TestReposAfter(t *testing.T) {
	s := open(t)
	var want []grasp.Addr
	for i := range 25 {
		a := grasp.Addr{Owner: grasp.PubKey(strings.Repeat(fmt.Sprintf("%02x", i%4), 32)), ID: fmt.Sprint("r", i)}
		want = append(want, a)
		if _, err := s.Commit(t.Context(), steward.Change{Repos: []steward.Repo{{Addr: a, Hosting: grasp.Live, Since: time.Unix(1, 0)}}}); err != nil {
			t.Fatal(err)
		}
	}
	slices.SortFunc(want, func(a, b grasp.Addr) int {
		return cmp.Or(strings.Compare(string(a.Owner), string(b.Owner)), strings.Compare(a.ID, b.ID))
	})
	var got []grasp.Addr
	var at grasp.Addr
	for {
		page, err := s.ReposAfter(t.Context(), at, 10)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, page...)
		if len(page) < 10 {
			break
		}
		at = page[9]
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if _, err := s.ReposAfter(t.Context(), grasp.Addr{Owner: "x"}, 1); err == nil {
		t.Error("a key that is none")
	}
}

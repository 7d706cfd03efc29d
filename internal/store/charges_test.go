package store_test

import (
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/steward"
	"github.com/gitroost/gitroost/internal/store"
	"github.com/gitroost/gitroost/internal/store/storetest"
	"github.com/gitroost/gitroost/migrations"
)

// TestChargesFromBefore: what an event counted for before its charges had a row of their own is known, and
// goes with it (hardening §10).
func TestChargesFromBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	do := func(text string, args ...any) {
		t.Helper()
		if _, err := db.Exec(text, args...); err != nil {
			t.Fatal(err)
		}
	}
	names, err := fs.Glob(migrations.SQLite, "sqlite/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	version := 0
	for ; !strings.Contains(names[version], "_event_charges"); version++ {
		text, err := fs.ReadFile(migrations.SQLite, names[version])
		if err != nil {
			t.Fatal(err)
		}
		do(string(text))
	}
	do(fmt.Sprint("PRAGMA user_version = ", version))
	do(fmt.Sprint("PRAGMA application_id = ", 0x67745253))
	ev, other := storetest.Event(1, 1621, 1, "from before"), storetest.Event(1, 1621, 2, "from today")
	id, _ := hex.DecodeString(ev.ID)
	author, _ := hex.DecodeString(ev.PubKey)
	do(`INSERT INTO events (seq, id, pubkey, kind, created_at, shelf, source, subjects, raw) VALUES (1, ?, ?, ?, ?, 2, '', '[]', ?)`,
		id, author, ev.Kind, int64(ev.CreatedAt), []byte(ev.String()))
	list := []steward.Charge{{'k', 1}, {'r', 2}}
	for _, c := range list {
		do(`INSERT INTO charges (event, charge) VALUES (1, ?)`, c[:])
		do(`INSERT INTO tallies (charge, n) VALUES (?, 1)`, c[:])
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	s, ctx := openAt(t, path), context.Background()
	check := func(what string, want ...int) {
		t.Helper()
		if got, err := s.Tally(ctx, list); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", what, got, err, want)
		}
	}
	e := storetest.Entry(other, grasp.Served)
	e.Charges = list[:1]
	if _, err := s.Commit(ctx, steward.Change{Put: e}); err != nil {
		t.Fatal(err)
	}
	s.FileAll(t)
	check("both", 2, 1)
	for id, want := range map[string][]steward.Charge{ev.ID: list, other.ID: list[:1]} {
		if th, err := s.Thread(ctx, grasp.EventID(id)); err != nil || !slices.Equal(th.Charges, want) {
			t.Errorf("%.7s has the charges %v, %v, want %v", id, th.Charges, err, want)
		}
	}
	if _, err := s.Commit(ctx, steward.Change{Drop: []grasp.EventID{grasp.EventID(ev.ID)}}); err != nil {
		t.Fatal(err)
	}
	check("one", 1, 0)
	if _, err := s.Commit(ctx, steward.Change{Drop: []grasp.EventID{grasp.EventID(other.ID)}}); err != nil {
		t.Fatal(err)
	}
	check("none", 0, 0)
	if n := s.Rows(t); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

// TestTallyMeanwhile: what counts is counted once, and right, however many ask while others publish, some
// events are filed and some are removed (hardening §10).
func TestTallyMeanwhile(t *testing.T) {
	s, err := store.Open(context.Background(), filepath.Join(t.TempDir(), "ledger.db"), store.Config{Now: time.Now, Tray: 64})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const workers, each = 8, 60
	ctx := context.Background()
	all := steward.Charge{'r'}
	own := func(w int) steward.Charge { return steward.Charge{'k', byte(w)} }
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			var mine []grasp.EventID
			for i := range each {
				ev := storetest.Event(w, 1111, int64(i), fmt.Sprint("remark ", w, i))
				e := storetest.Entry(ev, grasp.Served)
				e.Charges = []steward.Charge{all, own(w), {'e', byte(w), byte(i / 4)}}
				if _, err := s.Commit(ctx, steward.Change{Put: e}); err != nil {
					t.Error(err)
					return
				}
				mine = append(mine, grasp.EventID(ev.ID))
				if _, err := s.Tally(ctx, e.Charges); err != nil {
					t.Error(err)
					return
				}
				if w == 0 && i%20 == 19 {
					if _, err := s.Commit(ctx, steward.Change{Drop: mine[:1]}); err != nil {
						t.Error(err)
						return
					}
					mine = mine[1:]
				}
			}
		})
	}
	wg.Wait()
	list, want := []steward.Charge{all}, []int{workers*each - each/20}
	for w := range workers {
		list, want = append(list, own(w)), append(want, each)
		for i := range each / 4 {
			list, want = append(list, steward.Charge{'e', byte(w), byte(i)}), append(want, 4)
		}
	}
	want[1] -= each / 20
	want[2] -= each / 20 // the oldest three of four
	for _, what := range []string{"what is remembered", "what was remembered just now", "what is filed"} {
		if got, err := s.Tally(ctx, list); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", what, got, err, want)
		}
		if what == "what was remembered just now" {
			s.FileAll(t)
			s.Forget(t)
		}
	}
}

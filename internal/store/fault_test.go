package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
	"github.com/gitroost/gitroost/internal/store"
	"github.com/gitroost/gitroost/internal/store/storetest"
)

// TestOneFails: a change that the database will not take, and that even makes it give up the
// whole transaction, is nobody's business but its owner's.
func TestOneFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	s := openAt(t, path)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, how := range []string{"ROLLBACK", "ABORT", "FAIL"} {
		if _, err := db.Exec(fmt.Sprintf(`CREATE TRIGGER poison_%s BEFORE INSERT ON unsettled WHEN new.identifier LIKE '%s-%%'
			BEGIN SELECT RAISE(%s, 'poison'); END`, how, how, how)); err != nil {
			t.Fatal(err)
		}
	}
	const n = 120
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			c := steward.Change{Put: storetest.Entry(storetest.Event(1, 1, int64(i), ""), grasp.Served), Unsettled: fmt.Sprint("good-", i)}
			if i%10 < 3 {
				c.Unsettled = fmt.Sprintf("%s-%d", []string{"ROLLBACK", "ABORT", "FAIL"}[i%10], i)
			}
			_, err := s.Commit(context.Background(), c)
			if poison := i%10 < 3; poison != (err != nil) {
				t.Errorf("%s: %v", c.Unsettled, err)
			}
		})
	}
	wg.Wait()
	for i := range n {
		_, err := s.Event(context.Background(), grasp.EventID(storetest.Event(1, 1, int64(i), "").ID))
		if poison := i%10 < 3; poison != fault.Is(err, fault.NotFound) {
			t.Errorf("event %d: %v", i, err)
		}
	}
	if list, err := s.Unsettled(context.Background()); err != nil || len(list) != n*7/10 {
		t.Errorf("%d changes left their mark (%v)", len(list), err)
	}
}

// TestDiskFull: no change is acknowledged that is not there, and once there is room again all
// goes on (hardening G7).
func TestDiskFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	s := openAt(t, path)
	ctx := context.Background()
	put := func(i int) error {
		ev := storetest.Event(i%7, 1, int64(i), strings.Repeat("x", 5000))
		_, err := s.Commit(ctx, steward.Change{Put: storetest.Entry(ev, []grasp.Shelf{grasp.Waiting, grasp.Served}[i%2])})
		return err
	}
	var good, bad []int
	for level := range 40 {
		s.MaxPages(t, level+1)
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				n := level*8 + i
				err := put(n)
				if err != nil && !fault.Is(err, fault.Busy) {
					t.Errorf("level %d: %v, want busy", level, err)
				}
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					good = append(good, n)
				} else {
					bad = append(bad, n)
				}
			})
		}
		wg.Wait()
	}
	if len(good) == 0 || len(bad) == 0 {
		t.Errorf("%d written, %d refused: this test tests nothing", len(good), len(bad))
	}
	s.MaxPages(t, 0)
	check := func(list []int, there bool) {
		for _, i := range list {
			_, err := s.Event(ctx, grasp.EventID(storetest.Event(i%7, 1, int64(i), strings.Repeat("x", 5000)).ID))
			if (err == nil) != there {
				t.Errorf("event %d: %v, want it there: %v", i, err, there)
			}
		}
	}
	check(good, true)
	check(bad, false)
	waiting := 0
	for _, i := range good {
		waiting += 1 - i%2
	}
	a, err := s.Lookup(ctx, steward.Question{ID: storetest.ID(1), Author: storetest.Key(1), Source: "x"})
	if err != nil || a.WaitingInAll != waiting {
		t.Errorf("%d wait, want %d (%v)", a.WaitingInAll, waiting, err)
	}
	for _, i := range bad {
		if err := put(i); err != nil {
			t.Errorf("after there was room again: %v", err)
		}
	}
	check(bad, true)
}

// TestLeaveTheQueue: who stops waiting for the writer takes the change back; readers do not
// wait for the writer at all.
func TestLeaveTheQueue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	s, err := store.Open(context.Background(), path, store.Config{Now: time.Now, Batch: 1, Queue: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("PRAGMA busy_timeout = 10000"); err != nil { // older events may be searched for words
		t.Fatal(err)
	}
	if _, err := db.Exec("BEGIN IMMEDIATE"); err != nil { // from here on the writer waits for us
		t.Fatal(err)
	}
	mark := func(id string) steward.Change { return steward.Change{Unsettled: id} }
	wait := s.Submit(t, mark("first"))
	ctx, cancel := context.WithCancel(context.Background())
	left := make(chan error)
	for i := range 6 { // two have room in the queue, the others wait outside
		go func() {
			_, err := s.Commit(ctx, mark(fmt.Sprint("left-", i)))
			left <- err
		}()
	}
	if _, err := s.View(context.Background(), "demo"); err != nil {
		t.Errorf("reading while the writer waits: %v", err)
	}
	cancel()
	for range 6 {
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("left: %v", err)
		}
	}
	if _, err := db.Exec("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := wait(); err != nil {
		t.Error(err)
	}
	if _, err := s.Commit(context.Background(), mark("last")); err != nil {
		t.Error(err)
	}
	if list, err := s.Unsettled(context.Background()); err != nil || !slices.Equal(list, []string{"first", "last"}) {
		t.Errorf("unsettled: %v, %v", list, err)
	}
}

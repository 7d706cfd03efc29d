package store_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
	"github.com/gitroost/gitroost/internal/store"
	"github.com/gitroost/gitroost/internal/store/storetest"
)

// TestReopen: everything is where it was, deadlines and tombstones too (G01-405, hardening G5).
func TestReopen(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "what? 100% of #1.db")
	s := openAt(t, path)
	wait := storetest.Entry(storetest.State(1, "demo", 1), grasp.Waiting)
	serve := storetest.Entry(storetest.Announcement(1, "demo", 1, nostr.Tag{"t", "x"}), grasp.Served)
	dead := storetest.Event(1, 1, 1, "")
	repo := grasp.Addr{Owner: storetest.Key(1), ID: "demo"}
	for _, c := range []steward.Change{
		{Put: wait, Unsettled: "other"},
		{Put: serve, Repos: []steward.Repo{{Addr: repo, Hosting: grasp.Live, Since: time.Unix(5, 6)}},
			Orphans: []steward.Orphan{{Repo: repo, Event: storetest.ID(1), Deadline: time.Unix(7, 8)}},
			Tombs:   []steward.Tomb{{By: storetest.Key(1), ID: grasp.EventID(dead.ID)}},
			Moves:   []steward.Moved{{Repo: repo, Changes: []grasp.RefChange{{Ref: "refs/heads/main", New: grasp.OID(dead.ID[:40])}}}}},
	} {
		if _, err := s.Commit(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*-wal")); len(left) > 0 {
		t.Errorf("a clean shutdown leaves %v", left)
	}

	s = openAt(t, path)
	f, err := s.View(ctx, "demo")
	if err != nil || len(f.Entries) != 2 || len(f.Repos) != 1 || len(f.Orphans) != 1 {
		t.Fatalf("view: %+v, %v", f, err)
	}
	if e, err := s.Event(ctx, grasp.EventID(wait.Event.ID)); err != nil || !e.Deadline.Equal(wait.Deadline) || e.Shelf != grasp.Waiting {
		t.Errorf("waiting: %+v, %v", e, err)
	}
	if !f.Repos[0].Since.Equal(time.Unix(5, 6)) || !f.Orphans[0].Deadline.Equal(time.Unix(7, 8)) {
		t.Errorf("times: %+v", f)
	}
	if list, _ := s.Unsettled(ctx); !slices.Equal(list, []string{"demo", "other"}) {
		t.Errorf("unsettled: %v", list)
	}
	if refs, _ := s.Unrecorded(ctx, repo, grasp.RefList{}); len(refs) != 1 {
		t.Errorf("refs: %v", refs)
	}
	a, err := s.Lookup(ctx, steward.Question{ID: grasp.EventID(dead.ID), Author: storetest.Key(1), Source: "x"})
	if err != nil || !a.Deleted || a.WaitingInAll != 1 {
		t.Errorf("lookup: %+v, %v", a, err)
	}
	if n, _ := s.Count(ctx, []nostr.Filter{{Tags: nostr.TagMap{"t": {"x"}}}}); n != 1 {
		t.Errorf("count: %d", n)
	}
}

// TestForeignFiles: a newer schema, another program's database and what is no database at all are
// refused and left as they are (hardening G10).
func TestForeignFiles(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	prepare := func(name string, sqls ...string) string {
		path := filepath.Join(dir, name)
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		for _, q := range sqls {
			if _, err := db.Exec(q); err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	newer := filepath.Join(dir, "newer.db")
	s, err := store.Open(ctx, newer, store.Config{Now: time.Now})
	if err != nil || s.Close() != nil {
		t.Fatal(err)
	}
	prepare("newer.db", "PRAGMA user_version = 9999")
	other := prepare("other.db", "CREATE TABLE things (x)", "PRAGMA user_version = 1")
	text := filepath.Join(dir, "text.db")
	if err := os.WriteFile(text, []byte("this is no database, but it is long enough to look like one at first sight"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, code := range map[string]fault.Code{newer: fault.Refused, other: fault.Refused, text: fault.Internal, filepath.Join(dir, "no/such/folder.db"): fault.Internal} {
		before, _ := os.ReadFile(path)
		s, err := store.Open(ctx, path, store.Config{Now: time.Now})
		if s != nil || !fault.Is(err, code) {
			t.Errorf("%s: %v, want %v", filepath.Base(path), err, code)
		}
		if after, _ := os.ReadFile(path); string(after) != string(before) {
			t.Errorf("%s was changed", path)
		}
	}
	if _, err := store.Open(ctx, filepath.Join(dir, "x.db"), store.Config{}); err == nil {
		t.Error("opened without a clock")
	}
}

// TestSettings reads what is in force on connections of the store's own making (hardening §13).
func TestSettings(t *testing.T) {
	s := open(t)
	for name, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "busy_timeout": "5000", "foreign_keys": "1", "trusted_schema": "0", "mmap_size": "0",
	} {
		for _, got := range s.Pragma(t, name) {
			if got != want {
				t.Errorf("%s is %s, want %s", name, got, want)
			}
		}
	}
}

// TestClose: what was accepted is written, everything else is told that the house closes.
func TestClose(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "ledger.db")
	s := openAt(t, path)
	var mu sync.Mutex
	var kept []string
	var wg sync.WaitGroup
	first := make(chan struct{})
	var once sync.Once
	for g := range 8 {
		wg.Go(func() {
			for i := int64(0); ; i++ {
				ev := storetest.Event(g, 1, i, "")
				_, err := s.Commit(ctx, steward.Change{Put: storetest.Entry(ev, grasp.Served)})
				if err != nil {
					if !fault.Is(err, fault.Closing) {
						t.Errorf("commit: %v", err)
					}
					return
				}
				mu.Lock()
				kept = append(kept, ev.ID)
				mu.Unlock()
				once.Do(func() { close(first) })
			}
		})
		wg.Go(func() {
			for {
				if _, err := s.Count(ctx, []nostr.Filter{{}}); err != nil {
					if !fault.Is(err, fault.Closing) {
						t.Errorf("count: %v", err)
					}
					return
				}
			}
		})
	}
	<-first
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	if _, err := s.View(ctx, "demo"); !fault.Is(err, fault.Closing) {
		t.Errorf("view: %v", err)
	}
	s = openAt(t, path)
	for _, id := range kept {
		if _, err := s.Event(ctx, grasp.EventID(id)); err != nil {
			t.Errorf("acknowledged and lost: %v", err)
		}
	}
}

// TestCancel: a query that nobody waits for any more gives its connection back, whether it is
// reading or waiting for a reader (D7).
func TestCancel(t *testing.T) {
	s, err := store.Open(context.Background(), filepath.Join(t.TempDir(), "l.db"), store.Config{Now: time.Now, Readers: 1, Recall: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 20 {
		if _, err := s.Commit(context.Background(), steward.Change{Put: storetest.Entry(storetest.Event(1, 1, int64(i), ""), grasp.Served)}); err != nil {
			t.Fatal(err)
		}
	}
	inside, leave := make(chan struct{}), make(chan struct{})
	result := make(chan error)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		n := 0
		result <- s.Query(ctx, nostr.Filter{}, func(grasp.EventID, []byte) bool {
			if n++; n == 1 {
				close(inside)
				<-leave
			}
			return true
		})
	}()
	<-inside
	// The only reader is taken: who waits for it can leave.
	short, stop := context.WithTimeout(context.Background(), time.Millisecond)
	defer stop()
	if _, err := s.Count(short, []nostr.Filter{{}}); !fault.Is(err, fault.Busy) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for a reader: %v", err)
	}
	cancel()
	close(leave)
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("a query that nobody waits for: %v", err)
	}
	if n, err := s.Count(context.Background(), []nostr.Filter{{}}); err != nil || n != 20 {
		t.Errorf("afterwards: %d, %v", n, err)
	}
}

// TestExpiryFollowsTheClock: an event is served until its second comes (N-036, check 120).
func TestExpiryFollowsTheClock(t *testing.T) {
	var mu sync.Mutex
	now := time.Unix(1000, 0)
	s, err := store.Open(context.Background(), filepath.Join(t.TempDir(), "l.db"), store.Config{Now: func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	e := storetest.Entry(storetest.Event(1, 1621, 1, "", nostr.Tag{"t", "x"}), grasp.Served)
	e.Expires = time.Unix(1002, 0)
	if _, err := s.Commit(context.Background(), steward.Change{Put: e}); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[int64]int64{1001: 1, 1002: 0, 1003: 0} {
		mu.Lock()
		now = time.Unix(at, 0)
		mu.Unlock()
		for _, f := range []nostr.Filter{{}, {IDs: []string{e.Event.ID}}, {Tags: nostr.TagMap{"t": {"x"}}}} {
			if n, err := s.Count(context.Background(), []nostr.Filter{f}); err != nil || n != want {
				t.Errorf("at %d: %s counts %d (%v), want %d", at, f, n, err, want)
			}
		}
		a, err := s.Lookup(context.Background(), steward.Question{ID: storetest.ID(1), Author: storetest.Key(1), IDs: []string{e.Event.ID}})
		if err != nil || a.Related != (want == 1) {
			t.Errorf("at %d: related is %v (%v)", at, a.Related, err)
		}
	}
}

// TestRepos: the page shows repositories whose announcement is served, the newest first.
func TestRepos(t *testing.T) {
	ctx := context.Background()
	s := open(t)
	for i, c := range []struct {
		hosting grasp.Hosting
		shelf   grasp.Shelf
		expires time.Time
	}{
		{grasp.Live, grasp.Served, time.Time{}},
		{grasp.Live, grasp.Waiting, time.Time{}},
		{grasp.Withdrawn, grasp.Served, time.Time{}},
		{grasp.Deleted, grasp.Served, time.Time{}},
		{grasp.Live, grasp.Served, time.Unix(10, 0)},
		{grasp.Live, grasp.Served, time.Unix(1<<40, 0)},
	} {
		e := storetest.Entry(storetest.Announcement(i, "demo", 1), c.shelf)
		e.Expires = c.expires
		if _, err := s.Commit(ctx, steward.Change{Put: e, Repos: []steward.Repo{{
			Addr: grasp.Addr{Owner: storetest.Key(i), ID: "demo"}, Hosting: c.hosting, Since: time.Unix(int64(i), 0),
		}}}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := s.Repos(ctx, 10)
	if err != nil {
		t.Fatal(err)
	}
	var got []grasp.PubKey
	for _, r := range list {
		got = append(got, r.Addr.Owner)
		if len(r.Announcement) == 0 || r.Addr.ID != "demo" || r.Since.IsZero() {
			t.Errorf("%+v", r)
		}
	}
	if want := []grasp.PubKey{storetest.Key(5), storetest.Key(2), storetest.Key(0)}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if list, err := s.Repos(ctx, 1); err != nil || len(list) != 1 {
		t.Errorf("one: %v, %v", list, err)
	}
}

package store_test

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/search"
	"github.com/gitroost/gitroost/internal/steward"
	"github.com/gitroost/gitroost/internal/store"
	"github.com/gitroost/gitroost/internal/store/storetest"
	"github.com/gitroost/gitroost/migrations"
)

func issue(i int, subject, text string) *nostr.Event {
	return storetest.Event(i%5, grasp.KindIssue, int64(i), text, nostr.Tag{"subject", subject})
}

// TestCatchUp: a database from before there was a search is indexed behind the back of those who
// use it, and what is deleted or released meanwhile is right in the end.
func TestCatchUp(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "ledger.db")
	s, err := store.Open(ctx, path, store.Config{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	var evs []*nostr.Event
	for i := range 1500 {
		evs = append(evs, issue(i, "old", fmt.Sprint("number n", i)), storetest.Event(i, 1, int64(i), "old note"))
	}
	fill(t, s, evs)
	waiting := storetest.Announcement(1, "demo", 1, nostr.Tag{"name", "old demo"})
	if _, err := s.Commit(ctx, steward.Change{Put: storetest.Entry(waiting, grasp.Waiting)}); err != nil {
		t.Fatal(err)
	}
	s.Forget(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, path)
	// None of this waits for the index.
	fresh, gone := issue(1, "old", "number fresh"), evs[2998]
	for _, c := range []steward.Change{
		{Put: storetest.Entry(fresh, grasp.Served)},
		{Drop: []grasp.EventID{grasp.EventID(gone.ID)}},
		{Release: []grasp.EventID{grasp.EventID(waiting.ID)}},
	} {
		if _, err := s.Commit(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	count := func(text string) int64 {
		t.Helper()
		n, err := s.Count(ctx, []nostr.Filter{{Search: text}})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := count("fresh"); n != 1 {
		t.Errorf("what is new is found %d times", n)
	}
	<-s.CaughtUp()
	for text, want := range map[string]int64{"old": 1499 + 2, "n7 ": 1, "n1499": 0, "demo": 1, "fresh": 1} {
		if n := count(text); n != want {
			t.Errorf("%q: %d, want %d", text, n, want)
		}
	}
	if s.Unsearched(t) != 0 {
		t.Error("something is still unsearched")
	}
	s.CheckIndex(t)
}

// TestOldDatabase: what the schema before the search kept is found after the step to this one.
func TestOldDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	names, err := fs.Glob(migrations.SQLite, "sqlite/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	version := 0
	for ; !strings.Contains(names[version], "_search"); version++ {
		text, err := fs.ReadFile(migrations.SQLite, names[version])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(string(text)); err != nil {
			t.Fatal(err)
		}
	}
	ev := issue(1, "from before", "")
	id, _ := hex.DecodeString(ev.ID)
	author, _ := hex.DecodeString(ev.PubKey)
	for _, text := range []string{fmt.Sprint("PRAGMA user_version = ", version), fmt.Sprint("PRAGMA application_id = ", 0x67745253)} {
		if _, err := db.Exec(text); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Exec(`INSERT INTO events (id, pubkey, kind, created_at, shelf, source, subjects, raw) VALUES (?, ?, ?, ?, 2, '', '[]', ?)`,
		id, author, ev.Kind, int64(ev.CreatedAt), []byte(ev.String())); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s := openAt(t, path)
	<-s.CaughtUp()
	if n, err := s.Count(context.Background(), []nostr.Filter{{Search: "before"}}); n != 1 || err != nil {
		t.Errorf("found %d times (%v)", n, err)
	}
}

// TestCatchUpStops: a store that is closed while it catches up goes on at the next start.
func TestCatchUpStops(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "ledger.db")
	s, err := store.Open(ctx, path, store.Config{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	var evs []*nostr.Event
	for i := range 2500 {
		evs = append(evs, issue(i, "old", ""))
	}
	fill(t, s, evs)
	s.Forget(t)
	for tries := 0; s.Unsearched(t) > 0; tries++ {
		if tries == 10 {
			t.Fatal("it never ends")
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = store.Open(ctx, path, store.Config{Now: time.Now}); err != nil {
			t.Fatal(err)
		}
		if tries > 3 {
			<-s.CaughtUp()
		}
	}
	defer s.Close()
	if n, err := s.Count(ctx, []nostr.Filter{{Search: "old"}}); err != nil || n != 2500 {
		t.Errorf("%d found (%v)", n, err)
	}
	s.CheckIndex(t)
}

// TestCancelledSearches: whoever leaves, before, while or after something is found, leaves no
// goroutine and no reader behind (D7), nor does a question that takes too long.
func TestCancelledSearches(t *testing.T) {
	s := open(t)
	var evs []*nostr.Event
	for i := range 1500 {
		evs = append(evs, issue(i, "common words", fmt.Sprint("and number n", i)))
	}
	fill(t, s, evs)
	filters := []nostr.Filter{{Search: "common"}, {Search: "-n7 com"}, {Search: `"common words"`, Kinds: []int{grasp.KindIssue}}, {Kinds: []int{grasp.KindIssue}}}
	ask := func(ctx context.Context, f nostr.Filter, each func(int) bool) error {
		n := 0
		return s.Query(ctx, f, func(grasp.EventID, []byte) bool { n++; return each(n) })
	}
	// Every connection that there will be, and what serves it.
	for range 20 {
		if err := ask(context.Background(), filters[0], func(int) bool { return true }); err != nil {
			t.Fatal(err)
		}
	}
	before := runtime.NumGoroutine()
	for i := range 200 {
		f := filters[i%len(filters)]
		ctx, cancel := context.WithCancel(context.Background())
		switch i % 3 {
		case 0:
			cancel()
			if err := ask(ctx, f, func(int) bool { return true }); !errors.Is(err, context.Canceled) {
				t.Fatalf("%s before it began: %v", f, err)
			}
		case 1:
			if err := ask(ctx, f, func(n int) bool { cancel(); return true }); !errors.Is(err, context.Canceled) {
				t.Fatalf("%s in the middle: %v", f, err)
			}
		case 2:
			short, stop := context.WithTimeout(ctx, time.Duration(i)*10*time.Microsecond)
			if err := ask(short, f, func(int) bool { return true }); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("%s in too little time: %v", f, err)
			}
			stop()
		}
		cancel()
	}
	for end := time.Now().Add(2 * time.Minute); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
	if n, err := s.Count(context.Background(), filters[:1]); err != nil || n != 1500 {
		t.Errorf("afterwards: %d, %v", n, err)
	}
}

// TestSearchPlans: the index of words is asked once, and events are looked up one by one.
func TestSearchPlans(t *testing.T) {
	s := open(t)
	for name, text := range store.SearchStatements {
		for _, line := range s.Plan(t, text) {
			if strings.HasPrefix(line, "SCAN ") && !strings.Contains(line, "VIRTUAL TABLE") || strings.Contains(line, "SEARCH e ") && !strings.Contains(line, "INTEGER PRIMARY KEY") {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
	if plan := strings.Join(s.Plan(t, store.SQLUnsearched), "\n"); plan != "SEARCH events USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)" {
		t.Error(plan)
	}
	for _, kind := range search.Kinds {
		if !strings.Contains(store.SQLUnsearched, fmt.Sprint(kind)) {
			t.Errorf("kind %d is not caught up with", kind)
		}
	}
}

// FuzzSearch: whatever is asked for, the index finds what the event in memory says of itself, and
// nothing that somebody typed is an error of the database.
func FuzzSearch(f *testing.F) {
	s := open(f)
	var evs []*nostr.Event
	for i, text := range []string{"fix the parser", "smart-http é 搜索引擎", `quote " star * colon: paren (`, "AND OR NOT NEAR", "x' y; --", "title body rowid rank search"} {
		evs = append(evs, issue(i, text, "the text of "+text))
	}
	fill(f, s, evs)
	for _, seed := range []string{"fix", `"the parser"`, "搜", `" OR 1 *`, "-x y", "NEAR(x y)", "title:x", "{a b}:c", "^fix", "a AND b", "x*y", "\x00", "é*"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, asked string) {
		q, means, err := search.Parse(asked)
		if err != nil || means == search.Anything {
			return
		}
		var want, got []string
		for _, ev := range evs {
			if means == search.Terms && search.NewIndex(ev).Has(&q) {
				want = append(want, ev.ID)
			}
		}
		err = s.Query(context.Background(), nostr.Filter{Search: asked}, func(id grasp.EventID, _ []byte) bool {
			got = append(got, string(id))
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%q: got %d events, want %d", asked, len(got), len(want))
		}
	})
}

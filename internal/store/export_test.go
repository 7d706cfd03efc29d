package store

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/steward"
)

// Pragma returns a setting as the writer and as a reader have it.
func (s *Store) Pragma(t testing.TB, name string) (out []string) {
	t.Helper()
	var v string
	if err := s.writer.conn.QueryRowContext(context.Background(), "PRAGMA "+name).Scan(&v); err != nil {
		t.Fatal(err)
	}
	out = append(out, v)
	err := s.read(context.Background(), "test", func(ctx context.Context, r *reader) error {
		return r.conn.QueryRowContext(ctx, "PRAGMA "+name).Scan(&v)
	})
	if err != nil {
		t.Fatal(err)
	}
	return append(out, v)
}

// MaxPages bounds the size of the file from now on: a disk that is full. 0 lifts the bound.
func (s *Store) MaxPages(t testing.TB, more int) {
	t.Helper()
	n := 1 << 30
	if more > 0 {
		if err := s.writer.conn.QueryRowContext(context.Background(), "PRAGMA page_count").Scan(&n); err != nil {
			t.Fatal(err)
		}
		n += more
	}
	if _, err := s.writer.conn.ExecContext(context.Background(), fmt.Sprintf("PRAGMA max_page_count = %d", n)); err != nil {
		t.Fatal(err)
	}
}

// Plan returns how the database answers a statement.
func (s *Store) Plan(t testing.TB, text string) (out []string) {
	t.Helper()
	err := s.read(context.Background(), "test", func(ctx context.Context, r *reader) error {
		rows, err := r.conn.QueryContext(ctx, "EXPLAIN QUERY PLAN "+text, 1, 2, 3, 4, 5, 6)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id, parent, unused int
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				return err
			}
			out = append(out, detail)
		}
		return rows.Err()
	})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return out
}

// Scans returns the statement that f is answered with, and how many ranges it is asked for.
func (s *Store) Scans(t testing.TB, f nostr.Filter) (scan string, ranges int) {
	t.Helper()
	q, err := compile(f)
	if err != nil || q == nil {
		t.Fatalf("%s: %v, %v", f, q, err)
	}
	if q.ids != nil {
		return sqlByID, len(q.ids)
	}
	s.FileAll(t)
	err = s.read(context.Background(), "test", func(ctx context.Context, r *reader) error {
		d, err := r.choose(ctx, q)
		scan, ranges = d.scan, len(d.args)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return scan, ranges
}

// Statements are what is asked while somebody waits, by name.
var Statements = map[string]string{
	"charges": sqlCharges, "old charges": sqlOldCharges, "served": sqlServed, "tally": sqlTally, "kept": sqlKept, "oldest": sqlOldest, "walk": sqlWalk, "walk of boxes": sqlWalkBoxes,
	"by id": sqlByID, "author": sqlAuthor, "raw": sqlRaw, "tagged": sqlTagged,
	"time": scanTime, "kind": scanKind, "author scan": scanAuthor, "author and kind": scanAuthorKind, "tag": scanTag,
	"named": sqlNamed, "addressed": sqlAddressed, "naming": sqlNaming, "before": sqlBefore, "about": sqlAbout, "newer": sqlNewer, "recalled": sqlRecall, "id": scanID, "view": sqlView,
	"orphans": sqlOrphans, "box": sqlBoxOrphans, "boxes of a pull request": sqlBoxesOfPull, "boxes that are due": sqlBoxesDue,
	"due boxes": sqlDueBoxes, "refs of a box": sqlBoxRefs, "lost": sqlLost, "boxes of an identifier": sqlBoxesOf,
}

// Rows returns how many rows of events there are, in all tables.
func (s *Store) Rows(t testing.TB) (n int) {
	t.Helper()
	err := s.read(context.Background(), "test", func(ctx context.Context, r *reader) error {
		return r.conn.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM tags) + (SELECT count(*) FROM subjects)
			+ (SELECT count(*) FROM event_charges) + (SELECT count(*) FROM charges) + (SELECT count(*) FROM search_docsize)`).Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Submit queues a change and returns how to wait for what becomes of it.
func (s *Store) Submit(t testing.TB, c steward.Change) (wait func() error) {
	t.Helper()
	p, err := prepare(c)
	if err != nil {
		t.Fatal(err)
	}
	req := &request{plan: p, done: make(chan struct{})}
	if err := s.enqueue(context.Background(), req); err != nil {
		t.Fatal(err)
	}
	return func() error {
		<-req.done
		return req.err
	}
}

// CaughtUp is closed when no older event is unsearched.
func (s *Store) CaughtUp() <-chan struct{} { return s.caughtUp }

// SearchStatements are what a search asks, by name.
var SearchStatements = map[string]string{"among": sqlAmong, "last": sqlLast, "ranked": sqlRanked, "unranked": sqlUnranked}

// SQLUnsearched is what finds the events to catch up with.
const SQLUnsearched = sqlUnsearched

// Unsearched returns how many events are still to be caught up with at most. The store may be closing.
func (s *Store) Unsearched(t testing.TB) (n int) {
	t.Helper()
	err := s.read(context.Background(), "test", func(ctx context.Context, r *reader) error {
		return r.conn.QueryRowContext(ctx, `SELECT ifnull(max(upto - done), 0) FROM unsearched`).Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Forget empties the index of words, as if it had just been made.
func (s *Store) Forget(t testing.TB) {
	t.Helper()
	s.FileAll(t)
	<-s.caughtUp
	for _, text := range []string{`INSERT INTO search (search) VALUES ('delete-all')`, `INSERT INTO unsearched SELECT 0, max(seq) FROM events`} {
		if _, err := s.writer.conn.ExecContext(context.Background(), text); err != nil {
			t.Fatal(err)
		}
	}
}

// CheckIndex has the database check the index of words.
func (s *Store) CheckIndex(t testing.TB) {
	t.Helper()
	if _, err := s.writer.conn.ExecContext(context.Background(), `INSERT INTO search (search, rank) VALUES ('integrity-check', 0)`); err != nil {
		t.Error(err)
	}
}

// FileAll files what is on the tray.
func (s *Store) FileAll(t testing.TB) {
	t.Helper()
	if err := s.fileAll(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// FileSome files some of what is on the tray.
func (s *Store) FileSome(t testing.TB, n int) {
	t.Helper()
	req := &request{plan: &plan{file: n}, done: make(chan struct{})}
	if err := s.enqueue(context.Background(), req); err != nil {
		t.Fatal(err)
	}
	if <-req.done; req.err != nil {
		t.Fatal(req.err)
	}
}

// OnTray returns how many events are on the tray, and checks what is known of them.
func (s *Store) OnTray(t testing.TB) int {
	t.Helper()
	tr := s.tray
	tr.mu.RLock()
	defer tr.mu.RUnlock()
	bytes, listed, worded, tallies := 0, 0, 0, map[steward.Charge]int{}
	for id, one := range tr.rows {
		bytes += one.row.burden()
		listed += len(rangesOf(one.row))
		for _, c := range one.row.charges {
			tallies[c]++
		}
		if one.row.hasWords() {
			worded++
		}
		if one.row.id != id {
			t.Fatal("an event under another's id")
		}
	}
	for key, list := range tr.lists {
		listed -= len(list)
		for i, k := range list {
			if i > 0 && !k.before(list[i-1].candidate) {
				t.Fatalf("range %v is out of order", key)
			}
		}
	}
	if bytes != tr.bytes || listed != 0 || len(tr.queue) != len(tr.rows) || len(tr.worded) != worded || !maps.Equal(tallies, tr.tallies) {
		t.Fatalf("the tray has lost count: %d bytes of %d, %d in lists too few, %d of %d waiting, %v is %v",
			tr.bytes, bytes, listed, len(tr.queue), len(tr.rows), tr.tallies, tallies)
	}
	return len(tr.rows)
}

// Recalled returns how many bytes are remembered.
func (s *Store) Recalled() int {
	s.recall.mu.RLock()
	defer s.recall.mu.RUnlock()
	return s.recall.bytes
}

// CheckRecall counts what is remembered again.
func (s *Store) CheckRecall(t testing.TB) {
	t.Helper()
	m := s.recall
	m.mu.RLock()
	defer m.mu.RUnlock()
	bytes, refs := 0, map[*kept]int{}
	for key, rg := range m.ranges {
		bytes += rangeCost + len(rg.entries)*entryCost
		for i, k := range rg.entries {
			refs[k]++
			if i > 0 && !rg.entries[i-1].before(k.candidate) {
				t.Fatalf("range %v is out of order", key)
			}
		}
	}
	for k, n := range refs {
		if bytes += k.cost(); m.events[k.id] != k || k.refs != n {
			t.Fatalf("an event is held by %d ranges and counted %d times", n, k.refs)
		}
	}
	if len(refs) != len(m.events) || bytes != m.bytes {
		t.Fatalf("%d events and %d bytes are remembered, counted as %d and %d", len(refs), bytes, len(m.events), m.bytes)
	}
}

// Connected returns how many of the readers that have nothing to do are connected.
func (s *Store) Connected() (n int) {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	for _, r := range s.pool.free {
		if r.conn != nil {
			n++
		}
	}
	return n
}

// Together has n readers at work at the same time.
func (s *Store) Together(t testing.TB, n int) {
	t.Helper()
	var here, gone sync.WaitGroup
	here.Add(n)
	for range n {
		gone.Go(func() {
			err := s.read(context.Background(), "test", func(context.Context, *reader) error {
				here.Done()
				here.Wait()
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	gone.Wait()
}

// Asked is for tests what lets one of many find out.
type Asked struct{ a asked }

// First is first.
func (a *Asked) First(ctx context.Context, name string) (func(), error) { return a.a.first(ctx, name) }

package store_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/steward"
	"github.com/gitroost/gitroost/internal/store"
	"github.com/gitroost/gitroost/internal/store/storetest"
)

// TestStatementsUseIndexes: nothing that somebody waits for reads a whole table or sorts
// (hardening §10, filter bombs).
func TestStatementsUseIndexes(t *testing.T) {
	s := open(t)
	for name, text := range store.Statements {
		for _, line := range s.Plan(t, text) {
			scans := strings.HasPrefix(line, "SCAN ") && line != "SCAN j VIRTUAL TABLE INDEX 1:" && line != "SCAN CONSTANT ROW"
			if strings.HasPrefix(line, "SCAN events USING COVERING INDEX events_time") {
				scans = false // it is in order, and ends at its LIMIT
			}
			if scans || strings.Contains(line, "TEMP B-TREE") {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
	for name, index := range map[string]string{
		"time": "COVERING INDEX events_time", "kind": "COVERING INDEX events_kind", "author scan": "COVERING INDEX events_author ",
		"author and kind": "COVERING INDEX events_author_kind", "tag": "PRIMARY KEY (key=? AND created_at", "by id": "INDEX events_id",
	} {
		if plan := strings.Join(s.Plan(t, store.Statements[name]), "\n"); !strings.Contains(plan, index) {
			t.Errorf("%s: %s, want %s", name, plan, index)
		}
	}
}

// TestShapes pins which index the filters of real clients are answered from: always the one with
// the fewest entries.
func TestShapes(t *testing.T) {
	s := open(t)
	var batch []*nostr.Event
	for i := range 400 {
		batch = append(batch, storetest.Event(i%2, []int{1, 1621, 1617, 1111}[i%4], int64(i), "",
			nostr.Tag{"t", "common"}, nostr.Tag{"e", string(storetest.ID(i))}, nostr.Tag{"E", string(storetest.ID(i / 10))}))
	}
	for i := range 100 {
		batch = append(batch, storetest.State(i, "demo", 1), storetest.State(3, fmt.Sprint("repo", i), 1))
	}
	fill(t, s, batch)
	author := []string{string(storetest.Key(0))}
	for _, c := range []struct {
		name   string
		f      nostr.Filter
		scan   string
		ranges int
	}{
		{"ids", nostr.Filter{IDs: []string{batch[0].ID, batch[1].ID}, Kinds: []int{1}}, "by id", 2},
		{"latest", nostr.Filter{Limit: 10}, "time", 1},
		{"since and until", nostr.Filter{Since: new(nostr.Timestamp), Until: new(nostr.Timestamp)}, "time", 1},
		{"four kinds", nostr.Filter{Kinds: []int{1, 1621, 1617, 1111}, Limit: 100}, "kind", 4},
		{"author", nostr.Filter{Authors: author}, "author scan", 1},
		{"author and kinds", nostr.Filter{Authors: author, Kinds: []int{1, 1111}}, "author and kind", 2},
		{"#e", nostr.Filter{Tags: nostr.TagMap{"e": {string(storetest.ID(1)), string(storetest.ID(2))}}}, "tag", 2},
		{"#E and kinds", nostr.Filter{Kinds: []int{1111}, Tags: nostr.TagMap{"E": {string(storetest.ID(1))}}}, "tag", 1},
		{"kind and a common d: of few authors", nostr.Filter{Kinds: []int{30618}, Authors: author, Tags: nostr.TagMap{"d": {"demo"}}}, "author and kind", 1},
		{"kind and d: of an author of many", nostr.Filter{Kinds: []int{30618}, Authors: []string{string(storetest.Key(3))}, Tags: nostr.TagMap{"d": {"repo7"}}}, "tag", 1},
		{"a common tag and a rare one", nostr.Filter{Tags: nostr.TagMap{"t": {"common"}, "e": {string(storetest.ID(5))}}}, "tag", 1},
		{"a common tag and a rare kind", nostr.Filter{Tags: nostr.TagMap{"t": {"common"}}, Kinds: []int{9}}, "kind", 1},
	} {
		scan, ranges := s.Scans(t, c.f)
		if scan != store.Statements[c.scan] || ranges != c.ranges {
			t.Errorf("%s: %d × %s\nwant %d × %s", c.name, ranges, scan, c.ranges, c.scan)
		}
	}
	// Both are longer than is counted: the one that reaches further back has fewer.
	batch = batch[:0]
	for i := range 5000 {
		batch = append(batch, storetest.Event(0, 7, int64(10*i), fmt.Sprint(i)), storetest.Event(1, 7, int64(40_000+i), fmt.Sprint(i), nostr.Tag{"t", "dense"}))
	}
	fill(t, s, batch)
	dense := nostr.Filter{Kinds: []int{7}, Authors: author, Tags: nostr.TagMap{"t": {"dense"}}}
	if scan, _ := s.Scans(t, dense); scan != store.Statements["author and kind"] {
		t.Errorf("of two long ranges the denser one was chosen: %s", scan)
	}
	many := make([]string, 100)
	kinds := make([]int, 100)
	for i := range many {
		many[i], kinds[i] = string(storetest.Key(i)), i
	}
	if scan, ranges := s.Scans(t, nostr.Filter{Authors: many, Kinds: kinds}); ranges > 100 {
		t.Errorf("a hundred authors and kinds: %d × %s", ranges, scan)
	}
}

// fill serves many events with few transactions.
func fill(t testing.TB, s *store.Store, evs []*nostr.Event) {
	t.Helper()
	const workers = 64
	errs := make(chan error, workers)
	for w := range workers {
		go func() {
			for i := w; i < len(evs); i += workers {
				if _, err := s.Commit(context.Background(), steward.Change{Put: storetest.Entry(evs[i], grasp.Served)}); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range workers {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
}

package store_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/steward"
	"github.com/gitroost/gitroost/internal/store"
	"github.com/gitroost/gitroost/internal/store/storetest"
)

// small is an event as issues and comments are: a few tags, a few words.
func small(i int) *nostr.Event {
	return storetest.Event(i%200, []int{1111, 1621, 1617, 1, 1630}[i%5], int64(1_700_000_000+i), fmt.Sprintf("a comment of a few words, number %d", i),
		nostr.Tag{"a", fmt.Sprintf("30617:%s:repo-%d", storetest.Key(i%50), i%500)},
		nostr.Tag{"E", string(storetest.ID(i / 20))}, nostr.Tag{"e", string(storetest.ID(i / 3))},
		nostr.Tag{"p", string(storetest.Key(i % 50))}, nostr.Tag{"t", []string{"bug", "wish", "chat"}[i%3]})
}

// BenchmarkCommit puts single small events, each synced to disk before it is answered.
func BenchmarkCommit(b *testing.B) {
	for _, goroutines := range []int{1, 50} {
		b.Run(fmt.Sprintf("goroutines=%d", goroutines), func(b *testing.B) {
			s := open(b)
			entries := make([]*steward.Entry, b.N)
			for i := range entries {
				entries[i] = storetest.Entry(small(i), grasp.Served)
			}
			var next atomic.Int64
			done := make(chan error, goroutines)
			b.ResetTimer()
			for range goroutines {
				go func() {
					for {
						i := int(next.Add(1)) - 1
						if i >= len(entries) {
							done <- nil
							return
						}
						if _, err := s.Commit(context.Background(), steward.Change{Put: entries[i]}); err != nil {
							done <- err
							return
						}
					}
				}()
			}
			for range goroutines {
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// full opens a store with n small events and a repository with a long history.
func full(b *testing.B, n int) *store.Store {
	s, err := store.Open(context.Background(), filepath.Join(b.TempDir(), "ledger.db"), store.Config{Now: time.Now, Batch: 2000, Queue: 4000})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	evs := make([]*nostr.Event, 0, n+100)
	for i := range n {
		evs = append(evs, small(i))
	}
	for i := range 50 {
		evs = append(evs, storetest.Announcement(i, fmt.Sprint("repo-", i), 1_700_000_000), storetest.State(i, fmt.Sprint("repo-", i), 1_700_000_000))
	}
	fill(b, s, evs)
	return s
}

// BenchmarkRead asks what clients ask, of 100,000 events or as many as GITROOST_BENCH_EVENTS says.
func BenchmarkRead(b *testing.B) {
	n := 100_000
	if v, err := strconv.Atoi(os.Getenv("GITROOST_BENCH_EVENTS")); err == nil {
		n = v
	}
	s := full(b, n)
	ctx := context.Background()
	key := func(i int) string { return string(storetest.Key(i)) }
	id := func(i int) string { return string(storetest.ID(i)) }
	var hundred []string
	for i := range 100 {
		hundred = append(hundred, id(i*7))
	}
	at := func(n int64) *nostr.Timestamp { t := nostr.Timestamp(1_700_000_000 + n); return &t }
	for _, q := range []struct {
		name string
		f    nostr.Filter
	}{
		{"id", nostr.Filter{IDs: []string{small(77).ID}}},
		{"coordinate", nostr.Filter{Kinds: []int{30617, 30618}, Authors: []string{key(7)}, Tags: nostr.TagMap{"d": {"repo-7"}}}},
		{"a_and_kinds", nostr.Filter{Kinds: []int{1617, 1618, 1621}, Tags: nostr.TagMap{"a": {"30617:" + key(7) + ":repo-7"}}, Limit: 50}},
		{"E", nostr.Filter{Tags: nostr.TagMap{"E": {id(700)}}}},
		{"e_hundred_values", nostr.Filter{Tags: nostr.TagMap{"e": hundred}}},
		{"four_kinds_latest_100", nostr.Filter{Kinds: []int{1111, 1621, 1617, 1630}, Limit: 100}},
		{"author_and_kind", nostr.Filter{Authors: []string{key(5)}, Kinds: []int{1621}, Limit: 50}},
		{"since_until", nostr.Filter{Since: at(50_000), Until: at(50_049)}},
		{"latest_500", nostr.Filter{}},
		{"common_tag_and_author", nostr.Filter{Tags: nostr.TagMap{"t": {"bug"}}, Authors: []string{key(5)}, Limit: 50}},
		{"nothing", nostr.Filter{Tags: nostr.TagMap{"e": {id(9_999_999)}}}},
		{"rare_pair", nostr.Filter{Tags: nostr.TagMap{"t": {"bug"}, "p": {key(3)}}, Kinds: []int{9}}},
	} {
		b.Run(q.name, func(b *testing.B) {
			n := 0
			for b.Loop() {
				n = 0
				if err := s.Query(ctx, q.f, func(grasp.EventID, []byte) bool { n++; return true }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n), "found")
		})
	}
	b.Run("count_kind", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Count(ctx, []nostr.Filter{{Kinds: []int{1621}}}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("lookup", func(b *testing.B) {
		ev := small(1_000_000)
		ids, addrs := grasp.Anchors(ev)
		q := steward.Question{ID: grasp.EventID(ev.ID), Author: grasp.PubKey(ev.PubKey), Created: int64(ev.CreatedAt), Addrs: addrs, Source: "192.0.2.0/24"}
		for _, id := range ids {
			q.IDs = append(q.IDs, string(id))
		}
		for b.Loop() {
			if _, err := s.Lookup(ctx, q); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("lookup_state", func(b *testing.B) {
		ev := storetest.State(7, "repo-7", 1_800_000_000)
		q := steward.Question{ID: grasp.EventID(ev.ID), Author: grasp.PubKey(ev.PubKey), Created: int64(ev.CreatedAt), Coordinate: grasp.CoordinateOf(ev), Source: "192.0.2.0/24"}
		for b.Loop() {
			if _, err := s.Lookup(ctx, q); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("view", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.View(ctx, "repo-7"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

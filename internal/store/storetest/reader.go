package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
)

// A Reader is what a relay asks of the ledger's events.
type Reader interface {
	Query(ctx context.Context, f nostr.Filter, each func(id grasp.EventID, raw []byte) bool) error
	Count(ctx context.Context, f []nostr.Filter) (int64, error)
}

// TestReader holds the readers that open returns, each beside the new and empty ledger whose
// events it reads, to N-005, N-006, N-009, N-036, N-041 and N-045. The reader's limit is 500, and the
// best of a search are chosen among 1,000.
func TestReader(t *testing.T, open func(t *testing.T) (steward.Ledger, Reader)) {
	for _, c := range []struct {
		name string
		run  func(q *desk)
	}{
		{"Filters/N-005/check94-97", filters},
		{"ExactTags/N-005", exactTags},
		{"Limits/N-006/check98", limits},
		{"Order/N-005", order},
		{"Hidden/N-045/N-036/check120/check133", hidden},
		{"Unsupported/N-006", unsupported},
		{"Count/N-041/check123", count},
		{"Random/N-005", random},
		{"ReadYourWrite/N-007/check101", readYourWrite},
		{"SameSecond", sameSecond},
		{"Stop", stop},
		{"Search/N-042", searches},
		{"SearchNeedles/N-042", needles},
		{"SearchRandom/N-042", searchRandom},
		{"SearchHidden/N-045", searchHidden},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, r := open(t)
			c.run(&desk{bench{T: t, Ledger: l}, r})
		})
	}
}

type desk struct {
	bench
	Reader
}

func (q *desk) query(f nostr.Filter) []string {
	q.Helper()
	var out []string
	err := q.Query(context.Background(), f, func(id grasp.EventID, raw []byte) bool {
		var ev nostr.Event
		if err := ev.UnmarshalJSON(raw); err != nil || ev.ID != string(id) {
			q.Errorf("id %s came with %.80s (%v)", id, raw, err)
		}
		out = append(out, string(id))
		return true
	})
	if err != nil {
		q.Fatalf("query %s: %v", f, err)
	}
	return out
}

func (q *desk) count(f ...nostr.Filter) int {
	q.Helper()
	n, err := q.Count(context.Background(), f)
	if err != nil {
		q.Fatalf("count %s: %v", nostr.Filters(f), err)
	}
	return int(n)
}

// Sorted returns the ids of evs in the order in which they are answered.
func Sorted(evs []*nostr.Event) []string {
	evs = slices.Clone(evs)
	slices.SortFunc(evs, func(a, b *nostr.Event) int {
		if a.CreatedAt != b.CreatedAt {
			return int(b.CreatedAt - a.CreatedAt)
		}
		return strings.Compare(a.ID, b.ID)
	})
	var out []string
	for _, ev := range evs {
		out = append(out, ev.ID)
	}
	return out
}

// fill serves many events, a hundred at a time.
func (q *desk) fill(evs []*nostr.Event) {
	q.Helper()
	for part := range slices.Chunk(evs, 100) {
		together(q, len(part), func(i int) error {
			_, err := q.Commit(context.Background(), steward.Change{Put: Entry(part[i], grasp.Served)})
			return err
		})
	}
}

func stamp(t nostr.Timestamp) *nostr.Timestamp { return &t }

func filters(q *desk) {
	a := Event(1, 1621, 100, "a", nostr.Tag{"t", "x"}, nostr.Tag{"t", "y"}, nostr.Tag{"e", string(ID(1)), "second"})
	b := Event(2, 1621, 200, "b", nostr.Tag{"t", "y"}, nostr.Tag{"E", string(ID(1))})
	c := Event(1, 1, 300, "c", nostr.Tag{"t", "z"}, nostr.Tag{"p", string(Key(2))}, nostr.Tag{"subject", "x"})
	q.serve(a, b, c)
	all := []*nostr.Event{a, b, c}
	id := func(ev *nostr.Event) string { return ev.ID }
	key := func(n int) string { return string(Key(n)) }
	tag := func(name string, v ...string) nostr.TagMap { return nostr.TagMap{name: v} }
	for _, x := range []struct {
		name string
		f    nostr.Filter
		want []*nostr.Event
	}{
		{"everything", nostr.Filter{}, all},
		{"id", nostr.Filter{IDs: []string{id(a)}}, []*nostr.Event{a}},
		{"ids, one twice, one unknown, one garbage", nostr.Filter{IDs: []string{id(a), id(a), id(c), string(ID(9)), "x"}}, []*nostr.Event{a, c}},
		{"prefix of an id", nostr.Filter{IDs: []string{id(a)[:32]}}, nil},
		{"upper-case id", nostr.Filter{IDs: []string{strings.ToUpper(id(a))}}, nil},
		{"ids and kinds", nostr.Filter{IDs: []string{id(a), id(c)}, Kinds: []int{1}}, []*nostr.Event{c}},
		{"ids and authors", nostr.Filter{IDs: []string{id(a), id(b)}, Authors: []string{key(2)}}, []*nostr.Event{b}},
		{"ids and tags", nostr.Filter{IDs: []string{id(a), id(b), id(c)}, Tags: tag("t", "y")}, []*nostr.Event{a, b}},
		{"ids and since", nostr.Filter{IDs: []string{id(a), id(b)}, Since: stamp(200)}, []*nostr.Event{b}},
		{"author", nostr.Filter{Authors: []string{key(1)}}, []*nostr.Event{a, c}},
		{"authors", nostr.Filter{Authors: []string{key(1), key(2), key(1)}}, all},
		{"kind", nostr.Filter{Kinds: []int{1621}}, []*nostr.Event{a, b}},
		{"kinds", nostr.Filter{Kinds: []int{1, 1621, 1, 99999, -1}}, all},
		{"author and kind", nostr.Filter{Authors: []string{key(1)}, Kinds: []int{1621}}, []*nostr.Event{a}},
		{"tag", nostr.Filter{Tags: tag("t", "y")}, []*nostr.Event{a, b}},
		{"two values of one event, once", nostr.Filter{Tags: tag("t", "x", "y")}, []*nostr.Event{a, b}},
		{"three values (check 95)", nostr.Filter{Tags: tag("t", "x", "z", "none")}, []*nostr.Event{a, c}},
		{"two letters", nostr.Filter{Tags: nostr.TagMap{"t": {"y", "z"}, "e": {string(ID(1))}}}, []*nostr.Event{a}},
		{"e is not E (check 94)", nostr.Filter{Tags: tag("e", string(ID(1)))}, []*nostr.Event{a}},
		{"E is not e", nostr.Filter{Tags: tag("E", string(ID(1)))}, []*nostr.Event{b}},
		{"second value", nostr.Filter{Tags: tag("e", "second")}, nil},
		{"tag and kind", nostr.Filter{Tags: tag("t", "y", "z"), Kinds: []int{1}}, []*nostr.Event{c}},
		{"tag, kind and author", nostr.Filter{Tags: tag("t", "y", "z"), Kinds: []int{1, 1621}, Authors: []string{key(1)}}, []*nostr.Event{a, c}},
		{"since, inclusive (check 96)", nostr.Filter{Since: stamp(200)}, []*nostr.Event{b, c}},
		{"until, inclusive", nostr.Filter{Until: stamp(200)}, []*nostr.Event{a, b}},
		{"one second", nostr.Filter{Since: stamp(200), Until: stamp(200), Kinds: []int{1621}}, []*nostr.Event{b}},
		{"backwards", nostr.Filter{Since: stamp(201), Until: stamp(200)}, nil},
		{"no ids", nostr.Filter{IDs: []string{}}, nil},
		{"no authors", nostr.Filter{Authors: []string{}}, nil},
		{"no kinds", nostr.Filter{Kinds: []int{}}, nil},
		{"no values", nostr.Filter{Tags: tag("t")}, all}, // nil is "not asked"
		{"an empty list of values", nostr.Filter{Tags: nostr.TagMap{"t": []string{}}}, nil},
		{"an empty list beside a good one", nostr.Filter{IDs: []string{id(a)}, Tags: nostr.TagMap{"t": []string{}}}, nil},
	} {
		equal(q, x.name, q.query(x.f), Sorted(x.want))
		if n := q.count(x.f); n != len(x.want) {
			q.Errorf("%s: count is %d, want %d", x.name, n, len(x.want))
		}
	}
	if n := q.count(nostr.Filter{IDs: []string{id(a)}}, nostr.Filter{Kinds: []int{1621}}, nostr.Filter{Tags: tag("t", "x")}); n != 2 {
		q.Errorf("three filters for two events count %d (check 97)", n)
	}
}

// exactTags pins values that indexes confuse: long ones, ones that share a prefix, ones with any
// bytes, and ones that look like the inside of another.
func exactTags(q *desk) {
	hash := strings.Repeat("ab", 32)
	values := []string{
		"git", "git-lfs", "", " ", "\x00", "\x00\x00", "%", "_", "'", "\u2028", "ü", "u\u0308", "a:b", "1", "01",
		strings.Repeat("v", 30), strings.Repeat("v", 31), strings.Repeat("v", 96), strings.Repeat("v", 97),
		strings.Repeat("v", 200), strings.Repeat("v", 100_000), strings.Repeat("v", 100_001),
		"30617:" + string(Key(1)) + ":" + strings.Repeat("i", 31),
		"30617:" + string(Key(1)) + ":" + strings.Repeat("i", 32),
		"30617:" + string(Key(1)) + ":" + strings.Repeat("i", 200),
		hash, strings.ToUpper(hash), hash[:63], hash + "a", hash[:62] + "\x01\x02",
	}
	for i, v := range values {
		for _, letter := range []string{"a", "A"} {
			q.serve(Event(1, 1621, int64(i), letter, nostr.Tag{letter, v, "beside"}))
		}
	}
	for i, v := range values {
		for _, letter := range []string{"a", "A"} {
			want := []string{Event(1, 1621, int64(i), letter, nostr.Tag{letter, v, "beside"}).ID}
			equal(q, fmt.Sprintf("#%s %.40q (%d bytes)", letter, v, len(v)), q.query(nostr.Filter{Tags: nostr.TagMap{letter: {v}}}), want)
			equal(q, "with a kind", q.query(nostr.Filter{Kinds: []int{1621}, Authors: []string{string(Key(1))}, Tags: nostr.TagMap{letter: {v}}}), want)
		}
	}
	if got := q.query(nostr.Filter{Tags: nostr.TagMap{"a": values}}); len(got) != len(values) {
		q.Errorf("all values at once: %d events, want %d", len(got), len(values))
	}
	// States of git and of git-lfs by one author are two.
	git, lfs := State(2, "git", 10), State(2, "git-lfs", 20)
	q.serve(git, lfs)
	for ev, d := range map[*nostr.Event]string{git: "git", lfs: "git-lfs"} {
		equal(q, d, q.query(nostr.Filter{Kinds: []int{30618}, Authors: []string{string(Key(2))}, Tags: nostr.TagMap{"d": {d}}}), []string{ev.ID})
	}
	// Every item behind the first value is no value; 301 items and 3,000 tags are no limit.
	wide := nostr.Tag{"r"}
	var many []nostr.Tag
	for i := range 300 {
		wide = append(wide, fmt.Sprint("wide", i))
	}
	for i := range 3000 {
		many = append(many, nostr.Tag{"i", fmt.Sprint("many", i)})
	}
	w, m := Event(3, 1, 1, "", wide), Event(3, 1, 2, "", many...)
	q.serve(w, m)
	equal(q, "first of 300", q.query(nostr.Filter{Tags: nostr.TagMap{"r": {"wide0"}}}), []string{w.ID})
	equal(q, "second of 300", q.query(nostr.Filter{Tags: nostr.TagMap{"r": {"wide1", "wide299"}}}), nil)
	equal(q, "last of 3,000", q.query(nostr.Filter{Tags: nostr.TagMap{"i": {"many2999"}}}), []string{m.ID})
	var list []string
	for i := range 2000 {
		list = append(list, fmt.Sprint("many", i*2))
	}
	equal(q, "2,000 values", q.query(nostr.Filter{Tags: nostr.TagMap{"i": list}}), []string{m.ID})
	// Only letters are indexed, and both cases of all of them are.
	var tags []nostr.Tag
	for c := byte('A'); c <= 'z'; c++ {
		tags = append(tags, nostr.Tag{string(rune(c)), "letter"})
	}
	l := Event(4, 1, 1, "", tags...)
	q.serve(l)
	for c := byte('A'); c <= 'z'; c++ {
		if c <= 'Z' || c >= 'a' {
			equal(q, "#"+string(rune(c)), q.query(nostr.Filter{Tags: nostr.TagMap{string(rune(c)): {"letter"}}}), []string{l.ID})
		}
	}
}

func limits(q *desk) {
	var evs []*nostr.Event
	for i := range 520 {
		evs = append(evs, Event(i%3, 1621, int64(i), "", nostr.Tag{"t", fmt.Sprint(i % 2)}))
	}
	q.fill(evs)
	all := Sorted(evs)
	for _, c := range []struct{ limit, want int }{{1, 1}, {7, 7}, {499, 499}, {500, 500}, {501, 500}, {0, 500}, {1 << 30, 500}} {
		for _, f := range []nostr.Filter{
			{Limit: c.limit},
			{Limit: c.limit, Kinds: []int{1, 1621}},
			{Limit: c.limit, Authors: []string{string(Key(0)), string(Key(1)), string(Key(2))}},
			{Limit: c.limit, Tags: nostr.TagMap{"t": {"0", "1"}}},
			{Limit: c.limit, Tags: nostr.TagMap{"t": {"0", "1"}}, Authors: []string{string(Key(0)), string(Key(1)), string(Key(2))}, Kinds: []int{1621}},
		} {
			equal(q, f.String(), q.query(f), all[:c.want])
		}
	}
	if got := q.query(nostr.Filter{LimitZero: true}); len(got) != 0 {
		q.Errorf("limit 0: %d events", len(got))
	}
	if got := q.count(nostr.Filter{}); got != 520 {
		q.Errorf("count without a limit: %d", got)
	}
	if got := q.count(nostr.Filter{Limit: 510}, nostr.Filter{LimitZero: true}); got != 510 {
		q.Errorf("count with a limit: %d", got)
	}
}

func order(q *desk) {
	var evs []*nostr.Event
	for i := range 60 {
		evs = append(evs, Event(i%5, []int{1, 1621, 1111}[i%3], int64(i/20), fmt.Sprint(i), nostr.Tag{"t", fmt.Sprint(i % 7)}))
	}
	q.serve(evs...)
	all := Sorted(evs)
	for _, f := range []nostr.Filter{
		{}, {Kinds: []int{1111, 1, 1621}}, {Tags: nostr.TagMap{"t": {"0", "1", "2", "3", "4", "5", "6"}}}, {IDs: slices.Clone(all)},
		{Authors: []string{string(Key(0)), string(Key(1)), string(Key(2)), string(Key(3)), string(Key(4))}, Kinds: []int{1, 1111, 1621}},
	} {
		equal(q, f.String(), q.query(f), all)
		f.Limit = 23
		equal(q, f.String(), q.query(f), all[:23])
	}
}

func hidden(q *desk) {
	waiting := Announcement(1, "demo", 10, nostr.Tag{"t", "x"})
	over, coming := Event(1, 1621, 10, "over", nostr.Tag{"t", "x"}), Event(1, 1621, 10, "coming", nostr.Tag{"t", "x"})
	e := Entry(over, grasp.Served)
	e.Expires = time.Unix(1_000_000, 0)
	q.commit(steward.Change{Put: e})
	e = Entry(coming, grasp.Served)
	e.Expires = time.Unix(1<<40, 0)
	q.commit(steward.Change{Put: e})
	q.put(waiting, grasp.Waiting)
	every := func(ev *nostr.Event) []nostr.Filter {
		return []nostr.Filter{
			{}, {IDs: []string{ev.ID}}, {Kinds: []int{ev.Kind}}, {Authors: []string{ev.PubKey}}, {Authors: []string{ev.PubKey}, Kinds: []int{ev.Kind}},
			{Tags: nostr.TagMap{"t": {"x"}}}, {Tags: nostr.TagMap{"t": {"x"}}, Kinds: []int{ev.Kind}}, {Since: stamp(10), Until: stamp(10)},
		}
	}
	check := func(ev *nostr.Event, visible bool) {
		q.Helper()
		for _, f := range every(ev) {
			got := q.query(f)
			if slices.Contains(got, ev.ID) != visible {
				q.Errorf("%s: visible is %v, want %v", f, !visible, visible)
			}
			if n := q.count(f); n != len(got) {
				q.Errorf("%s: count is %d, the query has %d", f, n, len(got))
			}
		}
	}
	check(waiting, false)
	check(over, false)
	check(coming, true)
	q.commit(steward.Change{Release: eids(waiting)})
	check(waiting, true)
	q.serve(Announcement(1, "demo", 11))
	check(waiting, false)
	q.commit(steward.Change{Tombs: []steward.Tomb{{By: Key(1), ID: grasp.EventID(coming.ID)}}})
	check(coming, false)
	q.commit(steward.Change{Drop: eids(Announcement(1, "demo", 11))})
	check(Announcement(1, "demo", 11), false)
}

func unsupported(q *desk) {
	for _, f := range []nostr.Filter{{Search: strings.Repeat("x ", 300)}, {Tags: nostr.TagMap{"subject": {"x"}}}, {Tags: nostr.TagMap{"": {"x"}}}, {Tags: nostr.TagMap{"1": {"x"}}}, {Tags: nostr.TagMap{"ü": {"x"}}}} {
		err := q.Query(context.Background(), f, func(grasp.EventID, []byte) bool { return true })
		if !fault.Is(err, fault.Invalid) {
			q.Errorf("%s: %v, want invalid", f, err)
		}
		if _, err := q.Count(context.Background(), []nostr.Filter{f}); !fault.Is(err, fault.Invalid) {
			q.Errorf("count %s: %v, want invalid", f, err)
		}
	}
}

func count(q *desk) {
	if n := q.count(); n != 0 {
		q.Errorf("no filter counts %d", n)
	}
	if n := q.count(nostr.Filter{}); n != 0 {
		q.Errorf("an empty ledger counts %d", n)
	}
	var evs []*nostr.Event
	for i := range 1200 {
		evs = append(evs, Event(i%2, 1, int64(i), "", nostr.Tag{"t", fmt.Sprint(i % 3)}))
	}
	q.fill(evs)
	for _, c := range []struct {
		f    []nostr.Filter
		want int
	}{
		{[]nostr.Filter{{}}, 1200},
		{[]nostr.Filter{{Authors: []string{string(Key(0))}}}, 600},
		{[]nostr.Filter{{Authors: []string{string(Key(0))}}, {Authors: []string{string(Key(1))}}}, 1200},
		{[]nostr.Filter{{Tags: nostr.TagMap{"t": {"0", "1"}}}, {Tags: nostr.TagMap{"t": {"1", "2"}}}}, 1200},
		{[]nostr.Filter{{Tags: nostr.TagMap{"t": {"0"}}, Authors: []string{string(Key(0))}}}, 200},
		{[]nostr.Filter{{Tags: nostr.TagMap{"t": {"0"}}, Kinds: []int{1, 2}}}, 400},
		{[]nostr.Filter{{Tags: nostr.TagMap{"t": {"0"}}, Kinds: []int{2}}}, 0},
		{[]nostr.Filter{{Tags: nostr.TagMap{"t": {"0"}}, Kinds: []int{1, 2, 3, 4, 5}, Until: stamp(599)}}, 200},
		{[]nostr.Filter{{Since: stamp(100), Until: stamp(199)}, {Since: stamp(150), Until: stamp(249)}}, 150},
	} {
		if n := q.count(c.f...); n != c.want {
			q.Errorf("%s: %d, want %d", nostr.Filters(c.f), n, c.want)
		}
	}
}

// random compares queries with what the library's own matching says, over events and filters that
// often meet.
func random(q *desk) {
	rnd := rand.New(rand.NewPCG(1, 2))
	pick := func(n int) int { return rnd.IntN(n) }
	kinds := []int{0, 1, 1621, 10002, 30617, 30618}
	letters := []string{"a", "A", "e", "t", "d"}
	var served []*nostr.Event
	for i := range 400 {
		var tags []nostr.Tag
		for range pick(5) {
			tags = append(tags, nostr.Tag{letters[pick(len(letters))], fmt.Sprint("v", pick(6))})
		}
		ev := Event(pick(4), kinds[pick(len(kinds))], int64(pick(30)), fmt.Sprint(i), tags...)
		r := q.put(ev, grasp.Served)
		if r.Stale {
			continue
		}
		served = slices.DeleteFunc(served, func(old *nostr.Event) bool {
			return slices.Contains(r.Replaced, grasp.EventID(old.ID))
		})
		served = append(served, ev)
	}
	some := func(n, of int, f func(i int) string) (out []string) {
		for range 1 + pick(n) {
			out = append(out, f(pick(of)))
		}
		return out
	}
	make := func() nostr.Filter {
		var f nostr.Filter
		if pick(6) == 0 {
			f.IDs = some(60, len(served), func(i int) string { return served[i].ID })
		}
		if pick(3) == 0 {
			f.Authors = some(3, 5, func(i int) string { return string(Key(i)) })
		}
		if pick(2) == 0 {
			for range 1 + pick(3) {
				f.Kinds = append(f.Kinds, kinds[pick(len(kinds))])
			}
		}
		for range pick(3) {
			if f.Tags == nil {
				f.Tags = nostr.TagMap{}
			}
			f.Tags[letters[pick(len(letters))]] = some(8, 8, func(i int) string { return fmt.Sprint("v", i) })
		}
		if pick(3) == 0 {
			f.Since = stamp(nostr.Timestamp(pick(30)))
		}
		if pick(3) == 0 {
			f.Until = stamp(nostr.Timestamp(pick(30)))
		}
		if pick(3) == 0 {
			f.Limit = 1 + pick(20)
		}
		return f
	}
	matching := func(f nostr.Filter) []string {
		var out []*nostr.Event
		for _, ev := range served {
			if f.Matches(ev) {
				out = append(out, ev)
			}
		}
		ids := Sorted(out)
		if f.Limit > 0 {
			ids = ids[:min(len(ids), f.Limit)]
		}
		return ids
	}
	for range 400 {
		f, g := make(), make()
		want := matching(f)
		equal(q, f.String(), q.query(f), want)
		both := append(slices.Clone(want), matching(g)...)
		slices.Sort(both)
		if n, want := q.count(f, g), len(slices.Compact(both)); n != want {
			q.Errorf("%s: count is %d, want %d", nostr.Filters{f, g}, n, want)
		}
		if q.Failed() {
			return
		}
	}
}

func readYourWrite(q *desk) {
	together(q, 20, func(i int) error {
		ev := Event(i, 1621, 1, fmt.Sprint(i))
		if _, err := q.Commit(context.Background(), steward.Change{Put: Entry(ev, grasp.Served)}); err != nil {
			return err
		}
		found := false
		err := q.Query(context.Background(), nostr.Filter{Authors: []string{ev.PubKey}}, func(id grasp.EventID, _ []byte) bool {
			found = string(id) == ev.ID
			return true
		})
		if err == nil && !found {
			err = fmt.Errorf("not found right after it was answered")
		}
		return err
	})
}

// sameSecond pages through many events of one second.
func sameSecond(q *desk) {
	var evs []*nostr.Event
	for i := range 3000 {
		evs = append(evs, Event(1, 1, 77, fmt.Sprint(i)))
	}
	q.fill(evs)
	if n := q.count(nostr.Filter{Kinds: []int{1}}); n != 3000 {
		q.Errorf("count is %d", n)
	}
	equal(q, "query", q.query(nostr.Filter{Kinds: []int{1, 2}, Limit: 450}), Sorted(evs)[:450])
}

func stop(q *desk) {
	for i := range 50 {
		q.serve(Event(1, 1, int64(i), ""))
	}
	n := 0
	if err := q.Query(context.Background(), nostr.Filter{}, func(grasp.EventID, []byte) bool { n++; return n < 3 }); err != nil || n != 3 {
		q.Errorf("stopped after %d (%v), want 3", n, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n = 0
	err := q.Query(ctx, nostr.Filter{Kinds: []int{1}}, func(grasp.EventID, []byte) bool {
		cancel()
		n++
		return true
	})
	if !fault.Is(err, fault.Closing) || n != 1 {
		q.Errorf("cancelled after one: %d events, %v", n, err)
	}
	if err := q.Query(ctx, nostr.Filter{}, func(grasp.EventID, []byte) bool { return true }); err == nil {
		q.Error("a query for nobody")
	}
	if got := q.query(nostr.Filter{}); len(got) != 50 {
		q.Errorf("afterwards: %d events", len(got))
	}
}

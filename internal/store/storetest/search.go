package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/search"
	"github.com/gitroost/gitroost/internal/steward"
)

// issueOf makes an issue with a subject and a text.
func issueOf(n int, at int64, subject, text string, more ...nostr.Tag) *nostr.Event {
	return Event(n, grasp.KindIssue, at, text, append([]nostr.Tag{{"subject", subject}}, more...)...)
}

// searches: what is found, together with the rest of the filter, and in which order.
func searches(q *desk) {
	parser := issueOf(1, 100, "The parser drops words", "It stops at the first line.", nostr.Tag{"t", "bug"})
	line := issueOf(2, 200, "Lines", "Why does the parser, of all things, stop at a line? Nobody knows, and it has been like that for years.")
	tool := Announcement(1, "line-tool", 300, nostr.Tag{"name", "Zürich tool"}, nostr.Tag{"description", "Parses 搜索引擎 queries"}, nostr.Tag{"t", "cli"})
	patch := Event(2, grasp.KindPatch, 400, "Subject: [PATCH] parser: stop at the end\n\n+\treturn nil")
	note := Event(1, 1, 500, "A note about the parser")
	quote := issueOf(3, 600, `"; DROP TABLE search; --`, `title : x* ^ AND NOT NEAR("parser")`)
	q.serve(parser, line, tool, patch, note, quote)
	id := func(evs ...*nostr.Event) (out []string) {
		for _, ev := range evs {
			out = append(out, ev.ID)
		}
		return out
	}
	for _, c := range []struct {
		f    nostr.Filter
		want []string // in this order
	}{
		{nostr.Filter{Search: "drops"}, id(parser)},
		{nostr.Filter{Search: "parser years"}, id(line)},
		{nostr.Filter{Search: "PARSER", Kinds: []int{grasp.KindIssue}, Authors: []string{string(Key(1)), string(Key(2))}}, id(parser, line)}, // the title counts more
		{nostr.Filter{Search: "pars", Kinds: []int{grasp.KindAnnouncement}}, id(tool)},
		{nostr.Filter{Search: "pars ", Kinds: []int{grasp.KindAnnouncement}}, nil},
		{nostr.Filter{Search: "zurich"}, id(tool)},
		{nostr.Filter{Search: "cli"}, id(tool)},
		{nostr.Filter{Search: "line-tool"}, id(tool)},
		{nostr.Filter{Search: "搜索"}, id(tool)},
		{nostr.Filter{Search: "引擎"}, id(tool)},
		{nostr.Filter{Search: "擎"}, id(tool)},
		{nostr.Filter{Search: "索搜"}, nil},
		{nostr.Filter{Search: `"stop at the end"`}, id(patch)},
		{nostr.Filter{Search: `"end the at stop"`}, nil},
		{nostr.Filter{Search: `parser -line -years -title`}, id(patch)},
		{nostr.Filter{Search: "parser", Kinds: []int{1}}, nil}, // a note has no words here
		{nostr.Filter{Search: "parser", Tags: nostr.TagMap{"t": {"bug"}}}, id(parser)},
		{nostr.Filter{Search: "parser", Authors: []string{string(Key(2))}, Kinds: []int{grasp.KindPatch}}, id(patch)},
		{nostr.Filter{Search: "parser", Since: stamp(101), Until: stamp(399)}, id(line)},
		{nostr.Filter{Search: "parser", IDs: id(line, note, tool)}, id(line)},
		{nostr.Filter{Search: "parser", Kinds: []int{grasp.KindIssue}, Authors: []string{string(Key(1)), string(Key(2))}, Limit: 1}, id(parser)},
		{nostr.Filter{Search: "drop table search"}, id(quote)},
		{nostr.Filter{Search: `near("parser`}, id(quote)},
		{nostr.Filter{Search: "nothing like it"}, nil},
		{nostr.Filter{Search: "!!!"}, nil},
		{nostr.Filter{Search: "-parser"}, nil},
		{nostr.Filter{Search: "include:spam", Kinds: []int{1}}, id(note)}, // an extension that is not known is passed over
		{nostr.Filter{Search: "  ", Kinds: []int{1, grasp.KindPatch}}, id(note, patch)},
		{nostr.Filter{Search: "drops include:spam"}, id(parser)},
		{nostr.Filter{Search: "drops", LimitZero: true}, nil},
		{nostr.Filter{Search: "drops", Kinds: []int{}}, nil},
	} {
		equal(q, c.f.String(), q.query(c.f), c.want)
		if c.f.Limit == 0 && !c.f.LimitZero {
			if n := q.count(c.f); n != len(c.want) {
				q.Errorf("%s: counts %d, want %d", c.f, n, len(c.want))
			}
		}
	}
	both := []nostr.Filter{{Search: "parser", Kinds: []int{grasp.KindPatch}}, {Search: "stop"}, {Kinds: []int{1}}}
	if n := q.count(both...); n != 3+1 {
		q.Errorf("several filters count %d, want 4: each event once", n)
	}
	// As good as each other: newest first, then the lowest id.
	for i := range 6 {
		q.serve(issueOf(7, int64(1000+i/3), "twins", fmt.Sprint("i", i)))
	}
	got := q.query(nostr.Filter{Search: "twins"})
	equal(q, "equals", got, q.query(nostr.Filter{Authors: []string{string(Key(7))}}))
}

// needles: a rare thing is found among more events than are ranked, by whichever part of the filter
// is rare; and common things come within the limit.
func needles(q *desk) {
	var evs []*nostr.Event
	for i := range 2500 {
		evs = append(evs, issueOf(i%3, int64(i), "common haystack", fmt.Sprint("straw n", i)))
	}
	first := issueOf(5, 1, "common needle", "the first to arrive", nostr.Tag{"a", "30617:x:rare"})
	q.serve(first)
	q.fill(evs)
	for _, f := range []nostr.Filter{
		{Search: "needle"},
		{Search: "common", Tags: nostr.TagMap{"a": {"30617:x:rare"}}},
		{Search: "common", Authors: []string{string(Key(5))}},
		{Search: "common", Until: stamp(1), Kinds: []int{grasp.KindIssue}, Tags: nostr.TagMap{"a": {"30617:x:rare"}}},
		{Search: "common -haystack"},
		{Search: "common", IDs: []string{first.ID}},
	} {
		equal(q, f.String(), q.query(f), []string{first.ID})
		if n := q.count(f); n != 1 {
			q.Errorf("%s: counts %d", f, n)
		}
	}
	for _, f := range []nostr.Filter{{Search: "common"}, {Search: "com"}, {Search: "haystack", Kinds: []int{grasp.KindIssue}, Authors: []string{string(Key(0)), string(Key(1))}}} {
		if got := q.query(f); len(got) != 500 {
			q.Errorf("%s: %d events", f, len(got))
		}
	}
	if n := q.count(nostr.Filter{Search: "common"}); n != 2501 {
		q.Errorf("counts %d", n)
	}
	var ids []string
	for _, ev := range evs[:1200] {
		ids = append(ids, ev.ID)
	}
	if n := q.count(nostr.Filter{Search: "common", IDs: ids}); n != 1200 {
		q.Errorf("by ids: counts %d", n)
	}
}

// searchRandom compares what is found with what an event in memory says of itself.
func searchRandom(q *desk) {
	rnd := rand.New(rand.NewPCG(3, 4))
	vocabulary := strings.Fields("parse parser parsing go git lfs gitlab fix fixes the a 搜索 搜索引擎 引擎 é e ü smart-http c++ v2 x")
	text := func(n int) string {
		var out []string
		for range 1 + rnd.IntN(n) {
			out = append(out, vocabulary[rnd.IntN(len(vocabulary))])
		}
		return strings.Join(out, " ")
	}
	var served []*nostr.Event
	for i := range 120 {
		ev := issueOf(i%3, int64(i), text(3), text(12), nostr.Tag{"t", fmt.Sprint(i % 4)})
		ev.Kind = search.Kinds[i%4]
		ev.ID = ev.GetID()
		served = append(served, ev)
	}
	q.fill(served)
	for range 150 {
		asked := text(3)
		switch rnd.IntN(5) {
		case 0:
			asked = `"` + asked + `"`
		case 1:
			asked += " -" + vocabulary[rnd.IntN(len(vocabulary))]
		case 2:
			asked += " "
		}
		f := nostr.Filter{Search: asked}
		if rnd.IntN(3) == 0 {
			f.Tags = nostr.TagMap{"t": {fmt.Sprint(rnd.IntN(4))}}
		}
		if rnd.IntN(3) == 0 {
			f.Kinds = search.Kinds[rnd.IntN(4):]
		}
		words, means, err := search.Parse(asked)
		if err != nil || means != search.Terms {
			continue
		}
		var want []string
		for _, ev := range served {
			if f.Matches(ev) && search.NewIndex(ev).Has(&words) {
				want = append(want, ev.ID)
			}
		}
		got := q.query(f)
		slices.Sort(got)
		slices.Sort(want)
		equal(q, f.String(), got, want)
		if n := q.count(f); n != len(want) {
			q.Errorf("%s: counts %d, want %d", f, n, len(want))
		}
		if q.Failed() {
			return
		}
	}
}

// searchHidden: what waits, was replaced, deleted, dropped, has vanished or has expired is not found.
func searchHidden(q *desk) {
	check := func(word string, want ...*nostr.Event) {
		q.Helper()
		var ids []string
		for _, ev := range want {
			ids = append(ids, ev.ID)
		}
		for _, f := range []nostr.Filter{{Search: word}, {Search: word, Kinds: search.Kinds}, {Search: word, Authors: []string{string(Key(1))}}} {
			equal(q, f.String(), q.query(f), ids)
			if n := q.count(f); n != len(want) {
				q.Errorf("%s: counts %d, want %d", f, n, len(want))
			}
		}
	}
	first := Announcement(1, "demo", 10, nostr.Tag{"name", "alpha"})
	q.put(first, grasp.Waiting)
	check("alpha")
	q.commit(steward.Change{Release: eids(first)})
	check("alpha", first)
	second := Announcement(1, "demo", 20, nostr.Tag{"name", "beta"})
	q.put(second, grasp.Waiting)
	check("beta")
	check("alpha", first)
	q.commit(steward.Change{Release: eids(second)})
	check("beta", second)
	check("alpha")
	third := Announcement(1, "demo", 30, nostr.Tag{"name", "gamma"})
	q.serve(third)
	check("gamma", third)
	check("beta")
	q.commit(steward.Change{Drop: eids(third)})
	check("gamma")

	issue := issueOf(1, 40, "delta", "")
	q.serve(issue)
	check("delta", issue)
	q.commit(steward.Change{Tombs: []steward.Tomb{{By: Key(1), ID: grasp.EventID(issue.ID)}}})
	check("delta")

	e := Entry(issueOf(1, 50, "epsilon", ""), grasp.Served)
	e.Expires = time.Unix(1_000_000, 0)
	q.commit(steward.Change{Put: e})
	check("epsilon")

	fourth, fifth := issueOf(1, 60, "zeta", ""), issueOf(1, 61, "zeta", "again")
	q.serve(fourth)
	q.put(fifth, grasp.Waiting)
	check("zeta", fourth)
	q.commit(steward.Change{Tombs: []steward.Tomb{{By: Key(1), Vanish: true, Until: 70}}})
	check("zeta")
	after := issueOf(1, 80, "zeta", "later")
	q.serve(after)
	check("zeta", after)
}

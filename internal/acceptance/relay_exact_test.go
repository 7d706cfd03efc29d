package acceptance_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/housetest"
)

// bring fails the test unless the filters bring exactly these events, each once, stored, counted,
// and in order: newest first, ties by lowest id.
func bring(t *testing.T, c *housetest.Conn, what string, want []*nostr.Event, filters ...nostr.Filter) {
	t.Helper()
	want = slices.Clone(want)
	slices.SortFunc(want, func(a, b *nostr.Event) int {
		if a.CreatedAt != b.CreatedAt {
			return int(b.CreatedAt - a.CreatedAt)
		}
		return strings.Compare(a.ID, b.ID)
	})
	got := c.Query(filters...)
	if len(got) != len(want) {
		t.Errorf("%s: %d events come, want %d", what, len(got), len(want))
	} else {
		for i := range want {
			if len(filters) == 1 && got[i].ID != want[i].ID {
				t.Errorf("%s: event %d is another", what, i)
			}
			if len(filters) > 1 && !slices.ContainsFunc(got, func(ev *nostr.Event) bool { return ev.ID == want[i].ID }) {
				t.Errorf("%s: %.60q does not come", what, want[i].Content)
			}
		}
	}
	if n := c.Count(filters...); n != int64(len(want)) {
		t.Errorf("%s: %d events are counted, want %d", what, n, len(want))
	}
}

// check 93, N-009: states of "git" and of "git-lfs" by one author are two, and neither is a version
// of the other; nor is one of an identifier that another begins with.
func TestRelayKeepsIdentifiersApart(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, owner, at := h.Dial(), housetest.NewKey(t), past()
	names := []string{"git", "git-lfs", "git-", "Git", strings.Repeat("g", 31), strings.Repeat("g", 32), strings.Repeat("g", 200)}
	states := map[string]*nostr.Event{}
	for i, name := range names {
		w := h.Served(c, owner, name, at+int64(len(names)-i)) // the later in the list, the older
		states[name] = c.Query(nostr.Filter{Kinds: []int{grasp.KindState}, Authors: []string{owner.Pub}, Tags: nostr.TagMap{"d": {name}}})[0]
		if i == 1 {
			next := owner.State(name, at+50, "main="+w.Commit())
			c.Held(next)
			w.Git("push", "-q", h.Repo(owner, name), "main")
			states[name] = next
		}
	}
	for name, ev := range states {
		for what, f := range map[string]nostr.Filter{
			"by author": {Kinds: []int{grasp.KindState}, Authors: []string{owner.Pub}, Tags: nostr.TagMap{"d": {name}}},
			"by d":      {Kinds: []int{grasp.KindState}, Tags: nostr.TagMap{"d": {name}}},
			"by both":   {Kinds: []int{grasp.KindState}, Tags: nostr.TagMap{"d": {name, "nobody's"}}, Limit: 10},
		} {
			bring(t, c, what+" "+name, []*nostr.Event{ev}, f)
		}
		c.Refused(owner.State(name, at-10, "main="+strings.Repeat("1", 40)), "invalid: have a newer version of this event")
	}
	if n := c.Count(nostr.Filter{Kinds: []int{grasp.KindState}, Authors: []string{owner.Pub}}); n != int64(len(names)) {
		t.Errorf("%d states are served, want %d", n, len(names))
	}
	c.Must(owner.Deletion(at+60, nostr.Tag{"a", "30618:" + owner.Pub + ":git"}))
	c.Hides(states["git"])
	c.Shows(states["git-lfs"], states["git-"], states["Git"])
}

// checks 94, 97, N-005: a value is exactly that value, however long it is; its letter has a case;
// and what matches twice comes once.
func TestRelayFindsExactly(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, owner, at := h.Dial(), housetest.NewKey(t), past()
	type named struct{ small, capital *nostr.Event }
	by := map[string]named{}
	var all []*nostr.Event
	for i, n := range []int{30, 31, 32, 200, 201} {
		id := strings.Repeat("r", n)
		h.Served(c, owner, id, at+int64(i))
		value := housetest.Coordinate(owner, id)
		pair := named{
			owner.Sign(1111, at+100+int64(i), "a", nostr.Tag{"a", value}, nostr.Tag{"t", "x"}, nostr.Tag{"t", "y"}),
			owner.Sign(1111, at+100+int64(i), "A", nostr.Tag{"A", value}, nostr.Tag{"t", "x"}),
		}
		c.Accepted(pair.small, pair.capital)
		by[value] = pair
		all = append(all, pair.small, pair.capital)
	}
	var values []string
	var small, capital []*nostr.Event
	for value, pair := range by {
		kind := []int{1111}
		what := fmt.Sprintf("%d bytes", len(value))
		bring(t, c, "#a of "+what, []*nostr.Event{pair.small}, nostr.Filter{Kinds: kind, Tags: nostr.TagMap{"a": {value}}})
		bring(t, c, "#A of "+what, []*nostr.Event{pair.capital}, nostr.Filter{Kinds: kind, Tags: nostr.TagMap{"A": {value}}})
		bring(t, c, "#a and author", []*nostr.Event{pair.small}, nostr.Filter{Authors: []string{owner.Pub}, Tags: nostr.TagMap{"a": {value}}})
		bring(t, c, "#a and #A", nil, nostr.Filter{Tags: nostr.TagMap{"a": {value}, "A": {value}}})
		bring(t, c, "#a or #A", []*nostr.Event{pair.small, pair.capital}, nostr.Filter{Tags: nostr.TagMap{"a": {value}}}, nostr.Filter{Tags: nostr.TagMap{"A": {value}}})
		bring(t, c, "a beginning", nil, nostr.Filter{Tags: nostr.TagMap{"a": {value[:len(value)-1] + "q", value + "r" + "r" + "r"}}})
		values, small, capital = append(values, value), append(small, pair.small), append(capital, pair.capital)
	}
	bring(t, c, "all of #a", small, nostr.Filter{Tags: nostr.TagMap{"a": values}})
	bring(t, c, "all of #A", capital, nostr.Filter{Tags: nostr.TagMap{"A": values}})
	bring(t, c, "two values of one event", all, nostr.Filter{Tags: nostr.TagMap{"t": {"x", "y"}}})
	bring(t, c, "two filters", all, nostr.Filter{Tags: nostr.TagMap{"t": {"y"}}}, nostr.Filter{Tags: nostr.TagMap{"t": {"x"}}})
	// ids and whatever else: all of it has to be true.
	first := all[0]
	bring(t, c, "ids and kinds", []*nostr.Event{first}, nostr.Filter{IDs: []string{first.ID}, Kinds: []int{1111}})
	bring(t, c, "ids and another kind", nil, nostr.Filter{IDs: []string{first.ID}, Kinds: []int{1}})
	bring(t, c, "ids and another author", nil, nostr.Filter{IDs: []string{first.ID}, Authors: []string{housetest.NewKey(t).Pub}})
	bring(t, c, "ids and another value", nil, nostr.Filter{IDs: []string{first.ID}, Tags: nostr.TagMap{"t": {"z"}}})
	bring(t, c, "an id twice", []*nostr.Event{first}, nostr.Filter{IDs: []string{first.ID, first.ID}})
	until := first.CreatedAt - 1
	bring(t, c, "ids and another time", nil, nostr.Filter{IDs: []string{first.ID}, Until: &until})

	// Live, too: one event, several reasons, once.
	listener := h.Dial()
	sub := listener.Subscribe(nostr.Filter{Tags: nostr.TagMap{"t": {"x", "y"}}, LimitZero: true}, nostr.Filter{Authors: []string{owner.Pub}, LimitZero: true}, nostr.Filter{Kinds: []int{1111}, Tags: nostr.TagMap{"a": values}, LimitZero: true})
	listener.Stored(sub)
	twice := owner.Sign(1111, 0, "x", nostr.Tag{"a", values[0]}, nostr.Tag{"a", values[1]}, nostr.Tag{"t", "x"}, nostr.Tag{"t", "y"}, nostr.Tag{"t", "x"})
	c.Accepted(twice)
	housetest.Same(t, listener.Live(sub), twice)
	listener.Silent(sub)
}

// N-005, N-013, G01-810: what is large comes back byte for byte, and is found.
func TestRelayKeepsLargeEvents(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	coord := nostr.Tag{"a", housetest.Coordinate(owner, "tool")}
	patch := owner.Sign(grasp.KindPatch, 0, strings.Repeat("+ a line of text, ü and 漢;\n", 10_000)[:200_000], coord, nostr.Tag{"t", "large"})
	wide := nostr.Tag{"r"}
	for i := range 300 {
		wide = append(wide, fmt.Sprint("item", i))
	}
	many := []nostr.Tag{coord}
	for i := range 2000 {
		many = append(many, nostr.Tag{"p", fmt.Sprintf("%064x", i)})
	}
	list := owner.Sign(grasp.KindIssue, 0, "", coord, wide)
	crowd := owner.Sign(grasp.KindIssue, 0, "", many...)
	c.Accepted(patch, list, crowd)
	bring(t, c, "200,000 bytes", []*nostr.Event{patch}, nostr.Filter{Tags: nostr.TagMap{"t": {"large"}}})
	bring(t, c, "a tag of 301 items", []*nostr.Event{list}, nostr.Filter{Tags: nostr.TagMap{"r": {"item0"}}})
	bring(t, c, "its last item", nil, nostr.Filter{Tags: nostr.TagMap{"r": {"item299"}}})
	bring(t, c, "2,000 tags", []*nostr.Event{crowd}, nostr.Filter{Tags: nostr.TagMap{"p": {fmt.Sprintf("%064x", 1999)}}})

	oid := w.Git("rev-parse", "main")
	refs := []string{"main=" + oid}
	for i := range 3000 {
		refs = append(refs, fmt.Sprintf("refs/heads/release/number-%d=%s", i, oid))
	}
	state := owner.State("tool", at+10, refs...)
	c.Accepted(state) // its objects are here: it is served at once
	bring(t, c, "a state of 3,001 refs", []*nostr.Event{state}, nostr.Filter{Kinds: []int{grasp.KindState}, Tags: nostr.TagMap{"d": {"tool"}}})
	if n := len(housetest.Remote(t, h.Repo(owner, "tool"))); n != 3002 { // and HEAD
		t.Errorf("%d refs are advertised, want 3,002", n)
	}
	h.Restart(nil)
	c = h.Dial()
	c.Shows(patch, list, crowd, state)
}

// N-004, N-009: who sends an older version of anything replaceable is told so, and nothing changes.
func TestRelayRefusesOlderVersions(t *testing.T) {
	t.Parallel()
	h, c, owner, w, at := settled(t)
	coord := nostr.Tag{"a", housetest.Coordinate(owner, "tool")}
	oid := w.Git("rev-parse", "main")
	for what, version := range map[string]func(at int64) *nostr.Event{
		"profile":      func(at int64) *nostr.Event { return owner.Sign(0, at, fmt.Sprintf(`{"name":"%d"}`, at)) },
		"relay list":   func(at int64) *nostr.Event { return owner.Sign(10002, at, "", nostr.Tag{"r", "wss://x.example"}) },
		"grasp list":   func(at int64) *nostr.Event { return owner.Sign(10317, at, "") },
		"announcement": func(at int64) *nostr.Event { return h.Announcement(owner, "tool", at) },
		"state":        func(at int64) *nostr.Event { return owner.State("tool", at, "main="+oid) },
		"long text":    func(at int64) *nostr.Event { return owner.Sign(30023, at, "x", nostr.Tag{"d", "post"}, coord) },
		"no d at all":  func(at int64) *nostr.Event { return owner.Sign(30023, at, "x", coord) },
	} {
		newest := version(at + 30)
		c.Accepted(version(at+10), newest)
		for _, old := range []*nostr.Event{version(at + 20), version(at + 10)} {
			if ok, msg := c.Publish(old); ok || msg != "invalid: have a newer version of this event" {
				t.Errorf("%s: OK %v %q", what, ok, msg)
			}
			c.Hides(old)
		}
		bring(t, c, what, []*nostr.Event{newest}, nostr.Filter{IDs: []string{newest.ID}})
	}
	// An empty d and none are one coordinate.
	last := owner.Sign(30023, at+40, "y", nostr.Tag{"d", ""}, coord)
	c.Accepted(last)
	bring(t, c, "an empty d", []*nostr.Event{last}, nostr.Filter{Kinds: []int{30023}, Since: stampOf(at + 31)})
	if n := c.Count(nostr.Filter{Kinds: []int{30023}}); n != 2 {
		t.Errorf("%d long texts, want two", n)
	}
}

func stampOf(at int64) *nostr.Timestamp {
	ts := nostr.Timestamp(at)
	return &ts
}

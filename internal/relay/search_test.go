package relay_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/relay"
	"github.com/gitroost/gitroost/internal/search"
)

// A library finds by words what memory has, the longest content first: that is its idea of the best.
type library struct{ *memory }

func (l *library) Query(ctx context.Context, f nostr.Filter, each func(grasp.EventID, []byte) bool) error {
	q, means, _ := search.Parse(f.Search)
	if means != search.Terms {
		return l.memory.Query(ctx, f, each)
	}
	found := slices.DeleteFunc(l.find(f), func(s stored) bool { return !search.NewIndex(s.ev).Has(&q) })
	slices.SortFunc(found, func(a, b stored) int { return cmp.Compare(len(b.raw), len(a.raw)) })
	l.asked(ctx, f)
	for i, s := range found {
		if i == f.Limit || !each(grasp.EventID(s.ev.ID), s.raw) {
			break
		}
	}
	return ctx.Err()
}

func (l *library) Count(ctx context.Context, fs []nostr.Filter) (n int64, err error) {
	for _, f := range fs {
		f.Limit = 1 << 20
		err = l.Query(ctx, f, func(grasp.EventID, []byte) bool { n++; return true })
	}
	return n, err
}

// Keys makes the relay speak NIP-77.
func (l *library) Keys(context.Context, []nostr.Filter, func(grasp.EventID, int64) bool) error {
	panic("a reconciliation with a search was opened")
}

// openLibrary is open with NIP-50.
func openLibrary(t testing.TB, change func(*relay.Config)) *house {
	t.Helper()
	return openWith(t, func(c *relay.Config) {
		c.Search = true
		if change != nil {
			change(c)
		}
	}, func(m *memory) relay.Reader { return &library{m} })
}

func issue(t testing.TB, at int64, text string, tags ...nostr.Tag) *nostr.Event {
	t.Helper()
	return sign(t, alice, nostr.Event{Kind: grasp.KindIssue, CreatedAt: nostr.Timestamp(at), Content: text, Tags: tags})
}

// A search is answered in the order of how well events fit, and goes on live (N-042, check 99).
func TestSearchOrder_N042(t *testing.T) {
	h := openLibrary(t, nil)
	c := h.dial()
	short, long, other := issue(t, 300, "fix the parser"), issue(t, 100, "fix the old parser, please"), issue(t, 200, "fix the door")
	for _, ev := range []*nostr.Event{short, long, other, note(t, 400, "fix the parser")} {
		c.event(ev)
		c.wantOK(ev.ID, true, "")
	}
	for filter, want := range map[string][]string{
		`{"search":"fix pars"}`:                           {long.ID, short.ID},
		`{"search":"\"the parser\""}`:                     {short.ID},
		`{"search":"fix -parser"}`:                        {other.ID},
		`{"search":"fix","limit":1}`:                      {long.ID},
		`{"search":"fix","since":150,"kinds":[1621]}`:     {short.ID, other.ID},
		`{"search":"fix","kinds":[1]}`:                    {},
		`{"search":"!","kinds":[1621]}`:                   {},
		`{"search":"-fix"}`:                               {},
		`{"search":"include:spam","kinds":[1621]}`:        {short.ID, other.ID, long.ID},
		`{"search":" ","kinds":[1621]}`:                   {short.ID, other.ID, long.ID},
		`{"search":"old"},{"search":"parser"}`:            {long.ID, short.ID}, // each once
		`{"search":"fix","ids":["` + other.ID + `"]}`:     {other.ID},
		`{"search":"fix","limit":0}`:                      {},
		`{"search":"fix","kinds":[]}`:                     {},
		`{"search":"fix","authors":["` + other.ID + `"]}`: {},
	} {
		c.raw(`["REQ","s",` + filter + `]`)
		if got := c.untilEOSE("s"); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", filter, got, want)
		}
		c.raw(`["CLOSE","s"]`)
		if !strings.Contains(filter, "limit") && !strings.Contains(filter, "},{") {
			c.raw(`["COUNT","n",` + filter + `]`)
			if m := c.want("COUNT"); m[2].(map[string]any)["count"] != float64(len(want)) {
				t.Errorf("%s: counts %v, want %d", filter, m[2], len(want))
			}
		}
	}
}

// Live events are found by the same words as stored ones, whatever else a filter asks for.
func TestSearchLive_N042(t *testing.T) {
	h := openLibrary(t, nil)
	pub, _ := nostr.GetPublicKey(alice)
	subs := map[string]struct {
		filter string
		finds  bool
	}{
		"word":        {`{"search":"parser "}`, true},
		"beginning":   {`{"search":"pars"}`, true},
		"other word":  {`{"search":"door"}`, false},
		"phrase":      {`{"search":"\"the parser\" fix"}`, true},
		"other order": {`{"search":"\"parser the\""}`, false},
		"without":     {`{"search":"parser -fix"}`, false},
		"han":         {`{"search":"索引"}`, true},
		"one han":     {`{"search":"擎"}`, true},
		"by kind":     {`{"search":"parser","kinds":[1621]}`, true},
		"by author":   {`{"search":"parser","authors":["` + pub + `"]}`, true},
		"wrong one":   {`{"search":"parser","authors":["` + strings.Repeat("0", 64) + `"]}`, false},
		"by tag":      {`{"search":"parser","#a":["x"]}`, true},
		"wrong tag":   {`{"search":"parser","#a":["y"]}`, false},
		"wrong kind":  {`{"search":"parser","kinds":[1617]}`, false},
		"both":        {`{"search":"parser"},{"search":"fix"},{"kinds":[1621]}`, true},
		"extension":   {`{"search":"language:en","kinds":[1621]}`, true},
		"nothing":     {`{"search":"-door"}`, false},
		"limit 0":     {`{"search":"parser","limit":0}`, true},
		"closed":      {`{"search":"parser"}`, false},
		"replaced":    {`{"search":"parser"}`, false},
	}
	conns := map[string]*client{}
	for name, s := range subs {
		c := h.dial()
		c.raw(`["REQ","live",` + s.filter + `]`)
		c.untilEOSE("live")
		conns[name] = c
	}
	conns["closed"].raw(`["CLOSE","live"]`)
	conns["closed"].quiet()
	conns["replaced"].raw(`["REQ","live",{"search":"door"}]`)
	conns["replaced"].untilEOSE("live")
	writer := h.dial()
	ev := issue(t, 100, "Fix the PARSER, 搜索引擎", nostr.Tag{"a", "x"})
	unsearched := note(t, 100, "fix the parser 搜索引擎", nostr.Tag{"a", "x"})
	for _, ev := range []*nostr.Event{unsearched, ev} {
		writer.event(ev)
		writer.wantOK(ev.ID, true, "")
	}
	for name, s := range subs {
		if s.finds {
			conns[name].wantEvent("live", ev.ID)
		}
		conns[name].quiet()
	}
}

// What fits best comes first however large the answer is, and each event once.
func TestSearchPages_N042(t *testing.T) {
	h := openLibrary(t, nil)
	var want []string
	sizes := []int{200, 199, 150, 120, 119, 90, 60, 30, 29, 3, 2, 1} // KiB; together more than a page
	for i, n := range sizes {
		ev := issue(t, int64(i*7919%101), "parser "+strings.Repeat("x", n<<10))
		h.put(ev)
		want = append(want, ev.ID)
	}
	gone := issue(t, 5, "parser "+strings.Repeat("x", 100<<10))
	h.put(gone)
	questions := 0
	h.whenAsked(func(_ context.Context, f nostr.Filter) {
		if questions++; questions == 2 { // between the first page and the second
			h.mu.Lock()
			delete(h.events, gone.ID)
			h.mu.Unlock()
		}
	})
	c := h.dial()
	c.raw(`["REQ","s",{"search":"parser"}]`)
	got := c.untilEOSE("s")
	if got = slices.DeleteFunc(got, func(id string) bool { return id == gone.ID }); !slices.Equal(got, want) {
		t.Errorf("got %d events, want %d in order", len(got), len(want))
	}
	if questions < 2 {
		t.Error("it was one page")
	}
}

// What cannot be a search is refused, each time in the way of its verb.
func TestSearchRefused_N006(t *testing.T) {
	h := openLibrary(t, nil)
	c := h.dial()
	for _, s := range []string{strings.Repeat("x", 513), strings.Repeat("x ", 17)} {
		c.send("REQ", "s", map[string]any{"search": s})
		c.wantClosed("s", "invalid: the search ")
		c.send("COUNT", "s", map[string]any{"search": s})
		c.wantClosed("s", "invalid: the search ")
	}
	for _, v := range []any{1, nil, []string{"x"}, map[string]any{}} {
		c.send("REQ", "s", map[string]any{"search": v})
		c.wantClosed("s", "invalid: search must be a string")
	}
	for _, s := range []string{"x", ""} {
		c.send("NEG-OPEN", "s", map[string]any{"search": s}, "6100000200")
		if m := c.want("NEG-ERR"); m[1] != "s" || !strings.HasPrefix(m[2].(string), "unsupported: ") {
			t.Errorf("got %v, want unsupported", m)
		}
	}
	c.quiet()
	rec := httptest.NewRecorder()
	h.relay.NIP11(rec, httptest.NewRequest(http.MethodGet, "/", nil))
	var doc struct {
		NIPs []int `json:"supported_nips"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &doc); err != nil || !slices.Contains(doc.NIPs, 50) || !slices.IsSorted(doc.NIPs) {
		t.Errorf("nips %v (%v)", doc.NIPs, err)
	}
}

// Searches wait for each other, and nobody else for them.
func TestSearchTurns(t *testing.T) {
	h := openLibrary(t, func(c *relay.Config) { c.MaxSearches, c.MaxQueries = 1, 1 })
	begun, end := make(chan struct{}, 10), make(chan struct{})
	h.whenAsked(func(_ context.Context, f nostr.Filter) {
		if f.Search != "" {
			begun <- struct{}{}
			<-end
		}
	})
	searchers := []*client{h.dial(), h.dial()}
	for _, c := range searchers {
		c.raw(`["REQ","s",{"search":"parser"}]`)
	}
	<-begun
	other := h.dial()
	other.raw(`["REQ","o",{"kinds":[1]}]`)
	other.untilEOSE("o")
	select {
	case <-begun:
		t.Error("two searches at once")
	default:
	}
	close(end)
	for _, c := range searchers {
		c.untilEOSE("s")
	}
}

// The index of live searches finds what trying every search finds, while they come and go.
func TestDispatcherAgreesWithSearches(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	h := openLibrary(t, func(c *relay.Config) { c.MaxSubscriptions = 1000 })
	c := h.dial()
	vocabulary := strings.Fields("parse parser parsing go gopher fix fixes 搜索 搜索引擎 引擎 é smart-http v2 x y z")
	text := func(n int) string {
		var out []string
		for range 1 + rnd.IntN(n) {
			out = append(out, vocabulary[rnd.IntN(len(vocabulary))])
		}
		return strings.Join(out, " ")
	}
	type open struct {
		q     search.Query
		kinds []int
	}
	live := map[string]open{}
	at := int64(0)
	for n := range 400 {
		id := fmt.Sprint("s", rnd.IntN(200))
		asked := text(2)
		switch rnd.IntN(4) {
		case 0:
			asked = `"` + asked + `"`
		case 1:
			asked = "-" + vocabulary[rnd.IntN(len(vocabulary))] + " " + asked
		}
		f := map[string]any{"search": asked, "limit": 0}
		o := open{}
		if rnd.IntN(3) == 0 {
			o.kinds = []int{search.Kinds[rnd.IntN(5)]}
			f["kinds"] = o.kinds
		}
		delete(live, id)
		if rnd.IntN(4) == 0 {
			c.send("CLOSE", id)
		} else {
			c.send("REQ", id, f)
			c.untilEOSE(id)
			q, means, err := search.Parse(asked)
			if err != nil {
				t.Fatal(err)
			}
			if o.q = q; means == search.Terms {
				live[id] = o
			}
		}
		if n%4 != 0 {
			continue
		}
		at++
		ev := &nostr.Event{ID: fmt.Sprintf("%064x", n), PubKey: fmt.Sprintf("%064x", 1), Kind: search.Kinds[rnd.IntN(5)], CreatedAt: nostr.Timestamp(at), Content: text(6), Tags: nostr.Tags{{"subject", text(2)}}}
		c.quiet() // what was sent before is through
		h.relay.Publish(ev, nil)
		c.raw(`["COUNT","done",{"ids":[]}]`)
		got := map[string]int{}
		for m := c.next(); m[0] != "COUNT"; m = c.next() {
			got[m[1].(string)]++
		}
		x := search.NewIndex(ev)
		for id, o := range live {
			want := 0
			if x.Has(&o.q) && (o.kinds == nil || slices.Contains(o.kinds, ev.Kind)) {
				want = 1
			}
			if got[id] != want {
				t.Fatalf("event %q, subscription %s: delivered %d times, want %d", ev.Content, id, got[id], want)
			}
			delete(got, id)
		}
		if len(got) > 0 {
			t.Fatalf("delivered to %v as well", got)
		}
	}
}

// Whoever leaves is not searched for any longer.
func TestSearchOfNobody(t *testing.T) {
	h := openLibrary(t, func(c *relay.Config) { c.QueryTime = 10 * patience })
	begun, ended := make(chan struct{}), make(chan struct{})
	h.whenAsked(func(ctx context.Context, _ nostr.Filter) {
		close(begun)
		<-ctx.Done()
		close(ended)
	})
	c := h.dial()
	c.raw(`["REQ","s",{"search":"parser"}]`)
	<-begun
	c.ws.Close()
	select {
	case <-ended:
	case <-time.After(patience): // well before the time that an answer may take
		t.Error("it is still being searched")
	}
}

// BenchmarkPublishSearches: what a live event costs where many search.
func BenchmarkPublishSearches(b *testing.B) {
	for _, n := range []int{0, 1, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h := openLibrary(b, func(c *relay.Config) { c.MaxSubscriptions = n + 1 })
			c := h.dial()
			for i := range n {
				c.raw(fmt.Sprintf(`["REQ","s%d",{"search":"parser word%d beginning%d"}]`, i, i, i))
				c.untilEOSE(fmt.Sprint("s", i))
			}
			ev := issue(b, 1, strings.Repeat("the parser begins another line of text here\n", 20))
			raw := relay.Encode(ev)
			for b.Loop() {
				h.relay.Publish(ev, raw)
			}
		})
	}
}

package relay_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fiatjaf/khatru"
	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/relay"
)

// Filters over stored and live events agree with the same table (N-005, checks 94–97).
func TestFilters_N005(t *testing.T) {
	h := open(t, nil)
	pub, _ := nostr.GetPublicKey(alice)
	target := sign(t, alice, nostr.Event{Kind: 1111, CreatedAt: 1000, Tags: nostr.Tags{
		{"E", "root", "second"}, {"e", "parent"}, {"t", "b"}, {"d"}, {"client", "x"}, {"e", "more"}, {"A", "1:x:y:z"},
	}})
	decoy := sign(t, bob, nostr.Event{Kind: 1, CreatedAt: 999, Tags: nostr.Tags{{"e", "root"}, {"t", "z"}}})
	many := make([]string, 2000)
	for i := range many {
		many[i] = fmt.Sprintf("%064x", i)
	}
	cases := []struct {
		filter string
		match  bool
	}{
		{`{}`, true},
		{`{"ids":["` + target.ID + `"]}`, true},
		{`{"ids":["` + decoy.ID + `"]}`, false},
		{`{"ids":[]}`, false},
		{`{"kinds":[]}`, false},
		{`{"kinds":[1111],"#t":[]}`, false},
		{`{"kinds":[1,1111]}`, true},
		{`{"kinds":[2]}`, false},
		{`{"authors":["` + pub + `"]}`, true},
		{`{"authors":["` + decoy.PubKey + `"]}`, false},
		{`{"#E":["root"]}`, true},
		{`{"#e":["root"]}`, false},
		{`{"#e":["parent"]}`, true},
		{`{"#e":["more","x"]}`, true},
		{`{"#E":["second"]}`, false}, // first value only
		{`{"#E":["roo"]}`, false},    // no prefixes
		{`{"#d":[""]}`, false},       // a tag without a value has none
		{`{"#A":["1:x:y:z"]}`, true},
		{`{"#a":["1:x:y:z"]}`, false},
		{`{"#t":["a","b","c"]}`, true},
		{`{"#t":["a","c"]}`, false},
		{`{"#t":["b"],"#e":["nope"]}`, false},
		{`{"#t":["b"],"#e":["parent"],"kinds":[1111],"authors":["` + pub + `"],"ids":["` + target.ID + `"]}`, true},
		{`{"#t":["b"],"#e":["parent"],"kinds":[1]}`, false},
		{`{"since":1000,"until":1000}`, true},
		{`{"since":1001}`, false},
		{`{"until":999,"kinds":[1111]}`, false},
		{`{"ids":["` + strings.Join(many, `","`) + `"]}`, false},
		{`{"ids":["` + strings.Join(many[1:], `","`) + `","` + target.ID + `"]}`, true},
		{`{"authors":["` + strings.Join(many[1:], `","`) + `","` + pub + `"],"kinds":[1111]}`, true},
		{`{"#t":["` + strings.Join(many[1:], `","`) + `","b"]}`, true},
	}
	live := h.dial()
	for i, tc := range cases {
		live.raw(fmt.Sprintf(`["REQ","%d",%s]`, i, tc.filter))
		if got := live.untilEOSE(fmt.Sprint(i)); len(got) != 0 {
			t.Errorf("%s: %v before anything is there", tc.filter, got)
		}
	}
	c := h.dial()
	c.event(decoy)
	c.want("OK")
	c.event(target)
	c.want("OK")
	live.raw(`["COUNT","done",{"ids":[]}]`)
	got := map[string]bool{}
	for m := live.next(); m[0] != "COUNT"; m = live.next() {
		if m[2].(map[string]any)["id"] == target.ID {
			if got[m[1].(string)] {
				t.Errorf("%v came twice", m[1])
			}
			got[m[1].(string)] = true
		}
	}
	for i, tc := range cases {
		if got[fmt.Sprint(i)] != tc.match {
			t.Errorf("live %.80s: %v, want %v", tc.filter, !tc.match, tc.match)
		}
		c.raw(`["REQ","q",` + tc.filter + `]`)
		if stored := slices.Contains(c.untilEOSE("q"), target.ID); stored != tc.match {
			t.Errorf("stored %.80s: %v, want %v", tc.filter, stored, tc.match)
		}
		c.raw(`["COUNT","q",` + tc.filter + `]`)
		n := c.want("COUNT")[2].(map[string]any)["count"].(float64)
		c.raw(`["REQ","q",` + tc.filter + `]`)
		if want := float64(len(c.untilEOSE("q"))); n != want { // check 123
			t.Errorf("count %.80s: %v, want %v", tc.filter, n, want)
		}
	}
}

func TestRefusedRequests_N006(t *testing.T) {
	h := open(t, nil)
	c := h.dial()
	values := strings.Repeat(`"x",`, 2000) + `"x"`
	for _, tc := range []struct{ msg, want string }{
		{`["REQ","s",{"search":"x"}]`, "unsupported:"}, // check 99
		{`["REQ","s",{"kinds":[1]},{"foo":1}]`, "unsupported:"},
		{`["REQ","s",{"#foo":["x"]}]`, "unsupported:"},
		{`["REQ","s",{"#1":["x"]}]`, "unsupported:"},
		{`["REQ","s",{"#":["x"]}]`, "unsupported:"},
		{`["REQ","s",{"Kinds":[1]}]`, "unsupported:"},
		{`["COUNT","s",{"search":"x"}]`, "unsupported:"},
		{`["REQ","s"]`, "invalid:"},
		{`["COUNT","s"]`, "invalid:"},
		{`["REQ","s",null]`, "invalid:"},
		{"[\"REQ\",\"s\",{\"#t\":[\"\xff\"]}]", "invalid: text is not valid UTF-8"},
		{`["REQ","s",[{}]]`, "invalid:"},
		{`["REQ","s",{"ids":["abc"]}]`, "invalid:"},
		{`["REQ","s",{"ids":"abc"}]`, "invalid:"},
		{`["REQ","s",{"ids":null}]`, "invalid:"},
		{`["REQ","s",{"ids":[1]}]`, "invalid:"},
		{`["REQ","s",{"authors":["` + strings.Repeat("A", 64) + `"]}]`, "invalid:"},
		{`["REQ","s",{"kinds":["1"]}]`, "invalid:"},
		{`["REQ","s",{"kinds":[1.5]}]`, "invalid:"},
		{`["REQ","s",{"kinds":[-1]}]`, "invalid:"},
		{`["REQ","s",{"kinds":[65536]}]`, "invalid:"},
		{`["REQ","s",{"since":"0"}]`, "invalid:"},
		{`["REQ","s",{"limit":-1}]`, "invalid:"},
		{`["REQ","s",{"limit":1e2}]`, "invalid:"},
		{`["REQ","s",{"#e":"x"}]`, "invalid:"},
		{`["REQ","s",{"kinds":[1],"kinds":[2]}]`, "invalid:"},
		{`["REQ","s",{"#t":[` + values + `]}]`, "invalid: #t has more than 2000"},
		{`["REQ","s"` + strings.Repeat(`,{}`, 21) + `]`, "invalid: more than 20 filters"},
	} {
		c.raw(tc.msg)
		c.wantClosed("s", tc.want)
	}
	c.raw(`["REQ","s"` + strings.Repeat(`,{"#t":["x"]}`, 20) + `]`)
	c.untilEOSE("s")
	c.raw("[\"REQ\",\"\xff\",{}]") // what is repeated is UTF-8 again
	c.wantClosed("\ufffd", "invalid: text is not valid UTF-8")
	long := strings.Repeat("ü", 250)
	c.send("REQ", long, map[string]any{})
	c.untilEOSE(long)
	c.send("REQ", long+"x", map[string]any{})
	c.wantClosed(long+"x", "invalid: the subscription id")
	// A refused REQ ends the subscription whose id it uses.
	c.raw(`["REQ","s",{"foo":1}]`)
	c.wantClosed("s", "unsupported:")
	c.send("CLOSE", long)
	c.quiet()
	h.relay.Publish(note(t, 1, "x", nostr.Tag{"t", "x"}), nil)
	c.quiet()
}

func TestLimits_N013(t *testing.T) {
	h := open(t, func(c *relay.Config) { c.MaxFilterBytes = 1 << 20 })
	c := h.dial()
	for i := range 200 {
		c.send("REQ", fmt.Sprint(i), map[string]any{"kinds": []int{1}})
		c.untilEOSE(fmt.Sprint(i))
	}
	c.send("REQ", "more", map[string]any{"kinds": []int{1}})
	c.wantClosed("more", "rate-limited:")
	c.send("REQ", "7", map[string]any{"kinds": []int{2}}) // replacing is no more
	c.untilEOSE("7")
	c.send("CLOSE", "7")
	c.send("REQ", "more", map[string]any{"kinds": []int{1}})
	c.untilEOSE("more")
	if n := h.relay.Stats().Subscriptions; n != 200 {
		t.Errorf("%d subscriptions, want 200", n)
	}

	c = h.dial()
	many := make([]string, 2000)
	for i := range many {
		many[i] = strings.Repeat("x", 100) + fmt.Sprint(i)
	}
	c.send("REQ", "a", map[string]any{"#t": many})
	c.untilEOSE("a")
	c.send("REQ", "b", map[string]any{"#t": many})
	c.wantClosed("b", "rate-limited:")
	c.send("CLOSE", "a")
	c.send("REQ", "b", map[string]any{"#t": many})
	c.untilEOSE("b")
}

func TestRequestRate(t *testing.T) {
	var now clock
	h := open(t, func(c *relay.Config) { c.Now, c.RequestBurst, c.RequestsPerSecond = now.now, 3, 1 })
	c := h.dial()
	for range 3 {
		c.raw(`["REQ","x",{}]`)
		c.untilEOSE("x")
	}
	c.raw(`["REQ","x",{}]`)
	c.wantClosed("x", "rate-limited:")
	now.advance(time.Second)
	c.raw(`["COUNT","x",{}]`)
	c.want("COUNT")
	c.raw(`["COUNT","x",{}]`)
	c.wantClosed("x", "rate-limited:")
}

// limit 0 (check 98), CLOSE and replacing (check 102), two filters (check 97), ephemeral events
// (check 104).
func TestLive_N006_N008_N010(t *testing.T) {
	h := open(t, nil)
	c, d := h.dial(), h.dial()
	old := note(t, 900, "old", nostr.Tag{"t", "x"})
	h.put(old)
	c.raw(`["REQ","s",{"kinds":[1],"limit":0},{"#t":["x"],"limit":0}]`)
	if got := c.untilEOSE("s"); len(got) != 0 {
		t.Errorf("limit 0 brought %v", got)
	}
	ev := note(t, 1000, "both filters", nostr.Tag{"t", "x"})
	d.event(ev)
	d.wantOK(ev.ID, true, "")
	c.wantEvent("s", ev.ID)
	c.quiet()

	c.raw(`["REQ","s",{"kinds":[20001]},{"kinds":[1],"#t":["x"]},{"authors":["` + ev.PubKey + `"]}]`)
	if got := c.untilEOSE("s"); !slices.Equal(got, []string{ev.ID, old.ID}) {
		t.Errorf("got %v, want each once and newest first", got)
	}
	eph := sign(t, bob, nostr.Event{Kind: 20001, CreatedAt: 1})
	d.event(eph)
	d.wantOK(eph.ID, true, "")
	c.wantEvent("s", eph.ID)
	c.raw(`["REQ","e",{"kinds":[20001]}]`)
	if got := c.untilEOSE("e"); len(got) != 0 {
		t.Errorf("ephemeral event was stored: %v", got)
	}
	c.send("CLOSE", "s")
	c.send("CLOSE", "never opened")
	c.send("CLOSE", "e")
	c.quiet()
	d.event(note(t, 1001, "unheard"))
	d.want("OK")
	c.quiet()
	c.raw(`["REQ","s",{"kinds":[7]}]`)
	c.untilEOSE("s")
	d.event(note(t, 1002, "unheard"))
	d.want("OK")
	c.quiet()
}

// Limits of the answer: 500 by default and at most, newest first, ties by lowest id.
func TestStoredOrder_N005_N013(t *testing.T) {
	h := open(t, nil)
	var evs []*nostr.Event
	for i := range 620 {
		evs = append(evs, note(t, int64(1000+i/3), fmt.Sprint(i)))
	}
	h.put(evs...)
	c := h.dial()
	want := func(f nostr.Filter, n int) []string {
		var ids []string
		for _, s := range h.find(f)[:n] {
			ids = append(ids, s.ev.ID)
		}
		return ids
	}
	for filter, n := range map[string]int{`{}`: 500, `{"limit":10}`: 10, `{"limit":10000}`: 500} {
		c.raw(`["REQ","s",` + filter + `]`)
		if got := c.untilEOSE("s"); !slices.Equal(got, want(nostr.Filter{}, n)) {
			t.Errorf("%s: %d events, or not in order", filter, len(got))
		}
	}
}

// An answer of several pages is the same as one of a single page, also with many events in
// one second and a client that does not hurry.
func TestPages(t *testing.T) {
	h := open(t, nil)
	var evs []*nostr.Event
	for i := range 120 {
		evs = append(evs, note(t, int64(1000+i/40), strings.Repeat("x", 50_000)+fmt.Sprint(i)))
	}
	h.put(evs...)
	var queries atomic.Int64
	h.whenAsked(func(context.Context, nostr.Filter) { queries.Add(1) })
	c := h.dial()
	c.raw(`["REQ","s",{"limit":110},{"limit":5}]`)
	var want []string
	for _, s := range h.find(nostr.Filter{})[:110] {
		want = append(want, s.ev.ID)
	}
	if got := c.untilEOSE("s"); !slices.Equal(got, want) {
		t.Errorf("%d events, want %d in order", len(got), len(want))
	}
	if n := queries.Load(); n < 6 {
		t.Errorf("%d queries for 5.5 MB, want pages", n)
	}
}

// What is published while the store is asked comes after EOSE, once, and not again if the
// store's answer has it already, whichever reaches the session first.
func TestLiveWhileLoading_N005(t *testing.T) {
	h := open(t, nil)
	a, b, late := note(t, 1, "a"), note(t, 2, "b"), note(t, 3, "late")
	asked, answer := make(chan struct{}), make(chan struct{})
	h.put(a, late) // late is committed but not yet published
	h.whenAsked(func(context.Context, nostr.Filter) {
		asked <- struct{}{}
		<-answer
	})
	c := h.dial()
	c.raw(`["REQ","s",{"kinds":[1]}]`)
	<-asked
	h.relay.Publish(a, nil)
	h.relay.Publish(b, nil)
	answer <- struct{}{}
	if got := c.untilEOSE("s"); !slices.Equal(got, []string{late.ID, a.ID}) {
		t.Errorf("stored: %v", got)
	}
	c.wantEvent("s", b.ID)
	h.relay.Publish(late, nil)
	next := note(t, 4, "next")
	h.relay.Publish(next, nil)
	c.wantEvent("s", next.ID)

	// More than can be held meanwhile is no silence.
	c.raw(`["REQ","s",{"kinds":[1]}]`)
	<-asked
	for i := range 5000 {
		h.relay.Publish(&nostr.Event{ID: fmt.Sprintf("%064x", i), Kind: 1, CreatedAt: 5}, nil)
	}
	answer <- struct{}{}
	for {
		m := c.next()
		if m[0] == "CLOSED" {
			break
		}
		if m[0] != "EVENT" {
			t.Fatalf("got %v, want CLOSED", m)
		}
	}
}

func TestQueryFailures(t *testing.T) {
	h := open(t, func(c *relay.Config) { c.QueryTime = 500 * time.Millisecond })
	c := h.dial()
	h.whenAsked(func(ctx context.Context, _ nostr.Filter) { <-ctx.Done() })
	c.raw(`["REQ","s",{}]`)
	c.wantClosed("s", "error: the answer takes longer than 500ms")
	c.raw(`["COUNT","s",{}]`)
	c.wantClosed("s", "error: the answer takes longer than 500ms")
	h.whenAsked(nil)
	c.quiet()

	bad := relay.New(relay.Config{Now: time.Now}, h.memory, broken{}, quietLog)
	h.memory.relay = bad
	c = h.dial()
	c.raw(`["REQ","s",{}]`)
	c.wantClosed("s", "error: internal error ")
	c.raw(`["COUNT","s",{}]`)
	c.wantClosed("s", "rate-limited: busy now")
	h.relay.Publish(note(t, 1, "x"), nil)
}

type broken struct{ relay.Reader }

func (broken) Query(context.Context, nostr.Filter, eachFunc) error { return errors.New("disk on fire") }
func (broken) Count(context.Context, []nostr.Filter) (int64, error) {
	return 0, fault.E(fault.Busy, "store: count", "busy now")
}

func TestSearch_N042(t *testing.T) {
	h := open(t, func(c *relay.Config) { c.Search = true })
	got := make(chan string, 1)
	h.whenAsked(func(_ context.Context, f nostr.Filter) { got <- f.Search })
	c := h.dial()
	c.raw(`["REQ","s",{"search":"needle"}]`)
	c.untilEOSE("s")
	if s := <-got; s != "needle" {
		t.Errorf("searched for %q", s)
	}
}

// The index finds what trying every filter finds.
func TestDispatcherAgreesWithFilters(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	h := open(t, nil)
	c := h.dial()
	pick := func(n int) string { return fmt.Sprintf("%064x", rnd.IntN(n)) }
	list := func(n int) []string {
		var out []string
		for range 1 + rnd.IntN(12) {
			out = append(out, pick(n))
		}
		return out
	}
	filters := make(map[string]nostr.Filters)
	for i := range 200 {
		var fs nostr.Filters
		var msg []any
		id := fmt.Sprint(i)
		msg = append(msg, "REQ", id)
		for range 1 + rnd.IntN(3) {
			f := nostr.Filter{Tags: nostr.TagMap{}}
			if rnd.IntN(8) == 0 {
				f.IDs = list(300)
			}
			if rnd.IntN(3) == 0 {
				f.Authors = list(20)
			}
			if rnd.IntN(2) == 0 {
				f.Kinds = []int{rnd.IntN(5), rnd.IntN(5)}
			}
			for _, tag := range []string{"e", "E", "t", "p"} {
				if rnd.IntN(4) == 0 {
					f.Tags[tag] = list(30)
				}
			}
			if rnd.IntN(4) == 0 {
				at := nostr.Timestamp(rnd.IntN(100))
				f.Since = &at
			}
			fs = append(fs, f)
			msg = append(msg, f)
		}
		filters[id] = fs
		b, err := json.Marshal(msg)
		if err != nil {
			t.Fatal(err)
		}
		c.raw(string(b))
		c.untilEOSE(id)
		if rnd.IntN(4) == 0 {
			c.send("CLOSE", id)
			delete(filters, id)
		}
	}
	c.quiet()
	for n := range 300 {
		ev := &nostr.Event{ID: fmt.Sprintf("%064x", n), PubKey: pick(20), Kind: rnd.IntN(5), CreatedAt: nostr.Timestamp(rnd.IntN(100)), Tags: nostr.Tags{}}
		for range rnd.IntN(40) {
			ev.Tags = append(ev.Tags, nostr.Tag{[]string{"e", "E", "t", "p"}[rnd.IntN(4)], pick(30)})
		}
		h.relay.Publish(ev, nil)
		c.raw(`["COUNT","done",{"ids":[]}]`)
		got := map[string]int{}
		for m := c.next(); m[0] != "COUNT"; m = c.next() {
			got[m[1].(string)]++
		}
		for id, fs := range filters {
			want := 0
			if fs.Match(ev) {
				want = 1
			}
			if got[id] != want {
				t.Fatalf("event %d, subscription %s: delivered %d times, want %d", n, id, got[id], want)
			}
		}
	}
}

// khatru's hooks see what they expect (policy.go).
func TestPolicies(t *testing.T) {
	seen := make(chan string, 100)
	policies := &khatru.Relay{}
	policies.OnConnect = append(policies.OnConnect, func(ctx context.Context) { seen <- "connect " + khatru.GetIP(ctx) })
	policies.OnDisconnect = append(policies.OnDisconnect, func(ctx context.Context) { seen <- "disconnect " + khatru.GetIP(ctx) })
	policies.RejectFilter = append(policies.RejectFilter, func(ctx context.Context, f nostr.Filter) (bool, string) {
		if len(f.Kinds) > 0 && f.Kinds[0] == 4 && khatru.GetAuthed(ctx) == "" {
			return true, "auth-required: kind 4"
		}
		return f.Kinds == nil, "who asks for everything on " + khatru.GetSubscriptionID(ctx) + "?"
	})
	policies.RejectCountFilter = append(policies.RejectCountFilter, func(context.Context, nostr.Filter) (bool, string) { return true, "restricted: no counting" })
	policies.RejectEvent = append(policies.RejectEvent, func(ctx context.Context, ev *nostr.Event) (bool, string) {
		switch ev.Content {
		case "ask":
			khatru.RequestAuth(ctx)
			return true, "auth-required: authenticate"
		case "panic":
			panic("policy")
		}
		if khatru.GetConnection(ctx).Request.Header.Get("X-Forwarded-For") != "" {
			return true, "a header that anybody can send"
		}
		return ev.Content == "no", ""
	})
	h := open(t, func(c *relay.Config) { c.Policies = policies })
	c := h.dial()
	if s := <-seen; s != "connect 127.0.0.1" {
		t.Error(s)
	}
	c.raw(`["REQ","s",{}]`)
	c.wantClosed("s", "blocked: who asks for everything on s?")
	c.raw(`["REQ","s",{"kinds":[4]}]`)
	challenge := c.want("AUTH")[1].(string)
	c.wantClosed("s", "auth-required:")
	c.raw(`["COUNT","s",{}]`)
	c.wantClosed("s", "restricted: no counting")
	for text, want := range map[string]string{"no": "blocked: no reason given", "panic": "error: a policy failed"} {
		ev := note(t, 1, text)
		c.event(ev)
		c.wantOK(ev.ID, false, want)
	}
	for range 2 {
		ask := note(t, 1, "ask")
		c.event(ask)
		if got := c.want("AUTH")[1]; got != challenge {
			t.Errorf("another challenge %v", got)
		}
		c.wantOK(ask.ID, false, "auth-required: authenticate")
	}
	proof := auth(t, alice, "wss://relay.example.com", challenge, time.Now())
	c.raw(`["AUTH",` + string(relay.Encode(proof)) + `]`)
	c.wantOK(proof.ID, true, "")
	c.raw(`["REQ","s",{"kinds":[4]}]`)
	c.untilEOSE("s")
	yes := note(t, 1, "yes")
	c.event(yes)
	c.wantOK(yes.ID, true, "")
	c.ws.Close()
	if s := <-seen; s != "disconnect 127.0.0.1" {
		t.Error(s)
	}
}

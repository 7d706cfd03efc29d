package relay_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/relay"
)

// networks makes a house tell visitors apart by a header.
func networks(c *relay.Config) {
	c.Prefix = func(r *http.Request) string { return r.Header.Get("X-Net") }
}

// from connects as somebody of a network; "" has none.
func (h *house) from(network string) *client {
	h.t.Helper()
	c, status := h.tryFrom(network)
	if c == nil {
		h.t.Fatalf("%s is answered %d", network, status)
	}
	return c
}

func (h *house) tryFrom(network string) (*client, int) {
	h.t.Helper()
	ws, res, err := websocket.DefaultDialer.Dial(h.url, http.Header{"X-Net": {network}})
	if err != nil {
		if res == nil {
			h.t.Fatal(err)
		}
		return nil, res.StatusCode
	}
	return h.listen(ws), res.StatusCode
}

// Connections of one network have one budget together; other networks, and those who have none, are
// not concerned (hardening §10, N-013).
func TestNetworkBudgets(t *testing.T) {
	var now clock
	h := open(t, func(c *relay.Config) {
		networks(c)
		c.Now = now.now
		c.PrefixEventBurst, c.PrefixEventsPerMinute = 5, 60
		c.PrefixRequestBurst, c.PrefixRequestsPerSecond = 4, 1
		c.PrefixConnectsPerMinute = 4
	})
	a, b, other, free := h.from("net"), h.from("net"), h.from("other"), h.from("")
	n := int64(0)
	publish := func(c *client, ok bool) {
		t.Helper()
		n++
		ev := note(t, n, "x")
		c.event(ev)
		if ok {
			c.wantOK(ev.ID, true, "")
		} else {
			c.wantOK(ev.ID, false, "rate-limited:")
		}
	}
	for range 3 {
		publish(a, true)
	}
	for range 2 {
		publish(b, true)
	}
	publish(a, false)
	publish(b, false)
	publish(other, true)
	for range 10 {
		publish(free, true)
	}
	// Junk is not paid for by the network: it is told what is wrong with it.
	wrong := note(t, 1, "x")
	wrong.ID = strings.Repeat("0", 64)
	a.event(wrong)
	a.wantOK(wrong.ID, false, "invalid:") // check 90
	now.advance(time.Second)
	publish(b, true)
	publish(a, false)

	request := func(c *client, ok bool) {
		t.Helper()
		c.raw(`["COUNT","c",{"ids":[]}]`)
		if ok {
			c.want("COUNT")
		} else {
			c.wantClosed("c", "rate-limited:")
		}
	}
	for range 2 {
		request(a, true)
		request(b, true)
	}
	request(a, false)
	request(b, false)
	request(other, true)
	for range 10 {
		request(free, true)
	}

	h.from("net")
	h.from("net")
	if _, status := h.tryFrom("net"); status != http.StatusTooManyRequests {
		t.Errorf("a fifth connection within the minute: %d, want 429", status)
	}
	h.from("third")
	now.advance(time.Minute)
	h.from("net")
	hits := h.relay.Hits()
	for name, want := range map[string]int64{
		"address_events_per_minute": 3, "address_requests_per_second": 2, "address_connects_per_minute": 1, "events_per_minute": 0,
	} {
		if hits[name] != want {
			t.Errorf("%s was met %d times, want %d", name, hits[name], want)
		}
	}
}

// A network that sends more than it may is read more slowly, and refused nothing.
func TestNetworkBytes(t *testing.T) {
	var now clock // stands still, so that what was sent is never forgotten
	h := open(t, func(c *relay.Config) {
		networks(c)
		c.Now, c.PrefixByteBurst, c.PrefixBytesPerSecond = now.now, 380_000, 1_000_000
	})
	c := h.from("net")
	for i := range 20 {
		ev := note(t, int64(i), strings.Repeat("x", 20_000))
		c.event(ev)
		c.wantOK(ev.ID, true, "")
	}
	if h.relay.Hits()["address_bytes_per_second"] == 0 {
		t.Error("400 kB passed at full speed")
	}
}

// What is wrong is said in the order in which it costs: an event that is no event is told so, also
// where the rate of its connection is used up (N-002, hardening §10).
func TestOrderOfChecks(t *testing.T) {
	var now clock
	h := open(t, func(c *relay.Config) {
		c.Now, c.EventBurst, c.EventsPerMinute, c.MaxTags, c.MaxEvent = now.now, 1, 1, 10, 4000
	})
	c := h.dial()
	c.event(note(t, 1, "x"))
	c.want("OK")
	good := note(t, 2, "x")
	many := note(t, 3, "x")
	for range 11 {
		many.Tags = append(many.Tags, nostr.Tag{"t", "x"})
	}
	long := note(t, 3, "x", append(nostr.Tag{"t"}, make([]string, 20)...))
	big := note(t, 4, strings.Repeat("x", 4000))
	auth := sign(t, alice, nostr.Event{Kind: 22242, CreatedAt: 5})
	for _, step := range []struct {
		name, text, id, want string
	}{
		{"shape", strings.Replace(string(relay.Encode(good)), `"kind":1`, `"kind":"1"`, 1), good.ID, "invalid: kind"},
		{"tags", string(relay.Encode(many)), many.ID, "invalid: more than 10 tags"},
		{"items", string(relay.Encode(long)), long.ID, "invalid: a tag has more than 10 items"},
		{"size", string(relay.Encode(big)), big.ID, "invalid: event is larger"},
		{"kind", string(relay.Encode(auth)), auth.ID, "invalid: kind 22242"},
		{"rate", string(relay.Encode(good)), good.ID, "rate-limited:"},
	} {
		t.Run(step.name, func(t *testing.T) {
			c.raw(`["EVENT",` + step.text + `]`)
			c.wantOK(step.id, false, step.want)
		})
	}
	hits := h.relay.Hits()
	if hits["event_tags"] != 2 || hits["event"] != 1 || hits["events_per_minute"] != 1 {
		t.Errorf("counted: %v", hits)
	}
}

// From the third wrong signature on they are held against the network, and the tenth ends the
// connection. Honest neighbours are still served.
func TestForgersStandBehind(t *testing.T) {
	h := open(t, func(c *relay.Config) { networks(c); c.PrefixBadSignatures = 8 })
	neighbour := h.from("net")
	for range 3 {
		c := h.from("net")
		ev := note(t, 1, "x")
		ev.Sig = strings.Repeat("1", 128)
		for range 10 {
			c.event(ev)
			c.wantOK(ev.ID, false, "invalid: signature")
		}
		if code := c.ended(); code != websocket.ClosePolicyViolation {
			t.Fatalf("close code %d", code)
		}
	}
	ev := note(t, 2, "honest")
	neighbour.event(ev)
	neighbour.wantOK(ev.ID, true, "")
	hits := h.relay.Hits()
	if hits["bad_signatures"] != 3 || hits["address_bad_signatures"] != 16 {
		t.Errorf("counted: %v", hits)
	}
}

// The memory of filters is bounded for a network and for all, not only for a connection.
func TestFilterMemoryOfNetworks(t *testing.T) {
	h := open(t, func(c *relay.Config) { networks(c); c.MaxFilterBytes, c.MaxAllFilters = 40_000, 120_000 })
	values := make([]string, 100)
	for i := range values {
		values[i] = fmt.Sprint("value ", i)
	}
	ask := func(c *client) bool {
		c.send("REQ", "s", map[string]any{"#t": values})
		for {
			switch m := c.next(); m[0] {
			case "EOSE":
				return true
			case "CLOSED":
				return false
			}
		}
	}
	got := ""
	for _, net := range []string{"a", "a", "a", "b", "b", "c", "d", "", "", ""} {
		got += map[bool]string{true: "+", false: "-"}[ask(h.from(net))]
	}
	// About 20 kB each: two of a network, five in all.
	if want := "++-+++----"; got != want {
		t.Errorf("asked: %s, want %s", got, want)
	}
	if h.relay.Hits()["filter_memory_total"] == 0 {
		t.Error("not counted")
	}
}

// Large messages of one network wait for one another, and not those of others.
func TestUploadsOfNetworks(t *testing.T) {
	h := open(t, func(c *relay.Config) { networks(c); c.MaxMessage, c.MaxUploads, c.MaxEvent = 1<<20, 4<<20, 1<<20 })
	hog, second, other := h.from("net"), h.from("net"), h.from("other")
	ev := [3]*nostr.Event{}
	for i := range ev {
		ev[i] = note(t, int64(i), strings.Repeat("x", 200_000))
	}
	w, err := hog.ws.NextWriter(websocket.TextMessage)
	if err != nil {
		t.Fatal(err)
	}
	text := `["EVENT",` + string(relay.Encode(ev[0])) + `]`
	io.WriteString(w, text[:150_000])
	second.event(ev[1])
	other.event(ev[2])
	other.wantOK(ev[2].ID, true, "") // while the hog still holds what its network gets
	io.WriteString(w, text[150_000:])
	w.Close()
	hog.wantOK(ev[0].ID, true, "")
	second.wantOK(ev[1].ID, true, "")
}

// A query that takes long gives its place to those who wait, and is answered after them; also where
// nobody could know that it would take long (hardening §10, filter bombs).
func TestLongQueriesMakeRoom(t *testing.T) {
	block := make(chan struct{})
	h := open(t, func(c *relay.Config) {
		networks(c)
		c.MaxQueries, c.QuerySlice, c.QueryTime, c.QueryWait = 2, time.Millisecond, patience, patience
	})
	asked := make(chan struct{}, 100)
	h.whenAsked(func(ctx context.Context, f nostr.Filter) {
		if slices.Contains(f.Kinds, 7) {
			asked <- struct{}{}
			select {
			case <-block:
			case <-ctx.Done():
			}
		}
	})
	ev := sign(t, alice, nostr.Event{Kind: 7, CreatedAt: 1})
	h.put(ev)
	one, two := h.from("one"), h.from("two")
	one.raw(`["REQ","s",{"kinds":[7]}]`)
	<-asked
	two.raw(`["COUNT","s",{"kinds":[7]}]`)
	other := h.from("other")
	for range 5 {
		other.raw(`["REQ","q",{"kinds":[1]}]`)
		other.untilEOSE("q")
	}
	close(block)
	if ids := one.untilEOSE("s"); len(ids) != 1 || ids[0] != ev.ID {
		t.Errorf("the long query found %v", ids)
	}
	if m := two.want("COUNT"); m[2].(map[string]any)["count"] != 1.0 {
		t.Errorf("counted %v", m)
	}
}

// A message in the smallest of pieces costs its network more than its bytes, and is still taken
// (hardening §10, fragments).
func TestFragmentsAreCounted(t *testing.T) {
	var now clock
	h := open(t, func(c *relay.Config) {
		networks(c)
		c.Now, c.PrefixByteBurst, c.PrefixBytesPerSecond = now.now, 5000, 10_000_000
	})
	c := h.from("net")
	small := func(size int) *client {
		ws, _, err := (&websocket.Dialer{WriteBufferSize: size}).Dial(h.url, http.Header{"X-Net": {"other"}})
		if err != nil {
			t.Fatal(err)
		}
		return h.listen(ws)
	}
	c.raw(`["COUNT","c",{"ids":[]}]`)
	c.want("COUNT")
	if n := h.relay.Hits()["address_bytes_per_second"]; n != 0 {
		t.Errorf("one small message was slowed down %d times", n)
	}
	pieces := small(1)
	for range 5 {
		ev := note(t, 1, strings.Repeat("x", 500))
		pieces.event(ev)
		pieces.want("OK")
	}
	if h.relay.Hits()["address_bytes_per_second"] == 0 {
		t.Error("4,000 fragments passed at full speed")
	}
}

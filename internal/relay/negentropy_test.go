package relay_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fiatjaf/khatru"
	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/negentropy"
	"github.com/gitroost/gitroost/internal/relay"
)

// Keys makes a memory a relay.Keyer.
func (m *memory) Keys(ctx context.Context, fs []nostr.Filter, each func(grasp.EventID, int64) bool) error {
	if len(fs) == 1 {
		m.asked(ctx, fs[0])
	}
	for _, s := range m.find(fs...) {
		if ctx.Err() != nil || !each(grasp.EventID(s.ev.ID), int64(s.ev.CreatedAt)) {
			break
		}
	}
	return ctx.Err()
}

// fill stores n events of kind 1 from second at on and returns their ids in order.
func (h *house) fill(n int, at int64) []string {
	h.t.Helper()
	var list []string
	for i := range n {
		ev := note(h.t, at+int64(i/3), fmt.Sprint(i))
		h.put(ev)
		list = append(list, ev.ID)
	}
	slices.Sort(list)
	return list
}

// record is what a client remembers of an event.
func record(id string, at int64) negentropy.Item {
	it := negentropy.Item{At: uint64(at)}
	hex.Decode(it.ID[:], []byte(id))
	return it
}

// negentropy compares own records with what the house has, and returns ids in order.
func (c *client) negentropy(sub, filter string, own ...negentropy.Item) (have, need []string, rounds int) {
	c.t.Helper()
	side := negentropy.NewClient(negentropy.NewSet(own), negentropy.Limits{})
	open := fmt.Sprintf(`["NEG-OPEN",%q,%s,`, sub, filter)
	for msg := side.Start(); msg != nil; rounds++ {
		c.raw(open + `"` + hex.EncodeToString(msg) + `"]`)
		open = fmt.Sprintf(`["NEG-MSG",%q,`, sub)
		step, err := side.Next(c.wantNeg(sub))
		if err != nil {
			c.t.Fatal(err)
		}
		for _, id := range step.Have {
			have = append(have, hex.EncodeToString(id[:]))
		}
		for _, id := range step.Need {
			need = append(need, hex.EncodeToString(id[:]))
		}
		msg = step.Next
	}
	c.send("NEG-CLOSE", sub)
	slices.Sort(have)
	slices.Sort(need)
	return have, need, rounds
}

// wantNeg reads one NEG-MSG.
func (c *client) wantNeg(sub string) []byte {
	c.t.Helper()
	m := c.want("NEG-MSG")
	b, err := hex.DecodeString(m[2].(string))
	if m[1] != sub || len(m) != 3 || err != nil {
		c.t.Fatalf("got %.200v, want NEG-MSG %s and hex (%v)", m, sub, err)
	}
	return b
}

func (c *client) wantNegErr(sub, text string) {
	c.t.Helper()
	if m := c.want("NEG-ERR"); m[1] != sub || !strings.HasPrefix(m[2].(string), text) {
		c.t.Fatalf("got %v, want NEG-ERR %s %q", m, sub, text)
	}
}

// everything is the first message of a client that has nothing.
const everything = "6100000200"

// N-043, check 124: a client that has nothing learns exactly what is served and matches; no
// match is a clean empty answer; what both have is not told.
func TestNegentropy_N043(t *testing.T) {
	h := open(t, nil)
	all := h.fill(100, 1000)
	odd := sign(t, bob, nostr.Event{Kind: 7, CreatedAt: 5, Content: "+"})
	h.put(odd)
	c := h.dial()
	for _, tc := range []struct {
		name, filter string
		own          []negentropy.Item
		have, need   []string
	}{
		{"empty client", `{"kinds":[1]}`, nil, nil, all},
		{"one of another kind", `{"kinds":[7]}`, nil, nil, []string{odd.ID}},
		{"everything", `{}`, nil, nil, slices.Sorted(slices.Values(append([]string{odd.ID}, all...)))},
		{"no match", `{"kinds":[30617]}`, nil, nil, nil},
		{"an empty list", `{"kinds":[]}`, nil, nil, nil},
		{"limit 0", `{"limit":0}`, nil, nil, nil},
		{"the client alone has one", `{"kinds":[30617]}`, []negentropy.Item{record(odd.ID, 5)}, []string{odd.ID}, nil},
		{"both have it", `{"kinds":[7]}`, []negentropy.Item{record(odd.ID, 5)}, nil, nil},
	} {
		have, need, rounds := c.negentropy("n", tc.filter, tc.own...)
		if !slices.Equal(have, tc.have) || !slices.Equal(need, tc.need) || rounds != 1 {
			t.Errorf("%s: has %v, needs %d, want %v, %d, after %d rounds", tc.name, have, len(need), tc.have, len(tc.need), rounds)
		}
	}
	c.quiet()
	if s := h.relay.Stats(); s.Negentropy != 0 || s.NegRecords != 0 || s.Negentropies != 8 {
		t.Errorf("%+v", s)
	}
}

// N-043: 10,000 on both sides, of which 100 differ, are compared in a few messages.
func TestNegentropyTenThousand(t *testing.T) {
	h := open(t, nil)
	big, own := tenThousand(h)
	have, need, rounds := h.dial().negentropy("big", `{"kinds":[1]}`, own...)
	if len(have) != 50 || len(need) != 50 || rounds > 4 {
		t.Errorf("has %d, needs %d after %d rounds", len(have), len(need), rounds)
	}
	for _, id := range need {
		if _, ok := big.events[id]; !ok {
			t.Errorf("%s is not served", id)
		}
	}
}

// tenThousand stores unsigned events in h, and returns what a client has: 50 more, 50 fewer.
func tenThousand(h *house) (*memory, []negentropy.Item) {
	var own []negentropy.Item
	for i := range 10_050 {
		hash := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
		ev := &nostr.Event{ID: hex.EncodeToString(hash[:]), Kind: 1, CreatedAt: nostr.Timestamp(i / 2), Tags: nostr.Tags{}}
		if i%201 != 7 {
			h.put(ev)
		}
		if i%201 != 107 {
			own = append(own, record(ev.ID, int64(ev.CreatedAt)))
		}
	}
	return h.memory, own
}

func BenchmarkNegentropy(b *testing.B) {
	h := open(b, func(cfg *relay.Config) { cfg.RequestBurst = 1 << 30 })
	_, own := tenThousand(h)
	c := h.dial()
	for b.Loop() {
		c.negentropy("n", `{"kinds":[1]}`, own...)
	}
}

// N-043: what a first message is answered with.
func TestNegentropyOpen_N043(t *testing.T) {
	h := open(t, nil)
	h.fill(3, 1000)
	c := h.dial()
	for _, tc := range []struct{ name, rest, want string }{
		{"version 2", `"s",{},"62000000"`, "NEG-MSG 61"},
		{"no negentropy", `"s",{},"00"`, "NEG-MSG 61"},
		{"half a byte", `"s",{},"616"`, "NEG-ERR invalid: the message is not hex"},
		{"no hex", `"s",{},"zz"`, "NEG-ERR invalid: the message is not hex"},
		{"empty message", `"s",{},""`, "NEG-ERR invalid: it is empty"},
		{"malformed message", `"s",{},"6100000210"`, "NEG-ERR invalid: it announces more ids than it has"},
		{"a length that overflows", `"s",{},"6101c0808080808080800000"`, "NEG-ERR invalid: "},
		{"unknown field", `"s",{"sinse":1},"61"`, "NEG-ERR unsupported: filter field"},
		{"search", `"s",{"search":"x"},"61"`, "NEG-ERR unsupported: "},
		{"a filter that is none", `"s",[],"61"`, "NEG-ERR invalid: "},
		{"wrong value", `"s",{"kinds":["1"]},"61"`, "NEG-ERR invalid: "},
		{"the old form with a size of ids", `"s",{},16,"61"`, "NEG-ERR invalid: the message must be a string"},
		{"no message", `"s",{}`, "NEG-ERR invalid: the message is missing"},
		{"nothing", `"s"`, "NEG-ERR invalid: the message is missing"},
		{"too much", `"s",{},"61",1`, "NEG-ERR invalid: something follows"},
		{"no id", `1,{},"61"`, "NOTICE invalid: "},
		{"empty id", `"",{},"61"`, "NOTICE invalid: "},
		{"long id", `"` + strings.Repeat("x", 251) + `",{},"61"`, "NEG-ERR invalid: the subscription id is longer"},
		{"nothing new", `"s",{},"61"`, "NEG-MSG 61"},
	} {
		c.raw(`["NEG-OPEN",` + tc.rest + `]`)
		m := c.next()
		if m == nil {
			t.Fatalf("%s: connection ended: %v", tc.name, c.err)
		}
		got := fmt.Sprint(m[0], " ", m[len(m)-1])
		if !strings.HasPrefix(got, tc.want) || strings.HasPrefix(tc.want, "NEG-MSG") && got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
	}
	c.send("NEG-CLOSE", "s")
	c.send("NEG-CLOSE", "never opened")
	c.quiet()
	if s := h.relay.Stats(); s.Negentropy != 0 || s.NegRecords != 0 {
		t.Errorf("%+v", s)
	}
}

// N-043: ids of reconciliations are their own; one that is used again replaces; what is unknown,
// closed or was ended by an error is told so.
func TestNegentropyIDs_N043(t *testing.T) {
	h := open(t, nil)
	h.fill(5, 1000)
	extra := sign(t, bob, nostr.Event{Kind: 7, CreatedAt: 5})
	h.put(extra)
	c := h.dial()
	ids := func(msg []byte) int { return int(msg[4]) } // of everything's answer

	c.raw(`["NEG-MSG","s","61"]`)
	c.wantNegErr("s", "closed: ")
	c.raw(`["REQ","s",{"kinds":[7]}]`)
	if got := c.untilEOSE("s"); len(got) != 1 {
		t.Fatalf("%v", got)
	}
	c.raw(`["NEG-MSG","s","61"]`)
	c.wantNegErr("s", "closed: ")

	c.raw(`["NEG-OPEN","s",{"kinds":[7]},"` + everything + `"]`)
	if n := ids(c.wantNeg("s")); n != 1 {
		t.Errorf("%d ids", n)
	}
	c.raw(`["NEG-OPEN","s",{"kinds":[1]},"` + everything + `"]`)
	if n := ids(c.wantNeg("s")); n != 5 {
		t.Errorf("%d ids after it was opened again", n)
	}
	// What is published later is not in it, and goes to the subscription of the same name.
	late := sign(t, alice, nostr.Event{Kind: 7, CreatedAt: 6})
	c.event(late)
	c.wantEvent("s", late.ID)
	c.wantOK(late.ID, true, "")
	c.raw(`["NEG-MSG","s","` + everything + `"]`)
	if n := ids(c.wantNeg("s")); n != 5 {
		t.Errorf("%d ids in the next answer", n)
	}
	c.raw(`["CLOSE","s"]`)
	c.raw(`["NEG-MSG","s","61"]`)
	c.wantNeg("s")
	c.raw(`["NEG-CLOSE","s"]`)
	c.raw(`["NEG-MSG","s","61"]`)
	c.wantNegErr("s", "closed: ")

	for _, bad := range []string{`"61ff"`, `"6"`, `1`, `"61","61"`} {
		c.raw(`["NEG-OPEN","s",{},"61"]`)
		c.wantNeg("s")
		c.raw(`["NEG-MSG","s",` + bad + `]`)
		c.wantNegErr("s", "invalid: ")
		c.raw(`["NEG-MSG","s","61"]`)
		c.wantNegErr("s", "closed: ")
	}
	// One that is opened again in vain is gone as well.
	c.raw(`["NEG-OPEN","s",{},"61"]`)
	c.wantNeg("s")
	c.raw(`["NEG-OPEN","s",{"x":1},"61"]`)
	c.wantNegErr("s", "unsupported: ")
	c.raw(`["NEG-MSG","s","61"]`)
	c.wantNegErr("s", "closed: ")
}

// N-043, hardening §10: reconciliations and their records are bounded, per connection and in all,
// and room is given back.
func TestNegentropyBounds(t *testing.T) {
	gone := make(chan struct{}, 10)
	h := open(t, func(cfg *relay.Config) {
		cfg.MaxNegSessions, cfg.MaxAllNegSessions, cfg.MaxNegRecords, cfg.MaxAllNegRecords = 3, 8, 50, 120
		cfg.Policies = &khatru.Relay{OnDisconnect: []func(context.Context){func(context.Context) { gone <- struct{}{} }}}
		cfg.Prefix = func(r *http.Request) string { return r.URL.Query().Get("from") }
	})
	h.fill(60, 1000)
	dial := func(from string) *client {
		there := *h
		there.url += "/?from=" + from
		return there.dial()
	}
	fifty, many, none := `{"kinds":[1],"until":1015}`, `{"kinds":[1]}`, `{"kinds":[2]}`
	n := 0
	ask := func(c *client, filter, want string) {
		t.Helper()
		n++
		c.raw(fmt.Sprintf(`["NEG-OPEN","s%d",%s,"61"]`, n, filter))
		if want == "" {
			c.wantNeg(fmt.Sprint("s", n))
			return
		}
		c.wantNegErr(fmt.Sprint("s", n), want)
	}
	a, b, other := dial("a"), dial("a"), dial("b")
	ask(a, many, "blocked: this query is too big, more than 50 records")
	ask(a, none, "")
	ask(a, none, "")
	ask(a, none, "")
	ask(a, none, "blocked: more than 3 reconciliations on one connection")
	ask(b, none, "")
	ask(b, none, "blocked: too many reconciliations") // half of eight for one network
	ask(other, none, "")
	if s := h.relay.Stats(); s.Negentropy != 5 || s.NegRecords != 0 {
		t.Errorf("%+v", s)
	}
	a.ws.Close()
	<-gone
	if s := h.relay.Stats(); s.Negentropy != 2 {
		t.Errorf("%+v", s)
	}
	ask(b, fifty, "")
	ask(b, fifty, "blocked: too many records") // 60 for one network
	ask(other, fifty, "")
	third := dial("c")
	ask(third, fifty, "blocked: too many records") // 120 in all
	if s := h.relay.Stats(); s.Negentropy != 4 || s.NegRecords != 2*48 {
		t.Errorf("%+v", s)
	}
	other.raw(fmt.Sprintf(`["NEG-CLOSE","s%d"]`, n-1))
	other.quiet()
	ask(third, fifty, "")
}

// A reconciliation of which nothing is heard ends and is told so; the connection stays.
func TestNegentropyIdle(t *testing.T) {
	h := open(t, func(cfg *relay.Config) { cfg.NegIdle = 500 * time.Millisecond })
	h.fill(5, 1000)
	c := h.dial()
	c.raw(`["NEG-OPEN","s",{},"61"]`)
	c.wantNeg("s")
	c.wantNegErr("s", "closed: ")
	if s := h.relay.Stats(); s.Negentropy != 0 || s.NegRecords != 0 {
		t.Errorf("%+v", s)
	}
	c.raw(`["NEG-MSG","s","61"]`)
	c.wantNegErr("s", "closed: ")
	c.quiet()
}

// What goes wrong while records are looked for is told, and nothing stays behind.
func TestNegentropyFailures(t *testing.T) {
	h := open(t, func(cfg *relay.Config) {
		cfg.NegTime = time.Nanosecond
		cfg.RequestBurst, cfg.RequestsPerSecond = 2, 1
		cfg.Now = func() time.Time { return time.Unix(1_700_000_000, 0) }
		cfg.Policies = &khatru.Relay{RejectFilter: []func(context.Context, nostr.Filter) (bool, string){
			func(_ context.Context, f nostr.Filter) (bool, string) {
				return slices.Contains(f.Kinds, 9), "kind 9 is secret"
			},
		}}
	})
	h.fill(5, 1000)
	h.whenAsked(func(ctx context.Context, _ nostr.Filter) { <-ctx.Done() })
	c := h.dial()
	c.raw(`["NEG-OPEN","s",{},"61"]`)
	c.wantNegErr("s", "blocked: this query is too big, it takes longer than 1ns")
	c.raw(`["NEG-OPEN","s",{"kinds":[9]},"61"]`)
	c.wantNegErr("s", "blocked: kind 9 is secret")
	c.raw(`["NEG-OPEN","s",{},"61"]`)
	c.wantNegErr("s", "rate-limited: ")
	if s := h.relay.Stats(); s.Negentropy != 0 || s.NegRecords != 0 {
		t.Errorf("%+v", s)
	}
}

func (broken) Keys(context.Context, []nostr.Filter, func(grasp.EventID, int64) bool) error {
	return errors.New("disk on fire")
}

// A store that fails is our fault, and its words are not told.
func TestNegentropyBrokenStore(t *testing.T) {
	h := open(t, nil)
	h.memory.relay = relay.New(relay.Config{Now: time.Now}, h.memory, broken{}, quietLog)
	c := h.dial()
	c.raw(`["NEG-OPEN","s",{},"61"]`)
	if m := c.want("NEG-ERR"); !strings.HasPrefix(m[2].(string), "error: internal error ") || strings.Contains(m[2].(string), "fire") {
		t.Errorf("%v", m)
	}
}

// nips returns what the NIP-11 document of r lists.
func nips(t *testing.T, r *relay.Relay) []int {
	t.Helper()
	w := httptest.NewRecorder()
	r.NIP11(w, httptest.NewRequest("GET", "/", nil))
	var doc struct {
		NIPs []int `json:"supported_nips"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	return doc.NIPs
}

// deaf is a reader that cannot name what it has.
type deaf struct{ relay.Reader }

// N-023: NIP-77 is told if it is spoken, and refused like any unknown message if not.
func TestNegentropyOffered(t *testing.T) {
	m := &memory{}
	for _, tc := range []struct {
		reader relay.Reader
		off    bool
		want   bool
	}{{m, false, true}, {m, true, false}, {deaf{m}, false, false}} {
		r := relay.New(relay.Config{Now: time.Now, NoNegentropy: tc.off}, m, tc.reader, quietLog)
		if got := slices.Contains(nips(t, r), 77); got != tc.want {
			t.Errorf("%T, off %v: told %v", tc.reader, tc.off, got)
		}
	}
	h := open(t, func(cfg *relay.Config) { cfg.NoNegentropy = true })
	c := h.dial()
	c.raw(`["NEG-OPEN","s",{},"61"]`)
	if n := c.want("NOTICE"); !strings.HasPrefix(n[1].(string), "unsupported: ") {
		t.Errorf("%v", n)
	}
}

package relay_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/relay"
)

// Every character of N-002 and those around them pass and come back unchanged (check 89).
func TestEventRoundTrip_N002(t *testing.T) {
	h := open(t, nil)
	c := h.dial()
	texts := []string{
		"", "<>&", "\u2028\u2029", "🚀 zażółć", "\n\"\\\r\t\b\f", "\x7f\u0080\ufeff\ufffd/", "\x00\x01\x0b\x0e\x1f\x1b[0m",
		strings.Repeat("x\n", 10_000),
	}
	for i, text := range texts {
		ev := note(t, int64(1000+i), text, nostr.Tag{"t", text}, nostr.Tag{"x", "", text})
		c.event(ev)
		c.wantOK(ev.ID, true, "")
		c.send("REQ", "q", map[string]any{"ids": []string{ev.ID}})
		m := c.want("EVENT")[2].(map[string]any)
		if m["content"] != text || m["tags"].([]any)[1].([]any)[2] != text {
			t.Errorf("%q came back as %v", text, m)
		}
		c.want("EOSE")
	}
}

// The verbatim form of NIP-01 is taken as well as the one that JSON libraries sign.
func TestControlCharacters_N002(t *testing.T) {
	content := "a\x01b"
	sk, pk := btcec.PrivKeyFromBytes(bytes.Repeat([]byte{1}, 32))
	pub := hex.EncodeToString(pk.SerializeCompressed()[1:])
	for _, spelled := range []string{content, `a\u0001b`} {
		hash := sha256.Sum256([]byte(`[0,"` + pub + `",5,1,[],"` + spelled + `"]`))
		sig, err := schnorr.Sign(sk, hash[:])
		if err != nil {
			t.Fatal(err)
		}
		ev := &nostr.Event{ID: hex.EncodeToString(hash[:]), PubKey: pub, CreatedAt: 5, Kind: 1, Tags: nostr.Tags{}, Content: content, Sig: hex.EncodeToString(sig.Serialize())}
		if err := relay.Verify(ev); err != nil {
			t.Errorf("%q: %v", spelled, err)
		}
		ev.Content = "a\x02b"
		if err := relay.Verify(ev); err == nil {
			t.Errorf("%q: another content verifies", spelled)
		}
	}
}

func TestBadEvents_N002(t *testing.T) {
	h := open(t, nil)
	good := note(t, 1000, "good")
	zeros := strings.Repeat("0", 64)
	text := string(relay.Encode(good))
	cases := []struct {
		name, msg, id, want string // id "" means a NOTICE
	}{
		{"wrong id", strings.Replace(text, good.ID, zeros, 1), zeros, "invalid: id"},
		{"wrong signature", strings.Replace(text, good.Sig, strings.Repeat("0", 128), 1), good.ID, "invalid: signature"},
		{"content changed", strings.Replace(text, `"good"`, `"goof"`, 1), good.ID, "invalid: id"},
		{"short id", strings.Replace(text, good.ID, "abc", 1), "abc", "invalid:"},
		{"upper-case id", strings.Replace(text, good.ID, strings.ToUpper(good.ID), 1), strings.ToUpper(good.ID), "invalid:"},
		{"kind a string", strings.Replace(text, `"kind":1`, `"kind":"1"`, 1), good.ID, "invalid: kind"},
		{"kind a fraction", strings.Replace(text, `"kind":1`, `"kind":1.0`, 1), good.ID, "invalid: kind"},
		{"kind too large", strings.Replace(text, `"kind":1`, `"kind":65536`, 1), good.ID, "invalid: kind"},
		{"created_at an exponent", strings.Replace(text, `1000`, `1e3`, 1), good.ID, "invalid: created_at"},
		{"created_at negative", strings.Replace(text, `1000`, `-1000`, 1), good.ID, "invalid: created_at"},
		{"created_at huge", strings.Replace(text, `1000`, strings.Repeat("9", 40), 1), good.ID, "invalid: created_at"},
		{"id twice", strings.Replace(text, `{`, `{"id":"`+good.ID+`",`, 1), good.ID, "invalid: id comes twice"},
		{"id twice, escaped", strings.Replace(text, `"kind"`, `"\u0069d":"x","kind"`, 1), good.ID, "invalid: id comes twice"},
		{"unknown field twice", strings.Replace(text, `{`, `{"a":1,"a":2,`, 1), good.ID, "invalid:"},
		{"no sig", strings.Replace(text, `"sig"`, `"gis"`, 1), good.ID, "invalid:"},
		{"empty tag", strings.Replace(text, `"tags":[]`, `"tags":[[]]`, 1), good.ID, "invalid: a tag"},
		{"null tag", strings.Replace(text, `"tags":[]`, `"tags":[null]`, 1), good.ID, "invalid: a tag"},
		{"tags null", strings.Replace(text, `"tags":[]`, `"tags":null`, 1), good.ID, "invalid: tags"},
		{"number in tag", strings.Replace(text, `"tags":[]`, `"tags":[["a",1]]`, 1), good.ID, "invalid: a tag"},
		{"half surrogate", strings.Replace(text, `"good"`, `"\ud800"`, 1), good.ID, "invalid: half"},
		{"low surrogate", strings.Replace(text, `"good"`, `"\udc00x"`, 1), good.ID, "invalid: half"},
		{"two high surrogates", strings.Replace(text, `"good"`, `"\ud800\ud800"`, 1), good.ID, "invalid: half"},
		{"not UTF-8", strings.Replace(text, `"good"`, "\"\xff\"", 1), good.ID, "invalid: text is not valid UTF-8"},
		{"auth event", string(relay.Encode(sign(t, alice, nostr.Event{Kind: 22242}))), sign(t, alice, nostr.Event{Kind: 22242}).ID, "invalid: kind 22242"},
		{"no id", strings.Replace(text, `"id"`, `"di"`, 1), "", "invalid:"},
		{"id a number", strings.Replace(text, `"`+good.ID+`"`, `7`, 1), "", "invalid:"},
		{"not an object", `"x"`, "", "invalid: an event is an object"},
		{"something follows", text + `,1`, good.ID, "invalid: something follows"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			c := h.dial()
			c.t = t
			c.raw(`["EVENT",` + tc.msg + `]`)
			if tc.id == "" {
				if m := c.want("NOTICE"); !strings.HasPrefix(m[1].(string), tc.want) {
					t.Errorf("got %v, want %q", m, tc.want)
				}
			} else {
				c.wantOK(tc.id, false, tc.want)
			}
			c.event(good) // the connection stays
			if m := c.want("OK"); m[2] != true {
				t.Errorf("afterwards: %v", m)
			}
		})
	}
	if len(h.events) != 1 {
		t.Errorf("%d events were received, want 1", len(h.events))
	}
}

// Unknown fields are dropped and not stored.
func TestUnknownFieldsDropped_N002(t *testing.T) {
	h := open(t, nil)
	ev := note(t, 1000, "x")
	c := h.dial()
	c.raw(`["EVENT", ` + strings.Replace(string(relay.Encode(ev)), `{`, `{"seen_on":["a",{"b":[1.5e3,null,true]}],`, 1) + ` ] `)
	c.wantOK(ev.ID, true, "")
	if got := h.events[ev.ID]; !bytes.Equal(got.raw, relay.Encode(ev)) {
		t.Errorf("stored %s", got.raw)
	}
}

// Malformed JSON, unknown verbs and binary frames are answered and the connection stays (check 106).
func TestNotices_N012(t *testing.T) {
	h := open(t, nil)
	c := h.dial()
	for _, msg := range []string{
		`["BOGUS"]`, `["BOGUS",{"a":[]}]`, ``, ` `, `null`, `{}`, `"EVENT"`, `[]`, `[1]`, `[null,1]`, `["REQ"]`, `["REQ",1,{}]`, `["REQ","",{}]`, `["CLOSE"]`, `["CLOSE",{}]`,
		`["EVENT"]`, `["EVENT",{}]`, `["EVENT",{"id":`, `["REQ","x",{`, `["REQ","x",{}`, `["REQ","x",{}]]`, `["REQ","x",{}] x`, `[`, `["`, `["EVENT\`, `["EVENT\u12`,
		"[\"REQ\",\"a\nb\",{}]", `["REQ","x",{"limit":01}]`, `["REQ","x",{"limit":1.}]`, `["REQ","x",tru]`, `["AUTH","x"]`, `["REQ","` + strings.Repeat("x", 2000) + `",{}]`,
		strings.Repeat("[", 1000), `["x",` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `]`,
	} {
		c.raw(msg)
		if m := c.next(); m == nil || m[0] != "NOTICE" {
			t.Errorf("%q: got %v, want NOTICE", msg, m)
		}
	}
	if err := c.ws.WriteMessage(websocket.BinaryMessage, []byte(`["REQ","x",{}]`)); err != nil {
		t.Fatal(err)
	}
	c.want("NOTICE")
	c.quiet()
}

// A truncated EVENT is no JSON: a NOTICE, and an OK as its id can be read (N-003, N-012).
func TestTruncatedEvent_N012(t *testing.T) {
	h := open(t, nil)
	c := h.dial()
	ev := note(t, 1000, "a longer text, so that half of it still holds the id")
	msg := `["EVENT",` + string(relay.Encode(ev))
	c.raw(msg[:len(msg)/2])
	c.want("NOTICE")
	c.wantOK(ev.ID, false, "invalid:")
	c.quiet()
}

// The catalogue of N-004, as far as it comes from the desk.
func TestAnswers_N004(t *testing.T) {
	var verdict grasp.Verdict
	var failure error
	h := open(t, nil)
	h.onReceive(func(*nostr.Event) (grasp.Verdict, error) { return verdict, failure })
	c := h.dial()
	for i, tc := range []struct {
		v    grasp.Verdict
		err  error
		ok   bool
		text string
	}{
		{grasp.Held, nil, true, "purgatory: won't be served until git data arrives"},
		{0, &grasp.Refusal{Prefix: grasp.Invalid, Text: "have a newer version of this event"}, false, "invalid: have a newer version of this event"},
		{0, fmt.Errorf("wrapped: %w", &grasp.Refusal{Prefix: grasp.Blocked, Text: "this event was deleted"}), false, "blocked: this event was deleted"},
		{0, fault.E(fault.Busy, "desk: receive", "try again later"), false, "rate-limited: try again later"},
		{0, fault.E(fault.TooLarge, "desk: receive", "too many refs"), false, "invalid: too many refs"},
		{0, errors.New("secret detail"), false, "error: internal error "},
		{0, fault.E(fault.Internal, "desk", "secret detail"), false, "error: internal error "},
		{0, context.DeadlineExceeded, false, "rate-limited: "},
	} {
		verdict, failure = tc.v, tc.err
		ev := note(t, int64(2000+i), tc.text)
		c.event(ev)
		m := c.want("OK")
		if m[1] != ev.ID || m[2] != tc.ok || !strings.HasPrefix(m[3].(string), tc.text) || strings.Contains(m[3].(string), "secret") {
			t.Errorf("%v %v: got %v", tc.v, tc.err, m)
		}
	}
	h.onReceive(nil)
	ev := note(t, 3000, "twice") // check 92
	c.event(ev)
	c.wantOK(ev.ID, true, "")
	c.event(ev)
	c.wantOK(ev.ID, true, "duplicate: already have this event")

	h.onReceive(func(*nostr.Event) (grasp.Verdict, error) { panic("desk") })
	ev = note(t, 3001, "panic")
	c.event(ev)
	c.wantOK(ev.ID, false, "error: internal error")
	c.quiet()
}

// 100 events at once are 100 OKs in their order (check 91); messages of one connection are
// answered one after another.
func TestOrder_N003(t *testing.T) {
	h := open(t, nil)
	c := h.dial()
	var evs []*nostr.Event
	for i := range 100 {
		evs = append(evs, note(t, int64(1000+i), "n"))
	}
	for i, ev := range evs {
		c.event(ev)
		c.send("REQ", fmt.Sprint(i), map[string]any{"ids": []string{ev.ID}})
		c.send("CLOSE", fmt.Sprint(i))
	}
	for i, ev := range evs {
		c.wantOK(ev.ID, true, "")
		c.wantEvent(fmt.Sprint(i), ev.ID) // check 101
		c.want("EOSE")
	}
}

// An event whose client has gone is still received.
func TestClientLeaves(t *testing.T) {
	h := open(t, nil)
	received := make(chan string, 10)
	first := make(chan struct{})
	h.onReceive(func(ev *nostr.Event) (grasp.Verdict, error) {
		received <- ev.ID
		<-first
		return grasp.Accepted, nil
	})
	c := h.dial()
	a, b := note(t, 1, "a"), note(t, 2, "b")
	c.event(a)
	<-received
	c.event(b)
	c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), time.Now().Add(time.Second))
	if code := c.ended(); code != 1000 {
		t.Errorf("close code %d, want 1000", code)
	}
	close(first)
	select {
	case id := <-received:
		if id != b.ID {
			t.Errorf("received %s, want b", id)
		}
	case <-time.After(patience):
		t.Error("b was not received")
	}
}

func TestSizes_N013(t *testing.T) {
	h := open(t, nil)
	c := h.dial()
	var tags nostr.Tags
	for i := range 7500 {
		tags = append(tags, nostr.Tag{fmt.Sprintf("refs/heads/%060d", i), strings.Repeat("a", 40)})
	}
	state := sign(t, alice, nostr.Event{Kind: 30618, CreatedAt: 1, Tags: tags})
	if n := len(relay.Encode(state)); n < 800<<10 || n > 1<<20 {
		t.Fatalf("state is %d bytes", n)
	}
	c.event(state)
	c.wantOK(state.ID, true, "") // check 108

	big := note(t, 1, strings.Repeat("x", 257<<10))
	c.event(big)
	c.wantOK(big.ID, false, "invalid: event is larger than 262144 bytes")
	tags = append(tags, nostr.Tag{"refs/heads/x", strings.Repeat("a", 200<<10)})
	state = sign(t, alice, nostr.Event{Kind: 30618, CreatedAt: 1, Tags: tags})
	c.event(state)
	c.wantOK(state.ID, false, "invalid: event is larger than 1048576 bytes")

	c.raw(`["REQ","x",{"ids":["` + strings.Repeat("x", 4<<20) + `"]}]`) // too large, but the connection stays
	c.want("NOTICE")
	huge := note(t, 1, strings.Repeat("x", 4<<20))
	c.event(huge)
	c.wantOK(huge.ID, false, "invalid: message is larger than 4194304 bytes")
	c.quiet()
	go c.ws.WriteMessage(websocket.TextMessage, bytes.Repeat([]byte{'x'}, 32<<20)) // fails on the way
	c.want("NOTICE")
	if code := c.ended(); code != websocket.CloseMessageTooBig && code != 0 {
		t.Errorf("close code %d, want 1009", code)
	}
}

// A settable clock.
type clock struct{ ns atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(1_700_000_000, c.ns.Load()) }
func (c *clock) advance(d time.Duration) { c.ns.Add(int64(d)) }

func TestEventRate_N013(t *testing.T) {
	var now clock
	h := open(t, func(c *relay.Config) { c.Now, c.EventBurst = now.now, 0 })
	c := h.dial()
	for i := range 120 { // check 107, in the worst spread
		ev := note(t, int64(i), "n")
		c.event(ev)
		c.wantOK(ev.ID, true, "")
	}
	ev := note(t, 121, "n")
	c.event(ev)
	c.wantOK(ev.ID, false, "rate-limited:")
	now.advance(time.Second)
	for range 2 {
		c.event(ev)
		if m := c.want("OK"); m[2] != true {
			t.Errorf("a second later: %v", m)
		}
	}
	c.event(ev)
	c.wantOK(ev.ID, false, "rate-limited:")
	other := h.dial() // each connection has its own
	other.event(note(t, 122, "n"))
	if m := other.want("OK"); m[2] != true {
		t.Errorf("another connection: %v", m)
	}
}

func TestBadSignaturesClose(t *testing.T) {
	h := open(t, nil)
	c := h.dial()
	ev := note(t, 1, "x")
	ev.Sig = strings.Repeat("1", 128)
	for range 10 {
		c.event(ev)
		c.wantOK(ev.ID, false, "invalid: signature")
	}
	if code := c.ended(); code != websocket.ClosePolicyViolation {
		t.Errorf("close code %d, want 1008", code)
	}
}

func auth(t testing.TB, key, relayURL, challenge string, at time.Time) *nostr.Event {
	return sign(t, key, nostr.Event{Kind: 22242, CreatedAt: nostr.Timestamp(at.Unix()), Tags: nostr.Tags{{"relay", relayURL}, {"challenge", challenge}}})
}

// Check 121, and the rules of N-038.
func TestProtected_N037(t *testing.T) {
	var now clock
	h := open(t, func(c *relay.Config) { c.Now = now.now })
	c := h.dial()
	c.quiet() // check 122: no challenge without need
	ev := note(t, 1, "mine", nostr.Tag{"-"})
	c.event(ev)
	challenge := c.want("AUTH")[1].(string)
	if len(challenge) < 32 {
		t.Errorf("challenge %q is short", challenge)
	}
	c.wantOK(ev.ID, false, "auth-required:")

	const url = "wss://relay.example.com"
	for _, tc := range []struct {
		name string
		ev   *nostr.Event
		ok   bool
	}{
		{"wrong challenge", auth(t, alice, url, challenge[1:]+"0", now.now()), false},
		{"empty challenge", auth(t, alice, url, "", now.now()), false},
		{"other relay", auth(t, alice, "wss://evil.example.com", challenge, now.now()), false},
		{"other port", auth(t, alice, url+":444", challenge, now.now()), false},
		{"no relay", sign(t, alice, nostr.Event{Kind: 22242, CreatedAt: nostr.Timestamp(now.now().Unix()), Tags: nostr.Tags{{"challenge", challenge}}}), false},
		{"old", auth(t, alice, url, challenge, now.now().Add(-11*time.Minute)), false},
		{"future", auth(t, alice, url, challenge, now.now().Add(11*time.Minute)), false},
		{"other kind", sign(t, alice, nostr.Event{Kind: 1, CreatedAt: nostr.Timestamp(now.now().Unix()), Tags: nostr.Tags{{"relay", url}, {"challenge", challenge}}}), false},
		{"wrong key", auth(t, bob, url, challenge, now.now()), true},
	} {
		c.raw(`["AUTH",` + string(relay.Encode(tc.ev)) + `]`)
		if m := c.want("OK"); m[1] != tc.ev.ID || m[2] != tc.ok {
			t.Errorf("%s: got %v", tc.name, m)
		}
	}
	forged := auth(t, alice, url, challenge, now.now())
	forged.Sig = strings.Repeat("1", 128)
	c.raw(`["AUTH",` + string(relay.Encode(forged)) + `]`)
	c.wantOK(forged.ID, false, "invalid: signature")

	c.event(ev)
	c.wantOK(ev.ID, false, "restricted:")
	good := auth(t, alice, "WSS://Relay.Example.com:443/", challenge, now.now().Add(9*time.Minute))
	c.raw(`["AUTH",` + string(relay.Encode(good)) + `]`)
	c.wantOK(good.ID, true, "")
	c.event(ev)
	c.wantOK(ev.ID, true, "")

	other := h.dial()
	other.raw(`["AUTH",` + string(relay.Encode(good)) + `]`) // a challenge belongs to its connection
	other.wantOK(good.ID, false, "invalid:")
}

package housetest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

// A Key signs events.
type Key struct {
	t      testing.TB
	Secret string
	Pub    string
	Npub   string
}

// NewKey makes a key.
func NewKey(t testing.TB) *Key {
	t.Helper()
	k := &Key{t: t, Secret: nostr.GeneratePrivateKey()}
	pub, err := nostr.GetPublicKey(k.Secret)
	if err != nil {
		t.Fatal(err)
	}
	k.Pub, k.Npub = pub, grasp.PubKey(pub).Npub()
	return k
}

// Sign makes an event of kind with tags at the given time (seconds; 0 means now).
func (k *Key) Sign(kind int, at int64, content string, tags ...nostr.Tag) *nostr.Event {
	k.t.Helper()
	if at == 0 {
		at = time.Now().Unix()
	}
	ev := &nostr.Event{Kind: kind, CreatedAt: nostr.Timestamp(at), Content: content, Tags: tags}
	if ev.Tags == nil {
		ev.Tags = nostr.Tags{}
	}
	if err := ev.Sign(k.Secret); err != nil {
		k.t.Fatal(err)
	}
	return ev
}

// Announcement is an event of kind 30617 that lists the house in clone and relays; more are
// further tags.
func (h *House) Announcement(k *Key, id string, at int64, more ...nostr.Tag) *nostr.Event {
	tags := []nostr.Tag{{"d", id}, {"name", id}, {"clone", h.Repo(k, id)}, {"relays", h.RelayURL()}}
	return k.Sign(grasp.KindAnnouncement, at, "", append(tags, more...)...)
}

// Maintainers is the tag that names maintainers.
func Maintainers(keys ...*Key) nostr.Tag {
	t := nostr.Tag{"maintainers"}
	for _, k := range keys {
		t = append(t, k.Pub)
	}
	return t
}

// State is an event of kind 30618. refs are "main=oid", "refs/tags/v1=oid", "HEAD=main"; a name
// without a slash is a branch. Without a HEAD= the first branch named is HEAD.
func (k *Key) State(id string, at int64, refs ...string) *nostr.Event {
	k.t.Helper()
	tags := []nostr.Tag{{"d", id}}
	head := ""
	for _, r := range refs {
		name, oid, ok := strings.Cut(r, "=")
		if !ok {
			k.t.Fatalf("state: %q is not name=oid", r)
		}
		if name == "HEAD" {
			head = oid
			continue
		}
		if !strings.Contains(name, "/") {
			if head == "" {
				head = name
			}
			name = "refs/heads/" + name
		}
		tags = append(tags, nostr.Tag{name, oid})
	}
	if head != "" {
		tags = append(tags, nostr.Tag{"HEAD", "ref: refs/heads/" + head})
	}
	return k.Sign(grasp.KindState, at, "", tags...)
}

// Coordinate is the a value of owner's repository.
func Coordinate(owner *Key, id string) string { return "30617:" + owner.Pub + ":" + id }

// Pull is an event of kind 1618 for repositories of owners with this identifier.
func (k *Key) Pull(id, tip string, owners ...*Key) *nostr.Event {
	tags := []nostr.Tag{{"subject", "a change"}, {"c", tip}}
	for _, o := range owners {
		tags = append(tags, nostr.Tag{"a", Coordinate(o, id)}, nostr.Tag{"p", o.Pub})
	}
	return k.Sign(grasp.KindPull, 0, "please pull", tags...)
}

// A Conn is a WebSocket to the relay. A goroutine reads it; what nobody waits for is kept.
type Conn struct {
	t    testing.TB
	ws   *websocket.Conn
	in   chan []json.RawMessage
	kept [][]json.RawMessage
	err  error
	subs atomic.Int64
}

// Wait bounds how long a test waits for what must come. It costs nothing where that comes, and is long
// enough for a machine that has much else to do.
const Wait = 2 * time.Minute

// Dial opens a WebSocket that is closed when the test ends.
func (h *House) Dial() *Conn {
	h.t.Helper()
	ws, _, err := websocket.DefaultDialer.Dial(h.RelayURL(), nil)
	if err != nil {
		h.t.Fatalf("dial: %v", err)
	}
	c := &Conn{t: h.t, ws: ws, in: make(chan []json.RawMessage, 10_000)}
	go func() {
		defer close(c.in)
		for {
			_, b, err := ws.ReadMessage()
			if err != nil {
				c.err = err
				return
			}
			var m []json.RawMessage
			if json.Unmarshal(b, &m) == nil {
				c.in <- m
			}
		}
	}()
	h.t.Cleanup(c.Close)
	return c
}

// Close ends the connection.
func (c *Conn) Close() { c.ws.Close() }

// Send writes a message as it is.
func (c *Conn) Send(parts ...any) {
	c.t.Helper()
	b, err := json.Marshal(parts)
	if err != nil {
		c.t.Fatal(err)
	}
	c.SendRaw(string(b))
}

// SendRaw writes a text message.
func (c *Conn) SendRaw(s string) {
	c.t.Helper()
	if err := c.ws.WriteMessage(websocket.TextMessage, []byte(s)); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// WS is the connection itself, for odd frames.
func (c *Conn) WS() *websocket.Conn { return c.ws }

// text returns message m's element i as a string, or "".
func text(m []json.RawMessage, i int) string {
	var s string
	if i < len(m) {
		_ = json.Unmarshal(m[i], &s)
	}
	return s
}

// Next returns the first message, kept or new, that want accepts. It fails the test when none
// comes in time.
func (c *Conn) Next(what string, want func(label string, m []json.RawMessage) bool) []json.RawMessage {
	c.t.Helper()
	m, ok := c.next(time.After(Wait), want)
	if !ok {
		c.t.Fatalf("no %s came (%v)", what, c.err)
	}
	return m
}

func (c *Conn) next(timeout <-chan time.Time, want func(string, []json.RawMessage) bool) ([]json.RawMessage, bool) {
	for i, m := range c.kept {
		if want(text(m, 0), m) {
			c.kept = slices.Delete(c.kept, i, i+1)
			return m, true
		}
	}
	for {
		select {
		case m, ok := <-c.in:
			if !ok {
				return nil, false
			}
			if want(text(m, 0), m) {
				return m, true
			}
			c.kept = append(c.kept, m)
		case <-timeout:
			return nil, false
		}
	}
}

// Publish sends an event and returns the answer.
func (c *Conn) Publish(ev *nostr.Event) (ok bool, message string) {
	c.t.Helper()
	c.Send("EVENT", ev)
	return c.OK(ev.ID)
}

// OK waits for the answer to an event.
func (c *Conn) OK(id string) (ok bool, message string) {
	c.t.Helper()
	m := c.Next("OK", func(l string, m []json.RawMessage) bool { return l == "OK" && text(m, 1) == id })
	_ = json.Unmarshal(m[2], &ok)
	return ok, text(m, 3)
}

// Must publishes events that have to be accepted.
func (c *Conn) Must(events ...*nostr.Event) {
	c.t.Helper()
	for _, ev := range events {
		if ok, msg := c.Publish(ev); !ok {
			c.t.Fatalf("kind %d refused: %s", ev.Kind, msg)
		}
	}
}

// Refused publishes an event that has to be refused with a message that contains want.
func (c *Conn) Refused(ev *nostr.Event, want string) {
	c.t.Helper()
	ok, msg := c.Publish(ev)
	if ok || !strings.Contains(msg, want) {
		c.t.Fatalf("kind %d: got OK %v %q, want a refusal with %q", ev.Kind, ok, msg, want)
	}
}

// Query asks for stored events, newest first.
func (c *Conn) Query(filters ...nostr.Filter) []*nostr.Event {
	c.t.Helper()
	id := c.Subscribe(filters...)
	evs := c.Stored(id)
	c.Send("CLOSE", id)
	return evs
}

// Subscribe opens a subscription and returns its id.
func (c *Conn) Subscribe(filters ...nostr.Filter) string {
	c.t.Helper()
	id := fmt.Sprintf("s%d", c.subs.Add(1))
	msg := []any{"REQ", id}
	for _, f := range filters {
		msg = append(msg, f)
	}
	c.Send(msg...)
	return id
}

// Stored returns what a subscription sends up to its EOSE.
func (c *Conn) Stored(id string) []*nostr.Event {
	c.t.Helper()
	var evs []*nostr.Event
	for {
		m := c.Next("EOSE", func(l string, m []json.RawMessage) bool {
			return (l == "EVENT" || l == "EOSE" || l == "CLOSED") && text(m, 1) == id
		})
		switch text(m, 0) {
		case "EOSE":
			return evs
		case "CLOSED":
			c.t.Fatalf("subscription closed: %s", text(m, 2))
		}
		evs = append(evs, decode(c.t, m[2]))
	}
}

// Live waits for the next event of a subscription.
func (c *Conn) Live(id string) *nostr.Event {
	c.t.Helper()
	m := c.Next("live event", func(l string, m []json.RawMessage) bool { return l == "EVENT" && text(m, 1) == id })
	return decode(c.t, m[2])
}

// Silent fails the test if a subscription has sent something that nobody took. A round trip
// behind it makes sure that whatever was under way has arrived.
func (c *Conn) Silent(id string) {
	c.t.Helper()
	c.Query(nostr.Filter{IDs: []string{strings.Repeat("0", 64)}})
	for _, m := range c.kept {
		if text(m, 0) == "EVENT" && text(m, 1) == id {
			c.t.Fatalf("subscription %s sent %s", id, m[2])
		}
	}
}

func decode(t testing.TB, raw json.RawMessage) *nostr.Event {
	t.Helper()
	ev := &nostr.Event{}
	if err := json.Unmarshal(raw, ev); err != nil {
		t.Fatalf("event: %v", err)
	}
	return ev
}

package relay_test

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/relay"
)

// patience is how long a test waits for a signal that must come.
const patience = 2 * time.Minute

// A memory is a desk and a reader: what is received is served, in order.
type memory struct {
	mu     sync.Mutex
	relay  *relay.Relay
	events map[string]stored
	order  []string // ids as they were published

	verdict func(*nostr.Event) (grasp.Verdict, error) // nil: Accepted
	onQuery func(ctx context.Context, f nostr.Filter)
	sources []string
}

type stored struct {
	ev  *nostr.Event
	raw []byte
}

func (m *memory) Receive(_ context.Context, ev *nostr.Event, raw []byte, source string) (grasp.Verdict, error) {
	m.mu.Lock()
	hook := m.verdict
	m.sources = append(m.sources, source)
	m.mu.Unlock()
	if hook != nil {
		if v, err := hook(ev); err != nil || v == grasp.Held {
			return v, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.events[ev.ID]; ok {
		return grasp.Known, nil
	}
	v := grasp.Passed
	if !nostr.IsEphemeralKind(ev.Kind) {
		m.events[ev.ID] = stored{ev, raw}
		v = grasp.Accepted
	}
	m.order = append(m.order, ev.ID)
	m.relay.Publish(ev, raw)
	return v, nil
}

// onReceive sets what is asked before an event is stored; nil accepts all.
func (m *memory) onReceive(f func(*nostr.Event) (grasp.Verdict, error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.verdict = f
}

// whenAsked sets what runs inside of each query.
func (m *memory) whenAsked(f func(context.Context, nostr.Filter)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.onQuery = f
}

func (m *memory) asked(ctx context.Context, f nostr.Filter) {
	m.mu.Lock()
	hook := m.onQuery
	m.mu.Unlock()
	if hook != nil {
		hook(ctx, f)
	}
}

// put stores without publishing.
func (m *memory) put(evs ...*nostr.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, ev := range evs {
		m.events[ev.ID] = stored{ev, relay.Encode(ev)}
	}
}

func (m *memory) find(fs ...nostr.Filter) []stored {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []stored
	for _, s := range m.events {
		if nostr.Filters(fs).Match(s.ev) {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b stored) int {
		return cmp.Or(cmp.Compare(b.ev.CreatedAt, a.ev.CreatedAt), cmp.Compare(a.ev.ID, b.ev.ID))
	})
	return out
}

func (m *memory) Query(ctx context.Context, f nostr.Filter, each func(grasp.EventID, []byte) bool) error {
	found := m.find(f)
	m.asked(ctx, f)
	if err := ctx.Err(); err != nil {
		return err
	}
	for i, s := range found {
		if i == f.Limit || !each(grasp.EventID(s.ev.ID), s.raw) {
			break
		}
	}
	return nil
}

func (m *memory) Count(ctx context.Context, fs []nostr.Filter) (int64, error) {
	m.asked(ctx, nostr.Filter{})
	return int64(len(m.find(fs...))), ctx.Err()
}

// A house is a relay behind a real HTTP server.
type house struct {
	*memory
	t   testing.TB
	srv *httptest.Server
	url string
}

func open(t testing.TB, change func(*relay.Config)) *house {
	t.Helper()
	return openWith(t, change, func(m *memory) relay.Reader { return m })
}

// openWith is open with a reader of its own over what is received.
func openWith(t testing.TB, change func(*relay.Config), reader func(*memory) relay.Reader) *house {
	t.Helper()
	m := &memory{events: make(map[string]stored)}
	h := &house{memory: m, t: t}
	mux := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Add("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
		if relay.IsUpgrade(req) {
			m.relay.ServeHTTP(w, req)
			return
		}
		m.relay.NIP11(w, req)
	})
	h.srv = httptest.NewServer(mux)
	h.url = "ws" + strings.TrimPrefix(h.srv.URL, "http")
	cfg := relay.Config{
		Now:            time.Now,
		PublicURLs:     []string{"wss://relay.example.com", h.url},
		MaxPerPrefix:   10_000,
		EventBurst:     10_000,
		RequestBurst:   100_000,
		MaxConnections: 10_000,

		PrefixConnectsPerMinute: 1_000_000,
		PrefixRequestsPerSecond: 100_000,
		PrefixRequestBurst:      100_000,
		PrefixEventBurst:        100_000,
	}
	if change != nil {
		change(&cfg)
	}
	m.relay = relay.New(cfg, m, reader(m), slog.New(slog.NewTextHandler(io.Discard, nil)))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := m.relay.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		h.srv.Close()
	})
	return h
}

// A client speaks raw messages.
type client struct {
	t   testing.TB
	ws  *websocket.Conn
	in  chan []any
	err error // once in is closed
}

func (h *house) dial() *client {
	h.t.Helper()
	ws, _, err := websocket.DefaultDialer.Dial(h.url, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.listen(ws)
}

// listen reads what comes on a connection.
func (h *house) listen(ws *websocket.Conn) *client {
	h.t.Helper()
	c := &client{t: h.t, ws: ws, in: make(chan []any, 10_000)}
	go func() {
		defer close(c.in)
		for {
			_, data, err := ws.ReadMessage()
			if err != nil {
				c.err = err
				return
			}
			var m []any
			if err := json.Unmarshal(data, &m); err != nil {
				c.t.Errorf("not JSON: %q", data)
			}
			c.in <- m
		}
	}()
	h.t.Cleanup(func() { ws.Close() })
	return c
}

func (c *client) raw(s string) {
	c.t.Helper()
	if err := c.ws.WriteMessage(websocket.TextMessage, []byte(s)); err != nil {
		c.t.Fatalf("writing: %v", err)
	}
}

func (c *client) send(v ...any) {
	c.t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		c.t.Fatal(err)
	}
	c.raw(string(b))
}

func (c *client) event(ev *nostr.Event) {
	c.t.Helper()
	c.raw(`["EVENT",` + string(relay.Encode(ev)) + `]`)
}

// next returns the next message, or nil if the connection has ended.
func (c *client) next() []any {
	c.t.Helper()
	select {
	case m := <-c.in:
		return m
	case <-time.After(patience):
		c.t.Fatal("nothing came")
		return nil
	}
}

// want reads one message of type verb.
func (c *client) want(verb string) []any {
	c.t.Helper()
	m := c.next()
	if m == nil {
		c.t.Fatalf("connection ended (%v), want %s", c.err, verb)
	}
	if m[0] != verb {
		c.t.Fatalf("got %v, want %s", m, verb)
	}
	return m
}

func (c *client) wantOK(id string, ok bool, text string) {
	c.t.Helper()
	m := c.want("OK")
	if m[1] != id || m[2] != ok || !strings.HasPrefix(m[3].(string), text) || text == "" && m[3] != "" {
		c.t.Fatalf("got %v, want OK %s %v %q", m, id, ok, text)
	}
}

func (c *client) wantClosed(sub, text string) {
	c.t.Helper()
	if m := c.want("CLOSED"); m[1] != sub || !strings.HasPrefix(m[2].(string), text) {
		c.t.Fatalf("got %v, want CLOSED %s %q", m, sub, text)
	}
}

// untilEOSE returns the ids of the events of sub before its EOSE.
func (c *client) untilEOSE(sub string) []string {
	c.t.Helper()
	ids := []string{}
	for {
		switch m := c.next(); {
		case m == nil:
			c.t.Fatalf("connection ended (%v) before EOSE", c.err)
		case m[0] == "EOSE" && m[1] == sub:
			return ids
		case m[0] == "EVENT" && m[1] == sub:
			ids = append(ids, m[2].(map[string]any)["id"].(string))
		default:
			c.t.Fatalf("got %v before EOSE of %s", m, sub)
		}
	}
}

func (c *client) wantEvent(sub, id string) {
	c.t.Helper()
	m := c.want("EVENT")
	if m[1] != sub || m[2].(map[string]any)["id"] != id {
		c.t.Fatalf("got %v, want event %s on %s", m, id, sub)
	}
}

// quiet proves that nothing came: the answer to a COUNT is the next thing to arrive.
func (c *client) quiet() {
	c.t.Helper()
	c.raw(`["COUNT","is it quiet?",{"ids":[]}]`)
	if m := c.next(); m == nil || m[0] != "COUNT" {
		c.t.Fatalf("got %v, want nothing", m)
	}
}

// ended waits for the end of the connection and returns the close code, or 0 if there was none.
func (c *client) ended() int {
	c.t.Helper()
	for {
		if m := c.next(); m == nil {
			break
		}
	}
	if e, ok := c.err.(*websocket.CloseError); ok {
		return e.Code
	}
	return 0
}

const (
	alice = "0000000000000000000000000000000000000000000000000000000000000001"
	bob   = "0000000000000000000000000000000000000000000000000000000000000002"
)

func sign(t testing.TB, key string, ev nostr.Event) *nostr.Event {
	t.Helper()
	if err := ev.Sign(key); err != nil {
		t.Fatal(err)
	}
	return &ev
}

func note(t testing.TB, at int64, text string, tags ...nostr.Tag) *nostr.Event {
	t.Helper()
	return sign(t, alice, nostr.Event{Kind: 1, CreatedAt: nostr.Timestamp(at), Content: text, Tags: tags})
}

var quietLog = slog.New(slog.NewTextHandler(io.Discard, nil))

type eachFunc = func(grasp.EventID, []byte) bool

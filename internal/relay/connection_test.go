package relay_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/fiatjaf/khatru"
	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/relay"
)

// The 101 answer carries the CORS headers of the handler around it, once each (C-01, C-05, checks
// 81–83, 87), and any origin may come.
func TestUpgradeHeaders_C01(t *testing.T) {
	h := open(t, nil)
	ws, res, err := websocket.DefaultDialer.Dial(h.url, http.Header{"Origin": {"https://elsewhere.example"}})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("status %d", res.StatusCode)
	}
	for k, want := range map[string]string{"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "GET, POST, OPTIONS"} {
		if got := res.Header.Values(k); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q", k, got)
		}
	}
	if res.Header.Get("Sec-Websocket-Extensions") != "" {
		t.Error("compression is on by default")
	}
}

func TestBadHandshake(t *testing.T) {
	h := open(t, nil)
	req, _ := http.NewRequest("GET", h.srv.URL, nil)
	req.Header.Set("Connection", "keep-alive, Upgrade")
	req.Header.Set("Upgrade", "WebSocket")
	req.Header.Set("Sec-WebSocket-Version", "12")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusBadRequest || res.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("status %d, headers %v", res.StatusCode, res.Header)
	}
	if n := h.relay.Stats().Connections; n != 0 {
		t.Errorf("%d connections", n)
	}
}

func TestConnectionLimits(t *testing.T) {
	policies := &khatru.Relay{}
	policies.RejectConnection = append(policies.RejectConnection, func(r *http.Request) bool { return r.Header.Get("User-Agent") == "mallory" })
	h := open(t, func(c *relay.Config) {
		c.Policies, c.MaxConnections, c.MaxPerPrefix = policies, 3, 2
		c.Prefix = func(r *http.Request) string { return r.Header.Get("X-Net") }
	})
	try := func(header http.Header) (*websocket.Conn, int) {
		t.Helper()
		ws, res, err := websocket.DefaultDialer.Dial(h.url, header)
		if err != nil && res == nil {
			t.Fatal(err)
		}
		return ws, res.StatusCode
	}
	one := http.Header{"X-Net": {"one"}}
	a, _ := try(one)
	b, _ := try(one)
	defer b.Close()
	if _, status := try(one); status != http.StatusTooManyRequests {
		t.Errorf("third of one network: %d, want 429", status)
	}
	if _, status := try(http.Header{"User-Agent": {"mallory"}}); status != http.StatusTooManyRequests {
		t.Errorf("refused by policy: %d, want 429", status)
	}
	c, _ := try(http.Header{"X-Net": {"two"}})
	defer c.Close()
	if _, status := try(http.Header{"X-Net": {"three"}}); status != http.StatusServiceUnavailable {
		t.Errorf("fourth in all: %d, want 503", status)
	}
	a.Close()
	for { // the place comes back
		ws, status := try(one)
		if ws != nil {
			ws.Close()
			break
		}
		if status != http.StatusTooManyRequests && status != http.StatusServiceUnavailable {
			t.Fatalf("status %d", status)
		}
	}
	if n := h.relay.Stats().ConnectionsRefused; n < 3 {
		t.Errorf("%d refused", n)
	}
}

// The desk hears where an event came from.
func TestSource(t *testing.T) {
	h := open(t, func(c *relay.Config) { c.Prefix = func(*http.Request) string { return "192.0.2.0/24" } })
	c := h.dial()
	c.event(note(t, 1, "x"))
	c.want("OK")
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.sources) != 1 || h.sources[0] != "192.0.2.0/24" {
		t.Errorf("sources %v", h.sources)
	}
}

// Pings are sent and answered; a client that never pongs but speaks stays, a silent one goes
// (N-001).
func TestPings_N001(t *testing.T) {
	h := open(t, func(c *relay.Config) { c.PingEvery, c.Idle = 200*time.Millisecond, 2*time.Second })
	c := h.dial()
	pinged := make(chan struct{}, 100)
	ws, _, err := websocket.DefaultDialer.Dial(h.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	ws.SetPingHandler(func(string) error { pinged <- struct{}{}; return nil }) // never pongs
	pong := make(chan string, 1)
	ws.SetPongHandler(func(s string) error { pong <- s; return nil })
	if err := ws.WriteControl(websocket.PingMessage, []byte("hello"), time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		for {
			if _, _, err := ws.ReadMessage(); err != nil {
				ended <- err
				return
			}
		}
	}()
	if s := <-pong; s != "hello" {
		t.Errorf("pong %q", s)
	}
	for range 3 {
		<-pinged
	}
	select {
	case <-ended: // silent for two seconds
	case <-time.After(patience):
		t.Error("a silent client was kept")
	}
	c.quiet() // its library answers pings: it is still there
}

func TestPingFlood(t *testing.T) {
	var now clock
	h := open(t, func(c *relay.Config) { c.Now = now.now })
	c := h.dial()
	for range 30 {
		c.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second))
	}
	if code := c.ended(); code != websocket.ClosePolicyViolation {
		t.Errorf("close code %d, want 1008", code)
	}
}

// A client that does not read is closed; nobody waits for it, and the others get everything in
// order (hardening §10, slow readers).
func TestSlowReader(t *testing.T) {
	h := open(t, func(c *relay.Config) { c.QueueBytes, c.MaxStateEvent, c.MaxEvent = 64<<10, 64<<10, 64<<10 })
	slow, err := net.Dial("tcp", strings.TrimPrefix(h.srv.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	slow.(*net.TCPConn).SetReadBuffer(4 << 10)
	ws, _, err := (&websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return slow, nil }}).Dial(h.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := ws.WriteMessage(websocket.TextMessage, []byte(`["REQ","s",{"kinds":[1]}]`)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ws.ReadMessage(); err != nil { // EOSE; from here on it does not read
		t.Fatal(err)
	}
	var clients []*client
	for range 5 {
		c := h.dial()
		c.raw(`["REQ","s",{"kinds":[1]}]`)
		c.untilEOSE("s")
		clients = append(clients, c)
	}
	text := strings.Repeat("x", 20_000)
	for n := 0; h.relay.Stats().Slow == 0; n++ {
		if n == 20_000 {
			t.Fatal("400 MB and nobody was given up")
		}
		ev := &nostr.Event{ID: fmt.Sprintf("%064x", n), Kind: 1, CreatedAt: 1, Tags: nostr.Tags{}, Content: text}
		h.relay.Publish(ev, nil)
		for _, c := range clients {
			c.wantEvent("s", ev.ID)
		}
	}
	for h.relay.Stats().Connections != 5 {
		clients[0].quiet()
	}
}

// A slow client that asks for much is waited for, not given up.
func TestBigAnswerToSlowClient(t *testing.T) {
	h := open(t, func(c *relay.Config) { c.QueueBytes = 64 << 10 })
	for i := range 300 {
		h.put(note(t, int64(i), strings.Repeat("x", 40_000)))
	}
	c := h.dial()
	c.raw(`["REQ","s",{}]`)
	if got := c.untilEOSE("s"); len(got) != 300 {
		t.Errorf("%d events, want 300", len(got))
	}
}

// Large messages share the memory set aside for them: one that finds none waits its turn, small
// ones pass by.
func TestUploadsShareMemory(t *testing.T) {
	h := open(t, func(c *relay.Config) { c.MaxMessage, c.MaxUploads = 1<<20, 1<<20 })
	first, second, small := h.dial(), h.dial(), h.dial()
	evs := [2]*nostr.Event{note(t, 1, strings.Repeat("x", 200_000)), note(t, 2, strings.Repeat("x", 200_000))}
	w, err := first.ws.NextWriter(websocket.TextMessage)
	if err != nil {
		t.Fatal(err)
	}
	text := `["EVENT",` + string(relay.Encode(evs[0])) + `]`
	io.WriteString(w, text[:150_000]) // holds its share
	second.event(evs[1])
	small.event(note(t, 3, "small"))
	if m := small.want("OK"); m[2] != true {
		t.Errorf("a small message: %v", m)
	}
	io.WriteString(w, text[150_000:])
	w.Close()
	first.wantOK(evs[0].ID, true, "")
	second.wantOK(evs[1].ID, true, "")
	for range 20 { // nothing is lost of it
		second.event(evs[1])
		second.wantOK(evs[1].ID, true, "duplicate:")
	}
}

// Shutdown lets the message at hand finish and says 1001 to everybody (architecture §8).
func TestShutdown(t *testing.T) {
	h := open(t, nil)
	in, finish := make(chan struct{}), make(chan struct{})
	h.onReceive(func(*nostr.Event) (grasp.Verdict, error) {
		close(in)
		<-finish
		return grasp.Accepted, nil
	})
	a, b := h.dial(), h.dial()
	a.raw(`["REQ","s",{}]`)
	a.untilEOSE("s")
	ev := note(t, 1, "last")
	b.event(ev)
	<-in
	done := make(chan error)
	go func() { done <- h.relay.Shutdown(context.Background()) }()
	m := a.next() // the others do not wait for b
	if m != nil {
		t.Errorf("got %v", m)
	}
	if e, ok := a.err.(*websocket.CloseError); !ok || e.Code != websocket.CloseGoingAway {
		t.Errorf("a ended with %v, want 1001", a.err)
	}
	if _, res, err := websocket.DefaultDialer.Dial(h.url, nil); err == nil || res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a new connection while closing: %v", err)
	}
	close(finish)
	b.wantOK(ev.ID, true, "")
	if code := b.ended(); code != websocket.CloseGoingAway {
		t.Errorf("b: close code %d, want 1001", code)
	}
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if s := h.relay.Stats(); s.Connections != 0 || s.Subscriptions != 0 || s.FilterBytes != 0 {
		t.Errorf("left behind: %+v", s)
	}
}

// Shutdown with no time left cuts off, and cancels what the desk is working on.
func TestShutdownDeadline(t *testing.T) {
	m := &memory{events: map[string]stored{}}
	in := make(chan struct{})
	r := relay.New(relay.Config{Now: time.Now}, stubborn{in}, m, quietLog)
	m.relay = r
	srv := http.Server{Handler: r}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(l)
	defer srv.Close()
	ws, _, err := websocket.DefaultDialer.Dial("ws://"+l.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	ws.WriteMessage(websocket.TextMessage, []byte(`["EVENT",`+string(relay.Encode(note(t, 1, "x")))+`]`))
	<-in
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.Shutdown(ctx); err != context.Canceled {
		t.Errorf("Shutdown: %v", err)
	}
	if n := r.Stats().Connections; n != 0 {
		t.Errorf("%d connections left", n)
	}
}

type stubborn struct{ in chan struct{} }

func (s stubborn) Receive(ctx context.Context, _ *nostr.Event, _ []byte, _ string) (grasp.Verdict, error) {
	close(s.in)
	<-ctx.Done()
	return 0, ctx.Err()
}

func TestCompression(t *testing.T) {
	h := open(t, func(c *relay.Config) { c.Compression = true })
	ws, res, err := (&websocket.Dialer{EnableCompression: true}).Dial(h.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	if !strings.Contains(res.Header.Get("Sec-Websocket-Extensions"), "permessage-deflate") {
		t.Error("not negotiated")
	}
	ev := note(t, 1, strings.Repeat("x", 100_000))
	ws.WriteMessage(websocket.TextMessage, []byte(`["EVENT",`+string(relay.Encode(ev))+`]`))
	ws.WriteMessage(websocket.TextMessage, []byte(`["REQ","s",{}]`))
	ws.WriteMessage(websocket.TextMessage, []byte(strings.Repeat(" ", 5<<20))) // 5 KiB on the wire
	for _, want := range []string{`["OK","` + ev.ID + `",true,""]`, `["EVENT","s",` + string(relay.Encode(ev)) + `]`, `["EOSE","s"]`, `["NOTICE","invalid: message is larger`} {
		if _, data, err := ws.ReadMessage(); err != nil || !strings.HasPrefix(string(data), want) {
			t.Fatalf("got %.100q, %v", data, err)
		}
	}
}

// Hundreds of clients come and go while events are published; whoever stays misses nothing and
// sees one order.
func TestChurn(t *testing.T) {
	h := open(t, nil)
	const total = 1000
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 20 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				ws, _, err := websocket.DefaultDialer.Dial(h.url, nil)
				if err != nil {
					continue
				}
				for i := range 5 {
					ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `["REQ","%d",{"kinds":[1,%d]},{"#t":["x"],"limit":3}]`, i%3, i))
				}
				for range 3 + n%5 {
					ws.ReadMessage()
				}
				if w%2 == 0 {
					ws.WriteControl(websocket.CloseMessage, nil, time.Now().Add(time.Second))
				}
				ws.Close()
			}
		})
	}
	var steady []*client
	for range 3 {
		c := h.dial()
		c.raw(`["REQ","s",{"kinds":[1]}]`)
		c.untilEOSE("s")
		steady = append(steady, c)
	}
	go func() {
		for i := range total {
			ev := &nostr.Event{ID: fmt.Sprintf("%064x", i), Kind: 1, CreatedAt: nostr.Timestamp(i), Tags: nostr.Tags{{"t", "x"}}}
			h.put(ev)
			h.relay.Publish(ev, nil)
		}
	}()
	for i := range total {
		for _, c := range steady {
			c.wantEvent("s", fmt.Sprintf("%064x", i))
		}
	}
	for h.relay.Stats().ConnectionsTotal < 300 {
		steady[0].quiet()
	}
	close(stop)
	wg.Wait()
	for h.relay.Stats().Connections != 3 {
		steady[0].quiet()
	}
	if n := h.relay.Stats().Subscriptions; n != 3 {
		t.Errorf("%d subscriptions left, want 3", n)
	}
}

// Package housetest starts the whole server inside a test, and gives the people who visit it:
// keys that sign, WebSockets that publish and listen, working copies that push and clone with the
// git that is installed.
package housetest

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/server"
)

// A House is a running server with its data in a temporary folder.
type House struct {
	t     testing.TB
	cfg   config.Config
	srv   *server.Server
	stop  context.CancelFunc
	done  chan error
	Clock *Clock
	URL   string // http://127.0.0.1:port
	Host  string // 127.0.0.1:port
}

// Start runs a server until the test ends. change may alter its configuration first.
func Start(t testing.TB, change ...func(*config.Config)) *House {
	t.Helper()
	cfg := config.Default()
	cfg.Listen = ownAddr(t)
	cfg.Data = t.TempDir()
	cfg.Shutdown = 5 * time.Second
	cfg.Limits.EventsPerMinute = 100_000
	cfg.Limits.EventBurst = 100_000
	cfg.Sync.Enabled = false // what tests announce is nowhere else; see Together
	for _, c := range change {
		c(&cfg)
	}
	h := &House{t: t, cfg: cfg, Clock: &Clock{tick: make(chan time.Time)}}
	h.start()
	t.Cleanup(h.Stop)
	return h
}

// ports are those that this process gave to a house: it may be down for a moment, and finds its own free
// again.
var ports struct {
	sync.Mutex
	given map[int]bool
}

// ownAddr returns an address that nobody listens on and no other house of this process has, below the
// ports that the system gives to connections. Other processes mostly look elsewhere.
func ownAddr(t testing.TB) string {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.given == nil {
		ports.given = map[int]bool{}
	}
	for i := range 4000 {
		port := 10_000 + rand.IntN(20_000)
		if i < 2000 { // a part of them for each process
			port = 10_000 + os.Getpid()%20*1000 + rand.IntN(1000)
		}
		if ports.given[port] {
			continue
		}
		addr := "127.0.0.1:" + strconv.Itoa(port)
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			ports.given[port] = true
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

func (h *House) start() {
	h.t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if os.Getenv("GITROOST_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	ctx, cancel := context.WithCancel(context.Background())
	srv, err := server.New(ctx, h.cfg, log, server.WithClock(h.Clock.Now, h.Clock.tick))
	for end := time.Now().Add(Wait); err != nil && strings.Contains(err.Error(), "address already in use") && time.Now().Before(end); {
		if h.srv == nil {
			h.cfg.Listen = ownAddr(h.t) // another house was faster
		} else {
			time.Sleep(20 * time.Millisecond) // somebody looks whether it is free
		}
		srv, err = server.New(ctx, h.cfg, log, server.WithClock(h.Clock.Now, h.Clock.tick))
	}
	if err != nil {
		cancel()
		h.t.Fatalf("start: %v", err)
	}
	h.srv, h.stop, h.done = srv, cancel, make(chan error, 1)
	h.Host = srv.Addr()
	h.URL = "http://" + h.Host
	// A restarted house keeps its address: announcements name it.
	h.cfg.Listen = h.Host
	go func() { h.done <- srv.Run(ctx) }()
	<-srv.Ready()
}

// Stop ends the server and waits for it. It may be called twice.
func (h *House) Stop() {
	h.t.Helper()
	if h.stop == nil {
		return
	}
	h.stop()
	h.stop = nil
	if err := <-h.done; err != nil {
		h.t.Errorf("server ended with %v", err)
	}
}

// Restart stops the server and starts it again on the same data and address. between, if not nil,
// is called while it is down.
func (h *House) Restart(between func(data string)) {
	h.t.Helper()
	h.Stop()
	client.CloseIdleConnections() // a POST on one that the server has closed would fail
	if between != nil {
		between(h.cfg.Data)
	}
	h.start()
}

// Data is the server's data folder.
func (h *House) Data() string { return h.cfg.Data }

// Sweep lets the desk look for what has waited too long, and returns when it is done.
func (h *House) Sweep() {
	// The second tick is taken only when the first was worked through.
	h.Clock.tick <- h.Clock.Now()
	h.Clock.tick <- h.Clock.Now()
}

// Repo returns the address at which owner's repository is served.
func (h *House) Repo(owner *Key, id string) string {
	return h.URL + "/" + owner.Npub + "/" + url.PathEscape(id) + ".git"
}

// RelayURL is the address of the relay.
func (h *House) RelayURL() string { return "ws" + strings.TrimPrefix(h.URL, "http") }

// Get fetches a path or URL. header is name, value, name, value….
func (h *House) Get(target string, header ...string) (*http.Response, string) {
	h.t.Helper()
	return h.Do(http.MethodGet, target, nil, header...)
}

// Do makes a request without following redirects, and reads the whole answer.
func (h *House) Do(method, target string, body io.Reader, header ...string) (*http.Response, string) {
	h.t.Helper()
	if strings.HasPrefix(target, "/") {
		target = h.URL + target
	}
	req, err := http.NewRequest(method, target, body)
	if err != nil {
		h.t.Fatalf("request: %v", err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, target, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatalf("%s %s: reading the answer: %v", method, target, err)
	}
	return resp, string(b)
}

var client = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 16},
}

// A Clock runs with the real one, and can be put forward.
type Clock struct {
	mu    sync.Mutex
	ahead time.Duration
	tick  chan time.Time
}

// Now is the time in the house.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

// Advance puts the clock forward.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

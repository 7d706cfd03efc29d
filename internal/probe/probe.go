// Package probe tells a visitor how their own request arrived here: what a proxy on the way made of its
// path, its headers and its body, and whether it passed things on as they came. gitroost doctor asks it
// through the public address.
//
// It tells nothing that the visitor did not send, but for the kind of address that their limits count
// for, and it keeps nothing: what is noted of a call is forgotten when the call ends. It refuses to know
// what is asked of the rest of the house.
package probe

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Path is where probes are answered, and everything below it.
const Path = "/.well-known/gitroost/arrival"

// Limits of one call, and of all.
const (
	maxBody  = 8 << 20          // bytes that are read of a body
	maxCalls = 16               // requests that are answered at a time
	maxWait  = 60 * time.Second // that one request may wait for another
	maxTime  = 60 * time.Second // that a body may take
)

// An Arrival is how a request arrived.
type Arrival struct {
	Path        string `json:"path"` // escaped, as it stood in the request line
	Host        string `json:"host"`
	GitProtocol string `json:"git_protocol,omitempty"`
	Encoding    string `json:"content_encoding,omitempty"`
	Chunked     bool   `json:"chunked,omitempty"`
	Bytes       int64  `json:"bytes"`            // of the body, as they arrived
	Hash        string `json:"hash,omitempty"`   // SHA-256 of these, in hex
	Scheme      string `json:"scheme,omitempty"` // what the proxy says that the visitor used
	Sender
	From string `json:"from"` // whom limits count this for: "this computer", "a private network", "the world"
}

// A Sender is on whose behalf a request was made.
type Sender struct {
	Address   netip.Addr `json:"-"`         // whom limits count it for
	Forwarded bool       `json:"forwarded"` // somebody said that they speak for another
	Trusted   bool       `json:"trusted"`   // and is believed
}

// Config is what a Handler is told. Both fields are required.
type Config struct {
	Sender func(r *http.Request) Sender

	// After returns a channel that is sent to after d, as time.After does.
	After func(d time.Duration) <-chan time.Time
}

// A Handler answers below Path. It is safe for concurrent use.
type Handler struct {
	cfg   Config
	turns chan struct{}

	mu    sync.Mutex
	calls map[string]*call // by the name that the visitor gave; as many as there are turns, at most
}

// A call is what two requests of one visitor have in common.
type call struct {
	began chan struct{} // closed when the first byte of the one that sends is here
	free  chan struct{} // closed when the one that waits may go on
	users int
}

// New returns a Handler.
func New(cfg Config) *Handler {
	return &Handler{cfg: cfg, turns: make(chan struct{}, maxCalls), calls: map[string]*call{}}
}

// Match reports whether an escaped path is a probe's.
func Match(path string) bool { return path == Path || strings.HasPrefix(path, Path+"/") }

// ServeHTTP answers a GET or POST with an Arrival. With the query part=…&call=<name> two requests speak of one
// call: "body" notes when its first byte is here, "seen" waits for that and answers 200 or 404, "stream"
// answers with a first line at once and a second when "go" comes. They wait for wait=<duration>, a minute at most.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store, no-transform")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST, OPTIONS")
		http.Error(w, "method not allowed here; use GET or POST", http.StatusMethodNotAllowed)
		return
	}
	select {
	case h.turns <- struct{}{}:
		defer func() { <-h.turns }()
	default:
		w.Header().Set("Retry-After", "5")
		http.Error(w, "others are looking how their requests arrive; try again in some seconds", http.StatusServiceUnavailable)
		return
	}
	q := r.URL.Query()
	name, part := q.Get("call"), q.Get("part")
	if len(name) > 64 {
		http.Error(w, "the name of a call has 64 bytes at most", http.StatusBadRequest)
		return
	}
	wait, err := time.ParseDuration(q.Get("wait"))
	if wait = min(wait, maxWait); err != nil || wait < 0 {
		wait = 3 * time.Second
	}
	c := h.join(name)
	defer h.leave(name, c)
	switch part {
	case "", "body":
		h.arrival(w, r, c, part == "body")
	case "seen":
		if !h.wait(r.Context(), c.began, wait) {
			http.Error(w, "nothing has arrived yet", http.StatusNotFound)
		}
	case "go":
		once(&h.mu, c.free)
	case "stream":
		h.stream(w, r, c, wait)
	default:
		http.Error(w, "there is no such part", http.StatusBadRequest)
	}
}

// join returns what is known of a call. One without a name is nobody else's.
func (h *Handler) join(name string) *call {
	fresh := &call{began: make(chan struct{}), free: make(chan struct{})}
	if name == "" {
		return fresh
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.calls[name]
	if c == nil {
		c = fresh
		h.calls[name] = c
	}
	c.users++
	return c
}

func (h *Handler) leave(name string, c *call) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.users--; c.users <= 0 {
		delete(h.calls, name)
	}
}

// once closes c if it is open.
func once(mu *sync.Mutex, c chan struct{}) {
	mu.Lock()
	defer mu.Unlock()
	select {
	case <-c:
	default:
		close(c)
	}
}

// wait reports whether c is closed before d is over.
func (h *Handler) wait(ctx context.Context, c <-chan struct{}, d time.Duration) bool {
	select {
	case <-c:
		return true
	case <-ctx.Done():
	case <-h.cfg.After(d):
	}
	return false
}

// arrival reads the body and tells how all of it arrived.
func (h *Handler) arrival(w http.ResponseWriter, r *http.Request, c *call, note bool) {
	ctl := http.NewResponseController(w)
	end := h.cfg.After(maxTime)
	sum, buf := sha256.New(), make([]byte, 32<<10)
	a := Arrival{
		Path: short(r.URL.EscapedPath()), Host: short(r.Host), GitProtocol: short(r.Header.Get("Git-Protocol")),
		Encoding: short(r.Header.Get("Content-Encoding")), Chunked: len(r.TransferEncoding) > 0,
		Scheme: short(r.Header.Get("X-Forwarded-Proto")), Sender: h.cfg.Sender(r),
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case t := <-end:
			_ = ctl.SetReadDeadline(t) // which is past by now: the read ends
		case <-ended:
		}
	}()
	for {
		n, err := r.Body.Read(buf)
		if n > 0 && note {
			once(&h.mu, c.began)
		}
		a.Bytes += int64(n)
		sum.Write(buf[:n])
		if a.Bytes > maxBody {
			http.Error(w, "a probe has 8 MiB at most", http.StatusRequestEntityTooLarge)
			return
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			http.Error(w, "the body did not arrive whole", http.StatusBadRequest)
			return
		}
	}
	if a.Bytes > 0 {
		a.Hash = hex.EncodeToString(sum.Sum(nil))
	}
	a.From = kind(a.Address)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(a) // whoever asked has gone if it fails
}

// stream answers in two parts, the second when somebody who has read the first says so.
func (h *Handler) stream(w http.ResponseWriter, r *http.Request, c *call, wait time.Duration) {
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = io.WriteString(w, "first\n")
	if err := http.NewResponseController(w).Flush(); err != nil {
		return
	}
	if h.wait(r.Context(), c.free, wait) {
		_, _ = io.WriteString(w, "freed\n")
	} else {
		_, _ = io.WriteString(w, "waited\n")
	}
}

// kind says what an address is.
func kind(a netip.Addr) string {
	switch {
	case a.IsLoopback():
		return "this computer"
	case a.IsPrivate(), a.IsLinkLocalUnicast(), !a.IsValid():
		return "a private network"
	}
	return "the world"
}

func short(s string) string { return s[:min(len(s), 512)] }

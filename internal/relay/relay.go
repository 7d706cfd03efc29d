// Package relay is the Nostr door: WebSocket sessions, live subscriptions and the NIP-11
// document. Events come in here and are handed to a Desk; what is stored is asked of a Reader;
// what becomes visible is brought by Publish. Policies are khatru's, hook for hook; the session,
// the parser and the dispatcher are ours (docs/decisions/0003-websocket-sessions.md).
//
// It knows NIP-01, 11, 42, 45, 50, 70 and 77 as they look on a connection. It refuses to know SQL, git,
// which events are related to what, and what waits: an event that must not be seen is not in the
// Reader and is not published.
//
// A connection is three goroutines. The reader takes messages off the wire while there is room
// for them; the worker answers them one after another, in order; the writer empties a bounded
// queue. Publish never waits for any of them: a client whose queue is full is given up.
package relay

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sync/semaphore"

	"github.com/gitroost/gitroost/grasp"
)

// A Desk decides about events.
type Desk interface {
	// Receive takes an event whose shape, id and signature are good. raw is its canonical JSON
	// (see Encode); source is the network prefix it came from. A *grasp.Refusal and a
	// *fault.Error are answered as OK false; whatever must be broadcast comes back by Publish.
	Receive(ctx context.Context, ev *nostr.Event, raw []byte, source string) (grasp.Verdict, error)
}

// A Reader answers from what is served. Waiting events are none of its answers (N-045).
type Reader interface {
	// Query calls each with the served events that match f, newest first, ties by lowest id, at
	// most f.Limit of them (which is always set), until each returns false; if f has a search, what
	// fits best comes first. raw is the canonical JSON; it is kept, so it must not change later. It
	// returns once ctx is done.
	Query(ctx context.Context, f nostr.Filter, each func(id grasp.EventID, raw []byte) bool) error

	// Count returns how many served events match at least one of fs, whose limits are not set.
	Count(ctx context.Context, fs []nostr.Filter) (int64, error)
}

// A Relay serves WebSocket clients. Make one with New; all its methods may be called at once.
type Relay struct {
	cfg      Config
	desk     Desk
	reader   Reader
	log      *slog.Logger
	up       websocket.Upgrader
	d        *dispatcher
	crier    *crier
	late     *crier // of those in the lane
	recs     *reconciliations
	document atomic.Pointer[[]byte] // of NIP-11; replaced as a whole
	hosts    map[string]struct{}    // authorities of the public URLs
	bounds   bounds
	n        counters
	hits     hits

	verify   *turns
	queries  *turns
	searches *turns // of the queries that search, so that others need not wait for them
	lane     *lane
	uploads  *semaphore.Weighted
	queued   pool

	// work is the context in which events are received: an event goes to its end even if its
	// client leaves. fire cancels it when Shutdown has no time left.
	work context.Context
	fire context.CancelFunc

	// mu guards the rest.
	mu       sync.Mutex
	closing  bool
	sessions map[*session]struct{}
	taken    int // connections, those still shaking hands included
	accounts accounts
	wg       sync.WaitGroup // one for each of taken
}

// New returns a relay that hands events to desk and asks reader for stored ones. If reader is a
// Keyer as well, NIP-77 is spoken. It starts
// nothing; each connection starts its goroutines and Shutdown waits for them.
func New(cfg Config, desk Desk, reader Reader, log *slog.Logger) *Relay {
	cfg = cfg.withDefaults()
	r := &Relay{
		cfg:      cfg,
		desk:     desk,
		reader:   reader,
		log:      log,
		d:        newDispatcher(),
		crier:    newCrier(),
		late:     newCrier(),
		hosts:    make(map[string]struct{}),
		bounds:   bounds{filters: cfg.MaxFilters, values: cfg.MaxValues, tags: cfg.MaxTags, event: max(cfg.MaxStateEvent, cfg.MaxEvent), search: cfg.Search},
		uploads:  semaphore.NewWeighted(int64(cfg.MaxUploads)),
		sessions: make(map[*session]struct{}),
		queued:   pool{most: cfg.MaxQueued},
	}
	r.verify = newTurns(cfg.Verifiers, cfg.Now)
	r.queries = newTurns(cfg.MaxQueries, cfg.Now)
	r.searches = newTurns(cfg.MaxSearches, cfg.Now)
	r.lane = newLane(cfg.GreedyShare, cfg.Now)
	r.late.lane, r.late.acct, r.late.hits = r.lane, newAccount(&r.cfg, ""), &r.hits
	r.recs = newReconciliations(cfg, reader, newTurns(negLoads, cfg.Now))
	r.accounts = accounts{cfg: &r.cfg, by: make(map[string]*account)}
	r.SetInfo(cfg.Info)
	r.work, r.fire = context.WithCancel(context.Background())
	for _, u := range cfg.PublicURLs {
		if a, ok := authority(u); ok {
			r.hosts[a] = struct{}{}
		}
	}
	buffers := new(sync.Pool)
	r.up = websocket.Upgrader{
		// Of size 0, the reader is the one that the HTTP server made; the writer's is lent.
		HandshakeTimeout:  10 * time.Second,
		WriteBufferSize:   4096,
		WriteBufferPool:   buffers,
		CheckOrigin:       func(*http.Request) bool { return true }, // anybody may read
		EnableCompression: cfg.Compression,
		Error: func(w http.ResponseWriter, _ *http.Request, status int, reason error) {
			http.Error(w, reason.Error(), status)
		},
	}
	return r
}

// IsUpgrade reports whether req asks to become a WebSocket.
func IsUpgrade(req *http.Request) bool { return websocket.IsWebSocketUpgrade(req) }

// ServeHTTP upgrades req to a WebSocket session and returns; the session goes on by itself. The
// Access-Control headers already set on w are put on the 101 answer, once each (N-001, C-01, C-05).
// A request over a limit is answered 429 or 503, one that is no handshake 4xx.
func (r *Relay) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	slim := r.slim(req)
	for _, reject := range r.cfg.Policies.RejectConnection {
		if reject(slim) {
			r.turnAway(w, http.StatusTooManyRequests, "connection refused by policy")
			return
		}
	}
	prefix := r.cfg.Prefix(req)
	acct, status, why := r.admit(prefix)
	if status != 0 {
		r.turnAway(w, status, why)
		return
	}
	header := http.Header{}
	for k, v := range w.Header() {
		if strings.HasPrefix(k, "Access-Control-") && len(v) > 0 {
			header[k] = v[:1]
		}
	}
	door := &hijacker{ResponseWriter: w, r: r, acct: acct}
	ws, err := r.up.Upgrade(door, req, header)
	if err != nil {
		r.leave(nil, acct)
		r.log.Debug("websocket handshake failed", "err", err)
		return
	}
	s := r.newSession(ws, door.conn, slim, acct)
	door.conn.ctx = s.ctx
	r.mu.Lock()
	r.sessions[s] = struct{}{}
	if r.closing {
		s.sayGoodbye()
	}
	r.mu.Unlock()
	go s.run()
}

func (r *Relay) turnAway(w http.ResponseWriter, status int, why string) {
	r.n.connectionsRefused.Add(1)
	w.Header().Set("Retry-After", "30")
	http.Error(w, why, status)
}

// admit takes a place for one connection, or returns why there is none.
func (r *Relay) admit(prefix string) (acct *account, status int, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing {
		return nil, http.StatusServiceUnavailable, "shutting down"
	}
	if r.taken >= r.cfg.MaxConnections {
		r.hits.add(hitConnections)
		return nil, http.StatusServiceUnavailable, "too many connections"
	}
	acct = r.accounts.enter(prefix)
	switch {
	case prefix != "" && acct.conns > r.cfg.MaxPerPrefix:
		r.hits.add(hitPrefixConns)
		why = "too many connections from your network"
	case !acct.spend(&acct.connects):
		r.hits.add(hitPrefixConnects)
		why = "too many new connections from your network, try again in a minute"
	default:
		acct.worked(connectWork)
		r.taken++
		r.wg.Add(1)
		r.n.connections.Add(1)
		r.n.connectionsTotal.Add(1)
		return acct, 0, ""
	}
	r.accounts.leave(acct)
	return nil, http.StatusTooManyRequests, why
}

// leave gives the place back.
func (r *Relay) leave(s *session, acct *account) {
	r.mu.Lock()
	delete(r.sessions, s)
	r.taken--
	r.accounts.leave(acct)
	r.mu.Unlock()
	r.n.connections.Add(-1)
	r.wg.Done()
}

// Publish sends a served or ephemeral event to the live subscriptions it matches, once to each.
// It never waits for a client and calls nothing outside this room, so it may be called under a
// lock; calls in commit order keep that order on every connection. raw is the canonical JSON and
// must not change later; nil means Encode(ev).
func (r *Relay) Publish(ev *nostr.Event, raw []byte) {
	if raw == nil {
		raw = Encode(ev)
	}
	r.n.published.Add(1)
	a := arrival{key: keyOf(ev.ID), raw: raw}
	told := 0
	r.d.each(ev, func(s *subscription) {
		s.deliver(a, told >= cryAtOnce)
		told++
	})
}

// Expel closes the connections from addresses that gone says yes to, as policy violations. Addresses
// are as Config.Address tells them.
func (r *Relay) Expel(gone func(address string) bool, why string) {
	r.mu.Lock()
	var list []*session
	for s := range r.sessions {
		if host, _, err := net.SplitHostPort(s.policy.req.RemoteAddr); err == nil && gone(host) {
			list = append(list, s)
		}
	}
	r.mu.Unlock()
	for _, s := range list {
		s.end(websocket.ClosePolicyViolation, why)
	}
}

// Shutdown takes no more connections, lets each finish the message it is working on, says goodbye
// with close code 1001 and waits until all are gone. When ctx is done the rest is cut off, and
// its error returned.
func (r *Relay) Shutdown(ctx context.Context) error {
	r.mu.Lock()
	r.closing = true
	for s := range r.sessions {
		s.sayGoodbye()
	}
	r.mu.Unlock()
	gone := make(chan struct{})
	go func() {
		r.wg.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		r.fire()
		return nil
	case <-ctx.Done():
	}
	r.fire()
	r.mu.Lock()
	for s := range r.sessions {
		s.cancel()
	}
	r.mu.Unlock()
	// A Desk that heeds its context returns now; one that does not is not waited for.
	select {
	case <-gone:
	case <-time.After(time.Second):
	}
	return ctx.Err()
}

// authority returns the host, with its port unless that is the scheme's own, of a URL.
func authority(raw string) (string, bool) {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" {
		return "", false
	}
	host, port := strings.TrimSuffix(strings.ToLower(u.Hostname()), "."), u.Port()
	switch {
	case (u.Scheme == "ws" || u.Scheme == "http") && port == "80",
		(u.Scheme == "wss" || u.Scheme == "https") && port == "443":
		port = ""
	}
	return net.JoinHostPort(host, port), true
}

// remoteHost is the address of the TCP connection.
func remoteHost(req *http.Request) string {
	host, _, err := net.SplitHostPort(req.RemoteAddr)
	if err != nil {
		return req.RemoteAddr
	}
	return host
}

// Package syncer brings in events from other relays (GRASP-02): from each relay that an
// announcement held here names, what it has of these repositories, once in full and from then on as
// it happens.
//
// It is pull only, and it decides nothing: a peer is just another caller of the same desk, with the
// same checks and the limits of any visitor. A peer that fails is left alone for longer and longer; none
// holds up another.
//
//	syncer.go  what it needs, and who does what when   roster.go   which repositories, which peers
//	peer.go    one peer, from try to try               mood.go     how long it is left alone
//	session.go one connection                          message.go  what it says
//	filters.go what is asked for                       live.go     what is asked for from now on
//	history.go what is asked for once                  ingest.go   what becomes of an event
//	memory.go  what was refused, so that it is not fetched again
//	outbox.go  who takes part, and where they write (GRASP-03)
//	status.go  what it tells of itself
//
// It refuses to know SQL, git, how addresses are resolved, and what the rules are.
package syncer

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

// A Door is how events come in: the one that everybody else's come through as well. Its methods are
// safe for concurrent use.
type Door interface {
	// Parse reads an event as strictly as one of a client. The error is for people.
	Parse(raw string) (*nostr.Event, error)

	// Take hands in an event that peer sent, of so many bytes. The error is a fault.Invalid if
	// nobody can have signed such an event, a *grasp.Refusal if the rules say no, and anything else
	// if it may be tried again.
	Take(ctx context.Context, ev *nostr.Event, size int, peer string) (grasp.Verdict, error)
}

// A Library knows what is here. Its methods are safe for concurrent use.
type Library interface {
	// Announcements calls each with the announcements on either shelf behind after, in the order of
	// arrival and at most limit of them, with the number of each.
	Announcements(ctx context.Context, after int64, limit int, each func(seq int64, a Announced)) error

	// AnnouncementsOf is the same for one identifier.
	AnnouncementsOf(ctx context.Context, id string, each func(a Announced)) error

	// Keys calls each with the id and created_at of the served events that match one of fs.
	Keys(ctx context.Context, fs []nostr.Filter, each func(id grasp.EventID, at int64) bool) error

	// Unknown returns which of ids are on neither shelf.
	Unknown(ctx context.Context, ids []grasp.EventID) ([]grasp.EventID, error)
}

// An Announced is an announcement that is held here.
type Announced struct {
	Event  *nostr.Event
	Served bool
}

// A Notebook remembers over restarts. Losing it costs requests, and nothing else.
type Notebook interface {
	// Peers returns what was written of each peer.
	Peers(ctx context.Context) ([]Record, error)

	// WritePeer replaces what was written of r.URL. A zero Record but for its URL is removed.
	WritePeer(ctx context.Context, r Record) error

	// Refusals returns what was written, the oldest first, at most limit.
	Refusals(ctx context.Context, limit int) ([]Refusal, error)

	// WriteRefusals adds and removes.
	WriteRefusals(ctx context.Context, add []Refusal, remove []grasp.EventID) error
}

// A Dialer is the only way out. It resolves names, refuses private addresses, and follows no
// redirects (hardening §9).
type Dialer interface {
	// Relay opens a WebSocket. The error is a fault: Refused or NotFound if there is no use in trying again
	// soon, otherwise anything.
	Relay(ctx context.Context, url string) (Line, error)

	// Document fetches what the relay tells of itself (NIP-11), at most limit bytes.
	Document(ctx context.Context, url string, limit int64) ([]byte, error)
}

// A Line is an open WebSocket, as the library that everybody uses has it. One goroutine reads and one
// writes; Close and control messages may come from any.
type Line interface {
	NextReader() (kind int, r io.Reader, err error)
	WriteMessage(kind int, data []byte) error
	WriteControl(kind int, data []byte, deadline time.Time) error
	SetReadLimit(limit int64)
	SetPongHandler(h func(string) error)
	Close() error
}

// Config is what an operator may set. Zero fields mean the defaults named here, unless said
// otherwise.
type Config struct {
	Site grasp.Site       // who we are: never a peer of ours (G02-03)
	Now  func() time.Time // required
	Rand func() float64   // in [0, 1); default math/rand

	// Synced is told of an event that came in by sync and waits for its git data (G02-12). It must not
	// block.
	Synced func(ev *nostr.Event)

	// Reached is told of a peer, by its address, that can be talked to again. It must not block.
	Reached func(url string)

	StartDelay time.Duration // before the first connection, more or less (G02-15); none if 0
	Relays     []string      // peers whatever is announced, to be asked for announcements
	MaxPeers   int           // connections; 200
	Plus       Society       // who takes part; nil: sync-plus is not spoken (GRASP-03)
	Outboxes   int           // relays that are peers because people write there, beside MaxPeers; 100
	Plain      bool          // peers without TLS, ws://, are let be peers
	History    int           // peers whose history is read at a time; 8
	Hands      int           // events decided about at a time; 32
	MaxEvent   int           // bytes of the largest event that is taken; 1 MiB
	Patience   time.Duration // without a word while something is awaited; 30 s
	Longest    time.Duration // one request in all; 2 min
}

func (c *Config) fill() {
	preset(&c.MaxPeers, 200)
	preset(&c.Outboxes, 100)
	preset(&c.History, 8)
	preset(&c.Hands, 32)
	preset(&c.MaxEvent, 1<<20)
	preset(&c.Patience, 30*time.Second)
	preset(&c.Longest, 2*time.Minute)
	if c.Rand == nil {
		c.Rand = rand.Float64
	}
	if c.Synced == nil {
		c.Synced = func(*nostr.Event) {}
	}
	if c.Reached == nil {
		c.Reached = func(string) {}
	}
}

func preset[T int | int64 | time.Duration](p *T, v T) {
	if *p <= 0 {
		*p = v
	}
}

// A Syncer keeps connections to peers. Make one with New, and Run it.
type Syncer struct {
	cfg     Config
	door    Door
	library Library
	dialer  Dialer
	book    Notebook
	log     *slog.Logger

	roster  *roster
	circle  *circle // or nil
	memory  *memory
	history chan struct{} // places for those who read history
	hands   chan struct{} // places for those who decide
	hoard   *hoard        // bytes that were read and not decided about

	sent tally // by all peers

	// mu guards peers.
	mu    sync.Mutex
	peers map[string]*peer // by key
}

// A tally counts what was sent.
type tally struct{ events, taken, refused, bad atomic.Int64 }

// New returns a syncer. Nothing happens before Run.
func New(cfg Config, door Door, library Library, dialer Dialer, book Notebook, log *slog.Logger) *Syncer {
	cfg.fill()
	s := &Syncer{
		cfg: cfg, door: door, library: library, dialer: dialer, book: book, log: log,
		roster:  newRoster(cfg.Site, cfg.Plain, cfg.Relays),
		memory:  newMemory(),
		history: make(chan struct{}, cfg.History),
		hands:   make(chan struct{}, cfg.Hands),
		hoard:   newHoard(maxHoard),
		peers:   make(map[string]*peer),
	}
	if cfg.Plus != nil {
		s.roster.plus = true
		s.circle = newCircle(cfg.Site, cfg.Plain, s.roster.always, cfg.Outboxes)
	}
	return s
}

// An edition tells apart what a peer is asked for at two moments.
type edition struct{ roster, circle uint64 }

// wantOf returns what a peer may have that belongs here, and which edition of that it is.
func (s *Syncer) wantOf(url string) (want, edition) {
	w, version := s.roster.wantOf(url)
	e := edition{roster: version}
	if s.circle != nil {
		e.circle = s.circle.add(url, &w)
	}
	return w, e
}

// editionOf is wantOf without the work.
func (s *Syncer) editionOf(url string) edition {
	e := edition{roster: s.roster.versionOf(url)}
	if s.circle != nil {
		e.circle = s.circle.versionOf(url)
	}
	return e
}

// batchDelay is how long new repositories and threads are gathered before they are asked for
// (G02-07).
const batchDelay = 5 * time.Second

// Run works until ctx ends, and returns when all connections are closed. At each tick it looks what
// is due; a second is a good interval. The error is about what could not be read at the beginning.
func (s *Syncer) Run(ctx context.Context, tick <-chan time.Time) error {
	if err := s.recall(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	var all sync.WaitGroup
	defer func() {
		all.Wait()
		s.mu.Lock()
		for _, p := range s.peers {
			p.change(func(m Mood) Mood { return m }) // until when it was in step
		}
		s.mu.Unlock()
		s.write(context.WithoutCancel(ctx))
	}()
	start := s.cfg.Now().Add(s.jitter(s.cfg.StartDelay, 0.5, 1.5))
	s.roster.touchAll()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick:
		}
		now := s.cfg.Now()
		if now.Before(start) {
			continue
		}
		changed, err := s.roster.refresh(ctx, s.library)
		for _, id := range changed {
			s.memory.forget(id)
		}
		if err != nil {
			if ctx.Err() == nil {
				s.log.Warn("cannot look for peers", "err", err)
			}
			continue
		}
		s.gather(ctx, now)
		s.enlist(ctx)
		s.mu.Lock()
		for _, p := range s.peers {
			if p.due(now) {
				all.Go(func() { p.visit(ctx) })
			}
			p.nudge()
		}
		s.mu.Unlock()
		s.write(context.WithoutCancel(ctx))
	}
}

// jitter returns d times something between low and high.
func (s *Syncer) jitter(d time.Duration, low, high float64) time.Duration {
	return time.Duration(float64(d) * (low + (high-low)*s.cfg.Rand()))
}

// recall reads what an earlier process wrote.
func (s *Syncer) recall(ctx context.Context) error {
	list, err := s.book.Refusals(ctx, maxRefusals)
	if err != nil {
		return err
	}
	s.memory.load(list, s.cfg.Now())
	records, err := s.book.Peers(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range records {
		p := newPeer(s, r.URL)
		p.mood = r.Mood.recalled(s.cfg.Now())
		p.gone = true // until an announcement names it
		s.peers[r.URL] = p
	}
	return nil
}

// gather takes in who takes part in what is served (G03-01).
func (s *Syncer) gather(ctx context.Context, now time.Time) {
	if s.circle == nil {
		return
	}
	s.circle.follow(s.roster)
	if err := s.circle.work(ctx, s.cfg.Plus, now); err != nil && ctx.Err() == nil {
		s.log.Warn("cannot look for people", "err", err)
	}
	if s.circle.moved() {
		s.roster.recount()
	}
}

// enlist makes peers of whom the roster names, and lets go of the others. Whoever is busy is let go of
// the next time.
func (s *Syncer) enlist(ctx context.Context) {
	named := s.roster.peers(s.cfg.MaxPeers)
	if named == nil {
		return
	}
	if s.circle != nil {
		s.circle.choose(named)
	}
	s.mu.Lock()
	var left []*peer
	for url := range named {
		p := s.peers[url]
		if p == nil {
			p = newPeer(s, url)
			s.peers[url] = p
		}
		p.setGone(false)
	}
	for url, p := range s.peers {
		if _, ok := named[url]; ok {
			continue
		}
		p.setGone(true)
		if !p.idle() {
			s.roster.recount()
			continue
		}
		delete(s.peers, url)
		left = append(left, p)
	}
	s.mu.Unlock()
	for _, p := range left {
		if err := s.book.WritePeer(ctx, Record{URL: p.url}); err != nil && ctx.Err() == nil {
			s.log.Warn("cannot forget a peer", "peer", p.url, "err", err)
		}
	}
}

// write keeps what is to outlive the process.
func (s *Syncer) write(ctx context.Context) {
	now := s.cfg.Now()
	if add, remove := s.memory.unwritten(now); len(add)+len(remove) > 0 {
		if err := s.book.WriteRefusals(ctx, add, remove); err != nil {
			s.memory.again(add, remove)
			s.log.Warn("cannot keep what was refused", "err", err)
		}
	}
	s.mu.Lock()
	var list []*peer
	for _, p := range s.peers {
		if p.changed() {
			list = append(list, p)
		}
	}
	s.mu.Unlock()
	for _, p := range list {
		if err := s.book.WritePeer(ctx, p.record()); err != nil {
			s.log.Warn("cannot keep how a peer does", "peer", p.url, "err", err)
		}
	}
}

// Changed says that what is announced of an identifier may have changed: who announces it, on which
// shelf, with whom. If it has, what was refused because of it gets another chance (G02-10).
func (s *Syncer) Changed(id string) { s.roster.touch(id) }

// Served says that an event has become visible. It never blocks.
func (s *Syncer) Served(ev *nostr.Event) {
	if s.circle != nil {
		s.circle.served(ev)
	}
	if !isRoot(ev.Kind) {
		return
	}
	keys := s.roster.keysOf(ev)
	if s.circle != nil {
		_, coords := grasp.Anchors(ev)
		keys = append(keys, s.circle.relaysOf(coords)...)
		slices.Sort(keys)
		keys = slices.Compact(keys)
	}
	if len(keys) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range keys {
		if p := s.peers[k]; p != nil {
			p.addRoot(grasp.EventID(ev.ID))
		}
	}
}

// Lapsed says that an event was let go because nothing came for it: it is not taken from peers for
// a week (G02-10).
func (s *Syncer) Lapsed(ev *nostr.Event) {
	s.memory.add(Refusal{ID: grasp.EventID(ev.ID), Until: s.cfg.Now().Add(lapsedFor)}, s.cfg.Now())
}

// Poll has every peer asked again what it has, as soon as there is time: those that are connected compare all,
// the others are tried now, but for those that cheated. Asking twice is asking once.
func (s *Syncer) Poll() {
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.peers {
		p.change(func(m Mood) Mood {
			if m.Bad && now.Before(m.Next) {
				return m
			}
			m.Next, m.Repass = time.Time{}, now
			return m
		})
	}
}

// Reconsider says that the rules have changed: what was refused may be fetched again.
func (s *Syncer) Reconsider() { s.memory.forgetAll() }

package syncer

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// maxNewRoots is how many new threads are remembered until they are asked for. Beyond it all are
// looked for again.
const maxNewRoots = 2_000

// A peer is a relay that announcements name.
type peer struct {
	s    *Syncer
	url  string
	wake chan struct{} // the clock has moved on

	tally

	// mu guards the rest.
	mu       sync.Mutex
	mood     Mood
	gone     bool // nobody names it any more
	running  bool
	began    time.Time // of the connection; zero if there is none
	subs     int       // live subscriptions
	doing    string    // what it is busy with, or ""
	neg      bool      // it speaks NIP-77
	last     time.Time // when the last event came that was new
	dirty    bool      // to be written down
	written  time.Time
	roots    []grasp.EventID // of threads that are new
	overflow bool            // and there are more
}

func newPeer(s *Syncer, url string) *peer {
	return &peer{s: s, url: url, wake: make(chan struct{}, 1)}
}

func (p *peer) setGone(gone bool) {
	p.mu.Lock()
	p.gone = gone
	p.mu.Unlock()
}

func (p *peer) isGone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone
}

// idle reports whether nobody works on p.
func (p *peer) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.running
}

// due takes p for a visit if it is time for one.
func (p *peer) due(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running || p.gone || now.Before(p.mood.Next) {
		return false
	}
	p.running = true
	return true
}

func (p *peer) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// seenEvery is how often it is written down that a peer is connected.
const seenEvery = time.Minute

// changed reports whether p is to be written down, and takes it that it is.
func (p *peer) changed() bool {
	now := p.s.cfg.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.dirty && (p.began.IsZero() || now.Sub(p.written) < seenEvery) {
		return false
	}
	p.dirty, p.written = false, now
	return true
}

func (p *peer) record() Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Record{URL: p.url, Mood: p.mood}
}

// addRoot says that a thread has begun about a repository that p is named for.
func (p *peer) addRoot(id grasp.EventID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.began.IsZero(): // the next connection looks for all
	case len(p.roots) >= maxNewRoots:
		p.overflow = true
	default:
		p.roots = append(p.roots, id)
	}
}

// newRoots takes what was added.
func (p *peer) newRoots() (ids []grasp.EventID, overflow bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ids, overflow = p.roots, p.overflow
	p.roots, p.overflow = nil, false
	return ids, overflow
}

func (p *peer) hasRoots() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.roots) > 0 || p.overflow
}

// change alters the mood.
func (p *peer) change(f func(Mood) Mood) Mood {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mood, p.dirty = f(p.mood), true
	return p.mood
}

// seen says that nothing that p had was missed until now. It is written down now and then.
func (p *peer) seen(now time.Time) {
	p.mu.Lock()
	p.mood.Seen = now
	p.mu.Unlock()
}

// trouble says what did not work, though the connection goes on.
func (p *peer) trouble(text string) { p.change(func(m Mood) Mood { m.Trouble = text; return m }) }

func (p *peer) getMood() Mood {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mood
}

func (p *peer) busy(doing string) {
	p.mu.Lock()
	p.doing = doing
	p.mu.Unlock()
}

// visit connects to p and stays until the connection ends. A panic is this peer's trouble.
func (p *peer) visit(ctx context.Context) {
	c := &session{p: p, s: p.s}
	err := guarded(func() error { return c.run(ctx) })
	now := p.s.cfg.Now()
	spread := p.s.cfg.Rand()
	p.mu.Lock()
	began := p.began
	p.began, p.subs, p.doing, p.roots, p.overflow, p.running = time.Time{}, 0, "", nil, false, false
	gone := p.gone
	if ctx.Err() == nil && !gone {
		p.mood = p.mood.after(began, now, err, spread)
	}
	p.dirty = true
	next := p.mood.Next
	p.mu.Unlock()
	if ctx.Err() != nil || gone {
		return
	}
	level := p.s.log.Info
	if began.IsZero() {
		level = p.s.log.Debug
	}
	level("peer left", "peer", p.url, "err", err, "next", next)
}

func guarded(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fault.Errorf(fault.Internal, "syncer: visit", "panic: %v", v)
		}
	}()
	return f()
}

// errGone ends the connection to a peer that nobody names any more.
var errGone = errors.New("no announcement names it any more")

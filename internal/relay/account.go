package relay

import (
	"container/list"
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// maxAccounts bounds the accounts without a connection that are remembered. Whoever wants to be
	// forgotten sooner has to come from as many other networks first, each of which has an account of
	// its own: nothing is won by it.
	maxAccounts = 16_384

	// accountKept is how long an account without a connection is remembered. It is full again long
	// before that.
	accountKept = 10 * time.Minute

	workHalf  = 4 * time.Second  // after which half of what an account had is forgotten
	forgery   = time.Second      // by which a forger's account seems to have had more
	longNap   = 10 * time.Second // the longest wait for one read
	frameCost = 64               // bytes that a read costs beside its own: fragments and pings are no gift
	wordCost  = 512              // the same for a message
)

// An account is what one network may still use of the house: a hundred connections of one stranger
// have one budget and not a hundred (hardening §10). A visitor to whom limits per network do not
// apply has one for each connection, which is never refused anything; it only takes turns by it.
type account struct {
	prefix string // "" is not limited
	cfg    *Config
	place  *list.Element // among those without a connection; the table's
	since  time.Time     // when it lost its last one; the table's
	conns  int           // the table's

	uploads *semaphore.Weighted // bytes of large messages
	queued  atomic.Int64        // bytes that wait for its clients
	filters atomic.Int64        // bytes of its open subscriptions

	// mu guards the rest.
	mu       sync.Mutex
	connects tokens
	events   tokens
	requests tokens
	bytes    tokens
	forged   tokens // wrong signatures
	work     fading // seconds of a processor that were spent for it
	lane     fading // those in the lane
}

// A fading number is forgotten by and by, half of it in workHalf.
type fading struct {
	n  float64
	at time.Time
}

func (f *fading) add(now time.Time, n float64) { f.n, f.at = f.left(now)+n, now }

func (f *fading) left(now time.Time) float64 {
	since := max(now.Sub(f.at), 0)
	if f.n == 0 || since > 64*workHalf {
		return 0
	}
	return f.n * math.Exp2(-float64(since)/float64(workHalf))
}

func newAccount(cfg *Config, prefix string) *account {
	return &account{
		prefix: prefix, cfg: cfg,
		uploads:  semaphore.NewWeighted(max(int64(cfg.MaxUploads)/uploadShare, int64(cfg.MaxMessage))),
		connects: newTokens(float64(cfg.PrefixConnectsPerMinute)/60, float64(cfg.PrefixConnectsPerMinute)),
		events:   newTokens(float64(cfg.PrefixEventsPerMinute)/60, float64(cfg.PrefixEventBurst)),
		requests: newTokens(float64(cfg.PrefixRequestsPerSecond), float64(cfg.PrefixRequestBurst)),
		bytes:    newTokens(float64(cfg.PrefixBytesPerSecond), float64(cfg.PrefixByteBurst)),
		forged:   newTokens(float64(cfg.PrefixBadSignatures)/60, float64(cfg.PrefixBadSignatures)),
	}
}

// One network gets this part of what is bounded for all.
const (
	uploadShare = 4
	queueShare  = 4
	filterShare = 2
)

// spend takes one token of t and reports whether there was one.
func (a *account) spend(t *tokens) bool {
	if a.prefix == "" {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return t.spend(a.cfg.Now())
}

// forge counts a wrong signature. It reports whether there were too many lately: then the account
// comes after all others.
func (a *account) forge() (tooMany bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.cfg.Now()
	if a.forged.owe(now, 1) == 0 {
		return false
	}
	a.work.add(now, forgery.Seconds())
	return true
}

// worked counts time spent for it.
func (a *account) worked(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.work.add(a.cfg.Now(), max(d, 0).Seconds())
}

// stroll counts time spent in the lane, which orders those who are there.
func (a *account) stroll(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lane.add(a.cfg.Now(), max(d, 0).Seconds())
}

// strolled returns the seconds that it was in the lane lately.
func (a *account) strolled(now time.Time) float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.lane.left(now)
}

// greedy reports whether more was spent for it lately than a visitor needs. Whom limits per network do
// not apply to is never greedy.
func (a *account) greedy() bool {
	return a.prefix != "" && a.had(a.cfg.Now()) > a.cfg.LightWork.Seconds()
}

// had returns the seconds that were spent for it lately.
func (a *account) had(now time.Time) float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.work.left(now)
}

// read counts n bytes and waits until they may be had: the sender is slowed down and loses nothing.
// It reports whether it had to wait.
func (a *account) read(ctx context.Context, n int) (waited bool) {
	if a.prefix == "" {
		return false
	}
	a.mu.Lock()
	wait := min(a.bytes.owe(a.cfg.Now(), float64(n)), longNap)
	a.mu.Unlock()
	if wait < time.Millisecond {
		return false
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return true
}

// accounts are the networks that have a connection, or had one lately. The relay's mu guards it.
type accounts struct {
	cfg  *Config
	by   map[string]*account
	idle list.List // of *account, without a connection the longest first
}

// enter returns the account of prefix with one connection more.
func (t *accounts) enter(prefix string) *account {
	a := t.by[prefix]
	if a == nil || prefix == "" {
		a = newAccount(t.cfg, prefix)
	}
	if prefix != "" {
		t.by[prefix] = a
	}
	if a.place != nil {
		t.idle.Remove(a.place)
		a.place = nil
	}
	a.conns++
	return a
}

// leave gives one connection of a back.
func (t *accounts) leave(a *account) {
	if a.conns--; a.conns > 0 || a.prefix == "" {
		return
	}
	now := t.cfg.Now()
	a.since, a.place = now, t.idle.PushBack(a)
	for e := t.idle.Front(); e != nil; e = t.idle.Front() {
		old := e.Value.(*account)
		if t.idle.Len() <= maxAccounts && now.Sub(old.since) < accountKept {
			break
		}
		t.idle.Remove(e)
		delete(t.by, old.prefix)
	}
}

// A pool bounds what waits in all queues together.
type pool struct {
	most int64
	used atomic.Int64
}

// queueFloor is what may wait for every client, however full the house is.
const queueFloor = 64 << 10

func (p *pool) add(a *account, n int) {
	p.used.Add(int64(n))
	a.queued.Add(int64(n))
}

// full reports whether n more would be too many, in all or of one network.
func (p *pool) full(a *account, n int) bool {
	return p.used.Load()+int64(n) > p.most || a.prefix != "" && a.queued.Load()+int64(n) > p.most/queueShare
}

// tight reports whether half of it is used.
func (p *pool) tight(a *account) bool {
	return p.used.Load() > p.most/2 || a.prefix != "" && a.queued.Load() > p.most/queueShare/2
}

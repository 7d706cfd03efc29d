// Package hunt looks for git data that is missing here on the other servers that announcements and
// pull requests name (G02-02).
//
// An event that waits, or is served, names objects; the desk says which are missing and where they may
// be. Each identifier that lacks something is hunted for: every place is tried, what is found enters by
// the desk like a push, and what is still missing is looked for again after 20, 40, 80 and then every 120
// seconds, and once an hour has passed once an hour, as long as anything is missing (G02-12). Work is
// found again after a restart: which identifiers lack something is known to the desk, and how often was
// tried is written down.
//
// The package refuses to know how git is run, what an event is, and which addresses are private.
package hunt

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/dial"
	"github.com/gitroost/gitroost/internal/steward"
)

// A Desk knows what is missing and takes what was found.
type Desk interface {
	// Missing returns what the repositories of an identifier lack.
	Missing(ctx context.Context, id string) ([]steward.Lack, error)

	// Await lets events wait longer, and Hold as long as release was not called.
	Await(ctx context.Context, id string, events []grasp.EventID, until time.Time) error
	Hold(events []grasp.EventID) (release func())

	// Room returns how many bytes may still come into repo; bounded is false if nothing bounds it.
	Room(ctx context.Context, repo grasp.Addr, pulls bool) (left int64, bounded bool, err error)

	// Adopt makes objects part of repo and settles.
	Adopt(ctx context.Context, repo grasp.Addr, q steward.Quarantine, pulls bool) error
}

// A Cellar runs git.
type Cellar interface {
	Fetch(ctx context.Context, repo grasp.Addr, f steward.Fetching) (steward.Fetched, error)
}

// A Record is what is written down of one identifier.
type Record struct {
	ID    string
	Tries int       // without finding anything
	Since time.Time // the first of these
	Next  time.Time // when it is tried next
}

// A Book keeps records. At most MaxHunts are read back.
type Book interface {
	Hunts(ctx context.Context, limit int) ([]Record, error)
	WriteHunt(ctx context.Context, r Record) error
	DropHunt(ctx context.Context, id string) error

	// Waiting returns the identifiers with events that wait.
	Waiting(ctx context.Context) ([]string, error)
}

// MaxHunts is how many identifiers are hunted for at a time.
const MaxHunts = 20_000

// Config are the knobs of a Hunter. Zero values mean the defaults.
type Config struct {
	// Now tells the time. Required.
	Now func() time.Time

	// StartDelay is how long after the start the last of what was left over is looked at; each waits
	// some part of it (G02-15). 0 waits for nothing.
	StartDelay time.Duration

	// Direct is how long the author of an event has to push before others are asked, and Synced
	// how long an event that came from another server waits: whoever pushes to several servers may be at it
	// here too. Default 3 min and 400 ms (G02-12: "within about 1 s").
	Direct, Synced time.Duration

	// Wait is how long after its arrival an event may wait for data that is looked for. It counts
	// from the first try on, and only if there is anywhere to look. 0 does not lengthen anything.
	Wait time.Duration

	// Workers is how many identifiers are hunted for at the same time. Those that have taken more
	// than a minute do not count, as long as there are at most three times as many: whoever is slow
	// keeps nobody waiting. Default 8.
	Workers int

	// MaxBytes, MaxPullBytes and MaxObjects bound one fetch; the second where only pull requests want
	// it. Default 2 GiB, 256 MiB and 5 million. Time is how long it may take; default 30 min.
	MaxBytes, MaxPullBytes int64
	MaxObjects             uint32
	Time                   time.Duration
}

// The times between two tries of one identifier (G02-12, G02-02).
var steps = []time.Duration{20 * time.Second, 40 * time.Second, 80 * time.Second, 120 * time.Second}

const (
	hourly = 55 * time.Minute // so that what comes late is still within the hour
	each   = 6 * time.Second  // for one fetch of a host whose budget is used up
)

// A quarry is one identifier that is hunted for.
type quarry struct {
	Record
	busy  bool
	taken time.Time // since when it is busy
	again bool      // something happened while it was busy

	lacking int
	trouble string
	remote  string // that is being fetched from, or ""
	began   time.Time
	read    func() int64
	line    string

	awaited string // for what the desk was asked to let events wait longer

	full  string               // the host whose budget was used up, or ""
	tried map[string]string    // by remote: the refs that it showed, to no avail
	later map[string]time.Time // by remote: it is not called before
	shut  map[string]bool      // hosts that could not be asked the last time
}

// A Hunter looks for what is missing. It is safe for concurrent use. Run does the work.
type Hunter struct {
	cfg    Config
	desk   Desk
	cellar Cellar
	book   Book
	way    *dial.Dialer
	log    *slog.Logger
	wake   chan struct{}

	mu      sync.Mutex // guards all below; never held while anything waits
	all     map[string]*quarry
	full    map[string]int // how many wait for the budget of a host
	running int
	found   int64 // fetches that brought something
	failed  int64 // and that did not
	bytes   int64
}

// New returns a Hunter that goes out by way.
func New(cfg Config, desk Desk, cellar Cellar, book Book, way *dial.Dialer, log *slog.Logger) *Hunter {
	def(&cfg.Direct, 3*time.Minute)
	def(&cfg.Synced, 400*time.Millisecond)
	def(&cfg.Workers, 8)
	def(&cfg.MaxBytes, 2<<30)
	def(&cfg.MaxPullBytes, 256<<20)
	def(&cfg.MaxObjects, 5_000_000)
	def(&cfg.Time, 30*time.Minute)
	return &Hunter{
		cfg: cfg, desk: desk, cellar: cellar, book: book, way: way, log: log,
		wake: make(chan struct{}, 1), all: map[string]*quarry{}, full: map[string]int{},
	}
}

func def[T cmp.Ordered](p *T, v T) {
	var zero T
	if *p <= zero {
		*p = v
	}
}

// Wake says that an event of identifier id arrived whose git data may be missing: directly from a
// client, which is expected to push, or from another server. It never blocks.
func (h *Hunter) Wake(id string, direct bool) {
	after := h.cfg.Synced
	if direct {
		after = h.cfg.Direct
	}
	now := h.cfg.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	q := h.all[id]
	if !direct && (q == nil || !q.busy && now.Add(after).Before(q.Next)) {
		time.AfterFunc(after, h.nudge) // not at the next look at the clock: whoever waits for it counts tenths of seconds
	}
	if q == nil {
		if len(h.all) >= MaxHunts {
			return // the next start finds it again
		}
		h.all[strings.Clone(id)] = &quarry{Record: Record{ID: strings.Clone(id), Since: now, Next: now.Add(after)}}
		return
	}
	q.again = q.again || q.busy
	q.Tries, q.Since = 0, now
	if at := now.Add(after); q.busy || at.Before(q.Next) {
		q.Next = at
	}
}

// Reached says that host, as URLs have it, can be talked to again. What was looked for there in vain is looked
// for again at once: a server that comes back is not waited for until the next try would be due. It never blocks.
func (h *Hunter) Reached(host string) {
	at := h.cfg.Now().Add(h.cfg.Synced)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, q := range h.all {
		if !q.shut[host] {
			continue
		}
		delete(q.shut, host) // once: a host that answers events and no git is asked as often as any
		if q.busy {
			q.again = true
		}
		if at.Before(q.Next) {
			q.Next = at
		}
	}
}

// Look has identifier id hunted for if anything is missing, though nothing happened: objects can be lost.
func (h *Hunter) Look(ctx context.Context, id string) error {
	h.mu.Lock()
	_, known := h.all[id]
	h.mu.Unlock()
	if known {
		return nil
	}
	lacks, err := h.desk.Missing(ctx, id)
	for _, l := range lacks {
		if len(h.remotes(l)) > 0 {
			h.Wake(id, true)
			break
		}
	}
	return err
}

// lookEvery is how often Run looks at the clock.
const lookEvery = 250 * time.Millisecond

// Run hunts until ctx ends, and returns when everything that it began has ended.
func (h *Hunter) Run(ctx context.Context) error {
	h.recall(ctx)
	var workers sync.WaitGroup
	defer workers.Wait()
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		for _, q := range h.due() {
			workers.Go(func() {
				h.track(ctx, q)
				h.nudge()
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		case <-h.wake:
		}
	}
}

// nudge has Run look what is due.
func (h *Hunter) nudge() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// recall takes up what was left over: what is written down, and whatever waits (G02-15).
func (h *Hunter) recall(ctx context.Context) {
	records, err := h.book.Hunts(ctx, MaxHunts)
	if err != nil && ctx.Err() == nil {
		h.log.Warn("cannot read what was hunted for; it is found again by what waits", "err", err)
	}
	waiting, err := h.book.Waiting(ctx)
	if err != nil && ctx.Err() == nil {
		h.log.Warn("cannot find out what waits for git data", "err", err)
	}
	now := h.cfg.Now()
	soon := func() time.Time {
		if h.cfg.StartDelay <= 0 {
			return now
		}
		return now.Add(rand.N(h.cfg.StartDelay))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range records {
		if at := soon(); r.Next.Before(at) {
			r.Next = at
		}
		if r.Since.After(now) {
			r.Since = now // the clock was put back
		}
		limit := now.Add(hourly)
		if now.Sub(r.Since) < time.Hour {
			limit = now.Add(max(h.cfg.Direct, steps[len(steps)-1]))
		}
		if r.Next.After(limit) {
			r.Next = limit
		}
		if h.all[r.ID] == nil && len(h.all) < MaxHunts {
			h.all[r.ID] = &quarry{Record: r}
		}
	}
	for _, id := range waiting {
		if h.all[id] == nil && len(h.all) < MaxHunts {
			// Whoever sent it may still be about to push.
			h.all[id] = &quarry{Record: Record{ID: id, Since: now, Next: soon()}}
		}
	}
}

// due returns what is to be looked at now, those first who have waited longest, and marks it busy.
func (h *Hunter) due() []*quarry {
	now := h.cfg.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	room := h.cfg.Workers
	var out []*quarry
	for _, q := range h.all {
		switch {
		case q.busy && now.Sub(q.taken) < time.Minute:
			room--
		case !q.busy && !q.Next.After(now):
			out = append(out, q)
		}
	}
	room = max(0, min(room, 4*h.cfg.Workers-h.running))
	slices.SortFunc(out, func(a, b *quarry) int { return cmp.Or(a.Next.Compare(b.Next), strings.Compare(a.ID, b.ID)) })
	out = out[:min(len(out), room)]
	for _, q := range out {
		q.busy, q.taken = true, now
	}
	h.running += len(out)
	return out
}

// track hunts for one identifier once and decides when it is tried again.
func (h *Hunter) track(ctx context.Context, q *quarry) {
	h.mu.Lock()
	if q.full != "" {
		if h.full[q.full]--; h.full[q.full] <= 0 {
			delete(h.full, q.full)
		}
		q.full = ""
	}
	h.mu.Unlock()
	res := h.once(ctx, q)
	now := h.cfg.Now()
	h.mu.Lock()
	q.busy, q.remote, q.read, q.line = false, "", nil, ""
	q.lacking, q.trouble = res.lacking, res.trouble
	h.running--
	if ctx.Err() != nil {
		h.mu.Unlock()
		return // the next start takes it up
	}
	switch {
	case q.again:
		q.again = false
		if q.Next.Before(now) {
			q.Next = now.Add(h.cfg.Synced)
		}
	case res.over:
		delete(h.all, q.ID)
	case res.found:
		q.Tries, q.Since, q.Next = 0, now, now.Add(h.pause(0))
	case res.full != "":
		// Nobody was called. Those who wait for the same host come back one after the other, at the
		// pace at which it may be called.
		q.full = res.full
		h.full[q.full]++
		q.Next = now.Add(res.after + rand.N(time.Duration(h.full[q.full])*each))
	default:
		if q.Next = now.Add(h.pause(q.Tries)); now.Sub(q.Since) >= time.Hour {
			q.Next = now.Add(hourly - rand.N(5*time.Minute))
		}
		q.Tries++
	}
	r := q.Record
	h.mu.Unlock()
	var err error
	if res.over {
		err = h.book.DropHunt(ctx, r.ID)
	} else {
		err = h.book.WriteHunt(ctx, r)
	}
	if err != nil && ctx.Err() == nil {
		h.log.Warn("cannot write down what is hunted for", "repo", r.ID, "err", err)
	}
}

func (h *Hunter) pause(tries int) time.Duration { return steps[min(tries, len(steps)-1)] }

// A result is what came of one try.
type result struct {
	over    bool // nothing is missing, or there is nowhere to look
	found   bool // something came
	lacking int
	called  bool          // at least one remote was tried
	trouble string        // of the last place that failed
	full    string        // a host whose budget is used up, if nobody was called because of that
	after   time.Duration // and for how long
}

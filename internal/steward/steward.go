// Package steward is the desk where an event and its git data meet.
//
// Receive takes events, Enter and Deliver take pushes, Settle brings events, refs and jobs into
// agreement, and Sweep lets go of what has waited too long. Everything that changes what is known
// of one identifier happens under the lock of that identifier, and ends in the same Settle: there
// is no second ending to get right. If the process dies anywhere, the next Settle starts from what
// is on disk and reaches the same end.
//
// The package does not know HTTP, WebSockets, SQL, or how git is run.
package steward

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/lock"
)

// Config is what an operator may set about the desk. Zero values mean the defaults named here.
type Config struct {
	Site grasp.Site
	Now  func() time.Time // required

	Rules   []grasp.Rule // of the configuration: what the operator wants; none
	Books   Books        // keeps the rules that are made while the server runs; nil: there are none
	Contact string       // how to reach the operator, for those who are refused

	// Ruled is told of the rules whenever they have changed, one call at a time. It must not block.
	Ruled func(*grasp.Moderation)

	// Sealed refuses branches and tags of all pushes: what is here follows others (G05-03).
	Sealed bool

	// Attic keeps older tips of archived repositories, as many as History says (G05-06); nil: none are
	// kept.
	Attic   Attic
	History grasp.Retention

	// Boxes opens the contributors' boxes (GRASP-06): anybody may push pull requests to a place of
	// their own, and announce them by naming it. Closed ones are kept until nothing is left in them.
	Boxes bool

	// Tell hands an event that has just become visible, or is ephemeral, to those who listen.
	// It is called in the order in which events become visible, and must not block.
	Tell func(ev *nostr.Event, raw []byte)

	// Jobs returns the jobs that a happening asks for, and what a pusher is told of those that it
	// does not ask for. It is called while the identifier is locked: it must not call the Steward,
	// and not take long. Nil: there are no jobs.
	Jobs func(ctx context.Context, ev jobs.Event) (list []jobs.Job, remarks []string)

	// Changed is told of an identifier whose announcements may have changed: one came, was released, or
	// went. It is called after that is durable, and must not block.
	Changed func(id string)

	// Lapsed is told of an event that was let go because nothing came for it (G01-402). It must not
	// block.
	Lapsed func(ev *nostr.Event)

	// Part returns what a key has to do with what is served here: whoever takes part may keep a
	// profile here (G01-806). Plus lets those do so as well who only answered (G03-01).
	Part func(ctx context.Context, key grasp.PubKey) (grasp.Part, error)
	Plus bool

	WaitTTL        time.Duration // how long an event waits for its git data; 30 minutes (G01-402)
	OrphanTTL      time.Duration // how long a PR ref waits for its event; 20 minutes (G01-707)
	WithdrawnGrace time.Duration // how long a withdrawn repository is read; 30 days (G01-115)
	DeletedGrace   time.Duration // how long a deleted repository is kept; 90 days (G01-902)
	FutureLimit    time.Duration // how far created_at may lie ahead; 15 minutes (N-011)

	WaitingPerKey    int // 100 (G01-408)
	WaitingPerSource int // 1,000
	WaitingInAll     int // 50,000
	NewReposPerHour  int // per address prefix; 600

	Quotas grasp.Quotas // how much one key may keep; no bound (G01-109)

	MaxPack       int64  // bytes of one pushed pack; 2 GiB
	MaxPullPack   int64  // bytes of a pack that only carries PR refs; 256 MiB
	MaxObjects    uint32 // objects of one pushed pack; 5 million
	MaxPullRefs   int    // PR refs in one push; 16
	MaxOrphanRefs int    // PR refs without an event in one repository; 256
}

func (c *Config) fill() {
	def(&c.WaitTTL, 30*time.Minute)
	def(&c.OrphanTTL, 20*time.Minute)
	def(&c.WithdrawnGrace, 30*24*time.Hour)
	def(&c.DeletedGrace, 90*24*time.Hour)
	def(&c.FutureLimit, 15*time.Minute)
	def(&c.WaitingPerKey, 100)
	def(&c.WaitingPerSource, 1000)
	def(&c.WaitingInAll, 50_000)
	def(&c.NewReposPerHour, 600)
	def(&c.MaxPack, 2<<30)
	def(&c.MaxPullPack, 256<<20)
	def(&c.MaxObjects, 5_000_000)
	def(&c.MaxPullRefs, 16)
	def(&c.MaxOrphanRefs, 256)
	if c.Tell == nil {
		c.Tell = func(*nostr.Event, []byte) {}
	}
	if c.Changed == nil {
		c.Changed = func(string) {}
	}
	if c.Lapsed == nil {
		c.Lapsed = func(*nostr.Event) {}
	}
	if c.Ruled == nil {
		c.Ruled = func(*grasp.Moderation) {}
	}
	if c.Part == nil {
		c.Part = func(context.Context, grasp.PubKey) (grasp.Part, error) { return grasp.Stranger, nil }
	}
}

func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// A Steward is the desk. Make one with New.
type Steward struct {
	cfg    Config
	ledger Ledger
	vault  Vault
	log    *slog.Logger
	locks  lock.Table // by identifier

	knobs   atomic.Pointer[Knobs]            // in force; replaced as a whole
	rules   atomic.Pointer[grasp.Moderation] // likewise
	ruling  sync.Mutex                       // held while rules change, and while they are enforced
	refused refusals

	unfinished atomic.Bool // something that is denied may still be here; Sweep sees to it

	known  cache[string, *known]      // parsed facts; filled under the identifier's lock
	done   cache[grasp.Addr, settled] // what was last settled of each repository
	scales cache[grasp.Addr, Weight]  // what was last recorded of each; filled under the identifier's lock
	tab    tab                        // what was granted and is not recorded yet
	lobby  lobby                      // refused events whose anchor may still come
	rate   rate                       // new repositories by address prefix

	// mu guards holds, landing and again. It is never held while anything waits.
	mu      sync.Mutex
	holds   map[grasp.EventID]int // events that a push in progress relies on (G01-404)
	landing map[string]int        // pushes by identifier, and by box, that may be about to move refs
	again   map[string]struct{}   // identifiers whose last settlement failed
	audited grasp.Addr            // the last repository that Sweep weighed
}

// cacheWeight bounds each of the caches: about this many refs, at some 100 bytes each.
const cacheWeight = 400_000

// New returns a desk that keeps its records in ledger and its repositories in vault.
func New(cfg Config, ledger Ledger, vault Vault, log *slog.Logger) *Steward {
	cfg.fill()
	s := &Steward{
		cfg: cfg, ledger: ledger, vault: vault, log: log,
		holds: make(map[grasp.EventID]int), landing: make(map[string]int),
	}
	s.known.max, s.done.max, s.scales.max = cacheWeight, cacheWeight, cacheWeight
	s.knobs.Store(cfg.knobs())
	s.rules.Store(grasp.NewModeration(cfg.Contact, cfg.Rules))
	return s
}

// Run finishes what a previous process may have left unfinished, then sweeps at every tick until
// ctx ends.
func (s *Steward) Run(ctx context.Context, tick <-chan time.Time) error {
	ids, err := s.ledger.Unsettled(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil // stopped before it began
		}
		return fault.Wrap("steward: start", err)
	}
	for _, id := range ids {
		if err := s.mend(ctx, id); err != nil && ctx.Err() == nil {
			s.log.Error("cannot settle at start", "repo", id, "err", err)
		}
	}
	if err := s.Enforce(ctx); err != nil && ctx.Err() == nil {
		s.log.Error("cannot enforce the rules of the operator at start", "err", err)
	}
	s.log.Info("settled what was left", "identifiers", len(ids))
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick:
			if err := s.Sweep(ctx, s.cfg.Now()); err != nil && ctx.Err() == nil {
				s.log.Error("sweep failed", "err", err)
			}
		}
	}
}

// Find says how repo lives here. Of one that the operator denies it says so, with a
// *grasp.Refusal.
func (s *Steward) Find(ctx context.Context, repo grasp.Addr) (grasp.Hosting, error) {
	if !repo.Valid() || repo.Box && !s.cfg.Boxes {
		return grasp.NotHosted, nil
	}
	if err := s.closed(repo); err != nil {
		return grasp.NotHosted, err
	}
	if repo.Box {
		return grasp.Live, nil // G06-03: one that nobody used is empty, and is nowhere
	}
	k, err := s.peek(ctx, repo.ID)
	if err != nil {
		return grasp.NotHosted, err
	}
	return k.view.Hosted[repo.Owner], nil
}

// Refs returns what repo advertises.
func (s *Steward) Refs(ctx context.Context, repo grasp.Addr) (*grasp.Snapshot, error) {
	return s.vault.Refs(ctx, repo)
}

// View returns all that is known of an identifier. The caller must not change it.
func (s *Steward) View(ctx context.Context, id string) (grasp.View, error) {
	k, err := s.peek(ctx, id)
	if err != nil {
		return grasp.View{}, err
	}
	return k.view, nil
}

// hold keeps events from being swept until release is called (G01-404).
func (s *Steward) hold(ids []grasp.EventID) (release func()) {
	s.mu.Lock()
	for _, id := range ids {
		s.holds[id]++
	}
	s.mu.Unlock()
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, id := range ids {
			if s.holds[id]--; s.holds[id] == 0 {
				delete(s.holds, id)
			}
		}
	})
}

func (s *Steward) held(id grasp.EventID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.holds[id] > 0
}

// newPushID returns a short name by which people and logs speak of one push.
func newPushID() string {
	var b [4]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func asRefusal(err error) (*grasp.Refusal, bool) {
	var r *grasp.Refusal
	ok := errors.As(err, &r)
	return r, ok
}

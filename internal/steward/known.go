package steward

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// known is the parsed form of the Facts about one identifier. It is not changed once it was
// handed out.
type known struct {
	view    grasp.View
	entries map[grasp.EventID]Entry
	repos   map[grasp.PubKey]Repo
	orphans []Orphan
	voices  grasp.KeySet // whose announcement is kept, even if it no longer parses
}

// parse turns facts into what the rules are asked with. Events that no longer parse are left out:
// they were stored by an older program, and say nothing that this one understands.
func (s *Steward) parse(ctx context.Context, id string, f Facts) *known {
	k := &known{
		view: grasp.View{
			ID:            id,
			Announcements: make(map[grasp.PubKey]grasp.Announcement),
			States:        make(map[grasp.PubKey][]grasp.State),
			Pulls:         make(map[grasp.EventID]grasp.Pull),
			Hosted:        make(map[grasp.PubKey]grasp.Hosting),
			Sealed:        s.cfg.Sealed,
		},
		entries: make(map[grasp.EventID]Entry, len(f.Entries)),
		repos:   make(map[grasp.PubKey]Repo, len(f.Repos)),
		orphans: f.Orphans,
		voices:  grasp.KeySet{},
	}
	for _, r := range f.Repos {
		k.repos[r.Addr.Owner] = r
		k.view.Hosted[r.Addr.Owner] = r.Hosting
	}
	for _, e := range f.Entries {
		if e.Event.Kind == grasp.KindAnnouncement {
			k.voices[grasp.PubKey(e.Event.PubKey)] = struct{}{}
		}
		if !s.add(ctx, k, e) {
			s.log.Warn("stored event no longer parses", "event", e.Event.ID, "repo", id)
		}
	}
	return k
}

// add puts one event into k, which must not have been handed out yet.
func (s *Steward) add(ctx context.Context, k *known, e Entry) bool {
	id := grasp.EventID(e.Event.ID)
	switch e.Event.Kind {
	case grasp.KindAnnouncement:
		a, err := s.cfg.Site.Announcement(e.Event)
		if err != nil || a.Addr.ID != k.view.ID {
			return false
		}
		a.Shelf = e.Shelf
		// A newer one may wait beside the served one that it will replace.
		if was, ok := k.view.Announcements[a.Addr.Owner]; !ok || older(was.Event, e.Event) {
			k.view.Announcements[a.Addr.Owner] = a
		}
	case grasp.KindState:
		st, err := grasp.ParseState(e.Event)
		if err != nil || st.Repo != k.view.ID {
			return false
		}
		st.Shelf = e.Shelf
		k.view.States[st.Author] = append(k.view.States[st.Author], st)
	case grasp.KindPull, grasp.KindPullUpdate:
		p, err := s.pull(ctx, e.Event)
		if err != nil {
			return false
		}
		p.Shelf = e.Shelf
		k.view.Pulls[id] = p
	default:
		return false
	}
	k.entries[id] = e
	return true
}

// pull parses a pull request. An update that names no repository is about those of the pull
// request that it belongs to (G01-709).
func (s *Steward) pull(ctx context.Context, ev *nostr.Event) (grasp.Pull, error) {
	parse := grasp.ParsePull
	if s.cfg.Boxes {
		parse = s.cfg.Site.Pull
	}
	p, err := parse(ev)
	if err != nil || p.Root == "" {
		return p, err
	}
	root, err := s.ledger.Event(ctx, p.Root)
	if fault.Is(err, fault.NotFound) {
		return p, nil
	}
	if err != nil {
		return p, fault.Wrap("steward: pull request", err)
	}
	if of, err := grasp.ParsePull(root.Event); err == nil && root.Event.Kind == grasp.KindPull {
		p.Repos = of.Repos
	}
	return p, nil
}

// with returns a copy of k that also knows e and, if it is set, repo.
func (s *Steward) with(ctx context.Context, k *known, e Entry, repo *Repo) *known {
	c := &known{view: k.view, entries: maps.Clone(k.entries), repos: maps.Clone(k.repos), orphans: k.orphans, voices: k.voices}
	c.view.Announcements = maps.Clone(k.view.Announcements)
	c.view.States = maps.Clone(k.view.States)
	if st := c.view.States[grasp.PubKey(e.Event.PubKey)]; st != nil {
		c.view.States[grasp.PubKey(e.Event.PubKey)] = st[:len(st):len(st)]
	}
	c.view.Pulls = maps.Clone(k.view.Pulls)
	c.view.Hosted = maps.Clone(k.view.Hosted)
	if repo != nil {
		c.repos[repo.Addr.Owner] = *repo
		c.view.Hosted[repo.Addr.Owner] = repo.Hosting
	}
	s.add(ctx, c, e)
	return c
}

// load returns what is known of an identifier. The caller holds its lock.
func (s *Steward) load(ctx context.Context, id string) (*known, error) {
	if k, ok := s.known.get(id); ok {
		return k, nil
	}
	f, err := s.ledger.View(ctx, id)
	if err != nil {
		return nil, fault.Wrap("steward: load", err)
	}
	k := s.parse(ctx, id, f)
	if k.served() { // strangers make up as many others as they like, and few are asked for again
		s.known.put(id, k, k.weight())
	}
	return k, nil
}

// peek returns what is known of an identifier, without its lock if that can be avoided.
func (s *Steward) peek(ctx context.Context, id string) (*known, error) {
	if k, ok := s.known.get(id); ok {
		return k, nil
	}
	unlock, err := s.locks.Lock(ctx, id)
	if err != nil {
		return nil, fault.Wrap("steward: peek", err)
	}
	defer unlock()
	return s.load(ctx, id)
}

// commit writes c and forgets what was known of id. The caller holds the lock of id.
func (s *Steward) commit(ctx context.Context, id string, c Change) (Receipt, error) {
	r, err := s.ledger.Commit(ctx, c)
	// Whether or not it was written: the next look asks the ledger.
	s.known.drop(id)
	if err != nil && !fault.Is(err, fault.Refused) {
		s.dirty(id) // it may have been written
	}
	if err == nil {
		s.tellChanged(id, c, r)
	}
	return r, err
}

// tellChanged says of which identifiers the announcements may be others now. id is what c was about, or
// "".
func (s *Steward) tellChanged(id string, c Change, r Receipt) {
	put := c.Put != nil && c.Put.Event.Kind == grasp.KindAnnouncement && !r.Duplicate && !r.Stale
	if id != "" && (put || len(c.Release)+len(c.Drop)+len(c.Repos) > 0) {
		s.cfg.Changed(id)
	}
	for _, e := range r.Removed {
		if e.Event.Kind == grasp.KindAnnouncement {
			s.cfg.Changed(grasp.FirstValue(e.Event, "d"))
		}
	}
}

// verdict says what became of e when it came before.
func (k *known) verdict(e *Entry) (grasp.Verdict, bool) {
	is, ok := k.entries[grasp.EventID(e.Event.ID)]
	if !ok {
		return 0, false
	}
	if is.Shelf == grasp.Waiting {
		return grasp.KnownHeld, true
	}
	return grasp.Known, true
}

// waitingChain returns the waiting announcements that make up the maintainer set of owner's
// repository.
func (k *known) waitingChain(owner grasp.PubKey) []grasp.EventID {
	var out []grasp.EventID
	for m := range k.view.Maintainers(owner) {
		if a, ok := k.view.Announcements[m]; ok && a.Shelf == grasp.Waiting {
			out = append(out, grasp.EventID(a.Event.ID))
		}
	}
	return out
}

// abandoned returns the repositories whose announcement is gone without the desk having been
// there, as after a crash in the middle of a request to vanish (N-035).
func (k *known) abandoned(now time.Time) []Repo {
	var out []Repo
	for owner, r := range k.repos {
		if (r.Hosting == grasp.Live || r.Hosting == grasp.Withdrawn) && !k.voices.Has(owner) {
			out = append(out, Repo{Addr: r.Addr, Hosting: grasp.Deleted, Since: now})
		}
	}
	return out
}

// weight estimates what k costs to keep, in refs.
func (k *known) weight() int {
	w := 0
	for _, e := range k.entries {
		w += 10 + 2*len(e.Raw)/100 // as it came, and taken apart
	}
	for _, list := range k.view.States {
		for _, st := range list {
			w += len(st.Refs)
		}
	}
	return w
}

// served reports whether anything of it can be seen.
func (k *known) served() bool {
	for _, e := range k.entries {
		if e.Shelf == grasp.Served {
			return true
		}
	}
	return len(k.orphans) > 0
}

// cache is a map bounded by the weight of its values. What it drops when full is arbitrary.
type cache[K comparable, V any] struct {
	mu    sync.RWMutex
	m     map[K]weighed[V]
	max   int // total weight
	total int
}

type weighed[V any] struct {
	v V
	w int
}

func (c *cache[K, V]) get(k K) (V, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	e, ok := c.m[k]
	return e.v, ok
}

func (c *cache[K, V]) put(k K, v V, weight int) {
	weight += 10 // what the smallest value costs
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = make(map[K]weighed[V])
	}
	c.total -= c.m[k].w
	delete(c.m, k)
	if weight > c.max {
		return
	}
	for old, e := range c.m {
		if c.total+weight <= c.max {
			break
		}
		c.total -= e.w
		delete(c.m, old)
	}
	c.m[k] = weighed[V]{v, weight}
	c.total += weight
}

// change replaces the value of k by what f returns, if there is one, f says so and there is room. f must be quick.
func (c *cache[K, V]) change(k K, f func(V) (v V, weight int, ok bool)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.m[k]
	if !ok {
		return
	}
	if v, w, ok := f(e.v); ok && c.total+w+10-e.w <= c.max {
		c.total += w + 10 - e.w
		c.m[k] = weighed[V]{v, w + 10}
	}
}

// keys returns the keys of what is there now.
func (c *cache[K, V]) keys() []K {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.Collect(maps.Keys(c.m))
}

func (c *cache[K, V]) drop(k K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total -= c.m[k].w
	delete(c.m, k)
}

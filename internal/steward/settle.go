package steward

import (
	"context"
	"slices"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// Settle brings events, refs and jobs of an identifier into agreement. Doing it twice is doing it
// once.
func (s *Steward) Settle(ctx context.Context, id string) error {
	unlock, err := s.locks.Lock(ctx, id)
	if err != nil {
		return fault.Wrap("steward: settle", err)
	}
	n, err := s.settle(ctx, id, nil, nil)
	unlock()
	if err != nil {
		return err
	}
	s.revive(ctx, n)
	return nil
}

// arrival is an admitted event on its way in, with what else its first transaction writes.
type arrival struct {
	known  *known // what is known without it
	entry  *Entry
	stored bool // it is in the ledger already; it only has to be looked at here as well
	repo   *Repo
	extend map[grasp.EventID]time.Time
}

// news is what became visible, for those whose second chance may have come.
type news struct {
	events    []Entry
	touched   []string // identifiers whose announcements changed
	duplicate bool     // the arrival was known already
	stored    bool     // the arrival is durable, even if what followed failed
}

func (n *news) merge(o news) {
	n.events = append(n.events, o.events...)
	n.touched = append(n.touched, o.touched...)
}

// scene is what the repositories of one identifier look like.
type scene struct {
	at    map[grasp.PubKey]*grasp.Snapshot
	holds map[grasp.PubKey]grasp.OIDSet // complete objects, by repository
	have  grasp.OIDSet                  // their union
}

// look asks the vault for everything that planning depends on.
func (s *Steward) look(ctx context.Context, v grasp.View) (scene, error) {
	sc := scene{
		at:    make(map[grasp.PubKey]*grasp.Snapshot),
		holds: make(map[grasp.PubKey]grasp.OIDSet),
		have:  grasp.OIDSet{},
	}
	wants := v.Wants()
	for owner, h := range v.Hosted {
		if h != grasp.Live && h != grasp.Withdrawn {
			continue
		}
		repo := grasp.Addr{Owner: owner, ID: v.ID}
		snap, err := s.vault.Refs(ctx, repo)
		if err != nil {
			return sc, fault.Wrap("steward: look at "+repo.String(), err)
		}
		sc.at[owner] = snap
		if len(wants) == 0 {
			continue
		}
		set, err := s.vault.Have(ctx, repo, wants)
		if err != nil {
			return sc, fault.Wrap("steward: look at "+repo.String(), err)
		}
		sc.holds[owner] = set
		for o := range set {
			sc.have.Add(o)
		}
	}
	return sc, nil
}

// settle is Settle for a caller that holds the lock of id. With an arrival it first stores that,
// in one transaction with the mark that a settlement is under way, unless there is nothing to do.
// push is what moved refs before, or nil. What fails is tried again by Sweep.
func (s *Steward) settle(ctx context.Context, id string, arr *arrival, push *Push) (news, error) {
	n, err := s.settleNow(ctx, id, arr, push)
	if err != nil && !fault.Is(err, fault.Refused) {
		s.dirty(id)
	}
	return n, err
}

func (s *Steward) settleNow(ctx context.Context, id string, arr *arrival, push *Push) (news, error) {
	var k *known
	var err error
	if arr != nil {
		k = s.with(ctx, arr.known, *arr.entry, arr.repo)
	} else if k, err = s.inhabited(ctx, id); err != nil {
		return news{}, err
	}
	sc, err := s.look(ctx, k.view)
	if err != nil {
		return news{}, err
	}
	expired, rows := s.expiredOrphans(k)
	plan := k.view.Plan(sc.at, sc.have, expired)

	var n news
	if arr != nil && !arr.stored {
		quiet := plan.Empty() && len(rows) == 0
		if done, err := s.store(ctx, id, arr, quiet, &n); done || err != nil {
			return n, err
		}
		// The event is durable; what follows does not end with the visitor's patience.
		ctx = context.WithoutCancel(ctx)
		if quiet {
			return n, nil
		}
	}
	if push == nil && (arr == nil || arr.stored) && len(plan.Repos) > 0 {
		// Refs move, and nobody has said so yet.
		if _, err := s.commit(ctx, id, Change{Unsettled: id}); err != nil {
			return n, fault.Wrap("steward: settle", err)
		}
	}
	if err := s.carryOut(ctx, sc, plan); err != nil {
		return n, err
	}
	return n, s.conclude(ctx, k, plan, rows, push, &n)
}

// inhabited returns what is known of id, after seeing to repositories that nobody announces any
// more.
func (s *Steward) inhabited(ctx context.Context, id string) (*known, error) {
	k, err := s.load(ctx, id)
	if err != nil {
		return nil, err
	}
	left := k.abandoned(s.cfg.Now())
	if len(left) == 0 {
		return k, nil
	}
	for i, r := range left {
		// Of an owner who asked to vanish nothing is kept (N-035).
		ans, err := s.ledger.Lookup(ctx, Question{ID: nobodysEvent, Author: r.Addr.Owner})
		if err != nil {
			return nil, fault.Wrap("steward: settle", err)
		}
		if ans.Deleted {
			left[i] = doomed(r.Addr)
		}
	}
	if _, err := s.commit(ctx, id, Change{Repos: left, Unsettled: id}); err != nil {
		return nil, fault.Wrap("steward: settle", err)
	}
	for _, r := range left {
		s.log.Warn("closed: nobody announces it any more", "repo", r.Addr.String())
		if r.Since.Equal(longAgo) {
			if err := s.raze(ctx, r.Addr); err != nil {
				return nil, err
			}
		}
	}
	return s.load(ctx, id)
}

// nobodysEvent is the id of no event.
const nobodysEvent grasp.EventID = "0000000000000000000000000000000000000000000000000000000000000000"

// store writes an arrival. done says that nothing is left to do.
func (s *Steward) store(ctx context.Context, id string, arr *arrival, quiet bool, n *news) (done bool, err error) {
	c := Change{Put: arr.entry, Extend: arr.extend}
	if arr.repo != nil {
		c.Repos = []Repo{*arr.repo}
	}
	if !quiet {
		c.Unsettled = id
	}
	r, err := s.commit(ctx, id, c)
	switch {
	case err != nil:
		return true, unwritten("steward: store", err)
	case r.Duplicate:
		n.duplicate = true
		return true, nil
	case r.Stale:
		return true, plainStale()
	}
	n.stored = true
	if arr.entry.Event.Kind == grasp.KindAnnouncement {
		n.touched = append(n.touched, id)
	}
	if arr.entry.Shelf == grasp.Served {
		s.cfg.Tell(arr.entry.Event, arr.entry.Raw)
		n.events = append(n.events, *arr.entry)
	}
	return false, nil
}

// carryOut makes the repositories what plan says.
func (s *Steward) carryOut(ctx context.Context, sc scene, plan grasp.Plan) error {
	for _, rp := range plan.Repos {
		if err := s.bring(ctx, rp, sc); err != nil {
			return err
		}
		if err := s.vault.Apply(ctx, rp.Repo, rp.Edits, rp.Head); err != nil {
			return fault.Wrap("steward: align "+rp.Repo.String(), err)
		}
	}
	return nil
}

// bring copies from sister repositories the objects that rp's edits need (G01-602).
func (s *Steward) bring(ctx context.Context, rp grasp.RepoPlan, sc scene) error {
	from := map[grasp.PubKey][]grasp.OID{}
	own := sc.holds[rp.Repo.Owner]
	for _, e := range rp.Edits {
		if e.New.IsZero() || own.Has(e.New) {
			continue
		}
		for sister, set := range sc.holds {
			if set.Has(e.New) {
				from[sister] = append(from[sister], e.New)
				break
			}
		}
	}
	for sister, oids := range from {
		source := grasp.Addr{Owner: sister, ID: rp.Repo.ID}
		if err := s.vault.Copy(ctx, source, rp.Repo, oids); err != nil {
			return fault.Wrap("steward: copy from "+source.String(), err)
		}
	}
	return nil
}

// conclude records what the refs did, makes the planned events visible, and tells of them: one
// transaction, after the refs are in place (G01-406).
func (s *Steward) conclude(ctx context.Context, k *known, plan grasp.Plan, rows []Orphan, push *Push, n *news) error {
	id := k.view.ID
	release, done, err := s.claim(ctx, k, plan.Release)
	defer done()
	if err != nil {
		return err
	}
	c := Change{Release: release, Drop: plan.Drop, Orphans: rows}
	if !s.someoneLands(id) {
		c.Settled = id
	}
	after := map[grasp.Addr]*grasp.Snapshot{}
	for owner, h := range k.view.Hosted {
		if h != grasp.Live {
			continue
		}
		repo := grasp.Addr{Owner: owner, ID: id}
		snap, err := s.vault.Refs(ctx, repo)
		if err != nil {
			return fault.Wrap("steward: settle "+repo.String(), err)
		}
		changes, err := s.moved(ctx, repo, snap)
		if err != nil {
			return err
		}
		after[repo] = snap
		if len(changes) == 0 {
			continue
		}
		m := Moved{Repo: repo, Changes: changes}
		for _, rp := range plan.Repos {
			if rp.Repo == repo {
				m.Cause = rp.Cause
			}
		}
		if push != nil && push.repo == repo {
			m.Push = push.id
		}
		c.Moves = append(c.Moves, m)
		o, err := s.orphansAmong(ctx, k, repo, changes)
		if err != nil {
			return err
		}
		c.Orphans = append(c.Orphans, o...)
	}
	for _, rid := range release {
		if p, ok := k.view.Pulls[rid]; ok {
			for _, owner := range k.view.Concerned(p) {
				c.Orphans = append(c.Orphans, Orphan{Repo: grasp.Addr{Owner: owner, ID: id}, Event: rid})
			}
		}
	}
	r, err := s.commit(ctx, id, c)
	if err != nil {
		for repo := range after {
			s.done.drop(repo) // it may have been written: the next look asks the ledger
		}
		return fault.Wrap("steward: settle", err)
	}
	for repo, snap := range after {
		s.done.put(repo, snap, len(snap.Refs))
	}
	for _, rid := range release {
		e, ok := k.entries[rid]
		for _, other := range e.Subjects {
			if other != id {
				s.known.drop(other)
			}
		}
		if !ok || slices.Contains(r.Replaced, rid) {
			continue
		}
		e.Shelf = grasp.Served
		s.cfg.Tell(e.Event, e.Raw)
		s.log.Info("released", "event", e.Event.ID, "kind", e.Event.Kind, "repo", id)
		n.events = append(n.events, e)
		if e.Event.Kind == grasp.KindAnnouncement {
			n.touched = append(n.touched, id)
		}
	}
	return nil
}

// claim returns which of list still wait, for this settlement alone to release until done is
// called. Only an event that names several identifiers can be released by somebody else: each has
// its own lock, and the event is told of once.
func (s *Steward) claim(ctx context.Context, k *known, list []grasp.EventID) (mine []grasp.EventID, done func(), err error) {
	var unlocks []func()
	done = func() {
		for _, unlock := range unlocks {
			unlock()
		}
	}
	var shared []grasp.EventID
	for _, id := range list {
		if len(k.entries[id].Subjects) > 1 {
			shared = append(shared, id)
		}
	}
	slices.Sort(shared) // so that two settlements cannot wait for each other
	gone := map[grasp.EventID]bool{}
	for _, id := range shared {
		unlock, err := s.alone(ctx, k.entries[id])
		if err != nil {
			return nil, done, err
		}
		unlocks = append(unlocks, unlock)
		e, err := s.ledger.Event(ctx, id)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return nil, done, fault.Wrap("steward: settle", err)
		}
		gone[id] = err != nil || e.Shelf != grasp.Waiting
	}
	for _, id := range list {
		if !gone[id] {
			mine = append(mine, id)
		}
	}
	return mine, done, nil
}

// alone keeps other identifiers from deciding about an event that names several, until done is
// called. It is asked for with the lock of one of them held, and no such lock is asked for after it.
func (s *Steward) alone(ctx context.Context, e Entry) (done func(), err error) {
	if len(e.Subjects) < 2 {
		return func() {}, nil
	}
	unlock, err := s.locks.Lock(ctx, "\x00"+e.Event.ID) // no identifier begins so
	if err != nil {
		return nil, fault.Wrap("steward: settle", err)
	}
	return unlock, nil
}

// moved returns how the refs of repo differ from those last settled.
func (s *Steward) moved(ctx context.Context, repo grasp.Addr, is *grasp.Snapshot) ([]grasp.RefChange, error) {
	was, ok := s.done.get(repo)
	if ok && was == is {
		return nil, nil
	}
	if ok {
		return grasp.Diff(was.Refs, is.Refs), nil
	}
	refs, err := s.ledger.SettledRefs(ctx, repo)
	if err != nil {
		return nil, fault.Wrap("steward: settled refs of "+repo.String(), err)
	}
	return grasp.Diff(refs, is.Refs), nil
}

// orphansAmong starts the clock of PR refs that have moved and have no event, and stops that of
// those that are gone (G01-707).
func (s *Steward) orphansAmong(ctx context.Context, k *known, repo grasp.Addr, changes []grasp.RefChange) ([]Orphan, error) {
	var out []Orphan
	for _, ch := range changes {
		id, ok := ch.Ref.Pull()
		if !ok {
			continue
		}
		o := Orphan{Repo: repo, Event: id}
		if !ch.New.IsZero() {
			accepted, err := s.hasPull(ctx, k, id, ch.New)
			if err != nil {
				return nil, err
			}
			if !accepted {
				o.Deadline = s.cfg.Now().Add(s.cfg.OrphanTTL)
			}
		}
		out = append(out, o)
	}
	return out, nil
}

// hasPull reports whether a pull request with this id and tip was accepted, waiting or served.
func (s *Steward) hasPull(ctx context.Context, k *known, id grasp.EventID, tip grasp.OID) (bool, error) {
	if p, ok := k.view.Pulls[id]; ok {
		return p.Tip == tip, nil
	}
	e, err := s.ledger.Event(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return false, nil
	}
	if err != nil {
		return false, fault.Wrap("steward: pull request", err)
	}
	if e.Event.Kind != grasp.KindPull && e.Event.Kind != grasp.KindPullUpdate {
		return false, nil
	}
	p, err := grasp.ParsePull(e.Event)
	return err == nil && p.Tip == tip, nil
}

// expiredOrphans returns the PR refs whose time is over, and the rows to remove for them.
func (s *Steward) expiredOrphans(k *known) (map[grasp.PubKey][]grasp.EventID, []Orphan) {
	now := s.cfg.Now()
	var rows []Orphan
	due := map[grasp.PubKey][]grasp.EventID{}
	for _, o := range k.orphans {
		if o.Deadline.After(now) {
			continue
		}
		switch k.view.Hosted[o.Repo.Owner] {
		case grasp.Withdrawn, grasp.Deleted:
			// Its refs rest as they are. Should it come back the ref has to go.
			rows = append(rows, Orphan{Repo: o.Repo, Event: o.Event, Deadline: now.Add(s.cfg.OrphanTTL)})
		default:
			due[o.Repo.Owner] = append(due[o.Repo.Owner], o.Event)
			rows = append(rows, Orphan{Repo: o.Repo, Event: o.Event})
		}
	}
	return due, rows
}

// dirty remembers an identifier whose settlement failed; Sweep tries again.
func (s *Steward) dirty(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.again == nil {
		s.again = make(map[string]struct{})
	}
	s.again[id] = struct{}{}
}

// land announces that a push may be about to move refs of id, until arrived is called. As long as
// somebody lands, no settlement clears the mark that one is needed.
func (s *Steward) land(id string) (arrived func()) {
	s.mu.Lock()
	s.landing[id]++
	s.mu.Unlock()
	var once bool
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if once {
			return
		}
		once = true
		if s.landing[id]--; s.landing[id] == 0 {
			delete(s.landing, id)
		}
	}
}

func (s *Steward) someoneLands(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.landing[id] > 0
}

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
	return s.settleAfter(ctx, id, func() ([]grasp.Addr, error) { return nil, nil })
}

// settleAfter is Settle after something that has to be done under the same lock. It returns the boxes
// to look at as well.
func (s *Steward) settleAfter(ctx context.Context, id string, before func() ([]grasp.Addr, error)) error {
	unlock, err := s.locks.Lock(ctx, id)
	if err != nil {
		return fault.Wrap("steward: settle", err)
	}
	boxes, err := before()
	var n news
	if err == nil {
		n, err = s.settle(ctx, id, nil, nil, boxes...)
	} else {
		s.dirty(id)
	}
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

// settle is Settle for a caller that holds the lock of id. With an arrival it first stores that,
// in one transaction with the mark that a settlement is under way, unless there is nothing to do.
// push is what moved refs before, or nil; boxes are further ones to look at. What fails is tried again
// by Sweep.
func (s *Steward) settle(ctx context.Context, id string, arr *arrival, push *Push, boxes ...grasp.Addr) (news, error) {
	n, err := s.settleNow(ctx, id, arr, push, boxes)
	if err != nil && !fault.Is(err, fault.Refused) {
		s.dirty(id)
	}
	return n, err
}

func (s *Steward) settleNow(ctx context.Context, id string, arr *arrival, push *Push, boxes []grasp.Addr) (news, error) {
	var k *known
	var err error
	if arr != nil {
		k = s.with(ctx, arr.known, *arr.entry, arr.repo)
	} else if k, err = s.inhabited(ctx, id); err != nil {
		return news{}, err
	}
	sc, err := s.look(ctx, k.view, s.boxesFor(k, arr, push, boxes))
	if err != nil {
		return news{}, err
	}
	for _, box := range boxes {
		sc.doubtful[box] = true
	}
	expired, rows, err := s.expiredOrphans(ctx, k, sc)
	if err != nil {
		return news{}, err
	}
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
	if err := s.carryOut(ctx, k.view, sc, plan); err != nil {
		return n, err
	}
	return n, s.conclude(ctx, k, sc, plan, rows, push, &n)
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

// conclude records what the refs did, makes the planned events visible, and tells of them: one
// transaction, after the refs are in place (G01-406).
func (s *Steward) conclude(ctx context.Context, k *known, sc scene, plan grasp.Plan, rows []Orphan, push *Push, n *news) error {
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
	for repo := range sc.at {
		if repo.ID != id || !repo.Box && k.view.Hosted[repo.Owner] != grasp.Live {
			continue
		}
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
			for repo := range sc.at {
				if p.Fits(repo) {
					c.Orphans = append(c.Orphans, Orphan{Repo: repo, Event: rid})
				}
			}
		}
	}
	// A box that could not be removed yet is looked at again as long as a placeholder says so.
	c.Orphans = slices.DeleteFunc(c.Orphans, func(o Orphan) bool { return sc.kept[o.Repo] && o.Deadline.IsZero() })
	if err := s.weigh(ctx, k, sc, push, &c); err != nil {
		return err
	}
	remarks, err := s.ask(ctx, k, sc, plan, &c, after, push)
	if err != nil {
		return err
	}
	r, err := s.commit(ctx, id, c)
	if err != nil {
		for repo := range after {
			s.done.drop(repo) // it may have been written: the next look asks the ledger
		}
		for _, w := range c.Weighed {
			s.scales.drop(w.Repo)
		}
		return fault.Wrap("steward: settle", err)
	}
	if push != nil {
		for i := range c.Jobs {
			j := &c.Jobs[i]
			end := r.Ended[j.ID]
			j.State, j.Reason = end.State, end.Reason
		}
		push.jobs, push.remarks = c.Jobs, remarks
	}
	for _, w := range c.Weighed {
		s.scales.put(w.Repo, w.Weight, 0)
	}
	for repo, snap := range after {
		s.done.put(repo, settled{gen: snap.Gen, refs: snap}, snap.Refs.Len())
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
	if ok && was.gen == is.Gen {
		return nil, nil
	}
	if ok && was.refs != nil {
		return is.Refs.Diff(was.refs.Refs), nil
	}
	changes, err := s.ledger.Unrecorded(ctx, repo, is.Refs)
	if err != nil {
		return nil, fault.Wrap("steward: settled refs of "+repo.String(), err)
	}
	return changes, nil
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

// land announces that a push may be about to move refs of repo, until arrived is called. As long as
// somebody lands, no settlement clears the mark that one is needed, or removes a box.
func (s *Steward) land(repo grasp.Addr) (arrived func()) {
	names := []string{repo.ID}
	if repo.Box {
		names = append(names, landingAt(repo))
	}
	s.mu.Lock()
	for _, n := range names {
		s.landing[n]++
	}
	s.mu.Unlock()
	var once bool
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if once {
			return
		}
		once = true
		for _, n := range names {
			if s.landing[n]--; s.landing[n] == 0 {
				delete(s.landing, n)
			}
		}
	}
}

func (s *Steward) someoneLands(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.landing[name] > 0
}

package steward

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// sweepBatch is how many due things one look at the ledger brings, and sweepRounds how often one
// sweep looks.
const (
	sweepBatch  = 500
	sweepRounds = 200
)

// Sweep lets go of what has waited too long: events without git data (G01-402), PR refs without
// an event (G01-707), expired events (N-036), repositories whose grace is over. It also settles
// again what could not be settled before. One fault does not keep it from the rest.
func (s *Steward) Sweep(ctx context.Context, now time.Time) error {
	s.lobby.expire(now)
	s.rate.expire(now)
	var faults []error
	if s.unfinished.Load() {
		faults = append(faults, s.Enforce(ctx))
	}
	for round := range sweepRounds {
		due, err := s.ledger.Due(ctx, now, sweepBatch)
		if err != nil {
			faults = append(faults, fault.Wrap("steward: sweep", err))
			break
		}
		if round > 0 { // what belongs to every sweep was done
			due.Repos = nil
		}
		found := s.sweepOnce(ctx, now, due)
		faults = append(faults, found...)
		full := len(due.Waiting) >= sweepBatch || len(due.Expired) >= sweepBatch || len(due.Orphans) >= sweepBatch
		if !full || errors.Join(found...) != nil || ctx.Err() != nil {
			break
		}
	}
	return errors.Join(append(faults, s.audit(ctx))...)
}

// sweepOnce lets go of what is due.
func (s *Steward) sweepOnce(ctx context.Context, now time.Time, due Due) (faults []error) {
	for _, e := range due.Waiting {
		if !s.held(grasp.EventID(e.Event.ID)) {
			faults = append(faults, s.letGo(ctx, e))
		}
	}
	for _, e := range due.Expired {
		faults = append(faults, s.letGo(ctx, e))
	}
	orphans := map[string]bool{}
	for _, o := range due.Orphans {
		orphans[o.Repo.ID] = true
	}
	ids, err := s.toMend(ctx)
	faults = append(faults, err)
	for _, id := range ids {
		delete(orphans, id)
		faults = append(faults, s.mend(ctx, id))
	}
	for _, id := range slices.Sorted(maps.Keys(orphans)) {
		s.known.drop(id)
		faults = append(faults, s.Settle(ctx, id))
	}
	for _, r := range due.Repos {
		grace := s.cfg.DeletedGrace
		if r.Hosting == grasp.Withdrawn {
			grace = s.cfg.WithdrawnGrace
		}
		if now.Sub(r.Since) >= grace {
			faults = append(faults, s.endGrace(ctx, r))
		}
	}
	return faults
}

// toMend returns the identifiers of which something failed since the last sweep.
func (s *Steward) toMend(ctx context.Context) ([]string, error) {
	s.mu.Lock()
	set := s.again
	s.again = nil
	s.mu.Unlock()
	var err error
	if _, lost := set[anywhere]; lost {
		delete(set, anywhere)
		var marked []string
		if marked, err = s.ledger.Unsettled(ctx); err != nil {
			s.dirty(anywhere)
			err = fault.Wrap("steward: sweep", err)
		}
		for _, id := range marked {
			set[id] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(set)), err
}

// anywhere is dirty when something may have been written and only the ledger knows about what.
const anywhere = ""

// letGo removes one event whose time is up, and with an announcement its repository.
func (s *Steward) letGo(ctx context.Context, e Entry) error {
	id := grasp.EventID(e.Event.ID)
	if len(e.Subjects) == 0 {
		_, err := s.ledger.Commit(ctx, Change{Drop: []grasp.EventID{id}})
		return fault.Wrap("steward: sweep", err)
	}
	for i, subject := range e.Subjects {
		err := func() error {
			unlock, err := s.locks.Lock(ctx, subject)
			if err != nil {
				return fault.Wrap("steward: sweep", err)
			}
			defer unlock()
			s.known.drop(subject)
			if i > 0 {
				return s.endHere(ctx, subject, e)
			}
			return s.letGoLocked(ctx, subject, e, id)
		}()
		if err != nil {
			return err
		}
	}
	return nil
}

// endHere settles a further identifier of a pull request that was let go of.
func (s *Steward) endHere(ctx context.Context, subject string, e Entry) error {
	if _, err := s.ledger.Event(ctx, grasp.EventID(e.Event.ID)); !fault.Is(err, fault.NotFound) {
		return fault.Wrap("steward: sweep", err) // it stayed
	}
	k, err := s.load(ctx, subject)
	if err != nil {
		return err
	}
	rows, err := s.orphaned(ctx, k, []Entry{e}, s.cfg.Now())
	if err != nil {
		return err
	}
	if len(rows) > 0 {
		if _, err := s.commit(ctx, subject, Change{Orphans: rows, Unsettled: subject}); err != nil {
			return fault.Wrap("steward: sweep", err)
		}
	}
	_, err = s.settle(ctx, subject, nil, nil)
	return err
}

func (s *Steward) letGoLocked(ctx context.Context, subject string, e Entry, id grasp.EventID) error {
	done, err := s.alone(ctx, e)
	if err != nil {
		return err
	}
	defer done()
	// What was due may have been released, extended or held since.
	now := s.cfg.Now()
	is, err := s.ledger.Event(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return fault.Wrap("steward: sweep", err)
	}
	waitedOut := is.Shelf == grasp.Waiting && !is.Deadline.After(now) && !s.held(id)
	expired := !is.Expires.IsZero() && !is.Expires.After(now)
	if !waitedOut && !expired {
		return nil
	}
	c := Change{Drop: []grasp.EventID{id}, Unsettled: subject}
	k, err := s.load(ctx, subject)
	if err != nil {
		return err
	}
	// G01-707: while it waited it counted for its ref; that goes with it at the latest.
	last := now
	if is.Shelf == grasp.Served {
		last = now.Add(s.cfg.OrphanTTL)
	}
	if c.Orphans, err = s.orphaned(ctx, k, []Entry{e}, last); err != nil {
		return err
	}
	var gone []grasp.Addr
	owner := grasp.PubKey(e.Event.PubKey)
	a, ok := k.view.Announcements[owner]
	h := k.view.Hosted[owner]
	if ok && grasp.EventID(a.Event.ID) == id && (h == grasp.Live || h == grasp.Withdrawn) {
		r := doomed(a.Addr)
		if is.Shelf == grasp.Served {
			r = Repo{Addr: a.Addr, Hosting: grasp.Deleted, Since: now} // N-036: an expired announcement counts as deleted
		} else {
			gone = append(gone, a.Addr)
		}
		c.Repos = append(c.Repos, r)
	}
	if _, err := s.commit(ctx, subject, c); err != nil {
		return fault.Wrap("steward: sweep", err)
	}
	done()
	if waitedOut {
		s.cfg.Lapsed(e.Event)
	}
	s.log.Info("let go", "event", id, "kind", e.Event.Kind, "repo", subject, "shelf", is.Shelf)
	for _, repo := range gone {
		if err := s.raze(ctx, repo); err != nil {
			return err
		}
	}
	_, err = s.settle(ctx, subject, nil, nil)
	return err
}

// endGrace removes a repository that was withdrawn or deleted long ago, unless it came back.
func (s *Steward) endGrace(ctx context.Context, r Repo) error {
	unlock, err := s.locks.Lock(ctx, r.Addr.ID)
	if err != nil {
		return fault.Wrap("steward: sweep", err)
	}
	defer unlock()
	s.known.drop(r.Addr.ID)
	k, err := s.load(ctx, r.Addr.ID)
	if err != nil {
		return err
	}
	if is, ok := k.repos[r.Addr.Owner]; !ok || is.Hosting != r.Hosting || !is.Since.Equal(r.Since) {
		return nil
	}
	if r.Hosting == grasp.Withdrawn {
		// Nobody shall read half of it.
		if _, err := s.commit(ctx, r.Addr.ID, Change{Repos: []Repo{doomed(r.Addr)}}); err != nil {
			return fault.Wrap("steward: sweep", err)
		}
	}
	if err := s.raze(ctx, r.Addr); err != nil {
		return err
	}
	s.log.Info("grace is over", "repo", r.Addr.String())
	_, err = s.settle(ctx, r.Addr.ID, nil, nil)
	return err
}

// mend is Settle after a fault: it also looks for what a change that was cut short may have left.
// There is one such thing, PR refs whose event went without anybody noticing (N-035, G01-905).
func (s *Steward) mend(ctx context.Context, id string) error {
	return s.settleAfter(ctx, id, func() ([]grasp.Addr, error) { return s.countOrphans(ctx, id) })
}

// longAgo is before every grace.
var longAgo = time.Unix(0, 0)

// doomed is what a repository is from the moment at which it is decided that nothing of it stays
// until nothing of it is left: closed, and at the end of its grace. Whoever dies in between leaves
// the rest to Sweep.
func doomed(repo grasp.Addr) Repo {
	return Repo{Addr: repo, Hosting: grasp.Deleted, Since: longAgo}
}

// doomed reports whether owner's repository is about to be razed.
func (k *known) doomed(owner grasp.PubKey) bool {
	r, ok := k.repos[owner]
	return ok && r.Hosting == grasp.Deleted && r.Since.Equal(longAgo)
}

// raze removes the files of a repository that is closed, and then the memory of it. The caller
// holds the lock of its identifier.
func (s *Steward) raze(ctx context.Context, repo grasp.Addr) error {
	s.done.drop(repo)
	s.scales.drop(repo)
	gone, err := s.ledger.Unrecorded(ctx, repo, grasp.RefList{})
	if err != nil {
		return fault.Wrap("steward: raze "+repo.String(), err)
	}
	if err := s.vault.Remove(ctx, repo); err != nil {
		return fault.Wrap("steward: raze "+repo.String(), err)
	}
	k, err := s.load(ctx, repo.ID)
	if err != nil {
		return err
	}
	c := Change{Repos: []Repo{{Addr: repo, Hosting: grasp.NotHosted}}}
	for _, o := range k.orphans {
		if o.Repo == repo {
			c.Orphans = append(c.Orphans, Orphan{Repo: repo, Event: o.Event})
		}
	}
	if len(gone) > 0 {
		c.Moves = []Moved{{Repo: repo, Changes: gone}}
	}
	if _, err := s.commit(ctx, repo.ID, c); err != nil {
		return fault.Wrap("steward: raze "+repo.String(), err)
	}
	return nil
}

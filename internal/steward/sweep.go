package steward

import (
	"context"
	"errors"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// sweepBatch is how many due things one look at the ledger brings.
const sweepBatch = 500

// Sweep lets go of what has waited too long: events without git data (G01-402), PR refs without
// an event (G01-707), expired events (N-036), repositories whose grace is over. It also settles
// again what could not be settled before. One fault does not keep it from the rest.
func (s *Steward) Sweep(ctx context.Context, now time.Time) error {
	s.lobby.expire(now)
	s.rate.expire(now)
	due, err := s.ledger.Due(ctx, now, sweepBatch)
	if err != nil {
		return fault.Wrap("steward: sweep", err)
	}
	var faults []error
	for _, e := range due.Waiting {
		if !s.held(grasp.EventID(e.Event.ID)) {
			faults = append(faults, s.letGo(ctx, e))
		}
	}
	for _, e := range due.Expired {
		faults = append(faults, s.letGo(ctx, e))
	}
	for _, id := range s.toSettle(due.Orphans) {
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
	return errors.Join(faults...)
}

// toSettle returns the identifiers of orphans, and those whose last settlement failed.
func (s *Steward) toSettle(orphans []Orphan) []string {
	set := map[string]struct{}{}
	for _, o := range orphans {
		set[o.Repo.ID] = struct{}{}
	}
	s.mu.Lock()
	for id := range s.again {
		set[id] = struct{}{}
	}
	s.again = nil
	s.mu.Unlock()
	out := make([]string, 0, len(set))
	for id := range set {
		out = append(out, id)
	}
	return out
}

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
				_, err := s.settle(ctx, subject, nil)
				return err
			}
			return s.letGoLocked(ctx, subject, e, id)
		}()
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Steward) letGoLocked(ctx context.Context, subject string, e Entry, id grasp.EventID) error {
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
	var gone []grasp.Addr
	owner := grasp.PubKey(e.Event.PubKey)
	a, ok := k.view.Announcements[owner]
	if ok && grasp.EventID(a.Event.ID) == id && k.view.Hosted[owner] == grasp.Live {
		r := Repo{Addr: a.Addr, Hosting: grasp.NotHosted, Since: now}
		if is.Shelf == grasp.Served {
			r.Hosting = grasp.Deleted // N-036: an expired announcement counts as deleted
		} else {
			gone = append(gone, a.Addr)
		}
		c.Repos = append(c.Repos, r)
	}
	if _, err := s.commit(ctx, subject, c); err != nil {
		return fault.Wrap("steward: sweep", err)
	}
	s.log.Info("let go", "event", id, "kind", e.Event.Kind, "repo", subject, "shelf", is.Shelf)
	for _, repo := range gone {
		s.forget(ctx, repo)
	}
	_, err = s.settle(ctx, subject, nil)
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
	r.Hosting = grasp.NotHosted
	if _, err := s.commit(ctx, r.Addr.ID, Change{Repos: []Repo{r}}); err != nil {
		return fault.Wrap("steward: sweep", err)
	}
	s.log.Info("grace is over", "repo", r.Addr.String())
	s.forget(ctx, r.Addr)
	return nil
}

package steward

import (
	"context"
	"slices"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

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
			accepted, err := s.hasPull(ctx, k, repo, id, ch.New)
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

// hasPull reports whether a pull request with this id and tip was accepted, waiting or served. In a
// box it has to be one of the box (G06-06).
func (s *Steward) hasPull(ctx context.Context, k *known, repo grasp.Addr, id grasp.EventID, tip grasp.OID) (bool, error) {
	_, ok, err := s.acceptedPull(ctx, k, repo, id, tip)
	return ok, err
}

// acceptedPull is hasPull that also returns the pull request.
func (s *Steward) acceptedPull(ctx context.Context, k *known, repo grasp.Addr, id grasp.EventID, tip grasp.OID) (grasp.Pull, bool, error) {
	p, ok := k.view.Pulls[id]
	if !ok {
		e, err := s.ledger.Event(ctx, id)
		if fault.Is(err, fault.NotFound) {
			return p, false, nil
		}
		if err != nil {
			return p, false, fault.Wrap("steward: pull request", err)
		}
		if e.Event.Kind != grasp.KindPull && e.Event.Kind != grasp.KindPullUpdate {
			return p, false, nil
		}
		if p, err = s.pull(ctx, e.Event); err != nil {
			if _, refused := asRefusal(err); refused {
				return p, false, nil
			}
			return p, false, err
		}
	}
	return p, p.Tip == tip && (!repo.Box || p.Fits(repo)), nil
}

// expiredOrphans returns the PR refs whose time is over, and the rows to remove for them.
func (s *Steward) expiredOrphans(ctx context.Context, k *known, sc scene) (map[grasp.Addr][]grasp.EventID, []Orphan, error) {
	now := s.cfg.Now()
	var rows []Orphan
	due := map[grasp.Addr][]grasp.EventID{}
	for _, o := range k.orphans {
		if o.Deadline.After(now) {
			continue
		}
		if o.Repo.Box {
			sc.doubtful[o.Repo] = true
			rows = append(rows, Orphan{Repo: o.Repo, Event: o.Event})
			if tip, there := sc.at[o.Repo].Refs.Tip(grasp.PullRef(o.Event)); there {
				// Who pushed may have died before anybody noted that the event is here.
				accepted, err := s.hasPull(ctx, k, o.Repo, o.Event, tip)
				if err != nil {
					return nil, nil, err
				}
				if !accepted {
					due[o.Repo] = append(due[o.Repo], o.Event)
				}
			}
			continue
		}
		switch k.view.Hosted[o.Repo.Owner] {
		case grasp.Withdrawn, grasp.Deleted:
			// Its refs rest as they are. Should it come back the ref has to go.
			rows = append(rows, Orphan{Repo: o.Repo, Event: o.Event, Deadline: now.Add(s.cfg.OrphanTTL)})
		default:
			due[o.Repo] = append(due[o.Repo], o.Event)
			rows = append(rows, Orphan{Repo: o.Repo, Event: o.Event})
		}
	}
	return due, rows, nil
}

// orphaned sets the deadline of the PR refs whose events are removed (G01-905). It looks at what is
// there: which repositories a pull request concerned when it came may not be known any more. One that
// was in a box has no time left, there and wherever it was mirrored (G06-12).
func (s *Steward) orphaned(ctx context.Context, k *known, removed []Entry, deadline time.Time) ([]Orphan, error) {
	var out []Orphan
	holds := func(repo grasp.Addr, id grasp.EventID) (bool, error) {
		snap, err := s.vault.Refs(ctx, repo)
		if err != nil {
			return false, fault.Wrap("steward: orphans of "+repo.String(), err)
		}
		_, there := snap.Refs.Tip(grasp.PullRef(id))
		return there, nil
	}
	for _, e := range removed {
		if e.Event.Kind != grasp.KindPull && e.Event.Kind != grasp.KindPullUpdate {
			continue
		}
		id, until := grasp.EventID(e.Event.ID), deadline
		boxes, err := s.lockers(ctx, e)
		if err != nil {
			return nil, err
		}
		for _, box := range boxes {
			there, err := holds(box, id)
			if err != nil {
				return nil, err
			}
			if there {
				until = s.cfg.Now()
				if box.ID == k.view.ID {
					out = append(out, Orphan{Repo: box, Event: id, Deadline: until})
				}
			}
		}
		for owner := range k.view.Hosted {
			repo := grasp.Addr{Owner: owner, ID: k.view.ID}
			there, err := holds(repo, id)
			if err != nil {
				return nil, err
			}
			if there {
				out = append(out, Orphan{Repo: repo, Event: id, Deadline: until})
			}
		}
	}
	return out, nil
}

// countOrphans starts the clock of PR refs whose event went without anybody noticing, and returns
// the boxes of id that a change may have been about when it was cut short.
func (s *Steward) countOrphans(ctx context.Context, id string) ([]grasp.Addr, error) {
	s.known.drop(id)
	k, err := s.load(ctx, id)
	if err != nil {
		return nil, err
	}
	counted := make(map[Orphan]bool, len(k.orphans))
	for _, o := range k.orphans {
		counted[Orphan{Repo: o.Repo, Event: o.Event}] = true
	}
	lost, err := s.ledger.Lost(ctx, id)
	if err != nil {
		return nil, fault.Wrap("steward: mend", err)
	}
	now := s.cfg.Now()
	var rows []Orphan
	gone := map[grasp.EventID]bool{} // what was in a box has no time left wherever it was mirrored
	for _, o := range lost {
		gone[o.Event] = true
		o.Deadline = now
		rows = append(rows, o)
	}
	for owner := range k.view.Hosted {
		repo := grasp.Addr{Owner: owner, ID: id}
		snap, err := s.vault.Refs(ctx, repo)
		if err != nil {
			return nil, fault.Wrap("steward: mend", err)
		}
		for r := range snap.Refs.From("refs/nostr/") {
			event, ok := r.Name.Pull()
			o := Orphan{Repo: repo, Event: event}
			if !ok || counted[o] {
				continue
			}
			accepted, err := s.hasPull(ctx, k, repo, event, r.OID)
			if err != nil {
				return nil, err
			}
			if !accepted {
				o.Deadline = now.Add(s.cfg.OrphanTTL)
				if gone[event] {
					o.Deadline = now
				}
				rows = append(rows, o)
			}
		}
	}
	waiting, err := s.ledger.Placeholders(ctx, Orphan{Repo: grasp.Addr{ID: id}})
	if err != nil {
		return nil, fault.Wrap("steward: mend", err)
	}
	var boxes []grasp.Addr
	for _, o := range waiting {
		if !slices.Contains(boxes[max(0, len(boxes)-1):], o.Repo) { // they come in order
			boxes = append(boxes, o.Repo)
		}
	}
	if len(rows) == 0 {
		return boxes, nil
	}
	if _, err := s.commit(ctx, id, Change{Orphans: rows}); err != nil {
		return nil, fault.Wrap("steward: mend", err)
	}
	return boxes, nil
}

package steward

import (
	"context"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// A contributor's box (GRASP-06) is a repository that nobody announces. It begins with a push and
// ends with its last ref, under the lock of its identifier, as everything about that identifier. What
// keeps the ledger and the disk together is the placeholder: before a push moves refs of a box, each of
// them is written down as a PR ref that waits for its event, and only the settlement that finds the
// event here takes that back. Whatever is cut short in between leaves a placeholder, and where one is a
// settlement looks.

// lockers returns the boxes that the commit of a pull request may be in; none, if boxes are closed.
func (s *Steward) lockers(ctx context.Context, e Entry) ([]grasp.Addr, error) {
	if !s.cfg.Boxes {
		return nil, nil
	}
	p, err := s.pull(ctx, e.Event)
	if _, refused := asRefusal(err); err != nil && !refused {
		return nil, err
	}
	return p.Lockers(), nil
}

// disown takes away what was pushed to boxes under the id of ev and is not what ev says (G06-06). Only
// one event can ever have an id: what contradicts it waits in vain, whatever becomes of ev.
func (s *Steward) disown(ctx context.Context, ev *nostr.Event) error {
	if !s.cfg.Boxes {
		return nil
	}
	list, err := s.ledger.Placeholders(ctx, Orphan{Event: grasp.EventID(ev.ID)})
	if err != nil {
		return fault.Wrap("steward: disown", err)
	}
	for _, o := range list {
		if err := s.disownIn(ctx, o, ev); err != nil {
			return err
		}
	}
	return nil
}

func (s *Steward) disownIn(ctx context.Context, o Orphan, ev *nostr.Event) error {
	if ev.Kind == grasp.KindPull || ev.Kind == grasp.KindPullUpdate {
		snap, err := s.vault.Refs(ctx, o.Repo)
		if err != nil {
			return fault.Wrap("steward: disown", err)
		}
		p, err := s.pull(ctx, ev)
		if err == nil && p.Fits(o.Repo) && snap.Refs.OID(grasp.PullRef(o.Event)) == p.Tip {
			return nil
		}
	}
	unlock, err := s.locks.Lock(ctx, o.Repo.ID)
	if err != nil {
		return fault.Wrap("steward: disown", err)
	}
	o.Deadline = s.cfg.Now()
	var n news
	_, err = s.commit(ctx, o.Repo.ID, Change{Orphans: []Orphan{o}, Unsettled: o.Repo.ID})
	if err == nil {
		n, err = s.settle(ctx, o.Repo.ID, nil, nil)
	}
	unlock()
	if err != nil {
		return fault.Wrap("steward: disown", err)
	}
	s.revive(ctx, n)
	return nil
}

// placeholders returns the PR refs of repo that wait for their event.
func (s *Steward) placeholders(ctx context.Context, k *known, repo grasp.Addr) ([]Orphan, error) {
	if repo.Box {
		list, err := s.ledger.Placeholders(ctx, Orphan{Repo: repo})
		return list, fault.Wrap("steward: placeholders", err)
	}
	var out []Orphan
	for _, o := range k.orphans {
		if o.Repo == repo {
			out = append(out, o)
		}
	}
	return out, nil
}

// landingAt is the name under which pushes to a box are counted; no identifier begins so.
func landingAt(box grasp.Addr) string { return "\x01" + box.String() }

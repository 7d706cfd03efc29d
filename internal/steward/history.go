package steward

import (
	"context"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// withHistory returns the edits of rp, and those of hidden refs that keep what an archive lets go of
// (G05-06): they are made together, or not at all. The objects of rp are here.
func (s *Steward) withHistory(ctx context.Context, v grasp.View, rp grasp.RepoPlan) ([]grasp.RefChange, error) {
	if s.cfg.Attic == nil || rp.Repo.Box || len(rp.Edits) == 0 || !v.Announcements[rp.Repo.Owner].Archived {
		return rp.Edits, nil
	}
	leaving, err := s.cfg.Attic.Leaving(ctx, rp.Repo, rp.Edits)
	if err != nil {
		return nil, fault.Wrap("steward: history of "+rp.Repo.String(), err)
	}
	if len(leaving) == 0 {
		return rp.Edits, nil
	}
	kept, err := s.cfg.Attic.Kept(ctx, rp.Repo)
	if err != nil {
		return nil, fault.Wrap("steward: history of "+rp.Repo.String(), err)
	}
	hidden := s.cfg.History.Plan(kept, leaving, s.cfg.Now().Unix())
	return append(rp.Edits[:len(rp.Edits):len(rp.Edits)], hidden...), nil
}

// Forget lets go of older tips of repo that were kept for long enough, or are too many by now.
func (s *Steward) Forget(ctx context.Context, repo grasp.Addr) error {
	const op = "steward: forget"
	if s.cfg.Attic == nil || repo.Box {
		return nil
	}
	due := func() ([]grasp.RefChange, error) {
		kept, err := s.cfg.Attic.Kept(ctx, repo)
		if err != nil || len(kept) == 0 {
			return nil, fault.Wrap(op, err)
		}
		return s.cfg.History.Plan(kept, nil, s.cfg.Now().Unix()), nil
	}
	if edits, err := due(); err != nil || len(edits) == 0 {
		return err
	}
	unlock, err := s.locks.Lock(ctx, repo.ID)
	if err != nil {
		return fault.Wrap(op, err)
	}
	defer unlock()
	edits, err := due()
	if err != nil || len(edits) == 0 {
		return err
	}
	return fault.Wrap(op, s.vault.Apply(ctx, repo, edits, ""))
}

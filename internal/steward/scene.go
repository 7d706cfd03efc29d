package steward

import (
	"context"
	"maps"
	"slices"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// scene is what the repositories of one identifier look like, and the contributors' boxes that have
// to be looked at.
type scene struct {
	at    map[grasp.Addr]*grasp.Snapshot
	holds map[grasp.Addr]grasp.OIDSet // complete objects, by repository
	have  grasp.OIDSet                // their union

	doubtful map[grasp.Addr]bool // boxes that may have to go (G06-12)
	kept     map[grasp.Addr]bool // those among them that go later: somebody pushes to them
}

// look asks the vault for everything that planning depends on. Of boxes it looks at those named.
func (s *Steward) look(ctx context.Context, v grasp.View, boxes []grasp.Addr) (scene, error) {
	sc := scene{
		at:       make(map[grasp.Addr]*grasp.Snapshot),
		holds:    make(map[grasp.Addr]grasp.OIDSet),
		have:     grasp.OIDSet{},
		doubtful: make(map[grasp.Addr]bool),
		kept:     make(map[grasp.Addr]bool),
	}
	wants := v.Wants()
	see := func(repo grasp.Addr) error {
		snap, err := s.refs(ctx, repo)
		if err != nil {
			return fault.Wrap("steward: look at "+repo.String(), err)
		}
		sc.at[repo] = snap
		return nil
	}
	hold := func(repo grasp.Addr) error {
		if len(wants) == 0 {
			return nil
		}
		set, err := s.vault.Have(ctx, repo, wants)
		if err != nil {
			return fault.Wrap("steward: look at "+repo.String(), err)
		}
		sc.holds[repo] = set
		maps.Copy(sc.have, set)
		return nil
	}
	for owner, h := range v.Hosted {
		if h != grasp.Live && h != grasp.Withdrawn {
			continue
		}
		repo := grasp.Addr{Owner: owner, ID: v.ID}
		if err := see(repo); err != nil {
			return sc, err
		}
		if err := hold(repo); err != nil {
			return sc, err
		}
	}
	for _, box := range boxes {
		if _, seen := sc.at[box]; seen {
			continue
		}
		if err := see(box); err != nil {
			return sc, err
		}
	}
	for _, box := range v.Mirrored(sc.at) {
		if err := hold(box); err != nil {
			return sc, err
		}
	}
	return sc, nil
}

// carryOut makes the repositories what plan says, and removes boxes in which nothing is left.
func (s *Steward) carryOut(ctx context.Context, v grasp.View, sc scene, plan grasp.Plan) error {
	for _, rp := range plan.Repos {
		if err := s.bring(ctx, rp, sc); err != nil {
			return err
		}
		edits, err := s.withHistory(ctx, v, rp)
		if err != nil {
			return err
		}
		if err := s.vault.Apply(ctx, rp.Repo, edits, rp.Head); err != nil {
			return fault.Wrap("steward: align "+rp.Repo.String(), err)
		}
		if rp.Repo.Box {
			sc.doubtful[rp.Repo] = true
		}
	}
	for box := range sc.doubtful {
		if box.ID != v.ID {
			continue
		}
		if err := s.discard(ctx, sc, box); err != nil {
			return err
		}
	}
	return nil
}

// discard removes a box if no ref is left in it (G06-12), unless somebody is about to push to it.
func (s *Steward) discard(ctx context.Context, sc scene, box grasp.Addr) error {
	snap, err := s.vault.Refs(ctx, box)
	if err != nil {
		return fault.Wrap("steward: look at "+box.String(), err)
	}
	if snap.Refs.Len() > 0 {
		return nil
	}
	if s.someoneLands(landingAt(box)) {
		sc.kept[box] = true
		return nil
	}
	if err := s.vault.Remove(ctx, box); err != nil {
		return fault.Wrap("steward: remove "+box.String(), err)
	}
	return nil
}

// bring copies from sister repositories the objects that rp's edits need (G01-602), and from boxes
// (G06-09).
func (s *Steward) bring(ctx context.Context, rp grasp.RepoPlan, sc scene) error {
	from := map[grasp.Addr][]grasp.OID{}
	own := sc.holds[rp.Repo]
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
	for source, oids := range from {
		if err := s.vault.Copy(ctx, source, rp.Repo, oids); err != nil {
			return fault.Wrap("steward: copy from "+source.String(), err)
		}
	}
	return nil
}

// boxesFor returns the boxes that a settlement has to look at: those in which the commit of an
// arriving pull request may be, the one that was pushed to, those where a PR ref's time is over, and
// those named.
func (s *Steward) boxesFor(k *known, arr *arrival, push *Push, named []grasp.Addr) []grasp.Addr {
	out := slices.Clone(named)
	if arr != nil && s.cfg.Boxes {
		if p, ok := k.view.Pulls[grasp.EventID(arr.entry.Event.ID)]; ok {
			out = append(out, p.Lockers()...)
		}
	}
	if push != nil && push.repo.Box {
		out = append(out, push.repo)
	}
	for _, o := range k.orphans {
		if o.Repo.Box {
			out = append(out, o.Repo)
		}
	}
	return out
}

package steward

import (
	"context"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// weigh compares what the repositories of an identifier hold with what is recorded, and adds what is
// new to c. push is what brought objects, or nil.
func (s *Steward) weigh(ctx context.Context, k *known, sc scene, push *Push, c *Change) error {
	repos := make([]grasp.Addr, 0, len(k.repos))
	for _, r := range k.repos {
		repos = append(repos, r.Addr)
	}
	for repo := range sc.at {
		if repo.Box && repo.ID == k.view.ID {
			repos = append(repos, repo)
		}
	}
	for _, repo := range repos {
		was, err := s.weight(ctx, repo)
		if err != nil {
			return err
		}
		n, err := s.vault.Size(ctx, repo)
		if err != nil {
			return fault.Wrap("steward: weigh "+repo.String(), err)
		}
		if n == was.Total() {
			s.scales.put(repo, was, 0)
			continue
		}
		is, err := s.split(ctx, repo, was, n, push, c.Moves)
		if err != nil {
			return err
		}
		c.Weighed = append(c.Weighed, Weighed{Repo: repo, Weight: is})
	}
	return nil
}

// split says who answers for a repository that weighs n now.
func (s *Steward) split(ctx context.Context, repo grasp.Addr, was Weight, n int64, push *Push, moves []Moved) (Weight, error) {
	switch grown := n - was.Total(); {
	case repo.Box:
		return Weight{Own: n}, nil
	case grown < 0: // somebody has tidied up
		snap, err := s.vault.Refs(ctx, repo)
		if err != nil {
			return was, fault.Wrap("steward: weigh "+repo.String(), err)
		}
		// Whose it was is not known: both gain, unless nothing is left that others pushed.
		pulls := int64(0)
		for r := range snap.Refs.From("refs/nostr/") {
			if r.Name.IsNostr() {
				pulls = min(n, int64(float64(was.Pulls)*float64(n)/float64(was.Total())))
			}
			break
		}
		return Weight{Own: n - pulls, Pulls: pulls}, nil
	case s.broughtByPulls(repo, push, moves):
		if limit := s.quota(repo).PullBytes; limit > 0 {
			grown = min(grown, max(0, limit-was.Pulls))
		}
		return Weight{Own: n - was.Pulls - grown, Pulls: was.Pulls + grown}, nil
	}
	return Weight{Own: n - was.Pulls, Pulls: was.Pulls}, nil
}

// broughtByPulls reports whether repo grew by PR refs alone.
func (s *Steward) broughtByPulls(repo grasp.Addr, push *Push, moves []Moved) bool {
	if push != nil && push.repo == repo {
		return push.grant.State.ID == ""
	}
	for _, m := range moves {
		if m.Repo != repo {
			continue
		}
		for _, ch := range m.Changes {
			if !ch.Ref.IsNostr() {
				return false
			}
		}
		return true
	}
	return false
}

// auditBatch is how many repositories one sweep weighs.
const auditBatch = 100

// audit weighs some repositories, other ones each time: what was changed behind our back, and what was
// recorded by an older program or not at all, is found sooner or later.
func (s *Steward) audit(ctx context.Context) error {
	s.mu.Lock()
	after := s.audited
	s.mu.Unlock()
	list, err := s.ledger.Walk(ctx, after, auditBatch)
	if err != nil {
		return fault.Wrap("steward: audit", err)
	}
	next := grasp.Addr{}
	if len(list) == auditBatch {
		next = list[auditBatch-1].Repo
	}
	s.mu.Lock()
	s.audited = next
	s.mu.Unlock()
	for _, w := range list {
		n, err := s.vault.Size(ctx, w.Repo)
		if err != nil {
			return fault.Wrap("steward: audit "+w.Repo.String(), err)
		}
		if n == w.Weight.Total() {
			continue
		}
		err = s.settleAfter(ctx, w.Repo.ID, func() ([]grasp.Addr, error) {
			if w.Repo.Box {
				return []grasp.Addr{w.Repo}, nil
			}
			return nil, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

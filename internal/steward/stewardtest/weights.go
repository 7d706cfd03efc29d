package stewardtest

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
)

// weigh records what repositories hold. Call it with mu held.
func (m *Memory) weigh(list []steward.Weighed) {
	for _, w := range list {
		_, row := m.repos[w.Repo]
		if w.Weight.Total() > 0 && (row || w.Repo.Box) {
			m.weights[w.Repo] = w.Weight
		} else {
			delete(m.weights, w.Repo)
		}
	}
}

// Weight is part of steward.Ledger.
func (m *Memory) Weight(ctx context.Context, repo grasp.Addr) (steward.Weight, error) {
	if err := ctx.Err(); err != nil {
		return steward.Weight{}, fault.Wrap("memory: weight", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.weights[repo], nil
}

// Kept is part of steward.Ledger.
func (m *Memory) Kept(ctx context.Context, owner grasp.PubKey, boxes bool) (steward.Kept, error) {
	var k steward.Kept
	if err := ctx.Err(); err != nil {
		return k, fault.Wrap("memory: kept", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for repo, w := range m.weights {
		switch {
		case repo.Owner != owner || repo.Box != boxes:
		case m.repos[repo].Hosting == grasp.Deleted:
			k.DeletedWeight = add(k.DeletedWeight, w)
		default:
			k.Weight = add(k.Weight, w)
		}
	}
	if boxes {
		refs := map[orphanKey]bool{}
		for repo, list := range m.refs {
			for ref := range list {
				if id, ok := ref.Pull(); ok && repo.Box && repo.Owner == owner {
					refs[orphanKey{repo, id}] = true
				}
			}
		}
		for o := range m.orphans {
			if o.repo.Box && o.repo.Owner == owner {
				refs[o] = true
			}
		}
		repos := map[grasp.Addr]bool{}
		for o := range refs {
			repos[o.repo] = true
		}
		k.Refs, k.Repos = len(refs), len(repos)
		return k, nil
	}
	for _, r := range m.repos {
		switch {
		case r.Addr.Owner != owner:
		case r.Hosting == grasp.Deleted:
			k.Deleted++
			k.Oldest = append(k.Oldest, r)
		default:
			k.Repos++
		}
	}
	slices.SortFunc(k.Oldest, func(a, b steward.Repo) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Addr.ID, b.Addr.ID))
	})
	k.Oldest = first(k.Oldest, steward.MaxOldest)
	return k, nil
}

func add(a, b steward.Weight) steward.Weight {
	return steward.Weight{Own: a.Own + b.Own, Pulls: a.Pulls + b.Pulls}
}

// Walk is part of steward.Ledger.
func (m *Memory) Walk(ctx context.Context, after grasp.Addr, limit int) ([]steward.Weighed, error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.Wrap("memory: walk", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []steward.Weighed
	for repo := range m.repos {
		out = append(out, steward.Weighed{Repo: repo, Weight: m.weights[repo]})
	}
	for repo, w := range m.weights {
		if repo.Box {
			out = append(out, steward.Weighed{Repo: repo, Weight: w})
		}
	}
	order := func(a, b grasp.Addr) int {
		switch {
		case a.Box != b.Box:
			if a.Box {
				return 1
			}
			return -1
		case a.Box:
			return cmp.Or(cmp.Compare(a.Owner, b.Owner), cmp.Compare(a.ID, b.ID))
		}
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Owner, b.Owner))
	}
	slices.SortFunc(out, func(a, b steward.Weighed) int { return order(a.Repo, b.Repo) })
	out = slices.DeleteFunc(out, func(w steward.Weighed) bool { return order(w.Repo, after) <= 0 })
	return first(out, limit), nil
}

// Weights returns what is recorded of every repository that weighs anything.
func (m *Memory) Weights() map[grasp.Addr]steward.Weight {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.weights)
}

// Thread is part of steward.Ledger.
func (m *Memory) Thread(ctx context.Context, id grasp.EventID) (steward.Thread, error) {
	if err := ctx.Err(); err != nil {
		return steward.Thread{}, fault.Wrap("memory: thread", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	h, ok := m.events[id]
	if !ok || h.Shelf != grasp.Served {
		return steward.Thread{}, nil
	}
	_, addrs := grasp.Anchors(h.Event)
	return steward.Thread{
		Served: true, Kind: h.Event.Kind, Coordinate: grasp.CoordinateOf(h.Event), Charges: slices.Clone(h.Charges), Addrs: addrs,
	}, nil
}

// Charges returns what an event counts for; nothing if it is not here.
func (m *Memory) Charges(ctx context.Context, id grasp.EventID) ([]steward.Charge, error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.Wrap("memory: charges", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if h, ok := m.events[id]; ok {
		return slices.Clone(h.Charges), nil
	}
	return nil, nil
}

// Tally is part of steward.Ledger.
func (m *Memory) Tally(ctx context.Context, list []steward.Charge) ([]int, error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.Wrap("memory: tally", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]int, len(list))
	for i, c := range list {
		for _, h := range m.events {
			if slices.Contains(h.Charges, c) {
				out[i]++
			}
		}
	}
	return out, nil
}

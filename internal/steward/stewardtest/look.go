package stewardtest

import (
	"maps"
	"slices"
	"strings"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
)

// check refuses what no ledger could write down.
func check(c steward.Change) error {
	bad := func(what string) error { return fault.E(fault.Invalid, "memory: commit", what) }
	hex := func(values ...string) bool {
		return !slices.ContainsFunc(values, func(v string) bool { return !grasp.IsHex(v, 64) })
	}
	for i := range c.Jobs {
		if err := c.Jobs[i].Check(); err != nil {
			return err
		}
	}
	if e := c.Put; e != nil {
		if e.Event == nil || e.Shelf != grasp.Waiting && e.Shelf != grasp.Served {
			return bad("an event for no shelf")
		}
		ev := new(nostr.Event)
		if err := ev.UnmarshalJSON(e.Raw); err != nil || ev.ID != e.Event.ID || !hex(ev.ID, ev.PubKey) {
			return bad("an event without its JSON")
		}
	}
	for _, id := range slices.Concat(c.Release, c.Drop, slices.Collect(maps.Keys(c.Extend))) {
		if !hex(string(id)) {
			return bad("no event id")
		}
	}
	for _, t := range c.Tombs {
		if !hex(string(t.By)) || t.ID == "" && t.Coordinate == "" && !t.Vanish || t.ID != "" && !hex(string(t.ID)) {
			return bad("a tomb for nothing")
		}
	}
	for _, r := range c.Repos {
		if !hex(string(r.Addr.Owner)) || r.Addr.Box {
			return bad("no owner")
		}
	}
	for _, w := range c.Weighed {
		if !hex(string(w.Repo.Owner)) || w.Weight.Own < 0 || w.Weight.Pulls < 0 {
			return bad("no weight")
		}
	}
	for _, o := range c.Orphans {
		if !hex(string(o.Repo.Owner), string(o.Event)) {
			return bad("no orphan")
		}
	}
	for _, m := range c.Moves {
		if !hex(string(m.Repo.Owner)) || m.Cause != "" && !hex(string(m.Cause)) {
			return bad("no move")
		}
		for _, ch := range m.Changes {
			if _, ok := ch.Ref.Pull(); m.Repo.Box && !ok {
				return bad("a box with a ref that is no pull request's")
			}
			for _, o := range []grasp.OID{ch.Old, ch.New} {
				if o != "" && !grasp.IsHex(string(o), 40) && !grasp.IsHex(string(o), 64) {
					return bad("no object id")
				}
			}
		}
	}
	return nil
}

// Moves returns the journal of moves of repo, in the order in which they were written.
func (m *Memory) Moves(repo grasp.Addr) []grasp.RefChange {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []grasp.RefChange
	for _, mv := range m.moves {
		if mv.Repo == repo {
			out = append(out, mv.Changes...)
		}
	}
	return out
}

// Journal returns every move of every repository, in the order in which they were written.
func (m *Memory) Journal() []steward.Moved {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.moves)
}

// Shelf returns where the event with this id rests.
func (m *Memory) Shelf(id string) grasp.Shelf {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h, ok := m.events[grasp.EventID(id)]; ok {
		return h.Shelf
	}
	return grasp.Nowhere
}

// Arrival numbers the arrivals of events: one that was removed and came again has another. It is 0
// for an event that is not here.
func (m *Memory) Arrival(id string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h, ok := m.events[grasp.EventID(id)]; ok {
		return h.seq
	}
	return 0
}

// Entries returns all events of both shelves in the order of their arrival.
func (m *Memory) Entries() []steward.Entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	return entries(m.sorted(func(*held) bool { return true }))
}

// Repos returns all repositories that have a home here or had one until recently, in the order of
// their names.
func (m *Memory) Repos() []steward.Repo {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.SortedFunc(maps.Values(m.repos), func(a, b steward.Repo) int {
		return strings.Compare(a.Addr.Coordinate(), b.Addr.Coordinate())
	})
}

// Orphans returns the PR refs that wait for their event, in the order of their names.
func (m *Memory) Orphans() []steward.Orphan {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []steward.Orphan
	for k, at := range m.orphans {
		out = append(out, steward.Orphan{Repo: k.repo, Event: k.id, Deadline: at})
	}
	slices.SortFunc(out, func(a, b steward.Orphan) int {
		return strings.Compare(a.Repo.String()+string(a.Event), b.Repo.String()+string(b.Event))
	})
	return out
}

// Marked reports whether id is marked as in need of a settlement.
func (m *Memory) Marked(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.unsettled[id]
	return ok
}

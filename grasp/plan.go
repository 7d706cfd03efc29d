package grasp

import (
	"maps"
	"slices"
	"strings"
)

// A Plan is what must happen for repositories and events of one identifier to agree. Planning
// again after a plan was carried out yields an empty one.
type Plan struct {
	Repos   []RepoPlan // in the order of their owners; only those where something changes
	Release []EventID  // waiting events that become visible, in this order
	Drop    []EventID  // waiting events that a released one supersedes
}

// A RepoPlan is what must happen to the refs of one repository.
type RepoPlan struct {
	Repo  Addr
	Edits []RefChange // in the order of their names
	Head  RefName     // the branch that HEAD must name; "" leaves it
	Cause EventID     // the state that says so, or ""
}

// Empty reports whether there is nothing to do.
func (p Plan) Empty() bool { return len(p.Repos) == 0 && len(p.Release) == 0 && len(p.Drop) == 0 }

// servedInReserve is how many served states of one repository are considered when the objects of
// the newest are lost.
const servedInReserve = 4

// Wants returns the objects about which Plan has to know whether they are complete, in any
// repository of this identifier (G01-307).
func (v View) Wants() []OID {
	set := OIDSet{}
	for owner, h := range v.Hosted {
		if h != Live {
			continue
		}
		served := 0
		for _, s := range v.statesOf(v.Maintainers(owner)) {
			if s.Shelf == Served {
				if served++; served > servedInReserve {
					continue
				}
			}
			for _, o := range s.Refs {
				set.Add(o)
			}
		}
	}
	for _, p := range v.Pulls {
		if p.Tip != "" {
			set.Add(p.Tip)
		}
	}
	out := make([]OID, 0, len(set))
	for o := range set {
		out = append(out, o)
	}
	slices.Sort(out)
	return out
}

// Plan works out what must happen. at holds the refs of every hosted repository by owner, have
// the complete ones among Wants, and expired the PR refs whose time without an event is over
// (G01-707). A repository without a snapshot is left alone.
func (v View) Plan(at map[PubKey]*Snapshot, have OIDSet, expired map[PubKey][]EventID) Plan {
	p := planner{
		View: v, have: have,
		sets: map[PubKey]KeySet{}, states: map[PubKey][]State{},
		whole: map[EventID]bool{},
		open:  KeySet{}, members: KeySet{}, released: map[PubKey]State{},
	}
	var owners []PubKey
	for o, h := range v.Hosted {
		if h == Live && at[o] != nil {
			owners = append(owners, o)
		}
	}
	slices.Sort(owners)
	for _, o := range owners {
		p.states[o] = v.statesOf(p.maintainers(o))
	}
	// What becomes visible is settled first: a state that another one supersedes moves nothing
	// any more.
	p.releaseAnnouncements(owners)
	p.releaseStates()
	repos := make(map[PubKey]*RepoPlan, len(owners))
	for _, o := range owners {
		repos[o] = p.align(o, at[o])
	}
	p.pulls(at, repos)
	for _, o := range owners {
		for _, id := range expired[o] {
			p.removeOrphan(at[o], id, repos[o])
		}
	}
	for _, o := range owners {
		if r := repos[o]; len(r.Edits) > 0 || r.Head != "" {
			slices.SortFunc(r.Edits, func(a, b RefChange) int { return strings.Compare(string(a.Ref), string(b.Ref)) })
			p.plan.Repos = append(p.plan.Repos, *r)
		}
	}
	return p.plan
}

type planner struct {
	View
	have     OIDSet
	sets     map[PubKey]KeySet  // maintainer sets, once computed
	states   map[PubKey][]State // statesOf the maintainers of each owner
	whole    map[EventID]bool   // whether a state is complete, once known
	open     KeySet             // owners whose announcement is served once the plan is carried out
	members  KeySet             // maintainers of those
	released map[PubKey]State   // by author, the newest that is served once the plan is carried out
	plan     Plan
}

// maintainers is Maintainers, remembered.
func (p *planner) maintainers(owner PubKey) KeySet {
	m, ok := p.sets[owner]
	if !ok {
		m = p.View.Maintainers(owner)
		p.sets[owner] = m
	}
	return m
}

// complete reports whether everything that s declares is here.
func (p *planner) complete(s State) bool {
	is, known := p.whole[s.ID]
	if !known {
		is = len(s.Unsatisfiable) == 0
		for _, o := range s.Refs {
			if !is {
				break
			}
			is = p.have.Has(o)
		}
		p.whole[s.ID] = is
	}
	return is
}

// target finds the newest complete state that speaks for owner's repository, and those that are
// newer but not complete. It returns nil if there is none. A state that is older than the one
// served is reached only when the objects of that one are lost (G01-310).
func (p *planner) target(owner PubKey) (target *State, coming []State) {
	served := 0
	for _, s := range p.states[owner] {
		if p.superseded(s) {
			continue
		}
		if s.Shelf == Served {
			served++
		}
		if served > servedInReserve {
			break
		}
		if p.complete(s) {
			return &s, coming
		}
		coming = append(coming, s)
	}
	return nil, coming
}

// superseded reports whether s is no more once the plan is carried out: dropped, or replaced by a
// state of its author that is released.
func (p *planner) superseded(s State) bool {
	by, ok := p.released[s.Author]
	return ok && newer(by, s)
}

// align says how owner's repository differs from what it should look like.
func (p *planner) align(owner PubKey, now *Snapshot) *RepoPlan {
	r := &RepoPlan{Repo: Addr{owner, p.ID}}
	target, coming := p.target(owner)
	if target == nil {
		r.Head = pickHead(now, now.Refs, coming)
		return r
	}
	r.Cause = target.ID
	r.Edits = editsTowards(*target, now.Refs, coming)
	after := now.Refs.Apply(r.Edits)
	if len(coming) > 0 {
		if _, _, clash := conflict(after); clash {
			r.Edits = editsTowards(*target, now.Refs, nil)
			after = now.Refs.Apply(r.Edits)
		}
	}
	r.Head = pickHead(now, after, []State{*target})
	return r
}

// editsTowards returns what makes heads and tags those of target (G01-603). What a granted push
// has already moved towards a state that is still coming stays as it is (G01-502).
func editsTowards(target State, now Refs, coming []State) []RefChange {
	kept := func(ref RefName, is OID) bool {
		return slices.ContainsFunc(coming, func(s State) bool {
			if is.IsZero() {
				return target.Shelf == Served && !s.declares(ref)
			}
			return s.Refs[ref] == is
		})
	}
	var out []RefChange
	for ref, is := range now {
		if ref.IsNostr() {
			continue
		}
		if want := target.Refs.value(ref); want != is && !kept(ref, is) {
			out = append(out, RefChange{ref, is, want})
		}
	}
	for ref, want := range target.Refs {
		if _, ok := now[ref]; !ok && !kept(ref, ZeroOID) {
			out = append(out, RefChange{ref, ZeroOID, want})
		}
	}
	return out
}

// pickHead returns the branch that HEAD must name, or "" if it is right already (G01-604,
// G01-605, H-209).
func pickHead(now *Snapshot, refs Refs, states []State) RefName {
	exists := func(r RefName) bool { _, ok := refs[r]; return ok && r.IsHead() }
	choose := func() RefName {
		for _, s := range states {
			if s.Head != "" && s.declares(s.Head) && exists(s.Head) {
				return s.Head
			}
		}
		for _, r := range []RefName{now.Head, "refs/heads/main", "refs/heads/master"} {
			if exists(r) {
				return r
			}
		}
		first := RefName("")
		for r := range refs {
			if r.IsHead() && (first == "" || r < first) {
				first = r
			}
		}
		return first
	}
	if h := choose(); h != now.Head {
		return h // "" where there is no branch at all
	}
	return ""
}

// releaseAnnouncements decides which announcements become visible: an owner's when a complete
// state speaks for the repository (G01-106), a maintainer's with the one that led to it (G01-111).
func (p *planner) releaseAnnouncements(owners []PubKey) {
	for _, o := range owners {
		a := p.Announcements[o]
		switch {
		case a.Shelf == Served:
			p.open[o] = struct{}{}
		case a.Shelf == Waiting && a.ListsUs:
			if target, _ := p.target(o); target != nil {
				p.open[o] = struct{}{}
				p.plan.Release = append(p.plan.Release, EventID(a.Event.ID))
			}
		}
	}
	for o := range p.open {
		maps.Copy(p.members, p.maintainers(o))
	}
	var led []EventID
	for k, a := range p.Announcements {
		if a.Shelf == Waiting && !a.ListsUs && p.members.Has(k) {
			led = append(led, EventID(a.Event.ID))
		}
	}
	slices.Sort(led)
	p.plan.Release = append(p.plan.Release, led...)
}

// releaseStates makes each author's newest complete waiting state visible, the oldest first, and
// drops what it supersedes (G01-309, G01-601).
func (p *planner) releaseStates() {
	var out []State
	for k, list := range p.States {
		if !p.members.Has(k) {
			continue
		}
		for _, s := range slices.SortedFunc(slices.Values(list), byAge) {
			_, done := p.released[k]
			switch {
			case done && s.Shelf == Waiting:
				p.plan.Drop = append(p.plan.Drop, s.ID)
			case !done && s.Shelf == Served:
				p.released[k] = s
			case !done && p.complete(s):
				p.released[k] = s
				out = append(out, s)
			}
		}
	}
	slices.SortFunc(out, func(a, b State) int { return byAge(b, a) })
	for _, s := range out {
		p.plan.Release = append(p.plan.Release, s.ID)
	}
	slices.Sort(p.plan.Drop)
}

// pulls moves the refs of pull requests and releases the waiting ones whose commit is here
// (G01-703, G01-704, G01-705).
func (p *planner) pulls(at map[PubKey]*Snapshot, repos map[PubKey]*RepoPlan) {
	for _, id := range slices.Sorted(maps.Keys(p.Pulls)) {
		pull := p.Pulls[id]
		concerned := p.concerned(pull, p.maintainers)
		here := pull.Tip != "" && p.have.Has(pull.Tip)
		ref := PullRef(id)
		for _, o := range concerned {
			r := repos[o]
			if r == nil {
				continue
			}
			is := at[o].Refs.value(ref)
			switch {
			case here && is != pull.Tip:
				r.Edits = append(r.Edits, RefChange{ref, is, pull.Tip})
			case !here && is != ZeroOID && pull.Shelf == Waiting:
				r.Edits = append(r.Edits, RefChange{ref, is, ZeroOID})
			}
		}
		if here && len(concerned) > 0 && pull.Shelf == Waiting {
			p.plan.Release = append(p.plan.Release, id)
		}
	}
}

// removeOrphan deletes the PR ref of an event that never came.
func (p *planner) removeOrphan(now *Snapshot, id EventID, r *RepoPlan) {
	ref := PullRef(id)
	is := now.Refs.value(ref)
	if is == ZeroOID || slices.ContainsFunc(r.Edits, func(c RefChange) bool { return c.Ref == ref }) {
		return
	}
	if pull, ok := p.Pulls[id]; ok && pull.Tip == is {
		return
	}
	r.Edits = append(r.Edits, RefChange{ref, is, ZeroOID})
}

package grasp

import (
	"maps"
	"slices"
	"strings"
)

// A Plan is what must happen for repositories and events of one identifier to agree. Planning
// again after a plan was carried out yields an empty one.
type Plan struct {
	Repos   []RepoPlan // in the order of their owners, boxes last; only those where something changes
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
	p := newPlanner(v)
	wanted := make([]bool, len(p.states))
	for owner, h := range v.Hosted {
		if h == Live {
			p.speakers(owner, func(i int) bool { wanted[i] = true; return true })
		}
	}
	set := OIDSet{}
	for i, s := range p.states {
		if wanted[i] {
			for _, o := range s.Refs {
				set.Add(o)
			}
		}
	}
	for _, pull := range v.Pulls {
		if pull.Tip != "" {
			set.Add(pull.Tip)
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// Plan works out what must happen. at holds the refs of every hosted repository, and of the
// contributor's boxes that have to be looked at: those that a pull request of the View may be in.
// have holds the complete ones among Wants in the hosted repositories and in those Mirrored, and expired the PR refs whose
// time without an event is over (G01-707). A repository or box without a snapshot is left alone.
func (v View) Plan(at map[Addr]*Snapshot, have OIDSet, expired map[Addr][]EventID) Plan {
	p := newPlanner(v)
	p.have = have
	var owners []PubKey
	var boxes []Addr
	for a, snap := range at {
		switch {
		case a.ID != v.ID || snap == nil: // a box of another identifier is only looked into
		case a.Box:
			boxes = append(boxes, a)
		case v.Hosted[a.Owner] == Live:
			owners = append(owners, a.Owner)
		}
	}
	slices.Sort(owners)
	slices.SortFunc(boxes, func(a, b Addr) int { return strings.Compare(string(a.Owner), string(b.Owner)) })
	// What becomes visible is settled first: a state that another one supersedes moves nothing
	// any more.
	p.releaseAnnouncements(owners)
	p.releaseStates()
	repos := make(map[Addr]*RepoPlan, len(owners)+len(boxes))
	var order []Addr
	for _, o := range owners {
		repo := Addr{Owner: o, ID: v.ID}
		order, repos[repo] = append(order, repo), p.align(repo, at[repo])
	}
	for _, b := range boxes {
		order, repos[b] = append(order, b), &RepoPlan{Repo: b}
	}
	p.pulls(at, repos)
	for _, a := range order {
		for _, id := range expired[a] {
			p.removeOrphan(at[a], id, repos[a])
		}
	}
	for _, a := range order {
		if r := repos[a]; len(r.Edits) > 0 || r.Head != "" {
			slices.SortFunc(r.Edits, func(a, b RefChange) int { return strings.Compare(string(a.Ref), string(b.Ref)) })
			p.plan.Repos = append(p.plan.Repos, *r)
		}
	}
	return p.plan
}

type planner struct {
	View
	census *census
	have   OIDSet
	sets   map[PubKey]people // maintainer sets, once computed

	// states are all of the View, newest first; the rest is by their index.
	states  []*State
	author  []int  // its number in the census
	checked []bool // whether complete was worked out
	whole   []bool // and what it is
	gone    []bool // dropped, or replaced by a state that is released

	members people // the maintainers of all repositories whose announcement is served in the end
	plan    Plan
}

func newPlanner(v View) *planner {
	p := &planner{View: v, census: newCensus(v), sets: make(map[PubKey]people, len(v.Hosted))}
	for _, list := range v.States {
		for i := range list {
			p.states = append(p.states, &list[i])
		}
	}
	slices.SortFunc(p.states, byAge)
	n := len(p.states)
	p.author, p.checked, p.whole, p.gone = make([]int, n), make([]bool, n), make([]bool, n), make([]bool, n)
	for i, s := range p.states {
		p.author[i] = p.census.of(s.Author)
	}
	return p
}

// maintainers is Maintainers, remembered.
func (p *planner) maintainers(owner PubKey) people {
	m, ok := p.sets[owner]
	if !ok {
		m = p.census.maintainers(owner)
		p.sets[owner] = m
	}
	return m
}

// complete reports whether everything that state i declares is here.
func (p *planner) complete(i int) bool {
	if !p.checked[i] {
		p.checked[i] = true
		p.whole[i] = len(p.states[i].Unsatisfiable) == 0
		for _, o := range p.states[i].Refs {
			if !p.whole[i] {
				break
			}
			p.whole[i] = p.have.Has(o)
		}
	}
	return p.whole[i]
}

// speakers calls f with the states that speak for owner's repository, newest first, until it
// returns false or the reserve is used up.
func (p *planner) speakers(owner PubKey, f func(i int) bool) {
	m := p.maintainers(owner)
	served := 0
	for i, s := range p.states {
		if p.gone[i] || !m.has(p.author[i]) || s.Empty() {
			continue
		}
		if s.Shelf == Served {
			if served++; served > servedInReserve {
				continue
			}
		}
		if !f(i) {
			return
		}
	}
}

// target finds the newest complete state that speaks for owner's repository, and those that are
// newer but not complete. It returns nil if there is none. A state that is older than the one
// served is reached only when the objects of that one are lost (G01-310).
func (p *planner) target(owner PubKey) (target *State, coming []*State) {
	p.speakers(owner, func(i int) bool {
		if p.complete(i) {
			target = p.states[i]
			return false
		}
		coming = append(coming, p.states[i])
		return true
	})
	return target, coming
}

// align says how a repository differs from what it should look like.
func (p *planner) align(repo Addr, now *Snapshot) *RepoPlan {
	r := &RepoPlan{Repo: repo}
	target, coming := p.target(repo.Owner)
	if target == nil {
		r.Head = pickHead(now, now.Refs, coming)
		return r
	}
	r.Cause = target.ID
	r.Edits = editsTowards(target, now.Refs, coming)
	after := now.Refs.Apply(r.Edits)
	if len(coming) > 0 {
		if _, _, clash := conflict(after); clash {
			r.Edits = editsTowards(target, now.Refs, nil)
			after = now.Refs.Apply(r.Edits)
		}
	}
	r.Head = pickHead(now, after, []*State{target})
	return r
}

// editsTowards returns what makes heads and tags those of target (G01-603). What a granted push
// has already moved towards a state that is still coming stays as it is (G01-502).
func editsTowards(target *State, now RefList, coming []*State) []RefChange {
	kept := func(ref RefName, is OID) bool {
		return slices.ContainsFunc(coming, func(s *State) bool {
			if is.IsZero() {
				return target.Shelf == Served && !s.declares(ref)
			}
			return s.Refs[ref] == is
		})
	}
	var out []RefChange
	for ref, is := range now.Coded() {
		if want := value(target.Refs, ref); want != is && !kept(ref, is) {
			out = append(out, RefChange{ref, is, want})
		}
	}
	for ref, want := range target.Refs {
		if _, ok := now.Tip(ref); !ok && !kept(ref, ZeroOID) {
			out = append(out, RefChange{ref, ZeroOID, want})
		}
	}
	return out
}

// pickHead returns the branch that HEAD must name, or "" if it is right already (G01-604,
// G01-605, H-209).
func pickHead(now *Snapshot, refs RefList, states []*State) RefName {
	exists := func(r RefName) bool { _, ok := refs.Tip(r); return ok && r.IsHead() }
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
		for r := range refs.From(headsPrefix) {
			if r.Name.IsHead() {
				return r.Name
			}
			break
		}
		return ""
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
			p.members.addAll(p.maintainers(o))
		case a.Shelf == Waiting && a.Home():
			if target, _ := p.target(o); target != nil {
				p.members.addAll(p.maintainers(o))
				p.plan.Release = append(p.plan.Release, EventID(a.Event.ID))
			}
		}
	}
	var led []EventID
	for k, a := range p.Announcements {
		alone := a.Archived && p.Hosted[k] == Live // it has a repository of its own to wait for
		if a.Shelf == Waiting && !a.ListsUs && !alone && p.members.has(p.census.of(k)) {
			led = append(led, EventID(a.Event.ID))
		}
	}
	slices.Sort(led)
	p.plan.Release = append(p.plan.Release, led...)
}

// releaseStates makes each author's newest complete waiting state visible, the oldest first, and
// drops what it supersedes (G01-309, G01-601).
func (p *planner) releaseStates() {
	var out []EventID
	var settled people // authors whose newest served state is known
	for i, s := range p.states {
		if !p.members.has(p.author[i]) {
			continue
		}
		switch {
		case settled.has(p.author[i]):
			p.gone[i] = true
			if s.Shelf == Waiting {
				p.plan.Drop = append(p.plan.Drop, s.ID)
			}
		case s.Shelf == Served:
			settled.add(p.author[i])
		case p.complete(i):
			settled.add(p.author[i])
			out = append(out, s.ID)
		}
	}
	slices.Reverse(out)
	p.plan.Release = append(p.plan.Release, out...)
	slices.Sort(p.plan.Drop)
}

// pulls moves the refs of pull requests and releases the waiting ones whose commit is here
// (G01-703, G01-704, G01-705), or in the box of who signed them (G06-06, G06-08, G06-09). What is in
// a box was put there by its name: nothing is ever moved into one (G06-10), and what contradicts its
// event is taken out.
func (p *planner) pulls(at map[Addr]*Snapshot, repos map[Addr]*RepoPlan) {
	for _, id := range slices.Sorted(maps.Keys(p.Pulls)) {
		pull := p.Pulls[id]
		concerned := p.census.concerned(pull, p.maintainers)
		here := len(concerned) > 0 && pull.Tip != "" && p.have.Has(pull.Tip) || pull.boxed(at)
		ref := PullRef(id)
		for _, o := range concerned {
			repo := Addr{Owner: o, ID: p.ID}
			r := repos[repo]
			if r == nil {
				continue
			}
			is := value(at[repo].Refs, ref)
			switch {
			case here && is != pull.Tip:
				r.Edits = append(r.Edits, RefChange{ref, is, pull.Tip})
			case !here && is != ZeroOID && pull.Shelf == Waiting:
				r.Edits = append(r.Edits, RefChange{ref, is, ZeroOID})
			}
		}
		box := Addr{Owner: pull.author(), ID: p.ID, Box: true}
		if r := repos[box]; r != nil && pull.Fits(box) {
			if is := value(at[box].Refs, ref); is != ZeroOID && is != pull.Tip {
				r.Edits = append(r.Edits, RefChange{ref, is, ZeroOID})
			}
		}
		if here && pull.Shelf == Waiting {
			p.plan.Release = append(p.plan.Release, id)
		}
	}
}

// removeOrphan deletes the PR ref of an event that never came.
func (p *planner) removeOrphan(now *Snapshot, id EventID, r *RepoPlan) {
	ref := PullRef(id)
	is := value(now.Refs, ref)
	if is == ZeroOID || slices.ContainsFunc(r.Edits, func(c RefChange) bool { return c.Ref == ref }) {
		return
	}
	if pull, ok := p.Pulls[id]; ok && pull.Tip == is && (!r.Repo.Box || pull.Fits(r.Repo)) {
		return
	}
	r.Edits = append(r.Edits, RefChange{ref, is, ZeroOID})
}

package grasp_test

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/gitroost/gitroost/grasp"
)

// --- what an independent reader of the specification expects ---

// ranked returns the states of owner's maintainers that declare something, newest first
// (G01-308, G01-311).
func (w *world) ranked(owner grasp.PubKey) []grasp.State {
	m := w.view.Maintainers(owner)
	out := slices.DeleteFunc(w.states(), func(s grasp.State) bool {
		return !m.Has(s.Author) || len(s.Refs)+len(s.Unsatisfiable) == 0
	})
	slices.SortFunc(out, func(a, b grasp.State) int {
		if a.At != b.At {
			return int(b.At - a.At)
		}
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return out
}

// branchesOf returns heads and tags.
func branchesOf(r grasp.Refs) grasp.Refs {
	out := grasp.Refs{}
	for n, o := range r {
		if n.IsHead() || n.IsTag() {
			out[n] = o
		}
	}
	return out
}

// may says what §2.9 and §2.11 say of a push whose old values are right: yes or no.
func (w *world) may(owner grasp.PubKey, updates []grasp.RefChange) bool {
	now := w.at[addrOf(owner)].Refs.Map()
	moves := map[grasp.RefName]grasp.OID{}
	var real []grasp.RefChange
	for _, u := range updates {
		if slices.Contains(badRefs, u.Ref) {
			return false // G01-506, G01-701
		}
		is := now[u.Ref]
		if is == "" {
			is = grasp.ZeroOID
		}
		if is == u.New {
			continue // H-249
		}
		real = append(real, u)
		if id, ok := u.Ref.Pull(); ok {
			_, foreign := w.view.Foreign[id]
			p, known := w.view.Pulls[id]
			if u.New.IsZero() || foreign || known && (p.Tip != u.New || !slices.Contains(w.view.Concerned(p), owner)) {
				return false // G01-702, G01-706
			}
			continue
		}
		moves[u.Ref] = u.New
	}
	if len(real) == 0 {
		return true
	}
	if w.view.Hosted[owner] != grasp.Live {
		return false // G01-115
	}
	if len(moves) == 0 {
		return true
	}
	if w.view.Sealed || w.view.Announcements[owner].Archived {
		return false // G05-03
	}
	res := branchesOf(now.Apply(real))
	first := true
	for _, s := range w.ranked(owner) {
		if len(s.Unsatisfiable) == 0 && maps.Equal(res, s.Refs) {
			return true // G01-501
		}
		if first { // G01-502
			towards := true
			for n, o := range moves {
				if o.IsZero() {
					_, declared := s.Refs[n]
					towards = towards && !declared && !slices.Contains(s.Unsatisfiable, n)
				} else {
					towards = towards && s.Refs[n] == o
				}
			}
			if _, _, clash := grasp.Conflict(res); towards && !clash {
				return true
			}
		}
		first = false
		if s.Shelf == grasp.Served {
			break // G01-310
		}
	}
	return false
}

// newPush is a random push: towards a state, all of it or in part, and sometimes with something
// else among it.
func (w *world) newPush(owner grasp.PubKey) []grasp.RefChange {
	now := w.at[addrOf(owner)].Refs.Map()
	var out []grasp.RefChange
	if all := w.states(); len(all) > 0 && w.often(85) {
		aim := pick(w, all).Refs
		for _, u := range grasp.Diff(branchesOf(now), aim) {
			if w.often(80) {
				out = append(out, u)
			}
		}
	}
	add := func(r grasp.RefName, o grasp.OID) {
		if slices.ContainsFunc(out, func(u grasp.RefChange) bool { return u.Ref == r }) {
			return
		}
		u := grasp.RefChange{Ref: r, Old: grasp.ZeroOID, New: o}
		if is, ok := now[r]; ok {
			u.Old = is
		}
		out = append(out, u)
	}
	if w.often(20) {
		add(pick(w, branches), pick(w, append(commits, grasp.ZeroOID)))
	}
	if w.often(30) {
		add(grasp.PullRef(pick(w, requests)), pick(w, append(commits, grasp.ZeroOID)))
	}
	if w.often(4) {
		add(pick(w, badRefs), pick(w, commits))
	}
	if len(out) == 0 {
		add(pick(w, branches), pick(w, commits))
	}
	w.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// --- the properties ---

// The order in which events became known does not matter (G01-201, hardening §5).
func TestOrderDoesNotMatter(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		other := *w
		other.view.States = map[grasp.PubKey][]grasp.State{}
		for _, k := range w.Perm(len(people)) {
			list := slices.Clone(w.view.States[people[k]])
			w.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
			other.view.States[people[k]] = list
		}
		other.view.Announcements = map[grasp.PubKey]grasp.Announcement{}
		for _, k := range w.Perm(len(people)) {
			if a, ok := w.view.Announcements[people[k]]; ok {
				a.Maintainers = slices.Clone(a.Maintainers)
				w.Shuffle(len(a.Maintainers), func(i, j int) {
					a.Maintainers[i], a.Maintainers[j] = a.Maintainers[j], a.Maintainers[i]
				})
				other.view.Announcements[people[k]] = a
			}
		}
		for _, k := range people {
			if a, b := w.view.Maintainers(k), other.view.Maintainers(k); !maps.Equal(a, b) {
				t.Errorf("maintainers of %s: %s or %s", nameOf(k), keysOf(a), keysOf(b))
			}
			a, _ := w.view.State(k)
			b, _ := other.view.State(k)
			if a.ID != b.ID {
				t.Errorf("state of %s: %s or %s", nameOf(k), nameOf(a.ID), nameOf(b.ID))
			}
			if snap := w.at[addrOf(k)]; snap != nil {
				push := w.newPush(k)
				_, err := w.view.CheckPush(addrOf(k), snap.Refs, push)
				_, err2 := other.view.CheckPush(addrOf(k), snap.Refs, push)
				if fmt.Sprint(err) != fmt.Sprint(err2) {
					t.Errorf("a push to %s: %v or %v", nameOf(k), err, err2)
				}
			}
		}
		if a, b := w.view.Wants(), other.view.Wants(); !slices.Equal(a, b) {
			t.Errorf("wants %v or %v", a, b)
		}
		if a, b := w.plan(), other.plan(); !reflect.DeepEqual(a, b) {
			t.Errorf("plans\n%s\n%s", spellPlan(a), spellPlan(b))
		}
	})
}

func addrOf(k grasp.PubKey) grasp.Addr { return grasp.Addr{Owner: k, ID: repoID} }

// Planning again after a plan was carried out has nothing left to do.
func TestPlanningTwiceIsPlanningOnce(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		w.apply(w.plan())
		if again := w.plan(); !again.Empty() {
			t.Errorf("the second plan: %s\nfirst, the world was\n%s\nand now", spellPlan(again), newWorld(w.seed))
		}
	})
}

// What a plan does is what somebody signed, and leaves repositories as they should be.
func TestPlansKeepTheRules(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p, here := w.plan(), w.here()
		for _, r := range p.Repos {
			w.checkEdits(t, r)
		}
		for _, id := range p.Release {
			if s, ok := w.state(id); ok {
				for n, o := range s.Refs {
					if !here.Has(o) {
						t.Errorf("%s is released, but %s is not here for %s (G01-307)", nameOf(id), nameOf(o), n)
					}
				}
				if s.Shelf != grasp.Waiting || len(s.Unsatisfiable) > 0 {
					t.Errorf("%s is released", nameOf(id))
				}
			}
			if pull, ok := w.view.Pulls[id]; ok && (!here.Has(pull.Tip) && !w.boxed(pull) || pull.Shelf != grasp.Waiting) {
				t.Errorf("pull request %s is released", nameOf(id))
			}
			if slices.Contains(p.Drop, id) {
				t.Errorf("%s is released and dropped", nameOf(id))
			}
		}
		for _, id := range p.Drop {
			if s, ok := w.state(id); !ok || s.Shelf != grasp.Waiting {
				t.Errorf("%s is dropped", nameOf(id))
			}
		}
		w.apply(p)
		for _, o := range w.owners() {
			if w.view.Hosted[o] == grasp.Live {
				w.checkAligned(t, o, w.at[addrOf(o)])
			}
		}
		// G01-407: no state is served in whose author's company no announcement is.
		for _, id := range p.Release {
			s, ok := w.state(id)
			if ok && !slices.ContainsFunc(people, func(o grasp.PubKey) bool {
				return w.view.Hosted[o] == grasp.Live && w.view.Announcements[o].Shelf == grasp.Served && w.view.Maintainers(o).Has(s.Author)
			}) {
				t.Errorf("%s is served, but no repository is that it speaks for", nameOf(id))
			}
		}
	})
}

// checkEdits: heads and tags move only to where a maintainer's state has them, PR refs only to
// their event's tip.
func (w *world) checkEdits(t *testing.T, r grasp.RepoPlan) {
	owner := r.Repo.Owner
	if r.Repo.Box {
		w.checkBoxEdits(t, r)
		return
	}
	if w.view.Hosted[owner] != grasp.Live {
		t.Errorf("%s is not live, and changed", nameOf(owner))
	}
	states := w.ranked(owner)
	for _, e := range r.Edits {
		is, exists := w.at[addrOf(owner)].Refs.Tip(e.Ref)
		if exists != !e.Old.IsZero() || exists && is != e.Old || e.Old == e.New {
			t.Errorf("%s: edit %+v", nameOf(owner), e)
		}
		if id, ok := e.Ref.Pull(); ok {
			p, known := w.view.Pulls[id]
			if !e.New.IsZero() && (!known || e.New != p.Tip) {
				t.Errorf("%s: PR ref %s moves to %s", nameOf(owner), nameOf(id), nameOf(e.New))
			}
			if e.New.IsZero() && known && e.Old == p.Tip {
				if w.have.Has(p.Tip) {
					t.Errorf("%s: PR ref %s of an accepted event goes", nameOf(owner), nameOf(id))
				}
			}
			continue
		}
		says := func(s grasp.State) bool {
			if e.New.IsZero() {
				_, declared := s.Refs[e.Ref]
				return !declared
			}
			return s.Refs[e.Ref] == e.New
		}
		if !slices.ContainsFunc(states, says) {
			t.Errorf("%s: %s moves to %s, which no maintainer's state says", nameOf(owner), e.Ref, nameOf(e.New))
		}
		cause, ok := w.state(r.Cause)
		if !ok || !says(cause) {
			t.Errorf("%s: %s moves to %s, but %s does not say so", nameOf(owner), e.Ref, nameOf(e.New), nameOf(r.Cause))
		}
	}
}

// checkAligned: heads and tags are those of the newest complete state, except for what a newer one,
// still coming, says of them; HEAD resolves if a branch exists; git can hold it all.
func (w *world) checkAligned(t *testing.T, owner grasp.PubKey, snap *grasp.Snapshot) {
	branch := false
	refs := snap.Refs.Map()
	for n := range refs {
		branch = branch || n.IsHead()
	}
	if _, ok := refs[snap.Head]; branch && !ok {
		t.Errorf("%s: HEAD names %s, which does not exist (H-209)", nameOf(owner), snap.Head)
	}
	if a, b, clash := grasp.Conflict(snap.Refs); clash {
		t.Errorf("%s: %s and %s", nameOf(owner), a, b)
	}
	var coming []grasp.State
	for _, s := range w.ranked(owner) {
		complete := len(s.Unsatisfiable) == 0
		for _, o := range s.Refs {
			complete = complete && w.have.Has(o)
		}
		if !complete {
			coming = append(coming, s)
			if s.Shelf == grasp.Served {
				return // its objects were lost: an older one stands in for it
			}
			continue
		}
		if h := s.Head; h != "" {
			if _, declared := s.Refs[h]; declared && refs[h] != "" && snap.Head != h {
				t.Errorf("%s: HEAD is %s, %s says %s (G01-604)", nameOf(owner), snap.Head, nameOf(s.ID), h)
			}
		}
		for _, n := range slices.Sorted(maps.Keys(refs.Apply(grasp.Diff(nil, s.Refs)))) {
			if n.IsNostr() || refs[n] == s.Refs[n] {
				continue
			}
			if !slices.ContainsFunc(coming, func(c grasp.State) bool { return c.Refs[n] == refs[n] }) {
				t.Errorf("%s: %s is %s, %s says %s (G01-603)", nameOf(owner), n, nameOf(refs[n]), nameOf(s.ID), nameOf(s.Refs[n]))
			}
		}
		return
	}
}

// CheckPush says what the specification says, and nothing outside the three namespaces passes.
func TestPushesAreJudgedByTheBook(t *testing.T) {
	granted, refused := 0, 0
	eachWorld(t, func(t *testing.T, w *world) {
		if w.often(50) {
			w.apply(w.plan())
		}
		for _, owner := range w.owners() {
			push := w.newPush(owner)
			want := w.may(owner, push)
			g, err := w.view.CheckPush(addrOf(owner), w.at[addrOf(owner)].Refs, push)
			if (err == nil) != want {
				t.Errorf("push to %s of %s: %v, want granted %t", nameOf(owner), spellChanges(push), err, want)
			}
			if err != nil {
				refused++
				refusal(t, err)
				continue
			}
			granted++
			for _, u := range g.Updates {
				_, pull := u.Ref.Pull()
				if _, ok := grasp.ParseRefName(string(u.Ref)); !ok || !u.Ref.IsHead() && !u.Ref.IsTag() && !pull {
					t.Errorf("granted: %s", u.Ref)
				}
				if !slices.Contains(push, u) {
					t.Errorf("granted, but not asked for: %v", u)
				}
			}
			if a, b, clash := grasp.Conflict(w.at[addrOf(owner)].Refs.Apply(g.Updates)); clash {
				t.Errorf("granted: %s and %s side by side", a, b)
			}
			// A wrong old value is never granted, if anything hangs on it (H-250).
			if len(g.Updates) > 0 {
				i := slices.Index(push, g.Updates[0])
				stale := slices.Clone(push)
				stale[i].Old = oid("somebody else's")
				if _, err := w.view.CheckPush(addrOf(owner), w.at[addrOf(owner)].Refs, stale); err == nil || refusal(t, err).Rule != "H-250" {
					t.Errorf("with a wrong old value: %v", err)
				}
			}
		}
	})
	if granted < worlds/5 || refused < worlds/5 {
		t.Errorf("%d pushes were granted, %d refused: these worlds prove little", granted, refused)
	}
}

// No granted push is undone by the plan that follows.
func TestNoGrantedPushIsUndone(t *testing.T) {
	moved := 0
	eachWorld(t, func(t *testing.T, w *world) {
		w.expired = nil
		w.apply(w.plan()) // a push meets a settled world
		for _, owner := range w.owners() {
			g, err := w.view.CheckPush(addrOf(owner), w.at[addrOf(owner)].Refs, w.newPush(owner))
			if err != nil || len(g.Updates) == 0 {
				continue
			}
			was := w.at[addrOf(owner)]
			w.at[addrOf(owner)] = &grasp.Snapshot{Refs: was.Refs.Apply(g.Updates), Head: was.Head}
			for _, u := range g.Updates {
				if !u.New.IsZero() {
					w.have.Add(u.New) // the pack was complete (H-253)
				}
			}
			p := w.plan()
			granting, cause := g.State, grasp.State{}
			for _, r := range p.Repos {
				if r.Repo.Owner == owner {
					cause, _ = w.state(r.Cause)
				}
			}
			w.apply(p)
			for _, u := range g.Updates {
				is := w.at[addrOf(owner)].Refs.OID(u.Ref)
				if is == "" {
					is = grasp.ZeroOID
				}
				moved++
				if is == u.New {
					continue
				}
				// Its author has asserted no refs since, and that has become visible (G01-311).
				if _, still := w.state(granting.ID); !still && w.emptied(granting.Author) {
					continue
				}
				// The objects of this very push can make another state complete. A newer one
				// is then the authority; an older one is served from now on, and may need
				// a ref that the push deleted on its way to a newer one.
				released := slices.Contains(p.Release, cause.ID)
				newer := cause.At > granting.At || cause.At == granting.At && cause.ID < granting.ID
				if released && cause.Refs[u.Ref] == w.at[addrOf(owner)].Refs.OID(u.Ref) && (newer || u.New.IsZero() || g.Partial && clashes(cause, granting)) {
					continue
				}
				t.Errorf("%s: %s was pushed to %s, granted by %s, and is at %s after %s",
					nameOf(owner), u.Ref, nameOf(u.New), nameOf(granting.ID), nameOf(is), spellPlan(p))
			}
			if again := w.plan(); !again.Empty() {
				t.Errorf("after a push to %s, settled: %s", nameOf(owner), spellPlan(again))
			}
		}
	})
	if moved < worlds/5 {
		t.Errorf("only %d refs were moved: these worlds prove little", moved)
	}
}

// emptied reports whether the served state of k declares nothing.
func (w *world) emptied(k grasp.PubKey) bool {
	return slices.ContainsFunc(w.view.States[k], func(s grasp.State) bool { return s.Shelf == grasp.Served && s.Empty() })
}

// clashes reports whether the refs of a and b cannot stand side by side in one repository.
func clashes(a, b grasp.State) bool {
	both := maps.Clone(a.Refs)
	maps.Copy(both, b.Refs)
	_, _, clash := grasp.Conflict(both)
	return clash
}

package grasp_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

var seedFlag = flag.Uint64("seed", 0, "first seed of the random worlds (also GRASP_SEED); 0 picks one")

// worlds is how many random worlds each property is tried on.
const worlds = 2500

// A world is all of one identifier: what is known, what the repositories look like, and which
// objects are complete.
type world struct {
	*rand.Rand
	seed    uint64
	view    grasp.View
	at      map[grasp.PubKey]*grasp.Snapshot
	have    grasp.OIDSet // everything complete, wanted or not
	expired map[grasp.PubKey][]grasp.EventID
	ids     int
}

var (
	people   = []grasp.PubKey{key("A"), key("B"), key("C"), key("D"), key("E")}
	commits  = []grasp.OID{oid("c1"), oid("c2"), oid("c3"), oid("c4"), oid("c5"), oid("c6")}
	branches = []grasp.RefName{ref("main"), ref("master"), ref("dev"), ref("a"), ref("a/b"), ref("a/b/c"), ref("tags/v1"), ref("tags/v1/x")}
	requests = []grasp.EventID{eventID("e1"), eventID("e2"), eventID("e3")}
	badRefs  = []grasp.RefName{"HEAD", "main", "refs/notes/x", "refs/heads/", "refs/heads/a..b", "refs/nostr/x", "refs/stash", "refs/heads/x.lock"}
)

// eachWorld runs f on many random worlds. A failure names the seed that brings its world back.
func eachWorld(t *testing.T, f func(t *testing.T, w *world)) {
	first := *seedFlag
	if s := os.Getenv("GRASP_SEED"); s != "" && first == 0 {
		var err error
		if first, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	if first == 0 {
		first = rand.Uint64N(1 << 40)
	}
	t.Logf("worlds from seed %d", first)
	for seed := first; seed < first+worlds; seed++ {
		w := newWorld(seed)
		f(t, w)
		if t.Failed() {
			t.Fatalf("in the world of -seed=%d:\n%s", seed, w)
		}
	}
}

func (w *world) often(percent int) bool { return w.IntN(100) < percent }

func pick[T any](w *world, list []T) T { return list[w.IntN(len(list))] }

func (w *world) id() grasp.EventID {
	w.ids++
	// In random order among equally old events, and yet with a number that can be read.
	return grasp.EventID(fmt.Sprintf("%08x%056d", w.Uint32(), w.ids))
}

func newWorld(seed uint64) *world {
	w := &world{
		Rand: rand.New(rand.NewPCG(seed, 1)), seed: seed,
		view: grasp.View{
			ID:            repoID,
			Announcements: map[grasp.PubKey]grasp.Announcement{},
			States:        map[grasp.PubKey][]grasp.State{},
			Pulls:         map[grasp.EventID]grasp.Pull{},
			Hosted:        map[grasp.PubKey]grasp.Hosting{},
			Foreign:       map[grasp.EventID]struct{}{},
		},
		at:      map[grasp.PubKey]*grasp.Snapshot{},
		have:    grasp.OIDSet{},
		expired: map[grasp.PubKey][]grasp.EventID{},
	}
	for _, k := range people {
		if w.often(70) {
			w.announce(k)
		}
		served := false
		for range w.IntN(4) {
			s := w.newState(k)
			if !served && w.often(40) {
				s.Shelf, served = grasp.Served, true // an author has one served state
			}
			w.view.States[k] = append(w.view.States[k], s)
		}
	}
	for _, id := range requests {
		switch w.IntN(5) {
		case 0, 1:
			p := grasp.Pull{
				ID: id, Shelf: grasp.Shelf(1 + w.IntN(2)), Tip: pick(w, commits),
				Event: &nostr.Event{ID: string(id)},
			}
			if w.often(10) {
				p.Tip = ""
			}
			for range 1 + w.IntN(2) {
				p.Repos = append(p.Repos, grasp.Addr{Owner: pick(w, people), ID: pick(w, []string{repoID, "other"})})
			}
			w.view.Pulls[id] = p
		case 2:
			w.view.Foreign[id] = struct{}{}
		}
	}
	for _, o := range slices.Sorted(maps.Keys(w.view.Hosted)) {
		w.at[o] = w.newSnapshot()
		for _, c := range w.at[o].Refs {
			w.have.Add(c)
		}
		for _, id := range requests {
			if _, known := w.view.Pulls[id]; !known && w.often(30) {
				w.expired[o] = append(w.expired[o], id)
			}
		}
	}
	for _, c := range commits {
		if w.often(50) {
			w.have.Add(c)
		}
	}
	return w
}

func (w *world) announce(k grasp.PubKey) {
	a := grasp.Announcement{
		Event: &nostr.Event{ID: string(w.id()), PubKey: string(k), Kind: grasp.KindAnnouncement},
		Addr:  grasp.Addr{Owner: k, ID: repoID},
		Shelf: grasp.Shelf(1 + w.IntN(2)), ListsUs: w.often(70),
	}
	for range w.IntN(3) {
		a.Maintainers = append(a.Maintainers, pick(w, people))
	}
	w.view.Announcements[k] = a
	switch {
	case a.ListsUs:
		w.view.Hosted[k] = grasp.Live
	case a.Shelf == grasp.Served && w.often(30):
		w.view.Hosted[k] = grasp.Withdrawn
	}
}

// newRefs is a random set of refs that git can hold, without PR refs.
func (w *world) newRefs() grasp.Refs {
	r := grasp.Refs{}
	for _, n := range branches {
		if w.often(40) {
			r[n] = pick(w, commits)
			if _, _, clash := grasp.Conflict(r); clash {
				delete(r, n)
			}
		}
	}
	return r
}

func (w *world) newState(k grasp.PubKey) grasp.State {
	s := grasp.State{
		ID: w.id(), Author: k, Repo: repoID, At: int64(w.IntN(6)), Shelf: grasp.Waiting,
		Refs: w.newRefs(),
	}
	s.Event = &nostr.Event{ID: string(s.ID)}
	if w.often(60) {
		s.Head = pick(w, branches[:5])
	}
	switch w.IntN(12) {
	case 0:
		s.Refs = grasp.Refs{}
	case 1:
		n := pick(w, branches)
		s.Refs[n] = pick(w, commits)
		if _, _, clash := grasp.Conflict(s.Refs); !clash {
			s.Unsatisfiable = append(s.Unsatisfiable, n)
		}
		delete(s.Refs, n)
	}
	return s
}

// newSnapshot is what a repository may look like: often like a state, with something changed.
func (w *world) newSnapshot() *grasp.Snapshot {
	s := &grasp.Snapshot{Refs: grasp.Refs{}, Head: pick(w, branches[:5])}
	if all := w.states(); len(all) > 0 && w.often(60) {
		s.Refs = maps.Clone(pick(w, all).Refs)
		if w.often(50) {
			delete(s.Refs, pick(w, branches))
		}
	} else if w.often(70) {
		s.Refs = w.newRefs()
	}
	for _, id := range requests {
		if w.often(30) {
			s.Refs[grasp.PullRef(id)] = pick(w, commits)
		}
	}
	return s
}

func (w *world) states() []grasp.State {
	var out []grasp.State
	for _, k := range people {
		out = append(out, w.view.States[k]...)
	}
	return out
}

func (w *world) state(id grasp.EventID) (grasp.State, bool) {
	for _, s := range w.states() {
		if s.ID == id {
			return s, true
		}
	}
	return grasp.State{}, false
}

func (w *world) plan() grasp.Plan {
	have := grasp.OIDSet{} // the caller of Plan looks only for what is wanted
	for _, o := range w.view.Wants() {
		if w.have.Has(o) {
			have.Add(o)
		}
	}
	return w.view.Plan(w.at, have, w.expired)
}

// apply carries a plan out, as a ledger and a vault would.
func (w *world) apply(p grasp.Plan) {
	for _, r := range p.Repos {
		was := w.at[r.Repo.Owner]
		is := &grasp.Snapshot{Refs: was.Refs.Apply(r.Edits), Head: was.Head}
		if r.Head != "" {
			is.Head = r.Head
		}
		w.at[r.Repo.Owner] = is
	}
	for k, a := range w.view.Announcements {
		if slices.Contains(p.Release, grasp.EventID(a.Event.ID)) {
			a.Shelf = grasp.Served
			w.view.Announcements[k] = a
		}
	}
	for id, pull := range w.view.Pulls {
		if slices.Contains(p.Release, id) {
			pull.Shelf = grasp.Served
			w.view.Pulls[id] = pull
		}
	}
	for k, list := range w.view.States {
		var out []grasp.State
		released := slices.ContainsFunc(list, func(s grasp.State) bool { return slices.Contains(p.Release, s.ID) })
		for _, s := range list {
			switch {
			case slices.Contains(p.Drop, s.ID):
			case slices.Contains(p.Release, s.ID):
				s.Shelf = grasp.Served
				out = append(out, s)
			case s.Shelf == grasp.Served && released: // replaced (N-009)
			default:
				out = append(out, s)
			}
		}
		w.view.States[k] = out
	}
}

func (w *world) String() string {
	var out string
	for _, k := range people {
		if a, ok := w.view.Announcements[k]; ok {
			m := grasp.KeySet{}
			for _, k := range a.Maintainers {
				m[k] = struct{}{}
			}
			out += fmt.Sprintf("%s: announced %s (%s), lists us %t, maintainers %s, hosting %d\n",
				nameOf(k), nameOf(grasp.EventID(a.Event.ID)), a.Shelf, a.ListsUs, keysOf(m), w.view.Hosted[k])
		}
		if s := w.at[k]; s != nil {
			out += fmt.Sprintf("%s: repository %s, HEAD %s\n", nameOf(k), spellChanges(grasp.Diff(nil, s.Refs)), shortRef(s.Head))
		}
		for _, s := range w.view.States[k] {
			out += fmt.Sprintf("%s: state %s at %d (%s): %s, HEAD %s, in vain %v\n",
				nameOf(k), nameOf(s.ID), s.At, s.Shelf, spellChanges(grasp.Diff(nil, s.Refs)), shortRef(s.Head), s.Unsatisfiable)
		}
	}
	for id, p := range w.view.Pulls {
		out += fmt.Sprintf("pull %s (%s) tip %s for %v\n", nameOf(id), p.Shelf, nameOf(p.Tip), p.Repos)
	}
	for _, c := range commits {
		if w.have.Has(c) {
			out += nameOf(c) + " "
		}
	}
	return out + "are complete\nplan: " + spellPlan(w.plan())
}

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
	now := w.at[owner].Refs
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
	now := w.at[owner].Refs
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
			if snap := w.at[k]; snap != nil {
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
		p := w.plan()
		for _, r := range p.Repos {
			w.checkEdits(t, r)
		}
		for _, id := range p.Release {
			if s, ok := w.state(id); ok {
				for n, o := range s.Refs {
					if !w.have.Has(o) {
						t.Errorf("%s is released, but %s is not here for %s (G01-307)", nameOf(id), nameOf(o), n)
					}
				}
				if s.Shelf != grasp.Waiting || len(s.Unsatisfiable) > 0 {
					t.Errorf("%s is released", nameOf(id))
				}
			}
			if pull, ok := w.view.Pulls[id]; ok && (!w.have.Has(pull.Tip) || pull.Shelf != grasp.Waiting) {
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
		for o, snap := range w.at {
			if w.view.Hosted[o] == grasp.Live {
				w.checkAligned(t, o, snap)
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
	if w.view.Hosted[owner] != grasp.Live {
		t.Errorf("%s is not live, and changed", nameOf(owner))
	}
	states := w.ranked(owner)
	for _, e := range r.Edits {
		is, exists := w.at[owner].Refs[e.Ref]
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
	for n := range snap.Refs {
		branch = branch || n.IsHead()
	}
	if _, ok := snap.Refs[snap.Head]; branch && !ok {
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
			if _, declared := s.Refs[h]; declared && snap.Refs[h] != "" && snap.Head != h {
				t.Errorf("%s: HEAD is %s, %s says %s (G01-604)", nameOf(owner), snap.Head, nameOf(s.ID), h)
			}
		}
		for _, n := range slices.Sorted(maps.Keys(snap.Refs.Apply(grasp.Diff(nil, s.Refs)))) {
			if n.IsNostr() || snap.Refs[n] == s.Refs[n] {
				continue
			}
			if !slices.ContainsFunc(coming, func(c grasp.State) bool { return c.Refs[n] == snap.Refs[n] }) {
				t.Errorf("%s: %s is %s, %s says %s (G01-603)", nameOf(owner), n, nameOf(snap.Refs[n]), nameOf(s.ID), nameOf(s.Refs[n]))
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
		for _, owner := range slices.Sorted(maps.Keys(w.at)) {
			push := w.newPush(owner)
			want := w.may(owner, push)
			g, err := w.view.CheckPush(addrOf(owner), w.at[owner].Refs, push)
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
			if a, b, clash := grasp.Conflict(w.at[owner].Refs.Apply(g.Updates)); clash {
				t.Errorf("granted: %s and %s side by side", a, b)
			}
			// A wrong old value is never granted, if anything hangs on it (H-250).
			if len(g.Updates) > 0 {
				i := slices.Index(push, g.Updates[0])
				stale := slices.Clone(push)
				stale[i].Old = oid("somebody else's")
				if _, err := w.view.CheckPush(addrOf(owner), w.at[owner].Refs, stale); err == nil || refusal(t, err).Rule != "H-250" {
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
		for _, owner := range slices.Sorted(maps.Keys(w.at)) {
			g, err := w.view.CheckPush(addrOf(owner), w.at[owner].Refs, w.newPush(owner))
			if err != nil || len(g.Updates) == 0 {
				continue
			}
			was := w.at[owner]
			w.at[owner] = &grasp.Snapshot{Refs: was.Refs.Apply(g.Updates), Head: was.Head}
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
				is := w.at[owner].Refs[u.Ref]
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
				if released && cause.Refs[u.Ref] == w.at[owner].Refs[u.Ref] && (newer || u.New.IsZero() || g.Partial && clashes(cause, granting)) {
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

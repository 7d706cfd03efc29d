package grasp_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
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
	at      map[grasp.Addr]*grasp.Snapshot
	have    grasp.OIDSet // everything complete, wanted or not
	expired map[grasp.Addr][]grasp.EventID
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
		at:      map[grasp.Addr]*grasp.Snapshot{},
		have:    grasp.OIDSet{},
		expired: map[grasp.Addr][]grasp.EventID{},
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
				Event: &nostr.Event{ID: string(id), PubKey: string(pick(w, people))},
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
		w.at[addrOf(o)] = w.newSnapshot()
		for _, c := range w.at[addrOf(o)].Refs.Map() {
			w.have.Add(c)
		}
		for _, id := range requests {
			if _, known := w.view.Pulls[id]; !known && w.often(30) {
				w.expired[addrOf(o)] = append(w.expired[addrOf(o)], id)
			}
		}
	}
	for _, c := range commits {
		if w.often(50) {
			w.have.Add(c)
		}
	}
	for _, k := range people { // contributors' boxes, one of them of another identifier
		for _, box := range []grasp.Addr{boxOf(k), {Owner: k, ID: "other", Box: true}} {
			if !w.often(40) {
				continue
			}
			s, refs := &grasp.Snapshot{Head: grasp.DefaultHead}, grasp.Refs{}
			for _, id := range requests {
				if w.often(40) {
					refs[grasp.PullRef(id)] = pick(w, commits)
				}
				if _, known := w.view.Pulls[id]; !known && w.often(30) {
					w.expired[box] = append(w.expired[box], id)
				}
			}
			s.Refs = refs.List()
			w.at[box] = s
		}
	}
	return w
}

// boxOf is the box of k for the identifier of the tests.
func boxOf(k grasp.PubKey) grasp.Addr { return grasp.Addr{Owner: k, ID: repoID, Box: true} }

func (w *world) announce(k grasp.PubKey) {
	a := grasp.Announcement{
		Event: &nostr.Event{ID: string(w.id()), PubKey: string(k), Kind: grasp.KindAnnouncement},
		Addr:  grasp.Addr{Owner: k, ID: repoID},
		Shelf: grasp.Shelf(1 + w.IntN(2)), ListsUs: w.often(70),
	}
	for range w.IntN(3) {
		a.Maintainers = append(a.Maintainers, pick(w, people))
	}
	a.Archived = !a.ListsUs && w.often(20)
	w.view.Announcements[k] = a
	switch {
	case a.Home():
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
	s, refs := &grasp.Snapshot{Head: pick(w, branches[:5])}, grasp.Refs{}
	if all := w.states(); len(all) > 0 && w.often(60) {
		refs = maps.Clone(pick(w, all).Refs)
		if w.often(50) {
			delete(refs, pick(w, branches))
		}
	} else if w.often(70) {
		refs = w.newRefs()
	}
	for _, id := range requests {
		if w.often(30) {
			refs[grasp.PullRef(id)] = pick(w, commits)
		}
	}
	s.Refs = refs.List()
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
	here := w.here()
	for _, o := range w.view.Wants() {
		if here.Has(o) {
			have.Add(o)
		}
	}
	return w.view.Plan(w.at, have, w.expired)
}

// here is what is complete in repositories, and in boxes that are about to be mirrored.
func (w *world) here() grasp.OIDSet {
	here := maps.Clone(w.have)
	for _, box := range w.view.Mirrored(w.at) {
		for _, c := range w.at[box].Refs.Map() {
			here.Add(c)
		}
	}
	return here
}

// boxed reports whether p is in a box of its author, for an identifier that it names.
func (w *world) boxed(p grasp.Pull) bool {
	for a, snap := range w.at {
		if a.Box && p.Event.PubKey == string(a.Owner) && snap.Refs.OID(grasp.PullRef(p.ID)) == p.Tip && p.Tip != "" &&
			slices.ContainsFunc(p.Repos, func(r grasp.Addr) bool { return r.ID == a.ID }) {
			return true
		}
	}
	return false
}

// owners are those whose repositories are looked at.
func (w *world) owners() []grasp.PubKey {
	var out []grasp.PubKey
	for a := range w.at {
		if !a.Box {
			out = append(out, a.Owner)
		}
	}
	slices.Sort(out)
	return out
}

// apply carries a plan out, as a ledger and a vault would.
func (w *world) apply(p grasp.Plan) {
	for _, r := range p.Repos {
		was := w.at[r.Repo]
		for _, e := range r.Edits {
			if !e.New.IsZero() && !r.Repo.Box {
				w.have.Add(e.New)
			}
		}
		is := &grasp.Snapshot{Refs: was.Refs.Apply(r.Edits), Head: was.Head}
		if r.Head != "" {
			is.Head = r.Head
		}
		w.at[r.Repo] = is
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
		if s := w.at[addrOf(k)]; s != nil {
			out += fmt.Sprintf("%s: repository %s, HEAD %s\n", nameOf(k), spellChanges(grasp.Diff(nil, s.Refs.Map())), shortRef(s.Head))
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

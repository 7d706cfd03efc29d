package steward_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/steward"
)

// facts is what is true of one identifier, found out without the desk.
type facts struct {
	view grasp.View
	refs map[grasp.PubKey]grasp.Refs
	head map[grasp.PubKey]grasp.RefName
	have grasp.OIDSet // complete in any repository of the identifier that is read
}

func (w *world) facts(id string) facts {
	raw, err := w.mem.View(context.Background(), id)
	if err != nil {
		w.fail("cannot look: %v", err)
	}
	f := facts{
		view: grasp.View{
			ID: id, Announcements: map[grasp.PubKey]grasp.Announcement{}, States: map[grasp.PubKey][]grasp.State{},
			Pulls: map[grasp.EventID]grasp.Pull{}, Hosted: map[grasp.PubKey]grasp.Hosting{},
		},
		refs: map[grasp.PubKey]grasp.Refs{}, head: map[grasp.PubKey]grasp.RefName{}, have: grasp.OIDSet{},
	}
	for _, e := range raw.Entries {
		switch e.Event.Kind {
		case grasp.KindAnnouncement:
			a, err := site.Announcement(e.Event)
			if err != nil {
				w.fail("stored announcement: %v", err)
			}
			a.Shelf = e.Shelf
			if was, ok := f.view.Announcements[a.Addr.Owner]; !ok || was.Event.CreatedAt < e.Event.CreatedAt {
				f.view.Announcements[a.Addr.Owner] = a
			}
		case grasp.KindState:
			s, err := grasp.ParseState(e.Event)
			if err != nil {
				w.fail("stored state: %v", err)
			}
			s.Shelf = e.Shelf
			f.view.States[s.Author] = append(f.view.States[s.Author], s)
		default:
			p, err := grasp.ParsePull(e.Event)
			if err != nil {
				w.fail("stored pull request: %v", err)
			}
			p.Shelf = e.Shelf
			f.view.Pulls[p.ID] = p
		}
	}
	for _, r := range raw.Repos {
		o := r.Addr.Owner
		f.view.Hosted[o] = r.Hosting
		f.refs[o], f.head[o], _ = w.disk.Refs(r.Addr)
	}
	for _, s := range f.view.States {
		for _, one := range s {
			for _, o := range one.Refs {
				f.look(w, o)
			}
		}
	}
	for _, p := range f.view.Pulls {
		f.look(w, p.Tip)
	}
	return f
}

func (f facts) look(w *world, o grasp.OID) {
	for owner, h := range f.view.Hosted {
		if (h == grasp.Live || h == grasp.Withdrawn) && w.disk.Complete(grasp.Addr{Owner: owner, ID: f.view.ID}, o) {
			f.have.Add(o)
		}
	}
}

func (f facts) complete(s grasp.State) bool {
	for _, o := range s.Refs {
		if !f.have.Has(o) {
			return false
		}
	}
	return len(s.Unsatisfiable) == 0
}

// states returns what the maintainers of owner's repository say, newest first, without what says
// nothing (G01-308, G01-311).
func (f facts) states(owner grasp.PubKey) []grasp.State {
	var out []grasp.State
	for m := range f.view.Maintainers(owner) {
		for _, s := range f.view.States[m] {
			if !s.Empty() {
				out = append(out, s)
			}
		}
	}
	slices.SortFunc(out, func(a, b grasp.State) int {
		if a.At != b.At {
			return int(b.At - a.At)
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	return out
}

// aligned says whether the refs of owner's repository are what the newest complete state says that
// may speak for it, but for what a granted push has moved towards a newer one that is not complete
// yet (I3, G01-308, G01-310, G01-502).
func (f facts) aligned(owner grasp.PubKey) error {
	var target *grasp.State
	var coming []grasp.State
	served := false
	for _, s := range f.states(owner) {
		if s.Shelf == grasp.Waiting && served {
			coming = append(coming, s) // it moves nothing, and nothing is moved away from it
			continue
		}
		served = served || s.Shelf == grasp.Served
		if f.complete(s) {
			target = &s
			break
		}
		coming = append(coming, s)
	}
	if target == nil {
		return nil // what is on disk stays (G01-205, G01-904)
	}
	refs := f.refs[owner]
	for ref, want := range target.Refs {
		is := refs[ref]
		moved := slices.ContainsFunc(coming, func(s grasp.State) bool { return s.Refs[ref] == is })
		if is != want && !moved {
			return fmt.Errorf("%s in %s's repository is %q, state %s says %s", ref, who(owner), is.Short(), target.ID.Short(), want.Short())
		}
	}
	for ref, is := range refs {
		_, declared := target.Refs[ref]
		moved := slices.ContainsFunc(coming, func(s grasp.State) bool { return s.Refs[ref] == is })
		if !declared && !moved && !ref.IsNostr() {
			return fmt.Errorf("%s in %s's repository is %s, state %s does not name it", ref, who(owner), is.Short(), target.ID.Short())
		}
	}
	if h := target.Head; h != "" && refs[h] != "" && target.Refs[h] != "" && f.head[owner] != h {
		return fmt.Errorf("HEAD of %s's repository is %s, state %s says %s", who(owner), f.head[owner], target.ID.Short(), h)
	}
	return nil
}

// agree checks that events, refs, and records agree everywhere.
func (w *world) agree() error {
	ids := map[string]bool{}
	hosted := map[grasp.Addr]grasp.Hosting{}
	for _, r := range w.mem.Repos() {
		ids[r.Addr.ID] = true
		hosted[r.Addr] = r.Hosting
	}
	for _, o := range w.mem.Orphans() {
		ids[o.Repo.ID] = true
	}
	for _, a := range w.disk.Folders() {
		if a.Box {
			ids[a.ID] = true
			if err := w.agreeOnBox(a); err != nil {
				return err
			}
		} else if hosted[a] == grasp.NotHosted {
			return fmt.Errorf("%s's repository does not live here and has a folder", who(a.Owner))
		}
	}
	weights := w.mem.Weights()
	for a, h := range hosted {
		if h == grasp.Deleted {
			delete(weights, a) // the last look at it may be the next sweep's
		}
	}
	for _, a := range w.disk.Folders() {
		if is, want := weights[a].Total(), w.disk.Size(a); is != want && hosted[a] != grasp.Deleted {
			return fmt.Errorf("%s of %s weighs %d bytes, recorded are %d", a.ID, who(a.Owner), want, is)
		}
		delete(weights, a)
	}
	if len(weights) > 0 {
		return fmt.Errorf("what has no folder weighs nothing: %v", weights)
	}
	for id := range ids {
		if w.mem.Marked(id) {
			return fmt.Errorf("%s is still marked as unsettled", id)
		}
		f := w.facts(id)
		for owner, h := range f.view.Hosted {
			if h != grasp.Live {
				continue
			}
			if err := w.agreeOn(f, grasp.Addr{Owner: owner, ID: id}); err != nil {
				return err
			}
		}
		if err := f.released(); err != nil {
			return err
		}
		for _, p := range f.view.Pulls {
			for _, box := range p.Lockers() {
				if p.Shelf == grasp.Waiting && w.ref(box, string(grasp.PullRef(p.ID))) == p.Tip {
					return fmt.Errorf("pull request %s still waits although its box has it (G06-08)", p.ID.Short())
				}
			}
		}
	}
	return nil
}

func (w *world) agreeOn(f facts, repo grasp.Addr) error {
	owner, refs := repo.Owner, f.refs[repo.Owner]
	if _, ok := f.view.Announcements[owner]; !ok {
		return fmt.Errorf("%s's repository lives here and nobody announced it", who(owner))
	}
	if err := f.aligned(owner); err != nil {
		return err
	}
	if _, ok := refs[f.head[owner]]; !ok {
		for r := range refs {
			if r.IsHead() {
				return fmt.Errorf("HEAD of %s's repository is %s, which does not exist", who(owner), f.head[owner])
			}
		}
	}
	return w.recorded(repo, refs)
}

// agreeOnBox checks that a contributor's box holds PR refs alone, and at least one (G06-12).
func (w *world) agreeOnBox(box grasp.Addr) error {
	refs, _, _ := w.disk.Refs(box)
	if len(refs) == 0 {
		return fmt.Errorf("%s is empty and still there", box)
	}
	for ref := range refs {
		if _, ok := ref.Pull(); !ok {
			return fmt.Errorf("%s holds %s", box, ref)
		}
	}
	return w.recorded(box, refs)
}

// recorded checks that the ledger knows what repo looks like and how it came to that, and that there is
// a reason for everything.
func (w *world) recorded(repo grasp.Addr, refs grasp.Refs) error {
	owner := repo.Owner
	differ, err := w.mem.Unrecorded(context.Background(), repo, refs.List())
	if err != nil {
		return err
	}
	if len(differ) > 0 {
		return fmt.Errorf("settled refs of %s's repository differ from the disk: %v", who(owner), differ)
	}
	journal := grasp.Refs{}
	for _, m := range w.mem.Moves(repo) {
		was, ok := journal[m.Ref]
		if !ok {
			was = grasp.ZeroOID
		}
		if was != m.Old {
			return fmt.Errorf("the journal says that %s moved from %s when it was %s", m.Ref, m.Old.Short(), was.Short())
		}
		journal = journal.Apply([]grasp.RefChange{m})
	}
	if !maps.Equal(journal, refs) {
		return fmt.Errorf("the journal of %s's repository leads to other refs: %v", who(owner), grasp.Diff(journal, refs))
	}
	for ref, is := range refs {
		if !w.disk.Complete(repo, is) {
			return fmt.Errorf("%s of %s's repository is not complete", ref, who(owner))
		}
		if id, ok := ref.Pull(); ok {
			if err := w.pullRef(repo, id, is); err != nil {
				return err
			}
		}
	}
	return nil
}

// pullRef checks that a PR ref is its event's, or that its clock runs (G01-702, G01-707).
func (w *world) pullRef(repo grasp.Addr, id grasp.EventID, is grasp.OID) error {
	if e, err := w.mem.Event(context.Background(), id); err == nil {
		p, err := grasp.ParsePull(e.Event)
		if root, rerr := w.mem.Event(context.Background(), p.Root); rerr == nil && len(p.Repos) == 0 {
			of, _ := grasp.ParsePull(root.Event)
			p.Repos = of.Repos
		}
		if err == nil && p.Tip == is && (!repo.Box || p.Fits(repo)) {
			return nil
		}
	}
	if !slices.ContainsFunc(w.mem.Orphans(), func(o steward.Orphan) bool { return o.Repo == repo && o.Event == id }) {
		return fmt.Errorf("PR ref %s in %s's repository has no event at %s and no deadline", id.Short(), who(repo.Owner), is.Short())
	}
	return nil
}

// released says whether nothing waits that has what it waited for (G01-405, G01-601).
func (f facts) released() error {
	for owner, h := range f.view.Hosted {
		a := f.view.Announcements[owner]
		if h != grasp.Live || a.Shelf != grasp.Served {
			continue
		}
		for m := range f.view.Maintainers(owner) {
			for _, s := range f.view.States[m] {
				if s.Shelf == grasp.Waiting && f.complete(s) {
					return fmt.Errorf("complete state %s by %s still waits", s.ID.Short(), who(m))
				}
			}
			if b, ok := f.view.Announcements[m]; ok && b.Shelf == grasp.Waiting && !b.ListsUs {
				return fmt.Errorf("the announcement of maintainer %s still waits", who(m))
			}
		}
	}
	for _, p := range f.view.Pulls {
		if p.Shelf == grasp.Waiting && f.have.Has(p.Tip) && len(f.view.Concerned(p)) > 0 {
			return fmt.Errorf("pull request %s still waits although %s is here", p.ID.Short(), p.Tip.Short())
		}
	}
	return nil
}

// print is all that lasts, but for times.
func (w *world) print() string {
	var b strings.Builder
	var events []string
	for _, e := range w.mem.Entries() {
		events = append(events, fmt.Sprintf("%s %s\n", e.Shelf, name(e.Event)))
	}
	slices.Sort(events)
	b.WriteString(strings.Join(events, ""))
	for _, r := range w.mem.Repos() {
		refs, head, _ := w.disk.Refs(r.Addr)
		fmt.Fprintf(&b, "repo %s %s hosting %d HEAD %s\n", r.Addr.ID, who(r.Addr.Owner), r.Hosting, head)
		for _, n := range refs.Sorted() {
			fmt.Fprintf(&b, "  %s %s\n", n, refs[n].Short())
		}
	}
	for _, a := range w.disk.Folders() {
		fmt.Fprintf(&b, "folder %s %s, box %t\n", a.ID, who(a.Owner), a.Box)
		if refs, _, _ := w.disk.Refs(a); a.Box {
			for _, n := range refs.Sorted() {
				fmt.Fprintf(&b, "  %s %s\n", n, refs[n].Short())
			}
		}
	}
	for _, o := range w.mem.Orphans() {
		fmt.Fprintf(&b, "orphan %s %s %s, box %t\n", o.Repo.ID, who(o.Repo.Owner), o.Event.Short(), o.Repo.Box)
	}
	return b.String()
}

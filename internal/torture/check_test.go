package torture_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitdir"
	"github.com/gitroost/gitroost/internal/store"
)

// recovery is how long a server may take, from its start, until events, refs and files agree (G4). On a
// machine of its own it takes a second.
const recovery = 2 * time.Minute

// ledger looks, while the server is dead, whether every event that it confirmed is stored (I1, G1).
func (r *run) ledger(teams []*team, all bool) {
	dir, err := os.MkdirTemp(r.dir, "ledger-")
	if err != nil {
		r.fault("%v", err)
		return
	}
	defer os.RemoveAll(dir)
	for _, ext := range []string{"", "-wal"} {
		b, err := os.ReadFile(filepath.Join(r.srv.data, "gitroost.db"+ext))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "gitroost.db"+ext), b, 0o600)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.fault("%v", err)
			return
		}
	}
	ctx := context.Background()
	st, err := store.Open(ctx, filepath.Join(dir, "gitroost.db"), store.Config{Now: time.Now})
	if err != nil {
		r.fault("the database of the dead server does not open: %v", err)
		return
	}
	defer st.Close()
	for _, t := range teams {
		from := max(0, t.checked-50)
		if all {
			from = 0
		}
		for _, rec := range t.records[from:] {
			r.stored(ctx, st, t, rec)
		}
		t.checked = len(t.records)
	}
}

// stored looks up one event.
func (r *run) stored(ctx context.Context, st *store.Store, t *team, rec *record) {
	e, err := st.Event(ctx, grasp.EventID(rec.ev.ID))
	here := err == nil
	if err != nil && !fault.Is(err, fault.NotFound) {
		r.fault("%s: event %s: %v", t.id, rec.ev.ID, err)
		return
	}
	r.count(func(s *stats) { s.stored++ })
	switch {
	case rec.gone == yes && here:
		r.fault("I1: %s: event %s of kind %d is stored although its deletion was confirmed", t.id, rec.ev.ID, rec.ev.Kind)
	case here && rec.acked && rec.said == "" && e.Shelf != grasp.Served:
		r.fault("I1: %s: event %s of kind %d was served and now is %v", t.id, rec.ev.ID, rec.ev.Kind, e.Shelf)
	case here && rec.acked && rec.ev.Kind == grasp.KindState && e.Shelf == grasp.Waiting &&
		(e.Deadline.Before(rec.asked.Add(waits)) || e.Deadline.After(rec.heard.Add(waits))):
		r.fault("G5: %s: state %s waits until %v; it came between %v and %v", t.id, rec.ev.ID, e.Deadline, rec.asked, rec.heard)
	case !here && rec.acked && rec.gone == never && !t.superseded(rec.ev) && t.deleted == never:
		r.fault("I1: %s: event %s of kind %d, confirmed with %q, is lost", t.id, rec.ev.ID, rec.ev.Kind, rec.said)
	}
}

// superseded reports whether ev is replaceable and its author has published a newer version.
func (t *team) superseded(ev *nostr.Event) bool {
	if ev.Kind != grasp.KindState && ev.Kind != grasp.KindAnnouncement {
		return false
	}
	return slices.ContainsFunc(t.records, func(o *record) bool {
		return o.ev.Kind == ev.Kind && o.ev.PubKey == ev.PubKey && o.ev.CreatedAt > ev.CreatedAt
	})
}

// check compares a server that has just started, and that nobody uses yet, with what was promised.
// deep is the team whose repositories are cloned as well.
func (r *run) check(teams []*team, deep *team) {
	r.t.Helper()
	began := time.Now()
	each(4, teams, func(t *team) {
		v := r.visitor("check")
		defer v.close()
		if t.deleted != never {
			r.checkDeleted(v, t)
			return
		}
		r.checkRefs(v, t, began)
		r.checkStates(v, t)
		r.checkEvents(v, t)
		r.checkFsck(t)
	})
	r.settleFaults("after a restart")
	if deep != nil && deep.deleted == never {
		r.checkClone(deep)
	}
	r.checkFiles()
	r.checkProcesses()
	took := time.Since(began)
	r.count(func(s *stats) { s.slowestRecovery = max(s.slowestRecovery, took) })
}

// checkRefs waits until the repositories of a team are one of what they may be, and settles on
// that (I2, I3, D9).
func (r *run) checkRefs(v *visitor, t *team, began time.Time) {
	is, i, why := r.converge(v, t, recovery-time.Since(began))
	if why == "" && i == 0 && len(t.alts) > 1 {
		// As it was before the operation that was cut off, or not settled yet? Whatever arrives
		// for an identifier settles it first. Now and then the server gets the time to do so by
		// itself, and then has to have done it (G4).
		patient := v.rnd.IntN(10) == 0
		if patient {
			if !until(recovery, r.srv.settled) {
				r.fault("G4: the server has not settled what was left")
			}
			is, i, why = r.converge(v, t, 0)
		}
		if i == 0 && why == "" {
			if !t.announceAnew(v) {
				return
			}
			is, i, why = r.converge(v, t, 0)
			if patient && i > 0 {
				r.fault("G4: %s: it does not settle before somebody comes", t.id)
			}
		}
	}
	if why != "" {
		r.fault("I2, I3: %s: %s\nis:\n%v\nmay be:\n%v", t.id, why, is, t.alts)
		return
	}
	if i > 0 {
		r.count(func(s *stats) { s.cutDone++ })
	}
	// What was cut off and did not happen may still wait, and so may what came only in part.
	t.lingering = t.lingering && (i == 0 || t.alts[i].state != t.tried)
	t.alts = t.alts[i : i+1]
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open = is.state != ""
	t.show(is)
}

// converge looks until a team's repositories are one of what they may be, and says which.
func (r *run) converge(v *visitor, t *team, limit time.Duration) (is outcome, i int, why string) {
	until(limit, func() bool {
		if is, why = r.look(v, t); why != "" {
			return false
		}
		if i = slices.IndexFunc(t.alts, func(o outcome) bool { return o.matches(is) }); i < 0 {
			why = "it is none of what it may be"
		}
		return why == ""
	})
	return is, i, why
}

// look asks for the refs of all repositories of a team, and for the newest state that is served.
func (r *run) look(v *visitor, t *team) (outcome, string) {
	is := outcome{refs: map[grasp.PubKey]grasp.Refs{}}
	for _, o := range t.owners {
		rec := t.announced[o.pub()]
		if rec == nil || !rec.acked {
			is.refs[o.pub()] = grasp.Refs{} // nobody promised that it is here
			continue
		}
		a, err := r.srv.advert(t.addr(o))
		if err != nil || a.status != http.StatusOK {
			return is, fmt.Sprintf("%s: %d %v", t.addr(o), a.status, err)
		}
		is.refs[o.pub()] = a.refs
		if is.head == "" {
			is.head = a.head
		}
		if why := r.lookAtPulls(t, o, a); why != "" {
			return is, why
		}
	}
	var newest *nostr.Event
	for _, ev := range v.query(nostr.Filter{Kinds: []int{grasp.KindState}, Tags: nostr.TagMap{"d": {t.id}}}) {
		if newest == nil || ev.CreatedAt > newest.CreatedAt {
			newest = ev
		}
	}
	if newest != nil {
		is.state = grasp.EventID(newest.ID)
	}
	return is, ""
}

// lookAtPulls says what is wrong with the PR refs of owner's repository.
func (r *run) lookAtPulls(t *team, owner *person, a advert) string {
	known := map[grasp.RefName]bool{}
	for _, p := range t.pulls {
		ref := grasp.PullRef(grasp.EventID(p.ev.ID))
		known[ref] = true
		is := a.pulls[ref]
		must := p.sent == yes && (p.to == owner || p.told == yes)
		if is != p.tip && (must || is != "") {
			return fmt.Sprintf("%s is %q, it must be %s", ref, is, p.tip)
		}
	}
	for ref := range a.pulls {
		if !known[ref] {
			return fmt.Sprintf("nobody ever pushed %s", ref)
		}
	}
	return ""
}

func (o outcome) matches(is outcome) bool {
	if o.state != is.state || o.head != "" && o.head != is.head {
		return false
	}
	return maps.EqualFunc(o.refs, is.refs, func(a, b grasp.Refs) bool { return maps.Equal(a, b) })
}

func (o outcome) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  state %s, HEAD %s\n", o.state.Short(), o.head)
	for k, refs := range o.refs {
		for _, n := range refs.Sorted() {
			fmt.Fprintf(&b, "    %.6s %s %s\n", k, refs[n].Short(), n)
		}
	}
	return b.String()
}

// checkStates makes sure that no state is served whose objects are not here (I7).
func (r *run) checkStates(v *visitor, t *team) {
	for _, ev := range v.query(nostr.Filter{Kinds: []int{grasp.KindState}, Tags: nostr.TagMap{"d": {t.id}}}) {
		st, err := grasp.ParseState(ev)
		if err != nil {
			r.fault("%s: %v", t.id, err)
			continue
		}
		var unseen []grasp.OID
		for _, oid := range st.Refs {
			if !t.seen[oid] {
				unseen = append(unseen, oid)
			}
		}
		if len(unseen) > 0 && !r.here(t, unseen) {
			r.fault("I7: %s: state %s is served without its objects %v", t.id, ev.ID, unseen)
		}
	}
}

// here reports whether the repositories of a team hold all oids.
func (r *run) here(t *team, oids []grasp.OID) bool {
	missing := map[grasp.OID]bool{}
	var in bytes.Buffer
	for _, o := range oids {
		missing[o] = true
		fmt.Fprintln(&in, o)
	}
	for _, o := range t.owners {
		out, _ := git(context.Background(), r.dir, bytes.NewReader(in.Bytes()), "--git-dir="+r.bare(t.addr(o)), "cat-file", "--batch-check=%(objectname)")
		for _, oid := range oids {
			if strings.Contains(out, string(oid)+"\n") {
				delete(missing, oid)
			}
		}
	}
	return len(missing) == 0
}

func (r *run) bare(a grasp.Addr) string {
	path, err := gitdir.Path(r.srv.data, a)
	if err != nil {
		r.t.Fatal(err)
	}
	return path
}

// checkEvents makes sure that what must be served is, and what must not be is not (I1, I7).
func (r *run) checkEvents(v *visitor, t *team) {
	recs := t.records[max(0, len(t.records)-150):]
	want := map[string]*record{}
	f := nostr.Filter{}
	for _, rec := range recs {
		want[rec.ev.ID] = rec
	}
	for id := range want {
		f.IDs = append(f.IDs, id)
	}
	if len(f.IDs) == 0 {
		return
	}
	served := map[string]bool{}
	for _, ev := range v.query(f) {
		served[ev.ID] = true
	}
	for _, p := range t.pulls {
		if rec := want[p.ev.ID]; rec != nil && p.told == yes && p.sent == yes && !served[p.ev.ID] {
			r.fault("G01-703: %s: pull request %s is complete and not served", t.id, p.ev.ID)
		}
		if served[p.ev.ID] && !r.here(t, []grasp.OID{p.tip}) {
			r.fault("I7: %s: pull request %s is served without its commit", t.id, p.ev.ID)
		}
	}
	for id, rec := range want {
		switch {
		case rec.gone == yes && served[id]:
			r.fault("I1: %s: event %s is served although its deletion was confirmed", t.id, id)
		case rec.acked && rec.said == "" && rec.gone == never && !served[id] && !t.superseded(rec.ev):
			r.fault("I1: %s: event %s of kind %d was confirmed and is not served", t.id, id, rec.ev.Kind)
		}
	}
	// What waits is still known: it is offered once more, and is no news.
	for _, rec := range slices.Backward(recs) {
		if rec.acked && strings.HasPrefix(rec.said, "purgatory:") && !served[rec.ev.ID] && !t.superseded(rec.ev) {
			a, err := v.ask(context.Background(), rec.ev)
			released := err == nil && a.OK && strings.HasPrefix(a.Message, "duplicate:") &&
				len(v.query(nostr.Filter{IDs: []string{rec.ev.ID}})) == 1
			if err != nil || !a.OK || !released && !strings.HasPrefix(a.Message, "purgatory:") {
				r.fault("I1: %s: event %s of kind %d, which waits, is answered %v, %v", t.id, rec.ev.ID, rec.ev.Kind, a, err)
			}
			return
		}
	}
}

// checkDeleted makes sure that a deleted repository is gone (G01-902).
func (r *run) checkDeleted(v *visitor, t *team) {
	a, err := r.srv.advert(t.addr(t.owners[0]))
	if err != nil {
		r.fault("%s: %v", t.id, err)
		return
	}
	if a.status == http.StatusNotFound {
		t.deleted = yes
	}
	left := v.query(nostr.Filter{
		Kinds: []int{grasp.KindAnnouncement}, Authors: []string{string(t.owners[0].pub())}, Tags: nostr.TagMap{"d": {t.id}},
	})
	if t.deleted == yes && (a.status != http.StatusNotFound || len(left) > 0) {
		r.fault("I1: %s was deleted, and answers %d with %d announcements", t.id, a.status, len(left))
	}
}

// checkFsck lets git look at the repositories as they lie on disk (I4).
func (r *run) checkFsck(t *team) {
	for _, o := range t.owners {
		path := r.bare(t.addr(o))
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			continue // nothing was ever pushed
		}
		if out, err := fsck(path); err != nil {
			r.fault("I4: %s: git fsck: %v\n%s", t.addr(o), err, out)
		}
	}
}

// fsck has git look at a repository of a server that runs. Packs may be combined meanwhile, and unlike those who
// serve, git fsck does not look for the new one when an old one goes away under its eyes: then it looks again.
func fsck(bare string) (out string, err error) {
	for range 20 {
		before := packs(bare)
		out, err = git(context.Background(), bare, nil, "--git-dir="+bare, "fsck", "--full", "--strict", "--no-dangling", "--no-progress")
		if err == nil || slices.Equal(before, packs(bare)) {
			break
		}
	}
	return out, err
}

// packs names the packs of a repository.
func packs(bare string) []string {
	var out []string
	list, _ := os.ReadDir(filepath.Join(bare, "objects/pack"))
	for _, e := range list {
		if filepath.Ext(e.Name()) == ".pack" {
			out = append(out, e.Name())
		}
	}
	return out
}

// checkClone clones the repositories of a team, and compares (I2).
func (r *run) checkClone(t *team) {
	for _, o := range t.owners {
		if rec := t.announced[o.pub()]; rec == nil || !rec.acked {
			continue
		}
		url := r.srv.repo(t.addr(o))
		dir, err := os.MkdirTemp(r.dir, "clone-")
		if err != nil {
			r.t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		ctx := context.Background()
		if out, err := git(ctx, dir, nil, "clone", "-q", "--mirror", url, dir+"/c"); err != nil {
			r.fault("I2: %s: git clone: %v\n%s", t.addr(o), err, out)
			continue
		}
		if out, err := git(ctx, dir+"/c", nil, "fsck", "--full", "--no-dangling", "--no-progress"); err != nil {
			r.fault("I2: %s: git fsck of a clone: %v\n%s", t.addr(o), err, out)
		}
		here, _ := git(ctx, dir+"/c", nil, "for-each-ref", "--format=%(objectname)%09%(refname)", "refs/heads", "refs/tags")
		there, err := git(ctx, dir, nil, "ls-remote", "--refs", url, "refs/heads/*", "refs/tags/*")
		if err != nil || here != there {
			r.fault("I2: %s: %v, git ls-remote says\n%s, a clone has\n%s", t.addr(o), err, there, here)
		}
	}
}

// checkFiles makes sure that nothing unfinished is left behind. Nobody works on the server, so
// there is nothing that could be younger than it (I5), but what a process of its predecessor wrote that
// woke up since: that goes when the next one starts.
func (r *run) checkFiles() {
	var found []string
	if until(recovery, func() bool {
		found = r.unfinished()
		return len(found) == 0
	}) {
		return
	}
	r.fault("I5: left behind: %s", strings.Join(found, ", "))
}

func (r *run) unfinished() []string {
	var out []string
	filepath.WalkDir(r.srv.data, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(r.srv.data, path)
		if err != nil || rel == "lock" || rel == "incoming/began" {
			return nil
		}
		name := d.Name()
		dir := filepath.Dir(rel)
		if fi, err := d.Info(); err == nil && strings.HasPrefix(name, "tmp_") && strings.HasSuffix(dir, ".git/objects/pack") && r.srv.woke(fi.ModTime()) {
			return nil
		}
		switch {
		case dir == "incoming", dir == "trash":
			out = append(out, rel)
		case strings.HasSuffix(name, ".lock"), strings.HasSuffix(name, ".part"), strings.HasPrefix(name, "tmp_"), strings.HasPrefix(name, ".tmp"):
			out = append(out, rel)
		case strings.HasSuffix(name, ".pack"):
			if _, err := os.Stat(strings.TrimSuffix(path, ".pack") + ".idx"); err != nil && dir != "incoming" {
				out = append(out, rel)
			}
		}
		return nil
	})
	return out
}

// checkProcesses makes sure that nothing of the old server runs any more (I8).
func (r *run) checkProcesses() {
	var found map[int]string
	if until(recovery, func() bool {
		found = r.srv.strays()
		return len(found) == 0
	}) {
		return
	}
	r.fault("I8: these processes have no owner: %v", found)
}

package torture_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/client"
)

// A visitor talks to the server: one connection to the relay, and git.
type visitor struct {
	r    *run
	conn *client.Relay
	rnd  *rand.Rand

	// pushing, if set, is told when a push begins.
	pushing func()
}

func (r *run) visitor(name string) *visitor { return &visitor{r: r, rnd: r.rand(name)} }

func (v *visitor) close() {
	if v.conn != nil {
		v.conn.Close()
	}
}

// patience bounds every request of a visitor, on a machine that may have much else to do.
const patience = 2 * time.Minute

// publish hands ev to the relay. It returns false if no answer came because the server is dying;
// any other failure is a fault.
func (v *visitor) publish(rec *record) bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a, err := v.ask(ctx, rec.ev)
	if err != nil {
		if !v.r.srv.dying.Load() {
			v.r.fault("publish kind %d: %v", rec.ev.Kind, err)
		}
		return false
	}
	if !a.OK {
		// A server that stops may say so.
		if !v.r.srv.dying.Load() || !strings.HasPrefix(a.Message, "error:") && !strings.HasPrefix(a.Message, "rate-limited:") {
			v.r.fault("event %s of kind %d was refused: %s", rec.ev.ID, rec.ev.Kind, a.Message)
		}
		return false
	}
	rec.acked, rec.said, rec.heard = true, a.Message, time.Now()
	v.r.count(func(s *stats) { s.events++ })
	return true
}

func (v *visitor) ask(ctx context.Context, ev *nostr.Event) (client.Answer, error) {
	if v.conn == nil {
		conn, err := client.Dial(ctx, v.r.srv.relay())
		if err != nil {
			return client.Answer{}, err
		}
		v.conn = conn
	}
	return v.conn.Publish(ctx, ev)
}

// query asks for what is served. It is for times at which nothing may fail.
func (v *visitor) query(f nostr.Filter) []*nostr.Event {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if v.conn == nil {
		conn, err := client.Dial(ctx, v.r.srv.relay())
		if err != nil {
			v.r.fault("query: %v", err)
			return nil
		}
		v.conn = conn
	}
	evs, err := v.conn.Query(ctx, f)
	if err != nil {
		v.r.fault("query: %v", err)
	}
	return evs
}

// push lets git push. It returns false if git failed while the server was dying; any other
// failure is a fault.
func (v *visitor) push(dir, url string, specs ...string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if v.pushing != nil {
		v.pushing()
	}
	out, err := git(ctx, dir, nil, append([]string{"push", url}, specs...)...)
	if err != nil {
		if !v.r.srv.dying.Load() {
			v.r.fault("git push %s: %v\n%s", strings.Join(specs, " "), err, out)
		}
		return false
	}
	v.r.count(func(s *stats) { s.pushes++ })
	return true
}

// specs are the arguments to git push that make was into is.
func specs(was, is grasp.Refs) []string {
	var out []string
	for _, c := range grasp.Diff(was, is) {
		if c.New.IsZero() {
			out = append(out, ":"+string(c.Ref))
		} else {
			out = append(out, "+"+string(c.New)+":"+string(c.Ref))
		}
	}
	return out
}

// announce publishes what announcements of the team are not confirmed yet.
func (t *team) announce(v *visitor) bool {
	for _, o := range t.owners {
		rec := t.announced[o.pub()]
		if rec == nil {
			rec = t.note(t.announcement(v.r.srv, o))
			t.announced[o.pub()] = rec
		}
		if !rec.acked && !v.publish(rec) {
			return false
		}
	}
	return true
}

// act does one thing that maintainers do. full asks for a new state and its push. It returns false
// if the server died over it, or if there is nothing left to do.
func (t *team) act(v *visitor, full bool) bool {
	if t.deleted != never || !t.announce(v) {
		return false
	}
	now := t.alts[0]
	if now.state == "" || t.lingering || full {
		return t.move(v, now)
	}
	switch n := v.rnd.IntN(20); {
	case n < 9:
		return t.move(v, now)
	case n < 13:
		return t.back(v, now)
	case n < 16:
		return t.part(v, now)
	case n < 18:
		return t.inVain(v, now)
	default:
		return t.announceAnew(v)
	}
}

// next proposes the refs of a new state: a few changes to those of owner's repository.
func (t *team) change(v *visitor, was grasp.Refs, commit func() (grasp.OID, bool)) (grasp.Refs, grasp.RefName, bool) {
	refs := maps.Clone(was)
	const main = grasp.RefName("refs/heads/main")
	if _, ok := refs[main]; !ok || v.rnd.IntN(3) > 0 {
		c, ok := commit()
		if !ok {
			return nil, "", false
		}
		refs[main] = c
	}
	for range v.rnd.IntN(3) {
		branch := grasp.RefName(fmt.Sprintf("refs/heads/topic/%d", v.rnd.IntN(5)))
		tag := grasp.RefName(fmt.Sprintf("refs/tags/v%d", v.rnd.IntN(8)))
		switch v.rnd.IntN(5) {
		case 0, 1:
			if c, ok := commit(); ok {
				refs[branch] = c
			}
		case 2:
			delete(refs, branch)
		case 3:
			if c, ok := commit(); ok {
				refs[tag] = c
			}
		case 4:
			delete(refs, tag)
			if len(t.used) > 0 && v.rnd.IntN(2) == 0 {
				// Annotated: of a commit that was pushed already, at least as a part.
				i := slices.Index(t.pool.commits, t.used[v.rnd.IntN(len(t.used))])
				refs[tag] = t.pool.tags[i/10]
			}
		}
	}
	head := main
	if v.rnd.IntN(4) == 0 {
		for n := range refs {
			if n.IsHead() && (n < head || head == main) {
				head = n
			}
		}
	}
	return refs, head, true
}

// everywhere is the outcome of a state that is complete.
func (t *team) everywhere(refs grasp.Refs, head grasp.RefName, ev *nostr.Event) outcome {
	o := outcome{refs: map[grasp.PubKey]grasp.Refs{}, head: head, state: grasp.EventID(ev.ID)}
	for _, owner := range t.owners {
		o.refs[owner.pub()] = refs
	}
	return o
}

func (t *team) member(v *visitor) *person { return t.members[v.rnd.IntN(len(t.members))] }

// done says what the repositories are now.
func (t *team) done(o outcome) {
	t.alts, t.lingering = []outcome{o}, false
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open = true
	t.show(o)
}

// show remembers the objects of an outcome as seen. It is called with mu held.
func (t *team) show(o outcome) {
	for _, refs := range o.refs {
		for _, oid := range refs {
			t.seen[oid] = true
			if !slices.Contains(t.used, oid) && slices.Contains(t.pool.commits, oid) {
				t.used = append(t.used, oid)
			}
		}
	}
}

// cutOff says that nobody knows whether next came to be, or at least the state that says so.
func (t *team) cutOff(v *visitor, now, next outcome, rec *record) {
	t.alts, t.lingering, t.tried = []outcome{now, next}, true, grasp.EventID(rec.ev.ID)
	v.r.count(func(s *stats) { s.cutOff++ })
}

// move publishes a new state and pushes all of it to one of the owners.
func (t *team) move(v *visitor, now outcome) bool {
	owner := t.owners[v.rnd.IntN(len(t.owners))]
	was := now.refs[owner.pub()]
	refs, head, ok := t.change(v, was, t.fresh)
	if !ok {
		t.rounds = 0
		return false
	}
	rec := t.note(t.state(t.member(v), refs, head))
	next := t.everywhere(refs, head, rec.ev)
	if !v.publish(rec) {
		t.cutOff(v, now, next, rec)
		return false
	}
	if rec.said == "" { // everything was here already
		t.done(next)
		return true
	}
	if s := specs(was, refs); len(s) > 0 && !v.push(t.pool.dir, v.r.srv.repo(t.addr(owner)), s...) {
		t.cutOff(v, now, next, rec)
		t.pushCut = true
		return false
	}
	t.done(next)
	return true
}

// back publishes a state of commits that are here: no push is needed (G01-305).
func (t *team) back(v *visitor, now outcome) bool {
	refs, head, ok := t.change(v, now.refs[t.owners[0].pub()], func() (grasp.OID, bool) {
		if len(t.used) == 0 {
			return "", false
		}
		return t.used[v.rnd.IntN(len(t.used))], true
	})
	if !ok {
		return t.move(v, now)
	}
	for _, oid := range refs {
		if !t.seen[oid] { // an annotated tag that was never pushed
			return t.move(v, now)
		}
	}
	rec := t.note(t.state(t.member(v), refs, head))
	next := t.everywhere(refs, head, rec.ev)
	if !v.publish(rec) {
		t.cutOff(v, now, next, rec)
		return false
	}
	if rec.said != "" {
		v.r.fault("%s: a state of objects that are here got %q", t.id, rec.said)
	}
	t.done(next)
	return true
}

// part publishes a state and pushes only one of its refs (G01-502). The rest is left to the next
// state.
func (t *team) part(v *visitor, now outcome) bool {
	owner := t.owners[v.rnd.IntN(len(t.owners))]
	was := now.refs[owner.pub()]
	first, ok1 := t.fresh()
	rest, ok2 := t.fresh() // not an ancestor of first
	if !ok1 || !ok2 {
		return t.move(v, now)
	}
	refs := maps.Clone(was)
	const ref = grasp.RefName("refs/heads/main")
	refs[ref], refs["refs/heads/rest"] = first, rest
	rec := t.note(t.state(t.member(v), refs, ref))
	if !v.publish(rec) {
		t.cutOff(v, now, now, rec)
		return false
	}
	half := was.Apply([]grasp.RefChange{{Ref: ref, Old: was[ref], New: first}})
	next := now.with(owner.pub(), half)
	if !v.push(t.pool.dir, v.r.srv.repo(t.addr(owner)), "+"+string(first)+":"+string(ref)) {
		t.cutOff(v, now, next, rec)
		t.pushCut = true
		return false
	}
	t.done(next)
	t.lingering = true
	return true
}

// inVain publishes a state whose objects never come: it has to wait, unseen.
func (t *team) inVain(v *visitor, now outcome) bool {
	refs := maps.Clone(now.refs[t.owners[0].pub()])
	refs["refs/heads/never"] = grasp.OID(fmt.Sprintf("%040x", v.rnd.Uint64()))
	rec := t.note(t.state(t.member(v), refs, "refs/heads/main"))
	if !v.publish(rec) {
		t.cutOff(v, now, now, rec)
		return false
	}
	if !strings.HasPrefix(rec.said, "purgatory:") {
		v.r.fault("%s: a state of objects that do not exist got %q", t.id, rec.said)
	}
	t.lingering = true
	return true
}

// announceAnew replaces an announcement that is served (G01-107).
func (t *team) announceAnew(v *visitor) bool {
	o := t.owners[v.rnd.IntN(len(t.owners))]
	rec := t.note(t.announcement(v.r.srv, o))
	if !v.publish(rec) {
		return false
	}
	t.announced[o.pub()] = rec
	if rec.said != "" {
		v.r.fault("%s: a newer announcement got %q", t.id, rec.said)
	}
	return true
}

// remove deletes the repository of a team with one owner (G01-902).
func (t *team) remove(v *visitor) bool {
	owner := t.owners[0]
	ev := owner.sign(grasp.KindDeletion, time.Now().Unix(), "", nostr.Tag{"a", t.addr(owner).Coordinate()})
	if t.deleted == maybe { // say the same again
		t.mu.Lock()
		for _, rec := range t.records {
			if rec.ev.Kind == grasp.KindDeletion && rec.ev.PubKey == ev.PubKey {
				ev = rec.ev
			}
		}
		t.mu.Unlock()
	}
	rec := t.note(ev)
	t.deleted = maybe
	if !v.publish(rec) {
		return false
	}
	t.deleted = yes
	return true
}

package torture_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/client"
)

// bear bounds one request of people in TestHeal, and a push.
const bear = 2 * time.Minute

// A story is what people do with a repository that lives on several servers, and what they were told.
type story struct {
	c     *cluster
	pool  *pool
	addr  grasp.Addr
	path  string // of the repository, below each server
	owner *person
	both  []*person // who may sign states
	dave  *person
	over  atomic.Bool

	mu        sync.Mutex // guards all below, and what tales say
	at        int64      // created_at of the last state; it begins early enough not to overtake the clock
	next      int        // commit
	nextPull  int
	tales     map[string]*tale
	issues    []*tale
	newest    *tale // state that anybody signed
	shown     []grasp.OID
	states    int // that are done, as are the next two
	proposals int
	talks     int
	pushes    int
}

// A tale is an event, and what somebody said to whoever brought it.
type tale struct {
	ev    *nostr.Event
	acked bool       // OK came
	done  bool       // and all git data was taken
	where *node      // that said OK first
	refs  grasp.Refs // of a state
	tip   grasp.OID  // of a proposal
}

func (c *cluster) newStory(d time.Duration) *story {
	s := &story{
		c: c, pool: c.poolFor(d), owner: c.person("alice"), dave: c.person("dave"),
		at: time.Now().Unix() - 30 - 5*int64(d.Seconds()), tales: map[string]*tale{},
	}
	s.both = []*person{s.owner, c.person("bob")}
	s.addr = grasp.Addr{Owner: s.owner.pub(), ID: "demo"}
	s.path = "/" + s.addr.Owner.Npub() + "/demo.git"
	return s
}

// note remembers an event before anybody is told of it.
func (s *story) note(t *tale) *tale {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tales[t.ev.ID] = t
	if t.refs != nil && (s.newest == nil || newer(t.ev, s.newest.ev)) {
		s.newest = t
	}
	return t
}

// newer reports whether of two states a counts: the later one, or the lower id (NIP-01).
func newer(a, b *nostr.Event) bool {
	if a.CreatedAt != b.CreatedAt {
		return a.CreatedAt > b.CreatedAt
	}
	return a.ID < b.ID
}

// clock returns the created_at of a state, mostly one that was not there before.
func (s *story) clock(rnd *rand.Rand) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rnd.IntN(8) > 0 {
		s.at++
	}
	return s.at
}

// A visit is somebody at a server, between two of its deaths.
type visit struct {
	n    *node
	hurt int64
}

// anywhere returns a server that is up, or false if none is.
func (s *story) anywhere(rnd *rand.Rand) (visit, bool) {
	for _, i := range rnd.Perm(len(s.c.nodes)) {
		if v, ok := at(s.c.nodes[i]); ok {
			return v, true
		}
	}
	pause(10 * time.Millisecond)
	return visit{}, false
}

func at(n *node) (visit, bool) {
	hurt := n.hurt.Load() // before up is asked: whoever kills says so in the other order
	return visit{n, hurt}, n.up.Load()
}

// excused reports whether the server was killed since.
func (v visit) excused() bool { return v.n.hurt.Load() != v.hurt }

// tell hands an event to a server, and reports whether it said OK.
func (s *story) tell(v visit, t *tale) bool {
	ctx, cancel := context.WithTimeout(context.Background(), bear)
	defer cancel()
	conn, err := client.Dial(ctx, v.n.relay())
	var a client.Answer
	if err == nil {
		a, err = conn.Publish(ctx, t.ev)
		conn.Close()
	}
	switch {
	case err != nil && !v.excused():
		s.c.fault("server %d: publish kind %d: %v", v.n.i, t.ev.Kind, err)
	case err == nil && !a.OK && t.refs != nil && s.overtaken(t): // by one of the same second that counts
	case err == nil && !a.OK && !v.excused():
		s.c.fault("server %d: event %s of kind %d was refused: %s", v.n.i, t.ev.ID, t.ev.Kind, a.Message)
	}
	if err != nil || !a.OK {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.acked {
		t.acked, t.where = true, v.n
	}
	return true
}

// push pushes to a server, and reports whether git was content. may says that a refusal is no fault.
func (s *story) push(v visit, path string, may func() bool, specs ...string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), bear)
	defer cancel()
	var out string
	var err error
	for range 20 {
		out, err = git(ctx, s.pool.dir, nil, append([]string{"push", v.n.here(path)}, specs...)...)
		if err == nil || !strings.Contains(out, "fetch first") {
			break // else something came from another server meanwhile, and git is told to try again
		}
	}
	if err != nil {
		if !v.excused() && !may() {
			s.c.fault("server %d: git push %s: %v\n%s", v.n.i, strings.Join(specs, " "), err, out)
		}
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pushes++
	return true
}

// fresh returns so many commits that no server has, or false if there are no more.
func (s *story) fresh(n int) ([]grasp.OID, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next+n > len(s.pool.commits) {
		return nil, false
	}
	s.next += n
	return s.pool.commits[s.next-n : s.next], true
}

// write has a maintainer sign a new state and push it, at any server.
func (s *story) write(rnd *rand.Rand) {
	n := 1 + rnd.IntN(2)
	commits, ok := s.fresh(n)
	if !ok {
		pause(50 * time.Millisecond)
		return
	}
	refs := grasp.Refs{"refs/heads/main": commits[0]}
	if n > 1 {
		refs[grasp.RefName(fmt.Sprint("refs/heads/topic/", rnd.IntN(3)))] = commits[1]
	}
	s.mu.Lock()
	if len(s.shown) > 0 && rnd.IntN(3) == 0 {
		refs["refs/tags/v1"] = s.shown[rnd.IntN(len(s.shown))]
	}
	s.mu.Unlock()
	ev := client.State{ID: s.addr.ID, Refs: refs, Head: "refs/heads/main"}.Event(time.Unix(s.clock(rnd), 0))
	if err := s.both[rnd.IntN(2)].key.Sign(ev); err != nil {
		panic(err)
	}
	t := s.note(&tale{ev: ev, refs: refs})
	for range 6 {
		v, ok := s.anywhere(rnd)
		if ok && (s.carry(v, t) || s.overtaken(t) || rnd.IntN(2) == 0) {
			break // done, or given up
		}
	}
	pause(time.Duration(rnd.Int64N(int64(200 * time.Millisecond))))
}

// overtaken reports whether there is a newer state: then nobody has to take t.
func (s *story) overtaken(t *tale) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest != t
}

// carry brings a state and all that it names to a server.
func (s *story) carry(v visit, t *tale) bool {
	var specs []string
	for _, ref := range t.refs.Sorted() {
		specs = append(specs, "+"+string(t.refs[ref])+":"+string(ref))
	}
	if !s.tell(v, t) || !s.push(v, s.path, func() bool { return s.overtaken(t) }, specs...) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.done {
		t.done = true
		s.states++
	}
	for _, oid := range t.refs {
		s.shown = append(s.shown, oid)
	}
	return true
}

// talk opens an issue, or answers one at the server where it is.
func (s *story) talk(rnd *rand.Rand) {
	defer pause(time.Duration(rnd.Int64N(int64(100 * time.Millisecond))))
	s.mu.Lock()
	var on *tale
	if len(s.issues) > 0 && rnd.IntN(2) == 0 {
		on = s.issues[rnd.IntN(len(s.issues))]
	}
	s.mu.Unlock()
	if on != nil {
		v, ok := at(on.where)
		if !ok {
			return
		}
		t := s.note(&tale{ev: s.dave.sign(kindComment, time.Now().Unix(), fmt.Sprint("yes ", rnd.Uint64()),
			nostr.Tag{"E", on.ev.ID}, nostr.Tag{"e", on.ev.ID}, nostr.Tag{"K", "1621"}, nostr.Tag{"k", "1621"})})
		if s.tell(v, t) {
			s.end(t, &s.talks)
		}
		return
	}
	v, ok := s.anywhere(rnd)
	if !ok {
		return
	}
	t := s.note(&tale{ev: s.dave.sign(kindIssue, time.Now().Unix(), fmt.Sprint("issue ", rnd.Uint64()), nostr.Tag{"a", s.addr.Coordinate()})})
	if s.tell(v, t) {
		s.end(t, &s.talks)
		s.mu.Lock()
		s.issues = append(s.issues, t)
		s.mu.Unlock()
	}
}

func (s *story) end(t *tale, counted *int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.done = true
	*counted++
}

// propose brings a pull request to any server: event and commit, in any order, the commit into the
// repository or into a box of the one who proposes.
func (s *story) propose(rnd *rand.Rand) {
	defer pause(time.Duration(rnd.Int64N(int64(400 * time.Millisecond))))
	v, ok := s.anywhere(rnd)
	s.mu.Lock()
	if !ok || s.nextPull >= len(s.pool.pulls) {
		s.mu.Unlock()
		return
	}
	tip := s.pool.pulls[s.nextPull]
	s.nextPull++
	s.mu.Unlock()
	path := s.path
	tags := nostr.Tags{{"a", s.addr.Coordinate()}, {"p", string(s.owner.pub())}, {"c", string(tip)}, {"subject", "a change"}}
	if rnd.IntN(3) == 0 {
		path = "/prs/" + s.dave.pub().Npub() + "/demo.git"
		tags = append(tags, nostr.Tag{"clone", v.n.repoOf(path)})
	}
	t := s.note(&tale{ev: s.dave.sign(grasp.KindPull, time.Now().Unix(), "please pull", tags...), tip: tip})
	spec := string(tip) + ":" + string(grasp.PullRef(grasp.EventID(t.ev.ID)))
	never := func() bool { return false }
	sent, told := false, false
	first := rnd.IntN(2) == 0
	for range 4 {
		if !sent && (first || told) {
			sent = s.push(v, path, never, spec)
		}
		if !told {
			told = s.tell(v, t)
		}
		if first = true; sent && told {
			s.end(t, &s.proposals)
			return
		}
		// The server died. It is the only one that knows.
		for again := false; !again; v, again = at(v.n) {
			if s.over.Load() || rnd.IntN(100) == 0 {
				return
			}
			pause(20 * time.Millisecond)
		}
	}
}

// prologue announces the repository everywhere, and brings a first state to one server.
func (s *story) prologue() {
	clone, relays := nostr.Tag{"clone"}, nostr.Tag{"relays"}
	for _, n := range s.c.nodes {
		clone, relays = append(clone, n.repoOf(s.path)), append(relays, "ws://"+n.public)
	}
	maintainers := nostr.Tag{"maintainers"}
	for _, p := range s.both {
		maintainers = append(maintainers, string(p.pub()))
	}
	rnd := s.c.rand("prologue")
	announcement := s.note(&tale{ev: s.owner.sign(grasp.KindAnnouncement, s.at, "", nostr.Tag{"d", s.addr.ID}, clone, relays, maintainers)})
	for _, n := range s.c.nodes {
		if v, _ := at(n); s.tell(v, announcement) {
			announcement.done = true
		}
	}
	commits, _ := s.fresh(1)
	first := client.State{ID: s.addr.ID, Refs: grasp.Refs{"refs/heads/main": commits[0]}, Head: "refs/heads/main"}
	ev := first.Event(time.Unix(s.clock(rnd), 0))
	if err := s.owner.key.Sign(ev); err != nil {
		panic(err)
	}
	v, _ := at(s.c.nodes[0])
	s.carry(v, s.note(&tale{ev: ev, refs: first.Refs}))
	s.c.settle("before any violence")
	s.agree()
}

// last ends the push of the newest state, if it was cut off: somebody signed it, and goes on until it is there.
func (s *story) last() {
	s.c.settle("during the violence")
	rnd := s.c.rand("last")
	for !s.newest.done {
		v, _ := s.anywhere(rnd)
		if !s.carry(v, s.newest) {
			s.c.settle("at the last push")
		}
	}
}

// agree waits until all servers serve what they have to, and the same.
func (s *story) agree() {
	s.c.t.Helper()
	began := time.Now()
	why, events := "", []map[string]*nostr.Event(nil)
	for {
		if why, events = s.differs(); why == "" {
			break
		}
		if time.Since(began) > *healWait {
			for _, n := range s.c.nodes {
				s.c.t.Logf("server %d, %s, says of its peers: %s\nthe end of its log:\n%s", n.i, n.public, n.statusOf(), n.logTail(15))
			}
			s.c.t.Fatalf("seed %d: after %v they do not agree: %s", s.c.seed, time.Since(began).Round(time.Second), why)
		}
		pause(200 * time.Millisecond)
	}
	for id, ev := range events[0] {
		if s.tales[id] == nil {
			s.c.fault("event %s of kind %d is served, and nobody ever signed it", id, ev.Kind)
		}
	}
}

// differs says what is not as it must be, or "".
func (s *story) differs() (why string, all []map[string]*nostr.Event) {
	for _, n := range s.c.nodes {
		events, err := s.events(n)
		if err != nil {
			return fmt.Sprintf("server %d: %v", n.i, err), nil
		}
		served := map[string]*nostr.Event{} // states, by author
		for _, ev := range events {
			if ev.Kind == grasp.KindState {
				served[ev.PubKey] = ev
			}
		}
		pulls := grasp.Refs{}
		for id, t := range s.tales {
			switch {
			case t.refs != nil:
				if is := served[t.ev.PubKey]; t.done && (is == nil || newer(t.ev, is)) {
					return fmt.Sprintf("server %d lacks state %.7s of %.7s, or a newer one", n.i, id, t.ev.PubKey), nil
				}
			case t.done && events[id] == nil:
				return fmt.Sprintf("server %d lacks event %.7s of kind %d, which server %d took", n.i, id, t.ev.Kind, t.where.i), nil
			}
			if t.tip != "" && events[id] != nil {
				pulls[grasp.PullRef(grasp.EventID(id))] = t.tip
			}
		}
		if len(all) > 0 {
			for _, two := range [][2]int{{0, n.i}, {n.i, 0}} {
				sets := append(slices.Clip(all), events)
				for id, ev := range sets[two[0]] {
					if sets[two[1]][id] == nil {
						return fmt.Sprintf("server %d serves event %.7s of kind %d, server %d does not", two[0], id, ev.Kind, two[1]), nil
					}
				}
			}
		}
		all = append(all, events)
		a, err := n.advert(s.addr)
		if err != nil || a.status != 200 {
			return fmt.Sprintf("server %d: %d %v", n.i, a.status, err), nil
		}
		if !maps.Equal(a.refs, s.newest.refs) {
			return fmt.Sprintf("server %d is at %v, state %.7s says %v", n.i, a.refs, s.newest.ev.ID, s.newest.refs), nil
		}
		for ref, tip := range pulls {
			if a.pulls[ref] != tip {
				return fmt.Sprintf("server %d serves a proposal without %s at %.7s", n.i, ref, tip), nil
			}
		}
	}
	return "", all
}

// events returns all that a server serves of the repository.
func (s *story) events(n *node) (map[string]*nostr.Event, error) {
	ctx, cancel := context.WithTimeout(context.Background(), bear)
	defer cancel()
	conn, err := client.Dial(ctx, n.relay())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	out := map[string]*nostr.Event{}
	f := nostr.Filter{Kinds: []int{grasp.KindAnnouncement, grasp.KindState, grasp.KindPull, kindIssue, kindComment}, Limit: 400}
	for {
		page, err := conn.Query(ctx, f)
		if err != nil {
			return nil, err
		}
		fresh := 0
		for _, ev := range page {
			if out[ev.ID] == nil {
				fresh++
			}
			out[ev.ID] = ev
			if f.Until == nil || ev.CreatedAt < *f.Until {
				until := ev.CreatedAt
				f.Until = &until
			}
		}
		if fresh == 0 {
			return out, nil
		}
	}
}

// look has git judge every repository, and clones from every server.
func (s *story) look() {
	each(2, s.c.nodes, func(n *node) {
		ctx := context.Background()
		if out, err := fsck(n.at.bare(s.addr)); err != nil {
			s.c.fault("server %d: git fsck: %v\n%s", n.i, err, out)
		}
		dir := filepath.Join(s.c.dir, fmt.Sprint("clone", n.i))
		defer os.RemoveAll(dir)
		if out, err := git(ctx, s.c.dir, nil, "clone", "-q", "--mirror", n.here(s.path), dir); err != nil {
			s.c.fault("server %d: git clone: %v\n%s", n.i, err, out)
			return
		}
		if out, err := git(ctx, dir, nil, "fsck", "--full", "--no-dangling", "--no-progress"); err != nil {
			s.c.fault("server %d: git fsck of a clone: %v\n%s", n.i, err, out)
		}
		have, _ := git(ctx, dir, nil, "for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags")
		var want []string
		for _, ref := range s.newest.refs.Sorted() {
			want = append(want, string(s.newest.refs[ref])+" "+string(ref))
		}
		if strings.TrimSpace(have) != strings.Join(want, "\n") {
			s.c.fault("server %d: a clone has\n%s, state %s says\n%s", n.i, have, s.newest.ev.ID, strings.Join(want, "\n"))
		}
	})
}

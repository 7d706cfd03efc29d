package steward_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/steward"
	st "github.com/gitroost/gitroost/internal/steward/stewardtest"
)

// The people of these tests, and what they push.
var (
	alice   = st.Key("alice")
	bob     = st.Key("bob")
	carol   = st.Key("carol")
	mallory = st.Key("mallory")

	// Boxes, and a repository that lives elsewhere.
	carolsBox = grasp.Addr{Owner: carol, ID: "demo", Box: true}
	bobsBox   = grasp.Addr{Owner: bob, ID: "demo", Box: true}
	far       = grasp.Addr{Owner: mallory, ID: "demo"}

	demo     = grasp.Addr{Owner: alice, ID: "demo"}
	bobsDemo = grasp.Addr{Owner: bob, ID: "demo"}

	c1  = st.Commit("c1")
	c2  = st.Commit("c2", c1)
	c3  = st.Commit("c3", c2)
	x2  = st.Commit("x2", c1) // another history
	p1  = st.Commit("p1", c1)
	p2  = st.Commit("p2", c1)
	all = []st.Object{c1, c2, c3, x2, p1, p2}

	site = func() grasp.Site {
		s, err := grasp.NewSite("https://" + st.Host)
		if err != nil {
			panic(err)
		}
		return s
	}()
)

// A world is a desk, what it keeps its things in, and everybody who listens.
type world struct {
	t     testing.TB
	cfg   steward.Config
	clock *st.Clock
	mem   *st.Memory
	disk  *st.Disk
	brk   *st.Breaker
	log   *slog.Logger

	s     *steward.Steward // of the present process
	vault *st.Vault

	mu    sync.Mutex
	told  []*nostr.Event // in the present process
	heard map[string]int // likewise: the arrival that each was told of
	wrong []string
}

func newWorld(t testing.TB, set ...func(*steward.Config)) *world {
	w := &world{t: t, clock: st.NewClock(), disk: st.NewDisk(), brk: new(st.Breaker), log: slog.New(slog.DiscardHandler)}
	w.mem = st.NewMemory(w.clock.Now)
	w.cfg = steward.Config{Site: site, Now: w.clock.Now, Boxes: true, Books: w.brk.Books(w.mem)}
	for _, f := range set {
		f(&w.cfg)
	}
	w.boot()
	return w
}

// boot starts a process: nothing in memory, everything on disk.
func (w *world) boot() {
	w.mu.Lock()
	w.told, w.heard = nil, make(map[string]int)
	w.mu.Unlock()
	w.vault = st.Open(w.disk, w.fail)
	cfg := w.cfg
	var process *steward.Steward
	cfg.Tell = func(ev *nostr.Event, raw []byte) { w.tell(process, ev, raw) }
	process = steward.New(cfg, w.brk.Ledger(w.mem), w.brk.Vault(w.vault), w.log)
	if err := process.LoadRules(context.Background()); err != nil {
		w.t.Fatalf("rules: %v", err)
	}
	w.s = process
}

// restart is kill -9 and a new process, which has settled what was left unfinished.
func (w *world) restart() {
	w.t.Helper()
	w.boot()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	// The start phase is over when Run takes a tick; the sweep that follows is cut short.
	w.brk.Before("Due", cancel)
	defer w.brk.Before("Due", nil)
	tick := make(chan time.Time, 1)
	tick <- w.clock.Now()
	if err := w.s.Run(ctx, tick); err != nil {
		w.t.Fatalf("Run: %v", err)
	}
}

// fail notes a breach of contract; it may be called from any goroutine.
func (w *world) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

// breaches reports what went wrong behind the scenes so far.
func (w *world) breaches() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range w.wrong {
		w.t.Error(b)
	}
	w.wrong = nil
}

// tell is the audience. What it hears must be served already (I7), must be new to it (G01-601,
// check 199), and what it names must be fetchable (G01-406, check 176).
func (w *world) tell(from *steward.Steward, ev *nostr.Event, raw []byte) {
	arrival := w.mem.Arrival(ev.ID)
	w.mu.Lock()
	stale := from != w.s
	twice := w.heard[ev.ID] == arrival && arrival > 0
	w.heard[ev.ID] = arrival
	w.told = append(w.told, ev)
	w.mu.Unlock()
	if stale {
		w.fail("a process that is dead tells of %s", name(ev))
	}
	if twice {
		w.fail("told twice of %s", name(ev))
	}
	if string(raw) != string(st.Raw(ev)) {
		w.fail("told of %s in other bytes than came", name(ev))
	}
	if grasp.Ephemeral(ev.Kind) {
		return
	}
	if shelf := w.mem.Shelf(ev.ID); shelf != grasp.Served {
		w.fail("told of %s, which is %s", name(ev), shelf)
	}
	switch ev.Kind {
	case grasp.KindState:
		s, err := grasp.ParseState(ev)
		if err != nil {
			w.fail("told of a state that does not parse: %v", err)
			return
		}
		f := w.facts(s.Repo)
		for owner, h := range f.view.Hosted {
			if best, ok := f.view.State(owner); h == grasp.Live && ok && best.ID == s.ID {
				if err := f.aligned(owner); err != nil {
					w.fail("told of state %s: %v", name(ev), err)
				}
			}
		}
	case grasp.KindPull, grasp.KindPullUpdate:
		p, err := grasp.ParsePull(ev)
		if err != nil {
			w.fail("told of a pull request that does not parse: %v", err)
			return
		}
		if len(p.Repos) == 0 {
			return // an update by its root alone; its own test looks at the ref
		}
		if slices.ContainsFunc(p.Repos, func(a grasp.Addr) bool { return a.ID != p.Repos[0].ID }) {
			return // somebody else may be settling the other identifier
		}
		f := w.facts(p.Repos[0].ID)
		for _, owner := range f.view.Concerned(p) { // G01-705
			if is := f.refs[owner][grasp.PullRef(p.ID)]; is != p.Tip {
				w.fail("told of %s while its ref in %s's repository is %q", name(ev), who(owner), is)
			}
		}
	}
}

// who and name make failures readable.
func who(k grasp.PubKey) string {
	for _, n := range []string{"alice", "bob", "carol", "mallory"} {
		if st.Key(n) == k {
			return n
		}
	}
	return string(k[:7])
}

func name(ev *nostr.Event) string {
	return fmt.Sprintf("%d by %s at %d (%.7s)", ev.Kind, who(grasp.PubKey(ev.PubKey)), int64(ev.CreatedAt)-st.Epoch.Unix(), ev.ID)
}

// receive hands an event to the desk.
func (w *world) receive(ev *nostr.Event) (grasp.Verdict, error) {
	return w.s.Receive(context.Background(), ev, st.Raw(ev), "")
}

// hears and the others hand an event to the desk and insist on the answer.
func (w *world) hears(want grasp.Verdict, events ...*nostr.Event) {
	w.t.Helper()
	for _, ev := range events {
		v, err := w.receive(ev)
		if err != nil {
			w.t.Fatalf("%s: %v", name(ev), err)
		}
		if v != want {
			w.t.Fatalf("%s: verdict %q (%d), want %q (%d)", name(ev), v.Note(), v, want.Note(), want)
		}
	}
}

func (w *world) serves(events ...*nostr.Event) { w.t.Helper(); w.hears(grasp.Accepted, events...) }
func (w *world) keeps(events ...*nostr.Event)  { w.t.Helper(); w.hears(grasp.Held, events...) }

// refuses insists on a refusal by rule whose text contains text.
func (w *world) refuses(ev *nostr.Event, rule, text string) {
	w.t.Helper()
	v, err := w.receive(ev)
	w.refusal(err, rule, text, name(ev)+" "+v.Note())
	if shelf := w.mem.Shelf(ev.ID); shelf != grasp.Nowhere {
		w.t.Fatalf("%s was refused and is %s", name(ev), shelf)
	}
}

func (w *world) refusal(err error, rule, text, what string) {
	w.t.Helper()
	var r *grasp.Refusal
	if !errors.As(err, &r) {
		w.t.Fatalf("%s: got %v, want a refusal by %s", what, err, rule)
	}
	if r.Rule != rule || !strings.Contains(r.Text, text) {
		w.t.Fatalf("%s: refused by %s: %q, want %s: %q", what, r.Rule, r.Text, rule, text)
	}
}

// set and the others are what a push asks for.
func (w *world) set(repo grasp.Addr, ref string, to st.Object) grasp.RefChange {
	refs, _, _ := w.disk.Refs(repo)
	old, ok := refs[grasp.RefName(st.FullName(ref))]
	if !ok {
		old = grasp.ZeroOID
	}
	return grasp.RefChange{Ref: grasp.RefName(st.FullName(ref)), Old: old, New: to.ID}
}

func (w *world) del(repo grasp.Addr, ref string) grasp.RefChange {
	return w.set(repo, ref, st.Object{ID: grasp.ZeroOID})
}

// push pushes updates with the objects that they need and no others.
func (w *world) push(repo grasp.Addr, updates ...grasp.RefChange) error {
	return w.deliver(repo, packFor(updates), updates...)
}

func packFor(updates []grasp.RefChange) io.Reader {
	var tips []grasp.OID
	for _, u := range updates {
		tips = append(tips, u.New)
	}
	var objects []st.Object
	for ; len(tips) > 0; tips = tips[1:] {
		for _, o := range all {
			if o.ID == tips[0] && !slices.ContainsFunc(objects, func(p st.Object) bool { return p.ID == o.ID }) {
				objects = append(objects, o)
				tips = append(tips, o.Needs...)
			}
		}
	}
	return st.Pack(objects...)
}

func (w *world) deliver(repo grasp.Addr, pack io.Reader, updates ...grasp.RefChange) error {
	ctx := context.Background()
	p, err := w.s.Enter(ctx, repo, updates)
	if err != nil {
		return err
	}
	defer p.Close()
	return p.Deliver(ctx, pack, nil)
}

// pushes insists that a push is granted, and is there afterwards (I2).
func (w *world) pushes(repo grasp.Addr, updates ...grasp.RefChange) {
	w.t.Helper()
	if err := w.push(repo, updates...); err != nil {
		w.t.Fatalf("push to %s: %v", who(repo.Owner), err)
	}
	for _, u := range updates {
		if got := w.ref(repo, string(u.Ref)); got != u.New && !(u.New.IsZero() && got == "") {
			w.t.Fatalf("after the push %s is %q, want %q", u.Ref, got, u.New)
		}
	}
}

func (w *world) refusesPush(repo grasp.Addr, rule, text string, updates ...grasp.RefChange) {
	w.t.Helper()
	before, _, _ := w.disk.Refs(repo)
	w.refusal(w.push(repo, updates...), rule, text, "push to "+who(repo.Owner))
	if after, _, _ := w.disk.Refs(repo); !maps.Equal(before, after) {
		w.t.Fatalf("a refused push moved refs: %v", grasp.Diff(before, after))
	}
}

// ref returns what ref of repo is on disk, or "".
func (w *world) ref(repo grasp.Addr, ref string) grasp.OID {
	refs, _, _ := w.disk.Refs(repo)
	return refs[grasp.RefName(st.FullName(ref))]
}

func (w *world) wantRef(repo grasp.Addr, ref string, want st.Object) {
	w.t.Helper()
	if got := w.ref(repo, ref); got != want.ID {
		w.t.Fatalf("%s of %s's repository is %q, want %q", ref, who(repo.Owner), got.Short(), want.ID.Short())
	}
}

func (w *world) wantNoRef(repo grasp.Addr, ref string) {
	w.t.Helper()
	if got := w.ref(repo, ref); got != "" {
		w.t.Fatalf("%s of %s's repository is %q, want none", ref, who(repo.Owner), got.Short())
	}
}

func (w *world) wantHead(repo grasp.Addr, want grasp.RefName) {
	w.t.Helper()
	if _, head, _ := w.disk.Refs(repo); head != want {
		w.t.Fatalf("HEAD is %s, want %s", head, want)
	}
}

func (w *world) wantShelf(want grasp.Shelf, events ...*nostr.Event) {
	w.t.Helper()
	for _, ev := range events {
		if got := w.mem.Shelf(ev.ID); got != want {
			w.t.Fatalf("%s is %s, want %s", name(ev), got, want)
		}
	}
}

func (w *world) wantHosting(repo grasp.Addr, want grasp.Hosting) {
	w.t.Helper()
	if got, err := w.s.Find(context.Background(), repo); err != nil || got != want {
		w.t.Fatalf("%s's repository: hosting %d, %v, want %d", who(repo.Owner), got, err, want)
	}
}

// wantTold insists on what was told in this process so far, in this order, and forgets it.
func (w *world) wantTold(events ...*nostr.Event) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	var got, want []string
	for _, ev := range w.told {
		got = append(got, name(ev))
	}
	for _, ev := range events {
		want = append(want, name(ev))
	}
	if !slices.Equal(got, want) {
		w.t.Fatalf("told of\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
	w.told = nil
}

// sweep moves the clock and sweeps.
func (w *world) sweep(after time.Duration) {
	w.t.Helper()
	if err := w.s.Sweep(context.Background(), w.clock.Advance(after)); err != nil {
		w.t.Fatalf("sweep: %v", err)
	}
}

// live announces repo, states main=c1 and pushes it.
func (w *world) live(repo grasp.Addr, maintainers ...grasp.PubKey) (ann, state *nostr.Event) {
	w.t.Helper()
	ann = st.Announce(repo, 0, maintainers...)
	state = st.State(repo.Owner, repo.ID, 1, "main", string(c1.ID), "HEAD", "ref: refs/heads/main")
	for _, ev := range []*nostr.Event{ann, state} {
		if _, err := w.receive(ev); err != nil {
			w.t.Fatalf("%s: %v", name(ev), err)
		}
	}
	if w.mem.Shelf(state.ID) != grasp.Served { // unless a sister repository had it
		w.pushes(repo, w.set(repo, "main", c1))
	}
	w.wantShelf(grasp.Served, ann, state)
	return ann, state
}

// ok checks everything that must hold whenever nothing is under way.
func (w *world) ok() {
	w.t.Helper()
	w.breaches()
	if err := w.agree(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) settleTwice(id string) {
	w.t.Helper()
	before := w.print()
	for range 2 {
		if err := w.s.Settle(context.Background(), id); err != nil {
			w.t.Fatal(err)
		}
	}
	if after := w.print(); after != before {
		w.t.Fatalf("settling what was settled changed\n%s\nto\n%s", before, after)
	}
}

package steward_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/steward"
	st "github.com/gitroost/gitroost/internal/steward/stewardtest"
)

// adopt brings what these refs need from elsewhere.
func (w *world) adopt(repo grasp.Addr, updates ...grasp.RefChange) error {
	ctx := context.Background()
	for i := range updates {
		updates[i].Old = grasp.ZeroOID
	}
	q, err := w.brk.Vault(w.vault).Ingest(ctx, repo, packFor(updates), steward.IngestOptions{})
	if err != nil {
		return err
	}
	defer q.Discard()
	if err := q.Check(ctx, updates); err != nil {
		return err
	}
	pulls := !slices.ContainsFunc(updates, func(u grasp.RefChange) bool { return !u.Ref.IsNostr() })
	return w.s.Adopt(ctx, repo, q, pulls)
}

func (w *world) missing(id string) []steward.Lack {
	w.t.Helper()
	l, err := w.s.Missing(context.Background(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

// announce is st.Announce with further clone URLs.
func announce(repo grasp.Addr, at int, urls []string, maintainers ...grasp.PubKey) *nostr.Event {
	ev := st.Announce(repo, at, maintainers...)
	tags := slices.Clone(ev.Tags)
	for i, t := range tags {
		if t[0] == "clone" {
			tags[i] = append(slices.Clone(t), urls...)
		}
	}
	return st.Event(repo.Owner, grasp.KindAnnouncement, at, "", tags...)
}

// G02-02: what waits, and what is served and lost something, is missing; what is here is not.
func TestMissing(t *testing.T) {
	w := newWorld(t)
	if l := w.missing("demo"); len(l) != 0 {
		t.Errorf("of nothing %v is missing", l)
	}
	ann := announce(demo, 0, []string{"https://a.example/x", "https://b.example/x"}, bob)
	state := st.State(alice, "demo", 2, "main", string(c2.ID), "dev", string(x2.ID), "HEAD", "ref: refs/heads/main")
	w.keeps(ann, state)
	l := w.missing("demo")
	if len(l) != 1 || l[0].Repo != demo || !l[0].States || l[0].Since.IsZero() {
		t.Fatalf("%+v", l)
	}
	want := []grasp.OID{c2.ID, x2.ID}
	slices.Sort(want)
	if !slices.Equal(l[0].Objects, want) {
		t.Errorf("missing are %v, want %v", l[0].Objects, want)
	}
	for _, ev := range []*nostr.Event{ann, state} {
		if !slices.Contains(l[0].Waiting, grasp.EventID(ev.ID)) {
			t.Errorf("%s does not wait for it", name(ev))
		}
	}
	var urls []string
	for _, p := range l[0].Places {
		urls = append(urls, p.URL)
		if p.By != alice {
			t.Errorf("%s was named by %s", p.URL, p.By)
		}
	}
	if len(urls) != 3 || urls[1] != "https://a.example/x" {
		t.Errorf("places are %v", urls)
	}
	if err := w.adopt(demo, to("main", c2)); err != nil {
		t.Fatal(err)
	}
	w.wantShelf(grasp.Waiting, state)
	l = w.missing("demo")
	if len(l) != 1 || !slices.Equal(l[0].Objects, []grasp.OID{x2.ID}) || !slices.Contains(l[0].Have, c2.ID) {
		t.Errorf("%+v", l)
	}
	if err := w.adopt(demo, to("dev", x2)); err != nil {
		t.Fatal(err)
	}
	w.wantShelf(grasp.Served, ann, state)
	w.wantRef(demo, "main", c2)
	w.wantRef(demo, "dev", x2)
	if l := w.missing("demo"); len(l) != 0 {
		t.Errorf("%v is still missing", l)
	}
	// A pull request names its own places first, and its author answers for them.
	pr := st.Event(carol, grasp.KindPull, 5, "", nostr.Tag{"c", string(p1.ID)}, nostr.Tag{"clone", "https://c.example/y"}, nostr.Tag{"a", "30617:" + string(alice) + ":demo"})
	w.keeps(pr)
	l = w.missing("demo")
	if len(l) != 1 || l[0].States || !slices.Equal(l[0].Pulls, []grasp.EventID{grasp.EventID(pr.ID)}) || l[0].Places[0] != (steward.Place{URL: "https://c.example/y", By: carol}) {
		t.Errorf("%+v", l)
	}
	if err := w.adopt(demo, to(pullRef(pr), p1)); err != nil {
		t.Fatal(err)
	}
	w.wantShelf(grasp.Served, pr)
	w.wantRef(demo, pullRef(pr), p1)
	w.settleTwice("demo")
	w.ok()
}

// What nobody asks for is not missing: states that are superseded, of strangers, of repositories that
// left.
func TestNotMissing(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	w.keeps(st.State(alice, "demo", 5, "main", string(c2.ID)))
	newest := st.State(alice, "demo", 6, "main", string(c3.ID))
	w.keeps(newest)
	if err := w.adopt(demo, to("main", c3)); err != nil {
		t.Fatal(err)
	}
	w.wantShelf(grasp.Served, newest)
	w.wantRef(demo, "main", c3)
	if l := w.missing("demo"); len(l) != 0 {
		t.Errorf("%+v", l)
	}
	w.ok()
}

// G02-02: the latest state of each maintainer is looked for, also of one who was overtaken: servers that heard of
// both in the other order serve both. What the same maintainer superseded is not.
func TestMissingOfTheOvertaken(t *testing.T) {
	w := newWorld(t)
	ann, newest := st.Announce(demo, 0, bob), st.State(alice, "demo", 9, "main", string(c3.ID))
	w.keeps(ann, newest)
	if err := w.adopt(demo, to("main", c3)); err != nil {
		t.Fatal(err)
	}
	w.wantShelf(grasp.Served, ann, newest)
	overtaken := st.State(bob, "demo", 5, "main", string(x2.ID))
	w.keeps(overtaken)
	next := st.State(alice, "demo", 10, "main", string(c2.ID), "dev", string(p1.ID))
	w.keeps(next)
	want := []grasp.OID{x2.ID, p1.ID}
	slices.Sort(want)
	if l := w.missing("demo"); len(l) != 1 || !slices.Equal(l[0].Objects, want) {
		t.Fatalf("of what overtakes it and what it overtook %+v are missing, want %v", l, want)
	}
	if err := w.adopt(demo, to("main", c2), to("dev", p1)); err != nil {
		t.Fatal(err)
	}
	w.wantShelf(grasp.Served, next)
	newest = next
	l := w.missing("demo")
	if len(l) != 1 || !slices.Equal(l[0].Objects, []grasp.OID{x2.ID}) || !slices.Contains(l[0].Waiting, grasp.EventID(overtaken.ID)) {
		t.Fatalf("%+v", l)
	}
	if err := w.adopt(demo, to("main", x2)); err != nil {
		t.Fatal(err)
	}
	w.wantShelf(grasp.Served, newest, overtaken)
	w.wantRef(demo, "main", c2)
	w.settleTwice("demo")
	if l := w.missing("demo"); len(l) != 0 {
		t.Errorf("%+v", l)
	}
	w.ok()
}

// Nobody fills the list of places alone, and nobody makes it long.
func TestPlacesAreBounded(t *testing.T) {
	w := newWorld(t)
	var urls []string
	for i := range 90 {
		urls = append(urls, "https://h"+string(rune('a'+i%26))+".example/"+string(rune('a'+i/26)))
	}
	w.keeps(announce(demo, 0, urls, bob), announce(bobsDemo, 0, []string{"https://bob.example/x"}), st.State(alice, "demo", 2, "main", string(c2.ID)))
	for _, l := range w.missing("demo") {
		by := map[grasp.PubKey]int{}
		for _, p := range l.Places {
			by[p.By]++
		}
		if len(l.Places) > steward.MaxPlaces || by[alice] > steward.MaxPlaces/2 || l.Repo == demo && by[bob] == 0 {
			t.Errorf("%s: %v", l.Repo, by)
		}
	}
}

// G02-13: objects move nothing by themselves; jobs hear of what they let move as a sync.
func TestAdopt(t *testing.T) {
	var mu sync.Mutex
	var heard []jobs.Event
	w := newWorld(t, func(c *steward.Config) {
		c.Jobs = func(_ context.Context, ev jobs.Event) ([]jobs.Job, []string) {
			mu.Lock()
			defer mu.Unlock()
			heard = append(heard, ev)
			return nil, nil
		}
	})
	w.live(demo)
	heard = nil
	if err := w.adopt(demo, to("main", x2)); err != nil {
		t.Fatal(err)
	}
	w.wantRef(demo, "main", c1)
	if len(heard) != 0 {
		t.Errorf("jobs heard %v", heard)
	}
	w.keeps(st.State(alice, "demo", 5, "main", string(c2.ID)))
	if err := w.adopt(demo, to("main", c2)); err != nil {
		t.Fatal(err)
	}
	w.wantRef(demo, "main", c2)
	if len(heard) != 1 || heard[0].Trigger != jobs.OnSync || len(heard[0].Changes) != 1 {
		t.Errorf("jobs heard %v", heard)
	}
	w.ok()
}

// Objects from elsewhere count like pushed ones, and are refused like them (G01-109).
func TestAdoptQuota(t *testing.T) {
	w := newWorld(t, func(c *steward.Config) { c.Quotas.Owner.RepoBytes = 1 })
	ctx := context.Background()
	w.keeps(st.Announce(demo, 0), st.State(alice, "demo", 2, "main", string(c2.ID)))
	if left, bounded, err := w.s.Room(ctx, demo, false); left != 1 || !bounded || err != nil {
		t.Errorf("room: %d, %v, %v", left, bounded, err)
	}
	if _, bounded, err := w.s.Room(ctx, demo, true); bounded || err != nil {
		t.Errorf("room for pull requests: %v, %v", bounded, err)
	}
	if err := w.adopt(demo, to("main", c2)); !fault.Is(err, fault.Refused) {
		t.Errorf("adopted: %v", err)
	}
	w.wantNoRef(demo, "main")
	if err := w.adopt(carolsBox, to("main", c2)); err == nil {
		t.Error("a box was brought something")
	}
	if err := w.adopt(bobsDemo, to("main", c2)); !fault.Is(err, fault.Gone) {
		t.Errorf("nobody's repository: %v", err)
	}
	w.ok()
}

// G01-312: what is looked for elsewhere may wait longer, and not for ever.
func TestAwait(t *testing.T) {
	w := newWorld(t)
	ann, state := st.Announce(demo, 0), st.State(alice, "demo", 2, "main", string(c2.ID))
	w.keeps(ann, state)
	ctx := context.Background()
	events := []grasp.EventID{grasp.EventID(ann.ID), grasp.EventID(state.ID)}
	if err := w.s.Await(ctx, "demo", events, w.clock.Now().Add(90*time.Minute)); err != nil {
		t.Fatal(err)
	}
	w.sweep(80 * time.Minute)
	w.wantShelf(grasp.Waiting, ann, state)
	release := w.s.Hold(events)
	w.sweep(20 * time.Minute)
	w.wantShelf(grasp.Waiting, ann, state)
	release()
	w.sweep(time.Minute)
	w.wantShelf(grasp.Nowhere, ann, state)
	w.ok()
}

package steward_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
	st "github.com/gitroost/gitroost/internal/steward/stewardtest"
)

// about reads what a rule is about: "author …", "repository …", "event …", "kind …".
func about(t testing.TB, text string) grasp.Subject {
	t.Helper()
	topic, name, _ := strings.Cut(text, " ")
	top, err := grasp.ParseTopic(topic)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	s, err := grasp.ParseSubject(top, name)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return s
}

func (w *world) deny(text string) (steward.Effect, error) {
	_, e, err := w.s.Decide(context.Background(), grasp.Rule{Action: grasp.Deny, Subject: about(w.t, text), Reason: "a reason", By: "command line"})
	return e, err
}

// denies insists that a rule can be made, and that a preview said what it would do.
func (w *world) denies(text string) steward.Effect {
	w.t.Helper()
	before := w.print()
	said, err := w.s.Preview(context.Background(), grasp.Rule{Action: grasp.Deny, Subject: about(w.t, text)})
	if err != nil {
		w.t.Fatalf("preview of %s: %v", text, err)
	}
	if after := w.print(); after != before {
		w.t.Fatalf("the preview of %s changed\n%s\nto\n%s", text, before, after)
	}
	e, err := w.deny(text)
	if err != nil {
		w.t.Fatalf("deny %s: %v", text, err)
	}
	if said.Total() != e.Total() || len(said.Repos) != len(e.Repos) {
		w.t.Fatalf("deny %s: the preview said %+v, and it was %+v", text, said, e)
	}
	return e
}

func (w *world) lifts(text string) {
	w.t.Helper()
	if found, err := w.s.Withdraw(context.Background(), about(w.t, text), grasp.Deny); err != nil || !found {
		w.t.Fatalf("lift %s: found %v, %v", text, found, err)
	}
}

// G01-109: a denied repository is closed with what is about it alone, its git data is kept, a push
// is told the reason; and it comes back whole when the rule is taken back and it is announced again.
func TestDenyRepository(t *testing.T) {
	w := newWorld(t)
	ann, state := w.live(demo)
	other := grasp.Addr{Owner: alice, ID: "other"}
	w.keeps(st.Announce(other, 0))
	issue, both := st.Issue(carol, 3, demo), st.Issue(carol, 4, demo, other)
	w.serves(issue, both)
	waiting := st.State(alice, "demo", 5, "main", string(c2.ID))
	w.keeps(waiting)
	push, err := w.s.Enter(context.Background(), demo, []grasp.RefChange{w.set(demo, "main", c2)})
	if err != nil {
		t.Fatal(err)
	}
	defer push.Close()

	e := w.denies("repository " + alice.Npub() + "/demo")
	if e.Total() != 4 || e.Events[1621] != 1 || len(e.Repos) != 1 || e.Repos[0] != demo {
		t.Errorf("the effect is %+v", e)
	}
	w.wantShelf(grasp.Nowhere, ann, state, issue, waiting)
	w.wantShelf(grasp.Served, both)
	w.refuses(ann, "G01-109", "does not take this repository: a reason")
	w.refuses(st.Issue(mallory, 6, demo), "G01-109", "a reason")
	w.refusesPush(demo, "G01-109", "a reason", w.set(demo, "main", c2))
	w.refusal(push.Deliver(context.Background(), packFor([]grasp.RefChange{{New: c2.ID}}), nil), "G01-109", "a reason", "a push that had begun")
	_, err = w.s.Find(context.Background(), demo)
	w.refusal(err, "G01-109", "a reason", "reading it")
	w.wantRef(demo, "main", c1) // its data is kept
	w.sweep(time.Hour)
	w.ok()
	if err := w.s.Enforce(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.settleTwice("demo")

	w.lifts("repository " + string(alice) + "/demo")
	w.wantHosting(demo, grasp.Deleted)
	again := st.Announce(demo, 8)
	if _, err := w.receive(again); err != nil {
		t.Fatal(err)
	}
	w.wantHosting(demo, grasp.Live)
	if _, err := w.receive(state); err != nil { // nothing was left that would refuse it
		t.Fatal(err)
	}
	w.wantShelf(grasp.Served, again, state)
	w.wantRef(demo, "main", c1)
	w.ok()
}

// What is denied for longer than the grace period is gone for good.
func TestDeniedDataGoesAfterTheGrace(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	w.denies("repository demo")
	w.sweep(89 * 24 * time.Hour)
	w.wantRef(demo, "main", c1)
	w.sweep(2 * 24 * time.Hour)
	w.wantNoRef(demo, "main")
	w.ok()
}

// A denied key: whatever it signed goes, served and waiting, its repositories close, its state no
// longer moves anybody's refs, and what others did stays.
func TestDenyAuthor(t *testing.T) {
	w := newWorld(t)
	ann, state := w.live(demo, bob)
	bobs := st.Announce(bobsDemo, 1, alice)
	w.serves(bobs)
	his := st.State(bob, "demo", 5, "main", string(c2.ID), "HEAD", "ref: refs/heads/main")
	w.keeps(his)
	w.pushes(demo, w.set(demo, "main", c2))
	issue := st.Issue(bob, 6, demo)
	w.serves(issue)
	pr := st.Pull(bob, 7, p1.ID, demo)
	w.keeps(pr)
	e := w.denies("author " + bob.Npub())
	if len(e.Repos) != 1 || e.Repos[0] != bobsDemo {
		t.Errorf("the effect is %+v", e)
	}
	w.wantShelf(grasp.Nowhere, bobs, his, issue, pr)
	w.wantShelf(grasp.Served, ann, state)
	w.wantRef(demo, "main", c1) // what alice signed is the newest again
	w.refuses(st.Issue(bob, 8, demo), "G01-109", "takes nothing from this key")
	w.refuses(st.State(bob, "demo", 9, "main", string(c2.ID)), "G01-109", "takes nothing from this key")
	w.refusesPush(bobsDemo, "G01-109", "a reason", w.set(bobsDemo, "main", c2))
	w.ok()
	w.settleTwice("demo")
}

// A pull request that is denied: its ref goes with it, and cannot be pushed.
func TestDenyPull(t *testing.T) {
	for _, rule := range []string{"event", "author", "kind"} {
		w := newWorld(t)
		w.live(demo, bob)
		w.serves(st.Announce(bobsDemo, 1, alice))
		pr := st.Pull(carol, 3, p1.ID, demo, bobsDemo)
		w.keeps(pr)
		w.pushes(demo, w.set(demo, pullRef(pr), p1))
		w.wantShelf(grasp.Served, pr)
		text := map[string]string{"event": "event " + pr.ID, "author": "author " + string(carol), "kind": "kind 1618"}[rule]
		if e := w.denies(text); e.Events[1618] != 1 {
			t.Errorf("%s: the effect is %+v", rule, e)
		}
		w.wantShelf(grasp.Nowhere, pr)
		w.wantNoRef(demo, pullRef(pr))
		w.wantNoRef(bobsDemo, pullRef(pr))
		if rule != "author" { // nobody knows whose an event is that is not here
			w.refusesPush(demo, "G01-109", "a reason", w.set(demo, pullRef(pr), p1))
		}
		w.ok()
		w.settleTwice("demo")
	}
}

// A denied announcement closes its repository; a newer one, that nobody denies, opens it again.
func TestDenyEvent(t *testing.T) {
	w := newWorld(t)
	ann, _ := w.live(demo)
	w.denies("event " + ann.ID)
	w.wantHosting(demo, grasp.Deleted)
	w.refuses(ann, "G01-109", "a reason")
	if _, err := w.receive(st.Announce(demo, 7)); err != nil {
		t.Fatal(err)
	}
	w.wantHosting(demo, grasp.Live)
	w.ok()
}

// A denied kind goes and stays away; the kinds that the server is made of cannot be denied.
func TestDenyKind(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	issue := st.Issue(carol, 3, demo)
	w.serves(issue)
	w.denies("kind 1621")
	w.wantShelf(grasp.Nowhere, issue)
	w.refuses(issue, "G01-109", "events of kind 1621: a reason")
	if _, err := w.deny("kind 30617"); !fault.Is(err, fault.Invalid) {
		t.Errorf("announcements are denied: %v", err)
	}
	w.ok()
}

// A list of what is allowed restricts what comes, and takes nothing away; deny beats it.
func TestAllowLists(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	allow := func(text string) {
		t.Helper()
		if _, _, err := w.s.Decide(context.Background(), grasp.Rule{Action: grasp.Allow, Subject: about(t, text)}); err != nil {
			t.Fatal(err)
		}
	}
	allow("author " + string(bob))
	w.wantHosting(demo, grasp.Live)
	w.pushes(demo, w.set(demo, "main", c1))
	w.refuses(st.Announce(grasp.Addr{Owner: carol, ID: "new"}, 3), "G01-109", "its own list only")
	w.keeps(st.Announce(grasp.Addr{Owner: bob, ID: "new"}, 3))
	w.denies("repository new")
	w.refuses(st.Announce(grasp.Addr{Owner: bob, ID: "new"}, 4), "G01-109", "a reason")
	allow("kind 1621")
	w.serves(st.Issue(carol, 3, demo))
	w.refuses(st.Event(carol, 1617, 5, "", nostr.Tag{"a", demo.Coordinate()}), "G01-109", "1617 is not among them")
	// To allow what was denied replaces the rule: one subject, one decision.
	allow("repository new")
	w.keeps(st.Announce(grasp.Addr{Owner: bob, ID: "new"}, 6))
	w.ok()
}

// Rules are durable, those of the configuration hold from the start, also for what is here already,
// and cannot be taken back through the table.
func TestRulesOutliveTheProcess(t *testing.T) {
	w := newWorld(t)
	ann, _ := w.live(demo)
	w.denies("author " + string(carol))
	w.cfg.Rules = []grasp.Rule{{Source: grasp.FromConfig, Number: 1, Action: grasp.Deny, Subject: about(t, "repository demo")}}
	w.restart()
	w.wantShelf(grasp.Nowhere, ann)
	w.refuses(st.Event(carol, 1617, 3, ""), "G01-109", "takes nothing from this key")
	if _, err := w.s.Withdraw(context.Background(), about(t, "repository demo"), grasp.Deny); !fault.Is(err, fault.Refused) || !strings.Contains(err.Error(), "configuration") {
		t.Errorf("a rule of the configuration is taken back: %v", err)
	}
	if found, err := w.s.Withdraw(context.Background(), about(t, "repository none"), grasp.Deny); found || err != nil {
		t.Errorf("a rule that there is not is taken back: %v %v", found, err)
	}
	if got := w.s.Refusals(grasp.OfAuthor, grasp.FromTable); got != 1 {
		t.Errorf("%d refusals by the rule about an author", got)
	}
	w.ok()
}

// An event that is on its way in while it is being denied does not stay.
func TestDeniedOnTheWayIn(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	issue := st.Issue(carol, 3, demo)
	w.brk.Before("Commit", func() {
		w.brk.Before("Commit", nil)
		if _, err := w.deny("author " + string(carol)); err != nil {
			t.Errorf("deny: %v", err)
		}
	})
	w.refuses(issue, "G01-109", "takes nothing from this key")
	w.ok()
}

// More events than one batch holds go as well.
func TestDenyMany(t *testing.T) {
	w := newWorld(t)
	w.live(demo)
	const many = 1200
	for i := range many {
		ev := st.Issue(carol, i+2, demo)
		if _, err := w.mem.Commit(context.Background(), steward.Change{Put: &steward.Entry{Event: ev, Raw: st.Raw(ev), Shelf: grasp.Served}}); err != nil {
			t.Fatal(err)
		}
	}
	w.brk.Count()
	if e := w.denies("author " + string(carol)); e.Total() != many {
		t.Errorf("%d events went", e.Total())
	}
	if n := len(w.mem.Entries()); n != 2 {
		t.Errorf("%d events are left", n)
	}
	w.brk.Mend()
	w.ok()
}

// A contributor's box is denied with its owner, or with its identifier; what it holds goes with the
// events that are denied, and not with the repository of that name (G06-02).
func TestDenyBox(t *testing.T) {
	for rule, closed := range map[string]bool{
		"author " + string(carol): true, "repository " + string(carol): true, "repository " + carolsBox.ID: true,
		"repository " + string(carol) + "/" + carolsBox.ID: false, "author " + string(mallory): false,
	} {
		w := newWorld(t)
		pr := st.Proposal(carol, 2, p1.ID, far)
		w.keeps(pr)
		w.pushes(carolsBox, w.set(carolsBox, pullRef(pr), p1))
		w.wantShelf(grasp.Served, pr)
		w.denies(rule)
		_, err := w.s.Find(context.Background(), carolsBox)
		if (err != nil) != closed {
			t.Errorf("%s: reading the box: %v", rule, err)
		}
		if err := w.push(carolsBox, w.set(carolsBox, "refs/nostr/"+st.Issue(bob, 9).ID, p1)); (err != nil) != closed {
			t.Errorf("%s: pushing to the box: %v", rule, err)
		}
		w.sweep(21 * time.Minute)
		if rule == "author "+string(carol) {
			w.wantShelf(grasp.Nowhere, pr)
			w.wantNoRef(carolsBox, pullRef(pr))
			w.wantNoBoxes()
		}
		w.ok()
		w.settleTwice(carolsBox.ID)
	}
}

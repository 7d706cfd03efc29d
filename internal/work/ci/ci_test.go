package ci_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
	"github.com/gitroost/gitroost/internal/work/ci"
)

const (
	alice   = grasp.PubKey("3bf0c63fcb93463407af97a5e5ee64fa883d107ef9e558472c4eb9aaaefa459d")
	bob     = grasp.PubKey("82341f882b6eabcd2ba7f1ef90aad961cf074af15b9ef44a09f9d2a8fbfbe6a2")
	mallory = grasp.PubKey("0000000000000000000000000000000000000000000000000000000000000001")
	self    = grasp.PubKey("0000000000000000000000000000000000000000000000000000000000000002")
)

var repo = grasp.Addr{Owner: alice, ID: "shop"}

func control(id string, kind int, by grasp.PubKey, at int64, change ...func(*nostr.Event)) *nostr.Event {
	ev := &nostr.Event{ID: strings.Repeat(id, 64), Kind: kind, PubKey: string(by), CreatedAt: nostr.Timestamp(at), Tags: nostr.Tags{{"a", repo.Coordinate()}, {"p", string(self)}}}
	for _, f := range change {
		f(ev)
	}
	return ev
}

// Whose request stands when. D8
func TestStanding(t *testing.T) {
	const request, stop = ci.KindServiceRequest, ci.KindServiceStop
	for _, c := range []struct {
		what   string
		events []*nostr.Event
		want   string // the digit of the event's id
	}{
		{"none", nil, ""},
		{"a maintainer's", []*nostr.Event{control("1", request, alice, 5)}, "1"},
		{"a stranger's", []*nostr.Event{control("1", request, mallory, 5)}, ""},
		{"the latest of two", []*nostr.Event{control("2", request, bob, 6), control("1", request, alice, 5)}, "2"},
		{"one from later", []*nostr.Event{control("1", request, alice, 50)}, ""},
		{"one that was stopped", []*nostr.Event{control("1", request, alice, 5), control("2", stop, alice, 6)}, ""},
		{"one that another maintainer stopped", []*nostr.Event{control("1", request, alice, 5), control("2", stop, bob, 6)}, ""},
		{"one that a stranger would stop", []*nostr.Event{control("1", request, alice, 5), control("2", stop, mallory, 6)}, "1"},
		{"one after a stop", []*nostr.Event{control("3", request, alice, 7), control("1", request, alice, 5), control("2", stop, alice, 6)}, "3"},
		{"at the same time, the lower id later", []*nostr.Event{control("1", stop, alice, 5), control("2", request, alice, 5)}, ""},
		{"at the same time, the other way", []*nostr.Event{control("2", stop, alice, 5), control("1", request, alice, 5)}, "1"},
		{"for another repository", []*nostr.Event{control("1", request, alice, 5, func(ev *nostr.Event) { ev.Tags[0][1] += "x" })}, ""},
		{"for two", []*nostr.Event{control("1", request, alice, 5, func(ev *nostr.Event) { ev.Tags = append(ev.Tags, nostr.Tag{"a", "30617:x:y"}) })}, ""},
		{"to another server", []*nostr.Event{control("1", request, alice, 5, func(ev *nostr.Event) { ev.Tags[1][1] = string(bob) })}, ""},
		{"with words", []*nostr.Event{control("1", request, alice, 5, func(ev *nostr.Event) { ev.Content = "x" })}, ""},
		{"that expires", []*nostr.Event{control("1", request, alice, 5, func(ev *nostr.Event) { ev.Tags = append(ev.Tags, nostr.Tag{"expiration", "9"}) })}, ""},
	} {
		got, ok := ci.Standing(c.events, repo, self, grasp.KeySet{alice: {}, bob: {}}, 10)
		if ok != (c.want != "") || ok && got.ID != grasp.EventID(strings.Repeat(c.want, 64)) {
			t.Errorf("%s: %v, %v", c.what, got, ok)
		}
	}
}

func trigger(change ...func(*nostr.Event)) *nostr.Event {
	ev := &nostr.Event{ID: strings.Repeat("e", 64), Kind: ci.KindManualTrigger, PubKey: string(alice), CreatedAt: 5, Tags: nostr.Tags{
		{"p", string(self)}, {"a", repo.Coordinate()}, {"c", strings.Repeat("1", 40)}, {"w", "gitroost/jobs/deploy", strings.Repeat("2", 64)}, {"r", "refs/heads/main"},
	}}
	for _, f := range change {
		f(ev)
	}
	return ev
}

// What is a Manual Trigger for us, and what is not. S4-35
func TestParseTrigger(t *testing.T) {
	set := func(i, j int, v string) func(*nostr.Event) { return func(ev *nostr.Event) { ev.Tags[i][j] = v } }
	add := func(tags ...nostr.Tag) func(*nostr.Event) {
		return func(ev *nostr.Event) { ev.Tags = append(ev.Tags, tags...) }
	}
	got, err := ci.ParseTrigger(trigger(), self)
	if err != nil || got.Job != "deploy" || got.Ref != "refs/heads/main" || got.Author != alice || got.At != 5 || len(got.Repos) != 1 || got.Repos[0] != repo || got.Proposal {
		t.Errorf("%+v, %v", got, err)
	}
	for what, change := range map[string]func(*nostr.Event){
		"another kind": func(ev *nostr.Event) { ev.Kind++ }, "words": func(ev *nostr.Event) { ev.Content = "x" },
		"another server": set(0, 1, string(bob)), "two servers": add(nostr.Tag{"p", string(bob)}),
		"no repository": set(1, 1, "30618:"+string(alice)+":shop"), "two repositories": add(nostr.Tag{"a", "30617:" + string(bob) + ":other"}),
		"no commit": set(2, 1, "main"), "a workflow of another": set(3, 1, ".github/workflows/ci.yml"), "a path": set(3, 1, "gitroost/jobs/../x"),
		"no hash": set(3, 2, "2"), "two jobs": add(nostr.Tag{"w", "gitroost/jobs/b", strings.Repeat("2", 64)}), "two refs": add(nostr.Tag{"r", "refs/heads/b"}),
		"a reason": add(nostr.Tag{"o", "push"}), "a ref and a proposal": add(nostr.Tag{"E", strings.Repeat("3", 64)}),
	} {
		if got, err := ci.ParseTrigger(trigger(change), self); err == nil {
			t.Errorf("%s: %+v", what, got)
		}
	}
}

func FuzzParseTrigger(f *testing.F) {
	f.Add("p", string(self), "w", "gitroost/jobs/x")
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		ev := trigger(func(ev *nostr.Event) {
			ev.Tags = append(ev.Tags, nostr.Tag{a, b}, nostr.Tag{c, d}, nostr.Tag{a}, nostr.Tag{})
		})
		if got, err := ci.ParseTrigger(ev, self); err == nil && (got.Job != "deploy" || got.Repos[0].ID != "shop" || strings.Contains(got.Job, "/")) {
			t.Errorf("%+v", got)
		}
	})
}

// A run of a proposal bears the tags of NIP-22, and no ref; one that no event can tell of is told by none.
func TestRunOfProposal(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	j := jobs.Job{ID: "01J9ZZZZZZZZZZZZZZZZZZZZZZ", Name: "check", Repo: repo, Trigger: jobs.OnPull, Ref: "refs/nostr/x", New: grasp.OID(strings.Repeat("1", 40)),
		Definition: jobs.HashOf("x"), State: jobs.OK, Created: start, Started: start, Ended: start.Add(time.Minute)}
	r := ci.Run{About: work.Of(j, ""), Repo: repo, Commits: []string{string(j.New)}, Self: self, Relay: "wss://git.example.org", URL: "https://git.example.org"}
	if r.Tellable() {
		t.Error("of a proposal that nobody knows it is told")
	}
	r.Pull = &ci.Pull{Root: "r", RootAuthor: bob, Event: "u", Kind: 1619, Author: mallory}
	r.By = &ci.Control{ID: "q", Author: alice}
	if !r.Tellable() {
		t.Fatal("of a proposal that is known it is not told")
	}
	got := map[string]string{}
	ev := r.WorkflowResult("job")
	for _, tag := range ev.Tags {
		got[tag[0]] += fmt.Sprint(tag[1:])
	}
	for name, want := range map[string]string{
		"E": fmt.Sprintf("[r wss://git.example.org %s]", bob), "K": "[1618]", "P": fmt.Sprintf("[%s]", bob),
		"e": fmt.Sprintf("[u wss://git.example.org %s]", mallory), "k": "[1619]", "p": fmt.Sprintf("[%s]", mallory),
		"o": "[pull_request]", "r": "[" + string(j.ID) + "]", "conclusion": "[success]",
		"q": fmt.Sprintf("[job wss://git.example.org %s check][q wss://git.example.org %s service-request]", self, alice),
	} {
		if got[name] != want {
			t.Errorf("%s is %s, want %s", name, got[name], want)
		}
	}
	// The job's own result does not quote who asked for runs in general, and a running one has no conclusion.
	for _, tag := range r.JobResult().Tags {
		if len(tag) > 4 {
			t.Errorf("the result of the job quotes %v", tag)
		}
	}
	r.State = jobs.Running
	for _, tag := range r.Progress(start).Tags {
		if tag[0] == "conclusion" || tag[0] == "status" && tag[1] != "in_progress" || tag[0] == "expiration" && tag[1] != fmt.Sprint(start.Add(30*time.Minute).Unix()) {
			t.Errorf("running: %v", tag)
		}
	}
}

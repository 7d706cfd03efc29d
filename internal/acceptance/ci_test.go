package acceptance_test

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
	"github.com/gitroost/gitroost/internal/jobs"
)

const ciJobs = `
jobs_engine: {nostr: ngit-ci}
jobs:
  - name: check
    repos: ['*/*']
    on: {push: {}}
    exec: {run: ["false"], sandbox: plain}
  - name: deploy
    repos: ['*/*']
    on: {manual: true}
    exec: {run: ["true"], sandbox: plain}
  - name: hidden
    repos: ['*/*']
    on: {push: {}}
    private: true
    exec: {run: ["true"], sandbox: plain}
`

// values returns the values of a tag.
func values(ev *nostr.Event, name string) (out []string) {
	for _, t := range ev.Tags {
		if len(t) > 1 && t[0] == name {
			out = append(out, t[1])
		}
	}
	return out
}

func one(t *testing.T, ev *nostr.Event, name string) string {
	t.Helper()
	v := values(ev, name)
	if len(v) != 1 {
		t.Fatalf("%d %s tags in kind %d: %v", len(v), name, ev.Kind, ev.Tags)
	}
	return v[0]
}

// self is the key of the server, as its document says.
func self(t *testing.T, h *housetest.House) string {
	t.Helper()
	_, body := h.Get(h.URL, "Accept", "application/nostr+json")
	var doc struct{ Self string }
	if err := json.Unmarshal([]byte(body), &doc); err != nil || doc.Self == "" {
		t.Fatalf("%v: %s", err, body)
	}
	return doc.Self
}

// How jobs ended is told in events that the server signs, in the shapes that clients read; of what is
// private nothing is. D8, S4-46
func TestJobsInEvents(t *testing.T) {
	h := jobsFrom(t, ciJobs, nil)
	alice, c := housetest.NewKey(t), h.Dial()
	key := self(t, h)
	sub := c.Subscribe(nostr.Filter{Kinds: []int{9841, 9842}})
	c.Stored(sub)
	w := h.Served(h.Dial(), alice, "demo", h.Clock.Now().Unix())
	tip := strings.TrimSpace(w.Git("rev-parse", "HEAD"))
	job, run := c.Live(sub), c.Live(sub)
	if job.Kind == 9842 {
		job, run = run, job
	}
	for _, ev := range []*nostr.Event{job, run} {
		if ok, err := ev.CheckSignature(); !ok || err != nil || ev.PubKey != key || ev.Content != "" {
			t.Errorf("kind %d is not the server's: %v", ev.Kind, ev)
		}
		if one(t, ev, "a") != housetest.Coordinate(alice, "demo") || one(t, ev, "c") != tip || one(t, ev, "o") != "push" ||
			one(t, ev, "w") != "gitroost/jobs/check" || one(t, ev, "conclusion") != "failure" || !slices.Contains(values(ev, "r"), "refs/heads/main") {
			t.Errorf("kind %d: %v", ev.Kind, ev.Tags)
		}
		for _, name := range []string{"queued_at", "started_at"} {
			if n, err := strconv.ParseInt(one(t, ev, name), 10, 64); err != nil || time.Since(time.Unix(n, 0)) > time.Hour {
				t.Errorf("%s: %v", name, ev.Tags)
			}
		}
	}
	id := slices.DeleteFunc(values(run, "r"), func(s string) bool { return strings.HasPrefix(s, "refs/") })
	if len(id) != 1 || one(t, job, "q") != "39842:"+key+":"+id[0] || one(t, job, "logs") != h.URL+"/jobs/"+id[0]+"/log" || one(t, job, "job") != "check" {
		t.Fatalf("%v\n%v", run.Tags, job.Tags)
	}
	if q := tagged(t, run, "q"); q[1] != job.ID || q[3] != key || q[4] != "check" {
		t.Errorf("the run quotes %v", q)
	}
	marks := c.Query(nostr.Filter{Kinds: []int{39842}})
	if len(marks) != 1 || one(t, marks[0], "d") != id[0] || one(t, marks[0], "status") != "concluded" || one(t, marks[0], "conclusion") != "failure" {
		t.Fatalf("%v", marks)
	}
	expires, _ := strconv.ParseInt(one(t, marks[0], "expiration"), 10, 64)
	if marks[0].CreatedAt <= job.CreatedAt {
		t.Errorf("that it is over is told as of %d; until %d it might have been said that it runs", marks[0].CreatedAt, job.CreatedAt)
	}
	if life := expires - int64(marks[0].CreatedAt); life <= 0 || life > 1800 {
		t.Errorf("it holds for %d seconds", life)
	}
	if all := c.Query(nostr.Filter{Kinds: []int{9841}}); len(all) != 1 {
		t.Errorf("%d jobs are told of: %v", len(all), all)
	}
}

// A maintainer's event starts a job that may be started so; a stranger's, a forged one, one about another
// commit or another definition, an old one and one to another server start nothing. S4-35
func TestManualTrigger(t *testing.T) {
	h := jobsFrom(t, ciJobs, nil)
	alice, bob, mallory, c := housetest.NewKey(t), housetest.NewKey(t), housetest.NewKey(t), h.Dial()
	key := self(t, h)
	now := h.Clock.Now().Unix()
	w := housetest.NewCopy(t)
	tip := strings.TrimSpace(w.Commit())
	c.Must(h.Announcement(alice, "demo", now, housetest.Maintainers(bob)), h.Announcement(bob, "demo", now), alice.State("demo", now, "main="+tip))
	w.Git("push", "-q", h.Repo(alice, "demo"), "main")
	sub := c.Subscribe(nostr.Filter{Kinds: []int{9842}})
	c.Stored(sub)
	hash, deploy := definitionOf(t, "check"), definitionOf(t, "deploy")
	if first := c.Live(sub); tagged(t, first, "w")[2] != hash {
		t.Errorf("it ran %v, want %s", tagged(t, first, "w"), hash)
	}
	ask := func(k *housetest.Key, at int64, to, commit, definition, job string) *nostr.Event {
		return k.Sign(9840, at, "", nostr.Tag{"p", to}, nostr.Tag{"a", housetest.Coordinate(alice, "demo")}, nostr.Tag{"c", commit},
			nostr.Tag{"w", "gitroost/jobs/" + job, definition}, nostr.Tag{"r", "refs/heads/main"})
	}
	elsewhere := strings.Repeat("1", 64)
	c.Must(
		ask(mallory, now+1, key, tip, deploy, "deploy"),
		ask(alice, now+1, mallory.Pub, tip, deploy, "deploy"),
		ask(alice, now+1, key, strings.Repeat("1", 40), deploy, "deploy"),
		ask(alice, now+1, key, tip, elsewhere, "deploy"),
		ask(alice, now+1, key, tip, hash, "check"), // its definition does not say on: {manual: true}
		ask(alice, now-3600, key, tip, deploy, "deploy"),
	)
	forged := ask(mallory, now+2, key, tip, deploy, "deploy")
	forged.PubKey = alice.Pub
	c.Refused(forged, "invalid:")
	broken := ask(alice, now+2, key, tip, deploy, "deploy")
	broken.Sig = strings.Repeat("0", 128)
	c.Refused(broken, "invalid:")

	// What is asked for rightly comes after all that, and is the only one.
	rightly := ask(bob, now+3, key, tip, deploy, "deploy")
	c.Must(rightly)
	var told *nostr.Event
	for told == nil || one(t, told, "w") != "gitroost/jobs/deploy" {
		told = c.Live(sub)
	}
	c.Must(rightly) // once more, and nothing follows
	if one(t, told, "conclusion") != "success" || one(t, told, "o") != "manual" {
		t.Errorf("%v", told.Tags)
	}
	quoted := false
	for _, tag := range told.Tags {
		quoted = quoted || len(tag) == 5 && tag[0] == "q" && tag[1] == rightly.ID && tag[3] == bob.Pub && tag[4] == "manual-trigger"
	}
	if !quoted {
		t.Errorf("who asked is not told: %v", told.Tags)
	}
	_, body := h.Get(h.URL + "/jobs.json?name=deploy")
	if ran := strings.Count(body, `"name":"deploy"`); ran != 1 {
		t.Errorf("it ran %d times: %s", ran, body)
	}
}

// tagged returns the tag of that name.
func tagged(t *testing.T, ev *nostr.Event, name string) nostr.Tag {
	t.Helper()
	for _, tag := range ev.Tags {
		if tag[0] == name {
			return tag
		}
	}
	t.Fatalf("kind %d has no %s tag: %v", ev.Kind, name, ev.Tags)
	return nil
}

// definitionOf returns the hash of a job's definition.
func definitionOf(t *testing.T, name string) string {
	t.Helper()
	l, err := config.Load(config.Sources{File: "gitroost.yaml", Read: func(string) ([]byte, error) { return []byte(ciJobs), nil }})
	if err != nil {
		t.Fatal(err)
	}
	book, err := jobs.NewBook(l.Config.Definitions())
	if err != nil {
		t.Fatal(err)
	}
	_, hash, ok := book.Definition(name)
	if !ok {
		t.Fatalf("there is no job %s", name)
	}
	return hash.String()
}

package acceptance_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/jobview"
)

// sandboxed says in which sandbox programs of strangers run here, or skips the test.
func sandboxed(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("bwrap", "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "/bin/true").CombinedOutput(); err != nil {
		t.Skipf("there is no bubblewrap that works here: %v %s", err, out)
	}
}

// serviceRequest is a maintainer's wish that this server does the jobs of a repository from now on, or, as a kind
// 9844, no longer.
func serviceRequest(k *housetest.Key, kind int, at int64, server string, owner *housetest.Key, id string) *nostr.Event {
	return k.Sign(kind, at, "", nostr.Tag{"a", housetest.Coordinate(owner, id)}, nostr.Tag{"p", server})
}

// pushed pushes main with what the copy holds, after alice has signed it, and returns what git says.
func pushed(t *testing.T, h *housetest.House, c *housetest.Conn, k *housetest.Key, w *housetest.Copy, id string, at int64) string {
	t.Helper()
	c.Must(k.State(id, at, "main="+w.Git("rev-parse", "HEAD")))
	out, err := housetest.Git(t, w.Dir, "push", h.Repo(k, id), "main")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

func named(list []jobs.Job, name string) (out []jobs.Job) {
	for _, j := range list {
		if j.Name == name {
			out = append(out, j)
		}
	}
	return out
}

// jobs.md 3.2, D7: a pull request's job that has to be approved of does not begin before a maintainer or the
// operator says so; neither a stranger nor the one who proposed can, and one that nobody wants is given up.
func TestPullRequestsWaitForApproval(t *testing.T) {
	t.Parallel()
	sandboxed(t)
	operator := housetest.NewKey(t)
	h := housetest.Start(t, housetest.WithJobs(`
jobs_engine: {approval: 2h, nostr: ngit-ci}
jobs:
  - {name: check, repos: ["*/*"], on: {pr: {require_approval: true}}, exec: {run: ["true"], workdir: empty}}
  - {name: after, repos: ["*/*"], needs: [{job: check, if: always}], on: {pr: {}}, exec: {run: ["true"], workdir: empty}}
`), func(c *config.Config) { c.Owner = grasp.PubKey(operator.Pub) })
	c, alice, mallory := h.Dial(), housetest.NewKey(t), housetest.NewKey(t)
	w := h.Served(c, alice, "demo", h.Clock.Now().Unix()-1000)
	propose := func() (jobs.Job, string) {
		before := len(named(h.AllJobs(), "check"))
		w.Git("checkout", "-q", "--detach", "main")
		tip := w.Commit()
		ev := mallory.Pull("demo", tip, alice)
		c.Publish(ev)
		out, err := housetest.Git(t, w.Dir, "push", h.Repo(alice, "demo"), tip+":"+housetest.PullRef(ev.ID))
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return h.Made("check", before+1)[before], out
	}
	state := func(id jobs.ID) string {
		var v jobview.View
		_, body := h.Get("/jobs/" + string(id) + ".json")
		if err := json.Unmarshal([]byte(body), &v); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		return string(v.State)
	}

	j, out := propose()
	if j.State != jobs.Unapproved || !strings.Contains(out, "remote: gitroost: job check "+string(j.ID)+" waits for approval "+h.URL+"/jobs/"+string(j.ID)) {
		t.Errorf("it is %s, and the pusher reads\n%s", j.State, out)
	}
	at := "/jobs/" + string(j.ID)
	if _, page := h.Get(at, "Accept", "text/html"); !strings.Contains(page, "waits for approval") || !strings.Contains(page, "gitroost jobs approve "+string(j.ID)) {
		t.Errorf("its page does not say that it waits:\n%s", page)
	}
	if _, body := h.Get("/jobs.json?state=waiting_for_approval"); !strings.Contains(body, string(j.ID)) {
		t.Errorf("it is not listed: %s", body)
	}
	if resp, _ := h.Do("POST", at+"/approve", strings.NewReader("")); resp.StatusCode != 401 {
		t.Errorf("anybody: %d", resp.StatusCode)
	}
	if resp, body := signed(t, h, mallory, "POST", at+"/approve", ""); resp.StatusCode != 403 {
		t.Errorf("who proposed it: %d %s", resp.StatusCode, body)
	}
	if now := state(j.ID); now != string(jobs.Unapproved) {
		t.Fatalf("it is %s although nobody approved", now)
	}
	resp, body := signed(t, h, alice, "POST", at+"/approve", "")
	if resp.StatusCode != 200 || !strings.Contains(body, alice.Npub) {
		t.Errorf("a maintainer: %d %s", resp.StatusCode, body)
	}
	all := h.Worked()
	if done := named(all, "check")[0]; done.Attempt != 1 || done.Class != jobs.Untrusted || done.Approval.By != alice.Npub {
		t.Errorf("it is %+v", done)
	}
	if after := named(all, "after"); len(after) != 1 || after[0].Attempt != 1 {
		t.Errorf("what needed it: %+v", after)
	}
	if resp, body := signed(t, h, operator, "POST", at+"/approve", ""); resp.StatusCode != 409 {
		t.Errorf("a second time: %d %s", resp.StatusCode, body)
	}

	// A maintainer's Manual Trigger approves of one about this commit as it is defined now.
	j, _ = propose()
	trigger := func(k *housetest.Key, commit, hash string) *nostr.Event {
		return k.Sign(9840, h.Clock.Now().Unix(), "", nostr.Tag{"p", self(t, h)}, nostr.Tag{"p", mallory.Pub}, nostr.Tag{"a", housetest.Coordinate(alice, "demo")},
			nostr.Tag{"c", commit}, nostr.Tag{"w", "gitroost/jobs/check", hash}, nostr.Tag{"E", string(j.Cause)})
	}
	c.Must(trigger(mallory, string(j.New), j.Definition.String()), trigger(alice, strings.Repeat("1", 40), j.Definition.String()),
		trigger(alice, string(j.New), strings.Repeat("1", 64)))
	good := trigger(alice, string(j.New), j.Definition.String())
	c.Must(good)
	housetest.Within(t, time.Minute, "the job begins", func() bool { return state(j.ID) != string(jobs.Unapproved) })
	if done := named(h.Worked(), "check")[1]; string(done.Approval.Event) != good.ID || done.Approval.By != alice.Npub {
		t.Errorf("approved by %+v, want event %s", done.Approval, good.ID)
	}

	// What nobody approves of is given up, and running it again asks anew.
	j, _ = propose()
	h.Clock.Advance(4 * time.Hour)
	housetest.Within(t, time.Minute, "the job is given up", func() bool { return state(j.ID) == string(jobs.Cancelled) })
	resp, body = signed(t, h, alice, "POST", "/jobs/"+string(j.ID)+"/retry", "")
	if resp.StatusCode != 201 || !strings.Contains(body, `"state":"waiting_for_approval"`) {
		t.Errorf("once more: %d %s", resp.StatusCode, body)
	}
}

// trusting is a configuration that heeds the files of one key's repositories.
func trusting(k *housetest.Key, more string) string {
	return `
jobs_engine: {per_repo: 8, per_owner: 8, owner_queue: 100, untrusted_sandbox: bwrap}
trust:
  - match: ["` + k.Npub + `/*"]
    allow: [exec, webhook, checkout, site]
` + more
}

const ownJobs = `jobs:
  - name: test
    on: {push: {}}
    exec: {run: [sh, -c, "echo class $GRASP_CLASS; test -e .grasp/jobs.yml"]}
  - name: after
    on: {push: {}}
    needs: [test]
    exec: {run: ["true"], workdir: empty}
`

// jobs.md 3.2: a repository that the operator trusts defines jobs in .grasp/jobs.yml once a maintainer has asked for
// it; nobody else's does, and what a pull request's commit says there counts for nothing.
func TestRepositoryDefinesJobs(t *testing.T) {
	t.Parallel()
	sandboxed(t)
	alice, bob := housetest.NewKey(t), housetest.NewKey(t)
	h := housetest.Start(t, housetest.WithJobs(trusting(alice, `jobs:
  - {name: theirs, repos: ["*/*"], on: {push: {}}, exec: {run: ["true"], workdir: empty}}
`)))
	c, now := h.Dial(), h.Clock.Now().Unix()-1000
	w := h.Served(c, alice, "demo", now)
	h.Worked()

	// Nobody asked for it yet.
	w.CommitFile(".grasp/jobs.yml", []byte(ownJobs))
	out := pushed(t, h, c, alice, w, "demo", now+1)
	if !strings.Contains(out, "remote: gitroost: .grasp/jobs.yml is not heeded: no maintainer has asked") || strings.Contains(out, "job test") {
		t.Errorf("without a request:\n%s", out)
	}
	// A stranger's request is none.
	key := self(t, h)
	c.Must(serviceRequest(bob, 9843, now+2, key, alice, "demo"))
	w.Commit()
	if out = pushed(t, h, c, alice, w, "demo", now+2); !strings.Contains(out, "is not heeded") {
		t.Errorf("with a stranger's request:\n%s", out)
	}
	request := serviceRequest(alice, 9843, now+3, key, alice, "demo")
	c.Must(request)
	tip := w.Commit()
	out = pushed(t, h, c, alice, w, "demo", now+3)
	all := h.Worked()
	tests, after := named(all, "test"), named(all, "after")
	if len(tests) != 1 || len(after) != 1 {
		t.Fatalf("jobs are %s\n%s", said(all), out)
	}
	j := tests[0]
	if j.State != jobs.OK || j.Class != jobs.Trusted || string(j.New) != tip || after[0].State != jobs.OK {
		_, log := h.Get("/jobs/" + string(j.ID) + "/log")
		t.Errorf("%s %s %s: %s\n%s", j.State, j.Class, j.New, j.Reason, log)
	}
	want := jobs.Source{File: sha256Of(ownJobs), Path: ".grasp/jobs.yml", Commit: grasp.OID(tip), Request: grasp.EventID(request.ID), By: grasp.PubKey(alice.Pub)}
	if j.Source != want {
		t.Errorf("it says that it comes from %+v, want %+v", j.Source, want)
	}
	if !strings.Contains(out, "remote: gitroost: job test "+string(j.ID)+" queued") {
		t.Errorf("the pusher reads\n%s", out)
	}
	if _, log := h.Get("/jobs/" + string(j.ID) + "/log"); !strings.Contains(log, "class trusted") {
		t.Errorf("it says %q", log)
	}
	if _, page := h.Get("/jobs/"+string(j.ID), "Accept", "text/html"); !strings.Contains(page, ".grasp/jobs.yml") || !strings.Contains(page, ">trusted<") {
		t.Errorf("its page does not say where it is defined:\n%s", page)
	}

	// A proposal that rewrites the file changes nothing, and starts nothing.
	w.Git("checkout", "-q", "--detach", "main")
	evil := w.CommitFile(".grasp/jobs.yml", []byte(strings.ReplaceAll(ownJobs, "name: test", "name: evil")))
	pull := bob.Pull("demo", evil, alice)
	c.Publish(pull)
	w.Git("push", "-q", h.Repo(alice, "demo"), evil+":"+housetest.PullRef(pull.ID))
	w.Git("checkout", "-q", "main")

	// Others are not trusted, whatever they ask for.
	v := housetest.NewCopy(t)
	first := v.CommitFile(".grasp/jobs.yml", []byte(ownJobs))
	c.Must(h.Announcement(bob, "demo", now), bob.State("demo", now, "main="+first))
	v.Git("push", "-q", h.Repo(bob, "demo"), "main")
	c.Must(serviceRequest(bob, 9843, now, key, bob, "demo"))
	c.Must(bob.State("demo", now+1, "main="+v.Commit()))
	if out, err := housetest.Git(t, v.Dir, "push", h.Repo(bob, "demo"), "main"); err != nil || strings.Contains(out, "jobs.yml") || strings.Contains(out, "job test") {
		t.Errorf("%v\n%s", err, out)
	}

	// Once it is taken back nothing follows any more.
	c.Must(serviceRequest(alice, 9844, now+4, key, alice, "demo"))
	w.Commit()
	if out = pushed(t, h, c, alice, w, "demo", now+4); !strings.Contains(out, "is not heeded") {
		t.Errorf("after it was taken back:\n%s", out)
	}
	all = h.Worked()
	if n := len(named(all, "test")); n != 1 || len(named(all, "evil")) != 0 {
		t.Errorf("jobs are %s", said(all))
	}
	// Without the request it is run again by nobody.
	if resp, body := signed(t, h, alice, "POST", "/jobs/"+string(j.ID)+"/retry", ""); resp.StatusCode != 400 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

func sha256Of(text string) string {
	out, err := exec.Command("sh", "-c", `printf %s "$0" | sha256sum`, text).Output()
	if err != nil {
		return err.Error()
	}
	return string(out[:64])
}

// What is wrong with a repository's own file is told to whoever pushes, with line and column, and recorded; the push
// is taken, and what the operator defined runs.
func TestRepositorysFaultyFile(t *testing.T) {
	t.Parallel()
	alice := housetest.NewKey(t)
	h := housetest.Start(t, housetest.WithJobs(trusting(alice, `    service_request: false
jobs:
  - {name: theirs, repos: ["*/*"], on: {push: {}}, exec: {run: ["true"], workdir: empty}}
`)))
	c, now := h.Dial(), h.Clock.Now().Unix()-1000
	w := h.Served(c, alice, "demo", now)
	w.CommitFile(".grasp/jobs.yml", []byte(`jobs:
  - name: a
    on: {pusch: {}}
    exec: {run: ["true"], run_as: root}
  - name: theirs
    exec: {run: ["true"]}
`))
	out := pushed(t, h, c, alice, w, "demo", now+1)
	for _, want := range []string{
		"remote: gitroost: .grasp/jobs.yml defines no jobs, for it is faulty:",
		`remote: gitroost:   .grasp/jobs.yml:3:10: unknown option "pusch" in on; did you mean "push"?`,
		`remote: gitroost:   .grasp/jobs.yml:5:11: the operator of this server has a job called "theirs"; take another name`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not said:\n%s", want, out)
		}
	}
	all := h.Worked()
	if n := len(named(all, "theirs")); n != 2 {
		t.Errorf("the operator's job ran %d times", n)
	}
	bad := named(all, "jobs.yml")
	if len(bad) != 1 || bad[0].State != jobs.StartupFailure || !strings.Contains(bad[0].Reason, ".grasp/jobs.yml:3:10") {
		t.Fatalf("it is not recorded: %s %+v", said(all), bad)
	}
	if _, log := h.Get("/jobs/" + string(bad[0].ID) + "/log"); !strings.Contains(log, "5:11") || !strings.Contains(log, "pusch: {}") {
		t.Errorf("its log says %s", log)
	}
	// It is told again, and recorded where it is new.
	w.Git("rm", "-q", ".grasp/jobs.yml")
	w.Git("commit", "-q", "-m", "no jobs")
	if out := pushed(t, h, c, alice, w, "demo", now+2); strings.Contains(out, "jobs.yml") {
		t.Errorf("without the file:\n%s", out)
	}
	for _, odd := range []struct{ what, text, want string }{
		{"large", strings.Repeat("# much\n", 10_000), "is larger than 64 KiB"},
		{"no text", "jobs:\n  - name: \xff", "is not UTF-8"},
		{"no yaml", "jobs: [", ".grasp/jobs.yml:1:"},
	} {
		w.CommitFile(".grasp/jobs.yml", []byte(odd.text))
		now++
		if out := pushed(t, h, c, alice, w, "demo", now+10); !strings.Contains(out, odd.want) {
			t.Errorf("%s: %q is not said:\n%s", odd.what, odd.want, out)
		}
	}
	// A link in its place leads nowhere.
	if err := os.Remove(filepath.Join(w.Dir, ".grasp/jobs.yml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(w.Dir, ".grasp/jobs.yml")); err != nil {
		t.Fatal(err)
	}
	w.Git("add", "-A")
	w.Git("commit", "-q", "-m", "a link")
	if out := pushed(t, h, c, alice, w, "demo", now+20); !strings.Contains(out, "or no file") || strings.Contains(out, "root:") {
		t.Errorf("a link:\n%s", out)
	}
}

// With require_approval each job of a repository's own file waits for the operator; its maintainers cannot let it begin.
func TestRepositorysJobsWaitForApproval(t *testing.T) {
	t.Parallel()
	sandboxed(t)
	alice, operator := housetest.NewKey(t), housetest.NewKey(t)
	h := housetest.Start(t, housetest.WithJobs(trusting(alice, "    service_request: false\n    require_approval: true\n")),
		func(c *config.Config) { c.Owner = grasp.PubKey(operator.Pub) })
	c, now := h.Dial(), h.Clock.Now().Unix()-1000
	w := h.Served(c, alice, "demo", now)
	w.CommitFile(".grasp/jobs.yml", []byte(strings.Replace(ownJobs, "on: {push: {}}", "on: {push: {}, manual: true}", 1)))
	out := pushed(t, h, c, alice, w, "demo", now+1)
	j := h.Made("test", 1)[0]
	if j.State != jobs.Unapproved || !strings.Contains(out, "job test "+string(j.ID)+" waits for approval") {
		t.Fatalf("%s\n%s", j.State, out)
	}
	at := "/jobs/" + string(j.ID)
	if resp, body := signed(t, h, alice, "POST", at+"/approve", ""); resp.StatusCode != 403 || !strings.Contains(body, "operator of this server alone") {
		t.Errorf("a maintainer: %d %s", resp.StatusCode, body)
	}
	// Asking for it does not help: that waits as well.
	if resp, body := signed(t, h, alice, "POST", "/jobs", `{"repo":"`+alice.Npub+`/demo","names":["test"]}`); resp.StatusCode != 201 || !strings.Contains(body, `"state":"waiting_for_approval"`) {
		t.Errorf("asked for: %d %s", resp.StatusCode, body)
	}
	if resp, body := signed(t, h, operator, "POST", at+"/approve", ""); resp.StatusCode != 200 {
		t.Errorf("the operator: %d %s", resp.StatusCode, body)
	}
	all := h.Worked()
	if done := named(all, "test")[0]; done.State != jobs.OK || done.Approval.By != operator.Npub {
		t.Errorf("%s %s %+v", done.State, done.Reason, done.Approval)
	}
	if after := named(all, "after"); len(after) != 1 || after[0].State != jobs.Unapproved {
		t.Errorf("what needs it has to be approved of by itself: %+v", after)
	}
	// What the operator asks for waits for nobody.
	resp, body := signed(t, h, operator, "POST", "/jobs", `{"repo":"`+alice.Npub+`/demo","names":["test"],"force":true}`)
	if resp.StatusCode != 201 || strings.Contains(body, `"state":"waiting_for_approval"`) {
		t.Errorf("the operator asks: %d %s", resp.StatusCode, body)
	}
}

// What a repository defines for itself has a schedule, follows its own jobs, is private if it says so, and is given the
// secrets that the operator gave it and no others.
func TestRepositorysJobsInFull(t *testing.T) {
	t.Parallel()
	sandboxed(t)
	alice := housetest.NewKey(t)
	h := housetest.Start(t, housetest.WithJobs(trusting(alice, `    service_request: false
    secrets: [given]
    limits: {time: 1m, disk: 64MiB}
secrets:
  given: {file: `+secretFile(t, "open sesame\n")+`, repos: ["*/*"], refs: [refs/heads/main]}
  other: {file: `+secretFile(t, "not yours\n")+`, repos: ["*/*"]}
`)))
	c, now := h.Dial(), h.Clock.Now().Unix()-1000
	w := h.Served(c, alice, "demo", now)
	w.CommitFile(".grasp/jobs.yml", []byte(`jobs:
  - name: reads
    on: {push: {}}
    exec: {run: [sh, -c, "wc -c < $GRASP_SECRETS/given; cat $GRASP_SECRETS/given"], secrets: [given], workdir: empty}
  - name: follows
    on: {job: {jobs: [reads], results: [success]}}
    private: true
    exec: {run: ["true"], workdir: empty}
  - name: nightly
    on: {schedule: "0 3 * * *"}
    exec: {run: ["true"], workdir: empty}
  - name: files
    on: {push: {}}
    checkout: {to: www, check: [test, -e, .grasp/jobs.yml]}
`))
	out := pushed(t, h, c, alice, w, "demo", now+1)
	housetest.Within(t, time.Minute, "what follows is made", func() bool { return len(named(h.AllJobs(), "follows")) == 1 })
	all := h.Worked()
	if got := said(all); !slices.Equal(got, []string{"files main push ok", "follows main job ok", "reads main push ok"}) {
		t.Fatalf("jobs are %s\n%s", got, out)
	}
	reads, follows := named(all, "reads")[0], named(all, "follows")[0]
	if _, log := h.Get("/jobs/" + string(reads.ID) + "/log"); !strings.Contains(log, "11\n***") {
		t.Errorf("it says %q", log)
	}
	if resp, _ := h.Get("/jobs/" + string(follows.ID)); resp.StatusCode != 401 {
		t.Errorf("what is private: %d", resp.StatusCode)
	}
	if follows.Class != jobs.Trusted || follows.Source.Commit != reads.Source.Commit {
		t.Errorf("%s %+v", follows.Class, follows.Source)
	}
	if _, err := os.Stat(filepath.Join(h.Data(), "checkouts", alice.Npub, "demo", "www", ".grasp", "jobs.yml")); err != nil {
		t.Errorf("not published: %v", err)
	}
	// The refs that a secret is bound to hold here as well.
	main := w.Git("rev-parse", "HEAD")
	w.Git("checkout", "-q", "-b", "dev")
	tip := w.Commit()
	c.Must(alice.State("demo", now+2, "main="+main, "dev="+tip))
	w.Git("push", "-q", h.Repo(alice, "demo"), "dev")
	w.Git("checkout", "-q", "main")
	h.Made("reads", 2)
	if j := named(h.Worked(), "reads")[1]; j.State != jobs.StartupFailure || !strings.Contains(j.Reason, "secret given is not for this job") {
		t.Errorf("on another branch: %s %s", j.State, j.Reason)
	}
	// One that the row does not name is unknown.
	w.CommitFile(".grasp/jobs.yml", []byte("jobs:\n  - name: x\n    exec: {run: [env], secrets: [other]}\n"))
	c.Must(alice.State("demo", now+3, "main="+w.Git("rev-parse", "HEAD"), "dev="+tip))
	if out, err := housetest.Git(t, w.Dir, "push", h.Repo(alice, "demo"), "main"); err != nil || !strings.Contains(out, `.grasp/jobs.yml:3:5: there is no secret "other"`) {
		t.Errorf("%v\n%s", err, out)
	}
}

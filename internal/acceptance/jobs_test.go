package acceptance_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/housetest"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/server"
)

// said tells of jobs as "name ref trigger state", sorted.
func said(list []jobs.Job) []string {
	var out []string
	for _, j := range list {
		out = append(out, fmt.Sprintf("%s %s %s %s", j.Name, shortRef(j.Ref), j.Trigger, j.State))
	}
	slices.Sort(out)
	return out
}

func shortRef(r grasp.RefName) string {
	if r.IsNostr() {
		return "pull"
	}
	return strings.TrimPrefix(strings.TrimPrefix(string(r), "refs/heads/"), "refs/tags/")
}

// worked waits until all jobs have ended, and compares those that came after before others.
func worked(t *testing.T, h *housetest.House, before *int, want ...string) []jobs.Job {
	t.Helper()
	all := h.Worked()
	list := all[*before:]
	*before = len(all)
	slices.Sort(want)
	if got := said(list); !slices.Equal(got, want) {
		t.Fatalf("jobs are\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
	return list
}

const everyTrigger = `
jobs_engine: {per_repo: 8, per_owner: 8, owner_queue: 100}
jobs:
  - {name: push, repos: ["*/*"], on: {push: {}}, exec: {run: ["true"], workdir: empty}}
  - {name: state, repos: ["*/*"], on: {state: {}}, exec: {run: ["true"], workdir: empty}}
  - {name: head, repos: ["*/*"], on: {state: {head: true}}, exec: {run: ["true"], workdir: empty}}
  - {name: tag, repos: ["*/*"], on: {tag: {}}, exec: {run: ["true"], workdir: empty}}
  - {name: gone, repos: ["*/*"], on: {push: {refs: [refs/heads/dev], deleted: true}, state: {refs: [refs/heads/dev], deleted: true}}, exec: {run: ["true"], workdir: empty}}
  - {name: go, repos: ["*/*"], on: {push: {paths: ["**/*.go"]}}, exec: {run: ["true"], workdir: empty}}
`

// S0-02 S0-25, D6: a job follows from what refs did, however they came to move: by a push, or because a
// state event says so. One happening is one run of jobs.
func TestJobsFollowMoves(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t, housetest.WithJobs(everyTrigger))
	c, alice := h.Dial(), housetest.NewKey(t)
	at, n := time.Now().Unix()-1000, 0
	w := h.Served(c, alice, "demo", at)
	first := w.Git("rev-parse", "HEAD")
	list := worked(t, h, &n, "push main push ok", "go main push ok") // everything is new, so everything has changed
	if list[0].Run != list[1].Run || list[0].Push == "" || list[0].Push != list[1].Push || string(list[0].New) != first || string(list[0].Actor) != alice.Pub {
		t.Errorf("one push made %+v", list)
	}

	second := w.CommitFile("src/x.go", []byte("package x\n"))
	c.Must(alice.State("demo", at+1, "main="+second))
	w.Git("push", "-q", h.Repo(alice, "demo"), "main")
	worked(t, h, &n, "push main push ok", "go main push ok")

	third := w.CommitFile("README.md", []byte("hello\n"))
	c.Must(alice.State("demo", at+2, "main="+third))
	w.Git("push", "-q", h.Repo(alice, "demo"), "main")
	worked(t, h, &n, "push main push ok")

	// A state event moves what needs no push: back, and a branch that points at what is here.
	c.Must(alice.State("demo", at+3, "main="+second, "dev="+third))
	worked(t, h, &n, "state main state ok", "head main state ok", "state dev state ok", "gone dev state ok")
	c.Must(alice.State("demo", at+4, "main="+second, "dev="+third, "HEAD=dev"))
	worked(t, h, &n, "head  state ok")

	w.Git("tag", "v1", second)
	c.Must(alice.State("demo", at+5, "main="+second, "dev="+third, "HEAD=main", "refs/tags/v1="+second))
	worked(t, h, &n, "tag v1 state ok", "state v1 state ok", "head  state ok")

	c.Must(alice.State("demo", at+6, "main="+second, "refs/tags/v1="+second))
	worked(t, h, &n, "gone dev state ok")
}

// D7, jobs.md 3.2: what anybody may push makes a job only once its event is here too, in whichever order
// they come, and the job is untrusted. It gets no secret (S0-12).
func TestJobsOfPullRequests(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(secret, []byte("hush\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := housetest.Start(t, housetest.WithJobs(`
jobs_engine: {per_repo: 8, per_owner: 8}
secrets:
  key: {file: `+secret+`, repos: ["*/*"]}
jobs:
  - {name: push, repos: ["*/*"], on: {push: {refs: ["refs/**"]}, state: {refs: ["refs/**"]}}, webhook: {url: "https://127.0.0.1:1/", secret: {secret: key}}, retry: {max: 0}}
  - {name: pull, repos: ["*/*"], on: {pr: {}}, webhook: {url: "https://127.0.0.1:1/", secret: {secret: key}}, retry: {max: 0}}
`))
	c, alice, bob := h.Dial(), housetest.NewKey(t), housetest.NewKey(t)
	w := h.Served(c, alice, "demo", time.Now().Unix()-100)
	h.Made("push", 1)
	pr := func() string {
		w.Git("checkout", "-q", "--detach", "main")
		return w.Commit()
	}

	// the event first, then the commit
	tip := pr()
	ev := bob.Pull("demo", tip, alice)
	c.Publish(ev)
	w.Git("push", "-q", h.Repo(alice, "demo"), tip+":"+housetest.PullRef(ev.ID))
	j := h.Made("pull", 1)[0]
	if j.Class != jobs.Untrusted || j.Trigger != jobs.OnPull || string(j.Cause) != ev.ID || string(j.Actor) != bob.Pub || string(j.New) != tip {
		t.Errorf("the job is %+v", j)
	}
	// the commit first, then the event
	tip = pr()
	ev = bob.Pull("demo", tip, alice)
	w.Git("push", "-q", h.Repo(alice, "demo"), tip+":"+housetest.PullRef(ev.ID))
	h.Made("pull", 1)
	c.Must(ev)
	j = h.Made("pull", 2)[1]
	if j.Class != jobs.Untrusted || string(j.New) != tip {
		t.Errorf("the job is %+v", j)
	}
	h.Made("push", 1) // that was no push, whatever the patterns say
}

// S0-24: what is needed comes first, what failed keeps back what needs it, and cleaning up is always
// done. S0-05: another job follows from a failure.
func TestJobsThatNeedOthers(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t, housetest.WithJobs(`
jobs_engine: {per_repo: 8, per_owner: 8}
jobs:
  - {name: deploy, repos: ["*/*"], on: {push: {}}, needs: [test], exec: {run: ["true"], workdir: empty}}
  - {name: test, repos: ["*/*"], on: {push: {}}, exec: {run: ["false"], workdir: empty}}
  - {name: clean, repos: ["*/*"], on: {push: {}}, needs: [{job: deploy, if: always}], exec: {run: ["true"], workdir: empty}}
  - {name: blame, repos: ["*/*"], on: {push: {}}, needs: [{job: test, if: failed}], exec: {run: ["true"], workdir: empty}}
  - {name: alarm, repos: ["*/*"], on: {job: {jobs: [test], results: [failure]}}, exec: {run: ["true"], workdir: empty}}
`))
	n := 0
	h.Served(h.Dial(), housetest.NewKey(t), "demo", time.Now().Unix()-100)
	worked(t, h, &n, "test main push failed", "deploy main push skipped", "clean main push ok", "blame main push ok", "alarm main job ok")
}

// jobs.md 3.4: a schedule runs on what HEAD points to; of times that were missed the latest is caught up
// with, once, also over a restart.
func TestJobsOnASchedule(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t, housetest.WithJobs(`
jobs:
  - {name: nightly, repos: ["*/*"], on: {schedule: "17 3 * * *"}, exec: {run: ["true"], workdir: empty}}
`))
	c, alice := h.Dial(), housetest.NewKey(t)
	w := h.Served(c, alice, "demo", time.Now().Unix()-100)
	c.Must(h.Announcement(housetest.NewKey(t), "empty", 0))
	h.Restart(nil) // repositories are gone through at the start
	housetest.Within(t, housetest.Wait, "the schedule begins", func() bool {
		at, err := h.Jobs().Shelf().Scheduled(t.Context(), grasp.Addr{Owner: grasp.PubKey(alice.Pub), ID: "demo"}, "nightly")
		return err == nil && !at.IsZero()
	})
	h.Clock.Advance(25 * time.Hour)
	j := h.Made("nightly", 1)[0]
	if j.Trigger != jobs.OnSchedule || j.Ref != "refs/heads/main" || string(j.New) != w.Git("rev-parse", "HEAD") || j.Due.IsZero() {
		t.Errorf("the job is %+v", j)
	}
	h.Stop()
	h.Clock.Advance(5 * 24 * time.Hour)
	h.Restart(nil)
	if list := h.Made("nightly", 2); !list[1].Due.After(list[0].Due.Add(4 * 24 * time.Hour)) {
		t.Errorf("caught up with %v after %v", list[1].Due, list[0].Due)
	}
	h.Restart(nil)
	h.Worked()
	h.Made("nightly", 2)
}

// S4-31: a job that runs when the server stops is asked to end, and runs again after the next start. S3-50:
// what succeeded is not done again.
func TestJobsOverARestart(t *testing.T) {
	t.Parallel()
	marks := t.TempDir()
	h := housetest.Start(t, housetest.WithJobs(`
jobs_engine: {per_repo: 2, per_owner: 2}
jobs:
  - name: long
    repos: ["*/*"]
    on: {push: {}}
    exec: {workdir: empty, sandbox: plain, run: [sh, -c, 'if test -e `+marks+`/again; then exit 0; fi; touch `+marks+`/began; sleep 600']}
  - {name: short, repos: ["*/*"], on: {push: {}}, exec: {run: ["true"], workdir: empty}}
`))
	h.Served(h.Dial(), housetest.NewKey(t), "demo", time.Now().Unix()-100)
	housetest.Within(t, housetest.Wait, "the job begins", func() bool { _, err := os.Stat(marks + "/began"); return err == nil })
	housetest.Within(t, housetest.Wait, "the other ends", func() bool { return h.Made("short", 1)[0].State == jobs.OK })
	h.Restart(func(string) {
		if err := os.WriteFile(marks+"/again", nil, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	h.Worked()
	if j := h.Made("long", 1)[0]; j.State != jobs.OK || j.Attempt != 1 || j.Crashes != 0 {
		t.Errorf("it is %+v", j)
	}
	if j := h.Made("short", 1)[0]; j.Attempt != 1 {
		t.Errorf("it ran %d times", j.Attempt)
	}
}

// S4-33: an owner has so many jobs waiting, and no more; others are not kept from having theirs.
func TestJobsOverBudget(t *testing.T) {
	t.Parallel()
	var file strings.Builder
	file.WriteString("jobs_engine: {owner_queue: 3, workers: 1}\njobs:\n")
	for i := range 6 {
		fmt.Fprintf(&file, "  - {name: j%d, repos: [\"*/*\"], on: {manual: true, push: {}}, needs: [gate], exec: {run: [\"true\"], workdir: empty}}\n", i)
	}
	file.WriteString("  - {name: gate, repos: [\"*/*\"], on: {push: {}}, exec: {run: [sleep, \"600\"], workdir: empty}}\n")
	h := housetest.Start(t, housetest.WithJobs(file.String()))
	c := h.Dial()
	h.Served(c, housetest.NewKey(t), "demo", time.Now().Unix()-100)
	skipped := 0
	for _, j := range h.AllJobs() {
		if j.State == jobs.Skipped && strings.HasPrefix(j.Reason, jobs.ReasonBudget) {
			skipped++
		}
	}
	if skipped != 4 { // of 7; the gate may be running by then, but it was counted
		t.Errorf("%d jobs were skipped: %v", skipped, said(h.AllJobs()))
	}
	for _, j := range h.AllJobs() {
		if _, err := h.Jobs().Cancel(context.Background(), j.ID, "the test is over"); err != nil {
			t.Error(err)
		}
	}
	h.Worked()
}

// S0-38 S0-39: what may be asked for by hand, and what may not.
func TestJobsOnDemand(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t, housetest.WithJobs(`
jobs:
  - {name: deploy, repos: ["*/*"], on: {push: {refs: [refs/heads/prod]}, manual: true}, exec: {run: ["true"], workdir: empty}}
  - {name: secret, repos: ["*/*"], on: {push: {refs: [refs/heads/prod]}}, private: true, exec: {run: ["true"], workdir: empty}}
`))
	c, alice := h.Dial(), housetest.NewKey(t)
	w := h.Served(c, alice, "demo", time.Now().Unix()-100)
	ctx, q := context.Background(), h.Jobs()
	repo := grasp.Addr{Owner: grasp.PubKey(alice.Pub), ID: "demo"}
	list, err := q.Ask(ctx, server.Wish{Repo: repo, Jobs: []string{"deploy"}, Actor: repo.Owner})
	if err != nil || len(list) != 1 || list[0].Trigger != jobs.OnManual || string(list[0].New) != w.Git("rev-parse", "HEAD") {
		t.Fatalf("%+v, %v", list, err)
	}
	h.Worked()
	for _, wrong := range []struct {
		server.Wish
		code fault.Code
	}{
		{server.Wish{Repo: repo, Jobs: []string{"secret"}}, fault.Invalid},
		{server.Wish{Repo: repo, Jobs: []string{"nothing"}}, fault.Invalid},
		{server.Wish{Repo: repo}, fault.Invalid},
		{server.Wish{Repo: repo, Jobs: []string{"deploy"}, Ref: "refs/heads/nowhere"}, fault.NotFound},
		{server.Wish{Repo: grasp.Addr{Owner: repo.Owner, ID: "nowhere"}, Jobs: []string{"deploy"}}, fault.NotFound},
	} {
		if list, err := q.Ask(ctx, wrong.Wish); !fault.Is(err, wrong.code) {
			t.Errorf("%+v: %v, %v", wrong.Wish, list, err)
		}
	}
	// what succeeded is not done again, unless somebody insists (S3-50)
	again, err := q.Ask(ctx, server.Wish{Repo: repo, Jobs: []string{"deploy", "secret"}, Operator: true})
	if err != nil || len(again) != 2 || again[0].State != jobs.OK || !strings.HasPrefix(again[0].Reason, jobs.ReasonAlready) {
		t.Errorf("%+v, %v", again, err)
	}
	h.Worked()
	retried, err := q.Retry(ctx, list[0].ID, repo.Owner)
	if err != nil || retried.ID == list[0].ID || retried.State.Ended() || retried.Actor != repo.Owner {
		t.Errorf("%+v, %v", retried, err)
	}
	h.Worked()
	if q.Private(list[0]) || !q.Private(again[1]) || !q.Private(jobs.Job{Name: "gone"}) {
		t.Error("who may read which log")
	}
	why, err := q.Explain(ctx, repo, "refs/heads/main", "")
	if err != nil || len(why) != 2 || why[0].OK || why[0].Condition != "refs" {
		t.Errorf("%+v, %v", why, err)
	}

	// what is not defined any more is not run again
	h.Change(func(c *config.Config) { c.Jobs = c.Jobs[1:] })
	if _, err := h.Jobs().Retry(ctx, retried.ID, ""); !fault.Is(err, fault.Invalid) {
		t.Errorf("%v", err)
	}
}

// S0-14: whoever pushes is told of ten jobs one by one, and of the others that there are more; and what
// came of those that do not run.
func TestJobsArePushersNews(t *testing.T) {
	t.Parallel()
	var file strings.Builder
	file.WriteString("jobs_engine: {per_repo: 8, per_owner: 8, owner_queue: 12}\njobs:\n")
	for i := range 13 {
		fmt.Fprintf(&file, "  - {name: j%02d, repos: [\"*/*\"], on: {push: {}}, needs: [], exec: {run: [\"true\"], workdir: empty}}\n", i)
	}
	h := housetest.Start(t, housetest.WithJobs(file.String()))
	c, alice := h.Dial(), housetest.NewKey(t)
	w := h.Served(c, alice, "demo", time.Now().Unix()-100)
	h.Worked()
	was, is := w.Git("rev-parse", "HEAD"), w.Commit()
	c.Must(alice.State("demo", time.Now().Unix()-50, "main="+is))
	words := h.PushRaw(h.Repo(alice, "demo"), w.Pack(is, "^"+was), was+" "+is+" refs/heads/main").Words
	if n := strings.Count(words, "gitroost: job j"); n != 10 || !strings.Contains(words, "gitroost: 3 more jobs: "+h.URL+"/jobs") {
		t.Errorf("%d jobs are told of:\n%s", n, words)
	}
	if j := h.Made("j00", 2)[1]; !strings.Contains(words, "gitroost: job j00 "+string(j.ID)+" queued "+h.URL+"/jobs/"+string(j.ID)) {
		t.Errorf("no line of j00:\n%s", words)
	}
	skipped := 0
	for _, j := range h.Worked() {
		if j.State == jobs.Skipped && j.New == grasp.OID(is) {
			skipped++
		}
	}
	if skipped > 1 { // at most one of 13 had no room; it depends on how fast the first began
		t.Errorf("%d were skipped", skipped)
	}
}

// S0-29: logs go when they are old, and it is remembered that there were some; then the job goes too.
func TestJobsAreForgotten(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t, housetest.WithJobs(`
jobs_engine: {logs: {age: 24h}, age: 10d}
jobs:
  - {name: x, repos: ["*/*"], on: {push: {}}, concurrency: {policy: all}, exec: {run: [echo, hello], workdir: empty}}
`))
	h.Served(h.Dial(), housetest.NewKey(t), "demo", time.Now().Unix()-100)
	h.Worked()
	j := h.Made("x", 1)[0]
	attempts := func() int {
		list, err := h.Jobs().Logs().Attempts(string(j.ID))
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	if j.Log != jobs.LogKept || attempts() != 1 {
		t.Fatalf("%+v, %d logs", j, attempts())
	}
	h.Clock.Advance(8 * 24 * time.Hour)
	housetest.Within(t, housetest.Wait, "the log goes", func() bool { return h.Made("x", 1)[0].Log == jobs.LogGone })
	if attempts() != 0 {
		t.Error("the file is still there")
	}
	h.Clock.Advance(120 * 24 * time.Hour)
	housetest.Within(t, housetest.Wait, "the job goes", func() bool { return len(h.AllJobs()) == 0 })
}

// S0-24 S0-25 S0-26: the example of test, build and deploy in deploy/ does that: staging from develop,
// production from main, and what fails keeps back what needs it while cleaning up is done all the same.
func TestJobsExample(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("../../deploy/jobs.yaml")
	if err != nil {
		t.Fatal(err)
	}
	h := housetest.Start(t, housetest.WithJobs("jobs_engine: {per_repo: 4, per_owner: 4, sandbox: plain}\n"+string(file)))
	c, alice, n := h.Dial(), housetest.NewKey(t), 0
	at := time.Now().Unix() - 100
	w := housetest.NewCopy(t)
	script := func(name, text string) {
		if err := os.MkdirAll(filepath.Join(w.Dir, "ci"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(w.Dir, "ci", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	done := filepath.Join(t.TempDir(), "deployed")
	script("test.sh", "test ! -e broken\n")
	script("build.sh", "test -e ci/test.sh\n")
	script("clean.sh", "true\n")
	script("deploy.sh", "echo $1 $GRASP_OID >> "+done+"\n")
	push := func(branch string, refs ...string) string {
		t.Helper()
		at++
		oid := w.Commit()
		c.Publish(alice.State("shop", at, append(refs, branch+"="+oid)...))
		out := w.Git("push", h.Repo(alice, "shop"), oid+":refs/heads/"+branch)
		if deployed := branch == "main"; strings.Contains(out, "gitroost: job deploy-production does not run") == deployed {
			t.Errorf("the push of %s says\n%s", branch, out)
		}
		return oid
	}
	c.Publish(h.Announcement(alice, "shop", at))
	main := push("main")
	worked(t, h, &n, "test main push ok", "build main push ok", "deploy-production main push ok", "clean-up main push ok")
	develop := push("develop", "main="+main)
	worked(t, h, &n, "test develop push ok", "build develop push ok", "deploy-staging develop push ok", "clean-up develop push ok")
	wip := push("wip", "main="+main, "develop="+develop)
	worked(t, h, &n)
	if err := os.WriteFile(filepath.Join(w.Dir, "broken"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	push("main", "develop="+develop, "wip="+wip)
	worked(t, h, &n, "test main push failed", "build main push skipped", "deploy-production main push skipped", "clean-up main push ok")
	if b, err := os.ReadFile(done); err != nil || string(b) != "production "+main+"\nstaging "+develop+"\n" {
		t.Errorf("deployed was %q, %v", b, err)
	}
}

package torture_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/store"
)

// A desk is where the jobs of a run leave their marks: one line for each time that a program began, with
// the job's id and the commit.
type desk struct {
	*run
	marks string
	shown *shown

	mu       sync.Mutex
	accepted map[string]bool // "repository commit" of every push that was reported ok
	lost     map[string]bool // of those that were cut off
	done     map[jobs.ID]int // jobs that the ledger said are ok, and how many marks they had then
	gave     map[string]bool // "repository commit" of jobs that were given up: whoever ran them died too often
}

// jobsFile has each push of a branch make two jobs, one of which needs the other, and publish its files.
const jobsFile = `jobs_engine: {workers: 4, per_repo: 4, per_owner: 4, owner_queue: 10000}
jobs:
  - name: mark
    repos: ["*/*"]
    on: {push: {}}
    exec: {run: [sh, -c, 'echo "$GRASP_JOB_ID $GRASP_REPO_ID $GRASP_OID" >> %[1]s; sleep 0.0%[2]d'], workdir: empty, sandbox: plain}
  - name: after
    repos: ["*/*"]
    on: {push: {}}
    needs: [mark]
    exec: {run: [sh, -c, 'echo "$GRASP_JOB_ID $GRASP_REPO_ID $GRASP_OID" >> %[1]s'], workdir: empty, sandbox: plain}
  - name: files
    repos: ["*/*"]
    on: {push: {}}
    checkout: {to: www, keep: {count: 2, for: 30s}}
`

// The server is killed while pushes make jobs and jobs run. Of every push that was reported ok each job ran
// or is queued, exactly one of each; none is run again after it had succeeded, and at the end all have
// (S4-31 S3-50, jobs.md 3.5; Gitea's lost tasks of §2).
func TestJobKills(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	r := newRun(t)
	d := &desk{run: r, marks: filepath.Join(r.dir, "marks"), accepted: map[string]bool{}, lost: map[string]bool{}, done: map[jobs.ID]int{}, gave: map[string]bool{}}
	chance := r.visitor("violence")
	file := filepath.Join(r.dir, "gitroost.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, jobsFile, d.marks, 1+chance.rnd.IntN(9)), 0o600); err != nil {
		t.Fatal(err)
	}
	r.srv.args = append(r.srv.args, "--config", file)
	r.srv.start()
	var teams []*team
	var links []string
	for n := range 3 {
		tm := r.newTeam(2 * n) // of one owner
		tm.id = fmt.Sprint("jobs-", n)
		teams = append(teams, tm)
		links = append(links, filepath.Join(r.srv.data, "checkouts", tm.owners[0].pub().Npub(), tm.id, "www"))
	}
	d.shown = r.watch(links...)
	defer d.shown.end()
	rounds := max(*kills/3, 3)
	for round := range rounds {
		var all sync.WaitGroup
		for _, tm := range teams {
			all.Go(func() {
				v := r.visitor(fmt.Sprint(tm.id, round))
				defer v.close()
				for !r.srv.dying.Load() && d.push(v, tm) {
				}
			})
		}
		// Something has to be at stake.
		until(patience, func() bool {
			d.mu.Lock()
			defer d.mu.Unlock()
			return len(d.accepted) > round
		})
		pause(time.Duration(chance.rnd.Int64N(int64(time.Second))))
		r.srv.kill(chance.rnd.IntN(2) == 0)
		all.Wait()
		d.audit(round, false)
		r.settleFaults(fmt.Sprintf("round %d, in the ledger", round))
		for _, tm := range teams { // a long run needs fresh commits
			if tm.next+30 > len(tm.pool.commits) {
				tm.pool, tm.next = newPool(t, filepath.Join(r.dir, "pools", fmt.Sprint(tm.id, round)), tm.rnd, 120, 1), 0
			}
		}
		r.srv.start()
	}
	d.finish()
	r.settleFaults("at the end")
	if _, err := r.srv.stop(longestStop); err != nil {
		t.Errorf("stop: %v", err)
	}
	d.audit(rounds, true)
	r.settleFaults("after the end")
	looks, publications := d.shown.end()
	r.settleFaults("what was published")
	t.Logf("%d publications were looked at %d times", publications, looks)
	if publications == 0 {
		t.Error("nothing was published")
	}
	again := 0
	for _, n := range d.began() {
		if n > 1 {
			again++
		}
	}
	t.Logf("%d kills: %d pushes accepted, %d cut off, %d jobs succeeded, %d were begun more than once, %d given up", rounds, len(d.accepted), len(d.lost), len(d.done), again, len(d.gave))
	if len(d.accepted) < rounds {
		t.Errorf("only %d pushes were accepted", len(d.accepted))
	}
}

// push signs a state and pushes its commit. It returns false if the server is gone.
func (d *desk) push(v *visitor, tm *team) bool {
	if !tm.announce(v) {
		return false
	}
	commit, ok := tm.fresh()
	if !ok {
		return false
	}
	d.shown.learn(tm.pool, commit)
	const ref = "refs/heads/main"
	key := tm.id + " " + string(commit)
	d.mu.Lock()
	d.lost[key] = true
	d.mu.Unlock()
	if !v.publish(tm.note(tm.state(tm.owners[0], grasp.Refs{ref: commit}, ref))) {
		return false
	}
	if !v.push(tm.pool.dir, d.srv.repo(tm.addr(tm.owners[0])), "+"+string(commit)+":"+ref) {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.lost, key)
	d.accepted[key] = true
	return true
}

// began returns how often each job was begun.
func (d *desk) began() map[jobs.ID]int {
	b, err := os.ReadFile(d.marks)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.fault("%v", err)
	}
	out := map[jobs.ID]int{}
	for line := range strings.Lines(string(b)) {
		id, _, _ := strings.Cut(line, " ")
		out[jobs.ID(id)]++
	}
	return out
}

// rows reads all jobs from a copy of a dead server's database.
func (d *desk) rows() []jobs.Job {
	dir, err := os.MkdirTemp(d.dir, "ledger-")
	if err != nil {
		d.fault("%v", err)
		return nil
	}
	defer os.RemoveAll(dir)
	for _, ext := range []string{"", "-wal"} {
		b, err := os.ReadFile(filepath.Join(d.srv.data, "gitroost.db"+ext))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "gitroost.db"+ext), b, 0o600)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			d.fault("%v", err)
			return nil
		}
	}
	st, err := store.Open(context.Background(), filepath.Join(dir, "gitroost.db"), store.Config{Now: time.Now})
	if err != nil {
		d.fault("the database of the dead server does not open: %v", err)
		return nil
	}
	defer st.Close()
	var out []jobs.Job
	for f := (jobs.Filter{Limit: jobs.MaxList}); ; {
		page, err := st.Jobs().List(context.Background(), f)
		if err != nil {
			d.fault("the jobs of the dead server: %v", err)
			return nil
		}
		out = append(out, page...)
		if len(page) < jobs.MaxList {
			return out
		}
		f.Before = page[len(page)-1].ID
	}
}

// audit compares what a dead server knows of jobs with what it had promised; with ended, all of them have
// to have succeeded.
func (d *desk) audit(round int, ended bool) {
	began := d.began()
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, n := range d.done {
		if began[id] != n {
			d.fault("round %d: job %s had succeeded after %d beginnings and was begun again: %d", round, id, n, began[id])
		}
	}
	made := map[string]int{}
	rows := d.rows()
	for _, j := range rows {
		if j.State == jobs.Failed && j.Reason == jobs.ReasonCrash && j.Crashes >= jobs.MaxCrashes {
			d.gave[j.Repo.ID+" "+string(j.New)] = true
		}
	}
	for _, j := range rows {
		if j.Name == "files" { // only the last one counts; see shown
			continue
		}
		key := j.Repo.ID + " " + string(j.New)
		made[j.Name+" "+key]++
		if !d.accepted[key] && !d.lost[key] {
			d.fault("round %d: job %s of %s, which nobody pushed", round, j.ID, key)
		}
		switch {
		case j.State == jobs.OK:
			d.done[j.ID] = began[j.ID]
			if began[j.ID] == 0 {
				d.fault("round %d: job %s of %s is ok and was never begun", round, j.ID, key)
			}
		case d.gave[key]: // so is what needs it
		case ended || j.State.Ended():
			d.fault("round %d: job %s %s of %s is %s: %s", round, j.Name, j.ID, key, j.State, j.Reason)
		}
	}
	for key := range d.accepted {
		for _, name := range []string{"mark", "after"} {
			if n := made[name+" "+key]; n != 1 {
				d.fault("round %d: %d jobs %s of %s, whose push was accepted", round, n, name, key)
			}
		}
	}
	for key, n := range made {
		if n > 1 {
			d.fault("round %d: %d jobs %s", round, n, key)
		}
	}
}

// finish waits until every job has ended: a stop would give back those that run.
func (d *desk) finish() {
	var said []byte
	if !until(5*time.Minute, func() bool {
		said, _ = exec.Command(d.srv.path, "jobs", "ls", "--data", d.srv.data, "--state", "waiting,queued,running").CombinedOutput()
		return strings.HasPrefix(string(said), "no job is like that")
	}) {
		d.fault("not every job has ended:\n%s", said)
	}
}

package jobstest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
)

// Start is when the tests begin.
var Start = time.Unix(1_800_000_000, 0)

// TestQueue holds what open returns, a new and empty queue for each call, to the contract of
// jobs.Queue.
func TestQueue(t *testing.T, open func(t *testing.T, b jobs.Bounds) jobs.Queue) {
	for _, c := range []struct {
		name string
		run  func(b *bench)
	}{
		{"WhatGoesInComesOut/S0-03", roundTrip},
		{"AddingTwiceIsAddingOnce", addTwice},
		{"TwoInOneSecond/S0-07", twoInOneSecond},
		{"Malformed", malformed},
		{"FairShare/S0-28", fairShare},
		{"FairOverRepos/S0-28", fairRepos},
		{"Limits/S0-28", limits},
		{"Latest", latest},
		{"InTurn", inTurn},
		{"CancelRunning", cancelRunning},
		{"Grouping", grouping},
		{"Needs/S0-24", needs},
		{"NeedsInAChain/S0-24", chain},
		{"Already/S3-50", already},
		{"Leases", leases},
		{"Crashes", crashes},
		{"Stopped/S4-31", stopped},
		{"CancelByHand", cancelByHand},
		{"RetryLater/S3-21", retryLater},
		{"RetryLosesToNewer", retryLoses},
		{"Pools", pools},
		{"BoundPerOwner/S4-33", boundPerOwner},
		{"BoundPerOwnerTold/S4-33", boundTold},
		{"BoundInAll/S4-33", boundInAll},
		{"BudgetOfADay/S4-33", budget},
		{"BudgetOfItsOwn/S4-33", ownBudget},
		{"Approval", approval},
		{"BoundPerOwnerUnapproved/S4-33", boundUnapproved},
		{"Schedules", schedules},
		{"Lists/S0-20", lists},
		{"Retention/S0-29", retention},
		{"Then", then},
		{"ManyAtOnce", manyAtOnce},
		{"Signals", signals},
	} {
		t.Run(c.name, func(t *testing.T) {
			bounds := jobs.Bounds{PerOwner: 2000}
			switch {
			case strings.HasPrefix(c.name, "BoundPerOwner"):
				bounds.PerOwner, bounds.Told = 3, 5
			case strings.HasPrefix(c.name, "BoundInAll"):
				bounds.Total = 5
			case strings.HasPrefix(c.name, "Budget"):
				bounds.Budget = jobs.Usage{CPU: time.Minute}
			}
			b := &bench{T: t, Queue: open(t, bounds), now: Start}
			b.ids = jobs.NewIDs(func() time.Time { return b.now }, zeros{})
			c.run(b)
		})
	}
}

// zeros is randomness without surprises.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A bench is one test with one queue and a clock.
type bench struct {
	*testing.T
	jobs.Queue
	ids *jobs.IDs
	now time.Time
}

func ctx() context.Context { return context.Background() }

// Owner returns the n-th key.
func Owner(n int) grasp.PubKey { return grasp.PubKey(strings.Repeat(fmt.Sprintf("%02x", n), 32)) }

// Repo returns repository id of the n-th owner.
func Repo(n int, id string) grasp.Addr { return grasp.Addr{Owner: Owner(n), ID: id} }

// OID returns the n-th object id.
func OID(n int) grasp.OID { return grasp.OID(fmt.Sprintf("%040x", n)) }

// Make returns a job of the name in repo with a policy that groups nothing, changed by more.
func Make(id jobs.ID, repo grasp.Addr, name string, at time.Time, more ...func(*jobs.Job)) jobs.Job {
	j := jobs.Job{
		ID: id, Run: id, Repo: repo, Name: name, Kind: "exec", Class: jobs.Operator, Pool: jobs.DefaultPool,
		Trigger: jobs.OnPush, Ref: "refs/heads/main", Old: OID(0), New: OID(1), Policy: jobs.All, Force: true, Created: at,
	}
	for _, f := range more {
		f(&j)
	}
	return j
}

// In puts a job into a group.
func In(group string, p jobs.Policy) func(*jobs.Job) {
	return func(j *jobs.Job) { j.Group, j.Policy = group, p }
}

// After has a job need others.
func After(c jobs.Condition, on ...jobs.ID) func(*jobs.Job) {
	return func(j *jobs.Job) {
		for _, id := range on {
			j.Needs = append(j.Needs, jobs.Edge{On: id, If: c})
		}
	}
}

func (b *bench) add(repo grasp.Addr, name string, more ...func(*jobs.Job)) jobs.ID {
	b.Helper()
	j := Make(b.ids.Next(), repo, name, b.now, more...)
	if err := b.Enqueue(ctx(), []jobs.Job{j}); err != nil {
		b.Fatal(err)
	}
	return j.ID
}

func (b *bench) claim(more ...func(*jobs.Claim)) jobs.Job {
	b.Helper()
	c := jobs.Claim{By: "me", Now: b.now, Until: b.now.Add(time.Minute), PerOwner: 100, PerRepo: 100}
	for _, f := range more {
		f(&c)
	}
	j, ok, err := b.Claim(ctx(), c)
	if err != nil {
		b.Fatal(err)
	}
	if ok != (j.ID != "") {
		b.Fatalf("claimed %v: %q", ok, j.ID)
	}
	return j
}

func (b *bench) claims(what string, want ...jobs.ID) {
	b.Helper()
	for _, id := range want {
		if j := b.claim(); j.ID != id {
			b.Fatalf("%s: claimed %s %q, want %s", what, j.Name, j.ID, id)
		}
	}
}

func (b *bench) finish(id jobs.ID, s jobs.State, more ...func(*jobs.Ending)) {
	b.Helper()
	e := jobs.Ending{State: s, At: b.now}
	for _, f := range more {
		f(&e)
	}
	if err := b.Finish(ctx(), "me", id, e); err != nil {
		b.Fatalf("finish %s: %v", id, err)
	}
}

func (b *bench) get(id jobs.ID) jobs.Job {
	b.Helper()
	j, err := b.Job(ctx(), id)
	if err != nil {
		b.Fatal(err)
	}
	return j
}

func (b *bench) is(id jobs.ID, want jobs.State, reason string) {
	b.Helper()
	if j := b.get(id); j.State != want || !strings.HasPrefix(j.Reason, reason) || (reason == "") != (j.Reason == "") {
		b.Errorf("%s is %s %q, want %s %q", j.Name, j.State, j.Reason, want, reason)
	}
}

func roundTrip(b *bench) {
	j := jobs.Job{
		ID: b.ids.Next(), Run: b.ids.Next(), Repo: grasp.Addr{Owner: Owner(1), ID: "a-b-c", Box: true}, Name: "site", Kind: "site",
		Class: jobs.Trusted, Pool: "house", Trigger: jobs.OnState, Ref: "refs/heads/main", Old: OID(7), New: OID(8), Push: "p1",
		Cause: grasp.EventID(Owner(5)), Actor: Owner(6), Due: Start.Add(time.Hour), Depth: 3, Definition: jobs.HashOf("d"),
		Input: jobs.HashOf("i"), Group: "g", Policy: jobs.InTurn, Force: true,
		Retry:   jobs.Retry{Max: 4, On: []string{"infra", "exit:75"}, Base: time.Second, Cap: time.Minute, Steps: []time.Duration{1, 2}},
		Timeout: time.Hour, Spec: []byte("\x00spec"), Created: b.now, RunAfter: b.now.Add(time.Second),
	}
	if err := b.Enqueue(ctx(), []jobs.Job{j}); err != nil {
		b.Fatal(err)
	}
	want := j
	want.State = jobs.Queued
	same(b.T, b.get(j.ID), want)
	b.now = b.now.Add(time.Minute)
	got := b.claim(func(c *jobs.Claim) { c.Pool = "house" })
	want.State, want.Attempt, want.Started, want.Lease = jobs.Running, 1, b.now, jobs.Lease{By: "me", Until: b.now.Add(time.Minute)}
	same(b.T, got, want)
	b.now = b.now.Add(time.Second)
	b.finish(j.ID, jobs.Failed, func(e *jobs.Ending) {
		e.Reason, e.Exit, e.Signal, e.MaxRSS, e.CPU, e.Log, e.LogBytes = "killed", 137, "KILL", 1<<30, time.Second, jobs.LogKept, 77
	})
	want.State, want.Reason, want.Lease, want.Ended = jobs.Failed, "killed", jobs.Lease{}, b.now
	want.Exit, want.Signal, want.MaxRSS, want.CPU, want.Log, want.LogBytes = 137, "KILL", 1<<30, time.Second, jobs.LogKept, 77
	same(b.T, b.get(j.ID), want)
	if _, err := b.Job(ctx(), b.ids.Next()); !fault.Is(err, fault.NotFound) {
		b.Errorf("a job that is not there: %v", err)
	}
}

// same compares jobs as they are printed, times in one zone.
func same(t testing.TB, got, want jobs.Job) {
	t.Helper()
	if a, c := Print(got), Print(want); a != c {
		t.Errorf("got  %s\nwant %s", a, c)
	}
}

// Print returns a job as one line that is the same for jobs that are the same. Move is left out.
func Print(j jobs.Job) string {
	for _, at := range []*time.Time{&j.Due, &j.RunAfter, &j.Created, &j.Started, &j.Ended, &j.Lease.Until} {
		if !at.IsZero() {
			*at = at.UTC()
		}
	}
	j.Move = 0
	if j.Old.IsZero() {
		j.Old = ""
	}
	if j.New.IsZero() {
		j.New = ""
	}
	if len(j.Spec) == 0 {
		j.Spec = nil
	}
	j.Needs = slices.SortedFunc(slices.Values(j.Needs), func(a, b jobs.Edge) int { return strings.Compare(string(a.On), string(b.On)) })
	return fmt.Sprintf("%+v", j)
}

func addTwice(b *bench) {
	j := Make(b.ids.Next(), Repo(1, "r"), "x", b.now)
	other := j
	other.Name = "y"
	for _, list := range [][]jobs.Job{{j}, {j}, {other}, {j, j}} {
		if err := b.Enqueue(ctx(), list); err != nil {
			b.Fatal(err)
		}
	}
	b.claims("once", j.ID)
	if j := b.claim(); j.ID != "" {
		b.Errorf("twice: %v", j.ID)
	}
	b.finish(j.ID, jobs.OK)
	if err := b.Enqueue(ctx(), []jobs.Job{j}); err != nil {
		b.Fatal(err)
	}
	b.is(j.ID, jobs.OK, "")
}

func twoInOneSecond(b *bench) {
	one, two := b.add(Repo(1, "a-b-c"), "site"), b.add(Repo(1, "a-b-c"), "site")
	if one == two || b.get(one).Repo.ID != "a-b-c" {
		b.Errorf("%s, %s of %s", one, two, b.get(one).Repo.ID)
	}
	b.claims("in their order", one, two)
}

func malformed(b *bench) {
	good := Make(b.ids.Next(), Repo(1, "r"), "x", b.now)
	for what, spoil := range map[string]func(*jobs.Job){
		"id":       func(j *jobs.Job) { j.ID = "x" },
		"run":      func(j *jobs.Job) { j.Run = "" },
		"owner":    func(j *jobs.Job) { j.Repo.Owner = "abc" },
		"name":     func(j *jobs.Job) { j.Name = "" },
		"policy":   func(j *jobs.Job) { j.Policy = "most" },
		"group":    func(j *jobs.Job) { j.Policy = jobs.Latest },
		"trigger":  func(j *jobs.Job) { j.Trigger = "moon" },
		"spec":     func(j *jobs.Job) { j.Spec = make([]byte, jobs.MaxSpec+1) },
		"too many": func(j *jobs.Job) { j.Needs = make([]jobs.Edge, jobs.MaxNeeds+1) },
	} {
		bad := Make(b.ids.Next(), Repo(1, "r"), "x", b.now, spoil)
		if err := b.Enqueue(ctx(), []jobs.Job{good, bad}); !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.TooLarge) {
			b.Errorf("%s: %v, want invalid", what, err)
		}
	}
	if _, err := b.Job(ctx(), good.ID); !fault.Is(err, fault.NotFound) {
		b.Errorf("a job of a list that was refused was added: %v", err)
	}
	id := b.add(Repo(1, "r"), "x")
	b.claims("it", id)
	for _, s := range []jobs.State{jobs.Running, jobs.Waiting, "", "odd"} {
		if err := b.Finish(ctx(), "me", id, jobs.Ending{State: s}); !fault.Is(err, fault.Invalid) {
			b.Errorf("an attempt that ends %q: %v", s, err)
		}
	}
}

func fairShare(b *bench) {
	var many []jobs.ID
	for range 20 {
		many = append(many, b.add(Repo(1, "busy"), "x"))
	}
	other := b.add(Repo(2, "quiet"), "x")
	b.claims("with two slots the other starts second", many[0], other, many[1], many[2])
	third := b.add(Repo(3, "new"), "x")
	b.claims("who comes later waits one turn", many[3], third, many[4])
}

func fairRepos(b *bench) {
	var many []jobs.ID
	for range 5 {
		many = append(many, b.add(Repo(1, "busy"), "x"))
	}
	quiet := b.add(Repo(1, "quiet"), "x")
	b.claims("repositories of one owner take turns", many[0], quiet, many[1])
}

func limits(b *bench) {
	per := func(owner, repo int) func(*jobs.Claim) {
		return func(c *jobs.Claim) { c.PerOwner, c.PerRepo = owner, repo }
	}
	for _, id := range []string{"a", "a", "b", "b"} {
		b.add(Repo(1, id), "x")
	}
	var ran []string
	for {
		j := b.claim(per(3, 1))
		if j.ID == "" {
			break
		}
		ran = append(ran, j.Repo.ID)
	}
	if !slices.Equal(ran, []string{"a", "b"}) {
		b.Errorf("one of each repository: %v", ran)
	}
	if j := b.claim(per(2, 5)); j.ID != "" {
		b.Error("a third of an owner who may have two")
	}
	if j := b.claim(per(3, 5)); j.ID == "" {
		b.Error("no third of an owner who may have three")
	}
}

func latest(b *bench) {
	g := In("g", jobs.Latest)
	running := b.add(Repo(1, "r"), "site", g)
	b.claims("the first", running)
	var last, before jobs.ID
	for range 1000 {
		before, last = last, b.add(Repo(1, "r"), "site", g)
	}
	b.is(running, jobs.Running, "")
	b.is(before, jobs.Superseded, jobs.ReasonNewer+": "+string(last))
	if c, err := b.Counts(ctx()); err != nil || c[jobs.Queued] != 1 {
		b.Errorf("%v wait (%v), want one", c, err)
	}
	if j := b.claim(); j.ID != "" {
		b.Errorf("two of a group run: %s", j.ID)
	}
	b.finish(running, jobs.OK)
	b.claims("the newest input", last)
}

func inTurn(b *bench) {
	g := In("g", jobs.InTurn)
	one, two := b.add(Repo(1, "r"), "deploy", g), b.add(Repo(1, "r"), "deploy", g)
	three := b.add(Repo(2, "q"), "deploy", g)
	b.claims("the oldest", one)
	if j := b.claim(); j.ID != "" {
		b.Errorf("beside it %s", j.ID)
	}
	b.finish(one, jobs.Queued, func(e *jobs.Ending) { e.RunAfter = b.now.Add(time.Hour) })
	if j := b.claim(); j.ID != "" {
		b.Errorf("%s overtook the oldest, which is to be tried again", j.ID)
	}
	b.now = b.now.Add(time.Hour)
	b.claims("the oldest again", one)
	b.finish(one, jobs.Failed)
	b.claims("the next", two)
	b.finish(two, jobs.OK)
	b.claims("of whatever owner", three)
}

func cancelRunning(b *bench) {
	g := In("g", jobs.Cancel)
	old := b.add(Repo(1, "r"), "preview", g)
	b.claims("it", old)
	mid, newest := b.add(Repo(1, "r"), "preview", g), b.add(Repo(1, "r"), "preview", g)
	b.is(mid, jobs.Superseded, jobs.ReasonNewer)
	held, err := b.Held(ctx(), "me")
	if err != nil || len(held) != 1 || held[0].ID != old || held[0].Cancelling != jobs.Superseded {
		b.Fatalf("the running one was not asked to end: %+v (%v)", held, err)
	}
	if j := b.claim(); j.ID != "" {
		b.Error("the newest runs before the older has ended")
	}
	b.finish(old, jobs.Failed)
	b.is(old, jobs.Superseded, jobs.ReasonNewer)
	b.claims("the newest", newest)
	// What is done one after the other is never ended for a newer one.
	deploy := b.add(Repo(1, "r"), "deploy", In("d", jobs.InTurn))
	b.claims("a deployment", deploy)
	b.add(Repo(1, "r"), "other", In("d", jobs.Cancel))
	if j := b.get(deploy); j.Cancelling != "" {
		b.Errorf("a deployment is asked to end: %s", j.Cancelling)
	}
}

func grouping(b *bench) {
	one := b.add(Repo(1, "r"), "site", In("branch", jobs.Latest))
	tag := b.add(Repo(1, "r"), "site", In("tag", jobs.Latest))
	hook1, hook2 := b.add(Repo(1, "r"), "ci"), b.add(Repo(1, "r"), "ci")
	b.claims("each of its own group, and those of none", one, tag, hook1, hook2)
}

func needs(b *bench) {
	for _, c := range []struct {
		end                jobs.State
		ok, failed, anyhow jobs.State
	}{
		{jobs.OK, jobs.Queued, jobs.Skipped, jobs.Queued},
		{jobs.Failed, jobs.Skipped, jobs.Queued, jobs.Queued},
		{jobs.TimedOut, jobs.Skipped, jobs.Queued, jobs.Queued},
		{jobs.StartupFailure, jobs.Skipped, jobs.Queued, jobs.Queued},
		{jobs.Cancelled, jobs.Skipped, jobs.Skipped, jobs.Queued},
		{jobs.Skipped, jobs.Skipped, jobs.Skipped, jobs.Queued},
	} {
		a := b.add(Repo(1, "r"), "a")
		next := []jobs.ID{
			b.add(Repo(1, "r"), "ok", After(jobs.IfOK, a)),
			b.add(Repo(1, "r"), "failed", After(jobs.IfFailed, a)),
			b.add(Repo(1, "r"), "always", After(jobs.IfAlways, a)),
		}
		for _, id := range next {
			b.is(id, jobs.Waiting, "")
		}
		b.claims("the first", a)
		if j := b.claim(); j.ID != "" {
			b.Errorf("%s runs before what it needs", j.Name)
		}
		b.finish(a, c.end)
		for i, want := range []jobs.State{c.ok, c.failed, c.anyhow} {
			reason := ""
			if want == jobs.Skipped {
				reason = jobs.ReasonNeeds + ": a is " + string(c.end)
			}
			b.is(next[i], want, reason)
		}
		for j := b.claim(); j.ID != ""; j = b.claim() {
			b.finish(j.ID, jobs.OK)
		}
	}
	if id := b.add(Repo(1, "r"), "x", After(jobs.IfOK, b.ids.Next())); b.get(id).State != jobs.Skipped {
		b.Error("a job that needs what is not there waits for ever")
	}
}

func chain(b *bench) {
	a := b.add(Repo(1, "r"), "a")
	two := b.add(Repo(1, "r"), "b", After(jobs.IfOK, a))
	three := b.add(Repo(1, "r"), "c", After(jobs.IfOK, two))
	both := b.add(Repo(1, "r"), "both", After(jobs.IfOK, a), After(jobs.IfAlways, three))
	clean := b.add(Repo(1, "r"), "cleanup", After(jobs.IfAlways, two, three))
	b.claims("a", a)
	b.finish(a, jobs.Failed)
	b.is(two, jobs.Skipped, jobs.ReasonNeeds)
	b.is(three, jobs.Skipped, jobs.ReasonNeeds)
	b.is(both, jobs.Skipped, jobs.ReasonNeeds)
	b.claims("cleanup", clean)
	// What needs a job that was replaced by a newer one does not run.
	g := In("g", jobs.Latest)
	old := b.add(Repo(1, "r"), "site", g)
	after := b.add(Repo(1, "r"), "after", After(jobs.IfOK, old))
	b.add(Repo(1, "r"), "site", g)
	b.is(after, jobs.Skipped, jobs.ReasonNeeds)
}

func already(b *bench) {
	with := func(n int) func(*jobs.Job) {
		return func(j *jobs.Job) { j.Force, j.New, j.Input = false, OID(n), jobs.HashOf(fmt.Sprint(n)) }
	}
	run := func(n int, s jobs.State) jobs.ID {
		b.Helper()
		id := b.add(Repo(1, "r"), "site", with(n), In("site", jobs.Latest))
		b.claims("it", id)
		b.finish(id, s)
		return id
	}
	one := run(1, jobs.OK)
	again := b.add(Repo(1, "r"), "site", with(1))
	b.is(again, jobs.OK, jobs.ReasonAlready+": "+string(one))
	b.is(b.add(Repo(1, "other"), "site", with(1)), jobs.Queued, "")
	b.is(b.add(Repo(1, "r"), "test", with(1)), jobs.Queued, "")
	for range 2 {
		b.finish(b.claim().ID, jobs.OK)
	}
	forced := b.add(Repo(1, "r"), "site", with(1), func(j *jobs.Job) { j.Force = true })
	b.claims("forced", forced)
	b.finish(forced, jobs.OK)
	// Going back to what was is not done already: something else was done since.
	run(2, jobs.OK)
	run(1, jobs.OK)
	run(3, jobs.Failed)
	run(3, jobs.OK)
	// One that waits in the queue is not what was done last, but it will be.
	wait := b.add(Repo(1, "r"), "site", with(4), In("site", jobs.Latest))
	back := b.add(Repo(1, "r"), "site", with(3), In("site", jobs.Latest))
	b.is(wait, jobs.Superseded, jobs.ReasonNewer)
	b.is(back, jobs.Queued, "")
	// What was skipped or cancelled did nothing.
	b.claims("back", back)
	b.finish(back, jobs.OK)
	drop := b.add(Repo(1, "r"), "site", with(5), In("site", jobs.Latest))
	if _, err := b.Cancel(ctx(), drop, "by hand", b.now); err != nil {
		b.Fatal(err)
	}
	b.is(b.add(Repo(1, "r"), "site", with(3)), jobs.OK, jobs.ReasonAlready)
	// Who needs what was done already need not wait.
	b.is(b.add(Repo(1, "r"), "next", After(jobs.IfOK, again)), jobs.Queued, "")
}

func leases(b *bench) {
	id := b.add(Repo(1, "r"), "x")
	b.claims("it", id)
	for what, by := range map[string]string{"a stranger": "you", "nobody": ""} {
		if err := b.Finish(ctx(), by, id, jobs.Ending{State: jobs.OK, At: b.now}); !fault.Is(err, fault.Stale) {
			b.Errorf("%s finished it: %v", what, err)
		}
	}
	if list, err := b.Abandoned(ctx(), "me", b.now.Add(time.Minute), false, 10); err != nil || len(list) != 0 {
		b.Errorf("held and abandoned: %v (%v)", list, err)
	}
	held, err := b.Renew(ctx(), "me", b.now.Add(2*time.Minute))
	if err != nil || len(held) != 1 || held[0] != (jobs.Held{ID: id}) {
		b.Errorf("held: %v (%v)", held, err)
	}
	if held, err := b.Renew(ctx(), "you", b.now.Add(time.Hour)); err != nil || len(held) != 0 {
		b.Errorf("held by others: %v (%v)", held, err)
	}
	late := b.now.Add(2*time.Minute + 1)
	if list, err := b.Abandoned(ctx(), "you", late, false, 10); err != nil || len(list) != 1 || list[0].ID != id || list[0].Lease.By != "me" {
		b.Errorf("abandoned: %v (%v)", list, err)
	}
	if list, _ := b.Abandoned(ctx(), "you", b.now, true, 10); len(list) != 1 {
		b.Error("who is alone does not see what others left")
	}
	if list, _ := b.Abandoned(ctx(), "me", b.now, true, 10); len(list) != 0 {
		b.Error("who is alone gives up what it does itself")
	}
	b.finish(id, jobs.OK)
	if err := b.Finish(ctx(), "me", id, jobs.Ending{State: jobs.Failed, At: b.now}); !fault.Is(err, fault.Stale) {
		b.Errorf("finished twice: %v", err)
	}
	b.is(id, jobs.OK, "")
}

func crashes(b *bench) {
	id := b.add(Repo(1, "r"), "x")
	for n := 1; n <= jobs.MaxCrashes; n++ {
		j := b.claim()
		if j.ID != id || j.Attempt != n || j.Crashes != n-1 || j.Failures() != 1 {
			b.Fatalf("attempt %d: %+v", n, j)
		}
		b.finish(id, jobs.Queued, func(e *jobs.Ending) { e.Crashed, e.Reason, e.RunAfter = true, jobs.ReasonCrash, b.now })
	}
	b.is(id, jobs.Failed, jobs.ReasonCrash)
}

func stopped(b *bench) {
	id := b.add(Repo(1, "r"), "x")
	for range 10 {
		b.claims("it", id)
		b.finish(id, jobs.Queued, func(e *jobs.Ending) { e.Uncounted, e.Reason, e.RunAfter = true, jobs.ReasonStopping, b.now })
		b.is(id, jobs.Queued, jobs.ReasonStopping)
	}
	if j := b.claim(); j.Attempt != 1 || j.Reason != "" {
		b.Errorf("being stopped counts: %+v", j)
	}
}

func cancelByHand(b *bench) {
	queued, running := b.add(Repo(1, "r"), "queued"), b.add(Repo(1, "r"), "running")
	wait := b.add(Repo(1, "r"), "waiting", After(jobs.IfOK, running))
	cancel := func(id jobs.ID) jobs.Job {
		b.Helper()
		j, err := b.Cancel(ctx(), id, "alice said so", b.now)
		if err != nil {
			b.Fatal(err)
		}
		return j
	}
	if j := cancel(queued); j.State != jobs.Cancelled || !j.Ended.Equal(b.now) {
		b.Errorf("%+v", j)
	}
	b.claims("the other", running)
	if j := cancel(running); j.State != jobs.Running || j.Cancelling != jobs.Cancelled {
		b.Errorf("%+v", j)
	}
	b.finish(running, jobs.Queued, func(e *jobs.Ending) { e.RunAfter = b.now })
	b.is(running, jobs.Cancelled, "alice said so")
	b.is(wait, jobs.Skipped, jobs.ReasonNeeds)
	if j := cancel(running); j.State != jobs.Cancelled {
		b.Errorf("%+v", j)
	}
	done := b.add(Repo(1, "r"), "done")
	b.claims("done", done)
	cancel(done)
	b.finish(done, jobs.OK) // it was faster
	b.is(done, jobs.OK, "")
	cancel(done)
	b.is(done, jobs.OK, "")
	if _, err := b.Cancel(ctx(), b.ids.Next(), "", b.now); !fault.Is(err, fault.NotFound) {
		b.Errorf("cancelled nothing: %v", err)
	}
}

func retryLater(b *bench) {
	id := b.add(Repo(1, "r"), "x")
	b.claims("it", id)
	later := b.now.Add(time.Minute)
	b.finish(id, jobs.Queued, func(e *jobs.Ending) { e.RunAfter, e.Reason = later, "exit 1" })
	b.is(id, jobs.Queued, "exit 1")
	if j := b.claim(); j.ID != "" {
		b.Error("it runs before its time")
	}
	next, ok, err := b.Next(ctx(), "", b.now)
	if err != nil || !ok || !next.Equal(later) {
		b.Errorf("next is %v, %v (%v), want %v", next, ok, err, later)
	}
	if _, ok, _ := b.Next(ctx(), "", later); ok {
		b.Error("there is a next one behind the last")
	}
	b.now = later
	if j := b.claim(); j.ID != id || j.Attempt != 2 {
		b.Errorf("%+v", j)
	}
}

func retryLoses(b *bench) {
	g := In("g", jobs.Latest)
	old := b.add(Repo(1, "r"), "site", g)
	b.claims("it", old)
	newer := b.add(Repo(1, "r"), "site", g)
	b.finish(old, jobs.Queued, func(e *jobs.Ending) { e.RunAfter = b.now })
	b.is(old, jobs.Superseded, jobs.ReasonNewer)
	b.claims("the newer", newer)
}

func pools(b *bench) {
	house := b.add(Repo(1, "r"), "sync", func(j *jobs.Job) { j.Pool = "house" })
	if j := b.claim(); j.ID != "" {
		b.Error("a job of another pool")
	}
	if j := b.claim(func(c *jobs.Claim) { c.Pool = "house" }); j.ID != house {
		b.Errorf("%+v", j)
	}
	other := b.add(Repo(1, "r"), "x")
	if j := b.claim(func(c *jobs.Claim) { c.PerOwner, c.PerRepo = 1, 1 }); j.ID != other {
		b.Error("what runs in one pool counts in the other")
	}
}

func boundPerOwner(b *bench) {
	for range 3 {
		b.add(Repo(1, "r"), "x")
	}
	over := b.add(Repo(1, "q"), "x")
	b.is(over, jobs.Skipped, jobs.ReasonBudget)
	b.is(b.add(Repo(1, "q"), "y", After(jobs.IfOK, over)), jobs.Skipped, jobs.ReasonNeeds)
	b.is(b.add(Repo(2, "r"), "x"), jobs.Queued, "")
	for range 100 {
		b.add(Repo(1, "q"), "x")
	}
	list, err := b.List(ctx(), jobs.Filter{Name: "x", States: []jobs.State{jobs.Skipped}, Limit: 1000})
	if err != nil || len(list) != jobs.KeptSkips {
		b.Errorf("%d skipped jobs are kept (%v)", len(list), err)
	}
	b.claim()
	b.claim()
	b.is(b.add(Repo(1, "r"), "x"), jobs.Queued, "") // there is room again
}

// What tells others is bounded by itself, so that a receiver that is away for days keeps no job from
// running, and no budget keeps back what tells of it.
func boundTold(b *bench) {
	tell := func(j *jobs.Job) { j.Pool, j.Group, j.Policy = jobs.TellPool, "", jobs.All }
	for range 5 {
		b.is(b.add(Repo(1, "r"), "hook", tell), jobs.Queued, "")
	}
	b.is(b.add(Repo(1, "r"), "hook", tell), jobs.Skipped, jobs.ReasonBudget)
	for range 3 {
		b.is(b.add(Repo(1, "r"), "x"), jobs.Queued, "")
	}
	b.is(b.add(Repo(1, "r"), "x"), jobs.Skipped, jobs.ReasonBudget)
	b.is(b.add(Repo(2, "r"), "hook", tell), jobs.Queued, "")
}

func boundInAll(b *bench) {
	for n := range 5 {
		b.add(Repo(n, "r"), "x")
	}
	b.is(b.add(Repo(9, "r"), "x"), jobs.Skipped, jobs.ReasonBudget)
	// One that takes the place of another needs no room.
	b.claim()
	one := b.add(Repo(9, "r"), "site", In("g", jobs.Latest))
	two := b.add(Repo(9, "r"), "site", In("g", jobs.Latest))
	b.is(one, jobs.Superseded, jobs.ReasonNewer)
	b.is(two, jobs.Queued, "")
}

func budget(b *bench) {
	use := func(cpu time.Duration) {
		b.Helper()
		id := b.add(Repo(1, "r"), "x")
		b.claims("it", id)
		b.now = b.now.Add(time.Second)
		b.finish(id, jobs.OK, func(e *jobs.Ending) { e.CPU = cpu })
	}
	use(59 * time.Second)
	use(time.Second)
	b.is(b.add(Repo(1, "q"), "x"), jobs.Skipped, jobs.ReasonBudget)
	b.is(b.add(Repo(1, "q"), "hook", func(j *jobs.Job) { j.Pool = jobs.TellPool }), jobs.Queued, "")
	b.is(b.add(Repo(2, "r"), "x"), jobs.Queued, "")
	b.now = b.now.Add(24 * time.Hour)
	b.is(b.add(Repo(1, "q"), "x"), jobs.Queued, "")
}

func schedules(b *bench) {
	at := func(due time.Time) func(*jobs.Job) {
		return func(j *jobs.Job) { j.Trigger, j.Due = jobs.OnSchedule, due }
	}
	repo := Repo(1, "r")
	if due, err := b.Scheduled(ctx(), repo, "nightly"); err != nil || !due.IsZero() {
		b.Errorf("%v, %v", due, err)
	}
	for _, t := range []time.Time{Start, Start.Add(time.Hour)} { // it begins once
		if err := b.SetScheduled(ctx(), repo, "nightly", t); err != nil {
			b.Fatal(err)
		}
	}
	due := Start.Add(time.Minute)
	b.add(repo, "nightly", at(due))
	b.add(repo, "nightly", at(due))
	b.add(repo, "nightly", at(Start))
	b.add(repo, "weekly", at(due))
	if c, _ := b.Counts(ctx()); c[jobs.Queued] != 2 {
		b.Errorf("%v, want one of each", c)
	}
	if last, err := b.Scheduled(ctx(), repo, "nightly"); err != nil || !last.Equal(due) {
		b.Errorf("%v, %v", last, err)
	}
}

func lists(b *bench) {
	var all []jobs.ID
	for n := range 1000 {
		b.now = b.now.Add(time.Second)
		all = append(all, b.add(Repo(n%3, []string{"a", "b"}[n%2]), []string{"x", "y"}[n%5/4], func(j *jobs.Job) {
			if n%7 == 0 {
				j.Ref = "refs/heads/next"
			}
		}))
	}
	for range 10 {
		b.finish(b.claim().ID, jobs.OK)
	}
	slices.Reverse(all)
	for what, f := range map[string]jobs.Filter{
		"newest": {}, "limit": {Limit: 7}, "too many": {Limit: 5000}, "owner": {Owner: Owner(1)}, "repo": {Repo: Repo(2, "b")},
		"name": {Name: "y", Limit: 300}, "state": {States: []jobs.State{jobs.OK}}, "states": {States: []jobs.State{jobs.OK, jobs.Queued}},
		"since": {Since: b.now.Add(-time.Minute)}, "before": {Before: all[500]}, "run": {Run: all[3]},
		"two": {Repo: Repo(0, "a"), Name: "x", States: []jobs.State{jobs.Queued}, Since: b.now.Add(-10 * time.Minute)},
		"ref": {Ref: "refs/heads/next", Limit: 1000}, "line": {Repo: Repo(1, "b"), Name: "x", Ref: "refs/heads/next"},
		"line and more": {Repo: Repo(1, "b"), Name: "x", Ref: "refs/heads/next", States: []jobs.State{jobs.Queued}, Before: all[300], Limit: 3},
		"none":          {Repo: Repo(7, "a")}, "contrary": {Owner: Owner(1), Repo: Repo(2, "b")},
	} {
		var want []jobs.ID
		for _, id := range all {
			j := b.get(id)
			if (f.Owner == "" || j.Repo.Owner == f.Owner) && (f.Repo == (grasp.Addr{}) || j.Repo == f.Repo) && (f.Name == "" || j.Name == f.Name) && (f.Ref == "" || j.Ref == f.Ref) &&
				(len(f.States) == 0 || slices.Contains(f.States, j.State)) && !j.Created.Before(f.Since) && (f.Before == "" || id < f.Before) &&
				(f.Run == "" || j.Run == f.Run) && len(want) < f.Page() {
				want = append(want, id)
			}
		}
		list, err := b.List(ctx(), f)
		var got []jobs.ID
		for _, j := range list {
			got = append(got, j.ID)
		}
		if err != nil || !slices.Equal(got, want) {
			b.Errorf("%s: %d jobs (%v), want %d", what, len(got), err, len(want))
		}
	}
}

func retention(b *bench) {
	const day = 24 * time.Hour
	done := func(repo grasp.Addr, name string, bytes int64) jobs.ID {
		b.Helper()
		id := b.add(repo, name)
		b.claims("it", id)
		b.finish(id, jobs.OK, func(e *jobs.Ending) { e.Log, e.LogBytes = jobs.LogKept, bytes })
		return id
	}
	sweep := func(r jobs.Retention) (gone []jobs.ID) {
		b.Helper()
		list, err := b.OldLogs(ctx(), r, b.now, 100)
		if err != nil {
			b.Fatal(err)
		}
		for _, j := range list {
			gone = append(gone, j.ID)
		}
		if err := b.LogsGone(ctx(), gone); err != nil {
			b.Fatal(err)
		}
		slices.Sort(gone)
		return gone
	}
	old := done(Repo(1, "r"), "x", 10)
	b.now = b.now.Add(8 * day)
	a, c, d := done(Repo(1, "r"), "x", 10), done(Repo(1, "r"), "x", 10), done(Repo(2, "q"), "x", 10)
	running := b.add(Repo(1, "r"), "long")
	b.claims("long", running)
	if gone := sweep(jobs.Retention{LogAge: 7 * day}); !slices.Equal(gone, []jobs.ID{old}) {
		b.Errorf("by age: %v", gone)
	}
	if j := b.get(old); j.Log != jobs.LogGone || j.LogBytes != 10 { // the row is kept
		b.Errorf("%+v", j)
	}
	if gone := sweep(jobs.Retention{LogsOfRepo: 1}); !slices.Equal(gone, []jobs.ID{a}) {
		b.Errorf("by number: %v", gone)
	}
	if gone := sweep(jobs.Retention{LogBytes: 15}); !slices.Equal(gone, []jobs.ID{c}) {
		b.Errorf("by size: %v", gone)
	}
	if gone := sweep(jobs.Retention{}); len(gone) != 0 {
		b.Errorf("without bounds: %v", gone)
	}
	prune := func(r jobs.Retention, want int) {
		b.Helper()
		if n, err := b.Prune(ctx(), r, b.now, 100); err != nil || n != want {
			b.Errorf("%d rows were pruned (%v), want %d", n, err, want)
		}
	}
	prune(jobs.Retention{}, 0)
	prune(jobs.Retention{Age: 7 * day}, 1)
	b.now = b.now.Add(8 * day)
	prune(jobs.Retention{Age: 7 * day}, 1) // a; c is the last of its kind, d has a log
	for _, id := range []jobs.ID{c, d, running} {
		b.get(id)
	}
	b.now = b.now.Add(70 * day)
	prune(jobs.Retention{Age: 7 * day}, 1)
	sweep(jobs.Retention{LogAge: day})
	done(Repo(2, "q"), "y", 1)
	sweep(jobs.Retention{LogAge: 1})
	b.now = b.now.Add(time.Second)
	sweep(jobs.Retention{LogAge: 1})
	prune(jobs.Retention{PerRepo: 1}, 1)
	b.is(running, jobs.Running, "")
}

func then(b *bench) {
	id := b.add(Repo(1, "r"), "x")
	b.claims("it", id)
	next := Make(b.ids.Next(), Repo(1, "r"), "after", b.now, func(j *jobs.Job) { j.Trigger = jobs.OnJob })
	if err := b.Finish(ctx(), "you", id, jobs.Ending{State: jobs.OK, At: b.now, Then: []jobs.Job{next}}); !fault.Is(err, fault.Stale) {
		b.Error(err)
	}
	if _, err := b.Job(ctx(), next.ID); !fault.Is(err, fault.NotFound) {
		b.Errorf("what follows from an ending that was not: %v", err)
	}
	b.finish(id, jobs.OK, func(e *jobs.Ending) { e.Then = []jobs.Job{next} })
	b.claims("what follows", next.ID)
}

// manyAtOnce: whatever happens at the same time, no job is run by two, and none of a group beside
// another.
func manyAtOnce(b *bench) {
	const n = 60
	var wg sync.WaitGroup
	for i := range n {
		id := b.ids.Next()
		wg.Go(func() {
			policy := []jobs.Policy{jobs.All, jobs.InTurn}[i%2]
			if err := b.Enqueue(ctx(), []jobs.Job{Make(id, Repo(i%5, "r"), "x", Start, In(fmt.Sprint("g", i%3), policy))}); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	var mu sync.Mutex
	ran, busy := map[jobs.ID]int{}, map[string]int{}
	for w := range 4 {
		wg.Go(func() {
			by := fmt.Sprint("w", w)
			for range 10 * n {
				mu.Lock()
				enough := len(ran) == n
				mu.Unlock()
				if enough {
					return
				}
				j, ok, err := b.Claim(ctx(), jobs.Claim{By: by, Now: Start, Until: Start.Add(time.Hour), PerOwner: 9, PerRepo: 9})
				if err != nil {
					b.Error(err)
					return
				}
				if !ok {
					continue
				}
				mu.Lock()
				ran[j.ID]++
				if busy[j.Group]++; j.Policy != jobs.All && busy["="+j.Group] > 0 {
					b.Errorf("two of group %s run", j.Group)
				}
				if j.Policy != jobs.All {
					busy["="+j.Group]++
				}
				mu.Unlock()
				mu.Lock()
				if j.Policy != jobs.All {
					busy["="+j.Group]--
				}
				mu.Unlock()
				if err := b.Finish(ctx(), by, j.ID, jobs.Ending{State: jobs.OK, At: Start}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if len(ran) != n {
		b.Errorf("%d of %d jobs ran", len(ran), n)
	}
	for id, times := range ran {
		if times != 1 {
			b.Errorf("%s ran %d times", id, times)
		}
	}
}

func signals(b *bench) {
	heard := func() bool {
		select {
		case <-b.Changed():
			return true
		case <-time.After(time.Minute):
			return false
		}
	}
	select {
	case <-b.Changed():
	default:
	}
	id := b.add(Repo(1, "r"), "x")
	if !heard() {
		b.Error("nobody hears of a new job")
	}
	b.claims("it", id)
	if _, err := b.Cancel(ctx(), id, "", b.now); err != nil || !heard() {
		b.Errorf("nobody hears that a job is asked to end (%v)", err)
	}
	b.finish(id, jobs.OK)
	if !heard() {
		b.Error("nobody hears that a job ended")
	}
}

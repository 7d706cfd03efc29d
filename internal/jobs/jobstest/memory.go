// Package jobstest holds a queue of jobs to its contract, whatever keeps it, and has one that keeps
// them in memory.
package jobstest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
)

// Memory is a jobs.Queue in memory: the contract in its plainest form, which goes through all jobs
// whenever it is asked. The zero value is not usable.
type Memory struct {
	bounds  jobs.Bounds
	changed chan struct{}

	mu    sync.Mutex
	rows  map[jobs.ID]*row
	turns map[turnOf]int64 // when an owner who has something to do last had a turn
	tick  int64
	dues  map[schedule]time.Time
}

type row struct {
	jobs.Job
	claim  int64 // the turn in which it was claimed last
	asked  string
	budget bool // it was skipped for its owner's bounds
}

type turnOf struct {
	pool  string
	owner grasp.PubKey
}

type schedule struct {
	repo grasp.Addr
	name string
}

var _ jobs.Queue = (*Memory)(nil)

// NewMemory returns an empty queue.
func NewMemory(b jobs.Bounds) *Memory {
	return &Memory{
		bounds: b.OrElse(), changed: make(chan struct{}, 1),
		rows: map[jobs.ID]*row{}, turns: map[turnOf]int64{}, dues: map[schedule]time.Time{},
	}
}

func (m *Memory) signal() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// Changed is part of jobs.Queue.
func (m *Memory) Changed() <-chan struct{} { return m.changed }

// sorted returns the rows by id.
func (m *Memory) sorted(which func(*row) bool) []*row {
	var out []*row
	for _, r := range m.rows {
		if which(r) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b *row) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return out
}

func copied(r *row) jobs.Job {
	j := r.Job
	j.Needs, j.Spec = slices.Clone(j.Needs), slices.Clone(j.Spec)
	return j
}

// Enqueue is part of jobs.Queue.
func (m *Memory) Enqueue(ctx context.Context, list []jobs.Job) error {
	if err := ctx.Err(); err != nil {
		return fault.Wrap("memory: enqueue", err)
	}
	for i := range list {
		if err := list[i].Check(); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(list)
	return nil
}

func (m *Memory) add(list []jobs.Job) {
	for _, j := range list {
		if m.rows[j.ID] != nil {
			continue
		}
		if j.Trigger == jobs.OnSchedule {
			key := schedule{j.Repo, j.Name}
			if !j.Due.After(m.dues[key]) {
				continue
			}
			m.dues[key] = j.Due
		}
		if j.Pool == "" {
			j.Pool = jobs.DefaultPool
		}
		r := &row{Job: jobs.Job{
			ID: j.ID, Run: j.Run, Repo: j.Repo, Name: j.Name, Kind: j.Kind, Class: j.Class, Pool: j.Pool,
			Trigger: j.Trigger, Ref: j.Ref, Old: j.Old, New: j.New, Push: j.Push, Cause: j.Cause, Actor: j.Actor,
			Due: j.Due, Depth: j.Depth, Definition: j.Definition, Input: j.Input, Group: j.Group, Policy: j.Policy,
			Force: j.Force, Needs: slices.Clone(j.Needs), Retry: j.Retry, Timeout: j.Timeout, Spec: slices.Clone(j.Spec),
			Source: j.Source, Approval: j.Approval,
			RunAfter: j.RunAfter, Created: j.Created,
		}}
		if r.RunAfter.Before(r.Created) {
			r.RunAfter = r.Created
		}
		m.begin(r, j.Budget)
		m.rows[r.ID] = r
		if r.budget {
			m.forgetSkips(r.Repo.Owner)
		}
		m.attend(r)
	}
	m.signal()
}

// begin puts a new row in its first state.
func (m *Memory) begin(r *row, budget jobs.Usage) {
	end := func(s jobs.State, reason string) { r.State, r.Reason, r.Ended = s, reason, r.Created }
	start := jobs.Start(r.Needs, m.state)
	if start == jobs.Skipped {
		end(jobs.Skipped, jobs.ReasonNeeds)
		return
	}
	if !r.Force {
		last := m.sorted(func(o *row) bool {
			return o.Repo == r.Repo && o.Name == r.Name && o.Ref == r.Ref &&
				o.State != jobs.Skipped && o.State != jobs.Superseded && o.State != jobs.Cancelled
		})
		if n := len(last); n > 0 && last[n-1].State == jobs.OK && last[n-1].Input == r.Input {
			end(jobs.OK, jobs.ReasonAlready+": "+string(last[n-1].ID))
			return
		}
	}
	if r.Approval.Missing() {
		start = jobs.Unapproved
	}
	if start == jobs.Queued {
		m.replace(r)
		if r.State == jobs.Superseded {
			return
		}
	}
	owned, all, most := 0, 0, m.bounds.PerOwner
	tells := r.Pool == jobs.TellPool
	if tells {
		most = m.bounds.Told
	}
	for _, o := range m.rows {
		if start == jobs.Unapproved && o.State == start && o.Repo.Owner == r.Repo.Owner {
			owned++
		}
		if start != jobs.Unapproved && (o.State == jobs.Waiting || o.State == jobs.Queued) {
			all++
			if o.Repo.Owner == r.Repo.Owner && (o.Pool == jobs.TellPool) == tells {
				owned++
			}
		}
	}
	var why string
	switch {
	case owned >= most && start == jobs.Unapproved:
		why = "too many of the owner's jobs wait for approval"
	case owned >= most:
		why = "the owner has too many jobs waiting"
	case all >= m.bounds.Total:
		why = "too many jobs wait"
	case !tells && m.used(r.Repo.Owner, r.Created.Add(-24*time.Hour)).Over(m.bounds.Of(budget)):
		why = "the owner has used up the budget of the day"
	default:
		r.State = start
		return
	}
	end(jobs.Skipped, jobs.ReasonBudget+": "+why)
	r.budget = true
}

func (m *Memory) used(owner grasp.PubKey, since time.Time) (u jobs.Usage) {
	for _, o := range m.rows {
		if o.Repo.Owner == owner && o.State.Ended() && !o.Started.IsZero() && o.Ended.After(since) {
			u.CPU += o.CPU
			u.Wall += o.Ended.Sub(o.Started)
			u.LogBytes += o.LogBytes
		}
	}
	return u
}

func (m *Memory) forgetSkips(owner grasp.PubKey) {
	skips := m.sorted(func(o *row) bool { return o.budget && o.Repo.Owner == owner })
	for len(skips) > jobs.KeptSkips {
		delete(m.rows, skips[0].ID)
		skips = skips[1:]
	}
}

func (m *Memory) state(id jobs.ID) (jobs.State, bool) {
	if r := m.rows[id]; r != nil {
		return r.State, true
	}
	return "", false
}

func yields(p jobs.Policy) bool { return p == jobs.Latest || p == jobs.Cancel }

// replace makes room in the group of a row that is about to be queued, or supersedes it.
func (m *Memory) replace(r *row) {
	if !yields(r.Policy) {
		return
	}
	for _, o := range m.sorted(func(o *row) bool { return o.Group == r.Group && o != r && yields(o.Policy) }) {
		switch {
		case o.State == jobs.Queued && o.ID > r.ID:
			r.State, r.Reason, r.Ended = jobs.Superseded, jobs.ReasonNewer+": "+string(o.ID), maxTime(o.Created, r.Created)
			return
		case o.State == jobs.Queued:
			m.close(o, jobs.Superseded, jobs.ReasonNewer+": "+string(r.ID), maxTime(o.Created, r.Created))
		case o.State == jobs.Running && r.Policy == jobs.Cancel && o.ID < r.ID && o.Cancelling == "":
			o.Cancelling, o.asked = jobs.Superseded, jobs.ReasonNewer+": "+string(r.ID)
		}
	}
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// close ends a row, and what follows for those that need it.
func (m *Memory) close(r *row, s jobs.State, reason string, at time.Time) {
	r.State, r.Reason, r.Ended, r.Lease = s, reason, at, jobs.Lease{}
	m.attend(r)
	for _, o := range m.sorted(func(o *row) bool {
		return o.State == jobs.Waiting && slices.ContainsFunc(o.Needs, func(e jobs.Edge) bool { return e.On == r.ID })
	}) {
		switch jobs.Start(o.Needs, m.state) {
		case jobs.Skipped:
			m.close(o, jobs.Skipped, jobs.ReasonNeeds+": "+r.Name+" is "+string(r.State), at)
		case jobs.Queued:
			m.queue(o, at, at)
		}
	}
}

// queue makes a row ready at a time, unless a newer one has taken its place.
func (m *Memory) queue(r *row, at, now time.Time) {
	r.State, r.Lease = jobs.Waiting, jobs.Lease{}
	m.replace(r)
	if r.State == jobs.Superseded {
		m.close(r, r.State, r.Reason, now)
		return
	}
	r.State, r.RunAfter = jobs.Queued, maxTime(r.RunAfter, at)
	m.attend(r)
}

// attend gives owners a place in the round while they have something to do.
func (m *Memory) attend(r *row) {
	key := turnOf{r.Pool, r.Repo.Owner}
	busy := false
	for _, o := range m.rows {
		busy = busy || o.Pool == r.Pool && o.Repo.Owner == r.Repo.Owner && o.State != jobs.Unapproved && !o.State.Ended()
	}
	if _, there := m.turns[key]; busy && !there {
		m.tick++
		m.turns[key] = m.tick
	} else if !busy {
		delete(m.turns, key)
	}
}

// Claim is part of jobs.Queue.
func (m *Memory) Claim(ctx context.Context, c jobs.Claim) (jobs.Job, bool, error) {
	if err := ctx.Err(); err != nil {
		return jobs.Job{}, false, fault.Wrap("memory: claim", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.Pool == "" {
		c.Pool = jobs.DefaultPool
	}
	lastOf := func(repo grasp.Addr) (n int64) {
		for _, o := range m.rows {
			if o.Repo == repo {
				n = max(n, o.claim)
			}
		}
		return n
	}
	var best *row
	var bestKey [2]int64
	for _, r := range m.sorted(func(r *row) bool { return m.claimable(r, c) }) {
		key := [2]int64{m.turns[turnOf{r.Pool, r.Repo.Owner}], lastOf(r.Repo)}
		if best == nil || key[0] < bestKey[0] || key[0] == bestKey[0] && key[1] < bestKey[1] {
			best, bestKey = r, key
		}
	}
	if best == nil {
		return jobs.Job{}, false, nil
	}
	m.tick++
	best.claim, m.turns[turnOf{best.Pool, best.Repo.Owner}] = m.tick, m.tick
	best.State, best.Reason, best.Started = jobs.Running, "", c.Now
	best.Attempt++
	best.Lease = jobs.Lease{By: c.By, Until: c.Until}
	return copied(best), true, nil
}

func (m *Memory) claimable(r *row, c jobs.Claim) bool {
	if r.State != jobs.Queued || r.Pool != c.Pool || r.RunAfter.After(c.Now) {
		return false
	}
	owner, repo := 0, 0
	for _, o := range m.rows {
		if o.State == jobs.Running && o.Pool == r.Pool && o.Repo.Owner == r.Repo.Owner {
			owner++
			if o.Repo == r.Repo {
				repo++
			}
		}
		if r.Policy != jobs.All && o.Policy != jobs.All && o.Group == r.Group && o.State == jobs.Running {
			return false
		}
		if r.Policy == jobs.InTurn && o.Policy == jobs.InTurn && o.Group == r.Group && o.State == jobs.Queued && o.ID < r.ID {
			return false
		}
	}
	return owner < max(c.PerOwner, 1) && repo < max(c.PerRepo, 1)
}

// Renew is part of jobs.Queue.
func (m *Memory) Renew(ctx context.Context, by string, until time.Time) ([]jobs.Held, error) {
	return m.held(ctx, by, until)
}

// Held is part of jobs.Queue.
func (m *Memory) Held(ctx context.Context, by string) ([]jobs.Held, error) {
	return m.held(ctx, by, time.Time{})
}

func (m *Memory) held(ctx context.Context, by string, until time.Time) (out []jobs.Held, err error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.Wrap("memory: held", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.sorted(func(r *row) bool { return r.State == jobs.Running && r.Lease.By == by }) {
		r.Lease.Until = maxTime(r.Lease.Until, until)
		out = append(out, jobs.Held{ID: r.ID, Cancelling: r.Cancelling, Reason: r.asked})
	}
	return out, nil
}

// Finish is part of jobs.Queue.
func (m *Memory) Finish(ctx context.Context, by string, id jobs.ID, e jobs.Ending) error {
	if err := ctx.Err(); err != nil {
		return fault.Wrap("memory: finish", err)
	}
	if err := e.Check(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.rows[id]
	if r == nil || r.State != jobs.Running || r.Lease.By != by {
		return fault.E(fault.Stale, "memory: finish", "somebody else runs this job, or nobody")
	}
	r.Exit, r.Signal, r.MaxRSS, r.LogBytes, r.Log = e.Exit, e.Signal, e.MaxRSS, e.LogBytes, e.Log
	r.CPU += e.CPU
	if e.Crashed {
		r.Crashes++
		if e.State == jobs.Queued && r.Crashes >= jobs.MaxCrashes {
			e.State, e.Reason = jobs.Failed, jobs.ReasonCrash
		}
	}
	if e.Uncounted {
		r.Attempt--
	}
	if r.Cancelling != "" && e.State != jobs.OK && e.State != jobs.Skipped {
		e.State, e.Reason = r.Cancelling, r.asked
	}
	r.Cancelling, r.asked = "", ""
	if e.State == jobs.Queued {
		r.Reason = e.Reason
		m.queue(r, e.RunAfter, e.At)
	} else {
		m.close(r, e.State, e.Reason, e.At)
	}
	m.add(e.Then)
	return nil
}

// Cancel is part of jobs.Queue.
func (m *Memory) Cancel(ctx context.Context, id jobs.ID, reason string, at time.Time) (jobs.Job, error) {
	if err := ctx.Err(); err != nil {
		return jobs.Job{}, fault.Wrap("memory: cancel", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.rows[id]
	if r == nil {
		return jobs.Job{}, fault.E(fault.NotFound, "memory: cancel", "there is no such job")
	}
	switch {
	case r.State == jobs.Running && r.Cancelling == "":
		r.Cancelling, r.asked = jobs.Cancelled, reason
	case r.State == jobs.Waiting || r.State == jobs.Queued || r.State == jobs.Unapproved:
		m.close(r, jobs.Cancelled, reason, at)
	}
	m.signal()
	return copied(r), nil
}

// Approve is part of jobs.Queue.
func (m *Memory) Approve(ctx context.Context, id jobs.ID, a jobs.Approval) (jobs.Job, error) {
	const op = "memory: approve"
	if err := ctx.Err(); err != nil {
		return jobs.Job{}, fault.Wrap(op, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.rows[id]
	switch {
	case r == nil:
		return jobs.Job{}, fault.E(fault.NotFound, op, "there is no such job")
	case r.State != jobs.Unapproved:
		return jobs.Job{}, fault.Errorf(fault.Stale, op, "job %s is %s; only one that is %s can be approved", r.Name, r.State, jobs.Unapproved)
	}
	a.Needed = true
	r.Approval, r.State = a, jobs.Waiting
	m.attend(r)
	switch jobs.Start(r.Needs, m.state) {
	case jobs.Skipped:
		m.close(r, jobs.Skipped, jobs.ReasonNeeds, a.At)
	case jobs.Queued:
		m.queue(r, a.At, a.At)
	}
	m.signal()
	return copied(r), nil
}

// Abandoned is part of jobs.Queue.
func (m *Memory) Abandoned(ctx context.Context, by string, at time.Time, alone bool, limit int) (out []jobs.Job, err error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.Wrap("memory: abandoned", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.sorted(func(r *row) bool {
		return r.State == jobs.Running && (r.Lease.Until.Before(at) || alone && r.Lease.By != by)
	}) {
		if len(out) < limit {
			out = append(out, copied(r))
		}
	}
	return out, nil
}

// Next is part of jobs.Queue.
func (m *Memory) Next(ctx context.Context, pool string, after time.Time) (next time.Time, ok bool, err error) {
	if err := ctx.Err(); err != nil {
		return next, false, fault.Wrap("memory: next", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if pool == "" {
		pool = jobs.DefaultPool
	}
	for _, r := range m.rows {
		if r.State == jobs.Queued && r.Pool == pool && r.RunAfter.After(after) && (!ok || r.RunAfter.Before(next)) {
			next, ok = r.RunAfter, true
		}
	}
	return next, ok, nil
}

package jobstest

import (
	"context"
	"slices"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
)

// Job is part of jobs.Shelf.
func (m *Memory) Job(ctx context.Context, id jobs.ID) (jobs.Job, error) {
	if err := ctx.Err(); err != nil {
		return jobs.Job{}, fault.Wrap("memory: job", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.rows[id]; r != nil {
		return copied(r), nil
	}
	return jobs.Job{}, fault.E(fault.NotFound, "memory: job", "there is no such job")
}

// List is part of jobs.Shelf.
func (m *Memory) List(ctx context.Context, f jobs.Filter) (out []jobs.Job, err error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.Wrap("memory: list", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.sorted(func(r *row) bool {
		return (f.Owner == "" || r.Repo.Owner == f.Owner) && (f.Repo == (grasp.Addr{}) || r.Repo == f.Repo) &&
			(f.Run == "" || r.Run == f.Run) && (f.Name == "" || r.Name == f.Name) && (f.Ref == "" || r.Ref == f.Ref) &&
			(len(f.States) == 0 || slices.Contains(f.States, r.State)) && !r.Created.Before(f.Since) &&
			(f.Before == "" || r.ID < f.Before)
	})
	slices.Reverse(list)
	for _, r := range list[:min(len(list), f.Page())] {
		out = append(out, copied(r))
	}
	return out, nil
}

// Counts is part of jobs.Shelf.
func (m *Memory) Counts(ctx context.Context) (map[jobs.State]int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[jobs.State]int{}
	for _, r := range m.rows {
		if !r.State.Ended() {
			out[r.State]++
		}
	}
	return out, ctx.Err()
}

// Scheduled is part of jobs.Shelf.
func (m *Memory) Scheduled(ctx context.Context, repo grasp.Addr, name string) (time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dues[schedule{repo, name}], ctx.Err()
}

// SetScheduled is part of jobs.Shelf.
func (m *Memory) SetScheduled(ctx context.Context, repo grasp.Addr, name string, at time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.dues[schedule{repo, name}]; !ok {
		m.dues[schedule{repo, name}] = at
	}
	return ctx.Err()
}

// OldLogs is part of jobs.Shelf.
func (m *Memory) OldLogs(ctx context.Context, r jobs.Retention, now time.Time, limit int) (out []jobs.Job, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.sorted(func(o *row) bool { return o.Log == jobs.LogKept && o.State.Ended() })
	slices.Reverse(list)
	perRepo, bytes := map[grasp.Addr]int{}, int64(0)
	for _, o := range list {
		perRepo[o.Repo]++
		bytes += o.LogBytes
		if r.LogAge > 0 && o.Ended.Before(now.Add(-r.LogAge)) || r.LogsOfRepo > 0 && perRepo[o.Repo] > r.LogsOfRepo ||
			r.LogBytes > 0 && bytes > r.LogBytes {
			out = append(out, copied(o))
		}
	}
	return out[:min(len(out), limit)], ctx.Err()
}

// LogsGone is part of jobs.Shelf.
func (m *Memory) LogsGone(ctx context.Context, ids []jobs.ID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		if r := m.rows[id]; r != nil && r.Log == jobs.LogKept {
			r.Log = jobs.LogGone
		}
	}
	return ctx.Err()
}

// Prune is part of jobs.Shelf.
func (m *Memory) Prune(ctx context.Context, r jobs.Retention, now time.Time, limit int) (n int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	type line struct {
		repo grasp.Addr
		name string
		ref  grasp.RefName
	}
	list := m.sorted(func(o *row) bool { return o.State.Ended() })
	slices.Reverse(list)
	perRepo, seen := map[grasp.Addr]int{}, map[line]bool{}
	var gone []jobs.ID
	for _, o := range list {
		l := line{o.Repo, o.Name, o.Ref}
		last := !seen[l]
		seen[l] = true
		perRepo[o.Repo]++
		age := r.Age
		if last {
			age *= jobs.MaxLast
		}
		old := r.Age > 0 && o.Ended.Before(now.Add(-age))
		if o.Log != jobs.LogKept && (old || r.PerRepo > 0 && perRepo[o.Repo] > r.PerRepo) {
			gone = append(gone, o.ID)
		}
	}
	for _, id := range gone[:min(len(gone), limit)] {
		delete(m.rows, id)
		n++
	}
	return n, ctx.Err()
}

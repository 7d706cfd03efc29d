package server

import (
	"context"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
)

// retainEvery is how often what jobs left is looked through (S0-29), and retainPage how much at a time.
const (
	retainEvery = time.Hour
	retainPage  = 200
)

// sweeps removes logs and rows that are kept no longer, at the start and every hour, until ctx ends.
func (h *Jobs) sweeps(ctx context.Context) {
	for ctx.Err() == nil {
		now := h.clock.Now()
		if err := h.giveUp(ctx, now); err != nil && ctx.Err() == nil {
			h.log.Warn("cannot give up jobs that nobody approves of", "err", err)
		}
		if err := h.retain(ctx, now); err != nil && ctx.Err() == nil {
			h.log.Warn("cannot remove what old jobs left", "err", err)
		}
		if err := h.strays(ctx, now); err != nil && ctx.Err() == nil {
			h.log.Warn("cannot look for logs that no job has", "err", err)
		}
		if err := h.remains(ctx, now); err != nil && ctx.Err() == nil {
			h.log.Warn("cannot look for what jobs left of repositories that are gone", "err", err)
		}
		c, stop := h.clock.At(now.Add(retainEvery))
		select {
		case <-ctx.Done():
		case <-c:
		}
		stop()
	}
}

// giveUp cancels jobs that have waited for approval for long enough.
func (h *Jobs) giveUp(ctx context.Context, now time.Time) error {
	limit := h.cfg.Engine.Approval
	var before jobs.ID
	for {
		page, err := h.queue.List(ctx, jobs.Filter{States: []jobs.State{jobs.Unapproved}, Before: before, Limit: retainPage})
		if err != nil {
			return err
		}
		for _, j := range page {
			if now.Sub(j.Created) < limit {
				continue
			}
			if _, err := h.queue.Cancel(ctx, j.ID, "nobody approved of it in "+limit.String(), now); err != nil {
				return err
			}
			h.board.Note()
			h.log.Info("a job was given up that nobody approved of", "job", j.ID, "repo", j.Repo.String(), "name", j.Name, "push", j.Push)
		}
		if len(page) < retainPage {
			return nil
		}
		before = page[len(page)-1].ID
	}
}

// retain removes the logs that are not kept at now, first the file and then the note of it, and then the
// rows.
func (h *Jobs) retain(ctx context.Context, now time.Time) error {
	r := h.cfg.Engine.Retention()
	for {
		old, err := h.queue.OldLogs(ctx, r, now, retainPage)
		if err != nil {
			return err
		}
		n, err := h.dropLogs(ctx, old)
		if err != nil {
			return err
		}
		if len(old) < retainPage || n == 0 {
			break
		}
	}
	for {
		n, err := h.queue.Prune(ctx, r, now, retainPage)
		if err != nil {
			return err
		}
		if n > 0 {
			h.log.Info("old jobs were forgotten", "jobs", n)
		}
		if n < retainPage {
			return nil
		}
	}
}

// strayAfter is how old a log is before it counts as one that no job has: a job is queued before it runs,
// so that there is always a row while it is written.
const strayAfter = time.Hour

// strays removes logs of jobs that are not known any more.
func (h *Jobs) strays(ctx context.Context, now time.Time) error {
	shelves, err := h.logs.Shelves()
	if err != nil {
		return err
	}
	for _, shelf := range shelves {
		names, err := h.logs.Stored(shelf, now.Add(-strayAfter))
		if err != nil {
			return err
		}
		for _, name := range names {
			if _, err := h.queue.Job(ctx, jobs.ID(name)); !fault.Is(err, fault.NotFound) {
				if err != nil {
					return err
				}
				continue
			}
			if err := h.logs.Remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}

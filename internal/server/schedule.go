package server

import (
	"context"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
)

// How often the repositories are gone through that have jobs with a schedule, how many are read at a
// time, and how many schedules are kept in mind.
const (
	rescan       = 5 * time.Minute
	scanPage     = 500
	maxSchedules = 200_000
)

// A plannedJob is a job of one repository that has a schedule.
type plannedJob struct {
	repo grasp.Addr
	name string
}

// A timetable is what schedules has in mind: when each job is to be looked at next, and which time of
// its schedule was worked on last.
type timetable struct {
	cron map[plannedJob]jobs.Cron
	at   map[plannedJob]time.Time
	last map[plannedJob]time.Time
}

func newTimetable() timetable {
	return timetable{cron: map[plannedJob]jobs.Cron{}, at: map[plannedJob]time.Time{}, last: map[plannedJob]time.Time{}}
}

// schedules queues jobs when their time comes, until ctx ends. Which times were worked on is in the
// queue, so that after a restart the latest that was missed is caught up with, once (jobs.md 3.4).
func (h *Jobs) schedules(ctx context.Context) {
	t := newTimetable()
	var scan time.Time
	for ctx.Err() == nil {
		if len(h.book.Load().Schedules()) == 0 && len(h.defs.Load().cfg.Trust) == 0 {
			t, scan = newTimetable(), time.Time{}
			select {
			case <-ctx.Done():
			case <-h.rescan:
			}
			continue
		}
		now := h.clock.Now()
		if !now.Before(scan) {
			if err := h.scan(ctx, &t, now); err != nil {
				h.log.Warn("cannot go through the repositories that have schedules", "err", err)
			}
			scan = now.Add(rescan)
		}
		wake := scan
		for p, at := range t.at {
			if !at.After(now) {
				at = h.due(ctx, &t, p, now)
			}
			if at.Before(wake) {
				wake = at
			}
		}
		c, stop := h.clock.At(wake)
		select {
		case <-ctx.Done():
		case <-c:
		case <-h.rescan:
			// Others may have schedules now, or other ones; what was worked on is in the queue.
			t, scan = newTimetable(), time.Time{}
		}
		stop()
	}
}

// scan brings t up to date with the repositories that are here.
func (h *Jobs) scan(ctx context.Context, t *timetable, now time.Time) error {
	book := h.book.Load()
	crons := book.Schedules()
	here := map[plannedJob]bool{}
	var after grasp.Addr
	for {
		page, err := h.repos(ctx, after, scanPage)
		if err != nil {
			return err
		}
		for _, repo := range page {
			for name, cron := range h.schedulesOf(ctx, book, crons, repo) {
				p := plannedJob{repo, name}
				if here[p] = true; !t.at[p].IsZero() && t.cron[p] == cron {
					continue
				}
				if len(t.at) >= maxSchedules {
					h.log.Warn("more schedules than are kept in mind", "repo", repo.String(), "job", name)
					return nil
				}
				last, err := h.queue.Scheduled(ctx, repo, name)
				if err == nil && last.IsZero() {
					last = now
					err = h.queue.SetScheduled(ctx, repo, name, now)
				}
				if err != nil {
					return err
				}
				t.last[p], t.cron[p] = last, cron
				_, at, _ := cron.Due(last, now, jobs.Jitter(repo, name))
				t.at[p] = at
			}
		}
		if len(page) < scanPage {
			break
		}
		after = page[len(page)-1]
	}
	for p := range t.at {
		if !here[p] {
			delete(t.at, p)
			delete(t.last, p)
			delete(t.cron, p)
		}
	}
	return nil
}

// schedulesOf returns the jobs of a repository that have a schedule: those of the configuration, and its own.
func (h *Jobs) schedulesOf(ctx context.Context, book *jobs.Book, crons map[string]jobs.Cron, repo grasp.Addr) map[string]jobs.Cron {
	out := map[string]jobs.Cron{}
	for name, cron := range crons {
		if book.Concerns(name, repo) {
			out[name] = cron
		}
	}
	o, err := h.own(ctx, repo, nil)
	if err != nil {
		h.log.Warn("what a repository defines for itself cannot be read", "repo", repo.String(), "err", err)
	}
	if theirs := o.heeded(); theirs != nil {
		for name, cron := range theirs.Schedules() {
			out[name] = cron
		}
	}
	return out
}

// due queues p if its time has come, and returns when it comes next.
func (h *Jobs) due(ctx context.Context, t *timetable, p plannedJob, now time.Time) time.Time {
	cron, ok := t.cron[p]
	if !ok {
		return now.Add(rescan) // it is defined no more, and schedules is told in a moment
	}
	jitter := jobs.Jitter(p.repo, p.name)
	due, at, come := cron.Due(t.last[p], now, jitter)
	if come {
		if err := h.runDue(ctx, p, due); err != nil {
			h.log.Warn("cannot queue a job whose time has come", "repo", p.repo.String(), "job", p.name, "err", err)
			t.at[p] = now.Add(time.Minute)
			return t.at[p]
		}
		t.last[p] = due
		_, at, _ = cron.Due(due, now, jitter)
	}
	if at.IsZero() {
		at = now.Add(rescan) // it never comes again
	}
	t.at[p] = at
	return at
}

// runDue queues p for one of its times. It works on what HEAD points to; where that is nothing, there is
// nothing to do.
func (h *Jobs) runDue(ctx context.Context, p plannedJob, due time.Time) error {
	ev, err := h.present(ctx, p.repo, "")
	if fault.Is(err, fault.NotFound) || fault.Is(err, fault.Refused) {
		return nil
	}
	if err != nil {
		return err
	}
	ev.Trigger, ev.Names, ev.Due = jobs.OnSchedule, []string{p.name}, due
	book, err := h.bookOf(ctx, p.repo, p.name)
	if err != nil {
		return err
	}
	list, _ := book.Plan(ev, h.ids)
	return h.queue.Enqueue(ctx, list)
}

package server

import (
	"context"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
	"github.com/gitroost/gitroost/internal/work/notify"
)

// after returns the jobs that follow from the end of j: those whose definition says on: {job: …}, and
// those that tell people of it. They are queued by the transaction that ends j.
func (h *Jobs) after(j jobs.Job) []jobs.Job {
	ev := jobs.Event{Trigger: jobs.OnJob, Repo: j.Repo, Push: j.Push, Cause: j.Cause, Actor: j.Actor, Now: h.clock.Now(), After: &j}
	if j.Ref != "" {
		ev.Changes = []grasp.RefChange{{Ref: j.Ref, Old: j.Old, New: j.New}}
	}
	list, dropped := h.book.Load().Plan(ev, h.ids)
	ctx, cancel := context.WithTimeout(context.Background(), factTime)
	defer cancel()
	if f := h.ownOf(ctx, j); f != nil && f.book != nil && f.source.File == j.Source.File {
		more, over := f.book.Plan(ev, h.ids)
		for i := range more {
			more[i].Source = j.Source
		}
		list, dropped = append(list, more...), dropped+over
	}
	notices := h.rulesOf(ctx, j)
	if dropped > 0 {
		h.log.Warn("more jobs than one happening makes", "repo", j.Repo.String(), "job", j.ID, "dropped", dropped)
	}
	var previous jobs.State
	if len(list) > 0 || notices.Compares() {
		previous = h.previous(j)
	}
	if err := work.Attach(list, j, previous); err != nil {
		h.log.Error("jobs that follow another cannot be told of it", "job", j.ID, "err", err)
		list = nil
	}
	list = append(list, notices.Follow(j, previous, h.ids)...)
	if h.published(j) {
		list = append(list, notify.Events(j, h.ids)...)
	}
	return list
}

// previous returns how the job before j ended, of the same name, repository and ref; "" if there was
// none. What never ran does not count.
func (h *Jobs) previous(j jobs.Job) jobs.State {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	state, err := notify.Previous(ctx, h.queue, j)
	if err != nil {
		h.log.Warn("cannot see how the job before ended", "job", j.ID, "err", err)
	}
	return state
}

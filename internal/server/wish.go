package server

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/joblog"
	"github.com/gitroost/gitroost/internal/jobs"
)

// A Wish is somebody's wish to have jobs run. Who may wish for what is decided before.
type Wish struct {
	Repo     grasp.Addr
	Jobs     []string      // names of definitions
	Ref      grasp.RefName // "" means what HEAD points to
	Actor    grasp.PubKey  // whose wish it is, "" for the command line
	Operator bool          // the operator's: also of definitions that do not say on: {manual: true}
	Force    bool          // also what succeeded already with the same input
}

// maxWishes is how many jobs one Wish names.
const maxWishes = 20

// Ask queues the jobs of a wish and returns them as they are then. Of a repository or a ref that is not
// here it is a fault.NotFound; a name that is none, or that may not be wished for, a fault.Invalid.
func (h *Jobs) Ask(ctx context.Context, w Wish) ([]jobs.Job, error) {
	const op = "jobs: ask"
	if len(w.Jobs) == 0 || len(w.Jobs) > maxWishes {
		return nil, fault.Errorf(fault.Invalid, op, "name 1 to %d jobs; there are %s", maxWishes, strings.Join(h.book.Load().Names(), ", "))
	}
	books := map[*jobs.Book][]string{}
	var order []*jobs.Book
	for _, name := range w.Jobs {
		book, err := h.bookOf(ctx, w.Repo, name)
		if err != nil {
			return nil, err
		}
		if books[book] == nil {
			order = append(order, book)
		}
		books[book] = append(books[book], name)
		d, _, ok := book.Definition(name)
		switch {
		case !ok:
			return nil, fault.Errorf(fault.Invalid, op, "there is no job %q; there are %s", name, strings.Join(book.Names(), ", "))
		case !d.On.Manual && !w.Operator:
			return nil, fault.Errorf(fault.Invalid, op, "job %s is not run on demand; its definition has to say on: {manual: true}", name)
		case !book.Concerns(name, w.Repo):
			return nil, fault.Errorf(fault.Invalid, op, "job %s is not for %s", name, jobs.RepoName(w.Repo))
		}
	}
	ev, err := h.present(ctx, w.Repo, w.Ref)
	if err != nil {
		return nil, err
	}
	ev.Trigger, ev.Actor, ev.Force, ev.Run = jobs.OnManual, w.Actor, w.Force, h.ids.Next()
	if w.Operator {
		ev.Approver = approverOf(w.Actor)
	}
	var list []jobs.Job
	for _, book := range order {
		ev.Names = books[book]
		made, _ := book.Plan(ev, h.ids)
		list = append(list, made...)
	}
	return h.enqueue(ctx, list)
}

// approverOf is how it is kept that the operator approves of a job, by asking for it.
func approverOf(actor grasp.PubKey) string {
	if actor == "" {
		return "the operator"
	}
	return actor.Npub()
}

// present is an event about a ref as it is now, or about what HEAD points to.
func (h *Jobs) present(ctx context.Context, repo grasp.Addr, ref grasp.RefName) (jobs.Event, error) {
	const op = "jobs: look"
	hosting, err := h.find(ctx, repo)
	if err != nil {
		return jobs.Event{}, err
	}
	if hosting != grasp.Live && hosting != grasp.Withdrawn {
		return jobs.Event{}, fault.Errorf(fault.NotFound, op, "%s does not live here", jobs.RepoName(repo))
	}
	snap, err := h.vault.Refs(ctx, repo)
	if err != nil {
		return jobs.Event{}, err
	}
	if ref == "" {
		ref = snap.Head
	}
	oid, ok := snap.Refs.Tip(ref)
	if !ok {
		return jobs.Event{}, fault.Errorf(fault.NotFound, op, "%s has no %s", jobs.RepoName(repo), ref)
	}
	return jobs.Event{Repo: repo, Head: snap.Head, Now: h.clock.Now(), Changes: []grasp.RefChange{{Ref: ref, New: oid}}}, nil
}

// enqueue adds jobs, and returns them as they are then.
func (h *Jobs) enqueue(ctx context.Context, list []jobs.Job) ([]jobs.Job, error) {
	if err := h.queue.Enqueue(ctx, list); err != nil {
		return nil, err
	}
	for i := range list {
		is, err := h.queue.Job(ctx, list[i].ID)
		if err != nil && !fault.Is(err, fault.NotFound) { // one of many that were skipped
			return nil, err
		}
		if err == nil {
			list[i] = is
		}
	}
	return list, nil
}

// Retry queues a job that has ended once more, under an id of its own, and returns it. What it does is
// what its definition says now; without its definition only what tells others is done again, as it was.
// One that has not ended is a fault.Stale, one that is not here a fault.NotFound.
func (h *Jobs) Retry(ctx context.Context, id jobs.ID, actor grasp.PubKey) (jobs.Job, error) {
	return h.again(ctx, id, h.ids.Next(), actor)
}

// again is Retry with the id that the new job gets. If there is one with that id it is returned as it is.
func (h *Jobs) again(ctx context.Context, id, as jobs.ID, actor grasp.PubKey) (jobs.Job, error) {
	const op = "jobs: retry"
	old, err := h.queue.Job(ctx, id)
	if err != nil {
		return jobs.Job{}, err
	}
	if !old.State.Ended() {
		return jobs.Job{}, fault.Errorf(fault.Stale, op, "job %s is %s; only what has ended can be run again", old.Name, old.State)
	}
	j := old
	j.ID, j.Run = as, h.ids.Next()
	j.Trigger, j.Actor, j.Needs, j.Force, j.Created, j.Due = jobs.OnManual, actor, nil, true, h.clock.Now(), old.Due
	book, err := h.bookOf(ctx, old.Repo, old.Name)
	if err != nil {
		return jobs.Job{}, err
	}
	d, hash, ok := book.Definition(old.Name)
	ok = ok && d.Source.IsZero() == old.Source.IsZero() // one of this name, defined by somebody else, is another job
	switch {
	case ok && d.Kind == old.Kind && (hash == old.Definition || old.Pool == jobs.TellPool):
	case ok && book.Concerns(old.Name, old.Repo):
		ev := jobs.Event{Repo: old.Repo, Trigger: jobs.OnManual, Actor: actor, Names: []string{old.Name}, Force: true, Now: j.Created}
		if old.Ref != "" {
			ev.Changes = []grasp.RefChange{{Ref: old.Ref, Old: old.Old, New: old.New}}
		}
		list, _ := book.Plan(ev, h.ids)
		if len(list) == 0 {
			return jobs.Job{}, fault.Errorf(fault.Invalid, op, "job %s is not for this any more", old.Name)
		}
		class := j.Class
		if j = list[0]; class == jobs.Untrusted {
			j.Class = class // what it works on is no better for being looked at again
			// Nobody has approved of what is defined now.
			j.Approval.Needed = j.Approval.Needed || old.Approval.Needed || d.On.Pull != nil && d.On.Pull.Approve
		}
		j.ID = as
	case !ok && old.Pool == jobs.TellPool:
	default:
		return jobs.Job{}, fault.Errorf(fault.Invalid, op, "no job is called %s any more, or it is not for %s", old.Name, jobs.RepoName(old.Repo))
	}
	list, err := h.enqueue(ctx, []jobs.Job{j.Fresh()})
	if err != nil {
		return jobs.Job{}, err
	}
	return list[0], nil
}

// Cancel ends a job that has not begun, and asks one that runs to end. It returns it as it is then.
func (h *Jobs) Cancel(ctx context.Context, id jobs.ID, reason string) (jobs.Job, error) {
	return h.queue.Cancel(ctx, id, reason, h.clock.Now())
}

// Explain says of every definition whether a push of this ref, as it is now, would make a job of it, and
// if not, why (S0-38). trigger "" means jobs.OnPush.
func (h *Jobs) Explain(ctx context.Context, repo grasp.Addr, ref grasp.RefName, trigger jobs.Trigger) ([]jobs.Match, error) {
	ev, err := h.present(ctx, repo, ref)
	if err != nil {
		return nil, err
	}
	if ev.Trigger = trigger; trigger == "" {
		ev.Trigger = jobs.OnPush
		if ref.IsNostr() {
			ev.Trigger = jobs.OnPull
		}
	}
	if !slices.Contains(jobs.Triggers, ev.Trigger) {
		return nil, fault.Errorf(fault.Invalid, "jobs: explain", "there is no trigger %.40q", string(trigger))
	}
	book := h.book.Load()
	if ev.Trigger == jobs.OnManual || ev.Trigger == jobs.OnSchedule {
		ev.Names = book.Names()
	}
	out := h.explain(ctx, book, ev)
	if ev.Trigger == jobs.OnPull {
		return out, nil
	}
	o, err := h.own(ctx, repo, nil)
	if theirs := o.heeded(); err == nil && theirs != nil {
		if ev.Names != nil {
			ev.Names = theirs.Names()
		}
		out = append(out, h.explain(ctx, theirs, ev)...)
	}
	return out, err
}

func (h *Jobs) explain(ctx context.Context, book *jobs.Book, ev jobs.Event) []jobs.Match {
	paths, messages := book.Asks(ev)
	ev.Facts = h.facts(ctx, ev, paths, messages)
	return book.Explain(ev)
}

// Names returns the names of all definitions.
func (h *Jobs) Names() []string { return h.book.Load().Names() }

// Shelf is where jobs are looked up.
func (h *Jobs) Shelf() jobs.Shelf { return h.queue }

// Logs are what jobs said.
func (h *Jobs) Logs() *joblog.Logs { return h.logs }

// Private reports whether the page and the log of a job are for maintainers and the operator alone. What
// is not defined any more is.
func (h *Jobs) Private(j jobs.Job) bool {
	private, known := h.defs.Load().private[j.Name]
	if !j.Source.IsZero() {
		ctx, cancel := context.WithTimeout(context.Background(), factTime)
		defer cancel()
		private, known = false, j.Kind == fileKind
		if f := h.ownOf(ctx, j); f != nil && j.Kind != fileKind {
			private, known = f.private[j.Name]
		}
	}
	// What is told whom, and what they answer, is between them and the operator.
	return private || !known || j.Pool == jobs.TellPool
}

// URL is where people see a job.
func (h *Jobs) URL(id jobs.ID) string { return fmt.Sprintf("%s/jobs/%s", h.public, id) }

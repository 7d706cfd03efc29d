package jobview

import (
	"context"
	"strings"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
)

// ParseRepo reads "npub1…/identifier", with .git at the end or not.
func ParseRepo(s string) (grasp.Addr, bool) {
	var a grasp.Addr
	if rest, ok := strings.CutPrefix(s, "prs/"); ok {
		a.Box, s = true, rest
	}
	npub, id, ok := strings.Cut(s, "/")
	if !ok || id == "" {
		return a, false
	}
	owner, err := grasp.ParseNpub(npub)
	if err != nil {
		return a, false
	}
	a.Owner, a.ID = owner, strings.TrimSuffix(id, ".git")
	return a, a.ID != ""
}

// Retry runs a job again that has ended, as it was: the same definition, ref and commit, whatever has become of
// them. It returns the new job. by is who asked, or "" for the operator at the command line.
func (b *Board) Retry(ctx context.Context, id jobs.ID, by grasp.PubKey) (View, error) {
	return b.again(ctx, id, b.cfg.IDs.Next(), by)
}

func (b *Board) again(ctx context.Context, id, as jobs.ID, by grasp.PubKey) (View, error) {
	const op = "jobview: retry"
	old, err := b.cfg.Queue.Job(ctx, id)
	if err != nil {
		return View{}, fault.Wrap(op, err)
	}
	if !old.State.Ended() {
		return View{}, fault.Errorf(fault.Stale, op, "job %s is %s: only one that has ended is run again; cancel it first", id, old.State)
	}
	if b.cfg.Known != nil && !b.cfg.Known(old.Name) {
		return View{}, fault.Errorf(fault.Gone, op, "there is no definition of a job %q any more, so it is not run again", old.Name)
	}
	j := jobs.Job{
		ID: as, Run: as, Repo: old.Repo, Name: old.Name, Kind: old.Kind, Class: old.Class, Pool: old.Pool,
		// What a job may do depends on its trigger: what ran for a stranger's pull request runs as that again.
		Trigger: old.Trigger, Ref: old.Ref, Old: old.Old, New: old.New, Push: old.Push, Cause: old.Cause, Actor: by, Depth: old.Depth,
		Definition: old.Definition, Input: old.Input, Group: old.Group, Policy: old.Policy, Force: true,
		Retry: old.Retry, Timeout: old.Timeout, Spec: old.Spec,
		Created: b.cfg.Clock.Now(), RunAfter: b.cfg.Clock.Now(),
	}
	if j.Trigger == jobs.OnSchedule {
		j.Trigger = jobs.OnManual // its time was worked on
	}
	if by == "" {
		j.Actor = old.Actor
	}
	if err := b.cfg.Queue.Enqueue(ctx, []jobs.Job{j}); err != nil {
		return View{}, fault.Wrap(op, err)
	}
	b.Note()
	b.cfg.Log.Info("a job is run again", "job", as, "of", id, "repo", j.Repo.String(), "name", j.Name, "push", j.Push, "by", caller(by))
	return b.Show(ctx, as)
}

// Cancel ends a job that has not begun, and asks one to end that runs; one that has ended stays as it is.
func (b *Board) Cancel(ctx context.Context, id jobs.ID, by grasp.PubKey) (View, error) {
	j, err := b.cfg.Queue.Cancel(ctx, id, "cancelled by "+caller(by), b.cfg.Clock.Now())
	if err != nil {
		return View{}, fault.Wrap("jobview: cancel", err)
	}
	b.Note()
	b.cfg.Log.Info("a job is cancelled", "job", id, "repo", j.Repo.String(), "name", j.Name, "push", j.Push, "state", string(j.State), "by", caller(by))
	return b.view(ctx, j)
}

func caller(by grasp.PubKey) string {
	if by == "" {
		return "the operator"
	}
	return by.Npub()
}

// An Order asks for jobs, or why there are none.
type Order struct {
	Repo    string        `json:"repo" doc:"npub/identifier"`
	Names   []string      `json:"names" doc:"the definitions to run; to explain, none means all"`
	Ref     grasp.RefName `json:"ref,omitempty" doc:"a branch or tag, or the whole name of a ref; missing: the branch that HEAD names"`
	Trigger jobs.Trigger  `json:"trigger,omitempty" doc:"to explain: as if this had happened; missing: push"`
	Force   bool          `json:"force,omitempty" doc:"to run: also what succeeded with the same commit"`
}

// event looks up what an order is about.
func (b *Board) event(ctx context.Context, o Order, by grasp.PubKey, trigger jobs.Trigger) (jobs.Event, error) {
	const op = "jobview: order"
	repo, ok := ParseRepo(o.Repo)
	if !ok {
		return jobs.Event{}, fault.Errorf(fault.Invalid, op, "%.100q is no repository: name it as npub1…/identifier", o.Repo)
	}
	ev := jobs.Event{Trigger: trigger, Repo: repo, Names: o.Names, Actor: by, Now: b.cfg.Clock.Now(), Force: o.Force}
	snap, err := b.cfg.Refs(ctx, repo)
	if err != nil {
		return ev, fault.Wrap(op, err)
	}
	ev.Head = snap.Head
	ref := o.Ref
	if ref == "" {
		ref = snap.Head
	}
	for _, full := range []grasp.RefName{ref, "refs/heads/" + ref, "refs/tags/" + ref} {
		if tip, ok := snap.Refs.Tip(full); ok {
			ev.Changes = []grasp.RefChange{{Ref: full, New: tip}}
			return ev, nil
		}
	}
	return ev, fault.Errorf(fault.NotFound, op, "%s has no ref %.200q; git ls-remote lists those that it has", o.Repo, string(ref))
}

// Run runs jobs that somebody asks for by name, and returns them. Who is no operator may ask for those whose definition
// says so: what is asked for runs on any ref.
func (b *Board) Run(ctx context.Context, o Order, by grasp.PubKey, operator bool) ([]View, error) {
	const op = "jobview: run"
	if len(o.Names) == 0 {
		return nil, fault.E(fault.Invalid, op, "name the jobs to run")
	}
	for _, name := range o.Names {
		if b.cfg.Known != nil && !b.cfg.Known(name) {
			return nil, fault.Errorf(fault.NotFound, op, "there is no job %.70q in the configuration", name)
		}
		if !operator && (b.cfg.Manual == nil || !b.cfg.Manual(name)) {
			return nil, fault.Errorf(fault.Refused, op, "job %s is not for maintainers to ask for; the operator can let them by on: {manual: true}", name)
		}
	}
	ev, err := b.event(ctx, o, by, jobs.OnManual)
	if err != nil {
		return nil, err
	}
	list := b.cfg.Plan(ctx, ev)
	if len(list) == 0 {
		why := "no job matches"
		for _, m := range b.cfg.Explain(ctx, ev) {
			for _, name := range o.Names {
				if m.Job == name && !m.OK {
					why = "job " + m.Job + " does not run: " + m.Text
				}
			}
		}
		return nil, fault.E(fault.Invalid, op, why)
	}
	if err := b.cfg.Queue.Enqueue(ctx, list); err != nil {
		return nil, fault.Wrap(op, err)
	}
	b.Note()
	out := make([]View, 0, len(list))
	for _, j := range list {
		b.cfg.Log.Info("a job is asked for", "job", j.ID, "repo", j.Repo.String(), "name", j.Name, "ref", string(j.Ref), "by", caller(by))
		v, err := b.Show(ctx, j.ID)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// A Finding says whether a definition makes a job, and why if not (S0-38).
type Finding struct {
	Job       string        `json:"job"`
	Ref       grasp.RefName `json:"ref"`
	Runs      bool          `json:"runs"`
	Condition string        `json:"condition,omitempty"` // the first that is not met
	Text      string        `json:"text,omitempty"`
}

// Why says what each definition makes of a ref as it is now, as if a push, or what the order names, had moved it.
func (b *Board) Why(ctx context.Context, o Order) ([]Finding, error) {
	trigger := o.Trigger
	if trigger == "" {
		trigger = jobs.OnPush
	}
	ev, err := b.event(ctx, o, "", trigger)
	if err != nil {
		return nil, err
	}
	out := []Finding{}
	for _, m := range b.cfg.Explain(ctx, ev) {
		f := Finding{Job: m.Job, Ref: m.Ref, Runs: m.OK, Condition: m.Condition, Text: m.Text}
		if len(o.Names) == 0 {
			out = append(out, f)
		}
		for _, name := range o.Names {
			if name == m.Job {
				out = append(out, f)
			}
		}
	}
	return out, nil
}

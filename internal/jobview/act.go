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

// Retry runs a job again that has ended, and returns the new one. by is who asked, or "" for the operator at the command
// line.
func (b *Board) Retry(ctx context.Context, id jobs.ID, by grasp.PubKey) (View, error) {
	return b.again(ctx, id, "", by)
}

func (b *Board) again(ctx context.Context, id, as jobs.ID, by grasp.PubKey) (View, error) {
	j, err := b.cfg.Again(ctx, id, as, by)
	if err != nil {
		return View{}, fault.Wrap("jobview: retry", err)
	}
	b.Note()
	b.cfg.Log.Info("a job is run again", "job", j.ID, "of", id, "repo", j.Repo.String(), "name", j.Name, "push", j.Push, "by", caller(by))
	return b.view(ctx, j)
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

// Approve lets a job begin that waits for approval. What a repository defines for itself the operator alone approves of,
// of what is proposed to a repository its maintainers do as well: anybody else is a fault.Refused. A job that does not
// wait for approval is a fault.Stale.
func (b *Board) Approve(ctx context.Context, id jobs.ID, by grasp.PubKey, operator bool) (View, error) {
	const op = "jobview: approve"
	j, err := b.cfg.Queue.Job(ctx, id)
	if err != nil {
		return View{}, fault.Wrap(op, err)
	}
	if !operator && j.Class != jobs.Untrusted {
		return View{}, fault.Errorf(fault.Refused, op, "job %s is defined by its repository: the operator of this server alone approves of it", j.Name)
	}
	if j, err = b.cfg.Queue.Approve(ctx, id, jobs.Approval{By: caller(by), At: b.cfg.Clock.Now()}); err != nil {
		return View{}, fault.Wrap(op, err)
	}
	b.Note()
	b.cfg.Log.Info("a job is approved of", "job", id, "repo", j.Repo.String(), "name", j.Name, "push", j.Push, "state", string(j.State), "by", caller(by))
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

// refs returns the whole names that a word can be.
func (o *Order) refs() []grasp.RefName {
	if o.Ref == "" || strings.HasPrefix(string(o.Ref), "refs/") {
		return []grasp.RefName{o.Ref}
	}
	return []grasp.RefName{"refs/heads/" + o.Ref, "refs/tags/" + o.Ref}
}

// repo reads which repository an order is about.
func (o *Order) repo() (grasp.Addr, error) {
	repo, ok := ParseRepo(o.Repo)
	if !ok {
		return repo, fault.Errorf(fault.Invalid, "jobview: order", "%.100q is no repository: name it as npub1…/identifier", o.Repo)
	}
	return repo, nil
}

// Run runs jobs that somebody asks for by name, and returns them. Who is no operator may ask for those whose definition
// says so: what is asked for runs on any ref.
func (b *Board) Run(ctx context.Context, o Order, by grasp.PubKey, operator bool) ([]View, error) {
	const op = "jobview: run"
	repo, err := o.repo()
	if err != nil {
		return nil, err
	}
	var list []jobs.Job
	for _, ref := range o.refs() {
		o.Ref = ref
		if list, err = b.cfg.Ask(ctx, repo, o, by, operator); !fault.Is(err, fault.NotFound) {
			break
		}
	}
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	if len(list) == 0 {
		return nil, fault.E(fault.Invalid, op, "no job matches; gitroost jobs explain says why")
	}
	b.Note()
	out := make([]View, 0, len(list))
	for _, j := range list {
		b.cfg.Log.Info("a job is asked for", "job", j.ID, "repo", j.Repo.String(), "name", j.Name, "ref", string(j.Ref), "by", caller(by))
		v, err := b.view(ctx, j)
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
	repo, err := o.repo()
	if err != nil {
		return nil, err
	}
	var list []jobs.Match
	for _, ref := range o.refs() {
		if list, err = b.cfg.Explain(ctx, repo, ref, o.Trigger); !fault.Is(err, fault.NotFound) {
			break
		}
	}
	if err != nil {
		return nil, fault.Wrap("jobview: why", err)
	}
	out := []Finding{}
	for _, m := range list {
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

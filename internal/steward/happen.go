package steward

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/jobs"
)

type becauseKey struct{}

// Because says, to Receive, Settle and Deliver, why refs move: jobs hear of it as this trigger. Without
// it moves are the push's or the state event's that asked for them. Whoever brings what a peer has
// says jobs.OnSync.
func Because(ctx context.Context, t jobs.Trigger) context.Context {
	return context.WithValue(ctx, becauseKey{}, t)
}

// happenings returns what conclude has seen happen, in the words of jobs: for each repository what a
// push moved, what else moved, and the pull requests whose event and commit are both here now. PR refs
// are in the last alone: anybody may push them, so they never count as a push (jobs.md 3.2).
func (s *Steward) happenings(ctx context.Context, k *known, sc scene, plan grasp.Plan, c *Change, after map[grasp.Addr]*grasp.Snapshot, push *Push) ([]jobs.Event, error) {
	if s.cfg.Jobs == nil {
		return nil, nil
	}
	var out []jobs.Event
	now := s.cfg.Now()
	moves := map[grasp.Addr]Moved{}
	for _, m := range c.Moves {
		moves[m.Repo] = m
	}
	because, _ := ctx.Value(becauseKey{}).(jobs.Trigger)
	for repo, snap := range after {
		planned := grasp.RepoPlan{}
		for _, rp := range plan.Repos {
			if rp.Repo == repo {
				planned = rp
			}
		}
		ev := jobs.Event{Repo: repo, Head: snap.Head, Now: now, Maintainers: func() grasp.KeySet { return k.view.Maintainers(repo.Owner) }}
		was := sc.at[repo]
		byPush, byState := ev, ev
		byPush.Trigger, byState.Trigger = jobs.OnPush, cmp.Or(because, jobs.OnState)
		if because != "" {
			byPush.Trigger = because
		}
		byState.Cause = planned.Cause
		byState.NewHead = was != nil && was.Head != snap.Head && !allNew(snap, moves[repo].Changes)
		if push != nil && push.repo == repo {
			byPush.Push, byPush.Options, byPush.Cause = push.id, push.options, push.grant.State.ID
			byPush.Actor = push.grant.State.Author
		}
		byState.Actor = s.stateAuthor(k, planned.Cause)
		for _, ch := range moves[repo].Changes {
			switch {
			case ch.Ref.IsNostr():
			case slices.ContainsFunc(planned.Edits, func(e grasp.RefChange) bool { return e.Ref == ch.Ref && e.New == ch.New }):
				byState.Changes = append(byState.Changes, ch)
			default:
				// What no plan asked for was pushed: now, or by a process that died before it could say so.
				byPush.Changes = append(byPush.Changes, ch)
			}
		}
		if len(byPush.Changes) > 0 {
			out = append(out, byPush)
		}
		if len(byState.Changes) > 0 {
			out = append(out, byState)
		}
		if byState.NewHead && !slices.ContainsFunc(byState.Changes, func(ch grasp.RefChange) bool { return ch.Ref == snap.Head }) {
			byState.Changes = nil // HEAD alone, beside whatever else moved
			out = append(out, byState)
		}
		pulls, err := s.pullsHere(ctx, k, repo, snap, moves[repo].Changes, c.Release)
		if err != nil {
			return nil, err
		}
		for _, p := range pulls {
			one := ev
			one.Trigger, one.Cause = jobs.OnPull, p.ID
			if p.Event != nil {
				one.Actor = grasp.PubKey(p.Event.PubKey)
			}
			if push != nil && push.repo == repo {
				one.Push, one.Options = push.id, push.options
			}
			one.Changes = []grasp.RefChange{{Ref: grasp.PullRef(p.ID), Old: grasp.ZeroOID, New: p.Tip}}
			for _, ch := range moves[repo].Changes {
				if ch.Ref == grasp.PullRef(p.ID) {
					one.Changes[0] = ch
				}
			}
			out = append(out, one)
		}
	}
	slices.SortStableFunc(out, func(a, b jobs.Event) int {
		return cmp.Or(strings.Compare(a.Repo.String(), b.Repo.String()), strings.Compare(string(a.Trigger), string(b.Trigger)), strings.Compare(string(a.Cause), string(b.Cause)))
	})
	return out, nil
}

// ask puts into c the jobs that what happened asks for, so that they are queued by the very
// transaction that records it, and returns what whoever pushed is told of jobs that there are none of.
func (s *Steward) ask(ctx context.Context, k *known, sc scene, plan grasp.Plan, c *Change, after map[grasp.Addr]*grasp.Snapshot, push *Push) (remarks []string, err error) {
	list, err := s.happenings(ctx, k, sc, plan, c, after, push)
	if err != nil {
		return nil, err
	}
	for _, ev := range list {
		made, said := s.cfg.Jobs(ctx, ev)
		c.Jobs = append(c.Jobs, made...)
		if push != nil && ev.Push == push.id {
			remarks = append(remarks, said...)
		}
	}
	return remarks, nil
}

// allNew reports whether there was nothing before changes: then HEAD has not moved, it was found.
func allNew(is *grasp.Snapshot, changes []grasp.RefChange) bool {
	n := 0
	for _, ch := range changes {
		if ch.Old.IsZero() {
			n++
		}
	}
	return n == is.Refs.Len()
}

// stateAuthor returns who signed a state of k, or "".
func (s *Steward) stateAuthor(k *known, id grasp.EventID) grasp.PubKey {
	if e, ok := k.entries[id]; ok && id != "" {
		return grasp.PubKey(e.Event.PubKey)
	}
	return ""
}

// pullsHere returns the pull requests whose commit and event meet in this settlement: either the ref
// moved, or the event is released.
func (s *Steward) pullsHere(ctx context.Context, k *known, repo grasp.Addr, snap *grasp.Snapshot, changes []grasp.RefChange, release []grasp.EventID) ([]grasp.Pull, error) {
	ids := slices.Clone(release)
	for _, ch := range changes {
		if id, ok := ch.Ref.Pull(); ok && !ch.New.IsZero() && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	var out []grasp.Pull
	for _, id := range ids {
		tip, there := snap.Refs.Tip(grasp.PullRef(id))
		if !there {
			continue
		}
		p, ok, err := s.acceptedPull(ctx, k, repo, id, tip)
		if err != nil {
			return nil, err
		}
		if ok {
			p.ID = id
			out = append(out, p)
		}
	}
	return out, nil
}

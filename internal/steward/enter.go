package steward

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
)

// A Push is a push that was granted. Deliver carries it out; Close must always be called.
type Push struct {
	s       *Steward
	id      string
	repo    grasp.Addr
	updates []grasp.RefChange // as asked for
	grant   grasp.Grant
	free    bool // the pack needs no room
	release func()
	notes   []string
	options []string   // push options, for those who say which jobs there are
	jobs    []jobs.Job // what it made, once it is delivered
	remarks []string   // what else there is to say of jobs
}

// Enter decides on a push before a byte of its pack is read. A *grasp.Refusal says no.
func (s *Steward) Enter(ctx context.Context, repo grasp.Addr, updates []grasp.RefChange) (*Push, error) {
	if repo.Box && !s.cfg.Boxes {
		return nil, fault.E(fault.NotFound, "steward: enter", "contributors' boxes are closed here")
	}
	k, err := s.peek(ctx, repo.ID)
	if err != nil {
		return nil, err
	}
	grant, err := s.check(ctx, k, repo, updates)
	if err != nil {
		return nil, err
	}
	free, err := s.enterable(ctx, repo, grant)
	if err != nil {
		return nil, err
	}
	return &Push{
		s: s, id: newPushID(), repo: repo, updates: updates, grant: grant, free: free,
		release: s.hold(append(grant.Relies(), k.waitingChain(repo.Owner)...)),
	}, nil
}

// check asks the rules about a push, from what is known now.
func (s *Steward) check(ctx context.Context, k *known, repo grasp.Addr, updates []grasp.RefChange) (grasp.Grant, error) {
	if err := s.closed(repo); err != nil {
		return grasp.Grant{}, err
	}
	view := k.view
	var pulls []grasp.EventID
	for _, u := range updates {
		if id, ok := u.Ref.Pull(); ok {
			pulls = append(pulls, id)
		}
	}
	if len(pulls) > s.cfg.MaxPullRefs {
		return grasp.Grant{}, fault.Errorf(fault.TooLarge, "steward: enter", "limit: at most %d PR refs in one push", s.cfg.MaxPullRefs)
	}
	if len(pulls) > 0 {
		view.Pulls = maps.Clone(view.Pulls)
		view.Foreign = make(map[grasp.EventID]struct{})
		for _, id := range pulls {
			if err := s.identify(ctx, &view, id); err != nil {
				return grasp.Grant{}, err
			}
			if err := s.unwanted(id, view.Pulls[id].Event); err != nil {
				return grasp.Grant{}, err
			}
		}
	}
	snap, err := s.refs(ctx, repo)
	if err != nil {
		return grasp.Grant{}, fault.Wrap("steward: enter", err)
	}
	grant, err := view.CheckPush(repo, snap.Refs, updates)
	if err != nil {
		return grant, err
	}
	return grant, s.roomForOrphans(ctx, k, view, repo, snap, grant)
}

// identify adds to view what is known of an event that a push names.
func (s *Steward) identify(ctx context.Context, view *grasp.View, id grasp.EventID) error {
	if _, ok := view.Pulls[id]; ok {
		return nil
	}
	e, err := s.ledger.Event(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return fault.Wrap("steward: enter", err)
	}
	if e.Event.Kind == grasp.KindPull || e.Event.Kind == grasp.KindPullUpdate {
		if p, err := s.pull(ctx, e.Event); err == nil {
			p.Shelf = e.Shelf
			view.Pulls[id] = p
			return nil
		}
	}
	view.Foreign[id] = struct{}{}
	return nil
}

// roomForOrphans bounds the PR refs that wait for their event in one repository (H-254).
func (s *Steward) roomForOrphans(ctx context.Context, k *known, view grasp.View, repo grasp.Addr, snap *grasp.Snapshot, g grasp.Grant) error {
	fresh := 0
	for _, id := range g.Pulls {
		_, accepted := view.Pulls[id]
		_, there := snap.Refs.Tip(grasp.PullRef(id))
		if !accepted && !there {
			fresh++
		}
	}
	if fresh == 0 {
		return nil
	}
	list, err := s.placeholders(ctx, k, repo)
	if err != nil {
		return err
	}
	fresh += len(list)
	if fresh > s.cfg.MaxOrphanRefs {
		return fault.Errorf(fault.TooLarge, "steward: enter", "%d PR refs of this repository wait for their event already; publish it, or try again in 20 minutes", s.cfg.MaxOrphanRefs)
	}
	return nil
}

// ID is the short name of the push, for people and logs.
func (p *Push) ID() string { return p.id }

// Noop reports that every update is true already, so that no pack is needed (H-249).
func (p *Push) Noop() bool { return len(p.grant.Updates) == 0 }

// Notes are lines for the person who pushed, after Deliver.
func (p *Push) Notes() []string { return p.notes }

// Close ends the push. What it relied on may be let go again.
func (p *Push) Close() { p.release() }

// Deliver reads the pack, moves the refs and settles. pack is nil if none was sent. When it
// returns without an error, the push and all that follows from it is durable and visible
// (G01-601, H-248). ctx may end it only until the refs begin to move.
func (p *Push) Deliver(ctx context.Context, pack io.Reader, progress func(line string)) error {
	s := p.s
	if p.Noop() {
		return p.renew(ctx)
	}
	arrived := s.land(p.repo)
	defer arrived()
	marked := make(chan error, 1)
	go func() { // beside the pack: after a crash, this identifier is settled first
		_, err := s.ledger.Commit(context.WithoutCancel(ctx), Change{Unsettled: p.repo.ID})
		marked <- err
	}()
	q, err := p.ingest(ctx, pack, progress)
	if merr := <-marked; err == nil && merr != nil {
		err = fault.Wrap("steward: deliver", merr)
	}
	if q != nil {
		defer q.Discard()
	}
	if err != nil {
		s.dirty(p.repo.ID) // nothing came of it, but the mark
		return err
	}

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Minute)
	defer cancel()
	unlock, err := s.locks.Lock(ctx, p.repo.ID)
	if err != nil {
		return fault.Wrap("steward: deliver", err)
	}
	n, err := p.landLocked(ctx, q, arrived)
	unlock()
	if err != nil {
		s.dirty(p.repo.ID) // refs may have moved all the same
		return err
	}
	s.revive(ctx, n)
	return nil
}

// ingest brings the pack into quarantine and checks that it is complete. No lock is held: a slow
// pusher blocks nobody.
func (p *Push) ingest(ctx context.Context, pack io.Reader, progress func(string)) (Quarantine, error) {
	creates := false
	for _, u := range p.grant.Updates {
		creates = creates || !u.New.IsZero()
	}
	if !creates {
		return nil, nil // deletions only: whatever was sent is not looked at
	}
	if pack == nil {
		return nil, fault.E(fault.Invalid, "steward: deliver", "the push creates refs but carries no pack")
	}
	opt := IngestOptions{MaxBytes: p.s.cfg.MaxPack, MaxObjects: p.s.cfg.MaxObjects, Progress: progress}
	if p.grant.State.ID == "" {
		opt.MaxBytes = p.s.cfg.MaxPullPack
	}
	var meter *metered
	if !p.free {
		var err error
		if meter, err = p.meter(ctx, pack); err != nil {
			return nil, err
		}
		if meter != nil {
			pack = meter
		}
	}
	q, err := p.s.vault.Ingest(ctx, p.repo, pack, opt)
	if err != nil && meter != nil && meter.err != nil {
		err = meter.err
	}
	if err != nil {
		return nil, fault.Wrap("steward: ingest", err)
	}
	if err := q.Check(ctx, p.grant.Updates); err != nil {
		return q, fault.Wrap("steward: check", err)
	}
	return q, nil
}

// landLocked decides once more, under the lock: what authorised the push may have changed while
// its bytes flowed. Then it moves the refs and settles.
func (p *Push) landLocked(ctx context.Context, q Quarantine, arrived func()) (news, error) {
	s := p.s
	k, err := s.load(ctx, p.repo.ID)
	if err != nil {
		return news{}, err
	}
	if err := s.closed(p.repo); err != nil {
		return news{}, err
	}
	if h := k.view.Hosted[p.repo.Owner]; !p.repo.Box && h != grasp.Live && h != grasp.Withdrawn {
		return news{}, fault.E(fault.Gone, "steward: deliver", "the repository was deleted while you pushed")
	}
	grant, err := s.check(ctx, k, p.repo, p.updates)
	if err != nil {
		return news{}, err
	}
	if len(grant.Updates) > 0 {
		p.grant = grant // else somebody else was faster with the same
	}
	var size int64
	if q != nil {
		size = q.Size()
	}
	more, err := s.growth(ctx, p.repo, p.grant, size)
	if err != nil {
		return news{}, err
	}
	recorded, err := s.afford(ctx, p.repo, more, aPush)
	if err != nil {
		return news{}, err
	}
	defer recorded() // settled or not, what is on disk is for the next settlement to find
	if err := p.renewLocked(ctx, k, grant); err != nil {
		return news{}, err
	}
	if q != nil {
		if err := q.Admit(ctx); err != nil {
			return news{}, fault.Wrap("steward: admit", err)
		}
	}
	if len(grant.Updates) > 0 {
		if err := s.vault.Apply(ctx, p.repo, grant.Updates, ""); err != nil {
			return news{}, fault.Wrap("steward: move refs", err)
		}
	}
	arrived()
	n, err := s.settle(ctx, p.repo.ID, nil, p)
	if err != nil {
		return n, err
	}
	p.notes = append(p.notes, p.note(ctx, grant))
	return n, nil
}

// renew starts the clock of PR refs anew that are pushed again as they are (G01-707).
func (p *Push) renew(ctx context.Context) error {
	k, err := p.s.peek(ctx, p.repo.ID)
	if err != nil {
		return err
	}
	if rows, err := p.orphans(ctx, k, p.grant); err != nil || len(rows) == 0 {
		return err
	}
	unlock, err := p.s.locks.Lock(ctx, p.repo.ID)
	if err != nil {
		return fault.Wrap("steward: deliver", err)
	}
	defer unlock()
	if k, err = p.s.load(ctx, p.repo.ID); err != nil {
		return err
	}
	return p.renewLocked(ctx, k, p.grant)
}

// renewLocked is renew for a caller that holds the lock. It comes before the refs move: a
// settlement that finds an old deadline would remove what was just pushed. What is pushed to a box is
// written down here before there is anything on disk to account for.
func (p *Push) renewLocked(ctx context.Context, k *known, g grasp.Grant) error {
	rows, err := p.orphans(ctx, k, g)
	if err != nil || len(rows) == 0 {
		return err
	}
	if _, err := p.s.commit(ctx, p.repo.ID, Change{Orphans: rows}); err != nil {
		return fault.Wrap("steward: deliver", err)
	}
	return nil
}

// orphans returns the PR refs of this push whose clock is running, and of a push to a box all that it
// moves, with a fresh deadline.
func (p *Push) orphans(ctx context.Context, k *known, g grasp.Grant) ([]Orphan, error) {
	list, err := p.s.placeholders(ctx, k, p.repo)
	if err != nil {
		return nil, err
	}
	deadline := p.s.cfg.Now().Add(p.s.cfg.OrphanTTL)
	var rows []Orphan
	for _, o := range list {
		if slices.ContainsFunc(p.updates, func(u grasp.RefChange) bool { return u.Ref == grasp.PullRef(o.Event) }) {
			rows = append(rows, Orphan{Repo: o.Repo, Event: o.Event, Deadline: deadline})
		}
	}
	if p.repo.Box {
		for _, id := range g.Pulls {
			rows = append(rows, Orphan{Repo: p.repo, Event: id, Deadline: deadline})
		}
	}
	return rows, nil
}

// note says what the push did, in one line.
func (p *Push) note(ctx context.Context, g grasp.Grant) string {
	line := "push " + p.id
	if g.State.ID == "" {
		return line + p.pullNote(ctx, g)
	}
	if k, err := p.s.load(ctx, p.repo.ID); err == nil {
		for _, st := range k.view.States[g.State.Author] {
			if st.ID == g.State.ID && st.Shelf == grasp.Waiting {
				return fmt.Sprintf("%s · state %s waits for the rest of its refs", line, g.State.ID.Short())
			}
		}
	}
	return fmt.Sprintf("%s · state %s applied", line, g.State.ID.Short())
}

// pullNote says what became of the pull requests whose refs were pushed.
func (p *Push) pullNote(ctx context.Context, g grasp.Grant) string {
	served, waits := 0, 0
	for _, id := range g.Pulls {
		e, err := p.s.ledger.Event(ctx, id)
		switch {
		case err == nil && e.Shelf == grasp.Served:
			served++
		case fault.Is(err, fault.NotFound):
			waits++
		}
	}
	switch {
	case waits > 0:
		return fmt.Sprintf(" · waits for its event: publish it here within %d minutes", int(p.s.cfg.OrphanTTL.Minutes()))
	case served > 0:
		return " · the pull request is served"
	}
	return ""
}

// Options says which options the pusher gave. It is called before Deliver.
func (p *Push) Options(list []string) { p.options = list }

// Jobs returns the jobs that the push made, and lines about those that it did not make. Those that ended
// as they were made have a State and a Reason. It is called after Deliver.
func (p *Push) Jobs() (list []jobs.Job, remarks []string) { return p.jobs, p.remarks }

// Name gives the push another name than the one it chose, so that all who speak of it use the same.
func (p *Push) Name(id string) { p.id = id }

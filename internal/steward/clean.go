package steward

import (
	"context"
	"maps"
	"slices"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// cleanBatch is how many events are looked at, and removed, at a time.
const cleanBatch = 500

// A cleaning removes what rules deny, in batches. Each batch is one Change for each identifier that
// it concerns, marked as unsettled: whoever dies in between leaves the rest to the next start.
type cleaning struct {
	s      *Steward
	rules  *grasp.Moderation
	dry    bool // only count
	seen   map[grasp.EventID]struct{}
	effect Effect
	failed error // the first thing that went wrong; the rest is still done
}

// subject goes through everything that a rule about sub concerns.
func (c *cleaning) subject(ctx context.Context, sub grasp.Subject) error {
	for after := (grasp.Addr{}); sub.Pattern() != (grasp.Pattern{}); {
		homes, err := c.s.cfg.Books.Homes(ctx, sub.Pattern(), after, cleanBatch)
		if err != nil {
			return fault.Wrap("steward: enforce", err)
		}
		for _, r := range homes {
			if c.rules.Repo(r.Addr) == nil {
				continue
			}
			if err := c.events(ctx, grasp.AboutRepo(grasp.Pattern{Owner: r.Addr.Owner, ID: r.Addr.ID})); err != nil {
				return err
			}
		}
		if len(homes) < cleanBatch {
			break
		}
		after = homes[len(homes)-1].Addr
	}
	if err := c.events(ctx, sub); err != nil {
		return err
	}
	return c.failed
}

// events goes through the events that a rule about sub concerns.
func (c *cleaning) events(ctx context.Context, sub grasp.Subject) error {
	var from Mark
	for {
		list, next, more, err := c.s.cfg.Books.Concerned(ctx, sub, from, cleanBatch)
		if err != nil {
			return fault.Wrap("steward: enforce", err)
		}
		if err := c.batch(ctx, list); err != nil {
			return err
		}
		if !more {
			return nil
		}
		from = next
		if err := ctx.Err(); err != nil {
			return fault.Wrap("steward: enforce", err)
		}
	}
}

// batch removes those of list that are denied. What belongs to no identifier goes in one Change.
func (c *cleaning) batch(ctx context.Context, list []Entry) error {
	var loose []grasp.EventID
	byID := map[string][]Entry{}
	for _, e := range list {
		f := c.rules.Event(e.Event)
		if f == nil || f.Rule == nil { // a list restricts what comes; it takes nothing away
			continue
		}
		if c.dry {
			if err := c.count(ctx, e); err != nil {
				return err
			}
			continue
		}
		if len(e.Subjects) == 0 {
			loose = append(loose, grasp.EventID(e.Event.ID))
			c.effect.event(e.Event.Kind)
			continue
		}
		byID[e.Subjects[0]] = append(byID[e.Subjects[0]], e)
	}
	if len(loose) > 0 {
		if _, err := c.s.ledger.Commit(ctx, Change{Drop: loose}); err != nil {
			return fault.Wrap("steward: enforce", err)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		if err := c.identifier(ctx, id, byID[id]); err != nil {
			if ctx.Err() != nil || fault.Is(err, fault.Closing) {
				return err
			}
			// One repository that is broken keeps nobody else's from being removed.
			c.s.log.Error("cannot remove what the operator denies", "repo", id, "err", err)
			if c.failed == nil {
				c.failed = err
			}
		}
	}
	return nil
}

// maxSeen is how many events a preview remembers so as not to count one twice: it is found by its
// repository, by its author and by several tags.
const maxSeen = 200_000

// count is batch for one event that would go.
func (c *cleaning) count(ctx context.Context, e Entry) error {
	id := grasp.EventID(e.Event.ID)
	if _, twice := c.seen[id]; twice {
		return nil
	}
	if c.seen == nil {
		c.seen = make(map[grasp.EventID]struct{})
	}
	if len(c.seen) < maxSeen {
		c.seen[id] = struct{}{}
	}
	c.effect.event(e.Event.Kind)
	if e.Event.Kind != grasp.KindAnnouncement {
		return nil
	}
	repo := grasp.Addr{Owner: grasp.PubKey(e.Event.PubKey), ID: grasp.FirstValue(e.Event, "d")}
	k, err := c.s.peek(ctx, repo.ID)
	if err != nil {
		return err
	}
	if h := k.view.Hosted[repo.Owner]; h == grasp.Live || h == grasp.Withdrawn {
		c.effect.repo(repo)
	}
	return nil
}

// identifier removes events from one identifier, and closes the repositories that they announce:
// one Change, then a settlement. Events that name several identifiers are removed here, and the
// others are settled after it.
func (c *cleaning) identifier(ctx context.Context, id string, list []Entry) error {
	others, err := c.identifierLocked(ctx, id, list)
	for _, e := range others {
		for _, other := range e.Subjects {
			if other == id {
				continue
			}
			if oerr := c.elsewhere(ctx, other, e); err == nil {
				err = oerr
			}
		}
	}
	return err
}

// elsewhere settles a further identifier of a pull request that was removed.
func (c *cleaning) elsewhere(ctx context.Context, id string, e Entry) error {
	unlock, err := c.s.locks.Lock(ctx, id)
	if err != nil {
		return fault.Wrap("steward: enforce", err)
	}
	defer unlock()
	c.s.known.drop(id)
	return c.s.endHere(ctx, id, e)
}

func (c *cleaning) identifierLocked(ctx context.Context, id string, list []Entry) (shared []Entry, err error) {
	s := c.s
	unlock, err := s.locks.Lock(ctx, id)
	if err != nil {
		return nil, fault.Wrap("steward: enforce", err)
	}
	defer unlock()
	s.known.drop(id)
	k, err := s.load(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		if len(e.Subjects) > 1 {
			shared = append(shared, e)
		}
	}
	slices.SortFunc(shared, func(a, b Entry) int { return compareIDs(a, b) }) // as claim does, so that nobody waits for the other
	marked := map[string]bool{id: true}
	for _, e := range shared {
		done, err := s.alone(ctx, e)
		if err != nil {
			return nil, err
		}
		defer done()
		for _, other := range e.Subjects { // a crash must not leave its refs there
			if marked[other] {
				continue
			}
			marked[other] = true
			if _, err := s.ledger.Commit(ctx, Change{Unsettled: other}); err != nil {
				return nil, fault.Wrap("steward: enforce", err)
			}
		}
	}
	change := Change{Unsettled: id}
	var gone []grasp.Addr
	going := make(map[grasp.EventID]bool, len(list))
	for _, e := range list {
		going[grasp.EventID(e.Event.ID)] = true
	}
	for _, e := range list {
		change.Drop = append(change.Drop, grasp.EventID(e.Event.ID))
		c.effect.event(e.Event.Kind)
		if e.Event.Kind != grasp.KindAnnouncement {
			continue
		}
		doomed, err := c.closing(ctx, k, e, going, &change)
		if err != nil {
			return nil, err
		}
		gone = append(gone, doomed...)
	}
	if change.Orphans, err = s.orphaned(ctx, k, list, s.cfg.Now()); err != nil {
		return nil, err
	}
	if _, err := s.commit(ctx, id, change); err != nil {
		return nil, fault.Wrap("steward: enforce", err)
	}
	for _, repo := range gone {
		if err := s.raze(ctx, repo); err != nil {
			return shared, err
		}
	}
	_, err = s.settle(ctx, id, nil, nil)
	return shared, err
}

func compareIDs(a, b Entry) int {
	switch {
	case a.Event.ID < b.Event.ID:
		return -1
	case a.Event.ID > b.Event.ID:
		return 1
	}
	return 0
}

// closing adds to change what becomes of the repository of an announcement that goes: it is closed
// like a deleted one, and its data is kept as long (G01-902). If there is no data nothing is kept,
// and it is returned to be razed.
func (c *cleaning) closing(ctx context.Context, k *known, e Entry, going map[grasp.EventID]bool, change *Change) (gone []grasp.Addr, err error) {
	owner := grasp.PubKey(e.Event.PubKey)
	repo := grasp.Addr{Owner: owner, ID: k.view.ID}
	if h := k.view.Hosted[owner]; h != grasp.Live && h != grasp.Withdrawn {
		return nil, nil
	}
	if slices.ContainsFunc(change.Repos, func(r Repo) bool { return r.Addr == repo }) {
		return nil, nil // the served and the waiting version
	}
	for id, other := range k.entries {
		if other.Event.Kind == grasp.KindAnnouncement && other.Event.PubKey == e.Event.PubKey && !going[id] {
			return nil, nil // another version stays, or its turn comes
		}
	}
	snap, err := c.s.vault.Refs(ctx, repo)
	if err != nil {
		return nil, fault.Wrap("steward: enforce", err)
	}
	r := Repo{Addr: repo, Hosting: grasp.Deleted, Since: c.s.cfg.Now()}
	if e.Shelf == grasp.Waiting && snap.Refs.Len() == 0 {
		r = doomed(repo)
		gone = append(gone, repo)
	}
	change.Repos = append(change.Repos, r)
	change.Drop = append(change.Drop, k.dependents(owner)...)
	c.effect.repo(repo)
	return gone, nil
}

package steward

import (
	"context"
	"slices"
	"strings"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// receiveDeletion takes an event of kind 5. It is kept and served whatever it names, and acts on
// events of its own author only (N-031, N-032).
func (s *Steward) receiveDeletion(ctx context.Context, e *Entry) (grasp.Verdict, news, error) {
	author := grasp.PubKey(e.Event.PubKey)
	c := Change{Put: e}
	var ids []string // identifiers that the deletion may change
	var olds []Entry // what it removes by id
	for _, t := range e.Event.Tags {
		if len(t) < 2 {
			continue
		}
		switch t[0] {
		case "e":
			if id, ok := grasp.ParseEventID(t[1]); ok {
				c.Tombs = append(c.Tombs, Tomb{By: author, ID: id})
			}
		case "a":
			kind, rest, ok := strings.Cut(t[1], ":")
			owner, d, ok2 := strings.Cut(rest, ":")
			if !ok || !ok2 || owner != string(author) {
				continue
			}
			c.Tombs = append(c.Tombs, Tomb{By: author, Coordinate: t[1], Until: int64(e.Event.CreatedAt)})
			if kind == "30617" || kind == "30618" {
				ids = append(ids, d)
			}
		}
	}
	for _, t := range c.Tombs {
		if t.ID == "" {
			continue
		}
		old, err := s.ledger.Event(ctx, t.ID)
		if fault.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return 0, news{}, fault.Wrap("steward: deletion", err)
		}
		if old.Event.PubKey == e.Event.PubKey {
			ids = append(ids, old.Subjects...)
			olds = append(olds, old)
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	v, n, late, err := s.deleteUnderLocks(ctx, c, ids, olds)
	for _, id := range late {
		if err := s.Settle(context.WithoutCancel(ctx), id); err != nil {
			s.log.Error("cannot settle after a deletion", "repo", id, "err", err)
		}
	}
	return v, n, err
}

// deleteUnderLocks commits a deletion while nothing else can happen to the identifiers that it
// touches: a push that relies on a deleted state is refused from this moment on (N-034). late are
// identifiers that turned out to be touched as well; they have to be settled.
func (s *Steward) deleteUnderLocks(ctx context.Context, c Change, names []string, olds []Entry) (v grasp.Verdict, n news, late []string, err error) {
	for _, id := range names { // sorted, so that two deletions cannot wait for each other
		unlock, err := s.locks.Lock(ctx, id)
		if err != nil {
			return 0, news{}, nil, fault.Wrap("steward: deletion", err)
		}
		defer unlock()
	}
	var gone []grasp.Addr
	var ids []string
	for _, id := range names {
		k, err := s.load(ctx, id)
		if err != nil {
			return 0, news{}, nil, err
		}
		byID := slices.ContainsFunc(olds, func(e Entry) bool { return slices.Contains(e.Subjects, id) })
		if !byID && !k.concerns(c.Put.Event.PubKey) {
			s.known.drop(id) // it may be any text at all
			continue
		}
		ids = append(ids, id)
		gone = append(gone, s.bury(k, &c)...)
		rows, err := s.orphaned(ctx, k, olds, s.cfg.Now().Add(s.cfg.OrphanTTL))
		if err != nil {
			return 0, news{}, nil, err
		}
		c.Orphans = append(c.Orphans, rows...)
		if c.Unsettled == "" {
			c.Unsettled = id
		} else if _, err := s.ledger.Commit(ctx, Change{Unsettled: id}); err != nil {
			return 0, news{}, nil, fault.Wrap("steward: deletion", err)
		}
	}
	r, err := s.ledger.Commit(ctx, c)
	for _, id := range ids {
		s.known.drop(id)
	}
	if err != nil {
		for _, id := range ids {
			s.dirty(id) // it may have been written
		}
		return 0, news{}, nil, unwritten("steward: deletion", err)
	}
	s.tellChanged("", c, r)
	if r.Duplicate {
		return grasp.Known, news{}, nil, nil
	}
	// What arrived after the locks were chosen, and before the tombs were written.
	for _, e := range r.Removed {
		for _, id := range e.Subjects {
			if !slices.Contains(ids, id) {
				s.known.drop(id)
				late = append(late, id)
			}
		}
	}
	ctx = context.WithoutCancel(ctx)
	s.cfg.Tell(c.Put.Event, c.Put.Raw)
	n = news{events: []Entry{*c.Put}}
	for _, repo := range gone {
		if err := s.raze(ctx, repo); err != nil {
			s.log.Error("cannot remove a deleted repository", "repo", repo.String(), "err", err)
		}
	}
	for _, id := range ids {
		more, err := s.settle(ctx, id, nil, nil)
		if err != nil {
			s.log.Error("cannot settle after a deletion", "repo", id, "err", err)
		}
		n.merge(more)
	}
	return grasp.Accepted, n, late, nil
}

// concerns reports whether anything that is known in k is of this author.
func (k *known) concerns(author string) bool {
	if _, ok := k.repos[grasp.PubKey(author)]; ok {
		return true
	}
	for _, e := range k.entries {
		if e.Event.PubKey == author {
			return true
		}
	}
	return false
}

// bury says what the tombs of c do to the repositories of one identifier, and adds it to c. It
// returns those whose files go at once: nothing was ever served of them (G01-901, G01-902).
func (s *Steward) bury(k *known, c *Change) (gone []grasp.Addr) {
	for owner, a := range k.view.Announcements {
		h := k.view.Hosted[owner]
		if h == grasp.NotHosted || h == grasp.Deleted || !covered(c.Tombs, a) {
			continue
		}
		r := doomed(a.Addr)
		if a.Shelf == grasp.Served {
			r.Since = s.cfg.Now()
		} else {
			gone = append(gone, a.Addr)
			c.Drop = append(c.Drop, k.dependents(owner)...)
		}
		c.Repos = append(c.Repos, r)
	}
	return gone
}

// covered reports whether one of tombs deletes a.
func covered(tombs []Tomb, a grasp.Announcement) bool {
	return slices.ContainsFunc(tombs, func(t Tomb) bool {
		return t.By == a.Addr.Owner && (t.ID == grasp.EventID(a.Event.ID) ||
			t.Coordinate == a.Addr.Coordinate() && int64(a.Event.CreatedAt) <= t.Until)
	})
}

// dependents returns the waiting states that nobody authorises once owner's repository is gone
// (G01-901).
func (k *known) dependents(owner grasp.PubKey) []grasp.EventID {
	left := grasp.KeySet{}
	for o, h := range k.view.Hosted {
		if o != owner && h == grasp.Live {
			for m := range k.view.Maintainers(o) {
				left[m] = struct{}{}
			}
		}
	}
	var out []grasp.EventID
	for author, list := range k.view.States {
		if left.Has(author) {
			continue
		}
		for _, st := range list {
			if st.Shelf == grasp.Waiting {
				out = append(out, st.ID)
			}
		}
	}
	return out
}

// receiveVanish takes an event of kind 62 that names this service: everything of its author up
// to its created_at goes, and stays away (N-035).
func (s *Steward) receiveVanish(ctx context.Context, e *Entry) (grasp.Verdict, news, error) {
	named := false
	for _, t := range e.Event.Tags {
		if len(t) >= 2 && t[0] == "relay" && (t[1] == "ALL_RELAYS" || s.cfg.Site.ListsRelay(t[1])) {
			named = true
		}
	}
	if !named {
		return 0, news{}, &grasp.Refusal{
			Rule: "N-035", Prefix: grasp.Blocked,
			Text: "a request to vanish must name this relay, or ALL_RELAYS, in a relay tag",
		}
	}
	author := grasp.PubKey(e.Event.PubKey)
	r, err := s.ledger.Commit(ctx, Change{
		Put: e, Tombs: []Tomb{{By: author, Vanish: true, Until: int64(e.Event.CreatedAt)}},
	})
	if err != nil {
		if !fault.Is(err, fault.Refused) {
			s.dirty(anywhere) // it may have been written
		}
		return 0, news{}, unwritten("steward: vanish", err)
	}
	if r.Duplicate {
		return grasp.Known, news{}, nil
	}
	s.tellChanged("", Change{}, r)
	ctx = context.WithoutCancel(ctx)
	s.cfg.Tell(e.Event, e.Raw)
	touched := map[string]bool{} // identifier → the author had a repository there
	for _, old := range r.Removed {
		for _, id := range old.Subjects {
			touched[id] = touched[id] || old.Event.Kind == grasp.KindAnnouncement
			s.known.drop(id) // from now on these states permit nothing
		}
	}
	for id, owned := range touched {
		if err := s.vanishFrom(ctx, grasp.Addr{Owner: author, ID: id}, owned, r.Removed); err != nil {
			s.log.Error("cannot settle after a request to vanish", "repo", id, "err", err)
			s.dirty(id)
		}
	}
	return grasp.Accepted, news{events: []Entry{*e}}, nil
}

func (s *Steward) vanishFrom(ctx context.Context, repo grasp.Addr, owned bool, removed []Entry) error {
	unlock, err := s.locks.Lock(ctx, repo.ID)
	if err != nil {
		return err
	}
	defer unlock()
	s.known.drop(repo.ID)
	k, err := s.load(ctx, repo.ID)
	if err != nil {
		return err
	}
	rows, err := s.orphaned(ctx, k, removed, s.cfg.Now().Add(s.cfg.OrphanTTL))
	if err != nil {
		return err
	}
	if len(rows) > 0 {
		if _, err := s.commit(ctx, repo.ID, Change{Orphans: rows}); err != nil {
			return err
		}
	}
	if _, again := k.view.Announcements[repo.Owner]; owned && !again && k.view.Hosted[repo.Owner] != grasp.NotHosted {
		if _, err := s.commit(ctx, repo.ID, Change{Repos: []Repo{doomed(repo)}}); err != nil {
			return err
		}
		if err := s.raze(ctx, repo); err != nil {
			return err
		}
	}
	_, err = s.settle(ctx, repo.ID, nil, nil)
	return err
}

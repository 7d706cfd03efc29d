package steward

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// Receive decides about an event whose id and signature are good, wherever it came from, and
// keeps it if it may enter. raw is its canonical JSON; source is the address prefix it came from,
// or "" for one without limits of its own. A *grasp.Refusal says no.
//
// When Receive returns without an error, the verdict is durable.
func (s *Steward) Receive(ctx context.Context, ev *nostr.Event, raw []byte, source string) (grasp.Verdict, error) {
	v, news, err := s.receive(ctx, ev, raw, source)
	if err == nil {
		s.revive(ctx, news)
	}
	return v, err
}

// receive is Receive without the second chances that it gives to others.
func (s *Steward) receive(ctx context.Context, ev *nostr.Event, raw []byte, source string) (grasp.Verdict, news, error) {
	rules := s.rules.Load()
	if f := rules.Event(ev); f != nil {
		return 0, news{}, s.refuse(f)
	}
	v, n, err := s.admit(ctx, ev, raw, source)
	if is := s.rules.Load(); err == nil && is != rules {
		// What was decided meanwhile may not have found the event.
		if f := is.Event(ev); f != nil {
			s.regret(ctx, ev)
			return 0, n, s.refuse(f)
		}
	}
	return v, n, err
}

// admit is receive for an event that the operator has nothing against.
func (s *Steward) admit(ctx context.Context, ev *nostr.Event, raw []byte, source string) (grasp.Verdict, news, error) {
	now := s.cfg.Now()
	if err := s.timely(ev, now); err != nil {
		return 0, news{}, err
	}
	ids, addrs := grasp.Anchors(ev)
	ans, err := s.ledger.Lookup(ctx, Question{
		ID: grasp.EventID(ev.ID), Author: grasp.PubKey(ev.PubKey), Created: int64(ev.CreatedAt),
		Coordinate: grasp.CoordinateOf(ev), IDs: texts(ids), Addrs: addrs, Source: source, Brief: plain(ev.Kind),
	})
	if err != nil {
		return 0, news{}, fault.Wrap("steward: receive", err)
	}
	switch {
	case ans.Known == grasp.Served:
		return grasp.Known, news{}, nil
	case ans.Known == grasp.Waiting:
		return grasp.KnownHeld, news{}, nil
	case ans.Deleted && ev.Kind != grasp.KindDeletion && ev.Kind != grasp.KindVanish:
		// N-032: those two fall to requests to vanish only; the ledger sees to that.
		return 0, news{}, deleted()
	case ans.Newer:
		return 0, news{}, s.stale(ctx, ev)
	}
	e := &Entry{Event: ev, Raw: raw, Shelf: grasp.Served, Received: now, Expires: expiration(ev), Source: source}
	if err := s.disown(ctx, ev); err != nil {
		return 0, news{}, err
	}
	switch ev.Kind {
	case grasp.KindAnnouncement:
		return s.receiveAnnouncement(ctx, e, ans)
	case grasp.KindState:
		return s.receiveState(ctx, e, ans)
	case grasp.KindPull, grasp.KindPullUpdate:
		return s.receivePull(ctx, e, ans)
	case grasp.KindDeletion:
		return s.receiveDeletion(ctx, e)
	case grasp.KindVanish:
		return s.receiveVanish(ctx, e)
	}
	return s.receiveRelated(ctx, e, ans)
}

// plain reports whether events of kind are stored if they are related, whatever else is known.
func plain(kind int) bool {
	switch kind {
	case grasp.KindAnnouncement, grasp.KindState, grasp.KindPull, grasp.KindPullUpdate, grasp.KindDeletion, grasp.KindVanish:
		return false
	}
	return !grasp.Ephemeral(kind)
}

func texts(ids []grasp.EventID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = string(id)
	}
	return out
}

// timely refuses what comes from too far ahead or is over already (N-011, N-036).
func (s *Steward) timely(ev *nostr.Event, now time.Time) error {
	if ev.CreatedAt < 0 {
		return &grasp.Refusal{Rule: "N-011", Prefix: grasp.Invalid, Text: "created_at is negative"}
	}
	if at := time.Unix(int64(ev.CreatedAt), 0); at.Sub(now) > s.knobs.Load().FutureLimit {
		return &grasp.Refusal{
			Rule: "N-011", Prefix: grasp.Invalid, Limit: "future",
			Text: fmt.Sprintf("created_at too far in the future, at most %s are accepted; check your clock", s.knobs.Load().FutureLimit),
		}
	}
	if x := expiration(ev); !x.IsZero() && !x.After(now) {
		return &grasp.Refusal{Rule: "N-036", Prefix: grasp.Invalid, Text: "event has expired"}
	}
	return nil
}

// expiration returns the moment that the first usable expiration tag names, or zero (NIP-40).
func expiration(ev *nostr.Event) time.Time {
	for _, t := range ev.Tags {
		if len(t) >= 2 && t[0] == "expiration" {
			if n, err := strconv.ParseInt(t[1], 10, 64); err == nil && n > 0 && n < 1<<40 {
				return time.Unix(n, 0)
			}
		}
	}
	return time.Time{}
}

// stale says that a newer version is served (N-004).
func (s *Steward) stale(ctx context.Context, ev *nostr.Event) error {
	if ev.Kind == grasp.KindState {
		// The rules know a better text for two states of the same second.
		if st, err := grasp.ParseState(ev); err == nil {
			if k, err := s.peek(ctx, st.Repo); err == nil {
				if _, err := k.view.AdmitState(st); err != nil {
					if r, ok := asRefusal(err); ok && r.Rule == "N-004" {
						return r
					}
				}
			}
		}
	}
	return plainStale()
}

func deleted() error {
	return &grasp.Refusal{Rule: "N-033", Prefix: grasp.Blocked, Text: "this event was deleted"}
}

// unwritten wraps the error of a Commit that was to put an event. The ledger has the last word on
// tombs: one may have been written since the first look.
func unwritten(op string, err error) error {
	if fault.Is(err, fault.Refused) {
		return deleted()
	}
	return fault.Wrap(op, err)
}

func plainStale() error {
	return &grasp.Refusal{Rule: "N-004", Prefix: grasp.Invalid, Text: "have a newer version of this event"}
}

// room refuses an event that would have to wait where too many wait already (G01-408).
func (s *Steward) room(ans Answer, source string) error {
	full := func(n, limit int, name, who string) error {
		if n < limit {
			return nil
		}
		return &grasp.Refusal{
			Rule: "G01-408", Prefix: grasp.RateLimit, Limit: name,
			Text: fmt.Sprintf("%d events %s wait for their git data; push it, or try again in half an hour", n, who),
		}
	}
	if err := full(ans.WaitingByAuthor, s.knobs.Load().WaitingPerKey, "waiting_per_key", "of this key"); err != nil {
		return err
	}
	if source != "" {
		if err := full(ans.WaitingBySource, s.knobs.Load().WaitingPerSource, "waiting_per_address", "from this address"); err != nil {
			return err
		}
	}
	return full(ans.WaitingInAll, s.knobs.Load().WaitingInAll, "waiting", "on this server")
}

// receiveAnnouncement takes an event of kind 30617.
func (s *Steward) receiveAnnouncement(ctx context.Context, e *Entry, ans Answer) (grasp.Verdict, news, error) {
	a, err := s.cfg.Site.Announcement(e.Event)
	if err != nil {
		return 0, news{}, err
	}
	id := a.Addr.ID
	if a.Home() {
		if err := s.makeWay(ctx, a.Addr, grasp.Usage{Repos: 1}); err != nil {
			return 0, news{}, err
		}
	}
	unlock, err := s.locks.Lock(ctx, id)
	if err != nil {
		return 0, news{}, fault.Wrap("steward: announcement", err)
	}
	defer unlock()
	k, err := s.load(ctx, id)
	if err != nil {
		return 0, news{}, err
	}
	if v, ok := k.verdict(e); ok {
		return v, news{}, nil // it came twice at the same time
	}
	if k.doomed(a.Addr.Owner) && a.Home() {
		// What a crash left of an earlier life must not come back with this one.
		if err := s.raze(ctx, a.Addr); err != nil {
			return 0, news{}, err
		}
		if k, err = s.load(ctx, id); err != nil {
			return 0, news{}, err
		}
	}
	adm, err := k.view.AdmitAnnouncement(a)
	if adm.Evict {
		if everr := s.evict(ctx, k, a.Addr); everr != nil {
			return 0, news{}, everr
		}
		var lerr error
		if k, lerr = s.load(ctx, id); lerr != nil {
			return 0, news{}, lerr
		}
		if err == nil {
			adm, err = k.view.AdmitAnnouncement(a)
		}
	}
	if err != nil {
		if r, ok := asRefusal(err); ok && r.Unrelated {
			s.lobby.add(e, id, s.cfg.Now())
		}
		return 0, news{}, err
	}
	if adm.Hosting == grasp.Live {
		if f := s.rules.Load().Newcomer(a.Addr); f != nil {
			return 0, news{}, s.refuse(f)
		}
	}
	was := k.view.Hosted[a.Addr.Owner]
	if adm.Hosting == grasp.Live && was != grasp.Live && was != grasp.Withdrawn {
		recorded, err := s.afford(ctx, a.Addr, grasp.Usage{Repos: 1}, aRepo)
		if err != nil {
			return 0, news{}, err
		}
		defer recorded()
	}
	if adm.Shelf == grasp.Waiting {
		if prior, ok := k.view.Announcements[a.Addr.Owner]; !ok || prior.Shelf != grasp.Waiting {
			if err := s.room(ans, e.Source); err != nil {
				return 0, news{}, err
			}
			if was == grasp.NotHosted && !s.rate.allow(e.Source, s.knobs.Load().NewReposPerHour, s.cfg.Now()) {
				return 0, news{}, &grasp.Refusal{
					Rule: "G01-110", Prefix: grasp.RateLimit, Limit: "new_repos",
					Text: fmt.Sprintf("%d repositories an hour were announced from this address; try again later", s.knobs.Load().NewReposPerHour),
				}
			}
		}
	}
	var repo *Repo
	if adm.Hosting != grasp.NotHosted && adm.Hosting != was {
		repo = &Repo{Addr: a.Addr, Hosting: adm.Hosting, Since: s.cfg.Now()}
	}
	return s.enter(ctx, id, k, e, adm.Shelf, repo, nil)
}

// evict removes an owner's waiting announcement and the repository that came with it (G01-115).
func (s *Steward) evict(ctx context.Context, k *known, repo grasp.Addr) error {
	c := Change{Repos: []Repo{doomed(repo)}, Unsettled: repo.ID}
	if a, ok := k.view.Announcements[repo.Owner]; ok && a.Shelf == grasp.Waiting {
		c.Drop = append(c.Drop, grasp.EventID(a.Event.ID))
	}
	if _, err := s.commit(ctx, repo.ID, c); err != nil {
		return fault.Wrap("steward: evict", err)
	}
	if err := s.raze(ctx, repo); err != nil {
		return err
	}
	_, err := s.settle(ctx, repo.ID, nil, nil)
	return err
}

// receiveState takes an event of kind 30618.
func (s *Steward) receiveState(ctx context.Context, e *Entry, ans Answer) (grasp.Verdict, news, error) {
	st, err := grasp.ParseState(e.Event)
	if err != nil {
		return 0, news{}, err
	}
	unlock, err := s.locks.Lock(ctx, st.Repo)
	if err != nil {
		return 0, news{}, fault.Wrap("steward: state", err)
	}
	defer unlock()
	k, err := s.load(ctx, st.Repo)
	if err != nil {
		return 0, news{}, err
	}
	if v, ok := k.verdict(e); ok {
		return v, news{}, nil
	}
	adm, err := k.view.AdmitState(st)
	if err != nil {
		return 0, news{}, err
	}
	if err := s.room(ans, e.Source); err != nil {
		return 0, news{}, err
	}
	// G01-312: the announcements that this state speaks for, and those that give it a voice,
	// wait as long as it does.
	extend := map[grasp.EventID]time.Time{}
	for owner, h := range k.view.Hosted {
		if h == grasp.Live && k.view.Maintainers(owner).Has(st.Author) {
			for _, a := range k.waitingChain(owner) {
				extend[a] = s.cfg.Now().Add(s.cfg.WaitTTL)
			}
		}
	}
	return s.enter(ctx, st.Repo, k, e, adm.Shelf, nil, extend)
}

// receivePull takes an event of kind 1618 or 1619. It may concern several identifiers; each is
// settled in turn, and the first that has the commit releases it.
func (s *Steward) receivePull(ctx context.Context, e *Entry, ans Answer) (grasp.Verdict, news, error) {
	p, err := s.pull(ctx, e.Event)
	if err != nil {
		return 0, news{}, err
	}
	adm, err := grasp.AdmitPull(p, ans.Related)
	if err != nil {
		s.lobby.add(e, "", s.cfg.Now())
		return 0, news{}, err
	}
	if err := s.room(ans, e.Source); err != nil {
		return 0, news{}, err
	}
	if err := s.charged(ctx, e); err != nil {
		return 0, news{}, err
	}
	for _, a := range p.Repos {
		if !slices.Contains(e.Subjects, a.ID) {
			e.Subjects = append(e.Subjects, a.ID)
		}
	}
	if len(e.Subjects) == 0 {
		return 0, news{}, &grasp.Refusal{
			Rule: "G01-708", Prefix: grasp.Invalid,
			Text: "a pull request needs an a tag 30617:<owner>:<identifier> that names its repository",
		}
	}
	verdict, all := grasp.Held, news{}
	for i, id := range e.Subjects {
		v, n, err := func() (grasp.Verdict, news, error) {
			unlock, err := s.locks.Lock(ctx, id)
			if err != nil {
				return 0, news{}, fault.Wrap("steward: pull request", err)
			}
			defer unlock()
			s.known.drop(id) // the event may have been stored while another identifier was locked
			k, err := s.load(ctx, id)
			if err != nil {
				return 0, news{}, err
			}
			if i > 0 {
				if verdict == grasp.Accepted {
					e.Shelf = grasp.Served
				}
				n, err := s.settle(ctx, id, &arrival{known: k, entry: e, stored: true}, nil)
				return verdictOf(n, e), n, err
			}
			return s.enter(ctx, id, k, e, adm.Shelf, nil, nil)
		}()
		if err != nil {
			return 0, all, err
		}
		all.merge(n)
		if v != grasp.Held {
			verdict = v
		}
		if v == grasp.Known || v == grasp.KnownHeld {
			break
		}
	}
	return verdict, all, nil
}

// enter stores an admitted event and settles its identifier. The caller holds the lock of id.
func (s *Steward) enter(ctx context.Context, id string, k *known, e *Entry, shelf grasp.Shelf, repo *Repo, extend map[grasp.EventID]time.Time) (grasp.Verdict, news, error) {
	e.Shelf = shelf
	if len(e.Subjects) == 0 {
		e.Subjects = []string{id}
	}
	if shelf == grasp.Waiting {
		e.Deadline = e.Received.Add(s.cfg.WaitTTL)
	}
	n, err := s.settle(ctx, id, &arrival{known: k, entry: e, repo: repo, extend: extend}, nil)
	if err != nil {
		return 0, n, err
	}
	if n.duplicate {
		if shelf == grasp.Waiting {
			return grasp.KnownHeld, n, nil
		}
		return grasp.Known, n, nil
	}
	return verdictOf(n, e), n, nil
}

func verdictOf(n news, e *Entry) grasp.Verdict {
	if e.Shelf == grasp.Served || slices.ContainsFunc(n.events, func(o Entry) bool { return o.Event.ID == e.Event.ID }) {
		return grasp.Accepted
	}
	return grasp.Held
}

// receiveRelated takes every kind that the protocol gives no meaning to (G01-801, G01-806, N-010).
func (s *Steward) receiveRelated(ctx context.Context, e *Entry, ans Answer) (grasp.Verdict, news, error) {
	ev := e.Event
	part := grasp.Stranger
	if !ans.Related && grasp.AboutPeople(ev.Kind) {
		var err error
		if part, err = s.cfg.Part(ctx, grasp.PubKey(ev.PubKey)); err != nil {
			return 0, news{}, fault.Wrap("steward: receive", err)
		}
	}
	if err := grasp.AdmitRelated(ev.Kind, ans.Related, part, s.cfg.Plus); err != nil {
		if !grasp.Ephemeral(ev.Kind) {
			s.lobby.add(e, "", s.cfg.Now())
		}
		return 0, news{}, err
	}
	if grasp.Ephemeral(ev.Kind) {
		s.cfg.Tell(ev, e.Raw)
		return grasp.Passed, news{}, nil
	}
	if err := s.charged(ctx, e); err != nil {
		return 0, news{}, err
	}
	r, err := s.ledger.Commit(ctx, Change{Put: e})
	switch {
	case err != nil:
		return 0, news{}, unwritten("steward: receive", err)
	case r.Duplicate:
		return grasp.Known, news{}, nil
	case r.Stale:
		return 0, news{}, s.stale(ctx, ev)
	}
	s.cfg.Tell(ev, e.Raw)
	return grasp.Accepted, news{events: []Entry{*e}}, nil
}

func older(a, b *nostr.Event) bool {
	if a.CreatedAt != b.CreatedAt {
		return a.CreatedAt < b.CreatedAt
	}
	return a.ID > b.ID
}

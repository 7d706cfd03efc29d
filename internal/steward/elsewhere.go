package steward

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/dial"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
)

// Objects can come from elsewhere too: from the other servers that an announcement names (G02-02).
// Missing says what is lacking and where it may be, whoever fetches it brings it into a quarantine, and
// Adopt takes it from there, the same way as a push without a grant: only objects enter. Which refs move
// is decided by signed events, in the Settle that follows (G02-13).

// A Lack is what one repository needs and does not have.
type Lack struct {
	Repo    grasp.Addr
	Objects []grasp.OID     // complete in no repository of the identifier; sorted, at most MaxLacking
	Have    []grasp.OID     // complete, and needed by the same events: what a remote need not send; at most MaxLacking
	Pulls   []grasp.EventID // pull requests whose commit is among Objects
	States  bool            // a state needs some of Objects
	Waiting []grasp.EventID // events that wait for Objects, and announcements that wait with them
	Since   time.Time       // when the first of Waiting arrived; zero if none waits
	Places  []Place         // where Objects may be, the likeliest first; at most MaxPlaces
}

// A Place is a clone URL as somebody wrote it down.
type Place struct {
	URL string
	By  grasp.PubKey // on whose behalf it is called
}

// The bounds of a Lack.
const (
	MaxLacking = 10_000
	MaxPlaces  = 20

	// maxHunted is how many states of one repository are looked at: the served one, and the newest
	// that wait.
	maxHunted = 8
)

// Missing returns what the repositories of identifier id lack for the events that are served or wait,
// by owner. What several of them need is named once.
func (s *Steward) Missing(ctx context.Context, id string) ([]Lack, error) {
	k, err := s.peek(ctx, id)
	if err != nil {
		return nil, err
	}
	v := k.view
	have, err := s.holdings(ctx, v)
	if err != nil {
		return nil, err
	}
	var out []Lack
	seen := grasp.OIDSet{}
	for _, owner := range slices.Sorted(maps.Keys(v.Hosted)) {
		repo := grasp.Addr{Owner: owner, ID: id}
		if v.Hosted[owner] != grasp.Live || s.closed(repo) != nil {
			continue
		}
		l := k.lack(repo, have, seen)
		if len(l.Objects) > 0 {
			out = append(out, l)
		}
	}
	return out, nil
}

// holdings returns which of the objects that planning for v asks for are complete in a repository of it. It asks
// for no refs: this is asked of every repository again and again, though nothing happened.
func (s *Steward) holdings(ctx context.Context, v grasp.View) (grasp.OIDSet, error) {
	have, wants := grasp.OIDSet{}, v.Wants()
	if len(wants) == 0 {
		return have, nil
	}
	for owner, h := range v.Hosted {
		if h != grasp.Live && h != grasp.Withdrawn {
			continue
		}
		repo := grasp.Addr{Owner: owner, ID: v.ID}
		set, err := s.vault.Have(ctx, repo, wants)
		if err != nil {
			return nil, fault.Wrap("steward: look at "+repo.String(), err)
		}
		maps.Copy(have, set)
	}
	return have, nil
}

// lack is Missing for one repository. What is in seen is somebody else's business.
func (k *known) lack(repo grasp.Addr, have, seen grasp.OIDSet) Lack {
	l := Lack{Repo: repo}
	waits := func(id grasp.EventID, objects []grasp.OID) bool {
		needs := false
		for _, o := range objects {
			switch {
			case len(o) != 40 || o.IsZero():
			case have.Has(o):
				if len(l.Have) < MaxLacking {
					l.Have = append(l.Have, o)
				}
			default:
				needs = true
				if !seen.Has(o) && len(l.Objects) < MaxLacking {
					seen.Add(o)
					l.Objects = append(l.Objects, o)
				}
			}
		}
		if e, ok := k.entries[id]; ok && needs && e.Shelf == grasp.Waiting {
			l.Waiting = append(l.Waiting, id)
			if l.Since.IsZero() || e.Received.Before(l.Since) {
				l.Since = e.Received
			}
		}
		return needs
	}
	members := k.view.Maintainers(repo.Owner)
	for _, st := range k.hunted(repo.Owner, members) {
		if waits(st.ID, slices.Collect(maps.Values(st.Refs))) {
			l.States = true
		}
	}
	pulls := slices.Sorted(maps.Keys(k.view.Pulls))
	var theirs []Place
	for _, id := range pulls {
		p := k.view.Pulls[id]
		if p.Tip == "" || !slices.Contains(k.view.Concerned(p), repo.Owner) {
			continue
		}
		if waits(id, []grasp.OID{p.Tip}) {
			l.Pulls = append(l.Pulls, id)
			for _, u := range p.Clone {
				theirs = append(theirs, Place{URL: u, By: grasp.PubKey(p.Event.PubKey)})
			}
		}
	}
	if len(l.Objects) == 0 {
		return l
	}
	slices.Sort(l.Objects)
	slices.Sort(l.Have)
	l.Have = slices.Compact(l.Have)
	if l.States {
		l.Waiting = append(l.Waiting, k.waitingChain(repo.Owner)...)
	}
	var ours []Place
	named := []grasp.PubKey{repo.Owner}
	for _, m := range slices.Sorted(maps.Keys(members)) {
		if m != repo.Owner {
			named = append(named, m)
		}
	}
	for _, m := range named {
		for _, u := range k.view.Announcements[m].Clone {
			ours = append(ours, Place{URL: u, By: m})
		}
	}
	if l.States {
		l.Places = append(ours, theirs...)
	} else {
		l.Places = append(theirs, ours...)
	}
	l.Places = once(l.Places)
	return l
}

// once keeps the first place of each URL, and few of one author: nobody fills the list alone.
func once(list []Place) []Place {
	seen, by := map[string]bool{}, map[grasp.PubKey]int{}
	var out []Place
	for _, p := range list {
		if seen[p.URL] || by[p.By] >= MaxPlaces/2 || len(out) >= MaxPlaces {
			continue
		}
		seen[p.URL] = true
		by[p.By]++
		out = append(out, p)
	}
	return out
}

// hunted returns the states of owner's repository whose objects are of use: the newest served one, and those that
// wait, the newest first, though not for a newer one of the same maintainer. One that is older than the served
// one moves nothing any more; but it is the latest word of its maintainer, other servers serve it, and what one
// serves all are to serve (G02-02).
func (k *known) hunted(owner grasp.PubKey, members grasp.KeySet) []grasp.State {
	var out []grasp.State
	for m := range members {
		var is *nostr.Event // that m's others are measured by
		for _, st := range k.view.States[m] {
			if st.Shelf == grasp.Served && (is == nil || older(is, st.Event)) {
				is = st.Event
			}
		}
		for _, st := range k.view.States[m] {
			if st.Shelf == grasp.Waiting && (is == nil || older(is, st.Event)) {
				out = append(out, st)
			}
		}
	}
	slices.SortFunc(out, func(a, b grasp.State) int {
		if older(a.Event, b.Event) {
			return 1
		}
		return -1
	})
	if is, served := k.view.State(owner); served {
		out = append([]grasp.State{is}, out...)
	}
	return out[:min(len(out), maxHunted)]
}

// Hold keeps waiting events until release is called: somebody is fetching what they wait for (G01-404).
func (s *Steward) Hold(events []grasp.EventID) (release func()) { return s.hold(events) }

// Await lets events of identifier id wait until a later moment, never beyond 24 hours after they came
// (G01-312): what is fetched from elsewhere may take longer than a person who pushes (G02-02).
func (s *Steward) Await(ctx context.Context, id string, events []grasp.EventID, until time.Time) error {
	if len(events) == 0 {
		return nil
	}
	unlock, err := s.locks.Lock(ctx, id)
	if err != nil {
		return fault.Wrap("steward: await", err)
	}
	defer unlock()
	extend := make(map[grasp.EventID]time.Time, len(events))
	for _, e := range events {
		extend[e] = until
	}
	_, err = s.commit(ctx, id, Change{Extend: extend})
	return fault.Wrap("steward: await", err)
}

// Fetching says what is fetched from a remote, and by which way.
type Fetching struct {
	Remote dial.RemoteURL
	Proxy  string          // the only way out for the child; see dial.Proxy
	Wants  []grasp.OID     // what is fetched, by id
	Haves  []grasp.OID     // complete in the repository: the remote need not send them
	Pulls  []grasp.EventID // refs/nostr/<id> that may lead to some of Wants

	// Tried is Fetched.Tips of an earlier fetch that did not bring everything: as long as the remote
	// shows the same refs, it is not asked for all of them again.
	Tried string

	MaxBytes   int64 // of what is written; 0 means no limit
	MaxObjects uint32
	Progress   func(line string) // receives lines for a person, from another goroutine
}

// Fetched is what came of it.
type Fetched struct {
	Quarantine Quarantine  // of what came; never nil without an error; Discard it
	Got        []grasp.OID // those of Wants that are complete, here or in the quarantine
	Tips       string      // names the refs that the remote showed, if it was asked
}

// Room returns how many bytes of fetched objects the quota of repo's owner leaves room for, so that
// nothing is fetched that Adopt would refuse; bounded is false if nothing bounds them. pulls is as for
// Adopt.
func (s *Steward) Room(ctx context.Context, repo grasp.Addr, pulls bool) (left int64, bounded bool, err error) {
	more := grasp.Usage{Bytes: grasp.Unknown, RepoBytes: grasp.Unknown}
	if pulls {
		more = grasp.Usage{PullBytes: grasp.Unknown}
	}
	q := s.quota(repo)
	if more = bounds(q, more); more == (grasp.Usage{}) {
		return 0, false, nil
	}
	u, err := s.used(ctx, repo, more)
	if err != nil {
		return 0, false, err
	}
	left, bounded = q.Left(u, more)
	return left, bounded, nil
}

// Adopt makes objects from elsewhere part of repo and settles its identifier. q was checked by whoever
// made it. pulls says that only pull requests wanted them: then they count like a push of PR refs. The
// errors are those of a push: fault.Refused by a quota, fault.Gone without a home here.
func (s *Steward) Adopt(ctx context.Context, repo grasp.Addr, q Quarantine, pulls bool) error {
	const op = "steward: adopt"
	if repo.Box {
		return fault.E(fault.Invalid, op, "boxes are pushed to")
	}
	size := q.Size()
	more := grasp.Usage{Bytes: size, RepoBytes: size}
	if pulls {
		more = grasp.Usage{PullBytes: size}
	}
	if size > 0 {
		if err := s.makeWay(ctx, repo, more); err != nil {
			return err
		}
	}
	ctx = Because(ctx, jobs.OnSync)
	unlock, err := s.locks.Lock(ctx, repo.ID)
	if err != nil {
		return fault.Wrap(op, err)
	}
	n, err := s.adoptLocked(ctx, repo, q, more)
	unlock()
	if err != nil {
		return err
	}
	s.revive(ctx, n)
	return nil
}

func (s *Steward) adoptLocked(ctx context.Context, repo grasp.Addr, q Quarantine, more grasp.Usage) (news, error) {
	const op = "steward: adopt"
	k, err := s.load(ctx, repo.ID)
	if err != nil {
		return news{}, err
	}
	if err := s.closed(repo); err != nil {
		return news{}, err
	}
	if k.view.Hosted[repo.Owner] != grasp.Live {
		return news{}, fault.E(fault.Gone, op, "the repository left while its objects were fetched")
	}
	recorded, err := s.afford(ctx, repo, more, aPush)
	if err != nil {
		return news{}, err
	}
	defer recorded() // settled or not, what is on disk is for the next settlement to find
	// After a crash between here and the end, this identifier is settled first.
	if _, err := s.commit(ctx, repo.ID, Change{Unsettled: repo.ID}); err != nil {
		return news{}, fault.Wrap(op, err)
	}
	if err := q.Admit(ctx); err != nil {
		s.dirty(repo.ID)
		return news{}, fault.Wrap(op, err)
	}
	// The objects are here for good; what follows does not end with the fetcher's patience.
	return s.settle(context.WithoutCancel(ctx), repo.ID, nil, nil)
}

package syncer

import (
	"cmp"
	"slices"
	"time"

	"github.com/gitroost/gitroost/grasp"
)

// A Status is how things are with one peer.
type Status struct {
	URL           string
	Mood          string    // new, connected, waiting, dead or bad
	Doing         string    // while it is connected: what it is busy with, or ""
	Repositories  int       // for which it is named
	Served        int       // of these, those whose announcement is served
	People        int       // who take part in what is served here, and write there (GRASP-03)
	About         int       // repositories that these take part in
	Subscriptions int       // live ones
	Negentropy    bool      // it speaks NIP-77
	Connected     time.Time // since when; zero if it is not
	Seen          time.Time // when nothing that it had was missed yet; zero: never
	Full          time.Time // when all that it has was last compared; zero: never
	Repass        time.Time // when that is done next
	Next          time.Time // when it is tried next; zero while connected
	Fails         int       // tries in a row that came to nothing
	Trouble       string    // what went wrong last, or ""
	Last          time.Time // when it last brought something new; zero: not since the start

	Events, Taken, Refused, Bad int64 // since the start: what it sent, what was new, what the rules did not want, its faults
}

// Statuses returns how things are with each peer, by address.
func (s *Syncer) Statuses() []Status {
	s.mu.Lock()
	list := make([]*peer, 0, len(s.peers))
	for _, p := range s.peers {
		list = append(list, p)
	}
	s.mu.Unlock()
	now := s.cfg.Now()
	out := make([]Status, 0, len(list))
	for _, p := range list {
		st := p.status(now)
		st.Repositories, st.Served = s.roster.count(p.url)
		chosen := false
		if s.circle != nil {
			st.People, st.About, chosen = s.circle.at(p.url)
		}
		if st.Repositories > 0 || chosen || !st.Connected.IsZero() || slices.Contains(s.roster.always, p.url) {
			out = append(out, st)
		}
	}
	slices.SortFunc(out, func(a, b Status) int { return cmp.Compare(a.URL, b.URL) })
	return out
}

// Totals are what all peers sent since the start, those included that are gone.
type Totals struct{ Events, Taken, Refused, Bad int64 }

// Totals returns them.
func (s *Syncer) Totals() Totals {
	return Totals{s.sent.events.Load(), s.sent.taken.Load(), s.sent.refused.Load(), s.sent.bad.Load()}
}

// PeersOf returns the addresses of the peers of owner's repository, those included to which its people
// write; of all of this identifier if owner is "".
func (s *Syncer) PeersOf(owner, id string) []string {
	out := s.roster.peersOf(owner, id)
	if s.circle != nil {
		out = append(out, s.circle.relaysFor(owner, id)...)
		slices.Sort(out)
		out = slices.Compact(out)
	}
	return out
}

// Leads reports whether key owns or maintains what is served here; without sync-plus that is not known.
func (s *Syncer) Leads(key grasp.PubKey) bool {
	return s.circle != nil && s.circle.leadsAny(string(key))
}

// Remembered returns how many events are not fetched again.
func (s *Syncer) Remembered() int { return s.memory.len() }

func (p *peer) status(now time.Time) Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := Status{
		URL: p.url, Mood: p.mood.Word(!p.began.IsZero(), now), Doing: p.doing, Subscriptions: p.subs, Negentropy: p.neg,
		Connected: p.began, Seen: p.mood.Seen, Full: p.mood.Full, Repass: p.mood.Repass, Next: p.mood.Next,
		Fails: p.mood.Fails, Trouble: p.mood.Trouble, Last: p.last,
		Events: p.events.Load(), Taken: p.taken.Load(), Refused: p.refused.Load(), Bad: p.bad.Load(),
	}
	if !p.began.IsZero() {
		st.Next = time.Time{}
	}
	return st
}

package grasp

import (
	"fmt"
)

// An Admission says where an event rests, and what becomes of its author's repository.
type Admission struct {
	Shelf Shelf

	// Hosting is what the author's repository of this identifier becomes. NotHosted means
	// that the event changes nothing about it, unless Evict is set.
	Hosting Hosting

	// Evict says that the author's waiting announcement and repository go, although the event
	// itself is refused (G01-115).
	Evict bool
}

// AdmitAnnouncement decides about an announcement, given everything known of its identifier.
func (v View) AdmitAnnouncement(a Announcement) (Admission, error) {
	owner := a.Addr.Owner
	was, known := v.Announcements[owner]
	if known && !supersedes(a, was) {
		return Admission{}, stale()
	}
	hosting := v.Hosted[owner]
	if a.ListsUs {
		switch {
		case known && was.Shelf == Served && (hosting == Live || hosting == Withdrawn):
			return Admission{Shelf: Served, Hosting: Live}, nil // G01-107, G01-115
		default:
			return Admission{Shelf: Waiting, Hosting: Live}, nil // G01-105, G01-108, G01-113
		}
	}
	led := v.leads(owner)
	if a.Archived && (hosting == Live || hosting == Withdrawn) {
		if known && was.Shelf == Served {
			return Admission{Shelf: Served, Hosting: Live}, nil
		}
		return Admission{Shelf: Waiting, Hosting: Live}, nil
	}
	if hosting == Live || hosting == Withdrawn {
		if known && was.Shelf == Served {
			return Admission{Shelf: Served, Hosting: Withdrawn}, nil // G01-115
		}
		if led == Nowhere {
			r := notListed()
			return Admission{Evict: true}, r
		}
		return Admission{Shelf: led, Evict: true}, nil
	}
	if led != Nowhere {
		return Admission{Shelf: led}, nil // G01-111
	}
	if a.Archived {
		return Admission{Shelf: Waiting, Hosting: Live}, nil // G05-01, G05-02; G05-04: after the exception
	}
	r := notListed()
	r.Unrelated = true // G01-112
	return Admission{}, r
}

func notListed() *Refusal {
	r := refuse("G01-101", Blocked, "announcement must list this service in clone and relays")
	r.Hint = "add this server's clone URL and relay URL to the announcement"
	return r
}

func stale() *Refusal { return refuse("N-004", Invalid, "have a newer version of this event") }

// supersedes reports whether a replaces b (N-009).
func supersedes(a, b Announcement) bool {
	if a.Event.CreatedAt != b.Event.CreatedAt {
		return a.Event.CreatedAt > b.Event.CreatedAt
	}
	return a.Event.ID < b.Event.ID
}

// leads returns on which shelf an announcement by k belongs that does not list this site: with
// the repositories of other owners that k maintains, or nowhere.
func (v View) leads(k PubKey) Shelf {
	shelf := Nowhere
	c := newCensus(v)
	for o, h := range v.Hosted {
		if is := v.Announcements[o].Shelf; o != k && h == Live && is > shelf && c.maintainers(o).has(c.of(k)) {
			shelf = is
		}
	}
	return shelf
}

// AdmitState decides about a state (G01-301). It always waits: whether its objects are here is
// found out by planning.
func (v View) AdmitState(s State) (Admission, error) {
	known := false
	c := newCensus(v)
	for o, h := range v.Hosted {
		if h == Live || h == Withdrawn {
			known = true
			if c.maintainers(o).has(c.of(s.Author)) {
				return v.admitStateOf(s)
			}
		}
	}
	if !known && len(v.Announcements) == 0 {
		r := refuse("G01-301", Invalid, "no announcement exists for this repository")
		r.Hint = "publish the announcement (kind 30617) first"
		return Admission{}, r
	}
	r := refuse("G01-301", Invalid, "author not authorized for this repository")
	r.Hint = "ask a maintainer to list you in the announcement"
	return Admission{}, r
}

func (v View) admitStateOf(s State) (Admission, error) {
	for _, o := range v.States[s.Author] {
		if o.Shelf == Served && o.ID != s.ID && !newer(s, o) {
			r := stale()
			if s.At == o.At {
				r.Text += fmt.Sprintf("; state %s has the same created_at and a lower id, sign again", o.ID.Short())
			}
			return Admission{}, r
		}
	}
	return Admission{Shelf: Waiting}, nil
}

// AdmitPull decides about a pull request whose relation to something served is known (G01-708). One
// that nothing connects to may come if it names its author's box here (G06-07). It waits until
// planning finds its commit.
func AdmitPull(p Pull, related bool) (Admission, error) {
	if !related && len(p.Boxes) == 0 {
		return Admission{}, Unrelated()
	}
	return Admission{Shelf: Waiting}, nil
}

// Unrelated is the refusal of an event that nothing served connects to (G01-804).
func Unrelated() *Refusal {
	r := refuse("G01-801", Blocked, "event must reference an accepted repository or accepted event")
	r.Unrelated = true
	return r
}

package grasp

import (
	"slices"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// An Explanation says what the operator's rules decide about something, and why.
type Explanation struct {
	Refused bool
	Text    string // one line: "refused: rule 5 (deny npub1…): spam"
	Decided *Rule  // the rule that decided, or nil
	Matched []Rule // every rule that is about it, in their order
}

// ExplainRepo explains what becomes of the announcement of a repository, of pushes to it, and of
// those who want to read it.
func (m *Moderation) ExplainRepo(a Addr) Explanation {
	return m.explain(patterns(a), m.Newcomer(a))
}

// ExplainAuthor explains what becomes of the events of a key.
func (m *Moderation) ExplainAuthor(k PubKey) Explanation {
	subjects := []Subject{AboutAuthor(k), AboutRepo(Pattern{Owner: k})}
	var f *Finding
	if m != nil {
		if first := m.first(nil, subjects[:1]...); first >= 0 {
			f = m.finding(first)
		}
	}
	return m.explain(subjects, f)
}

// ExplainEvent explains what becomes of an event.
func (m *Moderation) ExplainEvent(ev *nostr.Event) Explanation {
	subjects := []Subject{AboutEvent(EventID(ev.ID)), AboutAuthor(PubKey(ev.PubKey)), AboutKind(ev.Kind)}
	switch ev.Kind {
	case KindAnnouncement, KindState:
		subjects = append(subjects, patterns(Addr{Owner: PubKey(ev.PubKey), ID: FirstValue(ev, "d")})...)
	default:
		for _, t := range ev.Tags {
			if len(t) >= 2 && (t[0] == "a" || t[0] == "A") {
				if a, ok := ParseCoordinate(t[1]); ok {
					subjects = append(subjects, patterns(a)...)
				}
			}
		}
	}
	return m.explain(subjects, m.Event(ev))
}

// ExplainID explains what becomes of an event of which only the id is known.
func (m *Moderation) ExplainID(id EventID) Explanation {
	return m.ExplainSubject(AboutEvent(id))
}

// ExplainSubject explains what the rules say about a subject as such: what is denied under that very
// name, and what is allowed.
func (m *Moderation) ExplainSubject(s Subject) Explanation {
	var f *Finding
	if m != nil {
		if first := m.first(nil, s); first >= 0 {
			f = m.finding(first)
		}
	}
	return m.explain([]Subject{s}, f)
}

func (m *Moderation) explain(subjects []Subject, f *Finding) Explanation {
	x := Explanation{Refused: f != nil}
	if m == nil {
		x.Text = "accepted: there are no rules"
		return x
	}
	var allowed, denied []Rule
	for _, r := range m.rules {
		if !slices.Contains(subjects, r.Subject) {
			continue
		}
		x.Matched = append(x.Matched, r)
		if r.Action == Allow {
			allowed = append(allowed, r)
		} else {
			denied = append(denied, r)
		}
	}
	switch {
	case f != nil && f.Rule != nil:
		x.Decided = f.Rule
		x.Text = "refused: " + f.Rule.String()
		if f.Rule.Reason != "" {
			x.Text += ": " + f.Rule.Reason
		}
		if len(allowed) > 0 {
			x.Text += "; it beats " + allowed[0].String()
		}
	case f != nil:
		x.Text = "refused: it is not on the list of what is allowed (" + m.list(f.List) + ")"
	case len(allowed) > 0:
		x.Decided = &allowed[0]
		x.Text = "accepted: " + allowed[0].String()
	case len(denied) > 0:
		x.Text = "accepted: " + denied[0].String() + " is about a part of it only"
	default:
		x.Text = "accepted: no rule is about it"
	}
	return x
}

// list names the first rules of a list of what is allowed.
func (m *Moderation) list(t Topic) string {
	var names []string
	for _, r := range m.rules {
		if r.Action != Allow || (r.Subject.Topic == OfKind) != (t == OfKind) {
			continue
		}
		if len(names) == 5 {
			names = append(names, "…")
			break
		}
		names = append(names, r.Name())
	}
	return strings.Join(names, ", ")
}

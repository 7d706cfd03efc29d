package grasp

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nbd-wtf/go-nostr"
)

// An Action is what a rule of the operator does about its subject.
type Action uint8

// The two actions. Deny beats Allow, whatever the order of the rules (G01-109).
const (
	// Deny refuses what is to come, and what is here already is not served any longer.
	Deny Action = iota + 1
	// Allow puts the subject on the list of those that are taken. Such a list restricts only if
	// there is one.
	Allow
)

func (a Action) String() string {
	switch a {
	case Deny:
		return "deny"
	case Allow:
		return "allow"
	}
	return "nothing"
}

// ParseAction reads what String writes.
func ParseAction(s string) (Action, error) {
	switch s {
	case "deny":
		return Deny, nil
	case "allow":
		return Allow, nil
	}
	return 0, errors.New("is neither deny nor allow")
}

// A Source says where a rule was written.
type Source uint8

// The two sources. Rules of the configuration are changed there, and come first.
const (
	FromConfig Source = iota + 1
	FromTable
)

func (s Source) String() string {
	switch s {
	case FromConfig:
		return "config"
	case FromTable:
		return "table"
	}
	return "nowhere"
}

// MaxReason is how long the reason of a rule may be, in bytes.
const MaxReason = 500

// A Rule is one decision of the operator.
type Rule struct {
	Source  Source
	Number  int // within its source, from 1; never used again for another rule of the table
	Action  Action
	Subject Subject
	Reason  string // told to those who are refused; "" if there is none
	By      string // who decided: a key in hex, or "command line"; "" for the configuration
	At      int64  // when, in seconds since 1970; 0 for the configuration
}

// Name is how people speak of the rule: "rule 7", or "rule c2" if it is the second of the
// configuration.
func (r Rule) Name() string {
	if r.Source == FromConfig {
		return "rule c" + strconv.Itoa(r.Number)
	}
	return "rule " + strconv.Itoa(r.Number)
}

// String is the name and what the rule says: "rule 7 (deny npub1…/demo)".
func (r Rule) String() string {
	return r.Name() + " (" + r.Action.String() + " " + r.Subject.String() + ")"
}

// Check reports why a rule cannot be: its error says what is wrong and what to do. It is nil if
// the rule makes sense.
func (r Rule) Check() error {
	if _, err := ParseSubject(r.Subject.Topic, r.Subject.Name); err != nil {
		return err
	}
	switch {
	case r.Action != Allow && r.Action != Deny:
		return errors.New("a rule denies or allows")
	case r.Action == Allow && r.Subject.Topic == OfEvent:
		return errors.New("there is no list of allowed events: an event that is not denied is taken; remove the rule that denies it")
	case r.Action == Allow && r.Subject.Topic == OfAddress:
		return errors.New("there is no list of allowed addresses: an address that is not denied is let in; remove the rule that denies it")
	case r.Action == Deny && r.Subject.Topic == OfKind && indispensable(r.Subject.Name):
		return fmt.Errorf("kind %s cannot be denied: the server does not work without it; deny keys or repositories instead", r.Subject.Name)
	case len(r.Reason) > MaxReason:
		return fmt.Errorf("the reason is longer than %d bytes", MaxReason)
	case !utf8.ValidString(r.Reason), strings.ContainsFunc(r.Reason, func(c rune) bool { return unicode.IsControl(c) || unicode.Is(unicode.Cf, c) }):
		return errors.New("the reason must be one line of plain text")
	}
	return nil
}

// indispensable reports whether a kind, as a decimal number, is what this server is made of: the
// two ways to take something back, announcements and states. No list of kinds is about them.
func indispensable(kind string) bool {
	switch kind {
	case "5", "62", "30617", "30618":
		return true
	}
	return false
}

// A Moderation is all rules of the operator, in their order: those of the configuration, then
// those of the table, each by number. It is not changed once it was made. The nil Moderation has
// no rules, and takes everything.
//
// What decides: of the rules that deny, the first that matches; else, if there is a list of
// allowed repositories or kinds and nothing on it matches, the list; else nothing stands against it.
type Moderation struct {
	rules []Rule
	deny  map[Subject]int // index into rules
	allow map[Subject]int

	denies [topics]int // how many rules deny, by topic
	repos  int         // how many allow authors or repositories
	kinds  int         // how many allow kinds

	contact string
}

// NewModeration puts rules in order. Rules that Check finds fault with are left out. Of two about
// one subject that say the same the first counts. contact is how to reach the operator, or "".
func NewModeration(contact string, rules []Rule) *Moderation {
	m := &Moderation{deny: make(map[Subject]int), allow: make(map[Subject]int), contact: contact}
	for _, r := range rules {
		if r.Check() == nil {
			r.Subject, _ = ParseSubject(r.Subject.Topic, r.Subject.Name) // one spelling
			m.rules = append(m.rules, r)
		}
	}
	slices.SortStableFunc(m.rules, func(a, b Rule) int {
		if a.Source != b.Source {
			return int(a.Source) - int(b.Source)
		}
		return a.Number - b.Number
	})
	for i, r := range m.rules {
		set := m.deny
		if r.Action == Allow {
			set = m.allow
		}
		if _, twice := set[r.Subject]; twice {
			continue
		}
		set[r.Subject] = i
		switch {
		case r.Action == Deny:
			m.denies[r.Subject.Topic]++
		case r.Subject.Topic == OfKind:
			m.kinds++
		default:
			m.repos++
		}
	}
	return m
}

// Rules returns the rules in their order. The caller must not change them.
func (m *Moderation) Rules() []Rule {
	if m == nil {
		return nil
	}
	return m.rules
}

// Lists reports whether there is a list of allowed repositories, and one of allowed kinds.
func (m *Moderation) Lists() (repos, kinds bool) {
	if m == nil {
		return false, false
	}
	return m.repos > 0, m.kinds > 0
}

// Denies returns how many rules deny something of a topic.
func (m *Moderation) Denies(t Topic) int {
	if m == nil || t >= topics {
		return 0
	}
	return m.denies[t]
}

// Addresses returns the rules that deny a network address, in their order. Which of them is about
// a visitor is found out by those who know addresses.
func (m *Moderation) Addresses() []Rule {
	var out []Rule
	for _, r := range m.Rules() {
		if r.Action == Deny && r.Subject.Topic == OfAddress {
			out = append(out, r)
		}
	}
	return out
}

// A Finding is why the operator's rules say no.
type Finding struct {
	Rule *Rule // which denies; nil if it is a list on which something is missing
	List Topic // OfRepo or OfKind: whose list that is
	kind int

	contact string
}

// Event judges an event that is to enter, or that is here already: its id, its author, its kind,
// and the repository that it is about. nil says that nothing stands against it.
//
// An announcement or a state is about its author's repository of that identifier; another event
// about those that its a and A tags name, and it is refused if all of these are denied. Whoever
// asks for something to be deleted is heard whatever the repository, and a request to vanish
// (N-035) whoever its author.
func (m *Moderation) Event(ev *nostr.Event) *Finding {
	if m == nil || len(m.rules) == 0 {
		return nil
	}
	first := m.first(nil, m.about(ev)...)
	if m.denies[OfRepo]+m.denies[OfAuthor] > 0 {
		if by := m.repoOf(ev); by >= 0 && (first < 0 || by < first) {
			first = by
		}
	}
	if first >= 0 {
		return m.finding(first)
	}
	if name := strconv.Itoa(ev.Kind); m.kinds > 0 && !indispensable(name) {
		if _, listed := m.allow[Subject{OfKind, name}]; !listed {
			return &Finding{List: OfKind, kind: ev.Kind, contact: m.contact}
		}
	}
	return nil
}

// about returns what an event itself is: not the repository that it is about.
func (m *Moderation) about(ev *nostr.Event) []Subject {
	out := make([]Subject, 0, 3)
	if m.denies[OfEvent] > 0 {
		out = append(out, Subject{OfEvent, ev.ID})
	}
	if m.denies[OfAuthor] > 0 && ev.Kind != KindVanish {
		out = append(out, AboutAuthor(PubKey(ev.PubKey)))
	}
	if m.denies[OfKind] > 0 {
		out = append(out, Subject{OfKind, strconv.Itoa(ev.Kind)})
	}
	return out
}

// repoOf returns the rule that denies the repository an event is about, or -1.
func (m *Moderation) repoOf(ev *nostr.Event) int {
	switch ev.Kind {
	case KindAnnouncement, KindState:
		return m.first(nil, patterns(Addr{Owner: PubKey(ev.PubKey), ID: FirstValue(ev, "d")})...)
	case KindDeletion, KindVanish:
		return -1
	}
	first := -1
	for _, t := range ev.Tags {
		if len(t) < 2 || t[0] != "a" && t[0] != "A" {
			continue
		}
		a, ok := ParseCoordinate(t[1])
		if !ok {
			continue
		}
		by := m.first(nil, patterns(a)...)
		if by < 0 {
			return -1 // it is about something else as well
		}
		if first < 0 || by < first {
			first = by
		}
	}
	return first
}

// Repo judges a repository that may be here: whether it may be read and pushed to.
func (m *Moderation) Repo(a Addr) *Finding {
	if m == nil || m.denies[OfRepo]+m.denies[OfAuthor] == 0 {
		return nil
	}
	if first := m.first(nil, patterns(a)...); first >= 0 {
		return m.finding(first)
	}
	return nil
}

// Newcomer judges a repository that is announced: the list of those that are taken counts too.
func (m *Moderation) Newcomer(a Addr) *Finding {
	if f := m.Repo(a); f != nil {
		return f
	}
	if m == nil || m.repos == 0 {
		return nil
	}
	for _, s := range patterns(a) {
		if _, ok := m.allow[s]; ok {
			return nil
		}
	}
	return &Finding{List: OfRepo, contact: m.contact}
}

// patterns returns the subjects that a repository falls under.
func patterns(a Addr) []Subject {
	out := make([]Subject, 0, 4)
	out = append(out, AboutAuthor(a.Owner), AboutRepo(Pattern{Owner: a.Owner}))
	if !a.Box { // a box is a place of its owner, and not their repository of that name
		out = append(out, AboutRepo(Pattern{Owner: a.Owner, ID: a.ID}))
	}
	if _, key := ParsePubKey(a.ID); !key { // a pattern of this name means the owner
		out = append(out, AboutRepo(Pattern{ID: a.ID}))
	}
	return out
}

// first returns the index of the first rule that denies one of subjects, or -1. If all is not nil
// it receives the index of every one.
func (m *Moderation) first(all *[]int, subjects ...Subject) int {
	first := -1
	for _, s := range subjects {
		if i, ok := m.deny[s]; ok {
			if all != nil {
				*all = append(*all, i)
			}
			if first < 0 || i < first {
				first = i
			}
		}
	}
	return first
}

func (m *Moderation) finding(i int) *Finding {
	return &Finding{Rule: &m.rules[i], contact: m.contact}
}

// Blocked is the finding of a rule that denies an address.
func (m *Moderation) Blocked(r Rule) *Finding { return &Finding{Rule: &r, contact: m.contact} }

// Refusal says to whoever is concerned what was found: the operator's reason if there is one, and
// where to ask (G01-109).
func (f *Finding) Refusal() *Refusal {
	r := &Refusal{Rule: "G01-109", Prefix: Blocked, Text: f.text(), Hint: "ask the operator"}
	if f.Rule == nil && f.List == OfRepo || f.Rule != nil && f.Rule.Subject.Topic == OfRepo {
		r.Prefix = Restricted
	}
	if f.Rule != nil && f.Rule.Reason != "" {
		r.Text += ": " + f.Rule.Reason
	}
	if f.Rule == nil {
		r.Hint += " to add you"
	}
	if f.contact != "" {
		r.Hint += ": " + f.contact
	}
	return r
}

func (f *Finding) text() string {
	if f.Rule == nil {
		if f.List == OfKind {
			return fmt.Sprintf("this server takes the kinds of its own list only, and %d is not among them", f.kind)
		}
		return "this server takes repositories of its own list only"
	}
	switch f.Rule.Subject.Topic {
	case OfAuthor:
		return "this server takes nothing from this key"
	case OfEvent:
		return "this server does not take this event"
	case OfKind:
		return "this server does not take events of kind " + f.Rule.Subject.Name
	case OfAddress:
		return "this server does not serve your address"
	}
	return "this server does not take this repository"
}

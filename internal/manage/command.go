package manage

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gitroost/gitroost/grasp"
)

// The methods of the command line. They answer a Report.
const (
	MethodRules   = "gitroost.rules"   // no parameters
	MethodExplain = "gitroost.explain" // a Question
	MethodDecide  = "gitroost.decide"  // an Order
)

// A Report is an answer in words, line by line.
type Report struct {
	Lines []string `json:"lines"`
	Rules []View   `json:"rules,omitempty"`
}

// A View is a rule for programs.
type View struct {
	Name   string `json:"name"` // "rule 7"
	Action string `json:"action"`
	Topic  string `json:"topic"`
	About  string `json:"about"`
	Reason string `json:"reason,omitempty"`
	Source string `json:"source"` // config or table
	By     string `json:"by,omitempty"`
	At     int64  `json:"at,omitempty"` // seconds since 1970
}

// An Order is what somebody typed after allow or deny. One of About, Kind and Address is set.
type Order struct {
	Action  string `json:"action"`
	About   string `json:"about,omitempty"`   // npub1…, npub1…/identifier, identifier, or an event
	Kind    string `json:"kind,omitempty"`    // a number
	Address string `json:"address,omitempty"` // or a range
	Reason  string `json:"reason,omitempty"`
	DryRun  bool   `json:"dry_run,omitempty"` // change nothing
	Remove  bool   `json:"remove,omitempty"`  // take the rule back
	Only    bool   `json:"only,omitempty"`    // with allow: begin a list of what is allowed, if there is none
}

// A Question is what somebody typed after explain.
type Question struct {
	About      string `json:"about"` // npub1…, npub1…/identifier, identifier, an event, or an address
	Identifier string `json:"identifier,omitempty"`
}

// Precedence says in words how rules are weighed.
const Precedence = "deny beats allow; a list of what is allowed restricts new repositories, or kinds, only if there is one"

// one reads the single parameter of a method of the command line.
func one(c call, into any) error {
	if len(c.params) != 1 || json.Unmarshal(c.params[0], into) != nil {
		return mistake("this method takes one object")
	}
	return nil
}

func (h *Handler) rules(context.Context, call) (any, error) {
	all := h.desk.Moderation().Rules()
	rep := Report{Lines: []string{Precedence}}
	for _, r := range all {
		rep.Rules = append(rep.Rules, view(r))
		rep.Lines = append(rep.Lines, describe(r))
	}
	if len(all) == 0 {
		rep.Lines = []string{"there are no rules: whatever belongs to a repository here is taken"}
	}
	return rep, nil
}

func view(r grasp.Rule) View {
	return View{
		Name: r.Name(), Action: r.Action.String(), Topic: r.Subject.Topic.String(), About: about(r.Subject),
		Reason: r.Reason, Source: r.Source.String(), By: r.By, At: r.At,
	}
}

// about is the subject as it is typed.
func about(s grasp.Subject) string {
	switch s.Topic {
	case grasp.OfAuthor:
		return s.Key().Npub()
	case grasp.OfRepo:
		return s.Pattern().String()
	}
	return s.Name
}

// describe is one rule on one line.
func describe(r grasp.Rule) string {
	line := r.Name() + "  " + r.Action.String() + "  " + r.Subject.String()
	if r.Reason != "" {
		line += "  " + r.Reason
	}
	if r.Source == grasp.FromConfig {
		return line + "  (configuration)"
	}
	return line + "  (" + who(r.By) + ", " + day(time.Unix(r.At, 0)) + ")"
}

func who(by string) string {
	if k, ok := grasp.ParsePubKey(by); ok {
		return k.Npub()
	}
	return by
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

// identify finds out what a word on the command line means.
func (h *Handler) identify(word string) (grasp.Subject, error) {
	word = strings.TrimSpace(word)
	if word == "" {
		return grasp.Subject{}, mistake("name what it is about: npub1…, npub1…/identifier, an identifier, or an event as note1… or nevent1…")
	}
	if strings.HasPrefix(word, "note1") || strings.HasPrefix(word, "nevent1") {
		return h.parseSubject(grasp.OfEvent, word)
	}
	if strings.HasPrefix(word, "nsec1") {
		return grasp.Subject{}, mistake("this is a secret key; give the npub, and consider this nsec leaked")
	}
	if id, ok := grasp.ParseEventID(strings.ToLower(word)); ok {
		// 64 hex digits are an event: keys are written as npub here.
		return grasp.AboutEvent(id), nil
	}
	if strings.HasPrefix(word, "npub1") && !strings.Contains(word, "/") {
		return h.parseSubject(grasp.OfAuthor, word)
	}
	return h.parseSubject(grasp.OfRepo, word)
}

func (h *Handler) subjectOf(o Order) (grasp.Subject, error) {
	given := 0
	for _, s := range []string{o.About, o.Kind, o.Address} {
		if s != "" {
			given++
		}
	}
	switch {
	case given > 1:
		return grasp.Subject{}, mistake("a rule is about one thing: a word, --kind or --ip")
	case o.Kind != "":
		return h.parseSubject(grasp.OfKind, o.Kind)
	case o.Address != "":
		return h.parseAddress(o.Address)
	}
	return h.identify(o.About)
}

// command carries out an Order.
func (h *Handler) command(ctx context.Context, c call) (any, error) {
	var o Order
	if err := one(c, &o); err != nil {
		return nil, err
	}
	action, err := grasp.ParseAction(o.Action)
	if err != nil {
		return nil, mistake("%q %v", o.Action, err)
	}
	s, err := h.subjectOf(o)
	if err != nil {
		return nil, err
	}
	r := grasp.Rule{Action: action, Subject: s, Reason: strings.TrimSpace(o.Reason), By: c.by}
	switch {
	case o.Remove:
		return h.remove(ctx, r, o.DryRun)
	case action == grasp.Allow:
		return h.allow(ctx, r, o)
	}
	return h.deny(ctx, r, o.DryRun)
}

// have returns the rule of the table about a subject, if it has this action.
func (h *Handler) have(s grasp.Subject, a grasp.Action) (grasp.Rule, bool) {
	for _, r := range h.desk.Moderation().Rules() {
		if r.Source == grasp.FromTable && r.Subject == s && r.Action == a {
			return r, true
		}
	}
	return grasp.Rule{}, false
}

func (h *Handler) remove(ctx context.Context, r grasp.Rule, dry bool) (any, error) {
	was, ok := h.have(r.Subject, r.Action)
	if ok && dry {
		return Report{Lines: []string{"would remove " + was.String()}}, nil
	}
	if _, err := h.desk.Withdraw(ctx, r.Subject, r.Action); err != nil {
		return nil, err
	}
	if !ok {
		return Report{Lines: []string{"no rule says " + r.Action.String() + " " + r.Subject.String()}}, nil
	}
	return Report{Lines: h.lifted(was)}, nil
}

// lifted says what it means that a rule is gone.
func (h *Handler) lifted(was grasp.Rule) []string {
	lines := []string{"removed " + was.String()}
	if was.Action == grasp.Deny && was.Subject.Topic != grasp.OfAddress {
		lines = append(lines, "what it removed comes back when its author publishes it again; git data was kept for the grace period")
	}
	return append(lines, h.still(was.Subject)...)
}

// still says if something is refused all the same.
func (h *Handler) still(s grasp.Subject) []string {
	if x := h.judge(s); x.Refused {
		return []string{"still " + x.Text}
	}
	return nil
}

// judge explains what becomes of a subject.
func (h *Handler) judge(s grasp.Subject) grasp.Explanation {
	m := h.desk.Moderation()
	switch s.Topic {
	case grasp.OfAuthor:
		return m.ExplainAuthor(s.Key())
	case grasp.OfEvent:
		return m.ExplainID(grasp.EventID(s.Name))
	case grasp.OfRepo:
		if p := s.Pattern(); p.Owner != "" && p.ID != "" {
			return m.ExplainRepo(grasp.Addr{Owner: p.Owner, ID: p.ID})
		}
	}
	return m.ExplainSubject(s)
}

func (h *Handler) allow(ctx context.Context, r grasp.Rule, o Order) (any, error) {
	denied, wasDenied := h.have(r.Subject, grasp.Deny)
	repos, kinds := h.desk.Moderation().Lists()
	list := repos
	if r.Subject.Topic == grasp.OfKind {
		list = kinds
	}
	if r.Subject.Topic == grasp.OfEvent || r.Subject.Topic == grasp.OfAddress || wasDenied && !list && !o.Only {
		// Nothing but a denial can stand against it.
		return h.remove(ctx, grasp.Rule{Action: grasp.Deny, Subject: r.Subject}, o.DryRun)
	}
	if err := r.Check(); err != nil {
		return nil, mistake("%v", err)
	}
	if !list && !o.Only {
		lines := []string{"nothing to do: there is no list of what is allowed, so whatever is not denied is taken"}
		if still := h.still(r.Subject); still != nil {
			return Report{Lines: still}, nil
		}
		return Report{Lines: append(lines, "to take nothing but what you allow from now on, say it with --only")}, nil
	}
	if o.DryRun {
		lines := []string{"would allow " + r.Subject.String()}
		if wasDenied {
			lines = append(lines, "in place of "+denied.String())
		}
		if !list {
			lines = append(lines, "nothing else would be taken from then on; what is here would stay")
		}
		return Report{Lines: lines}, nil
	}
	r, _, err := h.desk.Decide(ctx, r, false)
	if err != nil {
		return nil, err
	}
	lines := []string{r.String()}
	if wasDenied {
		lines = append(lines, "in place of "+denied.String())
	}
	if !list {
		lines = append(lines, "this begins the list of what is allowed: nothing else is taken from now on; what is here stays")
	}
	return Report{Lines: append(lines, h.still(r.Subject)...), Rules: []View{view(r)}}, nil
}

func (h *Handler) deny(ctx context.Context, r grasp.Rule, dry bool) (any, error) {
	if err := r.Check(); err != nil {
		return nil, mistake("%v", err)
	}
	var sizes map[grasp.Addr]int64
	if dry {
		_, e, err := h.desk.Decide(ctx, r, true)
		if err != nil {
			return nil, err
		}
		sizes = h.sizes(ctx, e)
		return Report{Lines: append([]string{"would deny " + r.Subject.String()}, h.effect(e, sizes, "would ")...)}, nil
	}
	r, e, err := h.desk.Decide(ctx, r, false)
	if err != nil {
		return nil, err
	}
	lines := []string{r.String()}
	if r.Reason != "" {
		lines[0] += ": " + r.Reason
	}
	return Report{Lines: append(lines, h.effect(e, h.sizes(ctx, e), "")...), Rules: []View{view(r)}}, nil
}

// maxSized is how many repositories are measured for one answer.
const maxSized = 100

func (h *Handler) sizes(ctx context.Context, e Effect) map[grasp.Addr]int64 {
	out := map[grasp.Addr]int64{}
	for _, a := range e.Repos[:min(len(e.Repos), maxSized)] {
		if n, err := h.house.Size(ctx, a); err == nil {
			out[a] = n
		}
	}
	return out
}

// effect says what goes, event kinds first, in order.
func (h *Handler) effect(e Effect, sizes map[grasp.Addr]int64, would string) []string {
	var lines []string
	for _, kind := range slices.Sorted(maps.Keys(e.Events)) {
		name := fmt.Sprintf("kind %d", kind)
		if kind < 0 {
			name = "other kinds"
		}
		n := e.Events[kind]
		lines = append(lines, fmt.Sprintf("%sremove %d %s of %s", would, n, plural(n, "event"), name))
	}
	var total int64
	for _, a := range e.Repos {
		line := would + "close " + a.String()
		if n, ok := sizes[a]; ok {
			total += n
			line += " (" + bytes(n) + ")"
		}
		lines = append(lines, line)
	}
	if e.More > 0 {
		lines = append(lines, fmt.Sprintf("%sclose %d more %s", would, e.More, plural(e.More, "repository")))
	}
	if n := len(e.Repos) + e.More; n > 1 && total > 0 {
		lines = append(lines, fmt.Sprintf("%s in %d repositories", bytes(total), n))
	}
	if len(e.Repos) > 0 {
		lines = append(lines, "the git data is kept for "+days(h.cfg.Grace))
	}
	if len(lines) == 0 {
		lines = append(lines, "nothing of it is here")
	}
	return lines
}

func plural(n int, word string) string {
	switch {
	case n == 1:
		return word
	case word == "repository":
		return "repositories"
	case word == "person":
		return "people"
	case word == "try":
		return "tries"
	}
	return word + "s"
}

func days(d time.Duration) string {
	if n := int(d / (24 * time.Hour)); n > 0 {
		return fmt.Sprintf("%d %s", n, plural(n, "day"))
	}
	return d.String()
}

// bytes says n for people.
func bytes(n int64) string {
	for _, u := range []struct {
		name string
		n    int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.n {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.n), u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

// explain answers a Question.
func (h *Handler) explain(ctx context.Context, c call) (any, error) {
	var q Question
	if err := one(c, &q); err != nil {
		return nil, err
	}
	word := strings.TrimSpace(q.About)
	if q.Identifier != "" {
		word += "/" + q.Identifier
	}
	if p, err := parsePrefix(word); err == nil && p.IsSingleIP() {
		x := grasp.Explanation{Text: "accepted: no rule is about it"}
		if r := NewBlocks(h.desk.Moderation().Addresses()).Find(p.Addr()); r != nil {
			x = grasp.Explanation{Refused: true, Text: "refused: " + r.String(), Decided: r, Matched: []grasp.Rule{*r}}
		}
		return explained(x), nil
	}
	s, err := h.identify(word)
	if err != nil {
		return nil, err
	}
	if s.Topic != grasp.OfEvent {
		return explained(h.judge(s)), nil
	}
	x, here, err := h.desk.ExplainEvent(ctx, grasp.EventID(s.Name))
	if err != nil {
		return nil, err
	}
	rep := explained(x)
	if !here {
		rep.Lines = append(rep.Lines, "the event is not here; what it says is not known")
	}
	return rep, nil
}

func explained(x grasp.Explanation) Report {
	rep := Report{Lines: []string{x.Text}}
	for _, r := range x.Matched {
		rep.Lines = append(rep.Lines, "  "+describe(r))
		rep.Rules = append(rep.Rules, view(r))
	}
	return rep
}

package steward

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// refusals counts what the operator's rules refused: by what the rule is about and where it was
// written; a list of what is allowed counts as written nowhere.
type refusals [6][3]atomic.Int64

// Refusals returns how often rules about a topic from a source refused something since the start,
// at the desk. Source 0 stands for lists on which something is missing.
func (s *Steward) Refusals(t grasp.Topic, from grasp.Source) int64 {
	return s.refused[t][from].Load()
}

// refuse counts a finding and says it.
func (s *Steward) refuse(f *grasp.Finding) error {
	if f.Rule == nil {
		s.refused[f.List][0].Add(1)
	} else {
		s.refused[f.Rule.Subject.Topic][f.Rule.Source].Add(1)
	}
	return f.Refusal()
}

// Refuse counts a finding that somebody else made of the rules, and says it.
func (s *Steward) Refuse(f *grasp.Finding) error { return s.refuse(f) }

// Moderation returns the rules that are in force.
func (s *Steward) Moderation() *grasp.Moderation { return s.rules.Load() }

// Screen says what the operator has against an event, before anything else about it is known: its
// id and signature may be wrong. It costs a few look-ups in memory.
func (s *Steward) Screen(ev *nostr.Event) error {
	if f := s.rules.Load().Event(ev); f != nil {
		return s.refuse(f)
	}
	return nil
}

// closed refuses what concerns a repository that the operator denies.
func (s *Steward) closed(repo grasp.Addr) error {
	if f := s.rules.Load().Repo(repo); f != nil {
		return s.refuse(f)
	}
	return nil
}

// unwanted refuses the ref of a pull request that the operator denies. ev is nil if it is not here.
func (s *Steward) unwanted(id grasp.EventID, ev *nostr.Event) error {
	if ev == nil {
		ev = &nostr.Event{ID: string(id), Kind: grasp.KindPull}
	}
	if f := s.rules.Load().Event(ev); f != nil {
		return s.refuse(f)
	}
	return nil
}

// LoadRules reads the table of rules. It is called once, before anybody is served.
func (s *Steward) LoadRules(ctx context.Context) error {
	s.ruling.Lock()
	defer s.ruling.Unlock()
	return s.loadRules(ctx)
}

func (s *Steward) loadRules(ctx context.Context) error {
	rules := slices.Clone(s.knobs.Load().Rules)
	if s.cfg.Books != nil {
		more, err := s.cfg.Books.Rules(ctx)
		if err != nil {
			return fault.Wrap("steward: rules", err)
		}
		rules = append(rules, more...)
	}
	m := grasp.NewModeration(s.knobs.Load().Contact, rules)
	s.rules.Store(m)
	s.cfg.Ruled(m)
	return nil
}

// noTable says that rules cannot be changed.
func noTable(op string) error {
	return fault.E(fault.Invalid, op, "this server keeps no table of rules; change its configuration")
}

// Decide puts a rule into force: it is written first, then everybody is judged by it, then what is
// here already and is denied goes. An error after the rule was written says that not everything
// went; the rest goes at the next sweep. Source, Number and At
// of r are chosen here.
func (s *Steward) Decide(ctx context.Context, r grasp.Rule) (grasp.Rule, Effect, error) {
	const op = "steward: decide"
	if s.cfg.Books == nil {
		return r, Effect{}, noTable(op)
	}
	if err := r.Check(); err != nil {
		return r, Effect{}, fault.Errorf(fault.Invalid, op, "%v", err)
	}
	s.ruling.Lock()
	defer s.ruling.Unlock()
	r.At = s.cfg.Now().Unix()
	r, err := s.cfg.Books.Decide(ctx, r)
	ctx = context.WithoutCancel(ctx)
	if lerr := s.loadRules(ctx); err == nil {
		err = lerr
	}
	if err != nil {
		s.unfinished.Store(true) // it may have been written
		return r, Effect{}, fault.Wrap(op, err)
	}
	s.log.Info("the operator decided", "rule", r.String(), "reason", r.Reason, "by", r.By)
	e, err := s.enforce(ctx, r.Subject, r.Action == grasp.Deny)
	return r, e, fault.Wrap(op, err)
}

// Withdraw takes a rule of the table out of force, and reports whether there was one. What a rule
// removed stays away until somebody publishes it again.
func (s *Steward) Withdraw(ctx context.Context, sub grasp.Subject, a grasp.Action) (bool, error) {
	const op = "steward: withdraw"
	if s.cfg.Books == nil {
		return false, noTable(op)
	}
	s.ruling.Lock()
	defer s.ruling.Unlock()
	found, err := s.cfg.Books.Withdraw(ctx, sub, a)
	if lerr := s.loadRules(context.WithoutCancel(ctx)); err == nil {
		err = lerr
	}
	if err != nil {
		return false, fault.Wrap(op, err)
	}
	if found {
		s.log.Info("the operator took a rule back", "rule", a.String()+" "+sub.String())
		return true, nil
	}
	for _, r := range s.rules.Load().Rules() {
		if r.Source == grasp.FromConfig && r.Subject == sub && r.Action == a {
			return false, fault.Errorf(fault.Refused, op, "%s comes from the configuration; remove it there and start the server again", r)
		}
	}
	return false, nil
}

// ExplainEvent says what the rules decide about the event with this id, and whether it is here.
func (s *Steward) ExplainEvent(ctx context.Context, id grasp.EventID) (x grasp.Explanation, here bool, err error) {
	m := s.rules.Load()
	e, err := s.ledger.Event(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return m.ExplainID(id), false, nil
	}
	if err != nil {
		return x, false, fault.Wrap("steward: explain", err)
	}
	return m.ExplainEvent(e.Event), true, nil
}

// An Effect is what a rule that denies removes, or would.
type Effect struct {
	Events map[int]int // by kind
	Repos  []grasp.Addr
	More   int // repositories beyond MaxEffect
}

// MaxEffect is how many repositories an Effect names.
const MaxEffect = 1_000

// maxTold is how many kinds an Effect tells apart; the others count as -1.
const maxTold = 100

func (e *Effect) event(kind int) {
	if e.Events == nil {
		e.Events = make(map[int]int)
	}
	if _, ok := e.Events[kind]; !ok && len(e.Events) >= maxTold {
		kind = -1
	}
	e.Events[kind]++
}

func (e *Effect) repo(a grasp.Addr) {
	if slices.Contains(e.Repos, a) {
		return
	}
	if len(e.Repos) >= MaxEffect {
		e.More++
		return
	}
	e.Repos = append(e.Repos, a)
}

// Total is the number of events.
func (e Effect) Total() int {
	n := 0
	for _, c := range e.Events {
		n += c
	}
	return n
}

// Preview says what Decide would remove, and changes nothing.
func (s *Steward) Preview(ctx context.Context, r grasp.Rule) (Effect, error) {
	const op = "steward: preview"
	if s.cfg.Books == nil {
		return Effect{}, noTable(op)
	}
	if err := r.Check(); err != nil {
		return Effect{}, fault.Errorf(fault.Invalid, op, "%v", err)
	}
	if r.Action != grasp.Deny {
		return Effect{}, nil
	}
	r.Source, r.Number = grasp.FromTable, 1
	c := cleaning{s: s, rules: grasp.NewModeration("", append(slices.Clone(s.knobs.Load().Rules), r)), dry: true}
	err := c.subject(ctx, r.Subject)
	return c.effect, fault.Wrap(op, err)
}

// Enforce removes everything that the rules deny, whatever came in between: after a restart, the
// end is the same. Doing it twice is doing it once.
func (s *Steward) Enforce(ctx context.Context) error {
	s.ruling.Lock()
	defer s.ruling.Unlock()
	if s.cfg.Books == nil {
		return nil
	}
	s.unfinished.Store(false)
	if err := s.loadRules(ctx); err != nil {
		s.unfinished.Store(true)
		return err
	}
	for _, r := range s.rules.Load().Rules() {
		if r.Action != grasp.Deny {
			continue
		}
		if _, err := s.enforce(ctx, r.Subject, true); err != nil {
			return err
		}
	}
	return nil
}

// enforce removes what a rule about sub denies. The caller holds ruling.
func (s *Steward) enforce(ctx context.Context, sub grasp.Subject, denies bool) (Effect, error) {
	if !denies || s.cfg.Books == nil {
		return Effect{}, nil
	}
	c := cleaning{s: s, rules: s.rules.Load()}
	err := c.subject(ctx, sub)
	if err != nil {
		s.unfinished.Store(true)
	}
	if n := c.effect.Total(); n > 0 || len(c.effect.Repos) > 0 {
		s.log.Info("removed by the operator", "rule", sub.String(), "events", n, "repos", len(c.effect.Repos)+c.effect.More)
	}
	return c.effect, err
}

// regret removes an event that was let in while it was being denied.
func (s *Steward) regret(ctx context.Context, ev *nostr.Event) {
	ctx = context.WithoutCancel(ctx)
	c := cleaning{s: s, rules: s.rules.Load()}
	e, err := s.ledger.Event(ctx, grasp.EventID(ev.ID))
	if err == nil {
		err = c.batch(ctx, []Entry{e})
	}
	if err != nil && !fault.Is(err, fault.NotFound) {
		s.log.Error("cannot remove what was denied meanwhile", "event", ev.ID, "err", err)
	}
}

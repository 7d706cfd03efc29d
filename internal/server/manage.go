package server

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/manage"
	"github.com/gitroost/gitroost/internal/relay"
	"github.com/gitroost/gitroost/internal/steward"
	"github.com/gitroost/gitroost/internal/web"
)

// An operation is what changes while the server runs: who is kept out by address, and what the
// server says of itself.
type operation struct {
	blocks  atomic.Pointer[manage.Blocks]
	blocked [3]atomic.Int64 // requests refused by address, by source of the rule

	mu      sync.Mutex        // held while what is told changes
	profile map[string]string // what is told in place of the configuration
}

// builtins are the NIPs that the house implements beside those of the relay's room.
var builtins = []int{9, 34, 40, 62, 86}

// ruled makes everybody follow rules that have changed.
func (s *Server) ruled(m *grasp.Moderation) {
	b := manage.NewBlocks(m.Addresses())
	s.op.blocks.Store(b)
	if s.relay == nil {
		return // the command line without a server
	}
	if s.sync != nil {
		s.sync.Reconsider()
	}
	s.relay.Expel(func(address string) bool {
		a, err := netip.ParseAddr(address)
		return err == nil && b.Find(a) != nil
	}, "this server does not serve your address")
	s.tell(m)
}

// tell puts what the server says of itself everywhere at once (N-022, N-025, N-026).
func (s *Server) tell(m *grasp.Moderation) {
	s.op.mu.Lock()
	defer s.op.mu.Unlock()
	cfg := s.config()
	name := cmp.Or(s.op.profile["name"], cfg.Name)
	description := cmp.Or(s.op.profile["description"], cfg.Description)
	s.relay.SetInfo(relay.Info{
		Name: name, Description: description, Icon: cmp.Or(s.op.profile["icon"], cfg.Icon),
		PubKey: cmp.Or(s.cfg.Owner, s.self), Self: s.self, Contact: cfg.Contact,
		Version: Version(), NIPs: builtins, Grasps: grasps(s.cfg),
		Criteria: allowing(criteria(m), s.cfg), Curation: archiving(s.cfg, curation(m)),
	})
	s.pages.SetProfile(web.Profile{Name: name, Description: description, Admission: admission(s.cfg, m)})
}

// criteria says in one sentence what is taken (N-025).
func criteria(m *grasp.Moderation) string {
	repos, _ := m.Lists()
	switch {
	case repos:
		return "Only repositories on the operator's list."
	case m.Denies(grasp.OfRepo) > 0:
		return "Any repository that is not on the operator's list of those refused."
	case m.Denies(grasp.OfAuthor) > 0:
		return "Any repository, but for those of keys that the operator refuses."
	}
	return "None"
}

// curation is there only where the operator chooses (N-026): to keep single keys, events and
// addresses out is no choice of topics.
func curation(m *grasp.Moderation) string {
	repos, kinds := m.Lists()
	var out []string
	if repos || m.Denies(grasp.OfRepo) > 0 {
		out = append(out, criteria(m))
	}
	switch {
	case kinds:
		out = append(out, "Only events of the kinds on the operator's list.")
	case m.Denies(grasp.OfKind) > 0:
		out = append(out, "Events of some kinds are not taken.")
	}
	return strings.Join(out, " ")
}

// archiving adds what is true of an archive (G05-03).
func archiving(cfg config.Config, curation string) string {
	if !cfg.Archive.ReadOnly {
		return curation
	}
	return strings.TrimSpace("Read-only: repositories follow other servers and take no pushes of branches and tags. " + curation)
}

func admission(cfg config.Config, m *grasp.Moderation) string {
	who := "Anyone may announce repositories here"
	if repos, _ := m.Lists(); repos {
		who = "The operator decides whose repositories are taken"
	}
	if cfg.Archive.ReadOnly {
		return "This server is read-only: its repositories follow other servers, and take no pushes of branches and tags."
	}
	return fmt.Sprintf("%s; a push is accepted when a maintainer has signed what it moves. One push may carry %s.",
		who, config.Size(cfg.Limits.MaxPush))
}

// admins returns who may manage the server over the network.
func (s *Server) admins() []grasp.PubKey {
	out := append(slices.Clone(s.cfg.Admin.Keys), s.self)
	if s.cfg.Owner != "" {
		out = append(out, s.cfg.Owner)
	}
	return out
}

// manager builds the operator's door.
func (s *Server) manager(authorities []string) *manage.Handler {
	cfg := manage.Config{
		Now: s.now, Wire: s.wire, Authorities: authorities, Admins: s.admins(), Never: s.cfg.TrustedProxies, Grace: s.cfg.Repos.DeletedGrace,
		Others: others{s},
	}
	if s.jobs != nil {
		cfg.Teller = teller{s.jobs}
	}
	return manage.New(cfg, rulings{s.steward}, s, s.log.With("room", "manage"))
}

// rulings is the steward as the operator's door knows it.
type rulings struct{ s *steward.Steward }

func (d rulings) Moderation() *grasp.Moderation { return d.s.Moderation() }

func (d rulings) Decide(ctx context.Context, r grasp.Rule, dry bool) (grasp.Rule, manage.Effect, error) {
	var e steward.Effect
	var err error
	if dry {
		e, err = d.s.Preview(ctx, r)
	} else {
		r, e, err = d.s.Decide(ctx, r)
	}
	return r, manage.Effect{Events: e.Events, Repos: e.Repos, More: e.More}, err
}

func (d rulings) Withdraw(ctx context.Context, s grasp.Subject, a grasp.Action) (bool, error) {
	return d.s.Withdraw(ctx, s, a)
}

func (d rulings) ExplainEvent(ctx context.Context, id grasp.EventID) (grasp.Explanation, bool, error) {
	return d.s.ExplainEvent(ctx, id)
}

// SetProfile changes what the server says of itself, at once and durably.
func (s *Server) SetProfile(ctx context.Context, name, value, by string) error {
	if err := s.store.SetProfile(ctx, name, value, by); err != nil {
		return fault.Wrap("server: profile", err)
	}
	s.log.Info("the operator changed what the server says of itself", "name", name, "value", value, "by", by)
	if err := s.loadProfile(ctx); err != nil {
		return err
	}
	if s.relay != nil {
		s.tell(s.steward.Moderation())
	}
	return nil
}

func (s *Server) loadProfile(ctx context.Context) error {
	p, err := s.store.Profile(ctx)
	if err != nil {
		return fault.Wrap("server: profile", err)
	}
	s.op.mu.Lock()
	defer s.op.mu.Unlock()
	s.op.profile = p
	return nil
}

// Size returns how many bytes a repository takes on disk.
func (s *Server) Size(ctx context.Context, repo grasp.Addr) (int64, error) {
	return s.vault.Size(ctx, repo)
}

// keepOut answers a visitor from an address that the operator blocks, and reports whether it did.
func (s *Server) keepOut(addresses prefixer) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		b := s.op.blocks.Load()
		if !b.Any() {
			return false
		}
		a, _ := addresses.client(r)
		rule := b.Find(a)
		if rule == nil {
			return false
		}
		s.op.blocked[rule.Source].Add(1)
		no := s.steward.Moderation().Blocked(*rule).Refusal()
		// Nobody waits for what they still send.
		w.Header().Set("Connection", "close")
		http.Error(w, no.Text+"\n"+no.Hint, http.StatusForbidden)
		return true
	}
}

// moderationMetrics counts what the operator's rules do: by what a rule is about and where it was
// written, which are a handful, and never by the rule itself.
func (s *Server) moderationMetrics(reg prometheus.Registerer) {
	for _, t := range grasp.Topics() {
		for from, name := range map[grasp.Source]string{0: "list", grasp.FromConfig: "config", grasp.FromTable: "table"} {
			if from == 0 && t != grasp.OfRepo && t != grasp.OfKind {
				continue // there are no other lists
			}
			reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "gitroost_moderation_refused_total", Help: "What the operator's rules refused, by what the rule is about and where it is written; list is a list on which something was missing.",
				ConstLabels: prometheus.Labels{"about": t.String(), "source": name},
			}, func() float64 {
				if t == grasp.OfAddress {
					return float64(s.op.blocked[from].Load())
				}
				return float64(s.steward.Refusals(t, from))
			}))
		}
		for _, a := range []grasp.Action{grasp.Deny, grasp.Allow} {
			if a == grasp.Allow && (t == grasp.OfEvent || t == grasp.OfAddress) {
				continue // there are no such rules
			}
			reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "gitroost_moderation_rules", Help: "Rules of the operator that are in force.",
				ConstLabels: prometheus.Labels{"about": t.String(), "action": a.String()},
			}, func() float64 {
				n := 0
				for _, r := range s.steward.Moderation().Rules() {
					if r.Action == a && r.Subject.Topic == t {
						n++
					}
				}
				return float64(n)
			}))
		}
	}
}

package server

import (
	"context"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/steward"
	"github.com/gitroost/gitroost/internal/work/notify"
)

// definitions is what the configuration says of jobs: replaced as a whole when it is read anew.
type definitions struct {
	cfg     config.Config           // of which Jobs, Secrets, Targets and Trust count
	private map[string]bool         // by name of the definition
	notices map[string]notify.Rules // likewise
	owned   ownFiles                // what repositories define for themselves, held to cfg
}

// define reads what cfg says of jobs.
func define(cfg config.Config) (*definitions, *jobs.Book, error) {
	const op = "server: jobs"
	d := &definitions{cfg: cfg, private: map[string]bool{}, notices: map[string]notify.Rules{}}
	for _, j := range cfg.Jobs {
		rules, err := notify.NewRules(j.Notices)
		if err != nil {
			return nil, nil, fault.Wrap(op, err)
		}
		d.private[j.Name], d.notices[j.Name] = j.Private, rules
	}
	book, err := jobs.NewBook(cfg.Definitions())
	return d, book, fault.Wrap(op, err)
}

// knobs are what of a configuration the desk follows while it works.
func knobs(cfg config.Config) steward.Knobs {
	lim := cfg.Limits
	return steward.Knobs{
		Rules: cfg.Rules(), Contact: cfg.Contact, Quotas: cfg.Quotas(), FutureLimit: lim.Future,
		WaitingPerKey: lim.WaitingPerKey, WaitingPerSource: lim.WaitingPerAddress, WaitingInAll: lim.Waiting, NewReposPerHour: lim.NewRepos,
	}
}

// reloads is how often the configuration was read anew, and how that went.
type reloads struct {
	ok, failed atomic.Int64
	last       atomic.Int64 // when it went well, in Unix seconds; at first the start
	well       atomic.Bool  // the last one did
}

// Reload puts into force what of next can be had without a restart: jobs, secrets, targets, the operator's
// rules, quotas and the desk's limits, and what the server says of itself. It names the settings that changed,
// and those that differ and want a restart. Then peers are asked anew what they have (S3-41). One call at a
// time. On an error that is not about what is removed, nothing has changed.
func (s *Server) Reload(ctx context.Context, next config.Config) (changed, held []string, err error) {
	defer func() { s.Reloaded(err == nil) }()
	cfg, changed, held := s.config().Adopt(next)
	defs, book, err := define(cfg)
	if err != nil {
		return nil, nil, err
	}
	for name, err := range CheckSecrets(cfg) {
		s.log.Warn("a secret cannot be had; jobs that need it will not begin", "secret", name, "err", err)
	}
	s.current.Store(&cfg)
	s.jobs.defs.Store(defs)
	s.jobs.book.Store(book)
	s.jobs.redefined()
	if err := s.steward.Reconfigure(ctx, knobs(cfg)); err != nil { // tells everybody, by ruled
		return changed, held, fault.Wrap("server: reload", err)
	}
	if s.sync != nil {
		s.sync.Poll()
	}
	return changed, held, nil
}

// Reloaded counts that the configuration was read anew, or could not be.
func (s *Server) Reloaded(ok bool) {
	s.reloads.well.Store(ok)
	if !ok {
		s.reloads.failed.Add(1)
		return
	}
	s.reloads.ok.Add(1)
	s.reloads.last.Store(s.now().Unix())
}

// config returns what is in force.
func (s *Server) config() config.Config {
	if c := s.current.Load(); c != nil {
		return *c
	}
	return s.cfg
}

// reloadMetrics shows when the configuration was last read.
func (s *Server) reloadMetrics(reg prometheus.Registerer) {
	s.reloads.well.Store(true)
	s.reloads.last.CompareAndSwap(0, s.now().Unix())
	reg.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "gitroost_config_last_reload_success_timestamp_seconds", Help: "When the configuration that is in force was read.",
		}, func() float64 { return float64(s.reloads.last.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "gitroost_config_last_reload_successful", Help: "1 if the configuration could be read when it was tried last, else 0.",
		}, func() float64 {
			if s.reloads.well.Load() {
				return 1
			}
			return 0
		}),
	)
	for outcome, n := range map[string]*atomic.Int64{"ok": &s.reloads.ok, "failed": &s.reloads.failed} {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "gitroost_config_reloads_total", Help: "How often the configuration was read anew, by outcome.", ConstLabels: prometheus.Labels{"outcome": outcome},
		}, func() float64 { return float64(n.Load()) }))
	}
}

// redefined has schedules looked at anew.
func (h *Jobs) redefined() {
	select {
	case h.rescan <- struct{}{}:
	default: // it will be
	}
}

package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitdir"
	"github.com/gitroost/gitroost/internal/joblog"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/jobview"
	"github.com/gitroost/gitroost/internal/work"
)

// Jobs is what follows from a push: it says which jobs a happening asks for, and has them run. Its
// methods are safe for concurrent use.
type Jobs struct {
	cfg    config.Config
	book   atomic.Pointer[jobs.Book]
	ids    *jobs.IDs
	queue  jobs.Queue
	vault  *gitdir.Vault
	logs   *joblog.Logs
	engine *jobs.Engine
	board  *jobview.Board
	clock  clock
	ended  func(kind string, state jobs.State) int64

	defs   atomic.Pointer[definitions]
	rescan chan struct{} // there may be other schedules now
	tell   telling
	server *Server // for what concerns events
	find   func(ctx context.Context, repo grasp.Addr) (grasp.Hosting, error)
	repos  func(ctx context.Context, after grasp.Addr, limit int) ([]grasp.Addr, error)
	gone   func(ctx context.Context, before time.Time, limit int) ([]jobs.Job, error)

	public string
	log    *slog.Logger
}

// jobStop is how long jobs that run may take to end when the server stops: programs get a TERM, and ten
// seconds later a KILL (S4-31).
const jobStop = 15 * time.Second

// buildJobs reads the definitions and makes the engine, which does nothing until Run.
func (s *Server) buildJobs() error {
	const op = "server: jobs"
	h := &Jobs{
		cfg: s.cfg, queue: s.store.Jobs(), vault: s.vault, public: s.public, log: s.log.With("room", "jobs"),
		ids: jobs.NewIDs(s.now, rand.Reader), clock: clock{s.now, s.putClock}, ended: s.store.Jobs().Ended, rescan: make(chan struct{}, 1),
		find:  func(ctx context.Context, repo grasp.Addr) (grasp.Hosting, error) { return s.steward.Find(ctx, repo) },
		repos: s.store.ReposAfter, gone: s.store.Jobs().LogsOfGone,
	}
	for name, err := range CheckSecrets(s.cfg) {
		h.log.Warn("a secret cannot be had; jobs that need it will not begin", "secret", name, "err", err)
	}
	defs, book, err := define(s.cfg)
	if err != nil {
		return err
	}
	h.defs.Store(defs)
	h.book.Store(book)
	if h.logs, err = joblog.Open(joblog.Config{
		Dir: filepath.Join(s.cfg.Data, "logs"), Now: s.now, MaxBytes: s.cfg.Engine.Logs.MaxBytes, Log: h.log,
	}); err != nil {
		return fault.Wrap(op, err)
	}
	doers, err := s.doers()
	if err != nil {
		return err
	}
	if err := s.buildTelling(h, doers); err != nil {
		return err
	}
	hall, err := work.New(work.Config{
		Doers: doers, Dir: filepath.Join(s.cfg.Data, "tasks"), Git: s.vault.Lend, Objects: h.objects, Secret: h.secret,
		URL: s.public, Log: h.log, Now: s.now,
	})
	if err != nil {
		return fault.Wrap(op, err)
	}
	if h.engine, err = jobs.New(jobs.Config{
		Queue: h.queue, Runner: begins{hall, h}, Clock: h.clock, By: rand.Text(), Alone: true, Log: h.log,
		Workers:  map[string]int{jobs.DefaultPool: s.cfg.Engine.Workers},
		PerOwner: s.cfg.Engine.PerOwner, PerRepo: s.cfg.Engine.PerRepo, Timeout: s.cfg.Engine.Timeout,
		Rand: mathrand.Float64, Stop: jobStop, Follow: h.after,
		Told:    func(jobs.ID) { h.board.Note() },
		OpenLog: func(j jobs.Job) (jobs.Log, error) { return h.logs.Begin(string(j.ID), j.Attempt) },
	}); err != nil {
		return fault.Wrap(op, err)
	}
	if h.board, err = s.showJobs(h); err != nil {
		return err
	}
	s.jobs = h
	return nil
}

// objects opens a repository for a job that reads it.
func (h *Jobs) objects(ctx context.Context, repo grasp.Addr) (work.Objects, error) {
	return h.vault.Browse(ctx, repo)
}

// follow returns the jobs that ev asks for, and what a pusher is told of those that it does not ask
// for. It reads what git has to say about ev only if a definition asks for it.
func (h *Jobs) follow(ctx context.Context, ev jobs.Event) (list []jobs.Job, remarks []string) {
	ev.Run = h.ids.Next()
	list, remarks = h.plan(ctx, h.book.Load(), ev)
	theirs, said := h.followOwn(ctx, ev)
	return append(list, theirs...), append(remarks, said...)
}

// plan is follow for the definitions of one book.
func (h *Jobs) plan(ctx context.Context, book *jobs.Book, ev jobs.Event) (list []jobs.Job, remarks []string) {
	names := book.Names()
	if len(names) == 0 {
		return nil, nil
	}
	if most := max(maxPairs/len(names), 1); len(ev.Changes) > most {
		h.log.Warn("more refs moved than are held against definitions", "repo", ev.Repo.String(), "refs", len(ev.Changes), "looked_at", most)
		remarks = append(remarks, fmt.Sprintf("%d refs moved, and only the first %d can make jobs", len(ev.Changes), most))
		ev.Changes = ev.Changes[:most]
	}
	paths, messages := book.Asks(ev)
	ev.Facts = h.facts(ctx, ev, paths, messages)
	matches := book.Explain(ev)
	list, dropped := book.Make(ev, matches, h.ids)
	if len(list) > 0 && slices.ContainsFunc(ev.Options, skips) {
		remarks = append(remarks, "these run all the same: their definitions do not say skip_ci: true")
	}
	if dropped > 0 {
		h.log.Warn("more jobs than one happening makes", "repo", ev.Repo.String(), "dropped", dropped)
		remarks = append(remarks, fmt.Sprintf("%d more jobs match than the %d that one push makes", dropped, jobs.MaxPerEvent))
	}
	return list, append(remarks, unmatched(matches)...)
}

// skips reports whether a push option asks for no jobs.
func skips(option string) bool { return option == "skip-jobs" || option == "skip-ci" }

// What one happening may cost while its identifier is locked: how many refs are held against how many
// definitions, how many of the refs git is asked about, and for how long. What git was not asked about
// counts as unknown, and fits.
const (
	maxPairs = 200_000
	maxFacts = 20
	factTime = 10 * time.Second
)

// facts asks git what definitions want to know of changes.
func (h *Jobs) facts(ctx context.Context, ev jobs.Event, paths, messages []grasp.RefChange) map[grasp.RefName]jobs.Facts {
	ctx, cancel := context.WithTimeout(ctx, factTime)
	defer cancel()
	out := map[grasp.RefName]jobs.Facts{}
	for i, c := range paths {
		f := jobs.Facts{Unknown: true}
		if i < maxFacts {
			list, ok := h.vault.Changed(ctx, ev.Repo, c, ev.Head, jobs.MaxPaths)
			f = jobs.Facts{Paths: list, Unknown: !ok}
		}
		out[c.Ref] = f
	}
	for i, c := range messages {
		f, known := out[c.Ref]
		f.Unknown = f.Unknown || !known // nobody asked for its paths
		if i < maxFacts {
			f.Message = h.vault.Message(ctx, ev.Repo, c.New)
		}
		out[c.Ref] = f
	}
	return out
}

// unmatched returns a line for each definition that wants the pusher to know why it made no job of any
// ref (S0-25).
func unmatched(list []jobs.Match) []string {
	made := map[string]bool{}
	for _, m := range list {
		made[m.Job] = made[m.Job] || m.OK
	}
	var out []string
	said := map[string]bool{}
	for _, m := range list {
		if m.Tell && !made[m.Job] && !said[m.Job] {
			said[m.Job] = true
			out = append(out, fmt.Sprintf("job %s does not run: %s", m.Job, m.Text))
		}
	}
	return out
}

// maxTold is how many jobs a pusher is told of one by one.
const maxTold = 10

// notes tells whoever pushed which jobs there are (S0-14), and which have ended as soon as they were made.
func (h *Jobs) notes(list []jobs.Job, remarks []string) []string {
	var out []string
	for i, j := range list {
		if i == maxTold && len(list) > maxTold+1 {
			out = append(out, fmt.Sprintf("gitroost: %d more jobs: %s/jobs", len(list)-maxTold, h.public))
			break
		}
		line := fmt.Sprintf("gitroost: job %s %s ", j.Name, j.ID)
		switch {
		case j.State != "" && j.State.Ended() && j.Reason != "":
			line += string(j.State) + ": " + j.Reason
		case j.Approval.Missing():
			line += "waits for approval " + h.public + "/jobs/" + string(j.ID)
		default:
			line += "queued " + h.public + "/jobs/" + string(j.ID)
		}
		out = append(out, line)
	}
	for i, r := range remarks {
		if i == maxTold {
			break
		}
		out = append(out, "gitroost: "+r)
	}
	return out
}

// Run has jobs run until ctx ends, and those that run then end.
func (h *Jobs) Run(ctx context.Context) error {
	var helpers sync.WaitGroup
	helpers.Go(func() { h.schedules(ctx) })
	helpers.Go(func() { h.sweeps(ctx) })
	defer helpers.Wait()
	err := h.engine.Run(ctx)
	if fault.Is(err, fault.Busy) {
		h.log.Warn("jobs did not end in time", "err", err)
		return nil
	}
	return err
}

// Jobs returns what the house knows of jobs.
func (s *Server) Jobs() *Jobs { return s.jobs }

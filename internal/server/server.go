// Package server builds every room of the house, opens the doors, and closes them in order.
// Nothing is decided here.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sync/errgroup"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/answers"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/dial"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitdir"
	"github.com/gitroost/gitroost/internal/githttp"
	"github.com/gitroost/gitroost/internal/hunt"
	"github.com/gitroost/gitroost/internal/jobweb"
	"github.com/gitroost/gitroost/internal/manage"
	"github.com/gitroost/gitroost/internal/probe"
	"github.com/gitroost/gitroost/internal/relay"
	"github.com/gitroost/gitroost/internal/steward"
	"github.com/gitroost/gitroost/internal/store"
	"github.com/gitroost/gitroost/internal/syncer"
	"github.com/gitroost/gitroost/internal/web"
)

// sweepEvery is how often the desk looks for what has waited too long (G01-402).
const sweepEvery = 15 * time.Second

// A Server is the whole house. Make one with New, then Run it.
type Server struct {
	cfg    config.Config
	log    *slog.Logger
	public string       // URL by which people reach it
	self   grasp.PubKey // of the server itself
	now    func() time.Time
	wire   func() time.Time // likewise, for deadlines of connections: the kernel has the computer's clock
	tick   <-chan time.Time // when the desk sweeps; nil means every sweepEvery

	putClock bool // the clock was handed in

	listener  net.Listener
	admin     net.Listener // or nil
	http      *http.Server
	adminSrv  *http.Server
	local     net.Listener // the socket for the command line, or nil
	localSrv  *http.Server
	localPath string
	jobsDoor  *jobweb.Handler
	current   atomic.Pointer[config.Config] // in force, if it was read anew
	reloads   reloads
	relay     *relay.Relay
	pages     *web.Web
	manage    *manage.Handler
	op        operation
	limited   limited // how often the desk said no because of a limit
	steward   *steward.Steward
	store     *store.Store
	vault     *gitdir.Vault
	answers   *answers.Cache
	jobs      *Jobs
	way       *dial.Dialer   // every connection to others
	tellWay   *dial.Dialer   // those of the operator's own jobs
	ownWay    *dial.Dialer   // those that repositories define for themselves
	sync      *syncer.Syncer // or nil
	hunter    *hunt.Hunter   // or nil
	unlock    func()         // of the data folder
	ready     chan struct{}
}

// An Option changes what only tests change.
type Option func(*Server)

// WithClock hands in the clock, and the ticks at which the desk sweeps.
func WithClock(now func() time.Time, tick <-chan time.Time) Option {
	return func(s *Server) { s.now, s.wire, s.tick, s.putClock = now, now, tick, true }
}

// New opens the data folder, builds the rooms and binds the listeners. Nothing is served before
// Run. A data folder that another process uses is an error.
func New(ctx context.Context, cfg config.Config, log *slog.Logger, opts ...Option) (_ *Server, err error) {
	s := &Server{cfg: cfg, log: log, now: timeOf(cfg), wire: time.Now, ready: make(chan struct{})}
	for _, o := range opts {
		o(s)
	}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if err := s.openData(ctx); err != nil {
		return nil, err
	}
	if s.listener, err = net.Listen("tcp", cfg.Listen); err != nil {
		return nil, fault.Errorf(fault.Invalid, "server: listen", "cannot listen on %s: %v; choose another address with --listen", cfg.Listen, err)
	}
	if cfg.Admin.Listen != "" {
		if s.admin, err = net.Listen("tcp", cfg.Admin.Listen); err != nil {
			return nil, fault.Errorf(fault.Invalid, "server: listen", "cannot listen on %s: %v; choose another address with --admin.listen", cfg.Admin.Listen, err)
		}
	}
	if err := s.openWay(); err != nil {
		return nil, err
	}
	if err := s.build(); err != nil {
		return nil, err
	}
	if err := s.loadProfile(ctx); err != nil {
		return nil, err
	}
	if err := s.steward.LoadRules(ctx); err != nil {
		return nil, fault.Wrap("server: rules", err)
	}
	s.openLocal()
	if err := s.vault.Fit(ctx); err != nil {
		return nil, fault.Wrap("server: open the repositories", err)
	}
	return s, nil
}

// openData opens the cellar: the lock of the data folder, the database, the repositories.
func (s *Server) openData(ctx context.Context) error {
	if err := os.MkdirAll(s.cfg.Data, 0o700); err != nil {
		return fault.Errorf(fault.Invalid, "server: data folder", "cannot make the data folder %s: %v", s.cfg.Data, err)
	}
	var err error
	if s.unlock, err = lockFolder(filepath.Join(s.cfg.Data, "lock")); err != nil {
		return err
	}
	if s.self, err = identity(s.cfg.Data); err != nil {
		return err
	}
	// The one waits for the disk, the other for git, and neither knows the other.
	var both errgroup.Group
	both.Go(func() error { return s.openStore(ctx) })
	both.Go(func() error { return s.openVault(ctx) })
	return both.Wait()
}

// openStore opens the database.
func (s *Server) openStore(ctx context.Context) (err error) {
	s.store, err = store.Open(ctx, filepath.Join(s.cfg.Data, "gitroost.db"), store.Config{
		Now: s.now, MaxLimit: s.cfg.Limits.QueryResults, Readers: readers(s.cfg), CacheKiB: max(pageCache/(readers(s.cfg)+1), 512), Log: s.log.With("room", "store"),
		Recall: cmp.Or(int(s.cfg.Relay.Cache), -1), Jobs: s.cfg.Engine.Bounds(),
	})
	return fault.Wrap("server: open the database", err)
}

// openVault opens the repositories, and what is kept of the packs that were made of them.
func (s *Server) openVault(ctx context.Context) (err error) {
	s.vault, err = gitdir.Open(ctx, s.cfg.Data, gitdir.Config{
		Git: s.cfg.Git.Path, SearchPath: os.Getenv("PATH"), UploadIdle: s.cfg.Limits.Idle,
		Now: s.now, CheckLater: true, UpkeepPacks: s.cfg.Git.Upkeep, Extra: s.cfg.Git.Config, CAFile: absolute(s.cfg.Outward.CA),
	}, s.log.With("room", "gitdir"))
	if err != nil {
		return fault.Wrap("server: open the repositories", err)
	}
	s.answers, err = answers.Open(answers.Config{
		Patience: 250 * time.Millisecond,
		Dir:      filepath.Join(s.cfg.Data, "answers"), Bytes: s.cfg.Cache.Size, Age: s.cfg.Cache.Age, Now: s.now,
	})
	return fault.Wrap("server: open the cache", err)
}

// build makes the desk and the doors.
func (s *Server) build() error {
	cfg, lim := s.cfg, s.cfg.Limits
	bound := s.listener.Addr().String()
	s.public = cfg.Public(bound)
	site, err := s.site(bound)
	if err != nil {
		return err
	}
	if err := s.buildJobs(); err != nil {
		return err
	}
	site = site.Archiving(cfg.Archive.Rules())
	s.buildSync(site)
	s.steward = steward.New(steward.Config{
		Site: site, Now: s.now, Rules: cfg.Rules(), Contact: cfg.Contact, Books: s.store, Ruled: s.ruled,
		Tell:           s.visible,
		Changed:        s.announced,
		Lapsed:         s.lapsed,
		Jobs:           s.jobs.follow,
		Part:           s.part,
		Plus:           cfg.Sync.Enabled && cfg.Sync.Plus,
		WaitTTL:        cfg.Purgatory.TTL,
		OrphanTTL:      cfg.Purgatory.OrphanTTL,
		WithdrawnGrace: cfg.Repos.WithdrawnGrace,
		DeletedGrace:   cfg.Repos.DeletedGrace,
		WaitingPerKey:  lim.WaitingPerKey, WaitingPerSource: lim.WaitingPerAddress, WaitingInAll: lim.Waiting,
		NewReposPerHour: lim.NewRepos, FutureLimit: lim.Future,
		Boxes: cfg.PRs.Enabled, Sealed: cfg.Archive.ReadOnly,
		Attic: s.vault, History: cfg.Archive.Retention(),
		Quotas: cfg.Quotas(), MaxPack: lim.MaxPush, MaxPullPack: lim.MaxPRPush, MaxObjects: uint32(lim.PushObjects),
	}, s.store, s.vault, s.log.With("room", "steward"))

	s.buildHunt()
	addresses := prefixer{trusted: cfg.TrustedProxies}
	s.relay = relay.New(withLimits(cfg, relay.Config{
		Now:        s.now,
		Spent:      spent,
		PublicURLs: relayURLs(s.public, cfg.Authorities(bound)),
		Prefix:     addresses.prefix,
		Address: func(r *http.Request) string {
			a, _ := addresses.client(r)
			return a.String()
		},
		Screen: s.steward.Screen,
		Search: cfg.Search,
	}), countingDesk{s.steward, &s.limited, s.arrived}, s.store, s.log.With("room", "relay"))

	door := githttp.New(githttp.Config{
		Version: Version(), Boxes: cfg.PRs.Enabled, Now: s.wire, Idle: lim.Idle, Wall: lim.PushTime,
		DrainBytes: lim.Drain, DrainIdle: lim.DrainIdle, Section: lim.Section, MaxBody: lim.MaxPush, MaxPullBody: lim.MaxPRPush,
		MaxCommands: lim.PushCommands, MaxFetches: serving(cfg.Git.Serving), MaxPushes: cfg.Git.Receiving,
		MaxWaiting: cfg.Git.Waiting, SlotWait: cfg.Git.Wait, Answers: s.answers, Network: addresses.prefix,
		Follow: s.jobs.followPush, At: clock{s.wire, s.putClock}.At,
	}, desk{s.steward, s.jobs}, s.vault, s.log.With("room", "githttp"))

	pages := web.New(web.Config{
		PublicURL: s.public, Contact: cfg.Contact, Version: Version(), Now: s.now, Jobs: len(cfg.Jobs) > 0,
	}, source{s}, s.log.With("room", "web"))
	s.pages = pages
	s.manage = s.manager(cfg.Authorities(bound))

	root := &front{
		manage: s.manage, keepOut: s.keepOut(addresses),
		jobs: s.jobDoor(cfg.Authorities(bound), addresses), git: door, boxes: cfg.PRs.Enabled, here: ours(cfg.Authorities(bound)), relay: s.relay, pages: pages, log: s.log,
		sites: s.sites(), siteHost: cfg.Sites.Host,
		probes:   probe.New(probe.Config{Sender: addresses.sender, After: time.After}),
		operator: operatorRoutes(pages.Static, pages.Robots, pages.Status, s.health, pages.NotFound),
	}
	s.http = &http.Server{
		Handler:           withCORS(recovered(s.log, root)),
		ReadHeaderTimeout: lim.HeaderTimeout,
		IdleTimeout:       lim.Keepalive,
		MaxHeaderBytes:    int(lim.Header),
		ErrorLog:          slog.NewLogLogger(s.log.With("room", "http").Handler(), slog.LevelDebug),
		// OPTIONS * is a request like any other (C-04).
		DisableGeneralOptionsHandler: true,
	}
	if s.admin != nil {
		s.adminSrv = &http.Server{Handler: s.metrics(door), ReadHeaderTimeout: lim.HeaderTimeout, IdleTimeout: lim.Keepalive}
	}
	return nil
}

// Addr returns the bound address of the public listener.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// AdminAddr returns the bound address of the operator's listener, or "".
func (s *Server) AdminAddr() string {
	if s.admin == nil {
		return ""
	}
	return s.admin.Addr().String()
}

// URL returns the address by which people reach the server, without a trailing slash.
func (s *Server) URL() string { return s.public }

// Ready is closed when the doors are open.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run serves until ctx ends, then closes the doors in order: no new connections, pushes and
// clones finish, WebSockets are told goodbye, the cellar is closed. The first room that stops
// unexpectedly stops the house.
func (s *Server) Run(ctx context.Context) error {
	defer s.release()
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	atWork, stopJobs := context.WithCancel(context.WithoutCancel(ctx))
	defer stopJobs()
	group, ctx := errgroup.WithContext(ctx)
	if s.tick == nil {
		ticker := time.NewTicker(sweepEvery)
		defer ticker.Stop()
		s.tick = ticker.C
	}

	group.Go(func() error { s.rounds(ctx); return nil })
	group.Go(func() error {
		keepSmall(ctx, s.vault.Rest, s.steward.Rest, s.store.Rest)
		return nil
	})
	group.Go(func() error { return named("syncer", s.runSync(ctx)) })
	group.Go(func() error { return named("hunt", s.runHunt(ctx)) })
	desk := make(chan struct{})
	group.Go(func() error {
		defer close(desk)
		return named("steward", s.steward.Run(work, s.tick))
	})
	queue := make(chan struct{})
	group.Go(func() error {
		defer close(queue)
		return named("jobs", s.jobs.Run(atWork))
	})
	group.Go(func() error { return named("http", ignoreClosed(s.http.Serve(corsListener{s.listener}))) })
	if s.adminSrv != nil {
		group.Go(func() error { return named("admin", ignoreClosed(s.adminSrv.Serve(s.admin))) })
	}
	if s.localSrv != nil {
		group.Go(func() error { return named("socket", ignoreClosed(s.localSrv.Serve(s.local))) })
	}
	group.Go(func() error {
		<-ctx.Done()
		s.stop(stopJobs, stopWork, desk, queue)
		return nil
	})
	close(s.ready)
	s.log.Info("serving", "url", s.public, "listen", s.Addr(), "data", s.cfg.Data, "version", Version())
	return group.Wait()
}

// perRound is how many repositories are looked at in a minute: 100,000 take a day.
const perRound = 100

// rounds removes packs that were kept long enough, and looks for repositories that need upkeep though
// nobody touches them, until ctx ends.
func (s *Server) rounds(ctx context.Context) {
	t := time.NewTicker(time.Minute)
	defer t.Stop()
	var at grasp.Addr
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		s.answers.Sweep()
		next, err := s.store.ReposAfter(ctx, at, perRound)
		if err != nil {
			if ctx.Err() == nil {
				s.log.Warn("cannot look for repositories that need upkeep", "err", err)
			}
			continue
		}
		if at = (grasp.Addr{}); len(next) == perRound {
			at = next[perRound-1]
		}
		for _, repo := range next {
			if err := s.vault.Consider(repo); err != nil {
				s.log.Warn("cannot look at a repository", "repo", repo.String(), "err", err)
			}
			s.lookFor(ctx, repo)
			if s.cfg.Archive.Mode == "off" {
				continue
			}
			if err := s.steward.Forget(ctx, repo); err != nil && ctx.Err() == nil {
				s.log.Warn("cannot let go of older history", "repo", repo.String(), "err", err)
			}
		}
	}
}

// stop closes the doors. Each step has its own budget.
func (s *Server) stop(stopJobs, stopWork func(), desk, queue <-chan struct{}) {
	s.log.Info("stopping")
	drain, cancel := context.WithTimeout(context.Background(), s.cfg.Shutdown)
	defer cancel()
	s.jobs.logs.Close() // nobody follows a log any more, and who did is told why before a job ends
	stopJobs()
	// WebSockets are hijacked connections: Shutdown does not know of them.
	goodbye, cancelGoodbye := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancelGoodbye()
	if err := s.relay.Shutdown(goodbye); err != nil {
		s.log.Warn("some clients did not take the goodbye", "err", err)
	}
	if err := s.http.Shutdown(drain); err != nil {
		s.log.Warn("pushes or clones were cut off", "err", err)
		s.http.Close()
	}
	if s.adminSrv != nil {
		s.adminSrv.Close()
	}
	if s.localSrv != nil {
		if err := s.localSrv.Shutdown(drain); err != nil {
			s.localSrv.Close()
		}
	}
	<-queue // those that run were asked to end when the stop began (S4-31)
	stopWork()
	<-desk
}

// release closes whatever is open.
func (s *Server) release() {
	if s.listener != nil {
		s.listener.Close()
	}
	if s.admin != nil {
		s.admin.Close()
	}
	if s.local != nil {
		s.local.Close()
		os.Remove(s.localPath)
	}
	if s.answers != nil {
		s.answers.Close()
	}
	if s.vault != nil {
		s.vault.Close()
	}
	if s.store != nil {
		if err := s.store.Close(); err != nil {
			s.log.Error("cannot close the database", "err", err)
		}
	}
	if s.unlock != nil {
		s.unlock()
	}
}

// serving returns how many packs are made at a time: n, or what keeps all cores busy.
func serving(n int) int {
	if n > 0 {
		return n
	}
	return max(4, 2*runtime.GOMAXPROCS(0))
}

// health says that the server answers and that its database does.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if _, err := s.store.Count(ctx, []nostr.Filter{{Kinds: []int{grasp.KindVanish}, Limit: 1}}); err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, "the database does not answer")
		return
	}
	fmt.Fprintln(w, "ok")
}

// part returns what a key has to do with what is served here: whether it announced, stated or opened
// anything, is named as a maintainer, or wrote something that was taken (G01-806, G03-01).
func (s *Server) part(ctx context.Context, key grasp.PubKey) (grasp.Part, error) {
	n, err := s.store.Count(ctx, []nostr.Filter{{
		Authors: []string{string(key)},
		Kinds: []int{
			grasp.KindAnnouncement, grasp.KindState, grasp.KindPatch,
			grasp.KindPull, grasp.KindPullUpdate, grasp.KindIssue,
		},
	}})
	switch {
	case err != nil:
		return grasp.Stranger, err
	case n > 0, s.sync != nil && s.sync.Leads(key):
		return grasp.Member, nil
	case !s.cfg.Sync.Plus:
		return grasp.Stranger, nil
	}
	wrote, err := s.store.Wrote(ctx, key)
	if err != nil || !wrote {
		return grasp.Stranger, err
	}
	return grasp.Participant, nil
}

// desk is the steward as git's door knows it.
type desk struct {
	*steward.Steward
	jobs *Jobs
}

func (d desk) Enter(ctx context.Context, repo grasp.Addr, updates []grasp.RefChange) (githttp.Push, error) {
	p, err := d.Steward.Enter(ctx, repo, updates)
	if err != nil {
		return nil, err
	}
	if id := githttp.PushID(ctx); id != "" {
		p.Name(id)
	}
	p.Options(githttp.PushOptions(ctx))
	return push{p, d.jobs}, nil
}

// push is a push as git's door knows it.
type push struct {
	*steward.Push
	jobs *Jobs
}

// Notes are what the desk says, and which jobs there are.
func (p push) Notes() []string {
	list, remarks := p.Push.Jobs()
	if len(list)+len(remarks) == 0 {
		return p.Push.Notes()
	}
	return append(p.jobs.notes(list, remarks), p.Push.Notes()...)
}

func relayURLs(public string, authorities []string) []string {
	out := []string{public}
	for _, a := range authorities {
		out = append(out, "wss://"+a)
	}
	return out
}

// grasps are the profiles that are spoken here (N-024).
func grasps(cfg config.Config) []string {
	list := []string{"GRASP-01"}
	if cfg.Sync.Enabled {
		list = append(list, "GRASP-02")
		if cfg.Sync.Plus {
			list = append(list, "GRASP-03")
		}
		if cfg.Archive.Mode != "off" {
			list = append(list, "GRASP-05")
		}
	}
	if cfg.PRs.Enabled {
		list = append(list, "GRASP-06")
	}
	return list
}

func named(room string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", room, err)
	}
	return nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// version is set by the linker; a build from a module has its own.
var version = ""

// Version returns the version of this build, or "dev".
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

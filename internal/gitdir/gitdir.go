// Package gitdir holds the bare repositories. It is the only room that speaks git's command line,
// and the only one that writes below its root.
//
// A push is received without `git receive-pack`. Ingest lets `git index-pack` read the pack into a
// quarantine, an object folder that nothing else looks into; Check asks `git rev-list` whether
// the new tips are complete; Admit puts the pack beside the others; Apply writes one new
// packed-refs file. Each of the last two is one rename, so that a crash leaves the old or the new
// and never a mixture. Refs are only ever kept in packed-refs, and in memory as an immutable
// grasp.Snapshot. Where objects are, and of which type, is read from the pack indexes in process:
// a question whose answer is no starts no program.
//
// How it is laid out below the root:
//
//	git/<npub>/<escaped identifier>.git   the repositories, see Path
//	prs/<npub>/<escaped identifier>.git   contributors' boxes; made when first needed
//	incoming/                             quarantines and repositories being made; emptied by Open
//	trash/                                what was removed, until it is deleted
//	none.git                              an empty repository, for commands that need one around them
//	home/                                 an empty, read-only home for children
//
// gitdir refuses to know events, who may push, SQL and HTTP. How many callers run at a time is
// their business. All files must be on one volume.
package gitdir

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/durable"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/run"
	"github.com/gitroost/gitroost/internal/steward"
)

var _ steward.Vault = (*Vault)(nil)

// Config are the knobs of the room. Zero values mean the defaults.
type Config struct {
	// Git is the git program: an absolute path, or a name looked for in SearchPath. It must be
	// 2.39.5 or newer. Default "git".
	Git string

	// SearchPath has the form of the PATH variable. Default "/usr/local/bin:/usr/bin:/bin".
	SearchPath string

	// Runner starts the children. Default: a new one.
	Runner *run.Runner

	// CheckTimeout bounds each command that looks at objects on our own behalf. Default 10 min.
	CheckTimeout time.Duration

	// UploadIdle ends a fetch whose peer has not moved for so long. Default 60 s.
	UploadIdle time.Duration

	// Extra are further settings of git, by name. Those of a single command beat them.
	Extra map[string]string

	// CAFile is an absolute path of the authorities that remotes' certificates are verified with.
	// Default: the system's.
	CAFile string

	// LockWait bounds the wait for a lock that another program's git holds on a repository.
	// Default 10 s.
	LockWait time.Duration

	// IndexCPU is the processor time that reading a pack may take, and IndexCPUPerMiB what is
	// added for each MiB that arrived. Default 30 s and 500 ms.
	IndexCPU, IndexCPUPerMiB time.Duration

	// CacheRepos and CacheRefs bound how many repositories, and how many refs in all of them
	// together, are remembered. Repositories in use are always remembered. Default 1,000 and
	// 1,000,000.
	CacheRepos, CacheRefs int

	// Now tells the time, for what has a grace period. It must be set if UpkeepPacks is.
	Now func() time.Time

	// UpkeepPacks is from how many packs on a repository's packs are combined, in the background. 0
	// is never.
	UpkeepPacks int

	// UpkeepByHand leaves it to calls of Upkeep. For tests.
	UpkeepByHand bool

	// UpkeepTimeout bounds the work on one repository. Default one hour.
	UpkeepTimeout time.Duration

	// CheckLater lets Open return before git has said which version it is: the caller asks Fit
	// before anybody is served.
	CheckLater bool

	// step is called between the steps of what changes the disk. If it fails, so does the
	// change, there. For tests.
	step func(name string) error
}

func (c *Config) defaults() {
	or := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	or(&c.CheckTimeout, 10*time.Minute)
	or(&c.UploadIdle, time.Minute)
	or(&c.LockWait, 10*time.Second)
	or(&c.UpkeepTimeout, time.Hour)
	or(&c.IndexCPU, 30*time.Second)
	or(&c.IndexCPUPerMiB, 500*time.Millisecond)
	if c.Git == "" {
		c.Git = "git"
	}
	if c.SearchPath == "" {
		c.SearchPath = "/usr/local/bin:/usr/bin:/bin"
	}
	if c.Runner == nil {
		c.Runner = run.New(run.Config{})
	}
	if c.CacheRepos <= 0 {
		c.CacheRepos = 1000
	}
	if c.CacheRefs <= 0 {
		c.CacheRefs = 1_000_000
	}
	if c.step == nil {
		c.step = func(string) error { return nil }
	}
}

// A Vault is a steward.Vault on a folder. One process at a time may have it open; it is up to the
// caller to see to that. It is safe for concurrent use.
type Vault struct {
	cfg  Config
	root string
	git  string // absolute path of the program
	log  *slog.Logger

	asked   chan struct{} // closed when git was asked for its version
	version string        // its answer; this and unfit are there when asked is closed
	unfit   error         // why git cannot be used

	// began is when Open ran, by the clock of the file system. Locks and unfinished files that
	// are not younger were left by a process that is dead.
	began time.Time

	// life is in the names of all that this process has in incoming/.
	life string

	gen   atomic.Uint64 // of snapshots
	repos registry

	// making is held while an object is made anew for a fetch: as many at a time, in all of them, as there
	// are processors. Whoever waits for a client does not hold it.
	making chan struct{}

	stop       context.CancelFunc
	ctx        context.Context // ends with Close
	upkeep     upkeeping
	upkeepTurn chan struct{} // held by who does upkeep

	sweep   chan struct{} // something lies in trash/
	sweeper sync.WaitGroup
}

// Open makes root ready if need be, removes what a killed process left in it, and starts the one
// goroutine that deletes what was removed. It fails if git is missing or older than 2.39.5; if
// CheckLater is set it is Fit that fails when git is too old.
func Open(ctx context.Context, root string, cfg Config, log *slog.Logger) (*Vault, error) {
	const op = "gitdir: open"
	cfg.defaults()
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	if strings.ContainsAny(abs, ":\"\n") {
		return nil, fault.Errorf(fault.Invalid, op, "the data folder %q must not contain a colon, a quote or a line feed", abs)
	}
	if err := durable.MkdirAll(abs, 0o750); err != nil {
		return nil, fault.Wrap(op, err)
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return nil, fault.Wrap(op, err)
	}
	v := &Vault{cfg: cfg, root: abs, log: log, life: randomName()[:8], asked: make(chan struct{}), sweep: make(chan struct{}, 1), upkeepTurn: make(chan struct{}, 1)}
	v.making = make(chan struct{}, runtime.GOMAXPROCS(0))
	v.upkeep.queued, v.upkeep.wake = map[grasp.Addr]struct{}{}, make(chan struct{}, 1)
	v.repos.init(cfg.CacheRepos, cfg.CacheRefs)
	if v.git, err = run.Find(cfg.Git, cfg.SearchPath); err != nil {
		return nil, fault.Errorf(fault.Invalid, op, "git was not found: %v", err)
	}
	v.ctx, v.stop = context.WithCancel(context.WithoutCancel(ctx))
	// A program takes longer to start than all else here takes together.
	v.sweeper.Go(func() {
		defer close(v.asked)
		v.unfit = v.checkVersion(v.ctx)
	})
	if err = v.layOut(); err != nil {
		err = fault.Wrap(op, err)
	} else if !cfg.CheckLater {
		err = v.Fit(ctx)
	}
	if err != nil {
		v.stop()
		v.sweeper.Wait()
		return nil, err
	}
	v.sweeper.Go(v.deleteTrash)
	if cfg.UpkeepPacks > 0 && !cfg.UpkeepByHand {
		v.sweeper.Go(v.upkeepLoop)
	}
	v.kick()
	return v, nil
}

// Close refuses what comes from now on and waits for the goroutine that deletes. Calls under way
// end when their contexts do.
func (v *Vault) Close() {
	v.repos.close()
	v.stop()
	v.sweeper.Wait()
}

// Fit waits until git has said which version it is, and returns a fault.Invalid if it is older than
// 2.39.5.
func (v *Vault) Fit(ctx context.Context) error {
	select {
	case <-v.asked:
		return v.unfit
	case <-ctx.Done():
		return fault.Wrap("gitdir: git version", ctx.Err())
	}
}

// Version returns the version of git in use. It waits until git was asked.
func (v *Vault) Version() string {
	<-v.asked
	return v.version
}

// Exists reports whether repo has a folder.
func (v *Vault) Exists(repo grasp.Addr) bool {
	path, err := Path(v.root, repo)
	if err != nil {
		return false
	}
	_, err = os.Lstat(path)
	return err == nil
}

// layOut makes the fixed folders and puts left-over quarantines into the trash.
func (v *Vault) layOut() error {
	made := false
	folder := func(name string) error {
		path := filepath.Join(v.root, name)
		err := os.Mkdir(path, 0o750)
		if err == nil {
			made = true
		} else if fi, statErr := os.Stat(path); statErr == nil && fi.IsDir() {
			return nil
		}
		return err
	}
	for _, name := range []string{"git", "trash", "home"} {
		if err := folder(name); err != nil {
			return err
		}
	}
	incoming := filepath.Join(v.root, "incoming")
	entries, err := os.ReadDir(incoming)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() != began }) {
		if err := os.Rename(incoming, filepath.Join(v.root, "trash", "incoming-"+randomName())); err != nil {
			return err
		}
	}
	if err := folder("incoming"); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Join(v.root, "home"), 0o500); err != nil {
		return err
	}
	if made {
		if err := durable.SyncDir(v.root); err != nil {
			return err
		}
	}
	mark := filepath.Join(incoming, began)
	if err := os.WriteFile(mark, []byte(v.life), 0o640); err != nil {
		return err
	}
	fi, err := os.Stat(mark)
	if err != nil {
		return err
	}
	v.began = fi.ModTime()
	return v.makeNone()
}

// began is the file in incoming/ that says when this process began.
const began = "began"

// makeNone makes the empty repository. It is looked at anew at each start, so nothing of it need
// outlive a power cut.
func (v *Vault) makeNone() error {
	none := v.none()
	for _, d := range []string{"objects/pack", "refs"} {
		if err := os.MkdirAll(filepath.Join(none, d), 0o750); err != nil {
			return err
		}
	}
	// What a start that was killed here left behind.
	entries, err := os.ReadDir(none)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), durable.TempSuffix) {
			if err := os.Remove(filepath.Join(none, e.Name())); err != nil {
				return err
			}
		}
	}
	for name, text := range map[string]string{"config": repoConfig, "HEAD": "ref: " + string(grasp.DefaultHead) + "\n"} {
		path := filepath.Join(none, name)
		if old, err := os.ReadFile(path); err == nil && string(old) == text {
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			return err
		}
	}
	return nil
}

func (v *Vault) none() string { return filepath.Join(v.root, "none.git") }

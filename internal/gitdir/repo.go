package gitdir

import (
	"container/list"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/durable"
	"github.com/gitroost/gitroost/internal/fault"
)

// maxComplete bounds how many object ids per repository are remembered as complete.
const maxComplete = 4096

// A repo is what is remembered of one repository.
type repo struct {
	v    *Vault
	addr grasp.Addr
	path string

	// Guarded by the registry.
	place   *list.Element
	users   int
	used    bool // since the last Rest
	counted int
	alone   func() // called once the only user is upkeep

	// change is held, by whoever has put a value in, while the repository on disk is changed:
	// made, tidied, its refs moved, packs added, removed. It may be held while git runs.
	change chan struct{}

	// swap is held for writing while upkeep takes old packs away, and for reading while sizes are
	// added up.
	swap sync.RWMutex

	// mu guards what follows. It is never held while a process runs.
	mu       sync.Mutex
	state    *state   // nil: not loaded
	slept    sleeping // of a state that was let go of; else zero
	packs    *packs   // nil: not listed
	upkept   *record
	double   map[string]struct{} // packs of upkeep's beside those that they replace
	doubted  bool                // an ownPack broke off
	lives    int                 // how often the repository was removed since this repo is remembered
	complete map[grasp.OID]struct{}
	order    []grasp.OID // of complete, a ring
	next     int
}

func newRepo(v *Vault, addr grasp.Addr, path string) *repo {
	return &repo{v: v, addr: addr, path: path, change: make(chan struct{}, 1), complete: map[grasp.OID]struct{}{}}
}

func (r *repo) objects() string { return filepath.Join(r.path, "objects") }

// size is what the registry counts for r.
func (r *repo) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.complete)
	if r.state != nil {
		n += r.state.list.Len()
	}
	if r.packs != nil {
		n += 16 * len(r.packs.list)
	}
	return n
}

// lock takes the right to change the repository on disk.
func (r *repo) lock(ctx context.Context) error {
	select {
	case r.change <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fault.Wrap("gitdir: wait for repository", context.Cause(ctx))
	}
}

func (r *repo) unlock() { <-r.change }

// known reports whether o was found complete before. Only objects that were checked come in here.
func (r *repo) known(o grasp.OID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.complete[o]
	return ok
}

// learn remembers that oids are complete. lives is what r.lives was before the check.
func (r *repo) learn(lives int, oids ...grasp.OID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lives != lives {
		return
	}
	for _, o := range oids {
		if _, ok := r.complete[o]; ok {
			continue
		}
		o = grasp.OID(strings.Clone(string(o)))
		if len(r.order) < maxComplete {
			r.order = append(r.order, o)
		} else {
			delete(r.complete, r.order[r.next])
			r.order[r.next] = o
			r.next = (r.next + 1) % maxComplete
		}
		r.complete[o] = struct{}{}
	}
}

func (r *repo) life() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lives
}

// forget drops all that is remembered, because the repository was removed.
func (r *repo) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lives++
	r.state, r.packs, r.upkept, r.slept = nil, nil, nil, sleeping{}
	r.doubted = false
	r.complete, r.order, r.next = map[grasp.OID]struct{}{}, nil, 0
}

// unlearn drops what is remembered of which objects are complete, because some may be gone.
func (r *repo) unlearn() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.complete, r.order, r.next = map[grasp.OID]struct{}{}, nil, 0
}

// make creates the repository unless it is there: beside, and in one rename. The caller has
// locked r. No process is started.
func (r *repo) make() error {
	const op = "gitdir: make repository"
	if _, err := os.Lstat(r.path); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fault.Wrap(op, err)
	}
	temp := r.v.temp("new")
	if err := r.makeIn(temp); err != nil {
		os.RemoveAll(temp)
		return explainIO(op, err)
	}
	return nil
}

func (r *repo) makeIn(temp string) error {
	for _, d := range []string{"", "objects", "objects/info", "objects/pack", "refs", "refs/heads", "refs/tags"} {
		if err := os.Mkdir(filepath.Join(temp, d), 0o750); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{"config": repoConfig, "HEAD": headText(grasp.DefaultHead)} {
		path := filepath.Join(temp, name)
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			return err
		}
		if err := durable.SyncFile(path); err != nil {
			return err
		}
	}
	for _, d := range []string{"objects", "refs", ""} {
		if err := durable.SyncDir(filepath.Join(temp, d)); err != nil {
			return err
		}
	}
	parent := filepath.Dir(r.path)
	if err := durable.MkdirAll(parent, 0o750); err != nil {
		return err
	}
	if err := r.v.cfg.step("make: made"); err != nil {
		return err
	}
	err := os.Rename(temp, r.path)
	for try := 0; try < 3 && errors.Is(err, fs.ErrNotExist); try++ {
		// The last box of its submitter went at this moment, and the folder with it.
		if err = durable.MkdirAll(parent, 0o750); err == nil {
			err = os.Rename(temp, r.path)
		}
	}
	if err != nil {
		return err
	}
	if err := r.v.cfg.step("make: renamed"); err != nil {
		return err
	}
	return durable.SyncDir(parent)
}

// tidy mends what a killed process, a power cut or somebody's editor left behind. Only files that are not younger
// than Open go: no living process of ours made them, for r is tidied before it makes any. (Whoever died a moment
// before has left files with the very time of Open: clocks of file systems go in steps of milliseconds.) The caller
// has locked r.
func (r *repo) tidy() error {
	const op = "gitdir: tidy repository"
	log := r.v.log.With("repo", r.addr.String())
	for _, d := range []string{"objects/info", "objects/pack", "refs/heads", "refs/tags"} {
		if err := durable.MkdirAll(filepath.Join(r.path, d), 0o750); err != nil {
			return fault.Wrap(op, err)
		}
	}
	// Whatever stands in the configuration would be obeyed by git (hardening §7).
	config := filepath.Join(r.path, "config")
	b, err := os.ReadFile(config)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return explainIO(op, err)
	}
	if string(b) != repoConfig {
		log.Warn("the configuration of the repository was not ours; it is written anew", "err", err)
		if err := durable.WriteFile(config, []byte(repoConfig), 0o640); err != nil {
			return fault.Wrap(op, err)
		}
	}
	removed := 0
	drop := func(path string) {
		fi, err := os.Lstat(path)
		if err != nil || !fi.Mode().IsRegular() || fi.ModTime().After(r.v.began) {
			return
		}
		if os.Remove(path) == nil {
			removed++
		}
	}
	for _, name := range []string{"packed-refs.lock", "packed-refs.new", "HEAD.lock", "config.lock", "shallow.lock",
		"objects/pack/multi-pack-index.lock", "objects/info/commit-graph.lock"} {
		drop(filepath.Join(r.path, name))
	}
	entries, _ := os.ReadDir(r.path)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), durable.TempSuffix) {
			drop(filepath.Join(r.path, e.Name()))
		}
	}
	filepath.WalkDir(filepath.Join(r.path, "refs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".lock") {
			drop(path)
		}
		return nil
	})
	// A pack without an index is invisible; it was being admitted, or written by git.
	dir := filepath.Join(r.objects(), "pack")
	if entries, err = os.ReadDir(dir); err != nil {
		return explainIO(op, err) // half a list would make packs look like leftovers
	}
	indexed := map[string]bool{}
	for _, e := range entries {
		if base, ok := strings.CutSuffix(e.Name(), ".idx"); ok {
			indexed[base] = true
		}
	}
	for _, e := range entries {
		name := e.Name()
		base, ext, _ := strings.Cut(name, ".")
		if strings.HasPrefix(name, "tmp_") || strings.HasPrefix(name, ".tmp-") || (ext == "pack" || ext == "rev") && !indexed[base] {
			drop(filepath.Join(dir, name))
		}
	}
	if removed > 0 {
		log.Warn("removed what a dead process left in the repository", "files", removed)
	}
	return nil
}

// explainIO gives an error of the file system its code.
func explainIO(op string, err error) error {
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM) {
		return &fault.Error{Code: fault.Busy, Op: op, Text: "the server is busy, try again", Err: err}
	}
	if isFull(err) {
		return &fault.Error{Code: fault.Busy, Op: op, Text: "no space left on the server", Err: err}
	}
	return fault.Wrap(op, err)
}

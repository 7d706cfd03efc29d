// Package work is where a job meets the one who does it: what a kind of job may be told (a Spec, which
// the configuration reads), what it is given to work with (a Task), and the Hall, which is the runner
// that the engine of jobs calls. It does not know how any kind does its work: those are the rooms
// below internal/work, each of which is handed to the Hall as a Doer.
package work

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
)

// A Spec is what a definition tells its kind. It is a pointer to a struct whose fields bear the same
// name as `yaml` and as `json`; the configuration decodes it strictly, and a jobs.Definition carries
// it as JSON.
type Spec interface {
	// Check reports what makes no sense, each fault in the words of the configuration: "url: a
	// webhook needs https://". It looks at nothing outside.
	Check() error
	// Secrets returns the names of the secrets that the job is given.
	Secrets() []string
}

// A Doer does jobs of one kind. Do returns soon after ctx has ended, with all that it began ended too.
// The job may be done again after a crash.
type Doer interface {
	Do(ctx context.Context, t *Task) jobs.Result
}

// A Reaper is a Doer that can end what a process that died left running of j, which may be a job of
// another kind that had it do a part. It is asked of jobs that left nothing, too.
type Reaper interface {
	Reap(ctx context.Context, j jobs.Job) error
}

// A Task is all that a Doer is given.
type Task struct {
	Job  jobs.Job
	Spec Spec
	Log  jobs.Log
	Dir  string // empty and private; removed afterwards
	Git  string // the bare repository, to be read only
	URL  string // where people reach this server, without a slash at the end

	// Of a part of another job, see Part: the folder to work in, with what is there, "" if the kind
	// makes its own; and variables that its programs are given as well, as KEY=value.
	Tree string
	Env  []string

	// Objects opens the repository for reading. It is given back with Close.
	Objects func(ctx context.Context) (Objects, error)

	// Part has a part of the job done by another kind, which has the same job and log, and a folder
	// of its own. What keeps it from beginning is a StartupFailure.
	Part func(ctx context.Context, kind string, spec Spec, tree string, env []string) jobs.Result

	// Secret returns a secret that the definition names, if it may be used for this job's repository
	// and ref, and makes the log mask it. Anything else is a fault.Refused or fault.Invalid.
	Secret func(name string) ([]byte, error)
}

// Objects is one repository at one moment. Refs and Object are called from one goroutine; Diffs may
// run beside them. What is not here is a fault.NotFound.
type Objects interface {
	Refs(ctx context.Context) (*grasp.Snapshot, error)
	// Object returns an object's type, its size in bytes, and what it holds; data is nil if it is
	// larger than most.
	Object(ctx context.Context, oid grasp.OID, most int64) (kind string, size int64, data []byte, err error)
	// Diffs writes what `git diff-tree --stdin -r -z --raw -p` prints for each pair of trees.
	Diffs(ctx context.Context, pairs [][2]grasp.OID, w io.Writer) error
	Close()
}

// Printf writes a line of the server's own into the log.
func (t *Task) Printf(format string, args ...any) {
	fmt.Fprintf(t.Log.Stream("gitroost"), format+"\n", args...)
}

// A Masker is a jobs.Log that can be told what must not be read in it.
type Masker interface {
	Mask(secret []byte)
}

// Config is what a Hall needs. Doers, Dir and Git are required.
type Config struct {
	Doers map[string]Doer // by kind

	// Dir is where tasks get their folders: one below it per attempt. It is made.
	Dir string

	// Git returns where the repository lives and a function to give it back: it is not removed or
	// repacked away meanwhile.
	Git func(ctx context.Context, repo grasp.Addr) (dir string, done func(), err error)

	// Objects opens a repository for reading, until Close or the end of ctx. Nil opens none.
	Objects func(ctx context.Context, repo grasp.Addr) (Objects, error)

	// Secret returns the secret of that name for a job, see Task. Nil knows none.
	Secret func(ctx context.Context, j jobs.Job, name string) ([]byte, error)

	URL string
	Log *slog.Logger // nil discards
	Now func() time.Time
}

// A Hall has jobs done by the Doer of their kind. It is a jobs.Runner and a jobs.Reaper.
type Hall struct{ cfg Config }

var (
	_ jobs.Runner = (*Hall)(nil)
	_ jobs.Reaper = (*Hall)(nil)
)

// New returns a Hall. What is required and missing is a fault.Invalid.
func New(cfg Config) (*Hall, error) {
	if len(cfg.Doers) == 0 || cfg.Dir == "" || cfg.Git == nil {
		return nil, fault.E(fault.Invalid, "work: hall", "a hall needs doers, a folder and repositories")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Secret == nil {
		cfg.Secret = func(_ context.Context, _ jobs.Job, name string) ([]byte, error) {
			return nil, fault.Errorf(fault.Invalid, "work: secret", "there is no secret %q", name)
		}
	}
	if cfg.Objects == nil {
		cfg.Objects = func(context.Context, grasp.Addr) (Objects, error) {
			return nil, fault.E(fault.Invalid, "work: objects", "this server has not said how repositories are read")
		}
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fault.Wrap("work: hall", err)
	}
	return &Hall{cfg}, nil
}

// Run has j done. What keeps it from beginning is a StartupFailure.
func (h *Hall) Run(ctx context.Context, j jobs.Job, log jobs.Log) jobs.Result {
	t := &Task{Job: j, Log: log, URL: h.cfg.URL}
	unable := func(err error) jobs.Result {
		t.Printf("cannot begin: %v", err)
		return jobs.Result{State: jobs.StartupFailure, Reason: err.Error()}
	}
	doer := h.cfg.Doers[j.Kind]
	spec, ok := NewSpec(j.Kind)
	if doer == nil || !ok {
		return unable(fault.Errorf(fault.Invalid, "work: run", "nobody here does jobs of kind %q", j.Kind))
	}
	if len(j.Spec) > 0 {
		if err := json.Unmarshal(j.Spec, spec); err != nil {
			return unable(fault.Wrap("work: run", err))
		}
	}
	t.Spec = spec
	dir, done, err := h.cfg.Git(ctx, j.Repo)
	if err != nil {
		return unable(err)
	}
	defer done()
	t.Git = dir
	t.Dir = filepath.Join(h.cfg.Dir, fmt.Sprintf("%s.%d", j.ID, j.Attempt))
	if err := remake(t.Dir); err != nil {
		return unable(err)
	}
	defer func() {
		if err := os.RemoveAll(t.Dir); err != nil {
			h.cfg.Log.Warn("work: a job's folder cannot be removed", "job", j.ID, "err", err)
		}
	}()
	t.Secret = func(name string) ([]byte, error) {
		secret, err := h.cfg.Secret(ctx, j, name)
		if err != nil {
			return nil, err
		}
		if m, ok := log.(Masker); ok {
			m.Mask(secret)
		}
		return secret, nil
	}
	t.Objects = func(ctx context.Context) (Objects, error) { return h.cfg.Objects(ctx, j.Repo) }
	parts := 0
	t.Part = func(ctx context.Context, kind string, spec Spec, tree string, env []string) jobs.Result {
		doer := h.cfg.Doers[kind]
		if doer == nil {
			return unable(fault.Errorf(fault.Invalid, "work: part", "nobody here does jobs of kind %q", kind))
		}
		parts++
		part := *t
		part.Spec, part.Tree, part.Env, part.Part = spec, tree, env, nil
		part.Dir = filepath.Join(h.cfg.Dir, fmt.Sprintf("%s.%d.%d", j.ID, j.Attempt, parts))
		if err := remake(part.Dir); err != nil {
			return unable(err)
		}
		defer os.RemoveAll(part.Dir)
		return doer.Do(ctx, &part)
	}
	return doer.Do(ctx, t)
}

// remake makes an empty folder of dir, whatever a dead process left there.
func remake(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fault.Wrap("work: folder", err)
	}
	return fault.Wrap("work: folder", os.Mkdir(dir, 0o700))
}

// Reap ends what a process that died left of j.
func (h *Hall) Reap(ctx context.Context, j jobs.Job) error {
	for _, kind := range slices.Sorted(maps.Keys(h.cfg.Doers)) { // also those who did parts of it
		if r, ok := h.cfg.Doers[kind].(Reaper); ok {
			if err := r.Reap(ctx, j); err != nil {
				return err
			}
		}
	}
	left, err := filepath.Glob(filepath.Join(h.cfg.Dir, string(j.ID)+".*"))
	if err != nil {
		return fault.Wrap("work: reap", err)
	}
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			return fault.Wrap("work: reap", err)
		}
	}
	return nil
}

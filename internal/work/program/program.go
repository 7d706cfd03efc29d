// Package program does the jobs that are programs: the kinds exec and ssh. It decides in which runner
// a program runs, what it sees there, and how its end is told.
//
// There are three runners. plain has limits, and hides nothing: it is for what the operator wrote.
// bwrap gives the program namespaces of its own, in which there is little but /usr, read-only, and the
// job's folder; there is no network unless it is asked for. systemd has the service manager do both.
// Around plain and bwrap a control group is drawn where one can be had: it ends everything that came of
// the job, and bounds it. Where there is none, what is left is found by a variable that only this job's
// processes have.
//
// A program of somebody whom the operator does not trust runs in bwrap or systemd, with every limit
// enforced, or not at all.
package program

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/gitroost/gitroost/internal/durable"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/run"
	"github.com/gitroost/gitroost/internal/work"
)

// Config is what programs need. Run and State are required.
type Config struct {
	Run *run.Runner

	// State is a folder for notes of what runs, by which it is ended after a crash. It is made.
	State string

	// Path is the PATH of jobs, in which programs are looked for too. Default
	// "/usr/local/bin:/usr/bin:/bin".
	Path string

	// Private is a folder in memory for secrets. Default /dev/shm where it is there, else a job's own.
	Private string

	// Spare is where jobs have their folders that run as somebody else (run_as), who has to be able to go
	// there. Default /var/tmp where it is there, else the system's folder for temporary files.
	Spare string

	// Groups is a control group (v2) below which jobs get theirs. "" is the one this process is in;
	// "none" is none.
	Groups string

	// Bus is the address of the bus on which systemd is. "" is the system's; "none" is none.
	Bus string

	// Hide are folders that no program in a sandbox sees: the server's data. In bwrap nothing is seen
	// anyway that was not put there.
	Hide []string

	// Sandbox is the runner of programs whose definition names none, and Untrusted that of those of
	// strangers. Default work.SandboxAuto and work.SandboxBwrap.
	Sandbox, Untrusted string

	Log *slog.Logger // nil discards
}

// Programs runs them. It is safe for concurrent use.
type Programs struct {
	cfg    Config
	bwrap  string      // its path, "" if there is none
	groups *run.Groups // nil if there are none
	bus    bus
	why    map[string]string
}

// New returns Programs, having looked at what this machine has. What is required and missing is a
// fault.Invalid.
func New(cfg Config) (*Programs, error) {
	const op = "program: new"
	if cfg.Run == nil || cfg.State == "" {
		return nil, fault.E(fault.Invalid, op, "a runner and a folder are needed")
	}
	if cfg.Path == "" {
		cfg.Path = "/usr/local/bin:/usr/bin:/bin"
	}
	if cfg.Sandbox == "" {
		cfg.Sandbox = work.SandboxAuto
	}
	if cfg.Untrusted == "" {
		cfg.Untrusted = work.SandboxBwrap
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(cfg.State, 0o700); err != nil {
		return nil, fault.Wrap(op, err)
	}
	if cfg.Private == "" {
		if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() {
			cfg.Private = "/dev/shm"
		}
	}
	if cfg.Spare == "" {
		cfg.Spare = os.TempDir()
		if fi, err := os.Stat("/var/tmp"); err == nil && fi.IsDir() {
			cfg.Spare = "/var/tmp"
		}
	}
	p := &Programs{cfg: cfg, why: map[string]string{}}
	if path, err := run.Find("bwrap", cfg.Path); err != nil {
		p.why[work.SandboxBwrap] = "bwrap is not here; install the package bubblewrap"
	} else {
		p.bwrap = path
	}
	if cfg.Groups == "none" {
		p.why["groups"] = "control groups are switched off"
	} else if g, err := run.OpenGroups(cfg.Groups); err != nil {
		p.why["groups"] = err.Error()
	} else {
		p.groups = g
	}
	return p, nil
}

// A Runner is one way to run programs, for people.
type Runner struct {
	Name string // "bwrap", "systemd", "groups"
	Text string // "" if it is there, else why not
}

// Runners returns what this machine has for jobs, and why not.
func (p *Programs) Runners(ctx context.Context) []Runner {
	list := []Runner{{work.SandboxBwrap, p.why[work.SandboxBwrap]}, {"groups", p.why["groups"]}}
	if p.bwrap != "" {
		list[0].Text = p.tryBwrap(ctx)
	}
	text := ""
	if err := p.trySystemd(ctx); err != nil {
		text = err.Error()
	}
	return append(list, Runner{work.SandboxSystemd, text})
}

// A record is what is noted of a program before its first instruction.
type record struct {
	Mark    string     `json:"mark"`
	Leader  run.Leader `json:"leader,omitzero"`
	Group   string     `json:"group,omitempty"`
	Unit    string     `json:"unit,omitempty"`
	Folders []string   `json:"folders,omitempty"` // that are not the task's
}

func (p *Programs) recordPath(j jobs.ID) string {
	return filepath.Join(p.cfg.State, filepath.Base(string(j))+".json")
}

// note makes r survive a crash of the process. One job has one record: its parts run in turn.
func (p *Programs) note(j jobs.ID, r record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fault.Wrap("program: note", err)
	}
	return fault.Wrap("program: note", durable.WriteFile(p.recordPath(j), data, 0o600))
}

func (p *Programs) forget(j jobs.ID) {
	if err := os.Remove(p.recordPath(j)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.cfg.Log.Warn("program: a note of a job cannot be removed", "job", j, "err", err)
	}
}

func mark(j jobs.ID) string { return "GRASP_JOB_ID=" + string(j) }

// reap ends what a dead process left running of j. It may be called for jobs that left nothing.
func (p *Programs) reap(ctx context.Context, j jobs.Job) error {
	const op = "program: reap"
	var r record
	data, err := os.ReadFile(p.recordPath(j.ID))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // it is written before anything runs
	case err != nil:
		return fault.Wrap(op, err)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return fault.Wrap(op, err)
	}
	if r.Unit != "" {
		if err := p.stopUnit(ctx, r.Unit); err != nil {
			return fault.Wrap(op, err)
		}
	}
	if r.Group != "" {
		if err := run.EndGroup(r.Group); err != nil {
			return fault.Wrap(op, err)
		}
	}
	r.Leader.End()
	if !run.EndMarked(mark(j.ID), 0) {
		return fault.Errorf(fault.Busy, op, "processes of job %s do not end", j.ID)
	}
	for _, dir := range r.Folders {
		if !strings.HasPrefix(filepath.Base(dir), privatePrefix) {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return fault.Wrap(op, err)
		}
	}
	p.forget(j.ID)
	return nil
}

const privatePrefix = "gitroost-job-"

package program

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/run"
	"github.com/gitroost/gitroost/internal/work"
)

// contain runs a program in the runners plain and bwrap.
func (p *Programs) contain(ctx context.Context, pr *prog) (run.Outcome, error) {
	t, l := pr.t, pr.limits
	c := run.Contained{Kind: pr.kind, Path: pr.argv[0], Args: run.Operator(pr.argv[1:]), Env: pr.env, Dir: pr.at.dir, User: pr.user, Stdin: pr.stdin,
		Stdout: t.Log.Stream("stdout"), Stderr: t.Log.Stream("stderr"), Mark: mark(t.Job.ID)}
	note := pr.record()
	if p.groups != nil {
		name := filepath.Base(t.Dir)
		note.Group = p.groups.Path(name)
		if err := p.note(t.Job.ID, note); err != nil {
			return run.Outcome{}, err
		}
		g, err := p.groups.Make(name, run.GroupLimits{CPU: int(l.CPU), Memory: int64(l.Memory), Tasks: l.Tasks})
		if err != nil {
			return run.Outcome{}, fault.Wrap("exec", err)
		}
		defer func() {
			if err := g.Close(); err != nil {
				p.cfg.Log.Warn("program: a control group cannot be removed", "job", t.Job.ID, "err", err)
			}
		}()
		c.Group = g
	}
	c.Bounds = run.Bounds{FileSize: uint64(l.Disk)}
	if l.Memory > 0 && !p.groups.Has("memory") {
		c.Bounds.Memory = uint64(l.Memory)
	}
	if l.Tasks > 0 && !p.groups.Has("pids") && pr.user != nil {
		c.Bounds.Tasks = uint64(l.Tasks)
	}
	if l.CPU > 0 && !p.groups.Has("cpu") {
		c.Bounds.Nice = true
		if l.Time > 0 {
			c.Bounds.CPU = time.Duration(l.Time) * time.Duration(l.CPU) / 100
		}
		t.Printf("limits: cpu: %s cannot be enforced: %s; the program gives way to others", l.CPU, p.noGroups("cpu"))
	}
	if pr.sandbox == work.SandboxBwrap {
		args, files, err := p.wrap(pr)
		defer closeAll(files)
		if err != nil {
			return run.Outcome{}, err
		}
		c.Path, c.Args, c.Files, c.Wrapped = p.bwrap, args, files, true
	}
	c.Begin = func(l run.Leader) error {
		note.Leader = l
		return p.note(t.Job.ID, note)
	}
	c.Watch = p.watch(pr)
	out, err := p.cfg.Run.Contain(ctx, c)
	if c.Wrapped && out.Signal == 0 && out.Code > 128 && out.Code < 128+65 {
		out.Signal, out.Code = syscall.Signal(out.Code-128), -1
	}
	return out, err
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// watch returns what looks after the limits that the kernel does not keep.
func (p *Programs) watch(pr *prog) func(run.Use) error {
	l := pr.limits
	if l.Memory == 0 && l.Tasks == 0 && l.Disk == 0 {
		return nil
	}
	look, every := 0, 1
	return func(u run.Use) error {
		extra := 0
		if pr.sandbox == work.SandboxBwrap {
			extra = 2 // bwrap itself
		}
		if l.Tasks > 0 && u.Tasks-extra > l.Tasks {
			return &overError{fmt.Sprintf("it has %d processes and threads, more than limits.tasks: %d", u.Tasks-extra, l.Tasks)}
		}
		if l.Memory > 0 && u.Memory > int64(l.Memory) {
			return &overError{fmt.Sprintf("it has %d MiB of memory, more than limits.memory: %s", u.Memory>>20, l.Memory)}
		}
		if !u.Full {
			return nil
		}
		if look++; l.Disk == 0 || look%every != 0 {
			return nil
		}
		n, files := weigh(pr.at.write, int64(l.Disk))
		every = 1 + files/2000 // a large folder is not looked at all the time
		if n > int64(l.Disk) {
			return &overError{fmt.Sprintf("it wrote %d MiB or more, limits.disk is %s", n>>20, l.Disk)}
		}
		return nil
	}
}

// weigh returns how many bytes the files below dirs have on disk, and how many files there are. It stops
// counting above most.
func weigh(dirs []string, most int64) (n int64, files int) {
	for _, dir := range dirs {
		filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil
			}
			files++
			if fi, err := d.Info(); err == nil {
				if st, ok := fi.Sys().(*syscall.Stat_t); ok {
					n += st.Blocks * 512
				}
			}
			if n > most {
				return filepath.SkipAll
			}
			return nil
		})
	}
	return n, files
}

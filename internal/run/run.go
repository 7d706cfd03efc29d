// Package run starts programs: each with exactly the environment it is given, in a process group
// of its own, with limits, and never left behind.
//
// It is the only place that starts a process. It refuses to know which programs there are and
// what they are good for; who calls it says what runs, and how many at a time.
//
// A program ends in one of two ways. It exits: whatever it left in its group is killed before its
// exit is reported. Or its context ends: its input is closed, so that it can tidy up; five seconds
// later the group gets a TERM, and ten seconds after the end of the context a KILL. Either way Run
// comes back only when the process has been reaped, so no process is without an owner.
package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Limits bound one child. A zero field is no limit. They are set by prlimit right after the start,
// where the system has it; core dumps are always off.
type Limits struct {
	// CPU is the processor time the child may use, over all its threads. CPUPerMiB is added for
	// each MiB that its input delivered: the budget grows with what arrived, not with what was
	// claimed.
	CPU, CPUPerMiB time.Duration

	// Memory is the size of the address space in bytes.
	Memory uint64

	// FileSize is the largest file it may write, in bytes.
	FileSize uint64

	// Idle lets it have the processor and the disk only when nobody else wants them.
	Idle bool
}

// A Command is one program to run. Path and Args come from typed values, see Arg.
type Command struct {
	// Kind is the name under which the start is counted: "index-pack". Required.
	Kind string

	// Path is the absolute path of the program.
	Path string
	Args []Arg

	// Env is the whole environment, as KEY=value. Nothing is inherited.
	Env []string

	// Dir is the working directory; absolute. Default "/".
	Dir string

	// Stdin is copied to the child by a goroutine of its own, which keeps at most 1 MiB before a child
	// that is slower. nil is an empty input. It must come to an end, or to an error, soon after the
	// context has ended.
	Stdin io.Reader

	// Stdout receives the output as it comes, in pieces of at most 64 KiB, from one goroutine.
	// nil throws it away. If it fails, the child's output is closed. It must return, if need be
	// with an error, soon after the context has ended.
	Stdout io.Writer

	// Long says that much output is expected. After its first 64 KiB, what comes is let gather for a
	// millisecond if it comes in little pieces, and is handed on in pieces of at most 128 KiB: a child
	// that writes 8 KiB at a time wakes nobody for each of them.
	Long bool

	// Stderr, if set, receives the error output as it comes, in pieces of at most 64 KiB, from one
	// goroutine, and not after Run returned. What it answers is not looked at.
	Stderr io.Writer

	// StderrLine, if set, receives each line of the error output, at most 1 KiB of it, without
	// its end; carriage returns end a line as well. It is called from one goroutine, and not
	// after Run returned.
	StderrLine func(line string)

	Limits Limits
}

// A Result is what is known after a child ended by itself.
type Result struct {
	// Stderr is the beginning of the error output, at most 64 KiB. It is for logs and for
	// classifying failures; it is not sent to visitors as it is.
	Stderr string

	// Sent is how many bytes of Stdin the child was given.
	Sent int64

	// Unread is true if the child exited without having read all of Stdin.
	Unread bool

	// Took is processor time, user and system.
	Took time.Duration
}

// An ExitError says that the program ran and failed.
type ExitError struct {
	Kind   string
	Code   int            // -1 if it was ended by a signal
	Signal syscall.Signal // or 0
	Stderr string         // as in Result
}

func (e *ExitError) Error() string {
	how := fmt.Sprintf("exit status %d", e.Code)
	if e.Signal != 0 {
		how = "ended by " + e.Signal.String()
	}
	if line := lastLine(e.Stderr); line != "" {
		return e.Kind + ": " + how + ": " + line
	}
	return e.Kind + ": " + how
}

// ErrBusy is wrapped by the error of a start that failed for want of descriptors, processes or
// memory: trying again later may help.
var ErrBusy = errors.New("no resources to start a process")

// A ReadError says that Stdin failed, and with what.
type ReadError struct{ Err error }

func (e *ReadError) Error() string { return "reading input: " + e.Err.Error() }
func (e *ReadError) Unwrap() error { return e.Err }

// A WriteError says that Stdout failed, and with what.
type WriteError struct{ Err error }

func (e *WriteError) Error() string { return "writing output: " + e.Err.Error() }
func (e *WriteError) Unwrap() error { return e.Err }

// Config are the knobs of a Runner. Zero values mean the defaults.
type Config struct {
	// TermAfter and KillAfter are counted from the end of a child's context. Default 5 s and 10 s.
	TermAfter, KillAfter time.Duration
}

// A Runner starts programs and counts them. It is safe for concurrent use.
type Runner struct {
	term, kill time.Duration

	mu      sync.Mutex
	started map[string]int64
	running int
}

// New returns a Runner. From then on no descriptor that this process inherited, except the first
// three, is passed on to any child.
func New(cfg Config) *Runner {
	closeInherited()
	r := &Runner{term: cfg.TermAfter, kill: cfg.KillAfter, started: map[string]int64{}}
	if r.term <= 0 {
		r.term = 5 * time.Second
	}
	if r.kill <= 0 {
		r.kill = 10 * time.Second
	}
	return r
}

// Started returns how many programs of each kind were started so far.
func (r *Runner) Started() map[string]int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.started)
}

// Running returns how many children live now.
func (r *Runner) Running() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running
}

func (r *Runner) count(kind string, started bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if started {
		r.started[kind]++
		r.running++
	} else {
		r.running--
	}
}

// Find returns the absolute path of the program called name, looked for in the folders of path,
// which has the form of the PATH variable. A name that is an absolute path is returned if it can
// be run. Relative folders are passed over.
func Find(name, path string) (string, error) {
	candidates := []string{name}
	if !filepath.IsAbs(name) {
		if name == "" || strings.ContainsRune(name, '/') {
			return "", fmt.Errorf("run: %q is neither a name nor an absolute path", name)
		}
		candidates = candidates[:0]
		for _, dir := range filepath.SplitList(path) {
			if filepath.IsAbs(dir) {
				candidates = append(candidates, filepath.Join(dir, name))
			}
		}
	}
	for _, c := range candidates {
		if fi, err := os.Stat(c); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return c, nil
		}
	}
	return "", fmt.Errorf("run: no program %q in %q", name, path)
}

// Run starts c, feeds it, and waits for its end. The error is an *ExitError if it failed, the
// cause of the context if that ended it, a *ReadError or *WriteError if the other side of its
// input or output failed, and anything else if it could not be started (see ErrBusy).
func (r *Runner) Run(ctx context.Context, c Command) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, context.Cause(ctx)
	}
	cmd, err := c.build()
	if err != nil {
		return Result{}, fmt.Errorf("run: %s: %w", c.Kind, err)
	}
	p, err := start(cmd, c)
	if err != nil {
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOMEM) {
			err = errors.Join(ErrBusy, err)
		}
		return Result{}, fmt.Errorf("run: %s: %w", c.Kind, err)
	}
	r.count(c.Kind, true)
	defer r.count(c.Kind, false)
	return p.finish(ctx, r.term, r.kill)
}

func (c *Command) build() (*exec.Cmd, error) {
	if c.Kind == "" || !filepath.IsAbs(c.Path) {
		return nil, errors.New("a command needs a kind and an absolute path")
	}
	if c.Dir != "" && !filepath.IsAbs(c.Dir) {
		return nil, errors.New("the working directory must be absolute")
	}
	args := make([]string, 0, len(c.Args)+1)
	args = append(args, c.Path)
	for _, a := range c.Args {
		if a.s == "" || strings.IndexByte(a.s, 0) >= 0 {
			return nil, errors.New("an argument is empty or holds a NUL")
		}
		args = append(args, a.s)
	}
	env := make([]string, 0, len(c.Env))
	for _, kv := range c.Env {
		if i := strings.IndexByte(kv, '='); i <= 0 || strings.IndexByte(kv, 0) >= 0 {
			return nil, errors.New("the environment holds something that is not KEY=value")
		}
		env = append(env, kv)
	}
	cmd := &exec.Cmd{Path: c.Path, Args: args, Env: env, Dir: c.Dir, SysProcAttr: &syscall.SysProcAttr{Setpgid: true}}
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	return cmd, nil
}

func lastLine(s string) string {
	s = strings.TrimRight(s, "\r\n")
	if i := strings.LastIndexAny(s, "\r\n"); i >= 0 {
		s = s[i+1:]
	}
	return s
}

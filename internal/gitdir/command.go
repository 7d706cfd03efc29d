package gitdir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"syscall"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/run"
)

// A command is one call of git. args begins with the subcommand, which also names its kind.
type command struct {
	args     []run.Arg
	env      []string
	stdin    io.Reader
	stdout   io.Writer
	stderr   io.Writer
	progress func(string)
	long     bool // much output is expected
	limits   run.Limits
}

func (v *Vault) run(ctx context.Context, c command) (run.Result, error) {
	if v.log.Enabled(ctx, slog.LevelDebug) {
		v.log.Debug("git", "args", masked(c.args))
	}
	return v.cfg.Runner.Run(ctx, run.Command{
		Kind: c.args[0].String(), Path: v.git, Args: c.args, Env: c.env, Dir: v.root,
		Stdin: c.stdin, Stdout: c.stdout, Long: c.long, Stderr: c.stderr, StderrLine: c.progress, Limits: c.limits,
	})
}

// secretPart finds what may be a secret in a URL: who fetches, and what stands behind a question mark.
var secretPart = regexp.MustCompile(`(://)[^/@\s]*@|(\?)[^#\s]*`)

// masked returns args for the log, with what may be a secret in them replaced (S3-44).
func masked(args []run.Arg) []string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = a.String()
		if strings.Contains(out[i], "://") {
			out[i] = secretPart.ReplaceAllString(out[i], "$1$2•••")
			out[i] = strings.ReplaceAll(out[i], "://•••", "://•••@")
		}
	}
	return out
}

// small runs a command whose output is small, bounded in time by CheckTimeout.
func (v *Vault) small(ctx context.Context, c command) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, v.cfg.CheckTimeout)
	defer cancel()
	var out limitedBuffer
	c.stdout = &out
	_, err := v.run(ctx, c)
	return out.String(), err
}

// A limitedBuffer takes 16 MiB and then fails.
type limitedBuffer struct{ bytes.Buffer }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > 16<<20 {
		return 0, errors.New("too much output")
	}
	return b.Buffer.Write(p)
}

// explain turns the failure of a command into a fault. failed is the code for an ordinary exit with
// an error, and text what a visitor may read then.
func explain(op string, err error, failed fault.Code, text string) error {
	if err == nil {
		return nil
	}
	var re *run.ReadError
	if errors.As(err, &re) {
		if fault.CodeOf(re.Err) != fault.Internal {
			return fault.Wrap(op, re.Err)
		}
		return &fault.Error{Code: fault.Invalid, Op: op, Text: "the data ended early", Err: err}
	}
	var we *run.WriteError
	if errors.As(err, &we) {
		if fault.CodeOf(we.Err) != fault.Internal {
			return fault.Wrap(op, we.Err)
		}
		return &fault.Error{Code: fault.Invalid, Op: op, Text: "the reader went away", Err: err}
	}
	if errors.Is(err, run.ErrBusy) {
		return &fault.Error{Code: fault.Busy, Op: op, Text: "the server is busy, try again", Err: err}
	}
	e, ok := run.IsExit(err)
	if !ok {
		return fault.Wrap(op, err)
	}
	switch {
	case strings.Contains(e.Stderr, "No space left on device"), strings.Contains(e.Stderr, "Disk quota exceeded"):
		return &fault.Error{Code: fault.Busy, Op: op, Text: "no space left on the server", Err: err}
	case e.Signal == syscall.SIGXCPU:
		return &fault.Error{Code: fault.TooLarge, Op: op, Text: "it took more processor time than is allowed", Err: err}
	case strings.Contains(e.Stderr, "attempting to allocate"), strings.Contains(e.Stderr, "ut of memory"), strings.Contains(e.Stderr, "mmap failed"):
		return &fault.Error{Code: fault.TooLarge, Op: op, Text: "an object is larger than is allowed", Err: err}
	case e.Signal != 0:
		return &fault.Error{Code: fault.Busy, Op: op, Text: "the server is busy, try again", Err: err}
	}
	return &fault.Error{Code: failed, Op: op, Text: text, Err: err}
}

// checkVersion reads git's version (README 12).
func (v *Vault) checkVersion(ctx context.Context) error {
	const op = "gitdir: git version"
	out, err := v.small(ctx, command{args: run.Words("version"), env: v.env(v.none(), 0, [][]pair{baseConfig})})
	if err != nil {
		return fault.Wrap(op, err)
	}
	v.version = strings.TrimSpace(strings.TrimPrefix(out, "git version "))
	switch {
	case !atLeast(v.version, 2, 39, 5):
		return fault.Errorf(fault.Invalid, op, "%s is git %q; 2.39.5 or newer is needed", v.git, v.version)
	case !atLeast(v.version, 2, 50, 1):
		v.log.Warn("git is old: use 2.50.1 or newer, or one with your vendor's fixes", "version", v.version)
	}
	return nil
}

// atLeast compares a version such as "2.39.5" or "2.50.1.windows.1" or "2.55.0-rc1".
func atLeast(version string, want ...int) bool {
	var have [3]int
	fmt.Sscanf(version, "%d.%d.%d", &have[0], &have[1], &have[2])
	for i, w := range want {
		if have[i] != w {
			return have[i] > w
		}
	}
	return true
}

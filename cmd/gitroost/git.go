package main

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"

	"github.com/gitroost/gitroost/internal/client"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/run"
)

// maxOutput is how much of git's output is kept, in bytes: the refs of a large repository.
const maxOutput = 64 << 20

// newGit returns the git of the person at the terminal, in their environment: their identity,
// their proxy, their configuration. It does not ask for passwords, since servers here never do.
func newGit(env []string) client.Git { return gitAt("git", env) }

// gitAt is newGit for a program that is called otherwise, or lies elsewhere.
func gitAt(program string, env []string) client.Git {
	runner := run.New(run.Config{})
	env = append(withoutGitVars(env), "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
	return func(ctx context.Context, dir string, args ...string) (string, string, error) {
		path, err := run.Find(program, lookup(env, "PATH"))
		if err != nil {
			return "", "", fault.Errorf(fault.Invalid, "git", "%s is not installed or not in PATH; install it, for example with: apt install git", program)
		}
		if dir, err = filepath.Abs(dir); err != nil {
			return "", "", err
		}
		out := &bounded{max: maxOutput}
		// The words come from the person who started this program, or were checked by client.
		res, err := runner.Run(ctx, run.Command{
			Kind: "git", Path: path, Args: run.Operator(args), Env: env, Dir: dir, Stdout: out,
		})
		var exit *run.ExitError
		if errors.As(err, &exit) {
			return out.String(), exit.Stderr, err
		}
		return out.String(), res.Stderr, err
	}
}

// withoutGitVars drops what would point git at another repository than the one meant.
func withoutGitVars(env []string) []string {
	var out []string
	for _, kv := range env {
		k, _, _ := strings.Cut(kv, "=")
		switch k {
		case "", "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_NAMESPACE", "LC_ALL":
		default:
			out = append(out, kv)
		}
	}
	return out
}

func lookup(env []string, name string) string {
	for _, kv := range env {
		if k, v, ok := strings.Cut(kv, "="); ok && k == name {
			return v
		}
	}
	return ""
}

var errTooMuch = errors.New("git printed too much")

// bounded does not embed its buffer: ReadFrom would go around the bound.
type bounded struct {
	b   bytes.Buffer
	max int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.b.Len()+len(p) > b.max {
		return 0, errTooMuch
	}
	return b.b.Write(p)
}

func (b *bounded) String() string { return b.b.String() }

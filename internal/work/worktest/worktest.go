// Package worktest has what tests of kinds of jobs need: a repository that is filled by git itself, a
// Hall that has jobs done in it, and what they said.
package worktest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitdir"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/steward"
	"github.com/gitroost/gitroost/internal/work"
)

// Demo is the repository.
var Demo = grasp.Addr{Owner: grasp.PubKey(strings.Repeat("1", 63) + "a"), ID: "demo"}

// A World is one repository and those who work on it.
type World struct {
	TB      testing.TB
	Root    string // everything is below it
	Work    string // a copy to work in
	Vault   *gitdir.Vault
	Secrets map[string]string
	Doers   map[string]work.Doer

	n  int
	id int
}

// New returns a World with an empty repository.
func New(t testing.TB) *World {
	t.Helper()
	root := t.TempDir()
	w := &World{TB: t, Root: root, Work: filepath.Join(root, "copy"), Secrets: map[string]string{}, Doers: map[string]work.Doer{}}
	v, err := gitdir.Open(context.Background(), filepath.Join(root, "data"), gitdir.Config{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	w.Vault = v
	if err := os.Mkdir(w.Work, 0o755); err != nil {
		t.Fatal(err)
	}
	w.Git("init", "-q", "-b", "main")
	return w
}

// Git runs git in the copy, and returns what it says.
func (w *World) Git(args ...string) string {
	w.TB.Helper()
	return w.GitIn("", args...)
}

// GitIn is Git with an input.
func (w *World) GitIn(in string, args ...string) string {
	w.TB.Helper()
	w.n++
	date := fmt.Sprintf("%d +0100", 1700000000+60*w.n)
	c := exec.Command("git", args...)
	c.Dir = w.Work
	c.Stdin = strings.NewReader(in)
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=Alice", "GIT_AUTHOR_EMAIL=alice@example.com",
		"GIT_COMMITTER_NAME=Alice", "GIT_COMMITTER_EMAIL=alice@example.com", "GIT_AUTHOR_DATE=" + date, "GIT_COMMITTER_DATE=" + date}
	out, err := c.CombinedOutput()
	if err != nil {
		w.TB.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// Write writes a file of the copy. One whose text begins with "#!" can be run.
func (w *World) Write(name, text string) {
	w.TB.Helper()
	path := filepath.Join(w.Work, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.TB.Fatal(err)
	}
	mode := os.FileMode(0o644)
	if strings.HasPrefix(text, "#!") {
		mode = 0o755
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		w.TB.Fatal(err)
	}
}

// Commit commits everything, brings it into the repository, and returns the commit.
func (w *World) Commit(message string) grasp.OID {
	w.TB.Helper()
	w.Git("add", "-A")
	w.Git("commit", "-q", "--allow-empty", "-m", message)
	w.Bring()
	return grasp.OID(w.Git("rev-parse", "HEAD"))
}

// Bring brings all refs of the copy, and what is behind them, into the repository.
func (w *World) Bring() {
	w.TB.Helper()
	ctx := context.Background()
	c := exec.Command("git", "pack-objects", "--all", "--stdout", "-q")
	c.Dir = w.Work
	pack, err := c.Output()
	if err != nil {
		w.TB.Fatal(err)
	}
	q, err := w.Vault.Ingest(ctx, Demo, bytes.NewReader(pack), steward.IngestOptions{})
	if err != nil {
		w.TB.Fatal(err)
	}
	defer q.Discard()
	snap, err := w.Vault.Refs(ctx, Demo)
	if err != nil {
		w.TB.Fatal(err)
	}
	var edits []grasp.RefChange
	for line := range strings.SplitSeq(w.Git("for-each-ref", "--format=%(objectname) %(refname)"), "\n") {
		oid, name, _ := strings.Cut(line, " ")
		was := string(snap.Refs.OID(grasp.RefName(name)))
		if was == "" {
			was = strings.Repeat("0", 40)
		}
		if name != "" && was != oid {
			edits = append(edits, grasp.RefChange{Ref: grasp.RefName(name), Old: grasp.OID(was), New: grasp.OID(oid)})
		}
	}
	if err := q.Check(ctx, edits); err != nil {
		w.TB.Fatal(err)
	}
	if err := q.Admit(ctx); err != nil {
		w.TB.Fatal(err)
	}
	if err := w.Vault.Apply(ctx, Demo, edits, "refs/heads/main"); err != nil {
		w.TB.Fatal(err)
	}
}

// Objects opens the repository for reading.
func (w *World) Objects(ctx context.Context, repo grasp.Addr) (work.Objects, error) {
	b, err := w.Vault.Browse(ctx, repo)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Hall returns a Hall with the Doers of w.
func (w *World) Hall() *work.Hall {
	w.TB.Helper()
	h, err := work.New(work.Config{
		Doers: w.Doers, Dir: filepath.Join(w.Root, "jobs"), URL: "https://git.example.com", Now: time.Now,
		Git: func(context.Context, grasp.Addr) (string, func(), error) {
			dir, err := gitdir.Path(filepath.Join(w.Root, "data"), Demo)
			return dir, func() {}, err
		},
		Objects: w.Objects,
		Secret: func(_ context.Context, _ jobs.Job, name string) ([]byte, error) {
			s, ok := w.Secrets[name]
			if !ok {
				return nil, fault.Errorf(fault.Invalid, "secret", "there is no secret %q", name)
			}
			return []byte(s), nil
		},
	})
	if err != nil {
		w.TB.Fatal(err)
	}
	return h
}

// Job returns a job of a kind that was told spec, about main as it is.
func (w *World) Job(kind string, spec work.Spec, more ...func(*jobs.Job)) jobs.Job {
	w.TB.Helper()
	if err := spec.Check(); err != nil {
		w.TB.Fatal(err)
	}
	data, err := json.Marshal(spec)
	if err != nil {
		w.TB.Fatal(err)
	}
	w.id++
	j := jobs.Job{ID: jobs.ID(fmt.Sprintf("01J%015d%08d", os.Getpid(), w.id)), Repo: Demo, Name: "test", Kind: kind, Class: jobs.Operator, Trigger: jobs.OnPush,
		Ref: "refs/heads/main", Old: grasp.OID(strings.Repeat("0", 40)), Attempt: 1, Spec: data}
	snap, err := w.Vault.Refs(context.Background(), Demo)
	if err != nil {
		w.TB.Fatal(err)
	}
	j.New = snap.Refs.OID(j.Ref)
	for _, m := range more {
		m(&j)
	}
	return j
}

// Run has a job done to its end, and returns how it ended and what it said.
func (w *World) Run(kind string, spec work.Spec, more ...func(*jobs.Job)) (jobs.Result, *Log) {
	w.TB.Helper()
	log := &Log{}
	return w.Hall().Run(context.Background(), w.Job(kind, spec, more...), log), log
}

// A Log remembers what a job said.
type Log struct {
	mu   sync.Mutex
	all  []byte
	by   map[string][]byte
	n    int64
	seen chan struct{}
	want string
}

// maxKept is how much a Log keeps, in bytes; the rest is counted.
const maxKept = 1 << 20

type stream struct {
	l    *Log
	name string
}

// Stream returns where a stream is written to.
func (l *Log) Stream(name string) io.Writer { return stream{l, name} }

// Close returns how much was written.
func (l *Log) Close() (int64, error) { return l.Bytes(), nil }

func (s stream) Write(b []byte) (int, error) {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	s.l.n += int64(len(b))
	if s.l.by == nil {
		s.l.by = map[string][]byte{}
	}
	if len(s.l.all) < maxKept {
		s.l.all = append(s.l.all, b...)
		s.l.by[s.name] = append(s.l.by[s.name], b...)
	}
	if s.l.seen != nil && bytes.Contains(s.l.all, []byte(s.l.want)) {
		close(s.l.seen)
		s.l.seen = nil
	}
	return len(b), nil
}

// Seen returns a channel that is closed when the log holds text.
func (l *Log) Seen(text string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := make(chan struct{})
	if bytes.Contains(l.all, []byte(text)) {
		close(c)
		return c
	}
	l.seen, l.want = c, text
	return c
}

// Bytes returns how much was written.
func (l *Log) Bytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// Of returns what a stream said.
func (l *Log) Of(name string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.by[name])
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.all)
}

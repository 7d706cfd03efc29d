package gitdir_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitdir"
	"github.com/gitroost/gitroost/internal/run"
	"github.com/gitroost/gitroost/internal/steward"
)

var (
	alice = grasp.PubKey(strings.Repeat("a1", 32))
	bob   = grasp.PubKey(strings.Repeat("b2", 32))
	demo  = grasp.Addr{Owner: alice, ID: "demo"}
	fork  = grasp.Addr{Owner: bob, ID: "demo"}
)

const (
	mainRef = grasp.RefName("refs/heads/main")
	devRef  = grasp.RefName("refs/heads/dev")
)

// A house is a Vault under test and what it started.
type house struct {
	*gitdir.Vault
	t      testing.TB
	root   string
	runner *run.Runner
}

func open(t testing.TB) *house {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "data"), gitdir.Config{})
}

func openAt(t testing.TB, root string, cfg gitdir.Config) *house {
	t.Helper()
	h := &house{t: t, root: root, runner: run.New(run.Config{})}
	cfg.Runner = h.runner
	v, err := gitdir.Open(t.Context(), root, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	h.Vault = v
	t.Cleanup(v.Close)
	return h
}

func (h *house) path(a grasp.Addr) string {
	h.t.Helper()
	p, err := gitdir.Path(h.root, a)
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

// starts returns how many programs f started, git's version check not counted.
func (h *house) starts(f func()) map[string]int64 {
	before := h.runner.Started()
	f()
	after := h.runner.Started()
	for k, n := range before {
		if after[k] -= n; after[k] == 0 {
			delete(after, k)
		}
	}
	return after
}

// push is what the desk does with a push.
func (h *house) push(repo grasp.Addr, pack io.Reader, edits ...grasp.RefChange) error {
	ctx := context.Background()
	q, err := h.Ingest(ctx, repo, pack, steward.IngestOptions{})
	if err != nil {
		return err
	}
	defer q.Discard()
	if err := q.Check(ctx, edits); err != nil {
		return err
	}
	if err := q.Admit(ctx); err != nil {
		return err
	}
	return h.Apply(ctx, repo, edits, "")
}

func (h *house) refs(repo grasp.Addr) *grasp.Snapshot {
	h.t.Helper()
	s, err := h.Refs(context.Background(), repo)
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

func (h *house) have(repo grasp.Addr, want ...grasp.OID) grasp.OIDSet {
	h.t.Helper()
	s, err := h.Have(context.Background(), repo, want)
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

// sound checks that git is content with repo, that nothing is left over, and that git sees the refs
// that the Vault tells.
func (h *house) sound(repo grasp.Addr) {
	h.t.Helper()
	if err := h.Fsck(context.Background(), repo); err != nil {
		h.t.Errorf("fsck: %v", err)
	}
	if entries, _ := os.ReadDir(filepath.Join(h.root, "incoming")); len(entries) > 1 {
		h.t.Errorf("left in incoming: %v", entries)
	}
	path := h.path(repo)
	if _, err := os.Stat(path); err != nil {
		return
	}
	filepath.WalkDir(path, func(p string, d os.DirEntry, err error) error {
		if err == nil && (strings.HasSuffix(p, ".lock") || strings.Contains(d.Name(), "tmp_")) {
			h.t.Errorf("left behind: %s", p)
		}
		return nil
	})
	if got, want := gitRefs(h.t, path), tell(h.refs(repo)); got != want {
		h.t.Errorf("git sees\n%s, the vault tells\n%s", got, want)
	}
}

// tell writes a snapshot in the form of gitRefs.
func tell(s *grasp.Snapshot) string {
	var b strings.Builder
	for r := range s.Refs.All() {
		fmt.Fprintf(&b, "%s %s %s\n", r.OID, r.Name, r.Peeled)
	}
	fmt.Fprintf(&b, "HEAD %s\n", s.Head)
	return b.String()
}

func gitRefs(t testing.TB, dir string) string {
	t.Helper()
	out, err := tryGit(dir, nil, "show-ref", "--dereference")
	if err != nil && out != "" {
		t.Fatal(err)
	}
	var refs []grasp.Ref
	for line := range strings.Lines(out) {
		o, n, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, ok := strings.CutSuffix(n, "^{}"); ok {
			refs[len(refs)-1].Peeled = grasp.OID(o)
		} else if grasp.RefName(n).Visible() {
			refs = append(refs, grasp.Ref{Name: grasp.RefName(n), OID: grasp.OID(o)})
		}
	}
	head := grasp.RefName(strings.TrimSpace(git(t, dir, nil, "symbolic-ref", "HEAD")))
	return tell(&grasp.Snapshot{Refs: grasp.ListOf(refs), Head: head})
}

// tryGit runs the git of the system in dir, as a person would.
func tryGit(dir string, in io.Reader, args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Stdin = in
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "LC_ALL=C", "TZ=UTC",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@x", "GIT_AUTHOR_DATE=1700000000 +0000",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@x", "GIT_COMMITTER_DATE=1700000000 +0000",
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("git %s: %w\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), nil
}

func git(t testing.TB, dir string, in io.Reader, args ...string) string {
	t.Helper()
	out, err := tryGit(dir, in, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A work is somebody's own repository.
type work struct {
	t   testing.TB
	dir string
	n   int
}

func newWork(t testing.TB) *work {
	t.Helper()
	w := &work{t: t, dir: t.TempDir()}
	git(t, w.dir, nil, "init", "-q", "-b", "main")
	return w
}

func (w *work) git(args ...string) string {
	w.t.Helper()
	return strings.TrimSpace(git(w.t, w.dir, nil, args...))
}

// write writes a file, in a folder that need not be there.
func (w *work) write(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// commit writes a file and commits it.
func (w *work) commit(name, text string) grasp.OID {
	w.t.Helper()
	w.n++
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
	w.git("add", "-A")
	w.git("commit", "-q", "--allow-empty", "-m", fmt.Sprintf("commit %d", w.n))
	return w.tip("HEAD")
}

func (w *work) tip(rev string) grasp.OID {
	w.t.Helper()
	return grasp.OID(w.git("rev-parse", rev))
}

// pack returns what git would send of revs.
func (w *work) pack(revs ...string) []byte {
	w.t.Helper()
	return w.packWith(nil, revs...)
}

func (w *work) packWith(options []string, revs ...string) []byte {
	w.t.Helper()
	args := append([]string{"pack-objects", "--revs", "--stdout", "-q", "--delta-base-offset"}, options...)
	return []byte(git(w.t, w.dir, strings.NewReader(strings.Join(revs, "\n")+"\n"), args...))
}

// packOf returns a pack of exactly these objects.
func (w *work) packOf(objects ...string) []byte {
	w.t.Helper()
	return []byte(git(w.t, w.dir, strings.NewReader(strings.Join(objects, "\n")+"\n"), "pack-objects", "--stdout", "-q"))
}

func create(ref grasp.RefName, o grasp.OID) grasp.RefChange {
	return grasp.RefChange{Ref: ref, Old: grasp.ZeroOID, New: o}
}

func update(ref grasp.RefName, old, o grasp.OID) grasp.RefChange {
	return grasp.RefChange{Ref: ref, Old: old, New: o}
}

func remove(ref grasp.RefName, old grasp.OID) grasp.RefChange {
	return grasp.RefChange{Ref: ref, Old: old, New: grasp.ZeroOID}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused checks that err says no, by the rule, with the words.
func refused(t testing.TB, err error, code fault.Code, words string) {
	t.Helper()
	if !fault.Is(err, code) {
		t.Fatalf("error %v, want code %v", err, code)
	}
	if text, _ := fault.Message(err); !strings.Contains(text, words) {
		t.Errorf("text %q, want %q in it", text, words)
	}
	var r *grasp.Refusal
	if code == fault.Refused && (!errors.As(err, &r) || r.Rule == "") {
		t.Errorf("no rule is cited by %v", err)
	}
}

func gitdirConfig() gitdir.Config { return gitdir.Config{} }

func ingestOptions() steward.IngestOptions { return steward.IngestOptions{} }

func readFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return string(b)
}

// peeled is what the tag called n finally points to.
func peeled(s *grasp.Snapshot, n grasp.RefName) grasp.OID {
	r, _ := s.Refs.Get(n)
	return r.Peeled
}

// peels returns how many refs are peeled.
func peels(s *grasp.Snapshot) (n int) {
	for r := range s.Refs.All() {
		if r.Peeled != "" {
			n++
		}
	}
	return n
}

package render_test

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/gitdir"
	"github.com/gitroost/gitroost/internal/render"
	"github.com/gitroost/gitroost/internal/steward"
)

var demo = grasp.Addr{Owner: grasp.PubKey(strings.Repeat("a1", 32)), ID: "demo"}

// A world is a repository that is worked in, and one in a Vault that it is brought to.
type world struct {
	t     testing.TB
	work  string
	vault *gitdir.Vault
	clock time.Time
	n     int
}

func newWorld(t testing.TB) *world {
	t.Helper()
	root := t.TempDir()
	w := &world{t: t, work: filepath.Join(root, "work"), clock: time.Unix(1700000000, 0)}
	v, err := gitdir.Open(t.Context(), filepath.Join(root, "data"), gitdir.Config{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	w.vault = v
	if err := os.Mkdir(w.work, 0o755); err != nil {
		t.Fatal(err)
	}
	w.git("init", "-q", "-b", "main")
	return w
}

func (w *world) git(args ...string) string {
	w.t.Helper()
	return w.gitIn("", args...)
}

func (w *world) gitIn(in string, args ...string) string {
	w.t.Helper()
	w.n++
	date := fmt.Sprintf("%d +0100", 1700000000+60*w.n)
	c := exec.Command("git", args...)
	c.Dir = w.work
	c.Stdin = strings.NewReader(in)
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=Alice", "GIT_AUTHOR_EMAIL=alice@example.com",
		"GIT_COMMITTER_NAME=Alice", "GIT_COMMITTER_EMAIL=alice@example.com", "GIT_AUTHOR_DATE=" + date, "GIT_COMMITTER_DATE=" + date}
	out, err := c.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (w *world) write(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.work, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) commit(message string) {
	w.t.Helper()
	w.git("add", "-A")
	w.git("commit", "-q", "--allow-empty", "-m", message)
}

// bring brings branches and tags into the Vault.
func (w *world) bring() {
	w.t.Helper()
	c := exec.Command("git", "pack-objects", "--all", "--stdout", "-q")
	c.Dir = w.work
	pack, err := c.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	ctx := context.Background()
	q, err := w.vault.Ingest(ctx, demo, pack, steward.IngestOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	defer q.Discard()
	if err := c.Wait(); err != nil {
		w.t.Fatal(err)
	}
	snap, err := w.vault.Refs(ctx, demo)
	if err != nil {
		w.t.Fatal(err)
	}
	var edits []grasp.RefChange
	for _, line := range strings.Split(w.git("for-each-ref", "--format=%(objectname) %(refname)"), "\n") {
		oid, name, _ := strings.Cut(line, " ")
		if name == "" {
			continue
		}
		was, ok := snap.Refs.Tip(grasp.RefName(name))
		if !ok {
			was = grasp.OID(strings.Repeat("0", 40))
		}
		if string(was) != oid {
			edits = append(edits, grasp.RefChange{Ref: grasp.RefName(name), Old: was, New: grasp.OID(oid)})
		}
	}
	if err := q.Check(ctx, edits); err != nil {
		w.t.Fatal(err)
	}
	if err := q.Admit(ctx); err != nil {
		w.t.Fatal(err)
	}
	if err := w.vault.Apply(ctx, demo, edits, ""); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) options() render.Options {
	return render.Options{Now: func() time.Time { return w.clock }, Log: slog.New(slog.DiscardHandler)}
}

var site = render.Site{Name: "demo", Description: "a <b>demo</b>", Clone: []string{"https://git.example.com/npub1demo/demo.git"}}

func (w *world) publish(dir string, opt render.Options) (render.Report, error) {
	w.t.Helper()
	b, err := w.vault.Browse(context.Background(), demo)
	if err != nil {
		w.t.Fatal(err)
	}
	defer b.Close()
	return render.Publish(context.Background(), dir, b, site, opt)
}

func (w *world) mustPublish(dir string) render.Report {
	w.t.Helper()
	r, err := w.publish(dir, w.options())
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// tree returns every file that is served below dir.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	root, err := filepath.EvalSymlinks(filepath.Join(dir, "current"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(root, path)
		out[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func equal(t testing.TB, what string, got, want map[string]string) {
	t.Helper()
	for p := range want {
		if _, ok := got[p]; !ok {
			t.Errorf("%s: %s is missing", what, p)
		} else if got[p] != want[p] {
			t.Errorf("%s: %s differs:\n%s\n--- want\n%s", what, p, got[p], want[p])
		}
	}
	for p := range got {
		if _, ok := want[p]; !ok {
			t.Errorf("%s: %s is too many", what, p)
		}
	}
}

// An odd source answers as it is told.
type odd struct {
	render.Source
	object func(oid grasp.OID) error
	diffs  func() error
}

func (o odd) Object(ctx context.Context, oid grasp.OID, most int64) (string, int64, []byte, error) {
	if o.object != nil {
		if err := o.object(oid); err != nil {
			return "", 0, nil, err
		}
	}
	return o.Source.Object(ctx, oid, most)
}

func (o odd) Diffs(ctx context.Context, pairs [][2]grasp.OID, w io.Writer) error {
	if o.diffs != nil {
		if err := o.diffs(); err != nil {
			return err
		}
	}
	return o.Source.Diffs(ctx, pairs, w)
}

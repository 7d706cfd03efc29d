package housetest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A Copy is a working copy, used with the git that is installed and with nothing of the
// machine's own configuration.
type Copy struct {
	t   testing.TB
	Dir string
	n   int
}

// NewCopy makes an empty working copy whose branch is main.
func NewCopy(t testing.TB) *Copy {
	t.Helper()
	c := &Copy{t: t, Dir: t.TempDir()}
	c.Git("init", "-q", "-b", "main")
	return c
}

// Clone clones url with further arguments to git clone.
func Clone(t testing.TB, url string, args ...string) *Copy {
	t.Helper()
	c := &Copy{t: t, Dir: filepath.Join(t.TempDir(), "clone")}
	if out, err := Git(t, ".", append(append([]string{"clone", "-q"}, args...), url, c.Dir)...); err != nil {
		t.Fatalf("git clone %s: %v\n%s", url, err, out)
	}
	return c
}

// Git runs git in dir and returns what it wrote, both streams together.
func Git(t testing.TB, dir string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir(), "LC_ALL=C", "TZ=UTC",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0",
		// No upkeep: it is another process for each commit.
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=maintenance.auto", "GIT_CONFIG_VALUE_0=false",
		"GIT_AUTHOR_NAME=alice", "GIT_AUTHOR_EMAIL=alice@example.com", "GIT_AUTHOR_DATE=2026-01-01T00:00:00Z",
		"GIT_COMMITTER_NAME=alice", "GIT_COMMITTER_EMAIL=alice@example.com", "GIT_COMMITTER_DATE=2026-01-01T00:00:00Z",
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Undotted returns what a server says of a push with ids as they are: where one has the digits 404 in it, by
// accident, the server puts a dot between them (H-246).
func Undotted(s string) string {
	for strings.Contains(s, "4·04") {
		s = strings.ReplaceAll(s, "4·04", "404")
	}
	return s
}

// Git runs git in the copy; it must succeed. It returns the output without the final newline.
func (c *Copy) Git(args ...string) string {
	c.t.Helper()
	out, err := Git(c.t, c.Dir, args...)
	if err != nil {
		c.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSuffix(out, "\n")
}

// Fails runs git in the copy; it must fail, and say want, Undotted or not.
func (c *Copy) Fails(want string, args ...string) string {
	c.t.Helper()
	out, err := Git(c.t, c.Dir, args...)
	if err == nil || !strings.Contains(out, want) && !strings.Contains(Undotted(out), want) {
		c.t.Fatalf("git %s: got %v, want a failure that says %q:\n%s", strings.Join(args, " "), err, want, out)
	}
	return out
}

// Commit adds a commit with a new file to the current branch and returns its id.
func (c *Copy) Commit() string {
	c.t.Helper()
	c.n++
	name := fmt.Sprintf("file%d.txt", c.n)
	return c.CommitFile(name, []byte(fmt.Sprintf("content %d of %s\n", c.n, c.Dir)))
}

// CommitFile adds a commit that writes one file.
func (c *Copy) CommitFile(name string, content []byte) string {
	c.t.Helper()
	path := filepath.Join(c.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		c.t.Fatal(err)
	}
	c.Git("add", "-A")
	c.Git("commit", "-q", "-m", "change "+name)
	return c.Git("rev-parse", "HEAD")
}

// Remote returns the refs that url advertises, by name; an empty repository has none.
func Remote(t testing.TB, url string) map[string]string {
	t.Helper()
	out, err := Git(t, ".", "ls-remote", url)
	if err != nil {
		t.Fatalf("git ls-remote %s: %v\n%s", url, err, out)
	}
	refs := map[string]string{}
	for line := range bytes.Lines([]byte(out)) {
		if oid, name, ok := strings.Cut(strings.TrimSpace(string(line)), "\t"); ok {
			refs[name] = oid
		}
	}
	return refs
}

// Served announces owner's repository, and pushes one commit to main: the usual beginning.
func (h *House) Served(c *Conn, owner *Key, id string, at int64) *Copy {
	h.t.Helper()
	w := NewCopy(h.t)
	oid := w.Commit()
	c.Must(h.Announcement(owner, id, at), owner.State(id, at, "main="+oid))
	w.Git("push", "-q", h.Repo(owner, id), "main")
	return w
}

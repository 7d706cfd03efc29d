package acceptance_test

import (
	"net/http/cgi"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/internal/housetest"
)

// Whoever has a part of the history, and asks for another part, has at each step what a server of stock git would
// have given them, and git finds nothing wrong with it (check 49: H-226). A first shallow clone
// starts no program where protocol 2 is spoken.
func TestDoorShallowAsStock(t *testing.T) {
	t.Parallel()
	h, calls := watched(t)
	c, alice := h.Dial(), housetest.NewKey(t)
	repo := h.Repo(alice, "demo")
	w := housetest.NewCopy(t)
	var tips []string
	for i := range 8 {
		if i == 4 {
			w.Git("checkout", "-q", "-b", "side", tips[1])
			w.CommitFile("side", noise(2, 30_000))
			w.Git("checkout", "-q", "main")
			w.Git("merge", "-q", "--no-ff", "-m", "merge", "side")
		}
		tips = append(tips, w.CommitFile("noise", append(noise(1, 30_000), byte(i))))
	}
	w.Git("tag", "-a", "-m", "one", "v1", tips[7])
	w.Git("tag", "-a", "-m", "old", "v0", tips[2])
	c.Must(h.Announcement(alice, "demo", longAgo()), alice.State("demo", longAgo(), "main="+tips[7],
		"refs/tags/v1="+w.Git("rev-parse", "v1"), "refs/tags/v0="+w.Git("rev-parse", "v0"), "HEAD=main"))
	w.Git("push", "-q", repo, "main", "v0", "v1")
	// The same, of stock git: what a client asks for depends on the transport.
	dir := t.TempDir()
	bare := filepath.Join(dir, "stock.git")
	w.Git("clone", "-q", "--bare", "--single-branch", "-b", "main", w.Dir, bare)
	backend := httptest.NewServer(&cgi.Handler{Path: realGit(t), Args: []string{"http-backend"}, Dir: dir,
		Env: []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "HOME=" + dir}})
	t.Cleanup(backend.Close)
	stock := backend.URL + "/stock.git"

	holds := func(c *housetest.Copy) []string {
		t.Helper()
		got := strings.Fields(c.Git("rev-list", "--objects", "--no-object-names", "--all"))
		slices.Sort(got)
		return append(got, "refs", c.Git("for-each-ref", "--format=%(refname) %(objectname)", "refs/remotes/origin/main", "refs/tags"))
	}
	next := 0
	for v, firsts := range map[string][][]string{"0": {{"--depth=2"}}, "2": {{"--depth=1"}, {"--depth=5", "--no-single-branch"}, {"--depth=1", "-b", "v1"}}} {
		for _, first := range firsts {
			at := func(what string, ours, theirs *housetest.Copy) {
				t.Helper()
				if a, b := holds(ours), holds(theirs); !slices.Equal(a, b) {
					t.Errorf("version %s, %v, %s: %d objects, from stock git %d:\n%q\n%q", v, first, what, len(a), len(b), a[len(a)-1:], b[len(b)-1:])
				}
			}
			calls()
			args := append([]string{"-c", "protocol.version=" + v}, first...)
			ours, theirs := housetest.Clone(t, repo, args...), housetest.Clone(t, stock, args...)
			if got := calls(); v == "2" && len(got) > 0 {
				t.Errorf("%v: git was started %d times: %q", first, len(got), got)
			}
			at("cloned", ours, theirs)
			both := func(what string, args ...string) {
				t.Helper()
				ours.Git(args...)
				theirs.Git(args...)
				at(what, ours, theirs)
			}
			if next++; next%2 == 0 {
				tip := w.Commit()
				tips = append(tips, tip)
				c.Must(alice.State("demo", longAgo()+int64(next), "main="+tip, "refs/tags/v1="+w.Git("rev-parse", "v1"),
					"refs/tags/v0="+w.Git("rev-parse", "v0"), "HEAD=main"))
				w.Git("push", "-q", repo, "main")
				w.Git("push", "-q", bare, "main")
				both("after a push", "fetch", "-q", "origin")
			}
			both("deeper", "fetch", "-q", "--deepen=2", "origin")
			both("less deep", "fetch", "-q", "--depth=1", "origin")
			ours.Git("fsck", "--full", "--strict")
			both("whole", "fetch", "-q", "--unshallow", "origin")
			ours.Git("fsck", "--full", "--strict")
			both("cut off", "fetch", "-q", "--depth=2", "origin")
		}
	}
}

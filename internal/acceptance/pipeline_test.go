package acceptance_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
	"github.com/gitroost/gitroost/internal/run"
)

// S0-24 S0-25 S0-26: the example that is shipped tests, builds and deploys, each branch where it belongs,
// and stops where something fails.
func TestPipelineExample(t *testing.T) {
	t.Parallel()
	if _, err := run.Find("make", "/usr/local/bin:/usr/bin:/bin"); err != nil {
		t.Skip(err)
	}
	file, err := os.ReadFile("../../deploy/examples/pipeline.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var data string
	h := housetest.Start(t, housetest.WithJobs("jobs_engine: {per_repo: 4, per_owner: 4}\n"+string(file)), func(c *config.Config) { data = c.Data })
	c, alice := h.Dial(), housetest.NewKey(t)
	at, n := time.Now().Unix()-1000, 0
	w := h.Served(c, alice, "demo", at)
	worked(t, h, &n, "test main push failed", "build main push skipped", "production main push skipped") // there is no Makefile

	push := func(branch, text string, want ...string) {
		t.Helper()
		at++
		w.CommitFile("VERSION", []byte(text))
		oid := w.CommitFile("Makefile", []byte("# "+text+"\ntest:\n\ttest -s VERSION\nbuild:\n\ttrue\nsmoke:\n\tgrep -v broken VERSION\n"))
		w.Git("branch", "-f", "develop")
		main := w.Git("rev-parse", "HEAD")
		if branch == "develop" {
			main = w.Git("ls-remote", h.Repo(alice, "demo"), "refs/heads/main")[:40]
		}
		refs := []string{"main=" + main}
		if branch == "develop" || w.Git("ls-remote", h.Repo(alice, "demo"), "refs/heads/develop") != "" {
			refs = append(refs, "develop="+oid)
		}
		if branch == "main" && len(refs) == 2 {
			refs[1] = "develop=" + w.Git("ls-remote", h.Repo(alice, "demo"), "refs/heads/develop")[:40]
		}
		c.Must(alice.State("demo", at, refs...))
		w.Git("push", "-q", h.Repo(alice, "demo"), "HEAD:"+branch)
		worked(t, h, &n, want...)
	}
	shown := func(where string) string {
		b, _ := os.ReadFile(filepath.Join(data, "checkouts", alice.Npub, "demo", where, "VERSION"))
		return string(b)
	}
	push("develop", "one", "test develop push ok", "build develop push ok", "staging develop push ok", "clean develop push ok")
	if shown("staging") != "one" || shown("production") != "" {
		t.Errorf("staging shows %q, production %q", shown("staging"), shown("production"))
	}
	push("main", "two", "test main push ok", "build main push ok", "production main push ok")
	if shown("staging") != "one" || shown("production") != "two" {
		t.Errorf("staging shows %q, production %q", shown("staging"), shown("production"))
	}
	push("develop", "broken", "test develop push ok", "build develop push ok", "staging develop push failed", "clean develop push ok")
	if shown("staging") != "one" {
		t.Errorf("staging shows %q", shown("staging"))
	}
}

package acceptance_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
	"github.com/gitroost/gitroost/internal/jobs"
)

// S0-15 S0-17 S0-22 S0-33 S3-03 S3-05 S3-20: one push has a site rendered that the server shows, the files
// published behind a gate, and an old hook run; none of them was put into the repository.
func TestOnePushPublishes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	told := filepath.Join(dir, "told")
	hook := program(t, "post-receive", "read old new ref\necho \"$(basename $1) $ref $new\" >>"+told)
	www := filepath.Join(dir, "www")
	h := housetest.Start(t, housetest.WithJobs(fmt.Sprintf(`
jobs_engine: {per_repo: 4, per_owner: 4}
jobs:
  - {name: site, repos: ["*/*"], on: {push: {}}, site: {theme: auto}}
  - {name: hook, repos: ["*/*"], on: {push: {}}, exec: {run: [%[1]q], compat: git-hooks, sandbox: plain}}
  - name: deploy
    repos: ["*/*"]
    on: {push: {refs: [refs/heads/main]}}
    checkout: {to: %[2]q, check: [sh, -c, 'test "$(cat VERSION)" != broken && test -n "$GITSYNC_HASH"'], sandbox: plain, error_file: www.json}
    after: [{exec: {run: [sh, -c, 'echo after $GRASP_OID >>%[3]s'], sandbox: plain}}]
`, hook, www, told)), func(c *config.Config) { c.Sites.Serve = true })
	c, alice := h.Dial(), housetest.NewKey(t)
	at, n := time.Now().Unix()-1000, 0
	w := h.Served(c, alice, "demo", at)
	worked(t, h, &n, "site main push ok", "hook main push ok", "deploy main push ok")

	push := func(file, text, deploy string) string {
		t.Helper()
		at++
		oid := w.CommitFile(file, []byte(text))
		c.Must(alice.State("demo", at, "main="+oid))
		w.Git("push", "-q", h.Repo(alice, "demo"), "main")
		worked(t, h, &n, "site main push ok", "hook main push ok", "deploy main push "+deploy)
		return oid
	}
	oid := push("VERSION", "one", "ok")
	base, _, _ := strings.Cut(h.Repo(alice, "demo"), "/"+alice.Npub)
	site := base + "/sites/" + alice.Npub + "/demo/"
	get := func(path string) (*http.Response, string) {
		t.Helper()
		res, err := http.Get(site + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res, string(b)
	}
	res, page := get("commit/" + oid + ".html")
	if res.StatusCode != 200 {
		res, page = get("")
	}
	if res.StatusCode != 200 || !strings.Contains(page, "VERSION") || !strings.HasPrefix(res.Header.Get("Content-Security-Policy"), "sandbox;") {
		t.Errorf("%s%s: %s %v\n%.500s", site, oid, res.Status, res.Header, page)
	}
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
	if got := read(filepath.Join(www, "VERSION")); got != "one" {
		t.Errorf("published: %q", got)
	}
	if got := read(told); !strings.Contains(got, "demo.git refs/heads/main "+oid+"\n") || !strings.Contains(got, "after "+oid+"\n") {
		t.Errorf("told: %q", got)
	}
	// What does not pass the gate is not published, and it is said why.
	push("VERSION", "broken", "failed")
	if got := read(filepath.Join(www, "VERSION")); got != "one" || !strings.Contains(read(filepath.Join(dir, "www.json")), `"error"`) {
		t.Errorf("a gate that fails: %q, %s", got, read(filepath.Join(dir, "www.json")))
	}
	push("VERSION", "two", "ok")
	if got := read(filepath.Join(www, "VERSION")); got != "two" {
		t.Errorf("published: %q", got)
	}
	// The site of a repository that was deleted is not shown any more.
	c.Must(alice.Deletion(time.Now().Unix(), nostr.Tag{"a", housetest.Coordinate(alice, "demo")}, nostr.Tag{"k", "30617"}))
	housetest.Within(t, housetest.Wait, "the site is gone", func() bool { res, _ := get(""); return res.StatusCode == 404 })
	for _, j := range h.AllJobs() {
		if j.Name == "hook" && (j.State != jobs.OK || j.CPU <= 0 || j.MaxRSS <= 0) {
			t.Errorf("%+v", j)
		}
	}
}

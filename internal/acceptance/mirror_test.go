package acceptance_test

import (
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gitroost/gitroost/internal/housetest"
)

// A gitServer serves bare repositories over smart HTTP, to those who know the password.
type gitServer struct {
	*httptest.Server
	dir     string
	refused atomic.Int64 // requests without the password
}

func serveGit(t *testing.T, names ...string) *gitServer {
	t.Helper()
	s := &gitServer{dir: t.TempDir()}
	for _, name := range names {
		dir := filepath.Join(s.dir, name)
		if _, err := housetest.Git(t, s.dir, "init", "-q", "--bare", "-b", "main", dir); err != nil {
			t.Fatal(err)
		}
		if _, err := housetest.Git(t, dir, "config", "http.receivepack", "true"); err != nil {
			t.Fatal(err)
		}
	}
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{Path: git, Args: []string{"http-backend"}, Dir: s.dir,
		Env: []string{"GIT_PROJECT_ROOT=" + s.dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "HOME=" + s.dir}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, ok := r.BasicAuth()
		if !ok || user != "alice" || password != "pass w/ord:%" {
			s.refused.Add(1)
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		r.Header.Del("Authorization")
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

const mirrored = `
jobs_engine: {reach: [127.0.0.0/8]}
secrets:
  password: {file: $PASSWORD, repos: ['*/*']}
targets:
  phone: {ntfy: $PHONE/mirrors}
jobs:
  - name: copy
    repos: ['*/demo']
    on: {push: {}, state: {deleted: true}}
    mirror_push: {url: $URL/there.git, user: alice, token: {secret: password}, prune: true}
    notify: {to: [phone], on: [always]}
`

// What is pushed here is soon there, with what is removed; what somebody else wrote there is not
// overwritten, and that is told. mirror_push (§3.8), S3-42
func TestMirrorPush(t *testing.T) {
	phone, remote := listen(t), serveGit(t, "there.git")
	h := jobsFrom(t, mirrored, map[string]string{"URL": remote.URL, "PHONE": phone.url, "PASSWORD": secretFile(t, "pass w/ord:%\n")})
	alice, c := housetest.NewKey(t), h.Dial()
	now := h.Clock.Now().Unix()
	w := h.Served(c, alice, "demo", now)
	there := func() string {
		out, err := housetest.Git(t, filepath.Join(remote.dir, "there.git"), "for-each-ref", "--format=%(refname) %(objectname)")
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	told := func(want string) {
		t.Helper()
		if d := phone.next(); !strings.Contains(d.body, want) {
			t.Fatalf("told %s, want %s", d.body, want)
		}
	}
	one := strings.TrimSpace(w.Git("rev-parse", "HEAD"))
	told("Git copy Success: demo")
	if got := there(); got != "refs/heads/main "+one {
		t.Fatalf("there is %q", got)
	}
	if remote.refused.Load() == 0 {
		t.Error("the password was sent before it was asked for")
	}

	two := w.Commit()
	c.Must(alice.State("demo", now+1, "main="+two, "dev="+one))
	w.Git("push", "-q", h.Repo(alice, "demo"), "main", one+":refs/heads/dev")
	housetest.Within(t, housetest.Wait, "both branches are there", func() bool {
		return there() == "refs/heads/dev "+one+"\nrefs/heads/main "+two
	})
	c.Must(alice.State("demo", now+2, "main="+two)) // dev goes with the state alone
	housetest.Within(t, housetest.Wait, "the branch is gone there", func() bool { return there() == "refs/heads/main "+two })

	// Somebody writes there.
	for len(phone.got) > 0 {
		<-phone.got
	}
	theirs := housetest.Clone(t, filepath.Join(remote.dir, "there.git"))
	other := theirs.Commit()
	theirs.Git("push", "-q", "origin", "HEAD:main")
	three := w.Commit()
	c.Must(alice.State("demo", now+3, "main="+three))
	w.Git("push", "-q", h.Repo(alice, "demo"), "main")
	for {
		if d := phone.next(); strings.Contains(d.body, "Failed") {
			break
		}
	}
	if got := there(); got != "refs/heads/main "+other {
		t.Errorf("there is %q, want what was written there, %s", got, other)
	}
	// The password lies nowhere.
	filepath.WalkDir(h.Data(), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if data, err := os.ReadFile(path); err == nil && (strings.Contains(string(data), "pass w/ord") || strings.Contains(string(data), "pass%20w")) {
				t.Errorf("%s holds the password", path)
			}
		}
		return nil
	})
}

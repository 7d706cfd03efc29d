package housetest

import (
	"io"
	"log"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

// A GitServer is a git server that knows nothing of Nostr, with one repository.
type GitServer struct {
	t   testing.TB
	URL string
	dir string

	mu   sync.Mutex
	seen int
	fail http.HandlerFunc
}

// NewGitServer starts a git server with an empty repository, until the test ends.
func NewGitServer(t testing.TB) *GitServer {
	t.Helper()
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if out, err := Git(t, root, "init", "-q", "--bare", "-b", "main", "demo.git"); err != nil {
		t.Fatalf("git init: %v\n%s", err, out)
	}
	r := &GitServer{t: t, dir: filepath.Join(root, "demo.git")}
	backend := &cgi.Handler{
		Path: git, Args: []string{"http-backend"}, Logger: log.New(io.Discard, "", 0), Stderr: io.Discard,
		Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1",
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.seen++
		fail := r.fail
		r.mu.Unlock()
		if fail != nil {
			fail(w, req)
			return
		}
		backend.ServeHTTP(w, req)
	}))
	t.Cleanup(srv.Close)
	r.URL = srv.URL + "/demo.git"
	return r
}

// Take copies refs of a working copy to the remote, as git push names them.
func (r *GitServer) Take(c *Copy, specs ...string) {
	r.t.Helper()
	c.Git(append([]string{"push", "-q", "-f", r.dir}, specs...)...)
}

// Fail has all requests answered by f from now on; nil lets git answer.
func (r *GitServer) Fail(f http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = f
}

// Requests returns how many requests came.
func (r *GitServer) Requests() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen
}

// AnnouncementWith is an announcement that lists the house, and further clone URLs behind it.
func (h *House) AnnouncementWith(k *Key, id string, at int64, urls ...string) *nostr.Event {
	clone := append(nostr.Tag{"clone", h.Repo(k, id)}, urls...)
	return k.Sign(grasp.KindAnnouncement, at, "", nostr.Tag{"d", id}, nostr.Tag{"name", id}, clone, nostr.Tag{"relays", h.RelayURL()})
}

// Hunted waits until the git data of each of these identifiers was looked for, or is not looked for.
func (h *House) Hunted(ids ...string) {
	h.t.Helper()
	over := time.After(Wait)
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		open := ""
		for _, s := range h.srv.Hunts(1000) {
			if slices.Contains(ids, s.ID) && (s.Tries == 0 || s.Remote != "" || !s.Next.After(h.Clock.Now())) {
				open = s.ID
			}
		}
		if open == "" {
			return
		}
		select {
		case <-over:
			h.t.Fatalf("the git data of %s was not looked for", open)
		case <-t.C:
		}
	}
}

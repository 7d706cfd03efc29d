package torture_test

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
)

// What can be answered from memory starts no process: advertisements, ls-refs, a clone of an empty
// repository, refused pushes, unknown repositories. Watched from outside, by strace.
func TestNoProcess(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("strace is not installed")
	}
	r := newRun(t)
	v := r.visitor("exec")
	defer v.close()
	tm := r.newTeam(1) // two owners
	alice, bob := tm.owners[0], tm.owners[1]
	tm.owners = tm.owners[:1]
	empty := &team{id: "empty", owners: []*person{bob}, members: []*person{bob}, at: tm.at, announced: map[grasp.PubKey]*record{}}
	r.srv.start()
	if !tm.act(v, true) || !empty.announce(v) {
		r.settleFaults("preparation")
		t.Fatal("nothing was pushed")
	}
	if _, err := r.srv.stop(longestStop); err != nil {
		t.Fatal(err)
	}
	other := newPool(t, filepath.Join(r.dir, "other"), r.rand("other"), 12, 0)
	full, nobody := r.srv.repo(tm.addr(alice)), r.srv.repo(grasp.Addr{Owner: bob.pub(), ID: "unknown"})
	run := func(want string, args ...string) {
		t.Helper()
		out, err := git(context.Background(), other.dir, nil, args...)
		if (want == "") != (err == nil) || !strings.Contains(out, want) {
			t.Errorf("git %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	get := func(url string, want int) {
		t.Helper()
		resp, err := httpClient.Get(url)
		if err != nil {
			t.Error(err)
			return
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d", url, resp.StatusCode)
		}
	}

	quiet := r.executed(func() {
		for _, service := range []string{"git-upload-pack", "git-receive-pack"} {
			get(full+"/info/refs?service="+service, http.StatusOK)
			get(r.srv.repo(empty.addr(bob))+"/info/refs?service="+service, http.StatusOK)
			get(nobody+"/info/refs?service="+service, http.StatusNotFound)
		}
		run("", "ls-remote", full)
		run("", "-c", "protocol.version=0", "ls-remote", full)
		run("", "clone", "-q", r.srv.repo(empty.addr(bob)), filepath.Join(r.dir, "e2"))
		run("", "-c", "protocol.version=0", "clone", "-q", "--depth=1", r.srv.repo(empty.addr(bob)), filepath.Join(r.dir, "e0"))
		for _, c := range other.commits[:3] {
			run("[remote rejected]", "push", full, "+"+string(c)+":refs/heads/main")
		}
		run("[remote rejected]", "push", full, ":refs/heads/main")
		run("[remote rejected]", "push", full, string(other.commits[0])+":refs/notes/x")
		run("not found", "push", nobody, string(other.commits[0])+":refs/heads/main")
		run("not found", "clone", nobody, filepath.Join(r.dir, "n"))
	})
	if len(quiet) > 0 {
		t.Errorf("%d processes were started:\n%s", len(quiet), strings.Join(quiet, "\n"))
	}
	busy := strings.Join(r.executed(func() {
		run("", "clone", "-q", full, filepath.Join(r.dir, "full"))
	}), "\n")
	if !strings.Contains(busy, "pack-objects") {
		t.Errorf("not even a clone was seen to start one:\n%s", busy)
	}
}

// executed returns the programs that the server starts while do runs, its own start and its
// looks at git's version left out.
func (r *run) executed(do func()) []string {
	r.t.Helper()
	trace := filepath.Join(r.dir, "strace")
	defer os.Remove(trace)
	r.srv.wrap = []string{"strace", "-f", "-qq", "-e", "trace=execve", "-e", "signal=none", "-s", "200", "-o", trace}
	defer func() { r.srv.wrap = nil }()
	r.srv.start()
	do()
	// strace ends with what it watches, and then its file is whole.
	for _, p := range descendants(r.srv.pid()) {
		syscall.Kill(p, syscall.SIGTERM)
	}
	select {
	case <-r.srv.exited:
	case <-time.After(longestStop):
		r.srv.kill(true)
		r.t.Fatal("the server did not stop")
	}
	b, err := os.ReadFile(trace)
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	own := 0
	for line := range strings.Lines(string(b)) {
		switch {
		case !strings.Contains(line, "execve("):
		case strings.Contains(line, r.srv.path+`"`), strings.Contains(line, `"version"]`), strings.Contains(line, `"--version"]`):
			own++
		default:
			out = append(out, strings.TrimSpace(line))
		}
	}
	if own < 2 {
		r.t.Errorf("strace saw %d of the programs that every start runs:\n%s", own, b)
	}
	return out
}

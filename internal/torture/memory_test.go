package torture_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
)

// allowance is by how much a large push beside a large clone may raise the server's memory, its
// children not counted.
const allowance = 64 << 20

// A pack is streamed, in both directions: what the server itself needs does not grow with it.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("moves much data")
	}
	r := newRun(t)
	r.srv.args = append(r.srv.args, "--limits.max-push=8GiB")
	size := int64(*mib) << 20
	alice := r.person("alice")
	v := r.visitor("memory")
	defer v.close()
	at := time.Now().Unix() - 1000
	source := filepath.Join(r.dir, "source")
	tip := incompressible(t, source, size, r.rand("source"))
	// prepare announces a repository, and returns what pushes to it.
	prepare := func(id string) (send func(), url string) {
		tm := &team{id: id, owners: []*person{alice}, members: []*person{alice}, at: at, announced: map[grasp.PubKey]*record{}}
		url = r.srv.repo(tm.addr(alice))
		if !tm.announce(v) || !v.publish(tm.note(tm.state(alice, grasp.Refs{"refs/heads/main": tip}, "refs/heads/main"))) {
			r.settleFaults(id)
			t.Fatal("not announced")
		}
		return func() {
			out, err := git(context.Background(), source, nil, "-c", "core.bigFileThreshold=1m", "push", "-q", url, string(tip)+":refs/heads/main")
			if err != nil {
				r.fault("push: %v\n%s", err, out)
			}
		}, url
	}
	r.srv.start()
	first, url := prepare("first")
	second, _ := prepare("second")
	first()
	r.settleFaults("the first push")
	// What it needed for that shall not count.
	r.srv.stop(longestStop)
	r.srv.start()
	// One small request, so that nothing is measured that every server needs.
	if _, err := git(context.Background(), r.dir, nil, "ls-remote", url); err != nil {
		t.Fatal(err)
	}
	idle, idleOwn := memory(t, r.srv.pid(), "VmRSS"), memory(t, r.srv.pid(), "RssAnon")
	began := time.Now()
	stop, children := watchChildren(r.srv)
	var both sync.WaitGroup
	both.Go(second)
	both.Go(func() {
		dir := filepath.Join(r.dir, "clone")
		if out, err := git(context.Background(), r.dir, nil, "clone", "-q", "--bare", url, dir); err != nil {
			r.fault("clone: %v\n%s", err, out)
		}
		os.RemoveAll(dir)
	})
	both.Wait()
	took := time.Since(began)
	stop()
	r.settleFaults("push beside clone")
	peak := memory(t, r.srv.pid(), "VmHWM")
	r.comesDown(idleOwn, "after the push and the clone")
	t.Logf("push and clone of %d MiB each took %v: the server idle %d MiB, at most %d MiB; largest child %s",
		*mib, took.Round(100*time.Millisecond), idle>>20, peak>>20, *children)
	if peak-idle > allowance {
		t.Errorf("the server grew by %d MiB, at most %d are allowed", (peak-idle)>>20, int64(allowance)>>20)
	}
}

// back is by how much the memory that the server made for itself may still be above what it was, when what it
// needed for a burst was given back.
const back = 12 << 20

// comesDown waits until the server has given back what it needed for a burst of work.
func (r *run) comesDown(idle int64, when string) {
	r.t.Helper()
	began := time.Now()
	var own int64
	for time.Since(began) < 5*time.Minute {
		if own = memory(r.t, r.srv.pid(), "RssAnon"); own <= idle+back {
			r.t.Logf("%s: %d MiB of its own, %d when idle, after %v", when, own>>20, idle>>20, time.Since(began).Round(100*time.Millisecond))
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	r.t.Errorf("%s the server keeps %d MiB, it was idle with %d", when, own>>20, idle>>20)
}

// The refs of a repository that has many are read when they are asked for, and let go of when nobody asks any more;
// what is told of them stays the same.
func TestMemoryRests(t *testing.T) {
	if testing.Short() || *mib <= 128 {
		t.Skip("waits for half a minute; make torture does")
	}
	const many = 200_000
	r := newRun(t)
	alice := r.person("alice")
	v := r.visitor("memory")
	defer v.close()
	source := filepath.Join(r.dir, "source")
	tip := incompressible(t, source, 1<<20, r.rand("source"))
	tm := &team{id: "many", owners: []*person{alice}, members: []*person{alice}, at: time.Now().Unix() - 1000, announced: map[grasp.PubKey]*record{}}
	url := r.srv.repo(tm.addr(alice))
	r.srv.start()
	if !tm.announce(v) || !v.publish(tm.note(tm.state(alice, grasp.Refs{"refs/heads/main": tip}, "refs/heads/main"))) {
		r.settleFaults("announce")
		t.Fatal("not announced")
	}
	if out, err := git(context.Background(), source, nil, "push", "-q", url, string(tip)+":refs/heads/main"); err != nil {
		t.Fatalf("push: %v\n%s", err, out)
	}
	r.srv.stop(longestStop)
	var refs strings.Builder
	refs.WriteString("# pack-refs with: peeled fully-peeled sorted \n" + string(tip) + " refs/heads/main\n")
	for i := range many {
		fmt.Fprintf(&refs, "%s refs/tags/release-%06d\n", tip, i)
	}
	if err := os.WriteFile(filepath.Join(r.bare(tm.addr(alice)), "packed-refs"), []byte(refs.String()), 0o640); err != nil {
		t.Fatal(err)
	}
	r.srv.start()
	for range 2 {
		idle := memory(t, r.srv.pid(), "RssAnon")
		out, err := git(context.Background(), r.dir, nil, "ls-remote", url)
		if n := strings.Count(out, "\n"); err != nil || n < many {
			t.Fatalf("%d refs: %v", n, err)
		}
		if own := memory(t, r.srv.pid(), "RssAnon"); own < idle+back {
			t.Fatalf("%d refs took %d MiB: that shows nothing", many, (own-idle)>>20)
		}
		r.comesDown(idle, "after "+strconv.Itoa(many)+" refs")
	}
}

// incompressible makes a bare repository with a commit of size bytes of noise, in files of 4 MiB.
func incompressible(t testing.TB, dir string, size int64, rnd *rand.Rand) grasp.OID {
	t.Helper()
	if out, err := git(context.Background(), ".", nil, "init", "-q", "--bare", dir); err != nil {
		t.Fatalf("git init: %v\n%s", err, out)
	}
	const file = 4 << 20
	pr, pw := io.Pipe()
	go func() {
		w := bufio.NewWriterSize(pw, 1<<20)
		noise := make([]byte, file)
		var key [32]byte
		for i := range key {
			key[i] = byte(rnd.Uint32())
		}
		source := rand.NewChaCha8(key)
		n := (size + file - 1) / file
		for i := range n {
			source.Read(noise)
			fmt.Fprintf(w, "blob\nmark :%d\ndata %d\n", i+1, file)
			w.Write(noise)
			w.WriteString("\n")
		}
		fmt.Fprintf(w, "commit refs/heads/main\ncommitter alice <alice@example.com> 1700000000 +0000\ndata 4\nmuch\n")
		for i := range n {
			fmt.Fprintf(w, "M 100644 :%d file%d\n", i+1, i)
		}
		w.WriteString("\ndone\n")
		pw.CloseWithError(w.Flush())
	}()
	// Read to the end if git fails: the writer must not hang.
	out, err := git(context.Background(), dir, pr, "-c", "core.compression=0", "-c", "pack.compression=0", "-c", "core.bigFileThreshold=1m",
		"fast-import", "--quiet", "--done")
	pr.Close()
	if err != nil {
		t.Fatalf("git fast-import: %v\n%s", err, out)
	}
	out, err = git(context.Background(), dir, nil, "rev-parse", "refs/heads/main")
	if err != nil {
		t.Fatalf("git rev-parse: %v\n%s", err, out)
	}
	return grasp.OID(strings.TrimSpace(out))
}

// memory reads a line of a process's status, in bytes.
func memory(t testing.TB, pid int, name string) int64 {
	t.Helper()
	n, ok := status(pid, name)
	if !ok {
		t.Fatalf("no %s of process %d", name, pid)
	}
	return n
}

func status(pid int, name string) (int64, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n << 10, err == nil
		}
	}
	return 0, false
}

// watchChildren notes the largest child of the server until stop is called.
func watchChildren(s *server) (stop func(), largest *string) {
	largest = new(string)
	most := int64(0)
	quit, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			for _, p := range descendants(s.pid()) {
				if n, ok := status(p, "VmHWM"); ok && n > most {
					most = n
					words, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p))
					*largest = fmt.Sprintf("%d MiB (%.60s)", n>>20, strings.ReplaceAll(string(words), "\x00", " "))
				}
			}
			select {
			case <-quit:
				return
			case <-tick.C:
			}
		}
	}()
	return func() { close(quit); <-gone }, largest
}

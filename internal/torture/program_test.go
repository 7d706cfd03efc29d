package torture_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
)

// program is the binary under test, built once.
var program struct {
	once sync.Once
	dir  string
	path string
	err  error
}

func build(t testing.TB) string {
	t.Helper()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("needs /proc")
	}
	p := &program
	p.once.Do(func() {
		if p.dir, p.err = os.MkdirTemp("", "gitroost-build-"); p.err != nil {
			return
		}
		p.path = filepath.Join(p.dir, "gitroost")
		cmd := exec.Command("go", "build", "-o", p.path, "../../cmd/gitroost")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			p.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if p.err != nil {
		t.Fatal(p.err)
	}
	return p.path
}

// A server is the program on one data folder and one address, running or not.
type server struct {
	t    testing.TB
	path string
	data string
	addr string // host:port
	log  string // file
	args []string
	wrap []string // a program to run it under

	since  int64 // how long the log was before the last start
	cmd    *exec.Cmd
	exited chan struct{} // closed when it is gone and reaped
	ready  chan struct{} // closed when it has said where it listens

	// dying is set before the server is hurt: from then on requests may fail.
	dying atomic.Bool

	woken time.Time // when orphans of the last kill went on, or zero
}

// waits is how long the server keeps what waits: longer than any run.
const waits = 24 * time.Hour

func newServer(t testing.TB, dir string) *server {
	t.Helper()
	return &server{
		t: t, path: build(t), data: mustMkdir(t, dir, "data"), addr: freeAddr(t), log: filepath.Join(dir, "server.log"),
		args: []string{
			"--limits.events-per-minute=100000", "--limits.event-burst=100000", "--limits.new-repos=100000",
			"--limits.waiting-per-key=50000", "--limits.waiting-per-address=50000",
			"--git.serving=32", "--git.receiving=32", "--purgatory.ttl=" + waits.String(), "--purgatory.orphan-ttl=24h",
		},
	}
}

// settled reports whether the server has said, since its start, that it did by itself what its predecessor
// had left.
func (s *server) settled() bool {
	b, err := os.ReadFile(s.log)
	return err == nil && int64(len(b)) > s.since && bytes.Contains(b[s.since:], []byte("settled what was left"))
}

// freeAddr finds a port below those that the system hands out by itself, and above those of other tests:
// nobody takes it while the server is down.
func freeAddr(t testing.TB) string {
	t.Helper()
	for range 200 {
		addr := "127.0.0.1:" + strconv.Itoa(30000+rand.IntN(2700))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

func (s *server) url() string   { return "http://" + s.addr }
func (s *server) relay() string { return "ws://" + s.addr }
func (s *server) pid() int      { return s.cmd.Process.Pid }

// begin starts the program and does not wait for it.
func (s *server) begin() {
	s.t.Helper()
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	if info, err := log.Stat(); err == nil {
		s.since = info.Size()
	}
	r, w, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	words := append(append([]string{}, s.wrap...), s.path, "serve", "--listen", s.addr, "--data", s.data)
	words = append(words, s.args...)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.data}
	cmd.Stdout, cmd.Stderr = w, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		s.t.Fatal(err)
	}
	s.cmd, s.exited, s.ready = cmd, make(chan struct{}), make(chan struct{})
	s.dying.Store(false)
	exited, ready := s.exited, s.ready
	go func() {
		cmd.Wait()
		close(exited)
	}()
	go func() {
		defer r.Close()
		once := sync.OnceFunc(func() { close(ready) })
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			if strings.Contains(lines.Text(), "web + git + relay") {
				once()
			}
		}
	}()
}

// start starts the program and waits until it serves.
func (s *server) start() {
	s.t.Helper()
	s.begin()
	select {
	case <-s.ready:
	case <-s.exited:
		s.t.Fatalf("the server ended instead of serving; its log:\n%s", s.logTail(40))
	case <-time.After(patience):
		s.t.Fatalf("the server does not serve; its log:\n%s", s.logTail(40))
	}
}

// kill ends the server without giving it a chance. With family its children go too, as when
// their control group is killed; otherwise they are left behind.
func (s *server) kill(family bool) {
	if s.cmd == nil || s.gone() {
		return
	}
	s.dying.Store(true)
	s.woken = time.Time{}
	if family {
		// Stopped first, so that it starts no more of them.
		s.cmd.Process.Signal(syscall.SIGSTOP)
		for _, p := range descendants(s.pid()) {
			syscall.Kill(p, syscall.SIGKILL)
		}
	}
	s.cmd.Process.Kill()
	<-s.exited
}

func (s *server) gone() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

// stop asks the server to end, and returns how long that took.
func (s *server) stop(limit time.Duration) (time.Duration, error) {
	s.dying.Store(true)
	began := time.Now()
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(limit):
		s.kill(true)
		return time.Since(began), errors.New("it did not end in time")
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		return time.Since(began), fmt.Errorf("exit code %d", code)
	}
	return time.Since(began), nil
}

// logTail returns the last n lines of the log.
func (s *server) logTail(n int) string {
	b, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimRight(b, "\n"), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-n):], []byte("\n")))
}

// errorsSince returns the lines of the log after offset at which somebody must act, and the offset
// of its end.
func (s *server) errorsSince(offset int64) ([]string, int64) {
	f, err := os.Open(s.log)
	if err != nil {
		return []string{err.Error()}, offset
	}
	defer f.Close()
	f.Seek(offset, io.SeekStart)
	b, _ := io.ReadAll(f)
	var out []string
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, `"level":"ERROR"`) || strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out, offset + int64(len(b))
}

// parents returns the parent of every process.
func parents() map[int]int {
	out := map[int]int{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue
		}
		// The name is in parentheses and may hold anything.
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(fields) > 1 {
			out[pid], _ = strconv.Atoi(fields[1])
		}
	}
	return out
}

func descendants(pid int) []int {
	all := parents()
	var out []int
	for p := range all {
		for q := all[p]; q > 1; q = all[q] {
			if q == pid {
				out = append(out, p)
				break
			}
		}
	}
	return out
}

// orphan kills the server and leaves its children behind, asleep until wake is called.
func (s *server) orphan() (wake func(), n int) {
	var left []int
	for _, p := range descendants(s.pid()) {
		// One that has not become another program yet has everything open that the server has. It
		// would not stay so for a moment if it did not sleep.
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p)); err == nil && exe != s.path {
			syscall.Kill(p, syscall.SIGSTOP)
			left = append(left, p)
		}
	}
	s.kill(false)
	return func() {
		s.woken = time.Now().Add(-50 * time.Millisecond) // clocks of files are coarse
		for _, p := range left {
			syscall.Kill(p, syscall.SIGCONT)
		}
	}, len(left)
}

// woke reports whether at is after orphans of the last kill woke up.
func (s *server) woke(at time.Time) bool { return !s.woken.IsZero() && at.After(s.woken) }

// strays returns the processes that work in the data folder and do not belong to the server, with
// their command lines.
func (s *server) strays() map[int]string {
	own := map[int]bool{}
	if s.cmd != nil && !s.gone() {
		own[s.pid()] = true
		for _, p := range descendants(s.pid()) {
			own[p] = true
		}
	}
	data, _ := filepath.EvalSymlinks(s.data)
	out := map[int]string{}
	for p := range parents() {
		dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", p))
		if err != nil || own[p] || dir != data && !strings.HasPrefix(dir, data+"/") {
			continue
		}
		words, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p))
		out[p] = string(bytes.ReplaceAll(words, []byte{0}, []byte{' '}))
	}
	return out
}

// An advert is what a repository says of itself.
type advert struct {
	status int
	refs   grasp.Refs // branches and tags
	pulls  grasp.Refs
	head   grasp.RefName
}

// advert asks a repository what it has, in protocol 0.
func (s *server) advert(a grasp.Addr) (advert, error) {
	resp, err := httpClient.Get(s.repo(a) + "/info/refs?service=git-upload-pack")
	if err != nil {
		return advert{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return advert{}, err
	}
	out := advert{status: resp.StatusCode, refs: grasp.Refs{}, pulls: grasp.Refs{}}
	if resp.StatusCode != http.StatusOK {
		return out, nil
	}
	for len(b) >= 4 {
		n, err := strconv.ParseUint(string(b[:4]), 16, 16)
		if err != nil || n > uint64(len(b)) {
			return out, fmt.Errorf("not a pkt-line: %.20q", b)
		}
		if n < 4 {
			b = b[4:]
			continue
		}
		line := strings.TrimSuffix(string(b[4:n]), "\n")
		b = b[n:]
		line, caps, _ := strings.Cut(line, "\x00")
		for c := range strings.FieldsSeq(caps) {
			if head, ok := strings.CutPrefix(c, "symref=HEAD:"); ok {
				out.head = grasp.RefName(head)
			}
		}
		oid, name, _ := strings.Cut(line, " ")
		ref := grasp.RefName(name)
		switch {
		case strings.HasSuffix(name, "^{}"):
		case ref.IsNostr():
			out.pulls[ref] = grasp.OID(oid)
		case ref.IsHead(), ref.IsTag():
			out.refs[ref] = grasp.OID(oid)
		}
	}
	return out, nil
}

var httpClient = &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}

// git runs the installed git with nothing of the machine's configuration.
func git(ctx context.Context, dir string, stdin io.Reader, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Stdin = stdin
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "LC_ALL=C", "TZ=UTC",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0",
	}
	// Its helpers go with it: none may still push when the next server runs.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

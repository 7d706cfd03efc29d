package githttp_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/githttp"
	"github.com/gitroost/gitroost/internal/gitwire"
)

var (
	owner = grasp.PubKey(strings.Repeat("3b", 32))
	demo  = grasp.Addr{Owner: owner, ID: "demo"}
	zero  = strings.Repeat("0", 40)
	one   = strings.Repeat("1", 40)
)

// A fakeDesk is a Desk of functions; each has a friendly default.
type fakeDesk struct {
	find  func(grasp.Addr) (grasp.Hosting, error)
	refs  func() (*grasp.Snapshot, error)
	enter func(ctx context.Context, updates []grasp.RefChange) (githttp.Push, error)
}

func (d *fakeDesk) Find(_ context.Context, repo grasp.Addr) (grasp.Hosting, error) {
	if d.find != nil {
		return d.find(repo)
	}
	if repo == demo {
		return grasp.Live, nil
	}
	return grasp.NotHosted, nil
}

func (d *fakeDesk) Refs(context.Context, grasp.Addr) (*grasp.Snapshot, error) {
	if d.refs != nil {
		return d.refs()
	}
	return grasp.EmptySnapshot, nil
}

func (d *fakeDesk) Enter(ctx context.Context, _ grasp.Addr, updates []grasp.RefChange) (githttp.Push, error) {
	if d.enter != nil {
		return d.enter(ctx, updates)
	}
	return nil, &grasp.Refusal{Rule: "G01-503", Text: "no repository state event authorises this push", Hint: "publish kind 30618 first"}
}

// refuse makes a desk that refuses every push with no.
func refuse(no error) *fakeDesk {
	return &fakeDesk{enter: func(context.Context, []grasp.RefChange) (githttp.Push, error) { return nil, no }}
}

// A fakePush is a Push of functions.
type fakePush struct {
	noop    bool
	notes   []string
	deliver func(ctx context.Context, pack io.Reader, progress func(string)) error
	closed  atomic.Int32
}

func (p *fakePush) Noop() bool      { return p.noop }
func (p *fakePush) Notes() []string { return p.notes }
func (p *fakePush) Close()          { p.closed.Add(1) }
func (p *fakePush) Deliver(ctx context.Context, pack io.Reader, progress func(string)) error {
	if p.deliver != nil {
		return p.deliver(ctx, pack, progress)
	}
	if pack == nil {
		return nil
	}
	_, err := io.Copy(io.Discard, pack)
	return err
}

// admit makes a desk that lets every push in as p.
func admit(p *fakePush) *fakeDesk {
	return &fakeDesk{enter: func(context.Context, []grasp.RefChange) (githttp.Push, error) { return p, nil }}
}

// A fakeGit counts how often it was started.
type fakeGit struct {
	started atomic.Int32
	run     func(ctx context.Context, version int, request io.Reader, w io.Writer) error
}

func (g *fakeGit) UploadPack(ctx context.Context, _ grasp.Addr, version int, _ bool, request io.Reader, w io.Writer) error {
	g.started.Add(1)
	if g.run == nil {
		return nil
	}
	return g.run(ctx, version, request, w)
}

// A house is a Handler behind a server.
type house struct {
	*githttp.Handler
	t   *testing.T
	srv *httptest.Server
	log *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func open(t *testing.T, cfg githttp.Config, desk githttp.Desk, git githttp.Git) *house {
	t.Helper()
	cfg.Version = "1.0"
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.NewPushID == nil {
		cfg.NewPushID = func() string { return "7f3a" }
	}
	log := &lockedBuffer{}
	h := githttp.New(cfg, desk, git, slog.New(slog.NewTextHandler(log, nil)))
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return &house{Handler: h, t: t, srv: srv, log: log}
}

func (h *house) url(repo grasp.Addr) string {
	return h.srv.URL + "/" + repo.Owner.Npub() + "/" + repo.ID + ".git"
}

// An answer is a response that was read to its end.
type answer struct {
	*http.Response
	body string
}

// send makes a request; header is "Key: value" lines.
func (h *house) send(method, path string, body io.Reader, header ...string) answer {
	h.t.Helper()
	req, err := http.NewRequest(method, h.url(demo)+path, body)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, l := range header {
		k, v, _ := strings.Cut(l, ": ")
		req.Header.Add(k, v)
	}
	return h.do(req)
}

func (h *house) do(req *http.Request) answer {
	h.t.Helper()
	res, err := h.srv.Client().Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return answer{res, string(b)}
}

const (
	receiveType = "Content-Type: application/x-git-receive-pack-request"
	uploadType  = "Content-Type: application/x-git-upload-pack-request"
)

func (h *house) push(body string, header ...string) answer {
	h.t.Helper()
	return h.send("POST", "/git-receive-pack", strings.NewReader(body), append([]string{receiveType}, header...)...)
}

func (h *house) fetch(body string, header ...string) answer {
	h.t.Helper()
	return h.send("POST", "/git-upload-pack", strings.NewReader(body), append([]string{uploadType}, header...)...)
}

// pkts writes each argument as a packet; "0000" and "0001" are what they say.
func pkts(parts ...string) string {
	var b []byte
	for _, p := range parts {
		if p == "0000" || p == "0001" {
			b = append(b, p...)
		} else {
			b = gitwire.AppendPacket(b, p)
		}
	}
	return string(b)
}

// gitEnv lets git see nothing of the machine it runs on, and makes the same commits every time.
func gitEnv(home string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "LC_ALL=C", "TZ=UTC",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=/bin/false",
		"GIT_AUTHOR_NAME=alice", "GIT_AUTHOR_EMAIL=alice@example.com", "GIT_AUTHOR_DATE=1700000000 +0000",
		"GIT_COMMITTER_NAME=alice", "GIT_COMMITTER_EMAIL=alice@example.com", "GIT_COMMITTER_DATE=1700000000 +0000",
	}
}

// A person is somebody with stock git and a folder.
type person struct {
	t   *testing.T
	dir string
}

func newPerson(t *testing.T) person { return person{t, t.TempDir()} }

// try runs git and returns what it said on both outputs, and whether it was content.
func (p person) try(args ...string) (out, stderr string, ok bool) {
	p.t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "init.defaultBranch=main", "-c", "advice.pushNonFastForward=false"}, args...)...)
	cmd.Dir, cmd.Env = p.dir, gitEnv(p.dir)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	return o.String(), e.String(), err == nil
}

// git runs git, which must succeed.
func (p person) git(args ...string) string {
	p.t.Helper()
	out, stderr, ok := p.try(args...)
	if !ok {
		p.t.Fatalf("git %s: %s", strings.Join(args, " "), stderr)
	}
	return strings.TrimSpace(out)
}

// commit writes a file and commits it.
func (p person) commit(name, content string) string {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(content), 0o644); err != nil {
		p.t.Fatal(err)
	}
	p.git("add", ".")
	p.git("commit", "-q", "-m", name)
	return p.git("rev-parse", "HEAD")
}

// A bare is a real repository that a desk and a Git can be made of. It grants everything.
type bare struct {
	fakeDesk
	t   *testing.T
	dir string
}

func newBare(t *testing.T) *bare {
	b := &bare{t: t, dir: filepath.Join(t.TempDir(), "bare.git")}
	out, err := b.command("init", "-q", "--bare", "--initial-branch=main", b.dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%s", out)
	}
	b.refs = b.snapshot
	b.enter = func(_ context.Context, updates []grasp.RefChange) (githttp.Push, error) {
		p := &fakePush{notes: []string{"push 7f3a · state a639aac3 applied"}}
		p.deliver = func(ctx context.Context, pack io.Reader, progress func(string)) error {
			return b.take(ctx, updates, pack, progress)
		}
		return p, nil
	}
	return b
}

func (b *bare) command(args ...string) *exec.Cmd {
	cmd := exec.Command("git", append([]string{"-C", filepath.Dir(b.dir), "-c", "safe.bareRepository=all"}, args...)...)
	cmd.Env = gitEnv("/nonexistent")
	return cmd
}

func (b *bare) in(args ...string) *exec.Cmd {
	return b.command(append([]string{"-C", b.dir}, args...)...)
}

func (b *bare) snapshot() (*grasp.Snapshot, error) {
	out, err := b.in("for-each-ref", "--format=%(refname) %(objectname) %(*objectname)").Output()
	if err != nil {
		return nil, err
	}
	var refs []grasp.Ref
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		r := grasp.Ref{Name: grasp.RefName(f[0]), OID: grasp.OID(f[1])}
		if len(f) == 3 {
			r.Peeled = grasp.OID(f[2])
		}
		refs = append(refs, r)
	}
	return &grasp.Snapshot{Refs: grasp.ListOf(refs), Head: "refs/heads/main"}, nil
}

func (b *bare) take(ctx context.Context, updates []grasp.RefChange, pack io.Reader, progress func(string)) error {
	if pack != nil {
		cmd := b.in("index-pack", "--stdin", "--fix-thin")
		cmd.Stdin = pack
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("index-pack: %w: %s", err, out)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, u := range updates {
		if out, err := b.in("update-ref", string(u.Ref), string(u.New)).CombinedOutput(); err != nil {
			return fmt.Errorf("update-ref: %w: %s", err, out)
		}
	}
	progress("checked")
	return nil
}

func (b *bare) UploadPack(ctx context.Context, _ grasp.Addr, version int, _ bool, request io.Reader, w io.Writer) error {
	cmd := b.in("-c", "uploadpack.allowTipSHA1InWant=true", "-c", "uploadpack.allowReachableSHA1InWant=true",
		"-c", "uploadpack.allowFilter=true", "upload-pack", "--stateless-rpc", b.dir)
	cmd = exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
	cmd.Env = append(gitEnv("/nonexistent"), fmt.Sprintf("GIT_PROTOCOL=version=%d", version))
	cmd.Stdin, cmd.Stdout = request, w
	cmd.WaitDelay = 2 * time.Minute
	return cmd.Run()
}

// importStream feeds a file to git fast-import.
func importStream(t *testing.T, p person, file string) {
	t.Helper()
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cmd := exec.Command("git", "fast-import", "--quiet")
	cmd.Dir, cmd.Env, cmd.Stdin = p.dir, gitEnv(p.dir), in
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

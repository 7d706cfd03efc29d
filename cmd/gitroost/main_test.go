package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/fault"
)

// With this variable set, the test program is gitroost itself.
const beGitroost = "GITROOST_TEST_BE_THE_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(beGitroost) != "" {
		os.Unsetenv(beGitroost)
		main()
		return
	}
	testscript.Main(m, map[string]func(){"gitroost": main})
}

// fakeHouse is a server that does nothing until its context ends.
type fakeHouse struct {
	cfg    config.Config
	addr   string
	ready  chan struct{}
	fail   error
	opened func(config.Config)

	reload   func(config.Config) (changed, held []string, err error)
	reloaded func(ok bool)
}

func (h *fakeHouse) Reload(_ context.Context, next config.Config) ([]string, []string, error) {
	return h.reload(next)
}
func (h *fakeHouse) Reloaded(ok bool) { h.reloaded(ok) }

func (h *fakeHouse) Run(ctx context.Context) error {
	if h.fail != nil {
		return h.fail
	}
	if h.opened != nil {
		h.opened(h.cfg)
	}
	close(h.ready)
	<-ctx.Done()
	return nil
}
func (h *fakeHouse) Addr() string           { return h.addr }
func (h *fakeHouse) Ready() <-chan struct{} { return h.ready }

type outcome struct {
	code     int
	out, err string
}

// cli carries out one command line with a server that does nothing.
func cli(t *testing.T, env []string, h *fakeHouse, args ...string) outcome {
	t.Helper()
	t.Chdir(t.TempDir())
	return cliHere(t, env, h, args...)
}

func cliHere(t *testing.T, env []string, h *fakeHouse, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, errs bytes.Buffer
	a := &app{env: env, out: &out, err: &errs, now: func() time.Time { return time.Unix(1800000000, 0) }}
	a.git = func(_ context.Context, _ string, args ...string) (string, string, error) {
		if args[0] == "--version" {
			return "git version 2.39.5 (Debian)\n", "", nil
		}
		return "", "fatal: not a git repository", errors.New("exit status 128")
	}
	a.house = func(_ context.Context, cfg config.Config, _ *slog.Logger) (house, error) {
		if h == nil {
			t.Error("a server was built")
			return nil, errors.New("no server")
		}
		h.cfg, h.ready = cfg, make(chan struct{})
		opened := h.opened
		h.opened = func(c config.Config) {
			if opened != nil {
				opened(c)
			}
			cancel()
		}
		return h, nil
	}
	code := a.run(ctx, args)
	return outcome{code, out.String(), errs.String()}
}

func TestHelpKnowsEveryCommand(t *testing.T) {
	all := cli(t, nil, nil, "help")
	for _, c := range table() {
		if !strings.Contains(all.out, "  "+c.name+" ") {
			t.Errorf("help does not list %s", c.name)
		}
		for _, args := range [][]string{append([]string{"help"}, strings.Fields(c.name)...), append(strings.Fields(c.name), "--help")} {
			if got := cli(t, nil, nil, args...); got.code != 0 || !strings.HasPrefix(got.out, "gitroost") || got.err != "" {
				t.Errorf("gitroost %q: %+v", args, got)
			}
		}
	}
	for _, args := range [][]string{{"-h"}, {"--help"}} {
		if got := cli(t, nil, nil, args...); got.out != all.out || got.code != 0 {
			t.Errorf("%q: %+v", args, got)
		}
	}
	if got := cli(t, nil, nil, "help", "serve"); !strings.Contains(got.out, "--limits.max-push") {
		t.Error("help serve does not list the settings")
	}
}

func TestUsageMistakes(t *testing.T) { // exit code 2, nothing on stdout, what to do on stderr
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"sevre"}, `there is no command "sevre"; gitroost help lists them`},
		{[]string{"key"}, "key needs one of: new, show"},
		{[]string{"config", "chek"}, "config needs one of: init, check, show"},
		{[]string{"serve", "now"}, `serve: unexpected argument "now"`},
		{[]string{"--lisen", "x"}, `--lisen: unknown option; did you mean "listen"?`},
		{[]string{"push", "--frce"}, "gitroost help push lists the options"},
		{[]string{"push"}, "gitroost key new --out alice.key"},
		{[]string{"push", "--all", "main"}, "not both"},
		{[]string{"announce", "a", "b"}, `announce: unexpected argument "b"`},
		{[]string{"demo", "--server", "http://127.0.0.1:1", "--then-serve"}, "leave --server out"},
		{[]string{"config", "init", "x"}, "gitroost config init > gitroost.yaml"},
		{[]string{"version", "x"}, "version takes no arguments"},
		{[]string{"health", "--limits.idle=soon"}, "limits.idle"},
	} {
		got := cli(t, nil, nil, c.args...)
		if got.code != exitUsage || got.out != "" || !strings.Contains(got.err, c.want) {
			t.Errorf("%q: %+v; want %q", c.args, got, c.want)
		}
	}
}

func TestVersion(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"--version"}, {"-v"}} {
		if got := cli(t, nil, nil, args...); got.code != 0 || !regexp.MustCompile(`^gitroost \S+\n$`).MatchString(got.out) {
			t.Errorf("%q: %+v", args, got)
		}
	}
}

func TestServeSaysWhatIsWhere(t *testing.T) { // people §1a
	got := cli(t, nil, &fakeHouse{addr: "127.0.0.1:7334"})
	out := regexp.MustCompile(`gitroost \S+ · data \S+/gitroost-data \(new\)`).ReplaceAllString(got.out, "gitroost V · data D (new)")
	want := `gitroost V · data D (new) · git 2.39.5
  web + git + relay   http://127.0.0.1:7334
  try it              gitroost demo --server http://127.0.0.1:7334
  go public           gitroost serve --domain git.example.com   (behind a proxy with TLS: deploy/Caddyfile)
Reachable from this computer only. Anyone on it may create repositories.
`
	if got.code != 0 || out != want {
		t.Errorf("exit %d\n%s", got.code, got.out)
	}
	got = cli(t, nil, &fakeHouse{addr: "127.0.0.1:7334"}, "serve", "--domain", "git.example.com", "--admin.listen=127.0.0.1:7335")
	for _, want := range []string{"https://git.example.com\n", "listening on        127.0.0.1:7334", "http://127.0.0.1:7335/metrics"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("no %q in\n%s", want, got.out)
		}
	}
	got = cli(t, nil, &fakeHouse{addr: "[::]:7334"}, "--listen=0.0.0.0:7334")
	if strings.Contains(got.out, "0.0.0.0") || strings.Contains(got.out, "[::]") || strings.Contains(got.out, "this computer only") {
		t.Errorf("%s", got.out)
	}
	if !strings.Contains(got.err, "domain is not set") {
		t.Errorf("no warning: %s", got.err)
	}
}

func TestServeFromTheEnvironmentAlone(t *testing.T) { // people §3.5: how third-party suites start it
	dir := t.TempDir()
	var during string
	h := &fakeHouse{addr: "127.0.0.1:4444", opened: func(cfg config.Config) { during = cfg.Data }}
	got := cli(t, []string{
		"NGIT_BIND_ADDRESS=127.0.0.1:4444", "NGIT_DOMAIN=127.0.0.1:4444", "NGIT_GIT_DATA_PATH=" + dir,
		"NGIT_DATABASE_BACKEND=memory", "NGIT_TEST=1",
	}, h)
	if got.code != 0 || h.cfg.Listen != "127.0.0.1:4444" {
		t.Fatalf("%+v", got)
	}
	if filepath.Dir(during) != dir {
		t.Errorf("data in %s, not in a new folder of %s", during, dir)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestServeFailures(t *testing.T) {
	got := cli(t, nil, &fakeHouse{fail: fault.E(fault.Invalid, "server: listen", "cannot listen on 127.0.0.1:7334; choose another address with --listen")})
	if got.code != exitFailure || got.err != "gitroost: cannot listen on 127.0.0.1:7334; choose another address with --listen\n" {
		t.Errorf("%+v", got)
	}
	got = cli(t, nil, &fakeHouse{fail: errors.New("disk on fire")})
	if got.code != exitFailure || !strings.Contains(got.err, "disk on fire") {
		t.Errorf("the operator is not told: %+v", got)
	}
}

func TestConfigCommands(t *testing.T) {
	t.Chdir(t.TempDir())
	example := cliHere(t, nil, nil, "config", "init")
	if example.code != 0 || os.WriteFile("gitroost.yaml", []byte(example.out), 0o644) != nil {
		t.Fatalf("%+v", example)
	}
	if got := cliHere(t, nil, nil, "config", "check"); got.code != 0 || got.out != "gitroost.yaml: ok\n" {
		t.Errorf("%+v", got)
	}
	os.WriteFile("bad.yaml", []byte("limits:\n  max_psuh: 5 GB\n"), 0o644)
	got := cliHere(t, nil, nil, "config", "check", "bad.yaml")
	want := `bad.yaml:2:3: unknown option "max_psuh" in "limits"; did you mean "limits.max_push"?
   1| limits:
   2|   max_psuh: 5 GB
    |   ~~~~~~~~
`
	if got.code != exitUsage || got.err != want {
		t.Errorf("%+v", got)
	}
	got = cliHere(t, []string{"GITROOST_DOMAIN=git.example.com"}, nil, "config", "show", "--log.level=debug")
	for _, row := range []string{`domain +git\.example\.com +env GITROOST_DOMAIN`, `log\.level +debug +flag --log\.level`, `limits\.max_push +2 GiB +default`} {
		if !regexp.MustCompile(`(?m)^` + row + `$`).MatchString(got.out) {
			t.Errorf("no row %s in\n%s", row, got.out)
		}
	}
}

func TestKeyCommands(t *testing.T) {
	t.Chdir(t.TempDir())
	made := cliHere(t, nil, nil, "key", "new", "--out", "alice.key")
	if made.code != 0 || strings.Contains(made.out, "nsec1") {
		t.Fatalf("%+v", made)
	}
	npub, _, _ := strings.Cut(made.out, "\n")
	for _, got := range []outcome{
		cliHere(t, nil, nil, "key", "show", "alice.key"),
		cliHere(t, []string{"GITROOST_KEY_FILE=alice.key"}, nil, "key", "show"),
	} {
		if got.code != 0 || !strings.HasPrefix(got.out, npub+"\n") {
			t.Errorf("%+v", got)
		}
	}
	if got := cliHere(t, nil, nil, "key", "new", "--out", "alice.key"); got.code != exitFailure {
		t.Errorf("overwritten: %+v", got)
	}
	printed := cliHere(t, nil, nil, "key", "new")
	nsec := regexp.MustCompile(`nsec1\w+`).FindString(printed.out)
	if got := cliHere(t, []string{"GITROOST_KEY=" + nsec}, nil, "key", "show"); got.code != 0 || !strings.Contains(printed.out, strings.Fields(got.out)[0]) {
		t.Errorf("%+v", got)
	}
}

func TestARedirectedKeyIsClosedToOthers(t *testing.T) { // gitroost key new > alice.key
	path := filepath.Join(t.TempDir(), "alice.key")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a := &app{out: f, err: io.Discard}
	if code := a.run(t.Context(), []string{"key", "new"}); code != 0 {
		t.Fatal(code)
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
	if got := cli(t, nil, nil, "key", "show", path); got.code != 0 {
		t.Errorf("%+v", got)
	}
}

func TestOutsideARepository(t *testing.T) {
	t.Chdir(t.TempDir())
	cliHere(t, nil, nil, "key", "new", "--out", "k")
	got := cliHere(t, nil, nil, "announce", "--key", "k", "--server", "http://127.0.0.1:1")
	if got.code != exitFailure || !strings.Contains(got.err, "git init") {
		t.Errorf("%+v", got)
	}
	got = cliHere(t, nil, nil, "push", "--key", "k")
	if got.code != exitFailure || !strings.Contains(got.err, "gitroost announce") {
		t.Errorf("%+v", got)
	}
}

func TestHealth(t *testing.T) { // what the container asks
	status := http.StatusOK
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.WriteHeader(status)
		fmt.Fprintln(w, "the database does not answer")
	}))
	defer s.Close()
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	for _, listen := range []string{"127.0.0.1:" + port, "0.0.0.0:" + port, ":" + port} {
		if got := cli(t, []string{"GITROOST_LISTEN=" + listen}, nil, "health"); got.code != 0 || got.out != "ok\n" {
			t.Errorf("%s: %+v", listen, got)
		}
	}
	status = http.StatusServiceUnavailable
	if got := cli(t, nil, nil, "health", "--listen=127.0.0.1:"+port); got.code != exitFailure || !strings.Contains(got.err, "answers 503: the database") {
		t.Errorf("%+v", got)
	}
	s.Close()
	if got := cli(t, nil, nil, "health", "--listen=127.0.0.1:"+port); got.code != exitFailure || !strings.Contains(got.err, "does not answer") {
		t.Errorf("%+v", got)
	}
}

// program starts gitroost itself, in a folder of its own.
func program(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), beGitroost+"=1", "HOME="+dir, "TMPDIR="+dir, "GIT_CONFIG_NOSYSTEM=1")
	return cmd
}

func TestTheDemoShowsItAll(t *testing.T) { // people §6
	out, err := program(t, t.TempDir(), "demo").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text := string(out)
	for _, want := range []string{
		`(?m)^server    http://127\.0\.0\.1:\d+   \(data in a temporary folder`,
		`(?m)^key       npub1\w+   \(demo only\)$`,
		`(?m)^announce  kind 30617 hello +OK  purgatory: won't be served until git data arrives$`,
		`(?m)^state     kind 30618 main=[0-9a-f]{7} +OK  purgatory: won't be served until git data arrives$`,
		`(?m)^push      git push http://127\.0\.0\.1:\d+/npub1\w+/hello\.git main$`,
		`\* \[new branch\] +main -> main`,
		`(?m)^clone     git clone http://127\.0\.0\.1:\d+/npub1\w+/hello\.git   3 files$`,
		`(?m)^refused   a second push, without a signed state:$`,
		`! \[remote rejected\] main -> main \(unauthorised: .+\)`,
		`(?m)^Done, and deleted\.`,
	} {
		at := regexp.MustCompile(want).FindStringIndex(text)
		if at == nil {
			t.Fatalf("no %s in its place in\n%s", want, out)
		}
		text = text[at[1]:]
	}
}

func TestTheDemoCleansUp(t *testing.T) {
	dir := t.TempDir()
	if out, err := program(t, dir, "demo").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "gitroost-demo-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if out, err := program(t, dir, "demo", "--keep").CombinedOutput(); err != nil || !strings.Contains(string(out), "gitroost serve --data "+dir) {
		t.Fatalf("%v\n%s", err, out)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "gitroost-demo-*", "data")); len(left) != 1 {
		t.Errorf("kept: %v", left)
	}
}

// One afternoon: serve, key, announce, push, change, push, health; then a signal ends it.
func TestAnAfternoon(t *testing.T) {
	dir := t.TempDir()
	serve := program(t, dir, "serve", "--listen=127.0.0.1:0", "--ephemeral", "--log.level=warn")
	stdout, err := serve.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	serve.Stderr = &errs
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	defer serve.Process.Kill()
	url := ""
	lines := bufio.NewScanner(stdout)
	for url == "" && lines.Scan() {
		url = regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(lines.Text())
	}
	go io.Copy(io.Discard, stdout)
	if url == "" {
		serve.Wait()
		t.Fatalf("no address: %s", errs.String())
	}
	work := filepath.Join(dir, "hello")
	if err := os.Mkdir(work, 0o755); err != nil {
		t.Fatal(err)
	}
	git := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=A", "-c", "user.email=a@example.com"}, args...)...)
		cmd.Dir = work
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v: %s", args, err, out)
		}
	}
	roost := func(want string, args ...string) string {
		t.Helper()
		out, err := program(t, work, args...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Fatalf("gitroost %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	git("init", "-q", "-b", "main")
	git("commit", "-q", "--allow-empty", "-m", "one")
	roost("npub1", "key", "new", "--out", "../alice.key")
	said := roost("next      gitroost push --key ../alice.key", "announce", "--key", "../alice.key", "--server", url, ".")
	roost("* [new branch]", "push", "--key", "../alice.key")
	git("commit", "-q", "--allow-empty", "-m", "two")
	git("tag", "-a", "v1", "-m", "v1")
	roost("v1 -> v1", "push", "--key", "../alice.key", "--tags")
	roost("the state is served already", "push", "--key", "../alice.key", "--tags")
	clone := regexp.MustCompile(`git clone (\S+)`).FindStringSubmatch(said)
	git("clone", "-q", clone[1], "../copy")
	roost("ok", "health", "--listen="+strings.TrimPrefix(url, "http://"))
	if err := serve.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := serve.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v: %s", err, errs.String())
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "gitroost-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

package program_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/run"
	"github.com/gitroost/gitroost/internal/work"
	"github.com/gitroost/gitroost/internal/work/program"
	"github.com/gitroost/gitroost/internal/work/worktest"
)

func newWorld(t testing.TB, change ...func(*program.Config)) (*worktest.World, *program.Programs) {
	t.Helper()
	w := worktest.New(t)
	w.Write("hello.txt", "hello\n")
	w.Write("bin/tell", "#!/bin/sh\necho told \"$@\"\n")
	w.Commit("first")
	cfg := program.Config{Run: run.New(run.Config{KillAfter: 300 * time.Millisecond}), State: filepath.Join(w.Root, "state"), Bus: "none"}
	for _, c := range change {
		c(&cfg)
	}
	p, err := program.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.Doers["exec"], w.Doers["ssh"] = program.Exec{Programs: p}, program.SSH{Programs: p}
	return w, p
}

// within makes a folder in parent that anybody may go through. What is left in parent itself may be somebody
// else's.
func within(t *testing.T, parent string) string {
	t.Helper()
	if _, err := os.Stat(parent); err != nil {
		parent = os.TempDir()
	}
	dir, err := os.MkdirTemp(parent, "gitroost-test-")
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func sh(script string) []string { return []string{"/bin/sh", "-c", script} }

// sandboxes are the runners that this machine has.
func sandboxes(t *testing.T, p *program.Programs) []string {
	t.Helper()
	list := []string{work.SandboxPlain}
	for _, r := range p.Runners(t.Context()) {
		if r.Name == work.SandboxBwrap {
			if r.Text != "" {
				t.Logf("without bwrap: %s", r.Text)
				continue
			}
			list = append(list, r.Name)
		}
	}
	return list
}

// How a program ends is told by what it did. S0-03 S0-18
func TestExecEnds(t *testing.T) {
	w, p := newWorld(t)
	for _, box := range sandboxes(t, p) {
		for _, c := range []struct {
			name, script string
			want         jobs.Result
		}{
			{"well", "echo out; echo err >&2", jobs.Result{State: jobs.OK}},
			{"exit code", "exit 7", jobs.Result{State: jobs.Failed, Fault: jobs.FaultExit, Exit: 7, Reason: "exit 7"}},
			{"signal", "kill -SEGV $$", jobs.Result{State: jobs.Failed, Fault: jobs.FaultExit, Exit: 139, Signal: "SEGV", Reason: "ended by SIGSEGV"}},
		} {
			t.Run(box+"/"+c.name, func(t *testing.T) {
				res, log := w.Run("exec", &work.Exec{Run: sh(c.script), Sandbox: box})
				rss, cpu := res.MaxRSS, res.CPU
				res.MaxRSS, res.CPU = 0, 0
				if res != c.want {
					t.Errorf("%+v, want %+v; log: %s", res, c.want, log)
				}
				if rss < 64<<10 || rss > 1<<30 || cpu <= 0 || cpu > time.Minute {
					t.Errorf("%d bytes, %v", rss, cpu)
				}
				if c.name == "well" && (log.Of("stdout") != "out\n" || log.Of("stderr") != "err\n") {
					t.Errorf("stdout %q, stderr %q", log.Of("stdout"), log.Of("stderr"))
				}
			})
		}
	}
}

// S0-33: the environment of a job is the documented list, and nothing of the server's.
func TestExecEnvironment(t *testing.T) {
	t.Setenv("GITROOST_KEY", "nsec1secret")
	t.Setenv("LD_DEBUG", "")
	w, p := newWorld(t)
	w.Secrets["npm"], w.Secrets["token"] = "s3cret\n", "t0ken"
	doc := program.VariablesDoc()
	for _, box := range sandboxes(t, p) {
		res, log := w.Run("exec", &work.Exec{Run: []string{"env"}, Sandbox: box, Env: map[string]string{"CI": "yes"}, SecretNames: []string{"npm"}, SecretEnv: map[string]string{"TOKEN": "token"}})
		if res.State != jobs.OK {
			t.Fatalf("%s: %+v\n%s", box, res, log)
		}
		got := map[string]string{}
		for line := range strings.SplitSeq(strings.TrimSpace(log.Of("stdout")), "\n") {
			k, v, _ := strings.Cut(line, "=")
			got[k] = v
			if !strings.Contains(doc, "`"+k+"`") && k != "CI" && k != "TOKEN" && k != "PWD" {
				t.Errorf("%s: %s is not documented", box, line)
			}
		}
		for k, want := range map[string]string{"GRASP_REPO_ID": "demo", "GRASP_REF": "refs/heads/main", "GRASP_ATTEMPT": "1", "GRASP_TRIGGER": "push", "CI": "yes", "TOKEN": "t0ken", "GRASP_URL": "https://git.example.com"} {
			if got[k] != want {
				t.Errorf("%s: %s=%q, want %q", box, k, got[k], want)
			}
		}
		if _, err := os.Stat(got["GRASP_SECRETS"]); got["GRASP_SECRETS"] == "" || err == nil {
			t.Errorf("%s: the folder of secrets %q is there after the job (%v)", box, got["GRASP_SECRETS"], err)
		}
	}
}

// Secrets are files that nobody else can read, and are in no command line.
func TestExecSecrets(t *testing.T) {
	w, p := newWorld(t)
	w.Secrets["npm"] = "s3cret"
	for _, box := range sandboxes(t, p) {
		res, log := w.Run("exec", &work.Exec{Run: sh(`cat "$GRASP_SECRETS/npm"; stat -c ' %a' "$GRASP_SECRETS/npm" "$GRASP_SECRETS"; tr '\0' ' ' </proc/$$/cmdline`), Sandbox: box, SecretNames: []string{"npm"}})
		if res.State != jobs.OK || !strings.HasPrefix(log.Of("stdout"), "s3cret 400\n 700\n") || strings.Count(log.Of("stdout"), "s3cret") != 1 {
			t.Errorf("%s: %+v: %s", box, res, log)
		}
	}
	if res, _ := w.Run("exec", &work.Exec{Run: sh("true"), SecretNames: []string{"other"}}); res.State != jobs.StartupFailure {
		t.Errorf("a secret that is not there: %+v", res)
	}
}

// S0-33: where a program begins, and what is there.
func TestExecWorkdir(t *testing.T) {
	w, p := newWorld(t)
	for _, box := range sandboxes(t, p) {
		for _, c := range []struct{ workdir, script, want string }{
			{"", "ls; cat hello.txt; bin/tell x", "bin\nhello.txt\nhello\ntold x\n"},
			{work.InCheckout, "test ! -e .git && echo mine >hello.txt && cat hello.txt", "mine\n"},
			{work.InBare, "git rev-parse --is-bare-repository && pwd | tail -c 9", "true\ndemo.git\n"},
			{work.InEmpty, "ls -A | wc -l; echo x >y", "0\n"},
		} {
			res, log := w.Run("exec", &work.Exec{Run: sh(c.script), Workdir: c.workdir, Sandbox: box})
			if res.State != jobs.OK || log.Of("stdout") != c.want {
				t.Errorf("%s %q: %+v, want %q\n%s", box, c.workdir, res, c.want, log)
			}
		}
	}
	if res, log := w.Run("exec", &work.Exec{Run: []string{"bin/tell", "a b", "$HOME", "*"}}); res.State != jobs.OK || log.Of("stdout") != "told a b $HOME *\n" {
		t.Errorf("a program of the checkout, without a shell: %+v\n%s", res, log)
	}
	if res, _ := w.Run("exec", &work.Exec{Run: []string{"no-such-program"}}); res.State != jobs.StartupFailure || !strings.Contains(res.Reason, "no-such-program") || !res.Final {
		t.Errorf("a program that is not there: %+v", res)
	}
}

// S0-22: an old post-receive script runs unchanged.
func TestExecAsGitHook(t *testing.T) {
	w, _ := newWorld(t)
	script := filepath.Join(w.Root, "post-receive")
	text := `#!/bin/bash
set -e
REPO_PATH="$1"
while read oldrev newrev refname; do
  branch=$(basename "$refname")
  echo "deploying $branch of $(basename "$REPO_PATH"): $(git --git-dir="$REPO_PATH" cat-file -t "$newrev")"
  echo "$oldrev" | tr -d 0
done
test "$(pwd -P)" = "$(cd "$REPO_PATH" && pwd -P)"
`
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	res, log := w.Run("exec", &work.Exec{Run: []string{script}, Compat: work.CompatGitHooks, Sandbox: work.SandboxPlain})
	if want := "deploying main of demo.git: commit\n\n"; res.State != jobs.OK || log.Of("stdout") != want {
		t.Errorf("%+v, want %q\n%s", res, want, log)
	}
}

// A job that is asked to end can tidy up: TERM comes first.
func TestExecIsAskedToEnd(t *testing.T) {
	w, p := newWorld(t)
	for _, box := range sandboxes(t, p) {
		ctx, cancel := context.WithCancelCause(t.Context())
		log := &worktest.Log{}
		began := log.Seen("began")
		done := make(chan jobs.Result, 1)
		j := w.Job("exec", &work.Exec{Run: sh("trap 'echo tidy; exit 0' TERM; echo be''gan; while :; do sleep 0.01; done"), Sandbox: box})
		go func() { done <- w.Hall().Run(ctx, j, log) }()
		select {
		case <-began:
		case res := <-done:
			t.Fatalf("%s: %+v %s", box, res, log)
		}
		cancel(jobs.ErrAsked)
		res := <-done
		if !strings.Contains(log.Of("stdout"), "tidy") || res.State == jobs.OK || !strings.Contains(res.Reason, jobs.ErrAsked.Error()) {
			t.Errorf("%s: %+v\n%s", box, res, log)
		}
	}
}

// S0-32: an untrusted program reads nothing of the server, reaches nobody, and runs in a sandbox or not
// at all.
func TestExecUntrusted(t *testing.T) {
	w, p := newWorld(t)
	untrusted := func(j *jobs.Job) { j.Class = jobs.Untrusted }
	if !slices.Contains(sandboxes(t, p), work.SandboxBwrap) {
		res, _ := w.Run("exec", &work.Exec{Run: sh("true")}, untrusted)
		if res.State != jobs.StartupFailure {
			t.Fatalf("without a sandbox: %+v", res)
		}
		t.Skip("there is no bwrap here")
	}
	secret := filepath.Join(w.Root, "server.key")
	if err := os.WriteFile(secret, []byte("nsec1"), 0o644); err != nil {
		t.Fatal(err)
	}
	script := `
cat ` + secret + ` 2>/dev/null
ls ` + filepath.Join(w.Root, "data") + ` 2>/dev/null
cat /etc/shadow 2>/dev/null
ls /home /root 2>/dev/null
(echo >/dev/tcp/127.0.0.1/22) 2>/dev/null && echo reached
ls /sys/class/net 2>/dev/null
ls -d /proc/[0-9]* | wc -l
id -u
unshare -U true 2>/dev/null && echo unshared
touch /usr/x /x /etc/x 2>/dev/null && echo wrote
(echo x >/proc/sys/kernel/domainname) 2>/dev/null && echo ruled
(echo core >/proc/sys/kernel/core_pattern) 2>/dev/null && echo ruled
echo said >/dev/stderr
(echo x >/proc/sysrq-trigger) 2>/dev/null && echo ruled
ls /dev/sd* /dev/vd* /dev/mem 2>/dev/null
mount -t tmpfs x /tmp 2>/dev/null && echo mounted
grep NoNewPrivs /proc/self/status
grep CapEff /proc/self/status
grep Seccomp: /proc/self/status
cat hello.txt
`
	res, log := w.Run("exec", &work.Exec{Run: []string{"/bin/bash", "-c", script}}, untrusted)
	out := log.Of("stdout")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if res.State != jobs.OK || len(lines) != 6 || lines[1] == "0" || !strings.HasSuffix(lines[2], "\t1") || !strings.HasSuffix(lines[3], "0000000000000000") || !strings.HasSuffix(lines[4], "\t2") || lines[5] != "hello" {
		t.Errorf("%+v\n%s", res, log)
	}
	if n, _ := strconv.Atoi(lines[0]); n > 6 {
		t.Errorf("it sees %d processes", n)
	}
	for _, c := range []struct {
		spec work.Exec
		want string
	}{
		{work.Exec{Run: sh("true"), Sandbox: work.SandboxPlain}, "sandbox"},
		{work.Exec{Run: sh("true"), Network: true}, "network"},
		{work.Exec{Run: sh("true"), SecretNames: []string{"x"}}, "secrets"},
		{work.Exec{Run: sh("true"), Workdir: work.InBare}, "bare"},
		{work.Exec{Run: sh("true"), RunAs: "nobody"}, "run_as"},
	} {
		if res, _ := w.Run("exec", &c.spec, untrusted); res.State != jobs.StartupFailure || !strings.Contains(res.Reason, c.want) || !res.Final {
			t.Errorf("%+v: %+v", c.spec, res)
		}
	}
	cpu := work.Exec{Run: sh("true"), Limits: work.Limits{CPU: 50}}
	if res, _ := w.Run("exec", &cpu, untrusted); res.State != jobs.StartupFailure && res.State != jobs.OK || res.State == jobs.StartupFailure && !strings.Contains(res.Reason, "cpu") {
		t.Errorf("a limit that may not be enforceable: %+v", res)
	}
	if res, _ := w.Run("exec", &work.Exec{Run: sh("true"), Sandbox: work.SandboxPlain}, func(j *jobs.Job) { j.Class = jobs.Trusted }); res.State != jobs.StartupFailure {
		t.Errorf("a trusted maintainer's program without a sandbox: %+v", res)
	}
}

// S0-30: run_as is who it runs as, and nothing gives it more.
func TestExecRunAs(t *testing.T) {
	spare := within(t, "/var/tmp")
	w, p := newWorld(t, func(c *program.Config) { c.Spare = spare })
	if os.Getuid() != 0 {
		if res, _ := w.Run("exec", &work.Exec{Run: sh("true"), RunAs: "root"}); res.State != jobs.StartupFailure {
			t.Errorf("%+v", res)
		}
		t.Skip("only root may run programs as somebody else")
	}
	// The server's folders let nobody else through, and need not.
	os.Chmod(w.Root, 0o700)
	w.Secrets["npm"] = "s3cret"
	res, log := w.Run("exec", &work.Exec{Run: sh("id -un; echo x >mine && stat -c %U mine; grep NoNewPrivs /proc/self/status; cat hello.txt $GRASP_SECRETS/npm"), RunAs: "nobody", SecretNames: []string{"npm"}, Sandbox: work.SandboxPlain})
	if res.State != jobs.OK || log.Of("stdout") != "nobody\nnobody\nNoNewPrivs:\t1\nhello\ns3cret" {
		t.Errorf("%+v\n%s", res, log)
	}
	for _, box := range sandboxes(t, p) {
		if res, log := w.Run("exec", &work.Exec{Run: sh("cat hello.txt; ls -ln hello.txt | cut -d' ' -f3"), RunAs: "nobody", Sandbox: box}); res.State != jobs.OK || log.Of("stdout") != "hello\n65534\n" {
			t.Errorf("%s: %+v\n%s", box, res, log)
		}
	}
	if left, _ := filepath.Glob(spare + "/*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if res, _ := w.Run("exec", &work.Exec{Run: sh("true"), RunAs: "no-such-user"}); res.State != jobs.StartupFailure || !strings.Contains(res.Reason, "no-such-user") {
		t.Errorf("%+v", res)
	}
}

// What a process that died left running is ended before the job runs again.
func TestExecReap(t *testing.T) {
	w, p := newWorld(t)
	mark := sleeper()
	if os.Getenv("PROGRAM_TEST_DIE") != "" {
		mark = os.Getenv("PROGRAM_TEST_DIE")
		q, err := program.New(program.Config{Run: run.New(run.Config{}), State: os.Getenv("PROGRAM_TEST_STATE"), Bus: "none", Groups: os.Getenv("PROGRAM_TEST_GROUPS")})
		if err != nil {
			t.Fatal(err)
		}
		w.Doers["exec"] = program.Exec{Programs: q}
		log := &worktest.Log{}
		began := log.Seen("began")
		go w.Hall().Run(context.Background(), w.Job("exec", &work.Exec{Run: sh("setsid sleep " + mark + " >/dev/null 2>&1 & echo be''gan; sleep " + mark), Workdir: work.InEmpty, Sandbox: work.SandboxPlain}), log)
		<-began
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	for _, groups := range []string{"", "none"} {
		state := filepath.Join(w.Root, "state")
		c := exec.Command(os.Args[0], "-test.run=^TestExecReap$")
		c.Env = append(os.Environ(), "PROGRAM_TEST_DIE="+mark, "PROGRAM_TEST_STATE="+state, "PROGRAM_TEST_GROUPS="+groups)
		if out, err := c.CombinedOutput(); err == nil {
			t.Fatalf("it did not die: %s", out)
		}
		if len(alive(t, mark)) == 0 {
			t.Fatal("nothing was left; the test shows nothing")
		}
		notes, _ := filepath.Glob(filepath.Join(state, "*.json"))
		if len(notes) != 1 {
			t.Fatalf("notes: %v", notes)
		}
		j := jobs.Job{ID: jobs.ID(strings.TrimSuffix(filepath.Base(notes[0]), ".json")), Kind: "exec"}
		if err := (program.Exec{Programs: p}).Reap(t.Context(), j); err != nil {
			t.Fatal(err)
		}
		if left := left(t, mark); len(left) > 0 {
			t.Errorf("%v are left", left)
		}
		if err := (program.Exec{Programs: p}).Reap(t.Context(), j); err != nil {
			t.Errorf("again: %v", err)
		}
	}
}

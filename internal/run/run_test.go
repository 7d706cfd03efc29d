package run_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/run"
)

func sh(t testing.TB, script string) run.Command {
	t.Helper()
	path, err := run.Find("sh", "/bin:/usr/bin")
	if err != nil {
		t.Skip(err)
	}
	return run.Command{Kind: "sh", Path: path, Args: append(run.Words("-c"), run.Operator([]string{script})...), Env: []string{"PATH=/usr/bin:/bin"}}
}

// hardening §8: nothing of the environment is inherited.
func TestEnvironmentIsWhatWasGiven(t *testing.T) {
	t.Setenv("GIT_DIR", "/evil")
	t.Setenv("http_proxy", "http://evil")
	path, err := run.Find("env", "/bin:/usr/bin")
	if err != nil {
		t.Skip(err)
	}
	var out bytes.Buffer
	r := run.New(run.Config{})
	if _, err := r.Run(t.Context(), run.Command{Kind: "env", Path: path, Env: []string{"A=1"}, Stdout: &out}); err != nil {
		t.Fatal(err)
	}
	if out.String() != "A=1\n" {
		t.Errorf("environment %q", out.String())
	}
	out.Reset()
	if _, err := r.Run(t.Context(), run.Command{Kind: "env", Path: path, Stdout: &out}); err != nil || out.Len() != 0 {
		t.Errorf("no environment given: %q, %v", out.String(), err)
	}
	if got := r.Started()["env"]; got != 2 {
		t.Errorf("counted %d starts", got)
	}
}

// hardening §8: a child holds only the descriptors it was given.
func TestDescriptors(t *testing.T) {
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out bytes.Buffer
	c := sh(t, "ls /proc/self/fd")
	c.Stdin, c.Stdout = strings.NewReader(""), &out
	if _, err := run.New(run.Config{}).Run(t.Context(), c); err != nil {
		t.Skip(err)
	}
	if got := strings.Fields(out.String()); len(got) > 4 { // 0 1 2 and the listing's own
		t.Errorf("descriptors %v", got)
	}
}

func TestResults(t *testing.T) {
	r := run.New(run.Config{})
	big := strings.Repeat("x", 3<<20)
	for _, c := range []struct {
		name, script, stdin string
		out                 string
		code                int
		signal              syscall.Signal
		unread              bool
	}{
		{name: "copies", script: "cat", stdin: big, out: big},
		{name: "reads little at a time", script: "dd bs=4096 2>/dev/null", stdin: big, out: big},
		{name: "reads a part of much", script: "head -c 70000 | head -c 3; exit 0", stdin: big, out: "xxx", unread: true},
		{name: "fails", script: "echo no >&2; exit 3", code: 3},
		{name: "killed", script: "kill -9 $$", code: -1, signal: syscall.SIGKILL},
		{name: "reads nothing", script: "exit 0", stdin: "abc", unread: true},
		{name: "reads nothing of much", script: "exit 0", stdin: big, unread: true},
		{name: "reads a part", script: "head -c 3", stdin: "abcdef", out: "abc"}, // head may read all
		{name: "fails without reading", script: "exit 7", stdin: big, code: 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := sh(t, c.script)
			var out bytes.Buffer
			cmd.Stdin, cmd.Stdout = io.MultiReader(strings.NewReader(c.stdin)), &out
			res, err := r.Run(t.Context(), cmd)
			if c.code == 0 {
				if err != nil {
					t.Fatal(err)
				}
				if c.name != "reads a part" && res.Unread != c.unread {
					t.Errorf("unread %v", res.Unread)
				}
			} else {
				e, ok := run.IsExit(err)
				if !ok || e.Code != c.code || e.Signal != c.signal {
					t.Fatalf("error %v", err)
				}
			}
			if out.String() != c.out {
				t.Errorf("output of %d bytes, want %d", out.Len(), len(c.out))
			}
		})
	}
	if r.Running() != 0 {
		t.Errorf("%d are left", r.Running())
	}
}

// hardening §8: a child that writes 1 MiB to its error output does not hang, and is not kept whole.
func TestStderr(t *testing.T) {
	var lines int
	var longest int
	c := sh(t, `i=0; while [ $i -lt 2000 ]; do echo "line $i" >&2; i=$((i+1)); done; head -c 1048576 /dev/zero | tr '\0' y >&2; printf 'a\rb\r' >&2`)
	c.StderrLine = func(l string) { lines++; longest = max(longest, len(l)) }
	res, err := run.New(run.Config{}).Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Stderr) != 64<<10 || !strings.HasPrefix(res.Stderr, "line 0\nline 1\n") {
		t.Errorf("kept %d bytes", len(res.Stderr))
	}
	if lines != 2002 || longest != 1024 {
		t.Errorf("%d lines, the longest has %d bytes", lines, longest)
	}
}

// hardening §8: the input is closed first, then TERM, then KILL, for the whole group.
func TestContextEndsTheGroup(t *testing.T) {
	for _, c := range []struct{ name, script string }{
		{"ends with its input", `echo up; cat >/dev/null`},
		{"ends with TERM", `echo up; sleep 1000`},
		{"needs KILL", `trap '' TERM; echo up; while :; do sleep 1000; done`},
		{"has children", `sleep 1000 & sh -c 'trap "" TERM; echo up; while :; do sleep 1000; done'`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := run.New(run.Config{TermAfter: 20 * time.Millisecond, KillAfter: 40 * time.Millisecond})
			why := errors.New("enough")
			ctx, cancel := context.WithCancelCause(t.Context())
			in, inw := io.Pipe()
			defer inw.Close()
			cmd := sh(t, c.script)
			cmd.Stdin = in
			cmd.Stdout = writerFunc(func(b []byte) (int, error) { cancel(why); return len(b), nil })
			context.AfterFunc(ctx, func() { inw.CloseWithError(why) })
			_, err := r.Run(ctx, cmd)
			if !errors.Is(err, why) {
				t.Errorf("error %v", err)
			}
			if r.Running() != 0 {
				t.Errorf("%d are left", r.Running())
			}
		})
	}
}

// A child that reads nothing more of much holds nobody up, when its context ends.
func TestContextEndsAtAFullPipe(t *testing.T) {
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cmd := sh(t, `head -c 200000 >/dev/null; echo up; sleep 1000`)
	cmd.Stdin = strings.NewReader(strings.Repeat("x", 5<<20))
	cmd.Stdout = writerFunc(func(b []byte) (int, error) { cancel(why); return len(b), nil })
	r := run.New(run.Config{TermAfter: 20 * time.Millisecond, KillAfter: 40 * time.Millisecond})
	if _, err := r.Run(ctx, cmd); !errors.Is(err, why) {
		t.Errorf("error %v", err)
	}
	if r.Running() != 0 {
		t.Errorf("%d are left", r.Running())
	}
}

// hardening §8: nothing that a child left behind in its group outlives it.
func TestLeftoversAreKilled(t *testing.T) {
	var out bytes.Buffer
	c := sh(t, `sleep 1000 >/dev/null 2>&1 & echo $!`)
	c.Stdout = &out
	if _, err := run.New(run.Config{}).Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	var pid int
	fmt.Sscan(out.String(), &pid)
	if pid == 0 {
		t.Fatalf("no pid in %q", out.String())
	}
	// It is dead, though perhaps not yet reaped by whoever inherits orphans here.
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !strings.Contains(string(b), ") Z ") && !strings.Contains(string(b), ") X ") {
		if !strings.Contains(string(b), "sleep") {
			t.Skip("the number was used again")
		}
		if syscall.Kill(pid, 0) == nil && !dying(pid) {
			t.Errorf("%s is alive", b)
		}
	}
}

// dying reports whether pid has a KILL pending or is gone.
func dying(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "ShdPnd:"); ok && strings.TrimSpace(v) != "0000000000000000" {
			return true
		}
		if strings.HasPrefix(line, "State:") && (strings.Contains(line, "Z") || strings.Contains(line, "X")) {
			return true
		}
	}
	return false
}

// hardening §11: the end does not wait on pipes that somebody outside the group inherited.
func TestEscapeesDoNotHoldUs(t *testing.T) {
	if _, err := run.Find("setsid", "/bin:/usr/bin"); err != nil {
		t.Skip(err)
	}
	c := sh(t, `setsid sleep 600 & echo $!`)
	var out bytes.Buffer
	c.Stdout = &out
	began := time.Now()
	r := run.New(run.Config{TermAfter: 10 * time.Millisecond})
	_, err := r.Run(t.Context(), c)
	pid := 0
	if fmt.Sscan(out.String(), &pid); pid > 1 {
		defer syscall.Kill(pid, syscall.SIGKILL)
	}
	if took := time.Since(began); err != nil || took > 5*time.Minute || pid == 0 {
		t.Errorf("%q after %v, %v", out.String(), took, err)
	}
}

func TestOtherSideFails(t *testing.T) {
	r := run.New(run.Config{})
	broken := errors.New("broken")
	c := sh(t, "cat")
	c.Stdin = io.MultiReader(strings.NewReader("abc"), errReader{broken})
	_, err := r.Run(t.Context(), c)
	var re *run.ReadError
	if !errors.As(err, &re) || !errors.Is(err, broken) {
		t.Errorf("reading: %v", err)
	}
	c = sh(t, "yes")
	c.Stdout = writerFunc(func([]byte) (int, error) { return 0, broken })
	_, err = r.Run(t.Context(), c)
	var we *run.WriteError
	if !errors.As(err, &we) || !errors.Is(err, broken) {
		t.Errorf("writing: %v", err)
	}
}

// hardening §6: processor time grows with what arrived, and nothing else.
func TestLimits(t *testing.T) {
	r := run.New(run.Config{})
	c := sh(t, "while :; do :; done")
	c.Limits.CPU = time.Second
	_, err := r.Run(t.Context(), c)
	if e, ok := run.IsExit(err); !ok || e.Signal != syscall.SIGXCPU {
		t.Errorf("error %v", err)
	}
	c = sh(t, "ulimit -c; ulimit -f")
	var out bytes.Buffer
	c.Limits.FileSize, c.Stdin, c.Stdout = 1<<20, strings.NewReader(""), &out
	if _, err := r.Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "0\n") {
		t.Errorf("limits %q", out.String())
	}
}

func TestArguments(t *testing.T) {
	for _, s := range []string{"", "-x", "--upload-pack=x", "a\nb", "a\x00b"} {
		if a, err := run.Operand(s); err == nil {
			t.Errorf("Operand(%q) = %q", s, a)
		}
	}
	for _, s := range []string{"", "x", "-x", "/a/../b", "/a//b", "/a/\x00"} {
		if a, err := run.Path(s); err == nil {
			t.Errorf("Path(%q) = %q", s, a)
		}
	}
	if got := run.Value("--format", "-x").String(); got != "--format=-x" {
		t.Errorf("Value: %q", got)
	}
	r := run.New(run.Config{})
	for _, c := range []run.Command{
		{Path: "/bin/true"}, {Kind: "x", Path: "true"}, {Kind: "x", Path: "/bin/true", Dir: "x"},
		{Kind: "x", Path: "/bin/true", Env: []string{"A"}}, {Kind: "x", Path: "/bin/true", Env: []string{"=A"}},
		{Kind: "x", Path: "/bin/true", Args: []run.Arg{{}}}, {Kind: "x", Path: "/no/such/program"},
	} {
		if _, err := r.Run(t.Context(), c); err == nil {
			t.Errorf("%+v was started", c)
		}
	}
	if n := len(r.Started()); n != 0 {
		t.Errorf("%d kinds counted", n)
	}
	if _, err := run.Find("sh", "relative:."); err == nil {
		t.Error("found a program in a relative folder")
	}
}

func TestNoStartAfterTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := run.New(run.Config{})
	if _, err := r.Run(ctx, sh(t, "true")); !errors.Is(err, context.Canceled) || len(r.Started()) != 0 {
		t.Errorf("%v, %v", err, r.Started())
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

package program_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/run"
	"github.com/gitroost/gitroost/internal/work"
	"github.com/gitroost/gitroost/internal/work/program"
	"github.com/gitroost/gitroost/internal/work/worktest"
)

// startBus starts a bus of our own and returns its address.
func startBus(t *testing.T) string {
	t.Helper()
	path, err := run.Find("dbus-daemon", "/usr/bin:/usr/local/bin")
	if err != nil {
		t.Skip("there is no dbus-daemon; install the package dbus-daemon")
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "bus.conf")
	text := `<busconfig><type>session</type><listen>unix:path=` + filepath.Join(dir, "bus") + `</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(path, "--config-file="+conf, "--nofork", "--nopidfile", "--print-address")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	s := bufio.NewScanner(out)
	if !s.Scan() {
		t.Skip("dbus-daemon does not start here")
	}
	return strings.TrimSpace(s.Text())
}

// A unit of the service manager of the tests, which runs what it is told without any walls.
type unit struct {
	props         map[string]dbus.Variant
	cmd           *exec.Cmd
	done          chan struct{}
	state, result string
	code, status  int32
	unref         bool
}

// systemd stands for the service manager.
type systemd struct {
	conn   *dbus.Conn
	mu     sync.Mutex
	units  map[string]*unit
	refuse bool
	force  string // the Result of units that fail
}

type prop struct {
	Name  string
	Value dbus.Variant
}

type auxiliary struct {
	Name  string
	Props []prop
}

func startSystemd(t *testing.T, address string) *systemd {
	t.Helper()
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	m := &systemd{conn: conn, units: map[string]*unit{}}
	if err := conn.Export(m, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"); err != nil {
		t.Fatal(err)
	}
	if r, err := conn.RequestName("org.freedesktop.systemd1", dbus.NameFlagDoNotQueue); err != nil || r != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(r, err)
	}
	return m
}

func (m *systemd) path(name string) dbus.ObjectPath {
	return dbus.ObjectPath("/org/freedesktop/systemd1/unit/" + strings.NewReplacer("-", "_2d", ".", "_2e").Replace(name))
}

func value[T any](u *unit, name string) (v T) {
	v, _ = u.props[name].Value().(T)
	return v
}

func (m *systemd) StartTransientUnit(name, mode string, props []prop, _ []auxiliary) (dbus.ObjectPath, *dbus.Error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuse {
		return "", dbus.NewError("org.freedesktop.DBus.Error.AccessDenied", []any{"Permission denied"})
	}
	u := &unit{props: map[string]dbus.Variant{}, done: make(chan struct{}), state: "active"}
	for _, p := range props {
		u.props[p.Name] = p.Value
	}
	var start []struct {
		Path   string
		Args   []string
		Ignore bool
	}
	if err := u.props["ExecStart"].Store(&start); err != nil || len(start) != 1 {
		return "", dbus.MakeFailedError(fmt.Errorf("ExecStart: %v", err))
	}
	u.cmd = &exec.Cmd{Path: start[0].Path, Args: start[0].Args, Env: value[[]string](u, "Environment"), Dir: value[string](u, "WorkingDirectory"), SysProcAttr: &syscall.SysProcAttr{Setpgid: true}}
	file := func(name string) *os.File {
		if fd, ok := u.props[name].Value().(dbus.UnixFD); ok {
			return os.NewFile(uintptr(fd), name)
		}
		return nil
	}
	in, out, errs := file("StandardInputFileDescriptor"), file("StandardOutputFileDescriptor"), file("StandardErrorFileDescriptor")
	if in != nil {
		u.cmd.Stdin = in
	}
	if out != nil {
		u.cmd.Stdout, u.cmd.Stderr = out, errs
	}
	if err := u.cmd.Start(); err != nil {
		return "", dbus.MakeFailedError(err)
	}
	for _, f := range []*os.File{in, out, errs} {
		if f != nil {
			f.Close()
		}
	}
	m.units[name] = u
	m.conn.Export(properties{m, u}, m.path(name), "org.freedesktop.DBus.Properties")
	go func() {
		u.cmd.Wait()
		m.mu.Lock()
		defer m.mu.Unlock()
		ws := u.cmd.ProcessState.Sys().(syscall.WaitStatus)
		u.state, u.result, u.code, u.status = "inactive", "success", 1, int32(ws.ExitStatus())
		if ws.Signaled() {
			u.state, u.result, u.code, u.status = "failed", "signal", 2, int32(ws.Signal())
		} else if u.status != 0 {
			u.state, u.result = "failed", "exit-code"
		}
		if m.force != "" && u.state == "failed" {
			u.result = m.force
		}
		syscall.Kill(-u.cmd.Process.Pid, syscall.SIGKILL)
		close(u.done)
	}()
	return "/org/freedesktop/systemd1/job/1", nil
}

func (m *systemd) find(name string) (*unit, *dbus.Error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if u := m.units[name]; u != nil {
		return u, nil
	}
	return nil, dbus.NewError("org.freedesktop.systemd1.NoSuchUnit", []any{"Unit " + name + " not loaded."})
}

func (m *systemd) GetUnit(name string) (dbus.ObjectPath, *dbus.Error) {
	if _, err := m.find(name); err != nil {
		return "", err
	}
	return m.path(name), nil
}

func (m *systemd) StopUnit(name, mode string) (dbus.ObjectPath, *dbus.Error) {
	u, err := m.find(name)
	if err != nil {
		return "", err
	}
	syscall.Kill(-u.cmd.Process.Pid, syscall.SIGTERM)
	go func() {
		select {
		case <-u.done:
		case <-time.After(300 * time.Millisecond):
			syscall.Kill(-u.cmd.Process.Pid, syscall.SIGKILL)
		}
	}()
	return "/org/freedesktop/systemd1/job/2", nil
}

func (m *systemd) KillUnit(name, who string, sig int32) *dbus.Error {
	u, err := m.find(name)
	if err == nil {
		syscall.Kill(-u.cmd.Process.Pid, syscall.Signal(sig))
	}
	return err
}

func (m *systemd) UnrefUnit(name string) *dbus.Error {
	u, err := m.find(name)
	if err == nil {
		m.mu.Lock()
		u.unref = true
		m.mu.Unlock()
	}
	return err
}

// jobs returns the units that are no probes.
func (m *systemd) jobs() map[string]*unit {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]*unit{}
	for name, u := range m.units {
		if !strings.Contains(name, "probe") {
			out[name] = u
		}
	}
	return out
}

type properties struct {
	m *systemd
	u *unit
}

func (p properties) Get(iface, name string) (dbus.Variant, *dbus.Error) {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	switch name {
	case "ActiveState":
		return dbus.MakeVariant(p.u.state), nil
	case "Result":
		return dbus.MakeVariant(p.u.result), nil
	case "ExecMainCode":
		return dbus.MakeVariant(p.u.code), nil
	case "ExecMainStatus":
		return dbus.MakeVariant(p.u.status), nil
	case "CPUUsageNSec":
		return dbus.MakeVariant(uint64(12e6)), nil
	case "MemoryPeak":
		return dbus.MakeVariant(^uint64(0)), nil // as systemd says that it does not know
	}
	return dbus.Variant{}, dbus.NewError("org.freedesktop.DBus.Error.UnknownProperty", []any{name})
}

func systemdWorld(t *testing.T) (*worktest.World, *program.Programs, *systemd) {
	address := startBus(t)
	m := startSystemd(t, address)
	w, p := newWorld(t, func(c *program.Config) { c.Bus, c.Hide = address, []string{"/var/lib/gitroost"} })
	return w, p, m
}

// S0-01 S0-27 S0-30 S0-31 S0-34: a job is a transient unit with what was asked for, and its end is read from it.
func TestSystemd(t *testing.T) {
	w, p, m := systemdWorld(t)
	for _, r := range p.Runners(t.Context()) {
		if r.Name == work.SandboxSystemd && r.Text != "" {
			t.Fatal(r.Text)
		}
	}
	w.Secrets["npm"] = "s3cret"
	spec := &work.Exec{Run: sh(`echo out; echo err >&2; cat hello.txt; cat "$GRASP_SECRETS/npm"; exit 3`), SecretNames: []string{"npm"},
		Limits: work.Limits{CPU: 50, Memory: 512 << 20, Tasks: 100, Disk: 1 << 30, Time: work.Duration(time.Minute)}}
	res, log := w.Run("exec", spec)
	if res.State != jobs.Failed || res.Exit != 3 || res.Fault != jobs.FaultExit || res.CPU != 12*time.Millisecond || res.MaxRSS != 0 || log.Of("stdout") != "out\nhello\ns3cret" || log.Of("stderr") != "err\n" {
		t.Errorf("%+v\n%s", res, log)
	}
	if len(m.jobs()) != 1 {
		t.Fatalf("%d units", len(m.jobs()))
	}
	for name, u := range m.jobs() {
		if !strings.HasPrefix(name, "gitroost-job-01j") || !strings.HasSuffix(name, ".service") {
			t.Errorf("the unit is called %s", name)
		}
		for prop, want := range map[string]any{
			"CPUQuotaPerSecUSec": uint64(500_000), "MemoryMax": uint64(536870912), "MemorySwapMax": uint64(0), "TasksMax": uint64(100), "LimitFSIZE": uint64(1 << 30), "RuntimeMaxUSec": uint64(60_000_000),
			"NoNewPrivileges": true, "ProtectSystem": "strict", "ProtectHome": "tmpfs", "PrivateTmp": true, "PrivateNetwork": true, "PrivateDevices": true, "RestrictNamespaces": uint64(0),
			"KillMode": "control-group", "CollectMode": "inactive-or-failed", "CapabilityBoundingSet": uint64(0), "User": fmt.Sprint(os.Getuid()), "Description": "gitroost job test for demo",
		} {
			if got := u.props[prop].Value(); got != want {
				t.Errorf("%s is %v, want %v", prop, got, want)
			}
		}
		if s := u.props["SystemCallFilter"].String(); !strings.Contains(s, "@system-service") {
			t.Errorf("SystemCallFilter is %s", s)
		}
		if s := u.props["TemporaryFileSystem"].String(); !strings.Contains(s, "/var/lib/gitroost") {
			t.Errorf("TemporaryFileSystem is %s", s)
		}
		if args := u.cmd.Args; slices.ContainsFunc(args, func(s string) bool { return strings.Contains(s, "s3cret") }) {
			t.Errorf("a secret in %q", args)
		}
		released := func() bool {
			m.mu.Lock()
			defer m.mu.Unlock()
			return u.unref
		}
		for end := time.Now().Add(time.Minute); !released(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) { // nobody waits for the answer to that
				t.Fatal("the unit is still held")
			}
		}
	}

	for _, c := range []struct {
		name, script string
		limits       work.Limits
		force        string
		state        jobs.State
		reason       string
	}{
		{"well", "exit 0", work.Limits{}, "", jobs.OK, ""},
		{"by a signal", "kill -9 $$", work.Limits{}, "", jobs.Failed, "SIGKILL"},
		{"for want of memory", "kill -9 $$", work.Limits{}, "oom-kill", jobs.Failed, "limits.memory"},
		{"ignoring TERM", "trap '' TERM; while :; do sleep 0.01; done", work.Limits{Time: work.Duration(time.Second)}, "", jobs.TimedOut, "too long"},
		{"the manager's clock", "exit 1", work.Limits{}, "timeout", jobs.TimedOut, "too long"},
		{"for want of resources", "exit 1", work.Limits{}, "resources", jobs.StartupFailure, "resources"},
		{"disk", "while :; do head -c 1000000 /dev/zero >f$$; head -c 1000000 /dev/zero >>g; done", work.Limits{Disk: 5 << 20, Time: work.Duration(2 * time.Minute)}, "", jobs.Failed, "limits.disk"},
	} {
		m.mu.Lock()
		m.force = c.force
		m.mu.Unlock()
		res, log := w.Run("exec", &work.Exec{Run: sh(c.script), Limits: c.limits, Workdir: work.InEmpty})
		if res.State != c.state || !strings.Contains(res.Reason, c.reason) {
			t.Errorf("%s: %+v\n%s", c.name, res, log)
		}
	}
	for name, u := range m.jobs() {
		select {
		case <-u.done:
		default:
			t.Errorf("%s still runs", name)
		}
	}
	// As git has it: with an input.
	m.mu.Lock()
	m.force = ""
	m.mu.Unlock()
	hook := filepath.Join(w.Root, "post-receive")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\ncat\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if res, log := w.Run("exec", &work.Exec{Run: []string{hook}, Compat: work.CompatGitHooks}); res.State != jobs.OK || !strings.HasSuffix(log.Of("stdout"), " refs/heads/main\n") {
		t.Errorf("%+v\n%s", res, log)
	}
}

// Where the manager does not let us, bwrap or plain are taken; who asks for it is told.
func TestSystemdRefuses(t *testing.T) {
	w, _, m := systemdWorld(t)
	m.mu.Lock()
	m.refuse = true
	m.mu.Unlock()
	if res, _ := w.Run("exec", &work.Exec{Run: sh("true"), Sandbox: work.SandboxSystemd}); res.State != jobs.StartupFailure || !strings.Contains(res.Reason, "Permission denied") {
		t.Errorf("%+v", res)
	}
	if res, log := w.Run("exec", &work.Exec{Run: sh("true")}); res.State != jobs.OK || len(m.jobs()) != 0 {
		t.Errorf("%+v\n%s", res, log)
	}
}

// What a process that died left is a unit by its name.
func TestSystemdReap(t *testing.T) {
	w, p, m := systemdWorld(t)
	mark := sleeper()
	note := `{"mark":"GRASP_JOB_ID=01JX","unit":"gitroost-job-01jx-1.service"}`
	if _, err := m.StartTransientUnit("gitroost-job-01jx-1.service", "fail", []prop{{"ExecStart", dbus.MakeVariant([]struct {
		Path   string
		Args   []string
		Ignore bool
	}{{"/bin/sleep", []string{"sleep", mark}, false}})}}, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.Root, "state", "01JX.json"), []byte(note), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := (program.Exec{Programs: p}).Reap(t.Context(), jobs.Job{ID: "01JX"}); err != nil {
			t.Fatal(err)
		}
	}
	if left := left(t, mark); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

// S0-31: nothing here becomes somebody else by sudo, and no unit is touched but those of jobs.
func TestNoSudo(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	for _, dir := range []string{"internal", "cmd", "grasp", "deploy"} {
		filepath.WalkDir(filepath.Join(root, dir), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for line := range strings.SplitSeq(string(b), "\n") {
				code, _, _ := strings.Cut(line, "//")
				if strings.Contains(code, "sudo") && !strings.Contains(line, "apt-get install") {
					t.Errorf("%s: %s", path, line)
				}
			}
			return nil
		})
	}
	w, p, m := systemdWorld(t)
	if err := os.WriteFile(filepath.Join(w.Root, "state", "01JX.json"), []byte(`{"mark":"GRASP_JOB_ID=01JX","unit":"sshd.service"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	mark := sleeper()
	if _, err := m.StartTransientUnit("sshd.service", "fail", []prop{{"ExecStart", dbus.MakeVariant([]struct {
		Path   string
		Args   []string
		Ignore bool
	}{{"/bin/sleep", []string{"sleep", mark}, false}})}}, nil); err != nil {
		t.Fatal(err)
	}
	if err := (program.Exec{Programs: p}).Reap(t.Context(), jobs.Job{ID: "01JX"}); err != nil {
		t.Fatal(err)
	}
	if len(alive(t, mark)) != 1 {
		t.Error("another unit was ended")
	}
	m.KillUnit("sshd.service", "all", int32(syscall.SIGKILL))
}

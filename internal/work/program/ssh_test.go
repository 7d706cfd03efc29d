package program_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
	"github.com/gitroost/gitroost/internal/work/program"
)

// A host is an sshd on this machine that takes one key.
type host struct {
	port  int
	known string // its line of known_hosts
	key   string // the private key that it takes
	other string // one that it does not take
}

func startSSHD(t *testing.T) host {
	t.Helper()
	sshd := "/usr/sbin/sshd"
	if _, err := os.Stat(sshd); err != nil {
		t.Skip("there is no sshd; install openssh-server")
	}
	if os.Getuid() == 0 {
		// Where it drops its privileges; a service would have made it.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Skip(err)
		}
	}
	dir := t.TempDir()
	keygen := func(name string) (private, public string) {
		path := filepath.Join(dir, name)
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path).CombinedOutput(); err != nil {
			t.Skipf("ssh-keygen: %v: %s", err, out)
		}
		a, _ := os.ReadFile(path)
		b, _ := os.ReadFile(path + ".pub")
		return string(a), strings.TrimSpace(string(b))
	}
	_, hostPub := keygen("host")
	key, pub := keygen("user")
	other, _ := keygen("other")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	os.WriteFile(filepath.Join(dir, "authorized"), []byte(pub+"\n"), 0o600)
	conf := fmt.Sprintf("ListenAddress 127.0.0.1:%d\nHostKey %s/host\nAuthorizedKeysFile %s/authorized\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nPidFile none\nLogLevel VERBOSE\n", port, dir, dir)
	os.WriteFile(filepath.Join(dir, "config"), []byte(conf), 0o600)
	c := exec.Command(sshd, "-D", "-e", "-f", filepath.Join(dir, "config"))
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	up := make(chan bool, 1)
	go func() {
		s := bufio.NewScanner(stderr)
		for s.Scan() {
			if strings.Contains(s.Text(), "listening") {
				select {
				case up <- true:
				default:
				}
			}
		}
		select {
		case up <- false:
		default:
		}
	}()
	select {
	case ok := <-up:
		if !ok {
			t.Skip("sshd does not start here")
		}
	case <-time.After(2 * time.Minute):
		t.Skip("sshd does not start here")
	}
	// Not everybody can log in: who has no shell, or a locked account, is not let in by any sshd.
	login := exec.Command("ssh", "-F", "none", "-T", "-i", filepath.Join(dir, "user"), "-p", fmt.Sprint(port), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile=/dev/null", "-o", "GlobalKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "127.0.0.1", "true")
	if out, err := login.CombinedOutput(); err != nil {
		t.Skipf("sshd does not let this user in: %v: %s", err, out)
	}
	f := strings.Fields(hostPub)
	return host{port: port, known: fmt.Sprintf("[127.0.0.1]:%d %s %s", port, f[0], f[1]), key: key, other: other}
}

// S0-23: a program runs on another host; one whose key is another is not spoken to.
func TestSSH(t *testing.T) {
	h := startSSHD(t)
	me, err := user.Current()
	if err != nil {
		t.Skip(err)
	}
	private := within(t, "/dev/shm")
	w, _ := newWorld(t, func(c *program.Config) { c.Private = private })
	w.Secrets["deploy"], w.Secrets["other"] = h.key, h.other
	spec := func() *work.SSH {
		return &work.SSH{Host: "127.0.0.1", Port: h.port, User: me.Username, Run: []string{"printf", "%s|", "a b", "$HOME", "it's", ";id"}, Key: work.SecretRef{Secret: "deploy"},
			KnownHosts: h.known, ConnectTimeout: work.Duration(2 * time.Minute)}
	}
	res, log := w.Run("ssh", spec())
	if res.State != jobs.OK || log.Of("stdout") != "a b|$HOME|it's|;id|" {
		t.Fatalf("%+v\n%s", res, log)
	}
	if strings.Contains(log.String(), "PRIVATE KEY") {
		t.Error("the log holds the key")
	}
	// From a file, as an operator has it.
	if err := os.WriteFile(filepath.Join(w.Root, "state", "known"), []byte(h.known+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := spec()
	s.KnownHosts, s.Run = filepath.Join(w.Root, "state", "known"), []string{"sh", "-c", "echo err >&2; exit 3"}
	if res, log = w.Run("ssh", s); res.State != jobs.Failed || res.Exit != 3 || res.Fault != jobs.FaultExit || log.Of("stderr") != "err\n" {
		t.Errorf("a program that fails there: %+v\n%s", res, log)
	}
	wrong := h.known[:len(h.known)-6] + "AAAAAA"
	for name, change := range map[string]func(s *work.SSH){
		"another host key":    func(s *work.SSH) { s.KnownHosts = wrong },
		"an unknown host":     func(s *work.SSH) { s.KnownHosts = strings.Replace(h.known, "127.0.0.1", "192.0.2.1", 1) },
		"a key it won't take": func(s *work.SSH) { s.Key.Secret = "other" },
		"nobody there":        func(s *work.SSH) { s.Port = 1 },
	} {
		s := spec()
		change(s)
		res, log := w.Run("ssh", s)
		if res.State != jobs.Failed || res.Exit != 255 || res.Fault != jobs.FaultInfra || log.Of("stdout") != "" {
			t.Errorf("%s: %+v\n%s", name, res, log)
		}
	}
	s = spec()
	s.Run, s.Limits.Time = []string{"sleep", "60"}, work.Duration(time.Second)
	if res, log := w.Run("ssh", s); res.State != jobs.TimedOut {
		t.Errorf("one that takes too long: %+v\n%s", res, log)
	}
	for name, change := range map[string]func(s *work.SSH){
		"no such secret": func(s *work.SSH) { s.Key.Secret = "none" },
		"no such file":   func(s *work.SSH) { s.KnownHosts = "no-such-file" },
	} {
		s := spec()
		change(s)
		if res, _ := w.Run("ssh", s); res.State != jobs.StartupFailure {
			t.Errorf("%s: %+v", name, res)
		}
	}
	if res, _ := w.Run("ssh", spec(), func(j *jobs.Job) { j.Class = jobs.Trusted }); res.State != jobs.StartupFailure || !res.Final {
		t.Errorf("somebody who is not the operator: %+v", res)
	}
	if left, _ := filepath.Glob(private + "/*"); len(left) > 0 {
		t.Errorf("keys are left: %v", left)
	}
}

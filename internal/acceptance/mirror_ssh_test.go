package acceptance_test

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

	"github.com/gitroost/gitroost/internal/housetest"
)

// sshd starts one that takes one key, and returns its port, its line of known_hosts and that key's file.
func sshd(t *testing.T) (port int, known, key string) {
	t.Helper()
	const program = "/usr/sbin/sshd"
	if _, err := os.Stat(program); err != nil {
		t.Skip("there is no sshd; install openssh-server")
	}
	if os.Getuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // a service would have made it
			t.Skip(err)
		}
	}
	dir := t.TempDir()
	for _, name := range []string{"host", "user"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", filepath.Join(dir, name)).CombinedOutput(); err != nil {
			t.Skipf("ssh-keygen: %v: %s", err, out)
		}
	}
	host, err := os.ReadFile(filepath.Join(dir, "host.pub"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	conf := fmt.Sprintf("ListenAddress 127.0.0.1:%d\nHostKey %s/host\nAuthorizedKeysFile %[2]s/user.pub\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nPidFile none\n", port, dir)
	if err := os.WriteFile(filepath.Join(dir, "config"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(program, "-D", "-e", "-f", filepath.Join(dir, "config"))
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	up := make(chan bool, 2)
	go func() {
		for s := bufio.NewScanner(stderr); s.Scan(); {
			if strings.Contains(s.Text(), "listening") {
				up <- true
				break
			}
		}
		up <- false
	}()
	select {
	case ok := <-up:
		if !ok {
			t.Skip("sshd does not start here")
		}
	case <-time.After(housetest.Wait):
		t.Skip("sshd does not start here")
	}
	// Not everybody can log in: who has no shell, or a locked account, is not let in by any sshd.
	login := exec.Command("ssh", "-F", "none", "-T", "-i", filepath.Join(dir, "user"), "-p", fmt.Sprint(port), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile=/dev/null", "-o", "GlobalKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "127.0.0.1", "true")
	if out, err := login.CombinedOutput(); err != nil {
		t.Skipf("sshd does not let this user in: %v: %s", err, out)
	}
	f := strings.Fields(string(host))
	return port, fmt.Sprintf("[127.0.0.1]:%d %s %s", port, f[0], f[1]), filepath.Join(dir, "user")
}

// A mirror over ssh, with a key that is the job's alone; a host whose key is another is not believed.
// mirror_push (§3.8), S3-38
func TestMirrorPushBySSH(t *testing.T) {
	port, known, key := sshd(t)
	me, err := user.Current()
	if err != nil {
		t.Skip(err)
	}
	there := filepath.Join(t.TempDir(), "there.git")
	if _, err := housetest.Git(t, t.TempDir(), "init", "-q", "--bare", there); err != nil {
		t.Fatal(err)
	}
	hosts := filepath.Join(t.TempDir(), "known_hosts")
	wrong := strings.Fields(known)
	wrong[2] = "AAAAC3NzaC1lZDI1NTE5AAAAIFp1lpvM4Vt9b0z3nYJ0F2v0h3y7v1mBq4l7xg1d3m2A"
	if err := os.WriteFile(hosts, []byte(strings.Join(wrong, " ")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	phone := listen(t)
	h := jobsFrom(t, `
jobs_engine: {reach: [127.0.0.0/8]}
secrets:
  key: {file: $KEY, repos: ['*/*']}
targets:
  phone: {ntfy: $PHONE/t}
jobs:
  - name: copy
    repos: ['*/*']
    on: {push: {}}
    mirror_push: {url: $URL, key: {secret: key}, known_hosts: $HOSTS}
    retry: {max: 0}
    notify: {to: [phone]}
`, map[string]string{"KEY": key, "PHONE": phone.url, "HOSTS": hosts, "URL": fmt.Sprintf("ssh://%s@127.0.0.1:%d%s", me.Username, port, there)})
	alice, c := housetest.NewKey(t), h.Dial()
	now := h.Clock.Now().Unix()
	w := h.Served(c, alice, "demo", now)
	if d := phone.next(); !strings.Contains(d.body, "Failed") {
		t.Fatalf("a host with another key was believed: %s", d.body)
	}
	if err := os.WriteFile(hosts, []byte(known+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	two := strings.TrimSpace(w.Commit())
	c.Must(alice.State("demo", now+1, "main="+two))
	w.Git("push", "-q", h.Repo(alice, "demo"), "main")
	if d := phone.next(); !strings.Contains(d.body, "Success") {
		t.Fatalf("%s\n%s", d.body, allJobs(t, h))
	}
	if out, err := housetest.Git(t, there, "rev-parse", "refs/heads/main"); err != nil || strings.TrimSpace(out) != two {
		t.Errorf("there is %s, %v", out, err)
	}
}

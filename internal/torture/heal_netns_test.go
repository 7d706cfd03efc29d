package torture_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// insideHub names the network namespace in which a test runs again, with those of the servers behind it.
const insideHub = "GITROOST_TEST_HUB"

// hubs are the namespaces that tests of this package make: the process that cleans up is part of the name.
var hubs = regexp.MustCompile(`(?m)^gitroost-heal-(\d+)(?:-\d+)?\b`)

// ip runs the ip program. It is quick, or something is very wrong.
func ip(args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// needNamespaces skips where network namespaces cannot be made.
func needNamespaces(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, for network namespaces")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs the ip program (package iproute2), for network namespaces")
	}
	// What a test left behind that was killed.
	out, _ := exec.Command("ip", "netns", "list").Output()
	for _, m := range hubs.FindAllStringSubmatch(string(out), -1) {
		if pid, err := strconv.Atoi(m[1]); err == nil && syscall.Kill(pid, 0) == syscall.ESRCH {
			removeNamespace(m[0])
		}
	}
}

// removeNamespace ends what runs in a namespace, and removes it.
func removeNamespace(name string) {
	out, _ := exec.Command("ip", "netns", "pids", name).Output()
	for pid := range strings.FieldsSeq(string(out)) {
		if n, err := strconv.Atoi(pid); err == nil && n > 1 {
			syscall.Kill(n, syscall.SIGKILL)
		}
	}
	ip("netns", "del", name)
}

// namespaces makes a namespace for the test and one for each of n servers: a bridge joins them, and nothing
// leads out. They are removed with the test.
func namespaces(t *testing.T, n int) (hub string) {
	t.Helper()
	needNamespaces(t)
	hub = fmt.Sprintf("gitroost-heal-%d", os.Getpid())
	if err := ip("netns", "add", hub); err != nil {
		t.Skip("cannot make a network namespace here: ", err)
	}
	t.Cleanup(func() { removeNamespace(hub) })
	must := func(args ...string) {
		if err := ip(args...); err != nil {
			t.Fatal(err)
		}
	}
	must("-n", hub, "link", "set", "lo", "up")
	if err := ip("-n", hub, "link", "add", "br0", "type", "bridge"); err != nil {
		t.Skip("cannot make a bridge here: ", err)
	}
	must("-n", hub, "link", "set", "br0", "up")
	must("-n", hub, "addr", "add", "10.77.0.254/24", "dev", "br0")
	for i := range n {
		name := fmt.Sprintf("%s-%d", hub, i)
		must("netns", "add", name)
		t.Cleanup(func() { removeNamespace(name) })
		port := fmt.Sprint("v", i)
		must("-n", hub, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
		must("-n", hub, "link", "set", port, "master", "br0", "up")
		must("-n", name, "link", "set", "lo", "up")
		must("-n", name, "addr", "add", addrOf(i)+"/24", "dev", "eth0")
		must("-n", name, "link", "set", "eth0", "up")
	}
	return hub
}

func addrOf(i int) string { return fmt.Sprintf("10.77.0.%d", i+1) }

// again runs the test once more inside a namespace, and shows what it says. It may take limit.
func again(t *testing.T, hub string, limit time.Duration, flags ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	args := append([]string{"netns", "exec", hub, os.Args[0], "-test.run=^" + t.Name() + "$", "-test.v"}, flags...)
	cmd := exec.CommandContext(ctx, "ip", args...)
	cmd.Env = append(os.Environ(), insideHub+"="+hub)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	t.Logf("inside:\n%s", out)
	if err != nil {
		t.Error(err)
	} else if strings.Contains(string(out), "--- SKIP") {
		t.Error("inside it was skipped")
	}
}

// links are wires between namespaces: packets from one server to another vanish, or are refused at once.
type links struct {
	c     *cluster
	hub   string
	quiet map[[2]int]bool
}

func (l *links) cut(i, j int, silent bool) {
	l.quiet[[2]int{i, j}] = silent
	l.do(i, j, silent, true)
}

func (l *links) mend(i, j int) { l.do(i, j, l.quiet[[2]int{i, j}], false) }

func (l *links) do(i, j int, silent, cut bool) {
	ns, to := fmt.Sprintf("%s-%d", l.hub, i), addrOf(j)
	var err error
	switch {
	case silent && cut: // to a network card that does not exist
		err = ip("-n", ns, "neigh", "replace", to, "lladdr", "02:00:00:de:ad:01", "dev", "eth0", "nud", "permanent")
	case silent:
		err = ip("-n", ns, "neigh", "del", to, "dev", "eth0")
	case cut:
		err = ip("-n", ns, "route", "add", "unreachable", to+"/32")
	default:
		err = ip("-n", ns, "route", "del", "unreachable", to+"/32")
	}
	if err != nil {
		l.c.fault("%v", err)
	}
}

// TestHealNamespaces is TestHeal where each server is alone in a network namespace: packets are lost, and it
// is the kernel that notices or does not. It runs with -heal, as root, where iproute2 is.
func TestHealNamespaces(t *testing.T) {
	hub := os.Getenv(insideHub)
	if hub == "" {
		if *healFor == 0 {
			t.Skip("takes a while: run it with -heal 1m")
		}
		needNamespaces(t)
		build(t)
		s := *seed
		if s == 0 {
			s = time.Now().UnixNano() & (1<<40 - 1)
		}
		t.Logf("seed %d", s)
		again(t, namespaces(t, healing), *healFor+2**healWait+5*time.Minute,
			fmt.Sprint("-heal=", *healFor), fmt.Sprint("-healwait=", *healWait), fmt.Sprint("-seed=", s), "-test.timeout=0")
		return
	}
	r := newRun(t)
	c := &cluster{run: r}
	for i := range healing {
		n := r.newNode(i, addrOf(i)+":7334", "", "10.77.0.0/24")
		n.wrap = []string{"ip", "netns", "exec", fmt.Sprintf("%s-%d", hub, i)}
		c.nodes = append(c.nodes, n)
	}
	c.wires = &links{c: c, hub: hub, quiet: map[[2]int]bool{}}
	c.trial(*healFor)
}

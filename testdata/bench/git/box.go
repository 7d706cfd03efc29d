package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A box holds the processes of one server, so that what they use can be told from what others use.
// It is a control group where one can be made; elsewhere the descendants of the server are looked
// up, and the processor time of children that nobody waited for is missed.
type box struct {
	dir   string // the control group, or ""
	usage string // its file with the processor time
	cmds  []*exec.Cmd
	gone  []chan struct{} // each closed when its command was reaped
}

// newBox makes an empty box. name tells its control group from others.
func newBox(name string) *box {
	b := &box{}
	for _, g := range [...]struct{ root, usage string }{
		{"/sys/fs/cgroup/cpuacct", "cpuacct.usage"}, // version 1
		{"/sys/fs/cgroup", "cpu.stat"},              // version 2
	} {
		dir := filepath.Join(g.root, fmt.Sprintf("gitroost-bench-%d-%s", os.Getpid(), name))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, g.usage)); err != nil {
			os.Remove(dir)
			continue
		}
		b.dir, b.usage = dir, filepath.Join(dir, g.usage)
		break
	}
	return b
}

// start starts cmd in the box, in a process group of its own.
func (b *box) start(cmd *exec.Cmd) error {
	if b.dir != "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		cmd.Args = append([]string{self, "enter", b.dir, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = self
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	gone := make(chan struct{})
	b.cmds, b.gone = append(b.cmds, cmd), append(b.gone, gone)
	go func() {
		cmd.Wait()
		close(gone)
	}()
	return nil
}

// enter is the other half of start: it moves this process into a box and becomes the program.
func enter(args []string) error {
	if err := os.WriteFile(filepath.Join(args[0], "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
		return err
	}
	return syscall.Exec(args[1], args[1:], os.Environ())
}

// cpu returns the processor time that the box has used so far.
func (b *box) cpu() time.Duration {
	if b.dir == "" {
		var sum time.Duration
		for _, pid := range b.pids() {
			sum += procCPU(pid)
		}
		return sum
	}
	text, _ := os.ReadFile(b.usage)
	if ns, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64); err == nil {
		return time.Duration(ns)
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, "usage_usec "); ok {
			us, _ := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			return time.Duration(us) * time.Microsecond
		}
	}
	return 0
}

// procCPU returns the time of a process and of its children that ended, in ticks of 10 ms.
func procCPU(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var ticks int64
	for _, i := range []int{11, 12, 13, 14} { // utime, stime, cutime, cstime
		n, _ := strconv.ParseInt(f[i], 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// pids returns the processes in the box.
func (b *box) pids() []int {
	if b.dir != "" {
		var out []int
		text, _ := os.ReadFile(filepath.Join(b.dir, "cgroup.procs"))
		for line := range strings.Lines(string(text)) {
			if n, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
				out = append(out, n)
			}
		}
		return out
	}
	parent := map[int]int{}
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range all {
		text, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		rest := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		parent[pid], _ = strconv.Atoi(rest[1])
	}
	var out []int
	for _, c := range b.cmds {
		if c.ProcessState == nil {
			out = append(out, c.Process.Pid)
		}
	}
	for i := 0; i < len(out); i++ {
		for pid, up := range parent {
			if up == out[i] {
				out = append(out, pid)
			}
		}
	}
	return out
}

// gits counts the processes in the box that are git.
func (b *box) gits() int {
	n := 0
	for _, pid := range b.pids() {
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if strings.HasPrefix(string(name), "git\n") || strings.HasPrefix(string(name), "git-") {
			n++
		}
	}
	return n
}

// private returns the memory that the processes in the box have made for themselves, in MiB. What is
// mapped from files, programs and packs, is not counted: the system takes it back when it needs room.
func (b *box) private() float64 {
	sum := 0
	for _, pid := range b.pids() {
		f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			continue
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if w := strings.Fields(lines.Text()); len(w) > 1 && w[0] == "Anonymous:" {
				n, _ := strconv.Atoi(w[1])
				sum += n
			}
		}
		f.Close()
	}
	return float64(sum) / 1024
}

// peak returns the most private memory that is seen while do runs, in MiB, looking again and again.
func (b *box) peak(do func() error) (float64, error) {
	end, most := make(chan struct{}), make(chan float64)
	go func() {
		m := b.private()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-end:
				most <- m
				return
			case <-tick.C:
				m = max(m, b.private())
			}
		}
	}()
	err := do()
	close(end)
	return <-most, err
}

// quiet waits until the box uses less than a tenth of a processor, at most limit.
func (b *box) quiet(limit time.Duration) {
	for end := time.Now().Add(limit); time.Now().Before(end); {
		before := b.cpu()
		time.Sleep(200 * time.Millisecond)
		if b.cpu()-before < 20*time.Millisecond {
			return
		}
	}
}

// stop asks the servers to end, and ends what is left of the box.
func (b *box) stop() error {
	var err error
	for i, c := range b.cmds {
		c.Process.Signal(syscall.SIGTERM)
		select {
		case <-b.gone[i]:
		case <-time.After(15 * time.Second):
			err = errors.New("it did not end in 15 s")
		}
	}
	for range 250 {
		left := b.pids()
		if len(left) == 0 {
			break
		}
		for _, pid := range left {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(20 * time.Millisecond)
	}
	b.cmds, b.gone = nil, nil
	return err
}

// close stops the server and removes the box.
func (b *box) close() {
	b.stop()
	if b.dir != "" {
		os.Remove(b.dir)
	}
}

package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A house is one of the two servers, running.
type house struct {
	name string
	addr string
	data string
	cmd  *exec.Cmd
	log  bytes.Buffer
	done chan struct{}
}

// start runs program on a free port of this computer and waits until it answers.
func start(name, data, program string, args func(addr string) []string) (*house, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	h := &house{name: name, addr: l.Addr().String(), data: data, done: make(chan struct{})}
	l.Close()
	h.cmd = exec.Command(program, args(h.addr)...)
	h.cmd.Stdout, h.cmd.Stderr = &h.log, &h.log
	h.cmd.Env = append(os.Environ(), "GOTRACEBACK=all")
	if err := h.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		h.cmd.Wait()
		close(h.done)
	}()
	for end := time.Now().Add(patience); ; {
		ws, err := dial(h.addr)
		if err == nil {
			ws.close()
			return h, nil
		}
		select {
		case <-h.done:
			return nil, fmt.Errorf("%s ended: %s", name, h.log.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(end) {
			h.stop()
			return nil, fmt.Errorf("%s does not answer: %w\n%s", name, err, h.log.String())
		}
	}
}

// stop ends the process that start began, and no other.
func (h *house) stop() {
	h.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-h.done:
	case <-time.After(20 * time.Second):
		h.cmd.Process.Kill()
		<-h.done
	}
}

// cpu is the processor time that the server has used so far, user and system.
func (h *house) cpu() time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", h.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100 everywhere
}

// memory returns what is resident now and the most that ever was, in KiB.
func (h *house) memory() (now, most int) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.cmd.Process.Pid))
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
		switch name {
		case "VmRSS":
			now = n
		case "VmHWM":
			most = n
		}
	}
	return now, most
}

// disk is what the server keeps there, in KiB.
func (h *house) disk() int {
	var n int64
	filepath.Walk(h.data, func(_ string, info os.FileInfo, err error) error {
		if err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				n += st.Blocks * 512
			}
		}
		return nil
	})
	return int(n >> 10)
}

// rest waits until the server has had nothing to do for a while, or for some seconds: both put off
// work, and neither shall do it on the other's time.
func (h *house) rest() {
	last, quiet := h.cpu(), 0
	for range 60 {
		time.Sleep(150 * time.Millisecond)
		now := h.cpu()
		if quiet++; now-last > 10*time.Millisecond {
			quiet = 0
		}
		if quiet == 4 {
			return
		}
		last = now
	}
}

// push gives every repository of gitroost the commit that its state names.
func (w *world) push(addr string) error {
	for i := range owners {
		url := "http://" + addr + "/" + w.people[i].npub + "/" + repoName(i) + ".git"
		if out, err := w.git("push", "-q", url, "main"); err != nil {
			return fmt.Errorf("git push %s: %w: %s", repoName(i), err, out)
		}
	}
	return nil
}

func (w *world) git(args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	cmd.Dir = filepath.Join(w.dir, "copy")
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir, "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=alice", "GIT_AUTHOR_EMAIL=alice@example.com", "GIT_AUTHOR_DATE=2026-01-01T00:00:00Z",
		"GIT_COMMITTER_NAME=alice", "GIT_COMMITTER_EMAIL=alice@example.com", "GIT_COMMITTER_DATE=2026-01-01T00:00:00Z",
	}
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// commit makes the working copy with the one commit that all repositories hold.
func (w *world) commit() (oid string, err error) {
	if err := os.Mkdir(filepath.Join(w.dir, "copy"), 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(w.dir, "copy", "README"), []byte("measured\n"), 0o644); err != nil {
		return "", err
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"commit", "-q", "-m", "begin"}, {"rev-parse", "HEAD"}} {
		if oid, err = w.git(args...); err != nil {
			return "", fmt.Errorf("git %s: %w: %s", args[0], err, oid)
		}
	}
	return oid, nil
}

package run

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Groups is a folder of control groups (cgroup v2) in which each Contained gets one of its own.
type Groups struct {
	root string
	has  map[string]bool // controllers that are handed on to groups made below root
}

// ServerGroup is the name of a group in which a service manager puts this process alone (DelegateSubgroup=
// in systemd): the one above is handed to us then, and, having no processes of its own, can bound others.
const ServerGroup = "server"

// OpenGroups returns where groups can be made: in path, or, if that is "", below the group that this
// process is in, or beside it if it is called ServerGroup. It fails where cgroup v2 is not mounted, cannot be written, or cannot end a group
// (Linux before 5.14). The groups that a dead process left there, and what runs in them, are left to
// EndGroup.
func OpenGroups(path string) (*Groups, error) {
	if path == "" {
		mount, err := unified()
		if err != nil {
			return nil, err
		}
		own, err := ownGroup()
		if err != nil {
			return nil, err
		}
		path = filepath.Join(mount, own)
		if filepath.Base(path) == ServerGroup {
			path = filepath.Dir(path)
		}
		if _, err := os.Stat(path); err != nil {
			path = mount // another namespace's name for it
		}
	}
	root := filepath.Join(path, "gitroost-jobs")
	if err := os.Mkdir(root, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("run: control groups: %w", err)
	}
	if _, err := os.Stat(filepath.Join(root, "cgroup.kill")); err != nil {
		os.Remove(root)
		return nil, fmt.Errorf("run: control groups: this kernel cannot end a group: %w", err)
	}
	// Another user's server may have made the folder: that it is there does not say that it is ours.
	probe, err := os.MkdirTemp(root, "probe-")
	if err != nil {
		return nil, fmt.Errorf("run: control groups: %w", err)
	}
	os.Remove(probe)
	g := &Groups{root: root, has: map[string]bool{}}
	for _, c := range []string{"cpu", "memory", "pids"} {
		// What is refused is not there: the group has processes of its own, or was not handed to us.
		os.WriteFile(filepath.Join(path, "cgroup.subtree_control"), []byte("+"+c), 0)
		g.has[c] = os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+"+c), 0) == nil
	}
	return g, nil
}

// Has reports whether groups can bound "cpu", "memory" or "pids".
func (g *Groups) Has(controller string) bool { return g != nil && g.has[controller] }

// Path returns the folder of the group called name.
func (g *Groups) Path(name string) string { return filepath.Join(g.root, filepath.Base(name)) }

// unified returns where cgroup v2 is mounted.
func unified() (string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		before, after, ok := strings.Cut(s.Text(), " - ")
		if fields := strings.Fields(before); ok && strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 {
			return fields[4], nil
		}
	}
	return "", errors.New("run: control groups: cgroup v2 is not mounted")
}

func ownGroup() (string, error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return path, nil
		}
	}
	return "", errors.New("run: control groups: this process is in none")
}

// GroupLimits bound all that is in a Group together. A zero field does not bound.
type GroupLimits struct {
	CPU    int   // percent of one processor
	Memory int64 // bytes; there is no swap beside it
	Tasks  int
}

// A Group holds all processes that come of one.
type Group struct {
	path string
	dir  *os.File
}

// Make makes the group called name. It ends with Close.
func (g *Groups) Make(name string, l GroupLimits) (*Group, error) {
	path := g.Path(name)
	if err := EndGroup(path); err != nil {
		return nil, err
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		return nil, fmt.Errorf("run: control group: %w", err)
	}
	set := func(on bool, file, value string) error {
		if !on {
			return nil
		}
		return os.WriteFile(filepath.Join(path, file), []byte(value), 0)
	}
	err := errors.Join(
		set(l.CPU > 0 && g.has["cpu"], "cpu.max", fmt.Sprintf("%d 100000", l.CPU*1000)),
		set(l.Memory > 0 && g.has["memory"], "memory.max", strconv.FormatInt(l.Memory, 10)),
		set(l.Tasks > 0 && g.has["pids"], "pids.max", strconv.Itoa(l.Tasks)))
	if l.Memory > 0 && g.has["memory"] {
		set(true, "memory.swap.max", "0") // a kernel without swap has no such file
		set(true, "memory.oom.group", "1")
	}
	dir, oerr := os.Open(path)
	if err = errors.Join(err, oerr); err != nil {
		if dir != nil {
			dir.Close()
		}
		os.Remove(path)
		return nil, fmt.Errorf("run: control group: %w", err)
	}
	return &Group{path: path, dir: dir}, nil
}

// Path returns where the group is, for EndGroup.
func (g *Group) Path() string { return g.path }

// Kill ends everything in the group, also what is being started.
func (g *Group) Kill() { os.WriteFile(filepath.Join(g.path, "cgroup.kill"), []byte("1"), 0) }

// Close ends everything in the group and removes it.
func (g *Group) Close() error {
	g.dir.Close()
	return EndGroup(g.path)
}

// EndGroup ends everything in the group at path and removes it. That there is none is no error.
func EndGroup(path string) error {
	over := time.NewTimer(sweepFor)
	defer over.Stop()
	for {
		err := os.Remove(path)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		below, _ := filepath.Glob(filepath.Join(path, "*", "cgroup.procs"))
		os.WriteFile(filepath.Join(path, "cgroup.kill"), []byte("1"), 0)
		for _, b := range below {
			os.Remove(filepath.Dir(b))
		}
		select {
		case <-over.C:
			return fmt.Errorf("run: control group: %w", err)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (g *Group) members() []proc {
	b, err := os.ReadFile(filepath.Join(g.path, "cgroup.procs"))
	if err != nil {
		return nil
	}
	var out []proc
	for line := range strings.SplitSeq(string(b), "\n") {
		if pid, err := strconv.Atoi(line); err == nil && pid > 1 {
			if p, ok := readProc(pid); ok && !p.zombie {
				out = append(out, p)
			}
		}
	}
	return out
}

// count returns how many processes there are in the group.
func (g *Group) count() int {
	b, _ := os.ReadFile(filepath.Join(g.path, "cgroup.procs"))
	return strings.Count(string(b), "\n")
}

// account puts what the kernel counted for the whole group into o.
func (g *Group) account(o *Outcome) {
	if b, err := os.ReadFile(filepath.Join(g.path, "cpu.stat")); err == nil {
		if s, ok := strings.CutPrefix(string(b), "usage_usec "); ok {
			s, _, _ = strings.Cut(s, "\n")
			if n, err := strconv.ParseInt(s, 10, 64); err == nil {
				o.CPU = max(o.CPU, time.Duration(n)*time.Microsecond)
			}
		}
	}
	if b, err := os.ReadFile(filepath.Join(g.path, "memory.peak")); err == nil {
		if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil {
			o.MaxRSS = n
		}
	}
}

package run

import (
	"os"
	"strconv"
	"strings"
	"sync"
)

// A proc is what /proc tells of one process.
type proc struct {
	pid, parent, group, session int
	threads                     int
	rss                         int64 // bytes
	start                       uint64
	zombie                      bool
}

var pageSize = int64(os.Getpagesize())

// BootID returns what names this run of the machine, or "".
var BootID = sync.OnceValue(func() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
})

// readProc returns what is known of pid.
func readProc(pid int) (proc, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return proc{}, false
	}
	// The name is in brackets and may hold brackets and spaces.
	i := strings.LastIndexByte(string(b), ')')
	if i < 0 {
		return proc{}, false
	}
	f := strings.Fields(string(b[i+1:]))
	if len(f) < 22 {
		return proc{}, false
	}
	n := func(i int) int { v, _ := strconv.Atoi(f[i]); return v }
	start, _ := strconv.ParseUint(f[19], 10, 64)
	return proc{pid: pid, zombie: f[0] == "Z" || f[0] == "X", parent: n(1), group: n(2), session: n(3), threads: n(17), start: start, rss: int64(n(21)) * pageSize}, true
}

func startOf(pid int) uint64 {
	p, ok := readProc(pid)
	if !ok || p.zombie {
		return 0
	}
	return p.start
}

// processes returns all processes that can be seen.
func processes() []proc {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	out := make([]proc, 0, len(names))
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, ok := readProc(pid); ok {
			out = append(out, p)
		}
	}
	return out
}

// descendants returns leader, what came of it, and what is in its process group.
func descendants(leader int) []proc {
	all := processes()
	below := map[int][]proc{}
	for _, p := range all {
		below[p.parent] = append(below[p.parent], p)
	}
	seen := map[int]bool{}
	var out []proc
	var add func(p proc)
	add = func(p proc) {
		if seen[p.pid] {
			return
		}
		seen[p.pid] = true
		if !p.zombie {
			out = append(out, p)
		}
		for _, c := range below[p.pid] {
			add(c)
		}
	}
	for _, p := range all {
		if p.pid == leader || p.group == leader || p.session == leader {
			add(p)
		}
	}
	return out
}

package run

import (
	"math"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// setLimits bounds the running process pid. It is best effort: a child that has ended already
// needs none.
func setLimits(pid int, l Limits) {
	set := func(what int, n uint64) { unix.Prlimit(pid, what, &unix.Rlimit{Cur: n, Max: n}, nil) }
	set(unix.RLIMIT_CORE, 0)
	if l.Memory > 0 {
		set(unix.RLIMIT_AS, l.Memory)
	}
	if l.FileSize > 0 {
		set(unix.RLIMIT_FSIZE, l.FileSize)
	}
	if l.CPU > 0 {
		raiseCPU(pid, l, 0)
	}
	if l.Idle {
		unix.Setpriority(unix.PRIO_PROCESS, pid, 19)
		const idleClass, ofProcess = 3 << 13, 1
		unix.Syscall(unix.SYS_IOPRIO_SET, ofProcess, uintptr(pid), idleClass)
	}
}

// raiseCPU sets the processor time that pid may use after its input delivered sent bytes. Only the
// soft limit: it is raised again and again.
func raiseCPU(pid int, l Limits, sent int64) {
	if l.CPU <= 0 {
		return
	}
	budget := l.CPU + time.Duration(sent>>20)*l.CPUPerMiB
	n := uint64((budget + time.Second - 1) / time.Second)
	unix.Prlimit(pid, unix.RLIMIT_CPU, &unix.Rlimit{Cur: n, Max: unix.RLIM_INFINITY}, nil)
}

// widen makes a pipe hold n bytes, if the system lets it, and reports whether it does.
func widen(f *os.File, n int) (wide bool) {
	if c, err := f.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) {
			size, err := unix.FcntlInt(fd, unix.F_SETPIPE_SZ, n)
			wide = err == nil && size >= n
		})
	}
	return wide
}

// inPipe returns how many bytes lie in a pipe; 0 if that cannot be found out.
func inPipe(f *os.File) (n int) {
	if c, err := f.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	}
	return n
}

// waitExit returns when the child has exited, and leaves it unreaped: its number, which is its
// group's too, is not given to anybody else meanwhile.
func (p *process) waitExit() {
	for {
		err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return
		}
	}
}

// closeInherited keeps descriptors that this process was started with from reaching children.
// Those it opens itself are close-on-exec from birth.
func closeInherited() {
	if unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	entries, _ := os.ReadDir("/proc/self/fd") // kernels before 5.11
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}

package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	watchEvery = 100 * time.Millisecond
	countEvery = 10 * time.Millisecond // tasks, where counting is cheap: they come fast
	pipesAfter = 5 * time.Second       // how long output is waited for that nobody of ours can write any more
	sweepFor   = 5 * time.Second       // how long what is left is looked for
)

// Contain runs c to its end, and ends what is left of it. An exit code, or a signal, is an Outcome
// and no error; the error is the cause of ctx if that ended it, that of Watch or Begin, or why it could
// not be started.
func (r *Runner) Contain(ctx context.Context, c Contained) (Outcome, error) {
	if err := ctx.Err(); err != nil {
		return Outcome{}, context.Cause(ctx)
	}
	if err := c.check(); err != nil {
		return Outcome{}, fmt.Errorf("run: %s: %w", c.Kind, err)
	}
	base := Command{Kind: c.Kind, Path: c.Path, Args: c.Args, Env: c.Env, Dir: c.Dir}
	cmd, err := base.build()
	if err != nil {
		return Outcome{}, fmt.Errorf("run: %s: %w", c.Kind, err)
	}
	if c.Grace <= 0 {
		c.Grace = r.kill
	}
	in := &inside{c: c, cmd: cmd}
	out, err := in.run(ctx, r)
	if err != nil && in.pid == 0 {
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOMEM) {
			err = errors.Join(ErrBusy, err)
		}
		err = fmt.Errorf("run: %s: %w", c.Kind, err)
	}
	return out, err
}

// inside is a Contained that runs.
type inside struct {
	c   Contained
	cmd *exec.Cmd
	pid int
}

func (in *inside) run(ctx context.Context, r *Runner) (Outcome, error) {
	c, cmd := &in.c, in.cmd
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if c.User != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: c.User.UID, Gid: c.User.GID, Groups: c.User.Groups}
	}
	if c.Group != nil {
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(c.Group.dir.Fd())
	}
	cmd.ExtraFiles = c.Files

	var ours, theirs []*os.File
	closeAll := func(list []*os.File) {
		for _, f := range list {
			f.Close()
		}
	}
	defer func() { closeAll(ours) }()
	pipe := func() (r, w *os.File, err error) {
		r, w, err = os.Pipe()
		return r, w, err
	}
	var stdin *os.File
	if c.Stdin != nil {
		pr, pw, err := pipe()
		if err != nil {
			return Outcome{}, err
		}
		cmd.Stdin, stdin = pr, pw
		ours, theirs = append(ours, pw), append(theirs, pr)
	}
	outR, outW, err := pipe()
	if err != nil {
		closeAll(theirs)
		return Outcome{}, err
	}
	ours, theirs = append(ours, outR), append(theirs, outW)
	errR, errW, err := pipe()
	if err != nil {
		closeAll(theirs)
		return Outcome{}, err
	}
	ours, theirs = append(ours, errR), append(theirs, errW)
	cmd.Stdout, cmd.Stderr = outW, errW

	started, exited := make(chan error, 1), make(chan struct{})
	go in.hold(started, exited)
	err = <-started
	closeAll(theirs)
	if err != nil {
		return Outcome{}, err
	}
	r.count(c.Kind, true)
	defer r.count(c.Kind, false)

	if stdin != nil {
		go func() {
			io.Copy(stdin, c.Stdin)
			stdin.Close()
		}()
	}
	copied := make(chan struct{}, 2)
	pour := func(from *os.File, to io.Writer) {
		if to != nil {
			io.Copy(to, from)
		}
		io.Copy(io.Discard, from)
		copied <- struct{}{}
	}
	go pour(outR, c.Stdout)
	go pour(errR, c.Stderr)

	why := in.attend(ctx, exited)
	if stdin != nil {
		stdin.Close()
	}
	// The leader is dead and not reaped: its number is still the group's.
	syscall.Kill(-in.pid, syscall.SIGKILL)
	in.sweep()
	cmd = in.cmd
	waitErr := cmd.Wait()

	timer := time.NewTimer(pipesAfter)
	defer timer.Stop()
	for n := 0; n < 2; n++ {
		select {
		case <-copied:
		case <-timer.C:
			past := time.Unix(1, 0)
			outR.SetReadDeadline(past)
			errR.SetReadDeadline(past)
			<-copied
		}
	}

	var res Outcome
	ps := cmd.ProcessState
	if ps == nil {
		return res, fmt.Errorf("run: %s: %w", c.Kind, waitErr)
	}
	res.Code, res.CPU = ps.ExitCode(), ps.UserTime()+ps.SystemTime()
	if ws, ok := ps.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		res.Signal = ws.Signal()
	}
	if ru, ok := ps.SysUsage().(*syscall.Rusage); ok {
		res.MaxRSS = ru.Maxrss << 10
	}
	if c.Group != nil {
		c.Group.account(&res)
	}
	return res, why
}

// hold starts the program from a thread that can never gain privileges, and stays with it: the kernel
// ends the program when that thread ends, which is when this process does. Until its limits are set it
// is stopped before its first instruction.
func (in *inside) hold(started chan<- error, exited chan<- struct{}) {
	runtime.LockOSThread() // and never unlocked: the thread goes with this goroutine
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		started <- fmt.Errorf("no_new_privs: %w", err)
		return
	}
	in.cmd.SysProcAttr.Ptrace = true
	err := in.cmd.Start()
	traced := err == nil
	if errors.Is(err, syscall.EPERM) && in.c.User == nil { // where tracing is forbidden, limits come a moment late
		again := *in.cmd.SysProcAttr
		again.Ptrace = false
		in.cmd = &exec.Cmd{Path: in.cmd.Path, Args: in.cmd.Args, Env: in.cmd.Env, Dir: in.cmd.Dir, SysProcAttr: &again,
			Stdin: in.cmd.Stdin, Stdout: in.cmd.Stdout, Stderr: in.cmd.Stderr, ExtraFiles: in.cmd.ExtraFiles}
		err = in.cmd.Start()
	}
	if err != nil {
		started <- err
		return
	}
	pid := in.cmd.Process.Pid
	if traced {
		var ws unix.WaitStatus
		for {
			if _, err = unix.Wait4(pid, &ws, unix.WALL, nil); err != unix.EINTR {
				break
			}
		}
		if err == nil && !ws.Stopped() {
			err = errors.New("it ended before it began")
		}
	}
	if err == nil {
		bound(pid, in.c.Bounds)
		if in.c.Begin != nil {
			err = in.c.Begin(Leader{PID: pid, Start: startOf(pid), Boot: BootID()})
		}
	}
	if err == nil && traced {
		err = unix.PtraceDetach(pid)
	}
	if err != nil {
		syscall.Kill(pid, syscall.SIGKILL)
		in.cmd.Wait()
		started <- err
		return
	}
	in.pid = pid
	started <- nil
	for {
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != unix.EINTR {
			break
		}
	}
	close(exited)
}

func bound(pid int, b Bounds) {
	set := func(what int, n uint64) { unix.Prlimit(pid, what, &unix.Rlimit{Cur: n, Max: n}, nil) }
	set(unix.RLIMIT_CORE, 0)
	if b.Memory > 0 {
		set(unix.RLIMIT_AS, b.Memory)
	}
	if b.FileSize > 0 {
		set(unix.RLIMIT_FSIZE, b.FileSize)
	}
	if b.CPU > 0 {
		set(unix.RLIMIT_CPU, uint64((b.CPU+time.Second-1)/time.Second))
	}
	if b.Tasks > 0 {
		set(unix.RLIMIT_NPROC, b.Tasks)
	}
	if b.Nice {
		unix.Setpriority(unix.PRIO_PROCESS, pid, 10)
	}
}

// attend waits for the end of the leader, and brings it about if ctx or Watch say so.
func (in *inside) attend(ctx context.Context, exited <-chan struct{}) error {
	every, n := watchEvery, 0
	if in.c.Group != nil && in.c.Watch != nil {
		every = countEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	var use Use
	for {
		select {
		case <-exited:
			return nil
		case <-ctx.Done():
			in.stop(exited)
			return context.Cause(ctx)
		case <-tick.C:
			if in.c.Watch == nil {
				continue
			}
			if n++; n%int(watchEvery/every) == 0 {
				use = in.use()
				use.Full = true
			} else {
				use.Tasks, use.Full = in.c.Group.count(), false
			}
			if err := in.c.Watch(use); err != nil {
				in.kill() // it takes more than it may: no time to tidy up
				<-exited
				return err
			}
		}
	}
}

// stop asks all of it to end, and after a while does not ask.
func (in *inside) stop(exited <-chan struct{}) {
	if in.c.Wrapped {
		for _, p := range in.members() {
			if p.pid != in.pid {
				syscall.Kill(p.pid, syscall.SIGTERM)
			}
		}
	} else {
		syscall.Kill(-in.pid, syscall.SIGTERM)
		if in.c.Group != nil {
			for _, p := range in.members() {
				syscall.Kill(p.pid, syscall.SIGTERM)
			}
		}
	}
	timer := time.NewTimer(in.c.Grace)
	defer timer.Stop()
	select {
	case <-exited:
		return
	case <-timer.C:
	}
	in.kill()
	<-exited
}

func (in *inside) kill() {
	if in.c.Group != nil {
		in.c.Group.Kill()
	}
	syscall.Kill(-in.pid, syscall.SIGKILL)
	for _, p := range in.members() {
		syscall.Kill(p.pid, syscall.SIGKILL)
	}
}

// members returns the processes that are known to belong to it.
func (in *inside) members() []proc {
	if in.c.Group != nil {
		return in.c.Group.members()
	}
	return descendants(in.pid)
}

func (in *inside) use() (u Use) {
	for _, p := range in.members() {
		u.Tasks += p.threads
		u.Memory += p.rss
	}
	return u
}

// sweep ends what the leader left behind, also what left its group.
func (in *inside) sweep() {
	if in.c.Group != nil {
		in.c.Group.Kill()
	}
	EndMarked(in.c.Mark, in.pid)
}

// EndMarked ends all processes that have mark in their environment, but not the one that is except, and
// looks again until none is left or five seconds are over. It reports whether none is left.
func EndMarked(mark string, except int) bool {
	if mark == "" {
		return true
	}
	over := time.NewTimer(sweepFor)
	defer over.Stop()
	for {
		left := 0
		for _, p := range processes() {
			if p.pid != except && p.pid != os.Getpid() && !p.zombie && hasMark(p.pid, mark) {
				syscall.Kill(p.pid, syscall.SIGKILL)
				left++
			}
		}
		if left == 0 {
			return true
		}
		select {
		case <-over.C:
			return false
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func hasMark(pid int, mark string) bool {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return false
	}
	for kv := range bytes.SplitSeq(env, []byte{0}) {
		if string(kv) == mark {
			return true
		}
	}
	return false
}

// End ends the process group of l if l still is the process that it was, and reports whether it was.
func (l Leader) End() bool {
	if l.PID <= 1 || l.Boot != BootID() || l.Start == 0 || startOf(l.PID) != l.Start {
		return false
	}
	for _, p := range descendants(l.PID) {
		syscall.Kill(p.pid, syscall.SIGKILL)
	}
	syscall.Kill(-l.PID, syscall.SIGKILL)
	syscall.Kill(l.PID, syscall.SIGKILL)
	return true
}

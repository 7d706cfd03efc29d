package run

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	bufSize   = 64 << 10 // what a pipe holds
	longSize  = 128 << 10
	longPipe  = 1 << 20
	longRest  = time.Millisecond
	maxStderr = 64 << 10
	maxLine   = 1 << 10
)

var (
	buffers = sync.Pool{New: func() any { b := make([]byte, bufSize); return &b }}
	longs   = sync.Pool{New: func() any { b := make([]byte, longSize); return &b }}
)

// A process is a started child and the three goroutines that serve it.
type process struct {
	cmd *exec.Cmd
	c   Command

	// inR is the child's end of its input. It is kept open here until the child is gone: what can
	// be read from it then was not read.
	inR, inW   *os.File
	outR, errR *os.File

	closeIn sync.Once
	wait    func() error // reaps; the same answer every time

	// reaping guards reaped: the number of a reaped child may belong to a stranger.
	reaping sync.Mutex
	reaped  bool

	fed      chan struct{} // closed by feed
	drained  chan struct{} // closed by drain
	listened chan struct{} // closed by listen
	rest     chan struct{} // closed by look

	// reads grows with each read of the output, and is odd while one waits.
	reads atomic.Int64

	// These belong to feed, drain and listen until their channels are closed.
	sent     int64
	unread   bool // Stdin had more than the child took; belongs to look until rest is closed
	readErr  error
	writeErr error
	stderr   []byte
}

func start(cmd *exec.Cmd, c Command) (p *process, err error) {
	p = &process{cmd: cmd, c: c, fed: make(chan struct{}), drained: make(chan struct{}), listened: make(chan struct{}), rest: make(chan struct{})}
	var own, childs []*os.File
	defer func() {
		for _, f := range childs {
			f.Close()
		}
		if err != nil {
			for _, f := range own {
				f.Close()
			}
		}
	}()
	pipe := func() (r, w *os.File) {
		if err != nil {
			return nil, nil
		}
		r, w, err = os.Pipe()
		return r, w
	}
	if c.Stdin != nil {
		if p.inR, p.inW = pipe(); err == nil {
			own = append(own, p.inR, p.inW)
			cmd.Stdin = p.inR
		}
	}
	if c.Stdout != nil {
		r, w := pipe()
		if err == nil {
			p.outR, cmd.Stdout = r, w
			own, childs = append(own, r), append(childs, w)
		}
	}
	r, w := pipe()
	if err != nil {
		return nil, err
	}
	p.errR, cmd.Stderr = r, w
	own, childs = append(own, r), append(childs, w)
	if err = startProgram(cmd); err != nil {
		return nil, err
	}
	p.wait = sync.OnceValue(func() error {
		p.reaping.Lock()
		p.reaped = true
		p.reaping.Unlock()
		return cmd.Wait()
	})
	setLimits(cmd.Process.Pid, c.Limits)
	go p.feed()
	go p.drain()
	go p.listen()
	return p, nil
}

// finish waits for the end, by itself or by ctx, and tells how it was.
func (p *process) finish(ctx context.Context, term, kill time.Duration) (Result, error) {
	pid := p.cmd.Process.Pid
	exited := make(chan struct{})
	go func() {
		p.waitExit()
		close(exited)
	}()

	ended := false
	select {
	case <-exited:
	case <-ctx.Done():
		ended = true
		p.endInput()
		p.stop(pid, exited, term, kill)
	}
	// The leader is dead but not reaped, so its number still belongs to the group: whatever it
	// left behind can be killed without hitting a stranger.
	syscall.Kill(-pid, syscall.SIGKILL)
	go p.look()
	waitErr := p.wait()
	took := p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()

	if !ended {
		// The reader of a well-fed child is at its end or comes to it. Only the context ends
		// the wait for one that is not.
		select {
		case <-p.fed:
		case <-ctx.Done():
			ended = true
			p.endInput()
		}
	}
	if ended {
		timer := time.NewTimer(kill)
		select {
		case <-p.fed:
		case <-timer.C:
		}
		timer.Stop()
	}
	p.awaitOutput(term)

	res := Result{Stderr: string(p.stderr), Took: took}
	select {
	case <-p.fed:
		<-p.rest
		res.Sent, res.Unread = p.sent, p.unread
	default:
		return res, context.Cause(ctx) // its Stdin hangs; nothing of it is looked at any more
	}
	switch {
	case ended:
		return res, context.Cause(ctx)
	case p.readErr != nil:
		return res, &ReadError{p.readErr}
	case p.writeErr != nil:
		return res, &WriteError{p.writeErr}
	case waitErr != nil:
		e := &ExitError{Kind: p.c.Kind, Code: p.cmd.ProcessState.ExitCode(), Stderr: res.Stderr}
		if ws, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			e.Signal = ws.Signal()
		}
		return res, e
	}
	return res, nil
}

// stop ends the group pid: TERM, and later KILL. It returns when the leader has exited.
func (p *process) stop(pid int, exited <-chan struct{}, term, kill time.Duration) {
	timer := time.NewTimer(term)
	defer timer.Stop()
	select {
	case <-exited:
		return
	case <-timer.C:
	}
	syscall.Kill(-pid, syscall.SIGTERM)
	timer.Reset(max(kill-term, 0))
	select {
	case <-exited:
		return
	case <-timer.C:
	}
	syscall.Kill(-pid, syscall.SIGKILL)
	<-exited
}

// awaitOutput waits until the output was passed on, however slow its receiver is. A process that
// left the group may hold the pipes open for ever: when nothing has come for as long as delay, they
// are given up.
func (p *process) awaitOutput(delay time.Duration) {
	past := time.Unix(1, 0)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	for last := int64(-1); ; {
		select {
		case <-p.drained:
			select {
			case <-p.listened:
				return
			case <-timer.C:
				p.errR.SetReadDeadline(past)
				<-p.listened
				return
			}
		case <-timer.C:
			now := p.reads.Load()
			if now == last && now%2 == 1 {
				p.outR.SetReadDeadline(past)
			}
			last = now
			timer.Reset(delay)
		}
	}
}

// endInput makes the child see the end of its input, and feed stop at its next write.
func (p *process) endInput() {
	if p.inW != nil {
		p.closeIn.Do(func() { p.inW.Close() })
	}
}

// look finds out, once the child is gone, whether it left something of its input, and gives up its
// end: feed fails then instead of waiting for room. It ends when feed does, or endInput is called.
func (p *process) look() {
	defer close(p.rest)
	if p.inR == nil {
		return
	}
	defer p.inR.Close()
	var b [1]byte
	n, _ := p.inR.Read(b[:])
	p.unread = n > 0
}

// feed copies Stdin to the child.
func (p *process) feed() {
	defer close(p.fed)
	if p.inW == nil {
		return
	}
	defer p.endInput()
	pool := &buffers
	bp := pool.Get().(*[]byte)
	defer func() { pool.Put(bp) }()
	grown := int64(0)
	for tried, wide := false, false; ; {
		n, err := p.c.Stdin.Read(*bp)
		if n > 0 {
			if wide {
				p.ease()
			}
			w, werr := p.inW.Write((*bp)[:n])
			p.sent += int64(w)
			if werr != nil {
				return // the child is gone, or the context ended
			}
			if !tried && p.sent >= bufSize {
				if tried, wide = true, widen(p.inW, longPipe); wide {
					pool.Put(bp)
					pool = &longs
					bp = pool.Get().(*[]byte)
				}
			}
			if p.c.Limits.CPUPerMiB > 0 && p.sent-grown >= 8<<20 {
				grown = p.sent
				p.reaping.Lock()
				if !p.reaped {
					raiseCPU(p.cmd.Process.Pid, p.c.Limits, p.sent)
				}
				p.reaping.Unlock()
			}
		}
		if err != nil {
			if err != io.EOF {
				p.readErr = err
			}
			return
		}
	}
}

// ease lets the child take what lies before it: one that reads 4 KiB at a time would wake us for each of them if
// we stood at a full pipe. It gives up after a while; who writes into the pipe waits as long as it takes.
func (p *process) ease() {
	for range 8 {
		if inPipe(p.inW) <= longPipe/2 {
			return
		}
		time.Sleep(longRest)
	}
}

// drain copies the child's output to Stdout.
func (p *process) drain() {
	defer close(p.drained)
	if p.outR == nil {
		return
	}
	defer p.outR.Close() // a child that goes on writing gets a SIGPIPE
	pool := &buffers
	if p.c.Long {
		pool = &longs
	}
	bp := pool.Get().(*[]byte)
	defer pool.Put(bp)
	for total, wide := 0, false; ; {
		p.reads.Add(1)
		n, err := p.outR.Read(*bp)
		p.reads.Add(1)
		if total += n; p.c.Long && !wide && total >= bufSize {
			widen(p.outR, longPipe) // room for what it writes while we rest
			wide = true
		}
		if n > 0 {
			if _, werr := p.c.Stdout.Write((*bp)[:n]); werr != nil {
				p.writeErr = werr
				p.endInput()
				return
			}
		}
		if err != nil {
			return
		}
		if wide && n < bufSize {
			time.Sleep(longRest)
		}
	}
}

// listen reads the error output to its end, and keeps the beginning.
func (p *process) listen() {
	defer close(p.listened)
	defer p.errR.Close()
	bp := buffers.Get().(*[]byte)
	defer buffers.Put(bp)
	var line []byte
	flush := func() {
		if len(line) > 0 && p.c.StderrLine != nil {
			p.c.StderrLine(string(line))
		}
		line = line[:0]
	}
	for {
		n, err := p.errR.Read(*bp)
		b := (*bp)[:n]
		if n > 0 && p.c.Stderr != nil {
			p.c.Stderr.Write(b)
		}
		p.stderr = append(p.stderr, b[:min(n, maxStderr-len(p.stderr))]...)
		for p.c.StderrLine != nil && len(b) > 0 {
			i := bytes.IndexAny(b, "\r\n")
			part := b
			if i >= 0 {
				part = b[:i]
			}
			line = append(line, part[:min(len(part), maxLine-len(line))]...)
			if i < 0 {
				break
			}
			flush()
			b = b[i+1:]
		}
		if err != nil {
			flush()
			return
		}
	}
}

// IsExit reports whether err says that the program itself failed, and returns how.
func IsExit(err error) (*ExitError, bool) {
	var e *ExitError
	ok := errors.As(err, &e)
	return e, ok
}

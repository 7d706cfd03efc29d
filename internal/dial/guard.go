package dial

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
)

// progressFloor is how many bytes must move while guardLimits.idle passes.
const progressFloor = 1 << 10

// Why a guard cut a connection.
var (
	errSlow = fault.E(fault.Busy, "dial: read", "the other side is too slow")
	errMuch = fault.E(fault.TooLarge, "dial: read", "the other side sends more than is taken")
	errWall = fault.E(fault.Busy, "dial: read", "it took longer than is allowed")
	errHour = fault.E(fault.Busy, "dial: read", "the host has sent all that is taken of it in an hour")
)

// guardLimits bound one connection. Zero fields bound nothing.
type guardLimits struct {
	idle  time.Duration // in which at least floor bytes must move, either way
	floor int64
	wall  time.Duration
	bytes int64 // that may be read
	book  *book // of the host, whose bytes are counted
}

// A guard is a connection that is cut when it is silent, endless or slow. No clock is read: a timer
// looks at what has moved.
type guard struct {
	net.Conn
	limits guardLimits
	pace   *pace
	moved  atomic.Int64 // since the timer looked
	read   atomic.Int64 // in all
	sent   atomic.Int64
	cap    atomic.Int64 // on read; 0: none
	cause  atomic.Pointer[error]

	mu    sync.Mutex // guards timers and done
	done  bool
	idle  *time.Timer
	wall  *time.Timer
	after func() // called once, when closed
}

// newGuard guards c until it is closed.
func newGuard(c net.Conn, limits guardLimits) *guard {
	g := &guard{Conn: c, limits: limits}
	g.cap.Store(limits.bytes)
	g.mu.Lock()
	defer g.mu.Unlock()
	if limits.idle > 0 {
		g.idle = time.AfterFunc(limits.idle, g.look)
	}
	if limits.wall > 0 {
		g.wall = time.AfterFunc(limits.wall, func() { g.cut(errWall) })
	}
	return g
}

// look runs each time that idle has passed.
func (g *guard) look() {
	if g.moved.Swap(0) < max(g.limits.floor, 1) {
		g.cut(errSlow)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.done {
		g.idle.Reset(g.limits.idle)
	}
}

// relax sets other limits on silence and bytes: a handshake is over.
func (g *guard) relax(idle time.Duration, floor, bytes int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.done || g.idle == nil {
		return
	}
	g.idle.Stop()
	g.limits.idle, g.limits.floor = idle, floor
	g.moved.Store(1)
	g.cap.Store(bytes)
	g.idle = time.AfterFunc(idle, g.look)
}

// cut closes the connection; reads and writes fail with err from then on.
func (g *guard) cut(err error) {
	g.cause.CompareAndSwap(nil, &err)
	g.Close()
}

func (g *guard) Read(p []byte) (int, error) {
	if limit := g.cap.Load(); limit > 0 {
		left := limit - g.read.Load()
		if left <= 0 {
			g.cut(errMuch)
			return 0, errMuch
		}
		p = p[:min(int64(len(p)), left)]
	}
	if g.pace != nil && len(p) > paceChunk {
		p = p[:paceChunk]
	}
	n, err := g.Conn.Read(p)
	if n > 0 {
		g.moved.Add(int64(n))
		g.read.Add(int64(n))
		if g.pace != nil && !g.pace.took(g.limits.book, n) {
			g.cut(errHour)
			return n, errHour
		}
	}
	return n, g.explain(err)
}

func (g *guard) Write(p []byte) (int, error) {
	n, err := g.Conn.Write(p)
	g.moved.Add(int64(n))
	g.sent.Add(int64(n))
	return n, g.explain(err)
}

func (g *guard) explain(err error) error {
	if err == nil {
		return nil
	}
	if cause := g.cause.Load(); cause != nil && errors.Is(err, net.ErrClosed) {
		return *cause
	}
	return err
}

// Close closes the connection. It may be called more than once.
func (g *guard) Close() error {
	g.mu.Lock()
	if g.done {
		g.mu.Unlock()
		return nil
	}
	g.done = true
	if g.idle != nil {
		g.idle.Stop()
	}
	if g.wall != nil {
		g.wall.Stop()
	}
	after := g.after
	g.mu.Unlock()
	err := g.Conn.Close()
	if after != nil {
		after()
	}
	return err
}

// paceChunk is how much is read at a time where reading is counted.
const paceChunk = 64 << 10

// A pace counts what is read of a host and slows it down.
type pace struct {
	b         *budgets
	perSecond int64
}

// took notes n bytes and waits as long as they may take. Connections of one host wait for each other,
// so that together they keep the pace. It reports whether more may be read.
func (p *pace) took(at *book, n int) bool {
	if p.perSecond > 0 {
		at.turn.Lock()
		time.Sleep(time.Duration(float64(n) / float64(p.perSecond) * float64(time.Second)))
		at.turn.Unlock()
	}
	return p.b.read(at, n)
}

package torture_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Relays stand between servers on one computer: each server is announced under the address of one, which
// hands on what comes. Who calls is told by the socket: one of the process of a server.
type relays struct {
	t     testing.TB
	nodes []*node
	wire  [healing][healing]*wire
}

// A wire is what server i opens to server j.
type wire struct {
	mu      sync.Mutex // guards all below
	state   wireState
	changed chan struct{} // closed when state changes
	open    map[net.Conn]struct{}
}

type wireState int

const (
	whole  wireState = iota
	cut              // everything on it ends, and nothing can be opened
	silent           // nothing comes through, and nobody is told
)

func newRelays(t testing.TB, nodes []*node) *relays {
	t.Helper()
	r := &relays{t: t, nodes: nodes}
	for i := range r.wire {
		for j := range r.wire[i] {
			r.wire[i][j] = &wire{changed: make(chan struct{}), open: map[net.Conn]struct{}{}}
		}
	}
	for _, n := range nodes {
		l, err := net.Listen("tcp", n.public)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go r.serve(l, n)
	}
	t.Cleanup(func() {
		for i := range r.wire {
			for j := range r.wire[i] {
				r.wire[i][j].set(cut)
			}
		}
	})
	return r
}

func (r *relays) cut(i, j int, quiet bool) {
	if quiet {
		r.wire[i][j].set(silent)
	} else {
		r.wire[i][j].set(cut)
	}
}

func (r *relays) mend(i, j int) { r.wire[i][j].set(whole) }

func (w *wire) set(s wireState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = s
	close(w.changed)
	w.changed = make(chan struct{})
	if s == cut {
		for c := range w.open {
			c.Close()
		}
	}
}

// pass waits until something may come through, and reports whether it ever may.
func (w *wire) pass(c net.Conn) bool {
	for {
		w.mu.Lock()
		state, changed := w.state, w.changed
		_, open := w.open[c]
		w.mu.Unlock()
		switch {
		case state == cut || !open:
			return false
		case state == whole:
			return true
		}
		<-changed
	}
}

func (w *wire) add(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.state == cut {
		return false
	}
	w.open[c] = struct{}{}
	return true
}

func (w *wire) remove(c net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, c)
	c.Close()
}

func (r *relays) serve(l net.Listener, to *node) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go r.carry(c, to)
	}
}

// carry hands on what comes on c until one side ends.
func (r *relays) carry(c net.Conn, to *node) {
	defer c.Close()
	from, ok := r.caller(c)
	if !ok {
		return
	}
	c.(*net.TCPConn).SetLinger(0)
	w := r.wire[from][to.i]
	if !w.add(c) {
		return
	}
	defer w.remove(c)
	if !w.pass(c) {
		return
	}
	d, err := net.DialTimeout("tcp", to.addr, 10*time.Second)
	if err != nil {
		return
	}
	defer d.Close()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{c, d}, {d, c}} {
		both.Go(func() {
			buf := make([]byte, 32<<10)
			for {
				n, err := way[0].Read(buf)
				if !w.pass(c) {
					break
				}
				if n > 0 {
					if _, err := way[1].Write(buf[:n]); err != nil {
						break
					}
				}
				if err == io.EOF {
					way[1].(*net.TCPConn).CloseWrite()
					return
				}
				if err != nil {
					break
				}
			}
			c.Close()
			d.Close()
		})
	}
	both.Wait()
}

// caller says which server opened c.
func (r *relays) caller(c net.Conn) (int, bool) {
	inode, ok := socketOf(c.RemoteAddr().(*net.TCPAddr), c.LocalAddr().(*net.TCPAddr))
	if !ok {
		return 0, false
	}
	want := "socket:[" + inode + "]"
	for _, n := range r.nodes {
		dir := fmt.Sprintf("/proc/%d/fd", n.pid.Load())
		d, err := os.Open(dir)
		if err != nil {
			continue
		}
		names, _ := d.Readdirnames(-1)
		d.Close()
		for _, fd := range names {
			if to, err := os.Readlink(dir + "/" + fd); err == nil && to == want {
				return n.i, true
			}
		}
	}
	return 0, false
}

// socketOf returns the inode of the IPv4 socket of this computer that is at local and talks to remote.
func socketOf(local, remote *net.TCPAddr) (string, bool) {
	b, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return "", false
	}
	a, z := procAddr(local), procAddr(remote)
	for line := range bytes.Lines(b) {
		f := strings.Fields(string(line))
		if len(f) > 9 && f[1] == a && f[2] == z && f[9] != "0" {
			return f[9], true
		}
	}
	return "", false
}

// procAddr writes an address as /proc/net/tcp has it on a little-endian computer.
func procAddr(a *net.TCPAddr) string {
	ip := a.IP.To4()
	if ip == nil {
		return ""
	}
	return strings.ToUpper(hex.EncodeToString([]byte{ip[3], ip[2], ip[1], ip[0]})) + ":" +
		strings.ToUpper(fmt.Sprintf("%04s", strconv.FormatInt(int64(a.Port), 16)))
}

// A wire carries while it is whole, holds back while it is silent, and ends everything when it is cut.
func TestWires(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go io.Copy(c, c)
		}
	}()
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("needs /proc")
	}
	var nodes []*node
	for i := range healing {
		n := &node{server: &server{addr: l.Addr().String()}, i: i, public: freeAddr(t)}
		nodes = append(nodes, n)
	}
	nodes[2].pid.Store(int64(os.Getpid())) // all that this test opens comes from server 2
	r := newRelays(t, nodes)
	c, err := net.Dial("tcp", nodes[4].public)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	heard := make(chan error, 1)
	say := func() {
		c.Write([]byte("x"))
		go func() {
			b := make([]byte, 1)
			c.SetReadDeadline(time.Now().Add(time.Minute))
			_, err := c.Read(b)
			heard <- err
		}()
	}
	say()
	if err := <-heard; err != nil {
		t.Fatal("whole:", err)
	}
	r.cut(4, 2, false) // the other way round is another wire
	r.cut(2, 4, true)
	say()
	select {
	case err := <-heard:
		t.Fatal("silent, and yet:", err)
	case <-time.After(50 * time.Millisecond):
	}
	r.mend(2, 4)
	if err := <-heard; err != nil {
		t.Fatal("whole again:", err)
	}
	r.cut(2, 4, false)
	say()
	if err := <-heard; err == nil {
		t.Fatal("cut, and yet something came")
	}
	if c, err := net.Dial("tcp", nodes[4].public); err == nil {
		c.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("cut, and yet something was opened")
		} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
			t.Error("cut, and nobody is told")
		}
		c.Close()
	}
}

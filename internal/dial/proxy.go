package dial

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
)

// A Task is what a Proxy is opened for.
type Task struct {
	// Name is for logs: "fetch npub1…/demo".
	Name string

	// Author is on whose behalf it is done, see OnBehalf; "" for nobody's.
	Author string

	// Bytes is how much may be read of the remote, and Sends how much may be sent to it. Default
	// 2 GiB and 64 MiB.
	Bytes, Sends int64

	// Wall is how long it may take in all. Default 30 min.
	Wall time.Duration
}

const (
	taskBytes    = 2 << 30
	taskWall     = 30 * time.Minute
	taskSends    = 64 << 20
	taskAdvert   = 64 << 20 // of a list of refs, where it can be told from the rest
	taskConns    = 4        // at a time
	taskRequests = 64       // in all

	// reserved is how many requests a task is counted as before it begins: a list of refs, and two
	// rounds to agree on objects.
	reserved = 3
)

// A Proxy lets a child process reach one host and port, for one task and nothing else (hardening §9).
// It listens on loopback, wants a password that was made for it, connects only to the address that was
// looked at when it was opened, and is gone after Close. https goes through CONNECT, so that the child
// verifies the certificate; http by requests in absolute form.
type Proxy struct {
	d        *Dialer
	to       target
	plain    bool
	task     Task
	password string
	listener net.Listener
	server   *http.Server
	back     *http.Transport // for http
	book     *book

	ctx   context.Context
	end   context.CancelCauseFunc
	close sync.Once
	free  func()

	read, sent, moved atomic.Int64
	requests          atomic.Int64
	open              atomic.Int64
	fresh, slow       atomic.Bool // connected since look ran; it cut a connection

	mu    sync.Mutex // guards conns and timer
	conns map[net.Conn]struct{}
	timer *time.Timer
	gone  chan struct{} // closed when the server has ended
}

// Proxy opens one to remote for task. The name is resolved here, once. Errors are as those of HTTP.
// The proxy is closed when ctx ends; the caller calls Close in any case.
func (d *Dialer) Proxy(ctx context.Context, remote RemoteURL, task Task) (*Proxy, error) {
	const op = "dial: proxy"
	if remote.IsZero() || remote.scheme == "http" && !d.cfg.Plain {
		return nil, forbidden(op, "only https is used; the operator may permit http with outward.http")
	}
	if task.Bytes <= 0 {
		task.Bytes = taskBytes
	}
	if task.Sends <= 0 {
		task.Sends = taskSends
	}
	if task.Wall <= 0 {
		task.Wall = taskWall
	}
	select {
	case d.tasks <- struct{}{}:
	default:
		return nil, exhausted(strconv.Itoa(cap(d.tasks))+" remotes at a time", time.Second)
	}
	to, book, release, err := d.admit(OnBehalf(ctx, task.Author), remote.host, remote.port, reserved)
	if err != nil {
		<-d.tasks
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		release()
		<-d.tasks
		return nil, fault.Wrap(op, err)
	}
	p := &Proxy{
		d: d, to: to, plain: remote.scheme == "http", task: task, password: password(),
		listener: listener, book: book, conns: map[net.Conn]struct{}{}, gone: make(chan struct{}),
		free: func() { release(); <-d.tasks },
	}
	p.ctx, p.end = context.WithCancelCause(ctx)
	p.back = d.transport(p.connect)
	p.back.DisableKeepAlives = false
	p.back.MaxConnsPerHost = taskConns
	p.server = &http.Server{
		Handler:           http.HandlerFunc(p.serve),
		ReadHeaderTimeout: d.cfg.Handshake,
		MaxHeaderBytes:    int(d.cfg.HeaderBytes),
		ErrorLog:          log.New(io.Discard, "", 0),
		BaseContext:       func(net.Listener) context.Context { return p.ctx },
	}
	p.timer = time.AfterFunc(d.cfg.Idle, p.look)
	wall := time.AfterFunc(task.Wall, func() { p.end(errWall) })
	go func() {
		p.server.Serve(listener)
		close(p.gone)
	}()
	context.AfterFunc(p.ctx, func() {
		wall.Stop()
		p.shut()
	})
	return p, nil
}

// URL is what the child is told: http://task:password@127.0.0.1:port.
func (p *Proxy) URL() string {
	return (&url.URL{Scheme: "http", User: url.UserPassword("task", p.password), Host: p.listener.Addr().String()}).String()
}

// Read returns how many bytes came from the remote so far.
func (p *Proxy) Read() int64 { return p.read.Load() }

// Err returns which limit was met, fault.TooLarge or fault.Busy, or the end of the context; nil if there
// was nothing. A child may have succeeded all the same: ask if it failed.
func (p *Proxy) Err() error {
	err := context.Cause(p.ctx)
	if (err == nil || errors.Is(err, errClosed)) && p.slow.Load() {
		return errSlow
	}
	if errors.Is(err, errClosed) {
		return nil
	}
	return err
}

var errClosed = errors.New("closed")

// Close ends all connections and returns when nothing of it listens. It may be called more than once.
func (p *Proxy) Close() {
	p.end(errClosed)
	p.shut()
	<-p.gone
}

func (p *Proxy) shut() {
	p.close.Do(func() {
		p.server.Close()
		p.mu.Lock()
		p.timer.Stop()
		conns := p.conns
		p.conns = nil
		p.mu.Unlock()
		for c := range conns {
			c.Close()
		}
		p.back.CloseIdleConnections()
		p.free()
	})
}

// look runs each time that the limit on silence has passed, and cuts the connections if less than the
// floor moved on them. A child that still has work to do, but nothing more to ask, does not mind.
func (p *Proxy) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		return
	}
	moved, fresh := p.moved.Swap(0), p.fresh.Swap(false)
	if len(p.conns) > 0 && !fresh && moved < progressFloor {
		p.slow.Store(true)
		for c := range p.conns {
			go c.Close() // which takes mu
		}
	}
	p.timer.Reset(p.d.cfg.Idle)
}

// serve answers the child.
func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	if !p.knows(r.Header.Get("Proxy-Authorization")) {
		w.Header().Set("Proxy-Authenticate", `Basic realm="task"`)
		http.Error(w, "this proxy serves one task", http.StatusProxyAuthRequired)
		return
	}
	if p.requests.Add(1) > taskRequests {
		http.Error(w, "too many requests for one task", http.StatusTooManyRequests)
		return
	}
	if p.requests.Load() > reserved {
		if err := p.more(r.Context()); err != nil {
			p.end(err)
			http.Error(w, "the budget of the host is used up", http.StatusTooManyRequests)
			return
		}
	}
	switch {
	case r.Method == http.MethodConnect && !p.plain && p.bound(r.Host, ""):
		p.tunnel(w)
	case r.Method != http.MethodConnect && p.plain && r.URL.Scheme == "http" && r.URL.User == nil && p.bound(r.URL.Host, "80"):
		p.forward(w, r)
	default:
		http.Error(w, "this proxy leads to one host only", http.StatusForbidden)
	}
}

// patience is how long a request waits for the budget of its host: less than a child waits.
const patience = 20 * time.Second

// more takes another request out of the host's budget. It waits a while for one: what came so far
// would be lost.
func (p *Proxy) more(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for waited := time.Duration(0); ; waited += time.Second {
		err := p.d.budgets.more(p.book, p.to.host)
		if err == nil || waited >= patience {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-t.C:
		}
	}
}

// bound reports whether authority is the one host and port. port is what it means without one.
func (p *Proxy) bound(authority, port string) bool {
	host, at, err := net.SplitHostPort(authority)
	if err != nil {
		host, at = authority, port
	}
	host, err = cleanHost(host)
	return err == nil && host == p.to.host && at == strconv.Itoa(int(p.to.port))
}

func (p *Proxy) knows(header string) bool {
	kind, text, _ := strings.Cut(header, " ")
	raw, err := base64.StdEncoding.DecodeString(text)
	return err == nil && strings.EqualFold(kind, "basic") && subtle.ConstantTimeCompare(raw, []byte("task:"+p.password)) == 1
}

// connect opens a counted connection to the remote.
func (p *Proxy) connect(ctx context.Context) (net.Conn, error) {
	if p.open.Add(1) > taskConns {
		p.open.Add(-1)
		return nil, fault.E(fault.Busy, "dial: proxy", "too many connections for one task")
	}
	c, err := p.d.connect(ctx, p.to)
	if err != nil {
		p.open.Add(-1)
		return nil, err
	}
	m := &metered{Conn: c, p: p}
	if !p.keep(m) {
		p.open.Add(-1)
		c.Close()
		return nil, fault.Wrap("dial: proxy", context.Cause(p.ctx))
	}
	return m, nil
}

// keep remembers c until it is closed. It reports false if the proxy is shut.
func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		return false
	}
	p.conns[c] = struct{}{}
	p.fresh.Store(true)
	return true
}

func (p *Proxy) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// A metered connection leads to the remote, and counts for its proxy.
type metered struct {
	net.Conn
	p    *Proxy
	once sync.Once
}

func (m *metered) Read(b []byte) (int, error) {
	n, err := m.Conn.Read(b[:min(len(b), paceChunk)])
	if n > 0 {
		m.p.moved.Add(int64(n))
		if m.p.read.Add(int64(n)) > m.p.task.Bytes {
			m.p.end(errMuch)
			return 0, errMuch
		}
		if !m.p.d.pace().took(m.p.book, n) {
			m.p.end(errHour)
			return n, errHour
		}
	}
	return n, err
}

func (m *metered) Write(b []byte) (int, error) {
	if m.p.sent.Add(int64(len(b))) > m.p.task.Sends {
		m.p.end(errMuch)
		return 0, errMuch
	}
	n, err := m.Conn.Write(b)
	m.p.moved.Add(int64(n))
	return n, err
}

func (m *metered) Close() error {
	m.once.Do(func() {
		m.p.drop(m)
		m.p.open.Add(-1)
	})
	return m.Conn.Close()
}

// tunnel answers CONNECT and copies both ways until either ends.
func (p *Proxy) tunnel(w http.ResponseWriter) {
	remote, err := p.connect(p.ctx)
	if err != nil {
		http.Error(w, "the remote does not answer", http.StatusBadGateway)
		return
	}
	defer remote.Close()
	child, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer child.Close()
	if !p.keep(child) {
		return
	}
	defer p.drop(child)
	if _, err := io.WriteString(child, "HTTP/1.1 200 Connected\r\n\r\n"); err != nil {
		return
	}
	done := make(chan struct{}, 2)
	go func() {
		io.Copy(remote, buffered)
		done <- struct{}{}
	}()
	go func() {
		io.Copy(child, remote)
		done <- struct{}{}
	}()
	<-done
	remote.Close()
	child.Close()
	<-done
}

// hopByHop are the fields that speak to the proxy (RFC 9110 §7.6.1).
var hopByHop = []string{"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// forward passes a request in absolute form on, and its answer back. Redirects go back as they are.
func (p *Proxy) forward(w http.ResponseWriter, r *http.Request) {
	out := r.Clone(p.ctx)
	out.RequestURI = ""
	for _, h := range hopByHop {
		out.Header.Del(h)
	}
	if r.ContentLength == 0 {
		out.Body = nil
	}
	resp, err := p.back.RoundTrip(out)
	if err != nil {
		http.Error(w, "the remote does not answer", http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	for _, h := range hopByHop {
		resp.Header.Del(h)
	}
	for k, v := range resp.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(resp.StatusCode)
	flush := http.NewResponseController(w)
	b := make([]byte, 32<<10)
	left := p.task.Bytes
	if r.Method == http.MethodGet {
		left = min(left, taskAdvert)
	}
	for {
		n, err := resp.Body.Read(b)
		if left -= int64(n); left < 0 {
			p.end(errMuch)
			panic(http.ErrAbortHandler)
		}
		if n > 0 {
			if _, werr := w.Write(b[:n]); werr != nil {
				return
			}
			flush.Flush()
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler) // the child must see that the answer is not whole
		}
	}
}

// password returns 128 bits as text.
func password() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

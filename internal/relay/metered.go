package relay

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"sync"
)

// hijacker hands out a connection whose bytes are counted: also those of pings, of empty fragments
// and of messages that are thrown away, which nobody else gets to see.
type hijacker struct {
	http.ResponseWriter
	r    *Relay
	acct *account
	conn *metered // set when it was asked for
}

// Hijack implements http.Hijacker.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.conn = &metered{Conn: c, r: h.r, acct: h.acct}
	if n := rw.Reader.Buffered(); n > 0 {
		early, err := rw.Reader.Peek(n)
		if err != nil {
			c.Close()
			return nil, nil, err
		}
		h.conn.early = append([]byte(nil), early...)
	}
	rw.Reader.Reset(h.conn)
	return h.conn, rw, nil
}

// metered is a connection that is read no faster than its account allows.
type metered struct {
	net.Conn
	r     *Relay
	acct  *account
	ctx   context.Context // of the session; nil during the handshake
	early []byte          // what came with the handshake

	// out guards what follows.
	out  sync.Mutex
	cork bool    // what is written is held
	held *[]byte // until it is this large, or release is called
}

// maxHeld is how many bytes of frames are sent as one at most.
const maxHeld = 16 << 10

var heldBuffers = sync.Pool{New: func() any { b := make([]byte, 0, maxHeld); return &b }}

// hold gathers the frames that are written from now on, until release: a hundred small ones cost
// one call to the system and not a hundred.
func (m *metered) hold() {
	m.out.Lock()
	defer m.out.Unlock()
	m.cork = true
}

// release sends what is held.
func (m *metered) release() error {
	m.out.Lock()
	defer m.out.Unlock()
	m.cork = false
	return m.flush()
}

// flush is release with out held.
func (m *metered) flush() error {
	if m.held == nil {
		return nil
	}
	_, err := m.Conn.Write(*m.held)
	*m.held = (*m.held)[:0]
	heldBuffers.Put(m.held)
	m.held = nil
	return err
}

// Write implements net.Conn.
func (m *metered) Write(p []byte) (int, error) {
	m.out.Lock()
	defer m.out.Unlock()
	if m.held != nil && len(*m.held)+len(p) > maxHeld {
		if err := m.flush(); err != nil {
			return 0, err
		}
	}
	if !m.cork || len(p) > maxHeld/2 {
		if err := m.flush(); err != nil {
			return 0, err
		}
		return m.Conn.Write(p)
	}
	if m.held == nil {
		m.held = heldBuffers.Get().(*[]byte)
	}
	*m.held = append(*m.held, p...)
	return len(p), nil
}

// Read implements net.Conn.
func (m *metered) Read(p []byte) (int, error) {
	if len(m.early) > 0 {
		n := copy(p, m.early)
		m.early = m.early[n:]
		return n, nil
	}
	n, err := m.Conn.Read(p)
	if m.ctx != nil && m.acct.read(m.ctx, n+frameCost) {
		m.r.hits.add(hitPrefixBytes)
	}
	return n, err
}

// NetConn returns what is underneath.
func (m *metered) NetConn() net.Conn { return m.Conn }

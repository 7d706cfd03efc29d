package relay

import (
	"bufio"
	"context"
	"net"
	"net/http"
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

package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"
)

// A conn is a WebSocket that costs as little as possible: the servers share the machine with it.
type conn struct {
	c   net.Conn
	r   *bufio.Reader
	big []byte
	due int // bytes of the frame handed out last, still in r
}

// patience bounds every wait for a server.
const patience = 60 * time.Second

func dial(addr string) (*conn, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	ws := &conn{c: c, r: bufio.NewReaderSize(c, 64<<10)}
	ws.c.SetDeadline(time.Now().Add(patience))
	_, err = fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", addr)
	if err == nil {
		var resp *http.Response
		if resp, err = http.ReadResponse(ws.r, nil); err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
			err = fmt.Errorf("handshake answered %s", resp.Status)
		}
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return ws, nil
}

func (ws *conn) close() { ws.c.Close() }

// frame appends one masked text frame. The mask is zero: allowed, and free.
func frame(b []byte, text ...string) []byte { return appendFrame(b, 1, text...) }

func appendFrame(b []byte, opcode byte, text ...string) []byte {
	n := 0
	for _, t := range text {
		n += len(t)
	}
	b = append(b, 0x80|opcode)
	switch {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	b = append(b, 0, 0, 0, 0)
	for _, t := range text {
		b = append(b, t...)
	}
	return b
}

func (ws *conn) write(frames []byte) error {
	_, err := ws.c.Write(frames)
	return err
}

// next returns the next text message. It is valid until next is called again.
func (ws *conn) next() ([]byte, error) {
	whole := ws.big[:0] // of a message in fragments
	for {
		ws.r.Discard(ws.due)
		ws.due = 0
		h, err := ws.r.Peek(2)
		if err != nil {
			return nil, err
		}
		final, opcode, n, skip := h[0]&0x80 != 0, h[0]&0x0f, int(h[1]&0x7f), 2
		switch n {
		case 126:
			if h, err = ws.r.Peek(4); err != nil {
				return nil, err
			}
			n, skip = int(binary.BigEndian.Uint16(h[2:])), 4
		case 127:
			if h, err = ws.r.Peek(10); err != nil {
				return nil, err
			}
			n, skip = int(binary.BigEndian.Uint64(h[2:])), 10
		}
		ws.r.Discard(skip)
		if opcode <= 1 && final && len(whole) == 0 && n <= ws.r.Size() { // nearly always
			ws.due = n
			return ws.r.Peek(n)
		}
		if opcode <= 1 {
			from := len(whole)
			whole = slices.Grow(whole, n)[:from+n]
			if _, err := io.ReadFull(ws.r, whole[from:]); err != nil {
				return nil, err
			}
			if ws.big = whole; final {
				return whole, nil
			}
			continue
		}
		body, err := ws.r.Peek(n)
		if err != nil {
			return nil, err
		}
		ws.due = n
		switch opcode {
		case 8:
			return nil, fmt.Errorf("closed by the server: %.120q", body)
		case 9:
			if err := ws.write(appendFrame(nil, 10, string(body))); err != nil {
				return nil, err
			}
		}
	}
}

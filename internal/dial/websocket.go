package dial

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/gitroost/gitroost/internal/fault"
)

// WebSocket opens text, a wss:// URL (or ws:// if Plain). Redirects are not followed and compression
// is not spoken. The handshake is bounded like a request, by Config.Connect, Handshake and Header;
// after it a message may have Config.FrameBytes, and a connection on which nothing moves for
// Config.SocketIdle either way is cut. The place in the budgets is held for the handshake only: whoever
// holds many sockets bounds them. Errors are as those of HTTP; a host that answers, but not with a
// WebSocket, is fault.Invalid with websocket.ErrBadHandshake inside.
func (d *Dialer) WebSocket(ctx context.Context, text string) (*websocket.Conn, error) {
	const op = "dial: websocket"
	if len(text) > maxURL {
		return nil, forbidden(op, "a URL longer than %d bytes", maxURL)
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, forbidden(op, "%s is no URL", quote(text))
	}
	host, port, err := d.place(u, "wss", "ws")
	if err != nil {
		return nil, err
	}
	if u.Fragment != "" {
		return nil, forbidden(op, "a fragment in a URL")
	}
	select {
	case d.sockets <- struct{}{}:
		defer func() { <-d.sockets }()
	case <-ctx.Done():
		return nil, fault.Wrap(op, context.Cause(ctx))
	}
	c, err := d.open(ctx, host, port, 1)
	if err != nil {
		return nil, err
	}
	defer c.release()
	// Whatever the header of the answer is long: it has this many bytes, certificates included.
	g := newGuard(c.Conn, guardLimits{idle: d.cfg.Header, floor: 1, bytes: d.cfg.HeaderBytes, book: c.book})
	g.pace = d.pace()
	limit := d.cfg.Handshake + d.cfg.Header
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ws := websocket.Dialer{
		NetDialContext:   func(context.Context, string, string) (net.Conn, error) { return g, nil },
		TLSClientConfig:  d.tls(),
		HandshakeTimeout: limit,
		ReadBufferSize:   16 << 10,
		WriteBufferSize:  4 << 10,
		Proxy:            nil,
	}
	conn, resp, err := ws.DialContext(ctx, u.String(), http.Header{"User-Agent": {"gitroost"}})
	if err != nil {
		g.Close()
		switch {
		case errors.Is(err, websocket.ErrBadHandshake):
			status := "no WebSocket"
			if resp != nil {
				status = resp.Status
			}
			return nil, &fault.Error{Code: fault.Invalid, Op: op, Text: u.Host + " answered " + quote(status) + " and opened no WebSocket", Err: err}
		case errors.Is(err, context.Canceled):
			return nil, fault.Wrap(op, err)
		}
		return nil, &fault.Error{Code: fault.Busy, Op: op, Text: u.Host + " opened no WebSocket", Err: err}
	}
	conn.SetReadLimit(d.cfg.FrameBytes)
	conn.UnderlyingConn().SetDeadline(time.Time{})
	g.relax(d.cfg.SocketIdle, 1, 0)
	return conn, nil
}

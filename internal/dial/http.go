package dial

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"

	"github.com/gitroost/gitroost/internal/fault"
)

// HTTP returns the client for requests: to https:// only, unless Plain. It follows no redirect (the
// 3xx is the answer), keeps no connection and no cookie, asks for no compression, and knows no proxy.
// A request ends after Config.Total, the reading of its answer included, or with its context; both
// count for OnBehalf's author. How much of an answer is read is up to the caller, and must be bounded.
//
// Errors: a forbidden URL or address satisfies IsForbidden, a used-up budget RetryAfter; both are
// inside the *url.Error of the client.
func (d *Dialer) HTTP() *http.Client { return d.http }

func (d *Dialer) newHTTP() *http.Client {
	return &http.Client{
		Transport:     &tripper{d: d, gate: make(chan struct{}, d.cfg.Concurrent)},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       d.cfg.Total,
	}
}

// transport returns a transport whose connections come from connect.
func (d *Dialer) transport(connect func(ctx context.Context) (net.Conn, error)) *http.Transport {
	return &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return connect(ctx) },
		TLSClientConfig:        d.tls(),
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1 alone
		TLSHandshakeTimeout:    d.cfg.Handshake,
		ResponseHeaderTimeout:  d.cfg.Header,
		MaxResponseHeaderBytes: d.cfg.HeaderBytes,
		DisableCompression:     true,
		DisableKeepAlives:      true,
		Proxy:                  nil,
	}
}

// A tripper makes one connection for each request, to an address that was looked at.
type tripper struct {
	d    *Dialer
	gate chan struct{}
}

// RoundTrip implements http.RoundTripper.
func (t *tripper) RoundTrip(r *http.Request) (*http.Response, error) {
	const op = "dial: request"
	fail := func(err error) (*http.Response, error) {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	host, port, err := t.d.place(r.URL, "https", "http")
	if err != nil {
		return fail(err)
	}
	select {
	case t.gate <- struct{}{}:
	case <-r.Context().Done():
		return fail(fault.Wrap(op, context.Cause(r.Context())))
	}
	c, err := t.d.open(r.Context(), host, port, 1)
	if err != nil {
		<-t.gate
		return fail(err)
	}
	g := newGuard(c.Conn, guardLimits{idle: t.d.cfg.Idle, floor: 1, wall: t.d.cfg.Total, book: c.book})
	g.pace = t.d.pace()
	g.after = func() { c.release(); <-t.gate }
	given := make(chan net.Conn, 1)
	given <- g
	tr := t.d.transport(func(context.Context) (net.Conn, error) {
		select {
		case c := <-given:
			return c, nil
		default:
			return nil, fault.E(fault.Busy, op, "the connection broke")
		}
	})
	resp, err := tr.RoundTrip(r)
	if err != nil {
		g.Close()
		return nil, err
	}
	resp.Body = &closing{ReadCloser: resp.Body, end: sync.OnceFunc(func() { g.Close() })}
	return resp, nil
}

// closing is a body that takes its connection with it.
type closing struct {
	io.ReadCloser
	end func()
}

func (c *closing) Close() error {
	err := c.ReadCloser.Close()
	c.end()
	return err
}

func (d *Dialer) pace() *pace { return &pace{b: d.budgets, perSecond: d.cfg.HostBytesPerSecond} }

// place returns host and port of u, whose scheme is secure, or plain if that is permitted.
func (d *Dialer) place(u *url.URL, secure, plain string) (host string, port uint16, err error) {
	const op = "dial: url"
	switch {
	case u.Scheme == secure:
		port = 443
	case u.Scheme == plain && d.cfg.Plain:
		port = 80
	case u.Scheme == plain:
		return "", 0, forbidden(op, "only %s:// is used; the operator may permit %s:// with outward.http", secure, plain)
	default:
		return "", 0, forbidden(op, "only %s:// is used", secure)
	}
	if u.User != nil {
		return "", 0, forbidden(op, "a user name in a URL")
	}
	if u.Opaque != "" || u.Host == "" {
		return "", 0, forbidden(op, "a URL without a host")
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return "", 0, forbidden(op, "%q is no port", p)
		}
		port = uint16(n)
	}
	return u.Hostname(), port, nil
}

// CheckURL reports whether HTTP or WebSocket would try text at all: its form is looked at, nothing is
// resolved. secure is "https" or "wss". The error satisfies IsForbidden.
func (d *Dialer) CheckURL(text, secure string) error {
	const op = "dial: url"
	if len(text) > maxURL {
		return forbidden(op, "a URL longer than %d bytes", maxURL)
	}
	u, err := url.Parse(text)
	if err != nil {
		return forbidden(op, "%s is no URL", quote(text))
	}
	plain := "http"
	if secure == "wss" {
		plain = "ws"
	}
	host, port, err := d.place(u, secure, plain)
	if err != nil {
		return err
	}
	if host, err = cleanHost(host); err != nil {
		return forbidden(op, "%v", err)
	}
	if !portAllowed(port) {
		return forbidden(op, "port %d of %s: only 80, 443 and ports from 1024 on are contacted", port, host)
	}
	if d.own[net.JoinHostPort(host, strconv.Itoa(int(port)))] {
		return forbidden(op, "%s is this server itself", u.Host)
	}
	return nil
}

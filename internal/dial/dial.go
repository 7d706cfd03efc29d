// Package dial is the way out: every connection to another computer is made here, whoever wants it
// and wherever its address came from (hardening D5).
//
// URLs come from strangers' events, so each of them may be an attack on somebody behind us. A
// Dialer resolves a name once for each attempt, holds every address that it got against a table of
// networks that are not the world (see ranges.go), and connects to exactly the address it looked
// at: what a name server says a moment later plays no part. Whatever stands above TCP is bounded
// too: handshakes, headers, silence, bytes, and how often one host, or one author of events, is
// made to be called.
//
// Four ways lead through it. HTTP is a client for requests (webhooks, NIP-11), WebSocket opens
// one to a relay, Proxy lets a child process reach one host for one task, and DialContext is for
// what is none of these. The package refuses to know what is fetched or told, and it never reads
// the environment: no proxy, no certificate and no password comes from there.
package dial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
)

// A Resolver answers which addresses a name has. net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Config are the knobs of a Dialer. Zero values mean the defaults.
type Config struct {
	// Allow are networks that may be reached although the table forbids them. Our own listeners
	// stay forbidden. What is 0 bits long allows a whole family.
	Allow []netip.Prefix

	// Deny are hosts that are never contacted, for those who asked for it. A name means those below it
	// too.
	Deny []string

	// Own are the host[:port] by which this server is known, and OwnAddrs the addresses it
	// listens on: we are never our own peer (G02-03).
	Own      []string
	OwnAddrs []netip.AddrPort

	// Plain permits http:// and ws:// beside https:// and wss://.
	Plain bool

	// Roots are the authorities that certificates are verified with. Default: the system's.
	Roots *x509.CertPool

	// Resolver answers for names. Default: the system's.
	Resolver Resolver

	// Interfaces returns the addresses of this computer. Default: the system's.
	Interfaces func() ([]net.Addr, error)

	// Now tells the time, for what is counted per minute and hour. Required.
	Now func() time.Time

	// Connect, Handshake and Header bound the parts of a request: 10 s each for finding an address
	// and connecting, for TLS, and until the header of an answer is here 30 s. Total bounds an HTTP
	// request and the reading of its answer; default 60 s.
	Connect, Handshake, Header, Total time.Duration

	// Idle ends a connection on which less than 1 KiB came or went for so long. Default 30 s. A
	// WebSocket may be silent for SocketIdle: default 5 min; ping it more often.
	Idle, SocketIdle time.Duration

	// HeaderBytes is the largest header of an answer. Default 64 KiB.
	HeaderBytes int64

	// FrameBytes is the largest message of a WebSocket. Default 4 MiB.
	FrameBytes int64

	// HostConcurrent and HostPerMinute bound requests to one host, and to one address (G02-12).
	// Default 5 and 30. The minute is a sliding one.
	HostConcurrent, HostPerMinute int

	// HostBytesPerSecond is how fast one host is read, all connections together, and HostBytes how
	// much of it is read in an hour. Default: no bound, and 32 GiB.
	HostBytesPerSecond, HostBytes int64

	// AuthorConcurrent and AuthorPerMinute bound requests on behalf of one author, see OnBehalf.
	// Default 8 and 120.
	AuthorConcurrent, AuthorPerMinute int

	// Concurrent bounds, for each of the ways out, what is under way in all; of proxies four times as
	// many may be open, because they are for long tasks. Default 16.
	Concurrent int
}

func (c *Config) defaults() {
	dur := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	dur(&c.Connect, 10*time.Second)
	dur(&c.Handshake, 10*time.Second)
	dur(&c.Header, 30*time.Second)
	dur(&c.Total, time.Minute)
	dur(&c.Idle, 30*time.Second)
	dur(&c.SocketIdle, 5*time.Minute)
	num := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	num(&c.HostConcurrent, 5)
	num(&c.HostPerMinute, 30)
	num(&c.AuthorConcurrent, 8)
	num(&c.AuthorPerMinute, 120)
	num(&c.Concurrent, 16)
	big := func(n *int64, v int64) {
		if *n <= 0 {
			*n = v
		}
	}
	big(&c.HeaderBytes, 64<<10)
	big(&c.FrameBytes, 4<<20)
	big(&c.HostBytes, 32<<30)
	if c.Resolver == nil {
		c.Resolver = net.DefaultResolver
	}
	if c.Interfaces == nil {
		c.Interfaces = net.InterfaceAddrs
	}
}

// A Dialer is the way out. It is safe for concurrent use. Take one from New.
type Dialer struct {
	cfg     Config
	own     map[string]bool // "host:port"
	deny    map[string]bool // clean hosts
	budgets *budgets
	http    *http.Client
	sockets chan struct{} // handshakes under way
	tasks   chan struct{} // proxies open
}

// New returns a Dialer. It panics if cfg.Now is missing.
func New(cfg Config) *Dialer {
	if cfg.Now == nil {
		panic("dial: no clock")
	}
	cfg.defaults()
	d := &Dialer{
		cfg: cfg, own: map[string]bool{}, deny: map[string]bool{},
		budgets: newBudgets(cfg),
		sockets: make(chan struct{}, cfg.Concurrent),
		tasks:   make(chan struct{}, 4*cfg.Concurrent),
	}
	for _, a := range cfg.Own {
		host, port, err := net.SplitHostPort(a)
		if err != nil {
			host, port = strings.Trim(a, "[]"), ""
		}
		if host, err = cleanHost(host); err != nil {
			continue
		}
		if port != "" {
			d.own[net.JoinHostPort(host, port)] = true
			continue
		}
		// Known without a port: by the ports of http and https.
		d.own[net.JoinHostPort(host, "443")] = true
		d.own[net.JoinHostPort(host, "80")] = true
	}
	for _, h := range cfg.Deny {
		if host, err := cleanHost(h); err == nil {
			d.deny[host] = true
		}
	}
	d.http = d.newHTTP()
	return d
}

// Plain reports whether http:// and ws:// are permitted.
func (d *Dialer) Plain() bool { return d.cfg.Plain }

// tls returns the configuration for a host: verified, at least version 1.2.
func (d *Dialer) tls() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: d.cfg.Roots}
}

// ErrForbidden is wrapped by the error of a URL or address that is not contacted, by whatever
// rule. Trying again does not help until the operator allows it.
var ErrForbidden = errors.New("not contacted")

func forbidden(op, format string, args ...any) error {
	return &fault.Error{Code: fault.Invalid, Op: op, Text: fmt.Sprintf(format, args...), Err: ErrForbidden}
}

// A target is where a connection goes: a name for the certificate, and the addresses that were
// looked at.
type target struct {
	host  string // clean
	port  uint16
	addrs []netip.Addr
}

func (t target) authority() string { return net.JoinHostPort(t.host, strconv.Itoa(int(t.port))) }

// maxAddrs is how many addresses of one name are looked at, and how many are tried.
const maxAddrs, maxTries = 64, 4

// resolve finds the addresses of host and looks at all of them. One that is forbidden forbids the
// name: nobody with good intentions mixes them.
func (d *Dialer) resolve(ctx context.Context, host string, port uint16) (target, error) {
	const op = "dial: resolve"
	host, err := cleanHost(host)
	if err != nil {
		return target{}, forbidden(op, "%v", err)
	}
	if !portAllowed(port) {
		return target{}, forbidden(op, "port %d of %s: only 80, 443 and ports from 1024 on are contacted", port, host)
	}
	if d.denied(host) {
		return target{}, forbidden(op, "%s is not contacted: outward.deny", host)
	}
	t := target{host: host, port: port}
	if d.own[t.authority()] {
		return t, forbidden(op, "%s is this server itself", t.authority())
	}
	if a, err := netip.ParseAddr(host); err == nil {
		t.addrs = []netip.Addr{a}
	} else {
		ctx, cancel := context.WithTimeout(ctx, d.cfg.Connect)
		defer cancel()
		if t.addrs, err = d.cfg.Resolver.LookupNetIP(ctx, "ip", host); err != nil {
			return t, &fault.Error{Code: fault.Busy, Op: op, Text: host + " could not be resolved", Err: err}
		}
		t.addrs = slices.Clone(t.addrs)
	}
	if len(t.addrs) == 0 {
		return t, &fault.Error{Code: fault.Busy, Op: op, Text: host + " has no address"}
	}
	if len(t.addrs) > maxAddrs {
		return t, forbidden(op, "%s has %d addresses", host, len(t.addrs))
	}
	local, err := d.local()
	if err != nil {
		return t, fault.Wrap(op, err) // fail closed
	}
	for i, a := range t.addrs {
		a = a.Unmap()
		if d.deny[a.String()] {
			return t, forbidden(op, "%s: %s is not contacted: outward.deny", host, a)
		}
		if a.Zone() != "" {
			return t, forbidden(op, "%s: an address with a zone", host)
		}
		t.addrs[i] = a
		if err := d.check(a, port, local); err != nil {
			return t, forbidden(op, "%s: %v", host, err)
		}
	}
	return t, nil
}

// denied reports whether the operator named host, or a name above it.
func (d *Dialer) denied(host string) bool {
	for h := host; len(d.deny) > 0; {
		if d.deny[h] {
			return true
		}
		_, rest, ok := strings.Cut(h, ".")
		if !ok {
			break
		}
		h = rest
	}
	return false
}

// check says why a must not be contacted at port, or nil.
func (d *Dialer) check(a netip.Addr, port uint16, local []netip.Addr) error {
	if a.IsUnspecified() || a.IsMulticast() || a == limited {
		return fmt.Errorf("%s is nobody's address", a) // not even if allowed
	}
	mine := slices.Contains(local, a) || a.IsLoopback()
	for _, o := range d.cfg.OwnAddrs {
		if o.Port() == port && (o.Addr().Unmap() == a || o.Addr().IsUnspecified() && mine) {
			return fmt.Errorf("%s is this server itself", netip.AddrPortFrom(a, port))
		}
	}
	if d.allowed(a) {
		// Whoever allows a translator's network does not allow all that lies behind it.
		if v4, ok := translated(a); ok && !d.allowed(v4) {
			if what := forbiddenRange(v4); what != "" {
				return fmt.Errorf("%s leads to %s: %s", a, v4, what)
			}
		}
		return nil
	}
	if what := forbiddenRange(a); what != "" {
		return fmt.Errorf("%s is in %s; the operator may allow it with outward.allow", a, what)
	}
	if mine {
		return fmt.Errorf("%s is this computer; the operator may allow it with outward.allow", a)
	}
	return nil
}

func (d *Dialer) allowed(a netip.Addr) bool {
	for _, p := range d.cfg.Allow {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// local returns the addresses of this computer's interfaces.
func (d *Dialer) local() ([]netip.Addr, error) {
	ifs, err := d.cfg.Interfaces()
	if err != nil {
		return nil, err
	}
	out := make([]netip.Addr, 0, len(ifs))
	for _, a := range ifs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				out = append(out, ip.Unmap())
			}
		}
	}
	return out, nil
}

// connect opens TCP to the first address of t that answers. It dials addresses, never names.
func (d *Dialer) connect(ctx context.Context, t target) (net.Conn, error) {
	const op = "dial: connect"
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Connect)
	defer cancel()
	tries := min(len(t.addrs), maxTries)
	var last error
	for i, a := range t.addrs[:tries] {
		// One address that swallows everything must leave time for the next.
		one, stop := context.WithTimeout(ctx, d.cfg.Connect/time.Duration(tries-i+1)+time.Second)
		dialer := net.Dialer{FallbackDelay: -1}
		c, err := dialer.DialContext(one, "tcp", netip.AddrPortFrom(a, t.port).String())
		stop()
		if err == nil {
			return c, nil
		}
		last = err
		if ctx.Err() != nil {
			break
		}
	}
	if err := context.Cause(ctx); err != nil && errors.Is(err, context.Canceled) {
		return nil, fault.Wrap(op, err)
	}
	return nil, &fault.Error{Code: fault.Busy, Op: op, Text: t.authority() + " does not answer", Err: last}
}

// DialContext connects to the host:port in address, under the rules of this package. network must
// be "tcp". The connection counts for the budgets of its host until it is connected, and is bounded
// in silence (Idle); its lifetime is up to the caller.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	const op = "dial: connect"
	if network != "tcp" && network != "tcp4" && network != "tcp6" {
		return nil, forbidden(op, "network %q", network)
	}
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, forbidden(op, "%q is not host:port", address)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, forbidden(op, "%q is not a port", portText)
	}
	c, err := d.open(ctx, host, uint16(port), 1)
	if err != nil {
		return nil, err
	}
	c.release()
	return newGuard(c.Conn, guardLimits{idle: d.cfg.Idle, floor: progressFloor, book: c.book}), nil
}

// An opened connection holds its place in the budgets until release.
type opened struct {
	net.Conn
	book    *book
	release func()
}

// open checks, counts n requests and connects.
func (d *Dialer) open(ctx context.Context, host string, port uint16, n int) (opened, error) {
	t, b, release, err := d.admit(ctx, host, port, n)
	if err != nil {
		return opened{}, err
	}
	c, err := d.connect(ctx, t)
	if err != nil {
		release()
		return opened{}, err
	}
	return opened{c, b, release}, nil
}

// admit resolves host, looks at its addresses, and takes n requests out of the budgets of the host,
// of its first address and of the author in ctx. release gives the concurrent place back; it may be
// called more than once.
func (d *Dialer) admit(ctx context.Context, host string, port uint16, n int) (target, *book, func(), error) {
	clean, err := cleanHost(host)
	if err != nil {
		return target{}, nil, nil, forbidden("dial: resolve", "%v", err)
	}
	// The host first: a name that is asked for too often is not even resolved.
	author, _ := ctx.Value(authorKey{}).(string)
	b, release, err := d.budgets.take(clean, author, n)
	if err != nil {
		return target{}, nil, nil, err
	}
	t, err := d.resolve(ctx, clean, port)
	if err != nil {
		release()
		return t, nil, nil, err
	}
	// Many names of one computer are one computer.
	if at := budgetAddr(t.addrs[0]); at != clean {
		_, second, err := d.budgets.take(at, "", n)
		if err != nil {
			release()
			return t, nil, nil, err
		}
		first := release
		release = func() { first(); second() }
	}
	return t, b, release, nil
}

// budgetAddr is under which name an address is counted: alone, or with its /64.
func budgetAddr(a netip.Addr) string {
	if a.Is4() {
		return a.String()
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a.String()
	}
	return p.Masked().String()
}

type authorKey struct{}

// OnBehalf returns a context whose requests count for author: whoever wrote the URL down. An author
// whose events name a thousand hosts is bounded like a host (hardening §9).
func OnBehalf(ctx context.Context, author string) context.Context {
	return context.WithValue(ctx, authorKey{}, author)
}

// RetryAfter returns how long to wait if err says that a budget is used up, and whether it does.
func RetryAfter(err error) (time.Duration, bool) {
	var b *BudgetError
	if errors.As(err, &b) {
		return b.After, true
	}
	return 0, false
}

// Package client is the small side of the protocol: it makes keys, signs announcements and states,
// hands them to a relay and pushes with stock git. The command line and the tests use it.
//
// It is no wallet and no Nostr client: it reads keys from files, signs three kinds of things, and
// follows no links. It refuses to know how a server decides, and how programs are started: git is
// handed in.
package client

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// Git runs stock git in the folder dir and returns what it printed. err is not nil if it could not
// be started or did not end with 0; the output is returned all the same.
type Git func(ctx context.Context, dir string, args ...string) (stdout, stderr string, err error)

// A Client works on a repository of this computer and with one server at a time. Both fields must
// be set. It is safe for concurrent use if Git is.
type Client struct {
	Git Git
	Now func() time.Time
}

// A Server is where git and the relay live: https://git.example.com, without a trailing slash.
type Server struct{ base string }

// ParseServer reads "https://git.example.com", "git.example.com" or "http://127.0.0.1:7334". A
// name without a scheme gets https, an address or localhost http. Errors are fault.Invalid.
func ParseServer(s string) (Server, error) {
	const op = "client: server"
	raw := strings.TrimRight(strings.TrimSpace(s), "/")
	if raw == "" || strings.HasSuffix(raw, ":") {
		return Server{}, fault.E(fault.Invalid, op, "no server is named; give one with --server https://git.example.com")
	}
	switch {
	case strings.HasPrefix(raw, "wss://"):
		raw = "https" + raw[3:]
	case strings.HasPrefix(raw, "ws://"):
		raw = "http" + raw[2:]
	case !strings.Contains(raw, "://"):
		scheme := "https://"
		if local(raw) {
			scheme = "http://"
		}
		raw = scheme + raw
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil ||
		u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return Server{}, fault.Errorf(fault.Invalid, op, "%q is not the address of a server such as https://git.example.com", s)
	}
	return Server{u.Scheme + "://" + strings.ToLower(u.Host)}, nil
}

// String returns the address of the server.
func (s Server) String() string { return s.base }

// Relay returns the address of its relay.
func (s Server) Relay() string { return "ws" + strings.TrimPrefix(s.base, "http") }

// Clone returns the address of a repository there.
func (s Server) Clone(a grasp.Addr) string {
	return s.base + "/" + a.Owner.Npub() + "/" + url.PathEscape(a.ID) + ".git"
}

// Loopback reports whether the server is this computer.
func (s Server) Loopback() bool {
	u, err := url.Parse(s.base)
	if err != nil {
		return false
	}
	if u.Hostname() == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.IsLoopback()
}

func local(authority string) bool {
	host := authority
	if h, _, err := net.SplitHostPort(authority); err == nil {
		host = h
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || host == "localhost"
}

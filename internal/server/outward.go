package server

import (
	"crypto/x509"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/gitroost/gitroost/internal/dial"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/work"
)

// openWay makes the one dialer by which this server goes out. The listeners are bound.
func (s *Server) openWay() error {
	const op = "server: the way out"
	o := s.cfg.Outward
	bound := s.listener.Addr().String()
	cfg := dial.Config{
		Allow: o.Allow, Deny: o.Deny, Plain: o.HTTP, Now: s.now,
		Own: s.cfg.Authorities(bound), OwnAddrs: addrPorts(bound, s.AdminAddr()),
		HostConcurrent: o.HostConcurrent, HostPerMinute: o.HostPerMinute, HostBytesPerSecond: o.HostRate,
	}
	if o.CA != "" {
		path := absolute(o.CA)
		pem, err := os.ReadFile(path)
		if err != nil {
			return fault.Errorf(fault.Invalid, op, "outward.ca: %v", err)
		}
		cfg.Roots = x509.NewCertPool()
		if !cfg.Roots.AppendCertsFromPEM(pem) {
			return fault.Errorf(fault.Invalid, op, "outward.ca: there is no certificate in %s; it must be PEM", path)
		}
	}
	s.way = dial.New(cfg)
	// What the operator's own jobs tell others goes where the operator says, and as often as there is
	// something to tell.
	cfg.Allow = append(slices.Clone(cfg.Allow), s.cfg.Engine.Reach...)
	cfg.Plain = cfg.Plain || len(s.cfg.Engine.Reach) > 0
	cfg.HostConcurrent, cfg.HostPerMinute = 20, 1200
	cfg.Header, cfg.Total, cfg.Idle = work.MaxTimeout, work.MaxTimeout, work.MaxTimeout // each says its own
	s.tellWay = dial.New(cfg)
	// What a repository itself says may be told goes nowhere that the operator's own jobs alone may reach.
	cfg.Allow, cfg.Plain = o.Allow, o.HTTP
	s.ownWay = dial.New(cfg)
	return nil
}

// addrPorts reads addresses of listeners and passes over what is none.
func addrPorts(bound ...string) (out []netip.AddrPort) {
	for _, b := range bound {
		if a, err := netip.ParseAddrPort(b); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// absolute returns path as children find it; "" stays "".
func absolute(path string) string {
	if path == "" {
		return ""
	}
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

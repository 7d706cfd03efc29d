package server

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/gitroost/gitroost/internal/probe"
)

// prefixer tells on behalf of which network a request is made: /24 of IPv4, /48 of IPv6. Forwarded
// headers count only from trusted proxies (H-112).
type prefixer struct{ trusted []netip.Prefix }

// prefix returns the network, or "" for a program on this very computer, to which limits per
// address do not apply. What is malformed falls back to the peer's own address.
func (p prefixer) prefix(r *http.Request) string {
	addr, forwarded := p.client(r)
	if !addr.IsValid() {
		return "unknown"
	}
	if addr.IsLoopback() && !forwarded {
		return ""
	}
	bits := 24
	if addr.Is6() {
		bits = 48
	}
	net, err := addr.Prefix(bits)
	if err != nil {
		return addr.String() // unreachable: the address is valid
	}
	return net.String()
}

// client returns the visitor's address: the right-most one that is not a trusted proxy. forwarded
// reports that somebody claims to speak for another.
func (p prefixer) client(r *http.Request) (addr netip.Addr, forwarded bool) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false
	}
	addr = peer.Addr().Unmap().WithZone("")
	values := r.Header.Values("X-Forwarded-For")
	if len(values) == 0 {
		return addr, false
	}
	if len(values) > 1 || !p.trusts(addr) {
		return addr, true
	}
	hops := strings.Split(values[0], ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			return addr, true
		}
		addr = hop.Unmap().WithZone("")
		if !p.trusts(addr) {
			return addr, true
		}
	}
	return addr, true
}

func (p prefixer) trusts(a netip.Addr) bool {
	for _, net := range p.trusted {
		if net.Contains(a) {
			return true
		}
	}
	return false
}

// sender says on whose behalf a request was made, and why that is believed.
func (p prefixer) sender(r *http.Request) probe.Sender {
	addr, forwarded := p.client(r)
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	return probe.Sender{Address: addr, Forwarded: forwarded, Trusted: forwarded && p.trusts(peer.Addr().Unmap().WithZone(""))}
}

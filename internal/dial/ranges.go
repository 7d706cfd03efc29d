package dial

import "net/netip"

// A network that is not the world, and why.
type notWorld struct {
	prefix netip.Prefix
	what   string
}

func row(prefix, what string) notWorld { return notWorld{netip.MustParsePrefix(prefix), what} }

// limited is the broadcast address of every network (RFC 919).
var limited = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// notTheWorld are the networks that no URL of a stranger leads to: the special-purpose registries of
// RFC 6890, with the RFC that set each aside. Addresses are compared after unmapping.
var notTheWorld = []notWorld{
	row("0.0.0.0/8", "this network (RFC 791)"),
	row("10.0.0.0/8", "a private network (RFC 1918)"),
	row("100.64.0.0/10", "a carrier's shared network (RFC 6598), where some clouds keep metadata"),
	row("127.0.0.0/8", "loopback (RFC 1122)"),
	row("169.254.0.0/16", "link-local (RFC 3927), where clouds keep metadata"),
	row("172.16.0.0/12", "a private network (RFC 1918)"),
	row("192.0.0.0/24", "protocol assignments (RFC 6890)"),
	row("192.0.2.0/24", "documentation (RFC 5737)"),
	row("192.31.196.0/24", "AS112 (RFC 7535)"),
	row("192.52.193.0/24", "AMT relays (RFC 7450)"),
	row("192.88.99.0/24", "6to4 relays (RFC 7526)"),
	row("192.168.0.0/16", "a private network (RFC 1918)"),
	row("192.175.48.0/24", "AS112 (RFC 7534)"),
	row("198.18.0.0/15", "benchmarks (RFC 2544)"),
	row("198.51.100.0/24", "documentation (RFC 5737)"),
	row("203.0.113.0/24", "documentation (RFC 5737)"),
	row("224.0.0.0/4", "multicast (RFC 5771)"),
	row("240.0.0.0/4", "reserved (RFC 1112)"),
	row("168.63.129.16/32", "a cloud's metadata address, though outwardly public"),

	row("::/96", "unspecified, loopback and IPv4-compatible (RFC 4291)"),
	row("::ffff:0:0:0/96", "IPv4-translated (RFC 2765)"),
	row("64:ff9b::/96", "NAT64 (RFC 6052)"),
	row("64:ff9b:1::/48", "local NAT64 (RFC 8215)"),
	row("100::/64", "discard only (RFC 6666)"),
	row("100:0:0:1::/64", "dummy prefix (RFC 9780)"),
	row("2001::/32", "Teredo (RFC 4380)"),
	row("2001:2::/48", "benchmarks (RFC 5180)"),
	row("2001:10::/28", "ORCHID (RFC 4843)"),
	row("2001:20::/28", "ORCHIDv2 (RFC 7343)"),
	row("2001::/23", "protocol assignments (RFC 2928)"),
	row("2001:db8::/32", "documentation (RFC 3849)"),
	row("2002::/16", "6to4 (RFC 3056)"),
	row("2620:4f:8000::/48", "AS112 (RFC 7534)"),
	row("3fff::/20", "documentation (RFC 9637)"),
	row("5f00::/16", "segment routing (RFC 9602)"),
	row("fc00::/7", "a private network (RFC 4193)"),
	row("fe80::/10", "link-local (RFC 4291)"),
	row("fec0::/10", "site-local (RFC 3879)"),
	row("ff00::/8", "multicast (RFC 4291)"),
}

// globalUnicast is all of IPv6 that was handed out for the world (RFC 3513): the rest is reserved.
var globalUnicast = netip.MustParsePrefix("2000::/3")

// forbiddenRange names the network of the table in which a lies, or returns "".
func forbiddenRange(a netip.Addr) string {
	a = a.Unmap()
	for _, r := range notTheWorld {
		if r.prefix.Contains(a) {
			return r.prefix.String() + ", " + r.what
		}
	}
	if a.Is6() && !globalUnicast.Contains(a) {
		return "a reserved network (RFC 4291)"
	}
	return ""
}

// translated returns the IPv4 address that an IPv6 address leads to by way of a translator or a
// tunnel: NAT64, 6to4, Teredo, IPv4-compatible and -translated.
func translated(a netip.Addr) (netip.Addr, bool) {
	if !a.Is6() || a.Is4In6() {
		return netip.Addr{}, false
	}
	b := a.As16()
	last := netip.AddrFrom4([4]byte(b[12:16]))
	for _, p := range []string{"64:ff9b::/96", "64:ff9b:1::/96", "::/96", "::ffff:0:0:0/96"} {
		if netip.MustParsePrefix(p).Contains(a) {
			return last, true
		}
	}
	switch {
	case b[0] == 0x20 && b[1] == 0x02:
		return netip.AddrFrom4([4]byte(b[2:6])), true
	case b[0] == 0x20 && b[1] == 0x01 && b[2] == 0 && b[3] == 0:
		return netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}), true
	}
	return netip.Addr{}, false
}

package manage

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/gitroost/gitroost/grasp"
)

// loopback are the addresses of this very computer.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// parseAddress reads an address or a range. One that could keep this computer, or a proxy in front,
// out is refused: a rule that blocks everybody is made by mistake only.
func (h *Handler) parseAddress(s string) (grasp.Subject, error) {
	p, err := parsePrefix(s)
	if err != nil {
		return grasp.Subject{}, mistake("%.60q is not an address or range such as 192.0.2.0/24", s)
	}
	for _, l := range loopback {
		if l.Overlaps(p) {
			return grasp.Subject{}, mistake("%s includes this computer's own addresses, and everything behind a proxy on it; they cannot be blocked", p)
		}
	}
	for _, l := range h.cfg.Never {
		if l.Overlaps(p) {
			return grasp.Subject{}, mistake("%s includes the trusted proxy %s; it cannot be blocked", p, l)
		}
	}
	return grasp.ParseSubject(grasp.OfAddress, writePrefix(p))
}

func parsePrefix(s string) (netip.Prefix, error) {
	s = strings.TrimSpace(s)
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, err
		}
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, err
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// writePrefix writes a range, and a single address without its length.
func writePrefix(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// Blocks says which addresses are denied. It is not changed once it was made; the nil Blocks denies
// none.
type Blocks struct {
	by   map[netip.Prefix]grasp.Rule
	bits []int // the lengths there are
}

// NewBlocks reads the rules about addresses. Loopback addresses are not blocked, whatever a rule
// says.
func NewBlocks(rules []grasp.Rule) *Blocks {
	b := &Blocks{by: make(map[netip.Prefix]grasp.Rule)}
	for _, r := range rules {
		p, err := parsePrefix(r.Subject.Name)
		if err != nil {
			continue
		}
		if _, twice := b.by[p]; !twice {
			b.by[p] = r
		}
		if !slices.Contains(b.bits, p.Bits()) {
			b.bits = append(b.bits, p.Bits())
		}
	}
	slices.Sort(b.bits)
	return b
}

// Any reports whether there is any rule.
func (b *Blocks) Any() bool { return b != nil && len(b.by) > 0 }

// Find returns the rule that denies a, of several the one with the lowest number, or nil.
func (b *Blocks) Find(a netip.Addr) *grasp.Rule {
	if !b.Any() || !a.IsValid() {
		return nil
	}
	a = a.Unmap().WithZone("")
	if a.IsLoopback() {
		return nil
	}
	var found *grasp.Rule
	for _, n := range b.bits {
		p, err := a.Prefix(n)
		if err != nil {
			continue
		}
		if r, ok := b.by[p]; ok && (found == nil || r.Number < found.Number) {
			found = &r
		}
	}
	return found
}

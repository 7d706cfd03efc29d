package grasp

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// ParsePull parses an event of kind 1618 or 1619. Its first c tag must be an object id of 40 or
// 64 hex digits (G01-708); the long form can wait, but no repository here can satisfy it.
func ParsePull(ev *nostr.Event) (Pull, error) {
	p := Pull{Event: ev, ID: EventID(ev.ID)}
	var tip string
	var have bool
	named := map[Addr]struct{}{}
	for _, t := range ev.Tags {
		if len(t) < 2 {
			continue
		}
		switch t[0] {
		case "c":
			if !have {
				tip, have = strings.ToLower(t[1]), true
			}
		case "a":
			if a, ok := ParseCoordinate(t[1]); ok {
				if _, twice := named[a]; !twice {
					named[a] = struct{}{}
					p.Repos = append(p.Repos, a)
				}
			}
		case "E":
			if id, ok := ParseEventID(t[1]); ok && p.Root == "" && ev.Kind == KindPullUpdate {
				p.Root = id
			}
		case "clone":
			for _, u := range t[1:] {
				if u != "" {
					p.Clone = append(p.Clone, u)
				}
			}
		}
	}
	if len(p.Repos) > 0 {
		p.Root = ""
	}
	switch {
	case !have:
		return p, refuse("G01-708", Invalid, "a pull request needs a c tag with the id of its tip commit")
	case IsHex(tip, 64):
	case IsHex(tip, 40) && OID(tip) != ZeroOID:
		p.Tip = OID(tip)
	default:
		return p, refuse("G01-708", Invalid, fmt.Sprintf("the c tag says %.70q, which is no commit id", tip))
	}
	return p, nil
}

// Concerned returns the owners of the repositories of this identifier that p is about: those that
// its a tags name, and those with a named key among their maintainers (G01-705).
func (v View) Concerned(p Pull) []PubKey {
	c := newCensus(v)
	return c.concerned(p, c.maintainers)
}

func (c *census) concerned(p Pull, maintainers func(PubKey) people) []PubKey {
	var out []PubKey
	named := c.named(p)
	for owner, h := range c.view.Hosted {
		if h == Live && c.concerns(named, owner, maintainers) {
			out = append(out, owner)
		}
	}
	slices.Sort(out)
	return out
}

// concerns reports whether a pull request that names these owners is about owner's repository.
func (c *census) concerns(named people, owner PubKey, maintainers func(PubKey) people) bool {
	return len(named) > 0 && (named.has(c.of(owner)) || named.meets(maintainers(owner)))
}

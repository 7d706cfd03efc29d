package grasp

import (
	"fmt"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// The most that one announcement may list (G01-110).
const (
	MaxMaintainersListed = 500
	MaxCloneURLs         = 100
	MaxRelayURLs         = 100
)

// identifier returns the first d value of ev, which must be able to name a repository.
func identifier(ev *nostr.Event) (string, error) {
	for _, t := range ev.Tags {
		if len(t) >= 1 && t[0] == "d" {
			if len(t) >= 2 && ValidIdentifier(t[1]) {
				return t[1], nil
			}
			r := refuse("H-104", Invalid, "the d tag is no repository identifier")
			r.Hint = fmt.Sprintf("use 1 to %d bytes without slashes or control characters, and not . or ..", MaxIdentifier)
			return "", r
		}
	}
	return "", refuse("G01-104", Invalid, "the event has no d tag; it names the repository")
}

// Announcement parses an event of kind 30617 (G01-102, G01-104, G01-114). Garbage among the
// maintainers is ignored; a missing or unusable identifier is a *Refusal.
func (s Site) Announcement(ev *nostr.Event) (Announcement, error) {
	a := Announcement{Event: ev}
	id, err := identifier(ev)
	if err != nil {
		return a, err
	}
	a.Addr = Addr{Owner: PubKey(ev.PubKey), ID: id}
	seen := KeySet{}
	var clone, relay bool
	for _, t := range ev.Tags {
		if len(t) < 2 {
			continue
		}
		for _, v := range t[1:] {
			if v == "" {
				continue
			}
			switch t[0] {
			case "clone":
				a.Clone = append(a.Clone, v)
				clone = clone || s.ListsClone(v)
			case "relays":
				a.Relays = append(a.Relays, v)
				relay = relay || s.ListsRelay(v)
			case "maintainers":
				k, ok := ParsePubKey(strings.ToLower(v))
				if !ok {
					if k, err = ParseNpub(v); err != nil {
						continue // G01-114
					}
				}
				if !seen.Has(k) {
					seen[k] = struct{}{}
					a.Maintainers = append(a.Maintainers, k)
				}
			}
		}
	}
	a.ListsUs = clone && relay
	a.Archived = !a.ListsUs && s.archive.takes(a)
	for _, b := range []struct {
		what string
		n    int
		max  int
	}{
		{"maintainers", len(a.Maintainers), MaxMaintainersListed},
		{"clone URLs", len(a.Clone), MaxCloneURLs},
		{"relays", len(a.Relays), MaxRelayURLs},
	} {
		if b.n > b.max {
			return a, refuse("G01-110", Invalid, fmt.Sprintf("the announcement lists %d %s; at most %d are accepted", b.n, b.what, b.max))
		}
	}
	return a, nil
}

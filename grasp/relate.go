package grasp

import (
	"strconv"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// Replaceable reports whether only the newest event of kind per author is kept (N-009).
func Replaceable(kind int) bool {
	return kind == 0 || kind == 3 || kind >= 10000 && kind < 20000
}

// Addressable reports whether only the newest event of kind per author and d value is kept (N-009).
func Addressable(kind int) bool { return kind >= 30000 && kind < 40000 }

// Ephemeral reports whether events of kind are broadcast and never stored (N-010).
func Ephemeral(kind int) bool { return kind >= 20000 && kind < 30000 }

// CoordinateOf returns kind:pubkey:d of a replaceable or addressable event, or "".
func CoordinateOf(ev *nostr.Event) string {
	switch {
	case Addressable(ev.Kind):
		return strconv.Itoa(ev.Kind) + ":" + ev.PubKey + ":" + FirstValue(ev, "d")
	case Replaceable(ev.Kind):
		return strconv.Itoa(ev.Kind) + ":" + ev.PubKey + ":"
	}
	return ""
}

// FirstValue returns the value of the first tag of that name, or "".
func FirstValue(ev *nostr.Event, name string) string {
	for _, t := range ev.Tags {
		if len(t) > 0 && t[0] == name {
			if len(t) > 1 {
				return t[1]
			}
			return ""
		}
	}
	return ""
}

// Anchors returns what ev points at: event ids by e, E and q, coordinates by a, A and q. Values
// that are neither are left out (G01-801, G01-803).
func Anchors(ev *nostr.Event) (ids []EventID, coordinates []string) {
	seen := map[string]struct{}{}
	for _, t := range ev.Tags {
		if len(t) < 2 || len(t[0]) != 1 {
			continue
		}
		v := t[1]
		if _, dup := seen[v]; dup {
			continue
		}
		switch t[0] {
		case "e", "E":
			if id, ok := ParseEventID(v); ok {
				ids = append(ids, id)
				seen[v] = struct{}{}
			}
		case "a", "A":
			if validCoordinate(v) {
				coordinates = append(coordinates, v)
				seen[v] = struct{}{}
			}
		case "q":
			if id, ok := ParseEventID(v); ok {
				ids = append(ids, id)
				seen[v] = struct{}{}
			} else if validCoordinate(v) {
				coordinates = append(coordinates, v)
				seen[v] = struct{}{}
			}
		}
	}
	return ids, coordinates
}

// validCoordinate reports whether s is kind:pubkey:d of a replaceable or addressable kind.
func validCoordinate(s string) bool {
	kind, rest, ok := strings.Cut(s, ":")
	if !ok || len(rest) < 65 || rest[64] != ':' || !IsHex(rest[:64], 64) {
		return false
	}
	n, err := strconv.Atoi(kind)
	if err != nil || strconv.Itoa(n) != kind {
		return false
	}
	return Addressable(n) || Replaceable(n) && len(rest) == 65
}

package grasp

import (
	"strings"
	"unicode/utf8"
)

// MaxIdentifier is the longest identifier accepted, in bytes (H-104).
const MaxIdentifier = 251

// KindAnnouncement and the others are the event kinds that the protocol gives a meaning to.
const (
	KindProfile      = 0
	KindDeletion     = 5
	KindVanish       = 62
	KindPatch        = 1617
	KindPull         = 1618
	KindPullUpdate   = 1619
	KindIssue        = 1621
	KindRelayList    = 10002
	KindGraspList    = 10317
	KindAnnouncement = 30617
	KindState        = 30618
)

// ValidIdentifier reports whether id may name a repository: 1 to 251 bytes of UTF-8 that are not
// "." or ".." and contain no slash, backslash or control character (H-104).
func ValidIdentifier(id string) bool {
	if id == "" || len(id) > MaxIdentifier || id == "." || id == ".." || !utf8.ValidString(id) {
		return false
	}
	for _, r := range id {
		if r == '/' || r == '\\' || r < 0x20 || r >= 0x7f && r < 0xa0 {
			return false
		}
	}
	return true
}

// Valid reports whether a may be turned into a path or a URL.
func (a Addr) Valid() bool { return IsHex(string(a.Owner), 64) && ValidIdentifier(a.ID) }

// Coordinate returns the value by which events point at the announcement of a; nothing points so at
// a box.
func (a Addr) Coordinate() string { return "30617:" + string(a.Owner) + ":" + a.ID }

// String returns a in the form npub1…/identifier, and a box with prs/ in front.
func (a Addr) String() string {
	s := a.Owner.Npub() + "/" + a.ID
	if a.Box {
		return "prs/" + s
	}
	return s
}

// ParseCoordinate splits an "a" value of kind 30617. The identifier may contain colons.
func ParseCoordinate(s string) (Addr, bool) {
	rest, ok := strings.CutPrefix(s, "30617:")
	if !ok || len(rest) < 66 || rest[64] != ':' {
		return Addr{}, false
	}
	a := Addr{Owner: PubKey(rest[:64]), ID: rest[65:]}
	return a, a.Valid()
}

package grasp

import (
	"errors"
	"strings"
)

// A Pattern names repositories that an operator allows or denies: an owner, an identifier, or one
// repository of one owner. The zero Pattern names none.
type Pattern struct {
	Owner PubKey // "" means any
	ID    string // "" means any
}

// ParsePattern reads the three forms npub1…, npub1…/identifier and identifier. Keys may also be
// spelled in hex.
func ParsePattern(s string) (Pattern, error) {
	first, rest, slash := strings.Cut(s, "/")
	key, err := ParseNpub(first)
	if err != nil {
		var ok bool
		if key, ok = ParsePubKey(first); !ok {
			if slash || strings.HasPrefix(first, "npub1") || !ValidIdentifier(s) {
				return Pattern{}, errors.New("is not npub1…, npub1…/identifier or an identifier")
			}
			return Pattern{ID: s}, nil
		}
	}
	if slash && !ValidIdentifier(rest) {
		return Pattern{}, errors.New("names no repository identifier behind the slash")
	}
	return Pattern{Owner: key, ID: rest}, nil
}

// Matches reports whether p names a.
func (p Pattern) Matches(a Addr) bool {
	if p == (Pattern{}) {
		return false
	}
	return (p.Owner == "" || p.Owner == a.Owner) && (p.ID == "" || p.ID == a.ID)
}

// A Curation says which repositories an operator wants (G01-109). The zero Curation wants all.
type Curation struct {
	Allow []Pattern // if there are any, nothing else is taken
	Deny  []Pattern // beats Allow
}

// Check refuses the announcement of a repository that is denied, or not among those allowed.
func (c Curation) Check(a Addr) error {
	for _, p := range c.Deny {
		if p.Matches(a) {
			return refuse("G01-109", Restricted, "this server does not take this repository")
		}
	}
	for _, p := range c.Allow {
		if p.Matches(a) {
			return nil
		}
	}
	if len(c.Allow) > 0 {
		r := refuse("G01-109", Restricted, "this server takes repositories of its own list only")
		r.Hint = "ask the operator to add you"
		return r
	}
	return nil
}

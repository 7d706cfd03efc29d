package grasp

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
)

type (
	// PubKey is a Nostr public key: 64 lower-case hex digits.
	PubKey string

	// EventID is a Nostr event id: 64 lower-case hex digits.
	EventID string

	// OID is a git object id: 40 lower-case hex digits (SHA-1).
	OID string

	// RefName is a full git reference name such as "refs/heads/main".
	RefName string
)

// ZeroOID stands for "the ref does not exist" in a ref update.
const ZeroOID OID = "0000000000000000000000000000000000000000"

// An Addr names one repository wherever it is hosted: its owner and its identifier.
type Addr struct {
	Owner PubKey
	ID    string

	// Box marks a contributor's box: not a repository that somebody announced, but the place
	// for pull requests that Owner submits to repositories of this identifier, whoever they
	// belong to (G06-02). Nobody announces it, and it holds nothing but PR refs.
	Box bool
}

// Refs is what a repository, or a state event, says that each ref points to. Values are never
// ZeroOID. A Refs that was handed to somebody else is not changed any more.
type Refs map[RefName]OID

// A RefChange moves one ref. A pusher asks for changes, Settle makes them, and jobs hear of
// them: one type, and the variable's name says which of the three it is.
type RefChange struct {
	Ref      RefName
	Old, New OID // ZeroOID means that the ref does not exist
}

// KeySet is a set of public keys.
type KeySet map[PubKey]struct{}

// Has reports whether k is in the set.
func (s KeySet) Has(k PubKey) bool { _, ok := s[k]; return ok }

// OIDSet is a set of object ids.
type OIDSet map[OID]struct{}

// Has reports whether o is in the set.
func (s OIDSet) Has(o OID) bool { _, ok := s[o]; return ok }

// Add puts o into the set.
func (s OIDSet) Add(o OID) { s[o] = struct{}{} }

// IsHex reports whether s consists of exactly n lower-case hex digits.
func IsHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// ParsePubKey returns the key that s spells as 64 lower-case hex digits.
func ParsePubKey(s string) (PubKey, bool) { return PubKey(s), IsHex(s, 64) }

// ParseEventID returns the id that s spells as 64 lower-case hex digits.
func ParseEventID(s string) (EventID, bool) { return EventID(s), IsHex(s, 64) }

// ParseOID returns the object id that s spells as 40 hex digits of either case. The result is
// lower-case; compare only parsed values (G01-302).
func ParseOID(s string) (OID, bool) {
	if IsHex(s, 40) {
		return OID(s), true
	}
	l := strings.ToLower(s)
	return OID(l), IsHex(l, 40)
}

// IsZero reports whether o is the zero id or empty.
func (o OID) IsZero() bool { return o == ZeroOID || o == "" }

// Short returns the first seven digits, for people.
func (o OID) Short() string { return string(o[:min(7, len(o))]) }

// Short returns the first seven digits, for people.
func (e EventID) Short() string { return string(e[:min(7, len(e))]) }

// Sorted returns the names of r in byte order.
func (r Refs) Sorted() []RefName { return slices.Sorted(maps.Keys(r)) }

// Digest is a short fingerprint of r: equal contents have equal digests.
func (r Refs) Digest() string {
	h := sha1.New()
	var b bytes.Buffer
	for _, n := range r.Sorted() {
		b.Reset()
		b.WriteString(string(n))
		b.WriteByte(' ')
		b.WriteString(string(r[n]))
		b.WriteByte('\n')
		h.Write(b.Bytes())
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Diff returns the changes that lead from was to is, in the order of their names.
func Diff(was, is Refs) []RefChange {
	var out []RefChange
	for n, o := range is {
		if old, ok := was[n]; !ok {
			out = append(out, RefChange{n, ZeroOID, o})
		} else if old != o {
			out = append(out, RefChange{n, old, o})
		}
	}
	for n, o := range was {
		if _, ok := is[n]; !ok {
			out = append(out, RefChange{n, o, ZeroOID})
		}
	}
	slices.SortFunc(out, func(a, b RefChange) int { return strings.Compare(string(a.Ref), string(b.Ref)) })
	return out
}

// Apply returns a copy of r with changes made.
func (r Refs) Apply(changes []RefChange) Refs {
	out := make(Refs, len(r)+len(changes))
	maps.Copy(out, r)
	for _, c := range changes {
		if c.New.IsZero() {
			delete(out, c.Ref)
		} else {
			out[c.Ref] = c.New
		}
	}
	return out
}

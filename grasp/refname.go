package grasp

import (
	"strings"
	"unicode/utf8"
)

// MaxRefName is the longest ref name accepted, in bytes.
const MaxRefName = 255

const (
	headsPrefix = "refs/heads/"
	tagsPrefix  = "refs/tags/"
	nostrPrefix = "refs/nostr/"
)

// ParseRefName returns the ref that s names. It accepts what `git check-ref-format` accepts for a
// full name, provided that it is UTF-8 and at most MaxRefName bytes long.
func ParseRefName(s string) (RefName, bool) {
	if len(s) > MaxRefName || !strings.HasPrefix(s, "refs/") || !utf8.ValidString(s) {
		return "", false
	}
	if strings.HasSuffix(s, ".") || strings.Contains(s, "..") || strings.Contains(s, "@{") {
		return "", false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c <= ' ' || c == 0x7f:
			return "", false
		case strings.IndexByte("~^:?*[\\", c) >= 0:
			return "", false
		}
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part[0] == '.' || strings.HasSuffix(part, ".lock") {
			return "", false
		}
	}
	return RefName(s), true
}

// IsHead reports whether r is a branch.
func (r RefName) IsHead() bool { return strings.HasPrefix(string(r), headsPrefix) }

// IsTag reports whether r is a tag.
func (r RefName) IsTag() bool { return strings.HasPrefix(string(r), tagsPrefix) }

// IsNostr reports whether r is below refs/nostr/.
func (r RefName) IsNostr() bool { return strings.HasPrefix(string(r), nostrPrefix) }

// Pull returns the event that a PR ref belongs to. ok is false unless r is exactly
// refs/nostr/<64 lower-case hex digits> (G01-701).
func (r RefName) Pull() (id EventID, ok bool) {
	s, found := strings.CutPrefix(string(r), nostrPrefix)
	if !found {
		return "", false
	}
	return ParseEventID(s)
}

// PullRef returns the ref that carries the commits of the pull request with this event id.
func PullRef(id EventID) RefName { return RefName(nostrPrefix + string(id)) }

// Visible reports whether r is ever advertised (H-207).
func (r RefName) Visible() bool { return r.IsHead() || r.IsTag() || r.IsNostr() }

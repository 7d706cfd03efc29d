package store

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

// The forms of a value in the key of a tag. The form is part of the key, so no value of one form
// can pass for one of another.
const (
	formHex   = 1 // 64 lower-case hex digits, as 32 bytes
	formPlain = 2 // as it is
	formHash  = 3 // its SHA-256
)

// maxPlain is the longest value that is kept as it is. Longer ones are found by their hash: exact
// as well, whatever their length, and no row of an index is long.
const maxPlain = 96

// tagKey returns the key under which events with a tag of this letter and value are found.
func tagKey(letter byte, value string) []byte {
	key := make([]byte, 0, 2+min(max(len(value), 32), maxPlain))
	switch {
	case grasp.IsHex(value, 64):
		key = append(key, letter, formHex)
		key, _ = hex.AppendDecode(key, []byte(value))
	case len(value) <= maxPlain:
		key = append(key, letter, formPlain)
		key = append(key, value...)
	default:
		sum := sha256.Sum256([]byte(value))
		key = append(key, letter, formHash)
		key = append(key, sum[:]...)
	}
	return key
}

// isLetter reports whether tags of this name are found by filters (N-005).
func isLetter(name string) bool {
	return len(name) == 1 && (name[0] >= 'a' && name[0] <= 'z' || name[0] >= 'A' && name[0] <= 'Z')
}

// tagKeys returns the keys of ev's single-letter tags: the first value of each, every key once.
func tagKeys(ev *nostr.Event) [][]byte {
	var keys [][]byte
	for _, t := range ev.Tags {
		if len(t) >= 2 && isLetter(t[0]) {
			keys = append(keys, tagKey(t[0][0], t[1]))
		}
	}
	slices.SortFunc(keys, slices.Compare)
	return slices.CompactFunc(keys, slices.Equal)
}

package relay

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"sync"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/bip340"
)

var (
	errID  = errors.New("id is not the hash of the event")
	errSig = errors.New("signature is wrong")
)

// scratch is where what is hashed is written, of at most maxScratch bytes each.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

const maxScratch = 16 << 10

// Verify reports whether the id of ev is the hash of its canonical serialisation and its
// signature signs that id (N-002). It takes about 0.1 ms of one core.
func Verify(ev *nostr.Event) error {
	hash, err := checkID(ev)
	if err != nil {
		return err
	}
	return checkSig(ev, hash)
}

// checkID compares the id with the hash of the serialisation. NIP-01 leaves the control characters
// without a short escape as they are; every JSON library in use writes them as \u00xx, and their
// clients sign that. Both are taken. No event can be mistaken for another by this: a backslash
// is doubled in either form, so no text of the one is a text of the other (check 89).
func checkID(ev *nostr.Event) (hash [32]byte, err error) {
	b := scratch.Get().(*[]byte)
	defer func() {
		if cap(*b) <= maxScratch {
			scratch.Put(b)
		}
	}()
	*b = serialize((*b)[:0], ev, appendVerbatim)
	hash = sha256.Sum256(*b)
	if hex.EncodeToString(hash[:]) == ev.ID {
		return hash, nil
	}
	if hasControls(ev) {
		*b = serialize((*b)[:0], ev, appendText)
		hash = sha256.Sum256(*b)
		if hex.EncodeToString(hash[:]) == ev.ID {
			return hash, nil
		}
	}
	return hash, errID
}

// hasControls reports whether ev holds a control character that has no short escape.
func hasControls(ev *nostr.Event) bool {
	in := func(s string) bool {
		for i := range len(s) {
			if s[i] < 0x20 && short[s[i]] == 0 {
				return true
			}
		}
		return false
	}
	for _, tag := range ev.Tags {
		if slices.ContainsFunc(tag, in) {
			return true
		}
	}
	return in(ev.Content)
}

func checkSig(ev *nostr.Event, hash [32]byte) error {
	var key [32]byte
	var sig [64]byte
	if len(ev.PubKey) != 64 || len(ev.Sig) != 128 {
		return errSig
	}
	if _, err := hex.Decode(key[:], []byte(ev.PubKey)); err != nil {
		return errSig
	}
	if _, err := hex.Decode(sig[:], []byte(ev.Sig)); err != nil {
		return errSig
	}
	if !bip340.Verify(&key, &hash, &sig) {
		return errSig
	}
	return nil
}

package grasp

import (
	"encoding/hex"
	"errors"
	"strings"
)

// The NIP-19 form of a key is bech32 (BIP-173) of one length with one prefix. Every request of a git
// client names a key in it, so it is read here in one pass, and whatever is not the one spelling is
// seen on the way.

const (
	npubPrefix   = "npub1"
	npubAlphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l" // by what five bits stand for
	npubLength   = len(npubPrefix) + npubData + npubSum
	npubData     = 52 // letters: 256 bits, and four that are zero
	npubSum      = 6  // letters of the checksum
)

// A npubTable holds what follows from the alphabet and from the polynomial of the checksum.
type npubTable struct {
	bits  [256]byte  // of a letter; 0xff for all others
	carry [32]uint32 // what the five highest bits of a checksum add to it
	start uint32     // the checksum of the prefix
}

var npubs = func() (t npubTable) {
	for i := range t.bits {
		t.bits[i] = 0xff
	}
	for i := range npubAlphabet {
		t.bits[npubAlphabet[i]] = byte(i)
	}
	for i := range t.carry {
		for bit, g := range [5]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
			if i>>bit&1 == 1 {
				t.carry[i] ^= g
			}
		}
	}
	hrp := strings.TrimSuffix(npubPrefix, "1")
	t.start = 1
	for i := range hrp {
		t.start = t.add(t.start, hrp[i]>>5)
	}
	t.start = t.add(t.start, 0)
	for i := range hrp {
		t.start = t.add(t.start, hrp[i]&31)
	}
	return t
}()

// add returns the checksum of what has the checksum sum, followed by five more bits.
func (t *npubTable) add(sum uint32, five byte) uint32 {
	return (sum&0x1ffffff)<<5 ^ uint32(five) ^ t.carry[sum>>25]
}

// Npub returns the NIP-19 form of k. It returns "" if k is not a key.
func (k PubKey) Npub() string {
	var raw [32]byte
	if len(k) != 2*len(raw) {
		return ""
	}
	if _, err := hex.Decode(raw[:], []byte(k)); err != nil {
		return ""
	}
	var out [npubLength]byte
	n := copy(out[:], npubPrefix)
	sum, held, bits := npubs.start, uint32(0), 0
	put := func(five byte) {
		out[n] = npubAlphabet[five]
		n++
	}
	for _, b := range raw {
		held, bits = held<<8|uint32(b), bits+8
		for bits >= 5 {
			bits -= 5
			five := byte(held>>bits) & 31
			sum = npubs.add(sum, five)
			put(five)
		}
	}
	five := byte(held<<(5-bits)) & 31 // one bit is left of 256
	sum = npubs.add(sum, five)
	put(five)
	for range npubSum {
		sum = npubs.add(sum, 0)
	}
	sum ^= 1
	for i := range npubSum {
		put(byte(sum>>(5*(npubSum-1-i))) & 31)
	}
	return string(out[:])
}

var errNpub = errors.New("not an npub")

// ParseNpub decodes the NIP-19 form of a key. Exactly one spelling of each key is accepted: the
// lower-case one that Npub returns (H-102).
func ParseNpub(s string) (PubKey, error) {
	if len(s) != npubLength || s[:len(npubPrefix)] != npubPrefix {
		return "", errNpub
	}
	var raw [33]byte // the last is for the four bits that are left
	sum, held, bits, n := npubs.start, uint32(0), 0, 0
	for i := len(npubPrefix); i < npubLength; i++ {
		five := npubs.bits[s[i]]
		if five == 0xff {
			return "", errNpub
		}
		sum = npubs.add(sum, five)
		if i >= npubLength-npubSum {
			continue
		}
		if held, bits = held<<5|uint32(five), bits+5; bits >= 8 {
			bits -= 8
			raw[n] = byte(held >> bits)
			n++
		}
	}
	if sum != 1 || held&0xf != 0 {
		return "", errNpub
	}
	var out [64]byte
	hex.Encode(out[:], raw[:32])
	return PubKey(out[:]), nil
}

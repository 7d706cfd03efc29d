// Package negentropy finds out in which records two sets differ: range-based set reconciliation,
// protocol version 1, as NIP-77 carries it (N-043, Appendix C). One side, the Client, starts and
// learns; the other side only answers, and its answers follow from its Set alone.
//
// It knows records (a time and an id), ranges, fingerprints and the bytes of messages. It refuses
// to know events, filters, subscriptions, hex, and how messages travel. Messages come from
// strangers: nothing in them makes it panic, and what it allocates or computes for one is bounded
// by the length of the message and of the frame that it may answer with.
package negentropy

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"slices"
)

// Version is the first byte of each message: the highest version spoken here.
const Version byte = 0x61

// MinFrame is the smallest frame, in bytes, in which every answer makes progress. Smaller ones
// are taken for it.
const MinFrame = 4096

// An ID names a record.
type ID [32]byte

// An Item is a record: when it was made, in seconds, and its id.
type Item struct {
	At uint64
	ID ID
}

func (i *Item) compare(j *Item) int {
	if i.At != j.At {
		return cmp.Compare(i.At, j.At)
	}
	return slices.Compare(i.ID[:], j.ID[:])
}

// ItemBytes is about what a Set needs for each of its items.
const ItemBytes = 41

// block is how many items lie between two sums that are kept.
const block = 64

// A Set is a snapshot of records. It does not change, so all its methods may be called at once.
type Set struct {
	items []Item
	sums  []sum // sums[k] is that of the first k*block items
}

// NewSet returns the set of items, in any order and with repetitions. It keeps items and sorts
// them in place. A time of 2^64-1 means infinity on the wire: such items are left out.
func NewSet(items []Item) *Set {
	items = slices.DeleteFunc(items, func(i Item) bool { return i.At == infinity })
	slices.SortFunc(items, func(a, b Item) int { return a.compare(&b) })
	s := &Set{items: slices.Compact(items)}
	s.sums = make([]sum, 1, len(s.items)/block+1)
	var total sum
	for i := range s.items {
		if total.add(&s.items[i].ID); (i+1)%block == 0 {
			s.sums = append(s.sums, total)
		}
	}
	return s
}

// Len returns how many records the set has.
func (s *Set) Len() int { return len(s.items) }

// find returns the first item from lower on that is not below b.
func (s *Set) find(lower int, b *bound) int {
	limit := b.item()
	i, _ := slices.BinarySearchFunc(s.items[lower:], limit, func(a, b Item) int { return a.compare(&b) })
	return lower + i
}

// boundBefore returns the shortest bound that has items[i-1] below it and items[i] not.
func (s *Set) boundBefore(i int) bound {
	last, next := &s.items[i-1], &s.items[i]
	b := bound{at: next.At}
	if last.At != next.At {
		return b
	}
	for b.n = 1; last.ID[b.n-1] == next.ID[b.n-1]; b.n++ {
	}
	copy(b.id[:b.n], next.ID[:])
	return b
}

type fingerprint [16]byte

// fingerprint returns that of the items from lower up to, not including, upper.
func (s *Set) fingerprint(lower, upper int) (f fingerprint) {
	total := s.sumTo(upper)
	total.sub(s.sumTo(lower))
	b := make([]byte, 0, len(ID{})+maxVarint)
	for _, word := range total {
		b = binary.LittleEndian.AppendUint64(b, word)
	}
	hash := sha256.Sum256(appendVarint(b, uint64(upper-lower)))
	copy(f[:], hash[:])
	return f
}

func (s *Set) sumTo(n int) sum {
	total := s.sums[n/block]
	for i := n / block * block; i < n; i++ {
		total.add(&s.items[i].ID)
	}
	return total
}

// A sum adds ids up as little-endian numbers modulo 2^256. Its words are the low ones first.
type sum [4]uint64

func (t *sum) add(id *ID) {
	var carry uint64
	for i := range t {
		t[i], carry = bits.Add64(t[i], binary.LittleEndian.Uint64(id[8*i:]), carry)
	}
}

func (t *sum) sub(u sum) {
	var borrow uint64
	for i := range t {
		t[i], borrow = bits.Sub64(t[i], u[i], borrow)
	}
}

package negentropy

import (
	"math"

	"github.com/gitroost/gitroost/internal/fault"
)

// The modes of a range.
const (
	modeSkip = iota
	modeFingerprint
	modeIDs
)

const (
	infinity  = math.MaxUint64
	maxVarint = 10                           // bytes
	maxBound  = maxVarint + 1 + len(ID{})    // bytes
	maxSplit  = maxBound + 2 + few*len(ID{}) // bytes; the fingerprints of all buckets are fewer
	maxTail   = 2*(maxBound+1) + 32          // bytes; skips, and the fingerprint of what comes after the frame
)

// A bound ends a range: records below it belong to the range. id beyond its first n bytes is zero.
type bound struct {
	at uint64
	n  int
	id ID
}

func (b *bound) item() Item { return Item{b.at, b.id} }

func malformed(why string) error { return fault.E(fault.Invalid, "negentropy: read", why) }

// A reader takes a message apart.
type reader struct {
	b    []byte
	last bound // the lower limit of the next range
}

// varint reads a number: base 128, the most significant digit first, in its shortest form.
func (r *reader) varint() (n uint64, err error) {
	for i, c := range r.b {
		if i == 0 && c == 0x80 {
			return 0, malformed("a number is not in its shortest form")
		}
		if n > math.MaxUint64>>7 {
			return 0, malformed("a number is too large")
		}
		n = n<<7 | uint64(c&0x7f)
		if c < 0x80 {
			r.b = r.b[i+1:]
			return n, nil
		}
	}
	return 0, malformed("it ends within a number")
}

func (r *reader) bytes(n uint64) ([]byte, error) {
	if n > uint64(len(r.b)) {
		return nil, malformed("it is cut short")
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b, nil
}

// bound reads the upper limit of the next range. Bounds do not go back.
func (r *reader) bound() (b bound, err error) {
	at, err := r.varint()
	if err != nil {
		return b, err
	}
	switch {
	case at == 0:
		b.at = infinity
	case at-1 > infinity-r.last.at:
		return b, malformed("a time is too large")
	default:
		b.at = r.last.at + at - 1
	}
	n, err := r.varint()
	if err != nil {
		return b, err
	}
	if n > uint64(len(b.id)) {
		return b, malformed("the id of a bound is longer than 32 bytes")
	}
	prefix, err := r.bytes(n)
	if err != nil {
		return b, err
	}
	b.n = copy(b.id[:], prefix)
	now, before := b.item(), r.last.item()
	if now.compare(&before) < 0 {
		return b, malformed("its ranges are out of order")
	}
	r.last = b
	return b, nil
}

// fingerprint reads what follows modeFingerprint.
func (r *reader) fingerprint() (f fingerprint, err error) {
	b, err := r.bytes(uint64(len(f)))
	copy(f[:], b)
	return f, err
}

// ids reads what follows modeIDs: the ids one after another, sharing the message's memory.
func (r *reader) ids() ([]byte, error) {
	n, err := r.varint()
	if err != nil {
		return nil, err
	}
	if n > uint64(len(r.b)/len(ID{})) {
		return nil, malformed("it announces more ids than it has")
	}
	return r.bytes(n * uint64(len(ID{})))
}

func appendVarint(b []byte, n uint64) []byte {
	shift := 0
	for n>>shift >= 0x80 {
		shift += 7
	}
	for ; shift > 0; shift -= 7 {
		b = append(b, byte(n>>shift)|0x80)
	}
	return append(b, byte(n)&0x7f)
}

// A writer puts a message together.
type writer struct {
	b    []byte
	last uint64 // the time of the last bound
}

func (w *writer) open(b *bound, mode byte) {
	if b.at == infinity {
		w.b = append(w.b, 0)
	} else {
		w.b = appendVarint(w.b, b.at-w.last+1)
	}
	w.last = b.at
	w.b = appendVarint(w.b, uint64(b.n))
	w.b = append(w.b, b.id[:b.n]...)
	w.b = append(w.b, mode)
}

func (w *writer) skip(to *bound) { w.open(to, modeSkip) }

func (w *writer) fingerprint(to *bound, f fingerprint) {
	w.open(to, modeFingerprint)
	w.b = append(w.b, f[:]...)
}

func (w *writer) ids(to *bound, items []Item) {
	w.open(to, modeIDs)
	w.b = appendVarint(w.b, uint64(len(items)))
	for i := range items {
		w.b = append(w.b, items[i].ID[:]...)
	}
}

package jobs

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// An ID is a ULID: 26 characters of Crockford's base 32 that sort by the time they were made
// (S0-07). Nothing is ever read out of it but that time.
type ID string

const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// ParseID reads an id as it is written, upper-case. Anything else is a fault.Invalid.
func ParseID(s string) (ID, error) {
	ok := len(s) == 26 && s[0] <= '7'
	for i := 0; ok && i < len(s); i++ {
		ok = strings.IndexByte(crockford, s[i]) >= 0
	}
	if !ok {
		return "", fault.Errorf(fault.Invalid, "jobs: id", "%.40q is not the id of a job: it has 26 digits and capital letters", s)
	}
	return ID(s), nil
}

// Time returns when the id was made, in whole milliseconds.
func (id ID) Time() time.Time {
	if len(id) != 26 {
		return time.Time{}
	}
	var ms int64
	for i := range 10 {
		ms = ms<<5 | int64(max(strings.IndexByte(crockford, id[i]), 0))
	}
	return time.UnixMilli(ms)
}

// IDs makes ids that rise, whatever the clock does. Its methods are safe for concurrent use.
type IDs struct {
	now  func() time.Time
	rand io.Reader

	mu   sync.Mutex
	ms   uint64
	last [10]byte // the random part of the last id
}

// NewIDs returns a maker of ids with this clock and this source of randomness, which must not
// fail: crypto/rand.Reader.
func NewIDs(now func() time.Time, rand io.Reader) *IDs { return &IDs{now: now, rand: rand} }

// Next returns a new id, which is greater than all before.
func (g *IDs) Next() ID {
	g.mu.Lock()
	defer g.mu.Unlock()
	ms := uint64(max(g.now().UnixMilli(), 0)) & (1<<48 - 1)
	if ms > g.ms {
		g.ms = ms
		_, _ = io.ReadFull(g.rand, g.last[:])
		g.last[0] &= 0x7f // room to count up
	} else if !count(g.last[:]) {
		g.ms++
	}
	return encode(g.ms, g.last)
}

// count adds one and reports false if it began anew at zero.
func count(b []byte) bool {
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]++; b[i] != 0 {
			return true
		}
	}
	return false
}

func encode(ms uint64, random [10]byte) ID {
	var out [26]byte
	for i := range 10 {
		out[i] = crockford[ms>>(45-5*i)&31]
	}
	for half := range 2 {
		var n uint64
		for _, b := range random[5*half : 5*half+5] {
			n = n<<8 | uint64(b)
		}
		for i := range 8 {
			out[10+8*half+i] = crockford[n>>(35-5*i)&31]
		}
	}
	return ID(out[:])
}

// A Hash is a SHA-256.
type Hash [32]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// HashOf returns the hash of parts. Where one ends and the next begins is part of it.
func HashOf(parts ...string) Hash {
	h := sha256.New()
	var n [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		io.WriteString(h, p)
	}
	return Hash(h.Sum(nil))
}

// InputKey is what a job depends on: a job that succeeded is not repeated with the same key. It is
// the hash of repository, job, ref, new object id and the definition's hash.
func InputKey(repo grasp.Addr, job string, ref grasp.RefName, oid grasp.OID, definition Hash) Hash {
	box := ""
	if repo.Box {
		box = "box"
	}
	return HashOf(string(repo.Owner), repo.ID, box, job, string(ref), string(oid), string(definition[:]))
}

package grasp

import (
	"slices"
	"sort"
)

const (
	// A chunk begins with at most so many refs and bytes, and is cut when it has grown to twice as much.
	chunkLen  = 512
	chunkText = 32 << 10

	// maxPacket is how long a packet of git's protocol can be, its four digits included.
	maxPacket = 65520

	peeledMark = " peeled:"
)

// A chunk is some refs that follow each other. They are kept as git's protocol 2 sends them, one packet
// each: four hex digits that say how long it is, the id, a space, the name, of an annotated tag the word
// peeled: and what it finally points to, a line feed. To send them is to copy them, and a ref costs hardly
// more memory than its name and its id. It is not changed.
type chunk struct {
	text string
	at   []uint32 // where each begins, shifted by one; the lowest bit says that it is peeled
	odd  []Ref    // instead of all that: what no packet can say
}

func (c *chunk) len() int {
	if c.odd != nil {
		return len(c.odd)
	}
	return len(c.at)
}

// begins returns where ref i begins, which may be the one after the last.
func (c *chunk) begins(i int) int {
	if i == len(c.at) {
		return len(c.text)
	}
	return int(c.at[i] >> 1)
}

func (c *chunk) peeled(i int) bool { return c.at[i]&1 != 0 }

func (c *chunk) line(i int) string { return c.text[c.begins(i):c.begins(i+1)] }

// Where in a line the id and the name begin.
const (
	idAt   = 4
	nameAt = idAt + len(ZeroOID) + 1
)

func (c *chunk) name(i int) RefName {
	if c.odd != nil {
		return c.odd[i].Name
	}
	line := c.line(i)
	end := len(line) - 1
	if c.peeled(i) {
		end -= len(peeledMark) + len(ZeroOID)
	}
	return RefName(line[nameAt:end])
}

func (c *chunk) ref(i int) Ref {
	if c.odd != nil {
		return c.odd[i]
	}
	line := c.line(i)
	end := len(line) - 1
	r := Ref{OID: OID(line[idAt : nameAt-1])}
	if c.peeled(i) {
		r.Peeled = OID(line[end-len(ZeroOID) : end])
		end -= len(peeledMark) + len(ZeroOID)
	}
	r.Name = RefName(line[nameAt:end])
	return r
}

// search returns where n is, or would be.
func (c *chunk) search(n RefName) int {
	return sort.Search(c.len(), func(i int) bool { return c.name(i) >= n })
}

// A Span is some refs of a RefList that follow each other.
type Span struct {
	c        *chunk
	from, to int
}

// Len returns how many refs there are in it.
func (s Span) Len() int { return s.to - s.from }

// Ref returns the one at i, which is less than Len.
func (s Span) Ref(i int) Ref { return s.c.ref(s.from + i) }

// Cut returns the first of them, which there must be, and the others.
func (s Span) Cut() (Ref, Span) { return s.Ref(0), Span{s.c, s.from + 1, s.to} }

func (s Span) first() RefName { return s.c.name(s.from) }

// Packets returns the refs as the answer to ls-refs of protocol 2 has them if peel is asked for (H-207). It is
// "" if one of them is too long for a packet.
func (s Span) Packets() string {
	if s.c.odd != nil {
		return ""
	}
	return s.c.text[s.c.begins(s.from):s.c.begins(s.to)]
}

// Peeled reports whether there is an annotated tag among them.
func (s Span) Peeled() bool {
	for i := s.from; i < s.to; i++ {
		if s.c.odd != nil && s.c.odd[i].Peeled != "" || s.c.odd == nil && s.c.peeled(i) {
			return true
		}
	}
	return false
}

// A RefListMaker makes a RefList of refs that are added to it in byte order, each name once. Its zero value
// is ready. It keeps nothing of what it is given.
type RefListMaker struct {
	list RefList
	text []byte   // of the chunk that is being made
	at   []uint32 // likewise
}

// Add adds r.
func (m *RefListMaker) Add(r Ref) {
	if !add(m, string(r.OID), string(r.Name), string(r.Peeled), 1) {
		m.odd(r)
	}
}

// AddBytes adds the ref that is called name and points to oid. peeled is what an annotated tag finally points to;
// empty otherwise.
func (m *RefListMaker) AddBytes(name, oid, peeled []byte) {
	if !add(m, oid, name, peeled, 1) {
		m.odd(Ref{Name: RefName(name), OID: OID(oid), Peeled: OID(peeled)})
	}
}

// List returns what was added. The maker is empty then.
func (m *RefListMaker) List() RefList {
	m.cut()
	l := m.list
	m.list = RefList{}
	return l
}

// add adds a ref to a chunk that may be size times as large as a new one. It returns false if no packet can
// say so.
func add[T string | []byte](m *RefListMaker, oid, name, peeled T, size int) bool {
	n := nameAt + len(name) + 1
	if len(peeled) > 0 {
		n += len(peeledMark) + len(peeled)
	}
	if n > maxPacket || len(oid) != len(ZeroOID) || len(peeled) != 0 && len(peeled) != len(ZeroOID) {
		return false
	}
	at := m.room(n, size)
	const digits = "0123456789abcdef"
	b := append(m.text, digits[n>>12&15], digits[n>>8&15], digits[n>>4&15], digits[n&15])
	b = append(b, oid...)
	b = append(b, ' ')
	b = append(b, name...)
	if len(peeled) > 0 {
		at |= 1
		b = append(b, peeledMark...)
		b = append(b, peeled...)
	}
	m.text, m.at = append(b, '\n'), append(m.at, at)
	return true
}

// room sees to it that n more bytes have room, and returns where they begin.
func (m *RefListMaker) room(n, size int) uint32 {
	if len(m.at) >= size*chunkLen || len(m.text)+n > size*chunkText {
		m.cut()
	}
	return uint32(len(m.text)) << 1
}

// cut ends the chunk that is being made.
func (m *RefListMaker) cut() {
	if len(m.at) > 0 {
		m.list.add(&chunk{text: string(m.text), at: slices.Clone(m.at)})
		m.text, m.at = m.text[:0], m.at[:0]
	}
}

func (m *RefListMaker) odd(r Ref) {
	m.cut()
	m.list.add(&chunk{odd: []Ref{r}})
}

func (l *RefList) add(c *chunk) {
	l.chunks = append(l.chunks, c)
	l.n += c.len()
}

// merge adds the refs of c, with set added or replaced and gone left out, as chunks of their own. All are in byte order.
func (m *RefListMaker) merge(c *chunk, set []Ref, gone []RefName) {
	refs, text := c.len()+len(set), len(c.text)
	for i := range set {
		text += nameAt + len(set[i].Name) + 1 + len(peeledMark) + len(set[i].Peeled)
	}
	m.text, m.at = slices.Grow(m.text, min(text, 2*chunkText)), slices.Grow(m.at, min(refs, 2*chunkLen))
	size := 1
	if refs < 2*chunkLen && text <= 2*chunkText {
		size = 2
	}
	put := func(r Ref) {
		if !add(m, string(r.OID), string(r.Name), string(r.Peeled), size) {
			m.odd(r)
		}
	}
	for i := range c.len() {
		name := c.name(i)
		for len(set) > 0 && set[0].Name < name {
			put(set[0])
			set = set[1:]
		}
		for len(gone) > 0 && gone[0] < name {
			gone = gone[1:]
		}
		switch {
		case len(set) > 0 && set[0].Name == name:
			put(set[0])
			set = set[1:]
		case len(gone) > 0 && gone[0] == name:
		case c.odd != nil:
			put(c.odd[i])
		default:
			line := c.line(i)
			at := m.room(len(line), size) | c.at[i]&1
			m.text, m.at = append(m.text, line...), append(m.at, at)
		}
	}
	for _, r := range set {
		put(r)
	}
	m.cut()
}

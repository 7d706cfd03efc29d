package gitdir

import (
	"bytes"
	"context"
	"crypto/sha1"
	"errors"
	"hash"
	"hash/crc32"
	"io"
	"strconv"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zlib"
)

const (
	maxAnew   = 8 << 20 // an object that is made of deltas here, in bytes
	smallAnew = 1 << 20 // up to which size several are made at a time
	keptBases = 2 << 20 // contents that one maker keeps because others are made of them
)

const (
	blockSize = 32 << 10
	maxBlocks = 32 // that one maker keeps
)

// errDamaged: what lies on the disk is not what came.
var errDamaged = errors.New("an object is damaged on disk")

// A maker reads the contents of parts. Use it from one goroutine.
type maker struct {
	in    []byte // an object as it lies in the pack
	text  [2][]byte
	delta []byte
	src   bytes.Reader
	z     io.ReadCloser // nil before the first use
	block [maxBlocks]block
	sum   hash.Hash // SHA-1, of what is made anew
	name  [64]byte
	out   bytes.Buffer
	zw    *zlib.Writer // nil before the first use

	kept  map[int32][]byte
	order []int32
	bytes int
}

// A block is a piece of a pack: what an object is made of is mostly near to it, and most of that is small.
type block struct {
	of   *openPack
	at   int64
	data []byte
}

var makers = sync.Pool{New: func() any { return &maker{kept: map[int32][]byte{}, sum: sha1.New()} }}

// done gives m back for others. It keeps no large buffers.
func (m *maker) done() {
	m.trim()
	clear(m.kept)
	m.order, m.bytes = m.order[:0], 0
	m.src.Reset(nil)
	for i := range m.block {
		m.block[i].of = nil
	}
	makers.Put(m)
}

// trim lets go of buffers that a large object has made.
func (m *maker) trim() {
	for _, b := range []*[]byte{&m.in, &m.delta, &m.text[0], &m.text[1]} {
		if cap(*b) > 2*smallAnew {
			*b = nil
		}
	}
	if m.out.Cap() > 2*smallAnew {
		m.out = bytes.Buffer{}
	}
}

// content returns the content of part i, at which look looked. It is valid until the next call. With all, m keeps the
// contents that were met on the way for the next call, not only those that are shared.
func (m *maker) content(ctx context.Context, o *openPacks, i int32, all bool) ([]byte, error) {
	var chain [maxOwnChain + 1]int32
	n := 0
	text, kept := m.kept[i]
	for !kept && o.parts[i].delta {
		if n > maxOwnChain {
			return nil, errOpaque
		}
		chain[n], n = i, n+1
		i = o.parts[i].base
		text, kept = m.kept[i]
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	turn := 0
	if !kept {
		var err error
		if m.text[0], err = m.inflate(o, i, m.text[0]); err != nil {
			return nil, err
		}
		text, turn = m.text[0], 1
		m.keep(i, text, all || o.parts[i].shared)
	}
	for ; n > 0; n-- {
		i = chain[n-1]
		var err error
		if m.delta, err = m.inflate(o, i, m.delta); err != nil {
			return nil, err
		}
		out, ok := patchInto(m.text[turn], text, m.delta, maxAnew)
		if !ok {
			return nil, errOpaque
		}
		m.text[turn] = out
		text, turn = out, 1-turn
		m.keep(i, text, all || o.parts[i].shared)
	}
	return text, nil
}

// keep copies text for later, if that is wanted and it is small; what was kept longest goes.
func (m *maker) keep(i int32, text []byte, wanted bool) {
	if !wanted || len(text) > keptBases/4 {
		return
	}
	for m.bytes+len(text) > keptBases {
		oldest := m.order[0]
		m.order = m.order[1:]
		m.bytes -= len(m.kept[oldest])
		delete(m.kept, oldest)
	}
	m.kept[i] = bytes.Clone(text)
	m.order = append(m.order, i)
	m.bytes += len(text)
}

// inflate returns the data of part i, of a delta the delta, in buf if there is room.
func (m *maker) inflate(o *openPacks, i int32, buf []byte) ([]byte, error) {
	t := &o.parts[i]
	p := o.list[t.pack]
	n := t.end - t.off
	if t.size > maxAnew || n > maxAnew+maxAnew/8 {
		return buf, errOpaque
	}
	b, err := m.read(p, t.off, n)
	if err != nil {
		return buf, err
	}
	// This is the checksum of what came, which was inflated and looked at then: that of the data is the same.
	if crc32.ChecksumIEEE(b) != p.sum(t.place) {
		return buf, errDamaged
	}
	b = b[t.data:]
	if len(b) < 2 || b[0]&15 != 8 || b[1]&0x20 != 0 || (int(b[0])<<8|int(b[1]))%31 != 0 {
		return buf, errDamaged
	}
	m.src.Reset(b[2:])
	if m.z == nil {
		m.z = flate.NewReader(&m.src)
	} else if err := m.z.(flate.Resetter).Reset(&m.src, nil); err != nil {
		return buf, err
	}
	buf = room(buf, t.size)
	if _, err := io.ReadFull(m.z, buf); err != nil {
		return buf, errDamaged
	}
	var end [1]byte
	if n, err := m.z.Read(end[:]); n != 0 || err != io.EOF {
		return buf, errDamaged
	}
	return buf, nil
}

// read returns n bytes of p from off on, which are there. They are valid until the next call.
func (m *maker) read(p *openPack, off, n int64) ([]byte, error) {
	b, err := m.near(p, off)
	if err != nil {
		return nil, err
	}
	if int64(len(b)) >= n {
		return b[:n], nil
	}
	m.in = room(m.in, n)
	have := copy(m.in, b)
	if n-int64(have) <= blockSize {
		if b, err = m.near(p, off+int64(have)); err == nil && len(b) >= int(n)-have {
			copy(m.in[have:], b)
			return m.in, nil
		}
	}
	if _, err := p.file.ReadAt(m.in[have:], off+int64(have)); err != nil {
		return nil, noEOF(err)
	}
	return m.in, nil
}

// near returns what is in the block where off is, from there on.
func (m *maker) near(p *openPack, off int64) ([]byte, error) {
	at := off &^ (blockSize - 1)
	b := &m.block[at/blockSize%maxBlocks]
	if b.of != p || b.at != at {
		b.of = nil
		b.data = room(b.data, blockSize)
		n, err := p.file.ReadAt(b.data, at)
		if err != nil && err != io.EOF {
			return nil, err
		}
		b.of, b.at, b.data = p, at, b.data[:n]
	}
	if int64(len(b.data)) <= off-at {
		return nil, io.ErrUnexpectedEOF
	}
	return b.data[off-at:], nil
}

// room returns n bytes, in buf if they fit.
func room(buf []byte, n int64) []byte {
	if int64(cap(buf)) >= n {
		return buf[:n]
	}
	return make([]byte, n, n+n/4)
}

// anew returns part i as it stands in a pack where it is made of nothing else, after it was seen to be what its
// name says. It is valid until the next call.
func (m *maker) anew(ctx context.Context, o *openPacks, i int32) ([]byte, error) {
	text, err := m.content(ctx, o, i, false)
	if err != nil {
		return nil, err
	}
	t := &o.parts[i]
	m.sum.Reset()
	m.sum.Write(append(strconv.AppendInt(append(m.name[:0], t.kind.String()+" "...), int64(len(text)), 10), 0))
	m.sum.Write(text)
	if raw(m.sum.Sum(m.name[:0])) != o.list[t.pack].name(t.place) {
		return nil, errDamaged
	}
	m.out.Reset()
	m.out.Write(appendPartHead(m.name[:0], t.kind, int64(len(text))))
	if m.zw == nil {
		if m.zw, err = zlib.NewWriterLevel(&m.out, zlib.BestSpeed); err != nil {
			return nil, err
		}
	} else {
		m.zw.Reset(&m.out)
	}
	if _, err := m.zw.Write(text); err != nil {
		return nil, err
	}
	if err := m.zw.Close(); err != nil {
		return nil, err
	}
	return m.out.Bytes(), nil
}

// appendPartHead appends the type and the size of an object, as they stand in a pack.
func appendPartHead(b []byte, k kind, size int64) []byte {
	c := byte(k)<<4 | byte(size&15)
	for size >>= 4; size > 0; size >>= 7 {
		b = append(b, c|0x80)
		c = byte(size & 0x7f)
	}
	return append(b, c)
}

// appendBack appends how far before a delta its base begins.
func appendBack(b []byte, n int64) []byte {
	var digits [10]byte
	i := len(digits) - 1
	digits[i] = byte(n & 0x7f)
	for n >>= 7; n > 0; n >>= 7 {
		n--
		i--
		digits[i] = 0x80 | byte(n&0x7f)
	}
	return append(b, digits[i:]...)
}

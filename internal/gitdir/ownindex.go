package gitdir

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"slices"
	"sort"
)

const (
	maxOpenPacks   = 100
	maxOpenIndexes = 16 << 20 // bytes of all indexes: 500,000 objects
	maxOwnParts    = 150_000  // objects that are looked at for one pack
	maxOwnChain    = 250      // deltas on one another
	partHead       = 48       // bytes that hold what stands before the data of an object
)

// openPacks are all packs of a repository with their files open: whatever upkeep takes away meanwhile, they
// can be read to the end. What is found in them is noted in parts. Only reading parts that are there is safe
// for concurrent use.
type openPacks struct {
	list  []*openPack
	parts []part
}

// An openPack is one pack, and its whole index in memory.
type openPack struct {
	file  *os.File
	size  int64
	n     uint32
	fan   *[256]uint32
	idx   []byte
	order []uint64 // where each object begins, and in the low 24 bits its place in the index; in order
	where []int32  // by place in the index: one more than its index in parts
}

// A part is an object as it lies in a pack. Of one that was only looked up the fields after off are not set.
type part struct {
	pack     uint16
	place    uint32 // in the index
	off, end int64
	size     int64 // inflated, of a delta the delta
	kind     kind
	data     uint8  // bytes that stand before the deflated ones
	depth    uint16 // deltas below
	delta    bool
	sent     bool
	shared   bool  // more than one other is made of it
	base     int32 // of a delta, index in parts
	atMost   int64 // how large this one and all that it is made of are, if nothing is odd
	at       int64 // where it stands in the pack that is sent; 0: not there yet
}

// openAll opens the packs of r. It is errOpaque where only git finds everything.
func (r *repo) openAll() (*openPacks, error) {
	for range maxRefresh {
		list, err := r.listed()
		if err != nil {
			return nil, err
		}
		o, err := list.openAll()
		if errors.Is(err, fs.ErrNotExist) {
			r.relist() // repacked meanwhile
			continue
		}
		return o, err
	}
	return nil, errOpaque
}

func (p *packs) openAll() (o *openPacks, err error) {
	if p.unreadable || p.anyLoose || len(p.list) == 0 || len(p.list) > maxOpenPacks || 28*p.totalObjects > maxOpenIndexes {
		return nil, errOpaque
	}
	o = &openPacks{}
	defer func() {
		if err != nil {
			o.close()
		}
	}()
	// Most objects are in the largest; and an object that is in two packs is always taken from the same one.
	order := slices.Clone(p.list)
	slices.SortStableFunc(order, func(a, b *pack) int { return int(b.n) - int(a.n) })
	for _, k := range order {
		one, err := k.open()
		if err != nil {
			return nil, err
		}
		o.list = append(o.list, one)
	}
	return o, nil
}

func (o *openPacks) close() {
	for _, p := range o.list {
		p.file.Close()
	}
}

// open opens the files of k, and makes sure that they are about the same pack.
func (k *pack) open() (p *openPack, err error) {
	idx := k.content
	if idx == nil {
		if idx, err = os.ReadFile(k.path + ".idx"); err != nil {
			return nil, err
		}
	}
	if len(idx) < idxHeader+idxFan {
		return nil, errOpaque
	}
	parsed, err := parseIndex(idx, int64(len(idx)))
	if err != nil || parsed.n > 1<<24 {
		return nil, errOpaque
	}
	f, err := os.Open(k.path + ".pack")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	p = &openPack{file: f, size: fi.Size(), n: parsed.n, fan: parsed.fan, idx: idx}
	var head [12]byte
	var sum [rawLen]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return nil, errOpaque
	}
	if _, err := f.ReadAt(sum[:], p.size-int64(rawLen)); err != nil {
		return nil, errOpaque
	}
	if n, err := packHeader(head[:]); err != nil || n != p.n || !bytes.Equal(sum[:], idx[len(idx)-2*rawLen:len(idx)-rawLen]) {
		return nil, errOpaque
	}
	return p, nil
}

// find returns the place of o in the index.
func (p *openPack) find(o *raw) (place uint32, ok bool) {
	lo, hi := uint32(0), p.fan[o[0]]
	if o[0] > 0 {
		lo = p.fan[o[0]-1]
	}
	names := p.idx[idxHeader+idxFan:]
	for lo < hi {
		mid := lo + (hi-lo)/2
		switch bytes.Compare(names[rawLen*int(mid):rawLen*int(mid)+rawLen], o[:]) {
		case 0:
			return mid, true
		case -1:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return 0, false
}

func (p *openPack) name(place uint32) raw {
	return raw(p.idx[idxHeader+idxFan+rawLen*int(place):][:rawLen])
}

// sum returns the checksum that was noted of an object when it came.
func (p *openPack) sum(place uint32) uint32 {
	return binary.BigEndian.Uint32(p.idx[idxHeader+idxFan+rawLen*int(p.n)+4*int(place):])
}

// begin returns where an object begins.
func (p *openPack) begin(place uint32) (int64, bool) {
	at := idxHeader + idxFan + 24*int(p.n)
	off := int64(binary.BigEndian.Uint32(p.idx[at+4*int(place):]))
	if off&0x80000000 != 0 {
		far := at + 4*int(p.n) + 8*int(off&0x7fffffff)
		if far+8 > len(p.idx)-2*rawLen {
			return 0, false
		}
		off = int64(binary.BigEndian.Uint64(p.idx[far:]) &^ (1 << 63))
	}
	return off, off >= 12 && off < p.size-int64(rawLen)
}

// at returns the place in the index of the object that begins at off, and where it ends.
func (p *openPack) at(off int64) (place uint32, end int64, ok bool) {
	if p.order == nil {
		order := make([]uint64, p.n)
		for i := range order {
			off, ok := p.begin(uint32(i))
			if !ok || off >= 1<<40 {
				return 0, 0, false
			}
			order[i] = uint64(off)<<24 | uint64(i)
		}
		slices.Sort(order)
		p.order = order
	}
	i := sort.Search(len(p.order), func(i int) bool { return int64(p.order[i]>>24) >= off })
	if i == len(p.order) || int64(p.order[i]>>24) != off {
		return 0, 0, false
	}
	end = p.size - int64(rawLen)
	if i+1 < len(p.order) {
		end = int64(p.order[i+1] >> 24)
	}
	return uint32(p.order[i] & (1<<24 - 1)), end, true
}

// find returns the index in parts of o. It is errNoObject if o is in no pack.
func (o *openPacks) find(id *raw) (int32, error) {
	for i, p := range o.list {
		if place, ok := p.find(id); ok {
			return o.note(i, place)
		}
	}
	return 0, errNoObject
}

// note returns the index in parts of an object in a pack.
func (o *openPacks) note(pack int, place uint32) (int32, error) {
	p := o.list[pack]
	if p.where == nil {
		p.where = make([]int32, p.n)
	}
	if i := p.where[place]; i > 0 {
		return i - 1, nil
	}
	off, ok := p.begin(place)
	if !ok || len(o.parts) == maxOwnParts {
		return 0, errOpaque
	}
	o.parts = append(o.parts, part{pack: uint16(pack), place: place, off: off})
	p.where[place] = int32(len(o.parts))
	return int32(len(o.parts) - 1), nil
}

// look reads what stands before the data of part i and of all that it is made of.
func (o *openPacks) look(m *maker, i int32) error {
	var chain [maxOwnChain + 1]int32
	n := 0
	for {
		fresh := o.parts[i].end == 0
		if fresh {
			if err := o.head(m, i); err != nil {
				return err
			}
		}
		if !fresh || !o.parts[i].delta {
			break
		}
		if n == maxOwnChain {
			return errOpaque
		}
		chain[n], n = i, n+1
		i = o.parts[i].base
	}
	if t := &o.parts[i]; !t.delta {
		t.atMost = t.size
	} else if t.kind == 0 {
		return errOpaque // it is made of itself
	}
	for ; n > 0; n-- {
		below := &o.parts[i]
		i = chain[n-1]
		t := &o.parts[i]
		t.depth, t.kind, t.atMost = below.depth+1, below.kind, below.atMost+t.size
		if t.depth > maxOwnChain {
			return errOpaque
		}
	}
	return nil
}

// head reads what stands before the data of part i. The kind of a delta is not known yet.
func (o *openPacks) head(m *maker, i int32) error {
	t := &o.parts[i]
	p := o.list[t.pack]
	_, end, ok := p.at(t.off)
	if !ok {
		return errOpaque
	}
	b, err := m.read(p, t.off, min(end-t.off, partHead))
	if err != nil {
		return err
	}
	k, size, data, base, ok := partHeader(b)
	if !ok || int64(data) >= end-t.off {
		return errOpaque
	}
	t.end, t.size, t.kind, t.data = end, size, k, uint8(data)
	var place uint32
	switch {
	case base.back > 0:
		place, _, ok = p.at(t.off - base.back)
	case base.id != nil:
		place, ok = p.find(base.id)
	default:
		return nil
	}
	if !ok {
		return errOpaque
	}
	t.delta = true
	below, err := o.note(int(t.pack), place) // parts may be elsewhere after this
	o.parts[i].base = below
	return err
}

// A deltaBase says what a delta is made on: what stands so many bytes before it, or what is called so.
type deltaBase struct {
	back int64
	id   *raw
}

// partHeader reads what stands in a pack before the deflated data of an object; used is how many bytes that
// is. Deltas have no kind.
func partHeader(b []byte) (k kind, size int64, used int, base deltaBase, ok bool) {
	k, size, used = objectHead(b)
	switch {
	case used == 0 || size < 0:
		return 0, 0, 0, base, false
	case k == kindCommit, k == kindTree, k == kindBlob, k == kindTag:
		return k, size, used, base, true
	case k == 6:
		back, ok := ofsDelta(b[used:])
		if !ok || back <= 0 {
			return 0, 0, 0, base, false
		}
		for b[used]&0x80 != 0 {
			used++
		}
		return 0, size, used + 1, deltaBase{back: back}, true
	case k == 7:
		if len(b) < used+rawLen {
			return 0, 0, 0, base, false
		}
		id := raw(b[used : used+rawLen])
		return 0, size, used + rawLen, deltaBase{id: &id}, true
	}
	return 0, 0, 0, base, false
}

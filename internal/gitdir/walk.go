package gitdir

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"

	"github.com/gitroost/gitroost/grasp"
)

// A small push is a few commits on what is here, and what they changed. Whether that is complete is found
// out in this process: a `git rev-list` would be half of what the push costs. Everything that is new must
// be in the pack, and everything else must be where a complete parent has it, under the same name. Whatever
// does not look like that is left to git.

const (
	maxWalkObjects = 1000       // in the pack
	maxWalkBytes   = 8 << 20    // of all that is read, inflated
	maxWalkObject  = 1 << 20    // of one commit or tree
	maxWalkChain   = 60         // deltas on one another; git makes 50
	maxWalkDepth   = 200        // folders in folders
	gitlink        = "160000"   // a submodule: its commit is somewhere else
	folder         = "40000"    // the mode of a tree in a tree
	rawLen         = len(raw{}) // of an object id
)

type raw [20]byte

func (o raw) oid() grasp.OID { return grasp.OID(hex.EncodeToString(o[:])) }

// A walk is one look at one pack.
type walk struct {
	s      *search
	fresh  *packs // what was pushed
	left   int    // bytes that may still be read
	trees  map[raw]struct{}
	border []grasp.OID // parents that are not in the pack: they have to be complete
}

// connectedHere reports whether everything that can be reached from open is in the pack or in the
// repository. False says nothing: git has to look.
func (q *quarantine) connectedHere(st *state, open []grasp.OID) bool {
	if q.packs.totalObjects > maxWalkObjects {
		return false
	}
	s, err := q.r.search(q.packs)
	if err != nil {
		return false
	}
	defer s.close()
	w := &walk{s: s, fresh: q.packs, left: maxWalkBytes, trees: map[raw]struct{}{}}
	if err := w.commits(open); err != nil {
		return false
	}
	return len(q.r.unproven(st, w.border, grasp.OIDSet{})) == 0
}

// commits verifies all commits in the pack that can be reached from tips. Each relies on the trees of its
// parents, which are verified or complete: no commit is its own ancestor.
func (w *walk) commits(tips []grasp.OID) error {
	seen := grasp.OIDSet{}
	todo := append([]grasp.OID(nil), tips...)
	for len(todo) > 0 {
		o := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen.Has(o) {
			continue
		}
		seen.Add(o)
		if !w.isFresh(o) {
			w.border = append(w.border, o)
			continue
		}
		k, text, err := w.read(o)
		if err != nil {
			return err
		}
		if k == kindTag {
			target, ok := tagTarget(text)
			if !ok {
				return errOpaque
			}
			todo = append(todo, target)
			continue
		}
		if k != kindCommit {
			return errOpaque
		}
		tree, parents, ok := parseCommit(text)
		if !ok {
			return errOpaque
		}
		var bases []raw
		for _, p := range parents {
			k, text, err := w.read(p)
			if err != nil || k != kindCommit {
				return errOpaque
			}
			base, _, ok := parseCommit(text)
			if !ok {
				return errOpaque
			}
			bases = append(bases, base)
		}
		if err := w.tree(tree, bases, 0); err != nil {
			return err
		}
		todo = append(todo, parents...)
	}
	return nil
}

// tree verifies t, which stands where bases stand in the parents.
func (w *walk) tree(t raw, bases []raw, depth int) error {
	if _, ok := w.trees[t]; ok {
		return nil
	}
	for _, b := range bases {
		if b == t {
			return nil
		}
	}
	if depth > maxWalkDepth || !w.isFresh(t.oid()) {
		return errOpaque
	}
	mine, err := w.entries(t)
	if err != nil {
		return err
	}
	theirs := make([]map[string]entry, 0, len(bases))
	for _, b := range bases {
		list, err := w.entries(b)
		if err != nil {
			return err
		}
		m := make(map[string]entry, len(list))
		for _, e := range list {
			m[e.name] = e
		}
		theirs = append(theirs, m)
	}
	for _, e := range mine {
		if e.mode == gitlink {
			continue
		}
		same := false
		var below []raw
		for _, m := range theirs {
			b, ok := m[e.name]
			if !ok || (b.mode == folder) != (e.mode == folder) || b.mode == gitlink {
				continue
			}
			same = same || b.oid == e.oid
			below = append(below, b.oid)
		}
		switch {
		case same:
		case e.mode == folder:
			if err := w.tree(e.oid, below, depth+1); err != nil {
				return err
			}
		case !w.isFresh(e.oid.oid()):
			return errOpaque
		}
	}
	w.trees[t] = struct{}{}
	return nil
}

// isFresh reports whether o is in the pack.
func (w *walk) isFresh(o grasp.OID) bool {
	var id [20]byte
	if !decodeOID(&id, o) {
		return false
	}
	_, _, ok, err := w.fresh.find(w.s, &id)
	return ok && err == nil
}

func (w *walk) read(o grasp.OID) (kind, []byte, error) {
	k, text, err := w.s.content(o, min(maxWalkObject, w.left))
	w.left -= len(text)
	return k, text, err
}

// An entry is one line of a tree.
type entry struct {
	mode, name string
	oid        raw
}

func (w *walk) entries(t raw) ([]entry, error) {
	k, text, err := w.read(t.oid())
	if err != nil {
		return nil, err
	}
	list, ok := parseTree(text)
	if k != kindTree || !ok {
		return nil, errOpaque
	}
	return list, nil
}

// parseTree reads the content of a tree.
func parseTree(b []byte) (list []entry, ok bool) {
	for len(b) > 0 {
		mode, rest, found := bytes.Cut(b, []byte{' '})
		if !found || len(mode) == 0 || len(mode) > 6 {
			return nil, false
		}
		name, rest, found := bytes.Cut(rest, []byte{0})
		if !found || len(name) == 0 || len(rest) < rawLen {
			return nil, false
		}
		e := entry{mode: string(mode), name: string(name), oid: raw(rest[:rawLen])}
		if e.mode == "0"+folder {
			e.mode = folder // as some old tools wrote it
		}
		list, b = append(list, e), rest[rawLen:]
	}
	return list, true
}

// parseCommit reads the beginning of a commit.
func parseCommit(b []byte) (tree raw, parents []grasp.OID, ok bool) {
	line, b, _ := bytes.Cut(b, []byte{'\n'})
	id, found := bytes.CutPrefix(line, []byte("tree "))
	if !found || !decodeOID((*[20]byte)(&tree), grasp.OID(id)) {
		return tree, nil, false
	}
	for {
		line, rest, found := bytes.Cut(b, []byte{'\n'})
		id, isParent := bytes.CutPrefix(line, []byte("parent "))
		if !isParent {
			return tree, parents, true
		}
		if !found || !grasp.IsHex(string(id), 40) {
			return tree, nil, false
		}
		parents, b = append(parents, grasp.OID(id)), rest
	}
}

// content returns the type and the whole of o. One that is larger than limit, in bytes, or needs
// larger ones to be made of, is errOpaque, and so is one that lies in no pack.
func (s *search) content(o grasp.OID, limit int) (kind, []byte, error) {
	var id [20]byte
	if !decodeOID(&id, o) {
		return 0, nil, errNoObject
	}
	for range maxRefresh {
		for _, d := range s.dirs {
			p, off, ok, err := d.find(s, &id)
			if err != nil {
				return 0, nil, err
			}
			if ok {
				return s.unpack(p, off, limit)
			}
		}
		if !s.refresh() {
			break
		}
	}
	return 0, nil, errOpaque
}

// unpack reads the object at off, and applies the deltas that it is made of.
func (s *search) unpack(p *pack, off int64, limit int) (kind, []byte, error) {
	f, err := s.open(p.path + ".pack")
	if err != nil {
		return 0, nil, err
	}
	var deltas [][]byte
	for range maxWalkChain {
		var head [64]byte
		n, err := f.ReadAt(head[:], off)
		if err != nil && err != io.EOF {
			return 0, nil, err
		}
		b := head[:n]
		k, size, used := objectHead(b)
		if used == 0 || size > int64(limit) || len(b) < used+rawLen {
			return 0, nil, errOpaque
		}
		at, next := off+int64(used), int64(0)
		switch k {
		case kindCommit, kindTree, kindTag:
		case 6:
			back, ok := ofsDelta(b[used:])
			if !ok || back <= 0 || back >= off {
				return 0, nil, errOpaque
			}
			for at++; b[at-off-1]&0x80 != 0; at++ {
			}
			next = off - back
		case 7:
			var base [20]byte
			copy(base[:], b[used:])
			o, ok, err := p.find(s, &base)
			if err != nil || !ok {
				return 0, nil, errOpaque
			}
			at, next = at+int64(rawLen), o
		default: // of blobs nobody wants the content
			return 0, nil, errOpaque
		}
		text, err := inflate(io.NewSectionReader(f, at, 2*size+1024), int(size))
		if err != nil || int64(len(text)) != size {
			return 0, nil, errOpaque
		}
		if k >= 6 {
			deltas, off = append(deltas, text), next
			continue
		}
		for i := len(deltas) - 1; i >= 0; i-- {
			var ok bool
			if text, ok = patch(text, deltas[i], limit); !ok {
				return 0, nil, errOpaque
			}
		}
		return k, text, nil
	}
	return 0, nil, errOpaque
}

// objectHead reads what stands before an object in a pack: its type, its size inflated, and how many bytes
// say so; 0 if b is none.
func objectHead(b []byte) (k kind, size int64, used int) {
	if len(b) == 0 {
		return 0, 0, 0
	}
	k, size = kind(b[0]>>4&7), int64(b[0]&15)
	shift := 4
	for used = 1; b[used-1]&0x80 != 0; used++ {
		if used == len(b) || shift > 50 {
			return 0, 0, 0
		}
		size |= int64(b[used]&0x7f) << shift
		shift += 7
	}
	return k, size, used
}

// errDelta never leaves patch.
var errDelta = errors.New("not a delta")

// patch applies a delta of git's. What comes of it may have limit bytes.
func patch(base, delta []byte, limit int) (out []byte, ok bool) {
	return patchInto(nil, base, delta, limit)
}

// patchInto is patch, whose result lies in buf if there is room.
func patchInto(buf, base, delta []byte, limit int) (out []byte, ok bool) {
	defer func() {
		if !ok {
			out = nil
		}
	}()
	number := func() (int, error) {
		n := 0
		for shift := 0; shift <= 28 && len(delta) > 0; shift += 7 {
			c := delta[0]
			delta = delta[1:]
			n |= int(c&0x7f) << shift
			if c&0x80 == 0 {
				return n, nil
			}
		}
		return 0, errDelta
	}
	from, err := number()
	if err != nil || from != len(base) {
		return nil, false
	}
	size, err := number()
	if err != nil || size > limit {
		return nil, false
	}
	out = room(buf, int64(size))[:0]
	for len(delta) > 0 {
		c := delta[0]
		delta = delta[1:]
		if c&0x80 == 0 { // so many bytes that stand here
			if c == 0 || int(c) > len(delta) || len(out)+int(c) > size {
				return nil, false
			}
			out, delta = append(out, delta[:c]...), delta[c:]
			continue
		}
		var off, n int
		for i := range 7 {
			if c>>i&1 == 0 {
				continue
			}
			if len(delta) == 0 {
				return nil, false
			}
			v := int(delta[0])
			delta = delta[1:]
			if i < 4 {
				off |= v << (8 * i)
			} else {
				n |= v << (8 * (i - 4))
			}
		}
		if n == 0 {
			n = 0x10000
		}
		if off+n > len(base) || len(out)+n > size {
			return nil, false
		}
		out = append(out, base[off:off+n]...)
	}
	return out, len(out) == size
}

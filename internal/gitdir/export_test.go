package gitdir

import (
	"bytes"
	"strings"

	"github.com/gitroost/gitroost/grasp"
)

// WithStep makes f be called between the steps of what changes the disk.
func (c Config) WithStep(f func(name string) error) Config {
	c.step = f
	return c
}

// What the fuzz targets and tables look at.
var (
	Escape     = escape
	AtLeast    = atLeast
	PackHeader = packHeader
	ParseHead  = parseHead
	OfsDelta   = ofsDelta
	Reason     = reason
)

// ReprintPackedRefs parses a packed-refs file and writes it again.
func ReprintPackedRefs(data []byte, write func([]byte) (int, error)) (refs int, err error) {
	list, _, err := parsePackedRefs(bytes.NewReader(data))
	if err != nil {
		return 0, err
	}
	return list.Len(), writePackedRefs(writerFunc(write), list)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// FindInIndex looks for an object in the bytes of an index.
func FindInIndex(data []byte, o [20]byte) (off int64, ok bool, err error) {
	p, err := parseIndex(data, int64(len(data)))
	if err != nil {
		return 0, false, err
	}
	return p.find(&search{}, &o)
}

// RemoteRefs is remoteRefs.
func RemoteRefs(b []byte, pulls []grasp.EventID) []grasp.OID { return remoteRefs(b, pulls) }

// Patch applies a delta.
var Patch = patch

// Content returns the type and the whole of an object, as it is read for small pushes.
func Content(v *Vault, addr grasp.Addr, o grasp.OID) (kind string, text []byte, err error) {
	r, err := v.acquire(addr)
	if err != nil {
		return "", nil, err
	}
	defer v.release(r)
	s, err := r.search()
	if err != nil {
		return "", nil, err
	}
	defer s.close()
	k, text, err := s.content(o, 1<<20)
	return k.String(), text, err
}

// Parse reads b as a tree and as a commit.
func Parse(b []byte) {
	parseTree(b)
	parseCommit(b)
}

// PartHeader is partHeader.
func PartHeader(b []byte) (k uint8, size int64, used int, back int64, id []byte, ok bool) {
	kind, size, used, base, ok := partHeader(b)
	if base.id != nil {
		id = base.id[:]
	}
	return uint8(kind), size, used, base.back, id, ok
}

// AppendPart writes what PartHeader reads.
func AppendPart(k uint8, size, back int64, id []byte) []byte {
	switch {
	case back > 0:
		return appendBack(appendPartHead(nil, 6, size), back)
	case id != nil:
		return append(appendPartHead(nil, 7, size), id...)
	}
	return appendPartHead(nil, kind(k), size)
}

// TreeEntries reads b as the walk of an ownPack does, ParseTree as that of a push does.
func TreeEntries(b []byte) (out string, ok bool) {
	for len(b) > 0 {
		mode, id, rest, ok := treeEntry(b)
		if !ok {
			return "", false
		}
		out, b = out+strings.TrimPrefix(mode, "0")+string(id.oid())+" ", rest
	}
	return out, true
}

// ParseTree is parseTree.
func ParseTree(b []byte) (out string, ok bool) {
	list, ok := parseTree(b)
	for _, e := range list {
		out += strings.TrimPrefix(e.mode, "0") + string(e.oid.oid()) + " "
	}
	return out, ok
}

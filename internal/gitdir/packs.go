package gitdir

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/gitroost/gitroost/grasp"
)

// A packs is what is known of one object folder: its pack indexes, and which loose folders exist.
// It is not changed.
type packs struct {
	dir          string // objects/pack
	list         []*pack
	loose        [256]bool
	anyLoose     bool
	packsAt      int64 // mtime of objects/pack when it was listed
	looseAt      int64 // and of objects
	unreadable   bool  // an index is of another kind: only git can say what is not there
	totalObjects int64
	totalBytes   int64
}

// A pack is one pack index of version 2.
type pack struct {
	path    string // without .idx or .pack
	n       uint32
	bytes   int64 // of the pack and what belongs to it
	fan     *[256]uint32
	content []byte // the whole index, if it is small
	cruft   bool   // of objects that no ref reached when it was made
}

const (
	idxHeader  = 8
	idxFan     = 256 * 4
	smallIndex = 16 << 10
	maxBucket  = 3200 // names that are read at a time
)

// listed returns the packs of r as they are on disk now. Listing again is cheap when nothing has
// changed.
func (r *repo) listed() (*packs, error) {
	r.mu.Lock()
	old := r.packs
	r.mu.Unlock()
	p, err := listPacks(r.objects(), old)
	if err != nil {
		return nil, explainIO("gitdir: list packs", err)
	}
	if p != old {
		r.mu.Lock()
		r.packs = p
		r.mu.Unlock()
	}
	return p, nil
}

// objectCount returns about how many objects the packs of r hold. It is a guess for limits, and 0
// if that cannot be found out.
func (r *repo) objectCount() int64 {
	p, err := r.listed()
	if err != nil {
		return 0
	}
	return p.count()
}

func (p *packs) count() int64 { return p.totalObjects }

// relist makes the next listed look again.
func (r *repo) relist() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.packs != nil {
		again := *r.packs
		again.packsAt, again.looseAt = -1, -1
		r.packs = &again
	}
}

// listPacks lists what is in the object folder. old is an earlier answer or nil; what it knows of
// packs that are still there is used again, and it is returned if nothing has changed. A folder
// that is not there is empty; anything else that cannot be read is an error and not an answer
// (hardening G12).
func listPacks(objects string, old *packs) (*packs, error) {
	dir := objects + "/pack"
	p := &packs{dir: dir}
	for path, at := range map[string]*int64{dir: &p.packsAt, objects: &p.looseAt} {
		fi, err := os.Stat(path)
		if err == nil {
			*at = fi.ModTime().UnixNano()
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if old != nil && old.packsAt == p.packsAt && old.looseAt == p.looseAt {
		return old, nil
	}
	known := map[string]*pack{}
	if old != nil {
		for _, k := range old.list {
			known[k.path] = k
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	have := map[string]bool{}
	for _, e := range entries {
		have[e.Name()] = true
	}
	for _, e := range entries {
		base, ok := strings.CutSuffix(e.Name(), ".idx")
		if !ok || !have[base+".pack"] {
			continue
		}
		path := filepath.Join(dir, base)
		k := known[path]
		if k == nil {
			k, err = readIndex(path)
			switch {
			case errors.Is(err, fs.ErrNotExist): // repacked meanwhile
				continue
			case errors.Is(err, errIndex):
				p.unreadable = true
				p.totalBytes += packBytes(path)
				continue
			case err != nil:
				return nil, err
			}
		}
		if have[base+".mtimes"] && !k.cruft {
			again := *k
			again.cruft = true
			k = &again
		}
		p.totalObjects += int64(k.n)
		p.totalBytes += k.bytes
		p.list = append(p.list, k)
	}
	folders, err := os.ReadDir(objects)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range folders {
		var b [1]byte
		if n := e.Name(); len(n) == 2 && grasp.IsHex(n, 2) {
			hex.Decode(b[:], []byte(n))
			p.loose[b[0]], p.anyLoose = true, true
		}
	}
	return p, nil
}

// errIndex: the index is broken, or of a kind that only git reads.
var errIndex = errors.New("not a pack index of version 2")

// readIndex reads what is kept in memory of the index path+".idx".
func readIndex(path string) (*pack, error) {
	f, err := os.Open(path + ".idx")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := fi.Size()
	head := make([]byte, min(size, smallIndex))
	if size > smallIndex {
		head = head[:idxHeader+idxFan]
	}
	if _, err := io.ReadFull(f, head); err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			err = errIndex
		}
		return nil, err
	}
	p, err := parseIndex(head, size)
	if err != nil {
		return nil, err
	}
	p.path, p.bytes = path, packBytes(path)
	return p, nil
}

// parseIndex reads the beginning of an index of size bytes; all of it if it is small.
func parseIndex(head []byte, size int64) (*pack, error) {
	if len(head) < idxHeader+idxFan || string(head[:8]) != "\xfftOc\x00\x00\x00\x02" {
		return nil, errIndex
	}
	p := &pack{fan: new([256]uint32)}
	var last uint32
	for i := range p.fan {
		n := binary.BigEndian.Uint32(head[idxHeader+4*i:])
		if n < last {
			return nil, errIndex
		}
		p.fan[i], last = n, n
	}
	p.n = last
	// names, checksums, offsets, perhaps large offsets, and two checksums of it all
	if size < idxHeader+idxFan+28*int64(p.n)+40 {
		return nil, errIndex
	}
	if int64(len(head)) == size {
		p.content = head
	}
	return p, nil
}

// find returns the pack that holds the object, and where.
func (p *packs) find(s *search, o *[20]byte) (*pack, int64, bool, error) {
	for _, k := range p.list {
		off, ok, err := k.find(s, o)
		if errors.Is(err, fs.ErrNotExist) {
			s.stale = true // repacked meanwhile: what it held is in another one
			continue
		}
		if ok || err != nil {
			return k, off, ok, err
		}
	}
	return nil, 0, false, nil
}

// find returns where in the pack the object begins.
func (k *pack) find(s *search, o *[20]byte) (int64, bool, error) {
	lo, hi := uint32(0), k.fan[o[0]]
	if o[0] > 0 {
		lo = k.fan[o[0]-1]
	}
	if lo == hi {
		return 0, false, nil
	}
	var idx io.ReaderAt = bytes.NewReader(k.content)
	if k.content == nil {
		f, err := s.open(k.path + ".idx")
		if err != nil {
			return 0, false, err
		}
		idx = f
	}
	const names = idxHeader + idxFan
	var name [20]byte
	for hi-lo > maxBucket {
		mid := lo + (hi-lo)/2
		if _, err := idx.ReadAt(name[:], names+20*int64(mid)); err != nil {
			return 0, false, noEOF(err)
		}
		if bytes.Compare(name[:], o[:]) <= 0 {
			lo = mid
		} else {
			hi = mid
		}
	}
	bucket := make([]byte, 20*(hi-lo))
	if _, err := idx.ReadAt(bucket, names+20*int64(lo)); err != nil {
		return 0, false, noEOF(err)
	}
	i := sort.Search(int(hi-lo), func(i int) bool { return bytes.Compare(bucket[20*i:20*i+20], o[:]) >= 0 })
	if i == int(hi-lo) || !bytes.Equal(bucket[20*i:20*i+20], o[:]) {
		return 0, false, nil
	}
	at := names + 24*int64(k.n) + 4*(int64(lo)+int64(i))
	var b [8]byte
	if _, err := idx.ReadAt(b[:4], at); err != nil {
		return 0, false, noEOF(err)
	}
	off := int64(binary.BigEndian.Uint32(b[:4]))
	if off&0x80000000 != 0 {
		if _, err := idx.ReadAt(b[:], names+28*int64(k.n)+8*(off&0x7fffffff)); err != nil {
			return 0, false, noEOF(err)
		}
		off = int64(binary.BigEndian.Uint64(b[:]) &^ (1 << 63))
	}
	return off, true, nil
}

// noEOF: the size of the index was looked at, so its end is no ordinary end.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (p *packs) loosePath(o grasp.OID) string {
	return filepath.Join(filepath.Dir(p.dir), string(o[:2]), string(o[2:]))
}

func (p *packs) hasLoose(o grasp.OID) (bool, error) {
	if !p.anyLoose {
		return false, nil
	}
	var raw [20]byte
	if !decodeOID(&raw, o) || !p.loose[raw[0]] {
		return false, nil
	}
	_, err := os.Lstat(p.loosePath(o))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

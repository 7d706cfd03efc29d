package gitdir

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/run"
)

// A kind is the type of a git object, with the numbers that packs use.
type kind uint8

const (
	kindCommit kind = 1 + iota
	kindTree
	kindBlob
	kindTag
)

var kindNames = [...]string{kindCommit: "commit", kindTree: "tree", kindBlob: "blob", kindTag: "tag"}

func (k kind) String() string {
	if int(k) < len(kindNames) && k != 0 {
		return kindNames[k]
	}
	return "thing"
}

func parseKind(s string) (kind, bool) {
	for k, n := range kindNames {
		if n != "" && n == s {
			return kind(k), true
		}
	}
	return 0, false
}

// An objectInfo is what matters of an object. peeled is what a tag finally points to; for others,
// nothing.
type objectInfo struct {
	kind   kind
	peeled grasp.OID
}

var (
	errNoObject = errors.New("no such object")
	// errOpaque: the object is there in a shape that only git reads.
	errOpaque = errors.New("not readable here")
)

const (
	maxTagDepth   = 16
	maxDeltaDepth = 5000
)

// A search looks up objects in one moment's list of packs. It keeps the files open that it read
// from, until close. Use it from one goroutine.
type search struct {
	dirs  []*packs
	files map[string]*os.File
	r     *repo // whose packs dirs[0] are
	stale bool  // a pack of dirs is gone
}

// refresh lists the packs again if one of them was gone, and reports whether it did.
func (s *search) refresh() bool {
	if !s.stale || s.r == nil {
		return false
	}
	s.stale = false
	s.r.relist()
	p, err := s.r.listed()
	if err != nil || p == s.dirs[0] {
		return false
	}
	s.dirs[0] = p
	return true
}

// maxRefresh bounds how often one question is asked again because packs went away.
const maxRefresh = 5

func (s *search) close() {
	for _, f := range s.files {
		f.Close()
	}
	s.files = nil
}

func (s *search) open(path string) (*os.File, error) {
	if f, ok := s.files[path]; ok {
		return f, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if s.files == nil {
		s.files = map[string]*os.File{}
	}
	s.files[path] = f
	return f, nil
}

// search begins to look for objects of r, and of the further lists given.
func (r *repo) search(more ...*packs) (*search, error) {
	p, err := r.listed()
	if err != nil {
		return nil, err
	}
	return &search{dirs: append([]*packs{p}, more...), r: r}, nil
}

// has reports whether o is there, or may be: where there is an index that only git can read, the
// answer is always yes.
func (s *search) has(o grasp.OID) (bool, error) {
	var raw [20]byte
	if !decodeOID(&raw, o) {
		return false, nil
	}
	for range maxRefresh {
		for _, d := range s.dirs {
			if _, _, ok, err := d.find(s, &raw); ok || err != nil {
				return ok, err
			}
			if ok, err := d.hasLoose(o); ok || err != nil {
				return ok, err
			}
			if d.unreadable {
				return true, nil
			}
		}
		if !s.refresh() {
			break
		}
	}
	return false, nil
}

// object returns what o is, or errNoObject or errOpaque.
func (s *search) object(o grasp.OID) (objectInfo, error) {
	info := objectInfo{}
	for depth := range maxTagDepth {
		k, text, err := s.read(o)
		if err != nil {
			if depth > 0 && errors.Is(err, errNoObject) {
				err = errOpaque // let git say what is wrong with the tag
			}
			return objectInfo{}, err
		}
		if depth == 0 {
			info.kind = k
		}
		if k != kindTag {
			if depth > 0 {
				info.peeled = o
			}
			return info, nil
		}
		target, ok := tagTarget(text)
		if !ok {
			return objectInfo{}, errOpaque
		}
		o = target
	}
	return objectInfo{}, errOpaque
}

// tagTarget returns the object that the text of a tag points to.
func tagTarget(text []byte) (grasp.OID, bool) {
	line, _, ok := bytes.Cut(text, []byte{'\n'})
	rest, found := strings.CutPrefix(string(line), "object ")
	return grasp.OID(rest), ok && found && grasp.IsHex(rest, 40)
}

// read returns the type of o, and of a tag the beginning of its text.
func (s *search) read(o grasp.OID) (kind, []byte, error) {
	var raw [20]byte
	if !decodeOID(&raw, o) {
		return 0, nil, errNoObject
	}
	for range maxRefresh {
		for _, d := range s.dirs {
			p, off, ok, err := d.find(s, &raw)
			if err != nil {
				return 0, nil, err
			}
			if ok {
				return s.readPacked(p, off)
			}
			loose, err := d.hasLoose(o)
			if err != nil {
				return 0, nil, err
			}
			if loose {
				return readLoose(d.loosePath(o))
			}
			if d.unreadable {
				return 0, nil, errOpaque
			}
		}
		if !s.refresh() {
			break
		}
	}
	return 0, nil, errNoObject
}

func decodeOID(raw *[20]byte, o grasp.OID) bool {
	if len(o) != 40 {
		return false
	}
	_, err := hex.Decode(raw[:], []byte(o))
	return err == nil
}

// readPacked follows the chain of deltas that begins at off down to the object it is made of: that
// one has the type of them all.
func (s *search) readPacked(p *pack, off int64) (kind, []byte, error) {
	f, err := s.open(p.path + ".pack")
	if err != nil {
		return 0, nil, err
	}
	var buf [64]byte
	for depth := range maxDeltaDepth {
		n, err := f.ReadAt(buf[:], off)
		if err != nil && err != io.EOF {
			return 0, nil, err
		}
		if n < 21 {
			return 0, nil, errOpaque
		}
		b := buf[:n]
		typ := b[0] >> 4 & 7
		i := 0
		for i < len(b) && b[i]&0x80 != 0 {
			i++
		}
		if i++; i+20 > len(b) {
			return 0, nil, errOpaque
		}
		switch k := kind(typ); k {
		case kindCommit, kindTree, kindBlob:
			return k, nil, nil
		case kindTag:
			if depth > 0 {
				return 0, nil, errOpaque // its text is in the deltas
			}
			text, err := inflate(io.NewSectionReader(f, off+int64(i), 1<<20), 64)
			return k, text, err
		case 6:
			back, ok := ofsDelta(b[i:])
			if !ok || back <= 0 || back >= off {
				return 0, nil, errOpaque
			}
			off -= back
		case 7:
			var base [20]byte
			copy(base[:], b[i:])
			o, ok, err := p.find(s, &base)
			if err != nil || !ok {
				return 0, nil, errOpaque
			}
			off = o
		default:
			return 0, nil, errOpaque
		}
	}
	return 0, nil, errOpaque
}

// ofsDelta decodes how far before a delta its base begins.
func ofsDelta(b []byte) (int64, bool) {
	var n int64
	for i, c := range b {
		if i > 0 {
			n++
		}
		if n >= 1<<55 {
			return 0, false
		}
		n = n<<7 | int64(c&0x7f)
		if c&0x80 == 0 {
			return n, true
		}
	}
	return 0, false
}

// An inflater is used again: its tables are larger than most of what it reads.
type inflater struct {
	in *bufio.Reader
	z  io.ReadCloser // nil before the first use
}

var inflaters = sync.Pool{New: func() any { return &inflater{in: bufio.NewReaderSize(nil, 512)} }}

func inflate(r io.Reader, n int) ([]byte, error) {
	f := inflaters.Get().(*inflater)
	defer func() {
		f.in.Reset(nil)
		inflaters.Put(f)
	}()
	f.in.Reset(r)
	var err error
	if f.z == nil {
		f.z, err = zlib.NewReader(f.in)
	} else {
		err = f.z.(zlib.Resetter).Reset(f.in, nil)
	}
	if err != nil {
		f.z = nil
		return nil, errOpaque
	}
	out := make([]byte, n)
	got, err := io.ReadFull(f.z, out)
	if err != nil && err != io.ErrUnexpectedEOF {
		return nil, errOpaque
	}
	return out[:got], nil
}

func readLoose(path string) (kind, []byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil, errNoObject
	}
	if err != nil {
		return 0, nil, err
	}
	defer f.Close()
	b, err := inflate(f, 128)
	if err != nil {
		return 0, nil, err
	}
	head, text, ok := bytes.Cut(b, []byte{0})
	name, _, _ := strings.Cut(string(head), " ")
	k, known := parseKind(name)
	if !ok || !known {
		return 0, nil, errOpaque
	}
	return k, text, nil
}

// resolve returns what oids are; one that is not there is not in the answer. more is a quarantine
// to look into as well, or nil. A program is started only for what cannot be read here.
func (r *repo) resolve(ctx context.Context, more *packs, oids []grasp.OID) (map[grasp.OID]objectInfo, error) {
	out := make(map[grasp.OID]objectInfo, len(oids))
	var opaque []grasp.OID
	var also []*packs
	if more != nil {
		also = append(also, more)
	}
	s, err := r.search(also...)
	if err != nil {
		return nil, err
	}
	defer s.close()
	for _, o := range oids {
		if _, ok := out[o]; ok {
			continue
		}
		info, err := s.object(o)
		switch {
		case err == nil:
			out[o] = info
		case errors.Is(err, errNoObject):
		case errors.Is(err, errOpaque), errors.Is(err, fs.ErrNotExist):
			opaque = append(opaque, o)
		default:
			return nil, explainIO("gitdir: read object", err)
		}
	}
	if len(opaque) == 0 {
		return out, nil
	}
	return out, r.askGit(ctx, more, opaque, out)
}

// askGit puts into out what oids are.
func (r *repo) askGit(ctx context.Context, more *packs, oids []grasp.OID, out map[grasp.OID]objectInfo) error {
	var in strings.Builder
	for _, o := range oids {
		fmt.Fprintf(&in, "%s\n%s^{}\n", o, o)
	}
	text, err := r.v.small(ctx, command{
		args:  run.Words("cat-file", "--batch-check=%(objectname) %(objecttype)"),
		env:   r.objectEnv(more, nil),
		stdin: strings.NewReader(in.String()),
	})
	if err != nil {
		return explain("gitdir: read objects", err, fault.Internal, "")
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) != 2*len(oids) {
		return fault.E(fault.Internal, "gitdir: read objects", "git answered something else")
	}
	for i, o := range oids {
		name, typ, _ := strings.Cut(lines[2*i], " ")
		k, ok := parseKind(typ)
		if !ok || name != string(o) {
			continue // missing or broken
		}
		info := objectInfo{kind: k}
		if k == kindTag {
			target, typ, _ := strings.Cut(lines[2*i+1], " ")
			if _, ok := parseKind(typ); !ok || !grasp.IsHex(target, 40) {
				continue
			}
			info.peeled = grasp.OID(target)
		}
		out[o] = info
	}
	return nil
}

// objectEnv is the environment of a command that looks at the objects of r, and of a quarantine. It
// sees no refs, and no configuration but ours.
func (r *repo) objectEnv(more *packs, config []pair) []string {
	n := r.objectCount()
	objects := r.objects()
	var extra []string
	if more != nil {
		n += more.count()
		if r.v.isDir(objects) {
			extra = append(extra, "GIT_ALTERNATE_OBJECT_DIRECTORIES="+objects)
		}
		objects = filepath.Dir(more.dir)
	} else if !r.v.isDir(objects) {
		objects = filepath.Join(r.v.none(), "objects")
	}
	extra = append(extra, "GIT_OBJECT_DIRECTORY="+objects)
	return r.v.env(r.v.none(), n, [][]pair{baseConfig, config}, extra...)
}

func (v *Vault) isDir(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.IsDir()
}

// packHeader reads the first 12 bytes of a pack.
func packHeader(b []byte) (objects uint32, err error) {
	if len(b) < 12 || string(b[:4]) != "PACK" {
		return 0, errors.New("this is not a pack")
	}
	if v := binary.BigEndian.Uint32(b[4:]); v != 2 && v != 3 {
		return 0, errors.New("pack version " + strconv.FormatUint(uint64(v), 10) + " is not known")
	}
	return binary.BigEndian.Uint32(b[8:]), nil
}

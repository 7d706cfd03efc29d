package gitdir

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/durable"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/run"
)

// maxPackedRefs is the largest packed-refs file that is read, in bytes.
const maxPackedRefs = 64 << 20

// A state is the refs of a repository as they are on disk. It is not changed.
type state struct {
	there bool            // the repository has a folder
	snap  *grasp.Snapshot // what is visible of list
	list  grasp.RefList   // everything in packed-refs
	mark  mark
}

// A mark tells whether somebody has touched the files that the refs are in.
type mark [6]struct {
	mtime int64
	size  int64
	inode uint64
}

var marked = [len(mark{})]string{"packed-refs", "HEAD", "config", "refs", "refs/heads", "refs/tags"}

// look returns the mark of the repository as it is now; there is false if it has no folder.
func (r *repo) look() (m mark, there bool, err error) {
	for i, name := range marked {
		fi, err := os.Lstat(r.path + "/" + name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return m, false, fault.Wrap("gitdir: look at refs", err)
		}
		m[i].mtime = fi.ModTime().UnixNano()
		m[i].size = fi.Size()
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			m[i].inode = st.Ino
		}
	}
	if m == (mark{}) {
		_, err := os.Lstat(r.path)
		return m, err == nil, nil
	}
	return m, true, nil
}

// Refs implements steward.Vault.
func (v *Vault) Refs(ctx context.Context, addr grasp.Addr) (*grasp.Snapshot, error) {
	r, err := v.acquire(addr)
	if err != nil {
		return nil, err
	}
	defer v.release(r)
	st, err := r.refs(ctx)
	if err != nil {
		return nil, err
	}
	return st.snap, nil
}

// fresh returns the remembered state if it still is what is on disk.
func (r *repo) fresh() (*state, error) {
	m, there, err := r.look()
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if st := r.state; st != nil && st.there == there && st.mark == m {
		return st, nil
	}
	if !there && r.state == nil {
		r.state = &state{snap: grasp.EmptySnapshot}
		return r.state, nil
	}
	return nil, nil
}

// refs returns the state of r, from memory if it can.
func (r *repo) refs(ctx context.Context) (*state, error) {
	if st, err := r.fresh(); st != nil || err != nil {
		return st, err
	}
	if err := r.lock(ctx); err != nil {
		return nil, err
	}
	defer r.unlock()
	return r.refsLocked(ctx)
}

// refsLocked is refs for a caller that has locked r.
func (r *repo) refsLocked(ctx context.Context) (*state, error) {
	if st, err := r.fresh(); st != nil || err != nil {
		return st, err
	}
	_, there, err := r.look()
	if err != nil {
		return nil, err
	}
	if !there {
		// It is gone, and not by Remove. What was known of it is worth nothing.
		r.forget()
		return r.keep(&state{snap: grasp.EmptySnapshot}), nil
	}
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	// The mark is older than what is read: a change in between makes the next look differ.
	m, _, err := r.look()
	if err != nil {
		return nil, err
	}
	list, err := r.readPacked()
	if err != nil {
		return nil, explainIO("gitdir: read refs", err)
	}
	head, err := r.readHead()
	if err != nil {
		return nil, explainIO("gitdir: read HEAD", err)
	}
	gen := r.v.gen.Add(1)
	r.mu.Lock()
	if r.slept.gen != 0 && r.slept.mark == m {
		gen = r.slept.gen // as they were when they were let go of
	}
	r.mu.Unlock()
	return r.keep(newState(list, head, m, gen)), nil
}

func (r *repo) keep(st *state) *state {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state, r.slept = st, sleeping{}
	return st
}

// sleepy is from how many refs on they are let go of when nobody has asked for them for a while: to read
// so many again takes a millisecond.
const sleepy = 2000

// sleeping is what is kept of a state that was let go of, so that it is known again.
type sleeping struct {
	mark mark
	gen  uint64
}

// asleep reports whether there are so many refs, and they are not remembered.
func (r *repo) asleep() bool {
	r.mu.Lock()
	loaded := r.state != nil
	r.mu.Unlock()
	if loaded {
		return false
	}
	fi, err := os.Lstat(filepath.Join(r.path, "packed-refs"))
	return err == nil && fi.Size() >= sleepy*64 // a line is rarely shorter
}

// sleep lets go of the refs if there are many. Nobody uses r.
func (r *repo) sleep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if st := r.state; st != nil && st.there && st.list.Len() >= sleepy {
		r.slept = sleeping{st.mark, st.snap.Gen}
		r.state = nil
	}
}

func newState(list grasp.RefList, head grasp.RefName, m mark, gen uint64) *state {
	return &state{there: true, snap: &grasp.Snapshot{Refs: list.Visible(), Head: head, Gen: gen}, list: list, mark: m}
}

// prepare tidies the repository at the first touch, and packs refs that somebody else left loose.
func (r *repo) prepare(ctx context.Context) error {
	if err := r.tidy(); err != nil {
		return err
	}
	loose, err := r.looseRefs()
	if err != nil || len(loose) == 0 {
		return explainIO("gitdir: look for loose refs", err)
	}
	r.v.log.Info("packing loose refs that somebody else made", "repo", r.addr.String(), "refs", len(loose))
	if _, err := r.v.small(ctx, command{
		args: run.Words("pack-refs", "--all", "--prune"),
		env:  r.v.env(r.path, r.objectCount(), [][]pair{baseConfig}),
	}); err != nil {
		return explain("gitdir: pack refs", err, fault.Internal, "")
	}
	// What git did not pack is empty, garbage, or names an object that is not here: no ref.
	if loose, err = r.looseRefs(); err != nil {
		return explainIO("gitdir: look for loose refs", err)
	}
	for _, path := range loose {
		r.v.log.Warn("removing a broken ref", "repo", r.addr.String(), "file", path)
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fault.Wrap("gitdir: remove broken ref", err)
		}
	}
	return nil
}

// looseRefs returns the files of loose refs, at most 100,000. Symbolic ones are not packed and not
// ours: they are ignored.
func (r *repo) looseRefs() (out []string, err error) {
	err = filepath.WalkDir(filepath.Join(r.path, "refs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasSuffix(path, ".lock") {
			return err
		}
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer f.Close()
		var b [4]byte
		n, err := io.ReadFull(f, b[:])
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return err
		}
		if string(b[:n]) == "ref:" {
			return nil
		}
		if out = append(out, path); len(out) >= 100_000 {
			return fs.SkipAll
		}
		return nil
	})
	return out, err
}

func (r *repo) readPacked() (grasp.RefList, error) {
	f, err := os.Open(filepath.Join(r.path, "packed-refs"))
	if errors.Is(err, fs.ErrNotExist) {
		return grasp.RefList{}, nil
	}
	if err != nil {
		return grasp.RefList{}, err
	}
	defer f.Close()
	list, peeled, err := parsePackedRefs(f)
	if err != nil || peeled {
		return list, err
	}
	// Written by something that peels not at all, or tags only by halves.
	s, err := r.search()
	if err != nil {
		return grasp.RefList{}, err
	}
	defer s.close()
	var tags []grasp.Ref
	for p := range list.All() {
		if info, err := s.object(p.OID); err == nil && info.kind == kindTag {
			p.Peeled = info.peeled
			tags = append(tags, p)
		}
	}
	return list.With(tags, nil), nil
}

// readHead returns the branch that HEAD names; DefaultHead if it names none.
func (r *repo) readHead() (grasp.RefName, error) {
	f, err := os.Open(filepath.Join(r.path, "HEAD"))
	if errors.Is(err, fs.ErrNotExist) {
		return grasp.DefaultHead, durable.WriteFile(filepath.Join(r.path, "HEAD"), []byte(headText(grasp.DefaultHead)), 0o640)
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return "", err
	}
	if head, ok := parseHead(data); ok {
		return head, nil
	}
	// Empty, detached or broken: git would not even see a repository. A HEAD that names a
	// branch is always right (H-208).
	r.v.log.Warn("HEAD names no branch; it is written anew", "repo", r.addr.String())
	return grasp.DefaultHead, durable.WriteFile(filepath.Join(r.path, "HEAD"), []byte(headText(grasp.DefaultHead)), 0o640)
}

func headText(head grasp.RefName) string { return "ref: " + string(head) + "\n" }

func parseHead(data []byte) (grasp.RefName, bool) {
	s, ok := strings.CutPrefix(string(data), "ref:")
	if !ok {
		return "", false
	}
	head, ok := grasp.ParseRefName(strings.Trim(s, " \t\r\n"))
	return head, ok && head.IsHead()
}

const packedHeader = "# pack-refs with: peeled fully-peeled sorted \n"

// parsePackedRefs reads a packed-refs file, line by line: of 50,000 refs nothing is kept but the list. peeled
// is true if every annotated tag in it says what it points to.
func parsePackedRefs(file io.Reader) (list grasp.RefList, peeled bool, err error) {
	var p packedRefs
	in := bufio.NewReaderSize(file, 64<<10)
	size := 0
	var long []byte // a line that is longer than the buffer
	for n := 1; ; n++ {
		line, err := in.ReadSlice('\n')
		for long = long[:0]; err == bufio.ErrBufferFull && size+len(long) <= maxPackedRefs; line, err = in.ReadSlice('\n') {
			long = append(long, line...)
		}
		if len(long) > 0 {
			long = append(long, line...)
			line = long
		}
		size += len(line)
		switch {
		case size > maxPackedRefs:
			return grasp.RefList{}, false, fmt.Errorf("packed-refs is larger than %d bytes", maxPackedRefs)
		case err == io.EOF && len(line) == 0:
			list, err := p.end()
			return list, peeled, err
		case err == io.EOF:
			return grasp.RefList{}, false, fmt.Errorf("packed-refs, line %d: cut off", n)
		case err != nil:
			return grasp.RefList{}, false, err
		}
		line = line[:len(line)-1]
		switch {
		case bytes.HasPrefix(line, []byte("#")):
			if n == 1 {
				peeled = strings.Contains(string(line)+" ", " fully-peeled ")
			}
		case bytes.HasPrefix(line, []byte("^")):
			if !p.has || len(p.peeled) > 0 || !isID(line[1:]) {
				return grasp.RefList{}, false, fmt.Errorf("packed-refs, line %d: not a peeled id", n)
			}
			p.peeled = append(p.peeled, line[1:]...)
		default:
			if len(line) < 42 || line[40] != ' ' || !isID(line[:40]) || string(line[:40]) == string(grasp.ZeroOID) || bytes.ContainsAny(line, "\r\x00") {
				return grasp.RefList{}, false, fmt.Errorf("packed-refs, line %d: not a ref", n)
			}
			p.next(line[41:], line[:40])
		}
	}
}

// isID is grasp.IsHex for 40 digits that stand in a buffer.
func isID(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(b) == 40
}

// packedRefs are the refs of a file that is being read. The last one is held back, for what it points to
// may be on the next line.
type packedRefs struct {
	in grasp.RefListMaker

	has               bool
	name, oid, peeled []byte

	unsorted []grasp.Ref // all of them, once one has come before the one before
}

func (p *packedRefs) next(name, oid []byte) {
	sorted := !p.has || bytes.Compare(p.name, name) < 0
	p.flush()
	if !sorted && p.unsorted == nil {
		list := p.in.List()
		p.unsorted = slices.AppendSeq(make([]grasp.Ref, 0, list.Len()+1), list.All())
	}
	p.has, p.name, p.oid, p.peeled = true, append(p.name[:0], name...), append(p.oid[:0], oid...), p.peeled[:0]
}

func (p *packedRefs) flush() {
	switch {
	case !p.has:
	case p.unsorted != nil:
		p.unsorted = append(p.unsorted, grasp.Ref{Name: grasp.RefName(p.name), OID: grasp.OID(p.oid), Peeled: grasp.OID(p.peeled)})
	default:
		p.in.AddBytes(p.name, p.oid, p.peeled)
	}
}

func (p *packedRefs) end() (grasp.RefList, error) {
	p.flush()
	if p.unsorted == nil {
		return p.in.List(), nil
	}
	slices.SortStableFunc(p.unsorted, func(a, b grasp.Ref) int { return cmp.Compare(a.Name, b.Name) })
	for i := 1; i < len(p.unsorted); i++ {
		if p.unsorted[i].Name == p.unsorted[i-1].Name {
			return grasp.RefList{}, fmt.Errorf("packed-refs: %q stands there twice", p.unsorted[i].Name)
		}
	}
	return grasp.ListOf(p.unsorted), nil
}

// writePackedRefs writes list as git does. Without its length the packet of a ref of which nothing is peeled is its line.
func writePackedRefs(w io.Writer, list grasp.RefList) error {
	b := bufio.NewWriterSize(w, 64<<10)
	b.WriteString(packedHeader)
	for refs := range list.Spans() {
		packets := refs.Packets()
		if packets == "" || refs.Peeled() {
			for i := range refs.Len() {
				writePackedRef(b, refs.Ref(i))
			}
			continue
		}
		for packets != "" {
			n, err := strconv.ParseUint(packets[:4], 16, 16)
			if err != nil {
				return err
			}
			b.WriteString(packets[4:n])
			packets = packets[n:]
		}
	}
	return b.Flush()
}

func writePackedRef(b *bufio.Writer, r grasp.Ref) {
	b.WriteString(string(r.OID))
	b.WriteByte(' ')
	b.WriteString(string(r.Name))
	b.WriteByte('\n')
	if r.Peeled != "" {
		b.WriteByte('^')
		b.WriteString(string(r.Peeled))
		b.WriteByte('\n')
	}
}

package gitdir

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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
	return r.keep(newState(grasp.ListOf(list), head, m, gen)), nil
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

func (r *repo) readPacked() ([]grasp.Ref, error) {
	f, err := os.Open(filepath.Join(r.path, "packed-refs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// The names share what is read, so it is read once and not copied.
	var text strings.Builder
	if fi, err := f.Stat(); err == nil {
		text.Grow(int(min(fi.Size(), maxPackedRefs)))
	}
	if _, err := io.Copy(&text, io.LimitReader(f, maxPackedRefs+1)); err != nil {
		return nil, err
	}
	if text.Len() > maxPackedRefs {
		return nil, fmt.Errorf("packed-refs is larger than %d bytes", maxPackedRefs)
	}
	list, peeled, err := parsePackedRefs(text.String())
	if err != nil || peeled {
		return list, err
	}
	// Written by something that peels not at all, or tags only by halves.
	s, err := r.search()
	if err != nil {
		return nil, err
	}
	defer s.close()
	for i, p := range list {
		if info, err := s.object(p.OID); err == nil && info.kind == kindTag {
			list[i].Peeled = info.peeled
		}
	}
	return list, nil
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

// parsePackedRefs reads a packed-refs file. peeled is true if every annotated tag in it says what
// it points to. The names are parts of text.
func parsePackedRefs(text string) (list []grasp.Ref, peeled bool, err error) {
	list = make([]grasp.Ref, 0, strings.Count(text, "\n"))
	sorted := true
	for n := 1; text != ""; n++ {
		line, rest, ok := strings.Cut(text, "\n")
		if !ok {
			return nil, false, fmt.Errorf("packed-refs, line %d: cut off", n)
		}
		text = rest
		switch {
		case strings.HasPrefix(line, "#"):
			if n == 1 {
				peeled = strings.Contains(line+" ", " fully-peeled ")
			}
		case strings.HasPrefix(line, "^"):
			if len(list) == 0 || list[len(list)-1].Peeled != "" || !grasp.IsHex(line[1:], 40) {
				return nil, false, fmt.Errorf("packed-refs, line %d: not a peeled id", n)
			}
			list[len(list)-1].Peeled = grasp.OID(line[1:])
		default:
			if len(line) < 42 || line[40] != ' ' || !grasp.IsHex(line[:40], 40) || grasp.OID(line[:40]).IsZero() || strings.ContainsAny(line, "\r\x00") {
				return nil, false, fmt.Errorf("packed-refs, line %d: not a ref", n)
			}
			p := grasp.Ref{Name: grasp.RefName(line[41:]), OID: grasp.OID(line[:40])}
			sorted = sorted && (len(list) == 0 || list[len(list)-1].Name < p.Name)
			list = append(list, p)
		}
	}
	if !sorted {
		slices.SortStableFunc(list, func(a, b grasp.Ref) int { return cmp.Compare(a.Name, b.Name) })
		for i := 1; i < len(list); i++ {
			if list[i].Name == list[i-1].Name {
				return nil, false, fmt.Errorf("packed-refs: %q stands there twice", list[i].Name)
			}
		}
	}
	return list, peeled, nil
}

// writePackedRefs writes list as git does.
func writePackedRefs(w io.Writer, list grasp.RefList) error {
	b := bufio.NewWriterSize(w, 64<<10)
	b.WriteString(packedHeader)
	for p := range list.All() {
		b.WriteString(string(p.OID))
		b.WriteByte(' ')
		b.WriteString(string(p.Name))
		b.WriteByte('\n')
		if p.Peeled != "" {
			b.WriteByte('^')
			b.WriteString(string(p.Peeled))
			b.WriteByte('\n')
		}
	}
	return b.Flush()
}

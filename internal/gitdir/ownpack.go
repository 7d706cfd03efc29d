package gitdir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitwire"
	"github.com/gitroost/gitroost/internal/run"
)

// A fetch of the last commits from one who has nothing is answered without a program: what lies whole in a pack
// is copied as it lies there, and so is the delta of what is sent too. What is made of something behind the
// border is made anew, quickly. Everything is found, and what stands before its data was read, before the first byte is
// written; whatever is not as usual until then is left to git.

const (
	maxOwnTrees = 256 << 20 // bytes of all trees and commits that are read
	noBlobs     = "blob:none"
)

// An ownPack is one such answer under way.
type ownPack struct {
	o     *openPacks
	m     *maker       // for gather
	cut   grasp.OIDSet // these have no parents
	bare  bool         // only blobs that are wanted by name
	sent  []int32      // in the order in which they were met
	read  int64
	todo  []raw // trees
	older []raw // commits
}

// suits reports whether req can be answered by an ownPack: haves are the objects that both sides have.
func suits(req *gitwire.FetchRequest, haves []grasp.OID) bool {
	return req.Depth > 0 && len(req.Shallow) == 0 && len(haves) == 0 && (req.Filter == "" || req.Filter == noBlobs)
}

// ownPack answers req, which suits. It is not done, and nothing was written, if git has to.
func (r *repo) ownPack(ctx context.Context, st *state, req *gitwire.FetchRequest, wants []grasp.OID, end border, out *gitwire.PackWriter) (done bool, err error) {
	const op = "gitdir: make a pack"
	if r.doubts() {
		return false, nil
	}
	for _, name := range []string{"objects/info/alternates", "info/grafts"} {
		if _, err := os.Lstat(filepath.Join(r.path, name)); !errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
	}
	o, err := r.openAll()
	if err != nil {
		return false, nil
	}
	defer o.close()
	w := &ownPack{o: o, m: makers.Get().(*maker), bare: req.Filter == noBlobs, cut: grasp.OIDSet{}}
	for _, c := range end.cut {
		w.cut.Add(c)
	}
	send := &sending{ownPack: w, out: out, making: r.v.making, ofs: req.Caps&gitwire.OfsDelta != 0}
	if err = w.gather(ctx, st, req, wants); err == nil {
		err = send.plan()
	}
	w.m.done()
	if err != nil {
		return false, nil
	}
	if end.asked {
		out.Shallow(end.told)
	}
	if req.Caps&gitwire.NoProgress == 0 {
		fmt.Fprintf(spoken{out}, "Enumerating objects: %d, done.\n", len(w.sent))
	}
	stop := alive(out)
	err = send.run(ctx)
	stop()
	if err == nil && req.Caps&gitwire.NoProgress == 0 {
		fmt.Fprintf(spoken{out}, "Total %d (delta %d), reused %d (delta %d), pack-reused 0\n",
			len(w.sent), send.deltas, len(w.sent)-len(send.anew), send.deltas)
	}
	if err == nil {
		if err = out.End(); err != nil {
			err = &run.WriteError{Err: err}
		}
	}
	var gone *run.WriteError
	if err != nil && !errors.As(err, &gone) && ctx.Err() == nil {
		// Whoever reads sees that this is not all; from now on git is asked.
		r.doubt()
		r.v.log.Warn("a pack could not be made of what is on disk; git makes the next ones of this repository", "repo", r.addr.String(), "err", err)
	}
	return true, explain(op, err, fault.Internal, "")
}

// gather finds all that is sent.
func (w *ownPack) gather(ctx context.Context, st *state, req *gitwire.FetchRequest, wants []grasp.OID) error {
	for _, o := range wants {
		var id raw
		if !decodeOID((*[20]byte)(&id), o) {
			return errOpaque
		}
		if err := w.want(ctx, id); err != nil {
			return err
		}
	}
	if err := w.walk(ctx); err != nil {
		return err
	}
	if req.Caps&gitwire.IncludeTag == 0 {
		return nil
	}
	for ref := range st.list.All() {
		var peeled, id raw
		if !ref.Name.IsTag() || ref.Peeled == "" || !decodeOID((*[20]byte)(&peeled), ref.Peeled) || !decodeOID((*[20]byte)(&id), ref.OID) {
			continue
		}
		switch i, err := w.o.find(&peeled); {
		case errors.Is(err, errNoObject):
		case err != nil:
			return err
		case w.o.parts[i].sent:
			if err := w.tags(ctx, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// add notes that o is sent, and reports whether that is news.
func (w *ownPack) add(o *raw) (i int32, fresh bool, err error) {
	if i, err = w.o.find(o); err != nil {
		return 0, false, err
	}
	t := &w.o.parts[i]
	if fresh = !t.sent; fresh {
		t.sent = true
		w.sent = append(w.sent, i)
	}
	return i, fresh, nil
}

// want adds what is wanted by name.
func (w *ownPack) want(ctx context.Context, id raw) error {
	i, err := w.o.find(&id)
	if err == nil {
		err = w.o.look(w.m, i)
	}
	if err != nil {
		return err
	}
	switch w.o.parts[i].kind {
	case kindCommit:
		w.older = append(w.older, id)
	case kindTree:
		w.todo = append(w.todo, id)
	case kindBlob:
		_, _, err = w.add(&id)
	case kindTag:
		return w.tags(ctx, id)
	}
	return err
}

// tags adds a tag, what it points to if that is a tag, and so on. What the last one points to is wanted.
func (w *ownPack) tags(ctx context.Context, id raw) error {
	for range maxTagDepth {
		i, _, err := w.add(&id)
		if err != nil {
			return err
		}
		text, err := w.text(ctx, i, kindTag)
		if err != nil {
			return err
		}
		target, ok := tagTarget(text)
		if !ok || !decodeOID((*[20]byte)(&id), target) {
			return errOpaque
		}
		if i, err = w.o.find(&id); err != nil {
			return err
		}
		if err := w.o.look(w.m, i); err != nil {
			return err
		}
		if w.o.parts[i].kind != kindTag {
			return w.want(ctx, id)
		}
	}
	return errOpaque
}

// text returns the content of part i, which must be of kind k.
func (w *ownPack) text(ctx context.Context, i int32, k kind) ([]byte, error) {
	if err := w.o.look(w.m, i); err != nil {
		return nil, err
	}
	if w.o.parts[i].kind != k {
		return nil, errOpaque
	}
	text, err := w.m.content(ctx, w.o, i, true)
	if w.read += int64(len(text)); w.read > maxOwnTrees {
		return nil, errOpaque
	}
	return text, err
}

// walk adds the commits of older up to the border, the trees of todo, and all that these lead to.
func (w *ownPack) walk(ctx context.Context) error {
	for len(w.older) > 0 {
		id := w.older[len(w.older)-1]
		w.older = w.older[:len(w.older)-1]
		i, fresh, err := w.add(&id)
		if err != nil {
			return err
		}
		if !fresh {
			continue
		}
		text, err := w.text(ctx, i, kindCommit)
		if err != nil {
			return err
		}
		tree, parents, ok := parseCommit(text)
		if !ok {
			return errOpaque
		}
		w.todo = append(w.todo, tree)
		if w.cut.Has(id.oid()) {
			continue
		}
		for _, p := range parents {
			var id raw
			if !decodeOID((*[20]byte)(&id), p) {
				return errOpaque
			}
			w.older = append(w.older, id)
		}
	}
	for len(w.todo) > 0 {
		id := w.todo[len(w.todo)-1]
		w.todo = w.todo[:len(w.todo)-1]
		i, fresh, err := w.add(&id)
		if err != nil {
			return err
		}
		if !fresh {
			continue
		}
		text, err := w.text(ctx, i, kindTree)
		if err != nil {
			return err
		}
		if err := w.tree(text); err != nil {
			return err
		}
	}
	return nil
}

// tree adds the files of a tree, and has its folders walked.
func (w *ownPack) tree(text []byte) error {
	for len(text) > 0 {
		mode, id, rest, ok := treeEntry(text)
		if !ok {
			return errOpaque
		}
		text = rest
		switch {
		case mode == gitlink || mode == "0"+gitlink:
		case mode == folder || mode == "0"+folder:
			w.todo = append(w.todo, id)
		case !w.bare:
			if _, _, err := w.add(&id); err != nil {
				return err
			}
		}
	}
	return nil
}

// treeEntry reads the first entry of a tree.
func treeEntry(b []byte) (mode string, id raw, rest []byte, ok bool) {
	i := bytes.IndexByte(b[:min(len(b), 7)], ' ')
	if i <= 0 {
		return "", id, nil, false
	}
	j := bytes.IndexByte(b[i:], 0)
	if j < 2 || len(b)-i-j-1 < rawLen {
		return "", id, nil, false
	}
	switch string(b[:i]) { // the usual ones without a copy
	case "100644":
		mode = "100644"
	case "100755":
		mode = "100755"
	case folder:
		mode = folder
	default:
		mode = string(b[:i])
	}
	rest = b[i+j+1:]
	return mode, raw(rest[:rawLen]), rest[rawLen:], true
}

// doubt has git make the packs of r for as long as r is remembered: whoever fetches fails once, not after each push.
func (r *repo) doubt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.doubted = true
}

func (r *repo) doubts() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.doubted
}

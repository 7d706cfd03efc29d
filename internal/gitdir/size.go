package gitdir

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// Size implements steward.Vault. It counts packs with their indexes, all that pushes leave;
// objects that somebody put in loose are not looked for. While upkeep replaces packs by a new one, only
// those or that one count. What is remembered of the packs of
// a repository in use is used; no process is started, and no repository is remembered for being asked
// about.
func (v *Vault) Size(ctx context.Context, addr grasp.Addr) (int64, error) {
	const op = "gitdir: size"
	if err := context.Cause(ctx); err != nil {
		return 0, fault.Wrap(op, err)
	}
	if r := v.remembered(addr); r != nil {
		defer v.release(r)
		return r.bytes()
	}
	path, err := Path(v.root, addr)
	if err != nil {
		return 0, err
	}
	n, err := sizeOf(filepath.Join(path, "objects", "pack"))
	if err != nil {
		return 0, explainIO(op, err)
	}
	return n, nil
}

// bytes is Size of a repository that is remembered.
func (r *repo) bytes() (int64, error) {
	r.swap.RLock()
	defer r.swap.RUnlock()
	p, err := r.listed()
	if err != nil {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := p.totalBytes
	for _, k := range p.list {
		if _, twice := r.double[filepath.Base(k.path)]; twice {
			n -= k.bytes
		}
	}
	return n, nil
}

// remembered returns the repo of addr if there is one already; it is the caller's until release.
func (v *Vault) remembered(addr grasp.Addr) *repo {
	g := &v.repos
	g.mu.Lock()
	defer g.mu.Unlock()
	r, ok := g.byAddr[addr]
	if !ok || g.closed {
		return nil
	}
	r.users++
	return r
}

// sizeOf adds up the packs in a folder as listPacks does: what has no index, or no pack, is not there.
func sizeOf(dir string) (int64, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	have := make(map[string]bool, len(entries))
	for _, e := range entries {
		have[e.Name()] = true
	}
	var n int64
	for name := range have {
		if base, ok := strings.CutSuffix(name, ".idx"); ok && have[base+".pack"] {
			n += packBytes(filepath.Join(dir, base))
		}
	}
	return n, nil
}

// packBytes returns how many bytes a pack and its index take; what else may lie beside them comes and
// goes, and is little. base is its path without .pack. A file that is gone takes none.
func packBytes(base string) int64 {
	var n int64
	for _, ext := range [...]string{".pack", ".idx"} {
		if fi, err := os.Lstat(base + ext); err == nil {
			n += fi.Size()
		}
	}
	return n
}

// Size implements steward.Quarantine.
func (q *quarantine) Size() int64 {
	if q.packs == nil {
		return 0
	}
	return q.packs.totalBytes
}

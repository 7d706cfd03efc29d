package gitdir

import (
	"context"
	"strings"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/run"
)

// Lend returns where repo lives, for programs that read it; while it is lent its packs are not
// combined away. A repository without a folder is an empty one. It is given back with done, once.
func (v *Vault) Lend(ctx context.Context, repo grasp.Addr) (dir string, done func(), err error) {
	r, err := v.acquire(repo)
	if err != nil {
		return "", nil, err
	}
	if _, err := r.refs(ctx); err != nil { // and it is as a program expects it
		v.release(r)
		return "", nil, err
	}
	dir = r.path
	if !v.isDir(r.objects()) {
		dir = v.none()
	}
	return dir, func() { v.release(r) }, nil
}

// changedTimeout bounds each program that looks what a push changed: a settlement waits for it.
const changedTimeout = 10 * time.Second

// maxMessage is how much of a commit is read for its message, in bytes.
const maxMessage = 64 << 10

// Changed returns the paths in which two commits differ; of a ref that is new, what it holds more than
// base, the default branch, at the point where it left that. At most limit of them: ok is false if
// there are more, if there is nothing to compare with, or if git takes longer than 10 s. Tags are
// looked through.
func (v *Vault) Changed(ctx context.Context, repo grasp.Addr, c grasp.RefChange, base grasp.RefName, limit int) (paths []string, ok bool) {
	r, err := v.acquire(repo)
	if err != nil {
		return nil, false
	}
	defer v.release(r)
	ctx, cancel := context.WithTimeout(ctx, changedTimeout)
	defer cancel()
	was := c.Old
	if was.IsZero() {
		st, err := r.refs(ctx)
		if err != nil || c.Ref == base || st.snap.Refs.OID(base).IsZero() {
			return nil, false // everything is new
		}
		out, err := r.objectText(ctx, run.Words("merge-base"), st.snap.Refs.OID(base), c.New)
		if was = grasp.OID(strings.TrimSpace(out)); err != nil || !grasp.IsHex(string(was), 40) {
			return nil, false
		}
	}
	out, err := r.objectText(ctx, run.Words("diff-tree", "-r", "-z", "--name-only", "--no-renames"), was, c.New)
	if err != nil {
		return nil, false
	}
	for p := range strings.SplitSeq(out, "\x00") {
		if p == "" {
			continue
		}
		if len(paths) == limit {
			return nil, false
		}
		paths = append(paths, p)
	}
	return paths, true
}

// Message returns what a commit says, at most its first 64 KiB; of a tag, what its commit says. It is
// "" if that cannot be read.
func (v *Vault) Message(ctx context.Context, repo grasp.Addr, oid grasp.OID) string {
	r, err := v.acquire(repo)
	if err != nil {
		return ""
	}
	defer v.release(r)
	ctx, cancel := context.WithTimeout(ctx, changedTimeout)
	defer cancel()
	text, err := r.objectText(ctx, run.Words("cat-file", "commit"), oid)
	if err != nil {
		return ""
	}
	_, message, _ := strings.Cut(text, "\n\n")
	return message[:min(len(message), maxMessage)]
}

// objectText runs git on objects of r and returns what it says.
func (r *repo) objectText(ctx context.Context, args []run.Arg, oids ...grasp.OID) (string, error) {
	for _, o := range oids {
		if !grasp.IsHex(string(o), 40) {
			return "", fault.E(fault.Invalid, "gitdir: look at commits", "not the id of an object")
		}
		a, err := run.Operand(string(o))
		if err != nil {
			return "", fault.Wrap("gitdir: look at commits", err)
		}
		args = append(args, a)
	}
	return r.v.small(ctx, command{args: args, env: r.objectEnv(nil, nil)})
}

package gitdir

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/run"
)

// browseConfig is added where objects are read for pages: of a large file no difference is worked
// out.
var browseConfig = []pair{{"core.bigFileThreshold", "2m"}, {"diff.renameLimit", "200"}, {"core.packedGitLimit", "128m"}}

// browseLimits bound a comparison: a few small trees can hold more files than fit into memory.
var browseLimits = run.Limits{CPU: time.Minute, Memory: 1 << 30}

// maxBrowseStarts is how often one Browser starts git again after it died over an object.
const maxBrowseStarts = 20

// A Browser reads what a repository holds, for pages: its refs as they were when Browse was called,
// and its objects, through one `git cat-file --batch-command`. Refs and Object are called from one
// goroutine; Diffs may run beside them. End it with Close.
type Browser struct {
	v      *Vault
	r      *repo
	snap   *grasp.Snapshot
	ctx    context.Context
	cancel context.CancelFunc
	starts int

	// of the git that runs now; in is nil if none does
	in   *io.PipeWriter
	out  *io.PipeReader
	read *bufio.Reader
	done chan struct{}
}

// Browse opens addr for reading until Close, or until ctx ends. A repository without a folder has
// no refs and no objects.
func (v *Vault) Browse(ctx context.Context, addr grasp.Addr) (*Browser, error) {
	r, err := v.acquire(addr)
	if err != nil {
		return nil, err
	}
	st, err := r.refs(ctx)
	if err != nil {
		v.release(r)
		return nil, err
	}
	b := &Browser{v: v, r: r, snap: st.snap}
	b.ctx, b.cancel = context.WithCancel(ctx)
	return b, nil
}

// Close ends git and gives the repository back. It waits until git has ended.
func (b *Browser) Close() {
	b.end()
	b.cancel()
	b.v.release(b.r)
}

// Refs returns the refs as they were when the Browser was opened.
func (b *Browser) Refs(context.Context) (*grasp.Snapshot, error) { return b.snap, nil }

// Object returns the type of an object ("blob"), its size in bytes, and what it holds; data is nil
// if it is larger than most. One that is not here, or that git cannot read, is a fault.NotFound.
func (b *Browser) Object(ctx context.Context, oid grasp.OID, most int64) (kind string, size int64, data []byte, err error) {
	const op = "gitdir: read object"
	if err := ctx.Err(); err != nil {
		return "", 0, nil, fault.Wrap(op, context.Cause(ctx))
	}
	if !grasp.IsHex(string(oid), 40) {
		return "", 0, nil, fault.E(fault.NotFound, op, "not the id of an object")
	}
	if b.in == nil {
		if b.starts >= maxBrowseStarts {
			return "", 0, nil, fault.E(fault.Internal, op, "git died too often over objects of this repository")
		}
		b.start()
	}
	kind, size, data, err = b.ask(oid, most)
	if err == nil || fault.Is(err, fault.NotFound) {
		return kind, size, data, err
	}
	b.end()
	if b.ctx.Err() != nil {
		return "", 0, nil, fault.Wrap(op, context.Cause(b.ctx))
	}
	return "", 0, nil, &fault.Error{Code: fault.NotFound, Op: op, Text: "the object cannot be read", Err: err}
}

func (b *Browser) ask(oid grasp.OID, most int64) (string, int64, []byte, error) {
	const op = "gitdir: read object"
	if _, err := io.WriteString(b.in, "info "+string(oid)+"\n"); err != nil {
		return "", 0, nil, err
	}
	kind, size, err := b.head(oid)
	if err != nil || size > most {
		return kind, size, nil, err
	}
	if _, err := io.WriteString(b.in, "contents "+string(oid)+"\n"); err != nil {
		return "", 0, nil, err
	}
	again, n, err := b.head(oid)
	if err != nil || n != size || again != kind {
		return "", 0, nil, fmt.Errorf("git changed its mind about %s: %v", oid, err)
	}
	data := make([]byte, size+1)
	if _, err := io.ReadFull(b.read, data); err != nil {
		return "", 0, nil, err
	}
	if data[size] != '\n' {
		return "", 0, nil, fault.E(fault.Internal, op, "git answered something else")
	}
	return kind, size, data[:size:size], nil
}

// head reads the line before an object.
func (b *Browser) head(oid grasp.OID) (string, int64, error) {
	const op = "gitdir: read object"
	line, err := b.read.ReadSlice('\n')
	if err != nil {
		return "", 0, err
	}
	f := strings.Fields(string(line))
	if len(f) == 2 && f[1] == "missing" {
		return "", 0, fault.E(fault.NotFound, op, "no such object")
	}
	if len(f) != 3 || f[0] != string(oid) {
		return "", 0, fmt.Errorf("git answered %q", line)
	}
	size, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil || size < 0 {
		return "", 0, fmt.Errorf("git answered %q", line)
	}
	return f[1], size, nil
}

func (b *Browser) start() {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	b.starts++
	b.in, b.out, b.read, b.done = inW, outR, bufio.NewReaderSize(outR, 64<<10), make(chan struct{})
	release := context.AfterFunc(b.ctx, func() {
		inW.CloseWithError(context.Canceled)
		outR.CloseWithError(context.Canceled)
	})
	go func(done chan struct{}) {
		defer close(done)
		defer release()
		_, err := b.v.run(b.ctx, command{
			args: run.Words("cat-file", "--batch-command"), env: b.r.objectEnv(nil, browseConfig), stdin: inR, stdout: outW,
		})
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		inR.CloseWithError(err)
		outW.CloseWithError(err)
	}(b.done)
}

// end stops the git that runs, if one does, and waits for it.
func (b *Browser) end() {
	if b.in == nil {
		return
	}
	b.in.Close()
	b.out.CloseWithError(io.ErrClosedPipe)
	<-b.done
	b.in = nil
}

// Diffs writes to w, for each pair of trees, what `git diff-tree --stdin -r -z --raw -p` prints:
// the two ids on a line, what changed, and how. If git dies over an object that is not here, what
// it wrote until then is whole, and the error is a fault.NotFound; if the trees are too large for it, a
// fault.TooLarge. One process for all pairs.
func (b *Browser) Diffs(ctx context.Context, pairs [][2]grasp.OID, w io.Writer) error {
	const op = "gitdir: compare trees"
	var in strings.Builder
	for _, p := range pairs {
		if !grasp.IsHex(string(p[0]), 40) || !grasp.IsHex(string(p[1]), 40) {
			return fault.E(fault.Invalid, op, "not the id of a tree")
		}
		in.WriteString(string(p[0]) + " " + string(p[1]) + "\n")
	}
	args := run.Words("diff-tree", "--stdin", "-r", "-z", "--raw", "-p", "-M", "--full-index", "--no-color",
		"--no-ext-diff", "--no-textconv", "--unified=3", "--submodule=short")
	_, err := b.v.run(ctx, command{args: args, env: b.r.objectEnv(nil, browseConfig), stdin: strings.NewReader(in.String()), stdout: w, limits: browseLimits})
	return explain(op, err, fault.NotFound, "an object is not here")
}

package gitdir

import (
	"context"
	"io"
	"strconv"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/run"
)

// UploadPack answers one request of a fetch. request is what the client's git, or somebody who
// speaks like it, sends to the route git-upload-pack; protocolVersion is 0, 1 or 2. The answer goes
// to w as it comes, in pieces of at most 64 KiB, an ERR packet included. quick spends less processor
// time on making it small: a fifth of the time for a twentieth more bytes, where deltas have to be
// made. A repository without a
// folder is a fault.NotFound, and nothing was written. A request that git complains about is a
// fault.Invalid; w has then received what git had to say. Both request and w must fail soon after
// ctx has ended.
func (v *Vault) UploadPack(ctx context.Context, addr grasp.Addr, protocolVersion int, quick bool, request io.Reader, w io.Writer) error {
	const op = "gitdir: upload-pack"
	r, err := v.acquire(addr)
	if err != nil {
		return err
	}
	defer v.release(r)
	st, err := r.refs(ctx)
	if err != nil {
		return err
	}
	if !st.there {
		return fault.E(fault.NotFound, op, "nothing was pushed here yet")
	}
	v.consider(r)
	path, err := run.Path(r.path)
	if err != nil {
		return fault.Wrap(op, err)
	}
	var extra []string
	if protocolVersion == 1 || protocolVersion == 2 {
		extra = append(extra, "GIT_PROTOCOL=version="+strconv.Itoa(protocolVersion))
	}
	config := [][]pair{baseConfig, {{"safe.directory", r.path}}, uploadConfig}
	if quick {
		config = append(config, quickConfig)
	}
	env := v.env(r.path, r.objectCount(), config, extra...)
	args := run.Words("upload-pack", "--stateless-rpc", "--strict")
	args = append(args, run.Int("--timeout", int64((v.cfg.UploadIdle+time.Second-1)/time.Second)), path)
	_, err = v.run(ctx, command{args: args, env: env, stdin: request, stdout: w})
	return explain(op, err, fault.Invalid, "git did not understand the request, or could not answer it")
}

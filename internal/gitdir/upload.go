package gitdir

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitwire"
	"github.com/gitroost/gitroost/internal/run"
)

// UploadPack answers one request of a fetch. request is what the client's git, or somebody who
// speaks like it, sends to the route git-upload-pack; protocolVersion is 0, 1 or 2. The answer goes
// to w as it comes, in pieces of at most 129 KiB, an ERR packet included. quick spends less processor
// time on making it small: a fifth of the time for a twentieth more bytes, where deltas have to be
// made. A repository without a
// folder is a fault.NotFound, and nothing was written. A request that git complains about is a
// fault.Invalid; w has then received what git had to say. Both request and w must fail soon after
// ctx has ended.
//
// Where all that is left to do is to make a pack, `git pack-objects` is asked for it, which upload-pack
// would do as well: one program less, through which every byte would pass. Who has nothing and quickly wants the last
// commits is answered without any.
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
	if protocolVersion == 2 {
		var read bytes.Buffer
		if req := plain(io.TeeReader(request, &read)); req != nil {
			if done, err := r.makePack(ctx, st, req, quick, w); done {
				return err
			}
		}
		request = io.MultiReader(&read, request)
	}
	path, err := run.Path(r.path)
	if err != nil {
		return fault.Wrap(op, err)
	}
	var extra []string
	if protocolVersion == 1 || protocolVersion == 2 {
		extra = append(extra, "GIT_PROTOCOL=version="+strconv.Itoa(protocolVersion))
	}
	args := run.Words("upload-pack", "--stateless-rpc", "--strict")
	args = append(args, run.Int("--timeout", int64((v.cfg.UploadIdle+time.Second-1)/time.Second)), path)
	_, err = v.run(ctx, command{args: args, env: r.uploadEnv(quick, extra...), stdin: request, stdout: w, long: true})
	return explain(op, err, fault.Invalid, "git did not understand the request, or could not answer it")
}

func (r *repo) uploadEnv(quick bool, extra ...string) []string {
	config := [][]pair{baseConfig, {{"safe.directory", r.path}}, uploadConfig}
	if quick {
		config = append(config, quickConfig)
	}
	return r.v.env(r.path, r.objectCount(), config, extra...)
}

// plain returns the request if it asks in protocol v2 for a pack and nothing else: what both sides
// have was settled before, and how much history is wanted is a number of commits.
func plain(request io.Reader) *gitwire.FetchRequest {
	cmd, err := gitwire.ReadV2(gitwire.NewReader(request, gitwire.MaxFetch))
	if err != nil || cmd.Fetch == nil {
		return nil
	}
	f := cmd.Fetch
	if len(f.Wants) == 0 || f.End != gitwire.EndDone || f.Since != 0 || len(f.Not) > 0 || f.Relative {
		return nil
	}
	return f
}

// signOfLife is the pause after which a client that hears nothing of its pack is told that it comes.
const signOfLife = 5 * time.Second

// makePack answers req, which is plain. Who has something and takes no thin pack is given new deltas as quickly as
// who fetches a shallow one: the good ones rest on what is not sent. It is not done, and nothing was written, if it could not even begin:
// whatever the reason is, upload-pack has the words for it.
func (r *repo) makePack(ctx context.Context, st *state, req *gitwire.FetchRequest, quick bool, w io.Writer) (done bool, err error) {
	const op = "gitdir: make a pack"
	if _, err := os.Lstat(filepath.Join(r.path, "shallow")); !errors.Is(err, fs.ErrNotExist) {
		return false, nil // somebody's own git cut its history off
	}
	wants, err := r.present(req.Wants)
	if err != nil || len(wants) != len(slices.Compact(slices.Sorted(slices.Values(req.Wants)))) {
		return false, nil
	}
	haves, err := r.present(req.Haves)
	if err != nil {
		return false, nil
	}
	end, ok := r.border(req, wants)
	if !ok {
		return false, nil
	}
	out := gitwire.NewPackWriter(w)
	if quick && suits(req, haves) {
		if done, err := r.ownPack(ctx, st, req, wants, end, out); done {
			return true, err
		}
	}
	args := run.Words("pack-objects", "--revs", "--stdout")
	if len(end.cut) > 0 {
		args = append(args, run.Words("--shallow")...)
	}
	for _, c := range []struct {
		flag gitwire.FetchCaps
		on   bool
		arg  run.Arg
	}{
		{gitwire.ThinPack, true, run.Words("--thin")[0]},
		{gitwire.OfsDelta, true, run.Words("--delta-base-offset")[0]},
		{gitwire.IncludeTag, true, run.Words("--include-tag")[0]},
		{gitwire.NoProgress, false, run.Words("--progress")[0]},
	} {
		if req.Caps&c.flag != 0 == c.on {
			args = append(args, c.arg)
		}
	}
	if req.Filter != "" {
		args = append(args, run.Value("--filter", req.Filter))
	}
	if end.asked {
		out.Shallow(end.told)
	}
	quick = quick || len(haves) > 0 && req.Caps&gitwire.ThinPack == 0
	in := shallows(end.cut) + revisions(wants, haves)
	cmd := command{args: args, env: r.uploadEnv(quick), stdin: strings.NewReader(in), stdout: out, long: true}
	if req.Caps&gitwire.NoProgress == 0 {
		cmd.stderr = spoken{out}
	}
	stop := alive(out)
	_, err = r.v.run(ctx, cmd)
	stop()
	if err == nil {
		if err = out.End(); err != nil {
			err = &run.WriteError{Err: err}
		}
		return true, explain(op, err, fault.Invalid, "")
	}
	if _, failed := run.IsExit(err); failed && !out.Begun() && ctx.Err() == nil {
		return false, nil
	}
	return true, explain(op, err, fault.Invalid, "git could not make the pack")
}

// alive gives signs of life to who waits for a pack, until it is stopped.
func alive(out *gitwire.PackWriter) (stop func()) {
	ended, quiet := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(quiet)
		tick := time.NewTicker(signOfLife)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				out.Alive()
			case <-ended:
				return
			}
		}
	}()
	return func() {
		close(ended)
		<-quiet
	}
}

// spoken is the error output of a git that makes a pack.
type spoken struct{ to *gitwire.PackWriter }

func (s spoken) Write(p []byte) (int, error) { return s.to.Say(p) }

package githttp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"slices"
	"strconv"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/answers"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitwire"
)

// answerKey is a digest of all that the answer to req depends on. A request names the objects it
// wants, but tags that follow by themselves, and names of what is not wanted, depend on the refs;
// so the generation of the refs is part of it. A repository that was removed and made anew has
// another generation.
func answerKey(repo grasp.Addr, snap *grasp.Snapshot, req *gitwire.FetchRequest) answers.Key {
	same := *req
	same.Wants = slices.Clone(req.Wants)
	slices.Sort(same.Wants)
	same.Wants = slices.Compact(same.Wants)
	b := strconv.AppendUint([]byte(repo.String()+"\x00"), snap.Gen, 10)
	return sha256.Sum256(same.Append(append(b, 0)))
}

// making returns what makes the answer to req: git, when there is a slot. It may run for longer
// than the request that it was made for, so it takes nothing from x but values.
func (x *exchange) making(repo grasp.Addr, req *gitwire.FetchRequest) answers.Fill {
	h, net := x.h, x.h.cfg.Network(x.r)
	return func(ctx context.Context, w io.Writer) error {
		release, err := h.fetches.take(ctx, repo.String(), net)
		if err != nil {
			return err
		}
		defer release()
		h.stats.Fetches.Add(1)
		ctx, stop := context.WithTimeout(ctx, h.cfg.Wall)
		defer stop()
		out := &spokenFor{w: w}
		began := h.cfg.Now()
		err = h.git.UploadPack(ctx, repo, req.Version, req.Depth > 0, bytes.NewReader(req.Append(nil)), out)
		h.log.Debug("fetch", "repo", repo.String(), "wants", len(req.Wants), "haves", len(req.Haves),
			"bytes", out.n, "took", h.cfg.Now().Sub(began), "err", err)
		if err != nil {
			h.stats.FetchErrors.Add(1)
			if out.refusal && ctx.Err() == nil {
				return errSpoken
			}
		}
		return err
	}
}

// errSpoken ends an answer in which git itself said why there is no other.
var errSpoken = fault.E(fault.Invalid, "githttp: fetch", "git refused the request")

// spokenFor counts what git says, and notices an ERR packet at its beginning.
type spokenFor struct {
	w       io.Writer
	n       int64
	refusal bool
}

func (s *spokenFor) Write(p []byte) (int, error) {
	if s.n == 0 && len(p) >= 8 {
		s.refusal = string(p[4:8]) == "ERR "
	}
	n, err := s.w.Write(p)
	s.n += int64(n)
	return n, err
}

// follow sends the answer as it comes. What has run dry is flushed (H-257).
func (x *exchange) follow(r *answers.Reader, how answers.How) (err error) {
	if size, ok := r.Whole(); ok {
		x.shared(how, size)
		x.begin(typeUploadResult, int(size))
		if f := r.File(); f != nil {
			defer f.Close()
			return x.sendFile(f, size)
		}
	}
	// Who waits for others to get their packs needs nothing to put one into.
	if err := r.Wait(x.r.Context()); err != nil {
		return err
	}
	buf := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(buf)
	var total int64
	for {
		n, err := r.Next(x.r.Context(), buf[:])
		if n > 0 {
			if !x.started {
				x.begin(typeUploadResult, -1)
			}
			total += int64(n)
			if _, werr := x.Write(buf[:n]); werr != nil {
				return werr
			}
			if n < len(buf) {
				x.flush()
			}
		}
		switch {
		case err == io.EOF || err == errSpoken && x.started:
			if !x.started {
				x.begin(typeUploadResult, 0)
			}
			x.shared(how, total)
			return x.failed
		case err != nil:
			return err
		}
	}
}

// shared counts what was not made for this client.
func (x *exchange) shared(how answers.How, n int64) {
	if how != answers.Made {
		x.h.stats.FetchCached.Add(1)
		x.h.stats.BytesCached.Add(n)
	}
}

// sendFile sends size bytes of f without copying them through this process, where the system can.
// It looks at progress in pieces, like Write.
func (x *exchange) sendFile(f io.Reader, size int64) error {
	for size > 0 {
		x.deadline()
		n, err := io.CopyN(x.w, f, min(size, pieceSize))
		x.h.stats.BytesOut.Add(n)
		size -= n
		if err != nil {
			x.failed = err
			return err
		}
	}
	return nil
}

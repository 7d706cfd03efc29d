package gitdir

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/run"
	"github.com/gitroost/gitroost/internal/steward"
)

// Copy implements steward.Vault. The objects take the way of a push: packed in one repository,
// checked and admitted in the other. What is there already is not sent. An oid that from does not
// have is a fault.NotFound.
func (v *Vault) Copy(ctx context.Context, from, to grasp.Addr, oids []grasp.OID) error {
	const op = "gitdir: copy"
	have, err := v.Have(ctx, to, oids)
	if err != nil {
		return err
	}
	var want []grasp.OID
	seen := grasp.OIDSet{}
	for _, o := range oids {
		if !grasp.IsHex(string(o), 40) || o.IsZero() {
			return fault.Errorf(fault.Invalid, op, "%q is not an object id", o)
		}
		if !have.Has(o) && !seen.Has(o) {
			want = append(want, o)
			seen.Add(o)
		}
	}
	if len(want) == 0 {
		return nil
	}
	src, err := v.acquire(from)
	if err != nil {
		return err
	}
	defer v.release(src)
	there, err := src.present(want)
	if err != nil {
		return err
	}
	if len(there) < len(want) {
		return fault.Errorf(fault.NotFound, op, "%d objects are not there to be copied", len(want)-len(there))
	}
	common, err := v.common(ctx, src, to)
	if err != nil {
		return err
	}
	q, err := v.stream(ctx, src, to, want, common)
	if err != nil {
		return fault.Wrap(op, err)
	}
	defer q.Discard()
	if err := q.complete(ctx, nil, want); err != nil {
		return fault.Wrap(op, err)
	}
	return fault.Wrap(op, q.Admit(ctx))
}

// common returns refs of the repository to that src has as well: what is below them is not sent.
func (v *Vault) common(ctx context.Context, src *repo, to grasp.Addr) ([]grasp.OID, error) {
	dst, err := v.acquire(to)
	if err != nil {
		return nil, err
	}
	defer v.release(dst)
	st, err := dst.refs(ctx)
	if err != nil {
		return nil, err
	}
	return src.present(dst.bounds(st, nil, maxBounds))
}

// stream packs want in src straight into a quarantine of to.
func (v *Vault) stream(ctx context.Context, src *repo, to grasp.Addr, want, common []grasp.OID) (*quarantine, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pr, pw := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		_, err := v.run(ctx, command{
			args:   run.Words("pack-objects", "--revs", "--stdout", "--quiet", "--delta-base-offset"),
			env:    src.objectEnv(nil, packConfig),
			stdin:  strings.NewReader(revisions(want, common)),
			stdout: pw,
		})
		err = explain("gitdir: pack objects", err, fault.Internal, "")
		pw.CloseWithError(err) // nil gives an ordinary end
		packed <- err
	}()
	q, err := v.ingest(ctx, to, pr, steward.IngestOptions{})
	pr.CloseWithError(io.ErrClosedPipe)
	if err != nil {
		cancel()
	}
	perr := <-packed
	switch {
	case err == nil && perr != nil:
		q.Discard()
		return nil, perr
	case err != nil && perr != nil && !errors.Is(perr, io.ErrClosedPipe) && !errors.Is(perr, context.Canceled):
		return nil, perr // why the pack ended early
	}
	return q, err
}

package gitdir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/durable"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/run"
)

// Remove implements steward.Vault. It is one rename; removing what is not there is no error. A
// quarantine that was begun before cannot be admitted any more.
func (v *Vault) Remove(ctx context.Context, addr grasp.Addr) error {
	const op = "gitdir: remove repository"
	r, err := v.acquire(addr)
	if err != nil {
		return err
	}
	defer v.release(r)
	if err := r.lock(ctx); err != nil {
		return err
	}
	defer r.unlock()
	err = os.Rename(r.path, filepath.Join(v.root, "trash", randomName()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return explainIO(op, err)
	}
	r.forget()
	if err := v.cfg.step("remove: renamed"); err != nil {
		return fault.Wrap(op, err)
	}
	// The trash need not be synced: what comes back to it is deleted again.
	if err := durable.SyncDir(filepath.Dir(r.path)); err != nil {
		return explainIO(op, err)
	}
	v.kick()
	return nil
}

// kick tells the sweeper that there is something to delete.
func (v *Vault) kick() {
	select {
	case v.sweep <- struct{}{}:
	default: // it will look anyway
	}
}

// deleteTrash empties the trash whenever it is told to, until Close.
func (v *Vault) deleteTrash() {
	trash := filepath.Join(v.root, "trash")
	for {
		select {
		case <-v.ctx.Done():
			return
		case <-v.sweep:
		}
		entries, err := os.ReadDir(trash)
		if err != nil {
			v.log.Error("the trash cannot be read", "err", err)
		}
		for _, e := range entries {
			if v.ctx.Err() != nil {
				return
			}
			if err := os.RemoveAll(filepath.Join(trash, e.Name())); err != nil {
				v.log.Warn("something in the trash cannot be deleted", "err", err)
			}
		}
	}
}

// Fsck lets git look at every object and ref of repo. What it finds is a fault.Internal whose cause
// says what. It reads the whole repository.
func (v *Vault) Fsck(ctx context.Context, addr grasp.Addr) error {
	const op = "gitdir: fsck"
	r, err := v.acquire(addr)
	if err != nil {
		return err
	}
	defer v.release(r)
	st, err := r.refs(ctx)
	if err != nil || !st.there {
		return err
	}
	var ignore []pair
	for _, id := range fsckIgnored {
		ignore = append(ignore, pair{"fsck." + id, "ignore"})
	}
	var out limitedBuffer
	_, err = v.run(ctx, command{
		args:   run.Words("fsck", "--full", "--no-progress", "--no-dangling"),
		env:    v.env(r.path, r.objectCount(), [][]pair{baseConfig, ignore}),
		stdout: &out,
	})
	if err != nil {
		return fault.Wrap(op, fmt.Errorf("%w\n%s", err, out.String()))
	}
	return nil
}

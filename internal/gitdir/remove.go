package gitdir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

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
	if addr.Box {
		// Anybody can have a box: not even an empty folder stays behind. This fails if there are others.
		defer func() { _ = os.Remove(filepath.Dir(r.path)) }()
	}
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

// The sweeper looks by itself after firstLook, then after twice as long each time, up to lastLook.
const (
	firstLook = time.Second
	lastLook  = 10 * time.Minute
)

// deleteTrash empties the trash whenever it is told to, until Close. Now and then it also looks for
// what is in incoming/ and not ours: a child of a process that was killed may outlive it, and git
// makes a folder anew that was taken away from under it.
func (v *Vault) deleteTrash() {
	pause := firstLook
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-v.ctx.Done():
			return
		case <-v.sweep:
			v.empty("trash", func(string) bool { return true })
		case <-timer.C:
			v.empty("incoming", v.strange)
			pause = min(2*pause, lastLook)
			timer.Reset(pause)
		}
	}
}

// empty deletes what is in a folder and meant.
func (v *Vault) empty(folder string, meant func(name string) bool) {
	dir := filepath.Join(v.root, folder)
	entries, err := os.ReadDir(dir)
	if err != nil {
		v.log.Error("a folder cannot be read", "folder", folder, "err", err)
	}
	for _, e := range entries {
		if v.ctx.Err() != nil {
			return
		}
		if !meant(e.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			v.log.Warn("something cannot be deleted", "folder", folder, "err", err)
		}
	}
}

// temp returns a new name in incoming/.
func (v *Vault) temp(kind string) string {
	return filepath.Join(v.root, "incoming", kind+"-"+v.life+"-"+randomName())
}

// strange reports whether a name in incoming/ was made by temp of another process.
func (v *Vault) strange(name string) bool {
	kind, rest, _ := strings.Cut(name, "-")
	return (kind == "push" || kind == "slim" || kind == "new" || kind == "upkeep" || kind == "fetch") && !strings.HasPrefix(rest, v.life+"-")
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

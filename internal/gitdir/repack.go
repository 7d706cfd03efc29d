package gitdir

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/durable"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/run"
)

// keepUp does what is due and returns how many packs it removed. Whatever happens in between, the
// repository has every object at each moment, in one pack or in two.
func (r *repo) keepUp(ctx context.Context, d due) (removed int, err error) {
	// The refs first: whatever they name is in packs that are listed after.
	st, err := r.refs(ctx)
	if err != nil || !st.there {
		return 0, err
	}
	life := r.life()
	p, err := r.listed()
	if err != nil {
		return 0, err
	}
	r.dropTemporary(leftAlone)
	temp := r.v.temp("upkeep")
	if err := os.MkdirAll(temp, 0o750); err != nil {
		return 0, explainIO("gitdir: upkeep", err)
	}
	defer func() {
		os.RemoveAll(temp)
		r.once() // also if old and new stay beside each other: then both take room
		if err != nil {
			r.dropTemporary(0)
			os.Remove(filepath.Join(r.objects(), "pack", "multi-pack-index.lock"))
			os.Remove(filepath.Join(r.objects(), "info", "commit-graph.lock"))
		}
	}()

	old := d.roll
	if d.full {
		old = p.list
	}
	var made []string
	switch {
	case d.full:
		made, err = r.packAll(ctx, st, p, temp, life)
	case len(old) > 0:
		var in strings.Builder
		for _, k := range old {
			in.WriteString(filepath.Base(k.path) + ".pack\n")
		}
		made, err = r.pack(ctx, temp, "roll", life, in.String(), run.Words("--stdin-packs")...)
	}
	if err != nil {
		return 0, err
	}
	fresh := map[string]bool{}
	for _, name := range made {
		fresh[name] = true
	}
	r.relist()
	now, err := r.listed()
	if err != nil {
		return 0, err
	}
	gone := map[string]bool{}
	for _, k := range old {
		if name := filepath.Base(k.path); !fresh[name] { // the very same pack may come out
			gone[name] = true
		}
	}
	covered, err := r.cover(ctx, st, now, gone, temp)
	if err != nil {
		// Without a bitmap everything works, only slower. It is tried again when there are more packs.
		r.v.log.Debug("no bitmap was written", "repo", r.addr.String(), "err", err)
	}
	if len(gone) > 0 {
		// A multi-pack index of before may name packs that are about to go.
		if err != nil {
			if rerr := r.dropMultiIndex(); rerr != nil {
				return 0, rerr
			}
		}
		if removed, err = r.retire(ctx, st, gone, d.full); err != nil {
			return removed, err
		}
	}
	rec := r.upkeepRecord()
	rec.covered = covered
	if d.full {
		rec.full = r.v.cfg.Now().Unix()
	}
	return removed, r.remember(rec)
}

// packAll packs what the refs reach, and into a second pack, of cruft, what they do not and is not
// too old.
func (r *repo) packAll(ctx context.Context, st *state, p *packs, temp string, life int) ([]string, error) {
	tips := make([]grasp.OID, 0, st.list.Len())
	for ref := range st.list.All() {
		tips = append(tips, ref.OID)
	}
	made, err := r.pack(ctx, temp, "all", life, revisions(tips, nil), run.Words("--revs")...)
	if err != nil {
		return nil, err
	}
	var in strings.Builder
	fresh := map[string]bool{}
	for _, name := range made {
		in.WriteString(name + ".pack\n")
		fresh[name] = true
	}
	for _, k := range p.list {
		if name := filepath.Base(k.path); !fresh[name] {
			in.WriteString("-" + name + ".pack\n")
		}
	}
	until := r.v.cfg.Now().Add(-cruftGrace).Unix()
	cruft, err := r.pack(ctx, temp, "cruft", life, in.String(),
		append(run.Words("--cruft"), run.Int("--cruft-expiration", until))...)
	return append(made, cruft...), err
}

// pack runs git pack-objects and places what it wrote beside the other packs. An empty pack is not
// written.
func (r *repo) pack(ctx context.Context, temp, kind string, life int, stdin string, how ...run.Arg) ([]string, error) {
	const op = "gitdir: upkeep"
	dir := filepath.Join(temp, kind, "pack")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, explainIO(op, err)
	}
	base, err := run.Path(filepath.Join(dir, "pack"))
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	args := append(run.Words("pack-objects", "--quiet", "--delta-base-offset", "--non-empty"), how...)
	if _, err := r.v.run(ctx, command{
		args: append(args, base), env: r.upkeepEnv(), stdin: strings.NewReader(stdin), limits: run.Limits{Idle: true},
	}); err != nil {
		return nil, explain(op, err, fault.Internal, "")
	}
	wrote, err := listPacks(filepath.Dir(dir), nil)
	if err != nil {
		return nil, explainIO(op, err)
	}
	var names []string
	for _, k := range wrote.list {
		name := filepath.Base(k.path)
		if err := syncPack(dir, name); err != nil {
			return nil, explainIO(op, err)
		}
		if err := r.v.cfg.step("upkeep: synced " + kind); err != nil {
			return nil, fault.Wrap(op, err)
		}
		r.twice(name)
		if err := r.placeNew(ctx, dir, name, life); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, r.v.cfg.step("upkeep: placed " + kind)
}

func (r *repo) placeNew(ctx context.Context, dir, name string, life int) error {
	if err := r.lock(ctx); err != nil {
		return err
	}
	defer r.unlock()
	if r.life() != life {
		return fault.E(fault.Stale, "gitdir: upkeep", "the repository was removed meanwhile")
	}
	if err := placePack(dir, name, filepath.Join(r.objects(), "pack"), r.v.cfg.step); err != nil {
		return explainIO("gitdir: upkeep", err)
	}
	r.relist()
	return nil
}

// twice notes a pack of upkeep's that is about to stand beside those whose objects it holds, so that
// Size does not count them twice. The very same pack may be there already.
func (r *repo) twice(name string) {
	if _, err := os.Lstat(filepath.Join(r.objects(), "pack", name+".idx")); err == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.double == nil {
		r.double = map[string]struct{}{}
	}
	r.double[name] = struct{}{}
}

// once ends what twice began.
func (r *repo) once() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.double = nil
}

// upkeepEnv is the environment of a command that sees r as a repository, refs and all.
func (r *repo) upkeepEnv() []string {
	return r.v.env(r.path, r.objectCount(), [][]pair{baseConfig, {{"safe.directory", r.path}}})
}

// cover writes the multi-pack index, its bitmap and the commit graph, over all packs but cruft and
// those that are about to go. It returns the names of the packs that the bitmap covers.
func (r *repo) cover(ctx context.Context, st *state, p *packs, gone map[string]bool, temp string) (map[string]struct{}, error) {
	const op = "gitdir: upkeep"
	covered := map[string]struct{}{}
	var in strings.Builder
	for _, k := range p.list {
		if name := filepath.Base(k.path); !gone[name] && !k.cruft {
			covered[name] = struct{}{}
			in.WriteString(name + ".idx\n")
		}
	}
	if len(covered) == 0 {
		return covered, r.dropMultiIndex()
	}
	if st.list.Len() == 0 {
		// Nothing to make a bitmap of, yet: a pack may have come of which no ref knows. What is not
		// covered is looked at again when the refs move.
		return nil, r.dropMultiIndex()
	}
	var tips strings.Builder
	for ref := range st.list.All() {
		tips.WriteString(string(ref.OID) + "\n")
		if ref.Peeled != "" {
			tips.WriteString(string(ref.Peeled) + "\n")
		}
	}
	snapshot := filepath.Join(temp, "refs")
	if err := os.WriteFile(snapshot, []byte(tips.String()), 0o640); err != nil {
		return nil, explainIO(op, err)
	}
	file, err := run.Path(snapshot)
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	args := append(run.Words("multi-pack-index", "write", "--no-progress", "--stdin-packs", "--bitmap", "--refs-snapshot"), file)
	if _, err := r.v.run(ctx, command{
		args: args, env: r.upkeepEnv(), stdin: strings.NewReader(in.String()), limits: run.Limits{Idle: true},
	}); err != nil {
		return covered, explain(op, err, fault.Internal, "")
	}
	if err := r.v.cfg.step("upkeep: indexed"); err != nil {
		return covered, err
	}
	if _, err := r.v.run(ctx, command{
		args: run.Words("commit-graph", "write", "--no-progress", "--reachable"), env: r.upkeepEnv(), limits: run.Limits{Idle: true},
	}); err != nil {
		r.v.log.Debug("no commit graph was written", "repo", r.addr.String(), "err", err)
	}
	return covered, r.v.cfg.step("upkeep: graphed")
}

// leftAlone is the age of an unfinished pack of which upkeep is sure that nobody writes it any more: of ours that is
// so at once, but an operator may be packing by hand.
const leftAlone = time.Hour

// dropTemporary removes what a git that was killed has left, if it was written age ago or before. Pushes do not
// write here: they have folders of their own.
func (r *repo) dropTemporary(age time.Duration) {
	dir := filepath.Join(r.objects(), "pack")
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if fi, err := e.Info(); err == nil && strings.HasPrefix(e.Name(), "tmp_") && time.Since(fi.ModTime()) >= age {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// dropMultiIndex removes the multi-pack index, which comes before its bitmap.
func (r *repo) dropMultiIndex() error {
	dir := filepath.Join(r.objects(), "pack")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return explainIO("gitdir: upkeep", err)
	}
	for _, e := range entries {
		if name := e.Name(); name == "multi-pack-index" || strings.HasPrefix(name, "multi-pack-index-") {
			if err := os.Remove(filepath.Join(dir, name)); err != nil && !os.IsNotExist(err) {
				return explainIO("gitdir: upkeep", err)
			}
		}
	}
	return nil
}

// retire removes packs whose objects are in others, as soon as nobody else uses the repository. If
// some objects were let go for good, that condition is strict, and the refs must not have moved since
// st: a push may have come to rely on them.
func (r *repo) retire(ctx context.Context, st *state, gone map[string]bool, strict bool) (removed int, err error) {
	g := &r.v.repos
	done := make(chan struct{})
	var failed error
	act := func() {
		defer close(done)
		if r.mu.Lock(); strict && r.state != st {
			r.mu.Unlock()
			failed = fault.E(fault.Stale, "gitdir: upkeep", "the refs have moved meanwhile")
			return
		}
		r.mu.Unlock()
		r.swap.Lock()
		removed, failed = r.trashPacks(gone)
		r.relist()
		r.once()
		r.swap.Unlock()
		if strict {
			r.unlearn()
		}
	}
	g.whenAlone(r, act)
	t := time.NewTimer(quietWait)
	defer t.Stop()
	select {
	case <-done:
		return removed, failed
	case <-t.C:
	case <-ctx.Done():
	}
	if !g.giveUp(r) { // it is just happening
		<-done
		return removed, failed
	}
	if strict || ctx.Err() != nil {
		return 0, fault.E(fault.Busy, "gitdir: upkeep", "the repository was never at rest")
	}
	act()
	return removed, failed
}

// trashPacks takes the packs away, each index first. What is in the trash is deleted by the sweeper.
func (r *repo) trashPacks(gone map[string]bool) (n int, err error) {
	const op = "gitdir: upkeep"
	bin := filepath.Join(r.v.root, "trash", randomName())
	if err := os.Mkdir(bin, 0o750); err != nil {
		return 0, explainIO(op, err)
	}
	defer r.v.kick()
	dir := filepath.Join(r.objects(), "pack")
	for name := range gone {
		for i := len(parts) - 1; i >= 0; i-- {
			err := os.Rename(filepath.Join(dir, name+parts[i].ext), filepath.Join(bin, name+parts[i].ext))
			if err != nil && !os.IsNotExist(err) {
				return n, explainIO(op, err)
			}
		}
		n++
		if err := r.v.cfg.step("upkeep: removed one"); err != nil {
			return n, err
		}
	}
	return n, durable.SyncDir(dir)
}

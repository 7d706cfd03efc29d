package gitdir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/durable"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/run"
	"github.com/gitroost/gitroost/internal/steward"
)

var _ steward.Quarantine = (*quarantine)(nil)

// junkAllowed is how many bytes of a pack nobody asked for are not looked at (hardening §6).
const junkAllowed = 1 << 20

// A quarantine is one pack in an object folder of its own, or none if the pack was empty.
type quarantine struct {
	r     *repo
	life  int    // of r, when it began
	dir   string // of the objects; "" if there are none
	name  string // "pack-" and a hash
	packs *packs // what is in it; nil if there is nothing
	bytes int64  // as sent
	whole bool   // all that its objects point to is in the pack itself

	// synced receives once, when the files are on disk or cannot be brought there; nil if there are
	// none. That takes as long as the check of what is in them, and goes on beside it.
	synced  chan error
	durable bool

	checked bool
	tips    []grasp.OID // found complete by Check

	once sync.Once
}

// Discard implements steward.Quarantine.
func (q *quarantine) Discard() {
	q.once.Do(func() {
		if q.dir != "" {
			if err := os.RemoveAll(q.dir); err != nil {
				q.r.v.log.Warn("a quarantine could not be removed; the next start will", "err", err)
			}
		}
		_ = q.settled() // nothing of it is at work any more
		q.r.v.release(q.r)
	})
}

// sync begins to bring the files to disk.
func (q *quarantine) sync() {
	_ = q.settled()
	q.durable = false
	done := make(chan error, 1)
	q.synced = done
	dir, name := filepath.Join(q.dir, "pack"), q.name
	go func() { done <- syncPack(dir, name) }()
}

// settled waits for what sync began.
func (q *quarantine) settled() error {
	if q.synced == nil {
		return nil
	}
	err := <-q.synced
	q.synced = nil
	return err
}

// onDisk makes sure that the files are durable.
func (q *quarantine) onDisk() error {
	if q.durable {
		return nil
	}
	if q.synced == nil {
		q.sync()
	}
	err := q.settled()
	q.durable = err == nil
	return err
}

// Check implements steward.Quarantine. Tips that the repository has already cost nothing; for the
// others one `git rev-list` walks from them to what the repository has. A pack of more than 1 MiB
// is also weighed: if more than half of it is not needed, it is refused.
func (q *quarantine) Check(ctx context.Context, updates []grasp.RefChange) error {
	if err := checkEdits(updates, ""); err != nil {
		return err
	}
	var tips []grasp.OID
	for _, u := range updates {
		if !u.New.IsZero() {
			tips = append(tips, u.New)
		}
	}
	infos, err := q.r.resolve(ctx, q.packs, tips)
	if err != nil {
		return err
	}
	for _, u := range updates {
		if u.New.IsZero() {
			continue
		}
		if err := checkTip(u.Ref, u.New, infos); err != nil {
			return err
		}
	}
	return q.complete(ctx, updates, tips)
}

// complete verifies that everything reachable from tips is here or in the repository.
func (q *quarantine) complete(ctx context.Context, updates []grasp.RefChange, tips []grasp.OID) error {
	st, err := q.r.refs(ctx)
	if err != nil {
		return err
	}
	there, err := q.r.present(tips)
	if err != nil {
		return err
	}
	done := grasp.OIDSet{}
	q.r.unproven(st, there, done)
	var open []grasp.OID
	for _, o := range tips {
		if !done.Has(o) {
			open = append(open, o)
			done.Add(o)
		}
	}
	switch {
	case len(open) == 0:
		q.drop() // whatever was sent, nothing of it is needed
	case q.packs == nil:
		err = q.r.connected(ctx, nil, open, q.r.bounds(st, updates, maxBounds))
	case q.bytes > junkAllowed:
		err = q.weigh(ctx, st, updates, tips, open)
	case q.whole && q.holds(open):
		// git has seen that nothing in the pack points out of it.
	case q.connectedHere(st, open):
	default:
		err = q.r.connected(ctx, q.packs, open, q.r.bounds(st, updates, maxBounds))
	}
	if err != nil {
		return missing(err, updates)
	}
	if q.packs != nil {
		// Here and not in Admit, whose caller holds a lock.
		if err := q.onDisk(); err != nil {
			return explainIO("gitdir: sync pack", err)
		}
	}
	q.checked, q.tips = true, tips
	return q.r.v.cfg.step("check: done")
}

// holds reports whether all oids are in the pack.
func (q *quarantine) holds(oids []grasp.OID) bool {
	s := &search{dirs: []*packs{q.packs}}
	defer s.close()
	for _, o := range oids {
		if ok, err := s.has(o); !ok || err != nil {
			return false
		}
	}
	return true
}

// drop forgets the pack: it is not needed.
func (q *quarantine) drop() {
	if q.dir != "" {
		os.RemoveAll(q.dir)
	}
	q.packs = nil
}

// weigh does what connected does and compares what is needed with what was sent. open are those of tips
// that were not here before.
func (q *quarantine) weigh(ctx context.Context, st *state, updates []grasp.RefChange, tips, open []grasp.OID) error {
	needed, err := q.diskUsage(ctx, open, q.r.bounds(st, updates, st.list.Len()))
	if err != nil {
		return err
	}
	if needed == 0 {
		q.drop()
		return nil
	}
	if q.bytes-needed <= max(junkAllowed, needed) {
		return nil
	}
	// Who does not know what is here sends what is here once more; that is no fault, but it is
	// not kept: of a tip, too, that no ref names any more. Anything else has no business in this repository.
	all, err := q.diskUsage(ctx, tips, nil)
	if err != nil {
		return err
	}
	if q.bytes-all > max(junkAllowed, all) {
		return refusePack(fmt.Sprintf("%d of its %d bytes belong to none of the refs", q.bytes-all, q.bytes), nil)
	}
	return q.slim(ctx, st, updates, open)
}

func (q *quarantine) diskUsage(ctx context.Context, oids, bounds []grasp.OID) (int64, error) {
	out, err := q.r.revList(ctx, q.packs, oids, bounds, run.Words("--disk-usage"))
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		return 0, fault.Wrap("gitdir: weigh pack", err)
	}
	return n, nil
}

// slim writes the pack anew, with only what the repository lacks.
func (q *quarantine) slim(ctx context.Context, st *state, updates []grasp.RefChange, open []grasp.OID) error {
	const op = "gitdir: slim pack"
	dir := q.r.v.temp("slim")
	if err := os.MkdirAll(filepath.Join(dir, "pack"), 0o750); err != nil {
		return explainIO(op, err)
	}
	base, err := run.Path(filepath.Join(dir, "pack", "pack"))
	if err == nil {
		_, err = q.r.v.small(ctx, command{
			args:  append(run.Words("pack-objects", "--revs", "--quiet", "--delta-base-offset"), base),
			env:   q.r.objectEnv(q.packs, slices.Concat(packConfig, receiveConfig)),
			stdin: strings.NewReader(revisions(open, q.r.bounds(st, updates, st.list.Len()))),
		})
	}
	var slim *packs
	if err == nil {
		slim, err = listPacks(dir, nil)
	}
	if err == nil && len(slim.list) != 1 {
		err = errors.New("git wrote no pack")
	}
	if err != nil {
		os.RemoveAll(dir)
		return explain(op, err, fault.Internal, "")
	}
	old := q.dir
	q.dir, q.packs, q.name = dir, slim, filepath.Base(slim.list[0].path)
	os.RemoveAll(old)
	q.sync()
	return nil
}

var anyOID = regexp.MustCompile(`\b[0-9a-f]{40}\b`)

// missing puts a gap into words.
func missing(err error, updates []grasp.RefChange) error {
	if !fault.Is(err, fault.Refused) {
		return err
	}
	var r *grasp.Refusal
	if errors.As(err, &r) {
		return err // has words already
	}
	text := "the pack is not complete"
	var e *run.ExitError
	if errors.As(err, &e) {
		if o := anyOID.FindString(e.Stderr); o != "" {
			text += ": object " + o + " is missing or cannot be read"
		}
	}
	var ref grasp.RefName
	if len(updates) == 1 {
		ref = updates[0].Ref
	}
	return refuse("H-253", ref, text)
}

// Admit implements steward.Quarantine. The pack and its index are synced, then moved beside the
// others, the index last: a pack without one is not seen.
func (q *quarantine) Admit(ctx context.Context) error {
	const op = "gitdir: admit pack"
	if !q.checked {
		return fault.E(fault.Internal, op, "not checked")
	}
	r := q.r
	if q.packs == nil {
		r.learn(q.life, q.tips...)
		return nil
	}
	if err := q.onDisk(); err != nil {
		return explainIO(op, err)
	}
	step := r.v.cfg.step
	if err := step("admit: synced"); err != nil {
		return fault.Wrap(op, err)
	}
	if err := r.lock(ctx); err != nil {
		return err
	}
	defer r.unlock()
	if r.life() != q.life {
		// What the pack builds upon went with the old one.
		return fault.E(fault.Stale, op, "the repository was removed meanwhile")
	}
	if err := r.make(); err != nil {
		return err
	}
	if err := placePack(filepath.Join(q.dir, "pack"), q.name, filepath.Join(r.objects(), "pack"), step); err != nil {
		return explainIO(op, err)
	}
	r.relist()
	r.learn(q.life, q.tips...)
	q.packs = nil // a second Admit does nothing
	return nil
}

// parts are the files of a pack, in the order in which they are moved. Some packs lack some.
var parts = []struct {
	ext      string
	optional bool
}{{".pack", false}, {".rev", true}, {".mtimes", true}, {".idx", false}}

// syncPack makes the files of a pack durable, all at a time.
func syncPack(dir, name string) error {
	errs := make([]error, len(parts))
	var wg sync.WaitGroup
	for i, part := range parts {
		wg.Go(func() {
			err := durable.SyncFile(filepath.Join(dir, name+part.ext))
			if !errors.Is(err, fs.ErrNotExist) || !part.optional {
				errs[i] = err
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// placePack moves the files of a pack from one folder to another, durably. It is seen by nobody
// before its index is there, which comes last.
func placePack(from, name, to string, step func(string) error) (err error) {
	seen := false
	defer func() {
		if err == nil || seen {
			return
		}
		for _, part := range parts { // without an index nobody has seen them
			os.Remove(filepath.Join(to, name+part.ext))
		}
	}()
	if _, err := os.Lstat(filepath.Join(to, name+".idx")); err == nil {
		// The very same pack: its name is a hash of what it holds. It may have been moved by
		// somebody who has not come to the end yet.
		seen = true
		for _, part := range parts {
			// It may be known here as one of cruft only now.
			if _, err := os.Lstat(filepath.Join(to, name+part.ext)); part.optional && errors.Is(err, fs.ErrNotExist) {
				if err := os.Rename(filepath.Join(from, name+part.ext), filepath.Join(to, name+part.ext)); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
			}
		}
		return durable.SyncDir(to)
	}
	for _, part := range parts {
		err := os.Rename(filepath.Join(from, name+part.ext), filepath.Join(to, name+part.ext))
		if err != nil && (!part.optional || !errors.Is(err, fs.ErrNotExist)) {
			return err
		}
		seen = part.ext == ".idx"
		if err := step("admit: moved " + part.ext); err != nil {
			return err
		}
	}
	if err := durable.SyncDir(to); err != nil {
		return err
	}
	return step("admit: done")
}

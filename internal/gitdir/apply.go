package gitdir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/durable"
	"github.com/gitroost/gitroost/internal/fault"
)

// Apply implements steward.Vault. All refs move in one rename of packed-refs (H-251); HEAD follows
// in a rename of its own, so that a crash can leave it behind. An Old that is not what the ref is
// gives a fault.Stale (H-250); a name that is not legal, or stands in the way of another, an object
// that is not there or of the wrong type, a fault.Refused (H-253).
func (v *Vault) Apply(ctx context.Context, addr grasp.Addr, edits []grasp.RefChange, head grasp.RefName) error {
	if err := checkEdits(edits, head); err != nil {
		return err
	}
	r, err := v.acquire(addr)
	if err != nil {
		return err
	}
	defer v.release(r)
	if err := r.lock(ctx); err != nil {
		return err
	}
	defer r.unlock()
	st, err := r.refsLocked(ctx)
	if err != nil {
		return err
	}
	if !st.there {
		creates := head != "" && head != grasp.DefaultHead
		for _, e := range edits {
			creates = creates || !e.New.IsZero()
		}
		if creates {
			if err := r.make(); err != nil {
				return err
			}
			if st, err = r.refsLocked(ctx); err != nil {
				return err
			}
		}
	}
	if err := r.move(ctx, st, edits, head); err != nil {
		return err
	}
	var tips []grasp.OID
	for _, e := range edits {
		if !e.New.IsZero() {
			tips = append(tips, e.New)
		}
	}
	r.learn(r.life(), tips...)
	v.consider(r)
	return nil
}

// checkEdits looks at what can be judged without the repository.
func checkEdits(edits []grasp.RefChange, head grasp.RefName) error {
	seen := make(map[grasp.RefName]struct{}, len(edits))
	for _, e := range edits {
		if !e.Ref.Visible() {
			if err := checkHidden(e); err != nil {
				return err
			}
		} else if _, ok := grasp.ParseRefName(string(e.Ref)); !ok {
			return refuse("H-253", e.Ref, "the name of the ref is not legal")
		}
		if _, twice := seen[e.Ref]; twice {
			return refuse("H-253", e.Ref, "the ref is changed twice")
		}
		seen[e.Ref] = struct{}{}
		for _, o := range []grasp.OID{e.Old, e.New} {
			if o != "" && !grasp.IsHex(string(o), 40) {
				return refuse("H-253", e.Ref, "not an object id")
			}
		}
	}
	if head == "" {
		return nil
	}
	if _, ok := grasp.ParseRefName(string(head)); !ok || !head.IsHead() {
		return refuse("G01-604", head, "HEAD can only name a branch")
	}
	return nil
}

func refuse(rule string, ref grasp.RefName, text string) error {
	if ref != "" {
		text = fmt.Sprintf("%s: %s", ref, text)
	}
	return &fault.Error{Code: fault.Refused, Op: "gitdir: check",
		Err: &grasp.Refusal{Rule: rule, Prefix: grasp.Invalid, Ref: ref, Text: text}}
}

// move does the work of Apply. The caller has locked r, and st is its state.
func (r *repo) move(ctx context.Context, st *state, edits []grasp.RefChange, head grasp.RefName) error {
	for tries := 0; ; tries++ {
		next, changed, err := r.plan(ctx, st, edits)
		if err != nil {
			return err
		}
		moveHead := head != "" && head != st.snap.Head
		if !changed && !moveHead {
			return nil
		}
		again, err := r.write(ctx, st, next, changed, head, moveHead)
		if err != nil || !again {
			return err
		}
		// Somebody else moved refs before the lock was ours.
		if tries == 3 {
			return fault.E(fault.Busy, "gitdir: move refs", "the repository is being changed, try again")
		}
		if st, err = r.refsLocked(ctx); err != nil {
			return err
		}
	}
}

// plan returns the refs as they shall be; changed is false if they are so already.
func (r *repo) plan(ctx context.Context, st *state, edits []grasp.RefChange) (next grasp.RefList, changed bool, err error) {
	var fresh []grasp.Ref // what the edits set
	var gone []grasp.RefName
	var want []grasp.OID
	for _, e := range edits {
		now, ok := st.list.Tip(e.Ref)
		if !ok {
			now = grasp.ZeroOID
		}
		if old := e.Old; old != now && !(old == "" && !ok) {
			return next, false, &fault.Error{Code: fault.Stale, Op: "gitdir: move refs", Text: string(e.Ref) + " has moved meanwhile",
				Err: fmt.Errorf("it is at %s, not at %s", now, old)}
		}
		switch {
		case e.New.IsZero():
			if ok {
				gone = append(gone, e.Ref)
			}
		case e.New != now:
			fresh = append(fresh, grasp.Ref{Name: grasp.RefName(strings.Clone(string(e.Ref))), OID: grasp.OID(strings.Clone(string(e.New)))})
			want = append(want, e.New)
		}
	}
	if len(fresh) == 0 && len(gone) == 0 {
		return next, false, nil
	}
	infos, err := r.resolve(ctx, nil, want)
	if err != nil {
		return next, false, err
	}
	for i := range fresh {
		p := &fresh[i]
		if err := checkTip(p.Name, p.OID, infos); err != nil {
			return next, false, err
		}
		if info := infos[p.OID]; info.kind == kindTag {
			p.Peeled = info.peeled
		}
	}
	slices.SortFunc(fresh, func(a, b grasp.Ref) int { return strings.Compare(string(a.Name), string(b.Name)) })
	slices.Sort(gone)
	next = st.list.With(fresh, gone)
	for _, p := range fresh {
		if other, ok := inTheWay(next, p.Name); ok {
			return next, false, refuse("H-253", p.Name, fmt.Sprintf("it cannot exist together with %s", other))
		}
	}
	return next, true, nil
}

// checkTip verifies that o is there, and is a commit where ref needs one.
func checkTip(ref grasp.RefName, o grasp.OID, infos map[grasp.OID]objectInfo) error {
	info, ok := infos[o]
	if !ok {
		return refuse("H-253", ref, "object "+string(o)+" is missing")
	}
	if (ref.IsHead() || ref.IsNostr()) && info.kind != kindCommit {
		return refuse("H-253", ref, "object "+string(o)+" is a "+info.kind.String()+", not a commit")
	}
	return nil
}

// inTheWay returns a ref of list that cannot exist together with name: a folder of git's would
// have to be a file (hardening §5).
func inTheWay(list grasp.RefList, name grasp.RefName) (grasp.RefName, bool) {
	for i := len("refs/") + 1; i < len(name); i++ {
		if name[i] != '/' {
			continue
		}
		if _, ok := list.Tip(name[:i]); ok {
			return name[:i], true
		}
	}
	below := name + "/"
	for r := range list.From(below) {
		return r.Name, strings.HasPrefix(string(r.Name), string(below))
	}
	return "", false
}

// write puts next (if changed) and head into place, durably, and remembers them. again is true if
// the disk was not what st says; then nothing was written.
func (r *repo) write(ctx context.Context, st *state, next grasp.RefList, changed bool, head grasp.RefName, moveHead bool) (again bool, err error) {
	const op = "gitdir: write refs"
	step := r.v.cfg.step
	refs, err := r.lockFile(ctx, "packed-refs")
	if err != nil {
		return false, err
	}
	defer refs.Discard()
	if err := step("apply: locked"); err != nil {
		return false, fault.Wrap(op, err)
	}
	// Nobody who respects the lock moves refs from here on.
	if m, _, err := r.look(); err != nil || m != st.mark {
		return err == nil, err
	}
	var headFile *durable.File
	if moveHead {
		if headFile, err = r.lockFile(ctx, "HEAD"); err != nil {
			return false, err
		}
		defer headFile.Discard()
		if _, err := headFile.Write([]byte(headText(head))); err != nil {
			return false, explainIO(op, err)
		}
	}
	if changed {
		if err := writePackedRefs(refs, next); err != nil {
			return false, explainIO(op, err)
		}
	}
	if err := step("apply: written"); err != nil {
		return false, fault.Wrap(op, err)
	}
	if err := context.Cause(ctx); err != nil {
		return false, fault.Wrap(op, err)
	}
	defer func() {
		if err != nil { // whether it happened or not is for the disk to say
			r.keep(nil)
		}
	}()
	if changed {
		if err := refs.Place(); err != nil {
			return false, explainIO(op, err)
		}
		if err := step("apply: refs moved"); err != nil {
			return false, fault.Wrap(op, err)
		}
	}
	if moveHead {
		if err := headFile.Place(); err != nil {
			return false, explainIO(op, err)
		}
		if err := step("apply: HEAD moved"); err != nil {
			return false, fault.Wrap(op, err)
		}
	}
	refs.Discard() // a lock that was only held
	if err := durable.SyncDir(r.path); err != nil {
		return false, explainIO(op, err)
	}
	if err := step("apply: synced"); err != nil {
		return false, fault.Wrap(op, err)
	}
	return false, r.follow(st, next, changed, head, moveHead)
}

// follow remembers what was written.
func (r *repo) follow(st *state, next grasp.RefList, changed bool, head grasp.RefName, moveHead bool) error {
	m, _, err := r.look()
	if err != nil {
		return err
	}
	snap := &grasp.Snapshot{Refs: st.snap.Refs, Head: st.snap.Head, Gen: r.v.gen.Add(1)}
	if moveHead {
		snap.Head = head
	}
	list := st.list
	if changed {
		list, snap.Refs = next, next.Visible()
	}
	r.keep(&state{there: true, snap: snap, list: list, mark: m})
	return nil
}

// lockFile takes git's own lock on a file of the repository. It waits for another program's git, as
// long as LockWait.
func (r *repo) lockFile(ctx context.Context, name string) (*durable.File, error) {
	const op = "gitdir: lock refs"
	pause := time.Millisecond
	var waited time.Duration
	for {
		f, err := durable.Lock(filepath.Join(r.path, name), 0o640)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, explainIO(op, err)
		}
		if waited >= r.v.cfg.LockWait {
			return nil, fault.E(fault.Busy, op, "the repository is being changed, try again")
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, fault.Wrap(op, context.Cause(ctx))
		case <-timer.C:
		}
		waited += pause
		pause = min(2*pause, 100*time.Millisecond)
	}
}

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

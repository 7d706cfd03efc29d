package gitdir

import (
	"context"
	"slices"
	"strings"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/run"
	"github.com/gitroost/gitroost/internal/steward"
)

var _ steward.Attic = (*Vault)(nil)

// Kept implements steward.Attic: the hidden refs that keep older tips (G05-06). Upkeep packs what they
// lead to like all else that refs lead to; no answer to a fetch names them.
func (v *Vault) Kept(ctx context.Context, addr grasp.Addr) ([]grasp.Kept, error) {
	r, err := v.acquire(addr)
	if err != nil {
		return nil, err
	}
	defer v.release(r)
	st, err := r.refs(ctx)
	if err != nil {
		return nil, err
	}
	var out []grasp.Kept
	for ref := range st.list.From("refs/gitroost/") {
		if !strings.HasPrefix(string(ref.Name), "refs/gitroost/") {
			break
		}
		if k, ok := grasp.ParseKept(ref.Name); ok && k.OID == ref.OID {
			out = append(out, k)
		}
	}
	return out, nil
}

// maxAsked is of how many tips git is asked one by one whether something else leads to them. Of more all
// are kept: that costs refs, and loses nothing.
const maxAsked = 16

// Leaving implements steward.Attic.
func (v *Vault) Leaving(ctx context.Context, addr grasp.Addr, edits []grasp.RefChange) ([]grasp.RefChange, error) {
	var went []grasp.RefChange
	for _, e := range edits {
		if (e.Ref.IsHead() || e.Ref.IsTag()) && !e.Old.IsZero() && e.Old != e.New {
			went = append(went, e)
		}
	}
	if len(went) == 0 {
		return nil, nil
	}
	r, err := v.acquire(addr)
	if err != nil {
		return nil, err
	}
	defer v.release(r)
	st, err := r.refs(ctx)
	if err != nil || !st.there {
		return nil, err
	}
	// What is lost already cannot be kept.
	olds := make([]grasp.OID, len(went))
	for i, e := range went {
		olds[i] = e.Old
	}
	there, err := r.present(olds)
	if err != nil {
		return nil, err
	}
	went = slices.DeleteFunc(went, func(e grasp.RefChange) bool { return !slices.Contains(there, e.Old) })
	left := st.snap.Refs.Apply(edits)
	var tips []grasp.OID
	is := grasp.OIDSet{}
	for ref := range left.All() {
		if !ref.Name.IsNostr() && !is.Has(ref.OID) { // a pull request may go at any time
			is.Add(ref.OID)
			tips = append(tips, ref.OID)
		}
	}
	if tips, err = r.present(tips); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, changedTimeout)
	defer cancel()
	var out []grasp.RefChange
	for _, e := range went {
		if is.Has(e.Old) {
			continue
		}
		if len(went) > maxAsked || e.Ref.IsTag() || r.unreached(ctx, e.Old, tips) {
			out = append(out, e)
		}
	}
	return out, nil
}

// unreached reports whether none of tips leads to a commit, or that cannot be found out.
func (r *repo) unreached(ctx context.Context, o grasp.OID, tips []grasp.OID) bool {
	out, err := r.v.small(ctx, command{
		args: append(run.Words("rev-list", "--stdin"), run.Int("--max-count", 1)), env: r.objectEnv(nil, nil),
		stdin: strings.NewReader(revisions([]grasp.OID{o}, tips)),
	})
	return err != nil || strings.TrimSpace(out) != ""
}

// checkHidden refuses an edit of a hidden ref that would keep something else than its name says.
func checkHidden(e grasp.RefChange) error {
	k, ok := grasp.ParseKept(e.Ref)
	if !ok {
		return refuse("G01-506", e.Ref, "only refs/heads/, refs/tags/ and refs/nostr/ may be changed")
	}
	if !e.New.IsZero() && e.New != k.OID {
		return fault.E(fault.Invalid, "gitdir: check", "a hidden ref keeps what its name says")
	}
	return nil
}

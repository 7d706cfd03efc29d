package steward

import (
	"context"

	"github.com/gitroost/gitroost/grasp"
)

// settled is what was last settled of a repository. When nobody has pushed to it for a while it is but known which
// refs they were: whoever looks next brings them along.
type settled struct {
	gen  uint64
	refs *grasp.Snapshot // or nil
	idle bool            // since the last Rest
}

// Rest lets go of the refs of repositories that nobody has pushed to since the call before. Nothing is forgotten
// that would have to be asked of the ledger, as long as the vault can say that the refs are still the same.
func (s *Steward) Rest() {
	for _, repo := range s.done.keys() {
		s.done.change(repo, func(d settled) (settled, int, bool) {
			switch {
			case d.refs == nil:
				return d, 0, false
			case d.idle:
				return settled{gen: d.gen}, 0, true
			}
			d.idle = true
			return d, d.refs.Refs.Len(), true
		})
	}
}

// refs returns the refs of repo as they are, and keeps them if they are those that were settled.
func (s *Steward) refs(ctx context.Context, repo grasp.Addr) (*grasp.Snapshot, error) {
	snap, err := s.vault.Refs(ctx, repo)
	if err == nil {
		s.done.change(repo, func(d settled) (settled, int, bool) {
			if d.gen != snap.Gen || d.refs != nil && !d.idle {
				return d, 0, false
			}
			return settled{gen: snap.Gen, refs: snap}, snap.Refs.Len(), true
		})
	}
	return snap, err
}

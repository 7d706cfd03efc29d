package gitdir

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/run"
)

const (
	// maxBounds is how many refs a check of completeness is told to stop at. More make it
	// slower, not better: it walks a little further without them.
	maxBounds = 1000

	// maxProofs bounds the programs that one Have starts when some objects turn out incomplete.
	maxProofs = 64
)

// Have implements steward.Vault. What is not there at all, what a ref points to and what was found
// complete before is answered without a program. The rest is proven by one `git rev-list`; only if
// that fails it is asked piece by piece, and what could not be proven by 64 of them counts as
// incomplete (hardening D8).
func (v *Vault) Have(ctx context.Context, addr grasp.Addr, want []grasp.OID) (grasp.OIDSet, error) {
	r, err := v.acquire(addr)
	if err != nil {
		return nil, err
	}
	defer v.release(r)
	out := grasp.OIDSet{}
	if len(want) > 0 && r.asleep() {
		// Nobody has to remember all the refs to be told that what is there is what they point to.
		if done, err := r.skim(want, out); done || err != nil {
			return out, err
		}
		clear(out)
	}
	st, err := r.refs(ctx)
	if err != nil {
		return nil, err
	}
	if !st.there || len(want) == 0 {
		return out, nil
	}
	life := r.life()
	maybe, err := r.present(want)
	if err != nil {
		return nil, err
	}
	unproven := r.unproven(st, maybe, out)
	if len(unproven) == 0 {
		return out, nil
	}
	proofs := maxProofs
	if err := r.prove(ctx, st, unproven, out, &proofs); err != nil {
		return nil, err
	}
	for _, o := range unproven {
		if out.Has(o) {
			r.learn(life, o)
		}
	}
	return out, nil
}

// skim puts into out those of want that are there, if all of these are known to be complete, or a ref points to
// them; else it is not done. The refs are read, and not kept.
func (r *repo) skim(want []grasp.OID, out grasp.OIDSet) (done bool, err error) {
	there, err := r.present(want)
	if err != nil {
		return false, err
	}
	open := grasp.OIDSet{}
	for _, o := range there {
		out.Add(o)
		if !r.known(o) {
			open.Add(o)
		}
	}
	if len(open) == 0 {
		return true, nil
	}
	f, err := os.Open(filepath.Join(r.path, "packed-refs"))
	if err != nil {
		return false, nil // whoever reads them for good says what is wrong
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); len(open) > 0 && lines.Scan(); {
		b := lines.Bytes()
		if len(b) > 0 && b[0] == '^' {
			b = b[1:]
		}
		if len(b) >= 40 {
			delete(open, grasp.OID(b[:40]))
		}
	}
	return len(open) == 0, nil
}

// present returns those of want that are there, once each.
func (r *repo) present(want []grasp.OID) ([]grasp.OID, error) {
	s, err := r.search()
	if err != nil {
		return nil, err
	}
	defer s.close()
	seen := make(grasp.OIDSet, len(want))
	var out []grasp.OID
	for _, o := range want {
		if !grasp.IsHex(string(o), 40) || o.IsZero() || seen.Has(o) {
			continue
		}
		seen.Add(o)
		ok, err := s.has(o)
		if err != nil {
			return nil, explainIO("gitdir: look for objects", err)
		}
		if ok {
			out = append(out, o)
		}
	}
	return out, nil
}

// unproven puts into out those of oids that are known to be complete, and returns the others.
func (r *repo) unproven(st *state, oids []grasp.OID, out grasp.OIDSet) []grasp.OID {
	var rest []grasp.OID
	for _, o := range oids {
		if r.known(o) {
			out.Add(o)
		} else {
			rest = append(rest, o)
		}
	}
	if len(rest) == 0 {
		return nil
	}
	open := make(grasp.OIDSet, len(rest))
	for _, o := range rest {
		open.Add(o)
	}
	for p := range st.list.All() {
		for _, o := range [...]grasp.OID{p.OID, p.Peeled} {
			if open.Has(o) {
				out.Add(o)
				delete(open, o)
			}
		}
	}
	rest = rest[:0]
	for _, o := range oids {
		if open.Has(o) {
			rest = append(rest, o)
		}
	}
	return rest
}

// prove puts into out those of oids that are complete.
func (r *repo) prove(ctx context.Context, st *state, oids []grasp.OID, out grasp.OIDSet, left *int) error {
	return r.proveWith(ctx, nil, st, oids, out, left)
}

// proveWith is prove where more packs count.
func (r *repo) proveWith(ctx context.Context, more *packs, st *state, oids []grasp.OID, out grasp.OIDSet, left *int) error {
	if *left == 0 || len(oids) == 0 {
		return nil
	}
	*left--
	err := r.connected(ctx, more, oids, r.bounds(st, nil, maxBounds))
	if err == nil {
		for _, o := range oids {
			out.Add(o)
		}
		return nil
	}
	if !fault.Is(err, fault.Refused) {
		return err
	}
	if len(oids) == 1 && more != nil {
		return nil
	}
	if len(oids) == 1 {
		r.v.log.Warn("an object is not complete", "repo", r.addr.String(), "object", string(oids[0]))
		return nil
	}
	half := len(oids) / 2
	if err := r.proveWith(ctx, more, st, oids[:half], out, left); err != nil {
		return err
	}
	return r.proveWith(ctx, more, st, oids[half:], out, left)
}

// bounds returns refs below which everything is known to be there: what updates start from, HEAD,
// and others up to n in all. What is not there itself is left out.
func (r *repo) bounds(st *state, updates []grasp.RefChange, n int) []grasp.OID {
	s, err := r.search()
	if err != nil {
		return nil // the walk goes further without
	}
	defer s.close()
	seen := grasp.OIDSet{}
	var out []grasp.OID
	add := func(o grasp.OID) {
		if o.IsZero() || len(out) >= n || seen.Has(o) {
			return
		}
		seen.Add(o)
		if ok, err := s.has(o); ok && err == nil {
			out = append(out, o)
		}
	}
	for _, u := range updates {
		add(st.snap.Refs.OID(u.Ref))
	}
	add(st.snap.Refs.OID(st.snap.Head))
	for _, want := range []func(grasp.RefName) bool{grasp.RefName.IsHead, grasp.RefName.IsTag} {
		for p := range st.list.All() {
			if len(out) >= n {
				return out
			}
			if want(p.Name) {
				add(p.OID)
			}
		}
	}
	return out
}

// connected verifies that everything reachable from oids is there, given that everything reachable
// from bounds is. A gap is a fault.Refused.
func (r *repo) connected(ctx context.Context, more *packs, oids, bounds []grasp.OID) error {
	_, err := r.revList(ctx, more, oids, bounds, run.Words("--quiet"))
	return err
}

func (r *repo) revList(ctx context.Context, more *packs, oids, bounds []grasp.OID, args []run.Arg) (string, error) {
	out, err := r.v.small(ctx, command{
		args:  append(run.Words("rev-list", "--objects", "--stdin"), args...),
		env:   r.objectEnv(more, nil),
		stdin: strings.NewReader(revisions(oids, bounds)),
	})
	return out, explain("gitdir: check objects", err, fault.Refused, "objects are missing")
}

// revisions is the input that asks for what is reachable from oids and not from bounds.
func revisions(oids, bounds []grasp.OID) string {
	var b strings.Builder
	b.Grow(41*len(oids) + 42*len(bounds))
	for _, o := range oids {
		b.WriteString(string(o))
		b.WriteByte('\n')
	}
	for _, o := range bounds {
		b.WriteByte('^')
		b.WriteString(string(o))
		b.WriteByte('\n')
	}
	return b.String()
}

// shallows is what stands before revisions where history shall end at cut.
func shallows(cut []grasp.OID) string {
	var b strings.Builder
	for _, o := range cut {
		b.WriteString("--shallow " + string(o) + "\n")
	}
	return b.String()
}

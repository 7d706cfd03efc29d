package gitdir

import (
	"errors"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/gitwire"
)

// maxShallow bounds the commits that are read to find out where history ends, and those that are named
// there. A fetch of more is left to upload-pack.
const maxShallow = 1000

// A border says where history ends for who fetches (H-226).
type border struct {
	asked bool        // the answer has a section about it
	told  []grasp.OID // the client is told that these have no parents for it
	cut   []grasp.OID // for these git must think so, too
}

// border finds out where history ends in the answer to req, whose wants are all there. ok is false where
// only upload-pack knows: what is cut off at the client comes nearer or moves away, or history ends at a
// time or at a ref.
func (r *repo) border(req *gitwire.FetchRequest, wants []grasp.OID) (b border, ok bool) {
	if req.Depth == 0 && len(req.Shallow) == 0 {
		return b, true
	}
	if len(wants) > maxShallow || len(req.Shallow) > maxShallow || req.Depth != 0 && len(req.Shallow) > 0 {
		return b, false
	}
	s, err := r.search()
	if err != nil {
		return b, false
	}
	defer s.close()
	if req.Depth == 0 {
		if b.cut, ok = s.commits(req.Shallow); !ok {
			return b, false
		}
		b.asked = len(b.cut) > 0
		return b, true
	}
	b.asked = true
	b.told, ok = s.generation(wants, req.Depth)
	b.cut = b.told
	return b, ok
}

// commits returns those of oids that are there, once each. It is not ok if one of them is no commit.
func (s *search) commits(oids []grasp.OID) (out []grasp.OID, ok bool) {
	seen := grasp.OIDSet{}
	for _, o := range oids {
		if seen.Has(o) {
			continue
		}
		seen.Add(o)
		k, _, err := s.read(o)
		switch {
		case errors.Is(err, errNoObject):
		case err != nil, k != kindCommit:
			return nil, false
		default:
			out = append(out, o)
		}
	}
	return out, true
}

// generation returns the commits that are depth-1 parents away from the nearest of tips, which may be tags of
// commits. It is not ok if there are too many on the way there, or one cannot be read here.
func (s *search) generation(tips []grasp.OID, depth int) (level []grasp.OID, ok bool) {
	seen := grasp.OIDSet{}
	add := func(to []grasp.OID, o grasp.OID) []grasp.OID {
		if seen.Has(o) {
			return to
		}
		seen.Add(o)
		return append(to, o)
	}
	for _, o := range tips {
		info, err := s.object(o)
		if err == nil && info.kind == kindTag {
			o = info.peeled
			info, err = s.object(o)
		}
		if err != nil {
			return nil, false
		}
		if info.kind == kindCommit {
			level = add(level, o)
		}
	}
	for ; depth > 1 && len(level) > 0; depth-- {
		var next []grasp.OID
		for _, o := range level {
			k, text, err := s.content(o, maxWalkObject)
			if err != nil || k != kindCommit || len(seen) > maxShallow {
				return nil, false
			}
			_, parents, ok := parseCommit(text)
			if !ok {
				return nil, false
			}
			for _, p := range parents {
				next = add(next, p)
			}
		}
		level = next
	}
	return level, len(level) <= maxShallow
}

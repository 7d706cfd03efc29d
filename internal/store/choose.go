package store

import (
	"context"
	"slices"

	"github.com/gitroost/gitroost/internal/pace"
)

// A dimension is a way to scan for a query: by tag, by author, by kind, or through everything.
type dimension struct {
	scan string
	args [][]any // one stream for each
	set  *tagSet // of a scan by tag
	auth bool    // scans by author
	kind bool    // scans by kind
}

func (d dimension) streams() []*stream {
	out := make([]*stream, len(d.args))
	for i, args := range d.args {
		out[i] = &stream{scan: d.scan, args: args}
	}
	return out
}

// covers takes from what is to be checked what the scan sees to.
func (d dimension) covers(r *rest) {
	if d.auth {
		r.authors = nil
	}
	if d.kind {
		r.kinds = nil
	}
	if d.set != nil {
		r.tags = slices.DeleteFunc(slices.Clone(r.tags), func(s tagSet) bool { return s.letter == d.set.letter })
	}
}

// maxPairs is up to how many pairs of author and kind are scanned as such.
const maxPairs = 512

// dimensions returns the ways to scan for q, the one that is most likely good first.
func (q *query) dimensions() []dimension {
	var out []dimension
	for i := range q.tags {
		set := &q.tags[i]
		d := dimension{scan: scanTag, set: set}
		for _, key := range set.keys {
			d.args = append(d.args, []any{key})
		}
		out = append(out, d)
	}
	switch {
	case q.authors != nil && q.kinds != nil && len(q.authors)*len(q.kinds) <= maxPairs:
		d := dimension{scan: scanAuthorKind, auth: true, kind: true}
		for _, a := range q.authors {
			for _, k := range q.kinds {
				d.args = append(d.args, []any{a[:], k})
			}
		}
		out = append(out, d)
	case q.authors != nil:
		d := dimension{scan: scanAuthor, auth: true}
		for _, a := range q.authors {
			d.args = append(d.args, []any{a[:]})
		}
		out = append(out, d)
	}
	if q.kinds != nil && (q.authors == nil || len(q.authors)*len(q.kinds) > maxPairs) {
		d := dimension{scan: scanKind, kind: true}
		for _, k := range q.kinds {
			d.args = append(d.args, []any{k})
		}
		out = append(out, d)
	}
	if len(out) == 0 {
		out = append(out, dimension{scan: scanTime, args: [][]any{nil}})
	}
	return out
}

const (
	// A guess counts up to so many entries of a range, of so many ranges; if that is too few to
	// tell, it counts more.
	firstGuess  = 64
	guessFactor = 8
	lastGuess   = firstGuess * guessFactor * guessFactor
	guessRanges = 8
)

// choose returns the dimension with the fewest entries, by a guess that costs little: a few
// entries of a few ranges are counted. Where all are long, the one that is sparser in time is
// chosen.
func (r *reader) choose(ctx context.Context, q *query) (dimension, error) {
	all := q.dimensions()
	if len(all) == 1 {
		return all[0], nil
	}
	for upTo := firstGuess; ; upTo *= guessFactor {
		var best, sparsest int
		var least, thinnest guess
		for i, d := range all {
			g, err := r.guess(ctx, q, d, upTo)
			if err != nil {
				return dimension{}, err
			}
			if i == 0 || g.entries < least.entries {
				best, least = i, g
			}
			if i == 0 || g.perSecond < thinnest.perSecond {
				sparsest, thinnest = i, g
			}
			if g.whole && g.entries <= firstGuess {
				return d, nil // so few that looking for fewer costs more
			}
		}
		switch {
		case least.whole:
			return all[best], nil
		case upTo >= lastGuess:
			return all[sparsest], nil
		}
	}
}

// A guess is about how many entries of its index a dimension looks at.
type guess struct {
	entries   float64
	perSecond float64 // how densely they lie, as far as they were counted
	whole     bool    // no range had more than were counted
}

func (r *reader) guess(ctx context.Context, q *query, d dimension, upTo int) (guess, error) {
	g := guess{whole: true}
	if err := ctx.Err(); err != nil {
		return g, err
	}
	stride := max(1, len(d.args)/guessRanges)
	looked := 0
	for i := 0; i < len(d.args); i += stride {
		pace.Step(ctx)
		var n int
		var span float64
		args := append([]any{q.until, zero32[:], q.since, upTo}, d.args[i]...)
		if _, err := r.row(`SELECT count(*), ifnull(max(created_at) * 1.0 - min(created_at), 0) FROM (`+d.scan+`)`, args, &n, &span); err != nil {
			return g, err
		}
		g.entries += float64(n)
		g.perSecond += float64(n) / (span + 1)
		g.whole = g.whole && n < upTo
		looked++
	}
	scale := float64(len(d.args)) / float64(looked)
	g.entries *= scale
	g.perSecond *= scale
	return g, nil
}

var zero32 id32

// contains reports whether key is one of keys, which are sorted.
func contains(keys [][]byte, key []byte) bool {
	_, ok := slices.BinarySearchFunc(keys, key, slices.Compare[[]byte])
	return ok
}

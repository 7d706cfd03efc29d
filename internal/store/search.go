package store

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/search"
)

const (
	// maxNarrow is up to how many events the rest of a filter may match for all of them to be
	// looked at. Then what a search finds among them is complete, however common its words are.
	maxNarrow = 1024

	// maxCounted is how many events with the words are counted if it matches more.
	maxCounted = 100_000
)

// matchText writes q in the syntax of the index. Words are made of letters and digits, so nothing
// that somebody typed is taken for an operator.
func matchText(q *search.Query) string {
	var b strings.Builder
	list := func(terms []search.Term, between string) {
		b.WriteByte('(')
		for i, t := range terms {
			if i > 0 {
				b.WriteString(between)
			}
			b.WriteByte('"')
			b.WriteString(search.Join(t.Words))
			b.WriteByte('"')
			if t.Prefix {
				b.WriteString(" *")
			}
		}
		b.WriteByte(')')
	}
	list(q.All, " AND ")
	if len(q.None) > 0 {
		b.WriteString(" NOT ")
		list(q.None, " OR ")
	}
	return b.String()
}

// A found is a candidate and how well its words fit: the lower the better.
type found struct {
	candidate
	score float64
}

// better reports whether f is answered before g: by score, then newest first, ties by lowest id.
func better(f, g found) int {
	if c := cmp.Compare(f.score, g.score); c != 0 {
		return c
	}
	if f.before(g.candidate) {
		return -1
	}
	return 1
}

// searched returns the events of q, which has words to match: the best first, chosen among ranked of
// them, or if that is 0 in the order of all other answers.
func (r *reader) searched(ctx context.Context, q *query, ranked int, now int64) (*iterator, error) {
	list, narrow, err := r.narrow(ctx, q, now)
	if err != nil {
		return nil, err
	}
	it := &iterator{reader: r, now: now}
	if narrow {
		if list, err = r.among(ctx, q, list); err != nil {
			return nil, err
		}
	} else {
		it.rest = rest{kinds: setOf(q.kinds), authors: setOf(q.authors), tags: q.tags}
		if list, err = r.wide(ctx, q, ranked); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(list, func(f, g found) int {
		if ranked == 0 {
			f.score, g.score = 0, 0
		}
		return better(f, g)
	})
	st := &stream{page: make([]candidate, len(list)), ended: true}
	for i, f := range list {
		st.page[i] = f.candidate
	}
	return it, it.add(ctx, st)
}

// narrow returns what matches all of q but its words, or false if that is more than maxNarrow and
// not chosen by ids.
func (r *reader) narrow(ctx context.Context, q *query, now int64) ([]found, bool, error) {
	plain := *q
	plain.match = ""
	it, err := r.iterate(ctx, &plain, maxNarrow+1, now)
	if err != nil {
		return nil, false, err
	}
	var list []found
	// What is looked at is bounded too: a filter may look at many events to match a few. Ids are
	// as few as were named.
	for q.ids != nil || len(list) <= maxNarrow && it.seen <= 4*maxNarrow {
		c, ok, err := it.next(ctx)
		if err != nil {
			return nil, false, err
		}
		if !ok {
			return list, true, nil
		}
		list = append(list, found{candidate: c})
	}
	return nil, false, nil
}

// among returns which of list have the words of q, with their scores.
func (r *reader) among(ctx context.Context, q *query, list []found) ([]found, error) {
	bySeq := make(map[int64]found, len(list))
	seqs := make([]int64, 0, len(list))
	for _, f := range list {
		if search.Has(f.kind) {
			bySeq[f.seq] = f
			seqs = append(seqs, f.seq)
		}
	}
	if len(seqs) == 0 {
		return nil, nil
	}
	slices.Sort(seqs)
	text, err := json.Marshal(seqs)
	if err != nil {
		return nil, err
	}
	out := list[:0]
	err = r.rows(ctx, sqlAmong, []any{q.match, seqs[0], seqs[len(seqs)-1], string(text)}, func(row scanner) error {
		var seq int64
		var score float64
		if err := row.Scan(&seq, &score); err != nil {
			return err
		}
		if f, ok := bySeq[seq]; ok {
			f.score = score
			out = append(out, f)
		}
		return nil
	})
	return out, err
}

// wide returns events that have the words of q and are of its kinds and times.
func (r *reader) wide(ctx context.Context, q *query, ranked int) ([]found, error) {
	text, most := sqlRanked, ranked
	if ranked == 0 {
		text, most = sqlUnranked, maxCounted
	}
	var from int64
	err := r.rows(ctx, sqlLast, []any{q.match, most}, func(row scanner) error { return row.Scan(&from) })
	if err != nil {
		return nil, err
	}
	if from > 0 && ranked == 0 {
		return nil, fault.Errorf(fault.TooLarge, "store: search", "more than %d events have these words: ask for less", maxCounted)
	}
	kinds := search.Kinds
	if q.kinds != nil {
		kinds = q.kinds
	}
	list, err := json.Marshal(kinds)
	if err != nil {
		return nil, err
	}
	var out []found
	err = r.rows(ctx, text, []any{q.match, from, q.until, q.since, string(list)}, func(row scanner) error {
		var f found
		err := row.Scan(&f.at, &f.id, &f.seq, &f.kind, &f.expires, &f.score)
		out = append(out, f)
		return err
	})
	return out, err
}

// A word in the title weighs as much as eight in the text. What is sorted is whole when the first
// row comes, so that the end of the context is noticed. The plus sign keeps the index from being
// asked anew for every event of the list.
const (
	sqlScore = `bm25(search, 8.0, 1.0)`

	sqlAmong = `SELECT rowid, ` + sqlScore + ` AS score FROM search
		WHERE search MATCH ?1 AND rowid >= ?2 AND rowid <= ?3 AND +rowid IN (SELECT value FROM json_each(?4))
		ORDER BY score`

	// sqlLast finds behind which event the last ?2 with the words begin.
	sqlLast = `SELECT rowid FROM search WHERE search MATCH ?1 ORDER BY rowid DESC LIMIT 1 OFFSET ?2`

	sqlWide = ` AS score FROM search s CROSS JOIN events e ON e.seq = s.rowid
		WHERE search MATCH ?1 AND s.rowid > ?2 AND e.shelf = 2 AND e.created_at <= ?3 AND e.created_at >= ?4
		AND e.kind IN (SELECT value FROM json_each(?5)) ORDER BY score`

	sqlRanked   = `SELECT e.created_at, e.id, e.seq, e.kind, e.expires, ` + sqlScore + sqlWide
	sqlUnranked = `SELECT e.created_at, e.id, e.seq, e.kind, e.expires, 0.0` + sqlWide
)

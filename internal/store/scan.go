package store

import (
	"context"
	"math"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/pace"
)

const (
	minTime = math.MinInt64
	maxTime = math.MaxInt64

	// maxPage is how many entries of an index are read at a time. A page is what cannot be
	// interrupted, and what a stream keeps in memory.
	maxPage = 1024
)

// scanTail is the end of every scan. An index is read in pages: each begins behind the last entry
// of the one before, which is at created_at ?1 and id ?2. What has expired, or is of another kind,
// is sorted out by the iterator, so that no page looks at more entries than it returns.
const scanTail = ` AND created_at <= ?1 AND (created_at < ?1 OR id > ?2) AND created_at >= ?3
	ORDER BY created_at DESC, id LIMIT ?4+0`

// The scans, one per index that answers filters.
const (
	scanTime       = `SELECT created_at, id, seq, kind, expires FROM events INDEXED BY events_time WHERE shelf = 2` + scanTail
	scanKind       = `SELECT created_at, id, seq, kind, expires FROM events INDEXED BY events_kind WHERE shelf = 2 AND kind = ?5` + scanTail
	scanAuthor     = `SELECT created_at, id, seq, kind, expires FROM events INDEXED BY events_author WHERE shelf = 2 AND pubkey = ?5` + scanTail
	scanAuthorKind = `SELECT created_at, id, seq, kind, expires FROM events INDEXED BY events_author_kind WHERE shelf = 2 AND pubkey = ?5 AND kind = ?6` + scanTail
	scanTag        = `SELECT created_at, id, event, kind, expires FROM tags WHERE key = ?5` + scanTail
)

// A candidate is an entry of an index: an event that may match.
type candidate struct {
	at      int64
	id      id32
	seq     int64
	kind    int
	expires *int64
	mem     *kept // where it is in memory, or nil
}

// before reports whether c is answered before d (N-005).
func (c candidate) before(d candidate) bool {
	return c.at > d.at || c.at == d.at && string(c.id[:]) < string(d.id[:])
}

// A stream reads one range of one index, page by page.
type stream struct {
	reader *reader
	scan   string
	args   []any // what scan has beyond the arguments of scanTail

	at    int64 // where the next page begins: behind this entry
	id    id32
	since int64
	now   int64

	size  int // of the next page
	page  []candidate
	used  int // how many of page were taken
	ended bool
}

func (st *stream) next(ctx context.Context) (candidate, bool, error) {
	if st.used == len(st.page) {
		if st.ended {
			return candidate{}, false, nil
		}
		if err := st.turn(ctx); err != nil {
			return candidate{}, false, err
		}
		if len(st.page) == 0 {
			return candidate{}, false, nil
		}
	}
	st.used++
	return st.page[st.used-1], true, nil
}

// turn reads the next page. Pages grow, so that however long a range is, and however many events
// share a second, little is read twice.
func (st *stream) turn(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	st.page, st.used = st.page[:0], 0
	args := append([]any{st.at, st.id[:], st.since, st.size}, st.args...)
	err := st.reader.rows(ctx, st.scan, args, func(row scanner) error {
		var c candidate
		err := row.Scan(&c.at, &c.id, &c.seq, &c.kind, &c.expires)
		st.page = append(st.page, c)
		return err
	})
	if err != nil {
		return err
	}
	if len(st.page) < st.size {
		st.ended = true
	} else {
		last := st.page[len(st.page)-1]
		st.at, st.id = last.at, last.id
		st.size = min(4*st.size, maxPage)
	}
	return nil
}

// A source yields candidates in the order in which they are answered.
type source interface {
	next(ctx context.Context) (candidate, bool, error)
}

// A merge yields what any of its sources yields, in order, each candidate once. It is a heap of
// sources by their next candidate.
type merge struct {
	heads []head
	last  candidate
	begun bool
}

type head struct {
	c   candidate
	src source
}

func (m *merge) add(ctx context.Context, src source) error {
	c, ok, err := src.next(ctx)
	if err != nil || !ok {
		return err
	}
	m.heads = append(m.heads, head{c, src})
	for i := len(m.heads) - 1; i > 0; {
		up := (i - 1) / 2
		if !m.heads[i].c.before(m.heads[up].c) {
			break
		}
		m.heads[i], m.heads[up] = m.heads[up], m.heads[i]
		i = up
	}
	return nil
}

func (m *merge) next(ctx context.Context) (candidate, bool, error) {
	for len(m.heads) > 0 {
		top := m.heads[0]
		c, ok, err := top.src.next(ctx)
		if err != nil {
			return candidate{}, false, err
		}
		if ok {
			m.heads[0].c = c
		} else {
			end := len(m.heads) - 1
			m.heads[0] = m.heads[end]
			m.heads[end] = head{}
			m.heads = m.heads[:end]
		}
		m.sink()
		// The same event from two sources comes twice in a row: it matched two values.
		if m.begun && top.c.id == m.last.id {
			continue
		}
		m.last, m.begun = top.c, true
		return top.c, true, nil
	}
	return candidate{}, false, nil
}

func (m *merge) sink() {
	for i := 0; ; {
		down := 2*i + 1
		if down >= len(m.heads) {
			return
		}
		if other := down + 1; other < len(m.heads) && m.heads[other].c.before(m.heads[down].c) {
			down = other
		}
		if !m.heads[down].c.before(m.heads[i].c) {
			return
		}
		m.heads[i], m.heads[down] = m.heads[down], m.heads[i]
		i = down
	}
}

// An iterator yields the events of one query.
type iterator struct {
	merge
	reader *reader
	rest   rest
	now    int64
	seen   int // candidates looked at

	cached candidate // the one whose JSON was read to look at its tags
	json   []byte
}

func (it *iterator) next(ctx context.Context) (candidate, bool, error) {
	for {
		if it.seen++; it.seen%16 == 0 {
			pace.Step(ctx)
			if err := ctx.Err(); err != nil {
				return candidate{}, false, err
			}
		}
		c, ok, err := it.merge.next(ctx)
		if err != nil || !ok {
			return candidate{}, false, err
		}
		ok, err = it.matches(ctx, c)
		if err != nil || ok {
			return c, ok, err
		}
	}
}

func (it *iterator) matches(ctx context.Context, c candidate) (bool, error) {
	if c.expires != nil && *c.expires <= it.now { // N-036
		return false, nil
	}
	if it.rest.kinds != nil {
		if _, ok := it.rest.kinds[c.kind]; !ok {
			return false, nil
		}
	}
	if it.rest.authors != nil {
		var author id32
		ok, err := it.reader.row(sqlAuthor, []any{c.seq, c.id[:]}, &author)
		if err != nil || !ok {
			return false, err
		}
		if _, ok := it.rest.authors[author]; !ok {
			return false, nil
		}
	}
	for _, set := range it.rest.tags {
		if ok, err := it.tagged(ctx, c, set); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

const (
	sqlAuthor = `SELECT pubkey FROM events WHERE seq = ?1 AND id = ?2`
	sqlRaw    = `SELECT raw FROM events WHERE seq = ?1 AND id = ?2`
	sqlTagged = `SELECT 1 FROM tags WHERE key = ?1 AND created_at = ?2 AND id = ?3`
)

// fewKeys is up to how many values are looked up one by one; beyond that it is cheaper to read the
// event itself.
const fewKeys = 4

// tagged reports whether c has one of the values of set.
func (it *iterator) tagged(ctx context.Context, c candidate, set tagSet) (bool, error) {
	if len(set.keys) <= fewKeys {
		for _, key := range set.keys {
			var one int
			if ok, err := it.reader.row(sqlTagged, []any{key, c.at, c.id[:]}, &one); ok || err != nil {
				return ok, err
			}
		}
		return false, nil
	}
	raw, err := it.raw(ctx, c)
	if err != nil || raw == nil {
		return false, err
	}
	var ev nostr.Event
	if err := ev.UnmarshalJSON(raw); err != nil {
		return false, err
	}
	for _, key := range tagKeys(&ev) {
		if key[0] == set.letter && contains(set.keys, key) {
			return true, nil
		}
	}
	return false, nil
}

// raw returns the JSON of c, or nil if the index names an event that is not there.
func (it *iterator) raw(ctx context.Context, c candidate) ([]byte, error) {
	if it.json != nil && it.cached.id == c.id {
		return it.json, nil
	}
	it.cached, it.json = c, nil
	_, err := it.reader.row(sqlRaw, []any{c.seq, c.id[:]}, &it.json)
	return it.json, err
}

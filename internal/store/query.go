package store

import (
	"context"
	"math"
	"slices"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/pace"
	"github.com/gitroost/gitroost/internal/search"
)

// Query calls each with the id and the stored JSON of every served event that matches f and has
// not expired, newest first, ties by lowest id (N-005), every event once. It ends when each returns
// false, at f's limit or at Config.MaxLimit, or with an error when ctx ends. A limit of zero that
// was said (LimitZero) and an empty array match nothing (N-006). A filter on a tag whose name is no
// letter is a fault.Invalid, and so is a search that search.Parse does not take.
//
// With a search the events are those that have its words as well (NIP-50), and come in the order of
// how well they fit, then newest first. If the rest of the filter matches many events, and so many
// have the words too, it is the last that arrived that are compared.
//
// each may run while a snapshot of the database is held: it must not wait for anybody without a
// deadline, nor call the Store. raw is the callee's to keep, and is not to be changed.
func (s *Store) Query(ctx context.Context, f nostr.Filter, each func(id grasp.EventID, raw []byte) bool) error {
	const op = "store: query"
	q, err := compile(f)
	if err != nil {
		return fault.Wrap(op, err)
	}
	limit := s.cfg.MaxLimit
	if f.Limit > 0 {
		limit = min(limit, f.Limit)
	}
	if q == nil || f.LimitZero || f.Limit < 0 {
		return nil
	}
	now := s.cfg.Now().Unix()
	found, ok, short := s.recall.answer(ctx, q, limit, now)
	if ok {
		if err := s.open(ctx, op); err != nil {
			return err
		}
	}
	if !ok {
		if err := s.fileWords(ctx, q); err != nil {
			return fault.Wrap(op, err)
		}
		err = s.read(ctx, op, func(ctx context.Context, r *reader) error {
			onTray := s.tray.match(ctx, q, limit, now) // before the database
			if found, ok, err = r.remember(ctx, s, q, limit, short, now); ok || err != nil {
				return err
			}
			return r.tell(ctx, q, onTray, limit, s.cfg.MaxRanked, now, each)
		})
	}
	if err != nil || !ok {
		return err
	}
	for _, k := range found {
		if ctx.Err() != nil {
			return fault.Wrap(op, ctx.Err())
		}
		if !each(k.hex, k.raw) {
			break
		}
	}
	return nil
}

// tell is Query by the database, and what is on the tray.
func (r *reader) tell(ctx context.Context, q *query, onTray []*kept, limit, ranked int, now int64, each func(id grasp.EventID, raw []byte) bool) error {
	it, err := r.answers(ctx, q, limit, ranked, now)
	if err != nil {
		return err
	}
	all, err := besides(ctx, it, onTray)
	if err != nil {
		return err
	}
	for range limit {
		if err := ctx.Err(); err != nil {
			return err
		}
		c, ok, err := all.next(ctx)
		if err != nil || !ok {
			return err
		}
		var raw []byte
		if c.mem != nil {
			raw = c.mem.raw
		} else if raw, err = it.raw(ctx, c); err != nil {
			return err
		}
		if raw != nil && !each(c.id.id(), raw) {
			return nil
		}
	}
	return nil
}

// Count returns how many served events that have not expired match any of the filters, each
// counted once (N-041). A filter's limit bounds what it contributes if it says one; MaxLimit
// does not. A search that finds more than can be counted is a fault.TooLarge.
func (s *Store) Count(ctx context.Context, filters []nostr.Filter) (int64, error) {
	const op = "store: count"
	if len(filters) == 1 && filters[0].Limit == 0 && !filters[0].LimitZero {
		if n, done, err := s.countRanges(ctx, op, filters[0]); done || err != nil {
			return n, err
		}
	}
	var n int64
	err := s.walk(ctx, op, filters, func(candidate) bool {
		n++
		return true
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// maxCountKinds is how many kinds the database tells apart while it counts.
const maxCountKinds = 4

// countRanges leaves the counting to the database where the ranges of an index that answer f hold
// nothing else, and no event twice.
func (s *Store) countRanges(ctx context.Context, op string, f nostr.Filter) (n int64, done bool, err error) {
	q, err := compile(f)
	if err != nil {
		return 0, false, fault.Wrap(op, err)
	}
	if q == nil {
		return 0, true, nil
	}
	all := q.dimensions()
	best, kinds := all[0], []int(nil)
	switch {
	case q.match != "" || q.ids != nil || best.set != nil && len(best.args) > 1:
		return 0, false, nil
	case len(all) == 1:
	case q.authors == nil && len(q.tags) == 1 && len(q.kinds) <= maxCountKinds:
		kinds = q.kinds // the index of tags has the kind of each entry
	default:
		return 0, false, nil
	}
	now := s.cfg.Now().Unix()
	era, steady := s.tray.steady()
	n = int64(len(s.tray.match(ctx, q, math.MaxInt, now)))
	err = s.read(ctx, op, func(ctx context.Context, r *reader) error {
		for _, one := range best.args {
			args := append([]any{q.until, zero32[:], q.since, -1}, one...)
			for len(args) < 6 {
				args = append(args, nil)
			}
			text := `SELECT count(*) FROM (` + best.scan + `) WHERE (expires IS NULL OR expires > ?7)`
			if args = append(args, now); kinds != nil {
				text += ` AND kind IN (?8, ?9, ?10, ?11)`
				for i := range maxCountKinds {
					args = append(args, kinds[min(i, len(kinds)-1)])
				}
			}
			err := r.rows(ctx, text, args, func(row scanner) error {
				var some int64
				err := row.Scan(&some)
				n += some
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, false, err
	}
	if is, _ := s.tray.steady(); !steady || is != era {
		return 0, false, nil // something may have been counted twice; one by one it is not
	}
	return n, true, nil
}

// Keys calls each with the id and created_at of every event that Count counts, newest first,
// ties by lowest id: what a reconciliation starts from (N-043). What is said of each in Query
// holds here too. A search is a fault.Invalid: what fits best is no set that two sides could have.
func (s *Store) Keys(ctx context.Context, filters []nostr.Filter, each func(id grasp.EventID, at int64) bool) error {
	for _, f := range filters {
		if f.Search != "" {
			return fault.E(fault.Invalid, "store: keys", "unsupported: search")
		}
	}
	return s.walk(ctx, "store: keys", filters, func(c candidate) bool { return each(c.id.id(), c.at) })
}

func (s *Store) walk(ctx context.Context, op string, filters []nostr.Filter, each func(candidate) bool) error {
	var queries []*query
	var limits []int
	for _, f := range filters {
		q, err := compile(f)
		if err != nil {
			return fault.Wrap(op, err)
		}
		if q == nil || f.LimitZero || f.Limit < 0 {
			continue
		}
		if err := s.fileWords(ctx, q); err != nil {
			return fault.Wrap(op, err)
		}
		queries, limits = append(queries, q), append(limits, f.Limit)
	}
	return s.read(ctx, op, func(ctx context.Context, r *reader) error {
		now := s.cfg.Now().Unix()
		onTray := make([][]*kept, len(queries)) // before the database
		for i, q := range queries {
			onTray[i] = s.tray.match(ctx, q, orAll(limits[i]), now)
		}
		var all merge
		for i, q := range queries {
			it, err := r.answers(ctx, q, limits[i], 0, now)
			if err != nil {
				return err
			}
			both, err := besides(ctx, it, onTray[i])
			if err != nil {
				return err
			}
			if err := all.add(ctx, &limited{it: both, left: limits[i], bounded: limits[i] > 0}); err != nil {
				return err
			}
		}
		for {
			c, ok, err := all.next(ctx)
			if err != nil || !ok {
				return err
			}
			if !each(c) {
				return nil
			}
		}
	})
}

// orAll is a limit, or as many as there are.
func orAll(limit int) int {
	if limit > 0 {
		return limit
	}
	return math.MaxInt
}

// besides merges an answer of the database with what is on the tray, newest first.
func besides(ctx context.Context, it *iterator, onTray []*kept) (source, error) {
	if len(onTray) == 0 {
		return it, nil
	}
	st := &stream{ended: true}
	for _, k := range onTray {
		st.page = append(st.page, k.candidate)
	}
	all := new(merge)
	if err := all.add(ctx, st); err != nil {
		return nil, err
	}
	return all, all.add(ctx, it)
}

// limited ends an iterator after so many.
type limited struct {
	it      source
	left    int
	bounded bool
}

func (l *limited) next(ctx context.Context) (candidate, bool, error) {
	if l.bounded {
		if l.left == 0 {
			return candidate{}, false, nil
		}
		l.left--
	}
	return l.it.next(ctx)
}

// A query is a filter in the form in which it is asked. A dimension that is nil does not matter.
type query struct {
	since, until int64
	ids          []id32
	authors      []id32
	kinds        []int
	tags         []tagSet
	match        string // what to ask the index of words for, or ""
}

// A tagSet is one letter with the values of which an event must have one.
type tagSet struct {
	letter byte
	keys   [][]byte
}

// compile returns nil if nothing can match f.
func compile(f nostr.Filter) (*query, error) {
	const op = "store: filter"
	q := &query{since: minTime, until: maxTime}
	empty := false
	if f.Search != "" {
		words, means, err := search.Parse(f.Search)
		if err != nil {
			return nil, err
		}
		switch means {
		case search.Nothing:
			empty = true
		case search.Terms:
			q.match = matchText(&words)
		}
	}
	if f.Since != nil {
		q.since = int64(*f.Since)
	}
	if f.Until != nil {
		q.until = int64(*f.Until)
	}
	empty = empty || q.since > q.until
	parse := func(list []string) []id32 {
		out := make([]id32, 0, len(list))
		for _, v := range list {
			if b, ok := parse32(v); ok { // what is no id or key matches nothing
				out = append(out, b)
			}
		}
		slices.SortFunc(out, func(a, b id32) int { return slices.Compare(a[:], b[:]) })
		out = slices.Compact(out)
		empty = empty || len(out) == 0
		return out
	}
	if f.IDs != nil {
		q.ids = parse(f.IDs)
	}
	if f.Authors != nil {
		q.authors = parse(f.Authors)
	}
	if f.Kinds != nil {
		q.kinds = slices.Clone(f.Kinds)
		slices.Sort(q.kinds)
		q.kinds = slices.Compact(q.kinds)
		empty = empty || len(q.kinds) == 0
	}
	for name, values := range f.Tags {
		if !isLetter(name) {
			return nil, fault.Errorf(fault.Invalid, op, "unsupported: filter on %.20q", "#"+name)
		}
		if values == nil {
			continue
		}
		set := tagSet{letter: name[0]}
		for _, v := range values {
			set.keys = append(set.keys, tagKey(name[0], v))
		}
		slices.SortFunc(set.keys, slices.Compare)
		set.keys = slices.CompactFunc(set.keys, slices.Equal)
		empty = empty || len(set.keys) == 0
		q.tags = append(q.tags, set)
	}
	if empty {
		return nil, nil
	}
	slices.SortFunc(q.tags, func(a, b tagSet) int { return int(a.letter) - int(b.letter) })
	return q, nil
}

// rest is what of a query the scans do not see to by themselves.
type rest struct {
	authors map[id32]struct{}
	kinds   map[int]struct{}
	tags    []tagSet
}

func setOf[T comparable](list []T) map[T]struct{} {
	if list == nil {
		return nil
	}
	set := make(map[T]struct{}, len(list))
	for _, v := range list {
		set[v] = struct{}{}
	}
	return set
}

// answers returns the events of q: if it has words the best first, chosen among ranked of them; else,
// or if ranked is 0, newest first.
func (r *reader) answers(ctx context.Context, q *query, limit, ranked int, now int64) (*iterator, error) {
	if q.match != "" {
		return r.searched(ctx, q, ranked, now)
	}
	return r.iterate(ctx, q, limit, now)
}

// iterate chooses the dimension that leaves the fewest events to look at, and returns the events
// of q, in order. limit says how many will be asked for; 0 means many.
func (r *reader) iterate(ctx context.Context, q *query, limit int, now int64) (*iterator, error) {
	it := &iterator{reader: r, rest: rest{kinds: setOf(q.kinds), authors: setOf(q.authors), tags: q.tags}, now: now}
	var streams []*stream
	if q.ids != nil {
		found, err := r.byIDs(ctx, q)
		if err != nil {
			return nil, err
		}
		streams = []*stream{{page: found, ended: true}}
	} else {
		best, err := r.choose(ctx, q)
		if err != nil {
			return nil, err
		}
		streams = best.streams()
		best.covers(&it.rest)
	}
	first := 1 << 30
	if limit > 0 && len(it.rest.tags) == 0 && it.rest.authors == nil {
		// Each stream is asked for its share and somewhat more; one stream for exactly what is
		// needed.
		first = limit
		if len(streams) > 1 {
			first = 2*limit/len(streams) + 2
		}
	}
	for _, st := range streams {
		st.reader, st.since, st.now = r, q.since, now
		st.size = min(first, maxPage, max(4, 4*maxPage/len(streams)))
		if !st.ended {
			st.at, st.id = q.until, id32{}
		}
		if err := it.add(ctx, st); err != nil {
			return nil, err
		}
	}
	return it, nil
}

// byIDs looks up every id; there are at most as many events as ids.
func (r *reader) byIDs(ctx context.Context, q *query) ([]candidate, error) {
	var out []candidate
	for _, id := range q.ids {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		pace.Step(ctx)
		c := candidate{id: id}
		ok, err := r.row(sqlByID, []any{id[:], q.until, q.since}, &c.at, &c.seq, &c.kind, &c.expires)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b candidate) int {
		if a.before(b) {
			return -1
		}
		return 1 // no two are equal
	})
	return out, nil
}

const sqlByID = `SELECT created_at, seq, kind, expires FROM events INDEXED BY events_id
	WHERE id = ?1 AND shelf = 2 AND created_at <= ?2 AND created_at >= ?3`

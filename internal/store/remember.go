package store

import (
	"context"
	"slices"

	"github.com/gitroost/gitroost/internal/pace"
)

// A way is one of the indexes that lead to all events of a query, and the ranges of it that do.
type way struct {
	keys []rangeKey
	left leftover
}

// A leftover is what of a query an index does not see to. A nil list does not matter.
type leftover struct {
	authors []id32 // sorted, as the next
	kinds   []int
	tags    []tagSet
}

// maxWay is how many ranges are taken from memory for one answer.
const maxWay = 64

// ways returns how q can be answered from memory, in no particular order.
func (q *query) ways() []way {
	out := make([]way, 0, 3)
	add := func(n int, covers func(*leftover), key func(i int) rangeKey) {
		if n > maxWay {
			return
		}
		w := way{keys: make([]rangeKey, n), left: leftover{q.authors, q.kinds, q.tags}}
		for i := range w.keys {
			w.keys[i] = key(i)
		}
		covers(&w.left)
		out = append(out, w)
	}
	if q.ids != nil {
		add(len(q.ids), func(*leftover) {}, func(i int) rangeKey { return rangeKey{by: byID, key: string(q.ids[i][:])} })
		return out
	}
	for i := range q.tags {
		set := &q.tags[i]
		add(len(set.keys), func(l *leftover) { l.tags = others(q.tags, i) }, func(j int) rangeKey {
			return rangeKey{by: byTag, key: string(set.keys[j])}
		})
	}
	switch {
	case q.authors != nil && q.kinds != nil && len(q.authors)*len(q.kinds) <= maxPairs:
		add(len(q.authors)*len(q.kinds), func(l *leftover) { l.authors, l.kinds = nil, nil }, func(i int) rangeKey {
			return rangeKey{by: byAuthorKind, key: string(q.authors[i/len(q.kinds)][:]), kind: q.kinds[i%len(q.kinds)]}
		})
	case q.authors != nil:
		add(len(q.authors), func(l *leftover) { l.authors = nil }, func(i int) rangeKey {
			return rangeKey{by: byAuthor, key: string(q.authors[i][:])}
		})
	}
	if q.kinds != nil && q.authors == nil {
		add(len(q.kinds), func(l *leftover) { l.kinds = nil }, func(i int) rangeKey { return rangeKey{by: byKind, kind: q.kinds[i]} })
	}
	if q.kinds == nil && q.authors == nil && len(q.tags) == 0 {
		add(1, func(*leftover) {}, func(int) rangeKey { return rangeKey{by: byTime} })
	}
	return out
}

// others returns the sets of tags but the one at i, of which there is one for each letter.
func others(tags []tagSet, i int) []tagSet {
	if len(tags) == 1 {
		return nil
	}
	return slices.Delete(slices.Clone(tags), i, i+1)
}

// keysOf names the ranges that d scans, in the order of its args.
func (d dimension) keysOf() []rangeKey {
	out := make([]rangeKey, len(d.args))
	for i, args := range d.args {
		switch d.scan {
		case scanTime:
			out[i] = rangeKey{by: byTime}
		case scanKind:
			out[i] = rangeKey{by: byKind, kind: args[0].(int)}
		case scanAuthor:
			out[i] = rangeKey{by: byAuthor, key: string(args[0].([]byte))}
		case scanAuthorKind:
			out[i] = rangeKey{by: byAuthorKind, key: string(args[0].([]byte)), kind: args[1].(int)}
		case scanTag:
			out[i] = rangeKey{by: byTag, key: string(args[0].([]byte))}
		}
	}
	return out
}

// answer returns the first limit events of q, if the ranges in memory tell for certain which they
// are. seen is how long the longest range was that did not reach far enough.
func (m *recall) answer(ctx context.Context, q *query, limit int, now int64) (found []*kept, ok bool, short int) {
	if q.match != "" || m.most < 0 {
		return nil, false, 0
	}
	ways := q.ways()
	var best []*keptRange
	var left leftover
	least := -1
	m.mu.RLock()
	for _, w := range ways {
		total := 0
		ranges := make([]*keptRange, 0, len(w.keys))
		for _, key := range w.keys {
			rg := m.ranges[key]
			if rg == nil || rg.filling {
				break
			}
			// A copy, for the writer puts other entries there.
			ranges = append(ranges, &keptRange{entries: rg.entries, complete: rg.complete})
			total += len(rg.entries)
			rg.used.Store(m.tick.Add(1))
		}
		if len(ranges) == len(w.keys) && (least < 0 || total < least) {
			best, left, least = ranges, w.left, total
		}
	}
	m.mu.RUnlock()
	if least < 0 {
		return nil, false, 0
	}
	found, ok = walkKept(ctx, q, best, left, limit, now)
	if !ok {
		for _, rg := range best {
			if !rg.complete {
				short = max(short, len(rg.entries))
			}
		}
	}
	return found, ok, short
}

// keptStep is how many events in memory are looked at in one step: with thousands of values each takes a
// microsecond.
const keptStep = 128

// walkKept merges ranges and returns the first limit events that pass. It reports false where it
// would have to look behind the end of a range that is not complete, and where ctx has ended.
func walkKept(ctx context.Context, q *query, ranges []*keptRange, left leftover, limit int, now int64) ([]*kept, bool) {
	type head struct {
		list []*kept
		more bool
	}
	heads := make([]head, 0, len(ranges))
	for _, rg := range ranges {
		list := rg.entries
		if q.until != maxTime {
			at, _ := slices.BinarySearchFunc(list, q.until, func(k *kept, until int64) int {
				if k.at > until {
					return -1
				}
				return 1
			})
			list = list[at:]
		}
		if len(list) == 0 && !rg.complete {
			return nil, false
		}
		if len(list) > 0 {
			heads = append(heads, head{list, !rg.complete})
		}
	}
	out := make([]*kept, 0, min(limit, 64))
	var last *kept
	for n := 1; len(heads) > 0 && len(out) < limit; n++ {
		if n%keptStep == 0 {
			if pace.Step(ctx); ctx.Err() != nil {
				return nil, false
			}
		}
		first := 0
		for i := 1; i < len(heads); i++ {
			if heads[i].list[0].before(heads[first].list[0].candidate) {
				first = i
			}
		}
		h := &heads[first]
		k := h.list[0]
		if k.at < q.since {
			break
		}
		if (last == nil || k.id != last.id) && left.passes(k, now) {
			out = append(out, k)
		}
		last = k
		if h.list = h.list[1:]; len(h.list) == 0 {
			if h.more && len(out) < limit {
				return nil, false
			}
			heads[first] = heads[len(heads)-1]
			heads = heads[:len(heads)-1]
		}
	}
	return out, true
}

// passes reports whether an event matches what the way to it did not see to.
func (l *leftover) passes(k *kept, now int64) bool {
	if k.expires != nil && *k.expires <= now { // N-036
		return false
	}
	if l.kinds != nil {
		if _, ok := slices.BinarySearch(l.kinds, k.kind); !ok {
			return false
		}
	}
	if l.authors != nil {
		if _, ok := slices.BinarySearchFunc(l.authors, k.author, func(a, b id32) int { return slices.Compare(a[:], b[:]) }); !ok {
			return false
		}
	}
	for _, set := range l.tags {
		if !k.has(set) {
			return false
		}
	}
	return true
}

// maxFill is how many ranges are read into memory for one question.
const maxFill = 16

// remember reads into memory the ranges that answer q, and answers it from them. It reports false if
// they are not worth it, or do not reach far enough.
func (r *reader) remember(ctx context.Context, s *Store, q *query, limit, short int, now int64) ([]*kept, bool, error) {
	if q.match != "" || s.recall.most < 0 || limit > maxKept || short >= maxKept || q.until != maxTime {
		return nil, false, nil
	}
	var best dimension
	if q.ids != nil {
		best = dimension{scan: scanID}
		for _, id := range q.ids {
			best.args = append(best.args, []any{id[:]})
		}
	} else {
		var err error
		if best, err = r.choose(ctx, q); err != nil {
			return nil, false, err
		}
	}
	if len(best.args) == 0 || len(best.args) > maxFill {
		return nil, false, nil
	}
	left := leftover{q.authors, q.kinds, q.tags}
	best.passedBy(&left)
	n := 4 * limit
	if len(left.tags) == 0 && left.authors == nil && left.kinds == nil {
		n = limit + limit/4
		if len(best.args) > 1 {
			n = 2 * limit / len(best.args)
		}
	}
	n = min(max(n, 4*short, 32), maxKept)
	keys := best.keysOf()
	if q.ids != nil {
		for i, id := range q.ids {
			keys[i] = rangeKey{by: byID, key: string(id[:])}
		}
	}
	ranges, err := s.recall.fill(ctx, r, s.tray, best, keys, n)
	if err != nil {
		return nil, false, err
	}
	found, ok := walkKept(ctx, q, ranges, left, limit, now)
	return found, ok, nil
}

// passedBy takes from left what the dimension sees to.
func (d dimension) passedBy(left *leftover) {
	if d.auth {
		left.authors = nil
	}
	if d.kind {
		left.kinds = nil
	}
	if d.set != nil {
		left.tags = slices.DeleteFunc(slices.Clone(left.tags), func(s tagSet) bool { return s.letter == d.set.letter })
	}
}

// renew takes a newer snapshot.
func (r *reader) renew(ctx context.Context) error {
	always := context.WithoutCancel(ctx)
	if err := r.exec(always, "ROLLBACK"); err != nil {
		return err
	}
	return r.exec(always, "BEGIN")
}

// scanID looks as the other scans do, for one event at most.
const scanID = `SELECT created_at, id, seq, kind, expires FROM events INDEXED BY events_id WHERE shelf = 2 AND id = ?5
	AND created_at <= ?1 AND ?2 IS NOT NULL AND created_at >= ?3 LIMIT ?4+0`

// newest reads the first n entries of a range with their events. Those that are in memory already
// are not read again.
func (r *reader) newest(ctx context.Context, m *recall, d dimension, args []any, n int) (*keptRange, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	st := stream{reader: r, scan: d.scan, args: args, at: maxTime, since: minTime, size: n}
	if err := st.turn(ctx); err != nil {
		return nil, err
	}
	rg := &keptRange{complete: len(st.page) < n, entries: make([]*kept, 0, len(st.page))}
	size := 0
	for i, c := range st.page {
		if i%64 == 63 {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		}
		k := m.known(c.id)
		if k == nil {
			k = &kept{candidate: c, hex: c.id.id()}
			found, err := r.row(sqlRecall, []any{c.seq, c.id[:]}, &k.author, &k.raw)
			if err != nil {
				return nil, err
			}
			if !found {
				continue // the index names an event that is not there
			}
		}
		rg.entries = append(rg.entries, k)
		if size += len(k.raw); size > m.most/16 {
			rg.complete = rg.complete && i == len(st.page)-1
			break
		}
	}
	return rg, nil
}

const sqlRecall = `SELECT pubkey, raw FROM events WHERE seq = ?1 AND id = ?2`

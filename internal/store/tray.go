package store

import (
	"context"
	"slices"
	"sort"
	"sync"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/steward"
)

// A tray holds events that are on disk whole, one behind the other in a table of their own, but not
// yet filed: not in the table of events, its indexes and the table of tags. To file one event touches
// a dozen pages here and there; to lay it on the tray touches one, that others share. So when many
// come at once each is on disk, answered and found soon, and the filing follows when there is time,
// or when the tray is nearly full (filing.go).
//
// Only plain events are laid on the tray: served, one of a kind, without an expiry, and no part of a
// View. Whoever reads the database looks at the tray first and at a snapshot then: an event that is
// filed in between is found twice, with the same id, and never not at all. A change that removes events
// files first those that it may mean, and who searches has those filed first that have words: so there is
// one index of words and one measure of what fits. After a crash the table is read into memory again.
type tray struct {
	most int // events; negative if none is ever laid there

	// mu guards the rest.
	mu      sync.RWMutex
	rows    map[id32]*trayed
	queue   []*trayed            // oldest arrival first
	worded  []*trayed            // of these, those with words, in the same order
	came    int64                // how many ever came
	lists   map[rangeKey][]*kept // all of the tray that is in this range, oldest event first
	tallies map[steward.Charge]int
	bytes   int
	era     int // odd while events are filed
}

// A trayed is one event on the tray. It does not change.
type trayed struct {
	row  *row
	kept *kept
	n    int64 // in the table
	came int64 // the how manieth it is
}

const (
	maxTray      = 16384    // events
	maxTrayBytes = 16 << 20 // of their JSON and their words
)

func newTray(most int) *tray {
	return &tray{
		most: most, rows: make(map[id32]*trayed), lists: make(map[rangeKey][]*kept), tallies: make(map[steward.Charge]int),
	}
}

// fits reports whether p is nothing but a plain event.
func (p *plan) fits() bool {
	r := p.put
	return r != nil && r.shelf == grasp.Served && !r.versioned && r.expires == nil && len(r.subjects) == 0 &&
		!desks(r.kind) && p.book == nil &&
		len(p.release)+len(p.drop)+len(p.extend)+len(p.tombs)+len(p.repos)+len(p.weighed)+len(p.orphans)+len(p.moves)+len(p.jobs) == 0 &&
		p.unsettled == "" && p.settled == ""
}

// desks reports whether events of kind mean something to the desk, which asks the tables for them.
func desks(kind int) bool {
	switch kind {
	case grasp.KindAnnouncement, grasp.KindState, grasp.KindPull, grasp.KindPullUpdate, grasp.KindDeletion, grasp.KindVanish:
		return true
	}
	return false
}

// hasWords reports whether r is in the index of words once it is filed.
func (r *row) hasWords() bool { return len(r.words.Title)+len(r.words.Text) > 0 }

// burden is about how many bytes r takes on the tray.
func (r *row) burden() int {
	n := len(r.raw)
	for _, list := range [][]string{r.words.Title, r.words.Text} {
		for _, w := range list {
			n += len(w) + 16
		}
	}
	return n
}

func newTrayed(r *row, n int64) *trayed {
	k := &kept{candidate: candidate{at: r.at, id: r.id, kind: r.kind}, author: r.author, hex: r.id.id(), raw: r.raw}
	k.mem = k
	k.keys.Store(&r.keys)
	return &trayed{row: r, kept: k, n: n}
}

// rangesOf names every range that an event is in.
func rangesOf(r *row) []rangeKey {
	author := string(r.author[:])
	out := make([]rangeKey, 0, 4+len(r.keys))
	out = append(out, rangeKey{by: byTime}, rangeKey{by: byKind, kind: r.kind}, rangeKey{by: byAuthor, key: author},
		rangeKey{by: byAuthorKind, kind: r.kind, key: author})
	for _, key := range r.keys {
		out = append(out, rangeKey{by: byTag, key: string(key)})
	}
	return out
}

// add lays events on the tray that were just committed.
func (t *tray) add(list []*trayed) {
	if len(list) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, one := range list {
		t.came++
		one.came = t.came
		t.rows[one.row.id] = one
		t.queue = append(t.queue, one)
		if one.row.hasWords() {
			t.worded = append(t.worded, one)
		}
		t.bytes += one.row.burden()
		for _, c := range one.row.charges {
			t.tallies[c]++
		}
		for _, key := range rangesOf(one.row) {
			old := t.lists[key]
			if n := len(old); n == 0 || one.kept.before(old[n-1].candidate) {
				t.lists[key] = append(old, one.kept)
				continue
			}
			at := sort.Search(len(old), func(i int) bool { return old[i].before(one.kept.candidate) })
			t.lists[key] = slices.Insert(old, at, one.kept)
		}
	}
}

// take removes events that were filed.
func (t *tray) take(list []*trayed) {
	if len(list) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	touched := make(map[rangeKey]struct{})
	for _, one := range list {
		if t.rows[one.row.id] != one {
			continue
		}
		delete(t.rows, one.row.id)
		one.kept.filed = true
		t.bytes -= one.row.burden()
		for _, c := range one.row.charges {
			if t.tallies[c]--; t.tallies[c] == 0 {
				delete(t.tallies, c)
			}
		}
		for _, key := range rangesOf(one.row) {
			touched[key] = struct{}{}
		}
	}
	for key := range touched {
		if rest := slices.DeleteFunc(t.lists[key], func(k *kept) bool { return k.filed }); len(rest) > 0 {
			t.lists[key] = rest
		} else {
			delete(t.lists, key)
		}
	}
	filed := func(one *trayed) bool { return one.kept.filed }
	t.queue = slices.DeleteFunc(t.queue, filed)
	t.worded = slices.DeleteFunc(t.worded, filed)
}

// begin and end stand around the moment in which what was filed comes to be seen.
func (t *tray) begin() { t.turn() }
func (t *tray) end()   { t.turn() }

func (t *tray) turn() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.era++
}

// steady returns a number that changes when something is filed, and false while that happens.
func (t *tray) steady() (era int, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.era, t.era%2 == 0
}

func (t *tray) len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.rows)
}

// room reports whether more may be laid on the tray, besides so many and so many bytes.
func (t *tray) room(more, bytes int) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.rows)+more < t.most && t.bytes+bytes < maxTrayBytes
}

// full reports whether it is time to file, whatever else is to be done.
func (t *tray) full() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.rows) > t.most/4*3 || t.bytes > maxTrayBytes/4*3
}

// get returns the event with this id, or nil.
func (t *tray) get(id id32) *trayed {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.rows[id]
}

// oldest returns the first n that came, or of those with words.
func (t *tray) oldest(n int, words bool) []*trayed {
	t.mu.RLock()
	defer t.mu.RUnlock()
	list := t.queue
	if words {
		list = t.worded
	}
	return slices.Clone(list[:min(n, len(list))])
}

// words returns how many events ever came, and whether any that came among the first upto has words and
// is still here.
func (t *tray) words(upto int64) (came int64, some bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.came, len(t.worded) > 0 && t.worded[0].came <= upto
}

// by returns the events of an author.
func (t *tray) by(author id32) (out []*trayed) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, k := range t.lists[rangeKey{by: byAuthor, key: string(author[:])}] {
		out = append(out, t.rows[k.id])
	}
	return out
}

// newestOf returns what the tray has of each of ranges, newest first.
func (t *tray) newestOf(ranges []rangeKey) [][]*kept {
	out := make([][]*kept, len(ranges))
	t.mu.RLock()
	defer t.mu.RUnlock()
	for i, key := range ranges {
		list := t.lists[key]
		if key.by == byID {
			if one := t.rows[id32([]byte(key.key))]; one != nil {
				list = []*kept{one.kept}
			}
		}
		out[i] = slices.Clone(list)
		slices.Reverse(out[i])
	}
	return out
}

// match returns the first limit events of q that are on the tray, newest first; nothing if ctx has ended meanwhile.
func (t *tray) match(ctx context.Context, q *query, limit int, now int64) []*kept {
	if t.len() == 0 || q.match != "" { // what has words was filed
		return nil
	}
	best := way{keys: []rangeKey{{by: byTime}}, left: leftover{q.authors, q.kinds, q.tags}}
	if q.ids != nil {
		best.keys = best.keys[:0]
		for _, id := range q.ids {
			best.keys = append(best.keys, rangeKey{by: byID, key: string(id[:])})
		}
	} else {
		least := t.len()
		for _, w := range q.ways() {
			if n := t.count(w.keys); n <= least {
				best, least = w, n
			}
		}
	}
	var ranges []*keptRange
	for _, list := range t.newestOf(best.keys) {
		if len(list) > 0 {
			ranges = append(ranges, &keptRange{entries: list, complete: true})
		}
	}
	found, _ := walkKept(ctx, q, ranges, best.left, limit, now)
	return found
}

func (t *tray) count(ranges []rangeKey) (n int) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, key := range ranges {
		n += len(t.lists[key])
	}
	return n
}

// related reports whether an event on the tray connects to the one that q asks about (G01-801).
func (t *tray) related(q steward.Question) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if len(t.rows) == 0 {
		return false
	}
	for _, v := range q.IDs {
		if id, ok := parse32(v); ok && t.rows[id] != nil {
			return true
		}
	}
	names := func(letters, value string) bool {
		for _, l := range []byte(letters) {
			if len(t.lists[rangeKey{by: byTag, key: string(tagKey(l, value))}]) > 0 {
				return true
			}
		}
		return false
	}
	return names("eEq", string(q.ID)) || q.Coordinate != "" && names("aAq", q.Coordinate)
}

// named reports whether an event on the tray is named by ids.
func (t *tray) named(ids []string) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if len(t.rows) == 0 {
		return false
	}
	return slices.ContainsFunc(ids, func(v string) bool {
		id, ok := parse32(v)
		return ok && t.rows[id] != nil
	})
}

// tally adds to counts how many events on the tray count for each of list.
func (t *tray) tally(list []steward.Charge, counts []int) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for i, c := range list {
		counts[i] += t.tallies[c]
	}
}

// entry returns the event as the ledger tells it.
func (one *trayed) entry() (steward.Entry, error) {
	r := one.row
	e := steward.Entry{Raw: r.raw, Shelf: r.shelf, Source: r.source}
	if at, ok := r.received.(int64); ok {
		e.Received = fromNanos(&at)
	}
	ev, err := r.event()
	e.Event = ev
	return e, err
}

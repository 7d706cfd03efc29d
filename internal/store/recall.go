package store

import (
	"context"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/steward"
)

// A recall keeps in memory the ranges of indexes that were asked for lately, with the events in
// them, so that what many ask again and again costs no statement. It holds what is served and
// nothing else (N-045), in a bounded number of bytes, and the writer brings it up to date after each
// transaction, before anybody is told that it is done: a range that is here is never behind what was
// acknowledged. Losing any of it loses nothing but time.
//
// A range that is being read from the database stands there empty meanwhile, with filling set. If
// the writer touches it before it is full, what was read may be old, and is not kept.
type recall struct {
	most int // bytes

	tick atomic.Int64

	// mu guards the rest. The entries of a range are never changed in place: who was given them
	// may read them without mu.
	mu     sync.RWMutex
	ranges map[rangeKey]*keptRange
	events map[id32]*kept // by id, those in any range
	bytes  int

	// served holds coordinates of which a version is served, with when that expires: what nearly
	// every event is related by (G01-801). left counts the versions that went.
	served map[string]*int64
	left   int

	// tallies are how many events count for what lately counted; asked are those of which the database
	// is being asked, by so many.
	tallies map[steward.Charge]int
	asked   map[steward.Charge]asking
	behind  map[steward.Charge]struct{} // for which what was committed may be seen, and was not learned yet

	// threads are served events that others answer.
	threads map[id32]steward.Thread
}

// An asking is about one tally that is not known here.
type asking struct {
	by  int
	old bool // it changed since somebody began
}

// maxServed bounds served, and threads; beyond it all of these are forgotten. maxTallies bounds tallies,
// which are small, and of which each event has several.
const (
	maxServed  = 8192
	maxTallies = 4 * maxServed
)

// The ways to find an event, each an index.
const (
	byTime = iota
	byID
	byKind
	byAuthor
	byAuthorKind
	byTag
)

// A rangeKey names one range of one index.
type rangeKey struct {
	by   byte
	kind int
	key  string // the id, the author or the key of the tag
}

// A keptRange is the newest part of a range, newest first.
type keptRange struct {
	entries  []*kept
	complete bool // nothing older is in the range
	filling  bool
	dirty    bool // of one that is filling: the writer was here
	used     atomic.Int64
}

// A kept is one served event.
type kept struct {
	candidate
	author id32
	hex    grasp.EventID
	raw    []byte
	keys   atomic.Pointer[[][]byte] // tagKeys; made when they are first asked for
	refs   int                      // ranges that hold it; recall.mu guards it
	filed  bool                     // of one that lay on the tray; tray.mu guards it
}

const (
	maxKept = 512 // entries of one range

	// What things cost beside their bytes: headers, keys of maps, the parsed tags.
	rangeCost = 256
	entryCost = 8
	eventCost = 512
)

func (k *kept) cost() int { return eventCost + len(k.raw)*3/2 }

// has reports whether the event has a tag of set.
func (k *kept) has(set tagSet) bool {
	keys := k.keys.Load()
	if keys == nil {
		var ev nostr.Event
		if ev.UnmarshalJSON(k.raw) != nil {
			return false
		}
		list := tagKeys(&ev)
		keys = &list
		k.keys.Store(keys)
	}
	for _, want := range set.keys {
		if contains(*keys, want) {
			return true
		}
	}
	return false
}

func newRecall(most int) *recall {
	return &recall{most: most, ranges: make(map[rangeKey]*keptRange), events: make(map[id32]*kept), served: make(map[string]*int64), tallies: make(map[steward.Charge]int), asked: make(map[steward.Charge]asking), threads: make(map[id32]steward.Thread)}
}

// A happening is what one row of a transaction means for what is remembered.
type happening struct {
	row  *row
	gone bool // it is not served any more
}

// A lesson is what one change means for what is remembered.
type lesson struct {
	news       []happening
	counted    []steward.Charge // of events that came
	discounted bool             // an event went, whatever it counted for
	laid       []*trayed        // on the tray
	filed      []*trayed        // from the tray
	ended      []jobEnd         // jobs
}

// learn brings what is remembered up to date with what was just committed.
func (m *recall) learn(l lesson) {
	if len(l.news) == 0 && len(l.counted) == 0 && !l.discounted {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.discounted {
		m.left++
		m.recount()
	}
	for _, c := range l.counted {
		if n, ok := m.tallies[c]; ok {
			m.tallies[c] = n + 1
		} else if a, ok := m.asked[c]; ok {
			a.old = true
			m.asked[c] = a
		}
	}
	for _, h := range l.news {
		r := h.row
		if h.gone {
			delete(m.threads, r.id)
		}
		if r.versioned {
			m.anchor(coordinate(r.kind, r.author, r.d, true), h)
		}
		var k *kept // made if a range wants it
		touch := func(key rangeKey) {
			rg := m.ranges[key]
			switch {
			case rg == nil:
			case rg.filling:
				rg.dirty = true
			case h.gone:
				m.take(rg, r.id)
			default:
				if k == nil {
					k = m.kept(r)
				}
				m.insert(rg, k)
			}
		}
		author := string(r.author[:])
		touch(rangeKey{by: byTime})
		touch(rangeKey{by: byID, key: string(r.id[:])})
		touch(rangeKey{by: byKind, kind: r.kind})
		touch(rangeKey{by: byAuthor, key: author})
		touch(rangeKey{by: byAuthorKind, kind: r.kind, key: author})
		for _, key := range r.keys {
			touch(rangeKey{by: byTag, key: string(key)})
		}
	}
	m.shrink()
}

// forget drops everything: it is not known what is in the database.
func (m *recall) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.events)
	clear(m.served)
	m.recount()
	clear(m.threads)
	m.left++
	m.bytes = 0
	for key, rg := range m.ranges {
		if rg.dirty = true; rg.filling {
			m.bytes += rangeCost
		} else {
			delete(m.ranges, key)
		}
	}
}

// kept returns the event of r as it is kept, the one in another range if there is one.
func (m *recall) kept(r *row) *kept {
	if k := m.events[r.id]; k != nil {
		return k
	}
	k := &kept{candidate: candidate{at: r.at, id: r.id, seq: r.seq, kind: r.kind}, author: r.author, hex: r.id.id(), raw: r.raw}
	if at, ok := r.expires.(int64); ok {
		k.expires = &at
	}
	keys := r.keys
	k.keys.Store(&keys)
	return k
}

// hold counts that one more range has k.
func (m *recall) hold(k *kept) {
	m.bytes += entryCost
	if k.refs++; k.refs == 1 {
		m.events[k.id] = k
		m.bytes += k.cost()
	}
}

func (m *recall) let(k *kept) {
	m.bytes -= entryCost
	if k.refs--; k.refs == 0 {
		delete(m.events, k.id)
		m.bytes -= k.cost()
	}
}

// place returns where in entries c stands or would stand.
func place(entries []*kept, c candidate) (int, bool) {
	return slices.BinarySearchFunc(entries, c, func(k *kept, c candidate) int {
		switch {
		case k.id == c.id && k.at == c.at:
			return 0
		case k.before(c):
			return -1
		}
		return 1
	})
}

func (m *recall) insert(rg *keptRange, k *kept) {
	at, there := place(rg.entries, k.candidate)
	if there || at == len(rg.entries) && !rg.complete {
		return // older than what is known of the range
	}
	entries := make([]*kept, 0, len(rg.entries)+8)
	entries = append(append(append(entries, rg.entries[:at]...), k), rg.entries[at:]...)
	m.hold(k)
	if len(entries) > maxKept {
		for _, old := range entries[maxKept:] {
			m.let(old)
		}
		entries, rg.complete = entries[:maxKept:maxKept], false
	}
	rg.entries = entries
}

// take removes an event from a range. What is left is still its newest part.
func (m *recall) take(rg *keptRange, id id32) {
	at := slices.IndexFunc(rg.entries, func(k *kept) bool { return k.id == id })
	if at < 0 {
		return
	}
	m.let(rg.entries[at])
	rg.entries = append(slices.Clone(rg.entries[:at]), rg.entries[at+1:]...)
}

// shrink lets go of ranges that were not used for long, until the rest fits. Who is looked at is
// chance, as the order of a map is.
func (m *recall) shrink() {
	for m.bytes > m.most {
		var worst rangeKey
		var oldest *keptRange
		looked := 0
		for key, rg := range m.ranges {
			if rg.filling {
				continue
			}
			if oldest == nil || rg.used.Load() < oldest.used.Load() {
				worst, oldest = key, rg
			}
			if looked++; looked == 8 {
				break
			}
		}
		if oldest == nil {
			return
		}
		m.drop(worst, oldest)
	}
}

func (m *recall) drop(key rangeKey, rg *keptRange) {
	for _, k := range rg.entries {
		m.let(k)
	}
	delete(m.ranges, key)
	m.bytes -= rangeCost
}

// fill reads the newest n entries of a range, and keeps them if nothing happened meanwhile. The writer
// is asked to tell what happens first; then comes the tray, and a new snapshot of the database last.
func (m *recall) fill(ctx context.Context, r *reader, t *tray, q dimension, keys []rangeKey, n int) ([]*keptRange, error) {
	mine := m.announce(keys)
	done := make([]*keptRange, 0, len(keys))
	onTray := t.newestOf(keys)
	err := r.renew(ctx)
	if err == nil {
		for i := range keys {
			var rg *keptRange
			if rg, err = r.newest(ctx, m, q, q.args[i], n); err != nil {
				break
			}
			rg.join(onTray[i])
			done = append(done, rg)
		}
	}
	m.settle(keys, mine, done)
	if err != nil {
		return nil, err
	}
	return done, nil
}

// join adds what is on the tray, newest first.
func (rg *keptRange) join(list []*kept) {
	if !rg.complete {
		if len(rg.entries) == 0 {
			return
		}
		end := rg.entries[len(rg.entries)-1]
		list = list[:sort.Search(len(list), func(i int) bool { return !list[i].before(end.candidate) })]
	}
	if len(list) == 0 {
		return
	}
	all := make([]*kept, 0, len(rg.entries)+len(list))
	for rest := rg.entries; len(rest)+len(list) > 0; {
		switch {
		case len(rest) == 0 || len(list) > 0 && list[0].before(rest[0].candidate):
			all, list = append(all, list[0]), list[1:]
		case len(list) > 0 && list[0].id == rest[0].id: // filed meanwhile
			list = list[1:]
		default:
			all, rest = append(all, rest[0]), rest[1:]
		}
	}
	if len(all) > maxKept {
		all, rg.complete = all[:maxKept:maxKept], false
	}
	rg.entries = all
}

// announce puts a place for each of keys that is not being filled by somebody else.
func (m *recall) announce(keys []rangeKey) []*keptRange {
	mine := make([]*keptRange, len(keys))
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, key := range keys {
		old := m.ranges[key]
		if old != nil && old.filling {
			continue
		}
		if old != nil {
			m.drop(key, old)
		}
		mine[i] = &keptRange{filling: true}
		m.ranges[key] = mine[i]
		m.bytes += rangeCost
	}
	return mine
}

// settle puts what was read into the places, where it is still true.
func (m *recall) settle(keys []rangeKey, mine, done []*keptRange) {
	now := m.tick.Add(1)
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, rg := range mine {
		if rg == nil {
			continue
		}
		if i >= len(done) || rg.dirty {
			delete(m.ranges, keys[i])
			m.bytes -= rangeCost
			continue
		}
		for j, k := range done[i].entries {
			if other := m.events[k.id]; other != nil {
				k = other
				done[i].entries[j] = k
			}
			m.hold(k)
		}
		done[i].used.Store(now)
		m.ranges[keys[i]] = done[i]
	}
	m.shrink()
}

// anchor notes that a version of a coordinate came or went.
func (m *recall) anchor(coordinate string, h happening) {
	if h.gone {
		m.left++
		delete(m.served, coordinate)
		return
	}
	expires, _ := h.row.expires.(int64)
	m.serve(coordinate, &expires)
}

func (m *recall) serve(coordinate string, expires *int64) {
	if len(m.served) >= maxServed {
		clear(m.served)
	}
	if expires != nil && *expires == 0 {
		expires = nil
	}
	m.served[coordinate] = expires
}

// departures returns a number that changes whenever a version goes.
func (m *recall) departures() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.left
}

// anchored notes what the database said after departures returned before.
func (m *recall) anchored(coordinate string, expires *int64, before int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left == before {
		m.serve(coordinate, expires)
	}
}

// recount forgets every tally.
func (m *recall) recount() {
	clear(m.tallies)
	for c, a := range m.asked {
		a.old = true
		m.asked[c] = a
	}
}

// tally returns how many events count for each of list, and for which of them that is not known here.
func (m *recall) tally(list []steward.Charge) (out, missing []int) {
	out = make([]int, len(list))
	m.mu.RLock()
	defer m.mu.RUnlock()
	for i, c := range list {
		n, ok := m.tallies[c]
		if out[i] = n; !ok {
			missing = append(missing, i)
		}
	}
	return out, missing
}

// asks is called before the database is asked for the tallies of list, and tallied afterwards.
func (m *recall) asks(list []steward.Charge) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range list {
		a := m.asked[c]
		a.by++
		m.asked[c] = a
	}
}

// lag says for which charges what is committed may be ahead of what was learned.
func (m *recall) lag(list map[steward.Charge]struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.behind = list
}

// tallied notes what the database said, if sure, of what did not change since anybody asked who has no
// answer yet. What is still to be learned may be in it already, and would count twice.
func (m *recall) tallied(list []steward.Charge, counts []int, sure bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.tallies)+len(list) > maxTallies {
		clear(m.tallies)
	}
	for i, c := range list {
		a := m.asked[c]
		if _, behind := m.behind[c]; sure && !a.old && !behind {
			m.tallies[c] = counts[i]
		}
		if a.by--; a.by == 0 {
			delete(m.asked, c)
		} else {
			m.asked[c] = a
		}
	}
}

// anchors reports whether it is known here that a served event is named by q (G01-801).
func (m *recall) anchors(q steward.Question, now int64) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, c := range q.Addrs {
		if expires, ok := m.served[c]; ok && (expires == nil || *expires > now) {
			return true
		}
	}
	for _, v := range q.IDs {
		if id, ok := parse32(v); ok {
			if k := m.events[id]; k != nil && (k.expires == nil || *k.expires > now) {
				return true
			}
		}
	}
	return false
}

// known returns the entry of an event that some range has.
func (m *recall) known(id id32) *kept {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.events[id]
}

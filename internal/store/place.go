package store

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/gitroost/gitroost/internal/search"
)

// When the tray is nearly full, thousands of events are filed together: table by table, and their tags in
// the order of the keys, so that a page which several of them touch is looked for once and written once.
// Whoever publishes meanwhile must not wait for all of that, so it is done in steps, each a transaction:
// first the events themselves, some at a time, and when all of them are there their tags, some at a time.
//
// An event whose own row is written is half filed. It stays on the tray until its last tag is written, so
// it is found whole by whoever reads: there, and perhaps once more in the database. Only who counts the rows of
// an index has to know (tray.amid). After a crash what is half filed is found by its id and filed on.
const (
	lotEvents   = 2048 // events that are filed together
	stepEvents  = 768  // of these, in one step
	stepBatch   = 256  // more changes at once than this have more steps follow: fewer come than are filed
	stepEntries = 5120 // tags in one step, at least: there are as many steps for tags as for events at most
)

// lotSizes bound a lot and its steps; tests have smaller ones, and still if nothing is filed by itself.
type lotSizes struct {
	events, step, entries int
	still                 bool
}

// A lot is the events that are filed together now, the oldest of the tray. It is changed by making another.
type lot struct {
	list []*trayed
	put  int        // so many of list are half filed
	tags []tagEntry // once all are: those to be written, in order
	each int        // so many of these in one step
}

// A tagEntry is one row of the table of tags.
type tagEntry struct {
	key []byte
	row *row
	one *trayed
}

// A halfway is an event that is half filed, with its number in row.
type halfway struct {
	one *trayed
	row *row
}

// step goes on with the lot at hand, or begins one.
func (a *applier) step() error {
	l := a.lot
	if len(l.list) == 0 {
		l = lot{list: a.tray.oldest(a.sizes.events, false)}
	}
	if len(l.list) == 0 {
		return nil
	}
	a.lesson.lot = &l
	if l.put < len(l.list) {
		some := l.list[l.put:min(l.put+a.sizes.step, len(l.list))]
		if _, err := a.putAll(some); err != nil {
			return err
		}
		if l.put += len(some); l.put == len(l.list) {
			rows := make([]halfway, 0, len(l.list))
			for _, one := range l.list {
				if r := a.halved(one); r != nil {
					rows = append(rows, halfway{one, r})
				}
			}
			l.tags = tagsOf(rows)
			steps := (len(l.list) + a.sizes.step - 1) / a.sizes.step
			l.each = max(a.sizes.entries, (len(l.tags)+steps-1)/steps)
		}
		return nil
	}
	some := l.tags[:min(l.each, len(l.tags))]
	l.tags = l.tags[len(some):]
	if err := a.tagAll(some); err != nil || len(l.tags) > 0 {
		return err
	}
	upto := a.upTo(l.list)
	for _, one := range l.list {
		if a.rests(one) {
			a.placed(one)
		}
	}
	l = lot{}
	return a.exec(a.ctx, sqlFiledUpTo, upto)
}

// rests reports whether one is on the tray still, as far as this transaction.
func (a *applier) rests(one *trayed) bool { return !a.filed[one] && a.tray.get(one.row.id) == one }

// halved returns the row of an event that is half filed, or nil.
func (a *applier) halved(one *trayed) *row {
	if r := a.nowHalf[one]; r != nil {
		return r
	}
	return a.half[one]
}

// place puts events where they belong, but for those that this transaction filed already.
func (a *applier) place(list []*trayed) error {
	list = slices.DeleteFunc(slices.Clone(list), func(one *trayed) bool { return a.filed[one] })
	rows, err := a.putAll(list)
	if err != nil {
		return err
	}
	if err := a.tagAll(tagsOf(rows)); err != nil {
		return err
	}
	for _, one := range list {
		a.placed(one)
	}
	return nil
}

// placed notes that one is filed: from now on it counts in the database.
func (a *applier) placed(one *trayed) {
	for _, c := range one.row.charges {
		a.count(c, 1)
	}
	a.filed[one] = true
	a.lesson.filed = append(a.lesson.filed, one)
}

// putAll half files those of list that are not, and returns all of them but those that are filed.
func (a *applier) putAll(list []*trayed) (all []halfway, err error) {
	all = make([]halfway, 0, len(list))
	fresh := make([]*row, 0, len(list))
	for _, one := range list {
		if a.filed[one] || a.laid[one.row.id] != one && !a.rests(one) {
			continue
		}
		r := a.halved(one)
		if r == nil {
			own := *one.row // others read that one
			r = &own
			if err := a.putRow(sqlPut, r); err != nil {
				return nil, err
			}
			fresh = append(fresh, r)
			a.nowHalf[one] = r
		}
		all = append(all, halfway{one, r})
	}
	var args []any
	for some := range slices.Chunk(fresh, maxManyRows) {
		args = args[:0]
		for _, r := range some {
			if len(r.charges) > 0 {
				args = append(args, r.seq, joinCharges(r.charges))
			}
		}
		if len(args) > 0 {
			if err := a.exec(a.ctx, insertCharges[len(args)/2], args...); err != nil {
				return nil, err
			}
		}
		args = args[:0]
		for _, r := range some {
			if r.hasWords() {
				args = append(args, r.seq, search.Join(r.words.Title), search.Join(r.words.Text))
			}
		}
		if len(args) > 0 {
			if err := a.exec(a.ctx, insertWords[len(args)/3], args...); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// tagsOf returns the tags of events, in the order of their table.
func tagsOf(list []halfway) []tagEntry {
	var tags []tagEntry
	for _, h := range list {
		for _, key := range h.row.keys {
			tags = append(tags, tagEntry{key, h.row, h.one})
		}
	}
	slices.SortFunc(tags, func(x, y tagEntry) int {
		if c := bytes.Compare(x.key, y.key); c != 0 {
			return c
		}
		return cmp.Compare(y.row.at, x.row.at) // the newest first
	})
	return tags
}

// tagAll writes tags, but for those of events that were filed, and perhaps removed, since the lot began.
func (a *applier) tagAll(tags []tagEntry) error {
	var args []any
	for some := range slices.Chunk(tags, maxManyRows) {
		args = args[:0]
		for _, e := range some {
			if !a.filed[e.one] && (a.laid[e.row.id] == e.one || a.rests(e.one)) {
				args = append(args, e.key, e.row.at, e.row.id[:], e.row.seq, e.row.kind, e.row.expires)
			}
		}
		if len(args) > 0 {
			if err := a.exec(a.ctx, insertManyTags[len(args)/6], args...); err != nil {
				return err
			}
		}
	}
	return nil
}

// learn notes what a committed transaction did with what is half filed.
func (w *writer) learn(l lesson) {
	if l.lot != nil {
		w.lot = *l.lot
	}
	for _, one := range l.filed {
		delete(w.half, one)
	}
}

// recoverHalf finds out which of list, the events of the tray, are half filed.
func (w *writer) recoverHalf(list []*trayed) error {
	for _, one := range list {
		var seq int64
		ok, err := w.row(`SELECT seq FROM events WHERE id = ?1`, []any{one.row.id[:]}, &seq)
		if err != nil {
			return err
		}
		if ok {
			r := *one.row
			r.seq = seq
			w.half[one] = &r
		}
	}
	w.tray.setAmid(len(w.half) > 0)
	return nil
}

// maxManyRows is how many rows of several events one statement adds at most.
const maxManyRows = 32

// The statements that add so many rows of several events. Their parameters have no numbers: the driver
// looks for the name of each, and those with numbers have one.
var (
	insertManyTags = manyRows(`INSERT OR IGNORE INTO tags (key, created_at, id, event, kind, expires) VALUES `, 6, "")
	insertCharges  = manyRows(`REPLACE INTO event_charges (event, list) VALUES `, 2, "")
	insertWords    = manyRows(`REPLACE INTO search (rowid, title, body) VALUES `, 3, "")
	insertTallies  = manyRows(`INSERT INTO tallies (charge, n) VALUES `, 2, ` ON CONFLICT DO UPDATE SET n = n + excluded.n`)
)

// manyRows returns the statements that begin with text, add 1 to maxManyRows rows of so many columns, and
// end with end.
func manyRows(text string, columns int, end string) (out [maxManyRows + 1]string) {
	row := "(?" + strings.Repeat(", ?", columns-1) + ")"
	for n := 1; n < len(out); n++ {
		text += row
		out[n] = text + end
		text += ", "
	}
	return out
}

package store

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/steward"
)

const (
	// Filing begins when nothing was written for fileAfter, or when the tray is nearly full.
	fileAfter = 250 * time.Millisecond
	fileRetry = 10 * time.Second // after a failure
	fileSome  = 128              // events in one transaction, and twice as many each time as long as nobody comes

	// When the tray is nearly full, more are filed at once: what touches one page together has it written
	// once. Others wait for that, too, but seldom; twice as many would save a tenth, and keep them waiting twice as long.
	fileMany = 1024
)

const (
	// Its first four parameters are those of coveringTomb.
	sqlTray = `INSERT INTO tray (received, source, charges, raw) SELECT ?5, ?6, ?7, ?8
		WHERE NOT EXISTS (SELECT 1 FROM events WHERE id = ?3) AND NOT ` + coveringTomb
	sqlFiled     = `DELETE FROM tray WHERE n = ?1`
	sqlFiledUpTo = `DELETE FROM tray WHERE n <= ?1`
)

// lay puts a plain event on the tray, and says in the receipt if it did not.
func (a *applier) lay(r *row) error {
	if a.onTray(r.id) != nil {
		a.receipt.Duplicate = true
		return nil
	}
	charges := joinCharges(r.charges)
	if len(charges) == 0 {
		charges = nothing
	}
	n, err := a.insert(a.ctx, sqlTray, r.author[:], r.at, r.id[:], nil, r.received, r.source, charges, r.raw)
	if err != nil {
		return err
	}
	if n == 0 {
		known, covered, err := a.before(r)
		switch {
		case err != nil:
			return err
		case known:
			a.receipt.Duplicate = true
			return nil
		case covered:
			return deleted
		}
		return errors.New("an event that is neither known nor deleted could not be put")
	}
	one := newTrayed(r, n)
	a.laid[r.id] = one
	a.laidBytes += r.burden()
	a.lesson.laid = append(a.lesson.laid, one)
	a.lesson.news = append(a.lesson.news, happening{row: r})
	a.lesson.counted = append(a.lesson.counted, r.charges...)
	return nil
}

// nothing stands for no charges: the driver makes NULL of an empty blob.
var nothing = []byte{0}

// onTray returns the event with this id that is on the tray, or was laid there in this transaction.
func (a *applier) onTray(id id32) *trayed {
	if one, ok := a.laid[id]; ok {
		return one // nil if it was filed since
	}
	if one := a.tray.get(id); one != nil && !a.filed[one] {
		return one
	}
	return nil
}

// fileFor files what p may remove: what it drops, and what those wrote whose events it buries.
func (a *applier) fileFor(p *plan) error {
	for _, id := range p.drop {
		if one := a.onTray(id); one != nil {
			if err := a.file(one); err != nil {
				return err
			}
		}
	}
	for i := range p.tombs {
		for _, one := range a.tray.by(p.tombs[i].by) {
			if err := a.file(one); err != nil {
				return err
			}
		}
		for _, one := range a.laid {
			if one != nil && one.row.author == p.tombs[i].by {
				if err := a.file(one); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// fileOldest files the first n events of the tray, or of those with words, less those that this
// transaction filed already.
func (a *applier) fileOldest(n int, words bool) error {
	list := a.tray.oldest(n, words)
	if len(list) == 0 {
		return nil
	}
	if words {
		for _, one := range list {
			if err := a.file(one); err != nil {
				return err
			}
		}
		return nil
	}
	rows := make([]*row, 0, len(list))
	for _, one := range list {
		if !a.filed[one] {
			r := *one.row // others read that one
			rows = append(rows, &r)
		}
	}
	if err := a.copyAll(rows); err != nil {
		return err
	}
	var upto int64 // of one that stood there until now: numbers behind the last are given again
	for _, one := range list {
		if !a.filed[one] {
			a.filed[one] = true
			a.lesson.filed = append(a.lesson.filed, one)
			upto = one.n
		}
	}
	return a.exec(a.ctx, sqlFiledUpTo, upto) // whatever came before is filed by now
}

// copyAll puts events where they belong, all of them in one table and then all in the next.
func (a *applier) copyAll(rows []*row) error {
	for _, r := range rows {
		if err := a.putRow(sqlPut, r); err != nil {
			return err
		}
	}
	if err := a.writeCharges(rows...); err != nil {
		return err
	}
	if err := a.index(rows...); err != nil {
		return err
	}
	return a.writeTags(rows...)
}

// maxManyRows is how many rows of several events one statement adds at most.
const maxManyRows = 32

// The statements that add so many rows of several events. Their parameters have no numbers: the driver
// looks for the name of each, and those with numbers have one.
var (
	insertTags    = manyRows(`INSERT OR IGNORE INTO tags (key, created_at, id, event, kind, expires) VALUES `, 6, "")
	insertCharges = manyRows(`REPLACE INTO event_charges (event, list) VALUES `, 2, "")
	insertWords   = manyRows(`REPLACE INTO search (rowid, title, body) VALUES `, 3, "")
	insertTallies = manyRows(`INSERT INTO tallies (charge, n) VALUES `, 2, ` ON CONFLICT DO UPDATE SET n = n + excluded.n`)
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

// file puts one event where it belongs, and takes it from the tray. For those who read nothing changes
// by it.
func (a *applier) file(one *trayed) error {
	if a.filed[one] {
		return nil
	}
	r := *one.row // others read that one
	if err := a.copyAll([]*row{&r}); err != nil {
		return err
	}
	if err := a.exec(a.ctx, sqlFiled, one.n); err != nil {
		return err
	}
	a.filed[one] = true
	if a.laid[one.row.id] == one {
		a.laid[one.row.id] = nil
	}
	a.lesson.filed = append(a.lesson.filed, one)
	return nil
}

// loadTray reads the tray into memory.
func (s *Store) loadTray(ctx context.Context) error {
	var list []*trayed
	err := s.writer.rows(ctx, `SELECT n, received, source, charges, raw FROM tray ORDER BY n`, nil, func(row scanner) error {
		var n int64
		var received *int64
		var charges []byte
		e := steward.Entry{Shelf: grasp.Served, Event: new(nostr.Event)}
		if err := row.Scan(&n, &received, &e.Source, &charges, &e.Raw); err != nil {
			return err
		}
		e.Received = fromNanos(received)
		e.Charges = splitCharges(charges)
		if err := e.Event.UnmarshalJSON(e.Raw); err != nil {
			return err
		}
		r, err := rowOf(&e)
		if err != nil {
			return err
		}
		list = append(list, newTrayed(r, n))
		return nil
	})
	s.tray.add(list)
	return err
}

// fileNow has the writer file some events, and reports whether that went well. It is called by the
// goroutine of the writer.
func (s *Store) fileNow(n int) bool {
	req := &request{plan: &plan{file: n}}
	s.writeBatch([]*request{req})
	if req.err != nil {
		s.cfg.Log.Warn("store: events cannot be filed now, they stay where they are", "err", req.err)
	}
	return req.err == nil
}

// fileAll files everything, for who reads by other ways than Query. The caller is not the writer.
func (s *Store) fileAll(ctx context.Context) error {
	for s.tray.len() > 0 {
		if err := s.haveFiled(ctx, &plan{file: fileSome}); err != nil {
			return err
		}
	}
	return nil
}

// fileWords files what has words and was there when it was called, if q searches: whoever was told OK is
// found (N-007).
func (s *Store) fileWords(ctx context.Context, q *query) error {
	if q.match == "" {
		return nil
	}
	upto, _ := s.tray.words(0)
	for {
		if _, some := s.tray.words(upto); !some {
			return nil
		}
		if err := s.haveFiled(ctx, &plan{file: fileSome, words: true}); err != nil {
			return err
		}
	}
}

// haveFiled has the writer do p, which files something.
func (s *Store) haveFiled(ctx context.Context, p *plan) error {
	req := &request{plan: p, done: make(chan struct{})}
	if err := s.enqueue(ctx, req); err != nil {
		return err
	}
	<-req.done
	return req.err
}

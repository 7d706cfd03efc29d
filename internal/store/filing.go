package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/steward"
)

const (
	// Filing begins when nothing was written for fileAfter, or when the tray is nearly full.
	fileAfter = 250 * time.Millisecond
	fileRetry = 10 * time.Second // after a failure
	fileSome  = 128              // events in one transaction; others wait for it
	fileAtEnd = 1024             // when nobody waits any more
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
	a.lesson.lot = new(lot) // of the one at hand some are filed now; the rest of it is known to be half filed
	upto := a.upTo(list)
	if err := a.place(list); err != nil {
		return err
	}
	return a.exec(a.ctx, sqlFiledUpTo, upto)
}

// upTo returns the number in the table of the tray of the last of list that is there, or 0. Whatever comes before
// it is of list too, if list is the oldest. Numbers behind it are given again.
func (a *applier) upTo(list []*trayed) int64 {
	for _, one := range slices.Backward(list) {
		if a.rests(one) {
			return one.n
		}
	}
	return 0
}

// file puts one event where it belongs, and takes it from the tray. For those who read nothing changes
// by it.
func (a *applier) file(one *trayed) error {
	if a.filed[one] {
		return nil
	}
	if err := a.place([]*trayed{one}); err != nil {
		return err
	}
	if a.laid[one.row.id] == one {
		a.laid[one.row.id] = nil
	}
	return a.exec(a.ctx, sqlFiled, one.n)
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
	if err != nil {
		return err
	}
	s.tray.add(list)
	return s.writer.recoverHalf(list)
}

// fileNow has the writer file some events, and reports whether that went well. It is called by the
// goroutine of the writer.
func (s *Store) fileNow(p *plan) bool {
	req := &request{plan: p}
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

package store

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
)

var errCharge = errors.New("a charge has another length")

// Thread is part of steward.Ledger.
func (s *Store) Thread(ctx context.Context, id grasp.EventID) (steward.Thread, error) {
	const op = "store: thread"
	b, ok := parse32(id)
	if !ok {
		return steward.Thread{}, nil
	}
	if th, ok := s.recall.thread(b); ok {
		return th, s.open(ctx, op)
	}
	done, err := s.asked.first(ctx, string(b[:]))
	if err != nil {
		return steward.Thread{}, fault.Wrap(op, err)
	}
	defer done()
	if th, ok := s.recall.thread(b); ok {
		return th, s.open(ctx, op)
	}
	before := s.recall.departures()
	if one := s.tray.get(b); one != nil {
		ev, err := one.row.event()
		if err != nil {
			return steward.Thread{}, fault.Wrap(op, err)
		}
		th := threadOf(ev, one.row.charges)
		s.recall.threaded(b, th, before)
		return th, s.open(ctx, op)
	}
	var th steward.Thread
	err = s.lend(ctx, op, func(ctx context.Context, r *reader) error {
		var seq int64
		var raw []byte
		if ok, err := r.row(sqlServed, []any{b[:]}, &seq, &raw); !ok || err != nil {
			return err
		}
		ev := new(nostr.Event)
		if err := ev.UnmarshalJSON(raw); err != nil {
			return err
		}
		charges, err := r.charges(ctx, seq)
		th = threadOf(ev, charges)
		return err
	})
	if err == nil && th.Served {
		s.recall.threaded(b, th, before)
	}
	return th, err
}

func threadOf(ev *nostr.Event, charges []steward.Charge) steward.Thread {
	_, addrs := grasp.Anchors(ev)
	return steward.Thread{Served: true, Kind: ev.Kind, Coordinate: grasp.CoordinateOf(ev), Charges: charges, Addrs: addrs}
}

// thread returns what is known of a served event.
func (m *recall) thread(id id32) (steward.Thread, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	th, ok := m.threads[id]
	return th, ok
}

// threaded notes what the database said after departures returned before.
func (m *recall) threaded(id id32, th steward.Thread, before int) {
	if len(th.Charges)+len(th.Addrs) > steward.MaxCharges {
		return // of such there are few
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left != before {
		return
	}
	if len(m.threads) >= maxServed {
		clear(m.threads)
	}
	m.threads[id] = th
}

// Tally returns how many events count for each of list.
func (s *Store) Tally(ctx context.Context, list []steward.Charge) ([]int, error) {
	const op = "store: tally"
	out, missing := s.recall.tally(list)
	if len(missing) > 0 {
		last := list[missing[len(missing)-1]] // the others are known to more
		done, err := s.asked.first(ctx, string(last[:]))
		if err != nil {
			return nil, fault.Wrap(op, err)
		}
		defer done()
		out, missing = s.recall.tally(list)
	}
	if len(missing) == 0 {
		return out, s.open(ctx, op)
	}
	asked := make([]steward.Charge, len(missing))
	for i, at := range missing {
		asked[i] = list[at]
	}
	s.recall.asks(asked)
	counts := make([]int, len(asked))
	sure := false
	var err error
	for try := 0; err == nil && !sure && try < 4; try++ {
		era, steady := s.tray.steady()
		clear(counts)
		err = s.lend(ctx, op, func(ctx context.Context, r *reader) error {
			for i := range asked {
				if _, err := r.row(sqlTally, []any{asked[i][:]}, &counts[i]); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
		s.tray.tally(asked, counts)
		// What was filed meanwhile may have been counted twice, or not at all: then it is counted
		// again, within reason. A bound of thousands can bear some of them; it is not remembered then.
		is, _ := s.tray.steady()
		sure = err == nil && steady && is == era
	}
	s.recall.tallied(asked, counts, sure)
	for i, at := range missing {
		out[at] = counts[i]
	}
	return out, err
}

// charge writes what an event counts for, and says so.
func (a *applier) charge(r *row) error {
	a.lesson.counted = append(a.lesson.counted, r.charges...)
	return a.writeCharges(r)
}

// writeCharges writes what events count for. That they count is written when the transaction ends.
func (a *applier) writeCharges(rows ...*row) error {
	for some := range slices.Chunk(rows, maxManyRows) {
		var args []any
		for _, r := range some {
			for _, c := range r.charges {
				a.count(c, 1)
			}
			if len(r.charges) > 0 {
				args = append(args, r.seq, joinCharges(r.charges))
			}
		}
		if len(args) == 0 {
			continue
		}
		if err := a.exec(a.ctx, insertCharges[len(args)/2], args...); err != nil {
			return err
		}
	}
	return nil
}

// count notes that so many more events count for c.
func (a *applier) count(c steward.Charge, n int) {
	a.counts[c] += n
}

// discharge notes that an event which is about to be removed counts no more.
func (a *applier) discharge(seq int64) error {
	list, err := a.charges(a.ctx, seq)
	if err != nil {
		return err
	}
	for _, c := range list {
		a.count(c, -1)
	}
	// What stands in the table of charges goes with the event.
	return a.exec(a.ctx, `DELETE FROM event_charges WHERE event = ?1`, seq)
}

// charges returns what an event counts for.
func (p *prepared) charges(ctx context.Context, seq int64) ([]steward.Charge, error) {
	var list []byte
	if ok, err := p.row(sqlCharges, []any{seq}, &list); ok || err != nil {
		if len(list)%len(steward.Charge{}) != 0 {
			return nil, errCharge
		}
		return splitCharges(list), err
	}
	var out []steward.Charge
	err := p.rows(ctx, sqlOldCharges, []any{seq}, func(row scanner) error {
		var c []byte
		if err := row.Scan(&c); err != nil {
			return err
		}
		if len(c) != len(steward.Charge{}) {
			return errCharge
		}
		out = append(out, steward.Charge(c))
		return nil
	})
	return out, err
}

// joinCharges writes one charge behind the other; splitCharges reads that.
func joinCharges(list []steward.Charge) []byte {
	out := make([]byte, 0, len(steward.Charge{})*len(list))
	for _, c := range list {
		out = append(out, c[:]...)
	}
	return out
}

func splitCharges(b []byte) (out []steward.Charge) {
	for size := len(steward.Charge{}); len(b) >= size; b = b[size:] {
		out = append(out, steward.Charge(b[:size]))
	}
	return out
}

// tally writes how many events more or fewer count for each charge since the transaction began.
func (w *writer) tally(ctx context.Context, counts map[steward.Charge]int) error {
	list := slices.SortedFunc(maps.Keys(counts), func(a, b steward.Charge) int { return slices.Compare(a[:], b[:]) })
	more := slices.DeleteFunc(slices.Clone(list), func(c steward.Charge) bool { return counts[c] <= 0 })
	for some := range slices.Chunk(more, maxManyRows) {
		args := make([]any, 0, 2*maxManyRows)
		for i := range some {
			args = append(args, some[i][:], counts[some[i]])
		}
		if err := w.exec(ctx, insertTallies[len(some)], args...); err != nil {
			return err
		}
	}
	for _, c := range list {
		if n := counts[c]; n < 0 {
			if err := w.exec(ctx, `UPDATE tallies SET n = n + ?2 WHERE charge = ?1`, c[:], n); err != nil {
				return err
			}
			if err := w.exec(ctx, `DELETE FROM tallies WHERE charge = ?1 AND n <= 0`, c[:]); err != nil {
				return err
			}
		}
	}
	return nil
}

const (
	sqlServed     = `SELECT seq, raw FROM events WHERE id = ?1 AND shelf = 2`
	sqlCharges    = `SELECT list FROM event_charges WHERE event = ?1`
	sqlOldCharges = `SELECT charge FROM charges WHERE event = ?1`
	sqlTally      = `SELECT n FROM tallies WHERE charge = ?1`
)

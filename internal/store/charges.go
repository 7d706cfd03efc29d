package store

import (
	"context"
	"errors"
	"fmt"
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
	err := s.lend(ctx, op, func(ctx context.Context, r *reader) error {
		var raw []byte
		if ok, err := r.row(sqlServed, []any{b[:]}, &raw); !ok || err != nil {
			return err
		}
		ev := new(nostr.Event)
		if err := ev.UnmarshalJSON(raw); err != nil {
			return err
		}
		var charges []steward.Charge
		err := r.rows(ctx, sqlCharges, []any{b[:]}, func(row scanner) error {
			var c []byte
			if err := row.Scan(&c); err != nil {
				return err
			}
			if len(c) != len(steward.Charge{}) {
				return errCharge
			}
			charges = append(charges, steward.Charge(c))
			return nil
		})
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
	out, known := s.recall.tally(list)
	if known {
		return out, s.open(ctx, op)
	}
	before := s.recall.moment()
	var err error
	for try := 0; ; try++ {
		era, steady := s.tray.steady()
		clear(out)
		err = s.lend(ctx, op, func(ctx context.Context, r *reader) error {
			for i := range list {
				if _, err := r.row(sqlTally, []any{list[i][:]}, &out[i]); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
		s.tray.tally(list, out)
		// What was filed meanwhile may have been counted twice, or not at all: then it is counted
		// again, within reason. A bound of thousands can bear some of them.
		if is, _ := s.tray.steady(); err != nil || steady && is == era || try == 3 {
			break
		}
	}
	if err == nil {
		s.recall.tallied(list, out, before)
	}
	return out, err
}

// charge writes what an event counts for, and says so.
func (a *applier) charge(r *row) error {
	a.lesson.counted = append(a.lesson.counted, r.charges...)
	return a.writeCharges(r)
}

// writeCharges writes what an event counts for. That it counts is written when the transaction ends.
func (a *applier) writeCharges(r *row) error {
	for _, c := range r.charges {
		a.count(c, 1)
	}
	for some := range slices.Chunk(r.charges, steward.MaxCharges) {
		args := []any{r.seq}
		for _, c := range some {
			args = append(args, c[:])
		}
		if err := a.exec(a.ctx, insertCharges[len(some)], args...); err != nil {
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
	return a.rows(a.ctx, `SELECT charge FROM charges WHERE event = ?1`, []any{seq}, func(row scanner) error {
		var c []byte
		if err := row.Scan(&c); err != nil {
			return err
		}
		if len(c) != len(steward.Charge{}) {
			return errCharge
		}
		a.count(steward.Charge(c), -1)
		return nil
	})
}

// tally writes how many events more or fewer count for each charge since the transaction began.
func (w *writer) tally(ctx context.Context, counts map[steward.Charge]int) error {
	for _, c := range slices.SortedFunc(maps.Keys(counts), func(a, b steward.Charge) int { return slices.Compare(a[:], b[:]) }) {
		n := counts[c]
		var err error
		switch {
		case n > 0:
			err = w.exec(ctx, `INSERT INTO tallies (charge, n) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET n = n + ?2`, c[:], n)
		case n < 0:
			if err = w.exec(ctx, `UPDATE tallies SET n = n + ?2 WHERE charge = ?1`, c[:], n); err == nil {
				err = w.exec(ctx, `DELETE FROM tallies WHERE charge = ?1 AND n <= 0`, c[:])
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// insertCharges are the statements that add so many charges of one event.
var insertCharges = func() (out [steward.MaxCharges + 1]string) {
	text := `INSERT OR IGNORE INTO charges (event, charge) VALUES `
	for n := 1; n < len(out); n++ {
		text += fmt.Sprintf("(?1, ?%d)", 1+n)
		out[n] = text
		text += ", "
	}
	return out
}()

const (
	sqlServed  = `SELECT raw FROM events WHERE id = ?1 AND shelf = 2`
	sqlCharges = `SELECT c.charge FROM events e CROSS JOIN charges c ON c.event = e.seq WHERE e.id = ?1`
	sqlTally   = `SELECT n FROM tallies WHERE charge = ?1`
)

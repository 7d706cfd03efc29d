package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/steward"
)

// Charges returns what an event counts for.
func (s *Store) Charges(ctx context.Context, id grasp.EventID) ([]steward.Charge, error) {
	var out []steward.Charge
	err := s.lend(ctx, "store: charges", func(ctx context.Context, r *reader) error {
		b, ok := parse32(id)
		if !ok {
			return nil
		}
		return r.rows(ctx, sqlCharges, []any{b[:]}, func(row scanner) error {
			var c []byte
			if err := row.Scan(&c); err != nil {
				return err
			}
			if len(c) != len(steward.Charge{}) {
				return errors.New("a charge has another length")
			}
			out = append(out, steward.Charge(c))
			return nil
		})
	})
	return out, err
}

// Tally returns how many events count for each of list.
func (s *Store) Tally(ctx context.Context, list []steward.Charge) ([]int, error) {
	const op = "store: tally"
	out, known := s.recall.tally(list)
	if known {
		return out, s.open(ctx, op)
	}
	before := s.recall.moment()
	err := s.lend(ctx, op, func(ctx context.Context, r *reader) error {
		for i := range list {
			if _, err := r.row(sqlTally, []any{list[i][:]}, &out[i]); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	if err == nil {
		s.recall.tallied(list, out, before)
	}
	return out, err
}

// charge writes what an event counts for. That it counts is the work of a trigger.
func (a *applier) charge(r *row) error {
	for some := range slices.Chunk(r.charges, steward.MaxCharges) {
		args := []any{r.seq}
		for _, c := range some {
			args = append(args, c[:])
		}
		if err := a.exec(a.ctx, insertCharges[len(some)], args...); err != nil {
			return err
		}
	}
	a.lesson.counted = append(a.lesson.counted, r.charges...)
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
	sqlCharges = `SELECT c.charge FROM events e CROSS JOIN charges c ON c.event = e.seq WHERE e.id = ?1`
	sqlTally   = `SELECT n FROM tallies WHERE charge = ?1`
)

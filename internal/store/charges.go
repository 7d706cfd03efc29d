package store

import (
	"context"
	"errors"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/steward"
)

// Charges returns what an event counts for.
func (s *Store) Charges(ctx context.Context, id grasp.EventID) ([]steward.Charge, error) {
	var out []steward.Charge
	err := s.read(ctx, "store: charges", func(ctx context.Context, r *reader) error {
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
	out := make([]int, len(list))
	err := s.read(ctx, "store: tally", func(ctx context.Context, r *reader) error {
		for i := range list {
			if _, err := r.row(sqlTally, []any{list[i][:]}, &out[i]); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	return out, err
}

const (
	sqlCharges = `SELECT c.charge FROM events e CROSS JOIN charges c ON c.event = e.seq WHERE e.id = ?1`
	sqlTally   = `SELECT n FROM tallies WHERE charge = ?1`
)

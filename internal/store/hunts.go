package store

import (
	"context"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
)

// A Hunt is an identifier whose git data is looked for elsewhere (G02-15).
type Hunt struct {
	ID    string
	Tries int       // in vain
	Since time.Time // the first of these
	Next  time.Time // when it is tried next
}

// maxHuntRows bounds the table.
const maxHuntRows = 20_000

// Hunts returns what is looked for, what is next first, at most limit.
func (s *Store) Hunts(ctx context.Context, limit int) ([]Hunt, error) {
	var out []Hunt
	err := s.read(ctx, "store: hunts", func(ctx context.Context, r *reader) error {
		return r.rows(ctx, `SELECT id, tries, since, next FROM hunts ORDER BY next, id LIMIT ?1+0`, []any{limit}, func(row scanner) error {
			var h Hunt
			var since, next int64
			err := row.Scan(&h.ID, &h.Tries, &since, &next)
			h.Since, h.Next = fromNanos(&since), fromNanos(&next)
			out = append(out, h)
			return err
		})
	})
	return out, err
}

// WriteHunt replaces what is written of h.ID. A fault.TooLarge says that there are too many.
func (s *Store) WriteHunt(ctx context.Context, h Hunt) error {
	const op = "store: hunt"
	return s.book(ctx, op, func(a *applier) error {
		var n int
		if _, err := a.row(`SELECT count(*) FROM hunts WHERE id <> ?1`, []any{h.ID}, &n); err != nil {
			return err
		}
		if n >= maxHuntRows {
			return fault.Errorf(fault.TooLarge, op, "more than %d identifiers are looked for", maxHuntRows)
		}
		return a.exec(a.ctx, `INSERT INTO hunts (id, tries, since, next) VALUES (?1, ?2, ?3, ?4)
			ON CONFLICT DO UPDATE SET tries = excluded.tries, since = excluded.since, next = excluded.next`,
			h.ID, h.Tries, clampNanos(h.Since), clampNanos(h.Next))
	})
}

// DropHunt removes what is written of identifier id.
func (s *Store) DropHunt(ctx context.Context, id string) error {
	return s.book(ctx, "store: hunt", func(a *applier) error {
		return a.exec(a.ctx, `DELETE FROM hunts WHERE id = ?1`, id)
	})
}

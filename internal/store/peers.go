package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// A Peer is how another relay does (G02-09).
type Peer struct {
	URL     string
	Fails   int       // in a row
	Since   time.Time // of the first of these
	Next    time.Time // when it is tried next
	Bad     bool      // on the bad list until then
	Seen    time.Time // when nothing that it had was missed yet
	Full    time.Time // when all that it has was compared last
	Repass  time.Time // and next
	Trouble string    // what went wrong last
}

// An Unwanted event is not fetched from peers until Until (G02-10).
type Unwanted struct {
	ID      grasp.EventID
	Subject string
	Until   time.Time
}

// maxPeerRows and MaxUnwanted bound the two tables.
const (
	maxPeerRows = 10_000
	MaxUnwanted = 200_000
)

// Peers returns all peers that were written, by address.
func (s *Store) Peers(ctx context.Context) ([]Peer, error) {
	var out []Peer
	err := s.read(ctx, "store: peers", func(ctx context.Context, r *reader) error {
		return r.rows(ctx, `SELECT url, fails, since, next, bad, seen, whole, repass, trouble FROM peers ORDER BY url LIMIT ?1+0`,
			[]any{maxPeerRows}, func(row scanner) error {
				var p Peer
				var since, next, seen, full, repass *int64
				err := row.Scan(&p.URL, &p.Fails, &since, &next, &p.Bad, &seen, &full, &repass, &p.Trouble)
				p.Since, p.Next, p.Seen, p.Full, p.Repass = fromNanos(since), fromNanos(next), fromNanos(seen), fromNanos(full), fromNanos(repass)
				out = append(out, p)
				return err
			})
	})
	return out, err
}

// WritePeer replaces what was written of p.URL. One that says nothing but its address is removed.
// A fault.TooLarge says that there are too many.
func (s *Store) WritePeer(ctx context.Context, p Peer) error {
	const op = "store: peer"
	return s.book(ctx, op, func(a *applier) error {
		if p == (Peer{URL: p.URL}) {
			return a.exec(a.ctx, `DELETE FROM peers WHERE url = ?1`, p.URL)
		}
		var n int
		if _, err := a.row(`SELECT count(*) FROM peers WHERE url <> ?1`, []any{p.URL}, &n); err != nil {
			return err
		}
		if n >= maxPeerRows {
			return fault.Errorf(fault.TooLarge, op, "more than %d peers are remembered", maxPeerRows)
		}
		return a.exec(a.ctx, `INSERT INTO peers (url, fails, since, next, bad, seen, whole, repass, trouble)
			VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO UPDATE SET fails = excluded.fails, since = excluded.since,
			next = excluded.next, bad = excluded.bad, seen = excluded.seen, whole = excluded.whole, repass = excluded.repass,
			trouble = excluded.trouble`, p.URL, p.Fails, nanos(p.Since), nanos(p.Next), p.Bad, nanos(p.Seen), nanos(p.Full), nanos(p.Repass), p.Trouble)
	})
}

// Unwanted returns what is not to be fetched, the oldest first, at most limit.
func (s *Store) Unwanted(ctx context.Context, limit int) ([]Unwanted, error) {
	var out []Unwanted
	err := s.read(ctx, "store: unwanted", func(ctx context.Context, r *reader) error {
		return r.rows(ctx, `SELECT id, subject, until FROM unwanted ORDER BY seq LIMIT ?1+0`, []any{limit}, func(row scanner) error {
			var u Unwanted
			var id id32
			var until int64
			err := row.Scan(&id, &u.Subject, &until)
			u.ID, u.Until = id.id(), fromNanos(&until)
			out = append(out, u)
			return err
		})
	})
	return out, err
}

// WriteUnwanted adds and removes. The oldest go when there are more than MaxUnwanted.
func (s *Store) WriteUnwanted(ctx context.Context, add []Unwanted, remove []grasp.EventID) error {
	const op = "store: unwanted"
	ids := make([]id32, 0, len(add)+len(remove))
	for _, u := range add {
		id, err := need32("event", u.ID)
		if err != nil {
			return fault.Wrap(op, err)
		}
		ids = append(ids, id)
	}
	for _, e := range remove {
		id, err := need32("event", e)
		if err != nil {
			return fault.Wrap(op, err)
		}
		ids = append(ids, id)
	}
	return s.book(ctx, op, func(a *applier) error {
		for _, id := range ids[len(add):] {
			if err := a.exec(a.ctx, `DELETE FROM unwanted WHERE id = ?1`, id[:]); err != nil {
				return err
			}
		}
		for i, u := range add {
			if err := a.exec(a.ctx, `INSERT INTO unwanted (id, subject, until) VALUES (?1, ?2, ?3)
				ON CONFLICT (id) DO UPDATE SET subject = excluded.subject, until = excluded.until`, ids[i][:], u.Subject, clampNanos(u.Until)); err != nil {
				return err
			}
		}
		return a.exec(a.ctx, `DELETE FROM unwanted WHERE seq <= (SELECT max(seq) FROM unwanted) - ?1`, MaxUnwanted)
	})
}

// Announcements calls each with the announcements on either shelf behind the number after, in the
// order of arrival, at most limit of them.
func (s *Store) Announcements(ctx context.Context, after int64, limit int, each func(seq int64, ev *nostr.Event, served bool)) error {
	return s.read(ctx, "store: announcements", func(ctx context.Context, r *reader) error {
		return r.rows(ctx, sqlAnnounced, []any{after, limit}, func(row scanner) error {
			var seq int64
			var raw []byte
			var shelf grasp.Shelf
			if err := row.Scan(&seq, &raw, &shelf); err != nil {
				return err
			}
			ev := new(nostr.Event)
			if err := ev.UnmarshalJSON(raw); err != nil {
				return err
			}
			each(seq, ev, shelf == grasp.Served)
			return ctx.Err()
		})
	})
}

// AnnouncementsOf is the same for one identifier.
func (s *Store) AnnouncementsOf(ctx context.Context, id string, each func(ev *nostr.Event, served bool)) error {
	return s.read(ctx, "store: announcements", func(ctx context.Context, r *reader) error {
		return r.rows(ctx, sqlAnnouncedOf, []any{id}, func(row scanner) error {
			var raw []byte
			var shelf grasp.Shelf
			if err := row.Scan(&raw, &shelf); err != nil {
				return err
			}
			ev := new(nostr.Event)
			if err := ev.UnmarshalJSON(raw); err != nil {
				return err
			}
			each(ev, shelf == grasp.Served)
			return ctx.Err()
		})
	})
}

// Unknown returns which of ids are on neither shelf, in the same order.
func (s *Store) Unknown(ctx context.Context, ids []grasp.EventID) ([]grasp.EventID, error) {
	const op = "store: unknown"
	open := make([]grasp.EventID, 0, len(ids)) // what is not on the tray, which is looked at before the database
	for _, id := range ids {
		b, err := need32("event", id)
		if err != nil {
			return nil, fault.Wrap(op, err)
		}
		if s.tray.get(b) == nil {
			open = append(open, id)
		}
	}
	list, err := json.Marshal(open)
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	var out []grasp.EventID
	err = s.lend(ctx, op, func(ctx context.Context, r *reader) error {
		return r.rows(ctx, sqlUnknown, []any{string(list)}, func(row scanner) error {
			var id string
			err := row.Scan(&id)
			out = append(out, grasp.EventID(id))
			return err
		})
	})
	return out, err
}

const (
	sqlAnnounced = `SELECT seq, raw, shelf FROM events INDEXED BY events_announced
		WHERE kind = 30617 AND seq > ?1 ORDER BY seq LIMIT ?2+0`
	sqlAnnouncedOf = `SELECT e.raw, e.shelf FROM subjects s CROSS JOIN events e ON e.seq = s.event
		WHERE s.identifier = ?1 AND e.kind = 30617`
	sqlUnknown = `SELECT j.value FROM json_each(?1) j WHERE NOT EXISTS (SELECT 1 FROM events WHERE id = unhex(j.value))`
)

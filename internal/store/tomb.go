package store

import (
	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/steward"
)

// maxRemoved is how many bytes of JSON a Receipt carries: a key that vanishes may take a hundred
// thousand events with it. Entries beyond that have no Raw, and their Event no Content.
const maxRemoved = 16 << 20

// bury writes a tomb and removes what it covers, but never the event that is put together with
// it: a request to vanish outlives itself (N-031 to N-035).
func (a *applier) bury(t *tomb, put *row) error {
	if err := a.exec(a.ctx, `INSERT INTO tombs (author, what, name, until) VALUES (?1, ?2, ?3, ?4)
		ON CONFLICT DO UPDATE SET until = max(until, excluded.until)`, t.by[:], t.what, t.name, t.until); err != nil {
		return err
	}
	seqs, err := a.grave(t)
	if err != nil {
		return err
	}
	for _, seq := range seqs {
		if put != nil && seq == put.seq {
			continue
		}
		if t.what == tombVanish {
			// Nobody could name these before; a crash must not leave them as they are. A served pull
			// request is in no View, and yet its refs have to go.
			if err := a.exec(a.ctx, `INSERT OR IGNORE INTO unsettled (identifier)
				SELECT j.value FROM events e, json_each(e.subjects) j WHERE e.seq = ?1`, seq); err != nil {
				return err
			}
		}
		if err := a.removeBySeq(seq); err != nil {
			return err
		}
	}
	return nil
}

// grave returns which events t covers. Kinds 5 and 62 are covered only by a request to vanish.
func (a *applier) grave(t *tomb) ([]int64, error) {
	switch {
	case t.what == tombID:
		return a.seqs(`SELECT seq FROM events WHERE id = ?1 AND pubkey = ?2 AND kind NOT IN (5, 62)`, t.id[:], t.by[:])
	case t.what == tombCoordinate && t.some:
		return a.seqs(`SELECT seq FROM events INDEXED BY events_version
			WHERE kind = ?1 AND pubkey = ?2 AND d = ?3 AND shelf = 2 AND d IS NOT NULL AND created_at <= ?4
			UNION ALL SELECT seq FROM events INDEXED BY events_waiting
			WHERE kind = ?1 AND pubkey = ?2 AND d = ?3 AND shelf = 1 AND created_at <= ?4`,
			t.kind, t.by[:], t.d, t.until)
	case t.what == tombVanish:
		return a.seqs(`SELECT seq FROM events INDEXED BY events_author
			WHERE pubkey = ?1 AND shelf = 2 AND created_at <= ?2
			UNION ALL SELECT seq FROM events INDEXED BY events_waiting
			WHERE pubkey = ?1 AND shelf = 1 AND created_at <= ?2`, t.by[:], t.until)
	}
	return nil, nil
}

func (a *applier) seqs(text string, args ...any) (out []int64, err error) {
	err = a.rows(a.ctx, text, args, func(s scanner) error {
		var seq int64
		if err := s.Scan(&seq); err != nil {
			return err
		}
		out = append(out, seq)
		return nil
	})
	return out, err
}

// removeBySeq removes an event and reports it in the receipt.
func (a *applier) removeBySeq(seq int64) error {
	var e steward.Entry
	err := a.rows(a.ctx, `SELECT `+entryColumns+` FROM events e WHERE seq = ?1`, []any{seq}, func(s scanner) (err error) {
		e, err = scanEntry(s)
		return err
	})
	if err != nil {
		return err
	}
	id, err := need32("event", e.Event.ID)
	if err != nil {
		return err
	}
	if err := a.remove(&row{seq: seq, id: id, at: int64(e.Event.CreatedAt), shelf: e.Shelf, raw: e.Raw}); err != nil {
		return err
	}
	if a.kept += len(e.Raw); a.kept > maxRemoved {
		e = lighten(e)
	}
	a.receipt.Removed = append(a.receipt.Removed, e)
	return nil
}

// lighten leaves of e what a settlement needs: who, what kind, and what it names.
func lighten(e steward.Entry) steward.Entry {
	ev := &nostr.Event{
		ID: e.Event.ID, PubKey: e.Event.PubKey, Kind: e.Event.Kind, CreatedAt: e.Event.CreatedAt, Sig: e.Event.Sig,
	}
	if ev.Kind == grasp.KindAnnouncement || ev.Kind == grasp.KindPull || ev.Kind == grasp.KindPullUpdate {
		ev.Tags = e.Event.Tags
	}
	e.Event, e.Raw = ev, nil
	return e
}

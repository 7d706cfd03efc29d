package store

import (
	"context"
	"encoding/hex"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
)

// Contributors' boxes have tables of their own. Their rows look like those of announced repositories,
// but a box is never read with the View of its identifier: strangers make as many as they like.

const (
	sqlBoxOrphans  = `SELECT identifier, owner, event, deadline, 1 FROM box_orphans WHERE identifier = ?1 AND owner = ?2`
	sqlBoxesOf     = `SELECT identifier, owner, event, deadline, 1 FROM box_orphans WHERE identifier = ?1 ORDER BY owner, event`
	sqlBoxesOfPull = `SELECT identifier, owner, event, deadline, 1 FROM box_orphans WHERE event = ?1 LIMIT 64`
	sqlBoxesDue    = `SELECT identifier, owner, event, deadline, 1 FROM box_orphans INDEXED BY box_orphans_due
		WHERE identifier = ?1 AND deadline <= ?2`
	sqlLost = `SELECT r.identifier, r.owner, r.event, 0, 1 FROM box_refs r WHERE r.identifier = ?1
		AND NOT EXISTS (SELECT 1 FROM events e WHERE e.id = r.event)
		AND NOT EXISTS (SELECT 1 FROM box_orphans o WHERE o.identifier = r.identifier AND o.owner = r.owner AND o.event = r.event)`
	sqlBoxRefs = `SELECT event, oid FROM box_refs WHERE identifier = ?1 AND owner = ?2 ORDER BY event`
)

// Placeholders returns the PR refs in boxes that have no accepted event: of one box, of all boxes of an
// identifier, or, at most 64, of one event.
func (s *Store) Placeholders(ctx context.Context, of steward.Orphan) ([]steward.Orphan, error) {
	const op = "store: placeholders"
	if !s.boxed.Load() {
		return nil, nil // nearly always, and this is asked for every event
	}
	text, args := sqlBoxesOf, []any{of.Repo.ID}
	switch {
	case of.Event != "":
		id, err := need32("event", of.Event)
		if err != nil {
			return nil, fault.Wrap(op, err)
		}
		text, args = sqlBoxesOfPull, []any{id[:]}
	case of.Repo.Owner != "":
		owner, err := need32("owner", of.Repo.Owner)
		if err != nil {
			return nil, fault.Wrap(op, err)
		}
		text, args = sqlBoxOrphans, []any{of.Repo.ID, owner[:]}
	}
	return s.orphans(ctx, op, text, args)
}

// Lost returns the settled PR refs in boxes of identifier id whose event is on no shelf, and that are
// no placeholders. Their Deadline is zero.
func (s *Store) Lost(ctx context.Context, id string) ([]steward.Orphan, error) {
	list, err := s.orphans(ctx, "store: lost", sqlLost, []any{id})
	for i := range list {
		list[i].Deadline = fromNanos(nil)
	}
	return list, err
}

func (s *Store) orphans(ctx context.Context, op, text string, args []any) ([]steward.Orphan, error) {
	var out []steward.Orphan
	err := s.read(ctx, op, func(ctx context.Context, r *reader) error {
		return r.rows(ctx, text, args, func(row scanner) error {
			o, err := scanOrphan(row)
			out = append(out, o)
			return err
		})
	})
	return out, err
}

// boxRefs tells diff of the settled refs of a box, in byte order: their names differ in the event's id alone.
func (r *reader) boxRefs(ctx context.Context, box grasp.Addr, owner id32, diff *grasp.RefDiff) error {
	return r.rows(ctx, sqlBoxRefs, []any{box.ID, owner[:]}, func(row scanner) error {
		var event id32
		var oid []byte
		if err := row.Scan(&event, &oid); err != nil {
			return err
		}
		diff.Was([]byte(grasp.PullRef(event.id())), []byte(hex.EncodeToString(oid)))
		return nil
	})
}

// boxOrphan writes a placeholder, or removes it.
func (a *applier) boxOrphan(o orphanRow) error {
	a.boxes = true
	if o.deadline == nil {
		return a.exec(a.ctx, `DELETE FROM box_orphans WHERE identifier = ?1 AND owner = ?2 AND event = ?3`, o.id, o.owner[:], o.event[:])
	}
	return a.exec(a.ctx, `INSERT INTO box_orphans (identifier, owner, event, deadline) VALUES (?1, ?2, ?3, ?4)
		ON CONFLICT DO UPDATE SET deadline = excluded.deadline`, o.id, o.owner[:], o.event[:], o.deadline)
}

// boxRef writes what one ref of a box is settled at.
func (a *applier) boxRef(m move, r refMove) error {
	if r.new == nil {
		return a.exec(a.ctx, `DELETE FROM box_refs WHERE identifier = ?1 AND owner = ?2 AND event = ?3`, m.id, m.owner[:], r.event[:])
	}
	return a.exec(a.ctx, `INSERT INTO box_refs (identifier, owner, event, oid) VALUES (?1, ?2, ?3, ?4)
		ON CONFLICT DO UPDATE SET oid = excluded.oid`, m.id, m.owner[:], r.event[:], r.new)
}

// countBoxes looks whether there are placeholders.
func (s *Store) countBoxes() error {
	var some bool
	_, err := s.writer.row(`SELECT EXISTS (SELECT 1 FROM box_orphans)`, nil, &some)
	if err != nil {
		some = true
	}
	s.boxed.Store(some)
	return err
}

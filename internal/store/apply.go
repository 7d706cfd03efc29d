package store

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/search"
	"github.com/gitroost/gitroost/internal/steward"
)

// An applier writes one change inside the transaction of its batch.
type applier struct {
	*writer
	ctx context.Context

	receipt steward.Receipt
	waiting int64  // by how much the number of waiting events changes
	kept    int    // bytes of JSON in receipt.Removed
	lesson  lesson // what of it concerns what is remembered
	boxes   bool   // placeholders in boxes came or went
	more    bool   // there is more to catch up with
	line    queueing
	fresh   map[string]bool // the jobs that this change adds

	counts map[steward.Charge]int // by how much the tallies change in this transaction
}

func (a *applier) apply(p *plan) error {
	if p.catchUp {
		return a.catchUp()
	}
	if p.file > 0 {
		return a.fileOldest(p.file, p.words)
	}
	if p.plain && a.tray.room(len(a.laid), a.laidBytes+p.put.burden()) {
		return a.lay(p.put)
	}
	if err := a.fileFor(p); err != nil {
		return err
	}
	if p.put != nil {
		if err := a.put(p.put); err != nil || a.receipt.Duplicate || a.receipt.Stale {
			return err
		}
	}
	for _, id := range p.release {
		if err := a.release(id); err != nil {
			return err
		}
	}
	for _, id := range p.drop {
		r, err := a.byID(id)
		if err != nil {
			return err
		}
		if r != nil {
			if err := a.remove(r); err != nil {
				return err
			}
		}
	}
	for _, x := range p.extend {
		if err := a.exec(a.ctx, `UPDATE events
			SET deadline = max(ifnull(deadline, 0), min(?2, ifnull(received, 0) + ?3))
			WHERE id = ?1 AND shelf = 1`, x.id[:], x.deadline, int64(longestWait)); err != nil {
			return err
		}
	}
	for i := range p.tombs {
		if err := a.bury(&p.tombs[i], p.put); err != nil {
			return err
		}
	}
	if p.book != nil {
		if err := p.book(a); err != nil {
			return err
		}
	}
	return a.rest(p)
}

// deleted is the answer to an event that a tombstone covers (N-033).
var deleted = fault.E(fault.Refused, "store: put", "this event was deleted")

// put writes a new event, and says in the receipt if it did not.
func (a *applier) put(r *row) error {
	r.seq = 0 // of a try before
	if a.onTray(r.id) != nil {
		a.receipt.Duplicate = true
		return nil
	}
	// Most events are one of a kind, new, and not deleted: one statement finds out and writes them.
	// If it did not, or there are versions, it is looked at more closely.
	plain := !r.versioned && r.kind != grasp.KindDeletion && r.kind != grasp.KindVanish
	if plain {
		if err := a.putRow(sqlPutPlain, r); err != nil {
			return err
		}
	}
	if r.seq == 0 {
		known, covered, err := a.before(r)
		if err != nil {
			return err
		}
		if known {
			a.receipt.Duplicate = true
			return nil
		}
		if covered {
			return deleted
		}
		if r.versioned {
			if fits, err := a.makeRoom(r); err != nil || !fits {
				return err
			}
		}
		// Room was made for it. Should two versions ever want to be served, the unique index of
		// served versions undoes the whole change (N-009).
		if err := a.putRow(sqlPut, r); err != nil {
			return err
		}
	}
	if err := a.charge(r); err != nil {
		return err
	}
	if r.shelf == grasp.Waiting {
		a.waiting++
	} else if err := a.tag(r); err != nil {
		return err
	}
	return a.subject(r)
}

const (
	sqlPut = `INSERT INTO events (pubkey, created_at, id, d, kind, shelf, received, deadline, expires, source, subjects, raw)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	// Its first four parameters are those of coveringTomb: d is NULL, and so is the coordinate.
	sqlPutPlain = `INSERT INTO events (pubkey, created_at, id, d, kind, shelf, received, deadline, expires, source, subjects, raw)
		SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12 WHERE NOT ` + coveringTomb + ` ON CONFLICT (id) DO NOTHING`
)

// putRow sets r.seq, unless the statement did not write r.
func (a *applier) putRow(text string, r *row) error {
	subjects, err := r.subjectsColumn()
	if err != nil {
		return err
	}
	r.seq, err = a.insert(a.ctx, text, r.author[:], r.at, r.id[:], r.dColumn(), r.kind, r.shelf,
		r.received, r.deadline, r.expires, r.source, subjects, r.raw)
	return err
}

// before reports whether the id of r is known, and whether a tombstone says that r must not come
// back (N-033, N-035).
func (a *applier) before(r *row) (known, covered bool, err error) {
	args := tombArgs(r.author, r.id, coordinate(r.kind, r.author, r.d, r.versioned), r.at)
	if r.kind == grasp.KindDeletion || r.kind == grasp.KindVanish {
		args[2], args[3] = nil, nil // only a request to vanish removes these (N-032)
	}
	_, err = a.row(sqlBefore, append(args, r.id[:]), &known, &covered)
	return known, covered, err
}

const (
	// coveringTomb is true if a tomb covers an event; its arguments are made by tombArgs.
	coveringTomb = `(EXISTS (SELECT 1 FROM tombs WHERE author = ?1 AND what = 3 AND name = x'00' AND until >= ?2)
		OR EXISTS (SELECT 1 FROM tombs WHERE author = ?1 AND what = 1 AND name = ?3)
		OR EXISTS (SELECT 1 FROM tombs WHERE author = ?1 AND what = 2 AND name = ?4 AND until >= ?2))`

	sqlBefore = `SELECT EXISTS (SELECT 1 FROM events WHERE id = ?5), ` + coveringTomb
)

func tombArgs(author, id id32, coordinate string, at int64) []any {
	args := []any{author[:], at, id[:], nil}
	if coordinate != "" {
		args[3] = []byte(coordinate)
	}
	return args
}

// coordinate spells what parseCoordinate reads.
func coordinate(kind int, author id32, d string, versioned bool) string {
	if !versioned {
		return ""
	}
	return fmt.Sprintf("%d:%x:%s", kind, author, d)
}

// makeRoom removes the versions that r replaces: the served one if r is to be served, and the
// waiting one if r is a waiting announcement (G01-108). It reports false, and sets Stale, if one
// of them is newer than r.
func (a *applier) makeRoom(r *row) (fits bool, err error) {
	var old []*row
	served, err := a.served(r)
	if err != nil {
		return false, err
	}
	if served != nil {
		old = append(old, served)
	}
	if r.shelf == grasp.Waiting && r.kind == grasp.KindAnnouncement {
		wait, err := a.many(`SELECT `+rowColumns+` FROM events e INDEXED BY events_waiting
			WHERE pubkey = ?1 AND kind = ?2 AND d = ?3 AND shelf = 1`, r.author[:], r.kind, r.d)
		if err != nil {
			return false, err
		}
		old = append(old, wait...)
	}
	for _, o := range old {
		if !r.beats(o.at, o.id) {
			a.receipt.Stale = true
			return false, nil
		}
	}
	for _, o := range old {
		if o.shelf != r.shelf {
			continue // what is served stays so until r is released
		}
		if err := a.remove(o); err != nil {
			return false, err
		}
		a.receipt.Replaced = append(a.receipt.Replaced, o.id.id())
	}
	return true, nil
}

// served returns the served version of r's coordinate, or nil.
func (a *applier) served(r *row) (*row, error) {
	list, err := a.many(`SELECT `+rowColumns+` FROM events e INDEXED BY events_version
		WHERE kind = ?1 AND pubkey = ?2 AND d = ?3 AND shelf = 2 AND d IS NOT NULL`, r.kind, r.author[:], r.d)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

// release moves a waiting event to the served shelf. An event that is not waiting stays as it is.
func (a *applier) release(id id32) error {
	r, err := a.byID(id)
	if err != nil || r == nil || r.shelf != grasp.Waiting {
		return err
	}
	if r.versioned {
		old, err := a.served(r)
		if err != nil {
			return err
		}
		switch {
		case old == nil:
		case r.beats(old.at, old.id):
			if err := a.remove(old); err != nil {
				return err
			}
			a.receipt.Replaced = append(a.receipt.Replaced, old.id.id())
		default:
			a.receipt.Replaced = append(a.receipt.Replaced, r.id.id())
			return a.remove(r)
		}
	}
	if err := a.exec(a.ctx, `UPDATE events SET shelf = 2, deadline = NULL WHERE seq = ?1`, r.seq); err != nil {
		return err
	}
	a.waiting--
	r.shelf = grasp.Served
	ev, err := r.event()
	if err != nil {
		return err
	}
	r.keys, r.words = tagKeys(ev), search.Of(ev)
	if err := a.tag(r); err != nil {
		return err
	}
	if viewed(r.kind) {
		return nil
	}
	// A View holds pull requests only while they wait.
	err = a.exec(a.ctx, `DELETE FROM subjects WHERE event = ?1`, r.seq)
	return err
}

// tag makes a served event findable by its tags and its words.
func (a *applier) tag(r *row) error {
	a.lesson.news = append(a.lesson.news, happening{row: r})
	if err := a.index(r); err != nil {
		return err
	}
	return a.writeTags(r)
}

// writeTags writes the tags of events, in the order of their keys: a page that is needed for several of them is looked
// for once, and at hand the next time.
func (a *applier) writeTags(rows ...*row) error {
	type entry struct {
		key []byte
		row *row
	}
	var tags []entry
	for _, r := range rows {
		for _, key := range r.keys {
			tags = append(tags, entry{key, r})
		}
	}
	slices.SortFunc(tags, func(x, y entry) int {
		if c := bytes.Compare(x.key, y.key); c != 0 {
			return c
		}
		return cmp.Compare(y.row.at, x.row.at) // the newest first, as there
	})
	var args []any
	for some := range slices.Chunk(tags, maxManyRows) {
		args = args[:0]
		for _, e := range some {
			args = append(args, e.key, e.row.at, e.row.id[:], e.row.seq, e.row.kind, e.row.expires)
		}
		if err := a.exec(a.ctx, insertTags[len(some)], args...); err != nil {
			return err
		}
	}
	return nil
}

// subject makes the event part of the View of its identifiers.
func (a *applier) subject(r *row) error {
	if r.shelf == grasp.Served && !viewed(r.kind) {
		return nil
	}
	for _, id := range r.subjects {
		if err := a.exec(a.ctx, `INSERT OR IGNORE INTO subjects (identifier, event) VALUES (?1, ?2)`, id, r.seq); err != nil {
			return err
		}
	}
	return nil
}

// rowColumns are what many expects.
const rowColumns = `e.seq, e.id, e.pubkey, e.kind, e.created_at, e.d, e.shelf, e.expires, e.raw`

func (a *applier) many(text string, args ...any) ([]*row, error) {
	var out []*row
	err := a.rows(a.ctx, text, args, func(s scanner) error {
		r := new(row)
		var d *string
		var expires *int64
		if err := s.Scan(&r.seq, &r.id, &r.author, &r.kind, &r.at, &d, &r.shelf, &expires, &r.raw); err != nil {
			return err
		}
		if d != nil {
			r.d, r.versioned = *d, true
		}
		if expires != nil {
			r.expires = *expires
		}
		out = append(out, r)
		return nil
	})
	return out, err
}

func (a *applier) byID(id id32) (*row, error) {
	list, err := a.many(`SELECT `+rowColumns+` FROM events e WHERE id = ?1`, id[:])
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

func (r *row) event() (*nostr.Event, error) {
	ev := new(nostr.Event)
	return ev, ev.UnmarshalJSON(r.raw)
}

// remove takes an event from either shelf, with all that makes it findable.
func (a *applier) remove(r *row) error {
	a.lesson.discounted = true
	if r.shelf == grasp.Waiting {
		a.waiting--
	} else {
		ev, err := r.event()
		if err != nil {
			return err
		}
		if err := a.unindex(r.seq, ev.Kind); err != nil {
			return err
		}
		r.keys, r.kind = tagKeys(ev), ev.Kind
		r.d, r.versioned = version(ev)
		if r.author, err = need32("author", ev.PubKey); err != nil {
			return err
		}
		a.lesson.news = append(a.lesson.news, happening{row: r, gone: true})
		for _, key := range r.keys {
			if err := a.exec(a.ctx, `DELETE FROM tags WHERE key = ?1 AND created_at = ?2 AND id = ?3`, key, r.at, r.id[:]); err != nil {
				return err
			}
		}
	}
	if err := a.discharge(r.seq); err != nil {
		return err
	}
	// By its key, subjects and charges go, too.
	return a.exec(a.ctx, `DELETE FROM events WHERE seq = ?1`, r.seq)
}

// rest writes what is not about events.
func (a *applier) rest(p *plan) error {
	for _, r := range p.repos {
		var err error
		if r.hosting == grasp.NotHosted {
			err = a.exec(a.ctx, `DELETE FROM repos WHERE identifier = ?1 AND owner = ?2`, r.id, r.owner[:])
			if err == nil {
				err = a.exec(a.ctx, `DELETE FROM weights WHERE box = 0 AND owner = ?1 AND identifier = ?2`, r.owner[:], r.id)
			}
		} else {
			err = a.exec(a.ctx, `INSERT INTO repos (identifier, owner, hosting, since) VALUES (?1, ?2, ?3, ?4)
				ON CONFLICT DO UPDATE SET hosting = excluded.hosting, since = excluded.since`,
				r.id, r.owner[:], r.hosting, r.since)
		}
		if err != nil {
			return err
		}
	}
	for _, w := range p.weighed {
		if err := a.weigh(w); err != nil {
			return err
		}
	}
	for _, o := range p.orphans {
		var err error
		if o.box {
			err = a.boxOrphan(o)
		} else if o.deadline == nil {
			err = a.exec(a.ctx, `DELETE FROM orphans WHERE identifier = ?1 AND owner = ?2 AND event = ?3`, o.id, o.owner[:], o.event[:])
		} else {
			err = a.exec(a.ctx, `INSERT INTO orphans (identifier, owner, event, deadline) VALUES (?1, ?2, ?3, ?4)
				ON CONFLICT DO UPDATE SET deadline = excluded.deadline`, o.id, o.owner[:], o.event[:], o.deadline)
		}
		if err != nil {
			return err
		}
	}
	var moved map[movedRef]int64 // which row of the journal a job was made with
	if len(p.jobs) > 0 {
		moved = map[movedRef]int64{}
	}
	for _, m := range p.moves {
		if err := a.move(m, moved); err != nil {
			return err
		}
	}
	if err := a.takeIn(p.jobs, moved); err != nil {
		return err
	}
	if p.unsettled != "" {
		if err := a.exec(a.ctx, `INSERT OR IGNORE INTO unsettled (identifier) VALUES (?1)`, p.unsettled); err != nil {
			return err
		}
	}
	if p.settled != "" {
		if err := a.exec(a.ctx, `DELETE FROM unsettled WHERE identifier = ?1`, p.settled); err != nil {
			return err
		}
	}
	return nil
}

// move writes what the refs of one repository did into the journal and into the settled refs. Unless
// moved is nil it notes the rows of the journal.
func (a *applier) move(m move, moved map[movedRef]int64) error {
	at := clampNanos(a.cfg.Now())
	for _, r := range m.refs {
		seq, err := a.insert(a.ctx, `INSERT INTO moves (at, identifier, owner, box, name, old, new, cause, push)
			VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)`, at, m.id, m.owner[:], m.box, r.name, r.old, r.new, m.cause, m.push)
		if err != nil {
			return err
		}
		if moved != nil {
			moved[movedRef{m.box, m.owner, m.id, r.name}] = seq
		}
		if m.box {
			err = a.boxRef(m, r)
		} else if r.new == nil {
			err = a.exec(a.ctx, `DELETE FROM refs WHERE identifier = ?1 AND owner = ?2 AND name = ?3`, m.id, m.owner[:], r.name)
		} else {
			err = a.exec(a.ctx, `INSERT INTO refs (identifier, owner, name, oid) VALUES (?1, ?2, ?3, ?4)
				ON CONFLICT DO UPDATE SET oid = excluded.oid`, m.id, m.owner[:], r.name, r.new)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

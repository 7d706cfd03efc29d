package store

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
)

// View returns all that is known of identifier id: announcements and states on both shelves,
// what else waits for it, who has a repository, and which PR refs are orphans. Events that have
// expired but were not removed yet are included (their Expires says so).
func (s *Store) View(ctx context.Context, id string) (steward.Facts, error) {
	var facts steward.Facts
	err := s.read(ctx, "store: view", func(ctx context.Context, r *reader) error {
		err := r.rows(ctx, sqlView, []any{id}, func(row scanner) error {
			e, err := scanEntry(row)
			facts.Entries = append(facts.Entries, e)
			return err
		})
		if err != nil {
			return err
		}
		err = r.rows(ctx, `SELECT identifier, owner, hosting, since FROM repos WHERE identifier = ?1`, []any{id}, func(row scanner) error {
			repo, err := scanRepo(row)
			facts.Repos = append(facts.Repos, repo)
			return err
		})
		if err != nil {
			return err
		}
		orphan := func(row scanner) error {
			o, err := scanOrphan(row)
			facts.Orphans = append(facts.Orphans, o)
			return err
		}
		if err := r.rows(ctx, sqlOrphans, []any{id}, orphan); err != nil {
			return err
		}
		return r.rows(ctx, sqlBoxesDue, []any{id, clampNanos(s.cfg.Now())}, orphan)
	})
	return facts, err
}

const sqlView = `SELECT ` + entryColumns + ` FROM subjects s CROSS JOIN events e ON e.seq = s.event WHERE s.identifier = ?1`

const sqlOrphans = `SELECT identifier, owner, event, deadline, 0 FROM orphans WHERE identifier = ?1`

func scanRepo(row scanner) (repo steward.Repo, err error) {
	var owner id32
	var since *int64
	err = row.Scan(&repo.Addr.ID, &owner, &repo.Hosting, &since)
	repo.Addr.Owner, repo.Since = owner.key(), fromNanos(since)
	return repo, err
}

func scanOrphan(row scanner) (o steward.Orphan, err error) {
	var owner, event id32
	var deadline int64
	err = row.Scan(&o.Repo.ID, &owner, &event, &deadline, &o.Repo.Box)
	o.Repo.Owner, o.Event, o.Deadline = owner.key(), event.id(), fromNanos(&deadline)
	return o, err
}

// Event returns the event with this id from either shelf, expired or not, or a fault.NotFound.
func (s *Store) Event(ctx context.Context, id grasp.EventID) (steward.Entry, error) {
	const op = "store: event"
	var e steward.Entry
	found := false
	err := s.lend(ctx, op, func(ctx context.Context, r *reader) error {
		b, ok := parse32(id)
		if !ok {
			return nil
		}
		if one := s.tray.get(b); one != nil {
			found = true
			var err error
			e, err = one.entry()
			return err
		}
		return r.rows(ctx, `SELECT `+entryColumns+` FROM events e WHERE e.id = ?1`, []any{b[:]}, func(row scanner) (err error) {
			found = true
			e, err = scanEntry(row)
			return err
		})
	})
	if err == nil && !found {
		err = fault.E(fault.NotFound, op, "no such event")
	}
	return e, err
}

// Due returns what is over at now, at most limit of each sort, the longest overdue first. What
// waits is due by its deadline or by its NIP-40 expiration, whichever is earlier. Of repositories,
// limit counts the withdrawn and the deleted ones apart: their grace periods differ, and those of
// the longer one must not hide the others.
func (s *Store) Due(ctx context.Context, now time.Time, limit int) (steward.Due, error) {
	var due steward.Due
	if limit <= 0 {
		return due, nil
	}
	err := s.read(ctx, "store: due", func(ctx context.Context, r *reader) error {
		entries := func(text string, at any) ([]steward.Entry, error) {
			var out []steward.Entry
			err := r.rows(ctx, text, []any{at, limit}, func(row scanner) error {
				e, err := scanEntry(row)
				out = append(out, e)
				return err
			})
			return out, err
		}
		var err error
		if due.Waiting, err = entries(`SELECT `+entryColumns+` FROM events e INDEXED BY events_deadline
			WHERE shelf = 1 AND deadline <= ?1 ORDER BY deadline LIMIT ?2+0`, clampNanos(now)); err != nil {
			return err
		}
		expired, err := entries(`SELECT `+entryColumns+` FROM events e INDEXED BY events_expires
			WHERE shelf = 1 AND expires IS NOT NULL AND expires <= ?1 ORDER BY expires LIMIT ?2+0`, now.Unix())
		if err != nil {
			return err
		}
		for _, e := range expired {
			if len(due.Waiting) < limit && (e.Deadline.IsZero() || e.Deadline.After(now)) {
				due.Waiting = append(due.Waiting, e)
			}
		}
		if due.Expired, err = entries(`SELECT `+entryColumns+` FROM events e INDEXED BY events_expires
			WHERE shelf = 2 AND expires IS NOT NULL AND expires <= ?1 ORDER BY expires LIMIT ?2+0`, now.Unix()); err != nil {
			return err
		}
		for _, text := range []string{sqlDueOrphans, sqlDueBoxes} {
			err = r.rows(ctx, text, []any{clampNanos(now), limit}, func(row scanner) error {
				o, err := scanOrphan(row)
				due.Orphans = append(due.Orphans, o)
				return err
			})
			if err != nil {
				return err
			}
		}
		slices.SortStableFunc(due.Orphans, func(a, b steward.Orphan) int { return a.Deadline.Compare(b.Deadline) })
		due.Orphans = due.Orphans[:min(len(due.Orphans), limit)]
		for _, h := range []grasp.Hosting{grasp.Withdrawn, grasp.Deleted} {
			err := r.rows(ctx, `SELECT identifier, owner, hosting, since FROM repos
				WHERE hosting = ?1 ORDER BY since LIMIT ?2+0`, []any{h, limit}, func(row scanner) error {
				repo, err := scanRepo(row)
				due.Repos = append(due.Repos, repo)
				return err
			})
			if err != nil {
				return err
			}
		}
		slices.SortStableFunc(due.Repos, func(a, b steward.Repo) int { return a.Since.Compare(b.Since) })
		return nil
	})
	return due, err
}

const (
	sqlDueOrphans = `SELECT identifier, owner, event, deadline, 0 FROM orphans WHERE deadline <= ?1 ORDER BY deadline LIMIT ?2+0`
	sqlDueBoxes   = `SELECT identifier, owner, event, deadline, 1 FROM box_orphans WHERE deadline <= ?1 ORDER BY deadline LIMIT ?2+0`
)

// Unsettled returns, sorted, the identifiers that were marked and not cleared since, and those
// for which events wait.
func (s *Store) Unsettled(ctx context.Context) ([]string, error) {
	var out []string
	err := s.read(ctx, "store: unsettled", func(ctx context.Context, r *reader) error {
		return r.rows(ctx, sqlUnsettled, nil, func(row scanner) error {
			var id string
			err := row.Scan(&id)
			out = append(out, id)
			return err
		})
	})
	return out, err
}

// sqlUnsettled is asked at each start: it begins with what waits, whatever else there is.
const sqlUnsettled = `SELECT identifier FROM unsettled
	UNION SELECT s.identifier FROM events e CROSS JOIN subjects s ON s.event = e.seq WHERE e.shelf = 1
	ORDER BY 1`

// Unrecorded returns how the refs of repo, which are now, differ from those as of the last Commit that moved any; if
// none did, there were none. They are compared as they are read: there may be tens of thousands.
func (s *Store) Unrecorded(ctx context.Context, repo grasp.Addr, now grasp.RefList) ([]grasp.RefChange, error) {
	var diff *grasp.RefDiff
	err := s.read(ctx, "store: settled refs", func(ctx context.Context, r *reader) error {
		diff = now.Since() // of a read that is tried again nothing stays
		owner, ok := parse32(repo.Owner)
		if !ok {
			return nil
		}
		if repo.Box {
			return r.boxRefs(ctx, repo, owner, diff)
		}
		var name, oid sql.RawBytes
		var digits []byte
		return r.rows(ctx, `SELECT name, oid FROM refs WHERE identifier = ?1 AND owner = ?2 ORDER BY name`, []any{repo.ID, owner[:]}, func(row scanner) error {
			if err := row.Scan(&name, &oid); err != nil {
				return err
			}
			digits = hex.AppendEncode(digits[:0], oid)
			diff.Was(name, digits)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return diff.Changes(), nil
}

// Lookup answers what the admission of one event depends on. With an empty Source nothing is
// counted by source: no such limit applies then.
// A Brief question is answered from memory where that will do.
func (s *Store) Lookup(ctx context.Context, q steward.Question) (steward.Answer, error) {
	var a steward.Answer
	if q.Brief && (s.recall.anchors(q, s.cfg.Now().Unix()) || s.tray.named(q.IDs)) {
		a.Related = true
		return a, s.open(ctx, "store: lookup")
	}
	err := s.lend(ctx, "store: lookup", func(ctx context.Context, r *reader) error {
		id, err := need32("event", q.ID)
		if err != nil {
			return err
		}
		author, err := need32("author", q.Author)
		if err != nil {
			return err
		}
		onTray, related := s.tray.get(id) != nil, s.tray.related(q) // before the database
		args := append(tombArgs(author, id, q.Coordinate, q.Created), id[:], q.Source)
		if _, err := r.row(sqlAbout, args, &a.Known, &a.Deleted, &a.WaitingByAuthor, &a.WaitingBySource); err != nil {
			return err
		}
		if kind, key, d, ok := parseCoordinate(q.Coordinate); ok {
			var one int
			a.Newer, err = r.row(sqlNewer, []any{kind, key[:], d, q.Created, id[:]}, &one)
			if err != nil {
				return err
			}
		}
		if q.Source == "" {
			a.WaitingBySource = 0
		}
		a.WaitingInAll = int(s.waiting.Load())
		now := s.cfg.Now().Unix()
		if onTray {
			a.Known = grasp.Served
		}
		if a.Related = related || s.recall.anchors(q, now); !a.Related {
			a.Related, err = r.related(ctx, s.recall, q, id, now)
		}
		return err
	})
	if err != nil {
		return steward.Answer{}, err
	}
	return a, nil
}

const (
	sqlAbout = `SELECT ifnull((SELECT shelf FROM events WHERE id = ?5), 0), ` + coveringTomb + `,
		(SELECT count(*) FROM events INDEXED BY events_waiting WHERE pubkey = ?1 AND shelf = 1),
		(SELECT count(*) FROM events INDEXED BY events_source WHERE source = ?6 AND shelf = 1)`
	// Where the index is left to SQLite it compares the kind with that of every partial index, and
	// prepares the statement anew for each other kind.
	sqlNewer = `SELECT 1 FROM events INDEXED BY events_version
		WHERE kind = ?1 AND pubkey = ?2 AND d = ?3 AND shelf = 2 AND d IS NOT NULL
		AND (created_at > ?4 OR created_at = ?4 AND id < ?5)`
)

// related reports whether a served event connects to the one that q asks about (G01-801).
func (r *reader) related(ctx context.Context, m *recall, q steward.Question, id id32, now int64) (bool, error) {
	var one int
	// (b) an event that is named by id
	if len(q.IDs) > 0 {
		var ids []string
		for _, v := range q.IDs {
			if grasp.IsHex(v, 64) {
				ids = append(ids, v)
			}
		}
		list, err := json.Marshal(ids)
		if err != nil {
			return false, err
		}
		if ok, err := r.row(sqlNamed, []any{string(list), now}, &one); ok || err != nil {
			return ok, err
		}
	}
	// (a) an event that is named by its coordinate
	for _, v := range q.Addrs {
		kind, author, d, ok := parseCoordinate(v)
		if !ok {
			continue
		}
		before := m.departures()
		var expires *int64
		if ok, err := r.row(sqlAddressed, []any{kind, author[:], d, now}, &expires); ok || err != nil {
			if ok {
				m.anchored(v, expires, before)
			}
			return ok, err
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
	}
	// (c) and (d) an event that names this one
	names := func(letters, value string) (bool, error) {
		for _, l := range []byte(letters) {
			if ok, err := r.row(sqlNaming, []any{tagKey(l, value), now}, &one); ok || err != nil {
				return ok, err
			}
		}
		return false, nil
	}
	if ok, err := names("eEq", string(id.id())); ok || err != nil || q.Coordinate == "" {
		return ok, err
	}
	return names("aAq", q.Coordinate)
}

const (
	sqlNamed = `SELECT 1 FROM json_each(?1) j CROSS JOIN events e ON e.id = unhex(j.value)
		WHERE e.shelf = 2 AND (e.expires IS NULL OR e.expires > ?2) LIMIT 1`
	sqlAddressed = `SELECT expires FROM events INDEXED BY events_version
		WHERE kind = ?1 AND pubkey = ?2 AND d = ?3 AND shelf = 2 AND d IS NOT NULL AND (expires IS NULL OR expires > ?4)`
	sqlNaming = `SELECT 1 FROM tags WHERE key = ?1 AND (expires IS NULL OR expires > ?2) LIMIT 1`
)

// A RepoInfo is a repository as a page shows it.
type RepoInfo struct {
	Addr         grasp.Addr
	Hosting      grasp.Hosting // Live or Withdrawn
	Since        time.Time     // when Hosting became what it is
	Announcement []byte        // the JSON of the served announcement
}

// Repos returns up to limit repositories that are read here and whose announcement is served,
// the newest first (N-045: what waits is on no page).
func (s *Store) Repos(ctx context.Context, limit int) ([]RepoInfo, error) {
	var out []RepoInfo
	if limit <= 0 {
		return nil, nil
	}
	err := s.read(ctx, "store: repos", func(ctx context.Context, r *reader) error {
		return r.rows(ctx, `SELECT r.identifier, r.owner, r.hosting, r.since, e.raw
			FROM repos r INDEXED BY repos_since
			CROSS JOIN events e INDEXED BY events_version
			ON e.kind = 30617 AND e.pubkey = r.owner AND e.d = r.identifier AND e.shelf = 2 AND e.d IS NOT NULL
			WHERE r.hosting IN (1, 2) AND (e.expires IS NULL OR e.expires > ?1)
			ORDER BY r.since DESC LIMIT ?2+0`, []any{s.cfg.Now().Unix(), limit}, func(row scanner) error {
			var i RepoInfo
			var owner id32
			var since *int64
			err := row.Scan(&i.Addr.ID, &owner, &i.Hosting, &since, &i.Announcement)
			i.Addr.Owner, i.Since = owner.key(), fromNanos(since)
			out = append(out, i)
			return err
		})
	})
	return out, err
}

// ReposAfter returns up to limit repositories that have a home here, whatever their hosting, in the
// order of owner and identifier, beginning behind after; the zero Addr begins at the beginning.
func (s *Store) ReposAfter(ctx context.Context, after grasp.Addr, limit int) ([]grasp.Addr, error) {
	owner, ok := parse32(after.Owner)
	if !ok && after.Owner != "" {
		return nil, fault.Errorf(fault.Invalid, "store: repos", "%q is not a public key", after.Owner)
	}
	var out []grasp.Addr
	err := s.read(ctx, "store: repos", func(ctx context.Context, r *reader) error {
		return r.rows(ctx, `SELECT owner, identifier FROM repos INDEXED BY repos_owner
			WHERE (owner, identifier) > (?1, ?2) ORDER BY owner, identifier LIMIT ?3+0`,
			[]any{owner[:], after.ID, limit}, func(row scanner) error {
				var key id32
				var a grasp.Addr
				err := row.Scan(&key, &a.ID)
				a.Owner = key.key()
				out = append(out, a)
				return err
			})
	})
	return out, err
}

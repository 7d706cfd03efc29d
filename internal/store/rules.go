package store

import (
	"context"
	"strconv"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
)

var _ steward.Books = (*Store)(nil)

// book queues f for the writer, which calls it in a transaction. f may be called again if that
// failed.
func (s *Store) book(ctx context.Context, op string, f func(a *applier) error) error {
	req := &request{plan: &plan{book: f}, done: make(chan struct{})}
	if err := s.enqueue(ctx, req); err != nil {
		return fault.Wrap(op, err)
	}
	select {
	case <-req.done:
	case <-ctx.Done():
		if req.state.CompareAndSwap(queued, left) {
			return fault.Wrap(op, ctx.Err())
		}
		<-req.done
	}
	return req.err
}

// Rules returns the rules of the table by number. What no longer parses is left out: it was written
// by a newer version of this program.
func (s *Store) Rules(ctx context.Context) ([]grasp.Rule, error) {
	var out []grasp.Rule
	err := s.read(ctx, "store: rules", func(ctx context.Context, r *reader) error {
		return r.rows(ctx, `SELECT number, topic, name, action, reason, author, at FROM rules ORDER BY number LIMIT ?1+0`,
			[]any{steward.MaxRules}, func(row scanner) error {
				rule := grasp.Rule{Source: grasp.FromTable}
				var topic, name, action string
				var at int64
				if err := row.Scan(&rule.Number, &topic, &name, &action, &rule.Reason, &rule.By, &at); err != nil {
					return err
				}
				rule.At = fromNanos(&at).Unix()
				t, err := grasp.ParseTopic(topic)
				if err == nil {
					rule.Subject, err = grasp.ParseSubject(t, name)
				}
				if err == nil {
					rule.Action, err = grasp.ParseAction(action)
				}
				if err != nil {
					s.cfg.Log.Warn("store: a rule is not understood", "number", rule.Number, "err", err)
					return nil
				}
				out = append(out, rule)
				return nil
			})
	})
	return out, err
}

// Decide is part of steward.Books. A rule that makes no sense is a fault.Invalid.
func (s *Store) Decide(ctx context.Context, r grasp.Rule) (grasp.Rule, error) {
	const op = "store: decide"
	if err := r.Check(); err != nil {
		return r, fault.Errorf(fault.Invalid, op, "%v", err)
	}
	r.Source = grasp.FromTable
	err := s.book(ctx, op, func(a *applier) error {
		if err := a.exec(a.ctx, `DELETE FROM rules WHERE topic = ?1 AND name = ?2`, r.Subject.Topic.String(), r.Subject.Name); err != nil {
			return err
		}
		var n int
		if _, err := a.row(`SELECT count(*) FROM rules`, nil, &n); err != nil {
			return err
		}
		if n >= steward.MaxRules {
			return fault.Errorf(fault.TooLarge, op, "there are %d rules already; remove some first, or deny an owner or a range in place of single things", n)
		}
		number, err := a.insert(a.ctx, `INSERT INTO rules (topic, name, action, reason, author, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)`,
			r.Subject.Topic.String(), r.Subject.Name, r.Action.String(), r.Reason, r.By, clampNanos(time.Unix(r.At, 0)))
		r.Number = int(number)
		return err
	})
	return r, err
}

// Withdraw is part of steward.Books.
func (s *Store) Withdraw(ctx context.Context, sub grasp.Subject, act grasp.Action) (found bool, err error) {
	err = s.book(ctx, "store: withdraw", func(a *applier) error {
		var one int
		if found, err = a.row(`SELECT 1 FROM rules WHERE topic = ?1 AND name = ?2 AND action = ?3`,
			[]any{sub.Topic.String(), sub.Name, act.String()}, &one); err != nil || !found {
			return err
		}
		return a.exec(a.ctx, `DELETE FROM rules WHERE topic = ?1 AND name = ?2`, sub.Topic.String(), sub.Name)
	})
	return found && err == nil, err
}

// Profile returns what the server says of itself in place of its configuration, by name.
func (s *Store) Profile(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	err := s.read(ctx, "store: profile", func(ctx context.Context, r *reader) error {
		return r.rows(ctx, `SELECT name, value FROM profile LIMIT 100`, nil, func(row scanner) error {
			var name, value string
			err := row.Scan(&name, &value)
			out[name] = value
			return err
		})
	})
	return out, err
}

// SetProfile writes what the server says of itself from now on: by is a key in hex, or says how it
// was set. An empty value gives the word back to the configuration.
func (s *Store) SetProfile(ctx context.Context, name, value, by string) error {
	return s.book(ctx, "store: profile", func(a *applier) error {
		if value == "" {
			return a.exec(a.ctx, `DELETE FROM profile WHERE name = ?1`, name)
		}
		return a.exec(a.ctx, `INSERT INTO profile (name, value, author, at) VALUES (?1, ?2, ?3, ?4)
			ON CONFLICT DO UPDATE SET value = excluded.value, author = excluded.author, at = excluded.at`,
			name, value, by, clampNanos(a.cfg.Now()))
	})
}

// A stocktake is one of the statements that Concerned is made of. It finds the events behind a moment
// and an id, newest first; ?1 is the limit, ?2 and ?3 the mark, and what follows are its own.
type stocktake struct {
	text string
	args []any
}

// behind is the part of a stocktake that skips what was seen.
const behind = ` AND (e.created_at < ?2 OR e.created_at = ?2 AND e.id > ?3) ORDER BY e.created_at DESC, e.id LIMIT ?1+0`

const (
	takeAuthor        = `SELECT ` + entryColumns + ` FROM events e INDEXED BY events_author WHERE e.pubkey = ?4 AND e.shelf = 2` + behind
	takeAuthorWaiting = `SELECT ` + entryColumns + ` FROM events e INDEXED BY events_waiting WHERE e.pubkey = ?4 AND e.shelf = 1` + behind
	takeKind          = `SELECT ` + entryColumns + ` FROM events e INDEXED BY events_kind WHERE e.kind = ?4 AND e.shelf = 2` + behind
	takeKindWaiting   = `SELECT ` + entryColumns + ` FROM events e INDEXED BY events_waiting WHERE e.kind = ?4 AND e.shelf = 1` + behind
	takeEvent         = `SELECT ` + entryColumns + ` FROM events e WHERE e.id = ?4` + behind
	takeName          = `SELECT ` + entryColumns + ` FROM subjects s CROSS JOIN events e ON e.seq = s.event
		WHERE s.identifier = ?4 AND e.kind IN (30617, 30618)` + behind
	takeOwned = `SELECT ` + entryColumns + ` FROM subjects s CROSS JOIN events e ON e.seq = s.event
		WHERE s.identifier = ?4 AND e.pubkey = ?5 AND e.kind IN (30617, 30618)` + behind
	takeOwner = `SELECT ` + entryColumns + ` FROM events e INDEXED BY events_author_kind
		WHERE e.pubkey = ?4 AND e.kind = ?5 AND e.shelf = 2` + behind
	takeOwnerWaiting = `SELECT ` + entryColumns + ` FROM events e INDEXED BY events_waiting
		WHERE e.pubkey = ?4 AND e.kind = ?5 AND e.shelf = 1` + behind
	takeTag = `SELECT ` + entryColumns + ` FROM tags t CROSS JOIN events e ON e.seq = t.event
		WHERE t.key = ?4 AND (t.created_at < ?2 OR t.created_at = ?2 AND t.id > ?3) ORDER BY t.created_at DESC, t.id LIMIT ?1+0`
)

// stocktakes returns what has to be gone through for s.
func stocktakes(s grasp.Subject) ([]stocktake, error) {
	switch s.Topic {
	case grasp.OfAuthor:
		key, err := need32("author", s.Key())
		return []stocktake{{takeAuthor, []any{key[:]}}, {takeAuthorWaiting, []any{key[:]}}}, err
	case grasp.OfEvent:
		id, err := need32("event", s.Name)
		return []stocktake{{takeEvent, []any{id[:]}}}, err
	case grasp.OfKind:
		kind, err := strconv.Atoi(s.Name)
		return []stocktake{{takeKind, []any{kind}}, {takeKindWaiting, []any{kind}}}, err
	case grasp.OfRepo:
		p := s.Pattern()
		if p.Owner == "" {
			return []stocktake{{takeName, []any{p.ID}}}, nil
		}
		key, err := need32("owner", p.Owner)
		if err != nil {
			return nil, err
		}
		if p.ID != "" {
			addr := grasp.Addr{Owner: p.Owner, ID: p.ID}.Coordinate()
			return []stocktake{
				{takeOwned, []any{p.ID, key[:]}},
				{takeTag, []any{tagKey('a', addr)}}, {takeTag, []any{tagKey('A', addr)}},
			}, nil
		}
		var out []stocktake
		for _, kind := range []int{grasp.KindAnnouncement, grasp.KindState} {
			out = append(out, stocktake{takeOwner, []any{key[:], kind}}, stocktake{takeOwnerWaiting, []any{key[:], kind}})
		}
		return out, nil
	}
	return nil, nil // nothing that is kept is about an address
}

// Concerned is part of steward.Books. A batch holds no more than 16 MiB of events beside its last.
func (s *Store) Concerned(ctx context.Context, sub grasp.Subject, from steward.Mark, limit int) (list []steward.Entry, next steward.Mark, more bool, err error) {
	all, err := stocktakes(sub)
	if err != nil || from.Part >= len(all) || limit <= 0 {
		return nil, from, false, err
	}
	at, id := from.At, id32{}
	if from.ID == "" {
		at = 1<<63 - 1
	} else if id, err = need32("event", from.ID); err != nil {
		return nil, from, false, err
	}
	part := all[from.Part]
	if err := s.fileAll(ctx); err != nil {
		return nil, from, false, fault.Wrap("store: concerned", err)
	}
	err = s.read(ctx, "store: concerned", func(ctx context.Context, r *reader) error {
		bytes := 0
		err := r.rows(ctx, part.text, append([]any{limit, at, id[:]}, part.args...), func(row scanner) error {
			e, err := scanEntry(row)
			if err != nil {
				return err
			}
			list = append(list, e)
			if bytes += len(e.Raw); bytes > maxRemoved {
				return errEnough
			}
			return nil
		})
		if err == errEnough {
			more = true
			return nil
		}
		return err
	})
	if err != nil {
		return nil, from, false, err
	}
	if n := len(list); more || n == limit {
		last := list[n-1].Event
		return list, steward.Mark{Part: from.Part, At: int64(last.CreatedAt), ID: grasp.EventID(last.ID)}, true, nil
	}
	next = steward.Mark{Part: from.Part + 1}
	return list, next, next.Part < len(all), nil
}

// errEnough ends a batch that has grown large.
var errEnough = fault.E(fault.TooLarge, "store: concerned", "enough for one batch")

const (
	sqlHomesOf    = `SELECT identifier, owner, hosting, since FROM repos INDEXED BY repos_owner WHERE owner = ?4 AND (identifier, owner) > (?2, ?3) ORDER BY identifier LIMIT ?1+0`
	sqlHomesNamed = `SELECT identifier, owner, hosting, since FROM repos WHERE identifier = ?4 AND (identifier, owner) > (?2, ?3) ORDER BY owner LIMIT ?1+0`
	sqlHome       = `SELECT identifier, owner, hosting, since FROM repos WHERE identifier = ?4 AND owner = ?5 AND (identifier, owner) > (?2, ?3) LIMIT ?1+0`
)

// Homes is part of steward.Books.
func (s *Store) Homes(ctx context.Context, p grasp.Pattern, after grasp.Addr, limit int) ([]steward.Repo, error) {
	const op = "store: homes"
	if p == (grasp.Pattern{}) || limit <= 0 {
		return nil, nil
	}
	behind := []byte{0} // sorts before every owner; the driver makes NULL of an empty one
	if after.Owner != "" {
		k, err := need32("owner", after.Owner)
		if err != nil {
			return nil, fault.Wrap(op, err)
		}
		behind = k[:]
	}
	args := []any{limit, after.ID, behind}
	text := sqlHomesNamed
	if p.Owner != "" {
		k, err := need32("owner", p.Owner)
		if err != nil {
			return nil, fault.Wrap(op, err)
		}
		if text = sqlHomesOf; p.ID != "" {
			text, args = sqlHome, append(args, p.ID)
		}
		args = append(args, k[:])
	} else {
		args = append(args, p.ID)
	}
	var out []steward.Repo
	err := s.read(ctx, op, func(ctx context.Context, r *reader) error {
		return r.rows(ctx, text, args, func(row scanner) error {
			repo, err := scanRepo(row)
			out = append(out, repo)
			return err
		})
	})
	return out, err
}

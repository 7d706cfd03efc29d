package store

import (
	"context"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
)

// weigh records what a repository holds. Of one that has no row, and is no box, nothing is recorded:
// it was removed meanwhile.
func (a *applier) weigh(w weightRow) error {
	if w.own == 0 && w.pulls == 0 {
		return a.exec(a.ctx, `DELETE FROM weights WHERE box = ?1 AND owner = ?2 AND identifier = ?3`, w.box, w.owner[:], w.id)
	}
	return a.exec(a.ctx, `INSERT INTO weights (box, owner, identifier, own, pulls) SELECT ?1, ?2, ?3, ?4, ?5
		WHERE ?1 OR EXISTS (SELECT 1 FROM repos WHERE identifier = ?3 AND owner = ?2)
		ON CONFLICT DO UPDATE SET own = excluded.own, pulls = excluded.pulls`, w.box, w.owner[:], w.id, w.own, w.pulls)
}

// Weight returns what was last recorded of repo.
func (s *Store) Weight(ctx context.Context, repo grasp.Addr) (steward.Weight, error) {
	var w steward.Weight
	err := s.read(ctx, "store: weight", func(ctx context.Context, r *reader) error {
		owner, ok := parse32(repo.Owner)
		if !ok {
			return nil
		}
		_, err := r.row(`SELECT own, pulls FROM weights WHERE box = ?1 AND owner = ?2 AND identifier = ?3`,
			[]any{repo.Box, owner[:], repo.ID}, &w.Own, &w.Pulls)
		return err
	})
	return w, err
}

// Kept sums up what the repositories of owner hold. It reads one row of an index for each.
func (s *Store) Kept(ctx context.Context, owner grasp.PubKey, boxes bool) (steward.Kept, error) {
	var k steward.Kept
	err := s.read(ctx, "store: kept", func(ctx context.Context, r *reader) error {
		key, ok := parse32(owner)
		if !ok {
			return nil
		}
		if boxes {
			return r.keptBoxes(key, &k)
		}
		err := r.rows(ctx, sqlKept, []any{key[:]}, func(row scanner) error {
			var hosting grasp.Hosting
			var n int
			var w steward.Weight
			if err := row.Scan(&hosting, &n, &w.Own, &w.Pulls); err != nil {
				return err
			}
			if hosting == grasp.Deleted {
				k.Deleted, k.DeletedWeight = n, w
				return nil
			}
			k.Repos += n
			k.Weight.Own, k.Weight.Pulls = k.Weight.Own+w.Own, k.Weight.Pulls+w.Pulls
			return nil
		})
		if err != nil || k.Deleted == 0 {
			return err
		}
		return r.rows(ctx, sqlOldest, []any{key[:], steward.MaxOldest}, func(row scanner) error {
			repo, err := scanRepo(row)
			k.Oldest = append(k.Oldest, repo)
			return err
		})
	})
	if err != nil {
		return steward.Kept{}, err
	}
	return k, nil
}

const (
	sqlKept = `SELECT r.hosting, count(*), ifnull(sum(w.own), 0), ifnull(sum(w.pulls), 0)
		FROM repos r INDEXED BY repos_kept
		LEFT JOIN weights w ON w.box = 0 AND w.owner = r.owner AND w.identifier = r.identifier
		WHERE r.owner = ?1 GROUP BY r.hosting`
	sqlOldest = `SELECT identifier, owner, hosting, since FROM repos INDEXED BY repos_kept
		WHERE owner = ?1 AND hosting = 3 ORDER BY since, identifier LIMIT ?2+0`
)

// keptBoxes is Kept for contributors' boxes. A ref that is on its way in counts: it has a placeholder.
func (r *reader) keptBoxes(owner id32, k *steward.Kept) error {
	if _, err := r.row(`SELECT ifnull(sum(own), 0) FROM weights WHERE box = 1 AND owner = ?1`, []any{owner[:]}, &k.Weight.Own); err != nil {
		return err
	}
	_, err := r.row(`SELECT count(*), count(DISTINCT identifier) FROM (
			SELECT identifier, event FROM box_refs INDEXED BY box_refs_owner WHERE owner = ?1
			UNION SELECT identifier, event FROM box_orphans INDEXED BY box_orphans_owner WHERE owner = ?1)`,
		[]any{owner[:]}, &k.Refs, &k.Repos)
	return err
}

// Walk returns up to limit repositories behind after: those with a row, then the boxes that weigh
// anything.
func (s *Store) Walk(ctx context.Context, after grasp.Addr, limit int) ([]steward.Weighed, error) {
	var out []steward.Weighed
	if limit <= 0 {
		return nil, nil
	}
	err := s.read(ctx, "store: walk", func(ctx context.Context, r *reader) error {
		owner, _ := parse32(after.Owner) // else no owner, which is before all others
		take := func(box bool, text string, args ...any) error {
			return r.rows(ctx, text, append(args, limit-len(out)), func(row scanner) error {
				w := steward.Weighed{Repo: grasp.Addr{Box: box}}
				var key id32
				err := row.Scan(&w.Repo.ID, &key, &w.Weight.Own, &w.Weight.Pulls)
				w.Repo.Owner = key.key()
				out = append(out, w)
				return err
			})
		}
		if !after.Box {
			if err := take(false, sqlWalk, after.ID, owner[:]); err != nil {
				return err
			}
			after.ID, owner = "", id32{}
		}
		return take(true, sqlWalkBoxes, owner[:], after.ID)
	})
	return out, err
}

const (
	sqlWalk = `SELECT r.identifier, r.owner, ifnull(w.own, 0), ifnull(w.pulls, 0) FROM repos r
		LEFT JOIN weights w ON w.box = 0 AND w.owner = r.owner AND w.identifier = r.identifier
		WHERE (r.identifier, r.owner) > (?1, ?2) ORDER BY r.identifier, r.owner LIMIT ?3+0`
	sqlWalkBoxes = `SELECT identifier, owner, own, pulls FROM weights
		WHERE box = 1 AND (owner, identifier) > (?1, ?2) ORDER BY owner, identifier LIMIT ?3+0`
)

// A Holder is one key and what it keeps here.
type Holder struct {
	Key   grasp.PubKey
	Repos int            // that weigh anything
	Boxes int            // likewise
	Total steward.Weight // deleted repositories in their grace, and boxes, included
}

// Holders returns the keys that keep most here, at most limit of them, and what all keys keep. It looks
// at every repository that weighs anything: it is for the operator.
func (s *Store) Holders(ctx context.Context, limit int) (list []Holder, all steward.Weight, err error) {
	err = s.read(ctx, "store: holders", func(ctx context.Context, r *reader) error {
		if _, err := r.row(sqlStored, nil, &all.Own, &all.Pulls); err != nil || limit <= 0 {
			return err
		}
		return r.rows(ctx, `SELECT owner, sum(box = 0), sum(box), sum(own), sum(pulls) FROM weights
			GROUP BY owner ORDER BY sum(own + pulls) DESC, owner LIMIT ?1+0`, []any{limit}, func(row scanner) error {
			var h Holder
			var key id32
			err := row.Scan(&key, &h.Repos, &h.Boxes, &h.Total.Own, &h.Total.Pulls)
			h.Key = key.key()
			list = append(list, h)
			return err
		})
	})
	return list, all, err
}

const sqlStored = `SELECT ifnull(sum(own), 0), ifnull(sum(pulls), 0) FROM weights`

// storedBudget bounds how long whoever asks for Stored waits.
const storedBudget = 5 * time.Second

// Stored returns how many bytes all repositories hold, for the operator's metrics, and 0 if the
// database does not answer soon.
func (s *Store) Stored() int64 {
	ctx, cancel := context.WithTimeout(context.Background(), storedBudget)
	defer cancel()
	_, all, err := s.Holders(ctx, 0)
	if err != nil {
		if !fault.Is(err, fault.Closing) {
			s.cfg.Log.Warn("store: cannot add up what is stored", "err", err)
		}
		return 0
	}
	return all.Total()
}

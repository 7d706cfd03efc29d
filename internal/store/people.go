package store

import (
	"context"
	"slices"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

// How many events about a repository, and answers to each of them, are looked at for those who take part.
const (
	maxPeopleEvents  = 2_000
	maxPeopleAnswers = 100
	maxPeopleFiling  = 8 // rounds of filing what came just now, before it is read
)

// People returns who signed what is served about a repository: events that name its coordinate, and
// those that answer these. The newest come first, each key once, at most limit. While very much comes, what
// came a moment ago may be missing.
func (s *Store) People(ctx context.Context, coord string, limit int) ([]grasp.PubKey, error) {
	const op = "store: people"
	var out []grasp.PubKey
	seen := map[id32]struct{}{}
	for n := 0; n < maxPeopleFiling && s.tray.len() > 0; n++ {
		if err := s.haveFiled(ctx, &plan{file: fileSome}); err != nil {
			return nil, err
		}
	}
	err := s.lend(ctx, op, func(ctx context.Context, r *reader) error {
		var ids [][]byte
		look := func(key []byte, most int, name bool) error {
			return r.rows(ctx, sqlPeople, []any{key, most}, func(row scanner) error {
				var id, author id32
				if err := row.Scan(&id, &author); err != nil {
					return err
				}
				if _, twice := seen[author]; !twice && len(out) < limit {
					seen[author] = struct{}{}
					out = append(out, author.key())
				}
				if name {
					ids = append(ids, slices.Clone(id[:]))
				}
				return ctx.Err()
			})
		}
		for _, letter := range []byte("aAq") {
			if err := look(tagKey(letter, coord), maxPeopleEvents, true); err != nil {
				return err
			}
		}
		for _, id := range ids {
			for _, letter := range []byte("eEq") {
				if len(out) >= limit {
					return nil
				}
				if err := look(append([]byte{letter, formHex}, id...), maxPeopleAnswers, false); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return out, err
}

const sqlPeople = `SELECT e.id, e.pubkey FROM tags t CROSS JOIN events e ON e.seq = t.event
	WHERE t.key = ?1 ORDER BY t.created_at DESC, t.id LIMIT ?2+0`

// perNames is how many keys or ids one Query names.
const perNames = 100

// RelayLists calls each with the relay lists (kind 10002) that are served of keys.
func (s *Store) RelayLists(ctx context.Context, keys []grasp.PubKey, each func(ev *nostr.Event)) error {
	for some := range slices.Chunk(keys, perNames) {
		authors := make([]string, len(some))
		for i, k := range some {
			authors[i] = string(k)
		}
		if err := s.tellOf(ctx, nostr.Filter{Kinds: []int{grasp.KindRelayList}, Authors: authors, Limit: len(some)}, each); err != nil {
			return err
		}
	}
	return nil
}

// Named calls each with the served events among ids.
func (s *Store) Named(ctx context.Context, ids []grasp.EventID, each func(ev *nostr.Event)) error {
	for some := range slices.Chunk(ids, perNames) {
		names := make([]string, len(some))
		for i, id := range some {
			names[i] = string(id)
		}
		if err := s.tellOf(ctx, nostr.Filter{IDs: names, Limit: len(some)}, each); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) tellOf(ctx context.Context, f nostr.Filter, each func(ev *nostr.Event)) error {
	var bad error
	err := s.Query(ctx, f, func(_ grasp.EventID, raw []byte) bool {
		ev := new(nostr.Event)
		if bad = ev.UnmarshalJSON(raw); bad != nil {
			return false
		}
		each(ev)
		return true
	})
	if err == nil && bad != nil {
		err = told("store: events", bad)
	}
	return err
}

// maxOwn is how many of a key's newest events are looked at to find out whether they take part.
const maxOwn = 50

// Wrote reports whether anything that is served of key, among its newest, is about something here and
// not about who they are (G03-01).
func (s *Store) Wrote(ctx context.Context, key grasp.PubKey) (bool, error) {
	found := false
	err := s.tellOf(ctx, nostr.Filter{Authors: []string{string(key)}, Limit: maxOwn}, func(ev *nostr.Event) {
		switch ev.Kind {
		case grasp.KindDeletion, grasp.KindVanish:
		default:
			found = found || !slices.Contains(grasp.ProfileKinds, ev.Kind)
		}
	})
	return found, err
}

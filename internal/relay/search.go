package relay

import (
	"context"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

// loadSearch is loadOne for a filter with a search (NIP-50). Its answer is in the order of how well
// events fit, which only the whole answer shows: so it is asked for once. What of it does not fit
// in a page is asked for again by id, a page at a time.
func (s *session) loadSearch(sub *subscription, f nostr.Filter, seen map[key]struct{}, left *time.Duration) error {
	type later struct {
		id   grasp.EventID
		size int
	}
	var page []arrival
	var rest []later
	size := 0
	err := s.askSearch(left, func(ctx context.Context) error {
		page, rest, size = nil, nil, 0 // it may have been asked before
		return s.r.reader.Query(ctx, f, func(id grasp.EventID, raw []byte) bool {
			if len(rest) > 0 || size > 0 && size+len(raw) > pageBytes {
				rest = append(rest, later{id, len(raw)})
				return true
			}
			page = append(page, arrival{keyOf(string(id)), raw})
			size += len(raw)
			return true
		})
	})
	for {
		if err != nil || s.ctx.Err() != nil {
			return err
		}
		for _, a := range page {
			if _, sent := seen[a.key]; !sent {
				seen[a.key] = struct{}{}
				s.reply(item{head: sub.head, body: a.raw, sub: sub})
			}
		}
		if len(rest) == 0 {
			return nil
		}
		n := 0
		for size = 0; n < len(rest) && (n == 0 || size+rest[n].size <= pageBytes); n++ {
			size += rest[n].size
		}
		next := nostr.Filter{Limit: n}
		for _, l := range rest[:n] {
			next.IDs = append(next.IDs, string(l.id))
		}
		rest = rest[n:]
		raws := make(map[string][]byte, n)
		err = s.ask(left, func(ctx context.Context) error {
			return s.r.reader.Query(ctx, next, func(id grasp.EventID, raw []byte) bool {
				raws[string(id)] = raw
				return true
			})
		})
		page = page[:0]
		for _, id := range next.IDs {
			if raw := raws[id]; raw != nil { // what was deleted meanwhile is left out
				page = append(page, arrival{keyOf(id), raw})
			}
		}
	}
}

package store

import (
	"slices"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/search"
)

// index makes served events findable by their words (NIP-50).
func (a *applier) index(rows ...*row) error {
	for some := range slices.Chunk(rows, maxManyRows) {
		var args []any
		for _, r := range some {
			if r.hasWords() {
				args = append(args, r.seq, search.Join(r.words.Title), search.Join(r.words.Text))
			}
		}
		if len(args) == 0 {
			continue
		}
		// An event may have been released, and indexed so, before its turn came to be caught up with.
		if err := a.exec(a.ctx, insertWords[len(args)/3], args...); err != nil {
			return err
		}
	}
	return nil
}

// unindex undoes index. An event that is not in the index stays so.
func (a *applier) unindex(seq int64, kind int) error {
	if !search.Has(kind) {
		return nil
	}
	return a.exec(a.ctx, `DELETE FROM search WHERE rowid = ?1`, seq)
}

const (
	// Catching up is done in steps that look at so many events, and stop behind so many bytes of
	// JSON: the writer has others to serve.
	catchUpEvents = 1000
	catchUpBytes  = 256 << 10
)

// catchUp indexes some of the events that were served before there was an index.
func (a *applier) catchUp() error {
	var done, upto int64
	some, err := a.row(`SELECT done, upto FROM unsearched`, nil, &done, &upto)
	if err != nil || !some {
		return err
	}
	end := min(upto, done+catchUpEvents)
	for size := 0; size < catchUpBytes && done < end; {
		r := new(row)
		found, err := a.row(sqlUnsearched, []any{done, end}, &r.seq, &r.raw)
		if err != nil {
			return err
		}
		if !found {
			done = end
			break
		}
		ev := new(nostr.Event)
		if err := ev.UnmarshalJSON(r.raw); err != nil {
			return err
		}
		r.words = search.Of(ev)
		if err := a.index(r); err != nil {
			return err
		}
		done = r.seq
		size += len(r.raw)
	}
	if a.more = done < upto; a.more {
		return a.exec(a.ctx, `UPDATE unsearched SET done = ?1`, done)
	}
	return a.exec(a.ctx, `DELETE FROM unsearched`)
}

// sqlUnsearched names the kinds of search.Kinds; a test compares them.
const sqlUnsearched = `SELECT seq, raw FROM events NOT INDEXED
	WHERE seq > ?1 AND seq <= ?2 AND shelf = 2 AND kind IN (1617, 1618, 1619, 1621, 30617)
	ORDER BY seq LIMIT 1`

// catchUp is the goroutine that has the writer index what is unsearched, step by step between the
// changes of others, and ends when nothing is left. What fails is tried again at the next start.
func (s *Store) catchUp() {
	defer close(s.caughtUp)
	for more := true; more; {
		req := &request{plan: &plan{catchUp: true}, done: make(chan struct{})}
		if err := s.enqueue(s.life, req); err != nil {
			return // the store is closing
		}
		<-req.done
		if req.err != nil {
			s.cfg.Log.Warn("store: older events are not searchable yet, the next start tries again", "err", req.err)
			return
		}
		more = req.more
	}
}

package syncer

import (
	"context"
	"encoding/hex"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/negentropy"
)

const (
	perFetch   = 100     // events asked for by id at a time (G02-06)
	maxNeed    = 200_000 // events that one comparison may bring
	maxPages   = 10_000  // pages of one filter
	bundle     = 4 << 20 // bytes of events that are decided about together, at most
	trialTime  = 5 * time.Second
	negFrame   = 60_000
	negRounds  = 2_000
	longTurn   = 30 * time.Second // after which others get their turn
	firstNeg   = "n"
	firstFetch = "f"
)

// full compares all that the peer has with what is here (G02-06).
func (c *session) full() error {
	begin := c.s.cfg.Now()
	c.crowded.Store(false)
	err := c.turn("reading its history", func() error {
		w, _ := c.s.wantOf(c.p.url)
		return c.everything(w, nil)
	})
	if err != nil {
		return err
	}
	now := c.s.cfg.Now()
	c.p.change(func(m Mood) Mood {
		m = m.passed(now, c.s.cfg.Rand()).caught()
		if c.crowded.Load() {
			m.Repass = now.Add(crowdedPause) // by then there may be room
		}
		m.Seen = now
		return m
	})
	c.asked = begin
	c.s.log.Info("peer compared", "peer", c.p.url, "took", now.Sub(begin), "new", c.p.taken.Load())
	return nil
}

// since asks for what is newer than at.
func (c *session) since(at time.Time) error {
	begin := c.s.cfg.Now()
	from := nostr.Timestamp(at.Unix())
	err := c.turn("catching up", func() error {
		w, _ := c.s.wantOf(c.p.url)
		return c.everything(w, &from)
	})
	if err != nil {
		return err
	}
	now, spread := c.s.cfg.Now(), c.s.cfg.Rand()
	c.p.change(func(m Mood) Mood {
		m = m.caught()
		m.Seen = now
		if c.sure {
			// Time alone does not tell of what was made long ago and published, or released, during
			// the gap. To compare costs little where nothing is missing.
			m = m.sooner(now, spread)
		}
		return m
	})
	c.asked = begin
	return nil
}

// catchUp reads the whole history of what is new in w, and of threads.
func (c *session) catchUp(w want, roots []grasp.EventID) error {
	if w.empty() && len(roots) == 0 {
		return nil
	}
	return c.turn("reading the history of what is new", func() error {
		if err := c.each(w.first(), nil); err != nil {
			return err
		}
		found, err := c.findRoots(w)
		if err != nil {
			return err
		}
		return c.each(threads(texts(append(found, roots...))), nil)
	})
}

// turn waits for a place among those who read history.
func (c *session) turn(doing string, f func() error) error {
	c.p.busy("waiting for its turn")
	defer c.p.busy("")
	select {
	case c.s.history <- struct{}{}:
		defer func() { <-c.s.history }()
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
	c.p.busy(doing)
	c.held = c.s.cfg.Now()
	return f()
}

// yield lets others have the place that turn took, if it was held for long.
func (c *session) yield() error {
	if c.s.cfg.Now().Sub(c.held) < longTurn {
		return nil
	}
	<-c.s.history
	select {
	case c.s.history <- struct{}{}:
		c.held = c.s.cfg.Now()
		return nil
	case <-c.ctx.Done():
		c.s.history <- struct{}{} // turn gives it back
		return context.Cause(c.ctx)
	}
}

func (c *session) everything(w want, since *nostr.Timestamp) error {
	if w.named {
		if err := c.each([]nostr.Filter{discovery()}, since); err != nil {
			return err
		}
	}
	// Announcements that were found may have made repositories of ours.
	if more, _ := c.s.wantOf(c.p.url); !more.without(w).empty() {
		w = more
	}
	if err := c.each(w.first(), since); err != nil {
		return err
	}
	roots, err := c.findRoots(w)
	if err != nil {
		return err
	}
	return c.each(threads(texts(roots)), since)
}

func (c *session) each(filters []nostr.Filter, since *nostr.Timestamp) error {
	for _, f := range filters {
		f.Since = since
		if err := c.fetch(f); err != nil {
			return err
		}
		if err := c.yield(); err != nil {
			return err
		}
	}
	return nil
}

// fetch brings in what matches f.
func (c *session) fetch(f nostr.Filter) error {
	if c.neg {
		done, err := c.reconcile(f)
		if done || err != nil {
			return err
		}
	}
	return c.page(f)
}

// A request is a subscription that ends.
type request struct {
	c     *session
	sub   string
	in    chan message
	until *time.Timer // of the whole
	quiet *time.Timer
	over  bool
}

// ask opens a request. end must be called.
func (c *session) ask(first string, patience time.Duration, msg func(sub string) []any) (*request, error) {
	if err := c.pace(); err != nil {
		return nil, err
	}
	r := &request{
		c: c, sub: c.name(first), in: make(chan message, maxAnswer),
		until: time.NewTimer(c.s.cfg.Longest), quiet: time.NewTimer(patience),
	}
	c.mu.Lock()
	c.answers[r.sub] = r.in
	c.mu.Unlock()
	return r, c.send(msg(r.sub)...)
}

// next returns what the peer says next. Its size is to be given back to the hoard.
func (r *request) next() (message, error) {
	r.quiet.Reset(r.c.s.cfg.Patience)
	return r.wait()
}

func (r *request) wait() (message, error) {
	select {
	case m := <-r.in:
		return m, nil
	case <-r.c.ctx.Done():
		return message{}, context.Cause(r.c.ctx)
	case <-r.until.C:
	case <-r.quiet.C:
	}
	return message{}, fault.E(fault.Internal, "syncer: ask", "it does not answer")
}

// end forgets the request. verb is what says so to the peer, or "" if it knows. It may be called twice.
func (r *request) end(verb string) {
	if r.over {
		return
	}
	r.over = true
	c := r.c
	r.until.Stop()
	r.quiet.Stop()
	c.mu.Lock()
	delete(c.answers, r.sub)
	c.mu.Unlock()
	for len(r.in) > 0 {
		c.s.hoard.bytes.Release((<-r.in).size)
	}
	if verb != "" && c.ctx.Err() == nil {
		_ = c.send(verb, r.sub) // a broken line is noticed by its reader
	}
}

// reconcile finds out by NIP-77 what is missing here, and fetches it. done is false if the peer does
// not, or not for this filter.
func (c *session) reconcile(f nostr.Filter) (done bool, err error) {
	var items []negentropy.Item
	err = c.s.library.Keys(c.ctx, []nostr.Filter{f}, func(id grasp.EventID, at int64) bool {
		items = append(items, negentropy.Item{At: uint64(max(at, 0)), ID: negentropy.ID(bytes32(id))})
		return true
	})
	if err != nil {
		return false, err
	}
	cl := negentropy.NewClient(negentropy.NewSet(items), negentropy.Limits{Frame: negFrame, Rounds: negRounds, Need: maxNeed})
	patience := c.s.cfg.Patience
	if !c.sure && !c.doc.known {
		patience = min(patience, trialTime) // it is tried once
	}
	r, err := c.ask(firstNeg, patience, func(sub string) []any {
		return []any{"NEG-OPEN", sub, f, hex.EncodeToString(cl.Start())}
	})
	if err != nil {
		return false, err
	}
	defer r.end("NEG-CLOSE")
	var need []negentropy.ID
	for {
		m, err := r.wait()
		if err != nil {
			if context.Cause(c.ctx) == nil && !c.sure {
				c.neg = false
				return false, nil
			}
			return false, err
		}
		c.s.hoard.bytes.Release(m.size)
		switch m.label {
		case "NEG-MSG":
		case "NEG-ERR":
			if throttled(m.text) {
				return false, fault.Errorf(fault.Busy, "syncer: reconcile", "it asks for less: %s", clip(m.text, maxTrouble))
			}
			return false, nil
		case "CLOSED":
			c.neg = c.sure
			return false, nil
		default:
			continue
		}
		c.sure = true
		c.p.mu.Lock()
		c.p.neg = true
		c.p.mu.Unlock()
		msg, err := hex.DecodeString(m.text)
		if err != nil {
			return false, c.blame("a reconciliation is not hex")
		}
		step, err := cl.Next(msg)
		if fault.Is(err, fault.TooLarge) {
			break // what was found so far is fetched; the next comparison finds more
		}
		if err != nil {
			c.neg = false
			return false, c.blame("a reconciliation is malformed")
		}
		need = append(need, step.Need...)
		if step.Next == nil {
			break
		}
		if err := c.send("NEG-MSG", r.sub, hex.EncodeToString(step.Next)); err != nil {
			return false, err
		}
		r.quiet.Reset(c.s.cfg.Patience)
	}
	r.end("NEG-CLOSE")
	return true, c.fetchIDs(need)
}

// fetchIDs brings in the events among ids that are neither here nor were refused (G02-10). The next
// ones are asked for while those that came are decided about.
func (c *session) fetchIDs(ids []negentropy.ID) error {
	var under *request
	var asked map[grasp.EventID]bool
	finish := func() error {
		if under == nil {
			return nil
		}
		r, want := under, asked
		under = nil
		return c.collect(r, func(ev *nostr.Event) bool {
			id := grasp.EventID(ev.ID)
			if !want[id] {
				return false
			}
			want[id] = false
			return true
		})
	}
	for len(ids) > 0 {
		var list []grasp.EventID
		for len(ids) > 0 && len(list) < perFetch {
			some := make([]grasp.EventID, 0, perFetch)
			for _, id := range ids[:min(len(ids), perFetch-len(list))] {
				some = append(some, grasp.EventID(hex.EncodeToString(id[:])))
			}
			ids = ids[len(some):]
			fresh, err := c.missing(some)
			if err != nil {
				return err
			}
			list = append(list, fresh...)
		}
		if len(list) == 0 {
			break
		}
		r, err := c.ask(firstFetch, c.s.cfg.Patience, func(sub string) []any {
			return []any{"REQ", sub, nostr.Filter{IDs: texts(list), Limit: len(list)}}
		})
		if err != nil {
			return err
		}
		if err := finish(); err != nil {
			r.end("")
			return err
		}
		under, asked = r, make(map[grasp.EventID]bool, len(list))
		for _, id := range list {
			asked[id] = true
		}
	}
	return finish()
}

// missing returns which of ids are worth asking for.
func (c *session) missing(ids []grasp.EventID) ([]grasp.EventID, error) {
	now := c.s.cfg.Now()
	var list []grasp.EventID
	for _, id := range ids {
		if !c.s.memory.has(id, now) {
			list = append(list, id)
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	return c.s.library.Unknown(c.ctx, list)
}

// collect takes in what a request brings until its EOSE. asked says whether an event was asked for.
func (c *session) collect(r *request, asked func(*nostr.Event) bool) error {
	var b pile
	defer func() { c.s.hoard.bytes.Release(b.size) }()
	flush := func() error {
		err := c.takeAll(&b)
		c.s.hoard.bytes.Release(b.size)
		b = pile{}
		return err
	}
	defer r.end("CLOSE")
	for {
		m, err := r.next()
		if err != nil {
			return err
		}
		b.size += m.size
		switch m.label {
		case "EOSE":
			r.end("CLOSE") // before anything takes long
			return flush()
		case "CLOSED":
			r.end("")
			if err := flush(); err != nil {
				return err
			}
			// Other questions may be answered.
			c.p.trouble("it refuses to answer: " + clip(m.text, maxTrouble))
			return c.wasClosed(m.text)
		case "EVENT":
			if err := c.pick(m, asked, &b); err != nil {
				return err
			}
			if b.size >= bundle {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
}

// page brings in what matches f by asking for it page by page, the newest first (G02-06). Pages
// overlap by the second at their edge, so that what was made in the same second is not lost.
func (c *session) page(f nostr.Filter) error {
	limit := presetLimit
	if n := c.doc.Limitation.MaxLimit; n > 0 {
		limit = n
	}
	f.Limit = limit
	edge := map[string]bool{} // what was seen of the second at the edge
	for range maxPages {
		oldest, fresh, n := nostr.Timestamp(0), 0, 0
		next := map[string]bool{}
		r, err := c.ask(firstFetch, c.s.cfg.Patience, func(sub string) []any { return []any{"REQ", sub, f} })
		if err != nil {
			return err
		}
		err = c.collect(r, func(ev *nostr.Event) bool {
			if !f.Matches(ev) || n >= limit {
				return false
			}
			if n++; n == 1 || ev.CreatedAt < oldest {
				oldest = ev.CreatedAt
				clear(next)
			}
			if ev.CreatedAt == oldest {
				next[ev.ID] = true
			}
			if !edge[ev.ID] {
				fresh++
			}
			return true
		})
		if err != nil {
			return err
		}
		if n == 0 || f.Since != nil && oldest < *f.Since {
			return nil
		}
		if n < limit && c.doc.Limitation.MaxLimit > 0 {
			return nil // it says how much it tells at a time, and told less
		}
		if fresh == 0 {
			// All of this second that can be told was told.
			if oldest--; oldest < 0 {
				return nil
			}
			next = map[string]bool{}
		}
		f.Until, edge = &oldest, next
	}
	return nil
}

func bytes32(id grasp.EventID) (b [32]byte) {
	_, _ = hex.Decode(b[:], []byte(strings.ToLower(string(id[:min(len(id), 64)]))))
	return b
}

package syncer

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// A pile is events that are decided about together.
type pile struct {
	list []arrival
	size int64 // bytes of the messages
}

type arrival struct {
	ev   *nostr.Event
	size int
}

// pick puts an event on the pile if it was asked for, and is worth a decision.
func (c *session) pick(m message, asked func(*nostr.Event) bool, b *pile) error {
	c.s.sent.events.Add(1)
	c.p.events.Add(1)
	if len(m.event) > c.s.cfg.MaxEvent {
		return c.blame("an event is too large")
	}
	ev, err := c.s.door.Parse(m.event)
	if err != nil {
		return c.blame("an event is malformed: " + err.Error())
	}
	if !asked(ev) {
		return c.blame("an event was not asked for")
	}
	if grasp.Ephemeral(ev.Kind) || c.s.memory.has(grasp.EventID(ev.ID), c.s.cfg.Now()) {
		return nil // what is never stored would go round for ever
	}
	b.list = append(b.list, arrival{ev, len(m.event)})
	return nil
}

// takeLive decides about an event of a live subscription.
func (c *session) takeLive(m message, asked []nostr.Filter) error {
	var b pile
	err := c.pick(m, func(ev *nostr.Event) bool {
		// A subscription that was given up meanwhile may have brought it.
		return len(asked) == 0 || slices.ContainsFunc(asked, func(f nostr.Filter) bool { return f.Matches(ev) })
	}, &b)
	if err != nil || len(b.list) == 0 || len(asked) == 0 {
		return err
	}
	fresh, err := c.s.library.Unknown(c.ctx, []grasp.EventID{grasp.EventID(b.list[0].ev.ID)})
	if err != nil || len(fresh) == 0 {
		return err
	}
	_, err = c.take(b.list[0])
	return err
}

// takeAll decides about a pile: announcements first, then in the order in which events were made.
// Those that only answer others are decided about side by side.
func (c *session) takeAll(b *pile) error {
	if len(b.list) == 0 {
		return nil
	}
	fresh, err := c.fresh(b.list)
	if err != nil {
		return err
	}
	slices.SortStableFunc(fresh, func(x, y arrival) int {
		return cmp.Or(cmp.Compare(rank(x.ev.Kind), rank(y.ev.Kind)), cmp.Compare(x.ev.CreatedAt, y.ev.CreatedAt))
	})
	var again []arrival
	for len(fresh) > 0 {
		n, first := 1, rank(fresh[0].ev.Kind)
		for sideBySide(first) && n < len(fresh) && rank(fresh[n].ev.Kind) == first {
			n++
		}
		late, err := c.takeSome(fresh[:n])
		if err != nil {
			return err
		}
		again = append(again, late...)
		fresh = fresh[n:]
	}
	for _, a := range again { // what they answer came at the same time
		if _, err := c.take(a); err != nil {
			return err
		}
	}
	return nil
}

// maxSide is how many events of one peer are decided about side by side.
const maxSide = 16

// sideBySide reports whether the order within a rank does not matter.
func sideBySide(rank int) bool { return rank == openingRank || rank == plainRank }

const openingRank, plainRank = 2, 4

// rank is in which order kinds are decided about.
func rank(kind int) int {
	switch kind {
	case grasp.KindAnnouncement:
		return 0
	case grasp.KindState:
		return 1
	case grasp.KindPatch, grasp.KindIssue:
		return openingRank
	case grasp.KindPull, grasp.KindPullUpdate:
		return 3
	case grasp.KindDeletion, grasp.KindVanish:
		return 5
	}
	return plainRank
}

// fresh returns what is not here yet.
func (c *session) fresh(list []arrival) ([]arrival, error) {
	ids := make([]grasp.EventID, len(list))
	for i, a := range list {
		ids[i] = grasp.EventID(a.ev.ID)
	}
	unknown, err := c.s.library.Unknown(c.ctx, ids)
	if err != nil {
		return nil, err
	}
	set := make(map[grasp.EventID]bool, len(unknown))
	for _, id := range unknown {
		set[id] = true
	}
	return slices.DeleteFunc(slices.Clone(list), func(a arrival) bool {
		id := grasp.EventID(a.ev.ID)
		is := set[id]
		set[id] = false // once
		return !is
	}), nil
}

// takeSome decides about events side by side, maxSide at a time: while some are written others are
// verified. late are those that nothing here connected to.
func (c *session) takeSome(list []arrival) (late []arrival, err error) {
	if len(list) == 1 {
		was, err := c.take(list[0])
		if was {
			late = list
		}
		return late, err
	}
	var mu sync.Mutex // guards the results, and next
	var all sync.WaitGroup
	next := 0
	another := func() (a arrival, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil || next == len(list) {
			return a, false
		}
		next++
		return list[next-1], true
	}
	for range min(len(list), maxSide) {
		all.Go(func() {
			for a, ok := another(); ok; a, ok = another() {
				was, e := false, error(nil)
				e = guarded(func() (err error) { was, err = c.take(a); return err })
				mu.Lock()
				err = cmp.Or(err, e)
				if was {
					late = append(late, a)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return late, err
}

// take decides about one event. unrelated says that nothing here connected to it. The error ends the
// session.
func (c *session) take(a arrival) (unrelated bool, err error) {
	select {
	case c.s.hands <- struct{}{}:
	case <-c.ctx.Done():
		return false, context.Cause(c.ctx)
	}
	verdict, err := c.s.door.Take(c.ctx, a.ev, a.size, c.p.url)
	<-c.s.hands
	now := c.s.cfg.Now()
	id := grasp.EventID(a.ev.ID)
	var no *grasp.Refusal
	switch {
	case err == nil:
		switch verdict {
		case grasp.Held:
			c.s.cfg.Synced(a.ev)
			fallthrough
		case grasp.Accepted:
			c.s.sent.taken.Add(1)
			c.p.taken.Add(1)
			c.p.mu.Lock()
			c.p.last = now
			c.p.mu.Unlock()
		}
		return false, nil
	case errors.As(err, &no):
		c.s.sent.refused.Add(1)
		c.p.refused.Add(1)
		c.s.log.Debug("refused from a peer", "peer", c.p.url, "event", a.ev.ID, "kind", a.ev.Kind, "rule", no.Rule, "text", no.Text)
		if no.Prefix == grasp.RateLimit || no.Limit != "" {
			c.crowded.Store(true) // the next comparison finds it again
			return false, nil
		}
		r := Refusal{ID: id, Subject: subjectOf(a.ev), Until: now.Add(refusedFor)}
		if no.Unrelated && a.ev.Kind != grasp.KindAnnouncement {
			r.Until = now.Add(strangerFor)
		}
		c.s.memory.add(r, now)
		return no.Unrelated && a.ev.Kind != grasp.KindAnnouncement, nil
	case fault.Is(err, fault.Invalid):
		return false, c.blame("an event is forged")
	case c.ctx.Err() != nil:
		return false, context.Cause(c.ctx)
	case fault.Is(err, fault.Closing):
		return false, err
	}
	c.s.log.Warn("cannot take an event of a peer", "peer", c.p.url, "event", a.ev.ID, "err", err)
	return false, nil
}

// subjectOf returns the identifier that an event is about, or a word that is none.
func subjectOf(ev *nostr.Event) string {
	switch ev.Kind {
	case grasp.KindAnnouncement, grasp.KindState:
		if d := grasp.FirstValue(ev, "d"); d != "" {
			return d
		}
	}
	_, coords := grasp.Anchors(ev)
	for _, c := range coords {
		if rest, ok := strings.CutPrefix(c, "30617:"); ok && len(rest) > 65 {
			return rest[65:]
		}
	}
	return "\x00" // no identifier begins so
}

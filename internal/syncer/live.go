package syncer

import (
	"slices"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

const (
	liveRoots    = 2_000 // newest threads that are listened to; the others are compared once a day
	perRequest   = 10    // filters of one subscription, where that will do
	mostFilters  = 20    // and at most
	consolidated = 70    // filters of a connection from which on they are packed anew (G02-07)
	spare        = 2     // subscriptions that are kept for requests
)

// live is what a session listens to.
type live struct {
	version  edition   // of the want
	extended time.Time // when there was more, last
	covered  want
	subs     []string // names, in the order in which they were opened
	filters  int
	most     int  // subscriptions that the peer lets be open; 0: as it says
	short    bool // not all that is wanted could be listened to: ask from time to time
}

// listen opens subscriptions for all that w wants, in place of those that are open (G02-07).
func (c *session) listen(w want, roots []grasp.EventID) error {
	// What matters most comes first: a peer may let us listen to a part only.
	filters := append(states(w.ids), related(w.coords)...)
	if w.named {
		filters = append(filters, discovery())
	}
	filters = append(filters, profiles(w.people)...)
	filters = append(filters, threads(texts(roots[:min(len(roots), liveRoots)]))...)
	filters = append(filters, deletions(w.authors)...)

	budget := c.budget()
	each := min(max(perRequest, (len(filters)+budget-1)/budget), c.mostEach())
	groups := slices.Collect(slices.Chunk(filters, each))
	c.open.short = len(groups) > budget || len(roots) > liveRoots
	groups = groups[:min(len(groups), budget)]

	old := c.open.subs
	c.open.subs, c.open.filters, c.open.covered = nil, 0, w
	if len(old)+len(groups) > budget {
		if err := c.unlisten(old); err != nil {
			return err
		}
		old = nil
	}
	for _, g := range groups {
		if err := c.subscribe(g); err != nil {
			return err
		}
	}
	return c.unlisten(old)
}

// budget is how many subscriptions may be open for listening.
func (c *session) budget() int {
	most := c.doc.Limitation.MaxSubscriptions
	if most == 0 {
		most = presetSubs
	}
	if c.open.most > 0 {
		most = min(most, c.open.most)
	}
	return max(1, most-spare)
}

// mostEach is how many filters one subscription may have.
func (c *session) mostEach() int {
	if n := c.doc.Limitation.MaxFilters; n > 0 {
		return n
	}
	return mostFilters
}

// subscribe listens to filters from now on.
func (c *session) subscribe(filters []nostr.Filter) error {
	sub := c.name("l")
	msg := []any{"REQ", sub}
	for _, f := range filters {
		f.Limit, f.LimitZero = 0, true
		msg = append(msg, f)
	}
	c.mu.Lock()
	c.filters[sub] = filters
	c.mu.Unlock()
	c.open.subs = append(c.open.subs, sub)
	c.open.filters += len(filters)
	c.count()
	if err := c.pace(); err != nil {
		return err
	}
	return c.send(msg...)
}

func (c *session) count() {
	c.p.mu.Lock()
	c.p.subs = len(c.open.subs)
	c.p.mu.Unlock()
}

func (c *session) unlisten(subs []string) error {
	for _, sub := range subs {
		if err := c.send("CLOSE", sub); err != nil {
			return err
		}
		c.mu.Lock()
		delete(c.filters, sub)
		c.mu.Unlock()
	}
	c.count()
	return nil
}

// extend listens to what is new, and reads its history.
func (c *session) extend() error {
	w, version := c.s.wantOf(c.p.url)
	roots, overflow := c.p.newRoots()
	fresh := w.without(c.open.covered)
	filters := append(fresh.first(), threads(texts(roots))...)
	gone := !c.open.covered.without(w).empty()
	c.open.version = version
	need := (len(filters) + c.mostEach() - 1) / c.mostEach()
	if gone || overflow || c.open.filters+len(filters) > consolidated || len(c.open.subs)+need > c.budget() {
		all, err := c.findRoots(w)
		if err != nil {
			return err
		}
		if err := c.listen(w, all); err != nil {
			return err
		}
		if overflow {
			roots = all
		}
	} else {
		for g := range slices.Chunk(filters, c.mostEach()) {
			if err := c.subscribe(g); err != nil {
				return err
			}
		}
		c.open.covered = w
	}
	return c.catchUp(fresh, roots)
}

// reopen takes in that the peer closed subscriptions: it lets fewer be open than it says.
func (c *session) reopen() error {
	c.mu.Lock()
	closed := c.closed
	c.closed = nil
	c.mu.Unlock()
	if len(closed) == 0 {
		return nil
	}
	c.open.subs = slices.DeleteFunc(c.open.subs, func(s string) bool { return slices.Contains(closed, s) })
	if len(c.open.subs) == 0 {
		c.open.short, c.open.filters = true, 0
		c.count()
		return nil // it lets us listen to nothing: ask from time to time
	}
	c.open.most = len(c.open.subs) + spare
	w, _ := c.s.wantOf(c.p.url)
	roots, err := c.findRoots(w)
	if err != nil {
		return err
	}
	return c.listen(w, roots)
}

func texts(ids []grasp.EventID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = string(id)
	}
	return out
}

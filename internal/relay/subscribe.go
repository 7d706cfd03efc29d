package relay

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/nbd-wtf/go-nostr"
)

const (
	maxPending = 4096    // events that may arrive while a subscription is loaded
	pageBytes  = 1 << 20 // of stored events that are held before the client has taken them
	smallPage  = 1 << 16 // the same while much waits in all
	maxFresh   = 4096    // stored events that one connection remembers to have been sent
)

// A key is an event id in half the space.
type key [32]byte

func keyOf(id string) (k key) {
	hex.Decode(k[:], []byte(id[:min(len(id), 64)]))
	return k
}

// An arrival is a live event. Its bytes are shared by all who are sent it.
type arrival struct {
	key key
	raw []byte
}

// A subscription lives from its REQ to its CLOSE. While it is loaded from the store, live events
// wait in pending, so that none is missed and none comes before EOSE (N-005).
type subscription struct {
	s        *session
	id       string
	head     []byte
	matchers []*matcher
	weight   int64

	gen uint64 // the dispatcher's

	// s.out.mu guards the rest.
	dead         bool // CLOSE, or its end by us
	replaced     bool // dead, and its id is in use again
	loading      bool
	overflow     bool // more arrived than pending may hold
	pending      []arrival
	pendingBytes int
	recent       map[key]struct{} // sent from the store and perhaps still to be published
	old          bool             // recent has been kept for a whole ping
}

// deliver queues a live event. It never waits. Of a crowd the writer is woken soon, and not at once.
func (sub *subscription) deliver(a arrival, crowd bool) {
	s := sub.s
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	if sub.dead {
		return
	}
	if sub.loading {
		if sub.overflow {
			return
		}
		if sub.pendingBytes += len(a.raw); len(sub.pending) == maxPending || sub.pendingBytes > s.r.cfg.QueueBytes && len(sub.pending) > 0 {
			sub.overflow, sub.pending = true, nil
			return
		}
		sub.pending = append(sub.pending, a)
		return
	}
	if _, sent := sub.recent[a.key]; sent {
		return
	}
	if why := s.out.putLocked(item{head: sub.head, body: a.raw, sub: sub, live: true, more: crowd}); why != noLimit {
		s.giveUp(why)
		return
	}
	if crowd {
		s.r.crierFor(s.acct).call(s.out)
	}
	s.r.n.delivered.Add(1)
}

// golive ends loading: EOSE, what arrived meanwhile and was not in the store's answer, and from
// then on events as they come. It reports false if too much arrived.
func (sub *subscription) golive(seen map[key]struct{}) bool {
	s := sub.s
	eose := item{head: say("EOSE", sub.id), sub: sub}
	s.waitRoom()
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	if sub.overflow {
		return false
	}
	full := s.out.putLocked(eose)
	for _, a := range sub.pending {
		if _, sent := seen[a.key]; !sent {
			full = max(full, s.out.putLocked(item{head: sub.head, body: a.raw, sub: sub, live: true}))
			s.r.n.delivered.Add(1)
		}
	}
	if full != noLimit {
		s.giveUp(full)
	}
	sub.pending, sub.loading = nil, false
	// An event may have been in the store's answer and reach Publish only now. What was sent is
	// remembered for one or two pings.
	if len(seen) > 0 {
		sub.recent = seen
		s.fresh = append(s.fresh, sub)
		total := 0
		for i := len(s.fresh) - 1; i >= 0; i-- {
			if total += len(s.fresh[i].recent); total > maxFresh && i < len(s.fresh)-1 {
				s.fresh[i].recent = nil
			}
		}
		if len(s.fresh) > 2*s.r.cfg.MaxSubscriptions {
			s.sweepFresh()
		}
	}
	return true
}

// forget lets go of what subscriptions remember since before the last ping.
func (s *session) forget() {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	for _, sub := range s.fresh {
		if sub.old {
			sub.recent = nil
		}
		sub.old = true
	}
	s.sweepFresh()
}

func (s *session) sweepFresh() {
	kept := s.fresh[:0]
	for _, sub := range s.fresh {
		if sub.recent != nil {
			kept = append(kept, sub)
		}
	}
	clear(s.fresh[len(kept):])
	s.fresh = kept
}

func (s *session) waitRoom() {
	for s.out.busy() {
		poke(s.out.wake)
		select {
		case <-s.out.room:
		case <-s.ctx.Done():
			return
		}
	}
}

// closed refuses or ends a subscription (N-006).
func (s *session) closed(sub, why string) {
	s.r.n.closed.Add(1)
	s.reply(item{head: say("CLOSED", sub, why)})
}

// badSub answers a message whose subscription id cannot be used.
func (s *session) badSub(m message) bool {
	most := s.r.cfg.MaxSubID
	if utf8.RuneCountInString(m.sub) > most {
		s.r.hits.add(hitSubID)
	}
	switch {
	case !m.hasSub:
		s.notice(or(m.odd, "invalid: a subscription id is missing"))
	case m.sub == "":
		s.notice("invalid: the subscription id is empty")
	case utf8.RuneCountInString(m.sub) <= most:
		return false
	case len(m.sub) <= maxEcho && m.verb != "CLOSE" && m.verb != "NEG-CLOSE":
		s.declined(m, "invalid: the subscription id is longer than "+strconv.Itoa(most)+" characters")
	default:
		s.notice("invalid: the subscription id is longer than " + strconv.Itoa(most) + " characters")
	}
	return true
}

// limited counts a message that is refused by a bound.
func (s *session) limited(why limit) {
	s.r.n.rateLimited.Add(1)
	s.r.hits.add(why)
}

// refuse returns why a REQ, COUNT or NEG-OPEN is not taken up, or "".
func (s *session) refuse(m message) string {
	if !s.requests.spend(s.r.cfg.Now()) {
		s.limited(hitRequests)
		return "rate-limited: more than " + strconv.Itoa(s.r.cfg.RequestsPerSecond) + " requests per second on one connection"
	}
	if !s.acct.spend(&s.acct.requests) {
		s.limited(hitPrefixRequests)
		return "rate-limited: more than " + strconv.Itoa(s.r.cfg.PrefixRequestsPerSecond) + " requests per second from your network"
	}
	if m.odd != "" {
		return m.odd
	}
	hooks := s.r.cfg.Policies.RejectFilter
	if m.verb == "COUNT" {
		hooks = s.r.cfg.Policies.RejectCountFilter
	}
	return s.policy.filters(hooks, m.sub, m.filters)
}

// drop ends a subscription silently (N-008).
func (s *session) drop(id string) *subscription {
	sub := s.subs[id]
	if sub == nil {
		return nil
	}
	delete(s.subs, id)
	for _, m := range sub.matchers {
		s.r.d.remove(m)
	}
	s.weight -= sub.weight
	s.giveFilters(sub.weight)
	s.r.n.subscriptions.Add(-1)
	s.out.mu.Lock()
	sub.dead, sub.pending, sub.recent = true, nil, nil
	s.out.mu.Unlock()
	return sub
}

func (s *session) onReq(m message) {
	if s.badSub(m) || s.ctx.Err() != nil {
		return
	}
	s.r.n.requests.Add(1)
	id := strings.Clone(m.sub)
	if old := s.drop(id); old != nil {
		s.out.mu.Lock()
		old.replaced = true
		s.out.mu.Unlock()
	}
	if why := s.refuse(m); why != "" {
		s.closed(id, why)
		return
	}
	sub, why := s.open(id, m.filters)
	if sub == nil {
		s.closed(id, why)
		return
	}
	seen := make(map[key]struct{})
	err := s.load(sub, m.filters, seen)
	if s.ctx.Err() != nil {
		return
	}
	if err != nil {
		s.drop(id)
		s.closed(id, s.tellQuery(err))
		return
	}
	if !sub.golive(seen) {
		s.drop(id)
		s.closed(id, "error: too many events arrived while the subscription was loaded, ask again")
	}
}

// open registers a live subscription whose events are held back until golive.
func (s *session) open(id string, fs []nostr.Filter) (*subscription, string) {
	cfg := &s.r.cfg
	if len(s.subs) >= cfg.MaxSubscriptions {
		s.limited(hitSubscriptions)
		return nil, "rate-limited: more than " + strconv.Itoa(cfg.MaxSubscriptions) + " subscriptions"
	}
	sub := &subscription{s: s, id: id, head: eventHead(id), loading: true}
	for i := range fs {
		sub.weight += weight(&fs[i])
	}
	if why := s.takeFilters(sub.weight); why != noLimit {
		s.limited(why)
		return nil, "rate-limited: the open subscriptions hold too many values"
	}
	s.weight += sub.weight
	s.subs[id] = sub
	s.r.n.subscriptions.Add(1)
	for i := range fs {
		if never(&fs[i]) {
			continue
		}
		m := newMatcher(&fs[i])
		m.sub = sub
		sub.matchers = append(sub.matchers, m)
		s.r.d.add(m)
	}
	return sub, ""
}

// takeFilters counts the memory of a subscription, or returns the bound that is in the way.
func (s *session) takeFilters(n int64) limit {
	cfg := &s.r.cfg
	if s.weight+n > cfg.MaxFilterBytes {
		return hitFilterBytes
	}
	all, ours := s.r.n.filterBytes.Add(n), s.acct.filters.Add(n)
	if all > cfg.MaxAllFilters || s.prefix != "" && ours > max(cfg.MaxAllFilters/filterShare, cfg.MaxFilterBytes) {
		s.giveFilters(n)
		return hitAllFilters
	}
	return noLimit
}

func (s *session) giveFilters(n int64) {
	s.r.n.filterBytes.Add(-n)
	s.acct.filters.Add(-n)
}

// load sends what is stored: filter after filter, newest first, no event twice (check 97).
func (s *session) load(sub *subscription, fs []nostr.Filter, seen map[key]struct{}) error {
	left := s.r.cfg.QueryTime
	for _, f := range fs {
		if f.LimitZero || never(&f) {
			continue
		}
		if f.Limit == 0 {
			f.Limit = s.r.cfg.DefaultLimit
		}
		f.Limit = min(f.Limit, s.r.cfg.MaxLimit)
		if err := s.loadOne(sub, f, seen, &left); err != nil {
			return err
		}
	}
	return nil
}

// loadOne sends the answer to one filter, in pages: the store is never kept waiting for a client
// that reads slowly, and no more than a page is held for it.
func (s *session) loadOne(sub *subscription, f nostr.Filter, seen map[key]struct{}, left *time.Duration) error {
	if f.Search != "" {
		return s.loadSearch(sub, f, seen, left)
	}
	want := f.Limit
	var edge map[key]struct{} // what this filter sent of the second at which its last page ended
	for {
		if len(seen) > 0 { // the client need not wait for the store as well
			poke(s.out.wake)
		}
		var page []arrival
		size, more, most := 0, false, pageBytes
		if s.r.queued.tight(s.acct) {
			most = smallPage
		}
		err := s.ask(left, func(ctx context.Context) error {
			start := s.r.cfg.Now()
			page, size, more = nil, 0, false // it may have been asked before
			return s.r.reader.Query(ctx, f, func(id grasp.EventID, raw []byte) bool {
				k := keyOf(string(id))
				if _, sent := edge[k]; sent {
					return true
				}
				if size > 0 && (size+len(raw) > most || len(page)%16 == 0 && s.overslept(start)) {
					more = true
					return false
				}
				page = append(page, arrival{k, raw})
				size += len(raw)
				return len(page) < want
			})
		})
		if err != nil {
			return err
		}
		s.acct.worked(time.Duration(len(page))*tellWork + time.Duration(size)*byteWork)
		s.r.queued.add(s.acct, size)
		for _, a := range page {
			s.r.queued.add(s.acct, -len(a.raw))
			if _, sent := seen[a.key]; sent {
				continue
			}
			seen[a.key] = struct{}{}
			s.reply(item{head: sub.head, body: a.raw, sub: sub, more: true}) // EOSE at the latest
		}
		want -= len(page)
		if !more || want <= 0 || s.ctx.Err() != nil {
			return nil
		}
		at, ok := createdAt(page[len(page)-1].raw)
		if !ok {
			return fault.E(fault.Internal, "relay: load", "a stored event has no created_at")
		}
		if f.Until == nil || *f.Until != at || edge == nil {
			edge = make(map[key]struct{})
		}
		for i := len(page) - 1; i >= 0; i-- {
			if t, ok := createdAt(page[i].raw); !ok || t != at {
				break
			}
			edge[page[i].key] = struct{}{}
		}
		f.Until, f.Limit = &at, want+len(edge)
	}
}

// tellQuery says why a request could not be answered.
func (s *session) tellQuery(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		s.r.hits.add(hitQueryTime)
		return "error: the answer takes longer than " + s.r.cfg.QueryTime.String() + ", ask for less"
	}
	return s.tell(err, nil)
}

// createdAt reads created_at from the canonical JSON of an event.
func createdAt(raw []byte) (nostr.Timestamp, bool) {
	const field = `"created_at":`
	from := len(`{"id":"","pubkey":"",`) + 128
	if len(raw) > from+len(field) && string(raw[from:from+len(field)]) == field {
		digits, _, _ := bytes.Cut(raw[from+len(field):], []byte{','})
		if n, err := strconv.ParseInt(string(digits), 10, 64); err == nil {
			return nostr.Timestamp(n), true
		}
	}
	ev, err := ParseEvent(string(raw))
	if err != nil {
		return 0, false
	}
	return ev.CreatedAt, true
}

// onCount answers a COUNT (N-041). Refusals are CLOSED, as NIP-45 asks.
func (s *session) onCount(m message) {
	if s.badSub(m) || s.ctx.Err() != nil {
		return
	}
	s.r.n.counts.Add(1)
	if why := s.refuse(m); why != "" {
		s.closed(m.sub, why)
		return
	}
	var fs []nostr.Filter
	for _, f := range m.filters {
		if !never(&f) {
			f.Limit, f.LimitZero = 0, false
			fs = append(fs, f)
		}
	}
	var n int64
	if len(fs) > 0 {
		left := s.r.cfg.QueryTime
		ask := s.ask
		if slices.ContainsFunc(fs, func(f nostr.Filter) bool { return f.Search != "" }) {
			ask = s.askSearch
		}
		err := ask(&left, func(ctx context.Context) (err error) {
			n, err = s.r.reader.Count(ctx, fs)
			return err
		})
		if s.ctx.Err() != nil {
			return
		}
		if err != nil {
			s.closed(m.sub, s.tellQuery(err))
			return
		}
	}
	s.reply(item{head: sayCount(m.sub, n)})
}

package steward

import (
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

// The bounds of the lobby (G01-112, G01-805).
const (
	lobbyTTL    = 10 * time.Minute
	lobbyEvents = 5_000
	lobbyBytes  = 32 << 20
)

// A lobby remembers for a few minutes events that were refused only because nothing here connected
// to them. When their anchor arrives they are looked at again. Losing it loses nothing that was
// promised.
type lobby struct {
	mu    sync.Mutex
	order list.List // of *guest, oldest first
	bytes int
	byID  map[grasp.EventID]*list.Element
	by    map[string]map[*list.Element]struct{} // by anchor: event id, coordinate, or "d:"+identifier
}

type guest struct {
	ev     *nostr.Event
	raw    []byte
	source string
	until  time.Time
	keys   []string
}

// add remembers a refused event. subject is the identifier of an announcement, or "".
func (l *lobby) add(e *Entry, subject string, now time.Time) {
	ids, addrs := grasp.Anchors(e.Event)
	g := &guest{ev: e.Event, raw: e.Raw, source: e.Source, until: now.Add(lobbyTTL)}
	g.keys = append(texts(ids), addrs...)
	if len(g.keys) > 100 {
		g.keys = g.keys[:100]
	}
	if subject != "" {
		g.keys = append(g.keys, "d:"+subject)
	}
	if c := grasp.CoordinateOf(e.Event); c != "" {
		g.keys = append(g.keys, "self:"+c)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byID == nil {
		l.byID = make(map[grasp.EventID]*list.Element)
		l.by = make(map[string]map[*list.Element]struct{})
	}
	id := grasp.EventID(e.Event.ID)
	if _, ok := l.byID[id]; ok {
		return
	}
	for l.order.Len() >= lobbyEvents || l.bytes+len(g.raw) > lobbyBytes {
		oldest := l.order.Front()
		if oldest == nil {
			return // larger than the whole lobby
		}
		l.remove(oldest)
	}
	el := l.order.PushBack(g)
	l.byID[id] = el
	l.bytes += len(g.raw)
	for _, k := range g.keys {
		if l.by[k] == nil {
			l.by[k] = make(map[*list.Element]struct{})
		}
		l.by[k][el] = struct{}{}
	}
}

// remove forgets one guest. Call it with mu held.
func (l *lobby) remove(el *list.Element) *guest {
	g := l.order.Remove(el).(*guest)
	delete(l.byID, grasp.EventID(g.ev.ID))
	l.bytes -= len(g.raw)
	for _, k := range g.keys {
		delete(l.by[k], el)
		if len(l.by[k]) == 0 {
			delete(l.by, k)
		}
	}
	return g
}

// expire forgets those whose time is over.
func (l *lobby) expire(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for el := l.order.Front(); el != nil && !el.Value.(*guest).until.After(now); el = l.order.Front() {
		l.remove(el)
	}
}

// call takes out everybody who may now be admitted, because n became visible.
func (l *lobby) call(n news) []*guest {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.order.Len() == 0 {
		return nil
	}
	var out []*guest
	key := func(k string) {
		for el := range l.by[k] {
			out = append(out, l.remove(el))
		}
	}
	for _, id := range n.touched {
		key("d:" + id)
	}
	for _, e := range n.events {
		key(e.Event.ID)
		if c := grasp.CoordinateOf(e.Event); c != "" {
			key(c)
		}
		ids, addrs := grasp.Anchors(e.Event)
		for _, id := range ids { // G01-802: a reference opens the door for its target
			if el, ok := l.byID[id]; ok {
				out = append(out, l.remove(el))
			}
		}
		for _, a := range addrs {
			key("self:" + a)
		}
	}
	return out
}

// reviveLimit bounds how many second chances one event can start.
const reviveLimit = 1_000

// revive looks again at refused events whose anchor may have come with n. The caller holds no lock.
func (s *Steward) revive(ctx context.Context, n news) {
	ctx = context.WithoutCancel(ctx)
	queue := s.lobby.call(s.spread(ctx, n))
	for i := 0; i < len(queue) && i < reviveLimit; i++ {
		g := queue[i]
		_, more, err := s.receive(ctx, g.ev, g.raw, g.source)
		if err != nil {
			if _, refused := asRefusal(err); !refused {
				s.log.Warn("second look failed", "event", g.ev.ID, "err", err)
			}
			continue
		}
		s.log.Debug("admitted at second look", "event", g.ev.ID, "kind", g.ev.Kind)
		queue = append(queue, s.lobby.call(s.spread(ctx, more))...)
	}
}

// spread settles the other identifiers of pull requests that became visible in one: their refs
// belong there too, and a served one is no longer part of what is known there (G01-705).
func (s *Steward) spread(ctx context.Context, n news) news {
	for _, e := range n.events {
		if len(e.Subjects) < 2 || e.Event.Kind != grasp.KindPull && e.Event.Kind != grasp.KindPullUpdate {
			continue
		}
		for _, id := range e.Subjects {
			more, err := s.spreadTo(ctx, id, e)
			if err != nil {
				s.log.Error("cannot settle a pull request everywhere", "event", e.Event.ID, "repo", id, "err", err)
			}
			n.events = append(n.events, more.events...)
			n.touched = append(n.touched, more.touched...)
		}
	}
	return n
}

func (s *Steward) spreadTo(ctx context.Context, id string, e Entry) (news, error) {
	unlock, err := s.locks.Lock(ctx, id)
	if err != nil {
		return news{}, err
	}
	defer unlock()
	k, err := s.load(ctx, id)
	if err != nil {
		return news{}, err
	}
	e.Shelf = grasp.Served
	return s.settle(ctx, id, &arrival{known: k, entry: &e, stored: true}, nil)
}

// rate counts new repositories by address prefix in windows of an hour.
type rate struct {
	mu sync.Mutex
	m  map[string]window
}

type window struct {
	since time.Time
	n     int
}

// rateSources is the most prefixes remembered; beyond it an arbitrary one is forgotten.
const rateSources = 100_000

// allow counts one more for source and reports whether it is within limit. "" is always allowed.
func (r *rate) allow(source string, limit int, now time.Time) bool {
	if source == "" {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	w, ok := r.m[source]
	if !ok || now.Sub(w.since) >= time.Hour {
		w = window{since: now}
	}
	if w.n >= limit {
		return false
	}
	w.n++
	if r.m == nil {
		r.m = make(map[string]window)
	}
	if !ok && len(r.m) >= rateSources {
		for old := range r.m {
			delete(r.m, old)
			break
		}
	}
	r.m[source] = w
	return true
}

// expire forgets windows that are over.
func (r *rate) expire(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, w := range r.m {
		if now.Sub(w.since) >= time.Hour {
			delete(r.m, k)
		}
	}
}

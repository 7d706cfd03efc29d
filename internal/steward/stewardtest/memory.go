package stewardtest

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/jobs/jobstest"
	"github.com/gitroost/gitroost/internal/steward"
)

// Memory is a steward.Ledger that keeps everything in memory. All that it holds is what a real one
// would have on disk, so one Memory outlives any number of Stewards. Every method looks at
// everything: it is for tests, where everything is little. Make one with NewMemory.
type Memory struct {
	now func() time.Time

	mu        sync.Mutex
	seq       int
	events    map[grasp.EventID]*held
	tombs     []steward.Tomb
	repos     map[grasp.Addr]steward.Repo
	orphans   map[orphanKey]time.Time
	refs      map[grasp.Addr]grasp.Refs
	weights   map[grasp.Addr]steward.Weight
	moves     []steward.Moved
	unsettled map[string]struct{}
	rules     []grasp.Rule
	ruled     int // the number of the last rule
	queue     *jobstest.Memory
}

type held struct {
	steward.Entry
	seq int
}

type orphanKey struct {
	repo grasp.Addr
	id   grasp.EventID
}

var _ steward.Ledger = (*Memory)(nil)

// NewMemory returns an empty ledger. now tells which events have expired (N-036).
func NewMemory(now func() time.Time) *Memory {
	return &Memory{
		now:       now,
		events:    make(map[grasp.EventID]*held),
		repos:     make(map[grasp.Addr]steward.Repo),
		orphans:   make(map[orphanKey]time.Time),
		refs:      make(map[grasp.Addr]grasp.Refs),
		weights:   make(map[grasp.Addr]steward.Weight),
		unsettled: make(map[string]struct{}),
		queue:     jobstest.NewMemory(jobs.Bounds{}),
	}
}

// Jobs returns the queue of jobs.
func (m *Memory) Jobs() *jobstest.Memory { return m.queue }

// longestWait is how long after its first arrival an event may wait at most (G01-312).
const longestWait = 24 * time.Hour

// viewed reports whether a View holds events of kind on both shelves.
func viewed(kind int) bool { return kind == grasp.KindAnnouncement || kind == grasp.KindState }

func (h *held) coordinate() string { return grasp.CoordinateOf(h.Event) }

func (h *held) expired(now time.Time) bool { return !h.Expires.IsZero() && !h.Expires.After(now) }

// beats reports whether a is a newer version than b (N-009).
func beats(a, b *steward.Entry) bool {
	if a.Event.CreatedAt != b.Event.CreatedAt {
		return a.Event.CreatedAt > b.Event.CreatedAt
	}
	return a.Event.ID < b.Event.ID
}

// sorted returns the events that keep says, in the order of their arrival. Call it with mu held.
func (m *Memory) sorted(keep func(*held) bool) []*held {
	var out []*held
	for _, h := range m.events {
		if keep(h) {
			out = append(out, h)
		}
	}
	slices.SortFunc(out, func(a, b *held) int { return a.seq - b.seq })
	return out
}

func entries(list []*held) []steward.Entry {
	out := make([]steward.Entry, 0, len(list))
	for _, h := range list {
		out = append(out, h.Entry)
	}
	return out
}

// View is part of steward.Ledger.
func (m *Memory) View(ctx context.Context, id string) (steward.Facts, error) {
	if err := ctx.Err(); err != nil {
		return steward.Facts{}, fault.Wrap("memory: view", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f := steward.Facts{Entries: entries(m.sorted(func(h *held) bool {
		return slices.Contains(h.Subjects, id) && (viewed(h.Event.Kind) || h.Shelf == grasp.Waiting)
	}))}
	for a, r := range m.repos {
		if a.ID == id {
			f.Repos = append(f.Repos, r)
		}
	}
	for k, at := range m.orphans {
		if k.repo.ID == id && (!k.repo.Box || !at.After(m.now())) {
			f.Orphans = append(f.Orphans, steward.Orphan{Repo: k.repo, Event: k.id, Deadline: at})
		}
	}
	return f, nil
}

// Event is part of steward.Ledger.
func (m *Memory) Event(ctx context.Context, id grasp.EventID) (steward.Entry, error) {
	if err := ctx.Err(); err != nil {
		return steward.Entry{}, fault.Wrap("memory: event", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if h, ok := m.events[id]; ok {
		return h.Entry, nil
	}
	return steward.Entry{}, fault.E(fault.NotFound, "memory: event", "no such event")
}

// Lookup is part of steward.Ledger.
func (m *Memory) Lookup(ctx context.Context, q steward.Question) (steward.Answer, error) {
	var a steward.Answer
	if err := ctx.Err(); err != nil {
		return a, fault.Wrap("memory: lookup", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if h, ok := m.events[q.ID]; ok {
		a.Known = h.Shelf
	}
	for _, t := range m.tombs {
		a.Deleted = a.Deleted || covers(t, q.Author, q.ID, q.Coordinate, q.Created, false)
	}
	for _, h := range m.events {
		if h.Shelf == grasp.Waiting {
			a.WaitingInAll++
			if h.Event.PubKey == string(q.Author) {
				a.WaitingByAuthor++
			}
			if q.Source != "" && h.Source == q.Source {
				a.WaitingBySource++
			}
			continue
		}
		if q.Coordinate != "" && h.coordinate() == q.Coordinate {
			at := int64(h.Event.CreatedAt)
			a.Newer = a.Newer || at > q.Created || at == q.Created && h.Event.ID < string(q.ID)
		}
		if !h.expired(m.now()) {
			a.Related = a.Related || related(h, q)
		}
	}
	return a, nil
}

// related reports whether a served event connects to the one that q asks about (G01-801).
func related(h *held, q steward.Question) bool {
	if slices.Contains(q.IDs, h.Event.ID) {
		return true
	}
	if c := h.coordinate(); c != "" && slices.Contains(q.Addrs, c) {
		return true
	}
	ids, addrs := grasp.Anchors(h.Event)
	return slices.Contains(ids, q.ID) || q.Coordinate != "" && slices.Contains(addrs, q.Coordinate)
}

// covers reports whether t says that an event must not be here. Kinds 5 and 62 are covered only by
// a request to vanish (N-032).
func covers(t steward.Tomb, author grasp.PubKey, id grasp.EventID, coordinate string, at int64, lasting bool) bool {
	switch {
	case t.By != author:
		return false
	case t.Vanish && at <= t.Until:
		return true
	case lasting:
		return false
	case t.ID != "" && t.ID == id:
		return true
	}
	return t.Coordinate != "" && t.Coordinate == coordinate && at <= t.Until
}

func (h *held) coveredBy(t steward.Tomb) bool {
	lasting := h.Event.Kind == grasp.KindDeletion || h.Event.Kind == grasp.KindVanish
	return covers(t, grasp.PubKey(h.Event.PubKey), grasp.EventID(h.Event.ID), h.coordinate(), int64(h.Event.CreatedAt), lasting)
}

// Commit is part of steward.Ledger. If c.Put is Duplicate or Stale nothing of c is written, and a
// Put that a tombstone covers is a fault.Refused (N-033).
func (m *Memory) Commit(ctx context.Context, c steward.Change) (steward.Receipt, error) {
	var r steward.Receipt
	if err := ctx.Err(); err != nil {
		return r, fault.Wrap("memory: commit", err)
	}
	if err := check(c); err != nil {
		return r, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.Put != nil {
		if err := m.put(*c.Put, &r); err != nil || r.Duplicate || r.Stale {
			return r, err
		}
	}
	for _, id := range c.Release {
		m.release(id, &r)
	}
	for _, id := range c.Drop {
		delete(m.events, id)
	}
	for id, until := range c.Extend {
		if h, ok := m.events[id]; ok && h.Shelf == grasp.Waiting {
			if last := h.Received.Add(longestWait); until.After(last) {
				until = last
			}
			if until.After(h.Deadline) {
				h.Deadline = until
			}
		}
	}
	for _, t := range c.Tombs {
		m.bury(t, c.Put, &r)
	}
	m.rest(c)
	err := m.queue.Enqueue(context.WithoutCancel(ctx), c.Jobs) // which were checked
	for _, j := range c.Jobs {
		if is, err := m.queue.Job(context.WithoutCancel(ctx), j.ID); err == nil && is.State.Ended() {
			if r.Ended == nil {
				r.Ended = map[jobs.ID]steward.JobEnd{}
			}
			r.Ended[j.ID] = steward.JobEnd{State: is.State, Reason: is.Reason}
		}
	}
	return r, err
}

func (m *Memory) put(e steward.Entry, r *steward.Receipt) error {
	id := grasp.EventID(e.Event.ID)
	if _, known := m.events[id]; known {
		r.Duplicate = true
		return nil
	}
	h := &held{Entry: e}
	for _, t := range m.tombs {
		if h.coveredBy(t) {
			return fault.E(fault.Refused, "memory: put", "this event was deleted")
		}
	}
	if e.Shelf == grasp.Served {
		h.Deadline = time.Time{}
	}
	h.Subjects = slices.Clone(e.Subjects)
	h.Charges = nil
	for _, c := range e.Charges {
		if !slices.Contains(h.Charges, c) {
			h.Charges = append(h.Charges, c)
		}
	}
	h.Raw = bytes.Clone(e.Raw)
	if d := grasp.FirstValue(e.Event, "d"); viewed(e.Event.Kind) && !slices.Contains(h.Subjects, d) {
		h.Subjects = append(h.Subjects, d)
	}
	var gone []grasp.EventID
	if coord := h.coordinate(); coord != "" {
		for oid, o := range m.events {
			alike := o.Shelf == e.Shelf && (e.Shelf == grasp.Served || e.Event.Kind == grasp.KindAnnouncement)
			if o.coordinate() != coord || !alike && o.Shelf != grasp.Served {
				continue
			}
			if !beats(&e, &o.Entry) {
				r.Stale = true
				return nil
			}
			if alike {
				gone = append(gone, oid)
			}
		}
	}
	for _, oid := range gone {
		delete(m.events, oid)
	}
	r.Replaced = append(r.Replaced, gone...)
	m.seq++
	h.seq = m.seq
	m.events[id] = h
	return nil
}

func (m *Memory) release(id grasp.EventID, r *steward.Receipt) {
	h, ok := m.events[id]
	if !ok || h.Shelf != grasp.Waiting {
		return
	}
	if coord := h.coordinate(); coord != "" {
		for oid, o := range m.events {
			if o.Shelf != grasp.Served || o.coordinate() != coord {
				continue
			}
			if !beats(&h.Entry, &o.Entry) {
				oid = id
			}
			delete(m.events, oid)
			r.Replaced = append(r.Replaced, oid)
			break // at most one version is served
		}
	}
	h.Shelf, h.Deadline = grasp.Served, time.Time{}
}

func (m *Memory) bury(t steward.Tomb, put *steward.Entry, r *steward.Receipt) {
	m.tombs = append(m.tombs, t)
	for _, h := range m.sorted(func(h *held) bool { return h.coveredBy(t) }) {
		if put != nil && h.Event.ID == put.Event.ID {
			continue
		}
		delete(m.events, grasp.EventID(h.Event.ID))
		r.Removed = append(r.Removed, h.Entry)
		if t.Vanish {
			for _, id := range h.Subjects {
				m.unsettled[id] = struct{}{}
			}
		}
	}
}

func (m *Memory) rest(c steward.Change) {
	for _, r := range c.Repos {
		if r.Hosting == grasp.NotHosted {
			delete(m.repos, r.Addr)
			delete(m.weights, r.Addr)
		} else {
			m.repos[r.Addr] = r
		}
	}
	m.weigh(c.Weighed)
	for _, o := range c.Orphans {
		if k := (orphanKey{o.Repo, o.Event}); o.Deadline.IsZero() {
			delete(m.orphans, k)
		} else {
			m.orphans[k] = o.Deadline
		}
	}
	for _, mv := range c.Moves {
		m.moves = append(m.moves, mv)
		m.refs[mv.Repo] = m.refs[mv.Repo].Apply(mv.Changes)
	}
	if c.Unsettled != "" {
		m.unsettled[c.Unsettled] = struct{}{}
	}
	if c.Settled != "" {
		delete(m.unsettled, c.Settled)
	}
}

// Due is part of steward.Ledger. limit counts each sort of thing apart.
func (m *Memory) Due(ctx context.Context, now time.Time, limit int) (steward.Due, error) {
	var d steward.Due
	if err := ctx.Err(); err != nil {
		return d, fault.Wrap("memory: due", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	over := func(t time.Time) bool { return !t.IsZero() && !t.After(now) }
	waiting := m.sorted(func(h *held) bool {
		return h.Shelf == grasp.Waiting && (over(h.Deadline) || over(h.Expires))
	})
	slices.SortStableFunc(waiting, func(a, b *held) int { return a.Deadline.Compare(b.Deadline) })
	expired := m.sorted(func(h *held) bool { return h.Shelf == grasp.Served && over(h.Expires) })
	slices.SortStableFunc(expired, func(a, b *held) int { return a.Expires.Compare(b.Expires) })
	d.Waiting, d.Expired = first(entries(waiting), limit), first(entries(expired), limit)
	for k, at := range m.orphans {
		if over(at) {
			d.Orphans = append(d.Orphans, steward.Orphan{Repo: k.repo, Event: k.id, Deadline: at})
		}
	}
	slices.SortFunc(d.Orphans, func(a, b steward.Orphan) int { return a.Deadline.Compare(b.Deadline) })
	d.Orphans = first(d.Orphans, limit)
	for _, h := range []grasp.Hosting{grasp.Withdrawn, grasp.Deleted} {
		var list []steward.Repo
		for _, r := range m.repos {
			if r.Hosting == h {
				list = append(list, r)
			}
		}
		slices.SortFunc(list, func(a, b steward.Repo) int { return a.Since.Compare(b.Since) })
		d.Repos = append(d.Repos, first(list, limit)...)
	}
	slices.SortStableFunc(d.Repos, func(a, b steward.Repo) int { return a.Since.Compare(b.Since) })
	return d, nil
}

func first[T any](list []T, limit int) []T { return list[:min(len(list), max(limit, 0))] }

// Unsettled is part of steward.Ledger.
func (m *Memory) Unsettled(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.Wrap("memory: unsettled", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	set := maps.Clone(m.unsettled)
	for _, h := range m.events {
		if h.Shelf == grasp.Waiting {
			for _, id := range h.Subjects {
				set[id] = struct{}{}
			}
		}
	}
	return slices.Sorted(maps.Keys(set)), nil
}

// Placeholders is part of steward.Ledger.
func (m *Memory) Placeholders(ctx context.Context, of steward.Orphan) ([]steward.Orphan, error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.Wrap("memory: placeholders", err)
	}
	var out []steward.Orphan
	for _, o := range m.Orphans() {
		agrees := (of.Repo.Owner == "" || o.Repo.Owner == of.Repo.Owner) && (of.Repo.ID == "" || o.Repo.ID == of.Repo.ID) &&
			(of.Event == "" || o.Event == of.Event)
		if o.Repo.Box && agrees {
			out = append(out, o)
		}
	}
	return out, nil
}

// Lost is part of steward.Ledger.
func (m *Memory) Lost(ctx context.Context, id string) ([]steward.Orphan, error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.Wrap("memory: lost", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []steward.Orphan
	for repo, refs := range m.refs {
		for ref := range refs {
			event, ok := ref.Pull()
			_, known := m.events[event]
			_, waits := m.orphans[orphanKey{repo, event}]
			if repo.Box && repo.ID == id && ok && !known && !waits {
				out = append(out, steward.Orphan{Repo: repo, Event: event})
			}
		}
	}
	return out, nil
}

// Unrecorded is part of steward.Ledger.
func (m *Memory) Unrecorded(ctx context.Context, repo grasp.Addr, now grasp.RefList) ([]grasp.RefChange, error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.Wrap("memory: settled refs", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return now.Diff(m.refs[repo].List()), nil
}

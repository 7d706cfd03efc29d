package syncer

import (
	"container/list"
	"sync"
	"time"

	"github.com/gitroost/gitroost/grasp"
)

const (
	maxRefusals = 100_000             // ids that are remembered
	refusedFor  = 30 * 24 * time.Hour // an event that the rules do not want
	lapsedFor   = 7 * 24 * time.Hour  // one that nothing came for (G02-10)
	strangerFor = time.Hour           // one that nothing here connected to
)

// A Refusal is an event that is not to be fetched again until Until, or until the announcements of
// Subject change (G02-10).
type Refusal struct {
	ID      grasp.EventID
	Subject string // an identifier, or ""
	Until   time.Time
}

// A memory holds refusals. The oldest go when there are too many.
type memory struct {
	mu      sync.Mutex
	order   list.List // of *Refusal, oldest first
	by      map[grasp.EventID]*list.Element
	of      map[string]map[grasp.EventID]struct{} // by subject
	added   map[grasp.EventID]struct{}            // not written yet
	removed map[grasp.EventID]struct{}            // likewise
}

func newMemory() *memory {
	return &memory{
		by: map[grasp.EventID]*list.Element{}, of: map[string]map[grasp.EventID]struct{}{},
		added: map[grasp.EventID]struct{}{}, removed: map[grasp.EventID]struct{}{},
	}
}

func (m *memory) load(refusals []Refusal, now time.Time) {
	for _, r := range refusals {
		m.add(r, now)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.added)
}

// add remembers r.
func (m *memory) add(r Refusal, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !r.Until.After(now) {
		return
	}
	if el, ok := m.by[r.ID]; ok {
		if !r.Until.After(el.Value.(*Refusal).Until) {
			return
		}
		m.drop(el)
	}
	for m.order.Len() >= maxRefusals {
		m.drop(m.order.Front())
	}
	m.by[r.ID] = m.order.PushBack(&r)
	if r.Subject != "" {
		if m.of[r.Subject] == nil {
			m.of[r.Subject] = map[grasp.EventID]struct{}{}
		}
		m.of[r.Subject][r.ID] = struct{}{}
	}
	m.added[r.ID] = struct{}{}
	delete(m.removed, r.ID)
}

// drop forgets one. Call it with mu held.
func (m *memory) drop(el *list.Element) {
	r := m.order.Remove(el).(*Refusal)
	delete(m.by, r.ID)
	if delete(m.of[r.Subject], r.ID); len(m.of[r.Subject]) == 0 {
		delete(m.of, r.Subject)
	}
	delete(m.added, r.ID)
	m.removed[r.ID] = struct{}{}
}

// has reports whether id is not to be fetched.
func (m *memory) has(id grasp.EventID, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	el, ok := m.by[id]
	if ok && !el.Value.(*Refusal).Until.After(now) {
		m.drop(el)
		ok = false
	}
	return ok
}

// forget gives what was refused because of an identifier another chance.
func (m *memory) forget(subject string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id := range m.of[subject] {
		m.drop(m.by[id])
	}
}

// forgetAll gives everything another chance, but for what nothing came for.
func (m *memory) forgetAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for el := m.order.Front(); el != nil; {
		next := el.Next()
		if el.Value.(*Refusal).Subject != "" {
			m.drop(el)
		}
		el = next
	}
}

// len returns how many are remembered.
func (m *memory) len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.order.Len()
}

// unwritten takes what has changed since it was last asked.
func (m *memory) unwritten(now time.Time) (add []Refusal, remove []grasp.EventID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for el := m.order.Front(); el != nil && !el.Value.(*Refusal).Until.After(now); el = m.order.Front() {
		m.drop(el)
	}
	for id := range m.added {
		add = append(add, *m.by[id].Value.(*Refusal))
	}
	for id := range m.removed {
		remove = append(remove, id)
	}
	clear(m.added)
	clear(m.removed)
	return add, remove
}

// again puts back what could not be written.
func (m *memory) again(add []Refusal, remove []grasp.EventID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range add {
		if _, ok := m.by[r.ID]; ok {
			m.added[r.ID] = struct{}{}
		}
	}
	for _, id := range remove {
		if _, ok := m.by[id]; !ok {
			m.removed[id] = struct{}{}
		}
	}
}

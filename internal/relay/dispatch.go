package relay

import (
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/search"
)

type tagKey struct {
	letter int
	value  string
}

// A bucket holds the matchers that are found by one value. A matcher knows its place in each of
// its buckets, so leaving costs one step however full the bucket is.
type bucket struct{ list []ref }

type ref struct {
	m    *matcher
	slot int // index into m.slots
}

type slot struct {
	b  *bucket
	at int // index into b.list
}

// A dispatcher knows which live subscriptions an event concerns. Each filter stands in the index
// of its most selective dimension only, so the cost of an event grows with the subscriptions it
// may concern and not with all there are.
type dispatcher struct {
	// mu guards the indexes. It is held while one event is handed to the queues it concerns,
	// which blocks nowhere, and while one filter is added or removed.
	mu      sync.Mutex
	gen     uint64
	ids     map[string]*bucket
	authors map[string]*bucket
	tags    map[tagKey]*bucket
	kinds   map[int]*bucket
	words   map[string]*bucket // searches by a word they ask for
	starts  map[string]*bucket // searches by the beginning of a word
	others  bucket
	subject subject // what is being told of; room for it is made once

	searches atomic.Int64 // how many matchers have a search
}

func newDispatcher() *dispatcher {
	return &dispatcher{
		ids:     make(map[string]*bucket),
		authors: make(map[string]*bucket),
		tags:    make(map[tagKey]*bucket),
		kinds:   make(map[int]*bucket),
		words:   make(map[string]*bucket),
		starts:  make(map[string]*bucket),
	}
}

func (d *dispatcher) add(m *matcher) {
	if m.search != nil {
		d.searches.Add(1)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch m.dim {
	case byWord:
		addAll(d.byWord(m), m, []string{m.word})
	case byID:
		addAll(d.ids, m, m.ids.list)
	case byAuthor:
		addAll(d.authors, m, m.authors.list)
	case byKind:
		addAll(d.kinds, m, m.kinds)
	case byTag:
		t := m.tags[m.tag]
		m.slots = make([]slot, 0, len(t.want.list))
		for _, v := range t.want.list {
			addTo(d.tags, m, tagKey{t.letter, v})
		}
	default:
		d.others.add(m)
	}
}

// byWord returns the index in which a search stands.
func (d *dispatcher) byWord(m *matcher) map[string]*bucket {
	if m.prefix {
		return d.starts
	}
	return d.words
}

func (d *dispatcher) remove(m *matcher) {
	if m.search != nil {
		d.searches.Add(-1)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch m.dim {
	case byWord:
		removeAll(d.byWord(m), m, []string{m.word})
	case byID:
		removeAll(d.ids, m, m.ids.list)
	case byAuthor:
		removeAll(d.authors, m, m.authors.list)
	case byKind:
		removeAll(d.kinds, m, m.kinds)
	case byTag:
		t := m.tags[m.tag]
		for i, v := range t.want.list {
			removeFrom(d.tags, m.slots[i], tagKey{t.letter, v})
		}
	default:
		m.slots[0].leave()
	}
	m.slots = nil
}

func addAll[K comparable](index map[K]*bucket, m *matcher, keys []K) {
	m.slots = make([]slot, 0, len(keys))
	for _, k := range keys {
		addTo(index, m, k)
	}
}

func addTo[K comparable](index map[K]*bucket, m *matcher, key K) {
	b := index[key]
	if b == nil {
		b = &bucket{}
		index[key] = b
	}
	b.add(m)
}

// removeAll undoes addAll: the keys are those of add, in the same order.
func removeAll[K comparable](index map[K]*bucket, m *matcher, keys []K) {
	for i, k := range keys {
		removeFrom(index, m.slots[i], k)
	}
}

func removeFrom[K comparable](index map[K]*bucket, s slot, key K) {
	if s.leave(); len(s.b.list) == 0 {
		delete(index, key)
	}
}

func (b *bucket) add(m *matcher) {
	m.slots = append(m.slots, slot{b, len(b.list)})
	b.list = append(b.list, ref{m, len(m.slots) - 1})
}

// leave takes a matcher out of its bucket; the last one of the bucket takes its place.
func (s slot) leave() {
	last := len(s.b.list) - 1
	moved := s.b.list[last]
	s.b.list[s.at] = moved
	moved.m.slots[moved.slot].at = s.at
	s.b.list[last] = ref{}
	s.b.list = s.b.list[:last]
	if cap(s.b.list) > 64 && len(s.b.list) < cap(s.b.list)/4 {
		kept := make([]ref, last, cap(s.b.list)/2)
		copy(kept, s.b.list)
		s.b.list = kept
	}
}

// each calls deliver once for every subscription that ev matches, however many of its filters
// do (check 97). deliver must not block and must not call the dispatcher.
func (d *dispatcher) each(ev *nostr.Event, deliver func(*subscription)) {
	var words *search.Index
	// A search that is opened after this finds the event in the store.
	if d.searches.Load() > 0 && search.Has(ev.Kind) {
		words = search.NewIndex(ev)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gen++
	s := &d.subject
	s.take(ev, words)
	defer s.let()
	visit := func(b *bucket) {
		if b == nil {
			return
		}
		for _, r := range b.list {
			m := r.m
			if m.gen == d.gen || m.sub.gen == d.gen {
				continue
			}
			if m.gen = d.gen; m.matches(s) {
				m.sub.gen = d.gen
				deliver(m.sub)
			}
		}
	}
	visit(d.ids[ev.ID])
	visit(d.authors[ev.PubKey])
	visit(d.kinds[ev.Kind])
	for l, values := range s.tags {
		for _, v := range values {
			visit(d.tags[tagKey{l, v}])
		}
	}
	if s.words != nil {
		d.eachWord(s.words.Words(), visit)
	}
	visit(&d.others)
}

// eachWord visits the searches by each of words, which are sorted, and by each beginning of one,
// every beginning once.
func (d *dispatcher) eachWord(words []string, visit func(*bucket)) {
	before := ""
	for _, w := range words {
		visit(d.words[w])
		if len(d.starts) == 0 {
			continue
		}
		for i := 0; i < len(w); {
			_, n := utf8.DecodeRuneInString(w[i:])
			i += n
			if !strings.HasPrefix(before, w[:i]) {
				visit(d.starts[w[:i]])
			}
		}
		before = w
	}
}

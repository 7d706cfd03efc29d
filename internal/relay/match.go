package relay

import (
	"math"
	"slices"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/search"
)

// letter returns the place of a tag's one-letter name, or -1. Cases differ (N-005).
func letter(c byte) int {
	switch {
	case c >= 'a' && c <= 'z':
		return int(c - 'a')
	case c >= 'A' && c <= 'Z':
		return int(c-'A') + 26
	}
	return -1
}

// few is the size up to which a list is searched from its beginning.
const few = 8

// A set of strings, sorted and without repetition.
type set struct {
	list []string
	has  map[string]struct{} // nil while there are few
}

func newSet(list []string) set {
	list = slices.Compact(slices.Sorted(slices.Values(list)))
	s := set{list: list}
	if len(list) > few {
		s.has = make(map[string]struct{}, len(list))
		for _, v := range list {
			s.has[v] = struct{}{}
		}
	}
	return s
}

func (s set) contains(v string) bool {
	if s.has == nil {
		return slices.Contains(s.list, v)
	}
	_, ok := s.has[v]
	return ok
}

// A subject is an event as filters look at it.
type subject struct {
	ev   *nostr.Event
	tags [52][]string            // first values by letter
	seen [52]map[string]struct{} // the same where there are many, made on demand

	words *search.Index // nil: no open search can find it
}

// maxRoom is for how many values of one letter room is kept for the next event.
const maxRoom = 64

// take makes s be ev; let undoes that, and keeps the room.
func (s *subject) take(ev *nostr.Event, words *search.Index) {
	s.ev, s.words = ev, words
	for _, tag := range ev.Tags {
		if len(tag) < 2 || len(tag[0]) != 1 {
			continue
		}
		if l := letter(tag[0][0]); l >= 0 {
			s.tags[l] = append(s.tags[l], tag[1])
		}
	}
}

func (s *subject) let() {
	s.ev, s.words = nil, nil
	for l, values := range s.tags {
		if len(values) == 0 {
			continue
		}
		clear(values)
		if s.tags[l] = values[:0]; cap(values) > maxRoom {
			s.tags[l] = nil
		}
		s.seen[l] = nil
	}
}

// any reports whether one of the subject's values for letter l is in want.
func (s *subject) any(l int, want set) bool {
	have := s.tags[l]
	if len(have) <= 2*few || len(have) <= len(want.list) {
		return slices.ContainsFunc(have, want.contains)
	}
	if s.seen[l] == nil {
		s.seen[l] = make(map[string]struct{}, len(have))
		for _, v := range have {
			s.seen[l][v] = struct{}{}
		}
	}
	for _, v := range want.list {
		if _, ok := s.seen[l][v]; ok {
			return true
		}
	}
	return false
}

// The dimensions by which a filter can be found.
const (
	byNothing = iota
	byKind
	byAuthor
	byTag
	byID
	byWord
)

type tagSet struct {
	letter int
	want   set
}

// A matcher is a filter made ready for live events. limit plays no part in it, nor does how well a
// search fits.
type matcher struct {
	ids, authors set
	kinds        []int // sorted; nil if the filter names none
	tags         []tagSet
	since, until nostr.Timestamp
	search       *search.Query // nil if the filter has none

	dim   int // by which dimension the dispatcher finds it
	tag   int // index into tags if dim is byTag
	gen   uint64
	sub   *subscription
	slots []slot

	word   string // if dim is byWord, and whether words that begin with it will do
	prefix bool
}

// never reports whether an empty list (N-006), or a search that has nothing to be found by, makes
// f match nothing.
func never(f *nostr.Filter) bool {
	if f.Search != "" {
		if _, means, err := search.Parse(f.Search); err != nil || means == search.Nothing {
			return true
		}
	}
	if f.IDs != nil && len(f.IDs) == 0 || f.Authors != nil && len(f.Authors) == 0 || f.Kinds != nil && len(f.Kinds) == 0 {
		return true
	}
	for _, v := range f.Tags {
		if len(v) == 0 {
			return true
		}
	}
	return false
}

// pointed holds the tag letters whose values are rarely shared, so that an index on them selects
// better than one on authors; the other letters (t, p, k, …) come after authors.
const pointed = "eEaAqdcirIu"

func newMatcher(f *nostr.Filter) *matcher {
	m := &matcher{
		ids:     newSet(f.IDs),
		authors: newSet(f.Authors),
		since:   math.MinInt64,
		until:   math.MaxInt64,
		tag:     -1,
	}
	m.kinds = slices.Compact(slices.Sorted(slices.Values(f.Kinds)))
	if f.Since != nil {
		m.since = *f.Since
	}
	if f.Until != nil {
		m.until = *f.Until
	}
	if f.Search != "" {
		if q, means, err := search.Parse(f.Search); err == nil && means == search.Terms {
			m.search = &q
		}
	}
	pointedTag, otherTag := -1, -1
	for name, list := range f.Tags {
		m.tags = append(m.tags, tagSet{letter(name[0]), newSet(list)})
		best := &otherTag
		if slices.Contains([]byte(pointed), name[0]) {
			best = &pointedTag
		}
		n := len(m.tags) - 1
		if *best < 0 || len(m.tags[n].want.list) < len(m.tags[*best].want.list) {
			*best = n
		}
	}
	switch {
	case len(m.ids.list) > 0:
		m.dim = byID
	case pointedTag >= 0:
		m.dim, m.tag = byTag, pointedTag
	case len(m.authors.list) > 0:
		m.dim = byAuthor
	case m.search != nil:
		m.dim = byWord
		m.word, m.prefix = m.search.Key()
	case otherTag >= 0:
		m.dim, m.tag = byTag, otherTag
	case len(m.kinds) > 0:
		m.dim = byKind
	}
	return m
}

// matches reports whether the event passes, given that the dispatcher found m through its own
// dimension.
func (m *matcher) matches(s *subject) bool {
	ev := s.ev
	if ev.CreatedAt < m.since || ev.CreatedAt > m.until {
		return false
	}
	if m.dim != byKind && m.kinds != nil {
		if _, ok := slices.BinarySearch(m.kinds, ev.Kind); !ok {
			return false
		}
	}
	if m.dim != byID && len(m.ids.list) > 0 && !m.ids.contains(ev.ID) {
		return false
	}
	if m.dim != byAuthor && len(m.authors.list) > 0 && !m.authors.contains(ev.PubKey) {
		return false
	}
	for i, t := range m.tags {
		if i != m.tag && !s.any(t.letter, t.want) {
			return false
		}
	}
	return m.search == nil || s.words != nil && s.words.Has(m.search)
}

// perValue is roughly what one value of a filter costs in memory beside its own bytes.
const perValue = 192

// perSearch is what a search costs beside its words.
const perSearch = 1024

// weight estimates the memory, in bytes, that a live subscription to f holds.
func weight(f *nostr.Filter) int64 {
	w := int64(perValue * (1 + len(f.Kinds)))
	add := func(list []string) {
		for _, v := range list {
			w += int64(len(v) + perValue)
		}
	}
	add(f.IDs)
	add(f.Authors)
	if f.Search != "" {
		w += int64(perSearch + 8*len(f.Search))
	}
	for _, list := range f.Tags {
		add(list)
	}
	return w
}

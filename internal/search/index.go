package search

import (
	"slices"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// An Index is one event, made ready to be asked whether searches find it.
type Index struct {
	words  []string           // in order; Gap parts the fields
	at     map[string][]int32 // where in words each stands
	sorted []string           // each once
}

// NewIndex returns the index of ev. It takes time and memory in proportion to the event's words,
// of which there are few thousand at most.
func NewIndex(ev *nostr.Event) *Index {
	w := Of(ev)
	x := &Index{words: w.Title}
	if len(w.Text) > 0 {
		x.words = append(append(x.words, Gap), w.Text...)
	}
	x.at = make(map[string][]int32, len(x.words)/2)
	for i, word := range x.words {
		x.at[word] = append(x.at[word], int32(i))
	}
	delete(x.at, Gap)
	x.sorted = make([]string, 0, len(x.at))
	for word := range x.at {
		x.sorted = append(x.sorted, word)
	}
	slices.Sort(x.sorted)
	return x
}

// Words returns the words of the event, sorted, each once. It must not be changed.
func (x *Index) Words() []string { return x.sorted }

// Has reports whether the event has every term of q.All and none of q.None.
func (x *Index) Has(q *Query) bool {
	for i := range q.All {
		if !x.has(&q.All[i]) {
			return false
		}
	}
	for i := range q.None {
		if x.has(&q.None[i]) {
			return false
		}
	}
	return true
}

func (x *Index) has(t *Term) bool {
	first := t.Words[0]
	if len(t.Words) == 1 {
		if !t.Prefix {
			return x.at[first] != nil
		}
		i, _ := slices.BinarySearch(x.sorted, first)
		return i < len(x.sorted) && strings.HasPrefix(x.sorted[i], first)
	}
	for _, at := range x.at[first] {
		if x.follows(int(at), t) {
			return true
		}
	}
	return false
}

// follows reports whether the words of t stand in a row from at on.
func (x *Index) follows(at int, t *Term) bool {
	n := len(t.Words)
	if at+n > len(x.words) {
		return false
	}
	for i, word := range t.Words[:n-1] {
		if x.words[at+i] != word {
			return false
		}
	}
	end, want := x.words[at+n-1], t.Words[n-1]
	return end == want || t.Prefix && strings.HasPrefix(end, want)
}

// Key returns a word of All that an event must have, or the beginning of one: what to file a live
// search under. It prefers whole words, and long ones, for they are rarer.
func (q *Query) Key() (word string, prefix bool) {
	for _, t := range q.All {
		for i, w := range t.Words {
			beginning := t.Prefix && i == len(t.Words)-1
			if word == "" || prefix && !beginning || prefix == beginning && len(w) > len(word) {
				word, prefix = w, beginning
			}
		}
	}
	return word, prefix
}

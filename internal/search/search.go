// Package search knows what a search asks for and which words an event has (NIP-50, N-042).
//
// An event has words if it is an announcement, an issue, a patch, a pull request or its update: a
// short list from what names it, and a longer one from what it says (Of). A search is a list of
// terms (Parse), and a term is one word or several in a row. The store keeps the words in an
// index of its own and asks it for the terms; a live subscription asks an event in memory (Index).
// Both go by the same words, so what is found live is what would be found later.
//
// The package refuses to know SQL, connections and who asks.
package search

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

const (
	// MaxTitle and MaxText are how many bytes of an event's titles and of its text are looked at.
	// A patch may be far longer; what it is about stands at its beginning.
	MaxTitle = 4 << 10
	MaxText  = 32 << 10

	maxTopics = 100 // tags of one event that name topics and are looked at
)

// Kinds are the kinds that can be found by a search (N-042).
var Kinds = []int{grasp.KindPatch, grasp.KindPull, grasp.KindPullUpdate, grasp.KindIssue, grasp.KindAnnouncement}

// Has reports whether events of kind have words.
func Has(kind int) bool {
	switch kind {
	case grasp.KindPatch, grasp.KindPull, grasp.KindPullUpdate, grasp.KindIssue, grasp.KindAnnouncement:
		return true
	}
	return false
}

// Words are what an event can be found by, in the order in which they stand. Both lists are
// bounded by MaxTitle and MaxText. A word is made of letters and digits and holds no white space,
// except for Gap.
type Words struct {
	Title []string // name, identifier, subject, topics
	Text  []string // description, content
}

// Gap stands where one field ends and another begins, so that no phrase reaches over it. It is no
// letter: nobody can ask for it.
const Gap = "¶"

// Of returns the words of ev; none, if events of its kind cannot be found.
func Of(ev *nostr.Event) Words {
	var w Words
	if !Has(ev.Kind) {
		return w
	}
	titles, texts := budget{left: MaxTitle}, budget{left: MaxText}
	topics := 0
	for _, tag := range ev.Tags {
		if len(tag) < 2 {
			continue
		}
		switch tag[0] {
		case "d":
			if ev.Kind == grasp.KindAnnouncement {
				titles.add(&w.Title, tag[1])
			}
		case "name", "subject", "title":
			titles.add(&w.Title, tag[1])
		case "t":
			if topics++; topics <= maxTopics {
				titles.add(&w.Title, tag[1])
			}
		case "description", "alt", "branch-name":
			texts.add(&w.Text, tag[1])
		}
	}
	texts.add(&w.Text, ev.Content)
	return w
}

// bytesPerWord is how long words are, with what parts them: somewhat more than most.
const bytesPerWord = 6

// A budget bounds how many bytes are looked at.
type budget struct{ left int }

func (b *budget) add(list *[]string, text string) {
	text = cut(text, b.left)
	b.left -= len(text)
	before := len(*list)
	if before > 0 {
		*list = append(*list, Gap)
	}
	*list = slices.Grow(*list, len(text)/bytesPerWord)
	split(text, func(word string, _ place) { *list = append(*list, word) })
	if len(*list) == before+1 && before > 0 {
		*list = (*list)[:before] // there was nothing behind the gap
	}
}

// cut returns the first n bytes of text, without half of a character.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// Join writes words as one text. Split at white space it gives them back.
func Join(words []string) string { return strings.Join(words, " ") }

package search

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gitroost/gitroost/internal/fault"
)

const (
	// MaxQuery is the longest search, in bytes.
	MaxQuery = 512

	// MaxTerms is how many terms a search may have, those that must not be there included.
	MaxTerms = 16
)

// A Query is what a search asks for: an event that has every term of All and none of None. All is
// never empty.
type Query struct {
	All  []Term
	None []Term
}

// A Term is one word, or several that stand in a row. Words is never empty.
type Term struct {
	Words  []string
	Prefix bool // the last of Words may be the beginning of a word
}

// A Meaning is what became of a search.
type Meaning int

const (
	Anything Meaning = iota // it asks for nothing in particular: the rest of the filter decides
	Nothing                 // it cannot be found: it has no word, or only words that must not be there
	Terms                   // a Query
)

// Parse reads the search of a filter (NIP-50). White space parts terms; "several words" in
// quotation marks are a phrase, and so is a word with signs in it (smart-http); -term must not be
// there; the last word may be unfinished, unless white space follows it. key:value is an extension,
// and as none is known here they are passed over. There are no other operators: any text is a
// search. One that is longer than MaxQuery or has more than MaxTerms is a fault.Invalid.
func Parse(text string) (Query, Meaning, error) {
	const op = "search: parse"
	var q Query
	if len(text) > MaxQuery {
		return q, Nothing, fault.Errorf(fault.Invalid, op, "the search is longer than %d bytes: use fewer words", MaxQuery)
	}
	if !utf8.ValidString(text) {
		return q, Nothing, fault.E(fault.Invalid, op, "the search is not valid UTF-8")
	}
	asked := false
	open := -1 // the term of All that may be unfinished
	rest := strings.NewReplacer("“", `"`, "”", `"`, "„", `"`).Replace(text)
	for {
		rest = strings.TrimLeftFunc(rest, unicode.IsSpace)
		if rest == "" {
			break
		}
		var body string
		not, finished := false, false
		if rest[0] == '-' && len(rest) > 1 {
			not, rest = true, rest[1:]
		}
		if rest[0] == '"' {
			body, rest, finished = strings.Cut(rest[1:], `"`)
		} else {
			end := strings.IndexFunc(rest, unicode.IsSpace)
			if end < 0 {
				end = len(rest)
			} else {
				finished = strings.TrimSpace(rest[end:]) == ""
			}
			body, rest = rest[:end], rest[end:]
			if extension(body) {
				continue
			}
		}
		asked = true
		term := termOf(body)
		if len(term.Words) == 0 {
			continue
		}
		if len(q.All)+len(q.None) == MaxTerms {
			return Query{}, Nothing, fault.Errorf(fault.Invalid, op, "the search has more than %d words: use fewer", MaxTerms)
		}
		open = -1
		if not {
			q.None = append(q.None, term)
			continue
		}
		if !finished {
			open = len(q.All)
		}
		q.All = append(q.All, term)
	}
	switch {
	case !asked:
		return Query{}, Anything, nil
	case len(q.All) == 0:
		return Query{}, Nothing, nil
	}
	if open >= 0 {
		t := &q.All[open]
		t.Prefix = t.Prefix || utf8.RuneCountInString(t.Words[len(t.Words)-1]) >= minPrefix
	}
	return q, Terms, nil
}

// minPrefix is how many characters a beginning has at least: fewer begin nearly everything.
const minPrefix = 3

// extension reports whether body is a key and a value, as NIP-50 writes what is more than words.
func extension(body string) bool {
	key, value, ok := strings.Cut(body, ":")
	if !ok || key == "" || value == "" {
		return false
	}
	for i, c := range []byte(key) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c != '_' && c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	first, _ := utf8.DecodeRuneInString(value)
	return unicode.IsLetter(first) || unicode.IsNumber(first)
}

// termOf returns the words of body. The end of a run without spaces is half of a pair that the
// text may complete, so it is left out; where it is all there is, it is a beginning.
func termOf(body string) Term {
	var t Term
	end := whole
	split(body, func(word string, at place) {
		t.Words = append(t.Words, word)
		end = at
	})
	switch end {
	case last:
		t.Words = t.Words[:len(t.Words)-1]
	case alone:
		t.Prefix = true
	}
	return t
}

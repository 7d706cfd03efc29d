package search

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxWord is how many bytes of a word count: an object id fits, a line of base64 does not.
const maxWord = 64

// A place says where in its run a word of a script without spaces stands.
type place int

const (
	whole place = iota // a word of its own
	pair               // two characters that stand side by side
	last               // the last character of a run, which is half of no further pair
	alone              // a run of one character
)

// split calls emit with the words of text, in order. Letters and digits make words, everything
// else parts them. Case, accents and the width of characters do not matter. Scripts that put no
// spaces between words (Chinese, Japanese, Korean, Thai …) give a word for every two characters
// that stand side by side, and the last one by itself: so every part of a run can be found as a
// phrase, and every character begins a word.
func split(text string, emit func(word string, at place)) {
	if strings.IndexFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
		splitASCII(text, emit)
		return
	}
	s := splitter{emit: emit}
	for _, r := range text {
		s.rune(narrow(r))
	}
	s.end()
}

func splitASCII(text string, emit func(word string, at place)) {
	text = strings.ToLower(text)
	start := -1
	for i := 0; i <= len(text); i++ {
		if i < len(text) && (text[i] >= 'a' && text[i] <= 'z' || text[i] >= '0' && text[i] <= '9') {
			if start < 0 {
				start = i
			}
			continue
		}
		if start >= 0 {
			emit(text[start:min(i, start+maxWord)], whole)
			start = -1
		}
	}
}

// A splitter takes a text apart, rune by rune.
type splitter struct {
	emit func(string, place)
	word []byte // what of a spaced word was read
	run  rune   // the last character of a run of a script without spaces, or 0
	many bool   // the run has more than that one
}

func (s *splitter) rune(r rune) {
	switch {
	case r < utf8.RuneSelf:
		s.ascii(byte(r))
	case r >= 0xe00 && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Bopomofo,
		unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar) || r == 'ー':
		s.endWord()
		if s.run != 0 {
			var b [2 * utf8.UTFMax]byte
			s.emit(string(utf8.AppendRune(utf8.AppendRune(b[:0], s.run), r)), pair)
			s.many = true
		}
		s.run = r
	case r >= 0x300 && r < 0x370: // an accent that stands by itself
	case r == 0x200c || r == 0x200d: // joiners within a word
	case unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r) && len(s.word) > 0:
		s.endRun()
		if len(s.word) < maxWord+utf8.UTFMax {
			s.word = utf8.AppendRune(s.word, fold(r))
		}
	case unicode.IsMark(r) && s.run != 0:
	default:
		s.end()
	}
}

func (s *splitter) ascii(c byte) {
	switch {
	case c >= 'A' && c <= 'Z':
		c += 'a' - 'A'
	case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
	default:
		s.end()
		return
	}
	s.endRun()
	if len(s.word) < maxWord+utf8.UTFMax {
		s.word = append(s.word, c)
	}
}

func (s *splitter) end() {
	s.endWord()
	s.endRun()
}

func (s *splitter) endWord() {
	if len(s.word) > 0 {
		s.emit(cut(string(s.word), maxWord), whole)
		s.word = s.word[:0]
	}
}

func (s *splitter) endRun() {
	if s.run != 0 {
		at := alone
		if s.many {
			at = last
		}
		s.emit(string(s.run), at)
		s.run, s.many = 0, false
	}
}

package relay

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds nesting in a client's message. An event needs four levels; the rest is for
// fields that are skipped.
const maxDepth = 64

// A scanner walks over one JSON text from outside. It tells two kinds of wrong apart: fail says
// that the text is not JSON, and scanning has stopped; odd says that it is JSON but not what was
// asked for, and scanning went on, so that an answer can still name the event or subscription.
//
// It is stricter than JSON where that is ambiguous: keys do not repeat, a surrogate does not
// stand alone, text is valid UTF-8 and numbers that mean something are integers.
type scanner struct {
	s    string
	pos  int
	fail string
	odd  string
	over limit // met first
}

func (p *scanner) stop(why string) bool {
	if p.fail == "" {
		p.fail = why
	}
	return false
}

func (p *scanner) complain(why string) {
	if p.odd == "" {
		p.odd = why
	}
}

// exceed complains that a bound was met.
func (p *scanner) exceed(bound limit, why string) {
	if p.odd == "" {
		p.over = bound
	}
	p.complain(why)
}

// next skips white space and returns the byte that follows, or 0 at the end.
func (p *scanner) next() byte {
	for p.pos < len(p.s) {
		switch c := p.s[p.pos]; c {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return c
		}
	}
	return 0
}

// expect consumes c.
func (p *scanner) expect(c byte) bool {
	if p.next() != c || p.pos >= len(p.s) {
		return p.stop("expected " + strconv.QuoteRune(rune(c)) + " at byte " + strconv.Itoa(p.pos))
	}
	p.pos++
	return true
}

// end reports whether nothing but white space is left.
func (p *scanner) end() bool {
	if p.next(); p.pos < len(p.s) {
		return p.stop("something follows the message")
	}
	return true
}

// text reads a string. The result may share memory with the message.
func (p *scanner) text() (string, bool) {
	if !p.expect('"') {
		return "", false
	}
	start := p.pos
	for i := start; i < len(p.s); i++ {
		switch c := p.s[i]; {
		case c == '"':
			p.pos = i + 1
			return p.s[start:i], true
		case c == '\\':
			return p.escaped(start, i)
		case c < 0x20:
			return "", p.stop("control character in a string")
		}
	}
	return "", p.stop("a string does not end")
}

// escaped reads the rest of a string that began at start and has its first backslash at i.
func (p *scanner) escaped(start, i int) (string, bool) {
	b := make([]byte, 0, i-start+64)
	b = append(b, p.s[start:i]...)
	for i < len(p.s) {
		c := p.s[i]
		switch {
		case c == '"':
			p.pos = i + 1
			return string(b), true
		case c < 0x20:
			return "", p.stop("control character in a string")
		case c != '\\':
			b = append(b, c)
			i++
			continue
		}
		if i+1 >= len(p.s) {
			break
		}
		c, i = p.s[i+1], i+2
		switch c {
		case '"', '\\', '/':
			b = append(b, c)
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'u':
			r, ok := hex4(p.s, i)
			if !ok {
				return "", p.stop("a \\u needs four hex digits")
			}
			i += 4
			if r >= 0xd800 && r < 0xe000 {
				low, ok := rune(0), false
				if r < 0xdc00 && strings.HasPrefix(p.s[i:], `\u`) {
					low, ok = hex4(p.s, i+2)
				}
				if ok && low >= 0xdc00 && low < 0xe000 {
					r = (r-0xd800)<<10 | (low - 0xdc00) + 0x10000
					i += 6
				} else {
					p.complain("half of a surrogate pair") // it has no UTF-8, so no id either
					r = utf8.RuneError
				}
			}
			b = utf8.AppendRune(b, r)
		default:
			return "", p.stop("unknown escape in a string")
		}
	}
	return "", p.stop("a string does not end")
}

func hex4(s string, i int) (r rune, ok bool) {
	if i+4 > len(s) {
		return 0, false
	}
	for _, c := range []byte(s[i : i+4]) {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// number reads any JSON number and returns its spelling.
func (p *scanner) number() (string, bool) {
	p.next()
	start, i := p.pos, p.pos
	digits := func() bool {
		from := i
		for i < len(p.s) && p.s[i] >= '0' && p.s[i] <= '9' {
			i++
		}
		return i > from
	}
	if i < len(p.s) && p.s[i] == '-' {
		i++
	}
	if i < len(p.s) && p.s[i] == '0' {
		i++
	} else if !digits() {
		return "", p.stop("expected a value at byte " + strconv.Itoa(start))
	}
	if i < len(p.s) && p.s[i] == '.' {
		if i++; !digits() {
			return "", p.stop("a number lacks digits")
		}
	}
	if i < len(p.s) && (p.s[i] == 'e' || p.s[i] == 'E') {
		if i++; i < len(p.s) && (p.s[i] == '+' || p.s[i] == '-') {
			i++
		}
		if !digits() {
			return "", p.stop("a number lacks digits")
		}
	}
	p.pos = i
	return p.s[start:i], true
}

// array calls each with the parser standing before every element, which each consumes.
func (p *scanner) array(each func(n int) bool) bool {
	if !p.expect('[') {
		return false
	}
	if p.next() == ']' {
		p.pos++
		return true
	}
	for n := 0; ; n++ {
		if !each(n) {
			return false
		}
		if p.next() == ']' {
			p.pos++
			return true
		}
		if !p.expect(',') {
			return false
		}
	}
}

// object calls each with every key and the parser standing before its value, which each consumes.
func (p *scanner) object(each func(key string) bool) bool {
	if !p.expect('{') {
		return false
	}
	if p.next() == '}' {
		p.pos++
		return true
	}
	for {
		key, ok := p.text()
		if !ok || !p.expect(':') || !each(key) {
			return false
		}
		if p.next() == '}' {
			p.pos++
			return true
		}
		if !p.expect(',') {
			return false
		}
		p.next()
	}
}

// skip consumes one value of any shape, depth levels down.
func (p *scanner) skip(depth int) bool {
	if depth > maxDepth {
		return p.stop("nested too deeply")
	}
	switch c := p.next(); c {
	case '"':
		_, ok := p.text()
		return ok
	case '[':
		return p.array(func(int) bool { return p.skip(depth + 1) })
	case '{':
		return p.object(func(string) bool { return p.skip(depth + 1) })
	case 't', 'f', 'n':
		for _, word := range [...]string{"true", "false", "null"} {
			if strings.HasPrefix(p.s[p.pos:], word) {
				p.pos += len(word)
				return true
			}
		}
		return p.stop("expected a value at byte " + strconv.Itoa(p.pos))
	default:
		_, ok := p.number()
		return ok
	}
}

// wantText reads a string; anything else is a complaint about field.
func (p *scanner) wantText(field string) (string, bool) {
	if p.next() != '"' {
		p.complain(field + " must be a string")
		return "", p.skip(0)
	}
	return p.text()
}

// wantInt reads an integer between lo and hi; anything else is a complaint about field.
func (p *scanner) wantInt(field string, lo, hi int64) (int64, bool) {
	if c := p.next(); c != '-' && (c < '0' || c > '9') {
		p.complain(field + " must be an integer")
		return 0, p.skip(0)
	}
	s, ok := p.number()
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || s == "-0" {
		p.complain(field + " must be an integer")
		return 0, true
	}
	if n < lo || n > hi {
		p.complain(field + " is out of range")
		return 0, true
	}
	return n, true
}

// wantList reads an array; anything else is a complaint about field.
func (p *scanner) wantList(field string, each func(n int) bool) bool {
	if p.next() != '[' {
		p.complain(field + " must be a list")
		return p.skip(0)
	}
	return p.array(each)
}

// A keyring notices keys that come twice.
type keyring []string

// maxUnknown bounds the unknown fields of one object; they are dropped anyway.
const maxUnknown = 64

func (k *keyring) add(p *scanner, key string) {
	for _, s := range *k {
		if s == key {
			p.complain("a field comes twice")
			return
		}
	}
	if len(*k) == maxUnknown {
		p.complain("too many fields")
		return
	}
	*k = append(*k, key)
}

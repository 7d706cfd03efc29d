package jobview

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Readable returns a line of a log as a person reads it: without the sequences that colour a terminal or move
// its cursor, what stands after the last return of the carriage, and nothing that cannot be seen. What is left does
// nothing to a terminal or a page.
func Readable(line []byte) string {
	line = bytes.TrimRight(line, "\r")
	if i := bytes.LastIndexByte(line, '\r'); i >= 0 {
		line = line[i+1:]
	}
	var b strings.Builder
	for i := 0; i < len(line); {
		if line[i] == 0x1b {
			i += escape(line[i:])
			continue
		}
		r, n := utf8.DecodeRune(line[i:])
		i += n
		switch {
		case r == utf8.RuneError && n == 1:
			b.WriteRune('\ufffd')
		case r == '\t':
			b.WriteByte('\t')
		case unicode.IsControl(r), unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp):
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// escape returns how long the sequence is that b begins with.
func escape(b []byte) int {
	if len(b) < 2 {
		return 1
	}
	switch b[1] {
	case '[': // up to a letter, or what else ends it
		for i := 2; i < len(b); i++ {
			if b[i] >= 0x40 && b[i] <= 0x7e {
				return i + 1
			}
			if b[i] < 0x20 {
				return i
			}
		}
		return len(b)
	case ']', 'P', '_', '^', 'X': // a title and the like, up to a bell or ESC \
		for i := 2; i < len(b); i++ {
			if b[i] == 7 {
				return i + 1
			}
			if b[i] == 0x1b {
				return min(i+2, len(b))
			}
		}
		return len(b)
	case ' ', '#', '%', '(', ')', '*', '+', '-', '.', '/': // which letters there are
		return min(3, len(b))
	}
	return 2
}

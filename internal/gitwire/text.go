package gitwire

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxReason is the length of the reason in a report, in bytes (H-246).
const MaxReason = 200

// MaxLine is the length of one line for a person in band 2 or band 3, in bytes.
const MaxLine = 900

// Clean returns s as one line of at most limit bytes of valid UTF-8 that does nothing to a
// terminal but show: control characters, characters that change the direction of writing and
// those that cannot be seen are written as escapes. What is too long ends in an ellipsis.
func Clean(s string, limit int) string {
	if len(s) <= limit && !strings.ContainsFunc(s, hostile) && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	end := 0 // how long b was when there was still room for the ellipsis
	for i, size := 0, 0; i < len(s); i += size {
		var r rune
		r, size = utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteByte(' ')
		case hostile(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
		if b.Len() > limit {
			return b.String()[:end] + "…"
		}
		if b.Len() <= limit-len("…") {
			end = b.Len()
		}
	}
	return b.String()
}

// hostile reports whether r could hide or move text on a terminal.
func hostile(r rune) bool {
	if r < 0x7f {
		return r < ' '
	}
	// Cf holds the bidi controls, the joiners, the byte order mark and the tags.
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co, unicode.Cs)
}

// stableWords begin a reason; scripts tell refusals apart by them (H-246).
var stableWords = []string{"unauthorised:", "refused:", "limit:", "fetch first", "busy:", "error:", "quota:"}

// HasStableWord reports whether reason begins with one of the words that scripts may rely on.
func HasStableWord(reason string) bool {
	for _, w := range stableWords {
		if strings.HasPrefix(reason, w) {
			return true
		}
	}
	return false
}

// Reason returns s as it may stand in a report: cleaned, at most MaxReason bytes, and without the
// two texts by which some scripts classify a failure, "not found" and "404" (H-246). An id that
// contains the digits by accident is shown with a dot between them.
func Reason(s string) string {
	const missing = "not found"
	s = strings.TrimSpace(Clean(s, MaxReason))
	for i := 0; i+len(missing) <= len(s); i++ {
		if strings.EqualFold(s[i:i+len(missing)], missing) {
			s = s[:i] + "missing" + s[i+len(missing):]
		}
	}
	for strings.Contains(s, "404") {
		s = Clean(strings.ReplaceAll(s, "404", "4·04"), MaxReason)
	}
	if s == "" {
		return "refused: no reason given"
	}
	return s
}

package joblog

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
)

// minSecret is the shortest text that is masked, in bytes: to hide what is shorter would hide half of the
// log, and show by the holes what was hidden.
const minSecret = 4

// maxPattern is the longest text that is looked for as a whole, in bytes; what is longer is looked for in
// pieces that follow each other.
const maxPattern = 4 << 10

// maxPatterns is how many texts one log looks for. A secret file of a thousand lines has less than this.
const maxPatterns = 50_000

// veil is what stands in place of a secret.
const veil = "***"

// A masker finds secrets in a text. Each position costs the same however many there are. It is not safe for
// concurrent use.
type masker struct {
	patterns map[[minSecret]byte][]string // by how they begin
	first    [1 << 16]bool                // which two bytes any begins with
	longest  int
	count    int
}

// add has a secret masked from now on: as it is; each line of it; in base64, also where it is a part of what was
// encoded and where lines are broken; in hex; as it is written in URLs and in JSON (S0-12).
func (m *masker) add(secret []byte) {
	whole := strings.Trim(string(secret), "\r\n")
	if len(whole) < minSecret {
		return
	}
	if m.patterns == nil {
		m.patterns = map[[minSecret]byte][]string{}
	}
	m.shapes(whole)
	if strings.ContainsAny(whole, "\r\n") {
		for line := range strings.FieldsFuncSeq(whole, func(r rune) bool { return r == '\n' || r == '\r' }) {
			m.shapes(line)
			m.look(strings.TrimSpace(line))
		}
	}
}

func (m *masker) shapes(s string) {
	if len(s) < minSecret {
		return
	}
	m.look(s)
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		full := enc.EncodeToString([]byte(s))
		m.look(full)
		for _, full := range []string{full, enc.EncodeToString([]byte(s + "\n"))} {
			m.look(strings.TrimRight(full, "="))
			for _, width := range []int{76, 64} { // where base64 and PEM break lines
				for i := 0; len(full) > width && i < len(full); i += width {
					m.look(strings.TrimRight(full[i:min(i+width, len(full))], "="))
				}
			}
		}
		for before := range 3 { // bytes that stand before it in what was encoded
			padded := enc.EncodeToString([]byte("\x00\x00"[:before] + s))
			from, to := 0, (before+len(s))/3*4
			if before > 0 {
				from = 4
			}
			if to-from >= 8 {
				m.look(padded[from:to])
			}
		}
	}
	m.look(hex.EncodeToString([]byte(s)))
	m.look(strings.ToUpper(hex.EncodeToString([]byte(s))))
	for _, e := range []string{url.QueryEscape(s), url.PathEscape(s)} {
		m.look(e)
		m.look(lowerEscapes(e))
	}
	if b, err := json.Marshal(s); err == nil {
		m.look(string(b[1 : len(b)-1]))
	}
}

// lowerEscapes returns s with %2F as %2f.
func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:], bytes.ToLower(b[i+1:i+3]))
		}
	}
	return string(b)
}

// look has s looked for.
func (m *masker) look(s string) {
	for len(s) > maxPattern {
		n := maxPattern
		if len(s)-n < minSecret {
			n -= minSecret
		}
		m.look(s[:n])
		s = s[n:]
	}
	if len(s) < minSecret || m.count >= maxPatterns || strings.ContainsRune(s, '\n') {
		return // a line is all that is looked at
	}
	begin := [minSecret]byte([]byte(s[:minSecret]))
	for _, known := range m.patterns[begin] {
		if known == s {
			return
		}
	}
	m.patterns[begin] = append(m.patterns[begin], s)
	m.first[uint16(s[0])<<8|uint16(s[1])] = true
	m.longest = max(m.longest, len(s))
	m.count++
}

// mask appends the beginning of b to dst with the secrets in it veiled, and returns how much of b that was.
// If more follows, what could be the beginning of a secret is left for the next time. covered says how many
// bytes at the beginning of b belong to a secret whose veil was written already, and how many of what is left
// do (a secret can be longer than what is looked at, or two of them overlap).
func (m *masker) mask(dst, b []byte, covered int, more bool) (out []byte, n, left int) {
	n = len(b)
	if m.count == 0 {
		return append(dst, b...), n, 0
	}
	if more {
		n = max(0, n-(m.longest-1)) // whatever begins before n is here as a whole
	}
	hidden := covered // how far what is hidden reaches; its veil is written
	for i := 0; i < n; i++ {
		end := i + m.at(b[i:])
		if end == i {
			continue
		}
		if i > hidden || hidden == 0 {
			dst = append(dst, b[hidden:i]...)
			dst = append(dst, veil...)
		}
		hidden = max(hidden, end)
	}
	if hidden < n {
		dst = append(dst, b[hidden:n]...)
	}
	return dst, n, max(0, hidden-n)
}

// at returns the length of the longest secret that b begins with, or 0.
func (m *masker) at(b []byte) (longest int) {
	if len(b) < minSecret || !m.first[uint16(b[0])<<8|uint16(b[1])] {
		return 0
	}
	for _, s := range m.patterns[[minSecret]byte(b[:minSecret])] {
		if len(s) > longest && len(b) >= len(s) && string(b[:len(s)]) == s {
			longest = len(s)
		}
	}
	return longest
}

package render

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxSegment = 120 // bytes of one escaped name
	maxAddress = 900 // bytes of one escaped path below its branch
)

// segment turns any bytes into one name that is the same in a URL and on disk. It is injective: of
// [A-Za-z0-9._-] each byte stays, a dot in front excepted; "/" (in branches) becomes "+", anything else
// "~XX". What would be too long becomes "~h" and a hash: h is no hexadecimal digit.
func segment(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-', c == '.' && i > 0:
			b.WriteByte(c)
		case c == '/':
			b.WriteByte('+')
		default:
			fmt.Fprintf(&b, "~%02X", c)
		}
	}
	if b.Len() > maxSegment {
		return "~h" + digest(name)
	}
	return b.String()
}

// folderName is segment for a folder: none looks like the page of a file.
func folderName(name string) string {
	s := segment(name)
	for _, end := range []string{".html", ".html.gz"} {
		if strings.HasSuffix(s, end) && !strings.HasPrefix(s, "~h") {
			return s[:len(s)-1] + fmt.Sprintf("~%02X", s[len(s)-1])
		}
	}
	return s
}

// fileAddress returns where the page of the file at p is, below its branch; folderAddress that of a
// folder. Both end in ".html", and no two paths share one.
func fileAddress(p string) string {
	dir, name := path.Split(p)
	s := segment(name)
	if s == "index" {
		s = "~69ndex"
	}
	return address(dir, s+".html", p)
}

func folderAddress(p string) string {
	if p == "" {
		return "index.html"
	}
	return address(p+"/", "index.html", p+"/")
}

func address(dir, leaf, whole string) string {
	var b strings.Builder
	for _, part := range strings.Split(strings.TrimSuffix(dir, "/"), "/") {
		if part != "" {
			b.WriteString(folderName(part) + "/")
		}
	}
	b.WriteString(leaf)
	if b.Len() <= maxAddress {
		return b.String()
	}
	if leaf == "index.html" {
		return "~p/" + digest(whole) + "/index.html"
	}
	return "~p/" + digest(whole) + ".html"
}

// digest returns 40 hexadecimal digits of SHA-256.
func digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s,", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil)[:20])
}

// relative returns the link from one page to another, both below the same folder.
func relative(from, to string) string {
	to = strings.TrimSuffix(to, "index.html")
	if strings.HasPrefix(to, "../") {
		return strings.Repeat("../", strings.Count(from, "/")) + to
	}
	a, b := strings.Split(from, "/"), strings.Split(to, "/")
	i := 0
	for i < len(a)-1 && i < len(b)-1 && a[i] == b[i] {
		i++
	}
	s := strings.Repeat("../", len(a)-1-i) + strings.Join(b[i:], "/")
	if s == "" || strings.HasPrefix(s, "/") {
		return "./" + s
	}
	return s
}

// isHidden says whether r would not be seen, or would change how what follows is seen.
func isHidden(r rune) bool {
	switch {
	case r == '\t' || r == '\n':
		return false
	case r < 0x20, r >= 0x7f && r < 0xa0, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r >= 0x200b && r <= 0x200f,
		r == 0x061c, r == 0x2028, r == 0x2029, r == 0xfeff, r == utf8.RuneError:
		return true
	}
	return unicode.Is(unicode.Cs, r)
}

// show returns bytes from outside as text for a person: what cannot be seen is told.
func show(s string) string {
	plain := true
	for _, r := range s {
		if isHidden(r) || r == '\n' || r == '\t' {
			plain = false
			break
		}
	}
	if plain {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == utf8.RuneError:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case isHidden(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// clip shortens text for people to at most n bytes and one line.
func clip(s string, n int) string {
	if i := strings.IndexByte(s, '\n'); i >= 0 {
		s = s[:i]
	}
	if len(s) > n {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n] + "…"
	}
	return show(strings.TrimRight(s, "\r"))
}

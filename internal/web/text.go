package web

import (
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gitroost/gitroost/grasp"
)

// maxText is the longest text of a stranger on a page, in characters.
const maxText = 2000

// Printable returns s with everything that would move, hide or garble text around it shown by
// number: control characters, marks that change the direction of writing, characters without
// width, and what is not UTF-8. Line ends become spaces. Long text is cut. Escaping for HTML is
// the template's.
func Printable(v any) string {
	s := fmt.Sprint(v)
	var b strings.Builder
	n := 0
	for i, r := range s {
		if n++; n > maxText {
			b.WriteString("…")
			break
		}
		switch {
		case r == utf8.RuneError:
			if _, width := utf8.DecodeRuneInString(s[i:]); width == 1 {
				fmt.Fprintf(&b, `\x%02x`, s[i])
				continue
			}
			b.WriteRune(r)
		case r == '\n' || r == '\r' || r == '\t':
			b.WriteByte(' ')
		case unicode.IsControl(r), unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co, unicode.Cs), blank(r):
			if r > 0xffff {
				fmt.Fprintf(&b, `\u{%x}`, r)
			} else {
				fmt.Fprintf(&b, `\u%04x`, r)
			}
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// blank reports whether r is a letter by its class but leaves no mark: fillers and the like.
func blank(r rune) bool {
	switch r {
	case 0x034f, 0x115f, 0x1160, 0x17b4, 0x17b5, 0x3164, 0xffa0, 0x2800:
		return true
	}
	return false
}

// short returns npub1abc…wxyz, the first digits of an id, or a ref without its namespace.
func short(v any) string {
	switch v := v.(type) {
	case grasp.PubKey:
		n := v.Npub()
		if len(n) < 20 {
			return "?"
		}
		return n[:12] + "…" + n[len(n)-4:]
	case grasp.EventID:
		return v.Short()
	case grasp.OID:
		return v.Short()
	case grasp.RefName:
		for _, p := range []string{"refs/heads/", "refs/tags/"} {
			if s, ok := strings.CutPrefix(string(v), p); ok {
				return s
			}
		}
		if id, ok := v.Pull(); ok {
			return id.Short()
		}
		return string(v)
	}
	return fmt.Sprint(v)
}

// webLink returns s if it is a URL that a page may point to, else "". A name in another script
// comes back in its ASCII form by the browser; what it shows is Printable's.
func webLink(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || len(s) > 1000 {
		return ""
	}
	return u.String()
}

// segment escapes an identifier as one segment of a path. Everything but unreserved characters is
// escaped, so that no client and no proxy can read it in two ways (H-104).
func segment(id string) string {
	const plain = "-._~"
	var b strings.Builder
	for i := range len(id) {
		c := id[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(plain, c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// path is where the page and the git endpoints of repo are.
func path(repo grasp.Addr) string {
	top := "/"
	if repo.Box {
		top = "/prs/"
	}
	return top + repo.Owner.Npub() + "/" + segment(repo.ID) + ".git"
}

// CloneURL returns the address to clone repo from; base is the public URL of the server.
func CloneURL(base string, repo grasp.Addr) string { return base + path(repo) }

// NostrURL returns the nostr:// address of repo, with this server as the hint where to look.
func NostrURL(base string, repo grasp.Addr) string {
	return "nostr://" + repo.Owner.Npub() + "/" + hint(base) + "/" + segment(repo.ID)
}

// hint is this server as a segment: its name, or the whole relay URL if that is not wss.
func hint(base string) string {
	if host, ok := strings.CutPrefix(base, "https://"); ok {
		return host
	}
	return url.QueryEscape(relayURL(base))
}

func relayURL(base string) string { return "ws" + strings.TrimPrefix(base, "http") }

// shellQuote returns s as one word for a shell, with what cannot be seen shown by number.
func shellQuote(s string) string {
	s = Printable(s)
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

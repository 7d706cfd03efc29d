package dial

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/gitroost/gitroost/internal/fault"
)

// A RemoteURL is where git data may be fetched from: http or https, a host, a port and a path that
// were looked at one by one, and nothing else. Its text is built from these parts, so that it can be
// given to a program as it is. The zero value is no URL. hardening §9, G02-14
type RemoteURL struct {
	scheme, host, path string
	port               uint16
}

// maxURL is the longest URL of a remote, in bytes.
const maxURL = 2048

// ParseRemote reads a clone URL of an event: https://host[:port]/path, or http:// if plain is true.
// It refuses user names, queries, fragments, other schemes, options, white space, backslashes, dot
// segments, and hosts that are numbers in disguise. The error is fault.Invalid and says which.
func ParseRemote(text string, plain bool) (RemoteURL, error) {
	u, err := parseRemote(text, plain)
	if err != nil {
		return RemoteURL{}, forbidden("dial: remote", "%s: %v", quote(text), err)
	}
	return u, nil
}

func parseRemote(text string, plain bool) (u RemoteURL, err error) {
	if len(text) > maxURL {
		return u, fmt.Errorf("longer than %d bytes", maxURL)
	}
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\\\"<>^`{}|?#@", c) >= 0 {
			return u, fmt.Errorf("%q cannot be part of it", text[i:i+1])
		}
	}
	if !strings.Contains(text, "[") && strings.Contains(text, "::") {
		return u, fmt.Errorf("%q cannot be part of it", "::") // git's way to name a helper program
	}
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return u, fmt.Errorf("not a URL")
	}
	switch u.scheme = strings.ToLower(scheme); u.scheme {
	case "https":
		u.port = 443
	case "http":
		if u.port = 80; !plain {
			return u, fmt.Errorf("only https is used; the operator may permit http with outward.http")
		}
	default:
		return u, fmt.Errorf("only https is used")
	}
	authority, path, ok := strings.Cut(rest, "/")
	if !ok || path == "" {
		return u, fmt.Errorf("it has no path")
	}
	if err := checkPath(path); err != nil {
		return u, err
	}
	u.path = "/" + path
	host := authority
	if i := strings.LastIndexByte(authority, ':'); i > strings.LastIndexByte(authority, ']') {
		host = authority[:i]
		p, err := strconv.ParseUint(authority[i+1:], 10, 16)
		if err != nil || p == 0 || authority[i+1] == '+' || authority[i+1] == '0' {
			return u, fmt.Errorf("%q is no port", authority[i+1:])
		}
		u.port = uint16(p)
	}
	if strings.HasPrefix(host, "[") != strings.HasSuffix(host, "]") {
		return u, fmt.Errorf("unbalanced brackets")
	}
	if in, ok := strings.CutPrefix(host, "["); ok {
		in = strings.TrimSuffix(in, "]")
		if a, err := netip.ParseAddr(in); err != nil || !a.Is6() {
			return u, fmt.Errorf("%q is no address", in)
		}
		host = in
	} else if strings.Contains(host, ":") {
		return u, fmt.Errorf("an IPv6 address needs brackets")
	}
	if u.host, err = cleanHost(host); err != nil {
		return u, err
	}
	if !portAllowed(u.port) {
		return u, fmt.Errorf("only ports 80, 443 and from 1024 on are used")
	}
	return u, nil
}

// checkPath refuses what another program might read as something else.
func checkPath(path string) error {
	for seg := range strings.SplitSeq(path, "/") {
		if plain := strings.ReplaceAll(strings.ToLower(seg), "%2e", "."); plain == "." || plain == ".." {
			return fmt.Errorf("dot segments are not followed")
		}
	}
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			continue
		}
		if i+2 >= len(path) {
			return fmt.Errorf("a broken escape")
		}
		n, err := strconv.ParseUint(path[i+1:i+3], 16, 8)
		if err != nil {
			return fmt.Errorf("a broken escape")
		}
		if n < 0x20 || n == 0x7f || n == '\\' {
			return fmt.Errorf("an escaped control character or backslash")
		}
	}
	return nil
}

// String returns the URL: lower-case scheme and host, the port only if it is not the scheme's own.
func (u RemoteURL) String() string {
	if u.scheme == "" {
		return ""
	}
	host := u.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if u.port == 443 && u.scheme == "https" || u.port == 80 && u.scheme == "http" {
		return u.scheme + "://" + host + u.path
	}
	return u.scheme + "://" + host + ":" + strconv.Itoa(int(u.port)) + u.path
}

// IsZero reports whether u is no URL.
func (u RemoteURL) IsZero() bool { return u.scheme == "" }

// Scheme returns "https" or "http".
func (u RemoteURL) Scheme() string { return u.scheme }

// Host returns the name or address, without brackets.
func (u RemoteURL) Host() string { return u.host }

// Path returns the path as it was written, escapes and all; it begins with a slash.
func (u RemoteURL) Path() string { return u.path }

// Authority returns host:port, with the port.
func (u RemoteURL) Authority() string { return net.JoinHostPort(u.host, strconv.Itoa(int(u.port))) }

// Ours reports whether u leads to one of the names by which this server is known (G02-03).
func (d *Dialer) Ours(u RemoteURL) bool { return d.own[u.Authority()] }

// cleanHost returns host in the one form in which hosts are compared: lower case, no final dot,
// addresses as netip writes them. It refuses everything that is neither an address in its usual form
// nor a name of letters, digits, hyphens and underscores: a resolver of the C library also reads
// 0x7f.1, 2130706433 and 0177.0.0.1 as addresses.
func cleanHost(host string) (string, error) {
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if host == "" || len(host) > 253 {
		return "", fmt.Errorf("%s is no host: 1 to 253 characters", quote(host))
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if a.Zone() != "" {
			return "", fmt.Errorf("%s has a zone", quote(host))
		}
		return a.Unmap().String(), nil
	}
	labels := strings.Split(host, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return "", fmt.Errorf("%s is no host name", quote(host))
		}
		for i := range len(l) {
			if c := l[i]; !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
				return "", fmt.Errorf("%s is no host name: use the xn-- form of other alphabets", quote(host))
			}
		}
	}
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") && strings.Trim(last[2:], "0123456789abcdef") == "" {
		return "", fmt.Errorf("%s is an address in a form that is not used", quote(host))
	}
	return host, nil
}

// portAllowed: what listens below 1024 speaks HTTP on 80 and 443, and something else elsewhere.
func portAllowed(p uint16) bool { return p == 80 || p == 443 || p >= 1024 }

// quote shows a text from outside, cut short.
func quote(s string) string {
	if len(s) > 100 {
		s = s[:100] + "…"
	}
	return strconv.QuoteToASCII(s)
}

// IsForbidden reports whether err says that a URL or address is not contacted by rule.
func IsForbidden(err error) bool {
	return err != nil && fault.Is(err, fault.Invalid) && errors.Is(err, ErrForbidden)
}

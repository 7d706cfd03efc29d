package grasp

import (
	"fmt"
	"net/url"
	"strings"

	"golang.org/x/net/idna"
)

// A Site is this service as announcements name it: one authority, and any number of aliases.
// The zero Site is named by nobody.
type Site struct {
	authorities map[string]struct{}
	basePath    string // without slashes at its ends; usually ""
}

// NewSite returns the site that answers at the given URLs (http, https, ws or wss). All of them
// share the path of the first.
func NewSite(urls ...string) (Site, error) {
	s := Site{authorities: make(map[string]struct{}, len(urls))}
	for i, raw := range urls {
		u, err := url.Parse(raw)
		if err != nil {
			return Site{}, fmt.Errorf("public URL %q: %v", raw, err)
		}
		a, ok := authority(u)
		if !ok {
			return Site{}, fmt.Errorf("public URL %q: want http(s)://host[:port]", raw)
		}
		s.authorities[a] = struct{}{}
		if i == 0 {
			s.basePath = strings.Trim(u.Path, "/")
		}
	}
	return s, nil
}

// authority returns host[:port] in the form that comparisons use: lower-case ASCII, without a
// default port, whatever the scheme (G01-102).
func authority(u *url.URL) (string, bool) {
	if u.Opaque != "" || u.User != nil || u.Host == "" {
		return "", false
	}
	host := strings.TrimSuffix(u.Hostname(), ".")
	if !strings.Contains(host, ":") { // not an IPv6 literal
		ascii, err := idna.Lookup.ToASCII(host)
		if err != nil {
			// Names that IDNA refuses (underscores) still compare as they are.
			ascii = strings.ToLower(host)
		}
		host = ascii
	}
	if host == "" {
		return "", false
	}
	if p := u.Port(); p != "" && p != "80" && p != "443" {
		return strings.ToLower(host) + ":" + p, true
	}
	return strings.ToLower(host), true
}

func (s Site) has(u *url.URL) bool {
	a, ok := authority(u)
	if !ok {
		return false
	}
	_, ok = s.authorities[a]
	return ok
}

// ListsClone reports whether a clone URL names this site: http or https at our authority. The
// path decides nothing, except that /prs/ is not a repository's own place (G01-102, G01-103).
func (s Site) ListsClone(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil {
		return false
	}
	switch strings.ToLower(u.Scheme) {
	case "http", "https":
	default:
		return false
	}
	first, _, _ := strings.Cut(strings.TrimLeft(u.Path, "/"), "/")
	return s.has(u) && first != "prs"
}

// ListsRelay reports whether a relay URL names this site: ws or wss at our authority, with
// nothing but slashes, or the base path, behind it (G01-102).
func (s Site) ListsRelay(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil {
		return false
	}
	switch strings.ToLower(u.Scheme) {
	case "ws", "wss":
	default:
		return false
	}
	path := strings.Trim(u.Path, "/")
	return s.has(u) && (path == "" || path == s.basePath)
}

package grasp

import (
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"strings"

	"golang.org/x/net/idna"
)

// A Site is this service as announcements name it: one authority, and any number of aliases.
// The zero Site is named by nobody.
type Site struct {
	authorities map[string]struct{}
	basePath    string // escaped, without slashes at its ends; usually ""
	archive     *Archive
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
		if !ok || !schemeIs(u, "http", "https") && !schemeIs(u, "ws", "wss") {
			return Site{}, fmt.Errorf("public URL %q: want http(s)://host[:port]", raw)
		}
		s.authorities[a] = struct{}{}
		if i == 0 {
			s.basePath = strings.Trim(u.EscapedPath(), "/")
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
	if strings.Contains(host, ":") {
		ip, err := netip.ParseAddr(host)
		if err != nil {
			return "", false
		}
		host = "[" + ip.String() + "]" // the brackets keep the last group apart from a port
	} else if ascii, err := idna.Lookup.ToASCII(host); err == nil {
		host = ascii
	} // else: names that IDNA refuses (underscores) still compare as they are
	if host == "" {
		return "", false
	}
	host = strings.ToLower(host)
	if p := u.Port(); p != "" && p != "80" && p != "443" {
		host += ":" + p
	}
	return host, true
}

func schemeIs(u *url.URL, plain, secure string) bool {
	s := strings.ToLower(u.Scheme)
	return s == plain || s == secure
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
	if !schemeIs(u, "http", "https") || !s.has(u) {
		return false
	}
	at := path.Clean("/"+u.Path) + "/"
	if s.basePath != "" {
		at = strings.TrimPrefix(at, "/"+s.basePath)
	}
	return !strings.HasPrefix(at, "/prs/")
}

// ListsRelay reports whether a relay URL names this site: ws or wss at our authority, with
// nothing but slashes, or the base path, behind it (G01-102).
func (s Site) ListsRelay(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil {
		return false
	}
	if !schemeIs(u, "ws", "wss") || !s.has(u) {
		return false
	}
	p := strings.Trim(u.EscapedPath(), "/")
	return p == "" || p == s.basePath
}

// Ours reports whether a URL of any scheme leads to this site, whatever its path (G02-03).
func (s Site) Ours(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && s.has(u)
}

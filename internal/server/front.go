package server

import (
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/githttp"
	"github.com/gitroost/gitroost/internal/jobweb"
	"github.com/gitroost/gitroost/internal/manage"
	"github.com/gitroost/gitroost/internal/probe"
	"github.com/gitroost/gitroost/internal/relay"
)

// front decides which door a request goes to (H-101). It looks at the escaped path, so that an
// escaped slash is never a separator.
type front struct {
	git      *githttp.Handler       // below a repository
	boxes    bool                   // whether contributors' boxes are open (G06-01)
	here     func(host string) bool // whether host[:port] is this server
	relay    *relay.Relay
	pages    pages
	operator http.Handler // fixed paths
	manage   http.Handler // calls of the operator (N-044)
	jobs     http.Handler // what runs after a push
	probes   http.Handler // how a request arrived
	sites    http.Handler // of repositories; nil if they are not served here
	siteHost string       // the only host under which they are, lower-case; "" is any, below /sites/
	log      *slog.Logger

	// keepOut answers visitors whom the operator blocks, and reports whether it did.
	keepOut func(w http.ResponseWriter, r *http.Request) bool
}

// pages is what the front door asks of the web.
type pages interface {
	Landing(w http.ResponseWriter, r *http.Request)
	Repository(w http.ResponseWriter, r *http.Request, repo grasp.Addr)
	NotFound(w http.ResponseWriter, r *http.Request)
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.keepOut(w, r) {
		return
	}
	if r.URL.Host != "" && !f.here(r.URL.Host) {
		// A proxy's request for somebody else (hardening §3). Only this form of a request names its
		// host in a way that no proxy in front of us makes up.
		http.Error(w, "this server does not speak for "+strconv.Quote(r.URL.Host), http.StatusMisdirectedRequest)
		return
	}
	if f.sites != nil && f.site(w, r) {
		return
	}
	path := r.URL.EscapedPath()
	if repo, sub, ok := githttp.ParsePath(path); ok {
		if sub == "" {
			if repo.Box && !f.boxes {
				f.pages.NotFound(w, r)
			} else if allow(w, r, http.MethodGet, http.MethodHead) {
				f.pages.Repository(w, r, repo)
			}
			return
		}
		defer f.relay.Beside()() // whoever has had much makes room for clones and pushes
		f.git.ServeRepo(w, r, repo, sub)
		return
	}
	if strings.Trim(path, "/") == "" {
		f.root(w, r)
		return
	}
	if jobweb.Match(path) {
		f.jobs.ServeHTTP(w, r)
		return
	}
	if probe.Match(path) {
		f.probes.ServeHTTP(w, r)
		return
	}
	if f.git.Match(path) {
		f.git.ServeHTTP(w, r) // 404 in words that git shows
		return
	}
	f.operator.ServeHTTP(w, r)
}

// site answers what is asked of sites, and reports whether it was. Under a host of their own there is
// nothing else (D6).
func (f *front) site(w http.ResponseWriter, r *http.Request) bool {
	if f.siteHost != "" {
		host := strings.ToLower(r.Host)
		if host != f.siteHost && strings.TrimSuffix(strings.TrimSuffix(host, ":443"), ":80") != f.siteHost {
			return false
		}
		f.sites.ServeHTTP(w, r)
		return true
	}
	if !strings.HasPrefix(r.URL.EscapedPath(), "/sites/") {
		return false
	}
	http.StripPrefix("/sites", f.sites).ServeHTTP(w, r)
	return true
}

// ours returns a function that knows the authorities of this server.
func ours(authorities []string) func(host string) bool {
	plain := func(host string) string {
		host = strings.ToLower(host)
		return strings.TrimSuffix(strings.TrimSuffix(host, ":80"), ":443")
	}
	known := make(map[string]bool, len(authorities))
	for _, a := range authorities {
		known[plain(a)] = true
	}
	return func(host string) bool { return known[plain(host)] }
}

// root is the relay, its document, and the landing page: one path, told apart by what is asked for.
func (f *front) root(w http.ResponseWriter, r *http.Request) {
	switch {
	case relay.IsUpgrade(r):
		f.relay.ServeHTTP(w, r)
	case manage.Is(r):
		f.manage.ServeHTTP(w, r)
	case !allow(w, r, http.MethodGet, http.MethodHead):
	case relay.WantsNIP11(r):
		f.relay.NIP11(w, r)
	default:
		w.Header().Set("Vary", "Accept")
		f.pages.Landing(w, r)
	}
}

// allow reports whether the method is one of methods, and answers 405 if it is not (H-105).
func allow(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	for _, m := range methods {
		if r.Method == m {
			return true
		}
	}
	w.Header().Set("Allow", strings.Join(append(methods, http.MethodOptions), ", "))
	http.Error(w, "method not allowed here; use "+strings.Join(methods, " or "), http.StatusMethodNotAllowed)
	return false
}

// operatorRoutes are the fixed paths: assets, health, robots. Everything else is the 404 page.
func operatorRoutes(static, robots, status http.HandlerFunc, health http.HandlerFunc, notFound http.HandlerFunc) http.Handler {
	m := chi.NewRouter()
	get := func(pattern string, h http.HandlerFunc) {
		m.Get(pattern, h)
		m.Head(pattern, h)
	}
	get("/static/*", static)
	get("/robots.txt", robots)
	get("/status", status)
	get("/status.json", status)
	get("/health", health)
	get("/ready", health)
	m.NotFound(notFound)
	m.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		allow(w, r, http.MethodGet, http.MethodHead)
	})
	return m
}

// recovered keeps a panic of one request from ending the process, or the answer from losing its
// headers (C-07).
func recovered(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch v := recover(); v {
			case nil:
			case http.ErrAbortHandler:
				panic(v)
			default:
				log.Error("panic in a handler", "path", r.URL.EscapedPath(), "panic", v, "stack", string(debug.Stack()))
				http.Error(w, "internal error", http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

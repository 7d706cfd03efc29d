// Package web is the door for people: a landing page, one page for each repository, and a page
// that says what would have to be true for a repository to be there.
//
// Pages are rendered on the server from embedded templates, work without scripts (that of a job that runs has one, which
// adds to its log what comes), load nothing
// from elsewhere and can be read in light and dark, on a phone and aloud. Everything that a
// stranger wrote is escaped, and characters that would move or hide text are shown by their
// number.
//
// The package refuses to know how anything is stored or changed: it asks its Source, and it
// shows. Routing, methods and CORS are the caller's.
package web

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// Config is what the pages say about the server.
type Config struct {
	Name        string // of the server
	Description string
	PublicURL   string // https://git.example.com, without a trailing slash
	Admission   string // who may publish, and the limits, in one sentence
	Contact     string // of the operator, or ""
	Version     string
	MaxRepos    int              // on the landing page; 0 means 200
	Jobs        bool             // jobs are defined: the pages say where they are seen
	Now         func() time.Time // the clock; it must be set
}

// A Source knows what is served. Its methods are safe for concurrent use. Nothing that waits may
// come out of it (architecture §3, truth 3): a repository whose announcement waits is a Page that
// says Waiting and holds nothing of the event.
type Source interface {
	// Repos returns at most limit served repositories, the one that moved last first.
	Repos(ctx context.Context, limit int) ([]Card, error)

	// Repo returns what is known of one repository: fault.NotFound if it does not live here,
	// fault.Gone if its owner withdrew it, a *grasp.Refusal if the operator does not serve it.
	Repo(ctx context.Context, repo grasp.Addr) (Page, error)

	// Peers returns at most limit of the other relays that are listened to, and whether any would
	// be: only those that something served names.
	Peers(ctx context.Context, limit int) (list []Peer, enabled bool, err error)
}

// A Card is one repository on the landing page.
type Card struct {
	Addr        grasp.Addr
	Name        string // as announced, or ""
	Description string
	Moved       time.Time // of the newest state event; zero if there is none
}

// A Page is one repository.
type Page struct {
	Addr        grasp.Addr
	Waiting     bool // announced, but nothing was pushed yet
	Withdrawn   bool // its owner no longer names this server; it can be read for a while
	Name        string
	Description string
	Web         []string // as announced
	Clone       []string // other places to clone from, as announced
	Relays      []string // as announced
	Maintainers []Maintainer
	State       *State        // that is in force; nil if there is none
	Head        grasp.RefName // what HEAD names on disk, or ""
	Refs        []Ref         // at most MaxRefs are shown
	RefCount    int           // how many there are; 0 means len(Refs)
}

// A Maintainer may move the refs.
type Maintainer struct {
	Key   grasp.PubKey
	Owner bool
}

// A State says what the refs shall be.
type State struct {
	ID     grasp.EventID
	Author grasp.PubKey
	At     time.Time
}

// A Ref is what was signed, beside what is there.
type Ref struct {
	Name   grasp.RefName
	Signed grasp.OID // by the state in force; "" if it does not name the ref
	Disk   grasp.OID // "" if it is not there
}

// MaxRefs is the number of refs on one page.
const MaxRefs = 500

//go:embed templates/*.html static/*
var files embed.FS

// Policy is the Content-Security-Policy of every page: no scripts, nothing from elsewhere.
const Policy = "default-src 'none'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// A Profile is what may change while the server runs.
type Profile struct {
	Name        string // of the server
	Description string
	Admission   string // who may publish, and the limits, in one sentence
}

// SetProfile changes what the pages say of the server, at once.
func (w *Web) SetProfile(p Profile) {
	c := w.cfg
	c.Name, c.Description, c.Admission = p.Name, p.Description, p.Admission
	w.site.Store(&c)
}

// Web renders pages. Make one with New.
type Web struct {
	cfg    Config
	site   atomic.Pointer[Config] // with the Profile in force; replaced as a whole
	src    Source
	log    *slog.Logger
	pages  map[string]*template.Template
	assets map[string]asset
	css    string // URL of the style sheet, with its fingerprint
}

// New returns the door. Templates and assets are part of the program; New panics if they are
// broken, which a test would have seen.
func New(cfg Config, src Source, log *slog.Logger) *Web {
	if cfg.MaxRepos == 0 {
		cfg.MaxRepos = 200
	}
	w := &Web{cfg: cfg, src: src, log: log, pages: map[string]*template.Template{}, assets: loadAssets()}
	w.site.Store(&cfg)
	w.css = "/static/style.css?v=" + w.assets["/static/style.css"].tag[1:13]
	for _, name := range []string{"landing", "repository", "box", "missing", "status", "jobs", "job"} {
		w.pages[name] = template.Must(template.New("layout.html").Funcs(template.FuncMap{
			"safe":  Printable,
			"path":  path,
			"quote": shellQuote,
			"short": short,
			"ago":   func(t time.Time) string { return ago(cfg.Now(), t) },
			"iso":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
			"link":  webLink,
			"span":  span,
		}).ParseFS(files, "templates/layout.html", "templates/"+name+".html"))
	}
	return w
}

// layout is what every page has.
type layout struct {
	Site  Config
	Host  string
	CSS   string
	Title string
	Body  any
}

// Landing serves GET and HEAD of "/" (H-109).
func (w *Web) Landing(rw http.ResponseWriter, r *http.Request) {
	cards, err := w.src.Repos(r.Context(), w.cfg.MaxRepos)
	if err != nil {
		w.fail(rw, r, fault.Wrap("web: landing", err))
		return
	}
	// The same address answers NIP-11 and WebSockets: caches must keep them apart (N-021).
	rw.Header().Set("Vary", "Accept")
	w.render(rw, r, http.StatusOK, "landing", w.site.Load().Name, landing{
		Cards: cards[:min(len(cards), w.cfg.MaxRepos)],
		Full:  len(cards) >= w.cfg.MaxRepos,
		Relay: relayURL(w.cfg.PublicURL),
		Plain: strings.HasPrefix(w.cfg.PublicURL, "http://"),
	})
}

type landing struct {
	Cards []Card
	Full  bool // there may be more
	Relay string
	Plain bool // no TLS
}

// Repository serves GET and HEAD of /<npub>/<identifier>.git (H-109), and of the same below /prs/ for a
// contributor's box. A repository that does not live here is answered like NotFound, with the command
// that would announce it.
func (w *Web) Repository(rw http.ResponseWriter, r *http.Request, addr grasp.Addr) {
	p, err := w.src.Repo(r.Context(), addr)
	var no *grasp.Refusal
	switch {
	case errors.As(err, &no):
		w.missing(rw, r, http.StatusNotFound, &addr, no.Text)
		return
	case fault.Is(err, fault.NotFound), fault.Is(err, fault.Gone):
		w.missing(rw, r, fault.CodeOf(err).HTTP(), &addr, "")
		return
	case err != nil:
		w.fail(rw, r, fault.Wrap("web: repository", err))
		return
	}
	if addr.Box {
		w.render(rw, r, http.StatusOK, "box", addr.ID, newBox(w.cfg, addr, p))
		return
	}
	if p.Waiting {
		// Nothing waiting is served, on no page: whatever the source said, forget it.
		p = Page{Addr: addr, Waiting: true}
	}
	p.Addr = addr
	w.render(rw, r, http.StatusOK, "repository", addr.ID, newRepository(w.cfg, p))
}

// NotFound serves every path that nothing else serves: 404, HTML.
func (w *Web) NotFound(rw http.ResponseWriter, r *http.Request) {
	w.missing(rw, r, http.StatusNotFound, nil, "")
}

type missing struct {
	Repo  *grasp.Addr
	Gone  bool
	Why   string // the operator does not serve it, and says why
	Clone string
	Relay string
	Base  string
}

func (w *Web) missing(rw http.ResponseWriter, r *http.Request, status int, repo *grasp.Addr, why string) {
	m := missing{Gone: status == http.StatusGone, Why: why, Relay: relayURL(w.cfg.PublicURL), Base: w.cfg.PublicURL}
	title := "not found"
	if repo != nil {
		m.Repo = repo
		m.Clone = CloneURL(w.cfg.PublicURL, *repo)
		title = repo.ID
	}
	w.render(rw, r, status, "missing", title, m)
}

// Robots serves /robots.txt. Pages may be read; git's endpoints are not for crawlers.
func (w *Web) Robots(rw http.ResponseWriter, r *http.Request) {
	w.send(rw, r, http.StatusOK, "text/plain; charset=utf-8", "public, max-age=86400",
		[]byte("User-agent: *\nDisallow: /*.git/\nCrawl-delay: 5\n"))
}

func (w *Web) fail(rw http.ResponseWriter, r *http.Request, err error) {
	text, id := fault.Message(err)
	if id != "" {
		w.log.Error("page failed", "path", r.URL.EscapedPath(), "id", id, "err", err)
	}
	code := fault.CodeOf(err)
	if code == fault.Busy || code == fault.Closing {
		rw.Header().Set("Retry-After", "5")
	}
	w.send(rw, r, code.HTTP(), "text/plain; charset=utf-8", "no-store", []byte(text+"\n"))
}

func (w *Web) render(rw http.ResponseWriter, r *http.Request, status int, page, title string, body any) {
	w.renderUnder(rw, r, Policy, status, page, title, body)
}

// renderUnder is render with another Content-Security-Policy.
func (w *Web) renderUnder(rw http.ResponseWriter, r *http.Request, policy string, status int, page, title string, body any) {
	var b bytes.Buffer
	_, host, _ := strings.Cut(w.cfg.PublicURL, "://")
	err := w.pages[page].Execute(&b, layout{Site: *w.site.Load(), Host: host, CSS: w.css, Title: title, Body: body})
	if err != nil {
		w.fail(rw, r, fault.Wrap("web: render "+page, err))
		return
	}
	rw.Header().Set("Content-Security-Policy", policy)
	cache := cmp.Or(rw.Header().Get("Cache-Control"), "no-cache") // whoever asked for the page may know better
	w.send(rw, r, status, "text/html; charset=utf-8", cache, b.Bytes())
}

// send writes a whole answer, or 304 if the visitor has it already.
func (w *Web) send(rw http.ResponseWriter, r *http.Request, status int, kind, cache string, body []byte) {
	h := rw.Header()
	h.Set("Content-Type", kind)
	if h.Get("Content-Security-Policy") == "" {
		h.Set("Content-Security-Policy", Policy)
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", cache)
	if status == http.StatusOK {
		tag := fingerprint(body)
		h.Set("ETag", tag)
		if matches(r.Header.Get("If-None-Match"), tag) {
			rw.WriteHeader(http.StatusNotModified)
			return
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	rw.WriteHeader(status)
	if r.Method != http.MethodHead {
		rw.Write(body)
	}
}

func fingerprint(b []byte) string {
	sum := sha256.Sum256(b)
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}

// matches compares weakly, as If-None-Match wants it.
func matches(header, tag string) bool {
	for part := range strings.SplitSeq(header, ",") {
		part = strings.TrimSpace(part)
		if part == "*" || strings.TrimPrefix(part, "W/") == tag {
			return true
		}
	}
	return false
}

type asset struct {
	kind, tag string
	body      []byte
}

func loadAssets() map[string]asset {
	kinds := map[string]string{".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".js": "text/javascript; charset=utf-8"}
	out := map[string]asset{}
	entries, err := files.ReadDir("static")
	if err != nil {
		panic(err) // embedded
	}
	for _, e := range entries {
		body, err := files.ReadFile("static/" + e.Name())
		if err != nil {
			panic(err) // embedded
		}
		dot := strings.LastIndexByte(e.Name(), '.')
		out["/static/"+e.Name()] = asset{kind: kinds[e.Name()[dot:]], tag: fingerprint(body), body: body}
	}
	return out
}

// Static serves GET and HEAD of /static/… and answers 404 for names that do not exist.
func (w *Web) Static(rw http.ResponseWriter, r *http.Request) {
	a, ok := w.assets[r.URL.Path]
	if !ok {
		w.NotFound(rw, r)
		return
	}
	cache := "public, max-age=3600"
	if r.URL.RawQuery != "" {
		// The pages name assets by their fingerprint, so a new version has a new address.
		cache = "public, max-age=31536000, immutable"
	}
	w.send(rw, r, http.StatusOK, a.kind, cache, a.body)
}

func ago(now, then time.Time) string {
	d := now.Sub(then)
	n, unit := 0, ""
	switch {
	case then.IsZero():
		return "never"
	case d < 0:
		return "just now"
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		n, unit = int(d/time.Minute), "minute"
	case d < 48*time.Hour:
		n, unit = int(d/time.Hour), "hour"
	case d < 60*24*time.Hour:
		n, unit = int(d/(24*time.Hour)), "day"
	default:
		return "on " + then.UTC().Format("2 January 2006")
	}
	if n != 1 {
		unit += "s"
	}
	return fmt.Sprintf("%d %s ago", n, unit)
}

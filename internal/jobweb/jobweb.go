// Package jobweb is the door to jobs: what runs, how it ended and what it said, as pages and as JSON; and, for
// those who may, to run a job again, to end it, to ask for one.
//
//	GET  /jobs              which jobs there are; filters repo, name, state, since, before, limit
//	POST /jobs              run jobs of the configuration: an Order as JSON
//	GET  /jobs/<id>         one job
//	POST /jobs/<id>/retry   run it again; also with ?t=<token>, once
//	POST /jobs/<id>/cancel  end it
//	GET  /jobs/<id>/log     what it says, as text; ?follow=1 while it says it, also as server-sent events
//	GET  /jobs/explain      why a ref makes jobs, or none: repo, ref, name, trigger
//	GET  /jobs/schema.json  what the JSON of a job means
//
//	jobweb.go  routing, who may what     log.go     logs, and following them
//	list.go    filters                   control.go what changes something
//
// JSON is what is asked for by Accept: application/json, or by .json behind the path. Everybody may read what is not
// private; everything else needs a request that is signed (NIP-98) by the operator or a maintainer of the repository.
// There are no cookies: what another site's script is answered anybody is answered (S4-21). CORS headers are put on by
// whoever stands outside this door.
//
// It refuses to know how jobs are kept and run.
package jobweb

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/joblog"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/jobview"
	"github.com/gitroost/gitroost/internal/nip98"
)

// A Board shows jobs. It is safe for concurrent use.
type Board interface {
	// Show returns one job, or a fault.NotFound.
	Show(ctx context.Context, id jobs.ID) (jobview.View, error)
	// List returns one page of jobs, with those that are private where may says so.
	List(ctx context.Context, f jobs.Filter, may func(jobview.View) bool) (jobview.Page, error)
	// Text opens the log of an attempt; 0 means the last one. It is a fault.NotFound or fault.Gone.
	Text(ctx context.Context, id jobs.ID, attempt int) (*joblog.Text, error)
	// Follow returns a log from a place in it, and waits for what comes. With one it is that attempt alone.
	Follow(ctx context.Context, id jobs.ID, attempt int, from int64, one bool) (*jobview.Tail, error)
}

// A Control changes something. by asked for it. It is safe for concurrent use.
type Control interface {
	Retry(ctx context.Context, id jobs.ID, by grasp.PubKey) (jobview.View, error)
	// Redeem is Retry for whoever has a token: fault.Refused, fault.Gone and fault.Duplicate say that it is none.
	Redeem(ctx context.Context, id jobs.ID, token string) (jobview.View, error)
	Cancel(ctx context.Context, id jobs.ID, by grasp.PubKey) (jobview.View, error)
	// Run runs jobs by name. Operator says that by may ask for all of them.
	Run(ctx context.Context, o jobview.Order, by grasp.PubKey, operator bool) ([]jobview.View, error)
}

// An Approver lets jobs begin that wait for approval. It is safe for concurrent use.
type Approver interface {
	// Approve is a fault.Refused where by may not, and a fault.Stale where there is nothing to approve.
	Approve(ctx context.Context, id jobs.ID, by grasp.PubKey, operator bool) (jobview.View, error)
}

// A Gate knows who may what. It is safe for concurrent use.
type Gate interface {
	// Operator reports whether a key is one of the operator's.
	Operator(key grasp.PubKey) bool
	// Maintains reports whether a key may move the refs of a repository.
	Maintains(ctx context.Context, repo grasp.Addr, key grasp.PubKey) (bool, error)
}

// An Oracle says why jobs run, or do not. It is safe for concurrent use.
type Oracle interface {
	Why(ctx context.Context, o jobview.Order) ([]jobview.Finding, error)
}

// Pages are what a browser is shown.
type Pages interface {
	JobList(w http.ResponseWriter, r *http.Request, list JobList)
	Job(w http.ResponseWriter, r *http.Request, page JobPage)
	NotFound(w http.ResponseWriter, r *http.Request)
}

// A JobList is what the page of jobs shows, and a JobPage that of one job.
type (
	JobList = jobview.ListPage
	JobPage = jobview.JobPage
)

// Config are the knobs of the door. Now and Authorities are required; zero values mean the defaults.
type Config struct {
	Now         func() time.Time
	Authorities []string // host[:port] under which this server is known, for NIP-98

	// Wire is the clock by which deadlines of connections are set: the computer's. Default Now.
	Wire func() time.Time

	// MaxFollowers is how many follow logs at a time, MaxPerNetwork how many of one network, and MaxReaders
	// how many logs are sent at a time. Default 500, 50 and 64.
	MaxFollowers, MaxPerNetwork, MaxReaders int

	// Network returns the network that a request comes from; "" is one without bounds. Default: always "".
	Network func(*http.Request) string

	// Idle ends an answer that does not move. Default one minute.
	Idle time.Duration

	// KeepAlive is the pause between signs of life for those who follow by server-sent events. Default 15 s.
	KeepAlive time.Duration
}

// A Handler is the door. It is safe for concurrent use.
type Handler struct {
	cfg     Config
	board   Board
	control Control
	approve Approver
	gate    Gate
	oracle  Oracle
	pages   Pages
	log     *slog.Logger
	who     *nip98.Verifier
	follows crowd
	readers chan struct{}
}

// New returns the door. log may be nil.
func New(cfg Config, board Board, control Control, approve Approver, oracle Oracle, gate Gate, pages Pages, log *slog.Logger) *Handler {
	if cfg.Wire == nil {
		cfg.Wire = cfg.Now
	}
	for _, d := range []struct {
		v *int
		n int
	}{{&cfg.MaxFollowers, 500}, {&cfg.MaxPerNetwork, 50}, {&cfg.MaxReaders, 64}} {
		if *d.v <= 0 {
			*d.v = d.n
		}
	}
	if cfg.Network == nil {
		cfg.Network = func(*http.Request) string { return "" }
	}
	if cfg.Idle <= 0 {
		cfg.Idle = time.Minute
	}
	if cfg.KeepAlive <= 0 {
		cfg.KeepAlive = 15 * time.Second
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Handler{
		cfg: cfg, board: board, control: control, approve: approve, gate: gate, oracle: oracle, pages: pages, log: log, who: nip98.New(cfg.Now, cfg.Authorities),
		follows: crowd{max: cfg.MaxFollowers, each: cfg.MaxPerNetwork}, readers: make(chan struct{}, cfg.MaxReaders),
	}
}

// Match reports whether a path, as it is escaped, is one of this door's.
func Match(path string) bool {
	return path == "/jobs" || path == "/jobs.json" || strings.HasPrefix(path, "/jobs/")
}

// MaxBody is the largest request, in bytes.
const MaxBody = 64 << 10

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.serve(w, r, false) }

// Local answers requests of the command line. Who can reach it may do everything.
func (h *Handler) Local() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, true) })
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, local bool) {
	x := &visit{h: h, local: local, w: patient{w, http.NewResponseController(w), h.cfg}, r: r}
	path := strings.Trim(strings.TrimPrefix(r.URL.EscapedPath(), "/jobs"), "/")
	if base, ok := strings.CutSuffix(path, ".json"); ok && base != "schema" {
		x.json, path = true, base
	} else {
		x.json = wantsJSON(r.Header.Get("Accept"))
		w.Header().Add("Vary", "Accept")
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Referrer-Policy", "no-referrer") // an address can hold a token
	name, verb, _ := strings.Cut(path, "/")
	switch {
	case path == "":
		x.route(methods{http.MethodGet: x.list, http.MethodPost: x.run})
	case path == "explain":
		x.route(methods{http.MethodGet: x.explain})
	case path == "schema.json":
		x.route(methods{http.MethodGet: x.schema})
	default:
		id, err := jobs.ParseID(strings.ToUpper(name))
		if err != nil {
			x.fail(fault.E(fault.NotFound, "jobweb: path", "there is no such job"))
			return
		}
		x.id = id
		switch verb {
		case "":
			x.route(methods{http.MethodGet: x.show})
		case "log", "log.txt":
			x.route(methods{http.MethodGet: x.sendLog})
		case "retry":
			x.route(methods{http.MethodPost: x.retry})
		case "cancel":
			x.route(methods{http.MethodPost: x.cancel})
		case "approve":
			x.route(methods{http.MethodPost: x.approve})
		default:
			x.fail(fault.E(fault.NotFound, "jobweb: path", "a job has a page, a log, retry, cancel and approve"))
		}
	}
}

// wantsJSON reports whether JSON is asked for, and not a page.
func wantsJSON(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		kind, _, _ := strings.Cut(part, ";")
		switch strings.ToLower(strings.TrimSpace(kind)) {
		case "application/json":
			return true
		case "text/html", "application/xhtml+xml":
			return false
		}
	}
	return false
}

// A visit is one request and its answer.
type visit struct {
	h    *Handler
	w    patient
	r    *http.Request
	id   jobs.ID
	json bool
	body []byte

	local bool         // it is the command line
	asked bool         // who it is was found out
	key   grasp.PubKey // "" is anybody
}

type methods map[string]func()

// route calls what is there for the method, or answers 405 (H-105).
func (x *visit) route(m methods) {
	method := x.r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if f := m[method]; f != nil {
		f()
		return
	}
	allow := http.MethodOptions
	if m[http.MethodPost] != nil {
		allow = "POST, " + allow
	}
	if m[http.MethodGet] != nil {
		allow = "GET, HEAD, " + allow
	}
	x.w.Header().Set("Allow", allow)
	x.answer(http.StatusMethodNotAllowed, failure{"method not allowed here; use " + allow})
}

// identify finds out who signed the request. One that is not signed is anybody's; false means that the answer was
// given.
func (x *visit) identify() bool {
	if x.asked || x.local {
		return true
	}
	x.asked = true
	header := x.r.Header.Get("Authorization")
	if header == "" {
		return true
	}
	key, err := x.h.who.Check(x.r.Context(), header, nip98.Request{
		Method: x.r.Method, Path: x.r.URL.EscapedPath(), Query: x.r.URL.RawQuery, Body: x.body,
	})
	if err != nil {
		x.challenge(err.Error())
		return false
	}
	x.key = key
	return true
}

func (x *visit) challenge(why string) {
	x.w.Header().Set("WWW-Authenticate", nip98.Challenge)
	x.answer(http.StatusUnauthorized, failure{why})
}

// may reports whether the visitor is the operator, or maintains the repository. operator says which.
func (x *visit) may(repo grasp.Addr) (yes, operator bool, err error) {
	if x.local {
		return true, true, nil
	}
	if x.key == "" {
		return false, false, nil
	}
	if x.h.gate.Operator(x.key) {
		return true, true, nil
	}
	yes, err = x.h.gate.Maintains(x.r.Context(), repo, x.key)
	return yes, false, err
}

// admit lets those in who may do something about a repository, and answers all others: 401 to who did not sign (S4-42),
// 403 to who may not.
func (x *visit) admit(repo grasp.Addr, what string) (operator, ok bool) {
	if !x.identify() {
		return false, false
	}
	if x.key == "" && !x.local {
		x.challenge(what + " needs a request signed by the operator or a maintainer of the repository: an Authorization header with an event of kind 27235 (NIP-98)")
		return false, false
	}
	yes, operator, err := x.may(repo)
	switch {
	case err != nil && !fault.Is(err, fault.NotFound):
		x.fail(err)
	case err != nil || !yes:
		x.h.log.Warn("somebody may not do this", "key", x.key.Npub(), "path", x.r.URL.EscapedPath())
		x.answer(http.StatusForbidden, failure{x.key.Npub() + " neither operates this server nor maintains this repository"})
	default:
		return operator, true
	}
	return false, false
}

// see returns the job of the path if the visitor may see it; otherwise the answer was given.
func (x *visit) see() (jobview.View, bool) {
	v, err := x.h.board.Show(x.r.Context(), x.id)
	if err != nil {
		x.fail(err)
		return v, false
	}
	if !v.Private {
		return v, x.identify()
	}
	x.w.Header().Set("Cache-Control", "private, no-store")
	repo, _ := v.Addr()
	_, ok := x.admit(repo, "this job is private: reading it")
	return v, ok
}

func (x *visit) show() {
	v, ok := x.see()
	if !ok {
		return
	}
	if x.json {
		x.answer(http.StatusOK, v)
		return
	}
	page := JobPage{View: v}
	if len(v.Log.Attempts) > 0 {
		done, ok := x.reading()
		if !ok {
			return
		}
		defer done()
		if err := x.lastOf(&page); err != nil && !fault.Is(err, fault.NotFound) && !fault.Is(err, fault.Gone) {
			x.fail(err)
			return
		}
	}
	x.h.pages.Job(x.w, x.r, page)
}

// shownLog is how much of a log is on a page, in bytes.
const shownLog = 64 << 10

// lastOf reads the end of the log for the page.
func (x *visit) lastOf(page *JobPage) error {
	t, err := x.h.board.Text(x.r.Context(), x.id, 0)
	if err != nil {
		return err
	}
	defer t.Close()
	page.LogSize, page.LogMark = t.Size, t.Mark
	if t.Size > shownLog {
		_, _ = t.Seek(t.Size-shownLog, io.SeekStart) // it is not before the beginning
	}
	b, err := io.ReadAll(t)
	if err != nil {
		return fault.Wrap("jobweb: log", err)
	}
	if t.Size > shownLog {
		_, rest, _ := strings.Cut(string(b), "\n")
		page.Omitted = t.Size - int64(len(rest))
		b = []byte(rest)
	}
	page.SetLog(b)
	return nil
}

func (x *visit) schema() {
	x.w.Header().Set("Content-Type", "application/schema+json")
	x.w.Header().Set("Cache-Control", "public, max-age=3600")
	x.w.send(x.r, http.StatusOK, jobview.Schema())
}

// failure is what an answer says that has nothing else to say.
type failure struct {
	Error string `json:"error"`
}

// answer writes v as JSON, or as text if it is a failure and no JSON was asked for.
func (x *visit) answer(status int, v any) {
	head := x.w.Header()
	if head.Get("Cache-Control") == "" {
		head.Set("Cache-Control", "no-cache")
	}
	if f, ok := v.(failure); ok && !x.json && x.r.Method != http.MethodPost {
		head.Set("Content-Type", "text/plain; charset=utf-8")
		x.w.send(x.r, status, []byte(f.Error+"\n"))
		return
	}
	head.Set("Content-Type", "application/json")
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":"internal error"}`)
	}
	x.w.send(x.r, status, append(b, '\n'))
}

// fail answers a fault by its code.
func (x *visit) fail(err error) {
	code := fault.CodeOf(err)
	if code == fault.NotFound && !x.json && x.r.Method != http.MethodPost && strings.Contains(x.r.Header.Get("Accept"), "text/html") {
		x.h.pages.NotFound(x.w, x.r)
		return
	}
	text, id := fault.Message(err)
	if id != "" {
		x.h.log.Error("a request about jobs failed", "path", x.r.URL.EscapedPath(), "id", id, "err", err)
	}
	status := code.HTTP()
	switch code {
	case fault.Refused:
		status = http.StatusForbidden
	case fault.Duplicate:
		status = http.StatusConflict
	case fault.Busy, fault.Closing:
		x.w.Header().Set("Retry-After", "5")
	}
	x.answer(status, failure{text})
}

// A patient writer gives each piece of an answer its own time.
type patient struct {
	http.ResponseWriter
	rc  *http.ResponseController
	cfg Config
}

func (p patient) Write(b []byte) (int, error) {
	_ = p.rc.SetWriteDeadline(p.cfg.Wire().Add(p.cfg.Idle))
	return p.ResponseWriter.Write(b)
}

// Unwrap lets an http.ResponseController through.
func (p patient) Unwrap() http.ResponseWriter { return p.ResponseWriter }

func (p patient) flush() error {
	_ = p.rc.SetWriteDeadline(p.cfg.Wire().Add(p.cfg.Idle))
	err := p.rc.Flush()
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}

// send writes a whole answer.
func (p patient) send(r *http.Request, status int, body []byte) {
	p.Header().Set("Content-Length", strconv.Itoa(len(body)))
	p.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = p.Write(body) // a visitor who left is nobody's loss
	}
}

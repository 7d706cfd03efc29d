// Package manage is the operator's door: the rules about what is taken here, and what the server
// says of itself, changed while it runs. It answers JSON calls, over the network in the form of
// NIP-86 to those who prove by NIP-98 that they hold a key of an operator (N-044), and to the
// command line over a socket that only the owner of the data folder can open.
//
//	manage.go   what the door needs, and who is let in
//	rpc.go      calls and answers                          address.go  which addresses a rule is about
//	methods.go  the methods of NIP-86                      command.go  those of the command line, in words
//	quota.go    what is kept here, and by whom
//	sync.go     how it stands with other servers
//	tell.go     who is told what happens here
//
// It refuses to know how rules are kept and what follows from them.
package manage

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/nip98"
)

// A Desk holds the rules. It is safe for concurrent use.
type Desk interface {
	// Moderation returns the rules in force.
	Moderation() *grasp.Moderation

	// Decide puts a rule into force and removes what it denies; with dry it only says what that
	// would be. It returns the rule as it was written.
	Decide(ctx context.Context, r grasp.Rule, dry bool) (grasp.Rule, Effect, error)

	// Withdraw takes a rule back, and reports whether there was one. A rule of the configuration is
	// a fault.Refused.
	Withdraw(ctx context.Context, s grasp.Subject, a grasp.Action) (bool, error)

	// ExplainEvent says what the rules decide about an event, and whether it is here.
	ExplainEvent(ctx context.Context, id grasp.EventID) (grasp.Explanation, bool, error)
}

// A House is the rest of what is managed.
type House interface {
	// SetProfile changes what the server says of itself: name, description or icon. An empty value
	// gives the word back to the configuration. by is the key in hex, or CommandLine.
	SetProfile(ctx context.Context, name, value, by string) error

	// Size returns how many bytes a repository takes on disk.
	Size(ctx context.Context, repo grasp.Addr) (int64, error)

	// Holding returns what one key keeps here.
	Holding(ctx context.Context, key grasp.PubKey) (Holding, error)

	// Holders returns who keeps most here, at most limit keys.
	Holders(ctx context.Context, limit int) (Holders, error)
}

// An Effect is what a rule removes.
type Effect struct {
	Events map[int]int // by kind; -1 stands for the many kinds beyond the first hundred
	Repos  []grasp.Addr
	More   int // repositories that are not named
}

// CommandLine is who decided, when it was not by a key.
const CommandLine = "command line"

// MaxBody is the largest call, in bytes.
const MaxBody = 64 << 10

// Config are the knobs of the door. Now is required.
type Config struct {
	Now func() time.Time

	// Wire is the clock by which deadlines of connections are set: the computer's. Default Now.
	Wire func() time.Time

	// Authorities are the host[:port] under which this server is known: a NIP-98 event names one
	// of them.
	Authorities []string

	// Admins are those who may call.
	Admins []grasp.PubKey

	// Never are ranges of which no address can be blocked, beside loopback ones: proxies in front.
	Never []netip.Prefix

	// Others tells how it stands with other servers; nil: nobody knows.
	Others Others

	// Teller tells targets of the configuration; nil: nobody does.
	Teller Teller

	// Grace is how long the data of a closed repository is kept, for the texts.
	Grace time.Duration
}

// bodyTime is how long a caller may take to send the call.
const bodyTime = 15 * time.Second

// A Handler is the door. Make one with New; its methods may be called at once.
type Handler struct {
	cfg   Config
	desk  Desk
	house House
	log   *slog.Logger
	who   *nip98.Verifier
}

// New returns the door to desk and house.
func New(cfg Config, desk Desk, house House, log *slog.Logger) *Handler {
	if cfg.Wire == nil {
		cfg.Wire = cfg.Now
	}
	return &Handler{cfg: cfg, desk: desk, house: house, log: log, who: nip98.New(cfg.Now, cfg.Authorities)}
}

// Is reports whether a request is a call for this door (N-044).
func Is(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.Contains(strings.ToLower(r.Header.Get("Content-Type")), rpcType)
}

const rpcType = "application/nostr+json+rpc"

// ServeHTTP answers a call over the network: 401 unless a NIP-98 event proves who calls, 403 if
// that is no operator, and 200 with a result or an error otherwise. It is never 5xx.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	auth := r.Header.Get("Authorization")
	if auth == "" {
		h.unauthorised(w, "this needs an Authorization header with an event of kind 27235 (NIP-98)")
		return
	}
	body, ok := h.body(w, r)
	if !ok {
		return
	}
	key, err := h.who.Check(r.Context(), auth, nip98.Request{Method: http.MethodPost, Body: body})
	if err != nil {
		h.unauthorised(w, err.Error())
		return
	}
	if !slices.Contains(h.cfg.Admins, key) {
		h.log.Warn("a call by somebody who is no operator", "key", key.Npub())
		answer(w, http.StatusForbidden, response{Error: "this key may not manage the server; its operator can add it to admin.keys"})
		return
	}
	h.serve(w, r, string(key), body)
}

// Local answers calls of the command line. Who can reach it may do everything.
func (h *Handler) Local() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			answer(w, http.StatusMethodNotAllowed, response{Error: "use POST"})
			return
		}
		if body, ok := h.body(w, r); ok {
			h.serve(w, r, CommandLine, body)
		}
	})
}

// body reads a call.
func (h *Handler) body(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	_ = http.NewResponseController(w).SetReadDeadline(h.cfg.Wire().Add(bodyTime))
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxBody+1))
	switch {
	case err != nil:
		answer(w, http.StatusBadRequest, response{Error: "the call could not be read"})
	case len(body) > MaxBody:
		w.Header().Set("Connection", "close")
		answer(w, http.StatusRequestEntityTooLarge, response{Error: "a call may have 64 KiB"})
	default:
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
		return body, true
	}
	return nil, false
}

func (h *Handler) unauthorised(w http.ResponseWriter, why string) {
	w.Header().Set("WWW-Authenticate", nip98.Challenge)
	answer(w, http.StatusUnauthorized, response{Error: why})
}

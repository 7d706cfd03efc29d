// Package githttp is the door for git clients: three smart-HTTP routes below
// /<npub>/<identifier>.git.
//
// What it answers itself, from memory and without starting a process: advertisements, the refs
// of protocol v2, fetches from empty repositories, and every refusal. A fetch is parsed, written
// anew and handed to a Git. A push is parsed up to its pack, decided upon by a Desk, and only then
// is the pack read. Both stream, under limits that look at progress and never at the total time a
// slow but living client needs.
//
//	githttp.go  routing, what the door needs from the house      push.go   receive-pack
//	box.go      what is different for contributors' boxes
//	path.go     which URLs are repositories                      fetch.go  upload-pack
//	body.go     bodies: codings, limits, deadlines, draining     advert.go info/refs
//	answer.go   answers: deadlines, flushing, plain texts        follow.go answers that many share
//	jobs.go     what jobs of a push say, to who pushed
//	slots.go    how many packs at a time, and whose turn it is   texts.go  every sentence a pusher may read
//
// It refuses to know events, SQL, where repositories lie and how git is run. CORS headers are put
// on by whoever stands outside; nothing here removes a header.
package githttp

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/answers"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitwire"
)

// A Desk knows the repositories and decides about pushes. It is safe for concurrent use.
type Desk interface {
	// Find says how repo lives here. NotHosted and Deleted are answered 404 (H-107); Withdrawn is
	// readable. A *grasp.Refusal says that the operator does not want it: readers are told why with
	// a 404, and whoever pushes by the report that Enter's refusal makes.
	Find(ctx context.Context, repo grasp.Addr) (grasp.Hosting, error)

	// Refs returns what repo advertises. The answer comes from memory.
	Refs(ctx context.Context, repo grasp.Addr) (*grasp.Snapshot, error)

	// Enter decides about a push before a byte of its pack is read. A *grasp.Refusal says no.
	// The names in updates are as the pusher sent them and need not be legal. PushID gives the id
	// under which the push is logged.
	Enter(ctx context.Context, repo grasp.Addr, updates []grasp.RefChange) (Push, error)
}

// A Push is one push that was let in. Its methods are called by one goroutine at a time.
type Push interface {
	// Noop reports whether every update is true already: the pack, if any, is thrown away and
	// everything is reported ok (H-249).
	Noop() bool

	// Deliver reads the pack to its end, checks it, moves the refs and settles. pack is nil if
	// every update deletes; a pack that should have been sent and was not is empty. It fails with
	// a *grasp.Refusal or a fault. progress shows a line to the pusher; it may be called by other
	// goroutines and not after Deliver returned. ctx is cancelled if the pusher leaves before the
	// whole pack arrived; after that only the limit on wall time ends it.
	Deliver(ctx context.Context, pack io.Reader, progress func(line string)) error

	// Notes are lines that the pusher sees after success.
	Notes() []string

	// Close ends the push. It is always called, after everything else.
	Close()
}

// Git runs git for those who fetch. It is safe for concurrent use.
type Git interface {
	// UploadPack runs `git upload-pack --stateless-rpc` on repo. request is canonical, written by
	// gitwire; protocolVersion is 0 or 2. quick says that the answer shall come soon rather than be
	// small. The answer streams to w. It ends when ctx does.
	UploadPack(ctx context.Context, repo grasp.Addr, protocolVersion int, quick bool, request io.Reader, w io.Writer) error
}

// A Follower reads what jobs say, line by line. It is used by one goroutine.
type Follower interface {
	// Next waits until there is more. It is io.EOF at the end, a fault.Closing when the server stops, and what ctx
	// says if that ends.
	Next(ctx context.Context) (lines []string, err error)
	Close()
}

// Config are the knobs of the door. Zero values mean the defaults.
type Config struct {
	// Version is announced in agent=gitroost/<version>. Default "dev".
	Version string

	// Now tells the time, for deadlines. It must be set.
	Now func() time.Time

	// Idle ends a request or an answer that does not move: less than 1 KiB in this time. There is
	// no limit on the total time of a living one except Wall (H-111). Default 60 s.
	Idle time.Duration

	// Section is how long a pusher may take to send the commands that precede the pack, and a fetcher
	// the whole request. Default 30 s.
	Section time.Duration

	// Wall ends every push and every fetch, however lively. Default 60 min.
	Wall time.Duration

	// KeepAlive is the pause between signs of life while a push is worked on (H-257). Default 5 s.
	KeepAlive time.Duration

	// DrainBytes is how much of a refused push is read and thrown away, so that the pusher sees the
	// reason and no broken pipe (H-256). Beyond it the answer is 413. Default 64 MiB.
	DrainBytes int64

	// DrainIdle gives up draining when nothing arrives for so long. Default 20 s.
	DrainIdle time.Duration

	// MaxBody is the size of a push, in bytes, pack and commands (H-254). Default 2 GiB.
	MaxBody int64

	// MaxPullBody is the same for pushes to refs/nostr/ alone. Default 256 MiB.
	MaxPullBody int64

	// MaxCommands is how many refs one push may name. Default 10,000.
	MaxCommands int

	// MaxFetches and MaxPushes are how many packs are made and received at the same time; who comes
	// then waits in a queue of MaxWaiting, for SlotWait, and after that the answer is 503. One
	// repository or network has three quarters of them at most. Default 4, 64, 256 and 50 s.
	MaxFetches, MaxPushes int
	MaxWaiting            int
	SlotWait              time.Duration

	// Answers keeps what git answered to those who fetch. Default: one without room, that keeps
	// nothing; clients that ask the same at the same time still share the beginning of an answer.
	Answers *answers.Cache

	// Network returns the network that a request comes from, by which slots are shared; "" is one
	// that has no bounds. Default: always "".
	Network func(*http.Request) string

	// Boxes opens contributors' boxes, below /prs/ (GRASP-06). While they are closed whatever is asked
	// for there is answered 404.
	Boxes bool

	// Follow returns what the jobs of a push say, for git push -o follow[=<name of a job>]; nil if there is nothing
	// to follow. Default: there never is.
	Follow func(ctx context.Context, repo grasp.Addr, push, name string) (Follower, error)

	// MaxFollowers is how many pushers follow jobs at a time. FollowTime ends each of them. Default 100 and ten
	// minutes.
	MaxFollowers int
	FollowTime   time.Duration

	// At returns a channel that receives once, at t; stop gives it back. Default: by the system's timers.
	At func(t time.Time) (c <-chan time.Time, stop func())

	// NewPushID makes the id of a push: a few letters and digits. Default: 8 random hex digits.
	NewPushID func() string
}

func (c *Config) defaults() {
	if c.Now == nil {
		panic("githttp: Config.Now is not set")
	}
	def(&c.Idle, time.Minute)
	def(&c.Section, 30*time.Second)
	def(&c.Wall, time.Hour)
	def(&c.KeepAlive, 5*time.Second)
	def(&c.DrainBytes, 64<<20)
	def(&c.DrainIdle, 20*time.Second)
	def(&c.MaxBody, 2<<30)
	def(&c.MaxPullBody, 256<<20)
	def(&c.MaxCommands, 10_000)
	def(&c.MaxFetches, 4)
	def(&c.MaxPushes, 64)
	def(&c.MaxWaiting, 256)
	def(&c.SlotWait, 50*time.Second) // less than the minute after which proxies give up
	if c.Answers == nil {
		c.Answers, _ = answers.Open(answers.Config{Now: c.Now}) // without a folder nothing can fail
	}
	if c.Network == nil {
		c.Network = func(*http.Request) string { return "" }
	}
	def(&c.MaxFollowers, 100)
	def(&c.FollowTime, 10*time.Minute)
	if c.At == nil {
		c.At = func(t time.Time) (<-chan time.Time, func()) {
			timer := time.NewTimer(t.Sub(c.Now()))
			return timer.C, func() { timer.Stop() }
		}
	}
	if c.NewPushID == nil {
		c.NewPushID = func() string {
			var b [4]byte
			rand.Read(b[:])
			return hex.EncodeToString(b[:])
		}
	}
}

func def[T int | int64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// A Handler serves the git routes. It is safe for concurrent use.
type Handler struct {
	cfg     Config
	agent   string
	desk    Desk
	git     Git
	log     *slog.Logger
	stats   Stats
	fetches *slots
	pushes  *slots
	follows chan struct{} // a place for each who follows jobs
}

// New returns a Handler. cfg.Now must be set; log may be nil.
func New(cfg Config, desk Desk, git Git, log *slog.Logger) *Handler {
	cfg.defaults()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Handler{
		cfg: cfg, agent: gitwire.Agent(cfg.Version), desk: desk, git: git, log: log,
		fetches: newSlots(cfg.MaxFetches, cfg.MaxWaiting, cfg.SlotWait),
		pushes:  newSlots(cfg.MaxPushes, cfg.MaxWaiting, cfg.SlotWait),
		follows: make(chan struct{}, cfg.MaxFollowers),
	}
}

// Stats returns the counters of the door. They only grow.
func (h *Handler) Stats() *Stats { return &h.stats }

// ServeHTTP answers one request of a git client. Whatever the request, the answer is never 401,
// never a redirect, and 5xx only if something here is busy or broken (H-108, H-110).
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if repo, sub, ok := ParsePath(r.URL.EscapedPath()); ok {
		h.ServeRepo(w, r, repo, sub)
		return
	}
	x := newExchange(h, w, r)
	defer x.finish()
	x.text(http.StatusNotFound, textNoPath)
}

// ServeRepo is ServeHTTP for who has asked ParsePath already, and hands in what it said.
func (h *Handler) ServeRepo(w http.ResponseWriter, r *http.Request, repo grasp.Addr, sub string) {
	x := newExchange(h, w, r)
	defer x.finish()
	if repo.Box && !h.cfg.Boxes {
		x.text(http.StatusNotFound, textNoBoxes) // G06-01
		return
	}
	switch sub {
	case subRefs:
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			x.notAllowed("GET, HEAD, OPTIONS")
			return
		}
		x.advertise(repo)
	case subUpload, subReceive:
		if r.Method != http.MethodPost {
			x.notAllowed("POST, OPTIONS")
			return
		}
		switch err := x.find(repo); {
		case err != nil && !(sub == subReceive && denied(err)):
			x.fail(repo, err)
		case sub == subUpload:
			x.fetch(repo)
		default:
			x.push(repo)
		}
	default:
		x.text(http.StatusNotFound, textNoPath)
	}
}

// find returns nil if repo can be read here, a fault.NotFound if not (H-107), or the operator's
// refusal.
func (x *exchange) find(repo grasp.Addr) error {
	hosting, err := x.h.desk.Find(x.r.Context(), repo)
	if err == nil && (hosting == grasp.NotHosted || hosting == grasp.Deleted) {
		err = fault.E(fault.NotFound, "githttp: find", "")
	}
	return err
}

// denied reports whether err is a refusal.
func denied(err error) bool {
	var no *grasp.Refusal
	return errors.As(err, &no)
}

type pushIDKey struct{}

// PushID returns the id of the push that ctx belongs to, or "". It is in the log and in the last
// line that the pusher sees.
func PushID(ctx context.Context) string {
	id, _ := ctx.Value(pushIDKey{}).(string)
	return id
}

type pushOptionsKey struct{}

// PushOptions returns the options that the pusher gave to the push that ctx belongs to: git push -o.
func PushOptions(ctx context.Context) []string {
	list, _ := ctx.Value(pushOptionsKey{}).([]string)
	return list
}

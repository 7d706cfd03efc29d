package githttp

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitwire"
)

// An exchange is one request and its answer.
type exchange struct {
	h    *Handler
	w    http.ResponseWriter
	r    *http.Request
	rc   *http.ResponseController
	body *body

	// started is set by the first byte or status of the answer. The answer has one writer at a
	// time: the handler, or while Deliver runs the talker, which is waited for.
	started bool
	failed  error // what the first failed write said
}

func newExchange(h *Handler, w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{h: h, w: w, r: r, rc: http.NewResponseController(w)}
	x.body = newBody(x)
	return x
}

// finish gives the server time to send what it has buffered. It resets the deadline itself before
// the next request.
func (x *exchange) finish() {
	if x.r.ProtoMajor < 2 {
		x.deadline()
	}
}

func (x *exchange) deadline() { _ = x.rc.SetWriteDeadline(x.h.cfg.Now().Add(x.h.cfg.Idle)) }

// begin sends status 200 and the headers of a git answer. length is -1 if it is not known.
func (x *exchange) begin(contentType string, length int) {
	x.started = true
	head := x.w.Header()
	head["Content-Type"] = []string{contentType}
	noCache(head)
	if length >= 0 {
		head["Content-Length"] = []string{strconv.Itoa(length)}
	}
	x.w.WriteHeader(http.StatusOK)
}

// What every answer says is made once. Nobody changes these: Set and Add of a header put another slice
// in their place.
var (
	headerNoCache = []string{"no-cache"}
	headerExpires = []string{"Fri, 01 Jan 1980 00:00:00 GMT"}
	headerNoSniff = []string{"nosniff"}
)

func noCache(head http.Header) {
	head["Cache-Control"] = headerNoCache
	head["Pragma"] = headerNoCache
	head["Expires"] = headerExpires
	head["X-Content-Type-Options"] = headerNoSniff
}

// heldBack is up to how many bytes of an answer the server sends only when the handler has returned: then
// finish sets the deadline.
const heldBack = 2 << 10

// whole answers 200 with all of b.
func (x *exchange) whole(contentType string, b []byte) {
	x.begin(contentType, len(b))
	switch {
	case x.r.Method == http.MethodHead:
	case len(b) < heldBack && x.r.ProtoMajor < 2:
		n, err := x.w.Write(b)
		x.h.stats.BytesOut.Add(int64(n))
		x.failed = err
	default:
		_, _ = x.Write(b) // a client that left is nobody's loss
	}
}

// answer answers 200 with a, which is made while it is sent.
func (x *exchange) answer(contentType string, a gitwire.Answer) {
	if x.r.Method == http.MethodHead {
		x.begin(contentType, a.Size())
		return
	}
	_ = a.Send(x, func(size int) { x.begin(contentType, size) }) // a client that left is nobody's loss
}

// Write sends p under a deadline of its own.
func (x *exchange) Write(p []byte) (int, error) {
	if x.failed != nil {
		return 0, x.failed
	}
	sent := 0
	for len(p) > 0 {
		x.deadline()
		n, err := x.w.Write(p[:min(len(p), pieceSize)])
		sent += n
		x.h.stats.BytesOut.Add(int64(n))
		if err != nil {
			x.failed = err
			return sent, err
		}
		p = p[n:]
	}
	if x.r.ProtoMajor >= 2 {
		// Under HTTP/2 a deadline ends the stream even when nobody writes.
		_ = x.rc.SetWriteDeadline(time.Time{})
	}
	return sent, nil
}

// flush sends what the server keeps back.
func (x *exchange) flush() {
	if x.failed == nil {
		x.deadline()
		x.failed = x.rc.Flush()
		if errors.Is(x.failed, http.ErrNotSupported) {
			x.failed = nil
		}
		if x.r.ProtoMajor >= 2 {
			_ = x.rc.SetWriteDeadline(time.Time{})
		}
	}
}

// text answers with a status and plain text, line by line shown by git as "remote: …". The body
// of the request is read away first, so that the client listens (H-256).
func (x *exchange) text(status int, lines string) {
	if x.started {
		return // too late; whoever reads sees an answer that is cut short
	}
	x.started = true
	head := x.w.Header()
	if !x.body.drain(x.h.cfg.DrainBytes) {
		head.Set("Connection", "close")
	}
	lines = strings.TrimSuffix(lines, "\n") + "\n"
	noCache(head)
	head.Set("Content-Type", "text/plain; charset=utf-8")
	head.Set("Content-Length", strconv.Itoa(len(lines)))
	if status == http.StatusServiceUnavailable {
		head.Set("Retry-After", retryAfter)
	}
	x.w.WriteHeader(status)
	if x.r.Method != http.MethodHead {
		_, _ = x.Write([]byte(lines))
	}
}

func (x *exchange) notAllowed(allow string) {
	x.w.Header().Set("Allow", allow)
	x.text(http.StatusMethodNotAllowed, textMethod)
}

func fmtMediaType(service string) string { return fmt.Sprintf(textMediaType, service) }

// fail answers a fault by its code. A repository that does not live here is told by name.
func (x *exchange) fail(repo grasp.Addr, err error) {
	var no *grasp.Refusal
	if errors.As(err, &no) {
		x.text(http.StatusNotFound, textDenied(no))
		return
	}
	code := fault.CodeOf(err)
	text, id := fault.Message(err)
	switch code {
	case fault.NotFound, fault.Gone:
		x.h.stats.Unknown.Add(1)
		x.text(http.StatusNotFound, textUnknown(repo))
		return
	case fault.Internal:
		x.h.log.Error("git request failed", "repo", repo.String(), "path", x.r.URL.EscapedPath(), "err", err, "id", id)
	case fault.Busy, fault.Closing:
		x.h.stats.Busy.Add(1)
	}
	status := code.HTTP()
	if status == http.StatusOK {
		status = http.StatusForbidden // a refusal where nothing better can be said
	}
	x.text(status, gitwire.Clean(text, gitwire.MaxLine))
}

// unread answers a request whose body could not be read.
func (x *exchange) unread(err error) {
	_, broken := x.body.ended()
	switch {
	case stalled(err) || stalled(broken):
		x.w.Header().Set("Connection", "close")
		x.text(http.StatusRequestTimeout, textStalled)
	case broken != nil:
		// The client left in the middle of its request; this is for the log of a proxy.
		x.w.Header().Set("Connection", "close")
		x.text(http.StatusBadRequest, "request body: unexpected end")
	case fault.Is(err, fault.TooLarge), fault.Is(err, fault.Invalid):
		text, _ := fault.Message(err)
		x.text(fault.CodeOf(err).HTTP(), text)
	default:
		x.text(http.StatusBadRequest, "request body: unreadable")
	}
}

package relay

import (
	"context"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/fiatjaf/khatru"
	"github.com/nbd-wtf/go-nostr"
)

// A policy runs khatru's hooks for one session, on its worker. What their context offers:
//
//   - khatru.GetConnection: the session's *khatru.WebSocket with Request, Context, Challenge and
//     AuthedPublicKey. It cannot be written to: its WriteJSON and WriteMessage return an error.
//   - khatru.GetIP: the address by Config.Address. The request that hooks see carries no
//     forwarded headers, which khatru would believe from anybody.
//   - khatru.GetAuthed: the key authenticated last, or "".
//   - khatru.GetSubscriptionID: in RejectFilter and RejectCountFilter.
//   - khatru.RequestAuth: the challenge is sent once the hooks are through, as it is when one
//     refuses with `auth-required:`. A hook must not wait for the answer: messages of one
//     connection are handled in order.
//
// A hook that panics refuses what it was asked about.
type policy struct {
	s   *session
	req *http.Request
	ws  *khatru.WebSocket
}

func newPolicy(s *session, req *http.Request) policy {
	p := policy{s: s, req: req}
	p.ws = p.connection("")
	return p
}

func (p *policy) connection(authed string) *khatru.WebSocket {
	return &khatru.WebSocket{
		Request:         p.req,
		Context:         p.s.ctx,
		Challenge:       p.s.challenge,
		AuthedPublicKey: authed,
	}
}

// slim returns what policies may see of a request: no body, and no header that says for whom a
// proxy acted.
func (r *Relay) slim(req *http.Request) *http.Request {
	out := &http.Request{
		Method:     req.Method,
		URL:        req.URL,
		Proto:      req.Proto,
		ProtoMajor: req.ProtoMajor,
		ProtoMinor: req.ProtoMinor,
		Header:     req.Header.Clone(),
		Host:       req.Host,
		RemoteAddr: joinPort(r.cfg.Address(req)),
		RequestURI: req.RequestURI,
		Body:       http.NoBody,
	}
	for _, h := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded"} {
		out.Header.Del(h)
	}
	return out
}

// joinPort makes an address what net.SplitHostPort takes apart again.
func joinPort(host string) string {
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		host = "[" + host + "]"
	}
	return host + ":0"
}

// hookContext is the session's context with what khatru looks up in it. khatru's keys are
// unexported but untyped: the integers 0 (the connection) and 1 (the subscription). A test
// notices when that changes.
type hookContext struct {
	context.Context
	ws  *khatru.WebSocket
	sub string
}

func (c hookContext) Value(key any) any {
	switch key {
	case 0:
		return c.ws
	case 1:
		return c.sub
	}
	return c.Context.Value(key)
}

// run calls f, which calls hooks. It returns "" or the message with which to refuse.
func (p *policy) run(sub string, f func(ctx context.Context) (reject bool, text string)) (refusal string) {
	// OnDisconnect runs after the session's context has ended and still wants one.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.s.ctx), hookTime)
	defer cancel()
	defer func() {
		if e := recover(); e != nil {
			p.s.r.log.Error("relay: a policy panicked", "panic", e, "stack", string(debug.Stack()))
			refusal = "error: a policy failed"
		}
		if p.ws.Authed != nil || strings.HasPrefix(refusal, "auth-required:") {
			// RequestAuth leaves a channel behind and writes nowhere. Only a new connection value
			// can tell that it is called again.
			p.ws = p.connection(p.ws.AuthedPublicKey)
			p.s.sendChallenge()
		}
	}()
	if reject, text := f(hookContext{ctx, p.ws, sub}); reject {
		refusal = prefixed(or(text, "no reason given"))
	}
	return refusal
}

// hookTime bounds the context that hooks are given.
const hookTime = 5 * time.Second

var prefixes = []string{"duplicate", "pow", "blocked", "rate-limited", "invalid", "restricted", "mute", "error", "auth-required", "unsupported"}

// prefixed returns text with one of the standard prefixes (N-003).
func prefixed(text string) string {
	for _, p := range prefixes {
		if strings.HasPrefix(text, p+":") {
			return text
		}
	}
	return "blocked: " + text
}

func (p *policy) connected() {
	for _, hook := range p.s.r.cfg.Policies.OnConnect {
		p.run("", func(ctx context.Context) (bool, string) { hook(ctx); return false, "" })
	}
}

func (p *policy) disconnected() {
	for _, hook := range p.s.r.cfg.Policies.OnDisconnect {
		p.run("", func(ctx context.Context) (bool, string) { hook(ctx); return false, "" })
	}
}

func (p *policy) event(ev *nostr.Event) string {
	hooks := p.s.r.cfg.Policies.RejectEvent
	if len(hooks) == 0 {
		return ""
	}
	return p.run("", func(ctx context.Context) (bool, string) {
		for _, hook := range hooks {
			if reject, text := hook(ctx, ev); reject {
				return true, text
			}
		}
		return false, ""
	})
}

func (p *policy) filters(hooks []func(context.Context, nostr.Filter) (bool, string), sub string, fs []nostr.Filter) string {
	if len(hooks) == 0 {
		return ""
	}
	return p.run(sub, func(ctx context.Context) (bool, string) {
		for _, f := range fs {
			for _, hook := range hooks {
				if reject, text := hook(ctx, f); reject {
					return true, text
				}
			}
		}
		return false, ""
	})
}

// Package nip98 says who signed an HTTP request: the one whose key signed the event of kind 27235 in its
// Authorization header. The event must be for this server and this very request, fresh, and not used before.
//
// It refuses to know what anybody may do.
package nip98

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

// kindHTTPAuth is the kind of an event that signs a request (NIP-98).
const kindHTTPAuth = 27235

// window is how far created_at may be from our clock.
const window = 60 * time.Second

// verifiers is how many signatures are looked at at a time: the doors are open to strangers.
const verifiers = 2

// Challenge is the WWW-Authenticate of an answer 401.
const Challenge = `Nostr realm="NIP-98"`

// A Verifier knows what this server is called, and which events were used. Its methods are safe for
// concurrent use.
type Verifier struct {
	now    func() time.Time
	hosts  map[string]bool
	seen   replays
	verify chan struct{}
}

// New returns a Verifier. Authorities are the host[:port] under which this server is known: an event names
// one of them.
func New(now func() time.Time, authorities []string) *Verifier {
	v := &Verifier{now: now, hosts: map[string]bool{}, verify: make(chan struct{}, verifiers)}
	for _, a := range authorities {
		v.hosts[plainHost(a)] = true
	}
	return v
}

// A Request is what an event has to be about.
type Request struct {
	Method string
	Path   string // as it was sent, escaped; the root with or without a slash
	Query  string // likewise
	Body   []byte // if it is empty the event need not name its hash
}

// Check returns who signed the request. Its errors are for the one who called.
func (v *Verifier) Check(ctx context.Context, header string, req Request) (grasp.PubKey, error) {
	ev, err := ParseAuthorization(header)
	if err != nil {
		return "", err
	}
	now := v.now()
	sum := sha256.Sum256(req.Body)
	age := now.Sub(ev.CreatedAt.Time())
	payload := grasp.FirstValue(ev, "payload")
	switch {
	case ev.Kind != kindHTTPAuth:
		return "", errors.New("the event is not of kind 27235")
	case age > window, age < -window:
		return "", errors.New("created_at is more than 60 seconds away from our clock")
	case !v.names(grasp.FirstValue(ev, "u"), req):
		return "", errors.New("the u tag does not name this server" + at(req))
	case grasp.FirstValue(ev, "method") != req.Method:
		return "", errors.New("the method tag must be " + req.Method)
	case (payload != "" || len(req.Body) > 0) && !strings.EqualFold(payload, hex.EncodeToString(sum[:])):
		return "", errors.New("the payload tag is not the SHA-256 of the body")
	}
	select {
	case v.verify <- struct{}{}:
	case <-ctx.Done():
		return "", errors.New("the caller left")
	}
	good := ev.CheckID()
	if good {
		good, err = ev.CheckSignature()
	}
	<-v.verify
	if !good || err != nil {
		return "", errors.New("the id or the signature of the event is wrong")
	}
	if !v.seen.first(ev.ID, ev.CreatedAt.Time().Add(window), now) {
		return "", errors.New("this event was used already; sign a new one for each call")
	}
	return grasp.PubKey(ev.PubKey), nil
}

// at says what of this server must be named, if it is not its root.
func at(req Request) string {
	if strings.Trim(req.Path, "/") == "" {
		return ""
	}
	if req.Query != "" {
		return " and " + req.Path + "?" + req.Query
	}
	return " and " + req.Path
}

// plainHost is an authority without the ports that need not be written.
func plainHost(a string) string {
	a = strings.ToLower(a)
	return strings.TrimSuffix(strings.TrimSuffix(a, ":80"), ":443")
}

// names reports whether a u tag names this server and what the request is for, with any of the schemes by which
// the server can be reached, since TLS may end in front of it.
func (v *Verifier) names(raw string, req Request) bool {
	u, err := url.Parse(raw)
	if err != nil || u.RawQuery != req.Query || u.Fragment != "" || u.User != nil ||
		strings.Trim(u.EscapedPath(), "/") != strings.Trim(req.Path, "/") {
		return false
	}
	switch strings.ToLower(u.Scheme) {
	case "http", "https", "ws", "wss":
		return v.hosts[plainHost(u.Host)]
	}
	return false
}

// ParseAuthorization reads the event of an Authorization header "Nostr <base64>". Only its shape is
// good: nothing was verified.
func ParseAuthorization(header string) (*nostr.Event, error) {
	scheme, rest, ok := strings.Cut(strings.TrimSpace(header), " ")
	if !ok || !strings.EqualFold(scheme, "Nostr") {
		return nil, errors.New("the Authorization header must be: Nostr <base64 of an event of kind 27235>")
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(rest))
	if err != nil {
		if raw, err = base64.RawStdEncoding.DecodeString(strings.TrimSpace(rest)); err != nil {
			return nil, errors.New("the Authorization header is not base64")
		}
	}
	var e struct { // not nostr.Event: its own reader forgives too much
		ID        string
		PubKey    string
		CreatedAt int64 `json:"created_at"`
		Kind      int
		Tags      [][]string
		Content   string
		Sig       string
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, errors.New("the Authorization header holds no event")
	}
	if !grasp.IsHex(e.ID, 64) || !grasp.IsHex(e.PubKey, 64) || !grasp.IsHex(e.Sig, 128) {
		return nil, errors.New("the event has no usable id, pubkey or sig")
	}
	ev := &nostr.Event{ID: e.ID, PubKey: e.PubKey, CreatedAt: nostr.Timestamp(e.CreatedAt), Kind: e.Kind, Content: e.Content, Sig: e.Sig, Tags: make(nostr.Tags, 0, len(e.Tags))}
	for _, t := range e.Tags {
		ev.Tags = append(ev.Tags, t)
	}
	return ev, nil
}

// maxReplays is how many calls within one window are remembered.
const maxReplays = 10_000

// replays remembers which events were used, for as long as they could be used again.
type replays struct {
	mu   sync.Mutex
	used map[string]time.Time // until when, by id
}

// first reports whether an event is used for the first time. It says no as well when more are
// remembered than there is room for.
func (r *replays) first(id string, until, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.used == nil {
		r.used = make(map[string]time.Time)
	}
	if _, again := r.used[id]; again {
		return false
	}
	if len(r.used) >= maxReplays {
		for k, t := range r.used {
			if t.Before(now) {
				delete(r.used, k)
			}
		}
		if len(r.used) >= maxReplays {
			return false
		}
	}
	r.used[id] = until
	return true
}

package manage

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
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

// authenticate returns whose call this is. The event must be for this server, this method and
// this body, fresh, signed, and not used before.
func (h *Handler) authenticate(ctx context.Context, header string, body []byte) (grasp.PubKey, error) {
	ev, err := ParseAuthorization(header)
	if err != nil {
		return "", err
	}
	now := h.cfg.Now()
	sum := sha256.Sum256(body)
	age := now.Sub(ev.CreatedAt.Time())
	switch {
	case ev.Kind != kindHTTPAuth:
		return "", errors.New("the event is not of kind 27235")
	case age > window, age < -window:
		return "", errors.New("created_at is more than 60 seconds away from our clock")
	case !h.names(grasp.FirstValue(ev, "u")):
		return "", errors.New("the u tag does not name this server")
	case grasp.FirstValue(ev, "method") != "POST":
		return "", errors.New("the method tag must be POST")
	case !strings.EqualFold(grasp.FirstValue(ev, "payload"), hex.EncodeToString(sum[:])):
		return "", errors.New("the payload tag is not the SHA-256 of the body")
	}
	select {
	case h.verify <- struct{}{}:
	case <-ctx.Done():
		return "", errors.New("the caller left")
	}
	good := ev.CheckID()
	if good {
		good, err = ev.CheckSignature()
	}
	<-h.verify
	if !good || err != nil {
		return "", errors.New("the id or the signature of the event is wrong")
	}
	if !h.seen.first(ev.ID, ev.CreatedAt.Time().Add(window), now) {
		return "", errors.New("this event was used already; sign a new one for each call")
	}
	return grasp.PubKey(ev.PubKey), nil
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

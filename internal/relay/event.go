package relay

import (
	"context"
	"errors"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

const (
	kindState = 30618
	kindAuth  = 22242
)

// onEvent answers an EVENT by exactly one OK (N-003), or by a NOTICE if it has no id to name.
func (s *session) onEvent(m message) {
	s.r.n.events.Add(1)
	refusal := m.odd
	if m.fail != "" {
		refusal = "invalid: " + m.fail
	}
	if !s.events.spend(s.r.cfg.Now()) {
		s.r.n.rateLimited.Add(1)
		refusal = "rate-limited: more than " + strconv.Itoa(s.r.cfg.EventsPerMinute) + " events per minute"
	}
	if refusal == "" {
		note, err := s.receive(m)
		if err == nil {
			s.answer(m.id, true, note)
			return
		}
		refusal = s.tell(err, m.event)
	}
	if !m.hasID {
		s.notice(refusal)
		return
	}
	s.answer(m.id, false, refusal)
	if s.bad >= s.r.cfg.BadSignatures {
		s.end(websocket.ClosePolicyViolation, "too many wrong signatures")
	}
}

// A denial is a refusal of this room's own, with its prefix.
type denial string

func (d denial) Error() string { return string(d) }

// receive checks an event in the order of N-002, then of what costs least, and hands it in.
func (s *session) receive(m message) (note string, err error) {
	ev := m.event
	most := s.r.cfg.MaxEvent
	if ev.Kind == kindState {
		most = s.r.cfg.MaxStateEvent
	}
	switch {
	case m.size > most:
		return "", denial("invalid: event is larger than " + strconv.Itoa(most) + " bytes")
	case ev.Kind == kindAuth:
		return "", denial("invalid: kind 22242 belongs into an AUTH message") // N-038
	}
	if err := s.authentic(ev); err != nil {
		return "", err
	}
	if isProtected(ev) { // N-037
		if len(s.authed) == 0 {
			s.sendChallenge()
			return "", denial("auth-required: a protected event is taken from its author only")
		}
		if _, ok := s.authed[grasp.PubKey(ev.PubKey)]; !ok {
			return "", denial("restricted: a protected event is taken from its author only")
		}
	}
	if text := s.policy.event(ev); text != "" {
		return "", denial(text)
	}
	verdict, err := s.handIn(ev)
	if err != nil {
		return "", err
	}
	return verdict.Note(), nil
}

// authentic verifies id and signature (N-002).
func (s *session) authentic(ev *nostr.Event) error {
	hash, err := checkID(ev)
	if err != nil {
		return denial("invalid: " + err.Error())
	}
	// The event outlives its connection, so this does not end with it.
	if err := s.r.verify.Acquire(s.r.work, 1); err != nil {
		return fault.E(fault.Closing, "relay: verify", "shutting down")
	}
	err = checkSig(ev, hash)
	s.r.verify.Release(1)
	if err != nil {
		s.bad++
		s.r.n.badSignatures.Add(1)
		return denial("invalid: " + err.Error())
	}
	return nil
}

// handIn gives an event to the desk. A panic there is one event's trouble.
func (s *session) handIn(ev *nostr.Event) (v grasp.Verdict, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.r.log.Error("relay: panic while receiving", "event", ev.ID, "panic", p, "stack", string(debug.Stack()))
			err = fault.Errorf(fault.Internal, "relay: receive", "panic: %v", p)
		}
	}()
	ctx, cancel := context.WithTimeout(s.r.work, s.r.cfg.ReceiveTime)
	defer cancel()
	return s.r.desk.Receive(ctx, ev, Encode(ev), s.prefix)
}

// tell says an error to a client, prefix first. What must not be said is logged instead.
func (s *session) tell(err error, ev *nostr.Event) string {
	var own denial
	if errors.As(err, &own) {
		return string(own)
	}
	var no *grasp.Refusal
	if errors.As(err, &no) {
		return or(string(no.Prefix), "blocked") + ": " + no.Text
	}
	text, id := fault.Message(err)
	if id != "" {
		attrs := []any{"id", id, "err", err}
		if ev != nil {
			attrs = append(attrs, "event", ev.ID)
		}
		s.r.log.Error("relay: internal error", attrs...)
	}
	return fault.CodeOf(err).Nostr() + ": " + text
}

// isProtected reports whether ev is for its author alone to publish (NIP-70).
func isProtected(ev *nostr.Event) bool {
	for _, tag := range ev.Tags {
		if tag[0] == "-" {
			return true
		}
	}
	return false
}

const (
	authWindow = 10 * time.Minute
	maxAuthed  = 16 // keys of one connection
)

// sendChallenge asks for NIP-42 authentication. It is done only when something needs it (N-038).
func (s *session) sendChallenge() { s.reply(item{head: say("AUTH", s.challenge)}) }

// onAuth answers an AUTH by one OK, or by a NOTICE if it has no id to name.
func (s *session) onAuth(m message) {
	refused := m.odd
	if refused == "" {
		if err := s.authenticate(m); err != nil {
			refused = s.tell(err, m.event)
		}
	}
	switch {
	case !m.hasID:
		s.notice(refused)
	case refused != "":
		s.reply(item{head: sayOK(m.id, false, refused)})
	default:
		s.r.n.auths.Add(1)
		s.reply(item{head: sayOK(m.id, true, "")})
	}
	if s.bad >= s.r.cfg.BadSignatures {
		s.end(websocket.ClosePolicyViolation, "too many wrong signatures")
	}
}

func (s *session) authenticate(m message) error {
	ev := m.event
	now := s.r.cfg.Now()
	if !s.events.spend(now) {
		s.r.n.rateLimited.Add(1)
		return denial("rate-limited: too many events")
	}
	if ev.Kind != kindAuth {
		return denial("invalid: AUTH takes an event of kind 22242")
	}
	if age := now.Sub(ev.CreatedAt.Time()); age > authWindow || age < -authWindow {
		return denial("invalid: created_at is more than 10 minutes away from our clock")
	}
	if ev.Tags.Find("challenge") == nil || ev.Tags.Find("challenge")[1] != s.challenge {
		return denial("invalid: this is not the challenge of this connection")
	}
	relay := ev.Tags.Find("relay")
	if relay == nil {
		return denial("invalid: a relay tag is missing")
	}
	host, ok := authority(relay[1])
	if _, known := s.r.hosts[host]; !ok || !known {
		return denial("invalid: the relay tag does not name this relay")
	}
	if err := s.authentic(ev); err != nil {
		return err
	}
	key := grasp.PubKey(ev.PubKey)
	if _, known := s.authed[key]; !known && len(s.authed) >= maxAuthed {
		return denial("rate-limited: too many keys on one connection")
	}
	if s.authed == nil {
		s.authed = make(map[grasp.PubKey]struct{})
	}
	s.authed[key] = struct{}{}
	s.policy.ws.AuthedPublicKey = ev.PubKey
	return nil
}

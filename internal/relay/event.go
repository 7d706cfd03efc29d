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
	kindAnnouncement = 30617
	kindState        = 30618
	kindAuth         = 22242

	suspect = 3 // wrong signatures on a connection are held against its network from this one on
)

// onEvent answers an EVENT by exactly one OK (N-003), or by a NOTICE if it has no id to name.
func (s *session) onEvent(m message) {
	s.r.n.events.Add(1)
	refusal := m.odd
	if m.fail != "" {
		refusal = "invalid: " + m.fail
	}
	within := s.events.spend(s.r.cfg.Now()) // whatever becomes of it
	if refusal == "" {
		note, err := s.receive(m, within)
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
	s.endForger()
}

// endForger closes a connection that brought too many wrong signatures.
func (s *session) endForger() {
	if s.bad >= s.r.cfg.BadSignatures && !s.ended.Load() {
		s.r.hits.add(hitBadSignatures)
		s.end(websocket.ClosePolicyViolation, "too many wrong signatures")
	}
}

// A denial is a refusal of this room's own, with its prefix.
type denial string

func (d denial) Error() string { return string(d) }

// receive checks an event in the order of N-002, what costs least first, and hands it in: size,
// shape and kind, the rate of the connection, id, the rate of the network, signature (hardening §10).
// within says that the connection's rate allows it. Junk costs its own connection and not the others
// of its network.
func (s *session) receive(m message, within bool) (note string, err error) {
	ev := m.event
	most, bound := s.r.cfg.MaxEvent, hitEvent
	if ev.Kind == kindState {
		most, bound = s.r.cfg.MaxStateEvent, hitStateEvent
	}
	switch {
	case m.size > most:
		s.r.hits.add(bound)
		return "", denial("invalid: event is larger than " + strconv.Itoa(most) + " bytes")
	case ev.Kind == kindAuth:
		return "", denial("invalid: kind 22242 belongs into an AUTH message") // N-038
	case !within:
		s.limited(hitEvents)
		return "", denial("rate-limited: more than " + strconv.Itoa(s.r.cfg.EventsPerMinute) + " events per minute on one connection")
	}
	if err := s.r.cfg.Screen(ev); err != nil {
		return "", err
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
	if !s.acct.spend(&s.acct.events) {
		s.limited(hitPrefixEvents)
		return denial("rate-limited: more than " + strconv.Itoa(s.r.cfg.PrefixEventsPerMinute) + " events per minute from your network")
	}
	if ev.Kind == kindAnnouncement && s.prefix != "" && s.r.lane.others() {
		// A new repository costs as much as a dozen remarks, and whoever has a thousand networks has as
		// many that are modest. The signature is part of it: those who had the least would be first.
		if s.r.lane.pay(s.ctx, s.acct, announceWork) != nil {
			return fault.E(fault.Closing, "relay: announcement", "the connection has ended")
		}
	}
	done, err := s.prove()
	if err != nil {
		return fault.E(fault.Closing, "relay: verify", "shutting down")
	}
	err = checkSig(ev, hash)
	done()
	if err != nil {
		if s.bad++; s.bad >= suspect && s.acct.forge() {
			s.r.hits.add(hitPrefixBadSignatures)
		}
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
	v, err = s.r.desk.Receive(ctx, ev, Encode(ev), s.prefix)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		s.r.hits.add(hitReceiveTime)
	}
	return v, err
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

// minutes writes d for a person.
func minutes(d time.Duration) string {
	if d%time.Minute == 0 {
		return strconv.Itoa(int(d/time.Minute)) + " minutes"
	}
	return d.String()
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
	s.endForger()
}

func (s *session) authenticate(m message) error {
	ev := m.event
	now := s.r.cfg.Now()
	if !s.events.spend(now) {
		s.limited(hitEvents)
		return denial("rate-limited: too many events")
	}
	if ev.Kind != kindAuth {
		return denial("invalid: AUTH takes an event of kind 22242")
	}
	if age := now.Sub(ev.CreatedAt.Time()); age > s.r.cfg.AuthTime || age < -s.r.cfg.AuthTime {
		s.r.hits.add(hitAuthTime)
		return denial("invalid: created_at is more than " + minutes(s.r.cfg.AuthTime) + " away from our clock")
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
	if _, known := s.authed[key]; !known && len(s.authed) >= s.r.cfg.AuthKeys {
		s.limited(hitAuthKeys)
		return denial("rate-limited: too many keys on one connection")
	}
	if s.authed == nil {
		s.authed = make(map[grasp.PubKey]struct{})
	}
	s.authed[key] = struct{}{}
	s.policy.ws.AuthedPublicKey = ev.PubKey
	return nil
}

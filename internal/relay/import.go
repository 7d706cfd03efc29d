package relay

import (
	"context"
	"strconv"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// Parse reads an event object as strictly as a client's EVENT message is read, within the same
// bounds. It does not verify the event. The error's text is for a person (N-002).
func (r *Relay) Parse(s string) (*nostr.Event, error) { return parseEvent(s, r.bounds) }

// Import hands in an event that did not come over a connection of ours: it was fetched from another
// relay (G02-01). size is what it had there, in bytes; source is what limits count it by. It is held to
// what an EVENT message is held to, but for the rates: who fetches bounds what is fetched. A
// fault.Invalid says that its id or signature is wrong, a *grasp.Refusal that the rules say no.
func (r *Relay) Import(ctx context.Context, ev *nostr.Event, size int, source string) (grasp.Verdict, error) {
	most := r.cfg.MaxEvent
	if ev.Kind == kindState {
		most = r.cfg.MaxStateEvent
	}
	switch {
	case size > most:
		return 0, &grasp.Refusal{Rule: "N-012", Prefix: grasp.Invalid, Text: "event is larger than " + strconv.Itoa(most) + " bytes"}
	case ev.Kind == kindAuth:
		return 0, &grasp.Refusal{Rule: "N-038", Prefix: grasp.Invalid, Text: "kind 22242 is never stored"}
	case isProtected(ev): // N-037
		return 0, &grasp.Refusal{Rule: "G02-01", Prefix: grasp.Restricted, Text: "a protected event is taken from its author only"}
	}
	if err := r.cfg.Screen(ev); err != nil {
		return 0, err
	}
	if err := Verify(ev); err != nil {
		r.n.badSignatures.Add(1)
		return 0, fault.E(fault.Invalid, "relay: import", err.Error())
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.ReceiveTime)
	defer cancel()
	return r.desk.Receive(ctx, ev, Encode(ev), source)
}

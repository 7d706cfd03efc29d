package steward

import (
	"context"
	"crypto/sha256"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// What connects to something served is taken from anybody (G01-801), and what connects to that, too. So
// that nobody can fill the disk by it, each such event counts for its author, for the threads that it
// joins and for the repositories that these are about, however far away it is from them: an answer
// counts for whatever the event counts for that it answers (hardening §10). Where a bound is met,
// nothing more is taken; what is deleted, replaced or denied makes room again.

// A Charge names what an event counts for. It is opaque but for its first byte.
type Charge [17]byte

// What a Charge can be, by its first byte.
const (
	chargeKey    = 'k' // the author
	chargeThread = 'e' // the event that others answer
	chargeRepo   = 'r' // an announced repository
)

func charge(kind byte, name string) Charge {
	sum := sha256.Sum256([]byte(name))
	c := Charge{kind}
	copy(c[1:], sum[:])
	return c
}

// MaxCharges is what one event counts for at most; of the many repositories that a list may name, the
// first.
const MaxCharges = 32

// maxAnchors is how many references of one event are followed.
const maxAnchors = 16

// charged says in e what it counts for, and refuses it where a bound is met.
func (s *Steward) charged(ctx context.Context, e *Entry) error {
	bounds := s.knobs.Load().Quotas.EventsOf(grasp.PubKey(e.Event.PubKey))
	if bounds == (grasp.Events{}) {
		return nil
	}
	list, err := s.charges(ctx, e.Event)
	if err != nil {
		return err
	}
	e.Charges = list
	if grasp.Replaceable(e.Event.Kind) {
		return nil // there is one of each key
	}
	counts, err := s.ledger.Tally(ctx, list)
	if err != nil {
		return fault.Wrap("steward: count events", err)
	}
	for i, c := range list {
		var err error
		switch c[0] {
		case chargeKey:
			err = bounds.CheckKey(counts[i])
		case chargeThread:
			err = bounds.CheckThread(counts[i])
		case chargeRepo:
			err = bounds.CheckRepo(counts[i])
		}
		if err != nil {
			return s.counted(err, func(r *QuotaRefusals) { r.Events++ })
		}
	}
	return nil
}

// charges returns what an event counts for.
func (s *Steward) charges(ctx context.Context, ev *nostr.Event) ([]Charge, error) {
	out := []Charge{charge(chargeKey, ev.PubKey)}
	seen := map[Charge]bool{out[0]: true}
	add := func(c Charge) {
		if !seen[c] && len(out) < MaxCharges {
			seen[c] = true
			out = append(out, c)
		}
	}
	repo := func(coordinate string) error {
		a, ok := grasp.ParseCoordinate(coordinate)
		if !ok || len(out) == MaxCharges {
			return nil
		}
		// The lock of its identifier is not asked for: this event need not wait for a settlement.
		ans, err := s.ledger.Lookup(ctx, Question{ID: nobodysEvent, Author: a.Owner, Addrs: []string{coordinate}, Brief: true})
		if err != nil {
			return fault.Wrap("steward: count events", err)
		}
		if ans.Related { // it is announced here
			add(charge(chargeRepo, coordinate))
		}
		return nil
	}
	ids, addrs := grasp.Anchors(ev)
	for _, id := range ids[:min(len(ids), maxAnchors)] {
		th, err := s.ledger.Thread(ctx, id)
		if err != nil {
			return nil, fault.Wrap("steward: count events", err)
		}
		if !th.Served {
			continue
		}
		if th.Kind == grasp.KindAnnouncement {
			if err := repo(th.Coordinate); err != nil {
				return nil, err
			}
			continue
		}
		thread := false
		for _, c := range th.Charges {
			if c[0] != chargeKey {
				thread = thread || c[0] == chargeThread
				add(c)
			}
		}
		if !thread {
			add(charge(chargeThread, string(id)))
		}
		if len(th.Charges) == 0 { // it came before anything was counted
			for _, a := range th.Addrs[:min(len(th.Addrs), maxAnchors)] {
				if err := repo(a); err != nil {
					return nil, err
				}
			}
		}
	}
	for _, a := range addrs[:min(len(addrs), maxAnchors)] {
		if _, announced := grasp.ParseCoordinate(a); !announced {
			add(charge(chargeThread, a))
			continue
		}
		if err := repo(a); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Package storetest is the conformance suite of the ledger: what a backend must do, whatever it is
// made of. TestLedger holds it to the contract of steward.Ledger, TestReader to that of a relay's
// queries. Events are made up here, with good ids and no signatures: a ledger does not check them.
package storetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/steward"
)

// Key returns the n-th key of the suite.
func Key(n int) grasp.PubKey { return grasp.PubKey(fmt.Sprintf("%064x", n+0xa11ce)) }

// ID returns the id of an event that nobody has.
func ID(n int) grasp.EventID { return grasp.EventID(fmt.Sprintf("%064x", n+0xe0e)) }

// Event makes an event of the n-th key. Equal arguments make equal events.
func Event(n, kind int, at int64, content string, tags ...nostr.Tag) *nostr.Event {
	ev := &nostr.Event{
		PubKey: string(Key(n)), Kind: kind, CreatedAt: nostr.Timestamp(at), Tags: tags, Content: content,
		Sig: strings.Repeat("0", 128),
	}
	if ev.Tags == nil {
		ev.Tags = nostr.Tags{}
	}
	ev.ID = ev.GetID()
	return ev
}

// Announcement makes an event of kind 30617 for identifier d.
func Announcement(n int, d string, at int64, more ...nostr.Tag) *nostr.Event {
	return Event(n, grasp.KindAnnouncement, at, "", append([]nostr.Tag{{"d", d}}, more...)...)
}

// State makes an event of kind 30618 for identifier d.
func State(n int, d string, at int64, more ...nostr.Tag) *nostr.Event {
	return Event(n, grasp.KindState, at, "", append([]nostr.Tag{{"d", d}}, more...)...)
}

// arrival is when the events of the suite arrive: a moment that a backend has to keep exactly.
var arrival = time.Unix(1_750_000_000, 123_456_789)

// Entry returns ev as it is put on shelf. What waits does so for half an hour.
func Entry(ev *nostr.Event, shelf grasp.Shelf) *steward.Entry {
	e := &steward.Entry{Event: ev, Raw: []byte(ev.String()), Shelf: shelf, Received: arrival, Source: "192.0.2.0/24"}
	if shelf == grasp.Waiting {
		e.Deadline = arrival.Add(30 * time.Minute)
	}
	return e
}

// Same returns count events that are alike but for their content and id, with the lowest id first.
func Same(count int, make func(content string) *nostr.Event) []*nostr.Event {
	var out []*nostr.Event
	for i := range count {
		ev := make(fmt.Sprintf("version %d", i))
		at := len(out)
		for at > 0 && ev.ID < out[at-1].ID {
			at--
		}
		out = append(out[:at], append([]*nostr.Event{ev}, out[at:]...)...)
	}
	return out
}

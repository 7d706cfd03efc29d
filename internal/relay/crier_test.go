package relay_test

import (
	"fmt"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// However many clients an event concerns, each is sent each, in order, and without anything else happening: also
// what comes while others are still being told of the one before, and beside those who do not read.
func TestCrowd(t *testing.T) {
	h := open(t, nil)
	const crowd, events = 80, 150
	clients, next := make([]*client, crowd), make([]int, crowd)
	for i := range clients {
		clients[i] = h.dial()
		clients[i].raw(`["REQ","s",{"kinds":[1],"limit":0}]`)
		clients[i].untilEOSE("s")
	}
	id := func(i int) string { return fmt.Sprintf("%064x", i) }
	upTo := func(who, n int) {
		for ; next[who] < n; next[who]++ {
			clients[who].wantEvent("s", id(next[who]))
		}
	}
	for i := range events {
		h.relay.Publish(&nostr.Event{ID: id(i), Kind: 1, CreatedAt: nostr.Timestamp(i), Tags: nostr.Tags{}}, nil)
		if i%3 == 0 {
			upTo((37*i+crowd-1)%crowd, i+1)
		}
	}
	for who := range clients {
		upTo(who, events)
		clients[who].quiet()
	}
}

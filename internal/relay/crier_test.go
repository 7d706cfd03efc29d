package relay_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/relay"
)

// However many clients an event concerns, each is sent each, in order, and without anything else happening: also
// what comes while others are still being told of the one before, and beside those who do not read.
func TestCrowd(t *testing.T) {
	h := open(t, networks)
	inform(t, h, func(int) *client { return h.from("") })
	if n := h.relay.Hits()["light_work"]; n != 0 {
		t.Errorf("a crowd of people who did nothing is told in the lane, %d times", n)
	}
}

// So is the crowd that had more than a visitor needs, while others are here: in the lane, and beside a crowd that
// had not.
func TestGreedyCrowd(t *testing.T) {
	h := open(t, func(c *relay.Config) {
		networks(c)
		c.LightWork = 10 * time.Millisecond // a greeting and a request are less
	})
	defer h.relay.Beside()()
	hog := h.from("hog")
	for i := range 400 {
		hog.raw(fmt.Sprintf(`["COUNT","c%d",{"kinds":[7]}]`, i))
		hog.want("COUNT")
	}
	before := h.relay.Hits()["light_work"]
	inform(t, h, func(i int) *client {
		if i%2 == 0 {
			return h.from("hog")
		}
		return h.from(fmt.Sprint("modest", i))
	})
	if n := h.relay.Hits()["light_work"]; n == before {
		t.Error("a greedy crowd was told of 150 events, and never in the lane")
	}
}

// inform tells a crowd of many events, and makes sure of what each hears.
func inform(t *testing.T, h *house, join func(i int) *client) {
	t.Helper()
	const crowd, events = 80, 150
	clients, next := make([]*client, crowd), make([]int, crowd)
	for i := range clients {
		clients[i] = join(i)
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

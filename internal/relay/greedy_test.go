package relay_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/relay"
)

// Whoever had more processor time lately than a visitor needs works in the lane, as long as somebody
// else is here, and is refused nothing there: events, requests, counts, large messages and
// reconciliations are answered as ever (hardening §10; N-013).
func TestGreedyWorkInTheLane(t *testing.T) {
	var now clock
	var spent atomic.Int64
	h := open(t, func(c *relay.Config) {
		networks(c)
		c.Now = now.now
		c.Spent = func() time.Duration { return time.Duration(spent.Load()) }
		c.MaxEvent = 1 << 20
	})
	stored := note(t, 1, "here")
	h.put(stored)
	hog, other := h.from("hog"), h.from("other")
	n := int64(10)
	everything := func(c *client) {
		t.Helper()
		for _, text := range []string{"x", strings.Repeat("x", 300_000)} {
			n++
			ev := note(t, n, text)
			c.event(ev)
			c.wantOK(ev.ID, true, "")
		}
		id := fmt.Sprint("n", n)
		c.raw(`["NEG-OPEN","` + id + `",{},"6100000200"]`)
		c.want("NEG-MSG")
		c.raw(`["NEG-CLOSE","` + id + `"]`)
		c.send("REQ", "r", nostr.Filter{IDs: []string{stored.ID}})
		if ids := c.untilEOSE("r"); len(ids) != 1 || ids[0] != stored.ID {
			t.Fatalf("found %v", ids)
		}
		c.raw(`["COUNT","c",{"ids":["` + stored.ID + `"]}]`)
		if m := c.want("COUNT"); m[2].(map[string]any)["count"] != 1.0 {
			t.Fatalf("counted %v", m)
		}
	}
	hits := func() int64 { return h.relay.Hits()["light_work"] }
	everything(other) // its reconciliation is bulky, and so in the lane like the other one's
	everything(hog)
	if hits() != 0 {
		t.Error("who did little is said to be greedy")
	}

	// One answer that costs half a second, as the processor counts it.
	h.whenAsked(func(_ context.Context, f nostr.Filter) {
		if len(f.Kinds) == 1 && f.Kinds[0] == 7 {
			spent.Add(int64(500 * time.Millisecond))
		}
	})
	hog.raw(`["REQ","q",{"kinds":[7]}]`)
	hog.untilEOSE("q")
	h.whenAsked(nil)
	everything(hog)
	before := hits()
	if before == 0 {
		t.Error("who had half a second works among the others")
	}
	if everything(other); hits() != before {
		t.Error("who did little has to work in the lane")
	}
	now.advance(2 * time.Second) // the other one is not heard of any more
	if everything(hog); hits() != before {
		t.Error("the lane is used though nobody else is here")
	}
	done := h.relay.Beside()
	if everything(hog); hits() == before {
		t.Error("those whom other doors serve are not spared")
	}
	done()
	done() // twice is once
	now.advance(time.Minute)
	before = hits()
	everything(other)
	if everything(hog); hits() != before {
		t.Error("what was had is not forgotten")
	}
}

package relay_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/relay"
)

// Clients of several networks come, ask for everything that can be asked for, read some of it or
// nothing, and leave in the middle, while events are published, queries are slow, and every bound
// that they share is tight. Nobody who stays misses anything, and in the end nothing is held for
// anybody who left. The race detector watches (docs/decisions/0010).
func TestChurnUnderBounds(t *testing.T) {
	h := open(t, func(c *relay.Config) {
		networks(c)
		c.MaxQueries, c.QuerySlice, c.Verifiers = 3, time.Millisecond, 2
		c.MaxQueued, c.QueueBytes = 1<<20, 64<<10
		c.MaxUploads, c.MaxMessage = 1<<20, 256<<10
		c.MaxAllFilters, c.MaxFilterBytes = 1<<20, 64<<10
		c.PrefixEventBurst, c.PrefixRequestBurst, c.PrefixBytesPerSecond = 200, 500, 1<<20
		c.PrefixBadSignatures = 5
	})
	h.whenAsked(func(ctx context.Context, f nostr.Filter) {
		if len(f.Kinds) == 1 && f.Kinds[0] == 7 { // slow until somebody else wants the place
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	forged := note(t, 1, "x")
	forged.Sig = strings.Repeat("1", 128)
	says := []string{
		`["REQ","%d",{"kinds":[1]},{"#t":["x","y"]}]`,
		`["REQ","%d",{"kinds":[7]}]`,
		`["REQ","%d",{"limit":0}]`,
		`["CLOSE","%d"]`,
		`["COUNT","%d",{"kinds":[7]}]`,
		`["NEG-OPEN","%d",{},"6100000200"]`,
		`["EVENT",` + string(relay.Encode(forged)) + `]`,
		`["REQ","%d",{"#t":["` + strings.Repeat("x", 100_000) + `"]}]`,
		strings.Repeat(" ", 300_000),
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var visits atomic.Int64
	for w := range 12 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(w)))
			for {
				select {
				case <-stop:
					return
				default:
				}
				ws, _, err := websocket.DefaultDialer.Dial(h.url, http.Header{"X-Net": {fmt.Sprint("net", w%4)}})
				if err != nil {
					continue
				}
				visits.Add(1)
				for range 1 + rnd.IntN(8) {
					say := says[rnd.IntN(len(says))]
					if strings.Contains(say, "%d") {
						say = fmt.Sprintf(say, rnd.IntN(3))
					}
					if ws.WriteMessage(websocket.TextMessage, []byte(say)) != nil {
						break
					}
				}
				ws.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
				for range rnd.IntN(6) {
					if _, _, err := ws.ReadMessage(); err != nil {
						break
					}
				}
				ws.Close()
			}
		})
	}
	steady := [2]*client{h.from("steady"), h.from("")}
	for _, c := range steady {
		c.raw(`["REQ","s",{"kinds":[1],"limit":0}]`)
		c.untilEOSE("s")
	}
	const total = 200
	id := func(i int) string { return fmt.Sprintf("%064x", i) }
	for i := range total {
		ev := &nostr.Event{ID: id(i), Kind: 1, CreatedAt: nostr.Timestamp(i), Tags: nostr.Tags{{"t", "x"}}, Content: strings.Repeat("y", 1000)}
		h.put(ev)
		h.relay.Publish(ev, nil)
		for _, c := range steady {
			c.wantEvent("s", id(i))
		}
	}
	for visits.Load() < 100 {
		steady[0].quiet()
	}
	close(stop)
	wg.Wait()
	left := func() string {
		s := h.relay.Stats()
		if s.Connections == 2 && s.Subscriptions == 2 && s.Negentropy == 0 && s.NegRecords == 0 && s.Queued == 0 {
			return ""
		}
		return fmt.Sprintf("%+v", s)
	}
	for end := time.Now().Add(patience); left() != "" && time.Now().Before(end); {
		steady[0].quiet()
	}
	if s := left(); s != "" {
		t.Errorf("held for nobody: %s", s)
	}
	filters := h.relay.Stats().FilterBytes
	for _, c := range steady {
		c.send("CLOSE", "s")
		c.quiet()
	}
	if n := h.relay.Stats().FilterBytes; filters == 0 || n != 0 {
		t.Errorf("filters hold %d bytes with two subscriptions and %d with none", filters, n)
	}
}

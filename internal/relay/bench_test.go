package relay

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// A timeline counts seconds.
type timeline struct{}

func (timeline) at(seconds int64) time.Time { return time.Unix(1_700_000_000+seconds, 0) }

func signed(b *testing.B, n int) *nostr.Event {
	ev := &nostr.Event{Kind: 1617, CreatedAt: 1_700_000_000, Content: strings.Repeat("line of a patch\n", n), Tags: nostr.Tags{
		{"a", "30617:" + strings.Repeat("0", 64) + ":demo"}, {"p", strings.Repeat("0", 64)}, {"t", "root"},
	}}
	if err := ev.Sign(strings.Repeat("0", 63) + "1"); err != nil {
		b.Fatal(err)
	}
	return ev
}

func BenchmarkParseAndVerify(b *testing.B) {
	msg := `["EVENT",` + string(Encode(signed(b, 60))) + `]`
	lim := bounds{filters: 20, values: 2000}
	b.Run("parse", func(b *testing.B) {
		b.SetBytes(int64(len(msg)))
		b.ReportAllocs()
		for b.Loop() {
			if m := parseMessage(msg, lim); m.event == nil {
				b.Fatal(m.fail, m.odd)
			}
		}
	})
	b.Run("both", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m := parseMessage(msg, lim)
			if err := Verify(m.event); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encode", func(b *testing.B) {
		ev := signed(b, 60)
		b.ReportAllocs()
		for b.Loop() {
			Encode(ev)
		}
	})
}

func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items) - q.next
}

// BenchmarkPublish hands one event to 2,000 subscriptions on 200 real connections, of 50,000
// that are open, and waits for nobody.
func BenchmarkPublish(b *testing.B) {
	for _, wanted := range []int{0, 2000} {
		b.Run(fmt.Sprint(wanted), func(b *testing.B) {
			r := New(Config{Now: time.Now, MaxPerPrefix: 1000, QueueBytes: 1 << 30, QueueLength: 1 << 24}, nil, nil, slog.New(slog.NewTextHandler(io.Discard, nil)))
			srv := httptest.NewServer(r)
			defer srv.Close()
			defer r.Shutdown(context.Background())
			for range 200 {
				ws, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(srv.URL, "http"), nil)
				if err != nil {
					b.Fatal(err)
				}
				defer ws.Close()
				go func() {
					for {
						if _, _, err := ws.NextReader(); err != nil {
							return
						}
					}
				}()
			}
			for r.Stats().Connections < 200 {
			}
			r.mu.Lock()
			n := 0
			for s := range r.sessions {
				for i := range 250 {
					f := nostr.Filter{Kinds: []int{30617, 30618}, Tags: nostr.TagMap{"d": {fmt.Sprintf("repo-%d-%d", n, i), "x"}}, Limit: 0, LimitZero: true}
					if i < wanted/200 {
						f.Tags = nil
						f.Kinds = []int{1617}
					}
					sub := &subscription{s: s, id: fmt.Sprint(i), head: eventHead(fmt.Sprint(i))}
					m := newMatcher(&f)
					m.sub = sub
					r.d.add(m)
				}
				n++
			}
			r.mu.Unlock()
			ev := signed(b, 60)
			raw := Encode(ev)
			b.ReportAllocs()
			for b.Loop() {
				r.Publish(ev, raw)
				b.StopTimer() // sending is the writers' time
				for s := range r.sessions {
					for s.out.length() > 0 {
						time.Sleep(time.Millisecond)
					}
				}
				b.StartTimer()
			}
		})
	}
}

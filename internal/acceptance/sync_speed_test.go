package acceptance_test

import (
	"slices"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/housetest"
)

// BenchmarkSyncPush: how long after a push has ended at one server another one serves its state, and with it the
// same refs. The bar is a second, at the median.
func BenchmarkSyncPush(b *testing.B) {
	both := housetest.Together(b, 2)
	owner, w := housetest.NewKey(b), housetest.NewCopy(b)
	at := time.Now().Unix() - 100_000
	ca, cb := both[0].Dial(), both[1].Dial()
	first := w.Commit()
	announcement, state := housetest.AnnouncementAt(owner, "demo", at, both), owner.State("demo", at, "main="+first)
	ca.Must(announcement, state)
	w.Git("push", "-q", both[0].Repo(owner, "demo"), "main")
	cb.Must(announcement)
	both[1].Arrives(announcement, state)
	sub := cb.Subscribe(nostr.Filter{Kinds: []int{grasp.KindState}, LimitZero: true})
	cb.Stored(sub)
	housetest.Within(b, 2*time.Minute, "two servers that listen to each other", func() bool {
		return both[1].Peer(both[0]).Subscriptions > 0 && both[0].Peer(both[1]).Subscriptions > 0
	})
	var took []time.Duration
	for b.Loop() {
		at++
		tip := w.Commit()
		next := owner.State("demo", at, "main="+tip)
		ca.Must(next)
		w.Git("push", "-q", both[0].Repo(owner, "demo"), "main")
		pushed := time.Now()
		if ev := cb.Live(sub); ev.ID != next.ID {
			b.Fatalf("state %s of %d came, want %s of %d", ev.ID, ev.CreatedAt, next.ID, next.CreatedAt)
		}
		took = append(took, time.Since(pushed))
		b.StopTimer()
		both[1].Clock.Advance(10 * time.Second) // an author's places are asked only so often in a minute
		if got := housetest.Remote(b, both[1].Repo(owner, "demo"))["refs/heads/main"]; got != tip {
			b.Fatalf("main is %s, want %s", got, tip)
		}
		b.StartTimer()
	}
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(took[len(took)/2]), "p50-ms")
	b.ReportMetric(ms(took[len(took)*99/100]), "p99-ms")
}

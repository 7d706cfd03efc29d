package server_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
)

// Every limit is shown as it is in force, and what is counted has the name of a setting (N-013).
func TestLimitMetrics(t *testing.T) {
	var cfg config.Config
	h := housetest.Start(t, func(c *config.Config) {
		c.Admin.Listen = "127.0.0.1:0"
		c.Limits.Subscriptions, c.Limits.QueryTime, c.Limits.WaitingPerKey = 3, 61_500*time.Millisecond, 2
		c.Limits.Queries = 0
		cfg = *c
	})
	shown := map[string]bool{}
	for _, s := range cfg.Settings() {
		name, ok := strings.CutPrefix(s.Name, "limits.")
		want, number := s.Number()
		if !ok || !number {
			continue
		}
		shown[name] = true
		if got := h.Metric(`gitroost_limit{name="` + name + `"}`); got != want {
			t.Errorf("limit %s is shown as %v, want %v", name, got, want)
		}
	}
	hits := h.Metrics("gitroost_limit_hits_total")
	if len(hits) < 40 {
		t.Errorf("only %d limits are counted", len(hits))
	}
	for series := range hits {
		name := strings.TrimSuffix(strings.TrimPrefix(series, `gitroost_limit_hits_total{name="`), `"}`)
		if !shown[name] {
			t.Errorf("%s is counted and no setting", name)
		}
	}

	c := h.Dial()
	for range 4 {
		c.Subscribe(nostr.Filter{Kinds: []int{1}})
	}
	if m := c.Message("CLOSED"); !strings.HasPrefix(m[2], "rate-limited:") {
		t.Errorf("a subscription too many: %q", m)
	}
	alice := housetest.NewKey(t)
	at := time.Now().Unix()
	c.Held(h.Announcement(alice, "a", at))
	c.Held(h.Announcement(alice, "b", at))
	c.Refused(h.Announcement(alice, "c", at), "rate-limited:")
	c.Refused(h.Announcement(alice, "d", at+3600), "invalid:")
	for name, want := range map[string]float64{"subscriptions": 1, "waiting_per_key": 1, "future": 1, "query_time": 0} {
		if got := h.Metric(`gitroost_limit_hits_total{name="` + name + `"}`); got != want {
			t.Errorf("%s was met %v times, want %v", name, got, want)
		}
	}
	if after := h.Metrics("gitroost_limit_hits_total"); len(after) != len(hits) {
		t.Errorf("%d series became %d: their number depends on visitors", len(hits), len(after))
	}
}

package server_test

import (
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
)

// What is counted is seen to move; what the operator sees is not on the public listener.
func TestMetrics(t *testing.T) {
	h := housetest.Start(t, func(c *config.Config) { c.Admin.Listen = "127.0.0.1:0" },
		housetest.WithJobs("jobs:\n  - {name: x, repos: ['*/*'], on: {push: {}}, exec: {run: ['true'], workdir: empty}}\n"+
			"  - {name: bad, repos: ['*/*'], on: {push: {}}, exec: {run: ['false'], workdir: empty}, retry: {max: 0}}\n"+
			"  - {name: next, repos: ['*/*'], on: {push: {}}, needs: [bad], exec: {run: ['true'], workdir: empty}}\n"+
			"  - {name: long, repos: ['*/*'], on: {push: {}}, exec: {run: [sleep, '600'], workdir: empty}, retry: {max: 0}}\n"))
	c := h.Dial()
	alice := housetest.NewKey(t)
	w := h.Served(c, alice, "hello", time.Now().Unix()-10)
	if _, err := h.Jobs().Cancel(t.Context(), h.Made("long", 1)[0].ID, "the test is over"); err != nil {
		t.Fatal(err)
	}
	h.Worked()
	c.Query(nostr.Filter{Kinds: []int{30617}})
	housetest.Clone(t, h.Repo(alice, "hello"))
	w.Commit()
	w.Fails("[remote rejected]", "push", h.Repo(alice, "hello"), "main")
	forged := h.Announcement(alice, "other", 0)
	forged.Sig = forged.Sig[:126] + "00"
	c.Refused(forged, "invalid:")

	for name, least := range map[string]float64{
		`gitroost_githttp_pushes_total{outcome="ok"}`:       1,
		`gitroost_githttp_pushes_total{outcome="refused"}`:  1,
		"gitroost_githttp_advertisements_total":             3,
		"gitroost_githttp_ls_refs_total":                    1,
		"gitroost_githttp_fetches_total":                    1,
		"gitroost_githttp_received_bytes_total":             100,
		"gitroost_githttp_sent_bytes_total":                 100,
		"gitroost_quota_stored_bytes":                       1000,
		`gitroost_quota_refusals_total{what="event"}`:       0,
		"gitroost_relay_connections":                        1,
		"gitroost_relay_events_total":                       3,
		"gitroost_relay_events_refused_total":               1,
		"gitroost_relay_bad_signatures_total":               1,
		"gitroost_relay_requests_total":                     1,
		"gitroost_relay_subscriptions":                      0,
		"gitroost_relay_queued_bytes":                       0,
		"gitroost_relay_filter_bytes":                       0,
		"gitroost_relay_delivered_total":                    0,
		"gitroost_relay_slow_total":                         0,
		"gitroost_relay_rate_limited_total":                 0,
		"gitroost_relay_negentropy_sessions":                0,
		`gitroost_jobs{state="queued"}`:                     0,
		`gitroost_jobs_oldest_seconds{pool="jobs"}`:         0,
		`gitroost_jobs_ended_total{kind="exec",state="ok"}`: 1, // S4-39
		// S4-39: also those that never ran, and those that had to end
		`gitroost_jobs_ended_total{kind="exec",state="failed"}`:    1,
		`gitroost_jobs_ended_total{kind="exec",state="skipped"}`:   1,
		`gitroost_jobs_ended_total{kind="exec",state="cancelled"}`: 1,
	} {
		if got := h.Metric(name); got < least {
			t.Errorf("%s is %v, want at least %v", name, got, least)
		}
	}
	if resp, _ := h.Get("/metrics"); resp.StatusCode != 404 {
		t.Errorf("the public listener answers /metrics with %d", resp.StatusCode)
	}
}

package server

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/gitroost/gitroost/internal/githttp"
)

// metrics is the operator's door: /metrics in Prometheus' form. Counters carry no repository, key
// or address: their number does not grow with the visitors.
func (s *Server) metrics(door *githttp.Handler) http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	counter := func(name, help string, labels prometheus.Labels, value func() int64) {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "gitroost_" + name, Help: help, ConstLabels: labels,
		}, func() float64 { return float64(value()) }))
	}
	gauge := func(name, help string, value func() int64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "gitroost_" + name, Help: help,
		}, func() float64 { return float64(value()) }))
	}
	st := door.Stats()
	for outcome, v := range map[string]func() int64{
		"ok": st.PushesOK.Load, "noop": st.PushesNoop.Load, "refused": st.PushesRefused.Load,
		"failed": st.PushesFailed.Load, "aborted": st.PushesAborted.Load, "malformed": st.PushesMalformed.Load,
	} {
		counter("githttp_pushes_total", "Pushes by outcome.", prometheus.Labels{"outcome": outcome}, v)
	}
	counter("githttp_advertisements_total", "Answers to info/refs.", nil, st.Adverts.Load)
	counter("githttp_ls_refs_total", "Protocol 2 requests for refs.", nil, st.LsRefs.Load)
	counter("githttp_fetches_total", "Fetches given to git.", nil, st.Fetches.Load)
	counter("githttp_fetches_cached_total", "Fetches that got a pack made for another.", nil, st.FetchCached.Load)
	counter("githttp_cached_bytes_total", "Bytes of packs made for another.", nil, st.BytesCached.Load)
	kept := s.answers.Stats()
	for how, v := range map[string]func() int64{"made": kept.Made.Load, "joined": kept.Joined.Load, "hit": kept.Hits.Load} {
		counter("cache_requests_total", "Fetches by how the pack was got: made, joined while it was being made, or kept from before.", prometheus.Labels{"how": how}, v)
	}
	counter("upkeep_runs_total", "Repositories whose packs were combined.", nil, func() int64 { return s.vault.UpkeepStats().Runs })
	counter("upkeep_failures_total", "Of these, those where that failed.", nil, func() int64 { return s.vault.UpkeepStats().Failures })
	gauge("upkeep_waiting", "Repositories whose packs are to be combined.", func() int64 { return int64(s.vault.UpkeepStats().Waiting) })
	counter("cache_paced_total", "Packs that were made at the speed of their readers for want of room.", nil, kept.Paced.Load)
	gauge("cache_bytes", "Bytes of packs on disk, kept or being made.", func() int64 { _, disk := s.answers.Kept(); return disk })
	gauge("cache_answers", "Packs that are kept.", func() int64 { n, _ := s.answers.Kept(); return int64(n) })
	counter("githttp_busy_total", "Answers 503 for lack of a slot.", nil, st.Busy.Load)
	counter("githttp_received_bytes_total", "Bytes of request bodies.", nil, st.BytesIn.Load)
	counter("githttp_sent_bytes_total", "Bytes of answers.", nil, st.BytesOut.Load)
	s.moderationMetrics(reg)
	if h := s.hunter; h != nil {
		gauge("hunt_waiting", "Identifiers whose git data is looked for on other servers.", func() int64 { return int64(h.Stats().Waiting) })
		gauge("hunt_running", "Of these, those that are worked on.", func() int64 { return int64(h.Stats().Running) })
		for outcome, v := range map[string]func() int64{
			"found": func() int64 { return h.Stats().Found }, "failed": func() int64 { return h.Stats().Failed },
		} {
			counter("hunt_fetches_total", "Fetches of git data from other servers by outcome.", prometheus.Labels{"outcome": outcome}, v)
		}
		counter("hunt_received_bytes_total", "Bytes that other servers sent for this.", nil, func() int64 { return h.Stats().Bytes })
	}
	rel := s.relay
	gauge("relay_connections", "Open WebSockets.", func() int64 { return rel.Stats().Connections })
	gauge("relay_subscriptions", "Open subscriptions.", func() int64 { return rel.Stats().Subscriptions })
	counter("relay_events_total", "EVENT messages.", nil, func() int64 { return rel.Stats().Events })
	counter("relay_events_refused_total", "EVENT messages answered OK false.", nil, func() int64 { return rel.Stats().EventsRefused })
	counter("relay_requests_total", "REQ messages.", nil, func() int64 { return rel.Stats().Requests })
	counter("relay_delivered_total", "Events handed to live subscriptions.", nil, func() int64 { return rel.Stats().Delivered })
	gauge("relay_queued_bytes", "Bytes that wait for clients.", func() int64 { return rel.Stats().Queued })
	gauge("relay_filter_bytes", "Estimated memory of open subscriptions.", func() int64 { return rel.Stats().FilterBytes })
	gauge("relay_negentropy_sessions", "Open NIP-77 sessions.", func() int64 { return rel.Stats().Negentropy })
	counter("relay_bad_signatures_total", "Events whose id or signature was wrong.", nil, func() int64 { return rel.Stats().BadSignatures })
	counter("relay_rate_limited_total", "EVENT, REQ and COUNT messages over their rate.", nil, func() int64 { return rel.Stats().RateLimited })
	counter("relay_slow_total", "Clients given up because they did not read.", nil, func() int64 { return rel.Stats().Slow })
	s.limitMetrics(reg)
	s.quotaMetrics(reg)
	s.reloadMetrics(reg)
	s.jobs.metrics(reg)
	s.syncMetrics(reg)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /quota", s.quota)
	return mux
}

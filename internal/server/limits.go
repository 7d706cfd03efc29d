package server

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"

	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/relay"
)

// pageCache is what all connections to the database may hold of it in memory, in KiB.
const pageCache = 16 << 10

// readers is how many readers the store needs so that the relay's queries, however slow, leave some
// to the desk, the pages and the health check: two are for NIP-77, some for searches.
func readers(cfg config.Config) int {
	cores := runtime.GOMAXPROCS(0)
	queries, searches := cmp.Or(cfg.Limits.Queries, relay.Queries()), cmp.Or(cfg.Limits.Searches, max(2, cores))
	return relay.Places(queries) + relay.Places(searches) + relay.Places(2) + max(4, cores)
}

// withLimits puts the operator's limits into what the relay is told.
func withLimits(cfg config.Config, c relay.Config) relay.Config {
	l := cfg.Limits
	c.NoNegentropy, c.Compression = !cfg.Relay.Negentropy, cfg.Relay.Compression
	c.Info.FutureLimit = l.Future

	c.MaxConnections, c.MaxPerPrefix, c.PrefixConnectsPerMinute = l.Connections, l.AddressConns, l.AddressConnects
	c.MaxMessage, c.MaxStateEvent, c.MaxEvent = int(l.Message), int(l.StateEvent), int(l.Event)
	c.MaxTags, c.MaxUploads = l.EventTags, int(l.Uploads)
	c.PrefixBytesPerSecond, c.PrefixByteBurst = int(l.AddressBytes), int(l.AddressByteBurst)

	c.MaxSubscriptions, c.MaxFilters, c.MaxValues, c.MaxLimit = l.Subscriptions, l.Filters, l.FilterValues, l.QueryResults
	c.MaxFilterBytes, c.MaxAllFilters, c.MaxSubID = l.FilterMemory, l.FilterMemoryTotal, l.SubID
	c.EventsPerMinute, c.EventBurst = l.EventsPerMinute, l.EventBurst
	c.PrefixEventsPerMinute, c.PrefixEventBurst = l.AddressEvents, l.AddressEventBurst
	c.RequestsPerSecond, c.RequestBurst = l.RequestRate, l.RequestBurst
	c.PrefixRequestsPerSecond, c.PrefixRequestBurst = l.AddressRequests, l.AddressReqBurst

	c.MaxNegSessions, c.MaxAllNegSessions = l.NegSessions, l.NegSessionsTotal
	c.MaxNegRecords, c.MaxAllNegRecords = l.NegRecords, l.NegRecordsTotal
	c.NegFrame, c.NegTime, c.NegIdle = int(l.NegFrame), l.NegTime, l.NegIdle

	c.BadSignatures, c.PrefixBadSignatures = l.BadSignatures, l.AddressBadSignatures
	c.AuthTime, c.AuthKeys = l.AuthTime, l.AuthKeys
	c.LightWork, c.GreedyShare = l.LightWork, l.GreedyShare
	c.QueryTime, c.QuerySlice, c.QueryWait = l.QueryTime, l.QuerySlice, l.QueryWait
	c.MaxQueries, c.MaxSearches, c.Verifiers, c.ReceiveTime = l.Queries, l.Searches, l.Verifiers, l.ReceiveTime

	c.QueueBytes, c.QueueLength, c.MaxQueued = int(l.SendQueue), l.SendMessages, l.SendTotal
	c.Controls, c.PingEvery, c.Idle = l.ControlFrames, l.Ping, l.SocketIdle
	c.MessageTime, c.WriteTime = l.MessageTime, l.WriteTime
	return c
}

// deskLimits are those that the desk keeps; a refusal names the one that was met.
var deskLimits = []string{"waiting_per_key", "waiting_per_address", "waiting", "new_repos", "future"}

// limited counts refusals by limit.
type limited struct{ n [16]atomic.Int64 }

func (l *limited) add(name string) {
	for i, have := range deskLimits {
		if have == name {
			l.n[i].Add(1)
		}
	}
}

// countingDesk is the desk, with an eye on why it refuses.
type countingDesk struct {
	relay.Desk
	limited *limited
	arrived func(ctx context.Context, ev *nostr.Event, v grasp.Verdict, synced bool)
}

// Receive implements relay.Desk.
func (d countingDesk) Receive(ctx context.Context, ev *nostr.Event, raw []byte, source string) (grasp.Verdict, error) {
	v, err := d.Desk.Receive(ctx, ev, raw, source)
	var no *grasp.Refusal
	if errors.As(err, &no) && no.Limit != "" {
		d.limited.add(no.Limit)
	}
	if err == nil {
		d.arrived(ctx, ev, v, fromPeer(source))
	}
	return v, err
}

// limitMetrics shows each limit of the configuration, and how often it was met where that is
// counted. The names are those of the table: visitors add none.
func (s *Server) limitMetrics(reg *prometheus.Registry) {
	desc := prometheus.NewDesc("gitroost_limit", "What is in force, by the name of the setting: a count, bytes or seconds.", []string{"name"}, nil)
	hit := prometheus.NewDesc("gitroost_limit_hits_total", "How often a limit was met, by the name of the setting.", []string{"name"}, nil)
	reg.MustRegister(collector{
		describe: []*prometheus.Desc{desc, hit},
		collect: func(out chan<- prometheus.Metric) {
			cfg := s.config()
			for _, row := range cfg.Settings() {
				name, ok := strings.CutPrefix(row.Name, "limits.")
				if n, number := row.Number(); ok && number {
					out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, n, name)
				}
			}
			for name, n := range s.relay.Hits() {
				out <- prometheus.MustNewConstMetric(hit, prometheus.CounterValue, float64(n), name)
			}
			for i, name := range deskLimits {
				out <- prometheus.MustNewConstMetric(hit, prometheus.CounterValue, float64(s.limited.n[i].Load()), name)
			}
		},
	})
}

// collector is a prometheus.Collector made of two functions.
type collector struct {
	describe []*prometheus.Desc
	collect  func(chan<- prometheus.Metric)
}

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.describe {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) { c.collect(out) }

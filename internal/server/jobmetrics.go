package server

import (
	"context"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
)

// endStates are the states in which jobs end.
var endStates = slices.DeleteFunc(slices.Clone(jobs.States), func(s jobs.State) bool { return !s.Ended() })

// scrape bounds what one question of the metrics may take.
const scrape = 5 * time.Second

// metrics tells of the queue and of what came of jobs (S4-39).
func (h *Jobs) metrics(reg *prometheus.Registry) {
	// As many series as the program knows kinds, whatever strangers do.
	for _, kind := range work.Kinds() {
		for _, state := range endStates {
			reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "gitroost_jobs_ended_total", Help: "Jobs, by kind and by how they ended at last, also those that never ran. What needed no doing, because it had been done, is not counted.",
				ConstLabels: prometheus.Labels{"kind": kind, "state": string(state)},
			}, func() float64 { return float64(h.ended(kind, state)) }))
		}
	}
	for _, state := range []jobs.State{jobs.Unapproved, jobs.Waiting, jobs.Queued, jobs.Running} {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "gitroost_jobs", Help: "Jobs that have not ended, by state.", ConstLabels: prometheus.Labels{"state": string(state)},
		}, func() float64 {
			ctx, cancel := context.WithTimeout(context.Background(), scrape)
			defer cancel()
			n, err := h.queue.Counts(ctx)
			if err != nil {
				return -1
			}
			return float64(n[state])
		}))
	}
	for _, pool := range []string{jobs.DefaultPool, jobs.TellPool} {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "gitroost_jobs_oldest_seconds", Help: "For how long the oldest job could have run that is queued, by the workers it is for.",
			ConstLabels: prometheus.Labels{"pool": pool},
		}, func() float64 {
			ctx, cancel := context.WithTimeout(context.Background(), scrape)
			defer cancel()
			at, ok, err := h.queue.Next(ctx, pool, time.Time{})
			if err != nil || !ok {
				return 0
			}
			return max(h.clock.Now().Sub(at).Seconds(), 0)
		}))
	}
}

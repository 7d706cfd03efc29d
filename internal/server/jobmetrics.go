package server

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
)

// ends counts how jobs ended, by kind and state: as many series as the program knows kinds, whatever
// strangers do.
type ends map[string]map[jobs.State]*atomic.Int64

// ranTo are the states in which jobs end that ran.
var ranTo = []jobs.State{jobs.OK, jobs.Failed, jobs.TimedOut, jobs.StartupFailure}

func newEnds() ends {
	e := ends{}
	for _, kind := range work.Kinds() {
		e[kind] = map[jobs.State]*atomic.Int64{}
		for _, s := range ranTo {
			e[kind][s] = new(atomic.Int64)
		}
	}
	return e
}

func (e ends) count(j jobs.Job) {
	if n := e[j.Kind][j.State]; n != nil {
		n.Add(1)
	}
}

// scrape bounds what one question of the metrics may take.
const scrape = 5 * time.Second

// metrics tells of the queue and of what came of jobs (S4-39).
func (h *Jobs) metrics(reg *prometheus.Registry) {
	for kind, states := range h.ends {
		for state, n := range states {
			reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "gitroost_jobs_ended_total", Help: "Jobs that ran, by kind and by how they ended at last.",
				ConstLabels: prometheus.Labels{"kind": kind, "state": string(state)},
			}, func() float64 { return float64(n.Load()) }))
		}
	}
	for _, state := range []jobs.State{jobs.Waiting, jobs.Queued, jobs.Running} {
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

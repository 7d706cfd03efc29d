package housetest

import (
	"context"
	"fmt"
	"slices"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/server"
)

// WithJobs gives a house what a configuration file says of jobs: its sections jobs, secrets, targets and
// trust, and jobs_engine.
func WithJobs(file string) func(*config.Config) {
	return func(c *config.Config) {
		l, err := config.Load(config.Sources{File: "gitroost.yaml", Read: func(string) ([]byte, error) { return []byte(file), nil }})
		if err != nil {
			panic(fmt.Sprintf("the configuration of a test: %v", err))
		}
		c.Jobs, c.Secrets, c.Targets, c.Engine = l.Config.Jobs, l.Config.Secrets, l.Config.Targets, l.Config.Engine
		c.Trust = l.Config.Trust
	}
}

// Jobs is the house's own view of jobs.
func (h *House) Jobs() *server.Jobs { return h.srv.Jobs() }

// AllJobs returns all jobs that there are, the oldest first.
func (h *House) AllJobs() []jobs.Job {
	h.t.Helper()
	list, err := h.Jobs().Shelf().List(context.Background(), jobs.Filter{Limit: jobs.MaxList})
	if err != nil {
		h.t.Fatalf("list of jobs: %v", err)
	}
	slices.Reverse(list)
	return list
}

// Worked waits until every job that there is has ended, and returns them all, the oldest first.
func (h *House) Worked() []jobs.Job {
	h.t.Helper()
	Within(h.t, Wait, "jobs end", func() bool {
		n, err := h.Jobs().Shelf().Counts(context.Background())
		if err != nil {
			h.t.Fatalf("count of jobs: %v", err)
		}
		return n[jobs.Waiting]+n[jobs.Queued]+n[jobs.Running] == 0
	})
	return h.AllJobs()
}

// Made waits until there are n jobs of this name, ended or not, and returns them, the oldest first.
func (h *House) Made(name string, n int) []jobs.Job {
	h.t.Helper()
	var out []jobs.Job
	Within(h.t, Wait, fmt.Sprintf("%d jobs %s", n, name), func() bool {
		out = slices.DeleteFunc(h.AllJobs(), func(j jobs.Job) bool { return j.Name != name })
		return len(out) >= n
	})
	if len(out) != n {
		h.t.Fatalf("%d jobs %s, want %d: %+v", len(out), name, n, out)
	}
	return out
}

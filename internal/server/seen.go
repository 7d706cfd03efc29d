package server

import (
	"context"
	"net/http"
	"slices"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/githttp"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/jobview"
	"github.com/gitroost/gitroost/internal/jobweb"
)

// showJobs makes what people see of jobs.
func (s *Server) showJobs(h *Jobs) (*jobview.Board, error) {
	key, err := tokenKey(s.cfg.Data)
	if err != nil {
		return nil, err
	}
	return jobview.New(jobview.Config{
		Queue: h.queue, Logs: h.logs, Clock: h.clock, URL: s.public, TokenKey: key, Log: h.log,
		Private: func(ctx context.Context, j jobs.Job) bool { return h.Private(j) || !h.open(ctx, j.Repo) },
		Again: func(ctx context.Context, id, as jobs.ID, by grasp.PubKey) (jobs.Job, error) {
			if as == "" {
				as = h.ids.Next()
			}
			return h.again(ctx, id, as, by)
		},
		Ask: func(ctx context.Context, repo grasp.Addr, o jobview.Order, by grasp.PubKey, operator bool) ([]jobs.Job, error) {
			return h.Ask(ctx, Wish{Repo: repo, Jobs: o.Names, Ref: o.Ref, Actor: by, Operator: operator, Force: o.Force})
		},
		Explain: h.Explain,
	})
}

// Board is jobs as people see them.
func (h *Jobs) Board() *jobview.Board { return h.board }

// open reports whether everybody may read a repository.
func (h *Jobs) open(ctx context.Context, repo grasp.Addr) bool {
	hosting, err := h.find(ctx, repo)
	return err == nil && (hosting == grasp.Live || hosting == grasp.Withdrawn)
}

// jobDoor makes the door to jobs.
func (s *Server) jobDoor(authorities []string, addresses prefixer) http.Handler {
	s.jobsDoor = jobweb.New(jobweb.Config{
		Now: s.now, Wire: s.wire, Authorities: authorities, Network: addresses.prefix, Idle: s.cfg.Limits.Idle,
	}, s.jobs.board, s.jobs.board, s.jobs.board, s.jobs.board, gate{s}, s.pages, s.log.With("room", "jobweb"))
	return s.jobsDoor
}

// A gate says who may what about jobs.
type gate struct{ s *Server }

func (g gate) Operator(key grasp.PubKey) bool { return slices.Contains(g.s.admins(), key) }

func (g gate) Maintains(ctx context.Context, repo grasp.Addr, key grasp.PubKey) (bool, error) {
	hosting, err := g.s.steward.Find(ctx, repo)
	if err != nil {
		return false, err
	}
	if hosting != grasp.Live && hosting != grasp.Withdrawn {
		return false, fault.E(fault.NotFound, "server: jobs", "this repository does not live here")
	}
	view, err := g.s.steward.View(ctx, repo.ID)
	if err != nil {
		return false, err
	}
	return view.Maintainers(repo.Owner).Has(key), nil
}

// followPush returns what the jobs of a push say: git push -o follow.
func (h *Jobs) followPush(ctx context.Context, repo grasp.Addr, push, name string) (githttp.Follower, error) {
	// The push was reported a moment ago, but it may have taken long.
	t, err := h.board.FollowPush(ctx, repo, push, name, h.clock.Now().Add(-h.cfg.Limits.PushTime))
	if err != nil || t == nil {
		return nil, err
	}
	return t, nil
}

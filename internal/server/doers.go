package server

import (
	"context"
	"net/http"
	"path/filepath"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitdir"
	"github.com/gitroost/gitroost/internal/render"
	"github.com/gitroost/gitroost/internal/run"
	"github.com/gitroost/gitroost/internal/sites"
	"github.com/gitroost/gitroost/internal/web"
	"github.com/gitroost/gitroost/internal/work"
	"github.com/gitroost/gitroost/internal/work/checkout"
	"github.com/gitroost/gitroost/internal/work/program"
	"github.com/gitroost/gitroost/internal/work/site"
)

// doers returns who does the jobs, by kind.
func (s *Server) doers() (map[string]work.Doer, error) {
	const op = "server: jobs"
	programs, err := program.New(program.Config{
		Run: run.New(run.Config{}), State: filepath.Join(s.cfg.Data, "programs"), Hide: []string{s.cfg.Data},
		Sandbox: s.cfg.Engine.Sandbox, Untrusted: s.cfg.Engine.Untrusted, Log: s.log.With("room", "program"),
	})
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	if len(s.cfg.Jobs) > 0 {
		for _, r := range programs.Runners(context.Background()) {
			if r.Text != "" {
				s.log.Info("jobs: not on this machine", "runner", r.Name, "why", r.Text)
			}
		}
	}
	trees, err := checkout.New(checkout.Config{
		Folder: func(repo grasp.Addr) (string, error) {
			own, err := gitdir.Folder(repo)
			return filepath.Join(s.cfg.Data, checkoutsFolder, own), err
		},
		Now: s.now, Log: s.log.With("room", "checkout"),
	})
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	sites, err := site.New(site.Config{Dir: s.cfg.Data, Folder: gitdir.Folder, Describe: s.describe, Now: s.now, Log: s.log.With("room", "site")})
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	return map[string]work.Doer{
		"checkout": trees,
		"exec":     program.Exec{Programs: programs},
		"site":     sites,
		"ssh":      program.SSH{Programs: programs},
	}, nil
}

// describe returns what a site says of its repository beside what is in it.
func (s *Server) describe(ctx context.Context, repo grasp.Addr) render.Site {
	site := render.Site{Name: repo.ID, Clone: []string{web.CloneURL(s.public, repo)}}
	page, err := source{s}.Repo(ctx, repo)
	if err != nil {
		return site // what is in the repository is shown all the same
	}
	if page.Name != "" {
		site.Name = page.Name
	}
	site.Description = page.Description
	return site
}

// sites returns the door to published sites, or nil if they are not served.
func (s *Server) sites() http.Handler {
	if !s.cfg.Sites.Serve {
		return nil
	}
	return sites.New(sites.Config{
		Dir: filepath.Join(s.cfg.Data, site.DefaultTo), Folder: gitdir.Folder, Log: s.log.With("room", "sites"),
		Serves: func(ctx context.Context, repo grasp.Addr) (bool, error) {
			hosting, err := s.steward.Find(ctx, repo)
			return hosting == grasp.Live, err
		},
	})
}

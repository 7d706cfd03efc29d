package server

import (
	"context"
	"path/filepath"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitdir"
	"github.com/gitroost/gitroost/internal/render"
	"github.com/gitroost/gitroost/internal/run"
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
		Run: run.New(run.Config{}), State: filepath.Join(s.cfg.Data, "programs"), Base: s.cfg.Data, Hide: []string{s.cfg.Data},
		Sandbox: s.cfg.Engine.Sandbox, Untrusted: s.cfg.Engine.Untrusted, Log: s.log.With("room", "program"),
	})
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	trees, err := checkout.New(checkout.Config{
		Folder: func(repo grasp.Addr) (string, error) {
			own, err := gitdir.Folder(repo)
			return filepath.Join(s.cfg.Data, "checkouts", own), err
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
	return render.Site{Name: repo.ID, Clone: []string{web.CloneURL(s.public, repo)}}
}

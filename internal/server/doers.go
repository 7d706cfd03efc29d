package server

import (
	"path/filepath"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/run"
	"github.com/gitroost/gitroost/internal/work"
	"github.com/gitroost/gitroost/internal/work/program"
)

// doers returns who does the jobs, by kind.
func (s *Server) doers() (map[string]work.Doer, error) {
	programs, err := program.New(program.Config{
		Run: run.New(run.Config{}), State: filepath.Join(s.cfg.Data, "programs"), Base: s.cfg.Data,
		Sandbox: s.cfg.Engine.Sandbox, Untrusted: s.cfg.Engine.Untrusted, Log: s.log.With("room", "program"),
	})
	if err != nil {
		return nil, fault.Wrap("server: jobs", err)
	}
	return map[string]work.Doer{
		"exec": program.Exec{Programs: programs},
		"ssh":  program.SSH{Programs: programs},
	}, nil
}

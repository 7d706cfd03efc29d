package server

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/run"
	"github.com/gitroost/gitroost/internal/work"
)

// doers returns who does the jobs, by kind.
func (s *Server) doers() (map[string]work.Doer, error) {
	return map[string]work.Doer{"exec": plainExec{run.New(run.Config{})}}, nil
}

// plainExec runs a program as the user of the server, without any walls around it.
type plainExec struct{ runner *run.Runner }

func (p plainExec) Do(ctx context.Context, t *work.Task) jobs.Result {
	words := t.Spec.(*work.Exec).Run
	path, err := run.Find(words[0], os.Getenv("PATH"))
	if err != nil {
		return jobs.Result{State: jobs.StartupFailure, Reason: err.Error()}
	}
	out := t.Log.Stream("stdout")
	_, err = p.runner.Run(ctx, run.Command{
		Kind: "job", Path: path, Args: run.Operator(words[1:]), Dir: t.Dir, Stdout: out,
		StderrLine: func(line string) { io.WriteString(t.Log.Stream("stderr"), line+"\n") },
		Env: []string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + t.Dir, "GRASP_REPO=" + t.Job.Repo.String(), "GRASP_REF=" + string(t.Job.Ref),
			"GRASP_OID=" + string(t.Job.New), "GRASP_OLD=" + string(t.Job.Old), "GRASP_JOB=" + t.Job.Name, "GRASP_RUN_ID=" + string(t.Job.ID),
		},
	})
	var exit *run.ExitError
	switch {
	case err == nil:
		return jobs.Result{State: jobs.OK}
	case errors.As(err, &exit):
		return jobs.Result{State: jobs.Failed, Exit: exit.Code, Reason: exit.Error()}
	}
	return jobs.Result{State: jobs.Failed, Fault: jobs.FaultInfra, Reason: err.Error()}
}

package hook

import (
	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
)

// An event is what a webhook tells of, in three languages.
type event struct{ name, github, gitea string }

// The events (§2.1).
var (
	refUpdated   = event{"grasp.ref.updated", "push", "push"}
	stateTaken   = event{"grasp.state.accepted", "push", "push"}
	mirrorSynced = event{"grasp.mirror.synced", "push", "push"}
	pullReceived = event{"grasp.pr.received", "pull_request", "pull_request"}
	jobFinished  = event{"grasp.job.finished", "workflow_run", "workflow_run"}
	ping         = event{"ping", "ping", "ping"}
)

// eventOf returns what j tells of; about is the job that it follows, or nil.
func eventOf(j jobs.Job, about *work.About) event {
	switch {
	case about != nil:
		return jobFinished
	case j.Trigger == jobs.OnPull:
		return pullReceived
	case j.Ref == "" && j.Trigger == jobs.OnManual:
		return ping
	case j.Trigger == jobs.OnState:
		return stateTaken
	case j.Trigger == jobs.OnMirror:
		return mirrorSynced
	}
	return refUpdated
}

// oid returns an object id as it is told: of a ref that is not there, zeros.
func oid(id grasp.OID) string {
	if id.IsZero() {
		return string(grasp.ZeroOID)
	}
	return string(id)
}

package ci

import (
	"strconv"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
)

// ProgressLife is how long a Progress holds; it is said again before. No client believes a longer one.
const ProgressLife = 30 * time.Minute

// A Pull is the proposal whose commit a job works on.
type Pull struct {
	Root       grasp.EventID // the event of kind 1618
	RootAuthor grasp.PubKey
	Event      grasp.EventID // that brought the commit: the same, or an update of kind 1619
	Kind       int
	Author     grasp.PubKey
}

// A Control is an event by which a maintainer asked for what was done.
type Control struct {
	ID     grasp.EventID
	Author grasp.PubKey
	Manual bool // a Manual Trigger; otherwise a Service Request
}

// A Run is a job as its events tell of it.
type Run struct {
	work.About
	Repo    grasp.Addr
	Commits []string // the commit, and the tags that lead to it
	Pull    *Pull    // of proposals
	By      *Control // or nil
	Self    grasp.PubKey
	Relay   string // where these events are
	URL     string // of this server, without a slash at the end
}

// common are the tags that all events about r have.
func (r *Run) common() nostr.Tags {
	tags := nostr.Tags{{"a", r.Repo.Coordinate(), r.Relay}}
	for _, c := range r.Commits {
		tags = append(tags, nostr.Tag{"c", c})
	}
	workflow := workflowPath + r.Job
	if r.File != "" {
		workflow = r.File
	}
	tags = append(tags, nostr.Tag{"w", workflow, r.Definition})
	why := "manual"
	switch jobs.Trigger(r.Trigger) {
	case jobs.OnPush, jobs.OnState, jobs.OnSync, jobs.OnMirror:
		why = "push"
	case jobs.OnPull:
		why = "pull_request"
	case jobs.OnSchedule:
		why = "schedule"
	}
	tags = append(tags, nostr.Tag{"o", why})
	switch {
	case r.Pull != nil:
		p := r.Pull
		tags = append(tags,
			nostr.Tag{"E", string(p.Root), r.Relay, string(p.RootAuthor)}, nostr.Tag{"K", strconv.Itoa(grasp.KindPull)}, nostr.Tag{"P", string(p.RootAuthor)},
			nostr.Tag{"e", string(p.Event), r.Relay, string(p.Author)}, nostr.Tag{"k", strconv.Itoa(p.Kind)}, nostr.Tag{"p", string(p.Author)})
	case strings.HasPrefix(r.Ref, "refs/heads/") || strings.HasPrefix(r.Ref, "refs/tags/"):
		tags = append(tags, nostr.Tag{"r", r.Ref})
	}
	return tags
}

// Tellable reports whether events can tell of r: they are about a commit, and those about a proposal
// about one that is known.
func (r *Run) Tellable() bool {
	if len(r.Commits) == 0 || len(r.Definition) != 64 {
		return false
	}
	if jobs.Trigger(r.Trigger) == jobs.OnPull {
		return r.Pull != nil
	}
	pushed := jobs.Trigger(r.Trigger) != jobs.OnSchedule && jobs.Trigger(r.Trigger) != jobs.OnManual && jobs.Trigger(r.Trigger) != jobs.OnJob
	return !pushed || strings.HasPrefix(r.Ref, "refs/heads/") || strings.HasPrefix(r.Ref, "refs/tags/")
}

// provenance quotes who asked for it.
func (r *Run) provenance() nostr.Tags {
	if r.By == nil {
		return nil
	}
	mark := markServiceRequest
	if r.By.Manual {
		mark = markManualTrigger
	}
	return nostr.Tags{{"q", string(r.By.ID), r.Relay, string(r.By.Author), mark}}
}

func (r *Run) times() nostr.Tags {
	var tags nostr.Tags
	for name, t := range map[string]time.Time{"queued_at": r.Queued, "started_at": r.Started} {
		if !t.IsZero() {
			tags = append(tags, nostr.Tag{name, strconv.FormatInt(t.Unix(), 10)})
		}
	}
	if len(tags) == 2 && tags[0][0] != "queued_at" {
		tags[0], tags[1] = tags[1], tags[0]
	}
	return tags
}

// Progress says that r runs, or with a conclusion that it has ended. It holds for ProgressLife.
func (r *Run) Progress(now time.Time) nostr.Event {
	tags := append(nostr.Tags{{"d", string(r.ID)}}, r.common()...)
	if end := r.State.Conclusion(); end != "" {
		tags = append(tags, nostr.Tag{"status", statusConcluded}, nostr.Tag{"conclusion", end})
	} else {
		tags = append(tags, nostr.Tag{"status", statusInProgress}, nostr.Tag{"in-progress", r.Job})
	}
	tags = append(tags, nostr.Tag{"expiration", strconv.FormatInt(now.Add(ProgressLife).Unix(), 10)})
	tags = append(append(tags, r.times()...), r.provenance()...)
	return nostr.Event{Kind: KindProgress, CreatedAt: nostr.Timestamp(now.Unix()), Tags: tags}
}

// JobResult says how r ended, as the one who did it.
func (r *Run) JobResult() nostr.Event {
	tags := append(r.common(),
		nostr.Tag{"q", strconv.Itoa(KindProgress) + ":" + string(r.Self) + ":" + string(r.ID), r.Relay},
		nostr.Tag{"job", r.Job}, nostr.Tag{"name", r.Job}, nostr.Tag{"conclusion", r.State.Conclusion()})
	tags = append(tags, r.times()...)
	if r.URL != "" {
		tags = append(tags, nostr.Tag{"logs", r.URL + "/jobs/" + string(r.ID) + "/log"})
	}
	if r.By != nil && r.By.Manual { // who asks for runs from now on did not ask for this job of one
		tags = append(tags, r.provenance()...)
	}
	return nostr.Event{Kind: KindJobResult, CreatedAt: nostr.Timestamp(r.Ended.Unix()), Tags: tags}
}

// WorkflowResult says how r ended, as the one who had it done; job is the id of the signed JobResult.
func (r *Run) WorkflowResult(job grasp.EventID) nostr.Event {
	tags := append(r.common(), nostr.Tag{"r", string(r.ID)}, nostr.Tag{"conclusion", r.State.Conclusion()})
	tags = append(tags, r.times()...)
	tags = append(tags, nostr.Tag{"q", string(job), r.Relay, string(r.Self), r.Job})
	tags = append(tags, r.provenance()...)
	return nostr.Event{Kind: KindWorkflowResult, CreatedAt: nostr.Timestamp(r.Ended.Unix()), Tags: tags}
}

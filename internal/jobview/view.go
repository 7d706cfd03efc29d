package jobview

import (
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/jobs"
)

// A View is what is told of a job, and the JSON of GET /jobs/<id> (S0-18). Fields that are missing are not known, or
// do not apply. Times are RFC 3339 in UTC.
type View struct {
	ID      jobs.ID      `json:"id" doc:"26 digits and capital letters, the same for all attempts"`
	Run     jobs.ID      `json:"run" doc:"shared by all jobs that one happening made"`
	URL     string       `json:"url" doc:"the page of this job"`
	Repo    string       `json:"repo" doc:"npub/identifier"`
	Name    string       `json:"name" doc:"of the definition"`
	Kind    string       `json:"kind" doc:"exec, site, checkout, webhook and so on"`
	Class   jobs.Class   `json:"class" doc:"whose word stands behind it: operator, trusted or untrusted"`
	Private bool         `json:"private,omitempty" doc:"only maintainers and the operator see it"`
	Trigger jobs.Trigger `json:"trigger" doc:"push, state, sync, mirror, pr, schedule, manual or job"`

	Ref   grasp.RefName `json:"ref,omitempty" doc:"the ref that moved"`
	Old   grasp.OID     `json:"old,omitempty" doc:"where it pointed before"`
	New   grasp.OID     `json:"new,omitempty" doc:"where it points since"`
	Push  string        `json:"push,omitempty" doc:"the id of the push, as its pusher was told"`
	Event grasp.EventID `json:"event,omitempty" doc:"the Nostr event that asked for it"`
	Actor string        `json:"actor,omitempty" doc:"the npub of whoever asked for it"`
	File  *FileView     `json:"file,omitempty" doc:"the file of the repository that defines it; missing: the configuration of the server does"`
	Needs []NeedView    `json:"needs,omitempty" doc:"jobs that have to end first"`

	State      jobs.State `json:"state" doc:"waiting_for_approval, waiting, queued, running, ok, failed, timed_out, cancelled, superseded, skipped or startup_failure"`
	Conclusion string     `json:"conclusion,omitempty" doc:"how events of continuous integration say the state: success, failure, timed_out, cancelled, skipped or startup_failure"`
	Reason     string     `json:"reason,omitempty" doc:"one line for a person"`
	Approval   *Approval  `json:"approval,omitempty" doc:"of a job that somebody has to approve of before it begins"`
	Ending     string     `json:"ending,omitempty" doc:"of a job that runs: cancelled or superseded, if it was asked to end"`
	Attempt    int        `json:"attempt" doc:"how often it was begun"`

	Created  time.Time  `json:"created" doc:"when it was made"`
	RunAfter *time.Time `json:"run_after,omitempty" doc:"of one that is queued: when it may begin"`
	Started  *time.Time `json:"started,omitempty" doc:"when it was begun, the last time"`
	Ended    *time.Time `json:"ended,omitempty" doc:"when it ended"`
	Took     float64    `json:"took,omitempty" doc:"seconds of the last attempt"`

	Exit   *int    `json:"exit,omitempty" doc:"the exit code, or the status of HTTP"`
	Signal string  `json:"signal,omitempty" doc:"the signal that ended it, without SIG"`
	MaxRSS int64   `json:"max_rss,omitempty" doc:"the most memory it used, in bytes"`
	CPU    float64 `json:"cpu,omitempty" doc:"seconds of processor time"`

	Log LogView `json:"log" doc:"what it said"`
}

// A NeedView is one job that another needs.
type NeedView struct {
	ID jobs.ID        `json:"id" doc:"the job that is needed"`
	If jobs.Condition `json:"if" doc:"ok, failed or always"`
}

// A FileView is the file of a repository that defines a job.
type FileView struct {
	Path    string        `json:"path" doc:"where it is in the tree"`
	SHA256  string        `json:"sha256" doc:"the hash of what it says"`
	Commit  grasp.OID     `json:"commit" doc:"the tip of the default branch in which it is"`
	Request grasp.EventID `json:"request,omitempty" doc:"the maintainer's event by which it is heeded"`
	By      string        `json:"by,omitempty" doc:"the npub of that maintainer"`
}

// An Approval says whether a job was approved of.
type Approval struct {
	By    string        `json:"by,omitempty" doc:"who approved of it: an npub, or the operator; missing: nobody has"`
	Event grasp.EventID `json:"event,omitempty" doc:"the Nostr event that says so, if one does"`
	At    *time.Time    `json:"at,omitempty" doc:"when"`
}

// A LogView says where a log is.
type LogView struct {
	State    jobs.LogState `json:"state,omitempty" doc:"kept, or expired: it was kept for long enough"`
	URL      string        `json:"url" doc:"the log as plain text; ?follow=1 goes on while it grows, ?attempt=<n> is that of one attempt"`
	Bytes    int64         `json:"bytes,omitempty" doc:"what it takes on the disk"`
	Attempts []int         `json:"attempts,omitempty" doc:"those that have a log; only in the answer about one job"`
}

// NewView returns what is told of a job; base is the server's public URL.
func NewView(j jobs.Job, base string) View {
	v := View{
		ID: j.ID, Run: j.Run, URL: base + "/jobs/" + string(j.ID), Repo: jobs.RepoName(j.Repo), Name: j.Name, Kind: j.Kind,
		Class: j.Class, Trigger: j.Trigger, Ref: j.Ref, Old: j.Old, New: j.New, Push: j.Push, Event: j.Cause,
		State: j.State, Conclusion: j.State.Conclusion(), Reason: j.Reason, Ending: string(j.Cancelling), Attempt: j.Attempt,
		Created: j.Created.UTC(), Signal: j.Signal, MaxRSS: j.MaxRSS, CPU: j.CPU.Seconds(),
		Log: LogView{State: j.Log, URL: base + "/jobs/" + string(j.ID) + "/log", Bytes: j.LogBytes},
	}
	if j.Actor != "" {
		v.Actor = j.Actor.Npub()
	}
	if s := j.Source; !s.IsZero() {
		v.File = &FileView{Path: s.Path, SHA256: s.File, Commit: s.Commit, Request: s.Request}
		if s.By != "" {
			v.File.By = s.By.Npub()
		}
	}
	if a := j.Approval; a.Needed {
		v.Approval = &Approval{By: a.By, Event: a.Event, At: when(a.At)}
	}
	for _, n := range j.Needs {
		v.Needs = append(v.Needs, NeedView{n.On, orOK(n.If)})
	}
	if j.State == jobs.Queued && j.RunAfter.After(j.Created) {
		v.RunAfter = when(j.RunAfter)
	}
	v.Started, v.Ended = when(j.Started), when(j.Ended)
	if j.State.Ended() && v.Started != nil {
		v.Took = max(0, j.Ended.Sub(j.Started).Seconds())
		if j.State == jobs.OK || j.State.Bad() {
			exit := j.Exit
			v.Exit = &exit
		}
	}
	return v
}

func orOK(c jobs.Condition) jobs.Condition {
	if c == "" {
		return jobs.IfOK
	}
	return c
}

func when(t time.Time) *time.Time {
	if t.IsZero() || t.UnixMilli() <= 0 {
		return nil
	}
	t = t.UTC()
	return &t
}

// Unapproved reports whether the job waits for somebody to approve of it.
func (v *View) Unapproved() bool { return v.State == jobs.Unapproved }

// Addr returns the repository of the job.
func (v *View) Addr() (grasp.Addr, bool) { return ParseRepo(v.Repo) }

// Running returns for how long the job has been running at now, or how long it took.
func (v *View) Running(now time.Time) time.Duration {
	if v.State == jobs.Running && v.Started != nil {
		return max(0, now.Sub(*v.Started))
	}
	return time.Duration(v.Took * float64(time.Second))
}

package web

import (
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/jobview"
)

// jobPolicy is Policy for the page of a job that runs: one script of our own, which asks us for more of the log.
const jobPolicy = Policy + "; script-src 'self'; connect-src 'self'"

// A jobList is a list of jobs, prepared for its template.
type jobList struct {
	jobview.ListPage
	Rows   []jobRow
	States []stateChoice
	All    bool // nothing is filtered
}

// A stateChoice is one state to filter by.
type stateChoice struct {
	jobs.State
	Chosen bool
}

type jobRow struct {
	jobview.View
	Owner  grasp.PubKey
	RepoID string
	Is     mark
	Took   string
}

// A mark is how a state is shown: a sign, words and a class, so that colour is not needed.
type mark struct{ Sign, Words, Class string }

func markOf(v *jobview.View) mark {
	switch v.State {
	case jobs.OK:
		return mark{"✓", "ok", "agrees"}
	case jobs.Failed:
		return mark{"✗", "failed", "differs"}
	case jobs.TimedOut:
		return mark{"✗", "took too long", "differs"}
	case jobs.StartupFailure:
		return mark{"✗", "could not begin", "differs"}
	case jobs.Running:
		if v.Ending != "" {
			return mark{"…", "is asked to end", "waits"}
		}
		return mark{"▸", "running", "runs"}
	case jobs.Queued:
		return mark{"…", "queued", "waits"}
	case jobs.Unapproved:
		return mark{"?", "waits for approval", "waits"}
	case jobs.Waiting:
		return mark{"…", "waits for others", "waits"}
	case jobs.Superseded:
		return mark{"–", "a newer one took its place", "over"}
	}
	return mark{"–", string(v.State), "over"}
}

func (w *Web) jobRow(v jobview.View) jobRow {
	row := jobRow{View: v, Is: markOf(&v), RepoID: v.Repo}
	if a, ok := v.Addr(); ok {
		row.Owner, row.RepoID = a.Owner, a.ID
	}
	if v.Started != nil {
		row.Took = jobs.Span(v.Running(w.cfg.Now()))
	}
	return row
}

// JobList serves the page of jobs.
func (w *Web) JobList(rw http.ResponseWriter, r *http.Request, list jobview.ListPage) {
	body := jobList{ListPage: list, All: list.Repo == "" && list.Name == "" && list.Since == "" && len(list.States) == 0}
	for _, v := range list.Jobs {
		body.Rows = append(body.Rows, w.jobRow(v))
	}
	for _, s := range jobs.States {
		body.States = append(body.States, stateChoice{s, slices.Contains(list.States, s)})
	}
	w.render(rw, r, http.StatusOK, "jobs", "Jobs", body)
}

// A job is one job, prepared for its template.
type job struct {
	jobview.JobPage
	Row    jobRow
	Live   bool   // more of its log may come
	Script string // URL of the script, if Live
	Follow string // URL of the events, if Live
	Text   string // URL of the text
	Home   string // the page of its repository
	Self   string // URL of this page
}

// Job serves the page of one job.
func (w *Web) Job(rw http.ResponseWriter, r *http.Request, page jobview.JobPage) {
	body := job{JobPage: page, Row: w.jobRow(page.View), Live: !page.State.Ended()}
	body.Self = "/jobs/" + string(page.ID)
	body.Text = body.Self + "/log"
	if a, ok := page.Addr(); ok {
		body.Home = path(a)
	}
	policy := Policy
	if body.Live {
		policy = jobPolicy
		body.Script = "/static/job.js?v=" + w.assets["/static/job.js"].tag[1:13]
		q := url.Values{"follow": {"1"}}
		if n := page.Log.Attempts; len(n) > 0 {
			q.Set("from", jobview.Place(n[len(n)-1], page.LogMark))
		}
		body.Follow = body.Text + "?" + q.Encode()
	}
	w.renderUnder(rw, r, policy, http.StatusOK, "job", page.Name+" · "+body.Row.RepoID, body)
}

// span is the time between two moments in words, for a template.
func span(from time.Time, to *time.Time) string {
	if to == nil {
		return ""
	}
	return jobs.Span(to.Sub(from))
}

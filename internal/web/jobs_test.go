package web_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/jobview"
)

var loaded = regexp.MustCompile(`(?:src|href|action)="([^"]*)"`)

// The pages of jobs show every state in words, load nothing from elsewhere, and escape what strangers wrote; only that of
// a job which goes on has a script, which is ours.
func TestJobPages(t *testing.T) {
	w, _ := newWeb(source{}, base)
	demo, _ := demo()
	started := time.Unix(1_700_000_000, 0)
	evil := `<script>alert(1)</script>"'` + "\u202e"
	var all []jobview.View
	for _, s := range jobs.States {
		v := jobview.NewView(jobs.Job{
			ID: "01J00000000000000000000001", Repo: demo, Name: evil, Kind: "exec", Trigger: jobs.OnPush, Ref: "refs/heads/main", Push: evil,
			State: s, Reason: evil, Created: started, Started: started, Ended: started.Add(time.Minute), Class: jobs.Untrusted, Attempt: 2, Exit: 3,
			Needs: []jobs.Edge{{On: "01J00000000000000000000002"}},
		}, base)
		v.Log.Attempts = []int{1, 2}
		all = append(all, v)
		page := jobview.JobPage{View: v, Omitted: 5, LogMark: 42}
		page.SetLog([]byte("hello\n" + evil + "\n\x1b[31mred"))
		r, rec := httptest.NewRequest("GET", "/jobs/x", nil), httptest.NewRecorder()
		w.Job(rec, r, page)
		checkJobPage(t, string(s), rec)
		if live := !s.Ended(); live != strings.Contains(rec.Body.String(), `<script src="/static/job.js`) || live != strings.Contains(rec.Body.String(), `data-follow="/jobs/01J00000000000000000000001/log?follow=1&amp;from=2.42"`) ||
			live != strings.Contains(rec.Header().Get("Content-Security-Policy"), "script-src 'self'") {
			t.Errorf("%s: the script: %s", s, rec.Body)
		}
	}
	r, rec := httptest.NewRequest("GET", "/jobs", nil), httptest.NewRecorder()
	w.JobList(rec, r, jobview.ListPage{Page: jobview.Page{Jobs: all}, Repo: evil, Name: evil, Since: evil, Older: "/jobs?before=x", States: []jobs.State{jobs.OK}})
	checkJobPage(t, "list", rec)
	for _, want := range []string{"ok", "failed", "took too long", "running", "queued", "waits for others", "a newer one took its place", "cancelled", "skipped", "could not begin"} {
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("no state %q", want)
		}
	}
	rec = httptest.NewRecorder()
	w.JobList(rec, r, jobview.ListPage{First: true})
	if !strings.Contains(rec.Body.String(), "No job has run here yet") {
		t.Errorf("an empty list: %s", rec.Body)
	}
	rec = httptest.NewRecorder()
	w.Static(rec, httptest.NewRequest("GET", "/static/job.js", nil))
	if rec.Code != 200 || rec.Header().Get("Content-Type") != "text/javascript; charset=utf-8" {
		t.Errorf("the script: %d %v", rec.Code, rec.Header())
	}
}

func checkJobPage(t *testing.T, what string, rec *httptest.ResponseRecorder) {
	t.Helper()
	body := rec.Body.String()
	if rec.Code != http.StatusOK || strings.Contains(body, "<script>") || strings.Contains(body, "\u202e") || strings.Contains(body, "\x1b") || strings.Contains(body, "\"'") {
		t.Errorf("%s: %d %s", what, rec.Code, body)
	}
	for _, m := range loaded.FindAllStringSubmatch(body, -1) {
		switch url := m[1]; {
		case strings.HasPrefix(url, "/"), strings.HasPrefix(url, "#"):
		case strings.HasPrefix(url, "https://ngit.dev"), strings.HasPrefix(url, "https://github.com/nostr-protocol/nips"): // links of ours
		default:
			t.Errorf("%s: the page points to %q", what, url)
		}
	}
}

package hook_test

import (
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
	"github.com/gitroost/gitroost/internal/work/hook"
)

// A CI elsewhere is asked as its API wants to be asked. S0-40
func TestTriggers(t *testing.T) {
	token := work.Delivery{Token: work.SecretRef{Secret: "token"}}
	for _, c := range []struct {
		name   string
		spec   work.Trigger
		answer string
		path   string
		want   map[string]any
	}{
		{"woodpecker", work.Trigger{Preset: work.Woodpecker, Repo: 7, Variables: map[string]string{"DEPLOY": "staging"}, Delivery: token},
			`{"id":12,"number":3,"status":"pending","event":"manual"}`, "/hook/api/repos/7/pipelines",
			map[string]any{"branch": "main", "variables": map[string]any{
				"DEPLOY": "staging", "GITROOST_REPO": work.RepoName(push().Repo), "GITROOST_REF": "refs/heads/main",
				"GITROOST_OID": strings.Repeat("2", 40), "GITROOST_OLD": strings.Repeat("1", 40), "GITROOST_RUN_ID": string(push().ID),
			}}},
		{"sourcehut", work.Trigger{Preset: work.SourceHut, Manifest: "image: alpine/edge\nsources:\n  - {{.Server}}/{{.Repo}}.git#{{.New}}\n", Tags: []string{"shop"}, Delivery: token},
			`{"data":{"submit":{"id":1234567}}}`, "/hook",
			map[string]any{
				"query": `mutation ($manifest: String!, $tags: [String!], $note: String) { submit(manifest: $manifest, tags: $tags, note: $note) { id } }`,
				"variables": map[string]any{
					"manifest": "image: alpine/edge\nsources:\n  - https://git.example.org/" + work.RepoName(push().Repo) + ".git#" + strings.Repeat("2", 40) + "\n",
					"tags":     []any{"shop"}, "note": work.RepoName(push().Repo) + " main " + strings.Repeat("2", 40),
				},
			}},
	} {
		s := set(t)
		s.receiver.answer = func(_ int, w http.ResponseWriter, r *http.Request) { io.WriteString(w, c.answer) }
		c.spec.URL = s.url
		if res := s.do(t, &c.spec); res != (jobs.Result{State: jobs.OK, Exit: 200}) {
			t.Errorf("%s: %+v", c.name, res)
			continue
		}
		r := s.got[0]
		if r.Method != "POST" || r.URL.Path != c.path || r.Header.Get("Authorization") != "Bearer secret token" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %s %s %v", c.name, r.Method, r.URL, r.Header)
		}
		var got map[string]any
		if err := json.Unmarshal([]byte(s.bodies[0]), &got); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v\n got %v\nwant %v", c.name, err, got, c.want)
		}
	}
}

// What an API refuses in a friendly voice is a failure, and what it cannot do is said before it is asked.
func TestTriggersFail(t *testing.T) {
	for _, c := range []struct {
		name, answer, want string
		spec               work.Trigger
		job                jobs.Job
	}{
		{"an error in GraphQL", `{"errors":[{"message":"Invalid OAuth bearer token"}],"data":null}`, "Invalid OAuth bearer token", work.Trigger{Preset: work.SourceHut, Manifest: "x"}, push()},
		{"a page", `<html>log in</html>`, "not what the API", work.Trigger{Preset: work.SourceHut, Manifest: "x"}, push()},
		{"a template that fails", `{}`, "manifest", work.Trigger{Preset: work.SourceHut, Manifest: "{{.Nothing}}"}, push()},
		{"a tag", `{}`, "refs/heads/*", work.Trigger{Preset: work.Woodpecker, Repo: 1}, push(func(j *jobs.Job) { j.Ref = "refs/tags/v1" })},
		{"a repository", `{}`, "refs/heads/*", work.Trigger{Preset: work.Woodpecker, Repo: 1}, push(func(j *jobs.Job) { j.Ref = "" })},
	} {
		s := set(t)
		s.receiver.answer = func(_ int, w http.ResponseWriter, r *http.Request) { io.WriteString(w, c.answer) }
		c.spec.URL, s.task.Job = s.url, c.job
		if res := s.do(t, &c.spec); res.State == jobs.OK || !strings.Contains(res.Reason, c.want) {
			t.Errorf("%s: %+v", c.name, res)
		}
	}
}

// Without a preset it is a webhook, with all its signatures.
func TestGenericTrigger(t *testing.T) {
	s := set(t)
	s.task.Job.Repo = grasp.Addr{Owner: owner, ID: "a-b-c"}
	if res := s.do(t, &work.Trigger{To: "ci", Delivery: work.Delivery{Format: work.CloudEvents}}); res.State != jobs.OK {
		t.Fatalf("%+v", res)
	}
	if s.got[0].Header.Get("Content-Type") != "application/cloudevents+json" || s.got[0].Header.Get("X-Gitea-Signature") != hook.Hex("secret of the target", []byte(s.bodies[0])) {
		t.Errorf("%v", s.got[0].Header)
	}
}

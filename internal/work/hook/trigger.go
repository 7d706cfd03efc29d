package hook

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
	"github.com/gitroost/gitroost/internal/work/answer"
)

// trigger starts a CI elsewhere (S0-40).
func (d *Doer) trigger(ctx context.Context, t *work.Task, spec *work.Trigger) jobs.Result {
	if spec.Preset == "" || spec.Preset == work.Generic {
		return d.webhook(ctx, t, &work.Webhook{To: spec.To, URL: spec.URL, URLFrom: spec.URLFrom, Delivery: spec.Delivery, About: spec.About}, nil)
	}
	p, err := d.place(ctx, t, spec.To, spec.URL, spec.URLFrom, spec.Delivery)
	if err != nil {
		return unable(err)
	}
	p.Method = "" // what a target says is for webhooks; this is one call of an API
	s := d.subject(ctx, t, spec.About)
	about := work.Of(t.Job, "")
	if spec.About != nil {
		about = *spec.About
	}
	var body []byte
	var look func(answer.Answer) error
	switch spec.Preset {
	case work.Woodpecker:
		if !strings.HasPrefix(about.Ref, "refs/heads/") {
			return unable(fault.Errorf(fault.Invalid, "hook: woodpecker", "woodpecker is asked to build a branch, and this is %q: on: {push: {refs: [refs/heads/*]}}", about.Ref))
		}
		p.url = p.url.JoinPath("api", "repos", strconv.Itoa(spec.Repo), "pipelines")
		body, err = json.Marshal(object{"branch": about.Branch, "variables": variables(spec.Variables, about)})
	case work.SourceHut:
		body, err = sourceHut(spec, work.Tell(about, t.URL))
		look = graphQL
	}
	if err != nil {
		return unable(err)
	}
	return d.send(ctx, t, p, s.event, body, "application/json", look)
}

// variables adds what happened to those that the operator wants.
func variables(more map[string]string, a work.About) map[string]string {
	out := map[string]string{
		"GITROOST_REPO": a.Repo, "GITROOST_REF": a.Ref, "GITROOST_OID": a.New, "GITROOST_OLD": a.Old, "GITROOST_RUN_ID": string(a.ID),
	}
	for k, v := range more {
		out[k] = v
	}
	return out
}

// submit is what builds.sr.ht is asked, in GraphQL.
const submit = `mutation ($manifest: String!, $tags: [String!], $note: String) { submit(manifest: $manifest, tags: $tags, note: $note) { id } }`

func sourceHut(spec *work.Trigger, what work.Telling) ([]byte, error) {
	manifest, err := work.Fill("manifest", spec.Manifest, what, work.MaxFilled)
	if err != nil {
		return nil, err
	}
	tags := spec.Tags
	if tags == nil {
		tags = []string{"gitroost"}
	}
	note := strings.TrimSpace(what.Repo + " " + what.Branch + " " + what.New)
	return json.Marshal(object{"query": submit, "variables": object{"manifest": manifest, "tags": tags, "note": note}})
}

// graphQL finds the error in an answer whose status says that all is well.
func graphQL(a answer.Answer) error {
	var reply struct {
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	if err := json.Unmarshal([]byte(a.Excerpt), &reply); err != nil {
		return fault.E(fault.Invalid, "hook: graphql", "the answer is not what the API of sourcehut says")
	}
	if len(reply.Errors) > 0 {
		return fault.Errorf(fault.Refused, "hook: graphql", "it was refused: %.200s", reply.Errors[0].Message)
	}
	return nil
}

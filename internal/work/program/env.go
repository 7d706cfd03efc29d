package program

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/gitroost/gitroost/internal/work"
)

// A variable is one that jobs are given.
type variable struct {
	name, doc string
	value     func(t *work.Task, p *place) string // "" is not given
}

// variables is all that a program finds in its environment, beside what its definition says (S0-33).
// docs/jobs.md is written from it.
var variables = []variable{
	{"PATH", "where programs are looked for", func(_ *work.Task, p *place) string { return p.path }},
	{"HOME", "an empty folder, gone afterwards", func(_ *work.Task, p *place) string { return p.home }},
	{"TMPDIR", "a folder for temporary files, gone afterwards", func(_ *work.Task, p *place) string { return p.tmp }},
	{"LANG", "always C.UTF-8", func(*work.Task, *place) string { return "C.UTF-8" }},
	{"GRASP_JOB", "the name of the job", func(t *work.Task, _ *place) string { return t.Job.Name }},
	{"GRASP_JOB_ID", "names this job, the same at every attempt", func(t *work.Task, _ *place) string { return string(t.Job.ID) }},
	{"GRASP_RUN_ID", "the same, under the name that other systems know; whoever has seen it has seen this job", func(t *work.Task, _ *place) string { return string(t.Job.ID) }},
	{"GRASP_ATTEMPT", "how often the job was begun, this time included", func(t *work.Task, _ *place) string { return strconv.Itoa(t.Job.Attempt) }},
	{"GRASP_CLASS", "`operator`, `trusted` or `untrusted`", func(t *work.Task, _ *place) string { return string(t.Job.Class) }},
	{"GRASP_TRIGGER", "why it runs: `push`, `state`, `sync`, `mirror`, `pr`, `schedule`, `manual`, `job`", func(t *work.Task, _ *place) string { return string(t.Job.Trigger) }},
	{"GRASP_REPO", "`<npub>/<identifier>`", func(t *work.Task, _ *place) string { return t.Job.Repo.Owner.Npub() + "/" + t.Job.Repo.ID }},
	{"GRASP_NPUB", "the owner of the repository", func(t *work.Task, _ *place) string { return t.Job.Repo.Owner.Npub() }},
	{"GRASP_REPO_ID", "its identifier", func(t *work.Task, _ *place) string { return t.Job.Repo.ID }},
	{"GRASP_REPO_DIR", "the bare repository, to be read only; not given where it cannot be seen", func(_ *work.Task, p *place) string { return p.git }},
	{"GRASP_REF", "the ref that moved", func(t *work.Task, _ *place) string { return string(t.Job.Ref) }},
	{"GRASP_OLD", "what it pointed to, zeros if it is new", func(t *work.Task, _ *place) string { return string(t.Job.Old) }},
	{"GRASP_OID", "what it points to, zeros if it is gone", func(t *work.Task, _ *place) string { return string(t.Job.New) }},
	{"GITSYNC_HASH", "of `check` and `after` of a checkout: the commit, as git-sync's hooks have it", func(*work.Task, *place) string { return "" }},
	{"GRASP_TREE", "of the same: the folder with its files", func(*work.Task, *place) string { return "" }},
	{"GRASP_LINK", "of the same: the link that is turned", func(*work.Task, *place) string { return "" }},
	{"GRASP_EVENT_ID", "the Nostr event that asked for it", func(t *work.Task, _ *place) string { return string(t.Job.Cause) }},
	{"GRASP_ACTOR", "the public key behind it, in hex", func(t *work.Task, _ *place) string { return string(t.Job.Actor) }},
	{"GRASP_PUSH", "the push that delivered it", func(t *work.Task, _ *place) string { return t.Job.Push }},
	{"GRASP_URL", "this server", func(t *work.Task, _ *place) string { return t.URL }},
	{"GRASP_SECRETS", "the folder with a file for each secret, if there are any", func(_ *work.Task, p *place) string { return p.secrets }},
}

// environment returns the whole environment of a program: the table, what the definition says, what a
// job says to its part.
func environment(t *work.Task, p *place, more map[string]string) []string {
	all := map[string]string{}
	for name, v := range more {
		if work.BlockedVariable(name) == "" {
			all[name] = v
		}
	}
	for _, v := range variables {
		if s := v.value(t, p); s != "" {
			all[v.name] = s
		}
	}
	for _, kv := range t.Env {
		name, v, _ := strings.Cut(kv, "=")
		all[name] = v
	}
	out := make([]string, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if v := all[name]; strings.IndexByte(v, 0) < 0 {
			out = append(out, name+"="+v)
		}
	}
	return out
}

// VariablesDoc returns the table of variables, in Markdown.
func VariablesDoc() string {
	var b strings.Builder
	b.WriteString("| variable | says |\n|---|---|\n")
	for _, v := range variables {
		b.WriteString("| `" + v.name + "` | " + v.doc + " |\n")
	}
	return b.String()
}

package config_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
	"github.com/gitroost/gitroost/internal/work/program"
)

// docs/jobs.md is written from what reads the configuration: the table of a job's options, the structs
// that the kinds are decoded into with the comments of their fields, and the example that another test
// loads.
func TestThePageOfJobsIsFresh(t *testing.T) {
	const path = "../../docs/jobs.md"
	want := jobsPage(t)
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s is stale (%v): go test ./internal/config -update", path, err)
	}
}

// A fieldDoc is what the source says of a field.
type fieldDoc struct{ comment string }

func jobsPage(t *testing.T) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	p(`# Jobs

<!-- Written from the code that reads the configuration: go test ./internal/config -update -->

A job is something that is done when something happens to a repository: its site is rendered, tests run, a
server is told. Jobs are defined by the operator, in `+"`gitroost.yaml`"+`; a repository defines jobs of its own only where the
operator [trusts](#trust) it. `+"`gitroost config check`"+` says of each what it would run, and every fault with line and column.

Whoever pushes is told which jobs there are and where to watch them. With `+"`git push -o skip-jobs`"+` those are
left out that say `+"`skip_ci: true`"+`.

`+"```yaml"+`%s`+"```"+`

## Options of a job

| option | | |
|---|---|---|
`, worked)
	for _, k := range config.JobOptions() {
		p("| `%s` | %s | %s |\n", k[0], k[1], k[2])
	}
	p("\n`%s` beside the kind are what they are inside it.\n", strings.Join(work.Beside, "`, `"))
	p(`
## When it runs

| on | |
|---|---|
| push | refs were moved by a push |
| state | refs were moved by a state event, or HEAD was; with `+"`head: true`"+` only when what HEAD points to moved |
| sync | refs were moved by what another server had |
| tag | push, state or sync, of a tag that is new |
| pr | a pull request's event and its commit are both here. Such a job is untrusted: it is given no secrets and runs in a sandbox, or not at all. With `+"`require_approval: true`"+` it waits until a maintainer or the operator [approves](#approval) of it |
| schedule | a time came: "minute hour day month weekday", in UTC, put off by up to ten minutes, each repository and job by its own. Of times that were missed the latest is caught up with |
| manual | somebody may ask for it: maintainers with a signed request. The operator always may |
| job | another job ended: `+"`jobs`"+`, their names, and `+"`results`"+`, how: %s, or failure and success |

`+"`push`, `state`, `sync`, `tag` and `pr`"+` take `+"`refs`"+`, patterns of full names (none: branches and tags); `+"`paths`"+`, patterns of
which a changed path has to fit; `+"`skip_ci`"+`, heed `+"`-o skip-jobs`, `-o skip-ci` and `[skip ci]`"+` in the commit's message; and
`+"`deleted`"+`, also when a ref goes. In patterns `+"`*`"+` is any text, and `+"`!`"+` in front takes away.

## Kinds
`, ends())
	docs := fieldDocs(t, "../work")
	for _, kind := range work.Kinds() {
		spec, _ := work.NewSpec(kind)
		typ := reflect.TypeOf(spec).Elem()
		p("\n### %s\n\n%s\n\n| option | | |\n|---|---|---|\n", kind, docs[typ.Name()].comment)
		writeFields(p, docs, typ, "")
	}
	p(`
## Secrets

` + "`secrets`" + ` says where a secret is and who may have it: ` + "`file`" + ` (readable by its owner alone, who is the user of the server or
root), ` + "`env`" + ` (a variable of the server) or ` + "`credential`" + ` (of systemd). A job is given only what it names, and only for the
` + "`repos`" + ` and ` + "`refs`" + ` (none: branches and tags) that the secret is bound to; what has no ` + "`repos`" + ` is for targets alone. What a
pull request started is never given any. Secrets are masked in logs.

## Targets

A target is a place that can be told something, which jobs name.

| option | | |
|---|---|---|
`)
	writeFields(p, docs, reflect.TypeFor[work.Target](), "")
	p(`
## Trust

Anybody may announce a repository here, so nothing that one holds is heeded by itself. A row of `+"`trust`"+` says of whose repositories the
file `+"`%s`"+` is read, and what it may ask for:

`+"```yaml"+`%s`+"```"+`

| option | | |
|---|---|---|
`, config.RepoFile, "\n"+read(t, "deploy/examples/trust.yaml"))
	for _, k := range config.TrustOptions() {
		p("| `%s` | %s | %s |\n", k[0], k[1], k[2])
	}
	p(`
The file is read in the commit to which the default branch points, as a maintainer's signed state says: who proposes a change
does not change the jobs of the repository. It has `+"`jobs`"+` alone, with the options above but for these, which are the operator's: `+"`repos`, `on: {pr: …}`, `sandbox`, `run_as`"+`,
paths with a slash in front, templates, and whatever goes by ssh. It has at most %d jobs and %s. Programs run in the sandbox of
`+"`jobs_engine.untrusted_sandbox`"+`, or not at all; what a job of the file tells others directly, and not by way of a target, goes nowhere that
`+"`jobs_engine.reach`"+` alone allows.

`+"```yaml"+`
%s`+"```"+`

A faulty file defines nothing. Whoever pushes is told what is wrong with it, with line and column, and a job of its name that could not
begin records it; the push is taken. Each job remembers the SHA-256 of the file, the commit it is in, and whose request it was.

That a maintainer has asked for it is an event of kind 9843 without content, with one `+"`a`"+` tag that names the repository and one `+"`p`"+` tag with the key of
this server, which its page says; one of kind 9844 takes it back. That is how clients switch a CI on. `+"`service_request: false`"+` does without.

## Approval

A job that needs approval is `+"`waiting_for_approval`"+`: it is shown like any other, whoever pushes is told, and nothing of it runs. What a pull
request started a maintainer or the operator approves of; what a repository defines for itself, where the row says `+"`require_approval: true`"+`, the operator alone.

`+"```console"+`
$ gitroost jobs ls --state waiting_for_approval
$ gitroost jobs show <id>             # the commit, and the file that defines it
$ gitroost jobs approve <id>          # or: gitroost jobs cancel <id>
`+"```"+`

Over the network it is `+"`POST /jobs/<id>/approve`"+`, signed ([NIP-98](jobs-api.md)); with `+"`jobs_engine.nostr: ngit-ci`"+` a maintainer's Manual Trigger (kind 9840) that names the proposal,
its commit and the hash of the job's definition approves as well. Of one owner at most `+"`jobs_engine.owner_queue`"+` jobs wait for approval, and
none for longer than `+"`jobs_engine.approval`"+`. A job that is run again keeps its approval only with the same commit and the same definition.
`, config.MaxRepoJobs, config.Size(config.MaxRepoFile), read(t, "deploy/examples/jobs-in-a-repository.yml"))
	p("\n## What programs are told\n\nThe environment of a program is this, what `env` adds, and nothing else.\n\n%s", program.VariablesDoc())
	return b.String()
}

func ends() string {
	var out []string
	for _, s := range jobs.States {
		if s.Ended() {
			out = append(out, string(s))
		}
	}
	return strings.Join(out, ", ")
}

// writeFields writes a row for each field of a struct that yaml knows.
func writeFields(p func(string, ...any), docs map[string]fieldDoc, typ reflect.Type, prefix string) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, rest, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case rest == "inline":
			writeFields(p, docs, f.Type, prefix)
		case name == "" || name == "-":
		case f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[work.SecretRef]():
			p("| `%s%s` | group | %s |\n", prefix, name, docs[typ.Name()+"."+f.Name].comment)
			writeFields(p, docs, f.Type, prefix+name+".")
		default:
			p("| `%s%s` | %s | %s |\n", prefix, name, form(f.Type), docs[typ.Name()+"."+f.Name].comment)
		}
	}
}

func form(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[work.Duration]():
		return "duration"
	case reflect.TypeFor[work.Size]():
		return "bytes"
	case reflect.TypeFor[work.Share]():
		return "percent"
	case reflect.TypeFor[work.SecretRef]():
		return "`{secret: name}`"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "number"
	case reflect.Slice:
		return "list"
	case reflect.Map:
		return "names and values"
	}
	return "text"
}

// fieldDocs returns the comments of the structs of a package and of their fields, on one line each.
func fieldDocs(t *testing.T, dir string) map[string]fieldDoc {
	t.Helper()
	out := map[string]fieldDoc{}
	sources, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]*ast.File{}
	for _, source := range sources {
		if files[source], err = parser.ParseFile(token.NewFileSet(), source, nil, parser.ParseComments); err != nil {
			t.Fatal(err)
		}
	}
	one := func(groups ...*ast.CommentGroup) string {
		for _, g := range groups {
			if text := strings.Join(strings.Fields(g.Text()), " "); text != "" {
				return strings.ReplaceAll(text, "|", "\\|")
			}
		}
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		ast.Inspect(files[name], func(n ast.Node) bool {
			decl, ok := n.(*ast.GenDecl)
			if !ok {
				return true
			}
			for _, s := range decl.Specs {
				spec, ok := s.(*ast.TypeSpec)
				if !ok {
					continue
				}
				st, ok := spec.Type.(*ast.StructType)
				if !ok {
					continue
				}
				out[spec.Name.Name] = fieldDoc{one(spec.Doc, decl.Doc)}
				for _, f := range st.Fields.List {
					for _, id := range f.Names {
						out[spec.Name.Name+"."+id.Name] = fieldDoc{one(f.Doc, f.Comment)}
					}
				}
			}
			return true
		})
	}
	return out
}

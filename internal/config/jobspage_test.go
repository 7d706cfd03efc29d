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
server is told. Jobs are defined by the operator, in `+"`gitroost.yaml`"+`; nothing that a repository holds defines
one. `+"`gitroost config check`"+` says of each what it would run, and every fault with line and column.

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
| pr | a pull request's event and its commit are both here. Such a job is untrusted: it is given no secrets and runs in a sandbox, or not at all |
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

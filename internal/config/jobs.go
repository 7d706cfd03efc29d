package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
)

// A Job is one entry of jobs: in the file.
type Job struct {
	jobs.Definition
	Work    work.Spec     // what Definition.Spec says, decoded
	Notices []work.Notice // who is told how it ended
	Private bool          // its page and its log are for maintainers and the operator
	Where   string        // "gitroost.yaml:12"

	secrets *token.Token // where it is said which secrets it is given
	targets []*token.Token
}

// maxJobs is how many jobs a file defines at most.
const maxJobs = jobs.MaxDefinitions

// jobList reads jobs:.
func (r *yamlReader) jobList(key *token.Token, n ast.Node) {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		if !absent(n) {
			r.fault(at(n, key), "jobs is a list: begin each job with \"- name: …\"")
		}
		return
	}
	most := maxJobs
	if r.repo != nil {
		most = MaxRepoJobs
	}
	if len(list.Values) > most {
		r.fault(key, "%d jobs are defined; %d are the most", len(list.Values), most)
		return
	}
	names := map[string]*token.Token{}
	for _, item := range list.Values {
		j := jobReader{yamlReader: r, faults: len(r.l.faults)}
		j.read(item)
		if j.name != nil {
			if first, twice := names[j.Name]; twice {
				r.fault(j.name, "two jobs are called %q, the first in line %d: rename one", j.Name, first.Position.Line)
				continue
			}
			names[j.Name] = j.name
		}
		r.l.out.Config.Jobs = append(r.l.out.Config.Jobs, j.Job)
		r.needs = append(r.needs, j.needs...)
	}
	r.after = append(r.after, func() { r.checkJobs(key) })
	for _, need := range r.needs {
		if _, ok := names[need.Value]; !ok {
			r.fault(need, "there is no job %q%s", need.Value, suggest(need.Value, slices.Sorted(maps.Keys(names))))
		}
	}
	if len(r.l.faults) > 0 {
		return
	}
	if _, err := jobs.NewBook(r.l.out.Config.Definitions()); err != nil {
		r.fault(key, "%s", said(err))
	}
}

// Definitions returns the jobs as a jobs.Book takes them.
func (c Config) Definitions() []jobs.Definition {
	out := make([]jobs.Definition, len(c.Jobs))
	for i, j := range c.Jobs {
		out[i] = j.Definition
	}
	return out
}

// said is what a person may read of err.
func said(err error) string {
	text, _ := fault.Message(err)
	return text
}

// A jobReader reads one job.
type jobReader struct {
	*yamlReader
	Job
	faults int // how many there were before
	name   *token.Token
	needs  []*token.Token

	kind     *ast.MappingValueNode   // the key that names the kind
	siblings []*ast.MappingValueNode // keys beside it that may belong to it
}

// A jobKey is an option of a job, and what the reference says of it.
type jobKey struct {
	name, form, doc string
	read            func(key *token.Token, v ast.Node)
}

// table is what a job may say beside its kind.
func (j *jobReader) table() []jobKey {
	return []jobKey{
		{"name", "text", "What the job is called: up to 64 small letters, digits, dots, dashes and underscores. Required.",
			func(k *token.Token, v ast.Node) { j.Name, j.name = j.word(k, v), at(v, k) }},
		{"repos", "list of patterns", "For which repositories: `npub1…/shop`, `npub1…/*`, `*/*`; with `!` in front those that are not meant. Required where programs run or what a repository holds is handed on, because anybody may announce a repository; without it a job is for all.",
			func(k *token.Token, v ast.Node) { j.Repos = j.words(k, v) }},
		{"on", "group", "When it runs, see below. Without it the job runs only when the operator asks for it.", j.on},
		{"needs", "list", "Jobs of the same push that have to end first: `[test]`, or `[{job: test, if: always}]`; `if` is `ok`, `failed` or `always`. If that cannot be any more the job is skipped.", j.need},
		{"concurrency", "group", "`group`: which jobs keep each other waiting; without it the job itself, in its repository and ref. In it `{{.Repo}}`, `{{.Owner}}`, `{{.ID}}`, `{{.Ref}}` and `{{.Job}}` are filled in. `policy`: `queue`, one after the other; `latest`, one runs and the newest waits; `cancel`, the newest ends the one that runs; `all`, no grouping. Sites, checkouts and mirrors are `latest`, what tells others is `all`, the rest `queue`.", j.concurrency},
		{"retry", "group", "`max`: how often it is tried again; `on`: after which faults, `infra`, `timeout`, `exit` or `exit:<code>`, none means all; `backoff`: the first delay and the longest, `5s..1h`, or `steps`: the delays one by one.", j.retry},
		{"timeout", "duration", "How long it may take; also `limits: {time: …}`. Without it `jobs_engine.default_timeout`.",
			func(k *token.Token, v ast.Node) { j.Timeout = j.span(k, v) }},
		{"notify", "group, or a list", "Who is told how it ended: `to`, a list of targets; `on`, a list of `success`, `failure`, `fixed` (a success after a failure), `changed`, `always` and `started`.", j.notice},
		{"explain", "true or false", "Tell who pushes why the job does not run, if it does not.",
			func(k *token.Token, v ast.Node) { j.Explain = j.yes(k, v) }},
		{"private", "true or false", "Its page and its log are for maintainers and the operator.",
			func(k *token.Token, v ast.Node) { j.Private = j.yes(k, v) }},
	}
}

func (j *jobReader) read(n ast.Node) {
	keys := map[string]func(*token.Token, ast.Node){}
	for _, k := range j.table() {
		keys[k.name] = k.read
	}
	notify := keys["notify"] // it is the name of a kind too
	delete(keys, "notify")
	if j.repo != nil {
		keys = repoKeys(keys)
	}
	other := func(v *ast.MappingValueNode) bool {
		if name := v.Key.GetToken(); name.Value == "notify" && j.kindBeside(n) {
			notify(name, v.Value)
			return true
		}
		if _, ok := work.NewSpec(v.Key.GetToken().Value); ok {
			if j.kind != nil {
				j.fault(v.Key.GetToken(), "a job is of one kind, and this one is %s already", j.kind.Key.GetToken().Value)
				return true
			}
			j.kind = v
			return true
		}
		if slices.Contains(work.Beside, v.Key.GetToken().Value) {
			j.siblings = append(j.siblings, v)
			return true
		}
		return false
	}
	names := append(slices.Clone(work.Beside), work.Kinds()...)
	start := j.fields("a job", nil, n, keys, other, names)
	j.Where = j.place(start)
	if len(j.l.faults) > j.faults {
		return
	}
	switch {
	case j.name == nil || j.Name == "":
		j.fault(start, "a job needs a name")
		return
	case j.kind == nil:
		j.fault(j.name, "job %q does not say what it does: it needs one of %s", j.Name, strings.Join(work.Kinds(), ", "))
		return
	}
	j.Kind = j.kind.Key.GetToken().Value
	j.secrets = j.kind.Key.GetToken()
	j.spec()
	if len(j.l.faults) > j.faults {
		return
	}
	if slices.Contains(runsThings, j.Kind) && len(j.Repos) == 0 && j.repo == nil {
		// Anybody may announce a repository, so "all" is something to be said (jobs.md D7).
		j.fault(j.name, "job %q does not say for which repositories: repos: [\"npub1…/shop\"], or repos: [\"*/*\"] for all, strangers' as well", j.Name)
		return
	}
	alone := j.Definition
	alone.Needs = nil
	if _, err := jobs.NewBook([]jobs.Definition{alone}); err != nil {
		j.fault(j.name, "%s", said(err))
	}
}

// runsThings are the kinds that run programs, or hand on what a repository holds.
var runsThings = []string{"exec", "ssh", "checkout", "mirror_push"}

// kindBeside reports whether a job has another kind than notify, so that notify says who is told.
func (j *jobReader) kindBeside(n ast.Node) bool {
	m, ok := n.(*ast.MappingNode)
	return ok && slices.ContainsFunc(m.Values, func(v *ast.MappingValueNode) bool {
		name := v.Key.GetToken().Value
		_, kind := work.NewSpec(name)
		return kind && name != "notify"
	})
}

// notice reads notify: who is told how a job ended; one of them, or a list.
func (j *jobReader) notice(key *token.Token, n ast.Node) {
	items := []ast.Node{n}
	if list, ok := n.(*ast.SequenceNode); ok {
		items = list.Values
	}
	for _, item := range items {
		var one work.Notice
		if !j.decode("notify", key, item, &one) {
			return
		}
		if err := one.Check(); err != nil {
			j.fault(at(item, key), "%s", said(err))
			return
		}
		if _, err := jobs.RefGlobs(one.Repos...); err != nil {
			j.fault(at(item, key), "%s", said(err))
			return
		}
		for range one.To {
			j.targets = append(j.targets, at(item, key))
		}
		j.Notices = append(j.Notices, one)
	}
}

// hasField reports whether what a kind is told has a field of this name.
func hasField(kind, name string) bool {
	return slices.Contains(fieldsOf(kind), name)
}

func fieldsOf(kind string) []string {
	spec, ok := work.NewSpec(kind)
	if !ok {
		return nil
	}
	return fieldNames(reflect.TypeOf(spec).Elem())
}

// fieldNames returns the names that yaml knows of a struct's fields.
func fieldNames(t reflect.Type) []string {
	var out []string
	if t.Kind() != reflect.Struct {
		return nil
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, rest, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case f.Anonymous && name == "" && (rest == "inline" || f.Tag == ""):
			out = append(out, fieldNames(f.Type)...)
		case name != "" && name != "-":
			out = append(out, name)
		}
	}
	return out
}

// spec decodes what the kind is told: the value of its key, and the keys beside it that are fields of
// it as well.
func (j *jobReader) spec() {
	spec, _ := work.NewSpec(j.Kind)
	key := j.kind.Key.GetToken()
	body := ast.Mapping(key, false)
	switch v := j.kind.Value.(type) {
	case *ast.MappingNode:
		body.Values = append(body.Values, v.Values...)
	case *ast.MappingValueNode:
		body.Values = append(body.Values, v)
	case *ast.NullNode:
	default:
		j.fault(at(v, key), "%s is a group of options: %s", j.Kind, strings.Join(fieldsOf(j.Kind), ", "))
		return
	}
	for _, s := range j.siblings {
		name := s.Key.GetToken()
		if !hasField(j.Kind, name.Value) {
			j.fault(name, "a job of kind %s has no option %q", j.Kind, name.Value)
			continue
		}
		body.Values = append(body.Values, s)
	}
	if !j.decode(j.Kind, key, body, spec) {
		return
	}
	if err := spec.Check(); err != nil {
		j.fault(key, "%s: %s", j.Kind, said(err))
		return
	}
	if j.repo != nil {
		if j.limitedTime(spec); len(j.l.faults) > j.faults {
			return
		}
		if j.confine(spec); len(j.l.faults) > j.faults {
			return
		}
	} else if f, ok := spec.(work.Filer); ok {
		for _, path := range f.Files() {
			// Whole, because the job is done by whoever finds it in the queue, wherever that one was started.
			whole, err := filepath.Abs(j.beside(*path))
			if err != nil {
				j.fault(key, "%s: %s: %v", j.Kind, *path, err)
				return
			}
			*path = whole
		}
	}
	text, err := json.Marshal(spec)
	if err != nil {
		j.fault(key, "%s: %v", j.Kind, err)
		return
	}
	j.limitedTime(spec)
	j.Work, j.Spec = spec, text
}

// limitedTime makes limits.time the time limit of the job too.
func (j *jobReader) limitedTime(spec work.Spec) {
	text, err := json.Marshal(spec)
	if err != nil {
		return // it is said where it is written down
	}
	var limits struct {
		Limits struct {
			Time work.Duration `json:"time"`
		} `json:"limits"`
	}
	if err := json.Unmarshal(text, &limits); err == nil && j.Timeout == 0 {
		j.Timeout = time.Duration(limits.Limits.Time)
	}
}

// decode reads a mapping into a struct with tags for yaml, strictly, and reports whether it could.
func (r *yamlReader) decode(what string, key *token.Token, n ast.Node, into any) bool {
	before := len(r.l.faults)
	if r.plainYAML(n); len(r.l.faults) > before {
		return false
	}
	err := decodeNode(n, into)
	if err == nil {
		return true
	}
	var y yaml.Error
	if !errors.As(err, &y) || y.GetToken() == nil {
		r.fault(at(n, key), "%s: %s", what, said(err))
		return false
	}
	t, hint := y.GetToken(), ""
	if strings.Contains(y.GetMessage(), "unknown field") {
		hint = suggest(t.Value, fieldNames(reflect.TypeOf(into).Elem()))
	}
	r.fault(t, "%s: %s%s", what, y.GetMessage(), hint)
	return false
}

// decodeNode keeps a decoder that stumbles over odd input from taking the program along.
func decodeNode(n ast.Node, v any) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("cannot be read: %v", p)
		}
	}()
	return yaml.NodeToValue(n, v, yaml.Strict())
}

// on reads when a job runs.
func (j *jobReader) on(key *token.Token, n ast.Node) {
	when := func(into **jobs.When, also map[string]func(*token.Token, ast.Node)) func(*token.Token, ast.Node) {
		return func(k *token.Token, v ast.Node) { *into = j.when(k, v, also) }
	}
	o := &j.On
	head := map[string]func(*token.Token, ast.Node){"head": nil}
	j.fields("on", key, n, map[string]func(*token.Token, ast.Node){
		"push":   when(&o.Push, nil),
		"state":  when(&o.State, head),
		"sync":   when(&o.Sync, nil),
		"mirror": when(&o.Mirror, nil),
		"tag":    when(&o.Tag, nil),
		"pr": when(&o.Pull, map[string]func(*token.Token, ast.Node){
			"require_approval": nil,
			"sandbox": func(k *token.Token, v ast.Node) {
				if s := j.word(k, v); s != "untrusted" && s != "" {
					j.fault(at(v, k), "what pull requests bring is always untrusted; leave sandbox out, or write untrusted")
				}
			},
		}),
		"schedule": func(k *token.Token, v ast.Node) {
			o.Schedule = j.word(k, v)
			if _, err := jobs.ParseCron(o.Schedule); err != nil {
				j.fault(at(v, k), "%s", said(err))
			}
		},
		"manual": func(k *token.Token, v ast.Node) { o.Manual = j.yes(k, v) },
		"job": func(k *token.Token, v ast.Node) {
			o.Job = &jobs.AfterJobs{}
			j.fields("on.job", k, v, map[string]func(*token.Token, ast.Node){
				"jobs": func(k *token.Token, v ast.Node) {
					o.Job.Jobs = j.words(k, v)
					j.needs = append(j.needs, tokens(v)...)
				},
				"results": func(k *token.Token, v ast.Node) {
					for _, s := range j.words(k, v) {
						o.Job.Results = append(o.Job.Results, jobs.State(s))
					}
				},
			}, nil, nil)
		},
	}, nil, nil)
}

func (j *jobReader) when(key *token.Token, n ast.Node, also map[string]func(*token.Token, ast.Node)) *jobs.When {
	w := &jobs.When{}
	globs := func(into *[]string, check func(...string) (jobs.Globs, error)) func(*token.Token, ast.Node) {
		return func(k *token.Token, v ast.Node) {
			*into = j.words(k, v)
			if _, err := check(*into...); err != nil {
				j.fault(at(v, k), "%s", said(err))
			}
		}
	}
	keys := map[string]func(*token.Token, ast.Node){
		"refs":    globs(&w.Refs, jobs.RefGlobs),
		"paths":   globs(&w.Paths, jobs.PathGlobs),
		"skip_ci": func(k *token.Token, v ast.Node) { w.SkipCI = j.yes(k, v) },
		"deleted": func(k *token.Token, v ast.Node) { w.Deleted = j.yes(k, v) },
	}
	for name, f := range also {
		switch {
		case f != nil:
		case name == "head":
			f = func(k *token.Token, v ast.Node) { w.Head = j.yes(k, v) }
		default:
			f = func(k *token.Token, v ast.Node) { w.Approve = j.yes(k, v) }
		}
		keys[name] = f
	}
	j.fields("on."+key.Value, key, n, keys, nil, nil)
	return w
}

// need reads needs: [test], or needs: [{job: test, if: always}].
func (j *jobReader) need(key *token.Token, n ast.Node) {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		j.fault(at(n, key), "needs is a list of jobs: [test], or [{job: test, if: always}]")
		return
	}
	for _, item := range list.Values {
		var need jobs.Need
		if s, ok := scalar(item); ok {
			need.Job = s
			j.needs = append(j.needs, item.GetToken())
		} else {
			j.fields("needs", key, item, map[string]func(*token.Token, ast.Node){
				"job": func(k *token.Token, v ast.Node) {
					need.Job = j.word(k, v)
					j.needs = append(j.needs, at(v, k))
				},
				"if": func(k *token.Token, v ast.Node) {
					need.If = jobs.Condition(j.oneOf(k, v, "ok", "failed", "always"))
				},
			}, nil, nil)
		}
		j.Needs = append(j.Needs, need)
	}
}

// retry reads how often and when a job that failed is tried again.
func (j *jobReader) retry(key *token.Token, n ast.Node) {
	var again jobs.Retry
	j.fields("retry", key, n, map[string]func(*token.Token, ast.Node){
		"max": func(k *token.Token, v ast.Node) { again.Max = j.number(k, v, 0, 100) },
		"on":  func(k *token.Token, v ast.Node) { again.On = j.words(k, v) },
		"backoff": func(k *token.Token, v ast.Node) {
			from, to, ranged := strings.Cut(j.word(k, v), "..")
			var err, err2 error
			again.Base, err = ParseDuration(from)
			if ranged {
				again.Cap, err2 = ParseDuration(to)
			}
			if err = errors.Join(err, err2); err != nil {
				j.fault(at(v, k), "backoff is a delay such as 5s, or the first and the longest: 5s..1h")
			}
		},
		"steps": func(k *token.Token, v ast.Node) {
			list, ok := v.(*ast.SequenceNode)
			if !ok {
				j.fault(at(v, k), "steps is a list of delays: [5s, 5m, 1h]")
				return
			}
			for _, item := range list.Values {
				again.Steps = append(again.Steps, j.span(k, item))
			}
		},
	}, nil, nil)
	if err := again.Check(); err != nil {
		j.fault(key, "%s", said(err))
	}
	j.Retry = &again
}

// concurrency reads which jobs are one group, and what becomes of several of one.
func (j *jobReader) concurrency(key *token.Token, n ast.Node) {
	j.fields("concurrency", key, n, map[string]func(*token.Token, ast.Node){
		"group": func(k *token.Token, v ast.Node) { j.Group = j.word(k, v) },
		"policy": func(k *token.Token, v ast.Node) {
			j.Policy = jobs.Policy(j.oneOf(k, v, string(jobs.Latest), string(jobs.InTurn), string(jobs.Cancel), string(jobs.All)))
		},
	}, nil, nil)
}

// span reads a duration.
func (r *yamlReader) span(k *token.Token, v ast.Node) time.Duration {
	d, err := ParseDuration(r.word(k, v))
	if err != nil {
		r.fault(at(v, k), "%s %s", k.Value, err)
	}
	return d
}

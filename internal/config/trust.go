package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
)

// A Trust is a row of trust: of which repositories the file RepoFile is heeded, and what the jobs that it
// defines may do (jobs.md 3.2). Without one nothing that a repository holds defines a job.
type Trust struct {
	Match   []string    // patterns "npub/identifier", each of them of one key
	Allow   []string    // kinds, of TrustedKinds
	Secrets []string    // those that the jobs may name, for the repositories and refs that they are bound to
	Targets []string    // likewise
	Network bool        // programs may reach others
	Approve bool        // each job waits until the operator approves of it
	Request bool        // a maintainer has to have asked for it, in an event of kind 9843; true if nothing is said
	Limits  work.Limits // the most that a job may ask for, and what one has that asks for nothing
	Budget  jobs.Usage  // of an owner in 24 hours; zero fields are not bounded
	Where   string      // "gitroost.yaml:12"

	globs jobs.Globs
}

// TrustedKinds are the kinds of jobs that a repository's own file may define, if the operator says so.
var TrustedKinds = []string{"checkout", "exec", "mirror_push", "notify", "site", "webhook"}

// TrustOf returns the first row that a repository fits; false if none does. A contributor's box fits none.
func (c Config) TrustOf(repo grasp.Addr) (Trust, bool) {
	if repo.Box {
		return Trust{}, false
	}
	name := jobs.RepoName(repo)
	for _, t := range c.Trust {
		if t.globs.Match(name) {
			return t, true
		}
	}
	return Trust{}, false
}

// Gives reports whether jobs of the row may name a secret.
func (t Trust) Gives(secret string) bool { return slices.Contains(t.Secrets, secret) }

// A trustKey is an option of a row of trust, and what the reference says of it.
type trustKey struct {
	name, form, doc string
	read            func(key *token.Token, v ast.Node)
}

func (t *Trust) table(r *yamlReader) []trustKey {
	budget := func(k *token.Token, v ast.Node) { t.Budget = r.budget(k, v) }
	return []trustKey{
		{"match", "list of patterns", "Which repositories: `npub1…/*`, `npub1…/shop`, or a key alone for all of its repositories; with `!` in front those that are not meant. Required. Of several rows the first that fits holds.",
			func(k *token.Token, v ast.Node) { t.Match = r.trusted(k, v) }},
		{"allow", "list", "Which kinds of jobs the file may define: " + strings.Join(TrustedKinds, ", ") + ". Required; exec and the check and after of a checkout run programs, always in a sandbox.",
			func(k *token.Token, v ast.Node) { t.Allow = r.among(k, v, TrustedKinds) }},
		{"secrets", "list", "Which of `secrets` its jobs may name. Each still holds for the repositories and refs alone that it is bound to.",
			func(k *token.Token, v ast.Node) { t.Secrets = r.words(k, v) }},
		{"targets", "list", "Which of `targets` its jobs may tell something.",
			func(k *token.Token, v ast.Node) { t.Targets = r.words(k, v) }},
		{"network", "true or false", "Whether its programs may reach others. Without it they cannot.",
			func(k *token.Token, v ast.Node) { t.Network = r.yes(k, v) }},
		{"require_approval", "true or false", "Each job waits until the operator approves of it: `gitroost jobs approve <id>`.",
			func(k *token.Token, v ast.Node) { t.Approve = r.yes(k, v) }},
		{"service_request", "true or false", "Whether a maintainer has to have asked this server for jobs, in an event of kind 9843 that no later one of kind 9844 takes back. True if nothing is said.",
			func(k *token.Token, v ast.Node) { t.Request = r.yes(k, v) }},
		{"limits", "group", "The most that a job may ask for, and what one gets that asks for nothing: `cpu`, `memory`, `tasks`, `disk` and `time` as in a job. Without `time` it is `jobs_engine.default_timeout`. What cannot be enforced on this machine keeps the job from beginning.",
			func(k *token.Token, v ast.Node) { r.limits(k, v, &t.Limits) }},
		{"budget", "group", "What the jobs of one owner may use in a day, in place of `jobs_engine.owner_cpu` and `owner_wall`: `{cpu: 30m, wall: 4h, log: 50MiB}`.", budget},
	}
}

// TrustOptions returns what a row of trust may say: name, form, and what it is for.
func TrustOptions() [][3]string {
	var out [][3]string
	for _, k := range new(Trust).table(nil) {
		out = append(out, [3]string{k.name, k.form, k.doc})
	}
	return out
}

// maxTrust is how many rows trust has at most.
const maxTrust = 1000

// trust reads trust:.
func (r *yamlReader) trust(key *token.Token, n ast.Node) {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		if !absent(n) {
			r.fault(at(n, key), "trust is a list: begin each row with \"- match: [npub1…/*]\"")
		}
		return
	}
	if len(list.Values) > maxTrust {
		r.fault(key, "trust has %d rows; %d are the most", len(list.Values), maxTrust)
		return
	}
	for _, item := range list.Values {
		t := Trust{Request: true}
		keys := map[string]func(*token.Token, ast.Node){}
		for _, k := range t.table(r) {
			keys[k.name] = k.read
		}
		before := len(r.l.faults)
		start := r.fields("a row of trust", key, item, keys, nil, nil)
		if len(r.l.faults) > before {
			continue
		}
		t.Where = r.place(start)
		var err error
		switch t.globs, err = jobs.RefGlobs(t.Match...); {
		case err != nil:
			r.fault(start, "%s", said(err))
		case len(t.Match) == 0:
			r.fault(start, "a row of trust says which repositories: match: [\"npub1…/*\"]")
		case len(t.Allow) == 0:
			r.fault(start, "a row of trust says which kinds of jobs: allow: [site], of %s", strings.Join(TrustedKinds, ", "))
		default:
			r.l.out.Config.Trust = append(r.l.out.Config.Trust, t)
			r.after = append(r.after, func() { r.checkTrust(start, t) })
		}
	}
}

// trusted reads patterns of repositories, each of which names the key that is trusted: anybody may announce a
// repository, so that there is nobody whom a pattern without a key would not mean (D7).
func (r *yamlReader) trusted(k *token.Token, v ast.Node) []string {
	out := r.words(k, v)
	where, before := tokens(v), len(r.l.faults)
	allowed := false
	for i, p := range out {
		at := where[i]
		body, not := strings.CutPrefix(p, "!")
		npub, id, split := strings.Cut(body, "/")
		if strings.HasPrefix(body, "nip05:") {
			r.fault(at, "%.80q: names of a domain are not looked up; name the keys: npub1…/*", p)
			continue
		}
		if _, err := grasp.ParseNpub(npub); err != nil || split && id == "" {
			r.fault(at, "%.80q does not name the key that is trusted: npub1…/*, or npub1…/shop", p)
			continue
		}
		if !split {
			out[i] += "/*"
		}
		allowed = allowed || !not
	}
	if len(out) > 0 && !allowed && len(r.l.faults) == before {
		r.fault(k, "match: somebody has to be meant, not only taken away")
	}
	return out
}

// among reads a list of words of a fixed list.
func (r *yamlReader) among(k *token.Token, v ast.Node, all []string) []string {
	out := r.words(k, v)
	for i, w := range out {
		if !slices.Contains(all, w) {
			r.fault(tokens(v)[i], "%s: %.40q is none of %s%s", k.Value, w, strings.Join(all, ", "), suggest(w, all))
		}
	}
	return out
}

// limits reads limits of a job.
func (r *yamlReader) limits(k *token.Token, v ast.Node, into *work.Limits) {
	if !r.decode("limits", k, v, into) {
		return
	}
	if err := into.Check(); err != nil {
		r.fault(at(v, k), "%s", said(err))
	}
}

// budget reads what may be used in a day; "30m/day" and "30m" are the same.
func (r *yamlReader) budget(k *token.Token, v ast.Node) (u jobs.Usage) {
	daily := func(k *token.Token, v ast.Node) string { return strings.TrimSuffix(r.word(k, v), "/day") }
	span := func(into *time.Duration) func(*token.Token, ast.Node) {
		return func(k *token.Token, v ast.Node) {
			d, err := ParseDuration(daily(k, v))
			if err != nil {
				r.fault(at(v, k), "%s %s", k.Value, err)
			}
			*into = d
		}
	}
	r.fields("budget", k, v, map[string]func(*token.Token, ast.Node){
		"cpu": span(&u.CPU), "wall": span(&u.Wall),
		"log": func(k *token.Token, v ast.Node) {
			n, err := ParseSize(daily(k, v))
			if err != nil {
				r.fault(at(v, k), "%s %s", k.Value, err)
			}
			u.LogBytes = n
		},
	}, nil, nil)
	return u
}

// checkTrust looks at what a row names elsewhere in the file.
func (r *yamlReader) checkTrust(at *token.Token, t Trust) {
	c := &r.l.out.Config
	for _, name := range t.Secrets {
		if r.knownSecret(at, name) && len(c.Secrets[name].Repos) == 0 {
			r.fault(at, "secret %s is for targets alone: say under secrets for which repositories it is: %[1]s: {…, repos: [\"npub1…/shop\"]}", name)
		}
	}
	for _, name := range t.Targets {
		r.knownTarget(at, name)
	}
}

// DescribeTrust returns what a row of trust means, for the operator who checks it: one line, and below it
// what its jobs may have.
func (c Config) DescribeTrust(t Trust) []string {
	out := []string{fmt.Sprintf("trust %s: jobs of kind %s, as %s of the default branch says", strings.Join(t.Match, ", "), strings.Join(t.Allow, ", "), RepoFile)}
	add := func(format string, args ...any) { out = append(out, "  "+fmt.Sprintf(format, args...)) }
	if t.Request {
		add("asked for  by a maintainer's event of kind 9843")
	} else {
		add("asked for  by this row alone: no event of a maintainer is needed")
	}
	if t.Approve {
		add("begins     when the operator approves of each job")
	}
	if slices.Contains(t.Allow, "exec") {
		net := "no network"
		if t.Network {
			net = "with a network"
		}
		add("sandbox    %s, %s", c.Engine.Untrusted, net)
	}
	l := c.ceiling(t)
	most := []string{"time " + Duration(time.Duration(l.Time))}
	for name, s := range map[string]string{"cpu": sized(l.CPU > 0, l.CPU), "memory": sized(l.Memory > 0, l.Memory), "tasks": sized(l.Tasks > 0, l.Tasks), "disk": sized(l.Disk > 0, l.Disk)} {
		if s != "" {
			most = append(most, name+" "+s)
		}
	}
	slices.Sort(most)
	add("at most    %s", strings.Join(most, ", "))
	b := map[string]string{"processor time": sized(t.Budget.CPU > 0, Duration(t.Budget.CPU)), "time": sized(t.Budget.Wall > 0, Duration(t.Budget.Wall)), "logs": sized(t.Budget.LogBytes > 0, Size(t.Budget.LogBytes))}
	var a []string
	for _, name := range slices.Sorted(maps.Keys(b)) {
		if b[name] != "" {
			a = append(a, b[name]+" of "+name)
		}
	}
	if len(a) > 0 {
		add("a day      %s", strings.Join(a, ", "))
	}
	if len(t.Secrets) > 0 {
		add("secrets    %s", strings.Join(t.Secrets, ", "))
	}
	if len(t.Targets) > 0 {
		add("tells      %s", strings.Join(t.Targets, ", "))
	}
	return out
}

func sized(set bool, v any) string {
	if !set {
		return ""
	}
	return fmt.Sprint(v)
}

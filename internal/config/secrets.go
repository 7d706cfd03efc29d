package config

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
)

// A SecretSource is a row of secrets: where a secret comes from, and which jobs may have it. The secret
// itself is nowhere in a Config (S0-08).
type SecretSource struct {
	work.SecretRef          // File, Env or Credential
	Repos          []string // patterns; without any no job is given it, but targets may name it
	Refs           []string // patterns; none means branches and tags
	Where          string   // "gitroost.yaml:12"
}

// For reports whether a job may be given the secret: its repository and ref have to fit, and nothing
// that a pull request brought ever does.
func (s SecretSource) For(j jobs.Job) bool {
	if j.Class == jobs.Untrusted || j.Trigger == jobs.OnPull || j.Ref.IsNostr() || j.Repo.Box || len(s.Repos) == 0 {
		return false
	}
	repos, err := jobs.RefGlobs(s.Repos...)
	if err != nil || !repos.Match(jobs.RepoName(j.Repo)) {
		return false
	}
	list := s.Refs
	if len(list) == 0 {
		list = []string{"refs/heads/*", "refs/tags/*"}
		if j.Ref == "" {
			return true // it concerns no ref, and none was asked for
		}
	}
	refs, err := jobs.RefGlobs(list...)
	return err == nil && refs.Match(string(j.Ref))
}

// secretList reads secrets:.
func (r *yamlReader) secretList(key *token.Token, n ast.Node) {
	r.named("secrets", key, n, func(name *token.Token, v ast.Node) {
		if _, literal := scalar(v); literal && !absent(v) {
			r.fault(name, "a secret is not written into the configuration; say where it is: %s: {file: secrets/%[1]s}, {env: NAME} or {credential: name}", name.Value)
			return
		}
		s := SecretSource{Where: r.place(name)}
		globs := func(into *[]string) func(*token.Token, ast.Node) {
			return func(k *token.Token, v ast.Node) {
				*into = r.words(k, v)
				if _, err := jobs.RefGlobs(*into...); err != nil {
					r.fault(at(v, k), "%s", said(err))
				}
			}
		}
		word := func(into *string) func(*token.Token, ast.Node) {
			return func(k *token.Token, v ast.Node) { *into = r.word(k, v) }
		}
		before := len(r.l.faults)
		r.fields("a secret", name, v, map[string]func(*token.Token, ast.Node){
			"file": word(&s.File), "env": word(&s.Env), "credential": word(&s.Credential),
			"repos": globs(&s.Repos), "refs": globs(&s.Refs),
		}, nil, nil)
		if len(r.l.faults) > before {
			return
		}
		if s.SecretRef.IsZero() {
			r.fault(name, "secret %s: one of file, env and credential says where it is", name.Value)
		} else if err := s.SecretRef.Check("secret "+name.Value, false); err != nil {
			r.fault(name, "%s", said(err))
		}
		s.File = r.beside(s.File)
		if r.l.out.Config.Secrets == nil {
			r.l.out.Config.Secrets = map[string]SecretSource{}
		}
		r.l.out.Config.Secrets[name.Value] = s
	})
}

// beside returns a path as it is meant in the file: a relative one is below the folder of the file.
func (r *yamlReader) beside(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(r.name), path)
}

// targetList reads targets:.
func (r *yamlReader) targetList(key *token.Token, n ast.Node) {
	r.named("targets", key, n, func(name *token.Token, v ast.Node) {
		if t := r.literalSecret(v); t != nil {
			r.fault(t, "%s: a secret is not written into the configuration; name one: {secret: name}, {file: …}, {env: …} or {credential: …}", t.Value)
			return
		}
		var t work.Target
		if !r.decode("target "+name.Value, name, v, &t) {
			return
		}
		if err := t.Check(); err != nil {
			r.fault(name, "target %s: %s", name.Value, said(err))
			return
		}
		for _, ref := range t.Refs() {
			if ref.Secret != "" {
				r.after = append(r.after, func() { r.knownSecret(name, ref.Secret) })
			}
			ref.File = r.beside(ref.File)
		}
		if r.l.out.Config.Targets == nil {
			r.l.out.Config.Targets = map[string]work.Target{}
		}
		r.l.out.Config.Targets[name.Value] = t
	})
}

// secretFields are the options that say which secret is meant.
var secretFields = []string{"token", "secret", "old_secret", "url_from", "key", "password"}

// literalSecret returns the key of an option that should name a secret and holds a plain value.
func (r *yamlReader) literalSecret(n ast.Node) *token.Token {
	m, ok := n.(*ast.MappingNode)
	if !ok {
		return nil
	}
	for _, v := range m.Values {
		if _, literal := scalar(v.Value); literal && slices.Contains(secretFields, v.Key.GetToken().Value) {
			return v.Key.GetToken()
		}
	}
	return nil
}

// named reads a mapping of names to groups.
func (r *yamlReader) named(what string, key *token.Token, n ast.Node, each func(name *token.Token, v ast.Node)) {
	r.fields(what, key, n, nil, func(v *ast.MappingValueNode) bool {
		name := v.Key.GetToken()
		if !plainName(name.Value) {
			r.fault(name, "%.80q is not a name: up to 64 letters, digits, dots, dashes and underscores, a letter or digit first", name.Value)
			return true
		}
		each(name, v.Value)
		return true
	}, nil)
}

func plainName(s string) bool {
	letter := func(c rune) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' }
	return s != "" && len(s) <= 64 && letter(rune(s[0])) &&
		!strings.ContainsFunc(s, func(c rune) bool { return !letter(c) && c != '.' && c != '-' && c != '_' })
}

// checkJobs looks at what jobs name elsewhere in the file.
func (r *yamlReader) checkJobs(key *token.Token) {
	c := &r.l.out.Config
	for _, j := range c.Jobs {
		if j.Work == nil {
			continue
		}
		for _, name := range j.Work.Secrets() {
			if !r.knownSecret(j.secrets, name) {
				continue
			}
			if len(c.Secrets[name].Repos) == 0 {
				r.fault(j.secrets, "job %s is given the secret %s, which no job may have: say under secrets for which repositories it is: %[2]s: {…, repos: [\"npub1…/shop\"]}", j.Name, name)
			}
		}
		var to []string
		for _, n := range j.Notices {
			to = append(to, n.To...)
		}
		for i, name := range to {
			r.knownTarget(j.targets[i], name)
		}
		switch w := j.Work.(type) {
		case *work.Webhook:
			r.knownTarget(j.secrets, w.To)
		case *work.Trigger:
			r.knownTarget(j.secrets, w.To)
		case *work.Notify:
			for _, name := range w.To {
				r.knownTarget(j.secrets, name)
			}
		}
	}
}

func (r *yamlReader) knownSecret(at *token.Token, name string) bool {
	_, ok := r.l.out.Config.Secrets[name]
	if !ok {
		r.fault(at, "there is no secret %q%s", name, suggest(name, slices.Sorted(maps.Keys(r.l.out.Config.Secrets))))
	}
	return ok
}

func (r *yamlReader) knownTarget(at *token.Token, name string) {
	if _, ok := r.l.out.Config.Targets[name]; !ok && name != "" {
		r.fault(at, "there is no target %q%s", name, suggest(name, slices.Sorted(maps.Keys(r.l.out.Config.Targets))))
	}
}

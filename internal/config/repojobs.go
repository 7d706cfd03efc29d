package config

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
)

// RepoFile is where a repository defines jobs of its own, in the tree of its default branch.
const RepoFile = ".grasp/jobs.yml"

// Limits of RepoFile: its size in bytes, and how many jobs it defines. A faulty one has at most so many faults
// that are told.
const (
	MaxRepoFile   = 64 << 10
	MaxRepoJobs   = 50
	maxRepoFaults = 20
)

// RepoJobs reads a repository's own file by the rules of jobs: in the configuration, limited to what t lets the
// repository have (jobs.md 3.3): it says nothing of repositories, defines no secrets, names no absolute paths and
// reaches no host by ssh, and its jobs are of the class trusted. taken reports whether a name is that of a job
// of the configuration. What is wrong is a Faults, which bears the file's name, lines and columns.
func (c Config) RepoJobs(t Trust, data []byte, taken func(name string) bool) ([]Job, error) {
	l := &loader{names: map[string]*Setting{}}
	r := &yamlReader{l: l, name: RepoFile, seen: map[string]int{}, repo: &repoRules{Trust: t, most: c.ceiling(t), taken: taken}}
	l.out.Config.Secrets, l.out.Config.Targets = map[string]SecretSource{}, map[string]work.Target{}
	for _, name := range t.Secrets {
		if s, ok := c.Secrets[name]; ok {
			l.out.Config.Secrets[name] = s
		}
	}
	for _, name := range t.Targets {
		if to, ok := c.Targets[name]; ok {
			l.out.Config.Targets[name] = to
		}
	}
	r.repoFile(data)
	if len(l.faults) > 0 {
		return nil, l.faults[:min(len(l.faults), maxRepoFaults)]
	}
	return l.out.Config.Jobs, nil
}

// ceiling returns the most that a job of t may ask for.
func (c Config) ceiling(t Trust) work.Limits {
	most := t.Limits
	most.Time = cmp.Or(most.Time, work.Duration(cmp.Or(c.Engine.Timeout, 10*time.Minute)))
	return most
}

// repoRules is what a repository's own file is held to. It is nil while the configuration is read.
type repoRules struct {
	Trust
	most  work.Limits
	taken func(name string) bool
}

func (r *yamlReader) repoFile(data []byte) {
	file := r.parse(data, MaxRepoFile, "that is more than a list of jobs needs")
	if file == nil {
		return
	}
	if len(file.Docs) > 1 {
		r.l.fault(r.name, "holds several documents; only one is read")
		return
	}
	for _, doc := range file.Docs {
		if _, comment := doc.Body.(*ast.CommentGroupNode); doc.Body == nil || comment {
			continue
		}
		r.fields("the file", nil, doc.Body, map[string]func(*token.Token, ast.Node){
			"version": func(k *token.Token, v ast.Node) { r.number(k, v, 1, 1) },
			"jobs":    r.jobList,
		}, nil, nil)
	}
	for _, look := range r.after {
		look()
	}
}

// confine holds a job of a repository's own file to what the repository may have, and gives it what it asks
// for in no words. It is called before the job's description is written down.
func (j *jobReader) confine(spec work.Spec) {
	rules, key := j.repo, j.kind.Key.GetToken()
	no := func(format string, args ...any) { j.fault(key, "%s: %s", j.Kind, fmt.Sprintf(format, args...)) }
	if !slices.Contains(rules.Allow, j.Kind) {
		j.fault(key, "this server lets the repository have jobs of the kinds %s; %s is none of them", strings.Join(rules.Allow, ", "), j.Kind)
		return
	}
	if j.repo.taken(j.Name) {
		j.fault(j.name, "the operator of this server has a job called %q; take another name", j.Name)
	}
	if j.On.Pull != nil {
		j.fault(key, "on: pr: what pull requests start is the operator's to define")
	}
	for _, n := range j.Notices {
		if n.Title != "" || n.Body != "" {
			no("notify: title and message are the operator's to write")
		}
	}
	switch s := spec.(type) {
	case *work.Exec:
		j.confineExec(s, no)
	case *work.Site:
		if s.Publish.To != "" || s.Publish.Mode != "" || s.Publish.Group != "" {
			no("publish: to, mode and group are the operator's to say")
		}
		j.atMost(no, &s.Limits)
		s.MaxBytes = j.smaller(no, "max_bytes", s.MaxBytes, 1<<30)
		j.count(no, "commits", s.Commits, 5000)
		j.count(no, "files", s.Files, 20_000)
	case *work.Checkout:
		j.confineCheckout(s, no)
	case *work.Webhook:
		if s.Format == work.Template || s.Template != "" {
			no("template: is the operator's to write; there are the formats github, gitea and cloudevents")
		}
	case *work.Notify:
		if s.Title != "" || s.Body != "" {
			no("title and message are the operator's to write")
		}
	case *work.MirrorPush:
		if remote, err := work.ParseRemote(s.URL); err != nil || remote.Scheme != "https" && remote.Scheme != "http" {
			no("url: a repository reaches no other host by ssh; https: is there")
		}
		s.Timeout = j.sooner(no, "timeout", s.Timeout)
	}
	if len(j.l.faults) > j.faults {
		return
	}
	most := time.Duration(rules.most.Time)
	if j.Timeout > most {
		no("timeout: %s is longer than the %s that this server gives the repository's jobs", Duration(j.Timeout), Duration(most))
	}
	if j.Timeout == 0 {
		j.Timeout = most
	}
	j.Class, j.Approve, j.Budget = jobs.Trusted, rules.Approve, rules.Budget
}

// confineExec refuses what is the operator's to say of a program.
func (j *jobReader) confineExec(e *work.Exec, no func(string, ...any)) {
	switch {
	case !slices.Contains(j.repo.Allow, "exec"):
		no("this server runs no programs for the repository")
	case e.RunAs != "":
		no("run_as: is the operator's to say")
	case e.Sandbox != "":
		no("sandbox: is the operator's to say; there always is one")
	case e.Network && !j.repo.Network:
		no("network: this server gives the repository's programs none")
	case filepath.IsAbs(e.Run[0]) && !inSandbox(e.Run[0]):
		no("run: %.80q: a program is one of PATH, or of the repository: ./build.sh", e.Run[0])
	case !filepath.IsAbs(e.Run[0]) && !filepath.IsLocal(e.Run[0]):
		no("run: %.80q leads out of the repository", e.Run[0])
	}
	j.atMost(no, &e.Limits)
}

// inSandbox reports whether a program is where every sandbox has it.
func inSandbox(path string) bool {
	return filepath.Clean(path) == path && slices.ContainsFunc([]string{"/usr/", "/bin/"}, func(dir string) bool { return strings.HasPrefix(path, dir) })
}

func (j *jobReader) confineCheckout(c *work.Checkout, no func(string, ...any)) {
	if filepath.IsAbs(c.Target()) || filepath.IsAbs(c.TouchFile) || filepath.IsAbs(c.ErrorFile) {
		no("to: a repository publishes into its own folder: a name without a slash in front")
	}
	if c.Publish.Mode != "" || c.Publish.Group != "" {
		no("publish: mode and group are the operator's to say")
	}
	if c.Symlinks == work.LinksKeep {
		no("symlinks: keep is the operator's to say; inside and skip are there")
	}
	if strings.HasPrefix(c.Ref, "refs/nostr") {
		no("ref: what is proposed is not published")
	}
	if c.Sandbox != "" {
		no("sandbox: is the operator's to say; there always is one")
	}
	if len(c.Gate) > 0 {
		// Its limits are those of the whole job, which come below.
		j.confineExec(&work.Exec{Run: c.Gate}, no)
	}
	for i := range c.After {
		if e := c.After[i].Exec; e != nil {
			j.confineExec(e, no)
		} else {
			no("after: a repository reaches no other host by ssh")
		}
	}
	j.atMost(no, &c.Limits)
	c.MaxBytes = j.smaller(no, "max_bytes", c.MaxBytes, 2<<30)
	j.count(no, "max_files", c.MaxFiles, 200_000)
	if count, d := c.Kept(); count > 10 || d > 7*day {
		no("keep: at most 10 generations, for at most a week")
	}
}

// atMost gives limits that ask for nothing what there is, and refuses those that ask for more.
func (j *jobReader) atMost(no func(string, ...any), l *work.Limits) {
	most := j.repo.most
	over := func(name string, asked, given any) {
		no("limits: %s: %v is more than the %v that this server gives the repository's jobs", name, asked, given)
	}
	if most.CPU > 0 && l.CPU > most.CPU {
		over("cpu", l.CPU, most.CPU)
	}
	if most.Memory > 0 && l.Memory > most.Memory {
		over("memory", l.Memory, most.Memory)
	}
	if most.Tasks > 0 && l.Tasks > most.Tasks {
		over("tasks", l.Tasks, most.Tasks)
	}
	if most.Disk > 0 && l.Disk > most.Disk {
		over("disk", l.Disk, most.Disk)
	}
	if l.Time > most.Time {
		over("time", l.Time, most.Time)
	}
	*l = work.Limits{
		CPU: cmp.Or(l.CPU, most.CPU), Memory: cmp.Or(l.Memory, most.Memory), Tasks: cmp.Or(l.Tasks, most.Tasks),
		Disk: cmp.Or(l.Disk, most.Disk), Time: cmp.Or(l.Time, most.Time),
	}
}

// smaller returns a size that asks for no more than limits.disk, or than usual.
func (j *jobReader) smaller(no func(string, ...any), name string, asked, usual work.Size) work.Size {
	most := cmp.Or(j.repo.most.Disk, usual)
	if asked > most {
		no("%s: %s is more than the %s that this server gives the repository's jobs", name, asked, most)
	}
	return cmp.Or(asked, min(usual, most))
}

func (j *jobReader) count(no func(string, ...any), name string, asked, most int) {
	if asked > most {
		no("%s: %d is more than the %d that this server gives the repository's jobs", name, asked, most)
	}
}

// sooner returns a time that is no longer than that of the whole job.
func (j *jobReader) sooner(no func(string, ...any), name string, asked work.Duration) work.Duration {
	if asked > j.repo.most.Time {
		no("%s: %s is longer than the %s that this server gives the repository's jobs", name, Duration(time.Duration(asked)), Duration(time.Duration(j.repo.most.Time)))
	}
	return cmp.Or(asked, j.repo.most.Time)
}

// repoKeys takes from the options of a job those that a repository's own file does not have.
func repoKeys(keys map[string]func(*token.Token, ast.Node)) map[string]func(*token.Token, ast.Node) {
	keys = maps.Clone(keys)
	delete(keys, "repos")
	return keys
}

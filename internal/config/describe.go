package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
)

// Describe returns what a job would do, for the operator who checks it: one line, and below it what it
// runs, where and with which secrets. No secret is in it.
func (c Config) Describe(j Job) []string {
	out := []string{fmt.Sprintf("job %s: %s, for %s, on %s", j.Name, j.Kind, orAll(j.Repos), strings.Join(triggers(j.On), ", "))}
	add := func(format string, args ...any) { out = append(out, "  "+fmt.Sprintf(format, args...)) }
	program := func(what string, e *work.Exec) {
		add("%s%s", what, Argv(e.Run))
		add("sandbox    %s; for pull requests %s", orElse(e.Sandbox, c.Engine.Sandbox), c.Engine.Untrusted)
		if e.RunAs != "" {
			add("run as     %s", e.RunAs)
		}
	}
	switch w := j.Work.(type) {
	case *work.Exec:
		program("runs       ", w)
	case *work.SSH:
		add("runs       %s on %s@%s", Argv(w.Run), w.User, w.Host)
	case *work.Checkout:
		add("publishes  %s", w.Target())
		if gate := w.GateExec(); gate != nil {
			program("checks     ", gate)
		}
		for _, step := range w.After {
			switch {
			case step.Exec != nil:
				program("then runs  ", step.Exec)
			case step.SSH != nil:
				add("then runs  %s on %s@%s", Argv(step.SSH.Run), step.SSH.User, step.SSH.Host)
			}
		}
	case *work.MirrorPush:
		add("pushes to  %s", w.URL)
	case *work.Webhook:
		add("tells      %s", orElse(w.To, w.URL))
	case *work.Trigger:
		add("starts     %s", orElse(w.To, w.URL))
	case *work.Notify:
		add("tells      %s", strings.Join(w.To, ", "))
	}
	if j.Work != nil {
		if names := slices.Clone(j.Work.Secrets()); len(names) > 0 {
			slices.Sort(names)
			add("secrets    %s", strings.Join(slices.Compact(names), ", "))
		}
	}
	for _, n := range j.Notices {
		add("tells      %s when %s", strings.Join(n.To, ", "), orElse(strings.Join(n.On, ", "), "success, failure"))
	}
	return out
}

func orAll(list []string) string { return orElse(strings.Join(list, ", "), "all repositories") }

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// Argv writes the words of a command so that one sees where each ends.
func Argv(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = w
		if w == "" || strings.ContainsAny(w, " \t\n\"'\\$`|&;<>()*?[]#~!{}") {
			out[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(out, " ")
}

func triggers(on jobs.On) []string {
	var out []string
	for _, t := range []struct {
		name string
		set  bool
	}{
		{"push", on.Push != nil}, {"state", on.State != nil}, {"sync", on.Sync != nil}, {"mirror", on.Mirror != nil}, {"tag", on.Tag != nil},
		{"pr", on.Pull != nil && !on.Pull.Approve}, {"pr once approved", on.Pull != nil && on.Pull.Approve}, {"schedule " + on.Schedule, on.Schedule != ""}, {"manual", on.Manual}, {"job", on.Job != nil},
	} {
		if t.set {
			out = append(out, t.name)
		}
	}
	if len(out) == 0 {
		return []string{"demand of the operator"}
	}
	return out
}

// JobOptions returns what a job may say beside its kind: name, form, and what it is for.
func JobOptions() [][3]string {
	var out [][3]string
	for _, k := range new(jobReader).table() {
		out = append(out, [3]string{k.name, k.form, k.doc})
	}
	return out
}

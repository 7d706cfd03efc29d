package jobs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr/nip19"

	"github.com/gitroost/gitroost/grasp"
)

// An Event is something that happened to one repository.
type Event struct {
	Trigger Trigger
	Repo    grasp.Addr
	Changes []grasp.RefChange // of refs; empty for what concerns the repository as a whole
	Head    grasp.RefName     // where HEAD points now
	NewHead bool              // HEAD pointed elsewhere before
	Options []string          // of the push
	Push    string
	Cause   grasp.EventID
	Actor   grasp.PubKey
	Now     time.Time
	Run     ID // what its jobs share; "" means that Plan finds one

	Names []string  // of OnManual and OnSchedule: the jobs that are asked for
	Due   time.Time // of OnSchedule
	Force bool      // of OnManual: also what succeeded already
	After *Job      // of OnJob: the job that ended

	// Maintainers returns who maintains the repository, as it is known where this happened. Nil means that
	// whoever wants to know looks them up.
	Maintainers func() grasp.KeySet

	// Approver is who asks, if that is somebody who may approve of the jobs: they wait for nobody.
	Approver string

	// Facts is what Asks asked for. What is not there counts as unknown, and fits.
	Facts map[grasp.RefName]Facts
}

// Facts are what git knows of a change.
type Facts struct {
	// Paths that changed from the old to the new commit; of a new branch, from where it left the
	// default branch. Unknown says that they could not be told: too many, or nothing to compare
	// with.
	Paths   []string
	Unknown bool
	Message string // of the new commit
}

// MaxPaths is how many changed paths are looked at. Whoever finds more says Unknown.
const MaxPaths = 10_000

// MaxPerEvent is how many jobs one Event makes at most.
const MaxPerEvent = 200

// MaxDepth is how many jobs may follow from each other's ends.
const MaxDepth = 8

// A Match says of one definition and one change whether a job is made of them.
type Match struct {
	Job string
	Ref grasp.RefName
	OK  bool
	// Condition is the first that was not met: "repos", "trigger", "refs", "deleted", "head",
	// "skip_ci", "paths", "jobs", "results", "depth" or "needs". Text says it to a person.
	Condition string
	Text      string
	Tell      bool // the definition wants the pusher to know

	rule   *rule
	change grasp.RefChange
	force  bool
}

// Asks returns the changes of ev whose Paths, and whose Message, have to be known before Explain
// and Plan can say which jobs there are.
func (b *Book) Asks(ev Event) (paths, messages []grasp.RefChange) {
	name := RepoName(ev.Repo)
	for _, c := range ev.Changes {
		var p, m bool
		for _, r := range b.defs {
			f := r.filterFor(ev, c)
			if f == nil || f.paths.Empty() && !f.SkipCI || !r.repos.Empty() && !r.repos.Match(name) || !f.refs.Match(string(c.Ref)) || c.New.IsZero() {
				continue
			}
			p = p || !f.paths.Empty()
			m = m || f.SkipCI
		}
		if p {
			paths = append(paths, c)
		}
		if m {
			messages = append(messages, c)
		}
	}
	return paths, messages
}

// Explain returns, for every definition and every change of ev, whether it makes a job, and why if
// not (S0-38).
func (b *Book) Explain(ev Event) []Match {
	changes := ev.Changes
	if len(changes) == 0 {
		changes = []grasp.RefChange{{}}
	}
	name := RepoName(ev.Repo) // it takes longer than most of what is held against it
	out := make([]Match, 0, len(changes)*len(b.defs))
	for _, c := range changes {
		found := make(map[string]int, len(b.defs))
		for _, r := range b.defs {
			m := Match{Job: r.Name, Ref: c.Ref, OK: true, Tell: r.Explain, rule: r, change: c}
			m.Condition, m.Text = r.fits(ev, name, c, &m.force)
			m.OK = m.Condition == ""
			for _, n := range r.Needs {
				need := out[found[n.Job]]
				if m.OK && !need.OK && n.If != IfAlways && ev.Trigger != OnManual {
					m.OK, m.Condition = false, "needs"
					m.Text = fmt.Sprintf("it needs %s, which does not run: %s", n.Job, need.Text)
				}
			}
			found[r.Name] = len(out)
			out = append(out, m)
		}
	}
	return out
}

// Plan returns the jobs that ev makes, those that are needed first, and how many more there would
// be than MaxPerEvent. They are whole but for what the Queue writes: no repository's content is
// read, and nothing is looked up.
func (b *Book) Plan(ev Event, ids *IDs) (list []Job, dropped int) {
	return b.Make(ev, b.Explain(ev), ids)
}

// Make is Plan for those who know what Explain says of ev.
func (b *Book) Make(ev Event, matches []Match, ids *IDs) (list []Job, dropped int) {
	made := map[grasp.RefName]map[string]ID{}
	run, name := ev.Run, RepoName(ev.Repo)
	if run == "" {
		run = ids.Next()
	}
	for _, m := range matches {
		if !m.OK {
			continue
		}
		if len(list) == MaxPerEvent {
			dropped++
			continue
		}
		r, c := m.rule, m.change
		j := Job{
			ID: ids.Next(), Run: run, Repo: ev.Repo,
			Name: r.Name, Kind: r.Kind, Class: r.Class, Pool: r.Pool,
			Trigger: ev.Trigger, Ref: c.Ref, Old: c.Old, New: c.New,
			Push: ev.Push, Cause: ev.Cause, Actor: ev.Actor,
			Definition: r.hash, Input: InputKey(ev.Repo, r.Name, c.Ref, c.New, r.hash),
			Group: r.groupKey(ev.Repo, name, c.Ref), Policy: r.Policy, Force: m.force || r.Policy == All,
			Retry: *r.Retry, Timeout: r.Timeout, Spec: r.Spec, Source: r.Source, Budget: r.Budget, Created: ev.Now,
		}
		if f := r.when[ev.Trigger]; r.Approve || f != nil && f.Approve {
			j.Approval = Approval{Needed: true, By: ev.Approver}
			if ev.Approver != "" {
				j.Approval.At = ev.Now
			}
		}
		if ev.Trigger == OnSchedule {
			j.Due = ev.Due
		}
		if ev.Trigger == OnPull || c.Ref.IsNostr() || ev.After != nil && ev.After.Class == Untrusted {
			j.Class = Untrusted // what a stranger's commit holds is a stranger's, whoever wants it run
		}
		if ev.After != nil {
			j.Depth = ev.After.Depth + 1
		}
		for _, n := range r.Needs {
			if id, ok := made[c.Ref][n.Job]; ok {
				j.Needs = append(j.Needs, Edge{id, cmp.Or(n.If, IfOK)})
			}
		}
		if made[c.Ref] == nil {
			made[c.Ref] = map[string]ID{}
		}
		made[c.Ref][r.Name] = j.ID
		list = append(list, j)
	}
	return list, dropped
}

// filterFor returns the filter that decides about c, or nil if this trigger is not one of r's.
func (r *rule) filterFor(ev Event, c grasp.RefChange) *filter {
	if f := r.when[ev.Trigger]; f != nil {
		return f
	}
	moved := ev.Trigger == OnPush || ev.Trigger == OnState || ev.Trigger == OnSync || ev.Trigger == OnMirror
	if r.tag != nil && moved && strings.HasPrefix(string(c.Ref), "refs/tags/") && c.Old.IsZero() {
		return r.tag
	}
	return nil
}

// fits returns the first condition that is not met, or "". name is the repository's.
func (r *rule) fits(ev Event, name string, c grasp.RefChange, force *bool) (condition, text string) {
	if !r.repos.Empty() && !r.repos.Match(name) {
		return "repos", fmt.Sprintf("it is for %s, and this is %s", r.repos, name)
	}
	switch ev.Trigger {
	case OnManual, OnSchedule:
		if !slices.Contains(ev.Names, r.Name) {
			return "trigger", "nobody asked for it"
		}
		*force = ev.Force || ev.Trigger == OnSchedule
		return "", ""
	case OnJob:
		*force = true
		return r.follows(ev.After)
	}
	f := r.filterFor(ev, c)
	if f == nil {
		return "trigger", fmt.Sprintf("it does not run on %s", ev.Trigger)
	}
	if f.Head {
		if c.Ref != ev.Head && !(c.Ref == "" && ev.NewHead) {
			return "head", "it is for what HEAD points to, " + string(ev.Head)
		}
	} else if c.Ref == "" {
		return "refs", "no ref moved"
	}
	if c.Ref != "" && !f.refs.Match(string(c.Ref)) {
		return "refs", fmt.Sprintf("it is for %s, and this is %s", f.refs, c.Ref)
	}
	if c.Ref != "" && c.New.IsZero() {
		if !f.Deleted {
			return "deleted", string(c.Ref) + " is gone, and it is not for that"
		}
		return "", ""
	}
	facts, known := ev.Facts[c.Ref]
	if f.SkipCI {
		if why := skips(ev.Options, facts.Message); why != "" {
			return "skip_ci", why
		}
	}
	if !f.paths.Empty() && known && !facts.Unknown && len(facts.Paths) <= MaxPaths && !f.paths.Any(facts.Paths) {
		return "paths", fmt.Sprintf("no changed path fits %s", f.paths)
	}
	return "", ""
}

// skips says why a push is not to be worked on, or "".
func skips(options []string, message string) string {
	for _, o := range options {
		if o == "skip-jobs" || o == "skip-ci" || o == "ci.skip" {
			return "the push says -o " + o
		}
	}
	for _, word := range []string{"[skip ci]", "[ci skip]"} {
		if strings.Contains(message, word) {
			return "the commit's message says " + word
		}
	}
	return ""
}

func (r *rule) follows(after *Job) (condition, text string) {
	w := r.On.Job
	if w == nil || after == nil {
		return "trigger", "it does not run when others end"
	}
	if len(w.Jobs) > 0 && !slices.Contains(w.Jobs, after.Name) {
		return "jobs", fmt.Sprintf("it follows %s, and this was %s", strings.Join(w.Jobs, ", "), after.Name)
	}
	if after.Name == r.Name {
		return "jobs", "it does not follow itself"
	}
	if after.Pool == TellPool && len(w.Jobs) == 0 {
		return "jobs", "it follows what tells others only if it names it" // else they would tell of each other
	}
	if len(w.Results) > 0 && !slices.ContainsFunc(w.Results, func(s State) bool {
		return s == after.State || s == "success" && after.State == OK || s == "failure" && after.State.Bad()
	}) {
		return "results", fmt.Sprintf("it follows those that end %s, and %s ended %s", join(w.Results), after.Name, after.State)
	}
	if after.Depth+1 > MaxDepth {
		return "depth", fmt.Sprintf("%d jobs have followed each other", MaxDepth)
	}
	return "", ""
}

// RepoName is what patterns of repositories are held against. Of a box "prs/" comes first, so that
// "npub1…/*" is no stranger's box.
func RepoName(a grasp.Addr) string {
	npub, err := nip19.EncodePublicKey(string(a.Owner))
	if err != nil {
		npub = string(a.Owner)
	}
	if a.Box {
		return "prs/" + npub + "/" + a.ID
	}
	return npub + "/" + a.ID
}

// refClass keeps a tag from ending a branch's job.
func refClass(ref grasp.RefName) string {
	switch {
	case strings.HasPrefix(string(ref), "refs/heads/"):
		return "branch"
	case strings.HasPrefix(string(ref), "refs/tags/"):
		return "tag"
	case strings.HasPrefix(string(ref), "refs/nostr/"):
		return "pr"
	}
	return "repo"
}

// groupKey returns the group of a job. In what the definition says {{.Repo}}, {{.Owner}}, {{.ID}},
// {{.Ref}} and {{.Job}} are filled in. Only the operator's groups reach over several repositories:
// what others define begins with theirs. Long ones are hashed. name is what RepoName says of repo.
func (r *rule) groupKey(repo grasp.Addr, name string, ref grasp.RefName) string {
	if r.Policy == All {
		return ""
	}
	key := name + " " + r.Name + " " + string(ref)
	if r.Group != "" {
		key = strings.NewReplacer("{{.Repo}}", name, "{{.Owner}}", string(repo.Owner), "{{.ID}}", repo.ID,
			"{{.Ref}}", string(ref), "{{.Job}}", r.Name).Replace(r.Group)
	}
	own := ""
	if r.Class != Operator {
		own = name
	}
	key = refClass(ref) + "\n" + own + "\n" + key
	if len(key) > MaxGroup/2 {
		key = refClass(ref) + "\n" + HashOf(key).String()
	}
	return key
}

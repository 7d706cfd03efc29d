package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
)

// Rules are the notices of one job's definition, read. The zero Rules tell nobody. They do not change.
type Rules struct{ list []rule }

type rule struct {
	work.Notice
	repos jobs.Globs
}

// NewRules reads the notices of a definition. What makes no sense is a fault.Invalid.
func NewRules(list []work.Notice) (Rules, error) {
	var r Rules
	for _, n := range list {
		if err := n.Check(); err != nil {
			return Rules{}, err
		}
		globs, err := jobs.RefGlobs(n.Repos...)
		if err != nil {
			return Rules{}, err
		}
		r.list = append(r.list, rule{n, globs})
	}
	return r, nil
}

// Targets returns the names of all targets of r, sorted.
func (r Rules) Targets() []string {
	var out []string
	for _, n := range r.list {
		out = append(out, n.To...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Compares reports whether what r tells of an end depends on how the job before ended.
func (r Rules) Compares() bool {
	return slices.ContainsFunc(r.list, func(n rule) bool {
		return slices.Contains(n.On, work.OnFixed) || slices.Contains(n.On, work.OnChanged)
	})
}

// Follow returns the jobs that tell of the end of ended, one for each target, though several notices
// may name it: the first that does says what is said. previous is how the last job of the same name,
// repository and ref ended that succeeded or failed, or "" if none did; see Previous. What they tell
// can fail, and changes nothing about ended (S0-41).
func (r Rules) Follow(ended jobs.Job, previous jobs.State, ids *jobs.IDs) []jobs.Job {
	return r.tell(ended, previous, ended.Ended, ids, func(on []string) bool { return wants(on, ended.State, previous) })
}

// Begin returns the jobs that tell that j begins, for the notices that want to know. Where they come
// late they are dropped for those that tell of its end.
func (r Rules) Begin(j jobs.Job, now time.Time, ids *jobs.IDs) []jobs.Job {
	if j.Attempt > 1 {
		return nil // it was told the first time
	}
	j.State = jobs.Running
	return r.tell(j, "", now, ids, func(on []string) bool { return slices.Contains(on, work.OnStart) })
}

// wants reports whether an end like state, after one like previous, is one of on (S0-05).
func wants(on []string, state, previous jobs.State) bool {
	ok, bad := state == jobs.OK, state.Bad()
	if slices.Contains(on, work.OnAlways) {
		return true
	}
	if !ok && !bad { // cancelled, or its place was taken
		return false
	}
	results := slices.DeleteFunc(slices.Clone(on), func(s string) bool { return s == work.OnStart })
	if len(results) == 0 {
		return len(on) == 0 // of a notice that says only "started" nothing else is wanted
	}
	for _, s := range results {
		switch {
		case s == work.OnSuccess && ok, s == work.OnFailure && bad,
			s == work.OnFixed && ok && previous.Bad(),
			s == work.OnChanged && ok == previous.Bad(): // none before counts as a success
			return true
		}
	}
	return false
}

// timeout is how long one attempt to tell may take, whatever the target says.
const timeout = 2 * time.Minute

func (r Rules) tell(j jobs.Job, previous jobs.State, now time.Time, ids *jobs.IDs, wanted func(on []string) bool) []jobs.Job {
	var out []jobs.Job
	told := map[string]bool{}
	about := work.Of(j, previous)
	for _, n := range r.list {
		if !n.repos.Empty() && !n.repos.Match(work.RepoName(j.Repo)) || !wanted(n.On) {
			continue
		}
		for _, to := range n.To {
			if told[to] {
				continue
			}
			told[to] = true
			if job, ok := message(j, to, work.Notify{To: []string{to}, Message: n.Message, About: &about, Started: j.State == jobs.Running}, now, ids); ok {
				out = append(out, job)
			}
		}
	}
	return out
}

// message returns the job that tells to of j; false if it would be too large, which no configuration
// that was checked allows.
func message(j jobs.Job, to string, n work.Notify, now time.Time, ids *jobs.IDs) (jobs.Job, bool) {
	spec, err := json.Marshal(n)
	if err != nil || len(spec) > jobs.MaxSpec {
		return jobs.Job{}, false
	}
	habits := jobs.HabitsOf("notify")
	name := work.Cut("notify:"+to, jobs.MaxName)
	definition := jobs.HashOf("notify", string(spec))
	return jobs.Job{
		ID: ids.Next(), Run: j.Run, Repo: j.Repo, Name: name, Kind: "notify", Class: jobs.Operator, Pool: habits.Pool,
		Trigger: jobs.OnJob, Ref: j.Ref, Old: j.Old, New: j.New, Push: j.Push, Cause: j.Cause, Actor: j.Actor, Depth: j.Depth + 1,
		Definition: definition, Input: jobs.InputKey(j.Repo, name, j.Ref, j.New, definition),
		// Of what is told of one job to one target the newest counts: no "started" comes after the end.
		Group: fmt.Sprintf("notify\n%s\n%s", to, j.ID), Policy: jobs.Latest, Force: true,
		Retry: habits.Retry, Timeout: timeout, Spec: spec, Created: now,
	}, true
}

// Events returns the job that tells of the end of ended in events of Nostr (D8).
func Events(ended jobs.Job, ids *jobs.IDs) []jobs.Job {
	about := work.Of(ended, "")
	job, ok := message(ended, "nostr", work.Notify{Nostr: true, About: &about}, ended.Ended, ids)
	if !ok {
		return nil
	}
	return []jobs.Job{job}
}

// A Shelf is where jobs are looked up.
type Shelf interface {
	List(ctx context.Context, f jobs.Filter) ([]jobs.Job, error)
}

// ran are the states of jobs that say how things are: those that were not run say nothing.
var ran = []jobs.State{jobs.OK, jobs.Failed, jobs.TimedOut, jobs.StartupFailure}

// Previous returns how the last job before j ended, of the same repository, name and ref, that
// succeeded or failed; "" if there is none. A retry of a job compares with what came before that job.
func Previous(ctx context.Context, shelf Shelf, j jobs.Job) (jobs.State, error) {
	list, err := shelf.List(ctx, jobs.Filter{Repo: j.Repo, Name: j.Name, Ref: j.Ref, States: ran, Before: j.ID, Limit: lookBack(j.Ref)})
	if err != nil {
		return "", fault.Wrap("notify: previous", err)
	}
	for _, before := range list {
		if before.Ref == j.Ref && before.Repo == j.Repo && before.Name == j.Name {
			return before.State, nil
		}
	}
	return "", nil
}

// lookBack is how many rows are asked for: where a ref is concerned the first is the one; of jobs of
// the whole repository those of refs lie between.
func lookBack(ref grasp.RefName) int {
	if ref == "" {
		return jobs.MaxList
	}
	return 1
}

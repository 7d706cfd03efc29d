package jobs

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// A Definition says what somebody wants done, where, and when. Its patterns are text here; a Book
// has them read.
type Definition struct {
	Name    string        `json:"name"`
	Kind    string        `json:"kind"`
	Class   Class         `json:"class,omitempty"` // "" means Operator
	Pool    string        `json:"pool,omitempty"`  // "" means what HabitsOf says
	Repos   []string      `json:"repos,omitempty"` // patterns of "npub/identifier"; none means all
	On      On            `json:"on"`
	Needs   []Need        `json:"needs,omitempty"`
	Group   string        `json:"group,omitempty"`  // see groupKey; "" means this job in this repository and ref
	Policy  Policy        `json:"policy,omitempty"` // "" means what HabitsOf says
	Retry   *Retry        `json:"retry,omitempty"`  // likewise
	Timeout time.Duration `json:"timeout,omitempty"`
	Explain bool          `json:"explain,omitempty"` // tell the pusher why it did not match (S0-25)
	Approve bool          `json:"approve,omitempty"` // none of its jobs begins before the operator approves of it
	Budget  Usage         `json:"budget,omitzero"`   // of its owner in a day, in place of Bounds.Budget
	Source  Source        `json:"-"`                 // where it stands
	Spec    []byte        `json:"spec,omitempty"`    // for the Kind
}

// On says when. A nil trigger never fires.
type On struct {
	Push     *When      `json:"push,omitempty"`
	State    *When      `json:"state,omitempty"`
	Sync     *When      `json:"sync,omitempty"`
	Mirror   *When      `json:"mirror,omitempty"`
	Tag      *When      `json:"tag,omitempty"` // push, state, sync and mirror, of tags that are new
	Pull     *When      `json:"pr,omitempty"`
	Schedule string     `json:"schedule,omitempty"`
	Manual   bool       `json:"manual,omitempty"` // also without it the operator may ask
	Job      *AfterJobs `json:"job,omitempty"`
}

// When narrows a trigger.
type When struct {
	Refs    []string `json:"refs,omitempty"`  // patterns; none means branches and tags (of pr: all)
	Paths   []string `json:"paths,omitempty"` // patterns of which a changed path has to fit; none means all
	SkipCI  bool     `json:"skip_ci,omitempty"`
	Deleted bool     `json:"deleted,omitempty"` // also when a ref goes
	Head    bool     `json:"head,omitempty"`    // of state: only when HEAD points elsewhere, or its branch moved
	Approve bool     `json:"approve,omitempty"` // of pr: only once a maintainer or the operator approves of it
}

// AfterJobs says after which other jobs' ends.
type AfterJobs struct {
	Jobs    []string `json:"jobs,omitempty"`    // their names; none means all
	Results []State  `json:"results,omitempty"` // none means all ends; "failure" and "success" are understood
}

// A Need is another job of the same happening that has to end first.
type Need struct {
	Job string    `json:"job"`
	If  Condition `json:"if,omitempty"`
}

// MaxDefinitions is how many definitions a Book holds.
const MaxDefinitions = 1000

// A Book is a set of definitions that fit each other. It does not change.
type Book struct {
	defs []*rule
}

// A rule is a definition that was read.
type rule struct {
	Definition
	hash  Hash
	repos Globs
	when  map[Trigger]*filter
	tag   *filter
	cron  Cron
}

type filter struct {
	When
	refs, paths Globs
}

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// NewBook reads definitions, and puts those that are needed before those that need them. What
// makes no sense is a fault.Invalid that names the definition: names that are used twice, patterns
// that are none, needs that go in circles.
func NewBook(defs []Definition) (*Book, error) {
	const op = "jobs: definitions"
	if len(defs) > MaxDefinitions {
		return nil, fault.Errorf(fault.TooLarge, op, "%d jobs are defined; %d are the most", len(defs), MaxDefinitions)
	}
	byName := map[string]*rule{}
	var order []*rule
	for _, d := range defs {
		if !namePattern.MatchString(d.Name) {
			return nil, fault.Errorf(fault.Invalid, op, "%.80q is not the name of a job: it has up to 64 small letters, digits, dots, dashes and underscores", d.Name)
		}
		if byName[d.Name] != nil {
			return nil, fault.Errorf(fault.Invalid, op, "two jobs are called %q: rename one", d.Name)
		}
		r, err := read(d)
		if err != nil {
			return nil, &fault.Error{Code: fault.CodeOf(err), Op: op, Text: "job " + d.Name + ": " + text(err), Err: err}
		}
		byName[d.Name] = r
		order = append(order, r)
	}
	for _, r := range order {
		if len(r.Needs) > MaxNeeds {
			return nil, fault.Errorf(fault.TooLarge, op, "job %s needs %d others; %d are the most", r.Name, len(r.Needs), MaxNeeds)
		}
		for _, n := range r.Needs {
			if byName[n.Job] == nil {
				return nil, fault.Errorf(fault.Invalid, op, "job %s needs %q, and there is no such job", r.Name, n.Job)
			}
			if !slices.Contains([]Condition{"", IfOK, IfFailed, IfAlways}, n.If) {
				return nil, fault.Errorf(fault.Invalid, op, "job %s: there is no condition %.40q; there are ok, failed and always", r.Name, string(n.If))
			}
		}
	}
	sorted, circle := sortNeeds(order, byName)
	if circle != nil {
		return nil, fault.Errorf(fault.Invalid, op, "the needs of jobs go in a circle: %s", strings.Join(circle, " needs "))
	}
	return &Book{sorted}, nil
}

// text returns what a person may read of err.
func text(err error) string {
	t, _ := fault.Message(err)
	return t
}

func read(d Definition) (*rule, error) {
	const op = "jobs: definition"
	if d.Kind == "" {
		return nil, fault.E(fault.Invalid, op, "it does not say what kind it is")
	}
	if d.Class == "" {
		d.Class = Operator
	}
	if !slices.Contains([]Class{Operator, Trusted, Untrusted}, d.Class) {
		return nil, fault.Errorf(fault.Invalid, op, "there is no class %.40q", string(d.Class))
	}
	habits := HabitsOf(d.Kind)
	if d.Pool == "" {
		d.Pool = habits.Pool
	}
	if d.Group == "" {
		d.Group = habits.Group
	}
	if d.Policy == "" {
		d.Policy = habits.Policy
	}
	if !slices.Contains([]Policy{Latest, InTurn, Cancel, All}, d.Policy) {
		return nil, fault.Errorf(fault.Invalid, op, "there is no policy %.40q; there are latest, queue, cancel and all", string(d.Policy))
	}
	if d.Retry == nil {
		d.Retry = &habits.Retry
	}
	if err := d.Retry.Check(); err != nil {
		return nil, err
	}
	if d.Timeout < 0 || len(d.Group) > MaxGroup/4 || len(d.Spec) > MaxSpec {
		return nil, fault.Errorf(fault.Invalid, op, "a timeout is not negative, a group has at most %d bytes, and a description %d", MaxGroup/4, MaxSpec)
	}
	whole, err := json.Marshal(d)
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	r := &rule{Definition: d, hash: HashOf(string(whole)), when: map[Trigger]*filter{}}
	if r.repos, err = RefGlobs(d.Repos...); err != nil {
		return nil, err
	}
	for t, w := range map[Trigger]*When{OnPush: d.On.Push, OnState: d.On.State, OnSync: d.On.Sync, OnMirror: d.On.Mirror, OnPull: d.On.Pull} {
		if w == nil {
			continue
		}
		if r.when[t], err = readWhen(*w, t); err != nil {
			return nil, err
		}
	}
	if w := d.On.Tag; w != nil {
		if r.tag, err = readWhen(*w, OnPush); err != nil {
			return nil, err
		}
	}
	if d.On.Schedule != "" {
		if r.cron, err = ParseCron(d.On.Schedule); err != nil {
			return nil, err
		}
	}
	if j := d.On.Job; j != nil {
		for _, s := range j.Results {
			if s == "failure" || s == "success" {
				continue
			}
			if _, err := ParseState(string(s)); err != nil || !s.Ended() {
				return nil, fault.Errorf(fault.Invalid, op, "no job ends %.40q", string(s))
			}
		}
	}
	return r, nil
}

func readWhen(w When, t Trigger) (*filter, error) {
	if len(w.Refs) == 0 {
		w.Refs = []string{"refs/heads/*", "refs/tags/*"}
		if t == OnPull {
			w.Refs = []string{"refs/nostr/*"}
		}
	}
	refs, err := RefGlobs(w.Refs...)
	if err != nil {
		return nil, err
	}
	paths, err := PathGlobs(w.Paths...)
	return &filter{w, refs, paths}, err
}

// sortNeeds returns list with needed jobs before those that need them, otherwise in its order, or
// the names along a circle.
func sortNeeds(list []*rule, byName map[string]*rule) (sorted []*rule, circle []string) {
	const (
		unseen = iota
		above
		done
	)
	mark := map[*rule]int{}
	var path []string
	var visit func(r *rule) bool
	visit = func(r *rule) bool {
		path = append(path, r.Name)
		switch mark[r] {
		case above:
			circle = path[slices.Index(path, r.Name):]
			return false
		case unseen:
			mark[r] = above
			for _, n := range r.Needs {
				if !visit(byName[n.Job]) {
					return false
				}
			}
			mark[r] = done
			sorted = append(sorted, r)
		}
		path = path[:len(path)-1]
		return true
	}
	for _, r := range list {
		if !visit(r) {
			return nil, circle
		}
	}
	return sorted, nil
}

// Schedules returns the jobs of the book that have a schedule.
func (b *Book) Schedules() map[string]Cron {
	out := map[string]Cron{}
	for _, r := range b.defs {
		if !r.cron.Zero() {
			out[r.Name] = r.cron
		}
	}
	return out
}

// Names returns the names of all definitions, those that are needed first.
func (b *Book) Names() []string {
	var out []string
	for _, r := range b.defs {
		out = append(out, r.Name)
	}
	return out
}

// Definition returns the definition called name as it was read, with the hash that its jobs bear.
func (b *Book) Definition(name string) (d Definition, hash Hash, ok bool) {
	for _, r := range b.defs {
		if r.Name == name {
			return r.Definition, r.hash, true
		}
	}
	return Definition{}, Hash{}, false
}

// Concerns reports whether there is a definition called name, and repo is one of its repositories.
func (b *Book) Concerns(name string, repo grasp.Addr) bool {
	for _, r := range b.defs {
		if r.Name == name {
			return r.repos.Empty() || r.repos.Match(RepoName(repo))
		}
	}
	return false
}

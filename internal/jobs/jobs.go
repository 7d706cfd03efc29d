// Package jobs is the queue of what follows from a push: which jobs a change asks for, in which
// order they run, what happens to one that fails, and the loop that gives them to those who run
// them.
//
// Most of it is pure. A Definition says what somebody wants done and when; an Event says what
// happened; Plan makes the jobs of it (match.go), and Explain says why one was made or was not.
// What has to be looked up for that (which paths changed, what a commit's message says) Asks
// names, so that nothing here looks. A Queue keeps jobs (queue.go): it is a contract, kept by the
// database and, for tests, in memory, and held to by jobstest. An Engine claims jobs from it and
// hands them to a Runner (engine.go).
//
// The package knows no SQL, no git and no programs: what a job does is its Runner's business, and
// its Spec is bytes here. Nothing reads a clock but the one that is handed in.
package jobs

import (
	"slices"
	"strings"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// A State is where a job stands.
type State string

// The states. One that is Unapproved has not begun because nobody who may has said that it shall
// (jobs.md 3.2); one that waits needs others first; all behind Running have ended.
const (
	Unapproved     State = "waiting_for_approval"
	Waiting        State = "waiting"
	Queued         State = "queued"
	Running        State = "running"
	OK             State = "ok"
	Failed         State = "failed"
	TimedOut       State = "timed_out"
	Cancelled      State = "cancelled"
	Superseded     State = "superseded"
	Skipped        State = "skipped"
	StartupFailure State = "startup_failure" // it could not be begun: a sandbox that is not there
)

// States are all states, in the order in which a job can pass through them.
var States = []State{Unapproved, Waiting, Queued, Running, OK, Failed, TimedOut, Cancelled, Superseded, Skipped, StartupFailure}

// ParseState reads the name of a state. Anything else is a fault.Invalid.
func ParseState(s string) (State, error) {
	if slices.Contains(States, State(s)) {
		return State(s), nil
	}
	return "", fault.Errorf(fault.Invalid, "jobs: state", "there is no state %.40q; the states are %s", s, join(States))
}

func join[S ~string](list []S) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return strings.Join(out, ", ")
}

// Ended reports whether nothing happens to the job any more.
func (s State) Ended() bool {
	return s != Unapproved && s != Waiting && s != Queued && s != Running
}

// Bad reports whether the job ran and did not succeed.
func (s State) Bad() bool { return s == Failed || s == TimedOut || s == StartupFailure }

// Conclusion returns how events of continuous integration say s, or "" if it has not ended.
func (s State) Conclusion() string {
	switch s {
	case OK:
		return "success"
	case Failed:
		return "failure"
	case Superseded:
		return "cancelled"
	case TimedOut, Cancelled, Skipped, StartupFailure:
		return string(s)
	}
	return ""
}

// A Class says whose word stands behind a job, and so how much it may do.
type Class string

// The classes: the operator's own, of maintainers whom the operator trusts, of anybody.
const (
	Operator  Class = "operator"
	Trusted   Class = "trusted"
	Untrusted Class = "untrusted"
)

// A Policy says what becomes of several jobs of one group. Of one group one job runs at a time,
// except with All.
type Policy string

// The policies. Only jobs of Latest and Cancel are ever dropped for a newer one.
const (
	Latest Policy = "latest" // one runs and one is queued: the one with the newest input
	InTurn Policy = "queue"  // one after the other in the order of coming, none is dropped
	Cancel Policy = "cancel" // a newer one ends the one that runs
	All    Policy = "all"    // no grouping
)

// A Trigger is a kind of happening.
type Trigger string

// The triggers.
const (
	OnPush     Trigger = "push"     // refs moved by a push
	OnState    Trigger = "state"    // refs or HEAD moved by a state event
	OnSync     Trigger = "sync"     // refs moved by what a peer had
	OnMirror   Trigger = "mirror"   // refs moved by what a remote had
	OnPull     Trigger = "pr"       // a pull request's event and its commit are both here
	OnSchedule Trigger = "schedule" // its time came
	OnManual   Trigger = "manual"   // somebody asked for it
	OnJob      Trigger = "job"      // another job ended
)

// Triggers are all of them. "tag" in a Definition is short for push, state, sync and mirror with a
// tag that is new.
var Triggers = []Trigger{OnPush, OnState, OnSync, OnMirror, OnPull, OnSchedule, OnManual, OnJob}

// A Condition says when a job that needs another one runs.
type Condition string

// The conditions. The zero value means IfOK.
const (
	IfOK     Condition = "ok"
	IfFailed Condition = "failed" // it ran and did not succeed
	IfAlways Condition = "always" // it ended, however
)

// Met reports whether c holds for a needed job that is in state s. It is not decided before the
// needed job has ended.
func (c Condition) Met(s State) (met, decided bool) {
	if !s.Ended() {
		return false, false
	}
	switch c {
	case IfAlways:
		return true, true
	case IfFailed:
		return s.Bad(), true
	}
	return s == OK, true
}

// An Edge is one job's need of another.
type Edge struct {
	On ID
	If Condition
}

// Start returns in which state a job with these needs begins: Queued if all are met, Skipped if
// one cannot be met any more, else Waiting. A needed job that is not known counts as skipped.
func Start(needs []Edge, state func(ID) (State, bool)) State {
	start := Queued
	for _, e := range needs {
		s, ok := state(e.On)
		if !ok {
			s = Skipped
		}
		switch met, decided := e.If.Met(s); {
		case !decided:
			start = Waiting
		case !met:
			return Skipped
		}
	}
	return start
}

// DefaultPool is where jobs run that name no pool. Each pool has workers of its own, so that what
// the house does for itself never waits behind what strangers asked for.
const DefaultPool = "jobs"

// TellPool is where jobs run that tell others of something, unless they name another pool: what
// tells of a long job does not wait until that has ended, and what nobody takes for days keeps none
// from running.
const TellPool = "tell"

// A Job is one row of the queue. What stands above State is said once, by whoever makes it; the
// rest is the Queue's.
type Job struct {
	ID  ID // stable across attempts: what a job is given to recognise a repetition by
	Run ID // shared by all jobs that one happening made

	Repo  grasp.Addr
	Name  string // of the Definition
	Kind  string
	Class Class
	Pool  string // "" means DefaultPool

	Trigger Trigger
	Ref     grasp.RefName // "" where no ref is concerned
	Old     grasp.OID
	New     grasp.OID
	Push    string        // the push that delivered it, if one did
	Cause   grasp.EventID // the event that asked for it, if one did
	Actor   grasp.PubKey  // who asked for it, if that is known
	Due     time.Time     // of OnSchedule: which of the times this is
	Depth   int           // of OnJob: how many jobs led to it

	Definition Hash // of the whole definition
	Input      Hash // InputKey
	Group      string
	Policy     Policy
	Force      bool // run it even if the last one of its kind succeeded with the same Input
	Needs      []Edge
	Retry      Retry
	Timeout    time.Duration // 0 means the Engine's
	Spec       []byte        // what the Kind wants to know
	Source     Source        // zero if the operator's configuration defines it
	Approval   Approval      // By and At are the Queue's once it has the job
	Budget     Usage         // in place of Bounds.Budget; what is added to the queue does not keep it

	State      State
	Reason     string // one line for a person, "" while all is as it should be
	Move       int64  // the row of the journal of moves that it was made with, or 0
	Attempt    int    // how often it was begun
	Crashes    int    // how often whoever ran it died
	RunAfter   time.Time
	Created    time.Time
	Started    time.Time // the last time
	Ended      time.Time
	Lease      Lease // while Running
	Cancelling State // while Running: Cancelled or Superseded once that was asked for

	Exit     int
	Signal   string // the name of the signal that ended it, without SIG
	MaxRSS   int64  // bytes
	CPU      time.Duration
	Log      LogState
	LogBytes int64
}

// A Lease says who runs a job, and until when this holds unless it is renewed.
type Lease struct {
	By    string
	Until time.Time
}

// A LogState says whether there is a log to read.
type LogState string

// The states of a log.
const (
	NoLog   LogState = ""
	LogKept LogState = "kept"
	LogGone LogState = "expired" // S0-29
)

// A Source says where a definition stands that is not the operator's: in a file of the repository.
type Source struct {
	File    string        `json:"file"`              // SHA-256 of the file, in hex
	Path    string        `json:"path"`              // where it is in the tree
	Commit  grasp.OID     `json:"commit"`            // the tip of the default branch in which it is
	Request grasp.EventID `json:"request,omitempty"` // the maintainer's standing request by which it is heeded
	By      grasp.PubKey  `json:"by,omitempty"`      // who signed that
}

// IsZero reports whether the operator's configuration defines the job.
func (s Source) IsZero() bool { return s == Source{} }

// An Approval says whether somebody has to approve of a job before it may begin, and who has.
type Approval struct {
	Needed bool          `json:"needed"`
	By     string        `json:"by,omitempty"`    // an npub, or a word for the operator; "" is nobody yet
	Event  grasp.EventID `json:"event,omitempty"` // by which it was said, if one was
	At     time.Time     `json:"at,omitzero"`
}

// Missing reports whether the job must not begin yet.
func (a Approval) Missing() bool { return a.Needed && a.By == "" }

// Fresh returns j as it was before any Queue had it.
func (j Job) Fresh() Job {
	return Job{
		ID: j.ID, Run: j.Run, Repo: j.Repo, Name: j.Name, Kind: j.Kind, Class: j.Class, Pool: j.Pool,
		Trigger: j.Trigger, Ref: j.Ref, Old: j.Old, New: j.New, Push: j.Push, Cause: j.Cause, Actor: j.Actor, Due: j.Due, Depth: j.Depth,
		Definition: j.Definition, Input: j.Input, Group: j.Group, Policy: j.Policy, Force: j.Force, Needs: j.Needs,
		Retry: j.Retry, Timeout: j.Timeout, Spec: j.Spec, Source: j.Source, Approval: j.Approval, Budget: j.Budget, Created: j.Created,
	}
}

// Failures returns how often the job was begun and ended badly by itself, the present attempt
// included.
func (j *Job) Failures() int { return j.Attempt - j.Crashes }

// MaxCrashes is how often whoever runs a job may die of it, or with it, before it is given up.
const MaxCrashes = 3

// Check reports what no Queue takes: a fault.Invalid.
func (j *Job) Check() error {
	const op = "jobs: check"
	if _, err := ParseID(string(j.ID)); err != nil {
		return err
	}
	if _, err := ParseID(string(j.Run)); err != nil {
		return err
	}
	if !grasp.IsHex(string(j.Repo.Owner), 64) {
		return fault.E(fault.Invalid, op, "a job of no repository")
	}
	if j.Name == "" || len(j.Name) > MaxName {
		return fault.Errorf(fault.Invalid, op, "the name of a job has 1 to %d bytes, not %d", MaxName, len(j.Name))
	}
	if !slices.Contains([]Policy{Latest, InTurn, Cancel, All}, j.Policy) {
		return fault.Errorf(fault.Invalid, op, "there is no policy %.40q", string(j.Policy))
	}
	if j.Policy != All && j.Group == "" {
		return fault.E(fault.Invalid, op, "a job with a policy has a group")
	}
	if !slices.Contains(Triggers, j.Trigger) {
		return fault.Errorf(fault.Invalid, op, "there is no trigger %.40q", string(j.Trigger))
	}
	if len(j.Source.Path)+len(j.Source.File) > MaxPath || len(j.Approval.By) > MaxPath {
		return fault.Errorf(fault.TooLarge, op, "the path of a job's file, and the name of who approves of it, have at most %d bytes", MaxPath)
	}
	if len(j.Needs) > MaxNeeds || len(j.Spec) > MaxSpec || len(j.Group) > MaxGroup {
		return fault.Errorf(fault.TooLarge, op, "a job needs at most %d others, and its description has at most %d bytes", MaxNeeds, MaxSpec)
	}
	return nil
}

// Limits of what a job may be, so that no row is large.
const (
	MaxName  = 64
	MaxNeeds = 32
	MaxSpec  = 256 << 10 // bytes
	MaxGroup = 1024      // bytes
	MaxPath  = 256       // bytes
)

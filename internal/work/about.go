package work

import (
	"bytes"
	"encoding/json"
	"strings"
	"text/template"
	"time"

	"github.com/nbd-wtf/go-nostr/nip19"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
)

// An About is what is told of a job that began or ended: to webhooks, to those who are notified, and
// to templates. It has no environment, no paths, no reason in a program's own words and no line of a
// log (S0-12).
type About struct {
	ID         jobs.ID       `json:"id"`
	Run        jobs.ID       `json:"run"`
	Repo       string        `json:"repo"` // "npub1…/identifier"
	Owner      string        `json:"owner"`
	Name       string        `json:"name"` // the identifier alone
	Job        string        `json:"job"`  // as the configuration calls it
	Kind       string        `json:"kind"`
	Trigger    string        `json:"trigger"`
	Ref        string        `json:"ref"`
	Branch     string        `json:"branch"` // or tag: Ref without refs/heads/ or refs/tags/
	Old        string        `json:"old"`
	New        string        `json:"new"`
	Push       string        `json:"push"`
	Event      string        `json:"event,omitempty"`      // that asked for it
	Actor      string        `json:"actor,omitempty"`      // who asked for it
	Definition string        `json:"definition,omitempty"` // the hash of the job's definition, or of the file of the repository in which it is
	File       string        `json:"file,omitempty"`       // the path of that file
	Queued     time.Time     `json:"queued,omitzero"`
	State      jobs.State    `json:"state"`
	Previous   jobs.State    `json:"previous,omitempty"` // how the one before ended, of the same job, repository and ref; "" if none did
	Exit       int           `json:"exit"`               // of what was ended by a signal, 128 and its number
	Signal     string        `json:"signal,omitempty"`   // "KILL"
	Attempt    int           `json:"attempt"`
	Took       time.Duration `json:"took"` // nanoseconds
	Started    time.Time     `json:"started"`
	Ended      time.Time     `json:"ended,omitzero"`
}

// OK reports whether the job succeeded, Bad whether it failed.
func (a *About) OK() bool  { return a.State == jobs.OK }
func (a *About) Bad() bool { return a.State.Bad() }

// signals are the numbers of signals that end programs, as everywhere on Linux.
var signals = map[string]int{"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "TRAP": 5, "ABRT": 6, "BUS": 7, "FPE": 8, "KILL": 9,
	"USR1": 10, "SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15, "XCPU": 24, "XFSZ": 25, "SYS": 31}

// Of returns what can be told of j; previous is how the one before it ended, or "".
func Of(j jobs.Job, previous jobs.State) About {
	a := About{
		ID: j.ID, Run: j.Run, Repo: RepoName(j.Repo), Owner: string(j.Repo.Owner), Name: j.Repo.ID, Job: j.Name, Kind: j.Kind,
		Trigger: string(j.Trigger), Ref: string(j.Ref), Branch: shortRef(j.Ref), Old: string(j.Old), New: string(j.New), Push: j.Push,
		Event: string(j.Cause), Actor: string(j.Actor), Definition: j.Definition.String(), Queued: j.Created,
		State: j.State, Previous: previous, Exit: j.Exit, Signal: j.Signal, Attempt: j.Attempt, Started: j.Started, Ended: j.Ended,
	}
	if !j.Source.IsZero() {
		a.File, a.Definition = j.Source.Path, j.Source.File
	}
	if n, ok := signals[j.Signal]; ok {
		a.Exit = 128 + n // S0-03
	}
	if !j.Started.IsZero() && j.Ended.After(j.Started) {
		a.Took = j.Ended.Sub(j.Started)
	}
	return a
}

// RepoName returns a repository as people write it: "npub1…/identifier".
func RepoName(a grasp.Addr) string {
	npub, err := nip19.EncodePublicKey(string(a.Owner))
	if err != nil {
		npub = string(a.Owner)
	}
	return npub + "/" + a.ID
}

func shortRef(ref grasp.RefName) string {
	for _, prefix := range []string{"refs/heads/", "refs/tags/"} {
		if s, ok := strings.CutPrefix(string(ref), prefix); ok {
			return s
		}
	}
	return string(ref)
}

// Attach writes into the jobs of list that tell of other jobs (webhook, notify, trigger) that they
// follow from the end of ended. Others are left as they are. What cannot be read is a fault.Invalid.
func Attach(list []jobs.Job, ended jobs.Job, previous jobs.State) error {
	about, err := json.Marshal(Of(ended, previous))
	if err != nil {
		return fault.Wrap("work: attach", err)
	}
	for i := range list {
		switch list[i].Kind {
		case "webhook", "notify", "trigger":
		default:
			continue
		}
		spec := map[string]json.RawMessage{}
		if len(list[i].Spec) > 0 {
			if err := json.Unmarshal(list[i].Spec, &spec); err != nil {
				return fault.Errorf(fault.Invalid, "work: attach", "what job %s is told is no JSON: %v", list[i].Name, err)
			}
		}
		spec["about"] = about
		if list[i].Spec, err = json.Marshal(spec); err != nil {
			return fault.Wrap("work: attach", err)
		}
	}
	return nil
}

// templateFuncs are what templates can call.
var templateFuncs = template.FuncMap{
	"json": func(v any) (string, error) {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		err := enc.Encode(v)
		return strings.TrimSuffix(b.String(), "\n"), err
	},
	"duration": jobs.Span,
	"short": func(s string) string {
		if len(s) > 10 && (strings.HasPrefix(s, "npub1") || grasp.IsHex(s, 40) || grasp.IsHex(s, 64)) {
			return s[:10]
		}
		return s
	},
	"tail": tail,
	"cut":  func(n int, s string) string { return Cut(s, n) },
}

func tail(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-max(n, 0)):], "\n")
}

// Package doctor looks whether a server can do its work: whether this machine has what it needs, and
// whether requests arrive through the public address as they were sent.
//
// Each look is one function that returns findings; nothing is changed and nothing is left behind. What
// it needs of the rooms above, git and the secrets, is handed in.
package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/gitroost/gitroost/internal/client"
	"github.com/gitroost/gitroost/internal/config"
)

// A Level says how bad it is.
type Level string

// The levels. Unknown is what could not be looked at from here.
const (
	OK      Level = "ok"
	Warn    Level = "warn"
	Fail    Level = "fail"
	Unknown Level = "unknown"
)

// A Finding is what one look has found.
type Finding struct {
	Check string `json:"check"` // a stable name: "data.mode"
	Level Level  `json:"level"`
	What  string `json:"what"`          // one line
	Why   string `json:"why,omitempty"` // why it matters, if it is not well
	Do    string `json:"do,omitempty"`  // what to do about it
}

// A Report is all that was found, in the order in which it was looked at.
type Report struct {
	Findings []Finding `json:"findings"`
}

// Failed reports whether something keeps the server from doing its work.
func (r Report) Failed() bool {
	for _, f := range r.Findings {
		if f.Level == Fail {
			return true
		}
	}
	return false
}

// Count returns how many findings have a level.
func (r Report) Count(l Level) (n int) {
	for _, f := range r.Findings {
		if f.Level == l {
			n++
		}
	}
	return n
}

// Text writes the report for a person: a number, the level, what, and below it why and what to do.
func (r Report) Text(w io.Writer) error {
	for i, f := range r.Findings {
		if _, err := fmt.Fprintf(w, "%3d  %-7s  %-18s %s\n", i+1, f.Level, f.Check, f.What); err != nil {
			return err
		}
		for _, line := range []string{f.Why, f.Do} {
			if line != "" {
				if _, err := fmt.Fprintf(w, "%34s%s\n", "", line); err != nil {
					return err
				}
			}
		}
	}
	_, err := fmt.Fprintf(w, "%d ok, %d warnings, %d failures, %d not looked at\n", r.Count(OK), r.Count(Warn), r.Count(Fail), r.Count(Unknown))
	return err
}

// JSON writes the report for programs.
func (r Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		Report
		OK       int `json:"ok"`
		Warnings int `json:"warnings"`
		Failures int `json:"failures"`
	}{r, r.Count(OK), r.Count(Warn), r.Count(Fail)})
}

// A Patient is what is looked at, and what the looks need. Config, Now and Git are required.
type Patient struct {
	Config   config.Config
	Warnings []string      // of the configuration
	Faults   config.Faults // likewise; Config is then what could be understood
	File     string        // of the configuration, or ""

	Now     func() time.Time
	Git     client.Git
	Secrets func(config.Config) map[string]error // what is wrong with secrets, by name

	// Wait is how long a proxy is given to pass on what it has, before that it keeps it back is taken
	// for certain. 0 means 3 s; a minute is the most.
	Wait time.Duration
}

// A look finds out one thing, or a few that belong together.
type look func(ctx context.Context, p *Patient) []Finding

// Offline looks at this machine and at the data folder, also while a server works on it.
func Offline(ctx context.Context, p *Patient) Report {
	return all(ctx, p, []look{
		configuration, gitProgram, listener, dataFolder, modes, disk, clockSet, database, serverKey, secrets, runners, descriptors, proxies,
	})
}

func all(ctx context.Context, p *Patient, looks []look) Report {
	r := Report{Findings: []Finding{}}
	for _, l := range looks {
		if ctx.Err() != nil {
			break
		}
		r.Findings = append(r.Findings, l(ctx, p)...)
	}
	return r
}

func ok(check, format string, args ...any) Finding {
	return Finding{Check: check, Level: OK, What: fmt.Sprintf(format, args...)}
}

func unknown(check, format string, args ...any) Finding {
	return Finding{Check: check, Level: Unknown, What: fmt.Sprintf(format, args...)}
}

// found makes a finding that is not well.
func found(check string, l Level, what, why, do string) Finding {
	return Finding{Check: check, Level: l, What: oneLine(what), Why: why, Do: do}
}

func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 400 {
		s = string(r[:400]) + "…"
	}
	return s
}

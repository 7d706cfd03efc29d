package work

import "github.com/gitroost/gitroost/internal/fault"

// Exec says which program to run.
type Exec struct {
	Run []string `yaml:"run" json:"run"` // the program and its arguments; no shell is involved
}

// Check reports what makes no sense.
func (e *Exec) Check() error {
	if len(e.Run) == 0 || e.Run[0] == "" {
		return fault.E(fault.Invalid, "exec", "run: a list is needed, the program first: run: [make, test]")
	}
	return nil
}

// Secrets returns the names of the secrets that the job is given.
func (e *Exec) Secrets() []string { return nil }

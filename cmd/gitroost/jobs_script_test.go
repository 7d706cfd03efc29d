package main

import (
	"regexp"

	"github.com/rogpeppe/go-internal/testscript"
)

var jobNamed = regexp.MustCompile(`(?m)\bjob (\S+) ([0-9A-Z]{26})\b`)

// job sets $JOB to the id of the job of that name that was last spoken of, on stdout or stderr.
func (s *story) job(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 || neg {
		ts.Fatalf("usage: job <name>")
	}
	id := ""
	for _, file := range []string{"stderr", "stdout"} {
		for _, m := range jobNamed.FindAllStringSubmatch(ts.ReadFile(file), -1) {
			if m[1] == args[0] {
				id = m[2]
			}
		}
	}
	if id == "" {
		ts.Fatalf("job: nobody spoke of %s", args[0])
	}
	s.names[id] = "JOB"
	ts.Setenv("JOB", id)
}

package program_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
	"github.com/gitroost/gitroost/internal/work/program"
)

// left returns the processes that have mark on their command line and do not end.
func left(t *testing.T, mark string) []int {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		// What was killed is gone a moment later.
		if out := alive(t, mark); len(out) == 0 || time.Now().After(end) {
			return out
		}
	}
}

// alive returns the processes that have mark on their command line.
func alive(t *testing.T, mark string) []int {
	t.Helper()
	var out []int
	list, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range list {
		b, _ := os.ReadFile(f)
		if strings.Contains(string(b), mark) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			if pid != os.Getpid() {
				out = append(out, pid)
			}
		}
	}
	return out
}

var markers int

// sleeper is a number of seconds that no other process sleeps.
func sleeper() string {
	markers++
	return fmt.Sprintf("3%06d.%d", os.Getpid(), markers)
}

// Whatever a program does, it ends within its limits, all that it began ends with it, and the next job
// finds nothing of it. S0-27 S3-22
func TestExecHostile(t *testing.T) {
	for _, groups := range []string{"", "none"} {
		w, p := newWorld(t, func(c *program.Config) { c.Groups = groups })
		for _, r := range p.Runners(t.Context()) {
			if r.Name == "groups" && r.Text != "" && groups == "" {
				t.Logf("without control groups: %s", r.Text)
			}
		}
		for _, box := range sandboxes(t, p) {
			for _, c := range []struct {
				name   string
				spec   work.Exec
				state  jobs.State
				reason string
			}{
				{"daemonised grandchild", work.Exec{Run: sh("setsid sh -c 'sleep $0 & exec sleep $0' SLEEPER >/dev/null 2>&1 </dev/null & echo be''gan")}, jobs.OK, ""},
				{"grandchild that holds the output", work.Exec{Run: sh("setsid sleep SLEEPER & echo be''gan")}, jobs.OK, ""},
				{"ignores TERM", work.Exec{Run: sh("trap '' TERM; echo be''gan; while :; do sleep SLEEPER; done"), Limits: work.Limits{Time: work.Duration(time.Second)}}, jobs.TimedOut, "too long"},
				{"fork bomb", work.Exec{Run: sh("bomb() { [ $1 -ge 9 ] || { bomb $(($1+1)) & bomb $(($1+1)) & }; sleep SLEEPER; }; bomb 0"), Limits: work.Limits{Tasks: 60, Time: work.Duration(2 * time.Minute)}}, jobs.Failed, "limits.tasks"},
				{"memory", work.Exec{Run: sh("exec head -c 2147483648 /dev/zero | tail -n 1 | wc -c"), Limits: work.Limits{Memory: 256 << 20, Time: work.Duration(2 * time.Minute)}}, "", ""},
				{"one large file", work.Exec{Run: sh("exec dd if=/dev/zero of=big bs=1M count=10000"), Limits: work.Limits{Disk: 20 << 20, Time: work.Duration(2 * time.Minute)}}, jobs.Failed, ""},
				{"many files", work.Exec{Run: sh("i=0; while :; do i=$((i+1)); head -c 1000000 /dev/zero >f$i; done"), Limits: work.Limits{Disk: 20 << 20, Time: work.Duration(2 * time.Minute)}}, jobs.Failed, "limits.disk"},
				{"much output", work.Exec{Run: sh("exec head -c 200000000 /dev/zero"), Limits: work.Limits{Disk: 1 << 20, Time: work.Duration(2 * time.Minute)}}, jobs.OK, ""},
			} {
				t.Run(fmt.Sprintf("%s/groups=%s/%s", box, groups, c.name), func(t *testing.T) {
					mark := sleeper()
					c.spec.Run = slices.Clone(c.spec.Run)
					c.spec.Run[2] = strings.ReplaceAll(c.spec.Run[2], "SLEEPER", mark)
					c.spec.Sandbox, c.spec.Workdir = box, work.InEmpty
					res, log := w.Run("exec", &c.spec)
					if c.state != "" && res.State != c.state || !strings.Contains(res.Reason, c.reason) {
						t.Errorf("%+v, want %s %q; %s", res, c.state, c.reason, log)
					}
					if c.name == "memory" && log.Of("stdout") == "2147483648\n" {
						t.Errorf("it had 2 GiB: %+v", res)
					}
					if left := left(t, mark); len(left) > 0 {
						t.Errorf("%v are left", left)
					}
					if res, log := w.Run("exec", &work.Exec{Run: sh("ls -A; echo next"), Sandbox: box, Workdir: work.InEmpty}); res.State != jobs.OK || log.Of("stdout") != "next\n" {
						t.Errorf("the next job: %+v %s", res, log)
					}
				})
			}
		}
		if left, _ := filepath.Glob(filepath.Join(w.Root, "jobs", "*")); len(left) > 0 {
			t.Errorf("left on disk: %v", left)
		}
		if left, _ := filepath.Glob(filepath.Join(w.Root, "state", "*")); len(left) > 0 {
			t.Errorf("notes of what does not run: %v", left)
		}
	}
}

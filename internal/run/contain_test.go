package run_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/run"
)

func contained(t *testing.T, script string) (run.Contained, *bytes.Buffer) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("programs are contained on Linux only")
	}
	c, out := sh(t, script), new(bytes.Buffer)
	return run.Contained{Kind: "test", Path: c.Path, Args: c.Args, Env: []string{"PATH=/usr/bin:/bin", "MARK=x"}, Dir: "/", Stdout: out, Mark: "MARK=x"}, out
}

// A program has its limits before its first instruction, and can gain no privileges.
func TestContainBounds(t *testing.T) {
	c, out := contained(t, "ulimit -v; ulimit -f; ulimit -t; ulimit -c; grep NoNewPrivs /proc/self/status; nice; cat")
	c.Bounds = run.Bounds{CPU: 90 * time.Second, Memory: 512 << 20, FileSize: 1 << 20, Nice: true}
	c.Stdin = strings.NewReader("in")
	got, err := run.New(run.Config{}).Contain(t.Context(), c)
	if want := "524288\n2048\n90\n0\nNoNewPrivs:\t1\n10\nin"; err != nil || got.Code != 0 || out.String() != want {
		t.Errorf("%+v, %v: %q, want %q", got, err, out, want)
	}
	if got.MaxRSS <= 0 || got.CPU <= 0 {
		t.Errorf("%+v", got)
	}
}

// Begin comes before the first instruction; if it fails there is none.
func TestContainBegin(t *testing.T) {
	c, out := contained(t, "echo ran")
	var leader run.Leader
	c.Begin = func(l run.Leader) error {
		leader = l
		if out.Len() > 0 {
			t.Error("it ran already")
		}
		return errors.New("no")
	}
	r := run.New(run.Config{})
	if _, err := r.Contain(t.Context(), c); err == nil || out.Len() > 0 {
		t.Errorf("%v, %q", err, out)
	}
	if leader.PID == 0 || leader.Start == 0 || leader.Boot == "" || leader.End() {
		t.Errorf("%+v", leader)
	}
	if syscall.Kill(leader.PID, 0) == nil {
		t.Error("it is there")
	}
	if r.Running() != 0 {
		t.Errorf("%d are said to run", r.Running())
	}
}

// A Leader ends what it was, and nothing that has its number later.
func TestLeader(t *testing.T) {
	c, _ := contained(t, "sleep 600 & wait")
	began := make(chan run.Leader, 1)
	c.Begin = func(l run.Leader) error { began <- l; return nil }
	done := make(chan run.Outcome, 1)
	go func() {
		o, err := run.New(run.Config{}).Contain(context.Background(), c)
		if err != nil {
			t.Error(err)
		}
		done <- o
	}()
	l := <-began
	for _, other := range []run.Leader{{}, {PID: l.PID, Start: l.Start + 1, Boot: l.Boot}, {PID: l.PID, Start: l.Start, Boot: "other"}, {PID: 1, Start: 1, Boot: l.Boot}} {
		if other.End() {
			t.Errorf("%+v was ended", other)
		}
	}
	if !l.End() {
		t.Error("it was not found")
	}
	if o := <-done; o.Signal != syscall.SIGKILL || o.Code != -1 {
		t.Errorf("%+v", o)
	}
}

// Watch is told what is used, and its word is the end.
func TestContainWatch(t *testing.T) {
	c, _ := contained(t, "sleep 600 & sleep 600 & wait")
	stop := errors.New("enough")
	var last run.Use
	c.Watch = func(u run.Use) error {
		if u.Full && u.Tasks >= 3 && u.Memory > 0 {
			last = u
			return stop
		}
		return nil
	}
	if _, err := run.New(run.Config{}).Contain(t.Context(), c); !errors.Is(err, stop) || last.Tasks != 3 {
		t.Errorf("%v, %+v", err, last)
	}
}

// What cannot be started is an error that says so, and a context that ended starts nothing.
func TestContainCannotStart(t *testing.T) {
	c, _ := contained(t, "true")
	r := run.New(run.Config{})
	bad := c
	bad.Path = "/no/such/program"
	if _, err := r.Contain(t.Context(), bad); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	bad = c
	bad.Dir = "relative"
	if _, err := r.Contain(t.Context(), bad); err == nil {
		t.Error("a relative folder is taken")
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("over")
	cancel(cause)
	if _, err := r.Contain(ctx, c); !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
	if n := r.Started()["test"]; n != 0 {
		t.Errorf("%d were started", n)
	}
}

// A group holds all that comes of a program, ends it for sure, and is gone afterwards.
func TestGroups(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("control groups are on Linux only")
	}
	gs, err := run.OpenGroups("")
	if err != nil {
		t.Skip(err)
	}
	name := fmt.Sprint("test-", os.Getpid())
	g, err := gs.Make(name, run.GroupLimits{CPU: 50, Memory: 64 << 20, Tasks: 50})
	if err != nil {
		t.Fatal(err)
	}
	c, out := contained(t, "setsid sleep 600 >/dev/null 2>&1 & echo began")
	c.Env, c.Mark, c.Group = []string{"PATH=/usr/bin:/bin"}, "", g // nothing but the group can find it
	if _, err := run.New(run.Config{}).Contain(t.Context(), c); err != nil || out.String() != "began\n" {
		t.Fatal(err, out)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(g.Path()); err == nil {
		t.Error("the group is there")
	}
	if err := run.EndGroup(gs.Path(name)); err != nil {
		t.Errorf("again: %v", err)
	}
}

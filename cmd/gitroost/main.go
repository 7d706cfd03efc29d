// Command gitroost serves git repositories over smart HTTP together with the Nostr relay that says
// who may move their refs (GRASP), and is a small client for such servers.
//
// This package is one table of commands. It reads flags, prints, and turns signals into the end of
// a context; what the commands do is done by the rooms below.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gitroost/gitroost/internal/client"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/fault"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// An app is one run of the program, with the world handed in.
type app struct {
	env      []string
	out, err io.Writer
	now      func() time.Time
	git      client.Git
	house    builder
	manage   caller
	jobs     jobsCaller
	hangups  func() (asked <-chan os.Signal, stop func()) // who asks that the configuration is read anew; nil: nobody does
}

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		fmt.Fprintln(os.Stderr, "gitroost: stopping; once more to stop at once")
		cancel()
		<-signals
		os.Exit(exitFailure)
	}()
	a := &app{hangups: hangups, env: os.Environ(), out: os.Stdout, err: os.Stderr, now: time.Now, git: newGit(os.Environ()), house: newHouse, manage: manageHouse, jobs: jobsOf}
	os.Exit(a.run(ctx, os.Args[1:]))
}

// usageError is a mistake in the command line.
type usageError string

func (e usageError) Error() string { return string(e) }

// run carries out one command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	cmd, rest, err := find(args)
	if err == nil {
		err = cmd.run(a, ctx, rest)
	}
	return a.report(ctx, err)
}

// report tells err to the person at the terminal: what, why, what to do.
func (a *app) report(ctx context.Context, err error) int {
	var usage usageError
	var faults config.Faults
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintf(a.err, "gitroost: %s\n", usage)
		return exitUsage
	case errors.As(err, &faults):
		fmt.Fprintln(a.err, faults.Error())
		return exitUsage
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitFailure
	}
	text := err.Error()
	if !fault.Is(err, fault.Internal) {
		text, _ = fault.Message(err)
	}
	fmt.Fprintf(a.err, "gitroost: %s\n", text)
	return exitFailure
}

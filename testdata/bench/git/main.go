// Command git measures how gitroost serves git, side by side with others that do: nginx with
// git-http-backend, net/http/cgi around it, git daemon; and beside what nobody can beat, git in a pipe
// and static files. All are started by it, on loopback, in temporary folders, and ended by it. They
// take turns within each round, so that what else the machine does falls on all of them; what
// counts is the ratio.
//
//	go run ./git [-quick] [-only <regexp>] [-docs ../../docs] [-label before]
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) > 2 {
		switch args[0] {
		case "enter":
			return enter(args[1:])
		case "cgi":
			return serveCGI(args[1], args[2])
		case "static":
			return serveStatic(args[1], args[2])
		}
	}
	f := flag.NewFlagSet("git", flag.ExitOnError)
	cacheDir, _ := os.UserCacheDir()
	var (
		quick   = f.Bool("quick", false, "about three minutes: fewer rounds, nothing large")
		only    = f.String("only", "", "the scenarios whose name matches this `regexp`")
		cache   = f.String("cache", filepath.Join(cacheDir, "gitroost-bench"), "where repositories are kept for the next run")
		temp    = f.String("temp", "", "where everything else is put; it is removed at the end")
		out     = f.String("json", "", "a file for all figures")
		docs    = f.String("docs", "", "the folder of performance.md; its section and the plots are written anew")
		from    = f.String("from", "", "figures of an earlier run to write into -docs; nothing is measured")
		label   = f.String("label", "now", "what this run is called; later runs are compared with the one called before")
		program = f.String("gitroost", "", "the program to measure; it is built if this is empty")
		source  = f.String("source", "../..", "the root of the module that is built")
	)
	f.Parse(args)
	plan := slices.Concat([]scenario{idle()}, readScenarios(), packScenarios(), pushScenarios())
	if *from != "" {
		return render(*from, *docs, plan)
	}
	pick, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	began := time.Now()
	say := func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%6.1f  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}
	dir, err := os.MkdirTemp(*temp, "gitroost-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.MkdirAll(*cache, 0o755); err != nil {
		return err
	}
	if *program == "" {
		*program = filepath.Join(dir, "gitroost")
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", *program, "./cmd/gitroost")
		cmd.Dir, cmd.Env, cmd.Stderr = *source, append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("build gitroost: %w", err)
		}
	}
	b := &bench{
		quick: *quick, dir: dir, cache: *cache, say: say,
		peers: map[string]*peer{}, repos: map[string]*repository{}, works: map[string]*work{}, refs: map[string]map[string]string{},
		uniq: map[string]int{}, samples: map[point][]float64{},
	}
	defer b.close()
	interrupted := make(chan os.Signal, 2)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		say("stopping; once more to stop without a report")
		b.halt.Store(true)
		<-interrupted
		b.close()
		os.RemoveAll(dir)
		os.Exit(1)
	}()
	load := loadAverage()
	if err := b.build(*program); err != nil && !b.halt.Load() {
		return err
	}
	if st, err := os.Stat(*program); err == nil {
		b.samples[point{"program", mSize, ours}] = []float64{float64(st.Size()) / 1e6}
	}
	for _, s := range plan {
		if pick.MatchString(s.name) {
			b.measure(s)
		}
	}
	r := b.report(plan)
	r.Label, r.Commit, r.Date = *label, commit(), time.Now().UTC().Format("2006-01-02")
	r.Load = load + " before, " + loadAverage() + " after"
	r.Took = time.Since(began).Round(time.Second).String()
	r.terminal()
	if *out != "" {
		err = r.save(*out)
	}
	if *docs != "" {
		err = errors.Join(err, r.write(*docs))
	}
	if err == nil && len(b.faults) > 0 {
		err = fmt.Errorf("%d measurements failed; they are named above", len(b.faults))
	}
	return err
}

// render prints the figures in file, and writes them into docs if that is named.
func render(file, docs string, plan []scenario) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	r := &report{plan: plan}
	if err := json.Unmarshal(text, r); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	r.judge()
	r.terminal()
	if docs == "" {
		return nil
	}
	return r.write(docs)
}

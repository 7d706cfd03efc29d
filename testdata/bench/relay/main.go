// Command relay measures the relay of gitroost beside khatru with its badger store: the same events,
// the same questions, the same client, in turns, on one machine, as they are run: gitroost syncs
// every event to disk before it says OK, khatru's store does not.
//
// Both answer on loopback and share the processors with the client, so the figures are sizes; what
// counts is the ratio of two that were taken side by side. Every answer is checked: how many events
// it holds, and that every event was taken.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// A world is all that both servers are asked about.
type world struct {
	dir    string // everything on disk is below it
	people []person
	issues []*nostr.Event
	neg    []record // what both should reconcile, newest first or not
	n      int      // events in bulk
}

type record struct {
	at nostr.Timestamp
	id string
}

func main() {
	var o options
	flag.StringVar(&o.root, "root", "../..", "the folder of gitroost's own module")
	flag.IntVar(&o.events, "events", 100_000, "how many events the stores hold, at least 40,000")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each scenario is measured on each server")
	flag.DurationVar(&o.each, "each", time.Second, "how long questions are asked in each round")
	flag.StringVar(&o.json, "json", "", "write every figure to this file")
	flag.StringVar(&o.doc, "doc", "", "write the table into this page, between its marks")
	flag.StringVar(&o.dir, "dir", "", "the folder on whose disk to measure; the default is that for temporary files")
	flag.StringVar(&o.only, "only", "", "measure scenarios that match this regular expression")
	flag.StringVar(&o.gitroost, "gitroost", "", "a gitroost that is built already")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	root, json, doc, dir, only, gitroost string
	events, rounds                       int
	each                                 time.Duration
}

func run(o options) (err error) {
	if o.events < 4*everyKind {
		return errors.New("-events must be at least 40000")
	}
	only, err := regexp.Compile(o.only)
	if err != nil {
		return err
	}
	w := &world{people: people(authors), n: o.events}
	if w.dir, err = os.MkdirTemp(o.dir, "gitroost-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(w.dir)

	say("building")
	ours, theirs := filepath.Join(w.dir, "gitroost"), filepath.Join(w.dir, "khatru")
	if o.gitroost != "" {
		if ours, err = filepath.Abs(o.gitroost); err != nil {
			return err
		}
	} else if err := build(o.root, ours, "./cmd/gitroost"); err != nil {
		return err
	}
	if err := build(".", theirs, "./khatru"); err != nil {
		return err
	}

	say("starting")
	houses := make([]*house, 2)
	if houses[0], err = start("gitroost", filepath.Join(w.dir, "ours"), ours, func(addr string) []string {
		return []string{"serve", "--listen", addr, "--data", filepath.Join(w.dir, "ours"), "--log.level", "warn",
			// One client stands for many here.
			"--limits.events-per-minute", "100000", "--limits.event-burst", "100000",
			"--limits.requests-per-second", "1000000", "--limits.request-burst", "1000000",
			"--limits.address-connections", "1000"}
	}); err != nil {
		return err
	}
	defer houses[0].stop()
	if err := os.Mkdir(filepath.Join(w.dir, "theirs"), 0o755); err != nil {
		return err
	}
	if houses[1], err = start("khatru", filepath.Join(w.dir, "theirs"), theirs, func(addr string) []string {
		return []string{"-listen", addr, "-data", filepath.Join(w.dir, "theirs")}
	}); err != nil {
		return err
	}
	defer houses[1].stop()

	rep := newReport(o, houses)
	if err := w.fill(o, houses, rep); err != nil {
		return err
	}
	if err := w.measure(o, houses, rep, only); err != nil {
		return err
	}
	rep.finish(houses)
	fmt.Print(rep.table())
	if o.json != "" {
		b, err := json.MarshalIndent(rep, "", "\t")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.json, append(b, '\n'), 0o644); err != nil {
			return err
		}
	}
	if o.doc != "" {
		return rep.writeDoc(o.doc)
	}
	return nil
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}

func build(dir, out, pkg string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-o", out, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, b)
	}
	return nil
}

// fill gives both servers the repositories and then the bulk of events.
func (w *world) fill(o options, houses []*house, rep *report) error {
	oid, err := w.commit()
	if err != nil {
		return err
	}
	first, err := w.announcements(houses[0].addr, oid)
	if err != nil {
		return err
	}
	for _, h := range houses {
		if _, err := publish(h.addr, frames(first), 1, 1); err != nil {
			return fmt.Errorf("%s: announcements: %w", h.name, err)
		}
	}
	if err := w.push(houses[0].addr); err != nil {
		return err
	}
	say("signing %d events", o.events)
	evs, err := w.bulk(o.events)
	if err != nil {
		return err
	}
	for _, ev := range evs {
		if ev.Kind == negKind {
			w.neg = append(w.neg, record{ev.CreatedAt, ev.ID})
		}
	}
	all := frames(evs)
	for i, h := range houses {
		say("filling %s", h.name)
		s, err := take(h, func() (int, []time.Duration, error) {
			each, err := publish(h.addr, all, 50, 4)
			return len(each), each, err
		})
		if err != nil {
			return fmt.Errorf("%s: fill: %w", h.name, err)
		}
		rep.Fill[i] = s
	}
	return nil
}

// A scenario is measured on both servers in each round. prepare, if not nil, makes what only this
// round needs.
type scenario struct {
	name, unit string
	target     float64 // ours must be so many times theirs; 0 if nothing was promised
	prepare    func(round int) ([][]byte, error)
	run        func(h *house, prepared [][]byte) (sample, error)
}

const (
	askConns    = 8
	publishers  = 50
	publishEach = 4000
	fanEach     = 100
)

func (w *world) scenarios(o options) []scenario {
	var byD, byA, byE, byRoot, latest, counts, mixed []question
	for i := range owners {
		byD = append(byD, question{fmt.Sprintf(`{"kinds":[30617,30618],"authors":["%s"],"#d":["%s"]}`, w.people[i].public, repoName(i)), 2, 2})
		byA = append(byA, question{fmt.Sprintf(`{"kinds":[1617,1618,1621],"#a":["%s"],"limit":50}`, w.coordinate(i)), 50, 50})
		counts = append(counts, question{fmt.Sprintf(`{"kinds":[1111],"#a":["%s"]}`, w.coordinate(i)), (o.events - 3*everyKind) / owners, 1 << 30})
	}
	comments := (o.events - 3*everyKind) / roots
	for i := range roots {
		byE = append(byE, question{fmt.Sprintf(`{"#e":["%s"]}`, w.issues[i].ID), comments, comments + 3})
		byRoot = append(byRoot, question{fmt.Sprintf(`{"kinds":[1111],"#E":["%s"]}`, w.issues[i].ID), comments, comments + 1})
	}
	latest = append(latest, question{`{"kinds":[1111,1617,1621,1630],"limit":100}`, 100, 100})
	for i := range 200 {
		for _, list := range [][]question{byD, byA, byE, byRoot, latest} {
			mixed = append(mixed, list[i%len(list)])
		}
	}
	asking := func(verb string, list []question) func(*house, [][]byte) (sample, error) {
		return func(h *house, _ [][]byte) (sample, error) {
			return take(h, func() (int, []time.Duration, error) { return ask(h.addr, verb, list, askConns, o.each) })
		}
	}
	return []scenario{
		{name: "publish, 50 connections", unit: "EVENT/s", target: 1.2,
			prepare: func(round int) ([][]byte, error) {
				evs, err := w.fresh(round, publishEach)
				return frames(evs), err
			},
			run: func(h *house, evs [][]byte) (sample, error) {
				return take(h, func() (int, []time.Duration, error) {
					each, err := publish(h.addr, evs, publishers, 1)
					return len(each), each, err
				})
			}},
		{name: "fan-out, 2,000 subscriptions", unit: "deliveries/s", target: 1.5,
			prepare: func(round int) ([][]byte, error) {
				evs, err := w.live(round, fanEach)
				return frames(evs), err
			},
			run: w.fanout},
		{name: "the five questions below, in turn", unit: "REQ/s", target: 1.5, run: asking("REQ", mixed)},
		{name: "kind, author and `#d`: 2 events", unit: "REQ/s", target: 1, run: asking("REQ", byD)},
		{name: "`#a` and kinds: 50 events", unit: "REQ/s", target: 1, run: asking("REQ", byA)},
		{name: fmt.Sprintf("`#e`: %d events", comments+2), unit: "REQ/s", target: 1, run: asking("REQ", byE)},
		{name: fmt.Sprintf("`#E` and kind: %d events", comments), unit: "REQ/s", target: 1, run: asking("REQ", byRoot)},
		{name: "the latest 100 of four kinds", unit: "REQ/s", target: 1, run: asking("REQ", latest)},
		{name: "`#a` and kind, counted", unit: "COUNT/s", target: 1, run: asking("COUNT", counts)},
		{name: "negentropy, 10,000 each, 100 differ", unit: "syncs/s", target: 1,
			run: func(h *house, _ [][]byte) (sample, error) {
				return take(h, func() (int, []time.Duration, error) { return w.reconcile(h) })
			}},
	}
}

// measure takes every scenario in turns. Who is first changes from round to round; the first turn of
// each is for warming up and is not counted.
func (w *world) measure(o options, houses []*house, rep *report, only *regexp.Regexp) error {
	for _, sc := range w.scenarios(o) {
		if !only.MatchString(sc.name) {
			continue
		}
		say("measuring %s", sc.name)
		row := rep.row(sc)
		for round := range o.rounds + 1 {
			var prepared [][]byte
			if sc.prepare != nil {
				var err error
				if prepared, err = sc.prepare(round); err != nil {
					return err
				}
			}
			var got [2]sample
			for turn := range houses {
				i := (turn + round) % len(houses)
				var err error
				if got[i], err = sc.run(houses[i], prepared); err != nil {
					return fmt.Errorf("%s: %s: %w", houses[i].name, sc.name, err)
				}
			}
			if round > 0 {
				row.Rounds = append(row.Rounds, got)
			}
		}
		ratio, _, _ := row.spread(func(s [2]sample) float64 { return s[0].rate() / s[1].rate() })
		say("  %.2f times khatru", ratio)
	}
	return nil
}

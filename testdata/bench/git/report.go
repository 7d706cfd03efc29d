package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// A series is what was measured of one metric at one peer.
type series struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	MAD    float64 `json:"mad"` // median distance from the median
	N      int     `json:"n"`
}

// A verdict is a goal and what was reached.
type verdict struct {
	Scenario string  `json:"scenario"`
	Metric   string  `json:"metric"`
	Goal     string  `json:"goal"`
	Reached  float64 `json:"reached"`
	CPU      float64 `json:"cpu,omitempty"` // the same ratio of processor time, where the goal is about time
	Met      bool    `json:"met"`
}

// A report is a run as it is kept.
type report struct {
	Label   string                                  `json:"label"`
	Mode    string                                  `json:"mode"`
	Date    string                                  `json:"date"`
	Commit  string                                  `json:"commit"`
	Machine string                                  `json:"machine"`
	Load    string                                  `json:"load"` // averages before and after
	Took    string                                  `json:"took"`
	Results map[string]map[string]map[string]series `json:"results"` // scenario, metric, peer
	Goals   []verdict                               `json:"goals"`
	Faults  []string                                `json:"faults,omitempty"`

	plan []scenario
}

func (b *bench) report(plan []scenario) *report {
	r := &report{plan: plan, Faults: b.faults, Results: map[string]map[string]map[string]series{}}
	for k, v := range b.samples {
		if r.Results[k.scenario] == nil {
			r.Results[k.scenario] = map[string]map[string]series{}
		}
		if r.Results[k.scenario][k.metric] == nil {
			r.Results[k.scenario][k.metric] = map[string]series{}
		}
		r.Results[k.scenario][k.metric][k.peer] = series{median(v), slices.Min(v), slices.Max(v), spread(v), len(v)}
	}
	r.judge()
	r.Mode = [...]string{"quick", "full"}[b.mode()]
	version, _ := git("/", "version")
	r.Machine = fmt.Sprintf("%d processors (%s), %s, %s", runtime.NumCPU(), processor(), strings.TrimSpace(version), runtime.Version())
	return r
}

// judge compares the figures with the goals.
func (r *report) judge() {
	r.Goals = nil
	for _, g := range goals {
		if v, ok := g.reached(r.value); ok {
			d := verdict{Scenario: g.scenario, Metric: g.metric, Goal: g.String(), Reached: v, Met: g.met(v)}
			if g.metric == mMS && g.peer != "" {
				g.metric = mCPU
				d.CPU, _ = g.reached(r.value)
			}
			r.Goals = append(r.Goals, d)
		}
	}
}

// value returns a median.
func (r *report) value(scenario, metric, peer string) (float64, bool) {
	s, ok := r.Results[scenario][metric][peer]
	return s.Median, ok
}

func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return runtime.GOARCH
}

func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg")
	f := strings.Fields(string(text))
	if len(f) == 0 {
		return "unknown"
	}
	return f[0]
}

func commit() string {
	out, err := exec.Command("git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

var columns = []string{ours, tidy, nginx, goCGI, daemon, local, staticS}

// metricsShown is the order of the rows of one scenario. Processor time stands behind the time.
var metricsShown = []string{mMS, mP99, mRate, mFirst, mMem, mGrow, mGits, mRatio, mSlow}

// rows returns the table: a head, and a row for each scenario and metric.
func (r *report) rows() [][]string {
	out := [][]string{append([]string{"scenario", "figure"}, columns...)}
	for _, s := range r.plan {
		name := s.name
		for _, m := range metricsShown {
			if !r.shows(s.name, m) {
				continue
			}
			row := []string{name, m}
			if m == mMS {
				row[1] = "ms (CPU ms)"
			}
			for _, p := range columns {
				v, ok := r.Results[s.name][m][p]
				switch cpu, has := r.value(s.name, mCPU, p); {
				case !ok:
					row = append(row, "")
				case m == mMS && has:
					row = append(row, fmt.Sprintf("%s (%s)", figure(v.Median), figure(cpu)))
				default:
					row = append(row, figure(v.Median))
				}
			}
			out = append(out, row)
			name = ""
		}
	}
	return out
}

// shows leaves out what says nothing: rates of a single client, the first byte of small answers.
func (r *report) shows(scenario, metric string) bool {
	if len(r.Results[scenario][metric]) == 0 {
		return false
	}
	crowd := manyClients.MatchString(scenario)
	switch metric {
	case mRate, mP99:
		return crowd || scenario == "push-seq"
	case mFirst:
		return strings.HasPrefix(scenario, "raw-clone") && !crowd
	}
	return true
}

// manyClients finds the scenarios of several clients at a time: -c8, -c32-different.
var manyClients = regexp.MustCompile(`-c\d`)

// terminal prints the table in columns.
func (r *report) terminal() {
	rows := r.rows()
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, c := range row {
			width[i] = max(width[i], len([]rune(c)))
		}
	}
	for _, row := range rows {
		for i, c := range row {
			fmt.Printf("%-*s  ", width[i], c)
		}
		fmt.Println()
	}
	fmt.Println()
	met := 0
	for _, v := range r.Goals {
		mark := "no "
		if v.Met {
			mark = "yes"
			met++
		}
		fmt.Printf("%s  %-32s %-13s goal %-22s reached %-8s %s\n", mark, v.Scenario, v.Metric, v.Goal, figure(v.Reached), cpuRatio(v))
	}
	fmt.Printf("\n%d of %d goals are met. %s, load %s, %s.\n", met, len(r.Goals), r.Machine, r.Load, r.Took)
	for _, f := range r.Faults {
		fmt.Println("FAILED", f)
	}
}

// cpuRatio says what a ratio of times is in processor time, which depends less on what else the
// machine does.
func cpuRatio(v verdict) string {
	if v.CPU == 0 {
		return ""
	}
	return "CPU " + figure(v.CPU)
}

const (
	beginMark = "<!-- bench-git: begin -->"
	endMark   = "<!-- bench-git: end -->"
)

// markdown is the section of the page. before is an older run to compare with, or nil.
func (r *report) markdown(before *report) string {
	var b strings.Builder
	w := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	w("%s\n## Serving git, beside others\n\n", beginMark)
	w("`make bench-git DOC=1`; in three minutes, with fewer rounds and nothing large, `make bench-quick DOC=1`. This run: %s, %s, commit %s,\n%s; load average %s; it took %s.\n\n", r.Mode, r.Date, r.Commit, r.Machine, r.Load, r.Took)
	w("Everybody is measured in the same run, in turns, on loopback; figures are medians of rounds. The clients share the processors with the\nservers, so read ratios.\n\n")
	w("**gitroost** is the program with its defaults and fully durable, seeded by `git push`; **gitroost-packed** the same server where the\nrepository was repacked with a bitmap as `git gc` does it, which the others' repositories are; **X** nginx-cgi is nginx + fcgiwrap +\ngit-http-backend; **C** go-cgi is net/http/cgi around it; **D** is git daemon; **L** local is `git upload-pack` in a pipe without any server; **S**\nstatic is the same bytes as files. None of the peers syncs a push to disk. Every answer is checked: status, last packet, refs by name,\npacks by checksum and `git index-pack`, pushes by what is served afterwards.\n\n")
	w("![reads](performance/git-reads.svg)\n![packs](performance/git-packs.svg)\n![pushes](performance/git-pushes.svg)\n\n")
	for i, row := range r.rows() {
		w("| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			w("|%s\n", strings.Repeat("---|", len(row)))
		}
	}
	w("\nSpread (least to most of the rounds, and median distance from the median) of ms:\n\n| scenario | rounds | gitroost | go-cgi |\n|---|---|---|---|\n")
	for _, s := range r.plan {
		a, ok := r.Results[s.name][mMS][ours]
		if !ok {
			continue
		}
		cell := func(s series) string {
			if s.N == 0 {
				return ""
			}
			return fmt.Sprintf("%s–%s, ±%s", figure(s.Min), figure(s.Max), figure(s.MAD))
		}
		w("| %s | %d | %s | %s |\n", s.name, a.N, cell(a), cell(r.Results[s.name][mMS][goCGI]))
	}
	met := 0
	for _, v := range r.Goals {
		if v.Met {
			met++
		}
	}
	w("\n### Goals\n\n%d of %d are met. A goal with a letter is a ratio of the same figure. K is a GRASP server that spawns git for every request and N one\nwith hooks; neither runs here: they are reckoned from C by the ratio they once had side by side. Where times are compared, the ratio of\nprocessor time stands beside: it depends less on what else the machine does.\n\n", met, len(r.Goals))
	old := map[string]verdict{}
	if before != nil {
		w("| scenario | figure | goal | before (%s) | now | met |  |\n|---|---|---|---|---|---|---|\n", before.Commit)
		for _, v := range before.Goals {
			old[v.Scenario+v.Metric+v.Goal] = v
		}
	} else {
		w("| scenario | figure | goal | reached | met |  |\n|---|---|---|---|---|---|\n")
	}
	for _, v := range r.Goals {
		mark := "**no**"
		if v.Met {
			mark = "yes"
		}
		if before == nil {
			w("| %s | %s | %s | %s | %s | %s |\n", v.Scenario, v.Metric, v.Goal, figure(v.Reached), mark, cpuRatio(v))
			continue
		}
		was := ""
		if o, ok := old[v.Scenario+v.Metric+v.Goal]; ok {
			was = figure(o.Reached)
		}
		w("| %s | %s | %s | %s | %s | %s | %s |\n", v.Scenario, v.Metric, v.Goal, was, figure(v.Reached), mark, cpuRatio(v))
	}
	for _, f := range r.Faults {
		w("\nNot measured: %s\n", strings.ReplaceAll(f, "\n", " "))
	}
	w("%s\n", endMark)
	return b.String()
}

// write puts the report into docs: the page's section, the plots, and the figures for later runs.
func (r *report) write(docs string) error {
	dir := filepath.Join(docs, "performance")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var before *report
	if r.Label != "before" {
		if text, err := os.ReadFile(filepath.Join(dir, "git-before.json")); err == nil {
			before = &report{}
			if err := json.Unmarshal(text, before); err != nil {
				return fmt.Errorf("git-before.json: %w", err)
			}
		}
	}
	if err := r.save(filepath.Join(dir, "git-"+r.Label+".json")); err != nil {
		return err
	}
	for name, match := range map[string]func(string) bool{
		"git-reads.svg": func(s string) bool {
			return strings.Contains(s, "refs") && !strings.HasPrefix(s, "push-raw") || strings.Contains(s, "advert") || strings.HasPrefix(s, "ls-")
		},
		"git-packs.svg": func(s string) bool {
			return strings.HasPrefix(s, "raw-") || strings.Contains(s, "clone") || strings.HasPrefix(s, "blobless")
		},
		"git-pushes.svg": func(s string) bool {
			return strings.HasPrefix(s, "push-") && !strings.Contains(s, "advert") || strings.HasPrefix(s, "reject") || s == "grasp-update" || s == "create-repo"
		},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(r.plot(match)), 0o644); err != nil {
			return err
		}
	}
	page := filepath.Join(docs, "performance.md")
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	head, rest, found := strings.Cut(string(text), beginMark)
	if found {
		_, rest, _ = strings.Cut(rest, endMark+"\n")
	} else {
		head = strings.TrimRight(head, "\n") + "\n\n"
	}
	return os.WriteFile(page, []byte(head+r.markdown(before)+rest), 0o644)
}

// save writes the report as JSON.
func (r *report) save(file string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// peersOf returns who was measured, in the order of the columns.
func (r *report) peersOf(scenario, metric string) []string {
	have := slices.Collect(maps.Keys(r.Results[scenario][metric]))
	return slices.DeleteFunc(slices.Clone(columns), func(p string) bool { return !slices.Contains(have, p) })
}

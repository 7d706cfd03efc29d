package main

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A report is what was measured. The first of every two is gitroost, the second khatru.
type report struct {
	Events  int
	CPUs    int
	Go      string
	Load    [2]string // of the machine, at the beginning and at the end
	Took    string
	Fill    [2]sample
	Rows    []*row
	Private [2]memory

	began time.Time
}

type memory struct {
	RSS, Peak, Disk int // KiB
}

type row struct {
	Name, Unit string
	Target     float64
	Rounds     [][2]sample
}

func load() string {
	b, _ := os.ReadFile("/proc/loadavg")
	return strings.Join(strings.Fields(string(b))[:3], " ")
}

func newReport(o options, _ []*house) *report {
	return &report{Events: o.events, CPUs: runtime.NumCPU(), Go: runtime.Version(), Load: [2]string{load()}, began: time.Now()}
}

func (r *report) row(sc scenario) *row {
	out := &row{Name: sc.name, Unit: sc.unit, Target: sc.target}
	r.Rows = append(r.Rows, out)
	return out
}

func (r *report) finish(houses []*house) {
	for i, h := range houses {
		h.rest()
		r.Private[i].RSS, r.Private[i].Peak = h.memory()
		r.Private[i].Disk = h.disk()
	}
	r.Load[1] = load()
	r.Took = time.Since(r.began).Round(time.Second).String()
}

// spread returns the median, the least and the most of what f says of each round.
func (w *row) spread(f func(r [2]sample) float64) (mid, lo, hi float64) {
	list := make([]float64, len(w.Rounds))
	for i, r := range w.Rounds {
		list[i] = f(r)
	}
	slices.Sort(list)
	return list[len(list)/2], list[0], list[len(list)-1]
}

// table writes the report as markdown.
func (r *report) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| scenario | gitroost | khatru | ratio | target | p50 / p99 ms, gitroost | khatru | server CPU each, µs, gitroost | khatru |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, w := range r.Rows {
		if len(w.Rounds) == 0 {
			continue
		}
		rate := func(i int) string {
			mid, lo, hi := w.spread(func(s [2]sample) float64 { return s[i].rate() })
			return fmt.Sprintf("%s (%s–%s)", number(mid), number(lo), number(hi))
		}
		times := func(i int) string {
			p50, _, _ := w.spread(func(s [2]sample) float64 { return s[i].P50.Seconds() * 1e3 })
			p99, _, _ := w.spread(func(s [2]sample) float64 { return s[i].P99.Seconds() * 1e3 })
			return fmt.Sprintf("%s / %s", number(p50), number(p99))
		}
		cpu := func(i int) string {
			mid, _, _ := w.spread(func(s [2]sample) float64 { return s[i].CPU.Seconds() * 1e6 / float64(s[i].Ops) })
			return number(mid)
		}
		mid, lo, hi := w.spread(func(s [2]sample) float64 { return s[0].rate() / s[1].rate() })
		verdict := "missed"
		if mid >= w.Target {
			verdict = "met"
		}
		fmt.Fprintf(&b, "| %s, %s | %s | %s | **%.2f** (%.2f–%.2f) | ≥ %.1f, %s | %s | %s | %s | %s |\n",
			w.Name, w.Unit, rate(0), rate(1), mid, lo, hi, w.Target, verdict, times(0), times(1), cpu(0), cpu(1))
	}
	fmt.Fprintf(&b, "\n| | gitroost | khatru |\n|---|---|---|\n")
	fmt.Fprintf(&b, "| filling the store, EVENT/s | %s | %s |\n", number(r.Fill[0].rate()), number(r.Fill[1].rate()))
	fmt.Fprintf(&b, "| server CPU for each of these events, µs | %s | %s |\n", number(perOp(r.Fill[0])), number(perOp(r.Fill[1])))
	fmt.Fprintf(&b, "| resident at the end / at most, MiB | %d / %d | %d / %d |\n", r.Private[0].RSS>>10, r.Private[0].Peak>>10, r.Private[1].RSS>>10, r.Private[1].Peak>>10)
	fmt.Fprintf(&b, "| on disk, MiB | %d | %d |\n", r.Private[0].Disk>>10, r.Private[1].Disk>>10)
	fmt.Fprintf(&b, "\n%d events, %d processors, %s, load %s at the beginning and %s at the end, %s in all.\n", r.Events, r.CPUs, r.Go, r.Load[0], r.Load[1], r.Took)
	return b.String()
}

func perOp(s sample) float64 { return s.CPU.Seconds() * 1e6 / float64(max(s.Ops, 1)) }

// number writes v with about three digits.
func number(v float64) string {
	switch {
	case v >= 1000:
		n := int(math.Round(v/10) * 10)
		if n >= 100_000 {
			n = int(math.Round(v/1000) * 1000)
		}
		return fmt.Sprintf("%d,%03d", n/1000, n%1000)
	case v >= 10:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2g", v)
}

const (
	beginMark = "<!-- relay comparison: begin -->"
	endMark   = "<!-- relay comparison: end -->"
)

// writeDoc puts the table between the marks of the page.
func (r *report) writeDoc(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(b), beginMark)
	_, after, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no marks %s and %s", path, beginMark, endMark)
	}
	return os.WriteFile(path, []byte(before+beginMark+"\n"+r.table()+endMark+after), 0o644)
}

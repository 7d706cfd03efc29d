package server_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/housetest"
)

// BenchmarkPushWithJobs pushes one commit, the POST alone, to a house where nothing follows from it and to
// one where 20 jobs do, in turns, so that whatever else the machine does is the same for both. The worker
// of the second is busy with something else: what is measured is queueing them. more/p50 is the median of
// how much longer the second of two pushes takes that follow each other; the bar is 2 ms. more-cpu is how
// much more the process works for it, which a busy machine changes less.
func BenchmarkPushWithJobs(b *testing.B) {
	none, twenty := newPusher(b, 0), newPusher(b, 20)
	var without, with, more []time.Duration
	var cpuWithout, cpuWith time.Duration
	for i := 1; b.Loop(); i++ {
		var t0, t1, c0, c1 time.Duration
		if i%2 == 0 { // who goes second may find something warm
			t0, c0 = none.push(i)
			t1, c1 = twenty.push(i)
		} else {
			t1, c1 = twenty.push(i)
			t0, c0 = none.push(i)
		}
		without, with, more = append(without, t0), append(with, t1), append(more, t1-t0)
		cpuWithout, cpuWith = cpuWithout+c0, cpuWith+c1
	}
	b.ReportMetric(median(without), "ms-none/p50")
	b.ReportMetric(median(with), "ms-twenty/p50")
	b.ReportMetric(median(more), "ms-more/p50")
	b.ReportMetric(float64(cpuWithout)/1e6/float64(len(more)), "ms-cpu-none")
	b.ReportMetric(float64(cpuWith-cpuWithout)/1e6/float64(len(more)), "ms-cpu-more")
}

func median(took []time.Duration) float64 {
	slices.Sort(took)
	return float64(took[len(took)/2]) / 1e6
}

// A pusher pushes one commit after another to a house of its own.
type pusher struct {
	b     *testing.B
	h     *housetest.House
	c     *housetest.Conn
	alice *housetest.Key
	w     *housetest.Copy
	at    int64
	tip   string
}

func newPusher(b *testing.B, definitions int) *pusher {
	var file strings.Builder
	file.WriteString("jobs_engine: {workers: 1, owner_queue: 100000, queue: 1000000}\njobs:\n")
	file.WriteString("  - {name: busy, repos: ['*/gate'], on: {push: {}}, exec: {run: [sleep, '3600'], workdir: empty, sandbox: plain}, timeout: 2h}\n")
	for i := range definitions {
		fmt.Fprintf(&file, "  - {name: j%d, repos: ['*/bench'], on: {push: {}}, exec: {run: ['true'], workdir: empty}}\n", i)
	}
	h := housetest.Start(b, housetest.WithJobs(file.String()))
	p := &pusher{b: b, h: h, c: h.Dial(), alice: housetest.NewKey(b), at: time.Now().Unix() - 1_000_000}
	h.Served(p.c, housetest.NewKey(b), "gate", p.at)
	p.w = h.Served(p.c, p.alice, "bench", p.at)
	p.tip = strings.TrimSpace(p.w.Git("rev-parse", "HEAD"))
	return p
}

// push returns how long the i-th push took, and for how long this process worked meanwhile.
func (p *pusher) push(i int) (took, worked time.Duration) {
	p.b.StopTimer()
	defer p.b.StartTimer()
	oid := p.w.CommitFile("f"+strconv.Itoa(i), []byte(strconv.Itoa(i)))
	pack := p.w.Pack(oid, "^"+p.tip)
	p.c.Must(p.alice.State("bench", p.at+int64(i), "main="+oid))
	busy, began := cpuTime(p.b), time.Now()
	p.h.PushRaw(p.h.Repo(p.alice, "bench"), pack, p.tip+" "+oid+" refs/heads/main")
	took, worked = time.Since(began), cpuTime(p.b)-busy
	p.tip = oid
	return took, worked
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

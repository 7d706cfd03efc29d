package server_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/housetest"
)

// A push of one commit, the POST alone, that asks for so many jobs: their worker is busy with something
// else, so that what is measured is queueing them. The bar is 2 ms between none and 20, at the median.
func BenchmarkPushWithJobs(b *testing.B) {
	for _, n := range []int{0, 20} {
		b.Run(fmt.Sprintf("jobs=%d", n), func(b *testing.B) {
			var file strings.Builder
			file.WriteString("jobs_engine: {workers: 1, owner_queue: 100000, queue: 1000000}\njobs:\n")
			file.WriteString("  - {name: busy, repos: ['*/gate'], on: {push: {}}, exec: {run: [sleep, '3600'], workdir: empty, sandbox: plain}, timeout: 2h}\n")
			for i := range n {
				fmt.Fprintf(&file, "  - {name: j%d, repos: ['*/bench'], on: {push: {}}, exec: {run: ['true'], workdir: empty}}\n", i)
			}
			h := housetest.Start(b, housetest.WithJobs(file.String()))
			c, alice := h.Dial(), housetest.NewKey(b)
			at := time.Now().Unix() - 1_000_000
			h.Served(c, housetest.NewKey(b), "gate", at)
			w := h.Served(c, alice, "bench", at)
			tip := strings.TrimSpace(w.Git("rev-parse", "HEAD"))
			var took []time.Duration
			for i := 1; b.Loop(); i++ {
				b.StopTimer()
				oid := w.CommitFile("f"+strconv.Itoa(i), []byte(strconv.Itoa(i)))
				pack := w.Pack(oid, "^"+tip)
				c.Must(alice.State("bench", at+int64(i), "main="+oid))
				b.StartTimer()
				began := time.Now()
				h.PushRaw(h.Repo(alice, "bench"), pack, tip+" "+oid+" refs/heads/main")
				took = append(took, time.Since(began))
				tip = oid
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2])/1e6, "ms/p50")
		})
	}
}

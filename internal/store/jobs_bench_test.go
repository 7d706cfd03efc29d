package store_test

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/jobs/jobstest"
)

// BenchmarkJobs queues, claims and finishes jobs, each step synced to disk before it is answered.
func BenchmarkJobs(b *testing.B) {
	for _, c := range []struct{ goroutines, backlog int }{{1, 0}, {16, 0}, {16, 8000}} {
		goroutines := c.goroutines
		b.Run(fmt.Sprintf("goroutines=%d/backlog=%d", goroutines, c.backlog), func(b *testing.B) {
			q := openQueue(b, jobs.Bounds{PerOwner: 1000, Total: 20_000})
			ids := jobs.NewIDs(time.Now, zeros{})
			ctx := context.Background()
			for i := range c.backlog / 100 {
				var list []jobs.Job
				for n := range 100 {
					list = append(list, jobstest.Make(ids.Next(), jobstest.Repo(50+(100*i+n)%150, "r"), "x", time.Now()))
				}
				if err := q.Enqueue(ctx, list); err != nil {
					b.Fatal(err)
				}
			}
			work := make(chan int)
			var wg sync.WaitGroup
			b.ResetTimer()
			for w := range goroutines {
				wg.Go(func() {
					by := fmt.Sprint("w", w)
					for i := range work {
						now := time.Now()
						if err := q.Enqueue(ctx, []jobs.Job{jobstest.Make(ids.Next(), jobstest.Repo(i%50, "r"), "x", now)}); err != nil {
							b.Error(err)
						}
						j, ok, err := q.Claim(ctx, jobs.Claim{By: by, Now: now.Add(time.Minute), Until: now.Add(time.Hour), PerOwner: 100, PerRepo: 100})
						if err != nil || !ok {
							b.Errorf("claimed %v, %v", ok, err)
							continue
						}
						if err := q.Finish(ctx, by, j.ID, jobs.Ending{State: jobs.OK, At: now}); err != nil {
							b.Error(err)
						}
					}
				})
			}
			for i := range b.N {
				work <- i
			}
			close(work)
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// BenchmarkEnqueue20 queues what a push makes that matches twenty definitions, in one transaction. Besides
// the time it says how much of a processor that took, which a busy machine does not change.
func BenchmarkEnqueue20(b *testing.B) {
	q := openQueue(b, jobs.Bounds{PerOwner: 1 << 30, Total: 1 << 30})
	ids := jobs.NewIDs(time.Now, zeros{})
	cpu := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	began, n := cpu(), 0
	for b.Loop() {
		n++
		list := make([]jobs.Job, 20)
		for i := range list {
			list[i] = jobstest.Make(ids.Next(), jobstest.Repo(n%50, "r"), fmt.Sprint("job", i), time.Now(), func(j *jobs.Job) {
				j.Policy, j.Group, j.Force = jobs.InTurn, fmt.Sprint(n%50, i), false
			})
		}
		if err := q.Enqueue(b.Context(), list); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpu()-began)/1e6/float64(n), "ms-cpu/op")
}

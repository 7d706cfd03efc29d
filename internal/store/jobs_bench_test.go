package store_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/jobs/jobstest"
)

// BenchmarkJobs queues, claims and finishes jobs, each step synced to disk before it is answered.
func BenchmarkJobs(b *testing.B) {
	for _, goroutines := range []int{1, 16} {
		b.Run(fmt.Sprintf("goroutines=%d", goroutines), func(b *testing.B) {
			q := openQueue(b, jobs.Bounds{PerOwner: 1000})
			ids := jobs.NewIDs(time.Now, zeros{})
			ctx := context.Background()
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

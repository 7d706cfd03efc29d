package jobstest_test

import (
	"testing"

	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/jobs/jobstest"
)

func TestMemory(t *testing.T) {
	jobstest.TestQueue(t, func(t *testing.T, b jobs.Bounds) jobs.Queue { return jobstest.NewMemory(b) })
}

package store

import (
	"sync"

	"github.com/gitroost/gitroost/internal/jobs"
)

// A jobEnd is how a job of some kind ended. There are as many as definitions have kinds.
type jobEnd struct {
	kind  string
	state jobs.State
}

// jobEnds counts what was committed since the start.
type jobEnds struct {
	mu sync.Mutex
	n  map[jobEnd]int64
}

func (e *jobEnds) add(list []jobEnd) {
	if len(list) == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.n == nil {
		e.n = map[jobEnd]int64{}
	}
	for _, one := range list {
		e.n[one]++
	}
}

// Ended returns how many jobs of kind ended in state since the store was opened: those that ran, and those
// that never did because they were cancelled, skipped or superseded. Jobs that are OK from the start, because
// what they would do had been done, are not among them.
func (q Jobs) Ended(kind string, state jobs.State) int64 {
	q.s.jobEnds.mu.Lock()
	defer q.s.jobEnds.mu.Unlock()
	return q.s.jobEnds.n[jobEnd{kind, state}]
}

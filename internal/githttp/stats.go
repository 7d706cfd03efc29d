package githttp

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
)

// Stats counts what happened at the door.
type Stats struct {
	Adverts     atomic.Int64 // answers to info/refs
	LsRefs      atomic.Int64 // v2 requests for refs
	Fetches     atomic.Int64 // fetches that were given to git
	FetchErrors atomic.Int64 // of these, those that ended in an error
	Unknown     atomic.Int64 // requests for repositories that do not live here
	Busy        atomic.Int64 // answers 503 for lack of a slot
	Probes      atomic.Int64 // empty pushes by which git tries a connection

	PushesOK        atomic.Int64 // refs moved
	PushesNoop      atomic.Int64 // nothing had to move
	PushesRefused   atomic.Int64 // the rules said no
	PushesFailed    atomic.Int64 // the pack, or something here, was at fault
	PushesAborted   atomic.Int64 // the pusher left, or stalled
	PushesMalformed atomic.Int64 // not understood

	BytesIn  atomic.Int64 // of request bodies, as they came
	BytesOut atomic.Int64 // of answers
}

// slots bound how many do the same thing at once. As many again may wait, for a short time.
type slots struct {
	free    chan struct{}
	waiting chan struct{}
	wait    time.Duration
}

func newSlots(n int, wait time.Duration) slots {
	return slots{free: make(chan struct{}, n), waiting: make(chan struct{}, n), wait: wait}
}

// take returns a function that gives the slot back, or a fault.Busy.
func (s slots) take(ctx context.Context) (release func(), err error) {
	release = func() { <-s.free }
	select {
	case s.free <- struct{}{}:
		return release, nil
	default:
	}
	busy := fault.E(fault.Busy, "githttp: take a slot", textBusy)
	select {
	case s.waiting <- struct{}{}:
		defer func() { <-s.waiting }()
	default:
		return nil, busy
	}
	t := time.NewTimer(s.wait)
	defer t.Stop()
	select {
	case s.free <- struct{}{}:
		return release, nil
	case <-t.C:
		return nil, busy
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

package server

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// tidyEvery is how often is looked whether memory can be given back.
	tidyEvery = 5 * time.Second

	// spareMemory is how much of it is worth the work, and calm how little is asked for between two looks
	// when nobody is busy, in bytes.
	spareMemory = 8 << 20
	calm        = 4 << 20
)

// A heap is what is known of this process's memory, in bytes.
type heap struct {
	held  uint64 // from the system, for objects
	live  uint64 // objects that were in use at the last collection
	asked uint64 // since the start
}

// spare reports whether memory should be given back: there is much that nobody uses, and since the look
// before hardly any was asked for. Who is busy would ask for it again at once.
func (h heap) spare(before heap) bool {
	return h.asked-before.asked < calm && h.held > h.live && h.held-h.live >= spareMemory
}

func readHeap(s []metrics.Sample) heap {
	metrics.Read(s)
	v := func(i int) uint64 {
		if s[i].Value.Kind() != metrics.KindUint64 {
			return 0
		}
		return s[i].Value.Uint64()
	}
	return heap{held: v(0) + v(1) + v(2), live: v(3), asked: v(4)}
}

func heapSamples() []metrics.Sample {
	return []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"},
	}
}

// giveBack returns to the system what a burst of work has left, until ctx ends. Left to itself Go keeps it
// for minutes: a server that one large push has visited looks as if it needed that much for ever.
func giveBack(ctx context.Context) {
	t := time.NewTicker(tidyEvery)
	defer t.Stop()
	samples := heapSamples()
	before := readHeap(samples)
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		now := readHeap(samples)
		if now.spare(before) {
			debug.FreeOSMemory()
			now = readHeap(samples)
		}
		before = now
	}
}

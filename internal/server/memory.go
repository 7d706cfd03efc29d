package server

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// tidyEvery is how often is looked whether memory can be given back.
	tidyEvery = time.Second

	// calm is how little memory is asked for between two looks when nobody is busy, and burst how much since
	// it was last given back makes that worth the work, in bytes.
	calm  = 1 << 20
	burst = 3 << 20

	// restEvery is how many looks lie between two at which the rooms let go of what nobody used since the
	// one before: it goes after a quarter to half a minute.
	restEvery = 15

	// How much may become garbage before the collector runs, in hundredths of what is live: spare where it costs
	// little, and Go's own measure where it ran busyCycles times between two looks or took busyTime, for then it is
	// the processor that is short, and whoever asks for something meanwhile waits. Half of what is live in a
	// quiet house is 3 MiB. It stays so for busyLooks: each change stops everybody for a moment.
	sparePercent = 50
	busyPercent  = 100
	busyCycles   = 4
	busyTime     = 40 * time.Millisecond
	busyLooks    = 10
)

// A heap is what is known of this process's memory.
type heap struct {
	asked  uint64        // bytes, since the start
	cycles uint64        // of the collector, since the start
	spent  time.Duration // by the collector, of processor time that somebody else could have had, since the start
}

// A keeper sees to it that what a burst of work needed is given back.
type keeper struct {
	before heap   // at the last look
	given  uint64 // what heap.asked was when memory was last given back
	looks  int
	busy   int // looks for which the collector is to stay as it is
}

// A care is what has to be done about memory now.
type care struct {
	percent  int  // for the collector
	rest     bool // the rooms let go of what nobody used lately
	giveBack bool
}

// look says what is to be done. Memory is given back when much was asked for since the last time, and hardly any
// since the look before: who is busy would ask for it again at once.
func (k *keeper) look(now heap) care {
	c := care{percent: sparePercent}
	if now.cycles-k.before.cycles >= busyCycles || now.spent-k.before.spent >= busyTime {
		k.busy = busyLooks
	}
	if k.busy > 0 {
		k.busy--
		c.percent = busyPercent
	}
	k.looks++
	c.rest = k.looks%restEvery == 0
	c.giveBack = now.asked-k.before.asked < calm && (c.rest && now.asked != k.given || now.asked-k.given >= burst)
	k.before = now
	return c
}

func readHeap(s []metrics.Sample) (h heap) {
	metrics.Read(s)
	for _, m := range s {
		switch {
		case m.Value.Kind() == metrics.KindBad: // another Go
		case m.Name == heapAsked:
			h.asked = m.Value.Uint64()
		case m.Name == heapCycles:
			h.cycles = m.Value.Uint64()
		case m.Name == heapSpent:
			h.spent += time.Duration(m.Value.Float64() * float64(time.Second))
		case m.Name == heapIdle:
			h.spent -= time.Duration(m.Value.Float64() * float64(time.Second))
		}
	}
	return h
}

const (
	heapAsked  = "/gc/heap/allocs:bytes"
	heapCycles = "/gc/cycles/automatic:gc-cycles"
	heapSpent  = "/cpu/classes/gc/total:cpu-seconds"
	heapIdle   = "/cpu/classes/gc/mark/idle:cpu-seconds" // of heapSpent, what nobody else wanted
)

func heapSamples() []metrics.Sample {
	return []metrics.Sample{{Name: heapAsked}, {Name: heapCycles}, {Name: heapSpent}, {Name: heapIdle}}
}

// keepSmall returns to the system what a burst of work has left, and has the rooms rest, until ctx ends. Left to
// itself Go keeps it for minutes: a server that one large push has visited looks as if it needed that much for
// ever. An operator who sets GOGC has the last word on the collector.
func keepSmall(ctx context.Context, rest ...func()) {
	t := time.NewTicker(tidyEvery)
	defer t.Stop()
	samples := heapSamples()
	k := keeper{before: readHeap(samples)}
	percent := 0
	if os.Getenv("GOGC") == "" {
		percent = sparePercent
		defer debug.SetGCPercent(debug.SetGCPercent(percent))
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		c := k.look(readHeap(samples))
		if percent != 0 && percent != c.percent {
			percent = c.percent
			debug.SetGCPercent(percent)
		}
		if c.rest {
			for _, f := range rest {
				f()
			}
		}
		if c.giveBack {
			debug.FreeOSMemory()
			k.before = readHeap(samples)
			k.given = k.before.asked
		}
	}
}

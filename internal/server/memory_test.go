package server

import (
	"context"
	"runtime"
	"runtime/debug"
	"testing"
)

// Memory is given back once after a burst, when it is over, and not from who is busy; where little happens, once in a
// while; and where nothing does, not again.
func TestKeeper(t *testing.T) {
	const mib = 1 << 20
	var k keeper
	var now heap
	look := func(asked, cycles uint64) care {
		now.asked, now.cycles = now.asked+asked, now.cycles+cycles
		c := k.look(now)
		if c.giveBack {
			k.given = now.asked
		}
		return c
	}
	for i := range 5 {
		if c := look(50*mib, 20); c.giveBack || c.percent != busyPercent {
			t.Fatalf("look %d of a busy server: %+v", i, c)
		}
	}
	if c := look(mib/2, 0); !c.giveBack {
		t.Fatalf("when the burst is over: %+v", c)
	}
	if c := look(mib/2, 0); c.giveBack {
		t.Fatalf("again at once: %+v", c)
	}
	gave, rests := 0, 0
	for range 4 * restEvery {
		c := look(0, 0)
		if c.giveBack {
			gave++
		}
		if c.rest {
			rests++
		}
	}
	if gave != 1 || rests != 4 {
		t.Errorf("in a minute without work memory was given back %d times, and the rooms rested %d times", gave, rests)
	}
	// The collector is spared as long as it runs often or long, and a while after that.
	for _, busy := range []heap{{cycles: busyCycles}, {cycles: 1, spent: busyTime}} {
		now.cycles, now.spent = now.cycles+busy.cycles, now.spent+busy.spent
		if c := look(0, 0); c.percent != busyPercent {
			t.Errorf("after %+v the collector is at %d", busy, c.percent)
		}
		n := 1
		for ; look(0, 1).percent == busyPercent && n < 100; n++ {
		}
		if n != busyLooks {
			t.Errorf("after %+v it is spared for %d looks", busy, n)
		}
	}
	gave = 0
	for range 4 * restEvery {
		if look(mib/2, 1).giveBack {
			gave++
		}
	}
	if gave < 4 || gave > 2*restEvery {
		t.Errorf("in a minute of little work memory was given back %d times", gave)
	}
}

// The figures that keepSmall decides by exist in this Go, and when it ends the collector is as it was.
func TestKeepSmall(t *testing.T) {
	runtime.GC()
	if h := readHeap(heapSamples()); h.asked == 0 || h.spent <= 0 {
		t.Errorf("the runtime does not tell: %+v", h)
	}
	was := debug.SetGCPercent(100)
	defer debug.SetGCPercent(was)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	keepSmall(ctx)
	if now := debug.SetGCPercent(100); now != 100 {
		t.Errorf("the collector is left at %d", now)
	}
}

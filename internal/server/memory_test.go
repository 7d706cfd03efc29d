package server

import "testing"

func TestSpareMemory(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name        string
		before, now heap
		want        bool
	}{
		{"nothing to give", heap{}, heap{held: 20 * mib, live: 18 * mib}, false},
		{"a burst is over", heap{asked: 900 * mib}, heap{held: 60 * mib, live: 12 * mib, asked: 901 * mib}, true},
		{"it goes on", heap{asked: 900 * mib}, heap{held: 60 * mib, live: 12 * mib, asked: 950 * mib}, false},
		{"all that is held is new", heap{}, heap{held: 10 * mib, live: 12 * mib}, false},
	} {
		if got := c.now.spare(c.before); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// What is given back is no longer held, and the figures that say so exist in this Go.
func TestHeapIsKnown(t *testing.T) {
	h := readHeap(heapSamples())
	if h.held == 0 || h.asked == 0 {
		t.Errorf("the runtime does not tell: %+v", h)
	}
}

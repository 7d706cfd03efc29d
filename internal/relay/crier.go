package relay

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	cryAtOnce = 16 // writers that one event wakes by itself; a crier wakes the others
	cryGroup  = 16 // writers that a crier wakes at a time
	cryWait   = time.Millisecond
)

// A crier wakes the writers of clients to whom an event is told that concerns many: a few at a time, the next
// when these have written. If all were woken at once, whoever asks for something at that moment would wait until
// thousands have been told. What they are told stands in their queues already, in order.
type crier struct {
	under atomic.Int64  // writers of this group that have not written yet
	done  chan struct{} // all of the group have

	// mu guards the rest. It may be taken while the mu of a queue is held, and not the other way round.
	mu      sync.Mutex
	list    []*queue // each once
	running bool
}

func newCrier() *crier { return &crier{done: make(chan struct{}, 1)} }

// call has the writer of q woken soon. Call it with q.mu held, after something was put.
func (c *crier) call(q *queue) {
	if q.called || q.cried.Load() { // in the latter case it looks again before it rests
		return
	}
	q.called = true
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, q)
	if !c.running {
		c.running = true
		go c.run()
	}
}

// run ends when all are woken.
func (c *crier) run() {
	patience := time.NewTimer(cryWait)
	defer patience.Stop()
	var group []*queue
	for {
		c.mu.Lock()
		group = append(group[:0], c.list[:min(len(c.list), cryGroup)]...)
		if c.list = c.list[len(group):]; len(c.list) == 0 {
			c.list = nil
		}
		if len(group) == 0 {
			c.running = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		select {
		case <-c.done: // of a group that was not waited for
		default:
		}
		c.under.Store(int64(len(group)))
		for _, q := range group {
			q.cry()
		}
		clear(group)
		// Not for one that does not read.
		patience.Reset(cryWait)
		select {
		case <-c.done:
		case <-patience.C:
		}
	}
}

// wrote notes that a writer has nothing to do any more.
func (c *crier) wrote() {
	if c.under.Add(-1) == 0 {
		poke(c.done)
	}
}

// cry wakes the writer.
func (q *queue) cry() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.called = false
	q.cried.Store(true)
	poke(q.wake)
}

// heard reports whether the writer was woken by a crier, once. Whoever hears yes looks again at what there is.
func (q *queue) heard() bool { return q.cried.Load() && q.cried.CompareAndSwap(true, false) }

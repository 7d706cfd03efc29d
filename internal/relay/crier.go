package relay

import (
	"context"
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
//
// There are two: one for everybody, and one for those who had more than a visitor needs while others are here. That
// one goes through the lane, with its rests. What comes meanwhile waits in the queues and is written together.
type crier struct {
	lane *lane    // or nil
	acct *account // that goes through it
	hits *hits    // where that is counted

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
	if q.called || q.cried.Load() != nil { // in the latter case it looks again before it rests
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
		if len(c.list) == 0 {
			c.running = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		leave := c.stroll() // before the group is chosen: more may join it meanwhile
		c.mu.Lock()
		group = append(group[:0], c.list[:min(len(c.list), cryGroup)]...)
		if c.list = c.list[len(group):]; len(c.list) == 0 {
			c.list = nil
		}
		c.mu.Unlock()
		select {
		case <-c.done: // of a group that was not waited for
		default:
		}
		c.under.Store(int64(len(group)))
		for _, q := range group {
			q.cry(c)
		}
		clear(group)
		// Not for one that does not read.
		patience.Reset(cryWait)
		select {
		case <-c.done:
		case <-patience.C:
		}
		leave()
	}
}

// stroll waits for the lane, if c goes through it and others are here.
func (c *crier) stroll() (leave func()) {
	if c.lane == nil || !c.lane.others() {
		return func() {}
	}
	c.hits.add(hitLightWork)
	w, err := c.lane.enter(context.Background(), c.acct)
	if err != nil {
		return func() {}
	}
	return func() { c.lane.leave(w) }
}

// wrote notes that a writer has nothing to do any more.
func (c *crier) wrote() {
	if c.under.Add(-1) == 0 {
		poke(c.done)
	}
}

// cry wakes the writer, for c.
func (q *queue) cry(c *crier) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.called = false
	q.cried.Store(c)
	poke(q.wake)
}

// heard reports whether the writer was woken by a crier, once, and tells that one. Whoever hears yes looks again at
// what there is.
func (q *queue) heard() bool {
	if q.cried.Load() == nil {
		return false
	}
	c := q.cried.Swap(nil)
	if c != nil {
		c.wrote()
	}
	return c != nil
}

// crierFor returns who wakes the writers of a's clients.
func (r *Relay) crierFor(a *account) *crier {
	if r.aside(a) {
		return r.late
	}
	return r.crier
}

package relay

import (
	"sync"
	"sync/atomic"
)

// An item is one outgoing message: head, or head, body and "]".
type item struct {
	head []byte
	body []byte        // of an event; shared by all who are sent it
	sub  *subscription // of an event or EOSE; nil for other answers
	live bool          // an event that did not come from the store
	more bool          // another item follows at once, or somebody else wakes the writer
}

func (it *item) size() int {
	n := len(it.head)
	if it.body != nil {
		n += len(it.body) + 1
	}
	return n
}

// perItem is what a queued message costs beside its bytes.
const perItem = 64

// A queue holds what is to be sent to one client. Whoever puts into it never waits: a client
// that does not read is given up instead (hardening §10, slow readers).
type queue struct {
	limit int // bytes, answers and events together
	count int // messages
	all   *pool
	acct  *account

	wake chan struct{} // something to do for the writer
	room chan struct{} // the queue went below half of its limit

	// mu guards the rest, and the fields of subscriptions that say so.
	mu    sync.Mutex
	items []item
	next  int // items[next:] are waiting
	bytes int // of items[next:] and of the one being written
	pong  []byte
	bye   []byte // the close frame after the last item
	shut  bool   // nothing is taken any more
	gone  bool   // nor sent, and nothing is counted

	called bool                  // a crier will wake the writer
	cried  atomic.Pointer[crier] // it did, and the writer has not done yet
}

func newQueue(limit, count int, all *pool, acct *account) *queue {
	return &queue{
		limit: limit,
		count: count,
		all:   all,
		acct:  acct,
		wake:  make(chan struct{}, 1),
		room:  make(chan struct{}, 1),
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// put appends it. If that cannot be, which is the end of its client, it returns the bound that was
// met. A queue that is shut swallows everything.
func (q *queue) put(it item) limit {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.putLocked(it)
}

func (q *queue) putLocked(it item) limit {
	if q.shut {
		return noLimit
	}
	n := it.size() + perItem
	switch {
	case len(q.items) == q.next:
	case q.bytes+n > q.limit || len(q.items)-q.next >= q.count:
		return hitQueue
	case q.bytes+n > queueFloor && q.all.full(q.acct, n):
		return hitAllQueues
	}
	q.items = append(q.items, it)
	q.tally(n)
	if !it.more || q.bytes > maxHeld {
		poke(q.wake)
	}
	return noLimit
}

// tally notes that n bytes more wait, or fewer. Call it with mu held.
func (q *queue) tally(n int) {
	if q.gone {
		return
	}
	q.bytes += n
	q.all.add(q.acct, n)
}

// busy reports whether the queue holds as much as answers may fill it with; room is signalled when
// that is no longer so. Where all queues together are half full, that is little.
func (q *queue) busy() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.shut && q.above()
}

func (q *queue) above() bool {
	return q.bytes > q.limit/4 || len(q.items)-q.next > q.count/4 || q.bytes > queueFloor/4 && q.all.tight(q.acct)
}

// take returns the next item that is still wanted. last is the size of the one before, which
// has been written.
func (q *queue) take(last int) (it item, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if last > 0 {
		q.tally(-last - perItem)
	}
	for q.next < len(q.items) {
		it, q.items[q.next] = q.items[q.next], item{}
		q.next++
		// After CLOSE there are no further live events; what was asked for before it is still
		// answered. When the id is used again only the new filters speak (check 102).
		if sub := it.sub; sub != nil && (sub.replaced || sub.dead && it.live) {
			q.tally(-it.size() - perItem)
			continue
		}
		ok = true
		break
	}
	switch {
	case q.next == len(q.items):
		if q.items, q.next = q.items[:0], 0; cap(q.items) > 256 {
			q.items = nil
		}
	case q.next > 1024 && q.next > len(q.items)/2:
		q.items = append(q.items[:0:0], q.items[q.next:]...)
		q.next = 0
	}
	if !q.above() {
		poke(q.room)
	}
	return it, ok
}

// control returns a pong that is due and the close frame, if one of them is.
func (q *queue) control() (pong, bye []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	pong, q.pong = q.pong, nil
	return pong, q.bye
}

// answerPing makes the next thing sent a pong. Of several pings the last is answered.
func (q *queue) answerPing(data string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pong = append(make([]byte, 0, len(data)), data...)
	poke(q.wake)
}

// close takes nothing any more; what waits is sent, and then the close frame.
func (q *queue) close(frame []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.shut {
		q.shut, q.bye = true, frame
		poke(q.wake)
		poke(q.room)
	}
}

// discard drops everything.
func (q *queue) discard() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.shut, q.items, q.next = true, nil, 0
	q.tally(-q.bytes)
	q.gone = true
	poke(q.room)
}

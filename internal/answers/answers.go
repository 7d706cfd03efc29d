// Package answers keeps long answers that many ask for: one writer makes each, at its own speed,
// and everybody who asks for the same follows it.
//
// An answer begins in memory and goes on in a file. Who asks while it is being made joins; who asks
// later, for one that was worth keeping, reads the finished file. A reader that stalls holds up
// nobody: the writer does not wait for it. Only when there is no room left does the writer of that
// one answer go as slowly as its slowest reader, through memory.
//
// An answer is kept from the second time that it is asked for: most never are. What is kept is
// bounded in bytes and in age, and forgotten at a restart. An answer whose writer failed is never
// kept, and its readers are told, so that none takes it for whole.
//
// The package knows neither git nor HTTP, nor what makes two questions the same.
package answers

import (
	"container/list"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// A Key names an answer: a digest of all that it depends on.
type Key [32]byte

// Config are the bounds of a Cache. Zero values mean the defaults, except for Bytes.
type Config struct {
	// Dir is the folder of the files. Open empties it; nobody else may write there.
	Dir string

	// Bytes is how much all answers together may take on disk, those in the making included. 0 is
	// none: then every answer passes through memory, paced by its readers, and none is kept.
	Bytes int64

	// Memory is how much all kept answers that are small may take in memory. Default 16 MiB.
	Memory int64

	// Small is how much of an answer is in memory before it moves to a file; also the memory that
	// an answer passes through while its only reader keeps up, or there is no room on disk.
	// Default 512 KiB.
	Small int

	// Patience is how long, in all, the writer of an answer that was asked for once waits for its only
	// reader before the rest goes to a file: who is behind for a moment need not cost a file that
	// nobody reads again. Default: not at all.
	Patience time.Duration

	// Age is how long an answer is kept after it was made. Default one hour.
	Age time.Duration

	// Now tells the time. It must be set.
	Now func() time.Time
}

// Stats counts. It only grows.
type Stats struct {
	Made   atomic.Int64 // answers that had to be made
	Joined atomic.Int64 // requests that followed one in the making
	Hits   atomic.Int64 // requests answered by a finished one
	Failed atomic.Int64 // answers whose writer failed
	Paced  atomic.Int64 // answers for which there was no room
}

// maxSeen bounds how many keys are remembered to notice a second use.
const maxSeen = 1 << 16

// A Cache keeps answers. It is safe for concurrent use.
type Cache struct {
	cfg   Config
	stats Stats
	large sync.Pool // of *[]byte: buffers of Config.Small bytes

	// mu guards what follows and, of each answer, who uses it. It is taken before an answer's own
	// mu, never after it.
	mu     sync.Mutex
	byKey  map[Key]*answer
	idle   list.List // of *answer: finished, kept, without readers; the one used last in front
	memory int64     // bytes that idle answers have in memory
	disk   int64     // bytes that answers have, or may have at once, on disk
	seq    uint64
	seen   seen
	closed bool
	work   sync.WaitGroup // of writers
}

// Open empties the folder and returns a Cache.
func Open(cfg Config) (*Cache, error) {
	if cfg.Now == nil {
		panic("answers: Config.Now is not set")
	}
	if cfg.Memory <= 0 {
		cfg.Memory = 16 << 20
	}
	if cfg.Small <= 0 {
		cfg.Small = 512 << 10
	}
	if cfg.Age <= 0 {
		cfg.Age = time.Hour
	}
	if cfg.Bytes > 0 {
		if err := os.RemoveAll(cfg.Dir); err != nil {
			return nil, fmt.Errorf("answers: empty the folder: %w", err)
		}
		if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
			return nil, fmt.Errorf("answers: make the folder: %w", err)
		}
	}
	c := &Cache{cfg: cfg, byKey: map[Key]*answer{}}
	c.large.New = func() any { b := make([]byte, 0, cfg.Small); return &b }
	return c, nil
}

// Stats returns the counters.
func (c *Cache) Stats() *Stats { return &c.stats }

// Close ends the writers at work, waits for them, and removes what is kept. Readers of what was
// not finished get an error.
func (c *Cache) Close() {
	c.mu.Lock()
	c.closed = true
	for _, a := range c.byKey {
		a.cancel()
	}
	for e := c.idle.Front(); e != nil; e = c.idle.Front() {
		c.forget(e.Value.(*answer))
	}
	c.mu.Unlock()
	c.work.Wait()
}

// A Fill makes an answer: it writes it to w and returns nil if that was all of it. It must return
// soon after ctx has ended, which happens when all readers are gone. w fails then as well.
type Fill func(ctx context.Context, w io.Writer) error

// How says where an answer comes from.
type How int

// The ways to get an answer.
const (
	Made   How = iota // the first to ask
	Joined            // somebody else had asked, and still reads it
	Hit               // it was kept
)

// Get returns a reader of the answer called key. If there is none, fill is started in a goroutine
// of its own to make it. The reader must be closed.
func (c *Cache) Get(key Key, fill Fill) (*Reader, How) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expire()
	if a := c.byKey[key]; a != nil {
		how := Joined
		if a.place != nil {
			how = Hit
		}
		if r := c.join(a); r != nil {
			a.uses++
			if how == Hit {
				c.stats.Hits.Add(1)
			} else {
				c.stats.Joined.Add(1)
			}
			return r, how
		}
	}
	c.seq++
	ctx, cancel := context.WithCancel(context.Background())
	a := &answer{c: c, key: key, cancel: cancel, uses: 1, alone: true, patience: c.cfg.Patience, readers: map[*Reader]struct{}{}}
	a.path = filepath.Join(c.cfg.Dir, strconv.FormatUint(c.seq, 36))
	if c.seen.before(key) {
		a.uses, a.alone = 2, false
	}
	if c.closed {
		cancel()
	} else {
		c.byKey[key] = a
	}
	r := c.join(a)
	c.stats.Made.Add(1)
	c.work.Go(func() {
		defer cancel()
		a.end(safely(ctx, fill, writer{ctx, a}))
	})
	return r, Made
}

// safely calls fill. A panic there is the failure of this answer, and not of the house.
func safely(ctx context.Context, fill Fill, w io.Writer) (err error) {
	defer func() {
		if e := recover(); e != nil {
			err = fmt.Errorf("answers: the writer panicked: %v\n%s", e, debug.Stack())
		}
	}()
	return fill(ctx, w)
}

// Sweep removes what has become too old. Call it now and then.
func (c *Cache) Sweep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expire()
}

// Kept returns how many answers are kept that nobody reads, and what all take on disk, in bytes.
func (c *Cache) Kept() (n int, disk int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.idle.Len(), c.disk
}

// expire forgets the idle answers that are too old. c.mu is held, as for all that follow.
func (c *Cache) expire() {
	limit := c.cfg.Now().Add(-c.cfg.Age)
	for e := c.idle.Back(); e != nil; {
		a := e.Value.(*answer)
		e = e.Prev()
		if a.made.Before(limit) {
			c.forget(a)
		}
	}
}

// join adds a reader to a, or returns nil if its file cannot be opened again.
func (c *Cache) join(a *answer) *Reader {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done && a.spilled && a.file == nil {
		f, err := os.Open(a.path)
		if err != nil {
			a.mu.Unlock()
			c.forget(a)
			a.mu.Lock()
			return nil
		}
		a.file = f
	}
	if a.place != nil {
		c.idle.Remove(a.place)
		a.place = nil
		c.memory -= int64(len(a.mem))
	}
	r := &Reader{a: a}
	a.readers[r] = struct{}{}
	return r
}

// leave takes a reader away. With the last one the answer is kept, or forgotten; a writer that
// nobody follows is ended.
func (c *Cache) leave(r *Reader) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := r.a
	a.mu.Lock()
	delete(a.readers, r)
	a.signal()
	last, done := len(a.readers) == 0, a.done
	keep := last && done && a.err == nil && !a.paced && !a.private && a.uses >= 2 && c.byKey[a.key] == a && !c.closed
	if keep {
		a.shrink()
		if a.file != nil {
			a.file.Close()
			a.file = nil
		}
	}
	a.mu.Unlock()
	switch {
	case !last:
	case keep:
		a.place = c.idle.PushFront(a)
		c.memory += int64(len(a.mem))
		for e := c.idle.Back(); e != nil && c.memory > c.cfg.Memory; {
			old := e.Value.(*answer)
			e = e.Prev()
			if len(old.mem) > 0 {
				c.forget(old)
			}
		}
	case done:
		c.forget(a)
	default:
		c.unlink(a)
		a.cancel() // end forgets it
	}
}

// unlink makes sure that nobody joins a any more.
func (c *Cache) unlink(a *answer) {
	if c.byKey[a.key] == a {
		delete(c.byKey, a.key)
	}
}

// claim makes sure that a, which was asked for only once, is not asked for again, and reports whether
// that was so.
func (c *Cache) claim(a *answer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.uses != 1 {
		return false
	}
	c.unlink(a)
	return true
}

// forget removes an answer that nobody reads or writes, and what it has on disk.
func (c *Cache) forget(a *answer) {
	c.unlink(a)
	if a.place != nil {
		c.idle.Remove(a.place)
		a.place = nil
		c.memory -= int64(len(a.mem))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	c.disk -= a.release()
}

// reserve takes n more bytes of the room on disk, or reports that there is none, after what nobody
// reads has been removed.
func (c *Cache) reserve(n int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.idle.Back(); e != nil && c.disk+n > c.cfg.Bytes; {
		a := e.Value.(*answer)
		e = e.Prev()
		if a.reserved > 0 {
			c.forget(a)
		}
	}
	if c.disk+n > c.cfg.Bytes {
		return false
	}
	c.disk += n
	return true
}

// seen remembers the keys of two generations, each of at most half of maxSeen.
type seen struct{ now, old map[Key]struct{} }

// before reports whether key was asked for before, and remembers it.
func (s *seen) before(key Key) bool {
	_, now := s.now[key]
	_, old := s.old[key]
	if !now {
		if s.now == nil || len(s.now) >= maxSeen/2 {
			s.old, s.now = s.now, make(map[Key]struct{})
		}
		s.now[key] = struct{}{}
	}
	return now || old
}

package answers

import (
	"container/list"
	"context"
	"io"
	"os"
	"sync"
	"time"
)

// step is how much room on disk is taken at a time, in bytes.
const step = 1 << 20

// An answer is bytes that one writer appends and any number of readers follow.
//
// They lie in memory, mem, until there are too many; then in a file. An answer that was asked for
// only once, and whose only reader keeps up, stays in memory for as long as that is so: what the
// reader has taken is forgotten, and if it falls behind for longer than the writer has patience, the
// file begins there. An answer for which
// there is no room is paced: from base on it passes through mem, which is emptied when all readers
// have caught up.
type answer struct {
	c      *Cache
	key    Key
	path   string
	cancel context.CancelFunc // ends the writer

	// Guarded by Cache.mu.
	uses  int
	place *list.Element // in Cache.idle
	made  time.Time

	// reserved is the room that it has on disk. Only the writer changes it, and release.
	reserved int64

	patience time.Duration // what is left of it; only the writer's

	mu      sync.Mutex
	readers map[*Reader]struct{}
	mem     []byte  // the bytes from base to size
	lent    *[]byte // what mem lies in, if that is one of Cache.large
	base    int64
	file    *os.File // the bytes from start to length; nil if there is none, or nobody reads it
	start   int64
	length  int64
	spilled bool // there is a file
	paced   bool
	alone   bool // asked for once, as far as the writer knows
	private bool // what was taken may be forgotten: nobody can join. Only the writer sets it
	waits   bool // the writer waits for a reader
	size    int64
	done    bool
	err     error         // of the writer; only if done
	wake    chan struct{} // closed at the next change; nil if nobody waits
}

// signal wakes who waits. a.mu is held.
func (a *answer) signal() {
	if a.wake != nil {
		close(a.wake)
		a.wake = nil
	}
}

// change returns a channel that is closed at the next change. a.mu is held.
func (a *answer) change() <-chan struct{} {
	if a.wake == nil {
		a.wake = make(chan struct{})
	}
	return a.wake
}

// release gives up the file and returns how much room it had. Cache.mu and a.mu are held.
func (a *answer) release() (room int64) {
	if a.file != nil {
		a.file.Close()
		a.file = nil
	}
	if a.spilled {
		os.Remove(a.path)
		a.spilled = false
	}
	a.drop()
	room, a.reserved = a.reserved, 0
	return room
}

// drop forgets what is in memory. a.mu is held.
func (a *answer) drop() {
	if a.lent != nil {
		*a.lent = (*a.lent)[:0]
		a.c.large.Put(a.lent)
	}
	a.mem, a.lent = nil, nil
}

// store appends p to what is in memory, in a buffer that was used before if there is much. a.mu is held.
func (a *answer) store(p []byte) {
	if n := len(a.mem) + len(p); n > cap(a.mem) && n > a.c.cfg.Small/8 && n <= a.c.cfg.Small && a.lent == nil {
		a.lent = a.c.large.Get().(*[]byte)
		a.mem = append((*a.lent)[:0], a.mem...)
	}
	a.mem = append(a.mem, p...)
}

// shrink moves what is in memory to where it takes no more room than it needs. a.mu is held.
func (a *answer) shrink() {
	if a.lent != nil {
		mem := append([]byte(nil), a.mem...)
		a.drop()
		a.mem = mem
	}
}

// end is called once, by the writer.
func (a *answer) end(err error) {
	c := a.c
	c.mu.Lock()
	defer c.mu.Unlock()
	a.mu.Lock()
	a.done, a.err = true, err
	a.signal()
	orphan := len(a.readers) == 0
	a.mu.Unlock()
	a.made = c.cfg.Now()
	// The room that was taken and not used.
	if spare := a.reserved - (a.length - a.start); spare > 0 {
		a.reserved -= spare
		c.disk -= spare
	}
	if err != nil {
		c.stats.Failed.Add(1)
		c.unlink(a)
	}
	if orphan {
		c.forget(a)
	}
}

// A writer appends to an answer until its context ends.
type writer struct {
	ctx context.Context
	a   *answer
}

func (w writer) Write(p []byte) (int, error) {
	a, sent := w.a, 0
	for sent < len(p) {
		if err := w.ctx.Err(); err != nil {
			return sent, err
		}
		n, err := a.append(w.ctx, p[sent:])
		sent += n
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// append takes at least one byte of p.
func (a *answer) append(ctx context.Context, p []byte) (int, error) {
	if a.paced { // only the writer sets it
		return a.pass(ctx, p)
	}
	if !a.spilled {
		if a.hold(p) {
			return len(p), nil
		}
		if a.patience > 0 && len(p) <= a.c.cfg.Small/2 && a.await(ctx, len(p)) {
			return 0, nil
		}
		if !a.spill(int64(len(p))) {
			a.pace()
			return 0, nil
		}
	}
	if need := a.size - a.start + int64(len(p)) - a.reserved; need > 0 {
		if need = max(need, step); !a.c.reserve(need) {
			a.pace()
			return 0, nil
		}
		a.reserved += need
	}
	n, err := a.file.WriteAt(p, a.size-a.start)
	a.mu.Lock()
	a.size += int64(n)
	a.length = a.size
	a.signal()
	a.mu.Unlock()
	if err != nil {
		a.pace() // the volume is full: what was written stands
	}
	return n, nil
}

// hold keeps p in memory, or reports that there is no room. Room is made by forgetting what the
// only reader has taken, if nobody asked before: then nobody can join any more.
func (a *answer) hold(p []byte) bool {
	small := a.c.cfg.Small
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.mem)+len(p) > small {
		if !a.alone || len(p) > small/2 {
			return false
		}
		if !a.room(len(p)) {
			return false
		}
		if !a.private {
			// Cache.mu comes first. Whoever joined before it was ours is seen then.
			a.mu.Unlock()
			ours := a.c.claim(a)
			a.mu.Lock()
			if a.private = ours; !ours {
				a.alone = false
				return false
			}
		}
		taken := a.taken()
		a.mem = a.mem[:copy(a.mem, a.mem[taken-a.base:])]
		a.base = taken
	}
	a.store(p)
	a.size += int64(len(p))
	a.signal()
	return true
}

// await waits until the only reader has taken enough for n more bytes, and reports whether that is so.
func (a *answer) await(ctx context.Context, n int) bool {
	now := a.c.cfg.Now
	began := now()
	timer := time.NewTimer(a.patience)
	defer timer.Stop()
	defer func() { a.patience -= now().Sub(began) }()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waits = true
	defer func() { a.waits = false }()
	for {
		if !a.alone { // it is to be kept for others: room does not help then
			return false
		}
		if a.room(n) {
			return true
		}
		if len(a.readers) != 1 {
			return false
		}
		change := a.change()
		a.mu.Unlock()
		select {
		case <-change:
		case <-timer.C:
			a.patience = 0
		case <-ctx.Done():
			a.patience = 0
		}
		a.mu.Lock()
		if a.patience <= 0 {
			return false
		}
	}
}

// taken is up to where all readers have taken the answer. a.mu is held.
func (a *answer) taken() int64 {
	taken := a.size
	for r := range a.readers {
		taken = min(taken, r.off)
	}
	return taken
}

// room reports whether forgetting what was taken makes enough room for n more bytes. a.mu is held.
func (a *answer) room(n int) bool {
	free := a.taken() - a.base
	return free >= int64(a.c.cfg.Small/4) && int64(len(a.mem)+n)-free <= int64(a.c.cfg.Small)
}

// spill moves what is in memory to a file, or reports that it cannot.
func (a *answer) spill(more int64) bool {
	need := max(int64(len(a.mem))+more, step)
	if a.c.cfg.Bytes <= 0 || !a.c.reserve(need) {
		return false
	}
	f, err := os.OpenFile(a.path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err == nil {
		if _, err = f.WriteAt(a.mem, 0); err != nil {
			f.Close()
			os.Remove(a.path)
		}
	}
	if err != nil {
		a.c.mu.Lock()
		a.c.disk -= need
		a.c.mu.Unlock()
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reserved = need
	a.file, a.spilled, a.start, a.length = f, true, a.base, a.size
	a.drop()
	a.base = a.size
	return true
}

// pace lets the rest of the answer pass through memory. Nobody can join from now on.
func (a *answer) pace() {
	c := a.c
	c.stats.Paced.Add(1)
	c.mu.Lock()
	c.unlink(a)
	c.mu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.paced = true
	if a.spilled {
		a.drop()
		a.base = a.size
	}
}

// pass appends to the memory of a paced answer, after its readers have made room.
func (a *answer) pass(ctx context.Context, p []byte) (int, error) {
	for {
		a.mu.Lock()
		if room := a.c.cfg.Small - len(a.mem); room > 0 {
			n := min(room, len(p))
			a.store(p[:n])
			a.size += int64(n)
			a.signal()
			a.mu.Unlock()
			return n, nil
		}
		if a.caughtUp() {
			a.mem, a.base = a.mem[:0], a.size
			drop := a.spilled
			a.mu.Unlock()
			if drop {
				a.c.mu.Lock()
				a.mu.Lock()
				a.start, a.length = 0, 0
				a.c.disk -= a.release()
				a.mu.Unlock()
				a.c.mu.Unlock()
			}
			continue
		}
		change := a.change()
		a.mu.Unlock()
		select {
		case <-change:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// caughtUp reports whether all readers have taken everything. a.mu is held.
func (a *answer) caughtUp() bool {
	for r := range a.readers {
		if r.off < a.size {
			return false
		}
	}
	return true
}

// A Reader follows one answer. It is used by one goroutine at a time.
type Reader struct {
	a      *answer
	off    int64 // what was taken, guarded by answer.mu
	next   int64 // what was handed out
	closed bool
}

// Wait returns when Next has something to say, or ctx has ended: who has much to read into needs it only then.
func (r *Reader) Wait(ctx context.Context) error {
	a := r.a
	a.mu.Lock()
	for {
		r.took()
		if r.off < a.size || a.done {
			a.mu.Unlock()
			return nil
		}
		change := a.change()
		a.mu.Unlock()
		select {
		case <-change:
		case <-ctx.Done():
			return ctx.Err()
		}
		a.mu.Lock()
	}
}

// took counts as taken what was handed out, and tells the writer if it waits for that. a.mu is held.
func (r *Reader) took() {
	if r.off != r.next {
		r.off = r.next
		if r.a.paced || r.a.waits {
			r.a.signal()
		}
	}
}

// Next copies the next bytes into buf and waits for them if need be. What it returned counts as
// taken at the call after. The error is io.EOF at the end of a whole answer, ctx's, or the
// writer's.
func (r *Reader) Next(ctx context.Context, buf []byte) (int, error) {
	if err := r.Wait(ctx); err != nil {
		return 0, err
	}
	a := r.a
	a.mu.Lock()
	switch {
	case r.off < a.length:
		// The file stays for as long as a reader is behind its end.
		f, start, n := a.file, a.start, min(a.length-r.off, int64(len(buf)))
		a.mu.Unlock()
		m, err := f.ReadAt(buf[:n], r.off-start)
		r.next = r.off + int64(m)
		if m > 0 {
			err = nil
		} else if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return m, err
	case r.off < a.size:
		n := copy(buf, a.mem[r.off-a.base:])
		r.next = r.off + int64(n)
		a.mu.Unlock()
		return n, nil
	}
	err := a.err
	a.mu.Unlock()
	if err == nil {
		err = io.EOF
	}
	return 0, err
}

// Whole returns the size of the answer, and true if it is finished and nothing of it was taken yet.
func (r *Reader) Whole() (size int64, ok bool) {
	a := r.a
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.size, a.done && a.err == nil && !a.paced && !a.private && r.next == 0
}

// File opens the file of a Whole answer, which the caller closes. It is nil if the answer is in
// memory, or its file is gone: then Next has it.
func (r *Reader) File() *os.File {
	a := r.a
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.spilled || !a.done {
		return nil
	}
	f, err := os.Open(a.path)
	if err != nil {
		return nil
	}
	return f
}

// Close lets go of the answer. It may be called twice.
func (r *Reader) Close() {
	if !r.closed {
		r.closed = true
		r.a.c.leave(r)
	}
}

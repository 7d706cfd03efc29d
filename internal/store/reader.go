package store

import (
	"context"
	"slices"
	"sync"

	"github.com/gitroost/gitroost/internal/fault"
)

// A reader is a connection that only reads. One query has it at a time.
type reader struct {
	prepared
	used bool // since the last Rest
}

// Readers are the connections that read. Who comes gets the one that was given back last: each holds some
// hundreds of KiB, and so there are only as many as are needed at the same time.
type readers struct {
	turns chan struct{} // one for each reader that has nothing to do; who takes it takes that reader

	mu   sync.Mutex
	free []*reader // the one used last at the end
}

func (p *readers) init(n int) {
	p.turns = make(chan struct{}, n)
	for range n {
		p.put(&reader{}) // connects when it is first needed
	}
}

// get returns the reader that was used last. The caller has taken a turn.
func (p *readers) get() *reader {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.free) - 1
	r := p.free[last]
	p.free = p.free[:last]
	return r
}

// put gives r back.
func (p *readers) put(r *reader) {
	p.mu.Lock()
	p.free = append(p.free, r)
	p.mu.Unlock()
	p.turns <- struct{}{}
}

// rest closes the readers that were not used since the call before, but for one of which only the memory is
// given back.
func (p *readers) rest() {
	var mine []*reader // the one used longest ago in front
	for range cap(p.turns) {
		select {
		case <-p.turns:
			p.mu.Lock()
			mine = append(mine, p.free[0])
			p.free = p.free[1:]
			p.mu.Unlock()
		default:
		}
	}
	for i, r := range mine {
		switch {
		case r.conn == nil || r.used:
		case i < len(mine)-1:
			r.close()
		default:
			_, _ = r.conn.ExecContext(context.Background(), shrink) // if it fails nothing is lost
		}
		r.used = false
	}
	p.mu.Lock()
	p.free = slices.Concat(mine, p.free)
	p.mu.Unlock()
	for range mine {
		p.turns <- struct{}{}
	}
}

// shrink gives back the pages that a connection remembers.
const shrink = "PRAGMA shrink_memory"

// Rest gives back what connections remember that nobody has used since the call before, and closes readers that
// nobody needs. The next one to ask connects again, which takes a millisecond or two.
func (s *Store) Rest() {
	if s.isClosed() {
		return
	}
	s.pool.rest()
	select {
	case s.rested <- struct{}{}:
	default: // the writer knows already
	}
}

// read lends f a reader, with a snapshot that does not change while f runs: what was committed
// before read was called is in it (N-007). The reader is given back as soon as f returns; f must
// return soon after its context has ended.
func (s *Store) read(ctx context.Context, op string, f func(ctx context.Context, r *reader) error) error {
	return s.lend(ctx, op, func(ctx context.Context, r *reader) error { return r.snapshot(ctx, f) })
}

// lend is read without a snapshot: each statement sees what is committed when it begins.
func (s *Store) lend(ctx context.Context, op string, f func(ctx context.Context, r *reader) error) error {
	if err := s.open(ctx, op); err != nil {
		return err
	}
	select {
	case <-s.pool.turns:
	case <-ctx.Done():
		return fault.Wrap(op, ctx.Err())
	case <-s.life.Done():
		return fault.Wrap(op, errClosed)
	}
	r := s.pool.get()
	r.used = true
	defer s.pool.put(r)

	either, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()

	err := r.connect(either, s)
	if err == nil {
		err = f(either, r)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		err = ctx.Err() // the driver says "interrupted"
	case s.life.Err() != nil:
		err = errClosed
	}
	return told(op, err)
}

// open returns why nothing can be read, if so.
func (s *Store) open(ctx context.Context, op string) error {
	if s.life.Err() != nil || s.isClosed() {
		return fault.Wrap(op, errClosed)
	}
	return fault.Wrap(op, ctx.Err())
}

func (s *Store) isClosed() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.closed
}

// connect makes the connection, if there is none.
func (r *reader) connect(ctx context.Context, s *Store) (err error) {
	if r.conn != nil {
		return nil
	}
	if r.conn, err = s.db.Conn(ctx); err != nil {
		r.conn = nil
		return err
	}
	// Belt and braces: nothing here writes, and nothing here could.
	if _, err := r.conn.ExecContext(ctx, "PRAGMA query_only = ON"); err != nil {
		r.close()
		return err
	}
	return nil
}

func (r *reader) snapshot(ctx context.Context, f func(ctx context.Context, r *reader) error) (err error) {
	// The snapshot must be given back whatever ctx says.
	always := context.WithoutCancel(ctx)
	if err := r.exec(always, "BEGIN"); err != nil {
		r.close()
		return err
	}
	defer func() {
		if end := r.exec(always, "ROLLBACK"); end != nil {
			r.close() // it connects anew the next time
		}
	}()
	return f(ctx, r)
}

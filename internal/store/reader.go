package store

import (
	"context"

	"github.com/gitroost/gitroost/internal/fault"
)

// A reader is a connection that only reads. One query has it at a time.
type reader struct{ prepared }

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
	var r *reader
	select {
	case r = <-s.pool:
	case <-ctx.Done():
		return fault.Wrap(op, ctx.Err())
	case <-s.life.Done():
		return fault.Wrap(op, errClosed)
	}
	defer func() { s.pool <- r }()

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

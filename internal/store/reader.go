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
	if s.life.Err() != nil || s.isClosed() {
		return fault.Wrap(op, errClosed)
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

	err := r.snapshot(either, s, f)
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

func (s *Store) isClosed() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.closed
}

func (r *reader) snapshot(ctx context.Context, s *Store, f func(ctx context.Context, r *reader) error) (err error) {
	if r.conn == nil {
		if r.conn, err = s.db.Conn(ctx); err != nil {
			r.conn = nil
			return err
		}
		// Belt and braces: nothing here writes, and nothing here could.
		if _, err := r.conn.ExecContext(ctx, "PRAGMA query_only = ON"); err != nil {
			r.close()
			return err
		}
	}
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

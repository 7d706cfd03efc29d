package store

import (
	"context"
	"database/sql"
)

// What is committed stands in the write-ahead log until it is folded into the file. To fold takes a tenth
// of a second and more, most of it spent waiting for the disk, so somebody else than the writer does it:
// readers and the writer go on meanwhile. When the writer never pauses, the log never comes to be empty
// by this alone; at twice the length (dsn) the writer folds the rest itself, which is little by then, and
// the log begins anew.

// How many quarters of a page of the log each change is taken for. A page that many transactions changed
// is folded once, so what is long is worth waiting for: 32 MiB.
const (
	longLog = 4 * 8192
	ofLaid  = 1
	ofFiled = 4 * 6
	ofOther = 4 * 16
)

// written notes what was just committed, and has the log folded when it is long.
func (s *Store) written(batch []*request) {
	for _, req := range batch {
		switch {
		case req.err != nil:
		case len(req.lesson.laid) > 0:
			s.unfolded += ofLaid
		case len(req.lesson.filed) > 0:
			s.unfolded += ofFiled * len(req.lesson.filed)
		default:
			s.unfolded += ofOther
		}
	}
	if s.unfolded >= longLog {
		s.unfolded = 0
		select {
		case s.fold <- struct{}{}:
		default: // it is being done
		}
	}
}

// folding is the goroutine that folds the log into the file, until the store closes.
func (s *Store) folding(conn *sql.Conn) {
	defer close(s.folded)
	defer conn.Close()
	for {
		select {
		case <-s.fold:
		case <-s.life.Done():
			return
		}
		if _, err := conn.ExecContext(s.life, "PRAGMA wal_checkpoint(PASSIVE)"); err != nil && s.life.Err() == nil {
			s.cfg.Log.Warn("store: the log cannot be folded now, the writer will do it", "err", err)
		}
	}
}

// folder makes the connection of folding.
func (s *Store) folder(ctx context.Context) error {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	go s.folding(conn)
	return nil
}

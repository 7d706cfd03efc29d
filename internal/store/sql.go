package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/pace"
)

// A prepared is a connection that prepares every statement once. The texts of statements are
// constants, so there are as many as this package has, and no more.
//
// SQLite prepares a statement anew, which takes longer than most do, whenever a value is bound that it
// looked at when it planned: one that is compared with a column in the condition of a partial index, so that
// statements name their index; and a limit, unless it is an expression. That is why limits are "?4+0".
type prepared struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

func (p *prepared) stmt(text string) (*sql.Stmt, error) {
	if st, ok := p.stmts[text]; ok {
		return st, nil
	}
	st, err := p.conn.PrepareContext(context.Background(), text)
	if err != nil {
		return nil, err
	}
	if p.stmts == nil {
		p.stmts = map[string]*sql.Stmt{}
	}
	p.stmts[text] = st
	return st, nil
}

func (p *prepared) exec(ctx context.Context, text string, args ...any) error {
	st, err := p.stmt(text)
	if err != nil {
		return err
	}
	_, err = st.ExecContext(ctx, args...)
	return err
}

// insert is exec for a statement that adds one row, whose number it returns, or none: then it
// returns 0.
func (p *prepared) insert(ctx context.Context, text string, args ...any) (seq int64, err error) {
	st, err := p.stmt(text)
	if err != nil {
		return 0, err
	}
	res, err := st.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	if n, err := res.RowsAffected(); n == 0 || err != nil {
		return 0, err
	}
	return res.LastInsertId()
}

// stepRows is after how many rows a statement lets others go first (package pace).
const stepRows = 64

// rows calls each with every row. Only the step to the first row can be interrupted by the end of
// ctx: statements that may have to pass over many rows later on must be bounded by a LIMIT.
func (p *prepared) rows(ctx context.Context, text string, args []any, each func(scanner) error) error {
	st, err := p.stmt(text)
	if err != nil {
		return err
	}
	rows, err := st.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for n := 1; rows.Next(); n++ {
		if err := each(rows); err != nil {
			return err
		}
		if n%stepRows == 0 {
			pace.Step(ctx)
		}
	}
	pace.Step(ctx)
	return rows.Err()
}

// row scans the first row into dest and reports whether there is one. It is for what takes
// microseconds: to be able to interrupt it would cost more than to wait for it. Who asks in a loop
// looks at its context from time to time.
func (p *prepared) row(text string, args []any, dest ...any) (bool, error) {
	st, err := p.stmt(text)
	if err != nil {
		return false, err
	}
	err = st.QueryRow(args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// close ends the connection for good: whatever state it is in, nobody meets it again.
func (p *prepared) close() {
	for _, st := range p.stmts {
		st.Close()
	}
	p.stmts = nil
	if p.conn != nil {
		_ = p.conn.Raw(func(any) error { return driver.ErrBadConn }) // else the pool keeps it
		p.conn.Close()
		p.conn = nil
	}
}

// resultCode returns SQLite's primary result code of err, or 0 if it is not SQLite's.
func resultCode(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() & 0xff
	}
	return 0
}

// told gives an error of the database the code that says what the caller can do about it.
func told(op string, err error) error {
	switch resultCode(err) {
	case sqlite3.SQLITE_FULL:
		return &fault.Error{Code: fault.Busy, Op: op, Text: "the disk is full", Err: err}
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return &fault.Error{Code: fault.Busy, Op: op, Text: "the database is busy", Err: err}
	}
	return fault.Wrap(op, err)
}

// hopeless reports whether err is about the file and not about the change that met it: then there
// is no use in trying the others.
func hopeless(err error) bool {
	switch resultCode(err) {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB,
		sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED,
		sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_MISUSE:
		return true
	}
	return false
}

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/migrations"
)

// An Examination is what can be seen of a database without writing to it.
type Examination struct {
	Schema, Newest int    // the schema of the file, and the one that this program brings it to
	Damage         string // what SQLite's quick check found first, or ""
	Unfinished     bool   // the check was not over when the context ended: the file is large
	Size           int64  // bytes, with the log beside it
	Repos, Events  int64
}

// Examine looks at the database at path, also while a server works on it: it only reads. A file that is
// not there is a fault.NotFound, one that is not ours a fault.Refused.
func Examine(ctx context.Context, path string) (Examination, error) {
	const op = "store: examine"
	var e Examination
	abs, err := filepath.Abs(path)
	if err != nil {
		return e, fault.Wrap(op, err)
	}
	st, err := os.Stat(abs)
	if errors.Is(err, fs.ErrNotExist) {
		return e, fault.Errorf(fault.NotFound, op, "%s is not there", path)
	}
	if err != nil {
		return e, fault.Wrap(op, err)
	}
	e.Size = st.Size()
	if log, err := os.Stat(abs + "-wal"); err == nil {
		e.Size += log.Size()
	}
	all, err := steps(migrations.SQLite, "sqlite")
	if err != nil {
		return e, fault.Wrap(op, err)
	}
	e.Newest = len(all)

	q := url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(5000)", "query_only(ON)", "trusted_schema(OFF)", "mmap_size(0)"}, "_defensive": {"1"}}
	if _, err := os.Stat(abs + "-wal"); errors.Is(err, fs.ErrNotExist) {
		// Nobody has it open. To open a log beside it would leave files behind.
		q.Set("immutable", "1")
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: abs, RawQuery: q.Encode()}).String())
	if err != nil {
		return e, fault.Wrap(op, err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	var app int
	if err := db.QueryRowContext(ctx, `SELECT (SELECT user_version FROM pragma_user_version), (SELECT application_id FROM pragma_application_id)`).Scan(&e.Schema, &app); err != nil {
		return e, fault.Wrap(op, err)
	}
	if app != appID {
		return e, fault.Errorf(fault.Refused, op, "%s is another program's database", path)
	}
	if e.Schema == e.Newest {
		if err := db.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM repos), (SELECT coalesce(max(rowid), 0) FROM events)`).Scan(&e.Repos, &e.Events); err != nil {
			return e, fault.Wrap(op, fmt.Errorf("what it holds cannot be read: %w", err))
		}
	}
	var found string
	switch err := db.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&found); {
	case err != nil && ctx.Err() != nil:
		e.Unfinished = true
	case err != nil:
		return e, fault.Wrap(op, err)
	case found != "ok":
		e.Damage = found
	}
	return e, nil
}

package store

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/migrations"
)

// appID marks a file as ours: "gtRS" as a big-endian number.
const appID = 0x67745253

// A step brings the schema to version.
type step struct {
	version int
	name    string
	sql     string
}

// steps returns the migrations in order. They are numbered 1, 2, 3… without a gap.
func steps(fsys fs.FS, dir string) ([]step, error) {
	names, err := fs.Glob(fsys, path.Join(dir, "*.sql")) // in lexical order
	if err != nil {
		return nil, err
	}
	var out []step
	for i, name := range names {
		number, _, _ := strings.Cut(path.Base(name), "_")
		if n, err := strconv.Atoi(number); err != nil || n != i+1 {
			return nil, fmt.Errorf("migration %s is not number %d", name, i+1)
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		out = append(out, step{i + 1, path.Base(name), string(text)})
	}
	return out, nil
}

// migrate brings the schema to the newest version, each step in a transaction that also writes
// the version: a crash leaves one version or the next, never something between.
func migrate(ctx context.Context, conn *sql.Conn) error {
	all, err := steps(migrations.SQLite, "sqlite")
	if err != nil {
		return err
	}
	var version, app, tables int
	if err := conn.QueryRowContext(ctx, `SELECT (SELECT user_version FROM pragma_user_version),
		(SELECT application_id FROM pragma_application_id),
		(SELECT count(*) FROM sqlite_schema)`).Scan(&version, &app, &tables); err != nil {
		return err
	}
	if app != appID && (app != 0 || version != 0 || tables != 0) {
		return fault.E(fault.Refused, "store: migrate", "this file is another program's database")
	}
	if version > len(all) {
		return fault.Errorf(fault.Refused, "store: migrate",
			"the database has schema %d, and this version knows only up to %d: use the newer version that wrote it", version, len(all))
	}
	// Not before it is known that the file is ours: this changes it.
	var mode string
	if err := conn.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("the database has journal mode %s: the folder does not allow a write-ahead log", mode)
	}
	pending := all[version:]
	if tables == 0 {
		pending = []step{together(all)}
	}
	for _, st := range pending {
		if err := st.run(ctx, conn); err != nil {
			return fmt.Errorf("migration %s: %w", st.name, err)
		}
	}
	return nil
}

// together makes one step of all: for a file that is new, where one wait for the disk does for all of them.
func together(all []step) step {
	var b strings.Builder
	for _, st := range all {
		b.WriteString(st.sql)
		b.WriteString("\n;\n") // whether it ends with one or not
	}
	return step{len(all), "all of them", b.String()}
}

func (st step) run(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	for _, q := range []string{
		st.sql,
		fmt.Sprintf("PRAGMA application_id = %d", appID),
		fmt.Sprintf("PRAGMA user_version = %d", st.version),
		"COMMIT",
	} {
		if _, err := conn.ExecContext(ctx, q); err != nil {
			_, _ = conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
			return err
		}
	}
	return nil
}

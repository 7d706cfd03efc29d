// Package migrations carries the numbered SQL that brings a database from one schema to the
// next. A file's name begins with the number of the schema that it leads to: "0001_ledger.sql".
// A file that was released is never changed: what comes after goes into the next one.
//
// The package knows no Go types and runs nothing; the room that owns the database does both.
package migrations

import "embed"

// SQLite holds the steps for SQLite, in the folder "sqlite".
//
//go:embed sqlite/*.sql
var SQLite embed.FS

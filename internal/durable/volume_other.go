//go:build !linux

package durable

import (
	"io/fs"
	"path/filepath"
)

// SyncTree makes everything below path survive a crash of the machine.
func SyncTree(path string) error {
	return filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() && !d.Type().IsRegular() {
			return err
		}
		return syncPath(p)
	})
}

// Begin has what was written of a file so far brought to disk, where the system can do that without waiting. It is
// advice, and promises nothing.
func Begin(string) {}

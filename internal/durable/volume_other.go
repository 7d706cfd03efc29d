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

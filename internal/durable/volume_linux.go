package durable

import (
	"os"

	"golang.org/x/sys/unix"
)

// SyncTree makes everything below path survive a crash of the machine, with one call for the volume
// it is on: many small files at the price of a few.
func SyncTree(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return os.NewSyscallError("syncfs", unix.Syncfs(int(f.Fd())))
}

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

// Begin has what was written of a file so far brought to disk, and does not wait until it is there: a SyncFile has
// less to do then. It is advice, and promises nothing.
func Begin(path string) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
}

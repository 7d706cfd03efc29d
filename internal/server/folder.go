package server

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gitroost/gitroost/internal/fault"
)

// lockFolder keeps a second process out of the data folder until unlock is called or the process
// ends.
func lockFolder(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fault.Errorf(fault.Invalid, "server: data folder", "cannot write to the data folder: %v", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fault.Errorf(fault.Invalid, "server: data folder", "another gitroost uses %s; stop it, or choose another folder with --data", path)
		}
		return nil, fault.Errorf(fault.Invalid, "server: data folder", "cannot lock %s: %v", path, err)
	}
	return func() {
		// Closing is not enough: a child between fork and exec still has the descriptor.
		_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
		f.Close()
	}, nil
}

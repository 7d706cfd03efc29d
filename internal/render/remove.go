package render

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gitroost/gitroost/internal/durable"
	"github.com/gitroost/gitroost/internal/fault"
)

// Remove takes away what Publish put into dir, and dir itself if nothing else is in it: what others put there
// stays. Still is asked when nobody can publish there any more, and nothing is removed unless it agrees. While
// a Publish works there the error is a fault.Busy. What is not there is removed already, and a folder that no
// Publish ever made its own is left alone. Who dies in between leaves the rest to the next Remove.
func Remove(dir string, still func() (bool, error)) error {
	const op = "render: remove"
	if fi, err := os.Lstat(dir); err != nil || !fi.IsDir() {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return fault.Wrap(op, err)
	}
	lock := filepath.Join(dir, lockName)
	switch fi, err := os.Lstat(lock); {
	case errors.Is(err, fs.ErrNotExist):
		// Nobody published here, or a Remove was broken off when all was gone but the folder.
		os.Remove(dir)
		return nil
	case err != nil:
		return fault.Wrap(op, err)
	case !fi.Mode().IsRegular():
		return nil
	}
	unlock, err := lockFolder(lock)
	if err != nil {
		return fault.Wrap(op, err)
	}
	defer unlock()
	if ok, err := still(); err != nil || !ok {
		return fault.Wrap(op, err)
	}
	f := &folder{dir: dir}
	if f.current() > 0 { // first: nobody shall read half of it
		if err := os.Remove(filepath.Join(dir, currentName)); err != nil {
			return fault.Wrap(op, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fault.Wrap(op, err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir() && number(e.Name()) > 0:
			err = os.RemoveAll(path)
		case strings.HasPrefix(e.Name(), currentName+".") && strings.HasSuffix(e.Name(), durable.TempSuffix):
			err = os.Remove(path)
		}
		if err != nil {
			return fault.Wrap(op, err)
		}
	}
	// The lock goes last: it says that this folder was ours. Whoever waits for it finds the folder gone, and
	// makes it anew.
	if err := os.Remove(lock); err != nil {
		return fault.Wrap(op, err)
	}
	os.Remove(dir) // stays if somebody else's files are in it
	return nil
}

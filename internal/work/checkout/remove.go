package checkout

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gitroost/gitroost/internal/durable"
	"github.com/gitroost/gitroost/internal/fault"
)

// How far Remove looks, below the folder of a repository: names in definitions are no deeper.
const (
	maxDepth = 8
	maxSeen  = 10_000
)

// Remove takes away what was published below dir, the folder that a repository has for itself: links, and
// generations beside them in folders that bear our mark. Whatever else is there stays, and so do the folders
// that hold it (S3-14). Still is asked when nobody can publish there any more, and nothing is removed unless it
// agrees. While something is published there the error is a fault.Busy. Who dies in between leaves the rest to
// the next Remove.
func Remove(dir string, still func() (bool, error)) error {
	seen := 0
	return fault.Wrap("checkout: remove", removeBelow(dir, 0, &seen, still))
}

func removeBelow(dir string, depth int, seen *int, still func() (bool, error)) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var faults []error
	for _, e := range entries {
		if *seen++; *seen > maxSeen || !e.IsDir() {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if link, ok := strings.CutSuffix(path, generations); ok && filepath.Base(link) != "" && marked(path) {
			faults = append(faults, removePlace(link, still))
		} else if depth < maxDepth {
			faults = append(faults, removeBelow(path, depth+1, seen, still))
		}
	}
	os.Remove(dir) // stays if something is in it
	return errors.Join(faults...)
}

// marked reports whether a folder of generations is ours.
func marked(dir string) bool {
	path := filepath.Join(dir, markName)
	if fi, err := os.Lstat(path); err != nil || !fi.Mode().IsRegular() || fi.Size() > 64<<10 {
		return false
	}
	var is claim
	data, err := os.ReadFile(path)
	return err == nil && json.Unmarshal(data, &is) == nil && is.By == "gitroost"
}

// removePlace removes a link, and the folder of its generations.
func removePlace(link string, still func() (bool, error)) error {
	dir := link + generations
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o640)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fault.Errorf(fault.Busy, "checkout", "something is being published to %s", link)
	}
	if ok, err := still(); err != nil || !ok {
		return err
	}
	ours := func(path string) bool {
		to, err := os.Readlink(path)
		return err == nil && strings.HasPrefix(to, filepath.Base(dir)+"/"+genBegin)
	}
	beside, _ := filepath.Glob(escapeGlob(link) + ".*" + durable.TempSuffix)
	for _, path := range append([]string{link}, beside...) {
		if ours(path) { // first: nobody shall read half of it
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		switch {
		case e.IsDir() && (number(name) > 0 || strings.HasPrefix(name, freshBegin)):
			err = os.RemoveAll(filepath.Join(dir, name))
		case strings.HasPrefix(name, markName+".") && strings.HasSuffix(name, durable.TempSuffix):
			err = os.Remove(filepath.Join(dir, name))
		}
		if err != nil {
			return err
		}
	}
	// The mark goes when nothing of ours is left, and a lock is nobody's file.
	if err := os.Remove(filepath.Join(dir, markName)); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, lockName)); err != nil {
		return err
	}
	os.Remove(dir) // stays if somebody else's files are in it
	return nil
}

// escapeGlob writes path so that a pattern means it.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

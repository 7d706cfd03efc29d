package work

import (
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/gitroost/gitroost/internal/fault"
)

// A Filer is a Spec that is told paths of files. Whoever reads it from a configuration makes those absolute
// that are relative, before the job is queued: they are below the folder of the configuration.
type Filer interface {
	Files() []*string
}

func hostsFiles(known *string) []*string {
	if _, ok := hostsFile(*known); !ok {
		return nil
	}
	return []*string{known}
}

// hostsFile says whether what known_hosts says is the path of a file. No line of such a file begins with
// a slash or is without a space.
func hostsFile(known string) (path string, ok bool) {
	return known, known != "" && !strings.Contains(known, "\n") && (known[0] == '/' || !strings.Contains(known, " "))
}

// ReadKnownHosts returns the lines that known_hosts says, or those of the file that it names.
func ReadKnownHosts(known string) ([]byte, error) {
	path, ok := hostsFile(known)
	if !ok {
		return []byte(strings.TrimRight(known, "\n") + "\n"), nil
	}
	if !filepath.IsAbs(path) {
		return nil, fault.Errorf(fault.Invalid, "ssh", "known_hosts: %.200s is relative, and nobody knows to what; write the whole path", path)
	}
	f, err := os.Open(path)
	if err == nil {
		defer f.Close()
		var b []byte
		if b, err = io.ReadAll(io.LimitReader(f, maxKnownHosts+1)); err == nil && len(b) <= maxKnownHosts {
			return b, nil
		}
		if err == nil {
			return nil, fault.Errorf(fault.TooLarge, "ssh", "known_hosts: %s is larger than 1 MiB; a file with the keys of this one host will do", path)
		}
	}
	return nil, fault.Errorf(fault.Invalid, "ssh", "known_hosts: %v; make it with ssh-keyscan, and compare the keys", err)
}

// maxKnownHosts bounds a file of known hosts, in bytes.
const maxKnownHosts = 1 << 20

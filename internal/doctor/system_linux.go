package doctor

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// remoteFiles returns the kind of a file system that other computers share, or "".
func remoteFiles(path string) string {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return ""
	}
	switch uint32(st.Type) {
	case unix.NFS_SUPER_MAGIC:
		return "NFS"
	case 0xff534d42, 0xfe534d42, 0x517b:
		return "SMB"
	case 0x01021997:
		return "9p"
	}
	return ""
}

// space returns how many bytes and how many more files fit; files are -1 where that is no question.
func space(path string) (free, files int64, known bool) {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return 0, 0, false
	}
	files = -1
	if st.Files > 0 {
		files = int64(st.Ffree)
	}
	return int64(st.Bavail) * int64(st.Bsize), files, true
}

// clockSynced asks the kernel whether something keeps the clock right.
func clockSynced() (synced, known bool) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t) // asks only: no mode is set
	if err != nil {
		return false, false
	}
	return state != unix.TIME_ERROR, true
}

func openFiles() (uint64, bool) {
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) != nil {
		return 0, false
	}
	return r.Max, true // a program of Go raises its own limit that far
}

// controlGroups returns why jobs cannot have control groups of their own, or "". It makes none.
func controlGroups() string {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "this process is in none"
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil {
		return "cgroup v2 is not mounted"
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			own := filepath.Join("/sys/fs/cgroup", path)
			if _, err := os.Stat(own); err != nil {
				own = "/sys/fs/cgroup"
			}
			if unix.Access(own, unix.W_OK) != nil {
				return "the group of this process cannot be written by it; systemd hands one over with Delegate=yes"
			}
			return ""
		}
	}
	return "this process is in none"
}

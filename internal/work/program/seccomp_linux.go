package program

import (
	"encoding/binary"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/gitroost/gitroost/internal/fault"
)

// memFile returns a file in memory that holds data, to be read from its beginning.
func memFile(name string, data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fault.Wrap("exec: memory file", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(data); err != nil {
		f.Close()
		return nil, fault.Wrap("exec: memory file", err)
	}
	if _, err := f.Seek(0, 0); err != nil {
		f.Close()
		return nil, fault.Wrap("exec: memory file", err)
	}
	return f, nil
}

// arches are the machines that the filter knows, by the number under which the kernel tells them.
var arches = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}

// denied are the system calls that no build needs and that attacks on the kernel begin with.
var denied = []uint32{
	unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_PTRACE,
	unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_KEXEC_LOAD, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_SETNS, unix.SYS_UNSHARE, unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF,
	unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER,
	unix.SYS_IO_URING_REGISTER, unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_KCMP,
	unix.SYS_PIDFD_GETFD, unix.SYS_SYSLOG, unix.SYS_VHANGUP, unix.SYS_SETDOMAINNAME, unix.SYS_SETHOSTNAME, unix.SYS_CLOCK_SETTIME, unix.SYS_SETTIMEOFDAY,
}

// seccompFile returns the filter of system calls for programs in a sandbox, as bwrap reads it; ok is
// false on machines that it does not know.
func seccompFile() (f *os.File, ok bool, err error) {
	arch, ok := arches[runtime.GOARCH]
	if !ok {
		return nil, false, nil
	}
	type ins = unix.SockFilter
	const (
		load    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		atLeast = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		ret     = unix.BPF_RET | unix.BPF_K
		nr, ar  = 0, 4 // where the number of the call and the machine are
		allow   = 0x7fff0000
		eperm   = 0x00050000 | uint32(unix.EPERM)
		enosys  = 0x00050000 | uint32(unix.ENOSYS)
	)
	code := []ins{{Code: load, K: ar}, {Code: equal, K: arch, Jt: 1}, {Code: ret, K: enosys}, {Code: load, K: nr}}
	if runtime.GOARCH == "amd64" {
		code = append(code, ins{Code: atLeast, K: 0x40000000, Jf: 1}, ins{Code: ret, K: enosys}) // the x32 interface
	}
	for _, call := range denied {
		code = append(code, ins{Code: equal, K: call, Jf: 1}, ins{Code: ret, K: eperm})
	}
	code = append(code, ins{Code: ret, K: allow})
	data := make([]byte, 0, 8*len(code))
	for _, c := range code {
		data = binary.NativeEndian.AppendUint16(data, c.Code)
		data = append(data, c.Jt, c.Jf)
		data = binary.NativeEndian.AppendUint32(data, c.K)
	}
	f, err = memFile("seccomp", data)
	return f, err == nil, err
}

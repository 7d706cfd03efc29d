package run

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"
)

// A Contained is a program that somebody else wrote, or chose, and that may not outlive what it was
// started for: neither it nor anything that it began. Unlike a Command it has limits before its first
// instruction, it can never gain privileges, and its output may come on two streams without end.
type Contained struct {
	// Kind is the name under which the start is counted: "exec". Required.
	Kind string

	Path string // absolute
	Args []Arg
	Env  []string // the whole environment, as KEY=value
	Dir  string   // absolute
	User *User    // nil is who runs us

	// Stdin is copied by a goroutine of its own. nil is an empty input. It must come to an end soon
	// after the context has ended.
	Stdin io.Reader

	// Stdout and Stderr receive what it says, each from one goroutine. If one fails, the rest is
	// thrown away. nil throws all away.
	Stdout, Stderr io.Writer

	Files  []*os.File // passed on as descriptors 3, 4, …; the caller closes them
	Bounds Bounds

	// Wrapped says that the program is a wrapper with what matters below it. It is not asked to end
	// itself, only what is below it is: otherwise the end would be sudden.
	Wrapped bool

	// Mark is one KEY=value of Env that nothing else has. What left the process group is found by it.
	Mark string

	// Group holds all that comes of it, and ends it for sure. May be nil.
	Group *Group

	// Begin is called when it was started and has not run yet. If it fails, it never will.
	Begin func(Leader) error

	// Watch is called at least about every tenth of a second with what it uses. If it fails, all is ended, and
	// the error is Contain's. It is called from one goroutine, and not after Contain returned.
	Watch func(Use) error

	// Grace is how long it has between TERM and KILL. Default 10 s.
	Grace time.Duration
}

// Bounds hold for each process that comes of a Contained, by the kernel. A zero field is no limit.
type Bounds struct {
	CPU      time.Duration
	Memory   uint64 // address space, bytes
	FileSize uint64 // bytes
	Tasks    uint64 // processes and threads of its user; root has no such bound
	Nice     bool   // let others go first
}

// A User is whom a program runs as.
type User struct {
	UID, GID uint32
	Groups   []uint32
}

// A Leader is what a process is known by, also after a restart of this one.
type Leader struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // in ticks since the machine was started
	Boot  string `json:"boot"`
}

// A Use is what the processes of one Contained use at a moment.
type Use struct {
	Tasks  int   // processes and threads
	Memory int64 // bytes that are resident, what is shared counted each time
	Full   bool  // all of it was looked at now, not only the number of processes
}

// An Outcome is how a Contained ended.
type Outcome struct {
	Code   int            // -1 if a signal ended it
	Signal syscall.Signal // or 0
	MaxRSS int64          // bytes, of the largest process, or of all where the kernel says so
	CPU    time.Duration  // of all that was waited for, or of all where the kernel says so
}

func (c *Contained) check() error {
	if c.Kind == "" || len(c.Path) == 0 || c.Path[0] != '/' || len(c.Dir) == 0 || c.Dir[0] != '/' {
		return errors.New("a contained program needs a kind, an absolute path and an absolute folder")
	}
	return nil
}

package run

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// A launch is a program that is to be started, and where to say how that went.
type launch struct {
	cmd  *exec.Cmd
	done chan<- error
}

// launches leads to the one thread that starts programs.
var launches = sync.OnceValue(func() chan<- launch {
	queue := make(chan launch)
	go func() {
		runtime.LockOSThread() // and never unlocked: this thread ends when the process does
		for l := range queue {
			l.done <- l.cmd.Start()
		}
	}()
	return queue
})

// startProgram starts cmd so that the kernel ends it when this process ends, however that comes about. It would
// otherwise go on writing where the next process already tidies up. The kernel watches the thread that started it,
// not the process: therefore it must be one that stays.
func startProgram(cmd *exec.Cmd) error {
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	done := make(chan error, 1)
	launches() <- launch{cmd, done}
	return <-done
}

package run_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/run"
)

// dies is set where TestChildrenDieWithUs runs a second time, as the process that is killed.
const dies = "GITROOST_TEST_DIES"

// I5, I8: a child ends with the process that started it, also if that is killed: it would go on writing where the
// next process tidies up.
func TestChildrenDieWithUs(t *testing.T) {
	if fifo := os.Getenv(dies); fifo != "" {
		_, err := run.New(run.Config{}).Run(t.Context(), sh(t, "exec >"+fifo+"; echo up; exec sleep 600"))
		t.Fatal("the child ended: ", err)
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	// Open for writing too, until the child has it: opening does not wait, and reading does not end, for want of a writer.
	out, err := os.OpenFile(fifo, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	parent.Env = append(os.Environ(), dies+"="+fifo)
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	defer parent.Process.Kill()
	ended := make(chan error, 1)
	go func() { ended <- parent.Wait() }()
	in, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	in.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.ReadFull(in, make([]byte, len("up\n"))); err != nil {
		t.Fatal(err)
	}
	out.Close()
	parent.Process.Kill()
	<-ended
	in.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.Copy(io.Discard, in); err != nil {
		t.Error("the child lives on: ", err)
	}
}

package joblog_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gitroost/gitroost/internal/joblog"
)

// Whatever lies in a file, it is read without harm, and what is read of it is in it.
func FuzzFrame(f *testing.F) {
	f.Add([]byte("\x01\x05\x04abc"), []byte("GR\x00\x00"))
	f.Add([]byte("\x81\x00\x07stdout"), []byte("GR\x05\x00\x00\x01\x01s\x00"))
	f.Fuzz(func(t *testing.T, b, extra []byte) {
		if n, err := joblog.ParseFrame(b); err == nil && (n <= 0 || n > len(b)) {
			t.Errorf("a frame of %d bytes in %d", n, len(b))
		}
		if n, err := joblog.ParseMember(extra, b); err == nil && n != len(b) {
			t.Errorf("lines of %d bytes in %d", n, len(b))
		}
	})
}

func FuzzFile(f *testing.F) {
	f.Add([]byte("grlog1\r\n\x00\x00\x00\x00\x00\x00\x00\x01\x81\x00\x02s\x01\x00\x02x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		os.MkdirAll(filepath.Join(dir, "live"), 0o700)
		os.WriteFile(filepath.Join(dir, "live", job+".1.log"), b, 0o600)
		os.MkdirAll(filepath.Join(dir, job[len(job)-2:]), 0o700)
		os.WriteFile(filepath.Join(dir, job[len(job)-2:], job+".2.log.gz"), b, 0o600)
		l, err := joblog.Open(joblog.Config{Dir: dir, Now: (&clock{}).Now})
		if err != nil {
			t.Fatal(err)
		}
		for n := range 3 {
			if x, err := l.Text(job, n); err == nil {
				x.Close()
			}
			if f, err := l.Follow(job, n, 0); err == nil {
				for err == nil {
					_, err = f.Next(t.Context())
				}
				f.Close()
			}
		}
	})
}

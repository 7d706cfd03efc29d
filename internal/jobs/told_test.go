package jobs_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/jobs/jobstest"
)

// lines is what a logger writes.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

// S3-52, S4-43: every line of the log about a job is JSON and carries the push that it follows from; and who waits for a
// job is told when the queue knows how it ended.
func TestEngineTells(t *testing.T) {
	h := open(t)
	log, told := &lines{}, make(chan jobs.ID, 10)
	stop := h.start("a", func(c *jobs.Config) {
		c.Log = slog.New(slog.NewJSONHandler(log, nil))
		c.Told = func(id jobs.ID) {
			if j, err := h.Job(t.Context(), id); err != nil || j.State == jobs.Running {
				t.Errorf("told of %s %s, %v", id, j.State, err)
			}
			told <- id
		}
	})
	id := h.add(jobstest.Repo(1, "r"), "test", func(j *jobs.Job) { j.Push, j.Retry = "7f3a", jobs.Retry{Max: 1} })
	for _, end := range []jobs.State{jobs.Failed, jobs.OK} {
		a := h.next()
		a.end <- jobs.Result{State: end}
		if got := await(t, "the news", told); got != id {
			t.Errorf("told of %s", got)
		}
		h.clock.Advance(1 << 40) // until it is tried again
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	var said []string
	for in := bufio.NewScanner(&log.b); in.Scan(); {
		var line struct {
			Msg, Push, Job, State string
			Attempt               int
		}
		if err := json.Unmarshal(in.Bytes(), &line); err != nil {
			t.Fatalf("%s: %v", in.Bytes(), err)
		}
		if line.Job == string(id) {
			said = append(said, fmt.Sprintf("%s %s %d %s", line.Msg, line.Push, line.Attempt, line.State))
		}
	}
	want := []string{"job begins 7f3a 1 ", "job 7f3a 1 queued", "job begins 7f3a 2 ", "job 7f3a 2 ok"}
	if fmt.Sprint(said) != fmt.Sprint(want) {
		t.Errorf("the log says\n%q\nwant\n%q", said, want)
	}
}

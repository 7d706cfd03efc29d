package jobview

import (
	"strings"

	"github.com/gitroost/gitroost/internal/jobs"
)

// A ListPage is what a person is shown of a list of jobs.
type ListPage struct {
	Page
	Repo, Name, Since string // the filters, as they were typed
	States            []jobs.State
	First             bool   // it is the first page
	Older             string // the address of the page that follows, or ""
}

// A JobPage is what a person is shown of one job.
type JobPage struct {
	View
	Lines   []string // the end of the log, Readable
	Omitted int64    // bytes of the log before these
	LogSize int64    // bytes of the log
	LogMark int64    // where to follow it from
}

// maxShown is how many lines of a log a page shows.
const maxShown = 2000

// SetLog takes the end of a log.
func (p *JobPage) SetLog(b []byte) {
	text := strings.TrimSuffix(string(b), "\n")
	if text == "" {
		return
	}
	lines := strings.Split(text, "\n")
	if n := len(lines) - maxShown; n > 0 {
		for _, l := range lines[:n] {
			p.Omitted += int64(len(l)) + 1
		}
		lines = lines[n:]
	}
	for _, l := range lines {
		p.Lines = append(p.Lines, Readable([]byte(l)))
	}
}

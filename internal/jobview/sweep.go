package jobview

import (
	"context"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/joblog"
	"github.com/gitroost/gitroost/internal/jobs"
)

// sweepBatch is how many jobs are asked for at a time.
const sweepBatch = 200

// SweepLogs removes the logs that r does not keep at now, by age, by number and by bytes, and returns how many; the
// jobs stay and say that their log is expired (S0-29).
func SweepLogs(ctx context.Context, shelf jobs.Shelf, logs *joblog.Logs, r jobs.Retention, now time.Time) (int, error) {
	const op = "jobview: sweep"
	total := 0
	for {
		old, err := shelf.OldLogs(ctx, r, now, sweepBatch)
		if err != nil {
			return total, fault.Wrap(op, err)
		}
		ids := make([]jobs.ID, 0, len(old))
		for _, j := range old {
			// The file first: whoever dies in between finds the row again.
			if err := logs.Remove(string(j.ID)); err != nil {
				return total, fault.Wrap(op, err)
			}
			ids = append(ids, j.ID)
		}
		if len(ids) == 0 {
			return total, nil
		}
		if err := shelf.LogsGone(ctx, ids); err != nil {
			return total, fault.Wrap(op, err)
		}
		if total += len(ids); len(ids) < sweepBatch {
			return total, nil
		}
	}
}

// orphanAge is how old a log is at least that is removed because nobody knows its job.
const orphanAge = 24 * time.Hour

// SweepOrphans removes logs of jobs that nobody knows any more: the database is another one. It looks at one shelf of
// the logs, the one that follows after, and returns which: in the end all are looked at again and again.
func SweepOrphans(ctx context.Context, shelf jobs.Shelf, logs *joblog.Logs, after string, now time.Time) (string, error) {
	const op = "jobview: sweep"
	shelves, err := logs.Shelves()
	if err != nil || len(shelves) == 0 {
		return "", fault.Wrap(op, err)
	}
	at := shelves[0]
	for _, s := range shelves {
		if s > after {
			at = s
			break
		}
	}
	stored, err := logs.Stored(at, now.Add(-orphanAge))
	if err != nil {
		return at, fault.Wrap(op, err)
	}
	for _, name := range stored {
		_, err := shelf.Job(ctx, jobs.ID(name))
		if err == nil {
			continue
		}
		if !fault.Is(err, fault.NotFound) {
			return at, fault.Wrap(op, err)
		}
		if err := logs.Remove(name); err != nil {
			return at, fault.Wrap(op, err)
		}
	}
	return at, nil
}

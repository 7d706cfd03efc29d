package store

import (
	"context"
	"strings"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
)

func (q Jobs) list(ctx context.Context, op, text string, args ...any) (out []jobs.Job, err error) {
	err = q.read(ctx, op, func(ctx context.Context, r *reader) error {
		out = out[:0]
		return r.rows(ctx, text, args, func(row scanner) error {
			j, err := scanJob(row)
			out = append(out, j)
			return err
		})
	})
	return out, err
}

// Job is part of jobs.Shelf.
func (q Jobs) Job(ctx context.Context, id jobs.ID) (job jobs.Job, err error) {
	const op = "store: job"
	var found bool
	err = q.read(ctx, op, func(ctx context.Context, r *reader) error {
		job, found, err = r.jobByID(ctx, id)
		return err
	})
	if err == nil && !found {
		return jobs.Job{}, noSuchJob(op, id)
	}
	return job, err
}

// The ways to list jobs. ?1 is the limit; then the id before which they are, the time since when,
// a name or ”, states or ”, a ref or ”, and what each begins with.
const (
	jobsRest = ` AND id < ?2 AND created >= ?3 AND (?4 = '' OR name = ?4) AND (?5 = '' OR instr(?5, ',' || state || ',')) AND (?6 = '' OR ref = ?6) ORDER BY id DESC LIMIT ?1+0`

	sqlJobs        = `SELECT ` + jobColumns + ` FROM jobs WHERE 1` + jobsRest
	sqlJobsOfOwner = `SELECT ` + jobColumns + ` FROM jobs WHERE owner = ?7` + jobsRest
	sqlJobsOfRepo  = `SELECT ` + jobColumns + ` FROM jobs INDEXED BY jobs_repo WHERE owner = ?7 AND identifier = ?8 AND box = ?9` + jobsRest
	sqlJobsOfRun   = `SELECT ` + jobColumns + ` FROM jobs INDEXED BY jobs_run WHERE run = ?7` + jobsRest

	// of one job on one ref of a repository: its last ones are found however long its history is
	sqlJobsOfLine = `SELECT ` + jobColumns + ` FROM jobs INDEXED BY jobs_line WHERE owner = ?7 AND identifier = ?8 AND box = ?9 AND name = ?4 AND ref = ?6
		AND id < ?2 AND created >= ?3 AND (?5 = '' OR instr(?5, ',' || state || ',')) ORDER BY id DESC LIMIT ?1+0`
)

// List is part of jobs.Shelf. An owner and a repository that contradict each other are of no job.
func (q Jobs) List(ctx context.Context, f jobs.Filter) ([]jobs.Job, error) {
	const op = "store: jobs"
	before, states, since := "~", "", int64(-1<<63)
	if f.Before != "" {
		before = string(f.Before)
	}
	if !f.Since.IsZero() {
		since = clampNanos(f.Since)
	}
	if len(f.States) > 0 {
		var b strings.Builder
		for _, s := range f.States {
			b.WriteString("," + string(s))
		}
		states = b.String() + ","
	}
	text, args := sqlJobs, []any{f.Page(), before, since, f.Name, states, string(f.Ref)}
	owner := f.Owner
	if f.Repo != (grasp.Addr{}) {
		if owner != "" && owner != f.Repo.Owner {
			return nil, nil
		}
		owner = f.Repo.Owner
	}
	var key id32
	if owner != "" {
		var err error
		if key, err = need32("owner", owner); err != nil {
			return nil, fault.Wrap(op, err)
		}
	}
	switch {
	case f.Run != "":
		text, args = sqlJobsOfRun, append(args, string(f.Run))
	case f.Repo != (grasp.Addr{}) && f.Name != "" && f.Ref != "":
		text, args = sqlJobsOfLine, append(args, key[:], f.Repo.ID, f.Repo.Box)
	case f.Repo != (grasp.Addr{}):
		text, args = sqlJobsOfRepo, append(args, key[:], f.Repo.ID, f.Repo.Box)
	case owner != "":
		text, args = sqlJobsOfOwner, append(args, key[:])
	}
	list, err := q.list(ctx, op, text, args...)
	if err != nil || f.Run == "" {
		return list, err
	}
	var out []jobs.Job // of a run there are few
	for _, j := range list {
		if (owner == "" || j.Repo.Owner == owner) && (f.Repo == (grasp.Addr{}) || j.Repo == f.Repo) {
			out = append(out, j)
		}
	}
	return out, nil
}

// Counts is part of jobs.Shelf.
func (q Jobs) Counts(ctx context.Context) (map[jobs.State]int, error) {
	out := map[jobs.State]int{}
	err := q.read(ctx, "store: jobs", func(ctx context.Context, r *reader) error {
		return r.rows(ctx, `SELECT 'waiting_for_approval', count(*) FROM jobs INDEXED BY jobs_unapproved WHERE state = 'waiting_for_approval'
			UNION ALL SELECT 'waiting', count(*) FROM jobs INDEXED BY jobs_waiting WHERE state = 'waiting'
			UNION ALL SELECT 'queued', count(*) FROM jobs INDEXED BY jobs_queued WHERE state = 'queued'
			UNION ALL SELECT 'running', count(*) FROM jobs INDEXED BY jobs_running WHERE state = 'running'`, nil, func(row scanner) error {
			var s jobs.State
			var n int
			err := row.Scan(&s, &n)
			if n > 0 {
				out[s] = n
			}
			return err
		})
	})
	return out, err
}

// Scheduled is part of jobs.Shelf.
func (q Jobs) Scheduled(ctx context.Context, repo grasp.Addr, name string) (due time.Time, err error) {
	const op = "store: scheduled"
	owner, err := need32("owner", repo.Owner)
	if err != nil {
		return due, fault.Wrap(op, err)
	}
	err = q.read(ctx, op, func(ctx context.Context, r *reader) error {
		var at int64
		ok, err := r.row(`SELECT due FROM job_dues WHERE owner = ?1 AND identifier = ?2 AND box = ?3 AND name = ?4`,
			[]any{owner[:], repo.ID, repo.Box, name}, &at)
		if ok {
			due = fromNanos(&at)
		}
		return err
	})
	return due, err
}

// SetScheduled is part of jobs.Shelf.
func (q Jobs) SetScheduled(ctx context.Context, repo grasp.Addr, name string, at time.Time) error {
	const op = "store: scheduled"
	owner, err := need32("owner", repo.Owner)
	if err != nil {
		return fault.Wrap(op, err)
	}
	return q.book(ctx, op, func(a *applier) error {
		return a.exec(a.ctx, `INSERT OR IGNORE INTO job_dues (owner, identifier, box, name, due) VALUES (?1, ?2, ?3, ?4, ?5)`,
			owner[:], repo.ID, repo.Box, name, clampNanos(at))
	})
}

// OldLogs is part of jobs.Shelf. It goes through all jobs that have a log: it is for the sweeper.
func (q Jobs) OldLogs(ctx context.Context, r jobs.Retention, now time.Time, limit int) ([]jobs.Job, error) {
	return q.list(ctx, "store: old logs", `SELECT `+jobColumns+` FROM jobs WHERE id IN (SELECT id FROM (
			SELECT id, ended, row_number() OVER (PARTITION BY owner, identifier, box ORDER BY id DESC) AS n,
				sum(log_bytes) OVER (ORDER BY id DESC ROWS UNBOUNDED PRECEDING) AS bytes
			FROM jobs INDEXED BY jobs_logs WHERE log = 'kept' AND state NOT IN ('waiting_for_approval', 'waiting', 'queued', 'running'))
		WHERE ?1 > 0 AND ended < ?2 OR ?3 > 0 AND n > ?3 OR ?4 > 0 AND bytes > ?4) ORDER BY id DESC LIMIT ?5+0`,
		int64(r.LogAge), clampNanos(now.Add(-r.LogAge)), r.LogsOfRepo, r.LogBytes, limit)
}

// LogsOfGone returns up to limit jobs that ended before a time, have a log, and are of repositories that have
// no home here any more, not even as deleted ones.
func (q Jobs) LogsOfGone(ctx context.Context, before time.Time, limit int) ([]jobs.Job, error) {
	return q.list(ctx, "store: logs of repositories that are gone", `SELECT `+jobColumns+` FROM jobs INDEXED BY jobs_logs
		WHERE log = 'kept' AND state NOT IN ('waiting_for_approval', 'waiting', 'queued', 'running') AND box = 0 AND ended < ?1
		AND NOT EXISTS (SELECT 1 FROM repos r WHERE r.identifier = jobs.identifier AND r.owner = jobs.owner) ORDER BY id DESC LIMIT ?2+0`,
		clampNanos(before), limit)
}

// LogsGone is part of jobs.Shelf.
func (q Jobs) LogsGone(ctx context.Context, ids []jobs.ID) error {
	return q.book(ctx, "store: logs gone", func(a *applier) error {
		for _, id := range ids {
			if err := a.exec(a.ctx, `UPDATE jobs SET log = 'expired' WHERE id = ?1 AND log = 'kept'`, string(id)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Prune is part of jobs.Shelf. It looks at all jobs without holding up the writer, and then removes
// what it found.
func (q Jobs) Prune(ctx context.Context, r jobs.Retention, now time.Time, limit int) (int, error) {
	const op = "store: prune jobs"
	var ids []string
	err := q.read(ctx, op, func(ctx context.Context, rd *reader) error {
		ids = ids[:0]
		return rd.rows(ctx, `SELECT id FROM (
				SELECT id, ended, log, row_number() OVER (PARTITION BY owner, identifier, box ORDER BY id DESC) AS n,
					row_number() OVER (PARTITION BY owner, identifier, box, name, ref ORDER BY id DESC) AS line
				FROM jobs WHERE state NOT IN ('waiting_for_approval', 'waiting', 'queued', 'running'))
			WHERE log <> 'kept' AND (?1 > 0 AND (ended < ?2 AND line > 1 OR ended < ?3) OR ?4 > 0 AND n > ?4) ORDER BY id DESC LIMIT ?5+0`,
			[]any{int64(r.Age), clampNanos(now.Add(-r.Age)), clampNanos(now.Add(-jobs.MaxLast * r.Age)), r.PerRepo, limit},
			func(row scanner) error {
				var id string
				err := row.Scan(&id)
				ids = append(ids, id)
				return err
			})
	})
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	err = q.book(ctx, op, func(a *applier) error {
		for _, id := range ids {
			if err := a.exec(a.ctx, `DELETE FROM jobs WHERE id = ?1 AND state NOT IN ('waiting_for_approval', 'waiting', 'queued', 'running')`, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(ids), nil
}

package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/gitroost/gitroost/internal/jobs"
)

// Whoever pushes waits for the transaction that queues what follows. To put twenty jobs where they are
// found, each under what it is asked for, takes that much longer; to write down what they are takes next to
// nothing. So a change that makes many lays them down whole, as one row, and they are put in their places
// as soon as anybody reads or writes jobs, which the engine does when it is told of them, or when there is
// nothing else to do. Nobody ever sees a queue without them.

const (
	fewJobs = 4 // see Config.FewJobs

	// maxIntake is how many jobs are laid down at most.
	maxIntake = 400

	// tellAfter is how long the engine is left alone after a change made jobs.
	tellAfter = 20 * time.Millisecond
)

// A laidJob is a job as it is laid down.
type laidJob struct {
	Job  jobs.Job
	Move int64 // as jobRow.move
}

// takeIn queues the jobs of a change: at once if they are few, or if one of them may be one too many; else
// it lays them down.
func (a *applier) takeIn(rows []jobRow, moved map[movedRef]int64) error {
	if len(rows) == 0 {
		return nil
	}
	for i := range rows {
		rows[i].move = moved[rows[i].ref()]
	}
	if ok, err := a.canWait(rows); err != nil || !ok {
		if err == nil {
			err = a.settleIntake()
		}
		if err == nil {
			err = a.jobs(rows)
		}
		return err
	}
	list := make([]laidJob, len(rows))
	for i := range rows {
		list[i] = laidJob{*rows[i].Job, rows[i].move}
	}
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	a.intake += len(rows)
	return a.exec(a.ctx, `INSERT INTO job_intake (jobs) VALUES (?1)`, text)
}

// canWait reports whether rows can be laid down: whoever made them need not hear what becomes of them,
// for there is room for all.
func (a *applier) canWait(rows []jobRow) (bool, error) {
	if len(rows) <= a.cfg.FewJobs || a.intake+len(rows) > maxIntake {
		return false, nil
	}
	bounds := a.cfg.Jobs.OrElse()
	most := bounds.Total
	for i := range rows {
		r := &rows[i]
		if r.Trigger == jobs.OnSchedule || r.Approval.Missing() {
			return false, nil
		}
		if r.pool == jobs.TellPool {
			most = min(most, bounds.Told)
		} else {
			most = min(most, bounds.PerOwner)
		}
		if budget := bounds.Of(r.Budget); budget != (jobs.Usage{}) && r.pool != jobs.TellPool {
			if used, err := a.spent(r); err != nil || used.Over(budget) {
				return false, err
			}
		}
	}
	all, err := a.pending()
	return all+a.intake+len(rows) <= most, err
}

// pending returns how many jobs wait that are in their places.
func (a *applier) pending() (n int, err error) {
	_, err = a.row(`SELECT pending FROM job_counts`, nil, &n)
	return n, err
}

// settleIntake puts what was laid down in its places.
func (a *applier) settleIntake() error {
	if a.intake == 0 {
		return nil
	}
	a.intake = 0
	var texts [][]byte
	if err := a.rows(a.ctx, `SELECT jobs FROM job_intake ORDER BY n`, nil, func(row scanner) error {
		var text []byte
		err := row.Scan(&text)
		texts = append(texts, text)
		return err
	}); err != nil {
		return err
	}
	for _, text := range texts {
		var list []laidJob
		if err := json.Unmarshal(text, &list); err != nil {
			// Nobody can ever read it: to keep it would keep all others from running.
			a.cfg.Log.Error("store: jobs that were laid down cannot be read and are not run", "err", err, "bytes", len(text))
			continue
		}
		all := make([]jobs.Job, len(list))
		for i := range list {
			all[i] = list[i].Job
		}
		rows, err := jobRows(all)
		if err != nil {
			a.cfg.Log.Error("store: jobs that were laid down are not what a queue takes, and are not run", "err", err)
			continue
		}
		for i := range rows {
			rows[i].move = list[i].Move
		}
		if err := a.jobs(rows); err != nil {
			return err
		}
	}
	return a.exec(a.ctx, `DELETE FROM job_intake`)
}

// countIntake is for the start.
func (s *Store) countIntake(ctx context.Context) error {
	var n int
	if err := s.writer.rows(ctx, `SELECT count(*) FROM job_intake`, nil, func(row scanner) error { return row.Scan(&n) }); err != nil {
		return err
	}
	s.writer.laidDown = n // rows are at least as many
	s.intake.Store(int64(n))
	return nil
}

// book is Store.book for what reads or writes jobs.
func (q Jobs) book(ctx context.Context, op string, f func(a *applier) error) error {
	return q.s.book(ctx, op, func(a *applier) error {
		if err := a.settleIntake(); err != nil {
			return err
		}
		return f(a)
	})
}

// read is Store.read for what reads jobs.
func (q Jobs) read(ctx context.Context, op string, f func(ctx context.Context, r *reader) error) error {
	if q.s.intake.Load() > 0 {
		if err := q.book(ctx, op, func(*applier) error { return nil }); err != nil {
			return err
		}
	}
	return q.s.read(ctx, op, f)
}

// settleJobs puts what was laid down in its places while there is nothing else to do. Only the writer
// calls it.
func (s *Store) settleJobs() error {
	req := &request{plan: &plan{book: func(a *applier) error { return a.settleIntake() }}, done: make(chan struct{})}
	s.writeBatch([]*request{req})
	return req.err
}

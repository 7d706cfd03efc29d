package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
)

// eligible is what a job of the owner o has to be to run: ?1 is the pool, ?2 the time, ?4 how many of one
// repository may run.
const eligible = `FROM jobs j INDEXED BY jobs_queued ` + eligibleOf

const eligibleOf = `WHERE j.pool = o.pool AND j.owner = o.owner AND j.state = 'queued' AND j.run_after <= ?2
	AND (SELECT count(*) FROM jobs r INDEXED BY jobs_running WHERE r.pool = o.pool AND r.owner = o.owner
		AND r.identifier = j.identifier AND r.box = j.box AND r.state = 'running') < ?4
	AND (j.policy = 'all' OR NOT EXISTS (SELECT 1 FROM jobs r INDEXED BY jobs_alone
		WHERE r.grp = j.grp AND r.state = 'running' AND r.policy <> 'all'))
	AND (j.policy <> 'queue' OR NOT EXISTS (SELECT 1 FROM jobs r INDEXED BY jobs_in_turn
		WHERE r.grp = j.grp AND r.id < j.id AND r.state = 'queued' AND r.policy = 'queue'))`

const (
	// sqlTurn goes through the owners with something to do, who has waited longest first, and takes the
	// first that may have one of its jobs run; ?3 is how many of one owner may run. No other's jobs are
	// looked at.
	sqlTurn = `SELECT o.owner FROM job_turns o INDEXED BY job_turns_turn WHERE o.pool = ?1
	AND (SELECT count(*) FROM jobs r INDEXED BY jobs_running WHERE r.pool = o.pool AND r.owner = o.owner AND r.state = 'running') < ?3
	AND EXISTS (SELECT 1 ` + eligible + `) ORDER BY o.turn LIMIT 1`

	// sqlClaim takes of that owner, ?5, the repository that has waited longest, and of it the oldest job.
	sqlClaim = `WITH o (pool, owner) AS (VALUES (?1, ?5)), c AS MATERIALIZED (
		SELECT j.id, j.owner, j.identifier, j.box FROM o CROSS JOIN jobs j INDEXED BY jobs_queued ` + eligibleOf + `)
	SELECT id FROM c ORDER BY (SELECT max(claim) FROM jobs r INDEXED BY jobs_turn
		WHERE r.owner = c.owner AND r.identifier = c.identifier AND r.box = c.box AND r.claim > 0), id LIMIT 1`
)

// Claim is part of jobs.Queue.
func (q Jobs) Claim(ctx context.Context, c jobs.Claim) (job jobs.Job, ok bool, err error) {
	if c.Pool == "" {
		c.Pool = jobs.DefaultPool
	}
	err = q.book(ctx, "store: claim", func(a *applier) error {
		job, ok = jobs.Job{}, false
		args := []any{c.Pool, clampNanos(c.Now), max(c.PerOwner, 1), max(c.PerRepo, 1)}
		var next id32
		found, err := a.row(sqlTurn, args, &next)
		if err != nil || !found {
			return err
		}
		var id string
		if found, err = a.row(sqlClaim, append(args, next[:]), &id); err != nil || !found {
			return err
		}
		var turn int64
		if _, err := a.row(`UPDATE job_counts SET turn = turn + 1 RETURNING turn`, nil, &turn); err != nil {
			return err
		}
		err = a.rows(a.ctx, `UPDATE jobs SET state = 'running', reason = '', attempt = attempt + 1, claim = ?2, held_by = ?3, held_until = ?4,
			started = ?5, asked = NULL, asked_why = NULL WHERE id = ?1 RETURNING `+jobColumns,
			[]any{id, turn, c.By, clampNanos(c.Until), clampNanos(c.Now)}, func(row scanner) (err error) {
				job, err = scanJob(row)
				ok = err == nil
				return err
			})
		if err != nil || !ok {
			return err
		}
		owner, err := need32("owner", job.Repo.Owner)
		if err != nil {
			return err
		}
		return a.exec(a.ctx, `UPDATE job_turns SET turn = ?3 WHERE pool = ?1 AND owner = ?2`, c.Pool, owner[:], turn)
	})
	if err != nil {
		return jobs.Job{}, false, err
	}
	return job, ok, nil
}

// Renew is part of jobs.Queue.
func (q Jobs) Renew(ctx context.Context, by string, until time.Time) (out []jobs.Held, err error) {
	err = q.book(ctx, "store: renew", func(a *applier) error {
		if err := a.exec(a.ctx, `UPDATE jobs INDEXED BY jobs_held SET held_until = max(held_until, ?2) WHERE held_by = ?1 AND state = 'running'`,
			by, clampNanos(until)); err != nil {
			return err
		}
		out, err = a.heldBy(a.ctx, by)
		return err
	})
	return out, err
}

// Held is part of jobs.Queue.
func (q Jobs) Held(ctx context.Context, by string) (out []jobs.Held, err error) {
	err = q.read(ctx, "store: held", func(ctx context.Context, r *reader) error {
		out, err = r.heldBy(ctx, by)
		return err
	})
	return out, err
}

func (p *prepared) heldBy(ctx context.Context, by string) (out []jobs.Held, err error) {
	err = p.rows(ctx, `SELECT id, ifnull(asked, ''), ifnull(asked_why, '') FROM jobs INDEXED BY jobs_held
		WHERE held_by = ?1 AND state = 'running' ORDER BY id`, []any{by}, func(row scanner) error {
		var h jobs.Held
		err := row.Scan(&h.ID, &h.Cancelling, &h.Reason)
		out = append(out, h)
		return err
	})
	return out, err
}

// Finish is part of jobs.Queue.
func (q Jobs) Finish(ctx context.Context, by string, id jobs.ID, e jobs.Ending) error {
	const op = "store: finish"
	if err := e.Check(); err != nil {
		return fault.Wrap(op, err)
	}
	then, err := jobRows(e.Then)
	if err != nil {
		return fault.Wrap(op, err)
	}
	var stale bool
	err = q.book(ctx, op, func(a *applier) error {
		e := e // the function may be called again
		var asked, why *string
		var crashes int
		back, crashed := 0, 0
		if e.Uncounted {
			back = 1
		}
		if e.Crashed {
			crashed = 1
		}
		ok, err := a.row(`UPDATE jobs SET exit = ?3, signal = ?4, rss = ?5, cpu = cpu + ?6, log = ?7, log_bytes = ?8,
			attempt = attempt - ?9, crashes = crashes + ?10
			WHERE id = ?1 AND held_by = ?2 AND state = 'running' RETURNING asked, asked_why, crashes`,
			[]any{string(id), by, e.Exit, e.Signal, e.MaxRSS, int64(e.CPU), string(e.Log), e.LogBytes, back, crashed}, &asked, &why, &crashes)
		if stale = !ok; err != nil || stale {
			return err
		}
		if e.State == jobs.Queued && crashed > 0 && crashes >= jobs.MaxCrashes {
			e.State, e.Reason = jobs.Failed, jobs.ReasonCrash
		}
		if asked != nil && e.State != jobs.OK && e.State != jobs.Skipped {
			e.State, e.Reason = jobs.State(*asked), *why
		}
		if e.State == jobs.Queued {
			err = a.queueJob(string(id), e.Reason, clampNanos(e.RunAfter), clampNanos(e.At))
		} else {
			err = a.endJob(string(id), e.State, e.Reason, clampNanos(e.At))
		}
		if err != nil {
			return err
		}
		return a.jobs(then)
	})
	if err == nil && stale {
		return fault.E(fault.Stale, op, "somebody else runs this job, or nobody")
	}
	if err == nil {
		q.s.signalJobs()
	}
	return err
}

// Cancel is part of jobs.Queue.
func (q Jobs) Cancel(ctx context.Context, id jobs.ID, reason string, at time.Time) (job jobs.Job, err error) {
	const op = "store: cancel"
	var found bool
	err = q.book(ctx, op, func(a *applier) error {
		var state jobs.State
		if found, err = a.row(`SELECT state FROM jobs WHERE id = ?1`, []any{string(id)}, &state); err != nil || !found {
			return err
		}
		switch state {
		case jobs.Running:
			err = a.exec(a.ctx, `UPDATE jobs SET asked = 'cancelled', asked_why = ?2 WHERE id = ?1 AND asked IS NULL`, string(id), reason)
		case jobs.Unapproved, jobs.Waiting, jobs.Queued:
			err = a.endJob(string(id), jobs.Cancelled, reason, clampNanos(at))
		}
		if err != nil {
			return err
		}
		job, _, err = a.jobByID(a.ctx, id)
		return err
	})
	if err == nil && !found {
		return jobs.Job{}, noSuchJob(op, id)
	}
	if err == nil {
		q.s.signalJobs()
	}
	return job, err
}

// Approve is part of jobs.Queue.
func (q Jobs) Approve(ctx context.Context, id jobs.ID, by jobs.Approval) (job jobs.Job, err error) {
	const op = "store: approve"
	by.Needed = true
	text, err := json.Marshal(by)
	if err != nil {
		return job, fault.Wrap(op, err)
	}
	var found bool
	var state jobs.State
	err = q.book(ctx, op, func(a *applier) error {
		var pool string
		var owner id32
		if found, err = a.row(`SELECT state, pool, owner FROM jobs WHERE id = ?1`, []any{string(id)}, &state, &pool, &owner); err != nil || !found || state != jobs.Unapproved {
			return err
		}
		a.line = queueing{}
		if err := a.exec(a.ctx, `UPDATE jobs SET state = 'waiting', approval = ?2 WHERE id = ?1`, string(id), string(text)); err != nil {
			return err
		}
		if err := a.seat(pool, owner); err != nil {
			return err
		}
		if err := a.wakeJob(string(id), jobs.ReasonNeeds, clampNanos(by.At)); err != nil {
			return err
		}
		job, _, err = a.jobByID(a.ctx, id)
		return err
	})
	switch {
	case err != nil:
		return jobs.Job{}, err
	case !found:
		return jobs.Job{}, noSuchJob(op, id)
	case state != jobs.Unapproved:
		return jobs.Job{}, fault.Errorf(fault.Stale, op, "job %s is %s; only one that is %s can be approved", id, state, jobs.Unapproved)
	}
	q.s.signalJobs()
	return job, nil
}

func noSuchJob(op string, id jobs.ID) error {
	return fault.Errorf(fault.NotFound, op, "there is no job %.40s, or not any more", string(id))
}

func (p *prepared) jobByID(ctx context.Context, id jobs.ID) (job jobs.Job, found bool, err error) {
	err = p.rows(ctx, `SELECT `+jobColumns+` FROM jobs WHERE id = ?1`, []any{string(id)}, func(row scanner) (err error) {
		job, err = scanJob(row)
		found = true
		return err
	})
	return job, found, err
}

// Abandoned is part of jobs.Queue.
func (q Jobs) Abandoned(ctx context.Context, by string, at time.Time, alone bool, limit int) ([]jobs.Job, error) {
	return q.list(ctx, "store: abandoned", `SELECT `+jobColumns+` FROM jobs INDEXED BY jobs_running
		WHERE state = 'running' AND (held_until < ?1 OR ?2 AND held_by <> ?3) ORDER BY id LIMIT ?4+0`, clampNanos(at), alone, by, limit)
}

const sqlNextJob = `SELECT run_after FROM jobs INDEXED BY jobs_due WHERE pool = ?1 AND run_after > ?2 AND state = 'queued' ORDER BY run_after LIMIT 1`

// Next is part of jobs.Queue.
func (q Jobs) Next(ctx context.Context, pool string, after time.Time) (next time.Time, ok bool, err error) {
	if pool == "" {
		pool = jobs.DefaultPool
	}
	err = q.read(ctx, "store: next job", func(ctx context.Context, r *reader) error {
		var at int64
		ok, err = r.row(sqlNextJob, []any{pool, clampNanos(after)}, &at)
		if ok {
			next = fromNanos(&at)
		}
		return err
	})
	return next, ok, err
}

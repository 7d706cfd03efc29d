package store

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/steward"
)

// Jobs is the queue of jobs in the same file: what a Change queues is written with its moves. Its
// methods are safe for concurrent use.
type Jobs struct{ s *Store }

var _ jobs.Queue = Jobs{}

// Jobs returns the queue of jobs.
func (s *Store) Jobs() Jobs { return Jobs{s} }

// Changed is part of jobs.Queue.
func (q Jobs) Changed() <-chan struct{} { return q.s.jobsChanged }

func (s *Store) signalJobs() {
	select {
	case s.jobsChanged <- struct{}{}:
	default:
	}
}

// Enqueue is part of jobs.Queue.
func (q Jobs) Enqueue(ctx context.Context, list []jobs.Job) error {
	const op = "store: enqueue"
	rows, err := jobRows(list)
	if err != nil {
		return fault.Wrap(op, err)
	}
	err = q.book(ctx, op, func(a *applier) error { return a.jobs(rows) })
	if err == nil && len(rows) > 0 {
		q.s.signalJobs()
	}
	return err
}

// A jobRow is a new job in the form in which it is stored.
type jobRow struct {
	*jobs.Job
	owner    id32
	old, new []byte
	cause    any
	actor    any
	push     any
	retry    string
	source   any
	approval any
	pool     string
	move     int64 // the row of the journal that is written with it, or 0
}

func jobRows(list []jobs.Job) ([]jobRow, error) {
	out := make([]jobRow, 0, len(list))
	for i := range list {
		j := &list[i]
		if err := j.Check(); err != nil {
			return nil, err
		}
		r := jobRow{Job: j, pool: j.Pool}
		if r.pool == "" {
			r.pool = jobs.DefaultPool
		}
		var err error
		if r.owner, err = need32("owner", j.Repo.Owner); err != nil {
			return nil, err
		}
		if r.old, err = oidBytes(j.Old); err != nil {
			return nil, err
		}
		if r.new, err = oidBytes(j.New); err != nil {
			return nil, err
		}
		if j.Cause != "" {
			b, err := need32("event", j.Cause)
			if err != nil {
				return nil, err
			}
			r.cause = b[:]
		}
		if j.Actor != "" {
			b, err := need32("actor", j.Actor)
			if err != nil {
				return nil, err
			}
			r.actor = b[:]
		}
		if j.Push != "" {
			r.push = j.Push
		}
		text, err := json.Marshal(j.Retry)
		if err != nil {
			return nil, err
		}
		r.retry = string(text)
		if !j.Source.IsZero() {
			if text, err = json.Marshal(j.Source); err != nil {
				return nil, err
			}
			r.source = string(text)
		}
		if j.Approval.Needed {
			if text, err = json.Marshal(j.Approval); err != nil {
				return nil, err
			}
			r.approval = string(text)
		}
		out = append(out, r)
	}
	return out, nil
}

// A movedRef names a row of the journal that is written in the same transaction.
type movedRef struct {
	box   bool
	owner id32
	id    string
	ref   string
}

func (r *jobRow) ref() movedRef {
	return movedRef{r.Repo.Box, r.owner, r.Repo.ID, string(r.Ref)}
}

// jobs queues new jobs, by the rules of jobs.Queue. What was laid down before has been put in its place.
func (a *applier) jobs(rows []jobRow) error {
	if len(rows) == 0 {
		return nil
	}
	ids := make([]jobs.ID, len(rows))
	for i, r := range rows {
		ids[i] = r.ID
	}
	list, err := json.Marshal(ids)
	if err != nil {
		return err
	}
	known := map[jobs.ID]bool{}
	if err := a.rows(a.ctx, `SELECT j.id FROM json_each(?1) e CROSS JOIN jobs j ON j.id = e.value`, []any{string(list)}, func(row scanner) error {
		var id jobs.ID
		err := row.Scan(&id)
		known[id] = true
		return err
	}); err != nil {
		return err
	}
	a.line = queueing{}
	if err := a.lookAhead(rows); err != nil {
		return err
	}
	a.fresh = make(map[string]bool, len(rows))
	for i := range rows {
		if known[rows[i].ID] {
			continue
		}
		known[rows[i].ID] = true
		if err := a.addJob(&rows[i]); err != nil {
			return err
		}
	}
	return nil
}

// over notes for the receipt that a job of this change has ended already.
func (a *applier) over(id string, state jobs.State, reason string) {
	if !a.fresh[id] {
		return
	}
	if a.receipt.Ended == nil {
		a.receipt.Ended = map[jobs.ID]steward.JobEnd{}
	}
	a.receipt.Ended[jobs.ID(strings.Clone(id))] = steward.JobEnd{State: state, Reason: reason}
}

func (a *applier) addJob(r *jobRow) error {
	var one int
	if r.Trigger == jobs.OnSchedule {
		fresh, err := a.row(`INSERT INTO job_dues (owner, identifier, box, name, due) VALUES (?1, ?2, ?3, ?4, ?5)
			ON CONFLICT DO UPDATE SET due = excluded.due WHERE excluded.due > due RETURNING 1`,
			[]any{r.owner[:], r.Repo.ID, r.Repo.Box, r.Name, clampNanos(r.Due)}, &one)
		if err != nil || !fresh {
			return err
		}
	}
	state, reason, budget, err := a.firstState(r)
	if err != nil {
		return err
	}
	created := clampNanos(r.Created)
	runAfter := max(clampNanos(r.RunAfter), created)
	if r.RunAfter.IsZero() {
		runAfter = created
	}
	var ended any
	if state.Ended() {
		ended = created
		if state != jobs.OK {
			a.lesson.ended = append(a.lesson.ended, jobEnd{r.Kind, state})
		}
	}
	a.fresh[string(r.ID)] = true
	var move any
	if r.move != 0 {
		move = r.move
	}
	if err := a.exec(a.ctx, `INSERT INTO jobs (id, run, owner, identifier, box, name, kind, class, pool, happening, ref, old, new,
			push, cause, actor, due, depth, definition, input, grp, policy, force, retry, timeout, spec, move, created,
			state, reason, run_after, ended, budget, source, approval)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25,
			?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35)`,
		string(r.ID), string(r.Run), r.owner[:], r.Repo.ID, r.Repo.Box, r.Name, r.Kind, string(r.Class), r.pool, string(r.Trigger),
		string(r.Ref), r.old, r.new, r.push, r.cause, r.actor, nanos(r.Due), r.Depth, r.Definition[:], r.Input[:], r.Group,
		string(r.Policy), r.Force, r.retry, int64(r.Timeout), r.Spec, move, created,
		string(state), reason, runAfter, ended, budget, r.source, r.approval); err != nil {
		return err
	}
	for _, e := range r.Needs {
		if err := a.exec(a.ctx, `INSERT OR IGNORE INTO job_needs (job, needs, cond) VALUES (?1, ?2, ?3)`, string(r.ID), string(e.On), string(e.If)); err != nil {
			return err
		}
	}
	if budget {
		if err := a.exec(a.ctx, `DELETE FROM jobs WHERE owner = ?1 AND budget = 1 AND id NOT IN
			(SELECT id FROM jobs WHERE owner = ?1 AND budget = 1 ORDER BY id DESC LIMIT ?2+0)`, r.owner[:], jobs.KeptSkips); err != nil {
			return err
		}
	}
	if state.Ended() {
		a.over(string(r.ID), state, reason)
		return nil
	}
	if state == jobs.Unapproved {
		return nil
	}
	if state == jobs.Queued && (r.Policy == jobs.Latest || r.Policy == jobs.Cancel) && a.line.queued != nil {
		a.line.queued[r.Group] = queuedNow{string(r.ID), created}
	}
	a.line.all++
	if by := (ownedBy{r.owner, r.pool == jobs.TellPool}); a.line.owned != nil {
		if _, ok := a.line.owned[by]; ok {
			a.line.owned[by]++
		}
	}
	at := seatOf{r.pool, r.owner}
	if a.line.seated[at] {
		return nil
	}
	if a.line.seated == nil {
		a.line.seated = map[seatOf]bool{}
	}
	a.line.seated[at] = true
	return a.seat(r.pool, r.owner)
}

// firstState decides in which state a new job begins, and makes room for it in its group.
func (a *applier) firstState(r *jobRow) (state jobs.State, reason string, budget bool, err error) {
	start := jobs.Start(r.Needs, func(id jobs.ID) (s jobs.State, ok bool) {
		if err == nil {
			ok, err = a.row(`SELECT state FROM jobs WHERE id = ?1`, []any{string(id)}, &s)
		}
		return s, ok
	})
	if err != nil {
		return "", "", false, err
	}
	if start == jobs.Skipped {
		return start, jobs.ReasonNeeds, false, nil
	}
	if !r.Force {
		last, err := a.lastOf(r)
		if err != nil {
			return "", "", false, err
		}
		if last.id != "" && last.state == jobs.OK && last.input == string(r.Input[:]) {
			return jobs.OK, jobs.ReasonAlready + ": " + last.id, false, nil
		}
	}
	if r.Approval.Missing() {
		why, err := a.tooManyUnapproved(r)
		if err != nil || why != "" {
			return jobs.Skipped, jobs.ReasonBudget + ": " + why, true, err
		}
		if why, err = a.overBudget(r); err != nil || why != "" {
			return jobs.Skipped, jobs.ReasonBudget + ": " + why, true, err
		}
		return jobs.Unapproved, "", false, nil
	}
	if start == jobs.Queued {
		newer, err := a.makeWay(string(r.ID), r.Group, r.Policy, r.Created)
		if err != nil {
			return "", "", false, err
		}
		if newer != "" {
			return jobs.Superseded, jobs.ReasonNewer + ": " + newer, false, nil
		}
	}
	why, err := a.overBounds(r)
	if err != nil || why != "" {
		return jobs.Skipped, jobs.ReasonBudget + ": " + why, true, err
	}
	return start, "", false, nil
}

// overBounds says why a job is one too many, or "".
func (a *applier) overBounds(r *jobRow) (string, error) {
	bounds := a.cfg.Jobs.OrElse()
	most, tells := bounds.PerOwner, r.pool == jobs.TellPool
	if tells {
		most = bounds.Told
	}
	by := ownedBy{r.owner, tells}
	if _, ok := a.line.owned[by]; !ok && !a.line.counted {
		// Where fewer wait in all than one owner may have, nobody has too many.
		var err error
		if a.line.all, err = a.pending(); err != nil {
			return "", err
		}
		a.line.counted = true
	}
	few := a.line.counted && a.line.all < min(most, bounds.Total)
	if _, ok := a.line.owned[by]; !ok && !few {
		var owned, all int
		if _, err := a.row(`SELECT (SELECT count(*) FROM jobs INDEXED BY jobs_waiting WHERE owner = ?1 AND state = 'waiting' AND (pool = ?2) = ?3)
			+ (SELECT count(*) FROM jobs INDEXED BY jobs_queued WHERE owner = ?1 AND state = 'queued' AND (pool = ?2) = ?3),
			(SELECT pending FROM job_counts)`, []any{r.owner[:], jobs.TellPool, tells}, &owned, &all); err != nil {
			return "", err
		}
		if a.line.owned == nil {
			a.line.owned = map[ownedBy]int{}
		}
		a.line.owned[by], a.line.all = owned, all
	}
	switch {
	case few:
	case a.line.owned[by] >= most:
		return "the owner has too many jobs waiting", nil
	case a.line.all >= bounds.Total:
		return "too many jobs wait", nil
	}
	if tells {
		return "", nil
	}
	return a.overBudget(r)
}

// tooManyUnapproved says why a job is one too many of those that wait for approval, or "".
func (a *applier) tooManyUnapproved(r *jobRow) (string, error) {
	var n int
	if _, err := a.row(`SELECT count(*) FROM jobs INDEXED BY jobs_unapproved WHERE owner = ?1 AND state = 'waiting_for_approval'`,
		[]any{r.owner[:]}, &n); err != nil {
		return "", err
	}
	if n >= a.cfg.Jobs.OrElse().PerOwner {
		return "too many of the owner's jobs wait for approval", nil
	}
	return "", nil
}

// overBudget says that the owner of a job has used up what there is for a day, or "".
func (a *applier) overBudget(r *jobRow) (string, error) {
	budget := a.cfg.Jobs.Of(r.Budget)
	if budget == (jobs.Usage{}) {
		return "", nil
	}
	used, err := a.spent(r)
	if err == nil && used.Over(budget) {
		return "the owner has used up the budget of the day", nil
	}
	return "", err
}

// spent returns what the owner of a new job has used in a day.
func (a *applier) spent(r *jobRow) (jobs.Usage, error) {
	if used, known := a.line.spent[r.owner]; known {
		return used, nil
	}
	var u jobs.Usage
	if _, err := a.row(`SELECT ifnull(sum(cpu), 0), ifnull(sum(ended - started), 0), ifnull(sum(log_bytes), 0) FROM jobs INDEXED BY jobs_spent
		WHERE owner = ?1 AND ended > ?2 AND started IS NOT NULL AND ended IS NOT NULL
		AND state NOT IN ('waiting_for_approval', 'waiting', 'queued', 'running')`,
		[]any{r.owner[:], clampNanos(r.Created.Add(-24 * time.Hour))}, &u.CPU, &u.Wall, &u.LogBytes); err != nil {
		return u, err
	}
	if a.line.spent == nil {
		a.line.spent = map[id32]jobs.Usage{}
	}
	a.line.spent[r.owner] = u
	return u, nil
}

// makeWay ends older jobs of a group whose newest job counts, for one that is about to be queued.
// If there is a newer one already its id is returned.
func (a *applier) makeWay(id, group string, policy jobs.Policy, created time.Time) (newer string, err error) {
	if policy != jobs.Latest && policy != jobs.Cancel {
		return "", nil
	}
	other, err := a.queuedOf(group)
	if err != nil {
		return "", err
	}
	if other.id > id {
		return other.id, nil
	}
	if policy == jobs.Cancel {
		if err := a.exec(a.ctx, `UPDATE jobs SET asked = 'superseded', asked_why = ?3
			WHERE grp = ?1 AND id < ?2 AND state = 'running' AND policy <> 'all' AND policy IN ('latest', 'cancel') AND asked IS NULL`,
			group, id, jobs.ReasonNewer+": "+id); err != nil {
			return "", err
		}
	}
	if other.id != "" && other.id != id {
		err = a.endJob(other.id, jobs.Superseded, jobs.ReasonNewer+": "+id, max(other.at, clampNanos(created)))
	}
	return "", err
}

// endJob ends a job, and settles what becomes of those that need it.
func (a *applier) endJob(id string, state jobs.State, reason string, at int64) error {
	a.line = queueing{}
	var pool, name, kind string
	var owner id32
	ok, err := a.row(`UPDATE jobs SET state = ?2, reason = ?3, ended = ?4, held_by = NULL, held_until = NULL, asked = NULL, asked_why = NULL
		WHERE id = ?1 RETURNING pool, owner, name, kind`, []any{id, string(state), reason, at}, &pool, &owner, &name, &kind)
	if err != nil || !ok {
		return err
	}
	a.lesson.ended = append(a.lesson.ended, jobEnd{kind, state})
	a.over(id, state, reason)
	if err := a.attend(pool, owner); err != nil {
		return err
	}
	var dependents []string
	if err := a.rows(a.ctx, `SELECT n.job FROM job_needs n CROSS JOIN jobs j ON j.id = n.job WHERE n.needs = ?1 AND j.state = 'waiting' ORDER BY n.job`,
		[]any{id}, func(row scanner) error {
			var d string
			err := row.Scan(&d)
			dependents = append(dependents, d)
			return err
		}); err != nil {
		return err
	}
	for _, d := range dependents {
		if err := a.wakeJob(d, jobs.ReasonNeeds+": "+name+" is "+string(state), at); err != nil {
			return err
		}
	}
	return nil
}

// wakeJob looks again at a job that waits for others.
func (a *applier) wakeJob(id, why string, at int64) error {
	var needs []jobs.Edge
	states := map[jobs.ID]jobs.State{}
	if err := a.rows(a.ctx, `SELECT n.needs, n.cond, j.state FROM job_needs n LEFT JOIN jobs j ON j.id = n.needs WHERE n.job = ?1`,
		[]any{id}, func(row scanner) error {
			var e jobs.Edge
			var s *string
			if err := row.Scan(&e.On, &e.If, &s); err != nil {
				return err
			}
			needs = append(needs, e)
			if s != nil {
				states[e.On] = jobs.State(*s)
			}
			return nil
		}); err != nil {
		return err
	}
	var state jobs.State
	if ok, err := a.row(`SELECT state FROM jobs WHERE id = ?1`, []any{id}, &state); err != nil || !ok || state != jobs.Waiting {
		return err // it was ended while others were looked at
	}
	switch jobs.Start(needs, func(id jobs.ID) (jobs.State, bool) { s, ok := states[id]; return s, ok }) {
	case jobs.Skipped:
		return a.endJob(id, jobs.Skipped, why, at)
	case jobs.Queued:
		return a.queueJob(id, "", at, at)
	}
	return nil
}

// queueJob makes a job ready from runAfter on, unless a newer one has taken its place.
func (a *applier) queueJob(id, reason string, runAfter, at int64) error {
	var group string
	var policy jobs.Policy
	ok, err := a.row(`UPDATE jobs SET state = 'waiting', held_by = NULL, held_until = NULL, asked = NULL, asked_why = NULL
		WHERE id = ?1 RETURNING grp, policy`, []any{id}, &group, &policy)
	if err != nil || !ok {
		return err
	}
	newer, err := a.makeWay(id, group, policy, time.Unix(0, at))
	if err != nil {
		return err
	}
	if newer != "" {
		return a.endJob(id, jobs.Superseded, jobs.ReasonNewer+": "+newer, at)
	}
	return a.exec(a.ctx, `UPDATE jobs SET state = 'queued', reason = ?2, run_after = max(run_after, ?3) WHERE id = ?1`, id, reason, runAfter)
}

// attend gives an owner a place in the round while there is something to do.
func (a *applier) attend(pool string, owner id32) error {
	var one int
	busy, err := a.row(`SELECT 1 FROM jobs INDEXED BY jobs_queued WHERE pool = ?1 AND owner = ?2 AND state = 'queued'
		UNION ALL SELECT 1 FROM jobs INDEXED BY jobs_running WHERE pool = ?1 AND owner = ?2 AND state = 'running'
		UNION ALL SELECT 1 FROM jobs INDEXED BY jobs_waiting WHERE owner = ?2 AND state = 'waiting' AND pool = ?1 LIMIT 1`,
		[]any{pool, owner[:]}, &one)
	if err != nil {
		return err
	}
	if !busy {
		return a.exec(a.ctx, `DELETE FROM job_turns WHERE pool = ?1 AND owner = ?2`, pool, owner[:])
	}
	return a.seat(pool, owner)
}

// seat gives an owner a place in the round, behind all who have one or had a turn. No two have the same:
// whoever claims looks at the jobs of one owner, not of all.
func (a *applier) seat(pool string, owner id32) error {
	var turn int64
	fresh, err := a.row(`INSERT INTO job_turns (pool, owner, turn) SELECT ?1, ?2, turn + 1 FROM job_counts WHERE true
		ON CONFLICT DO NOTHING RETURNING turn`, []any{pool, owner[:]}, &turn)
	if err != nil || !fresh {
		return err
	}
	return a.exec(a.ctx, `UPDATE job_counts SET turn = ?1`, turn)
}

// jobColumns are what scanJob expects, in this order.
const jobColumns = `id, run, owner, identifier, box, name, kind, class, pool, happening, ref, old, new, push, cause, actor, due, depth,
	definition, input, grp, policy, force, retry, timeout, spec, ifnull(move, 0), created, state, reason, attempt, crashes, run_after,
	held_by, held_until, asked, started, ended, exit, signal, rss, cpu, log, log_bytes,
	(SELECT json_group_array(json_array(needs, cond)) FROM job_needs WHERE job = jobs.id), source, approval`

func scanJob(row scanner) (jobs.Job, error) {
	var j jobs.Job
	var owner id32
	var old, new, cause, actor, definition, input []byte
	var push, heldBy, asked, source, approval *string
	var due, heldUntil, started, ended *int64
	var created, runAfter int64
	var retry, needs string
	if err := row.Scan(&j.ID, &j.Run, &owner, &j.Repo.ID, &j.Repo.Box, &j.Name, &j.Kind, &j.Class, &j.Pool, &j.Trigger, &j.Ref, &old, &new,
		&push, &cause, &actor, &due, &j.Depth, &definition, &input, &j.Group, &j.Policy, &j.Force, &retry, &j.Timeout, &j.Spec, &j.Move,
		&created, &j.State, &j.Reason, &j.Attempt, &j.Crashes, &runAfter, &heldBy, &heldUntil, &asked, &started, &ended, &j.Exit, &j.Signal,
		&j.MaxRSS, &j.CPU, &j.Log, &j.LogBytes, &needs, &source, &approval); err != nil {
		return j, err
	}
	if len(definition) != len(j.Definition) || len(input) != len(j.Input) {
		return j, errors.New("a hash is not 32 bytes long")
	}
	j.Repo.Owner = owner.key()
	j.Definition, j.Input = jobs.Hash(definition), jobs.Hash(input)
	j.Old, j.New = grasp.OID(hex.EncodeToString(old)), grasp.OID(hex.EncodeToString(new))
	j.Cause, j.Actor = grasp.EventID(hex.EncodeToString(cause)), grasp.PubKey(hex.EncodeToString(actor))
	j.Due, j.Started, j.Ended = fromNanos(due), fromNanos(started), fromNanos(ended)
	j.Created, j.RunAfter = fromNanos(&created), fromNanos(&runAfter)
	if push != nil {
		j.Push = *push
	}
	if heldBy != nil {
		j.Lease = jobs.Lease{By: *heldBy, Until: fromNanos(heldUntil)}
	}
	if asked != nil {
		j.Cancelling = jobs.State(*asked)
	}
	if err := json.Unmarshal([]byte(retry), &j.Retry); err != nil {
		return j, err
	}
	if source != nil {
		if err := json.Unmarshal([]byte(*source), &j.Source); err != nil {
			return j, err
		}
	}
	if approval != nil {
		if err := json.Unmarshal([]byte(*approval), &j.Approval); err != nil {
			return j, err
		}
	}
	var edges [][2]string
	if err := json.Unmarshal([]byte(needs), &edges); err != nil {
		return j, err
	}
	for _, e := range edges {
		j.Needs = append(j.Needs, jobs.Edge{On: jobs.ID(e[0]), If: jobs.Condition(e[1])})
	}
	return j, nil
}

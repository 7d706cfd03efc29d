package store

import (
	"database/sql"
	"encoding/json"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/jobs"
)

// A queueing is what is known of the queue while a list of jobs is added to it, so that it is not asked
// again for each: a push makes many jobs of one owner. Nothing is known any more once a job has ended.
type queueing struct {
	owned   map[ownedBy]int // how many of an owner wait
	all     int             // how many do, if it is counted or owned is not nil
	counted bool
	seated  map[seatOf]bool
	spent   map[id32]jobs.Usage // what an owner has used in a day

	last   map[lineOf]lastOf    // the last of each line that counts, of all lines that are added to
	queued map[string]queuedNow // of groups of which one is queued, unless it is nil
}

// A lineOf is one job on one ref of one repository, again and again.
type lineOf struct {
	owner id32
	id    string
	box   bool
	name  string
	ref   grasp.RefName
}

type lastOf struct {
	id    string
	state jobs.State
	input string
}

type queuedNow struct {
	id string
	at int64
}

func (r *jobRow) line() lineOf {
	return lineOf{owner: r.owner, id: r.Repo.ID, box: r.Repo.Box, name: r.Name, ref: r.Ref}
}

const sqlLastOf = `SELECT j.name, j.id, j.state, j.input FROM json_each(?5) e CROSS JOIN jobs j
	WHERE j.rowid = (SELECT rowid FROM jobs INDEXED BY jobs_line
		WHERE owner = ?1 AND identifier = ?2 AND box = ?3 AND name = e.value AND ref = ?4
		AND state NOT IN ('skipped', 'superseded', 'cancelled') ORDER BY id DESC LIMIT 1)`

// lookAhead asks at once what would be asked for each of rows: what a push makes is twenty jobs of one
// repository and ref. What is not found is known as well.
func (a *applier) lookAhead(rows []jobRow) error {
	if len(rows) < 2 {
		return nil
	}
	names := map[lineOf][]string{} // by what else they share
	var groups []string
	for i := range rows {
		r := &rows[i]
		if !r.Force {
			of := r.line()
			of.name = ""
			names[of] = append(names[of], r.Name)
		}
		if r.Policy == jobs.Latest || r.Policy == jobs.Cancel {
			groups = append(groups, r.Group)
		}
	}
	a.line.last = make(map[lineOf]lastOf, len(rows))
	for of, list := range names {
		if len(list) < 2 {
			continue
		}
		text, err := json.Marshal(list)
		if err != nil {
			return err
		}
		for _, name := range list {
			of.name = name
			a.line.last[of] = lastOf{}
		}
		if err := a.rows(a.ctx, sqlLastOf, []any{of.owner[:], of.id, of.box, string(of.ref), string(text)}, func(row scanner) error {
			var last lastOf
			var input sql.RawBytes
			if err := row.Scan(&of.name, &last.id, &last.state, &input); err != nil {
				return err
			}
			last.input = string(input)
			a.line.last[of] = last
			return nil
		}); err != nil {
			return err
		}
	}
	if len(groups) < 2 {
		return nil
	}
	text, err := json.Marshal(groups)
	if err != nil {
		return err
	}
	a.line.queued = make(map[string]queuedNow, len(groups))
	return a.rows(a.ctx, `SELECT j.grp, j.id, j.created FROM json_each(?1) e CROSS JOIN jobs j INDEXED BY jobs_latest
		WHERE j.grp = e.value AND j.state = 'queued' AND j.policy IN ('latest', 'cancel')`, []any{string(text)}, func(row scanner) error {
		var group string
		var is queuedNow
		err := row.Scan(&group, &is.id, &is.at)
		a.line.queued[group] = is
		return err
	})
}

// lastOf returns the last job of r's line that counts; its id is "" if there is none.
func (a *applier) lastOf(r *jobRow) (last lastOf, err error) {
	line := r.line()
	last, known := a.line.last[line]
	delete(a.line.last, line) // after r it is another one
	if known {
		return last, nil
	}
	var input []byte
	_, err = a.row(`SELECT id, state, input FROM jobs INDEXED BY jobs_line
		WHERE owner = ?1 AND identifier = ?2 AND box = ?3 AND name = ?4 AND ref = ?5
		AND state NOT IN ('skipped', 'superseded', 'cancelled') ORDER BY id DESC LIMIT 1`,
		[]any{r.owner[:], r.Repo.ID, r.Repo.Box, r.Name, string(r.Ref)}, &last.id, &last.state, &input)
	last.input = string(input)
	return last, err
}

// queuedOf returns the job of a group that is queued and can be taken the place of; its id is "" if there is none.
func (a *applier) queuedOf(group string) (is queuedNow, err error) {
	if a.line.queued != nil {
		return a.line.queued[group], nil
	}
	_, err = a.row(`SELECT id, created FROM jobs WHERE grp = ?1 AND state = 'queued' AND policy IN ('latest', 'cancel')`,
		[]any{group}, &is.id, &is.at)
	return is, err
}

type ownedBy struct {
	owner id32
	tells bool
}

type seatOf struct {
	pool  string
	owner id32
}

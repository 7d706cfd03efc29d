package jobweb

import (
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/jobview"
)

// bodyTime is how long a caller may take to send a request.
const bodyTime = 15 * time.Second

// read reads the body of a request; false means that the answer was given.
func (x *visit) read() bool {
	_ = x.w.rc.SetReadDeadline(x.h.cfg.Wire().Add(bodyTime))
	defer func() { _ = x.w.rc.SetReadDeadline(time.Time{}) }()
	b, err := io.ReadAll(io.LimitReader(x.r.Body, MaxBody+1))
	switch {
	case err != nil:
		x.fail(fault.E(fault.Invalid, "jobweb: read", "the request could not be read"))
		return false
	case len(b) > MaxBody:
		x.w.Header().Set("Connection", "close")
		x.fail(fault.E(fault.TooLarge, "jobweb: read", "a request has at most 64 KiB"))
		return false
	}
	x.body = b
	return true
}

// retry runs a job again: for who has a token, or signed the request.
func (x *visit) retry() {
	if !x.read() {
		return
	}
	if q := x.r.URL.Query(); q.Has("t") {
		v, err := x.h.control.Redeem(x.r.Context(), x.id, q.Get("t"))
		x.made(v, err)
		return
	}
	if _, ok := x.admitToJob("running a job again"); !ok {
		return
	}
	v, err := x.h.control.Retry(x.r.Context(), x.id, x.key)
	x.made(v, err)
}

func (x *visit) cancel() {
	if !x.read() {
		return
	}
	if _, ok := x.admitToJob("ending a job"); !ok {
		return
	}
	v, err := x.h.control.Cancel(x.r.Context(), x.id, x.key)
	if err != nil {
		x.fail(err)
		return
	}
	x.answer(http.StatusOK, v)
}

// approve lets a job begin that waits for that.
func (x *visit) approve() {
	if !x.read() {
		return
	}
	operator, ok := x.admitToJob("approving of a job")
	if !ok {
		return
	}
	v, err := x.h.approve.Approve(x.r.Context(), x.id, x.key, operator)
	if err != nil {
		x.fail(err)
		return
	}
	x.answer(http.StatusOK, v)
}

// admitToJob lets those in who may do something about the job of the path. Who did not sign is not told whether there
// is one. operator says that it is the operator.
func (x *visit) admitToJob(what string) (operator, ok bool) {
	if !x.identify() {
		return false, false
	}
	if x.key == "" && !x.local {
		x.challenge(what + " needs a request signed by the operator or a maintainer of the repository: an Authorization header with an event of kind 27235 (NIP-98)")
		return false, false
	}
	v, err := x.h.board.Show(x.r.Context(), x.id)
	if err != nil {
		x.fail(err)
		return false, false
	}
	repo, _ := v.Addr()
	return x.admit(repo, what)
}

// made answers with a new job.
func (x *visit) made(v jobview.View, err error) {
	if err != nil {
		x.fail(err)
		return
	}
	x.w.Header().Set("Location", "/jobs/"+string(v.ID))
	x.answer(http.StatusCreated, v)
}

// run runs jobs of the configuration.
func (x *visit) run() {
	if !x.read() || !x.identify() {
		return
	}
	if x.key == "" && !x.local {
		x.challenge("asking for a job needs a request signed by the operator or a maintainer of the repository: an Authorization header with an event of kind 27235 (NIP-98)")
		return
	}
	var o jobview.Order
	if err := json.Unmarshal(x.body, &o); err != nil {
		x.fail(fault.E(fault.Invalid, "jobweb: run", `the body is JSON: {"repo": "npub1…/identifier", "names": ["…"], "ref": "…"}`))
		return
	}
	repo, ok := jobview.ParseRepo(o.Repo)
	if !ok {
		x.fail(fault.Errorf(fault.Invalid, "jobweb: run", "repo is npub1…/identifier, and not %.100q", o.Repo))
		return
	}
	operator, ok := x.admit(repo, "asking for a job")
	if !ok {
		return
	}
	list, err := x.h.control.Run(x.r.Context(), o, x.key, operator)
	if err != nil {
		x.fail(err)
		return
	}
	x.w.Header().Set("Location", "/jobs/"+string(list[0].ID))
	x.answer(http.StatusCreated, jobview.Page{Jobs: list})
}

// explain says why a ref makes jobs, or none, to those who may ask for jobs: it tells how the operator configured
// them.
func (x *visit) explain() {
	q := x.r.URL.Query()
	o := jobview.Order{Repo: q.Get("repo"), Ref: grasp.RefName(q.Get("ref")), Names: q["name"], Trigger: jobs.Trigger(q.Get("trigger"))}
	repo, ok := jobview.ParseRepo(o.Repo)
	if !ok {
		x.fail(fault.Errorf(fault.Invalid, "jobweb: explain", "repo is npub1…/identifier, and not %.100q", o.Repo))
		return
	}
	if _, ok := x.admit(repo, "asking why jobs run"); !ok {
		return
	}
	list, err := x.h.oracle.Why(x.r.Context(), o)
	if err != nil {
		x.fail(err)
		return
	}
	x.w.Header().Set("Cache-Control", "no-store")
	x.answer(http.StatusOK, list)
}

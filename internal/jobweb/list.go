package jobweb

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/jobview"
)

// maxPage is how many jobs one answer has at most.
const maxPage = 200

// ParseFilter reads a filter out of a query (S0-20):
//
//	repo    npub1…/identifier
//	name    of the definition
//	state   one or several with commas
//	since   a time as in RFC 3339, a number of seconds since 1970, or a span such as 90m, 24h or 7d
//	before  an id: the Next of the page before
//	limit   how many; 50 if nothing is said, and at most 200
//
// What makes no sense is a fault.Invalid; what has another name is left alone.
func ParseFilter(q url.Values, now time.Time) (jobs.Filter, error) {
	const op = "jobweb: filter"
	f := jobs.Filter{Name: q.Get("name"), Limit: 50}
	if s := q.Get("repo"); s != "" {
		repo, ok := jobview.ParseRepo(s)
		if !ok {
			return f, fault.Errorf(fault.Invalid, op, "repo is npub1…/identifier, and not %.100q", s)
		}
		f.Repo = repo
	}
	for s := range strings.SplitSeq(strings.Join(q["state"], ","), ",") {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		state, err := jobs.ParseState(s)
		if err != nil {
			return f, err
		}
		if f.States = append(f.States, state); len(f.States) > len(jobs.States) {
			return f, fault.E(fault.Invalid, op, "state names more states than there are")
		}
	}
	if s := q.Get("since"); s != "" {
		t, ok := parseSince(s, now)
		if !ok {
			return f, fault.Errorf(fault.Invalid, op, "since is a time (2026-01-31T12:00:00Z), seconds since 1970, or a span (90m, 24h, 7d), and not %.100q", s)
		}
		f.Since = t
	}
	if s := q.Get("before"); s != "" {
		id, err := jobs.ParseID(strings.ToUpper(s))
		if err != nil {
			return f, err
		}
		f.Before = id
	}
	if s := q.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return f, fault.Errorf(fault.Invalid, op, "limit is a number from 1 to %d, and not %.20q", maxPage, s)
		}
		f.Limit = min(n, maxPage)
	}
	return f, nil
}

// parseSince reads a time in any of its forms.
func parseSince(s string, now time.Time) (time.Time, bool) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, true
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t, true
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Unix(n, 0), n >= 0 && n < 1<<40
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.Atoi(days)
		return now.Add(-time.Duration(n) * 24 * time.Hour), err == nil && n >= 0 && n < 10_000
	}
	d, err := time.ParseDuration(s)
	return now.Add(-d), err == nil && d >= 0
}

func (x *visit) list() {
	q := x.r.URL.Query()
	f, err := ParseFilter(q, x.h.cfg.Now())
	if err != nil {
		x.fail(err)
		return
	}
	if !x.identify() {
		return
	}
	if x.key != "" {
		x.w.Header().Set("Cache-Control", "private, no-store")
	}
	maintains := map[string]bool{}
	page, err := x.h.board.List(x.r.Context(), f, func(v jobview.View) bool {
		yes, known := maintains[v.Repo]
		if !known {
			repo, ok := v.Addr()
			if ok {
				yes, _, err = x.may(repo)
			}
			yes = yes && err == nil
			maintains[v.Repo] = yes
		}
		return yes
	})
	if err != nil {
		x.fail(err)
		return
	}
	if x.json {
		if page.Next != "" {
			x.w.Header().Set("Link", "<"+older(x.r, page.Next)+`>; rel="next"`)
		}
		x.answer(http.StatusOK, page)
		return
	}
	list := JobList{Page: page, Repo: q.Get("repo"), Name: f.Name, Since: q.Get("since"), First: f.Before == ""}
	list.States = append(list.States, f.States...)
	if page.Next != "" {
		list.Older = older(x.r, page.Next)
	}
	x.h.pages.JobList(x.w, x.r, list)
}

// older is the address of the page that follows.
func older(r *http.Request, next jobs.ID) string {
	q := r.URL.Query()
	q.Set("before", string(next))
	return r.URL.EscapedPath() + "?" + q.Encode()
}

package server

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
)

// allowance says in one sentence how much an owner may keep here, or nothing (G01-109).
func allowance(cfg config.Config) string {
	q := cfg.Quota
	var parts []string
	if q.Repos > 0 {
		parts = append(parts, fmt.Sprintf("%d repositories", q.Repos))
	}
	if q.Bytes > 0 {
		parts = append(parts, grasp.Bytes(q.Bytes))
	}
	if q.RepoBytes > 0 {
		parts = append(parts, grasp.Bytes(q.RepoBytes)+" in one repository")
	}
	if len(parts) == 0 {
		return ""
	}
	last := parts[len(parts)-1]
	if rest := parts[:len(parts)-1]; len(rest) > 0 {
		last = strings.Join(rest, ", ") + " and " + last
	}
	return "Of one owner at most " + last + "."
}

// allowing adds the allowance to the criteria for repositories.
func allowing(criteria string, cfg config.Config) string {
	switch more := allowance(cfg); {
	case more == "":
		return criteria
	case criteria == "None":
		return more
	default:
		return criteria + " " + more
	}
}

// quotaMetrics tells what is stored, and how often a quota said no.
func (s *Server) quotaMetrics(reg *prometheus.Registry) {
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gitroost_quota_stored_bytes", Help: "Bytes that all repositories hold on disk, as recorded.",
	}, func() float64 { return float64(s.store.Stored()) }))
	for what, n := range map[string]func() int64{
		"push":         func() int64 { return s.steward.QuotaRefusals().Pushes },
		"announcement": func() int64 { return s.steward.QuotaRefusals().Repos },
		"event":        func() int64 { return s.steward.QuotaRefusals().Events },
	} {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "gitroost_quota_refusals_total", Help: "What was refused because somebody had used up a quota.",
			ConstLabels: prometheus.Labels{"what": what},
		}, func() float64 { return float64(n()) }))
	}
}

// QuotaOf is what one key keeps here, for the operator. Limits of 0 are none.
type QuotaOf struct {
	Npub         string `json:"npub"`
	Bytes        int64  `json:"bytes"`
	BytesLimit   int64  `json:"bytes_limit"`
	PRBytes      int64  `json:"pr_bytes"` // brought by PR refs; counted for nobody
	Repos        int    `json:"repositories"`
	ReposLimit   int    `json:"repositories_limit"`
	Deleted      int    `json:"deleted_repositories"` // in their grace
	DeletedBytes int64  `json:"deleted_bytes"`

	SubmittedBytes      int64 `json:"submitted_bytes"` // under /prs/
	SubmittedBytesLimit int64 `json:"submitted_bytes_limit"`
	SubmittedRepos      int   `json:"submitted_repositories"`
	SubmittedReposLimit int   `json:"submitted_repositories_limit"`
	SubmittedRefs       int   `json:"submitted_refs"`
	SubmittedRefsLimit  int   `json:"submitted_refs_limit"`
}

// maxHolders is how many keys one answer names.
const maxHolders = 1000

// quota answers GET /quota?npub= on the operator's listener: what one key keeps here, and without npub
// who keeps most.
func (s *Server) quota(w http.ResponseWriter, r *http.Request) {
	var out any
	if npub := r.URL.Query().Get("npub"); npub != "" {
		key, err := grasp.ParseNpub(npub)
		if err != nil {
			http.Error(w, "npub is no public key of the form npub1…", http.StatusBadRequest)
			return
		}
		if out, err = s.quotaOf(r, key); err != nil {
			s.log.Error("cannot tell a quota", "err", err)
			http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
			return
		}
	} else {
		type holder struct {
			Npub  string `json:"npub"`
			Repos int    `json:"repositories"` // that hold anything
			Boxes int    `json:"submitted_repositories"`
			Bytes int64  `json:"bytes"`
			Pulls int64  `json:"pr_bytes"`
		}
		list, all, err := s.store.Holders(r.Context(), maxHolders)
		if err != nil {
			s.log.Error("cannot tell quotas", "err", err)
			http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
			return
		}
		holders := make([]holder, 0, len(list))
		for _, h := range list {
			holders = append(holders, holder{h.Key.Npub(), h.Repos, h.Boxes, h.Total.Own, h.Total.Pulls})
		}
		out = map[string]any{"bytes": all.Own, "pr_bytes": all.Pulls, "holders": holders}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(out) // who left does not hear it
}

func (s *Server) quotaOf(r *http.Request, key grasp.PubKey) (QuotaOf, error) {
	kept, err := s.store.Kept(r.Context(), key, false)
	boxes, berr := s.store.Kept(r.Context(), key, true)
	q := s.cfg.Quotas()
	owner, submitter := q.Of(key), q.OfSubmitter()
	return QuotaOf{
		Npub: key.Npub(), Bytes: kept.Weight.Own, BytesLimit: owner.Bytes, PRBytes: kept.Weight.Pulls,
		Repos: kept.Repos, ReposLimit: owner.Repos, Deleted: kept.Deleted, DeletedBytes: kept.DeletedWeight.Total(),
		SubmittedBytes: boxes.Weight.Own, SubmittedBytesLimit: submitter.Bytes,
		SubmittedRepos: boxes.Repos, SubmittedReposLimit: submitter.Repos,
		SubmittedRefs: boxes.Refs, SubmittedRefsLimit: submitter.Refs,
	}, cmp.Or(err, berr)
}

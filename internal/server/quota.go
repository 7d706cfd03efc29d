package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/manage"
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

// quota answers GET /quota?npub= on the operator's listener: what one key keeps here, and without npub
// who keeps most.
func (s *Server) quota(w http.ResponseWriter, r *http.Request) {
	var out any
	var err error
	if npub := r.URL.Query().Get("npub"); npub != "" {
		key, bad := grasp.ParseNpub(npub)
		if bad != nil {
			http.Error(w, "npub is no public key of the form npub1…", http.StatusBadRequest)
			return
		}
		out, err = s.Holding(r.Context(), key)
	} else {
		out, err = s.Holders(r.Context(), manage.MaxHolders)
	}
	if err != nil {
		s.log.Error("cannot tell a quota", "err", err)
		http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(out) // who left does not hear it
}

// Holding implements manage.House.
func (s *Server) Holding(ctx context.Context, key grasp.PubKey) (manage.Holding, error) {
	kept, err := s.store.Kept(ctx, key, false)
	if err != nil {
		return manage.Holding{}, err
	}
	boxes, err := s.store.Kept(ctx, key, true)
	if err != nil {
		return manage.Holding{}, err
	}
	q := s.config().Quotas()
	owner, submitter := q.Of(key), q.OfSubmitter()
	return manage.Holding{
		Key: key, Npub: key.Npub(), Bytes: kept.Weight.Own, BytesLimit: owner.Bytes, PRBytes: kept.Weight.Pulls,
		Repos: kept.Repos, ReposLimit: owner.Repos, Deleted: kept.Deleted, DeletedBytes: kept.DeletedWeight.Total(),
		BoxBytes: boxes.Weight.Own, BoxBytesLimit: submitter.Bytes,
		Boxes: boxes.Repos, BoxesLimit: submitter.Repos,
		BoxRefs: boxes.Refs, BoxRefsLimit: submitter.Refs,
	}, nil
}

// Holders implements manage.House.
func (s *Server) Holders(ctx context.Context, limit int) (manage.Holders, error) {
	list, all, err := s.store.Holders(ctx, limit)
	out := manage.Holders{Bytes: all.Own, PRBytes: all.Pulls, List: make([]manage.Holder, 0, len(list))}
	for _, h := range list {
		out.List = append(out.List, manage.Holder{Npub: h.Key.Npub(), Repos: h.Repos, Boxes: h.Boxes, Bytes: h.Total.Own, Pulls: h.Total.Pulls})
	}
	return out, err
}

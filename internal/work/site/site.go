// Package site does the jobs of the kind site: the pages of a repository, rendered and published below
// one folder, in which each repository has its own. A web server can show that folder as it is, and so
// can this one.
//
// It does not know how pages are made, nor who reads them.
package site

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/render"
	"github.com/gitroost/gitroost/internal/work"
)

// Config is what a Doer needs. Dir, Folder and Now are required.
type Config struct {
	// Dir is what a relative publish.to is relative to.
	Dir string

	// Folder returns the two names below it that a repository has for itself: "npub1…/shop".
	Folder func(repo grasp.Addr) (string, error)

	// Describe returns what pages say of a repository beside what is in it. Nil says its identifier.
	Describe func(ctx context.Context, repo grasp.Addr) render.Site

	// Workers is how many pages of one site are rendered at a time. Default 2.
	Workers int

	Now func() time.Time
	Log *slog.Logger // nil discards
}

// A Doer renders sites. It is safe for concurrent use.
type Doer struct{ cfg Config }

var _ work.Doer = (*Doer)(nil)

// DefaultTo is where sites are published that name no place.
const DefaultTo = "sites"

// New returns a Doer. What is required and missing is a fault.Invalid.
func New(cfg Config) (*Doer, error) {
	if cfg.Dir == "" || cfg.Folder == nil || cfg.Now == nil {
		return nil, fault.E(fault.Invalid, "site: new", "folders and a clock are needed")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Describe == nil {
		cfg.Describe = func(_ context.Context, repo grasp.Addr) render.Site { return render.Site{Name: repo.ID} }
	}
	return &Doer{cfg}, nil
}

// Do renders what is new and publishes the site as a whole. What was published before stays if it fails.
func (d *Doer) Do(ctx context.Context, t *work.Task) jobs.Result {
	res, err := d.do(ctx, t)
	if err == nil {
		return res
	}
	t.Printf("not published: %v", err)
	res = jobs.Result{State: jobs.Failed, Reason: err.Error(), Fault: jobs.FaultInfra}
	switch {
	case errors.Is(err, jobs.ErrTimeout), ctx.Err() != nil && errors.Is(context.Cause(ctx), jobs.ErrTimeout):
		res.State, res.Fault = jobs.TimedOut, jobs.FaultTimeout
	case fault.Is(err, fault.Invalid), fault.Is(err, fault.Refused), fault.Is(err, fault.TooLarge):
		res.Fault, res.Final = jobs.FaultExit, true
	}
	return res
}

func (d *Doer) do(ctx context.Context, t *work.Task) (jobs.Result, error) {
	const op = "site"
	spec, ok := t.Spec.(*work.Site)
	if !ok {
		return jobs.Result{}, fault.Errorf(fault.Invalid, op, "it was told %T", t.Spec)
	}
	theme, err := spec.Palette()
	if err != nil {
		return jobs.Result{}, err
	}
	branches, err := spec.Listed()
	if err != nil {
		return jobs.Result{}, err
	}
	dir, err := d.dir(t.Job, spec)
	if err != nil {
		return jobs.Result{}, err
	}
	src, err := t.Objects(ctx)
	if err != nil {
		return jobs.Result{}, err
	}
	defer src.Close()
	keep, grace := spec.Publish.Keep.OrElse()
	began := d.cfg.Now()
	opt := render.Options{
		Theme: theme, Grace: grace, Keep: keep, Workers: d.cfg.Workers, Now: d.cfg.Now, Log: d.cfg.Log.With("repo", t.Job.Repo.String()),
		Caps:     render.Caps{Commits: spec.Commits, Branches: branches, Files: spec.Files, Bytes: int64(spec.MaxBytes), Time: time.Duration(spec.Limits.Time)},
		Progress: func(pages int) { t.Printf("%d pages so far", pages) },
	}
	if disk := int64(spec.Limits.Disk); disk > 0 && (opt.Caps.Bytes == 0 || disk < opt.Caps.Bytes) {
		opt.Caps.Bytes = disk
	}
	rep, err := render.Publish(ctx, dir, src, d.cfg.Describe(ctx, t.Job.Repo), opt)
	if err != nil {
		return jobs.Result{}, err
	}
	t.Printf("%s", told(rep, d.cfg.Now().Sub(began)))
	return jobs.Result{State: jobs.OK}, nil
}

// told is what the log says of a site that was published: the counters show that what did not change was
// not rendered again (S0-15).
func told(r render.Report, took time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d files, %d rendered, %d reused, %d bytes, %v", r.Files, r.Rendered, r.Files-r.Rendered, r.Bytes, took.Round(time.Millisecond))
	if r.Unchanged {
		b.WriteString("; nothing is different, " + r.Generation + " stays")
	} else {
		b.WriteString("; published as " + r.Generation)
	}
	if r.LeftOut > 0 {
		fmt.Fprintf(&b, "; %d pages only say that the site is too large: raise max_bytes, or lower commits or branches", r.LeftOut)
	}
	if r.Missing > 0 {
		fmt.Fprintf(&b, "; %d pages lack something that is not here", r.Missing)
	}
	return b.String()
}

// dir returns where a repository's site is published.
func (d *Doer) dir(j jobs.Job, spec *work.Site) (string, error) {
	to := spec.Publish.To
	if to == "" {
		to = DefaultTo
	}
	if filepath.IsAbs(to) && j.Class != jobs.Operator && j.Class != "" {
		return "", fault.E(fault.Refused, "site", "publish: to: only the operator's own jobs may publish to a path with a slash in front")
	}
	if !filepath.IsAbs(to) {
		to = filepath.Join(d.cfg.Dir, to)
	}
	folder, err := d.cfg.Folder(j.Repo)
	if err != nil {
		return "", err
	}
	return filepath.Join(to, folder), nil
}

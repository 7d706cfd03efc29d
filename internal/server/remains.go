package server

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitdir"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/render"
	"github.com/gitroost/gitroost/internal/work"
	"github.com/gitroost/gitroost/internal/work/checkout"
	"github.com/gitroost/gitroost/internal/work/site"
)

// remainsAfter is how long logs stay of a job that ended when its repository was gone: the last of them say
// what its removal made.
const remainsAfter = 24 * time.Hour

// remains removes what jobs left of repositories that are gone: deleted, and not kept for anybody's second
// thoughts any more (repos.deleted_grace), so that the ledger has no row of them. These are their sites, their
// checkouts below the data folder, and their logs. What the operator has published elsewhere, to a path with a
// slash in front, is a site's folder for each repository, which goes too, or a checkout, which stays: something
// runs there.
func (h *Jobs) remains(ctx context.Context, now time.Time) error {
	var faults []error
	for _, dir := range h.siteFolders() {
		faults = append(faults, h.leftOf(ctx, dir, render.Remove))
	}
	faults = append(faults, h.leftOf(ctx, filepath.Join(h.cfg.Data, checkoutsFolder), checkout.Remove))
	return errors.Join(append(faults, h.logsOfGone(ctx, now.Add(-remainsAfter)))...)
}

// checkoutsFolder is where checkouts are, below the data folder, that name no place of their own.
const checkoutsFolder = "checkouts"

// siteFolders returns the folders below which sites are published.
func (h *Jobs) siteFolders() []string {
	all := []string{filepath.Join(h.cfg.Data, site.DefaultTo)}
	for _, j := range h.defs.Load().cfg.Jobs {
		spec, ok := j.Work.(*work.Site)
		if !ok || spec.Publish.To == "" {
			continue
		}
		to := spec.Publish.To
		if !filepath.IsAbs(to) {
			to = filepath.Join(h.cfg.Data, to)
		}
		if !slices.Contains(all, to) {
			all = append(all, to)
		}
	}
	return all
}

// leftOf removes from dir the folders <npub>/<identifier> of repositories that are gone. Folders that are
// named otherwise are not ours.
func (h *Jobs) leftOf(ctx context.Context, dir string, remove func(dir string, still func() (bool, error)) error) error {
	owners, err := folders(dir)
	if err != nil {
		return err
	}
	for _, npub := range owners {
		owner, err := grasp.ParseNpub(npub)
		if err != nil || owner.Npub() != npub {
			continue
		}
		names, err := folders(filepath.Join(dir, npub))
		if err != nil {
			return err
		}
		here, err := h.foldersOf(ctx, owner)
		if err != nil {
			return err
		}
		for _, name := range names {
			if here[name] {
				continue
			}
			path := filepath.Join(dir, npub, name)
			err := remove(path, func() (bool, error) {
				again, err := h.foldersOf(ctx, owner)
				return !again[name], err
			})
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil && !fault.Is(err, fault.Busy): // the next sweep tries again
				h.log.Warn("cannot remove what was published of a repository that is gone", "path", path, "err", err)
			case err == nil:
				if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
					h.log.Info("removed what was published of a repository that is gone", "path", path)
				}
			}
		}
		os.Remove(filepath.Join(dir, npub)) // stays if something is in it
	}
	return nil
}

// folders returns the names of the folders in dir. What is not there has none.
func folders(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Wrap("jobs: remains", err)
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// foldersOf returns the names of the folders that the repositories of owner have that are not gone.
func (h *Jobs) foldersOf(ctx context.Context, owner grasp.PubKey) (map[string]bool, error) {
	out := map[string]bool{}
	for after := (grasp.Addr{Owner: owner}); ; {
		page, err := h.repos(ctx, after, retainPage)
		if err != nil {
			return nil, err
		}
		for _, a := range page {
			if a.Owner != owner {
				return out, nil
			}
			path, err := gitdir.Folder(a)
			if err != nil {
				return nil, err
			}
			out[filepath.Base(path)] = true
			after = a
		}
		if len(page) < retainPage {
			return out, nil
		}
	}
}

// logsOfGone removes the logs of jobs that ended before a time, of repositories that are gone.
func (h *Jobs) logsOfGone(ctx context.Context, before time.Time) error {
	for {
		list, err := h.gone(ctx, before, retainPage)
		if err != nil {
			return err
		}
		n, err := h.dropLogs(ctx, list)
		if err != nil || n == 0 || len(list) < retainPage {
			return err
		}
	}
}

// dropLogs removes the logs of list, first the file and then the note of it, and returns how many.
func (h *Jobs) dropLogs(ctx context.Context, list []jobs.Job) (int, error) {
	done := make([]jobs.ID, 0, len(list))
	for _, j := range list {
		if err := h.logs.Remove(string(j.ID)); err != nil {
			h.log.Warn("cannot remove a log", "job", j.ID, "err", err)
			continue
		}
		done = append(done, j.ID)
	}
	return len(done), h.queue.LogsGone(ctx, done)
}

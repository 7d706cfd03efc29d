package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work/ci"
	"github.com/gitroost/gitroost/internal/work/notify"
)

// An ownFile is what a repository's own file of jobs says at one commit of its default branch. It does not
// change; book is nil if there are faults.
type ownFile struct {
	book    *jobs.Book
	faults  config.Faults
	private map[string]bool
	notices map[string]notify.Rules
	source  jobs.Source // without the request by which it is heeded
}

// An own is the file of a repository as it is heeded now.
type own struct {
	*ownFile
	branch grasp.RefName // the default branch, in which it is
	unread string        // why it is not heeded although it is there, or ""
}

// ownFiles keeps those that were read last: a push is looked at more than once.
type ownFiles struct {
	mu    sync.Mutex
	files map[ownKey]*ownFile
}

type ownKey struct {
	repo   grasp.Addr
	commit grasp.OID
}

// maxOwnFiles is how many files are kept; then all are read again.
const maxOwnFiles = 256

// own returns the jobs that a repository defines for itself, or nil: where the operator does not trust it, where
// it has no such file, and where HEAD points to nothing. What is in the tip of the default branch a maintainer has
// signed, in the state that moved it there; no proposal can change it (jobs.md 3.2). maintainers may be nil: then
// they are looked up, which must not be while the repository's identifier is locked.
func (h *Jobs) own(ctx context.Context, repo grasp.Addr, maintainers func() grasp.KeySet) (*own, error) {
	trust, ok := h.defs.Load().cfg.TrustOf(repo)
	if !ok {
		return nil, nil
	}
	snap, err := h.vault.Refs(ctx, repo)
	if err != nil {
		return nil, err
	}
	tip, ok := snap.Refs.Tip(snap.Head)
	if !ok {
		return nil, nil
	}
	file, err := h.ownAt(ctx, repo, trust, tip)
	if err != nil || file == nil {
		return nil, err
	}
	o := &own{ownFile: file, branch: snap.Head}
	if !trust.Request {
		return o, nil
	}
	if maintainers == nil {
		view, err := h.server.steward.View(ctx, repo.ID)
		if err != nil {
			return nil, err
		}
		maintainers = func() grasp.KeySet { return view.Maintainers(repo.Owner) }
	}
	request, ok, err := h.standing(ctx, repo, maintainers(), h.clock.Now())
	if err != nil {
		return nil, err
	}
	if !ok {
		o.unread = "no maintainer has asked this server for jobs, in an event of kind 9843 to " + h.server.self.Npub()
		return o, nil
	}
	if file.book != nil {
		if o.ownFile, err = file.under(request); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// standing returns the request of a maintainer that stands at a time, if one does.
func (h *Jobs) standing(ctx context.Context, repo grasp.Addr, maintainers grasp.KeySet, at time.Time) (ci.Control, bool, error) {
	list, err := h.events(ctx, nostr.Filter{
		Kinds: []int{ci.KindServiceRequest, ci.KindServiceStop}, Limit: maxControls,
		Tags: nostr.TagMap{"a": {repo.Coordinate()}, "p": {string(h.server.self)}},
	})
	if err != nil {
		return ci.Control{}, false, err
	}
	c, ok := ci.Standing(list, repo, h.server.self, maintainers, at.Unix())
	return c, ok, nil
}

// under returns f with jobs that bear by whose request it is heeded.
func (f *ownFile) under(c ci.Control) (*ownFile, error) {
	out := *f
	out.source.Request, out.source.By = c.ID, c.Author
	var defs []jobs.Definition
	for _, name := range f.book.Names() {
		d, _, _ := f.book.Definition(name)
		d.Source = out.source
		defs = append(defs, d)
	}
	var err error
	out.book, err = jobs.NewBook(defs)
	return &out, err
}

// heeded returns the book of o, or nil.
func (o *own) heeded() *jobs.Book {
	if o == nil || o.unread != "" {
		return nil
	}
	return o.book
}

// ownAt returns what the file says at a commit, or nil if there is none.
func (h *Jobs) ownAt(ctx context.Context, repo grasp.Addr, trust config.Trust, commit grasp.OID) (*ownFile, error) {
	key, defs := ownKey{repo, commit}, h.defs.Load()
	defs.owned.mu.Lock()
	file, ok := defs.owned.files[key]
	defs.owned.mu.Unlock()
	if ok {
		return file, nil
	}
	data, found, err := h.fileAt(ctx, repo, commit, config.RepoFile, config.MaxRepoFile)
	if err != nil {
		return nil, err
	}
	if found {
		if file, err = h.readOwn(defs, repo, trust, commit, data); err != nil {
			return nil, err
		}
	}
	defs.owned.mu.Lock()
	defer defs.owned.mu.Unlock()
	if defs.owned.files == nil || len(defs.owned.files) >= maxOwnFiles {
		defs.owned.files = map[ownKey]*ownFile{}
	}
	defs.owned.files[key] = file
	return file, nil
}

// readOwn reads what the file says; data is nil if it is too large.
func (h *Jobs) readOwn(defs *definitions, repo grasp.Addr, trust config.Trust, commit grasp.OID, data []byte) (*ownFile, error) {
	f := &ownFile{
		private: map[string]bool{}, notices: map[string]notify.Rules{},
		source: jobs.Source{File: hexOf(data), Path: config.RepoFile, Commit: commit},
	}
	if data == nil {
		f.source.File = ""
		f.faults = config.Faults{{Where: config.RepoFile, Text: "is larger than " + config.Size(config.MaxRepoFile) + ", or no file"}}
		return f, nil
	}
	book := h.book.Load()
	list, err := defs.cfg.RepoJobs(trust, data, func(name string) bool { return book.Concerns(name, repo) })
	if faults, bad := err.(config.Faults); bad { //nolint:errorlint // it is not wrapped
		f.faults = faults
		return f, nil
	}
	if err != nil {
		return nil, err
	}
	var own []jobs.Definition
	for _, j := range list {
		d := j.Definition
		d.Source = f.source
		own = append(own, d)
		f.private[j.Name] = j.Private
		if f.notices[j.Name], err = notify.NewRules(j.Notices); err != nil {
			return nil, err
		}
	}
	f.book, err = jobs.NewBook(own)
	return f, err
}

func hexOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// fileAt returns what a file of a commit says. found is false if there is none; data is nil if it is larger than
// most, or no file.
func (h *Jobs) fileAt(ctx context.Context, repo grasp.Addr, commit grasp.OID, path string, most int64) (data []byte, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, factTime)
	defer cancel()
	b, err := h.vault.Browse(ctx, repo)
	if err != nil {
		return nil, false, err
	}
	defer b.Close()
	kind, _, text, err := b.Object(ctx, commit, maxCommit)
	if err != nil || kind != "commit" {
		return nil, false, ifThere(err)
	}
	rest, ok := strings.CutPrefix(string(text), "tree ")
	if !ok || len(rest) < 40 {
		return nil, false, nil
	}
	at, steps := grasp.OID(rest[:40]), strings.Split(path, "/")
	for i, step := range steps {
		kind, _, tree, err := b.Object(ctx, at, maxTree)
		if err != nil || kind != "tree" {
			return nil, false, ifThere(err)
		}
		mode, oid, ok := entryOf(tree, step)
		if !ok {
			return nil, false, nil
		}
		if last := i == len(steps)-1; last != (mode == "100644" || mode == "100755") {
			return nil, last, nil // a folder or a link of this name
		}
		at = oid
	}
	_, _, data, err = b.Object(ctx, at, most)
	if err != nil {
		return nil, false, ifThere(err)
	}
	return data, true, nil
}

// The largest commit and tree that are looked at for a file, in bytes.
const (
	maxCommit = 1 << 20
	maxTree   = 4 << 20
)

// ifThere passes over what is not there.
func ifThere(err error) error {
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

// entryOf finds an entry in what git keeps of a folder: "mode name\0" and 20 bytes of id, one after the other.
func entryOf(tree []byte, name string) (mode string, oid grasp.OID, ok bool) {
	for s := string(tree); s != ""; {
		head, rest, found := strings.Cut(s, "\x00")
		m, n, spaced := strings.Cut(head, " ")
		if !found || !spaced || len(rest) < 20 {
			return "", "", false
		}
		if n == name {
			return m, grasp.OID(hex.EncodeToString([]byte(rest[:20]))), true
		}
		s = rest[20:]
	}
	return "", "", false
}

// followOwn returns the jobs that a repository's own file makes of ev, and what whoever pushed is told of the
// file. Nothing that it holds, and no fault of ours, fails the push.
func (h *Jobs) followOwn(ctx context.Context, ev jobs.Event) (list []jobs.Job, remarks []string) {
	if ev.Trigger == jobs.OnPull || ev.Trigger == jobs.OnJob {
		return nil, nil
	}
	o, err := h.own(ctx, ev.Repo, ev.Maintainers)
	switch {
	case err != nil:
		h.log.Warn("what a repository defines for itself cannot be read", "repo", ev.Repo.String(), "push", ev.Push, "err", err)
		return nil, []string{config.RepoFile + " could not be read; the operator's log says why"}
	case o == nil:
		return nil, nil
	case o.unread != "":
		return nil, []string{config.RepoFile + " is not heeded: " + o.unread}
	case len(o.faults) > 0:
		h.log.Info("a repository's own file of jobs is faulty", "repo", ev.Repo.String(), "push", ev.Push, "event", string(ev.Cause), "err", o.faults[0].Where+": "+o.faults[0].Text)
		return h.faulty(ev, o), ownFaults(o.faults)
	}
	return h.plan(ctx, o.book, ev)
}

// maxFaultsTold is how many faults of a file a pusher is told.
const maxFaultsTold = 5

// ownFaults says to a pusher what is wrong with the file.
func ownFaults(list config.Faults) []string {
	out := []string{config.RepoFile + " defines no jobs, for it is faulty:"}
	for i, f := range list {
		if i == maxFaultsTold {
			out = append(out, fmt.Sprintf("  and %d more", len(list)-i))
			break
		}
		out = append(out, "  "+f.Where+": "+f.Text)
	}
	return out
}

// fileKind is the kind of the job that records that a file is faulty. No configuration has it.
const fileKind = "jobs_file"

// faulty returns the job that records that the file is faulty, if ev has brought it: it begins, says so in its log,
// and has failed to start, as a workflow does elsewhere that cannot be read.
func (h *Jobs) faulty(ev jobs.Event, o *own) []jobs.Job {
	for _, c := range ev.Changes {
		if c.Ref != o.branch || c.New.IsZero() {
			continue
		}
		var text strings.Builder
		for _, f := range o.faults {
			fmt.Fprintf(&text, "%s: %s\n%s\n", f.Where, f.Text, f.Excerpt)
		}
		definition := jobs.HashOf(fileKind, o.source.File)
		name := config.RepoFile[strings.LastIndexByte(config.RepoFile, '/')+1:]
		run := ev.Run
		if run == "" {
			run = h.ids.Next()
		}
		return []jobs.Job{{
			ID: h.ids.Next(), Run: run, Repo: ev.Repo, Name: name, Kind: fileKind, Class: jobs.Trusted,
			Trigger: ev.Trigger, Ref: c.Ref, Old: c.Old, New: c.New, Push: ev.Push, Cause: ev.Cause, Actor: ev.Actor,
			Definition: definition, Input: jobs.InputKey(ev.Repo, name, c.Ref, c.New, definition),
			Group: fileKind + "\n" + jobs.RepoName(ev.Repo), Policy: jobs.Latest, Spec: []byte(text.String()), Source: o.source, Created: ev.Now,
		}}
	}
	return nil
}

// sayFaults does the job that faulty made.
func sayFaults(j jobs.Job, log jobs.Log) jobs.Result {
	w := log.Stream("gitroost")
	fmt.Fprintf(w, "%s", j.Spec)
	first, _, _ := strings.Cut(string(j.Spec), "\n")
	return jobs.Result{State: jobs.StartupFailure, Reason: first, Final: true}
}

// ownOf returns the file of a repository that defines j, as it was when j was made; nil if j is the operator's, or
// the file cannot be read any more.
func (h *Jobs) ownOf(ctx context.Context, j jobs.Job) *ownFile {
	trust, ok := h.defs.Load().cfg.TrustOf(j.Repo)
	if !ok || j.Source.IsZero() {
		return nil
	}
	f, err := h.ownAt(ctx, j.Repo, trust, j.Source.Commit)
	if err != nil {
		h.log.Warn("the file that defines a job cannot be read any more", "job", j.ID, "repo", j.Repo.String(), "err", err)
	}
	return f
}

// rulesOf returns who is told of j.
func (h *Jobs) rulesOf(ctx context.Context, j jobs.Job) notify.Rules {
	if j.Source.IsZero() {
		return h.defs.Load().notices[j.Name]
	}
	if f := h.ownOf(ctx, j); f != nil {
		return f.notices[j.Name]
	}
	return notify.Rules{}
}

// bookOf returns the book in which a job of a repository is defined that somebody names: the operator's, or the
// repository's own.
func (h *Jobs) bookOf(ctx context.Context, repo grasp.Addr, name string) (*jobs.Book, error) {
	book := h.book.Load()
	if _, _, ok := book.Definition(name); ok {
		return book, nil
	}
	o, err := h.own(ctx, repo, nil)
	if err != nil {
		return nil, err
	}
	if theirs := o.heeded(); theirs != nil {
		if _, _, ok := theirs.Definition(name); ok {
			return theirs, nil
		}
	}
	return book, nil
}

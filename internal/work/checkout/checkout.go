// Package checkout does the jobs of the kind checkout: the files of a commit are published in a folder
// that others read while it changes, a web server or a program that runs there.
//
// What is published to /srv/www/shop looks so:
//
//	shop -> shop.d/gen-7/1a2b…      what is shown: a relative link, named after the commit
//	shop.d/gen-7/1a2b…/             the files
//	shop.d/gen-6/0f3e…/, retired    shown before; kept for those who read on
//	shop.d/.gitroost                whose folder it is: without it nothing in there is touched
//	shop.d/.lock                    held while something is published
//	shop.d/new-…                    unfinished; removed by whoever publishes next
//
// A generation is written, has to pass its check, and is synced before one rename turns the link. So
// whoever follows the link sees one whole tree at every moment, and whoever is in an older one can stay
// there for a while. What a dead process left behind has a name of its own and is in nobody's way.
//
// The package knows no git and no programs: files come from export, and programs are parts that the
// Hall has done.
package checkout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/durable"
	"github.com/gitroost/gitroost/internal/export"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
)

// Config is what a Doer needs. Folder and Now are required.
type Config struct {
	// Folder returns where a repository's checkouts are whose definition names no place of its own.
	Folder func(repo grasp.Addr) (string, error)

	Now func() time.Time
	Log *slog.Logger // nil discards

	// step is called between the steps of publishing. If it fails, so does the job, there.
	step func(name string) error
}

// A Doer does checkouts. It is safe for concurrent use; of one place one is published at a time, by
// whichever process.
type Doer struct{ cfg Config }

var _ work.Doer = (*Doer)(nil)

// New returns a Doer. What is required and missing is a fault.Invalid.
func New(cfg Config) (*Doer, error) {
	if cfg.Folder == nil || cfg.Now == nil {
		return nil, fault.E(fault.Invalid, "checkout: new", "a folder and a clock are needed")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.step == nil {
		cfg.step = func(string) error { return nil }
	}
	return &Doer{cfg}, nil
}

// Do publishes what the job is about. A failure before the link is turned changes nothing that is shown;
// one in a step of after: leaves the new tree shown.
func (d *Doer) Do(ctx context.Context, t *work.Task) jobs.Result {
	spec, ok := t.Spec.(*work.Checkout)
	if !ok {
		return failed(t, fault.Errorf(fault.Invalid, "checkout", "it was told %T", t.Spec))
	}
	if limit := time.Duration(spec.Limits.Time); limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, jobs.ErrTimeout)
		defer cancel()
	}
	link, err := d.target(t.Job, spec)
	if err != nil {
		return failed(t, err)
	}
	b := &job{d: d, t: t, spec: spec, link: link, dir: link + generations}
	res := b.run(ctx)
	if err := b.tell(res); err != nil {
		t.Printf("error_file: %v", err)
		if res.State == jobs.OK {
			return failed(t, err)
		}
	}
	return res
}

// failed says why a job could not be done. What trying again cannot mend is final.
func failed(t *work.Task, err error) jobs.Result {
	t.Printf("not published: %v", err)
	res := jobs.Result{State: jobs.Failed, Reason: err.Error(), Fault: jobs.FaultInfra}
	switch fault.CodeOf(err) {
	case fault.Invalid, fault.Refused, fault.TooLarge:
		res.Fault, res.Final = jobs.FaultExit, true
	}
	return res
}

// target returns where the link is.
func (d *Doer) target(j jobs.Job, spec *work.Checkout) (string, error) {
	to := spec.Target()
	own := j.Class == jobs.Operator || j.Class == ""
	if !own && (filepath.IsAbs(to) || filepath.IsAbs(spec.TouchFile) || filepath.IsAbs(spec.ErrorFile) || spec.Publish.Group != "") {
		return "", fault.E(fault.Refused, "checkout", "only the operator's own jobs may publish outside of the repository's folder; take names without a slash in front")
	}
	if filepath.IsAbs(to) {
		return to, nil
	}
	dir, err := d.cfg.Folder(j.Repo)
	if err != nil {
		return "", fault.Wrap("checkout", err)
	}
	return filepath.Join(dir, to), nil
}

// A job is one checkout at work.
type job struct {
	d    *Doer
	t    *work.Task
	spec *work.Checkout
	link string
	dir  string // where generations are

	oid  grasp.OID // the commit, when it is known
	perm fs.FileMode
	gid  int // -1 if it stays as it is
}

func (b *job) run(ctx context.Context) jobs.Result {
	perm, err := b.spec.Publish.Perm()
	if err != nil {
		return failed(b.t, err)
	}
	b.perm = fs.FileMode(perm)
	if b.gid, err = findGroup(b.spec.Publish.Group); err != nil {
		return failed(b.t, err)
	}
	unlock, err := b.own()
	if err != nil {
		return failed(b.t, err)
	}
	defer unlock()
	res, tree := b.publish(ctx)
	if res.State != jobs.OK || tree == "" {
		return res
	}
	if err := b.touch(); err != nil {
		return failed(b.t, err)
	}
	return b.after(ctx, tree)
}

func (b *job) step(name string) error { return b.d.cfg.step(name) }

// publish makes a generation and turns the link. tree is where it is; "" if there was nothing to do.
func (b *job) publish(ctx context.Context) (res jobs.Result, tree string) {
	ok := jobs.Result{State: jobs.OK}
	next := b.sweep() + 1
	if err := b.step("swept"); err != nil {
		return failed(b.t, err), ""
	}
	fresh, err := b.begin()
	if err != nil {
		return failed(b.t, err), ""
	}
	placed := false
	defer func() {
		if !placed {
			os.RemoveAll(fresh)
		}
	}()
	if err := b.step("made"); err != nil {
		return failed(b.t, err), ""
	}
	rep, err := b.export(ctx, fresh)
	switch {
	case errors.Is(err, errGone):
		b.t.Printf("%s is gone; what is published stays", b.t.Job.Ref)
		return ok, ""
	case ctx.Err() != nil:
		return stopped(b.t, ctx), ""
	case err != nil:
		return failed(b.t, err), ""
	}
	b.oid = rep.Commit
	tree = filepath.Join(fresh, string(rep.Commit))
	if err := b.step("exported"); err != nil {
		return failed(b.t, err), ""
	}
	if gate := b.spec.GateExec(); gate != nil {
		res := b.t.Part(ctx, "exec", gate, tree, b.env(tree))
		if res.State != jobs.OK {
			b.t.Printf("check: failed; what was published before stays")
			res.Reason = "check: " + res.Reason
			if ctx.Err() != nil {
				return stopped(b.t, ctx), ""
			}
			return res, ""
		}
		ok.MaxRSS, ok.CPU = res.MaxRSS, res.CPU
	}
	if err := b.step("checked"); err != nil {
		return failed(b.t, err), ""
	}
	if err := b.hand(fresh); err != nil {
		return failed(b.t, err), ""
	}
	if err := durable.SyncTree(fresh); err != nil {
		return failed(b.t, fault.Wrap("checkout", err)), ""
	}
	if err := b.step("synced"); err != nil {
		return failed(b.t, err), ""
	}
	if ctx.Err() != nil {
		return stopped(b.t, ctx), ""
	}
	gen := generation(next)
	if err := durable.Rename(fresh, filepath.Join(b.dir, gen)); err != nil {
		return failed(b.t, fault.Wrap("checkout", err)), ""
	}
	placed = true
	if err := b.step("placed"); err != nil {
		return failed(b.t, err), ""
	}
	// The way is relative, so that the folder can be mounted elsewhere (S3-30).
	if err := durable.Symlink(filepath.Join(filepath.Base(b.dir), gen, string(rep.Commit)), b.link); err != nil {
		return failed(b.t, fault.Wrap("checkout", err)), ""
	}
	b.t.Printf("published %s: %d files, %d bytes, %s", rep.Commit, rep.Files, rep.Bytes, gen)
	b.d.cfg.Log.Info("checkout published", "repo", b.t.Job.Repo.String(), "job", b.t.Job.ID, "oid", rep.Commit, "files", rep.Files, "bytes", rep.Bytes)
	if err := b.step("turned"); err != nil {
		return failed(b.t, err), ""
	}
	b.sweep()
	if err := b.step("swept again"); err != nil {
		return failed(b.t, err), ""
	}
	return ok, filepath.Join(b.dir, gen, string(rep.Commit))
}

// stopped says how a job ended that was asked to.
func stopped(t *work.Task, ctx context.Context) jobs.Result {
	cause := context.Cause(ctx)
	res := jobs.Result{State: jobs.Failed, Reason: cause.Error(), Fault: jobs.FaultInfra}
	if errors.Is(cause, jobs.ErrTimeout) {
		res.State, res.Fault = jobs.TimedOut, jobs.FaultTimeout
	}
	t.Printf("not published: %v", cause)
	return res
}

var errGone = errors.New("the ref is gone")

// export writes the files into fresh, in a folder named after the commit.
func (b *job) export(ctx context.Context, fresh string) (export.Report, error) {
	src, err := b.t.Objects(ctx)
	if err != nil {
		return export.Report{}, err
	}
	defer src.Close()
	oid, err := b.resolve(ctx, src)
	if err != nil {
		return export.Report{}, err
	}
	want, err := jobs.PathGlobs(b.spec.Sparse...)
	if err != nil {
		return export.Report{}, err
	}
	opt := export.Options{MaxBytes: int64(b.spec.MaxBytes), MaxFiles: b.spec.MaxFiles, Dirs: b.perm}
	if d := int64(b.spec.Limits.Disk); d > 0 && (opt.MaxBytes == 0 || d < opt.MaxBytes) {
		opt.MaxBytes = d
	}
	if !want.Empty() {
		opt.Want = want.Match
	}
	switch b.spec.Symlinks {
	case work.LinksKeep:
		if b.t.Job.Class == jobs.Operator || b.t.Job.Class == "" {
			opt.Links = export.Keep
		}
	case work.LinksSkip:
		opt.Links = export.Skip
	}
	tree := filepath.Join(fresh, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return export.Report{}, fault.Wrap("checkout", err)
	}
	if err := os.Chmod(tree, b.perm); err != nil {
		return export.Report{}, fault.Wrap("checkout", err)
	}
	rep, err := export.Tree(ctx, src, oid, tree, opt)
	if err != nil {
		return rep, err
	}
	for _, n := range rep.Notes {
		b.t.Printf("%s", n)
	}
	if more := rep.LeftOut - len(rep.Notes); more > 0 {
		b.t.Printf("%d more are left out", more)
	}
	if rep.Commit == "" {
		return rep, fault.Errorf(fault.Invalid, "checkout", "%s is not a commit", oid)
	}
	return rep, fault.Wrap("checkout", os.Rename(tree, filepath.Join(fresh, string(rep.Commit))))
}

// resolve returns what is to be published: a commit, or a tag of one (S3-02).
func (b *job) resolve(ctx context.Context, src work.Objects) (grasp.OID, error) {
	name := b.spec.Ref
	if name == "" && b.t.Job.Ref != "" {
		if b.t.Job.New == "" || b.t.Job.New.IsZero() {
			return "", errGone
		}
		return b.t.Job.New, nil
	}
	snap, err := src.Refs(ctx)
	if err != nil {
		return "", err
	}
	if name == "" || name == "HEAD" {
		name = string(snap.Head)
	}
	for _, full := range []string{"refs/heads/" + name, "refs/tags/" + name, name} {
		if oid := snap.Refs.OID(grasp.RefName(full)); oid != "" {
			return oid, nil
		}
	}
	if grasp.IsHex(name, 40) {
		return grasp.OID(name), nil
	}
	return "", fault.Errorf(fault.Refused, "checkout", "there is no branch, tag or commit %.200q", name)
}

// env is what programs of this job are told beside what all are.
func (b *job) env(tree string) []string {
	return []string{"GRASP_OID=" + string(b.oid), "GITSYNC_HASH=" + string(b.oid), "GRASP_TREE=" + tree, "GRASP_LINK=" + b.link}
}

// after does the steps that follow, in turn, up to the first that fails.
func (b *job) after(ctx context.Context, tree string) jobs.Result {
	all := jobs.Result{State: jobs.OK}
	for i := range b.spec.After {
		kind, spec := b.spec.After[i].Spec()
		if spec == nil {
			continue
		}
		res := b.t.Part(ctx, kind, spec, tree, b.env(tree))
		all.CPU += res.CPU
		all.MaxRSS = max(all.MaxRSS, res.MaxRSS)
		if res.State != jobs.OK {
			res.Reason = fmt.Sprintf("after: step %d, %s: %s", i+1, kind, res.Reason)
			res.CPU, res.MaxRSS = all.CPU, all.MaxRSS
			return res
		}
	}
	return all
}

// beside returns where a file is whose name is relative to the link's folder.
func (b *job) beside(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(b.link), name)
}

// touch sets the time of touch_file (S3-43).
func (b *job) touch() error {
	if b.spec.TouchFile == "" {
		return nil
	}
	path, now := b.beside(b.spec.TouchFile), b.d.cfg.Now()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return fault.Wrap("checkout: touch_file", err)
	}
	f.Close()
	return fault.Wrap("checkout: touch_file", os.Chtimes(path, now, now))
}

// A Trouble is what error_file says (S3-19).
type Trouble struct {
	By    string        `json:"by"` // always "gitroost"
	Repo  string        `json:"repo"`
	Job   string        `json:"job"`
	ID    jobs.ID       `json:"id"`
	Ref   grasp.RefName `json:"ref,omitempty"`
	OID   grasp.OID     `json:"oid,omitempty"`
	State jobs.State    `json:"state"`
	Error string        `json:"error"`
	At    time.Time     `json:"at"`
}

// tell writes error_file, or removes it.
func (b *job) tell(res jobs.Result) error {
	if b.spec.ErrorFile == "" {
		return nil
	}
	path := b.beside(b.spec.ErrorFile)
	var was Trouble
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fault.Wrap("checkout: error_file", err)
	case len(data) > 0 && (json.Unmarshal(data, &was) != nil || was.By != "gitroost"):
		return fault.Errorf(fault.Refused, "checkout: error_file", "%s holds something else; name another file", path)
	case res.State == jobs.OK:
		return fault.Wrap("checkout: error_file", os.Remove(path))
	}
	if res.State == jobs.OK {
		return nil
	}
	oid := b.oid
	if oid == "" {
		oid = b.t.Job.New
	}
	data, err = json.MarshalIndent(Trouble{By: "gitroost", Repo: b.t.Job.Repo.Owner.Npub() + "/" + b.t.Job.Repo.ID, Job: b.t.Job.Name, ID: b.t.Job.ID, Ref: b.t.Job.Ref, OID: oid,
		State: res.State, Error: res.Reason, At: b.d.cfg.Now().UTC()}, "", "  ")
	if err != nil {
		return fault.Wrap("checkout: error_file", err)
	}
	return fault.Wrap("checkout: error_file", durable.WriteFile(path, append(data, '\n'), 0o644))
}

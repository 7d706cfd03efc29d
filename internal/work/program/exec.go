package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/export"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/run"
	"github.com/gitroost/gitroost/internal/work"
)

// Exec does jobs of the kind exec.
type Exec struct{ *Programs }

var (
	_ work.Doer   = Exec{}
	_ work.Reaper = Exec{}
)

// Reap ends what a dead process left running of j.
func (e Exec) Reap(ctx context.Context, j jobs.Job) error { return e.reap(ctx, j) }

// A place is where one program runs, and what it finds there.
type place struct {
	dir     string // the working directory
	git     string // the bare repository, "" if it is not to be seen
	home    string
	tmp     string
	secrets string // "" if there are none
	path    string
	write   []string // folders that it may write into, of which the size is watched
	read    []string // folders that it may read
}

// A program is one that is about to run.
type prog struct {
	t       *work.Task
	kind    string
	argv    []string
	env     []string
	at      place
	stdin   io.Reader
	user    *run.User
	limits  work.Limits
	sandbox string
	network bool
	private string // a folder of secrets, to be removed afterwards
	spare   string // one in place of the task's, for users who cannot reach that; likewise
}

// Do runs the program. How it ends is told by its exit code, by the signal that ended it, or by which
// limit it met.
func (e Exec) Do(ctx context.Context, t *work.Task) jobs.Result {
	spec, ok := t.Spec.(*work.Exec)
	if !ok {
		return unable(t, fault.Errorf(fault.Invalid, "exec", "it was told %T", t.Spec))
	}
	pr := &prog{t: t, kind: "exec", argv: spec.Run, limits: spec.Limits, network: spec.Network}
	return e.do(ctx, pr, func() error {
		var err error
		if pr.sandbox, err = e.choose(ctx, t.Job.Class, spec); err != nil {
			return err
		}
		if pr.user, err = findUser(spec.RunAs); err != nil {
			return err
		}
		if err = e.settle(ctx, pr, spec); err != nil {
			return err
		}
		more, err := e.secrets(pr, spec)
		if err != nil {
			return err
		}
		pr.env = environment(t, &pr.at, more)
		if pr.argv[0], err = lookUp(pr.argv[0], pr.at.path, pr.at.dir); err != nil {
			return err
		}
		return pr.give()
	})
}

func unable(t *work.Task, err error) jobs.Result {
	t.Printf("cannot begin: %v", err)
	code := fault.CodeOf(err)
	return jobs.Result{State: jobs.StartupFailure, Reason: err.Error(), Fault: jobs.FaultInfra,
		Final: code == fault.Invalid || code == fault.Refused}
}

// do prepares a program, runs it, and tells how it ended.
func (p *Programs) do(ctx context.Context, pr *prog, prepare func() error) jobs.Result {
	t := pr.t
	if d := time.Duration(pr.limits.Time); d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, d, jobs.ErrTimeout)
		defer cancel()
	}
	defer func() {
		for _, dir := range []string{pr.private, pr.spare} {
			if dir != "" {
				os.RemoveAll(dir)
			}
		}
		p.forget(t.Job.ID)
	}()
	pr.argv = append([]string(nil), pr.argv...)
	if err := prepare(); err != nil {
		if ctx.Err() != nil {
			return ended(ctx)
		}
		return unable(t, err)
	}
	t.Printf("%s: %s", pr.sandbox, strings.Join(pr.argv, " "))
	var (
		out run.Outcome
		err error
	)
	if pr.sandbox == work.SandboxSystemd {
		out, err = p.runUnit(ctx, pr)
	} else {
		out, err = p.contain(ctx, pr)
	}
	res := jobs.Result{State: jobs.OK, Exit: out.Code, MaxRSS: out.MaxRSS, CPU: out.CPU}
	if out.Signal != 0 {
		res.Exit, res.Signal = 128+int(out.Signal), strings.TrimPrefix(unix.SignalName(out.Signal), "SIG")
	}
	var over *overError
	switch {
	case errors.As(err, &over):
		res.State, res.Fault, res.Final, res.Reason = jobs.Failed, jobs.FaultExit, true, over.Error()
		t.Printf("ended: %s", res.Reason)
	case ctx.Err() != nil:
		end := ended(ctx)
		end.Exit, end.Signal, end.MaxRSS, end.CPU = res.Exit, res.Signal, res.MaxRSS, res.CPU
		t.Printf("ended: %s", end.Reason)
		return end
	case errors.Is(err, jobs.ErrTimeout):
		res.State, res.Fault, res.Reason = jobs.TimedOut, jobs.FaultTimeout, err.Error()
	case err != nil:
		return unable(t, err)
	case res.Signal != "":
		res.State, res.Fault, res.Reason = jobs.Failed, jobs.FaultExit, "ended by SIG"+res.Signal
	case res.Exit != 0:
		res.State, res.Fault, res.Reason = jobs.Failed, jobs.FaultExit, "exit "+strconv.Itoa(res.Exit)
	}
	return res
}

// ended says how a job ended that was asked to.
func ended(ctx context.Context) jobs.Result {
	cause := context.Cause(ctx)
	res := jobs.Result{State: jobs.Failed, Reason: cause.Error()}
	if errors.Is(cause, jobs.ErrTimeout) {
		res.State, res.Fault = jobs.TimedOut, jobs.FaultTimeout
	}
	return res
}

// An overError says which limit was met.
type overError struct{ text string }

func (e *overError) Error() string { return e.text }

// choose returns the runner of a program, or why there is none that may have it.
func (p *Programs) choose(ctx context.Context, class jobs.Class, spec *work.Exec) (string, error) {
	const op = "exec"
	want, strict := spec.Sandbox, class == jobs.Untrusted || class == jobs.Trusted
	noBwrap := func() string {
		if p.bwrap == "" {
			return p.why[work.SandboxBwrap]
		}
		return p.tryBwrap(ctx)
	}
	if want == "" {
		want = p.cfg.Sandbox
		if strict {
			want = p.cfg.Untrusted
		}
	}
	if want == work.SandboxAuto {
		switch {
		case p.trySystemd(ctx) == nil:
			want = work.SandboxSystemd
		case noBwrap() == "":
			want = work.SandboxBwrap
		default:
			want = work.SandboxPlain
		}
	}
	switch want {
	case work.SandboxPlain:
		if strict {
			return "", fault.Errorf(fault.Refused, op, "a program of a %s job runs in a sandbox or not at all, and there is none: %s", class, noBwrap())
		}
	case work.SandboxBwrap:
		if why := noBwrap(); why != "" {
			return "", fault.Errorf(fault.Refused, op, "there is no bwrap: %s", why)
		}
	case work.SandboxSystemd:
		if err := p.trySystemd(ctx); err != nil {
			return "", fault.Errorf(fault.Refused, op, "there is no systemd: %v", err)
		}
		return want, nil
	}
	if !strict {
		return want, nil
	}
	if spec.RunAs != "" {
		return "", fault.Errorf(fault.Refused, op, "run_as: a %s job does not choose its user", class)
	}
	if spec.Limits.CPU > 0 && !p.groups.Has("cpu") {
		return "", fault.Errorf(fault.Refused, op, "limits: cpu cannot be enforced here: %s", p.noGroups("cpu"))
	}
	if class != jobs.Untrusted {
		return want, nil
	}
	if spec.Network {
		return "", fault.E(fault.Refused, op, "an untrusted job has no network; remove network: true")
	}
	if len(spec.Secrets()) > 0 {
		return "", fault.E(fault.Refused, op, "an untrusted job has no secrets; remove them")
	}
	if spec.Workdir == work.InBare || spec.Compat != "" {
		return "", fault.E(fault.Refused, op, "an untrusted job sees nothing but its files; remove run_as, compat and workdir: bare")
	}
	return want, nil
}

func (p *Programs) noGroups(controller string) string {
	if why := p.why["groups"]; why != "" {
		return why
	}
	return "no control group with the controller " + controller + " was handed to this process"
}

// settle makes the folders of a program and puts into them what it works on.
func (p *Programs) settle(ctx context.Context, pr *prog, spec *work.Exec) error {
	t := pr.t
	base := t.Dir
	if pr.user != nil && int(pr.user.UID) != os.Getuid() {
		// The data folder lets nobody else through.
		var err error
		if pr.spare, err = os.MkdirTemp(p.cfg.Spare, privatePrefix); err != nil {
			return fault.Wrap("exec: folder", err)
		}
		if err := p.note(t.Job.ID, pr.record()); err != nil {
			return err
		}
		base = pr.spare
	}
	pr.at = place{path: p.cfg.Path, home: filepath.Join(base, "home"), tmp: filepath.Join(base, "tmp"), dir: filepath.Join(base, "work"), git: t.Git}
	for _, dir := range []string{pr.at.home, pr.at.tmp, pr.at.dir} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return fault.Wrap("exec: folder", err)
		}
	}
	pr.at.write = []string{pr.at.home, pr.at.tmp, pr.at.dir}
	if t.Job.Class == jobs.Untrusted {
		pr.at.git = ""
	}
	where := spec.Workdir
	if where == "" && spec.Compat == work.CompatGitHooks {
		where = work.InBare // as git has it
	}
	switch {
	case t.Tree != "":
		pr.at.dir = t.Tree
		pr.at.write = append(pr.at.write, t.Tree)
	case where == work.InBare:
		pr.at.dir = t.Git
	case where == work.InEmpty:
	default:
		if err := p.checkout(ctx, pr, spec); err != nil {
			return err
		}
	}
	if pr.spare != "" && where != work.InBare {
		pr.at.git = ""
	}
	if pr.at.git != "" {
		pr.at.read = append(pr.at.read, pr.at.git)
	}
	if spec.Compat == work.CompatGitHooks {
		pr.argv = append([]string{pr.argv[0], t.Git}, pr.argv[1:]...)
		pr.stdin = strings.NewReader(fmt.Sprintf("%s %s %s\n", orZero(t.Job.Old), orZero(t.Job.New), t.Job.Ref))
	}
	return nil
}

func orZero(oid grasp.OID) string {
	if oid == "" {
		return strings.Repeat("0", 40)
	}
	return string(oid)
}

// checkout puts the files of the job's commit into its folder.
func (p *Programs) checkout(ctx context.Context, pr *prog, spec *work.Exec) error {
	t := pr.t
	src, err := t.Objects(ctx)
	if err != nil {
		return err
	}
	defer src.Close()
	oid := t.Job.New
	if oid == "" || strings.Trim(string(oid), "0") == "" {
		snap, err := src.Refs(ctx)
		if err != nil {
			return err
		}
		oid = snap.Refs.OID(snap.Head)
		if oid == "" {
			return fault.E(fault.Invalid, "exec", "workdir: checkout needs a commit, and this job is about none; say workdir: empty or workdir: bare")
		}
	}
	rep, err := export.Tree(ctx, src, oid, pr.at.dir, export.Options{Links: export.Keep, MaxBytes: int64(spec.Limits.Disk)})
	if err != nil {
		return err
	}
	for _, n := range rep.Notes {
		t.Printf("checkout: %s", n)
	}
	return nil
}

// secrets puts the secrets into files of a private folder, and returns the variables of the job with
// those that are given that way.
func (p *Programs) secrets(pr *prog, spec *work.Exec) (map[string]string, error) {
	t := pr.t
	more := map[string]string{}
	for name, v := range spec.Env {
		more[name] = v
	}
	for name, secret := range spec.SecretEnv {
		data, err := t.Secret(secret)
		if err != nil {
			return nil, err
		}
		more[name] = strings.TrimRight(string(data), "\n")
	}
	if len(spec.SecretNames) == 0 {
		return more, nil
	}
	dir, err := p.privateFolder(pr)
	if err != nil {
		return nil, err
	}
	for _, name := range spec.SecretNames {
		data, err := t.Secret(name)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), data, 0o400); err != nil {
			return nil, fault.Wrap("exec: secrets", err)
		}
	}
	pr.at.secrets = dir
	pr.at.read = append(pr.at.read, dir)
	return more, nil
}

// privateFolder makes a folder for secrets, in memory if there is a place for it.
func (p *Programs) privateFolder(pr *prog) (string, error) {
	parent := p.cfg.Private
	if parent == "" {
		parent = pr.t.Dir
	}
	dir, err := os.MkdirTemp(parent, privatePrefix)
	if err != nil {
		return "", fault.Wrap("exec: secrets", err)
	}
	pr.private = dir
	return dir, p.note(pr.t.Job.ID, pr.record())
}

// record is what is noted of pr in any case.
func (pr *prog) record() record {
	r := record{Mark: mark(pr.t.Job.ID)}
	for _, dir := range []string{pr.private, pr.spare} {
		if dir != "" {
			r.Folders = append(r.Folders, dir)
		}
	}
	return r
}

// give makes the folders of a program its user's.
func (pr *prog) give() error {
	if pr.user == nil {
		return nil
	}
	for _, dir := range []string{pr.spare, pr.private} {
		if dir == "" {
			continue
		}
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, int(pr.user.UID), int(pr.user.GID))
		})
		if err != nil {
			return fault.Wrap("exec: run_as", err)
		}
	}
	return nil
}

// findUser returns who is meant by "user" or "user:group"; nil for "".
func findUser(who string) (*run.User, error) {
	if who == "" {
		return nil, nil
	}
	name, group, _ := strings.Cut(who, ":")
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return nil, fault.Errorf(fault.Invalid, "exec", "run_as: there is no user %q", name)
		}
	}
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			if g, err = user.LookupGroupId(group); err != nil {
				return nil, fault.Errorf(fault.Invalid, "exec", "run_as: there is no group %q", group)
			}
		}
		u.Gid = g.Gid
	}
	uid, uerr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gerr := strconv.ParseUint(u.Gid, 10, 32)
	if uerr != nil || gerr != nil {
		return nil, fault.Errorf(fault.Invalid, "exec", "run_as: %q has no number", who)
	}
	if os.Getuid() != 0 && int(uid) != os.Getuid() {
		return nil, fault.Errorf(fault.Refused, "exec", "run_as: only root may run programs as %q; this server runs as user %d", name, os.Getuid())
	}
	return &run.User{UID: uint32(uid), GID: uint32(gid)}, nil
}

// lookUp returns the absolute path of a program: an absolute one, one below the working directory if it
// has a slash, or one of PATH.
func lookUp(name, path, dir string) (string, error) {
	switch {
	case filepath.IsAbs(name):
	case strings.Contains(name, "/"):
		name = filepath.Join(dir, name)
	}
	found, err := run.Find(name, path)
	if err != nil {
		return "", fault.Errorf(fault.Invalid, "exec", "run: there is no program %q (looked in %s)", name, path)
	}
	return found, nil
}

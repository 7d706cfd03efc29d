package gitdir

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/run"
	"github.com/gitroost/gitroost/internal/work"
)

// maxPushed is how many refs one `git push` moves; more take several.
const maxPushed = 500

// Push brings branches and tags of repo to a remote. What is there already is left alone; what does
// not lead to ours is refused, unless p.Force, and then only if it is still what the remote just said.
// A remote from which everything would be pruned is left as it is: a fault.Refused.
//
// The child reads no configuration but ours, has no password in its arguments or configuration, and
// may speak one protocol. Errors: fault.Busy if the remote does not answer or does not let us in.
func (v *Vault) Push(ctx context.Context, repo grasp.Addr, p work.Pushing) (out work.Pushed, err error) {
	const op = "gitdir: push"
	r, err := v.acquire(repo)
	if err != nil {
		return out, err
	}
	defer v.release(r)
	st, err := r.refs(ctx)
	if err != nil {
		return out, err
	}
	o := &pushingOut{v: v, r: r, p: p, home: v.temp("push")}
	if err := os.MkdirAll(o.home, 0o700); err != nil {
		return out, explainIO(op, err)
	}
	defer os.RemoveAll(o.home)
	theirs, err := o.theirs(ctx)
	if err != nil {
		return out, err
	}
	plan := o.plan(st.snap, theirs)
	if plan.empties {
		return out, fault.E(fault.Refused, op, "there are no branches and tags here, and prune would remove all that are there: that is not done")
	}
	for list := range slices.Chunk(plan.specs, maxPushed) {
		if err := o.push(ctx, list, theirs, &out); err != nil {
			return out, err
		}
	}
	return out, nil
}

// pushingOut is one Push under way.
type pushingOut struct {
	v    *Vault
	r    *repo
	p    work.Pushing
	home string
}

func (o *pushingOut) env() []string {
	configs := [][]pair{baseConfig, {
		{"http.proxy", o.p.Proxy},
		{"http.proxyAuthMethod", "basic"},
		{"http.followRedirects", "false"},
		{"http.sslVerify", "true"},
		{"http.version", "HTTP/1.1"},
		{"http.lowSpeedLimit", "1000"},
		{"http.lowSpeedTime", strconv.Itoa(int(max(o.p.LowSpeed, time.Second) / time.Second))},
		{"http.saveCookies", "false"},
		{"http.delegation", "none"},
		{"http.userAgent", "git/gitroost"},
		{"push.followTags", "false"},
		{"push.gpgSign", "false"},
		{"push.negotiate", "false"},
		{"push.recurseSubmodules", "no"},
		{"submodule.recurse", "false"},
	}}
	if o.v.cfg.CAFile != "" {
		configs = append(configs, []pair{{"http.sslCAInfo", o.v.cfg.CAFile}})
	}
	if o.p.Credentials != "" {
		// git has a shell read this
		configs = append(configs, []pair{{"credential.helper", "store --file='" + strings.ReplaceAll(o.p.Credentials, "'", `'\''`) + "'"}})
	}
	extra := []string{"GIT_ALLOW_PROTOCOL=" + o.p.Scheme, "TMPDIR=" + o.home, "HOME=" + o.home, "XDG_CONFIG_HOME=" + o.home}
	if o.p.SSH != "" {
		extra = append(extra, "GIT_SSH_COMMAND="+o.p.SSH, "GIT_SSH_VARIANT=ssh")
	}
	dir := o.r.path
	if !o.v.isDir(o.r.objects()) {
		dir = o.v.none()
	}
	return o.v.env(dir, o.r.objectCount(), configs, extra...)
}

// run starts git and returns what it says, also if it failed.
func (o *pushingOut) run(ctx context.Context, args []run.Arg) (string, error) {
	var out limitedBuffer
	_, err := o.v.run(ctx, command{args: args, env: o.env(), stdout: &out, progress: o.p.Line})
	return out.String(), err
}

// failed says why git could not speak with the remote.
func (o *pushingOut) failed(ctx context.Context, op string, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fault.Wrap(op, cause)
	}
	var exit *run.ExitError
	if !errors.As(err, &exit) {
		return fault.Wrap(op, err)
	}
	why := "git could not reach it"
	for line := range strings.Lines(exit.Stderr) {
		line = strings.TrimSpace(line)
		if s, ok := strings.CutPrefix(line, "fatal: "); ok && s != "" {
			why = s
			break
		} else if line != "" {
			why = line
		}
	}
	return &fault.Error{Code: fault.Busy, Op: op, Text: why[:min(len(why), 300)], Err: err}
}

// theirs asks the remote for its branches and tags.
func (o *pushingOut) theirs(ctx context.Context) (map[grasp.RefName]grasp.OID, error) {
	const op = "gitdir: ask a remote"
	remote, err := run.Operand(o.p.URL)
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	text, err := o.run(ctx, append(run.Words("ls-remote", "--heads", "--tags", "--refs", "--quiet"), remote))
	if err != nil {
		return nil, o.failed(ctx, op, err)
	}
	out := map[grasp.RefName]grasp.OID{}
	for line := range strings.Lines(text) {
		oid, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if ref := grasp.RefName(name); ok && grasp.IsHex(oid, 40) && (ref.IsHead() || ref.IsTag()) && o.p.Wants(ref) {
			out[ref] = grasp.OID(oid)
		}
	}
	return out, nil
}

// A moving is one ref of the remote that is to be moved.
type moving struct {
	ref      grasp.RefName
	old, new grasp.OID // "" if it is not there, or goes
}

type pushPlan struct {
	specs   []moving
	empties bool
}

// plan compares what is here with what is there.
func (o *pushingOut) plan(ours *grasp.Snapshot, theirs map[grasp.RefName]grasp.OID) (p pushPlan) {
	here := map[grasp.RefName]bool{}
	for ref := range ours.Refs.All() {
		name, oid := ref.Name, ref.OID
		if !name.IsHead() && !name.IsTag() || !o.p.Wants(name) {
			continue
		}
		here[name] = true
		if theirs[name] != oid {
			p.specs = append(p.specs, moving{name, theirs[name], oid})
		}
	}
	if o.p.Prune {
		for name, oid := range theirs {
			if !here[name] {
				p.specs = append(p.specs, moving{ref: name, old: oid})
			}
		}
		p.empties = len(here) == 0 && len(theirs) > 0
	}
	slices.SortFunc(p.specs, func(a, b moving) int { return strings.Compare(string(a.ref), string(b.ref)) })
	return p
}

// push moves list, all or nothing if the remote can do that.
func (o *pushingOut) push(ctx context.Context, list []moving, theirs map[grasp.RefName]grasp.OID, out *work.Pushed) error {
	const op = "gitdir: push"
	var leases, specs []run.Arg
	for _, m := range list {
		if o.p.Force || m.new == "" { // over what it said, and nothing newer
			leases = append(leases, run.Value("--force-with-lease", string(m.ref)+":"+string(m.old)))
		}
		spec, err := run.Operand(string(m.new) + ":" + string(m.ref))
		if err != nil {
			return fault.Wrap(op, err)
		}
		specs = append(specs, spec)
	}
	remote, err := run.Operand(o.p.URL)
	if err != nil {
		return fault.Wrap(op, err)
	}
	for _, atomic := range []bool{true, false} {
		args := run.Words("push", "--porcelain", "--no-verify", "--no-recurse-submodules", "--no-signed")
		if atomic {
			args = append(args, run.Words("--atomic")...)
		}
		args = append(append(append(args, leases...), remote), specs...)
		text, err := o.run(ctx, args)
		var exit *run.ExitError
		if atomic && errors.As(err, &exit) && strings.Contains(exit.Stderr, "does not support --atomic") {
			continue
		}
		if report(text, list, out) == 0 && err != nil {
			return o.failed(ctx, op, err)
		}
		return nil
	}
	return nil
}

// report reads what `git push --porcelain` says of each ref, and returns of how many it said anything.
func report(text string, list []moving, out *work.Pushed) (n int) {
	moves := map[string]moving{}
	for _, m := range list {
		moves[string(m.ref)] = m
	}
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 3)
		if len(f) != 3 || len(f[0]) != 1 {
			continue
		}
		_, to, ok := strings.Cut(f[1], ":")
		m, known := moves[to]
		if !ok || !known {
			continue
		}
		n++
		ref := work.PushedRef{Ref: m.ref, New: m.new}
		if f[0] != "!" {
			out.Done = append(out.Done, ref)
			continue
		}
		if strings.Contains(f[2], "atomic") { // it waits for the others
			continue
		}
		ref.Text = strings.TrimSpace(f[2])
		for _, why := range []string{"non-fast-forward", "fetch first", "already exists", "needs force", "stale info"} {
			ref.Diverged = ref.Diverged || strings.HasPrefix(ref.Text, "[rejected]") && strings.Contains(ref.Text, "("+why+")")
		}
		out.Refused = append(out.Refused, ref)
	}
	return n
}

// Package mirror pushes what a repository has to one elsewhere: the job kind mirror_push (§3.8). It
// finds the way out, brings secrets where git finds them and nobody else, and says what became of it.
// It does not know how git is run.
package mirror

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/dial"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/lock"
	"github.com/gitroost/gitroost/internal/run"
	"github.com/gitroost/gitroost/internal/work"
)

// A Pusher runs git.
type Pusher interface {
	Push(ctx context.Context, repo grasp.Addr, p work.Pushing) (work.Pushed, error)
}

// Config is what a Doer needs. Git is required.
type Config struct {
	Git Pusher

	// Way is how https and http get out. Nil: they do not.
	Way *dial.Dialer

	// Path is where ssh is looked for, as in PATH.
	Path string

	// Files permits file:// remotes. They cannot be configured; tests use them.
	Files bool
}

// A Doer does jobs of the kind mirror_push. Its methods are safe for concurrent use.
type Doer struct {
	cfg  Config
	busy lock.Table // remotes that are pushed to
}

var _ work.Doer = (*Doer)(nil)

// New returns a Doer. What is required and missing is a fault.Invalid.
func New(cfg Config) (*Doer, error) {
	if cfg.Git == nil {
		return nil, fault.E(fault.Invalid, "mirror: new", "nobody runs git")
	}
	return &Doer{cfg: cfg}, nil
}

const (
	defaultTimeout  = 10 * time.Minute
	defaultLowSpeed = time.Minute
	maxSends        = 1 << 40 // bytes; what is here is ours, and the time is bounded
	maxNamed        = 5       // refs that a reason names
)

// Do pushes once. To one remote only one job at a time pushes; the others wait.
func (d *Doer) Do(ctx context.Context, t *work.Task) jobs.Result {
	spec, ok := t.Spec.(*work.MirrorPush)
	if !ok {
		return unable(fault.Errorf(fault.Invalid, "mirror: push", "it was told %T", t.Spec))
	}
	if t.Job.Class == jobs.Untrusted {
		return unable(fault.E(fault.Refused, "mirror: push", "only jobs of the operator, and of those whom the operator trusts, push elsewhere"))
	}
	limit := time.Duration(spec.Timeout)
	if limit <= 0 {
		limit = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	remote, err := work.ParseRemote(spec.URL)
	if err != nil {
		return unable(err)
	}
	if t.Job.Class == jobs.Trusted && remote.Scheme == "ssh" {
		return unable(fault.E(fault.Refused, "mirror: push", "only the operator's own jobs reach other hosts by ssh")) // nobody looks where that goes
	}
	unlock, err := d.busy.Lock(ctx, remote.String())
	if err != nil {
		return d.ended(t, work.Pushed{}, err)
	}
	defer unlock()
	p, done, err := d.prepare(ctx, t, spec, remote, limit)
	if err != nil {
		if _, wait := dial.RetryAfter(err); wait || fault.Is(err, fault.Internal) || fault.Is(err, fault.Busy) {
			return d.ended(t, work.Pushed{}, err)
		}
		return unable(err)
	}
	defer done()
	pushed, err := d.cfg.Git.Push(ctx, t.Job.Repo, p)
	return d.ended(t, pushed, err)
}

// prepare opens the way out, and puts secrets into files of t's own folder. done closes it.
func (d *Doer) prepare(ctx context.Context, t *work.Task, spec *work.MirrorPush, remote work.Remote, limit time.Duration) (p work.Pushing, done func(), err error) {
	const op = "mirror: prepare"
	done = func() {}
	globs := jobs.Globs{}
	if len(spec.Refs) > 0 {
		if globs, err = jobs.RefGlobs(spec.Refs...); err != nil {
			return p, done, err
		}
	}
	p = work.Pushing{
		URL: remote.String(), Scheme: remote.Scheme, Prune: spec.Prune, Force: spec.Force, LowSpeed: time.Duration(spec.LowSpeed),
		Wants: func(n grasp.RefName) bool { return globs.Empty() || globs.Match(string(n)) },
		Line:  func(line string) { fmt.Fprintln(t.Log.Stream("stderr"), line) },
	}
	if p.LowSpeed <= 0 {
		p.LowSpeed = defaultLowSpeed
	}
	switch remote.Scheme {
	case "ssh":
		p.SSH, err = d.ssh(t, spec)
		return p, done, err
	case "file":
		if !d.cfg.Files {
			return p, done, fault.E(fault.Refused, op, "a mirror is elsewhere: https or ssh")
		}
		return p, done, nil
	}
	if d.cfg.Way == nil {
		return p, done, fault.E(fault.Invalid, op, "there is no way out")
	}
	to, err := dial.ParseRemote(spec.URL, d.cfg.Way.Plain())
	if err != nil {
		return p, done, err
	}
	p.URL = to.String()
	if p.Credentials, err = credentials(t, spec, p.URL); err != nil {
		return p, done, err
	}
	proxy, err := d.cfg.Way.Proxy(ctx, to, dial.Task{Name: "mirror " + t.Job.Repo.String(), Sends: maxSends, Wall: limit})
	if err != nil {
		return p, done, err
	}
	p.Proxy = proxy.URL()
	return p, proxy.Close, nil
}

// credentials writes what git is to say to the remote, and to no other, into a file, and returns its
// path; "" if there is nothing to say.
func credentials(t *work.Task, spec *work.MirrorPush, address string) (string, error) {
	if spec.Token.IsZero() {
		return "", nil
	}
	token, err := t.Secret(spec.Token.Secret)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", fault.Wrap("mirror: credentials", err)
	}
	user := spec.User
	if user == "" {
		user = "git"
	}
	u.User, u.Path, u.RawPath = url.UserPassword(user, strings.TrimRight(string(token), "\r\n")), "", ""
	path := filepath.Join(t.Dir, "credentials")
	return path, fault.Wrap("mirror: credentials", os.WriteFile(path, []byte(u.String()+"\n"), 0o600))
}

// ssh returns the command that git has a shell run. It reads nobody's configuration, asks no agent and
// believes no host whose key is not known (S3-38).
func (d *Doer) ssh(t *work.Task, spec *work.MirrorPush) (string, error) {
	const op = "mirror: ssh"
	program, err := run.Find("ssh", d.cfg.Path)
	if err != nil {
		return "", fault.E(fault.Invalid, op, "ssh is not here; install the package openssh-client")
	}
	key, err := t.Secret(spec.Key.Secret)
	if err != nil {
		return "", err
	}
	known, err := work.ReadKnownHosts(spec.KnownHosts)
	if err != nil {
		return "", err
	}
	id, hosts := filepath.Join(t.Dir, "key"), filepath.Join(t.Dir, "known_hosts")
	if err := os.WriteFile(id, []byte(strings.TrimRight(string(key), "\r\n")+"\n"), 0o400); err != nil {
		return "", fault.Wrap(op, err)
	}
	if err := os.WriteFile(hosts, known, 0o400); err != nil {
		return "", fault.Wrap(op, err)
	}
	words := []string{program, "-F", "none", "-T", "-i", id}
	for _, o := range []string{
		"BatchMode=yes", "StrictHostKeyChecking=yes", "UserKnownHostsFile=\"" + hosts + "\"", "GlobalKnownHostsFile=/dev/null", "UpdateHostKeys=no",
		"IdentitiesOnly=yes", "IdentityAgent=none", "PasswordAuthentication=no", "KbdInteractiveAuthentication=no",
		"ConnectTimeout=10", "ConnectionAttempts=1", "ServerAliveInterval=15", "ServerAliveCountMax=4",
		"ClearAllForwardings=yes", "ForwardAgent=no", "PermitLocalCommand=no", "ControlPath=none", "LogLevel=ERROR",
	} {
		words = append(words, "-o", o)
	}
	for i, w := range words {
		words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return strings.Join(words, " "), nil
}

// ended says what became of it.
func (d *Doer) ended(t *work.Task, out work.Pushed, err error) jobs.Result {
	for _, r := range out.Done {
		if r.New == "" {
			t.Printf("%s removed", r.Ref)
		} else {
			t.Printf("%s is %s", r.Ref, r.New)
		}
	}
	var diverged, refused []string
	for _, r := range out.Refused {
		t.Printf("%s: %s", r.Ref, r.Text)
		if r.Diverged {
			diverged = append(diverged, string(r.Ref))
		} else {
			refused = append(refused, string(r.Ref)+": "+r.Text)
		}
	}
	switch {
	case err != nil:
		text, _ := fault.Message(err)
		res := jobs.Result{State: jobs.Failed, Fault: jobs.FaultInfra, Reason: text}
		if after, ok := dial.RetryAfter(err); ok {
			res.After = after
		}
		if errors.Is(err, context.DeadlineExceeded) {
			res.State, res.Fault, res.Reason = jobs.TimedOut, jobs.FaultTimeout, "it took too long"
		}
		res.Final = fault.Is(err, fault.Refused)
		t.Printf("%s", res.Reason)
		return res
	case len(diverged) > 0: // trying again does not change that (S3-42)
		return jobs.Result{State: jobs.Failed, Final: true, Fault: jobs.FaultExit, Exit: 1,
			Reason: "what is there does not lead to what is here: " + some(diverged) + "; force: true would overwrite it"}
	case len(refused) > 0:
		return jobs.Result{State: jobs.Failed, Fault: jobs.FaultExit, Exit: 1, Reason: "refused there: " + some(refused)}
	case len(out.Done) == 0:
		t.Printf("it has everything already")
	}
	return jobs.Result{State: jobs.OK}
}

// some names the first of list.
func some(list []string) string {
	s := strings.Join(list[:min(len(list), maxNamed)], ", ")
	if more := len(list) - maxNamed; more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}

// unable is the end of what cannot begin before somebody has mended it.
func unable(err error) jobs.Result {
	text, _ := fault.Message(err)
	return jobs.Result{State: jobs.StartupFailure, Final: true, Reason: text}
}

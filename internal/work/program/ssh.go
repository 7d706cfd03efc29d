package program

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/run"
	"github.com/gitroost/gitroost/internal/work"
)

// SSH does jobs of the kind ssh: a program on another host, whose key is known beforehand (S0-23).
type SSH struct{ *Programs }

var (
	_ work.Doer   = SSH{}
	_ work.Reaper = SSH{}
)

// Reap ends what a dead process left running of j.
func (s SSH) Reap(ctx context.Context, j jobs.Job) error { return s.reap(ctx, j) }

// exitConnection is how ssh says that it did not come as far as the program.
const exitConnection = 255

// Do runs the program there. No configuration of anybody is read, no agent is asked, nothing is
// forwarded, and no password is ever tried.
func (s SSH) Do(ctx context.Context, t *work.Task) jobs.Result {
	spec, ok := t.Spec.(*work.SSH)
	if !ok {
		return unable(t, fault.Errorf(fault.Invalid, "ssh", "it was told %T", t.Spec))
	}
	if t.Job.Class != jobs.Operator && t.Job.Class != "" {
		return unable(t, fault.E(fault.Refused, "ssh", "only the operator's own jobs may reach other hosts"))
	}
	pr := &prog{t: t, kind: "ssh", sandbox: work.SandboxPlain, limits: spec.Limits}
	res := s.do(ctx, pr, func() error {
		pr.at = place{path: s.cfg.Path, dir: t.Dir, home: t.Dir, tmp: t.Dir}
		key, err := t.Secret(spec.Key.Secret)
		if err != nil {
			return err
		}
		dir, err := s.privateFolder(pr)
		if err != nil {
			return err
		}
		id, hosts := filepath.Join(dir, "key"), filepath.Join(dir, "known_hosts")
		// ssh wants the last line to end.
		if err := os.WriteFile(id, []byte(strings.TrimRight(string(key), "\n")+"\n"), 0o400); err != nil {
			return fault.Wrap("ssh", err)
		}
		known, err := work.ReadKnownHosts(spec.KnownHosts)
		if err != nil {
			return err
		}
		if err := os.WriteFile(hosts, known, 0o400); err != nil {
			return fault.Wrap("ssh", err)
		}
		program, err := run.Find("ssh", s.cfg.Path)
		if err != nil {
			return fault.E(fault.Invalid, "ssh", "ssh is not here; install the package openssh-client")
		}
		wait := time.Duration(spec.ConnectTimeout)
		if wait == 0 {
			wait = 10 * time.Second
		}
		port := spec.Port
		if port == 0 {
			port = 22
		}
		pr.argv = []string{program, "-F", "none", "-T", "-i", id, "-p", strconv.Itoa(port)}
		for _, o := range []string{"BatchMode=yes", "StrictHostKeyChecking=yes", "UserKnownHostsFile=" + hosts, "GlobalKnownHostsFile=/dev/null", "UpdateHostKeys=no",
			"IdentitiesOnly=yes", "IdentityAgent=none", "PasswordAuthentication=no", "KbdInteractiveAuthentication=no", "ConnectTimeout=" + strconv.Itoa(int((wait+time.Second-1)/time.Second)),
			"ConnectionAttempts=1", "ServerAliveInterval=15", "ServerAliveCountMax=4", "ClearAllForwardings=yes", "ForwardAgent=no", "PermitLocalCommand=no", "ControlPath=none", "LogLevel=ERROR"} {
			pr.argv = append(pr.argv, "-o", o)
		}
		if spec.User != "" {
			pr.argv = append(pr.argv, "-l", spec.User)
		}
		pr.argv = append(pr.argv, "--", spec.Host, quoteAll(spec.Run))
		pr.env = environment(t, &pr.at, nil)
		return nil
	})
	if res.State == jobs.Failed && res.Exit == exitConnection {
		res.Fault, res.Reason = jobs.FaultInfra, "no connection to "+spec.Host+", or its key is another; the log says which"
	}
	return res
}

// quoteAll writes words so that a shell of the other host reads exactly these words.
func quoteAll(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return strings.Join(out, " ")
}

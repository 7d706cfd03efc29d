package work

import (
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
)

// The folders in which a program may be begun.
const (
	InCheckout = "checkout" // the files of the job's commit, exported
	InBare     = "bare"     // the bare repository
	InEmpty    = "empty"    // an empty folder
)

// The runners a program may be given to.
const (
	SandboxAuto    = "auto"    // systemd if it can be reached, else bwrap, else plain
	SandboxPlain   = "plain"   // limits, and nothing hidden
	SandboxBwrap   = "bwrap"   // namespaces
	SandboxSystemd = "systemd" // a transient unit
)

// CompatGitHooks gives a program what git gives a post-receive hook: "old new ref" on its input, and
// the path of the repository as its first argument (S0-22).
const CompatGitHooks = "git-hooks"

// Limits bound one job (S0-27). A zero field does not bound.
type Limits struct {
	CPU    Share    `yaml:"cpu,omitempty" json:"cpu,omitempty"`       // of one processor
	Memory Size     `yaml:"memory,omitempty" json:"memory,omitempty"` // of all its processes where that can be had, else of each
	Tasks  int      `yaml:"tasks,omitempty" json:"tasks,omitempty"`   // processes and threads
	Disk   Size     `yaml:"disk,omitempty" json:"disk,omitempty"`     // what it may write in its own folders, and the largest file
	Time   Duration `yaml:"time,omitempty" json:"time,omitempty"`     // from beginning to end
}

// Check reports what makes no sense.
func (l Limits) Check() error {
	switch {
	case l.Tasks < 0 || l.Tasks > 1<<20:
		return fault.Errorf(fault.Invalid, "limits", "tasks: %d is not a number of processes from 1 to 1048576", l.Tasks)
	case l.Memory > 0 && l.Memory < 4<<20:
		return fault.Errorf(fault.Invalid, "limits", "memory: %s is less than any program needs; take 4MiB or more", l.Memory)
	case l.Time > 0 && time.Duration(l.Time) < time.Second:
		return fault.Errorf(fault.Invalid, "limits", "time: %s is too short; take 1s or more", l.Time)
	}
	return nil
}

// Exec says which program to run, where, and with what.
type Exec struct {
	Run     []string `yaml:"run" json:"run"`                             // the program and its arguments; no shell is involved
	Workdir string   `yaml:"workdir,omitempty" json:"workdir,omitempty"` // where it begins: checkout, the files of the job's commit; bare, the repository; empty, an empty folder. "" means checkout
	Compat  string   `yaml:"compat,omitempty" json:"compat,omitempty"`   // git-hooks gives it what git gives a post-receive hook: the repository's path as $1, and "old new ref" as input; "" does not

	Env         map[string]string `yaml:"env,omitempty" json:"env,omitempty"`               // further variables; names that change which program runs are refused
	SecretNames []string          `yaml:"secrets,omitempty" json:"secrets,omitempty"`       // each a file of that name in $GRASP_SECRETS
	SecretEnv   map[string]string `yaml:"secret_env,omitempty" json:"secret_env,omitempty"` // variable: name of a secret

	Sandbox string `yaml:"sandbox,omitempty" json:"sandbox,omitempty"` // auto, systemd, bwrap or plain; "" means jobs_engine.sandbox
	Network bool   `yaml:"network,omitempty" json:"network,omitempty"` // in a sandbox: may it reach others
	RunAs   string `yaml:"run_as,omitempty" json:"run_as,omitempty"`   // "user" or "user:group"; "" is who runs the server (S0-30)
	Limits  Limits `yaml:"limits,omitempty" json:"limits,omitzero"`
}

// Check reports what makes no sense.
func (e *Exec) Check() error {
	if len(e.Run) == 0 || e.Run[0] == "" {
		return fault.E(fault.Invalid, "exec", "run: a list is needed, the program first: run: [make, test]")
	}
	if i := slices.IndexFunc(e.Run, func(s string) bool { return strings.IndexByte(s, 0) >= 0 }); i >= 0 {
		return fault.Errorf(fault.Invalid, "exec", "run: argument %d holds a NUL byte", i)
	}
	if !slices.Contains([]string{"", InCheckout, InBare, InEmpty}, e.Workdir) {
		return fault.Errorf(fault.Invalid, "exec", "workdir: %q is none of checkout, bare, empty", e.Workdir)
	}
	if e.Compat != "" && e.Compat != CompatGitHooks {
		return fault.Errorf(fault.Invalid, "exec", "compat: %q is not git-hooks", e.Compat)
	}
	if !slices.Contains([]string{"", SandboxAuto, SandboxPlain, SandboxBwrap, SandboxSystemd}, e.Sandbox) {
		return fault.Errorf(fault.Invalid, "exec", "sandbox: %q is none of auto, plain, bwrap, systemd", e.Sandbox)
	}
	for name := range e.Env {
		if err := checkVariable("env", name); err != nil {
			return err
		}
	}
	for name, secret := range e.SecretEnv {
		if err := checkVariable("secret_env", name); err != nil {
			return err
		}
		if _, twice := e.Env[name]; twice {
			return fault.Errorf(fault.Invalid, "exec", "secret_env: %s is in env as well", name)
		}
		if err := checkSecretName("secret_env: "+name, secret); err != nil {
			return err
		}
	}
	for _, secret := range e.SecretNames {
		if err := checkSecretName("secrets", secret); err != nil {
			return err
		}
	}
	if u, g, ok := strings.Cut(e.RunAs, ":"); e.RunAs != "" && (u == "" || ok && g == "") {
		return fault.Errorf(fault.Invalid, "exec", "run_as: %q is not a user, nor user:group", e.RunAs)
	}
	return e.Limits.Check()
}

// Secrets returns the names of the secrets that the job is given.
func (e *Exec) Secrets() []string {
	all := slices.Clone(e.SecretNames)
	for _, name := range e.SecretEnv {
		all = append(all, name)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// checkVariable refuses names that change what a program is, rather than what it is told (jobs 3.11).
func checkVariable(where, name string) error {
	if why := BlockedVariable(name); why != "" {
		return fault.Errorf(fault.Invalid, "exec", "%s: %.60q %s", where, name, why)
	}
	return nil
}

// BlockedVariable returns why a job may not be given the variable called name, or "".
func BlockedVariable(name string) string {
	bad := name == "" || len(name) > 128 || name[0] >= '0' && name[0] <= '9' ||
		strings.ContainsFunc(name, func(r rune) bool {
			return r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
		})
	if bad {
		return "is not the name of a variable: letters, digits and _"
	}
	for _, p := range []string{"LD_", "DYLD_", "GIT_", "GRASP_", "GITROOST_", "BASH_FUNC_"} {
		if strings.HasPrefix(name, p) {
			return "cannot be set: names that begin with " + p + " are the server's, or change which program runs"
		}
	}
	if slices.Contains([]string{"PATH", "HOME", "TMPDIR", "IFS", "BASH_ENV", "ENV", "SHELLOPTS", "BASHOPTS", "PYTHONSTARTUP", "PYTHONPATH", "PYTHONHOME",
		"NODE_OPTIONS", "NODE_PATH", "PERL5OPT", "PERL5LIB", "PERLLIB", "RUBYOPT", "RUBYLIB", "GCONV_PATH", "GLIBC_TUNABLES", "LOCPATH", "MALLOC_TRACE", "NLSPATH", "RES_OPTIONS", "HOSTALIASES", "GITSYNC_HASH"}, name) {
		return "cannot be set: it changes which program runs"
	}
	return ""
}

// checkSecretName refuses what cannot be the name of a file.
func checkSecretName(where, name string) error {
	if name == "" || len(name) > 64 || name[0] == '.' || strings.ContainsFunc(name, func(r rune) bool {
		return r != '_' && r != '-' && r != '.' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		return fault.Errorf(fault.Invalid, "secrets", "%s: %.60q is not the name of a secret: letters, digits, - _ .", where, name)
	}
	return nil
}

// cleanPath reports whether p is what it says: no "..", no "." and no second slash in it.
func cleanPath(p string) bool {
	return p != "" && strings.IndexByte(p, 0) < 0 && filepath.Clean(p) == p && p != "." && p != ".." && !strings.HasPrefix(p, "../")
}

package server

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
)

// maxSecret is the largest secret that is read, in bytes.
const maxSecret = 64 << 10

// secret returns a secret for a job, if it may have it: only what its definition names, and only for
// the repositories and refs that the secret is bound to (jobs.md 3.11). It is read anew each time, so
// that a changed one holds for the next job.
func (h *Jobs) secret(_ context.Context, j jobs.Job, name string) ([]byte, error) {
	const op = "jobs: secret"
	source, ok := h.defs.Load().cfg.Secrets[name]
	if !ok {
		return nil, fault.Errorf(fault.Invalid, op, "there is no secret %q", name)
	}
	if !source.For(j) {
		return nil, fault.Errorf(fault.Refused, op, "secret %s is not for this job: it is bound to other repositories or refs, and never for pull requests", name)
	}
	if trust, ok := h.defs.Load().cfg.TrustOf(j.Repo); j.Class == jobs.Trusted && (!ok || !trust.Gives(name)) {
		return nil, fault.Errorf(fault.Refused, op, "secret %s is not for jobs that this repository defines: the operator has to name it in the row of trust", name)
	}
	return readSecret(source.SecretRef)
}

// reveal returns what a target's reference means; the name of a secret is looked up.
func (h *Jobs) reveal(ref work.SecretRef) ([]byte, error) {
	if ref.Secret != "" {
		source, ok := h.defs.Load().cfg.Secrets[ref.Secret]
		if !ok {
			return nil, fault.Errorf(fault.Invalid, "jobs: secret", "there is no secret %q", ref.Secret)
		}
		ref = source.SecretRef
	}
	return readSecret(ref)
}

// CheckSecrets returns what is wrong with the secrets of cfg, by name: files that are missing, or that
// others can read.
func CheckSecrets(cfg config.Config) map[string]error {
	out := map[string]error{}
	for name, s := range cfg.Secrets {
		if _, err := readSecret(s.SecretRef); err != nil {
			out[name] = err
		}
	}
	return out
}

// readSecret reads a secret without the end of its last line.
func readSecret(ref work.SecretRef) ([]byte, error) {
	const op = "jobs: secret"
	var b []byte
	var err error
	switch {
	case ref.File != "":
		b, err = readPrivate(ref.File)
	case ref.Env != "":
		b = []byte(os.Getenv(ref.Env))
	case ref.Credential != "":
		dir := os.Getenv("CREDENTIALS_DIRECTORY")
		if dir == "" {
			return nil, fault.Errorf(fault.Invalid, op, "credential %s: systemd has passed no credentials; add LoadCredential=%[1]s:/path to the unit", ref.Credential)
		}
		if ref.Credential != filepath.Base(ref.Credential) || strings.HasPrefix(ref.Credential, ".") {
			return nil, fault.Errorf(fault.Invalid, op, "credential: %q is not a name", ref.Credential)
		}
		b, err = readPrivate(filepath.Join(dir, ref.Credential))
	}
	if err != nil {
		return nil, err
	}
	if b = bytes.TrimRight(b, "\r\n"); len(b) == 0 {
		return nil, fault.Errorf(fault.Invalid, op, "the secret in %s is empty", ref.File+ref.Env+ref.Credential)
	}
	return b, nil
}

// readPrivate reads a file that nobody but its owner can read, who is the user of the server or root.
func readPrivate(path string) ([]byte, error) {
	const op = "jobs: secret"
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Errorf(fault.Invalid, op, "%v", err)
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return nil, fault.Errorf(fault.Invalid, op, "%v", err)
	case !st.Mode().IsRegular():
		return nil, fault.Errorf(fault.Invalid, op, "%s is not a file", path)
	case st.Mode().Perm()&0o077 != 0:
		return nil, fault.Errorf(fault.Invalid, op, "%s can be read by others (mode %04o): chmod 600 %[1]s", path, st.Mode().Perm())
	}
	if s, ok := st.Sys().(*syscall.Stat_t); ok && s.Uid != 0 && int(s.Uid) != os.Geteuid() {
		return nil, fault.Errorf(fault.Invalid, op, "%s belongs to another user (%d); it has to belong to the one who runs the server, or to root", path, s.Uid)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return nil, fault.Errorf(fault.Invalid, op, "%v", err)
	}
	if len(b) > maxSecret {
		return nil, fault.Errorf(fault.TooLarge, op, "%s is larger than 64 KiB", path)
	}
	return b, nil
}

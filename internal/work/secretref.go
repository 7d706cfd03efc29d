package work

import (
	"strings"

	"github.com/gitroost/gitroost/internal/fault"
)

// A SecretRef says where a secret comes from; it never holds one, so that a configuration with a
// secret written into it cannot be read (S0-08). Exactly one field is set, or none where a secret
// may be missing. What a job is told names only secrets of `secrets:`, which are bound to
// repositories and refs; a target, which the operator alone defines, may also say where it is.
type SecretRef struct {
	Secret     string `yaml:"secret,omitempty" json:"secret,omitempty"`         // one of secrets:, by name
	File       string `yaml:"file,omitempty" json:"file,omitempty"`             // a file's path
	Env        string `yaml:"env,omitempty" json:"env,omitempty"`               // a variable of the server's environment
	Credential string `yaml:"credential,omitempty" json:"credential,omitempty"` // a credential of systemd, by name
}

// IsZero reports whether no secret is meant.
func (r SecretRef) IsZero() bool { return r == SecretRef{} }

// Check reports more than one source, a fault.Invalid that begins with what the secret is for; with
// named, also any source but a name.
func (r SecretRef) Check(what string, named bool) error {
	n := 0
	for _, s := range []string{r.Secret, r.File, r.Env, r.Credential} {
		if s != "" {
			n++
		}
	}
	if n > 1 {
		return fault.Errorf(fault.Invalid, "work: secret", "%s: only one of secret, file, env and credential can be meant", what)
	}
	if named && n > 0 && r.Secret == "" {
		return fault.Errorf(fault.Invalid, "work: secret", "%s: a job is given secrets by their name: %s: {secret: name}, and name under secrets:", what, what)
	}
	return nil
}

// names returns the names among refs, as Spec.Secrets does.
func names(refs ...SecretRef) []string {
	var out []string
	for _, r := range refs {
		if r.Secret != "" {
			out = append(out, r.Secret)
		}
	}
	return out
}

// invalid is a fault of a description, in the words of the configuration.
func invalid(kind, format string, args ...any) error {
	return fault.Errorf(fault.Invalid, "work: "+kind, format, args...)
}

// plainText reports whether s has no control characters and at most limit bytes.
func plainText(s string, limit int) bool {
	return len(s) <= limit && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

package work

import (
	"strings"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
)

// SSH says what to run on which host (S0-23). The host's key must be known.
type SSH struct {
	Host string   `yaml:"host" json:"host"`
	Port int      `yaml:"port,omitempty" json:"port,omitempty"` // 0 means 22
	User string   `yaml:"user,omitempty" json:"user,omitempty"` // "" is who runs the server
	Run  []string `yaml:"run" json:"run"`                       // the program and its arguments, each quoted for the host's shell

	Key            SecretRef `yaml:"key" json:"key"`                                             // a private key without a passphrase
	KnownHosts     string    `yaml:"known_hosts" json:"known_hosts"`                             // a file, a relative path being below the folder of the configuration; or lines as in one: "host ssh-ed25519 AAAA…"
	ConnectTimeout Duration  `yaml:"connect_timeout,omitempty" json:"connect_timeout,omitempty"` // 0 means 10 s
	Limits         Limits    `yaml:"limits,omitempty" json:"limits,omitzero"`                    // of our side; time is of both
}

// Check reports what makes no sense.
func (s *SSH) Check() error {
	plain := func(v string) bool {
		return v != "" && len(v) <= 253 && v[0] != '-' && !strings.ContainsFunc(v, func(r rune) bool {
			return r != '.' && r != '-' && r != '_' && r != ':' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
		})
	}
	switch {
	case !plain(s.Host):
		return fault.Errorf(fault.Invalid, "ssh", "host: %.60q is not a name or an address", s.Host)
	case s.User != "" && (!plain(s.User) || strings.Contains(s.User, ":")):
		return fault.Errorf(fault.Invalid, "ssh", "user: %.60q is not a user's name", s.User)
	case s.Port < 0 || s.Port > 65535:
		return fault.Errorf(fault.Invalid, "ssh", "port: %d is not from 1 to 65535", s.Port)
	case len(s.Run) == 0 || s.Run[0] == "":
		return fault.E(fault.Invalid, "ssh", "run: a list is needed, the program first: run: [systemctl, reload, shop]")
	case strings.ContainsAny(strings.Join(s.Run, ""), "\x00\n\r"):
		return fault.E(fault.Invalid, "ssh", "run: an argument holds a NUL byte or the end of a line")
	case s.KnownHosts == "":
		return fault.E(fault.Invalid, "ssh", "known_hosts: a file, or the lines of one, is needed: only a host whose key is known is spoken to")
	case strings.IndexByte(s.KnownHosts, 0) >= 0:
		return fault.E(fault.Invalid, "ssh", "known_hosts: it holds a NUL byte")
	case s.ConnectTimeout > 0 && (time.Duration(s.ConnectTimeout) < time.Second || time.Duration(s.ConnectTimeout) > 10*time.Minute):
		return fault.Errorf(fault.Invalid, "ssh", "connect_timeout: %s is not from 1s to 10m", s.ConnectTimeout)
	}
	if err := s.Key.Check("key", true); err != nil {
		return err
	}
	if err := checkSecretName("key", s.Key.Secret); err != nil {
		return err
	}
	return s.Limits.Check()
}

// Secrets returns the names of the secrets that the job is given.
func (s *SSH) Secrets() []string { return []string{s.Key.Secret} }

// Files returns the paths of files that it is told.
func (s *SSH) Files() []*string { return hostsFiles(&s.KnownHosts) }

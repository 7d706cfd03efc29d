package work

import (
	"net/url"
	"regexp"
	"strings"
	"time"
)

// MirrorPush says to which repository elsewhere branches and tags are pushed (§3.8).
type MirrorPush struct {
	// URL is https://host/path, ssh://user@host/path or user@host:path.
	URL string `yaml:"url" json:"url"`

	// Key is a private key for ssh; KnownHosts is the path of a file with the keys of the host,
	// a relative one being below the folder of the configuration; or its lines. It is required with ssh: nobody is
	// believed at first sight.
	Key        SecretRef `yaml:"key,omitempty" json:"key,omitzero"`
	KnownHosts string    `yaml:"known_hosts,omitempty" json:"known_hosts,omitempty"`

	User  string    `yaml:"user,omitempty" json:"user,omitempty"`  // for https; "git" if there is only a token
	Token SecretRef `yaml:"token,omitempty" json:"token,omitzero"` // for https: a password or token

	Refs  []string `yaml:"refs,omitempty" json:"refs,omitempty"`   // patterns of what is pushed; none means all branches and tags
	Prune bool     `yaml:"prune,omitempty" json:"prune,omitempty"` // remove there what is not here
	Force bool     `yaml:"force,omitempty" json:"force,omitempty"` // overwrite there what does not lead to ours

	Timeout  Duration `yaml:"timeout,omitempty" json:"timeout,omitempty"`     // in all; 0 means 10 minutes (S3-42)
	LowSpeed Duration `yaml:"low_speed,omitempty" json:"low_speed,omitempty"` // it ends if hardly anything moved for so long; 0 means a minute
}

// A Remote is an address of a repository elsewhere, in its parts.
type Remote struct {
	Scheme string // https, http, ssh or file
	User   string
	Host   string // without brackets
	Port   string // "" means the scheme's
	Path   string // with its first slash, or without where ssh has none
}

var (
	scpLike    = regexp.MustCompile(`^([A-Za-z0-9_][A-Za-z0-9._-]*)@([A-Za-z0-9][A-Za-z0-9.-]*):([^:].*)$`)
	remoteUser = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)
	remoteHost = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)$`)
)

// ParseRemote reads an address of a repository elsewhere; what is none is a fault.Invalid. No part
// can be taken for an option by git or ssh.
func ParseRemote(s string) (Remote, error) {
	bad := func(why string) (Remote, error) {
		return Remote{}, invalid("mirror_push", "url: %.80q %s", s, why)
	}
	if len(s) > maxURL || !plainText(s, maxURL) {
		return bad("is too long or has control characters")
	}
	if m := scpLike.FindStringSubmatch(s); m != nil && !strings.Contains(s, "://") {
		if strings.HasPrefix(m[3], "-") {
			return bad("has a path that begins with a dash")
		}
		return Remote{Scheme: "ssh", User: m[1], Host: m[2], Path: m[3]}, nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" || u.RawQuery != "" || u.Fragment != "" || !strings.HasPrefix(u.Path, "/") || u.Path == "/" {
		return bad("is no repository: https://host/path.git, ssh://user@host/path or user@host:path")
	}
	r := Remote{Scheme: u.Scheme, Host: u.Hostname(), Port: u.Port(), Path: u.EscapedPath()}
	switch u.Scheme {
	case "https", "http":
		if u.User != nil {
			return bad("holds a name or password: say user: and token: {secret: name}") // S3-36
		}
	case "ssh":
		if _, set := u.User.Password(); set {
			return bad("holds a password: use key: {secret: name}")
		}
		r.User, r.Path = u.User.Username(), u.Path
		if r.User != "" && !remoteUser.MatchString(r.User) {
			return bad("has a strange user")
		}
	case "file":
		if u.Host != "" {
			return bad("has a host")
		}
		r.Path = u.Path
		return r, nil
	default:
		return bad("is neither https nor ssh")
	}
	if !remoteHost.MatchString(r.Host) {
		return bad("has a strange host")
	}
	return r, nil
}

// String returns the address as git takes it, with no password.
func (r Remote) String() string {
	if r.Scheme == "file" {
		return "file://" + r.Path
	}
	path := r.Path
	if !strings.HasPrefix(path, "/") {
		path = "/~/" + path // user@host:path means a path below the home folder
		if r.Port == "" && r.User != "" {
			return r.User + "@" + r.Host + ":" + r.Path
		}
	}
	host := r.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if r.Port != "" {
		host += ":" + r.Port
	}
	if r.User != "" {
		host = r.User + "@" + host
	}
	return r.Scheme + "://" + host + path
}

// Check reports what makes no sense.
func (m *MirrorPush) Check() error {
	const kind = "mirror_push"
	r, err := ParseRemote(m.URL)
	if err != nil {
		return err
	}
	if r.Scheme == "file" {
		return invalid(kind, "url: a mirror is elsewhere: https or ssh")
	}
	if r.Scheme == "ssh" {
		if m.Key.IsZero() || m.KnownHosts == "" {
			return invalid(kind, "ssh needs key: {secret: name} and known_hosts: with the path of a file that holds the host's key")
		}
		if !m.Token.IsZero() || m.User != "" {
			return invalid(kind, "token: and user: are for https; ssh has its user in the address")
		}
	} else if !m.Key.IsZero() || m.KnownHosts != "" {
		return invalid(kind, "key: and known_hosts: are for ssh")
	}
	if m.User != "" && (!plainText(m.User, 256) || strings.Contains(m.User, ":")) {
		return invalid(kind, "user: %.80q is none", m.User)
	}
	for what, ref := range map[string]SecretRef{"key": m.Key, "token": m.Token} {
		if err := ref.Check(what, true); err != nil {
			return err
		}
	}
	if len(m.Refs) > 100 {
		return invalid(kind, "refs: at most 100 patterns")
	}
	if m.Timeout < 0 || time.Duration(m.Timeout) > 24*time.Hour || m.LowSpeed < 0 || time.Duration(m.LowSpeed) > time.Hour {
		return invalid(kind, "timeout: is at most 24h, low_speed: at most 1h")
	}
	return nil
}

// Secrets returns the names of the secrets that the job is given.
func (m *MirrorPush) Secrets() []string { return names(m.Key, m.Token) }

// Files returns the paths of files that it is told.
func (m *MirrorPush) Files() []*string { return hostsFiles(&m.KnownHosts) }

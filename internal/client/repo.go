package client

import (
	"context"
	"net/url"
	"strings"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// A Local is what a repository of this computer holds.
type Local struct {
	Refs   grasp.Refs                  // branches and tags
	Peeled map[grasp.RefName]grasp.OID // of annotated tags
	Head   grasp.RefName               // the branch that is checked out, or ""
	Root   grasp.OID                   // the earliest commit of HEAD, or ""
}

// Local reads the branches, the tags and HEAD of the repository in dir.
func (c *Client) Local(ctx context.Context, dir string) (Local, error) {
	const op = "client: read repository"
	out, stderr, err := c.Git(ctx, dir, "for-each-ref", "--format=%(objectname) %(*objectname) %(refname)", "refs/heads", "refs/tags")
	if err != nil {
		return Local{}, gitError(op, dir, stderr, err)
	}
	l, err := parseRefs(out)
	if err != nil {
		return Local{}, err
	}
	if out, _, err := c.Git(ctx, dir, "symbolic-ref", "-q", "HEAD"); err == nil {
		// A detached HEAD names no branch; then the event names none either.
		if n, ok := grasp.ParseRefName(strings.TrimSpace(out)); ok && n.IsHead() {
			l.Head = n
		}
	}
	if out, _, err := c.Git(ctx, dir, "rev-list", "--max-parents=0", "HEAD", "--"); err == nil {
		roots := strings.Fields(out)
		if len(roots) > 0 {
			l.Root, _ = grasp.ParseOID(roots[len(roots)-1])
		}
	}
	return l, nil
}

func parseRefs(out string) (Local, error) {
	const op = "client: read repository"
	l := Local{Refs: grasp.Refs{}, Peeled: map[grasp.RefName]grasp.OID{}}
	for line := range strings.Lines(out) {
		// The peeled id is empty for all but annotated tags: two spaces in a row.
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 3)
		if len(parts) != 3 {
			return Local{}, fault.Errorf(fault.Invalid, op, "git printed %q, which is no ref", line)
		}
		oid, ok := grasp.ParseOID(parts[0])
		if !ok {
			return Local{}, fault.E(fault.Invalid, op, "this repository does not use SHA-1 object ids; servers hold no others yet")
		}
		name, ok := grasp.ParseRefName(parts[2])
		if !ok {
			return Local{}, fault.Errorf(fault.Invalid, op, "%q cannot be the name of a ref in an event; rename it", parts[2])
		}
		l.Refs[name] = oid
		if peeled, ok := grasp.ParseOID(parts[1]); ok {
			l.Peeled[name] = peeled
		}
	}
	return l, nil
}

// A Home is where a repository of this computer was announced. It is kept in the configuration of
// that repository, under gitroost.*.
type Home struct {
	Server Server
	Addr   grasp.Addr
}

// ParseHome reads the address to clone a repository from: https://host/<npub>/<name>.git.
func ParseHome(clone string) (Home, error) {
	bad := fault.Errorf(fault.Invalid, "client: home", "%q is not the address of a repository such as https://git.example.com/npub1…/hello.git", clone)
	u, err := url.Parse(clone)
	if err != nil || u.RawQuery != "" || u.Fragment != "" {
		return Home{}, bad
	}
	npub, id, ok := strings.Cut(strings.Trim(u.Path, "/"), "/")
	if !ok || !strings.HasSuffix(id, ".git") {
		return Home{}, bad
	}
	owner, err := grasp.ParseNpub(npub)
	h := Home{Addr: grasp.Addr{Owner: owner, ID: strings.TrimSuffix(id, ".git")}}
	if err != nil || !h.Addr.Valid() || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return Home{}, bad
	}
	h.Server, err = ParseServer(u.Scheme + "://" + u.Host)
	return h, err
}

// Home returns where the repository in dir was announced, or what it was cloned from, or
// fault.NotFound.
func (c *Client) Home(ctx context.Context, dir string) (Home, error) {
	const op = "client: home"
	get := func(key string) string {
		out, _, err := c.Git(ctx, dir, "config", "--local", "--get", "gitroost."+key)
		if err != nil {
			return ""
		}
		return strings.TrimSuffix(out, "\n")
	}
	server, owner, id := get("server"), get("owner"), get("id")
	if server == "" && owner == "" && id == "" {
		if out, _, err := c.Git(ctx, dir, "config", "--local", "--get", "remote.origin.url"); err == nil {
			if h, err := ParseHome(strings.TrimSpace(out)); err == nil {
				return h, nil
			}
		}
		return Home{}, fault.E(fault.NotFound, op, "this repository was not announced yet; run: gitroost announce --key <file> --server <url> .")
	}
	s, err := ParseServer(server)
	if err != nil {
		return Home{}, err
	}
	k, err := grasp.ParseNpub(owner)
	h := Home{Server: s, Addr: grasp.Addr{Owner: k, ID: id}}
	if err != nil || !h.Addr.Valid() {
		return Home{}, fault.E(fault.Invalid, op, "gitroost.owner or gitroost.id in the configuration of this repository is damaged; announce it again")
	}
	return h, nil
}

// SetHome remembers where the repository in dir was announced.
func (c *Client) SetHome(ctx context.Context, dir string, h Home) error {
	for _, kv := range [...][2]string{
		{"server", h.Server.String()}, {"owner", h.Addr.Owner.Npub()}, {"id", h.Addr.ID},
	} {
		if _, stderr, err := c.Git(ctx, dir, "config", "--local", "gitroost."+kv[0], kv[1]); err != nil {
			return gitError("client: set home", dir, stderr, err)
		}
	}
	return nil
}

// gitError tells a person what git said.
func gitError(op, dir, stderr string, err error) error {
	if strings.Contains(stderr, "not a git repository") {
		return fault.Errorf(fault.Invalid, op, "%s is not a git repository; go to one, or make one with: git init", dir)
	}
	said := strings.TrimSpace(stderr)
	if i := strings.IndexByte(said, '\n'); i >= 0 {
		said = said[:i]
	}
	if said == "" {
		said = err.Error()
	}
	return fault.Errorf(fault.Invalid, op, "git failed: %s", said)
}

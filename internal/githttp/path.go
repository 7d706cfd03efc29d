package githttp

import (
	"net/url"
	"strings"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/gitwire"
)

// maxPath is the longest escaped path that may name a repository, in bytes. The longest legal one
// has about 850.
const maxPath = 2 << 10

// The sub-paths of a repository that are served here.
const (
	subRefs    = "info/refs"
	subUpload  = gitwire.UploadPack
	subReceive = gitwire.ReceivePack
)

// ParsePath splits the escaped path of a URL into a repository and what follows it: "" for the
// page of the repository, else the sub-path as it came, which need not be one that is served.
//
// The form is /<npub>/<identifier>.git[/<sub-path>], with /prs in front for a contributor's box
// (G06-02). The key has exactly one spelling; the second
// segment is percent-decoded once and loses exactly one ".git" (H-102, H-104). Slashes may be
// repeated before and between segments, and one may follow the page (H-103). ok is false for
// everything else, and then there is nothing to know about the path.
func ParsePath(escapedPath string) (repo grasp.Addr, sub string, ok bool) {
	if len(escapedPath) > maxPath || !strings.HasPrefix(escapedPath, "/") {
		return grasp.Addr{}, "", false
	}
	rest, box := boxPath(escapedPath)
	key, rest := segment(rest)
	name, rest := segment(rest)
	owner, err := grasp.ParseNpub(key)
	if err != nil {
		return grasp.Addr{}, "", false
	}
	name, err = url.PathUnescape(name)
	if err != nil {
		return grasp.Addr{}, "", false
	}
	id, found := strings.CutSuffix(name, ".git")
	repo = grasp.Addr{Owner: owner, ID: id, Box: box}
	if !found || !repo.Valid() {
		return grasp.Addr{}, "", false
	}
	if rest == "" || rest == "/" {
		return repo, "", true
	}
	sub = strings.TrimLeft(rest, "/")
	if sub == "" {
		return grasp.Addr{}, "", false // more than one slash behind the page
	}
	// "info//refs" is two segments with two slashes between them.
	if first, last, two := strings.Cut(sub, "/"); two {
		sub = first + "/" + strings.TrimLeft(last, "/")
	}
	return repo, sub, true
}

// boxPath returns what follows /prs, and true; or the path as it is.
func boxPath(path string) (rest string, box bool) {
	if first, rest := segment(path); first == "prs" && rest != "" {
		return rest, true
	}
	return path, false
}

// segment returns the first segment of path, without the slashes before it, and the rest, which is
// empty or begins with a slash.
func segment(path string) (first, rest string) {
	path = strings.TrimLeft(path, "/")
	if i := strings.IndexByte(path, '/'); i >= 0 {
		return path[:i], path[i:]
	}
	return path, ""
}

// Match reports whether a request for escapedPath belongs to a Handler: everything below a
// repository, and whatever a git client would ask of a repository under a name that cannot exist,
// so that git shows a person the reason. The page of a repository does not.
func (h *Handler) Match(escapedPath string) bool {
	if _, sub, ok := ParsePath(escapedPath); ok {
		return sub != ""
	}
	rest, _ := boxPath(escapedPath)
	key, rest := segment(rest)
	if !strings.HasPrefix(key, "npub1") {
		return false
	}
	_, sub := segment(rest)
	switch strings.TrimLeft(sub, "/") {
	case subRefs, subUpload, subReceive:
		return true
	}
	return false
}

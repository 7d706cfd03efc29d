package gitdir

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

// maxEscaped is the longest escaped identifier that is used as it is, in bytes.
const maxEscaped = 200

// Path returns the folder of repo below root: <root>/git/<npub>/<escaped identifier>.git, or below prs/
// if it is a contributor's box. Two repositories never share one, also where file names ignore case. It
// fails if repo is not Valid. Nothing else turns text from outside into a path (hardening D1).
func Path(root string, repo grasp.Addr) (string, error) {
	npub := repo.Owner.Npub()
	if !repo.Valid() || npub == "" {
		return "", fault.E(fault.Invalid, "gitdir: path", "not the address of a repository")
	}
	folder := "git"
	if repo.Box {
		folder = "prs"
	}
	return filepath.Join(root, folder, npub, escape(repo.ID)+".git"), nil
}

// Folder returns a path of two names that no other repository shares: <npub>/<escaped identifier>. It is for
// those who keep something else of each repository, below a folder of their own. It fails if repo is not
// Valid, or is a contributor's box.
func Folder(repo grasp.Addr) (string, error) {
	npub := repo.Owner.Npub()
	if !repo.Valid() || npub == "" || repo.Box {
		return "", fault.E(fault.Invalid, "gitdir: folder", "not the address of a repository with a place of its own")
	}
	return filepath.Join(npub, escape(repo.ID)), nil
}

// escape is injective: of [a-z0-9._-] each byte stays, except a dot or dash in front; any other
// becomes %xx. What would be longer than maxEscaped becomes %h and a hash: no escape begins so,
// because h is no hex digit.
func escape(id string) string {
	const digits = "0123456789abcdef"
	out := make([]byte, 0, len(id)+16)
	for i := range len(id) {
		c := id[i]
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_', i > 0 && (c == '.' || c == '-'):
			out = append(out, c)
		default:
			out = append(out, '%', digits[c>>4], digits[c&15])
		}
	}
	if len(out) > maxEscaped {
		sum := sha256.Sum256([]byte(id))
		return "%h" + hex.EncodeToString(sum[:])
	}
	return string(out)
}

func randomName() string {
	var b [12]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

package work

import (
	"time"

	"github.com/gitroost/gitroost/grasp"
)

// A Pushing says how branches and tags of a repository get to a remote.
type Pushing struct {
	URL    string // as git takes it, with no password
	Scheme string // https, http, ssh or file: git may use this one alone

	Proxy       string // of https and http: the only way out
	SSH         string // of ssh: the command that git has a shell run
	Credentials string // of https and http: a file as `git credential-store` keeps it, or ""

	Wants        func(grasp.RefName) bool // which branches and tags
	Prune, Force bool
	LowSpeed     time.Duration // it ends if hardly anything moved for so long

	Line func(line string) // hears what git says
}

// A PushedRef is what became of one ref of a remote.
type PushedRef struct {
	Ref      grasp.RefName
	New      grasp.OID // zero if it was removed
	Text     string    // why it was refused
	Diverged bool      // what is there does not lead to ours
}

// A Pushed is what became of a remote. If any ref was refused, a remote that can do so left all as
// they were.
type Pushed struct{ Done, Refused []PushedRef }

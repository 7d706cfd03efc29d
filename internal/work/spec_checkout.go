package work

import (
	"path/filepath"
	"strings"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
)

// What becomes of symbolic links in a checkout.
const (
	LinksInside = "inside" // those that lead out of the tree keep it from being published; the default
	LinksSkip   = "skip"   // those are left out
	LinksKeep   = "keep"   // all are kept as they are
)

// Checkout says where the files of a commit are published (S3-03). A path without a slash in
// front is below a folder of the repository's own, checkouts/<npub>/<identifier> in the data folder.
type Checkout struct {
	To         string   `yaml:"to" json:"to"`                                     // the link that is turned; generations live beside it, in a folder of the same name with .d behind
	Ref        string   `yaml:"ref,omitempty" json:"ref,omitempty"`               // a branch, tag, ref, commit or HEAD; "" is what the job is about (S3-02)
	Gate       []string `yaml:"check,omitempty" json:"check,omitempty"`           // run in the new tree; the link is turned only if it succeeds (S3-05)
	After      []Step   `yaml:"after,omitempty" json:"after,omitempty"`           // done in turn when the link was turned (S3-05)
	Sparse     []string `yaml:"sparse,omitempty" json:"sparse,omitempty"`         // patterns of paths; none means all (S3-37)
	Symlinks   string   `yaml:"symlinks,omitempty" json:"symlinks,omitempty"`     // inside, links that lead out of the tree keep it from being published; skip, those are left out; keep, all are kept. "" means inside
	Submodules string   `yaml:"submodules,omitempty" json:"submodules,omitempty"` // "off": they are left out, as empty folders (S3-40)

	TouchFile string `yaml:"touch_file,omitempty" json:"touch_file,omitempty"` // its time is set when the link was turned (S3-43)
	ErrorFile string `yaml:"error_file,omitempty" json:"error_file,omitempty"` // says in JSON why it failed; gone when it did not (S3-19)

	Keep     Keep    `yaml:"keep,omitempty" json:"keep,omitzero"` // or in publish
	Publish  Publish `yaml:"publish,omitempty" json:"publish,omitzero"`
	MaxBytes Size    `yaml:"max_bytes,omitempty" json:"max_bytes,omitempty"` // of one generation; 0 means 2 GiB
	MaxFiles int     `yaml:"max_files,omitempty" json:"max_files,omitempty"` // likewise; 0 means 200,000

	Sandbox string `yaml:"sandbox,omitempty" json:"sandbox,omitempty"` // of check
	Limits  Limits `yaml:"limits,omitempty" json:"limits,omitzero"`    // of check; time is of all of it
}

// Target returns where the link is.
func (c *Checkout) Target() string {
	if c.To == "" {
		return c.Publish.To
	}
	return c.To
}

// Kept returns how long generations stay, with the defaults.
func (c *Checkout) Kept() (count int, d time.Duration) {
	k := c.Keep
	if k == (Keep{}) {
		k = c.Publish.Keep
	}
	return k.OrElse()
}

// GateExec returns what has to succeed before the link is turned, or nil.
func (c *Checkout) GateExec() *Exec {
	if len(c.Gate) == 0 {
		return nil
	}
	return &Exec{Run: c.Gate, Sandbox: c.Sandbox, Limits: c.Limits}
}

// Check reports what makes no sense.
func (c *Checkout) Check() error {
	const op = "checkout"
	to := c.Target()
	switch {
	case to == "":
		return fault.E(fault.Invalid, op, "to: the path of a link is needed, such as /srv/www/shop")
	case !cleanPath(to) || to == "/":
		return fault.Errorf(fault.Invalid, op, "to: %q is not a clean path", to)
	case c.To != "" && c.Publish.To != "":
		return fault.E(fault.Invalid, op, "to: it is said twice, here and in publish")
	case c.Submodules != "" && c.Submodules != "off":
		return fault.Errorf(fault.Invalid, op, "submodules: %q is not off: submodules are not fetched", c.Submodules)
	case c.Symlinks != "" && c.Symlinks != LinksInside && c.Symlinks != LinksSkip && c.Symlinks != LinksKeep:
		return fault.Errorf(fault.Invalid, op, "symlinks: %q is none of inside, skip, keep", c.Symlinks)
	case c.MaxFiles < 0:
		return fault.Errorf(fault.Invalid, op, "max_files: %d is below zero", c.MaxFiles)
	case len(c.After) > 20:
		return fault.Errorf(fault.Invalid, op, "after: %d steps are more than 20", len(c.After))
	}
	for _, f := range []struct{ name, path string }{{"touch_file", c.TouchFile}, {"error_file", c.ErrorFile}} {
		if f.path != "" && (!cleanPath(f.path) || !filepath.IsAbs(f.path) && strings.Contains(f.path, "/")) {
			return fault.Errorf(fault.Invalid, op, "%s: %q is neither a name beside the link nor an absolute, clean path", f.name, f.path)
		}
		if f.path == filepath.Base(to) || f.path == filepath.Base(to)+".d" {
			return fault.Errorf(fault.Invalid, op, "%s: %q is where the tree is published", f.name, f.path)
		}
	}
	if c.TouchFile != "" && c.TouchFile == c.ErrorFile {
		return fault.E(fault.Invalid, op, "touch_file: it is the error_file as well")
	}
	if _, err := jobs.PathGlobs(c.Sparse...); err != nil {
		return fault.Errorf(fault.Invalid, op, "sparse: %v", err)
	}
	for i := range c.After {
		if err := c.After[i].check(); err != nil {
			return fault.Errorf(fault.Invalid, op, "after: step %d: %v", i+1, err)
		}
	}
	if gate := c.GateExec(); gate != nil {
		if err := gate.Check(); err != nil {
			return fault.Errorf(fault.Invalid, op, "check: %v", err)
		}
	}
	if err := c.Keep.check(op); err != nil {
		return err
	}
	if err := c.Limits.Check(); err != nil {
		return err
	}
	return c.Publish.check(op)
}

// Secrets returns the names of the secrets that the job is given: those of its steps.
func (c *Checkout) Secrets() []string {
	var all []string
	for i := range c.After {
		if _, s := c.After[i].Spec(); s != nil {
			all = append(all, s.Secrets()...)
		}
	}
	return all
}

// Files returns the paths of files that its steps are told.
func (c *Checkout) Files() []*string {
	var all []*string
	for i := range c.After {
		if _, s := c.After[i].Spec(); s != nil {
			if f, ok := s.(Filer); ok {
				all = append(all, f.Files()...)
			}
		}
	}
	return all
}

// A Step is a part of a job that another kind does. Exactly one of its fields is set.
type Step struct {
	Exec *Exec `yaml:"exec,omitempty" json:"exec,omitempty"`
	SSH  *SSH  `yaml:"ssh,omitempty" json:"ssh,omitempty"`
}

// Spec returns the kind that does s and what it is told; nil if s says nothing.
func (s *Step) Spec() (kind string, spec Spec) {
	switch {
	case s.Exec != nil:
		return "exec", s.Exec
	case s.SSH != nil:
		return "ssh", s.SSH
	}
	return "", nil
}

func (s *Step) check() error {
	if (s.Exec == nil) == (s.SSH == nil) {
		return fault.E(fault.Invalid, "step", "one of exec, ssh is needed")
	}
	_, spec := s.Spec()
	return spec.Check()
}

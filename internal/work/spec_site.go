package work

import (
	"strconv"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/render"
)

// Site says how the site of a repository is made (S0-15), and below which folder it is published: in
// it, <npub>/<identifier>/current leads to what is shown.
type Site struct {
	Theme    string `yaml:"theme,omitempty" json:"theme,omitempty"`         // "" means github-dark (S0-16)
	Branches string `yaml:"branches,omitempty" json:"branches,omitempty"`   // "default", or how many; "" means 10
	Commits  int    `yaml:"commits,omitempty" json:"commits,omitempty"`     // that have a page; 0 means 5,000
	Files    int    `yaml:"files,omitempty" json:"files,omitempty"`         // of one branch; 0 means 20,000
	MaxBytes Size   `yaml:"max_bytes,omitempty" json:"max_bytes,omitempty"` // 0 means 1 GiB

	Publish Publish `yaml:"publish,omitempty" json:"publish,omitzero"` // without to, sites
	Limits  Limits  `yaml:"limits,omitempty" json:"limits,omitzero"`   // time and disk
}

// Check reports what makes no sense: a theme that is not there, too.
func (s *Site) Check() error {
	const op = "site"
	if _, err := s.Palette(); err != nil {
		return fault.Errorf(fault.Invalid, op, "theme: %v", err)
	}
	if _, err := s.Listed(); err != nil {
		return err
	}
	for _, n := range []struct {
		name string
		n    int
	}{{"commits", s.Commits}, {"files", s.Files}} {
		if n.n < 0 || n.n > 1_000_000 {
			return fault.Errorf(fault.Invalid, op, "%s: %d is not from 1 to 1000000", n.name, n.n)
		}
	}
	if s.MaxBytes > 0 && s.MaxBytes < 64<<10 {
		return fault.Errorf(fault.Invalid, op, "max_bytes: %s is less than any site needs; take 64KiB or more", s.MaxBytes)
	}
	if err := s.Limits.Check(); err != nil {
		return err
	}
	return s.Publish.check(op)
}

// Palette returns the theme of the pages. An unknown one is a fault.Invalid.
func (s *Site) Palette() (render.Theme, error) {
	if s.Theme == "" {
		return render.Theme{}, nil
	}
	return render.ParseTheme(s.Theme)
}

// Listed returns how many branches have lists of commits and files; 0 means render's default.
func (s *Site) Listed() (int, error) {
	switch s.Branches {
	case "":
		return 0, nil
	case "default":
		return 1, nil
	}
	n, err := strconv.Atoi(s.Branches)
	if err != nil || n < 1 || n > 1000 {
		return 0, fault.Errorf(fault.Invalid, "site", "branches: %.60q is neither default nor a number from 1 to 1000", s.Branches)
	}
	return n, nil
}

// Secrets returns nil: a site needs none.
func (s *Site) Secrets() []string { return nil }

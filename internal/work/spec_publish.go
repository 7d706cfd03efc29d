package work

import (
	"strconv"
	"strings"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
)

// Keep says how long generations stay that are not shown any more (S3-39). A generation goes when
// both allow it.
type Keep struct {
	Count int      `yaml:"count,omitempty" json:"count,omitempty"` // with the one that is shown; 0 means 2
	For   Duration `yaml:"for,omitempty" json:"for,omitempty"`     // after it was shown last; 0 means 10 minutes
}

// OrElse returns k with its defaults.
func (k Keep) OrElse() (count int, d time.Duration) {
	count, d = k.Count, time.Duration(k.For)
	if count == 0 {
		count = 2
	}
	if d == 0 {
		d = 10 * time.Minute
	}
	return count, d
}

func (k Keep) check(op string) error {
	if k.Count < 0 || k.Count > 1000 {
		return fault.Errorf(fault.Invalid, op, "keep: count: %d is not from 1 to 1000", k.Count)
	}
	if time.Duration(k.For) > 366*24*time.Hour {
		return fault.Errorf(fault.Invalid, op, "keep: for: %s is longer than a year", k.For)
	}
	return nil
}

// Publish says where generations go, and who may read them.
type Publish struct {
	To    string `yaml:"to,omitempty" json:"to,omitempty"` // a path; of a site, one without a slash in front is below the data folder
	Keep  Keep   `yaml:"keep,omitempty" json:"keep,omitzero"`
	Mode  string `yaml:"mode,omitempty" json:"mode,omitempty"`   // of folders, in octal: "0775"; files lose what lets them run. "" means 0755 (S3-26)
	Group string `yaml:"group,omitempty" json:"group,omitempty"` // who owns it beside the user, by name or number
}

func (p Publish) check(op string) error {
	if p.To != "" && !cleanPath(p.To) {
		return fault.Errorf(fault.Invalid, op, "publish: to: %q is not a clean path", p.To)
	}
	if _, err := p.Perm(); err != nil {
		return err
	}
	if strings.ContainsAny(p.Group, "\x00:\n") {
		return fault.Errorf(fault.Invalid, op, "publish: group: %q is not a group", p.Group)
	}
	return p.Keep.check(op)
}

// Perm returns the mode of folders. What is none, or would keep the server itself out, is a
// fault.Invalid.
func (p Publish) Perm() (uint32, error) {
	if p.Mode == "" {
		return 0o755, nil
	}
	n, err := strconv.ParseUint(p.Mode, 8, 32)
	if err != nil || n > 0o777 || n&0o700 != 0o700 || n&0o002 != 0 {
		return 0, fault.Errorf(fault.Invalid, "publish", "mode: %q is not one of folders, such as 0755, 0775 or 0750; others may not write", p.Mode)
	}
	return uint32(n), nil
}

//go:build unix && !linux

package run

import (
	"context"
	"errors"
)

// Programs of others are only contained on Linux.

var errLinux = errors.New("run: programs can be contained on Linux only")

// Contain fails.
func (r *Runner) Contain(context.Context, Contained) (Outcome, error) { return Outcome{}, errLinux }

// BootID returns "".
func BootID() string { return "" }

// EndMarked reports true.
func EndMarked(string, int) bool { return true }

// End reports false.
func (l Leader) End() bool { return false }

// Groups are not there.
type Groups struct{}

// OpenGroups fails.
func OpenGroups(string) (*Groups, error) { return nil, errLinux }

// Has reports false.
func (g *Groups) Has(string) bool { return false }

// Path returns "".
func (g *Groups) Path(string) string { return "" }

// GroupLimits of a Group.
type GroupLimits struct {
	CPU    int
	Memory int64
	Tasks  int
}

// Make fails.
func (g *Groups) Make(string, GroupLimits) (*Group, error) { return nil, errLinux }

// A Group is never made.
type Group struct{}

// Path returns "".
func (g *Group) Path() string { return "" }

// Close does nothing.
func (g *Group) Close() error { return nil }

// EndGroup does nothing.
func EndGroup(string) error { return nil }

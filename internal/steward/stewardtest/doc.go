// Package stewardtest gives tests of the desk a whole world in memory: a ledger, a vault with a toy
// object graph, events, a clock, and a breaker that makes any one call fail.
//
// What survives a crash is kept apart from what does not: a test throws the Steward and the Vault
// away and makes new ones on the same Memory and Disk, and that is a restart.
//
// The package is imported by tests only. It does not know SQL, git, signatures, or what the steward
// ought to do with any of it.
package stewardtest

import (
	"sync"
	"time"
)

// A Clock is a time that only moves when it is told to. The zero value is not usable; see NewClock.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// Epoch is the moment at which every Clock starts.
var Epoch = time.Unix(1_750_000_000, 0)

// NewClock returns a clock that shows Epoch.
func NewClock() *Clock { return &Clock{now: Epoch} }

// Now returns what the clock shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock by d and returns what it shows then.
func (c *Clock) Advance(d time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return c.now
}

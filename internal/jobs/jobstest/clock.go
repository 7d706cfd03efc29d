package jobstest

import (
	"sync"
	"time"

	"github.com/gitroost/gitroost/internal/jobs"
)

// A Clock is a jobs.Clock that stands still until it is moved.
type Clock struct {
	mu     sync.Mutex
	now    time.Time
	alarms map[*alarm]struct{}
}

type alarm struct {
	at time.Time
	c  chan time.Time
}

var _ jobs.Clock = (*Clock)(nil)

// NewClock returns a clock that shows Start.
func NewClock() *Clock { return &Clock{now: Start, alarms: map[*alarm]struct{}{}} }

// Now returns what the clock shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// At is part of jobs.Clock.
func (c *Clock) At(t time.Time) (<-chan time.Time, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := &alarm{t, make(chan time.Time, 1)}
	c.alarms[a] = struct{}{}
	c.ring()
	return a.c, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.alarms, a)
	}
}

// ring lets all alarms go whose time has come. Call it with mu held.
func (c *Clock) ring() {
	for a := range c.alarms {
		if !a.at.After(c.now) {
			a.c <- c.now
			delete(c.alarms, a)
		}
	}
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.ring()
}

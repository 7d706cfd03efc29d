package server

import (
	"time"

	"github.com/gitroost/gitroost/internal/config"
)

// timeOf is where a server that was handed no clock looks what time it is: at the computer's, which tests
// put wrong by testing.clock_skew.
func timeOf(cfg config.Config) func() time.Time {
	skew := cfg.Testing.ClockSkew
	if skew == 0 {
		return time.Now
	}
	return func() time.Time { return time.Now().Add(skew) }
}

// A clock is the jobs.Clock of the house.
type clock struct {
	now func() time.Time
	// put says that the clock was handed in and may be put forward at any moment.
	put bool
}

func (c clock) Now() time.Time { return c.now() }

// glance is how often a clock is looked at that may be put forward.
const glance = 10 * time.Millisecond

// At returns a channel that receives once when t has come.
func (c clock) At(t time.Time) (<-chan time.Time, func()) {
	if !c.put {
		timer := time.NewTimer(t.Sub(c.now()))
		return timer.C, func() { timer.Stop() }
	}
	out, quit := make(chan time.Time, 1), make(chan struct{})
	go func() {
		tick := time.NewTicker(glance)
		defer tick.Stop()
		for {
			if now := c.now(); !now.Before(t) {
				out <- now
				return
			}
			select {
			case <-tick.C:
			case <-quit:
				return
			}
		}
	}()
	return out, func() { close(quit) }
}

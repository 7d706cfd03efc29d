package relay

import (
	"runtime"
	"time"
)

// A stopwatch tells how much processor time the goroutine that has it spends. Where the machine is
// overloaded that is much less than what passes, and only what is spent is somebody's doing. From start to
// stop the goroutine has a thread of its own, so that nobody else's work is counted.
type stopwatch struct {
	cfg    *Config
	at     time.Time // when the lap began
	spent  time.Duration
	passed time.Duration // in the last lap
}

// start returns one that runs. Stop it on the same goroutine.
func (c *Config) start() stopwatch {
	if c.Spent != nil {
		runtime.LockOSThread()
	}
	w := stopwatch{cfg: c}
	w.lap()
	return w
}

// lap returns what was spent since the last one.
func (w *stopwatch) lap() time.Duration {
	now := w.cfg.Now()
	took := now.Sub(w.at)
	w.at, w.passed = now, took
	if w.cfg.Spent != nil {
		spent := w.cfg.Spent()
		took, w.spent = spent-w.spent, spent
	}
	return max(took, 0)
}

// stop is the last lap.
func (w *stopwatch) stop() time.Duration {
	took := w.lap()
	if w.cfg.Spent != nil {
		runtime.UnlockOSThread()
	}
	return took
}

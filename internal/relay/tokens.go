package relay

import "time"

// A bucket of tokens bounds how often something may happen. Its owner sees to it that it is used by
// one goroutine at a time.
type tokens struct {
	perSecond float64
	most      float64
	left      float64 // below zero while something is owed
	last      time.Time
}

func newTokens(perSecond, most float64) tokens {
	return tokens{perSecond: perSecond, most: most, left: most}
}

func (t *tokens) refill(now time.Time) {
	if since := now.Sub(t.last).Seconds(); since > 0 && !t.last.IsZero() {
		t.left = min(t.most, t.left+since*t.perSecond)
	}
	if t.last.IsZero() || now.After(t.last) {
		t.last = now // a clock that is set back refills nothing
	}
}

// spend takes one token and reports whether there was one.
func (t *tokens) spend(now time.Time) bool {
	if t.refill(now); t.left < 1 {
		return false
	}
	t.left--
	return true
}

// owe takes n tokens, whether they are there or not, and returns how long it takes until what is
// owed is paid.
func (t *tokens) owe(now time.Time, n float64) time.Duration {
	t.refill(now)
	if t.left -= n; t.left >= 0 {
		return 0
	}
	return time.Duration(-t.left / t.perSecond * float64(time.Second))
}

// paid reports whether nothing is owed.
func (t *tokens) paid(now time.Time) bool {
	t.refill(now)
	return t.left >= 0
}

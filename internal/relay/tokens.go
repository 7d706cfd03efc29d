package relay

import "time"

// A bucket of tokens bounds how often something may happen. It belongs to one goroutine.
type tokens struct {
	perSecond float64
	most      float64
	left      float64
	last      time.Time
}

func newTokens(perSecond float64, most int) tokens {
	return tokens{perSecond: perSecond, most: float64(most), left: float64(most)}
}

// spend takes one token and reports whether there was one.
func (t *tokens) spend(now time.Time) bool {
	if since := now.Sub(t.last).Seconds(); since > 0 && !t.last.IsZero() {
		t.left = min(t.most, t.left+since*t.perSecond)
	}
	if t.last.IsZero() || now.After(t.last) {
		t.last = now // a clock that is set back refills nothing
	}
	if t.left < 1 {
		return false
	}
	t.left--
	return true
}

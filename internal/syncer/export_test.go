package syncer

import (
	"time"

	"github.com/gitroost/gitroost/grasp"
)

// What tests may look at.
const (
	MaxRefusals = maxRefusals
	BatchDelay  = batchDelay
)

// After is Mood.after.
func (m Mood) After(began, now time.Time, err error, spread float64) Mood {
	return m.after(began, now, err, spread)
}

// Resumes is Mood.resumes.
func (m Mood) Resumes(now time.Time) (time.Time, bool) { return m.resumes(now) }

// Passed is Mood.passed.
func (m Mood) Passed(now time.Time, spread float64) Mood { return m.passed(now, spread) }

// Caught is Mood.caught.
func (m Mood) Caught() Mood { return m.caught() }

// Recalled is Mood.recalled.
func (m Mood) Recalled(now time.Time) Mood { return m.recalled(now) }

// ParseMessage is parseMessage, and whether it understood.
func ParseMessage(data []byte) (label, sub, event string, ok bool) {
	m, err := parseMessage(data)
	return m.label, m.sub, m.event, err == nil
}

// ParseDocument is what a document is believed of: how many subscriptions, filters, events.
func ParseDocument(data []byte) (subs, filters, limit int) {
	d := parseDocument(data)
	return d.Limitation.MaxSubscriptions, d.Limitation.MaxFilters, d.Limitation.MaxLimit
}

// Forgets reports whether id may be fetched.
func (s *Syncer) Forgets(id grasp.EventID) bool { return !s.memory.has(id, s.cfg.Now()) }

// Remember adds a refusal.
func (s *Syncer) Remember(r Refusal) { s.memory.add(r, s.cfg.Now()) }

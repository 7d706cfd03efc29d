package grasp

// A Verdict is what became of an event that was not refused.
type Verdict uint8

const (
	// Accepted: stored and served.
	Accepted Verdict = iota
	// Held: stored, but not served until its git data is here.
	Held
	// Known: served already.
	Known
	// KnownHeld: waiting already.
	KnownHeld
	// Passed: broadcast and not stored (ephemeral kinds).
	Passed
)

// PurgatoryText is the note of an OK true that says that the event waits (N-004).
const PurgatoryText = "purgatory: won't be served until git data arrives"

// Note returns the message of the OK true that says v (N-004).
func (v Verdict) Note() string {
	switch v {
	case Held, KnownHeld:
		return PurgatoryText
	case Known:
		return "duplicate: already have this event"
	}
	return ""
}

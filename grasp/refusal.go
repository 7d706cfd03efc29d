package grasp

// A Prefix is the machine-readable first word of a relay's answer (NIP-01).
type Prefix string

// The prefixes that this package answers with.
const (
	Blocked    Prefix = "blocked"
	Invalid    Prefix = "invalid"
	Restricted Prefix = "restricted"
	RateLimit  Prefix = "rate-limited"
	Duplicate  Prefix = "duplicate"
)

// A Refusal is an answer, not a failure: the rules say no.
type Refusal struct {
	Rule   string  // the requirement that says so: "G01-503"
	Prefix Prefix  // how a relay begins its answer
	Ref    RefName // the ref it is about, or ""
	Text   string  // one line for a person: what is wrong
	Hint   string  // what to do about it, or ""
	Limit  string  // the setting below "limits." that was met: "waiting_per_key"; or ""

	// Unrelated marks an event refused only because nothing known here connects to it; it may
	// become acceptable when its anchor arrives (G01-112, G01-805).
	Unrelated bool
}

func (r *Refusal) Error() string { return r.Text }

func refuse(rule string, p Prefix, text string) *Refusal {
	return &Refusal{Rule: rule, Prefix: p, Text: text}
}

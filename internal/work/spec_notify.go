package work

import "slices"

// The results that a Notice can ask for.
const (
	OnSuccess = "success"
	OnFailure = "failure" // every one
	OnFixed   = "fixed"   // a success after a failure
	OnChanged = "changed" // a failure after a success, or the first; a success after a failure
	OnAlways  = "always"  // every end
	OnStart   = "started" // when it begins; with ntfy the same message is replaced at the end
)

// MaxTo is how many targets one Notice names.
const MaxTo = 20

// A Notice is a row of a job's `notify:`, who is told how it ended (S0-05, S0-09).
type Notice struct {
	To    []string `yaml:"to" json:"to"`                           // targets
	On    []string `yaml:"on,omitempty" json:"on,omitempty"`       // none means success and failure
	Repos []string `yaml:"repos,omitempty" json:"repos,omitempty"` // patterns as a job's; none means all of the job's

	Message `yaml:",inline"`
}

// A Message is what is said. Every field is a template in which an About is; where one is empty,
// the house's words are used (S0-04, S0-05).
type Message struct {
	Title string `yaml:"title,omitempty" json:"title,omitempty"`
	Body  string `yaml:"message,omitempty" json:"message,omitempty"`

	// LogExcerpt puts the last ten lines of the log into the message, masked; in a template of
	// one's own {{tail .Log 10}} does (S0-10). Who reads the messages may then read what jobs say.
	LogExcerpt bool `yaml:"log_excerpt,omitempty" json:"log_excerpt,omitempty"`
	Priority   int  `yaml:"priority,omitempty" json:"priority,omitempty"` // 1 to 5; 0 means 3, of failures 4
}

func (m *Message) check(kind string) error {
	for name, text := range map[string]string{"title": m.Title, "message": m.Body} {
		if len(text) > MaxTemplate || name == "title" && len(text) > maxTemplateTitle {
			return invalid(kind, "%s: it is too long", name)
		}
		if _, err := ParseTemplate(name, text); err != nil {
			return err
		}
	}
	if m.Priority < 0 || m.Priority > 5 {
		return invalid(kind, "priority: %d is not between 1 and 5", m.Priority)
	}
	return nil
}

// Check reports what makes no sense.
func (n *Notice) Check() error {
	const kind = "notify"
	if len(n.To) == 0 || len(n.To) > MaxTo {
		return invalid(kind, "to: 1 to %d targets are needed: to: [phone]", MaxTo)
	}
	for _, on := range n.On {
		if !slices.Contains([]string{OnSuccess, OnFailure, OnFixed, OnChanged, OnAlways, OnStart}, on) {
			return invalid(kind, "on: %.40q is none of success, failure, fixed, changed, always and started", on)
		}
	}
	return n.Message.check(kind)
}

// Notify says whom to tell. As a job of its own it tells that it was asked for; the jobs that Notices
// make tell of the job in About.
type Notify struct {
	To      []string `yaml:"to" json:"to"` // targets
	Message `yaml:",inline"`

	About   *About `yaml:"-" json:"about,omitempty"`
	Started bool   `yaml:"-" json:"started,omitempty"` // it tells of a beginning
	Nostr   bool   `yaml:"-" json:"nostr,omitempty"`   // it is told in events of Nostr, to whom it may concern
}

// Check reports what makes no sense.
func (n *Notify) Check() error { return (&Notice{To: n.To, Message: n.Message}).Check() }

// Secrets returns none: those of targets are their own.
func (n *Notify) Secrets() []string { return nil }

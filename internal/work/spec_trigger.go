package work

import "slices"

// Presets of a Trigger.
const (
	Woodpecker = "woodpecker"
	SourceHut  = "sourcehut"
	Generic    = "generic"
)

// Trigger says which CI elsewhere is started (S0-40). With the preset generic, the default, it is a
// Webhook; the others speak as the CI of that name wants to be spoken to.
type Trigger struct {
	Preset  string    `yaml:"preset,omitempty" json:"preset,omitempty"` // woodpecker, sourcehut or generic
	To      string    `yaml:"to,omitempty" json:"to,omitempty"`         // a target
	URL     string    `yaml:"url,omitempty" json:"url,omitempty"`       // of woodpecker the server, of sourcehut the API: https://builds.sr.ht/query
	URLFrom SecretRef `yaml:"url_from,omitempty" json:"url_from,omitzero"`

	Repo      int               `yaml:"repo,omitempty" json:"repo,omitempty"`           // woodpecker: the number of the repository there
	Variables map[string]string `yaml:"variables,omitempty" json:"variables,omitempty"` // woodpecker: added to those that say what happened
	Manifest  string            `yaml:"manifest,omitempty" json:"manifest,omitempty"`   // sourcehut: the build manifest, as a template
	Tags      []string          `yaml:"tags,omitempty" json:"tags,omitempty"`           // sourcehut: of the build

	Delivery `yaml:",inline"`

	About *About `yaml:"-" json:"about,omitempty"` // the job that this one follows, see Attach
}

// Check reports what makes no sense.
func (t *Trigger) Check() error {
	const kind = "trigger"
	if err := where(kind, t.To, t.URL, t.URLFrom); err != nil {
		return err
	}
	if !slices.Contains([]string{"", Generic, Woodpecker, SourceHut}, t.Preset) {
		return invalid(kind, "preset: %.40q is none of woodpecker, sourcehut and generic", t.Preset)
	}
	if (t.Preset == Woodpecker || t.Preset == SourceHut) && (t.Format != "" || t.Template != "" || t.Method != "" || t.Type != "") {
		return invalid(kind, "preset %s decides format, method and content type by itself", t.Preset)
	}
	if t.Preset == Woodpecker && t.Repo <= 0 {
		return invalid(kind, "repo: woodpecker knows its repositories by number; the page of the repository there shows it")
	}
	if t.Preset != Woodpecker && (t.Repo != 0 || len(t.Variables) > 0) {
		return invalid(kind, "repo: and variables: are for preset: woodpecker")
	}
	if t.Preset == SourceHut {
		if t.Manifest == "" || len(t.Manifest) > MaxTemplate {
			return invalid(kind, "manifest: sourcehut needs a build manifest of at most %d bytes", MaxTemplate)
		}
		if _, err := ParseTemplate("manifest", t.Manifest); err != nil {
			return err
		}
	} else if t.Manifest != "" || len(t.Tags) > 0 {
		return invalid(kind, "manifest: and tags: are for preset: sourcehut")
	}
	if len(t.Variables) > 100 || len(t.Tags) > 8 {
		return invalid(kind, "at most 100 variables and 8 tags")
	}
	return t.Delivery.check(kind, true)
}

// Secrets returns the names of the secrets that the job is given; those of a target are its own.
func (t *Trigger) Secrets() []string { return names(t.URLFrom, t.Secret, t.OldSecret, t.Token) }

package work

// Webhook says where a signed message goes, and how (S0-11, S3-45…S3-50). To names a target, whose
// settings hold where these say nothing; or URL or URLFrom say where it goes. In an address {id}
// stands for the id of the delivery.
type Webhook struct {
	To      string    `yaml:"to,omitempty" json:"to,omitempty"`
	URL     string    `yaml:"url,omitempty" json:"url,omitempty"`
	URLFrom SecretRef `yaml:"url_from,omitempty" json:"url_from,omitzero"`

	Delivery `yaml:",inline"`

	About *About `yaml:"-" json:"about,omitempty"` // the job that this one follows, see Attach
}

// Check reports what makes no sense.
func (w *Webhook) Check() error {
	if err := where("webhook", w.To, w.URL, w.URLFrom); err != nil {
		return err
	}
	return w.Delivery.check("webhook", true)
}

// Secrets returns the names of the secrets that the job is given; those of a target are its own.
func (w *Webhook) Secrets() []string { return names(w.URLFrom, w.Secret, w.OldSecret, w.Token) }

// where checks that there is exactly one place.
func where(kind, to, url string, from SecretRef) error {
	n := 0
	for _, set := range []bool{to != "", url != "", !from.IsZero()} {
		if set {
			n++
		}
	}
	if n != 1 {
		return invalid(kind, "a %s needs one of to: (a target), url: https://… and url_from: {secret: name}", kind)
	}
	if url != "" {
		if _, err := webURL(kind, "url", url); err != nil {
			return err
		}
	}
	return from.Check("url_from", true)
}

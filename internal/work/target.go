package work

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/template"
	"time"

	"golang.org/x/net/http/httpguts"
)

// A Target is one row of `targets:`: a place that can be told something, which jobs name. It is an
// ntfy topic or the address of a webhook.
type Target struct {
	Ntfy    string    `yaml:"ntfy,omitempty" json:"ntfy,omitempty"`        // https://ntfy.example.org/topic
	Publish string    `yaml:"publish,omitempty" json:"publish,omitempty"`  // of ntfy: "json" (the default) or "headers"
	Webhook string    `yaml:"webhook,omitempty" json:"webhook,omitempty"`  // an address
	URLFrom SecretRef `yaml:"url_from,omitempty" json:"url_from,omitzero"` // the address of a webhook, where it is a secret itself

	Delivery `yaml:",inline"`
}

// Check reports what makes no sense.
func (t *Target) Check() error {
	const kind = "target"
	n := 0
	for _, set := range []bool{t.Ntfy != "", t.Webhook != "", !t.URLFrom.IsZero()} {
		if set {
			n++
		}
	}
	if n != 1 {
		return invalid(kind, "a target is one of ntfy: https://…/topic, webhook: https://… and url_from: {secret: name}")
	}
	if err := t.URLFrom.Check("url_from", false); err != nil {
		return err
	}
	if t.Ntfy == "" && t.Publish != "" {
		return invalid(kind, "publish: is for ntfy only")
	}
	if t.Ntfy != "" {
		u, err := webURL(kind, "ntfy", t.Ntfy)
		if err != nil {
			return err
		}
		if topic := strings.Trim(u.Path, "/"); topic == "" || strings.Contains(topic, "/") || u.RawQuery != "" {
			return invalid(kind, "ntfy: %q has no topic: https://ntfy.example.org/topic", t.Ntfy)
		}
		if !slices.Contains([]string{"", "json", "headers"}, t.Publish) {
			return invalid(kind, "publish: %.40q is neither json nor headers", t.Publish)
		}
		if t.Format != "" || t.Template != "" || t.Method != "" || len(t.Success) > 0 || t.Compat != "" || !t.Secret.IsZero() || !t.OldSecret.IsZero() {
			return invalid(kind, "ntfy is told in its own words: format, template, method, success, compat and secret are for webhooks")
		}
	}
	if t.Webhook != "" {
		if _, err := webURL(kind, "webhook", t.Webhook); err != nil {
			return err
		}
	}
	return t.Delivery.check(kind, false)
}

// Refs returns where the secrets of t come from, those that it has.
func (t *Target) Refs() []*SecretRef {
	var out []*SecretRef
	for _, r := range []*SecretRef{&t.URLFrom, &t.Secret, &t.OldSecret, &t.Token} {
		if !r.IsZero() {
			out = append(out, r)
		}
	}
	return out
}

// Topic returns the address of an ntfy server, with a slash at the end, and the topic there.
func (t *Target) Topic() (server, topic string) {
	i := strings.LastIndexByte(strings.TrimRight(t.Ntfy, "/"), '/')
	return t.Ntfy[:i+1], strings.Trim(t.Ntfy[i+1:], "/")
}

// Formats of what a webhook says (§2.1 of the jobs' specification).
const (
	GitHub      = "github" // the default
	Gitea       = "gitea"
	CloudEvents = "cloudevents"
	Template    = "template"
)

// Bounds of a delivery.
const (
	MaxTimeout       = 5 * time.Minute
	DeliveryTimeout  = 15 * time.Second // unless it says otherwise (S3-48)
	MaxTemplate      = 64 << 10         // bytes
	MaxExtraHeaders  = 20
	maxHeaderValue   = 4096
	maxURL           = 2048
	maxSuccess       = 20
	maxTemplateTitle = 1024
)

// A Delivery is how something is delivered over HTTP.
type Delivery struct {
	Format   string `yaml:"format,omitempty" json:"format,omitempty"`     // github, gitea, cloudevents or template
	Template string `yaml:"template,omitempty" json:"template,omitempty"` // the body, as a template of Go's text/template; format: template
	Type     string `yaml:"content_type,omitempty" json:"content_type,omitempty"`
	Method   string `yaml:"method,omitempty" json:"method,omitempty"` // POST (the default), PUT or PATCH (S3-46)

	// Success are the statuses that say that it arrived. None means 200 to 299; [0] means that
	// nobody cares: it is sent once, whatever the answer (S3-47).
	Success []int    `yaml:"success,omitempty" json:"success,omitempty"`
	Timeout Duration `yaml:"timeout,omitempty" json:"timeout,omitempty"` // of one attempt, until the whole answer

	Secret    SecretRef `yaml:"secret,omitempty" json:"secret,omitzero"`         // signs
	OldSecret SecretRef `yaml:"old_secret,omitempty" json:"old_secret,omitzero"` // signs too while receivers change over
	Token     SecretRef `yaml:"token,omitempty" json:"token,omitzero"`           // sent as a bearer token

	Headers map[string]string `yaml:"headers,omitempty" json:"headers,omitempty"` // sent as they are
	Compat  string            `yaml:"compat,omitempty" json:"compat,omitempty"`   // gitsync adds Gitsync-Hash (S3-45)
}

// Over returns d, with base's where d says nothing.
func (d Delivery) Over(base Delivery) Delivery {
	if d.Format == "" && d.Template == "" {
		d.Format, d.Template, d.Type = base.Format, base.Template, orElse(d.Type, base.Type)
	}
	d.Type, d.Method, d.Compat = orElse(d.Type, base.Type), orElse(d.Method, base.Method), orElse(d.Compat, base.Compat)
	if len(d.Success) == 0 {
		d.Success = base.Success
	}
	if d.Timeout == 0 {
		d.Timeout = base.Timeout
	}
	if d.Secret.IsZero() {
		d.Secret, d.OldSecret = base.Secret, base.OldSecret
	}
	if d.Token.IsZero() {
		d.Token = base.Token
	}
	if len(d.Headers) == 0 {
		d.Headers = base.Headers
	}
	return d
}

func orElse(s, base string) string {
	if s == "" {
		return base
	}
	return s
}

// ownHeaders are those that we write, or that HTTP does.
var ownHeaders = []string{"Host", "Content-Length", "Content-Type", "Transfer-Encoding", "Connection", "Upgrade", "Te", "Trailer",
	"Authorization", "Proxy-Authorization", "Webhook-Id", "Webhook-Timestamp", "Webhook-Signature", "X-Hub-Signature", "X-Hub-Signature-256",
	"User-Agent", "Accept-Encoding", "Expect"}

func (d *Delivery) check(kind string, named bool) error {
	switch d.Format {
	case "", GitHub, Gitea, CloudEvents:
		if d.Template != "" {
			return invalid(kind, "template: is for format: template")
		}
	case Template:
		if d.Template == "" || len(d.Template) > MaxTemplate {
			return invalid(kind, "format: template needs template: with at most %d bytes", MaxTemplate)
		}
		if _, err := ParseTemplate("template", d.Template); err != nil {
			return err
		}
	default:
		return invalid(kind, "format: %.40q is none of github, gitea, cloudevents and template", d.Format)
	}
	if !slices.Contains([]string{"", "POST", "PUT", "PATCH"}, d.Method) {
		return invalid(kind, "method: %.40q: it is POST, PUT or PATCH, for a signature needs a body to sign", d.Method) // S3-46
	}
	if len(d.Success) > maxSuccess {
		return invalid(kind, "success: at most %d statuses can be named", maxSuccess)
	}
	for _, s := range d.Success {
		if s != 0 && (s < 200 || s > 599) || s == 0 && len(d.Success) > 1 {
			return invalid(kind, "success: %d: statuses from 200 to 599, or 0 alone for fire and forget", s)
		}
	}
	if d.Timeout < 0 || time.Duration(d.Timeout) > MaxTimeout {
		return invalid(kind, "timeout: %v is not between nothing and %v", d.Timeout, MaxTimeout)
	}
	if d.Compat != "" && d.Compat != "gitsync" {
		return invalid(kind, "compat: %.40q: there is only gitsync", d.Compat)
	}
	if d.Type != "" && !httpguts.ValidHeaderFieldValue(d.Type) {
		return invalid(kind, "content_type: %.80q is none", d.Type)
	}
	if !d.OldSecret.IsZero() && d.Secret.IsZero() {
		return invalid(kind, "old_secret: needs secret: beside it")
	}
	for _, s := range []struct {
		what string
		ref  SecretRef
	}{{"secret", d.Secret}, {"old_secret", d.OldSecret}, {"token", d.Token}} {
		if err := s.ref.Check(s.what, named); err != nil {
			return err
		}
	}
	if len(d.Headers) > MaxExtraHeaders {
		return invalid(kind, "headers: %d are too many; %d are the most", len(d.Headers), MaxExtraHeaders)
	}
	for name, value := range d.Headers {
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) || len(value) > maxHeaderValue {
			return invalid(kind, "headers: %.60q is no header of HTTP", name)
		}
		if slices.Contains(ownHeaders, http.CanonicalHeaderKey(name)) {
			return invalid(kind, "headers: %s is written by the server", name)
		}
	}
	return nil
}

// ParseTemplate reads a template of the configuration called name; what it lacks is a
// fault.Invalid. In it are a Telling, and the functions json (a value as JSON), duration (as in
// "1m 23s"), short (the beginning of an object id or npub) tail (the last lines of a text) and
// cut (the beginning of a text, so many bytes).
func ParseTemplate(name, text string) (*template.Template, error) {
	t, err := template.New(name).Option("missingkey=error").Funcs(templateFuncs).Parse(text)
	if err != nil {
		return nil, invalid(name, "%s: %v", name, err)
	}
	return t, nil
}

// webURL reads the address of something on the web. Passwords do not belong there.
func webURL(kind, field, s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Opaque != "" || len(s) > maxURL || !plainText(s, maxURL) {
		return nil, invalid(kind, "%s: %.80q is no address: https://host/path", field, s)
	}
	if u.User != nil {
		return nil, invalid(kind, "%s: an address holds no password; use token: {secret: name}", field)
	}
	if u.Fragment != "" {
		return nil, invalid(kind, "%s: what follows # is never sent; leave it away", field)
	}
	return u, nil
}

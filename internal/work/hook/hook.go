// Package hook tells other servers what happened here: signed webhooks in the words of GitHub, Gitea,
// CloudEvents or a template of the operator's (body.go, sign.go), and the requests that start a CI
// elsewhere (trigger.go). One delivery is one job: its id is the delivery's, its log says what was
// answered, and the queue tries again. It does not know how requests find their way out, nor where
// repositories are.
package hook

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
	"github.com/gitroost/gitroost/internal/work/answer"
)

// Config is what a Doer needs. Client and Now are required.
type Config struct {
	Client answer.Client
	Now    func() time.Time

	// Target returns a row of targets:, or false. Nil has none.
	Target func(name string) (work.Target, bool)

	// Secret returns a secret of a target. Nil knows none.
	Secret func(ctx context.Context, ref work.SecretRef) ([]byte, error)

	// History returns which commits a job's ref got; nil, or an error, tells of none.
	History func(ctx context.Context, j jobs.Job, most int) (History, error)

	// Head returns the branch that HEAD points to, without refs/heads/. Nil does not know.
	Head func(ctx context.Context, j jobs.Job) string

	// Key signs too (v1a), so that receivers need no secret. Nil does not.
	Key ed25519.PrivateKey

	// Off remembers which receivers said that they are gone. Nil remembers nothing.
	Off *Switches

	// Agent is the User-Agent. "" means "gitroost".
	Agent string
}

// A Doer does jobs of the kinds webhook and trigger. Its methods are safe for concurrent use.
type Doer struct{ cfg Config }

var _ work.Doer = (*Doer)(nil)

// New returns a Doer. What is required and missing is a fault.Invalid.
func New(cfg Config) (*Doer, error) {
	if cfg.Client == nil || cfg.Now == nil {
		return nil, fault.E(fault.Invalid, "hook: new", "a client and a clock are needed")
	}
	if cfg.Target == nil {
		cfg.Target = func(string) (work.Target, bool) { return work.Target{}, false }
	}
	if cfg.Secret == nil {
		cfg.Secret = func(context.Context, work.SecretRef) ([]byte, error) {
			return nil, fault.E(fault.Invalid, "hook: secret", "there are no secrets")
		}
	}
	if cfg.Head == nil {
		cfg.Head = func(context.Context, jobs.Job) string { return "" }
	}
	cfg.Agent = cmp.Or(cfg.Agent, "gitroost")
	return &Doer{cfg}, nil
}

// Do delivers once.
func (d *Doer) Do(ctx context.Context, t *work.Task) jobs.Result {
	switch spec := t.Spec.(type) {
	case *work.Webhook:
		return d.webhook(ctx, t, spec, nil)
	case *work.Trigger:
		return d.trigger(ctx, t, spec)
	}
	return unable(fault.Errorf(fault.Invalid, "hook: do", "this is no work for webhooks: %T", t.Spec))
}

// Deliver delivers what to a target that is a webhook, in place of what t's own Spec says.
func (d *Doer) Deliver(ctx context.Context, t *work.Task, to string, what work.Telling) jobs.Result {
	spec := &work.Webhook{To: to}
	if what.ID != "" {
		spec.About = &what.About
	}
	return d.webhook(ctx, t, spec, &what)
}

// A place is where a delivery goes, all said that is to be said.
type place struct {
	work.Delivery
	url     *url.URL
	key     string // the address as it was said
	hidden  bool   // the address is a secret
	name    string
	secrets []Secret
	token   string
}

// place finds out where to, url or from lead. What t may not be given, or is not there, is an error.
func (d *Doer) place(ctx context.Context, t *work.Task, to, address string, from work.SecretRef, own work.Delivery) (p place, err error) {
	const op = "hook: where"
	p.Delivery, p.name = own, cmp.Or(to, t.Job.Name)
	mine := func(ref work.SecretRef) ([]byte, error) { return t.Secret(ref.Secret) }
	signs, shows, finds := mine, mine, mine
	if to != "" {
		target, ok := d.cfg.Target(to)
		if !ok {
			return p, fault.Errorf(fault.Invalid, op, "there is no target %q: name it under targets:", to)
		}
		if target.Ntfy != "" {
			return p, fault.Errorf(fault.Invalid, op, "target %q is a topic of ntfy: name it under notify:", to)
		}
		theirs := func(ref work.SecretRef) ([]byte, error) {
			b, err := d.cfg.Secret(ctx, ref)
			if mask, ok := t.Log.(work.Masker); ok && err == nil {
				mask.Mask(bytes.TrimRight(b, "\r\n"))
			}
			return b, err
		}
		if own.Secret.IsZero() {
			signs = theirs
		}
		if own.Token.IsZero() {
			shows = theirs
		}
		finds = theirs
		address, from = target.Webhook, target.URLFrom
		p.Delivery = own.Over(target.Delivery)
	}
	if !from.IsZero() {
		b, err := finds(from)
		if err != nil {
			return p, err
		}
		address, p.hidden = string(bytes.TrimSpace(b)), true
	}
	p.key = address
	// Some want a name of its own for each message, the same each time it is tried.
	address = strings.ReplaceAll(address, "{id}", string(t.Job.ID))
	if p.url, err = url.Parse(address); err != nil || p.url.Host == "" || p.url.User != nil {
		return p, fault.E(fault.Invalid, op, "the address is none: https://host/path")
	}
	for _, ref := range []work.SecretRef{p.Secret, p.OldSecret} {
		if ref.IsZero() {
			continue
		}
		b, err := signs(ref)
		if err != nil {
			return p, err
		}
		s, err := ReadSecret(b)
		if err != nil {
			return p, err
		}
		p.secrets = append(p.secrets, s)
	}
	if !p.Token.IsZero() {
		b, err := shows(p.Token)
		if err != nil {
			return p, err
		}
		p.token = string(bytes.TrimSpace(b))
	}
	return p, nil
}

// String says where p leads, without what may be a secret.
func (p place) String() string {
	if p.hidden {
		return p.url.Scheme + "://" + p.url.Host + "/…"
	}
	u := *p.url
	if u.RawQuery != "" {
		u.RawQuery = "…"
	}
	return u.String()
}

func (d *Doer) webhook(ctx context.Context, t *work.Task, spec *work.Webhook, what *work.Telling) jobs.Result {
	p, err := d.place(ctx, t, spec.To, spec.URL, spec.URLFrom, spec.Delivery)
	if err != nil {
		return unable(err)
	}
	s := d.subject(ctx, t, spec.About)
	body, kind, err := s.body(p.Delivery, what)
	if err != nil {
		return unable(err)
	}
	return d.send(ctx, t, p, s.event, body, kind, nil)
}

// subject collects what t's body is written about.
func (d *Doer) subject(ctx context.Context, t *work.Task, about *work.About) *subject {
	s := &subject{job: t.Job, about: about, event: eventOf(t.Job, about), server: t.URL, head: d.cfg.Head(ctx, t.Job)}
	if s.event.github != "push" || d.cfg.History == nil || t.Job.New.IsZero() {
		return s
	}
	history, err := d.cfg.History(ctx, t.Job, MaxCommits)
	if err != nil { // it may be gone by now
		t.Printf("the commits are left out: %v", err)
		return s
	}
	history.Commits = history.Commits[:min(len(history.Commits), MaxCommits)]
	s.History = history
	return s
}

// send sends body to p and says what the answer means. look, unless it is nil, reads a bad end out of an
// answer that arrived.
func (d *Doer) send(ctx context.Context, t *work.Task, p place, kind event, body []byte, contentType string, look func(answer.Answer) error) jobs.Result {
	where := p.url.String()
	if off, is := d.cfg.Off.Is(p.key); is {
		return jobs.Result{State: jobs.Failed, Final: true, Exit: http.StatusGone,
			Reason: "it is switched off since " + off.Since.UTC().Format(time.DateTime) + ", for the receiver answered 410 Gone: gitroost webhooks enable " + off.Name}
	}
	limit := time.Duration(p.Timeout)
	if limit <= 0 {
		limit = work.DeliveryTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	method := cmp.Or(p.Method, http.MethodPost)
	req, err := http.NewRequestWithContext(ctx, method, where, bytes.NewReader(body))
	if err != nil {
		return unable(fault.E(fault.Invalid, "hook: send", "the address is none"))
	}
	h := req.Header
	for name, value := range p.Headers {
		h.Set(name, value)
	}
	h.Set("User-Agent", d.cfg.Agent)
	h.Set("Content-Type", contentType)
	if p.token != "" {
		h.Set("Authorization", "Bearer "+p.token)
	}
	if p.Compat == "gitsync" {
		h.Set("Gitsync-Hash", string(t.Job.New)) // S3-45
	}
	if err := d.sign(h, string(t.Job.ID), d.cfg.Now(), kind, body, p.secrets); err != nil {
		return unable(err)
	}
	a := answer.To(d.cfg.Client, req, d.cfg.Now)
	t.Printf("%s %s %s, %d bytes: %s", method, p, kind.name, len(body), a)
	if a.Status == http.StatusGone { // Standard Webhooks: it wants no more of them
		if err := d.cfg.Off.TurnOff(p.key, p.name, d.cfg.Now()); err != nil {
			t.Printf("that it is gone cannot be noted: %v", err)
		}
		return jobs.Result{State: jobs.Failed, Final: true, Exit: a.Status, Reason: "the receiver answered 410 Gone: no more is sent there until gitroost webhooks enable " + p.name}
	}
	res := a.Result(p.Success)
	if look != nil && res.State == jobs.OK {
		if err := look(a); err != nil {
			text, _ := fault.Message(err)
			res = jobs.Result{State: jobs.Failed, Fault: jobs.FaultInfra, Exit: a.Status, Reason: text}
		}
	}
	return res
}

// unable is the end of what cannot be sent: trying again is no use before somebody has mended it, and
// then it can be asked for again.
func unable(err error) jobs.Result {
	text, _ := fault.Message(err)
	return jobs.Result{State: jobs.StartupFailure, Final: true, Reason: text}
}

package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
	"github.com/gitroost/gitroost/internal/work/answer"
)

// maxMessage is the longest message that ntfy shows as one, in bytes; maxTitle keeps headers small.
const (
	maxMessage = 4096
	maxTitle   = 512
)

// An ntfyAction is a button below a message.
type ntfyAction struct {
	Action string `json:"action"`
	Label  string `json:"label"`
	URL    string `json:"url"`
	Method string `json:"method,omitempty"`
	Clear  bool   `json:"clear,omitempty"`
}

// An ntfyMessage is the body of a publication as JSON.
type ntfyMessage struct {
	Topic    string       `json:"topic"`
	Title    string       `json:"title,omitempty"`
	Message  string       `json:"message"`
	Tags     []string     `json:"tags,omitempty"`
	Priority int          `json:"priority,omitempty"`
	Click    string       `json:"click,omitempty"`
	Actions  []ntfyAction `json:"actions,omitempty"`

	// Sequence is the job's id: what is said of its end takes the place of what was said of its
	// beginning, in ntfy 2.16 and later.
	Sequence string `json:"sequence_id,omitempty"`
}

// ntfy publishes what to the topic of target (S0-04, S0-05).
func (d *Doer) ntfy(ctx context.Context, t *work.Task, target work.Target, what work.Telling) jobs.Result {
	const op = "notify: ntfy"
	server, topic := target.Topic()
	m := ntfyMessage{
		Topic: topic, Title: work.Cut(what.Title, maxTitle), Message: work.Cut(what.Message, maxMessage),
		Priority: what.Priority, Click: what.URL, Sequence: string(what.ID),
	}
	if m.Message == "" {
		m.Message = m.Title // an empty one would be said as "triggered"
	}
	for _, tag := range what.Tags {
		if tag != "" && !strings.ContainsAny(tag, ",\r\n") {
			m.Tags = append(m.Tags, tag)
		}
	}
	if what.LogURL != "" {
		m.Actions = append(m.Actions, ntfyAction{Action: "view", Label: "Log", URL: what.LogURL})
	}
	if what.Bad() {
		if retry := d.cfg.RetryURL(what.ID); retry != "" {
			m.Actions = append(m.Actions, ntfyAction{Action: "http", Label: "Retry", URL: retry, Method: http.MethodPost, Clear: true})
		}
	}
	for _, a := range m.Actions { // a token in an address is a secret like others
		if mask, ok := t.Log.(work.Masker); ok && a.Method != "" {
			mask.Mask([]byte(a.URL))
		}
	}
	limit := time.Duration(target.Timeout)
	if limit <= 0 {
		limit = work.DeliveryTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := m.request(ctx, server, target.Publish)
	if err != nil {
		return failed(fault.Wrap(op, err), true)
	}
	for name, value := range target.Headers {
		req.Header.Set(name, value)
	}
	if !target.Token.IsZero() {
		token, err := d.cfg.Secret(ctx, target.Token)
		if err != nil {
			return failed(err, false)
		}
		token = bytes.TrimSpace(token)
		if mask, ok := t.Log.(work.Masker); ok {
			mask.Mask(token)
		}
		req.Header.Set("Authorization", "Bearer "+string(token))
	}
	a := answer.To(d.cfg.Client, req, d.cfg.Now)
	t.Printf("ntfy %s: %s", topic, a)
	res := a.Result(nil)
	switch a.Status { // it will say the same however often it is told
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		res.Final = true
	}
	return res
}

// request returns the request that publishes m: as JSON to the server, or in headers to the topic.
func (m ntfyMessage) request(ctx context.Context, server, how string) (*http.Request, error) {
	if how != "headers" {
		body, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, server, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/json")
		return req, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server+m.Topic, strings.NewReader(m.Message))
	if err != nil {
		return nil, err
	}
	set := func(name, value string) {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	set("X-Title", mime.BEncoding.Encode("UTF-8", m.Title))
	set("X-Tags", strings.Join(m.Tags, ","))
	set("X-Priority", strconv.Itoa(m.Priority))
	set("X-Click", m.Click)
	var actions []string
	for _, a := range m.Actions {
		s := fmt.Sprintf("%s, %s, %s", a.Action, a.Label, a.URL)
		if a.Method != "" {
			s += fmt.Sprintf(", method=%s, clear=%t", a.Method, a.Clear)
		}
		actions = append(actions, s)
	}
	set("X-Actions", strings.Join(actions, "; "))
	set("X-Sequence-ID", m.Sequence)
	return req, nil
}

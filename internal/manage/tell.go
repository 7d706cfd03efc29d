package manage

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// MethodTell is about the targets of the configuration: a TellOrder.
const MethodTell = "gitroost.tell"

// A Teller tells targets. It is safe for concurrent use.
type Teller interface {
	// Targets returns the targets of the configuration, by name, and what was sent last.
	Targets(ctx context.Context) (Targets, error)

	// Test tells a target that this is a test (S0-39). A name that is none is a fault.NotFound.
	Test(ctx context.Context, target string) (Told, error)

	// Enable has webhooks sent again to a target, or a job, that answered 410 Gone, and returns how many
	// addresses that were.
	Enable(ctx context.Context, name string) (int, error)

	// Key returns the key by which receivers verify webhooks without a secret: whpk_….
	Key() string
}

// A TellOrder is what somebody typed.
type TellOrder struct {
	What   string `json:"what"` // list, test, enable or key
	Target string `json:"target,omitempty"`
}

// Targets are the places that can be told something.
type Targets struct {
	Now        time.Time
	Targets    []Target
	Off        map[string]time.Time // since when nothing is sent, by target or job
	Deliveries []Delivery           // the last, newest first
}

// A Target is one of them. Its address may be a secret and is not told.
type Target struct {
	Name, Kind, Host string
}

// A Delivery is a job that delivered a webhook, or tried to.
type Delivery struct {
	ID, Job, Repo, State, Reason string
	Made                         time.Time
	Attempts, Status             int
}

// Told is what a target answered.
type Told struct {
	OK     bool
	Reason string
	Lines  []string // of the log
}

func (h *Handler) told(ctx context.Context, c call) (any, error) {
	var o TellOrder
	if err := one(c, &o); err != nil {
		return nil, err
	}
	t := h.cfg.Teller
	if t == nil {
		return nil, mistake("nobody can be told without a server: start it, or name its data folder with --data")
	}
	switch o.What {
	case "key":
		return Report{Lines: []string{t.Key()}}, nil
	case "test":
		told, err := t.Test(ctx, o.Target)
		if err != nil {
			return nil, err
		}
		if !told.OK {
			return nil, mistake("%s was not told: %s\n%s", o.Target, told.Reason, strings.Join(told.Lines, "\n"))
		}
		return Report{Lines: append(told.Lines, o.Target+" was told")}, nil
	case "enable":
		n, err := t.Enable(ctx, o.Target)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, mistake("%.80q is not switched off; gitroost webhooks ls says what is", o.Target)
		}
		return Report{Lines: []string{o.Target + ": webhooks are sent again; what ended meanwhile is sent with gitroost jobs retry"}}, nil
	case "list":
		all, err := t.Targets(ctx)
		if err != nil {
			return nil, err
		}
		return Report{Lines: all.lines()}, nil
	}
	return nil, mistake("%.40q is none of list, test, enable and key", o.What)
}

func (t Targets) lines() []string {
	var out []string
	since := func(at time.Time) string { return span(int64(t.Now.Sub(at) / time.Second)) }
	listed := map[string]bool{}
	for _, target := range t.Targets {
		listed[target.Name] = true
		line := fmt.Sprintf("%s  %s at %s", target.Name, target.Kind, target.Host)
		if at, off := t.Off[target.Name]; off {
			line += fmt.Sprintf(", switched off %s ago, for it answered 410 Gone: gitroost webhooks enable %s", since(at), target.Name)
		}
		out = append(out, line)
	}
	for name, at := range t.Off {
		if !listed[name] {
			out = append(out, fmt.Sprintf("job %s, switched off %s ago, for the receiver answered 410 Gone: gitroost webhooks enable %s", name, since(at), name))
		}
	}
	if len(out) == 0 {
		out = append(out, "there are no targets; name them under targets: in the configuration")
	}
	for _, d := range t.Deliveries {
		line := fmt.Sprintf("%s  %s  %s  %s  %s ago", d.ID, d.Job, d.State, d.Repo, since(d.Made))
		if d.Status != 0 {
			line += fmt.Sprintf("  %d", d.Status)
		}
		if d.Attempts > 1 {
			line += fmt.Sprintf("  %d attempts", d.Attempts)
		}
		if d.Reason != "" {
			line += "  " + d.Reason
		}
		out = append(out, line)
	}
	return out
}

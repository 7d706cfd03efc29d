package server

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/manage"
	"github.com/gitroost/gitroost/internal/work"
)

// teller implements manage.Teller.
type teller struct{ h *Jobs }

// maxDeliveries is how many deliveries are listed.
const maxDeliveries = 20

// Targets returns the targets of the configuration, and the last deliveries.
func (t teller) Targets(ctx context.Context) (manage.Targets, error) {
	out := manage.Targets{Now: t.h.clock.Now(), Off: map[string]time.Time{}}
	for _, name := range slices.Sorted(maps.Keys(t.h.defs.Load().cfg.Targets)) {
		target := t.h.defs.Load().cfg.Targets[name]
		row := manage.Target{Name: name, Kind: "webhook", Host: "an address that is a secret"}
		for kind, address := range map[string]string{"ntfy": target.Ntfy, "webhook": target.Webhook} {
			if u, err := url.Parse(address); err == nil && u.Host != "" {
				row.Kind, row.Host = kind, u.Host
			}
		}
		out.Targets = append(out.Targets, row)
	}
	for _, off := range t.h.tell.off.List() {
		out.Off[off.Name] = off.Since
	}
	for _, j := range t.h.defs.Load().cfg.Jobs {
		if j.Kind != "webhook" && j.Kind != "trigger" {
			continue
		}
		list, err := t.h.queue.List(ctx, jobs.Filter{Name: j.Name, Limit: maxDeliveries})
		if err != nil {
			return out, err
		}
		for _, d := range list {
			out.Deliveries = append(out.Deliveries, manage.Delivery{
				ID: string(d.ID), Job: d.Name, Repo: jobs.RepoName(d.Repo), State: string(d.State), Reason: d.Reason,
				Made: d.Created, Attempts: d.Attempt, Status: d.Exit,
			})
		}
	}
	slices.SortFunc(out.Deliveries, func(a, b manage.Delivery) int { return strings.Compare(b.ID, a.ID) })
	out.Deliveries = out.Deliveries[:min(len(out.Deliveries), maxDeliveries)]
	return out, nil
}

// Test tells a target that this is a test.
func (t teller) Test(ctx context.Context, name string) (manage.Told, error) {
	if _, ok := t.h.defs.Load().cfg.Targets[name]; !ok {
		return manage.Told{}, fault.Errorf(fault.NotFound, "server: tell", "there is no target %q: name it under targets:", name)
	}
	var log spoken
	task := &work.Task{
		Job: jobs.Job{ID: t.h.ids.Next(), Name: "test", Created: t.h.clock.Now()}, Log: &log, URL: t.h.public,
		Secret: func(string) ([]byte, error) {
			return nil, fault.E(fault.Refused, "server: tell", "a test is given no secrets")
		},
	}
	res := t.h.tell.notes.Test(ctx, task, name)
	return manage.Told{OK: res.State == jobs.OK, Reason: res.Reason, Lines: log.lines()}, nil
}

// Enable has webhooks sent again.
func (t teller) Enable(_ context.Context, name string) (int, error) { return t.h.tell.off.TurnOn(name) }

// Key returns the key by which webhooks are verified.
func (t teller) Key() string { return t.h.tell.public }

// spoken is a log in memory that keeps secrets to itself.
type spoken struct {
	mu      sync.Mutex
	text    bytes.Buffer
	secrets []string
}

// maxSpoken is how much is kept, in bytes.
const maxSpoken = 64 << 10

func (s *spoken) Stream(string) io.Writer { return s }
func (s *spoken) Close() (int64, error)   { return 0, nil }

func (s *spoken) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(b[:min(len(b), maxSpoken-min(s.text.Len(), maxSpoken))])
	return len(b), nil
}

// Mask keeps a secret out of what is said.
func (s *spoken) Mask(secret []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(secret) > 0 {
		s.secrets = append(s.secrets, string(secret))
	}
}

func (s *spoken) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := s.text.String()
	for _, secret := range s.secrets {
		text = strings.ReplaceAll(text, secret, "***")
	}
	if text = strings.TrimSpace(text); text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// tailBytes is how much of the end of a log is looked at for its last lines.
const tailBytes = 64 << 10

// tail returns the last lines of a job's log, of its last attempt. A job without one has none.
func (h *Jobs) tail(_ context.Context, id jobs.ID, lines int) (string, error) {
	attempts, err := h.logs.Attempts(string(id))
	if err != nil || len(attempts) == 0 {
		return "", err
	}
	text, err := h.logs.Text(string(id), attempts[len(attempts)-1])
	if err != nil {
		return "", err
	}
	defer text.Close()
	if _, err := text.Seek(max(0, text.Size-tailBytes), io.SeekStart); err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(text, tailBytes))
	if err != nil {
		return "", err
	}
	all := strings.Split(strings.TrimRight(strings.ToValidUTF8(string(b), "\uFFFD"), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n"), nil
}

// retryURL returns the address at which a job can be run again, once (§3.10).
func (h *Jobs) retryURL(id jobs.ID) string {
	token := h.board.Token(id)
	if token == "" || h.public == "" {
		return ""
	}
	return h.public + "/jobs/" + string(id) + "/retry?t=" + token
}

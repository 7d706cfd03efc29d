package server

import (
	"context"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
	"github.com/gitroost/gitroost/internal/work/hook"
	"github.com/gitroost/gitroost/internal/work/mirror"
	"github.com/gitroost/gitroost/internal/work/notify"
)

// telling is who tells others what happened here.
type telling struct {
	hooks  *hook.Doer
	notes  *notify.Doer
	off    *hook.Switches
	public string // the key that verifies webhooks: whpk_…
}

// buildTelling makes those who tell others, and adds them to doers.
func (s *Server) buildTelling(h *Jobs, doers map[string]work.Doer) error {
	const op = "server: jobs"
	text, err := secretKey(s.cfg.Data)
	if err != nil {
		return err
	}
	secret, err := hex.DecodeString(text)
	if err != nil {
		return fault.Wrap(op, err)
	}
	h.server = s
	key := hook.DeriveKey(secret)
	h.tell.public = hook.PublicKey(key)
	if h.tell.off, err = hook.OpenSwitches(filepath.Join(s.cfg.Data, "webhooks.json")); err != nil {
		return err
	}
	target := func(name string) (work.Target, bool) { t, ok := h.defs.Load().cfg.Targets[name]; return t, ok }
	reveal := func(_ context.Context, ref work.SecretRef) ([]byte, error) { return h.reveal(ref) }
	client := s.tellWay.HTTP()
	hooks := hook.Config{
		Client: client, Now: s.now, Target: target, Secret: reveal, History: h.history, Head: h.head, Key: key, Off: h.tell.off,
		Agent: "gitroost",
	}
	if h.tell.hooks, err = hook.New(hooks); err != nil {
		return err
	}
	hooks.Client = s.ownWay.HTTP()
	theirs, err := hook.New(hooks)
	if err != nil {
		return err
	}
	if h.tell.notes, err = notify.New(notify.Config{
		Client: client, Now: s.now, Target: target, Secret: reveal, Webhooks: h.tell.hooks,
		Tail: h.tail, RetryURL: h.retryURL, Nostr: s.tellNostr,
	}); err != nil {
		return err
	}
	mirrors, err := mirror.New(mirror.Config{Git: s.vault, Way: s.tellWay, Path: os.Getenv("PATH")})
	if err != nil {
		return err
	}
	theirMirrors, err := mirror.New(mirror.Config{Git: s.vault, Way: s.ownWay, Path: os.Getenv("PATH")})
	if err != nil {
		return err
	}
	doers["webhook"], doers["trigger"], doers["notify"] = byWord{h.tell.hooks, theirs}, h.tell.hooks, h.tell.notes
	doers["mirror_push"] = byWord{mirrors, theirMirrors}
	return nil
}

// byWord has a job done by the one or the other, by whose word it is where it goes: what a repository says itself is
// kept from what the operator's own jobs alone may reach (jobs_engine.reach).
type byWord struct{ operators, theirs work.Doer }

// Do does a job. A target is always the operator's.
func (b byWord) Do(ctx context.Context, t *work.Task) jobs.Result {
	if hook, ok := t.Spec.(*work.Webhook); t.Job.Class != jobs.Trusted || ok && hook.To != "" {
		return b.operators.Do(ctx, t)
	}
	return b.theirs.Do(ctx, t)
}

// history returns the commits that a job's ref got.
func (h *Jobs) history(ctx context.Context, j jobs.Job, most int) (hook.History, error) {
	snap, err := h.vault.Refs(ctx, j.Repo)
	if err != nil {
		return hook.History{}, err
	}
	got, err := h.vault.History(ctx, j.Repo, grasp.RefChange{Ref: j.Ref, Old: j.Old, New: j.New}, snap.Head, most)
	if err != nil {
		return hook.History{}, err
	}
	out := hook.History{Total: got.Total, Forced: got.Forced}
	for _, c := range got.Commits {
		out.Commits = append(out.Commits, hook.Commit{
			ID: string(c.ID), Tree: string(c.Tree), Message: c.Message, Author: c.Author, AuthorMail: c.AuthorMail,
			Committer: c.Committer, Mail: c.Mail, Time: c.Time,
		})
	}
	return out, nil
}

// head returns the branch that HEAD of a job's repository points to, or "".
func (h *Jobs) head(ctx context.Context, j jobs.Job) string {
	snap, err := h.vault.Refs(ctx, j.Repo)
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(string(snap.Head), "refs/heads/")
}

// begins has those told who want to know that a job begins.
type begins struct {
	*work.Hall
	jobs *Jobs
}

// Run has j done.
func (b begins) Run(ctx context.Context, j jobs.Job, log jobs.Log) jobs.Result {
	if j.Kind == fileKind {
		return sayFaults(j, log)
	}
	if list := b.jobs.rulesOf(ctx, j).Begin(j, b.jobs.clock.Now(), b.jobs.ids); len(list) > 0 {
		if err := b.jobs.queue.Enqueue(ctx, list); err != nil {
			b.jobs.log.Warn("nobody is told that a job begins", "job", j.ID, "err", err) // it runs all the same (S0-41)
		}
	}
	defer b.jobs.progress(ctx, j)()
	return b.Hall.Run(ctx, j, log)
}

package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/client"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/relay"
	"github.com/gitroost/gitroost/internal/work"
	"github.com/gitroost/gitroost/internal/work/ci"
)

// ciEvents is the setting by which events tell of jobs.
const ciEvents = "ngit-ci"

// published reports whether events tell of j: of what the house does with a public repository, not of
// how others were told of it.
func (h *Jobs) published(j jobs.Job) bool {
	return h.cfg.Engine.Nostr == ciEvents && j.Pool != jobs.TellPool && j.Kind != "notify" && !j.Repo.Box && !h.Private(j)
}

// progressAgain is when a Progress is said anew: well before nobody believes it any more.
const progressAgain = ci.ProgressLife * 2 / 3

// progressTime bounds what telling of a beginning may take.
const progressTime = 10 * time.Second

// progress says that j runs, and goes on saying so until the function that it returns is called.
func (h *Jobs) progress(ctx context.Context, j jobs.Job) (end func()) {
	if !h.published(j) {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		j.State = jobs.Running
		for ctx.Err() == nil {
			now := h.clock.Now()
			if err := h.tellProgress(ctx, work.Of(j, ""), now); err != nil && ctx.Err() == nil {
				h.log.Warn("no event tells that a job runs", "job", j.ID, "err", err)
			}
			again, back := h.clock.At(now.Add(progressAgain))
			select {
			case <-again:
			case <-ctx.Done():
			}
			back()
		}
	}()
	return func() { cancel(); <-done }
}

func (h *Jobs) tellProgress(ctx context.Context, about work.About, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, progressTime)
	defer cancel()
	r, ok, err := h.runOf(ctx, about)
	if err != nil || !ok {
		return err
	}
	ev := r.Progress(now)
	return h.put(ctx, &ev)
}

// tellNostr tells in events how a job ended: that its run has, what came of it, and, quoting that, of the
// run. Telling it twice tells it once: the ids are the same.
func (s *Server) tellNostr(ctx context.Context, t *work.Task, about work.About) error {
	h := s.jobs
	r, ok, err := h.runOf(ctx, about)
	if err != nil || !ok {
		if err == nil {
			t.Printf("no event can tell of it: its repository is not public, or it is about no commit")
		}
		return err
	}
	now := h.clock.Now()
	if now.Unix() <= about.Ended.Unix() {
		// The last word that it runs may be of the second in which it ended: of two of one second the
		// other might be believed.
		now = about.Ended.Add(time.Second)
	}
	marker, result := r.Progress(now), r.JobResult()
	if err := h.put(ctx, &marker); err != nil && !refused(err) {
		return err
	}
	if err := h.put(ctx, &result); err != nil {
		if refused(err) {
			t.Printf("the relay does not take it: %v", err) // as it would not from anybody else
			return nil
		}
		return err
	}
	whole := r.WorkflowResult(grasp.EventID(result.ID))
	if err := h.put(ctx, &whole); err != nil && !refused(err) {
		return err
	}
	t.Printf("told in events %s and %s", result.ID, whole.ID)
	return nil
}

func refused(err error) bool {
	var no *grasp.Refusal
	return errors.As(err, &no)
}

// put signs an event with the server's own key, and hands it in as anybody's is.
func (h *Jobs) put(ctx context.Context, ev *nostr.Event) error {
	text, err := secretKey(h.cfg.Data)
	if err != nil {
		return err
	}
	key, err := client.ParseKey(text)
	if err != nil {
		return err
	}
	if err := key.Sign(ev); err != nil {
		return err
	}
	_, err = h.server.relay.Import(ctx, ev, len(relay.Encode(ev)), "")
	return err
}

// runOf finds out what events have to say of a job; false if they say nothing of it.
func (h *Jobs) runOf(ctx context.Context, about work.About) (*ci.Run, bool, error) {
	repo := grasp.Addr{Owner: grasp.PubKey(about.Owner), ID: about.Name}
	if about.New == "" || grasp.OID(about.New).IsZero() || !h.open(ctx, repo) {
		return nil, false, nil
	}
	r := &ci.Run{
		About: about, Repo: repo, Self: h.server.self, URL: h.public, Commits: []string{about.New},
		Relay: "ws" + strings.TrimPrefix(h.public, "http"),
	}
	snap, err := h.vault.Refs(ctx, repo)
	if err != nil {
		return nil, false, err
	}
	for ref := range snap.Refs.All() { // a tag's commit comes before the tag
		if string(ref.OID) == about.New && ref.Peeled != "" && ref.Peeled != ref.OID {
			r.Commits = []string{string(ref.Peeled), about.New}
			break
		}
	}
	if id, is := grasp.RefName(about.Ref).Pull(); is {
		if r.Pull, err = h.pullOf(ctx, id); err != nil {
			return nil, false, err
		}
	}
	if r.By, err = h.askedBy(ctx, about, repo); err != nil {
		return nil, false, err
	}
	return r, r.Tellable(), nil
}

// pullOf returns the proposal of an event that is served, or nil.
func (h *Jobs) pullOf(ctx context.Context, id grasp.EventID) (*ci.Pull, error) {
	ev, err := h.event(ctx, id)
	if err != nil || ev == nil {
		return nil, err
	}
	p := &ci.Pull{Root: id, RootAuthor: grasp.PubKey(ev.PubKey), Event: id, Kind: ev.Kind, Author: grasp.PubKey(ev.PubKey)}
	if ev.Kind == grasp.KindPullUpdate {
		root := ""
		for _, tag := range ev.Tags {
			if len(tag) >= 2 && tag[0] == "E" {
				root = tag[1]
			}
		}
		first, err := h.event(ctx, grasp.EventID(root))
		if err != nil || first == nil {
			return nil, err
		}
		p.Root, p.RootAuthor = grasp.EventID(first.ID), grasp.PubKey(first.PubKey)
	}
	return p, nil
}

// event returns an event that is served, or nil.
func (h *Jobs) event(ctx context.Context, id grasp.EventID) (*nostr.Event, error) {
	if !grasp.IsHex(string(id), 64) {
		return nil, nil
	}
	list, err := h.events(ctx, nostr.Filter{IDs: []string{string(id)}, Limit: 1})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

// maxControls is how many events of maintainers are looked at.
const maxControls = 500

func (h *Jobs) events(ctx context.Context, f nostr.Filter) (out []*nostr.Event, err error) {
	err = h.server.store.Query(ctx, f, func(_ grasp.EventID, raw []byte) bool {
		ev := new(nostr.Event)
		if ev.UnmarshalJSON(raw) == nil {
			out = append(out, ev)
		}
		return true
	})
	return out, err
}

// askedBy returns which event of a maintainer stands behind a run: the one that asked for it, or one that
// asks for all; nil if none does, for then it was the operator alone.
func (h *Jobs) askedBy(ctx context.Context, about work.About, repo grasp.Addr) (*ci.Control, error) {
	view, err := h.server.steward.View(ctx, repo.ID)
	if err != nil {
		return nil, err
	}
	maintainers := view.Maintainers(repo.Owner)
	if jobs.Trigger(about.Trigger) == jobs.OnManual && about.Event != "" {
		ev, err := h.event(ctx, grasp.EventID(about.Event))
		if err != nil {
			return nil, err
		}
		if ev != nil && ev.Kind == ci.KindManualTrigger && maintainers.Has(grasp.PubKey(ev.PubKey)) {
			return &ci.Control{ID: grasp.EventID(ev.ID), Author: grasp.PubKey(ev.PubKey), Manual: true}, nil
		}
	}
	if c, ok, err := h.standing(ctx, repo, maintainers, about.Started); err != nil || ok {
		return &c, err
	}
	return nil, nil
}

// askedAge is how old a Manual Trigger may be: one that turns up later starts nothing.
const askedAge = 10 * time.Minute

// asked starts the job that a Manual Trigger asks for, if its author maintains the repository, the
// definition says on: {manual: true} and is the one that they saw, and the ref is still where they saw
// it (S4-35). The same event starts one job, however often it comes.
func (h *Jobs) asked(ctx context.Context, ev *nostr.Event) {
	if h == nil || ev.Kind != ci.KindManualTrigger || h.cfg.Engine.Nostr != ciEvents {
		return
	}
	t, err := ci.ParseTrigger(ev, h.server.self)
	if err != nil {
		return // for others, or for nobody
	}
	if err := h.start(ctx, t); err != nil {
		h.log.Info("a maintainer's wish is not granted", "event", ev.ID, "job", t.Job, "err", err)
	}
}

func (h *Jobs) start(ctx context.Context, t ci.Trigger) error {
	const op = "jobs: manual trigger"
	if age := h.clock.Now().Sub(time.Unix(t.At, 0)); age > askedAge {
		return fault.Errorf(fault.Stale, op, "it is %s old", age.Round(time.Second))
	}
	view, err := h.server.steward.View(ctx, t.Repos[0].ID)
	if err != nil {
		return err
	}
	for _, repo := range t.Repos {
		if !view.Maintainers(repo.Owner).Has(t.Author) || !h.open(ctx, repo) {
			continue
		}
		if t.Proposal {
			return h.approveProposal(ctx, repo, t)
		}
		book := h.book.Load()
		d, hash, ok := book.Definition(t.Job)
		switch {
		case !ok || !d.On.Manual || !book.Concerns(t.Job, repo):
			return fault.Errorf(fault.Refused, op, "job %q is not one that maintainers of this repository may start", t.Job)
		case hash.String() != t.Hash:
			return fault.Errorf(fault.Stale, op, "job %s is defined otherwise by now", t.Job)
		}
		happened, err := h.present(ctx, repo, t.Ref)
		if err != nil {
			return err
		}
		if happened.Changes[0].New != t.Commit {
			return fault.Errorf(fault.Stale, op, "%s is not at %s any more", happened.Changes[0].Ref, t.Commit)
		}
		happened.Trigger, happened.Names, happened.Actor, happened.Cause, happened.Force = jobs.OnManual, []string{t.Job}, t.Author, t.ID, true
		// The jobs of one event have the same ids whenever they are made.
		seed := sha256.Sum256([]byte("manual trigger " + string(t.ID)))
		ids := jobs.NewIDs(func() time.Time { return time.Unix(t.At, 0) }, &seeded{text: hex.EncodeToString(seed[:])})
		list, _ := book.Plan(happened, ids)
		return h.queue.Enqueue(ctx, list)
	}
	return fault.E(fault.Refused, op, "who asks does not maintain the repository")
}

// approveProposal lets the job begin that works on a proposal and waits for approval: the one of this name and
// definition, about this very commit (jobs.md 3.2).
func (h *Jobs) approveProposal(ctx context.Context, repo grasp.Addr, t ci.Trigger) error {
	const op = "jobs: manual trigger"
	list, err := h.queue.List(ctx, jobs.Filter{Repo: repo, Name: t.Job, States: []jobs.State{jobs.Unapproved}, Limit: jobs.MaxList})
	if err != nil {
		return err
	}
	for _, j := range list {
		if j.Class != jobs.Untrusted || j.New != t.Commit || j.Definition.String() != t.Hash {
			continue
		}
		if _, err := h.queue.Approve(ctx, j.ID, jobs.Approval{By: t.Author.Npub(), Event: t.ID, At: h.clock.Now()}); err != nil {
			return err
		}
		h.board.Note()
		h.log.Info("a job is approved of", "job", j.ID, "repo", j.Repo.String(), "name", j.Name, "event", string(t.ID), "by", t.Author.Npub())
		return nil
	}
	return fault.Errorf(fault.Refused, op, "no job %q about commit %s, as it is defined now, waits for approval", t.Job, t.Commit)
}

// seeded is randomness that is the same each time.
type seeded struct{ text string }

func (s *seeded) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = s.text[i%len(s.text)]
	}
	return len(p), nil
}

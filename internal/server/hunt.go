package server

import (
	"context"
	"strings"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/hunt"
	"github.com/gitroost/gitroost/internal/steward"
	"github.com/gitroost/gitroost/internal/store"
)

// buildHunt makes the hunter, if the operator wants one. The desk and the way out are there.
func (s *Server) buildHunt() {
	if !s.cfg.Sync.Enabled || !s.cfg.Sync.Git {
		return
	}
	lim := s.cfg.Limits
	s.hunter = hunt.New(hunt.Config{
		Now: s.now, StartDelay: s.cfg.Sync.Delay, Wait: s.cfg.Sync.GitWait,
		MaxBytes: min(s.cfg.Outward.FetchSize, lim.MaxPush), MaxPullBytes: min(s.cfg.Outward.FetchSize, lim.MaxPRPush),
		MaxObjects: uint32(lim.PushObjects), Time: s.cfg.Outward.FetchTime,
	}, s.steward, s.vault, huntBook{s.store}, s.way, s.log.With("room", "hunt"))
}

// runHunt works until ctx ends.
func (s *Server) runHunt(ctx context.Context) error {
	if s.hunter == nil {
		return nil
	}
	return s.hunter.Run(ctx)
}

// arrived has the git data of an event looked for that was taken (G02-12): soon if it came from another
// server, and after a while if whoever published it is expected to push.
func (s *Server) arrived(ctx context.Context, ev *nostr.Event, v grasp.Verdict, synced bool) {
	if v == grasp.Accepted && !synced {
		s.jobs.asked(ctx, ev)
	}
	if s.hunter == nil || v != grasp.Held && !(v == grasp.Accepted && ev.Kind == grasp.KindAnnouncement) {
		return
	}
	for _, id := range s.subjects(ctx, ev) {
		s.hunter.Wake(id, !synced)
	}
}

// subjects returns the identifiers that an announcement, a state or a pull request is about.
func (s *Server) subjects(ctx context.Context, ev *nostr.Event) []string {
	switch ev.Kind {
	case grasp.KindAnnouncement, grasp.KindState:
		for _, t := range ev.Tags {
			if len(t) >= 2 && t[0] == "d" {
				return []string{t[1]}
			}
		}
	case grasp.KindPull, grasp.KindPullUpdate:
		// An update may name no repository: the desk knows which (G01-709).
		e, err := s.store.Event(ctx, grasp.EventID(ev.ID))
		if err == nil {
			return e.Subjects
		}
	}
	return nil
}

// fromPeer reports whether a source of events is another server.
func fromPeer(source string) bool { return strings.HasPrefix(source, "peer ") }

// lookFor has what a repository lost looked for, though nothing happened.
func (s *Server) lookFor(ctx context.Context, repo grasp.Addr) {
	if s.hunter == nil || repo.Box {
		return
	}
	if err := s.hunter.Look(ctx, repo.ID); err != nil && ctx.Err() == nil {
		s.log.Warn("cannot find out what a repository lacks", "repo", repo.String(), "err", err)
	}
}

// Hunts returns how the looking for git data stands, for those who show it. It is nil if there is none.
func (s *Server) Hunts(limit int) []hunt.Status {
	if s.hunter == nil {
		return nil
	}
	return s.hunter.Status(limit)
}

// huntBook is the store as the hunter writes to it.
type huntBook struct{ s *store.Store }

func (b huntBook) Hunts(ctx context.Context, limit int) ([]hunt.Record, error) {
	list, err := b.s.Hunts(ctx, limit)
	out := make([]hunt.Record, len(list))
	for i, h := range list {
		out[i] = hunt.Record(h)
	}
	return out, err
}

func (b huntBook) WriteHunt(ctx context.Context, r hunt.Record) error {
	return b.s.WriteHunt(ctx, store.Hunt(r))
}

func (b huntBook) DropHunt(ctx context.Context, id string) error { return b.s.DropHunt(ctx, id) }

func (b huntBook) Waiting(ctx context.Context) ([]string, error) { return b.s.Unsettled(ctx) }

var _ hunt.Desk = (*steward.Steward)(nil)

package githttp

import (
	"context"
	"io"
	"strings"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitwire"
)

// wants returns the job that the pusher asks to follow: -o follow, or -o follow=<name>.
func (p *pushing) wants() (name string, ok bool) {
	for _, o := range p.req.Options {
		option, value, _ := strings.Cut(o, "=")
		if option == "follow" {
			name, ok = value, true
		}
	}
	return name, ok
}

// follow reports success, and then goes on with what the jobs of the push say. The push is over by then: nothing is held
// for it, and its end is what the report says, whatever becomes of the jobs. It is false if there is nothing to follow, and
// nothing was said.
func (p *pushing) follow(notes []string) bool {
	name, ok := p.wants()
	if !ok || p.h.cfg.Follow == nil || p.req.Caps.Band() == 0 || !p.req.Caps.Report() {
		return false
	}
	select {
	case p.h.follows <- struct{}{}:
		defer func() { <-p.h.follows }()
	default:
		p.report(endedOK, append(notes[:len(notes):len(notes)], textCrowded))
		return true
	}
	ctx, leave := context.WithCancel(p.r.Context())
	defer leave()
	f, err := p.h.cfg.Follow(ctx, p.repo, p.id, name)
	if err != nil {
		p.h.log.Warn("jobs of a push cannot be followed", "push", p.id, "err", err)
		return false
	}
	if f == nil {
		return false
	}
	rep := p.success(notes)
	rep.Say = append(p.early, rep.Say...)
	b, _ := gitwire.AppendOpenReport(nil, p.req.Caps, rep) // it has both, as was asked above
	if !p.started {
		p.begin(typeReceiveResult, -1)
	}
	_, _ = p.Write(b) // a pusher who left is noticed below
	p.flush()
	p.log(endedOK, nil)
	_, _ = p.Write(gitwire.AppendFlush(p.copyLines(ctx, leave, f)))
	return true
}

// copyLines sends what f says until it ends, for FollowTime at most, with a sign of life every KeepAlive. It returns what is
// still to be said, and closes f.
func (p *pushing) copyLines(ctx context.Context, leave func(), f Follower) (last []byte) {
	type batch struct {
		lines []string
		err   error
	}
	next := make(chan batch)
	gone := make(chan struct{})
	defer func() { leave(); <-gone }()
	go func() {
		defer close(gone)
		defer f.Close()
		for {
			lines, err := f.Next(ctx)
			select {
			case next <- batch{lines, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	cfg := &p.h.cfg
	over, stop := cfg.At(cfg.Now().Add(cfg.FollowTime))
	defer stop()
	for p.failed == nil {
		alive, stop := cfg.At(cfg.Now().Add(cfg.KeepAlive))
		var out []byte
		select {
		case b := <-next:
			for _, line := range b.lines {
				out = gitwire.AppendLine(out, line)
			}
			switch {
			case fault.Is(b.err, fault.Closing) && ctx.Err() == nil:
				out = gitwire.AppendLine(out, textStopping)
			case b.err != nil && b.err != io.EOF:
				p.h.log.Debug("who followed a job does no longer", "push", p.id, "err", b.err)
			}
			if b.err != nil {
				stop()
				return out
			}
		case <-alive:
			out = gitwire.AppendSilence(nil)
		case <-over:
			stop()
			return gitwire.AppendLine(nil, textLongJob)
		case <-ctx.Done():
			stop()
			return nil
		}
		stop()
		_, _ = p.Write(out) // p.failed says it
		p.flush()
	}
	return nil
}

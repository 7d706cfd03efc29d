package jobview

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/joblog"
	"github.com/gitroost/gitroost/internal/jobs"
)

// A PushTail reads what the jobs of one push say, one job after the other. Use it from one goroutine, and close it.
type PushTail struct {
	b    *Board
	left []jobs.Job
	t    *Tail
	many bool
}

// FollowPush returns what the jobs of a push say, made since then; with a name only that job. It is nil if there is
// none. What is private is not shown to whoever pushes: to bring objects that somebody signed needs no name.
func (b *Board) FollowPush(ctx context.Context, repo grasp.Addr, push, name string, since time.Time) (*PushTail, error) {
	list, err := b.pushed(ctx, repo, push, since)
	if err != nil {
		return nil, err
	}
	p := &PushTail{b: b}
	for _, j := range list {
		if j.State == jobs.Unapproved {
			continue // nobody knows how long that takes, and the pusher was told
		}
		if name == "" && j.Pool != jobs.TellPool || name == j.Name {
			p.left = append(p.left, j)
		}
	}
	if len(p.left) == 0 {
		return nil, nil
	}
	p.many = len(p.left) > 1
	return p, nil
}

// pushed returns the jobs that a push made, those that are needed first. They are among those made since then.
func (b *Board) pushed(ctx context.Context, repo grasp.Addr, push string, since time.Time) ([]jobs.Job, error) {
	list, err := b.cfg.Queue.List(ctx, jobs.Filter{Repo: repo, Since: since, Limit: jobs.MaxList})
	if err != nil {
		return nil, fault.Wrap("jobview: push", err)
	}
	var out []jobs.Job
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].Push == push {
			out = append(out, list[i])
		}
	}
	return out, nil
}

// Close gives back what is held.
func (p *PushTail) Close() {
	if p.t != nil {
		p.t.Close()
	}
}

// Next waits for more lines and returns them, as people read them. It is io.EOF after the last job, a fault.Closing when
// the server stops, and what ctx says if that ends.
func (p *PushTail) Next(ctx context.Context) ([]string, error) {
	if p.t == nil {
		if len(p.left) == 0 {
			return nil, io.EOF
		}
		return p.begin(ctx)
	}
	lines, err := p.t.Next(ctx)
	if err == nil {
		return readable(lines), nil
	}
	if err != io.EOF {
		return nil, err
	}
	v, err := p.t.End(ctx)
	p.t.Close()
	p.t = nil
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("gitroost: job %s %s: %s", v.Name, v.ID, v.State)
	if v.Started != nil {
		text += " after " + jobs.Span(v.Running(p.b.cfg.Clock.Now()))
	}
	if v.Reason != "" {
		text += ": " + v.Reason
	}
	return []string{text}, nil
}

// begin opens the next job.
func (p *PushTail) begin(ctx context.Context) ([]string, error) {
	j := p.left[0]
	p.left = p.left[1:]
	if p.b.cfg.Private != nil && p.b.cfg.Private(ctx, j) {
		return []string{fmt.Sprintf("gitroost: job %s %s is private; what it says is not shown here", j.Name, j.ID)}, nil
	}
	var err error
	if p.t, err = p.b.Follow(ctx, j.ID, 0, 0, false); err != nil {
		return nil, err
	}
	if p.many {
		return []string{fmt.Sprintf("gitroost: job %s %s says", j.Name, j.ID)}, nil
	}
	return nil, nil
}

func readable(lines []joblog.Line) []string {
	out := make([]string, len(lines))
	for i := range lines {
		out[i] = Readable(lines[i].Text)
	}
	return out
}

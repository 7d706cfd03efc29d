package githttp

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitwire"
)

// How a push ended, in the log.
const (
	endedOK        = "ok"
	endedNoop      = "noop"
	endedRefused   = "refused"
	endedFailed    = "failed"
	endedAborted   = "aborted"
	endedMalformed = "malformed"
)

// A pushing is one push on its way through the door.
type pushing struct {
	*exchange
	repo  grasp.Addr
	id    string
	began time.Time
	req   *gitwire.PushRequest
	early []string // progress that the pusher has not seen yet
}

// push answers POST git-receive-pack (H-241 to H-257).
func (x *exchange) push(repo grasp.Addr) {
	if !x.mediaType(gitwire.ReceivePack, false) {
		return
	}
	in, ok := x.decoded(x.h.cfg.MaxBody, textTooLarge(x.h.cfg.MaxBody))
	if !ok {
		return
	}
	p := &pushing{exchange: x, repo: repo, id: x.pushID(repo), began: x.h.cfg.Now()}
	x.body.hurry(x.h.cfg.Section)
	r := gitwire.NewReader(in, gitwire.MaxPushSection)
	var err error
	p.req, err = gitwire.ReadPush(r, gitwire.PushLimits{Commands: x.h.cfg.MaxCommands})
	if err != nil {
		p.notUnderstood(err)
		return
	}
	if p.req.Flush {
		p.probe(r)
		return
	}
	x.body.hurry(0)
	p.decide(r)
}

// probe answers the empty push by which git tries a connection before it sends a large pack: 200
// and nothing else, no questions asked (H-242).
func (p *pushing) probe(r *gitwire.Reader) {
	end, err := r.End()
	switch {
	case err != nil:
		p.unread(err)
	case !end:
		p.h.stats.PushesMalformed.Add(1)
		p.text(http.StatusBadRequest, textNoCommands)
	default:
		p.h.stats.Probes.Add(1)
		p.begin(typeReceiveResult, 0)
	}
}

// notUnderstood answers a push whose command section was malformed. If the pusher named refs and
// understands reports, it gets one.
func (p *pushing) notUnderstood(err error) {
	_, broken := p.body.ended()
	reportable := p.req.Caps.Report() && len(p.req.Updates) > 0
	var no *grasp.Refusal
	switch {
	case errors.As(err, &no):
		p.refuse(err)
	case broken != nil:
		p.log(endedAborted, err)
		p.unread(err)
	case reportable && (fault.Is(err, fault.Invalid) || fault.Is(err, fault.TooLarge)):
		p.refuse(err)
	default:
		p.log(endedMalformed, err)
		p.unread(err)
	}
}

// decide asks the desk, and carries out what it says.
func (p *pushing) decide(r *gitwire.Reader) {
	ctx := context.WithValue(context.WithoutCancel(p.r.Context()), pushIDKey{}, p.id)
	ctx = context.WithValue(ctx, pushOptionsKey{}, p.req.Options)
	ctx, stop := context.WithTimeout(ctx, p.h.cfg.Wall)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	limit := p.limit()
	if p.r.ContentLength > limit {
		p.refuse(fault.E(fault.TooLarge, "githttp: push", textTooLarge(limit)))
		return
	}
	push, err := p.h.desk.Enter(ctx, p.repo, p.req.Updates)
	if err != nil {
		p.refuse(err)
		return
	}
	if push.Noop() {
		push.Close()
		if !p.body.drain(p.h.cfg.MaxBody) {
			p.lost()
			return
		}
		p.report(endedNoop, nil)
		return
	}
	notes, err := p.deliver(ctx, cancel, push, r, limit)
	if err != nil {
		p.refuse(err)
		return
	}
	if !p.body.drain(p.h.cfg.DrainBytes) {
		// Delivered, and yet more was sent: that is the pusher's own matter.
		p.w.Header().Set("Connection", "close")
	}
	if p.follow(notes) {
		return
	}
	p.report(endedOK, notes)
}

// deliver hands over the pack, and ends push: whatever it holds is given back before this door
// waits for the pusher again.
func (p *pushing) deliver(ctx context.Context, cancel func(error), push Push, r *gitwire.Reader, limit int64) ([]string, error) {
	defer push.Close()
	release, err := p.h.pushes.take(ctx, p.repo.String(), p.h.cfg.Network(p.r))
	if err != nil {
		return nil, err
	}
	defer release()

	// Until the pack is here a pusher who leaves ends the push. Afterwards what was begun is
	// finished: the refs that a pusher will ask about are the ones that were reported.
	leave := context.AfterFunc(p.r.Context(), func() {
		if end, _ := p.body.ended(); !end {
			cancel(errLeft)
		}
	})
	defer leave()
	var pack io.Reader
	if !p.req.DeleteOnly() {
		pack = &source{r: &capped{r: r.Rest(), left: limit, text: textTooLarge(limit)}, fail: cancel}
	} else if !p.body.drain(p.h.cfg.DrainBytes) {
		// Nothing should follow deletions; what does is thrown away, as git does.
		return nil, fault.E(fault.Invalid, "githttp: push", textTrailing)
	}
	t := p.talk()
	defer t.stop() // also if Deliver panics: nobody writes to an answer that was given up
	err = push.Deliver(ctx, pack, t.say)
	p.early = t.stop()
	if err != nil {
		return nil, err
	}
	return push.Notes(), nil
}

var errLeft = fault.E(fault.Closing, "githttp: read pack", "the pusher left")

// limit is how large this push may be: PR refs are pushed by strangers (H-254).
func (p *pushing) limit() int64 {
	for _, u := range p.req.Updates {
		if !u.Ref.IsNostr() {
			return p.h.cfg.MaxBody
		}
	}
	return min(p.h.cfg.MaxPullBody, p.h.cfg.MaxBody)
}

// refuse tells the pusher that nothing moved, and why: in a report if at all possible, because git
// shows a person the reason only then. What the pusher still sends is read first (H-246, H-256).
func (p *pushing) refuse(err error) {
	if !p.body.drain(p.h.cfg.DrainBytes) {
		if _, broken := p.body.ended(); broken != nil {
			p.lost()
			return
		}
		p.w.Header().Set("Connection", "close")
		if !p.started {
			v := judge(err)
			p.logAs(outcome(err), err, v)
			p.text(http.StatusRequestEntityTooLarge, textUndrained(v.reason))
			return
		}
	}
	if !p.started {
		switch code := fault.CodeOf(err); code {
		case fault.NotFound, fault.Gone, fault.Busy, fault.Closing:
			p.log(outcome(err), err)
			p.fail(p.repo, err)
			return
		}
	}
	v := judge(err)
	if p.repo.Box {
		v.innocent()
	}
	rep := gitwire.Report{Unpack: v.unpack, Say: p.last(v.say)}
	for _, u := range p.req.Updates {
		rep.Refs = append(rep.Refs, gitwire.RefReport{Ref: string(u.Ref), Reason: v.reason})
	}
	if len(rep.Refs) == 0 && !p.req.Caps.Report() {
		rep.Unpack = v.reason
	}
	p.send(rep)
	p.logAs(outcome(err), err, v)
}

func outcome(err error) string {
	var no *grasp.Refusal
	switch {
	case errors.As(err, &no):
		return endedRefused
	case fault.Is(err, fault.Invalid):
		return endedMalformed
	}
	return endedFailed
}

// lost ends a push whose body broke off. If it only stalled, the pusher may still listen.
func (p *pushing) lost() {
	_, broken := p.body.ended()
	p.log(endedAborted, broken)
	p.unread(broken)
}

// report tells the pusher that everything is as it asked for (H-248).
func (p *pushing) report(ended string, notes []string) {
	p.send(p.success(notes))
	p.log(ended, nil)
}

// success is the report of a push that did all that it was to do.
func (p *pushing) success(notes []string) gitwire.Report {
	rep := gitwire.Report{Say: p.last(notes)}
	for _, u := range p.req.Updates {
		rep.Refs = append(rep.Refs, gitwire.RefReport{Ref: string(u.Ref)})
	}
	return rep
}

// send writes the report, after the status if nothing was said before it.
func (p *pushing) send(rep gitwire.Report) {
	rep.Say = append(p.early, rep.Say...)
	b := gitwire.AppendReport(nil, p.req.Caps, rep)
	if !p.started {
		p.whole(typeReceiveResult, b)
		return
	}
	_, _ = p.Write(b) // the push is done, whether the pusher hears of it or not
}

// last adds the line by which a person and the log can find each other.
func (p *pushing) last(lines []string) []string {
	for _, l := range lines {
		if len(l) > len(textPushID) && l[:len(textPushID)] == textPushID && containsWord(l, p.id) {
			return lines
		}
	}
	return append(lines[:len(lines):len(lines)], textPushID+p.id)
}

func (p *pushing) log(ended string, err error) {
	v := verdict{}
	if err != nil {
		v = judge(err)
	}
	p.logAs(ended, err, v)
}

// logAs writes the one line of this push.
func (p *pushing) logAs(ended string, err error, v verdict) {
	s := &p.h.stats
	switch ended {
	case endedOK:
		s.PushesOK.Add(1)
	case endedNoop:
		s.PushesNoop.Add(1)
	case endedRefused:
		s.PushesRefused.Add(1)
	case endedAborted:
		s.PushesAborted.Add(1)
	case endedMalformed:
		s.PushesMalformed.Add(1)
	default:
		s.PushesFailed.Add(1)
	}
	args := []any{"push", p.id, "repo", p.repo.String(), "refs", len(p.req.Updates), "bytes", p.body.bytes(),
		"took", p.h.cfg.Now().Sub(p.began), "verdict", ended}
	if v.reason != "" {
		args = append(args, "reason", v.reason)
	}
	if ended == endedFailed && fault.Is(err, fault.Internal) {
		p.h.log.Error("push", append(args, "err", err, "id", v.id)...)
		return
	}
	p.h.log.Info("push", args...)
}

// A source is the pack as it arrives. When it breaks off, whoever reads it elsewhere is told to
// stop; an ordinary end and a limit are left to the reader.
type source struct {
	r    io.Reader
	fail func(error)
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF && !fault.Is(err, fault.TooLarge) && !fault.Is(err, fault.Invalid) {
		s.fail(fault.Wrap("githttp: read pack", err))
	}
	return n, err
}

// A talker shows progress to the pusher, and signs of life. It says nothing before the whole
// request was read: until then the pusher sends and need not listen, and what came early waits.
type talker struct {
	bands *gitwire.Bands
	quit  chan struct{}
	gone  chan struct{}
	once  sync.Once

	mu    sync.Mutex
	open  bool
	early []string // lines that came too early, the first maxEarly of them
}

const maxEarly = 100

func (p *pushing) talk() *talker {
	t := &talker{quit: make(chan struct{}), gone: make(chan struct{})}
	t.bands = gitwire.NewBands(&prompt{x: p.exchange}, p.req.Caps)
	go t.run(p.body, p.h.cfg.KeepAlive)
	return t
}

func (t *talker) say(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.open:
		t.bands.Say(line)
	case len(t.early) < maxEarly:
		t.early = append(t.early, line)
	}
}

func (t *talker) run(b *body, pause time.Duration) {
	defer close(t.gone)
	select {
	case <-t.quit:
		return
	case <-b.done:
		if _, err := b.ended(); err != nil {
			return
		}
	}
	t.mu.Lock()
	for _, line := range t.early {
		t.bands.Say(line)
	}
	t.open, t.early = true, nil
	t.mu.Unlock()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-t.quit:
			return
		case <-tick.C:
			t.bands.KeepAlive()
		}
	}
}

// stop returns when nothing is written any more, and nothing will be. What came too early to be
// shown is returned. It may be called twice.
func (t *talker) stop() []string {
	t.once.Do(func() { close(t.quit) })
	<-t.gone
	t.bands.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open = true
	return t.early
}

// prompt begins the answer when there is something to say, and sends each piece at once.
type prompt struct{ x *exchange }

func (w *prompt) Write(b []byte) (int, error) {
	if !w.x.started {
		w.x.begin(typeReceiveResult, -1)
	}
	n, err := w.x.Write(b)
	w.x.flush()
	return n, err
}

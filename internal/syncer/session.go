package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sync/semaphore"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
)

const (
	maxHoard     = 64 << 20         // bytes of all peers that were read and not decided about
	smallMessage = 64 << 10         // bytes that any message may have; larger ones stand in line
	largePlaces  = 8                // larger messages that are read at a time
	overhead     = 64 << 10         // bytes of a message beside its largest event
	maxLive      = 1024             // events of live subscriptions that wait
	maxAnswer    = 256              // messages of one request that wait
	mostBad      = 20               // faults of a peer until it is left
	pingEvery    = 20 * time.Second // without a word
	deafAfter    = time.Minute      // without any sign of life: whoever vanished says no goodbye
	writeTime    = 30 * time.Second // one message may take to leave
	helloTime    = 30 * time.Second // connecting may take
	freeRequests = 200              // requests without a pause between them
	requestPause = 50 * time.Millisecond
)

// A hoard bounds the memory for what peers sent.
type hoard struct {
	bytes *semaphore.Weighted
	large chan struct{}
}

func newHoard(most int64) *hoard {
	return &hoard{bytes: semaphore.NewWeighted(most), large: make(chan struct{}, largePlaces)}
}

// A session is one connection to a peer. Its reader sorts what comes in; live events and
// requests have their own goroutines, so that neither waits for the other.
type session struct {
	p    *peer
	s    *Syncer
	line Line
	doc  document
	neg  bool // NIP-77 is spoken, as far as is known
	sure bool // that it is

	ctx  context.Context
	fail context.CancelCauseFunc // ends the session
	live chan message

	crowded atomic.Bool // there was no room for something since all was compared last

	requests int       // made so far
	held     time.Time // since when it reads history
	open     live
	began    time.Time
	asked    time.Time // when polling was last done

	// mu guards the rest.
	mu      sync.Mutex
	answers map[string]chan message // of requests, by subscription
	filters map[string][]nostr.Filter
	closed  []string // live subscriptions that the peer closed
	faults  int
	subs    int // names given so far
}

// run connects, reads the history, listens, and returns why it ended.
func (c *session) run(ctx context.Context) error {
	hello, cancelHello := context.WithTimeout(ctx, helloTime)
	defer cancelHello()
	if raw, err := c.s.dialer.Document(hello, c.p.url, maxDocument); err == nil {
		c.doc = parseDocument(raw)
	}
	c.neg = !c.doc.known || slices.Contains(c.doc.NIPs, 77)
	line, err := c.s.dialer.Relay(hello, c.p.url)
	if err != nil {
		return err
	}
	line.SetReadLimit(int64(c.s.cfg.MaxEvent) + overhead)
	c.line = line
	c.answers, c.filters = map[string]chan message{}, map[string][]nostr.Filter{}
	c.live = make(chan message, maxLive)
	c.ctx, c.fail = context.WithCancelCause(ctx)
	var all sync.WaitGroup
	defer func() {
		c.fail(nil)
		line.Close()
		all.Wait()
		c.release()
	}()
	stop := context.AfterFunc(c.ctx, func() { line.Close() }) // there is no other way to stop a read
	defer stop()
	c.began = c.s.cfg.Now()
	c.p.mu.Lock()
	c.p.began = c.began
	c.p.mu.Unlock()
	all.Go(func() { c.fail(c.read()) })
	all.Go(c.ping)
	all.Go(c.drain)
	c.fail(guarded(func() error { return c.work() }))
	if errors.Is(context.Cause(c.ctx), errGone) {
		return nil
	}
	return context.Cause(c.ctx)
}

// work is what a session does in order.
func (c *session) work() error {
	c.s.log.Info("peer connected", "peer", c.p.url)
	c.s.cfg.Reached(c.p.url)
	w, version := c.s.wantOf(c.p.url)
	c.open.version = version
	roots, err := c.findRoots(w)
	if err != nil {
		return err
	}
	// Listening comes first: what happens while the history is read is not lost.
	if err := c.listen(w, roots); err != nil {
		return err
	}
	mood := c.p.getMood()
	if since, ok := mood.resumes(c.s.cfg.Now()); ok {
		err = c.since(since)
	} else {
		err = c.full()
	}
	if err != nil {
		return err
	}
	stable := false
	for {
		select {
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		case <-c.p.wake:
		}
		now := c.s.cfg.Now()
		if c.p.isGone() {
			return errGone
		}
		c.p.seen(now)
		if !stable && now.Sub(c.began) >= stableAfter {
			stable = true
			c.p.change(Mood.calm)
		}
		if err := c.due(now); err != nil {
			return err
		}
	}
}

// due does what it is time for.
func (c *session) due(now time.Time) error {
	if err := c.reopen(); err != nil {
		return err
	}
	// What is new is asked for at once, and what comes in the seconds after that together.
	if now.Sub(c.open.extended) >= batchDelay && (c.open.version != c.s.editionOf(c.p.url) || c.p.hasRoots()) {
		c.open.extended = now
		if err := c.extend(); err != nil {
			return err
		}
	}
	mood := c.p.getMood()
	if !now.Before(mood.Repass) {
		return c.full()
	}
	if c.open.short && now.Sub(c.asked) >= shortGap {
		return c.since(c.asked.Add(-shortGap))
	}
	return nil
}

// read sorts what comes in until the connection ends.
func (c *session) read() error {
	deaf := time.AfterFunc(deafAfter, func() {
		c.fail(fault.Errorf(fault.Internal, "syncer: read", "it has said nothing for %s", deafAfter))
	})
	defer deaf.Stop()
	c.line.SetPongHandler(func(string) error { deaf.Reset(deafAfter); return nil })
	for {
		deaf.Reset(deafAfter)
		_, r, err := c.line.NextReader()
		if err != nil {
			return c.ended(err)
		}
		deaf.Stop() // that there is no room for what it says is not its silence
		data, err := c.readWhole(r)
		if err != nil {
			return c.ended(err)
		}
		m, err := parseMessage(data)
		if err != nil {
			if err := c.blame("what it sends is not understood: " + err.Error()); err != nil {
				return err
			}
			continue
		}
		if err := c.sort(m); err != nil {
			return err
		}
	}
}

func (c *session) ended(err error) error {
	if cause := context.Cause(c.ctx); cause != nil {
		return cause
	}
	if errors.Is(err, websocket.ErrReadLimit) {
		return fault.Errorf(fault.Refused, "syncer: read", "it sends messages of more than %d bytes", c.s.cfg.MaxEvent+overhead)
	}
	return fault.Errorf(fault.Internal, "syncer: read", "the connection ended: %v", err)
}

// readWhole reads a message. Only so many large ones are read at a time, whoever sends them.
func (c *session) readWhole(r io.Reader) ([]byte, error) {
	slow := time.AfterFunc(c.s.cfg.Patience, func() {
		c.fail(fault.Errorf(fault.Internal, "syncer: read", "one message took longer than %s", c.s.cfg.Patience))
	})
	defer slow.Stop()
	data, err := io.ReadAll(io.LimitReader(r, smallMessage))
	if err != nil || len(data) < smallMessage {
		return data, err
	}
	slow.Stop() // waiting for the place is not its fault
	select {
	case c.s.hoard.large <- struct{}{}:
		defer func() { <-c.s.hoard.large }()
	case <-c.ctx.Done():
		return nil, context.Cause(c.ctx)
	}
	slow.Reset(c.s.cfg.Patience)
	rest, err := io.ReadAll(r)
	return append(data, rest...), err
}

// sort hands a message to whoever waits for it.
func (c *session) sort(m message) error {
	switch m.label {
	case "NOTICE":
		if throttled(m.text) {
			return fault.Errorf(fault.Busy, "syncer: read", "it asks for less: %s", clip(m.text, maxTrouble))
		}
		c.s.log.Debug("peer notices", "peer", c.p.url, "text", clip(m.text, maxTrouble))
		return nil
	case "EVENT", "EOSE", "CLOSED", "NEG-MSG", "NEG-ERR":
	default:
		return nil
	}
	c.mu.Lock()
	to := c.answers[m.sub]
	_, live := c.filters[m.sub]
	if live && m.label == "CLOSED" {
		c.closed = append(c.closed, m.sub)
		delete(c.filters, m.sub)
	}
	c.mu.Unlock()
	if live && m.label == "CLOSED" {
		return c.wasClosed(m.text)
	}
	if to == nil && live && m.label == "EVENT" {
		to = c.live
	}
	if to == nil {
		return nil // the end of something that is over
	}
	if err := c.s.hoard.bytes.Acquire(c.ctx, m.size); err != nil {
		return context.Cause(c.ctx)
	}
	select {
	case to <- m:
		return nil
	case <-c.ctx.Done():
		c.s.hoard.bytes.Release(m.size)
		return context.Cause(c.ctx)
	}
}

// wasClosed is what follows from the peer's closing a subscription.
func (c *session) wasClosed(why string) error {
	switch {
	case throttled(why):
		return fault.Errorf(fault.Busy, "syncer: read", "it asks for less: %s", clip(why, maxTrouble))
	case closedDoor(why):
		return fault.Errorf(fault.Refused, "syncer: read", "it tells strangers nothing: %s", clip(why, maxTrouble))
	}
	c.s.log.Debug("peer closed a subscription", "peer", c.p.url, "why", clip(why, maxTrouble))
	c.p.nudge()
	return nil
}

// blame counts a fault of the peer. The error ends the session: there were too many.
func (c *session) blame(why string) error {
	c.s.sent.bad.Add(1)
	c.p.bad.Add(1)
	c.mu.Lock()
	c.faults++
	n := c.faults
	c.mu.Unlock()
	if n < mostBad {
		return nil
	}
	return fault.Errorf(fault.Refused, "syncer: read", "it misbehaves: %s", clip(why, maxTrouble))
}

// drain decides about live events, one after another.
func (c *session) drain() {
	for {
		select {
		case <-c.ctx.Done():
			return
		case m := <-c.live:
			c.mu.Lock()
			asked := c.filters[m.sub]
			c.mu.Unlock()
			err := guarded(func() error { return c.takeLive(m, asked) })
			c.s.hoard.bytes.Release(m.size)
			if err != nil {
				c.fail(err)
				return
			}
		}
	}
}

// ping asks for a sign of life from time to time.
func (c *session) ping() {
	t := time.NewTicker(pingEvery)
	defer t.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-t.C:
			_ = c.line.WriteControl(websocket.PingMessage, nil, time.Time{}) // a broken line is noticed by its reader
		}
	}
}

// release gives back the memory of what nobody took. The reader and the others have ended.
func (c *session) release() {
	chans := []chan message{c.live}
	for _, ch := range c.answers {
		chans = append(chans, ch)
	}
	for _, ch := range chans {
		for len(ch) > 0 {
			c.s.hoard.bytes.Release((<-ch).size)
		}
	}
}

// send writes a message. It is called by the goroutine of work only.
func (c *session) send(parts ...any) error {
	b, err := json.Marshal(parts)
	if err != nil {
		return fault.Wrap("syncer: send", err)
	}
	stuck := time.AfterFunc(writeTime, func() {
		c.fail(fault.Errorf(fault.Internal, "syncer: send", "it has read nothing for %s", writeTime))
	})
	defer stuck.Stop()
	if err := c.line.WriteMessage(websocket.TextMessage, b); err != nil {
		return c.ended(err)
	}
	return nil
}

// pace keeps requests apart once there were many: peers count them.
func (c *session) pace() error {
	if c.requests++; c.requests <= freeRequests {
		return nil
	}
	t := time.NewTimer(requestPause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
}

// name returns a subscription id that was not used yet.
func (c *session) name(first string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.subs++
	return first + strconv.Itoa(c.subs)
}

// findRoots returns the threads about w's repositories that are served here, the newest first.
func (c *session) findRoots(w want) ([]grasp.EventID, error) {
	type root struct {
		id grasp.EventID
		at int64
	}
	var list []root
	seen := map[grasp.EventID]struct{}{}
	for _, f := range rootsOf(w.coords) {
		err := c.s.library.Keys(c.ctx, []nostr.Filter{f}, func(id grasp.EventID, at int64) bool {
			if _, twice := seen[id]; !twice && len(list) < maxRoots {
				seen[id] = struct{}{}
				list = append(list, root{id, at})
			}
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(list, func(a, b root) int {
		if a.at != b.at {
			return int(min(max(b.at-a.at, -1), 1))
		}
		return slices.Compare([]byte(a.id), []byte(b.id))
	})
	out := make([]grasp.EventID, len(list))
	for i, r := range list {
		out[i] = r.id
	}
	return out, nil
}

// maxRoots is how many threads of one peer's repositories are asked about.
const maxRoots = 100_000

package relay

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/fasthttp/websocket"
)

// read takes messages off the wire until the connection ends.
func (s *session) read() {
	defer close(s.inbox)
	cfg := &s.r.cfg
	late := func(why limit) func() {
		return func() {
			s.r.hits.add(why)
			s.cancel()
		}
	}
	idle := time.AfterFunc(cfg.Idle, late(hitIdle))
	defer idle.Stop()
	whole := time.AfterFunc(cfg.MessageTime, late(hitMessageTime))
	whole.Stop()
	defer whole.Stop()

	controls := newTokens(float64(cfg.Controls), 2*float64(cfg.Controls))
	control := func() bool {
		idle.Reset(cfg.Idle)
		if !controls.spend(cfg.Now()) {
			s.r.hits.add(hitControls)
			s.end(websocket.ClosePolicyViolation, "too many pings")
			return false
		}
		return true
	}
	s.ws.SetPingHandler(func(data string) error {
		if control() {
			s.out.answerPing(data)
		}
		return nil
	})
	s.ws.SetPongHandler(func(string) error { control(); return nil })

	small := make([]byte, 4096)
	for {
		kind, body, err := s.ws.NextReader()
		if err != nil {
			return
		}
		whole.Reset(cfg.MessageTime)
		in, err := s.readOne(body, small, func() { idle.Reset(cfg.Idle) })
		if whole.Stop(); err != nil {
			return
		}
		in.binary = kind == websocket.BinaryMessage
		s.r.n.bytesIn.Add(int64(len(in.text)))
		idle.Stop() // while the worker is behind, silence is our own doing
		if cost := wordCost + s.inflated(in.read); s.acct.read(s.ctx, cost) {
			s.r.hits.add(hitPrefixBytes)
		}
		in.taken = int64(min(len(in.text), smallMessage))
		if s.room.Acquire(s.ctx, in.taken) != nil {
			s.giveUpload(in.upload)
			return
		}
		select {
		case s.inbox <- in:
		case <-s.goodbye:
			s.release(in)
		case <-s.ctx.Done():
			s.release(in)
			return
		}
		idle.Reset(cfg.Idle)
	}
}

func (s *session) release(in incoming) {
	s.room.Release(in.taken)
	s.giveUpload(in.upload)
}

func (s *session) giveUpload(n int64) {
	if n > 0 {
		s.r.uploads.Release(n)
		s.acct.uploads.Release(n)
	}
}

// inflated returns what of n bytes the account was not asked for yet: those that were compressed
// on the wire.
func (s *session) inflated(n int) int {
	if s.r.cfg.Compression {
		return n
	}
	return 0
}

// readOne reads a message. Of one that is too large the rest is thrown away, so that the
// connection can stay (N-012), unless it is larger still by far. A message over smallMessage first
// gets a share of the memory set aside for uploads.
func (s *session) readOne(body io.Reader, chunk []byte, progress func()) (in incoming, err error) {
	most := s.r.cfg.MaxMessage
	defer func() {
		if err != nil {
			s.giveUpload(in.upload)
		}
	}()
	var b strings.Builder
	thrown, unpaid := 0, -smallMessage
	for {
		n, err := body.Read(chunk)
		if n > 0 {
			progress()
		}
		in.read += n
		if unpaid += n; unpaid >= laneBytes {
			if err := s.payBytes(unpaid); err != nil {
				return in, err
			}
			unpaid = 0
		}
		switch {
		case in.tooLarge || in.busy:
			thrown += n
		case b.Len()+n > most:
			// No answer needs more than its beginning, and others need the memory.
			in.tooLarge = true
			kept := strings.Clone(b.String()[:min(b.Len(), smallMessage)])
			b.Reset()
			b.WriteString(kept)
			s.giveUpload(in.upload)
			in.upload, thrown = 0, thrown+n
		case b.Len()+n > smallMessage && in.upload == 0:
			if in.upload = s.reserve(int64(most)); in.upload == 0 {
				in.busy = true
				break
			}
			b.Write(chunk[:n])
			chunk = make([]byte, 32<<10)
		default:
			if b.Cap()-b.Len() < n {
				b.Grow(max(n, b.Cap())) // twice as much, so that little is copied
			}
			b.Write(chunk[:n])
		}
		if err != nil && err != io.EOF {
			return in, err
		}
		if err == io.EOF || thrown > 4*most {
			in.last = err == nil
			in.text = b.String()
			break
		}
	}
	if in.upload > 0 { // keep what is used
		used := min(int64(len(in.text)), in.upload)
		s.giveUpload(in.upload - used)
		in.upload = used
	}
	return in, nil
}

// payBytes counts n bytes of a large message. Who is in the lane reads the next when there is a place.
func (s *session) payBytes(n int) error {
	cost := time.Duration(n) * largeWork
	s.acct.worked(cost)
	if !s.r.confined(s.acct) {
		return nil
	}
	return s.r.lane.pay(s.ctx, s.acct, cost)
}

// reserve waits for n bytes of memory and returns n, or 0 if there was none in time.
func (s *session) reserve(n int64) int64 {
	ctx, cancel := context.WithTimeout(s.ctx, uploadWait)
	defer cancel()
	if s.acct.uploads.Acquire(ctx, n) != nil {
		return 0
	}
	if s.r.uploads.Acquire(ctx, n) != nil {
		s.acct.uploads.Release(n)
		return 0
	}
	return n
}

package relay

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"
	"golang.org/x/sync/semaphore"

	"github.com/gitroost/gitroost/grasp"
)

const (
	maxInbox     = 64       // messages of one connection that wait for the worker
	longMessage  = 32 << 10 // bytes of a message that is parsed in its turn
	smallMessage = 64 << 10 // bytes that are read without asking for a share of MaxUploads
	uploadWait   = 20 * time.Second
	byeTime      = 3 * time.Second // for the client to answer our close frame
)

// A session is one connection.
type session struct {
	r      *Relay
	ws     *websocket.Conn
	wire   *metered // under ws
	prefix string
	acct   *account // shared with the other connections of its network
	out    *queue

	// ctx ends with the connection; cancel closes it.
	ctx    context.Context
	cancel context.CancelFunc

	inbox   chan incoming
	room    *semaphore.Weighted // bytes of messages not yet answered
	goodbye chan struct{}       // closed when the house shuts down
	once    sync.Once           // guards goodbye
	slow    atomic.Bool         // given up because it does not read
	ended   atomic.Bool         // a close frame is queued; nothing is answered any more

	// What follows belongs to the worker.
	policy    policy
	challenge string
	authed    map[grasp.PubKey]struct{}
	subs      map[string]*subscription
	recs      map[string]*reconciliation
	expired   chan expiry // reconciliations of which nothing was heard
	weight    int64
	events    tokens
	requests  tokens
	bad       int // wrong signatures so far

	// fresh are the subscriptions that still remember what they were sent from the store.
	// out.mu guards it.
	fresh []*subscription
}

// incoming is one message as it came off the wire.
type incoming struct {
	text     string
	binary   bool
	tooLarge bool // text is only its beginning
	last     bool // nothing can be read after it
	busy     bool // there was no memory for it
	read     int  // bytes of it, the discarded ones too
	taken    int64
	upload   int64
}

func (r *Relay) newSession(ws *websocket.Conn, wire *metered, req *http.Request, acct *account) *session {
	var challenge [16]byte
	rand.Read(challenge[:])
	s := &session{
		r:         r,
		ws:        ws,
		wire:      wire,
		prefix:    acct.prefix,
		acct:      acct,
		out:       newQueue(r.cfg.QueueBytes+max(r.cfg.MaxStateEvent, r.cfg.MaxEvent), r.cfg.QueueLength, &r.queued, acct),
		inbox:     make(chan incoming, maxInbox),
		room:      semaphore.NewWeighted(smallMessage),
		goodbye:   make(chan struct{}),
		challenge: hex.EncodeToString(challenge[:]),
		subs:      make(map[string]*subscription),
		recs:      make(map[string]*reconciliation),
		expired:   make(chan expiry),
		events:    newTokens(float64(r.cfg.EventsPerMinute)/60, float64(r.cfg.EventBurst)),
		requests:  newTokens(float64(r.cfg.RequestsPerSecond), float64(r.cfg.RequestBurst)),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.policy = newPolicy(s, req)
	return s
}

// run lives as long as the connection, and a little longer: events that had arrived whole are
// still received.
func (s *session) run() {
	defer s.r.leave(s, s.acct)
	// Closing a TLS connection may take seconds, so it is nobody's job who is waited for.
	stop := context.AfterFunc(s.ctx, func() {
		if s.slow.Load() {
			s.reset()
		}
		s.ws.Close()
	})
	defer stop()
	var wg sync.WaitGroup
	wg.Go(s.work)
	wg.Go(s.write)
	s.read()
	s.cancel()
	s.out.discard()
	wg.Wait()
	s.ws.Close()
	if s.slow.Load() {
		s.r.log.Info("a client that does not read was given up", "prefix", s.prefix)
	}
}

// reset makes closing throw away what the kernel still holds for a client that does not take it.
func (s *session) reset() {
	c := s.ws.NetConn()
	for range 4 { // ours, and TLS
		t, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		c = t.NetConn()
	}
	if t, ok := c.(interface{ SetLinger(sec int) error }); ok {
		t.SetLinger(0)
	}
}

// sayGoodbye asks the worker to end after the message at hand. It does not wait.
func (s *session) sayGoodbye() { s.once.Do(func() { close(s.goodbye) }) }

// end sends what is queued, then a close frame; the connection closes soon after.
func (s *session) end(code int, text string) {
	s.ended.Store(true)
	s.out.close(websocket.FormatCloseMessage(code, text))
}

// giveUp closes the connection of a client that does not read. It does not wait. why is the bound
// that was met.
func (s *session) giveUp(why limit) {
	if s.slow.CompareAndSwap(false, true) {
		s.r.hits.add(why)
		s.r.n.slow.Add(1)
		s.cancel()
	}
}

// work answers messages, one after another.
func (s *session) work() {
	s.policy.connected()
	defer func() {
		for id := range s.subs {
			s.drop(id)
		}
		for _, rec := range s.recs {
			s.dropNeg(rec)
		}
		s.policy.disconnected()
	}()
	for {
		select {
		case <-s.goodbye:
			s.end(websocket.CloseGoingAway, "server is shutting down")
			// The reader may still be handing over; what it brings is thrown away.
			for in := range s.inbox {
				s.release(in)
			}
			return
		case x := <-s.expired:
			if !s.ended.Load() {
				s.expire(x)
			}
		case in, ok := <-s.inbox:
			if !ok {
				return
			}
			if !s.ended.Load() {
				s.handle(in)
			}
			s.release(in)
		}
	}
}

// handle answers one message.
func (s *session) handle(in incoming) {
	defer func() {
		if p := recover(); p != nil {
			s.r.log.Error("relay: panic while answering", "panic", p, "stack", string(debug.Stack()))
			s.end(websocket.CloseInternalServerErr, "internal error")
		}
	}()
	limit := strconv.Itoa(s.r.cfg.MaxMessage)
	switch {
	case in.busy:
		s.r.hits.add(hitUploads)
		s.unread(in.text, "rate-limited: too many large messages at once, try again")
	case in.tooLarge:
		s.r.hits.add(hitMessage)
		s.unread(in.text, "invalid: message is larger than "+limit+" bytes")
	case in.binary:
		s.notice("invalid: messages are text, not binary")
	default:
		m, ok := s.parse(in.text)
		if !ok {
			return
		}
		s.dispatch(m)
	}
	if in.last {
		s.end(websocket.CloseMessageTooBig, "message is larger than "+limit+" bytes")
	}
}

// parse reads a message. A large one waits for its turn first, for it takes as long as many
// signatures; so does every one of who is in the lane. ok is false if the connection has ended.
func (s *session) parse(text string) (m message, ok bool) {
	s.greet(len(text))
	switch {
	case s.r.confined(s.acct):
		turn, err := s.r.lane.enter(s.ctx, s.acct)
		if err != nil {
			return m, false
		}
		defer s.r.lane.leave(turn)
	case len(text) > longMessage:
		turn, err := s.r.verify.take(s.ctx, s.acct, false)
		if err != nil {
			return m, false
		}
		defer turn.release()
	}
	return parseMessage(text, s.r.bounds), true
}

// unread answers a message of which only the beginning was kept: an EVENT by its OK if its id is
// in there (N-003), anything else by a NOTICE (N-012).
func (s *session) unread(beginning, why string) {
	id, ok := findID(beginning)
	if ok && strings.Contains(beginning[:min(len(beginning), 64)], `"EVENT"`) {
		s.answer(id, false, why)
		return
	}
	s.notice(why)
}

func (s *session) dispatch(m message) {
	if m.over != noLimit {
		s.r.hits.add(m.over)
	}
	if m.fail != "" {
		s.notice("invalid: " + m.fail)
		if m.verb != "EVENT" || !m.hasID {
			return
		}
	}
	if m.isNeg() && s.r.recs.keys != nil {
		s.onNeg(m)
		return
	}
	switch m.verb {
	case "EVENT":
		s.onEvent(m)
	case "REQ":
		s.onReq(m)
	case "COUNT":
		s.onCount(m)
	case "CLOSE":
		if !s.badSub(m) {
			s.drop(m.sub)
		}
	case "AUTH":
		s.onAuth(m)
	case "":
		s.notice(or(m.odd, "invalid: a message is a list that begins with its type"))
	default:
		s.notice("unsupported: message type " + strconv.Quote(m.verb[:min(len(m.verb), 32)]))
	}
}

// reply queues an answer, waiting while the client reads more slowly than it asks.
func (s *session) reply(it item) {
	s.waitRoom()
	if why := s.out.put(it); why != noLimit {
		s.giveUp(why)
	}
}

func (s *session) notice(text string) {
	s.r.n.notices.Add(1)
	s.reply(item{head: say("NOTICE", text)})
}

func (s *session) answer(id string, ok bool, text string) {
	if !ok {
		s.r.n.eventsRefused.Add(1)
	}
	s.reply(item{head: sayOK(id, ok, text)})
}

// write empties the queue and sends pings. It is the only one to write to the connection, but
// for the library's answer to a close frame.
func (s *session) write() {
	cfg := &s.r.cfg
	ping := time.NewTicker(cfg.PingEvery)
	defer ping.Stop()
	stuck := time.AfterFunc(cfg.WriteTime, func() {
		s.r.hits.add(hitWriteTime)
		s.cancel()
	})
	stuck.Stop()
	defer stuck.Stop()
	send := func(kind int, data []byte) bool {
		stuck.Reset(cfg.WriteTime)
		var err error
		if kind == websocket.TextMessage {
			err = s.ws.WriteMessage(kind, data)
		} else {
			err = s.ws.WriteControl(kind, data, time.Time{})
		}
		if err != nil {
			s.cancel()
		}
		return err == nil
	}
	var scratch []byte
	last, holding, live := 0, false, 0
	for {
		it, ok := s.out.take(last)
		last = 0
		pong, bye := s.out.control()
		if pong != nil && !send(websocket.PongMessage, pong) {
			return
		}
		if ok {
			if !holding {
				s.wire.hold()
				holding = true
			}
			last = it.size()
			data := it.head
			if it.body != nil { // one frame: not every client puts fragments together
				scratch = append(append(append(scratch[:0], it.head...), it.body...), ']')
				data = scratch
			}
			if !send(websocket.TextMessage, data) {
				return
			}
			s.r.n.bytesOut.Add(int64(last))
			if it.live {
				live++
			}
			if cap(scratch) > smallMessage {
				scratch = nil
			}
			continue
		}
		if holding { // nothing is left: off with it
			holding = false
			err := s.wire.release()
			if live > 0 {
				s.acct.worked(flushWork + time.Duration(live)*tellWork)
				live = 0
			}
			if stuck.Stop(); err != nil {
				s.cancel()
				return
			}
			continue // more may have come
		}
		if s.out.heard() {
			continue // what came until now has woken nobody
		}
		stuck.Stop()
		if bye != nil {
			if send(websocket.CloseMessage, bye) {
				time.AfterFunc(byeTime, s.cancel)
			}
			return
		}
		select {
		case <-s.out.wake:
		case <-ping.C:
			s.forget()
			if !send(websocket.PingMessage, nil) {
				return
			}
		case <-s.ctx.Done():
			return
		}
	}
}

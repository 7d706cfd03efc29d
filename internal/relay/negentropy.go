package relay

import (
	"context"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/negentropy"
)

// A Keyer names what is served. A Reader that is one as well makes the relay speak NIP-77.
type Keyer interface {
	// Keys calls each with the id and created_at of the served events that match at least one of
	// fs, every one once, until each returns false. Of a filter with a limit it is the newest.
	// Waiting events are none of its answers (N-045). It returns once ctx is done.
	Keys(ctx context.Context, fs []nostr.Filter, each func(id grasp.EventID, at int64) bool) error
}

const (
	negLoads = 2    // sets that are being put together at once, in all
	negStep  = 1024 // records for which room is asked at a time
)

// A reconciliation lives from its NEG-OPEN to its NEG-CLOSE or NEG-ERR. What was served when it
// was opened is what it speaks of (N-043).
type reconciliation struct {
	id    string
	set   *negentropy.Set
	held  int // records, as the house counts them
	turn  int // how often the client spoke
	timer *time.Timer
}

// An expiry says that nothing followed turn for too long.
type expiry struct {
	rec  *reconciliation
	turn int
}

// reconciliations counts what is open in the whole house. One network gets half of it at most.
type reconciliations struct {
	keys         Keyer // nil: NIP-77 is not spoken
	loads        *turns
	most         negCount
	mostOfPrefix negCount

	// mu guards the rest.
	mu       sync.Mutex
	now      negCount
	byPrefix map[string]negCount
}

type negCount struct{ open, records int }

func newReconciliations(cfg Config, reader Reader, loads *turns) *reconciliations {
	keys, _ := reader.(Keyer)
	if cfg.NoNegentropy {
		keys = nil
	}
	return &reconciliations{
		keys:         keys,
		loads:        loads,
		most:         negCount{cfg.MaxAllNegSessions, cfg.MaxAllNegRecords},
		mostOfPrefix: negCount{(cfg.MaxAllNegSessions + 1) / 2, max((cfg.MaxAllNegRecords+1)/2, cfg.MaxNegRecords)},
		byPrefix:     make(map[string]negCount),
	}
}

func (c negCount) plus(d negCount) negCount { return negCount{c.open + d.open, c.records + d.records} }

func (c negCount) within(most negCount) bool {
	return c.open <= most.open && c.records <= most.records
}

// take reports whether there was room for d.
func (n *reconciliations) take(prefix string, d negCount) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	all, ours := n.now.plus(d), n.byPrefix[prefix].plus(d)
	if !all.within(n.most) || prefix != "" && !ours.within(n.mostOfPrefix) {
		return false
	}
	n.now, n.byPrefix[prefix] = all, ours
	return true
}

func (n *reconciliations) giveBack(prefix string, d negCount) {
	n.mu.Lock()
	defer n.mu.Unlock()
	d = negCount{-d.open, -d.records}
	n.now = n.now.plus(d)
	ours := n.byPrefix[prefix].plus(d)
	n.byPrefix[prefix] = ours
	if ours == (negCount{}) {
		delete(n.byPrefix, prefix)
	}
}

func (n *reconciliations) count() negCount {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.now
}

// negErr refuses or ends a reconciliation.
func (s *session) negErr(id, why string) {
	s.reply(item{head: say("NEG-ERR", id, why)})
}

// declined answers a message that bears a subscription id with why it is not taken up.
func (s *session) declined(m message, why string) {
	if strings.HasPrefix(m.verb, "NEG-") {
		s.negErr(m.sub, why)
		return
	}
	s.closed(m.sub, why)
}

// dropNeg ends a reconciliation silently. It may be nil.
func (s *session) dropNeg(rec *reconciliation) {
	if rec == nil {
		return
	}
	rec.timer.Stop()
	delete(s.recs, rec.id)
	s.r.recs.giveBack(s.prefix, negCount{1, rec.held})
}

func (s *session) onNeg(m message) {
	if s.badSub(m) || s.ctx.Err() != nil {
		return
	}
	rec := s.recs[m.sub]
	switch {
	case m.verb == "NEG-CLOSE":
		s.dropNeg(rec)
		return
	case m.verb == "NEG-OPEN":
		s.dropNeg(rec) // an id that is used again means the new one, even if that is refused
	case rec == nil:
		s.negErr(m.sub, "closed: no such reconciliation is open")
		return
	}
	why := m.odd
	if m.verb == "NEG-OPEN" {
		why = s.refuse(m)
	}
	msg, err := hex.DecodeString(m.neg)
	if why == "" && err != nil {
		why = "invalid: the message is not hex"
	}
	if why == "" && m.verb == "NEG-OPEN" {
		rec, why = s.openNeg(strings.Clone(m.sub), m.filters)
	}
	if why == "" {
		why = s.answerNeg(rec, msg)
	}
	if s.ctx.Err() == nil && why != "" {
		s.dropNeg(s.recs[m.sub])
		s.negErr(m.sub, why)
	}
}

// answerNeg answers one message. It returns "" or why the reconciliation must end.
func (s *session) answerNeg(rec *reconciliation, msg []byte) string {
	rec.timer.Stop()
	var text []byte
	var err error
	if s.toil(func() {
		var answer []byte
		if answer, err = rec.set.Answer(msg, s.r.cfg.NegFrame); err == nil {
			text = say("NEG-MSG", rec.id, hex.EncodeToString(answer))
		}
	}) != nil {
		return "closed: the connection has ended"
	}
	if err != nil {
		text, _ := fault.Message(err)
		return "invalid: " + text
	}
	s.reply(item{head: text})
	rec.turn++
	x := expiry{rec, rec.turn}
	rec.timer = time.AfterFunc(s.r.cfg.NegIdle, func() {
		select {
		case s.expired <- x:
		case <-s.ctx.Done():
		}
	})
	return ""
}

// expire ends a reconciliation of which nothing was heard, unless something was after all.
func (s *session) expire(x expiry) {
	if s.recs[x.rec.id] != x.rec || x.rec.turn != x.turn {
		return
	}
	s.r.hits.add(hitNegIdle)
	s.dropNeg(x.rec)
	s.negErr(x.rec.id, "closed: nothing was heard for "+s.r.cfg.NegIdle.String())
}

// openNeg puts together what is served and matches fs. It returns why that cannot be, or "".
func (s *session) openNeg(id string, fs []nostr.Filter) (*reconciliation, string) {
	cfg, house := &s.r.cfg, s.r.recs
	if len(s.recs) >= cfg.MaxNegSessions {
		s.limited(hitNegSessions)
		return nil, "blocked: more than " + strconv.Itoa(cfg.MaxNegSessions) + " reconciliations on one connection"
	}
	if !house.take(s.prefix, negCount{open: 1}) {
		s.limited(hitAllNegSessions)
		return nil, "blocked: too many reconciliations are open here, try again later"
	}
	s.r.n.negentropies.Add(1)
	rec := &reconciliation{id: id, timer: time.NewTimer(cfg.NegIdle)}
	rec.timer.Stop()
	s.recs[id] = rec
	var items []negentropy.Item
	why := ""
	each := func(id grasp.EventID, at int64) bool {
		switch {
		case len(items) == cfg.MaxNegRecords:
			s.r.hits.add(hitNegRecords)
			why = "blocked: this query is too big, more than " + strconv.Itoa(cfg.MaxNegRecords) + " records match"
		case len(items) == rec.held:
			if n := min(negStep, cfg.MaxNegRecords-rec.held); house.take(s.prefix, negCount{records: n}) {
				rec.held += n
				break
			}
			s.limited(hitAllNegRecords)
			why = "blocked: too many records are being reconciled here, try again later or ask for less"
		}
		if why != "" {
			return false
		}
		items = append(items, negentropy.Item{At: uint64(max(at, 0)), ID: negentropy.ID(keyOf(string(id)))})
		return true
	}
	if f := &fs[0]; !never(f) && !f.LimitZero {
		left := cfg.NegTime
		err := s.askOnce(house.loads, s.r.bulky(s.acct), false, &left, func(ctx context.Context) error { return house.keys.Keys(ctx, fs, each) })
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			s.r.hits.add(hitNegTime)
			why = "blocked: this query is too big, it takes longer than " + cfg.NegTime.String()
		case err != nil:
			why = s.tell(err, nil)
		}
	}
	if why != "" {
		return nil, why
	}
	house.giveBack(s.prefix, negCount{records: rec.held - len(items)})
	rec.held = len(items)
	if err := s.toil(func() { rec.set = negentropy.NewSet(items) }); err != nil {
		return nil, "closed: the connection has ended"
	}
	return rec, ""
}

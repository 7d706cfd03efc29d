package relay

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	othersStay = time.Second      // after its last message somebody counts as being here
	stepTime   = time.Millisecond // of long work, after which others may go first
	leastRest  = stepTime         // shorter ones are saved up, for timers are no more exact
	longRest   = 50 * time.Millisecond

	// What is counted for work that is not measured.
	wordWork     = 20 * time.Microsecond  // to read, parse and answer a message
	byteWork     = 2 * time.Nanosecond    // for each of its bytes
	largeWork    = 5 * time.Nanosecond    // for each byte of what is larger than smallMessage
	connectWork  = 200 * time.Microsecond // a handshake and its session
	tellWork     = 2 * time.Microsecond   // to send an event
	flushWork    = 20 * time.Microsecond  // to wake a writer for live ones, and to write
	announceWork = 2 * time.Millisecond   // to decide about a repository, and to write it down

	laneBytes = 32 << 10 // of a large message that are read at a time by who is in the lane
)

// A lane is where those work who had more processor time lately than a visitor needs, as long as others
// are here: one after another, in steps of a millisecond, with rests between them. However many there are
// and whatever they ask for, they have together the part of one core that is theirs, and the other cores
// have nothing to do with them. Who has used the lane least goes first. Where nobody else is here they
// need not come.
//
// A place in the lane is never held by who waits for a client, for the disk or for the database.
type lane struct {
	turns *turns
	rests float64 // for each second of work
	now   func() time.Time

	seen  atomic.Int64 // when somebody who need not be here was last served, in Unix nanoseconds
	doors atomic.Int64 // how many are being served by other doors

	// mu guards the rest.
	mu     sync.Mutex
	owed   time.Duration // rests that were too short to be taken
	stress float64       // how long a second of processor time takes, about; at least 1
}

// newLane returns a lane for percent of one core, which is at least 1.
func newLane(percent int, now func() time.Time) *lane {
	l := &lane{turns: newTurns(1, now), rests: float64(100-min(percent, 100)) / float64(percent), now: now, stress: 1}
	l.turns.had = (*account).strolled
	return l
}

// others reports whether somebody is here who should not wait.
func (l *lane) others() bool {
	return l.doors.Load() > 0 || l.now().UnixNano()-l.seen.Load() < int64(othersStay)
}

// enter waits for the lane. The error is ctx's.
func (l *lane) enter(ctx context.Context, a *account) (*turn, error) {
	return l.turns.take(ctx, a, false)
}

// leave gives the lane back after the rest that is due. It does not wait for it.
func (l *lane) leave(w *turn) { l.part(w, l.now().Sub(w.start)) }

// part is leave after work that took so long.
func (l *lane) part(w *turn, took time.Duration) {
	w.a.stroll(took)
	rest := l.rest(took)
	if rest == 0 {
		w.release()
		return
	}
	time.AfterFunc(rest, w.release)
}

// rest returns how long nobody is to be in the lane after so much work.
func (l *lane) rest(took time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.owed += time.Duration(float64(max(took, 0)) * l.rests)
	if l.owed < leastRest {
		return 0
	}
	rest := min(l.owed, longRest)
	l.owed = 0
	return rest
}

// pay waits for the lane because of work that is done, or will be, elsewhere, and is to take so much
// processor time: it is only made to keep its distance. The error is ctx's.
func (l *lane) pay(ctx context.Context, a *account, cost time.Duration) error {
	w, err := l.enter(ctx, a)
	if err != nil {
		return err
	}
	l.mu.Lock()
	took := time.Duration(float64(cost) * l.stress)
	l.mu.Unlock()
	l.part(w, took)
	return nil
}

// feel is told how long work took that waited for nothing but a processor, and what it had of one.
func (l *lane) feel(passed, spent time.Duration) {
	if spent <= 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	is := min(max(float64(passed)/float64(spent), 1), mostStress)
	l.stress += (is - l.stress) / 32
}

// mostStress bounds what one unlucky moment can mean.
const mostStress = 20

// Beside tells that another door serves somebody, until done is called: then those who had more than
// their part make room. It may be called at any time and costs next to nothing.
func (r *Relay) Beside() (done func()) {
	r.lane.doors.Add(1)
	return sync.OnceFunc(func() {
		r.lane.seen.Store(r.cfg.Now().UnixNano())
		r.lane.doors.Add(-1)
	})
}

// aside reports whether a had more than a visitor needs while others are here.
func (r *Relay) aside(a *account) bool { return a.greedy() && r.lane.others() }

// confined reports whether a has to work in the lane, and counts that it does.
func (r *Relay) confined(a *account) bool {
	if !r.aside(a) {
		return false
	}
	r.hits.add(hitLightWork)
	return true
}

// greet counts a message of so many bytes, and notes that somebody is here if its network is none that
// others have to be spared from.
func (s *session) greet(bytes int) {
	s.acct.worked(wordWork + time.Duration(bytes)*byteWork)
	if !s.acct.greedy() {
		s.r.lane.seen.Store(s.r.cfg.Now().UnixNano())
	}
}

// prove waits for the turn to check a signature: among the others, or in the lane. done gives it back. An
// event outlives its connection, unless it would have to wait for the lane: nobody was promised anything
// yet, and what many left behind would fill the lane when they are long gone.
func (s *session) prove() (done func(), err error) {
	r, a := s.r, s.acct
	if !r.confined(a) {
		turn, err := r.verify.takeBriefly(r.work, a)
		if err != nil {
			return nil, err
		}
		watch := r.cfg.start()
		return func() {
			spent := watch.stop()
			turn.release()
			a.worked(spent)
			r.lane.feel(watch.passed, spent)
		}, nil
	}
	turn, err := r.lane.enter(s.ctx, a)
	if err != nil {
		return nil, err
	}
	watch := r.cfg.start()
	return func() { a.worked(watch.stop()); r.lane.leave(turn) }, nil
}

// bulky reports whether work of a that nobody waits for at a screen, such as comparing everything, has
// to be done in the lane, whoever asks for it.
func (r *Relay) bulky(a *account) bool { return a.prefix != "" && r.lane.others() }

// toil does f, which is bulky and waits for nobody, in the lane if it must be. The error is that of
// the session's context; then f was not called.
func (s *session) toil(f func()) error {
	if s.r.bulky(s.acct) {
		turn, err := s.r.lane.enter(s.ctx, s.acct)
		if err != nil {
			return err
		}
		defer s.r.lane.leave(turn)
	}
	watch := s.r.cfg.start()
	defer func() { s.acct.worked(watch.stop()) }()
	f()
	return nil
}

// A pacer counts what one long piece of work costs while it is done, and has it make room for others.
// It belongs to the goroutine that works.
type pacer struct {
	r      *Relay
	acct   *account
	ctx    context.Context
	watch  stopwatch
	left   time.Duration // of the work that is allowed
	lane   *turn         // the place in the lane, if it has one
	slow   bool          // it comes back into the lane after each step
	demote func()        // ends work that must go on in the slow line; nil: it need not
	expire func()        // ends work that took too long
}

// step is called when a step of the work is done. It waits while others go first.
func (p *pacer) step() {
	if p.r.cfg.Now().Sub(p.watch.at) < stepTime {
		return
	}
	p.count(p.watch.lap())
	if p.ctx.Err() != nil {
		return // the work notices
	}
	switch {
	case p.slow:
		p.rest()
		if !p.r.lane.others() {
			return
		}
		if w, err := p.r.lane.enter(p.ctx, p.acct); err == nil {
			p.lane = w
		}
		p.watch.lap() // nothing was done meanwhile
	case p.demote != nil && p.r.aside(p.acct):
		p.demote()
	}
}

// count holds what a step took against the account and the work.
func (p *pacer) count(took time.Duration) {
	p.acct.worked(took)
	if p.left -= took; p.left < 0 {
		p.expire()
	}
}

// rest leaves the lane.
func (p *pacer) rest() {
	if p.lane != nil {
		p.r.lane.leave(p.lane)
		p.lane = nil
	}
}

// end is called when the work is done.
func (p *pacer) end() {
	p.count(p.watch.stop())
	p.rest()
}

package store

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/steward"
)

// A request is a change on its way to the writer.
type request struct {
	plan  *plan
	state atomic.Int32 // queued, then either taken by the writer or left by its owner

	receipt steward.Receipt // these two are the owner's once done is closed
	err     error
	done    chan struct{}
	waiting int64  // by how much the number of waiting events changes
	lesson  lesson // what it means for what is remembered
	boxes   bool   // placeholders in boxes came or went
	more    bool   // of a plan that catches up: it was not the last
}

const (
	queued int32 = iota
	taken
	left
)

// Commit writes the whole of c or nothing, and returns once it is on disk (N-003, G01-405). While
// c is queued the end of ctx takes it back; once the writer has it, Commit waits for the outcome.
//
// If c.Put is Duplicate or Stale, nothing of c is written. A waiting announcement is also Stale
// against a waiting version that is newer (G01-108), and any waiting event against a served one
// that is. If a tombstone covers c.Put that is a fault.Refused (N-033); the tombs of c itself do
// not touch c.Put. What does not parse is a fault.Invalid, a full disk a fault.Busy.
func (s *Store) Commit(ctx context.Context, c steward.Change) (steward.Receipt, error) {
	const op = "store: commit"
	plan, err := prepare(c)
	if err != nil {
		return steward.Receipt{}, fault.Wrap(op, err)
	}
	req := &request{plan: plan, done: make(chan struct{})}
	if err := s.enqueue(ctx, req); err != nil {
		return steward.Receipt{}, fault.Wrap(op, err)
	}
	select {
	case <-req.done:
	case <-ctx.Done():
		if req.state.CompareAndSwap(queued, left) {
			return steward.Receipt{}, fault.Wrap(op, ctx.Err())
		}
		<-req.done
	}
	if req.err == nil && len(c.Jobs) > 0 {
		// Programs that start shall not take the processor from the answer to a push.
		time.AfterFunc(tellAfter, s.signalJobs)
	}
	return req.receipt, req.err
}

func (s *Store) enqueue(ctx context.Context, req *request) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return errClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	queue := s.queue
	if req.plan.plain {
		queue = s.light
	}
	select {
	case queue <- req:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errClosed = fault.E(fault.Closing, "store", "the store is closed")

// maxHeavy is how many changes that take the direct way are in one transaction: each takes as long as a
// dozen events that are laid on the tray, and these shall not wait for hundreds of strangers' repositories.
const maxHeavy = 32

// write is the goroutine of the writer. It ends when the queues were closed and are empty.
func (s *Store) write() {
	defer close(s.done)
	var batch []*request
	take := func(req *request) {
		if req.state.CompareAndSwap(queued, taken) {
			batch = append(batch, req)
		}
	}
	light, heavy := s.light, s.queue // nil when closed and empty
	busy := false                    // since the last Rest
	company := false                 // in the last batch
	lot := fileSome                  // how many events are filed next while nobody writes
	idle := time.NewTimer(fileAfter)
	defer idle.Stop()
	for light != nil || heavy != nil {
		batch = batch[:0]
		select {
		case req, ok := <-light:
			if !ok {
				light = nil
				continue
			}
			take(req)
		case req, ok := <-heavy:
			if !ok {
				heavy = nil
				continue
			}
			take(req)
		case <-s.rested:
			if !busy && s.tray.len() == 0 {
				_, _ = s.writer.conn.ExecContext(context.Background(), shrink) // if it fails nothing is lost
			}
			busy = false
			continue
		case <-idle.C:
			switch {
			case s.writer.laidDown > 0:
				if err := s.settleJobs(); err != nil {
					s.cfg.Log.Warn("store: jobs that were laid down cannot be put in their places yet", "err", err)
					idle.Reset(fileRetry)
				} else {
					idle.Reset(time.Millisecond)
				}
			case s.tray.len() == 0:
			case !s.fileNow(lot):
				idle.Reset(fileRetry)
			default:
				lot = min(2*lot, fileMany)
				idle.Reset(time.Millisecond) // others first, if there are any
			}
			continue
		}
		// Nothing waits for company: while one batch is synced the next one gathers. But where several came
		// together the last time, who can go on at this moment, and may be about to bring something, goes first:
		// each transaction costs a sync.
		if company {
			runtime.Gosched()
		}
		gather(light, s.cfg.Batch-len(batch), take)
		gather(heavy, min(maxHeavy, s.cfg.Batch-len(batch)), take)
		busy, company = true, len(batch) > 1
		s.writeBatch(batch)
		for _, req := range batch {
			if req.err != nil {
				req.receipt = steward.Receipt{}
				req.err = told("store: commit", req.err)
			} else {
				s.waiting.Add(req.waiting)
			}
			close(req.done)
		}
		clear(batch)
		if s.tray.full() { // faster than it was filled
			s.fileNow(max(fileMany, 2*s.cfg.Batch))
		}
		lot = fileSome
		idle.Reset(fileAfter)
	}
	for s.tray.len() > 0 && s.fileNow(fileMany) {
	}
}

// gather takes up to n requests that wait.
func gather(queue <-chan *request, n int, take func(*request)) {
	for range n {
		select {
		case req, ok := <-queue:
			if !ok {
				return // whoever waits for more will notice
			}
			take(req)
		default:
			return
		}
	}
}

// writeBatch writes all of batch in one transaction. If a change fails, or the transaction does,
// nothing is written, and each is tried again in a transaction of its own: then one that cannot be
// written is not the others' business. (SQLite may end a transaction by itself when a statement
// fails, so a savepoint would be no safe place to go back to.)
func (s *Store) writeBatch(batch []*request) {
	if len(batch) == 0 {
		return
	}
	err := s.commit(batch)
	if err == nil {
		return
	}
	s.recall.forget()
	if len(batch) == 1 || hopeless(err) {
		if hopeless(err) {
			s.cfg.Log.Error("store: cannot write", "err", err)
		}
		for _, req := range batch {
			req.err = err
		}
		return
	}
	for i := range batch {
		s.writeBatch(batch[i : i+1])
	}
}

// commit writes all of batch in one transaction, or nothing, and tells what it means to those who
// keep something in memory.
func (s *Store) commit(batch []*request) error {
	defer s.writer.told()
	// What is only filed is on disk already: after a power cut it is on the tray as before, and
	// whatever is synced next syncs this first.
	if err := s.writer.sync(len(batch) > 1 || batch[0].plan.file == 0); err != nil {
		return err
	}
	if err := s.writer.transaction(batch); err != nil {
		return err
	}
	s.written(batch)
	s.intake.Store(int64(s.writer.laidDown))
	boxes := false
	for _, req := range batch {
		if req.err == nil {
			s.tray.add(req.lesson.laid)
			s.recall.learn(req.lesson)
			s.jobEnds.add(req.lesson.ended)
			boxes = boxes || req.boxes
		}
		s.tray.take(req.lesson.filed)
	}
	if boxes {
		if err := s.countBoxes(); err != nil {
			s.cfg.Log.Warn("store: cannot count what waits in boxes", "err", err)
		}
	}
	return nil
}

// A writer is the one connection that writes.
type writer struct {
	prepared
	cfg    *Config
	tray   *tray
	recall *recall
	lax    bool // transactions are not synced one by one

	// How many jobs are laid down, at most: on disk, and as the transaction at hand has it.
	laidDown, intake int

	// What the transaction at hand does with the tray. laid is nil for what was filed since.
	laid      map[id32]*trayed
	laidBytes int
	filed     map[*trayed]bool
	turning   bool // others may see what was filed, and it is on the tray as well
}

// tell says that what the transaction did is about to be seen; told, that those who keep something in
// memory know of it.
func (w *writer) tell(batch []*request) {
	ahead := make(map[steward.Charge]struct{})
	for _, req := range batch {
		for _, c := range req.lesson.counted {
			ahead[c] = struct{}{}
		}
	}
	w.recall.lag(ahead)
	if len(w.filed) > 0 {
		w.tray.begin()
		w.turning = true
	}
}

func (w *writer) told() {
	if w.turning {
		w.tray.end()
	}
	w.turning = false
	w.recall.lag(nil)
}

// sync says whether the next transactions are to be on disk when they end.
func (w *writer) sync(on bool) error {
	if on != w.lax {
		return nil
	}
	text := "PRAGMA synchronous = NORMAL"
	if on {
		text = "PRAGMA synchronous = FULL"
	}
	// It takes effect when it is compiled, not when it runs: a prepared one would do nothing.
	if _, err := w.conn.ExecContext(context.Background(), text); err != nil {
		return err
	}
	w.lax = !on
	return nil
}

// transaction applies every change of batch and syncs them to disk. An error means that none
// was written. A change that the rules turn down has its err set and has written nothing; that
// is no error of the transaction.
func (w *writer) transaction(batch []*request) (err error) {
	ctx := context.Background() // whoever waits is not the only one
	if err := w.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		// Should the last transaction never have ended, it ends here, for the next try.
		_ = w.exec(ctx, "ROLLBACK")
		return err
	}
	defer func() {
		if err != nil {
			// If SQLite has rolled back already this fails, which is what we want.
			_ = w.exec(ctx, "ROLLBACK")
		}
	}()
	w.intake = w.laidDown
	w.laid, w.laidBytes, w.filed = make(map[id32]*trayed), 0, make(map[*trayed]bool)
	counts := make(map[steward.Charge]int)
	for _, req := range batch {
		a := applier{writer: w, ctx: ctx, counts: counts}
		req.err, req.lesson = nil, lesson{}
		if err := a.apply(req.plan); err != nil {
			if resultCode(err) == 0 && fault.Is(err, fault.Refused) {
				// It has written nothing of its own; but what it might have removed was filed.
				req.err, req.lesson.filed = err, a.lesson.filed
				continue
			}
			return err
		}
		req.receipt, req.waiting, req.lesson, req.boxes, req.more = a.receipt, a.waiting, a.lesson, a.boxes, a.more
	}
	if err = w.tally(ctx, counts); err != nil {
		return err
	}
	w.tell(batch)
	if err = w.exec(ctx, "COMMIT"); err == nil {
		w.laidDown = w.intake
	}
	return err
}

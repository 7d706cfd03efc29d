package githttp

import (
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
)

// slots bound how many do the same thing at once. Who comes when all are taken waits in a short
// queue, one for each network, and the networks take turns: somebody who asks for a hundred packs
// does not stand before somebody who asks for one. No repository and no network may have all slots
// (hardening §2, §12).
type slots struct {
	max   int // at once
	share int // of these, for one repository and for one network
	queue int // who may wait, in all; a quarter of it from one network
	wait  time.Duration

	mu      sync.Mutex
	used    int
	byRepo  map[string]int
	byNet   map[string]int
	lines   list.List // of *line: the networks that wait, the one whose turn it is in front
	line    map[string]*list.Element
	waiting int
}

// A line is who waits from one network, first come first.
type line struct {
	net     string
	waiters list.List // of *waiter
}

type waiter struct {
	repo, net string
	ready     chan struct{} // closed when the slot is the waiter's
	place     *list.Element // nil once it is
}

// newSlots returns n slots for which queue may wait as long as wait.
func newSlots(n, queue int, wait time.Duration) *slots {
	return &slots{
		max: n, share: max(1, n-n/4), queue: queue, wait: wait,
		byRepo: map[string]int{}, byNet: map[string]int{}, line: map[string]*list.Element{},
	}
}

// take returns a function that gives the slot back, or a fault.Busy. net is the visitor's network;
// "" has no share of its own.
func (s *slots) take(ctx context.Context, repo, net string) (release func(), err error) {
	release = sync.OnceFunc(func() { s.giveBack(repo, net) })
	s.mu.Lock()
	if s.waiting == 0 && s.fits(repo, net) {
		s.give(repo, net)
		s.mu.Unlock()
		return release, nil
	}
	busy := fault.E(fault.Busy, "githttp: take a slot", textBusy)
	e := s.line[net]
	if s.waiting >= s.queue || net != "" && e != nil && e.Value.(*line).waiters.Len() >= max(1, s.queue/4) {
		s.mu.Unlock()
		return nil, busy
	}
	if e == nil {
		e = s.lines.PushBack(&line{net: net})
		s.line[net] = e
	}
	w := &waiter{repo: repo, net: net, ready: make(chan struct{})}
	w.place = e.Value.(*line).waiters.PushBack(w)
	s.waiting++
	// Those before may wait for their repository's share, and this one for another's.
	s.next()
	s.mu.Unlock()

	t := time.NewTimer(s.wait)
	defer t.Stop()
	select {
	case <-w.ready:
		return release, nil
	case <-t.C:
		err = busy
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.place == nil {
		return release, nil // it became the waiter's just now
	}
	s.unqueue(w)
	return nil, err
}

func (s *slots) fits(repo, net string) bool {
	return s.used < s.max && s.byRepo[repo] < s.share && (net == "" || s.byNet[net] < s.share)
}

func (s *slots) give(repo, net string) {
	s.used++
	s.byRepo[repo]++
	s.byNet[net]++
}

func (s *slots) giveBack(repo, net string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used--
	if s.byRepo[repo]--; s.byRepo[repo] == 0 {
		delete(s.byRepo, repo)
	}
	if s.byNet[net]--; s.byNet[net] == 0 {
		delete(s.byNet, net)
	}
	s.next()
}

// next gives free slots to those who wait, one network after another.
func (s *slots) next() {
	for s.used < s.max {
		w := s.candidate()
		if w == nil {
			return
		}
		e := s.line[w.net]
		s.unqueue(w)
		if s.line[w.net] == e {
			s.lines.MoveToBack(e)
		}
		s.give(w.repo, w.net)
		close(w.ready)
	}
}

// candidate returns the first of those who wait that has a share left.
func (s *slots) candidate() *waiter {
	for e := s.lines.Front(); e != nil; e = e.Next() {
		l := e.Value.(*line)
		for f := l.waiters.Front(); f != nil; f = f.Next() {
			if w := f.Value.(*waiter); s.fits(w.repo, w.net) {
				return w
			}
		}
	}
	return nil
}

func (s *slots) unqueue(w *waiter) {
	e := s.line[w.net]
	l := e.Value.(*line)
	l.waiters.Remove(w.place)
	w.place = nil
	s.waiting--
	if l.waiters.Len() == 0 {
		s.lines.Remove(e)
		delete(s.line, w.net)
	}
}

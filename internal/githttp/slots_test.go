package githttp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
)

// ask takes a slot in a goroutine, and returns when it has it or stands in the queue.
func (s *slots) ask(t *testing.T, repo, net string) <-chan func() {
	t.Helper()
	s.mu.Lock()
	before, used := s.waiting, s.used
	s.mu.Unlock()
	got := make(chan func(), 1)
	go func() {
		release, err := s.take(t.Context(), repo, net)
		if err != nil {
			close(got)
			return
		}
		got <- release
	}()
	for {
		s.mu.Lock()
		moved := s.waiting != before || s.used != used
		s.mu.Unlock()
		if moved {
			return got
		}
		time.Sleep(time.Millisecond) // nothing tells of an entry into the queue
	}
}

// Networks take turns, and within one the first to come is the first to go.
func TestSlotsTakeTurns(t *testing.T) {
	s := newSlots(1, 100, time.Minute)
	hold, err := s.take(t.Context(), "r", "x")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var order []string
	var wg sync.WaitGroup
	for i, net := range []string{"a", "a", "a", "b", "a", "b", "c"} {
		got := s.ask(t, "r", net)
		wg.Go(func() {
			release := <-got
			mu.Lock()
			order = append(order, fmt.Sprint(net, i))
			mu.Unlock()
			release()
		})
	}
	hold()
	wg.Wait()
	if want := []string{"a0", "b3", "c6", "a1", "b5", "a2", "a4"}; !slices.Equal(order, want) {
		t.Errorf("%v, want %v", order, want)
	}
	if s.used != 0 || s.waiting != 0 || len(s.byRepo) != 0 || len(s.byNet) != 0 || len(s.line) != 0 {
		t.Errorf("left behind: %+v", s)
	}
}

// Neither a repository nor a network gets all slots; who waits behind them is not held up.
func TestSlotsHaveShares(t *testing.T) {
	for _, c := range []struct {
		name      string
		repo, net func(i int) string
		most      int
	}{
		{"one repository", func(int) string { return "r" }, func(i int) string { return fmt.Sprint(i) }, 3},
		{"one network", func(i int) string { return fmt.Sprint(i) }, func(int) string { return "n" }, 3},
		{"one network without bounds", func(i int) string { return fmt.Sprint(i) }, func(int) string { return "" }, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSlots(4, 100, time.Minute)
			for i := range 6 {
				s.ask(t, c.repo(i), c.net(i))
			}
			if s.used != c.most {
				t.Errorf("%d run, want %d", s.used, c.most)
			}
			if c.most == 4 {
				return
			}
			select {
			case <-s.ask(t, "other", "other"):
			case <-time.After(2 * time.Minute):
				t.Error("somebody else waits behind them")
			}
		})
	}
}

func TestSlotsRefuse(t *testing.T) {
	s := newSlots(1, 8, 20*time.Millisecond)
	release, _ := s.take(t.Context(), "r", "a")
	if _, err := s.take(t.Context(), "r", "a"); !fault.Is(err, fault.Busy) {
		t.Errorf("after the wait: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.take(ctx, "r", "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("who leaves: %v", err)
	}
	s.wait = time.Minute
	s.ask(t, "r", "a")
	s.ask(t, "r", "a")
	if _, err := s.take(t.Context(), "r", "a"); !fault.Is(err, fault.Busy) {
		t.Errorf("the third of one network in a queue of eight: %v", err)
	}
	for i := range 6 {
		s.ask(t, "r", fmt.Sprint(i))
	}
	if _, err := s.take(t.Context(), "r", "z"); !fault.Is(err, fault.Busy) {
		t.Errorf("beyond the queue: %v", err)
	}
	release()
	release()
}

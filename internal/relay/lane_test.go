package relay

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// Work in the lane is followed by rests, so that those who are in it have together the part of one
// core that is theirs; short rests are saved up, and none is long (hardening §10).
func TestLaneRests(t *testing.T) {
	now := func() time.Time { return timeline{}.at(0) }
	for _, c := range []struct {
		percent    int
		took, want time.Duration
	}{
		{25, 4 * time.Millisecond, 12 * time.Millisecond},
		{50, 4 * time.Millisecond, 4 * time.Millisecond},
		{100, 4 * time.Millisecond, 0},
		{25, 100 * time.Microsecond, 0},
		{1, time.Second, longRest},
		{25, -time.Second, 0}, // the clock was set back
	} {
		if got := newLane(c.percent, now).rest(c.took); got != c.want {
			t.Errorf("%d%% of a core, after %v: rest %v, want %v", c.percent, c.took, got, c.want)
		}
	}
	l := newLane(25, now)
	all := time.Duration(0)
	for range 100 {
		all += l.rest(100 * time.Microsecond)
	}
	if want := 30 * time.Millisecond; all+l.owed != want || l.owed >= leastRest {
		t.Errorf("after a hundred short steps: rests of %v, %v owed, want %v in all", all, l.owed, want)
	}
}

// On a machine that is overloaded what is only counted keeps the distance that the same work would keep
// if it was measured.
func TestLaneFeelsStress(t *testing.T) {
	l := newLane(25, func() time.Time { return timeline{}.at(0) })
	for range 1000 {
		l.feel(5*time.Millisecond, time.Millisecond)
	}
	if l.stress < 4.9 || l.stress > 5 {
		t.Errorf("five times as long is felt as %.2f", l.stress)
	}
	for range 1000 {
		l.feel(time.Hour, time.Millisecond)
	}
	if l.stress > mostStress {
		t.Errorf("a stress of %.1f", l.stress)
	}
	for range 1000 {
		l.feel(0, time.Millisecond) // clocks differ
	}
	if l.feel(time.Hour, 0); l.stress < 1 || l.stress > 1.1 {
		t.Errorf("a stress of %.2f without any", l.stress)
	}
}

// One is in the lane at a time, and who has used it least goes first, however many come of another
// network (decision 11).
func TestLaneOrder(t *testing.T) {
	l := newLane(100, func() time.Time { return timeline{}.at(0) })
	crowd, single := testAccount("crowd", nil), testAccount("single", nil)
	crowd.stroll(time.Second)
	single.worked(time.Hour) // what was done elsewhere does not matter here
	held, err := l.enter(context.Background(), crowd)
	if err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := l.enter(over, single); err == nil {
		t.Fatal("two are in the lane")
	}
	got := make(chan *turn, 10)
	join := func(a *account) {
		w, err := l.enter(context.Background(), a)
		if err != nil {
			t.Error(err)
		}
		got <- w
	}
	waiting := func(n int) {
		t.Helper()
		for is := -1; is != n; {
			l.turns.mu.Lock()
			is = 0
			for e := l.turns.lines[0].order.Front(); e != nil; e = e.Next() {
				is += e.Value.(*queueOf).waiters.Len()
			}
			l.turns.mu.Unlock()
		}
	}
	for range 4 {
		go join(crowd)
	}
	waiting(4)
	go join(single)
	waiting(5)
	l.leave(held)
	order := ""
	for range 5 {
		w := <-got
		order += fmt.Sprintf("%.1s", w.a.prefix)
		l.leave(w)
	}
	if order != "scccc" {
		t.Errorf("they went as %s", order)
	}
}

// Those to whom limits per network do not apply are never greedy, whatever they had.
func TestGreed(t *testing.T) {
	at := int64(0)
	change := func(c *Config) {
		c.LightWork = 100 * time.Millisecond
		c.Now = func() time.Time { return timeline{}.at(at) }
	}
	a, free := testAccount("net", change), testAccount("", change)
	free.worked(time.Hour)
	a.worked(100 * time.Millisecond)
	if a.greedy() || free.greedy() {
		t.Errorf("greedy: %v, and who has no network: %v", a.greedy(), free.greedy())
	}
	if a.worked(time.Millisecond); !a.greedy() {
		t.Error("a tenth of a second and more is said to be little")
	}
	if at += int64(workHalf / time.Second); a.greedy() {
		t.Error("it is not forgotten")
	}
}

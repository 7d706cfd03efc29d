package relay

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

func testAccount(prefix string, change func(*Config)) *account {
	cfg := Config{Now: func() time.Time { return timeline{}.at(0) }}
	if change != nil {
		change(&cfg)
	}
	cfg = cfg.withDefaults()
	return newAccount(&cfg, prefix)
}

// A hundred connections of one network get one turn for each that another gets, whatever was first
// (hardening §10, bad-signature flood).
func TestTurnsGoRound(t *testing.T) {
	now := func() time.Time { return timeline{}.at(0) }
	g := newTurns(1, now)
	crowd, single := testAccount("crowd", nil), testAccount("single", nil)
	held, err := g.take(context.Background(), single, false)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var order []string
	var wg sync.WaitGroup
	queue := func(a *account, n int) {
		for range n {
			wg.Go(func() {
				w, err := g.take(context.Background(), a, false)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				order = append(order, a.prefix)
				mu.Unlock()
				w.release()
			})
		}
	}
	waiting := func(n int) {
		for {
			g.mu.Lock()
			got := 0
			for e := g.lines[0].order.Front(); e != nil; e = e.Next() {
				got += e.Value.(*queueOf).waiters.Len()
			}
			g.mu.Unlock()
			if got == n {
				return
			}
			runtime.Gosched()
		}
	}
	queue(crowd, 100)
	waiting(100)
	queue(single, 3)
	waiting(103)
	held.release()
	wg.Wait()
	var at []int
	for i, who := range order {
		if who == "single" {
			at = append(at, i)
		}
	}
	if len(order) != 103 || len(at) != 3 || at[2] > 5 {
		t.Errorf("of %d turns, those of the single one were %v", len(order), at)
	}
	if g.busy != 0 || len(g.by) != 0 || len(g.lines[0].of) != 0 {
		t.Errorf("%d places, %d accounts, %d queues are left", g.busy, len(g.by), len(g.lines[0].of))
	}
}

// Of those who wait, who has had the least goes first, and what fades is forgotten (hardening §10).
func TestTurnsOfTheModest(t *testing.T) {
	at := int64(0)
	now := func() time.Time { return timeline{}.at(at) }
	account := func(name string, worked time.Duration) *account {
		a := testAccount(name, func(c *Config) { c.Now = now })
		a.worked(worked)
		return a
	}
	g := newTurns(1, now)
	held, err := g.take(context.Background(), account("first", 0), false)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *turn, 10)
	for i, worked := range []time.Duration{time.Minute, 0, time.Second, time.Hour} {
		a := account(fmt.Sprint(worked), worked)
		go func() {
			w, err := g.take(context.Background(), a, false)
			if err != nil {
				t.Error(err)
			}
			got <- w
		}()
		for {
			g.mu.Lock()
			n := g.lines[0].order.Len()
			g.mu.Unlock()
			if n == i+1 {
				break
			}
			runtime.Gosched()
		}
	}
	if held.overdue() {
		t.Error("somebody is said to have had less than nothing")
	}
	at++
	if !held.overdue() {
		t.Error("nobody is said to have had less than a second")
	}
	held.release()
	for _, want := range []string{"0s", "1s", "1m0s", "1h0m0s"} {
		w := <-got
		if w.a.prefix != want {
			t.Errorf("%s goes, want %s", w.a.prefix, want)
		}
		w.release()
	}
	greedy := account("greedy", time.Minute)
	was := greedy.had(now())
	at += int64(workHalf / time.Second)
	if is := greedy.had(now()); is > was/1.9 || is < was/2.1 {
		t.Errorf("of %v, %v is left after %v", was, is, workHalf)
	}
}

// The slow line has places of its own, a quarter as many; one account has half of the others.
func TestTurnsLeavePlaces(t *testing.T) {
	g := newTurns(4, func() time.Time { return timeline{}.at(0) })
	over, cancel := context.WithCancel(context.Background())
	cancel()
	one := testAccount("one", nil)
	var taken []*turn
	for i, step := range []struct {
		a    *account
		slow bool
		ok   bool
	}{
		{testAccount("slow", nil), true, true}, {testAccount("slower", nil), true, false},
		{one, false, true}, {one, false, true}, {one, false, false},
		{testAccount("two", nil), false, true}, {testAccount("three", nil), false, true}, {testAccount("four", nil), false, false},
	} {
		w, err := g.take(over, step.a, step.slow)
		if (err == nil) != step.ok {
			t.Errorf("step %d: %v", i, err)
		}
		if err == nil {
			taken = append(taken, w)
		}
	}
	for _, w := range taken {
		w.release()
	}
	if g.busy != 0 || g.busySlow != 0 || len(g.by) != 0 || len(g.lines[0].of)+len(g.lines[1].of) != 0 {
		t.Errorf("%d, %d places and %d accounts are left", g.busy, g.busySlow, len(g.by))
	}
}

// What is brief takes every place that is free, also beside what lasts, and no more (decision 11).
func TestBriefTurnsTakeAll(t *testing.T) {
	g := newTurns(4, func() time.Time { return timeline{}.at(0) })
	over, cancel := context.WithCancel(context.Background())
	cancel()
	one := testAccount("one", nil)
	var taken []*turn
	for i, step := range []struct{ brief, ok bool }{{true, true}, {false, true}, {false, true}, {false, false}, {true, true}, {true, false}} {
		take := func() (*turn, error) { return g.take(over, one, false) }
		if step.brief {
			take = func() (*turn, error) { return g.takeBriefly(over, one) }
		}
		w, err := take()
		if (err == nil) != step.ok {
			t.Errorf("step %d: %v", i, err)
		}
		if err == nil {
			taken = append(taken, w)
		}
	}
	for _, w := range taken {
		w.release()
	}
	if g.busy != 0 || len(g.by) != 0 || len(g.lines[0].of) != 0 {
		t.Errorf("%d places and %d accounts are left", g.busy, len(g.by))
	}
}

// Whatever comes and goes, no more work than may, and nothing is left behind.
func TestTurnsProperty(t *testing.T) {
	g := newTurns(3, time.Now)
	var accounts []*account
	for i := range 5 {
		accounts = append(accounts, testAccount(fmt.Sprint(i), nil))
	}
	accounts[4].worked(time.Hour)
	var wg sync.WaitGroup
	var mu sync.Mutex
	working, most := 0, 0 // the slow one has a place of its own
	for n := range 200 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(n)))
			for range 20 {
				ctx, cancel := context.WithCancel(context.Background())
				if rnd.IntN(3) == 0 {
					go cancel()
				}
				a := accounts[rnd.IntN(len(accounts))]
				w, err := g.take(ctx, a, rnd.IntN(4) == 0)
				if err != nil && n%2 == 0 {
					w, err = g.takeBriefly(context.Background(), a)
				}
				cancel()
				if err != nil {
					continue
				}
				mu.Lock()
				working++
				most = max(most, working)
				mu.Unlock()
				if rnd.IntN(2) == 0 {
					g.contended()
				}
				mu.Lock()
				working--
				mu.Unlock()
				w.release()
			}
		})
	}
	wg.Wait()
	if most > 4 {
		t.Errorf("%d worked at a time", most)
	}
	left := slices.ContainsFunc(g.lines[:], func(l line) bool { return l.order.Len()+len(l.of) > 0 })
	if g.busy != 0 || g.busySlow != 0 || len(g.by) != 0 || left {
		t.Errorf("left behind: %d, %d, %d, %v", g.busy, g.busySlow, len(g.by), left)
	}
}

// The table of networks is bounded, whoever comes, and an account is not renewed by leaving.
func TestAccountsAreBounded(t *testing.T) {
	at := int64(0)
	cfg := Config{Now: func() time.Time { return timeline{}.at(at) }, PrefixEventBurst: 2, PrefixEventsPerMinute: 1}.withDefaults()
	table := accounts{cfg: &cfg, by: make(map[string]*account)}
	visit := func(prefix string) *account {
		a := table.enter(prefix)
		table.leave(a)
		return a
	}
	mallory := visit("mallory")
	for i := range 3 {
		if mallory.spend(&mallory.events) != (i < 2) {
			t.Fatal("want two events")
		}
	}
	if again := visit("mallory"); again.spend(&again.events) {
		t.Error("who comes again gets a new budget")
	}
	stays := table.enter("stays")
	for i := range 2 * maxAccounts {
		visit(fmt.Sprint(i))
	}
	if n := len(table.by); n != maxAccounts+1 || table.idle.Len() != maxAccounts {
		t.Errorf("%d accounts, %d of them idle", n, table.idle.Len())
	}
	if table.by["stays"] != stays {
		t.Error("an account with a connection was forgotten")
	}
	at += int64(accountKept / time.Second)
	visit("last")
	if n := len(table.by); n != 2 {
		t.Errorf("%d accounts after a while, want 2", n)
	}
	if free := table.enter(""); len(table.by) != 2 || table.enter("") == free {
		t.Error("those without a network share an account")
	}
}

// Whoever sends too fast is slowed down, by as long as it takes.
func TestBytesAreOwed(t *testing.T) {
	p := newTokens(1000, 5000)
	now := timeline{}
	for _, c := range []struct {
		at   int64
		n    float64
		want time.Duration
	}{{0, 5000, 0}, {0, 500, 500 * time.Millisecond}, {0, 1000, 1500 * time.Millisecond}, {1, 0, 500 * time.Millisecond}, {10, 0, 0}, {10, 5000, 0}, {10, 1, time.Millisecond}} {
		if got := p.owe(now.at(c.at), c.n); got != c.want {
			t.Errorf("%v more at %d: wait %v, want %v", c.n, c.at, got, c.want)
		}
	}
	if p.paid(now.at(10)) || !p.paid(now.at(11)) {
		t.Error("paid at the wrong time")
	}
}

// All queues together are bounded, one network's are, and every client has a little.
func TestQueuesAreBoundedTogether(t *testing.T) {
	all := &pool{most: 1 << 20}
	one := testAccount("one", nil)
	message := item{head: make([]byte, 10_000)}
	fill := func(q *queue) (limit, int) {
		for n := 0; ; n++ {
			if why := q.put(message); why != noLimit {
				return why, n
			}
		}
	}
	a := newQueue(10<<20, 1000, all, one)
	if why, n := fill(a); why != hitAllQueues || n < 20 || n > 27 {
		t.Errorf("the first of a network: %v after %d", limitNames[why], n)
	}
	b := newQueue(10<<20, 1000, all, one)
	if why, n := fill(b); why != hitAllQueues || n != 6 {
		t.Errorf("the second of a network: %v after %d", limitNames[why], n)
	}
	if !b.busy() {
		t.Error("there seems to be room")
	}
	for last := 0; ; { // it is emptied, and takes answers again
		it, ok := b.take(last)
		if !ok {
			break
		}
		last = it.size()
	}
	if b.busy() {
		t.Error("an empty queue takes no answers")
	}
	if why, n := fill(newQueue(10<<20, 1000, all, testAccount("", nil))); why != hitAllQueues || n < 60 {
		t.Errorf("one without a network: %v after %d", limitNames[why], n)
	}
	a.discard()
	a.take(1234) // the one on its way counts no more
	if one.queued.Load() != 0 {
		t.Errorf("%d bytes are left", one.queued.Load())
	}
	small := newQueue(20_000, 1000, all, testAccount("three", nil))
	if why, _ := fill(small); why != hitQueue {
		t.Errorf("one queue: %v", limitNames[why])
	}
}

func TestLimitNames(t *testing.T) {
	seen := map[string]bool{}
	for l := noLimit + 1; l < limits; l++ {
		if limitNames[l] == "" || seen[limitNames[l]] {
			t.Errorf("limit %d is called %q", l, limitNames[l])
		}
		seen[limitNames[l]] = true
	}
}

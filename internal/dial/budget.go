package dial

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gitroost/gitroost/internal/fault"
)

// A BudgetError says that a budget is used up, and when it may not be any more.
type BudgetError struct {
	What  string        // "example.org: 30 requests a minute"
	After time.Duration // a hint; more than 0
}

func (e *BudgetError) Error() string { return e.What + " are used up" }

// maxBooks bounds how many hosts, addresses and authors are remembered.
const maxBooks = 20_000

// A book is what one host, address or author has used.
type book struct {
	open   int         // requests under way
	recent []time.Time // of requests, a ring; at most as many as are permitted in a minute
	next   int

	hour  time.Time // when the hour began in which bytes were counted
	bytes int64

	// turn is held by who reads at the moment, if reading is paced.
	turn sync.Mutex
}

// budgets count requests per host and author. Nothing in it waits.
type budgets struct {
	cfg Config

	// mu guards all. It is held for moments.
	mu    sync.Mutex
	books map[string]*book
}

func newBudgets(cfg Config) *budgets { return &budgets{cfg: cfg, books: map[string]*book{}} }

// take notes n requests to host on behalf of author, "" for nobody's, or returns a *BudgetError in a
// fault.Busy and notes nothing. release ends what is under way.
func (b *budgets) take(host, author string, n int) (*book, func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.cfg.Now()
	at, err := b.may("host "+host, host, now, n, b.cfg.HostConcurrent, b.cfg.HostPerMinute)
	if err != nil {
		return nil, nil, err
	}
	if b.left(at, now) <= 0 {
		return nil, nil, exhausted(fmt.Sprintf("%s: %d bytes an hour", host, b.cfg.HostBytes), time.Hour-now.Sub(at.hour))
	}
	var by *book
	if author != "" {
		if by, err = b.may("author "+author, "author "+short(author), now, n, b.cfg.AuthorConcurrent, b.cfg.AuthorPerMinute); err != nil {
			return nil, nil, err
		}
		by.note(now, n, b.cfg.AuthorPerMinute)
	}
	at.note(now, n, b.cfg.HostPerMinute)
	var once sync.Once
	return at, func() {
		once.Do(func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			at.open--
			if by != nil {
				by.open--
			}
		})
	}, nil
}

// more notes one more request within something that was taken already, or refuses it.
func (b *budgets) more(at *book, host string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.cfg.Now()
	if used, wait := at.used(now); used >= b.cfg.HostPerMinute {
		return exhausted(fmt.Sprintf("%s: %d requests a minute", host, b.cfg.HostPerMinute), wait)
	}
	at.stamp(now, b.cfg.HostPerMinute)
	return nil
}

func (b *budgets) may(key, name string, now time.Time, n, concurrent, perMinute int) (*book, error) {
	at := b.books[key]
	if at == nil {
		if len(b.books) >= maxBooks {
			b.forget(now)
		}
		if len(b.books) >= maxBooks {
			return nil, exhausted("all places for hosts and authors", time.Minute)
		}
		at = &book{}
		b.books[strings.Clone(key)] = at
	}
	if at.open >= concurrent {
		return nil, exhausted(fmt.Sprintf("%s: %d requests at a time", name, concurrent), time.Second)
	}
	if used, wait := at.used(now); used > 0 && used+n > perMinute {
		return nil, exhausted(fmt.Sprintf("%s: %d requests a minute", name, perMinute), wait)
	}
	return at, nil
}

// forget drops the books of those who have not been asked anything for an hour, and if there are none,
// for a minute.
func (b *budgets) forget(now time.Time) {
	for _, age := range []time.Duration{time.Hour, time.Minute} {
		for key, at := range b.books {
			last := time.Time{}
			if len(at.recent) > 0 {
				last = at.recent[(at.next+len(at.recent)-1)%len(at.recent)]
			}
			if at.open == 0 && now.Sub(last) >= age {
				delete(b.books, key)
			}
		}
		if len(b.books) < maxBooks*9/10 {
			return
		}
	}
}

func exhausted(what string, after time.Duration) error {
	return &fault.Error{
		Code: fault.Busy, Op: "dial: budget", Text: what + " are used up, try later",
		Err: &BudgetError{What: what, After: max(after, time.Second)},
	}
}

// used returns how many requests the last minute saw, and when the oldest of them is over.
func (at *book) used(now time.Time) (n int, wait time.Duration) {
	var oldest time.Duration
	for _, t := range at.recent {
		// A clock that was set back must not lock anybody out.
		if age := now.Sub(t); age < time.Minute && age > -time.Minute {
			n++
			oldest = max(oldest, age)
		}
	}
	return n, max(time.Minute-oldest, time.Second)
}

func (at *book) note(now time.Time, n, perMinute int) {
	at.open++
	for range min(n, perMinute) {
		at.stamp(now, perMinute)
	}
}

// stamp remembers one request. The ring has as many places as a minute has requests.
func (at *book) stamp(now time.Time, perMinute int) {
	if len(at.recent) < perMinute {
		at.recent = append(at.recent, now)
		return
	}
	at.recent[at.next] = now
	at.next = (at.next + 1) % len(at.recent)
}

// left returns how many bytes may still be read of a host in this hour.
func (b *budgets) left(at *book, now time.Time) int64 {
	if d := now.Sub(at.hour); d >= time.Hour || d < 0 {
		at.hour, at.bytes = now, 0
	}
	return b.cfg.HostBytes - at.bytes
}

// read notes that n bytes of a host were read, and reports whether more may be.
func (b *budgets) read(at *book, n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	left := b.left(at, b.cfg.Now())
	at.bytes += int64(n)
	return left > int64(n)
}

// short cuts a key for a text.
func short(s string) string {
	if len(s) > 16 {
		return s[:16] + "…"
	}
	return s
}

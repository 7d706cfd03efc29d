package hunt_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/dial"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/hunt"
	"github.com/gitroost/gitroost/internal/steward"
)

var (
	owner = grasp.PubKey(strings.Repeat("a1", 32))
	event = grasp.EventID(strings.Repeat("e1", 32))
)

func oid(n int) grasp.OID { return grasp.OID(fmt.Sprintf("%040x", n)) }

// A world is desk, cellar and book in one: what is missing, which remotes have it, and what was asked.
type world struct {
	mu      sync.Mutex
	lacks   map[string]steward.Lack
	has     map[string][]grasp.OID // by remote
	err     map[string]error       // by remote
	stall   map[string]chan struct{}
	room    map[string]int64
	calls   []call
	awaited map[grasp.EventID]time.Time
	awaits  int
	holding map[grasp.EventID]int
	rows    map[string]hunt.Record
	waiting []string
	refuse  error // by Adopt
}

type call struct {
	at     time.Duration // since the beginning
	remote string
	wants  []grasp.OID
	tried  string
	bytes  int64
}

var began time.Time

type quarantine struct{ got []grasp.OID }

func (quarantine) Check(context.Context, []grasp.RefChange) error { return nil }
func (quarantine) Size() int64                                    { return 1 }
func (quarantine) Admit(context.Context) error                    { return nil }
func (quarantine) Discard()                                       {}

func (w *world) Missing(_ context.Context, id string) ([]steward.Lack, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l, ok := w.lacks[id]
	if !ok || len(l.Objects) == 0 {
		return nil, nil
	}
	l.Objects = slices.Clone(l.Objects)
	return []steward.Lack{l}, nil
}

func (w *world) Await(_ context.Context, _ string, events []grasp.EventID, until time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.awaits++
	for _, e := range events {
		w.awaited[e] = until
	}
	return nil
}

func (w *world) Hold(events []grasp.EventID) func() {
	add := func(n int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, e := range events {
			w.holding[e] += n
		}
	}
	add(1)
	return func() { add(-1) }
}

func (w *world) Room(_ context.Context, repo grasp.Addr, _ bool) (int64, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, ok := w.room[repo.ID]
	return n, ok, nil
}

func (w *world) Adopt(_ context.Context, repo grasp.Addr, q steward.Quarantine, _ bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse != nil {
		return w.refuse
	}
	l := w.lacks[repo.ID]
	l.Objects = slices.DeleteFunc(slices.Clone(l.Objects), func(o grasp.OID) bool { return slices.Contains(q.(quarantine).got, o) })
	w.lacks[repo.ID] = l
	return nil
}

func (w *world) Fetch(ctx context.Context, _ grasp.Addr, f steward.Fetching) (steward.Fetched, error) {
	at := f.Remote.String()
	w.mu.Lock()
	w.calls = append(w.calls, call{time.Since(began), at, slices.Clone(f.Wants), f.Tried, f.MaxBytes})
	err, stall := w.err[at], w.stall[at]
	var got []grasp.OID
	for _, o := range f.Wants {
		if slices.Contains(w.has[at], o) {
			got = append(got, o)
		}
	}
	w.mu.Unlock()
	if stall != nil {
		select {
		case <-stall:
		case <-ctx.Done():
			return steward.Fetched{}, ctx.Err()
		}
	}
	if err == nil && len(got) == 0 {
		err = fault.E(fault.NotFound, "test", "it has none")
	}
	if err != nil {
		return steward.Fetched{Tips: "tips of " + at}, err
	}
	return steward.Fetched{Quarantine: quarantine{got}, Got: got, Tips: "tips of " + at}, nil
}

func (w *world) Hunts(context.Context, int) ([]hunt.Record, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []hunt.Record
	for _, r := range w.rows {
		out = append(out, r)
	}
	return out, nil
}

func (w *world) WriteHunt(_ context.Context, r hunt.Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rows[r.ID] = r
	return nil
}

func (w *world) DropHunt(_ context.Context, id string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.rows, id)
	return nil
}

func (w *world) Waiting(context.Context) ([]string, error) { return w.waiting, nil }

func newWorld() *world {
	began = time.Now()
	return &world{
		lacks: map[string]steward.Lack{}, has: map[string][]grasp.OID{}, err: map[string]error{}, stall: map[string]chan struct{}{},
		room: map[string]int64{}, awaited: map[grasp.EventID]time.Time{}, holding: map[grasp.EventID]int{}, rows: map[string]hunt.Record{},
	}
}

// lacking makes an identifier lack n objects that may be at places.
func (w *world) lacking(id string, n int, places ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := steward.Lack{Repo: grasp.Addr{Owner: owner, ID: id}, States: true, Waiting: []grasp.EventID{event}, Since: began}
	for i := range n {
		l.Objects = append(l.Objects, oid(i+1))
	}
	for _, p := range places {
		l.Places = append(l.Places, steward.Place{URL: p, By: owner})
	}
	w.lacks[id] = l
}

// times returns when each remote was called, in whole seconds.
func (w *world) times(remote string) []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := []int{}
	for _, c := range w.calls {
		if remote == "" || c.remote == remote {
			out = append(out, int(c.at.Round(time.Second).Seconds()))
		}
	}
	return out
}

// hunting runs a hunter in time that passes by itself, until f returns.
func hunting(t *testing.T, cfg hunt.Config, w *world, f func(h *hunt.Hunter)) {
	t.Helper()
	cfg.Now = time.Now
	way := dial.New(dial.Config{
		Now: time.Now, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, HostPerMinute: 100_000, HostConcurrent: 1000, AuthorPerMinute: 100_000, AuthorConcurrent: 1000,
		Own: []string{"127.0.0.1:7334"},
	})
	h := hunt.New(cfg, w, w, w, way, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	f(h)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// bubble runs f where time passes as soon as nobody has anything to do. While a proxy is open its
// listener waits for the network, and time stands still: a fetch takes none.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

const (
	place = "https://127.0.0.1:9999/x.git"
	other = "https://127.0.0.1:9998/x.git"
)

// G02-12: three minutes for whoever may push, then 20, 40, 80 and 120 seconds; less than a second for what came
// from a peer. check 242: once an hour has passed, at least once in each hour, for ever (G02-02).
func TestSchedule(t *testing.T) {
	for name, c := range map[string]struct {
		direct bool
		want   []int
	}{
		"direct": {true, []int{180, 200, 240, 320, 440, 560}},
		"synced": {false, []int{0, 20, 60, 140, 260, 380, 500}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld()
				w.lacking("demo", 1, place)
				hunting(t, hunt.Config{Wait: time.Hour}, w, func(h *hunt.Hunter) {
					h.Wake("demo", c.direct)
					time.Sleep(10 * time.Minute)
					synctest.Wait()
					if w.awaits != 1 {
						t.Errorf("the desk was asked %d times to wait", w.awaits)
					}
					// Each try ends up to a quarter of a second late: that is how often the clock is looked at.
					got := w.times("")
					if len(got) != len(c.want) {
						t.Fatalf("asked at %v, want %v", got, c.want)
					}
					for i := range got {
						if got[i] < c.want[i] || got[i] > c.want[i]+2 {
							t.Errorf("asked at %v, want %v", got, c.want)
						}
					}
					time.Sleep(50 * time.Hour)
					synctest.Wait()
					got = w.times("")
					for i := 1; i < len(got); i++ {
						gap := got[i] - got[i-1]
						if gap > 3600 || got[i-1] > 2*3600 && gap < 45*60 {
							t.Errorf("after %d s it took %d s", got[i-1], gap)
						}
					}
					if last := got[len(got)-1]; last < 49*3600 {
						t.Errorf("asked last at %d s", last)
					}
				})
			})
		})
	}
}

// G02-12, G02-13: every place is asked for what is still missing, and nobody once nothing is.
func TestEveryPlace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		w.lacking("demo", 3, place, "https://127.0.0.1:7334/ours.git", place+"/", strings.TrimSuffix(place, ".git"), "ext::sh -c id", "http://127.0.0.1:9999/x.git", other)
		w.has[place], w.has[other] = []grasp.OID{oid(1), oid(3)}, []grasp.OID{oid(2), oid(1)}
		hunting(t, hunt.Config{Wait: time.Hour}, w, func(h *hunt.Hunter) {
			h.Wake("demo", false)
			time.Sleep(24 * time.Hour)
			synctest.Wait()
			if n := len(w.calls); n != 2 {
				t.Fatalf("%d calls: %v", n, w.calls)
			}
			if c := w.calls[1]; c.remote != other || !slices.Equal(c.wants, []grasp.OID{oid(2)}) {
				t.Errorf("the second place was asked %v", c)
			}
			if got := w.awaited[event]; !got.Equal(began.Add(time.Hour)) {
				t.Errorf("the event waits until %v", got)
			}
			if w.holding[event] != 0 || len(h.Status(10)) != 0 || len(w.rows) != 0 {
				t.Errorf("left over: held %d, %v, %v", w.holding[event], h.Status(10), w.rows)
			}
			if st := h.Stats(); st.Found != 2 || st.Failed != 0 || st.Waiting != 0 {
				t.Errorf("%+v", st)
			}
		})
	})
}

// Nothing waits longer where there is nowhere to look, and nobody is hunted for.
func TestNowhere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		w.lacking("demo", 1, "https://127.0.0.1:7334/ours.git", "file:///etc")
		hunting(t, hunt.Config{Wait: time.Hour}, w, func(h *hunt.Hunter) {
			h.Wake("demo", false)
			time.Sleep(time.Minute)
			synctest.Wait()
			if len(w.calls) != 0 || len(w.awaited) != 0 || len(h.Status(10)) != 0 {
				t.Errorf("%v, %v, %v", w.calls, w.awaited, h.Status(10))
			}
			if err := h.Look(t.Context(), "demo"); err != nil || len(h.Status(10)) != 0 {
				t.Errorf("%v, %v", err, h.Status(10))
			}
		})
	})
}

// What was tried is remembered with the remote, and what has found something begins anew.
func TestPartial(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		w.lacking("demo", 2, place)
		w.has[place] = []grasp.OID{oid(1)}
		hunting(t, hunt.Config{}, w, func(h *hunt.Hunter) {
			h.Wake("demo", false)
			time.Sleep(30 * time.Second)
			synctest.Wait()
			if len(w.calls) != 2 || w.calls[0].tried != "" || w.calls[1].tried != "tips of "+place || len(w.calls[1].wants) != 1 {
				t.Errorf("%v", w.calls)
			}
			st := h.Status(10)
			if len(st) != 1 || st[0].Lacking != 1 || st[0].Trouble == "" || st[0].Tries != 1 {
				t.Errorf("%+v", st)
			}
		})
	})
}

// Who sent too much, or what must not come in, or is forbidden, is called again only within the hour.
func TestPutOff(t *testing.T) {
	for name, err := range map[string]error{
		"too large": fault.E(fault.TooLarge, "test", "too large"),
		"malformed": fault.E(fault.Refused, "test", "malformed"),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld()
				w.lacking("demo", 1, place, other)
				w.err[place] = err
				hunting(t, hunt.Config{}, w, func(h *hunt.Hunter) {
					h.Wake("demo", false)
					time.Sleep(50 * time.Minute)
					synctest.Wait()
					if got := w.times(place); len(got) != 1 {
						t.Errorf("called at %v", got)
					}
					if got := w.times(other); len(got) < 10 {
						t.Errorf("the other was called at %v", got)
					}
					time.Sleep(time.Hour)
					synctest.Wait()
					if got := w.times(place); len(got) < 2 {
						t.Errorf("called at %v", got)
					}
				})
			})
		})
	}
}

// Where a quota leaves no room nobody is called; where it leaves some, no more is taken.
func TestRoom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		w.lacking("full", 1, place)
		w.lacking("some", 1, place)
		w.room["full"], w.room["some"] = 0, 1000
		hunting(t, hunt.Config{}, w, func(h *hunt.Hunter) {
			h.Wake("full", false)
			h.Wake("some", false)
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if len(w.calls) != 1 || w.calls[0].bytes != 1000 {
				t.Errorf("%v", w.calls)
			}
		})
	})
}

// G02-15: what was under way is taken up after the restart, not all at once, and with what was learned.
func TestRestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		for i := range 200 {
			id := fmt.Sprint("r", i)
			w.lacking(id, 1, place)
			switch i % 3 {
			case 0:
				w.waiting = append(w.waiting, id)
			case 1:
				w.rows[id] = hunt.Record{ID: id, Tries: 3, Since: began.Add(-time.Minute), Next: began.Add(-time.Hour)}
			case 2:
				w.rows[id] = hunt.Record{ID: id, Tries: 9, Since: began.Add(-3 * time.Hour), Next: began.Add(10 * time.Minute)}
			}
		}
		w.rows["done"] = hunt.Record{ID: "done", Tries: 3, Since: began, Next: began.Add(100 * time.Hour)}
		hunting(t, hunt.Config{StartDelay: 30 * time.Second}, w, func(h *hunt.Hunter) {
			time.Sleep(31 * time.Second)
			synctest.Wait()
			first := w.times("")
			if n := len(first); n < 134 {
				t.Errorf("%d calls in half a minute", n)
			}
			for sec := range 31 {
				n := 0
				for _, at := range first {
					if at == sec {
						n++
					}
				}
				if n > 40 {
					t.Errorf("%d calls in second %d", n, sec)
				}
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			if _, ok := w.rows["done"]; ok {
				t.Error("what lacks nothing is still written down")
			}
		})
	})
}

// A clock that was put back keeps nothing from being looked for.
func TestClockPutBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		ahead := began.Add(10 * time.Minute) // and a day
		w.lacking("minutes", 1, place)
		w.lacking("day", 1, place)
		w.rows["minutes"] = hunt.Record{ID: "minutes", Tries: 3, Since: ahead.Add(-time.Minute), Next: ahead.Add(2 * time.Minute)}
		w.rows["day"] = hunt.Record{ID: "day", Tries: 3, Since: ahead.Add(24 * time.Hour), Next: ahead.Add(24 * time.Hour)}
		hunting(t, hunt.Config{}, w, func(h *hunt.Hunter) {
			time.Sleep(3*time.Minute + time.Second)
			synctest.Wait()
			if got := w.times(""); len(got) < 2 {
				t.Errorf("in three minutes it was asked at %v, want both", got)
			}
		})
	})
}

// A host that can be reached again is asked again at once, for what could not be fetched there, and for
// nothing else; one that answers no git is not asked more often for that.
func TestReached(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		w.lacking("demo", 1, place)
		w.lacking("else", 1, "https://127.0.0.2:9999/x.git")
		hunting(t, hunt.Config{}, w, func(h *hunt.Hunter) {
			h.Reached("127.0.0.1") // nobody asked yet
			h.Wake("demo", false)
			h.Wake("else", false)
			time.Sleep(5 * time.Minute) // asked last at 4:20
			synctest.Wait()
			before, others := len(w.times(place)), len(w.times(""))
			w.mu.Lock()
			w.has[place] = []grasp.OID{oid(1)}
			w.mu.Unlock()
			h.Reached("127.0.0.3")
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if n := len(w.times("")); n != others {
				t.Errorf("%d calls because of a host that has nothing to do with it", n-others)
			}
			h.Reached("127.0.0.1")
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if n := len(w.times(place)); n != before+1 {
				t.Errorf("%d calls when it was back, want 1", n-before)
			}
			if n := len(w.times("")); n != others+1 {
				t.Errorf("%d calls of others when it was back", n-others-1)
			}
			w.lacking("more", 1, "https://127.0.0.4:9999/x.git")
			h.Wake("more", false)
			time.Sleep(time.Second)
			for range 20 { // a peer that comes and goes
				h.Reached("127.0.0.4")
				time.Sleep(time.Second)
				synctest.Wait()
			}
			if n := len(w.times("https://127.0.0.4:9999/x.git")); n > 21 {
				t.Errorf("%d calls in twenty seconds", n)
			}
		})
	})
}

// A host's budget is shared by those who wait for it; nobody is forgotten, and nobody called too often.
func TestOneHostForMany(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		const n = 100
		for i := range n {
			w.lacking(fmt.Sprint("r", i), 1, place)
		}
		w.has[place] = []grasp.OID{oid(1)}
		way := dial.New(dial.Config{Now: time.Now, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AuthorPerMinute: 100_000})
		h := hunt.New(hunt.Config{Now: time.Now}, w, w, w, way, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- h.Run(ctx) }()
		for i := range n {
			h.Wake(fmt.Sprint("r", i), false)
		}
		time.Sleep(45 * time.Minute)
		synctest.Wait()
		got := w.times("")
		if len(got) != n {
			t.Errorf("%d of %d were fetched: %v", len(got), n, got)
		}
		for i := range got {
			in := 0
			for _, at := range got {
				if at >= got[i] && at < got[i]+60 {
					in++
				}
			}
			if in > 11 { // each counts as three requests
				t.Fatalf("%d fetches within a minute", in)
			}
		}
		if len(got) == n && got[n-1] > 30*60 {
			t.Errorf("the last came after %d s", got[n-1])
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// What happens while a hunt is under way is not lost; and whoever stops does not wait for a remote.
func TestBusy(t *testing.T) {
	w := newWorld()
	w.lacking("demo", 1, place)
	stall := make(chan struct{})
	w.stall[place] = stall
	w.has[place] = []grasp.OID{oid(1), oid(2)}
	hunting(t, hunt.Config{Synced: time.Millisecond}, w, func(h *hunt.Hunter) {
		h.Wake("demo", false)
		until(t, func() bool { return len(w.times("")) == 1 })
		if st := h.Status(10); len(st) != 1 || st[0].Remote != place || st[0].Began.IsZero() {
			t.Errorf("%+v", st)
		}
		if w.mu.Lock(); w.holding[event] != 1 {
			t.Error("the event is not held")
		}
		l := w.lacks["demo"]
		l.Objects = append(l.Objects, oid(2))
		w.lacks["demo"] = l
		w.mu.Unlock()
		h.Wake("demo", false)
		close(stall)
		until(t, func() bool { return len(h.Status(10)) == 0 })
		if n := len(w.times("")); n != 2 {
			t.Errorf("%d calls, want 2", n)
		}
		w.lacking("demo", 1, place)
		w.mu.Lock()
		w.stall[place] = make(chan struct{})
		w.mu.Unlock()
		h.Wake("demo", false)
		until(t, func() bool { return len(w.times("")) == 3 })
	})
	if w.holding[event] != 0 {
		t.Error("the event is held for ever")
	}
}

// until waits for what a goroutine will do soon.
func until(t *testing.T, ok func() bool) {
	t.Helper()
	over := time.After(2 * time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-over:
			t.Fatal("it did not happen")
		case <-tick.C:
		}
	}
}

// There is a bound to what is remembered.
func TestBound(t *testing.T) {
	w := newWorld()
	h := hunt.New(hunt.Config{Now: time.Now}, w, w, w, dial.New(dial.Config{Now: time.Now}), slog.New(slog.DiscardHandler))
	for i := range hunt.MaxHunts + 1000 {
		h.Wake(fmt.Sprint("r", i), true)
	}
	if n := h.Stats().Waiting; n != hunt.MaxHunts {
		t.Errorf("%d are remembered, want %d", n, hunt.MaxHunts)
	}
}

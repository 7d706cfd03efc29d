package main

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip77/negentropy"
	"github.com/nbd-wtf/go-nostr/nip77/negentropy/storage/vector"
)

// A sample is one round of one scenario on one server.
type sample struct {
	Ops  int
	Wall time.Duration
	CPU  time.Duration // of the server, what it put off until afterwards included
	P50  time.Duration // of one operation, as its client waits for it
	P99  time.Duration
}

func (s sample) rate() float64 { return float64(s.Ops) / s.Wall.Seconds() }

// take measures f, which returns how many operations it did and how long each took.
func take(h *house, f func() (int, []time.Duration, error)) (sample, error) {
	h.rest()
	cpu, start := h.cpu(), time.Now()
	n, each, err := f()
	s := sample{Ops: n, Wall: time.Since(start)}
	h.rest()
	s.CPU = h.cpu() - cpu
	if len(each) > 0 {
		slices.Sort(each)
		s.P50, s.P99 = each[len(each)/2], each[len(each)*99/100]
	}
	return s, err
}

// together runs f on n connections and collects what they measured.
func together(addr string, n int, f func(i int, ws *conn) ([]time.Duration, error)) ([]time.Duration, error) {
	conns := make([]*conn, n)
	for i := range conns {
		ws, err := dial(addr)
		if err != nil {
			return nil, err
		}
		defer ws.close()
		conns[i] = ws
	}
	var wg sync.WaitGroup
	parts, errs := make([][]time.Duration, n), make([]error, n)
	for i, ws := range conns {
		wg.Go(func() { parts[i], errs[i] = f(i, ws) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return slices.Concat(parts...), nil
}

var accepted = []byte(`,true,`)

// wantOK reads until the answer to an EVENT, which must be a yes.
func wantOK(ws *conn) error {
	for {
		m, err := ws.next()
		if err != nil {
			return err
		}
		if bytes.HasPrefix(m, []byte(`["OK"`)) {
			if !bytes.Contains(m, accepted) {
				return fmt.Errorf("refused: %.300s", m)
			}
			return nil
		}
		if !bytes.HasPrefix(m, []byte(`["AUTH"`)) {
			return fmt.Errorf("instead of an OK: %.300s", m)
		}
	}
}

// publish sends every frame and waits for every OK; each of conns connections has window events
// under way at a time.
func publish(addr string, frames [][]byte, conns, window int) ([]time.Duration, error) {
	var next atomic.Int64
	return together(addr, conns, func(_ int, ws *conn) ([]time.Duration, error) {
		var each []time.Duration
		var sent []time.Time
		for {
			for len(sent) < window {
				i := int(next.Add(1)) - 1
				if i >= len(frames) {
					break
				}
				ws.c.SetDeadline(time.Now().Add(patience))
				sent = append(sent, time.Now())
				if err := ws.write(frames[i]); err != nil {
					return nil, err
				}
			}
			if len(sent) == 0 {
				return each, nil
			}
			if err := wantOK(ws); err != nil {
				return nil, err
			}
			each = append(each, time.Since(sent[0]))
			sent = append(sent[:0], sent[1:]...)
		}
	})
}

func frames(evs []*nostr.Event) [][]byte {
	out := make([][]byte, len(evs))
	for i, ev := range evs {
		out[i] = publishFrame(ev)
	}
	return out
}

// A question is a filter with how many events answer it at least and at most.
type question struct {
	filter   string
	min, max int
}

// ask asks questions for as long as it is told, on conns connections, one after the other on each.
func ask(addr string, verb string, questions []question, conns int, howLong time.Duration) (int, []time.Duration, error) {
	end := time.Now().Add(howLong)
	each, err := together(addr, conns, func(i int, ws *conn) ([]time.Duration, error) {
		ws.c.SetDeadline(time.Now().Add(howLong + patience))
		var each []time.Duration
		var out []byte
		last := ""
		for n := 0; time.Now().Before(end); n++ {
			q := questions[(i*1_000_003+n)%len(questions)]
			out = out[:0]
			if last != "" && verb == "REQ" {
				out = frame(out, `["CLOSE","`, last, `"]`)
			}
			last = "s" + strconv.Itoa(n)
			out = frame(out, `["`, verb, `","`, last, `",`, q.filter, `]`)
			start := time.Now()
			if err := ws.write(out); err != nil {
				return nil, err
			}
			got, err := answer(ws, verb)
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", verb, q.filter, err)
			}
			if got < q.min || got > q.max {
				return nil, fmt.Errorf("%s %s: %d events, want %d to %d", verb, q.filter, got, q.min, q.max)
			}
			each = append(each, time.Since(start))
		}
		return each, nil
	})
	return len(each), each, err
}

// answer reads the answer to one REQ or COUNT and returns how many events it has.
func answer(ws *conn, verb string) (int, error) {
	for n := 0; ; {
		m, err := ws.next()
		if err != nil {
			return 0, err
		}
		switch {
		case bytes.HasPrefix(m, []byte(`["EVENT"`)):
			n++
		case bytes.HasPrefix(m, []byte(`["EOSE"`)):
			return n, nil
		case verb == "COUNT" && bytes.HasPrefix(m, []byte(`["COUNT"`)):
			_, rest, _ := bytes.Cut(m, []byte(`"count":`))
			digits, _, _ := bytes.Cut(rest, []byte(`}`))
			return strconv.Atoi(string(digits))
		default:
			return 0, fmt.Errorf("unexpected: %.300s", m)
		}
	}
}

const (
	fanConns = 100
	fanSubs  = 20
)

// fanout opens 2,000 subscriptions, publishes one event after another, and waits until each has
// reached all of them.
func (w *world) fanout(h *house, evs [][]byte) (sample, error) {
	filters := []string{
		fmt.Sprintf(`{"kinds":[%d],"#a":["%s"],"limit":0}`, fanoutKind, w.coordinate(0)),
		fmt.Sprintf(`{"#t":["live"],"limit":0}`),
		fmt.Sprintf(`{"authors":["%s"],"kinds":[1,%d],"limit":0}`, w.people[1].public, fanoutKind),
		fmt.Sprintf(`{"#p":["%s"],"kinds":[1617,%d],"limit":0}`, w.people[0].public, fanoutKind),
	}
	conns := make([]*conn, fanConns)
	for i := range conns {
		ws, err := dial(h.addr)
		if err != nil {
			return sample{}, err
		}
		defer ws.close()
		ws.c.SetDeadline(time.Now().Add(2 * patience))
		for n := range fanSubs {
			if err := ws.write(frame(nil, `["REQ","sub`+strconv.Itoa(n)+`",`, filters[n%len(filters)], `]`)); err != nil {
				return sample{}, err
			}
			if got, err := answer(ws, "REQ"); err != nil || got != 0 {
				return sample{}, fmt.Errorf("subscribe: %d events, %v", got, err)
			}
		}
		conns[i] = ws
	}
	return take(h, func() (int, []time.Duration, error) {
		var wg sync.WaitGroup
		errs := make([]error, fanConns)
		for i, ws := range conns {
			wg.Go(func() {
				for range fanSubs * len(evs) {
					m, err := ws.next()
					if err == nil && !bytes.HasPrefix(m, []byte(`["EVENT"`)) {
						err = fmt.Errorf("unexpected: %.300s", m)
					}
					if err != nil {
						errs[i] = err
						return
					}
				}
			})
		}
		each, err := publish(h.addr, evs, 1, 1)
		wg.Wait()
		for _, e := range errs {
			if err == nil {
				err = e
			}
		}
		return fanConns * fanSubs * len(evs), each, err
	})
}

const (
	negDiffer = 100
	negTurns  = 3
)

// reconcile compares 10,000 events of the client with the server's 10,000 of the same kind, of which
// 100 differ: 50 only here, 50 only there.
func (w *world) reconcile(h *house) (int, []time.Duration, error) {
	var each []time.Duration
	for range negTurns {
		ws, err := dial(h.addr)
		if err != nil {
			return 0, nil, err
		}
		vec := vector.New()
		for i, r := range w.neg {
			if i >= negDiffer/2 {
				vec.Insert(r.at, r.id)
			} else {
				vec.Insert(r.at, fmt.Sprintf("%064x", i+1))
			}
		}
		vec.Seal()
		neg := negentropy.New(vec, 0)
		var have, lack int
		var wg sync.WaitGroup
		wg.Go(func() {
			for range neg.Haves {
				have++
			}
		})
		wg.Go(func() {
			for range neg.HaveNots {
				lack++
			}
		})
		start := time.Now()
		err = ws.write(frame(nil, `["NEG-OPEN","neg",{"kinds":[`+strconv.Itoa(negKind)+`]},"`, neg.Start(), `"]`))
		for err == nil {
			var m []byte
			if m, err = ws.next(); err != nil {
				break
			}
			_, rest, ok := bytes.Cut(m, []byte(`["NEG-MSG","neg","`))
			if !ok {
				err = fmt.Errorf("unexpected: %.300s", m)
				break
			}
			var out string
			if out, err = neg.Reconcile(string(bytes.TrimSuffix(bytes.TrimSpace(rest), []byte(`"]`)))); err != nil || out == "" {
				break
			}
			err = ws.write(frame(nil, `["NEG-MSG","neg","`, out, `"]`))
		}
		each = append(each, time.Since(start))
		ws.close()
		if err != nil {
			return 0, nil, err
		}
		wg.Wait()
		if have != negDiffer/2 || lack != negDiffer/2 {
			return 0, nil, fmt.Errorf("found %d and %d differences, want %d each", have, lack, negDiffer/2)
		}
	}
	return negTurns, each, nil
}

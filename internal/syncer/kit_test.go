package syncer_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/negentropy"
	"github.com/gitroost/gitroost/internal/relay"
	"github.com/gitroost/gitroost/internal/syncer"
)

// wait bounds how long a test waits for what must come, on a machine that has much else to do.
const wait = 2 * time.Minute

// A key signs.
type key struct{ secret, pub string }

func newKey() key {
	s := nostr.GeneratePrivateKey()
	p, _ := nostr.GetPublicKey(s)
	return key{s, p}
}

func (k key) sign(kind int, at int64, content string, tags ...nostr.Tag) *nostr.Event {
	ev := &nostr.Event{Kind: kind, CreatedAt: nostr.Timestamp(at), Content: content, Tags: tags}
	if ev.Tags == nil {
		ev.Tags = nostr.Tags{}
	}
	if err := ev.Sign(k.secret); err != nil {
		panic(err)
	}
	return ev
}

func (k key) announce(id string, relays ...string) *nostr.Event {
	return k.sign(grasp.KindAnnouncement, 1_700_000_000, "", nostr.Tag{"d", id},
		nostr.Tag{"clone", "https://here.example/x.git"}, append(nostr.Tag{"relays", "wss://here.example"}, relays...))
}

func (k key) coord(id string) string { return "30617:" + k.pub + ":" + id }

// A clock is put forward by hand.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// A world is a syncer, what it has, and the relays around it.
type world struct {
	before func() // called when w.s is there and does not run yet, unless nil

	t     *testing.T
	clock *clock
	tick  chan time.Time
	stop  func()
	s     *syncer.Syncer

	mu      sync.Mutex
	served  []*nostr.Event
	waiting []*nostr.Event
	taken   []string // ids handed in, in order
	refuse  func(ev *nostr.Event) error
	more    chan struct{} // closed and made anew when something changes
	relays  map[string]*fake
	peers   map[string]syncer.Record
	kept    map[grasp.EventID]syncer.Refusal
}

func newWorld(t *testing.T) *world {
	return &world{
		t: t, clock: &clock{t: time.Unix(1_800_000_000, 0)}, tick: make(chan time.Time), more: make(chan struct{}),
		relays: map[string]*fake{}, peers: map[string]syncer.Record{}, kept: map[grasp.EventID]syncer.Refusal{},
		refuse: func(*nostr.Event) error { return nil },
	}
}

// run starts the syncer until the test ends, or stop is called.
func (w *world) run(change ...func(*syncer.Config)) {
	site, err := grasp.NewSite("https://here.example", "https://alias.example:8443")
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := syncer.Config{Site: site, Now: w.clock.Now, Rand: func() float64 { return 0 }, Patience: wait}
	for _, c := range change {
		c(&cfg)
	}
	w.s = syncer.New(cfg, w, w, w, w, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if w.before != nil {
		w.before()
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.s.Run(ctx, w.tick) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("the syncer ended with %v", err)
		}
	})
	w.t.Cleanup(w.stop)
	w.beat()
}

// beat lets the syncer look what is due, and returns when it has.
func (w *world) beat() {
	w.tick <- w.clock.Now()
	w.tick <- w.clock.Now()
}

// until waits for f, which is asked whenever something has changed.
func (w *world) until(what string, f func() bool) {
	w.t.Helper()
	late := time.After(wait)
	look := time.NewTicker(5 * time.Millisecond) // what the syncer tells of itself changes without a sign
	defer look.Stop()
	for {
		w.mu.Lock()
		more := w.more
		w.mu.Unlock()
		if f() {
			return
		}
		select {
		case <-more:
		case <-look.C:
		case <-late:
			w.t.Fatalf("%s: not within %s; peers: %+v", what, wait, w.s.Statuses())
		}
	}
}

// later is until, while time goes by.
func (w *world) later(what string, f func() bool) {
	w.t.Helper()
	w.until(what, func() bool {
		w.clock.advance(time.Second)
		w.beat()
		return f()
	})
}

// stir says that something has changed. Call it with mu held.
func (w *world) stir() {
	close(w.more)
	w.more = make(chan struct{})
}

func (w *world) has(ev *nostr.Event) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.served, func(e *nostr.Event) bool { return e.ID == ev.ID })
}

// serve puts events on the shelf of served ones.
func (w *world) serve(events ...*nostr.Event) {
	w.mu.Lock()
	w.served = append(w.served, events...)
	w.stir()
	w.mu.Unlock()
	if w.s == nil {
		return
	}
	for _, ev := range events {
		if ev.Kind == grasp.KindAnnouncement {
			w.s.Changed(grasp.FirstValue(ev, "d"))
		}
		w.s.Served(ev)
	}
}

// handed returns how often an event was handed in.
func (w *world) handed(ev *nostr.Event) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range w.taken {
		if id == ev.ID {
			n++
		}
	}
	return n
}

// Parse implements syncer.Door.
func (w *world) Parse(raw string) (*nostr.Event, error) { return relay.ParseEvent(raw) }

// Take implements syncer.Door.
func (w *world) Take(_ context.Context, ev *nostr.Event, _ int, _ string) (grasp.Verdict, error) {
	if err := relay.Verify(ev); err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.stir()
		return 0, fault.E(fault.Invalid, "test", err.Error())
	}
	w.mu.Lock()
	w.taken = append(w.taken, ev.ID)
	err := w.refuse(ev)
	w.stir()
	w.mu.Unlock()
	if err == nil {
		w.serve(ev)
	}
	return grasp.Accepted, err
}

// Announcements implements syncer.Library.
func (w *world) Announcements(_ context.Context, after int64, limit int, each func(int64, syncer.Announced)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for i, ev := range append(slices.Clone(w.served), w.waiting...) {
		if ev.Kind == grasp.KindAnnouncement && int64(i+1) > after && n < limit {
			each(int64(i+1), syncer.Announced{Event: ev, Served: i < len(w.served)})
			n++
		}
	}
	return nil
}

// AnnouncementsOf implements syncer.Library.
func (w *world) AnnouncementsOf(ctx context.Context, id string, each func(syncer.Announced)) error {
	return w.Announcements(ctx, 0, 1<<30, func(_ int64, a syncer.Announced) {
		if grasp.FirstValue(a.Event, "d") == id {
			each(a)
		}
	})
}

// Keys implements syncer.Library.
func (w *world) Keys(_ context.Context, fs []nostr.Filter, each func(grasp.EventID, int64) bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ev := range w.served {
		if slices.ContainsFunc(fs, func(f nostr.Filter) bool { return f.Matches(ev) }) && !each(grasp.EventID(ev.ID), int64(ev.CreatedAt)) {
			break
		}
	}
	return nil
}

// Unknown implements syncer.Library.
func (w *world) Unknown(_ context.Context, ids []grasp.EventID) (out []grasp.EventID, _ error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		if !slices.ContainsFunc(append(slices.Clone(w.served), w.waiting...), func(e *nostr.Event) bool { return e.ID == string(id) }) {
			out = append(out, id)
		}
	}
	return out, nil
}

// Peers implements syncer.Notebook.
func (w *world) Peers(context.Context) (out []syncer.Record, _ error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.peers {
		out = append(out, r)
	}
	return out, nil
}

// WritePeer implements syncer.Notebook.
func (w *world) WritePeer(_ context.Context, r syncer.Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.peers[r.URL] = r; r == (syncer.Record{URL: r.URL}) {
		delete(w.peers, r.URL)
	}
	return nil
}

// Refusals implements syncer.Notebook.
func (w *world) Refusals(context.Context, int) (out []syncer.Refusal, _ error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.kept {
		out = append(out, r)
	}
	return out, nil
}

// WriteRefusals implements syncer.Notebook.
func (w *world) WriteRefusals(_ context.Context, add []syncer.Refusal, remove []grasp.EventID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range remove {
		delete(w.kept, id)
	}
	for _, r := range add {
		w.kept[r.ID] = r
	}
	return nil
}

// Document implements syncer.Dialer.
func (w *world) Document(_ context.Context, url string, _ int64) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.relays[url]
	if f == nil || f.document == "" {
		return nil, errors.New("no document")
	}
	return []byte(f.document), nil
}

// Relay implements syncer.Dialer.
func (w *world) Relay(_ context.Context, url string) (syncer.Line, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.stir()
	f := w.relays[url]
	if f == nil {
		return nil, fault.E(fault.NotFound, "test", "no such host")
	}
	f.dials = append(f.dials, w.clock.Now())
	if f.down != nil {
		return nil, f.down
	}
	l := &line{f: f, out: make(chan []byte, 100_000), gone: make(chan struct{}), subs: map[string][]nostr.Filter{}, recs: map[string]*negentropy.Set{}}
	f.lines = append(f.lines, l)
	return l, nil
}

// A fake is a relay of which everything can be chosen.
type fake struct {
	w        *world
	document string
	neg      bool
	page     int   // the most events of one answer; 0: 500
	down     error // why nobody can connect
	most     int   // open subscriptions
	script   func(l *line, verb, sub string, rest []json.RawMessage) bool

	// Guarded by the mutex of the world.
	dials  []time.Time
	lines  []*line
	events []*nostr.Event
	asked  []nostr.Filter // of REQ and NEG-OPEN, in order
	ids    []string       // asked for by id
	peak   int            // subscriptions that were open at once
}

// relay adds a relay that has events.
func (w *world) relay(url string, events ...*nostr.Event) *fake {
	f := &fake{w: w, neg: true, events: events, document: `{"supported_nips":[1,77],"limitation":{"max_subscriptions":50,"max_limit":500}}`}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.relays[url] = f
	return f
}

// publish gives the relay an event, and those who listen there.
func (f *fake) publish(ev *nostr.Event) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.events = append(f.events, ev)
	for _, l := range f.lines {
		for sub, fs := range l.subs {
			if slices.ContainsFunc(fs, func(g nostr.Filter) bool { return g.Matches(ev) }) {
				l.say("EVENT", sub, ev)
			}
		}
	}
}

// cut ends all connections.
func (f *fake) cut() {
	f.w.mu.Lock()
	lines := slices.Clone(f.lines)
	f.w.mu.Unlock()
	for _, l := range lines {
		l.Close()
	}
}

// dialed returns when it was called.
func (f *fake) dialed() []time.Time {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	return slices.Clone(f.dials)
}

// questions returns what was asked so far.
func (f *fake) questions() []nostr.Filter {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	return slices.Clone(f.asked)
}

// live returns the filters that are listened to now.
func (f *fake) live() (out []nostr.Filter, subs int) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	for _, l := range f.lines {
		select {
		case <-l.gone:
			continue
		default:
		}
		for _, fs := range l.subs {
			out = append(out, fs...)
			subs++
		}
	}
	return out, subs
}

// fetched reports how often an event was asked for by its id.
func (f *fake) fetched(ev *nostr.Event) (n int) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	for _, id := range f.ids {
		if id == ev.ID {
			n++
		}
	}
	return n
}

// A line is a connection to a fake.
type line struct {
	f    *fake
	out  chan []byte
	once sync.Once
	gone chan struct{}
	subs map[string][]nostr.Filter
	recs map[string]*negentropy.Set
}

func (l *line) say(parts ...any) {
	b, err := json.Marshal(parts)
	if err != nil {
		panic(err)
	}
	l.raw(b)
}

func (l *line) raw(b []byte) {
	select {
	case l.out <- b:
	case <-l.gone:
	}
}

func (l *line) NextReader() (int, io.Reader, error) {
	select {
	case b := <-l.out:
		return 1, bytes.NewReader(b), nil
	case <-l.gone:
		return 0, nil, errors.New("connection reset")
	}
}

func (l *line) WriteControl(int, []byte, time.Time) error { return nil }
func (l *line) SetReadLimit(int64)                        {}
func (l *line) SetPongHandler(func(string) error)         {}
func (l *line) Close() error {
	l.once.Do(func() { close(l.gone) })
	return nil
}

// WriteMessage is where the relay hears.
func (l *line) WriteMessage(_ int, data []byte) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(data, &parts); err != nil {
		panic(err)
	}
	var verb, sub string
	_ = json.Unmarshal(parts[0], &verb)
	_ = json.Unmarshal(parts[1], &sub)
	f := l.f
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	defer f.w.stir()
	if f.script != nil && f.script(l, verb, sub, parts[2:]) {
		return nil
	}
	l.answer(verb, sub, parts[2:])
	return nil
}

// answer does what an honest relay does.
func (l *line) answer(verb, sub string, rest []json.RawMessage) {
	f := l.f
	var fs []nostr.Filter
	if verb == "REQ" || verb == "NEG-OPEN" {
		for _, raw := range rest {
			var one nostr.Filter
			if raw[0] == '{' && json.Unmarshal(raw, &one) == nil {
				fs = append(fs, one)
			}
		}
		f.asked = append(f.asked, fs...)
	}
	switch verb {
	case "REQ":
		l.request(sub, fs)
	case "CLOSE":
		delete(l.subs, sub)
	case "NEG-OPEN":
		if !f.neg {
			l.say("NOTICE", "unknown message")
			return
		}
		var items []negentropy.Item
		for _, ev := range f.events {
			if fs[0].Matches(ev) {
				var id negentropy.ID
				_, _ = hex.Decode(id[:], []byte(ev.ID))
				items = append(items, negentropy.Item{At: uint64(ev.CreatedAt), ID: id})
			}
		}
		l.recs[sub] = negentropy.NewSet(items)
		l.reconcile(sub, rest[1])
	case "NEG-MSG":
		l.reconcile(sub, rest[0])
	case "NEG-CLOSE":
		delete(l.recs, sub)
	}
}

func (l *line) reconcile(sub string, raw json.RawMessage) {
	var text string
	_ = json.Unmarshal(raw, &text)
	msg, _ := hex.DecodeString(text)
	answer, err := l.recs[sub].Answer(msg, 60_000)
	if err != nil {
		panic(err)
	}
	l.say("NEG-MSG", sub, hex.EncodeToString(answer))
}

func (l *line) request(sub string, fs []nostr.Filter) {
	f := l.f
	live := len(fs) > 0
	for _, one := range fs {
		f.ids = append(f.ids, one.IDs...)
		if !one.LimitZero {
			live = false
			most := 500
			if f.page > 0 {
				most = f.page
			}
			if one.Limit > 0 {
				most = min(most, one.Limit)
			}
			var found []*nostr.Event
			for _, ev := range f.events {
				if one.Matches(ev) {
					found = append(found, ev)
				}
			}
			slices.SortFunc(found, func(a, b *nostr.Event) int {
				if a.CreatedAt != b.CreatedAt {
					return int(b.CreatedAt - a.CreatedAt)
				}
				return strings.Compare(a.ID, b.ID)
			})
			for _, ev := range found[:min(most, len(found))] {
				l.say("EVENT", sub, ev)
			}
		}
	}
	l.subs[sub] = fs
	f.peak = max(f.peak, len(l.subs))
	if f.most > 0 && len(l.subs) > f.most {
		delete(l.subs, sub)
		l.say("CLOSED", sub, "error: too many subscriptions")
		return
	}
	l.say("EOSE", sub)
	if !live {
		l.subs[sub] = nil // it hears no more than was stored
	}
}

// mood returns the word for a peer.
func (w *world) mood(url string) syncer.Status {
	for _, s := range w.s.Statuses() {
		if s.URL == url {
			return s
		}
	}
	return syncer.Status{}
}

// compared waits until all of a peer was compared.
func (w *world) compared(url string) {
	w.t.Helper()
	w.until("comparing with "+url, func() bool {
		st := w.mood(url)
		return !st.Full.IsZero() && st.Doing == "" && !st.Connected.IsZero()
	})
}

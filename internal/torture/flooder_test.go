package torture_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

// A flooder does one bad thing as fast as it may, from several networks. It runs in a process of its
// own, on one core and with the lowest priority: what the others feel is what the server does for
// it, and not what it does itself.
type flooder struct {
	addr  string   // of the server
	a     string   // coordinate of a repository that is served
	nets  []string // that it comes from
	rnd   *rand.Rand
	scale int    // percent of the whole flood
	ready func() // to be called when the flood has risen

	mu   sync.Mutex
	said map[string]int // what was done and answered
}

// floods are what may come over a server (hardening §10).
var floods = map[string]struct {
	what string
	nets int
	run  func(f *flooder, ctx context.Context)
}{
	"forge":    {"10,000 wrong signatures a second", 8, (*flooder).forge},
	"announce": {"a new key with a repository in each event", 200, (*flooder).announce},
	"listen":   {"50,000 subscriptions, of which one in 200 is concerned", 5, (*flooder).listen},
	"ask":      {"filters of 2,000 values", 4, (*flooder).ask},
	"sleep":    {"200 readers that never read", 4, (*flooder).sleep},
	"shout":    {"messages of 10 MB", 4, (*flooder).shout},
	"compare":  {"reconciliations that are never closed", 4, (*flooder).compare},
}

const flooderEnv = "GITROOST_FLOODER"

// beFlooder makes this process a flooder if it was started as one, until its input ends.
func beFlooder() {
	var what, addr, coordinate string
	var first, scale int
	if n, _ := fmt.Sscan(os.Getenv(flooderEnv), &what, &addr, &coordinate, &first, &scale); n != 5 {
		return
	}
	runtime.GOMAXPROCS(1)
	flood := floods[what]
	f := &flooder{addr: addr, a: coordinate, scale: scale, rnd: rand.New(rand.NewPCG(uint64(first), 1)), said: map[string]int{}}
	f.ready = sync.OnceFunc(func() { fmt.Println("ready") })
	for i := range flood.nets {
		f.nets = append(f.nets, fmt.Sprintf("10.%d.%d.7", first, i))
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	flood.run(f, ctx)
	<-ctx.Done()
	f.mu.Lock()
	defer f.mu.Unlock()
	json.NewEncoder(os.Stdout).Encode(f.said)
	os.Exit(0)
}

// flooder starts a flooder and waits until the flood has risen. ebb ends it and returns what it did.
func (r *run) flooder(what, coordinate string, first, scale int) (ebb func() string) {
	r.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	words := []string{exe}
	if nice, err := exec.LookPath("nice"); err == nil {
		words = []string{nice, "-n", "19", exe}
	}
	// Even the nicest process keeps a processor for milliseconds from a server that wakes up, which a
	// stranger's computer does not. In the short form, which asserts no times, it must not starve.
	if chrt, err := exec.LookPath("chrt"); err == nil && *flood > 0 {
		words = []string{chrt, "--idle", "0", exe}
	}
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s %d %d", flooderEnv, what, r.srv.addr, coordinate, first, scale))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	in, err := cmd.StdinPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); line != "ready\n" {
		r.t.Errorf("%s does not rise: %q %v\n%s", what, line, err, errs.String())
	}
	ebb = sync.OnceValue(func() string {
		in.Close()
		rest, _ := io.ReadAll(lines)
		if err := cmd.Wait(); err != nil {
			r.t.Errorf("%s: %v\n%.2000s", what, err, errs.String())
		}
		return strings.TrimSpace(string(rest))
	})
	r.t.Cleanup(func() { ebb() })
	return ebb
}

// say counts something.
func (f *flooder) say(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.said) < 50 || f.said[what] > 0 {
		f.said[what]++
	}
}

// dialFrom opens a WebSocket as somebody from another network, behind the proxy that the server
// trusts.
func dialFrom(ctx context.Context, addr, from string, buffer int) (*websocket.Conn, error) {
	d := websocket.Dialer{HandshakeTimeout: 30 * time.Second, NetDialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if tcp, ok := c.(*net.TCPConn); ok && buffer > 0 {
			tcp.SetReadBuffer(buffer)
		}
		return c, err
	}}
	ws, _, err := d.DialContext(ctx, "ws://"+addr, http.Header{"X-Forwarded-For": {from}})
	return ws, err
}

// part is the part of n that is wanted of the whole flood.
func (f *flooder) part(n int) int { return max(1, n*f.scale/100) }

// each connects from every network again and again, width connections at a time, until ctx ends.
func (f *flooder) each(ctx context.Context, width, buffer int, talk func(ws *websocket.Conn, rnd *rand.Rand) error) {
	width = f.part(width)
	for i, from := range f.nets {
		for j := range width {
			rnd := rand.New(rand.NewPCG(uint64(i), uint64(j)))
			go func() {
				for ctx.Err() == nil {
					ws, err := dialFrom(ctx, f.addr, from, buffer)
					if err != nil {
						f.say("not connected")
						pause(100 * time.Millisecond)
						continue
					}
					stop := context.AfterFunc(ctx, func() { ws.Close() })
					f.say("connected")
					if err := talk(ws, rnd); err != nil && ctx.Err() == nil {
						f.say("cut off")
					}
					stop()
					ws.Close()
				}
			}()
		}
	}
}

// hear reads answers and counts their sorts until the connection ends.
func (f *flooder) hear(ws *websocket.Conn) {
	for {
		_, b, err := ws.ReadMessage()
		if err != nil {
			return
		}
		word := string(b[:min(len(b), 12)])
		word, _, _ = strings.Cut(strings.TrimPrefix(word, `["`), `"`)
		for _, why := range []string{"rate-limited", "invalid: signature", "purgatory", "error"} {
			if bytes.Contains(b[:min(len(b), 200)], []byte(why)) {
				word += " " + why
			}
		}
		f.say(word)
	}
}

// paced calls send about so often per second, until it fails.
func paced(perSecond int, send func() error) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	owed := 0.0
	for range tick.C {
		for owed += float64(perSecond) / 100; owed >= 1; owed-- {
			if err := send(); err != nil {
				return err
			}
		}
	}
	return nil
}

func text(ws *websocket.Conn, b []byte) error { return ws.WriteMessage(websocket.TextMessage, b) }

// forge sends events whose id is right and whose signature is not, 10,000 a second.
func (f *flooder) forge(ctx context.Context) {
	const each = 4
	rate := f.part(10_000) / len(f.nets) / f.part(each)
	f.each(ctx, each, 0, func(ws *websocket.Conn, rnd *rand.Rand) error {
		go f.hear(ws)
		ev := &nostr.Event{Kind: kindIssue, PubKey: strings.Repeat("79be667e", 8), CreatedAt: nostr.Now(), Tags: nostr.Tags{{"a", f.a}}}
		ev.PubKey = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
		ev.Sig = strings.Repeat("01", 64)
		return paced(rate, func() error {
			ev.Content = fmt.Sprint(rnd.Uint64())
			ev.ID = ev.GetID()
			b, _ := json.Marshal([]any{"EVENT", ev})
			f.say("forged")
			return text(ws, b)
		})
	})
	f.ready()
}

// announce announces repositories, each with a key of its own.
func (f *flooder) announce(ctx context.Context) {
	f.each(ctx, 1, 0, func(ws *websocket.Conn, rnd *rand.Rand) error {
		go f.hear(ws)
		return paced(3, func() error {
			ev := f.announcement(rnd)
			b, _ := json.Marshal([]any{"EVENT", ev})
			f.say("announced")
			return text(ws, b)
		})
	})
	f.ready()
}

func (f *flooder) announcement(rnd *rand.Rand) *nostr.Event {
	secret := fmt.Sprintf("%016x%016x%016x%016x", rnd.Uint64()|1, rnd.Uint64(), rnd.Uint64(), rnd.Uint64())
	pub, _ := nostr.GetPublicKey(secret)
	id := fmt.Sprintf("flood-%x", rnd.Uint32())
	ev := &nostr.Event{Kind: grasp.KindAnnouncement, CreatedAt: nostr.Now(), Tags: nostr.Tags{
		{"d", id}, {"clone", "http://" + f.addr + "/" + grasp.PubKey(pub).Npub() + "/" + id + ".git"}, {"relays", "ws://" + f.addr},
	}}
	if err := ev.Sign(secret); err != nil {
		panic(err)
	}
	return ev
}

// listen opens 50,000 subscriptions on 250 connections and reads what comes.
func (f *flooder) listen(ctx context.Context) {
	conns, subs := 250, 200
	if f.scale < 100 {
		subs = 60 // soon there
	}
	var open atomic.Int64
	f.each(ctx, conns/len(f.nets), 0, func(ws *websocket.Conn, rnd *rand.Rand) error {
		go func() {
			for {
				_, b, err := ws.ReadMessage()
				if err != nil {
					return
				}
				switch {
				case bytes.HasPrefix(b, []byte(`["EOSE"`)):
					if open.Add(1) == int64(f.part(conns*subs)*9/10) {
						f.ready()
					}
					f.say("subscribed")
				case bytes.HasPrefix(b, []byte(`["CLOSED"`)):
					f.say(string(b[:min(len(b), 120)]))
				default:
					f.say("heard")
				}
			}
		}()
		n := 0
		return paced(40, func() error {
			if n++; n > subs {
				_, err := ws.NetConn().Write(nil)
				return err
			}
			filter := fmt.Sprintf(`{"kinds":[1621,1111],"#a":["30617:%064x:nothing-%d"],"limit":0}`, rnd.Uint64(), n)
			if n == 1 {
				filter = `{"kinds":[1621],"limit":0}`
			}
			return text(ws, fmt.Appendf(nil, `["REQ","s%d",%s]`, n, filter))
		})
	})
}

// ask sends requests with as many values as are allowed, as fast as they are answered.
func (f *flooder) ask(ctx context.Context) {
	values := make([]string, 2000)
	for i := range values {
		values[i] = fmt.Sprintf(`"%064x"`, f.rnd.Uint64())
	}
	list := strings.Join(values, ",")
	filters := []string{
		`{"authors":[` + list + `],"kinds":[30617,30618,1617,1621,1111]}`,
		`{"#e":[` + list + `],"#p":[` + list + `]}`,
		`{"#t":[` + list + `],"kinds":[1621],"limit":500}`,
	}
	f.each(ctx, 4, 0, func(ws *websocket.Conn, rnd *rand.Rand) error {
		for n := 0; ; n++ {
			verb := [...]string{"REQ", "REQ", "COUNT"}[n%3]
			if err := text(ws, []byte(`["`+verb+`","s",`+filters[n%3]+`,`+filters[(n+1)%3]+`]`)); err != nil {
				return err
			}
			for {
				_, b, err := ws.ReadMessage()
				if err != nil {
					return err
				}
				if !bytes.HasPrefix(b, []byte(`["EVENT"`)) {
					f.say(string(b[:min(len(b), 50)]))
					break
				}
			}
			f.ready()
		}
	})
}

// sleep asks for everything again and again and reads nothing.
func (f *flooder) sleep(ctx context.Context) {
	f.each(ctx, 50, 4096, func(ws *websocket.Conn, rnd *rand.Rand) error {
		for n := range 20 {
			if err := text(ws, fmt.Appendf(nil, `["REQ","s%d",{"limit":500}]`, n)); err != nil {
				return err
			}
		}
		f.ready()
		// What is written tells whether the other side is still there.
		return paced(2, func() error { return ws.WriteControl(websocket.PongMessage, nil, time.Now().Add(time.Second)) })
	})
}

// shout sends messages that are too large, one after another.
func (f *flooder) shout(ctx context.Context) {
	big := []byte(`["EVENT",{"id":"` + strings.Repeat("0", 64) + `","content":"` + strings.Repeat("x", 10_000_000) + `"}]`)
	f.each(ctx, 8, 0, func(ws *websocket.Conn, rnd *rand.Rand) error {
		go f.hear(ws)
		f.ready()
		for {
			if err := text(ws, big); err != nil {
				return err
			}
			f.say("shouted")
		}
	})
}

// compare opens reconciliations about everything and never goes on with them.
func (f *flooder) compare(ctx context.Context) {
	f.each(ctx, 20, 0, func(ws *websocket.Conn, rnd *rand.Rand) error {
		go f.hear(ws)
		f.ready()
		n := 0
		return paced(5, func() error {
			n++
			return text(ws, fmt.Appendf(nil, `["NEG-OPEN","n%d",{},"6100000200"]`, n))
		})
	})
}

// allFloods are the names of floods, in the order in which they come.
func allFloods() []string {
	return slices.Sorted(maps.Keys(floods))
}

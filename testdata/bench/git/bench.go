package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A bench is one run.
type bench struct {
	quick bool
	dir   string // for everything that is thrown away at the end
	cache string
	say   func(string, ...any)

	house *house
	peers map[string]*peer
	repos map[string]*repository

	works map[string]*work             // of a repository at a peer
	refs  map[string]map[string]string // what ours was told of a repository
	uniq  map[string]int               // how many first requests were made

	bigTip  string
	bigPack []byte // of push-big

	samples map[point][]float64
	faults  []string
	closing sync.Once
	halt    atomic.Bool // no more rounds: somebody wants to see what there is
}

// A point is where samples are gathered.
type point struct{ scenario, metric, peer string }

// A sample is what one round of a scenario measured at one peer, by metric.
type sample map[string]float64

// The metrics. Times are in milliseconds.
const (
	mMS    = "ms"           // a request, median
	mP99   = "p99 ms"       // of all requests of a round
	mRate  = "per s"        // requests
	mFirst = "first ms"     // until the first byte
	mCPU   = "CPU ms"       // of the server and its children, for each request
	mMem   = "private MiB"  // the most while it ran
	mGrow  = "grown MiB"    // the most while it ran, less what it was just before
	mGits  = "git procs"    // that are left
	mRatio = "last / first" // tenth
	mSlow  = "x unloaded"   // latency under load by latency without
	mSize  = "MB"           // of an answer
)

// A scenario is one row of the plan.
type scenario struct {
	name   string
	what   string // one line
	peers  []string
	brief  []string // of these, who is measured in a quick run; nil: all
	rounds [2]int   // in a quick and in a full run; 0: not at all
	ready  func(b *bench, p *peer) error
	run    func(b *bench, p *peer, round int) (sample, error)
}

// measure runs a scenario: round by round, each with all peers, each time beginning with another.
// A peer that fails is left out of the rest and named.
func (b *bench) measure(s scenario) {
	rounds := s.rounds[1]
	if b.quick {
		rounds = s.rounds[0]
	}
	if rounds == 0 || b.halt.Load() {
		return
	}
	began := time.Now()
	var at []*peer
	for _, name := range s.peers {
		p := b.peers[name]
		if p == nil || b.quick && s.brief != nil && !slices.Contains(s.brief, name) {
			continue
		}
		if s.ready != nil {
			if err := s.ready(b, p); err != nil {
				b.fail(s, p, err)
				continue
			}
		}
		at = append(at, p)
	}
	for r := range rounds {
		for i := range at {
			p := at[(i+r)%len(at)]
			if p == nil || b.halt.Load() {
				continue
			}
			got, err := s.run(b, p, r)
			if err != nil {
				b.fail(s, p, err)
				at[(i+r)%len(at)] = nil
				for point := range b.samples { // half a result is none
					if point.scenario == s.name && point.peer == p.name {
						delete(b.samples, point)
					}
				}
				continue
			}
			for m, v := range got {
				k := point{s.name, m, p.name}
				b.samples[k] = append(b.samples[k], v)
			}
		}
	}
	line := ""
	for _, p := range at {
		if p == nil {
			continue
		}
		if v, ok := b.value(s.name, mMS, p.name); ok {
			line += fmt.Sprintf("  %s %s", p.name, figure(v))
		}
	}
	b.say("%-32s %5.1f s; ms:%s", s.name, time.Since(began).Seconds(), line)
}

func (b *bench) fail(s scenario, p *peer, err error) {
	text := fmt.Sprintf("%s at %s: %v", s.name, p.name, err)
	if len(text) > 400 {
		text = text[:400]
	}
	b.faults = append(b.faults, text)
	b.say("  FAILED %s", text)
}

// How much one round does: at least so many requests and so long.
type effort struct {
	n    int
	long time.Duration
}

// load lets c clients ask until the effort is made. check looks at each answer.
func (b *bench) load(p *peer, c int, e effort, next func(i int) request, check func(answer) error) (sample, error) {
	var (
		made atomic.Int64
		mu   sync.Mutex
		all  []answer
	)
	before := time.Duration(0)
	if p.box != nil {
		before = p.box.cpu()
	}
	began := time.Now()
	err := each(c, c, func(int) error {
		for {
			i := int(made.Add(1)) - 1
			if i >= e.n && time.Since(began) >= e.long {
				return nil
			}
			a, err := p.do(context.Background(), next(i), false)
			if err == nil && check != nil {
				err = check(a)
			}
			if err != nil {
				return err
			}
			mu.Lock()
			all = append(all, a)
			mu.Unlock()
		}
	})
	took := time.Since(began)
	if err != nil {
		return nil, err
	}
	var ms, first []float64
	var cpu time.Duration
	var bytes int64
	for _, a := range all {
		ms, first = append(ms, millis(a.took)), append(first, millis(a.first))
		cpu += a.cpu
		bytes += a.n
	}
	if p.box != nil {
		cpu = p.box.cpu() - before
	}
	n := float64(len(all))
	return sample{
		mMS: median(ms), mP99: quantile(ms, 0.99), mFirst: median(first), mRate: n / took.Seconds(), mCPU: millis(cpu) / n,
		mSize: float64(bytes) / n / 1e6,
	}, nil
}

// flushed makes sure that an answer is a whole one.
func flushed(a answer) error {
	if a.status != http.StatusOK || string(a.tail[:]) != flush {
		return fmt.Errorf("status %d, and after %d bytes the answer ends with %q", a.status, a.n, a.tail[:])
	}
	return nil
}

func millis(d time.Duration) float64 { return float64(d) / 1e6 }

func median(v []float64) float64 { return quantile(v, 0.5) }

func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	v = slices.Sorted(slices.Values(v))
	at := q * float64(len(v)-1)
	low := int(at)
	if low+1 >= len(v) {
		return v[low]
	}
	return v[low] + (at-float64(low))*(v[low+1]-v[low])
}

// spread is the median distance from the median.
func spread(v []float64) float64 {
	m := median(v)
	var d []float64
	for _, x := range v {
		d = append(d, math.Abs(x-m))
	}
	return median(d)
}

// value returns the median of a metric, or false if it was not measured.
func (b *bench) value(scenario, metric, peer string) (float64, bool) {
	v := b.samples[point{scenario, metric, peer}]
	return median(v), len(v) > 0
}

// build makes the repositories and brings them to everybody.
func (b *bench) build(program string) error {
	for _, s := range shapes {
		if b.quick && s.name == "large" {
			continue
		}
		r, err := s.make(b.cache, b.say)
		if err != nil {
			return err
		}
		b.repos[s.name] = r
	}
	for _, p := range startPeers(b.dir, b.say) {
		b.peers[p.name] = p
	}
	b.peers[local] = &peer{name: local, dir: func(repo string) string { return b.repos[repo].dir }}
	for name, p := range b.peers {
		if p.box == nil || name == staticS {
			continue
		}
		for repo, r := range b.copies() {
			if err := copyRepository(r.dir, p.dir(repo)); err != nil {
				return err
			}
		}
		p.idle = p.box.private()
	}
	return b.seedHouse(program)
}

const crowd = 16 // pushers at a time

// copies says which repositories are pushed to, and of what they are made. Reading has the
// originals.
func (b *bench) copies() map[string]*repository {
	small := b.repos["small"]
	out := maps.Clone(b.repos)
	for _, name := range []string{"push", "push-seq", "push-same", "update", "reject"} {
		out[name] = small
	}
	out["push-50k"] = b.repos["refs-50k"]
	for i := range crowd {
		out[fmt.Sprintf("push-%d", i)] = small
	}
	return out
}

// seedHouse starts our server and has it hold what the others hold.
func (b *bench) seedHouse(program string) error {
	h, err := newHouse(program, filepath.Join(b.dir, "house", "data"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(h.data, 0o700); err != nil {
		return err
	}
	b.house = h
	if err := h.start(); err != nil {
		return err
	}
	began := time.Now()
	// All are announced, one after another; then a few pushers at a time bring them.
	type seed struct {
		repo string
		from *repository
	}
	var seeds []seed
	for repo, r := range b.copies() {
		seeds = append(seeds, seed{repo, r})
		b.refs[repo] = r.heads()
	}
	// The same again for repositories that are packed behind the server's back.
	var packed []string
	for repo, r := range b.repos {
		if repo == "refs-50k" || repo == "refs-1k" {
			continue
		}
		seeds = append(seeds, seed{repo + "-packed", r})
		packed = append(packed, repo)
	}
	for _, s := range seeds {
		if err := errors.Join(h.announce(s.repo), h.say(s.repo, s.from.heads())); err != nil {
			return err
		}
	}
	err = each(3, len(seeds), func(i int) error {
		if err := h.bring(seeds[i].from, seeds[i].repo); err != nil {
			return fmt.Errorf("bring %s to the server: %w", seeds[i].repo, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	b.say("%d repositories were brought to the server in %.1f s", len(seeds), time.Since(began).Seconds())
	began = time.Now()
	if err := h.stop(); err != nil {
		return err
	}
	if err := h.pulls(b.repos["refs-50k"], "refs-50k", "push-50k"); err != nil {
		return fmt.Errorf("add pull requests: %w", err)
	}
	for _, repo := range packed {
		dir := h.dir(repo + "-packed")
		for _, args := range [][]string{{"-c", "repack.writeBitmaps=true", "repack", "-q", "-a", "-d", "-b"}, {"commit-graph", "write", "--reachable"}} {
			if _, err := git(dir, args...); err != nil {
				return err
			}
		}
	}
	if err := h.start(); err != nil {
		return err
	}
	b.say("pull requests added and copies packed in %.1f s", time.Since(began).Seconds())
	if b.repos["large"] != nil {
		h.box.quiet(2 * time.Minute) // what it does behind its visitors' backs may take a while
	}
	h.box.quiet(20 * time.Second)
	b.peers[ours] = &peer{name: ours, box: h.box, url: h.clone, dir: h.dir, idle: h.box.private()}
	b.peers[tidy] = &peer{
		name: tidy, box: h.box, idle: b.peers[ours].idle,
		url: func(repo string) string { return h.clone(repo + "-packed") },
		dir: func(repo string) string { return h.dir(repo + "-packed") },
	}
	return nil
}

// close ends everybody, once.
func (b *bench) close() { b.closing.Do(b.end) }

func (b *bench) end() {
	for name, p := range b.peers {
		if p.box != nil && name != ours && name != tidy {
			p.box.close()
		}
	}
	if b.house != nil {
		b.house.stop()
	}
}

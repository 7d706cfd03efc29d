package torture_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	healFor  = flag.Duration("heal", 0, "how long TestHeal does violence; 0 is three seconds, and nothing in namespaces")
	healWait = flag.Duration("healwait", 10*time.Minute, "how long the servers of TestHeal may take to agree afterwards")
)

// healing is how many servers there are.
const healing = 5

// briefly is how long violence is done if no flag says it.
const briefly = 3 * time.Second

// A node is one of the servers that host the same repository.
type node struct {
	*server
	i      int
	public string // host:port by which it is announced, and the others know it
	at     *run   // keeps what is asked of it apart from the others
	logged int64  // how much of its log was read

	pid  atomic.Int64
	up   atomic.Bool
	hurt atomic.Int64 // how often it was killed: what was under way then may fail
}

// wires are what the servers reach each other by.
type wires interface {
	// cut takes apart what i opens to j, and what it opens from now on. Silent leaves both sides unaware.
	cut(i, j int, silent bool)
	// mend undoes it.
	mend(i, j int)
}

// A cluster is the servers and their wires.
type cluster struct {
	*run
	nodes []*node
	wires wires
	rnd   *rand.Rand
	split map[[2]int]bool // what is cut

	killed, parted, skewed int
}

// newNode makes a server that the others may know, with all that it needs to fetch from them.
func (r *run) newNode(i int, addr, public string, allow string) *node {
	r.t.Helper()
	dir := mustMkdir(r.t, r.dir, fmt.Sprint("server", i))
	n := &node{server: newServer(r.t, dir), i: i}
	if addr != "" {
		n.addr = addr
	}
	n.public = n.addr
	if public != "" {
		n.public = public
	}
	n.args = append(n.args, "--domain", "http://"+n.public, "--sync.start-delay=0s", "--outward.http",
		"--outward.allow="+allow, "--outward.host-per-minute=100000", "--outward.host-concurrent=1000",
		"--prs.enabled")
	n.at = &run{t: r.t, seed: r.seed, dir: dir, srv: n.server}
	return n
}

// begin starts a node with a clock that is wrong by skew. It returns before it serves.
func (c *cluster) begin(n *node, skew time.Duration) {
	args := n.args
	n.args = append(slices.Clone(args), "--testing.clock-skew="+skew.Round(time.Second).String())
	n.begin()
	n.pid.Store(int64(n.server.pid()))
	n.args = args
	if skew != 0 {
		c.skewed++
	}
}

// ready waits until a node serves.
func (c *cluster) ready(n *node) {
	c.t.Helper()
	select {
	case <-n.server.ready:
		n.up.Store(true)
	case <-n.exited:
		c.t.Fatalf("server %d ended instead of serving; its log:\n%s", n.i, n.logTail(40))
	case <-time.After(2 * time.Minute):
		c.t.Fatalf("server %d does not serve; its log:\n%s", n.i, n.logTail(40))
	}
}

func (c *cluster) startAll(skew func() time.Duration) {
	c.t.Helper()
	for _, n := range c.nodes {
		if !n.up.Load() {
			c.begin(n, skew())
		}
	}
	for _, n := range c.nodes {
		c.ready(n)
	}
}

// anySkew is how wrong clocks are: half of them not at all, no more than ten minutes (hardening G11).
func (c *cluster) anySkew() time.Duration {
	if c.rnd.IntN(2) == 0 {
		return 0
	}
	return time.Duration(c.rnd.Int64N(int64(20*time.Minute))) - 10*time.Minute
}

// running returns the nodes that serve.
func (c *cluster) running() []*node {
	var out []*node
	for _, n := range c.nodes {
		if n.up.Load() {
			out = append(out, n)
		}
	}
	return out
}

func (c *cluster) strike(n *node) {
	n.up.Store(false)
	n.hurt.Add(1)
	n.kill(c.rnd.IntN(2) == 0)
	c.killed++
}

// part cuts the servers in two halves that both go on, or one wire in one direction.
func (c *cluster) part() {
	silent := c.rnd.IntN(2) == 0
	if c.rnd.IntN(3) == 0 {
		i := c.rnd.IntN(healing)
		c.sever(i, (i+1+c.rnd.IntN(healing-1))%healing, silent)
	} else {
		side := 1 + c.rnd.IntN(1<<healing-2) // one bit each; neither side is empty
		for i := range healing {
			for j := range healing {
				if side>>i&1 != side>>j&1 {
					c.sever(i, j, silent)
				}
			}
		}
	}
	c.parted++
}

func (c *cluster) sever(i, j int, silent bool) {
	if !c.split[[2]int{i, j}] {
		c.split[[2]int{i, j}] = true
		c.wires.cut(i, j, silent)
	}
}

func (c *cluster) mendAll() {
	for w := range maps.Clone(c.split) {
		c.wires.mend(w[0], w[1])
	}
	clear(c.split)
}

// rage does violence for so long. At the end some servers may be down, and wires cut.
func (c *cluster) rage(d time.Duration) {
	over := time.After(d)
	down := map[*node]time.Time{}
	most := min(d/4, 20*time.Second) // for one partition
	var parted time.Time
	for {
		select {
		case <-over:
			return
		case <-time.After(100*time.Millisecond + time.Duration(c.rnd.Int64N(int64(min(d/6, 2*time.Second))))):
		}
		for n, since := range down {
			if time.Since(since) > time.Duration(c.rnd.Int64N(int64(most))) {
				c.begin(n, c.anySkew())
				c.ready(n)
				delete(down, n)
			}
		}
		switch {
		case len(c.split) > 0 && time.Since(parted) > time.Duration(c.rnd.Int64N(int64(most))):
			c.mendAll()
		case len(c.split) == 0 && c.rnd.IntN(2) == 0:
			c.part()
			parted = time.Now()
		default:
			if list := c.running(); len(list) > 2 {
				n := list[c.rnd.IntN(len(list))]
				c.strike(n)
				down[n] = time.Now()
			}
		}
	}
}

// heal makes everything whole again: all servers run, and every wire carries.
func (c *cluster) heal() {
	c.mendAll()
	c.startAll(c.anySkew)
}

// run does what every test here does: people work, violence is done, all is mended, and all servers have
// to agree on what they were told.
func (c *cluster) trial(d time.Duration) {
	t := c.t
	c.t.Cleanup(func() {
		for _, n := range c.nodes {
			n.kill(true)
		}
	})
	c.split, c.rnd = map[[2]int]bool{}, c.rand("violence")
	c.startAll(c.anySkew)
	s := c.newStory(d)
	s.prologue()
	began := time.Now()
	var people sync.WaitGroup
	for _, act := range []func(*rand.Rand){s.write, s.write, s.talk, s.propose} {
		rnd := c.rand(fmt.Sprint("person ", c.rnd.Uint64()))
		people.Go(func() {
			for !s.over.Load() {
				act(rnd)
			}
		})
	}
	c.rage(d)
	raged := time.Since(began)
	s.over.Store(true)
	c.heal()
	people.Wait()
	s.last() // whoever began to push the newest state ends it
	healed := time.Now()
	s.agree()
	took := time.Since(healed)
	for _, n := range c.nodes {
		n.at.audit(n)
	}
	s.look()
	c.settle("at the end")
	t.Logf("%v of violence: %d kills, %d partitions, %d starts with a wrong clock; %d states, %d events, %d proposals, %d pushes; they agree %v after it was mended",
		raged.Round(time.Millisecond), c.killed, c.parted, c.skewed, s.states, s.talks, s.proposals, s.pushes, took.Round(time.Millisecond))
	if d > time.Minute && (c.killed < 5 || c.parted < 5 || s.pushes < 20) {
		t.Error("that was not much violence, or not much work")
	}
}

// audit reads what a server wrote into its log.
func (r *run) audit(n *node) {
	lines, end := n.errorsSince(n.logged)
	n.logged = end
	for _, l := range lines {
		r.fault("the log of server %d: %s", n.i, l)
	}
}

// settle ends the test if there was a fault.
func (c *cluster) settle(where string) {
	c.t.Helper()
	faults := c.faults
	for _, n := range c.nodes {
		faults = append(faults, n.at.faults...)
	}
	if len(faults) == 0 {
		return
	}
	for _, f := range faults[:min(len(faults), 20)] {
		c.t.Errorf("%s: %s", where, f)
	}
	c.t.FailNow()
}

// TestHeal: five servers host one repository, and people work on it at all of them. Servers are killed and
// come back, with clocks that are wrong by up to ten minutes; wires between them are cut, loudly or without a
// word, while both sides go on. When all is mended they serve the same refs and the same events: the newest
// state by the rules, everything that was answered OK, and no repository is damaged (G02-01, G02-02, G02-08,
// G02-12; checks 236, 239, 240, 274 with real programs).
func TestHeal(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	d := *healFor
	if d == 0 {
		d = briefly
	}
	r := newRun(t)
	c := &cluster{run: r}
	for i := range healing {
		c.nodes = append(c.nodes, r.newNode(i, "", freeAddr(t), "127.0.0.0/8"))
	}
	c.wires = newRelays(t, c.nodes)
	c.trial(d)
}

// repoOf is where the others find a repository at n.
func (n *node) repoOf(path string) string { return "http://" + n.public + path }

// here is a URL of a node as it is reached from the test, past the wires.
func (n *node) here(path string) string { return "http://" + n.addr + path }

// statusOf is how a server says its peers do, for whoever wonders why they do not agree.
func (n *node) statusOf() string {
	resp, err := httpClient.Get(n.here("/status.json"))
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return resp.Status
	}
	b := make([]byte, 8<<10)
	k, _ := resp.Body.Read(b)
	return string(b[:k])
}

// poolFor makes the commits of a story of length d.
func (c *cluster) poolFor(d time.Duration) *pool {
	n := 60 + 4*int(d.Seconds())
	return newPool(c.t, filepath.Join(mustMkdir(c.t, c.dir, "pools"), "heal"), c.rand("pool"), n, n/3)
}

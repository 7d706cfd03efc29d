package torture_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

const (
	floodMemory = 512 << 20 // that the server may have resident, whatever comes
	floodDisk   = 256 << 20 // by which its data may grow in floods of up to floodSpan: much of what comes is permitted
	floodSpan   = 8 * time.Second
	residents   = 3 // who visit meanwhile, each from a network of its own
)

// Floods come, with -flood each alone and then all together, from networks of their own, against a
// server with its default limits. Without -flood a tenth of them comes at once. Whoever behaves well is refused nothing meanwhile, and the server's memory
// and disk stay within their bounds (hardening §10; check 91, N-013). Whatever floods, every sort of work goes on: events, requests,
// pushes, clones. How long the others wait is printed and not asserted, for it depends on what else the machine does; docs/performance.md
// has the figures.
func TestFlood(t *testing.T) {
	r := newRun(t)
	r.srv.args = []string{"--trusted-proxies=127.0.0.1", "--admin.listen=" + freeAddr(t), "--log.format=json", "--limits.new-repos=600"}
	tm := r.newTeam(0)
	r.srv.start()
	git := r.visitor("git")
	pushed := tm.act(git, true)
	git.close()
	if !pushed {
		r.settleFaults("preparation")
		t.Fatal("nothing was pushed")
	}
	a := tm.addr(tm.owners[0])
	r.populate(a, *flood > 0)
	r.settleFaults("preparation")
	disk := diskUse(r.srv.data)

	waves, during, scale := append(allFloods(), "all"), *flood, 100
	if during == 0 {
		waves, during, scale = waves[len(waves)-1:], 2*time.Second, 10
	}
	// Each flood stands between two times of calm and is compared with both: what else the machine has to
	// do changes by the minute.
	rest := func(when string) feelings {
		r.dry()
		tm.stock(r, during)
		before := r.spent()
		calm := r.live(tm, a, during)
		r.settleFaults(when)
		t.Logf("%-9s %s; %s", when, calm, r.spent().since(before, during))
		return calm
	}
	calm := rest("calm")
	which := regexp.MustCompile(*floodOnly)
	waves = slices.DeleteFunc(waves, func(what string) bool { return !which.MatchString(what) })
	for i, what := range waves {
		var ebbs []func() string
		for j, each := range allFloods() {
			if what == each || what == "all" {
				ebbs = append(ebbs, r.flooder(each, a.Coordinate(), 10*(i+1)+j, scale))
			}
		}
		tm.stock(r, during)
		before := r.spent()
		got := r.live(tm, a, during)
		used, resident := r.spent().since(before, during), memory(t, r.srv.pid(), "VmRSS")>>20
		for _, ebb := range ebbs {
			if did := ebb(); testing.Verbose() {
				t.Logf("          %.400s", did)
			}
		}
		r.settleFaults(what)
		after := rest("after")
		t.Logf("%-9s %s; %s, %d MiB", what, got.beside(calm.with(after)), used, resident)
		calm = after
	}

	peak, grown := memory(t, r.srv.pid(), "VmHWM"), diskUse(r.srv.data)-disk
	t.Logf("at most %d MiB resident, %d MiB more on disk; limits met: %s", peak>>20, grown>>20, r.hits())
	if peak > floodMemory {
		t.Errorf("the server had %d MiB resident, at most %d are allowed", peak>>20, floodMemory>>20)
	}
	if most := int64(float64(floodDisk) * max(1, during.Seconds()/floodSpan.Seconds())); int64(grown) > most {
		t.Errorf("the data grew by %d MiB, at most %d are allowed", grown>>20, most>>20)
	}
	if errs, _ := r.srv.errorsSince(0); len(errs) > 0 {
		t.Errorf("%d errors in the log, the first: %s", len(errs), errs[0])
	}
}

// populate gives the floods something to ask for.
func (r *run) populate(a grasp.Addr, much bool) {
	n := 20
	if much {
		n = 100
	}
	dave := r.person("dave")
	now := time.Now().Unix()
	each(4, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, func(name int) {
		v := r.visitor(fmt.Sprint("populate", name))
		defer v.close()
		for i := range n {
			v.publish(&record{ev: dave.sign(kindIssue, now-int64(i), strings.Repeat("It does not work. ", 100),
				nostr.Tag{"a", a.Coordinate()}, nostr.Tag{"t", "bug"}, nostr.Tag{"nonce", fmt.Sprint(name, i)})})
		}
	})
}

// feelings are how long well-behaved visitors waited for each sort of thing.
type feelings map[string][]time.Duration

// at returns the p-th percentile of a sort.
func (f feelings) at(sort string, p int) time.Duration {
	all := slices.Sorted(slices.Values(f[sort]))
	if len(all) == 0 {
		return 0
	}
	return all[min(len(all)-1, len(all)*p/100)]
}

// with returns what was felt at both times.
func (f feelings) with(g feelings) feelings {
	both := feelings{}
	for _, s := range sorts {
		both[s] = slices.Concat(f[s], g[s])
	}
	return both
}

// A spending is what the server's threads had of the processors, and for how long they waited for one.
type spending struct{ had, waited time.Duration }

// since prints what was spent since before, of one processor.
func (s spending) since(before spending, during time.Duration) string {
	part := func(d time.Duration) float64 { return d.Seconds() / during.Seconds() }
	return fmt.Sprintf("the server had %.2f processors and waited for %.2f", part(s.had-before.had), part(s.waited-before.waited))
}

// spent adds up what the threads tell that are there now: a server keeps them.
func (r *run) spent() (s spending) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", r.srv.pid()))
	for _, name := range tasks {
		b, err := os.ReadFile(name)
		var had, waited int64
		if n, _ := fmt.Sscan(string(b), &had, &waited); err == nil && n == 2 {
			s.had += time.Duration(had)
			s.waited += time.Duration(waited)
		}
	}
	return s
}

// dry waits until the server has done with all connections of a flood that is over.
func (r *run) dry() {
	r.t.Helper()
	for end := time.Now().Add(patience); ; pause(20 * time.Millisecond) {
		if n := r.gauge("gitroost_relay_connections"); n == 0 {
			return
		} else if time.Now().After(end) {
			r.fault("%v connections are left of a flood", n)
			return
		}
	}
}

var sorts = []string{"event", "request", "push", "clone"}

// String prints median, 99th percentile and number of each sort.
func (f feelings) String() string { return f.beside(nil) }

// beside prints the same, with how often the 99th percentile of calm it is.
func (f feelings) beside(calm feelings) string {
	var out []string
	for _, s := range sorts {
		text := fmt.Sprintf("%s %.1f/%.1f ms (%d)", s, ms(f.at(s, 50)), ms(f.at(s, 99)), len(f[s]))
		if calm != nil && calm.at(s, 99) > 0 {
			text += fmt.Sprintf(" ×%.1f", float64(f.at(s, 99))/float64(calm.at(s, 99)))
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// perSecond is how many events a connection may publish for a while without being told to slow down
// (limits.events_per_minute, with its burst).
func perSecond(during time.Duration) float64 { return min(10, 100/during.Seconds()+1.5) }

// live lets well-behaved visitors go about their work for a while. What they are refused is a fault.
func (r *run) live(tm *team, a grasp.Addr, during time.Duration) feelings {
	ctx, cancel := context.WithTimeout(context.Background(), during)
	defer cancel()
	all := feelings{}
	var mu sync.Mutex
	felt := func(sort string, began time.Time) {
		mu.Lock()
		defer mu.Unlock()
		all[sort] = append(all[sort], time.Since(began))
	}
	var wg sync.WaitGroup
	for i := range residents {
		wg.Go(func() { r.reside(ctx, i, a, during, felt) })
	}
	wg.Go(func() {
		// As often as one connection may publish states; each time it is another one.
		git := r.visitor("git")
		defer git.close()
		tick := time.NewTicker(time.Duration(float64(time.Second) / perSecond(during)))
		defer tick.Stop()
		for first := true; first || ctx.Err() == nil; first = false {
			began := time.Now()
			if !tm.act(git, true) {
				return
			}
			felt("push", began)
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	wg.Go(func() {
		for first := true; first || ctx.Err() == nil; first = false {
			began := time.Now()
			r.cloneOf(r.srv.repo(a))
			felt("clone", began)
		}
	})
	wg.Wait()
	for _, sort := range sorts {
		if len(all[sort]) == 0 {
			r.fault("not one %s went through", sort)
		}
	}
	return all
}

// stock gives the team more commits than it can push in the meantime: a push that has nothing to bring is none.
func (t *team) stock(r *run, during time.Duration) {
	r.t.Helper()
	left := len(t.pool.commits) - t.next
	if want := int(40*during.Seconds()) + 20; left < want {
		name := fmt.Sprint("stock", len(t.pool.commits))
		more := newPool(r.t, filepath.Join(mustMkdir(r.t, r.dir, "pools"), name), r.rand(name), (want-left+9)/10*10, 0) // one tag for ten
		f, err := os.OpenFile(filepath.Join(t.pool.dir, "objects", "info", "alternates"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err == nil {
			_, err = fmt.Fprintln(f, filepath.Join(more.dir, "objects"))
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			r.t.Fatal(err)
		}
		// Not append: the lists of a pool lie side by side, and one would grow over the other.
		t.pool.commits = slices.Concat(t.pool.commits, more.commits)
		t.pool.tags = slices.Concat(t.pool.tags, more.tags)
	}
}

func (r *run) cloneOf(url string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	dir, err := os.MkdirTemp(r.dir, "clone-")
	if err != nil {
		r.fault("%v", err)
		return
	}
	defer os.RemoveAll(dir)
	if out, err := git(ctx, dir, nil, "-c", "http.extraHeader=X-Forwarded-For: 192.0.2.77", "clone", "-q", "--bare", url, filepath.Join(dir, "c")); err != nil {
		r.fault("clone: %v\n%s", err, out)
	}
	if resp, err := httpClient.Get(r.srv.url() + "/health"); err != nil || resp.StatusCode != http.StatusOK {
		r.fault("health: %v %v", resp, err)
	} else {
		resp.Body.Close()
	}
}

// reside is one visitor: it publishes what is related and looks whether it is there, no faster than
// anybody is promised (N-013).
func (r *run) reside(ctx context.Context, n int, a grasp.Addr, during time.Duration, felt func(string, time.Time)) {
	ws, err := dialFrom(context.Background(), r.srv.addr, fmt.Sprintf("198.51.%d.1", n), 0)
	if err != nil {
		r.fault("a visitor is not let in: %v", err)
		return
	}
	defer ws.Close()
	carol := r.person(fmt.Sprint("resident", n))
	pace := perSecond(during)
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	owed, seen := 1.0, strings.Repeat("0", 64) // the first event at once
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			if i > 0 {
				return
			}
		case <-tick.C:
		}
		if owed += pace / 40; owed >= 1 {
			owed--
			ev := carol.sign(kindIssue, time.Now().Unix(), fmt.Sprintf("It does not work, for the %dth time.", i),
				nostr.Tag{"a", a.Coordinate()}, nostr.Tag{"nonce", fmt.Sprint(time.Now().UnixNano())})
			began := time.Now()
			if !r.talk(ws, []any{"EVENT", ev}, `["OK","`+ev.ID+`",true,""]`) {
				return
			}
			felt("event", began)
			seen = ev.ID
		}
		began := time.Now()
		if !r.talk(ws, []any{"REQ", "r", nostr.Filter{IDs: []string{seen}}}, `["EOSE","r"]`) {
			return
		}
		felt("request", began)
	}
}

// talk sends one message and waits for its answer. Any other end is a fault.
func (r *run) talk(ws *websocket.Conn, msg []any, want string) bool {
	b, err := json.Marshal(msg)
	if err == nil {
		err = text(ws, b)
	}
	if err != nil {
		r.fault("a visitor was cut off: %v", err)
		return false
	}
	ws.SetReadDeadline(time.Now().Add(patience))
	for {
		_, got, err := ws.ReadMessage()
		switch {
		case err != nil:
			r.fault("a visitor was cut off, or not answered: %v", err)
			return false
		case string(got) == want:
			return true
		case !bytes.HasPrefix(got, []byte(`["EVENT"`)):
			r.fault("a visitor wants %s and is told %s", want, got)
			return false
		}
	}
}

// hits returns which limits were met, and how often.
func (r *run) hits() string {
	return strings.Join(r.metrics("gitroost_limit_hits_total"), " ")
}

func diskUse(dir string) (n int64) {
	filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			if info, err := e.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}

// gauge returns the value of a metric without labels, or -1.
func (r *run) gauge(name string) float64 {
	for _, line := range r.scrape() {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			var v float64
			if n, _ := fmt.Sscan(rest, &v); n == 1 {
				return v
			}
		}
	}
	return -1
}

// metrics returns the series of a metric that are not zero.
func (r *run) metrics(name string) (out []string) {
	for _, line := range r.scrape() {
		if rest, ok := strings.CutPrefix(line, name+`{name="`); ok && !strings.HasSuffix(line, " 0\n") {
			out = append(out, strings.Replace(strings.TrimSpace(rest), `"}`, "", 1))
		}
	}
	return out
}

// scrape returns the lines of the operator's listener.
func (r *run) scrape() []string {
	for _, arg := range r.srv.args {
		addr, ok := strings.CutPrefix(arg, "--admin.listen=")
		if !ok {
			continue
		}
		resp, err := httpClient.Get("http://" + addr + "/metrics")
		if err != nil {
			r.fault("metrics: %v", err)
			return nil
		}
		defer resp.Body.Close()
		var b bytes.Buffer
		b.ReadFrom(resp.Body)
		return slices.Collect(strings.Lines(b.String()))
	}
	return nil
}

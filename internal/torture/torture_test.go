// Package torture_test holds the whole server to its promises under violence (hardening §12). It
// builds the real program, loads it with pushes and events, kills or stops it at random moments,
// starts it again on the same data, and compares what is there with what it had promised.
//
//	program_test.go   the program: build, start, kill, stop, its children, its advertisements
//	people_test.go    keys, the commits that are pushed, the teams that own repositories
//	load_test.go      what maintainers do, and what of it the server has confirmed
//	crowd_test.go     what everybody else does: pull requests, issues, clones, pushes without right
//	check_test.go     the invariants I1 to I5, I7 and I8
//	kill_test.go      kills; stop_test.go graceful stops
//	memory_test.go    what a large push beside a large clone costs
//	exec_test.go      which requests start no process
//	purgatory_test.go what a million events cost that wait for nothing
//	heal_test.go      five servers of one repository, killed and parted; heal_story_test.go what people do there;
//	                  heal_wires_test.go, heal_netns_test.go what the servers reach each other by
//	flood_test.go     what the others feel of a flood; flooder_test.go who makes them
//
// It knows the program from outside only: its command line, its addresses, the files that it leaves
// behind. The one exception is the ledger, which is read with its own code, from a copy, while the
// program is dead.
//
// A run prints its seed. The same seed makes the same choices; what runs side by side may still
// meet in another order.
package torture_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

var (
	kills     = flag.Int("kills", 15, "how often TestKills kills the server")
	stops     = flag.Int("stops", 4, "how often TestStops stops the server")
	mib       = flag.Int("mib", 128, "how much TestMemory pushes and clones, in MiB")
	flood     = flag.Duration("flood", 0, "how long each flood of TestFlood lasts; 0 is a tenth of all of them for two seconds")
	floodOnly = flag.String("floods", "", "which floods of TestFlood come alone, as a regular expression; all")
	crush     = flag.Int("crush", 500, "how many repositories TestPurgatoryFlood announces")
	seed      = flag.Int64("seed", 0, "the choices of a run; 0 takes new ones")
)

func TestMain(m *testing.M) {
	beFlooder()
	flag.Parse()
	code := m.Run()
	if program.dir != "" {
		os.RemoveAll(program.dir)
	}
	os.Exit(code)
}

// A run is one test's server with all who visit it.
type run struct {
	t    *testing.T
	seed int64
	dir  string // everything that the run writes
	srv  *server

	// faults is what was wrong. The first ends the run at the end of its round.
	mu     sync.Mutex
	faults []string
	stats  stats
}

type stats struct {
	pushes, events  int // confirmed
	cutOff          int // operations that a kill or stop interrupted
	cutDone         int // of those of maintainers: found to have happened
	orphans         int // processes that outlived the server
	slowestRecovery time.Duration
	slowestStop     time.Duration
	refused, clones int
	repositories    int
	stored          int // events looked up in the ledger of a dead server
}

// newRun prepares a run in a folder of its own. It is kept when the test fails.
func newRun(t *testing.T) *run {
	t.Helper()
	r := &run{t: t, seed: *seed}
	if r.seed == 0 {
		r.seed = rand.Int64N(1 << 40)
	}
	t.Logf("seed %d (go test ./internal/torture -run %s -seed %d)", r.seed, t.Name(), r.seed)
	dir, err := os.MkdirTemp("", "gitroost-torture-")
	if err != nil {
		t.Fatal(err)
	}
	r.dir = dir
	t.Cleanup(func() {
		if r.srv != nil {
			r.srv.kill(true)
			for p := range r.srv.strays() {
				syscall.Kill(p, syscall.SIGKILL)
			}
		}
		if t.Failed() {
			t.Logf("seed %d; data and log are kept in %s", r.seed, dir)
			return
		}
		os.RemoveAll(dir)
	})
	r.srv = newServer(t, dir)
	return r
}

// rand returns a source of choices for name.
func (r *run) rand(name string) *rand.Rand {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", r.seed, name))
	return rand.New(rand.NewPCG(binary.LittleEndian.Uint64(sum[:]), binary.LittleEndian.Uint64(sum[8:])))
}

// fault notes something that must not be.
func (r *run) fault(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}

// settleFaults ends the test if there was a fault.
func (r *run) settleFaults(where string) {
	r.t.Helper()
	r.mu.Lock()
	faults := r.faults
	r.mu.Unlock()
	if len(faults) == 0 {
		return
	}
	for i, f := range faults {
		if i == 20 {
			r.t.Logf("… and %d more", len(faults)-i)
			break
		}
		r.t.Errorf("%s: %s", where, f)
	}
	r.t.Logf("end of the server's log:\n%s", r.srv.logTail(40))
	r.t.FailNow()
}

func (r *run) count(f func(s *stats)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.stats)
}

// until asks ok again and again for at most limit. What the server does behind the scenes sends no
// signal to the outside: asking is the only way to know.
func until(limit time.Duration, ok func() bool) bool {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok() {
			return true
		}
		select {
		case <-ctx.Done():
			return ok()
		case <-tick.C:
		}
	}
}

// pause lets time pass: the moments of violence are random, not signalled.
func pause(d time.Duration) { <-time.After(d) }

// each calls f for all items, at most width at a time, and returns when all are done.
func each[T any](width int, items []T, f func(T)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, width)
	for _, it := range items {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f(it)
		})
	}
	wg.Wait()
}

func mustMkdir(t testing.TB, path ...string) string {
	t.Helper()
	dir := filepath.Join(path...)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

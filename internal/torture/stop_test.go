package torture_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
)

// longestStop is how long a stop may take (G6): the 30 seconds that are set, and what a busy machine adds.
const longestStop = 2 * time.Minute

// The server is asked to stop while it is loaded. Each push is reported, or cleanly absent: what
// git called a failure did not happen (G6).
func TestStops(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	s := newRun(t).newScene()
	chance := s.visitor("violence")
	s.srv.start()
	for round := range *stops {
		wait := s.load(round)
		s.violence(chance)
		took, err := s.srv.stop(longestStop)
		wait()
		if err != nil {
			s.fault("stop: %v after %v", err, took)
		}
		s.count(func(st *stats) { st.slowestStop = max(st.slowestStop, took) })
		s.checkProcesses()
		if left := s.unfinished(); len(left) > 0 {
			s.fault("I5: left behind by an orderly end: %v", left)
		}
		s.settleFaults(fmt.Sprintf("round %d, stop", round))
		s.ledger(s.teams, false)
		s.srv.start()
		s.strict()
		s.check(s.teams, s.teams[chance.rnd.IntN(len(s.teams))])
		s.audit()
		s.settleFaults(fmt.Sprintf("round %d, after the restart", round))
		s.renew()
	}
	s.srv.kill(false)
	s.report("stops", *stops)
	t.Logf("slowest stop %v", s.stats.slowestStop.Round(time.Millisecond))
}

// strict takes back the doubt about pushes that were cut off: their failure was said by a server
// that knew what it did. Only an event whose answer was lost may have been stored.
func (s *scene) strict() {
	for _, t := range s.teams {
		if len(t.alts) > 1 && t.pushCut {
			t.alts = t.alts[:1]
		}
		t.pushCut = false
	}
}

// A push that does not end holds up the end of the server only as long as is set, and is cleanly
// absent then: no ref, no pack, no process. Sent again to the next server it is accepted (G6).
func TestStopCutsOff(t *testing.T) {
	r := newRun(t)
	const shutdown = 2 * time.Second
	r.srv.args = append(r.srv.args, "--shutdown="+shutdown.String())
	r.srv.start()
	alice := r.person("alice")
	tm := &team{id: "slow", owners: []*person{alice}, members: []*person{alice}, at: time.Now().Unix() - 1000, announced: map[grasp.PubKey]*record{}}
	v := r.visitor("slow")
	defer v.close()
	dir := filepath.Join(r.dir, "source")
	tip := incompressible(t, dir, 8<<20, r.rand("source"))
	if !tm.announce(v) || !v.publish(tm.note(tm.state(alice, grasp.Refs{"refs/heads/main": tip}, "refs/heads/main"))) {
		r.settleFaults("preparation")
		t.FailNow()
	}
	to := tm.addr(alice)
	via, stalled := stall(t, r.srv.addr, 3<<20)
	ended := make(chan string, 1)
	go func() {
		url := strings.Replace(r.srv.repo(to), r.srv.addr, via, 1)
		out, err := git(context.Background(), dir, nil, "push", url, string(tip)+":refs/heads/main")
		if err == nil {
			out = "accepted\n" + out
		}
		ended <- out
	}()
	<-stalled
	if took, err := r.srv.stop(longestStop); err != nil || took < shutdown/2 {
		t.Errorf("the stop took %v: %v; a push was under way and had %v", took, err, shutdown)
	}
	if out := <-ended; strings.HasPrefix(out, "accepted") {
		t.Error(out)
	}
	r.checkProcesses()
	r.srv.start()
	if a, err := r.srv.advert(to); err != nil || a.status != 200 || len(a.refs) > 0 {
		t.Errorf("after the restart: %+v, %v", a, err)
	}
	r.checkFiles()
	if !v.push(dir, r.srv.repo(to), string(tip)+":refs/heads/main") {
		t.Error("the second push failed")
	}
	if a, err := r.srv.advert(to); err != nil || a.refs["refs/heads/main"] != tip {
		t.Errorf("after the second push: %+v, %v", a, err)
	}
	r.settleFaults("at the end")
}

// stall passes connections on to addr. After limit bytes from the visitors, in all, it takes no
// more from them; then stalled is closed.
func stall(t *testing.T, addr string, limit int64) (via string, stalled <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	full := make(chan struct{})
	once := sync.OnceFunc(func() { close(full) })
	var passed atomic.Int64
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", addr)
			if err != nil {
				in.Close()
				continue
			}
			go func() {
				io.Copy(in, out)
				in.Close()
			}()
			go func() {
				buf := make([]byte, 32<<10)
				for passed.Load() < limit {
					n, err := in.Read(buf)
					if n > 0 {
						out.Write(buf[:n])
						passed.Add(int64(n))
					}
					if err != nil {
						out.Close()
						return
					}
				}
				once()
			}()
		}
	}()
	return l.Addr().String(), full
}

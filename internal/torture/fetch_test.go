package torture_test

import (
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/housetest"
)

// The server is killed again and again while it fetches git data from another one, with its children
// and without. Nothing of what was under way stays, nobody is left running, and in the end the data
// is here and whole. hardening §9 "kill at random: store clean", G02-15
func TestKillFetching(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	r := newRun(t)
	r.srv.args = append(r.srv.args, "--outward.allow=127.0.0.0/8", "--outward.http", "--outward.host-per-minute=100000", "--sync.start-delay=0s")
	there, source := housetest.NewGitServer(t), housetest.NewCopy(t)
	noise := make([]byte, 6<<20)
	rand.NewChaCha8([32]byte{byte(r.seed), 7}).Read(noise)
	source.CommitFile("big", noise)
	tip := grasp.OID(source.CommitFile("small", []byte("x")))
	there.Take(source, "main")
	via, slow := throttle(t, there.URL)
	slow.Store(true)

	r.srv.start()
	alice, at := r.person("alice"), time.Now().Unix()-100
	addr := grasp.Addr{Owner: alice.pub(), ID: "demo"}
	announcement := alice.sign(grasp.KindAnnouncement, at, "", nostr.Tag{"d", "demo"},
		nostr.Tag{"clone", r.srv.repo(addr), via}, nostr.Tag{"relays", r.srv.relay()})
	state := alice.sign(grasp.KindState, at, "", nostr.Tag{"d", "demo"}, nostr.Tag{"refs/heads/main", string(tip)}, nostr.Tag{"HEAD", "ref: refs/heads/main"})
	v := r.visitor("alice")
	for _, ev := range []*nostr.Event{announcement, state} {
		if !v.publish(&record{ev: ev, asked: time.Now()}) {
			r.settleFaults("preparation")
			t.FailNow()
		}
	}
	v.close()
	chance, underWay := r.rand("kills"), 0
	arrived := func() bool {
		a, err := r.srv.advert(addr)
		return err == nil && a.refs["refs/heads/main"] == tip
	}
	for round := range 8 {
		// What waits is looked for right after the start. It is killed at some point of that.
		if round > 3 && underWay == 0 { // the machine is busy: wait for it
			until(patience, func() bool { return len(descendants(r.srv.pid())) > 0 || arrived() })
		}
		pause(time.Duration(chance.IntN(1500)) * time.Millisecond)
		if len(descendants(r.srv.pid())) > 0 {
			underWay++
		}
		r.srv.kill(round%2 == 0)
		r.srv.start()
	}
	if underWay == 0 {
		t.Error("no kill came while something was fetched")
	}
	slow.Store(false)
	if !until(5*time.Minute, arrived) {
		t.Errorf("the data did not come; the log:\n%s", r.srv.logTail(20))
	}
	r.checkFiles()
	r.checkProcesses()
	if out, err := fsck(r.bare(addr)); err != nil {
		t.Errorf("fsck: %v\n%s", err, out)
	}
	r.settleFaults("at the end")
}

// throttle passes connections on to the server of a URL, and says by which URL. While slow is set, no
// more than about 2 MiB a second come from it.
func throttle(t *testing.T, to string) (via string, slow *atomic.Bool) {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	slow = new(atomic.Bool)
	back := u.Host
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer in.Close()
				out, err := net.Dial("tcp", back)
				if err != nil {
					return
				}
				defer out.Close()
				go io.Copy(out, in)
				b := make([]byte, 32<<10)
				for {
					n, err := out.Read(b)
					if _, werr := in.Write(b[:n]); werr != nil || err != nil {
						return
					}
					if slow.Load() {
						time.Sleep(16 * time.Millisecond)
					}
				}
			}()
		}
	}()
	u.Host = l.Addr().String()
	return u.String(), slow
}

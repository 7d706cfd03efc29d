package acceptance_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
)

// soon is a little more than a person is given to push (G02-12).
const soon = 3*time.Minute + time.Second

// check 239, G02-02: a state whose data only another server has is fetched, aligned and served here;
// the other server is not needed any more.
func TestHuntAnotherServer(t *testing.T) {
	t.Parallel()
	both := housetest.Together(t, 2)
	a, b := both[0], both[1]
	owner, w, at := housetest.NewKey(t), housetest.NewCopy(t), time.Now().Unix()-100
	c1 := w.Commit()
	w.Git("tag", "v1")
	announcement := housetest.AnnouncementAt(owner, "demo", at, both)
	state := owner.State("demo", at, "main="+c1, "refs/tags/v1="+c1)
	ca, cb := a.Dial(), b.Dial()
	ca.Must(announcement, state)
	w.Git("push", "-q", a.Repo(owner, "demo"), "main", "v1")
	cb.Must(announcement)
	b.Arrives(announcement, state)
	housetest.Refs(t, b.Repo(owner, "demo"), "main="+c1, "refs/tags/v1="+c1)
	a.Stop()
	clone := housetest.Clone(t, b.Repo(owner, "demo"))
	if got := clone.Git("rev-parse", "HEAD"); got != c1 {
		t.Errorf("the clone is at %s, want %s", got, c1)
	}
	if got := clone.Git("rev-parse", "v1"); got != c1 {
		t.Errorf("v1 is %s, want %s", got, c1)
	}
}

// check 240, G02-02: the commit of a pull request is fetched from where its event says.
func TestHuntPull(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t, housetest.Syncing)
	c, owner, contributor, at := h.Dial(), housetest.NewKey(t), housetest.NewKey(t), time.Now().Unix()-100
	w := h.Served(c, owner, "demo", at)
	third := housetest.NewGitServer(t)
	tip := w.Commit()
	third.Take(w, "HEAD:refs/heads/change")
	pull := contributor.Sign(grasp.KindPull, 0, "please pull", nostr.Tag{"c", tip}, nostr.Tag{"clone", third.URL},
		nostr.Tag{"a", housetest.Coordinate(owner, "demo")})
	c.Held(pull)
	h.Clock.Advance(soon)
	h.Arrives(pull)
	if got := housetest.Remote(t, h.Repo(owner, "demo"))["refs/nostr/"+pull.ID]; got != tip {
		t.Errorf("refs/nostr/%s is %q, want %s", pull.ID, got, tip)
	}
}

// check 241, G02-02: two objects of one state on two servers are combined, and the state is released.
func TestHuntCombines(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t, housetest.Syncing)
	c, owner, at := h.Dial(), housetest.NewKey(t), time.Now().Unix()-100
	one, two := housetest.NewGitServer(t), housetest.NewGitServer(t)
	w := housetest.NewCopy(t)
	base := w.Commit()
	a := w.Commit()
	w.Git("checkout", "-q", "-b", "dev", base)
	b := w.Commit()
	one.Take(w, "main")
	two.Take(w, "dev")
	announcement, state := h.AnnouncementWith(owner, "demo", at, one.URL, two.URL), owner.State("demo", at, "main="+a, "dev="+b)
	c.Must(announcement, state)
	h.Clock.Advance(soon)
	h.Arrives(announcement, state)
	housetest.Refs(t, h.Repo(owner, "demo"), "main="+a, "dev="+b)
}

// check 242, G02-02: a remote that fails for fifty minutes and then recovers is asked again within the
// hour, and what waits for it is still there.
func TestHuntUntilItRecovers(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t, housetest.Syncing)
	c, owner, at := h.Dial(), housetest.NewKey(t), time.Now().Unix()-100
	remote, w := housetest.NewGitServer(t), housetest.NewCopy(t)
	oid := w.Commit()
	remote.Take(w, "main")
	asked := make(chan struct{}, 1000)
	remote.Fail(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		asked <- struct{}{}
	})
	announcement, state := h.AnnouncementWith(owner, "demo", at, remote.URL), owner.State("demo", at, "main="+oid)
	c.Must(announcement, state)
	h.Clock.Advance(soon)
	for passed := soon; passed < 50*time.Minute; passed += 5 * time.Minute {
		select {
		case <-asked:
		case <-time.After(housetest.Wait):
			t.Fatalf("after %v nobody asks", passed)
		}
		h.Hunted("demo")
		h.Clock.Advance(5 * time.Minute)
		h.Sweep()
	}
	c.Hides(announcement, state)
	remote.Fail(nil)
	h.Clock.Advance(5 * time.Minute)
	h.Arrives(announcement, state)
	housetest.Refs(t, h.Repo(owner, "demo"), "main="+oid)
}

// G01-402: what is hunted for in vain is let go in the end.
func TestHuntEnds(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t, housetest.Syncing)
	c, owner, at := h.Dial(), housetest.NewKey(t), time.Now().Unix()-100
	remote := housetest.NewGitServer(t)
	asked := make(chan struct{}, 1000)
	remote.Fail(func(w http.ResponseWriter, r *http.Request) {
		http.NotFound(w, r)
		asked <- struct{}{}
	})
	announcement := h.AnnouncementWith(owner, "demo", at, remote.URL)
	state := owner.State("demo", at, "main="+strings.Repeat("12", 20))
	c.Must(announcement, state)
	h.Clock.Advance(soon)
	select {
	case <-asked:
	case <-time.After(housetest.Wait):
		t.Fatal("nobody asks")
	}
	h.Hunted("demo")
	h.Clock.Advance(40 * time.Minute)
	h.Sweep()
	h.Lives(h.Repo(owner, "demo"))
	h.Clock.Advance(50 * time.Minute)
	h.Hunted("demo") // what is being fetched is kept
	h.Sweep()
	h.Gone(h.Repo(owner, "demo"))
}

// check 247, G02-13: a remote whose refs lie moves none of ours: they follow signed states alone.
func TestHuntMaliciousRemote(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t, housetest.Syncing)
	c, owner, at := h.Dial(), housetest.NewKey(t), time.Now().Unix()-100
	remote, w := housetest.NewGitServer(t), housetest.NewCopy(t)
	good := w.Commit()
	w.Git("checkout", "-q", "-b", "evil")
	evil := w.Commit()
	remote.Take(w, evil+":refs/heads/main", evil+":refs/heads/backdoor", evil+":refs/tags/v1", evil+":refs/nostr/"+strings.Repeat("ab", 32), good+":refs/heads/good")
	announcement, state := h.AnnouncementWith(owner, "demo", at, remote.URL), owner.State("demo", at, "main="+good)
	c.Must(announcement, state)
	h.Clock.Advance(soon)
	h.Arrives(announcement, state)
	refs := housetest.Remote(t, h.Repo(owner, "demo"))
	delete(refs, "HEAD")
	if len(refs) != 1 || refs["refs/heads/main"] != good {
		t.Errorf("refs are %v, want main at %s alone", refs, good)
	}
	if out, err := housetest.Git(t, housetest.NewCopy(t).Dir, "fetch", h.Repo(owner, "demo"), evil); err == nil {
		t.Errorf("what nobody signed came along: %s", out)
	}
}

// check 248, G02-14: what is no address of the world, or no URL of a git server, is never contacted or
// executed, whichever event names it.
func TestHuntForbidden(t *testing.T) {
	t.Parallel()
	var got atomic.Int64
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			got.Add(1)
			conn.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	marker := t.TempDir() + "/executed"
	h := housetest.Start(t, func(c *config.Config) { // as it is installed, but for http
		c.Sync.Enabled, c.Sync.Delay, c.Outward.HTTP = true, 0, true
	})
	c, owner, at := h.Dial(), housetest.NewKey(t), time.Now().Unix()-100
	urls := []string{"file:///etc", "file://" + t.TempDir(), "ext::sh -c touch% " + marker, "--upload-pack=touch " + marker, "-x", "ssh://127.0.0.1:" + port + "/x",
		"git://127.0.0.1:" + port + "/x", "http://127.0.0.1:22/x", "http://169.254.169.254/x", "http://[::ffff:169.254.169.254]/x"}
	for _, host := range []string{"127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "0.0.0.0", "[::ffff:127.0.0.1]", "user@127.0.0.1", "127.0.0.1."} {
		urls = append(urls, fmt.Sprintf("http://%s:%s/x.git", host, port), fmt.Sprintf("https://%s:%s/x.git", host, port))
	}
	w := housetest.NewCopy(t)
	oid := w.Commit()
	announcement, state := h.AnnouncementWith(owner, "demo", at, urls[:20]...), owner.State("demo", at, "main="+oid)
	rest := h.AnnouncementWith(owner, "rest", at, urls[20:]...)
	h.Served(c, owner, "other", at)
	pull := owner.Sign(grasp.KindPull, 0, "", nostr.Tag{"c", oid}, append(nostr.Tag{"clone"}, urls...), nostr.Tag{"a", housetest.Coordinate(owner, "other")})
	c.Must(announcement, state, rest, owner.State("rest", at, "main="+oid))
	c.Held(pull)
	for range 3 {
		h.Clock.Advance(soon)
		h.Hunted("demo", "rest", "other")
		h.Sweep()
	}
	if n := got.Load(); n != 0 {
		t.Errorf("%d connections arrived", n)
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("a program was run")
	}
	c.Hides(announcement, state, pull)
}

// check 249, G02-15: whoever is stopped in the middle of a fetch goes on after the restart, and has
// everything once.
func TestHuntRestart(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t, housetest.Syncing)
	c, owner, at := h.Dial(), housetest.NewKey(t), time.Now().Unix()-100
	remote, w := housetest.NewGitServer(t), housetest.NewCopy(t)
	oid := w.Commit()
	remote.Take(w, "main")
	began := make(chan struct{}, 100)
	remote.Fail(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		began <- struct{}{}
		<-r.Context().Done()
	})
	announcement, state := h.AnnouncementWith(owner, "demo", at, remote.URL), owner.State("demo", at, "main="+oid)
	c.Must(announcement, state)
	h.Clock.Advance(soon)
	select {
	case <-began:
	case <-time.After(housetest.Wait):
		t.Fatal("nobody asks")
	}
	h.Restart(func(string) { remote.Fail(nil) })
	h.Arrives(announcement, state)
	housetest.Refs(t, h.Repo(owner, "demo"), "main="+oid)
	if list := h.Dial().Query(nostr.Filter{Authors: []string{owner.Pub}}); len(list) != 2 {
		t.Errorf("%d events, want 2", len(list))
	}
	before := remote.Requests()
	for range 3 {
		h.Clock.Advance(time.Hour)
		h.Sweep()
	}
	if n := remote.Requests() - before; n != 0 {
		t.Errorf("%d requests after everything was there", n)
	}
}

// check 275, G02-12: who publishes a state and pushes within a minute makes us call nobody.
func TestHuntNotForWhoPushes(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t, housetest.Syncing)
	c, owner, at := h.Dial(), housetest.NewKey(t), time.Now().Unix()-100
	remote, w := housetest.NewGitServer(t), housetest.NewCopy(t)
	oid := w.Commit()
	remote.Take(w, "main")
	announcement, state := h.AnnouncementWith(owner, "demo", at, remote.URL), owner.State("demo", at, "main="+oid)
	c.Must(announcement, state)
	h.Clock.Advance(time.Minute)
	h.Sweep()
	w.Git("push", "-q", h.Repo(owner, "demo"), "main")
	c.Shows(announcement, state)
	for range 5 {
		h.Clock.Advance(soon)
		h.Sweep()
	}
	if n := remote.Requests(); n != 0 {
		t.Errorf("%d requests, want none", n)
	}
}

// Where the operator wants none of it nobody is called, and nothing waits longer.
func TestHuntOff(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t, housetest.Syncing, func(c *config.Config) { c.Sync.Git = false })
	c, owner, at := h.Dial(), housetest.NewKey(t), time.Now().Unix()-100
	remote, w := housetest.NewGitServer(t), housetest.NewCopy(t)
	oid := w.Commit()
	remote.Take(w, "main")
	c.Must(h.AnnouncementWith(owner, "demo", at, remote.URL), owner.State("demo", at, "main="+oid))
	for range 9 {
		h.Clock.Advance(soon)
		h.Sweep()
	}
	h.Lives(h.Repo(owner, "demo"))
	h.Clock.Advance(soon)
	h.Sweep()
	h.Gone(h.Repo(owner, "demo"))
	if n := remote.Requests(); n != 0 {
		t.Errorf("%d requests", n)
	}
}

package githttp_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/githttp"
)

// A script is a Follower that says what comes through say, and then err.
type script struct {
	say    chan []string
	err    error
	closed chan struct{}
	name   string
}

func newScript(err error) *script {
	return &script{say: make(chan []string, 10), err: err, closed: make(chan struct{})}
}

func (s *script) Next(ctx context.Context) ([]string, error) {
	select {
	case lines, ok := <-s.say:
		if !ok {
			return nil, s.err
		}
		return lines, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *script) Close() { close(s.closed) }

func (s *script) follow(_ context.Context, _ grasp.Addr, push, name string) (githttp.Follower, error) {
	s.name = push + " " + name
	if name == "none" {
		return nil, nil
	}
	return s, nil
}

const (
	followCaps = "\x00report-status side-band-64k push-options"
	okReport   = "002e\x01000eunpack ok\n0017ok refs/heads/main\n0000"
)

func followBody(option string) string {
	return pkts(mainCmd+followCaps, "0000", option, "0000") + "PACK"
}

// begun sends a push and returns the answer as it comes.
func (h *house) begun(body string) (*bufio.Reader, func()) {
	h.t.Helper()
	req, _ := http.NewRequest("POST", h.url(demo)+"/git-receive-pack", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/x-git-receive-pack-request")
	res, err := h.srv.Client().Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { res.Body.Close() })
	return bufio.NewReader(res.Body), func() { res.Body.Close() }
}

func (h *house) expect(in io.Reader, want string) {
	h.t.Helper()
	b := make([]byte, len(want))
	if _, err := io.ReadFull(in, b); err != nil || string(b) != want {
		h.t.Fatalf("%q, %v; want %q", b, err, want)
	}
}

// The report comes first, then what the job says as it says it, then the end of the answer. Meanwhile others push.
func TestFollowJobs(t *testing.T) {
	s := newScript(io.EOF)
	h := open(t, githttp.Config{MaxPushes: 1, SlotWait: time.Millisecond, Follow: s.follow}, admit(&fakePush{notes: []string{"job queued"}}), &fakeGit{})
	in, _ := h.begun(followBody("follow=site"))
	h.expect(in, pkts("\x02job queued\n", "\x02push 7f3a\n")+okReport)
	if s.name != "7f3a site" {
		t.Errorf("it follows %q", s.name)
	}
	if a := h.push(followBody("other")); a.StatusCode != 200 || !strings.Contains(a.body, "unpack ok") {
		t.Errorf("a slot is held: %d %q", a.StatusCode, a.body)
	}
	s.say <- []string{"one"}
	h.expect(in, pkts("\x02one\n"))
	s.say <- []string{"two \x1b[31m", "three"}
	close(s.say)
	h.expect(in, pkts("\x02two \\u001b[31m\n", "\x02three\n", "0000"))
	if b, err := io.ReadAll(in); len(b) > 0 || err != nil {
		t.Errorf("after the end: %q, %v", b, err)
	}
	<-s.closed
	if n := h.Stats().PushesOK.Load(); n != 2 {
		t.Errorf("%d pushes counted", n)
	}
}

// Without side-band, and where there is nothing to follow, a push ends as ever; a push that is refused has no jobs.
func TestFollowNothing(t *testing.T) {
	s := newScript(io.EOF)
	h := open(t, githttp.Config{Follow: s.follow}, admit(&fakePush{}), &fakeGit{})
	want := pkts("\x02push 7f3a\n") + okReport + "0000"
	if a := h.push(followBody("follow=none")); a.body != want {
		t.Errorf("nothing to follow: %q", a.body)
	}
	if a := h.push(pkts(mainCmd+"\x00report-status push-options", "0000", "follow", "0000") + "PACK"); a.body != pkts("unpack ok\n", "ok refs/heads/main\n", "0000") {
		t.Errorf("without side-band: %q", a.body)
	}
	no := open(t, githttp.Config{Follow: s.follow}, &fakeDesk{}, &fakeGit{})
	if a := no.push(followBody("follow")); !strings.Contains(a.body, "ng refs/heads/main") {
		t.Errorf("a refused push: %q", a.body)
	}
}

// A clock that is put forward by hand.
type handClock struct {
	now    time.Time
	timers chan handTimer
}

type handTimer struct {
	after time.Duration
	c     chan time.Time
}

func (c handClock) at(t time.Time) (<-chan time.Time, func()) {
	timer := handTimer{t.Sub(c.now), make(chan time.Time, 1)}
	c.timers <- timer
	return timer.c, func() {}
}

// A quiet job costs an empty packet every five seconds, and ten minutes at most.
func TestFollowQuietly(t *testing.T) {
	s, clock := newScript(io.EOF), handClock{time.Now(), make(chan handTimer, 10)}
	h := open(t, githttp.Config{Follow: s.follow, At: clock.at, Now: func() time.Time { return clock.now }}, admit(&fakePush{}), &fakeGit{})
	in, _ := h.begun(followBody("follow"))
	h.expect(in, pkts("\x02push 7f3a\n")+okReport)
	over := <-clock.timers
	if over.after != 10*time.Minute {
		t.Errorf("it ends after %v", over.after)
	}
	for range 3 {
		alive := <-clock.timers
		if alive.after != 5*time.Second {
			t.Errorf("a sign of life after %v", alive.after)
		}
		alive.c <- time.Now()
		h.expect(in, "0005\x02")
	}
	over.c <- time.Now()
	h.expect(in, pkts("\x02gitroost: it goes on; its page shows the rest\n", "0000"))
	<-s.closed
}

// When the server stops the pusher is told, and the answer is whole.
func TestFollowStopping(t *testing.T) {
	s := newScript(fault.E(fault.Closing, "test", "stopping"))
	h := open(t, githttp.Config{Follow: s.follow}, admit(&fakePush{}), &fakeGit{})
	in, _ := h.begun(followBody("follow"))
	h.expect(in, pkts("\x02push 7f3a\n")+okReport)
	close(s.say)
	b, err := io.ReadAll(in)
	if err != nil || !strings.HasPrefix(string(b[4:]), "\x02gitroost: the server is stopping") || !strings.HasSuffix(string(b), "0000") {
		t.Errorf("%q, %v", b, err)
	}
}

// No more follow than there is room for, and who leaves makes room.
func TestFollowCrowd(t *testing.T) {
	var n atomic.Int32
	scripts := []*script{newScript(io.EOF), newScript(io.EOF)}
	next := func(ctx context.Context, a grasp.Addr, push, name string) (githttp.Follower, error) {
		return scripts[n.Add(1)-1].follow(ctx, a, push, name)
	}
	h := open(t, githttp.Config{Follow: next, MaxFollowers: 1}, admit(&fakePush{}), &fakeGit{})
	in, leave := h.begun(followBody("follow"))
	h.expect(in, pkts("\x02push 7f3a\n")+okReport)
	if a := h.push(followBody("follow")); !strings.Contains(a.body, "too many follow jobs now") || !strings.Contains(a.body, "unpack ok") || !strings.HasSuffix(a.body, "0000") {
		t.Errorf("one too many: %q", a.body)
	}
	leave()
	<-scripts[0].closed
	close(scripts[1].say)
	for n.Load() < 2 { // the place is given back a moment after
		h.push(followBody("follow"))
	}
}

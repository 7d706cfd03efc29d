package githttp_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/githttp"
)

func fixed() time.Time { return time.Unix(1700000000, 0) }

const mainCmd = "0000000000000000000000000000000000000000 1111111111111111111111111111111111111111 refs/heads/main"

// H-246, H-247, checks 67, 68, 78; gitworkshop and libgit2 as they push.
func TestRefusalShapes(t *testing.T) {
	h := open(t, githttp.Config{}, &fakeDesk{}, &fakeGit{})
	const why = "unauthorised: no repository state event authorises this push"
	for _, c := range []struct{ name, body, want string }{
		{"gitworkshop", pkts(mainCmd+"\x00report-status delete-refs\n", "0000") + "PACK", pkts("unpack refused by policy\n", "ng refs/heads/main "+why+"\n", "0000")},
		{"nothing negotiated", pkts(mainCmd, "0000") + "PACK", pkts("ERR " + why)},
		{"side-band only", pkts(mainCmd+"\x00side-band-64k", "0000") + "PACK", pkts("\x03"+why+"\n", "0000")},
		{"libgit2", pkts(mainCmd+"\x00 report-status side-band-64k\n", "0000") + "PACK",
			pkts("\x02push refused: no repository state event authorises this push\n", "\x02hint: publish kind 30618 first\n", "\x02push 7f3a\n",
				"\x01"+pkts("unpack refused by policy\n", "ng refs/heads/main "+why+"\n", "0000"), "0000")},
		{"sha256", pkts(mainCmd+"\x00 report-status object-format=sha256", "0000"),
			pkts("unpack refused by policy\n", "ng refs/heads/main refused: only object-format sha1 is served here\n", "0000")},
		{"twice", pkts(mainCmd+"\x00 report-status", mainCmd, "0000"),
			pkts("unpack refused by policy\n", "ng refs/heads/main refused: refs/heads/main is named twice in one push\n", "0000")},
		{"cut short", pkts(mainCmd + "\x00 report-status"),
			pkts("unpack refused: request ends inside a pkt-line\n", "ng refs/heads/main refused: request ends inside a pkt-line\n", "0000")},
	} {
		if a := h.push(c.body); a.StatusCode != 200 || a.body != c.want || a.Header.Get("Content-Type") != "application/x-git-receive-pack-result" {
			t.Errorf("%s: %d %s\n got %q\nwant %q", c.name, a.StatusCode, a.Header.Get("Content-Type"), a.body, c.want)
		}
	}
}

// Illegal names reach the rules, and every one is answered (G01-506, check 190).
func TestNamesReachTheDesk(t *testing.T) {
	var got []grasp.RefChange
	d := &fakeDesk{enter: func(_ context.Context, u []grasp.RefChange) (githttp.Push, error) {
		got = u
		return nil, &grasp.Refusal{Rule: "G01-506", Text: "no"}
	}}
	h := open(t, githttp.Config{}, d, &fakeGit{})
	names := []string{"HEAD", "main", "refs/nostr/123", "refs/heads/a..b", "refs/notes/commits", "refs/heads/é"}
	var parts []string
	want := pkts("unpack refused by policy\n")
	for i, n := range names {
		p := zero + " " + one + " " + n
		if i == 0 {
			p += "\x00report-status"
		}
		parts = append(parts, p)
		want += pkts("ng " + n + " unauthorised: no\n")
	}
	if a := h.push(pkts(append(parts, "0000")...)); a.body != want+"0000" {
		t.Errorf("%q", a.body)
	}
	if len(got) != len(names) || got[3].Ref != "refs/heads/a..b" {
		t.Errorf("the desk got %v", got)
	}
}

// H-248, A3: a push that is delivered, with the pack to the byte and the id of the push everywhere.
func TestDelivered(t *testing.T) {
	var pack, id string
	p := &fakePush{notes: []string{"state a639aac3 applied"}}
	p.deliver = func(ctx context.Context, r io.Reader, _ func(string)) error {
		b, err := io.ReadAll(r)
		pack, id = string(b), githttp.PushID(ctx)
		return err
	}
	h := open(t, githttp.Config{}, admit(p), &fakeGit{})
	body := pkts(mainCmd+"\x00report-status side-band-64k", "0000") + "PACK0000" + strings.Repeat("x", 200_000)
	want := pkts("\x02state a639aac3 applied\n", "\x02push 7f3a\n", "\x01"+pkts("unpack ok\n", "ok refs/heads/main\n", "0000"), "0000")
	for name, a := range map[string]answer{
		"length":  h.push(body),
		"chunked": h.send("POST", "/git-receive-pack", io.MultiReader(strings.NewReader(body)), receiveType),
		"gzip":    h.push(gz(body), "Content-Encoding: gzip"),
		"expect":  h.push(body, "Expect: 100-continue"),
	} {
		if a.body != want {
			t.Errorf("%s: %q", name, a.body)
		}
		if !strings.HasPrefix(body, body[:len(body)-len(pack)]) || !strings.HasPrefix(pack, "PACK0000x") || len(pack) != 200_008 || id != "7f3a" {
			t.Errorf("%s: delivered %d bytes under id %q", name, len(pack), id)
		}
	}
	if p.closed.Load() != 4 || h.Stats().PushesOK.Load() != 4 {
		t.Errorf("closed %d times, counted %d", p.closed.Load(), h.Stats().PushesOK.Load())
	}
}

// H-249, check 72: what is true already needs no pack; deletions have none.
func TestWithoutPack(t *testing.T) {
	p := &fakePush{noop: true, deliver: func(context.Context, io.Reader, func(string)) error { return errors.New("delivered") }}
	h := open(t, githttp.Config{}, admit(p), &fakeGit{})
	if a := h.push(pkts(mainCmd+"\x00report-status", "0000") + "PACK"); a.body != pkts("unpack ok\n", "ok refs/heads/main\n", "0000") {
		t.Errorf("no-op: %q", a.body)
	}
	q := &fakePush{deliver: func(_ context.Context, pack io.Reader, _ func(string)) error {
		if pack != nil {
			return errors.New("a deletion has a pack")
		}
		return nil
	}}
	h = open(t, githttp.Config{}, admit(q), &fakeGit{})
	del := pkts(one+" "+zero+" refs/heads/main\x00report-status", "0000")
	for _, body := range []string{del, del + "PACK"} {
		if a := h.push(body); a.body != pkts("unpack ok\n", "ok refs/heads/main\n", "0000") {
			t.Errorf("deletion: %q", a.body)
		}
	}
	if p.closed.Load() != 1 || q.closed.Load() != 2 {
		t.Error("not closed")
	}
}

// What goes wrong while the pack is worked on is reported by its code (architecture §9).
func TestDeliverFails(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string // the reason, and the unpack line unless unpack says otherwise
		line string
	}{
		{fault.E(fault.Invalid, "x", "the pack is broken"), "refused: the pack is broken", ""},
		{fault.E(fault.TooLarge, "x", "one object of 2 GiB"), "limit: one object of 2 GiB", ""},
		{fault.E(fault.TooLarge, "x", "limit: 1000001 objects"), "limit: 1000001 objects", ""},
		{fault.E(fault.Stale, "x", "main moved"), "fetch first: main moved", ""},
		{&grasp.Refusal{Rule: "G01-501", Text: "main: state says x"}, "unauthorised: main: state says x", "refused by policy"},
		{fault.Wrap("y", &grasp.Refusal{Rule: "H-253", Text: "commit missing"}), "refused: commit missing", "refused by policy"},
	} {
		p := &fakePush{deliver: func(context.Context, io.Reader, func(string)) error { return c.err }}
		h := open(t, githttp.Config{}, admit(p), &fakeGit{})
		if c.line == "" {
			c.line = c.want
		}
		// The pack is not read by Deliver; it is read before the answer all the same.
		a := h.push(pkts(mainCmd+"\x00report-status", "0000") + strings.Repeat("x", 1<<20))
		if want := pkts("unpack "+c.line+"\n", "ng refs/heads/main "+c.want+"\n", "0000"); a.body != want {
			t.Errorf("%v:\n got %q\nwant %q", c.err, a.body, want)
		}
		if p.closed.Load() != 1 {
			t.Error("not closed")
		}
	}
	for code, status := range map[fault.Code]int{fault.Busy: 503, fault.Closing: 503, fault.Gone: 404} {
		p := &fakePush{deliver: func(context.Context, io.Reader, func(string)) error { return fault.E(code, "x", "") }}
		if a := open(t, githttp.Config{}, admit(p), &fakeGit{}).push(pkts(mainCmd, "0000")); a.StatusCode != status {
			t.Errorf("%v: %d", code, a.StatusCode)
		}
	}
}

// H-254, H-256, check 79: every way of being too large names the limit.
func TestTooLarge(t *testing.T) {
	p := &fakePush{}
	h := open(t, githttp.Config{MaxBody: 1000, MaxPullBody: 500, DrainBytes: 10_000}, admit(p), &fakeGit{})
	cmd := pkts(mainCmd+"\x00report-status", "0000")
	pull := pkts(zero+" "+one+" refs/nostr/"+strings.Repeat("e", 64)+"\x00report-status", "0000")
	if a := h.push(cmd + strings.Repeat("x", 1000)); a.StatusCode != 413 || a.body != "limit: at most 1000 bytes in one push\n" {
		t.Errorf("with length: %d %q", a.StatusCode, a.body)
	}
	chunked := func(body string) answer {
		return h.send("POST", "/git-receive-pack", io.MultiReader(strings.NewReader(body)), receiveType)
	}
	if a := chunked(cmd + strings.Repeat("x", 1000)); !strings.HasPrefix(a.body, "0015unpack ok") {
		if a.body != pkts("unpack ok\n", "ok refs/heads/main\n", "0000") {
			t.Errorf("just fitting: %q", a.body)
		}
	}
	if a := chunked(cmd + strings.Repeat("x", 1001)); !strings.HasPrefix(a.body, pkts("unpack limit: at most 1000 bytes in one push\n")) {
		t.Errorf("without length: %q", a.body)
	}
	if a := h.push(pull + strings.Repeat("x", 500)); !strings.Contains(a.body, "unpack limit: at most 500 bytes in one push\n") {
		t.Errorf("PR ref: %q", a.body)
	}
	if a := h.push(cmd + strings.Repeat("x", 500)); !strings.HasPrefix(a.body, pkts("unpack ok\n")) {
		t.Errorf("not a PR ref: %q", a.body)
	}
	if a := chunked(cmd + strings.Repeat("x", 100_000)); a.StatusCode != 413 || !strings.HasPrefix(a.body, "limit: at most 1000 bytes") || !a.Close {
		t.Errorf("not drained: %d %q %v", a.StatusCode, a.body, a.Close)
	}
}

// H-257: while the pusher waits there are signs of life, after its request and not before.
func TestKeepAlive(t *testing.T) {
	early, late := make(chan struct{}), make(chan struct{})
	p := &fakePush{deliver: func(_ context.Context, pack io.Reader, progress func(string)) error {
		progress("receiving")
		close(early)
		if _, err := io.Copy(io.Discard, pack); err != nil {
			return err
		}
		<-late
		progress("checking")
		return nil
	}}
	h := open(t, githttp.Config{KeepAlive: time.Millisecond}, admit(p), &fakeGit{})
	body, feed := io.Pipe()
	req, _ := http.NewRequest("POST", h.url(demo)+"/git-receive-pack", body)
	req.Header.Set("Content-Type", "application/x-git-receive-pack-request")
	release := sync.OnceFunc(func() { close(late) })
	defer release()
	answered := make(chan *http.Response, 1)
	go func() {
		res, err := h.srv.Client().Do(req)
		if err != nil {
			t.Error(err)
		}
		answered <- res
	}()
	io.WriteString(feed, pkts(mainCmd+"\x00report-status side-band-64k", "0000"))
	<-early
	io.WriteString(feed, "PACK")
	select {
	case <-answered:
		t.Error("answered before the request ended")
	default:
	}
	feed.Close()
	res := <-answered
	if res == nil {
		return
	}
	defer res.Body.Close()
	in := bufio.NewReader(res.Body)
	for _, want := range []string{"000f\x02receiving\n", "0005\x01", "0005\x01"} {
		b := make([]byte, len(want))
		if _, err := io.ReadFull(in, b); err != nil || string(b) != want {
			t.Fatalf("%q, %v; want %q", b, err, want)
		}
	}
	release()
	rest, _ := io.ReadAll(in)
	if s := strings.ReplaceAll(string(rest), "0005\x01", ""); s != pkts("\x02checking\n", "\x02push 7f3a\n", "\x01"+pkts("unpack ok\n", "ok refs/heads/main\n", "0000"), "0000") {
		t.Errorf("%q", s)
	}
}

// Without side-band there is nothing but the report.
func TestSilentWithoutSideBand(t *testing.T) {
	p := &fakePush{deliver: func(_ context.Context, pack io.Reader, progress func(string)) error {
		io.Copy(io.Discard, pack)
		progress("checking")
		return nil
	}}
	h := open(t, githttp.Config{KeepAlive: time.Microsecond}, admit(p), &fakeGit{})
	if a := h.push(pkts(mainCmd+"\x00report-status", "0000") + "PACK"); a.body != pkts("unpack ok\n", "ok refs/heads/main\n", "0000") {
		t.Errorf("%q", a.body)
	}
}

// dial sends raw bytes to the server.
func (h *house) dial(request string) net.Conn {
	h.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.srv.URL, "http://"))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(2 * time.Minute))
	if _, err := io.WriteString(conn, request); err != nil {
		h.t.Fatal(err)
	}
	return conn
}

func rawPush(length int, rest string) string {
	return fmt.Sprintf("POST /%s/demo.git/git-receive-pack HTTP/1.1\r\nHost: x\r\n%s\r\nContent-Length: %d\r\n\r\n%s", owner.Npub(), receiveType, length, rest)
}

// A pusher who leaves in the middle of the pack ends the push; one who leaves later does not.
func TestPusherLeaves(t *testing.T) {
	reading, seen := make(chan struct{}), make(chan error, 1)
	p := &fakePush{deliver: func(ctx context.Context, pack io.Reader, _ func(string)) error {
		close(reading)
		io.Copy(io.Discard, pack)
		<-ctx.Done()
		seen <- context.Cause(ctx)
		return ctx.Err()
	}}
	h := open(t, githttp.Config{}, admit(p), &fakeGit{})
	cmd := pkts(mainCmd+"\x00report-status", "0000")
	conn := h.dial(rawPush(len(cmd)+100, cmd+"PACK"))
	<-reading
	conn.Close()
	if err := <-seen; err == nil {
		t.Error("no cause")
	}
	h.srv.Close() // waits for the handler
	if h.Stats().PushesAborted.Load() != 1 || p.closed.Load() != 1 {
		t.Errorf("aborted %d, closed %d", h.Stats().PushesAborted.Load(), p.closed.Load())
	}
}

func TestPusherLeavesLate(t *testing.T) {
	reading, gone, seen := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	p := &fakePush{deliver: func(ctx context.Context, pack io.Reader, _ func(string)) error {
		io.Copy(io.Discard, pack)
		close(reading)
		<-gone
		seen <- ctx.Err()
		return nil
	}}
	d := admit(p)
	left := make(chan struct{})
	inner := open(t, githttp.Config{}, d, &fakeGit{})
	// An outer handler tells when the server has noticed that the client is gone.
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		context.AfterFunc(r.Context(), func() { close(left) })
		inner.ServeHTTP(w, r)
	})}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(ln)
	defer srv.Close()
	cmd := pkts(mainCmd+"\x00report-status", "0000")
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, rawPush(len(cmd)+4, cmd+"PACK"))
	<-reading
	conn.Close()
	<-left
	close(gone)
	if err := <-seen; err != nil {
		t.Errorf("the push was ended: %v", err)
	}
}

// H-111, check 24: who stops sending is let go, in the commands and in the pack, with an answer.
func TestStalledPusher(t *testing.T) {
	p := &fakePush{}
	cmd := pkts(mainCmd+"\x00report-status", "0000")
	for name, body := range map[string]string{"commands": cmd[:50], "pack": cmd + "PACK"} {
		h := open(t, githttp.Config{Idle: 50 * time.Millisecond, DrainIdle: 50 * time.Millisecond}, admit(p), &fakeGit{})
		conn := h.dial(rawPush(1000, body))
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(name, err)
		}
		b, _ := io.ReadAll(res.Body)
		if res.StatusCode != 408 || !strings.Contains(string(b), "nothing arrived") {
			t.Errorf("%s: %d %q", name, res.StatusCode, b)
		}
	}
}

// A trickle below 1 KiB per idle time is no progress.
func TestTrickle(t *testing.T) {
	h := open(t, githttp.Config{Idle: 200 * time.Millisecond, DrainIdle: 50 * time.Millisecond}, admit(&fakePush{}), &fakeGit{})
	cmd := pkts(mainCmd+"\x00report-status", "0000")
	conn := h.dial(rawPush(1<<20, cmd))
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(io.Discard, conn)
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return // the server gave up
		case <-tick.C:
			conn.Write([]byte("x"))
		}
	}
}

// A reader that does not read ends its git.
func TestStalledReader(t *testing.T) {
	snap := &grasp.Snapshot{Refs: grasp.Refs{"refs/heads/main": grasp.OID(one)}.List(), Head: "refs/heads/main"}
	d := &fakeDesk{refs: func() (*grasp.Snapshot, error) { return snap, nil }}
	ended := make(chan error, 1)
	git := &fakeGit{run: func(ctx context.Context, _ int, _ io.Reader, w io.Writer) error {
		_, err := io.Copy(w, endless{})
		<-ctx.Done()
		ended <- err
		return err
	}}
	h := open(t, githttp.Config{Idle: 100 * time.Millisecond}, d, git)
	body := pkts("want "+one+"\n", "0000", "done\n")
	h.dial(fmt.Sprintf("POST /%s/demo.git/git-upload-pack HTTP/1.1\r\nHost: x\r\n%s\r\nContent-Length: %d\r\n\r\n%s", owner.Npub(), uploadType, len(body), body))
	if err := <-ended; err == nil {
		t.Error("git was not told")
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// Who finds every slot taken, and nobody leaving, is told to come back.
func TestSlots(t *testing.T) {
	in, out := make(chan struct{}), make(chan struct{})
	p := &fakePush{deliver: func(_ context.Context, pack io.Reader, _ func(string)) error {
		in <- struct{}{}
		<-out
		_, err := io.Copy(io.Discard, pack)
		return err
	}}
	h := open(t, githttp.Config{MaxPushes: 1, SlotWait: 10 * time.Millisecond}, admit(p), &fakeGit{})
	body := pkts(mainCmd+"\x00report-status", "0000") + "PACK"
	first := make(chan answer, 1)
	go func() { first <- h.push(body) }()
	<-in
	if a := h.push(body); a.StatusCode != 503 || a.Header.Get("Retry-After") == "" || !strings.Contains(a.body, "busy") {
		t.Errorf("%d %q", a.StatusCode, a.body)
	}
	close(out)
	if a := <-first; a.StatusCode != 200 {
		t.Errorf("the first: %d", a.StatusCode)
	}
	if h.Stats().Busy.Load() != 1 {
		t.Error("not counted")
	}
}

// Expect: 100-continue is answered when the body is wanted, and a refusal needs no body (check 41).
func TestExpect(t *testing.T) {
	h := open(t, githttp.Config{}, &fakeDesk{}, &fakeGit{})
	head := "POST /%s/%s.git/git-upload-pack HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n" + uploadType + "\r\nContent-Length: 4\r\n\r\n"
	conn := h.dial(fmt.Sprintf(head, owner.Npub(), "demo"))
	in := bufio.NewReader(conn)
	if line, _ := in.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q", line)
	}
	in.ReadString('\n')
	io.WriteString(conn, "0000")
	if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != 200 {
		t.Error(res, err)
	}
	conn = h.dial(fmt.Sprintf(head, owner.Npub(), "unknown"))
	if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || res.StatusCode != 404 {
		t.Error(res, err)
	}
}

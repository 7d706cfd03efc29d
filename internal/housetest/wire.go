package housetest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// FlushPkt ends a section of git's protocol.
const FlushPkt = "0000"

// ZeroID is the object id that means "no such ref".
var ZeroID = strings.Repeat("0", 40)

// Pkt returns parts as one pkt-line. Tests write their requests with it and not with the server's
// own writer, so that both cannot be wrong together.
func Pkt(parts ...string) string {
	s := strings.Join(parts, "")
	return fmt.Sprintf("%04x%s", len(s)+4, s)
}

// Packets splits body into the payloads of its pkt-lines. A flush is "0000", a delimiter "0001".
// rest is what follows them and is none: a bare pack, or nothing.
func Packets(t testing.TB, body string) (packets []string, rest string) {
	t.Helper()
	for body != "" && !strings.HasPrefix(body, "PACK") {
		if len(body) < 4 {
			t.Fatalf("half a pkt-line: %q", body)
		}
		n, err := strconv.ParseUint(body[:4], 16, 16)
		if err != nil || n == 3 || int(n) > len(body) {
			t.Fatalf("bad pkt-line: %.60q", body)
		}
		if n < 4 {
			packets, body = append(packets, body[:4]), body[4:]
			continue
		}
		packets, body = append(packets, body[4:n]), body[n:]
	}
	return packets, body
}

// Bands puts the side-bands of packets together: data in band 1, words for people in band 2, and
// a fatal error in band 3. Other packets are left out.
func Bands(packets []string) (data, words, fatal string) {
	for _, p := range packets {
		switch {
		case strings.HasPrefix(p, "\x01"):
			data += p[1:]
		case strings.HasPrefix(p, "\x02"):
			words += p[1:]
		case strings.HasPrefix(p, "\x03"):
			fatal += p[1:]
		}
	}
	return data, words, fatal
}

// UploadPack posts body to the route by which objects are fetched. header is name, value….
func (h *House) UploadPack(repo, body string, header ...string) (*http.Response, string) {
	h.t.Helper()
	return h.service("git-upload-pack", repo, body, header)
}

// ReceivePack posts body to the route by which objects are pushed.
func (h *House) ReceivePack(repo, body string, header ...string) (*http.Response, string) {
	h.t.Helper()
	return h.service("git-receive-pack", repo, body, header)
}

func (h *House) service(service, repo, body string, header []string) (*http.Response, string) {
	h.t.Helper()
	header = append([]string{"Content-Type", "application/x-" + service + "-request"}, header...)
	return h.Do(http.MethodPost, repo+"/"+service, strings.NewReader(body), header...)
}

// Raw sends bytes over a connection of their own and reads one answer to them. The method decides
// whether the answer has a body, as it does for a client. The connection is closed.
func (h *House) Raw(method, request string) (*http.Response, string) {
	h.t.Helper()
	c, err := net.Dial("tcp", h.Host)
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(Wait))
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(c, request) // a server may answer and close before it has read all
	}()
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		h.t.Fatalf("no answer to %.200q: %v", request, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatalf("answer to %.200q is cut short: %v", request, err)
	}
	resp.Body.Close()
	c.Close()
	<-sent
	return resp, string(body)
}

// CORS fails the test unless an answer carries the three headers, each once, in a form that
// browsers understand (C-01, C-02, C-03, C-05).
func CORS(t testing.TB, what string, h http.Header) {
	t.Helper()
	for _, name := range []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers"} {
		if n := len(h.Values(name)); n != 1 {
			t.Errorf("%s: %s is there %d times, want once", what, name, n)
		}
	}
	if got := h.Get("Access-Control-Allow-Origin"); got != "*" {
		t.Errorf("%s: Access-Control-Allow-Origin is %q, want *", what, got)
	}
	if h.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("%s: credentials are allowed", what)
	}
	list := func(name string, want ...string) {
		have := map[string]bool{}
		for v := range strings.SplitSeq(strings.ToLower(h.Get(name)), ",") {
			have[strings.TrimSpace(v)] = true
		}
		for _, w := range want {
			if !have[strings.ToLower(w)] {
				t.Errorf("%s: %s is %q, want %s in it", what, name, h.Get(name), w)
			}
		}
	}
	list("Access-Control-Allow-Methods", "GET", "POST")
	list("Access-Control-Allow-Headers", "Content-Type", "Authorization", "Git-Protocol", "Accept", "Content-Encoding", "X-Requested-With")
}

// GitInput runs git in the copy with stdin; it must succeed. It returns what it wrote to its
// standard output, whole.
func (c *Copy) GitInput(stdin string, args ...string) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Stdin = c.Dir, strings.NewReader(stdin)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir(), "LC_ALL=C", "TZ=UTC",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null"}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		c.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.String()
}

// Pack returns a pack of everything that can be reached from revs; "^name" leaves out what can be
// reached from there.
func (c *Copy) Pack(revs ...string) string {
	c.t.Helper()
	return c.GitInput(strings.Join(revs, "\n")+"\n", "pack-objects", "-q", "--stdout", "--revs")
}

// A Link is a slow connection to the house: it forwards bytes, not faster than it was told.
type Link struct {
	URL string // of the house behind the link

	mu   sync.Mutex
	sent bytes.Buffer  // the first MiB that visitors sent
	held chan struct{} // closed when bytes may pass again; nil if they may
}

// Hold lets nothing pass until Release, in either direction. Only bytes that were read before are not
// held up.
func (l *Link) Hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = make(chan struct{})
	}
}

// Release lets bytes pass again.
func (l *Link) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held != nil {
		close(l.held)
		l.held = nil
	}
}

// Link opens a link with a rate in bytes per second, in each direction and for each connection; 0
// is as fast as it goes. It is closed when the test ends.
func (h *House) Link(rate int) *Link {
	h.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	l := &Link{URL: "http://" + ln.Addr().String()}
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", h.Host)
			if err != nil {
				c.Close()
				continue
			}
			if rate > 0 {
				// Small buffers: what the house has written is to be what the visitor has read.
				_ = s.(*net.TCPConn).SetReadBuffer(256 << 10)
				_ = c.(*net.TCPConn).SetReadBuffer(256 << 10)
			}
			end := make(chan struct{})
			wg.Go(func() { // nothing outlives the test
				select {
				case <-done:
				case <-end:
				}
				c.Close()
				s.Close()
			})
			wg.Go(func() { l.forward(s, c, rate, done, true) })
			wg.Go(func() {
				defer close(end)
				l.forward(c, s, rate, done, false)
			})
		}
	})
	h.t.Cleanup(func() {
		ln.Close()
		close(done)
		wg.Wait()
	})
	return l
}

// Sent returns the first MiB that visitors sent over the link.
func (l *Link) Sent() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent.String()
}

// forward copies src to dst, and tells dst of the end.
func (l *Link) forward(dst, src net.Conn, rate int, done <-chan struct{}, record bool) {
	const beats = 100 // per second
	buf := make([]byte, 64<<10)
	var tick <-chan time.Time
	if rate > 0 {
		buf = make([]byte, max(rate/beats, 1))
		ticker := time.NewTicker(time.Second / beats)
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		n, err := src.Read(buf)
		if record {
			l.mu.Lock()
			l.sent.Write(buf[:min(n, max(0, 1<<20-l.sent.Len()))])
			l.mu.Unlock()
		}
		l.mu.Lock()
		held := l.held
		l.mu.Unlock()
		if held != nil {
			select {
			case <-held:
			case <-done:
				return
			}
		}
		if _, werr := dst.Write(buf[:n]); werr != nil || err != nil {
			_ = dst.(*net.TCPConn).CloseWrite()
			return
		}
		if tick != nil {
			select {
			case <-tick:
			case <-done:
				return
			}
		}
	}
}

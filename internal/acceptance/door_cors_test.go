package acceptance_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
)

// checks 81, 82, 83, 87: C-01, C-02, C-03, C-05: every answer, whatever it says, has the three
// headers, each of them once.
func TestDoorCORS(t *testing.T) {
	t.Parallel()
	h, c, alice, w := hosted(t, func(cfg *config.Config) { cfg.Limits.MaxPush = 1 << 20 })
	repo, oid := h.Repo(alice, "demo"), w.Commit()
	old := w.Git("rev-parse", "main~1")
	c.Must(alice.State("demo", longAgo()+1, "main="+oid))
	push := command(old, oid, "refs/heads/main", stockCaps) + housetest.FlushPkt + w.Pack(oid, "^"+old)
	evil := command(zero, oid, "refs/heads/evil", stockCaps) + housetest.FlushPkt + w.Pack(oid, "^"+old)
	want := housetest.Pkt("want ", old, " side-band-64k\n") + housetest.FlushPkt + housetest.Pkt("done\n")
	const up, down = "application/x-git-upload-pack-request", "application/x-git-receive-pack-request"
	for _, q := range []struct {
		what, method, target, body string
		status                     int
		header                     []string
	}{
		{"landing page", "GET", h.URL + "/", "", 200, nil},
		{"NIP-11", "GET", h.URL + "/", "", 200, []string{"Accept", "application/nostr+json"}},
		{"page", "GET", repo, "", 200, nil},
		{"fetch advertisement", "GET", repo + uploadRefs, "", 200, nil},
		{"push advertisement", "GET", repo + receiveRefs, "", 200, nil},
		{"version 2", "GET", repo + uploadRefs, "", 200, []string{"Git-Protocol", "version=2"}},
		{"fetch", "POST", repo + "/git-upload-pack", want, 200, []string{"Content-Type", up}},
		{"fetch of what is not there", "POST", repo + "/git-upload-pack", strings.ReplaceAll(want, old, strings.Repeat("1", 40)), 200, []string{"Content-Type", up}},
		{"refused push", "POST", repo + "/git-receive-pack", evil, 200, []string{"Content-Type", down}},
		{"push", "POST", repo + "/git-receive-pack", push, 200, []string{"Content-Type", down}},
		{"bad request", "POST", repo + "/git-receive-pack", "xxxx", 400, []string{"Content-Type", down}},
		{"bad gzip", "POST", repo + "/git-upload-pack", "xxxx", 400, []string{"Content-Type", up, "Content-Encoding", "gzip"}},
		{"unknown path", "GET", h.URL + "/nothing", "", 404, nil},
		{"unknown repository", "GET", h.Repo(alice, "unknown"), "", 404, nil},
		{"unknown advertisement", "GET", h.Repo(alice, "unknown") + uploadRefs, "", 404, nil},
		{"unknown push", "POST", h.Repo(alice, "unknown") + "/git-receive-pack", push, 404, []string{"Content-Type", down}},
		{"dumb file", "GET", repo + "/HEAD", "", 404, nil},
		{"method", "PUT", repo, "", 405, nil},
		{"method on the root", "POST", h.URL + "/", "", 405, nil},
		{"method on a pack", "GET", repo + "/git-upload-pack", "", 405, nil},
		{"method on an asset", "POST", h.URL + "/static/icon.svg", "", 405, nil},
		{"too large", "POST", repo + "/git-receive-pack", strings.Repeat("x", 2<<20), 413, []string{"Content-Type", down}},
		{"media type", "POST", repo + "/git-receive-pack", push, 415, []string{"Content-Type", "text/plain"}},
		{"coding", "POST", repo + "/git-upload-pack", want, 415, []string{"Content-Type", up, "Content-Encoding", "br"}},
		{"no service", "GET", repo + "/info/refs", "", 403, nil},
		{"asset", "GET", h.URL + "/static/icon.svg", "", 200, nil},
		{"robots", "GET", h.URL + "/robots.txt", "", 200, nil},
		{"health", "GET", h.URL + "/health", "", 200, nil},
		{"/prs while it is off", "GET", h.URL + "/prs/" + alice.Npub + "/demo.git" + uploadRefs, "", 404, nil},
		{"/prs push while it is off", "POST", h.URL + "/prs/" + alice.Npub + "/demo.git/git-receive-pack", push, 404, []string{"Content-Type", down}},
		{"/prs page while it is off", "GET", h.URL + "/prs/" + alice.Npub + "/demo.git", "", 404, nil},
		{"/prs", "GET", h.URL + "/prs", "", 404, nil},
		{"long path", "GET", h.URL + "/" + strings.Repeat("x", 5000), "", 404, nil},
		{"a call without authorisation", "POST", h.URL + "/", "{}", 401, []string{"Content-Type", "application/nostr+json+rpc"}},
	} {
		for _, origin := range []string{"", "https://gitworkshop.dev", "null"} {
			header := q.header
			if origin != "" {
				header = append(header[:len(header):len(header)], "Origin", origin)
			}
			resp, body := h.Do(q.method, q.target, strings.NewReader(q.body), header...)
			if resp.StatusCode != q.status {
				t.Errorf("%s: status %d, want %d: %.200q", q.what, resp.StatusCode, q.status, body)
			}
			housetest.CORS(t, q.what+" from origin "+origin, resp.Header)
		}
	}
	// An answer that the client already has.
	first, _ := h.Get("/static/icon.svg")
	if tag := first.Header.Get("ETag"); tag != "" {
		resp, _ := answered(t, h, 304, "GET", "/static/icon.svg", "If-None-Match", tag)
		_ = resp
	}
	for _, origin := range []http.Header{nil, {"Origin": {"https://example.com"}}} {
		ws, resp, err := websocket.DefaultDialer.Dial(h.RelayURL(), origin)
		if err != nil {
			t.Fatal(err)
		}
		ws.Close()
		housetest.CORS(t, "101", resp.Header)
	}
	for what, header := range map[string][]string{
		"a handshake that is none":   {"Connection", "Upgrade", "Upgrade", "websocket"},
		"a handshake of version 8":   {"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "8", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="},
		"a handshake with a bad key": {"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "x"},
	} {
		resp, _ := h.Get("/", header...)
		if resp.StatusCode < 400 || resp.StatusCode >= 500 {
			t.Errorf("%s: status %d, want 4xx", what, resp.StatusCode)
		}
		housetest.CORS(t, what, resp.Header)
	}
}

// checks 84, 85: C-04: OPTIONS on any path: 204, nothing else.
func TestDoorPreflight(t *testing.T) {
	t.Parallel()
	h, _, alice, _ := hosted(t)
	repo := h.Repo(alice, "demo")
	bent := strings.Replace(repo, alice.Npub, alice.Npub[:40]+"qqqqqq"+alice.Npub[46:], 1)
	for _, target := range []string{
		h.URL + "/", repo, repo + uploadRefs, repo + "/git-upload-pack", repo + "/git-receive-pack", h.Repo(alice, "unknown") + receiveRefs, bent + uploadRefs,
		h.URL + "/prs/x", h.URL + "/zzz", h.URL + "/static/icon.svg", h.URL + "/%2e%2e/%2e%2e", h.URL + "/" + strings.Repeat("x", 4000), h.URL + "/health", h.URL + "//",
	} {
		for _, header := range [][]string{
			nil,
			{"Origin", "https://gitworkshop.dev", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type,git-protocol"},
			{"Origin", "null", "Access-Control-Request-Method", "DELETE", "Access-Control-Request-Headers", "x-evil"},
			{"Authorization", "garbage", "Content-Type", "application/x-git-receive-pack-request"},
		} {
			resp, body := h.Do("OPTIONS", target, nil, header...)
			if resp.StatusCode != 204 || body != "" {
				t.Errorf("OPTIONS %.100s %v: status %d %q, want 204 and nothing", target, header, resp.StatusCode, body)
			}
			housetest.CORS(t, "OPTIONS "+target, resp.Header)
		}
	}
	// The server as a whole, and an upgrade that is asked for with the wrong method.
	for _, request := range []string{
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "OPTIONS / HTTP/1.0\r\n\r\n",
		"OPTIONS / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
	} {
		resp, body := h.Raw("OPTIONS", request)
		if resp.StatusCode != 204 || body != "" {
			t.Errorf("%q: status %d %q, want 204 and nothing", request, resp.StatusCode, body)
		}
		housetest.CORS(t, request, resp.Header)
	}
}

// check 86: C-04: preflights are not counted.
func TestDoorPreflightFlood(t *testing.T) {
	t.Parallel()
	h, _, alice, _ := hosted(t)
	path := strings.TrimPrefix(h.Repo(alice, "demo"), h.URL) + "/git-receive-pack"
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			conn, err := net.Dial("tcp", h.Host)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(housetest.Wait))
			in := bufio.NewReader(conn)
			for range 200 {
				if _, err := io.WriteString(conn, "OPTIONS "+path+" HTTP/1.1\r\nHost: "+h.Host+"\r\n\r\n"); err != nil {
					t.Error(err)
					return
				}
				resp, err := http.ReadResponse(in, &http.Request{Method: "OPTIONS"})
				if err != nil || resp.StatusCode != 204 {
					t.Errorf("OPTIONS: %v, %v", resp, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// C-07, hardening §3, §4: HTTP that is no HTTP. There is an answer, it has the headers, it is no
// redirect and no 5xx, and nobody is asked for a password.
func TestDoorMalformedHTTP(t *testing.T) {
	t.Parallel()
	h, _, alice, _ := hosted(t)
	path := strings.TrimPrefix(h.Repo(alice, "demo"), h.URL)
	host := "Host: " + h.Host + "\r\n"
	refs := path + uploadRefs
	for _, q := range []struct {
		what, request string
		status        int // 0 is any 4xx
	}{
		{"nonsense", "nonsense\r\n\r\n", 0},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 0},
		{"no host", "GET " + refs + " HTTP/1.1\r\n\r\n", 0},
		{"two hosts", "GET " + refs + " HTTP/1.1\r\n" + host + host + "\r\n", 0},
		{"bad host", "GET " + refs + " HTTP/1.1\r\nHost: a b\r\n\r\n", 0},
		{"another host", "GET " + refs + " HTTP/1.1\r\nHost: example.com\r\n\r\n", 200},
		{"HTTP/1.0", "GET " + refs + " HTTP/1.0\r\n\r\n", 200},
		{"HTTP/0.9", "GET " + refs + "\r\n\r\n", 0},
		{"HTTP/2 by prior knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0},
		{"HTTP/3.0", "GET " + refs + " HTTP/3.0\r\n" + host + "\r\n", 0},
		{"HTTP/9.9", "GET " + refs + " HTTP/9.9\r\n" + host + "\r\n", 0},
		{"HTTP/x", "GET " + refs + " HTTP/x\r\n" + host + "\r\n", 0},
		{"header without colon", "GET " + refs + " HTTP/1.1\r\n" + host + "garbage\r\n\r\n", 0},
		{"header with NUL", "GET " + refs + " HTTP/1.1\r\n" + host + "X: a\x00b\r\n\r\n", 0},
		{"space before the colon", "GET " + refs + " HTTP/1.1\r\n" + host + "Content-Length : 3\r\n\r\nabc", 0},
		{"long headers", "GET " + refs + " HTTP/1.1\r\n" + host + "X: " + strings.Repeat("x", 100_000) + "\r\n\r\n", 431},
		{"long path", "GET /" + strings.Repeat("x", 30_000) + " HTTP/1.1\r\n" + host + "\r\n", 0},
		{"unknown transfer coding", "POST " + path + "/git-upload-pack HTTP/1.1\r\n" + host + "Transfer-Encoding: rot13\r\n\r\nx", 0},
		{"two transfer codings", "POST " + path + "/git-upload-pack HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 0},
		{"two lengths", "POST " + path + "/git-upload-pack HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 0},
		{"negative length", "POST " + path + "/git-upload-pack HTTP/1.1\r\n" + host + "Content-Length: -1\r\n\r\n", 0},
		{"endless length", "POST " + path + "/git-receive-pack HTTP/1.1\r\n" + host + "Content-Type: application/x-git-receive-pack-request\r\nContent-Length: 9223372036854775807\r\n\r\n", 413},
		{"bad chunk", "POST " + path + "/git-upload-pack HTTP/1.1\r\n" + host + "Content-Type: application/x-git-upload-pack-request\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 0},
		{"unknown expectation", "POST " + path + "/git-upload-pack HTTP/1.1\r\n" + host + "Expect: a miracle\r\nContent-Length: 0\r\n\r\n", 417},
		{"trailing garbage in the path", "GET " + path + "/info/refs?service=git-upload-pack HTTP/1.1 x\r\n" + host + "\r\n", 0},
		{"CONNECT", "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", 0},
		{"asterisk", "GET * HTTP/1.1\r\n" + host + "\r\n", 0},
		{"no slash", "GET x HTTP/1.1\r\n" + host + "\r\n", 0},
		{"absolute form, here", "GET " + h.URL + refs + " HTTP/1.1\r\n" + host + "\r\n", 200},
		{"absolute form, elsewhere", "GET http://example.com" + refs + " HTTP/1.1\r\n" + host + "\r\n", 421},
		{"absolute form, another scheme", "GET ftp://example.com" + refs + " HTTP/1.1\r\n" + host + "\r\n", 421},
		{"double encoding", "GET /" + alice.Npub + "/demo%252egit/info/refs?service=git-upload-pack HTTP/1.1\r\n" + host + "\r\n", 404},
		{"escaped separators", "GET /" + alice.Npub + "%2Fdemo.git/info/refs?service=git-upload-pack HTTP/1.1\r\n" + host + "\r\n", 404},
		{"escaped dots", "GET /" + alice.Npub + "/%2e%2e%2f" + alice.Npub + "%2fdemo.git/info/refs?service=git-upload-pack HTTP/1.1\r\n" + host + "\r\n", 404},
		{"dots", "GET /x/../" + strings.TrimPrefix(refs, "/") + " HTTP/1.1\r\n" + host + "\r\n", 404},
		{"dots behind", "GET " + path + "/../demo.git/info/refs?service=git-upload-pack HTTP/1.1\r\n" + host + "\r\n", 404},
		{"backslashes", "GET \\" + alice.Npub + "\\demo.git HTTP/1.1\r\n" + host + "\r\n", 0},
		{"NUL", "GET /" + alice.Npub + "/demo%00.git/info/refs?service=git-upload-pack HTTP/1.1\r\n" + host + "\r\n", 404},
		{"line feed", "GET /" + alice.Npub + "/demo%0a.git/info/refs?service=git-upload-pack HTTP/1.1\r\n" + host + "\r\n", 404},
		{"bad UTF-8", "GET /" + alice.Npub + "/%ff%fe.git/info/refs?service=git-upload-pack HTTP/1.1\r\n" + host + "\r\n", 404},
		{"overlong UTF-8", "GET /" + alice.Npub + "/%c0%ae%c0%ae.git/info/refs?service=git-upload-pack HTTP/1.1\r\n" + host + "\r\n", 404},
		{"bad escape", "GET /" + alice.Npub + "/%zz.git/info/refs HTTP/1.1\r\n" + host + "\r\n", 0},
		{"twice .git", "GET /" + alice.Npub + "/demo.git.git/info/refs?service=git-upload-pack HTTP/1.1\r\n" + host + "\r\n", 404},
		{".GIT", "GET /" + alice.Npub + "/demo.GIT/info/refs?service=git-upload-pack HTTP/1.1\r\n" + host + "\r\n", 404},
		{"no .git", "GET /" + alice.Npub + "/demo/info/refs?service=git-upload-pack HTTP/1.1\r\n" + host + "\r\n", 404},
		{"a slash behind", "GET " + path + "/info/refs/?service=git-upload-pack HTTP/1.1\r\n" + host + "\r\n", 404},
	} {
		t.Run(q.what, func(t *testing.T) {
			method, _, _ := strings.Cut(q.request, " ")
			if method == "CONNECT" {
				method = "GET" // a refusal has a body
			}
			resp, body := h.Raw(method, q.request)
			if q.status == 0 && (resp.StatusCode < 400 || resp.StatusCode >= 500) || q.status != 0 && resp.StatusCode != q.status || resp.StatusCode == 401 {
				t.Errorf("status %d, want %d (0 is any 4xx): %.200q", resp.StatusCode, q.status, body)
			}
			if l := resp.Header.Get("Location"); l != "" {
				t.Errorf("redirected to %s", l)
			}
			housetest.CORS(t, fmt.Sprintf("status %d", resp.StatusCode), resp.Header)
		})
	}
}

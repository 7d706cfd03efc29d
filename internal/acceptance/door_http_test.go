// Package acceptance_test holds the whole server to the observable checks of the protocol's
// catalogue: real HTTP, real WebSockets, the git that is installed. Each test names the checks and
// the requirements that it is about; it knows nothing of how the server is built.
package acceptance_test

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/housetest"
)

const (
	uploadAdvert  = "application/x-git-upload-pack-advertisement"
	receiveAdvert = "application/x-git-receive-pack-advertisement"
	uploadResult  = "application/x-git-upload-pack-result"
	receiveResult = "application/x-git-receive-pack-result"
	uploadRefs    = "/info/refs?service=git-upload-pack"
	receiveRefs   = "/info/refs?service=git-receive-pack"
)

// longAgo is when events of these tests begin, so that each can be followed by newer ones.
func longAgo() int64 { return time.Now().Unix() - 10_000 }

// hosted starts a house with one served repository "demo".
func hosted(t *testing.T, change ...func(*config.Config)) (h *housetest.House, c *housetest.Conn, owner *housetest.Key, w *housetest.Copy) {
	t.Helper()
	h = housetest.Start(t, change...)
	c, owner = h.Dial(), housetest.NewKey(t)
	return h, c, owner, h.Served(c, owner, "demo", longAgo())
}

// answered makes a request and checks the status and, on the way, the headers of every answer.
func answered(t *testing.T, h *housetest.House, status int, method, target string, header ...string) (*http.Response, string) {
	t.Helper()
	resp, body := h.Do(method, target, nil, header...)
	if resp.StatusCode != status {
		t.Errorf("%s %s: status %d, want %d: %.200s", method, target, resp.StatusCode, status, body)
	}
	housetest.CORS(t, method+" "+target, resp.Header)
	return resp, body
}

func isHTML(t *testing.T, what string, resp *http.Response) {
	t.Helper()
	if ct := resp.Header.Get("Content-Type"); !strings.HasPrefix(ct, "text/html") {
		t.Errorf("%s: Content-Type is %q, want text/html", what, ct)
	}
}

// tree lists what is in a folder, the files of the database left out: their names come and go.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && !strings.Contains(path, "gitroost.db") {
			names = append(names, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// The root of the server: a page, a relay.
func TestDoorRoot(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)

	// check 1: H-101
	resp, body := answered(t, h, 200, "GET", "/", "Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "User-Agent", "Mozilla/5.0")
	isHTML(t, "GET /", resp)
	if !strings.Contains(body, "<html") {
		t.Errorf("GET /: no page: %.200s", body)
	}

	// check 2: H-101; any number of slashes is the root (N-001)
	for _, path := range []string{"", "/", "//"} {
		ws, resp, err := websocket.DefaultDialer.Dial(h.RelayURL()+path, nil)
		if err != nil {
			t.Fatalf("handshake on %q: %v", path, err)
		}
		if resp.StatusCode != 101 {
			t.Errorf("handshake on %q: status %d, want 101", path, resp.StatusCode)
		}
		housetest.CORS(t, "handshake on "+path, resp.Header)
		if err := ws.WriteMessage(websocket.TextMessage, []byte(`["REQ","x",{"kinds":[30617]}]`)); err != nil {
			t.Fatal(err)
		}
		_ = ws.SetReadDeadline(time.Now().Add(housetest.Wait))
		if _, b, err := ws.ReadMessage(); err != nil || string(b) != `["EOSE","x"]` {
			t.Errorf("REQ on %q: got %s, %v; want EOSE", path, b, err)
		}
		ws.Close()
	}

	// check 3: H-101, N-001
	for _, path := range []string{"/some/path", "/x", "/" + housetest.NewKey(t).Npub} {
		ws, resp, err := websocket.DefaultDialer.Dial(h.RelayURL()+path, nil)
		if err == nil {
			ws.Close()
			t.Fatalf("handshake on %s was accepted", path)
		}
		if resp == nil || resp.StatusCode != 404 {
			t.Fatalf("handshake on %s: %v, %v; want 404", path, resp, err)
		}
		housetest.CORS(t, "handshake on "+path, resp.Header)
	}
}

// Which addresses are repositories, and which are nothing.
func TestDoorPaths(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, alice := h.Dial(), housetest.NewKey(t)
	c.Must(h.Announcement(alice, "tool.git", longAgo()), h.Announcement(alice, "demo", longAgo()))
	at := func(key, rest string) string { return "/" + key + "/" + rest }

	t.Run("check 4: H-102", func(t *testing.T) {
		answered(t, h, 200, "GET", at(alice.Npub, "tool.git.git"+uploadRefs))
		answered(t, h, 404, "GET", at(alice.Npub, "tool.git"+uploadRefs))
	})
	t.Run("checks 5, 6: H-102", func(t *testing.T) {
		bent := []byte(alice.Npub)
		if bent[20] = 'q'; alice.Npub[20] == 'q' {
			bent[20] = 'p'
		}
		for what, key := range map[string]string{
			"hex key": alice.Pub, "bad checksum": string(bent), "upper case": strings.ToUpper(alice.Npub), "mixed case": "NPUB1" + alice.Npub[5:],
			"too short": alice.Npub[:62], "too long": alice.Npub + "q", "another kind": "nprofile1" + alice.Npub[5:], "note": "note1" + alice.Npub[5:],
			"empty": "npub1", "escaped": "%6Epub1" + alice.Npub[5:],
		} {
			t.Log(what)
			for _, service := range []string{"git-upload-pack", "git-receive-pack"} {
				resp, _ := answered(t, h, 404, "GET", at(key, "demo.git/info/refs?service="+service))
				if l := resp.Header.Get("Location"); l != "" {
					t.Errorf("%s: redirected to %s", what, l)
				}
				resp, body := h.Do("POST", at(key, "demo.git/"+service), strings.NewReader(housetest.FlushPkt), "Content-Type", "application/x-"+service+"-request")
				if resp.StatusCode != 404 {
					t.Errorf("%s: POST %s: status %d, want 404: %.100s", what, service, resp.StatusCode, body)
				}
				housetest.CORS(t, what, resp.Header)
			}
			answered(t, h, 404, "GET", at(key, "demo.git"))
		}
	})
	t.Run("check 7: H-102", func(t *testing.T) {
		for _, sub := range []string{
			"HEAD", "objects/info/packs", "objects/info/alternates", "objects/info/http-alternates", "objects/00/" + strings.Repeat("0", 38),
			"config", "description", "packed-refs", "refs/heads/main", "info/", "info", "info/refs/", "info/attributes", "git-upload-archive",
			"git-upload-pack/", "git-upload-pack/x", "info/refs/x", ".git", "..", ".", "./info/refs", "info/../info/refs", "x/../info/refs",
			"%69nfo/refs", "info%2Frefs", "info/refs%00", "info/refs%0a",
		} {
			// The path goes out as it is: a client that cleans it would ask for something else.
			resp, body := h.Raw("GET", "GET "+at(alice.Npub, "demo.git/"+sub)+"?service=git-upload-pack HTTP/1.1\r\nHost: "+h.Host+"\r\n\r\n")
			if resp.StatusCode != 404 {
				t.Errorf("GET %s: status %d, want 404: %.100s", sub, resp.StatusCode, body)
			}
			housetest.CORS(t, sub, resp.Header)
		}
	})
	t.Run("check 8: H-103", func(t *testing.T) {
		want, wantBody := answered(t, h, 200, "GET", at(alice.Npub, "demo.git"+uploadRefs))
		for _, path := range []string{"//" + alice.Npub + "/demo.git" + uploadRefs, "//" + alice.Npub + "//demo.git//info/refs?service=git-upload-pack", "///" + at(alice.Npub, "demo.git"+uploadRefs)} {
			got, body := h.Raw("GET", "GET "+path+" HTTP/1.1\r\nHost: "+h.Host+"\r\n\r\n")
			if got.StatusCode != 200 || body != wantBody || got.Header.Get("Content-Type") != want.Header.Get("Content-Type") {
				t.Errorf("GET %s: status %d, not the same answer", path, got.StatusCode)
			}
		}
		if out, err := housetest.Git(t, ".", "ls-remote", h.URL+"//"+alice.Npub+"/demo.git"); err != nil {
			t.Errorf("git ls-remote with two slashes: %v\n%s", err, out)
		}
	})
	t.Run("check 9: H-103", func(t *testing.T) {
		_, want := answered(t, h, 200, "GET", at(alice.Npub, "demo.git"))
		if _, got := answered(t, h, 200, "GET", at(alice.Npub, "demo.git/")); got != want {
			t.Error("the page differs with a trailing slash")
		}
	})
}

// check 10: H-104: an identifier of many kinds of characters, with a neighbour that decodes to
// something similar.
func TestDoorOddIdentifier(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, alice := h.Dial(), housetest.NewKey(t)
	const odd = "my 🚀 repo+x:y%"
	neighbours := []string{"my 🚀 repo x:y%", "my%20🚀 repo+x:y%", "my 🚀 repo+x:y", "my 🚀 repo+x:y%25", "MY 🚀 repo+x:y%"}
	for _, id := range neighbours {
		c.Must(h.Announcement(alice, id, longAgo()))
	}
	w := h.Served(c, alice, odd, longAgo())
	main := w.Git("rev-parse", "main")
	for _, escaped := range []string{"my%20%F0%9F%9A%80%20repo+x:y%25", "my%20%f0%9f%9a%80%20repo%2Bx%3Ay%25"} {
		clone := housetest.Clone(t, h.URL+"/"+alice.Npub+"/"+escaped+".git")
		if got := clone.Git("rev-parse", "HEAD"); got != main {
			t.Errorf("clone of %s has %s, want %s", escaped, got, main)
		}
	}
	next := w.Commit()
	c.Must(alice.State(odd, longAgo()+1, "main="+next))
	w.Git("push", "-q", h.Repo(alice, odd), "main")
	if got := housetest.Remote(t, h.Repo(alice, odd))["refs/heads/main"]; got != next {
		t.Errorf("main is %s after the second push, want %s", got, next)
	}
	for _, id := range neighbours {
		if refs := housetest.Remote(t, h.Repo(alice, id)); len(refs) != 0 {
			t.Errorf("%q has refs %v, it was never pushed to", id, refs)
		}
	}
	resp, body := answered(t, h, 200, "GET", h.Repo(alice, odd))
	isHTML(t, odd, resp)
	if !strings.Contains(body, "🚀") {
		t.Error("the page does not show the identifier")
	}
}

// check 11: H-104: identifiers that are none.
func TestDoorBadIdentifier(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	h := housetest.Start(t, func(cfg *config.Config) { cfg.Data = filepath.Join(outside, "a", "b", "data") })
	c, alice := h.Dial(), housetest.NewKey(t)
	for _, id := range []string{"..", ".", "a/b", "/", "../../x", `a\b`, "", strings.Repeat("x", 300), strings.Repeat("x", 252), "a\x00", "a\nb", "a\x7fb", "a\u0085b"} {
		ok, msg := c.Publish(h.Announcement(alice, id, longAgo()))
		if ok || !strings.HasPrefix(msg, "invalid:") {
			t.Errorf("announcement of %q: OK %v %q, want invalid:", id, ok, msg)
		}
		ok, msg = c.Publish(alice.State(id, longAgo(), "main="+strings.Repeat("1", 40)))
		if ok || !strings.HasPrefix(msg, "invalid:") {
			t.Errorf("state of %q: OK %v %q, want invalid:", id, ok, msg)
		}
	}
	longest := strings.Repeat("é", 125) + "x"
	h.Served(c, alice, longest, longAgo())
	if got, want := tree(t, outside)[:3], []string{"", "/a", "/a/b"}; !slices.Equal(got, want) {
		t.Errorf("outside the data folder there is %v, want %v", got, want)
	}
	for _, name := range tree(t, outside)[3:] {
		if !strings.HasPrefix(name, "/a/b/data") {
			t.Errorf("%s is outside the data folder", name)
		}
	}
}

// check 12: H-104
func TestDoorLetterCase(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, alice := h.Dial(), housetest.NewKey(t)
	small, large := h.Served(c, alice, "tool", longAgo()), h.Served(c, alice, "TOOL", longAgo())
	for id, w := range map[string]*housetest.Copy{"tool": small, "TOOL": large} {
		if got, want := housetest.Remote(t, h.Repo(alice, id))["refs/heads/main"], w.Git("rev-parse", "main"); got != want {
			t.Errorf("%s: main is %s, want %s", id, got, want)
		}
	}
	answered(t, h, 404, "GET", h.Repo(alice, "Tool")+uploadRefs)
}

// Methods: what is allowed where.
func TestDoorMethods(t *testing.T) {
	t.Parallel()
	h, _, alice, _ := hosted(t)
	repo := h.Repo(alice, "demo")

	// check 13: H-105
	for _, target := range []string{repo, repo + uploadRefs, h.URL + "/"} {
		for _, method := range []string{"PUT", "DELETE", "PATCH", "PROPFIND", "TRACE"} {
			resp, _ := answered(t, h, 405, method, target)
			if !strings.Contains(resp.Header.Get("Allow"), "GET") {
				t.Errorf("%s %s: Allow is %q", method, target, resp.Header.Get("Allow"))
			}
		}
	}
	for _, service := range []string{"git-upload-pack", "git-receive-pack"} {
		for _, method := range []string{"GET", "HEAD", "PUT", "DELETE"} {
			resp, _ := answered(t, h, 405, method, repo+"/"+service)
			if !strings.Contains(resp.Header.Get("Allow"), "POST") {
				t.Errorf("%s %s: Allow is %q", method, service, resp.Header.Get("Allow"))
			}
		}
	}
	for _, target := range []string{repo, repo + uploadRefs} {
		answered(t, h, 405, "POST", target)
	}

	// check 14: H-105
	for _, target := range []string{repo + uploadRefs, repo + receiveRefs, repo, h.URL + "/", repo + "/nothing", h.Repo(alice, "unknown") + uploadRefs} {
		get, _ := h.Get(target)
		head, body := h.Do("HEAD", target, nil)
		if head.StatusCode != get.StatusCode || body != "" {
			t.Errorf("HEAD %s: status %d with %d bytes, GET has %d", target, head.StatusCode, len(body), get.StatusCode)
		}
		get.Header.Del("Date")
		head.Header.Del("Date")
		if fmt.Sprint(get.Header) != fmt.Sprint(head.Header) {
			t.Errorf("HEAD %s: headers differ:\n%v\n%v", target, head.Header, get.Header)
		}
	}
	answered(t, h, 404, "HEAD", h.Repo(alice, "unknown")+uploadRefs)
	answered(t, h, 200, "HEAD", repo+uploadRefs)
}

// checks 15, 16: H-106
func TestDoorService(t *testing.T) {
	t.Parallel()
	h, _, alice, _ := hosted(t)
	refs := h.Repo(alice, "demo") + "/info/refs"
	for _, query := range []string{
		"", "?", "?service", "?service=", "?service=git-upload-archive", "?service=foo", "?service=upload-pack", "?service=GIT-UPLOAD-PACK",
		"?service=git-upload-pack%00", "?service=git-upload-pack&service=git-receive-pack", "?service=git-receive-pack&service=git-receive-pack",
		"?service=/bin/sh", "?service=--help", "?Service=git-upload-pack", "?%", "?service=git-upload-pack%20--strict",
	} {
		resp, body := h.Raw("GET", "GET "+strings.TrimPrefix(refs, h.URL)+query+" HTTP/1.1\r\nHost: "+h.Host+"\r\n\r\n")
		if resp.StatusCode != 403 {
			t.Errorf("%s: status %d, want 403: %.100s", query, resp.StatusCode, body)
		}
		if ct := resp.Header.Get("Content-Type"); !strings.HasPrefix(ct, "text/plain") {
			t.Errorf("%s: Content-Type is %q, want text/plain", query, ct)
		}
		housetest.CORS(t, query, resp.Header)
	}
	for _, query := range []string{"?service=git-upload-pack&x=1", "?x=%20&service=git-upload-pack", "?service=git-upload-pack&x=%zz", "?service=git-upload-pack;x"} {
		resp, body := h.Get(refs + query)
		if query == "?service=git-upload-pack;x" {
			if resp.StatusCode >= 500 {
				t.Errorf("%s: status %d", query, resp.StatusCode)
			}
			continue
		}
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != uploadAdvert {
			t.Errorf("%s: status %d, want 200: %.100s", query, resp.StatusCode, body)
		}
	}
}

// Repositories that are not here, and one that waits.
func TestDoorUnknown(t *testing.T) {
	t.Parallel()
	h := housetest.Start(t)
	c, alice := h.Dial(), housetest.NewKey(t)
	before := tree(t, h.Data())
	push := housetest.Pkt(housetest.ZeroID, " ", strings.Repeat("1", 40), " refs/heads/main\x00 report-status side-band-64k") + housetest.FlushPkt + "PACK"
	repo := h.Repo(alice, "demo")

	t.Run("check 17: H-107", func(t *testing.T) {
		for _, repo := range []string{repo, h.Repo(alice, "<script>alert(1)"), h.Repo(alice, `x" onload="y`)} {
			for _, target := range []string{repo, repo + uploadRefs, repo + receiveRefs} {
				answered(t, h, 404, "GET", target)
				answered(t, h, 404, "HEAD", target)
			}
			for _, body := range []string{"", housetest.FlushPkt, push, "garbage", strings.Repeat("x", 100_000)} {
				for _, post := range []func(string, string, ...string) (*http.Response, string){h.UploadPack, h.ReceivePack} {
					resp, got := post(repo, body)
					if resp.StatusCode != 404 {
						t.Errorf("POST of %.20q to %s: status %d, want 404: %.100s", body, repo, resp.StatusCode, got)
					}
					housetest.CORS(t, "POST", resp.Header)
				}
			}
		}
		if after := tree(t, h.Data()); !slices.Equal(before, after) {
			t.Errorf("the data folder changed from\n%v\nto\n%v", before, after)
		}
	})

	t.Run("check 21: H-109", func(t *testing.T) {
		resp, body := answered(t, h, 404, "GET", h.Repo(alice, "unknown"))
		isHTML(t, "unknown", resp)
		if !strings.Contains(body, "unknown") {
			t.Errorf("the page does not say what is unknown: %.300s", body)
		}
		answered(t, h, 200, "GET", "/") // the pages that list repositories are looked at below
		nasty := `<script>alert("x")` + "'&</script >"
		nasty = strings.ReplaceAll(nasty, "/", "")
		for _, announced := range []bool{false, true} {
			status := 404
			if announced {
				h.Served(c, alice, nasty, longAgo())
				status = 200
			}
			for _, target := range []string{h.Repo(alice, nasty), h.URL + "/", h.URL + "/" + url.PathEscape(nasty)} {
				want := status
				switch {
				case target == h.URL+"/":
					want = 200
				case !strings.HasSuffix(target, ".git"):
					want = 404
				}
				_, body := answered(t, h, want, "GET", target)
				if strings.Contains(body, "<script>alert") || strings.Contains(body, `alert("x")`) {
					t.Errorf("GET %s: the identifier is not escaped:\n%s", target, body)
				}
			}
		}
	})

	t.Run("check 18: H-107", func(t *testing.T) {
		c.Must(h.Announcement(alice, "demo", longAgo()))
		answered(t, h, 200, "GET", repo)
		answered(t, h, 200, "GET", repo+uploadRefs)
		answered(t, h, 200, "GET", repo+receiveRefs)
		for _, post := range []func(string, string, ...string) (*http.Response, string){h.UploadPack, h.ReceivePack} {
			if resp, body := post(repo, housetest.FlushPkt); resp.StatusCode != 200 || body != "" {
				t.Errorf("POST of a flush: status %d %q, want 200 and nothing", resp.StatusCode, body)
			}
		}
		if resp, _ := h.ReceivePack(repo, push); resp.StatusCode != 200 {
			t.Errorf("a push that nothing authorises: status %d, want 200 with a report", resp.StatusCode)
		}
	})
}

// check 19: H-108: who one is does not matter.
func TestDoorAuthorization(t *testing.T) {
	t.Parallel()
	h, _, alice, _ := hosted(t)
	repo := h.Repo(alice, "demo")
	for _, value := range []string{"Basic Z2FyYmFnZTpnYXJiYWdl", "Bearer x", "Nostr e30=", "garbage", ""} {
		for _, target := range []string{repo, repo + uploadRefs, repo + receiveRefs, repo + "/info/refs", h.Repo(alice, "unknown") + uploadRefs, repo + "/HEAD"} {
			want, wantBody := h.Get(target)
			got, body := h.Get(target, "Authorization", value)
			if got.StatusCode != want.StatusCode || body != wantBody || got.Header.Get("WWW-Authenticate") != "" {
				t.Errorf("GET %s with Authorization %q: status %d, without %d", target, value, got.StatusCode, want.StatusCode)
			}
		}
		if resp, _ := h.ReceivePack(repo, housetest.FlushPkt, "Authorization", value); resp.StatusCode != 200 {
			t.Errorf("POST with Authorization %q: status %d", value, resp.StatusCode)
		}
	}
	u := strings.Replace(repo, "http://", "http://user:password@", 1)
	if out, err := housetest.Git(t, ".", "ls-remote", u); err != nil {
		t.Errorf("git ls-remote with a password: %v\n%s", err, out)
	}
}

// check 20: H-109
func TestDoorPage(t *testing.T) {
	t.Parallel()
	h, c, alice, _ := hosted(t)
	c.Must(h.Announcement(alice, "waits", longAgo()))
	for _, id := range []string{"demo", "waits"} {
		resp, body := answered(t, h, 200, "GET", h.Repo(alice, id))
		isHTML(t, id, resp)
		for what, want := range map[string]string{
			"the clone URL": h.Repo(alice, id), "a nostr address": "nostr:" + "//" + alice.Npub, "a web client": `href="https://gitworkshop.dev/`,
		} {
			if !strings.Contains(body, want) {
				t.Errorf("the page of %s lacks %s (%s)", id, what, want)
			}
		}
		link := body[max(0, strings.Index(body, `href="https://gitworkshop.dev/`)):]
		if link, _, _ = strings.Cut(strings.TrimPrefix(link, `href="`), `"`); !strings.Contains(link, alice.Npub) || !strings.Contains(link, id) {
			t.Errorf("the link %q does not lead to %s", link, id)
		}
	}
}

// check 22: H-110: whatever is sent, there is an answer, it is no 5xx, and it has the headers.
func TestDoorFuzz(t *testing.T) {
	t.Parallel()
	h, _, alice, w := hosted(t)
	const seed = 22
	rnd := rand.New(rand.NewPCG(seed, 1))
	pick := func(list ...string) string { return list[rnd.IntN(len(list))] }
	junk := func() string {
		b := make([]byte, rnd.IntN(40))
		for i := range b {
			b[i] = byte(rnd.IntN(256))
		}
		return string(b)
	}
	main := w.Git("rev-parse", "main")
	segments := []string{
		"/", "//", "/..", "/.", "/" + alice.Npub, "/" + alice.Pub, "/demo.git", "/demo", "/.git", "/info/refs", "/git-upload-pack", "/git-receive-pack",
		"/prs", "/%2e%2e", "/%2F", "%00", "/%ff%fe", "/%", "/static", "/static/style.css", "/health", "/robots.txt", "/%F0%9F%9A%80.git", "?service=git-upload-pack",
		"?service=git-receive-pack", "&service=x", "?%zz", ";", "#x", "/npub1", "/a b", "\\", "/favicon.ico", "/.well-known/nostr.json",
	}
	bodies := func() string {
		switch rnd.IntN(6) {
		case 0:
			return ""
		case 1:
			return housetest.FlushPkt
		case 2:
			return junk()
		case 3:
			return housetest.Pkt("want ", main, " side-band-64k\n") + housetest.FlushPkt + housetest.Pkt(pick("done\n", "have "+main, junk()+"x"))
		case 4:
			return housetest.Pkt(housetest.ZeroID, " ", main, " ", pick("refs/heads/x", "refs/heads/main", "HEAD", junk()), "\x00", pick(" report-status", junk(), "")) + pick("0000", "0001", "") + pick("PACK", junk(), "")
		}
		return housetest.Pkt("command=", pick("fetch", "ls-refs", junk()), "\n") + pick("0001", "0000") + housetest.Pkt(pick("want "+main, "ref-prefix x", "done", junk()+"x")) + "0000"
	}
	total := 10_000
	if testing.Short() {
		total = 2_000
	}
	var conn net.Conn
	var in *bufio.Reader
	t.Cleanup(func() {
		if conn != nil {
			conn.Close()
		}
	})
	for i := range total {
		var path strings.Builder
		for range 1 + rnd.IntN(5) {
			if rnd.IntN(8) == 0 {
				path.WriteString("/" + url.PathEscape(junk()))
			} else {
				path.WriteString(pick(segments...))
			}
		}
		method, body := pick("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"), bodies()
		var req strings.Builder
		fmt.Fprintf(&req, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, strings.NewReplacer(" ", "%20", "\r", "", "\n", "").Replace(path.String()), h.Host)
		for range rnd.IntN(4) {
			req.WriteString(pick("Git-Protocol: version=2", "Git-Protocol: "+hex.EncodeToString([]byte(junk())), "Content-Type: application/x-git-upload-pack-request",
				"Content-Type: application/x-git-receive-pack-request", "Content-Encoding: gzip", "Content-Encoding: br", "Accept: application/nostr+json",
				"Accept: */*", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Range: bytes=0-1", "If-None-Match: *",
				"Expect: 100-continue", "Origin: https://example.com", "Access-Control-Request-Method: POST", "X-Forwarded-For: 10.0.0.1", "Content-Type: "+hex.EncodeToString([]byte(junk()))) + "\r\n")
		}
		fmt.Fprintf(&req, "Content-Length: %d\r\n\r\n%s", len(body), body)
		if conn == nil {
			var err error
			if conn, err = net.Dial("tcp", h.Host); err != nil {
				t.Fatal(err)
			}
			in = bufio.NewReader(conn)
		}
		_ = conn.SetDeadline(time.Now().Add(housetest.Wait))
		if _, err := io.WriteString(conn, req.String()); err != nil {
			t.Fatalf("seed %d, request %d: %v", seed, i, err)
		}
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		for err == nil && resp.StatusCode == 100 {
			resp, err = http.ReadResponse(in, &http.Request{Method: method})
		}
		if err != nil {
			t.Fatalf("seed %d, request %d: no answer to %q: %v", seed, i, req.String(), err)
		}
		got, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatalf("seed %d, request %d: answer to %q: %v", seed, i, req.String(), err)
		}
		if resp.StatusCode >= 500 || resp.StatusCode == 401 {
			t.Errorf("seed %d, request %d: status %d for %q: %.200s", seed, i, resp.StatusCode, req.String(), got)
		}
		housetest.CORS(t, fmt.Sprintf("seed %d, request %d, %q", seed, i, req.String()), resp.Header)
		if t.Failed() {
			t.FailNow()
		}
		if resp.Close || resp.StatusCode == 101 || resp.Header.Get("Connection") != "" {
			conn.Close()
			conn = nil
		}
	}
	answered(t, h, 200, "GET", h.Repo(alice, "demo")+uploadRefs)
}

// check 23: H-111: a clone that lasts longer than the house waits for a sign of life, and always moves.
func TestDoorSlowClone(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const idle = 2500 * time.Millisecond // a busy machine may stand still for a second
	h, c, alice, w := hosted(t, func(cfg *config.Config) {
		cfg.Limits.Idle, cfg.Limits.HeaderTimeout, cfg.Limits.Section = idle, idle, idle
	})
	big := make([]byte, 6<<20)
	src := rand.NewChaCha8([32]byte{23})
	_, _ = src.Read(big)
	oid := w.CommitFile("big.bin", big)
	c.Must(alice.State("demo", longAgo()+1, "main="+oid))
	w.Git("push", "-q", h.Repo(alice, "demo"), "main")
	link := h.Link(1 << 20)
	began := time.Now()
	clone := housetest.Clone(t, strings.Replace(h.Repo(alice, "demo"), h.URL, link.URL, 1))
	if got := clone.Git("rev-parse", "HEAD"); got != oid {
		t.Errorf("clone has %s, want %s", got, oid)
	}
	if took := time.Since(began); took < 2*idle {
		t.Errorf("the link was not slow: %v", took)
	}
}

// check 24: H-111: who sends a byte now and then holds nothing for long.
func TestDoorTrickle(t *testing.T) {
	t.Parallel()
	const limit = 1500 * time.Millisecond
	h, c, alice, w := hosted(t, func(cfg *config.Config) {
		cfg.Limits.Idle, cfg.Limits.Section, cfg.Limits.DrainIdle = limit, limit, limit
		cfg.Git.Receiving = 1
	})
	oid := w.Commit()
	c.Must(alice.State("demo", longAgo()+1, "main="+oid))
	path := strings.TrimPrefix(h.Repo(alice, "demo"), h.URL)
	pack := w.Pack(oid)
	authorised := housetest.Pkt(w.Git("rev-parse", "main~1"), " ", oid, " refs/heads/main\x00 report-status") + housetest.FlushPkt
	t.Run("all", func(t *testing.T) { // until the last of them has ended
		for what, start := range map[string]string{
			"nothing at all":         "POST " + path + "/git-receive-pack HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-git-receive-pack-request\r\nContent-Length: 5000\r\n\r\n",
			"the commands of a push": "POST " + path + "/git-receive-pack HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-git-receive-pack-request\r\nContent-Length: 5000\r\n\r\n" + authorised[:20],
			"the pack of a push":     "POST " + path + "/git-receive-pack HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-git-receive-pack-request\r\nContent-Length: 5000\r\n\r\n" + authorised + pack[:20],
			"a fetch":                "POST " + path + "/git-upload-pack HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-git-upload-pack-request\r\nContent-Length: 5000\r\n\r\n00",
			"an unknown repository":  "POST " + path + "x.git/git-receive-pack HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-git-receive-pack-request\r\nContent-Length: 5000\r\n\r\n",
		} {
			t.Run(what, func(t *testing.T) {
				t.Parallel()
				conn, err := net.Dial("tcp", h.Host)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if _, err := io.WriteString(conn, start); err != nil {
					t.Fatal(err)
				}
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					_ = conn.SetReadDeadline(time.Now().Add(housetest.Wait))
					if b, err := io.ReadAll(conn); err != nil && !strings.Contains(err.Error(), "reset") {
						t.Errorf("the connection is still open: %v %q", err, b)
					}
				}()
				tick := time.NewTicker(100 * time.Millisecond) // each byte well within the limit
				defer tick.Stop()
				for open := true; open; {
					select {
					case <-tick.C:
						_, _ = conn.Write([]byte("0"))
					case <-ended:
						open = false
					}
				}
			})
		}
	})
	w.Git("push", "-q", h.Repo(alice, "demo"), "main") // there is one slot, and it is free
	if entries, err := os.ReadDir(filepath.Join(h.Data(), "incoming")); err != nil || len(entries) > 1 {
		t.Errorf("left behind: %v %v", entries, err)
	}
	if got := c.Query(nostr.Filter{Kinds: []int{30618}, Authors: []string{alice.Pub}}); len(got) != 1 || got[0].CreatedAt != nostr.Timestamp(longAgo()+1) && len(got[0].Tags) == 0 {
		t.Errorf("states: %v", got)
	}
}

package githttp_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/githttp"
)

// H-102 to H-104, checks 4 to 10; hardening §3.
func TestParsePath(t *testing.T) {
	n := owner.Npub()
	for _, c := range []struct{ path, id, sub string }{
		{"/" + n + "/demo.git", "demo", ""},
		{"/" + n + "/demo.git/", "demo", ""},
		{"/" + n + "/demo.git/info/refs", "demo", "info/refs"},
		{"//" + n + "//demo.git//info/refs", "demo", "info/refs"},
		{"///" + n + "/demo.git/info//refs", "demo", "info/refs"},
		{"/" + n + "/tool.git.git/git-upload-pack", "tool.git", "git-upload-pack"},
		{"/" + n + "/x.GIT.git", "x.GIT", ""},
		{"/" + n + "/my%20%F0%9F%9A%80%20repo+x:y%25.git/git-receive-pack", "my 🚀 repo+x:y%", "git-receive-pack"},
		{"/" + n + "/-x.git", "-x", ""},
		{"/" + n + "/%2570.git", "%70", ""}, // decoded once
		{"/" + n + "/a%2egit", "a", ""},
		{"/" + n + "/...git", "..", "!"},
		{"/" + n + "/demo.git/HEAD", "demo", "HEAD"},
		{"/" + n + "/demo.git/objects/info/packs", "demo", "objects/info/packs"},
		{"/" + n + "/demo.git/info/refs/", "demo", "info/refs/"},
		{"/" + n + "/demo.git/../x", "demo", "../x"},
		{"/" + n + "/demo.git//", "", "!"},
		{"/" + n + "/demo", "", "!"},
		{"/" + n + "/demo.GIT", "", "!"},
		{"/" + n + "/.git", "", "!"},
		{"/" + n + "/..git", "", "!"},
		{"/" + n + "/%2e%2e.git", "", "!"},
		{"/" + n + "/a%2Fb.git", "", "!"},
		{"/" + n + "/a%5Cb.git", "", "!"},
		{"/" + n + "/a%00.git", "", "!"},
		{"/" + n + "/a%0a.git", "", "!"},
		{"/" + n + "/a%ff.git", "", "!"},
		{"/" + n + "/a%zz.git", "", "!"},
		{"/" + n + "/" + strings.Repeat("a", 251) + ".git", strings.Repeat("a", 251), ""},
		{"/" + n + "/" + strings.Repeat("a", 252) + ".git", "", "!"},
		{"/" + strings.ToUpper(n) + "/demo.git", "", "!"},
		{"/" + n[:62] + "q/demo.git", "", "!"},
		{"/%6e" + n[1:] + "/demo.git", "", "!"},
		{"/" + string(owner) + "/demo.git", "", "!"},
		{"/nprofile1xyz/demo.git", "", "!"},
		{"/prs/" + n + "/demo.git", "prs demo", ""},
		{"//prs//" + n + "//demo.git//info/refs", "prs demo", "info/refs"},
		{"/prs/" + n + "/my%20%F0%9F%9A%80.git.git/git-receive-pack", "prs my 🚀.git", "git-receive-pack"},
		{"/prs/" + string(owner) + "/demo.git", "", "!"},
		{"/prs/" + n[:62] + "q/demo.git", "", "!"},
		{"/prs/" + n + "/demo", "", "!"},
		{"/prs/prs/" + n + "/demo.git", "", "!"},
		{"/%70rs/" + n + "/demo.git", "", "!"},
		{"/PRS/" + n + "/demo.git", "", "!"},
		{"/prs/" + n, "", "!"},
		{"/prs/", "", "!"},
		{"/prs", "", "!"},
		{"/" + n, "", "!"},
		{"/" + n + "/", "", "!"},
		{"/", "", "!"},
		{"", "", "!"},
		{n + "/demo.git", "", "!"},
		{"/" + n + "/a.git" + strings.Repeat("/x", 2000), "", "!"},
	} {
		repo, sub, ok := githttp.ParsePath(c.path)
		id, box := strings.CutPrefix(c.id, "prs ")
		want := grasp.Addr{Owner: owner, ID: id, Box: box}
		if c.sub == "!" {
			if ok {
				t.Errorf("%s: %v %q", c.path, repo, sub)
			}
			continue
		}
		if !ok || repo != want || sub != c.sub {
			t.Errorf("%s: %v %q %v", c.path, repo, sub, ok)
		}
	}
}

func TestMatch(t *testing.T) {
	h := githttp.New(githttp.Config{Now: fixed}, &fakeDesk{}, &fakeGit{}, nil)
	n := owner.Npub()
	for path, want := range map[string]bool{
		"/" + n + "/demo.git":                   false, // the page
		"/" + n + "/demo.git/":                  false,
		"/" + n + "/demo.git/info/refs":         true,
		"/" + n + "/demo.git/HEAD":              true,
		"/prs/" + n + "/demo.git/info/refs":     true,
		"/prs/" + n + "/demo.git":               false,
		"/prs/npub1wrong/demo.git/info/refs":    true,
		"/prs/":                                 false,
		"/npub1wrong/demo.git/info/refs":        true, // so that git shows why
		"/npub1wrong/demo.git/git-receive-pack": true,
		"/npub1wrong/demo.git":                  false,
		"/" + string(owner) + "/demo.git/HEAD":  false,
		"/assets/x.css":                         false,
		"/":                                     false,
	} {
		if got := h.Match(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

// Whatever the path, nothing panics, and what parses is a valid address.
func FuzzParsePath(f *testing.F) {
	f.Add("/" + owner.Npub() + "/demo.git/info/refs")
	f.Add("/prs/" + owner.Npub() + "/demo.git/info/refs")
	f.Add("//" + owner.Npub() + "//%F0%9F%9A%80.git.git/")
	f.Fuzz(func(t *testing.T, path string) {
		repo, sub, ok := githttp.ParsePath(path)
		if !ok {
			return
		}
		if !repo.Valid() {
			t.Fatalf("%q: %v", path, repo)
		}
		top := "/"
		if repo.Box {
			top = "/prs/"
		}
		again, sub2, ok := githttp.ParsePath(top + repo.Owner.Npub() + "/" + url.PathEscape(repo.ID) + ".git/" + sub)
		if !ok || again != repo || sub2 != sub {
			t.Fatalf("%q: %v %q, again %v %q", path, repo, sub, again, sub2)
		}
	})
}

// H-105 to H-108, H-201, H-206, checks 7, 13 to 19, 25, 31 to 33, 57; never 401, 3xx or 5xx.
func TestStatus(t *testing.T) {
	git := &fakeGit{}
	h := open(t, githttp.Config{}, &fakeDesk{}, git)
	const up, down = "?service=git-receive-pack", "?service=git-upload-pack"
	for _, c := range []struct {
		name, method, path, body string
		header                   []string
		status                   int
		want                     string // "Key: value" or a part of the body
	}{
		{"upload advert", "GET", "/info/refs" + down, "", nil, 200, "Content-Type: application/x-git-upload-pack-advertisement"},
		{"not cached", "GET", "/info/refs" + down, "", nil, 200, "Cache-Control: no-cache"},
		{"receive advert", "GET", "/info/refs" + up, "", nil, 200, "Content-Type: application/x-git-receive-pack-advertisement"},
		{"v2 on receive is ignored", "GET", "/info/refs" + up, "", []string{"Git-Protocol: version=2"}, 200, "001f# service=git-receive-pack\n0000"},
		{"v2", "GET", "/info/refs" + down, "", []string{"Git-Protocol: version=2:evil;$(id)"}, 200, "000eversion 2\n"},
		{"v1", "GET", "/info/refs" + down, "", []string{"Git-Protocol: version=1"}, 200, "0000000eversion 1\n"},
		{"other parameters", "GET", "/info/refs" + down + "&x=1", "", nil, 200, "001e# service"},
		{"no service", "GET", "/info/refs", "", nil, 403, "service=git-upload-pack"},
		{"other service", "GET", "/info/refs?service=git-upload-archive", "", nil, 403, ""},
		{"a program", "GET", "/info/refs?service=/bin/sh", "", nil, 403, ""},
		{"twice", "GET", "/info/refs" + down + "&service=git-receive-pack", "", nil, 403, ""},
		{"bad query", "GET", "/info/refs" + down + "&%zz;", "", nil, 200, ""},
		{"dumb HEAD", "GET", "/HEAD", "", nil, 404, "Content-Type: text/plain; charset=utf-8"},
		{"dumb packs", "GET", "/objects/info/packs", "", nil, 404, ""},
		{"archive", "POST", "/git-upload-archive", "", nil, 404, ""},
		{"POST refs", "POST", "/info/refs" + down, "", nil, 405, "Allow: GET, HEAD, OPTIONS"},
		{"DELETE refs", "DELETE", "/info/refs", "", nil, 405, "Allow: GET, HEAD, OPTIONS"},
		{"GET pack", "GET", "/git-upload-pack", "", nil, 405, "Allow: POST, OPTIONS"},
		{"PUT pack", "PUT", "/git-receive-pack", "x", nil, 405, "Allow: POST, OPTIONS"},
		{"wrong type", "POST", "/git-receive-pack", "0000", []string{"Content-Type: text/plain"}, 415, "application/x-git-receive-pack-request"},
		{"no type", "POST", "/git-receive-pack", "0000", nil, 415, ""},
		{"wrong type, fetch", "POST", "/git-upload-pack", "0000", []string{"Content-Type: text/plain"}, 415, ""},
		{"no type, fetch", "POST", "/git-upload-pack", "0000", nil, 200, ""},
		{"garbage authorization", "POST", "/git-receive-pack", "0000", []string{receiveType, "Authorization: Basic !!!"}, 200, ""},
		{"brotli", "POST", "/git-receive-pack", "0000", []string{receiveType, "Content-Encoding: br"}, 415, "gzip"},
		{"two codings", "POST", "/git-receive-pack", "0000", []string{receiveType, "Content-Encoding: gzip, gzip"}, 415, ""},
		{"two coding headers", "POST", "/git-receive-pack", "0000", []string{receiveType, "Content-Encoding: gzip", "Content-Encoding: gzip"}, 415, ""},
		{"corrupt gzip, check 42", "POST", "/git-upload-pack", "0000", []string{uploadType, "Content-Encoding: gzip"}, 400, "gzip"},
		{"corrupt gzip, push", "POST", "/git-receive-pack", "0000", []string{receiveType, "Content-Encoding: x-gzip"}, 400, "gzip"},
		{"probe, check 58", "POST", "/git-receive-pack", "0000", []string{receiveType}, 200, "Content-Type: application/x-git-receive-pack-result"},
		{"probe and more", "POST", "/git-receive-pack", "00000000", []string{receiveType}, 400, ""},
		{"empty push", "POST", "/git-receive-pack", "", []string{receiveType}, 400, ""},
		{"not pkt-lines", "POST", "/git-receive-pack", "hello world", []string{receiveType}, 400, ""},
		{"flush fetch, check 53", "POST", "/git-upload-pack", "0000", []string{uploadType}, 200, "Content-Type: application/x-git-upload-pack-result"},
		{"flush fetch v2", "POST", "/git-upload-pack", "0000", []string{uploadType, "Git-Protocol: version=2"}, 200, ""},
		{"empty fetch", "POST", "/git-upload-pack", "", []string{uploadType}, 200, ""},
		{"not pkt-lines, fetch", "POST", "/git-upload-pack", "hello world", []string{uploadType}, 400, ""},
		{"unborn, check 36", "POST", "/git-upload-pack", pkts("command=ls-refs", "0001", "symrefs", "unborn", "0000"), []string{uploadType, "Git-Protocol: version=2"}, 200,
			"0030unborn HEAD symref-target:refs/heads/master\n0000"},
		{"filter, check 48", "POST", "/git-upload-pack", pkts("want "+one+" filter\n", "filter nonsense:1\n", "0000", "done\n"), []string{uploadType}, 200,
			"ERR upload-pack: filter 'nonsense:1' not supported"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := h.send(c.method, c.path, strings.NewReader(c.body), c.header...)
			if a.StatusCode != c.status {
				t.Errorf("status %d, want %d: %s", a.StatusCode, c.status, a.body)
			}
			if k, v, ok := strings.Cut(c.want, ": "); ok && a.Header.Get(k) != "" {
				if a.Header.Get(k) != v {
					t.Errorf("%s: %s", k, a.Header.Get(k))
				}
			} else if !strings.Contains(a.body, c.want) {
				t.Errorf("body %q", a.body)
			}
		})
	}
	if n := git.started.Load(); n != 0 {
		t.Errorf("git was started %d times", n)
	}
}

// Empty answers are empty: H-227, H-242, check 53 and 58, also compressed and in chunks.
func TestProbe(t *testing.T) {
	h := open(t, githttp.Config{}, &fakeDesk{}, &fakeGit{})
	for name, a := range map[string]answer{
		"plain":   h.push("0000"),
		"gzip":    h.push(gz("0000"), "Content-Encoding: gzip"),
		"chunked": h.send("POST", "/git-receive-pack", io.MultiReader(strings.NewReader("00"), strings.NewReader("00")), receiveType),
		"fetch":   h.fetch("0000"),
	} {
		if a.StatusCode != 200 || a.body != "" {
			t.Errorf("%s: %d %q", name, a.StatusCode, a.body)
		}
	}
	if got := h.Stats().Probes.Load(); got != 3 {
		t.Errorf("%d probes counted", got)
	}
	if h.log.String() != "" {
		t.Errorf("a probe is no push:\n%s", h.log)
	}
}

func gz(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, s)
	w.Close()
	return b.String()
}

// H-105, check 14: HEAD is GET without a body.
func TestHead(t *testing.T) {
	h := open(t, githttp.Config{}, &fakeDesk{}, &fakeGit{})
	for path, status := range map[string]int{"/info/refs?service=git-upload-pack": 200, "/info/refs?service=git-receive-pack": 200, "/info/refs": 403, "/x": 405} {
		get, head := h.send("GET", path, nil), h.send("HEAD", path, nil)
		if path == "/x" {
			if head.StatusCode != 404 {
				t.Errorf("%s: %d", path, head.StatusCode)
			}
			continue
		}
		get.Header.Del("Date")
		head.Header.Del("Date")
		if get.StatusCode != status || head.StatusCode != status || head.body != "" || fmt.Sprint(get.Header) != fmt.Sprint(head.Header) {
			t.Errorf("%s: %d %v\n%d %v %q", path, get.StatusCode, get.Header, head.StatusCode, head.Header, head.body)
		}
	}
}

// H-107, check 17: what does not live here is 404 for everything; what waits or was withdrawn is not.
func TestHosting(t *testing.T) {
	for hosting, status := range map[grasp.Hosting]int{grasp.NotHosted: 404, grasp.Deleted: 404, grasp.Live: 200, grasp.Withdrawn: 200} {
		d := &fakeDesk{find: func(grasp.Addr) (grasp.Hosting, error) { return hosting, nil }}
		h := open(t, githttp.Config{}, d, &fakeGit{})
		for name, a := range map[string]answer{
			"upload advert":  h.send("GET", "/info/refs?service=git-upload-pack", nil),
			"receive advert": h.send("GET", "/info/refs?service=git-receive-pack", nil),
			"fetch":          h.fetch("0000"),
			"push":           h.push("0000"),
		} {
			if a.StatusCode != status {
				t.Errorf("%d %s: %d", hosting, name, a.StatusCode)
			}
			if status == 404 && (!strings.Contains(a.body, "No repository demo is hosted here for npub1") || a.Header.Get("Content-Type") != "text/plain; charset=utf-8") {
				t.Errorf("%d %s: %q", hosting, name, a.body)
			}
		}
	}
}

// Faults of the desk become statuses by their code, and say nothing of what is inside.
func TestFaults(t *testing.T) {
	for code, status := range map[fault.Code]int{fault.NotFound: 404, fault.Gone: 404, fault.Busy: 503, fault.Closing: 503, fault.Internal: 500} {
		d := &fakeDesk{find: func(grasp.Addr) (grasp.Hosting, error) {
			return 0, fault.Wrap("desk: find", fault.E(code, "store: secret", "words"))
		}}
		a := open(t, githttp.Config{}, d, &fakeGit{}).send("GET", "/info/refs?service=git-upload-pack", nil)
		if a.StatusCode != status || strings.Contains(a.body, "secret") {
			t.Errorf("%v: %d %q", code, a.StatusCode, a.body)
		}
		if (status == 503) != (a.Header.Get("Retry-After") != "") {
			t.Errorf("%v: Retry-After %q", code, a.Header.Get("Retry-After"))
		}
	}
}

// H-224, A5, check 46: from an empty repository, without git, in both protocols.
func TestWantFromEmptyRepository(t *testing.T) {
	git := &fakeGit{}
	h := open(t, githttp.Config{}, &fakeDesk{}, git)
	for name, a := range map[string]answer{
		"v0":   h.fetch(pkts("want "+one+"\n", "0000", "done\n")),
		"v2":   h.fetch(pkts("command=fetch", "0001", "want "+one, "done", "0000"), "Git-Protocol: version=2"),
		"gzip": h.fetch(gz(pkts("want "+one+"\n", "0000", "done\n")), "Content-Encoding: gzip"),
	} {
		if a.StatusCode != 200 || a.body != "0049ERR upload-pack: not our ref "+one || a.Header.Get("Content-Type") != "application/x-git-upload-pack-result" {
			t.Errorf("%s: %d %q", name, a.StatusCode, a.body)
		}
	}
	if git.started.Load() != 0 {
		t.Error("git was started")
	}
}

// H-224, check 46: and what git itself says comes through to the byte.
func TestWantUnknown(t *testing.T) {
	b := newBare(t)
	h := open(t, githttp.Config{}, b, b)
	alice := newPerson(t)
	alice.git("init", "-q")
	alice.commit("a", "a")
	alice.git("push", "-q", h.url(demo), "main")
	for name, a := range map[string]answer{
		"v0": h.fetch(pkts("want "+one+" side-band-64k\n", "0000", "done\n")),
		"v2": h.fetch(pkts("command=fetch", "0001", "want "+one, "done", "0000"), "Git-Protocol: version=2"),
	} {
		if a.StatusCode != 200 || a.body != "0049ERR upload-pack: not our ref "+one {
			t.Errorf("%s: %d %q", name, a.StatusCode, a.body)
		}
	}
}

// H-223, H-226, H-227, checks 44, 45, 52: what browsers ask.
func TestBrowserFetch(t *testing.T) {
	b := newBare(t)
	h := open(t, githttp.Config{}, b, b)
	alice := newPerson(t)
	alice.git("init", "-q")
	alice.commit("a", "a")
	tip := alice.commit("b", "b")
	alice.git("push", "-q", h.url(demo), "main")
	const caps = " multi_ack_detailed side-band-64k ofs-delta no-progress filter agent=x/1\n"
	a := h.fetch(pkts("want "+tip+caps, "deepen 1\n", "filter blob:none\n", "0000", "done\n"))
	if want := "0034shallow " + tip + "00000008NAK\n"; !strings.HasPrefix(a.body, want) || !strings.Contains(a.body, "\x01PACK\x00\x00\x00\x02\x00\x00\x00\x02") || !strings.HasSuffix(a.body, "0000") {
		t.Errorf("%q", a.body)
	}
	for _, object := range []string{"HEAD:a", "HEAD^{tree}"} {
		a := h.fetch(pkts("want "+alice.git("rev-parse", object)+caps, "deepen 1\n", "0000", "done\n"))
		if !strings.Contains(a.body, "\x01PACK\x00\x00\x00\x02") {
			t.Errorf("%s: %q", object, a.body)
		}
	}
	a = h.fetch(pkts("want "+tip+caps, "deepen 1\n", "filter tree:0\n", "0000", "done\n")) // check 50
	if !strings.Contains(a.body, "\x01PACK\x00\x00\x00\x02\x00\x00\x00\x01") {
		t.Errorf("one commit was asked for: %q", a.body)
	}
}

// What git is given is what gitwire wrote, and a git that fails before it says anything is told.
func TestFetchHandsOver(t *testing.T) {
	snap := &grasp.Snapshot{Refs: grasp.Refs{"refs/heads/main": grasp.OID(one)}.List(), Head: "refs/heads/main"}
	d := &fakeDesk{refs: func() (*grasp.Snapshot, error) { return snap, nil }}
	var got string
	var fail error
	git := &fakeGit{run: func(_ context.Context, version int, request io.Reader, w io.Writer) error {
		b, _ := io.ReadAll(request)
		got = fmt.Sprint(version, string(b))
		if fail != nil {
			return fail
		}
		_, err := io.WriteString(w, "answer")
		return err
	}}
	h := open(t, githttp.Config{}, d, git)
	a := h.fetch(pkts("want "+one+" thin-pack evil=$(id) agent=x\n", "0000", "done\n"), "Git-Protocol: version=1")
	if want := "0" + pkts("want "+one+" thin-pack\n", "0000", "done\n"); got != want || a.body != "answer" {
		t.Errorf("git got %q, want %q; the client %q", got, want, a.body)
	}
	for _, c := range []struct {
		err    error
		status int
		body   string
	}{
		{fault.E(fault.Busy, "x", "come back"), 503, "come back\n"},
		{fault.E(fault.NotFound, "x", ""), 404, "No repository demo"},
		{&grasp.Refusal{Text: "upload-pack: no"}, 200, "0017ERR upload-pack: no"},
		{fmt.Errorf("secret"), 500, "internal error "},
	} {
		fail = c.err
		a := h.fetch(pkts("want "+one+"\n", "0000", "done\n"))
		if a.StatusCode != c.status || !strings.HasPrefix(a.body, c.body) {
			t.Errorf("%v: %d %q", c.err, a.StatusCode, a.body)
		}
	}
}

// H-222, check 42: a bomb is refused at the ratio and at the size, and little of it is inflated.
func TestGzipBomb(t *testing.T) {
	zeros := gz(pkts("want "+one+"\n") + strings.Repeat(pkts("want "+one+"\n"), 200_000))
	h := open(t, githttp.Config{}, &fakeDesk{}, &fakeGit{})
	if a := h.fetch(zeros, "Content-Encoding: gzip"); a.StatusCode != 413 && !strings.Contains(a.body, "limit:") {
		t.Errorf("fetch: %d %q", a.StatusCode, a.body)
	}
	delivered := 0
	p := &fakePush{deliver: func(_ context.Context, pack io.Reader, _ func(string)) error {
		n, err := io.Copy(io.Discard, pack)
		delivered = int(n)
		return err
	}}
	h = open(t, githttp.Config{}, admit(p), &fakeGit{})
	bomb := gz(pkts(zero+" "+one+" refs/heads/main\x00 report-status", "0000") + strings.Repeat("\x00", 64<<20))
	a := h.push(bomb, "Content-Encoding: gzip")
	if a.StatusCode != 200 || !strings.Contains(a.body, "unpack limit: the request body inflates too much\n") || delivered > 2<<20 {
		t.Errorf("push: %d %q after %d bytes", a.StatusCode, a.body, delivered)
	}
	two := gz(pkts(zero+" "+one+" refs/heads/main\x00 report-status", "0000")+"PACK") + gz("more")
	if a := h.push(two, "Content-Encoding: gzip"); !strings.Contains(a.body, "unpack refused: the request body is not valid gzip\n") {
		t.Errorf("two members: %q", a.body)
	}
}

// H-110, check 22: no request is answered 5xx, 401 or 3xx.
func FuzzServeHTTP(f *testing.F) {
	n := owner.Npub()
	f.Add("POST", "/"+n+"/demo.git/git-receive-pack", "", pkts(zero+" "+one+" refs/heads/main\x00 report-status", "0000"), "")
	f.Add("POST", "/"+n+"/demo.git/git-upload-pack", "version=2", pkts("command=ls-refs", "0001", "peel", "0000"), "gzip")
	f.Add("GET", "/"+n+"/demo.git/info/refs?service=git-upload-pack", "version=1", "", "")
	f.Fuzz(func(t *testing.T, method, target, protocol, body, coding string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || strings.ContainsAny(method, " \r\n\x00") || method == "" {
			return
		}
		snap := &grasp.Snapshot{Refs: grasp.Refs{"refs/heads/main": grasp.OID(one)}.List(), Head: "refs/heads/main"}
		d := admit(&fakePush{})
		d.refs = func() (*grasp.Snapshot, error) { return snap, nil }
		d.find = func(grasp.Addr) (grasp.Hosting, error) { return grasp.Live, nil }
		h := githttp.New(githttp.Config{Now: fixed}, d, &fakeGit{}, nil)
		r := httptest.NewRequest("GET", "/", strings.NewReader(body))
		r.Method, r.URL = method, u
		r.Header = http.Header{"Git-Protocol": {protocol}, "Content-Encoding": {coding}}
		switch {
		case strings.HasSuffix(u.Path, "upload-pack"):
			r.Header.Set("Content-Type", "application/x-git-upload-pack-request")
		case strings.HasSuffix(u.Path, "receive-pack"):
			r.Header.Set("Content-Type", "application/x-git-receive-pack-request")
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if c := w.Code; c >= 500 || c == 401 || c >= 300 && c < 400 {
			t.Fatalf("%d: %s", c, w.Body)
		}
	})
}

package web_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"golang.org/x/net/html"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/web"
)

var (
	alice = grasp.PubKey(strings.Repeat("a1", 32))
	bob   = grasp.PubKey(strings.Repeat("b0", 32))
	noon  = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
)

type source struct {
	cards []web.Card
	pages map[grasp.Addr]web.Page
	peers []web.Peer
	sync  bool
	err   error
}

func (s source) Repos(_ context.Context, limit int) ([]web.Card, error) {
	return s.cards[:min(limit, len(s.cards))], s.err
}

func (s source) Repo(_ context.Context, a grasp.Addr) (web.Page, error) {
	if s.err != nil {
		return web.Page{}, s.err
	}
	p, ok := s.pages[a]
	if !ok {
		return web.Page{}, fault.E(fault.NotFound, "source: repo", "no such repository")
	}
	return p, nil
}

func (s source) Peers(context.Context, int) ([]web.Peer, bool, error) {
	return s.peers, s.sync, s.err
}

func newWeb(s source, base string) (*web.Web, *bytes.Buffer) {
	var logged bytes.Buffer
	return web.New(web.Config{
		Name: "Roost", Description: "For tests.", PublicURL: base, Admission: "Anyone may publish; pushes up to 2 GiB.",
		Version: "0.1.0", Now: func() time.Time { return noon }, MaxRepos: 3,
	}, s, slog.New(slog.NewTextHandler(&logged, nil))), &logged
}

const base = "https://git.example.com"

func get(h func(http.ResponseWriter, *http.Request), method, path string, header ...string) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	h(rec, r)
	return rec
}

func repo(w *web.Web, a grasp.Addr) func(http.ResponseWriter, *http.Request) {
	return func(rw http.ResponseWriter, r *http.Request) { w.Repository(rw, r, a) }
}

// text returns what a reader sees, in order, with single spaces.
func text(t *testing.T, page string) string {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for n := range doc.Descendants() {
		if n.Type == html.TextNode && n.Parent.Data != "style" {
			b.WriteString(n.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func demo() (grasp.Addr, web.Page) {
	a := grasp.Addr{Owner: alice, ID: "hello"}
	oid := func(c string) grasp.OID { return grasp.OID(strings.Repeat(c, 40)) }
	return a, web.Page{
		Addr: a, Name: "Hello", Description: "A demo.", Head: "refs/heads/main",
		Maintainers: []web.Maintainer{{Key: alice, Owner: true}, {Key: bob}},
		State:       &web.State{ID: grasp.EventID(strings.Repeat("5e", 32)), Author: bob, At: noon.Add(-2 * time.Minute)},
		Web:         []string{"https://hello.example/", "javascript:alert(1)"},
		Clone:       []string{"https://other.example/x.git"},
		Refs: []web.Ref{
			{Name: "refs/tags/v1", Signed: oid("3"), Disk: oid("3")},
			{Name: "refs/heads/dev", Signed: oid("2"), Disk: oid("2")},
			{Name: "refs/heads/main", Signed: oid("1"), Disk: oid("1")},
			{Name: grasp.PullRef(grasp.EventID(strings.Repeat("9f", 32))), Disk: oid("4")},
		},
	}
}

func TestLanding(t *testing.T) { // H-109
	a, _ := demo()
	w, _ := newWeb(source{cards: []web.Card{
		{Addr: a, Description: "A demo.", Moved: noon.Add(-3 * time.Hour)},
		{Addr: grasp.Addr{Owner: bob, ID: "my 🚀 repo"}},
	}}, base)
	rec := get(w.Landing, "GET", "/")
	if rec.Code != 200 || !strings.HasPrefix(rec.Header().Get("Content-Type"), "text/html") || rec.Header().Get("Vary") != "Accept" {
		t.Fatalf("%d %v", rec.Code, rec.Header())
	}
	seen := text(t, rec.Body.String())
	for _, want := range []string{"For tests.", "Anyone may publish; pushes up to 2 GiB.", "hello by npub1", "signed 3 hours ago", "no signed state yet",
		"git clone https://git.example.com/<npub>/<name>.git", "gitroost announce --key alice.key --server https://git.example.com .", "wss://git.example.com"} {
		if !strings.Contains(seen, want) {
			t.Errorf("no %q in %q", want, seen)
		}
	}
	for _, want := range []string{`href="/` + alice.Npub() + `/hello.git"`, `href="/` + bob.Npub() + `/my%20%F0%9F%9A%80%20repo.git"`} {
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("no link %s", want)
		}
	}
	if w, _ = newWeb(source{}, base); !strings.Contains(text(t, get(w.Landing, "GET", "/").Body.String()), "Yours could be the first") {
		t.Error("an empty server says nothing about it")
	}
}

func TestLandingIsBounded(t *testing.T) {
	var cards []web.Card
	for i := range 10 {
		cards = append(cards, web.Card{Addr: grasp.Addr{Owner: alice, ID: fmt.Sprint("r", i)}})
	}
	w, _ := newWeb(source{cards: cards}, base)
	seen := text(t, get(w.Landing, "GET", "/").Body.String())
	if strings.Contains(seen, "r3 by") || !strings.Contains(seen, "The newest 3 are shown") {
		t.Errorf("%q", seen)
	}
}

func TestRepository(t *testing.T) { // H-109: clone URL, nostr address, a web client
	a, p := demo()
	w, _ := newWeb(source{pages: map[grasp.Addr]web.Page{a: p}}, base)
	rec := get(repo(w, a), "GET", "/x")
	if rec.Code != 200 {
		t.Fatal(rec.Code)
	}
	seen := text(t, rec.Body.String())
	order := []string{
		"hello", "A demo.", "✓ Matches the signed state 5e5e5e5", "2 minutes ago",
		"git clone https://git.example.com/" + alice.Npub() + "/hello.git",
		"git clone nostr://" + alice.Npub() + "/git.example.com/hello",
		"Branches", "main HEAD", "as signed", "dev", "Tags", "v1", "Pull requests", "by its event",
		"Maintainers", alice.Npub() + " owner", bob.Npub(), "https://other.example/x.git",
	}
	rest := seen
	for _, want := range order {
		i := strings.Index(rest, want)
		if i < 0 {
			t.Fatalf("no %q in its place in %q", want, seen)
		}
		rest = rest[i+len(want):]
	}
	body := rec.Body.String()
	if !strings.Contains(body, `href="https://gitworkshop.dev/`+alice.Npub()+`/git.example.com/hello"`) {
		t.Error("no link to a web client")
	}
	if strings.Contains(body, `href="javascript`) || strings.Contains(body, "ZgotmplZ") || !strings.Contains(seen, "javascript:alert(1)") {
		t.Error("a script URL became a link, or is not shown as text")
	}
}

func TestPlainHTTPHints(t *testing.T) {
	a, p := demo()
	w, _ := newWeb(source{pages: map[grasp.Addr]web.Page{a: p}}, "http://127.0.0.1:7334")
	body := get(repo(w, a), "GET", "/x").Body.String()
	seen := text(t, body)
	for _, want := range []string{
		"git clone http://127.0.0.1:7334/" + alice.Npub() + "/hello.git",
		"nostr://" + alice.Npub() + "/ws%3A%2F%2F127.0.0.1%3A7334/hello",
		"only if it has TLS",
	} {
		if !strings.Contains(seen, want) {
			t.Errorf("no %q in %q", want, seen)
		}
	}
	if !strings.Contains(body, "https://gitworkshop.dev/"+alice.Npub()+"/ws%3A%2F%2F127.0.0.1%3A7334/hello") {
		t.Error("the link to the web client does not name this relay")
	}
}

func TestSignedAgainstDisk(t *testing.T) {
	one, two := grasp.OID(strings.Repeat("1", 40)), grasp.OID(strings.Repeat("2", 40))
	for _, c := range []struct {
		ref    web.Ref
		status string
		agrees bool
	}{
		{web.Ref{Name: "refs/heads/x", Signed: one, Disk: one}, "✓ as signed", true},
		{web.Ref{Name: "refs/heads/x", Signed: one, Disk: two}, "! differs", false},
		{web.Ref{Name: "refs/heads/x", Signed: one}, "… waits for a push", false},
		{web.Ref{Name: "refs/heads/x", Disk: one}, "! not signed", false},
		{web.Ref{Name: grasp.PullRef(grasp.EventID(strings.Repeat("9f", 32))), Disk: one}, "✓ by its event", true},
	} {
		a, p := demo()
		p.Refs = []web.Ref{c.ref}
		w, _ := newWeb(source{pages: map[grasp.Addr]web.Page{a: p}}, base)
		seen := text(t, get(repo(w, a), "GET", "/x").Body.String())
		if !strings.Contains(seen, c.status) {
			t.Errorf("%v: no %q", c.ref, c.status)
		}
		if got := strings.Contains(seen, "✓ Matches the signed state"); got != c.agrees {
			t.Errorf("%v: agrees = %v", c.ref, got)
		}
	}
}

func TestRefsAreBounded(t *testing.T) {
	a, p := demo()
	p.Refs = nil
	for i := range web.MaxRefs + 20 {
		p.Refs = append(p.Refs, web.Ref{Name: grasp.RefName(fmt.Sprintf("refs/heads/b%04d", i))})
	}
	p.RefCount = 9000
	w, _ := newWeb(source{pages: map[grasp.Addr]web.Page{a: p}}, base)
	body := get(repo(w, a), "GET", "/x").Body.String()
	if n := strings.Count(body, `title="refs/heads/b`); n != web.MaxRefs {
		t.Errorf("%d refs are shown", n)
	}
	if !strings.Contains(text(t, body), "8500 more are not shown") {
		t.Error("what is left out is not said")
	}
}

func TestNothingWaitingIsShown(t *testing.T) { // architecture §3, truth 3
	a, p := demo()
	p.Waiting, p.Description = true, "secret until pushed"
	w, _ := newWeb(source{pages: map[grasp.Addr]web.Page{a: p}}, base)
	rec := get(repo(w, a), "GET", "/x")
	seen := text(t, rec.Body.String())
	if rec.Code != 200 || !strings.Contains(seen, "Waiting for its git data") || !strings.Contains(seen, "/hello.git") {
		t.Errorf("%d %q", rec.Code, seen)
	}
	for _, hidden := range []string{"secret until pushed", "5e5e5e5", bob.Npub(), "main", "other.example"} {
		if strings.Contains(rec.Body.String(), hidden) && hidden != "main" || strings.Contains(seen, " main ") {
			t.Errorf("%q of a waiting announcement is shown", hidden)
		}
	}
}

func TestMissing(t *testing.T) { // H-107, H-109: 404 says what would have to be true
	w, _ := newWeb(source{}, base)
	a := grasp.Addr{Owner: alice, ID: "it's <b>"}
	rec := get(repo(w, a), "GET", "/x")
	seen := text(t, rec.Body.String())
	for _, want := range []string{"No such repository here", "kind 30617", base + "/" + alice.Npub() + "/it%27s%20%3Cb%3E.git",
		"wss://git.example.com", `gitroost announce --key alice.key --server https://git.example.com --id 'it'\''s <b>' .`} {
		if !strings.Contains(seen, want) {
			t.Errorf("no %q in %q", want, seen)
		}
	}
	if rec.Code != 404 || strings.Contains(rec.Body.String(), "<b>") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if rec = get(w.NotFound, "GET", "/nowhere"); rec.Code != 404 || !strings.Contains(text(t, rec.Body.String()), "Nothing here") {
		t.Errorf("%d", rec.Code)
	}
	w, _ = newWeb(source{err: fault.E(fault.Gone, "x", "withdrawn")}, base)
	if rec = get(repo(w, a), "GET", "/x"); rec.Code != 410 || !strings.Contains(rec.Body.String(), "withdrawn") {
		t.Errorf("%d", rec.Code)
	}
}

func TestInternalErrorsAreLoggedUnderAnID(t *testing.T) { // architecture §9
	w, logged := newWeb(source{err: errors.New("disk /srv/secret is gone")}, base)
	for _, h := range []func(http.ResponseWriter, *http.Request){w.Landing, repo(w, grasp.Addr{Owner: alice, ID: "x"})} {
		logged.Reset()
		rec := get(h, "GET", "/")
		id := regexp.MustCompile(`internal error ([0-9a-f]+)`).FindStringSubmatch(rec.Body.String())
		if rec.Code != 500 || id == nil || strings.Contains(rec.Body.String(), "secret") {
			t.Fatalf("%d %q", rec.Code, rec.Body)
		}
		if !strings.Contains(logged.String(), id[1]) || !strings.Contains(logged.String(), "/srv/secret") {
			t.Errorf("logged %q", logged)
		}
	}
	w, _ = newWeb(source{err: fault.E(fault.Busy, "x", "too many readers")}, base)
	if rec := get(w.Landing, "GET", "/"); rec.Code != 503 || rec.Header().Get("Retry-After") == "" {
		t.Errorf("%d %v", rec.Code, rec.Header())
	}
}

func TestHeadersAndCaching(t *testing.T) {
	a, p := demo()
	w, _ := newWeb(source{pages: map[grasp.Addr]web.Page{a: p}}, base)
	for name, h := range map[string]func(http.ResponseWriter, *http.Request){
		"landing": w.Landing, "repository": repo(w, a), "missing": w.NotFound, "robots": w.Robots,
	} {
		rec := get(h, "GET", "/")
		hd := rec.Header()
		if csp := hd.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "script") {
			t.Errorf("%s: policy %q", name, csp)
		}
		if hd.Get("X-Content-Type-Options") != "nosniff" || hd.Get("Content-Length") != fmt.Sprint(rec.Body.Len()) {
			t.Errorf("%s: %v", name, hd)
		}
		for _, forbidden := range []string{"<script", "style=", " onclick", "<iframe"} {
			if strings.Contains(rec.Body.String(), forbidden) {
				t.Errorf("%s contains %s, which the policy stops", name, forbidden)
			}
		}
		head := get(h, "HEAD", "/") // H-105
		if head.Code != rec.Code || head.Body.Len() != 0 || head.Header().Get("Content-Length") != hd.Get("Content-Length") {
			t.Errorf("%s: HEAD gives %d, %d bytes", name, head.Code, head.Body.Len())
		}
		if tag := hd.Get("ETag"); rec.Code == 200 {
			if again := get(h, "GET", "/", "If-None-Match", `"x", W/`+tag); again.Code != 304 || again.Body.Len() != 0 {
				t.Errorf("%s: %d for what the visitor has", name, again.Code)
			}
		} else if tag != "" {
			t.Errorf("%s: a tag on %d", name, rec.Code)
		}
	}
}

func TestStatic(t *testing.T) {
	w, _ := newWeb(source{}, base)
	page := get(w.Landing, "GET", "/").Body.String()
	links := regexp.MustCompile(`(?:href|src)="(/static/[^"]+)"`).FindAllStringSubmatch(page, -1)
	if len(links) < 2 {
		t.Fatalf("links: %v", links)
	}
	for _, l := range links {
		if rec := get(w.Static, "GET", l[1]); rec.Code != 200 || rec.Header().Get("Content-Type") == "" {
			t.Errorf("%s: %d", l[1], rec.Code)
		}
	}
	for _, path := range []string{"/static/", "/static/../web.go", "/static/style.css/", "/static/%2e%2e/web.go", "/static/nothing"} {
		if rec := get(w.Static, "GET", path); rec.Code != 404 {
			t.Errorf("%s: %d", path, rec.Code)
		}
	}
}

// hostile strings, none of which may leave its place on the page.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='x`, "a\u202egpj.exe", "x\x00y\x1b[31m", "zero\u200bwidth",
	"\u2066bidi\u2069", "{{.}}", "</title><script>", "\xff\xfe", strings.Repeat("long ", 5000), "a\u2028b", "\u3164",
}

func TestStrangersTextStaysText(t *testing.T) { // hardening §11: names in HTML
	for _, bad := range hostile {
		a := grasp.Addr{Owner: alice, ID: "hello"}
		if grasp.ValidIdentifier(bad) {
			a.ID = bad
		}
		p := web.Page{
			Addr: a, Name: bad, Description: bad, Web: []string{bad, "https://x.example/" + bad}, Clone: []string{bad}, Relays: []string{bad},
			Refs: []web.Ref{{Name: grasp.RefName("refs/heads/" + bad)}, {Name: grasp.RefName(bad)}}, Head: grasp.RefName(bad),
		}
		w, _ := newWeb(source{cards: []web.Card{{Addr: a, Description: bad}}, pages: map[grasp.Addr]web.Page{a: p}}, base)
		for _, rec := range []*httptest.ResponseRecorder{get(w.Landing, "GET", "/"), get(repo(w, a), "GET", "/x"), get(repo(w, grasp.Addr{Owner: bob, ID: a.ID}), "GET", "/x")} {
			if rec.Code >= 500 {
				t.Fatalf("%q: %d", bad, rec.Code)
			}
			check(t, bad, rec.Body.String())
		}
	}
}

func check(t *testing.T, bad, page string) {
	t.Helper()
	if len(page) > 200<<10 {
		t.Errorf("%.20q: a page of %d bytes", bad, len(page))
	}
	for _, r := range page {
		if r != '\n' && (unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) || r == 0x3164) {
			t.Fatalf("%.40q: the page contains %U", bad, r)
		}
	}
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if n.Data == "script" || n.Data == "img" && n.Parent.Data != "a" {
			t.Fatalf("%.40q: an element %s", bad, n.Data)
		}
		for _, attr := range n.Attr {
			if strings.HasPrefix(attr.Key, "on") || attr.Key == "href" && strings.HasPrefix(strings.TrimSpace(strings.ToLower(attr.Val)), "javascript") {
				t.Fatalf("%.40q: %s=%q", bad, attr.Key, attr.Val)
			}
		}
	}
}

func FuzzPage(f *testing.F) {
	for _, s := range hostile[:8] {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, id, bad string) {
		a := grasp.Addr{Owner: alice, ID: id}
		if !a.Valid() {
			return
		}
		p := web.Page{Addr: a, Name: bad, Description: bad, Web: []string{bad}, Refs: []web.Ref{{Name: grasp.RefName(bad)}}}
		w, _ := newWeb(source{pages: map[grasp.Addr]web.Page{a: p}}, base)
		check(t, id+bad, get(repo(w, a), "GET", "/x").Body.String())
	})
}

func TestAddresses(t *testing.T) { // H-104: every identifier works end to end
	for id, want := range map[string]string{
		"hello": "hello", "my 🚀 repo": "my%20%F0%9F%9A%80%20repo", "a+b": "a%2Bb", "50%": "50%25", "a:b": "a%3Ab", "x.git": "x.git", "~a_b-c": "~a_b-c", "?#&": "%3F%23%26",
	} {
		a := grasp.Addr{Owner: alice, ID: id}
		if got := web.CloneURL(base, a); got != base+"/"+alice.Npub()+"/"+want+".git" {
			t.Errorf("CloneURL of %q = %s", id, got)
		}
		if got := web.NostrURL(base, a); got != "nostr://"+alice.Npub()+"/git.example.com/"+want {
			t.Errorf("NostrURL of %q = %s", id, got)
		}
	}
}

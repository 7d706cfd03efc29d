package sites_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/sites"
)

var alice = grasp.PubKey(strings.Repeat("1", 63) + "a")

// show returns a Handler with one site, "demo", and the folder it is in.
func show(t *testing.T) (http.Handler, string) {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, alice.Npub(), "demo")
	for name, text := range map[string]string{
		"gen-1/site/index.html": "old", "gen-2/site/index.html": "first page", "gen-2/site/index.html.gz": "zipped", "gen-2/site/tree/main/a.html": "a",
		"gen-2/site/static/x.css": "css", "gen-2/site/raw/ab/abcd.bin": "<script>", "gen-2/site/raw/ab/abcd.txt": "<script>", "gen-2/site/raw/ab/abcd.svg": "<svg>",
		"gen-2/site/.hidden": "no", "gen-2/manifest": "no", "lock": "",
	} {
		p := filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(p), 0o755)
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	os.Symlink("/etc/passwd", filepath.Join(dir, "gen-2/site/link.txt"))
	os.Symlink("tree", filepath.Join(dir, "gen-2/site/within"))
	os.Symlink("gen-2/site", filepath.Join(dir, "current"))
	os.WriteFile(filepath.Join(root, "secret.txt"), []byte("no"), 0o644)
	return sites.New(sites.Config{
		Dir: root,
		Folder: func(repo grasp.Addr) (string, error) {
			if strings.Contains(repo.ID, "/") {
				return "", errors.New("this test does not escape")
			}
			return filepath.Join(repo.Owner.Npub(), repo.ID), nil
		},
		Serves: func(_ context.Context, repo grasp.Addr) (bool, error) { return repo.ID != "denied", nil },
	}), dir
}

func get(h http.Handler, method, path string, header ...string) *http.Response {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(r *http.Response) string {
	b := make([]byte, 1000)
	n, _ := r.Body.Read(b)
	return string(b[:n])
}

// S0-17 hardening 11: what is published is shown, and nothing else; nothing of it can run.
func TestSites(t *testing.T) {
	h, _ := show(t)
	at := "/" + alice.Npub() + "/demo"
	for _, c := range []struct {
		path string
		code int
		kind string
		text string
	}{
		{at + "/", 200, "text/html; charset=utf-8", "first page"},
		{at + "/index.html", 200, "text/html; charset=utf-8", "first page"},
		{at + "/tree/main/a.html", 200, "text/html; charset=utf-8", "a"},
		{at + "/static/x.css", 200, "text/css; charset=utf-8", "css"},
		{at + "/raw/ab/abcd.bin", 200, "application/octet-stream", "<script>"},
		{at + "/raw/ab/abcd.txt", 200, "text/plain; charset=utf-8", "<script>"},
		{at + "/raw/ab/abcd.svg", 200, "application/octet-stream", "<svg>"},
		{at, 301, "", ""},
		{at + "/tree/", 404, "", ""},
		{at + "/tree", 404, "", ""},
		{at + "/none.html", 404, "", ""},
		{at + "/.hidden", 404, "", ""},
		{at + "/link.txt", 404, "", ""},
		{at + "/within/main/../../index.html", 404, "", ""},
		{at + "/../manifest", 404, "", ""},
		{at + "/%2e%2e/manifest", 404, "", ""},
		{at + "/..%2fmanifest", 404, "", ""},
		{at + "/%2fetc/passwd", 404, "", ""},
		{at + "//index.html", 404, "", ""},
		{at + "/a%00b", 404, "", ""},
		{at + "/a%5cb", 404, "", ""},
		{at + "/.well-known/x", 404, "", ""},
		{"/" + alice.Npub() + "/denied/", 404, "", ""},
		{"/" + alice.Npub() + "/other/", 404, "", ""},
		{"/" + alice.Npub() + "/%2e%2e/", 404, "", ""},
		{"/" + alice.Npub() + "/%2e%2e%2fsecret.txt/x", 404, "", ""},
		{"/npub1nonsense/demo/", 404, "", ""},
		{"/secret.txt", 404, "", ""},
		{"/", 404, "", ""},
	} {
		r := httptest.NewRequest("GET", "http://x/", nil)
		r.URL.Path, r.URL.RawPath = "", ""
		u, err := r.URL.Parse(c.path)
		if err == nil {
			r.URL.Path, r.URL.RawPath = u.Path, u.RawPath
		}
		if strings.Contains(c.path, "..") { // as it comes over the wire, not as a client tidies it up
			r.URL.Path, r.URL.RawPath = strings.NewReplacer("%2e", ".", "%2f", "/").Replace(c.path), c.path
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		res := w.Result()
		if res.StatusCode != c.code || c.code == 200 && (res.Header.Get("Content-Type") != c.kind || body(res) != c.text) {
			t.Errorf("%s: %d %s %q", c.path, res.StatusCode, res.Header.Get("Content-Type"), w.Body)
		}
		csp := res.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(csp, "sandbox;") || !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "allow-") || res.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", c.path, res.Header)
		}
	}
	if r := get(h, "GET", at); r.Header.Get("Location") != "./demo/" {
		t.Errorf("Location %q", r.Header.Get("Location"))
	}
	if r := get(h, "POST", at+"/"); r.StatusCode != 405 || r.Header.Get("Allow") == "" {
		t.Errorf("POST: %d", r.StatusCode)
	}
	if r := get(h, "GET", at+"/raw/ab/abcd.bin"); r.Header.Get("Content-Disposition") != "attachment" {
		t.Errorf("%v", r.Header)
	}
}

// What a browser has already is not sent again, until something else is shown.
func TestSitesAreCached(t *testing.T) {
	h, dir := show(t)
	at := "/" + alice.Npub() + "/demo/"
	r := get(h, "GET", at, "Accept-Encoding", "br, gzip")
	if r.Header.Get("Content-Encoding") != "gzip" || body(r) != "zipped" || r.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("%v", r.Header)
	}
	for _, no := range []string{"br", "gzip;q=0", "identity"} {
		if r := get(h, "GET", at, "Accept-Encoding", no); r.Header.Get("Content-Encoding") != "" {
			t.Errorf("%q: %v", no, r.Header)
		}
	}
	tag := get(h, "HEAD", at).Header.Get("ETag")
	if r := get(h, "GET", at, "If-None-Match", tag); r.StatusCode != 304 {
		t.Errorf("%d", r.StatusCode)
	}
	os.Symlink("gen-1/site", filepath.Join(dir, "next"))
	if err := os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "current")); err != nil {
		t.Fatal(err)
	}
	if r := get(h, "GET", at, "If-None-Match", tag); r.StatusCode != 200 || body(r) != "old" {
		t.Errorf("%d", r.StatusCode)
	}
	for i, to := range []string{"/etc", "../..", "gen-1", "gen-01/site", "gen-1/site/.."} {
		next := filepath.Join(dir, fmt.Sprint("next", i))
		os.Symlink(to, next)
		os.Rename(next, filepath.Join(dir, "current"))
		if r := get(h, "GET", at+"passwd"); r.StatusCode != 404 {
			t.Errorf("current -> %s: %d", to, r.StatusCode)
		}
		if r := get(h, "GET", at); r.StatusCode != 404 {
			t.Errorf("current -> %s: %d", to, r.StatusCode)
		}
	}
}

// No path makes it panic, or show what is not in the site.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"/", "/npub1/x/", "/" + alice.Npub() + "/demo/../../secret.txt", "/" + alice.Npub() + "/demo/%2e%2e/manifest"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		h, _ := show(t)
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.Path, r.URL.RawPath = path, path
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code == 200 && (w.Body.String() == "no" || strings.Contains(w.Body.String(), "root:")) {
			t.Fatalf("%q shows %q", path, w.Body)
		}
	})
}

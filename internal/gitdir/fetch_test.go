package gitdir_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/dial"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/gitdir"
	"github.com/gitroost/gitroost/internal/steward"
)

// An elsewhere is another server with one repository, /demo.git, which a working copy pushes to.
type elsewhere struct {
	*work
	url string

	mu   sync.Mutex
	seen []*http.Request
	veto func(w http.ResponseWriter, r *http.Request) bool // answers itself if it returns true
}

func newElsewhere(t testing.TB, env ...string) *elsewhere {
	t.Helper()
	program, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	e := &elsewhere{work: newWork(t)}
	root := t.TempDir()
	git(t, root, nil, "init", "-q", "--bare", "-b", "main", "demo.git")
	e.git("remote", "add", "there", filepath.Join(root, "demo.git"))
	backend := &cgi.Handler{
		Path: program, Args: []string{"http-backend"}, Logger: log.New(io.Discard, "", 0), Stderr: io.Discard,
		Env: append([]string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"}, configEnv(append([]string{"safe.directory=*"}, env...)...)...),
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		e.seen = append(e.seen, r)
		veto := e.veto
		e.mu.Unlock()
		if veto != nil && veto(w, r) {
			return
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	e.url = srv.URL + "/demo.git"
	return e
}

func configEnv(pairs ...string) []string {
	out := []string{fmt.Sprintf("GIT_CONFIG_COUNT=%d", len(pairs))}
	for i, p := range pairs {
		k, v, _ := strings.Cut(p, "=")
		out = append(out, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, k), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, v))
	}
	return out
}

// publish pushes refs to the other server.
func (e *elsewhere) publish(specs ...string) {
	e.git(append([]string{"push", "-q", "-f", "there"}, specs...)...)
}

func (e *elsewhere) requests() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.seen)
}

func newDialer() *dial.Dialer {
	return dial.New(dial.Config{
		Now: time.Now, Plain: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		HostPerMinute: 1000, HostConcurrent: 100, Idle: time.Second,
	})
}

// fetch fetches wants from url into repo, with a proxy of its own.
func (h *house) fetch(d *dial.Dialer, repo grasp.Addr, url string, f steward.Fetching) (steward.Fetched, error) {
	h.t.Helper()
	remote, err := dial.ParseRemote(url, true)
	must(h.t, err)
	p, err := d.Proxy(h.t.Context(), remote, dial.Task{Bytes: 1 << 30})
	must(h.t, err)
	defer p.Close()
	f.Remote, f.Proxy = remote, p.URL()
	out, err := h.Fetch(h.t.Context(), repo, f)
	if err != nil && p.Err() != nil {
		err = p.Err()
	}
	return out, err
}

// bring is fetch and Admit of what came.
func (h *house) bring(repo grasp.Addr, url string, wants ...grasp.OID) ([]grasp.OID, error) {
	h.t.Helper()
	out, err := h.fetch(newDialer(), repo, url, steward.Fetching{Wants: wants, MaxBytes: 1 << 30, MaxObjects: 1 << 20})
	if err != nil {
		return nil, err
	}
	defer out.Quarantine.Discard()
	must(h.t, out.Quarantine.Admit(h.t.Context()))
	return out.Got, nil
}

// nothing fails the test if a fetch left something behind.
func (h *house) nothingLeft() {
	h.t.Helper()
	entries, err := os.ReadDir(filepath.Join(h.root, "incoming"))
	must(h.t, err)
	for _, e := range entries {
		if e.Name() != "began" {
			h.t.Errorf("%s was left behind", e.Name())
		}
	}
}

// Exactly what is wanted comes, by its id, and no ref. G02-13
func TestFetchByID(t *testing.T) {
	e := newElsewhere(t)
	one := e.commit("a", "one")
	two := e.commit("a", "two")
	e.git("checkout", "-q", "-b", "other", string(one))
	three := e.commit("b", "three")
	e.publish("main", "other")
	h := open(t)
	got, err := h.bring(demo, e.url, two)
	must(t, err)
	if !slices.Equal(got, []grasp.OID{two}) {
		t.Errorf("got %v", got)
	}
	have := h.have(demo, one, two, three)
	if !have.Has(one) || !have.Has(two) || have.Has(three) {
		t.Errorf("have %v; %s was not wanted", have, three)
	}
	if n := h.refs(demo).Refs.Len(); n != 0 {
		t.Errorf("%d refs came in", n)
	}
	if n := e.requests(); n != 2 {
		t.Errorf("%d requests; the list of refs and the objects are 2", n)
	}
	for _, r := range e.seen {
		if r.Header.Get("Proxy-Authorization") != "" || r.Header.Get("Authorization") != "" {
			t.Error("a password reached the remote")
		}
	}
	h.sound(demo)
	h.nothingLeft()
}

// By https git itself verifies the certificate, through the proxy: with the operator's authorities if
// there are any, and nothing comes from whoever cannot show that they are who they say.
func TestFetchTLS(t *testing.T) {
	e := newElsewhere(t)
	o := e.commit("a", "one")
	e.publish("main")
	plain, err := url.Parse(e.url)
	must(t, err)
	through := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: plain.Host})
	srv := httptest.NewUnstartedServer(through)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o644))
	for name, c := range map[string]struct {
		ca, host string
		ok       bool
	}{
		"trusted": {ca, "127.0.0.1", true}, "unknown authority": {"", "127.0.0.1", false}, "other name": {ca, "127.0.0.2", false},
	} {
		t.Run(name, func(t *testing.T) {
			h := openAt(t, filepath.Join(t.TempDir(), "data"), gitdir.Config{CAFile: c.ca})
			at := strings.Replace(srv.URL, "127.0.0.1", c.host, 1) + "/demo.git"
			if c.host != "127.0.0.1" {
				l, err := net.Listen("tcp", c.host+":"+srv.Listener.Addr().String()[len("127.0.0.1:"):])
				if err != nil {
					t.Skip("no second address on loopback: ", err)
				}
				defer l.Close()
				go func() {
					for {
						conn, err := l.Accept()
						if err != nil {
							return
						}
						to, err := net.Dial("tcp", srv.Listener.Addr().String())
						if err != nil {
							conn.Close()
							continue
						}
						go func() { io.Copy(to, conn); to.Close() }()
						go func() { io.Copy(conn, to); conn.Close() }()
					}
				}()
			}
			before := e.requests()
			got, err := h.bring(demo, at, o)
			if (err == nil) != c.ok || c.ok && !slices.Equal(got, []grasp.OID{o}) {
				t.Errorf("got %v, %v", got, err)
			}
			if !c.ok && (e.requests() != before || !fault.Is(err, fault.Invalid)) {
				t.Errorf("%d requests, %v", e.requests()-before, err)
			}
		})
	}
}

// What ls-remote prints is read without harm, whatever a remote made of it: ids, once each, of the refs
// that are looked at.
func FuzzRemoteRefs(f *testing.F) {
	pull := strings.Repeat("ab", 32)
	f.Add([]byte(strings.Repeat("12", 20) + "\trefs/heads/main\n" + strings.Repeat("34", 20) + "\trefs/tags/v1^{}\n" + strings.Repeat("56", 20) + "\trefs/nostr/" + pull + "\n"))
	f.Add([]byte("\n\t\n0000\trefs/heads/x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		out := gitdir.RemoteRefs(b, []grasp.EventID{grasp.EventID(pull)})
		seen := grasp.OIDSet{}
		for _, o := range out {
			if !grasp.IsHex(string(o), 40) || o.IsZero() || seen.Has(o) || !strings.Contains(string(b), string(o)+"\trefs/") {
				t.Fatalf("%q of %q", o, b)
			}
			seen.Add(o)
		}
		if len(out) > 10_000 {
			t.Fatal(len(out))
		}
	})
}

// What is here already is not sent again: the remote is told.
func TestFetchIncrement(t *testing.T) {
	e := newElsewhere(t)
	e.write("big", string(noise(400_000, 9)))
	base := e.commit("a", "one")
	h := open(t)
	must(t, h.push(demo, strings.NewReader(string(e.pack("main"))), create(mainRef, base)))
	tip := e.commit("a", "two")
	e.publish("main")
	out, err := h.fetch(newDialer(), demo, e.url, steward.Fetching{Wants: []grasp.OID{tip}, MaxBytes: 1 << 20, MaxObjects: 1000})
	must(t, err)
	defer out.Quarantine.Discard()
	if n := out.Quarantine.Size(); n == 0 || n > 100_000 {
		t.Errorf("%d bytes for one small commit", n)
	}
	must(t, out.Quarantine.Admit(t.Context()))
	out.Quarantine.Discard()
	if !h.have(demo, tip).Has(tip) {
		t.Error("it is not here")
	}
	h.sound(demo)
}

// Objects of one state on two servers are combined; each part stays as it comes. check 241
func TestFetchCombine(t *testing.T) {
	one, two := newElsewhere(t), newElsewhere(t)
	a := one.commit("a", "one")
	one.publish("main")
	two.git("commit", "-q", "--allow-empty", "-m", "unrelated")
	b := two.tip("HEAD")
	two.publish("main")
	h := open(t)
	got, err := h.bring(demo, one.url, a, b)
	must(t, err)
	if !slices.Equal(got, []grasp.OID{a}) {
		t.Fatalf("from the first: %v", got)
	}
	got, err = h.bring(demo, two.url, b)
	must(t, err)
	if !slices.Equal(got, []grasp.OID{b}) {
		t.Fatalf("from the second: %v", got)
	}
	if have := h.have(demo, a, b); len(have) != 2 {
		t.Errorf("have %v", have)
	}
	h.sound(demo)
	h.nothingLeft()
}

// A remote that gives nothing by id is asked for its refs; what lies below them is found too, and
// what nobody needs is not kept.
func TestFetchFallback(t *testing.T) {
	for name, env := range map[string][]string{
		"protocol 0": {"protocol.version=0", "uploadpack.allowAnySHA1InWant=false"},
		"protocol 2": nil,
	} {
		t.Run(name, func(t *testing.T) {
			e := newElsewhere(t, env...)
			first := e.commit("a", "one")
			e.commit("a", "two")
			e.git("checkout", "-q", "--orphan", "junk")
			e.write("big", string(noise(2<<20, 9)))
			e.git("add", "big")
			e.commit("big2", "junk")
			e.publish("main", "junk")
			if name == "protocol 0" {
				e.veto = oldProtocol
			}
			h := open(t)
			nowhere := grasp.OID(strings.Repeat("12", 20))
			got, err := h.bring(demo, e.url, first, nowhere)
			must(t, err)
			if !slices.Equal(got, []grasp.OID{first}) {
				t.Errorf("got %v", got)
			}
			n, err := h.Size(t.Context(), demo)
			must(t, err)
			if n > 1<<20 {
				t.Errorf("%d bytes are kept", n)
			}
			if have := h.have(demo, first); !have.Has(first) {
				t.Error("it is not here")
			}
			h.sound(demo)
			h.nothingLeft()
		})
	}
}

// A remote that was tried is not asked for everything again while it shows the same refs.
func TestFetchTried(t *testing.T) {
	e := newElsewhere(t, "protocol.version=0", "uploadpack.allowAnySHA1InWant=false")
	e.veto = oldProtocol
	e.commit("a", "one")
	e.publish("main")
	h := open(t)
	f := steward.Fetching{Wants: []grasp.OID{grasp.OID(strings.Repeat("12", 20))}}
	out, err := h.fetch(newDialer(), demo, e.url, f)
	if !fault.Is(err, fault.NotFound) || out.Tips == "" {
		t.Fatalf("%q, %v", out.Tips, err)
	}
	n := e.requests()
	f.Tried = out.Tips
	again, err := h.fetch(newDialer(), demo, e.url, f)
	if !fault.Is(err, fault.NotFound) || again.Tips != out.Tips {
		t.Fatalf("%q, %v", again.Tips, err)
	}
	if second := e.requests() - n; second >= n {
		t.Errorf("%d requests at first, %d again", n, second)
	}
	two := e.commit("a", "two")
	e.publish("main")
	f.Wants = append(f.Wants, two)
	out, err = h.fetch(newDialer(), demo, e.url, f)
	must(t, err)
	defer out.Quarantine.Discard()
	if !slices.Equal(out.Got, []grasp.OID{two}) {
		t.Errorf("got %v", out.Got)
	}
}

// oldProtocol makes a server answer as before protocol 2.
func oldProtocol(_ http.ResponseWriter, r *http.Request) bool {
	r.Header.Del("Git-Protocol")
	return false
}

// A remote that says which object it does not have is asked for nothing instead: nobody whose URL was
// written into an event has to send a whole repository for it. What else it has comes by its id, however
// deep it lies.
func TestFetchNotThere(t *testing.T) {
	e := newElsewhere(t)
	deep := e.commit("a", "one")
	e.write("big", string(noise(2<<20, 3)))
	e.commit("b", "two")
	e.publish("main")
	h := open(t)
	nowhere, neither := grasp.OID(strings.Repeat("12", 20)), grasp.OID(strings.Repeat("34", 20))
	remote, err := dial.ParseRemote(e.url, true)
	must(t, err)
	for _, c := range []struct {
		wants, got []grasp.OID
	}{{[]grasp.OID{nowhere}, nil}, {[]grasp.OID{nowhere, deep, neither}, []grasp.OID{deep}}} {
		p, err := newDialer().Proxy(t.Context(), remote, dial.Task{})
		must(t, err)
		out, err := h.Fetch(t.Context(), demo, steward.Fetching{Remote: remote, Proxy: p.URL(), Wants: c.wants})
		p.Close()
		if !slices.Equal(out.Got, c.got) || (err == nil) != (len(c.got) > 0) {
			t.Errorf("of %v came %v, %v", c.wants, out.Got, err)
		}
		if p.Read() > 100_000 {
			t.Errorf("%d bytes were read", p.Read())
		}
		if out.Quarantine != nil {
			out.Quarantine.Discard()
		}
	}
}

// However much is wanted that nobody has, what a remote does have is found, within a bounded number of requests
// each time: states that were signed and never pushed, and made-up pull requests, keep nothing else away (G02-02).
func TestFetchAmongTheMissing(t *testing.T) {
	e := newElsewhere(t)
	var there []grasp.OID
	for i := range 5 {
		e.git("checkout", "-q", "--orphan", fmt.Sprint("side", i))
		there = append(there, e.commit("a", fmt.Sprint("side ", i)))
		e.publish(fmt.Sprint("side", i))
	}
	for i := range 4 { // no ref leads to these any more
		e.publish(fmt.Sprintf(":side%d", i))
	}
	h := open(t)
	wants := slices.Clone(there)
	for i := range 12 {
		wants = append(wants, grasp.OID(fmt.Sprintf("%040x", 1000+i)))
	}
	for range 30 {
		before := e.requests()
		got, err := h.bring(demo, e.url, wants...)
		if err != nil && !fault.Is(err, fault.NotFound) {
			t.Fatal(err)
		}
		if n := e.requests() - before; n > 80 {
			t.Errorf("one fetch made %d requests", n)
		}
		wants = slices.DeleteFunc(wants, func(o grasp.OID) bool { return slices.Contains(got, o) })
		if len(wants) == 12 {
			break
		}
	}
	if have := h.have(demo, there...); len(have) != len(there) {
		t.Errorf("%d of %d objects that are there came", len(have), len(there))
	}
	h.sound(demo)
	h.nothingLeft()
}

// Refs of pull requests that are looked for are found below refs/nostr/.
func TestFetchPull(t *testing.T) {
	e := newElsewhere(t, "protocol.version=0", "uploadpack.allowAnySHA1InWant=false")
	e.veto = oldProtocol
	e.commit("a", "one")
	e.publish("main")
	tip := e.commit("a", "two")
	id := grasp.EventID(strings.Repeat("cd", 32))
	e.publish("HEAD:refs/nostr/"+string(id), "HEAD~1:refs/nostr/"+strings.Repeat("ef", 32))
	h := open(t)
	out, err := h.fetch(newDialer(), demo, e.url, steward.Fetching{Wants: []grasp.OID{tip}, Pulls: []grasp.EventID{id}})
	must(t, err)
	defer out.Quarantine.Discard()
	must(t, out.Quarantine.Admit(t.Context()))
	if !h.have(demo, tip).Has(tip) || h.refs(demo).Refs.Len() != 0 {
		t.Error("the commit alone should be here")
	}
}

// What a hostile or broken remote does: nothing of it stays.
func TestFetchHostile(t *testing.T) {
	prepare := func(t *testing.T) (*elsewhere, grasp.OID) {
		e := newElsewhere(t)
		e.write("big", string(noise(3<<20, 9)))
		e.git("add", "big")
		o := e.commit("a", "one")
		e.publish("main")
		return e, o
	}
	for name, c := range map[string]struct {
		veto  func(w http.ResponseWriter, r *http.Request) bool
		f     steward.Fetching
		codes []fault.Code
	}{
		"404": {veto: func(w http.ResponseWriter, r *http.Request) bool { http.NotFound(w, r); return true }, codes: []fault.Code{fault.Invalid}},
		"wants a password": {veto: func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(401)
			return true
		}, codes: []fault.Code{fault.Invalid}},
		"redirect": {veto: func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "http://127.0.0.1:9/x.git/info/refs?service=git-upload-pack", http.StatusFound)
			return true
		}, codes: []fault.Code{fault.Invalid, fault.Busy}},
		"no git": {veto: func(w http.ResponseWriter, r *http.Request) bool { io.WriteString(w, "<html>hello"); return true }, codes: []fault.Code{fault.Invalid, fault.Busy}},
		"dumb": {veto: func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/info/refs") {
				fmt.Fprintf(w, "%s\trefs/heads/main\n", strings.Repeat("12", 20))
				return true
			}
			http.NotFound(w, r)
			return true
		}, codes: []fault.Code{fault.Invalid, fault.Busy, fault.NotFound}},
		"cut off": {veto: func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == "POST" {
				w.WriteHeader(200)
				io.WriteString(w, "000dpackfile\n")
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			return false
		}, codes: []fault.Code{fault.Busy}},
		"endless": {veto: func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != "POST" {
				return false
			}
			io.WriteString(w, "000dpackfile\n")
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, "2005\x02"+strings.Repeat("x", 8192)); err != nil {
					break
				}
			}
			return true
		}, codes: []fault.Code{fault.TooLarge, fault.Busy}},
		"silent": {veto: func(w http.ResponseWriter, r *http.Request) bool {
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return true
		}, codes: []fault.Code{fault.Busy}},
		"too many bytes":   {f: steward.Fetching{MaxBytes: 1 << 10, MaxObjects: 100}, codes: []fault.Code{fault.TooLarge, fault.Busy}},
		"too many objects": {f: steward.Fetching{MaxObjects: 2}, codes: []fault.Code{fault.TooLarge}},
	} {
		t.Run(name, func(t *testing.T) {
			e, o := prepare(t)
			e.veto = c.veto
			h := open(t)
			c.f.Wants = []grasp.OID{o}
			out, err := h.fetch(newDialer(), demo, e.url, c.f)
			if !slices.ContainsFunc(c.codes, func(code fault.Code) bool { return fault.Is(err, code) }) {
				t.Errorf("%v (%v), want %v", fault.CodeOf(err), err, c.codes)
			}
			if out.Quarantine != nil {
				t.Error("there is a quarantine")
			}
			if h.Exists(demo) {
				t.Error("there is a repository")
			}
			h.nothingLeft()
		})
	}
}

// Objects that git's fsck does not like do not come in, as with a push.
func TestFetchFsck(t *testing.T) {
	e := newElsewhere(t)
	blob := e.git("hash-object", "-w", "--stdin")
	raw := "100644 .git\x00" + string(unhex(t, strings.TrimSpace(blob)))
	tree := strings.TrimSpace(git(t, e.dir, strings.NewReader(raw), "hash-object", "-t", "tree", "-w", "--literally", "--stdin"))
	commit := strings.TrimSpace(e.git("commit-tree", "-m", "bad", tree))
	e.publish(commit + ":refs/heads/main")
	h := open(t)
	if _, err := h.bring(demo, e.url, grasp.OID(commit)); err == nil {
		t.Error("it was taken")
	}
	if h.Exists(demo) {
		t.Error("there is a repository")
	}
	h.nothingLeft()
}

func unhex(t testing.TB, s string) []byte {
	var b []byte
	for i := 0; i < len(s); i += 2 {
		var n byte
		_, err := fmt.Sscanf(s[i:i+2], "%02x", &n)
		must(t, err)
		b = append(b, n)
	}
	return b
}

// A history that is cut short at the remote is not complete here.
func TestFetchShallowRemote(t *testing.T) {
	e := newElsewhere(t)
	e.commit("a", "one")
	e.commit("a", "two")
	tip := e.commit("a", "three")
	e.publish("main")
	cut := newElsewhere(t)
	cut.git("fetch", "-q", "--depth=1", "file://"+strings.TrimSpace(e.git("remote", "get-url", "there")), "main")
	there := strings.TrimSpace(cut.git("remote", "get-url", "there"))
	git(t, there, nil, "fetch", "-q", "--depth=1", "file://"+strings.TrimSpace(e.git("remote", "get-url", "there")), "main:main")
	h := open(t)
	if got, err := h.bring(demo, cut.url, tip); err == nil {
		t.Errorf("%v came", got)
	}
	if h.have(demo, tip).Has(tip) {
		t.Error("it counts as complete")
	}
	h.nothingLeft()
}

// The child reaches nothing but the proxy: not the remote itself, and no other protocol.
func TestFetchHasNoOtherWay(t *testing.T) {
	e := newElsewhere(t)
	o := e.commit("a", "one")
	e.publish("main")
	h := open(t)
	remote, err := dial.ParseRemote(e.url, true)
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0") // a proxy that takes nobody
	must(t, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	for _, proxy := range []string{"http://task:x@" + l.Addr().String(), "http://task:x@127.0.0.1:1"} {
		if _, err := h.Fetch(t.Context(), demo, steward.Fetching{Remote: remote, Proxy: proxy, Wants: []grasp.OID{o}}); err == nil {
			t.Error("it came by another way")
		}
	}
	if n := e.requests(); n != 0 {
		t.Errorf("%d requests arrived", n)
	}
	if _, err := h.Fetch(t.Context(), demo, steward.Fetching{Remote: remote, Wants: []grasp.OID{o}}); !fault.Is(err, fault.Invalid) {
		t.Errorf("without a proxy: %v", err)
	}
	if _, err := h.Fetch(t.Context(), demo, steward.Fetching{Remote: remote, Proxy: "x", Wants: []grasp.OID{"--upload-pack=x"}}); !fault.Is(err, fault.Invalid) {
		t.Errorf("an option as an object: %v", err)
	}
}

// Whenever a fetch ends, by its context or at any of its steps, the store is clean: what was admitted
// is whole, and of the rest nothing is left after the next start. hardening §9
func TestFetchKilled(t *testing.T) {
	e := newElsewhere(t)
	var wants []grasp.OID
	for i := range 5 {
		wants = append(wants, e.commit("a", fmt.Sprint("text ", i)))
	}
	e.publish("main")
	r := rand.New(rand.NewPCG(1, 2))
	root := filepath.Join(t.TempDir(), "data")
	for i := range 12 {
		fail := errors.New("killed")
		steps, stop := 0, r.IntN(8)
		h := openAt(t, root, gitdir.Config{}.WithStep(func(string) error {
			if steps++; i%2 == 0 && steps > stop {
				return fail
			}
			return nil
		}))
		ctx, cancel := context.WithCancel(t.Context())
		if i%2 == 1 {
			timer := time.AfterFunc(time.Duration(r.IntN(80))*time.Millisecond, cancel)
			defer timer.Stop()
		}
		d := newDialer()
		remote, err := dial.ParseRemote(e.url, true)
		must(t, err)
		p, err := d.Proxy(ctx, remote, dial.Task{})
		if err == nil {
			out, err := h.Fetch(ctx, demo, steward.Fetching{Remote: remote, Proxy: p.URL(), Wants: wants[:1+r.IntN(5)]})
			if err == nil {
				if err := out.Quarantine.Admit(ctx); err == nil {
					have := h.have(demo, out.Got...)
					for _, o := range out.Got {
						if !have.Has(o) {
							t.Errorf("%s was admitted and is not complete", o)
						}
					}
				}
				if i%3 > 0 {
					out.Quarantine.Discard()
				}
			}
			p.Close()
		}
		cancel()
		h.Close()
		h = openAt(t, root, gitdir.Config{})
		h.nothingLeft()
		if h.Exists(demo) {
			h.sound(demo)
		}
		h.Close()
	}
}

// What the child is told: no argument that a stranger wrote looks like an option, no password is among
// them, the environment is ours alone, and only the one protocol is allowed. hardening §9, §13
func TestFetchChild(t *testing.T) {
	for _, name := range []string{"http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "GIT_PROXY_SSL_CERT", "GIT_SSL_NO_VERIFY", "GIT_TRACE_CURL", "GIT_CONFIG_GLOBAL", "GIT_OBJECT_DIRECTORY", "SSL_CERT_FILE", "NETRC"} {
		t.Setenv(name, "/nowhere")
	}
	e := newElsewhere(t)
	o := e.commit("a", "one")
	e.publish("main")
	real, err := exec.LookPath("git")
	must(t, err)
	dir := t.TempDir()
	record := filepath.Join(dir, "record")
	script := fmt.Sprintf("#!/bin/sh\nif [ \"$1\" = fetch ] || [ \"$1\" = ls-remote ]; then\n{ for a in \"$@\"; do printf 'arg %%s\\n' \"$a\"; done; env | sed 's/^/env /'; } >>%s\nfi\nexec %s \"$@\"\n", record, real)
	wrapper := filepath.Join(dir, "git")
	must(t, os.WriteFile(wrapper, []byte(script), 0o755))
	h := openAt(t, filepath.Join(t.TempDir(), "data"), gitdir.Config{Git: wrapper})
	nowhere := grasp.OID(strings.Repeat("12", 20))
	e.veto = oldProtocol
	_, err = h.bring(demo, e.url, o, nowhere) // the second makes it list the refs too
	must(t, err)
	text := readFile(t, record)
	env := map[string]bool{}
	var password string
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if kv, ok := strings.CutPrefix(line, "env "); ok {
			env[kv] = true
			if i := strings.Index(kv, "http://task:"); i >= 0 {
				password, _, _ = strings.Cut(kv[i+len("http://task:"):], "@")
			}
			for _, bad := range []string{"/nowhere", "_proxy=", "_PROXY="} {
				if strings.Contains(kv, bad) {
					t.Errorf("the environment has %s", kv)
				}
			}
		}
	}
	if len(password) < 16 {
		t.Fatalf("no password of a proxy in\n%s", text)
	}
	for _, want := range []string{"GIT_ALLOW_PROTOCOL=http", "GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=/bin/false", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "HOME=" + filepath.Join(h.root, "home")} {
		if !env[want] {
			t.Errorf("the environment lacks %s", want)
		}
	}
	var options bool
	for line := range strings.Lines(text) {
		arg, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "arg ")
		switch {
		case !ok:
		case arg == "fetch" || arg == "ls-remote":
			options = true
		case arg == "--":
			options = false
		case !options && arg != e.url:
			t.Errorf("the operand %s is not the remote", arg)
		case strings.Contains(arg, password) || strings.Contains(arg, string(o)):
			t.Errorf("%s is among the arguments", arg)
		}
	}
	for _, setting := range []string{"http.followRedirects", "http.sslVerify", "credential.helper", "transfer.fsckObjects", "protocol.allow"} {
		found := false
		for kv := range env {
			found = found || strings.HasPrefix(kv, "GIT_CONFIG_KEY_") && strings.HasSuffix(kv, "="+setting)
		}
		if !found {
			t.Errorf("%s is not set", setting)
		}
	}
}

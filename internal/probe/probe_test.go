package probe_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/probe"
)

// start serves probes; what waits is woken by the returned channel alone.
func start(t *testing.T, sender probe.Sender) (string, chan time.Time) {
	t.Helper()
	over := make(chan time.Time)
	h := probe.New(probe.Config{
		Sender: func(*http.Request) probe.Sender { return sender },
		After:  func(time.Duration) <-chan time.Time { return over },
	})
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL + probe.Path, over
}

func ask(t *testing.T, method, url, body string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestArrivalTellsWhatCame(t *testing.T) {
	for _, tt := range []struct {
		name   string
		sender probe.Sender
		from   string
	}{
		{"direct", probe.Sender{Address: netip.MustParseAddr("127.0.0.1")}, "this computer"},
		{"a proxy nobody trusts", probe.Sender{Address: netip.MustParseAddr("10.0.0.7"), Forwarded: true}, "a private network"},
		{"a proxy that is trusted", probe.Sender{Address: netip.MustParseAddr("2001:db8::1"), Forwarded: true, Trusted: true}, "the world"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url, _ := start(t, tt.sender)
			code, body := ask(t, "POST", url+"/a%20b%2Fc", "hello", "Git-Protocol", "version=2", "Content-Encoding", "gzip", "X-Forwarded-Proto", "https")
			var a probe.Arrival
			if err := json.Unmarshal([]byte(body), &a); code != 200 || err != nil {
				t.Fatal(code, body, err)
			}
			if a.Path != probe.Path+"/a%20b%2Fc" || a.GitProtocol != "version=2" || a.Encoding != "gzip" || a.Bytes != 5 || a.Scheme != "https" ||
				a.Hash != "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" {
				t.Errorf("%+v", a)
			}
			if a.From != tt.from || a.Forwarded != tt.sender.Forwarded || a.Trusted != tt.sender.Trusted {
				t.Errorf("%+v", a)
			}
			if tt.sender.Forwarded && strings.Contains(body, tt.sender.Address.String()) {
				t.Errorf("it tells an address: %s", body)
			}
		})
	}
}

func TestTwoRequestsOfOneCall(t *testing.T) {
	url, over := start(t, probe.Sender{})
	// A body that is under way is seen before it is whole.
	r, w := io.Pipe()
	done := make(chan string)
	go func() {
		req, _ := http.NewRequest("POST", url+"?part=body&call=one", r)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			done <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		done <- string(b)
	}()
	if _, err := w.Write([]byte("a")); err != nil {
		t.Fatal(err)
	}
	if code, body := ask(t, "GET", url+"?part=seen&call=one", ""); code != 200 {
		t.Error(code, body)
	}
	w.Write([]byte("b"))
	w.Close()
	if got := <-done; !strings.Contains(got, `"bytes":2`) {
		t.Error(got)
	}
	// An answer goes on when it is told to.
	resp, err := http.Get(url + "?part=stream&call=two")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	if s, _ := lines.ReadString('\n'); s != "first\n" {
		t.Errorf("%q", s)
	}
	ask(t, "GET", url+"?part=go&call=two", "")
	if s, _ := lines.ReadString('\n'); s != "freed\n" {
		t.Errorf("%q", s)
	}
	// Nobody waits for ever.
	go func() { over <- time.Time{} }()
	if code, _ := ask(t, "GET", url+"?part=seen&call=three", ""); code != 404 {
		t.Error(code)
	}
	go func() { over <- time.Time{} }()
	if _, body := ask(t, "GET", url+"?part=stream&call=four", ""); body != "first\nwaited\n" {
		t.Errorf("%q", body)
	}
}

func TestProbesAreBounded(t *testing.T) {
	url, _ := start(t, probe.Sender{})
	for _, tt := range []struct {
		method, query, body string
		want                int
	}{
		{"PUT", "", "", 405},
		{"GET", "?part=other", "", 400},
		{"GET", "?call=" + strings.Repeat("x", 65), "", 400},
		{"POST", "", strings.Repeat("x", 8<<20+1), 413},
		{"POST", "", strings.Repeat("x", 8<<20), 200},
	} {
		if code, body := ask(t, tt.method, url+tt.query, tt.body); code != tt.want {
			t.Errorf("%s %.20s %d bytes: %d %s", tt.method, tt.query, len(tt.body), code, body)
		}
	}
	// As many wait as there are turns; the next is told to come again.
	var bodies []io.Closer
	for range 16 {
		resp, err := http.Get(url + "?part=stream")
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, resp.Body)
	}
	if code, _ := ask(t, "GET", url, ""); code != 503 {
		t.Error(code)
	}
	ask2 := func() int { code, _ := ask(t, "GET", url, ""); return code }
	for _, b := range bodies {
		b.Close()
	}
	for ask2() == 503 { // until their places are free
	}
}

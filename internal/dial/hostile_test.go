package dial_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/gitroost/gitroost/internal/dial"
	"github.com/gitroost/gitroost/internal/fault"
)

// raw listens and gives each connection to serve, which owns it.
func raw(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return l.Addr().String()
}

// No redirect is followed, whatever its number and wherever it leads.
func TestRedirects(t *testing.T) {
	inside := newTrap(t, "127.0.0.1:0")
	for _, status := range []int{300, 301, 302, 303, 305, 307, 308} {
		for _, to := range []string{"http://" + inside.Addr().String() + "/", "https://" + inside.Addr().String() + "/", "//" + inside.Addr().String(), "file:///etc/passwd"} {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", to)
				w.WriteHeader(status)
			}))
			d := dial.New(open())
			resp, err := d.HTTP().Post(srv.URL, "text/plain", strings.NewReader("x"))
			if err != nil || resp.StatusCode != status {
				t.Errorf("%d to %s: %v", status, to, err)
			}
			if err == nil {
				resp.Body.Close()
			}
			if c, err := d.WebSocket(context.Background(), strings.Replace(srv.URL, "http", "ws", 1)); err == nil {
				c.Close()
				t.Error("a redirect opened a websocket")
			}
			srv.Close()
		}
	}
	if n := inside.got.Load(); n != 0 {
		t.Errorf("%d connections arrived", n)
	}
}

// Only a certificate that is verified lets anything through, and nothing before version 1.2.
func TestTLS(t *testing.T) {
	for name, c := range map[string]struct {
		mend  func(*x509.Certificate)
		names []string
		max   uint16
		trust bool
		ok    bool
	}{
		"good":       {names: []string{"git.example.org"}, trust: true, ok: true},
		"untrusted":  {names: []string{"git.example.org"}},
		"other name": {names: []string{"other.example.org"}, trust: true},
		"by address": {names: []string{"127.0.0.1"}, trust: true},
		"expired":    {names: []string{"git.example.org"}, trust: true, mend: func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }},
		"not yet":    {names: []string{"git.example.org"}, trust: true, mend: func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }},
		"TLS 1.1":    {names: []string{"git.example.org"}, trust: true, max: tls.VersionTLS11},
	} {
		t.Run(name, func(t *testing.T) {
			cert, pool := certificate(t, c.mend, c.names...)
			var bodies atomic.Int64
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { bodies.Add(1) }))
			srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS10, MaxVersion: c.max}
			srv.Config.ErrorLog = quiet
			srv.StartTLS()
			defer srv.Close()
			cfg := open()
			cfg.Resolver = always("127.0.0.1")
			cfg.Roots = x509.NewCertPool()
			if c.trust {
				cfg.Roots = pool
			}
			d := dial.New(cfg)
			_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
			resp, err := d.HTTP().Get("https://git.example.org:" + port + "/")
			if (err == nil) != c.ok {
				t.Errorf("%v", err)
			}
			if err == nil {
				resp.Body.Close()
			}
			if !c.ok && bodies.Load() != 0 {
				t.Error("a request was sent")
			}
		})
	}
}

// patience is longer than anything takes, on a machine that has much else to do.
const patience = 2 * time.Minute

// short are limits that a test can wait for.
func short() dial.Config {
	c := open()
	c.Connect, c.Handshake, c.Header, c.Total, c.Idle, c.SocketIdle = time.Second, 200*time.Millisecond, 200*time.Millisecond, 2*time.Second, 200*time.Millisecond, 200*time.Millisecond
	c.HeaderBytes, c.FrameBytes = 16<<10, 64<<10
	return c
}

// S3-42: servers that say nothing, or never stop: each is ended by its limit.
func TestSlowAndEndless(t *testing.T) {
	flood := func(head, piece string) func(net.Conn) {
		return func(c net.Conn) {
			defer c.Close()
			go io.Copy(io.Discard, c)
			io.WriteString(c, head)
			for {
				if _, err := io.WriteString(c, piece); err != nil {
					return
				}
			}
		}
	}
	silent := func(head string) func(net.Conn) {
		return func(c net.Conn) {
			defer c.Close()
			io.WriteString(c, head)
			io.Copy(io.Discard, c)
		}
	}
	for name, serve := range map[string]func(net.Conn){
		"silent":           silent(""),
		"half a header":    silent("HTTP/1.1 200 OK\r\nX: "),
		"half a body":      silent("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"),
		"endless header":   flood("HTTP/1.1 200 OK\r\n", "X-Header: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n"),
		"endless line":     flood("HTTP/1.1 200 OK\r\nX: ", strings.Repeat("x", 4096)),
		"endless 1xx":      flood("", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"),
		"not HTTP":         silent("SSH-2.0-OpenSSH_9.6\r\n"),
		"endless nonsense": flood("", strings.Repeat("\x00", 4096)),
	} {
		t.Run(name, func(t *testing.T) {
			at := raw(t, serve)
			d := dial.New(short())
			began := time.Now()
			resp, err := d.HTTP().Get("http://" + at + "/")
			if err == nil {
				_, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
				resp.Body.Close()
			}
			if err == nil {
				t.Error("it was an answer")
			}
			if c, err := d.WebSocket(context.Background(), "ws://"+at+"/"); err == nil {
				c.Close()
				t.Error("it was a websocket")
			}
			for _, scheme := range []string{"https", "wss"} {
				if scheme == "https" {
					_, err = d.HTTP().Get("https://" + at + "/")
				} else {
					_, err = d.WebSocket(context.Background(), "wss://"+at+"/")
				}
				if err == nil {
					t.Error("TLS with nobody")
				}
			}
			if took := time.Since(began); took > 2*time.Minute {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// A relay that sends frames without end, or falls silent.
func TestWebSocketLimits(t *testing.T) {
	up := websocket.Upgrader{}
	var size atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		c.WriteMessage(websocket.TextMessage, []byte(strings.Repeat("x", int(size.Load()))))
		c.ReadMessage()
	}))
	defer srv.Close()
	cfg := short()
	cfg.Connect, cfg.Handshake, cfg.Header, cfg.Total, cfg.SocketIdle = patience, patience, patience, patience, 2*time.Second
	d := dial.New(cfg)
	for _, n := range []int64{64 << 10, 64<<10 + 1} {
		size.Store(n)
		c, err := d.WebSocket(context.Background(), strings.Replace(srv.URL, "http", "ws", 1))
		if err != nil {
			t.Fatal(err)
		}
		_, msg, err := c.ReadMessage()
		if (err == nil) != (n <= 64<<10) {
			t.Errorf("a message of %d bytes: %d, %v", n, len(msg), err)
		}
		if err == nil {
			if _, _, err = c.ReadMessage(); !fault.Is(err, fault.Busy) {
				t.Errorf("silence: %v", err)
			}
		}
		c.Close()
	}
}

// A Proxy lets git reach what it was opened for, by http and by https, and nothing else.
func TestProxyWithGit(t *testing.T) {
	backend := gitBackend(t)
	cert, pool := certificate(t, nil, "git.example.org")
	plain := httptest.NewServer(backend)
	defer plain.Close()
	secure := httptest.NewUnstartedServer(backend)
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	secure.Config.ErrorLog = quiet
	secure.StartTLS()
	defer secure.Close()
	cfg := open()
	cfg.Resolver, cfg.Roots = always("127.0.0.1"), pool
	d := dial.New(cfg)
	ca := t.TempDir() + "/ca.pem"
	writePEM(t, ca, cert)
	for _, srv := range []*httptest.Server{plain, secure} {
		scheme, _, _ := strings.Cut(srv.URL, ":")
		_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
		remote, err := dial.ParseRemote(fmt.Sprintf("%s://git.example.org:%s/demo.git", scheme, port), true)
		if err != nil {
			t.Fatal(err)
		}
		p, err := d.Proxy(context.Background(), remote, dial.Task{Name: "test"})
		if err != nil {
			t.Fatal(err)
		}
		git := func(url, proxy string) (string, error) {
			cmd := exec.Command("git", "-c", "http.proxy="+proxy, "-c", "http.proxyAuthMethod=basic", "-c", "http.sslCAInfo="+ca, "-c", "http.followRedirects=false", "ls-remote", "--", url)
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_NOSYSTEM=1"}
			out, err := cmd.CombinedOutput()
			return string(out), err
		}
		if out, err := git(remote.String(), p.URL()); err != nil || !strings.Contains(out, "refs/heads/main") {
			t.Errorf("%s: %v\n%s", scheme, err, out)
		}
		if p.Read() == 0 {
			t.Error("nothing was counted")
		}
		// Another host, port, scheme or password.
		u, _ := url.Parse(p.URL())
		stolen := *u
		stolen.User = url.UserPassword("task", "guess")
		for _, c := range [][2]string{
			{strings.Replace(remote.String(), "git.example.org", "other.example.org", 1), p.URL()},
			{strings.Replace(remote.String(), port, "7", 1), p.URL()},
			{strings.Replace(remote.String(), "git.example.org", "127.0.0.1", 1), p.URL()},
			{remote.String(), stolen.String()},
			{remote.String(), "http://" + u.Host},
		} {
			if out, err := git(c[0], c[1]); err == nil {
				t.Errorf("%s by %s: %s", c[0], c[1], out)
			}
		}
		p.Close()
		p.Close()
		if c, err := net.Dial("tcp", u.Host); err == nil {
			c.Close()
			t.Error("the proxy still listens")
		}
		if out, err := git(remote.String(), p.URL()); err == nil {
			t.Errorf("after the end: %s", out)
		}
	}
}

// What may be asked of a proxy, byte by byte.
func TestProxyMisuse(t *testing.T) {
	at := raw(t, func(c net.Conn) { // a plain echo
		defer c.Close()
		io.Copy(c, c)
	})
	other := newTrap(t, "127.0.0.1:0")
	d := dial.New(open())
	remote, err := dial.ParseRemote("https://"+at+"/x.git", false)
	if err != nil {
		t.Fatal(err)
	}
	p, err := d.Proxy(context.Background(), remote, dial.Task{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	u, _ := url.Parse(p.URL())
	auth := "Proxy-Authorization: Basic " + basic(u.User) + "\r\n"
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"good":             {"CONNECT " + at + " HTTP/1.1\r\nHost: " + at + "\r\n" + auth + "\r\n", 200},
		"no password":      {"CONNECT " + at + " HTTP/1.1\r\nHost: " + at + "\r\n\r\n", 407},
		"wrong password":   {"CONNECT " + at + " HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic dGFzazp4\r\n\r\n", 407},
		"other port":       {"CONNECT " + other.Addr().String() + " HTTP/1.1\r\nHost: " + at + "\r\n" + auth + "\r\n", 403},
		"no port":          {"CONNECT 127.0.0.1 HTTP/1.1\r\nHost: " + at + "\r\n" + auth + "\r\n", 403},
		"absolute http":    {"GET http://" + at + "/x HTTP/1.1\r\nHost: " + at + "\r\n" + auth + "\r\n", 403},
		"absolute other":   {"GET http://" + other.Addr().String() + "/x HTTP/1.1\r\nHost: " + at + "\r\n" + auth + "\r\n", 403},
		"absolute https":   {"GET https://" + at + "/x HTTP/1.1\r\nHost: " + at + "\r\n" + auth + "\r\n", 403},
		"origin form":      {"GET /x HTTP/1.1\r\nHost: " + at + "\r\n" + auth + "\r\n", 403},
		"ftp":              {"GET ftp://" + at + "/x HTTP/1.1\r\nHost: " + at + "\r\n" + auth + "\r\n", 403},
		"bearer":           {"CONNECT " + at + " HTTP/1.1\r\nHost: " + at + "\r\nProxy-Authorization: Bearer " + basic(u.User) + "\r\n\r\n", 407},
		"password as URL":  {"CONNECT task:x@" + at + " HTTP/1.1\r\nHost: " + at + "\r\n\r\n", 400},
		"endless header":   {"CONNECT " + at + " HTTP/1.1\r\nX: " + strings.Repeat("x", 200<<10) + "\r\n\r\n", 431},
		"host in absolute": {"GET http://" + at + "@" + other.Addr().String() + "/ HTTP/1.1\r\nHost: " + at + "\r\n" + auth + "\r\n", 403},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", u.Host)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			go io.WriteString(conn, c.request)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != c.status && !(c.status == 400 && resp.StatusCode == 407) {
				t.Errorf("%s, want %d", resp.Status, c.status)
			}
		})
	}
	if n := other.got.Load(); n != 0 {
		t.Errorf("%d connections arrived elsewhere", n)
	}
}

// A remote that never ends, falls silent, or takes for ever: the proxy cuts it, and says why.
func TestProxyLimits(t *testing.T) {
	endless := raw(t, func(c net.Conn) {
		defer c.Close()
		b := make([]byte, 32<<10)
		for {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	})
	silent := raw(t, func(c net.Conn) {
		defer c.Close()
		io.Copy(io.Discard, c)
	})
	drip := raw(t, func(c net.Conn) {
		defer c.Close()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if _, err := c.Write([]byte{0}); err != nil {
				return
			}
		}
	})
	for name, c := range map[string]struct {
		at   string
		task dial.Task
		want fault.Code
	}{
		"too much":  {endless, dial.Task{Bytes: 1 << 20}, fault.TooLarge},
		"silent":    {silent, dial.Task{}, fault.Busy},
		"drip":      {drip, dial.Task{}, fault.Busy},
		"too long":  {endless, dial.Task{Bytes: 1 << 40, Wall: 300 * time.Millisecond}, fault.Busy},
		"per host":  {endless, dial.Task{Bytes: 1 << 40}, fault.Busy},
		"cancelled": {silent, dial.Task{}, fault.Closing},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := short()
			cfg.Connect = patience
			if name != "silent" && name != "drip" { // what ends it is something else
				cfg.Handshake, cfg.Header, cfg.Total, cfg.Idle = patience, patience, patience, patience
			}
			if name == "per host" {
				cfg.HostBytes = 4 << 20
			}
			d := dial.New(cfg)
			remote, err := dial.ParseRemote("https://"+c.at+"/x.git", false)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			p, err := d.Proxy(ctx, remote, c.task)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			u, _ := url.Parse(p.URL())
			conn, err := net.Dial("tcp", u.Host)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: Basic %s\r\n\r\n", c.at, c.at, basic(u.User))
			if name == "cancelled" {
				cancel()
			}
			conn.SetReadDeadline(time.Now().Add(patience))
			n, err := io.Copy(io.Discard, conn)
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Fatalf("it was not cut after %d bytes", n)
			}
			if got := p.Err(); !fault.Is(got, c.want) {
				t.Errorf("cut by %v, want %v", got, c.want)
			}
			if c.task.Bytes == 1<<20 && n > 1<<20+1000 {
				t.Errorf("%d bytes came through", n)
			}
		})
	}
}

// Two of a host share its pace.
func TestPace(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, 50_000)) }))
	defer srv.Close()
	cfg := open()
	cfg.HostBytesPerSecond = 200_000
	d := dial.New(cfg)
	began := time.Now()
	done := make(chan error, 2)
	for range 2 {
		go func() {
			resp, err := d.HTTP().Get(srv.URL)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			done <- err
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("100,000 bytes at 200,000 per second took %v", took)
	}
}

// In a network of its own, where loopback, a private network, link-local and the metadata address have
// listeners: none gets a connection. check 248, hardening §9
func TestNetworkNamespace(t *testing.T) {
	const inside = "GITROOST_TEST_NETNS"
	if os.Getenv(inside) == "" {
		if os.Getuid() != 0 {
			t.Skip("needs root, for a network namespace")
		}
		ip, err := exec.LookPath("ip")
		if err != nil {
			t.Skip("needs the ip program, for a network namespace")
		}
		name := fmt.Sprintf("roost-%d", os.Getpid())
		if out, err := exec.Command(ip, "netns", "add", name).CombinedOutput(); err != nil {
			t.Skipf("cannot make a network namespace here: %v: %s", err, out)
		}
		defer exec.Command(ip, "netns", "del", name).Run()
		for _, args := range [][]string{
			{"link", "set", "lo", "up"},
			{"addr", "add", "10.1.2.3/24", "dev", "lo"}, {"addr", "add", "169.254.169.254/32", "dev", "lo"}, {"addr", "add", "192.168.7.7/24", "dev", "lo"},
			{"addr", "add", "100.100.100.200/32", "dev", "lo"}, {"addr", "add", "8.8.8.8/32", "dev", "lo"},
			{"-6", "addr", "add", "fd00:ec2::254/128", "dev", "lo", "nodad"}, {"-6", "addr", "add", "64:ff9b::7f00:1/128", "dev", "lo", "nodad"},
		} {
			if out, err := exec.Command(ip, append([]string{"-n", name}, args...)...).CombinedOutput(); err != nil {
				t.Logf("ip %v: %v: %s", args, err, out)
			}
		}
		cmd := exec.Command(ip, "netns", "exec", name, os.Args[0], "-test.run=^TestNetworkNamespace$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		} else if !strings.Contains(string(out), "listeners:") {
			t.Errorf("nothing was tried:\n%s", out)
		}
		return
	}
	var traps []*trap
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	cfg := dial.Config{Plain: true, HostPerMinute: 1_000_000, Now: time.Now, Connect: time.Second, Allow: []netip.Prefix{netip.MustParsePrefix("8.8.4.4/32")}}
	tried := 0
	for _, a := range addrs {
		ip, _ := netip.AddrFromSlice(a.(*net.IPNet).IP)
		l, err := net.Listen("tcp", netip.AddrPortFrom(ip.Unmap(), 0).String())
		if err != nil {
			continue // link-local addresses need a zone
		}
		tr := &trap{Listener: l}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				tr.got.Add(1)
				c.Close()
			}
		}()
		traps = append(traps, tr)
		cfg.Resolver = always(ip.String())
		d := dial.New(cfg)
		for _, host := range []string{netip.AddrPortFrom(ip.Unmap(), tr.port()).String(), fmt.Sprintf("name.example.org:%d", tr.port())} {
			tried++
			if resp, err := d.HTTP().Get("http://" + host + "/"); err == nil {
				resp.Body.Close()
				t.Errorf("%s was answered", host)
			}
			if c, err := d.WebSocket(context.Background(), "ws://"+host+"/"); err == nil {
				c.Close()
				t.Errorf("%s was opened", host)
			}
			if r, err := dial.ParseRemote("http://"+host+"/x", true); err == nil {
				if p, err := d.Proxy(context.Background(), r, dial.Task{}); err == nil {
					p.Close()
					t.Errorf("%s has a proxy", host)
				}
			}
		}
	}
	for _, tr := range traps {
		if n := tr.got.Load(); n != 0 {
			t.Errorf("%s got %d connections", tr.Addr(), n)
		}
	}
	if len(traps) < 5 {
		t.Errorf("only %d listeners", len(traps))
	}
	t.Logf("listeners: %d, tried: %d", len(traps), tried)
}

// A list of refs without end is cut where it can be told from the rest: a child would keep all of it.
func TestProxyAdvert(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := make([]byte, 1<<20)
		for {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	}))
	defer srv.Close()
	d := dial.New(open())
	remote, err := dial.ParseRemote(srv.URL+"/x.git", true)
	if err != nil {
		t.Fatal(err)
	}
	p, err := d.Proxy(context.Background(), remote, dial.Task{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	u, _ := url.Parse(p.URL())
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(u)}}
	defer client.CloseIdleConnections()
	resp, err := client.Get(remote.String() + "/info/refs?service=git-upload-pack")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil || n > 64<<20 || n < 60<<20 {
		t.Errorf("%d bytes, %v", n, err)
	}
	if err := p.Err(); !fault.Is(err, fault.TooLarge) {
		t.Errorf("cut by %v", err)
	}
}

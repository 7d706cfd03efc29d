package dial_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/dial"
	"github.com/gitroost/gitroost/internal/fault"
)

// Addresses that no URL of a stranger leads to, each in the usual spelling. hardening §9, check 248
var forbiddenAddrs = []string{
	"0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.1.2.3",
	"169.254.169.254", "169.254.0.1", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1",
	"192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.1.1.1",
	"240.0.0.1", "255.255.255.255", "168.63.129.16",
	"::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:7f00:1",
	"64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
	"2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::1", "2002:a00:1::", "3fff::1", "5f00::1",
	"fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "4000::1", "1::1",
}

// Whatever way a forbidden address is reached, nothing connects: as the host itself, or as what a name
// resolves to, alone or beside a good one.
func TestForbiddenAddresses(t *testing.T) { // check 248
	for _, text := range forbiddenAddrs {
		a := netip.MustParseAddr(text)
		host := text
		if a.Is6() {
			host = "[" + text + "]"
		}
		for how, c := range map[string]struct {
			host string
			res  *resolver
		}{
			"literal":  {host, always("8.8.8.8")},
			"name":     {"git.example.org", always(text)},
			"mixed":    {"git.example.org", always("8.8.8.8", text)},
			"reversed": {"git.example.org", always(text, "8.8.8.8")},
		} {
			cfg := config()
			cfg.Resolver, cfg.Plain = c.res, true
			d := dial.New(cfg)
			ctx, cancel := context.WithCancel(context.Background())
			if _, err := d.HTTP().Get("https://" + c.host + ":8443/"); !dial.IsForbidden(err) {
				t.Errorf("%s by %s: request: %v", text, how, err)
			}
			if _, err := d.WebSocket(ctx, "wss://"+c.host+":8443/"); !dial.IsForbidden(err) {
				t.Errorf("%s by %s: websocket: %v", text, how, err)
			}
			if _, err := d.DialContext(ctx, "tcp", c.host+":8443"); !dial.IsForbidden(err) {
				t.Errorf("%s by %s: dial: %v", text, how, err)
			}
			if r, err := dial.ParseRemote("https://"+c.host+":8443/x.git", true); err == nil {
				if _, err := d.Proxy(ctx, r, dial.Task{}); !dial.IsForbidden(err) {
					t.Errorf("%s by %s: proxy: %v", text, how, err)
				}
			}
			cancel()
		}
	}
}

// The world is not forbidden.
func TestWorldIsNotForbidden(t *testing.T) {
	for _, text := range []string{"8.8.8.8", "1.1.1.1", "192.0.1.1", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1",
		"198.17.255.255", "198.20.0.1", "223.255.255.255", "2606:4700:4700::1111", "2a00:1450:4001::1", "2001:4860:4860::8888"} {
		cfg := config()
		cfg.Resolver = always(text)
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // nothing is really dialled
		if _, err := dial.New(cfg).DialContext(ctx, "tcp", "git.example.org:443"); dial.IsForbidden(err) || err == nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Spellings of loopback that resolvers of other programs understand. Listeners count what arrives.
func TestSpellings(t *testing.T) { // check 248
	for _, network := range []string{"127.0.0.1:0", "127.0.0.9:0", "[::1]:0"} {
		t.Run(network, func(t *testing.T) {
			tr := newTrap(t, network)
			cfg := config()
			cfg.Plain = true // the system's resolver, and http: nothing else protects
			d := dial.New(cfg)
			for _, host := range []string{
				"127.0.0.1", "127.0.0.9", "127.1", "127.0.1", "2130706433", "017700000001", "0x7f000001", "0x7f.1", "0177.0.0.1", "0x7f.0.0.1",
				"127.0.0.1.", "localhost", "LOCALHOST", "localhost.", "a.localhost", "0", "0.0.0.0", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]",
				"[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::1%25lo]", "①②⑦.0.0.1",
				"127。0。0。1", "127%2e0%2e0%2e1", "user@127.0.0.1", "example.org@127.0.0.1", "127.0.0.1#@example.org", "127.0.0.1\\@example.org",
			} {
				for _, scheme := range []string{"http", "https"} {
					url := fmt.Sprintf("%s://%s:%d/x.git", scheme, host, tr.port())
					if resp, err := d.HTTP().Get(url); err == nil {
						resp.Body.Close()
						t.Errorf("%s was answered", url)
					}
					ws := strings.Replace(url, "http", "ws", 1)
					if c, err := d.WebSocket(context.Background(), ws); err == nil {
						c.Close()
						t.Errorf("%s was opened", ws)
					}
					if r, err := dial.ParseRemote(url, true); err == nil {
						if p, err := d.Proxy(context.Background(), r, dial.Task{}); err == nil {
							p.Close()
							t.Errorf("%s has a proxy", url)
						}
					}
				}
			}
			if n := tr.got.Load(); n != 0 {
				t.Errorf("%d connections arrived", n)
			}
		})
	}
}

// A name server that says something else each time: what was looked at is what is dialled.
func TestRebinding(t *testing.T) { // hardening §9: 200 rounds, 0 connections
	good, bad := newTrap(t, "127.0.0.2:0"), (*trap)(nil)
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.3:%d", good.port()))
	if err != nil {
		t.Skip("no second address on loopback: ", err)
	}
	l.Close()
	bad = newTrap(t, fmt.Sprintf("127.0.0.3:%d", good.port()))
	res := &resolver{answer: func(n int64, _ string) []netip.Addr {
		if n%2 == 1 {
			return []netip.Addr{netip.MustParseAddr("127.0.0.2")}
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.3")}
	}}
	cfg := config()
	cfg.Plain, cfg.Resolver = true, res
	cfg.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}
	d := dial.New(cfg)
	reached := 0
	for range 200 {
		before := res.asked.Load()
		c, err := d.DialContext(context.Background(), "tcp", fmt.Sprintf("rebind.example.org:%d", good.port()))
		if asked := res.asked.Load() - before; asked != 1 {
			t.Fatalf("resolved %d times for one attempt", asked)
		}
		if err == nil {
			reached++
			c.Close()
		} else if !dial.IsForbidden(err) {
			t.Fatal(err)
		}
	}
	if reached != 100 || bad.got.Load() != 0 {
		t.Errorf("reached %d, want 100; the forbidden address got %d connections, want 0", reached, bad.got.Load())
	}
}

// We are never our own peer, by whatever name, even where the network is allowed. G02-03, check 243
func TestOwn(t *testing.T) {
	tr := newTrap(t, "127.0.0.1:0")
	_, port, _ := net.SplitHostPort(tr.Addr().String())
	cfg := open()
	cfg.Own = []string{"roost.example.org", "Alias.Example.org:" + port, "xn--example.org:8443"}
	cfg.OwnAddrs = []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:" + port)}
	cfg.Resolver = always("127.0.0.1")
	cfg.Interfaces = net.InterfaceAddrs
	d := dial.New(cfg)
	for _, host := range []string{"127.0.0.1:" + port, "[::ffff:127.0.0.1]:" + port, "alias.example.org:" + port, "ALIAS.example.org.:" + port,
		"other.example.org:" + port, "127.0.0.77:" + port, "roost.example.org:443", "ROOST.example.org:80"} {
		if c, err := d.DialContext(context.Background(), "tcp", host); !dial.IsForbidden(err) {
			t.Errorf("%s: %v", host, err)
			if err == nil {
				c.Close()
			}
		}
	}
	if n := tr.got.Load(); n != 0 {
		t.Errorf("%d connections to ourselves", n)
	}
	u, err := dial.ParseRemote("https://Roost.example.org/x.git", false)
	if err != nil || !d.Ours(u) {
		t.Errorf("%v is not ours: %v", u, err)
	}
}

// An operator who allows a translator's network does not allow what must not be reached behind it.
func TestTranslated(t *testing.T) {
	cfg := config()
	cfg.Allow = []netip.Prefix{netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("2001::/32")}
	d := dial.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for host, want := range map[string]bool{
		"64:ff9b::7f00:1": true, "64:ff9b::a9fe:a9fe": true, "64:ff9b::808:808": false,
		"2002:a00:1::1": true, "2002:808:808::1": false, "2001::80ff:fffe": true,
	} {
		_, err := d.DialContext(ctx, "tcp", "["+host+"]:443")
		if dial.IsForbidden(err) != want {
			t.Errorf("%s: %v", host, err)
		}
	}
}

// Whoever asked not to be called is not called, by no name below theirs either, nor by their address.
func TestDeny(t *testing.T) {
	tr := newTrap(t, "127.0.0.1:0")
	cfg := open()
	cfg.Resolver = always("127.0.0.1")
	for deny, hosts := range map[string][]string{
		"Example.org":  {"example.org", "git.example.org", "GIT.EXAMPLE.ORG."},
		"127.0.0.1":    {"127.0.0.1", "[::ffff:127.0.0.1]", "other.example"},
		"git.example.": {"git.example"},
	} {
		cfg.Deny = []string{deny}
		d := dial.New(cfg)
		for _, host := range hosts {
			if c, err := d.DialContext(context.Background(), "tcp", fmt.Sprintf("%s:%d", host, tr.port())); !dial.IsForbidden(err) {
				t.Errorf("%s denied, %s: %v", deny, host, err)
				if err == nil {
					c.Close()
				}
			}
		}
	}
	cfg.Deny = []string{"example.org"}
	c, err := dial.New(cfg).DialContext(context.Background(), "tcp", fmt.Sprintf("notexample.org:%d", tr.port()))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// Ports below 1024 belong to other protocols, and interfaces of this computer to this computer.
func TestPortsAndInterfaces(t *testing.T) {
	cfg := open()
	d := dial.New(cfg)
	for _, port := range []int{22, 25, 53, 1023} {
		if _, err := d.DialContext(context.Background(), "tcp", fmt.Sprintf("127.0.0.1:%d", port)); !dial.IsForbidden(err) {
			t.Errorf("port %d: %v", port, err)
		}
	}
	cfg = config()
	cfg.Interfaces = func() ([]net.Addr, error) {
		return []net.Addr{&net.IPNet{IP: net.ParseIP("8.8.4.4"), Mask: net.CIDRMask(24, 32)}}, nil
	}
	if _, err := dial.New(cfg).DialContext(context.Background(), "tcp", "8.8.4.4:443"); !dial.IsForbidden(err) {
		t.Error(err)
	}
	cfg.Interfaces = func() ([]net.Addr, error) { return nil, fmt.Errorf("no such call") }
	if _, err := dial.New(cfg).DialContext(context.Background(), "tcp", "8.8.8.8:443"); err == nil {
		t.Error("who cannot look must not go (hardening D8)")
	}
}

// A victim named in ten thousand events sees thirty requests a minute, whoever names it and by however
// many names. hardening §9, G02-12
func TestBudgets(t *testing.T) {
	tr := newTrap(t, "127.0.0.1:0")
	clock := newClock()
	cfg := open()
	cfg.Now, cfg.HostPerMinute, cfg.HostConcurrent, cfg.AuthorPerMinute = clock.Now, 0, 0, 0
	cfg.Resolver = always("127.0.0.1")
	d := dial.New(cfg)
	try := func(host, author string) error {
		c, err := d.DialContext(dial.OnBehalf(context.Background(), author), "tcp", fmt.Sprintf("%s:%d", host, tr.port()))
		if err == nil {
			c.Close()
		}
		return err
	}
	ok := 0
	for i := range 10_000 {
		err := try(fmt.Sprintf("n%d.victim.example", i), fmt.Sprintf("author-%d", i))
		if err == nil {
			ok++
			continue
		}
		if !fault.Is(err, fault.Busy) {
			t.Fatal(err)
		}
		if after, is := dial.RetryAfter(err); !is || after <= 0 || after > time.Minute {
			t.Fatalf("try again after %v, %v", after, is)
		}
	}
	if ok != 30 {
		t.Errorf("%d connections in a minute, want 30", ok)
	}
	clock.Advance(59 * time.Second)
	if try("again.victim.example", "a") == nil {
		t.Error("the minute is not over")
	}
	clock.Advance(2 * time.Second)
	if err := try("again.victim.example", "b"); err != nil {
		t.Error(err)
	}
}

// One author cannot make us call the world.
func TestAuthorBudget(t *testing.T) {
	clock := newClock()
	cfg := config()
	cfg.Now, cfg.AuthorPerMinute = clock.Now, 5
	cfg.Resolver = &resolver{answer: func(n int64, _ string) []netip.Addr { return nil }}
	d := dial.New(cfg)
	ctx := dial.OnBehalf(context.Background(), "mallory")
	budget := 0
	for i := range 20 {
		_, err := d.DialContext(ctx, "tcp", fmt.Sprintf("h%d.example:443", i))
		if _, is := dial.RetryAfter(err); is {
			budget++
		}
	}
	if budget != 15 {
		t.Errorf("%d of 20 were refused, want 15", budget)
	}
	if _, err := d.DialContext(dial.OnBehalf(context.Background(), "alice"), "tcp", "h.example:443"); err != nil {
		if _, is := dial.RetryAfter(err); is {
			t.Error("mallory used up alice's budget")
		}
	}
}

// Five at a time; a place is given back.
func TestConcurrent(t *testing.T) {
	hold := make(chan struct{})
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		<-hold
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(l)
	defer srv.Close()
	cfg := open()
	cfg.HostConcurrent = 0
	d := dial.New(cfg)
	var held []*http.Response
	for i := range 5 {
		resp, err := d.HTTP().Get("http://" + l.Addr().String())
		if err != nil {
			t.Fatal(i, err)
		}
		held = append(held, resp)
	}
	if _, err := d.HTTP().Get("http://" + l.Addr().String()); !busy(err) {
		t.Errorf("the sixth: %v", err)
	}
	close(hold)
	for _, r := range held {
		r.Body.Close()
	}
	resp, err := d.HTTP().Get("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

func busy(err error) bool {
	_, is := dial.RetryAfter(err)
	return is
}

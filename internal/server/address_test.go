package server

import (
	"net/http"
	"net/netip"
	"testing"
)

// H-112: forwarded headers count from configured addresses only.
func TestPrefix(t *testing.T) {
	p := prefixer{trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8")}}
	for _, c := range []struct {
		remote string
		xff    []string
		want   string
	}{
		{"192.0.2.7:1234", nil, "192.0.2.0/24"},
		{"[2001:db8:1:2::3]:1234", nil, "2001:db8:1::/48"},
		{"[::ffff:192.0.2.7]:1234", nil, "192.0.2.0/24"},
		{"127.0.0.1:9", nil, ""},
		{"[::1]:9", nil, ""},
		{"192.0.2.7:1", []string{"203.0.113.9"}, "192.0.2.0/24"}, // not trusted
		{"10.1.1.1:1", []string{"203.0.113.9"}, "203.0.113.0/24"},
		{"10.1.1.1:1", []string{"1.1.1.1, 203.0.113.9, 10.2.2.2"}, "203.0.113.0/24"}, // right-most untrusted
		{"10.1.1.1:1", []string{"203.0.113.9", "198.51.100.1"}, "10.1.1.0/24"},       // repeated
		{"10.1.1.1:1", []string{"nonsense"}, "10.1.1.0/24"},
		{"127.0.0.1:1", []string{"203.0.113.9"}, "203.0.113.0/24"},
		{"nonsense", nil, "unknown"},
	} {
		r := &http.Request{RemoteAddr: c.remote, Header: http.Header{}}
		for _, v := range c.xff {
			r.Header.Add("X-Forwarded-For", v)
		}
		if got := p.prefix(r); got != c.want {
			t.Errorf("%s %v: got %q, want %q", c.remote, c.xff, got, c.want)
		}
	}
}

package dial_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/internal/dial"
)

// What may be a remote, and how it is written. hardening §9, G02-14
func TestParseRemote(t *testing.T) {
	for text, want := range map[string]string{
		"https://git.example.org/alice/demo.git":                   "https://git.example.org/alice/demo.git",
		"HTTPS://Git.Example.ORG/Alice/Demo.git":                   "https://git.example.org/Alice/Demo.git",
		"https://git.example.org./x":                               "https://git.example.org/x",
		"https://git.example.org:443/x.git":                        "https://git.example.org/x.git",
		"https://git.example.org:8443/x.git":                       "https://git.example.org:8443/x.git",
		"https://8.8.8.8/x":                                        "https://8.8.8.8/x",
		"https://[2001:4860:4860::8888]/x":                         "https://[2001:4860:4860::8888]/x",
		"https://[2001:4860:4860:0::8888]:3000/x":                  "https://[2001:4860:4860::8888]:3000/x",
		"https://xn--bcher-kva.example/x":                          "https://xn--bcher-kva.example/x",
		"https://git_1.example.org/~alice/demo%20two.git":          "https://git_1.example.org/~alice/demo%20two.git",
		"https://roost.example/npub1abc/a%2Fb.git":                 "https://roost.example/npub1abc/a%2Fb.git",
		"http://git.example.org/x":                                 "http://git.example.org/x",
		"http://git.example.org:80/x":                              "http://git.example.org/x",
		"https://" + strings.Repeat("a.", 100) + "example.org/--x": "https://" + strings.Repeat("a.", 100) + "example.org/--x",
	} {
		u, err := dial.ParseRemote(text, true)
		if err != nil || u.String() != want {
			t.Errorf("%s: %q, %v; want %q", text, u, err, want)
		}
	}
	// check 248
	for _, text := range []string{
		"", "x", "/etc/passwd", "./x", "-x", "--upload-pack=x", "--upload-pack=touch /tmp/x", "ext::sh -c id", "ext::sh", "fd::17", "file:///etc", "file://localhost/etc",
		"ssh://git@example.org/x", "git@example.org:x.git", "git://example.org/x", "ftp://example.org/x", "ftps://example.org/x", "transport::https://example.org/x",
		"https::https://example.org/x", "http::https://example.org", "javascript:alert(1)", "https:/example.org/x", "https:example.org/x", "//example.org/x",
		"https://", "https:///x", "https://example.org", "https://example.org/", "https://user@example.org/x", "https://user:pw@example.org/x", "https://@example.org/x", "https://example.org:/x",
		"https://example.org/x?y", "https://example.org/x#y", "https://example.org/x y", " https://example.org/x", "https://example.org/x\n", "https://example.org/\tx", "https://example.org/x\x00", "https://example.org\\@evil.example/x",
		"https://example.org:0/x", "https://example.org:22/x", "https://example.org:65536/x", "https://example.org:-1/x", "https://example.org:+443/x", "https://example.org:0443/x", "https://example.org:443:443/x", "https://example.org:4 4/x",
		"https://127.1/x", "https://2130706433/x", "https://0x7f.0.0.1/x", "https://0x7f000001/x", "https://017700000001/x", "https://0177.0.0.1/x", "https://1.2.3/x", "https://1.2.3.4.5/x", "https://example.0x1/x",
		"https://[::1/x", "https://::1]/x", "https://::1/x", "https://[127.0.0.1]/x", "https://[fe80::1%25eth0]/x", "https://[fe80::1%eth0]/x", "https://[]/x", "https://[::1]x/x",
		"https://bücher.example/x", "https://exa mple.org/x", "https://-example.org/x", "https://example-.org/x", "https://a..b/x", "https://.example.org/x", "https://" + strings.Repeat("a", 64) + ".org/x", "https://" + strings.Repeat("a.", 130) + "org/x",
		"https://example.org/../x", "https://example.org/a/./b", "https://example.org/a/%2e%2E/b", "https://example.org/a/.%2e/b", "https://example.org/%", "https://example.org/%0", "https://example.org/%zz", "https://example.org/%00", "https://example.org/%0d%0aHost:x", "https://example.org/%5c",
		"https://example.org/x|y", "https://example.org/`id`", "https://example.org/{x}", "https://example.org/\"", "https://example.org/x\x7f", "https://example.org/\xff", "https://example.org/" + strings.Repeat("x", 3000),
	} {
		if u, err := dial.ParseRemote(text, true); !dial.IsForbidden(err) || !u.IsZero() || u.String() != "" {
			t.Errorf("%q: %q, %v", text, u, err)
		}
	}
	if _, err := dial.ParseRemote("http://git.example.org/x", false); !dial.IsForbidden(err) {
		t.Error("http without the option:", err)
	}
}

// Whatever is accepted means the same to net/url, cannot be an option, and prints back the same.
func FuzzParseRemote(f *testing.F) {
	for _, s := range []string{"https://git.example.org/alice/demo.git", "http://[::1]:3000/x", "https://a:80/%2e", "ext::sh -c id", "https://0x7f.1/x"} {
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, s string, plain bool) {
		u, err := dial.ParseRemote(s, plain)
		if err != nil {
			if !dial.IsForbidden(err) {
				t.Fatal(err)
			}
			return
		}
		text := u.String()
		again, err := dial.ParseRemote(text, plain)
		if err != nil || again != u {
			t.Fatalf("%q became %q became %q: %v", s, text, again, err)
		}
		std, err := url.Parse(text)
		if err != nil || std.User != nil || std.RawQuery != "" || std.Fragment != "" || std.Opaque != "" ||
			std.Hostname() != u.Host() || std.EscapedPath() != u.Path() && std.Path == "" || std.Scheme != "https" && (std.Scheme != "http" || !plain) {
			t.Fatalf("%q is read as %#v: %v", text, std, err)
		}
		if strings.ContainsAny(text, " \t\n\\\"'<>|") && !strings.Contains(text, "'") {
			t.Fatalf("%q", text)
		}
	})
}

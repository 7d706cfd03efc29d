package grasp_test

import (
	"testing"

	"github.com/gitroost/gitroost/grasp"
)

func TestSiteListed(t *testing.T) { // G01-102, G01-103, checks 126 to 129 and 254
	plain := site(t, "https://git.example.com")
	ported := site(t, "http://git.example.com:8080")
	aliased := site(t, "https://git.example.com", "http://alias.example.org:8080")
	based := site(t, "https://example.com/git")
	idn := site(t, "https://bücher.example")
	v6 := site(t, "http://[2001:db8::1]:8080", "http://[::1]")
	under := site(t, "http://grasp_server:3000")

	for _, c := range []struct {
		name  string
		site  grasp.Site
		url   string
		clone bool
		relay bool
	}{
		{"128 plain", plain, "https://git.example.com/npub1x/tool.git", true, false},
		{"128 http and https are one", plain, "http://git.example.com/npub1x/tool.git", true, false},
		{"128 upper-case host", plain, "https://GIT.Example.COM/npub1x/tool.git", true, false},
		{"128 upper-case scheme", plain, "HTTPS://git.example.com/npub1x/tool.git", true, false},
		{"128 explicit 443", plain, "https://git.example.com:443/npub1x/tool.git", true, false},
		{"128 explicit 80", plain, "http://git.example.com:80/npub1x/tool.git", true, false},
		{"128 empty port", plain, "https://git.example.com:/npub1x/tool.git", true, false},
		{"254 free path", plain, "https://git.example.com/anything.git", true, false},
		{"254 no path", plain, "https://git.example.com", true, false},
		{"254 many slashes", plain, "https://git.example.com//npub1x//tool.git/", true, false},
		{"254 query and fragment", plain, "https://git.example.com/x.git?a=b#c", true, false},
		{"root dot", plain, "https://git.example.com./x.git", true, false},
		{"128 relay", plain, "wss://git.example.com", false, true},
		{"128 relay with slash", plain, "wss://git.example.com/", false, true},
		{"128 relay with slashes", plain, "wss://git.example.com///", false, true},
		{"128 relay without TLS", plain, "ws://git.example.com", false, true},
		{"128 relay with port", plain, "wss://git.example.com:443/", false, true},
		{"128 relay in capitals", plain, "WSS://GIT.EXAMPLE.COM/", false, true},

		{"129 relay with path", plain, "wss://git.example.com/other/path", false, false},
		{"129 relay with escaped slash", plain, "wss://git.example.com/%2F", false, false},
		{"129 relay with dot", plain, "wss://git.example.com/.", false, false},
		{"127 ours as a prefix", plain, "https://git.example.com.evil.net/npub1x/tool.git", false, false},
		{"127 ours as a prefix, relay", plain, "wss://git.example.com.evil.net", false, false},
		{"127 ours as a suffix", plain, "https://evil-git.example.com/x.git", false, false},
		{"127 ours as a suffix, relay", plain, "wss://evilgit.example.com", false, false},
		{"127 subdomain", plain, "https://a.git.example.com/x.git", false, false},
		{"127 parent domain", plain, "https://example.com/x.git", false, false},
		{"127 ours in the query", plain, "https://evil.net/?git.example.com", false, false},
		{"127 ours in the query, relay", plain, "wss://evil.net?//git.example.com", false, false},
		{"127 ours in the path", plain, "https://evil.net/git.example.com/x.git", false, false},
		{"127 ours in the fragment", plain, "https://evil.net#@git.example.com/x.git", false, false},
		{"102 user info", plain, "https://user@git.example.com/x.git", false, false},
		{"102 user and password", plain, "https://user:pass@git.example.com/x.git", false, false},
		{"102 empty user info", plain, "https://@git.example.com/x.git", false, false},
		{"102 empty user info, relay", plain, "wss://@git.example.com", false, false},
		{"102 ours as user info", plain, "https://git.example.com@evil.net/x.git", false, false},
		{"102 ours as user and password", plain, "https://git.example.com:443@evil.net/x.git", false, false},
		{"102 backslash", plain, `https://git.example.com\@evil.net/x.git`, false, false},
		{"102 backslash behind", plain, `https://evil.net\.git.example.com/x.git`, false, false},
		{"102 other port", plain, "https://git.example.com:8443/x.git", false, false},
		{"102 other port, relay", plain, "wss://git.example.com:444", false, false},
		{"102 port with zeros", plain, "https://git.example.com:00443/x.git", false, false},
		{"102 two ports", plain, "https://git.example.com:443:443/x.git", false, false},
		{"102 port no number", plain, "https://git.example.com:https/x.git", false, false},
		{"102 git scheme", plain, "git://git.example.com/x.git", false, false},
		{"102 ssh", plain, "ssh://git.example.com/x.git", false, false},
		{"102 scp", plain, "git@git.example.com:x.git", false, false},
		{"102 file", plain, "file://git.example.com/x.git", false, false},
		{"102 ext", plain, "ext::https://git.example.com/x.git", false, false},
		{"102 nostr", plain, "nostr://git.example.com/x", false, false},
		{"102 javascript", plain, "javascript://git.example.com/%0aalert(1)", false, false},
		{"102 no scheme", plain, "git.example.com/x.git", false, false},
		{"102 no scheme, slashes", plain, "//git.example.com/x.git", false, false},
		{"102 opaque", plain, "https:git.example.com/x.git", false, false},
		{"102 one slash", plain, "https:/git.example.com/x.git", false, false},
		{"102 three slashes", plain, "https:///git.example.com/x.git", false, false},
		{"102 space before", plain, " https://git.example.com/x.git", false, false},
		{"102 space in the host", plain, "https://git.example.com /x.git", false, false},
		{"102 newline", plain, "https://git.example.com\n/x.git", false, false},
		{"102 NUL", plain, "https://git.example.com\x00/x.git", false, false},
		{"102 escaped host", plain, "https://git%2Eexample.com/x.git", false, false},
		{"102 escaped NUL", plain, "https://git.example.com%00.evil.net/x.git", false, false},
		{"102 two root dots", plain, "https://git.example.com../x.git", false, false},
		{"102 leading dot", plain, "https://.git.example.com/x.git", false, false},
		{"102 cyrillic twin", plain, "https://git.exаmple.com/x.git", false, false},
		{"102 brackets", plain, "https://[git.example.com]/x.git", false, false},
		{"102 empty", plain, "", false, false},
		{"102 bad escape", plain, "https://git.example.com/%zz", false, false},
		{"102 invalid UTF-8", plain, "https://git.example.com\xff/x.git", false, false},

		{"254 prs", plain, "https://git.example.com/prs/npub1x/tool.git", false, false},
		{"254 prs alone", plain, "https://git.example.com/prs", false, false},
		{"254 prs behind slashes", plain, "https://git.example.com///prs/npub1x/tool.git", false, false},
		{"254 prs escaped", plain, "https://git.example.com/%70rs/npub1x/tool.git", false, false},
		{"254 prs behind a dot", plain, "https://git.example.com/./prs/npub1x/tool.git", false, false},
		{"254 prs behind two dots", plain, "https://git.example.com/x/../prs/npub1x/tool.git", false, false},
		{"254 prs left again", plain, "https://git.example.com/prs/../npub1x/tool.git", true, false},
		{"254 prs as a prefix", plain, "https://git.example.com/prsx/tool.git", true, false},
		{"254 prs as an identifier", plain, "https://git.example.com/npub1x/prs.git", true, false},
		{"254 prs in capitals", plain, "https://git.example.com/PRS/tool.git", true, false},

		{"port", ported, "http://git.example.com:8080/x.git", true, false},
		{"port, https", ported, "https://git.example.com:8080/x.git", true, false},
		{"port, relay", ported, "ws://git.example.com:8080", false, true},
		{"port missing", ported, "http://git.example.com/x.git", false, false},
		{"port default", ported, "http://git.example.com:80/x.git", false, false},

		{"alias", aliased, "http://alias.example.org:8080/x.git", true, false},
		{"alias relay", aliased, "ws://alias.example.org:8080/", false, true},
		{"alias without its port", aliased, "http://alias.example.org/x.git", false, false},
		{"ports are not shared", aliased, "http://git.example.com:8080/x.git", false, false},

		{"base path", based, "https://example.com/git/npub1x/tool.git", true, false},
		{"base path missing", based, "https://example.com/npub1x/tool.git", true, false},
		{"base path relay", based, "wss://example.com/git", false, true},
		{"base path relay with slashes", based, "wss://example.com//git/", false, true},
		{"base path relay at the root", based, "wss://example.com", false, true},
		{"base path longer", based, "wss://example.com/git/x", false, false},
		{"base path other", based, "wss://example.com/gitx", false, false},
		{"base path prs", based, "https://example.com/git/prs/npub1x/tool.git", false, false},
		{"base path root prs", based, "https://example.com/prs/npub1x/tool.git", false, false},
		{"base path prefix of prs", based, "https://example.com/gitprs/x.git", true, false},

		{"IDN as it is", idn, "https://bücher.example/x.git", true, false},
		{"IDN in ASCII", idn, "https://xn--bcher-kva.example/x.git", true, false},
		{"IDN in ASCII capitals", idn, "https://XN--BCHER-KVA.EXAMPLE/x.git", true, false},
		{"IDN in capitals", idn, "https://BÜCHER.example/x.git", true, false},
		{"IDN decomposed", idn, "https://bu\u0308cher.example/x.git", true, false},
		{"IDN escaped", idn, "https://b%C3%BCcher.example/x.git", true, false},
		{"IDN with another dot", idn, "https://bücher。example/x.git", true, false},
		{"IDN relay", idn, "wss://xn--bcher-kva.example", false, true},
		{"IDN without its dots", idn, "https://bucher.example/x.git", false, false},
		{"IDN that is none", idn, "https://xn--a.example/x.git", false, false},

		{"IPv6", v6, "http://[2001:db8::1]:8080/x.git", true, false},
		{"IPv6 in capitals", v6, "http://[2001:DB8::1]:8080/x.git", true, false},
		{"IPv6 at length", v6, "http://[2001:db8:0:0:0:0:0:1]:8080/x.git", true, false},
		{"IPv6 relay", v6, "ws://[2001:db8::1]:8080/", false, true},
		{"IPv6 default port", v6, "http://[::1]:80/x.git", true, false},
		{"IPv6 port as its last group", v6, "http://[2001:db8::1:8080]/x.git", false, false},
		{"IPv6 without brackets", v6, "http://2001:db8::1:8080/x.git", false, false},
		{"IPv6 other port", v6, "http://[2001:db8::1]/x.git", false, false},
		{"IPv6 zone", v6, "http://[::1%25eth0]/x.git", false, false},
		{"IPv6 broken", v6, "http://[::1/x.git", false, false},

		{"underscore", under, "http://grasp_server:3000/x.git", true, false},
		{"underscore in capitals", under, "http://GRASP_SERVER:3000/x.git", true, false},
		{"underscore, another", under, "http://grasp_serve:3000/x.git", false, false},

		{"nobody names the zero site", grasp.Site{}, "https://git.example.com/x.git", false, false},
		{"nobody names the zero site, relay", grasp.Site{}, "wss://git.example.com", false, false},
		{"not even with an empty host", grasp.Site{}, "https:///x.git", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.site.ListsClone(c.url); got != c.clone {
				t.Errorf("ListsClone(%q) = %t, want %t", c.url, got, c.clone)
			}
			if got := c.site.ListsRelay(c.url); got != c.relay {
				t.Errorf("ListsRelay(%q) = %t, want %t", c.url, got, c.relay)
			}
		})
	}
}

func TestNewSiteRefuses(t *testing.T) {
	for _, u := range []string{
		"", "git.example.com", "localhost:8080", "https://", "https:///x", "https://user@git.example.com",
		"ftp://git.example.com", "https://git.example.com:x", "https://[::1", "mailto:git@example.com",
	} {
		if _, err := grasp.NewSite(u); err == nil {
			t.Errorf("NewSite(%q) succeeds, want an error", u)
		}
	}
}

package grasp_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/btcutil/bech32"

	"github.com/gitroost/gitroost/grasp"
)

func TestIdentifiers(t *testing.T) { // H-104, checks 10 and 11
	for _, c := range []struct {
		id   string
		want bool
	}{
		{"tool", true},
		{"my 🚀 repo+x:y%", true},
		{"tool.git", true},
		{"tool.git.git", true},
		{".git", true},
		{"...", true},
		{".hidden", true},
		{"-rf", true},
		{"--upload-pack=x", true},
		{"Tool", true},
		{"a:b:c", true},
		{"%2e%2e%2f", true}, // decoded once, long before: what is left is data
		{"<script>", true},
		{" ", true},
		{"ａ", true},
		{"e\u0301", true},
		{strings.Repeat("a", 251), true},
		{strings.Repeat("é", 125), true},
		{"\u00a0", true}, // a space, and no control character

		{"", false},
		{".", false},
		{"..", false},
		{"a/b", false},
		{"/", false},
		{"../../x", false},
		{`a\b`, false},
		{"a\x00", false},
		{"a\nb", false},
		{"a\rb", false},
		{"a\tb", false},
		{"a\x1bb", false},
		{"a\x7fb", false},
		{"a\u0080b", false},
		{"a\u009fb", false},
		{"a\xffb", false},
		{"\xed\xa0\x80", false}, // half of a surrogate pair
		{"\xc0\xae\xc0\xae", false},
		{strings.Repeat("a", 252), false},
		{strings.Repeat("é", 126), false},
		{strings.Repeat("a", 10_000), false},
	} {
		if got := grasp.ValidIdentifier(c.id); got != c.want {
			t.Errorf("ValidIdentifier(%.40q) = %t, want %t", c.id, got, c.want)
		}
		a := grasp.Addr{Owner: key("O"), ID: c.id}
		if got := a.Valid(); got != c.want {
			t.Errorf("Addr{O, %.40q}.Valid() = %t, want %t", c.id, got, c.want)
		}
		if !c.want {
			continue
		}
		// check 218: an identifier survives its coordinate, colons and all.
		if back, ok := grasp.ParseCoordinate(a.Coordinate()); !ok || back != a {
			t.Errorf("ParseCoordinate(%q) = %v, %t, want %v", a.Coordinate(), back, ok, a)
		}
	}
}

// Twins are two repositories: names are compared byte by byte (H-104, check 12, hardening §3).
func TestIdentifierTwins(t *testing.T) {
	twins := []string{"tool", "Tool", "TOOL", "tool ", " tool", "tool.git", "e\u0301", "\u00e9", "ｔool", "t%6fol"}
	seen := map[grasp.Addr]string{}
	for _, id := range twins {
		a, ok := grasp.ParseCoordinate("30617:" + string(key("O")) + ":" + id)
		if !ok {
			t.Errorf("%q is refused", id)
		}
		if other, twice := seen[a]; twice {
			t.Errorf("%q and %q are one repository", id, other)
		}
		seen[a] = id
	}
}

func TestCoordinates(t *testing.T) { // G01-801, G01-803, hardening §3
	k := string(key("O"))
	for _, c := range []struct {
		in   string
		want bool
	}{
		{"30617:" + k + ":tool", true},
		{"30617:" + k + ":", false},
		{"30617:" + k, false},
		{"30617:" + k + "tool", false},
		{"30618:" + k + ":tool", false},
		{"030617:" + k + ":tool", false},
		{" 30617:" + k + ":tool", false},
		{"30617:" + strings.ToUpper(k) + ":tool", false},
		{"30617:" + k[1:] + ":tool", false},
		{"30617:" + k + "0:tool", false},
		{"30617:" + key("O").Npub() + ":tool", false},
		{"nostr:30617:" + k + ":tool", false},
		{"30617:" + k + ":..", false},
		{"30617:" + k + ":a/b", false},
		{"30617", false},
		{"", false},
	} {
		if _, got := grasp.ParseCoordinate(c.in); got != c.want {
			t.Errorf("ParseCoordinate(%q) ok = %t, want %t", c.in, got, c.want)
		}
	}
}

func TestNpub(t *testing.T) { // H-102, checks 5 and 6, hardening §3
	// The example of NIP-19.
	const hex = "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e"
	const npub = "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg"
	if got := grasp.PubKey(hex).Npub(); got != npub {
		t.Errorf("Npub() = %s, want %s", got, npub)
	}
	if k, err := grasp.ParseNpub(npub); err != nil || k != hex {
		t.Errorf("ParseNpub = %s, %v, want %s", k, err, hex)
	}
	if got := (grasp.Addr{Owner: hex, ID: "tool"}).String(); got != npub+"/tool" {
		t.Errorf("String() = %s", got)
	}
	if s := grasp.PubKey("abc").Npub(); s != "" {
		t.Errorf("Npub of what is no key = %q, want nothing", s)
	}

	encode := func(hrp string, enc func(string, []byte) (string, error), n int) string {
		five, err := bech32.ConvertBits(make([]byte, n), 8, 5, true)
		if err != nil {
			t.Fatal(err)
		}
		s, err := enc(hrp, five)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	// 32 bytes fill 51 groups of five bits and one bit of the last: the other four must be zero.
	five, err := bech32.ConvertBits(make([]byte, 32), 8, 5, true)
	if err != nil {
		t.Fatal(err)
	}
	five[len(five)-1] = 1
	padded, err := bech32.Encode("npub", five)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]string{
		"empty":                 "",
		"prefix":                "npub1",
		"hex":                   hex,
		"upper case":            strings.ToUpper(npub),
		"mixed case":            "npub1" + strings.ToUpper(npub[5:]),
		"bad checksum":          npub[:62] + "h",
		"one character changed": npub[:20] + "q" + npub[21:],
		"too short":             npub[:62],
		"too long":              npub + "q",
		"space before":          " " + npub,
		"space behind":          npub + " ",
		"nsec":                  encode("nsec", bech32.Encode, 32),
		"note":                  encode("note", bech32.Encode, 32),
		"nprofile":              encode("nprofile", bech32.Encode, 34),
		"31 bytes":              encode("npub", bech32.Encode, 31),
		"33 bytes":              encode("npub", bech32.Encode, 33),
		"bech32m":               encode("npub", bech32.EncodeM, 32),
		"bits in the padding":   padded,
		"with .git":             npub + ".git",
		"nostr URI":             "nostr:" + npub,
	} {
		if k, err := grasp.ParseNpub(s); err == nil {
			t.Errorf("%s: ParseNpub(%q) = %s, want an error", name, s, k)
		}
	}
}

// refNames are judged by us and by git, which must agree (hardening §5).
var refNames = []string{
	"refs/heads/main", "refs/heads/feature/x", "refs/heads/a/b/c/d/e", "refs/heads/-x", "refs/heads/--upload-pack",
	"refs/heads/$(id)", "refs/heads/`id`", "refs/heads/<b>", "refs/heads/a;b", "refs/heads/a&b", "refs/heads/a|b",
	"refs/heads/a'b", "refs/heads/a\"b", "refs/heads/a{b}", "refs/heads/a@b", "refs/heads/@", "refs/heads/a%2fb",
	"refs/heads/ä", "refs/heads/🚀", "refs/heads/a\u00a0b", "refs/heads/\u202e", "refs/heads/a#b", "refs/heads/a!b",
	"refs/heads/a+b", "refs/heads/a,b", "refs/heads/a=b", "refs/heads/a.b", "refs/heads/a.locked", "refs/heads/lock",
	"refs/heads/a.LOCK", "refs/heads/HEAD", "refs/tags/v1.0.0", "refs/tags/v1{}", "refs/notes/commits", "refs/x",
	"refs/nostr/" + "0000000000000000000000000000000000000000000000000000000000000000",

	"refs/heads/", "refs/", "refs", "refs//heads/main", "refs/heads//main", "refs/heads/main/", "/refs/heads/main",
	"refs/heads/.hidden", "refs/heads/a/.b", "refs/heads/..", "refs/heads/.", "refs/heads/a..b", "refs/heads/a.",
	"refs/heads/a./b", "refs/heads/a.lock", "refs/heads/a.lock/b", "refs/heads/.lock", "refs/heads/a b", "refs/heads/a~b", "refs/heads/a^b",
	"refs/heads/a^{}", "refs/heads/a:b", "refs/heads/a?b", "refs/heads/a*b", "refs/heads/*", "refs/heads/a[b",
	"refs/heads/a\\b", "refs/heads/@{", "refs/heads/a@{b", "refs/heads/a@{1}", "refs/heads/a\tb", "refs/heads/a\nb",
	"refs/heads/a\rb", "refs/heads/a\x01b", "refs/heads/a\x7fb", "refs/heads/a\x1b[31m", "refs/heads/a ", " refs/heads/a",
	"refs/heads/../../config", "refs/heads/a/../b", "refs/heads/a/./b",
}

func TestRefNamesAgreeWithGit(t *testing.T) { // hardening §5
	git, err := exec.LookPath("git")
	if err != nil {
		t.Skip("git is not installed")
	}
	if len(refNames) < 60 {
		t.Errorf("only %d names are compared, want 60", len(refNames))
	}
	for _, n := range refNames {
		err := exec.Command(git, "check-ref-format", n).Run()
		var bad *exec.ExitError
		if err != nil && !errors.As(err, &bad) {
			t.Fatal(err)
		}
		got, ok := grasp.ParseRefName(n)
		if ok != (err == nil) {
			t.Errorf("ParseRefName(%q) ok = %t, git says %t", n, ok, err == nil)
		}
		if ok && string(got) != n {
			t.Errorf("ParseRefName(%q) = %q", n, got)
		}
	}
}

// What git would take, and we do not (hardening §5: UTF-8, at most 255 bytes, full names).
func TestRefNamesBeyondGit(t *testing.T) {
	long := "refs/heads/" + strings.Repeat("a", grasp.MaxRefName-len("refs/heads/"))
	for n, want := range map[string]bool{
		long:                     true,
		long + "a":               false,
		"refs/heads/a\xffb":      false,
		"refs/heads/\xc3":        false,
		"HEAD":                   false,
		"main":                   false,
		"heads/main":             false,
		"Refs/heads/main":        false,
		"":                       false,
		"refs/heads/a\x00b":      false,
		"refs/heads/a/":          false,
		"refs/heads/x\ny":        false,
		"xrefs/heads/main":       false,
		"refs/heads/" + "a.lock": false,
	} {
		if _, ok := grasp.ParseRefName(n); ok != want {
			t.Errorf("ParseRefName(%.40q) ok = %t, want %t", n, ok, want)
		}
	}
}

func TestRefNamespaces(t *testing.T) { // H-207, G01-701
	id := string(eventID("e1"))
	for _, c := range []struct {
		ref                      grasp.RefName
		head, tag, nostr, pullOK bool
	}{
		{"refs/heads/main", true, false, false, false},
		{"refs/tags/v1", false, true, false, false},
		{"refs/nostr/" + grasp.RefName(id), false, false, true, true},
		{"refs/nostr/" + grasp.RefName(strings.ToUpper(id)), false, false, true, false},
		{"refs/nostr/" + grasp.RefName(id[1:]), false, false, true, false},
		{"refs/nostr/" + grasp.RefName(id) + "/x", false, false, true, false},
		{"refs/nostr/pr/x", false, false, true, false},
		{"refs/notes/commits", false, false, false, false},
		{"refs/headsx/main", false, false, false, false},
		{"HEAD", false, false, false, false},
	} {
		pull, ok := c.ref.Pull()
		if c.ref.IsHead() != c.head || c.ref.IsTag() != c.tag || c.ref.IsNostr() != c.nostr || ok != c.pullOK {
			t.Errorf("%s: head %t, tag %t, nostr %t, pull %t", c.ref, c.ref.IsHead(), c.ref.IsTag(), c.ref.IsNostr(), ok)
		}
		if ok && grasp.PullRef(pull) != c.ref {
			t.Errorf("PullRef(%s) = %s, want %s", pull, grasp.PullRef(pull), c.ref)
		}
		if c.ref.Visible() != (c.head || c.tag || c.nostr) {
			t.Errorf("%s: Visible() = %t", c.ref, c.ref.Visible())
		}
	}
}

func TestObjectIDs(t *testing.T) { // G01-302, hardening §4 and §5
	o := string(oid("c1"))
	for in, want := range map[string]string{
		o:                        o,
		strings.ToUpper(o):       o,
		string(grasp.ZeroOID):    string(grasp.ZeroOID),
		o[1:]:                    "",
		o + "0":                  "",
		"":                       "",
		"HEAD":                   "",
		"--exec=x":               "",
		o[:38] + "^0":            "",
		o[:39] + "\n":            "",
		o[:39] + "g":             "",
		"K" + o[3:]:              "", // KELVIN SIGN lowers to k
		"ref: refs/heads/main":   "",
		sha256hex("sha-256"):     "",
		"+" + o[1:]:              "",
		"0x" + o[2:]:             "",
		strings.Repeat("٠", 20):  "",
		"refs/heads/main:" + o:   "",
		strings.Repeat("a", 4e4): "",
	} {
		got, ok := grasp.ParseOID(in)
		if ok != (want != "") || ok && string(got) != want {
			t.Errorf("ParseOID(%.60q) = %q, %t, want %q", in, got, ok, want)
		}
	}
	for _, c := range []struct {
		o    grasp.OID
		zero bool
	}{{"", true}, {grasp.ZeroOID, true}, {oid("c1"), false}} {
		if c.o.IsZero() != c.zero {
			t.Errorf("%q.IsZero() = %t", c.o, !c.zero)
		}
	}
}

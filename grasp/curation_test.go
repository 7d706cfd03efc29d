package grasp_test

import (
	"strings"
	"testing"

	"github.com/gitroost/gitroost/grasp"
)

// G01-109, check 255: what a list of an operator means.
func TestCuration(t *testing.T) {
	alice, bob := grasp.PubKey(strings.Repeat("a", 64)), grasp.PubKey(strings.Repeat("b", 64))
	patterns := func(list ...string) (out []grasp.Pattern) {
		for _, s := range list {
			p, err := grasp.ParsePattern(s)
			if err != nil {
				t.Fatalf("%s: %v", s, err)
			}
			out = append(out, p)
		}
		return out
	}
	for _, c := range []struct {
		name        string
		allow, deny []grasp.Pattern
		repo        grasp.Addr
		ok          bool
	}{
		{"an open server", nil, nil, grasp.Addr{Owner: bob, ID: "x"}, true},
		{"an allowed owner", patterns(alice.Npub()), nil, grasp.Addr{Owner: alice, ID: "x"}, true},
		{"somebody else", patterns(alice.Npub()), nil, grasp.Addr{Owner: bob, ID: "x"}, false},
		{"hex", patterns(string(alice)), nil, grasp.Addr{Owner: alice, ID: "x"}, true},
		{"an allowed repository", patterns(alice.Npub() + "/x"), nil, grasp.Addr{Owner: alice, ID: "x"}, true},
		{"another of hers", patterns(alice.Npub() + "/x"), nil, grasp.Addr{Owner: alice, ID: "xy"}, false},
		{"an allowed identifier", patterns("linux"), nil, grasp.Addr{Owner: bob, ID: "linux"}, true},
		{"a denied identifier", nil, patterns("linux"), grasp.Addr{Owner: bob, ID: "linux"}, false},
		{"denied and allowed", patterns(alice.Npub()), patterns(alice.Npub() + "/x"), grasp.Addr{Owner: alice, ID: "x"}, false},
		{"denied beside it", patterns(alice.Npub()), patterns(alice.Npub() + "/x"), grasp.Addr{Owner: alice, ID: "y"}, true},
	} {
		err := grasp.Curation{Allow: c.allow, Deny: c.deny}.Check(c.repo)
		if (err == nil) != c.ok {
			t.Errorf("%s: got %v", c.name, err)
		}
		if r, refused := err.(*grasp.Refusal); refused && r.Prefix != grasp.Restricted {
			t.Errorf("%s: the answer begins %q", c.name, r.Prefix)
		}
	}
	for _, bad := range []string{"", ".", "a/b", "npub1nonsense", alice.Npub() + "/", alice.Npub() + "/a/b"} {
		if p, err := grasp.ParsePattern(bad); err == nil {
			t.Errorf("%q: got %v, want an error", bad, p)
		}
	}
}

package grasp_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

func TestPullParsing(t *testing.T) { // G01-705, G01-708, check 211
	p1, p2 := string(oid("p1")), string(oid("p2"))
	o, m1 := addr("O").Coordinate(), addr("M1").Coordinate()
	colon := grasp.Addr{Owner: key("O"), ID: "a:b"}
	for _, c := range []struct {
		name  string
		tags  nostr.Tags
		tip   string // "" for none that can be satisfied
		repos []grasp.Addr
		clone int
		no    bool
	}{
		{name: "708 a tip", tags: nostr.Tags{{"c", p1}, {"a", o}}, tip: p1, repos: []grasp.Addr{addr("O")}},
		{name: "705 several maintainers", tags: nostr.Tags{{"a", o}, {"a", m1}, {"a", o}, {"c", p1}}, tip: p1, repos: []grasp.Addr{addr("O"), addr("M1")}},
		{name: "218 a colon in the identifier", tags: nostr.Tags{{"a", colon.Coordinate()}, {"c", p1}}, tip: p1, repos: []grasp.Addr{colon}},
		{name: "708 no a", tags: nostr.Tags{{"c", p1}}, tip: p1},
		{name: "708 a that is no repository", tags: nostr.Tags{{"a", "30618:" + string(key("O")) + ":tool"}, {"a", "x"}, {"a"}, {"A", o}, {"c", p1}}, tip: p1},
		{name: "708 the first c counts", tags: nostr.Tags{{"c", p1}, {"c", p2}}, tip: p1},
		{name: "708 values behind the first", tags: nostr.Tags{{"c", p1, p2}}, tip: p1},
		{name: "708 capitals", tags: nostr.Tags{{"c", strings.ToUpper(p1)}}, tip: p1},
		{name: "708 sha-256 can only wait", tags: nostr.Tags{{"c", sha256hex("x")}}},
		{name: "clone URLs", tags: nostr.Tags{{"c", p1}, {"clone", "https://a.example/x", "", "https://b.example/x"}, {"clone"}}, tip: p1, clone: 2},
		{name: "211 no c", tags: nostr.Tags{{"a", o}}, no: true},
		{name: "211 c without a value", tags: nostr.Tags{{"c"}}, no: true},
		{name: "211 c is empty", tags: nostr.Tags{{"c", ""}}, no: true},
		{name: "211 an unusable first c", tags: nostr.Tags{{"c", "abc123"}, {"c", p1}}, no: true},
		{name: "211 c is zero", tags: nostr.Tags{{"c", string(grasp.ZeroOID)}}, no: true},
		{name: "211 c is a branch", tags: nostr.Tags{{"c", "refs/heads/main"}}, no: true},
		{name: "211 c is an option", tags: nostr.Tags{{"c", "--exec=x"}}, no: true},
		{name: "211 c has a newline", tags: nostr.Tags{{"c", p1 + "\n"}}, no: true},
		{name: "211 c is endless", tags: nostr.Tags{{"c", strings.Repeat("a", 1<<18)}}, no: true},
		{name: "211 upper-case C", tags: nostr.Tags{{"C", p1}}, no: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := grasp.ParsePull(event(grasp.KindPull, "P", 1, eventID("e1"), c.tags...))
			if c.no {
				r := refusal(t, err)
				if r.Rule != "G01-708" || r.Prefix != grasp.Invalid || len(r.Text) > 600 {
					t.Errorf("refused by %s, %s: %.100q", r.Rule, r.Prefix, r.Text)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if string(p.Tip) != c.tip || !slices.Equal(p.Repos, c.repos) || len(p.Clone) != c.clone || p.ID != eventID("e1") {
				t.Errorf("parsed %+v", p)
			}
		})
	}
}

func TestConcerned(t *testing.T) { // G01-705, check 207
	for _, c := range []struct {
		name  string
		facts []fact
		asks  []string
		want  string
	}{
		{"the one it names", []fact{hosts("O"), hosts("X")}, []string{"O"}, "O"},
		{"each that it names", []fact{hosts("O"), hosts("M1")}, []string{"O", "M1"}, "M1 O"},
		{"a waiting one", []fact{waits("O")}, []string{"O"}, "O"},
		{"those of which a maintainer is named", []fact{hosts("O", "M1"), hosts("X")}, []string{"M1"}, "O"},
		{"through a chain", []fact{hosts("O", "M1"), elsewhere("M1", "M2")}, []string{"M2"}, "O"},
		{"not those that the named one maintains not", []fact{hosts("O", "M1"), hosts("M1")}, []string{"O"}, "O"},
		{"not a withdrawn one", []fact{withdrew("O")}, []string{"O"}, ""},
		{"not one that is elsewhere", []fact{elsewhere("O")}, []string{"O"}, ""},
		{"not without a name", []fact{hosts("O")}, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := view(t, append(c.facts, asks("e1", grasp.Waiting, "p1", c.asks...))...)
			set := grasp.KeySet{}
			for _, o := range v.Concerned(v.Pulls[eventID("e1")]) {
				set[o] = struct{}{}
			}
			if got := keysOf(set); got != c.want {
				t.Errorf("concerned: %s, want %s", got, c.want)
			}
		})
	}
	// The same owner, another identifier.
	v := view(t, hosts("O"))
	p := grasp.Pull{Repos: []grasp.Addr{{Owner: key("O"), ID: "other"}}}
	if got := v.Concerned(p); len(got) != 0 {
		t.Errorf("a pull request for another identifier concerns %v", got)
	}
}

func TestAnchors(t *testing.T) { // G01-801 to G01-804, G01-810, checks 213 to 218
	e1, e2 := string(eventID("e1")), string(eventID("e2"))
	k := string(key("O"))
	repo := addr("O").Coordinate()
	for _, c := range []struct {
		name   string
		tags   nostr.Tags
		ids    []string
		coords []string
	}{
		{"213 issue or patch by a", nostr.Tags{{"a", repo}, {"p", k}, {"subject", "x"}}, nil, []string{repo}},
		{"213 comment by A", nostr.Tags{{"A", repo}, {"K", "30617"}, {"P", k}}, nil, []string{repo}},
		{"213 note by q, coordinate", nostr.Tags{{"q", repo}}, nil, []string{repo}},
		{"213 reaction, label or status by e", nostr.Tags{{"e", e1, "", "root"}, {"p", k}}, []string{e1}, nil},
		{"214 reply by E and e", nostr.Tags{{"E", e1}, {"e", e2}}, []string{e1, e2}, nil},
		{"215 quote by q, id", nostr.Tags{{"q", e1, "wss://relay.example", k}}, []string{e1}, nil},
		{"216 one good tag is enough", nostr.Tags{{"a", "30617:" + k + ":unknown"}, {"q", e1}}, []string{e1}, []string{"30617:" + k + ":unknown"}},
		{"217 nothing", nostr.Tags{}, nil, nil},
		{"217 tags that point at nothing", nostr.Tags{{"p", k}, {"r", e1}, {"t", e1}, {"d", repo}, {"ee", e1}, {"c", e1}, {"i", e1}, {"I", e1}, {"", e1}, {}}, nil, nil},
		{"218 a colon in the identifier", nostr.Tags{{"a", "30617:" + k + ":a:b:c"}}, nil, []string{"30617:" + k + ":a:b:c"}},
		{"801 a replaceable event", nostr.Tags{{"a", "10317:" + k + ":"}, {"a", "0:" + k + ":"}, {"a", "3:" + k + ":"}}, nil, []string{"10317:" + k + ":", "0:" + k + ":", "3:" + k + ":"}},
		{"801 an addressable event", nostr.Tags{{"a", "30023:" + k + ":post"}, {"A", "39999:" + k + ":"}}, nil, []string{"30023:" + k + ":post", "39999:" + k + ":"}},
		{"803 the first value only", nostr.Tags{{"e", "x", e1}, {"a", "x", repo}}, nil, nil},
		{"803 once each", nostr.Tags{{"e", e1}, {"E", e1}, {"q", e1}, {"a", repo}, {"A", repo}}, []string{e1}, []string{repo}},
		{"803 garbage around it", nostr.Tags{{"e", " " + e1}, {"e", e1 + "\n"}, {"e", "nostr:" + e1}, {"q", "<" + e1 + ">"}, {"a", " " + repo}, {"a", "nostr:" + repo}}, nil, nil},
		{"803 npubs and notes", nostr.Tags{{"e", key("O").Npub()}, {"a", "30617:" + key("O").Npub() + ":tool"}, {"q", key("O").Npub()}}, nil, nil},
		{"803 capitals", nostr.Tags{{"e", strings.ToUpper(e1)}, {"a", "30617:" + strings.ToUpper(k) + ":tool"}}, nil, nil},
		{"803 lengths", nostr.Tags{{"e", e1[1:]}, {"e", e1 + "0"}, {"e", ""}, {"e"}, {"a", ""}, {"a"}, {"q"}}, nil, nil},
		{"803 an id where a coordinate belongs", nostr.Tags{{"a", e1}, {"A", e1}}, nil, nil},
		{"803 a coordinate where an id belongs", nostr.Tags{{"e", repo}, {"E", repo}}, nil, nil},
		{"803 kinds without a coordinate", nostr.Tags{{"a", "1:" + k + ":"}, {"a", "1621:" + k + ":x"}, {"a", "20000:" + k + ":"}, {"a", "40000:" + k + ":x"}}, nil, nil},
		{"803 kinds in other spellings", nostr.Tags{{"a", "030617:" + k + ":tool"}, {"a", "+30617:" + k + ":tool"}, {"a", "-0:" + k + ":"}, {"a", ":" + k + ":"}, {"a", "99999999999999999999:" + k + ":"}, {"a", "0x7799:" + k + ":tool"}}, nil, nil},
		{"803 a replaceable event has no identifier", nostr.Tags{{"a", "0:" + k + ":x"}}, nil, nil},
		{"803 unfinished", nostr.Tags{{"a", "30617:" + k}, {"a", "30617:"}, {"a", "30617"}, {"a", ":"}}, nil, nil},
		{"810 other tags change nothing", append(nostr.Tags{{"nonce", "1", "2"}, {"client", e1}, {"alt", repo}}, nostr.Tag{"e", e1}, nostr.Tag{"t", "a"}, nostr.Tag{"t", "b"}), []string{e1}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, coords := grasp.Anchors(event(1, "X", 1, eventID("x"), c.tags...))
			var ids []string
			for _, id := range got {
				ids = append(ids, string(id))
			}
			if !slices.Equal(ids, c.ids) || !slices.Equal(coords, c.coords) {
				t.Errorf("anchors %v and %v, want %v and %v", ids, coords, c.ids, c.coords)
			}
		})
	}
}

func TestCoordinateOf(t *testing.T) { // N-009, N-010, G01-801 (d)
	k := string(key("O"))
	for _, c := range []struct {
		kind int
		tags nostr.Tags
		want string
	}{
		{30617, nostr.Tags{{"d", "tool"}}, "30617:" + k + ":tool"},
		{30617, nostr.Tags{{"d", "a:b"}}, "30617:" + k + ":a:b"},
		{30617, nostr.Tags{{"x"}, {"d", "one"}, {"d", "two"}}, "30617:" + k + ":one"},
		{30617, nostr.Tags{{"d"}, {"d", "two"}}, "30617:" + k + ":"},
		{39999, nil, "39999:" + k + ":"},
		{0, nostr.Tags{{"d", "x"}}, "0:" + k + ":"},
		{3, nil, "3:" + k + ":"},
		{10317, nil, "10317:" + k + ":"},
		{1, nostr.Tags{{"d", "x"}}, ""},
		{5, nil, ""},
		{1621, nil, ""},
		{20000, nil, ""},
		{40000, nostr.Tags{{"d", "x"}}, ""},
	} {
		ev := event(c.kind, "O", 1, eventID("x"), c.tags...)
		if got := grasp.CoordinateOf(ev); got != c.want {
			t.Errorf("kind %d, %v: %q, want %q", c.kind, c.tags, got, c.want)
		}
	}
	for _, c := range []struct {
		kind                                int
		replaceable, addressable, ephemeral bool
	}{
		{0, true, false, false}, {1, false, false, false}, {3, true, false, false}, {4, false, false, false},
		{9999, false, false, false}, {10000, true, false, false}, {19999, true, false, false},
		{20000, false, false, true}, {29999, false, false, true}, {30000, false, true, false},
		{39999, false, true, false}, {40000, false, false, false}, {-1, false, false, false},
	} {
		if grasp.Replaceable(c.kind) != c.replaceable || grasp.Addressable(c.kind) != c.addressable || grasp.Ephemeral(c.kind) != c.ephemeral {
			t.Errorf("kind %d is in the wrong class", c.kind)
		}
	}
}

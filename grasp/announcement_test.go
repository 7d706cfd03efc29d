package grasp_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

func TestAnnouncementParsing(t *testing.T) { // G01-101, G01-102, G01-104, G01-110, G01-114
	m1, m2 := string(key("M1")), string(key("M2"))
	many := func(name string, n int, value func(i int) string) nostr.Tag {
		tag := nostr.Tag{name}
		for i := range n {
			tag = append(tag, value(i))
		}
		return tag
	}
	aKey := func(i int) string { return sha256hex(fmt.Sprint("maintainer ", i)) }
	aURL := func(i int) string { return fmt.Sprintf("https://%d.example/x.git", i) }

	type want struct {
		lists       bool
		maintainers string // names, or hex of the nameless
		clone       int    // how many, if not 0
	}
	for _, c := range []struct {
		name string
		tags nostr.Tags
		want want
		rule string // of the refusal, if one is wanted
	}{
		{
			name: "125 both", want: want{lists: true, clone: 1},
			tags: nostr.Tags{{"d", "tool"}, {"clone", ourClone}, {"relays", ourRelay}},
		},
		{
			name: "126 only clone", want: want{clone: 1},
			tags: nostr.Tags{{"d", "tool"}, {"clone", ourClone}, {"relays", "wss://other.example"}},
		},
		{
			name: "126 only relays", want: want{clone: 1},
			tags: nostr.Tags{{"d", "tool"}, {"clone", "https://other.example/x.git"}, {"relays", ourRelay}},
		},
		{
			name: "126 neither", tags: nostr.Tags{{"d", "tool"}},
		},
		{
			name: "126 tags mixed up", want: want{clone: 1},
			tags: nostr.Tags{{"d", "tool"}, {"clone", ourRelay}, {"relays", ourClone}},
		},
		{
			name: "126 another tag names us", tags: nostr.Tags{{"d", "tool"}, {"web", ourClone}, {"relay", ourRelay}},
		},
		{
			name: "127 a longer name", want: want{clone: 1},
			tags: nostr.Tags{{"d", "tool"}, {"clone", "https://git.example.com.evil.net/x.git"}, {"relays", "wss://git.example.com.evil.net"}},
		},
		{
			name: "128 spellings", want: want{lists: true, clone: 1},
			tags: nostr.Tags{{"d", "tool"}, {"clone", "http://GIT.example.com:443/x.git"}, {"relays", "ws://git.EXAMPLE.com/"}},
		},
		{
			name: "129 relay with a path", want: want{clone: 1},
			tags: nostr.Tags{{"d", "tool"}, {"clone", ourClone}, {"relays", ourRelay + "/other/path"}},
		},
		{
			name: "130 two clone tags", want: want{lists: true, clone: 2},
			tags: nostr.Tags{{"d", "tool"}, {"clone", "https://other.example/x.git"}, {"clone", ourClone}, {"relays", ourRelay}},
		},
		{
			name: "104 second values", want: want{lists: true, clone: 2},
			tags: nostr.Tags{{"d", "tool"}, {"clone", "https://other.example/x.git", ourClone}, {"relays", "wss://other.example", ourRelay}},
		},
		{
			name: "104 empty values", want: want{lists: true, clone: 1},
			tags: nostr.Tags{{"d", "tool"}, {"clone", "", ourClone, ""}, {"clone"}, {"relays", "", ourRelay}, {}, {""}},
		},
		{
			name: "102 an alias, and the two need not be one", want: want{lists: true, clone: 1},
			tags: nostr.Tags{{"d", "tool"}, {"clone", "http://alias.example.org:8080/x.git"}, {"relays", ourRelay}},
		},
		{
			name: "254 only below /prs/", want: want{clone: 1},
			tags: nostr.Tags{{"d", "tool"}, {"clone", "https://git.example.com/prs/npub1x/tool.git"}, {"relays", ourRelay}},
		},
		{
			name: "143 garbage among the maintainers",
			want: want{maintainers: "M1 M2"},
			tags: nostr.Tags{{"d", "tool"}, {"maintainers", "garbage", m1, "", m1[1:], m1 + "00", "npub1garbage", " " + m1, "\x00", m2}},
		},
		{
			name: "114 npubs, capitals and repetitions",
			want: want{maintainers: "M1 M2"},
			tags: nostr.Tags{{"d", "tool"}, {"maintainers", strings.ToUpper(m1), key("M2").Npub(), m1}, {"maintainers", m2, key("M1").Npub()}},
		},
		{
			name: "114 several tags", want: want{maintainers: "M1 M2"},
			tags: nostr.Tags{{"d", "tool"}, {"maintainers", m1}, {"maintainers", m2}},
		},
		{
			name: "219 roles are no maintainers",
			tags: nostr.Tags{{"d", "tool"}, {"M", m1}, {"m", m2}, {"o", m2}, {"p", m1}},
		},
		{name: "104 no d", tags: nostr.Tags{{"clone", ourClone}}, rule: "G01-104"},
		{name: "104 d without a value", tags: nostr.Tags{{"d"}, {"d", "tool"}}, rule: "H-104"},
		{name: "104 the first d counts", tags: nostr.Tags{{"d", "tool"}, {"d", ".."}}},
		{name: "11 empty d", tags: nostr.Tags{{"d", ""}}, rule: "H-104"},
		{name: "11 d is two dots", tags: nostr.Tags{{"d", ".."}}, rule: "H-104"},
		{name: "11 d with a slash", tags: nostr.Tags{{"d", "a/b"}}, rule: "H-104"},
		{name: "11 d with a backslash", tags: nostr.Tags{{"d", `a\b`}}, rule: "H-104"},
		{name: "11 d of 300 bytes", tags: nostr.Tags{{"d", strings.Repeat("a", 300)}}, rule: "H-104"},
		{name: "11 d with NUL", tags: nostr.Tags{{"d", "a\x00"}}, rule: "H-104"},
		{
			name: "110 as many as may be", want: want{clone: 100},
			tags: nostr.Tags{{"d", "tool"}, many("maintainers", 0, aKey), many("clone", 100, aURL), many("relays", 100, aURL)},
		},
		{name: "256 ten thousand maintainers", tags: nostr.Tags{{"d", "tool"}, many("maintainers", 10_000, aKey)}, rule: "G01-110"},
		{name: "110 one maintainer too many", tags: nostr.Tags{{"d", "tool"}, many("maintainers", 501, aKey)}, rule: "G01-110"},
		{name: "110 one clone URL too many", tags: nostr.Tags{{"d", "tool"}, many("clone", 101, aURL)}, rule: "G01-110"},
		{name: "110 one relay too many", tags: nostr.Tags{{"d", "tool"}, many("relays", 101, aURL)}, rule: "G01-110"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ev := event(grasp.KindAnnouncement, "O", 1, eventID("x"), c.tags...)
			a, err := site(t).Announcement(ev)
			if c.rule != "" {
				if r := refusal(t, err); r.Rule != c.rule || r.Prefix != grasp.Invalid {
					t.Errorf("refused by %s, %s, want invalid by %s", r.Rule, r.Prefix, c.rule)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if a.Addr != (grasp.Addr{Owner: key("O"), ID: "tool"}) || a.Event != ev {
				t.Errorf("parsed %v of %p", a.Addr, a.Event)
			}
			var m []string
			for _, k := range a.Maintainers {
				m = append(m, nameOf(k))
			}
			slices.Sort(m)
			if got := strings.Join(m, " "); got != c.want.maintainers {
				t.Errorf("maintainers: %s, want %s", got, c.want.maintainers)
			}
			if a.ListsUs != c.want.lists {
				t.Errorf("ListsUs = %t", a.ListsUs)
			}
			if c.want.clone != 0 && len(a.Clone) != c.want.clone {
				t.Errorf("clone: %d values, want %d", len(a.Clone), c.want.clone)
			}
		})
	}

	most := event(grasp.KindAnnouncement, "O", 1, eventID("x"), nostr.Tag{"d", "tool"}, many("maintainers", 500, aKey))
	if a, err := site(t).Announcement(most); err != nil || len(a.Maintainers) != 500 {
		t.Errorf("500 maintainers: %d, %v", len(a.Maintainers), err)
	}
}

func TestMaintainers(t *testing.T) { // G01-201 to G01-205
	for _, c := range []struct {
		name  string
		facts []fact
		owner string
		want  string
	}{
		{"201 the owner alone", []fact{hosts("O")}, "O", "O"},
		{"201 nothing announced, nobody", []fact{hosts("O", "M1")}, "X", ""},
		{"201 who is only named has no repository", []fact{hosts("O", "M1")}, "M1", ""},
		{"148 named without announcement", []fact{hosts("O", "M1")}, "O", "M1 O"},
		{"149 a chain, waiting", []fact{hosts("O", "M1"), waits("M1", "M2")}, "O", "M1 M2 O"},
		{"149 a chain begins with a waiting owner", []fact{waits("O", "M1"), waits("M1", "M2")}, "O", "M1 M2 O"},
		{"258 a chain through elsewhere", []fact{hosts("O", "M1"), elsewhere("M1", "M2")}, "O", "M1 M2 O"},
		{"201 a chain through the withdrawn", []fact{hosts("O", "M1"), withdrew("M1", "M2")}, "O", "M1 M2 O"},
		{"201 no limit of depth", []fact{hosts("O", "A"), elsewhere("A", "B"), elsewhere("B", "C"), elsewhere("C", "D"), elsewhere("D", "E"), elsewhere("E", "F"), elsewhere("F", "G"), elsewhere("G", "H"), elsewhere("H", "I"), elsewhere("I", "J")}, "O", "A B C D E F G H I J O"},
		{"150 a circle", []fact{hosts("O", "M1"), hosts("M1", "O")}, "O", "M1 O"},
		{"150 a circle, from the other side", []fact{hosts("O", "M1"), hosts("M1", "O")}, "M1", "M1 O"},
		{"150 self-listing", []fact{hosts("O", "O")}, "O", "O"},
		{"150 a larger circle", []fact{hosts("O", "M1"), hosts("M1", "M2"), hosts("M2", "O")}, "M2", "M1 M2 O"},
		{"151 directed", []fact{hosts("O", "M1"), hosts("M1")}, "M1", "M1"},
		{"204 an unrelated owner", []fact{hosts("O", "M1"), hosts("X")}, "X", "X"},
		{"259 the announcement of M1 is deleted", []fact{hosts("O", "M1"), waits("M1", "M2"), without("M1")}, "O", "M1 O"},
		{"153 removed", []fact{hosts("O", "M1"), waits("M1", "M2"), hosts("O")}, "O", "O"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := keysOf(view(t, c.facts...).Maintainers(key(c.owner))); got != c.want {
				t.Errorf("maintainers of %s: %q, want %q", c.owner, got, c.want)
			}
		})
	}
}

// The set has a cap, and whoever is nearest to the owner is in it (G01-201).
func TestMaintainersCap(t *testing.T) {
	v := grasp.View{ID: repoID, Announcements: map[grasp.PubKey]grasp.Announcement{}}
	tree := func(i int) grasp.PubKey { return grasp.PubKey(sha256hex(fmt.Sprint("tree ", i))) }
	for i := range 100 { // O lists 10, each of whom lists 10, …
		a := grasp.Announcement{Addr: grasp.Addr{Owner: tree(i), ID: repoID}}
		for j := range 10 + 10*min(i, 1) {
			a.Maintainers = append(a.Maintainers, tree(1+i*20+j))
		}
		v.Announcements[tree(i)] = a
	}
	m := v.Maintainers(tree(0))
	if len(m) != grasp.MaxMaintainers {
		t.Errorf("%d members, want %d", len(m), grasp.MaxMaintainers)
	}
	for i := range 11 {
		if !m.Has(tree(i)) {
			t.Errorf("member %d, near the owner, is missing", i)
		}
	}
	// The hundreds whom each of hundreds names are read up to a limit; who is nearest is found.
	v.Announcements = map[grasp.PubKey]grasp.Announcement{}
	var first []grasp.PubKey
	for i := range grasp.MaxMaintainersListed {
		first = append(first, tree(i+1))
	}
	for i := range grasp.MaxMaintainersListed {
		list := slices.Clone(first)
		if i == grasp.MaxMaintainersListed-1 {
			list[0] = tree(9999)
		}
		v.Announcements[tree(i)] = grasp.Announcement{Maintainers: list}
	}
	m = v.Maintainers(tree(0))
	if len(m) != 1+len(first) || m.Has(tree(9999)) {
		t.Errorf("%d members of those who name each other, want %d", len(m), 1+len(first))
	}
	for range 20 {
		again := v.Maintainers(tree(0))
		for k := range m {
			if !again.Has(k) {
				t.Fatal("the same question has two answers")
			}
		}
	}
}

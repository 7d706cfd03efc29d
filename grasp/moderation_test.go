package grasp_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

// rule reads "deny author …", "allow repository …" and so on.
func rule(t testing.TB, number int, source grasp.Source, text, reason string) grasp.Rule {
	t.Helper()
	f := strings.SplitN(text, " ", 3)
	action, err := grasp.ParseAction(f[0])
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	topic, err := grasp.ParseTopic(f[1])
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	subject, err := grasp.ParseSubject(topic, f[2])
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	r := grasp.Rule{Source: source, Number: number, Action: action, Subject: subject, Reason: reason}
	if err := r.Check(); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return r
}

func moderation(t testing.TB, texts ...string) *grasp.Moderation {
	t.Helper()
	var rules []grasp.Rule
	for i, s := range texts {
		rules = append(rules, rule(t, i+1, grasp.FromTable, s, ""))
	}
	return grasp.NewModeration("", rules)
}

func signed(kind int, author grasp.PubKey, tags ...nostr.Tag) *nostr.Event {
	return &nostr.Event{ID: strings.Repeat("e", 64), Kind: kind, PubKey: string(author), Tags: tags}
}

// G01-109, check 255: what lists about repositories mean. A denied one is refused whatever allows
// it; a list of those that are allowed restricts only if there is one.
func TestModerationOfRepositories(t *testing.T) {
	alice, bob := key("A"), key("B")
	x := func(k grasp.PubKey) grasp.Addr { return grasp.Addr{Owner: k, ID: "x"} }
	for _, c := range []struct {
		name  string
		rules []string
		repo  grasp.Addr
		taken bool // as a new one
		kept  bool // if it is here
	}{
		{"an open server", nil, x(bob), true, true},
		{"an allowed owner", []string{"allow repository " + alice.Npub()}, x(alice), true, true},
		{"an allowed key", []string{"allow author " + alice.Npub()}, x(alice), true, true},
		{"somebody else", []string{"allow author " + alice.Npub()}, x(bob), false, true},
		{"hex", []string{"allow repository " + string(alice)}, x(alice), true, true},
		{"an allowed repository", []string{"allow repository " + alice.Npub() + "/x"}, x(alice), true, true},
		{"another of hers", []string{"allow repository " + alice.Npub() + "/xy"}, x(alice), false, true},
		{"an allowed identifier", []string{"allow repository x"}, x(bob), true, true},
		{"a list of kinds is none of repositories", []string{"allow kind 1"}, x(bob), true, true},
		{"a denied identifier", []string{"deny repository x"}, x(bob), false, false},
		{"a denied owner", []string{"deny repository " + bob.Npub()}, x(bob), false, false},
		{"a denied key", []string{"deny author " + bob.Npub()}, x(bob), false, false},
		{"denied after it was allowed", []string{"allow author " + alice.Npub(), "deny repository x"}, x(alice), false, false},
		{"denied before it is allowed", []string{"deny repository x", "allow author " + alice.Npub()}, x(alice), false, false},
		{"another of hers is denied", []string{"deny repository " + alice.Npub() + "/y"}, x(alice), true, true},
		{"a name that looks like a key", []string{"deny repository " + string(alice)}, grasp.Addr{Owner: bob, ID: string(alice)}, true, true},
	} {
		m := moderation(t, c.rules...)
		if taken := m.Newcomer(c.repo) == nil; taken != c.taken {
			t.Errorf("%s: taken is %v", c.name, taken)
		}
		if kept := m.Repo(c.repo) == nil; kept != c.kept {
			t.Errorf("%s: kept is %v", c.name, kept)
		}
		if f := m.Newcomer(c.repo); f != nil && f.Rule == nil && f.Refusal().Prefix != grasp.Restricted {
			t.Errorf("%s: the answer begins %q", c.name, f.Refusal().Prefix)
		}
		if x := m.ExplainRepo(c.repo); x.Refused == c.taken || !strings.HasPrefix(x.Text, map[bool]string{true: "accepted: ", false: "refused: "}[c.taken]) {
			t.Errorf("%s: explained as %+v", c.name, x)
		}
	}
}

// What rules say about events; what a repository's rule says about the events around it.
func TestModerationOfEvents(t *testing.T) {
	alice, bob := key("A"), key("B")
	denied := []string{"deny repository " + alice.Npub() + "/x"}
	hers, his := nostr.Tag{"a", "30617:" + string(alice) + ":x"}, nostr.Tag{"A", "30617:" + string(bob) + ":x"}
	for _, c := range []struct {
		name  string
		rules []string
		ev    *nostr.Event
		want  string // what the refusal says; "" if it is taken
	}{
		{"no rules", nil, signed(1, bob), ""},
		{"a denied key", []string{"deny author " + bob.Npub()}, signed(1, bob), "takes nothing from this key"},
		{"another key", []string{"deny author " + bob.Npub()}, signed(1, alice), ""},
		{"a denied key asks for deletion", []string{"deny author " + bob.Npub()}, signed(5, bob), "takes nothing from this key"},
		{"a denied key vanishes, N-035", []string{"deny author " + bob.Npub()}, signed(62, bob), ""},
		{"a denied event", []string{"deny event " + strings.Repeat("e", 64)}, signed(1, bob), "does not take this event"},
		{"another event", []string{"deny event " + strings.Repeat("d", 64)}, signed(1, bob), ""},
		{"a denied kind", []string{"deny kind 1621"}, signed(1621, bob), "events of kind 1621"},
		{"another kind", []string{"deny kind 1621"}, signed(1617, bob), ""},
		{"a kind on the list", []string{"allow kind 1621"}, signed(1621, bob), ""},
		{"a kind that is not", []string{"allow kind 1621"}, signed(1, bob), "its own list only, and 1 is not"},
		{"an announcement is on every list", []string{"allow kind 1621"}, signed(30617, bob), ""},
		{"a state is on every list", []string{"allow kind 1621"}, signed(30618, bob), ""},
		{"denied and allowed", []string{"allow kind 1621", "deny kind 1621"}, signed(1621, bob), "events of kind 1621"},
		{"its announcement", denied, signed(30617, alice, nostr.Tag{"d", "x"}), "does not take this repository"},
		{"its owner's state", denied, signed(30618, alice, nostr.Tag{"d", "x"}), "does not take this repository"},
		{"somebody else's of that name", denied, signed(30617, bob, nostr.Tag{"d", "x"}), ""},
		{"an issue of it", denied, signed(1621, bob, hers), "does not take this repository"},
		{"an issue of it and another", denied, signed(1621, bob, hers, his), ""},
		{"an issue of another", denied, signed(1621, bob, his), ""},
		{"an issue of a denied key's repository", []string{"deny author " + alice.Npub()}, signed(1621, bob, hers), "takes nothing from this key"},
		{"its deletion", denied, signed(5, alice, hers), ""},
		{"a list of repositories says nothing about events", []string{"allow repository y"}, signed(1621, bob, hers), ""},
	} {
		m := moderation(t, c.rules...)
		f := m.Event(c.ev)
		if (f == nil) != (c.want == "") {
			t.Errorf("%s: got %+v", c.name, f)
		} else if f != nil && !strings.Contains(f.Refusal().Text, c.want) {
			t.Errorf("%s: says %q, want %q", c.name, f.Refusal().Text, c.want)
		}
		if x := m.ExplainEvent(c.ev); x.Refused != (f != nil) {
			t.Errorf("%s: explained as %+v", c.name, x)
		}
	}
	var none *grasp.Moderation
	if none.Event(signed(1, bob)) != nil || none.Newcomer(grasp.Addr{Owner: bob, ID: "x"}) != nil || len(none.Rules()) > 0 || none.Addresses() != nil {
		t.Error("no rules refuse something")
	}
}

// An explanation names every rule that matched, and the one that decided: the configuration comes
// first, then the table, by number; and deny beats allow.
func TestExplain(t *testing.T) {
	alice := key("A")
	repo := grasp.Addr{Owner: alice, ID: "x"}
	m := grasp.NewModeration("ops@example.com", []grasp.Rule{
		rule(t, 7, grasp.FromTable, "deny repository x", "a trademark"),
		rule(t, 3, grasp.FromTable, "allow author "+alice.Npub(), ""),
		rule(t, 9, grasp.FromTable, "deny author "+string(alice), "spam"),
		rule(t, 1, grasp.FromConfig, "allow repository y", ""),
		rule(t, 8, grasp.FromTable, "deny repository z", ""),
	})
	x := m.ExplainRepo(repo)
	var names []string
	for _, r := range x.Matched {
		names = append(names, r.Name())
	}
	if !slices.Equal(names, []string{"rule 3", "rule 7", "rule 9"}) {
		t.Errorf("matched %v", names)
	}
	if want := "refused: rule 7 (deny x): a trademark; it beats rule 3 (allow " + alice.Npub() + ")"; x.Text != want {
		t.Errorf("says %q\nwant %q", x.Text, want)
	}
	r := m.Repo(repo).Refusal()
	if r.Text != "this server does not take this repository: a trademark" || r.Hint != "ask the operator: ops@example.com" || r.Prefix != grasp.Restricted {
		t.Errorf("refused with %+v", r)
	}
	if x := m.ExplainRepo(grasp.Addr{Owner: key("B"), ID: "w"}); x.Text != "refused: it is not on the list of what is allowed (rule c1, rule 3)" {
		t.Errorf("says %q", x.Text)
	}
	if x := m.ExplainRepo(grasp.Addr{Owner: key("B"), ID: "y"}); x.Text != "accepted: rule c1 (allow y)" || x.Decided == nil {
		t.Errorf("says %q", x.Text)
	}
	if x := m.ExplainAuthor(key("B")); x.Text != "accepted: no rule is about it" {
		t.Errorf("says %q", x.Text)
	}
	if x := m.ExplainAuthor(alice); !x.Refused || x.Decided.Number != 9 {
		t.Errorf("says %+v", x)
	}
	if x := m.ExplainID(eventID("e1")); x.Refused {
		t.Errorf("says %+v", x)
	}
}

// Rules that would close the server by mistake, or mean nothing, are refused with what to do.
func TestRulesThatCannotBe(t *testing.T) {
	for _, c := range []struct{ action, topic, name, reason, want string }{
		{"deny", "kind", "30617", "", "cannot be denied"},
		{"deny", "kind", "30618", "", "cannot be denied"},
		{"deny", "kind", "5", "", "cannot be denied"},
		{"deny", "kind", "62", "", "cannot be denied"},
		{"deny", "kind", "70000", "", "up to 65535"},
		{"deny", "kind", "-1", "", "not a kind"},
		{"allow", "event", strings.Repeat("e", 64), "", "no list of allowed events"},
		{"allow", "address", "192.0.2.1", "", "no list of allowed addresses"},
		{"deny", "address", "example.com", "", "not an address"},
		{"deny", "event", "xyz", "", "64 lower-case hex digits"},
		{"deny", "author", "npub1", "", "not a key"},
		{"deny", "repository", "a/b", "", "npub1…/identifier"},
		{"deny", "repository", "x", "two\nlines", "one line"},
		{"deny", "repository", "x", strings.Repeat("x", grasp.MaxReason+1), "longer than"},
		{"", "repository", "x", "", "denies or allows"},
	} {
		action, _ := grasp.ParseAction(c.action)
		topic, err := grasp.ParseTopic(c.topic)
		if err != nil {
			t.Fatal(err)
		}
		r := grasp.Rule{Action: action, Subject: grasp.Subject{Topic: topic, Name: c.name}, Reason: c.reason}
		if err := r.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s %.20q: got %v, want %q", c.action, c.topic, c.name, err, c.want)
		}
		if m := grasp.NewModeration("", []grasp.Rule{r}); len(m.Rules()) > 0 {
			t.Errorf("%s %s %.20q is in force", c.action, c.topic, c.name)
		}
	}
	alice := key("A")
	for _, bad := range []string{"", ".", "a/b", "npub1nonsense", alice.Npub() + "/", alice.Npub() + "/a/b"} {
		if p, err := grasp.ParsePattern(bad); err == nil {
			t.Errorf("%q: got %v, want an error", bad, p)
		}
	}
	for _, good := range []string{"x", alice.Npub(), alice.Npub() + "/x"} {
		if p, err := grasp.ParsePattern(good); err != nil || p.String() != good {
			t.Errorf("%q: got %v, %v", good, p, err)
		}
	}
}

// Whatever the rules: their order does not change what is refused, a rule that denies more never
// lets more in, what denies a repository denies its announcement, and a subject is spelled as it
// is read.
func TestModerationHolds(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	ids := []string{"x", "y", "z"}
	any := func() string {
		action := []string{"deny", "allow"}[rnd.IntN(2)]
		switch rnd.IntN(5) {
		case 0:
			return action + " author " + people[rnd.IntN(len(people))].Npub()
		case 1:
			return action + " repository " + people[rnd.IntN(len(people))].Npub() + "/" + ids[rnd.IntN(len(ids))]
		case 2:
			return action + " repository " + ids[rnd.IntN(len(ids))]
		case 3:
			return action + " repository " + string(people[rnd.IntN(len(people))])
		}
		return action + " kind " + []string{"1", "1617", "1621"}[rnd.IntN(3)]
	}
	for range 2000 {
		var rules []grasp.Rule
		for i := range rnd.IntN(6) {
			rules = append(rules, rule(t, i+1, grasp.FromTable, any(), ""))
		}
		m := grasp.NewModeration("", rules)
		shuffled := slices.Clone(rules)
		rnd.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		for i := range shuffled {
			shuffled[i].Number = i + 1
		}
		other := grasp.NewModeration("", shuffled)
		fresh := rule(t, 100, grasp.FromTable, any(), "")
		more := grasp.NewModeration("", append(slices.Clone(rules), fresh))
		repo := grasp.Addr{Owner: people[rnd.IntN(len(people))], ID: ids[rnd.IntN(len(ids))]}
		ev := signed([]int{1, 1617, 1621}[rnd.IntN(3)], people[rnd.IntN(len(people))], nostr.Tag{"a", repo.Coordinate()})
		for _, s := range []grasp.Subject{fresh.Subject} {
			if back, err := grasp.ParseSubject(s.Topic, s.Name); err != nil || back != s {
				t.Fatalf("%v is read as %v, %v", s, back, err)
			}
		}
		refused, event := m.Newcomer(repo) != nil, m.Event(ev) != nil
		if refused != (other.Newcomer(repo) != nil) || event != (other.Event(ev) != nil) {
			t.Fatalf("the order of %v decides", rules)
		}
		if fresh.Action == grasp.Deny && (refused && more.Newcomer(repo) == nil || event && more.Event(ev) == nil) {
			t.Fatalf("%v lets in what %v refuse", fresh, rules)
		}
		if m.Repo(repo) != nil && (!refused || m.Event(signed(30617, repo.Owner, nostr.Tag{"d", repo.ID})) == nil) {
			t.Fatalf("%v: the repository is denied, and its announcement is not", rules)
		}
		if x := m.ExplainRepo(repo); x.Refused != refused {
			t.Fatalf("%v: explained as %+v", rules, x)
		}
	}
}

package grasp_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

func TestStateParsing(t *testing.T) { // G01-302 to G01-304, hardening §5
	c1, c2, t1 := string(oid("c1")), string(oid("c2")), string(oid("t1"))
	zero := string(grasp.ZeroOID)
	for _, c := range []struct {
		name string
		tags nostr.Tags // besides d
		refs string     // of the declared set
		head string
		vain string // refs that can never be satisfied
		rule string // of the refusal, if one is wanted
	}{
		{name: "302 a branch", tags: nostr.Tags{{"refs/heads/main", c1}}, refs: "main=c1"},
		{name: "302 branches and tags", tags: nostr.Tags{{"refs/heads/a/b", c1}, {"refs/tags/v1", t1}}, refs: "a/b=c1 tags/v1=t1"},
		{name: "302 nothing", tags: nostr.Tags{}},
		{name: "158 no object id", tags: nostr.Tags{{"refs/heads/main", "abc123"}}, vain: "main"},
		{name: "158 no object id beside one", tags: nostr.Tags{{"refs/heads/main", "abc123"}, {"refs/heads/dev", c1}}, refs: "dev=c1", vain: "main"},
		{name: "302 sha-256", tags: nostr.Tags{{"refs/heads/main", sha256hex("x")}}, vain: "main"},
		{name: "302 revision syntax", tags: nostr.Tags{{"refs/heads/main", c1 + "^{commit}"}}, vain: "main"},
		{name: "302 an option", tags: nostr.Tags{{"refs/heads/main", "--upload-pack=x"}}, vain: "main"},
		{name: "302 a refspec", tags: nostr.Tags{{"refs/heads/main", "+refs/*:refs/*"}}, vain: "main"},
		{name: "302 a newline", tags: nostr.Tags{{"refs/heads/main", c1 + "\n"}}, vain: "main"},
		{name: "159 peeled companion", tags: nostr.Tags{{"refs/tags/v1", t1}, {"refs/tags/v1^{}", c1}}, refs: "tags/v1=t1"},
		{name: "159 peeled companion first", tags: nostr.Tags{{"refs/tags/v1^{}", c1}, {"refs/tags/v1", t1}}, refs: "tags/v1=t1"},
		{name: "159 peeled companion without value", tags: nostr.Tags{{"refs/heads/main", c1}, {"refs/tags/v1^{}"}}, refs: "main=c1"},
		{name: "163 the commit of an annotated tag", tags: nostr.Tags{{"refs/tags/v1", c1}}, refs: "tags/v1=c1"},
		{name: "160 other namespaces", tags: nostr.Tags{{"refs/notes/x", c1}, {"refs/pull/1/head", c1}, {"refs/replace/x", c1}, {"refs/headsx/main", c1}, {"refs/x", "y"}, {"main", c1}, {"refs/heads/main", c1}}, refs: "main=c1"},
		{name: "160 PR refs are nobody's to declare", tags: nostr.Tags{{"refs/nostr/" + sha256hex("x"), c1}}},
		{name: "160 values behind the first", tags: nostr.Tags{{"refs/heads/main", c1, c2, "x"}}, refs: "main=c1"},
		{name: "161 twice, differently", tags: nostr.Tags{{"refs/heads/main", c1}, {"refs/heads/main", c2}}, rule: "G01-302"},
		{name: "161 twice, once zero", tags: nostr.Tags{{"refs/heads/main", c1}, {"refs/heads/main", zero}}, rule: "G01-302"},
		{name: "161 twice, once no object id", tags: nostr.Tags{{"refs/heads/main", "abc123"}, {"refs/heads/main", c1}}, rule: "G01-302"},
		{name: "302 twice, alike", tags: nostr.Tags{{"refs/heads/main", c1}, {"refs/heads/main", c1}}, refs: "main=c1"},
		{name: "302 twice, in capitals", tags: nostr.Tags{{"refs/heads/main", strings.ToUpper(c1)}, {"refs/heads/main", c1}}, refs: "main=c1"},
		{name: "302 capitals", tags: nostr.Tags{{"refs/heads/main", strings.ToUpper(c1)}}, refs: "main=c1"},
		{name: "302 zero", tags: nostr.Tags{{"refs/heads/main", zero}, {"refs/heads/dev", c1}}, refs: "dev=c1"},
		{name: "302 symbolic", tags: nostr.Tags{{"refs/heads/main", c1}, {"refs/heads/alias", "ref: refs/heads/main"}}, refs: "main=c1"},
		{name: "302 bad name", tags: nostr.Tags{{"refs/heads/a..b", c1}}, rule: "G01-302"},
		{name: "302 bad name, no commit", tags: nostr.Tags{{"refs/heads/a b", "abc123"}}, rule: "G01-302"},
		{name: "302 no name", tags: nostr.Tags{{"refs/heads/", c1}}, rule: "G01-302"},
		{name: "302 a lock file", tags: nostr.Tags{{"refs/heads/main.lock", c1}}, rule: "G01-302"},
		{name: "302 a newline in the name", tags: nostr.Tags{{"refs/heads/a\nb", c1}}, rule: "G01-302"},
		{name: "302 a climbing name", tags: nostr.Tags{{"refs/heads/../../config", c1}}, rule: "G01-302"},
		{name: "302 a long name", tags: nostr.Tags{{"refs/heads/" + strings.Repeat("a", 250), c1}}, rule: "G01-302"},
		{name: "302 an endless name", tags: nostr.Tags{{"refs/heads/" + strings.Repeat("a", 1<<20), c1}}, rule: "G01-302"},
		{name: "302 nasty names", tags: nostr.Tags{{"refs/heads/-x", c1}, {"refs/heads/$(id)", c1}, {"refs/heads/<b>", c1}}, refs: "-x=c1 $(id)=c1 <b>=c1"},
		{name: "302 empty value", tags: nostr.Tags{{"refs/heads/main", ""}}, rule: "G01-302"},
		{name: "302 no value", tags: nostr.Tags{{"refs/heads/main"}}, rule: "G01-302"},
		{name: "302 folder conflict", tags: nostr.Tags{{"refs/heads/a", c1}, {"refs/heads/a/b", c1}}, rule: "G01-302"},
		{name: "302 deep folder conflict", tags: nostr.Tags{{"refs/heads/a/b/c/d", c1}, {"refs/heads/a/b", c1}}, rule: "G01-302"},
		{name: "302 folder conflict of tags", tags: nostr.Tags{{"refs/tags/a/b", c1}, {"refs/tags/a", c1}}, rule: "G01-302"},
		{name: "302 folder conflict in vain", tags: nostr.Tags{{"refs/heads/a", c1}, {"refs/heads/a/b", "abc123"}}, rule: "G01-302"},
		{name: "302 no folder conflict with zero", tags: nostr.Tags{{"refs/heads/a", c1}, {"refs/heads/a/b", zero}}, refs: "a=c1"},
		{name: "302 no folder conflict", tags: nostr.Tags{{"refs/heads/a", c1}, {"refs/heads/a-b/c", c1}, {"refs/tags/a/b", c1}}, refs: "a=c1 a-b/c=c1 tags/a/b=c1"},
		{name: "302 empty tags", tags: nostr.Tags{{}, {""}, {"refs/heads/main", c1}}, refs: "main=c1"},

		{name: "303 HEAD", tags: nostr.Tags{{"HEAD", "ref: refs/heads/main"}, {"refs/heads/main", c1}}, refs: "main=c1", head: "main"},
		{name: "303 HEAD last", tags: nostr.Tags{{"refs/heads/main", c1}, {"HEAD", "ref: refs/heads/main"}}, refs: "main=c1", head: "main"},
		{name: "162 HEAD without ref", tags: nostr.Tags{{"HEAD", "refs/heads/develop"}, {"refs/heads/develop", c1}}, refs: "develop=c1", head: "develop"},
		{name: "303 HEAD names a tag", tags: nostr.Tags{{"HEAD", "ref: refs/tags/v1"}, {"refs/tags/v1", c1}}, refs: "tags/v1=c1"},
		{name: "303 HEAD is an object id", tags: nostr.Tags{{"HEAD", c1}, {"refs/heads/main", c1}}, refs: "main=c1"},
		{name: "303 HEAD is a bare name", tags: nostr.Tags{{"HEAD", "main"}, {"refs/heads/main", c1}}, refs: "main=c1"},
		{name: "303 HEAD twice the word", tags: nostr.Tags{{"HEAD", "ref: ref: refs/heads/main"}}},
		{name: "303 HEAD without the space", tags: nostr.Tags{{"HEAD", "ref:refs/heads/main"}}},
		{name: "303 HEAD of a bad name", tags: nostr.Tags{{"HEAD", "ref: refs/heads/../x"}}},
		{name: "303 HEAD with a newline", tags: nostr.Tags{{"HEAD", "ref: refs/heads/main\n"}}},
		{name: "303 HEAD is empty", tags: nostr.Tags{{"HEAD"}, {"HEAD", ""}}},
		{name: "303 HEAD in small letters", tags: nostr.Tags{{"head", "ref: refs/heads/main"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ev := event(grasp.KindState, "O", 7, eventID("s"), append(nostr.Tags{{"d", repoID}}, c.tags...)...)
			s, err := grasp.ParseState(ev)
			if c.rule != "" {
				r := refusal(t, err)
				if r.Rule != c.rule || r.Prefix != grasp.Invalid {
					t.Errorf("refused by %s, %s, want invalid by %s", r.Rule, r.Prefix, c.rule)
				}
				if len(r.Text) > 600 {
					t.Errorf("the refusal is %d bytes long", len(r.Text))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if want := refs(c.refs); !maps.Equal(s.Refs, want) {
				t.Errorf("declares %v, want %v", s.Refs, want)
			}
			var head grasp.RefName
			if c.head != "" {
				head = ref(c.head)
			}
			if s.Head != head {
				t.Errorf("HEAD %q, want %q", s.Head, head)
			}
			var vain []string
			for _, r := range s.Unsatisfiable {
				vain = append(vain, shortRef(r))
			}
			if got := strings.Join(vain, " "); got != c.vain {
				t.Errorf("in vain: %q, want %q", got, c.vain)
			}
			if s.Empty() != (c.refs == "" && c.vain == "") {
				t.Errorf("Empty() = %t", s.Empty())
			}
			if s.Author != key("O") || s.Repo != repoID || s.At != 7 || s.ID != eventID("s") || s.Event != ev {
				t.Errorf("parsed %+v", s)
			}
		})
	}
	for _, d := range []nostr.Tags{{}, {{"d"}}, {{"d", ""}}, {{"d", ".."}}, {{"d", "a/b"}}, {{"d", "a\x00"}}} {
		if _, err := grasp.ParseState(event(grasp.KindState, "O", 7, eventID("s"), d...)); err == nil {
			t.Errorf("a state with the tags %q is taken", d)
		}
	}
}

func TestAuthoritativeState(t *testing.T) { // G01-308 to G01-311, N-009, checks 153, 154, 168 to 172
	low, high := strings.Repeat("0", 64), strings.Repeat("f", 64)
	tie := func(who, id string) fact {
		return func(t testing.TB, v *grasp.View) {
			s := state(t, who, 20, "main=c2")
			s.ID, s.Shelf = grasp.EventID(named(id, who+" "+id[:1])), grasp.Served
			v.States[s.Author] = append(v.States[s.Author], s)
		}
	}
	for _, c := range []struct {
		name  string
		facts []fact
		want  string
	}{
		{"none", []fact{hosts("O")}, "none"},
		{"308 the newest", []fact{hosts("O", "M1"), says("O", 10, "main=c1"), says("M1", 15, "main=c2")}, "M1@15"},
		{"168 an older one of another author", []fact{hosts("O", "M1"), says("O", 100, "main=c1"), says("M1", 50, "main=c2")}, "O@100"},
		{"165 what waits does not count", []fact{hosts("O"), says("O", 10, "main=c1"), pends("O", 20, "main=c2")}, "O@10"},
		{"204 a stranger's does not count", []fact{hosts("O"), hosts("X"), says("O", 10, "main=c1"), says("X", 20, "main=c2")}, "O@10"},
		{"153 nor one of a removed maintainer", []fact{hosts("O", "M1"), hosts("O"), says("O", 10, "main=c1"), says("M1", 20, "main=c2")}, "O@10"},
		{"154 an added maintainer's does", []fact{hosts("O"), hosts("O", "M1"), says("O", 10, "main=c1"), says("M1", 20, "main=c2")}, "M1@20"},
		{"172 nor one that declares nothing", []fact{hosts("O", "M1"), says("O", 10, "main=c1"), says("M1", 20, "")}, "O@10"},
		{"172 nor one that declares only a HEAD", []fact{hosts("O", "M1"), says("O", 10, "main=c1"), says("M1", 20, "HEAD=main")}, "O@10"},
		{"172 nor one that declares only zeros", []fact{hosts("O", "M1"), says("O", 10, "main=c1"), says("M1", 20, "main=0")}, "O@10"},
		{"009 the lower id of two", []fact{hosts("O", "M1"), tie("O", high), tie("M1", low)}, "M1 0"},
		{"009 the lower id of two, turned about", []fact{hosts("O", "M1"), tie("O", low), tie("M1", high)}, "O 0"},
		{"nothing announced", []fact{says("O", 10, "main=c1")}, "none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, ok := view(t, c.facts...).State(key("O"))
			if got := nameOf(s.ID); got != c.want || ok != (c.want != "none") {
				t.Errorf("the state is %s (%t), want %s", got, ok, c.want)
			}
		})
	}
}

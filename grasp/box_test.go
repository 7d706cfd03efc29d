package grasp_test

import (
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"

	"github.com/gitroost/gitroost/grasp"
)

// G06-07, check 232: which clone URLs name a box here, and which only look so.
func TestSiteBox(t *testing.T) {
	site, err := grasp.NewSite("https://git.example.com", "https://alias.example.net:8443")
	if err != nil {
		t.Fatal(err)
	}
	npub := key("P").Npub()
	for _, c := range []struct {
		url string
		id  string // "" means that it names none
	}{
		{"https://git.example.com/prs/" + npub + "/tool.git", "tool"},
		{"http://git.example.com/prs/" + npub + "/tool.git", "tool"},
		{"https://git.example.com:443/prs/" + npub + "/tool.git", "tool"},
		{"HTTPS://GIT.Example.COM/prs/" + npub + "/tool.git", "tool"},
		{"https://alias.example.net:8443/prs/" + npub + "/tool.git", "tool"},
		{"https://git.example.com/prs/" + npub + "/tool.git/", "tool"},
		{"https://git.example.com/prs/" + npub + "/tool.git.git", "tool.git"},
		{"https://git.example.com/prs/" + npub + "/my%20%F0%9F%9A%80%20repo.git", "my 🚀 repo"},
		{"https://git.example.com/prs/" + npub + "/my%20🚀%20repo.git", "my 🚀 repo"},
		{"https://git.example.com/prs/" + npub + "/%74oo%6c.git", "tool"},
		{"https://git.example.com/prs/" + npub + "/tool%2Egit", "tool"},
		{"https://git.example.com/prs/" + npub + "/a+b%3Ac.git", "a+b:c"},

		{"https://evil.net/prs/" + npub + "/tool.git", ""},
		{"https://git.example.com.evil.net/prs/" + npub + "/tool.git", ""},
		{"https://git.example.com@evil.net/prs/" + npub + "/tool.git", ""},
		{"https://user@git.example.com/prs/" + npub + "/tool.git", ""},
		{"https://git.example.com:8443/prs/" + npub + "/tool.git", ""},
		{"ssh://git.example.com/prs/" + npub + "/tool.git", ""},
		{"//git.example.com/prs/" + npub + "/tool.git", ""},
		{"/prs/" + npub + "/tool.git", ""},
		{"https://git.example.com/" + npub + "/tool.git", ""},
		{"https://git.example.com/PRS/" + npub + "/tool.git", ""},
		{"https://git.example.com//prs/" + npub + "/tool.git", ""},
		{"https://git.example.com/prs/" + string(key("P")) + "/tool.git", ""},
		{"https://git.example.com/prs/" + strings.ToUpper(npub) + "/tool.git", ""},
		{"https://git.example.com/prs/" + npub[:62] + "x/tool.git", ""},
		{"https://git.example.com/prs/" + npub + "/tool", ""},
		{"https://git.example.com/prs/" + npub + "/.git", ""},
		{"https://git.example.com/prs/" + npub + "/...git", ""},
		{"https://git.example.com/prs/" + npub + "/a%2Fb.git", ""},
		{"https://git.example.com/prs/" + npub + "/tool.git//", ""},
		{"https://git.example.com/prs/" + npub + "/tool.git/info/refs", ""},
		{"https://git.example.com/prs/" + npub + "/x/tool.git", ""},
		{"https://git.example.com/prs/" + npub + "/tool.git?x", ""},
		{"https://git.example.com/prs/" + npub + "/tool.git?", ""},
		{"https://git.example.com/prs/" + npub + "/tool.git#x", ""},
		{"https://git.example.com/prs/" + npub + "/tool.git#", ""},
		{"https://git.example.com/prs/" + npub, ""},
		{"https://git.example.com/prs/", ""},
		{"", ""},
		{"%", ""},
	} {
		box, ok := site.Box(c.url)
		want := grasp.Addr{Owner: key("P"), ID: c.id, Box: true}
		if ok != (c.id != "") || ok && box != want {
			t.Errorf("%s: %v, %t, want %q", c.url, box, ok, c.id)
		}
		if ok && site.ListsClone(c.url) { // check 254
			t.Errorf("%s names a box and a repository", c.url)
		}
	}
	below, err := grasp.NewSite("https://example.com/git/")
	if err != nil {
		t.Fatal(err)
	}
	if box, ok := below.Box("https://example.com/git/prs/" + npub + "/tool.git"); !ok || box != (grasp.Addr{Owner: key("P"), ID: "tool", Box: true}) {
		t.Errorf("behind a base path: %v, %t", box, ok)
	}
}

// G06-07, check 232: a pull request names its own author's box, for an identifier that it is about;
// nothing else lets in one that nothing here connects to.
func TestSitePull(t *testing.T) {
	site, err := grasp.NewSite("https://git.example.com")
	if err != nil {
		t.Fatal(err)
	}
	at := func(who, id string) string {
		return "https://git.example.com/prs/" + key(who).Npub() + "/" + id + ".git"
	}
	about := func(who, id string) nostr.Tag {
		return nostr.Tag{"a", grasp.Addr{Owner: key(who), ID: id}.Coordinate()}
	}
	clone := func(urls ...string) nostr.Tag { return append(nostr.Tag{"clone"}, urls...) }
	for _, c := range []struct {
		name string
		tags nostr.Tags
		want string // the identifiers of its boxes
	}{
		{"as it should be", nostr.Tags{about("X", "tool"), clone(at("P", "tool"))}, "tool"},
		{"among others", nostr.Tags{about("X", "tool"), clone("https://elsewhere.net/x.git", at("P", "tool"), at("P", "tool"))}, "tool"},
		{"in a second tag", nostr.Tags{about("X", "tool"), clone("https://elsewhere.net/x.git"), clone(at("P", "tool"))}, "tool"},
		{"for two", nostr.Tags{about("X", "tool"), about("X", "lib"), clone(at("P", "lib"), at("P", "tool"))}, "lib tool"},
		{"somebody else's", nostr.Tags{about("X", "tool"), clone(at("X", "tool"))}, ""},
		{"of another identifier", nostr.Tags{about("X", "tool"), clone(at("P", "tools"))}, ""},
		{"elsewhere", nostr.Tags{about("X", "tool"), clone("https://elsewhere.net/prs/" + key("P").Npub() + "/tool.git")}, ""},
		{"with a query", nostr.Tags{about("X", "tool"), clone(at("P", "tool") + "?x")}, ""},
		{"about nothing", nostr.Tags{clone(at("P", "tool"))}, ""},
		{"about an issue's kind", nostr.Tags{{"a", "30618:" + string(key("X")) + ":tool"}, clone(at("P", "tool"))}, ""},
		{"about no key", nostr.Tags{{"a", "30617:" + key("X").Npub() + ":tool"}, clone(at("P", "tool"))}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, kind := range []int{grasp.KindPull, grasp.KindPullUpdate} {
				p, err := site.Pull(event(kind, "P", 5, eventID("e1"), append(c.tags, nostr.Tag{"c", string(oid("p1"))})...))
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, b := range p.Boxes {
					if b.Owner != key("P") || !b.Box {
						t.Errorf("it names %v", b)
					}
					got = append(got, b.ID)
				}
				if strings.Join(got, " ") != c.want {
					t.Errorf("it names the boxes %v, want %q", got, c.want)
				}
				if _, err := grasp.AdmitPull(p, false); (err == nil) != (c.want != "") {
					t.Errorf("admitted: %v", err)
				}
			}
		})
	}
}

// G06-04, G06-05, G06-06, checks 227, 228, 229: what may be pushed to a box. No text says "not found",
// nor a digit of what was pushed.
func TestPushToABox(t *testing.T) {
	box := boxOf(key("P"))
	mine := func(name, tip string, change func(*grasp.Pull)) fact {
		return func(t testing.TB, v *grasp.View) {
			asks(name, grasp.Waiting, tip, "X")(t, v)
			p := v.Pulls[eventID(name)]
			p.Boxes = []grasp.Addr{box}
			if change != nil {
				change(&p)
			}
			v.Pulls[p.ID] = p
		}
	}
	for _, c := range []struct {
		name  string
		facts []fact
		now   string
		push  string
		rule  string // "" means granted
		text  string
		left  int // how many updates remain to be done
	}{
		{name: "an unknown id", push: "@e1=p1", left: 1},
		{name: "two", push: "@e1=p1 @e2=p2", left: 2},
		{name: "once more", now: "@e1=p1", push: "@e1=p1"},
		{name: "another commit", now: "@e1=p1", push: "@e1=p2", left: 1},
		{name: "its event is known", facts: []fact{mine("e1", "p1", nil)}, push: "@e1=p1", left: 1},
		{name: "nothing", push: "", rule: "H-244"},
		{name: "a branch", push: "main=c1", rule: "G06-04", text: "only pull requests"},
		{name: "a tag", push: "refs/tags/v1=c1", rule: "G06-04", text: "only pull requests"},
		{name: "a branch that is not there is not deleted either", push: "main=0", rule: "G06-04"},
		{name: "half an id", push: "refs/nostr/404=p1", rule: "G06-04", text: "only pull requests"},
		{name: "mixed", push: "@e1=p1 main=c1", rule: "G06-04"},
		{name: "twice", push: "@e1=p1 @e1=p2", rule: "H-253"},
		{name: "deleted", now: "@e1=p1", push: "@e1=0", rule: "G01-706", text: "cannot be deleted"},
		{name: "deleted and not there", push: "@e1=0"},
		{name: "not its tip", facts: []fact{mine("e1", "p1", nil)}, push: "@e1=p2", rule: "G06-05", text: "another commit"},
		{name: "mixed with one that is not its tip", facts: []fact{mine("e1", "p1", nil)}, push: "@e2=p2 @e1=p2", rule: "G06-05", text: "another commit"},
		{name: "of another signer", facts: []fact{mine("e1", "p1", func(p *grasp.Pull) {
			ev := *p.Event
			ev.PubKey = string(key("X"))
			p.Event = &ev
		})}, push: "@e1=p1", rule: "G06-05", text: "signed by somebody else"},
		{name: "of another identifier", facts: []fact{mine("e1", "p1", func(p *grasp.Pull) {
			p.Repos = []grasp.Addr{{Owner: key("X"), ID: "other"}}
		})}, push: "@e1=p1", rule: "G06-05", text: "another name"},
		{name: "that does not name it", facts: []fact{mine("e1", "p1", func(p *grasp.Pull) { p.Boxes = nil })}, push: "@e1=p1", rule: "G06-05", text: "does not name this address"},
		{name: "an issue's", facts: []fact{func(t testing.TB, v *grasp.View) { v.Foreign[eventID("e1")] = struct{}{} }}, push: "@e1=p1", rule: "G06-05", text: "is no pull request"},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := snapshot(c.now).Refs.Map()
			updates := push(now, c.push)
			g, err := view(t, c.facts...).CheckPush(box, now, updates)
			if c.rule == "" {
				if err != nil || len(g.Updates) != c.left || len(g.Pulls) != c.left {
					t.Fatalf("granted %+v, %v, want %d updates", g, err, c.left)
				}
				return
			}
			if err == nil {
				t.Fatalf("granted %+v", g)
			}
			r := refusal(t, err)
			if r.Rule != c.rule || !strings.Contains(r.Text, c.text) {
				t.Errorf("refused by %s: %q, want %s: %q", r.Rule, r.Text, c.rule, c.text)
			}
			for _, said := range []string{r.Text, r.Hint} {
				if strings.Contains(said, "404") || strings.Contains(said, "not found") || strings.Contains(said, "refs/nostr/"+c.push) {
					t.Errorf("the refusal says %q", said)
				}
			}
		})
	}
	stale := []grasp.RefChange{{Ref: grasp.PullRef(eventID("e1")), Old: oid("p2"), New: oid("p1")}}
	if _, err := view(t).CheckPush(box, grasp.Refs{}, stale); err == nil || refusal(t, err).Rule != "H-250" {
		t.Errorf("a push that expects something else: %v", err)
	}
}

// checkBoxEdits: PR refs are taken out of boxes, and nothing is ever put in (G06-10).
func (w *world) checkBoxEdits(t *testing.T, r grasp.RepoPlan) {
	if r.Head != "" || r.Repo.ID != repoID {
		t.Errorf("box of %s, %s: HEAD becomes %q", nameOf(r.Repo.Owner), r.Repo.ID, r.Head)
	}
	for _, e := range r.Edits {
		id, ok := e.Ref.Pull()
		if is, there := w.at[r.Repo].Refs.Tip(e.Ref); !ok || !there || is != e.Old || !e.New.IsZero() {
			t.Errorf("box of %s: edit %+v", nameOf(r.Repo.Owner), e)
		}
		if p, known := w.view.Pulls[id]; known && p.Tip == e.Old && p.Event.PubKey == string(r.Repo.Owner) {
			for _, a := range p.Repos {
				if a.ID == repoID {
					t.Errorf("box of %s: %s loses its pull request", nameOf(r.Repo.Owner), nameOf(id))
				}
			}
		}
	}
}

// What names a box names exactly one, and is a clone URL of no repository here.
func FuzzSiteBox(f *testing.F) {
	site, err := grasp.NewSite("https://git.example.com", "http://127.0.0.1:7334")
	if err != nil {
		f.Fatal(err)
	}
	npub := key("P").Npub()
	for _, seed := range []string{
		"https://git.example.com/prs/" + npub + "/tool.git", "HTTP://127.0.0.1:7334/prs/" + npub + "/a%20b.git/",
		"https://git.example.com/prs/" + npub + "/%2e%2e.git", "https://git.example.com/prs//tool.git", "%zz", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		box, ok := site.Box(raw)
		if !ok {
			return
		}
		if !box.Valid() || !box.Box || strings.ContainsAny(raw, "?#") || site.ListsClone(raw) {
			t.Fatalf("%q names %v", raw, box)
		}
	})
}

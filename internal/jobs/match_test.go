package jobs_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/jobs/jobstest"
)

// zero is the object id of a ref that does not exist.
var zero = jobstest.OID(0)

// Which changes fit which filter, and which condition is the first that does not (S0-25, S0-38).
func TestRefsAndPaths(t *testing.T) {
	main, dev, tag := grasp.RefName("refs/heads/main"), grasp.RefName("refs/heads/develop"), grasp.RefName("refs/tags/v1")
	goFiles := []string{"**/*.go", "go.mod"}
	for i, c := range []struct {
		when  jobs.When
		ref   grasp.RefName
		paths string // of the change; "?" means that they are not known
		want  string // "" or the condition
	}{
		{jobs.When{}, main, "", ""},
		{jobs.When{}, tag, "", ""},
		{jobs.When{}, "refs/nostr/" + grasp.RefName(jobstest.Owner(1)), "", "refs"},
		{jobs.When{Refs: []string{"refs/heads/main"}}, main, "", ""},
		{jobs.When{Refs: []string{"refs/heads/main"}}, dev, "", "refs"},
		{jobs.When{Refs: []string{"refs/heads/main"}}, "refs/heads/main2", "", "refs"},
		{jobs.When{Refs: []string{"refs/heads/main"}}, "refs/heads/x/refs/heads/main", "", "refs"},
		{jobs.When{Refs: []string{"refs/heads/*"}}, "refs/heads/feat/x", "", ""},
		{jobs.When{Refs: []string{"refs/heads/*"}}, tag, "", "refs"},
		{jobs.When{Refs: []string{"refs/heads/*", "!refs/heads/wip/*"}}, "refs/heads/wip/x", "", "refs"},
		{jobs.When{Refs: []string{"refs/heads/*", "!refs/heads/wip/*"}}, "refs/heads/wipx", "", ""},
		{jobs.When{Refs: []string{"refs/heads/*", "!refs/heads/wip/*", "refs/heads/wip/keep"}}, "refs/heads/wip/keep", "", ""},
		{jobs.When{Refs: []string{"!refs/heads/main"}}, main, "", "refs"},
		{jobs.When{Refs: []string{"!refs/heads/main"}}, dev, "", ""},
		{jobs.When{Refs: []string{"refs/tags/v?"}}, tag, "", ""},
		{jobs.When{Refs: []string{"refs/tags/v?"}}, "refs/tags/v12", "", "refs"},
		{jobs.When{Refs: []string{`refs/tags/v\?`}}, tag, "", "refs"},
		{jobs.When{Paths: goFiles}, main, "main.go", ""},
		{jobs.When{Paths: goFiles}, main, "a/b/c.go", ""},
		{jobs.When{Paths: goFiles}, main, "a/go.mod", "paths"},
		{jobs.When{Paths: goFiles}, main, "go.mod", ""},
		{jobs.When{Paths: goFiles}, main, "README.md", "paths"},
		{jobs.When{Paths: goFiles}, main, "README.md x.go", ""},
		{jobs.When{Paths: goFiles}, main, "?", ""},
		{jobs.When{Paths: []string{"docs/**"}}, main, "docs/a/b.md", ""},
		{jobs.When{Paths: []string{"docs/**"}}, main, "docs2/a.md", "paths"},
		{jobs.When{Paths: []string{"docs/*"}}, main, "docs/a/b.md", "paths"},
		{jobs.When{Paths: []string{"a/**/z"}}, main, "a/z", ""},
		{jobs.When{Paths: []string{"a/**/z"}}, main, "a/b/c/z", ""},
		{jobs.When{Paths: []string{"**", "!docs/**"}}, main, "docs/x", "paths"},
		{jobs.When{Paths: []string{"!docs/**"}}, main, "docs/x src/y", ""},
		{jobs.When{Paths: []string{`app/\[id]/*`}}, main, "app/[id]/page", ""},
		{jobs.When{Refs: []string{"refs/heads/main"}, Paths: goFiles}, dev, "README.md", "refs"},
		{jobs.When{SkipCI: true}, main, "skip", "skip_ci"},
		{jobs.When{}, main, "skip", ""},
		{jobs.When{SkipCI: true}, main, "option", "skip_ci"},
		{jobs.When{Head: true}, main, "", ""},
		{jobs.When{Head: true}, dev, "", "head"},
		{jobs.When{}, main, "gone", "deleted"},
		{jobs.When{Deleted: true}, main, "gone", ""},
		{jobs.When{Deleted: true, Paths: goFiles}, main, "gone", ""},
	} {
		b, err := jobs.NewBook([]jobs.Definition{{Name: "x", Kind: "exec", On: jobs.On{Push: &c.when}}})
		if err != nil {
			t.Fatal(err)
		}
		ev := jobs.Event{Trigger: jobs.OnPush, Repo: jobstest.Repo(1, "r"), Head: main, Now: jobstest.Start,
			Changes: []grasp.RefChange{{Ref: c.ref, Old: jobstest.OID(1), New: jobstest.OID(2)}}, Facts: map[grasp.RefName]jobs.Facts{}}
		switch c.paths {
		case "?":
			ev.Facts[c.ref] = jobs.Facts{Unknown: true}
		case "skip":
			ev.Facts[c.ref] = jobs.Facts{Message: "mend a comma [skip ci]\n"}
		case "option":
			ev.Options = []string{"skip-ci"}
		case "gone":
			ev.Changes[0].New = zero
		default:
			ev.Facts[c.ref] = jobs.Facts{Paths: strings.Fields(c.paths)}
		}
		m := b.Explain(ev)
		if len(m) != 1 || m[0].Condition != c.want || m[0].OK != (c.want == "") || m[0].OK != (m[0].Text == "") {
			t.Errorf("%d: %+v of %s %q: %+v, want %q", i, c.when, c.ref, c.paths, m, c.want)
		}
		list, _ := b.Plan(ev, newIDs())
		if (len(list) == 1) != (c.want == "") {
			t.Errorf("%d: %d jobs, and the condition %q", i, len(list), c.want)
		}
	}
}

func newIDs() *jobs.IDs {
	return jobs.NewIDs(func() time.Time { return jobstest.Start }, strings.NewReader(strings.Repeat("x", 1000)))
}

func must(t testing.TB, defs ...jobs.Definition) *jobs.Book {
	t.Helper()
	b, err := jobs.NewBook(defs)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func event(tr jobs.Trigger, refs ...grasp.RefName) jobs.Event {
	ev := jobs.Event{Trigger: tr, Repo: jobstest.Repo(1, "shop"), Head: "refs/heads/main", Now: jobstest.Start}
	for i, r := range refs {
		ev.Changes = append(ev.Changes, grasp.RefChange{Ref: r, Old: zero, New: jobstest.OID(i + 1)})
	}
	return ev
}

func names(list []jobs.Job) (out []string) {
	for _, j := range list {
		out = append(out, j.Name)
	}
	return out
}

// Each trigger fires what asks for it, and nothing else.
func TestTriggers(t *testing.T) {
	all := &jobs.When{}
	b := must(t,
		jobs.Definition{Name: "push", Kind: "exec", On: jobs.On{Push: all}},
		jobs.Definition{Name: "state", Kind: "exec", On: jobs.On{State: all}},
		jobs.Definition{Name: "sync", Kind: "exec", On: jobs.On{Sync: all}},
		jobs.Definition{Name: "mirror", Kind: "exec", On: jobs.On{Mirror: all}},
		jobs.Definition{Name: "tag", Kind: "exec", On: jobs.On{Tag: all}},
		jobs.Definition{Name: "pr", Kind: "exec", On: jobs.On{Pull: all}},
		jobs.Definition{Name: "nightly", Kind: "exec", On: jobs.On{Schedule: "17 3 * * *"}},
		jobs.Definition{Name: "alarm", Kind: "notify", On: jobs.On{Job: &jobs.AfterJobs{Results: []jobs.State{"failure"}}}},
		jobs.Definition{Name: "after-push", Kind: "notify", On: jobs.On{Job: &jobs.AfterJobs{Jobs: []string{"push"}}}},
	)
	ended := func(name string, s jobs.State, depth int) jobs.Event {
		ev := event(jobs.OnJob)
		ev.After = &jobs.Job{Name: name, State: s, Depth: depth}
		return ev
	}
	asked := event(jobs.OnManual)
	asked.Names = []string{"tag", "pr"}
	due := event(jobs.OnSchedule)
	due.Names, due.Due = []string{"nightly"}, jobstest.Start
	oldTag := event(jobs.OnPush, "refs/tags/v1")
	oldTag.Changes[0].Old = jobstest.OID(7)
	for what, c := range map[string]struct {
		ev   jobs.Event
		want []string
	}{
		"push":           {event(jobs.OnPush, "refs/heads/main"), []string{"push"}},
		"push of a tag":  {event(jobs.OnPush, "refs/tags/v1"), []string{"push", "tag"}},
		"a tag moves":    {oldTag, []string{"push"}},
		"two refs":       {event(jobs.OnPush, "refs/heads/main", "refs/tags/v1"), []string{"push", "push", "tag"}},
		"state":          {event(jobs.OnState, "refs/heads/main"), []string{"state"}},
		"sync of a tag":  {event(jobs.OnSync, "refs/tags/v1"), []string{"sync", "tag"}},
		"mirror":         {event(jobs.OnMirror, "refs/heads/main"), []string{"mirror"}},
		"pr":             {event(jobs.OnPull, "refs/nostr/"+grasp.RefName(jobstest.Owner(9))), []string{"pr"}},
		"push of a pr":   {event(jobs.OnPush, "refs/nostr/"+grasp.RefName(jobstest.Owner(9))), nil},
		"manual":         {asked, []string{"tag", "pr"}},
		"schedule":       {due, []string{"nightly"}},
		"a job failed":   {ended("push", jobs.TimedOut, 0), []string{"alarm", "after-push"}},
		"a job was ok":   {ended("push", jobs.OK, 0), []string{"after-push"}},
		"another was ok": {ended("state", jobs.OK, 0), nil},
		"an alarm fails": {ended("alarm", jobs.Failed, 0), nil},
		"too deep":       {ended("push", jobs.Failed, jobs.MaxDepth), nil},
	} {
		list, dropped := b.Plan(c.ev, newIDs())
		if got := names(list); !slices.Equal(got, c.want) || dropped != 0 {
			t.Errorf("%s: %v, want %v", what, got, c.want)
		}
		for _, j := range list {
			if err := j.Check(); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}

// Jobs of one happening share a run, know what they need, and what a stranger's commit holds is a
// stranger's.
func TestPlan(t *testing.T) {
	paths := &jobs.When{Paths: []string{"*.go"}}
	b := must(t,
		jobs.Definition{Name: "deploy", Kind: "checkout", Needs: []jobs.Need{{Job: "test"}}, On: jobs.On{Push: &jobs.When{}}},
		jobs.Definition{Name: "cleanup", Kind: "exec", Needs: []jobs.Need{{Job: "deploy", If: jobs.IfAlways}}, On: jobs.On{Push: &jobs.When{}}},
		jobs.Definition{Name: "test", Kind: "exec", On: jobs.On{Push: paths, Pull: &jobs.When{}}},
	)
	if got := b.Names(); !slices.Equal(got, []string{"test", "deploy", "cleanup"}) {
		t.Errorf("%v", got)
	}
	ev := event(jobs.OnPush, "refs/heads/main")
	if p, m := b.Asks(ev); len(p) != 1 || len(m) != 0 {
		t.Errorf("asks %v, %v", p, m)
	}
	list, _ := b.Plan(ev, newIDs())
	if !slices.Equal(names(list), []string{"test", "deploy", "cleanup"}) {
		t.Fatalf("%v", names(list))
	}
	if list[0].Run != list[2].Run || !slices.Equal(list[1].Needs, []jobs.Edge{{On: list[0].ID, If: jobs.IfOK}}) ||
		!slices.Equal(list[2].Needs, []jobs.Edge{{On: list[1].ID, If: jobs.IfAlways}}) || list[1].Policy != jobs.Latest || list[0].Policy != jobs.InTurn {
		t.Errorf("%+v", list)
	}
	// What is needed does not run: neither does what needs it, and it says why.
	ev.Facts = map[grasp.RefName]jobs.Facts{"refs/heads/main": {Paths: []string{"README"}}}
	list, _ = b.Plan(ev, newIDs())
	if !slices.Equal(names(list), []string{"cleanup"}) || len(list[0].Needs) != 0 {
		t.Errorf("%v", list)
	}
	if m := b.Explain(ev)[1]; m.Condition != "needs" || !strings.Contains(m.Text, "no changed path fits *.go") {
		t.Errorf("%+v", m)
	}
	list, _ = b.Plan(event(jobs.OnPull, "refs/nostr/"+grasp.RefName(jobstest.Owner(9))), newIDs())
	if len(list) != 1 || list[0].Class != jobs.Untrusted {
		t.Errorf("%+v", list)
	}
	// A push of many refs makes a bounded number.
	var refs []grasp.RefName
	for i := range 500 {
		refs = append(refs, grasp.RefName(fmt.Sprint("refs/heads/", i)))
	}
	list, dropped := b.Plan(event(jobs.OnPush, refs...), newIDs())
	if len(list) != jobs.MaxPerEvent || dropped != 3*500-jobs.MaxPerEvent {
		t.Errorf("%d jobs, %d dropped", len(list), dropped)
	}
}

func TestRepos(t *testing.T) {
	npub := "npub1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqs8j9gdm"
	for pattern, want := range map[string]bool{
		"*/*": true, npub + "/*": true, npub + "/shop": true, npub + "/sho": false, "npub1x/*": false, "*/private-*": false,
	} {
		b := must(t, jobs.Definition{Name: "x", Kind: "exec", Repos: []string{pattern}, On: jobs.On{Push: &jobs.When{}}})
		m := b.Explain(event(jobs.OnPush, "refs/heads/main"))[0]
		if m.OK != want || !want && m.Condition != "repos" {
			t.Errorf("%s: %+v", pattern, m)
		}
	}
}

// A tag never ends what runs for a branch, other repositories are others, and only the operator's
// groups reach over them.
func TestGroups(t *testing.T) {
	group := func(class jobs.Class, name string, repo grasp.Addr, ref grasp.RefName) string {
		ev := event(jobs.OnPush, ref)
		ev.Repo = repo
		list, _ := must(t, jobs.Definition{Name: "x", Kind: "checkout", Class: class, Group: name, On: jobs.On{Push: &jobs.When{}}}).Plan(ev, newIDs())
		return list[0].Group
	}
	a, b := jobstest.Repo(1, "a"), jobstest.Repo(2, "b")
	if group(jobs.Operator, "prod", a, "refs/heads/main") == group(jobs.Operator, "prod", a, "refs/tags/main") {
		t.Error("a tag and a branch share a group")
	}
	if group(jobs.Operator, "prod", a, "refs/heads/main") != group(jobs.Operator, "prod", b, "refs/heads/x") {
		t.Error("the operator's group does not reach over repositories")
	}
	if group(jobs.Trusted, "prod", a, "refs/heads/main") == group(jobs.Trusted, "prod", b, "refs/heads/main") ||
		group(jobs.Trusted, "prod", a, "refs/heads/main") == group(jobs.Operator, "prod", a, "refs/heads/main") {
		t.Error("a maintainer reaches into others' groups")
	}
	if group(jobs.Operator, "", a, "refs/heads/x") == group(jobs.Operator, "", a, "refs/heads/y") ||
		group(jobs.Operator, "site:{{.Repo}}", a, "refs/heads/x") != group(jobs.Operator, "site:{{.Repo}}", a, "refs/heads/y") ||
		group(jobs.Operator, "site:{{.Repo}}", a, "refs/heads/x") == group(jobs.Operator, "site:{{.Repo}}", b, "refs/heads/x") {
		t.Error("placeholders")
	}
	if g := group(jobs.Operator, "", grasp.Addr{Owner: jobstest.Owner(1), ID: strings.Repeat("l", 5000)}, "refs/heads/x"); len(g) > jobs.MaxGroup {
		t.Errorf("a group of %d bytes", len(g))
	}
}

// What makes no sense is refused with a name and a reason.
func TestDefinitions(t *testing.T) {
	ok := func(name string, needs ...string) jobs.Definition {
		d := jobs.Definition{Name: name, Kind: "exec", On: jobs.On{Push: &jobs.When{}}}
		for _, n := range needs {
			d.Needs = append(d.Needs, jobs.Need{Job: n})
		}
		return d
	}
	with := func(f func(*jobs.Definition)) []jobs.Definition { d := ok("x"); f(&d); return []jobs.Definition{d} }
	for says, defs := range map[string][]jobs.Definition{
		"a needs b needs a":     {ok("a", "b"), ok("b", "a")},
		"a needs a":             {ok("a", "a")},
		"b needs c needs d":     {ok("a"), ok("b", "a", "c"), ok("c", "d"), ok("d", "b")},
		"there is no such job":  {ok("a", "nobody")},
		`two jobs are called`:   {ok("a"), ok("a")},
		"not the name of a job": {ok("A B")},
		"what kind":             with(func(d *jobs.Definition) { d.Kind = "" }),
		"no policy":             with(func(d *jobs.Definition) { d.Policy = "most" }),
		"no class":              with(func(d *jobs.Definition) { d.Class = "noble" }),
		"no condition":          with(func(d *jobs.Definition) { d.Needs = []jobs.Need{{Job: "x", If: "maybe"}} }),
		"is no fault":           with(func(d *jobs.Definition) { d.Retry = &jobs.Retry{Max: 1, On: []string{"rain"}} }),
		"exit code":             with(func(d *jobs.Definition) { d.Retry = &jobs.Retry{Max: 1, On: []string{"exit:256"}} }),
		"max is -1":             with(func(d *jobs.Definition) { d.Retry = &jobs.Retry{Max: -1} }),
		"five":                  with(func(d *jobs.Definition) { d.On.Schedule = "3 * *" }),
		"no job ends":           with(func(d *jobs.Definition) { d.On.Job = &jobs.AfterJobs{Results: []jobs.State{"running"}} }),
		"sets of characters":    with(func(d *jobs.Definition) { d.Repos = []string{"[a-z]*/*"} }),
		"an empty pattern":      with(func(d *jobs.Definition) { d.On.Push.Refs = []string{"!"} }),
	} {
		_, err := jobs.NewBook(defs)
		if text, _ := fault.Message(err); err == nil || !strings.Contains(err.Error(), says) || text == "" {
			t.Errorf("%v, want %q", err, says)
		}
	}
	if _, err := jobs.NewBook(make([]jobs.Definition, jobs.MaxDefinitions+1)); !fault.Is(err, fault.TooLarge) {
		t.Error(err)
	}
}

// toRegexp says a pattern of paths or refs in another language.
func toRegexp(pattern string, paths bool) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`(?s)^`)
	for i := 0; i < len(pattern); i++ {
		rest := pattern[i:]
		atStart := i == 0 || pattern[i-1] == '/' && (i < 2 || pattern[i-2] != '\\')
		switch {
		case rest[0] == '\\' && len(rest) > 1:
			i++
			b.WriteString(regexp.QuoteMeta(string(pattern[i])))
		case rest[0] == '?' && paths:
			b.WriteString(`[^/]`)
		case rest[0] == '?':
			b.WriteString(`.`)
		case rest[0] == '*':
			n := len(rest) - len(strings.TrimLeft(rest, "*"))
			i += n - 1
			switch {
			case !paths:
				b.WriteString(`.*`)
			case n > 1 && atStart && len(rest) == n:
				b.WriteString(`.*`)
			case n > 1 && atStart && rest[n] == '/':
				i++
				b.WriteString(`(?:.*/)?`)
			default:
				b.WriteString(`[^/]*`)
			}
		default:
			b.WriteString(regexp.QuoteMeta(rest[:1]))
		}
	}
	return regexp.MustCompile(b.String() + `$`)
}

// Patterns fit what the same pattern as a regular expression fits.
func FuzzGlob(f *testing.F) {
	for _, s := range []string{"**/*.go", "a/**/z", "docs/**", "*", "**", "a?c/*/b**", `\*x`, "!x", "**a", "a**/b", "/**/", "***/x"} {
		f.Add(s, "a/b/z", true)
		f.Add(s, "docs/x.go", false)
	}
	f.Fuzz(func(t *testing.T, pattern, s string, paths bool) {
		make := jobs.RefGlobs
		if paths {
			make = jobs.PathGlobs
		}
		g, err := make(pattern)
		if err != nil {
			if !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.TooLarge) {
				t.Fatal(err)
			}
			return
		}
		body, not := strings.CutPrefix(pattern, "!")
		for _, c := range pattern + s {
			if c >= 0x80 || c == '\uFFFD' {
				return // regular expressions count runes
			}
		}
		if want := toRegexp(body, paths).MatchString(s) != not; g.Match(s) != want {
			t.Errorf("%q of %q (paths %v): %v, want %v", pattern, s, paths, !want, want)
		}
	})
}

// Random patterns of few letters meet each other often.
func TestGlobProperty(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	word := func(letters string, n int) string {
		b := make([]byte, r.IntN(n))
		for i := range b {
			b[i] = letters[r.IntN(len(letters))]
		}
		return string(b)
	}
	hits := 0
	for range 20_000 {
		pattern, s, paths := "a"+word("ab/**?", 8), "a"+word("ab/", 8), r.IntN(2) == 0
		if r.IntN(2) == 0 {
			pattern = pattern[1:] + "*"
		}
		read := jobs.RefGlobs
		if paths {
			read = jobs.PathGlobs
		}
		g, err := read(pattern)
		if err != nil {
			t.Fatal(err)
		}
		want := toRegexp(pattern, paths).MatchString(s)
		if g.Match(s) != want {
			t.Fatalf("%q of %q (paths %v): want %v", pattern, s, paths, want)
		}
		if want {
			hits++
		}
	}
	if hits < 500 {
		t.Errorf("%d hits: this test tests nothing", hits)
	}
	// No pattern is slow.
	g, err := jobs.PathGlobs(strings.Repeat("*a", jobs.MaxGlob/2))
	if err != nil || g.Match(strings.Repeat("a", 100_000)+"b") {
		t.Error(err)
	}
}

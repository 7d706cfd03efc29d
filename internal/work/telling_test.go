package work_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
)

func read(t *testing.T, text string, into any) error {
	t.Helper()
	return yaml.NewDecoder(strings.NewReader(text), yaml.DisallowUnknownField(), yaml.Strict()).Decode(into)
}

// What the configuration says is what the job is told, and what makes no sense is said at once.
// S3-46 S0-08 S3-36
func TestSpecs(t *testing.T) {
	for _, c := range []struct{ kind, text, fault string }{
		{"webhook", "to: ci\ntimeout: 15s\n", ""},
		{"webhook", "url: https://ci.example.org/hook?x=1\nsecret: {secret: a}\nold_secret: {secret: b}\nsuccess: [200, 204]\nmethod: PUT\nheaders: {X-A: b}\n", ""},
		{"webhook", "url: https://ci.example.org/hook\nformat: template\ntemplate: '{\"text\": {{json .Repo}}}'\n", ""},
		{"webhook", "url_from: {secret: slack}\nsuccess: [0]\ncompat: gitsync\n", ""},
		{"webhook", "to: ci\nmethod: GET\n", "POST, PUT or PATCH"},
		{"webhook", "to: ci\nurl: https://x.example\n", "one of"},
		{"webhook", "url: ftp://x.example/\n", "no address"},
		{"webhook", "url: https://me:pw@x.example/\n", "no password"},
		{"webhook", "to: ci\nsuccess: [0, 200]\n", "fire and forget"},
		{"webhook", "to: ci\nsecret: {file: /etc/secret}\n", "by their name"},
		{"webhook", "to: ci\nsecret: {secret: a, file: b}\n", "only one"},
		{"webhook", "to: ci\nsecret: hunter2\n", "decode"},
		{"webhook", "to: ci\nformat: template\n", "needs template"},
		{"webhook", "to: ci\nformat: template\ntemplate: '{{.Repo'\n", "template"},
		{"webhook", "to: ci\nheaders: {Webhook-Id: x}\n", "written by the server"},
		{"webhook", "to: ci\nheaders: {X-A: \"b\\nX-B: c\"}\n", "no header"},
		{"webhook", "to: ci\ntimeout: 1h\n", "timeout"},
		{"webhook", "to: ci\nabout: {}\n", "decode"},
		{"trigger", "preset: woodpecker\nurl: https://ci.example.org\nrepo: 7\ntoken: {secret: wp}\nvariables: {A: b}\n", ""},
		{"trigger", "preset: sourcehut\nurl: https://builds.sr.ht/query\ntoken: {secret: srht}\nmanifest: \"image: alpine\"\n", ""},
		{"trigger", "to: ci\n", ""},
		{"trigger", "preset: woodpecker\nurl: https://ci.example.org\n", "number"},
		{"trigger", "preset: jenkins\nto: ci\n", "preset"},
		{"notify", "to: [phone]\ntitle: '{{.Job}} {{.Exit}}'\n", ""},
		{"notify", "to: []\n", "targets are needed"},
		{"notify", "to: [phone]\npriority: 6\n", "priority"},
		{"mirror_push", "url: git@github.com:alice/shop.git\nkey: {secret: deploy-key}\nknown_hosts: secrets/kh\nprune: true\n", ""},
		{"mirror_push", "url: https://example.org/shop.git\ntoken: {secret: t}\nlow_speed: 30s\n", ""},
		{"mirror_push", "url: git@github.com:alice/shop.git\nkey: {secret: k}\n", "known_hosts"},
		{"mirror_push", "url: https://u:p@example.org/shop.git\n", "holds a name"},
		{"mirror_push", "url: file:///srv/git/x\n", "elsewhere"},
		{"mirror_push", "url: ext::sh -c id\n", "url"},
		{"mirror_push", "url: ssh://-oProxyCommand=id/x\n", "strange"},
	} {
		spec, ok := work.NewSpec(c.kind)
		if !ok {
			t.Fatalf("no kind %s", c.kind)
		}
		err := read(t, c.text, spec)
		if err != nil {
			err = fault.Errorf(fault.Invalid, "test", "decode: %v", err)
		} else {
			err = spec.Check()
		}
		switch {
		case c.fault == "" && err != nil:
			t.Errorf("%s %q: %v", c.kind, c.text, err)
		case c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)):
			t.Errorf("%s %q: %v, want %q", c.kind, c.text, err, c.fault)
		}
		if err != nil {
			continue
		}
		data, err := json.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		again, _ := work.NewSpec(c.kind)
		if err := json.Unmarshal(data, again); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(spec, again) {
			t.Errorf("%s %q: %+v after JSON %s: %+v", c.kind, c.text, spec, data, again)
		}
	}
}

func TestTargets(t *testing.T) {
	for _, c := range []struct{ text, fault string }{
		{"ntfy: https://ntfy.example.org/git-builds\ntoken: {secret: ntfy}\n", ""},
		{"ntfy: https://ntfy.example.org/git-builds\npublish: headers\n", ""},
		{"webhook: https://ci.example.org/hook\nsecret: {file: secrets/ci}\nformat: github\n", ""},
		{"url_from: {env: SLACK}\nformat: template\ntemplate: '{}'\n", ""},
		{"ntfy: https://ntfy.example.org/\n", "no topic"},
		{"ntfy: https://ntfy.example.org/a/b\n", "no topic"},
		{"ntfy: https://ntfy.example.org/a\nformat: github\n", "own words"},
		{"ntfy: https://ntfy.example.org/a\nwebhook: https://x.example\n", "one of"},
		{"token: tk_literal\nntfy: https://ntfy.example.org/a\n", "decode"}, // S0-08
		{"{}\n", "one of"},
	} {
		var target work.Target
		err := read(t, c.text, &target)
		if err != nil {
			err = fault.Errorf(fault.Invalid, "test", "decode: %v", err)
		} else {
			err = target.Check()
		}
		if c.fault == "" && err != nil || c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
			t.Errorf("%q: %v, want %q", c.text, err, c.fault)
		}
	}
	server, topic := (&work.Target{Ntfy: "https://ntfy.example.org/git-builds"}).Topic()
	if server != "https://ntfy.example.org/" || topic != "git-builds" {
		t.Errorf("%q %q", server, topic)
	}
}

// What a job says holds over what its target says.
func TestOver(t *testing.T) {
	base := work.Delivery{Format: work.Gitea, Method: "PUT", Timeout: work.Duration(time.Second), Secret: work.SecretRef{File: "a"}, OldSecret: work.SecretRef{File: "b"}}
	got := work.Delivery{Timeout: work.Duration(time.Minute), Secret: work.SecretRef{Secret: "mine"}}.Over(base)
	want := work.Delivery{Format: work.Gitea, Method: "PUT", Timeout: work.Duration(time.Minute), Secret: work.SecretRef{Secret: "mine"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
}

// S0-06
func TestDuration(t *testing.T) {
	for seconds, want := range map[int]string{0: "0s", 42: "42s", 59: "59s", 60: "1m 0s", 83: "1m 23s", 3599: "59m 59s", 3600: "1h 00m", 3720: "1h 02m"} {
		if got := jobs.Span(time.Duration(seconds) * time.Second); got != want {
			t.Errorf("%d seconds are %q, want %q", seconds, got, want)
		}
	}
	if got := jobs.Span(59*time.Second + 900*time.Millisecond); got != "1m 0s" {
		t.Errorf("59.9 seconds are %q", got)
	}
}

// A job that was killed for want of memory is told of as 137 and KILL. S0-03
func TestAboutOfKilled(t *testing.T) {
	j := jobs.Job{Name: "test", State: jobs.Failed, Signal: "KILL", Exit: -1, Repo: grasp.Addr{Owner: grasp.PubKey(strings.Repeat("a", 64)), ID: "a-b-c"}}
	tmpl, err := work.ParseTemplate("t", "{{.Exit}}/{{.Signal}} {{.Name}}")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := tmpl.Execute(&b, work.Of(j, "")); err != nil {
		t.Fatal(err)
	}
	if b.String() != "137/KILL a-b-c" { // S0-07
		t.Error(b.String())
	}
}

func TestAttach(t *testing.T) {
	list := []jobs.Job{{Name: "hook", Kind: "webhook", Spec: []byte(`{"to":"ci"}`)}, {Name: "make", Kind: "exec", Spec: []byte(`{"run":["make"]}`)}}
	if err := work.Attach(list, jobs.Job{Name: "test", State: jobs.Failed}, jobs.OK); err != nil {
		t.Fatal(err)
	}
	var w work.Webhook
	if err := json.Unmarshal(list[0].Spec, &w); err != nil {
		t.Fatal(err)
	}
	if w.To != "ci" || w.About == nil || w.About.Job != "test" || w.About.State != jobs.Failed || w.About.Previous != jobs.OK {
		t.Errorf("%s", list[0].Spec)
	}
	if string(list[1].Spec) != `{"run":["make"]}` {
		t.Errorf("%s", list[1].Spec)
	}
}

// What is read as a remote is written as one that reads the same, and no part of it begins with a
// dash.
func FuzzRemote(f *testing.F) {
	for _, s := range []string{"git@github.com:alice/shop.git", "https://example.org/a.git", "ssh://git@[::1]:2222/~/x", "file:///a", "ssh://-x/y", "a@b:-c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := work.ParseRemote(s)
		if err != nil {
			return
		}
		for _, part := range []string{r.User, r.Host, r.Port} {
			if strings.HasPrefix(part, "-") {
				t.Fatalf("%q: %+v", s, r)
			}
		}
		if strings.HasPrefix(r.String(), "-") {
			t.Fatalf("%q is %q", s, r.String())
		}
		again, err := work.ParseRemote(r.String())
		if err != nil || again != r {
			t.Fatalf("%q is %+v, then %q is %+v, %v", s, r, r.String(), again, err)
		}
	})
}

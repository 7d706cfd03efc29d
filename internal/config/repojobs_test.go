package config_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
)

const trustAll = `
secrets:
  given: {env: GIVEN, repos: ["*/*"]}
  other: {env: OTHER, repos: ["*/*"]}
targets:
  phone: {ntfy: https://ntfy.example.org/builds}
  pager: {ntfy: https://ntfy.example.org/pager}
jobs:
  - {name: theirs, repos: ["*/*"], exec: {run: [x]}}
trust:
  - match: ["` + aliceNpub + `/*", "!` + aliceNpub + `/private-*"]
    allow: [exec, site, checkout, webhook, mirror_push, notify]
    secrets: [given]
    targets: [phone]
    limits: {memory: 1GiB, tasks: 100, disk: 1GiB, time: 5m}
    budget: {cpu: 30m/day, wall: 2h, log: 50MiB/day}
`

func trusting(t testing.TB, text string) (config.Config, config.Trust) {
	t.Helper()
	l, err := config.Load(config.Sources{File: "gitroost.yaml", Read: func(string) ([]byte, error) { return []byte(text), nil }})
	if err != nil {
		t.Fatal(err)
	}
	row, ok := l.Config.TrustOf(grasp.Addr{Owner: aliceHex, ID: "shop"})
	if !ok {
		t.Fatalf("alice is not trusted by\n%s", text)
	}
	return l.Config, row
}

// jobs.md 3.2: who is trusted, and with what.
func TestTrust(t *testing.T) {
	c, row := trusting(t, trustAll)
	stranger := grasp.PubKey(strings.Repeat("1", 64))
	for addr, want := range map[grasp.Addr]bool{
		{Owner: aliceHex, ID: "shop"}:            true,
		{Owner: aliceHex, ID: "private-diary"}:   false,
		{Owner: aliceHex, ID: "shop", Box: true}: false,
		{Owner: stranger, ID: "shop"}:            false,
	} {
		if _, got := c.TrustOf(addr); got != want {
			t.Errorf("%v is trusted: %v", addr, got)
		}
	}
	if !row.Request || row.Approve || row.Network || row.Budget != (jobs.Usage{CPU: 30 * time.Minute, Wall: 2 * time.Hour, LogBytes: 50 << 20}) {
		t.Errorf("%+v", row)
	}
	if _, ok := config.Default().TrustOf(grasp.Addr{Owner: aliceHex, ID: "shop"}); ok {
		t.Error("somebody is trusted who was never named")
	}
}

func TestFaultsOfTrust(t *testing.T) {
	for _, c := range []struct{ text, where, want string }{
		{"trust: [x]\n", "1:9", "group of options"},
		{"trust: {match: [x]}\n", "1:8", "trust is a list"},
		{"trust:\n  - allow: [site]\n", "2:5", "which repositories"},
		{"trust:\n  - match: [" + aliceNpub + "]\n", "2:5", "which kinds"},
		{"trust:\n  - match: [\"npub1*/*\"]\n    allow: [site]\n", "2:13", "does not name the key"},
		{"trust:\n  - match: [\"!" + aliceNpub + "\"]\n    allow: [site]\n", "2:5", "somebody has to be meant"},
		{"trust:\n  - match: [\"nip05:*@example.org\"]\n    allow: [site]\n", "2:13", "not looked up"},
		{"trust:\n  - match: [" + aliceNpub + "]\n    allow: [trigger]\n", "3:13", "none of"},
		{"trust:\n  - match: [" + aliceNpub + "]\n    allow: [site]\n    secrets: [x]\n", "2:5", `no secret "x"`},
		{"trust:\n  - match: [" + aliceNpub + "]\n    allow: [site]\n    targets: [x]\n", "2:5", `no target "x"`},
		{"secrets: {x: {env: X}}\ntrust:\n  - match: [" + aliceNpub + "]\n    allow: [exec]\n    secrets: [x]\n", "3:5", "for targets alone"},
		{"trust:\n  - match: [" + aliceNpub + "]\n    allow: [site]\n    limits: {memory: 1}\n", "4:13", "less than any program needs"},
		{"trust:\n  - match: [" + aliceNpub + "]\n    allow: [site]\n    budget: {cpu: lots}\n", "4:19", "duration"},
		{"trust:\n  - match: [" + aliceNpub + "]\n    allow: [site]\n    sandbox: plain\n", "4:5", "unknown option"},
	} {
		_, err := config.Load(config.Sources{File: "gitroost.yaml", Read: func(string) ([]byte, error) { return []byte(c.text), nil }})
		var faults config.Faults
		if !errors.As(err, &faults) || len(faults) != 1 || !strings.HasSuffix(faults[0].Where, "gitroost.yaml:"+c.where) || !strings.Contains(faults[0].Text, c.want) {
			t.Errorf("%s\n  gives %v\n  want %s: …%s…", c.text, err, c.where, c.want)
		}
	}
}

// taken is the name of a job of the configuration.
func taken(name string) bool { return name == "theirs" }

// jobs.md 3.3: the file of a repository is read like the configuration, and cannot say what is the operator's.
func TestRepoJobs(t *testing.T) {
	c, row := trusting(t, trustAll)
	list, err := c.RepoJobs(row, []byte(`version: 1
jobs:
  - name: test
    on: {push: {refs: [refs/heads/*]}, schedule: "17 3 * * *", manual: true}
    exec: {run: [./build.sh], secrets: [given]}
    limits: {memory: 64MiB}
    notify: {to: [phone]}
  - name: site
    needs: [test]
    site: {theme: auto}
  - {name: files, checkout: {to: www, check: [test, -d, x], after: [{exec: {run: [/bin/true]}}]}}
  - {name: tell, on: {job: {jobs: [test]}}, webhook: {url: "https://ci.example.org/hook"}}
  - {name: copy, mirror_push: {url: "https://elsewhere.example/x.git", token: {secret: given}}}
`), taken)
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range list {
		if j.Class != jobs.Trusted || j.Repos != nil || j.Timeout <= 0 || j.Timeout > 5*time.Minute || j.Budget != row.Budget || j.Approve {
			t.Errorf("job %s is %+v", j.Name, j.Definition)
		}
	}
	test, files := list[0].Work.(*work.Exec), list[2].Work.(*work.Checkout)
	if test.Limits.Memory != 64<<20 || test.Limits.Tasks != 100 || test.Limits.Disk != 1<<30 || time.Duration(test.Limits.Time) != 5*time.Minute {
		t.Errorf("limits are %+v", test.Limits)
	}
	if files.MaxBytes != 1<<30 || files.Limits.Memory != 1<<30 || files.After[0].Exec.Limits.Memory != 1<<30 {
		t.Errorf("of the checkout: %+v, %+v", files, files.After[0].Exec)
	}
	for _, empty := range []string{"", "# nothing yet\n", "jobs:\n", "jobs: []\n"} {
		if list, err := c.RepoJobs(row, []byte(empty), taken); err != nil || len(list) != 0 {
			t.Errorf("%q: %v, %v", empty, list, err)
		}
	}
}

func TestFaultsOfRepoJobs(t *testing.T) {
	c, row := trusting(t, trustAll)
	poor := row
	poor.Allow, poor.Secrets, poor.Targets = []string{"checkout", "notify"}, nil, nil
	one := func(body string) string { return "jobs:\n  - name: x\n    " + body + "\n" }
	for _, f := range []struct {
		text, want string
		row        config.Trust
	}{
		{"domain: evil.example\n", "1:1: unknown option", row},
		{"trust: []\n", "1:1: unknown option", row},
		{"secrets: {a: {file: /etc/shadow}}\n", "1:1: unknown option", row},
		{"targets: {a: {ntfy: https://a.example/b}}\n", "1:1: unknown option", row},
		{"version: 2\n", "1:10: version is 2", row},
		{one("repos: [\"*/*\"]\n    exec: {run: [x]}"), `3:5: unknown option "repos"`, row},
		{one("exec: {run: [x], run_as: root}"), "run_as: is the operator's", row},
		{one("exec: {run: [x], sandbox: plain}"), "sandbox: is the operator's", row},
		{one("exec: {run: [x]}\n    sandbox: plain"), "sandbox: is the operator's", row},
		{one("exec: {run: [x], network: true}"), "gives the repository's programs none", row},
		{one("exec: {run: [/root/tool]}"), "a program is one of PATH", row},
		{one("exec: {run: [/usr/../root/tool]}"), "a program is one of PATH", row},
		{one("exec: {run: [../../tool]}"), "leads out of the repository", row},
		{one("exec: {run: [x], secrets: [other]}"), `no secret "other"`, row},
		{one("exec: {run: [x], secret_env: {A: other}}"), `no secret "other"`, row},
		{one("exec: {run: [x], env: {LD_PRELOAD: x}}"), "LD_PRELOAD", row},
		{one("exec: {run: [x]}\n    limits: {memory: 2GiB}"), "more than the 1GiB", row},
		{one("exec: {run: [x]}\n    limits: {tasks: 101}"), "more than the 100", row},
		{one("exec: {run: [x]}\n    limits: {disk: 2GiB}"), "more than the 1GiB", row},
		{one("exec: {run: [x]}\n    limits: {time: 6m}"), "more than the 5m", row},
		{one("timeout: 1h\n    exec: {run: [x]}"), "longer than the 5m", row},
		{one("on: {pr: {}}\n    exec: {run: [x]}"), "is the operator's to define", row},
		{one("notify: {to: [pager]}\n    exec: {run: [x]}"), `no target "pager"`, row},
		{one("notify: {to: [phone], message: \"{{.Job}}\"}\n    exec: {run: [x]}"), "the operator's to write", row},
		{one("notify: {to: [phone], title: \"{{range 9999999999}}{{end}}\"}"), "the operator's to write", row},
		{one("webhook: {to: pager}"), `no target "pager"`, row},
		{one("webhook: {url: \"https://a.example\", format: template, template: \"{{range 9999999999}}{{end}}\"}"), "the operator's to write", row},
		{one("webhook: {url: \"https://a.example\", secret: {file: /etc/shadow}}"), "by their name", row},
		{one("ssh: {host: a.example, run: [x], key: {secret: given}, known_hosts: \"a ssh-ed25519 AAAA\"}"), "ssh is none of them", row},
		{one("trigger: {url: \"https://a.example\"}"), "trigger is none of them", row},
		{one("site: {publish: {to: /srv/www}}"), "are the operator's to say", row},
		{one("site: {publish: {group: root}}"), "are the operator's to say", row},
		{one("site: {max_bytes: 1TiB}"), "more than the 1GiB", row},
		{one("site: {commits: 100000}"), "more than the 5000", row},
		{one("checkout: {to: /srv/www}"), "into its own folder", row},
		{one("checkout: {to: www, error_file: /etc/cron.d/x}"), "into its own folder", row},
		{one("checkout: {to: ../www}"), "not a clean path", row},
		{one("checkout: {to: www, symlinks: keep}"), "keep is the operator's", row},
		{one("checkout: {to: www, ref: refs/nostr/" + strings.Repeat("1", 64) + "}"), "is not published", row},
		{one("checkout: {to: www, after: [{ssh: {host: a.example, run: [x], key: {secret: given}, known_hosts: \"a ssh-ed25519 AAAA\"}}]}"), "by ssh", row},
		{one("checkout: {to: www, keep: {count: 900}}"), "at most 10 generations", row},
		{one("checkout: {to: www, max_bytes: 3GiB}"), "more than the 1GiB", row},
		{one("checkout: {to: www, check: [x]}"), "runs no programs", poor},
		{one("checkout: {to: www, after: [{exec: {run: [x]}}]}"), "runs no programs", poor},
		{one("exec: {run: [x]}"), "exec is none of them", poor},
		{one("mirror_push: {url: \"git@elsewhere.example:x.git\", key: {secret: given}, known_hosts: /etc/shadow}"), "by ssh", row},
		{"jobs:\n  - name: theirs\n    exec: {run: [x]}\n", "2:11: the operator of this server has a job", row},
		{"jobs:\n" + strings.Repeat("  - {name: x, site: {}}\n", 51), "51 jobs are defined; 50", row},
		{"a: &a [*a]\njobs: *a\n", "1:1: unknown option", row},
		{"jobs: []\n---\njobs: []\n", "several documents", row},
		{"jobs: []\njobs: []\n", "set twice", row},
		{strings.Repeat("#", 70_000), "larger than 64 KiB", row},
	} {
		list, err := c.RepoJobs(f.row, []byte(f.text), taken)
		var faults config.Faults
		if !errors.As(err, &faults) || len(list) != 0 || !strings.Contains(err.Error(), f.want) || !strings.HasPrefix(faults[0].Where, config.RepoFile) {
			t.Errorf("%.200s\n  gives %d jobs, %v\n  want …%s…", f.text, len(list), err, f.want)
		}
	}
	many := "jobs:\n" + strings.Repeat("  - {}\n", 50)
	if _, err := c.RepoJobs(row, []byte(many), taken); len(strings.Split(err.Error(), "\n")) > 100 {
		t.Errorf("a faulty file is told of at length: %d bytes", len(err.Error()))
	}
}

// The examples that are shipped fit each other.
func TestExampleOfTrust(t *testing.T) {
	c, row := trusting(t, read(t, "deploy/examples/trust.yaml"))
	list, err := c.RepoJobs(row, []byte(read(t, "deploy/examples/jobs-in-a-repository.yml")), taken)
	if err != nil || len(list) != 2 {
		t.Errorf("%d jobs, %v", len(list), err)
	}
}

// Nothing that a repository holds makes the reader stumble, and what it takes is held to the row of trust.
func FuzzRepoJobs(f *testing.F) {
	c, row := trusting(f, trustAll)
	if b, err := os.ReadFile("../../deploy/examples/jobs-in-a-repository.yml"); err == nil {
		f.Add(b)
	}
	f.Add([]byte("jobs:\n  - name: x\n    on: {push: {}}\n    exec: {run: [a], limits: {memory: 5MiB}}\n"))
	f.Add([]byte("jobs:\n  - {name: x, checkout: {to: a, check: [b], keep: {count: 3}}}\n"))
	f.Add([]byte("jobs: &a\n  - *a\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := c.RepoJobs(row, data, taken)
		if err != nil {
			var faults config.Faults
			if !errors.As(err, &faults) || len(faults) == 0 {
				t.Fatalf("no faults: %v", err)
			}
			return
		}
		for _, j := range list {
			if j.Class != jobs.Trusted || len(j.Repos) > 0 || j.Timeout > 5*time.Minute || j.Kind == "ssh" || j.On.Pull != nil || taken(j.Name) {
				t.Fatalf("%+v", j.Definition)
			}
			if e, ok := j.Work.(*work.Exec); ok && (e.RunAs != "" || e.Sandbox != "" || e.Network || e.Limits.Memory > 1<<30) {
				t.Fatalf("%+v", e)
			}
		}
	})
}

package config_test

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/jobs"
	"github.com/gitroost/gitroost/internal/work"
)

// alice's key, in both forms.
const (
	aliceNpub = "npub1l2vyh47mk2p0qlsku7hg0vn29faehy9hy34ygaclpn66ukqp3afqutajft"
	aliceHex  = grasp.PubKey("fa984bd7dbb282f07e16e7ae87b26a2a7b9b90b7246a44771f0cf5ae58018f52")
)

// worked is the example of the specification (jobs.md 3.3), as far as it can be had.
const worked = `
jobs_engine:
  workers: 4
  per_repo: 1
  per_owner: 2
  default_timeout: 10m
  logs: {max_bytes: 10MiB, age: 30d, per_repo: 200, total: 5GiB}

secrets:
  deploy-key: {file: secrets/deploy_ed25519, refs: [refs/heads/main], repos: ["` + aliceNpub + `/shop"]}
  ntfy: {credential: ntfy-token}

targets:
  phone: {ntfy: https://ntfy.example.org/git-builds, token: {secret: ntfy}}
  ci: {webhook: https://ci.example.org/hook, secret: {file: secrets/ci}, format: github}

jobs:
  - name: site                            # kind: site
    repos: ["` + aliceNpub + `/*", "!` + aliceNpub + `/private-*"]
    on: {push: {refs: [refs/heads/*]}, state: {head: true}, sync: {}}
    site: {theme: auto, branches: default, commits: 500, max_bytes: 200MiB}
    publish: {to: sites, keep: {count: 2, for: 10m}}
    concurrency: {group: "site:{{.Repo}}", policy: latest}
    notify: {to: [phone], on: [failure, fixed]}

  - name: test
    repos: ["` + aliceNpub + `/shop"]
    on:
      push: {refs: [refs/heads/*, "!refs/heads/wip/*"], paths: ["**/*.go", go.mod], skip_ci: true}
      pr:   {sandbox: untrusted, require_approval: true}
      schedule: "17 3 * * *"
    exec: {run: [make, test], workdir: checkout}
    limits: {cpu: 50%, memory: 512MiB, tasks: 100, disk: 2GiB, time: 15m}
    retry: {max: 1, on: [infra, timeout]}

  - name: deploy-prod
    repos: ["` + aliceNpub + `/shop"]
    needs: [test]
    on: {push: {refs: [refs/heads/main]}}
    checkout:
      to: /srv/www/shop
      check: [./smoke.sh]
      submodules: off
      sparse: [public/**, smoke.sh]
    after:
      - ssh: {host: aomi, user: deploy, run: [systemctl, reload, shop], key: {secret: deploy-key}, known_hosts: secrets/kh}
    concurrency: {group: shop-prod, policy: queue}
    notify: {to: [phone], on: [success, failure]}

  - name: to-github
    repos: ["` + aliceNpub + `/shop"]
    on: {push: {refs: [refs/heads/*, refs/tags/*]}, state: {}}
    mirror_push: {url: "git@github.com:alice/shop.git", key: {secret: deploy-key}, known_hosts: secrets/kh, prune: true}
    retry: {max: 10, backoff: 5s..1h}

  - name: ci
    repos: ["*/*"]
    on: {push: {}, pr: {}, job: {results: [failure]}}
    webhook: {to: ci, timeout: 15s}
    concurrency: {policy: all}
`

// S0-09 S0-13 S0-24 S0-25 S0-27 S0-37: the example of the specification means what it says.
func TestTheWorkedExample(t *testing.T) {
	c := load(t, worked, nil, nil).Config
	byName := map[string]config.Job{}
	for _, j := range c.Jobs {
		byName[j.Name] = j
	}
	if len(byName) != 5 {
		t.Fatalf("%d jobs", len(byName))
	}
	site := byName["site"]
	if want := (&work.Site{Theme: "auto", Branches: "default", Commits: 500, MaxBytes: 200 << 20,
		Publish: work.Publish{To: "sites", Keep: work.Keep{Count: 2, For: work.Duration(10 * time.Minute)}}}); !reflect.DeepEqual(site.Work, want) {
		t.Errorf("site is told %+v", site.Work)
	}
	if site.Policy != jobs.Latest || site.Group != "site:{{.Repo}}" || site.On.State == nil || !site.On.State.Head || site.On.Sync == nil ||
		len(site.Notices) != 1 || !reflect.DeepEqual(site.Notices[0].On, []string{"failure", "fixed"}) {
		t.Errorf("site is %+v", site)
	}
	test := byName["test"]
	if e := test.Work.(*work.Exec); e.Limits.Memory != 512<<20 || e.Limits.Tasks != 100 || test.Timeout != 15*time.Minute {
		t.Errorf("limits beside exec: %+v, %v", e.Limits, test.Timeout)
	}
	if !reflect.DeepEqual(test.Retry, &jobs.Retry{Max: 1, On: []string{"infra", "timeout"}}) || !test.On.Push.SkipCI || test.On.Pull == nil || test.On.Schedule == "" {
		t.Errorf("test is %+v", test)
	}
	prod := byName["deploy-prod"]
	if w := prod.Work.(*work.Checkout); len(w.After) != 1 || w.After[0].SSH == nil || !reflect.DeepEqual(prod.Needs, []jobs.Need{{Job: "test"}}) {
		t.Errorf("deploy-prod is %+v, told %+v", prod, w)
	}
	if r := byName["to-github"].Retry; r.Base != 5*time.Second || r.Cap != time.Hour || r.Max != 10 {
		t.Errorf("backoff is %+v", r)
	}
	if key := c.Secrets["deploy-key"]; key.File != "secrets/deploy_ed25519" || c.Targets["ci"].Secret.File != "secrets/ci" {
		t.Errorf("secrets are %+v, %+v", key, c.Targets["ci"])
	}
	known, err := filepath.Abs("secrets/kh") // beside the file, and whole
	if err != nil {
		t.Fatal(err)
	}
	if got := prod.Work.(*work.Checkout).After[0].SSH.KnownHosts; got != known || !strings.Contains(string(prod.Spec), `"known_hosts":"`+known+`"`) {
		t.Errorf("the file of known hosts is %s, told %s", got, prod.Spec)
	}
	if got := byName["to-github"].Work.(*work.MirrorPush).KnownHosts; got != known {
		t.Errorf("the file of known hosts is %s", got)
	}
	if e := c.Engine; e.Workers != 4 || e.Timeout != 10*time.Minute || e.Logs.Total != 5<<30 {
		t.Errorf("the engine is %+v", e)
	}
}

// S0-23 S3-38: a file of known hosts is looked for beside the configuration, wherever the server is started.
func TestKnownHostsBesideTheFile(t *testing.T) {
	const head = "secrets: {k: {file: k, repos: ['*/*']}}\njobs:\n  - name: x\n    repos: ['*/*']\n    on: {push: {}}\n    ssh: {host: aomi, run: [x], key: {secret: k}, known_hosts: "
	for _, c := range []struct{ file, known, want string }{
		{"/etc/my house/gitroost.yaml", "kh", "/etc/my house/kh"},
		{"/etc/my house/gitroost.yaml", "../kh", "/etc/kh"},
		{"/etc/house/gitroost.yaml", "/srv/kh", "/srv/kh"},
		{"/etc/house/gitroost.yaml", "aomi ssh-ed25519 AAAA", "aomi ssh-ed25519 AAAA"},
	} {
		l, err := config.Load(config.Sources{File: c.file, Read: file(c.file, head+c.known+"}\n")})
		if err != nil {
			t.Errorf("%s: %v", c.known, err)
			continue
		}
		if got := l.Config.Jobs[0].Work.(*work.SSH).KnownHosts; got != c.want {
			t.Errorf("%s in %s is %s, want %s", c.known, c.file, got, c.want)
		}
	}
}

// Every fault has its line and column, and says what to do. S0-08 S0-16 S3-46
func TestFaultsOfJobs(t *testing.T) {
	head := "jobs:\n  - name: x\n    repos: [\"*/*\"]\n"
	for _, c := range []struct{ yaml, where, text string }{
		{"jobs: {name: x}", "1:7", "jobs is a list"},
		{"jobs: [x]", "1:8", "a job is a group of options"},
		{"jobs:\n  - exec: {run: [x]}\n    repos: [\"*/*\"]\n", "2:5", "a job needs a name"},
		{head, "2:11", "does not say what it does"},
		{head + "    exec: {run: [x]}\n    webhook: {url: https://x.example}\n", "5:5", "one kind"},
		{head + "    exec: {run: [x]}\n    exec: {run: [y]}\n", "5:5", "set twice, first in line 4"},
		{head + "    exec: {run: [x], run: [y]}\n", "4:22", "set twice"},
		{head + "    exec: {runn: [x]}\n", "4:12", `did you mean "run"?`},
		{head + "    exec: {run: x}\n", "4:17", "exec"},
		{head + "    exec: {}\n", "4:5", "a list is needed, the program first"},
		{head + "    exec: &a {run: [x]}\n", "4:11", "group of options"},
		{head + "    exec: {run: *a}\n", "4:17", ""},
		{head + "    exec: {run: [x]}\n    onn: {push: {}}\n", "5:5", `did you mean "on"?`},
		{head + "    exec: {run: [x]}\n    on: {push: {ref: [x]}}\n", "5:17", `did you mean "refs"?`},
		{head + "    exec: {run: [x]}\n    on: {push: {refs: x}}\n", "5:23", "refs is a list"},
		{head + "    exec: {run: [x]}\n    on: {push: {refs: [\"[\"]}}\n", "5:23", ""},
		{head + "    exec: {run: [x]}\n    on: {schedule: \"* * *\"}\n", "5:20", "a schedule has five"},
		{head + "    exec: {run: [x]}\n    on: {pr: {sandbox: plain}}\n", "5:24", "always untrusted"},
		{head + "    exec: {run: [x]}\n    on: {pr: {require_approval: perhaps}}\n", "5:33", "require_approval"},
		{head + "    exec: {run: [x]}\n    needs: [y]\n", "5:13", `no job "y"`},
		{head + "    exec: {run: [x]}\n    needs: [x]\n", "1:1", "circle"},
		{head + "    exec: {run: [x]}\n    needs: [{job: x, if: never}]\n", "5:26", "not one of ok, failed, always"},
		{head + "    exec: {run: [x]}\n    concurrency: {policy: all-of-them}\n", "5:27", "not one of latest, queue, cancel, all"},
		{head + "    exec: {run: [x]}\n    retry: {max: many}\n", "5:18", "not a whole number"},
		{head + "    exec: {run: [x]}\n    retry: {backoff: soon}\n", "5:22", "5s..1h"},
		{head + "    exec: {run: [x]}\n    timeout: -1s\n", "5:14", "timeout"},
		{head + "    webhook: {url: https://x.example, method: GET}\n", "4:5", "POST, PUT or PATCH"},
		{head + "    webhook: {to: ci}\n", "4:5", `no target "ci"`},
		{head + "    webhook: {url: https://x.example, secret: {secret: k}}\n", "4:5", `no secret "k"`},
		{"secrets: {k: {env: K}}\n" + head + "    webhook: {url: https://x.example, secret: {secret: k}}\n", "5:5", "for which repositories"},
		{head + "    exec: {run: [x]}\n    notify: {to: [phone]}\n", "5:13", `no target "phone"`},
		{head + "    exec: {run: [x]}\n    notify: {to: [phone], on: [sometimes]}\n", "5:13", "success, failure, fixed"},
		{"jobs:\n  - name: x\n    site: {theme: nope}\n", "3:5", "nope"},
		{"jobs:\n  - name: x\n    exec: {run: [make]}\n", "2:11", "for which repositories"},
		{"jobs:\n  - name: x\n    site: {}\n  - name: x\n    site: {}\n", "4:11", "the first in line 2"},
		{"jobs:\n  - name: X y\n    site: {}\n", "2:11", "not the name of a job"},
		{"secrets: {k: hunter2}", "1:11", "not written into the configuration"},
		{"secrets: {k: {file: a, env: B}}", "1:11", "only one of"},
		{"secrets: {k: {}}", "1:11", "one of file, env and credential"},
		{"secrets: {k: {value: hunter2}}", "1:15", "unknown option"},
		{"secrets: {\"../k\": {env: K}}", "1:11", "not a name"},
		{"targets: {t: {ntfy: https://n.example/t, token: hunter2}}", "1:42", "not written into the configuration"},
		{"targets: {t: {ntfy: https://n.example/t, token: {secret: k}}}", "1:11", `no secret "k"`},
		{"targets: {t: {ntfi: https://n.example/t}}", "1:15", `did you mean "ntfy"?`},
		{"trust:\n  - match: [\"*/*\"]\n    allow: [site]\n", "2:13", "does not name the key"},
		{"jobs: []\njobs: []\n", "2:1", "set twice"},
	} {
		_, err := config.Load(config.Sources{File: "c.yaml", Read: func(string) ([]byte, error) { return []byte(c.yaml), nil }})
		if err == nil {
			t.Errorf("no fault in\n%s", c.yaml)
			continue
		}
		first, _, _ := strings.Cut(err.Error(), "\n")
		if !strings.HasPrefix(first, "c.yaml:"+c.where+": ") || !strings.Contains(first, c.text) {
			t.Errorf("%s\nsays %s\nwant c.yaml:%s: …%s…", c.yaml, first, c.where, c.text)
		}
		if strings.Contains(first, "hunter2") {
			t.Errorf("a secret is repeated: %s", first)
		}
	}
}

// jobs.md 3.11: a secret is for its repositories and refs, and never for what a pull request brought.
func TestWhoMayHaveASecret(t *testing.T) {
	shop := grasp.Addr{Owner: aliceHex, ID: "shop"}
	on := func(repo grasp.Addr, ref grasp.RefName, class jobs.Class, trigger jobs.Trigger) jobs.Job {
		return jobs.Job{Repo: repo, Ref: ref, Class: class, Trigger: trigger}
	}
	bound := config.SecretSource{Repos: []string{aliceNpub + "/shop"}, Refs: []string{"refs/heads/main"}}
	all := config.SecretSource{Repos: []string{"*/*"}}
	for _, c := range []struct {
		s    config.SecretSource
		j    jobs.Job
		want bool
	}{
		{bound, on(shop, "refs/heads/main", jobs.Operator, jobs.OnPush), true},
		{bound, on(shop, "refs/heads/dev", jobs.Operator, jobs.OnPush), false},
		{bound, on(shop, "", jobs.Operator, jobs.OnState), false},
		{bound, on(grasp.Addr{Owner: aliceHex, ID: "shop2"}, "refs/heads/main", jobs.Operator, jobs.OnPush), false},
		{bound, on(grasp.Addr{Owner: grasp.PubKey(strings.Repeat("ab", 32)), ID: "shop"}, "refs/heads/main", jobs.Operator, jobs.OnPush), false},
		{bound, on(shop, "refs/heads/main", jobs.Untrusted, jobs.OnJob), false},
		{bound, on(shop, "refs/heads/main", jobs.Operator, jobs.OnPull), false},
		{all, on(shop, "refs/heads/dev", jobs.Operator, jobs.OnPush), true},
		{all, on(shop, "refs/tags/v1", jobs.Operator, jobs.OnPush), true},
		{all, on(shop, "", jobs.Operator, jobs.OnState), true},
		{all, on(shop, "refs/nostr/"+grasp.RefName(strings.Repeat("1", 64)), jobs.Operator, jobs.OnManual), false},
		{all, on(grasp.Addr{Owner: aliceHex, ID: "shop", Box: true}, "refs/heads/main", jobs.Operator, jobs.OnPush), false},
		{config.SecretSource{}, on(shop, "refs/heads/main", jobs.Operator, jobs.OnPush), false},
	} {
		if got := c.s.For(c.j); got != c.want {
			t.Errorf("%+v for %+v: %v", c.s, c.j, got)
		}
	}
}

// Whatever the file holds, reading it ends, and what is read makes a book.
func FuzzJobs(f *testing.F) {
	f.Add(worked)
	f.Add("jobs:\n  - name: x\n    repos: [a]\n    exec: {run: [x]}\n    limits: {time: 5s}\n    notify: [{to: [a]}]\n")
	f.Add("jobs: [{name: x, site: {}, on: {push: , tag: {}}}]")
	f.Add("secrets: {a: {env: B, repos: ['*/*']}}\ntargets: {t: {webhook: 'https://x.example'}}")
	f.Fuzz(func(t *testing.T, file string) {
		l, err := config.Load(config.Sources{File: "c.yaml", Read: func(string) ([]byte, error) { return []byte(file), nil }})
		if err != nil {
			return
		}
		if _, err := jobs.NewBook(l.Config.Definitions()); err != nil {
			t.Errorf("%v", err)
		}
		for _, j := range l.Config.Jobs {
			if j.Work == nil || j.Where == "" {
				t.Errorf("%+v", j)
			}
		}
	})
}

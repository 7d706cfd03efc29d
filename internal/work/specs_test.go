package work_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/gitroost/gitroost/internal/work"
)

func decode(t *testing.T, kind, text string) (work.Spec, error) {
	t.Helper()
	spec, ok := work.NewSpec(kind)
	if !ok {
		t.Fatalf("there is no kind %q", kind)
	}
	err := yaml.UnmarshalWithOptions([]byte(text), spec, yaml.Strict())
	return spec, err
}

// What an operator writes is what a job is told, whichever way it comes to it.
// S3-37 S3-26 S3-43 S3-19 S0-27
func TestSpecsAreReadAsWritten(t *testing.T) {
	for _, c := range []struct {
		kind, text string
		want       work.Spec
	}{
		{"exec", "{run: [make, test], workdir: checkout, limits: {cpu: 50%, memory: 512MiB, tasks: 100, disk: 2 GiB, time: 15m}, secrets: [npm], env: {CI: 'true'}}",
			&work.Exec{Run: []string{"make", "test"}, Workdir: "checkout", SecretNames: []string{"npm"}, Env: map[string]string{"CI": "true"},
				Limits: work.Limits{CPU: 50, Memory: 512 << 20, Tasks: 100, Disk: 2 << 30, Time: work.Duration(15 * time.Minute)}}},
		{"exec", "{run: [/srv/hooks/post-receive], compat: git-hooks, workdir: bare, limits: {disk: 1024}}",
			&work.Exec{Run: []string{"/srv/hooks/post-receive"}, Compat: "git-hooks", Workdir: "bare", Limits: work.Limits{Disk: 1024}}},
		{"ssh", "{host: aomi, user: deploy, run: [systemctl, reload, shop], key: {secret: deploy-key}, known_hosts: secrets/kh, connect_timeout: 5s}",
			&work.SSH{Host: "aomi", User: "deploy", Run: []string{"systemctl", "reload", "shop"}, Key: work.SecretRef{Secret: "deploy-key"}, KnownHosts: "secrets/kh",
				ConnectTimeout: work.Duration(5 * time.Second)}},
		{"checkout", "{to: /srv/www/shop, check: [./smoke.sh], submodules: off, sparse: ['public/**', smoke.sh], touch_file: touched, error_file: /run/shop.json, keep: {count: 3, for: 7d}, publish: {mode: '0775', group: www-data}, after: [{ssh: {host: aomi, run: [x], key: {secret: k}, known_hosts: kh}}]}",
			&work.Checkout{To: "/srv/www/shop", Gate: []string{"./smoke.sh"}, Submodules: "off", Sparse: []string{"public/**", "smoke.sh"}, TouchFile: "touched", ErrorFile: "/run/shop.json",
				Keep: work.Keep{Count: 3, For: work.Duration(168 * time.Hour)}, Publish: work.Publish{Mode: "0775", Group: "www-data"},
				After: []work.Step{{SSH: &work.SSH{Host: "aomi", Run: []string{"x"}, Key: work.SecretRef{Secret: "k"}, KnownHosts: "kh"}}}}},
		{"site", "{theme: auto, branches: default, commits: 500, max_bytes: 200MiB, publish: {to: sites, keep: {count: 2, for: 10m}}}",
			&work.Site{Theme: "auto", Branches: "default", Commits: 500, MaxBytes: 200 << 20, Publish: work.Publish{To: "sites", Keep: work.Keep{Count: 2, For: work.Duration(10 * time.Minute)}}}},
		{"site", "{branches: 3}", &work.Site{Branches: "3"}},
	} {
		got, err := decode(t, c.kind, c.text)
		if err == nil {
			err = got.Check()
		}
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s %s\n gives %+v, %v\n want  %+v", c.kind, c.text, got, err, c.want)
		}
		data, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		again, _ := work.NewSpec(c.kind)
		if err := json.Unmarshal(data, again); err != nil || !reflect.DeepEqual(again, c.want) {
			t.Errorf("%s as JSON: %s gives %+v, %v", c.kind, data, again, err)
		}
	}
}

// What makes no sense is said before anything runs, in the words of the configuration. S0-16 S3-40
func TestSpecsThatMakeNoSense(t *testing.T) {
	for _, c := range []struct{ kind, text, want string }{
		{"exec", "{}", "run"},
		{"exec", "{run: ['']}", "run"},
		{"exec", "{run: [x], workdir: none}", "workdir"},
		{"exec", "{run: [x], compat: gitlab}", "compat"},
		{"exec", "{run: [x], sandbox: docker}", "sandbox"},
		{"exec", "{run: [x], env: {LD_PRELOAD: x}}", "LD_PRELOAD"},
		{"exec", "{run: [x], env: {PATH: x}}", "PATH"},
		{"exec", "{run: [x], env: {GIT_DIR: x}}", "GIT_DIR"},
		{"exec", "{run: [x], env: {'A=B': x}}", "A=B"},
		{"exec", "{run: [x], secrets: [../x]}", "../x"},
		{"exec", "{run: [x], secret_env: {BASH_ENV: x}}", "BASH_ENV"},
		{"exec", "{run: [x], limits: {cpu: 50}}", "50"},
		{"exec", "{run: [x], limits: {memory: 1MiB}}", "memory"},
		{"exec", "{run: [x], limits: {memory: much}}", "much"},
		{"exec", "{run: [x], limits: {time: -5s}}", "-5s"},
		{"exec", "{run: [x], limits: {disc: 5GB}}", "disc"},
		{"exec", "{run: [x], run_as: ':'}", "run_as"},
		{"ssh", "{host: aomi, run: [x], key: {secret: k}}", "known_hosts"},
		{"ssh", "{host: -oProxyCommand=x, run: [x], key: {secret: k}, known_hosts: kh}", "host"},
		{"ssh", "{host: a, user: '-x', run: [x], key: {secret: k}, known_hosts: kh}", "user"},
		{"ssh", "{host: a, run: [x], known_hosts: kh}", "key"},
		{"checkout", "{}", "to"},
		{"checkout", "{to: ../x}", "to"},
		{"checkout", "{to: /srv/x, submodules: recursive}", "submodules"},
		{"checkout", "{to: /srv/x, symlinks: yes}", "symlinks"},
		{"checkout", "{to: /srv/x, error_file: x}", "error_file"},
		{"checkout", "{to: /srv/x, touch_file: a/b}", "touch_file"},
		{"checkout", "{to: /srv/x, publish: {mode: '0777'}}", "mode"},
		{"checkout", "{to: /srv/x, publish: {mode: '0455'}}", "mode"},
		{"checkout", "{to: /srv/x, after: [{}]}", "step 1"},
		{"checkout", "{to: /srv/x, keep: {count: -1}}", "keep"},
		{"site", "{theme: nope}", "nope"},
		{"site", "{branches: all}", "branches"},
		{"site", "{publish: {to: a/../b}}", "publish"},
	} {
		spec, err := decode(t, c.kind, c.text)
		if err == nil {
			err = spec.Check()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v; want a word of %q", c.kind, c.text, err, c.want)
		}
	}
}

func FuzzSize(f *testing.F) {
	for _, s := range []string{"512MiB", "2 GiB", "0", "1kB", "9223372036854775807", "-1", "TiB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var n, again work.Size
		if n.UnmarshalText([]byte(text)) != nil {
			return
		}
		if n < 0 {
			t.Fatalf("%q is %d", text, n)
		}
		if err := again.UnmarshalText([]byte(n.String())); err != nil || again != n {
			t.Fatalf("%q is written %q, which is %d, %v", text, n, again, err)
		}
	})
}

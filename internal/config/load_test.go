package config_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/config"
)

// file returns a Read that knows one file.
func file(name, text string) func(string) ([]byte, error) {
	return func(n string) ([]byte, error) {
		if n != name {
			return nil, &fs.PathError{Op: "open", Path: n, Err: fs.ErrNotExist}
		}
		return []byte(text), nil
	}
}

func load(t *testing.T, yaml string, env, flags []string) config.Loaded {
	t.Helper()
	l, err := config.Load(config.Sources{Flags: flags, Env: env, Read: file("gitroost.yaml", yaml)})
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return l
}

func TestNothingIsRequired(t *testing.T) { // README decision 11
	l, err := config.Load(config.Sources{})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(l.Config, config.Default()) {
		t.Error("Load without sources is not Default")
	}
	if len(l.Warnings) > 0 {
		t.Errorf("warnings: %q", l.Warnings)
	}
	c := l.Config
	if c.Listen != "127.0.0.1:7334" || !c.OnlyHere() {
		t.Errorf("the default listener %s is open to others", c.Listen)
	}
}

func TestDefaultsOfClients(t *testing.T) { // README decision 7, N-013, G01-402, G01-707, G01-115, G01-902
	c := config.Default()
	for what, ok := range map[string]bool{
		"state event":   c.Limits.StateEvent == 1<<20,
		"event":         c.Limits.Event == 256<<10,
		"message":       c.Limits.Message == 4<<20,
		"subscriptions": c.Limits.Subscriptions == 200,
		"filters":       c.Limits.Filters == 20,
		"values":        c.Limits.FilterValues == 2000,
		"rate":          c.Limits.EventsPerMinute == 120 && c.Limits.EventBurst == 120,
		"networks":      c.Limits.AddressEvents >= 10*c.Limits.EventsPerMinute && c.Limits.AddressEventBurst >= 10*c.Limits.EventBurst,
		"large filters": c.Limits.FilterMemory >= 20*2000*256,
		"large states":  c.Limits.EventTags >= c.Limits.PushCommands && c.Limits.Uploads/4 >= c.Limits.Message,
		"probes":        c.Relay.Negentropy && c.Limits.SubID >= 250,
		"commands":      c.Limits.PushCommands == 10000,
		"pack":          c.Limits.MaxPush == 2<<30 && c.Limits.MaxPRPush == 256<<20,
		"waiting":       c.Limits.WaitingPerKey == 100 && c.Limits.WaitingPerAddress == 1000 && c.Limits.Waiting == 50000,
		"new repos":     c.Limits.NewRepos == 600,
		"ttl":           c.Purgatory.TTL == 30*time.Minute && c.Purgatory.OrphanTTL == 20*time.Minute,
		"grace":         c.Repos.WithdrawnGrace == 30*24*time.Hour && c.Repos.DeletedGrace == 90*24*time.Hour,
	} {
		if !ok {
			t.Errorf("%s: not what clients need", what)
		}
	}
}

func TestPrecedence(t *testing.T) { // flags > environment > file > default, one name in all
	const yaml = "limits:\n  max_push: 1 GiB\n"
	env := []string{"GITROOST_LIMITS_MAX_PUSH=512 MiB", "PATH=/bin"}
	flags := []string{"--limits.max-push=300MiB"}
	for _, c := range []struct {
		yaml       string
		env, flags []string
		want       int64
		origin     string
	}{
		{"", nil, nil, 2 << 30, "default"},
		{yaml, nil, nil, 1 << 30, "gitroost.yaml:2"},
		{"limits.max_push: 1 GiB", nil, nil, 1 << 30, "gitroost.yaml:1"},
		{yaml, env, nil, 512 << 20, "env GITROOST_LIMITS_MAX_PUSH"},
		{yaml, env, flags, 300 << 20, "flag --limits.max-push"},
		{yaml, env, []string{"--limits.max_push", "300 MiB"}, 300 << 20, "flag --limits.max-push"},
	} {
		l := load(t, c.yaml, c.env, c.flags)
		if got := l.Config.Limits.MaxPush; got != c.want {
			t.Errorf("%s: max_push = %d, want %d", c.origin, got, c.want)
		}
		if got := l.Origins["limits.max_push"]; got != c.origin {
			t.Errorf("origin = %q, want %q", got, c.origin)
		}
	}
}

func TestEverySettingHasOneNameEverywhere(t *testing.T) {
	samples := map[string]string{
		"text": "x.example", "list": "a.example, b.example", "list of CIDR ranges": "10.0.0.0/8",
		"list of npub=size": "npub1l2vyh47mk2p0qlsku7hg0vn29faehy9hy34ygaclpn66ukqp3afqutajft=20 GiB",
		"true or false":     "true", "public key": "npub1l2vyh47mk2p0qlsku7hg0vn29faehy9hy34ygaclpn66ukqp3afqutajft",
		"list of numbers": "1, 7", "list of public keys": "npub1l2vyh47mk2p0qlsku7hg0vn29faehy9hy34ygaclpn66ukqp3afqutajft",
	}
	special := map[string]string{
		"listen": "127.0.0.1:9", "admin.listen": "127.0.0.1:8", "icon": "https://x.example/i.png",
		"archive.mode": "all", "sync.relays": "wss://a.example", "log.level": "debug", "log.format": "json", "data": "/srv/x", "search": "false",
		"limits.address_connections": "99", "limits.waiting": "49999", "limits.waiting_per_key": "99", "limits.waiting_per_address": "999",
		"relay.negentropy": "false", "limits.filter_memory_total": "129 MiB", "limits.send_queue_total": "65 MiB", "limits.neg_records_total": "2000001", "limits.neg_sessions": "3", "limits.memory": "321 MiB", "limits.greedy_share": "26",
		"jobs_engine.sandbox": "plain", "jobs_engine.nostr": "ngit-ci", "jobs_engine.untrusted_sandbox": "systemd", "jobs_engine.logs.age": "2h", "jobs_engine.logs.total": "2 MiB", "jobs_engine.age": "2d",
		"git.config": "pack.depth=20", "log.rooms": "git=debug", "sync.enabled": "false", "sync.git": "false", "limits.send_queue": "9 MiB", "limits.message": "5 MiB", "limits.max_pr_push": "255 MiB",
	}
	base := config.Default()
	for _, s := range base.Settings() {
		v, ok := special[s.Name]
		if !ok {
			v, ok = samples[s.Unit]
		}
		if !ok {
			v = map[string]string{"count": "321", "bytes": "700 KiB", "duration": "31s"}[s.Unit]
			if strings.HasPrefix(s.Name, "purgatory") || s.Name == "limits.push_time" || s.Name == "cache.age" {
				v = "31m"
			}
			if s.Default == "2 GiB" {
				v = "1 GiB"
			}
		}
		byFlag := load(t, "", nil, []string{"--" + s.Flag() + "=" + v})
		byEnv := load(t, "", []string{s.Env() + "=" + v}, nil)
		byFile := load(t, s.Name+": "+v, nil, nil)
		for how, l := range map[string]config.Loaded{"flag": byFlag, "env": byEnv, "file": byFile} {
			changed := 0
			for _, got := range l.Config.Settings() {
				if got.Value() == valueOf(base, got.Name) {
					continue
				}
				if changed++; got.Name != s.Name {
					t.Errorf("%s %s changed %s", how, s.Name, got.Name)
				}
			}
			if changed != 1 {
				t.Errorf("%s %s=%s changed %d settings", how, s.Name, v, changed)
			}
		}
		if !reflect.DeepEqual(byFlag.Config, byEnv.Config) || !reflect.DeepEqual(byEnv.Config, byFile.Config) {
			t.Errorf("%s: flag, environment and file disagree", s.Name)
		}
	}
}

func valueOf(c config.Config, name string) string {
	for _, s := range c.Settings() {
		if s.Name == name {
			return s.Value()
		}
	}
	return "?"
}

func TestEveryFieldHasASetting(t *testing.T) {
	c := config.Default()
	bound := len(c.Settings())
	var count func(reflect.Type) int
	count = func(rt reflect.Type) int {
		n := 0
		for f := range rt.Fields() {
			if f.Type.Kind() == reflect.Struct {
				n += count(f.Type)
			} else {
				n++
			}
		}
		return n
	}
	sections := 4 // Jobs, Secrets, Targets and Trust stand in the file alone
	if fields := count(reflect.TypeFor[config.Config]()) - sections; fields != bound {
		t.Errorf("%d fields, %d settings", fields, bound)
	}
	seen := map[string]bool{}
	for _, s := range c.Settings() {
		if seen[s.Name] {
			t.Errorf("%s is in the table twice", s.Name)
		}
		seen[s.Name] = true
		if len(s.Doc) < 20 || !strings.HasSuffix(s.Doc, ".") {
			t.Errorf("%s: no reason given", s.Name)
		}
	}
}

func TestFaultsNamePlaceAndRemedy(t *testing.T) {
	for _, c := range []struct {
		name, yaml string
		want       []string // in this order
	}{
		{"misspelt in a group", "name: x\nlimits:\n  max_psuh: 5 GB\n", []string{
			`gitroost.yaml:3:3: unknown option "max_psuh" in "limits"; did you mean "limits.max_push"?`,
			"   2| limits:", "   3|   max_psuh: 5 GB", "    |   ~~~~~~~~"}},
		{"misspelt on top", "lisen: 127.0.0.1:1\n", []string{
			`gitroost.yaml:1:1: unknown option "lisen"; did you mean "listen"?`}},
		{"group misspelt", "limit:\n  max_push: 1 GiB\n", []string{
			`gitroost.yaml:1:1: unknown option "limit"; did you mean "limits"?`}},
		{"without its group", "max_push: 1 GiB\n", []string{`did you mean "limits.max_push"?`}},
		{"nothing like it", "colour: blue\n", []string{`unknown option "colour"` + "\n"}},
		{"twice", "name: a\nname: b\n", []string{`gitroost.yaml:2:1: "name" is set twice, first in line 1`}},
		{"twice in two spellings", "limits.filters: 9\nlimits:\n  filters: 8\n", []string{
			`gitroost.yaml:3:3: "limits.filters" is set twice, first in line 1`}},
		{"bad size", "limits:\n  max_push: 5 GBit\n", []string{
			`gitroost.yaml:2:13: limits.max_push is "5 GBit", not a size such as 512 MiB or 2 GiB`, "    |             ~~~~~~"}},
		{"out of range", "limits:\n  filters: 0\n", []string{`limits.filters is 0; it may be 1 to 1000`}},
		{"all at once", "nmae: x\nlimits:\n  filters: many\n  idle: 3 moons\nowner: nsec1x\n", []string{
			`:1:1: unknown option "nmae"`, `:3:12: limits.filters is "many", not a whole number`,
			`:4:9: limits.idle is "3 moons", not a duration`, `:5:8: owner is a secret key`}},
		{"no yaml", "name: [a\n", []string{"gitroost.yaml:1:"}},
		{"a list for one", "name:\n  - a\n", []string{"name takes one value, not a list"}},
		{"no value", "name:\n", []string{"gitroost.yaml:1:1: name has no value"}},
		{"anchor", "name: &a x\n", []string{"expected a plain value for name"}},
		{"alias", "description: &a x\nname: *a\n", []string{"expected a plain value for name"}},
		{"merge", "<<: {name: x}\n", []string{"expected the name of an option"}},
		{"two documents", "name: a\n---\nname: b\n", []string{"several documents"}},
		{"a list of options", "- name\n", []string{"expected lines such as"}},
		{"a group with a value", "limits: 5\n", []string{`"limits" is a group of options`}},
		{"not UTF-8", "name: \xff\n", []string{"is not UTF-8"}},
		{"domain with a path", "domain: https://x.example/git\n", []string{"not a host such as git.example.com"}},
		{"domain nobody can call", "domain: 0.0.0.0:80\n", []string{"an address that nobody can call"}},
		{"crossed limits", "limits:\n  max_push: 1 MiB\n", []string{
			`gitroost.yaml:2: limits.max_pr_push (256 MiB) is larger than limits.max_push (1 MiB)`}},
		{"pings that come too late", "limits:\n  ping: 3m\n", []string{
			`gitroost.yaml:2: limits.ping (3m) is not shorter than limits.socket_idle (2m)`}},
		{"a wrong clock in public", "listen: 0.0.0.0:5\ntesting.clock_skew: -10m\n", []string{"testing.clock_skew (-10m) is for tests, and 0.0.0.0:5 may be reached by the world"}},
		{"a wrong clock under a name", "listen: git.example.com:5\ntesting.clock_skew: 10m\n", []string{"is for tests"}},
		{"a clock that is too wrong", "testing.clock_skew: -8d\n", []string{"it may be -7d to 7d"}},
		{"control characters", "name: \"a\\u202eb\"\n", []string{"name contains the control character U+202E"}},
		{"metrics in public", "listen: 127.0.0.1:5\nadmin.listen: 127.0.0.1:5\n", []string{"give it a port of its own"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := config.Load(config.Sources{Read: file("gitroost.yaml", c.yaml)})
			var faults config.Faults
			if !errors.As(err, &faults) {
				t.Fatalf("err = %v, want Faults", err)
			}
			text := err.Error() + "\n"
			for _, w := range c.want {
				i := strings.Index(text, w)
				if i < 0 {
					t.Fatalf("no %q in its place in\n%s", w, err)
				}
				text = text[i+len(w):]
			}
		})
	}
}

func TestFaultsOfFlagsAndEnvironment(t *testing.T) {
	_, err := config.Load(config.Sources{
		Flags: []string{"--lisen", "x", "--name=a", "--name=b", "--limits.idle", "soon", "--domain"},
		Env:   []string{"GITROOST_LOG_LEVEL=loud", "GITROOST_LIMITS_FILTERS=x"},
	})
	want := []string{
		`--lisen: unknown option; did you mean "listen"?`,
		`--name: is given twice`,
		`--domain: needs a value`,
		`GITROOST_LOG_LEVEL: log.level is "loud", not one of debug, info, warn, error`,
		`GITROOST_LIMITS_FILTERS: limits.filters is "x", not a whole number`,
		`--limits.idle: limits.idle is "soon", not a duration`,
	}
	var got []string
	var faults config.Faults
	errors.As(err, &faults)
	for _, f := range faults {
		got = append(got, f.Where+": "+f.Text)
	}
	if len(got) != len(want) {
		t.Fatalf("%d faults, want %d:\n%v", len(got), len(want), err)
	}
	for _, w := range want {
		if !slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, w) }) {
			t.Errorf("missing %q in\n%v", w, err)
		}
	}
}

func TestUnknownEnvironmentIsAWarning(t *testing.T) {
	// GITROOST_SERVICE_HOST is what Kubernetes sets beside a service of that name.
	l := load(t, "", []string{"GITROOST_SERVICE_HOST=10.0.0.1", "GITROOST_LISTEM=x", "GITROOST_KEY=nsec1", "GITROOST_CONFIG=gitroost.yaml"}, nil)
	if len(l.Warnings) != 2 {
		t.Fatalf("warnings: %q", l.Warnings)
	}
	if !strings.Contains(l.Warnings[1], `did you mean "GITROOST_LISTEN"?`) {
		t.Errorf("no suggestion: %q", l.Warnings[1])
	}
}

func TestWhichFile(t *testing.T) {
	read := func(n string) ([]byte, error) {
		if !strings.HasSuffix(n, ".yaml") {
			return nil, fmt.Errorf("wrapped: %w", &fs.PathError{Op: "open", Path: n, Err: fs.ErrNotExist})
		}
		return []byte("name: from " + n), nil
	}
	for _, c := range []struct {
		src  config.Sources
		want string
	}{
		{config.Sources{}, "gitroost.yaml"},
		{config.Sources{Env: []string{"GITROOST_CONFIG=e.yaml"}}, "e.yaml"},
		{config.Sources{Env: []string{"GITROOST_CONFIG=e.yaml"}, Flags: []string{"--config", "f.yaml"}}, "f.yaml"},
		{config.Sources{File: "g.yaml", Flags: []string{"--config=f.yaml"}}, "g.yaml"},
	} {
		c.src.Read = read
		l, err := config.Load(c.src)
		if err != nil || l.File != c.want || l.Config.Name != "from "+c.want {
			t.Errorf("read %q (%v), want %q", l.File, err, c.want)
		}
	}
	if _, err := config.Load(config.Sources{Flags: []string{"--config=gone"}, Read: read}); err == nil ||
		!strings.Contains(err.Error(), "gone: cannot be read") {
		t.Errorf("a named file that is missing: %v", err)
	}
}

func TestArgumentsThatAreNoFlags(t *testing.T) {
	l := load(t, "", nil, []string{"one", "--ephemeral", "two", "--", "--three"})
	if !slices.Equal(l.Rest, []string{"one", "two", "--three"}) || !l.Config.Ephemeral {
		t.Errorf("rest = %q, ephemeral = %v", l.Rest, l.Config.Ephemeral)
	}
}

func TestThirdPartySuites(t *testing.T) { // people §3.5
	env := []string{
		"NGIT_BIND_ADDRESS=127.0.0.1:4444", "NGIT_DOMAIN=127.0.0.1:4444", "NGIT_GIT_DATA_PATH=/tmp/x",
		"NGIT_DATABASE_BACKEND=memory", "NGIT_TEST=1", "NGIT_GRASP06_ENABLE=true",
	}
	l := load(t, "name: x", env, nil)
	c := l.Config
	if c.Listen != "127.0.0.1:4444" || c.Public("127.0.0.1:4444") != "http://127.0.0.1:4444" || c.Data != "/tmp/x" || !c.Ephemeral {
		t.Errorf("%+v", c)
	}
	if len(l.Warnings) != 0 || !c.PRs.Enabled {
		t.Errorf("warnings: %q, prs.enabled = %t", l.Warnings, c.PRs.Enabled)
	}
	for v, want := range map[string]bool{"": false, "false": false, "0": false, "1": true, "TRUE": true} {
		if l := load(t, "", []string{"NGIT_GRASP06_ENABLE=" + v}, nil); l.Config.PRs.Enabled != want {
			t.Errorf("NGIT_GRASP06_ENABLE=%s: prs.enabled = %t", v, l.Config.PRs.Enabled)
		}
	}
	// Our own name beats theirs, theirs beats the file.
	l = load(t, "listen: 127.0.0.1:1", append(env, "GITROOST_LISTEN=127.0.0.1:2"), nil)
	if l.Config.Listen != "127.0.0.1:2" {
		t.Errorf("listen = %s", l.Config.Listen)
	}
	if l = load(t, "listen: 127.0.0.1:1", env, nil); l.Config.Listen != "127.0.0.1:4444" {
		t.Errorf("listen = %s", l.Config.Listen)
	}
}

func TestPublicNames(t *testing.T) { // G01-102: what announcements are compared with
	for _, c := range []struct {
		listen, domain, aliases, bound string
		public                         string
		names                          []string
	}{
		{"127.0.0.1:0", "", "", "127.0.0.1:41000", "http://127.0.0.1:41000", []string{"127.0.0.1:41000", "localhost:41000", "[::1]:41000"}},
		{"0.0.0.0:7334", "", "", "[::]:7334", "http://localhost:7334", []string{"localhost:7334", "127.0.0.1:7334", "[::1]:7334"}},
		{"192.0.2.7:80", "", "", "192.0.2.7:80", "http://192.0.2.7", []string{"192.0.2.7"}},
		{"127.0.0.1:1", "git.example.com", "old.example.com:8443", "127.0.0.1:1", "https://git.example.com", []string{"git.example.com", "old.example.com:8443"}},
		{"127.0.0.1:1", "http://git.lan:8080", "", "127.0.0.1:1", "http://git.lan:8080", []string{"git.lan:8080"}},
		{"127.0.0.1:1", "https://Git.Example.com:443/", "git.example.com", "127.0.0.1:1", "https://git.example.com", []string{"git.example.com"}},
		{"127.0.0.1:1", "bücher.example", "", "127.0.0.1:1", "https://xn--bcher-kva.example", []string{"xn--bcher-kva.example"}},
	} {
		l, err := config.Load(config.Sources{Flags: []string{"--listen=" + c.listen, "--domain=" + c.domain, "--aliases=" + c.aliases}})
		if err != nil {
			t.Errorf("%v: %v", c, err)
			continue
		}
		if got := l.Config.Public(c.bound); got != c.public {
			t.Errorf("Public = %s, want %s", got, c.public)
		}
		if got, want := l.Config.RelayURL(c.bound), "ws"+strings.TrimPrefix(c.public, "http"); got != want {
			t.Errorf("RelayURL = %s, want %s", got, want)
		}
		if got := l.Config.Authorities(c.bound); !slices.Equal(got, c.names) {
			t.Errorf("Authorities = %q, want %q", got, c.names)
		}
	}
}

func TestOpenWithoutDomainWarns(t *testing.T) {
	l := load(t, "", nil, []string{"--listen=0.0.0.0:7334"})
	if len(l.Warnings) != 1 || strings.Contains(l.Config.Public("0.0.0.0:7334"), "0.0.0.0") {
		t.Errorf("warnings %q, public %s", l.Warnings, l.Config.Public("0.0.0.0:7334"))
	}
}

func TestShowTellsOrigins(t *testing.T) {
	l := load(t, "name: x\n", []string{"GITROOST_DOMAIN=git.example.com"}, nil)
	var rows []string
	for line := range strings.Lines(l.Show()) {
		rows = append(rows, strings.Join(strings.Fields(line), " "))
	}
	for _, want := range []string{"name x gitroost.yaml:1", "domain git.example.com env GITROOST_DOMAIN", "limits.max_push 2 GiB default"} {
		if !slices.Contains(rows, want) {
			t.Errorf("no row %q", want)
		}
	}
	if c := config.Default(); len(rows) != len(c.Settings()) {
		t.Errorf("%d rows", len(rows))
	}
	if names := slices.Sorted(maps.Keys(l.Origins)); len(names) != len(rows) {
		t.Errorf("%d origins", len(names))
	}
}

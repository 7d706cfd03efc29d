package doctor_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/doctor"
	"github.com/gitroost/gitroost/internal/store"
)

// patient returns somebody who is well, with a data folder.
func patient(t *testing.T) *doctor.Patient {
	t.Helper()
	cfg := config.Default()
	cfg.Data, cfg.Listen = filepath.Join(t.TempDir(), "data"), "127.0.0.1:0"
	for _, dir := range []struct {
		name string
		mode fs.FileMode
	}{{"", 0o700}, {"git", 0o750}, {"git/npub1alice", 0o750}, {"git/npub1alice/demo.git", 0o750}, {"git/npub1alice/demo.git/objects", 0o750}, {"sites", 0o755}, {"logs", 0o750}} {
		path := filepath.Join(cfg.Data, dir.name)
		if err := errors.Join(os.MkdirAll(path, dir.mode), os.Chmod(path, dir.mode)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(cfg.Data, "server.key"), []byte(strings.Repeat("ab", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), filepath.Join(cfg.Data, "gitroost.db"), store.Config{Now: time.Now})
	if err == nil {
		err = st.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return &doctor.Patient{
		Config: cfg, Now: time.Now,
		Git: func(context.Context, string, ...string) (string, string, error) {
			return "git version 2.55.0\n", "", nil
		},
	}
}

func levels(r doctor.Report, check string) (out []doctor.Level) {
	for _, f := range r.Findings {
		if f.Check == check {
			out = append(out, f.Level)
		}
	}
	return out
}

// S0-36: doctor looks at folders and their modes, and a repository that anybody can write fails.
func TestOffline(t *testing.T) {
	chmod := func(path string, mode fs.FileMode) func(*testing.T, *doctor.Patient) {
		return func(t *testing.T, p *doctor.Patient) {
			if err := os.Chmod(filepath.Join(p.Config.Data, path), mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*testing.T, *doctor.Patient)
		check  string
		want   doctor.Level
	}{
		{"all is well", nil, "data.modes", doctor.OK},
		{"S0-36: a repository 0777", chmod("git/npub1alice/demo.git", 0o777), "data.modes", doctor.Fail},
		{"its objects 0770", chmod("git/npub1alice/demo.git/objects", 0o770), "data.modes", doctor.Fail},
		{"an owner's folder 0777", chmod("git/npub1alice", 0o777), "data.modes", doctor.Fail},
		{"the data folder 0755", chmod("", 0o755), "data.modes", doctor.Warn},
		{"the data folder 0770", chmod("", 0o770), "data.modes", doctor.Fail},
		{"logs 0755", chmod("logs", 0o755), "data.modes", doctor.Warn},
		{"sites 0777", chmod("sites", 0o777), "data.modes", doctor.Fail},
		{"sites 0755", chmod("sites", 0o755), "data.modes", doctor.OK},
		{"the database 0644", chmod("gitroost.db", 0o644), "data.modes", doctor.Warn},
		{"the key 0644", chmod("server.key", 0o644), "server.key", doctor.Fail},
		{"the key is there", nil, "server.key", doctor.OK},
		{"the key is none", func(t *testing.T, p *doctor.Patient) {
			if err := os.WriteFile(filepath.Join(p.Config.Data, "server.key"), []byte("hello"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "server.key", doctor.Fail},
		{"the database is whole", nil, "database", doctor.OK},
		{"the database is a text", func(t *testing.T, p *doctor.Patient) {
			if err := os.WriteFile(filepath.Join(p.Config.Data, "gitroost.db"), []byte(strings.Repeat("no", 9000)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "database", doctor.Fail},
		{"no data folder yet", func(_ *testing.T, p *doctor.Patient) { p.Config.Data += "-new" }, "data", doctor.OK},
		{"the data folder is a file", func(_ *testing.T, p *doctor.Patient) { p.Config.Data += "/server.key" }, "data", doctor.Fail},
		{"git is new", nil, "git", doctor.OK},
		{"git is old", git("git version 2.45.0"), "git", doctor.Warn},
		{"git is too old", git("git version 2.30.2"), "git", doctor.Fail},
		{"git of a vendor", git("git version 2.50.1.windows.1"), "git", doctor.OK},
		{"no git", func(_ *testing.T, p *doctor.Patient) {
			p.Git = func(context.Context, string, ...string) (string, string, error) { return "", "", errors.New("gone") }
		}, "git", doctor.Fail},
		{"the clock is of 1970", func(_ *testing.T, p *doctor.Patient) { p.Now = func() time.Time { return time.Unix(1000, 0) } }, "clock", doctor.Fail},
		{"the clock went back", func(_ *testing.T, p *doctor.Patient) {
			p.Now = func() time.Time { return time.Now().Add(-time.Hour) }
		}, "clock", doctor.Fail},
		{"nobody is on the port", nil, "listen", doctor.OK},
		{"somebody else is on the port", func(t *testing.T, p *doctor.Patient) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			go func() {
				for c, err := l.Accept(); err == nil; c, err = l.Accept() {
					c.Close()
				}
			}()
			p.Config.Listen = l.Addr().String()
		}, "listen", doctor.Fail},
		{"faults of the configuration", func(_ *testing.T, p *doctor.Patient) {
			p.Faults = config.Faults{{Where: "gitroost.yaml:4:1", Text: "unknown option"}}
		}, "config", doctor.Fail},
		{"warnings of the configuration", func(_ *testing.T, p *doctor.Patient) { p.Warnings = []string{"odd"} }, "config", doctor.Warn},
		{"a proxy that is not trusted", func(_ *testing.T, p *doctor.Patient) { p.Config.Domain = "git.example.com" }, "proxy", doctor.Fail},
		{"everybody is trusted", func(_ *testing.T, p *doctor.Patient) {
			p.Config.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
			p.Config.Domain = "git.example.com"
		}, "proxy", doctor.Fail},
		{"a secret that others can read", func(_ *testing.T, p *doctor.Patient) {
			p.Config.Secrets = map[string]config.SecretSource{"token": {Where: "gitroost.yaml:3"}}
			p.Secrets = func(config.Config) map[string]error {
				return map[string]error{"token": errors.New("can be read by others")}
			}
		}, "secrets", doctor.Fail},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := patient(t)
			if tt.change != nil {
				tt.change(t, p)
			}
			r := doctor.Offline(t.Context(), p)
			got := levels(r, tt.check)
			if len(got) != 1 || got[0] != tt.want {
				t.Errorf("%s is %v, want %s: %+v", tt.check, got, tt.want, r)
			}
			if r.Failed() != (tt.want == doctor.Fail) {
				t.Errorf("failed: %v, %+v", r.Failed(), r)
			}
		})
	}
}

func git(version string) func(*testing.T, *doctor.Patient) {
	return func(_ *testing.T, p *doctor.Patient) {
		p.Git = func(context.Context, string, ...string) (string, string, error) { return version + "\n", "", nil }
	}
}

// Nothing is made, changed or left by looking.
func TestOfflineLeavesNothingBehind(t *testing.T) {
	p := patient(t)
	all := func() string {
		var b strings.Builder
		err := filepath.WalkDir(filepath.Dir(p.Config.Data), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			st, err := d.Info()
			if err == nil {
				b.WriteString(path + " " + st.Mode().String() + " " + st.ModTime().String() + "\n")
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	before := all()
	doctor.Offline(t.Context(), p)
	if after := all(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// The packaged folders are those that doctor wants (S0-36).
func TestPackagedFolders(t *testing.T) {
	b, err := os.ReadFile("../../deploy/tmpfiles.d/gitroost.conf")
	if err != nil {
		t.Fatal(err)
	}
	p := patient(t)
	n := 0
	for _, m := range regexp.MustCompile(`(?m)^d /var/lib/gitroost(\S*)\s+(\d+) gitroost gitroost -$`).FindAllStringSubmatch(string(b), -1) {
		mode, err := strconv.ParseUint(m[2], 8, 32)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(p.Config.Data, m[1]), fs.FileMode(mode)); err != nil {
			t.Fatal(err)
		}
		n++
	}
	if got := levels(doctor.Offline(t.Context(), p), "data.modes"); n != 4 || len(got) != 1 || got[0] != doctor.OK {
		t.Errorf("%d folders, %v", n, got)
	}
}

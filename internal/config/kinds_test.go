package config_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/gitroost/gitroost/grasp"
	"github.com/gitroost/gitroost/internal/config"
)

func TestSizes(t *testing.T) {
	for in, want := range map[string]int64{
		"2 GiB": 2 << 30, "512MiB": 512 << 20, "512mib": 512 << 20, "5 GB": 5e9, "1024": 1024, " 7 B ": 7, "1 KiB": 1024, "1kb": 1000, "1 TiB": 1 << 40,
	} {
		if got, err := config.ParseSize(in); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, bad := range []string{"", "-1", "1.5 GiB", "GiB", "5 apples", "9999999999999999999", "9000000 TiB", "1 GiB 2", "0x10"} {
		if got, err := config.ParseSize(bad); err == nil {
			t.Errorf("ParseSize(%q) = %d", bad, got)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1 << 20: "1 MiB", 3 << 29: "1536 MiB", 1000: "1000 B", 5e9: "5000000000 B"} {
		if got := config.Size(n); got != want {
			t.Errorf("Size(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestDurations(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"30m": 30 * time.Minute, "90s": 90 * time.Second, "30d": 720 * time.Hour, "1h 30m": 90 * time.Minute, "0s": 0, "250ms": 250 * time.Millisecond,
	} {
		got, err := config.ParseDuration(in)
		if err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", in, got, err, want)
		}
		if back, err := config.ParseDuration(config.Duration(got)); err != nil || back != got {
			t.Errorf("%v is written %q", got, config.Duration(got))
		}
	}
	for _, bad := range []string{"", "30", "-5m", "1.5d", "99999999d", "d", "soon"} {
		if got, err := config.ParseDuration(bad); err == nil {
			t.Errorf("ParseDuration(%q) = %v", bad, got)
		}
	}
}

// G01-109: single owners may have another quota.
func TestQuotas(t *testing.T) {
	const npub = "npub1l2vyh47mk2p0qlsku7hg0vn29faehy9hy34ygaclpn66ukqp3afqutajft"
	hex := strings.Repeat("0f", 32)
	l, err := config.Load(config.Sources{Flags: []string{
		"--quota.bytes", "512 MiB", "--quota.overrides", npub + "=20 GiB, " + hex + " = 0", "--quota.pr_bytes=0", "--quota.submitter_refs=7",
	}})
	if err != nil {
		t.Fatal(err)
	}
	q := l.Config.Quotas()
	owner, err := grasp.ParseNpub(npub)
	if err != nil {
		t.Fatal(err)
	}
	if q.Of(owner).Bytes != 20<<30 || q.Of(grasp.PubKey(hex)).Bytes != 0 || q.Of("").Bytes != 512<<20 ||
		q.Of("").Repos != 1000 || q.Of("").PullBytes != 0 || q.OfSubmitter().Refs != 7 || q.OfSubmitter().Bytes != 1<<30 {
		t.Errorf("%+v", q)
	}
	for _, bad := range []string{npub, npub + "=", npub + "=many", "alice=1 GiB", npub + "=1 GiB," + npub + "=2 GiB", "=1 GiB", npub + "=-1"} {
		if _, err := config.Load(config.Sources{Flags: []string{"--quota.overrides", bad}}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestOwner(t *testing.T) {
	const npub = "npub1l2vyh47mk2p0qlsku7hg0vn29faehy9hy34ygaclpn66ukqp3afqutajft"
	a, err := config.Load(config.Sources{Flags: []string{"--owner", npub}})
	if err != nil {
		t.Fatal(err)
	}
	if a.Config.Owner.Npub() != npub {
		t.Errorf("owner = %s", a.Config.Owner)
	}
	b, err := config.Load(config.Sources{Flags: []string{"--owner", strings.ToUpper(string(a.Config.Owner))}})
	if err != nil || b.Config.Owner != a.Config.Owner {
		t.Errorf("hex gives %s, %v", b.Config.Owner, err)
	}
	for _, bad := range []string{"npub1xyz", "abc", npub[:62], strings.ToUpper(npub)} {
		if _, err := config.Load(config.Sources{Flags: []string{"--owner", bad}}); err == nil {
			t.Errorf("owner %q was accepted", bad)
		}
	}
}

func TestASecretIsNeverWritten(t *testing.T) { // hardening: secrets
	s := config.NewSecret("hunter2")
	type holder struct{ S config.Secret }
	var b strings.Builder
	fmt.Fprintf(&b, "%s %v %+v %#v %d %q %x %v %+v", s, s, s, s, s, s, s, holder{s}, &holder{s})
	j, _ := json.Marshal(holder{s})
	b.Write(j)
	// Without the time, whose digits may happen to be those that are looked for.
	opts := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	slog.New(slog.NewTextHandler(&b, opts)).Info("x", "s", s, "h", holder{s})
	slog.New(slog.NewJSONHandler(&b, opts)).Info("x", "s", s, "h", holder{s})
	fmt.Fprint(&b, errors.New(s.String()))
	for _, leak := range []string{"hunter2", "68756e746572", "104"} {
		if strings.Contains(b.String(), leak) {
			t.Errorf("written as %s", b.String())
		}
	}
	if s.Reveal() != "hunter2" || config.NewSecret("").String() != "" {
		t.Error("a secret cannot be used, or an empty one looks like one")
	}
}

func FuzzFile(f *testing.F) {
	f.Add("name: x\nlimits:\n  max_push: 1 GiB\n")
	f.Add("a: &x {b: *x}\n<<: *x\n")
	f.Add("? [a]\n: !!str |\n  x\n---\n...\n")
	f.Add("trusted_proxies: [10.0.0.0/8, ::1]\naliases:\n- a.example\n")
	f.Add(config.Example())
	f.Fuzz(func(t *testing.T, text string) {
		l, err := config.Load(config.Sources{Read: file("gitroost.yaml", text)})
		if err != nil {
			var faults config.Faults
			if !errors.As(err, &faults) || len(faults) == 0 || err.Error() == "" {
				t.Fatalf("a fault without a text: %v", err)
			}
			return
		}
		// What was accepted can be written down and read again.
		var again strings.Builder
		for _, s := range l.Config.Settings() {
			fmt.Fprintf(&again, "%s: %q\n", s.Name, s.Value())
		}
		second, err := config.Load(config.Sources{Read: file("gitroost.yaml", again.String())})
		if err != nil {
			t.Fatalf("%v\nreading\n%s", err, again.String())
		}
		for i, s := range second.Config.Settings() {
			if first := l.Config.Settings()[i].Value(); s.Value() != first {
				t.Errorf("%s: %q became %q", s.Name, first, s.Value())
			}
		}
	})
}

func FuzzSize(f *testing.F) {
	f.Add("2 GiB")
	f.Add("9223372036854775807")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := config.ParseSize(s)
		if err != nil {
			return
		}
		if back, err := config.ParseSize(config.Size(n)); n < 0 || err != nil || back != n {
			t.Fatalf("%q is %d, written %q, read %d (%v)", s, n, config.Size(n), back, err)
		}
	})
}

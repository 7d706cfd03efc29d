package work_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/internal/fault"
	"github.com/gitroost/gitroost/internal/work"
)

// What known_hosts says is lines or the path of a file; a relative path is refused, as the folder of the server
// means nothing. S0-23 S3-38
func TestKnownHosts(t *testing.T) {
	const line = "[aomi]:22 ssh-ed25519 AAAA\n"
	file := filepath.Join(t.TempDir(), "known hosts")
	if err := os.WriteFile(file, []byte("# made by ssh-keyscan\n"+line), 0o600); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(large, []byte(strings.Repeat(line, 1<<20/len(line)+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for known, want := range map[string]string{
		"aomi ssh-ed25519 AAAA":                          "aomi ssh-ed25519 AAAA\n",
		"aomi ssh-ed25519 AAAA\n\n":                      "aomi ssh-ed25519 AAAA\n",
		"|1|c2FsdA==|aGFzaA== ssh-ed25519 AAAA\n" + line: "|1|c2FsdA==|aGFzaA== ssh-ed25519 AAAA\n" + line,
		file: "# made by ssh-keyscan\n" + line,
	} {
		got, err := work.ReadKnownHosts(known)
		if err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", known, got, err)
		}
	}
	t.Chdir(filepath.Dir(file))
	if err := os.WriteFile("kh", []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	for known, want := range map[string]struct {
		code fault.Code
		text string
	}{
		"kh":            {fault.Invalid, "write the whole path"},
		file + ".other": {fault.Invalid, "ssh-keyscan"},
		large:           {fault.TooLarge, "1 MiB"},
	} {
		if got, err := work.ReadKnownHosts(known); !fault.Is(err, want.code) || !strings.Contains(err.Error(), want.text) {
			t.Errorf("%s: %.40q, %v", known, got, err)
		}
	}
}

// Of what a job is told, only paths are paths.
func TestFilesOfSpecs(t *testing.T) {
	for known, want := range map[string]int{"kh": 1, "/etc/my house/kh": 1, "secrets/kh": 1, "aomi ssh-ed25519 AAAA": 0, "a b c\nd e f": 0, "": 0} {
		ssh := work.SSH{KnownHosts: known}
		for what, s := range map[string]work.Filer{
			"ssh": &ssh, "mirror_push": &work.MirrorPush{KnownHosts: known},
			"checkout": &work.Checkout{After: []work.Step{{Exec: &work.Exec{}}, {SSH: &ssh}}},
		} {
			if got := s.Files(); len(got) != want || want == 1 && *got[0] != known {
				t.Errorf("%s told %q has %d paths, want %d", what, known, len(got), want)
			}
		}
	}
}

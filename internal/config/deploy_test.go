package config_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/internal/config"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile("../../" + path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What the files in deploy/ set is a setting, and means what they think.
func TestDeployFilesUseRealSettings(t *testing.T) {
	for _, path := range []string{"Dockerfile", "deploy/compose.yaml", "deploy/gitroost.service"} {
		var env []string
		for _, m := range regexp.MustCompile(`(GITROOST_[A-Z_]+)(?:=|: )"?([^\s,"}]+)`).FindAllStringSubmatch(read(t, path), -1) {
			if m[1] != "GITROOST_CONFIG" {
				env = append(env, m[1]+"="+m[2])
			}
		}
		if len(env) == 0 {
			t.Errorf("%s sets nothing", path)
		}
		l, err := config.Load(config.Sources{Env: append(env, "GITROOST_DOMAIN=git.example.com")})
		if err != nil || len(l.Warnings) > 0 {
			t.Errorf("%s: %v %q", path, err, l.Warnings)
		}
	}
	for _, path := range []string{"deploy/nginx.conf", "deploy/Caddyfile"} {
		text := read(t, path)
		if !strings.Contains(text, config.Default().Listen) {
			t.Errorf("%s does not point at %s", path, config.Default().Listen)
		}
		flag := regexp.MustCompile(`--[a-z.-]+=\S+`).FindString(text)
		if _, err := config.Load(config.Sources{Flags: []string{flag}}); flag == "" || err != nil {
			t.Errorf("%s: %q %v", path, flag, err)
		}
	}
}

func TestEveryModuleHasAReason(t *testing.T) { // docs/decisions/0001
	mods := regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(read(t, "go.mod"), -1)
	reasons := read(t, "docs/decisions/0001-modules.md")
	rows := strings.Count(reasons, "\n| `")
	for _, m := range mods {
		if !strings.Contains(reasons, "| `"+m[1]+"` | ") {
			t.Errorf("no reason for %s", m[1])
		}
	}
	if len(mods) == 0 || rows != len(mods) {
		t.Errorf("%d modules, %d reasons", len(mods), rows)
	}
}

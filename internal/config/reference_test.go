package config_test

import (
	"flag"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/internal/config"
)

var update = flag.Bool("update", false, "write the generated pages")

func TestPagesAreFresh(t *testing.T) {
	for path, want := range map[string]string{
		"../../docs/configuration.md": config.Reference(),
		"../../deploy/gitroost.yaml":  config.Example(),
	} {
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s is stale (%v): go test ./internal/config -update", path, err)
		}
	}
}

// Every option of the example can be enabled by taking its # away, and then says what it said.
func TestTheExampleIsTrue(t *testing.T) {
	example := config.Example()
	if l := load(t, example, nil, nil); !reflect.DeepEqual(l.Config, config.Default()) {
		t.Error("the example changes something")
	}
	enabled := regexp.MustCompile(`(?m)^#([a-z_.]+: )`).ReplaceAllString(example, "$1")
	l := load(t, enabled, nil, nil)
	if !reflect.DeepEqual(l.Config, config.Default()) {
		t.Errorf("the example does not show the defaults: %+v", l.Config)
	}
	for name, origin := range l.Origins {
		if !strings.HasPrefix(origin, "gitroost.yaml:") {
			t.Errorf("%s is not in the example", name)
		}
	}
}

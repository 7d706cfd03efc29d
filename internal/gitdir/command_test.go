package gitdir

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/internal/run"
)

// S3-44: at level debug each call of git is written, with what may be secret in it masked.
func TestCallsAreLoggedMasked(t *testing.T) {
	for in, want := range map[string]string{
		"fetch":                                 "fetch",
		"https://example.com/a.git":             "https://example.com/a.git",
		"https://user:pa55@example.com/a.git":   "https://•••@example.com/a.git",
		"https://token@example.com/a?key=pa55":  "https://•••@example.com/a?•••",
		"--x=ssh://me:pa55@host/a@b":            "--x=ssh://•••@host/a@b",
		"refs/heads/what?":                      "refs/heads/what?",
		"http://example.com/a?access_token=1#f": "http://example.com/a?•••#f",
	} {
		if got := masked(run.Operator([]string{in})); got[0] != want {
			t.Errorf("%s is written as %s, want %s", in, got[0], want)
		}
	}
	var out bytes.Buffer
	open := func(level slog.Level) string {
		out.Reset()
		v, err := Open(t.Context(), t.TempDir(), Config{Extra: map[string]string{"pack.depth": "20"}}, slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level})))
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		got, err := v.small(t.Context(), command{args: run.Words("config", "--get", "pack.depth"), env: v.env(v.none(), 0, [][]pair{baseConfig})})
		if err != nil || strings.TrimSpace(got) != "20" { // S3-24
			t.Errorf("git has pack.depth %q, %v", got, err)
		}
		got, err = v.small(t.Context(), command{args: run.Words("config", "--get", "pack.depth"), env: v.env(v.none(), 0, [][]pair{baseConfig, {{"pack.depth", "7"}}})})
		if err != nil || strings.TrimSpace(got) != "7" {
			t.Errorf("a command's own pack.depth is %q, %v", got, err)
		}
		return out.String()
	}
	if got := open(slog.LevelDebug); !strings.Contains(got, "args=\"[config --get pack.depth]\"") {
		t.Errorf("at level debug: %s", got)
	}
	if got := open(slog.LevelInfo); strings.Contains(got, "args=") {
		t.Errorf("at level info: %s", got)
	}
}

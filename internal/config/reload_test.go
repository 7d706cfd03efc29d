package config_test

import (
	"slices"
	"testing"

	"github.com/gitroost/gitroost/internal/config"
)

// S3-41: what is live is taken from the new configuration, all else is kept and named.
func TestAdopt(t *testing.T) {
	load := func(text string) config.Config {
		t.Helper()
		l, err := config.Load(config.Sources{File: "gitroost.yaml", Read: func(string) ([]byte, error) { return []byte(text), nil }})
		if err != nil {
			t.Fatal(err)
		}
		return l.Config
	}
	old := load("name: one\nlisten: 127.0.0.1:1000\nrepos: {deny: [a, b]}\n")
	next := load("name: two\nlisten: 127.0.0.1:2000\nrepos: {deny: [c]}\nquota: {bytes: 5 GiB}\njobs:\n  - {name: x, repos: [\"*/*\"], on: {push: {}}, exec: {run: [\"true\"]}}\n")
	got, changed, held := old.Adopt(next)
	if want := []string{"name", "repos.deny", "quota.bytes"}; !slices.Equal(changed, want) {
		t.Errorf("changed %v, want %v", changed, want)
	}
	if !slices.Equal(held, []string{"listen"}) {
		t.Errorf("held back %v", held)
	}
	if got.Name != "two" || got.Listen != old.Listen || !slices.Equal(got.Repos.Deny, next.Repos.Deny) || got.Quota.Bytes != 5<<30 || len(got.Jobs) != 1 {
		t.Errorf("%+v", got)
	}
	if old.Name != "one" || !slices.Equal(old.Repos.Deny, []string{"a", "b"}) || len(old.Jobs) != 0 {
		t.Errorf("what was in force has changed: %+v", old)
	}
	// The same once more changes nothing.
	if _, changed, _ := got.Adopt(next); len(changed) > 0 {
		t.Errorf("a second time: %v", changed)
	}
}

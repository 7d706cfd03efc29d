package config_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/internal/config"
)

func loadText(text string, flags ...string) (config.Loaded, error) {
	return config.Load(config.Sources{File: "gitroost.yaml", Flags: flags, Read: func(string) ([]byte, error) { return []byte(text), nil }})
}

// S3-24: further settings of git are taken from a list of those that cost time and memory alone; a
// forbidden key is an error with its place.
func TestGitConfig(t *testing.T) {
	l, err := loadText("git:\n  config:\n    pack.depth: 20\n    Pack.WindowMemory: 32m\n")
	if want := map[string]string{"pack.depth": "20", "pack.windowmemory": "32m"}; err != nil || !maps.Equal(l.Config.Git.Config, want) {
		t.Errorf("a group: %v %v", l.Config.Git.Config, err)
	}
	l, err = loadText("git: {config: [pack.depth=20]}\n")
	if err != nil || l.Config.Git.Config["pack.depth"] != "20" {
		t.Errorf("a list: %v %v", l.Config.Git.Config, err)
	}
	l, err = loadText("", "--git.config=pack.depth=20,core.compression=-1")
	if err != nil || len(l.Config.Git.Config) != 2 || l.Config.Git.Config["core.compression"] != "-1" {
		t.Errorf("a flag: %v %v", l.Config.Git.Config, err)
	}
	for _, key := range []string{
		"core.hooksPath", "CORE.HOOKSPATH", "core.sshCommand", "core.gitProxy", "core.fsmonitor", "core.fsync", "core.alternateRefsCommand",
		"core.pager", "core.editor", "core.attributesFile", "uploadpack.packObjectsHook", "uploadpack.allowAnySHA1InWant", "gpg.program",
		"credential.helper", "protocol.allow", "http.proxy", "url.https://x/.insteadOf", "diff.x.command", "filter.x.clean", "merge.x.driver",
		"alias.x", "include.path", "includeIf.gitdir:/.path", "hook.x.command", "receive.fsckObjects", "transfer.fsckObjects", "safe.directory",
		"remote.x.uploadpack", "sequence.editor", "ssh.variant", "gc.auto", "pack.packSizeLimit", "pack.island", "x", "", "pack.depth ",
	} {
		_, err := loadText("git:\n  config:\n    \"" + key + "\": 20\n")
		if key == "pack.depth " { // spaces around a name mean nothing
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), "gitroost.yaml:3:5") {
			t.Errorf("%q: %v", key, err)
		}
	}
	for _, value := range []string{"20; rm", "$(id)", "-1", "99999", "20k", "true", "''"} {
		if _, err := loadText("git: {config: {pack.depth: " + value + "}}\n"); err == nil {
			t.Errorf("pack.depth: %s was taken", value)
		}
	}
	for _, text := range []string{"git: {config: {pack.depth: [1]}}\n", "git: {config: {pack.depth: {a: 1}}}\n", "git: {config: {pack.depth: 1, pack.Depth: 2}}\n", "git: {config: {pack.depth: \"1,pack.window=2\"}}\n", "git: {config: {pack.depth: }}\n"} {
		if _, err := loadText(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

// S3-44: another level for single rooms, by the name that log lines have or by which people know it.
func TestLogRooms(t *testing.T) {
	for _, flags := range [][]string{{"--log", "git=debug"}, {"--log=gitdir=debug"}, {"--log.rooms=GIT=Debug"}} {
		l, err := loadText("", flags...)
		if err != nil || !maps.Equal(l.Config.Log.Rooms, map[string]string{"gitdir": "debug"}) {
			t.Errorf("%q: %v %v", flags, l.Config.Log.Rooms, err)
		}
	}
	l, err := loadText("log: {level: warn, rooms: {git: debug, relay: none}}\n")
	if err != nil || l.Config.Log.Level != "warn" || l.Config.Log.Rooms["relay"] != "none" {
		t.Errorf("%+v %v", l.Config.Log, err)
	}
	for _, flags := range [][]string{{"--log=kitchen=debug"}, {"--log=git=loud"}, {"--log=git"}, {"--log=git=debug,gitdir=info"}} {
		if _, err := loadText("", flags...); err == nil {
			t.Errorf("%q was taken", flags)
		}
	}
}

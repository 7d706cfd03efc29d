package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/gitroost/gitroost/internal/config"
)

// S3-44: each room has the level that was set for it, the others that of all; levels may change.
func TestLogLevelsOfRooms(t *testing.T) {
	var out bytes.Buffer
	log, levels := newLogs(&out, config.Log{Level: "info", Format: "text", Rooms: map[string]string{"gitdir": "debug", "relay": "none"}})
	say := func() string {
		out.Reset()
		log.Debug("all-debug")
		log.Info("all-info")
		git := log.With("room", "gitdir").With("repo", "x")
		git.Debug("git-debug")
		git.WithGroup("g").Debug("git-group")
		log.With("room", "relay").Error("relay-error")
		log.With("room", "store").Debug("store-debug")
		log.With("room", "store").Warn("store-warn")
		var got []string
		for _, word := range []string{"all-debug", "all-info", "git-debug", "git-group", "relay-error", "store-debug", "store-warn"} {
			if strings.Contains(out.String(), word) {
				got = append(got, word)
			}
		}
		return strings.Join(got, " ")
	}
	if got, want := say(), "all-info git-debug git-group store-warn"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	levels.set(config.Log{Level: "error"})
	if got, want := say(), "relay-error"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

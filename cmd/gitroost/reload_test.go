package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/gitroost/gitroost/internal/config"
)

// S3-41: five signals while the configuration is read anew have it read exactly once more.
func TestSignalsDuringAReloadAreOneMore(t *testing.T) {
	signals := make(chan os.Signal, 1)
	kill := func() { // as the runtime does: what finds no room is dropped
		select {
		case signals <- syscall.SIGHUP:
		default:
		}
	}
	a := &app{hangups: func() (<-chan os.Signal, func()) { return signals, func() {} }}
	h := &fakeHouse{ready: make(chan struct{}), reloaded: func(bool) {}}
	close(h.ready)
	began, proceed := make(chan struct{}), make(chan struct{})
	h.reload = func(config.Config) ([]string, []string, error) {
		began <- struct{}{}
		<-proceed
		return nil, nil, nil
	}
	stop := a.reloads(t.Context(), h, slog.New(slog.DiscardHandler), func() (config.Loaded, error) { return config.Loaded{}, nil })
	kill()
	<-began
	for range 5 {
		kill()
	}
	proceed <- struct{}{}
	<-began // the one more
	proceed <- struct{}{}
	stop() // waits for what is under way
	select {
	case <-began:
		t.Error("a third reload")
	default:
	}
	if len(signals) > 0 {
		t.Error("somebody still asks")
	}
}

// A file that cannot be read changes nothing, and is logged with its place.
func TestReloadSaysWhatItFound(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	var results []bool
	h := &fakeHouse{reloaded: func(ok bool) { results = append(results, ok) }}
	handed := 0
	h.reload = func(c config.Config) ([]string, []string, error) {
		handed++
		return []string{"name"}, []string{"listen"}, nil
	}
	file := "name: one\n"
	load := func() (config.Loaded, error) {
		return config.Load(config.Sources{File: "gitroost.yaml", Read: func(string) ([]byte, error) { return []byte(file), nil }})
	}
	a := &app{}
	a.reload(context.Background(), h, logger, load)
	if handed != 1 || !strings.Contains(log.String(), "was read anew") || !strings.Contains(log.String(), "want a restart") || !strings.Contains(log.String(), "listen") {
		t.Errorf("%d handed on\n%s", handed, log.String())
	}
	log.Reset()
	file = "name: one\nmax_psuh: 5\n"
	a.reload(context.Background(), h, logger, load)
	if handed != 1 || !strings.Contains(log.String(), "gitroost.yaml:2:1") || !strings.Contains(log.String(), "max_psuh") || !strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("%d handed on\n%s", handed, log.String())
	}
	if len(results) != 1 || results[0] {
		t.Errorf("counted: %v", results)
	}
}

package main

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"math"
	"sync/atomic"

	"github.com/gitroost/gitroost/internal/config"
)

// newLog writes text for a person at a terminal and JSON for everything else.
func newLog(w io.Writer, cfg config.Log) *slog.Logger {
	log, _ := newLogs(w, cfg)
	return log
}

// newLogs is newLog with the levels, which may be changed.
func newLogs(w io.Writer, cfg config.Log) (*slog.Logger, *levels) {
	l := new(levels)
	l.set(cfg)
	opts := &slog.HandlerOptions{Level: slog.Level(math.MinInt)} // roomed decides
	var h slog.Handler = slog.NewTextHandler(w, opts)
	if cfg.Format == "json" || cfg.Format == "auto" && !terminal(w) {
		h = slog.NewJSONHandler(w, opts)
	}
	return slog.New(roomed{h, l, ""}), l
}

// levels are what is written of each room (S3-44). They are replaced as a whole.
type levels struct{ now atomic.Pointer[threshold] }

type threshold struct {
	all   slog.Level
	rooms map[string]slog.Level
}

func (l *levels) set(cfg config.Log) {
	t := threshold{all: level(cfg.Level), rooms: map[string]slog.Level{}}
	for room, name := range maps.All(cfg.Rooms) {
		t.rooms[room] = level(name)
	}
	l.now.Store(&t)
}

// level reads a level that config has checked; none is above all.
func level(name string) slog.Level {
	var l slog.Level
	if name == "none" {
		return slog.Level(math.MaxInt)
	}
	if err := l.UnmarshalText([]byte(name)); err != nil {
		return slog.LevelInfo
	}
	return l
}

// roomed passes on what is to be written of the room that it is in.
type roomed struct {
	slog.Handler
	levels *levels
	room   string
}

func (r roomed) Enabled(_ context.Context, l slog.Level) bool {
	t := r.levels.now.Load()
	if least, ok := t.rooms[r.room]; ok {
		return l >= least
	}
	return l >= t.all
}

func (r roomed) WithAttrs(list []slog.Attr) slog.Handler {
	for _, a := range list {
		if a.Key == "room" {
			r.room = a.Value.String()
		}
	}
	r.Handler = r.Handler.WithAttrs(list)
	return r
}

func (r roomed) WithGroup(name string) slog.Handler {
	r.Handler = r.Handler.WithGroup(name)
	return r
}

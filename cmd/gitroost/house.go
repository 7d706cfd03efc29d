package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/gitroost/gitroost/internal/config"
	"github.com/gitroost/gitroost/internal/server"
)

// A house is a server that was built and not yet opened.
type house interface {
	Run(ctx context.Context) error // until ctx ends and everything is closed
	Addr() string                  // the bound address
	Ready() <-chan struct{}        // closed when the doors are open

	// Reload puts into force what of next needs no restart, and names what changed and what is held back.
	Reload(ctx context.Context, next config.Config) (changed, held []string, err error)
	Reloaded(ok bool) // counts a configuration that could not be read
}

// A builder builds one.
type builder func(ctx context.Context, cfg config.Config, log *slog.Logger) (house, error)

func newHouse(ctx context.Context, cfg config.Config, log *slog.Logger) (house, error) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(cfg.Limits.Memory)
	}
	s, err := server.New(ctx, cfg, log)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// A caller asks the server of a configuration something, and returns JSON.
type caller func(ctx context.Context, cfg config.Config, log *slog.Logger, method string, params ...any) (json.RawMessage, error)

func manageHouse(ctx context.Context, cfg config.Config, log *slog.Logger, method string, params ...any) (json.RawMessage, error) {
	return server.Manage(ctx, cfg, log, method, params...)
}

func programVersion() string { return server.Version() }

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/gitroost/gitroost/internal/config"
)

// hangups returns a channel that is sent to when this process gets a SIGHUP. It has one place: what comes
// while the configuration is read anew has it read once more, however often it comes (S3-41).
func hangups() (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}

// reloads has the configuration read anew whenever somebody asks, until stop is called.
func (a *app) reloads(ctx context.Context, h house, log *slog.Logger, load func() (config.Loaded, error)) (stop func()) {
	if a.hangups == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	asked, forget := a.hangups()
	done := make(chan struct{})
	go func() {
		defer close(done)
		select { // nothing can change before the doors are open
		case <-ctx.Done():
			return
		case <-h.Ready():
		}
		for {
			select {
			case <-ctx.Done():
				return
			case <-asked:
				a.reload(ctx, h, log, load)
			}
		}
	}()
	return func() { forget(); cancel(); <-done }
}

// reload reads the configuration anew and hands it on. One with a fault changes nothing.
func (a *app) reload(ctx context.Context, h house, log *slog.Logger, load func() (config.Loaded, error)) {
	loaded, err := load()
	if err == nil && len(loaded.Rest) > 0 {
		err = fmt.Errorf("unexpected argument %q", loaded.Rest[0])
	}
	if err != nil {
		h.Reloaded(false)
		var faults config.Faults
		if !errors.As(err, &faults) {
			faults = config.Faults{{Where: loaded.File, Text: err.Error()}}
		}
		for _, f := range faults {
			log.Error("the configuration is not read anew: nothing has changed", "at", f.Where, "err", f.Text)
		}
		return
	}
	for _, w := range loaded.Warnings {
		log.Warn(w)
	}
	changed, held, err := h.Reload(ctx, loaded.Config)
	if err != nil {
		log.Error("the configuration could not be put into force whole", "err", err)
		return
	}
	if len(held) > 0 {
		log.Warn("these settings have changed and want a restart", "settings", held)
	}
	log.Info("the configuration was read anew", "file", loaded.File, "changed", changed, "jobs", len(loaded.Config.Jobs))
}
